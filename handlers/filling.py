"""What people do in a form: preview, choose a person, run it by the button that names them, or close it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bot.actions import catalogue
from bot.actions._action import Action
from bot.command import looks_exact
from bot.errors import BadInput, Conflict
from bot.model import JSON, AuditRecord, Request, RequestState
from bot.ports import Clock, Requests
from handlers.desk import Desk
from handlers.forms import Forms
from handlers.gestures import Gesture
from handlers.ports import Worker
from handlers.views import form
from handlers.views.wording import wish


@dataclass(frozen=True)
class Filling:
    """Hears what happens in forms. Only the person who asked may do it."""

    clock: Clock
    forms: Forms
    desk: Desk
    requests: Requests
    worker: Worker

    async def submitted(self, gesture: Gesture) -> JSON:
        """*Preview* of a change, *Show* of a read: neither changes anything."""
        try:
            return await self._submitted(gesture)
        except Conflict:  # somebody fast: the row has learned only now which form is its own
            return await self._submitted(gesture)

    async def _submitted(self, gesture: Gesture) -> JSON:
        request, action = await self._of(gesture)
        filled = form.parse(gesture.view, action, request.inputs)
        asked = replace(_with(request, filled), form=request.form or gesture.modal)
        if request.state is RequestState.RECEIVED:  # it is being filled just now
            return {"response_action": "update", "view": await self.forms.view(asked, None)}
        if request.state is not RequestState.AWAITING_CONFIRMATION:
            raise BadInput(_too_late(request))
        found = form.problems(filled, action, await self.forms.demands(action))
        if form.needs_target(action) and not (filled.target or request.typed or request.target):
            found |= form.nobody_chosen(action)
        if found:
            return {"response_action": "errors", "errors": found}
        if not action.writes:
            await self._go_on(replace(asked, form=None), gesture)
            return {"response_action": "clear"}
        await self._go_on(asked, gesture)
        return {"response_action": "update", "view": await self.forms.view(asked, None)}

    async def chosen(self, gesture: Gesture) -> None:
        """A person was chosen from a list."""
        request, action = await self._of(gesture)
        if not looks_exact(gesture.value) or not action.writes:
            return
        asked = replace(_changed(request, action, gesture), typed=gesture.value, target=None)
        await self._go_on(asked, gesture)
        await self.forms.show(asked, await self.forms.view(asked, None))

    async def steered(self, gesture: Gesture) -> None:
        """What was chosen decides what else is asked for."""
        request, action = await self._of(gesture)
        asked = _changed(request, action, gesture)
        await self._go_on(asked, gesture)
        await self.forms.show(asked, await self.forms.view(asked, None))

    async def run(self, gesture: Gesture) -> None:
        """The button that names action and person: what is filled in counts, and off it goes."""
        request, action = await self._of(gesture)
        if request.state is not RequestState.AWAITING_CONFIRMATION or request.target is None:
            raise BadInput(_too_late(request))
        filled = form.parse(gesture.view, action, request.inputs)
        found = form.problems(filled, action, await self.forms.demands(action))
        asked = _with(request, filled)
        if found:
            await self._complain(asked, found, gesture)
            return
        if not _same_inputs(action, request.inputs, filled.inputs):
            # They changed after the plan was made: what runs is planned anew, with what was filled in.
            asked = replace(asked, plan=None, digest=None)
        await self.requests.save(replace(asked, state=RequestState.READY, due_at=None), delivery=gesture.delivery)
        self.forms.forget(request)
        self.worker.wake(request.id)
        await self.forms.show(request, form.on_its_way(request, action))

    async def closed(self, gesture: Gesture) -> None:
        """The form was closed without running anything."""
        request = await self.requests.find(gesture.about)
        waits = {RequestState.AWAITING_CONFIRMATION, RequestState.RECEIVED}
        if request is None or request.slack != gesture.actor or request.state not in waits:
            return
        if request.form != gesture.view.get("id"):
            return
        self.forms.forget(request)
        sentence = "The form was closed, so nothing was done."
        record = AuditRecord("request.withdrawn", operator_id=request.operator_id, request_id=request.id)
        now = self.clock.now()
        gone = replace(request, state=RequestState.WITHDRAWN, sentence=sentence, finished_at=now, due_at=None)
        await self.requests.save(gone, audit=[record], delivery=gesture.delivery)

    async def _of(self, gesture: Gesture) -> tuple[Request, Action]:
        request = await self.desk.own(gesture.about, gesture)
        action = catalogue().get(request.action)
        if action is None:
            raise BadInput(f"There is no action `{request.action}` any more. `/m365 help` lists what there is.")
        return request, action

    async def _go_on(self, asked: Request, gesture: Gesture) -> None:
        """Let the runner look at it afresh, with what was filled in."""
        again = replace(asked, state=RequestState.RECEIVED, plan=None, digest=None, due_at=None)
        await self.requests.save(again, delivery=gesture.delivery)
        self.worker.wake(asked.id)

    async def _complain(self, asked: Request, found: Mapping[str, str], gesture: Gesture) -> None:
        preview = self.forms.preview_of(asked)
        if preview is None:  # another process knew whom the form was about
            await self._go_on(asked, gesture)
        await self.forms.show(asked, await self.forms.view(asked, preview, found))


def _changed(request: Request, action: Action, gesture: Gesture) -> Request:
    """*request* with what stands in its form, while that is being filled in. Raises `BadInput`."""
    waits = request.state in {RequestState.RECEIVED, RequestState.AWAITING_CONFIRMATION}
    if not waits or request.started_at is not None:  # the form is an old one: what it was about goes on, or is over
        raise BadInput(_too_late(request))
    return _with(request, form.parse(gesture.view, action, request.inputs))


def _with(request: Request, filled: form.Filled) -> Request:
    return replace(
        request,
        typed=filled.target or request.typed,
        inputs=filled.inputs,
        reason=filled.reason,
        verified=filled.verified,
        ticket=filled.ticket,
    )


def _same_inputs(action: Action, before: Mapping[str, JSON], after: Mapping[str, JSON]) -> bool:
    try:
        return bool(action.parse(before) == action.parse(after))
    except BadInput:
        return False


def _too_late(request: Request) -> str:
    if request.state.final:
        return f"{wish(request, catalogue().get(request.action))}: this has ended. {request.sentence}"
    return "This is under way already, so nothing more was started."
