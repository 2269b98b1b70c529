"""Graph, over real HTTPS with tokens Entra gave out, is as strict as the real one."""

import base64
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from sandbox.clock import iso
from sandbox.directory import SERVICE_ACCOUNT, AdministrativeUnit, User
from sandbox.faults import Challenge, Drop, Lag, Rule
from tests.sandbox.tenant_servers import TenantServers, tenant_servers

E3 = "6fd2c87f-b296-42f0-b197-1e91e994b900"
E5 = "06ebc4ee-1bb5-47dd-8120-11324bc54e06"
FLOW = "f30db892-07e9-47e9-837c-80727f46fd3d"
EVENTUAL = {"ConsistencyLevel": "eventual"}
PASSWORD_METHOD = "28c10230-6103-485e-b985-444c60001490"
GOOD = "Marble-Otter-4711"


@pytest.fixture
async def tenant() -> AsyncIterator[TenantServers]:
    async with tenant_servers() as servers:
        yield servers


@pytest.fixture
async def token(tenant: TenantServers) -> str:
    """The service account's token."""
    return await tenant.service_token()


def new_password(value: str = GOOD, **profile: Any) -> dict[str, Any]:
    return {"passwordProfile": {"password": value, "forceChangePasswordNextSignIn": True, **profile}}


# Who is let in


async def test_without_a_token_nothing_is_answered(tenant: TenantServers) -> None:
    answer = await tenant.call("", "GET", "/users/adele@contoso.com")

    assert (answer.status, answer.code) == (401, "InvalidAuthenticationToken")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer realm=")


async def test_a_token_for_the_vault_is_no_token_for_graph(tenant: TenantServers) -> None:
    answer = await tenant.call(await tenant.app_token(scope="https://vault.azure.net/.default"), "GET", "/users")

    assert answer.status == 401
    assert "Invalid audience" in answer.body["error"]["message"]


async def test_an_expired_token_is_refused(tenant: TenantServers, token: str) -> None:
    tenant.clock.advance(6000)

    answer = await tenant.call(token, "GET", "/me")

    assert answer.status == 401
    assert "expired" in answer.body["error"]["message"]


async def test_tokens_can_be_ended_at_once_an_applications_too(tenant: TenantServers) -> None:
    token = await tenant.app_token()
    tenant.entra.expire_tokens()

    assert (await tenant.call(token, "GET", "/organization")).status == 401


async def test_a_claims_challenge_can_be_injected(tenant: TenantServers, token: str) -> None:
    tenant.faults.add(Rule("graph", "*", "/*", Challenge(), times=1))

    refused = await tenant.call(token, "GET", "/me")
    served = await tenant.call(token, "GET", "/me")

    challenge = refused.headers["WWW-Authenticate"]
    assert 'error="insufficient_claims"' in challenge
    claims = json.loads(base64.b64decode(challenge.partition('claims="')[2].rstrip('"')))
    assert claims["access_token"]["nbf"]["essential"] is True
    assert (refused.status, served.status) == (401, 200)


async def test_a_client_that_takes_challenges_is_cut_off_at_once_others_keep_their_token(tenant: TenantServers) -> None:
    plain = await tenant.service_token()
    continuous = (await tenant.sign_in(client_capabilities=["CP1"]))["access_token"]
    tenant.directory.set_password(SERVICE_ACCOUNT, GOOD)

    assert (await tenant.call(plain, "GET", "/me")).status == 200
    assert (await tenant.call(continuous, "GET", "/me")).status == 401


async def test_a_permission_the_token_lacks_is_denied(tenant: TenantServers) -> None:
    narrow = (await tenant.sign_in(scope="https://graph.microsoft.com/User.Read"))["access_token"]

    assert (await tenant.call(narrow, "GET", "/me")).status == 200
    answer = await tenant.call(narrow, "GET", "/users/adele@contoso.com")
    assert (answer.status, answer.code) == (403, "Authorization_RequestDenied")


async def test_a_caller_without_a_directory_role_is_denied_whatever_the_token_says(tenant: TenantServers) -> None:
    vic = (await tenant.sign_in("vic@contoso.com"))["access_token"]

    answer = await tenant.call(vic, "PATCH", "/users/adele@contoso.com", {"accountEnabled": False})

    assert (answer.status, answer.code) == (403, "Authorization_RequestDenied")
    assert tenant.directory.user("adele").enabled


@pytest.mark.parametrize("who", ["gary", "rolf", "cyrus", "rita", SERVICE_ACCOUNT])
@pytest.mark.parametrize(
    "change", [new_password(), {"accountEnabled": False}, {"mobilePhone": "1"}], ids=["password", "enabled", "phone"]
)
async def test_administrators_and_the_restricted_are_out_of_the_service_accounts_reach(
    tenant: TenantServers, token: str, who: str, change: dict[str, Any]
) -> None:
    before = tenant.directory.user(who)

    answer = await tenant.call(token, "PATCH", f"/users/{before.id}", change)

    assert (answer.status, answer.code) == (403, "Authorization_RequestDenied")
    assert tenant.directory.user(who) == before
    assert tenant.graph.writes() == []


@pytest.mark.parametrize("who", ["adele", "reed", "pia", "chloe"])
async def test_people_without_an_active_role_that_matters_are_in_reach(
    tenant: TenantServers, token: str, who: str
) -> None:
    answer = await tenant.call(token, "PATCH", f"/users/{tenant.directory.user(who).id}", new_password())

    assert answer.status == 204
    assert tenant.directory.password_of(who) == GOOD


async def test_a_role_over_the_restricted_unit_itself_reaches_its_members(tenant: TenantServers) -> None:
    (treasury,) = (unit for unit in tenant.directory.units if unit.restricted)
    service = tenant.directory.user(SERVICE_ACCOUNT)
    scope = f"/administrativeUnits/{treasury.id}"
    tenant.directory.assign_role(service.id, "User Administrator", scope=scope)
    token = await tenant.service_token()

    answer = await tenant.call(token, "PATCH", "/users/rita@contoso.com", {"accountEnabled": False})

    assert answer.status == 204


async def test_a_role_over_one_unit_reaches_nobody_outside(tenant: TenantServers) -> None:
    leeds = next(unit for unit in tenant.directory.units if unit.name == "Leeds office")
    vic = tenant.directory.user("vic")
    tenant.directory.assign_role(vic.id, "User Administrator", scope=f"/administrativeUnits/{leeds.id}")
    token = (await tenant.sign_in(vic.upn))["access_token"]

    inside = await tenant.call(token, "PATCH", "/users/adele@contoso.com", {"accountEnabled": False})
    outside = await tenant.call(token, "PATCH", "/users/alex@contoso.com", {"accountEnabled": False})
    plain = await tenant.call(token, "PATCH", "/users/alex@contoso.com", {"jobTitle": "Chief"})

    assert (inside.status, outside.status, plain.status) == (204, 403, 403)


async def test_the_worker_application_needs_its_directory_role_for_passwords(tenant: TenantServers) -> None:
    worker = tenant.directory.applications["worker"]
    tenant.directory.applications["worker"] = replace(worker, secret="s3cret")
    token = await tenant.app_token("worker")

    assert (await tenant.call(token, "PATCH", "/users/adele@contoso.com", new_password())).status == 204
    tenant.directory.unassign_role(worker.principal_id, "User Administrator")
    tenant.directory.unassign_role(worker.principal_id, "Authentication Administrator")
    assert (await tenant.call(token, "PATCH", "/users/adele@contoso.com", new_password())).status == 403
    # Nothing but the permission is asked for here: Entra would not stop an application at an administrator.
    assert (await tenant.call(token, "POST", "/users/gary@contoso.com/revokeSignInSessions")).status == 200


# Reading users


async def test_a_user_shows_the_default_properties_unless_others_are_selected(
    tenant: TenantServers, token: str
) -> None:
    adele = tenant.directory.user("adele")

    whole = (await tenant.call(token, "GET", f"/users/{adele.id}")).body
    chosen = (
        await tenant.call(token, "GET", "/users/ADELE@contoso.com?$select=department,accountEnabled,signInActivity")
    ).body

    assert whole["displayName"] == "Adele Vance"
    assert "department" not in whole
    assert "accountEnabled" not in whole
    assert adele.last_sign_in is not None
    assert chosen["department"] == "Sales"
    assert chosen["accountEnabled"] is True
    assert chosen["signInActivity"]["lastSignInDateTime"] == iso(adele.last_sign_in)
    assert "displayName" not in chosen


async def test_the_manager_comes_by_itself_or_with_the_user(tenant: TenantServers, token: str) -> None:
    alone = await tenant.call(token, "GET", "/users/adele@contoso.com/manager?$select=displayName")
    along = await tenant.call(
        token, "GET", "/users/adele@contoso.com?$select=id&$expand=manager($select=id,displayName)"
    )
    nobody = await tenant.call(token, "GET", "/users/chloe@contoso.com/manager")

    assert alone.body["displayName"] == "Miriam Graham"
    assert along.body["manager"]["displayName"] == "Miriam Graham"
    assert (nobody.status, nobody.code) == (404, "Request_ResourceNotFound")


async def test_sign_in_activity_needs_its_own_permission_and_a_licence(tenant: TenantServers) -> None:
    narrow = (await tenant.sign_in(scope="https://graph.microsoft.com/User.Read.All"))["access_token"]
    wide = await tenant.service_token()
    path = "/users/adele@contoso.com?$select=signInActivity"

    assert (await tenant.call(narrow, "GET", path)).code == "Authentication_MSGraphPermissionMissing"
    tenant.directory.tenant = replace(tenant.directory.tenant, premium=frozenset())
    assert (await tenant.call(wide, "GET", path)).code == "Authentication_RequestFromNonPremiumTenantOrB2CTenant"


async def test_an_application_is_nobodys_me(tenant: TenantServers) -> None:
    answer = await tenant.call(await tenant.app_token(), "GET", "/me")

    assert answer.status == 400


@pytest.mark.parametrize(
    "query",
    [
        "$select=noSuchThing",
        "$expand=memberOf2",
        "$top=0",
        "$top=1000",
        "$top=x",
        "$count=maybe",
        "$filter=displayName",
        "$filter=displayName eq",
        "$filter=displayName eq 'a",
        "$filter=displayName eq 'a' or",
        "$filter=(displayName eq 'a'",
        "$filter=noSuchThing eq 'a'",
        "$filter=aboutThat eq 'a' and displayName eq 'b'",
        "$filter=passwordProfile eq 'a'",
        "$filter=accountEnabled eq 'true'",
        "$filter=displayName ne 'a'",
        "$filter=not startswith(displayName,'a')",
        "$filter=endswith(mail,'a')",
        "$filter=substringof('a',displayName)",
        "$filter=" + " or ".join(f"displayName eq '{number}'" for number in range(16)),
        "$filter=" + "(" * 5000,
        "$search=adele",
        '$search="adele"',
        "$orderby=department",
        "$skiptoken=abc",
        "$format=xml",
        "select=id",
        "$top=1&$top=2",
    ],
)
async def test_a_query_that_is_not_understood_is_refused(tenant: TenantServers, token: str, query: str) -> None:
    path = "/users?" + query.replace(" ", "%20").replace('"', "%22")

    answer = await tenant.call(token, "GET", path)

    assert answer.status == 400
    assert answer.code in ("BadRequest", "Request_BadRequest", "Request_UnsupportedQuery", "Directory_ExpiredPageToken")


@pytest.mark.parametrize(
    ("filter_", "names"),
    [
        ("userPrincipalName eq 'adele@contoso.com'", ["Adele Vance"]),
        ("startswith(displayName,'jo')", ["John Smith", "Jon Smith"]),
        ("startswith(displayName,'a') or startswith(surname,'a')",
         ["Adele Vance", "Alex Wilber", "Ana Ruiz", "Ana Ruiz (admin)", "Audrey Shaw", "Gary Admin"]),
        ("department eq 'Sales' and startswith(displayName,'J')", ["John Smith"]),
        ("department eq 'Finance' and (surname eq 'Gupta' or surname eq 'Smith')", ["Jon Smith", "Pradeep Gupta"]),
        ("userType eq 'Guest' and accountEnabled eq true", ["Gail Guest"]),
        ("mail in ('lee@contoso.com', 'zoe@contoso.com')", ["Lee Gu", "Zoë Ångström"]),
        ("onPremisesSyncEnabled eq true", ["Henrietta Mueller", "Isaiah Langer"]),
        ("usageLocation eq null", ["Diego Siciliani"]),
        ("proxyAddresses/any(p:p eq 'smtp:adele@contoso.com')", ["Adele Vance"]),
        ("proxyAddresses/any(p:startswith(p,'smtp:adele'))", ["Adele Vance"]),
        ("createdDateTime ge 2999-01-01T00:00:00Z", []),
        ("displayName eq 'a'' or true eq true or ''x'", []),
        ("id eq '%s'", ["Adele Vance"]),
    ],
)  # fmt: skip
async def test_a_filter_finds_whom_it_describes(
    tenant: TenantServers, token: str, filter_: str, names: list[str]
) -> None:
    text = filter_.replace("%s", tenant.directory.user("adele").id)

    answer = await tenant.call(token, "GET", "/users?$filter=" + text.replace(" ", "%20"))

    assert [user["displayName"] for user in answer.body["value"]] == names


async def test_advanced_filters_need_the_header_and_the_count(tenant: TenantServers, token: str) -> None:
    path = "/users?$filter=endswith(mail,'partner.example')%20and%20not(userType%20eq%20'Member')&$count=true"

    refused = await tenant.call(token, "GET", path.removesuffix("&$count=true"), headers=EVENTUAL)
    served = await tenant.call(token, "GET", path, headers=EVENTUAL)

    assert refused.code == "Request_UnsupportedQuery"
    assert (served.body["@odata.count"], served.body["value"][0]["displayName"]) == (1, "Gail Guest")


@pytest.mark.parametrize(
    ("search", "names"),
    [
        ('"displayName:smi"', ["John Smith", "Jon Smith"]),
        ('"displayName:smith jo"', ["John Smith", "Jon Smith"]),
        ('"displayName:mith"', []),
        ('"displayName:ang" OR "mail:zoe"', ["Zoë Ångström"]),
        ('"displayName:smith" AND "userPrincipalName:jon."', ["Jon Smith"]),
        ('"displayName:" OR "displayName:z\\"b"', []),
    ],
)
async def test_a_search_finds_words_by_their_beginning(
    tenant: TenantServers, token: str, search: str, names: list[str]
) -> None:
    path = "/users?$search=" + search.replace(" ", "%20").replace('"', "%22").replace("\\", "%5C")

    answer = await tenant.call(token, "GET", path, headers=EVENTUAL)

    assert answer.status == 200
    assert [user["displayName"] for user in answer.body["value"]] == names


async def test_pages_are_followed_by_their_own_address(tenant: TenantServers, token: str) -> None:
    path = "/users?$top=7&$select=id,displayName&$count=true"
    seen, link = [], path
    while link:
        page = (await tenant.call(token, "GET", link, headers=EVENTUAL)).body
        assert page["@odata.count"] == 31
        seen += [user["id"] for user in page["value"]]
        link = page.get("@odata.nextLink", "")
        assert link == "" or link.startswith(f"{tenant.url}/graph/v1.0/users?")

    assert len(seen) == len(set(seen)) == 31


async def test_a_page_token_is_good_for_its_own_query_only(tenant: TenantServers, token: str) -> None:
    link = (await tenant.call(token, "GET", "/users?$top=7")).body["@odata.nextLink"]
    stolen = link.partition("$skiptoken=")[2]

    answer = await tenant.call(token, "GET", f"/users?$filter=userType%20eq%20'Guest'&$skiptoken={stolen}")

    assert (answer.status, answer.code) == (400, "Directory_ExpiredPageToken")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/users/a'%2F..%2F..%2Fgroups", 404),
        ("/users/..%2Fgroups", 404),
        ("/users/adele%40contoso.com%2Fmanager", 404),
        ("/users/x'%20or%201%20eq%201", 404),
        ("/users/adele%2540contoso.com", 404),
        ("/users/adele%40contoso.com%3F%24expand%3D%2A", 404),
        ("/users/%2e%2e/groups", 400),
        ("/users/../groups", 400),
        ("/users//groups", 400),
        ("/users/a%00b", 400),
        ("/users/%ff", 400),
        ("/users/a%0D%0AX:y", 400),
        ("/users/adele%28%27x%27%29", 404),
        ("/../users", 400),
        ("/nothing/here", 400),
    ],
)
async def test_what_is_put_into_a_path_stays_data(tenant: TenantServers, token: str, path: str, status: int) -> None:
    answer = await tenant.call(token, "GET", path)

    assert answer.status == status
    assert tenant.graph.requests[-1].path == path


async def test_an_encoded_name_is_decoded_once(tenant: TenantServers, token: str) -> None:
    guest = await tenant.call(
        token, "GET", "/users/gail_partner.example%23EXT%23%40contoso.onmicrosoft.com?$select=userType"
    )
    keyed = await tenant.call(token, "GET", "/users('adele@contoso.com')")

    assert guest.body["userType"] == "Guest"
    assert keyed.body["displayName"] == "Adele Vance"


async def test_every_answer_carries_its_ids(tenant: TenantServers, token: str) -> None:
    answer = await tenant.call(token, "GET", "/users/nobody@contoso.com", headers={"client-request-id": "abc-1"})

    seen = tenant.graph.requests[-1]
    assert (answer.headers["client-request-id"], answer.headers["request-id"]) == ("abc-1", seen.request_id)
    assert answer.body["error"]["innerError"]["request-id"] == seen.request_id
    assert answer.body["error"]["innerError"]["client-request-id"] == "abc-1"
    assert (seen.caller, seen.status, seen.applied) == (SERVICE_ACCOUNT, 404, False)


# Writing users


async def test_a_reset_password_is_the_one_that_signs_in(tenant: TenantServers, token: str) -> None:
    before = tenant.directory.user("adele").password_changed
    old = tenant.directory.password_of("adele")

    answer = await tenant.call(token, "PATCH", "/users/adele@contoso.com", new_password())

    assert answer.status == 204
    assert tenant.directory.signs_in("adele", GOOD)
    assert not tenant.directory.signs_in("adele", old)
    assert tenant.entra.try_password("adele", GOOD) == 50055
    shown = await tenant.call(
        token, "GET", "/users/adele@contoso.com?$select=lastPasswordChangeDateTime,passwordProfile"
    )
    assert shown.body["lastPasswordChangeDateTime"] > iso(before)
    assert shown.body["passwordProfile"]["forceChangePasswordNextSignIn"] is True
    assert shown.body["passwordProfile"]["password"] is None


async def test_only_an_explicit_no_spares_the_user_a_change_at_the_next_sign_in(
    tenant: TenantServers, token: str
) -> None:
    await tenant.call(token, "PATCH", "/users/adele@contoso.com", {"passwordProfile": {"password": GOOD}})
    assert tenant.directory.user("adele").must_change_password

    await tenant.call(token, "PATCH", "/users/adele@contoso.com", new_password(forceChangePasswordNextSignIn=False))
    assert tenant.entra.try_password("adele", GOOD) == 0


@pytest.mark.parametrize(
    "weak",
    [
        "Ab1-",
        "alllowercase1",
        "Contoso1!",
        "Adele-4711-x",
        "Passw0rd!",
        "Zoë-Strong-12",
        " Marble-Otter-4711",
        "A1-" * 90,
    ],
)
async def test_a_password_against_the_rules_is_refused_with_graphs_message(
    tenant: TenantServers, token: str, weak: str
) -> None:
    answer = await tenant.call(token, "PATCH", "/users/adele@contoso.com", new_password(weak))

    assert (answer.status, answer.code) == (400, "Request_BadRequest")
    assert "does not comply with password complexity requirements" in answer.body["error"]["message"]
    assert not tenant.directory.signs_in("adele", weak)


@pytest.mark.parametrize(
    "body",
    [
        {"noSuchProperty": 1},
        {"jobTitle": 7},
        {"accountEnabled": "false"},
        {"accountEnabled": None},
        {"passwordProfile": {"newPassword": GOOD}},
        {"businessPhones": "1"},
        {"id": "11111111-2222-4333-8444-555555555555"},
        {"signInActivity": {}},
        {"assignedLicenses": []},
        {"usageLocation": "Great Britain"},
        {"userPrincipalName": "adele@elsewhere.example"},
        {"userPrincipalName": "alex@contoso.com"},
        {"displayName": ""},
        {},
        [],
        "text",
    ],
)
async def test_a_body_graph_does_not_know_changes_nothing(tenant: TenantServers, token: str, body: Any) -> None:
    before = tenant.directory.user("adele")

    answer = await tenant.call(token, "PATCH", f"/users/{before.id}", body)

    assert answer.status == 400
    assert tenant.directory.user("adele") == before


async def test_a_body_that_is_no_json_is_refused(tenant: TenantServers, token: str) -> None:
    url = f"{tenant.url}/graph/v1.0/users/adele@contoso.com"
    for content_type, data in (("application/json", "{"), ("text/plain", "{}"), ("application/json", "[" * 100_000)):
        headers = {"Authorization": f"Bearer {token}", "Content-Type": content_type}
        async with tenant.http.patch(url, data=data, headers=headers) as answer:
            assert answer.status == 400


async def test_what_active_directory_masters_cannot_be_changed_here(tenant: TenantServers, token: str) -> None:
    for change in ({"accountEnabled": False}, {"jobTitle": "x"}, new_password()):
        answer = await tenant.call(token, "PATCH", "/users/isaiah@contoso.com", change)
        assert (answer.status, answer.code) == (400, "Request_BadRequest")
        assert "on-premises mastered" in answer.body["error"]["message"]
    assert (await tenant.call(token, "PATCH", "/users/isaiah@contoso.com", {"usageLocation": "IE"})).status == 204


async def test_attributes_change_and_read_back(tenant: TenantServers, token: str) -> None:
    change = {"jobTitle": "Director", "companyName": "Contoso Ltd", "displayName": "Adele V."}

    assert (await tenant.call(token, "PATCH", "/users/adele@contoso.com", change)).status == 204

    shown = await tenant.call(token, "GET", "/users/adele@contoso.com?$select=jobTitle,companyName,displayName")
    assert {name: shown.body[name] for name in change} == change


async def test_a_renamed_user_answers_to_the_new_name_alone(tenant: TenantServers, token: str) -> None:
    await tenant.call(token, "PATCH", "/users/adele@contoso.com", {"userPrincipalName": "a.vance@contoso.com"})

    assert (await tenant.call(token, "GET", "/users/a.vance@contoso.com")).status == 200
    assert (await tenant.call(token, "GET", "/users/adele@contoso.com")).status == 404


async def test_revoking_sessions_moves_their_beginning(tenant: TenantServers, token: str) -> None:
    started = time.time()

    answer = await tenant.call(token, "POST", "/users/adele@contoso.com/revokeSignInSessions")

    assert (answer.status, answer.body["value"]) == (200, True)
    assert tenant.directory.user("adele").sessions_valid_from >= started


async def test_a_guests_sessions_belong_to_another_tenant(tenant: TenantServers, token: str) -> None:
    guest = next(user for user in tenant.directory.latest.users() if user.kind == "Guest")

    answer = await tenant.call(token, "POST", f"/users/{guest.id}/revokeSignInSessions")

    assert answer.status == 200
    assert tenant.directory.user(guest.id).sessions_valid_from == guest.sessions_valid_from


async def test_the_service_account_changes_its_own_password(tenant: TenantServers, token: str) -> None:
    old = tenant.directory.password_of(SERVICE_ACCOUNT)
    path = "/me/changePassword"

    wrong = await tenant.call(token, "POST", path, {"currentPassword": "not it", "newPassword": GOOD})
    same = await tenant.call(token, "POST", path, {"currentPassword": old, "newPassword": old})
    weak = await tenant.call(token, "POST", path, {"currentPassword": old, "newPassword": "Latchkey-Service1"})
    good = await tenant.call(token, "POST", path, {"currentPassword": old, "newPassword": GOOD})

    assert (wrong.status, same.status, weak.status, good.status) == (400, 400, 400, 204)
    assert tenant.entra.try_password(SERVICE_ACCOUNT, GOOD) == 0
    assert {old, GOOD} <= set(tenant.directory.passwords)


# Authentication methods


async def test_a_password_is_written_back_to_active_directory(tenant: TenantServers, token: str) -> None:
    path = f"/users/isaiah@contoso.com/authentication/methods/{PASSWORD_METHOD}/resetPassword"

    answer = await tenant.call(token, "POST", path, {"newPassword": GOOD})

    assert answer.status == 202
    location = answer.headers["Location"]
    assert location.startswith(f"{tenant.url}/graph/v1.0/users/")
    assert (await tenant.call(token, "GET", location)).body["status"] == "running"
    tenant.clock.advance(2)
    assert (await tenant.call(token, "GET", location)).body["status"] == "succeeded"
    assert tenant.directory.signs_in("isaiah", GOOD)


async def test_without_writeback_the_operation_fails_and_nothing_changes(tenant: TenantServers, token: str) -> None:
    path = f"/users/henrietta@contoso.com/authentication/passwordMethods/{PASSWORD_METHOD}/resetPassword"

    answer = await tenant.call(token, "POST", path, {"newPassword": GOOD})
    tenant.clock.advance(2)
    operation = await tenant.call(token, "GET", answer.headers["Location"])

    assert (answer.status, operation.body["status"]) == (202, "failed")
    assert not tenant.directory.signs_in("henrietta", GOOD)
    assert tenant.graph.writes() == []


async def test_a_generated_password_is_in_the_answer(tenant: TenantServers, token: str) -> None:
    path = f"/users/adele@contoso.com/authentication/methods/{PASSWORD_METHOD}/resetPassword"

    answer = await tenant.call(token, "POST", path, {})

    assert tenant.directory.signs_in("adele", answer.body["newPassword"])


@pytest.mark.parametrize("who", ["gary@contoso.com", SERVICE_ACCOUNT])
async def test_neither_administrators_nor_oneself_are_reset_this_way(
    tenant: TenantServers, token: str, who: str
) -> None:
    path = f"/users/{who}/authentication/methods/{PASSWORD_METHOD}/resetPassword"

    assert (await tenant.call(token, "POST", path, {"newPassword": GOOD})).status == 403


async def test_applications_cannot_reset_this_way(tenant: TenantServers) -> None:
    worker = tenant.directory.applications["worker"]
    tenant.directory.applications["worker"] = replace(worker, secret="s3cret")
    path = f"/users/adele@contoso.com/authentication/methods/{PASSWORD_METHOD}/resetPassword"

    answer = await tenant.call(await tenant.app_token("worker"), "POST", path, {"newPassword": GOOD})

    assert answer.status == 403


async def test_an_access_pass_shows_its_value_once(tenant: TenantServers, token: str) -> None:
    path = "/users/adele@contoso.com/authentication/temporaryAccessPassMethods"

    made = await tenant.call(token, "POST", path, {"lifetimeInMinutes": 60, "isUsableOnce": True})
    listed = (await tenant.call(token, "GET", path)).body["value"]
    methods = (await tenant.call(token, "GET", "/users/adele@contoso.com/authentication/methods")).body["value"]

    assert made.status == 201
    assert made.body["temporaryAccessPass"]
    assert [(one["id"], one["temporaryAccessPass"], one["isUsable"]) for one in listed] == [
        (made.body["id"], None, True)
    ]
    assert made.body["temporaryAccessPass"] not in json.dumps(methods)
    tenant.clock.advance(3601)
    expired = await tenant.call(token, "GET", f"{path}/{made.body['id']}")
    assert (expired.body["isUsable"], expired.body["methodUsabilityReason"]) == (False, "Expired")


async def test_a_second_access_pass_replaces_the_first(tenant: TenantServers, token: str) -> None:
    path = "/users/adele@contoso.com/authentication/temporaryAccessPassMethods"
    first = await tenant.call(token, "POST", path, {})
    second = await tenant.call(token, "POST", path, {"startDateTime": iso(tenant.clock.now() + 3600)})

    assert second.body["methodUsabilityReason"] == "NotYetValid"
    assert (await tenant.call(token, "DELETE", f"{path}/{first.body['id']}")).status == 404
    assert (await tenant.call(token, "DELETE", f"{path}/{second.body['id']}")).status == 204
    assert (await tenant.call(token, "GET", path)).body["value"] == []


@pytest.mark.parametrize("minutes", [9, 481])
async def test_an_access_pass_stays_within_the_policy(tenant: TenantServers, token: str, minutes: int) -> None:
    path = "/users/adele@contoso.com/authentication/temporaryAccessPassMethods"

    assert (await tenant.call(token, "POST", path, {"lifetimeInMinutes": minutes})).status == 400
    policy = replace(tenant.directory.tenant.access_pass_policy, enabled=False)
    tenant.directory.tenant = replace(tenant.directory.tenant, access_pass_policy=policy)
    assert (await tenant.call(token, "POST", path, {"lifetimeInMinutes": 60})).status == 400


async def test_methods_are_listed_by_kind_added_and_deleted(tenant: TenantServers, token: str) -> None:
    base = "/users/adele@contoso.com/authentication"

    kinds = [one["@odata.type"] for one in (await tenant.call(token, "GET", f"{base}/methods")).body["value"]]
    (phone,) = (await tenant.call(token, "GET", f"{base}/phoneMethods")).body["value"]
    gone = await tenant.call(token, "DELETE", f"{base}/phoneMethods/{phone['id']}")
    again = await tenant.call(token, "DELETE", f"{base}/phoneMethods/{phone['id']}")
    new = {"phoneNumber": "+44 7700900199", "phoneType": "mobile"}
    added = await tenant.call(token, "POST", f"{base}/phoneMethods", new)
    twice = await tenant.call(token, "POST", f"{base}/phoneMethods", new)

    assert kinds == [
        "#microsoft.graph.passwordAuthenticationMethod",
        "#microsoft.graph.phoneAuthenticationMethod",
        "#microsoft.graph.microsoftAuthenticatorAuthenticationMethod",
    ]
    assert (gone.status, again.status, added.status, twice.status) == (204, 404, 201, 400)


# Groups


async def test_memberships_are_direct_or_transitive_and_typed(tenant: TenantServers, token: str) -> None:
    direct = (await tenant.call(token, "GET", "/users/john.smith@contoso.com/memberOf")).body["value"]
    all_ = (await tenant.call(token, "GET", "/users/john.smith@contoso.com/transitiveMemberOf")).body["value"]

    assert {one["displayName"] for one in direct} == {"All Staff", "Sales Leeds", "Leeds office"}
    assert {one["displayName"] for one in all_} - {one["displayName"] for one in direct} == {"Sales"}
    assert {one["@odata.type"] for one in all_} == {
        "#microsoft.graph.group",
        "#microsoft.graph.administrativeUnit",
    }


async def test_roles_show_as_memberships_directly_and_through_a_group(tenant: TenantServers, token: str) -> None:
    async def roles(who: str, how: str) -> list[str]:
        path = f"/users/{who}@contoso.com/{how}/microsoft.graph.directoryRole?$select=displayName,roleTemplateId"
        return [one["displayName"] for one in (await tenant.call(token, "GET", path)).body["value"]]

    assert await roles("gary", "transitiveMemberOf") == ["Global Administrator"]
    assert await roles("rolf", "memberOf") == []
    assert await roles("rolf", "transitiveMemberOf") == ["Privileged Role Administrator"]
    assert await roles("cyrus", "transitiveMemberOf") == []  # a custom role shows among the assignments only
    assert await roles("pia", "transitiveMemberOf") == []


async def test_a_restricted_unit_is_seen_on_its_members(tenant: TenantServers, token: str) -> None:
    path = "/users/rita@contoso.com/memberOf/microsoft.graph.administrativeUnit?$select=isMemberManagementRestricted"

    assert (await tenant.call(token, "GET", path)).body["value"] == [{"isMemberManagementRestricted": True}]


async def test_a_member_is_added_once_and_removed_once(tenant: TenantServers, token: str) -> None:
    group, adele = tenant.directory.group("Engineering"), tenant.directory.user("adele")
    reference = {"@odata.id": f"https://graph.microsoft.com/v1.0/directoryObjects/{adele.id}"}
    add, remove = f"/groups/{group.id}/members/$ref", f"/groups/{group.id}/members/{adele.id}/$ref"
    check = f"/users/{adele.id}/checkMemberGroups"

    added = await tenant.call(token, "POST", add, reference)
    checked = await tenant.call(token, "POST", check, {"groupIds": [group.id]})
    again = await tenant.call(token, "POST", add, reference)
    removed = await tenant.call(token, "DELETE", remove)
    missing = await tenant.call(token, "DELETE", remove)

    assert (added.status, checked.body["value"]) == (204, [group.id])
    assert again.status == 400
    assert again.body["error"]["message"].startswith("One or more added object references already exist")
    assert (removed.status, missing.status) == (204, 404)
    assert [(one.method, one.applied) for one in tenant.graph.requests if one.method != "GET"] == [
        ("POST", True), ("POST", False), ("POST", False), ("DELETE", True), ("DELETE", False)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("All Staff", 403),
        ("Synced AD group", 400),
        ("Sales DL", 400),
        ("News", 400),
        ("Tier 0 admins", 403),
        ("Project Falcon", 204),
        ("Sales", 204),
    ],
)
async def test_graph_changes_the_members_of_some_groups_only(
    tenant: TenantServers, token: str, name: str, status: int
) -> None:
    group, zoe = tenant.directory.group(name), tenant.directory.user("diego")
    reference = {"@odata.id": f"{tenant.url}/graph/v1.0/users/{zoe.id}"}

    answer = await tenant.call(token, "POST", f"/groups/{group.id}/members/$ref", reference)

    if name == "All Staff":
        tenant.directory.remove_member(group.id, zoe.id)
        answer = await tenant.call(token, "POST", f"/groups/{group.id}/members/$ref", reference)
    assert answer.status == status


@pytest.mark.parametrize(
    "reference",
    [
        {"@odata.id": "not an address"},
        {"@odata.id": "https://graph.microsoft.com/v1.0/directoryObjects/"},
        {"@odata.id": 7},
        {},
        {"@odata.id": "https://graph.microsoft.com/v1.0/directoryObjects/x", "more": 1},
    ],
)
async def test_a_reference_that_names_nothing_is_refused(
    tenant: TenantServers, token: str, reference: dict[str, Any]
) -> None:
    path = f"/groups/{tenant.directory.group('Sales').id}/members/$ref"

    assert (await tenant.call(token, "POST", path, reference)).status == 400


async def test_groups_are_filtered_and_searched(tenant: TenantServers, token: str) -> None:
    unified = await tenant.call(token, "GET", "/groups?$filter=groupTypes/any(c:c%20eq%20'Unified')")
    dynamic = await tenant.call(token, "GET", "/groups?$filter=groupTypes/any(c:c%20eq%20'DynamicMembership')")
    searched = await tenant.call(token, "GET", "/groups?$search=%22displayName:sales%22", headers=EVENTUAL)
    protected = await tenant.call(token, "GET", "/groups?$filter=isAssignableToRole%20eq%20true&$select=id")

    assert [one["displayName"] for one in unified.body["value"]] == ["Project Falcon"]
    assert [one["displayName"] for one in dynamic.body["value"]] == ["All Staff"]
    assert {one["displayName"] for one in searched.body["value"]} == {"Sales", "Sales DL", "Sales Leeds"}
    assert protected.body["value"] == [{"id": tenant.directory.group("Tier 0 admins").id}]


async def test_members_of_members_are_members(tenant: TenantServers, token: str) -> None:
    group = tenant.directory.group("Sales")

    direct = (await tenant.call(token, "GET", f"/groups/{group.id}/members?$select=id,displayName")).body["value"]
    all_ = (await tenant.call(token, "GET", f"/groups/{group.id}/transitiveMembers?$select=displayName")).body["value"]

    assert "Sales Leeds" in {one["displayName"] for one in direct}
    assert {one["displayName"] for one in all_} - {one["displayName"] for one in direct} == {"John Smith"}


# Licences


async def test_a_licence_is_given_and_taken(tenant: TenantServers, token: str) -> None:
    async def free() -> int:
        skus = (await tenant.call(token, "GET", "/subscribedSkus")).body["value"]
        sku = next(one for one in skus if one["skuId"] == FLOW)
        return int(sku["prepaidUnits"]["enabled"] - sku["consumedUnits"])

    before = await free()
    path = "/users/adele@contoso.com/assignLicense"

    given = await tenant.call(token, "POST", path, {"addLicenses": [{"skuId": FLOW}], "removeLicenses": []})
    details = (await tenant.call(token, "GET", "/users/adele@contoso.com/licenseDetails")).body["value"]
    assert (given.status, await free()) == (200, before - 1)
    assert {one["skuPartNumber"] for one in details} == {"ENTERPRISEPACK", "FLOW_FREE"}

    again = await tenant.call(token, "POST", path, {"addLicenses": [{"skuId": FLOW}], "removeLicenses": []})
    taken = await tenant.call(token, "POST", path, {"addLicenses": [], "removeLicenses": [FLOW]})
    missing = await tenant.call(token, "POST", path, {"addLicenses": [], "removeLicenses": [FLOW]})
    assert (again.status, taken.status, missing.status, await free()) == (200, 200, 400, before)


async def test_service_plans_can_be_left_out(tenant: TenantServers, token: str) -> None:
    teams = "57ff2da0-773e-42df-b2af-ffb7a2317929"
    body = {"addLicenses": [{"skuId": E3, "disabledPlans": [teams]}], "removeLicenses": []}

    await tenant.call(token, "POST", "/users/adele@contoso.com/assignLicense", body)

    (detail,) = (await tenant.call(token, "GET", "/users/adele@contoso.com/licenseDetails")).body["value"]
    assert {plan["servicePlanName"] for plan in detail["servicePlans"] if plan["provisioningStatus"] == "Disabled"} == {
        "TEAMS1"
    }


@pytest.mark.parametrize(
    ("who", "body", "words"),
    [
        ("diego", {"addLicenses": [{"skuId": E3}], "removeLicenses": []}, "invalid usage location"),
        ("adele", {"addLicenses": [{"skuId": E5}], "removeLicenses": []}, "does not have any available licenses"),
        ("adele", {"addLicenses": [{"skuId": E3[:-1] + "1"}], "removeLicenses": []}, "valid company License"),
        ("lee", {"addLicenses": [], "removeLicenses": [E3]}, "inherited from a group"),
        ("diego", {"addLicenses": [], "removeLicenses": [E3]}, "does not have a corresponding license"),
        ("adele", {"addLicenses": []}, "removeLicenses"),
        ("adele", {"addLicenses": [{"skuId": "E3"}], "removeLicenses": []}, "skuId"),
    ],
)
async def test_a_licence_that_cannot_be_given_or_taken_says_why(
    tenant: TenantServers, token: str, who: str, body: dict[str, Any], words: str
) -> None:
    answer = await tenant.call(token, "POST", f"/users/{who}@contoso.com/assignLicense", body)

    assert answer.status == 400
    assert words in answer.body["error"]["message"]
    assert tenant.graph.writes() == []


async def test_a_licence_of_a_group_says_where_it_comes_from(tenant: TenantServers, token: str) -> None:
    shown = await tenant.call(token, "GET", "/users/lee@contoso.com?$select=licenseAssignmentStates,assignedLicenses")

    (state,) = shown.body["licenseAssignmentStates"]
    assert state["assignedByGroup"] == tenant.directory.group("Licensed engineers").id
    assert [one["skuId"] for one in shown.body["assignedLicenses"]] == [E3]


# Roles, units, the tenant


async def test_assignments_name_active_roles_custom_ones_too(tenant: TenantServers, token: str) -> None:
    async def assigned(who: str) -> list[str]:
        id_ = tenant.directory.user(who).id
        path = f"/roleManagement/directory/roleAssignments?$filter=principalId%20eq%20'{id_}'&$expand=roleDefinition"
        return [one["roleDefinition"]["displayName"] for one in (await tenant.call(token, "GET", path)).body["value"]]

    assert await assigned("gary") == ["Global Administrator"]
    assert await assigned("cyrus") == ["Printer Desk"]
    assert await assigned("pia") == []


async def test_eligibility_is_a_matter_of_the_licence(tenant: TenantServers, token: str) -> None:
    id_ = tenant.directory.user("pia").id
    path = f"/roleManagement/directory/roleEligibilityScheduleInstances?$filter=principalId%20eq%20'{id_}'"

    with_p2 = await tenant.call(token, "GET", path)
    tenant.directory.tenant = replace(tenant.directory.tenant, premium=frozenset({"P1"}))
    without = await tenant.call(token, "GET", path)

    assert [one["roleDefinitionId"] for one in with_p2.body["value"]] == [
        tenant.directory.role("User Administrator").id
    ]
    assert (without.status, without.code) == (400, "AadPremiumLicenseRequired")


async def test_the_rest_of_the_tenant_can_be_read(tenant: TenantServers) -> None:
    token = await tenant.app_token()
    bot = tenant.directory.applications["bot"]

    async def names(path: str) -> list[str]:
        return [one["displayName"] for one in (await tenant.call(token, "GET", path)).body["value"]]

    assert await names("/organization") == ["Contoso"]
    assert await names("/directory/administrativeUnits") == ["Leeds office", "Treasury (restricted)"]
    assert await names(f"/servicePrincipals?$filter=appId%20eq%20'{bot.app_id}'") == ["Latchkey bot identity"]
    assert "Global Administrator" in await names("/directoryRoles")
    assert "Printer Desk" in await names("/roleManagement/directory/roleDefinitions")
    by_app = await tenant.call(token, "GET", f"/servicePrincipals(appId='{bot.app_id}')")
    assert by_app.body["id"] == bot.principal_id
    defaults = await tenant.call(token, "GET", "/policies/identitySecurityDefaultsEnforcementPolicy")
    assert defaults.body["isEnabled"] is False


async def test_every_write_is_in_microsofts_own_audit_log(tenant: TenantServers, token: str) -> None:
    ours = "5f0c4e3a-9d1b-4c7e-8a55-0d2f6f3b1c11"
    written = await tenant.call(
        token, "PATCH", "/users/adele@contoso.com", new_password(), headers={"client-request-id": ours}
    )
    silent = await tenant.call(token, "PATCH", "/users/alex@contoso.com", {"accountEnabled": False})

    reader = await tenant.app_token()
    path = "/auditLogs/directoryAudits?$filter=correlationId%20eq%20'{}'"
    (found,) = (await tenant.call(reader, "GET", path.format(ours))).body["value"]
    (other,) = (await tenant.call(reader, "GET", path.format(silent.headers["request-id"]))).body["value"]

    assert found["activityDisplayName"] == "Reset user password"
    assert found["initiatedBy"]["user"]["userPrincipalName"] == SERVICE_ACCOUNT
    assert found["targetResources"][0]["id"] == tenant.directory.user("adele").id
    assert {"key": "request-id", "value": written.headers["request-id"]} in found["additionalDetails"]
    assert written.headers["request-id"] in found["id"]
    assert GOOD not in json.dumps(found)
    assert other["activityDisplayName"] == "Disable account"


async def test_reading_the_audit_log_takes_a_readers_role(tenant: TenantServers, token: str) -> None:
    assert (await tenant.call(token, "GET", "/auditLogs/directoryAudits")).status == 403


# Things that go wrong


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("graph-throttled", 429, "TooManyRequests"),
        ("graph-down", 503, "ServiceUnavailable"),
        ("graph-forbidden", 403, "Authorization_RequestDenied"),
    ],
)
async def test_named_faults_answer_in_graphs_form(
    tenant: TenantServers, token: str, fault: str, status: int, code: str
) -> None:
    tenant.faults.start(fault)

    answer = await tenant.call(token, "PATCH", "/users/adele@contoso.com", new_password())

    assert (answer.status, answer.code) == (status, code)
    assert answer.body["error"]["innerError"]["request-id"] == answer.headers["request-id"]
    assert ("Retry-After" in answer.headers) is (status == 429)
    assert tenant.graph.writes() == []


async def test_a_lagging_replica_shows_the_past_until_it_has_caught_up(tenant: TenantServers, token: str) -> None:
    async def enabled() -> bool:
        shown = await tenant.call(token, "GET", "/users/adele@contoso.com?$select=accountEnabled")
        return bool(shown.body["accountEnabled"])

    tenant.faults.start("graph-lag")
    await tenant.call(token, "PATCH", "/users/adele@contoso.com", {"accountEnabled": False})

    assert await enabled()
    tenant.clock.advance(21)
    assert not await enabled()


async def test_memberships_lag_too(tenant: TenantServers, token: str) -> None:
    group, adele = tenant.directory.group("Engineering"), tenant.directory.user("adele")
    path = f"/groups/{group.id}/members?$select=id"
    tenant.faults.add(Rule("graph", "GET", "/groups/*", Lag(5)))
    tenant.directory.add_member(group.id, adele.id)

    behind = (await tenant.call(token, "GET", path)).body["value"]
    tenant.clock.advance(6)
    caught_up = (await tenant.call(token, "GET", path)).body["value"]

    assert adele.id not in [one["id"] for one in behind]
    assert adele.id in [one["id"] for one in caught_up]


async def test_the_index_is_a_little_behind_the_writes(tenant: TenantServers, token: str) -> None:
    path = "/users?$filter=displayName%20eq%20'Adele%20Renamed'"
    await tenant.call(token, "PATCH", "/users/adele@contoso.com", {"displayName": "Adele Renamed"})

    behind = (await tenant.call(token, "GET", path)).body["value"]
    tenant.clock.advance(3)
    caught_up = (await tenant.call(token, "GET", path)).body["value"]

    assert (len(behind), len(caught_up)) == (0, 1)
    assert (await tenant.call(token, "GET", "/users/adele@contoso.com")).body["displayName"] == "Adele Renamed"


@pytest.mark.parametrize(("when", "applied"), [("before", False), ("after", True)])
async def test_a_dropped_write_is_applied_or_not_and_nobody_hears(
    tenant: TenantServers, token: str, when: str, applied: bool
) -> None:
    effect = Drop("after" if when == "after" else "before")
    tenant.faults.add(Rule("graph", "PATCH", "/users/*", effect))

    with pytest.raises(aiohttp.ClientConnectionError):
        await tenant.call(token, "PATCH", "/users/adele@contoso.com", {"accountEnabled": False})

    assert tenant.directory.user("adele").enabled is not applied
    assert (tenant.graph.requests[-1].applied, tenant.graph.requests[-1].status) == (applied, None)


async def test_a_deleted_user_is_gone(tenant: TenantServers, token: str) -> None:
    adele = tenant.directory.user("adele")
    tenant.directory.delete_user("adele")

    assert (await tenant.call(token, "GET", f"/users/{adele.id}")).status == 404
    assert (await tenant.call(token, "PATCH", f"/users/{adele.id}", new_password())).status == 404


async def test_a_name_given_to_somebody_else_means_somebody_else(tenant: TenantServers, token: str) -> None:
    tenant.directory.delete_user("adele")
    new = tenant.directory.add_user(User("0d3c1c54-8a5c-4a86-b0ab-9b4a0f6a9d10", "adele@contoso.com", "Adele Other"))

    assert (await tenant.call(token, "GET", "/users/adele@contoso.com")).body["id"] == new.id


async def test_a_tenant_may_have_many_people(tenant: TenantServers, token: str) -> None:
    for number in range(1500):
        id_ = f"00000000-0000-4000-8000-{number:012d}"
        tenant.directory.add_user(User(id_, f"user{number}@contoso.com", f"User {number}"), password=GOOD)
    tenant.directory.units = (
        *tenant.directory.units,
        AdministrativeUnit("11111111-0000-4000-8000-000000000001", "New"),
    )

    found = await tenant.call(token, "GET", "/users?$search=%22displayName:user%201499%22", headers=EVENTUAL)

    assert [one["displayName"] for one in found.body["value"]] == ["User 1499"]
