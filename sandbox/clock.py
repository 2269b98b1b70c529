"""The clock of the pretend world: the machine's clock, moved ahead or back by hand."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime


class WorldClock:
    """Wall-clock time for every server of the sandbox; `advance` moves it for all of them at once.

    Times are unix seconds. Who must know of a move at once (the stream the bot reads, expiry timers)
    takes `subscribe` or `offsets`.
    """

    def __init__(self) -> None:
        self.offset = 0.0
        self._listeners: list[Callable[[float], object]] = []

    def now(self) -> float:
        """Seconds since 1970 in the pretend world."""
        return time.time() + self.offset

    def advance(self, seconds: float) -> None:
        """Move the world's time by `seconds` (negative: back) and tell every listener the new offset."""
        self.offset += seconds
        for listener in tuple(self._listeners):
            listener(self.offset)

    def subscribe(self, listener: Callable[[float], object]) -> Callable[[], None]:
        """Call `listener(offset)` after each move; the returned function ends that."""
        self._listeners.append(listener)

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unsubscribe

    async def offsets(self) -> AsyncGenerator[float, None]:
        """The offset now, and then after every move, for as long as one listens."""
        moves: asyncio.Queue[float] = asyncio.Queue()
        unsubscribe = self.subscribe(moves.put_nowait)
        try:
            yield self.offset
            while True:
                yield await moves.get()
        finally:
            unsubscribe()


def iso(seconds: float) -> str:
    """Unix seconds as Microsoft Graph writes a dateTimeOffset: `2026-03-01T09:30:00Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
