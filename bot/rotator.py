"""Carries rotations out: the ports behind the effects of `bot/rotation.py`, when they are due, and who is told of it.

What is written down here is a cache: the tags in the vault are the truth, and a rotation is finished by them even if
the database cannot be written. The claim only saves work; without it a rotation is as safe.
"""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final
from zoneinfo import ZoneInfo

from bot import rotation_words
from bot.errors import (
    BadInput,
    Conflict,
    GraphProblem,
    LatchkeyError,
    NotPossible,
    SignInFailed,
    StorageProblem,
    VaultProblem,
)
from bot.guesses import SignInGuesses
from bot.identities import of_account
from bot.model import (
    Cause,
    CredentialKind,
    IdentityKind,
    Mode,
    Point,
    RotationRecord,
    RotationState,
    TenantSettings,
    Trigger,
)
from bot.ports import (
    Alarm,
    Claim,
    Clock,
    Due,
    Rotations,
    RotationStatus,
    SecretVersion,
    Settings,
    Tenant,
    Vault,
)
from bot.rotating import Credential
from bot.rotation import (
    Aim,
    Ending,
    State,
    in_reading_order,
    state_of,
)
from bot.rotation_drill import Pretended
from bot.rotation_drive import CLAIMED_FOR, ORDER, Drive, Passed, RenewSession, audited
from bot.rotation_schedule import Rule, begins_at, next_due, reckoned
from bot.rotation_told import nothing_to_rotate
from bot.timing import within, woken_or_at

log = logging.getLogger(__name__)

FIRST_GAP: Final = timedelta(minutes=15)
LONGEST_GAP: Final = timedelta(hours=8)
"""Between two tries of a rotation that stands: the first gap, doubled each time, at most the other."""

BEFORE_GUESSING_AGAIN: Final = timedelta(days=1)
"""How long nobody guesses any more once as many guesses were wrong as may."""

AFTER_LOCKED: Final = timedelta(minutes=10)
"""How long an account that Microsoft has locked is left alone, whoever asks."""

LOCKED: Final = 50053
"""AADSTS50053 (Entra docs: *Microsoft Entra authentication and authorization error codes*)."""

LOOKS_AT_LEAST: Final = timedelta(hours=1)
LOOKS_AT_MOST: Final = timedelta(minutes=1)
"""How often it is looked what is due: other processes change what it depends on, too."""

RETIRES_EVERY: Final = timedelta(days=1)
"""How often it is looked whether an old certificate has had its time."""

TO_STOP: Final = timedelta(seconds=30)
"""How long a rotation that has begun to change something may go on when the bot stops."""

GUESSES_OF_CERTIFICATES: Final = 1000
"""A certificate that is not in force locks nobody out."""


class Busy(LatchkeyError):
    """Another process carries a rotation of this secret out just now, until `until` unless it goes on."""

    def __init__(self, until: datetime) -> None:
        super().__init__("Another process of Latchkey is rotating just now. Look again in some minutes.")
        self.until = until


def _unobserved(point: Point) -> None:
    """Nobody watches."""


def _nobody(point: Point, record: RotationRecord) -> None:
    """Nobody is told of each point."""


async def _no_session(why: str) -> None:
    """There is none to renew."""


class Rotator:
    """Rotates what the service identity signs in with, by schedule and when it is asked.

    *credential_of* gives the credential of the identity that the settings name, None if it has none to rotate.
    *guesses_of* an account counts the sign-ins that readers and rotations share. *allowed* sign-ins of one rotation may
    go wrong. *clock_time* writes a time of the day for a sentence.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        vault: Vault,
        tenant: Tenant,
        rotations: Rotations,
        settings: Settings,
        credential_of: Callable[[TenantSettings], Credential | None],
        alarm: Alarm,
        zone: ZoneInfo,
        allowed: int,
        guesses_of: Callable[[str], SignInGuesses] | None = None,
        renew: RenewSession = _no_session,
        passed: Passed = _unobserved,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._vault = vault
        self._tenant = tenant
        self._rotations = rotations
        self._settings = settings
        self._credential_of = credential_of
        self._alarm = alarm
        self._zone = zone
        self._allowed = allowed
        self._guesses_of = guesses_of
        self._renew = renew
        self._passed = passed
        self._chance = chance
        self._owner = uuid.uuid4().hex
        self._under_way: _UnderWay | None = None
        self._unheard: dict[str, RotationRecord] = {}
        """How the last try ended, by the request that went on with something else meanwhile."""
        self._woken = asyncio.Event()
        self._repair_asked = False
        self._retired_at: datetime | None = None
        self._not_before: datetime | None = None
        """When to look again after something unforeseen went wrong."""

    # --- what others ask for ------------------------------------------------------------------------------------------

    async def run(
        self,
        *,
        trigger: Trigger,
        by: str | None = None,
        request_id: str | None = None,
        until: Point | None = None,
        aim: Aim = Aim.RENEW,
        tell: Callable[[Point], None] | None = None,
    ) -> RotationRecord:
        """One try now; the rotation as it is then: done, or standing with an alert.

        Joins the try that is under way in this process. With *until* it returns as soon as that point is reached or
        passed, and the try goes on by itself; asked again for the same *request_id*, it is joined, or what became of it
        is returned. A request whose rotation stands has it tried again, one whose rotation is done gets nothing new.
        Whoever stops waiting does not stop it. Raises `Busy`, `NotPossible`, `StorageProblem` (nothing was begun).
        """
        return await self._run(_Wish(trigger, by, request_id, aim), until, tell)

    async def _run(
        self, wish: _Wish, until: Point | None = None, tell: Callable[[Point], None] | None = None
    ) -> RotationRecord:
        while (under_way := self._under_way) is not None:
            if wish.aim in {under_way.wish.aim, Aim.REPAIR} or wish.is_of_request_of(under_way.wish):
                return await under_way.reached(until, tell)
            await under_way.over()
        if (unheard := self._unheard.pop(wish.request_id or "", None)) is not None:
            return unheard
        self._under_way = under_way = _UnderWay(wish)
        under_way.begin(self._try(under_way), self._ended)
        return await under_way.reached(until, tell)

    def repair(self) -> None:
        """Another version than the current one signed in: the tags are put right soon."""
        self._repair_asked = True
        self._woken.set()

    def wake(self) -> None:
        """Something that the schedule depends on was changed."""
        self._woken.set()

    async def status(self) -> RotationStatus:
        """How the rotation stands. What the vault holds is looked up; the database alone if that fails."""
        settings = await self._settings.current()
        credential = self._credential(settings)
        if credential is None:
            return RotationStatus(nothing=_nothing(settings))
        secret, problem, versions = credential.secret_name, "", []
        try:
            versions = of_account(await self._vault.versions(secret), credential.account)
        except VaultProblem as error:
            problem = str(error)
        current = next((version for version in in_reading_order(versions) if state_of(version) is State.CURRENT), None)
        last, due = await self._rotations.last(secret), await self._rotations.due(secret)
        return RotationStatus(
            kind=credential.kind,
            secret=secret,
            account=credential.account,
            open=await self._rotations.open(secret),
            last=last,
            next_due=due.at if due and settings.mode is Mode.ADVANCED else None,
            since=current.created_at if current else last.finished_at if last and problem else None,
            versions=tuple(versions),
            problem=problem,
        )

    async def history(self, limit: int = 10) -> Sequence[RotationRecord]:
        credential = self._credential(await self._settings.current())
        return await self._rotations.history(credential.secret_name, limit) if credential else ()

    async def drill(self, *, fail: bool, by: str | None = None, request_id: str | None = None) -> RotationRecord:
        """The whole path against a throw-away secret, after one sign-in with what is really in force; at Microsoft
        nothing is changed. With *fail* it ends where that would be, and an alert that is marked as a drill tells so;
        one that comes to an end before that tells nobody but who asked.

        Raises `Busy` or `NotPossible`.
        """
        settings, credential = await self._rotatable()
        identity_id = settings.identity_id or ""
        guesses = self._guesses_for(credential)
        pretended = Pretended(credential, self._vault, self._tenant, identity_id, guesses, fail=fail)
        claim = await self._claim(pretended.secret_name)
        try:
            if (stale := await self._rotations.open(pretended.secret_name)) is not None:
                await self._give_over(stale, claim, "")
            record = _begun(pretended, _Wish(Trigger.DRILL, by, request_id, Aim.RENEW), self._clock.now())
            drive = self._drive(pretended, record, claim, tell=_nobody, drill=True)
            try:
                await pretended.prepare()
                ending = await drive.go(Aim.RENEW, self._allowed_for(credential))
            except Exception as error:  # noqa: BLE001 - to find that out is what a drill is for
                ending = _unforeseen(error)
            record = await drive.ended(ending, final=True)
            await pretended.clear()
        finally:
            await self._release(pretended.secret_name, claim)
        if fail and record.cause is Cause.FORBIDDEN:  # as it was to; the alert says what holds only then
            await self._alarm.raise_(rotation_words.of_drill(record))
        return record

    async def close(self) -> None:
        """Stop: what has begun to change something gets a while to finish; the next start takes anything else up."""
        under_way = self._under_way
        if under_way is None:
            return
        if under_way.at >= ORDER[Point.STORING]:
            try:
                await within(self._clock, TO_STOP, under_way.over())
            except TimeoutError:
                log.warning("a rotation was interrupted: it goes on at the next start")
        await under_way.cancel()

    # --- by itself ----------------------------------------------------------------------------------------------------

    async def keep_up(self) -> None:
        """Run until cancelled: what is due, what stands and is tried again, what is to be repaired or retired."""
        told = False
        while True:
            at = self._clock.now() + FIRST_GAP
            try:
                if not told:
                    await self._tell_again()
                    told = True
                at = await self._look()
            except Busy as busy:
                at = busy.until
            except LatchkeyError as error:
                told = False
                log.warning("could not keep the rotation up", extra={"why": str(error)})
            except Exception:
                log.exception("the rotation met something unforeseen")
            now = self._clock.now()
            await woken_or_at(self._clock, self._woken, min(max(at, now + LOOKS_AT_MOST), now + LOOKS_AT_LEAST))
            self._woken.clear()

    async def _look(self) -> datetime:
        """Do what is due; when to look again."""
        settings = await self._settings.current()
        credential = self._credential(settings)
        repair, self._repair_asked = self._repair_asked, False
        now = self._clock.now()
        await self._leave_behind(credential)
        if credential is None:
            return now + LOOKS_AT_LEAST
        secret = credential.secret_name
        open_ = await self._rotations.open(secret)
        if open_ is not None and open_.state is RotationState.RUNNING and self._under_way is None:
            claim = await self._rotations.claimed(secret)
            if claim is not None and claim.owner != self._owner and claim.until <= now + 2 * CLAIMED_FOR:
                return claim.until
            if self._not_before is None or self._not_before <= now:
                return await self._by_itself(Trigger.RETRY)
            return self._not_before
        if repair and not _is_left_alone(open_, now):
            return await self._by_itself(Trigger.REPAIR)
        if open_ is not None:
            # What is further ahead than any try was reckoned by a clock that was put right since.
            if open_.next_try_at is not None and now < open_.next_try_at <= now + BEFORE_GUESSING_AGAIN:
                return open_.next_try_at
            return await self._by_itself(Trigger.RETRY)
        if settings.mode is not Mode.ADVANCED:
            return now + LOOKS_AT_LEAST
        at = await self._next_begin(credential, settings, now)
        if at <= now:
            self._passed(Point.DUE)
            return await self._by_itself(Trigger.SCHEDULE)
        if not credential.replaces and (self._retired_at is None or self._retired_at + RETIRES_EVERY <= now):
            versions = of_account(await self._vault.versions(secret), credential.account)
            self._retired_at = now
            if sum(version.enabled for version in versions) > 1:
                return await self._by_itself(Trigger.REPAIR)
        return at

    async def _leave_behind(self, credential: Credential | None) -> None:
        """Give over what stands for an account that Latchkey does not work with any more. Raises `Busy`."""
        for open_ in await self._rotations.all_open():
            if self._under_way is not None or (credential is not None and _is_of(open_, credential)):
                continue
            claim = await self._claim(open_.secret)
            try:
                await self._give_over(open_, claim, _LEFT)
            finally:
                await self._release(open_.secret, claim)

    async def _by_itself(self, trigger: Trigger) -> datetime:
        """A try; when to look again."""
        aim = Aim.REPAIR if trigger is Trigger.REPAIR else Aim.RENEW
        record = await self._run(_Wish(trigger, None, None, aim, own=True))
        self._not_before = None if not record.is_open or record.next_try_at else self._clock.now() + FIRST_GAP
        return record.next_try_at or self._clock.now()

    async def _next_begin(self, credential: Credential, settings: TenantSettings, now: datetime) -> datetime:
        """When the next rotation by schedule begins. What is due is reckoned once, and kept."""
        secret, rule = credential.secret_name, Rule.of(settings, self._zone)
        kept, last = await self._rotations.due(secret), await self._rotations.last(secret)
        due = reckoned(rule, kept, last.finished_at if last else None, now, self._chance())
        if due != kept:
            await self._rotations.set_due(secret, due)
        return begins_at(rule, due.at, now)

    async def _tell_again(self) -> None:
        """After a start, of what stands or is done: it may have died before it told."""
        settings = await self._settings.current()
        credential = self._credential(settings)
        if credential is None:
            if not await self._rotations.all_open():
                await self._alarm.close(rotation_words.ROTATION, how=_LEFT)
            return
        open_ = await self._rotations.open(credential.secret_name)
        if open_ is not None and open_.state is RotationState.STANDING:
            await self._alarm.raise_(self._trouble(open_, settings))
        for last in [] if open_ else await self._rotations.history(credential.secret_name, 1):
            if last.state is RotationState.DONE or last.giving_up:
                await self._alarm.close(rotation_words.ROTATION, last.incident, rotation_words.over(last))

    # --- one try ------------------------------------------------------------------------------------------------------

    def _ended(self, under_way: _UnderWay, record: RotationRecord | None) -> None:
        self._under_way = None
        wish = under_way.wish
        if record is not None and wish.request_id is not None and not under_way.awaited:
            self._unheard = {wish.request_id: record}
        if not wish.own:
            self._woken.set()

    async def _try(self, under_way: _UnderWay) -> RotationRecord:
        wish = under_way.wish
        if wish.request_id is not None:
            known = await self._rotations.of_request(wish.request_id)
            if known is not None and not known.is_open and known.trigger is not Trigger.DRILL:
                return known
        settings, credential = await self._rotatable()
        if wish.trigger in {Trigger.SCHEDULE, Trigger.NOW} and settings.mode is not Mode.ADVANCED:
            raise NotPossible(nothing_to_rotate(RotationStatus(nothing=_nothing(settings)), settings))
        claim = await self._claim(credential.secret_name)
        try:
            self._passed(Point.CLAIMED)
            begun = await self._record_for(wish, credential, settings, claim)
            if isinstance(begun, RotationRecord):
                return begun
            aim = begun.aim
            drive = self._drive(credential, begun.record, claim, tell=under_way.reach)
            try:
                ending = await self._ending(drive, aim, credential)
                return await self._conclude(drive, ending, aim, settings)
            except Conflict:
                log.warning("another process has taken the rotation over")
                return await self._rotations.find(begun.record.id) or drive.record
            except StorageProblem as error:
                log.critical("a rotation cannot be written down; it goes on by itself", extra={"why": str(error)})
                with suppress(StorageProblem):
                    broken = replace(drive.record, cause=Cause.BROKEN, why=str(error))
                    await self._alarm.raise_(self._trouble(broken, settings, drive))
                raise
        finally:
            await self._release(credential.secret_name, claim)
            self._passed(Point.RELEASED)

    async def _ending(self, drive: Drive, aim: Aim, credential: Credential) -> Ending:
        """How the try ends, whatever goes wrong. Raises `Conflict`."""
        try:
            return await drive.go(aim, self._allowed_for(credential))
        except Conflict:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the rotation stands and somebody is told
            return _unforeseen(error)

    async def _rotatable(self) -> tuple[TenantSettings, Credential]:
        settings = await self._settings.current()
        credential = self._credential(settings)
        if credential is None:
            raise NotPossible(nothing_to_rotate(RotationStatus(nothing=_nothing(settings)), settings))
        return settings, credential

    def _credential(self, settings: TenantSettings) -> Credential | None:
        if settings.identity_kind is None or not settings.identity_name:
            return None
        return self._credential_of(settings)

    def _allowed_for(self, credential: Credential) -> int:
        return self._allowed if credential.kind is CredentialKind.PASSWORD else GUESSES_OF_CERTIFICATES

    def _guesses_for(self, credential: Credential) -> SignInGuesses | None:
        counted = self._guesses_of if credential.kind is CredentialKind.PASSWORD else None
        return counted(credential.account) if counted else None

    def _drive(
        self,
        credential: Credential,
        record: RotationRecord,
        claim: Claim,
        *,
        tell: Callable[[Point, RotationRecord], None],
        drill: bool = False,
    ) -> Drive:
        return Drive(
            clock=self._clock,
            vault=self._vault,
            rotations=self._rotations,
            credential=credential,
            record=record,
            claim=claim,
            guesses=None if drill else self._guesses_for(credential),
            renew=_no_session if drill else self._renew,
            passed=_unobserved if drill else self._passed,
            tell=tell,
        )

    async def _claim(self, secret: str) -> Claim:
        claim = await self._rotations.claim(secret, self._owner, until=self._clock.now() + CLAIMED_FOR)
        if claim.owner != self._owner:
            raise Busy(claim.until)
        return claim

    async def _release(self, secret: str, claim: Claim) -> None:
        try:
            await self._rotations.release(secret, claim)
        except StorageProblem as error:
            log.warning("a claim was not given back: it runs out", extra={"why": str(error)})

    async def _record_for(
        self, wish: _Wish, credential: Credential, settings: TenantSettings, claim: Claim
    ) -> RotationRecord | _Begun:
        """The rotation that this try is of, and what it aims at; or what there is to say instead of trying."""
        secret, now = credential.secret_name, self._clock.now()
        open_ = await self._rotations.open(secret)
        if open_ is not None and not _is_of(open_, credential):
            await self._give_over(open_, claim, _LEFT)
            open_ = None
        if open_ is None:
            if wish.trigger is Trigger.RETRY and wish.aim is Aim.RENEW:
                last = next(iter(await self._rotations.history(secret, 1)), None)
                if last is None:
                    raise NotPossible("No rotation waits to be tried again.")
                if last.state is RotationState.DONE:
                    await self._tell_it_is_over(last, settings)
                return last
            return _Begun(_begun(credential, wish, now), wish.aim)
        if open_.code == LOCKED and open_.tried_at is not None and abs(now - open_.tried_at) < AFTER_LOCKED:
            if wish.by is None:
                return open_
            minutes = max(1, -int((now - open_.tried_at - AFTER_LOCKED).total_seconds() // 60))
            raise NotPossible(
                f"Microsoft has locked the account for a while, and each sign-in makes that longer. Try again in "
                f"{minutes} minutes."
            )
        none_left = open_.guesses >= self._allowed_for(credential)
        may_again = none_left and await self._may_guess_again(open_, credential)
        if none_left and not may_again and open_.state is RotationState.STANDING:
            if wish.by is None:
                return open_
            raise NotPossible(
                f"As many sign-ins failed as may: with more of them Microsoft might lock the account. Latchkey tries "
                f"again {self._when_again(open_)}, and at once when another {credential.kind} is stored in Key Vault."
            )
        if may_again:
            given_up = replace(open_, state=RotationState.GIVEN_UP, finished_at=now, next_try_at=None)
            await self._rotations.save(given_up, audited("rotation.given_up", given_up), claim=claim)
            begun = _begun(credential, wish, now)
            open_ = replace(begun, incident=open_.incident, stood_at=open_.stood_at, giving_up=open_.giving_up)
            return _Begun(open_, self._aim(open_, wish, fresh=True))
        was_running = open_.state is RotationState.RUNNING
        aim = self._aim(open_, wish, fresh=was_running)
        taken_up = replace(
            open_,
            state=RotationState.RUNNING,
            tries=open_.tries + 1,
            steps=(),
            in_force=None,
            giving_up=aim is Aim.GIVE_UP,
            request_id=wish.request_id or open_.request_id,
        )
        return _Begun(taken_up, aim)

    def _when_again(self, open_: RotationRecord) -> str:
        at = open_.next_try_at
        return f"at {self._clock_time(at)}, within a day" if at else "within a day"

    @staticmethod
    def _aim(open_: RotationRecord, wish: _Wish, *, fresh: bool) -> Aim:
        """What a try of a rotation that is open aims at: what a person wishes now, else what was wished before."""
        if wish.aim is Aim.GIVE_UP or (open_.giving_up and wish.by is None):
            return Aim.GIVE_UP
        if open_.trigger is Trigger.REPAIR and wish.trigger in {Trigger.REPAIR, Trigger.RETRY}:
            return Aim.REPAIR
        return Aim.RENEW if fresh else wish.aim

    async def _may_guess_again(self, open_: RotationRecord, credential: Credential) -> bool:
        """Whether a day has passed since the last wrong guess, or something was stored since that nobody has tried."""
        since = open_.tried_at or open_.started_at
        if abs(self._clock.now() - since) >= BEFORE_GUESSING_AGAIN:
            return True
        versions = of_account(await self._vault.versions(credential.secret_name), credential.account)
        # The vault keeps whole seconds.
        return any(version.enabled and version.created_at >= since.replace(microsecond=0) for version in versions)

    async def _give_over(self, open_: RotationRecord, claim: Claim, how: str) -> None:
        over = replace(open_, state=RotationState.GIVEN_UP, finished_at=self._clock.now(), next_try_at=None)
        await self._rotations.save(over, audited("rotation.given_up", over), claim=claim)
        await self._alarm.close(rotation_words.ROTATION, over.incident, how)

    # --- how it ended -------------------------------------------------------------------------------------------------

    async def _conclude(self, drive: Drive, ending: Ending, aim: Aim, settings: TenantSettings) -> RotationRecord:
        record = drive.record
        changed = drive.changed = drive.changed or ending.changed or _is_newer(ending.in_force, record)
        if ending.done and (aim is not Aim.REPAIR or changed or record.trigger is Trigger.REPAIR):
            due_from = None
            if changed:
                with suppress(BadInput):  # else it is reckoned once the settings make sense
                    due_from = partial(_due, Rule.of(settings, self._zone), chance=self._chance())
            record = await drive.ended(ending, due_from=due_from)
            await self._tell_it_is_over(record, settings)
            return record
        if ending.done:
            # What was to be repaired is; what the rotation is for is still to be done, soon if nothing else is wrong.
            wrong = record.cause in {Cause.FORBIDDEN, Cause.NOT_TAKEN, Cause.BLOCKED}
            gap = FIRST_GAP if wrong else timedelta()
            return await drive.stands(replace(ending, cause=record.cause, why=record.why, code=record.code), gap)
        if ending.cause in {Cause.LOST, Cause.GUESSES}:
            drive.leave_alone()
        gap = self._gap(record, ending, drive.guesses_left)
        if ending.cause is Cause.GUESSES and record.cause is Cause.LOST:  # which is still all that is known
            ending = replace(ending, cause=Cause.LOST)
        record = await drive.stands(ending, gap)
        await self._alarm.raise_(self._trouble(record, settings, drive))
        return record

    def _gap(self, record: RotationRecord, ending: Ending, guesses_left: int) -> timedelta:
        """How long to wait before the next try."""
        gap = FIRST_GAP
        if record.tried_at is not None and record.next_try_at is not None:
            before = record.next_try_at - record.tried_at
            # Somebody's try in between does not make the next one come later.
            gap = before if record.next_try_at > self._clock.now() else 2 * before
        gap = min(max(gap, FIRST_GAP), LONGEST_GAP)
        if ending.cause is Cause.LOST:
            gap = LONGEST_GAP
        if ending.cause is Cause.GUESSES or guesses_left <= 0:
            gap = BEFORE_GUESSING_AGAIN
        return gap

    async def _tell_it_is_over(self, record: RotationRecord, settings: TenantSettings) -> None:
        # All of them: also of one that could not be written down when it failed.
        await self._alarm.close(rotation_words.ROTATION, how=rotation_words.over(record))
        if record.in_force is not None:
            how = rotation_words.elsewhere_over(record)
            await self._alarm.close(rotation_words.ELSEWHERE, settings.identity_id or record.account, how)

    def _trouble(self, record: RotationRecord, settings: TenantSettings, drive: Drive | None = None) -> Any:
        nothing_new = record.pending is None and not (drive and drive.waiting)
        lost = record.cause is Cause.LOST
        return rotation_words.trouble(
            record,
            self._clock_time,
            set_aside=[version.created_at for version in drive.set_aside] if drive and lost else (),
            elsewhere=settings.identity_id or record.account if lost and nothing_new else "",
        )

    def _clock_time(self, when: datetime) -> str:
        return f"{when.astimezone(self._zone):%H:%M}"


@dataclass(frozen=True)
class _Wish:
    """What somebody, or the schedule, wants."""

    trigger: Trigger
    by: str | None
    request_id: str | None
    aim: Aim
    own: bool = False
    """Latchkey's own, of `keep_up`."""

    def is_of_request_of(self, other: _Wish) -> bool:
        return self.request_id is not None and self.request_id == other.request_id


@dataclass(frozen=True)
class _Begun:
    """The rotation that a try is of, and what it aims at."""

    record: RotationRecord
    aim: Aim


class _UnderWay:
    """The try that this process is at."""

    def __init__(self, wish: _Wish) -> None:
        self.wish = wish
        self.at = -1
        """The place, in their order, of the last point that was reached."""
        self._record: RotationRecord | None = None
        self._listeners: list[Callable[[Point], None]] = []
        self._waiting = 0
        self._moved = asyncio.Event()
        self._task: asyncio.Task[RotationRecord] | None = None

    @property
    def awaited(self) -> bool:
        """Whether somebody waits for what becomes of it."""
        return self._waiting > 0

    def begin(
        self,
        work: Coroutine[Any, Any, RotationRecord],
        ended: Callable[[_UnderWay, RotationRecord | None], None],
    ) -> None:
        def over(task: asyncio.Task[RotationRecord]) -> None:
            failed = task.cancelled() or task.exception() is not None
            ended(self, None if failed else task.result())
            self._moved.set()

        self._task = asyncio.create_task(work)
        self._task.add_done_callback(over)

    def reach(self, point: Point, record: RotationRecord) -> None:
        self.at, self._record = ORDER[point], record
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
        for listener in self._listeners:
            listener(point)

    async def reached(self, until: Point | None, tell: Callable[[Point], None] | None) -> RotationRecord:
        """The rotation once it has come so far, or has ended."""
        task = self._task
        if task is None:
            raise RuntimeError("a try that was not begun")
        self._waiting += 1
        if tell is not None:
            self._listeners.append(tell)
        try:
            while until is not None and not task.done():
                if self.at >= ORDER[until] and self._record is not None:
                    return self._record
                await self._moved.wait()
            return await asyncio.shield(task)
        finally:
            self._waiting -= 1
            if tell is not None:
                self._listeners.remove(tell)

    async def over(self) -> None:
        if self._task is not None:
            await asyncio.wait([self._task])

    async def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])


_LEFT: Final = "Latchkey does not work with that account any more."


# --- small judgements -----------------------------------------------------------------------------------------------


def _begun(credential: Credential, wish: _Wish, now: datetime) -> RotationRecord:
    new_id = uuid.uuid4().hex
    return RotationRecord(
        id=new_id,
        kind=credential.kind,
        trigger=wish.trigger,
        secret=credential.secret_name,
        account=credential.account,
        started_at=now,
        by=wish.by,
        request_id=wish.request_id,
        giving_up=wish.aim is Aim.GIVE_UP,
        incident=new_id,
    )


def _unforeseen(error: Exception) -> Ending:
    """How a try ends that something stopped which is no finding of its own."""
    match error:
        case VaultProblem():
            return Ending(Cause.VAULT, str(error))
        case SignInFailed():
            return Ending(Cause.UNKNOWN, str(error), error.code)
        case GraphProblem():
            return Ending(Cause.UNREACHED, str(error))
        case LatchkeyError():
            return Ending(Cause.BROKEN, str(error))
    log.error("a rotation met something unforeseen", exc_info=error)
    return Ending(Cause.BROKEN, "Something that nobody foresaw went wrong; Latchkey's log says what.")


def _due(rule: Rule, since: datetime, *, chance: float) -> Due:
    return Due(next_due(rule, since, chance), since, str(rule))


def _is_newer(version: SecretVersion | None, record: RotationRecord) -> bool:
    """Whether what is in force was stored since the rotation began, by whomever. The vault keeps whole seconds."""
    return version is not None and version.created_at >= record.started_at.replace(microsecond=0)


def _is_left_alone(open_: RotationRecord | None, now: datetime) -> bool:
    """Whether the last try is so fresh that another could only find the same."""
    return open_ is not None and open_.tried_at is not None and abs(now - open_.tried_at) < FIRST_GAP


def _is_of(record: RotationRecord, credential: Credential) -> bool:
    """Whether it is of this credential, and not of one of an account that Latchkey worked with before."""
    same_account = record.account.casefold() == credential.account.casefold()
    return same_account and record.secret == credential.secret_name


def _nothing(settings: TenantSettings) -> str:
    """Why the identity has nothing that can be rotated."""
    if settings.identity_kind is IdentityKind.MANAGED_IDENTITY:
        return f"Nothing to rotate: {settings.identity_name} is a managed identity, and Azure renews what it needs."
    return "Nothing to rotate: Latchkey has no account or application of its own to sign in with."
