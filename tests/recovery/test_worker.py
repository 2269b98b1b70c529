"""The worker when the database fails it, and after a restart: nothing is forgotten, running requests go first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from bot.errors import StorageProblem
from bot.model import RequestState
from bot.runner import Runner
from bot.worker import Worker
from tests.clock import T0
from tests.recovery.paper import Fault, Outward, Process, Rows, World, agreed


async def until(look: Callable[[], bool]) -> None:
    """Let others run until *look* says so."""
    async with asyncio.timeout(30):
        while not look():  # noqa: ASYNC110 - on paper nothing waits for real, and nothing tells of a step
            await asyncio.sleep(0)


async def test_what_could_not_even_be_written_down_is_taken_up_a_minute_later() -> None:
    world = World()
    world.requests["r1"] = agreed("block-sign-in")
    process = Process(world)
    worker = Worker(process.rows, process.clock)
    await worker.start(process.runner)
    await until(lambda: Outward.SEND in world.kinds)
    sent = len(world.kinds)
    world.faults = dict.fromkeys(range(sent + 1, sent + 5), Fault.FULL)

    await until(lambda: world.request.state is RequestState.DONE)
    assert world.time.now() - T0 >= timedelta(minutes=1)
    assert len(world.tenant.applied) == 1
    await worker.close()
    await process.close()


class Forgetful(Rows):
    """Cannot be read the first time it is asked what is due."""

    asked = 0

    async def next_due(self) -> datetime | None:
        self.asked += 1
        if self.asked == 1:
            raise StorageProblem("The database cannot be read.")
        return await super().next_due()


async def test_a_database_that_cannot_be_read_once_does_not_end_the_looking() -> None:
    world = World()
    world.requests["r1"] = agreed("block-sign-in", state=RequestState.AWAITING_CONFIRMATION, due_at=T0)
    process = Process(world)
    worker = Worker(Forgetful(process), process.clock)
    await worker.start(process.runner)

    await until(lambda: world.request.state is RequestState.EXPIRED)
    await worker.close()
    await process.close()


class Noting(Runner):
    """Only notes what it is given, in order."""

    def __init__(self) -> None:
        self.given: list[str] = []

    async def advance(self, request_id: str, woken_at: float) -> None:
        self.given.append(request_id)


async def test_what_was_being_written_when_the_bot_died_goes_first() -> None:
    """What waits for the same target would otherwise write before its effect is read back."""
    world = World()
    running = agreed("reset-password", id="running", state=RequestState.RUNNING, created_at=T0 + timedelta(seconds=5))
    world.requests = {"waiting": replace(agreed("reset-password"), id="waiting"), "running": running}
    process, runner = Process(world), Noting()
    worker = Worker(process.rows, process.clock)
    await worker.start(runner)
    await until(lambda: len(runner.given) == 2)

    assert runner.given == ["running", "waiting"]
    await worker.close()
    await process.close()
