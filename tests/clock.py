"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

T0 = datetime(2026, 3, 3, 9, 0, tzinfo=UTC)
"""When tests begin: a Tuesday morning."""


class ManualClock:
    """A `Clock` for tests: nothing waits for real.

    `sleep_until` returns when `advance` has moved the time far enough. With `hurries=True` it moves the time there by
    itself at once, for code whose waits only have to be seen: `waits` holds how many seconds each sleep asked for.
    """

    def __init__(self, start: datetime = T0, *, hurries: bool = False) -> None:
        self._now = start
        self._monotonic = 0.0
        self._hurries = hurries
        self._changed = asyncio.Condition()
        self._alarms: list[tuple[datetime, asyncio.Future[None]]] = []
        self.waits: list[float] = []

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep_until(self, when: datetime) -> None:
        self.waits.append((when - self._now).total_seconds())
        if self._hurries and when > self._now:
            self.advance((when - self._now).total_seconds())
        if when <= self._now:
            await asyncio.sleep(0)  # a sleep always lets others run, as a real one does
            return
        alarm = (when, asyncio.get_running_loop().create_future())
        self._alarms.append(alarm)
        async with self._changed:
            self._changed.notify_all()
        try:
            await alarm[1]
        finally:
            self._alarms.remove(alarm)

    def advance(self, seconds: float) -> None:
        """Let *seconds* pass and wake whoever slept until then."""
        self._monotonic += seconds
        self.set(self._now + timedelta(seconds=seconds))

    def set(self, now: datetime) -> None:
        """Somebody sets the machine's clock, forward or back: `monotonic()` does not notice."""
        self._now = now
        for when, alarm in self._alarms:
            if when <= now and not alarm.done():
                alarm.set_result(None)

    async def sleepers(self, count: int = 1) -> list[datetime]:
        """Wait until at least *count* tasks sleep on this clock; until when they do, soonest first."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._alarms) >= count)
        return sorted(when for when, _ in self._alarms)
