"""Points 8 to 11 of the road: attempt, send, read back, outcome; and what a restart does with a plan half done."""

from __future__ import annotations

import logging
import uuid
from dataclasses import replace
from datetime import timedelta
from enum import Enum
from typing import Any, Final, NoReturn

from bot import story
from bot.errors import (
    BadInput,
    GraphAnswer,
    GraphProblem,
    GraphRefused,
    GraphUnavailable,
    LatchkeyError,
    OutcomeUnknown,
    SignInNeeded,
    StorageProblem,
)
from bot.journey import Journey
from bot.model import Call, Generated, Plan, ReadBack, Repeat, RequestState, Secret, Step, StepStatus, Target
from bot.passwords import speakable_password
from bot.ports import Attempt
from bot.road import Point
from bot.session import Acting

log = logging.getLogger(__name__)

REPLICAS_LAG: Final = timedelta(seconds=60)
"""How long a stale read-back is repeated before the outcome is called *sent, not confirmed yet*."""

SECOND_LOOK: Final = timedelta(minutes=10)
"""When an unconfirmed outcome is looked at again; only a contradiction then is a failure."""

ONE_OLD_REPLICA: Final = timedelta(seconds=15)
"""How long a second look is repeated: one stale answer among good ones is no contradiction."""

REVEAL_FOR: Final = timedelta(minutes=10)
"""How long a generated secret waits to be seen."""

_NO_ANSWER: Final = "This was sent to Microsoft, but no clear answer came back"
_NOT_SOONER: Final = "Wait ten minutes before you go on: until then it may still show."
_ON_ITS_WAY: Final = "The bot was interrupted while this was on its way to Microsoft"
_NOT_WRITTEN: Final = "Latchkey could not write down what came of this."
_PARTLY: Final = "Not all of this was done. Look at the account before you try again."
_SEEN: Final = frozenset({"showing", "revealed"})
_TOO_LATE: Final = "nobody looked at it in time"
_RESTARTED: Final = "the bot was restarted before anybody saw it"
_NOT_IN_TIME: Final = "it could not be shown to anybody in time"
_NOT_HEARD: Final = "Microsoft's answer, in which it stood, did not arrive"


class _Seen(Enum):
    """What the tenant shows of a plan's effect."""

    THERE = "there"
    NOT_THERE = "not there"
    NOT_READ = "not read"
    """It could not be read, or does not show such effects at all: that says nothing about what was done."""


class CarryingOut:
    """Carries out the plan that the request's row holds. Whoever lets it write holds the target's lock."""

    def __init__(self, journey: Journey) -> None:
        self._journey = journey
        self._means = journey.means
        self._attempts: dict[int, Attempt] | None = None
        """The last attempt at each call; None until one is made or the rows are asked for them."""
        self._resumed = False
        self._repeated: set[int] = set()
        self._checked: set[int] = set()
        self._shows = False
        """The tenant was seen to show the effect, and nothing was sent since."""
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
            await self._await(acting, call)
        await self._see_the_effect(acting)

    async def resume(self) -> NoReturn:
        """Go on after a restart, or because a person wants it: finished calls are never repeated, an unfinished one is
        read back first."""
        plan, target = self._planned()
        await self._attempts_so_far()
        if self._journey.request.answer.get(story.ASKED_FOR):
            answer = {key: value for key, value in self._journey.request.answer.items() if key != story.ASKED_FOR}
            self._journey.request = replace(self._journey.request, answer=answer)
        else:
            self._resumed = True
            self._journey.show("interrupted", "The bot was interrupted: looking at what was done", StepStatus.DONE)
        acting = await self._journey.reach()
        await self._make_sure_somebody_is_signed_in(acting)
        attempts = await self._attempts_so_far()
        for index, call in enumerate(plan.calls):
            last = attempts.get(index)
            if last is None or last.changed_nothing:
                await self._check_again(acting, target, index)
                await self._attempt(acting, target, index, call)
                await self._await(acting, call)
            elif last.finished is None or (self._stepwise and last.finished == "unknown"):
                await self._take_up(last, call, acting, target, _ON_ITS_WAY)
        await self._see_the_effect(acting)

    async def _check_again(self, acting: Acting, target: Target, before: int) -> None:
        """What was found well before the plan stopped may not be so any more, and the call *before* rests on it."""
        calls = self._planned()[0].calls
        for index, call in enumerate(calls[:before]):
            if call.checks and not calls[before].checks and index not in self._checked:
                await self._attempt(acting, target, index, call)

    async def _make_sure_somebody_is_signed_in(self, acting: Acting) -> None:
        """Where what is left takes an administrator: say how far it is, and wait for one."""
        if not self._journey.needs_sign_in(self._left()):
            return
        if (last := self._open) is not None:
            seen = await self._look(acting, of=self._planned()[0].calls[last.call_index].seen)
            if seen is not _Seen.NOT_READ:
                outcome = "succeeded" if seen is _Seen.THERE else self._when_not_there()
                self._note_end(last, outcome, found_by="reading back")
        if self._journey.needs_sign_in(self._left()):
            why = "The administrator who had signed in for this has to sign in again."
            await self._stop_between_steps(why, how="waits", sign_in=self._journey.sign_in)

    def _left(self) -> list[Call]:
        """The calls that are not known to have succeeded."""
        done = {index for index, attempt in (self._attempts or {}).items() if attempt.finished == "succeeded"}
        return [call for index, call in enumerate(self._planned()[0].calls) if index not in done]

    async def look_again(self) -> NoReturn:
        """The second look at an outcome that was not confirmed: only a contradiction now is a failure."""
        plan, target = self._planned()
        await self._attempts_so_far()
        acting = await self._journey.reach()
        match await self._look(acting, ONE_OLD_REPLICA):
            case _Seen.NOT_READ:
                await self._not_confirmed("Microsoft could not be asked whether this was done.")
            case _Seen.NOT_THERE:
                await self._contradicted()
        if self._open is not None:
            overtaken = await self._overtaken(target, self._open) if _makes_a_secret(plan) else None
            self._note_end(self._open, "unknown" if overtaken else "succeeded", found_by="a second look")
            if overtaken:
                self._means.reveals.take(self._journey.request.id)
                await self._journey.rest(RequestState.FAILED, overtaken, answer=self._answer())
        await self._finish(RequestState.DONE, self._journey.done_words)

    async def see_to_the_reveal(self) -> None:
        """A secret that waits to be seen may be too old by now, or gone with the process that made it."""
        if not self._means.reveals.holds(self._journey.request.id):
            await self._nobody_saw_it(*(("expired", _TOO_LATE) if self._journey.is_due else ("lost", _RESTARTED)))

    async def fail(self, error: LatchkeyError) -> NoReturn:
        """End with *error*. Where something was done, or may have been, that is said too, and looked at again."""
        request = self._journey.request
        if request.plan is None or request.state not in {RequestState.RUNNING, RequestState.UNKNOWN}:
            await self._journey.fail(error)
        # What our database says of itself ("nothing was changed") is not what Microsoft would say.
        why = _NOT_WRITTEN if isinstance(error, StorageProblem) else str(error)
        await self._attempts_so_far()
        done = self._done
        if self._stepwise:
            how = "waits" if isinstance(error, SignInNeeded) else "failed"
            more = {"sign_in": self._journey.sign_in} if self._journey.needs_sign_in(self._left()) else {}
            await self._stop_between_steps(why, how=how, **more)
        if self._open is not None:
            await self._not_confirmed(
                f"{why} So it is not known yet whether this was done." if request.plan.read_back else why
            )
        if done == len(request.plan.calls):
            await self._not_confirmed(f"Microsoft accepted this, but it was not seen in the tenant yet. {why}")
        if self._has_parts and (done or self._repeated):
            await self._journey.rest(RequestState.FAILED, f"{_PARTLY} {why}", answer=self._answer(again=True))
        await self._journey.fail(error)

    async def _stop_between_steps(self, why: str, *, how: str = "failed", **more: Any) -> NoReturn:
        """What was done stays, and is said; the rest waits for somebody to go on."""
        left, steps = self._left(), len(self._planned()[0].calls)
        if not left:
            sentence = f"Every step was done, but that could not be seen: {why}"
            await self._journey.rest(RequestState.FAILED, sentence, answer=self._answer(go_on=True, **more))
        what = f"The next one, “{left[0].says}”, {how}: {why}"
        if self._open is not None:
            self._note_end(self._open, "unknown")  # whoever goes on reads first
            what = f"Whether the next one, “{left[0].says}”, was done is not known: {why}"
        sentence = f"{self._done} of {steps} steps are done. {what}"
        await self._journey.rest(RequestState.FAILED, sentence, answer=self._answer(go_on=True, **more))

    # --- one attempt -------------------------------------------------------------------------------------------------

    async def _attempt(self, acting: Acting, target: Target, index: int, call: Call) -> None:
        """Write the attempt's row, send the call once, and note what came back, to be written with the next commit.

        When no usable answer came, the tenant is read before anything else happens.
        """
        attempt = Attempt(str(uuid.uuid4()), self._journey.request.id, index, self._means.clock.now())
        made = speakable_password((target.name, target.detail)) if call.generates is Generated.PASSWORD else None
        self._journey.act_under(acting)
        self._show_step(index, call, target)
        started = self._journey.record("attempt.started", self._circumstances(attempt, call), attempt.id)
        await self._journey.save(started, state=RequestState.RUNNING, due_at=None)
        self._attempts = {**(self._attempts or {}), index: attempt}
        self._shows = False
        self._means.passed(Point.ATTEMPTED)
        try:
            sent = await acting.graph.send(call, attempt_id=attempt.id, generated=made)
        except OutcomeUnknown as error:
            log.warning("outcome unknown", extra={"request": attempt.request_id, "attempt": attempt.id})
            self._microsoft_id = error.answer.request_id if error.answer else None
        except LatchkeyError as error:  # Graph said no, or there was no token to ask with: nothing was changed
            outcome = "refused" if isinstance(error, GraphRefused) else "unavailable"
            self._note_end(attempt, outcome, error.answer if isinstance(error, GraphProblem) else None)
            raise
        else:
            made = made or sent.revealed
            self._microsoft_id = sent.request_id
            self._note_end(attempt, "succeeded")
            if sent.says:
                self._journey.add(sent.says)
        self._secret = made or self._secret
        self._checked |= {index} if call.checks else set()
        self._means.passed(Point.SENT)
        if self._open is not None:
            await self._take_up(attempt, call, acting, target, _NO_ANSWER)

    async def _await(self, acting: Acting, call: Call) -> None:
        """Read back what the next step builds on. It was done for certain: whoever goes on does not do it again."""
        if not call.awaited:
            return
        seen = await self._look(acting, of=call.seen)
        self._means.passed(Point.READ_BACK)
        if seen is not _Seen.THERE:
            how = "does not show it yet" if seen is _Seen.NOT_THERE else "could not be asked how it is now"
            why = f"Microsoft accepted the one before, “{call.says}”, but {how}. Go on in a minute."
            await self._stop_between_steps(why, how="waits")

    def _show_step(self, index: int, call: Call, target: Target) -> None:
        """Begin the step of this call; the steps of those to come are shown, too, so that people see how far it is. One
        of them that failed before waits again."""
        self._journey.show(f"call:{index}", call.says or self._journey.action.working.format(target=target.name))
        shown = {step.key: step.status for step in self._journey.request.steps}
        for later, waiting in enumerate(self._planned()[0].calls):
            if waiting.says and later > index and shown.get(f"call:{later}") in {None, StepStatus.FAILED}:
                step = Step(f"call:{later}", waiting.says, StepStatus.PENDING)
                self._journey.request = self._journey.request.with_step(step)

    async def _take_up(self, last: Attempt, call: Call, acting: Acting, target: Target, why: str) -> None:
        """An attempt whose end nobody saw: read first; send again, once, only what is safe to send twice."""
        seen = await self._look(acting, of=call.seen)
        self._means.passed(Point.READ_BACK)
        if seen is _Seen.THERE:
            self._note_end(last, "succeeded", found_by="reading back")
            return
        if self._stepwise and seen is _Seen.NOT_READ:
            raise GraphUnavailable("What came of this step could not be read. Try it again.")
        once = call.repeat is Repeat.ONE_SHOT and not self._would_show(last)
        if seen is _Seen.NOT_READ or once or last.call_index in self._repeated:
            await self._not_confirmed(f"{why}, and it does not show yet." if seen is _Seen.NOT_THERE else f"{why}.")
        self._repeated.add(last.call_index)
        self._note_end(last, self._when_not_there(), found_by="reading back")
        await self._check_again(acting, target, last.call_index)
        try:
            await self._attempt(acting, target, last.call_index, call)
        except GraphRefused:
            # Refused perhaps because it was done the first time, which no replica had heard of.
            if await self._look(acting, timedelta(), of=call.seen) is not _Seen.THERE:
                raise

    # --- the outcome -------------------------------------------------------------------------------------------------

    async def _see_the_effect(self, acting: Acting) -> NoReturn:
        seen = await self._look(acting)
        self._means.passed(Point.READ_BACK)
        if seen is _Seen.NOT_THERE:
            await self._not_confirmed("Microsoft accepted this, but does not show it yet.")
        if seen is _Seen.NOT_READ:
            await self._not_confirmed("Microsoft accepted this, but could not be asked how it is now.")
        if afterwards := await self._afterwards(acting):
            self._journey.request = replace(self._journey.request, answer=self._answer(afterwards=afterwards))
        await self._finish(RequestState.DONE, self._journey.done_words)

    async def _afterwards(self, acting: Acting) -> list[str]:
        """What the card ends with. That it cannot be told changes nothing about what was done."""
        closer = self._journey.action.afterwards
        try:
            return list(await closer(acting.graph, self._planned()[0])) if closer else []
        except LatchkeyError as error:
            log.info("nothing to add", extra={"request": self._journey.request.id, "why": type(error).__name__})
            return []

    def _would_show(self, attempt: Attempt) -> bool:
        """Whether a step that was sent so long ago, and does not show, was not done."""
        return self._stepwise and self._means.clock.now() - attempt.started_at >= SECOND_LOOK

    async def _not_confirmed(self, sentence: str) -> NoReturn:
        """Leave it open until the second look, if there is anything to look at."""
        if self._stepwise and self._open is not None:
            once = self._planned()[0].calls[self._open.call_index].repeat is Repeat.ONE_SHOT
            await self._stop_between_steps(f"{sentence} {_NOT_SOONER}" if once else sentence)
        if self._planned()[0].read_back is not None:
            again_at = self._means.session.clock_time(self._means.clock.now() + SECOND_LOOK)
            await self._finish(RequestState.UNKNOWN, f"{sentence} I look again at {again_at}.")
        if self._open is None:
            await self._finish(RequestState.DONE, self._journey.done_words)
        self._note_end(self._open, "unknown")
        sentence = f"{sentence} Whether it was done cannot be looked up here: only doing it again makes sure."
        await self._journey.rest(RequestState.FAILED, sentence, answer=self._answer(again=True))

    async def _contradicted(self) -> NoReturn:
        if self._stepwise:
            await self._stop_between_steps("It still does not show.")
        sentence = "Microsoft had accepted this, but still shows no change, so it did not happen."
        if self._open is not None:
            self._note_end(self._open, self._when_not_there(), found_by="a second look")
            sentence = "Microsoft still shows no change, so this did not happen."
        if self._has_parts:
            sentence = _PARTLY
        self._means.reveals.take(self._journey.request.id)
        answer = {key: value for key, value in self._answer(again=True).items() if key != "reveal"}
        await self._journey.rest(RequestState.FAILED, sentence, answer=answer)

    async def _overtaken(self, target: Target, attempt: Attempt) -> str | None:
        """A sentence about who did the same since, so that what the tenant shows may be theirs and not ours."""
        found = await self._means.requests.latest_on(target.id, self._journey.request.action, attempt.started_at)
        if found is None or found[0].id == attempt.request_id:
            return None
        other, operator = found
        at = self._means.session.clock_time(other.started_at or other.created_at)
        wish = self._journey.action.phrase.format(target=target.name)
        return (
            f"{operator.name or 'Somebody'} asked to {wish} again at {at}, and that counts. Whether this one was done "
            "before cannot be told any more."
        )

    async def _finish(self, state: RequestState, sentence: str) -> NoReturn:
        """Write the outcome. A secret is offered once it is certain that Microsoft took it."""
        request, now, accepted = self._journey.request, self._means.clock.now(), self._open is None
        answer = self._answer(**({"microsoft_request_id": self._microsoft_id} if self._microsoft_id else {}))
        unconfirmed = state is RequestState.UNKNOWN
        due = now + SECOND_LOOK if unconfirmed else None
        # What is not in force for certain is nobody's yet, and must outlive the next look, which may find that it is.
        secret = self._secret or (None if accepted else self._means.reveals.take(request.id))
        if secret is not None:
            self._secret = None
            self._means.reveals.keep(
                request.id, secret, until=now + REVEAL_FOR + (SECOND_LOOK if unconfirmed else timedelta())
            )
        if accepted and _makes_a_secret(self._planned()[0]) and answer.get("reveal") not in _SEEN:
            if not self._means.reveals.holds(request.id):
                await self._nobody_saw_it(*self._why_gone())
            answer["reveal"] = "waiting"
            due = now + REVEAL_FOR
        if unconfirmed and not accepted:
            answer["again"] = True
        await self._journey.rest(state, sentence, answer=answer, due_at=due)

    def _why_gone(self) -> tuple[str, str]:
        if self._journey.request.answer.get("reveal") == "waiting":
            return "expired", _TOO_LATE
        if self._resumed:
            return "lost", _RESTARTED
        return "lost", _NOT_HEARD if any(call.reveals for call in self._planned()[0].calls) else _NOT_IN_TIME

    async def _nobody_saw_it(self, how: str, why: str) -> NoReturn:
        self._means.reveals.take(self._journey.request.id)
        _, target = self._planned()
        sentence = story.unseen(self._journey.done_words, why, target.name)
        await self._journey.rest(RequestState.DONE, sentence, answer=self._answer(reveal=how))

    # --- looking -----------------------------------------------------------------------------------------------------

    async def _look(self, acting: Acting, patience: timedelta = REPLICAS_LAG, *, of: ReadBack | None = None) -> _Seen:
        """What the tenant shows of the plan, or *of* one call; while a stale answer may come, it is asked for again."""
        read_back = of or self._planned()[0].read_back
        if self._shows and of is None:
            return _Seen.THERE
        if read_back is None:
            return _Seen.THERE if self._open is None else _Seen.NOT_READ
        if of is None:
            self._journey.show("read-back", "Reading it back")
        patience = patience if read_back.lags else timedelta()
        deadline, wait = self._means.clock.now() + patience, timedelta(seconds=1)
        while (seen := await self._read(acting, read_back)) is not _Seen.THERE:
            if self._means.clock.now() >= deadline:
                break
            await self._journey.save()
            await self._means.clock.sleep_until(self._means.clock.now() + wait)
            wait = min(2 * wait, timedelta(seconds=15))
        if of is None:
            self._shows = seen is _Seen.THERE
        return seen

    async def _read(self, acting: Acting, read_back: ReadBack) -> _Seen:
        try:
            if read_back.method == "GET":
                found = await acting.graph.get(*read_back.path, query=dict(read_back.query))
            else:
                found = await acting.graph.ask(*read_back.path, body=read_back.body)
        except LatchkeyError as error:
            log.info("read-back failed", extra={"request": self._journey.request.id, "why": type(error).__name__})
            return _Seen.NOT_READ
        return _Seen.THERE if read_back.holds(found) else _Seen.NOT_THERE

    # --- what the rows say -------------------------------------------------------------------------------------------

    @property
    def _open(self) -> Attempt | None:
        """The attempt whose end is not known, which what happens next must settle."""
        attempts = (self._attempts or {}).values()
        return next((attempt for attempt in attempts if attempt.finished in {None, "unknown"}), None)

    @property
    def _done(self) -> int:
        """How many of the calls were done for certain."""
        return sum(attempt.finished == "succeeded" for attempt in (self._attempts or {}).values())

    @property
    def _has_parts(self) -> bool:
        """Reading back is about the whole of a plan: where it shows nothing, some of several calls may be done."""
        return len(self._planned()[0].calls) > 1 and not self._stepwise

    @property
    def _stepwise(self) -> bool:
        """Whether the effect of each call shows by itself: such a plan stops and goes on at any step."""
        calls = self._planned()[0].calls
        return len(calls) > 1 and all(call.seen for call in calls)

    def _when_not_there(self) -> str:
        """The outcome of an attempt without an answer, when the effect is not there."""
        return "unknown" if self._has_parts else "unavailable"

    def _planned(self) -> tuple[Plan, Target]:
        plan, target = self._journey.request.plan, self._journey.request.target
        if plan is None or target is None:
            raise BadInput("The bot was restarted before this had a plan, so nothing was done. Type the command again.")
        return plan, target

    async def _attempts_so_far(self) -> dict[int, Attempt]:
        if self._attempts is None:
            found = await self._means.requests.attempts(self._journey.request.id)
            self._attempts = {attempt.call_index: attempt for attempt in found}
        return self._attempts

    def _note_end(
        self, attempt: Attempt, outcome: str, answer: GraphAnswer | None = None, *, found_by: str | None = None
    ) -> None:
        """The second row of an attempt; it is written with the next commit."""
        if attempt.finished == outcome:
            return
        self._attempts = {**(self._attempts or {}), attempt.call_index: replace(attempt, finished=outcome)}
        facts: dict[str, Any] = {"call_index": attempt.call_index, "outcome": outcome}
        if found_by:
            facts["found_by"] = found_by
        if answer:
            facts |= {"status": answer.status, "code": answer.code, "microsoft_request_id": answer.request_id}
        elif outcome == "succeeded" and self._microsoft_id:
            facts["microsoft_request_id"] = self._microsoft_id
        self._journey.notes.append(self._journey.record("attempt.finished", facts, attempt.id))

    def _circumstances(self, attempt: Attempt, call: Call) -> dict[str, Any]:
        """What the audit trail must tell of an attempt: on whom, how, why, and under which confirmation."""
        request = self._journey.request
        return {
            "call_index": attempt.call_index,
            "action": request.action,
            "target": request.target.to_json() if request.target else None,
            "method": call.method,
            "path": "/".join(call.path),
            "plan_digest": request.digest,
            "reason": request.reason,
            "verified": request.verified,
            "ticket": request.ticket,
        }

    def _answer(self, **more: Any) -> dict[str, Any]:
        """What the request's answer holds from now on; whether trying again can help is said anew each time."""
        return {key: value for key, value in self._journey.request.answer.items() if key != "again"} | more


def _makes_a_secret(plan: Plan) -> bool:
    """Whether there is something to show to the requester."""
    return any(call.generates is Generated.PASSWORD or call.reveals for call in plan.calls)
