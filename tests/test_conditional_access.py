"""What Latchkey reads of the tenant's Conditional Access, what that costs, and what it remembers of it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from bot.conditional_access import BETWEEN_CALLS, REMEMBERED_FOR
from bot.errors import GraphNotFound, GraphRefused
from bot.model import Identity, IdentityKind, Mode, Secret
from bot.policy_changes import changed_since, digest_of
from bot.ports import RememberedPolicies
from bot.whatif.apps import EXCHANGE, GRAPH
from bot.whatif.evaluation import Decision
from bot.whatif.signins import Applications, Person, Principal
from bot.wiring import examine
from sandbox.conditional_access import complete
from sandbox.faults import Answer, Rule
from storage.database import Database
from storage.policies import KEPT, MOST, PolicyMemory
from tests.clock import T0, ManualClock
from tests.policies import Office, open_office, policy
from tests.stage import open_stage

GLOBAL_ADMINISTRATOR = "62e90394-69f5-4237-9190-012177145e10"


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with open_office(tmp_path) as opened:
        yield opened


# --- Reading ----------------------------------------------------------------------------------------------------------


async def test_a_reading_has_the_policies_compiled_and_what_their_ids_mean(office: Office) -> None:
    directory = office.contoso.servers.directory
    ana, group = directory.user("ana.admin@contoso.com"), directory.group("Latchkey never touch")
    worker = directory.applications["worker"]
    office.add("country-block")
    office.add(
        policy(
            "Names",
            users={"includeUsers": [ana.id], "excludeGroups": [group.id], "includeRoles": [GLOBAL_ADMINISTRATOR]},
            applications={"includeApplications": [worker.app_id, EXCHANGE]},
        )
    )
    found = await office.access.read()

    assert [each.name for each in found.policies] == ["Block sign-ins from other countries", "Names"]
    assert found.names[ana.id] == ana.name
    assert found.names[group.id] == group.name
    assert found.names[worker.app_id] == worker.name
    assert found.names[EXCHANGE] == "Office 365 Exchange Online"
    assert found.names[GLOBAL_ADMINISTRATOR] == "Global Administrator"
    assert found.names[found.locations[0].id] == "Countries we work in"
    assert found.find(found.policies[1].id) == found.policies[1]
    sign_in = await office.access.sign_in_of(office.identity)
    assert found.compiled.decide(replace(sign_in, conditions=replace(sign_in.conditions, country="DE"))) is (
        Decision.BLOCK
    )


async def test_fetching_costs_at_most_a_tenth_more_calls_than_there_are_pages(office: Office) -> None:
    """250 policies about 300 people and groups: their pages, one of locations, and one question for all the names."""
    directory = office.contoso.servers.directory
    people = [user.id for user in directory.latest.users()]
    groups = [group.id for group in directory.latest.groups()]
    apps = [app.app_id for app in directory.applications.values() if app.principal_id]
    for number in range(250):
        office.tenant.put_policy(
            complete(
                policy(
                    f"Policy {number}",
                    users={"includeUsers": people[: number + 1], "excludeGroups": groups},
                    applications={"includeApplications": apps[:14]},
                )
                | {"id": f"00000000-0000-4000-8000-{number:012d}"}
            )
        )
    found = await office.access.read()
    needed = math.ceil(len(found.policies) / 100) + 1 + 1 + math.ceil(len(apps[:14]) / 15)

    assert len(found.policies) == 250
    assert len(office.asked("conditionalAccess")) <= needed
    assert len(office.asked()) <= 1.1 * needed

    before = len(office.asked())
    await office.access.read()
    assert len(office.asked()) - before <= 4, "names are not asked for again"

    before = len(office.asked())
    await office.access.who(office.identity)
    assert len(office.asked()) - before == 1, "one question tells groups and roles"


async def test_several_who_read_at_once_share_one_reading(office: Office) -> None:
    readings = await asyncio.gather(*(office.access.read(fresh=timedelta(minutes=1)) for _ in range(5)))

    assert len({id(reading.compiled) for reading in readings}) == 1
    assert len(office.asked("conditionalAccess")) == 2


async def test_calls_about_policies_are_a_second_apart(office: Office) -> None:
    sign_in = await office.access.sign_in_of(office.identity)
    clock = office.contoso.clock
    clock.waits.clear()
    began = clock.now()
    await asyncio.gather(office.access.read(), office.access.ask_microsoft(sign_in), office.access.turn())

    assert clock.now() - began >= 3 * BETWEEN_CALLS


async def test_a_clock_that_is_put_back_holds_up_no_reading(office: Office) -> None:
    clock = office.contoso.clock
    await office.access.read()
    clock.set(clock.now() - timedelta(hours=1))
    clock.waits.clear()
    await office.access.read(fresh=timedelta(minutes=1))

    assert max(clock.waits) <= BETWEEN_CALLS.total_seconds()
    assert len(office.asked("policies")) == 2, "what was read in the future is not fresh"


async def test_names_and_lines_that_nobody_can_read_spoil_no_answer(office: Office) -> None:
    office.add("mfa-for-admins", policy("Names", users={"includeUsers": [office.identity.id]}))
    odd = Answer(200, {"value": [{"displayName": "Nobody"}, 7, {"id": 3, "displayName": ["x"]}]})
    line = {"createdDateTime": "2026-01-01T00:00:00Z", "status": 7, "location": "here"}
    lines = [{**line, "appliedConditionalAccessPolicies": 7}, {**line, "status": {"errorCode": "x"}}]
    changed = {"activityDateTime": "2026-01-01T00:00:00Z", "initiatedBy": "me", "targetResources": 7}
    for path, answer in (
        ("/directoryObjects/getByIds", odd),
        ("/auditLogs/signIns", Answer(200, {"value": lines})),
        ("/auditLogs/directoryAudits", Answer(200, {"value": [changed]})),
    ):
        office.contoso.servers.faults.add(Rule("graph", "*", path, answer))

    assert len((await office.access.read()).policies) == 2
    assert (await office.access.sign_in_of(office.identity)).conditions.address is None
    assert await office.access.changes() == {}


async def test_names_that_cannot_be_had_now_are_not_waited_for_again_and_again(office: Office) -> None:
    office.add(policy("Names", users={"includeUsers": [office.identity.id]}))
    office.contoso.servers.faults.add(Rule("graph", "POST", "/directoryObjects/getByIds", Answer(503)))
    await office.access.read()
    before = len(office.asked("getByIds"))
    await office.access.read()

    assert len(office.asked("getByIds")) == before


async def test_a_reading_is_good_though_it_cannot_be_remembered(office: Office, tmp_path: Path) -> None:
    office.add("mfa-for-admins")
    closed = Database(tmp_path / "closed.db", tenant="contoso", clock=office.contoso.clock)
    office.access._memory = PolicyMemory(closed)

    assert [each.name for each in (await office.access.read()).policies] == ["MFA for all admins"]


async def test_without_the_right_to_read_groups_a_sign_in_is_judged_as_far_as_it_is_known(office: Office) -> None:
    refused = Answer(403, {"error": {"code": "Authorization_RequestDenied", "message": "no"}})
    office.contoso.servers.faults.add(Rule("graph", "GET", "*transitiveMemberOf", refused))
    who = (await office.access.sign_in_of(office.identity)).who

    assert isinstance(who, Person)
    assert (who.groups, who.roles) == (None, None)


async def test_graph_never_has_to_say_that_it_was_too_fast(tmp_path: Path) -> None:
    """As Graph is: one call a second, and no word of when to come back. Nobody else reads policies in Default mode."""
    async with open_stage(tmp_path, mode=Mode.DEFAULT) as stage:
        stage.world.access.seconds_between_calls = 1.0
        found = {line.what: line async for line in examine(stage.config, ("commands",))}

        assert found["What-if"].well
        asked = [seen for seen in stage.world.graph.requests if "conditionalAccess" in seen.path]
        assert [seen.status for seen in asked] == [200, 200]


async def test_a_bot_that_may_not_read_policies_is_refused_and_its_what_if_says_nothing(office: Office) -> None:
    office.may_no_longer("Policy.Read.All")
    sign_in = await office.access.sign_in_of(office.identity)

    assert await office.access.ask_microsoft(sign_in) is None
    with pytest.raises(GraphRefused):
        await office.access.read()


async def test_a_name_that_nobody_knows_is_asked_for_once_an_hour(office: Office) -> None:
    nobody = "99999999-aaaa-4bbb-8ccc-dddddddddddd"
    assert await office.access.known(nobody, GRAPH) == {GRAPH: "Microsoft Graph"}
    asked = len(office.asked())
    await office.access.known(nobody)
    assert len(office.asked()) == asked

    office.contoso.clock.advance(3700)
    await office.access.known(nobody)
    assert len(office.asked()) > asked


# --- Who, and from where ----------------------------------------------------------------------------------------------


async def test_the_service_account_is_seen_with_its_groups_and_roles(office: Office) -> None:
    who = await office.access.who(office.identity)

    assert isinstance(who, Person)
    assert who.roles is not None
    assert "fe930be7-5e62-47db-91af-98c3a49a38b1" in who.roles
    assert who.groups is not None


async def test_roles_that_may_not_be_read_are_not_known_rather_than_none(office: Office) -> None:
    office.may_no_longer("RoleManagement.Read.Directory", "Directory.Read.All")
    who = await office.access.who(office.identity)

    assert isinstance(who, Person)
    assert who.roles is None


async def test_an_application_is_a_principal_and_a_managed_identity_is_covered_by_no_policy(office: Office) -> None:
    worker = Identity(IdentityKind.APPLICATION, "ABC", "Latchkey worker")

    assert await office.access.who(worker) == Principal("abc")
    assert await office.access.who(replace(worker, kind=IdentityKind.MANAGED_IDENTITY)) == Principal("abc", False)
    assert office.asked() == []


async def test_anybody_can_be_looked_at_by_name_guests_included(office: Office) -> None:
    ana = await office.access.person("ana.admin@contoso.com")
    assert (ana.upn, ana.person.guest, ana.person.guest_kinds) == ("ana.admin@contoso.com", False, None)

    with pytest.raises(GraphNotFound):
        await office.access.person("nobody@contoso.com")


async def test_the_address_is_found_in_the_sign_in_log_and_not_taken_from_strangers(office: Office) -> None:
    assert await office.access.egress() is None

    await office.signs_in()
    found = await office.access.egress()
    assert found is not None
    assert (str(found.address), found.country, found.source) == ("203.0.113.10", "IE", "sign-in log")

    office.tenant.move("198.51.100.66", "KP")
    await office.refused(password=Secret("Guessed-From-Elsewhere-1"))
    found = await office.access.egress()
    assert found is not None
    assert str(found.address) == "203.0.113.10"


async def test_a_configured_address_counts_and_the_log_tells_its_country(tmp_path: Path) -> None:
    async with open_office(tmp_path, egress="203.0.113.10") as office:
        found = await office.access.egress()
        assert found is not None
        assert (str(found.address), found.country, found.source) == ("203.0.113.10", None, "configured")

        await office.signs_in()
        found = await office.access.egress()
        assert found is not None
        assert (found.country, found.source) == ("IE", "configured")


async def test_a_sign_in_is_judged_as_latchkey_really_does_it(office: Office) -> None:
    office.tenant.password_client = "browser"
    await office.signs_in()
    sign_in = await office.access.sign_in_of(office.identity)
    given = sign_in.conditions

    assert sign_in.what == Applications(frozenset({GRAPH}))
    assert (str(given.address), given.country, given.client_app) == ("203.0.113.10", "IE", "browser")
    assert (given.platform, given.device, given.flow, given.sign_in_risk) == ("all", {}, "none", "none")


# --- Remembering ------------------------------------------------------------------------------------------------------


async def test_policies_are_remembered_at_a_good_sign_in_with_few_readings(office: Office) -> None:
    office.add("country-block", always=True)
    office.tenant.move("203.0.113.10", "GB")
    for _ in range(5):
        await office.signs_in()
    assert len(office.asked("policies")) == 1

    well = await office.access.last_well(office.identity)
    assert well is not None
    assert [each["displayName"] for each in well.policies] == ["Block sign-ins from other countries"]
    assert well.policies[0] == office.tenant.policies()[0]

    office.contoso.clock.advance(REMEMBERED_FOR.total_seconds() + 1)
    await office.signs_in()
    assert len(office.asked("policies")) == 2


async def test_what_blocked_a_minute_ago_is_not_remembered_as_what_lets_in(office: Office) -> None:
    office.add("country-block")
    office.access.trouble(await office.refused(), office.identity)
    await office.access.read()
    office.tenant.remove("country-block")
    await office.signs_in()

    well = await office.access.last_well(office.identity)
    assert well is not None
    assert well.policies == ()


async def test_many_good_sign_ins_in_a_row_are_remembered_once_in_the_background(office: Office) -> None:
    keeping_up = asyncio.create_task(office.access.keep_up())
    for _ in range(20):
        office.access.well()
    await office.memory.remembered.wait()
    keeping_up.cancel()
    await asyncio.gather(keeping_up, return_exceptions=True)

    assert len(office.asked()) == 2


async def test_without_a_service_identity_nothing_is_read(office: Office) -> None:
    office.settings.now = replace(office.settings.now, identity_id=None)
    await office.access.remember()
    assert office.asked() == []


async def test_whoever_wants_to_know_hears_of_a_change_and_not_of_the_same_again(office: Office) -> None:
    heard: list[str] = []
    office.access.on_change(lambda: heard.append("changed"))
    office.add("country-block")
    await office.access.read()
    await office.access.read()
    assert heard == []

    office.tenant.edit("country-block", state="disabled")
    await office.access.read()
    assert heard == ["changed"]


def test_the_same_content_is_the_same_whatever_its_order_and_when_it_was_saved() -> None:
    one = policy("One", users={"includeUsers": ["a", "b"]}) | {"id": "1", "modifiedDateTime": "2026-01-01T00:00:00Z"}
    two = policy("Two") | {"id": "2"}
    again = policy("One", users={"includeUsers": ["b", "a"]}) | {"id": "1", "modifiedDateTime": "2026-02-02T00:00:00Z"}

    assert digest_of([one, two]) == digest_of([two, again])
    assert digest_of([one, two]) != digest_of([one, two | {"state": "disabled"}])
    assert changed_since(([one], []), ([again], [])) == ()


def test_what_has_changed_is_told_part_by_part() -> None:
    old = policy("Old") | {"id": "1"}
    new = policy("New", users={"includeUsers": ["a"]}, newCondition=["x"], grant={"builtInControls": ["mfa"]}) | {
        "id": "1",
        "state": "disabled",
    }
    place = {"id": "2", "displayName": "Office", "ipRanges": [{"cidrAddress": "203.0.113.0/24"}], "isTrusted": True}
    told = changed_since(([old], [place]), ([new], [place | {"ipRanges": []}]))

    assert [each.words for each in told] == [
        "was switched off (it was on before), was renamed (it was “Old”) and got other users, grant controls and other "
        "settings",
        "got other addresses",
    ]


async def test_contents_are_kept_once_and_old_ones_are_forgotten_but_for_the_good_one(tmp_path: Path) -> None:
    clock = ManualClock()
    async with Database(tmp_path / "data" / "latchkey.db", tenant="t", clock=clock) as db:
        memory, same = PolicyMemory(db), policy("Same") | {"id": "0"}

        def content(number: int, days: float) -> RememberedPolicies:
            things = (same, policy(f"Policy {number}") | {"id": str(number)})
            return RememberedPolicies(digest_of(things), things, (), T0 + timedelta(days=days))

        good = content(1, 0)
        await memory.see(good)
        await memory.see(good)
        await memory.went_well("me", good.digest, T0)
        await memory.see(content(2, 1))
        await memory.see(content(3, KEPT.days + 2))

        assert await memory.last_well("me") == good
        assert await memory.last_well("somebody else") is None
        rows = await db.read(lambda connection: connection.execute("SELECT digest FROM policy_readings").fetchall())
        parts = await db.read(lambda connection: connection.execute("SELECT digest FROM policy_parts").fetchall())
        assert len(rows) == 2
        assert len(parts) == 3, "the same policy is there once, and that of the forgotten reading is gone"


async def test_a_tenant_that_is_changed_all_the_time_leaves_no_more_behind_than_others(tmp_path: Path) -> None:
    clock = ManualClock()
    async with Database(tmp_path / "data" / "latchkey.db", tenant="t", clock=clock) as db:
        memory = PolicyMemory(db)
        for number in range(3 * MOST):
            things = (policy(f"Policy {number}") | {"id": "1"},)
            content = RememberedPolicies(digest_of(things), things, (), T0 + timedelta(minutes=number))
            await memory.see(content)
            if number == 0:
                await memory.went_well("me", content.digest, T0)
        rows = await db.read(lambda connection: connection.execute("SELECT 1 FROM policy_readings").fetchall())
        parts = await db.read(lambda connection: connection.execute("SELECT 1 FROM policy_parts").fetchall())

        assert await memory.last_well("me") is not None
        assert len(rows) == len(parts) <= MOST + 1
