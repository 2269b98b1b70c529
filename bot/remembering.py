"""Answers that may be used again for a while: each use says how old one may be, and askers at the same time share one
question."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from bot.ports import Clock

V = TypeVar("V")


class Remembering(Generic[V]):
    """Asks *ask* about a key, unless it has been answered lately enough. What *ask* raises is not remembered."""

    def __init__(self, ask: Callable[[str], Awaitable[V]], clock: Clock) -> None:
        self._ask = ask
        self._clock = clock
        self._known: dict[str, tuple[datetime, V]] = {}
        self._asking: dict[str, asyncio.Task[V]] = {}

    async def look_up(self, key: str, fresh: timedelta) -> V:
        """The answer, at most *fresh* old. With zero it was asked for after this call began."""
        # A clock that was put back makes nothing younger.
        if (known := self._known.get(key)) and abs(self._clock.now() - known[0]) < fresh:
            return known[1]
        # Who must be fresh does not take an answer to an older question.
        asking = self._asking.get(key) if fresh else None
        if asking is None:
            asking = self._asking[key] = asyncio.create_task(self._asked(key))
            asking.add_done_callback(lambda task: self._answered(key, task))
        return await asyncio.shield(asking)

    def put(self, key: str, answer: V) -> None:
        """Remember what was learned in another way just now."""
        self.forget(key)
        self._known[key] = self._clock.now(), answer

    def forget(self, key: str) -> None:
        """Something about it has changed: answers so far, and those to questions under way, count no more."""
        self._known.pop(key, None)
        self._asking.pop(key, None)

    async def _asked(self, key: str) -> V:
        asked_at = self._clock.now()
        answer = await self._ask(key)
        if self._asking.get(key) is asyncio.current_task():
            self._known[key] = asked_at, answer
        return answer

    def _answered(self, key: str, task: asyncio.Task[V]) -> None:
        if self._asking.get(key) is task:
            del self._asking[key]
        if not task.cancelled():
            task.exception()  # whoever asked may have gone meanwhile; then nobody else looks at it
