"""What people press on the card that says what keeps Latchkey from signing in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from bot import policy
from bot.actions import catalogue
from bot.actions.set_up_identity import Kind
from bot.errors import BadInput, LatchkeyError
from bot.model import JSON, AuditRecord, Operator, Origin, Request, SlackUser
from bot.obstacle import Obstacle
from bot.ports import AuditTrail
from handlers.desk import Desk
from handlers.gestures import Gesture
from handlers.slack import Slack, SlackProblem
from handlers.views import blocked
from handlers.wishes import Wishes, new_id

SESSION_COMMAND: Final = "/m365-session on"
"""Who may open a management session may also see whether one can be opened."""

_ALLOWED_IPS: Final = "allowed-ips"
_SET_UP: Final = "set-up-identity"


class NotForYou(LatchkeyError):
    """This is for others to press; the sentence says whom to ask."""


class Blocking(Protocol):
    async def test(self, request: Request, by: Operator, *, delivery: str | None = None) -> None:
        """Somebody wants to know whether it still stands in the way. Raises `BadInput` or `Conflict` if that is no
        question (any more)."""


@dataclass(frozen=True)
class Unblocking:
    """Hears presses on the card."""

    slack: Slack
    desk: Desk
    wishes: Wishes
    blocking: Blocking
    audit: AuditTrail

    async def test(self, gesture: Gesture) -> None:
        """*Test again*. Whoever may ask for the same may, and whoever may open a session."""
        request = await self.desk.find(gesture.value)
        operator = await self._who_may_test(request, gesture)
        await self.blocking.test(request, operator, delivery=gesture.delivery)

    async def allowed_ips(self, gesture: Gesture) -> None:
        """*Set up allowed IPs*: opens its form."""
        await self._ask(gesture, _ALLOWED_IPS)

    async def application(self, gesture: Gesture) -> None:
        """*Use the application identity instead*: opens the form that sets one up."""
        await self._ask(gesture, _SET_UP, kind=Kind.APPLICATION.value)

    async def details(self, gesture: Gesture) -> None:
        """*Details*, for tenant admins."""
        request = await self.desk.find(gesture.value)
        rights = self.wishes.operators.rights(gesture.actor, policy.ADMIN_COMMAND)
        settings, now = await self.wishes.settings.current(), self.wishes.clock.now()
        if not policy.holds(rights, policy.ADMIN_COMMAND, now, settings):
            raise await self._refused(request, rights.operator, gesture, "Only tenant admins see the details.")
        obstacle = Obstacle.of(request)
        if obstacle is None or not obstacle.found:
            raise BadInput("There are no details here any more.")
        try:
            await self.slack.open_view(gesture.trigger, blocked.details(obstacle))
        except SlackProblem as problem:
            raise BadInput("Slack did not open a window. Nothing is lost: press the button again.") from problem

    # --- -------------------------------------------------------------------------------------------------------------

    async def _who_may_test(self, request: Request, gesture: Gesture) -> Operator:
        for command in (request.command, SESSION_COMMAND):
            rights = self.wishes.operators.rights(gesture.actor, command)
            may = await self.wishes.may(replace(request, slack=gesture.actor, command=command))
            if may and rights.operator is not None:
                return rights.operator
        operator = self.wishes.operators.rights(gesture.actor, SESSION_COMMAND).operator
        sentence = "Whoever may ask for the same can test this, and whoever may open a management session."
        raise await self._refused(request, operator, gesture, sentence, SESSION_COMMAND)

    async def _refused(
        self,
        request: Request,
        operator: Operator | None,
        gesture: Gesture,
        sentence: str,
        command: str = policy.ADMIN_COMMAND,
    ) -> NotForYou:
        """That is written down, and they are told whom to ask."""
        facts = {"did": gesture.name, "team": gesture.team, "user": gesture.user}
        record = AuditRecord(
            "press.refused", operator_id=operator.id if operator else None, request_id=request.id, facts=facts
        )
        await self.audit.append(record)
        names = await self._others(gesture.actor, command)
        return NotForYou(f"{sentence} Ask {' or '.join(names)}." if names else sentence)

    async def _others(self, asker: SlackUser, command: str) -> Sequence[str]:
        holders = await self.wishes.operators.who_may(command)
        return [holder.name for holder in holders if holder.name and holder.slack != asker][:3]

    async def _ask(self, gesture: Gesture, name: str, **inputs: JSON) -> None:
        """Open the form of what is Latchkey's own; who may not is refused, and told whom to ask."""
        request, action = await self.desk.find(gesture.value), catalogue().get(name)
        obstacle = Obstacle.of(request)
        if action is None or obstacle is None:
            raise BadInput("This belongs to another version of Latchkey, so nothing was done.")
        wish = Request(
            id=new_id(gesture),
            operator_id=None,
            slack=gesture.actor,
            command=action.command,
            action=name,
            origin=Origin(gesture.channel, "button"),
            created_at=self.wishes.clock.now(),
            inputs=inputs,
        )
        await self.wishes.make(wish, gesture, by_form=True)
