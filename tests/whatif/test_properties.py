"""What holds for all policies and all sign-ins, and the same answers from an evaluator that was written apart."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.whatif.evaluation import Decision, PolicySet, Verdict
from bot.whatif.locations import read_locations
from bot.whatif.policies import read_policies
from bot.whatif.signins import SignIn, read_person, read_request
from tests.whatif import drawn, naive
from tests.whatif.drawn import Dice

JSON = Any

seeds = st.integers(0, 2**64)
_LOCATIONS = read_locations(drawn.LOCATIONS)


def compiled(policies: list[JSON]) -> PolicySet:
    return PolicySet.compile(read_policies(policies), _LOCATIONS)


def read(line: JSON) -> SignIn:
    return read_request(line["request"], read_person(line["user"]) if line["user"] else None)


def answers(verdict: Verdict) -> dict[str, tuple[bool | None, list[str]]]:
    return {result.policy.id: (result.applies, [str(each) for each in result.reasons]) for result in verdict.results}


EXCLUSIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "users": {
        "excludeUsers": (*drawn.USERS, "GuestsOrExternalUsers"), "excludeGroups": drawn.GROUPS,
        "excludeRoles": drawn.ROLES, "excludeGuestsOrExternalUsers": drawn.GUESTS,
    },
    "applications": {"excludeApplications": (*drawn.APPS, "Office365")},
    "platforms": {"excludePlatforms": drawn.PLATFORMS},
    "locations": {"excludeLocations": drawn.PLACES},
    "clientApplications": {"excludeServicePrincipals": ("s1", "s2")},
}  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(seeds, st.booleans())
def test_adding_an_exclusion_never_makes_a_policy_apply(seed: int, strict: bool) -> None:
    dice = Dice(seed)
    policy, line = dice.policy("p"), dice.line("s")
    part = dice.one([name for name in EXCLUSIONS if policy["conditions"].get(name)])
    key, names = dice.one(list(EXCLUSIONS[part].items()))
    more = copy.deepcopy(policy)
    if key == "excludeGuestsOrExternalUsers":
        one_kind = {"guestOrExternalUserTypes": dice.one(names), "externalTenants": {"membershipKind": "all"}}
        more["conditions"][part][key] = more["conditions"][part].get(key) or one_kind
    else:
        more["conditions"][part].setdefault(key, []).append(dice.one(names))

    before = compiled([policy]).evaluate(read(line), strict=strict).results[0].applies
    after = compiled([more]).evaluate(read(line), strict=strict).results[0].applies

    assert not (after is True and before is not True)
    assert not (after is None and before is False)


@settings(max_examples=400, deadline=None)
@given(seeds)
def test_what_is_not_given_never_makes_a_policy_apply_that_would_not_if_it_were(seed: int) -> None:
    dice = Dice(seed)
    policies = compiled([dice.policy(str(number)) for number in range(20)])
    line = dice.line("s", given=1.0)
    missing = copy.deepcopy(line)
    for name in dice.some(list(line["request"]["signInConditions"]), 4):
        del missing["request"]["signInConditions"][name]
    if dice.chance(0.3):
        missing["request"]["signInContext"] = None
    if line["user"]:
        of_guests = ("guestType",) if line["user"]["userType"] == "guest" else ()  # a member without one is no guest
        for name in dice.some(("groups", "roles", "homeTenantId", *of_guests), 3):
            missing["user"][name] = None

    full = policies.evaluate(read(line)).results
    for strict in (False, True):
        for known, less in zip(full, policies.evaluate(read(missing), strict=strict).results, strict=True):
            assert not (less.applies is True and known.applies is not True)
            assert not (strict and less.applies is False and known.applies is True)


@settings(max_examples=150, deadline=None)
@given(seeds)
def test_neither_the_order_of_policies_nor_that_in_their_lists_matters(seed: int) -> None:
    dice = Dice(seed)
    policies, line = [dice.policy(str(number)) for number in range(20)], dice.line("s")
    shuffle = random.Random(seed).shuffle  # noqa: S311 - an order, not a secret

    def shuffled(value: JSON) -> JSON:
        if isinstance(value, list):
            value = [shuffled(each) for each in value]
            shuffle(value)
        return {key: shuffled(each) for key, each in value.items()} if isinstance(value, dict) else value

    first, second = compiled(policies).evaluate(read(line)), compiled(shuffled(policies)).evaluate(read(line))

    assert answers(first) == answers(second)
    assert (first.decision, first.controls) == (second.decision, second.controls)
    assert (first.session_limits, first.report_only.controls) == (second.session_limits, second.report_only.controls)


@settings(max_examples=200, deadline=None)
@given(seeds)
def test_more_policies_never_open_what_fewer_closed(seed: int) -> None:
    dice = Dice(seed)
    policies, line = [dice.policy(str(number)) for number in range(20)], dice.line("s")
    blocking = {**dice.policy("more"), "state": "enabled", "grantControls": {"builtInControls": ["block"]}}
    order = list(Decision)

    fewer, more = (compiled(each).evaluate(read(line)) for each in (policies, [*policies, blocking]))

    assert order.index(more.decision) >= order.index(fewer.decision)
    assert (more.decision is Decision.BLOCK) == (fewer.decision is Decision.BLOCK or more.results[-1].applies is True)


@settings(max_examples=200, deadline=None)
@given(seeds)
def test_reading_and_writing_lose_nothing(seed: int) -> None:
    dice = Dice(seed)
    policy, line = {**dice.policy("p"), "newKey": {"@odata.type": "#x"}}, dice.line("s")
    again = read_request(read(line).to_request(), read_person(line["user"]) if line["user"] else None)

    assert read_policies([policy])[0].to_json() == policy
    assert again == read(line)


def agree(seed: int, policies: int, lines: int) -> int:
    """Compare both evaluators; gives how many pairs were compared."""
    dice = Dice(seed)
    raw = [dice.policy(str(number)) for number in range(policies)]
    ours = compiled(raw)
    for number in range(lines):
        line, strict = dice.line(str(number), given=dice.one((0.5, 0.9, 1.0))), dice.chance(0.5)
        verdict = ours.evaluate(read(line), strict=strict)
        expected = {policy["id"]: naive.judge(policy, line, drawn.LOCATIONS, strict=strict) for policy in raw}
        assert answers(verdict) == expected, line
        for state, outcome in (
            ("enabled", verdict.enforced),
            ("enabledForReportingButNotEnforced", verdict.report_only),
        ):
            applying = [each for each in raw if each["state"] == state and expected[each["id"]][0]]
            assert outcome.decision == naive.decide(applying)
        assert ours.decide(read(line)) == verdict.decision
    return policies * lines


def test_an_evaluator_written_apart_agrees_on_some_pairs() -> None:
    assert agree(seed=1, policies=100, lines=100) == 10_000


@pytest.mark.slow
def test_an_evaluator_written_apart_agrees_on_a_million_pairs() -> None:
    assert sum(agree(seed, policies=200, lines=200) for seed in range(25)) == 1_000_000
