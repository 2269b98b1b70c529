"""Small policies, locations and sign-ins to ask about."""

from __future__ import annotations

from typing import Any

from bot.whatif.evaluation import PolicyResult, PolicySet, Verdict
from bot.whatif.locations import read_locations
from bot.whatif.policies import Policy, read_policy
from bot.whatif.signins import SignIn, read_person, read_request

JSON = Any

EXCHANGE = "00000002-0000-0ff1-ce00-000000000000"
GRAPH = "00000003-0000-0000-c000-000000000000"
AZURE_PORTAL = "c44b4083-3bb0-49c1-b47d-974e53cbdf3c"
GLOBAL_ADMIN = "62e90394-69f5-4237-9190-012177145e10"

OFFICE = {
    "@odata.type": "#microsoft.graph.ipNamedLocation",
    "id": "office",
    "displayName": "Office",
    "isTrusted": True,
    "ipRanges": [
        {"@odata.type": "#microsoft.graph.iPv4CidrRange", "cidrAddress": "203.0.113.0/24"},
        {"@odata.type": "#microsoft.graph.iPv6CidrRange", "cidrAddress": "2001:db8::/32"},
    ],
}
BRANCH = {
    "@odata.type": "#microsoft.graph.ipNamedLocation",
    "id": "branch",
    "displayName": "Branch",
    "isTrusted": False,
    "ipRanges": [{"lowerAddress": "198.51.100.10", "upperAddress": "198.51.100.20"}],
}
NORTH = {
    "@odata.type": "#microsoft.graph.countryNamedLocation",
    "id": "north",
    "displayName": "North",
    "countriesAndRegions": ["NO", "SE"],
    "includeUnknownCountriesAndRegions": False,
}
NOWHERE = {**NORTH, "id": "nowhere", "displayName": "Nowhere", "includeUnknownCountriesAndRegions": True}
COMPLIANT = {
    "@odata.type": "#microsoft.graph.compliantNetworkNamedLocation",
    "id": "3d46dbda-8382-466a-856d-eb00cbc6b910",
    "displayName": "All Compliant Network locations",
    "isTrusted": True,
}
LOCATIONS = [OFFICE, BRANCH, NORTH, NOWHERE, COMPLIANT]

MFA = {"operator": "OR", "builtInControls": ["mfa"]}
BLOCK = {"operator": "OR", "builtInControls": ["block"]}


def raw_policy(
    id_: str = "p", *, state: str = "enabled", grant: JSON = MFA, session: JSON = None, **conditions: JSON
) -> JSON:
    """A policy for everybody and everything, if *conditions* do not say otherwise."""
    return {
        "id": id_,
        "displayName": f"Policy {id_}",
        "state": state,
        "conditions": {
            "users": {"includeUsers": ["All"]},
            "applications": {"includeApplications": ["All"]},
            "clientAppTypes": ["all"],
            **conditions,
        },
        "grantControls": grant,
        "sessionControls": session,
    }


def policy(id_: str = "p", **kwargs: Any) -> Policy:
    return read_policy(raw_policy(id_, **kwargs))


ADA: JSON = {"id": "ada", "userType": "member", "guestType": None, "homeTenantId": None, "groups": [], "roles": []}


def user(**facts: JSON) -> JSON:
    return {**ADA, **facts}


def request(*, what: JSON = EXCHANGE, **conditions: JSON) -> JSON:
    """A user asks for *what*: an application's id, a whole context, or None for nothing said."""
    context = what
    if isinstance(what, str):
        context = {"@odata.type": "#microsoft.graph.applicationContext", "includeApplications": [what]}
    return {
        "signInIdentity": {"@odata.type": "#microsoft.graph.userSignIn", "userId": "ada"},
        "signInContext": context,
        "signInConditions": conditions,
    }


def action(name: str) -> JSON:
    return {"@odata.type": "#microsoft.graph.userActionContext", "userAction": name}


def context(name: str) -> JSON:
    return {"@odata.type": "#microsoft.graph.authContext", "authenticationContextValue": name}


def sign_in(who: JSON = None, **asked: JSON) -> SignIn:
    return read_request(request(**asked), read_person(who or ADA))


def principal(id_: str = "robot", **asked: JSON) -> SignIn:
    body = request(**asked)
    identity = {"@odata.type": "#microsoft.graph.servicePrincipalSignIn", "servicePrincipalId": id_}
    return read_request({**body, "signInIdentity": identity})


def verdict(policies: list[Policy], asked: SignIn, *, strict: bool = False) -> Verdict:
    return PolicySet.compile(policies, read_locations(LOCATIONS)).evaluate(asked, strict=strict)


def result(asked: SignIn, *, strict: bool = False, **conditions: JSON) -> PolicyResult:
    """What one policy with these conditions does."""
    return verdict([policy(**conditions)], asked, strict=strict).results[0]


def applies(asked: SignIn, *, strict: bool = False, **conditions: JSON) -> bool | None:
    return result(asked, strict=strict, **conditions).applies


def reasons(asked: SignIn, *, strict: bool = False, **conditions: JSON) -> list[str]:
    return [str(reason) for reason in result(asked, strict=strict, **conditions).reasons]
