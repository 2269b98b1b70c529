"""Acknowledging while the bot is flooded with requests, and how late its event loop ever is."""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path

from tests.benchmarks import Goal, Row
from tests.benchmarks.knocking import Knocking
from tests.benchmarks.processes import Child

_READS = 500
_AT_ONCE = 32
_QUIET = 200
_EVERY = 0.005
"""Seconds between two probes."""


def run(scale: float) -> list[Row]:
    """Somebody knocks all the time, first in quiet, then while 32 people type as fast as they are acknowledged."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Child("tests.benchmarks.world", "http", folder, folder=Path(folder)) as world,
        Child(
            "tests.benchmarks.servers", "bot", folder, folder=Path(folder), settings=world.said["environment"]
        ) as bot,
        Knocking(bot.said, world.said["environment"]["LATCHKEY_SLACK_SIGNING_SECRET"]) as door,
    ):
        _probe(door, 20)
        bot.ask("late")
        quiet = _probe(door, _QUIET)
        quiet_loop = bot.ask("late")
        flooding = threading.Thread(target=_flood, args=(world,))
        flooding.start()
        flooded = []
        while flooding.is_alive():
            flooded += _probe(door, 5)
        loop = bot.ask("late")
    return [
        Row(
            f"acknowledged in a flood of {_READS} reads, {_AT_ONCE} people typing, p99",
            f"the same in quiet: {_p99(quiet):.1f} ms",
            f"{_p99(flooded):.1f} ms (of {len(flooded)})",
            round(_p99(flooded), 1),
            Goal("≤", 100, "ms"),
        ),
        Row(
            "the event loop's longest stretch of work meanwhile",
            f"in quiet: {quiet_loop['worked'] * 1e3:.1f} ms",
            f"{loop['worked'] * 1e3:.1f} ms (p99 {loop['p99'] * 1e3:.1f}; late by {loop['late'] * 1e3:.1f} at worst)",
            round(loop["worked"] * 1e3, 1),
            Goal("≤", 50, "ms"),
        ),
    ]


def _flood(world: Child) -> None:
    acks = world.ask("flood", text="/m365 show-user adele@contoso.com", count=_READS, at_once=_AT_ONCE, person="olive")
    late = sum(ack is None for ack in acks)
    if late:
        raise RuntimeError(f"{late} of {_READS} commands were not acknowledged in time")
    world.ask("answered", person="olive", count=_READS)


def _probe(door: Knocking, times: int) -> list[float]:
    """Milliseconds until each command of a stranger, who is refused, was acknowledged."""
    took = []
    for _ in range(times):
        request = door.signed(user="U0NINA0001", text="show-user adele@contoso.com")
        took.append(door.knock(request) * 1e3)
        time.sleep(_EVERY)
    return took


def _p99(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.99)]
