"""The Home tab, published when it is opened and again when what it shows has changed."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Final

from bot.actions import catalogue
from bot.model import Origin, Request, Session
from bot.ports import Clock, Operators
from handlers.gestures import Gesture
from handlers.identity import READS, CannotTell, NotOneOfUs, People
from handlers.ports import Answers, CurrentSession, Rows
from handlers.slack import Slack, SlackProblem
from handlers.views import home
from handlers.views.blocks import View

log = logging.getLogger(__name__)

_FOLLOWED: Final = timedelta(hours=1)
"""How long after opening it a Home tab is kept up to date; later ones are fresh when they are opened."""

_GATHERED: Final = timedelta(seconds=2)
"""Changes within this time are published together."""

_SHOWN: Final = 5


class Home:
    """Publishes Home tabs."""

    def __init__(
        self,
        *,
        slack: Slack,
        people: People,
        operators: Operators,
        answers: Answers,
        rows: Rows,
        session: CurrentSession,
        clock: Clock,
        support: str,
    ) -> None:
        self._slack = slack
        self._people = people
        self._operators = operators
        self._answers = answers
        self._rows = rows
        self._session = session
        self._clock = clock
        self._support = support
        self._opened: dict[str, Gesture] = {}
        self._opened_at: dict[str, float] = {}
        self._publishing: dict[str, asyncio.Task[None]] = {}

    async def opened(self, gesture: Gesture) -> None:
        """Somebody looks at their Home tab."""
        if gesture.event.get("tab") != "home":
            return
        self._opened[gesture.user] = gesture
        self._opened_at[gesture.user] = self._clock.monotonic()
        await self._publish(gesture)

    def told(self, request: Request) -> None:
        """A request has ended: whose it was sees that on their Home tab, if they look at it."""
        self._soon(request.slack.user)

    def session_changed(self, session: Session) -> None:
        """Everybody who looks at a Home tab sees the session's new state."""
        for user in tuple(self._opened):
            self._soon(user)

    async def close(self) -> None:
        """Publish nothing more."""
        publishing = tuple(self._publishing.values())
        for task in publishing:
            task.cancel()
        await asyncio.gather(*publishing, return_exceptions=True)

    def _soon(self, user: str) -> None:
        if user not in self._opened or user in self._publishing:
            return
        if self._clock.monotonic() - self._opened_at[user] > _FOLLOWED.total_seconds():
            del self._opened[user], self._opened_at[user]
            return
        task = asyncio.create_task(self._publish_soon(user))
        self._publishing[user] = task

    async def _publish_soon(self, user: str) -> None:
        try:
            await self._clock.sleep_until(self._clock.now() + _GATHERED)
        finally:
            del self._publishing[user]
        await self._publish(self._opened[user])

    async def _publish(self, gesture: Gesture) -> None:
        try:
            await self._slack.publish_home(gesture.user, await self._view(gesture))
        except SlackProblem as problem:
            log.warning("home not published", extra={"user": gesture.user, "problem": str(problem)})

    async def _view(self, gesture: Gesture) -> View:
        try:
            await self._people.check(gesture, READS)
        except (NotOneOfUs, CannotTell):
            return home.closed(self._support)
        if self._operators.rights(gesture.actor, "/m365 help").operator is None:
            return home.closed(self._support)
        _, answer = await self._answers.answer(_asking_for_help(gesture, self._clock))
        recent = await self._rows.recent(gesture.actor, _SHOWN)
        return home.build(
            home.HomeFacts(
                session=self._session.current,
                may=[(str(command), str(title), str(why)) for command, title, why in answer["commands"]],
                recent=[(request, catalogue().get(request.action)) for request in recent],
                support=self._support,
            )
        )


def _asking_for_help(gesture: Gesture, clock: Clock) -> Request:
    """What `/m365 help` would ask; it is answered without becoming a row."""
    return Request(
        id="home",
        operator_id=None,
        slack=gesture.actor,
        command="/m365 help",
        action="help",
        origin=Origin("", "home"),
        created_at=clock.now(),
    )
