"""Processes that rotate, as the test that drives them sees them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from bot.model import Point, Severity, Trouble
from sandbox.bot_process import PROJECT
from sandbox.world import World
from tests.rotation.installation import Installation, RecordingAlarm

PATIENCE = 60.0
"""Real seconds after which a child that says nothing never will."""


@dataclass
class Child:
    """One process. `alarm` keeps what it raised, for as long as the installation lasts."""

    process: Process
    world: World
    alarm: RecordingAlarm

    async def opens(self, place: Installation) -> None:
        """Begin a life with this database and secret."""
        self.alarm = place.alarm
        self._tell(open=[str(place.config.database), place.secret])
        assert await self.says() == {"opened": True}

    async def closes(self) -> None:
        self._tell(close=True)
        assert await self.says() == {"closed_down": True}

    def runs(self, trigger: str = "schedule", *, stops: Sequence[Point] = (), kill: str = "") -> None:
        """Begin one try."""
        self._tell(run=trigger, stops=list(stops), kill=kill)

    def keeps_up(self, *, kill: str = "") -> None:
        """Begin to go on by itself, until nothing is left to do."""
        self._tell(keep_up=True, kill=kill)

    def goes(self, *stops: Point) -> None:
        """Go on from where it stopped."""
        self._tell(go=list(stops))

    async def says(self) -> dict[str, Any]:
        """What it says next, of what is not done for it at once: `ended`, `at`, or that it `died`."""
        while True:
            assert self.process.stdout
            async with asyncio.timeout(PATIENCE):
                line = await self.process.stdout.readline()
            if not line:
                return {"died": await self.process.wait()}
            said: dict[str, Any] = json.loads(line)
            match said:
                case {"sleeps": float(seconds)}:
                    self.world.clock.advance(seconds + 0.01)
                case {"raised": [kind, about, headline]}:
                    await self.alarm.raise_(Trouble(kind, about, Severity.ATTENTION, headline, ""))
                case {"closed": [kind, about]}:
                    await self.alarm.close(kind, about)
                case _:
                    return said

    def _tell(self, **what: Any) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(what).encode() + b"\n")


@asynccontextmanager
async def child_of(world: World) -> AsyncIterator[Child]:
    """A process in this world, which ends with the block, if not before."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.rotation.child",
        cwd=world.state,  # where there is no `.env`
        env={**os.environ, "PYTHONPATH": str(PROJECT), **world.environment()},
        stdin=PIPE,
        stdout=PIPE,
    )
    child = Child(process, world, RecordingAlarm())
    try:
        assert await child.says() == {"ready": True}
        yield child
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
