"""Which products a person has: what assigning and removing licences have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from bot.directory import License
from bot.directory_roles import LICENSE_ADMINISTRATOR, USER_ADMINISTRATOR
from bot.model import Call, Expect, Person, ReadBack
from bot.ports import Reader

PERMISSIONS: Final = ("LicenseAssignment.ReadWrite.All",)
ROLES: Final = (LICENSE_ADMINISTRATOR, USER_ADMINISTRATOR)


@dataclass(frozen=True)
class Held:
    """How a person has a product: directly (then with these service plans left off), through groups, or both."""

    directly: bool
    left_off: tuple[str, ...]
    groups: tuple[str, ...]


async def how_held(reader: Reader, person: Person, product: License) -> Held:
    """How the person has this product now (Graph docs: *licenseAssignmentState resource type*)."""
    user = await reader.get("users", person.id, query={"$select": "id,licenseAssignmentStates"})
    states = [state for state in user.get("licenseAssignmentStates") or () if state["skuId"].lower() == product.sku_id]
    direct = [state for state in states if not state.get("assignedByGroup")]
    return Held(
        directly=bool(direct),
        left_off=tuple(sorted(plan for state in direct for plan in state.get("disabledPlans") or ())),
        groups=tuple(sorted(state["assignedByGroup"] for state in states if state.get("assignedByGroup"))),
    )


def change_licenses(person: Person, *, add: list[dict[str, Any]], remove: list[str], advice: str) -> Call:
    """Graph's one call for both (Graph docs: *assignLicense*)."""
    path = ("users", person.id, "assignLicense")
    return Call("POST", path, {"addLicenses": add, "removeLicenses": remove}, advice=advice)


def licenses(person: Person, product: License, *, expect: Expect) -> ReadBack:
    """How to see whether the person has the product directly."""
    return ReadBack(
        path=("users", person.id),
        query=(("$select", "assignedLicenses"),),
        pointer="assignedLicenses/skuId",
        expect=expect,
        value=product.sku_id,
    )
