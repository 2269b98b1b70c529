"""What an attack could have changed, counted before and after."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from bot.model import AuditRecord, Request, SlackUser
from bot.standing import ACCOUNT
from bot.wiring import Latchkey
from sandbox.directory import SERVICE_ACCOUNT
from sandbox.graph.server import GraphRequest
from sandbox.world import World
from tests.stage import TEAM, Stage

PEOPLE = {
    "olive": SlackUser(TEAM, "U0OLIVE001"),
    "ana": SlackUser(TEAM, "U0ANA00001"),
    "bo": SlackUser(TEAM, "U0BO000001"),
    "audrey": SlackUser(TEAM, "U0AUDREY01"),
    "vic": SlackUser(TEAM, "U0VIC00001"),
    "nina": SlackUser(TEAM, "U0NINA0001"),
    "gus": SlackUser(TEAM, "U0GUS00001"),
    "dora": SlackUser(TEAM, "U0DORA0001"),
}


@dataclass(frozen=True)
class State:
    """How far everything is: the tenant's changes, the rows of each table, what was asked of Microsoft (`acted`), and
    the calls to Slack."""

    writes: int
    rows: dict[str, int]
    acted: int
    said_in_slack: int


async def state(stage: Stage) -> State:
    world = stage.world

    def count(connection: sqlite3.Connection) -> dict[str, int]:
        tables = ("requests", "inbox", "outbox", "audit", "grants", "operators", "tenant_settings")
        return {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}  # noqa: S608 - our own words

    rows = await stage.bot.storage.db.read(count)
    return State(len(world.graph.writes()), rows, acted(world), len(world.slack.calls()))


MEANWHILE = {"/identity/conditionalAccess/policies", "/identity/conditionalAccess/namedLocations"}
"""What is read by itself, a while after a session was opened."""


def acted(world: World) -> int:
    """How often anything was asked of Graph, a secret was read, or the service account signed in: all but what Latchkey
    looks after by itself, whenever its time comes."""
    asked = sum(not _by_itself(request) for request in world.graph.requests)
    return asked + world.vault.count("get") + len(world.entra.grants("password"))


def _by_itself(request: GraphRequest) -> bool:
    """Whether this is about policies, or about whether an operator's own account is still enabled."""
    if request.caller == SERVICE_ACCOUNT:
        return False
    return request.path in MEANWHILE or parse_qs(request.query) == {"$select": [ACCOUNT]}


@asynccontextmanager
async def nothing_done(stage: Stage) -> AsyncIterator[None]:
    """What happens inside changes nothing in the tenant, and nobody's rights."""
    before = await state(stage)
    yield
    after = await state(stage)
    assert stage.world.graph.writes()[before.writes :] == []
    for table in ("grants", "operators", "tenant_settings"):
        assert after.rows[table] == before.rows[table]


async def heard(bot: Latchkey) -> None:
    """Wait until all that was delivered to *bot* became requests, or whatever it becomes."""
    while kept := bot.room.front_door._kept:
        await asyncio.wait(kept)


async def settled(bot: Latchkey) -> None:
    """Wait until nothing of it is under way any more."""
    while under_way := [*bot.room.front_door._kept, *bot.worker._walking.values()]:
        await asyncio.wait(under_way)


async def requests_of(stage: Stage, person: str, limit: int = 50) -> list[Request]:
    """Somebody's requests, newest first."""
    return list(await stage.bot.storage.requests.recent(PEOPLE[person], limit))


async def records(stage: Stage, kind: str, **about: Any) -> list[AuditRecord]:
    """The latest audit rows of this kind, newest first, with these facts among theirs."""
    found = [row.record for row in await stage.bot.storage.trail.query(limit=200)]
    return [
        record
        for record in found
        if record.kind == kind and all(record.facts.get(name) == value for name, value in about.items())
    ]
