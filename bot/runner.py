"""The road of a request, walked: from a typed wish to a plan that everybody concerned agreed to, and on.

The runner decides nothing about rights (`policy.py`), knows no Graph path (`actions/`) and speaks no Slack
(`handlers/`). It puts them in the right order: points 3 to 7 of `road.py` are here, 8 to 11 in `carrying_out.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, NoReturn
from weakref import WeakValueDictionary

from bot import approvals, policy, story
from bot.actions import catalogue
from bot.carrying_out import CarryingOut
from bot.directory import find_people, groups_around, read_exactly, read_person
from bot.errors import BadInput, Conflict, LatchkeyError, NoLonger, NotPossible, WhoIsMeant
from bot.journey import A_PERSON_MAY_TAKE, Journey, Means, Rests
from bot.model import Approval, ApprovalState, Person, Plan, RequestState, Target, digest
from bot.obstacle import Obstacle, stands
from bot.ports import Preview
from bot.road import Point
from bot.session import Acting, OwnSessionOff, SessionOff
from bot.standing import WRITES

log = logging.getLogger(__name__)

SAME_AGAIN: Final = timedelta(minutes=15)
"""If the same action ran on the same target within this time, the operator is told by whom and asked again."""


class Stumbled(LatchkeyError):
    """A fault of ours, with the reference under which the log has it."""


class Runner:
    """Takes a request as far along its road as it can go now."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._writing_on: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def advance(self, request_id: str, woken_at: float) -> None:
        """Go on with a request from the state its row is in. Whatever goes wrong ends up in the row and is told."""
        request = await self._means.requests.find(request_id)
        if request is None:
            return
        walk = _Walk(Journey(self._means, request, woken_at), self._writing_on)
        try:
            await walk.go_on()
        except Rests:
            pass
        except Conflict:
            # Somebody pressed a button meanwhile; whoever changed the row has woken the worker for it.
            log.info("request changed meanwhile", extra={"request": request_id})
        except LatchkeyError as error:
            await walk.end_with(error)

    async def stumbled(self, request_id: str, reference: str) -> None:
        """Something broke that nobody foresaw. The row and Slack say so; what was sent is looked at again later."""
        request = await self._means.requests.find(request_id)
        if self._means.blocking is not None and request is not None and Obstacle.of(request) and stands(request):
            await self._means.blocking.give_up(request_id)
        elif request is not None and not request.state.final:
            sentence = f"Something went wrong on our side (reference {reference}). The log has the details."
            journey = Journey(self._means, request, self._means.clock.monotonic())
            await _Walk(journey, self._writing_on).end_with(Stumbled(sentence))


@dataclass(frozen=True)
class _Prepared:
    """Points 4 to 6: the right to act, the target as it is now, the plan about it, and what was decided on that."""

    acting: Acting
    subject: Person | Target
    plan: Plan
    digest: str
    decision: policy.Decision


class _Walk:
    """One request on its way through points 3 to 7."""

    def __init__(self, journey: Journey, writing_on: WeakValueDictionary[str, asyncio.Lock]) -> None:
        self._journey = journey
        self._means = journey.means
        self._carrying_out = CarryingOut(journey)
        self._writing_on = writing_on

    async def go_on(self) -> None:
        if self._means.blocking is not None and self._is_stopped:
            try:
                await self._means.blocking.go_on(self._journey.request.id)
            except LatchkeyError as error:  # it is no fault of the request's; its row stays due
                log.warning("looked in vain at what stands in the way", extra={"why": type(error).__name__})
            return
        match self._journey.request.state:
            case RequestState.RECEIVED | RequestState.DECIDED:
                await self._from_the_start()
            case RequestState.READY:
                await self._confirmed()
            case RequestState.RUNNING:
                async with self._alone():
                    await self._carrying_out.resume()
            case RequestState.UNKNOWN if self._journey.is_due:
                await self._carrying_out.look_again()
            case RequestState.AWAITING_CONFIRMATION if self._journey.is_due:
                await self._journey.rest(RequestState.EXPIRED, "Nobody confirmed this in time, so nothing was done.")
            case RequestState.AWAITING_APPROVAL if self._journey.is_due:
                await self._remind()
            case RequestState.DONE | RequestState.UNKNOWN if self._journey.has_a_secret_to_show:
                await self._carrying_out.see_to_the_reveal()
            case state:
                log.info("nothing to do", extra={"request": self._journey.request.id, "state": state.value})

    @property
    def _is_stopped(self) -> bool:
        """Whether what is to be done now is about what it met, not about the request."""
        request, obstacle = self._journey.request, Obstacle.of(self._journey.request)
        if obstacle is None or not stands(request):
            return False
        return obstacle.has_work or (request.state is RequestState.FAILED and self._journey.is_due)

    async def end_with(self, error: LatchkeyError) -> None:
        """Bring the request to rest after *error*."""
        state = self._journey.request.state
        if state.final:  # what came of it stands; only its secret could not be seen to
            log.warning(
                "looked after in vain", extra={"request": self._journey.request.id, "why": type(error).__name__}
            )
            return
        try:
            if isinstance(error, NoLonger) and state not in {RequestState.RUNNING, RequestState.UNKNOWN}:
                await self._journey.rest(RequestState.REFUSED, str(error), answer={})
            if isinstance(error, SessionOff) and state not in {RequestState.RUNNING, RequestState.UNKNOWN}:
                question = {"sign_in": "session"} if isinstance(error, OwnSessionOff) else {"open": True}
                await self._journey.ask_again(str(error), question)
            if isinstance(error, WhoIsMeant):
                await self._journey.ask_again(str(error), {"suggestions": [list(each) for each in error.suggestions]})
            if isinstance(error, BadInput) and self._journey.form_is_open and self._journey.action.own:
                await self._to_be_corrected(str(error))
            if self._means.blocking is not None:
                self._journey.obstacle = await self._means.blocking.met(error, self._journey.request)
            await self._carrying_out.fail(error)
        except Rests:
            pass
        except Conflict:  # somebody ended it meanwhile, and said why
            log.info("request changed meanwhile", extra={"request": self._journey.request.id})

    async def _to_be_corrected(self, sentence: str) -> NoReturn:
        """What stands in an open form cannot be used: the form says why, and stays."""
        due = self._means.clock.now() + A_PERSON_MAY_TAKE
        await self._journey.save(state=RequestState.AWAITING_CONFIRMATION, sentence=sentence, due_at=due)
        target = self._journey.request.target
        await self._means.forms.fill(self._journey.request, Preview(None, None, warnings=(sentence,), target=target))
        raise Rests

    def _alone(self) -> asyncio.Lock:
        """The lock that serialises writes to this request's target."""
        target = self._journey.request.target
        if target is None:  # a confirmed request has a target; an unconfirmed one was resolved just now
            raise BadInput("It is not clear whom this is about. Type the command again with the user name.")
        return self._writing_on.setdefault(target.id, asyncio.Lock())

    async def _from_the_start(self) -> None:
        request = self._journey.request
        await self._decide_on_the_person()
        if request.action not in catalogue():
            sentence, answer = await self._means.enquiries.answer(request)
            await self._journey.rest(RequestState.DONE, sentence, answer=answer)
        acting, subject = await self._reach()
        if self._journey.action.answer:
            await self._answer(acting, subject)
        if request.preview:
            await self._preview(await self._plan(acting, subject))
        if request.form or self._journey.action.confirm:
            # Also when its form is not known (a crash right after it opened): nothing else confirms such an action.
            await self._ask_to_confirm(acting, subject)
        self._start()
        alone = self._alone()
        somebody_else_writes = alone.locked()
        async with alone:
            if somebody_else_writes:
                acting, subject = await self._reach()
            await self._carry_out(await self._plan(acting, subject))

    async def _confirmed(self) -> None:
        """Somebody agreed. Points 3 to 6 once more: rights and the tenant may have changed since they looked."""
        self._start()
        await self._decide_on_the_person()
        async with self._alone():
            await self._carry_out(await self._plan(*await self._reach()))

    def _start(self) -> None:
        started = self._journey.request.started_at or self._means.clock.now()
        self._journey.request = replace(self._journey.request, started_at=started)

    # --- 3: the person -----------------------------------------------------------------------------------------------

    async def _decide_on_the_person(self) -> None:
        question = await self._question()
        decision = policy.decide_person(question)
        if decision.verdict is policy.Verdict.DENY:
            await self._journey.refuse(decision)
        if question.action is not None and question.action.writes and question.rights.operator is not None:
            await self._means.standing.check(question.rights.operator, fresh=WRITES)
        self._means.passed(Point.PERSON_DECIDED)

    async def _question(self) -> policy.Question:
        request = self._journey.request
        return policy.Question(
            rights=self._means.operators.rights(request.slack, request.command),
            command=request.command,
            action=catalogue().get(request.action),
            now=self._means.clock.now(),
            settings=await self._means.settings.current(),
            reason=request.reason,
            verified=request.verified,
            ticket=request.ticket,
            ticket_pattern=self._means.ticket_pattern,
            asking=self._journey.form_is_open or request.preview,
        )

    # --- 4 and 5: session, target, the full decision -----------------------------------------------------------------

    async def _reach(self) -> tuple[Acting, Person | Target]:
        acting = await self._journey.reach()
        self._means.passed(Point.SESSION_OPEN)
        question = await self._question()
        able = policy.decide_person(replace(question, session=acting.session))
        if able.verdict is policy.Verdict.DENY:  # before anything is asked of Microsoft
            await self._journey.refuse(able)
        subject = await self._find(acting) or await self._resolve(acting, guard=policy.needs_guard(question))
        await self._decide(question, acting, subject)
        self._journey.request = replace(self._journey.request, target=_target(subject))
        self._means.passed(Point.RESOLVED)
        return acting, subject

    async def _decide(self, question: policy.Question, acting: Acting, subject: Person | Target) -> policy.Decision:
        """What was decided, if it is not a no: then the request has ended."""
        if isinstance(subject, Person):
            ours = frozenset({acting.identity.id})
            question = replace(question, target=subject, session=acting.session, our_identities=ours)
        decision = policy.decide(question)
        if decision.verdict is policy.Verdict.DENY:
            await self._journey.refuse(decision, _target(subject))
        return decision

    async def _find(self, acting: Acting) -> Target | None:
        """What a change of Latchkey itself is about; None for what is done to a person."""
        request, action = self._journey.request, self._journey.action
        if action.find is None:
            return None
        return request.target or await action.find(acting.graph, request.typed, request.slack)

    async def _resolve(self, acting: Acting, *, guard: bool) -> Person:
        request, writes = self._journey.request, self._journey.action.writes
        if request.target is not None:
            return await read_person(acting.graph, request.target.id, guard=guard)
        exactly = await read_exactly(acting.graph, request.typed, guard=guard)
        if exactly is not None:
            return exactly
        found = await find_people(acting.graph, request.typed) if request.typed else []
        if request.typed and not found:
            raise BadInput(
                f"Nobody in the directory is called “{request.typed}”. Type the whole user name, such as "
                "adele@contoso.com, or part of the name to see who could be meant."
            )
        if len(found) == 1 and not writes:
            return await read_person(acting.graph, found[0].id, guard=guard)
        return await self._ask_who(request.typed, found)

    async def _ask_who(self, typed: str, found: Sequence[Person]) -> NoReturn:
        """Suggest; a name never picks the target of a write."""
        sentence = f"Who is meant by “{typed}”?" if typed else "Who is this about?"
        suggestions = [[person.id, person.name, person.label] for person in found]
        if self._journey.form_is_open:
            await self._journey.save(
                state=RequestState.AWAITING_CONFIRMATION,
                sentence=sentence,
                answer={"suggestions": suggestions},
                due_at=self._means.clock.now() + A_PERSON_MAY_TAKE,
            )
            await self._means.forms.fill(self._journey.request, Preview(None, None, suggestions=tuple(found)))
            raise Rests
        await self._journey.ask_again(sentence, {"suggestions": suggestions})

    # --- 6: the plan -------------------------------------------------------------------------------------------------

    async def _plan(self, acting: Acting, subject: Person | Target) -> _Prepared:
        action, request = self._journey.action, self._journey.request
        if action.plan is None:
            raise BadInput(f"`{action.name}` only looks something up: there is nothing to confirm or to preview.")
        inputs = action.parse(request.inputs)
        plan = await action.plan(acting.graph, subject, inputs, acting.identity)
        question = replace(await self._question(), plan=plan)
        if changed := policy.changed_groups(plan):
            around = await groups_around(acting.graph, changed)
            question = replace(question, power_groups=await self._means.operators.power_groups(), around=around)
        decision = await self._decide(question, acting, subject)
        self._means.passed(Point.PLANNED)
        return _Prepared(
            acting,
            subject,
            plan,
            digest(
                action=action.name,
                target_id=subject.id,
                inputs=asdict(inputs),  # defaults included, so that it does not matter who filled them in
                mode=acting.session.mode.value,
                identity_id=acting.identity.id,
                plan=plan,
            ),
            decision,
        )

    async def _answer(self, acting: Acting, subject: Person | Target) -> NoReturn:
        action = self._journey.action
        if action.answer is None or not isinstance(subject, Person):
            raise BadInput(f"`{action.name}` changes something: it has nothing to show.")
        answer = await action.answer(acting.graph, subject, action.parse(self._journey.request.inputs))
        shown = {"title": answer.title, "facts": [list(fact) for fact in answer.facts], "notes": list(answer.notes)}
        await self._journey.rest(RequestState.DONE, answer.title, answer=shown)

    async def _preview(self, prepared: _Prepared) -> NoReturn:
        wish = self._journey.action.phrase.format(target=prepared.subject.name)
        title = f"Preview: this would {wish}. Nothing was done."
        notes = [*prepared.plan.notes, *_who_else(prepared.decision)]
        shown = {"title": title, "facts": _in_lines(prepared.plan), "notes": notes}
        await self._journey.rest(RequestState.DONE, title, answer=shown)

    # --- 7: confirming -----------------------------------------------------------------------------------------------

    async def _ask_to_confirm(self, acting: Acting, subject: Person | Target) -> NoReturn:
        """Show whom it will hit and wait for the press of the button that names them."""
        unanswered = self._journey.action.missing(self._journey.request.inputs)
        prepared = None if unanswered else await self._plan(acting, subject)
        earlier = await self._same_again(subject)
        await self._journey.save(
            state=RequestState.AWAITING_CONFIRMATION,
            sentence="",
            due_at=self._means.clock.now() + A_PERSON_MAY_TAKE,
            plan=prepared.plan if prepared else None,
            digest=prepared.digest if prepared else None,
            repeat_of=earlier[0] if earlier else None,
        )
        warnings = (
            *((f"{earlier[1]} Go on only if it has to be done again.",) if earlier else ()),
            *(_who_else(prepared.decision) if prepared else ()),
        )
        person = subject if isinstance(subject, Person) else None
        preview = Preview(person, prepared.plan if prepared else None, warnings=warnings, target=_target(subject))
        await self._means.forms.fill(self._journey.request, preview)
        raise Rests

    async def _carry_out(self, prepared: _Prepared) -> None:
        await self._make_sure(prepared)
        await self._make_sure_others_agree(prepared)
        await self._make_sure_somebody_signed_in(prepared.plan)
        self._means.passed(Point.CONFIRMED)
        await self._carrying_out.run(prepared.acting)

    async def _make_sure(self, prepared: _Prepared) -> None:
        """What was seen is what will run, and nobody has just done the same."""
        planned: dict[str, Any] = {"plan": prepared.plan, "digest": prepared.digest}
        if self._journey.request.digest not in (None, prepared.digest):
            what = "this account" if isinstance(prepared.subject, Person) else "this"
            sentence = f"Something about {what} changed since you looked. Nothing was done yet."
            await self._journey.ask_again(sentence, {"ask": True, "changes": _in_lines(prepared.plan)}, **planned)
        earlier = await self._same_again(prepared.subject)
        if earlier:
            sentence = f"{earlier[1]} Nothing was done yet."
            await self._journey.ask_again(sentence, {"ask": True, "repeat_of": earlier[0]}, **planned)
        self._journey.request = replace(self._journey.request, **planned)

    async def _make_sure_others_agree(self, prepared: _Prepared) -> None:
        """Where somebody else has to agree: they did, to this very plan, and it still counts."""
        if prepared.decision.verdict is not policy.Verdict.NEEDS_APPROVAL or not prepared.plan.calls:
            return
        request = self._journey.request
        objection = await self._means.approvals.objection(request, self._journey.action, prepared.digest)
        if objection is None:
            return
        channel = self._means.approvals_channel
        if not channel:
            raise NotPossible(
                "Somebody else has to approve this, and no channel for approvals is set. Ask whoever runs Latchkey to "
                "set LATCHKEY_APPROVALS_CHANNEL."
            )
        needs = prepared.decision.deny
        why = policy.words(needs) if needs else ""
        now = self._means.clock.now()
        approval = approvals.ask(prepared.digest, " ".join(filter(None, (objection, why))), channel, now)
        asked = {"approval": approval.id, "plan_digest": approval.digest, "why": approval.why}
        sentence = " ".join(filter(None, (objection, "It waits for somebody else to approve it.")))
        try:
            async with self._means.approvals.room_for(request):
                self._journey.notes.append(self._journey.record("approval.asked", asked))
                await self._journey.rest(
                    RequestState.AWAITING_APPROVAL,
                    sentence,
                    approval=approval,
                    due_at=approvals.next_look(approval),
                    answer={**_without_questions(request.answer), "changes": _in_lines(prepared.plan)},
                    also=story.superseded(request),
                )
        except Rests:
            await self._means.forms.tell(self._journey.request, sentence, again=False)
            raise

    async def _make_sure_somebody_signed_in(self, plan: Plan) -> None:
        """Where a plan needs an administrator's own sign-in, that has happened."""
        if self._journey.needs_sign_in(plan.calls):
            sentence = "Now an administrator of the tenant has to sign in, so that this can be done."
            answer = {**_without_questions(self._journey.request.answer), "sign_in": self._journey.sign_in}
            await self._journey.ask_again(sentence, answer)

    async def _remind(self) -> NoReturn:
        """Nobody has answered for a while: say so once more, or give up."""
        approval = self._journey.request.approval
        now = self._means.clock.now()
        if approval is None or now >= approval.expires_at:
            gone = replace(approval, state=ApprovalState.EXPIRED, decided_at=now) if approval else None
            sentence = "Nobody approved this in time, so nothing was done."
            try:
                await self._journey.rest(RequestState.EXPIRED, sentence, approval=gone)
            except Rests:
                await self._means.approvals.give_undo_back(self._journey.request)
                raise
        reminded = replace(approval, reminders=approval.reminders + 1)
        await self._journey.save(approval=reminded, due_at=_not_past(reminded, now))
        raise Rests

    async def _same_again(self, subject: Person | Target) -> tuple[str, str] | None:
        """The id of a request that did the same to somebody a short while ago, and a sentence about it."""
        request, now = self._journey.request, self._means.clock.now()
        if not isinstance(subject, Person):
            return None
        found = await self._means.requests.latest_on(subject.id, request.action, now - SAME_AGAIN)
        if (
            found is None
            or found[0].id in (request.id, request.repeat_of, request.undo_of)
            or found[0].state is RequestState.FAILED
        ):
            return None
        earlier, operator = found
        wish = self._journey.action.phrase.format(target=subject.name)
        ago = _ago(now - (earlier.started_at or earlier.created_at))
        return earlier.id, f"{operator.name or 'Somebody'} already asked to {wish} {ago}."


def _target(subject: Person | Target) -> Target:
    return subject.target if isinstance(subject, Person) else subject


def _who_else(decision: policy.Decision) -> tuple[str, ...]:
    """What is to be known before asking for it: that somebody else has to agree."""
    waits = decision.verdict is policy.Verdict.NEEDS_APPROVAL and decision.deny
    return (policy.words(waits),) if waits else ()


def _not_past(approval: Approval, now: datetime) -> datetime:
    """When to look at the question again. After a long sleep of the bot, reminders are not made up for."""
    return max(approvals.next_look(approval), min(now + SAME_AGAIN, approval.expires_at))


_QUESTIONS: Final = frozenset({"ask", "open", "sign_in", "repeat_of", "may_open"})


def _without_questions(answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer without the questions that were answered meanwhile."""
    return {key: value for key, value in answer.items() if key not in _QUESTIONS}


def _ago(passed: timedelta) -> str:
    minutes = int(passed.total_seconds() // 60)
    if minutes >= 120:  # asked long ago, and carried out only now: the bot was away in between
        return f"{minutes // 60} hours ago"
    return f"{minutes} minute{'s' if minutes > 1 else ''} ago" if minutes else "less than a minute ago"


def _in_lines(plan: Plan) -> list[list[str]]:
    """The changes of a plan for people: what, and from what to what."""
    return [[c.what, f"{c.before} → {c.after}" if c.before else c.after] for c in plan.changes]
