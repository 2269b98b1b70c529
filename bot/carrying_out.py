"""Points 8 to 11 of the road: attempt, send, read back, outcome; and what a restart does with a plan half done."""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, NoReturn

from bot.errors import BadInput, GraphAnswer, GraphProblem, GraphRefused, LatchkeyError, OutcomeUnknown
from bot.journey import Journey
from bot.model import Call, Plan, ReadBack, Repeat, RequestState, Secret, StepStatus, Target
from bot.passwords import speakable_password
from bot.ports import Attempt
from bot.road import Point
from bot.session import Acting

log = logging.getLogger(__name__)

REPLICAS_LAG: Final = timedelta(seconds=60)
"""How long a stale read-back is repeated before the outcome is called *sent, not confirmed yet*."""

SECOND_LOOK: Final = timedelta(minutes=10)
"""When an unconfirmed outcome is looked at again; only a contradiction then is a failure."""

REVEAL_FOR: Final = timedelta(minutes=10)
"""How long a generated secret waits to be seen."""

_NOTHING_CHANGED: Final = frozenset({"refused", "unavailable"})
"""Outcomes of an attempt after which the call may be sent again."""


@dataclass(frozen=True)
class _Sending:
    """One sending of one call of the plan. Its id is the audit trail's attempt and Microsoft's `client-request-id`."""

    id: str
    index: int
    call: Call


class CarryingOut:
    """Carries out the plan that the request's row holds. Whoever calls it holds the target's lock."""

    def __init__(self, journey: Journey) -> None:
        self._journey = journey
        self._means = journey.means
        self._open: _Sending | None = None
        self._microsoft_id: str | None = None
        self._secret: Secret | None = None

    async def run(self, acting: Acting) -> NoReturn:
        """Send the calls in order, then see to the outcome."""
        plan, target = self._planned()
        if not plan.calls:
            already = next(iter(plan.notes), "It already is as you wish, so nothing was changed.")
            await self._journey.rest(RequestState.DONE, already)
        for index, call in enumerate(plan.calls):
            await self._attempt(acting, target, index, call)
        await self._see_the_effect(acting)

    async def resume(self) -> NoReturn:
        """Go on after a restart: finished calls are never repeated, an unfinished one is read back first."""
        plan, target = self._planned()
        attempts = await self._attempts_so_far(plan)
        self._journey.show("restart", "The bot was restarted: looking at what was done", StepStatus.DONE)
        acting = await self._journey.open_session()
        for index, call in enumerate(plan.calls):
            last = attempts.get(index)
            if last is None or last.finished in _NOTHING_CHANGED:
                await self._attempt(acting, target, index, call)
            elif last.finished is None:
                await self._take_up(_Sending(last.id, index, call), acting, target)
        await self._see_the_effect(acting)

    async def look_again(self) -> None:
        """The second look at an outcome that was not confirmed: only a contradiction now is a failure."""
        plan, _ = self._planned()
        await self._attempts_so_far(plan)
        try:
            acting = await self._journey.open_session()
        except LatchkeyError as error:
            log.warning(
                "cannot look again yet", extra={"request": self._journey.request.id, "why": type(error).__name__}
            )
            await self._journey.save(due_at=self._means.clock.now() + SECOND_LOOK)
            return
        seen = await self._shows_in_the_tenant(acting, timedelta())
        if self._open is not None:
            self._note_end(self._open, "succeeded" if seen else "unavailable", found_by="a second look")
        if not seen:
            sentence = "Microsoft still shows no change, so this did not happen."
            await self._journey.rest(RequestState.FAILED, sentence, answer={"again": True})
        if not _makes_a_secret(plan):
            await self._journey.rest(RequestState.DONE, self._journey.done_words)
        if not self._means.reveals.holds(self._journey.request.id):
            await self._nobody_saw_it("lost")
        until = self._means.clock.now() + REVEAL_FOR
        await self._journey.rest(
            RequestState.DONE, self._journey.done_words, answer={"reveal": "waiting"}, due_at=until
        )

    async def see_to_the_reveal(self) -> None:
        """A secret that waits to be seen may be too old by now, or gone with the process that made it."""
        if not self._means.reveals.holds(self._journey.request.id):
            await self._nobody_saw_it("expired" if self._journey.is_due else "lost")

    async def fail(self, error: LatchkeyError) -> NoReturn:
        """End with *error*; if a call may have been applied, that is not known yet and is looked at again."""
        request = self._journey.request
        if request.state is RequestState.RUNNING and request.plan and self._open is None:
            await self._attempts_so_far(request.plan)
        if self._open is not None:
            await self._not_confirmed(f"{error} Whether it was done is not known yet.")
        await self._journey.fail(error)

    # --- one attempt -------------------------------------------------------------------------------------------------

    async def _attempt(self, acting: Acting, target: Target, index: int, call: Call) -> None:
        """Write the attempt's row, send the call once, and note what came back, to be written with the next commit.

        When no usable answer came, the attempt stays open until the tenant was read.
        """
        sending = _Sending(str(uuid.uuid4()), index, call)
        made = speakable_password((target.name, target.detail)) if call.generates else None
        self._journey.act_under(acting)
        self._journey.show(f"call:{index}", self._journey.action.working.format(target=target.name))
        started = self._journey.record("attempt.started", self._circumstances(sending), sending.id)
        await self._journey.save(started, state=RequestState.RUNNING, due_at=None)
        self._means.passed(Point.ATTEMPTED)
        self._open = sending
        try:
            sent = await acting.graph.send(call, attempt_id=sending.id, generated=made)
        except OutcomeUnknown:
            log.warning("outcome unknown", extra={"request": self._journey.request.id, "attempt": sending.id})
        except LatchkeyError as error:  # Graph said no, or there was no token to ask with: nothing was changed
            outcome = "refused" if isinstance(error, GraphRefused) else "unavailable"
            self._note_end(sending, outcome, error.answer if isinstance(error, GraphProblem) else None)
            raise
        else:
            made = made or sent.revealed
            self._microsoft_id = sent.request_id
            self._note_end(sending, "succeeded")
        self._means.passed(Point.SENT)
        self._secret = made or self._secret

    async def _take_up(self, sending: _Sending, acting: Acting, target: Target) -> None:
        """An attempt whose end nobody saw: read first; send again only what is safe to send twice."""
        if await self._shows_in_the_tenant(acting):
            self._note_end(sending, "succeeded", found_by="reading back after a restart")
            if sending.call.generates or sending.call.reveals:
                await self._nobody_saw_it("lost")
        elif sending.call.repeat is Repeat.SAFE:
            self._note_end(sending, "unavailable", found_by="reading back after a restart")
            await self._attempt(acting, target, sending.index, sending.call)
        else:
            await self._not_confirmed("The bot was restarted while this was on its way to Microsoft.")

    # --- the outcome -------------------------------------------------------------------------------------------------

    async def _see_the_effect(self, acting: Acting) -> NoReturn:
        seen = await self._shows_in_the_tenant(acting)
        self._means.passed(Point.READ_BACK)
        if self._open is None and not seen:
            await self._not_confirmed("Microsoft accepted this, but does not show it yet.", certain=True)
        if not seen:
            await self._not_confirmed("This was sent to Microsoft, which did not answer.")
        if self._open is not None:
            self._note_end(self._open, "succeeded", found_by="reading back")
        await self._finish(RequestState.DONE, self._journey.done_words, certain=True)

    async def _not_confirmed(self, sentence: str, *, certain: bool = False) -> NoReturn:
        again_at = self._means.session.clock_time(self._means.clock.now() + SECOND_LOOK)
        await self._finish(RequestState.UNKNOWN, f"{sentence} I look again at {again_at}.", certain=certain)

    async def _finish(self, state: RequestState, sentence: str, *, certain: bool) -> NoReturn:
        """Write the outcome. A secret is offered once it is *certain* that Microsoft took it."""
        answer: dict[str, Any] = {"microsoft_request_id": self._microsoft_id} if self._microsoft_id else {}
        due = None
        if state is RequestState.UNKNOWN:
            answer["again"] = True
            due = self._means.clock.now() + SECOND_LOOK
        secret, self._secret = self._secret, None
        if secret is not None:
            until = self._means.clock.now() + REVEAL_FOR
            # An uncertain one must outlive the second look, which may find that it is in force.
            self._means.reveals.keep(self._journey.request.id, secret, until=until if certain else until + SECOND_LOOK)
            if certain:
                answer["reveal"] = "waiting"
                due = until
        await self._journey.rest(state, sentence, answer=answer, due_at=due)

    async def _nobody_saw_it(self, how: str) -> NoReturn:
        self._means.reveals.take(self._journey.request.id)
        why = "nobody looked at it in time" if how == "expired" else "the bot was restarted before anybody saw it"
        answer = {**self._journey.request.answer, "reveal": how, "again": True}
        sentence = f"{self._journey.done_words} But {why}, and it cannot be shown any more."
        await self._journey.rest(RequestState.DONE, sentence, answer=answer)

    async def _shows_in_the_tenant(self, acting: Acting, patience: timedelta = REPLICAS_LAG) -> bool:
        """Whether the plan's effect can be read; a stale answer is asked for again until *patience* ends."""
        read_back = self._planned()[0].read_back
        if read_back is None:
            return self._open is None
        self._journey.show("read-back", "Reading it back")
        deadline, wait = self._means.clock.now() + patience, timedelta(seconds=1)
        while not await self._holds(acting, read_back):
            if self._means.clock.now() >= deadline:
                return False
            await self._journey.save()
            await self._means.clock.sleep_until(self._means.clock.now() + wait)
            wait = min(2 * wait, timedelta(seconds=15))
        return True

    async def _holds(self, acting: Acting, read_back: ReadBack) -> bool:
        try:
            if read_back.method == "GET":
                return read_back.holds(await acting.graph.get(*read_back.path, query=dict(read_back.query)))
            return read_back.holds(await acting.graph.ask(*read_back.path, body=read_back.body))
        except LatchkeyError as error:
            # Not being able to look says nothing about what was done.
            log.info("read-back failed", extra={"request": self._journey.request.id, "why": type(error).__name__})
            return False

    # --- what the rows say -------------------------------------------------------------------------------------------

    def _planned(self) -> tuple[Plan, Target]:
        plan, target = self._journey.request.plan, self._journey.request.target
        if plan is None or target is None:
            raise BadInput("The bot was restarted before this had a plan, so nothing was done. Type the command again.")
        return plan, target

    async def _attempts_so_far(self, plan: Plan) -> dict[int, Attempt]:
        """The last attempt at each call. One without an end is the open one, which what happens next must settle."""
        found = await self._means.requests.attempts(self._journey.request.id)
        attempts = {attempt.call_index: attempt for attempt in found}
        for index, attempt in attempts.items():
            if attempt.finished is None:
                self._open = _Sending(attempt.id, index, plan.calls[index])
        return attempts

    def _note_end(
        self, sending: _Sending, outcome: str, answer: GraphAnswer | None = None, *, found_by: str | None = None
    ) -> None:
        """The second row of an attempt; it is written with the next commit."""
        self._open = None
        facts: dict[str, Any] = {"call_index": sending.index, "outcome": outcome}
        if found_by:
            facts["found_by"] = found_by
        if answer:
            facts |= {"status": answer.status, "code": answer.code, "microsoft_request_id": answer.request_id}
        elif outcome == "succeeded" and self._microsoft_id:
            facts["microsoft_request_id"] = self._microsoft_id
        self._journey.notes.append(self._journey.record("attempt.finished", facts, sending.id))

    def _circumstances(self, sending: _Sending) -> dict[str, Any]:
        """What the audit trail must tell of an attempt: on whom, how, why, and under which confirmation."""
        request = self._journey.request
        return {
            "call_index": sending.index,
            "action": request.action,
            "target": request.target.to_json() if request.target else None,
            "method": sending.call.method,
            "path": "/".join(sending.call.path),
            "plan_digest": request.digest,
            "reason": request.reason,
            "verified": request.verified,
            "ticket": request.ticket,
        }


def _makes_a_secret(plan: Plan) -> bool:
    return any(call.generates or call.reveals for call in plan.calls)
