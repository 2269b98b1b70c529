"""Conditional Access of the pretend tenant, over HTTP: its policies in Graph, and what they do to sign-ins."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.conditional_access import read_policies
from sandbox.device_filter import FilterError, parse
from sandbox.dialogue import ChangePolicies, DialogueError
from sandbox.dialogue import parse as parse_dialogue
from sandbox.directory import SERVICE_ACCOUNT
from sandbox.world import World
from tests.sandbox.tenant_servers import Answer, TenantServers, tenant_servers
from tests.sandbox.test_play import Stage

ROOT = "/identity/conditionalAccess"
POLICIES = f"{ROOT}/policies"
LOCATIONS = f"{ROOT}/namedLocations"
DEFAULTS = "/policies/identitySecurityDefaultsEnforcementPolicy"
WRITE = ("Policy.Read.All", "Policy.ReadWrite.ConditionalAccess", "Application.Read.All")
ANA = "ana.admin@contoso.com"
GRAPH = "00000003-0000-0000-c000-000000000000"
EVERYBODY = {
    "clientAppTypes": ["all"],
    "applications": {"includeApplications": ["All"]},
    "users": {"includeUsers": ["All"]},
}
BLOCK = {"operator": "OR", "builtInControls": ["block"]}
OFFICE = {
    "@odata.type": "#microsoft.graph.ipNamedLocation",
    "displayName": "Office",
    "isTrusted": False,
    "ipRanges": [{"@odata.type": "#microsoft.graph.iPv4CidrRange", "cidrAddress": "203.0.113.0/24"}],
}


def policy(name: str = "A policy", state: str = "enabled", **more: Any) -> dict[str, Any]:
    conditions = {**EVERYBODY, **more.pop("conditions", {})}
    return {"displayName": name, "state": state, "conditions": conditions, "grantControls": BLOCK, **more}


@pytest.fixture
async def tenant() -> AsyncIterator[TenantServers]:
    async with tenant_servers() as servers:
        yield servers


class Admin:
    """An administrator's hands in Graph."""

    def __init__(self, tenant: TenantServers, token: str) -> None:
        self._tenant, self._token = tenant, token

    async def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        return await self._tenant.call(self._token, method, path, body, headers)

    async def make(self, path: str, body: Any) -> str:
        answer = await self("POST", path, body)
        assert answer.status == 201, answer.body
        return str(answer.body["id"])


@pytest.fixture
async def admin(tenant: TenantServers) -> Admin:
    return Admin(tenant, await tenant.person_token(ANA, *WRITE))


async def code(tenant: TenantServers, **how: Any) -> int:
    answer = await tenant.sign_in(**how)
    return 0 if "access_token" in answer else int(answer["error_codes"][0])


# Policies in Graph


async def test_a_policy_is_made_read_changed_and_deleted_and_the_audit_log_tells_all_of_it(
    tenant: TenantServers, admin: Admin
) -> None:
    made = (await admin("POST", POLICIES, policy(state="disabled"))).body
    changed = await admin("PATCH", f"{POLICIES}/{made['id']}", {"state": "enabled"})
    read = (await admin("GET", f"{POLICIES}/{made['id']}")).body
    deleted = await admin("DELETE", f"{POLICIES}/{made['id']}")

    assert (changed.status, deleted.status) == (204, 204)
    assert (made["modifiedDateTime"], read["state"]) == (None, "enabled")
    assert read["modifiedDateTime"] > read["createdDateTime"]
    assert read["conditions"]["users"]["excludeUsers"] == []
    assert read["conditions"]["locations"] is None
    token = await tenant.app_token()
    wanted = f"targetResources/any(t:t/id%20eq%20'{made['id']}')"
    audits = (await tenant.call(token, "GET", f"/auditLogs/directoryAudits?$filter={wanted}")).body["value"]
    assert [audit["activityDisplayName"].split()[0] for audit in audits] == ["Delete", "Update", "Add"]
    [change] = audits[1]["targetResources"][0]["modifiedProperties"]
    assert [json.loads(change[name])["state"] for name in ("oldValue", "newValue")] == ["disabled", "enabled"]
    assert audits[1]["initiatedBy"]["user"]["userPrincipalName"] == ANA


async def test_a_change_replaces_users_as_a_whole_and_leaves_the_other_conditions(admin: Admin) -> None:
    users = {"includeUsers": ["All"], "excludeUsers": [], "excludeGroups": ["c70b4b14-5c99-406a-bb69-c9b80f9eaa05"]}
    made = await admin.make(POLICIES, policy(conditions={"users": users, "platforms": {"includePlatforms": ["iOS"]}}))

    await admin("PATCH", f"{POLICIES}/{made}", {"conditions": {"users": {"includeUsers": ["All"]}}})

    conditions = (await admin("GET", f"{POLICIES}/{made}")).body["conditions"]
    assert conditions["users"]["excludeGroups"] == []
    assert conditions["platforms"] == {"includePlatforms": ["iOS"], "excludePlatforms": []}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param(policy() | {"name": "x"}, "1007", id="unknown property"),
        pytest.param(policy() | {"id": "x"}, "read-only", id="read-only property"),
        pytest.param(policy(state="on"), "1007", id="state"),
        pytest.param(policy(conditions={"clientAppTypes": []}), "clientAppTypes", id="no client kinds"),
        pytest.param(policy(conditions={"times": None}), "1007", id="not in v1.0"),
        pytest.param(policy(conditions={"users": {}}), "NoUsers", id="nobody"),
        pytest.param(policy(conditions={"users": {"includeUsers": ["Everybody"]}}), "does not exist", id="a word"),
        pytest.param(policy(conditions={"locations": {"includeLocations": ["x"]}}), "1040", id="location"),
        pytest.param(policy(grantControls=None), "NoControls", id="no controls"),
        pytest.param(
            policy(grantControls={"operator": "OR", "builtInControls": ["block", "mfa"]}), "Block", id="block and more"
        ),
        pytest.param(
            policy(grantControls={"operator": "AND", "builtInControls": ["mfa", "passwordChange"]}),
            "InvalidPasswordResetControl",
            id="password change without risk",
        ),
        pytest.param(
            policy(conditions={"devices": {"deviceFilter": {"mode": "include", "rule": "device.x -is 1"}}}),
            "InvalidFilter",
            id="device filter",
        ),
    ],
)
async def test_a_policy_that_graph_would_not_take_is_refused(admin: Admin, body: Any, why: str) -> None:
    answer = await admin("POST", POLICIES, body)

    assert (answer.status, answer.code) == (400, "BadRequest")
    assert why in answer.body["error"]["message"]


async def test_a_location_is_checked_and_kept_while_it_is_trusted_or_used(admin: Admin) -> None:
    for cidr in ("10.1.0.0/16", "203.0.113.10", "11.0.0.0/8", "2001:db8::/64", "300.0.0.0/24"):
        ranges = [{"@odata.type": "#microsoft.graph.iPv4CidrRange", "cidrAddress": cidr}]
        assert (await admin("POST", LOCATIONS, OFFICE | {"ipRanges": ranges})).status == 400
    assert (await admin("POST", LOCATIONS, OFFICE | {"ipRanges": OFFICE["ipRanges"] * 2001})).status == 400  # type: ignore[operator]
    assert (await admin("POST", LOCATIONS, {"displayName": "No type"})).status == 400
    office = await admin.make(LOCATIONS, OFFICE | {"isTrusted": True})
    trusted = await admin("DELETE", f"{LOCATIONS}/{office}")
    untrusted = {"@odata.type": OFFICE["@odata.type"], "isTrusted": False}
    assert (await admin("PATCH", f"{LOCATIONS}/{office}", untrusted)).status == 204
    locations = {"includeLocations": ["All"], "excludeLocations": [office]}
    made = await admin.make(POLICIES, policy(state="disabled", conditions={"locations": locations}))
    used = await admin("DELETE", f"{LOCATIONS}/{office}")
    await admin("DELETE", f"{POLICIES}/{made}")

    assert (trusted.status, used.status) == (400, 400)
    assert (await admin("DELETE", f"{LOCATIONS}/{office}")).status == 204


async def test_who_may_do_what(tenant: TenantServers, admin: Admin) -> None:
    bot, service = await tenant.app_token(), await tenant.service_token()
    half = await tenant.person_token(ANA, "Policy.Read.All", "Policy.ReadWrite.ConditionalAccess")
    roleless = await tenant.person_token("bo.admin@contoso.com", "Policy.Read.All")

    assert (await tenant.call(bot, "GET", POLICIES)).status == 200
    assert (await tenant.call(bot, "POST", POLICIES, policy())).status == 403
    assert (await tenant.call(half, "POST", POLICIES, policy())).status == 403
    assert (await tenant.call(half, "POST", LOCATIONS, OFFICE)).status == 201
    assert (await tenant.call(roleless, "GET", POLICIES)).status == 403
    assert (await tenant.call(service, "GET", POLICIES)).status == 403
    assert (await tenant.call(service, "GET", "/auditLogs/signIns")).status == 403


async def test_a_call_too_soon_is_throttled_without_saying_for_how_long(tenant: TenantServers, admin: Admin) -> None:
    tenant.entra.access.seconds_between_calls = 1.0

    answers = [await admin("GET", POLICIES), await admin("GET", LOCATIONS)]
    tenant.clock.advance(1.1)
    answers.append(await admin("GET", POLICIES))

    assert [answer.status for answer in answers] == [200, 429, 200]
    assert "Retry-After" not in answers[1].headers


async def test_reads_lag_behind_writes_for_a_while(tenant: TenantServers, admin: Admin) -> None:
    tenant.entra.access.read_lag = 5.0
    made = await admin.make(POLICIES, policy(state="disabled"))

    assert (await admin("GET", f"{POLICIES}/{made}")).status == 404
    tenant.clock.advance(6)
    assert (await admin("GET", f"{POLICIES}/{made}")).status == 200


async def test_security_defaults_and_enabled_policies_do_not_go_together(tenant: TenantServers, admin: Admin) -> None:
    token = await tenant.person_token(ANA, "Policy.Read.All", "Policy.ReadWrite.SecurityDefaults")

    on = await tenant.call(token, "PATCH", DEFAULTS, {"isEnabled": True})
    refused = await admin("POST", POLICIES, policy())
    off = await tenant.call(token, "PATCH", DEFAULTS, {"isEnabled": False})
    await admin.make(POLICIES, policy(state="enabled", conditions={"users": {"includeUsers": ["None"]}}))

    assert (on.status, refused.status, off.status) == (204, 400, 204)
    assert (await tenant.call(token, "PATCH", DEFAULTS, {"isEnabled": True})).status == 400


# What-if


def what_if(tenant: TenantServers, **conditions: Any) -> dict[str, Any]:
    return {
        "signInIdentity": {
            "@odata.type": "#microsoft.graph.userSignIn",
            "userId": tenant.directory.user(SERVICE_ACCOUNT).id,
        },
        "signInContext": {"@odata.type": "#microsoft.graph.applicationContext", "includeApplications": [GRAPH]},
        "signInConditions": conditions,
    }


REASONS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {}, "notSet"),
    ({"users": {"includeUsers": ["All"], "excludeRoles": ["fe930be7-5e62-47db-91af-98c3a49a38b1"]}}, {}, "users"),
    ({"users": {"includeUsers": ["GuestsOrExternalUsers"]}}, {}, "users"),
    ({"applications": {"includeApplications": ["Office365"]}}, {}, "application"),
    ({"applications": {"includeUserActions": ["urn:user:registerdevice"]}}, {}, "application"),
    ({"platforms": {"includePlatforms": ["all"], "excludePlatforms": ["iOS"]}}, {}, "devicePlatform"),
    ({"platforms": {"includePlatforms": ["all"], "excludePlatforms": ["iOS"]}}, {"devicePlatform": "linux"}, "notSet"),
    ({"devices": {"deviceFilter": {"mode": "exclude", "rule": "device.isCompliant -eq True"}}}, {}, "devices"),
    (
        {"devices": {"deviceFilter": {"mode": "exclude", "rule": "device.isCompliant -eq True"}}},
        {"deviceInfo": {"isCompliant": False}},
        "notSet",
    ),
    ({"clientAppTypes": ["browser"]}, {"clientAppType": "mobileAppsAndDesktopClients"}, "clientApps"),
    ({"clientAppTypes": ["browser"]}, {}, "clientApps"),
    ({"locations": {"includeLocations": ["All"]}}, {}, "notSet"),
    ({"locations": {"includeLocations": ["All"], "excludeLocations": ["AllTrusted"]}}, {}, "location"),
    (
        {"locations": {"includeLocations": ["All"], "excludeLocations": ["AllTrusted"]}},
        {"ipAddress": "203.0.113.7"},
        "location",
    ),
    (
        {"locations": {"includeLocations": ["All"], "excludeLocations": ["AllTrusted"]}},
        {"ipAddress": "192.0.2.1"},
        "notSet",
    ),
    ({"signInRiskLevels": ["high"]}, {}, "signInRisk"),
    ({"userRiskLevels": ["high"]}, {"userRiskLevel": "low"}, "userRisk"),
    ({"insiderRiskLevels": "moderate,elevated"}, {"insiderRiskLevel": "elevated"}, "notSet"),
    ({"authenticationFlows": {"transferMethods": "deviceCodeFlow"}}, {}, "authenticationFlow"),
]


async def test_what_if_says_for_each_policy_whether_it_applies_and_else_the_first_reason(
    tenant: TenantServers, admin: Admin
) -> None:
    await admin.make(LOCATIONS, OFFICE | {"isTrusted": True})
    token = await tenant.app_token()
    for conditions, given, wanted in REASONS:
        made = await admin.make(POLICIES, policy(conditions=conditions))
        answer = await tenant.call(token, "POST", f"{ROOT}/evaluate", what_if(tenant, **given))
        [row] = answer.body["value"]
        assert (row["policyApplies"], row["analysisReasons"]) == (wanted == "notSet", wanted), conditions
        await admin("DELETE", f"{POLICIES}/{made}")


async def test_what_if_wants_its_three_parts_and_knows_principals_and_contexts(
    tenant: TenantServers, admin: Admin
) -> None:
    clients = {"includeServicePrincipals": ["ServicePrincipalsInMyTenant"]}
    await admin.make(POLICIES, policy(conditions={"users": {"includeUsers": ["None"]}, "clientApplications": clients}))
    await admin.make(POLICIES, policy("All", "enabledForReportingButNotEnforced"))
    await admin.make(POLICIES, policy("Off", "disabled"))
    body = what_if(tenant)
    apps = tenant.directory.applications

    async def ask(**changes: Any) -> Any:
        return (await admin("POST", f"{ROOT}/evaluate", {**body, **changes})).body

    def principal(key: str) -> dict[str, str]:
        kind = "#microsoft.graph.servicePrincipalSignIn"
        return {"@odata.type": kind, "servicePrincipalId": apps[key].principal_id}

    worker = (await ask(signInIdentity=principal("worker"), appliedPoliciesOnly=True))["value"]
    managed = (await ask(signInIdentity=principal("managed"), appliedPoliciesOnly=True))["value"]
    action = {"@odata.type": "#microsoft.graph.userActionContext", "userAction": "registerSecurityInformation"}
    context = {"@odata.type": "#microsoft.graph.authContext", "authenticationContextValue": "c1"}

    assert [row["displayName"] for row in worker] == ["A policy"]
    assert managed == []
    assert [row["analysisReasons"] for row in (await ask(signInContext=action))["value"]] == [
        "users",
        "notSet",
        "policyNotEnabled",
    ]
    assert (await ask(signInContext=context))["value"][1]["analysisReasons"] == "authenticationContext"
    assert "error" in await ask(signInConditions=None)
    assert "error" in await ask(signInIdentity={"userId": "x"})
    assert "error" in await ask(signInContext={"@odata.type": "#microsoft.graph.applicationContext"})


# Sign-ins


@pytest.mark.parametrize(
    ("file", "refused"),
    [
        ("mfa-for-admins.json", 50079),
        ("country-block.json", 53003),
        ("block-outside-office.json", 53003),
        ("compliant-device.json", 53000),
        ("legacy-clients-blocked.json", 0),
        ("report-only-block.json", 0),
    ],
)
async def test_the_policies_that_come_along_do_what_they_say_to_the_service_account(
    tenant: TenantServers, admin: Admin, file: str, refused: int
) -> None:
    tenant.entra.access.add_from_file(file)

    assert await code(tenant) == refused
    assert await code(tenant, password="wrong") == 50126
    assert tenant.entra.access.sign_ins[-1].judgement.outcomes == ()
    assert await tenant.person_token(ANA, "User.Read")  # people at their desks go on


async def test_the_sign_in_log_has_the_sign_in_by_its_correlation_id_and_what_each_policy_did(
    tenant: TenantServers,
) -> None:
    access = tenant.entra.access
    access.add_from_file("mfa-for-admins.json")
    access.add_from_file("report-only-block.json")
    access.log_delay = 60
    refused = await tenant.sign_in()
    token = await tenant.app_token()
    wanted = f"/auditLogs/signIns?$filter=correlationId%20eq%20'{refused['correlation_id']}'"
    at_once = (await tenant.call(token, "GET", wanted)).body["value"]
    tenant.clock.advance(61)

    [row] = (await tenant.call(token, "GET", wanted, None, {"Prefer": "include-unknown-enum-members"})).body["value"]

    assert at_once == []
    assert (row["status"]["errorCode"], row["conditionalAccessStatus"]) == (50079, "failure")
    assert (row["ipAddress"], row["location"]["countryOrRegion"]) == ("203.0.113.10", "IE")
    assert row["clientAppUsed"] == "Mobile Apps and Desktop clients"
    assert [(one["displayName"], one["result"]) for one in row["appliedConditionalAccessPolicies"]] == [
        ("MFA for all admins", "failure"),
        ("Block everything outside the offices (trial)", "reportOnlyFailure"),
    ]
    user = tenant.directory.user(SERVICE_ACCOUNT)
    await tenant.sign_in(password="wrong")
    tenant.clock.advance(61)
    of_user = f"/auditLogs/signIns?$top=1&$filter=userId%20eq%20'{user.id}'"
    [newest] = (await tenant.call(token, "GET", of_user)).body["value"]
    assert (newest["status"]["errorCode"], newest["conditionalAccessStatus"]) == (50126, "notApplied")
    since = f"{of_user}%20and%20status/errorCode%20eq%2050079%20and%20createdDateTime%20ge%202020-01-01T00:00:00Z"
    [found] = (await tenant.call(token, "GET", since)).body["value"]
    assert found["id"] == row["id"]


async def test_an_exclusion_or_another_address_lets_the_account_in_again(tenant: TenantServers, admin: Admin) -> None:
    access = tenant.entra.access
    access.add_from_file("mfa-for-admins.json")
    access.add_from_file("block-outside-office.json")

    before = await code(tenant)
    access.move("198.51.100.77", "GB")
    at_the_office = await code(tenant)
    access.exclude("mfa-for-admins.json", SERVICE_ACCOUNT)

    assert (before, at_the_office, await code(tenant)) == (53003, 50079, 0)


async def test_an_application_is_stopped_by_policies_about_applications_alone(
    tenant: TenantServers, admin: Admin
) -> None:
    bot = tenant.directory.applications["bot"]
    await tenant.app_token()
    clients = {"includeServicePrincipals": [bot.principal_id]}
    made = await admin.make(
        POLICIES, policy(conditions={"users": {"includeUsers": ["None"]}, "clientApplications": clients})
    )
    form = {
        "grant_type": "client_credentials",
        "client_id": bot.app_id,
        "client_secret": bot.secret,
        "scope": "https://graph.microsoft.com/.default",
    }
    url = f"{tenant.url}/{tenant.directory.tenant.id}/oauth2/v2.0/token"
    async with tenant.http.post(url, data=form) as answer:
        assert (await answer.json())["error_codes"] == [53003]
    assert await code(tenant) == 0
    await admin("DELETE", f"{POLICIES}/{made}")
    async with tenant.http.post(url, data=form) as answer:
        assert answer.status == 200


async def test_security_defaults_and_mfa_per_user_stop_the_account_without_any_policy(tenant: TenantServers) -> None:
    access = tenant.entra.access
    account = tenant.directory.user(SERVICE_ACCOUNT).id
    token = await tenant.person_token(ANA, "Policy.ReadWrite.AuthenticationMethod", "User.Read.All")
    beta = f"{tenant.url}/graph/beta/users/{account}/authentication/requirements"

    access.switch_security_defaults(True)
    by_defaults = await code(tenant)
    access.switch_security_defaults(False)
    await tenant.call(token, "PATCH", beta, {"perUserMfaState": "enforced"})
    by_user = await code(tenant)

    assert (by_defaults, by_user) == (530035, 50079)
    assert (await tenant.call(token, "GET", beta)).body["perUserMfaState"] == "enforced"
    assert {outcome for line in access.sign_ins for outcome in line.judgement.outcomes} == set()


async def test_a_refresh_is_judged_anew_from_where_the_application_is(tenant: TenantServers) -> None:
    answer = await tenant.sign_in()
    form = {
        "grant_type": "refresh_token",
        "client_id": tenant.directory.applications["service"].app_id,
        "client_secret": tenant.directory.applications["service"].secret,
        "refresh_token": answer["refresh_token"],
    }
    url = f"{tenant.url}/{tenant.directory.tenant.id}/oauth2/v2.0/token"
    tenant.entra.access.add_from_file("country-block.json")

    async with tenant.http.post(url, data=form) as refused:
        assert (await refused.json())["error_codes"] == [53003]
    tenant.entra.access.move("198.51.100.77", "GB")
    async with tenant.http.post(url, data=form) as served:
        assert served.status == 200


# Filters, files and dialogues


@pytest.mark.parametrize(
    ("rule", "device", "fits"),
    [
        ('device.trustType -eq "ServerAD" -or device.isCompliant -eq True', {"iscompliant": True}, True),
        ('-not (device.model -in ["A", "B"])', {"model": "b"}, False),
        ('device.model -ne "A" -and device.model -notStartsWith "C"', {}, True),
        ('device.physicalIds -contains "[ZTDId]"', {"physicalids": ["x:[ZTDId]"]}, True),
        ("device.manufacturer -eq null", {}, True),
    ],
)
def test_a_device_filter_is_read(rule: str, device: dict[str, Any], fits: bool) -> None:
    assert parse(rule)(device) is fits


@pytest.mark.parametrize("rule", ["", "device.model", "device.model -eq", "(device.a -eq 'x'", "a -is b", "(" * 99])
def test_a_device_filter_that_is_none_is_refused(rule: str) -> None:
    with pytest.raises(FilterError):
        parse(rule)


async def test_a_world_has_policies_from_the_start_and_tells_the_address_when_asked(tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    own.write_text(json.dumps({"policies": [{"id": "1", **policy("Own")}]}), encoding="utf-8")
    async with World(policies=["country-block", str(own)], egress="203.0.113.99", tell_egress=True) as world:
        assert [one["displayName"] for one in world.access.policies()] == ["Block sign-ins from other countries", "Own"]
        assert world.directory.audits == []
        assert world.environment()["LATCHKEY_EGRESS_IP"] == "203.0.113.99"


async def test_a_dialogue_changes_policies_as_an_administrator_would() -> None:
    async with World() as world:
        await Stage(world).play(
            "{tenant: {add_policy: mfa-for-admins.json}}",
            "{tenant: {policy_state: [MFA for all admins, report-only]}}",
            "{expect_tenant: {policies: {MFA for all admins: report-only, Another: none}}}",
            "{tenant: {exclude_from_policy: [mfa-for-admins.json, svc-latchkey@contoso.onmicrosoft.com]}}",
            "{tenant: {remove_policy: MFA for all admins}}",
            "{expect_tenant: {policies_unchanged: yes}}",
            "{tenant: {security_defaults: on}}",
            "{tenant: {per_user_mfa: [adele, enforced]}}",
            "{tenant: {egress: [203.0.113.44, FR]}}",
            "{tenant: {password_sign_ins: other}}",
        )
        assert [audit.activity for audit in world.directory.audits][:2] == [
            "Add conditional access policy",
            "Update conditional access policy",
        ]
        assert (world.access.security_defaults(), world.access.egress) == (True, "203.0.113.44")


def test_what_a_dialogue_says_of_policies_is_checked_before_it_is_played() -> None:
    def read(step: str, world: str = "{}") -> Any:
        return parse_dialogue(f"title: x\nworld: {world}\nsteps:\n  - {step}\n", Path("story.yaml"))

    assert read("{tenant: {security_defaults: off}}").steps[0].does == ChangePolicies("security_defaults", ("off",))
    assert read("{kill: bot}", "{policies: [country-block.json]}").policies == ("country-block.json",)
    for wrong in ("{tenant: {add_policy: none.json}}", "{tenant: {policy_state: [x, maybe]}}"):
        with pytest.raises(DialogueError):
            read(wrong)
    with pytest.raises(DialogueError):
        read("{kill: bot}", "{policies: [none.json]}")


def test_the_files_of_policies_hold_whole_policies() -> None:
    for name in ("mfa-for-admins", "country-block", "block-outside-office", "compliant-device", "report-only-block"):
        content = read_policies(name)
        assert all({"id", "displayName", "state", "conditions"} <= one.keys() for one in content["policies"])
