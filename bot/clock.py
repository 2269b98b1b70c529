"""The clock the whole bot reads, which the sandbox may run ahead."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta


class SystemClock:
    """The machine's clock plus an offset that only the sandbox moves. One per event loop."""

    def __init__(self) -> None:
        self._offset = 0.0
        self._moved = asyncio.Event()

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self._offset)

    def monotonic(self) -> float:
        return time.monotonic() + self._offset

    def set_offset(self, seconds: float) -> None:
        """Run this many seconds ahead of the machine, and wake every sleeper whose time has thereby come."""
        self._offset = seconds
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def sleep_until(self, when: datetime) -> None:
        while (left := (when - self.now()).total_seconds()) > 0:
            moved = self._moved
            try:
                async with asyncio.timeout(left):
                    await moved.wait()
            except TimeoutError:
                # The timer runs on the monotonic clock; the loop looks at the wall clock again.
                continue
