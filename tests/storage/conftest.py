"""A database in a folder of its own, with every store on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.model import Author, Secret, SlackUser
from storage.audit import AuditTrail
from storage.database import Database
from storage.following import Following
from storage.inbox import Inbox
from storage.leaving import Leaving
from storage.operators import Operators
from storage.outbox import Outbox
from storage.requests import Requests
from storage.sessions import SessionLog
from storage.settings import Settings
from tests.clock import ManualClock

TENANT = "11111111-2222-3333-4444-555555555555"
KEY = Secret("an audit key that only tests ever use")
SHELL = Author(login="root")
ANA = SlackUser("T1", "UANA")
BO = SlackUser("T1", "UBO")
OLIVE = SlackUser("T1", "UOLIVE")


@dataclass(frozen=True)
class Store:
    """Everything that remembers, on one open file."""

    db: Database
    clock: ManualClock
    trail: AuditTrail
    operators: Operators
    settings: Settings
    sessions: SessionLog
    inbox: Inbox
    outbox: Outbox
    requests: Requests
    leaving: Leaving
    following: Following

    async def grant(self, who: SlackUser, role: str) -> None:
        await self.operators.grant(who, role, by=SHELL, reason="a test")


Opens = Callable[..., AbstractAsyncContextManager[Store]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "latchkey.db"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def opens(path: Path, clock: ManualClock) -> Opens:
    """Opens the file of this test, or the one at `path=`; `async with opens() as store`."""
    usual = path

    @asynccontextmanager
    async def open_(*, path: Path = usual, tenant: str = TENANT, patience: float = 5.0) -> AsyncIterator[Store]:
        async with Database(path, tenant=tenant, clock=clock, patience=patience) as db:
            trail = AuditTrail(db, KEY)
            inbox, outbox = Inbox(db), Outbox(db)
            operators, requests = Operators(db, trail), Requests(db, trail, inbox, outbox)
            yield Store(
                db=db,
                clock=clock,
                trail=trail,
                operators=operators,
                settings=Settings(db, trail),
                sessions=SessionLog(db, trail),
                inbox=inbox,
                outbox=outbox,
                requests=requests,
                leaving=Leaving(db, trail, operators, requests, outbox),
                following=Following(db, trail, outbox),
            )

    return open_


@pytest.fixture
async def store(opens: Opens) -> AsyncIterator[Store]:
    async with opens() as store:
        await store.operators.ship_roles()
        yield store
