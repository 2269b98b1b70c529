"""The road of a request, walked: from a typed wish to a plan that everybody concerned agreed to, and on.

The runner decides nothing about rights (`policy.py`), knows no Graph path (`actions/`) and speaks no Slack
(`handlers/`). It puts them in the right order: points 3 to 7 of `road.py` are here, 8 to 11 in `carrying_out.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any, Final, NoReturn
from weakref import WeakValueDictionary

from bot import policy
from bot.actions import catalogue
from bot.carrying_out import CarryingOut
from bot.directory import find_people, read_exactly, read_person
from bot.errors import BadInput, Conflict, LatchkeyError
from bot.journey import A_PERSON_MAY_TAKE, Journey, Means, Rests
from bot.model import Person, Plan, RequestState, digest
from bot.ports import Preview
from bot.road import Point
from bot.session import Acting, SessionOff

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
        if request is not None and not request.state.final:
            sentence = f"Something went wrong on our side (reference {reference}). The log has the details."
            journey = Journey(self._means, request, self._means.clock.monotonic())
            await _Walk(journey, self._writing_on).end_with(Stumbled(sentence))


@dataclass(frozen=True)
class _Prepared:
    """Points 4 to 6: the right to act, the target as it is now, and the plan about it."""

    acting: Acting
    person: Person
    plan: Plan
    digest: str


class _Walk:
    """One request on its way through points 3 to 7."""

    def __init__(self, journey: Journey, writing_on: WeakValueDictionary[str, asyncio.Lock]) -> None:
        self._journey = journey
        self._means = journey.means
        self._carrying_out = CarryingOut(journey)
        self._writing_on = writing_on

    async def go_on(self) -> None:
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
            case RequestState.DONE | RequestState.UNKNOWN if self._journey.has_a_secret_to_show:
                await self._carrying_out.see_to_the_reveal()
            case state:
                log.info("nothing to do", extra={"request": self._journey.request.id, "state": state.value})

    async def end_with(self, error: LatchkeyError) -> None:
        """Bring the request to rest after *error*."""
        state = self._journey.request.state
        if state.final:  # what came of it stands; only its secret could not be seen to
            log.warning(
                "looked after in vain", extra={"request": self._journey.request.id, "why": type(error).__name__}
            )
            return
        try:
            if isinstance(error, SessionOff) and state not in {RequestState.RUNNING, RequestState.UNKNOWN}:
                await self._journey.ask_again(str(error), {"open": True})
            await self._carrying_out.fail(error)
        except Rests:
            pass

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
        acting, person = await self._reach()
        if self._journey.action.answer:
            await self._answer(acting, person)
        if request.preview:
            await self._preview(await self._plan(acting, person))
        if request.form or self._journey.action.confirm:
            # Also when its form is not known (a crash right after it opened): nothing else confirms such an action.
            await self._ask_to_confirm(acting, person)
        self._start()
        alone = self._alone()
        somebody_else_writes = alone.locked()
        async with alone:
            if somebody_else_writes:
                acting, person = await self._reach()
            await self._carry_out(await self._plan(acting, person))

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
        decision = policy.decide_person(await self._question())
        if decision.verdict is policy.Verdict.DENY:
            await self._journey.refuse(decision)
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

    async def _reach(self) -> tuple[Acting, Person]:
        acting = await self._journey.open_session()
        self._means.passed(Point.SESSION_OPEN)
        question = await self._question()
        person = await self._resolve(acting, guard=policy.needs_guard(question))
        await self._decide(replace(question, target=person), acting, person)
        self._journey.request = replace(self._journey.request, target=person.target)
        self._means.passed(Point.RESOLVED)
        return acting, person

    async def _decide(self, question: policy.Question, acting: Acting, person: Person) -> None:
        ours = frozenset({acting.identity.id})
        decision = policy.decide(replace(question, session=acting.session, our_identities=ours))
        if decision.verdict is not policy.Verdict.ALLOW:
            await self._journey.refuse(decision, person)

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

    async def _plan(self, acting: Acting, person: Person) -> _Prepared:
        action, request = self._journey.action, self._journey.request
        if action.plan is None:
            raise BadInput(f"`{action.name}` only looks something up: there is nothing to confirm or to preview.")
        inputs = action.parse(request.inputs)
        plan = await action.plan(acting.graph, person, inputs, acting.identity)
        question = replace(await self._question(), target=person, plan=plan)
        if policy.changed_groups(plan):
            question = replace(question, power_groups=await self._means.operators.power_groups())
        await self._decide(question, acting, person)
        self._means.passed(Point.PLANNED)
        return _Prepared(
            acting,
            person,
            plan,
            digest(
                action=action.name,
                target_id=person.id,
                inputs=asdict(inputs),  # defaults included, so that it does not matter who filled them in
                mode=acting.session.mode.value,
                identity_id=acting.identity.id,
                plan=plan,
            ),
        )

    async def _answer(self, acting: Acting, person: Person) -> NoReturn:
        action = self._journey.action
        if action.answer is None:
            raise BadInput(f"`{action.name}` changes something: it has nothing to show.")
        answer = await action.answer(acting.graph, person, action.parse(self._journey.request.inputs))
        shown = {"title": answer.title, "facts": [list(fact) for fact in answer.facts], "notes": list(answer.notes)}
        await self._journey.rest(RequestState.DONE, answer.title, answer=shown)

    async def _preview(self, prepared: _Prepared) -> NoReturn:
        wish = self._journey.action.phrase.format(target=prepared.person.name)
        title = f"Preview: this would {wish}. Nothing was done."
        shown = {"title": title, "facts": _in_lines(prepared.plan), "notes": list(prepared.plan.notes)}
        await self._journey.rest(RequestState.DONE, title, answer=shown)

    # --- 7: confirming -----------------------------------------------------------------------------------------------

    async def _ask_to_confirm(self, acting: Acting, person: Person) -> NoReturn:
        """Show whom it will hit and wait for the press of the button that names them."""
        unanswered = self._journey.action.missing(self._journey.request.inputs)
        prepared = None if unanswered else await self._plan(acting, person)
        earlier = await self._same_again(person)
        await self._journey.save(
            state=RequestState.AWAITING_CONFIRMATION,
            sentence="",
            due_at=self._means.clock.now() + A_PERSON_MAY_TAKE,
            plan=prepared.plan if prepared else None,
            digest=prepared.digest if prepared else None,
            repeat_of=earlier[0] if earlier else None,
        )
        warnings = (f"{earlier[1]} Go on only if it has to be done again.",) if earlier else ()
        await self._means.forms.fill(
            self._journey.request, Preview(person, prepared.plan if prepared else None, warnings=warnings)
        )
        raise Rests

    async def _carry_out(self, prepared: _Prepared) -> None:
        await self._make_sure(prepared)
        self._means.passed(Point.CONFIRMED)
        await self._carrying_out.run(prepared.acting)

    async def _make_sure(self, prepared: _Prepared) -> None:
        """What was seen is what will run, and nobody has just done the same."""
        planned: dict[str, Any] = {"plan": prepared.plan, "digest": prepared.digest}
        if self._journey.request.digest not in (None, prepared.digest):
            sentence = "Something about this account changed since you looked. Nothing was done yet."
            await self._journey.ask_again(sentence, {"ask": True, "changes": _in_lines(prepared.plan)}, **planned)
        earlier = await self._same_again(prepared.person)
        if earlier:
            sentence = f"{earlier[1]} Nothing was done yet."
            await self._journey.ask_again(sentence, {"ask": True, "repeat_of": earlier[0]}, **planned)
        self._journey.request = replace(self._journey.request, **planned)

    async def _same_again(self, person: Person) -> tuple[str, str] | None:
        """The id of a request that did the same a short while ago, and a sentence about it."""
        request, now = self._journey.request, self._means.clock.now()
        found = await self._means.requests.latest_on(person.id, request.action, now - SAME_AGAIN)
        if (
            found is None
            or found[0].id in (request.id, request.repeat_of, request.undo_of)
            or found[0].state is RequestState.FAILED
        ):
            return None
        earlier, operator = found
        wish = self._journey.action.phrase.format(target=person.name)
        ago = _ago(now - (earlier.started_at or earlier.created_at))
        return earlier.id, f"{operator.name or 'Somebody'} already asked to {wish} {ago}."


def _ago(passed: timedelta) -> str:
    minutes = int(passed.total_seconds() // 60)
    if minutes >= 120:  # asked long ago, and carried out only now: the bot was away in between
        return f"{minutes // 60} hours ago"
    return f"{minutes} minute{'s' if minutes > 1 else ''} ago" if minutes else "less than a minute ago"


def _in_lines(plan: Plan) -> list[list[str]]:
    """The changes of a plan for people: what, and from what to what."""
    return [[c.what, f"{c.before} → {c.after}" if c.before else c.after] for c in plan.changes]
