"""What is to come of the service identity's sign-ins is told by the policies, before a session finds out."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.canary import CLIENTS, Canary, Foresight, Switches, Verdict, differences, expected, judged
from bot.model import Identity, IdentityKind
from bot.watched import open_to_others
from bot.whatif import apps
from bot.whatif.evaluation import PolicySet
from bot.whatif.locations import read_address, read_location
from bot.whatif.policies import read_policy
from bot.whatif.signins import Applications, Conditions, Person, Principal, SignIn
from sandbox.directory import SERVICE_ACCOUNT
from sandbox.faults import Answer, Rule
from tests.policies import open_office
from tests.stage import HELPDESK, Stage
from tests.whatif.small import BLOCK, GLOBAL_ADMIN, raw_policy

ALERTS = "#it-alerts"
HOUR = 3600

SERVICE = Person("svc", groups=frozenset({"robots"}), roles=frozenset({GLOBAL_ADMIN}))
HERE = Conditions(
    address=read_address("203.0.113.10"),
    country="IE",
    platform="all",
    client_app="mobileAppsAndDesktopClients",
    device={},
    sign_in_risk="none",
    user_risk="none",
    principal_risk="none",
    insider_risk="none",
    flow="none",
)
REAL = SignIn(SERVICE, Applications(frozenset({apps.GRAPH})), HERE)
OURS = read_location(
    {
        "@odata.type": "#microsoft.graph.ipNamedLocation",
        "id": "ours",
        "displayName": "Latchkey's machine",
        "isTrusted": False,
        "ipRanges": [{"@odata.type": "#microsoft.graph.iPv4CidrRange", "cidrAddress": "203.0.113.10/32"}],
    }
)
ONLY_FROM_OURS: dict[str, Any] = {
    "users": {"includeUsers": ["svc"]},
    "locations": {"includeLocations": ["All"], "excludeLocations": ["ours"]},
    "grant": BLOCK,
}
FOR_ADMINS: dict[str, Any] = {"users": {"includeRoles": [GLOBAL_ADMIN]}}
REPORTING = "enabledForReportingButNotEnforced"


def look(
    *policies: Any, real: SignIn = REAL, closed: bool = False, kind: IdentityKind = IdentityKind.SERVICE_ACCOUNT
) -> tuple[Verdict, ...]:
    compiled = PolicySet.compile([read_policy(each) for each in policies], [OURS])
    return judged(compiled, expected(real, [OURS], closed=closed), kind)


def foresight(*verdicts: Verdict) -> Foresight:
    return Foresight(Identity(IdentityKind.SERVICE_ACCOUNT, "svc", "svc"), "", Switches(), verdicts)


def test_the_table_is_every_resource_from_here_and_through_every_kind_of_client_from_elsewhere() -> None:
    here, *there = expected(REAL, [OURS], closed=True)

    assert (here.sign_in, here.inside, here.allowed) == (REAL, True, True)
    assert {(each.inside, each.allowed) for each in there} == {(False, False)}
    elsewhere = [each.sign_in.conditions for each in there]
    assert [each.client_app for each in elsewhere] == [*CLIENTS]
    assert all(replace(each, address=HERE.address, client_app=HERE.client_app) == HERE for each in elsewhere)
    assert not any(each.address in network for each in elsewhere for network in OURS.networks)


def test_one_kind_of_client_that_gets_in_from_elsewhere_is_named() -> None:
    modern = ["browser", "mobileAppsAndDesktopClients", "exchangeActiveSync"]
    found = foresight(*look(raw_policy(clientAppTypes=modern, **ONLY_FROM_OURS), closed=True))

    assert found.opened == ("other",)
    assert "through clients with legacy authentication" in open_to_others(found.identity, found).why


def test_nothing_is_expected_from_elsewhere_until_it_was_blocked_there() -> None:
    assert [each.allowed for each in expected(REAL, [OURS], closed=False)] == [True, None, None, None, None]
    assert differences(look(closed=False)) == ()
    assert {verdict.of.inside for verdict in differences(look(closed=True))} == {False}


def test_an_address_that_a_location_of_the_tenant_has_is_not_elsewhere() -> None:
    documentation = {"@odata.type": "#microsoft.graph.ipNamedLocation", "id": "doc", "displayName": "Doc"}
    taken = read_location({**documentation, "ipRanges": [{"cidrAddress": "192.0.2.0/24"}]})
    everything = read_location({**documentation, "ipRanges": [{"cidrAddress": "0.0.0.0/0"}]})

    (_, there, *_) = expected(REAL, [taken], closed=False)
    assert str(there.sign_in.conditions.address) == "198.51.100.1"
    assert len(expected(REAL, [everything], closed=True)) == 1


def test_nobody_hides_an_opening_by_naming_the_addresses_that_are_tried() -> None:
    kind = {"@odata.type": "#microsoft.graph.ipNamedLocation", "id": "doc", "displayName": "Doc"}
    wide = [{"cidrAddress": f"{first}.0.0.0/8"} for first in (192, 198, 203)]
    named = [OURS, read_location({**kind, "ipRanges": wide})]
    compiled = PolicySet.compile([read_policy(raw_policy())], named)

    assert len(expected(REAL, named, closed=True)) == 1 + len(CLIENTS)
    assert foresight(
        *judged(compiled, expected(REAL, named, closed=True), IdentityKind.SERVICE_ACCOUNT)
    ).keeps_others_out


def test_what_nobody_can_tell_of_others_is_no_proof_that_they_are_kept_out() -> None:
    elsewhere = replace(REAL, who=replace(SERVICE, groups=None))
    policy = raw_policy(grant=BLOCK, users={"includeUsers": ["All"], "excludeGroups": ["robots"]})
    found = foresight(*look(policy, real=elsewhere, closed=True))

    assert (found.opened, found.keeps_others_out, found.blocks_elsewhere) == ((), False, False)


def test_a_doubt_is_about_what_keeps_the_identity_out_not_only_about_which_policies_there_are() -> None:
    one, other = foresight(*look(raw_policy(grant=BLOCK))), foresight(*look(raw_policy(state="disabled")))

    assert one == other
    assert not one.says_the_same_as(other)
    assert one.says_the_same_as(replace(one, since=None))


# --- in a tenant ------------------------------------------------------------------------------------------------------


async def test_while_nothing_changes_each_look_costs_the_same_few_calls(tmp_path: Path) -> None:
    async with open_office(tmp_path) as office:
        canary = Canary(office.contoso.clock, office.access)
        office.add("mfa-for-admins", "country-block", "compliant-device")
        cost = []
        for _ in range(4):
            before = len(office.asked())
            assert await canary.look(office.identity)
            cost.append(len(office.asked()) - before)
            office.contoso.clock.advance(HOUR + 1)

        assert len(set(cost[1:])) == 1
        assert cost[1] <= 2 + 2 + 2, "policies and locations, two switches, and what ids mean"


@pytest.mark.parametrize("answer", [Answer(200, {"value": [{"@odata.type": "#microsoft.graph.group"}]}), Answer(500)])
async def test_an_answer_that_cannot_be_read_leaves_what_was_seen_before(tmp_path: Path, answer: Answer) -> None:
    async with open_office(tmp_path) as office:
        canary = Canary(office.contoso.clock, office.access)
        office.add("mfa-for-admins")
        seen = await canary.look(office.identity)
        assert seen
        assert seen.stops

        office.contoso.servers.faults.add(Rule("graph", "GET", "*transitiveMemberOf", answer))
        assert await canary.look(office.identity, thoroughly=True) is seen


@pytest.mark.parametrize(
    ("conditions", "allowed"),
    [
        ({}, False),
        (FOR_ADMINS, False),
        ({"users": {"includeUsers": ["All"], "excludeGroups": ["robots"]}}, True),
        ({"clientAppTypes": ["other"]}, True),
        ({"applications": {"includeApplications": [apps.EXCHANGE]}}, True),
        ({"grant": {"operator": "OR", "builtInControls": ["compliantDevice", "mfa"]}}, False),
        ({"grant": None, "session": {"signInFrequency": {"isEnabled": True, "value": 1, "type": "hours"}}}, True),
        ({"signInRiskLevels": ["high"]}, True),
        ({"state": "disabled"}, True),
    ],
)
def test_what_is_on_and_asks_for_what_the_identity_cannot_do_blocks_it(conditions: Any, allowed: bool) -> None:
    inside, *_ = look(raw_policy(**conditions))

    assert inside.allowed is allowed
    assert (differences([inside]) == ()) is allowed


def test_what_only_reports_is_told_beforehand() -> None:
    inside, *_ = look(raw_policy(state=REPORTING, **FOR_ADMINS))

    assert inside.allowed is True
    assert [blocker.policy.id for blocker in inside.ahead] == ["p"]


def test_from_allowed_addresses_only() -> None:
    seen = foresight(*look(raw_policy(**ONLY_FROM_OURS)))
    assert (seen.stops, seen.blocks_elsewhere, seen.opened) == (False, True, ())

    off = foresight(*look(raw_policy(state=REPORTING, **ONLY_FROM_OURS), closed=True))
    assert (off.stops, off.ahead, off.blocks_elsewhere, off.opened) == (False, (), False, CLIENTS)


def test_a_policy_that_blocks_here_too_is_no_allowed_address() -> None:
    seen = foresight(*look(raw_policy(grant=BLOCK)))

    assert (seen.stops, seen.blocks_elsewhere) == (True, False)


def test_an_application_meets_policies_about_service_principals_only() -> None:
    robot = replace(REAL, who=Principal("robot"))
    about_it: dict[str, Any] = {
        "users": {"includeUsers": ["None"]},
        "clientApplications": {"includeServicePrincipals": ["robot"]},
    }

    everybody, *_ = look(raw_policy(), real=robot, kind=IdentityKind.APPLICATION)
    it, *_ = look(raw_policy(grant=BLOCK, **about_it), real=robot, kind=IdentityKind.APPLICATION)
    assert (everybody.allowed, it.allowed) == (True, False)


@pytest.mark.parametrize(
    ("real", "conditions"),
    [
        (replace(REAL, conditions=replace(HERE, address=None)), ONLY_FROM_OURS),
        (replace(REAL, who=replace(SERVICE, roles=None)), FOR_ADMINS),
    ],
)
def test_what_depends_on_something_that_is_not_known_is_no_verdict(real: SignIn, conditions: Any) -> None:
    inside, *_ = look(raw_policy(**conditions), real=real)

    assert inside.allowed is None
    assert not inside.differs
    assert len(inside.untold) == 1


def test_a_risk_that_entra_keeps_to_itself_leaves_the_verdict_alone() -> None:
    hidden = replace(REAL, conditions=replace(HERE, sign_in_risk=None))

    assert look(raw_policy(signInRiskLevels=["high"]), real=hidden)[0].allowed is True


# --- in the whole bot -------------------------------------------------------------------------------------------------


def cards(stage: Stage) -> list[str]:
    return [message.visible_text for message in stage.world.slack.messages(ALERTS)]


async def an_hour_later(stage: Stage, words: str) -> str:
    """The alert's card once it says *words*."""
    await an_hour(stage)
    return await stage.until(lambda: next((card for card in cards(stage) if words in card), ""))


async def test_a_policy_is_told_of_while_it_only_reports_and_wakes_people_once_it_is_on(stage: Stage) -> None:
    access = stage.world.access
    access.add_from_file("mfa-for-admins.json")
    name = access.policies()[-1]["displayName"]
    access.edit(name, state=REPORTING)
    card = await an_hour_later(stage, "would stop sessions once it is on")
    assert f"“{name}”" in card
    assert "Gary" in card  # who changed it last
    assert "Nothing is broken yet" in card

    access.edit(name, state="enabled")
    card = await an_hour_later(stage, "does not let the service account sign in")
    assert "exclude the account from the policy" in card.lower()
    assert len(cards(stage)) == 1

    before = len(access.sign_ins)
    await stage.world.slack.command("ana", HELPDESK, "/m365-session on")
    await stage.until(lambda: any(line.code for line in access.sign_ins[before:]))
    await stage.until(lambda: any("AADSTS50079" in card for card in cards(stage)))
    assert [alert.trouble.kind for alert in await stage.bot.alerts.open()] == ["policy"]
    assert len(cards(stage)) == 1

    access.exclude(name, SERVICE_ACCOUNT)
    assert await an_hour_later(stage, "Over")
    assert "A rule of Microsoft Entra" not in stage.world.slack.picture()


async def test_a_night_finds_what_changed_beside_the_policies(stage: Stage) -> None:
    """The account is no longer in the group that a policy leaves out: no policy was touched."""
    access, directory = stage.world.access, stage.world.directory
    account, group = directory.user(SERVICE_ACCOUNT).id, directory.group("Engineering").id
    directory.add_member("Engineering", account)
    access.add_from_file("mfa-for-admins.json")
    policy = access.policies()[-1]
    users = {**policy["conditions"]["users"], "excludeGroups": [group]}
    access.edit(policy["id"], conditions={**policy["conditions"], "users": users})
    await an_hour(stage)
    assert await stage.bot.alerts.open() == []

    directory.remove_member("Engineering", account)
    await an_hour(stage)
    assert await stage.bot.alerts.open() == []

    stage.world.clock.advance(20 * HOUR)  # from noon to the next morning
    assert await stage.until(lambda: next((card for card in cards(stage) if policy["displayName"] in card), ""))


async def test_without_the_permission_to_read_policies_there_is_a_line_in_the_log_and_no_alert(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    refusal = Answer(403, {"error": {"code": "AccessDenied", "message": "no"}})
    stage.world.faults.add(Rule("graph", "GET", "/identity/conditionalAccess/*", refusal))
    stage.world.access.add_from_file("mfa-for-admins.json")
    for _ in range(2):
        await an_hour(stage)

    assert await stage.bot.alerts.open() == []
    assert len([line for line in caplog.records if "policies may not be read" in line.message]) == 1


async def an_hour(stage: Stage) -> None:
    """It has looked once more."""
    looked = Looked()
    watching = logging.getLogger("bot.watching")
    watching.addHandler(looked)
    level = watching.level
    watching.setLevel(logging.INFO)
    try:
        stage.world.clock.advance(HOUR + 60)
        await asyncio.wait_for(looked.once.wait(), 45)
    finally:
        watching.removeHandler(looked)
        watching.setLevel(level)


class Looked(logging.Handler):
    """Hears that it has."""

    def __init__(self) -> None:
        super().__init__()
        self.once = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if "was looked at" in record.getMessage():
            self.once.set()
