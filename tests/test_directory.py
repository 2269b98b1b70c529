"""Who a typed name means, and what is read of a person before anything is decided."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.directory import (
    SCOPE_ATTRIBUTES,
    Group,
    GroupKind,
    find_group,
    find_license,
    find_people,
    means_exactly,
    quoted,
    read_exactly,
    read_licenses,
    read_person,
    search_groups,
    search_licenses,
    together,
)
from bot.errors import BadInput, GraphRefused, GraphUnavailable, NotPossible
from bot.model import Target, TargetKind
from tests.tenant import (
    ADELE,
    ADELE_ID,
    E3_ID,
    GLOBAL_ADMINISTRATOR,
    NOBODY,
    SALES_ID,
    contoso,
    group,
    refused,
    sku,
    user,
)

PIA_ROLE, CUSTOM_ROLE = "FE930BE7-5E62-47DB-91AF-98C3A49A38B1", "531b5fbc-21eb-4d50-848d-43653f3a7995"


# --- Finding people -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("typed", ["adele@contoso.com", "  adele@contoso.com "])
async def test_a_sign_in_name_means_one_person(typed: str) -> None:
    tenant = contoso()

    found = await find_people(tenant, typed)

    assert [person.name for person in found] == ["Adele Vance"]
    assert [path for path, _, _ in tenant.asked] == ["users/adele@contoso.com"]


async def test_an_object_id_means_one_person_or_nobody() -> None:
    tenant = contoso()
    unknown = "00000000-0000-4000-8000-000000000000"
    tenant.answers[f"users/{unknown}"] = NOBODY

    assert [person.upn for person in await find_people(tenant, ADELE_ID)] == ["adele@contoso.com"]
    assert await find_people(tenant, unknown) == []


async def test_an_address_that_is_no_sign_in_name_is_looked_for_among_mail_addresses() -> None:
    tenant = contoso()
    tenant.answers |= {"users/adele.o'vance@contoso.com": NOBODY, "users": [user()]}

    [found] = await find_people(tenant, "adele.o'vance@contoso.com")

    assert not means_exactly("adele.o'vance@contoso.com", found)
    assert tenant.asked[-1][1]["$filter"] == (
        "mail eq 'adele.o''vance@contoso.com' or proxyAddresses/any(each:each eq 'smtp:adele.o''vance@contoso.com')"
    )


@pytest.mark.parametrize("typed", ["ADELE@contoso.com", f" {ADELE_ID.upper()} ", ADELE_ID])
def test_only_a_sign_in_name_or_an_id_means_exactly_one(typed: str) -> None:
    assert means_exactly(typed, ADELE)
    assert not means_exactly("Adele Vance", ADELE)


async def test_a_name_is_searched_for() -> None:
    tenant = contoso()
    tenant.answers["users"] = [user(), user(id=ADELE_ID[::-1], displayName="Adele Other")]

    found = await find_people(tenant, 'Adele "V" \\', limit=1)

    assert len(found) == 1
    path, query, eventual = tenant.asked[-1]
    assert (path, eventual) == ("users", True)
    assert query["$search"] == '"displayName:Adele V" OR "userPrincipalName:Adele V"'
    assert query["$top"] == "1"


async def test_where_search_is_not_there_the_beginning_of_a_name_is_looked_for() -> None:
    tenant = contoso()

    def without_search(query: dict[str, str]) -> Any:
        if "$search" in query:
            raise refused(400, "Request_UnsupportedQuery")
        return [user()]

    tenant.answers["users"] = without_search

    assert [person.name for person in await find_people(tenant, "O'Brien")] == ["Adele Vance"]
    assert "startswith(surname,'O''Brien')" in tenant.asked[-1][1]["$filter"]


async def test_a_search_that_is_forbidden_is_not_tried_in_another_way() -> None:
    tenant = contoso()
    tenant.answers["users"] = refused(403, "Authorization_RequestDenied")

    with pytest.raises(GraphRefused):
        await find_people(tenant, "Adele")
    assert len(tenant.asked) == 1


@pytest.mark.parametrize("typed", ["аdele@contoso.com", "adele＠contoso.com"])
async def test_look_alike_addresses_are_refused_before_anything_is_asked(typed: str) -> None:
    tenant = contoso()

    with pytest.raises(BadInput, match=r"U\+"):
        await find_people(tenant, typed)
    assert tenant.asked == []


@pytest.mark.parametrize("typed", ["a'/../../groups/1", "..", "%2f..%2f", "x?$expand=*", "x#", "x%00", "x' or 1 eq 1"])
async def test_an_injection_is_only_ever_a_name_that_is_searched_for(typed: str) -> None:
    tenant = contoso()
    tenant.answers["users"] = []

    assert await find_people(tenant, typed) == []
    assert [path for path, _, _ in tenant.asked] == ["users"]


@given(st.text())
def test_any_text_is_one_string_literal_of_odata(text: str) -> None:
    literal = quoted(text)

    assert literal[0] == literal[-1] == "'"
    assert "'" not in literal[1:-1].replace("''", "")
    assert literal[1:-1].replace("''", "'") == text


@given(st.text())
async def test_no_text_breaks_out_of_a_search(text: str) -> None:
    tenant = contoso()
    tenant.answers["users"] = []

    if not await find_people(tenant, text.replace("@", "").replace("＠", "")):
        search = tenant.asked[-1][1].get("$search", '""')
        assert search.count('"') in {2, 4}
        assert "\\" not in search


async def test_before_anything_is_typed_the_first_few_are_listed() -> None:
    tenant = contoso()
    tenant.answers["users"] = [user()]

    assert len(await find_people(tenant, " ")) == 1
    assert "$search" not in tenant.asked[-1][1]


# --- Reading a person -----------------------------------------------------------------------------------------------


async def test_a_person_is_read_with_everything_a_form_shows() -> None:
    person = await read_person(contoso(), ADELE_ID, guard=False)

    assert person.label == "Adele Vance, Sales"
    assert (person.title, person.office, person.manager) == ("Retail Manager", "Leeds", "Miriam Graham")
    assert person.last_sign_in == datetime(2026, 3, 2, 13, tzinfo=UTC)
    assert (person.enabled, person.synced, person.guest) == (True, False, False)
    assert person.licenses == (E3_ID,)
    assert not person.guarded


@pytest.mark.parametrize("guard", [False, True])
async def test_read_by_sign_in_name_the_account_itself_is_asked_for_once(guard: bool) -> None:
    tenant = contoso()

    person = await read_exactly(tenant, " adele@contoso.com", guard=guard)

    assert person == await read_person(contoso(), ADELE_ID, guard=guard)
    accounts = [path for path, query, _ in tenant.asked if path.startswith("users/") and "$expand" in query]
    assert accounts == ["users/adele@contoso.com"]


@pytest.mark.parametrize("typed", ["", "Adele Vance", "nobody@contoso.com"])
async def test_whoever_is_not_named_exactly_is_not_read(typed: str) -> None:
    tenant = contoso()
    tenant.answers["users/nobody@contoso.com"] = NOBODY

    assert await read_exactly(tenant, typed, guard=True) is None


async def test_attributes_that_were_read_and_are_empty_differ_from_those_that_were_not() -> None:
    attributes = (await read_person(contoso(), ADELE_ID, guard=False)).attributes

    assert attributes["department"] == "Sales"
    assert attributes["city"] == ""
    assert attributes["extensionAttribute1"] == "gold"
    assert "extensionAttribute2" not in attributes
    assert set(attributes) <= set(SCOPE_ATTRIBUTES)


@pytest.mark.parametrize(
    ("changed", "field", "value"),
    [
        ({"userType": "Guest"}, "guest", True),
        ({"userPrincipalName": "gail_x#EXT#@contoso.com", "userType": None}, "guest", True),
        ({"onPremisesSyncEnabled": True}, "synced", True),
        ({"accountEnabled": False}, "enabled", False),
        ({"manager": None}, "manager", None),
        ({"displayName": None}, "name", "adele@contoso.com"),
        ({"signInActivity": None}, "last_sign_in", None),
        ({"signInActivity": {"lastSignInDateTime": None}}, "last_sign_in", None),
        ({"assignedLicenses": None}, "licenses", ()),
        ({"usageLocation": ""}, "usage_location", None),
    ],
)
async def test_a_person_may_be(changed: dict[str, Any], field: str, value: object) -> None:
    tenant = contoso()
    tenant.answers[f"users/{ADELE_ID}"] = user(**changed)

    assert getattr(await read_person(tenant, ADELE_ID, guard=False), field) == value


def without_sign_ins(error: Exception) -> Any:
    def answer(query: dict[str, str]) -> Any:
        if "signInActivity" in query["$select"]:
            raise error
        return user()

    return answer


async def test_without_the_licence_for_sign_ins_the_last_one_is_not_known() -> None:
    tenant = contoso()
    error = refused(403, "Authentication_RequestFromNonPremiumTenantOrB2CTenant")
    tenant.answers[f"users/{ADELE_ID}"] = without_sign_ins(error)

    assert (await read_person(tenant, ADELE_ID, guard=True)).last_sign_in is None


async def test_a_guarded_read_knows_groups_roles_and_units() -> None:
    tenant = contoso()
    tenant.answers |= {
        f"users/{ADELE_ID}/transitiveMemberOf": [
            group(),
            group(id=SALES_ID[::-1], displayName="Tier 0", isAssignableToRole=True),
            {
                "@odata.type": "#microsoft.graph.directoryRole",
                "id": "d1000000-0000-4000-8000-000000000000",
                "displayName": "Global Administrator",
                "roleTemplateId": GLOBAL_ADMINISTRATOR,
            },
            {"@odata.type": "#microsoft.graph.administrativeUnit", "id": "unit", "displayName": "Leeds"},
        ],
        f"users/{ADELE_ID}/memberOf/microsoft.graph.administrativeUnit": [
            {"id": "unit", "displayName": "Leeds", "isMemberManagementRestricted": None},
            {"id": "unit2", "displayName": "Treasury", "isMemberManagementRestricted": True},
        ],
        "roleManagement/directory/roleAssignments": [{"roleDefinitionId": CUSTOM_ROLE}],
        "roleManagement/directory/roleEligibilityScheduleInstances": [{"roleDefinitionId": PIA_ROLE}],
    }

    person = await read_person(tenant, ADELE_ID, guard=True)

    assert person.guarded
    assert person.groups == {SALES_ID, SALES_ID[::-1]}
    assert person.directory_roles == {GLOBAL_ADMINISTRATOR, CUSTOM_ROLE, PIA_ROLE.lower()}
    assert person.in_role_assignable_group
    assert person.in_restricted_unit
    assert not person.eligibility_unknown
    filters = [query["$filter"] for path, query, _ in tenant.asked if path.startswith("roleManagement")]
    assert filters == [f"principalId eq '{ADELE_ID}'"] * 2


async def test_nobody_special_is_guarded_and_nothing_else() -> None:
    person = await read_person(contoso(), ADELE_ID, guard=True)

    ordinary = replace(person, in_role_assignable_group=False, in_restricted_unit=False, directory_roles=frozenset())
    assert person == ordinary
    assert person.guarded


async def test_a_role_that_does_not_say_which_one_it_is_counts_as_one() -> None:
    tenant = contoso()
    bare = {"@odata.type": "#microsoft.graph.directoryRole", "id": "D1000000", "displayName": None}
    tenant.answers[f"users/{ADELE_ID}/transitiveMemberOf"] = [bare]

    assert (await read_person(tenant, ADELE_ID, guard=True)).directory_roles == {"d1000000"}


@pytest.mark.parametrize("code", ["AadPremiumLicenseRequired", "PimLicenseRequired"])
async def test_a_tenant_without_the_licence_has_no_eligible_roles(code: str) -> None:
    tenant = contoso()
    tenant.answers["roleManagement/directory/roleEligibilityScheduleInstances"] = refused(400, code)

    assert (await read_person(tenant, ADELE_ID, guard=True)).eligibility_unknown


GUARDING = [
    f"users/{ADELE_ID}",
    f"users/{ADELE_ID}/transitiveMemberOf",
    f"users/{ADELE_ID}/memberOf/microsoft.graph.administrativeUnit",
    "roleManagement/directory/roleAssignments",
    "roleManagement/directory/roleEligibilityScheduleInstances",
]


@pytest.mark.parametrize("path", GUARDING)
@pytest.mark.parametrize(
    "error",
    [refused(403, "Authorization_RequestDenied"), refused(400, "BadRequest"), GraphUnavailable("Try later.")],
    ids=["forbidden", "bad request", "unavailable"],
)
async def test_any_other_read_that_fails_refuses(path: str, error: Exception) -> None:
    tenant = contoso()
    tenant.answers[path] = error

    with pytest.raises(type(error)):
        await read_person(tenant, ADELE_ID, guard=True)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (GUARDING[1], [group(displayName=None)]),
        (GUARDING[2], [{"id": "unit", "displayName": None}]),
    ],
)
async def test_groups_and_units_that_are_hidden_refuse(path: str, found: list[dict[str, Any]]) -> None:
    tenant = contoso()
    tenant.answers[path] = found

    with pytest.raises(NotPossible, match="latchkey doctor"):
        await read_person(tenant, ADELE_ID, guard=True)


async def test_reads_run_together_and_none_is_left_behind_when_one_fails() -> None:
    ended = []

    async def waits_for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("stopped")

    async def fails() -> None:
        raise GraphUnavailable("Try later.")

    with pytest.raises(GraphUnavailable):
        await together(waits_for_ever(), fails())
    assert ended == ["stopped"]


# --- Groups ---------------------------------------------------------------------------------------------------------

KINDS = {
    "a security group": ({}, GroupKind.SECURITY, ""),
    "a Microsoft 365 group": (
        {"groupTypes": ["Unified"], "mailEnabled": True, "securityEnabled": False},
        GroupKind.MICROSOFT_365,
        "",
    ),
    "a distribution list": ({"mailEnabled": True, "securityEnabled": False}, GroupKind.DISTRIBUTION, "Exchange admin"),
    "a mail-enabled security group": ({"mailEnabled": True}, GroupKind.MAIL_SECURITY, "Exchange admin center"),
    "a dynamic group": ({"groupTypes": ["DynamicMembership"]}, GroupKind.SECURITY, "follow from a rule"),
    "a group from on-premises": ({"onPremisesSyncEnabled": True}, GroupKind.SECURITY, "Active Directory"),
    "a role-assignable group": ({"isAssignableToRole": True}, GroupKind.SECURITY, "Privileged Role Administrator"),
}


@pytest.mark.parametrize(("changed", "kind", "instead"), KINDS.values(), ids=KINDS)
async def test_a_group_says_what_it_is_and_where_to_go_if_not_here(
    changed: dict[str, Any], kind: GroupKind, instead: str
) -> None:
    tenant = contoso()
    tenant.answers["groups"] = [group(**changed)]

    found = await find_group(tenant, "Sales")

    assert found.kind is kind
    assert (found.why_not == "") is (instead == "")
    assert instead in found.why_not


async def test_a_group_is_found_by_name_or_id() -> None:
    tenant = contoso()

    assert await find_group(tenant, " Sales ") == Group(SALES_ID, "Sales", GroupKind.SECURITY)
    assert await find_group(tenant, SALES_ID.upper().lower()) == Group(SALES_ID, "Sales", GroupKind.SECURITY)


async def test_an_unknown_group_is_answered_with_similar_ones() -> None:
    tenant = contoso()
    tenant.answers["groups"] = lambda query: [group()] if "$search" in query else []

    with pytest.raises(BadInput, match="Did you mean “Sales”") as refusal:
        await find_group(tenant, "Sale's")
    assert refusal.value.field == "group"
    assert tenant.asked[0][1]["$filter"] == "displayName eq 'Sale''s'"


async def test_an_unknown_group_without_any_like_it_is_said_to_be_unknown() -> None:
    tenant = contoso()
    tenant.answers |= {"groups": [], f"groups/{ADELE_ID}": NOBODY}

    with pytest.raises(BadInput, match=r"no group called “Marketing”\. Type"):
        await find_group(tenant, "Marketing")
    with pytest.raises(BadInput, match="no group with the id"):
        await find_group(tenant, ADELE_ID)


async def test_groups_of_one_name_are_told_apart_by_id() -> None:
    tenant = contoso()
    tenant.answers["groups"] = [group(), group(id=ADELE_ID)]

    with pytest.raises(BadInput, match=f"`{SALES_ID}` or `{ADELE_ID}`"):
        await find_group(tenant, "Sales")


async def test_only_groups_that_can_be_changed_are_listed() -> None:
    tenant = contoso()
    tenant.answers["groups"] = [group(), group(isAssignableToRole=True)]

    assert await search_groups(tenant, "sal") == [Target(TargetKind.GROUP, SALES_ID, "Sales", "security group")]


# --- Licences -------------------------------------------------------------------------------------------------------

UNKNOWN_SKU = sku(skuId=E3_ID[::-1], skuPartNumber="BRAND_NEW", consumedUnits=60)


@pytest.mark.parametrize("typed", ["office 365 e3", "EnterprisePack", E3_ID.upper()])
async def test_a_product_is_found_by_name_part_number_or_id(typed: str) -> None:
    product = await find_license(contoso(), typed)

    assert (product.name, product.free, product.supply) == ("Office 365 E3", 38, "38 of 50 free")


async def test_an_unknown_product_is_answered_with_those_there_are() -> None:
    tenant = contoso()
    tenant.answers["subscribedSkus"] = [sku(), UNKNOWN_SKU]

    with pytest.raises(BadInput, match="“BRAND_NEW” or “Office 365 E3”"):
        await find_license(tenant, "E7")


async def test_products_for_companies_are_not_for_people_and_none_is_free_below_nothing() -> None:
    tenant = contoso()
    tenant.answers["subscribedSkus"] = [UNKNOWN_SKU, sku(appliesTo="Company")]

    assert [(each.name, each.free) for each in await read_licenses(tenant)] == [("BRAND_NEW", 0)]


async def test_products_are_listed_with_what_is_left_of_them() -> None:
    tenant = contoso()

    assert await search_licenses(tenant, "enterprise") == [
        Target(TargetKind.LICENSE, E3_ID, "Office 365 E3", "38 of 50 free")
    ]
    assert len(await search_licenses(tenant, "")) == 1
    assert await search_licenses(tenant, "visio") == []
