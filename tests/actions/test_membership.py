"""Adding people to groups and taking them out: each is the other's undo."""

from __future__ import annotations

from typing import Any

import pytest

from bot.actions import add_to_group, remove_from_group
from bot.actions._membership import Inputs
from bot.errors import BadInput, NotPossible
from bot.model import Change, Plan, Repeat, Undo
from tests.tenant import ADELE, ADELE_ID, SALES_ID, SERVICE_ACCOUNT, PaperTenant, contoso, group

MEMBER_OF = f"users/{ADELE_ID}/memberOf/microsoft.graph.group"
CHECK = f"users/{ADELE_ID}/checkMemberGroups"


def outside() -> PaperTenant:
    tenant = contoso()
    tenant.answers |= {MEMBER_OF: [], CHECK: {"value": []}}
    return tenant


async def add(tenant: PaperTenant, name: str = "Sales") -> Plan:
    return await add_to_group.plan(tenant, ADELE, Inputs(name), SERVICE_ACCOUNT)


async def remove(tenant: PaperTenant, name: str = "Sales") -> Plan:
    return await remove_from_group.plan(tenant, ADELE, Inputs(name), SERVICE_ACCOUNT)


async def test_a_person_is_added_by_reference() -> None:
    made = await add(outside())

    [call] = made.calls
    assert (call.method, call.path) == ("POST", ("groups", SALES_ID, "members", "$ref"))
    assert call.body == {"@odata.id": {"$ref_to": ["directoryObjects", ADELE_ID]}}
    assert call.repeat is Repeat.SAFE
    assert made.changes == (Change("security group Sales", "not a member", "member"),)
    assert made.undo == Undo("remove-from-group", {"group": SALES_ID})


async def test_removing_ends_in_a_reference_for_without_it_the_person_would_go() -> None:
    made = await remove(contoso())

    [call] = made.calls
    assert (call.method, call.path) == ("DELETE", ("groups", SALES_ID, "members", ADELE_ID, "$ref"))
    assert call.repeat is Repeat.SAFE
    assert made.undo == Undo("add-to-group", {"group": SALES_ID})


async def test_the_direct_memberships_are_the_witness() -> None:
    added, removed = (await add(outside())).read_back, (await remove(contoso())).read_back

    assert added is not None
    assert removed is not None
    member, stranger = {"value": [{"id": SALES_ID}, {"id": "other"}]}, {"value": [{"id": "other"}]}
    assert added.holds(member)
    assert not added.holds(stranger)
    assert removed.holds(stranger)
    assert not removed.holds(member)
    assert "/".join(added.path) == MEMBER_OF


async def test_the_undo_of_an_addition_is_planned_by_id() -> None:
    undo = (await add(outside())).undo

    assert undo is not None
    assert (await remove_from_group.plan(contoso(), ADELE, Inputs(**undo.inputs), SERVICE_ACCOUNT)).calls


async def test_what_is_so_already_needs_no_call() -> None:
    added, removed = await add(contoso()), await remove(outside())

    assert (added.calls, added.undo, added.notes) == ((), None, ("Adele Vance is already in Sales.",))
    assert (removed.calls, removed.undo, removed.notes) == ((), None, ("Adele Vance is not in Sales.",))


async def test_a_membership_through_another_group_is_explained() -> None:
    tenant = outside()
    tenant.answers[CHECK] = {"value": [SALES_ID]}

    with pytest.raises(NotPossible, match="through another group"):
        await remove(tenant)


async def test_a_member_of_a_nested_group_can_still_be_added_directly() -> None:
    tenant = outside()
    tenant.answers[CHECK] = {"value": [SALES_ID]}

    assert (await add(tenant)).calls


@pytest.mark.parametrize(
    ("changed", "instead"),
    [
        ({"mailEnabled": True, "securityEnabled": False}, "Exchange admin center"),
        ({"mailEnabled": True}, "Exchange admin center"),
        ({"groupTypes": ["DynamicMembership"]}, "follow from a rule"),
        ({"onPremisesSyncEnabled": True}, "Active Directory"),
        ({"isAssignableToRole": True}, "Privileged Role Administrator"),
    ],
    ids=["distribution list", "mail-enabled", "dynamic", "synced", "role-assignable"],
)
async def test_groups_that_are_not_changed_here_say_where_to_go(changed: dict[str, Any], instead: str) -> None:
    tenant = outside()
    tenant.answers |= {"groups": [group(**changed)], f"groups/{SALES_ID}": group(**changed)}

    for name in ("Sales", SALES_ID):
        with pytest.raises(NotPossible, match=instead):
            await add(tenant, name)
        with pytest.raises(NotPossible, match=instead):
            await remove(tenant, name)


async def test_a_group_nobody_knows_is_bad_input() -> None:
    tenant = outside()
    tenant.answers["groups"] = []

    with pytest.raises(BadInput, match="Marketing"):
        await add(tenant, "Marketing")
