"""What is pressed in the management box. Who may is decided from the rows at each press, never from what is shown."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from bot.actions import catalogue
from bot.errors import BadInput
from bot.model import JSON, Origin, Request, RequestState, TenantSettings
from bot.ports import Clock, Operators
from handlers.gestures import Gesture
from handlers.home import Home
from handlers.identity import People
from handlers.ports import Rows, SettingsHistory
from handlers.views import management
from handlers.views.wording import Known
from handlers.voice import Voice
from handlers.wishes import Wishes, new_id

log = logging.getLogger(__name__)

_UNDER_WAY: Final = frozenset({RequestState.AWAITING_APPROVAL, RequestState.READY, RequestState.RUNNING})


@dataclass(frozen=True)
class Managing:
    """Makes requests of what is pressed: nothing here changes anything by itself."""

    clock: Clock
    voice: Voice
    people: People
    operators: Operators
    settings: SettingsHistory
    rows: Rows
    wishes: Wishes
    home: Home

    async def save(self, gesture: Gesture) -> None:
        """*Save*: asks for the mode that was chosen, unless somebody changed something since the box was drawn."""
        asked = self._wish(gesture, management.SWITCH)
        if not await self.wishes.may(asked):
            await self.wishes.make(asked, gesture)  # refused, and audited
            return
        wanted = management.chosen(gesture.view)
        settings = await self.settings.current()
        if wanted.version > settings.version:
            raise BadInput("Latchkey cannot read what was chosen. Open the Home tab again.")
        if obstacle := await self._obstacle(settings, wanted):
            await self.home.refresh(gesture)
            await self.voice.answer(gesture, obstacle)
            return
        await self.wishes.make(self._wish(gesture, management.SWITCH, **wanted.inputs), gesture, by_form=True)

    async def ask(self, gesture: Gesture) -> None:
        """Any other button: opens the form of the action it stands for."""
        name = management.ASKS_FOR[gesture.name]
        await self.wishes.make(self._wish(gesture, name), gesture, by_form=True)

    async def _obstacle(self, settings: TenantSettings, wanted: management.Chosen) -> str:
        """Why nothing is asked for now; empty if it is."""
        if changes := await self.settings.since(wanted.version):
            return management.changed_meanwhile([(await self._name(each.by), each) for each in changes])
        if management.is_so_already(settings, wanted):
            return "It is so already, so there is nothing to save."
        for request in await self.rows.under_way(management.SWITCH):
            by = await self.people.name(request.slack.user)
            return management.asked_already(request, Known(catalogue().get(request.action), by))
        return ""

    async def _name(self, operator_id: str | None) -> str:
        operator = await self.operators.find(operator_id) if operator_id else None
        return (operator.name if operator else None) or "Somebody at the command line"

    def _wish(self, gesture: Gesture, name: str, **inputs: JSON) -> Request:
        action = catalogue().get(name)
        if action is None:
            raise BadInput("This belongs to another version of Latchkey, so nothing was done.")
        return Request(
            id=new_id(gesture),
            operator_id=None,
            slack=gesture.actor,
            command=action.command,
            action=name,
            origin=Origin(gesture.channel, "home" if gesture.at_home else "button"),
            created_at=self.clock.now(),
            inputs=inputs,
        )
