"""What a rotation costs beside the calls it makes: finding out, deciding, writing each step down, telling nobody."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bot.clock import SystemClock
from bot.config import Config, read_config
from bot.microsoft.client import MicrosoftTenant
from bot.model import RotationState, TenantSettings, Trigger
from bot.passwords import service_password
from bot.ports import Sent, SignIn, TokenSource, Vault
from bot.rotating import OneToken, PasswordCredential
from bot.rotator import Rotator
from bot.wiring import alarm, audit_key, guess_book, microsoft, storage
from storage.rotations import Rotations
from tests.benchmarks import Goal, Row
from tests.benchmarks.processes import Child
from tests.stage import environment

_ROTATIONS = 20
"""Each by turns with its floor: whatever else the machine does disturbs both alike."""


def run(scale: float) -> list[Row]:
    """One row for time, one for CPU."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Child("tests.benchmarks.world", "socket", folder, folder=Path(folder)) as world,
    ):
        with environment(world.said["environment"]):
            return asyncio.run(_measure(read_config()))


class _Jumping(SystemClock):
    """Whoever sleeps wakes at once, for the time has come: what is left of a rotation is its work."""

    def __init__(self) -> None:
        super().__init__()
        self.slept = 0.0

    async def sleep_until(self, when: datetime) -> None:
        self.slept += max(0.0, (when - self.now()).total_seconds())
        self.set_offset(self.slept)
        await asyncio.sleep(0)


async def _measure(config: Config) -> list[Row]:
    clock = _Jumping()
    async with microsoft(config, clock) as ways, storage(config, clock, await audit_key(config, ways)) as store:
        # As much of the vault, the sign-in and the tenant as a rotation uses.
        calls: Any = _Calls(ways.vault, ways.signing_in, ways.tenant)

        def credential_of(settings: TenantSettings) -> PasswordCredential:
            return PasswordCredential(config.service_secret_name, settings.identity_name or "", calls, calls)

        rotator = Rotator(
            clock=clock,
            vault=calls,
            tenant=ways.tenant,
            rotations=Rotations(store.db, store.trail),
            settings=store.settings,
            credential_of=credential_of,
            alarm=alarm(config, clock, store),
            zone=config.zone,
            allowed=9,
            guesses_of=guess_book(config, clock).of,
        )

        async def rotate() -> None:
            record = await rotator.run(trigger=Trigger.NOW)
            if record.state is not RotationState.DONE:
                raise RuntimeError(f"the benchmark's own rotation failed: {record.why}")

        await rotate()  # what is loaded and connected at the first time is not what this is about
        await rotate()
        floors, ours = [], []
        for _ in range(_ROTATIONS):
            calls.made.clear()
            ours.append(await _used(rotate))
            made = tuple(calls.made)
            floors.append(await _used(lambda made=made: calls.repeat(made)))  # type: ignore[misc]
    return _rows(floors, ours, len(made))


def _rows(floors: list[_Used], ours: list[_Used], calls: int) -> list[Row]:
    wall, bare_wall = (statistics.median(used.wall for used in side) for side in (ours, floors))
    cpu, bare_cpu = (statistics.median(used.cpu for used in side) for side in (ours, floors))
    told = f"the same {calls} calls back to back"
    return [
        Row(
            "rotation of a password", f"{told}: {bare_wall:.0f} ms", f"{wall:.0f} ms", wall / bare_wall, Goal("≤", 1.5)
        ),
        Row("the same, CPU", f"{told}: {bare_cpu:.0f} ms", f"{cpu:.0f} ms", cpu / bare_cpu, Goal("≤", 1.5)),
    ]


@dataclass(frozen=True)
class _Used:
    """Milliseconds: of CPU of this process with all its threads, and of time."""

    cpu: float
    wall: float


async def _used(work: Callable[[], Awaitable[None]]) -> _Used:
    cpu, began = time.process_time(), time.perf_counter()
    await work()
    return _Used((time.process_time() - cpu) * 1e3, (time.perf_counter() - began) * 1e3)


@dataclass(frozen=True)
class _Made:
    """A call to Microsoft: the client's method, what it was given, and what that brought."""

    what: str
    given: tuple[Any, ...]
    more: Mapping[str, Any]
    brought: Any


class _Calls:
    """The clients as they are, whose calls are written down, so that they can be made once more with nothing between
    them. It is the vault, the sign-in and the tenant of a rotation."""

    def __init__(self, vault: Vault, signing_in: SignIn, tenant: MicrosoftTenant) -> None:
        self.made: list[_Made] = []
        self._tenant = tenant
        self.versions = self._written_down("versions", vault.versions)
        self.read = self._written_down("read", vault.read)
        self.store = self._written_down("store", vault.store)
        self.label = self._written_down("label", vault.label)
        self.service_account = self._written_down("service_account", signing_in.service_account)

    def _written_down(self, what: str, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def called(*given: Any, **more: Any) -> Any:
            brought = await method(*given, **more)
            self.made.append(_Made(what, given, more, brought))
            return brought

        return called

    def graph(self, tokens: TokenSource) -> _Graph:
        return _Graph(self._written_down("send", self._tenant.graph(tokens).send))

    async def repeat(self, made: Sequence[_Made]) -> None:
        """The same calls, one step on: what was new then is in force now, and another one takes its place."""
        first = next(each for each in made if each.what == "read")
        stored = next(each for each in made if each.what == "store")
        new = service_password([])
        values = {first.brought.reveal(): stored.given[1], stored.given[1].reveal(): new}
        ids = {first.given[1]: stored.brought.version}
        token = None
        for each in made:
            given = tuple(ids.get(one, one) if isinstance(one, str) else one for one in each.given)
            match each.what:
                case "store":
                    ids[stored.brought.version] = (await self.store(given[0], new, **each.more)).version
                case "service_account":
                    token = await self.service_account(given[0], values[given[1].reveal()])
                case "send":
                    assert token is not None
                    generated = {name: values[value.reveal()] for name, value in each.more["generated"].items()}
                    await self.graph(OneToken(token)).send(*given, **{**each.more, "generated": generated})
                case what:
                    await getattr(self, what)(*given, **each.more)


@dataclass(frozen=True)
class _Graph:
    """Sends what a rotation changes."""

    send: Callable[..., Awaitable[Sent]]
