"""What the policies that apply come to together, and what an identity can do about it."""

from __future__ import annotations

from typing import Any

import pytest

from bot.model import IdentityKind
from bot.whatif.controls import Remedy, blockers
from bot.whatif.evaluation import Decision, Directory, PolicySet
from bot.whatif.signins import Applications, Person, SignIn
from tests.whatif.small import BLOCK, GRAPH, MFA, policy, principal, sign_in, user, verdict

COMPLIANT_OR_MFA = {"operator": "OR", "builtInControls": ["compliantDevice", "mfa"]}
MFA_AND_TERMS = {"operator": "AND", "builtInControls": ["mfa"], "termsOfUse": ["tou"]}
STRENGTH = {"operator": "OR", "authenticationStrength": {"id": "s", "displayName": "Strong"}}
HOURLY = {"signInFrequency": {"isEnabled": True, "value": 1, "type": "hours", "frequencyInterval": "timeBased"}}


def names(clauses: Any) -> list[list[str]]:
    return [sorted(control.value for control in clause) for clause in clauses]


@pytest.mark.parametrize(
    ("grants", "decision", "controls"),
    [
        ([], "allow", []),
        ([None], "allow", []),
        ([{"operator": "OR", "builtInControls": []}], "allow", []),
        ([MFA], "controlsRequired", [["mfa"]]),
        ([COMPLIANT_OR_MFA], "controlsRequired", [["compliantDevice", "mfa"]]),
        ([COMPLIANT_OR_MFA, MFA], "controlsRequired", [["mfa"]]),
        ([MFA_AND_TERMS, COMPLIANT_OR_MFA], "controlsRequired", [["mfa"], ["tou"]]),
        ([STRENGTH], "controlsRequired", [["s"]]),
        ([{"operator": "OR", "builtInControls": ["levitation"]}], "controlsRequired", [["levitation"]]),
        ([MFA, BLOCK], "block", [["mfa"]]),
        ([{"operator": "OR", "builtInControls": ["block", "mfa"]}], "block", []),
    ],
)
def test_all_policies_that_apply_must_be_satisfied(grants: list[Any], decision: str, controls: Any) -> None:
    policies = [policy(str(number), grant=grant, session=HOURLY) for number, grant in enumerate(grants)]
    found = verdict(policies, sign_in())

    assert found.decision == decision
    assert names(found.controls) == controls


def test_policies_that_only_report_decide_nothing_and_are_told_beside() -> None:
    reporting = policy("r", state="enabledForReportingButNotEnforced", grant=BLOCK)
    found = verdict([policy("e", grant=MFA), reporting, policy("d", state="disabled", grant=BLOCK)], sign_in())

    assert found.decision is Decision.CONTROLS_REQUIRED
    assert found.report_only.decision is Decision.BLOCK
    assert [result.applies for result in found.results] == [True, True, False]


def test_session_limits_are_told_once_each() -> None:
    never = {"persistentBrowser": {"isEnabled": True, "mode": "never"}, "cloudAppSecurity": {"isEnabled": False}}
    daily = {"signInFrequency": {"isEnabled": True, "value": None, "frequencyInterval": "everyTime"}}
    policies = [policy("1", session=HOURLY), policy("2", session={**HOURLY, **never}), policy("3", session=daily)]
    limits = verdict(policies, sign_in()).session_limits

    assert [(limit.name, limit.value) for limit in limits] == [
        ("persistentBrowser", "never"),
        ("signInFrequency", "1 hours"),
        ("signInFrequency", "everyTime"),
    ]


def test_what_nobody_can_tell_is_left_out_of_the_decision_and_shown() -> None:
    found = verdict([policy("x", grant=BLOCK, phaseOfTheMoon=["full"])], sign_in())

    assert found.decision is Decision.ALLOW
    assert [result.policy.id for result in found.untold] == ["x"]


def test_the_directory_fills_in_what_a_sign_in_does_not_say() -> None:
    only_admins = policy(users={"includeGroups": ["admins"]}, grant=BLOCK)
    ada = Person("ada", groups=frozenset({"admins"}), roles=frozenset())
    policies = PolicySet.compile([only_admins], directory=Directory({"ada": ada}))
    by_id_alone = SignIn(Person("ADA"), Applications(frozenset({GRAPH})))

    assert policies.evaluate(by_id_alone).decision is Decision.BLOCK
    assert policies.decide(by_id_alone) is Decision.BLOCK


# --- Who can meet it --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grant", [MFA, BLOCK, COMPLIANT_OR_MFA, MFA_AND_TERMS, STRENGTH])
def test_a_service_account_meets_no_control(grant: Any) -> None:
    (blocker,) = blockers(verdict([policy(grant=grant)], sign_in()), IdentityKind.SERVICE_ACCOUNT)

    assert blocker.unmet == blocker.policy.grant.controls
    assert blocker.remedies == (Remedy.EXCLUDE_ACCOUNT, Remedy.USE_APPLICATION)


def test_a_person_meets_every_control_but_a_block() -> None:
    found = verdict([policy("mfa", grant=MFA), policy("block", grant=BLOCK)], sign_in())

    assert [each.policy.id for each in blockers(found, IdentityKind.ADMINISTRATOR)] == ["block"]


def test_blocks_come_first_and_each_blocker_has_the_remedies_that_fit() -> None:
    policies = [
        policy("mfa", grant=MFA, clientAppTypes=["mobileAppsAndDesktopClients"]),
        policy("outside", grant=BLOCK, locations={"includeLocations": ["All"], "excludeLocations": ["office"]}),
        policy("session", grant=None, session=HOURLY),
    ]
    asked = sign_in(ipAddress="192.0.2.1", clientAppType="mobileAppsAndDesktopClients")
    first, second = blockers(verdict(policies, asked), IdentityKind.SERVICE_ACCOUNT)

    assert (first.policy.id, first.blocks_outright, first.remedies[0]) == ("outside", True, Remedy.ADD_ADDRESS)
    assert (second.policy.id, second.blocks_outright, Remedy.ADD_ADDRESS in second.remedies) == ("mfa", False, False)
    assert second.remedies == (Remedy.EXCLUDE_ACCOUNT, Remedy.CHANGE_CLIENT, Remedy.USE_APPLICATION)


@pytest.mark.parametrize(("users", "is_left_out"), [(["ada"], False), (["ada", "bo"], True), (["All"], True)])
def test_nobody_is_told_to_leave_an_account_out_of_the_policy_that_was_made_for_it(
    users: list[str], is_left_out: bool
) -> None:
    elsewhere = {"includeLocations": ["All"], "excludeLocations": ["office"]}
    made = policy(grant=BLOCK, users={"includeUsers": users}, locations=elsewhere)
    (blocker,) = blockers(verdict([made], sign_in(ipAddress="192.0.2.1")), IdentityKind.SERVICE_ACCOUNT)

    assert (Remedy.EXCLUDE_ACCOUNT in blocker.remedies) is is_left_out
    assert Remedy.ADD_ADDRESS in blocker.remedies


def test_tokens_bound_to_a_device_keep_a_service_account_out() -> None:
    bound = policy(grant=None, session={"secureSignInSession": {"isEnabled": True}})
    (blocker,) = blockers(verdict([bound], sign_in()), IdentityKind.SERVICE_ACCOUNT)

    assert blocker.token_protection
    assert blockers(verdict([bound], sign_in()), IdentityKind.ADMINISTRATOR) == ()


def test_policies_for_people_do_not_reach_the_application_identity() -> None:
    found = verdict([policy(grant=MFA), policy("b", grant=BLOCK, users={"includeUsers": ["ada"]})], principal())

    assert blockers(found, IdentityKind.APPLICATION) == ()
    assert blockers(verdict([policy(grant=BLOCK)], sign_in(user())), IdentityKind.MANAGED_IDENTITY) == ()
