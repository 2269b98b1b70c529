"""How long Slack waits for an acknowledgement: durably through our front door, against bare Bolt that forgets."""

from __future__ import annotations

import statistics
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.benchmarks import Goal, Row
from tests.benchmarks.knocking import Knocking
from tests.benchmarks.processes import Child
from tests.benchmarks.servers import PATH, SIGNING_SECRET

_ROUNDS = 11
_COMMANDS = 200

_SERVERS: Final = {
    "bolt": "bare Bolt, before response",
    "synced": "the same, each body synced first",
    "door": "our front door",
}


@dataclass(frozen=True)
class _Used:
    """Microseconds until the middle command of a round was acknowledged, and of the server's CPU for each."""

    p50: float
    cpu: float


def run(scale: float) -> list[Row]:
    """Interleaved rounds at one server after the other, from one connection each."""
    used: dict[str, list[_Used]] = {which: [] for which in _SERVERS}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        servers = {
            which: stack.enter_context(Child("tests.benchmarks.servers", which, folder, folder=Path(folder)))
            for which in _SERVERS
        }
        doors = {
            which: stack.enter_context(Knocking(server.said, SIGNING_SECRET, path=PATH))
            for which, server in servers.items()
        }
        for each_round in range(_ROUNDS + 1):
            for which in _SERVERS:
                took = _round(doors[which], servers[which])
                if each_round:  # the first one warms up
                    used[which].append(took)
    return [
        _row("p50", "bolt", used, 1.5),
        _row("CPU", "bolt", used, 1.4),
        _row("p50", "synced", used, 1.5),
        _row("CPU", "synced", used, 1.4),
    ]


def _row(what: str, floor: str, used: dict[str, list[_Used]], bound: float) -> Row:
    ours, bare = ([getattr(took, what.lower()) for took in used[which]] for which in ("door", floor))
    return Row(
        f"slash command acknowledged durably, {what}",
        f"{_SERVERS[floor]}: {statistics.median(bare):.0f} µs",
        f"{statistics.median(ours):.0f} µs",
        statistics.median(mine / other for mine, other in zip(ours, bare, strict=True)),
        Goal("≤", bound),
    )


def _round(door: Knocking, server: Child) -> _Used:
    requests = [door.signed() for _ in range(_COMMANDS)]
    before = server.ask("cpu")
    times = door.knock_with_each(requests)
    return _Used(statistics.median(times) * 1e6, (server.ask("cpu") - before) / _COMMANDS * 1e6)
