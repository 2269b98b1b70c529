"""Look people, groups and licences up in the tenant: who a typed name means, and what is true of them now."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from bot.command import looks_exact, looks_like_id, refuse_lookalikes
from bot.errors import BadInput, GraphNotFound, GraphRefused, NotPossible
from bot.model import Person, Target, TargetKind
from bot.ports import Reader

PERMISSIONS: Final = (
    "User.Read.All",
    "GroupMember.Read.All",
    "RoleManagement.Read.Directory",
    "AdministrativeUnit.Read.All",
    "AuditLog.Read.All",
    "LicenseAssignment.Read.All",
)
"""The Graph permissions that looking up and guarding need, beside those of each action. Without `AuditLog.Read.All`
there is no last sign-in; without the others nothing can be decided."""

SCOPE_ATTRIBUTES: Final = (
    "city",
    "companyName",
    "country",
    "department",
    "employeeType",
    "jobTitle",
    "mail",
    "officeLocation",
    "state",
    "usageLocation",
    "userPrincipalName",
    "userType",
    *(f"extensionAttribute{number}" for number in range(1, 16)),
)
"""The attributes a scope may ask about: these are read, any other is *not known* and so never in scope."""

_NO_ELIGIBILITY: Final = frozenset({"AadPremiumLicenseRequired", "PimLicenseRequired"})
"""Graph's `error.code` where the tenant's licence has no eligible role assignments."""

_SUGGESTED: Final = "id,userPrincipalName,displayName,department,jobTitle,officeLocation,userType"
_FULL: Final = (
    f"{_SUGGESTED},accountEnabled,city,companyName,country,employeeType,mail,state,usageLocation,assignedLicenses,"
    "lastPasswordChangeDateTime,signInSessionsValidFromDateTime,onPremisesSyncEnabled,onPremisesExtensionAttributes"
)


# --- People ---------------------------------------------------------------------------------------------------------


async def find_people(reader: Reader, typed: str, limit: int = 5) -> list[Person]:
    """Whom *typed* may mean: the one account of that sign-in name or object id, or else people of a similar name.

    Similar people are for suggesting, never for picking one of them (`means_exactly` tells them apart), and hold only
    what a suggestion shows. An address that is no sign-in name is also looked for among the mail addresses. Empty if
    there is nobody. Raises `BadInput` for addresses with look-alike letters.
    """
    typed = typed.strip()
    refuse_lookalikes(typed)
    if not looks_exact(typed):
        return [_person(found) for found in await _similar(reader, "users", typed, _PEOPLE, limit)]
    try:
        return [_person(await _read_user(reader, typed))]
    except GraphNotFound:
        if looks_like_id(typed):
            return []
        address = quoted(typed)
        query = {
            "$filter": f"mail eq {address} or proxyAddresses/any(each:each eq {quoted(f'smtp:{typed}')})",
            "$select": _SUGGESTED,
            "$top": str(limit),
        }
        return [_person(found) for found in await reader.collect("users", query=query, limit=limit)]


def means_exactly(typed: str, person: Person) -> bool:
    """Whether *typed* is this person's sign-in name or object id, so that nobody else can be meant."""
    return typed.strip().lower() in (person.upn.lower(), person.id)


async def read_exactly(reader: Reader, typed: str, *, guard: bool) -> Person | None:
    """The account whose sign-in name or object id *typed* is, as `read_person` reads it; None if it is nobody's.

    The account itself is read once. Raises `BadInput` for addresses with look-alike letters.
    """
    typed = typed.strip()
    refuse_lookalikes(typed)
    if not looks_exact(typed):
        return None
    try:
        person = _person(await _read_user(reader, typed))
    except GraphNotFound:
        return None
    if not means_exactly(typed, person):
        return None
    return replace(person, **await _read_around(reader, person.id, guard=guard))


async def read_person(reader: Reader, object_id: str, *, guard: bool) -> Person:
    """A person as the tenant has them now; `guard` also reads what protects them (`Person.guarded`).

    All reads run at once. Whatever cannot be read refuses, save the last sign-in (not everybody has the licence) and
    eligible roles where Graph says that the tenant's licence has none.
    """
    user, around = await together(_read_user(reader, object_id), _read_around(reader, object_id, guard=guard))
    return replace(_person(user), **around)


async def _read_around(reader: Reader, object_id: str, *, guard: bool) -> dict[str, Any]:
    """The fields of a `Person` that the account itself does not hold."""
    if not guard:
        return {"last_sign_in": await _read_last_sign_in(reader, object_id)}
    last_sign_in, holds, assigned, eligible, units = await together(
        _read_last_sign_in(reader, object_id),
        reader.collect("users", object_id, "transitiveMemberOf", query={"$select": _MEMBERSHIP, "$top": "999"}),
        reader.collect("roleManagement", "directory", "roleAssignments", query=_of_principal(object_id)),
        _read_eligible_roles(reader, object_id),
        reader.collect(
            "users",
            object_id,
            "memberOf",
            "microsoft.graph.administrativeUnit",
            query={"$select": "id,displayName,isMemberManagementRestricted"},
        ),
    )
    groups = [item for item in holds if item.get("@odata.type") == "#microsoft.graph.group"]
    roles = [item for item in holds if item.get("@odata.type") == "#microsoft.graph.directoryRole"]
    if any(item.get("displayName") is None for item in (*groups, *units)):
        # Graph shows objects that may not be read as bare ids (Graph docs: *List a user's memberships*).
        raise NotPossible(
            "Latchkey cannot see all groups and units of this account, so it cannot tell whether it is protected. "
            "Ask a tenant admin to run `latchkey doctor`: permissions to read groups are missing."
        )
    return {
        "last_sign_in": last_sign_in,
        "groups": frozenset(_lower(group["id"]) for group in groups),
        # A role without a template id is one that cannot be judged: its own id is in no list of harmless ones.
        "directory_roles": frozenset(_lower(role.get("roleTemplateId") or role["id"]) for role in roles)
        | frozenset(_lower(each["roleDefinitionId"]) for each in (*assigned, *(eligible or ()))),
        "in_role_assignable_group": any(group.get("isAssignableToRole") for group in groups),
        "in_restricted_unit": any(unit.get("isMemberManagementRestricted") for unit in units),
        "eligibility_unknown": eligible is None,
        "guarded": True,
    }


_MEMBERSHIP: Final = "id,displayName,isAssignableToRole,roleTemplateId"
_MANAGER: Final = "manager($select=displayName)"


def _read_user(reader: Reader, key: str) -> Coroutine[Any, Any, dict[str, Any]]:
    return reader.get("users", key, query={"$select": _FULL, "$expand": _MANAGER})


async def _read_last_sign_in(reader: Reader, object_id: str) -> datetime | None:
    try:
        user = await reader.get("users", object_id, query={"$select": "id,signInActivity"})
    except GraphRefused as error:
        if error.answer is not None and error.answer.status == 403:
            return None
        raise
    return _moment((user.get("signInActivity") or {}).get("lastSignInDateTime"))


async def _read_eligible_roles(reader: Reader, object_id: str) -> list[dict[str, Any]] | None:
    """None if the tenant's licence has no eligible roles."""
    path = ("roleManagement", "directory", "roleEligibilityScheduleInstances")
    try:
        return await reader.collect(*path, query=_of_principal(object_id))
    except GraphRefused as error:
        if error.answer is not None and error.answer.code in _NO_ELIGIBILITY:
            return None
        raise


def _of_principal(object_id: str) -> dict[str, str]:
    return {"$filter": f"principalId eq {quoted(object_id)}"}


def _person(user: dict[str, Any]) -> Person:
    upn = user["userPrincipalName"]
    return Person(
        id=_lower(user["id"]),
        upn=upn,
        name=user.get("displayName") or upn,
        department=user.get("department") or None,
        title=user.get("jobTitle") or None,
        office=user.get("officeLocation") or None,
        manager=(user.get("manager") or {}).get("displayName"),
        enabled=user.get("accountEnabled") is not False,
        synced=user.get("onPremisesSyncEnabled") is True,
        guest=user.get("userType") == "Guest" or "#EXT#" in upn.upper(),
        usage_location=user.get("usageLocation") or None,
        password_changed_at=user.get("lastPasswordChangeDateTime"),
        sessions_valid_from=user.get("signInSessionsValidFromDateTime"),
        licenses=tuple(_lower(each["skuId"]) for each in user.get("assignedLicenses") or ()),
        attributes=_attributes(user),
    )


def _attributes(user: dict[str, Any]) -> dict[str, str]:
    known = {**user, **(user.get("onPremisesExtensionAttributes") or {})}
    return {name: str(known[name] or "") for name in SCOPE_ATTRIBUTES if name in known}


# --- Groups ---------------------------------------------------------------------------------------------------------


class GroupKind(StrEnum):
    """What kind of group it is, as the admin centers call it."""

    SECURITY = "security group"
    MICROSOFT_365 = "Microsoft 365 group"
    DISTRIBUTION = "distribution list"
    MAIL_SECURITY = "mail-enabled security group"


@dataclass(frozen=True)
class Group:
    """A group, as far as it matters to who may change its members."""

    id: str
    name: str
    kind: GroupKind
    dynamic: bool = False
    synced: bool = False
    role_assignable: bool = False

    @property
    def why_not(self) -> str:
        """Why its members are not changed through Latchkey and where to do it instead; empty if they can be."""
        if self.role_assignable:
            return (
                f"The group {self.name} can make its members administrators, so Latchkey leaves it alone. "
                "A Privileged Role Administrator changes it in the Microsoft Entra admin center."
            )
        if self.synced:
            return (
                f"The group {self.name} comes from on-premises Active Directory. Change its members there; the next "
                "synchronisation brings it here."
            )
        if self.dynamic:
            return (
                f"The members of {self.name} follow from a rule. Change what the rule looks at (the person's "
                "department, say), or the rule itself in the Microsoft Entra admin center."
            )
        if self.kind in (GroupKind.DISTRIBUTION, GroupKind.MAIL_SECURITY):
            return (
                f"{self.name} is a {self.kind}, which Microsoft lets only Exchange change. "
                "Use the Exchange admin center: Recipients, Groups."
            )
        return ""


_GROUP: Final = (
    "id,displayName,groupTypes,mailEnabled,securityEnabled,onPremisesSyncEnabled,isAssignableToRole,membershipRule"
)


async def find_group(reader: Reader, typed: str) -> Group:
    """The group of that object id or exact name. Raises `BadInput`, with similar names, if it is not exactly one."""
    typed = typed.strip()
    if looks_like_id(typed):
        try:
            return _group(await reader.get("groups", typed, query={"$select": _GROUP}))
        except GraphNotFound as error:
            raise BadInput(f"There is no group with the id `{typed}`. Type the group's name.", field="group") from error
    query = {"$filter": f"displayName eq {quoted(typed)}", "$select": _GROUP, "$top": "5"}
    found = [_group(each) for each in await reader.collect("groups", query=query, limit=5)]
    match found:
        case [only]:
            return only
        case []:
            near = [_group(each) for each in await _similar(reader, "groups", typed, _GROUPS, 3)]
            guess = f" Did you mean {_either(group.name for group in near)}?" if near else ""
            raise BadInput(f"There is no group called “{typed}”.{guess} Type the group's whole name.", field="group")
    ids = " or ".join(f"`{group.id}`" for group in found)
    raise BadInput(f"Several groups are called “{typed}”. Type the id of the one you mean: {ids}.", field="group")


async def groups_around(reader: Reader, group_ids: Collection[str]) -> frozenset[str]:
    """The ids of all groups that these groups are in, also through others: whoever joins one is in those as well
    (Graph docs: *List group transitive memberOf*)."""
    query = {"$select": "id", "$top": "999"}
    asked = (reader.collect("groups", group_id, "transitiveMemberOf", query=query) for group_id in group_ids)
    return frozenset(_lower(each["id"]) for found in await together(*asked) for each in found)


async def search_groups(reader: Reader, typed: str, limit: int = 20) -> list[Target]:
    """Groups for a searchable list: only those whose members can be changed here."""
    found = [_group(each) for each in await _similar(reader, "groups", typed, _GROUPS, limit)]
    return [Target(TargetKind.GROUP, group.id, group.name, group.kind) for group in found if not group.why_not]


def _group(data: dict[str, Any]) -> Group:
    types = data.get("groupTypes") or ()
    if "Unified" in types:
        kind = GroupKind.MICROSOFT_365
    elif data.get("mailEnabled"):
        kind = GroupKind.MAIL_SECURITY if data.get("securityEnabled") else GroupKind.DISTRIBUTION
    else:
        kind = GroupKind.SECURITY
    return Group(
        id=_lower(data["id"]),
        name=data.get("displayName") or data["id"],
        kind=kind,
        dynamic="DynamicMembership" in types,
        synced=data.get("onPremisesSyncEnabled") is True,
        role_assignable=data.get("isAssignableToRole") is True,
    )


# --- Licences -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class License:
    """A product the tenant has bought. `total` are the units it may use, `used` those that somebody has."""

    sku_id: str
    part_number: str
    name: str
    total: int
    used: int
    services: tuple[tuple[str, str], ...] = ()
    """(id, name) of the service plans in it."""

    @property
    def free(self) -> int:
        return max(0, self.total - self.used)

    @property
    def supply(self) -> str:
        """*12 of 50 free*."""
        return f"{self.free} of {self.total} free"


async def read_licenses(reader: Reader) -> list[License]:
    """Everything the tenant can give to people, by name (Graph docs: *List subscribedSkus*)."""
    query = {"$select": "skuId,skuPartNumber,prepaidUnits,consumedUnits,appliesTo,servicePlans"}
    found = [
        License(
            sku_id=_lower(each["skuId"]),
            part_number=each["skuPartNumber"],
            name=PRODUCTS.get(each["skuPartNumber"].upper(), each["skuPartNumber"]),
            total=each["prepaidUnits"]["enabled"],
            used=each["consumedUnits"],
            services=tuple(
                (_lower(plan["servicePlanId"]), plan["servicePlanName"])
                for plan in each.get("servicePlans") or ()
                if plan.get("appliesTo", "User") == "User"
            ),
        )
        for each in await reader.collect("subscribedSkus", query=query)
        if each.get("appliesTo", "User") == "User"
    ]
    return sorted(found, key=lambda each: (each.name, each.sku_id))


async def find_license(reader: Reader, typed: str) -> License:
    """The product of that name, part number or id. Raises `BadInput` naming those there are."""
    wanted, products = typed.strip().casefold(), await read_licenses(reader)
    for product in products:
        if wanted in (product.sku_id, product.part_number.casefold(), product.name.casefold()):
            return product
    there_are = _either(product.name for product in products[:10]) or "none at all"
    raise BadInput(f"This tenant has no product “{typed}”. Type one of: {there_are}.", field="license")


async def search_licenses(reader: Reader, typed: str, limit: int = 20) -> list[Target]:
    """Products for a searchable list, with how many are free."""
    wanted = typed.strip().casefold()
    return [
        Target(TargetKind.LICENSE, product.sku_id, product.name, product.supply)
        for product in await read_licenses(reader)
        if wanted in f"{product.name} {product.part_number}".casefold()
    ][:limit]


PRODUCTS: Final = {
    "AAD_PREMIUM": "Microsoft Entra ID P1",
    "AAD_PREMIUM_P2": "Microsoft Entra ID P2",
    "ATP_ENTERPRISE": "Microsoft Defender for Office 365 (Plan 1)",
    "DESKLESSPACK": "Office 365 F3",
    "EMS": "Enterprise Mobility + Security E3",
    "EMSPREMIUM": "Enterprise Mobility + Security E5",
    "ENTERPRISEPACK": "Office 365 E3",
    "ENTERPRISEPREMIUM": "Office 365 E5",
    "EXCHANGEDESKLESS": "Exchange Online Kiosk",
    "EXCHANGEENTERPRISE": "Exchange Online (Plan 2)",
    "EXCHANGESTANDARD": "Exchange Online (Plan 1)",
    "FLOW_FREE": "Microsoft Power Automate Free",
    "IDENTITY_THREAT_PROTECTION": "Microsoft 365 E5 Security",
    "INFORMATION_PROTECTION_COMPLIANCE": "Microsoft 365 E5 Compliance",
    "INTUNE_A": "Intune",
    "M365_F1": "Microsoft 365 F1",
    "MCOEV": "Microsoft Teams Phone Standard",
    "MCOMEETADV": "Microsoft 365 Audio Conferencing",
    "MICROSOFT_365_COPILOT": "Microsoft 365 Copilot",
    "O365_BUSINESS": "Microsoft 365 Apps for Business",
    "O365_BUSINESS_ESSENTIALS": "Microsoft 365 Business Basic",
    "O365_BUSINESS_PREMIUM": "Microsoft 365 Business Standard",
    "OFFICESUBSCRIPTION": "Microsoft 365 Apps for Enterprise",
    "POWERAPPS_VIRAL": "Microsoft Power Apps Plan 2 Trial",
    "POWER_BI_PRO": "Power BI Pro",
    "POWER_BI_STANDARD": "Microsoft Fabric (Free)",
    "PROJECTPREMIUM": "Project Plan 5",
    "PROJECTPROFESSIONAL": "Project Plan 3",
    "PROJECT_P1": "Project Plan 1",
    "RIGHTSMANAGEMENT_ADHOC": "Rights Management Adhoc",
    "SHAREPOINTENTERPRISE": "SharePoint Online (Plan 2)",
    "SHAREPOINTSTANDARD": "SharePoint Online (Plan 1)",
    "SPB": "Microsoft 365 Business Premium",
    "SPE_E3": "Microsoft 365 E3",
    "SPE_E5": "Microsoft 365 E5",
    "SPE_F1": "Microsoft 365 F3",
    "STANDARDPACK": "Office 365 E1",
    "TEAMS_EXPLORATORY": "Microsoft Teams Exploratory",
    "VISIOCLIENT": "Visio Plan 2",
    "VISIOONLINE_PLAN1": "Visio Plan 1",
    "WIN10_VDA_E3": "Windows 10/11 Enterprise E3",
    "WIN10_VDA_E5": "Windows 10/11 Enterprise E5",
}
"""What common products are called, by part number in capitals (Entra docs: *Product names and service plan identifiers
for licensing*). A product that is not listed goes by its part number."""


# --- Searching ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Searched:
    """How things of one kind are searched: the attributes of a `$search`, and of a filter where that is refused."""

    select: str
    by: tuple[str, ...]
    beginning: tuple[str, ...]


_PEOPLE: Final = _Searched(
    _SUGGESTED,
    by=("displayName", "userPrincipalName"),
    beginning=("displayName", "givenName", "surname", "userPrincipalName"),
)
_GROUPS: Final = _Searched(_GROUP, by=("displayName",), beginning=("displayName",))


async def _similar(reader: Reader, kind: str, typed: str, how: _Searched, limit: int) -> list[dict[str, Any]]:
    """Objects whose names have words that begin like *typed*; the first few of all if nothing is typed."""
    query = {"$select": how.select, "$top": str(limit)}
    typed = " ".join(typed.replace('"', " ").replace("\\", " ").split())
    if not typed:
        return await reader.collect(kind, query=query, limit=limit)
    search = " OR ".join(f'"{attribute}:{typed}"' for attribute in how.by)
    try:
        return await reader.collect(kind, query={**query, "$search": search}, eventual=True, limit=limit)
    except GraphRefused as error:
        # Not every cloud has $search (Graph docs: *Advanced query capabilities*); only the beginning is found then.
        if error.answer is None or error.answer.status != 400:
            raise
        starts = " or ".join(f"startswith({attribute},{quoted(typed)})" for attribute in how.beginning)
        return await reader.collect(kind, query={**query, "$filter": starts}, limit=limit)


def quoted(text: str) -> str:
    """*text* as one string literal of OData, whatever is in it (OData docs: *URL conventions*, quotes are doubled)."""
    return "'" + text.replace("'", "''") + "'"


# --- Small things ---------------------------------------------------------------------------------------------------


async def together(*reads: Coroutine[Any, Any, Any]) -> list[Any]:
    """The answers of reads that run at once. If one fails, the others are stopped before it is raised."""
    tasks = [asyncio.create_task(read) for read in reads]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _lower(object_id: str) -> str:
    """An id in the one spelling that is compared."""
    return object_id.lower()


def _either(names: Iterable[str]) -> str:
    return " or ".join(f"“{name}”" for name in names)
