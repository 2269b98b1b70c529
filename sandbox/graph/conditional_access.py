"""Conditional Access in Graph: policies, named locations, what-if, the sign-in log, and MFA per user (beta)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any
from uuid import uuid4

from sandbox.clock import iso
from sandbox.conditional_access import RESOURCES, STRENGTHS, SignIn, complete, complete_location, stamp
from sandbox.device_filter import FilterError, parse
from sandbox.graph import authority
from sandbox.graph.call import Call, GraphError, Reply, bad_request, not_found
from sandbox.graph.odata import Sized, page, record_entity, single
from sandbox.policy_conditions import Attempt, Person, reasons

Json = Mapping[str, Any]

_READ_ONLY = frozenset({"id", "createdDateTime", "modifiedDateTime", "deletedDateTime"})
_POLICY = record_entity("conditionalAccessPolicy", tuple(complete({})), ("displayName", "state"))
_LOCATION_NAMES = ("@odata.type", "id", "displayName", "createdDateTime", "modifiedDateTime", "deletedDateTime")
_LOCATION = record_entity("namedLocation", _LOCATION_NAMES, ("displayName",))
_IP_LOCATION = record_entity("ipNamedLocation", (*_LOCATION_NAMES, "isTrusted", "ipRanges"), ("displayName",))
_COUNTRY_LOCATION = record_entity(
    "countryNamedLocation",
    (*_LOCATION_NAMES, "countriesAndRegions", "countryLookupMethod", "includeUnknownCountriesAndRegions"),
    ("displayName",),
)
_SIGN_IN = record_entity(
    "signIn",
    (
        "id", "createdDateTime", "userDisplayName", "userPrincipalName", "userId", "appId", "appDisplayName",
        "ipAddress", "clientAppUsed", "userAgent", "correlationId", "conditionalAccessStatus", "isInteractive",
        "riskDetail", "riskLevelAggregated", "riskLevelDuringSignIn", "riskState", "riskEventTypes_v2",
        "resourceDisplayName", "resourceId", "status", "deviceDetail", "location", "appliedConditionalAccessPolicies",
    ),
    (
        "id", "userId", "userPrincipalName", "appId", "appDisplayName", "correlationId", "conditionalAccessStatus",
        "createdDateTime", "status/errorCode", "ipAddress", "resourceId", "clientAppUsed",
    ),
)  # fmt: skip
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

# "Conditional Access: Network assignment", service limits.
_MOST_LOCATIONS = 195
_MOST_RANGES = 2000
_WIDEST = 8  # masks have to be longer

# Addresses that no machine on the internet is seen with. Those set aside for documentation are fine here.
_NOT_PUBLIC = tuple(
    ip_network(one)
    for one in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
        "224.0.0.0/3", "::/127", "fc00::/7", "fe80::/10", "ff00::/8",
    )
)  # fmt: skip


# Policies


def list_policies(call: Call) -> Reply:
    """`GET /identity/conditionalAccess/policies`"""
    authority.require(call.caller, authority.READ_ACCESS)
    rows = call.access.policies(call.access_at)
    return Reply(body=page(call, rows, lambda _: _POLICY, "identity/conditionalAccess/policies", checked=_POLICY))


def get_policy(call: Call) -> Reply:
    """`GET /identity/conditionalAccess/policies/{id}`"""
    authority.require(call.caller, authority.READ_ACCESS)
    policy = _find(call, call.access.policies(call.access_at))
    return Reply(body=single(call, _POLICY, policy, "identity/conditionalAccess/policies"))


def create_policy(call: Call) -> Reply:
    """`POST /identity/conditionalAccess/policies`"""
    _may_write_policies(call)
    _refuse_read_only(call)
    for name in ("displayName", "state", "conditions"):
        if call.body.get(name) is None:
            raise _bad(f"1007: {name} is missing.")
    if not call.body["conditions"].get("clientAppTypes"):
        raise _bad("1007: conditions.clientAppTypes is missing.")
    policy = complete({**call.body, "id": str(uuid4()), "createdDateTime": stamp(call.clock.now())})
    _check_policy(call, policy)
    change = call.access.put_policy(policy)
    call.audit("Policy", "Add conditional access policy", change, change.kind)
    body = {"@odata.context": f"{call.base}/$metadata#identity/conditionalAccess/policies/$entity", **policy}
    return Reply(201, body, applied=True)


def update_policy(call: Call) -> Reply:
    """`PATCH /identity/conditionalAccess/policies/{id}`

    What is named in the body is replaced: at the top, and within `conditions` one level down. So a list is what the
    body says, and `users` given without `excludeUsers` excludes nobody any more.
    """
    _may_write_policies(call)
    held = _find(call, call.access.policies())
    _refuse_read_only(call)
    given = {name: value for name, value in call.body.items() if "@odata." not in name}
    if not given:
        raise _bad("1007: The body is empty.")
    conditions = {**held["conditions"], **(given.pop("conditions", None) or {})}
    policy = complete({**held, **given, "conditions": conditions, "modifiedDateTime": stamp(call.clock.now())})
    _check_policy(call, policy)
    change = call.access.put_policy(policy)
    call.audit("Policy", "Update conditional access policy", change, change.kind)
    return Reply(204, applied=True)


def delete_policy(call: Call) -> Reply:
    """`DELETE /identity/conditionalAccess/policies/{id}`"""
    _may_write_policies(call)
    change = call.access.delete_policy(_find(call, call.access.policies())["id"])
    call.audit("Policy", "Delete conditional access policy", change, change.kind)
    return Reply(204, applied=True)


def _may_write_policies(call: Call) -> None:
    # "Create conditionalAccessPolicy": all three permissions, a known issue of these methods.
    authority.require(call.caller, authority.READ_ACCESS)
    authority.require(call.caller, authority.WRITE_ACCESS)
    authority.require(call.caller, authority.READ_APPLICATIONS)


def _find(call: Call, things: Sequence[Json]) -> Json:
    for thing in things:
        if thing["id"] == call.args[0].lower():
            return thing
    raise not_found(call.args[0])


def _refuse_read_only(call: Call) -> None:
    if given := _READ_ONLY & call.body.keys():
        raise _bad(f"1007: Property '{min(given)}' is read-only and cannot be set.")


def _bad(message: str) -> GraphError:
    return bad_request(message, "BadRequest")


def _invalid(why: str) -> GraphError:
    return _bad(f"1032: ConditionalActionPolicy validation failed due to {why}.")


def _check_policy(call: Call, policy: Json) -> None:
    """What Graph refuses although the schema lets it pass."""
    conditions, grant = policy["conditions"], policy["grantControls"]
    if not policy["displayName"] or len(policy["displayName"]) > 256:
        raise _invalid("InvalidDisplayName")
    if not conditions["clientAppTypes"]:
        raise _invalid("InvalidClientAppTypes")
    _check_identities(call, conditions)
    _check_applications(conditions["applications"])
    locations = conditions["locations"] or {}
    known = {location["id"] for location in call.access.locations()}
    for name in (*locations.get("includeLocations", ()), *locations.get("excludeLocations", ())):
        if name not in known | {"All", "AllTrusted", "00000000-0000-0000-0000-000000000000"}:
            raise _bad(f"1040: NamedLocation with id {name} does not exist in the directory.")
    for rule in (conditions["applications"]["applicationFilter"], (conditions["devices"] or {}).get("deviceFilter")):
        if rule is not None:
            try:
                parse(rule.get("rule", ""))
            except FilterError as error:
                raise _invalid("InvalidFilter") from error
    if grant is None and policy["sessionControls"] is None:
        raise _invalid("NoControls")
    if grant is not None:
        _check_grant(call, policy, grant)
    if policy["state"] != "disabled" and call.access.security_defaults():
        raise _bad(
            "Security Defaults is enabled in the tenant. You must disable Security defaults before enabling a "
            "Conditional Access policy."
        )


def _check_identities(call: Call, conditions: Json) -> None:
    users, clients = conditions["users"], conditions["clientApplications"]
    wanted = [users[f"include{kind}"] for kind in ("Users", "Groups", "Roles", "GuestsOrExternalUsers")]
    if not any(wanted) and clients is None:
        raise _invalid("NoUsers")
    words = {"include": {"All", "None", "GuestsOrExternalUsers"}, "exclude": {"GuestsOrExternalUsers"}}
    for which, known in words.items():
        for one in users[f"{which}Users"]:
            if one not in known and call.directory.latest.user(one if _GUID.fullmatch(one) else "") is None:
                raise _bad(f"User with id {one} does not exist in the directory.")
        for one in users[f"{which}Groups"]:
            if call.directory.latest.group(one) is None:
                raise _bad(f"Group with id {one} does not exist in the directory.")
        for one in users[f"{which}Roles"]:
            role = call.directory.roles.get(one)
            if not _GUID.fullmatch(one) or (role is not None and not role.built_in):
                raise _bad(f"Role with id {one} does not exist in the directory.")
    for one in (
        *(clients or {}).get("includeServicePrincipals", ()),
        *(clients or {}).get("excludeServicePrincipals", ()),
    ):
        principals = {app.principal_id for app in call.directory.applications.values() if not app.managed}
        if one not in principals | {"ServicePrincipalsInMyTenant"}:
            raise _bad(f"ServicePrincipal with id {one} does not exist in the directory.")


def _check_applications(wanted: Json) -> None:
    included = wanted["includeApplications"]
    targets = (
        included,
        wanted["includeUserActions"],
        wanted["includeAuthenticationContextClassReferences"],
        wanted["applicationFilter"],
    )
    if not any(targets):
        raise _invalid("NoApplications")
    if len(included) > 1 and {"All", "None"} & set(included):
        raise _invalid("InvalidApplications")
    for one in (*included, *wanted["excludeApplications"]):
        if one not in ("All", "None", "Office365", "MicrosoftAdminPortals") and not _GUID.fullmatch(one):
            raise _invalid("InvalidApplications")


def _check_grant(call: Call, policy: Json, grant: Json) -> None:
    controls, conditions = set(grant["builtInControls"]), policy["conditions"]
    others = [name for name in ("authenticationStrength", "termsOfUse", "customAuthenticationFactors") if grant[name]]
    if not controls and not others and policy["sessionControls"] is None:
        raise _invalid("NoControls")
    if "block" in controls and (len(controls) > 1 or others):
        raise _invalid("BlockWithOtherControls")
    if "mfa" in controls and grant["authenticationStrength"]:
        raise _invalid("MfaWithAuthenticationStrength")
    if grant["authenticationStrength"] and grant["authenticationStrength"]["id"] not in STRENGTHS:
        raise _bad("The authentication strength does not exist in the directory.")
    if "riskRemediation" in controls and "include-unknown-enum-members" not in call.prefers:
        raise _invalid("InvalidGrantControls")
    if "passwordChange" in controls and (
        conditions["applications"]["includeApplications"] != ["All"]
        or not conditions["userRiskLevels"]
        or conditions["clientAppTypes"] != ["all"]
        or any(conditions[name] for name in ("locations", "platforms", "devices", "signInRiskLevels"))
    ):
        raise _invalid("InvalidPasswordResetControl")
    if conditions["clientApplications"] is not None and controls != {"block"}:
        raise _invalid("InvalidControlsForWorkloadIdentities")


# Named locations


def list_locations(call: Call) -> Reply:
    """`GET /identity/conditionalAccess/namedLocations`"""
    authority.require(call.caller, authority.READ_ACCESS)
    rows = call.access.locations(call.access_at)
    return Reply(body=page(call, rows, _location_entity, "identity/conditionalAccess/namedLocations"))


def get_location(call: Call) -> Reply:
    """`GET /identity/conditionalAccess/namedLocations/{id}`"""
    authority.require(call.caller, authority.READ_ACCESS)
    location = _find(call, call.access.locations(call.access_at))
    return Reply(body=single(call, _location_entity(location), location, "identity/conditionalAccess/namedLocations"))


def create_location(call: Call) -> Reply:
    """`POST /identity/conditionalAccess/namedLocations`"""
    _may_write_locations(call)
    _refuse_read_only(call)
    if len(call.access.locations()) >= _MOST_LOCATIONS:
        raise _bad(f"The tenant has {_MOST_LOCATIONS} named locations, which is the most there may be.")
    made = {"id": str(uuid4()), "createdDateTime": stamp(call.clock.now())}
    location = complete_location({**call.body, **made})
    _check_location(location)
    change = call.access.put_location(location)
    call.audit("Policy", "Add named location", change, change.kind)
    body = {"@odata.context": f"{call.base}/$metadata#identity/conditionalAccess/namedLocations/$entity", **location}
    return Reply(201, body, applied=True)


def update_location(call: Call) -> Reply:
    """`PATCH /identity/conditionalAccess/namedLocations/{id}`: ranges and countries are replaced as a whole."""
    _may_write_locations(call)
    held = _find(call, call.access.locations())
    _refuse_read_only(call)
    if call.body["@odata.type"] != held["@odata.type"]:
        raise _bad("The type of a named location cannot be changed.")
    location = {**held, **_plain(call.body), "modifiedDateTime": stamp(call.clock.now())}
    _check_location(location)
    change = call.access.put_location(location)
    call.audit("Policy", "Update named location", change, change.kind)
    return Reply(204, applied=True)


def delete_location(call: Call) -> Reply:
    """`DELETE /identity/conditionalAccess/namedLocations/{id}`: neither a trusted one nor one that a policy names"""
    _may_write_locations(call)
    held = _find(call, call.access.locations())
    if held.get("isTrusted"):
        raise _bad("A trusted named location cannot be deleted. Set isTrusted to false first.")
    for policy in call.access.policies():
        named = policy["conditions"]["locations"] or {}
        if held["id"] in (*named.get("includeLocations", ()), *named.get("excludeLocations", ())):
            raise _bad(f"NamedLocation with id {held['id']} is referenced by policy with id {policy['id']}.")
    change = call.access.delete_location(held["id"])
    call.audit("Policy", "Delete named location", change, change.kind)
    return Reply(204, applied=True)


def _may_write_locations(call: Call) -> None:
    authority.require(call.caller, authority.READ_ACCESS)
    authority.require(call.caller, authority.WRITE_ACCESS)


def _location_entity(location: Json) -> Any:
    if "ipRanges" in location:
        return _IP_LOCATION
    return _COUNTRY_LOCATION if "countriesAndRegions" in location else _LOCATION


def _plain(body: Json) -> dict[str, Any]:
    return {name: value for name, value in body.items() if "@odata." not in name}


def _check_location(location: Json) -> None:
    if not location["displayName"] or len(location["displayName"]) > 256:
        raise _bad("1005: The display name of a named location is missing or too long.")
    if "ipRanges" not in location:
        if not location["countriesAndRegions"] and not location["includeUnknownCountriesAndRegions"]:
            raise _bad("A country named location needs at least one country.")
        return
    ranges = location["ipRanges"]
    if not 1 <= len(ranges) <= _MOST_RANGES:
        raise _bad(f"A named location has between 1 and {_MOST_RANGES} IP ranges.")
    for one in ranges:
        text, version = one["cidrAddress"], 6 if one["@odata.type"].endswith("iPv6CidrRange") else 4
        try:
            network = ip_interface(text).network
        except ValueError as error:
            raise _bad(f"'{text}' is not a valid IP range in CIDR notation.") from error
        if "/" not in text or not text.rpartition("/")[2].isdecimal() or network.version != version:
            raise _bad(f"'{text}' is not a valid IP range in CIDR notation.")
        if network.prefixlen <= _WIDEST:
            raise _bad(f"'{text}': only CIDR masks greater than /{_WIDEST} are allowed.")
        if any(network.version == other.version and network.overlaps(other) for other in _NOT_PUBLIC):
            raise _bad(f"'{text}': private IP ranges cannot be configured.")


# What-if


def evaluate(call: Call) -> Reply:
    """`POST /identity/conditionalAccess/evaluate`: a read, whatever its method"""
    authority.require(call.caller, authority.EVALUATE)
    attempt = _supposed(call)
    locations = call.access.locations(call.access_at)
    value = []
    for policy in call.access.policies(call.access_at):
        why = next(reasons(policy, attempt, locations), "notSet")
        if policy["state"] == "disabled":
            why = "policyNotEnabled"
        if why == "notSet" or not call.body.get("appliedPoliciesOnly"):
            value.append({**policy, "policyApplies": why == "notSet", "analysisReasons": why})
    context = f"{call.base}/$metadata#Collection(microsoft.graph.whatIfAnalysisResult)"
    return Reply(body={"@odata.context": context, "value": value})


def _supposed(call: Call) -> Attempt:
    """The sign-in that a body of `evaluate` tells of."""
    context, given = call.body["signInContext"], call.body["signInConditions"]
    if given.get("ipAddress"):
        try:
            ip_address(given["ipAddress"])
        except ValueError as error:
            raise _bad("Invalid value specified for property 'ipAddress' of resource 'signInConditions'.") from error
    action, reference = context.get("userAction"), context.get("authenticationContextValue")
    applications = frozenset(map(str.lower, context.get("includeApplications") or ()))
    if not (action or reference or applications):
        raise _bad("signInContext names nothing.")
    return replace(
        _supposed_identity(call),
        applications=applications,
        user_action=action,
        context=reference,
        client_app=given.get("clientAppType"),
        ip=given.get("ipAddress") or None,
        country=given.get("country") or None,
        platform=given.get("devicePlatform"),
        device=given.get("deviceInfo"),
        sign_in_risk=given.get("signInRiskLevel") or "none",
        user_risk=given.get("userRiskLevel") or "none",
        principal_risk=given.get("servicePrincipalRiskLevel") or "none",
        insider_risk=given.get("insiderRiskLevel") or "none",
        flow=(given.get("authenticationFlow") or {}).get("transferMethod") or "none",
    )


def _supposed_identity(call: Call) -> Attempt:
    identity = call.body["signInIdentity"]
    if identity["@odata.type"].endswith("servicePrincipalSignIn"):
        wanted = str(identity.get("servicePrincipalId") or "").lower()
        for app in call.directory.applications.values():
            if wanted in (app.principal_id, app.app_id):
                return Attempt(principal=app.principal_id, managed=app.managed)
        raise not_found(wanted)
    guest = identity.get("externalUserType")
    if identity.get("userId"):
        person = call.access.person(call.user(identity["userId"]))
    elif guest:
        person = Person(None)
    else:
        raise _bad("signInIdentity names nobody.")
    if guest and guest != "none":
        person = replace(person, guest=frozenset(guest.split(",")), home=identity.get("externalTenantId"))
    return Attempt(person=person)


# The sign-in log


def list_sign_ins(call: Call) -> Reply:
    """`GET /auditLogs/signIns`: the interactive ones of people, newest first; they arrive after a while"""
    _may_read_sign_ins(call)
    rows = [_sign_in(call, line) for line in call.access.logged() if line.interactive]
    size = Sized(default=1000, most=1000)
    return Reply(body=page(call, rows, lambda _: _SIGN_IN, "auditLogs/signIns", checked=_SIGN_IN, size=size))


def get_sign_in(call: Call) -> Reply:
    """`GET /auditLogs/signIns/{id}`"""
    _may_read_sign_ins(call)
    for line in call.access.logged():
        if line.id == call.args[0].lower():
            return Reply(body=single(call, _SIGN_IN, _sign_in(call, line), "auditLogs/signIns"))
    raise not_found(call.args[0])


def _may_read_sign_ins(call: Call) -> None:
    authority.require(call.caller, authority.READ_SIGN_INS)
    if "P1" not in call.directory.tenant.premium:
        raise GraphError(
            403,
            "Authentication_RequestFromNonPremiumTenantOrB2CTenant",
            "Neither tenant is B2C or tenant doesn't have premium license",
        )


# As the log names controls; one without a name of its own is told by Graph's.
_CONTROLS = {
    "block": "Block",
    "mfa": "Mfa",
    "compliantDevice": "RequireCompliantDevice",
    "domainJoinedDevice": "RequireDomainJoinedDevice",
    "approvedApplication": "RequireApprovedApp",
    "compliantApplication": "RequireCompliantApp",
    "passwordChange": "PasswordChange",
}
_CLIENTS = {"browser": "Browser", "mobileAppsAndDesktopClients": "Mobile Apps and Desktop clients"}


def _sign_in(call: Call, line: SignIn) -> Json:
    user, (resource_id, resource) = line.user, RESOURCES[line.resource]
    sees_policies = bool(authority.EVALUATE.permissions & call.caller.token.permissions)
    device: Json = call.access.browser_device if line.protocol == "browser" else {}
    return {
        "id": line.id,
        "createdDateTime": iso(line.time),
        "userDisplayName": user.name if user else None,
        "userPrincipalName": user.upn if user else None,
        "userId": user.id if user else "",
        "appId": line.application.app_id,
        "appDisplayName": line.application.name,
        "ipAddress": line.ip,
        "clientAppUsed": _CLIENTS.get(line.client_app, "Other clients"),
        "userAgent": line.user_agent or None,
        "correlationId": line.correlation_id,
        "conditionalAccessStatus": line.judgement.status,
        "isInteractive": line.interactive,
        "riskDetail": "none",
        "riskLevelAggregated": "none",
        "riskLevelDuringSignIn": "none",
        "riskState": "none",
        "riskEventTypes_v2": [],
        "resourceDisplayName": resource,
        "resourceId": resource_id,
        "status": {
            "errorCode": line.code,
            "failureReason": _FAILURES.get(line.code, "Other.") if line.code else "Other.",
            "additionalDetails": None,
        },
        "deviceDetail": {
            "deviceId": device.get("deviceId", ""),
            "displayName": device.get("displayName", ""),
            "operatingSystem": device.get("operatingSystem", ""),
            "browser": "",
            "isCompliant": device.get("isCompliant", False),
            "isManaged": device.get("isCompliant", False),
            "trustType": device.get("trustType", ""),
        },
        "location": {
            "city": None,
            "state": None,
            "countryOrRegion": line.country or None,
            "geoCoordinates": {"altitude": None, "latitude": None, "longitude": None},
        },
        "appliedConditionalAccessPolicies": _applied(call, line) if sees_policies else [],
    }


_FAILURES = {
    50126: "Error validating credentials due to invalid username or password.",
    50076: "User needs to perform multi-factor authentication.",
    50079: "User needs to enroll for second factor authentication.",
    53000: "Device is not in required device state: compliant.",
    53001: "Device is not in required device state: domain joined.",
    53003: "Access has been blocked by Conditional Access policies.",
    530035: "Access has been blocked by security defaults.",
}


def _applied(call: Call, line: SignIn) -> list[Json]:
    whole = "include-unknown-enum-members" in call.prefers
    applied: list[Json] = []
    for outcome in line.judgement.outcomes:
        policy, result = outcome.policy, outcome.result
        grant, session = policy["grantControls"] or {}, policy["sessionControls"] or {}
        controls = [_CONTROLS.get(name, name) for name in grant.get("builtInControls", ())]
        if grant.get("authenticationStrength"):
            controls.append("Require authentication strength")
        in_force = result not in ("notApplied", "notEnabled", "reportOnlyNotApplied")
        applied.append(
            {
                "id": policy["id"],
                "displayName": policy["displayName"],
                # "Handling future members in evolvable enumerations": without the header there is no such value.
                "result": result if whole or not result.startswith("reportOnly") else "unknownFutureValue",
                "enforcedGrantControls": controls if in_force else [],
                "enforcedSessionControls": [
                    f"{name[0].upper()}{name[1:]}" for name, value in session.items() if value and in_force
                ],
            }
        )
    return applied


# MFA per user (beta)


def get_requirements(call: Call) -> Reply:
    """`GET /beta/users/{id}/authentication/requirements`"""
    authority.require(call.caller, authority.READ_REQUIREMENTS)
    state = call.access.per_user_mfa.get(call.user(call.args[0]).id, "disabled")
    base = call.base.replace("/v1.0", "/beta")
    context = f"{base}/$metadata#users('{call.args[0]}')/authentication/requirements"
    return Reply(body={"@odata.context": context, "perUserMfaState": state})


def update_requirements(call: Call) -> Reply:
    """`PATCH /beta/users/{id}/authentication/requirements`"""
    authority.require(call.caller, authority.WRITE_REQUIREMENTS)
    user = call.user(call.args[0])
    call.access.per_user_mfa[user.id] = call.body["perUserMfaState"]
    call.audit(
        "UserManagement", "Update per-user multifactor authentication state", user, "StrongAuthenticationRequirement"
    )
    return Reply(204, applied=True)
