"""What happens after a management session could not be opened because of a rule of Microsoft Entra.

The request fails at once and is told so. What stood in the way is found out afterwards, which takes some seconds, and
comes on a card of its own. Whoever may tests from there whether it still does: then the request runs again, once.

What is left to do stands in the request's row and makes it due, so a restart goes on with it.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from bot import story
from bot.actions import catalogue
from bot.diagnosis import Blocked, can_be_diagnosed
from bot.errors import BadInput, Conflict, LatchkeyError, SessionNotOpened, SignInFailed
from bot.model import NOBODY, AuditRecord, Identity, Mode, Operator, Request, RequestState, TenantSettings
from bot.obstacle import (
    ASKED_AT,
    BLOCKED,
    RETRIED,
    WORKS_AGAIN,
    Obstacle,
    Outcome,
    Phase,
    may_run_again,
    stands,
)
from bot.ports import Clock, Message, Requests, Settings

log = logging.getLogger(__name__)

CONFIRMED_FOR: Final = timedelta(minutes=30)
"""How long what somebody agreed to may have waited and still run without asking them once more."""

OPEN_FOR: Final = timedelta(days=1)
"""How long a card says by itself that nothing stands in the way any more."""

SAID_FOR: Final = timedelta(minutes=5)
"""How long a card outside of threads spares the same person another one."""

SAME: Final = timedelta(seconds=30)
"""A failure of the same kind this long after another is not looked into again."""

_TRIES: Final = 5
"""How often a row is changed once more that somebody else changed meanwhile."""


class Diagnosis(Protocol):
    async def of(self, error: LatchkeyError, identity: Identity | None) -> Blocked | None:
        """What blocks; None where that is not the question (a wrong password, say)."""


class Sessions(Protocol):
    async def try_out(self) -> None:
        """Sign the service identity in once. Raises `SignInFailed`, `VaultProblem` or `StorageProblem`."""


class Stopped(Requests, Protocol):
    """Requests, those that wait for the way to be free included."""

    async def stopped(self) -> Sequence[Request]:
        """Requests that failed and are still to be looked at, oldest first."""


# --- Finding out ----------------------------------------------------------------------------------------------------


@dataclass
class _Look:
    """One finding-out, shared by everybody who wants to know."""

    began: float
    task: asyncio.Task[Blocked | None]


class Findings:
    """Finds out what blocks, once for all who ask at about the same time: Microsoft takes one question a second."""

    def __init__(self, clock: Clock, diagnosis: Diagnosis) -> None:
        self._clock = clock
        self._diagnosis = diagnosis
        self._looks: dict[tuple[str, int | None], _Look] = {}

    async def of(self, error: SignInFailed, identity: Identity, *, not_before: float | None = None) -> Blocked | None:
        """What blocks *identity*, as it was found out a moment ago at most; with *not_before* (by the clock's
        `monotonic`) after that. None where there is nothing to find. Raises nothing of Microsoft's."""
        about, now = (identity.id, error.code), self._clock.monotonic()
        since = now - SAME.total_seconds() if not_before is None else not_before
        look = self._looks.get(about)
        under_way = look is not None and not look.task.done() and not_before is None
        if look is None or (look.began < since and not under_way):
            look = _Look(now, asyncio.create_task(self._diagnosis.of(error, identity)))
            self._looks[about] = look
        return await asyncio.shield(look.task)

    async def close(self) -> None:
        tasks = [look.task for look in self._looks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# --- Being stopped --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Blocking:
    """Sees to requests for which no session could be opened."""

    clock: Clock
    settings: Settings
    requests: Stopped
    findings: Findings
    sessions: Sessions
    wake: Callable[[str], None]
    """Has the worker go on with a request."""
    clock_time: Callable[..., str]
    _well: asyncio.Event = field(default_factory=asyncio.Event, init=False, repr=False)
    _one_by_one: asyncio.Lock = field(default_factory=asyncio.Lock, init=False, repr=False)

    async def met(self, error: LatchkeyError, request: Request) -> Obstacle | None:
        """What *request* was stopped by, if it is something to find out about."""
        failure = can_be_diagnosed(error) if isinstance(error, SessionNotOpened) else None
        identity = acting(await self.settings.current())
        if failure is None or identity is None:
            return None
        may_open, asked_at = bool(request.answer.get("may_open")), request.answer.get(ASKED_AT)
        since = datetime.fromisoformat(asked_at) if asked_at else None
        return Obstacle(Phase.LOOKING, failure, identity, self.clock.now(), may_open=may_open, asked_at=since)

    async def test(self, request: Request, by: Operator, *, delivery: str | None = None) -> None:
        """*Test again*: somebody wants to know whether it still stands in the way. Raises `BadInput` or `Conflict` if
        that is no question (any more)."""
        obstacle = Obstacle.of(request)
        if obstacle is None or not stands(request) or obstacle.phase is Phase.LOOKING:
            raise BadInput("There is nothing to test here.")
        if obstacle.phase in {Phase.TESTING, Phase.WORKS}:
            raise BadInput(f"{obstacle.by} pressed a moment ago: it is being tested.")
        if obstacle.phase is Phase.OVER and not may_run_again(request):
            raise BadInput("This works again, and the request has been tried again already.")
        then = request.due_at if request.state is RequestState.UNKNOWN else None
        testing = replace(obstacle, phase=Phase.TESTING, by=by.name or "Somebody", then=then).within(request)
        record = AuditRecord("blocked.tested", operator_id=by.id, request_id=request.id)
        await self._save(replace(testing, due_at=self.clock.now()), record, delivery=delivery)
        self.wake(request.id)

    # --- what the worker does -----------------------------------------------------------------------------------------

    async def go_on(self, request_id: str) -> None:
        """Do what is left to do about what this request met. Raises `StorageProblem`."""
        while True:
            request = await self.requests.find(request_id)
            obstacle = Obstacle.of(request) if request and stands(request) else None
            if request is None or obstacle is None or not obstacle.has_work:
                break
            match obstacle.phase:
                case Phase.LOOKING:
                    await self._find_out(request, obstacle)
                case Phase.TESTING:
                    await self._test(request, obstacle)
                case _:
                    await self._run_again(request, obstacle)
        failed = request is not None and request.state is RequestState.FAILED
        if request is not None and failed and request.due_at and request.due_at <= self.clock.now():
            # Its card has said for long enough by itself how it is.
            await self._change(request.id, lambda row: replace(row, due_at=None), quietly=True)

    async def give_up(self, request_id: str) -> None:
        """Something went wrong that nobody foresaw: what is known by now has to do. Whoever wants to tests again."""
        row = await self.requests.find(request_id)
        made = row is not None and await self.requests.find(str(row.answer.get(RETRIED))) is not None

        def rests(row: Request) -> Request | None:
            obstacle = Obstacle.of(row)
            if obstacle is None or obstacle.phase is not Phase.WORKS:
                return self._known(row, None)
            answer = {name: value for name, value in row.answer.items() if made or name != RETRIED}
            return self._rests(replace(obstacle, phase=Phase.OVER), replace(row, answer=answer))

        await self._change(request_id, rests)

    async def keep_up(self) -> None:
        """Run until cancelled: once the service identity signs in, cards say so."""
        while True:
            await self._well.wait()
            self._well.clear()
            try:
                for request in await self.requests.stopped():
                    await self._change(request.id, self._passed)
            except LatchkeyError as error:
                log.warning("cards could not be brought up to date", extra={"why": str(error)})
            except Exception:
                log.exception("bringing cards up to date met something unforeseen")

    def well(self) -> None:
        """The service identity has signed in."""
        self._well.set()

    # --- -------------------------------------------------------------------------------------------------------------

    async def _find_out(self, request: Request, obstacle: Obstacle) -> None:
        found = await self.findings.of(obstacle.failure, obstacle.identity)
        async with self._one_by_one:
            told = found is not None and not await self._said_already(request, found)
            if told:
                await self._change(request.id, lambda row: self._known(row, found))
            else:  # nor is what was said in private said once more
                await self._change(request.id, self._nothing_to_tell, quietly=True)

    async def _said_already(self, request: Request, found: Blocked) -> bool:
        """Whether the same person has had a card that says so a moment ago, and this one would be below it, with no
        thread of its own: somebody who looks many people up in vain has one."""
        if request.started_at is not None:
            return False
        since = self.clock.now() - SAID_FOR
        for other in await self.requests.stopped():
            met = Obstacle.of(other)
            if met is None or met.phase is not Phase.KNOWN or met.at < since or other.started_at is not None:
                continue
            here = (other.slack, other.origin.channel) == (request.slack, request.origin.channel)
            if here and met.found and Blocked.from_json(met.found).headline == found.headline:
                return True
        return False

    def _nothing_to_tell(self, row: Request) -> Request | None:
        """What failed is no question of what blocks, or another card says what does: the failure itself is enough."""
        obstacle = Obstacle.of(row)
        if obstacle is None or obstacle.phase is not Phase.LOOKING:
            return None
        rests = self._rests(replace(obstacle, phase=Phase.OVER), row)
        return replace(rests, answer={name: value for name, value in row.answer.items() if name != BLOCKED})

    def _known(self, row: Request, found: Blocked | None) -> Request | None:
        """Tell what was found; where the failure says all there is, that."""
        obstacle = Obstacle.of(row)
        if obstacle is None or obstacle.phase not in {Phase.LOOKING, Phase.TESTING}:
            return None
        return self._rests(replace(obstacle, phase=Phase.KNOWN, found=found.to_json() if found else None), row)

    def _rests(self, obstacle: Obstacle, row: Request) -> Request:
        """Nothing is left to do now."""
        later = self.clock.now() + OPEN_FOR if obstacle.phase is Phase.KNOWN else None
        due = obstacle.then if row.state is RequestState.UNKNOWN else later
        return replace(replace(obstacle, then=None).within(row), due_at=due)

    async def _test(self, request: Request, obstacle: Obstacle) -> None:
        """Sign in once, afresh; what failed before is no reason not to."""
        began, identity = self.clock.monotonic(), acting(await self.settings.current())
        try:
            if identity is not None:  # else there is nobody to sign in any more, and nothing in the way
                await self.sessions.try_out()
        except LatchkeyError as error:
            failure = error if isinstance(error, SignInFailed) else _as_failure(obstacle.failure, error)
            whose, at = identity or obstacle.identity, self.clock.now()
            told = can_be_diagnosed(error)  # else policies were not asked
            found = await self.findings.of(told, whose, not_before=began) if told else None
            tested = {"failure": failure, "identity": whose, "at": at}
            await self._change(
                request.id, lambda row: self._still_there(row, found, tested), _tested(request, str(failure))
            )
        else:
            whose = identity or NOBODY
            await self._change(request.id, lambda row: self._works(row, whose), _tested(request))

    def _still_there(self, row: Request, found: Blocked | None, tested: dict[str, Any]) -> Request | None:
        obstacle = Obstacle.of(row)
        if obstacle is None:
            return None
        return self._known(replace(obstacle, **tested).within(row), found)

    def _works(self, row: Request, identity: Identity) -> Request | None:
        """It works: whoever names the request's successor here is the only one who does."""
        obstacle = Obstacle.of(row)
        if obstacle is None or obstacle.phase is not Phase.TESTING:
            return None
        works = replace(obstacle, at=self.clock.now(), identity=identity)
        if may_run_again(row):
            row = replace(row, answer={**row.answer, RETRIED: uuid.uuid4().hex}, due_at=self.clock.now())
            return replace(works, phase=Phase.WORKS).within(row)
        return self._rests(replace(works, phase=Phase.OVER), row)

    async def _run_again(self, request: Request, obstacle: Obstacle) -> None:
        sent = [attempt for attempt in await self.requests.attempts(request.id) if not attempt.changed_nothing]
        again = self._anew(request, obstacle, sent=bool(sent))
        if await self.requests.find(again.id) is None:
            record = AuditRecord(
                "request.again", operator_id=request.operator_id, request_id=again.id, facts={"instead_of": request.id}
            )
            await self.requests.add(again, audit=[record], say=story.messages(again, self.clock.now()))
        self.wake(again.id)

        def over(row: Request) -> Request | None:
            met = Obstacle.of(row)
            return self._rests(replace(met, phase=Phase.OVER, outcome=_outcome(again)), row) if met else None

        await self._change(request.id, over)

    def _anew(self, old: Request, obstacle: Obstacle, *, sent: bool) -> Request:
        """*old* as a request that was just made, by whoever had made it. It is decided on afresh. What they had agreed
        to a short while ago they are not asked again, unless something has changed or was *sent* already."""
        now, action = self.clock.now(), catalogue().get(old.action)
        asked_at = obstacle.asked_at or old.started_at or old.created_at
        anew = Request(
            id=str(old.answer[RETRIED]),
            operator_id=old.operator_id,
            slack=old.slack,
            command=old.command,
            action=old.action,
            origin=old.origin,
            created_at=now,
            typed=old.target.id if old.target else old.typed,
            target=old.target,
            inputs=old.inputs,
            reason=old.reason,
            verified=old.verified,
            ticket=old.ticket,
            preview=old.preview,
            undo_of=old.undo_of,
            repeat_of=old.repeat_of,
            digest=old.digest if old.started_at else None,
            answer={ASKED_AT: asked_at.isoformat(), **({"may_open": True} if obstacle.may_open else {})},
        )
        waits = replace(anew, state=RequestState.AWAITING_CONFIRMATION, due_at=now + CONFIRMED_FOR)
        if not old.started_at and (old.form is not None or (action is not None and action.confirm)):
            return replace(waits, answer={WORKS_AGAIN: True})
        changes = action is None or (action.writes and not old.preview)
        if changes and (sent or now - asked_at > CONFIRMED_FOR):
            sentence = f"You asked for this at {self.clock_time(asked_at)}, and only now it can be done."
            if sent:
                sentence = f"{sentence} Part of it may have been done before it stopped."
            return replace(waits, sentence=sentence, answer={"ask": True})
        return replace(anew, state=RequestState.READY) if old.started_at and old.target else anew

    def _passed(self, row: Request) -> Request | None:
        """Somebody else's sign-in went well."""
        obstacle = Obstacle.of(row)
        if obstacle is None or obstacle.phase is not Phase.KNOWN or not stands(row):
            return None
        return self._rests(replace(obstacle, phase=Phase.OVER, at=self.clock.now(), by=""), row)

    # --- writing ------------------------------------------------------------------------------------------------------

    async def _change(
        self, request_id: str, change: Callable[[Request], Request | None], *audit: AuditRecord, quietly: bool = False
    ) -> None:
        """Change the row as it is now. What somebody else writes meanwhile stays."""
        for _ in range(_TRIES):
            row = await self.requests.find(request_id)
            changed = change(row) if row is not None and stands(row) else None
            if changed is None:
                return
            try:
                await self._save(changed, *audit, quietly=quietly)
            except Conflict:
                continue
            return
        log.warning("a row would not keep still", extra={"request": request_id})

    async def _save(
        self, request: Request, *audit: AuditRecord, delivery: str | None = None, quietly: bool = False
    ) -> None:
        say: list[Message] = [] if quietly else story.messages(request, self.clock.now())
        await self.requests.save(request, audit=audit, say=say, delivery=delivery)


def _tested(request: Request, why: str = "") -> AuditRecord:
    """What came of a test: it works, or *why* not."""
    facts = {"works": False, "why": why} if why else {"works": True}
    return AuditRecord("blocked.result", operator_id=request.operator_id, request_id=request.id, facts=facts)


def _outcome(again: Request) -> Outcome:
    if again.state is not RequestState.AWAITING_CONFIRMATION:
        return Outcome.RUNS
    return Outcome.ASKS if again.answer.get("ask") else Outcome.FORM


def acting(settings: TenantSettings) -> Identity | None:
    """Who acts in Advanced mode."""
    if settings.mode is not Mode.ADVANCED or settings.identity_kind is None or not settings.identity_id:
        return None
    return Identity(settings.identity_kind, settings.identity_id, settings.identity_name or "")


def _as_failure(before: SignInFailed, error: LatchkeyError) -> SignInFailed:
    """What stands in the way now, where that is no answer of Microsoft's."""
    return SignInFailed(str(error), category=before.category, retry=before.retry)
