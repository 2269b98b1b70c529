"""What setting up needs of Graph: making accounts, giving roles, seeing who is who, and taking consent back."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from sandbox.directory import SERVICE_ACCOUNT
from sandbox.faults import Lag, Rule
from tests.sandbox.tenant_servers import TenantServers, tenant_servers

ANA, BO, OLIVE = "ana.admin@contoso.com", "bo.admin@contoso.com", "olive.admin@contoso.com"
USER_ADMINISTRATOR = "fe930be7-5e62-47db-91af-98c3a49a38b1"
ASSIGNMENTS = "/roleManagement/directory/roleAssignments"
GOOD = "Marble-Otter-4711"
WRITE = ("User.ReadWrite.All", "User-PasswordProfile.ReadWrite.All", "User.EnableDisableAccount.All")
ROLES = "RoleManagement.ReadWrite.Directory"
NEW = {
    "accountEnabled": True,
    "displayName": "Latchkey service account 2",
    "mailNickname": "latchkey2",
    "userPrincipalName": "latchkey2@contoso.onmicrosoft.com",
    "passwordPolicies": "DisablePasswordExpiration",
    "passwordProfile": {"password": GOOD, "forceChangePasswordNextSignIn": False},
}


@pytest.fixture
async def tenant() -> AsyncIterator[TenantServers]:
    async with tenant_servers() as servers:
        yield servers


def role(holder: str, **more: str) -> dict[str, Any]:
    return {"roleDefinitionId": USER_ADMINISTRATOR, "principalId": holder, "directoryScopeId": "/", **more}


async def made(tenant: TenantServers, token: str) -> dict[str, Any]:
    answer = await tenant.call(token, "POST", "/users", NEW)
    assert answer.status == 201
    body: dict[str, Any] = answer.body
    return body


# Accounts


async def test_an_administrator_makes_an_account_that_then_signs_in(tenant: TenantServers) -> None:
    body = await made(tenant, await tenant.person_token(ANA, *WRITE))

    assert body["userPrincipalName"] == NEW["userPrincipalName"]
    assert "passwordProfile" not in body
    assert tenant.entra.try_password(body["id"], GOOD) == 0
    audit = tenant.directory.audits[-1]
    assert (audit.activity, audit.caller_user and audit.caller_user.upn) == ("Add user", ANA)


@pytest.mark.parametrize(
    ("change", "target"),
    [
        ({"userPrincipalName": SERVICE_ACCOUNT}, ("ObjectConflict", "userPrincipalName")),
        ({"mailNickname": None}, ("PropertyRequired", "mailNickname")),
        ({"passwordProfile": None}, ("PropertyRequired", "passwordProfile")),
        ({"passwordProfile": {"password": "password"}}, None),
        ({"passwordProfile": {}}, None),
        ({"userPrincipalName": "latchkey2@fabrikam.example"}, None),
        ({"createdDateTime": "2020-01-01T00:00:00Z"}, None),
    ],
    ids=["name taken", "no nickname", "no profile", "weak", "no password", "foreign domain", "read-only"],
)
async def test_an_account_that_cannot_be_made_says_why(
    tenant: TenantServers, change: dict[str, Any], target: tuple[str, str] | None
) -> None:
    token = await tenant.person_token(ANA, *WRITE)
    before = sum(1 for _ in tenant.directory.latest.users())

    asked = {name: value for name, value in {**NEW, **change}.items() if value is not None}
    answer = await tenant.call(token, "POST", "/users", asked)

    assert (answer.status, answer.code) == (400, "Request_BadRequest")
    details = [(one["code"], one["target"]) for one in answer.body["error"].get("details", ())]
    assert details == ([] if target is None else [target])
    assert sum(1 for _ in tenant.directory.latest.users()) == before


@pytest.mark.parametrize("who", [BO, OLIVE, "ana@contoso.com"])
async def test_who_lacks_the_role_makes_no_account_whatever_the_token_says(tenant: TenantServers, who: str) -> None:
    answer = await tenant.call(await tenant.person_token(who, *WRITE), "POST", "/users", NEW)

    assert (answer.status, answer.code) == (403, "Authorization_RequestDenied")


async def test_a_slow_replica_does_not_know_the_new_account_yet(tenant: TenantServers) -> None:
    token = await tenant.person_token(ANA, *WRITE)
    body = await made(tenant, token)
    rule = tenant.faults.add(Rule("graph", "GET", "/users/*", Lag(20)))

    behind = await tenant.call(token, "GET", f"/users/{body['id']}")
    tenant.faults.remove(rule)

    assert behind.status == 404
    assert (await tenant.call(token, "GET", f"/users/{body['id']}")).status == 200


async def test_a_password_of_somebody_who_holds_a_role_needs_the_highest_administrators(tenant: TenantServers) -> None:
    profile = {"passwordProfile": {"password": GOOD, "forceChangePasswordNextSignIn": False}}
    tenant.directory.assign_role(tenant.directory.user(OLIVE).id, "User Administrator")
    path = f"/users/{SERVICE_ACCOUNT}"  # holds roles that a User Administrator does not reach

    refused = await tenant.call(await tenant.person_token(OLIVE, *WRITE), "PATCH", path, profile)
    served = await tenant.call(await tenant.person_token(ANA, *WRITE), "PATCH", path, profile)

    assert (refused.status, served.status) == (403, 204)
    assert tenant.entra.try_password(SERVICE_ACCOUNT, GOOD) == 0


async def test_a_deleted_account_can_be_seen_and_restored_with_its_roles(tenant: TenantServers) -> None:
    token = await tenant.person_token(ANA, *WRITE, ROLES)
    body = await made(tenant, token)
    await tenant.call(token, "POST", ASSIGNMENTS, role(body["id"]))
    held = f"{ASSIGNMENTS}?$filter=principalId%20eq%20'{body['id']}'"

    gone = await tenant.call(token, "DELETE", f"/users/{body['id']}")
    seen = await tenant.call(token, "GET", f"/directory/deletedItems/{body['id']}")
    listed = await tenant.call(token, "GET", "/directory/deletedItems/microsoft.graph.user?$select=id")
    roles_of_the_deleted = (await tenant.call(token, "GET", held)).body["value"]
    restored = await tenant.call(token, "POST", f"/directory/deletedItems/{body['id']}/restore")

    assert (gone.status, seen.status, restored.status) == (204, 200, 200)
    assert seen.body["deletedDateTime"] is not None
    assert listed.body["value"] == [{"id": body["id"]}]
    assert roles_of_the_deleted == []
    assert len((await tenant.call(token, "GET", held)).body["value"]) == 1
    assert tenant.entra.try_password(body["id"], GOOD) == 0


async def test_a_deleted_account_does_not_come_back_over_another_of_its_name_nor_after_a_purge(
    tenant: TenantServers,
) -> None:
    token = await tenant.person_token(ANA, *WRITE)
    first = await made(tenant, token)
    await tenant.call(token, "DELETE", f"/users/{first['id']}")
    await made(tenant, token)
    item = f"/directory/deletedItems/{first['id']}"

    taken = await tenant.call(token, "POST", f"{item}/restore")
    purged = await tenant.call(token, "DELETE", item)

    assert taken.body["error"]["details"][0]["code"] == "ObjectConflict"
    assert purged.status == 204
    assert (await tenant.call(token, "GET", item)).status == 404


# Roles


@pytest.mark.parametrize("who", [ANA, BO])
async def test_a_role_is_given_once_and_taken_away(tenant: TenantServers, who: str) -> None:
    token = await tenant.person_token(who, ROLES, "User.Read.All")
    vic = tenant.directory.user("vic").id

    given = await tenant.call(token, "POST", ASSIGNMENTS, role(vic))
    again = await tenant.call(token, "POST", ASSIGNMENTS, role(vic))
    shown = await tenant.call(token, "GET", f"{ASSIGNMENTS}/{given.body['id']}")
    held = tenant.directory.latest.active_roles(vic)
    taken = await tenant.call(token, "DELETE", f"{ASSIGNMENTS}/{given.body['id']}")

    assert (given.status, again.status, taken.status) == (201, 400, 204)
    assert again.body["error"]["details"][0]["code"] == "ConflictingObjects"
    assert shown.body["roleDefinitionId"] == USER_ADMINISTRATOR
    assert [one.role_id for one in held] == [USER_ADMINISTRATOR]
    assert tenant.directory.latest.active_roles(vic) == []
    assert [audit.activity for audit in tenant.directory.audits[-2:]] == [
        "Add member to role",
        "Remove member from role",
    ]


async def test_roles_are_not_for_everybody_to_give(tenant: TenantServers) -> None:
    vic = tenant.directory.user("vic").id
    tenant.directory.consent(tenant.directory.applications["signin"], [ROLES], None)

    helpdesk = await tenant.call(await tenant.person_token(OLIVE, ROLES), "POST", ASSIGNMENTS, role(vic))
    without_permission = await tenant.call(
        await tenant.person_token(ANA, "RoleManagement.Read.Directory"), "POST", ASSIGNMENTS, role(vic)
    )

    assert (helpdesk.status, without_permission.status) == (403, 403)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"principalId": "11111111-2222-4333-8444-555555555555"}, 404),
        ({"roleDefinitionId": "11111111-2222-4333-8444-555555555555"}, 404),
        ({"principalId": "ce3f373a-cfc9-4694-92d2-3fd6133cf254"}, 400),
        ({"directoryScopeId": "/somewhere"}, 400),
        ({"directoryScopeId": "/administrativeUnits/136bf048-0ef4-429a-9984-54dd4ac38f7d"}, 201),
    ],
    ids=["nobody", "no such role", "an ordinary group", "no such scope", "over a unit"],
)
async def test_only_real_roles_for_real_holders(tenant: TenantServers, change: dict[str, str], status: int) -> None:
    token = await tenant.person_token(ANA, ROLES)

    assert (
        await tenant.call(token, "POST", ASSIGNMENTS, role(tenant.directory.user("vic").id, **change))
    ).status == status


async def test_a_global_administrator_cannot_give_up_the_own_role(tenant: TenantServers) -> None:
    token = await tenant.person_token(ANA, ROLES)
    (own,) = tenant.directory.latest.active_roles(tenant.directory.user(ANA).id)

    assert (await tenant.call(token, "DELETE", f"{ASSIGNMENTS}/{own.id}")).status == 400


# Who is who


async def test_somebody_reads_who_they_are_and_which_roles_they_hold(tenant: TenantServers) -> None:
    token = await tenant.person_token(OLIVE, "User.Read", "RoleManagement.Read.Directory")
    bare = await tenant.person_token(OLIVE, "User.Read")
    path = "/me/transitiveMemberOf/microsoft.graph.directoryRole?$select=id,displayName,roleTemplateId"

    me = await tenant.call(token, "GET", "/me?$select=id,userPrincipalName")
    told = (await tenant.call(token, "GET", path)).body["value"]
    untold = (await tenant.call(bare, "GET", path)).body["value"]

    assert me.body["userPrincipalName"] == OLIVE
    assert [(one["displayName"], one["roleTemplateId"]) for one in told] == [
        ("Helpdesk Administrator", "729827e3-9c14-49f7-bb1b-9608f156bbb8")
    ]
    assert untold == [{"id": told[0]["id"], "displayName": None, "roleTemplateId": None}]


async def test_a_person_acts_within_permission_and_role(tenant: TenantServers) -> None:
    """A Helpdesk Administrator revokes sessions, and licenses nobody, although the token says so."""
    token = await tenant.person_token(OLIVE, "User.RevokeSessions.All", "LicenseAssignment.ReadWrite.All")
    adele = f"/users/{tenant.directory.user('adele').id}"

    revoked = await tenant.call(token, "POST", f"{adele}/revokeSignInSessions")
    licensed = await tenant.call(token, "POST", f"{adele}/assignLicense", {"addLicenses": [], "removeLicenses": []})

    assert (revoked.status, licensed.status) == (200, 403)


async def test_the_people_of_a_group_come_in_pages_those_of_its_groups_among_them(tenant: TenantServers) -> None:
    token = await tenant.app_token()
    sales = tenant.directory.group("Sales").id
    link, names = f"/groups/{sales}/transitiveMembers/microsoft.graph.user?$select=id,userPrincipalName&$top=2", []
    while link:
        page = (await tenant.call(token, "GET", link)).body
        names += [one["userPrincipalName"].partition("@")[0] for one in page["value"]]
        link = page.get("@odata.nextLink", "")

    assert sorted(names) == ["adele", "henrietta", "isaiah", "john.smith", "miriam"]


async def test_many_objects_are_read_at_once_and_nobody_is_no_error(tenant: TenantServers) -> None:
    token = await tenant.app_token()
    adele, sales = tenant.directory.user("adele").id, tenant.directory.group("Sales").id
    ids = [adele, sales, tenant.directory.applications["bot"].principal_id, "11111111-2222-4333-8444-555555555555"]

    every = await tenant.call(token, "POST", "/directoryObjects/getByIds", {"ids": ids})
    people = await tenant.call(token, "POST", "/directoryObjects/getByIds", {"ids": ids, "types": ["user"]})

    kinds = [one["@odata.type"].rpartition(".")[2] for one in every.body["value"]]
    assert kinds == ["user", "group", "servicePrincipal"]
    assert [one["userPrincipalName"] for one in people.body["value"]] == ["adele@contoso.com"]
    assert tenant.graph.writes() == []


async def test_users_are_read_by_a_list_of_ids_of_fifteen_at_most(tenant: TenantServers) -> None:
    token = await tenant.app_token()
    ids = [tenant.directory.user(name).id for name in ("adele", "alex", "lee")]

    def path(keys: list[str]) -> str:
        listed = ",".join(f"'{key}'" for key in keys)
        return f"/users?$filter=id%20in%20({listed})&$select=id,accountEnabled"

    served = await tenant.call(token, "GET", path(ids))
    refused = await tenant.call(token, "GET", path(ids * 6))

    assert {one["id"] for one in served.body["value"]} == set(ids)
    assert (refused.status, refused.code) == (400, "Request_UnsupportedQuery")


# Consent


async def test_what_was_consented_at_a_sign_in_is_seen_and_taken_back(tenant: TenantServers) -> None:
    token = await tenant.person_token(ANA, "DelegatedPermissionGrant.ReadWrite.All", "User.Read", ROLES)
    signin, ana = tenant.directory.applications["signin"], tenant.directory.user(ANA).id
    query = f"?$filter=clientId%20eq%20'{signin.principal_id}'%20and%20principalId%20eq%20'{ana}'"

    (grant,) = (await tenant.call(token, "GET", f"/oauth2PermissionGrants{query}")).body["value"]
    mine = (await tenant.call(token, "GET", "/me/oauth2PermissionGrants")).body["value"]
    everybodys = (
        await tenant.call(token, "GET", f"/servicePrincipals/{signin.principal_id}/oauth2PermissionGrants")
    ).body
    removed = await tenant.call(token, "DELETE", f"/oauth2PermissionGrants/{grant['id']}")

    assert (grant["consentType"], grant["principalId"]) == ("Principal", ana)
    assert set(grant["scope"].split()) == {"DelegatedPermissionGrant.ReadWrite.All", ROLES}
    assert mine == [grant]
    assert {one["consentType"] for one in everybodys["value"]} == {"AllPrincipals", "Principal"}
    assert removed.status == 204
    assert ROLES not in tenant.directory.consented(signin, ana)
    audits = (await tenant.call(await tenant.app_token(), "GET", "/auditLogs/directoryAudits?$top=1")).body["value"]
    assert audits[0]["activityDisplayName"] == "Remove delegated permission grant"
    assert audits[0]["targetResources"][0]["type"] == "ServicePrincipal"


async def test_consent_is_not_for_everybody_to_take_back(tenant: TenantServers) -> None:
    tenant.directory.consent(tenant.directory.applications["signin"], ["DelegatedPermissionGrant.ReadWrite.All"], None)
    token = await tenant.person_token(OLIVE, "DelegatedPermissionGrant.ReadWrite.All")
    (grant,) = [
        one for one in tenant.directory.latest.consents()
        if one.client_id == tenant.directory.applications["service"].principal_id
    ]  # fmt: skip

    assert (await tenant.call(token, "DELETE", f"/oauth2PermissionGrants/{grant.id}")).status == 403


# Groups

GROUPS = {
    "displayName": "Left alone",
    "mailEnabled": False,
    "mailNickname": "left-alone",
    "securityEnabled": True,
}


async def test_a_group_is_made_with_its_members_and_deleted_for_good(tenant: TenantServers) -> None:
    adele = tenant.directory.user("adele").id
    token = await tenant.person_token(ANA, "Group.ReadWrite.All", ROLES)
    bind = f"https://graph.microsoft.com/v1.0/directoryObjects/{adele}"
    body = {**GROUPS, "isAssignableToRole": True, "members@odata.bind": [bind]}
    answer = await tenant.call(token, "POST", "/groups", body)

    assert (answer.status, answer.body["isAssignableToRole"]) == (201, True)
    group = tenant.directory.group("Left alone")
    assert group.members == (adele,)
    assert (await tenant.call(token, "DELETE", f"/groups/{group.id}")).status == 204
    assert (await tenant.call(token, "GET", f"/groups/{group.id}")).status == 404


@pytest.mark.parametrize(
    "change",
    [
        {"mailNickname": None},
        {"mailNickname": "with spaces"},
        {"mailEnabled": True},
        {"securityEnabled": False},
        {"isAssignableToRole": True, "visibility": "Public"},
        {"members@odata.bind": ["https://graph.microsoft.com/v1.0/me"]},
        {"color": "red"},
    ],
    ids=["no nickname", "no such nickname", "mail", "for nothing", "public", "no member", "unknown"],
)
async def test_a_group_that_cannot_be_is_refused(tenant: TenantServers, change: dict[str, Any]) -> None:
    token = await tenant.person_token(ANA, "Group.ReadWrite.All", ROLES)
    answer = await tenant.call(token, "POST", "/groups", {**GROUPS, **change})

    assert answer.status == 400


async def test_only_whoever_gives_roles_makes_a_group_that_can_have_them(tenant: TenantServers) -> None:
    tenant.directory.consent(tenant.directory.applications["signin"], ["Group.ReadWrite.All", ROLES], None)
    token = await tenant.person_token(OLIVE, "Group.ReadWrite.All", ROLES)
    assert (await tenant.call(token, "POST", "/groups", {**GROUPS, "isAssignableToRole": True})).status == 403
    assert (await tenant.call(token, "POST", "/groups", GROUPS)).status == 201, "any other everybody may make"
