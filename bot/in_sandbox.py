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
    """Keep *clock* as far ahead as the pretend world is, which says so at once and at each move, and hears it back.

    *world_gone* is called when it says no more: without its world the bot has nothing left to talk to.
    """
    async with AsyncExitStack() as stack:
        try:
            http = await stack.enter_async_context(aiohttp.ClientSession())
            world = await stack.enter_async_context(http.ws_connect(url))
            await _take_over(await world.receive_str(), clock, world)
        except (aiohttp.ClientError, ValueError, LookupError, TypeError) as error:
            raise ConfigurationError("LATCHKEY_SANDBOX_CLOCK: the sandbox does not answer there.") from error

        async def follow() -> None:
            with suppress(aiohttp.ClientError):  # the world may end in the middle of a word
                async for told in world:
                    await _take_over(told.data, clock, world)
            world_gone()

        following = asyncio.create_task(follow())
        try:
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


async def _take_over(told: str, clock: SystemClock, world: aiohttp.ClientWebSocketResponse) -> None:
    clock.set_offset(float(json.loads(told)["offset"]))
    await world.send_str(told)


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
