"""Forms in people's hands: opened at once, filled once somebody is found, replaced by a sentence when it is over."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from bot.actions import catalogue
from bot.actions._action import Action
from bot.model import Request, RequestState
from bot.ports import Preview, Settings
from handlers.ports import Menus
from handlers.slack import Slack, SlackProblem, SlackRefused
from handlers.views import form, whatif
from handlers.views.blocks import View
from handlers.views.offers import offers

log = logging.getLogger(__name__)

_REMEMBERED: Final = 500
"""Previews kept in memory, so that a form can be shown again with a complaint. One that is gone is asked for anew."""


class Forms:
    """Shows the form of a request. What people do in forms is heard in `filling.py`."""

    def __init__(self, *, slack: Slack, settings: Settings, offered: Menus, ticket_pattern: str | None = None) -> None:
        self._slack = slack
        self._settings = settings
        self._offered = offered
        self._ticket_pattern = ticket_pattern
        self._previews: OrderedDict[str, Preview] = OrderedDict()

    async def open(self, request: Request, trigger: str, view: str | None = None) -> str:
        """Open the form of *request* as far as it is known, or put it into the open modal *view*; returns its id.

        Raises `SlackProblem`.
        """
        if view is None:
            try:
                return await self._slack.open_view(trigger, await self.view(request, None))
            except SlackRefused as refused:
                if request.action != whatif.DRAFT:
                    raise
                log.warning("no form with files", extra={"code": refused.code})  # the scope for it is new
                return await self._slack.open_view(trigger, whatif.build(request, files=False))
        await self._slack.update_view(view, await self.view(request, None))
        return view

    async def fill(self, request: Request, preview: Preview) -> None:
        """Show whom it will hit and the button that names it. A form that is gone is no error: it is logged."""
        self._previews[request.id] = preview
        while len(self._previews) > _REMEMBERED:
            self._previews.popitem(last=False)
        await self.show(request, await self.view(request, preview))

    async def tell(self, request: Request, sentence: str, *, again: bool) -> None:
        """Replace the form by a sentence, with what can be done about it (*again* says so in the request's row)."""
        self.forget(request)
        action = catalogue().get(request.action)
        title = action.title if action else "Latchkey"
        waits = request.state is RequestState.AWAITING_APPROVAL  # what can be done meanwhile stands on its card
        await self.show(request, form.told(title, sentence, () if waits else offers(request, action)))

    def preview_of(self, request: Request) -> Preview | None:
        """What the form was filled with, if this process did it."""
        return self._previews.get(request.id)

    def forget(self, request: Request) -> None:
        """The form has done its work."""
        self._previews.pop(request.id, None)

    async def show(self, request: Request, view: View) -> None:
        """Put *view* in place of the request's form, if that is still open."""
        if request.form is None:
            return
        try:
            await self._slack.update_view(request.form, view)
        except SlackProblem as problem:
            log.info("form cannot be shown", extra={"request": request.id, "problem": str(problem)})

    async def view(self, request: Request, preview: Preview | None, problems: Mapping[str, str] | None = None) -> View:
        """The form as it should look now."""
        if whatif.has_form(request):
            return whatif.build(request)
        action = catalogue()[request.action]
        demands, choices = await self.demands(action), await self._choices(action)
        needless = action.needless(request.inputs, await self._settings.current()) if action.needless else ()
        return form.build(request, action, demands, preview, problems=problems, choices=choices, needless=needless)

    async def _choices(self, action: Action) -> form.Choices:
        if not form.Choices.needed_for(action):
            return form.Choices()
        return form.Choices(
            roles=[(role.name, role.title) for role in await self._offered.role_list()],
            scopes=[(scope.name, "") for scope in await self._offered.scopes()],
        )

    async def demands(self, action: Action) -> form.Demands:
        """What must be said before *action* may run, as the settings are now."""
        return form.Demands.of(action, await self._settings.current(), self._ticket_pattern)
