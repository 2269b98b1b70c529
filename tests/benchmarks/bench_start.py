"""How soon the bot is ready, what it takes while nothing happens, and how soon the command line answers."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import Goal, Row
from tests.benchmarks.processes import Child, environment

_ROUNDS = 5
_COMMANDS = 9
_IDLE_SECONDS = 10.0
_SETTLED_SECONDS = 1.0


@dataclass(frozen=True)
class _Start:
    ready: float
    memory: float
    idle_cpu: float


def run(scale: float) -> list[Row]:
    """Starts in interleaved rounds, then the commands that an administrator waits for."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Child("tests.benchmarks.world", "socket", name, folder=folder) as world:
            settings: dict[str, str] = world.said["environment"]
            bare, ours = [], []
            for _ in range(_ROUNDS):
                bare.append(_start(world, folder, settings, "tests.benchmarks.bare_socket"))
                ours.append(_start(world, folder, settings, "bot", "run"))
            used = _memory_after_a_session(world, folder, settings)
            return [*_of_starts(bare, ours, used), *_of_commands(folder, settings)]


def _of_starts(bare: list[_Start], ours: list[_Start], used: float) -> Iterator[Row]:
    def median(starts: list[_Start], of: str) -> float:
        return float(statistics.median(getattr(start, of) for start in starts))

    floor = "bare Bolt, Socket Mode"
    soon, late = median(bare, "ready"), median(ours, "ready")
    yield Row("`latchkey run` ready", f"{floor}: {soon:.2f} s", f"{late:.2f} s", late / soon, Goal("≤", 1.8))
    small, idle = median(bare, "memory"), median(ours, "memory")
    yield Row("memory, idle", f"{floor}: {small:.0f} MiB", f"{idle:.0f} MiB", idle / small, Goal("≤", 1.8))
    yield Row(
        "memory, after the first session", f"{floor}: {small:.0f} MiB", f"{used:.0f} MiB", used / small, Goal("≤", 1.8)
    )
    yield Row(
        f"CPU in {_IDLE_SECONDS:.0f} idle seconds",
        f"{floor}: {median(bare, 'idle_cpu'):.2f} s",
        f"{median(ours, 'idle_cpu'):.2f} s",
        median(ours, "idle_cpu"),
        Goal("≤", 0.02, "s"),
    )


def _of_commands(folder: Path, settings: Mapping[str, str]) -> Iterator[Row]:
    floor, helping, verifying, judging = [], [], [], []
    (folder / "policies.json").write_text('{"policies": []}')
    what_if = ("-m", "bot", "whatif", "--policies", str(folder / "policies.json"), "--sign-ins", os.devnull)
    for _ in range(_COMMANDS):
        floor.append(_took(folder, settings, "-c", "pass"))
        helping.append(_took(folder, settings, "-m", "bot", "--help"))
        verifying.append(_took(folder, settings, "-m", "bot", "audit", "verify"))
        judging.append(_took(folder, settings, *what_if))
    for name, times in (
        ("`latchkey --help`", helping),
        ("`latchkey audit verify`, a small file", verifying),
        ("`latchkey whatif`, a small file", judging),
    ):
        took = statistics.median(times)
        told = f"the interpreter alone: {statistics.median(floor):.0f} ms"
        yield Row(name, told, f"{took:.0f} ms", round(took), Goal("≤", 150, "ms"))


def _took(folder: Path, settings: Mapping[str, str], *arguments: str) -> float:
    begun = time.perf_counter()
    command = [sys.executable, *arguments]
    subprocess.run(command, cwd=folder, env=environment(settings), stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - begun) * 1e3


def _start(world: Child, folder: Path, settings: Mapping[str, str], *program: str) -> _Start:
    begun = time.perf_counter()
    with _running(world, folder, settings, *program) as pid:
        ready = time.perf_counter() - begun
        time.sleep(_SETTLED_SECONDS)
        before = _cpu(pid)
        time.sleep(_IDLE_SECONDS)
        return _Start(ready, _memory(pid), _cpu(pid) - before)


def _memory_after_a_session(world: Child, folder: Path, settings: Mapping[str, str]) -> float:
    with _running(world, folder, settings, "bot", "run") as pid:
        world.ask("flood", text="/m365 show-user adele@contoso.com", count=1, at_once=1, person="olive")
        world.ask("answered", person="olive", count=1)
        return _memory(pid)


@contextmanager
def _running(world: Child, folder: Path, settings: Mapping[str, str], *program: str) -> Iterator[int]:
    """A program that Slack can reach, from then on until the end of the block; its process id."""
    process = subprocess.Popen(
        [sys.executable, "-m", *program],
        cwd=folder,
        env=environment(settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        world.ask("connected", count=1)
        yield process.pid
    finally:
        process.terminate()
        process.wait()
        world.ask("connected", count=0)


def _memory(pid: int) -> float:
    """MiB in memory now."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def _cpu(pid: int) -> float:
    """Seconds of CPU so far, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
