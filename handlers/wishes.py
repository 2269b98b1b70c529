"""How a wish becomes a request: decided on the person, written down once, and then woken or given a form."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final
from zoneinfo import ZoneInfo

from bot import policy
from bot.actions import catalogue, change_settings
from bot.command import looks_exact
from bot.errors import Conflict
from bot.model import AuditRecord, Request, RequestState, Rights
from bot.ports import Audience, Clock, Message, Operators, Requests, Settings
from bot.refusal import explain
from bot.road import Passed, Point, unobserved
from handlers.forms import Forms
from handlers.gestures import Gesture
from handlers.ports import Worker
from handlers.slack import SlackProblem
from handlers.views import form, whatif

FORM_FOR: Final = timedelta(minutes=30)
"""How long a request waits for its form."""

UNOPENED: Final = timedelta(seconds=5)
"""When a request whose form did not open (Slack's trigger lives three seconds) offers *Continue* by itself."""


@dataclass(frozen=True)
class Wishes:
    """Makes requests of what people type and press."""

    clock: Clock
    operators: Operators
    settings: Settings
    requests: Requests
    worker: Worker
    forms: Forms
    zone: ZoneInfo
    ticket_pattern: str | None = None
    passed: Passed = unobserved

    async def make(self, wish: Request, gesture: Gesture, *, view: str | None = None, by_form: bool = False) -> Request:
        """Write *wish* down, marking the gesture's delivery done, and set it going; returns it as it was written.

        A refusal ends here, told in private. *view* is an open modal that the request may use for its form, which
        *by_form* asks for also where nothing has to be filled in. Raises `Conflict` if this delivery has become a
        request before.
        """
        rights = self.operators.rights(wish.slack, wish.command)
        wish = replace(wish, operator_id=rights.operator.id if rights.operator else None)
        self.passed(Point.IDENTIFIED)
        decision = await self._decide(wish, rights)
        if decision.verdict is policy.Verdict.DENY:
            return await self._refuse(wish, gesture, decision)
        if wish.state is RequestState.RECEIVED and (by_form or await self._needs_form(wish)):
            return await self._with_form(wish, gesture, view)
        wish = await self._add(replace(wish, form=view if wish.state is RequestState.RECEIVED else None), gesture)
        self.worker.wake(wish.id)
        return wish

    async def may(self, wish: Request) -> bool:
        """Whether `make` would not refuse *wish*."""
        decision = await self._decide(wish, self.operators.rights(wish.slack, wish.command))
        return decision.verdict is not policy.Verdict.DENY

    async def _decide(self, wish: Request, rights: Rights) -> policy.Decision:
        return policy.decide_person(
            policy.Question(
                rights=rights,
                command=wish.command,
                action=catalogue().get(wish.action),
                now=self.clock.now(),
                settings=await self.settings.current(),
                asking=True,
            )
        )

    async def note(self, wish: Request, gesture: Gesture, sentence: str) -> None:
        """Write down a wish that came to nothing, and tell why in private."""
        await self._end(wish, gesture, sentence, ())

    async def _refuse(self, wish: Request, gesture: Gesture, decision: policy.Decision) -> Request:
        refusal = await explain(decision, wish.command, wish.slack, self.operators, self.zone)
        stops = decision.deny.code.value if decision.deny else "grant"
        facts = {"command": wish.command, "team": wish.slack.team, "user": wish.slack.user, "why": stops}
        audit = AuditRecord("request.refused", operator_id=wish.operator_id, request_id=wish.id, facts=facts)
        return await self._end(replace(wish, answer={"trace": refusal.trace}), gesture, refusal.sentence, [audit])

    async def _end(self, wish: Request, gesture: Gesture, sentence: str, audit: Sequence[AuditRecord]) -> Request:
        ended = replace(wish, state=RequestState.REFUSED, sentence=sentence, finished_at=self.clock.now())
        answer = Message(f"answer:{wish.id}", "answer", wish.id, audience=Audience.REQUESTER)
        return await self._add(ended, gesture, audit=audit, say=[answer])

    async def _add(
        self, wish: Request, gesture: Gesture, *, audit: Sequence[AuditRecord] = (), say: Sequence[Message] = ()
    ) -> Request:
        """The one row that a delivery becomes, which is thereby done."""
        added = await self.requests.add(
            wish, delivery=gesture.delivery, audit=audit, say=say, reply_url=gesture.reply_url
        )
        self.passed(Point.PARSED)
        return added

    async def _needs_form(self, wish: Request) -> bool:
        action = catalogue().get(wish.action)
        if action is None:
            return whatif.needs_form(wish)
        demands = form.Demands.of(action, await self.settings.current(), self.ticket_pattern)
        return form.needed(wish, action, demands, exact=wish.target is not None or looks_exact(wish.typed))

    async def _with_form(self, wish: Request, gesture: Gesture, view: str | None) -> Request:
        """Until its form is open the request waits, and would offer *Continue* if nothing more happened."""
        now = self.clock.now()
        if wish.action == change_settings.ACTION.name and not wish.undo_of:
            settings = await self.settings.current()
            wish = replace(wish, inputs=change_settings.begun_with(vars(settings), wish.inputs))
        waiting = replace(wish, state=RequestState.AWAITING_CONFIRMATION, due_at=now + FORM_FOR)
        fallback = Message(
            f"continue:{wish.id}", "continue", wish.id, audience=Audience.REQUESTER, after=now + UNOPENED
        )
        waiting = await self._add(waiting, gesture, say=[fallback])
        await self.show_form(waiting, gesture, view)
        return waiting

    async def show_form(self, waiting: Request, gesture: Gesture, view: str | None = None) -> None:
        """Open the form of a waiting request (or put it into the open modal *view*) and let it be filled."""
        try:
            opened = await self.forms.open(waiting, gesture.trigger, view)
        except SlackProblem:
            at_once = Message(f"continue:{waiting.id}", "continue", waiting.id, audience=Audience.REQUESTER)
            await self.requests.save(waiting, say=[at_once])
            return
        action = catalogue().get(waiting.action)
        if action is not None and action.writes and (waiting.typed or waiting.target or not form.needs_target(action)):
            # There is somebody to look up; otherwise it waits for a choice in the form.
            waiting = replace(waiting, state=RequestState.RECEIVED, due_at=None)
        try:
            saved = await self.requests.save(replace(waiting, form=opened))
        except Conflict:  # it was filled in already: whoever did that has let it go on
            return
        if saved.state is RequestState.RECEIVED:
            self.worker.wake(saved.id)


def new_id(gesture: Gesture) -> str:
    """The id of the request that a gesture makes: the same when the delivery comes again after a crash."""
    return uuid.uuid5(uuid.NAMESPACE_OID, gesture.delivery).hex
