"""One try of a rotation, carried out: the ports behind the effects of `bot/rotation.py`.

What is written down here is a cache: the tags in the vault are the truth, and what is proven is finished by them even
if the database cannot be written.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from bot.errors import (
    Conflict,
    GraphProblem,
    GraphRefused,
    LatchkeyError,
    NotAsked,
    OutcomeUnknown,
    SignInFailed,
    StorageProblem,
    VaultProblem,
)
from bot.guesses import SignInGuesses, what_it_says
from bot.identities import of_account
from bot.model import (
    AuditRecord,
    Call,
    Cause,
    Point,
    RotationRecord,
    RotationState,
    Secret,
    Trigger,
)
from bot.ports import (
    Claim,
    Clock,
    Due,
    Rotations,
    SecretVersion,
    Sent,
    Vault,
)
from bot.rotating import Credential
from bot.rotation import (
    Aim,
    Answer,
    Change,
    Changed,
    Effect,
    Ending,
    Label,
    ListVersions,
    Reach,
    Renew,
    SignsIn,
    State,
    Steps,
    Store,
    Task,
    Tried,
    TrySignIn,
    Wait,
    Withdraw,
    rotation,
    state_of,
)

log = logging.getLogger(__name__)

CLAIMED_FOR: Final = timedelta(minutes=3)
HEARTBEAT: Final = timedelta(seconds=30)
"""How long a claim holds unless it is renewed, and how often it is while a rotation waits."""

ORDER: Final = {point: place for place, point in enumerate(Point)}
FINISHES: Final = ORDER[Point.PROVEN]
"""From here on the tags are put right whatever becomes of the database."""

Passed = Callable[[Point], None]
RenewSession = Callable[[str], Awaitable[None]]
"""Signs the session that is on in anew, told why."""


_DELETED: Final = "The secret was deleted in Key Vault and does not come back yet. Recover it there."
_NO_GUESSES: Final = "As many sign-ins failed as may, or Microsoft might lock the account."


class _Recovered(Exception):
    """The secret had been deleted, and is back: what was listed is of no use."""


class Drive:
    """Carries out the effects of one try."""

    def __init__(
        self,
        *,
        clock: Clock,
        vault: Vault,
        rotations: Rotations,
        credential: Credential,
        record: RotationRecord,
        claim: Claim,
        guesses: SignInGuesses | None,
        renew: RenewSession,
        passed: Passed,
        tell: Callable[[Point, RotationRecord], None],
    ) -> None:
        self.record = record
        self.changed = False
        """Whether another version is tagged as current than before."""
        self.waiting = False
        """Whether a new version waited in the vault when this try began."""
        self.set_aside: Sequence[SecretVersion] = ()
        """What somebody has disabled although it may be in force."""
        self._clock = clock
        self._vault = vault
        self._rotations = rotations
        self._credential = credential
        self._claim = claim
        self._guesses = guesses
        self._renew = renew
        self._passed = passed
        self._tell = tell
        self._allowed = 0
        self._at = -1
        self._moved_at = clock.monotonic()
        self._settled: SecretVersion | None = None
        self._right: tuple[str, Secret] | None = None
        """The version that signed in last, and its value."""
        self._listed: Sequence[SecretVersion] = ()
        self._answered: tuple[AuditRecord, ...] = ()
        """The second rows of attempts, which are written with the next commit."""

    @property
    def guesses_left(self) -> int:
        return max(0, self._allowed - self.record.guesses)

    @property
    def _secret(self) -> str:
        return self._credential.secret_name

    def leave_alone(self) -> None:
        """None of what is stored signs in: readers guess at it as seldom as rotations do."""
        if self._guesses is not None:
            self._guesses.all_wrong(self._listed)

    async def go(self, aim: Aim, allowed: int) -> Ending:
        """How the try ends. What ends it otherwise is raised."""
        self._allowed = allowed
        for _ in range(2):
            task = Task(
                self.record.id, self.guesses_left, self._clock.now(), aim=aim, replaces=self._credential.replaces
            )
            try:
                return await self._through(rotation(task))
            except _Recovered:
                log.warning("a deleted secret was recovered")
            except LatchkeyError as error:
                if self._at < ORDER[Point.WRITTEN]:
                    raise
                # All that counts is done. What is left over is retired another time.
                log.warning("a rotation is done but for what is old", extra={"why": str(error)})
                return Ending(in_force=self._settled, changed=self.changed)
        raise VaultProblem(_DELETED, reason="deleted")

    async def _through(self, steps: Steps) -> Ending:
        found: Any = None
        try:
            while True:
                try:
                    effect = steps.send(found)
                except StopIteration as stop:
                    ending: Ending = stop.value
                    return ending
                found = await self._carry_out(effect)
        finally:
            steps.close()

    async def _carry_out(self, effect: Effect) -> Any:
        match effect:
            case Reach():
                return await self._reach(effect.point, effect.version)
            case Wait():
                return await self._wait(effect.time)
            case Renew():
                return await self._renew_session()
        await self._keep_claim()
        match effect:
            case ListVersions():
                return await self._list()
            case TrySignIn():
                return await self._try_sign_in(effect.version)
            case Store():
                return await self._store()
            case Change():
                return await self._change(effect.old, effect.new)
            case Withdraw():
                return await self._withdraw(effect.version)
            case Label():
                return await self._label(effect.version, effect.state)
        raise TypeError(f"nobody carries out {type(effect).__name__}")

    # --- writing down -------------------------------------------------------------------------------------------------

    def _took(self, point: Point) -> None:
        now = self._clock.monotonic()
        took, self._moved_at = now - self._moved_at, now
        self.record = replace(self.record, steps=(*self.record.steps, (point, round(took, 3))))

    async def _reach(self, point: Point, version: SecretVersion | None) -> None:
        self._took(point)
        self.record = replace(self.record, point=point)
        if version is not None and point in {Point.NOTED, Point.TESTED}:
            self.record = replace(self.record, pending=version.version)
        if point is Point.WRITTEN:
            self._settled = version
        audit = []
        if point is Point.STARTED and self._at < 0:
            audit = [audited("rotation.started" if self.record.tries == 1 else "rotation.resumed", self.record)]
        self._at = ORDER[point]
        try:
            await self._save(*audit)
        except (StorageProblem, Conflict) as error:
            self._unless_it_finishes(error)
        self._passed(point)
        self._tell(point, self.record)

    async def _save(self, *audit: AuditRecord, due: Due | None = None) -> None:
        """Write the rotation down, and what Microsoft said since it was."""
        await self._rotations.save(self.record, *self._answered, *audit, claim=self._claim, due=due)
        self._answered = ()

    def _unless_it_finishes(self, error: LatchkeyError) -> None:
        """Once something new is proven its tags are put right, with or without the database and the claim."""
        if self._at < FINISHES:
            raise error
        log.warning("a rotation goes on although it cannot be written down", extra={"why": str(error)})

    async def _keep_claim(self) -> None:
        now = self._clock.now()
        if self._claim.until - now > CLAIMED_FOR - HEARTBEAT:
            return
        try:
            self._claim = await self._rotations.renew(self._secret, self._claim, until=now + CLAIMED_FOR)
        except (StorageProblem, Conflict) as error:
            self._unless_it_finishes(error)

    async def _wait(self, time: timedelta) -> None:
        left = time
        while left > timedelta():
            await self._keep_claim()
            part = min(left, HEARTBEAT)
            await self._clock.sleep_until(self._clock.now() + part)
            left -= part

    async def ended(
        self, ending: Ending, *, due_from: Callable[[datetime], Due] | None = None, final: bool = False
    ) -> RotationRecord:
        """It is over; a drill also where it failed (*final*). *due_from* says when the next one is due after that."""
        kind, state = "rotation.done", RotationState.DONE
        if self.record.giving_up and not self.changed:
            kind, state = "rotation.given_up", RotationState.GIVEN_UP
        if final and not ending.done:
            kind, state = "rotation.failed", RotationState.STANDING
        now = self._clock.now()
        self.record = replace(
            self._with(ending), state=state, changed=self.changed, finished_at=now, tried_at=now, next_try_at=None
        )
        if ending.done:
            self.record = replace(self.record, point=Point.RELEASED)
        if self.record.trigger is Trigger.DRILL:
            kind = kind.replace("rotation", "rotation.drill", 1)
        due = due_from(now) if due_from else None
        await self._save(audited(kind, self.record), due=due)
        return self.record

    async def stands(self, ending: Ending, gap: timedelta) -> RotationRecord:
        now = self._clock.now()
        self.record = replace(
            self._with(ending),
            state=RotationState.STANDING,
            tried_at=now,
            stood_at=self.record.stood_at or now,
            next_try_at=now + gap,
        )
        await self._save(audited("rotation.failed", self.record))
        return self.record

    def _with(self, ending: Ending) -> RotationRecord:
        in_force = ending.in_force.version if ending.in_force else self.record.in_force
        if ending.cause is Cause.NOT_SEEN:
            in_force = None  # not everywhere, at least
        return replace(self.record, cause=ending.cause, why=ending.why, code=ending.code, in_force=in_force)

    # --- the vault ----------------------------------------------------------------------------------------------------

    async def _list(self) -> list[SecretVersion]:
        versions = await self._vault.versions(self._secret)
        if not versions:
            await self._recover()
            versions = await self._vault.versions(self._secret)
        ours = of_account(versions, self._credential.account)
        may_be = {State.CURRENT, State.PENDING}
        self.set_aside = [version for version in ours if not version.enabled and state_of(version) in may_be]
        self._listed = ours
        self.waiting = any(version.enabled and _is_pending(version) for version in ours)
        return ours

    async def _recover(self) -> None:
        """Bring the deleted secret back, and wait until it is. Raises `VaultProblem`, also if there is none."""
        await self._vault.recover(self._secret)
        for _ in range(12):
            if await self._vault.versions(self._secret):
                return
            await self._clock.sleep_until(self._clock.now() + timedelta(seconds=5))
        raise VaultProblem(_DELETED, reason="deleted")

    async def _store(self) -> SecretVersion:
        value = await self._credential.make()
        tags = {
            "state": State.PENDING.value,
            "rotation": self.record.id,
            "account": self._credential.account,
            "created_by": "latchkey",
            **self._credential.read_tag(value),
        }
        try:
            version = await self._vault.store(self._secret, value, tags=tags)
        except VaultProblem as problem:
            if problem.reason != "deleted":
                raise
            await self._recover()
            raise _Recovered from problem
        self._passed(Point.STORED)
        return version

    async def _label(self, version: SecretVersion, state: State) -> None:
        tags = {**version.tags, "state": state.value, "account": self._credential.account}
        enabled = False if state is State.RETIRED else None
        await self._vault.label(self._secret, version.version, tags=tags, enabled=enabled)
        if state is State.CURRENT:
            self.changed = self.changed or _is_pending(version)
        if state is State.REFUSED and version.version == self.record.pending:
            self.record = replace(self.record, pending=None)

    # --- Microsoft ----------------------------------------------------------------------------------------------------

    async def _try_sign_in(self, version: SecretVersion) -> Tried:
        value = await self._vault.read(self._secret, version.version)
        made = await self._rotations.count_guess(self.record.id, 1, claim=self._claim)
        self.record = replace(self.record, guesses=made)
        if made > self._allowed:  # another process guesses, too
            await self._take_back()
            return Tried(SignsIn.UNKNOWN, _NO_GUESSES)
        try:
            if self._guesses is None:
                await self._credential.sign_in(value)
            else:
                await self._guesses.make(lambda: self._credential.sign_in(value))
        except SignInFailed as failure:
            tried = Tried(what_it_says(failure), str(failure), failure.code)
            answered = failure.code is not None and tried.signs_in is not SignsIn.NO
            if answered or isinstance(failure, NotAsked):
                await self._take_back()
        else:
            tried, self._right = Tried(SignsIn.YES), (version.version, value)
            await self._take_back()
        if tried.right:
            self.record = replace(self.record, in_force=version.version)
        return tried

    async def _take_back(self) -> None:
        made = await self._rotations.count_guess(self.record.id, -1, claim=self._claim)
        self.record = replace(self.record, guesses=made)

    async def _change(self, old: SecretVersion, new: SecretVersion) -> Changed:
        held = self._right
        # What is sent is what the vault gives back.
        new_value = await self._vault.read(self._secret, new.version)
        old_value = held[1] if held and held[0] == old.version else await self._vault.read(self._secret, old.version)
        in_force, self.record = self.record.in_force, replace(self.record, in_force=None)
        try:
            await self._credential.change(old_value, new_value, self._attempt)
        except OutcomeUnknown as error:
            return Changed(Answer.UNKNOWN, str(error))
        except GraphProblem as error:
            self.record = replace(self.record, in_force=in_force)
            match error.answer.status if error.answer else None:
                case 400 if isinstance(error, GraphRefused):
                    return Changed(Answer.NOT_TAKEN, str(error))
                case 401 | 403:
                    return Changed(Answer.FORBIDDEN, str(error))
            raise
        self._took(Point.CHANGED)
        self._passed(Point.CHANGED)
        return Changed(Answer.DONE)

    async def _attempt(self, call: Call, send: Callable[[str], Awaitable[Sent]]) -> Sent:
        """Have *call* sent once its row is written; what comes back is a row, too. As on the road of a request."""
        attempt_id, record = str(uuid.uuid4()), self.record
        about = {"rotation": record.id, "account": record.account}
        row = AuditRecord("attempt.started", record.by, record.request_id, attempt_id)
        await self._save(replace(row, facts={**about, "method": call.method, "path": "/".join(call.path)}))
        facts: dict[str, Any] = {"outcome": "unknown"}
        try:
            sent = await send(attempt_id)
            facts = {"outcome": "succeeded", "microsoft_request_id": sent.request_id}
        except GraphProblem as error:
            if not isinstance(error, OutcomeUnknown):
                facts["outcome"] = "refused" if isinstance(error, GraphRefused) else "unavailable"
            if answer := error.answer:
                facts |= {"status": answer.status, "code": answer.code, "microsoft_request_id": answer.request_id}
            raise
        finally:
            finished = replace(row, kind="attempt.finished", facts={**about, **facts})
            self._answered = (*self._answered, finished)
        return sent

    async def _withdraw(self, version: SecretVersion) -> None:
        if self._right is None:
            raise RuntimeError("nothing is known to be in force")
        old = await self._vault.read(self._secret, version.version)
        await self._credential.withdraw(old, self._right[1], self._attempt)

    async def _renew_session(self) -> None:
        try:
            await self._renew("The credential it signs in with was rotated.")
        except LatchkeyError as error:
            log.warning("the session was not renewed after a rotation", extra={"why": str(error)})


def audited(kind: str, record: RotationRecord) -> AuditRecord:
    facts: dict[str, Any] = {
        "rotation": record.id,
        "trigger": record.trigger.value,
        "secret": record.secret,
        "account": record.account,
        "tries": record.tries,
    }
    if kind in {"rotation.failed", "rotation.drill.failed"}:
        facts |= {"cause": record.cause.value if record.cause else None, "why": record.why, "point": record.point.value}
    if not kind.endswith(("started", "resumed")):
        facts |= {"in_force": record.in_force, "pending": record.pending, "guesses": record.guesses}
    return AuditRecord(kind, operator_id=record.by, request_id=record.request_id, facts=facts)


def _is_pending(version: SecretVersion) -> bool:
    return state_of(version) is State.PENDING
