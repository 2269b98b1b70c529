"""What is measured, each in a process of its own: `python -m tests.benchmarks.servers WHICH FOLDER`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler
from slack_bolt.async_app import AsyncAck, AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_sdk.web.async_client import AsyncWebClient

from bot.clock import SystemClock
from bot.config import read_config
from bot.model import Secret
from bot.wiring import run
from handlers.front_door import FrontDoor
from handlers.slack import Installed
from storage.database import Database
from storage.inbox import Inbox
from tests.benchmarks.processes import answer_questions

SIGNING_SECRET: Final = "a signing secret that only benchmarks ever use"
INSTALLED: Final = Installed("T0CONTOSO", "A0LATCHKEY", "U0BOT")
PATH: Final = "/slack/events"

TICK: Final = 0.001
"""Seconds between two looks at how late the event loop is."""


def _app(**more: Any) -> AsyncApp:
    """An app that hears the command and does nothing."""

    async def authorize() -> AuthorizeResult:
        return AuthorizeResult(enterprise_id=None, team_id=INSTALLED.team, bot_user_id=INSTALLED.bot_user)

    app = AsyncApp(client=AsyncWebClient(), authorize=authorize, process_before_response=True, **more)

    async def hear(ack: AsyncAck) -> None:
        await ack()

    app.command("/m365")(hear)
    return app


async def bolt() -> None:
    """Bare Bolt over signed HTTP: nothing is remembered, nothing else is checked."""
    async with _served(_app(signing_secret=SIGNING_SECRET).web_app(PATH, 0)) as port:
        await answer_questions(port, cpu=_cpu)


async def synced(folder: Path) -> None:
    """The same Bolt, after the least that is durable: each body appended to a file and synced, in a thread."""

    @web.middleware
    async def kept(request: web.Request, handler: Handler) -> web.StreamResponse:
        await asyncio.to_thread(append, await request.read())
        return await handler(request)

    def append(body: bytes) -> None:
        file.write(body)
        os.fdatasync(file.fileno())

    with (folder / "kept").open("ab", buffering=0) as file:
        application = _app(signing_secret=SIGNING_SECRET).web_app(PATH, 0)
        application.middlewares.append(kept)
        async with _served(application) as port:
            await answer_questions(port, cpu=_cpu)


async def door(folder: Path) -> None:
    """Our front door before the same app: each command is durably in the inbox before it is acknowledged."""
    clock = SystemClock()
    app = _app(request_verification_enabled=False, ssl_check_enabled=False, url_verification_enabled=False)
    async with Database(folder / "data" / "door.db", tenant="t", clock=clock) as db:
        front_door = FrontDoor(
            dispatch=app.async_dispatch,
            inbox=Inbox(db),
            installed=INSTALLED,
            clock=clock,
            signing_secret=Secret(SIGNING_SECRET),
        )
        application = web.Application()
        application.add_routes(front_door.routes(PATH))
        async with _served(application) as port:
            await answer_questions(port, cpu=_cpu)
        await front_door.close()


async def bot() -> None:
    """The whole bot, with somebody who looks how late its event loop is."""
    lateness: list[float] = []
    stretches: list[float] = []

    async def sample() -> None:
        while True:
            due, used = time.perf_counter() + TICK, time.thread_time()
            await asyncio.sleep(TICK)
            lateness.append(time.perf_counter() - due)
            stretches.append(time.thread_time() - used)

    async def late() -> dict[str, float]:
        """Seconds since the last time: how late the loop was at worst, and how long it worked at a stretch: at worst
        and 99th percentile. Other programs make it late, too; a stretch is its own."""
        late, worked = max(lateness), sorted(stretches)
        lateness.clear()
        stretches.clear()
        return {"late": late, "worked": worked[-1], "p99": worked[int(len(worked) * 0.99)]}

    config = read_config()
    running = asyncio.create_task(run(config))
    sampling = asyncio.create_task(sample())
    await _listening(config.http_port or 0)
    try:
        await answer_questions(config.http_port, cpu=_cpu, late=late)
    finally:
        sampling.cancel()
        os.kill(os.getpid(), signal.SIGTERM)
        await running


async def _listening(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return


async def _cpu() -> float:
    """Seconds of CPU this process has used, all its threads."""
    return time.process_time()


@asynccontextmanager
async def _served(application: web.Application) -> AsyncIterator[int]:
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["bolt", _]:
            asyncio.run(bolt())
        case ["synced", folder]:
            asyncio.run(synced(Path(folder)))
        case ["door", folder]:
            asyncio.run(door(Path(folder)))
        case ["bot", _]:
            asyncio.run(bot())
