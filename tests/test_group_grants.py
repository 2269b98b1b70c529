"""Roles that follow Entra groups, read from a directory that is not always there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.group_grants import EVERY, UNREAD_AT_MOST, GroupGrants
from bot.model import Author, Secret, SlackUser, Target, TargetKind
from storage.audit import AuditTrail
from storage.database import Database
from storage.following import Following
from storage.operators import Operators
from storage.outbox import Outbox
from tests.clock import ManualClock
from tests.stage import Stage
from tests.tenant import NOBODY, PaperTenant, refused

SHELL = Author(login="test")
OLIVE, BO = SlackUser("T1", "UOLIVE"), SlackUser("T1", "UBO")
DESK = Target(TargetKind.GROUP, "g1", "SG-Helpdesk")
MEMBERS = "groups/g1/transitiveMembers"
DOWN = refused(403, "Authorization_RequestDenied")


@dataclass
class Scene:
    clock: ManualClock
    operators: Operators
    outbox: Outbox
    tenant: PaperTenant
    grants: GroupGrants

    def holds(self, who: SlackUser) -> list[str]:
        return [grant.role for grant in self.operators.rights(who, "/m365 reset-password").grants]

    async def follow(self, role: str = "helpdesk") -> str:
        return await self.operators.follow_group(DESK, role, by=SHELL, reason="the desk")

    async def link(self, who: SlackUser, account: str) -> None:
        await self.operators.bind(who, account_id=account, upn=None, name=who.user, by=SHELL)

    async def cards(self) -> list[str]:
        return [row.message.view for row in await self.outbox.pending(self.clock.now())]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    clock = ManualClock()
    async with Database(tmp_path / "data" / "latchkey.db", tenant="t", clock=clock) as db:
        trail = AuditTrail(db, Secret("an audit key that only tests ever use"))
        operators, outbox = Operators(db, trail), Outbox(db)
        await operators.ship_roles()
        tenant = PaperTenant({MEMBERS: [{"id": "A-OLIVE"}, {"id": "a-bo"}, {"id": "a-device"}]})
        following = Following(db, trail, outbox)
        grants = GroupGrants(clock=clock, operators=operators, following=following, directory=tenant, channel="C1")
        operators.on_change(grants.wake)
        scene = Scene(clock, operators, outbox, tenant, grants)
        await scene.link(OLIVE, "a-olive")
        yield scene


async def test_the_members_hold_the_role_and_one_read_serves_all_roles_of_a_group(scene: Scene) -> None:
    await scene.follow("helpdesk")
    await scene.follow("viewer")

    await scene.grants.sync()

    assert scene.holds(OLIVE) == ["helpdesk"]
    assert await scene.operators.role_commands(OLIVE)
    assert [path for path, _, _ in scene.tenant.asked] == [MEMBERS]


async def test_a_group_that_was_deleted_has_no_members(scene: Scene) -> None:
    await scene.follow()
    await scene.grants.sync()
    scene.tenant.answers[MEMBERS] = NOBODY

    await scene.grants.sync()

    assert scene.holds(OLIVE) == []


async def test_what_cannot_be_read_counts_for_an_hour_and_ends_with_one_card(scene: Scene) -> None:
    await scene.follow()
    await scene.grants.sync()
    scene.tenant.answers[MEMBERS] = DOWN

    scene.clock.advance(UNREAD_AT_MOST.total_seconds() - 1)
    await scene.grants.sync()
    assert scene.holds(OLIVE) == ["helpdesk"]

    scene.clock.advance(1)
    await scene.grants.sync()
    await scene.grants.sync()
    assert scene.holds(OLIVE) == []
    assert await scene.cards() == ["group-unread"]

    scene.tenant.answers[MEMBERS] = [{"id": "a-olive"}]
    await scene.grants.sync()
    assert scene.holds(OLIVE) == ["helpdesk"]


async def test_an_address_that_is_wrong_empties_no_group(scene: Scene) -> None:
    await scene.follow()
    await scene.grants.sync()
    scene.tenant.answers[MEMBERS] = refused(404, "UnknownError")

    await scene.grants.sync()

    assert scene.holds(OLIVE) == ["helpdesk"]


async def test_a_group_is_looked_at_once_it_is_granted_a_role_when_somebody_links_and_by_itself(scene: Scene) -> None:
    chore = asyncio.create_task(scene.grants.keep_up())

    async def until(who: SlackUser, roles: list[str]) -> None:
        while scene.holds(who) != roles:
            await scene.clock.sleepers(1)
            await asyncio.sleep(0)  # let the chore and the writer's thread go on

    await scene.clock.sleepers(1)
    await scene.follow()
    await until(OLIVE, ["helpdesk"])
    await scene.link(BO, "a-bo")
    await until(BO, ["helpdesk"])

    scene.tenant.answers[MEMBERS] = [{"id": "a-bo"}]
    await scene.clock.sleepers(1)
    scene.clock.advance(EVERY.total_seconds())
    await until(OLIVE, [])
    chore.cancel()


async def test_the_pretend_tenants_own_groups_are_followed(stage: Stage) -> None:
    directory, operators = stage.world.directory, stage.bot.storage.operators
    leeds, audrey = directory.group("Sales Leeds"), directory.user("audrey@contoso.com")
    directory.add_member(leeds.id, audrey.id)
    assert "Adele Vance" not in await stage.ask("audrey", "/m365 show-user adele@contoso.com")

    # Sales Leeds is a member of Sales, so its members are too.
    sales = Target(TargetKind.GROUP, directory.group("Sales").id, "Sales")
    followed = await operators.follow_group(sales, "viewer", by=SHELL, reason="a test")
    while "Adele Vance" not in await stage.ask("audrey", "/m365 show-user adele@contoso.com"):
        pass  # the group is read over HTTP, beside everything else

    await operators.unfollow_group(followed, SHELL, "over")
    assert "Adele Vance" not in await stage.ask("audrey", "/m365 show-user adele@contoso.com")
