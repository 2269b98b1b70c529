"""Licences in Graph: what the tenant has, who holds what, giving and taking."""

from collections.abc import Mapping
from typing import Any

from sandbox.directory import License, Sku
from sandbox.graph import authority
from sandbox.graph.call import Call, Reply, bad_request
from sandbox.graph.odata import page, record_entity, single
from sandbox.graph.users import USER

_SKU = record_entity(
    "subscribedSku",
    (
        "id", "accountId", "accountName", "appliesTo", "capabilityStatus", "consumedUnits", "prepaidUnits",
        "servicePlans", "skuId", "skuPartNumber", "subscriptionIds",
    ),
)  # fmt: skip
_DETAIL = record_entity("licenseDetails", ("id", "skuId", "skuPartNumber", "servicePlans"))


def list_skus(call: Call) -> Reply:
    """`GET /subscribedSkus`"""
    authority.require(call.caller, authority.READ_LICENSES)
    rows = [_sku_json(call, sku) for sku in call.directory.skus.values()]
    return Reply(body=page(call, rows, lambda _: _SKU, "subscribedSkus", checked=_SKU))


def _sku_json(call: Call, sku: Sku) -> Mapping[str, Any]:
    tenant = call.directory.tenant
    return {
        "id": f"{tenant.id}_{sku.id}",
        "accountId": tenant.id,
        "accountName": tenant.name,
        "appliesTo": "User",
        "capabilityStatus": "Enabled",
        "consumedUnits": call.view.consumed(sku),
        "prepaidUnits": {"enabled": sku.enabled, "suspended": 0, "warning": 0, "lockedOut": 0},
        "servicePlans": _plans(sku, disabled=()),
        "skuId": sku.id,
        "skuPartNumber": sku.part_number,
        "subscriptionIds": [],
    }


def _plans(sku: Sku, *, disabled: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        {
            "servicePlanId": id_,
            "servicePlanName": name,
            "provisioningStatus": "Disabled" if id_ in disabled else "Success",
            "appliesTo": "User",
        }
        for id_, name in sku.plans.items()
    ]


def list_details(call: Call) -> Reply:
    """`GET /users/{id}/licenseDetails`"""
    authority.require(call.caller, authority.READ_USERS)
    user = call.user(call.args[0])
    held: dict[str, License] = {}
    for license_, _ in call.view.licenses_of(user):
        held.setdefault(license_.sku_id, license_)
    rows: list[Mapping[str, Any]] = [
        {
            "id": f"{user.id[:8]}_{sku.id}",
            "skuId": sku.id,
            "skuPartNumber": sku.part_number,
            "servicePlans": _plans(sku, disabled=held[sku.id].disabled_plans),
        }
        for sku in call.directory.skus.values()
        if sku.id in held
    ]
    return Reply(body=page(call, rows, lambda _: _DETAIL, f"users('{user.id}')/licenseDetails", checked=_DETAIL))


def assign(call: Call) -> Reply:
    """`POST /users/{id}/assignLicense`: adds and removes, all or nothing."""
    authority.require(call.caller, authority.WRITE_LICENSES)
    user = call.user(call.args[0])
    authority.require_in_reach(call, authority.WRITE_LICENSES, user)
    now = call.directory.latest
    own = {license_.sku_id: license_ for license_ in user.licenses}
    inherited = {license_.sku_id for license_, group_id in now.licenses_of(user) if group_id is not None}

    for sku_id in map(str.lower, call.body["removeLicenses"]):
        if sku_id not in own:
            raise bad_request(
                "User license is inherited from a group membership and it cannot be removed directly from the user."
                if sku_id in inherited
                else "User does not have a corresponding license."
            )
        del own[sku_id]
    for addition in call.body["addLicenses"]:
        sku_id = addition["skuId"].lower()
        sku = call.directory.skus.get(sku_id)
        if sku is None:
            raise bad_request(f"License {sku_id} does not correspond to a valid company License.")
        disabled = tuple(plan.lower() for plan in addition.get("disabledPlans", ()))
        if unknown := set(disabled) - sku.plans.keys():
            raise bad_request(f"Service plan {min(unknown)} is not part of license {sku_id}.")
        if user.usage_location is None:
            raise bad_request("License assignment cannot be done for user with invalid usage location.")
        held = any(license_.sku_id == sku_id for license_, _ in now.licenses_of(user))
        if not held and now.consumed(sku) >= sku.enabled:
            raise bad_request(f"Subscription with SKU {sku_id} does not have any available licenses.")
        own[sku_id] = License(sku_id, disabled)

    after = call.directory.update_user(user.id, licenses=tuple(own.values()))
    call.audit("UserManagement", "Change user license", after, "AssignedLicense")
    return Reply(body=single(call, USER, after, "users"), applied=True)
