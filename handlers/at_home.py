"""What everybody presses on the Home tab: the session's switches, and *Do something* with its window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bot.actions import catalogue
from bot.errors import BadInput
from bot.model import Mode, Origin, Request, RequestState
from bot.ports import Clock, Operators
from bot.signing_in import Purpose
from handlers.gestures import Gesture
from handlers.ports import Answers, CurrentSession
from handlers.signing_in import SignIns
from handlers.slack import Slack, SlackProblem
from handlers.views import form, picker
from handlers.views.home import EXTEND, TURN_OFF, TURN_ON
from handlers.wishes import Wishes, new_id

_VERBS: Final = {TURN_ON: "on", TURN_OFF: "off", EXTEND: "extend"}


@dataclass(frozen=True)
class AtHome:
    """Hears presses on the Home tab; the session's switches stand in a few messages, too."""

    clock: Clock
    slack: Slack
    operators: Operators
    session: CurrentSession
    answers: Answers
    wishes: Wishes
    sign_ins: SignIns

    async def switch(self, gesture: Gesture) -> None:
        """*Turn on*, *Turn off*, *Extend*. A session of one's own is turned on by signing in at Microsoft."""
        verb = _VERBS[gesture.name]
        asked = self._wish(gesture, f"/m365-session {verb}", f"session-{verb}")
        if gesture.name == TURN_ON and self._is_own(gesture) and await self.wishes.may(asked):
            await self.sign_ins.begin(gesture, Purpose.SESSION)
        else:
            await self.wishes.make(asked, gesture)

    async def do_something(self, gesture: Gesture) -> None:
        """Opens the window in which one chooses what to do."""
        try:
            window = await self.slack.open_view(gesture.trigger, picker.loading())
        except SlackProblem as problem:
            raise BadInput("Slack did not open a window. Press the button again.") from problem
        await self.slack.update_view(window, picker.build(await self.answers.offered(gesture.actor)))

    async def chosen(self, gesture: Gesture) -> None:
        """An action was chosen in it: its form takes the window over."""
        action = catalogue().get(gesture.value)
        if action is None or gesture.modal is None:
            raise BadInput("Choose an action from the list.")
        made = await self.wishes.make(
            self._wish(gesture, action.command, action.name), gesture, view=gesture.modal, by_form=True
        )
        if made.state is RequestState.REFUSED:
            await self.slack.update_view(gesture.modal, form.told(action.title, made.sentence))

    def _is_own(self, gesture: Gesture) -> bool:
        operator = self.operators.rights(gesture.actor, "/m365-session on").operator
        return operator is not None and self.session.current_for(operator.id).mode is Mode.DEFAULT

    def _wish(self, gesture: Gesture, command: str, action: str) -> Request:
        return Request(
            id=new_id(gesture),
            operator_id=None,
            slack=gesture.actor,
            command=command,
            action=action,
            origin=Origin(gesture.channel, "home" if gesture.at_home else "button"),
            created_at=self.clock.now(),
        )
