"""Tells whoever waits that something in the world has changed."""

import asyncio
from collections.abc import Callable


class Changes:
    """A version that grows with every change, and a way to wait for the next one."""

    def __init__(self) -> None:
        self.version = 0
        self._next = asyncio.Event()
        self._listeners: list[Callable[[], object]] = []

    def tell(self, *_: object) -> None:
        """Something has changed. Takes and ignores what subscriptions pass on."""
        self.version += 1
        changed, self._next = self._next, asyncio.Event()
        changed.set()
        for listener in tuple(self._listeners):
            listener()

    def subscribe(self, listener: Callable[[], object]) -> Callable[[], None]:
        """Call `listener()` at each change, before anybody else can do anything; the returned function ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def next(self) -> asyncio.Event:
        """Is set at the next change. Ask for it, then look, then wait: so no change is missed."""
        return self._next

    async def newer(self, version: int, timeout: float) -> int:
        """Wait until the version is over `version`, or for so many real seconds; the version then."""
        try:
            async with asyncio.timeout(timeout):
                while self.version <= version:
                    await self._next.wait()
        except TimeoutError:
            pass  # nothing happened, which is an answer too
        return self.version
