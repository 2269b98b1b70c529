"""A process in which nothing but the rotation runs, with the real clients. A test drives it over its standard streams.

It is told in lines of JSON, and answers so. First `{"open": [database, secret]}`; then `{"run": trigger}` for one try,
or `{"keep_up": true}` to go on by itself until nothing is left to do. With `"kill": "C6:1"` it dies as it passes there
for the first time; with `"stops": [points]` it stands still at each of them until `{"go": [further points]}`. It says
of each sleep how long it is, and of each alert.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from bot.clock import SystemClock
from bot.config import Config, read_config
from bot.errors import LatchkeyError
from bot.in_sandbox import sandbox_time
from bot.model import Point, Trigger, Trouble
from bot.rotator import Busy
from tests.rotation.installation import Life, lived


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def heard() -> dict[str, Any]:
    """The next line, which is waited for: the whole process stands still, as a frozen machine does."""
    line = sys.stdin.readline()
    if not line:
        os._exit(0)
    found: dict[str, Any] = json.loads(line)
    return found


class ToldClock(SystemClock):
    """Says how long each sleep is, so that the world's time can be moved."""

    def __init__(self) -> None:
        super().__init__()
        self.sleeps = asyncio.Event()

    async def sleep_until(self, when: datetime) -> None:
        left = (when - self.now()).total_seconds()
        if left > 0:
            self.sleeps.set()
            say(sleeps=left)
        await super().sleep_until(when)


class ToldAlarm:
    async def raise_(self, trouble: Trouble) -> None:
        say(raised=[trouble.kind, trouble.about, trouble.headline])

    async def close(self, kind: str, about: str = "", how: str = "") -> None:
        say(closed=[kind, about])


class Stops:
    """Where the process stops, and where it dies."""

    def __init__(self) -> None:
        self.at: list[str] = []
        self._fatal, self._left = "", 0

    def dies_at(self, kill: str) -> None:
        self._fatal, _, times = kill.partition(":")
        self._left = int(times or 1)

    def passed(self, point: Point) -> None:
        self._left -= point == self._fatal
        if point == self._fatal and self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if point in self.at:
            say(at=point)
            self.at = heard()["go"]


async def tried(life: Life, trigger: Trigger) -> None:
    try:
        record = await life.rotator.run(trigger=trigger)
    except Busy:
        say(ended="busy")
    except LatchkeyError as error:
        say(ended="failed", why=str(error))
    else:
        say(ended=record.state, cause=record.cause, id=record.id, why=record.why)


async def kept_up(life: Life, clock: ToldClock, secret: str) -> None:
    """Go on by itself, until it sleeps with nothing left to do."""
    going_on = asyncio.create_task(life.rotator.keep_up())
    while True:
        clock.sleeps.clear()
        await clock.sleeps.wait()
        last = await life.rotations.last(secret)
        if last is not None and await life.rotations.open(secret) is None:
            break
    going_on.cancel()
    with suppress(asyncio.CancelledError):
        await going_on
    say(ended=last.state, id=last.id)


async def main(config: Config) -> None:
    clock, stops, alarm = ToldClock(), Stops(), ToldAlarm()
    async with sandbox_time(config.sandbox_clock or "", clock, lambda: os._exit(0)):
        say(ready=True)
        while True:
            database, secret = (await asyncio.to_thread(heard))["open"]
            here = config.model_copy(update={"database": Path(database), "service_secret_name": secret})
            async with lived(here, clock, alarm, passed=stops.passed) as life:
                say(opened=True)
                while "close" not in (told := await asyncio.to_thread(heard)):
                    stops.at = told.get("stops", [])
                    stops.dies_at(told.get("kill", ""))
                    if "run" in told:
                        await tried(life, Trigger(told["run"]))
                    else:
                        await kept_up(life, clock, secret)
            say(closed_down=True)


if __name__ == "__main__":
    asyncio.run(main(read_config()))
