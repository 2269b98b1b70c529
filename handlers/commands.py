"""What people type: each slash command becomes one request, also the ones that cannot be understood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bot.actions import catalogue, delegated
from bot.actions._action import Field, dated
from bot.command import Parsed, parse
from bot.errors import BadInput
from bot.model import JSON, Origin, Request, RequestState
from bot.ports import Clock
from handlers.buttons import Buttons
from handlers.desk import Desk, NoSuchRequest
from handlers.gestures import Gesture
from handlers.ports import Rows
from handlers.signing_in import SignIns
from handlers.views import whatif
from handlers.wishes import Wishes, new_id

COMMANDS: Final = ("/m365", "/m365-session", "/m365-audit", "/m365-roles", "/m365-mode", "/m365-rotate", "/m365-whatif")
"""The slash commands that are registered; the manifest lists the same."""

_HELD_AS: Final[Mapping[str, str]] = {
    "session-status": "/m365-session status",
    "session-on": "/m365-session on",
    "session-off": "/m365-session off",
    "session-extend": "/m365-session extend",
    "audit": "/m365-audit",
    "audit-who": "/m365-audit",
    "roles-list": "/m365-roles list",
    "roles-who": "/m365-roles who",
    "mode": "/m365-mode",
    "rotate-status": "/m365-rotate status",
    "rotate-history": "/m365-rotate history",
    "rotate-help": "/m365 help",
    "whatif": "/m365-whatif",
    "whatif-matrix": "/m365-whatif",
    "whatif-draft": "/m365-whatif",
    "whatif-help": "/m365 help",
}

_LOOKED_THROUGH: Final = 20
"""How many of somebody's latest requests `/m365 undo` looks through."""


@dataclass(frozen=True)
class Commands:
    """Hears slash commands."""

    clock: Clock
    wishes: Wishes
    buttons: Buttons
    desk: Desk
    rows: Rows
    sign_ins: SignIns

    async def typed(self, gesture: Gesture) -> None:
        """Make a request of what was typed."""
        try:
            parsed = parse(gesture.name, gesture.text, delegated())
            if parsed.action == "link":
                await self.sign_ins.link(gesture)  # no wish: also somebody who is no operator yet may
                return
            if parsed.action == "undo":
                await self.buttons.undo_of(await self._to_be_undone(parsed, gesture), gesture)
                return
        except (BadInput, NoSuchRequest) as error:
            await self.wishes.note(self._wish(gesture, Parsed("unknown")), gesture, str(error))
            return
        in_form = parsed.action == whatif.ASK and bool(parsed.rest)
        await self.wishes.make(self._wish(gesture, parsed), gesture, by_form=in_form)

    def only_asks_for_help(self, gesture: Gesture) -> bool:
        """Whether the answer tells nothing of the tenant and changes nothing, whoever asks."""
        try:
            return parse(gesture.name, gesture.text, delegated()).action in {"help", "rotate-help", "whatif-help"}
        except BadInput:
            return False

    def _wish(self, gesture: Gesture, parsed: Parsed) -> Request:
        return Request(
            id=new_id(gesture),
            operator_id=None,
            slack=gesture.actor,
            command=held_as(parsed.action),
            action=parsed.action,
            origin=Origin(gesture.channel),
            created_at=self.clock.now(),
            typed=parsed.target,
            inputs=self._inputs(parsed),
            reason=parsed.reason,
            verified=parsed.verified,
            ticket=parsed.ticket,
            preview=parsed.preview,
        )

    def _inputs(self, parsed: Parsed) -> dict[str, JSON]:
        if parsed.action == "can":
            return {"action": parsed.rest[0]}
        action = catalogue().get(parsed.action)
        days = {each.name for each in action.asks if each.field is Field.DATE} if action else set()
        today = self.clock.now().astimezone(self.wishes.zone).date()
        # What is counted from today is a day from now on: an approval may come tomorrow.
        return {name: dated(text, today) if name in days else text for name, text in parsed.options.items()}

    async def _to_be_undone(self, parsed: Parsed, gesture: Gesture) -> Request:
        if parsed.rest:
            return await self.desk.find(parsed.rest[0])
        for request in await self.rows.recent(gesture.actor, _LOOKED_THROUGH):
            undoable = request.plan is not None and request.plan.undo is not None and "undo" not in request.answer
            if undoable and request.state is RequestState.DONE:
                return request
        raise BadInput("Nothing you did lately can be undone. Each card that can be has an Undo button.")


def held_as(action: str) -> str:
    """The command that roles are matched with."""
    known = catalogue().get(action)
    return known.command if known else _HELD_AS.get(action, f"/m365 {action}")
