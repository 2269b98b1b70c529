"""Watches the service identity while nobody rotates anything, and alerts of what would stop sessions.

It looks once an hour: one read of the account, one of its directory roles, one listing of the secret's versions, and
the tenant's policies, which say beforehand whether it can sign in. It also hears of every sign-in of the identity. Each
trouble is raised once and closed when it is well again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from bot import watched
from bot.canary import Canary, Foresight
from bot.errors import GraphNotFound, GraphProblem, LatchkeyError, SignInFailed, VaultProblem
from bot.guesses import what_it_says
from bot.identities import ServiceIdentity, called, directory_roles
from bot.model import (
    Alert,
    Cause,
    CredentialKind,
    Identity,
    Mode,
    Request,
    RequestState,
    RotationState,
    Secret,
    Severity,
    TenantSettings,
    Trouble,
)
from bot.ports import (
    Alarm,
    Certificates,
    Clock,
    Reader,
    RotationStatus,
    SecretVersion,
    SeenIdentity,
    Settings,
    Vault,
    Watched,
)
from bot.rotating_certificate import ENDS
from bot.rotation import SignsIn
from bot.rotation_words import ROTATION
from bot.standing import NO_SUCH_OBJECT
from bot.timing import woken_or_at

log = logging.getLogger(__name__)

EVERY: Final = timedelta(hours=1)
"""How often it looks."""

SOON: Final = timedelta(minutes=10)
"""The same while something is not well, or could not be seen."""

FIRST: Final = timedelta(minutes=6)
"""How long after the start it looks first: a bot that has just started has other things to do."""


SETTLES: Final = timedelta(hours=1)
"""How long Entra may take until it does what policies say: a sign-in that goes well meanwhile proves nothing."""

_CAUSES: Final = {SignsIn.GONE: Cause.GONE, SignsIn.BLOCKED: Cause.BLOCKED}
"""What a sign-in that was refused makes a rotation stand with."""


_OF_ADDRESSES: Final = {"allowed-ips": False, "remove-allowed-ips": True}
"""The actions about allowed addresses, and whether each lets others in."""


class Rotations(Protocol):
    async def status(self) -> RotationStatus: ...


class Alerts(Alarm, Protocol):
    async def open(self) -> Sequence[Alert]:
        """Those that are not over."""


class Watching:
    """What is said to it returns at once: alerts are raised by `keep_up`."""

    def __init__(
        self,
        *,
        clock: Clock,
        settings: Settings,
        directory: Reader,
        rotations: Rotations,
        identity_of: Callable[[TenantSettings], ServiceIdentity],
        vault: Vault,
        certificates: Certificates,
        alerts: Alerts,
        seen: Watched,
        clock_time: Callable[[datetime], str],
        canary: Canary | None = None,
    ) -> None:
        """*directory* reads the tenant as the bot identity. Without a *canary* nothing is foreseen."""
        self._clock = clock
        self._settings = settings
        self._directory = directory
        self._rotations = rotations
        self._identity_of = identity_of
        self._vault = vault
        self._certificates = certificates
        self._alerts = alerts
        self._watched = seen
        self._when = clock_time
        self._canary = canary
        self._foresight: Foresight | None = None
        self._denied: Trouble | None = None
        """The last refusal that was about policies, until it signs in again."""
        self._doubted: Foresight | None = None
        """What did not come true."""
        self._asked_for = ""
        """The last request about allowed addresses that was carried out."""
        self._opened_at: datetime | None = None
        """When Latchkey itself let sign-ins in from elsewhere."""
        self._thoroughly = self._now = False
        self._woken = asyncio.Event()
        self._heard: LatchkeyError | None = None
        self._well = False
        self._vault_was_lost = False
        self._ends: tuple[str, datetime] | None = None
        """When a certificate ends that does not say so in its tags, by its version."""

    def trouble(self, error: LatchkeyError, identity: Identity | None) -> None:
        """The service identity could not sign in."""
        if identity is not None:
            self._heard, self._well = error, False
            self._woken.set()

    def well(self) -> None:
        """The service identity has signed in."""
        self._heard, self._well = None, True
        self._woken.set()

    def policies_changed(self) -> None:
        """Somebody has read policies that are not as they were."""
        self._now = True
        self._woken.set()

    def request_changed(self, request: Request) -> None:
        """What was asked for through Latchkey is no news, but is looked at."""
        opens = _OF_ADDRESSES.get(request.action)
        if opens and request.state is RequestState.RUNNING:
            self._opened_at = self._clock.now()
        if opens is None or request.state is not RequestState.DONE or request.id == self._asked_for:
            return
        self._asked_for, self._opened_at = request.id, self._clock.now() if opens else None
        self.thoroughly()

    def thoroughly(self) -> None:
        """Look at once, also at what changes without the policies."""
        self._thoroughly = True
        self.policies_changed()

    async def keep_up(self) -> None:
        """Run until cancelled."""
        at = self._clock.now() + FIRST
        while True:
            await woken_or_at(self._clock, self._woken, at)
            self._woken.clear()
            try:
                if await self.hear():
                    at = min(at, self._clock.now() + SOON)
                began = self._clock.now()
                if began >= at or self._now:
                    is_well = await self.look()
                    log.info("the service identity was looked at", extra={"well": is_well})
                    at = began + (EVERY if is_well else SOON)  # what has changed since then it may have missed
            except LatchkeyError as error:
                log.warning("could not watch the service identity", extra={"why": str(error)})
                at = max(at, self._clock.now() + SOON)
            except Exception:
                log.exception("watching met something unforeseen")
                at = max(at, self._clock.now() + SOON)

    # --- what is heard -----------------------------------------------------------------------------------------------

    async def hear(self) -> bool:
        """Act on the last sign-in that was heard of, if that has not been done; whether it went wrong."""
        error, well = self._heard, self._well
        self._heard, self._well = None, False
        if not well and error is None:
            return False
        settings = await self._settings.current()
        identity = _acting(settings)
        if identity is None:
            return False
        if error is None:
            await self._signs_in(identity)
            return False
        await self._refused(identity, error, await self._rotations.status())
        return True

    async def _signs_in(self, identity: Identity) -> None:
        how, foresight = f"{_capital(called(identity))} signed in.", self._foresight
        self._denied = None
        await self._close(set(watched.OF_SIGN_INS) - {watched.POLICY}, how)
        if not await self._open([watched.POLICY]):
            return
        if foresight is None or foresight.stops:  # it was raised before the last start, or has been put right since
            foresight = await self._foresee(identity)
        if foresight and foresight.stops and foresight.since and self._clock.now() - foresight.since >= SETTLES:
            self._doubted = foresight
        await self._judge(watched.POLICY, self._of_policies(identity), how)

    async def _refused(self, identity: Identity, error: LatchkeyError, status: RotationStatus) -> None:
        says_no = isinstance(error, SignInFailed) and what_it_says(error) is SignsIn.NO
        if says_no and status.open is not None:
            return  # the rotation that is not finished tells of it
        if isinstance(error, SignInFailed) and await self._is_told(status, _CAUSES.get(what_it_says(error))):
            return
        trouble = watched.refused(identity, error, status)
        if trouble and trouble.kind == watched.POLICY:
            before, self._denied, self._doubted = self._foresight, trouble, None
            now = await self._foresee(identity, thoroughly=True)
            if before and now and before.stops and not now.stops:
                return  # it met what was told of, and that has been put right since
            trouble = self._of_policies(identity)
        if trouble:
            await self._alerts.raise_(trouble)

    # --- what is looked at -------------------------------------------------------------------------------------------

    async def look(self) -> bool:
        """Look at everything once; whether all of it is well and could be seen. Raises `StorageProblem`."""
        self._now = False
        settings = await self._settings.current()
        identity = _acting(settings)
        if identity is None:
            await self._close(watched.KINDS, "Latchkey does not work with that account any more.")
            await self._watched.save(None)
            return True
        status = await self._rotations.status()
        seen = await self._watched.last()
        if seen is not None and seen.id != identity.id:
            await self._close(watched.KINDS, "Latchkey works with another account now.")
            seen = None
        seen = seen or SeenIdentity(identity.id)
        try:
            is_stored = await self._look_at_vault(identity, status)
            if is_stored:
                await self._look_at_age(identity, status, settings.rotation_days)
            found = await self._read(identity)
            if trouble := watched.account(identity, found):
                if not await self._is_told(status, Cause.GONE):
                    await self._alerts.raise_(trouble)
                return False
            seen = await self._look_at_roles(identity, seen)
            seen = await self._look_at_policies(identity, status, seen)
            if is_stored and not _runs(status):
                seen = await self._try_out(identity, settings, status, found or {}, seen)
            return is_stored and not await self._in_the_way()
        except GraphProblem as error:
            log.warning("the service identity could not be looked at", extra={"why": str(error)})
            return False
        finally:
            await self._watched.save(seen)

    async def _read(self, identity: Identity) -> dict[str, Any] | None:
        """The account, None if it was deleted."""
        where, select = ("servicePrincipals", "id,accountEnabled")
        if identity.delegated:
            where, select = ("users", "id,accountEnabled,lastPasswordChangeDateTime")
        try:
            return await self._directory.get(where, identity.id, query={"$select": select})
        except GraphNotFound as error:
            if error.answer is not None and error.answer.code == NO_SUCH_OBJECT:
                return None
            raise

    async def _look_at_vault(self, identity: Identity, status: RotationStatus) -> bool:
        """Whether there is what the identity signs in with, as far as it needs anything."""
        if status.problem:
            # Once may be a hiccup; what a session could not be opened for has been told of already.
            stops = any(alert.trouble.severity is Severity.SESSIONS_STOP for alert in await self._open([watched.VAULT]))
            if self._vault_was_lost and not stops:
                await self._alerts.raise_(watched.vault_lost(identity, status.problem, stops=False))
            self._vault_was_lost = True
            return False
        self._vault_was_lost = False
        if trouble := watched.nothing_stored(identity, status):
            await self._alerts.raise_(trouble)
        return trouble is None

    async def _look_at_age(self, identity: Identity, status: RotationStatus, days: int) -> None:
        now = self._clock.now()
        await self._judge(
            watched.SECRET_OLD, watched.too_old(identity, status, days, now, self._when), "It was changed."
        )
        if status.kind is CredentialKind.CERTIFICATE and (version := watched.in_use(status.versions)):
            ends = await self._end_of(status.secret, version)
            trouble = watched.certificate_ends(identity, ends, now, self._when) if ends else None
            await self._judge(watched.CERTIFICATE, trouble, "There is a new one.")

    async def _end_of(self, secret: str, version: SecretVersion) -> datetime | None:
        """When a certificate ends; None if that cannot be seen."""
        if told := _moment(version.tags.get(ENDS, "")):
            return told
        if self._ends is None or self._ends[0] != version.version:
            try:
                value: Secret = await self._vault.read(secret, version.version)
            except VaultProblem as problem:
                log.warning("the end of a certificate could not be looked at", extra={"why": str(problem)})
                return version.expires_at
            certificate = await asyncio.to_thread(self._certificates.read, value)
            if certificate is None:
                return version.expires_at
            self._ends = version.version, certificate.ends_at
        return self._ends[1]

    async def _look_at_roles(self, identity: Identity, seen: SeenIdentity) -> SeenIdentity:
        try:
            held = await directory_roles(self._directory, identity)
        except GraphProblem as error:
            log.info("directory roles could not be looked at", extra={"why": str(error)})
            return seen
        if not all(held):  # without the permission to read roles, Graph gives objects without properties
            log.info("directory roles may not be looked at")
            return seen
        if seen.roles is None:
            return replace(seen, roles=held)
        trouble = watched.roles_changed(identity, seen.roles, held)
        if trouble is not None and (accepted := await self._acknowledged(watched.ROLES)):
            how = f"{accepted.acknowledged_by} acknowledged them as they are now."
            await self._alerts.close(watched.ROLES, how=how)
            return replace(seen, roles=held)
        await self._judge(watched.ROLES, trouble, "They are as they were.")
        return seen

    async def _look_at_policies(self, identity: Identity, status: RotationStatus, seen: SeenIdentity) -> SeenIdentity:
        thoroughly, self._thoroughly = self._thoroughly, False
        foresight = await self._foresee(identity, closed=seen.closed, thoroughly=thoroughly)
        if foresight is None:
            return seen
        of_policies = await self._open([watched.POLICY])
        if self._doubted is None and self._denied is None and foresight.stops:
            doubt = watched.let_in_all_the_same(identity, foresight, self._when)
            if any((alert.trouble.headline, alert.trouble.why) == (doubt.headline, doubt.why) for alert in of_policies):
                self._doubted = foresight  # that was found out before the last start
        trouble = self._of_policies(identity)
        if trouble is not None and trouble.severity is Severity.SESSIONS_STOP:
            if foresight.stops and not await self._is_told(status, Cause.BLOCKED):
                await self._alerts.raise_(trouble)
        elif all(alert.trouble.severity is Severity.ATTENTION for alert in of_policies):
            await self._judge(watched.POLICY, trouble, "No policy stands in the way any more.")
        # If it could not sign in, only a sign-in proves that this is over.
        if not foresight.opened:
            if foresight.keeps_others_out:
                await self._alerts.close(watched.OUTSIDE, how="No one from elsewhere gets in any more.")
            return replace(seen, closed=seen.closed or foresight.blocks_elsewhere)
        meant = ""
        if self._opened_at and self._clock.now() - self._opened_at < SETTLES:
            meant = "Latchkey was asked to let it sign in from anywhere."
        elif accepted := await self._acknowledged(watched.OUTSIDE):
            meant = f"{accepted.acknowledged_by} acknowledged it as it is now."
        if meant:
            await self._alerts.close(watched.OUTSIDE, how=meant)
            return replace(seen, closed=False)
        await self._alerts.raise_(watched.open_to_others(identity, foresight))
        return seen

    async def _foresee(
        self, identity: Identity, *, closed: bool | None = None, thoroughly: bool = False
    ) -> Foresight | None:
        if self._canary is None:
            return None
        if closed is None:
            seen = await self._watched.last()
            closed = seen is not None and seen.id == identity.id and seen.closed
        self._foresight = await self._canary.look(identity, closed=closed, thoroughly=thoroughly)
        self._now = False  # if they are not as they were, that is known by now
        return self._foresight

    def _of_policies(self, identity: Identity) -> Trouble | None:
        """The one thing to say of what policies do: that no session opens, or that none will."""
        foresight = self._foresight if self._foresight and self._foresight.identity.id == identity.id else None
        if foresight and foresight.stops and not foresight.says_the_same_as(self._doubted):
            return watched.kept_out(identity, foresight, self._when, self._denied)
        if self._denied and self._denied.about == identity.id:
            return self._denied
        if foresight and foresight.stops:
            return watched.let_in_all_the_same(identity, foresight, self._when)
        if foresight and foresight.ahead:
            return watched.would_keep_out(identity, foresight, self._when)
        return None

    async def _try_out(
        self,
        identity: Identity,
        settings: TenantSettings,
        status: RotationStatus,
        found: Mapping[str, Any],
        seen: SeenIdentity,
    ) -> SeenIdentity:
        """Sign in once, if its password was changed since the last look, or if it is known to go wrong."""
        changed_at = str(found.get("lastPasswordChangeDateTime") or "")
        seems_changed = seen.password_changed_at not in ("", changed_at)
        if not seems_changed and not await self._in_the_way():
            return replace(seen, password_changed_at=changed_at)
        try:
            await self._identity_of(settings).sign_in(_to_nobody)
        except LatchkeyError as error:
            await self._refused(identity, error, status)
            told = watched.refused(identity, error, status) is not None
        else:
            await self._signs_in(identity)
            told = True
        return replace(seen, password_changed_at=changed_at) if told else seen

    # --- alerts ------------------------------------------------------------------------------------------------------

    async def _is_told(self, status: RotationStatus, cause: Cause | None) -> bool:
        """Whether the alert of a rotation that is not finished tells of it already."""
        if cause is None or status.open is None or status.open.cause is not cause:
            return False
        return any(alert.trouble.severity is Severity.SESSIONS_STOP for alert in await self._open([ROTATION]))

    async def _in_the_way(self) -> bool:
        """Whether anything is known that stands in the way of a sign-in now."""
        told = [alert.trouble for alert in await self._open(watched.OF_SIGN_INS)]
        return any(each.kind != watched.POLICY or each.severity is Severity.SESSIONS_STOP for each in told)

    async def _acknowledged(self, kind: str) -> Alert | None:
        return next((alert for alert in await self._open([kind]) if alert.acknowledged_at is not None), None)

    async def _judge(self, kind: str, trouble: Trouble | None, how: str) -> None:
        if trouble is not None:
            await self._alerts.raise_(trouble)
        else:
            await self._alerts.close(kind, how=how)

    async def _close(self, kinds: Iterable[str], how: str) -> None:
        for kind in {alert.trouble.kind for alert in await self._open(kinds)}:
            await self._alerts.close(kind, how=how)

    async def _open(self, kinds: Iterable[str]) -> list[Alert]:
        wanted = set(kinds)
        return [alert for alert in await self._alerts.open() if alert.trouble.kind in wanted]


def _acting(settings: TenantSettings) -> Identity | None:
    """Who acts in Advanced mode."""
    if settings.mode is not Mode.ADVANCED or settings.identity_kind is None or not settings.identity_id:
        return None
    return Identity(settings.identity_kind, settings.identity_id, settings.identity_name or "")


def _runs(status: RotationStatus) -> bool:
    return status.open is not None and status.open.state is RotationState.RUNNING


def _moment(text: str) -> datetime | None:
    """The moment that a tag says; None if it says none, for people write tags, too."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None


def _to_nobody(key: str, title: str) -> None:
    """Nobody watches the steps."""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
