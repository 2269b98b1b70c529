"""The Home tab, published when it is opened and again when what it shows has changed."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol
from weakref import WeakValueDictionary

from bot.actions import catalogue
from bot.errors import LatchkeyError
from bot.model import Request, RequestState, Session
from bot.ports import Clock
from handlers.gestures import Gesture
from handlers.pacing import Bucket
from handlers.slack import SlackProblem, SlackRefused
from handlers.views.blocks import View

log = logging.getLogger(__name__)

_FOLLOWED: Final = timedelta(hours=24)
"""How long after opening it a Home tab is kept up to date; later ones are fresh when they are opened."""

_AT_MOST: Final = 50
"""How many Home tabs, those opened last, are published because of something that concerns everybody."""

_GATHERED: Final = timedelta(seconds=2)
"""Changes within this time are published together."""

_PER_MINUTE: Final = 90
"""views.publish allows a hundred and more in a minute (Slack docs: *Rate limits*, tier 4)."""

_BURST: Final = 10


class Page(Protocol):
    async def of(self, gesture: Gesture) -> View:
        """The Home tab of the actor."""


class Publisher(Protocol):
    async def publish_home(self, user: str, view: View) -> None:
        """Show *view* on this person's Home tab. Raises `SlackProblem`."""


@dataclass(frozen=True)
class _Opened:
    gesture: Gesture
    at: datetime


class Home:
    """Publishes Home tabs, and keeps those fresh that somebody may be looking at."""

    def __init__(self, *, slack: Publisher, page: Page, clock: Clock) -> None:
        self._slack = slack
        self._page = page
        self._clock = clock
        self._opened: dict[str, _Opened] = {}
        """By the person, in the order of the last opening."""
        self._announced: set[str] = set()
        """Whose Home tab is published soon."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._held_until = clock.now()
        self._pace = Bucket(_BURST, _PER_MINUTE / 60, clock.monotonic())

    async def opened(self, gesture: Gesture) -> None:
        """Somebody looks at their Home tab."""
        if gesture.event.get("tab") != "home":
            return
        self._opened.pop(gesture.user, None)
        self._opened[gesture.user] = _Opened(gesture, self._clock.now())
        await self.refresh(gesture)

    async def refresh(self, gesture: Gesture) -> None:
        """Publish the actor's Home tab now, because they see by themselves that it is out of date."""
        user = gesture.user
        async with self._locks.setdefault(user, asyncio.Lock()):  # an older view is not to follow a newer one
            try:
                await self._slack.publish_home(user, await self._page.of(gesture))
            except SlackProblem as problem:
                log.warning("home not published", extra={"user": user, "problem": str(problem)})
                if isinstance(problem, SlackRefused) and problem.wait is not None:
                    self._held_until = self._clock.now() + timedelta(seconds=problem.wait)
                    self._soon(user)

    def request_changed(self, request: Request) -> None:
        """Its requester sees that; others, too, where they decide on it or where it changed Latchkey itself."""
        self._soon(request.slack.user)
        action = catalogue().get(request.action)
        settled = request.state.final and action is not None and action.own
        if settled or (request.approval is not None and request.state is not RequestState.RUNNING):
            self._everybody()

    def session_changed(self, session: Session) -> None:
        """Everybody who looks at a Home tab sees the session's new state."""
        self._everybody()

    def rights_changed(self) -> None:
        """Somebody may do more or less than before."""
        self._everybody()

    async def close(self) -> None:
        """Publish nothing more."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _everybody(self) -> None:
        for user in list(self._opened)[-_AT_MOST:]:
            self._soon(user)

    def _soon(self, user: str) -> None:
        opened = self._opened.get(user)
        if opened is None or user in self._announced:
            return
        if self._clock.now() - opened.at > _FOLLOWED:
            del self._opened[user]
            return
        self._announced.add(user)
        task = asyncio.create_task(self._publish_soon(user, opened.gesture))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _publish_soon(self, user: str, gesture: Gesture) -> None:
        try:
            await self._clock.sleep_until(max(self._clock.now() + _GATHERED, self._held_until))
            while (wait := self._pace.take(self._clock.monotonic())) > 0:
                await self._clock.sleep_until(self._clock.now() + timedelta(seconds=wait))
        finally:
            self._announced.discard(user)  # what changes from now on is published once more
        try:
            await self.refresh(gesture)
        except LatchkeyError as error:
            log.error("home cannot be made", extra={"user": user, "error": type(error).__name__})
