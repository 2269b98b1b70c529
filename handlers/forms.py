"""The open forms: shown at once, filled once somebody is found, previewed, run by the button that names the person."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from bot.actions import catalogue
from bot.actions._action import Action
from bot.command import looks_exact
from bot.errors import BadInput
from bot.model import JSON, AuditRecord, Request, RequestState
from bot.ports import Clock, Preview, Requests, Settings
from handlers.desk import Desk
from handlers.gestures import Gesture
from handlers.ports import Worker
from handlers.slack import Slack, SlackProblem
from handlers.views import form
from handlers.views.blocks import View
from handlers.views.offers import offers
from handlers.views.wording import wish

log = logging.getLogger(__name__)

_REMEMBERED: Final = 500
"""Previews kept in memory, so that a form can be shown again with a complaint. One that is gone is asked for anew."""


class Forms:
    """Forms in people's hands. `fill` and `tell` are for the runner; the rest hears what people do in them."""

    def __init__(
        self,
        *,
        slack: Slack,
        desk: Desk,
        requests: Requests,
        settings: Settings,
        worker: Worker,
        clock: Clock,
        ticket_pattern: str | None = None,
    ) -> None:
        self._slack = slack
        self._desk = desk
        self._requests = requests
        self._settings = settings
        self._worker = worker
        self._clock = clock
        self._ticket_pattern = ticket_pattern
        self._previews: OrderedDict[str, Preview] = OrderedDict()

    # --- for the runner and for new requests --------------------------------------------------------------------------

    async def open(self, request: Request, trigger: str) -> str:
        """Open the form of *request*, as far as it is known; returns the view's id. Raises `SlackProblem`."""
        return await self._slack.open_view(trigger, await self._view(request, None))

    async def fill(self, request: Request, preview: Preview) -> None:
        """Show whom it will hit and the button that names it. A form that is gone is no error: it is logged."""
        self._previews[request.id] = preview
        while len(self._previews) > _REMEMBERED:
            self._previews.popitem(last=False)
        await self._show(request, await self._view(request, preview))

    async def tell(self, request: Request, sentence: str, *, again: bool) -> None:
        """Replace the form by a sentence, with what can be done about it (*again* says so in the request's row)."""
        self._previews.pop(request.id, None)
        action = catalogue().get(request.action)
        title = action.title if action else "Latchkey"
        await self._show(request, form.told(title, sentence, offers(request, action)))

    async def _show(self, request: Request, view: View) -> None:
        if request.form is None:
            return
        try:
            await self._slack.update_view(request.form, view)
        except SlackProblem as problem:
            log.info("form cannot be shown", extra={"request": request.id, "problem": str(problem)})

    async def _view(self, request: Request, preview: Preview | None, problems: Mapping[str, str] | None = None) -> View:
        action = catalogue()[request.action]
        return form.build(request, action, await self._demands(action), preview, problems=problems)

    async def _demands(self, action: Action) -> form.Demands:
        return form.Demands.of(action, await self._settings.current(), self._ticket_pattern)

    # --- what people do in them ---------------------------------------------------------------------------------------

    async def submitted(self, gesture: Gesture) -> JSON:
        """*Preview* of a change, *Show* of a read: neither changes anything."""
        request, action = await self._of(gesture)
        filled = form.parse(gesture.view, action)
        asked = _with(request, filled)
        if request.state is RequestState.RECEIVED:  # it is being filled just now
            return {"response_action": "update", "view": await self._view(asked, None)}
        if request.state is not RequestState.AWAITING_CONFIRMATION:
            raise BadInput(_too_late(request))
        found = form.problems(filled, action, await self._demands(action))
        if not (filled.target or request.typed or request.target):
            found |= form.nobody_chosen()
        if found:
            return {"response_action": "errors", "errors": found}
        if not action.writes:
            await self._go_on(replace(asked, form=None), gesture)
            return {"response_action": "clear"}
        await self._go_on(asked, gesture)
        return {"response_action": "update", "view": await self._view(asked, None)}

    async def chosen(self, gesture: Gesture) -> None:
        """A person was chosen from a list."""
        request, action = await self._of(gesture)
        if not looks_exact(gesture.value) or not action.writes:
            return
        asked = _with(request, form.parse(gesture.view, action))
        asked = replace(asked, typed=gesture.value, target=None)
        await self._go_on(asked, gesture)
        await self._show(asked, await self._view(asked, None))

    async def run(self, gesture: Gesture) -> None:
        """The button that names action and person: what is filled in counts, and off it goes."""
        request, action = await self._of(gesture)
        if request.state is not RequestState.AWAITING_CONFIRMATION or request.target is None:
            raise BadInput(_too_late(request))
        filled = form.parse(gesture.view, action)
        found = form.problems(filled, action, await self._demands(action))
        asked = _with(request, filled)
        if found:
            await self._complain(asked, found, gesture)
            return
        if not _same_inputs(action, request.inputs, filled.inputs):
            # They changed after the plan was made: what runs is planned anew, with what was filled in.
            asked = replace(asked, plan=None, digest=None)
        await self._requests.save(replace(asked, state=RequestState.READY, due_at=None), delivery=gesture.delivery)
        self._previews.pop(request.id, None)
        self._worker.wake(request.id)
        await self._show(request, form.on_its_way(request, action))

    async def closed(self, gesture: Gesture) -> None:
        """The form was closed without running anything."""
        request = await self._requests.find(gesture.about)
        waits = {RequestState.AWAITING_CONFIRMATION, RequestState.RECEIVED}
        if request is None or request.slack != gesture.actor or request.state not in waits:
            return
        if request.form != gesture.view.get("id"):
            return
        self._previews.pop(request.id, None)
        sentence = "The form was closed, so nothing was done."
        record = AuditRecord("request.withdrawn", operator_id=request.operator_id, request_id=request.id)
        now = self._clock.now()
        gone = replace(request, state=RequestState.WITHDRAWN, sentence=sentence, finished_at=now, due_at=None)
        await self._requests.save(gone, audit=[record], delivery=gesture.delivery)

    async def _of(self, gesture: Gesture) -> tuple[Request, Action]:
        request = await self._desk.own(gesture.about, gesture)
        action = catalogue().get(request.action)
        if action is None:
            raise BadInput(f"There is no action `{request.action}` any more. `/m365 help` lists what there is.")
        return request, action

    async def _go_on(self, asked: Request, gesture: Gesture) -> None:
        """Let the runner look at it afresh, with what was filled in."""
        again = replace(asked, state=RequestState.RECEIVED, plan=None, digest=None, due_at=None)
        await self._requests.save(again, delivery=gesture.delivery)
        self._worker.wake(asked.id)

    async def _complain(self, asked: Request, found: Mapping[str, str], gesture: Gesture) -> None:
        preview = self._previews.get(asked.id)
        if preview is None:  # another process knew whom the form was about
            await self._go_on(asked, gesture)
        await self._show(asked, await self._view(asked, preview, found))


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
