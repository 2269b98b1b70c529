"""Users in Graph: reading, searching, changing, signing out."""

import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any
from uuid import uuid4

from sandbox.clock import iso
from sandbox.directory import Directory, License, User, View
from sandbox.graph import authority
from sandbox.graph.bodies import USER_PROPERTIES
from sandbox.graph.call import Call, GraphError, Reply, bad_request, conflict, denied, not_found
from sandbox.graph.odata import Entity, Expansion, page, single

ON_PREMISES = (
    "Unable to update the specified properties for on-premises mastered Directory Sync objects or objects currently "
    "undergoing migration."
)
_WEAK = (
    "The specified password does not comply with password complexity requirements. Please provide a different password."
)


def _license_json(license_: License) -> dict[str, Any]:
    return {"skuId": license_.sku_id, "disabledPlans": list(license_.disabled_plans)}


def _password_profile(_: View, user: User) -> dict[str, Any]:
    return {
        "password": None,
        "forceChangePasswordNextSignIn": user.must_change_password,
        "forceChangePasswordNextSignInWithMfa": False,
    }


def _sign_in_activity(_: View, user: User) -> dict[str, Any] | None:
    if user.last_sign_in is None:
        return None
    seen = iso(user.last_sign_in)
    return {
        "lastSignInDateTime": seen,
        "lastSignInRequestId": "",
        "lastNonInteractiveSignInDateTime": seen,
        "lastNonInteractiveSignInRequestId": "",
        "lastSuccessfulSignInDateTime": seen,
        "lastSuccessfulSignInRequestId": "",
    }


def _license_states(view: View, user: User) -> list[dict[str, Any]]:
    return [
        {
            **_license_json(license_),
            "assignedByGroup": group_id,
            "state": "Active",
            "error": "None",
            "lastUpdatedDateTime": iso(user.created),
        }
        for license_, group_id in view.licenses_of(user)
    ]


_GETTERS: Mapping[str, Callable[[View, User], Any]] = {
    "id": lambda _, user: user.id,
    "userPrincipalName": lambda _, user: user.upn,
    "displayName": lambda _, user: user.name,
    "userType": lambda _, user: user.kind,
    "accountEnabled": lambda _, user: user.enabled,
    "usageLocation": lambda _, user: user.usage_location,
    "createdDateTime": lambda _, user: iso(user.created),
    "lastPasswordChangeDateTime": lambda _, user: iso(user.password_changed),
    "signInSessionsValidFromDateTime": lambda _, user: iso(user.sessions_valid_from),
    "passwordProfile": _password_profile,
    "signInActivity": _sign_in_activity,
    "assignedLicenses": lambda view, user: [_license_json(one) for one, _ in view.licenses_of(user)],
    "licenseAssignmentStates": _license_states,
    "isManagementRestricted": lambda view, user: any(unit.restricted for unit in view.units_of(user.id)),
    "onPremisesSyncEnabled": lambda _, user: True if user.synced else None,
    "onPremisesDomainName": lambda _, user: "corp.contoso.com" if user.synced else None,
    "onPremisesSamAccountName": lambda _, user: user.upn.partition("@")[0] if user.synced else None,
    "onPremisesUserPrincipalName": lambda _, user: user.upn if user.synced else None,
    "proxyAddresses": lambda _, user: [f"SMTP:{user.attributes['mail']}"] if user.attributes.get("mail") else [],
}


def _value(view: View, user: User, name: str) -> Any:
    getter = _GETTERS.get(name)
    if getter is not None:
        return getter(view, user)
    value = user.attributes.get(name)
    return [] if value is None and USER_PROPERTIES[name]["type"] == "array" else value


USER = Entity[User](
    "user",
    _value,
    frozenset(USER_PROPERTIES),
    (
        "businessPhones",
        "displayName",
        "givenName",
        "jobTitle",
        "mail",
        "mobilePhone",
        "officeLocation",
        "preferredLanguage",
        "surname",
        "userPrincipalName",
        "id",
    ),
    filterable=frozenset(
        {
            "id", "userPrincipalName", "displayName", "givenName", "surname", "mail", "mailNickname", "userType",
            "accountEnabled", "usageLocation", "department", "jobTitle", "companyName", "city", "country",
            "employeeId", "onPremisesSyncEnabled", "onPremisesSamAccountName", "proxyAddresses", "otherMails",
            "createdDateTime",
        }
    ),
    searchable=frozenset(
        {"displayName", "givenName", "surname", "mail", "mailNickname", "userPrincipalName", "otherMails"}
    ),
)  # fmt: skip

# What PATCH takes; everything else Graph has for a user is read-only or set elsewhere.
_SENSITIVE = frozenset({"businessPhones", "mobilePhone", "otherMails", "userPrincipalName"})
_PLAIN = frozenset(
    {
        "displayName", "givenName", "surname", "jobTitle", "department", "officeLocation", "companyName", "city",
        "country", "state", "postalCode", "streetAddress", "employeeId", "employeeType", "mailNickname",
        "preferredLanguage", "usageLocation", "showInAddressList", "passwordPolicies", "faxNumber",
    }
)  # fmt: skip
_FIELDS = {  # those the directory keeps under names of its own
    "displayName": "name",
    "accountEnabled": "enabled",
    "usageLocation": "usage_location",
    "userPrincipalName": "upn",
}
_OF_THE_CLOUD = frozenset({"usageLocation", "passwordPolicies", "showInAddressList"})  # even when the user is synced


def get_user(call: Call) -> Reply:
    """`GET /users/{id or user principal name}`"""
    authority.require(call.caller, authority.READ_USERS)
    return Reply(body=_user_json(call, call.user(call.args[0])))


def get_me(call: Call) -> Reply:
    """`GET /me`"""
    return Reply(body=_user_json(call, me(call)))


def me(call: Call) -> User:
    """The caller as a user; an application is told that it is none."""
    if call.caller.user is None:
        raise bad_request("/me request is only valid with delegated authentication flow.", "BadRequest")
    authority.require(call.caller, authority.READ_ME)
    return call.user(call.caller.user.id)


def _user_json(call: Call, user: User) -> dict[str, Any]:
    _check_sign_in_activity(call)
    return single(call, USER, user, "users", expansions={"manager": _expand_manager(call)})


def _expand_manager(call: Call) -> Expansion[User]:
    def manager_of(user: User, select: Sequence[str] | None) -> dict[str, Any] | None:
        manager = call.view.user(user.manager_id) if user.manager_id else None
        if manager is None:
            return None
        shown = USER.show(call.view, manager, USER.check_select(select))
        return {"@odata.type": "#microsoft.graph.user", **shown}

    return manager_of


def _check_sign_in_activity(call: Call) -> None:
    if "signInActivity" not in (call.options.select or ()):
        return
    if not authority.READ_SIGN_IN_ACTIVITY.permissions & call.caller.token.permissions:
        raise GraphError(
            403,
            "Authentication_MSGraphPermissionMissing",
            "Calling principal does not have required MSGraph permissions AuditLog.Read.All",
        )
    if "P1" not in call.directory.tenant.premium:
        raise GraphError(
            403,
            "Authentication_RequestFromNonPremiumTenantOrB2CTenant",
            "Neither tenant is B2C or tenant doesn't have premium license",
        )


def list_users(call: Call) -> Reply:
    """`GET /users`"""
    authority.require(call.caller, authority.READ_USERS)
    _check_sign_in_activity(call)
    view = call.index if call.options.filter or call.options.search else call.view
    users = sorted(view.users(), key=lambda user: user.name.casefold())
    expansions = {"manager": _expand_manager(call)}
    return Reply(body=page(call, users, lambda _: USER, "users", view=view, checked=USER, expansions=expansions))


def get_manager(call: Call) -> Reply:
    """`GET /users/{id}/manager`"""
    authority.require(call.caller, authority.READ_USERS)
    user = call.user(call.args[0])
    manager = call.view.user(user.manager_id) if user.manager_id else None
    if manager is None:
        raise not_found("manager")
    body = single(call, USER, manager, "directoryObjects")
    return Reply(body={**body, "@odata.type": "#microsoft.graph.user"})


_REQUIRED = ("accountEnabled", "displayName", "mailNickname", "userPrincipalName", "passwordProfile")


def create_user(call: Call) -> Reply:
    """`POST /users`"""
    authority.require(call.caller, authority.WRITE_USERS)
    body = {name: value for name, value in call.body.items() if not name.startswith("@")}
    _needs(body.keys())  # refuses what cannot be set
    for name in _REQUIRED:
        if body.get(name) in (None, ""):
            message = f"A value is required for property '{name}' of resource 'User'."
            details = [{"code": "PropertyRequired", "target": name, "message": message}]
            raise GraphError(400, "Request_BadRequest", message, details=details)
    profile = body.pop("passwordProfile")
    now = call.clock.now()
    user = User(
        id=str(uuid4()),
        upn=body["userPrincipalName"],
        name=body["displayName"],
        enabled=body["accountEnabled"],
        usage_location=body.get("usageLocation"),
        attributes={name: value for name, value in body.items() if name not in _FIELDS},
        created=now,
        password_changed=now,
        sessions_valid_from=now,
        must_change_password=profile.get("forceChangePasswordNextSignIn") is not False,
    )
    _check_upn(call.directory, user.upn)
    _check_values(call.directory, user, body)
    check_password(call.directory, user, profile.get("password") or "")
    call.directory.add_user(user, profile["password"], since=now)
    call.audit("UserManagement", "Add user", user, *body)
    return Reply(201, single(call, USER, user, "users"), applied=True)


def delete_user(call: Call) -> Reply:
    """`DELETE /users/{id}`: to where it can be restored from"""
    authority.require(call.caller, authority.DELETE_USERS)
    user = call.user(call.args[0])
    authority.require_over(call, authority.DELETE_USERS, user)
    if call.caller.principal_id == user.id:
        raise bad_request("A user cannot delete itself.")
    if user.synced:
        raise bad_request(ON_PREMISES)
    call.directory.delete_user(user.id)
    call.audit("UserManagement", "Delete user", user)
    return Reply(204, applied=True)


def update_user(call: Call) -> Reply:
    """`PATCH /users/{id}`: everything in the body, or nothing of it."""
    body = {name: value for name, value in call.body.items() if not name.startswith("@")}
    if not body:
        raise bad_request("Write requests must contain at least one property.")
    needs = _needs(body.keys())
    for need in needs:
        authority.require(call.caller, need)

    user = call.user(call.args[0])
    for need in needs:
        if need is authority.WRITE_USERS:
            authority.require_in_reach(call, need, user)
        else:
            authority.require_over(call, need, user, role_for_application=need is authority.WRITE_PASSWORD)
    if user.synced and body.keys() - _OF_THE_CLOUD:
        raise bad_request(ON_PREMISES)
    profile = body.pop("passwordProfile", None) or {}
    password = profile.get("password")
    if password is not None:
        check_password(call.directory, user, password)
    _check_values(call.directory, user, body)

    if body:
        _apply(call, user, body)
    if password is not None:
        # "forceChangePasswordNextSignIn": left out, it is true. Without a password the profile changes nothing.
        must_change = profile.get("forceChangePasswordNextSignIn") is not False
        call.directory.set_password(user.id, password, must_change=must_change)
        call.audit("UserManagement", "Reset user password", user, "PasswordProfile")
    return Reply(204, applied=True)


def _needs(names: Set[str]) -> list[authority.Need]:
    if read_only := names - _PLAIN - _SENSITIVE - {"accountEnabled", "passwordProfile"}:
        raise bad_request(f"Property '{min(read_only)}' is read-only and cannot be set.")
    needs = []
    if "passwordProfile" in names:
        needs.append(authority.WRITE_PASSWORD)
    if "accountEnabled" in names:
        needs.append(authority.WRITE_ENABLED)
    if names & _SENSITIVE:
        needs.append(authority.WRITE_SENSITIVE)
    if names & _PLAIN:
        needs.append(authority.WRITE_USERS)
    return needs


def _check_values(directory: Directory, user: User, body: Mapping[str, Any]) -> None:
    for name in ("accountEnabled", "displayName", "userPrincipalName"):
        if name in body and body[name] in (None, ""):
            raise bad_request(f"Invalid value specified for property '{name}' of resource 'User'.")
    location = body.get("usageLocation")
    if location is not None and not re.fullmatch(r"[A-Z]{2}", location):
        raise bad_request("Invalid value specified for property 'usageLocation' of resource 'User'.")
    if body.get("userPrincipalName", user.upn) != user.upn:
        _check_upn(directory, body["userPrincipalName"])


def _check_upn(directory: Directory, upn: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9'.\-_!#^~]{1,64}@[a-z0-9.-]{1,48}", upn):
        raise bad_request("Property userPrincipalName is invalid.")
    if upn.partition("@")[2] not in directory.tenant.domains:
        raise bad_request("The domain portion of the userPrincipalName property is invalid.")
    if directory.latest.user(upn) is not None:
        raise conflict("userPrincipalName")


def _apply(call: Call, user: User, body: Mapping[str, Any]) -> None:
    known = {_FIELDS[name]: value for name, value in body.items() if name in _FIELDS}
    others = {name: value for name, value in body.items() if name not in _FIELDS}
    after = call.directory.update_user(user.id, **known, attributes={**user.attributes, **others})
    activity = "Update user"
    if after.enabled is not user.enabled:
        activity = "Enable account" if after.enabled else "Disable account"
    call.audit("UserManagement", activity, after, *body)


def revoke_sessions(call: Call) -> Reply:
    """`POST /users/{id}/revokeSignInSessions`"""
    authority.require(call.caller, replace(authority.REVOKE_SESSIONS, roles=None))
    user = call.user(call.args[0])
    if call.caller.user is None or call.caller.user.id != user.id:  # one's own sessions need no role
        authority.require_over(call, authority.REVOKE_SESSIONS, user)
    # A guest's session belongs to the home tenant: Graph answers yes, and nothing ends.
    if user.kind != "Guest":
        user = call.directory.update_user(user.id, sessions_valid_from=call.clock.now())
    call.audit("UserManagement", "Update StsRefreshTokenValidFrom Timestamp", user, "StsRefreshTokensValidFrom")
    return Reply(200, {"@odata.context": f"{call.base}/$metadata#Edm.Boolean", "value": True}, applied=True)


def change_own_password(call: Call) -> Reply:
    """`POST /me/changePassword`"""
    authority.require(call.caller, authority.CHANGE_OWN_PASSWORD)
    user = me(call)
    current, new = call.body.get("currentPassword"), call.body.get("newPassword")
    if not current or not new:
        raise bad_request("One or more required parameters are missing: currentPassword, newPassword.")
    if current != call.directory.password_of(user.id):
        raise bad_request("The specified password does not match the current password.")
    if new == current:
        raise bad_request("The new password must not be the same as the current one.")
    if user.synced:
        raise denied("The password of an on-premises mastered account cannot be changed here.")
    check_password(call.directory, user, new)
    call.directory.set_password(user.id, new)
    call.audit("UserManagement", "Change user password", user, "PasswordProfile")
    return Reply(204, applied=True)


# Passwords

_ALLOWED = re.compile(r"[A-Za-z0-9@#$%^&*\-_!+=\[\]{}|\\:',.?/`~\"();<> ]{8,256}")
_LOOKALIKES = str.maketrans("01$@", "olsa")


def check_password(directory: Directory, user: User, password: str) -> None:
    """Refuse a password the tenant's rules do not take, with the one message Graph has for all reasons.

    "Self-service password reset policies" has length, classes and symbols; "Eliminate bad passwords" the points.
    """
    classes = [r"[a-z]", r"[A-Z]", r"[0-9]", r"[^A-Za-z0-9]"]
    names = re.findall(r"[a-z]{4,}", f"{user.name} {user.upn.partition('@')[0]}".lower())
    plain = password.lower().translate(_LOOKALIKES)
    if (
        not _ALLOWED.fullmatch(password)
        or password != password.strip()
        or sum(re.search(one, password) is not None for one in classes) < 3
        or any(name in plain or name in password.lower() for name in names)
        or _points(plain, directory.tenant.banned_words) < 5
    ):
        raise bad_request(_WEAK)


def _points(password: str, banned: frozenset[str]) -> int:
    """One for each banned word in it, one for each character that is left."""
    words = 0
    for word in sorted(banned, key=len, reverse=True):
        words += password.count(word)
        password = password.replace(word, "")
    return words + len(password)
