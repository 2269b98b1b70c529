"""Allowed IPs on paper: what is planned, what is foreseen, and what is warned of."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from bot.actions import allowed_ips, remove_allowed_ips
from bot.actions._action import NoInputs
from bot.actions._addresses import read_ranges
from bot.actions._allowed_ips import (
    DESK,
    DRAFT,
    LOGGED,
    POLICY,
    Group,
    Shape,
    Situation,
    Wish,
    foresee,
    managed_as_code,
    objections,
    policy_body,
)
from bot.actions.allowed_ips import Inputs
from bot.errors import BadInput, NotPossible
from bot.model import Identity, IdentityKind, Plan, Target, TargetKind
from bot.whatif import apps
from bot.whatif.evaluation import PolicySet
from bot.whatif.locations import read_address, read_locations
from bot.whatif.policies import read_policies
from bot.whatif.signins import Applications, Conditions, Person, SignIn
from tests.tenant import PaperTenant

ACCOUNT = Identity(IdentityKind.SERVICE_ACCOUNT, "459f7821-4a0a-40d0-adb1-e0b6c92bfdd7", "svc@contoso.com")
ADMINISTRATOR = "62e90394-69f5-4237-9190-012177145e10"
HERE = "203.0.113.10"
LATCHKEY = Target(TargetKind.TENANT, "tenant", "Latchkey")

SIGN_IN = SignIn(
    Person(ACCOUNT.id, groups=frozenset(), roles=frozenset({ADMINISTRATOR})),
    Applications(frozenset({apps.GRAPH})),
    Conditions(address=read_address(HERE), country="IE", client_app="mobileAppsAndDesktopClients", device={}),
)


def policy(name: str, **more: Any) -> dict[str, Any]:
    """A policy that asks every administrator for a second factor, with *more* changed."""
    return {
        "id": name.lower(),
        "displayName": name,
        "state": "enabled",
        "modifiedDateTime": None,
        "conditions": {
            "clientAppTypes": ["all"],
            "applications": {"includeApplications": ["All"]},
            "users": {"includeRoles": [ADMINISTRATOR], "excludeGroups": ["emergency"]},
        },
        "grantControls": {"operator": "OR", "builtInControls": ["mfa"]},
        **more,
    }


def situation(*policies: Mapping[str, Any], egress: Sequence[str] = (), **more: Any) -> Situation:
    """*egress* is what the named location holds; without any there is none."""
    read = read_policies(list(policies))
    there = read_locations([location(*egress)] if egress else [])
    return Situation(ACCOUNT, read, there, PolicySet.compile(read, there), SIGN_IN, LOGGED, **more)


def location(*egress: str) -> dict[str, Any]:
    ranges = [
        {"@odata.type": f"#microsoft.graph.iPv{4 + 2 * (':' in each)}CidrRange", "cidrAddress": each} for each in egress
    ]
    return {
        "@odata.type": "#microsoft.graph.ipNamedLocation",
        "id": "here",
        "displayName": "Latchkey egress",
        "isTrusted": False,
        "ipRanges": ranges,
    }


def ours() -> dict[str, Any]:
    """The policy, as it is once it was made."""
    return {**policy_body(ACCOUNT, "here", Shape.BLOCK), "id": "ours", "state": "enabled", "modifiedDateTime": None}


def left_out() -> dict[str, Any]:
    """A policy that leaves members of the group out."""
    found = policy("MFA")
    return {
        **found,
        "conditions": {**found["conditions"], "users": {"includeRoles": [ADMINISTRATOR], "excludeGroups": ["g"]}},
    }


@dataclass
class Tenant(PaperTenant):
    """Has a situation."""

    now: Situation | None = None

    def _find(self, path: tuple[str, ...], query: Mapping[str, str] | None, eventual: bool) -> Any:
        if path == DESK:
            return {"now": self.now}
        return {"calls": None} if path == (*DESK, "saved") else super()._find(path, query, eventual)


async def planned(now: Situation, inputs: Inputs = Inputs()) -> Plan:  # noqa: B008 - a frozen value
    return await allowed_ips.plan(Tenant(now=now), LATCHKEY, inputs, ACCOUNT)


async def removed(now: Situation) -> Plan:
    return await remove_allowed_ips.plan(Tenant(now=now), LATCHKEY, NoInputs(), ACCOUNT)


def seen_from(now: Situation, address: str | None, *others: str) -> Situation:
    """The same, but the newest sign-in was from *address*; None if that is not known."""
    conditions = replace(SIGN_IN.conditions, address=read_address(address) if address else None)
    return replace(now, sign_in=replace(SIGN_IN, conditions=conditions), also_from=tuple(map(read_address, others)))


async def test_a_plan_saves_each_policy_as_it_was_and_survives_being_stored() -> None:
    mine, other = policy("MFA"), policy("Off", state="disabled")
    plan = await planned(situation(mine, other))

    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    [change] = [call for call in plan.calls if call.was is not None]
    assert change.was == mine
    assert change.body == {
        "conditions": {
            "users": {
                "includeRoles": [ADMINISTRATOR],
                "excludeGroups": ["emergency", {"$id_of": ["groups", "Latchkey excluded from Conditional Access"]}],
            }
        }
    }, "all of its users, for Graph replaces them as a whole"
    assert change.seen is not None
    assert not change.seen.holds(mine)
    assert all(call.awaited for call in plan.calls if call.path[0] != DESK[0]), "each write is read back"


async def test_outside_is_closed_before_inside_is_opened() -> None:
    plan = await planned(situation(policy("MFA")))
    enabled = next(number for number, call in enumerate(plan.calls) if call.body.get("state") == "enabled")
    opened = next(number for number, call in enumerate(plan.calls) if call.was is not None)
    asked = next(number for number, call in enumerate(plan.calls) if call.path[-1] == "what-if")

    assert asked < enabled < opened
    made = plan.calls[1]
    assert made.body["state"] == "enabledForReportingButNotEnforced"
    assert plan.calls[enabled].body["conditions"] == made.body["conditions"], "whatever became of it meanwhile"


async def test_nobody_else_comes_into_a_policy_s_exclusion_through_the_group() -> None:
    members = ((ACCOUNT.id, ACCOUNT.name), ("mallory", "mallory@contoso.com"))
    with pytest.raises(NotPossible, match="has other members: mallory"):
        await planned(situation(policy("MFA"), group=Group("g", "Excluded", members)))
    with pytest.raises(NotPossible, match="not chosen by hand"):
        await planned(situation(policy("MFA"), group=Group("g", "Excluded", members[:1], fits=False)))


async def test_whoever_agrees_sees_every_address() -> None:
    typed = [f"198.51.100.{number}" for number in range(0, 200, 2)]
    plan = await planned(situation(), Inputs(addresses=f"{HERE} {' '.join(typed)}"))

    shown = [word.removesuffix("/32") for change in plan.changes for word in change.after.split(", ")]
    assert set(typed) <= set(shown)


async def test_other_addresses_that_it_signs_in_from_are_named() -> None:
    others = (read_address("198.51.100.7"), read_address("2001:db8:7::1"))
    now = situation(also_from=others)

    assert "Lately it was signed in from 198.51.100.7 and 2001:db8:7::1, too" in " ".join((await planned(now)).notes)
    named = await planned(now, Inputs(addresses=f"{HERE} 198.51.100.7 2001:db8:7::/64"))
    assert "Lately" not in " ".join(named.notes)


async def test_what_somebody_widened_by_hand_is_not_taken_over() -> None:
    with pytest.raises(BadInput, match="more than one site"):
        await planned(situation(policy("MFA"), egress=["128.0.0.0/1"]))


async def test_from_which_of_its_addresses_it_signed_in_last_changes_nothing_of_what_was_agreed_to() -> None:
    both = ("203.0.113.10/32", "198.51.100.7/32")
    there = situation(left_out(), ours(), egress=both, group=Group("g", "Excluded"))
    here, other = seen_from(there, HERE, "198.51.100.7"), seen_from(there, "198.51.100.7", HERE)
    assert await removed(here) == await removed(other)

    new = situation(policy("MFA"))
    here, other = seen_from(new, HERE, "198.51.100.7"), seen_from(new, "198.51.100.7", HERE)
    typed = Inputs(addresses=" ".join(both))
    assert await planned(here, typed) == await planned(other, typed)


async def test_taking_it_back_says_what_stops_the_account_then() -> None:
    there = situation(left_out(), ours(), egress=["203.0.113.10/32"], group=Group("g", "Excluded"))
    account = Group("g", "Excluded", ((ACCOUNT.id, ACCOUNT.name),))
    tidied = situation(left_out(), group=account)
    for now in (there, seen_from(there, None), replace(there, group=account), tidied, seen_from(tidied, None)):
        who = Person(ACCOUNT.id, groups=frozenset({"g"}), roles=frozenset({ADMINISTRATOR}))
        plan = await removed(replace(now, sign_in=replace(now.sign_in, who=who)))
        assert f"Afterwards “MFA” will stop {ACCOUNT.name}, which then opens no session." in plan.notes
        [change] = [each for each in plan.changes if re.match("signing in from (?!elsewhere)", each.what)]
        assert (change.before, change.after) == ("allowed", "stopped, as it is asked for multifactor authentication")


async def test_what_somebody_widened_to_everywhere_can_be_taken_away() -> None:
    everywhere = ["192.0.0.0/9", "198.0.0.0/9", "203.0.0.0/9", "2001::/16"]
    plan = await removed(situation(ours(), egress=everywhere))
    assert [call.path[-1] for call in plan.calls] == ["ours", "here"]
    assert "elsewhere" not in " ".join(change.what for change in plan.changes)


async def test_what_nobody_can_judge_is_said_when_it_is_taken_back() -> None:
    abroad = policy("Abroad", grantControls={"operator": "OR", "builtInControls": ["block"]})
    abroad["conditions"] |= {"users": {"includeUsers": ["All"]}, "locations": {"includeLocations": ["countries"]}}
    now = situation(ours(), abroad, egress=["203.0.113.10/32"])
    countries = {
        "@odata.type": "#microsoft.graph.countryNamedLocation",
        "id": "countries",
        "displayName": "Abroad",
        "countriesAndRegions": ["BR"],
    }
    there = read_locations([location("203.0.113.10/32"), countries])
    now = replace(now, locations=there, judged=PolicySet.compile(now.policies, there))
    unknown = seen_from(now, None)
    assert "Whether “Abroad” will stop svc@contoso.com afterwards cannot be told." in (await removed(unknown)).notes
    assert "Abroad" not in " ".join((await removed(now)).notes)


async def test_what_is_in_force_is_asked_about_before_it_is_changed() -> None:
    ours = policy(
        POLICY,
        conditions={
            "clientAppTypes": ["all"],
            "applications": {"includeApplications": ["All"]},
            "users": {"includeUsers": [ACCOUNT.id]},
            "locations": {"includeLocations": ["All"], "excludeLocations": ["here"]},
        },
        grantControls={"operator": "OR", "builtInControls": ["block"]},
    )
    location = {
        "@odata.type": "#microsoft.graph.ipNamedLocation",
        "id": "here",
        "displayName": "Latchkey egress",
        "isTrusted": False,
        "ipRanges": [{"@odata.type": "#microsoft.graph.iPv4CidrRange", "cidrAddress": f"{HERE}/32"}],
    }
    now = replace(situation(ours), locations=read_locations([location]))

    assert (await planned(now)).calls == ()
    plan = await planned(now, Inputs(addresses=f"{HERE} 198.51.100.0/28"))
    assert [call.path[-1] for call in plan.calls] == ["what-if", "here", "proof"]
    assert plan.calls[0].body["made"] is False


async def test_an_application_is_not_reached_by_policies_about_people() -> None:
    now = replace(situation(), account=replace(ACCOUNT, kind=IdentityKind.APPLICATION))
    with pytest.raises(NotPossible, match="with an application"):
        await planned(now)


async def test_two_things_of_our_name_are_not_guessed_between() -> None:
    with pytest.raises(NotPossible, match="There are 2 things called"):
        await planned(situation(policy(POLICY), policy(POLICY, id="another")))


async def test_from_where_it_signs_in_has_to_be_among_the_addresses() -> None:
    with pytest.raises(BadInput, match="would lock itself out"):
        await planned(situation(), Inputs(addresses="198.51.100.7"))


def test_what_would_still_stop_it_or_let_others_in_is_an_objection() -> None:
    now, wish = situation(policy("MFA")), Wish(read_ranges(HERE))
    foreseen = foresee(now, wish)
    assert objections(now, wish, foreseen) == ["From inside, “MFA” would still stop svc@contoso.com."]

    wish = replace(wish, excluding=("mfa",))
    foreseen = foresee(now, wish)
    assert objections(now, wish, foreseen) == []
    turned = replace(foreseen, inside=foreseen.outside, outside=foreseen.inside)
    assert objections(now, wish, turned) == ["From 192.0.2.1, which is outside, “" + POLICY + "” would not apply."]


def test_who_is_in_the_group_already_is_left_out_of_what_leaves_it_out() -> None:
    users = {"includeRoles": [ADMINISTRATOR], "excludeGroups": ["ours"]}
    left = policy("MFA", conditions={**policy("MFA")["conditions"], "users": users})
    now = situation(left, group=Group("ours", "Latchkey excluded from Conditional Access"))

    assert foresee(now, Wish(read_ranges(HERE))).still_blocking == ()
    assert foresee(replace(now, group=None), Wish(read_ranges(HERE))).ours == DRAFT


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"displayName": "[Terraform] MFA"}, "its name says so"),
        ({"description": "Managed by the platform team's pipeline. Do not edit."}, "its description says so"),
        ({"description": "Deployed from GitHub."}, "its description says so"),
        ({"displayName": "CIPP: MFA"}, "its name says so"),
        ({"id": "by-an-app"}, "the application “Pipeline” changed it last"),
        ({"description": "For administrators, who manage things by themselves."}, ""),
        ({"displayName": "MFA for incipient admins"}, ""),
    ],
)
def test_a_policy_that_a_tool_puts_back_is_known_by_its_words_or_by_who_changed_it(
    changed: dict[str, Any], why: str
) -> None:
    found = managed_as_code(read_policies([policy("MFA", **changed)]), {"by-an-app": "Pipeline"})

    assert [told.partition(":")[0] for _, told in found] == ([why] if why else [])
