"""People who have left lose everything they had open, however it is found out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bot.errors import NoLonger
from bot.leavers import EVERY, FIRST, Leavers
from bot.model import Author, Operator, Origin, Request, RequestState, Secret, SlackUser
from bot.standing import WRITES, Finding, Standing
from storage.audit import AuditTrail
from storage.database import Database
from storage.inbox import Inbox
from storage.leaving import Leaving
from storage.operators import Operators
from storage.outbox import Outbox
from storage.requests import Requests
from tests.clock import ManualClock
from tests.tenant import PaperTenant, refused

SHELL = Author(login="test")


class PaperEntra(PaperTenant):
    """Accounts by id: enabled, disabled, or not there. Lists leave out what is not there, as Graph does."""

    def __init__(self) -> None:
        super().__init__()
        self.accounts: dict[str, bool] = {}
        self.down = False
        self.lists = 0
        self.single: list[str] = []

    async def get(self, *path: str, query: Mapping[str, str] | None = None, eventual: bool = False) -> dict[str, Any]:
        self.single.append(path[-1])
        if self.down:
            raise refused(403, "Authorization_RequestDenied")
        if path[-1] not in self.accounts:
            raise refused(404, "Request_ResourceNotFound")
        return {"id": path[-1], "accountEnabled": self.accounts[path[-1]]}

    async def collect(
        self, *path: str, query: Mapping[str, str] | None = None, eventual: bool = False, limit: int | None = None
    ) -> list[dict[str, Any]]:
        self.lists += 1
        if self.down:
            raise refused(403, "Authorization_RequestDenied")
        wanted = (query or {})["$filter"]
        return [{"id": id_, "accountEnabled": on} for id_, on in self.accounts.items() if f"'{id_}'" in wanted]


@dataclass
class PaperSlack:
    gone: set[str] = field(default_factory=set)

    async def active(self, slack: SlackUser, fresh: Any) -> Finding | None:
        return Finding("has left Slack", "deleted") if slack.user in self.gone else None


@dataclass
class PaperSessions:
    ended: list[tuple[str, str]] = field(default_factory=list)

    async def end_of(self, operator_id: str, why: str) -> None:
        self.ended.append((operator_id, why))


@dataclass
class Scene:
    clock: ManualClock
    trail: AuditTrail
    operators: Operators
    requests: Requests
    outbox: Outbox
    entra: PaperEntra
    slack: PaperSlack
    sessions: PaperSessions
    standing: Standing
    leavers: Leavers

    async def hire(self, name: str, role: str = "helpdesk") -> Operator:
        slack = SlackUser("T1", f"U{name.upper()}")
        self.entra.accounts[f"acc-{name}"] = True
        await self.operators.bind(slack, account_id=f"acc-{name}", upn=f"{name}@x", name=name.title(), by=SHELL)
        await self.operators.grant(slack, role, by=SHELL, reason="hired")
        return self.now(name)

    def now(self, name: str) -> Operator:
        operator = self.operators.rights(SlackUser("T1", f"U{name.upper()}"), "").operator
        assert operator is not None
        return operator

    async def cards(self) -> list[Mapping[str, Any]]:
        waiting = await self.outbox.pending(self.clock.now())
        return [row.message.data for row in waiting if row.message.view == "operator-left"]

    async def audited(self, kind: str) -> list[Mapping[str, Any]]:
        return [row.record.facts for row in await self.trail.query(limit=1000) if row.record.kind == kind]

    async def swept(self) -> None:
        """Sweep to the end, letting time pass for it."""
        sweep = asyncio.create_task(self.leavers.sweep())
        while not sweep.done():
            waiting = asyncio.create_task(self.clock.sleepers(1))
            await asyncio.wait({sweep, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            self.clock.advance(1)
            await asyncio.sleep(0)
        await sweep


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with a_scene(tmp_path) as scene:
        yield scene


@asynccontextmanager
async def a_scene(tmp_path: Path) -> AsyncIterator[Scene]:
    clock = ManualClock()
    async with Database(tmp_path / "data" / "latchkey.db", tenant="t", clock=clock) as db:
        trail = AuditTrail(db, Secret("an audit key that only tests ever use"))
        outbox, operators = Outbox(db), Operators(db, trail)
        requests = Requests(db, trail, Inbox(db), outbox)
        await operators.ship_roles()
        entra, slack, sessions = PaperEntra(), PaperSlack(), PaperSessions()
        standing = Standing(clock=clock, directory=entra, slack=slack)
        leavers = Leavers(
            clock=clock,
            operators=operators,
            leaving=Leaving(db, trail, operators, requests, outbox),
            standing=standing,
            directory=entra,
            sessions=sessions,
            channel="C1",
        )
        scene = Scene(clock, trail, operators, requests, outbox, entra, slack, sessions, standing, leavers)
        await scene.hire("ana", "tenant-admin")
        yield scene
        await leavers.close()


async def test_whoever_is_found_to_be_gone_when_they_try_something_is_let_go(scene: Scene) -> None:
    olive = await scene.hire("olive")
    scene.entra.accounts["acc-olive"] = False

    with pytest.raises(NoLonger):
        await scene.standing.check(olive, fresh=WRITES)
    await scene.leavers.close()

    assert scene.now("olive").suspended
    (facts,) = await scene.audited("operator.left")
    assert (facts["operator"], facts["found"], facts["roles"]) == (olive.id, "entra_disabled", ["helpdesk"])
    (card,) = await scene.cards()
    assert (card["channel"], card["name"], card["last_admin"]) == ("C1", "Olive", False)
    assert [operator_id for operator_id, _ in scene.sessions.ended] == [olive.id]
    assert (await scene.trail.verify()).sound


async def test_many_checks_at_once_let_somebody_go_once(scene: Scene) -> None:
    olive = await scene.hire("olive")
    del scene.entra.accounts["acc-olive"]

    checks = [scene.standing.check(olive, fresh=WRITES) for _ in range(20)]
    refusals = await asyncio.gather(*checks, return_exceptions=True)
    await scene.leavers.close()

    assert {type(refusal) for refusal in refusals} == {NoLonger}
    assert len(await scene.audited("operator.left")) == len(await scene.cards()) == len(scene.sessions.ended) == 1


async def test_slack_telling_of_it_is_enough(scene: Scene) -> None:
    olive = await scene.hire("olive")
    scene.slack.gone.add("UOLIVE")

    await scene.leavers.look_at(olive.slack)
    await scene.leavers.look_at(SlackUser("T1", "USTRANGER"))

    assert scene.now("olive").suspended


async def test_the_sweep_finds_them_with_few_reads_and_lets_everybody_else_be(scene: Scene) -> None:
    for number in range(40):
        await scene.hire(f"p{number}")
    scene.entra.accounts["acc-p7"] = False
    del scene.entra.accounts["acc-p23"]
    scene.slack.gone.add("UP31")

    await scene.swept()

    suspended = {f"p{number}" for number in range(40) if scene.now(f"p{number}").suspended}
    assert suspended == {"p7", "p23", "p31"}
    assert scene.entra.lists == 3
    assert sorted(scene.entra.single) == ["acc-p23", "acc-p7"], "only who looks gone is asked about alone"
    assert len(await scene.cards()) == 3


async def test_a_directory_that_cannot_be_read_lets_nobody_go(scene: Scene) -> None:
    await scene.hire("olive")
    scene.entra.down = True
    chore = asyncio.create_task(scene.leavers.every_hour())
    (first,) = await scene.clock.sleepers(1)
    assert first - scene.clock.now() == FIRST

    scene.clock.advance(FIRST.total_seconds())
    again = first
    while again == first:
        await asyncio.sleep(0)  # let it fall asleep again
        again = (await scene.clock.sleepers(1))[-1]

    assert again - first == EVERY
    assert not scene.now("olive").suspended
    chore.cancel()


async def test_what_they_had_asked_for_ends_and_says_so(scene: Scene) -> None:
    olive = await scene.hire("olive")
    request = Request(
        "r1",
        olive.id,
        olive.slack,
        "/m365 reset-password",
        "reset-password",
        Origin("C9"),
        scene.clock.now(),
        state=RequestState.AWAITING_APPROVAL,
        started_at=scene.clock.now(),
    )
    await scene.requests.add(request)
    scene.entra.accounts["acc-olive"] = False

    await scene.leavers.look_at(olive.slack)

    ended = await scene.requests.find("r1")
    assert ended is not None
    assert ended.state is RequestState.REFUSED
    assert ended.sentence.startswith("Olive cannot sign in: the account in Microsoft Entra is disabled.")
    said = {row.message.view for row in await scene.outbox.pending(scene.clock.now())}
    assert {"card", "operator-left"} <= said
    (card,) = await scene.cards()
    assert card["asked"] == [["reset-password", ""]]


async def test_the_last_tenant_admin_is_let_go_with_an_alarm(scene: Scene) -> None:
    scene.entra.accounts["acc-ana"] = False

    await scene.leavers.look_at(scene.now("ana").slack)

    assert scene.now("ana").suspended
    (card,) = await scene.cards()
    assert card["last_admin"] is True


async def test_being_enabled_again_restores_nothing_by_itself(scene: Scene) -> None:
    olive = await scene.hire("olive")
    scene.entra.accounts["acc-olive"] = False
    await scene.leavers.look_at(olive.slack)

    scene.entra.accounts["acc-olive"] = True
    await scene.swept()
    assert scene.now("olive").suspended

    await scene.operators.suspend(olive.slack, by=SHELL, reason="a mistake", suspended=False)
    await scene.standing.check(scene.now("olive"), fresh=WRITES)
    await scene.leavers.close()
    assert not scene.now("olive").suspended
