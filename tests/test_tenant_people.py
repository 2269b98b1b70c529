"""Many people at once, as Conditional Access sees each of them, and with how many calls."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bot.clock import SystemClock
from bot.conditional_access import ConditionalAccess
from bot.config import read_config
from bot.ports import Reader
from bot.tenant_people import Mentioned, read_people
from bot.whatif.policies import Policy, read_policies
from bot.wiring import audit_key, microsoft, policies_of, storage
from sandbox.directory import Directory
from sandbox.faults import Answer, Rule
from sandbox.world import World
from tests.stage import environment
from tests.whatif.small import GLOBAL_ADMIN, raw_policy

GONE = str(uuid.uuid4())
"""The id of a group that was deleted; policies keep it."""


@dataclass
class Tenant:
    world: World
    reader: Reader
    access: ConditionalAccess

    @property
    def directory(self) -> Directory:
        return self.world.directory

    def asked(self) -> list[str]:
        """What Graph was asked since the last time."""
        seen = [request.path for request in self.world.graph.requests]
        self.world.graph.requests.clear()
        return seen


@pytest.fixture
async def tenant(tmp_path: Path) -> AsyncIterator[Tenant]:
    async with AsyncExitStack() as stack:
        world, clock = await stack.enter_async_context(World(state=tmp_path)), SystemClock()
        stack.enter_context(environment(world.environment()))
        config = read_config()
        ways = await stack.enter_async_context(microsoft(config, clock))
        store = await stack.enter_async_context(storage(config, clock, await audit_key(config, ways)))
        yield Tenant(world, ways.policies, policies_of(config, clock, ways, store))


def mentioning(directory: Directory, *groups: str) -> tuple[Policy, ...]:
    ids = [directory.group(name).id for name in groups]
    some: Any = {"includeUsers": ["All"], "excludeGroups": [*ids[:1], GONE]}
    others: Any = {"includeGroups": [each.upper() for each in ids[1:]], "includeRoles": list(roles_of(directory))}
    return read_policies([raw_policy("some", users=some), raw_policy("others", users=others)])


def roles_of(directory: Directory) -> Sequence[str]:
    return sorted({each.role_id for each in directory.latest.assignments() if directory.roles[each.role_id].built_in})


GROUPS = ("Sales", "Tier 0 admins", "All Staff", "Engineering")


async def test_they_are_as_if_each_was_read_alone(tenant: Tenant) -> None:
    """Through other groups, and roles through groups, but not those for a part of the directory or for later."""
    tenant.directory.add_member("Sales", tenant.directory.group("Engineering").id)
    tenant.directory.assign_role(tenant.directory.group("Tier 0 admins").id, "Global Administrator")
    policies = mentioning(tenant.directory, *GROUPS)
    mentioned = Mentioned.by(policies)
    people = await read_people(tenant.reader, policies)

    assert len(people) == len(list(tenant.directory.latest.users())) > 30
    for id_, account in people.items():
        alone = await tenant.access.person(id_)
        assert alone.person.groups is not None
        assert alone.person.roles is not None
        assert account == replace(
            alone,
            person=replace(
                alone.person,
                groups=alone.person.groups & mentioned.groups,
                roles=alone.person.roles & mentioned.roles,
            ),
        )
    assert any(account.person.external for account in people.values())
    assert any(GLOBAL_ADMIN in (account.person.roles or ()) for account in people.values())


@pytest.mark.parametrize(("names", "each_alone"), [(("adele", "lee"), True), (("adele", "lee", "ana", "olive"), False)])
async def test_a_few_of_them_are_asked_about_in_whichever_way_is_shorter(
    tenant: Tenant, names: Sequence[str], each_alone: bool
) -> None:
    policies = mentioning(tenant.directory, *GROUPS[:2])
    wanted = [tenant.directory.user(f"{name}@contoso.com").id.upper() for name in names]
    everybody = await read_people(tenant.reader, policies)
    tenant.asked()
    some = await read_people(tenant.reader, policies, [*wanted, GONE])

    assert some == {id_.lower(): everybody[id_.lower()] for id_ in wanted}
    asked = tenant.asked()
    assert sum("checkMemberGroups" in path for path in asked) == (len(wanted) if each_alone else 0)
    assert sum("transitiveMembers" in path for path in asked if GONE not in path) <= (0 if each_alone else 4)


async def test_no_more_is_asked_than_there_are_pages(tenant: Tenant) -> None:
    adele = tenant.directory.user("adele@contoso.com")
    more = [str(uuid.uuid4()) for _ in range(1500)]
    for number, id_ in enumerate(more):
        tenant.directory.add_user(replace(adele, id=id_, upn=f"person{number}@contoso.com", manager_id=None))
    tenant.directory.update_group("Sales", members=tuple(more))
    people = await read_people(tenant.reader, mentioning(tenant.directory, "Sales", "Engineering"))

    asked = tenant.asked()
    assert sum(path.endswith("/users") for path in asked) == 2
    assert sum("transitiveMembers" in path for path in asked) == 2 + 1 + 1 + 1, "one is gone, one only holds a role"
    assert sum("roleAssignments" in path or "getByIds" in path for path in asked) == 2
    assert len(people) > 1500


async def test_roles_that_may_not_be_read_are_not_known(tenant: Tenant) -> None:
    refusal = Answer(403, {"error": {"code": "Authorization_RequestDenied", "message": "no"}})
    tenant.world.faults.add(Rule("graph", "GET", "/roleManagement/directory/roleAssignments*", refusal))
    people = await read_people(tenant.reader, mentioning(tenant.directory, "Sales"))

    assert {account.person.roles for account in people.values()} == {None}


async def test_where_policies_mention_no_group_and_no_role_people_are_all_that_is_read(tenant: Tenant) -> None:
    await read_people(tenant.reader, read_policies([raw_policy()]))

    assert [path.rpartition("/")[2] for path in tenant.asked()] == ["users"]
    assert await read_people(tenant.reader, mentioning(tenant.directory, "Sales"), []) == {}
    assert tenant.asked() == []
