"""Gathers what one person's Home tab shows, as everything is now."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from bot import policy
from bot.actions import catalogue
from bot.actions._action import Action
from bot.approvals import Approvals
from bot.enquiries import Offered
from bot.errors import CannotTell
from bot.model import Request, RequestState, Session, SessionState, SlackUser
from bot.ports import Clock
from handlers.gestures import Gesture
from handlers.identity import READS, NotOneOfUs, People
from handlers.ports import Answers, CurrentSession, Health, Rotation, Rows, SettingsHistory, Staff
from handlers.views import home, management
from handlers.views.blocks import View
from handlers.views.wording import Known

_SHOWN: Final = 5
_LOOKED_THROUGH: Final = 50
"""How many of somebody's latest requests are looked through for what they changed in a session."""

ADMIN: Final = "/m365-mode"
"""Who holds this command sees the management box."""

_CHANGED: Final = frozenset({RequestState.DONE, RequestState.UNKNOWN})


@dataclass(frozen=True)
class HomePage:
    """Home tabs as they should look."""

    people: People
    operators: Staff
    settings: SettingsHistory
    answers: Answers
    rows: Rows
    session: CurrentSession
    approvals: Approvals
    health: Health
    rotation: Rotation
    clock: Clock
    support: str

    async def of(self, gesture: Gesture) -> View:
        """The Home tab of the actor: all of it is theirs alone to see."""
        try:
            await self.people.check(gesture, READS)
        except (NotOneOfUs, CannotTell):
            return home.closed(self.support)
        actor = gesture.actor
        operator = self.operators.rights(actor, "/m365 help").operator
        switches = await self._may(actor, "/m365-session on")
        if operator is None:
            return home.closed(self.support)
        session, offered = self.session.current_for(operator.id), await self.answers.offered(actor)
        lately = await self.rows.recent(actor, _LOOKED_THROUGH)
        waiting = await self.approvals.waiting_for(actor)
        return home.build(
            home.HomeFacts(
                session=session,
                may=[
                    *((_typed(each), each.action.title, each.why) for each in offered if not each.action.own),
                    *((typed, does, "") for typed, does in await self.answers.also(actor)),
                ],
                recent=[(request, _action(request)) for request in lately if _action(request)][:_SHOWN],
                support=self.support,
                auto_enable=(await self.settings.current()).auto_enable,
                waiting=await self._known(waiting),
                done=[(request, _action(request)) for request in _in_one_session(lately, session)[:_SHOWN]],
                management=await self._management(actor, offered, {request.id for request in waiting}),
                does_something=any(not each.why for each in offered),
                switches=switches,
                linked=operator.account_id is not None,
            )
        )

    async def _may(self, actor: SlackUser, command: str) -> bool:
        rights, settings = self.operators.rights(actor, command), await self.settings.current()
        question = policy.Question(rights, command, None, self.clock.now(), settings)
        return policy.decide_person(question).verdict is policy.Verdict.ALLOW

    async def _management(
        self, actor: SlackUser, offered: Sequence[Offered], elsewhere: Collection[str]
    ) -> management.Facts | None:
        """The management box: for nobody but those who decide about Latchkey, as the rows are at this moment."""
        settings, now = await self.settings.current(), self.clock.now()
        if not policy.holds(self.operators.rights(actor, ADMIN), ADMIN, now, settings):
            return None
        return management.Facts(
            settings=settings,
            session=self.session.current_for(None),
            bot_identity=await self.health.bot_identity(),
            open=await self._known(await self.rows.awaiting_approval()),
            reviews=await self._known(await self.rows.under_review()),
            operators=await self.operators.everyone(),
            may={each.action.name for each in offered if each.action.own and not each.why},
            now=now,
            elsewhere=elsewhere,
            rotation=await self.rotation.now(),
        )

    async def _known(self, requests: Sequence[Request]) -> list[tuple[Request, Known]]:
        return [(request, await self._of(request)) for request in requests]

    async def _of(self, request: Request) -> Known:
        return Known(
            action=_action(request),
            by=await self._name(request.operator_id) or await self.people.name(request.slack.user),
            decided_by=await self._name(request.approval.decided_by) if request.approval else "",
        )

    async def _name(self, operator_id: str | None) -> str:
        operator = await self.operators.find(operator_id) if operator_id else None
        return (operator.name if operator else None) or ""


def _typed(offered: Offered) -> str:
    return offered.action.command if offered.why else offered.action.usage


def _action(request: Request) -> Action | None:
    return catalogue().get(request.action)


def _in_one_session(lately: Sequence[Request], session: Session) -> list[Request]:
    """What was changed in the session that is on; in the last one that anything was changed in if none is."""
    changed = [
        request
        for request in lately
        if request.state in _CHANGED and request.plan is not None and request.plan.calls and request.session_generation
    ]
    held = [request for request in changed if session.holds(request)]
    if held or session.state is SessionState.ON:
        return held
    number = max((request.session_generation or 0 for request in changed), default=0)
    return [request for request in changed if request.session_generation == number]
