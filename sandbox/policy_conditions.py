"""Which Conditional Access policies speak of a sign-in, and why the others do not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from sandbox.device_filter import FilterError, parse

Json = Mapping[str, Any]

OFFICE = frozenset(
    {
        "00000002-0000-0ff1-ce00-000000000000",  # Exchange Online
        "00000003-0000-0ff1-ce00-000000000000",  # SharePoint Online
        "cc15fd57-2c6c-4117-a88c-83b1d56b4bbe",  # Teams
        "00000006-0000-0ff1-ce00-000000000000",  # Office portal
    }
)
PORTALS = frozenset(
    {
        "c44b4083-3bb0-49c1-b47d-974e53cbdf3c",  # Azure portal
        "80ccca67-54bd-44ab-8625-4b79c4dc7775",  # Security portal
        "497effe9-df71-4043-a8bb-14cf78c4b63b",  # Exchange admin center
    }
)
_APPLICATION_GROUPS = {"Office365": OFFICE, "MicrosoftAdminPortals": PORTALS}
_USER_ACTIONS = {
    "registerSecurityInformation": "urn:user:registersecurityinfo",
    "registerOrJoinDevices": "urn:user:registerdevice",
}
_LEGACY_TRUSTED = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True)
class Person:
    """Whom a policy about people looks at; `guest` is Graph's name of the kind of guest, None for a member."""

    id: str | None
    groups: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    guest: frozenset[str] | None = None
    home: str | None = None


@dataclass(frozen=True)
class Attempt:
    """What is known of a sign-in, real or supposed. None: not known, and in a what-if not given.

    `country` is empty for an address that belongs to none, `platform` for a client that does not say.
    """

    person: Person | None = None
    principal: str | None = None
    managed: bool = False
    applications: frozenset[str] = frozenset()
    user_action: str | None = None
    context: str | None = None
    client_app: str | None = None
    ip: str | None = None
    country: str | None = None
    platform: str | None = None
    device: Json | None = None
    sign_in_risk: str = "none"
    user_risk: str = "none"
    principal_risk: str = "none"
    insider_risk: str = "none"
    flow: str = "none"


def reasons(policy: Json, attempt: Attempt, locations: Sequence[Json]) -> Iterator[str]:
    """Why a policy does not apply to a sign-in, in Graph's words; nothing if it applies.

    "conditionalAccessRoot: evaluate": a condition about something that is not known is not satisfied.
    """
    conditions = policy["conditions"]
    if policy["grantControls"] is None and policy["sessionControls"] is None:
        yield "emptyPolicy"
    yield from _identity(conditions, attempt)
    yield from _target(conditions["applications"], attempt)
    if conditions["platforms"] is not None and not _platform(conditions["platforms"], attempt.platform):
        yield "devicePlatform"
    if conditions["devices"] is not None:
        yield from _device(conditions["devices"]["deviceFilter"], attempt.device)
    kinds = conditions["clientAppTypes"]
    if kinds and "all" not in kinds and attempt.client_app not in kinds and attempt.principal is None:
        yield "clientApps"
    if conditions["locations"] is not None and not _location(conditions["locations"], attempt, locations):
        yield "location"
    if conditions["signInRiskLevels"] and attempt.sign_in_risk not in conditions["signInRiskLevels"]:
        yield "signInRisk"
    if conditions["userRiskLevels"] and attempt.user_risk not in conditions["userRiskLevels"]:
        yield "userRisk"
    if conditions["servicePrincipalRiskLevels"] and (
        attempt.principal_risk not in conditions["servicePrincipalRiskLevels"]
    ):
        yield "workloadIdentities"
    if conditions["insiderRiskLevels"] and attempt.insider_risk not in conditions["insiderRiskLevels"].split(","):
        yield "insiderRisk"
    flows = (conditions["authenticationFlows"] or {}).get("transferMethods")
    if flows and attempt.flow not in flows.split(","):
        yield "authenticationFlow"


def _identity(conditions: Json, attempt: Attempt) -> Iterator[str]:
    if attempt.person is not None:
        if not _users(conditions["users"], attempt.person):
            yield "users"
        return
    clients = conditions["clientApplications"]
    # "Conditional Access for workload identities": managed identities are not covered.
    if clients is None or attempt.managed or attempt.principal is None:
        yield "workloadIdentities"
        return
    included = {"ServicePrincipalsInMyTenant", attempt.principal} & set(clients["includeServicePrincipals"])
    if not included or attempt.principal in clients["excludeServicePrincipals"]:
        yield "workloadIdentities"


def _users(users: Json, person: Person) -> bool:
    def named(which: str) -> bool | None:
        ids = users[f"{which}Users"]
        if person.id in ids or ("All" in ids) or ("GuestsOrExternalUsers" in ids and person.guest is not None):
            return True
        if person.groups & set(users[f"{which}Groups"]) or person.roles & set(users[f"{which}Roles"]):
            return True
        return _guests(users[f"{which}GuestsOrExternalUsers"], person)

    return named("include") is True and named("exclude") is False


def _guests(wanted: Json | None, person: Person) -> bool | None:
    if wanted is None or person.guest is None:
        return False
    if not person.guest & set(str(wanted.get("guestOrExternalUserTypes", "")).split(",")):
        return False
    tenants = wanted.get("externalTenants") or {}
    if tenants.get("membershipKind", "all") == "all" or person.guest == {"internalGuest"}:
        return True
    return None if person.home is None else person.home in (tenants.get("members") or ())


def _target(wanted: Json, attempt: Attempt) -> Iterator[str]:
    included = wanted["includeApplications"]
    if attempt.user_action is not None:
        # The reference page's third example shows policies for all resources apply to a user action.
        action = _USER_ACTIONS.get(attempt.user_action)
        if action not in wanted["includeUserActions"] and "All" not in included:
            yield "userActions"
    elif attempt.context is not None:
        if attempt.context not in wanted["includeAuthenticationContextClassReferences"]:
            yield "authenticationContext"
    elif not any(_application(wanted, one) for one in attempt.applications):
        yield "application"


def _application(wanted: Json, app_id: str) -> bool:
    def named(names: Sequence[str]) -> bool:
        return "All" in names or any(app_id in _APPLICATION_GROUPS.get(name, {name}) for name in names)

    rule = wanted["applicationFilter"]
    # Nothing in this tenant has custom security attributes.
    filtered = rule is not None and _fits(rule, {})
    if rule is not None and rule["mode"] == "exclude" and filtered:
        return False
    included = named(wanted["includeApplications"]) or (rule is not None and rule["mode"] == "include" and filtered)
    return included and not named(wanted["excludeApplications"])


def _platform(wanted: Json, platform: str | None) -> bool:
    included, excluded = wanted["includePlatforms"], wanted["excludePlatforms"]
    if platform is None:
        return "all" in included and not excluded
    return ("all" in included or platform in included) and platform not in excluded


def _device(rule: Json | None, device: Json | None) -> Iterator[str]:
    if rule is None:
        return
    try:
        fits = None if device is None else _fits(rule, device)
    except FilterError:
        yield "invalidCondition"
        return
    if fits is None or fits is not (rule["mode"] == "include"):
        yield "devices"


def _fits(rule: Json, attributes: Json) -> bool:
    return parse(rule["rule"])({name.lower(): value for name, value in attributes.items()})


def _location(wanted: Json, attempt: Attempt, locations: Sequence[Json]) -> bool:
    by_id = {one["id"]: one for one in locations}

    def named(names: Sequence[str]) -> bool | None:
        found: list[bool | None] = []
        for name in names:
            if name == "All":
                return True
            if name == "AllTrusted":
                found += [_is_at(one, attempt) for one in locations if one.get("isTrusted")]
            elif name in by_id:
                found.append(_is_at(by_id[name], attempt))
            elif name != _LEGACY_TRUSTED:
                found.append(False)
        return True if True in found else None if None in found else False

    return named(wanted["includeLocations"]) is True and named(wanted["excludeLocations"]) is False


def _is_at(location: Json, attempt: Attempt) -> bool | None:
    if "ipRanges" in location:
        if attempt.ip is None:
            return None
        address = ip_address(attempt.ip)
        ranges = (ip_network(one["cidrAddress"], strict=False) for one in location["ipRanges"])
        return any(address.version == network.version and address in network for network in ranges)
    if "countriesAndRegions" not in location:
        return False  # a compliant network (beta), on which nobody is here
    if attempt.country is None:
        return None
    if not attempt.country:
        return bool(location["includeUnknownCountriesAndRegions"])
    return attempt.country in location["countriesAndRegions"]
