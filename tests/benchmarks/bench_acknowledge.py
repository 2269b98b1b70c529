"""How long Slack waits for an acknowledgement: durably through our front door, against bare Bolt that forgets."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from tests.benchmarks import Goal, Row
from tests.benchmarks.knocking import Knocking
from tests.benchmarks.processes import Child
from tests.benchmarks.servers import PATH, SIGNING_SECRET

_ROUNDS = 11
_COMMANDS = 200


def run(scale: float) -> list[Row]:
    """The time of the middle command, and the CPU of each, in interleaved rounds."""
    with (
        tempfile.TemporaryDirectory() as folder,
        _server("bolt", folder) as bolt,
        _server("door", folder) as door,
        Knocking(bolt.said, SIGNING_SECRET, path=PATH) as at_bolt,
        Knocking(door.said, SIGNING_SECRET, path=PATH) as at_door,
    ):
        for warm_up in (at_bolt, at_door):
            _round(warm_up, bolt)
        bare, ours = [], []
        for _ in range(_ROUNDS):
            bare.append(_round(at_bolt, bolt))
            ours.append(_round(at_door, door))
    rows = []
    for name, place, bound in (("p50", 0, 1.5), ("CPU", 1, 1.4)):
        floor, mine = [used[place] * 1e6 for used in bare], [used[place] * 1e6 for used in ours]
        rows.append(
            Row(
                f"slash command acknowledged durably, {name}",
                f"bare Bolt, before response: {statistics.median(floor):.0f} µs",
                f"{statistics.median(mine):.0f} µs",
                statistics.median(one / other for one, other in zip(mine, floor, strict=True)),
                Goal("≤", bound),
            )
        )
    return rows


def _server(which: str, folder: str) -> Child:
    further = [folder] if which == "door" else []
    return Child("tests.benchmarks.servers", which, *further, folder=Path(folder))


def _round(door: Knocking, server: Child) -> tuple[float, float]:
    """Seconds until the middle command was acknowledged, and seconds of the server's CPU for each."""
    requests = [door.signed() for _ in range(_COMMANDS)]
    before = server.ask("cpu")
    times = door.knock_with_each(requests)
    return statistics.median(times), (server.ask("cpu") - before) / _COMMANDS
