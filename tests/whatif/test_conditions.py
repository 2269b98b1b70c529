"""Each condition of a policy: what it includes and excludes, and the reason Graph has for it."""

from __future__ import annotations

from typing import Any

import pytest

from bot.whatif.apps import ADMIN_PORTALS, OFFICE_365
from bot.whatif.signins import Applications, Person, Principal, SignIn, read_person, read_request
from tests.whatif.small import (
    AZURE_PORTAL,
    EXCHANGE,
    GLOBAL_ADMIN,
    GRAPH,
    action,
    applies,
    context,
    principal,
    reasons,
    request,
    result,
    sign_in,
    user,
)

OTHER_APP = "11111111-1111-1111-1111-111111111111"
EVERY_GUEST = (
    "internalGuest,b2bCollaborationGuest,b2bCollaborationMember,b2bDirectConnectUser,otherExternalUser,serviceProvider"
)


def guests(kinds: str, *tenants: str) -> dict[str, Any]:
    some = {"membershipKind": "enumerated", "members": list(tenants)} if tenants else {"membershipKind": "all"}
    return {"guestOrExternalUserTypes": kinds, "externalTenants": some}


# --- Who --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("users", "who", "expected"),
    [
        ({"includeUsers": ["All"]}, user(), True),
        ({"includeUsers": ["All"]}, user(userType="guest"), True),
        ({"includeUsers": ["None"]}, user(), False),
        ({"includeUsers": ["ADA"]}, user(), True),
        ({"includeUsers": ["bob"]}, user(), False),
        ({"includeUsers": ["All"], "excludeUsers": ["ada"]}, user(), False),
        ({"includeUsers": ["ada"], "excludeUsers": ["All"]}, user(), False),
        ({"includeGroups": ["g1"]}, user(groups=["g1", "g2"]), True),
        ({"includeGroups": ["g1"]}, user(groups=["g2"]), False),
        ({"includeUsers": ["None"], "includeGroups": ["g1"]}, user(groups=["g1"]), True),
        ({"includeUsers": ["All"], "excludeGroups": ["g1"]}, user(groups=["g1"]), False),
        ({"includeRoles": [GLOBAL_ADMIN]}, user(roles=[GLOBAL_ADMIN.upper()]), True),
        ({"includeRoles": [GLOBAL_ADMIN]}, user(), False),
        ({"includeUsers": ["All"], "excludeRoles": [GLOBAL_ADMIN]}, user(roles=[GLOBAL_ADMIN]), False),
        ({"includeUsers": ["GuestsOrExternalUsers"]}, user(), False),
        ({"includeUsers": ["GuestsOrExternalUsers"]}, user(userType="guest"), True),
        ({"includeUsers": ["GuestsOrExternalUsers"]}, user(guestType="b2bCollaborationMember"), True),
        ({"includeUsers": ["All"], "excludeUsers": ["GuestsOrExternalUsers"]}, user(userType="guest"), False),
        ({"includeUsers": ["ada"], "excludeUsers": ["ada"]}, user(), False),
        ({}, user(), True),
        ({"excludeGroups": ["g1"]}, user(), True),
    ],
)
def test_users_are_included_and_excluded(users: Any, who: Any, expected: bool) -> None:
    found = result(sign_in(who), users=users)

    assert found.applies is expected
    assert found.failed == (() if expected else ("users",))


@pytest.mark.parametrize(
    ("clause", "who", "expected"),
    [
        (guests("b2bCollaborationGuest"), user(userType="guest", guestType="b2bCollaborationGuest"), True),
        (guests("internalGuest"), user(userType="guest", guestType="b2bCollaborationGuest"), False),
        (guests("b2bCollaborationMember"), user(guestType="b2bCollaborationMember"), True),
        (guests(EVERY_GUEST), user(), False),
        (guests(EVERY_GUEST), user(userType="guest"), True),
        (guests(EVERY_GUEST, "t1"), user(userType="guest", homeTenantId="T1"), True),
        (guests(EVERY_GUEST, "t1"), user(userType="guest", homeTenantId="t2"), False),
        (guests("serviceProvider", "t1"), user(guestType="serviceProvider", homeTenantId="t1"), True),
        ({"guestOrExternalUserTypes": EVERY_GUEST, "externalTenants": None}, user(userType="guest"), True),
    ],
)
def test_guests_are_told_apart_by_kind_and_tenant(clause: Any, who: Any, expected: bool) -> None:
    included = {"includeGuestsOrExternalUsers": clause}
    excluded = {"includeUsers": ["All"], "excludeGuestsOrExternalUsers": clause}

    assert applies(sign_in(who), users=included) is expected
    assert applies(sign_in(who), users=excluded) is not expected


def test_a_guest_of_whom_too_little_is_known_is_neither_in_nor_out() -> None:
    some_kind = user(userType="guest", homeTenantId="t1")
    some_tenant = user(userType="guest", guestType="internalGuest")

    for who, missing in ((some_kind, "externalUserType"), (some_tenant, "externalTenantId")):
        found = result(sign_in(who), strict=True, users={"includeGuestsOrExternalUsers": guests("internalGuest", "t1")})
        assert (found.applies, found.unknown) == (None, (missing,))


def test_the_request_may_say_what_kind_of_guest_it_is() -> None:
    body = request()
    body["signInIdentity"] |= {"externalUserType": "b2bDirectConnectUser", "externalTenantId": "t1"}
    asked = read_request(body, read_person(user(userType="guest", guestType="internalGuest")))

    assert applies(asked, users={"includeGuestsOrExternalUsers": guests("b2bDirectConnectUser", "t1")})


# --- Service principals -----------------------------------------------------------------------------------------------

WORKLOADS: Any = {"users": {"includeUsers": ["None"]}}


@pytest.mark.parametrize(
    ("principals", "expected"),
    [
        ({"includeServicePrincipals": ["ServicePrincipalsInMyTenant"]}, True),
        ({"includeServicePrincipals": ["robot"]}, True),
        ({"includeServicePrincipals": ["other"]}, False),
        ({"includeServicePrincipals": ["ServicePrincipalsInMyTenant"], "excludeServicePrincipals": ["robot"]}, False),
        ({"includeServicePrincipals": []}, False),
        (None, False),
    ],
)
def test_service_principals_are_included_and_excluded(principals: Any, expected: bool) -> None:
    found = result(principal(), clientApplications=principals, **WORKLOADS)

    assert found.applies is expected
    assert found.failed == (() if expected else ("workloadIdentities",))


def test_policies_for_workloads_do_not_reach_people_nor_those_for_people_workloads() -> None:
    own = {"includeServicePrincipals": ["ServicePrincipalsInMyTenant"]}

    assert reasons(sign_in(), clientApplications=own, users=None) == ["users"]
    assert reasons(principal()) == ["workloadIdentities"]


def test_managed_identities_and_foreign_applications_are_reached_by_no_policy() -> None:
    foreign = SignIn(Principal("robot", covered=False), Applications(frozenset({GRAPH})))

    assert reasons(foreign, clientApplications={"includeServicePrincipals": ["robot"]}) == ["workloadIdentities"]


def test_the_risk_of_a_service_principal_is_a_condition_of_its_policies() -> None:
    risky: Any = {
        "clientApplications": {"includeServicePrincipals": ["robot"]},
        "servicePrincipalRiskLevels": ["high"],
        **WORKLOADS,
    }

    assert applies(principal(servicePrincipalRiskLevel="high"), **risky)
    assert reasons(principal(servicePrincipalRiskLevel="low"), **risky) == ["workloadIdentities"]


def test_filters_by_security_attributes_cannot_be_seen_from_here() -> None:
    rule = {"mode": "include", "rule": 'CustomSecurityAttribute.Engineering_Certified -eq "yes"'}

    by_app = result(sign_in(), applications={"includeApplications": [], "applicationFilter": rule})
    by_principal = result(principal(), clientApplications={"servicePrincipalFilter": rule}, **WORKLOADS)

    assert (by_app.applies, by_app.unknown) == (None, ("application filter",))
    assert (by_principal.applies, by_principal.unknown) == (None, ("service principal filter",))
    assert by_app.reasons == ("notEnoughInformation",)


# --- What -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("applications", "what", "expected"),
    [
        ({"includeApplications": ["All"]}, OTHER_APP, True),
        ({"includeApplications": ["None"]}, OTHER_APP, False),
        ({"includeApplications": []}, OTHER_APP, True),
        ({"includeApplications": [OTHER_APP.upper()]}, OTHER_APP, True),
        ({"includeApplications": [EXCHANGE]}, OTHER_APP, False),
        ({"includeApplications": ["All"], "excludeApplications": [OTHER_APP]}, OTHER_APP, False),
        ({"includeApplications": ["Office365"]}, EXCHANGE, True),
        ({"includeApplications": ["Office365"]}, GRAPH, False),
        ({"includeApplications": ["All"], "excludeApplications": ["Office365"]}, EXCHANGE, False),
        ({"includeApplications": ["All"], "excludeApplications": ["Office365"]}, GRAPH, True),
        ({"includeApplications": ["MicrosoftAdminPortals"]}, AZURE_PORTAL, True),
        ({"includeApplications": ["MicrosoftAdminPortals"]}, GRAPH, False),
        ({"includeApplications": ["Office365"]}, "Office365", False),
        ({"includeApplications": [], "globalSecureAccess": {"includeTrafficProfiles": "m365"}}, EXCHANGE, False),
    ],
)
def test_applications_are_included_and_excluded(applications: Any, what: str, expected: bool) -> None:
    found = result(sign_in(what=what), applications=applications)

    assert found.applies is expected
    assert found.failed == (() if expected else ("application",))


def test_a_policy_for_one_of_several_resources_is_a_policy_for_the_sign_in() -> None:
    both = {"@odata.type": "#microsoft.graph.applicationContext", "includeApplications": [EXCHANGE, GRAPH]}
    all_but_exchange = {"includeApplications": ["All"], "excludeApplications": [EXCHANGE]}

    assert applies(sign_in(what=both), applications=all_but_exchange)
    assert applies(sign_in(what=both), applications={"includeApplications": [GRAPH]})


def test_the_groups_of_applications_hold_what_microsoft_lists() -> None:
    assert {EXCHANGE, "00000003-0000-0ff1-ce00-000000000000"} <= OFFICE_365.keys()
    assert GRAPH not in OFFICE_365.keys() | ADMIN_PORTALS.keys()


@pytest.mark.parametrize(
    ("applications", "what", "failed"),
    [
        ({"includeUserActions": ["urn:user:registersecurityinfo"]}, action("registerSecurityInformation"), []),
        ({"includeUserActions": ["urn:user:registerdevice"]}, action("registerOrJoinDevices"), []),
        ({"includeUserActions": ["urn:user:registerdevice"]}, action("registerSecurityInformation"), ["userActions"]),
        ({"includeUserActions": ["urn:user:registerdevice"]}, EXCHANGE, ["userActions"]),
        ({"includeApplications": [EXCHANGE]}, action("registerOrJoinDevices"), ["application"]),
        ({"includeApplications": ["All"]}, action("registerOrJoinDevices"), []),
        ({"includeAuthenticationContextClassReferences": ["c1", "c2"]}, context("c2"), []),
        ({"includeAuthenticationContextClassReferences": ["c1"]}, context("c2"), ["authenticationContext"]),
        ({"includeAuthenticationContextClassReferences": ["c1"]}, EXCHANGE, ["authenticationContext"]),
        ({"includeApplications": ["All"]}, context("c2"), []),
        ({"includeApplications": [EXCHANGE]}, None, ["application"]),
    ],
)
def test_user_actions_and_authentication_contexts_are_targets_too(
    applications: Any, what: Any, failed: list[str]
) -> None:
    assert [str(each) for each in result(sign_in(what=what), applications=applications).failed] == failed


# --- From where, through what -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("platforms", "platform", "expected"),
    [
        (None, "windows", True),
        ({"includePlatforms": ["all"]}, "windows", True),
        ({"includePlatforms": ["all"]}, None, True),
        ({"includePlatforms": ["iOS", "android"]}, "iOS", True),
        ({"includePlatforms": ["iOS", "android"]}, "linux", False),
        ({"includePlatforms": ["iOS"]}, "all", False),
        ({"includePlatforms": ["iOS"]}, None, False),
        ({"includePlatforms": ["all"], "excludePlatforms": ["windows"]}, "windows", False),
        ({"includePlatforms": ["all"], "excludePlatforms": ["windows"]}, "all", True),
        ({"includePlatforms": ["all"], "excludePlatforms": ["windows"]}, None, False),
    ],
)
def test_platforms_are_included_and_excluded(platforms: Any, platform: str | None, expected: bool) -> None:
    found = result(sign_in(devicePlatform=platform), platforms=platforms)

    assert found.applies is expected
    assert found.failed == (() if expected else ("devicePlatform",))


@pytest.mark.parametrize(
    ("types", "client", "expected"),
    [
        (["all"], "other", True),
        ([], "other", True),
        (["all"], None, True),
        (["browser", "other"], "other", True),
        (["browser"], "mobileAppsAndDesktopClients", False),
        (["browser"], "all", False),
        (["browser"], None, False),
        (["teleport"], "browser", False),
        (["exchangeActiveSync"], "easSupported", True),
        (["easSupported"], "exchangeActiveSync", False),
    ],
)
def test_clients_are_told_apart(types: list[str], client: str | None, expected: bool) -> None:
    found = result(sign_in(clientAppType=client), clientAppTypes=types)

    assert found.applies is expected
    assert found.failed == (() if expected else ("clientApps",))


@pytest.mark.parametrize(
    ("include", "exclude", "given", "expected"),
    [
        (["All"], [], {}, True),
        (["All"], ["office"], {"ipAddress": "203.0.113.10"}, False),
        (["All"], ["office"], {"ipAddress": "192.0.2.1"}, True),
        (["office"], [], {"ipAddress": "203.0.113.10"}, True),
        (["office"], [], {"ipAddress": "2001:db8:1::1"}, True),
        (["office"], [], {"ipAddress": "2001:db9::1"}, False),
        (["office"], [], {"ipAddress": "::ffff:203.0.113.10"}, True),
        (["branch"], [], {"ipAddress": "198.51.100.20"}, True),
        (["branch"], [], {"ipAddress": "198.51.100.21"}, False),
        (["AllTrusted"], [], {"ipAddress": "203.0.113.10"}, True),
        (["AllTrusted"], [], {"ipAddress": "198.51.100.20"}, False),
        (["All"], ["AllTrusted"], {"ipAddress": "203.0.113.10"}, False),
        (["All"], ["AllTrusted"], {"ipAddress": "198.51.100.20"}, True),
        (["north"], [], {"country": "NO"}, True),
        (["north"], [], {"country": "se"}, True),
        (["north"], [], {"country": "US"}, False),
        (["north"], [], {"country": ""}, False),
        (["nowhere"], [], {"country": ""}, True),
        (["All"], ["north"], {"ipAddress": "192.0.2.1", "country": "NO"}, False),
        (["office", "north"], [], {"ipAddress": "192.0.2.1", "country": "NO"}, True),
        (["office", "north"], [], {"ipAddress": "203.0.113.10"}, True),
        # What is not given is taken as a condition that fails:
        (["north"], [], {}, False),
        (["north"], [], {"ipAddress": "203.0.113.10"}, False),
        (["All"], ["north"], {"ipAddress": "203.0.113.10"}, False),
        (["All"], ["office"], {"country": "NO"}, False),
        (["All"], ["AllTrusted"], {}, False),
        # A sign-in that can be asked about never comes through the compliant network:
        (["All"], ["3d46dbda-8382-466a-856d-eb00cbc6b910"], {}, True),
    ],
)
def test_locations_are_networks_and_countries(
    include: list[str], exclude: list[str], given: Any, expected: bool
) -> None:
    found = result(sign_in(**given), locations={"includeLocations": include, "excludeLocations": exclude})

    assert found.applies is expected
    assert found.failed == (() if expected else ("location",))


def test_a_location_that_nobody_described_leaves_it_open() -> None:
    asked = sign_in(ipAddress="192.0.2.1", country="US")
    found = result(asked, locations={"includeLocations": ["All"], "excludeLocations": ["Gone"]})

    assert (found.applies, found.unknown) == (None, ("named location gone",))


@pytest.mark.parametrize(
    ("condition", "given", "reason"),
    [
        ("signInRiskLevels", "signInRiskLevel", "signInRisk"),
        ("userRiskLevels", "userRiskLevel", "userRisk"),
    ],
)
def test_risks_are_compared_by_level(condition: str, given: str, reason: str) -> None:
    levels: Any = {condition: ["medium", "high"]}

    assert applies(sign_in(**{given: "high"}), **levels)
    assert reasons(sign_in(**{given: "none"}), **levels) == [reason]
    assert reasons(sign_in(), **levels) == [reason]
    assert applies(sign_in(**{given: "none"}), signInRiskLevels=[], userRiskLevels=[])


def test_insider_risk_is_written_as_flags() -> None:
    levels: Any = {"insiderRiskLevels": "moderate,elevated"}

    assert applies(sign_in(insiderRiskLevel="moderate"), **levels)
    assert reasons(sign_in(insiderRiskLevel="minor"), **levels) == ["insiderRisk"]


def test_ways_of_signing_in_are_written_as_flags() -> None:
    flows: Any = {"authenticationFlows": {"transferMethods": "deviceCodeFlow,authenticationTransfer"}}

    assert applies(sign_in(authenticationFlow={"transferMethod": "deviceCodeFlow"}), **flows)
    assert applies(sign_in(authenticationFlow={"transferMethod": "deviceCodeFlow, none"}), **flows)
    assert reasons(sign_in(authenticationFlow={"transferMethod": "none"}), **flows) == ["authenticationFlow"]
    assert reasons(sign_in(), **flows) == ["authenticationFlow"]


@pytest.mark.parametrize(
    ("mode", "device", "expected"),
    [
        ("include", {"isCompliant": True}, True),
        ("include", {"isCompliant": False}, False),
        ("exclude", {"isCompliant": True}, False),
        ("exclude", {}, True),
        ("exclude", None, False),
        ("include", None, False),
    ],
)
def test_devices_are_filtered(mode: str, device: Any, expected: bool) -> None:
    devices = {"deviceFilter": {"mode": mode, "rule": "device.isCompliant -eq True"}}
    found = result(sign_in(deviceInfo=device), devices=devices)

    assert found.applies is expected
    assert found.failed == (() if expected else ("devices",))


def test_a_filter_that_cannot_be_read_leaves_it_open() -> None:
    devices = {"deviceFilter": {"mode": "include", "rule": "device.model -resembles 'Surface'"}}
    found = result(sign_in(deviceInfo={}), devices=devices)

    assert (found.applies, found.unknown) == (None, ("device filter",))


def test_a_filter_of_a_kind_that_is_not_known_leaves_it_open() -> None:
    devices = {"deviceFilter": {"mode": "unknownFutureValue", "rule": "device.isCompliant -eq True"}}
    found = result(sign_in(deviceInfo={"isCompliant": True}), devices=devices)

    assert (found.applies, found.unknown) == (None, ("devices.deviceFilter.mode",))


# --- The policy itself ------------------------------------------------------------------------------------------------


def test_every_condition_that_fails_is_told_in_the_order_of_graph() -> None:
    asked = sign_in(
        what=GRAPH, ipAddress="192.0.2.1", country="US", devicePlatform="linux", clientAppType="browser",
        signInRiskLevel="none", userRiskLevel="none", insiderRiskLevel="none", deviceInfo={},
        authenticationFlow={"transferMethod": "none"},
    )  # fmt: skip

    assert reasons(
        asked,
        users={"includeUsers": ["bob"]},
        applications={"includeApplications": [EXCHANGE]},
        authenticationFlows={"transferMethods": "deviceCodeFlow"},
        insiderRiskLevels="elevated",
        userRiskLevels=["high"],
        signInRiskLevels=["high"],
        locations={"includeLocations": ["office"]},
        clientAppTypes=["other"],
        devices={"deviceFilter": {"mode": "include", "rule": 'device.model -eq "x"'}},
        platforms={"includePlatforms": ["iOS"]},
    ) == [
        "users", "application", "devicePlatform", "devices", "clientApps", "location", "signInRisk", "userRisk",
        "insiderRisk", "authenticationFlow",
    ]  # fmt: skip


def test_a_policy_that_is_off_is_not_looked_at_any_further() -> None:
    assert reasons(sign_in(), state="disabled", users={"includeUsers": ["bob"]}) == ["policyNotEnabled"]


def test_a_policy_that_says_nothing_is_empty() -> None:
    assert reasons(sign_in(), users=None, applications=None, grant=None) == ["emptyPolicy"]


@pytest.mark.parametrize(
    ("conditions", "unknown"),
    [
        ({"state": "enabledOnSundays"}, "state enabledOnSundays"),
        ({"times": {"includeAllTimes": False, "includedRanges": ["a"]}}, "times"),
        ({"phaseOfTheMoon": ["full"]}, "phaseOfTheMoon"),
        ({"devices": {"includeDevices": ["All"]}}, "devices.includeDevices"),
    ],
)
def test_what_is_not_known_here_leaves_it_open(conditions: Any, unknown: str) -> None:
    found = result(sign_in(), **conditions)

    assert (found.applies, found.unknown) == (None, (unknown,))
    assert result(sign_in(), **conditions, platforms={"includePlatforms": ["iOS"]}).applies is False


def test_what_is_not_known_and_says_nothing_does_not_matter() -> None:
    assert applies(sign_in(), times=None, clients=[], deviceStates={"@odata.type": "#x", "includeStates": []})


@pytest.mark.parametrize(
    ("conditions", "missing"),
    [
        ({"users": {"includeUsers": ["All"], "excludeGroups": ["g"]}}, "groups"),
        ({"users": {"includeRoles": ["r"]}}, "roles"),
        ({"applications": {"includeApplications": [EXCHANGE]}}, "signInContext"),
        ({"platforms": {"includePlatforms": ["iOS"]}}, "devicePlatform"),
        ({"clientAppTypes": ["browser"]}, "clientAppType"),
        ({"locations": {"includeLocations": ["office"]}}, "ipAddress"),
        ({"locations": {"includeLocations": ["north"]}}, "country"),
        ({"signInRiskLevels": ["high"]}, "signInRiskLevel"),
        ({"userRiskLevels": ["high"]}, "userRiskLevel"),
        ({"insiderRiskLevels": "elevated"}, "insiderRiskLevel"),
        ({"authenticationFlows": {"transferMethods": "deviceCodeFlow"}}, "authenticationFlow"),
        ({"devices": {"deviceFilter": {"mode": "exclude", "rule": "device.isCompliant -eq True"}}}, "deviceInfo"),
    ],
)
def test_strictly_what_was_not_given_is_named_and_otherwise_it_fails(conditions: Any, missing: str) -> None:
    nothing = SignIn(Person("ada"))
    strictly, freely = result(nothing, strict=True, **conditions), result(nothing, **conditions)

    assert (strictly.applies, strictly.unknown) == (None, (missing,))
    assert (freely.applies, freely.unknown) == (False, (missing,))
