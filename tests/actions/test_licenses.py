"""Giving licences and taking them away: each is the other's undo."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bot.actions import assign_license, remove_license
from bot.errors import BadInput, NotPossible
from bot.model import Change, Person, Plan, Repeat, Undo
from tests.tenant import ADELE, ADELE_ID, E3_ID, E3_MAIL, E3_TEAMS, SALES_ID, SERVICE_ACCOUNT, contoso, sku, user

Held = list[dict[str, Any]]

NONE: Held = []
DIRECTLY: Held = [{"skuId": E3_ID.upper(), "disabledPlans": [E3_TEAMS, E3_MAIL], "assignedByGroup": None}]
BY_GROUP: Held = [{"skuId": E3_ID, "disabledPlans": [], "assignedByGroup": SALES_ID}]


async def assign(
    held: Held,
    *,
    person: Person = ADELE,
    without: str = "",
    product: str = "Office 365 E3",
    **more: Any,
) -> Plan:
    tenant = contoso()
    tenant.answers |= {f"users/{ADELE_ID}": user(licenseAssignmentStates=held), "subscribedSkus": [sku(**more)]}
    return await assign_license.plan(tenant, person, assign_license.Inputs(product, without), SERVICE_ACCOUNT)


async def remove(held: Held, product: str = "ENTERPRISEPACK") -> Plan:
    tenant = contoso()
    tenant.answers[f"users/{ADELE_ID}"] = user(licenseAssignmentStates=held)
    return await remove_license.plan(tenant, ADELE, remove_license.Inputs(product), SERVICE_ACCOUNT)


async def test_a_licence_is_assigned_with_all_its_services() -> None:
    made = await assign(NONE)

    [call] = made.calls
    assert (call.method, call.path) == ("POST", ("users", ADELE_ID, "assignLicense"))
    assert call.body == {"addLicenses": [{"skuId": E3_ID, "disabledPlans": []}], "removeLicenses": []}
    assert call.repeat is Repeat.SAFE
    assert made.changes == (
        Change("licence Office 365 E3", "not assigned", "assigned"),
        Change("free Office 365 E3 licences", "38", "37"),
    )
    assert made.undo == Undo("remove-license", {"license": E3_ID})


async def test_services_can_be_left_off_by_name_or_id() -> None:
    made = await assign(NONE, without=f" teams1 ,{E3_MAIL.upper()},")

    assert made.calls[0].body["addLicenses"][0]["disabledPlans"] == sorted([E3_TEAMS, E3_MAIL])
    assert made.changes[0].after == "assigned, without 2 of its services"


async def test_a_service_that_is_not_in_it_is_answered_with_those_that_are() -> None:
    with pytest.raises(BadInput, match="EXCHANGE_S_ENTERPRISE, TEAMS1") as refusal:
        await assign(NONE, without="SWAY")
    assert refusal.value.field == "without"


async def test_removing_takes_it_away_and_remembers_what_was_left_off() -> None:
    made = await remove(DIRECTLY)

    [call] = made.calls
    assert call.body == {"addLicenses": [], "removeLicenses": [E3_ID]}
    plans = ",".join(sorted([E3_TEAMS, E3_MAIL]))
    assert made.undo == Undo("assign-license", {"license": E3_ID, "without": plans})
    assert "30 days" in made.notes[0]


async def test_undoing_a_removal_gives_back_what_was_there() -> None:
    undo = (await remove(DIRECTLY)).undo

    assert undo is not None
    given_back = await assign(NONE, product=undo.inputs["license"], without=undo.inputs["without"])
    assert given_back.calls[0].body["addLicenses"] == [{"skuId": E3_ID, "disabledPlans": sorted([E3_TEAMS, E3_MAIL])}]


async def test_the_licences_of_the_person_are_the_witness() -> None:
    given, taken = (await assign(NONE)).read_back, (await remove(DIRECTLY)).read_back

    assert given is not None
    assert taken is not None
    has = {"assignedLicenses": [{"skuId": E3_ID}]}
    assert given.holds(has)
    assert not given.holds({"assignedLicenses": NONE})
    assert taken.holds({"assignedLicenses": NONE})
    assert not taken.holds(has)


async def test_what_is_so_already_needs_no_call() -> None:
    assert (await assign(DIRECTLY)).notes == ("Adele Vance already has Office 365 E3.",)
    assert (await assign(BY_GROUP)).notes == ("Adele Vance already has Office 365 E3 through a group.",)
    assert (await remove(NONE)).notes == ("Adele Vance does not have Office 365 E3.",)
    assert (await assign(DIRECTLY)).calls == (await remove(NONE)).calls == ()


async def test_a_licence_that_comes_from_a_group_is_lost_with_the_group() -> None:
    for held in (BY_GROUP, [*DIRECTLY, *BY_GROUP]):
        with pytest.raises(NotPossible, match=rf"{SALES_ID}.*remove-from-group"):
            await remove(held)


async def test_without_a_country_there_is_no_licence() -> None:
    with pytest.raises(NotPossible, match=r"usage location.*Microsoft 365 admin center"):
        await assign(NONE, person=replace(ADELE, usage_location=None))


async def test_without_a_free_unit_there_is_none_either() -> None:
    with pytest.raises(NotPossible, match=r"All 50 licences of Office 365 E3 are in use\."):
        await assign(NONE, consumedUnits=50)


async def test_a_product_the_tenant_does_not_have_is_bad_input() -> None:
    with pytest.raises(BadInput, match="“Office 365 E3”"):
        await assign(NONE, product="Visio")
