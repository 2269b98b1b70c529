"""What the bot does only in the sandbox: it lives in the pretend world's time, and dies where a crash test says."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import aiohttp

from bot import road
from bot.clock import SystemClock
from bot.errors import ConfigurationError
from bot.model import Point


@asynccontextmanager
async def sandbox_time(url: str, clock: SystemClock, world_gone: Callable[[], None]) -> AsyncIterator[None]:
    """Keep *clock* as far ahead as the pretend world is: a line of JSON for each move, the first one at once.

    *world_gone* is called when the stream ends: without its world the bot has nothing left to talk to.
    """
    async with AsyncExitStack() as stack:
        try:
            unlimited = aiohttp.ClientTimeout(total=None)
            http = await stack.enter_async_context(aiohttp.ClientSession(timeout=unlimited))
            stream = await stack.enter_async_context(http.get(url))
            clock.set_offset(_offset(await stream.content.readline()))
        except (aiohttp.ClientError, ValueError, LookupError, TypeError) as error:
            raise ConfigurationError("LATCHKEY_SANDBOX_CLOCK: the sandbox does not answer there.") from error

        async def follow() -> None:
            with suppress(aiohttp.ClientError):  # the world may end in the middle of a line
                async for line in stream.content:
                    clock.set_offset(_offset(line))
            world_gone()

        following = asyncio.create_task(follow())
        try:
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


def _offset(line: bytes) -> float:
    return float(json.loads(line)["offset"])


def killed_at(name: str) -> Callable[[road.Point | Point], None]:
    """For crash tests in the sandbox: the process ends, as by a power cut, when it passes the point of that name, of
    the road (`SENT`) or of a rotation (`C6`); with `:3` after the name, when it does so for the third time."""
    name, _, times = name.partition(":")
    points: dict[str, road.Point | Point] = {**road.Point.__members__, **{point.value: point for point in Point}}
    try:
        fatal, left = points[name], int(times or 1)
    except (KeyError, ValueError) as error:
        raise ConfigurationError(
            f"LATCHKEY_SANDBOX_KILL_AT: {name} is no point of the road or of a rotation."
        ) from error

    def passed(point: road.Point | Point) -> None:
        nonlocal left
        left -= point is fatal
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return passed
