"""An installation of Latchkey in the pretend world, of which only the rotation runs: its lives come and go."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from bot.clock import SystemClock
from bot.config import Config
from bot.identities import ServiceIdentity
from bot.model import IdentityKind, Mode, Secret, TenantSettings, Trouble
from bot.ports import Alarm
from bot.rotation_drive import Passed
from bot.rotator import Rotator
from bot.wiring import guess_book, microsoft, rotated, service_identity
from sandbox.clock import WorldClock
from sandbox.directory import SERVICE_ACCOUNT
from sandbox.world import World
from storage.audit import AuditTrail
from storage.database import Database
from storage.rotations import Rotations
from storage.settings import Settings
from tests.rotation.observer import MOST_WRONG, Observer
from tests.stage import SHELL

KEY: Final = Secret("0123456789abcdef" * 4)


class WorldTime(SystemClock):
    """The bot's clock, as far ahead as the world's. Nobody waits: where the bot would sleep, the world's time moves.

    `skew` is how wrong the wall clock of the bot's machine is, in seconds; time measured (`monotonic`) never is.
    """

    def __init__(self, world: WorldClock) -> None:
        super().__init__()
        self._world = world
        self.skew = 0.0
        self.slept = 0.0
        world.subscribe(self.set_offset)
        self.set_offset(world.offset)

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.skew)

    async def sleep_until(self, when: datetime) -> None:
        left = (when - self.now()).total_seconds()
        if left > 0:
            self.slept += left
            self._world.advance(left)
        await asyncio.sleep(0)


class RecordingAlarm:
    """Keeps what is open, what was ever opened, and how each ended. It outlives the bot, as a table does."""

    def __init__(self) -> None:
        self.open: dict[tuple[str, str], Trouble] = {}
        self.opened: list[tuple[str, str]] = []
        self.closed: list[tuple[str, str]] = []

    async def raise_(self, trouble: Trouble) -> None:
        key = (trouble.kind, trouble.about)
        if key not in self.open:
            self.opened.append(key)
        self.open[key] = trouble

    async def close(self, kind: str, about: str = "", how: str = "") -> None:
        for key in [key for key in self.open if key[0] == kind and about in ("", key[1])]:
            del self.open[key]
            self.closed.append(key)


@dataclass(frozen=True)
class Life:
    """One life of the bot. `reader` is who signs in for a session; `repairs` are what it asked for."""

    rotator: Rotator
    reader: ServiceIdentity
    rotations: Rotations
    repairs: list[str]


Wrap = Callable[[Rotations, Database], Any]
"""Puts something between the rotator and its table."""


def _as_it_is(rotations: Rotations, db: Database) -> Rotations:
    return rotations


IMPATIENT: Final = 0.02
"""Seconds that a life waits for a locked database, where nobody else is to have it."""


def database(config: Config, clock: SystemClock, patience: float) -> Database:
    return Database(config.database, tenant=config.tenant_id, clock=clock, patience=patience)


@asynccontextmanager
async def lived(
    config: Config,
    clock: SystemClock,
    alarm: Alarm,
    *,
    passed: Passed = lambda point: None,
    wrap: Wrap = _as_it_is,
    patience: float = 5.0,
) -> AsyncIterator[Life]:
    """A life of the bot, with the real clients and the real tables."""
    async with microsoft(config, clock) as ways, database(config, clock, patience) as db:
        trail, repairs = AuditTrail(db, KEY), list[str]()
        rotations, settings, guesses = Rotations(db, trail), Settings(db, trail), guess_book(config, clock)

        def credential_of(settings: TenantSettings) -> Any:
            return rotated(config, ways, settings)

        rotator = Rotator(
            clock=clock,
            vault=ways.vault,
            tenant=ways.tenant,
            rotations=wrap(rotations, db),
            settings=settings,
            credential_of=credential_of,
            alarm=alarm,
            zone=ZoneInfo("Europe/London"),
            allowed=MOST_WRONG,
            guesses_of=guesses.of,
            passed=passed,
            chance=lambda: 0.5,
        )
        reader = service_identity(
            config, ways, guesses, await settings.current(), repair=lambda: repairs.append("asked")
        )
        yield Life(rotator, reader, rotations, repairs)
        await rotator.close()


@dataclass
class Installation:
    """A database and a secret of its own. The account is the world's, its password stored as the current version, with
    an older one behind it."""

    world: World
    config: Config
    clock: SystemClock
    alarm: RecordingAlarm = field(default_factory=RecordingAlarm)

    @property
    def secret(self) -> str:
        return self.config.service_secret_name

    def observer(self) -> Observer:
        return Observer(self.world, SERVICE_ACCOUNT, self.secret)

    async def set_up(self) -> None:
        """Have Latchkey work with the service account, in Advanced mode."""
        async with self._database() as db:
            account = self.world.directory.user(SERVICE_ACCOUNT)
            settings = Settings(db, AuditTrail(db, KEY))
            wanted = replace(
                await settings.current(),
                mode=Mode.ADVANCED,
                identity_kind=IdentityKind.SERVICE_ACCOUNT,
                identity_id=account.id,
                identity_name=account.upn,
            )
            await settings.change(wanted, by=SHELL, reason="test")

    def _database(self) -> Database:
        return database(self.config, self.clock, IMPATIENT)

    def life(
        self, *, passed: Passed = lambda point: None, wrap: Wrap = _as_it_is, alarm: Alarm | None = None
    ) -> AbstractAsyncContextManager[Life]:
        """From a start of the bot to its end: nothing but the database and the world outlives it."""
        return lived(self.config, self.clock, alarm or self.alarm, passed=passed, wrap=wrap, patience=IMPATIENT)

    def audited(self) -> list[tuple[str, dict[str, Any]]]:
        """Kinds and facts of the audit rows about rotations, oldest first."""
        with closing(sqlite3.connect(f"file:{self.config.database}?mode=ro", uri=True)) as connection:
            rows = connection.execute("SELECT kind, body FROM audit WHERE kind LIKE 'rotation.%' ORDER BY seq")
            return [(kind, json.loads(body)) for kind, body in rows]


def installation(world: World, config: Config, clock: SystemClock, folder: Path, number: int) -> Installation:
    """A new one, the *number*th of this world."""
    name = f"latchkey-password-{number}"
    made = config.model_copy(update={"database": folder / f"{number}" / "latchkey.db", "service_secret_name": name})
    world.vault.put(name, f"old one {number}", tags={"state": "previous"})
    world.clock.advance(60)
    world.vault.put(name, world.directory.password_of(SERVICE_ACCOUNT), tags={"state": "current"})
    world.clock.advance(60)
    return Installation(world, made, clock)
