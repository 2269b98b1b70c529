"""One request's row on its way: how it is written, what is told of it, and how it comes to rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, NoReturn, Protocol
from zoneinfo import ZoneInfo

from bot import policy, story
from bot.actions import catalogue
from bot.actions._action import Action
from bot.actions._own import OWN
from bot.approvals import Approvals
from bot.enquiries import Enquiries
from bot.errors import BadInput, LatchkeyError, NotPossible, SessionNotOpened
from bot.model import AuditRecord, Call, Request, RequestState, Step, StepStatus, Target
from bot.obstacle import BLOCKED, STOPPED, Obstacle
from bot.office import POLICIES, Office
from bot.ports import Clock, Forms, Message, Operators, Requests, Reveals, Settings
from bot.refusal import explain
from bot.road import Passed, Point, unobserved
from bot.session import Acting, WhoseSession
from bot.signing_in import Purpose
from bot.standing import Standing

A_PERSON_MAY_TAKE: Final = timedelta(minutes=30)
"""How long a request waits for its requester before it expires."""


class Blocking(Protocol):
    """Sees to requests for which no management session could be opened."""

    async def met(self, error: LatchkeyError, request: Request) -> Obstacle | None:
        """What *request* was stopped by, if it is something to find out about."""

    async def go_on(self, request_id: str) -> None:
        """Do what is left to do about what this request met."""

    async def give_up(self, request_id: str) -> None:
        """Something went wrong that nobody foresaw: what is known by now has to do."""


@dataclass(frozen=True, kw_only=True)
class Means:
    """What the runner works with."""

    clock: Clock
    requests: Requests
    operators: Operators
    settings: Settings
    session: WhoseSession
    forms: Forms
    reveals: Reveals
    enquiries: Enquiries
    approvals: Approvals
    standing: Standing
    office: Office
    zone: ZoneInfo
    approvals_channel: str = ""
    ticket_pattern: str | None = None
    passed: Passed = unobserved
    blocking: Blocking | None = None


class Rests(Exception):
    """The request has been brought to where it now rests: it is over, or waits for a person."""


class Journey:
    """A request under way. `request` is what its row holds, plus what the next `save` will write."""

    def __init__(self, means: Means, request: Request, woken_at: float) -> None:
        self.means = means
        self.request = request
        self.woken_at = woken_at
        """Since when it has been wanting to go on, by the clock's `monotonic`; it may have waited for its turn."""
        self.notes: list[AuditRecord] = []
        """Audit rows that go out with the next commit."""
        self.obstacle: Obstacle | None = None
        """What it is stopped by, to be found out about once it rests."""

    @property
    def action(self) -> Action:
        """The action it is about. Raises `BadInput` for one that no longer exists."""
        action = catalogue().get(self.request.action)
        if action is None:
            raise BadInput(f"There is no action `{self.request.action}` any more. `/m365 help` lists what there is.")
        return action

    @property
    def is_due(self) -> bool:
        """Whether the time has come at which it must be looked at by itself."""
        return self.request.due_at is not None and self.request.due_at <= self.means.clock.now()

    @property
    def form_is_open(self) -> bool:
        """Whether its requester has a form of it before their eyes."""
        return self.request.form is not None and self.request.started_at is None

    @property
    def has_a_secret_to_show(self) -> bool:
        """Whether a secret waits to be seen, or is being shown."""
        return self.request.answer.get("reveal") in {"waiting", "showing"}

    @property
    def done_words(self) -> str:
        return self.action.done.format(target=self.request.target.name if self.request.target else "")

    def needs_sign_in(self, calls: Iterable[Call]) -> bool:
        """Whether one of *calls* goes out as an administrator who has to sign in, and nobody has."""
        leaves = self.action.own and any(call.path[0] != OWN for call in calls)
        return leaves and not self.means.office.has_signed_in(self.request)

    @property
    def sign_in(self) -> str:
        """What an administrator signs in for, where the plan takes one."""
        calls = self.request.plan.calls if self.request.plan else ()
        return Purpose.POLICIES if any(call.path[:2] == POLICIES for call in calls) else Purpose.SET_UP

    # --- acting ------------------------------------------------------------------------------------------------------

    async def reach(self) -> Acting:
        """The right to act: through the management session, or on what is Latchkey's own."""
        return self.means.office.acting(self.request) if self.action.own else await self.open_session()

    async def open_session(self) -> Acting:
        """The right to act. An opening that this request waits for becomes part of its story."""

        async def tell(steps: tuple[Step, ...]) -> None:
            if not self.action.writes:
                return
            for step in steps:
                self.request = self.request.with_step(step)
            waits = self.request.form or self.action.confirm
            started = self.request.started_at or (None if waits else self.means.clock.now())
            await self.save(opened_session=True, started_at=started)

        may_open = bool(self.request.answer.get("may_open"))
        session = await self.means.session.of(self.request.operator_id)
        return await session.ensure(
            opened_for=self.request.id, tell=tell, may_open=may_open, waiting_since=self.woken_at
        )

    def act_under(self, acting: Acting) -> None:
        """What is written from now on says under which session and as whom."""
        self.request = replace(
            self.request,
            session_generation=acting.session.generation,
            mode=acting.session.mode,
            identity_id=acting.identity.id,
        )

    # --- writing -----------------------------------------------------------------------------------------------------

    def show(self, key: str, title: str, status: StepStatus = StepStatus.IN_PROGRESS) -> None:
        """Begin the step *key* of the story; the one before it is thereby done. Told with the next commit."""
        self._end_steps(StepStatus.DONE)
        self.request = self.request.with_step(Step(key, title, status))

    def add(self, detail: str) -> None:
        """Say *detail* beside the title of the step under way."""
        steps = self.request.steps
        under_way = next((step for step in reversed(steps) if step.status is StepStatus.IN_PROGRESS), None)
        if under_way is not None:
            self.request = self.request.with_step(replace(under_way, detail=detail))

    def _end_steps(self, status: StepStatus) -> None:
        steps = tuple(
            replace(step, status=status) if step.status is StepStatus.IN_PROGRESS else step
            for step in self.request.steps
        )
        self.request = replace(self.request, steps=steps)

    def record(self, kind: str, facts: Mapping[str, Any], attempt_id: str | None = None) -> AuditRecord:
        """An audit row about this request."""
        request = self.request
        return AuditRecord(
            kind,
            operator_id=request.operator_id,
            request_id=request.id,
            attempt_id=attempt_id,
            target_id=request.target.id if request.target else None,
            session_generation=request.session_generation,
            facts=facts,
        )

    async def save(self, *audit: AuditRecord, also: Sequence[Message] = (), **changes: Any) -> None:
        """One commit: the request with *changes*, the notes so far and *audit*, and what Slack should now say of it,
        and *also* these messages."""
        request = replace(self.request, **changes)
        say = [*also, *story.messages(request, self.means.clock.now())]
        self.request = await self.means.requests.save(request, audit=[*self.notes, *audit], say=say)
        self.notes.clear()  # not before: what could not be written goes out with whatever can be

    # --- coming to rest ----------------------------------------------------------------------------------------------

    async def rest(
        self, state: RequestState, sentence: str, *, wait: timedelta | None = None, **changes: Any
    ) -> NoReturn:
        """Bring the request to *state* and leave it there. *wait* is how long a person may take to answer."""
        told_in_form = self.form_is_open
        now = self.means.clock.now()
        if state.final or state is RequestState.UNKNOWN:
            changes = {"finished_at": now, "due_at": None, **changes}
            if state.final and story.has_closed(self.request) and story.EARLIER not in self.request.answer:
                earlier = [self.request.state.value, self.request.sentence]
                changes["answer"] = {**changes.get("answer", self.request.answer), story.EARLIER: earlier}
        if wait is not None:
            changes["due_at"] = now + wait
        if self.obstacle is not None and state in STOPPED:
            # Committed with the failure itself: whoever goes on from the row finds out, also after a restart.
            met = replace(self.obstacle, then=changes["due_at"]).to_json()
            changes |= {"answer": {**changes.get("answer", self.request.answer), BLOCKED: met}, "due_at": now}
        if state is not RequestState.UNKNOWN:  # then its last step is not over
            self._end_steps(StepStatus.FAILED if state is RequestState.FAILED else StepStatus.DONE)
        facts = {"action": self.request.action, "sentence": sentence}
        await self.save(self.record(f"request.{state.value}", facts), state=state, sentence=sentence, **changes)
        self.means.passed(Point.FINISHED)
        if state.final and not self.request.answer.get("go_on"):
            self.means.office.done_with(self.request)
        if told_in_form and sentence:
            await self.means.forms.tell(self.request, sentence, again=bool(self.request.answer.get("again")))
        raise Rests

    async def refuse(self, decision: policy.Decision, target: Target | None = None) -> NoReturn:
        """End with a no: why, who can help instead, and the whole trace for whoever wants to see it."""
        if target is not None:
            self.request = replace(self.request, target=target)
        means, request = self.means, self.request
        refusal = await explain(decision, request.command, request.slack, means.operators, means.zone)
        await self.rest(RequestState.REFUSED, refusal.sentence, answer={"trace": refusal.trace})

    async def fail(self, error: LatchkeyError) -> NoReturn:
        """End with what went wrong, and *Try again* where that can help."""
        again = not isinstance(error, BadInput | NotPossible)
        sentence = str(error)
        if self.obstacle is not None and isinstance(error, SessionNotOpened):
            sentence = error.while_looking
        await self.rest(RequestState.FAILED, sentence, answer={"again": True} if again else {})

    async def ask_again(self, sentence: str, answer: Mapping[str, Any], **changes: Any) -> NoReturn:
        """Wait for the requester to say whether to go on."""
        await self.rest(RequestState.AWAITING_CONFIRMATION, sentence, wait=A_PERSON_MAY_TAKE, answer=answer, **changes)
