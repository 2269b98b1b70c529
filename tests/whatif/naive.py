"""A second evaluator, written from the documentation alone and straight from the JSON: one policy, one sign-in, one
condition after the other. It shares no code with `bot/whatif/`. Slow and plain is what it is for.

Each condition is True, False, or None where it depends on what was not given.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

JSON = Any

OFFICE_365 = {"00000002-0000-0ff1-ce00-000000000000", "00000003-0000-0ff1-ce00-000000000000"}
"""As many of them as the tests use."""

GUEST_KINDS = {
    "internalGuest", "b2bCollaborationGuest", "b2bDirectConnectUser", "otherExternalUser", "serviceProvider",
}  # fmt: skip


def judge(policy: JSON, line: JSON, locations: list[JSON], *, strict: bool) -> tuple[bool | None, list[str]]:
    """`applies` and the reasons, for a line as `latchkey whatif` takes it."""
    if policy["state"] == "disabled":
        return False, ["policyNotEnabled"]
    conditions, asked = policy["conditions"], line["request"]["signInConditions"]
    what = line["request"]["signInContext"]
    applications = conditions["applications"]
    if says_nothing(policy):
        return False, ["emptyPolicy"]
    aim = "application"
    if applications.get("includeUserActions"):
        aim = "userActions"
    elif applications.get("includeAuthenticationContextClassReferences"):
        aim = "authenticationContext"
    if line.get("user") is not None:
        found = [("users", is_about_user(conditions, line["user"]))]
    else:
        found = [("workloadIdentities", is_about_principal(conditions, line["request"]["signInIdentity"]))]
    found += [
        ("workloadIdentities", among(conditions, "servicePrincipalRiskLevels", asked, "servicePrincipalRiskLevel")),
        (aim, is_for(applications, what)),
        ("devicePlatform", is_on(conditions.get("platforms"), asked.get("devicePlatform"))),
        ("devices", passes_filter(conditions.get("devices"), asked.get("deviceInfo"))),
        ("clientApps", is_through(conditions.get("clientAppTypes") or [], asked.get("clientAppType"))),
        ("location", is_from(conditions.get("locations"), asked, locations)),
        ("signInRisk", among(conditions, "signInRiskLevels", asked, "signInRiskLevel")),
        ("userRisk", among(conditions, "userRiskLevels", asked, "userRiskLevel")),
        ("insiderRisk", is_flagged(conditions.get("insiderRiskLevels"), asked.get("insiderRiskLevel"))),
        ("authenticationFlow", flows(conditions, asked)),
    ]
    failed = [name for name, holds in found if holds is False or (holds is None and not strict)]
    if failed:
        return False, list(dict.fromkeys(failed))
    return (None, ["notEnoughInformation"]) if any(holds is None for _, holds in found) else (True, [])


def says_nothing(policy: JSON) -> bool:
    """Neither anybody, nor any target, nor anything that is demanded."""
    conditions = policy["conditions"]
    named = [value for key, value in (conditions.get("users") or {}).items() if key.startswith("include")]
    targets = [value for key, value in conditions["applications"].items() if key.startswith("include")]
    demanded = (policy["grantControls"] or {}).get("builtInControls"), policy["sessionControls"]
    return not (any(named) or any(targets) or conditions.get("clientApplications") or any(demanded))


def decide(applying: Iterable[JSON]) -> str:
    demanded = [policy["grantControls"]["builtInControls"] for policy in applying if policy["grantControls"]]
    if any("block" in controls for controls in demanded):
        return "block"
    return "controlsRequired" if any(demanded) else "allow"


# --- Yes, no and perhaps ----------------------------------------------------------------------------------------------


def any_of(answers: Iterable[bool | None]) -> bool | None:
    answers = list(answers)
    return True if True in answers else None if None in answers else False


def but_not(included: bool | None, excluded: bool | None) -> bool | None:
    if included is False or excluded is True:
        return False
    return None if included is None or excluded is None else True


# --- Conditions -------------------------------------------------------------------------------------------------------


def is_about_user(conditions: JSON, user: JSON) -> bool | None:
    users = conditions.get("users") or {}

    def side(which: str) -> bool | None:
        named = users.get(f"{which}Users") or []
        answers: list[bool | None] = ["All" in named, user["id"] in named]
        outside = user["userType"] == "guest" or user.get("guestType") is not None
        answers.append("GuestsOrExternalUsers" in named and outside)
        for kind, theirs in (("Groups", user.get("groups")), ("Roles", user.get("roles"))):
            for wanted in users.get(f"{which}{kind}") or []:
                answers.append(None if theirs is None else wanted in theirs)
        clause = users.get(f"{which}GuestsOrExternalUsers")
        if clause is not None and outside:
            kinds = set(clause["guestOrExternalUserTypes"].split(","))
            if user.get("guestType") is not None:
                kind_fits: bool | None = user["guestType"] in kinds
            else:
                kind_fits = True if kinds >= GUEST_KINDS else None if kinds & GUEST_KINDS else False
            tenants = clause["externalTenants"]
            tenant_fits: bool | None = True
            if tenants["membershipKind"] == "enumerated":
                home = user.get("homeTenantId")
                tenant_fits = None if home is None else home in tenants["members"]
            both = (kind_fits, tenant_fits)
            answers.append(False if False in both else None if None in both else True)
        return any_of(answers)

    keys = ("includeUsers", "includeGroups", "includeRoles", "includeGuestsOrExternalUsers")
    nobody_named = not any(users.get(key) for key in keys)
    if nobody_named and conditions.get("clientApplications"):
        return False
    return but_not(True if nobody_named else side("include"), side("exclude"))


def is_about_principal(conditions: JSON, identity: JSON) -> bool:
    principals = conditions.get("clientApplications") or {}
    fits = {identity["servicePrincipalId"], "ServicePrincipalsInMyTenant"}
    included = fits & set(principals.get("includeServicePrincipals") or [])
    return bool(included) and not fits & set(principals.get("excludeServicePrincipals") or [])


def is_for(applications: JSON, what: JSON) -> bool | None:
    include, exclude = applications.get("includeApplications") or [], applications.get("excludeApplications") or []
    actions = applications.get("includeUserActions") or []
    contexts = applications.get("includeAuthenticationContextClassReferences") or []
    everything = "All" in include or not (include or actions or contexts)
    if what is None:
        if everything:
            return None if exclude else True
        return None if actions or contexts or include != ["None"] else False
    kind = what["@odata.type"].rsplit(".")[-1]
    if kind == "userActionContext":
        urns = {
            "registerSecurityInformation": "urn:user:registersecurityinfo",
            "registerOrJoinDevices": "urn:user:registerdevice",
        }
        return everything or urns[what["userAction"]] in actions
    if kind == "authContext":
        return everything or what["authenticationContextValue"] in contexts

    def named(app: str, names: list[str]) -> bool:
        return app in names or ("Office365" in names and app in OFFICE_365)

    return any((everything or named(app, include)) and not named(app, exclude) for app in what["includeApplications"])


def is_on(platforms: JSON, platform: str | None) -> bool | None:
    include = (platforms or {}).get("includePlatforms") or ["all"]
    exclude = (platforms or {}).get("excludePlatforms") or []
    if platform is None:
        return None if exclude or "all" not in include else True
    return ("all" in include or platform in include) and platform not in exclude


def is_through(types: list[str], client: str | None) -> bool | None:
    if not types or "all" in types:
        return True
    if client == "easSupported" and "exchangeActiveSync" in types:
        return True
    return None if client is None else client in types


def is_from(condition: JSON, asked: JSON, locations: list[JSON]) -> bool | None:
    if condition is None:
        return True
    by_id = {location["id"]: location for location in locations}

    def is_in(name: str) -> bool | None:
        if name == "All":
            return True
        if name == "AllTrusted":
            if asked.get("ipAddress") is None:
                return None
            return any_of(is_in(id_) for id_, location in by_id.items() if location.get("isTrusted"))
        location = by_id[name]
        if "ipRanges" in location:
            if asked.get("ipAddress") is None:
                return None
            address = ipaddress.ip_address(asked["ipAddress"])
            return any(address in ipaddress.ip_network(part["cidrAddress"]) for part in location["ipRanges"])
        country = asked.get("country")
        if country is None:
            return None
        return (
            location["includeUnknownCountriesAndRegions"]
            if country == ""
            else country in location["countriesAndRegions"]
        )

    include, exclude = condition.get("includeLocations") or ["All"], condition.get("excludeLocations") or []
    return but_not(any_of(map(is_in, include)), any_of(map(is_in, exclude)))


def among(conditions: JSON, key: str, asked: JSON, level: str) -> bool | None:
    levels = conditions.get(key) or []
    if not levels:
        return True
    return None if asked.get(level) is None else asked[level] in levels


def is_flagged(flags: str | None, value: str | None) -> bool | None:
    if not flags:
        return True
    return None if value is None else value in flags.split(",")


def flows(conditions: JSON, asked: JSON) -> bool | None:
    wanted = (conditions.get("authenticationFlows") or {}).get("transferMethods")
    return is_flagged(
        None if wanted == "none" else wanted, (asked.get("authenticationFlow") or {}).get("transferMethod")
    )


def passes_filter(devices: JSON, device: JSON) -> bool | None:
    """Only the few rules that the tests draw from."""
    if devices is None:
        return True
    if device is None:
        return None
    rule, mode = devices["deviceFilter"]["rule"], devices["deviceFilter"]["mode"]
    compliant, company = bool(device.get("isCompliant")), device.get("ownership") == "Company"
    matches = {
        "device.isCompliant -eq True": compliant,
        'device.isCompliant -eq True -or device.deviceOwnership -eq "Company"': compliant or company,
        'device.deviceOwnership -ne "Company"': not company,
    }[rule]
    return matches if mode == "include" else not matches
