"""Policies and results as people read them."""

from __future__ import annotations

from typing import Any

import pytest

from bot.whatif.evaluation import Reason
from bot.whatif.words import because, clauses, describe, explain, reason, summary
from tests.whatif.small import (
    BLOCK,
    EXCHANGE,
    GLOBAL_ADMIN,
    MFA,
    action,
    policy,
    principal,
    result,
    sign_in,
    user,
    verdict,
)

NAMES = {"ada": "Ada Lovelace", "g1": "Break glass", GLOBAL_ADMIN: "Global Administrator", "office": "Office"}


def words(**kwargs: Any) -> str:
    return " ".join(explain(policy(**kwargs), NAMES))


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({}, "It is on. It is about all users, for all resources. Then it demands multifactor authentication."),
        ({"state": "disabled"}, "It is off."),
        ({"state": "enabledForReportingButNotEnforced"}, "It only reports what it would do."),
        ({"state": "enabledOnSundays"}, "the state enabledOnSundays, which is not known here"),
        (
            {"users": {"includeRoles": [GLOBAL_ADMIN], "excludeUsers": ["ada"], "excludeGroups": ["g1"]}},
            "about holders of the role Global Administrator, but not Ada Lovelace or members of Break glass",
        ),
        ({"users": {"includeUsers": ["GuestsOrExternalUsers"]}}, "about all guests and external users"),
        (
            {
                "users": {"includeUsers": ["None"]},
                "clientApplications": {"includeServicePrincipals": ["ServicePrincipalsInMyTenant"]},
            },
            "about all service principals of the tenant's own applications, for",
        ),
        (
            {"applications": {"includeApplications": ["All"], "excludeApplications": [EXCHANGE, "Office365"]}},
            "for all resources except Office 365 Exchange Online or Office 365.",
        ),
        ({"applications": {"includeUserActions": ["urn:user:registerdevice"]}}, "when they register or join a device"),
        ({"applications": {"includeAuthenticationContextClassReferences": ["c7"]}}, "the authentication context c7"),
        (
            {"locations": {"includeLocations": ["All"], "excludeLocations": ["AllTrusted", "office"]}},
            "Only from anywhere except all trusted locations or Office.",
        ),
        ({"platforms": {"includePlatforms": ["iOS", "windows"]}}, "Only on iOS or Windows."),
        ({"clientAppTypes": ["exchangeActiveSync", "other"]}, "Exchange ActiveSync or clients with legacy"),
        ({"userRiskLevels": ["high"]}, "Only at user risk high."),
        ({"authenticationFlows": {"transferMethods": "deviceCodeFlow"}}, "Only by device code."),
        (
            {"devices": {"deviceFilter": {"mode": "exclude", "rule": "device.isCompliant -eq True"}}},
            "Only on devices that do not match `device.isCompliant -eq True`.",
        ),
        ({"grant": BLOCK}, "Then it blocks the sign-in."),
        (
            {"grant": {"operator": "AND", "builtInControls": ["mfa", "passwordChange"]}},
            "Then it demands multifactor authentication and a password change.",
        ),
        (
            {"grant": {"authenticationStrength": {"id": "00000000-0000-0000-0000-000000000004"}}},
            "demands the authentication strength “Phishing-resistant MFA”",
        ),
        (
            {
                "grant": None,
                "session": {"signInFrequency": {"isEnabled": True, "value": 4, "type": "hours"}},
            },
            "Then it limits the session (sign in again: 4 hours).",
        ),
        ({"grant": None}, "Then it asks for nothing."),
        ({"agents": {"includeAgentUsers": ["All"]}}, "the condition `agents`, which cannot be judged here."),
    ],
)  # fmt: skip
def test_a_policy_is_explained(kwargs: Any, said: str) -> None:
    assert said in words(**kwargs)


def test_long_lists_are_counted() -> None:
    assert "members of a, b, c, d, e or 3 more" in words(users={"includeGroups": list("abcdefgh")})


def test_a_sign_in_is_described() -> None:
    asked = sign_in(ipAddress="203.0.113.10", country="DE", clientAppType="other", devicePlatform="macOS")

    assert describe(asked, NAMES) == (
        "Ada Lovelace, to Office 365 Exchange Online, from 203.0.113.10 (DE), through clients with legacy "
        "authentication, on macOS"
    )
    assert describe(principal("robot", what=action("registerOrJoinDevices")), NAMES) == (
        "service principal robot, to register or join a device"
    )


def test_a_result_says_why() -> None:
    outside: Any = {"locations": {"includeLocations": ["All"], "excludeLocations": ["office"]}}

    assert because(result(sign_in(ipAddress="192.0.2.1"), **outside), NAMES) == (
        "It applies because it is about all users, for all resources; from anywhere except Office."
    )
    assert because(result(sign_in(), **outside), NAMES) == (
        "It does not apply: it is about other locations. Not given: the address."
    )
    assert because(result(sign_in(), strict=True, **outside), NAMES) == (
        "Nobody can tell whether it applies. Not known: the address."
    )


def test_a_result_names_only_what_the_sign_in_is_among() -> None:
    users = {
        "includeUsers": ["bob", "GuestsOrExternalUsers"],
        "includeGroups": ["g1", "g2"],
        "includeRoles": [GLOBAL_ADMIN, "other"],
        "excludeGroups": ["g3"],
    }
    asked = sign_in(user(groups=["g1"], roles=[GLOBAL_ADMIN]))

    assert because(result(asked, users=users), NAMES, asked) == (
        "It applies because it is about members of Break glass and holders of the role Global Administrator, "
        "for all resources."
    )
    everybody = {"includeUsers": ["All"], "includeGroups": ["g1"], "excludeGroups": ["g3"]}
    assert because(result(asked, users=everybody), NAMES, asked) == (
        "It applies because it is about all users, for all resources."
    )


def test_what_it_comes_to_is_one_sentence() -> None:
    either = {"operator": "OR", "builtInControls": ["compliantDevice", "domainJoinedDevice"]}
    both = verdict([policy("1", grant=MFA), policy("2", grant=either)], sign_in())

    assert summary(verdict([], sign_in()), NAMES) == "Allowed."
    assert summary(verdict([policy("1", grant=BLOCK)], sign_in()), NAMES) == "Blocked by “Policy 1”."
    assert clauses(both.controls, NAMES) == (
        "(a compliant device or a hybrid joined device) and multifactor authentication"
    )
    assert summary(both, NAMES) == f"Allowed with {clauses(both.controls, NAMES)}."


def test_every_reason_has_words() -> None:
    assert all(reason(each) for each in Reason)
