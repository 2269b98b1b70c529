"""People who have left: whoever is disabled or deleted, in Slack or in Entra, loses everything they had open here.

It is found when they try to change something, when Slack tells of it, or by looking at everybody once an hour.
Nothing comes back by itself: a tenant admin restores an operator.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from bot import story
from bot.directory import quoted
from bot.errors import CannotTell, LatchkeyError, StorageProblem
from bot.model import JSON, ApprovalState, AuditRecord, Operator, Request, RequestState, Rights, SlackUser, StepStatus
from bot.ports import Audience, Clock, Leaver, Leaving, Message, Parting, Reader
from bot.standing import ACCOUNT, AT_ONCE, WRITES, Finding, Standing, judged

log = logging.getLogger(__name__)

EVERY: Final = timedelta(hours=1)
"""How often everybody is looked at."""

FIRST: Final = timedelta(minutes=5)
"""How long after the start that is done first: a bot that has just started has other things to do."""

AT_A_TIME: Final = 15
"""How many accounts one read asks about (Graph docs: *Advanced query capabilities*, at most 15 values for `in`)."""

BETWEEN: Final = timedelta(seconds=1)
"""The pause after each person: Slack lets an app ask for about a hundred in a minute (Slack docs: *users.info*)."""


class Everybody(Protocol):
    """The part of the operators' store that looking at everybody needs."""

    def rights(self, slack: SlackUser, command: str) -> Rights: ...

    async def active(self) -> Sequence[Operator]:
        """All operators who are not suspended."""


class Sessions(Protocol):
    """The management sessions that operators opened with accounts of their own."""

    async def end_of(self, operator_id: str, why: str) -> None:
        """End this operator's session, if there is one."""


class Leavers:
    """Lets operators go. *channel* is where a card tells of it; empty: it is only audited."""

    def __init__(
        self,
        *,
        clock: Clock,
        operators: Everybody,
        leaving: Leaving,
        standing: Standing,
        directory: Reader,
        sessions: Sessions | None,
        channel: str,
    ) -> None:
        self._clock = clock
        self._operators = operators
        self._leaving = leaving
        self._standing = standing
        self._directory = directory
        self._sessions = sessions
        self._channel = channel
        self._going: set[asyncio.Task[None]] = set()
        standing.on_left = self.found

    def found(self, operator: Operator, finding: Finding) -> None:
        """Somebody was found to be gone. What follows happens beside whatever found it."""
        task = asyncio.create_task(self._let_go_or_log(operator, finding))
        self._going.add(task)
        task.add_done_callback(self._going.discard)

    async def close(self) -> None:
        """Wait for what is under way."""
        await asyncio.gather(*self._going, return_exceptions=True)

    async def look_at(self, slack: SlackUser) -> None:
        """Slack says that something about this person changed. Raises `CannotTell`."""
        operator = self._operators.rights(slack, "").operator
        if operator is not None and not operator.suspended:
            await self._look_at(operator, AT_ONCE)

    async def every_hour(self) -> None:
        """Look at everybody, again and again. Run until cancelled."""
        await self._clock.sleep_until(self._clock.now() + FIRST)
        while True:
            began = self._clock.now()
            try:
                await self.sweep()
            except (CannotTell, StorageProblem) as error:
                log.warning("could not look at everybody", extra={"why": str(error)})
            await self._clock.sleep_until(max(began + EVERY, self._clock.now()))

    async def sweep(self) -> None:
        """Look at every operator who is not suspended, in no hurry. Raises `CannotTell` if Microsoft cannot be asked;
        somebody whom only Slack does not tell of is left for the next time."""
        for batch in _batches(await self._operators.active()):
            await self._read_accounts([operator.account_id for operator in batch if operator.account_id])
            for operator in batch:
                try:
                    await self._look_at(operator, WRITES)
                except CannotTell as error:
                    log.info("cannot tell of somebody", extra={"operator": operator.id, "why": str(error)})
                await self._clock.sleep_until(self._clock.now() + BETWEEN)

    async def _read_accounts(self, account_ids: Sequence[str]) -> None:
        """Learn in one read who is enabled; everybody else is asked about again, one by one."""
        if not account_ids:
            return
        some = ",".join(map(quoted, account_ids))
        try:
            found = await self._directory.collect("users", query={"$filter": f"id in ({some})", "$select": ACCOUNT})
        except LatchkeyError as error:
            raise CannotTell(f"Microsoft does not say whose accounts are enabled. {error}") from error
        for user in found:
            if judged(user) is None:
                self._standing.learn(str(user["id"]))

    async def _look_at(self, operator: Operator, fresh: timedelta) -> None:
        finding = await self._standing.look_at(operator, fresh=fresh)
        if finding is not None and finding.left:
            await self._let_go(operator, finding)

    async def _let_go_or_log(self, operator: Operator, finding: Finding) -> None:
        try:
            await self._let_go(operator, finding)
        except StorageProblem as error:  # it is found again at the next look
            log.error("could not suspend somebody who left", extra={"operator": operator.id, "why": str(error)})

    async def _let_go(self, operator: Operator, finding: Finding) -> None:
        now = self._clock.now()
        leaver = await self._leaving.let_go(operator.id, lambda found: parting(found, finding, now, self._channel))
        if leaver is None:
            return
        log.warning("operator has left", extra={"operator": operator.id, "why": finding.why})
        if self._sessions is not None:
            await self._sessions.end_of(operator.id, f"{_called(operator)} {finding.words}.")


def parting(leaver: Leaver, finding: Finding, now: datetime, channel: str) -> Parting:
    """What becomes of everything that was open, the row that says so first."""
    name, asked = _called(leaver.operator), leaver.asked
    disagreed = f"{name} had agreed to this, but {finding.words}. So nothing was done: ask again."
    ended = [
        *(_ended(request, now, f"{name} {finding.words}. So this ended, and nothing was done.") for request in asked),
        *(
            replace(_ended(request, now, disagreed), answer={**_kept(request), "again": True})
            for request in leaver.agreed
        ),
    ]
    facts = {
        "operator": leaver.operator.id,
        "found": finding.why,
        "words": finding.words,
        "roles": list(leaver.roles),
        "ended": len(ended),
        "last_admin": leaver.last_admin,
        "from": "Latchkey",
    }
    # Whoever is gone reads no private answers.
    said = [
        message
        for request in ended
        for message in story.messages(request, now)
        if message.audience is not Audience.REQUESTER or request.slack != leaver.operator.slack
    ]
    return Parting(
        ended,
        [AuditRecord("operator.left", facts=facts), *map(_record, ended)],
        [*said, *([_card(leaver, finding, now, channel)] if channel else [])],
    )


def _ended(request: Request, now: datetime, sentence: str) -> Request:
    steps = tuple(
        replace(step, status=StepStatus.DONE) if step.status is StepStatus.IN_PROGRESS else step
        for step in request.steps
    )
    approval = request.approval
    if approval and approval.state in {ApprovalState.PENDING, ApprovalState.APPROVED}:
        approval = replace(approval, state=ApprovalState.WITHDRAWN, reason=sentence)
    return replace(
        request,
        state=RequestState.REFUSED,
        sentence=sentence,
        steps=steps,
        approval=approval,
        answer=_kept(request),
        due_at=None,
        finished_at=now,
    )


def _kept(request: Request) -> Mapping[str, JSON]:
    """What its cards go on showing; nothing of it can be pressed any more."""
    return {key: request.answer[key] for key in ("changes",) if key in request.answer}


def _record(request: Request) -> AuditRecord:
    return AuditRecord(
        f"request.{request.state.value}",
        operator_id=request.operator_id,
        request_id=request.id,
        target_id=request.target.id if request.target else None,
        session_generation=request.session_generation,
        facts={"action": request.action, "sentence": request.sentence},
    )


def _card(leaver: Leaver, finding: Finding, now: datetime, channel: str) -> Message:
    operator = leaver.operator
    return Message(
        f"left:{operator.id}:{now.isoformat()}",
        "operator-left",
        audience=Audience.CHANNEL,
        data={
            "channel": channel,
            "name": _called(operator),
            "user": operator.slack.user,
            "upn": operator.upn,
            "words": finding.words,
            "roles": list(leaver.roles),
            "asked": [[request.action, request.target.name if request.target else ""] for request in leaver.asked],
            "agreed": [[request.action, request.target.name if request.target else ""] for request in leaver.agreed],
            "running": leaver.running,
            "last_admin": leaver.last_admin,
        },
    )


def _called(operator: Operator) -> str:
    return operator.name or operator.slack.user


def _batches(operators: Sequence[Operator]) -> Iterator[Sequence[Operator]]:
    for start in range(0, len(operators), AT_A_TIME):
        yield operators[start : start + AT_A_TIME]
