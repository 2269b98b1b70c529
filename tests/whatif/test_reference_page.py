"""The four examples of Graph's page *conditionalAccessRoot: evaluate*, written anew from what it states.

The page shows part of what a tenant would answer; so what it shows has to be there.
"""

from __future__ import annotations

from typing import Any

import pytest

from bot.whatif.evaluation import PolicySet
from bot.whatif.locations import read_locations
from bot.whatif.policies import read_policies
from bot.whatif.signins import read_person, read_request
from tests.whatif.small import GLOBAL_ADMIN, raw_policy

SHAREPOINT = "00000003-0000-0ff1-ce00-000000000000"
PERSON = "15dc174b-f34c-4588-ac45-61d6e05dce93"
LEFT_OUT = "f7ca74b0-8562-4083-b66c-0476f942cfd0"
ROBOT = "c65b94a5-0049-439a-a6fd-bce307077730"
REPORTING = "enabledForReportingButNotEnforced"

ALL_BUT_ONE = {"includeUsers": ["All"], "excludeUsers": [LEFT_OUT]}
MFA_STRENGTH = {"operator": "OR", "authenticationStrength": {"id": "00000000-0000-0000-0000-000000000002"}}
OWN_PRINCIPALS = {
    "users": {"includeUsers": ["None"]},
    "clientApplications": {"includeServicePrincipals": ["ServicePrincipalsInMyTenant"]},
}


def reporting(name: str, **kwargs: Any) -> Any:
    return raw_policy(name, state=REPORTING, **kwargs)


POLICIES = [
    reporting(
        "office",
        users=ALL_BUT_ONE,
        applications={"includeApplications": ["Office365"]},
        grant=None,
        session={"applicationEnforcedRestrictions": {"isEnabled": True}, "cloudAppSecurity": None},
    ),
    reporting(
        "password",
        users=ALL_BUT_ONE,
        userRiskLevels=["high"],
        grant={"operator": "AND", "builtInControls": ["mfa", "passwordChange"]},
    ),
    reporting(
        "context",
        applications={"includeAuthenticationContextClassReferences": ["c1", "c37"]},
        grant=MFA_STRENGTH,
    ),
    reporting("admins", users={"includeRoles": [GLOBAL_ADMIN], "excludeUsers": [LEFT_OUT]}),
    reporting(
        "action",
        users=ALL_BUT_ONE,
        applications={"includeUserActions": ["urn:user:registersecurityinfo"]},
        grant=MFA_STRENGTH,
    ),
    reporting(
        "principals anywhere",
        locations={"includeLocations": ["All"]},
        grant={"operator": "OR", "builtInControls": ["block"]},
        **OWN_PRINCIPALS,
    ),
    reporting("principals", grant={"operator": "OR", "builtInControls": ["block"]}, **OWN_PRINCIPALS),
]

BY_A_PERSON = {"@odata.type": "#microsoft.graph.userSignIn", "userId": PERSON}
TO_SHAREPOINT = {"@odata.type": "#microsoft.graph.applicationContext", "includeApplications": [SHAREPOINT]}

EXAMPLES = {
    "an application": (
        BY_A_PERSON,
        TO_SHAREPOINT,
        {
            "devicePlatform": "android",
            "clientAppType": "browser",
            "signInRiskLevel": "high",
            "userRiskLevel": "high",
            "country": "US",
            "ipAddress": "40.77.182.32",
            "insiderRiskLevel": "elevated",
            "authenticationFlow": {"transferMethod": "deviceCodeFlow"},
            "deviceInfo": {"isCompliant": True},
        },
        {"office", "password"},
    ),
    "an authentication context": (
        BY_A_PERSON,
        {"@odata.type": "#microsoft.graph.authContext", "authenticationContextValue": "c37"},
        {
            "devicePlatform": "windows",
            "clientAppType": "mobileAppsAndDesktopClients",
            "signInRiskLevel": "medium",
            "userRiskLevel": "none",
            "country": "US",
            "ipAddress": "40.77.182.32",
            "insiderRiskLevel": "moderate",
            "authenticationFlow": {"transferMethod": "authenticationTransfer"},
            "deviceInfo": {"profileType": "Standard"},
        },
        {"context"},
    ),
    "a user action": (
        BY_A_PERSON,
        {"@odata.type": "#microsoft.graph.userActionContext", "userAction": "registerSecurityInformation"},
        {
            "devicePlatform": "macOS",
            "clientAppType": "browser",
            "signInRiskLevel": "low",
            "userRiskLevel": "high",
            "servicePrincipalRiskLevel": "none",
            "country": "CA",
            "ipAddress": "40.77.182.32",
            "insiderRiskLevel": "minor",
            "authenticationFlow": {"transferMethod": "deviceCodeFlow"},
            "deviceInfo": {"trustType": "EntraID"},
        },
        {"password", "admins", "action"},
    ),
    "a service principal": (
        {"@odata.type": "#microsoft.graph.servicePrincipalSignIn", "servicePrincipalId": ROBOT},
        TO_SHAREPOINT,
        {"servicePrincipalRiskLevel": "high", "country": "CA", "ipAddress": "40.77.182.32"},
        {"principals anywhere", "principals"},
    ),
}


@pytest.mark.parametrize(("identity", "context", "conditions", "stated"), EXAMPLES.values(), ids=EXAMPLES)
def test_what_the_page_states_comes_true(identity: Any, context: Any, conditions: Any, stated: set[str]) -> None:
    body = {
        "signInIdentity": identity,
        "signInContext": context,
        "signInConditions": conditions,
        "appliedPoliciesOnly": True,
    }
    person = read_person({"id": PERSON, "groups": [], "roles": [GLOBAL_ADMIN]})
    asked = read_request(body, person)
    verdict = PolicySet.compile(read_policies(POLICIES), read_locations([])).evaluate(asked)

    assert stated <= {result.policy.id for result in verdict.results if result.applies}
    assert asked.to_request(applied_only=True) == body


LOCATED: dict[str, Any] = {
    "users": {"includeUsers": ["All"]},
    "applications": {"includeApplications": ["Office365"]},
    "locations": {"includeLocations": ["us"]},
    "signInRiskLevels": ["high"],
}
UNITED_STATES = {"@odata.type": "#microsoft.graph.countryNamedLocation", "id": "us", "countriesAndRegions": ["US"]}


@pytest.mark.parametrize(
    ("context", "conditions", "applies"),
    [
        (None, {}, False),
        (TO_SHAREPOINT, {}, False),
        (TO_SHAREPOINT, {"country": "US"}, False),
        (TO_SHAREPOINT, {"country": "US", "signInRiskLevel": "high"}, True),
    ],
)
def test_what_is_left_out_keeps_a_policy_from_applying(context: Any, conditions: Any, applies: bool) -> None:
    """The table on the page *The Conditional Access What If tool*."""
    body = {"signInIdentity": BY_A_PERSON, "signInContext": context, "signInConditions": conditions}
    policies = PolicySet.compile(read_policies([raw_policy(**LOCATED)]), read_locations([UNITED_STATES]))

    assert policies.evaluate(read_request(body)).results[0].applies is applies
