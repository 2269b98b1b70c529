"""Ways to sign in, in Graph: registered methods, temporary access passes, and resetting a password with writeback."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import uuid4

from sandbox.clock import iso
from sandbox.directory import AccessPass, AuthMethod, Source, User, make_password
from sandbox.graph import authority
from sandbox.graph.call import Call, Reply, bad_request, denied, not_found
from sandbox.graph.users import check_password

PASSWORD_METHOD = "28c10230-6103-485e-b985-444c60001490"
"""Everybody's password method has this id ("passwordAuthenticationMethod resource type")."""

_KINDS = {
    "phoneMethods": "phone",
    "microsoftAuthenticatorMethods": "microsoftAuthenticator",
    "softwareOathMethods": "softwareOath",
    "fido2Methods": "fido2",
    "windowsHelloForBusinessMethods": "windowsHelloForBusiness",
    "emailMethods": "email",
}
METHOD_COLLECTIONS = tuple(_KINDS)


@dataclass(frozen=True)
class Operation:
    """A password reset under way; `runs_until` is when its end can be seen."""

    id: str
    user_id: str
    created: float
    runs_until: float
    failure: str | None


def list_methods(call: Call) -> Reply:
    """`GET /users/{id}/authentication/methods`"""
    authority.require(call.caller, authority.READ_METHODS)
    user = call.user(call.args[0])
    value = [_password_json(user, typed=True), *(_method_json(one, typed=True) for one in user.methods)]
    if user.access_pass is not None:
        value.append({"@odata.type": _type("temporaryAccessPass"), **_pass_json(call, user.access_pass)})
    return _list(call, user, "methods", value)


def list_methods_of_kind(call: Call) -> Reply:
    """`GET /users/{id}/authentication/phoneMethods` and its like"""
    authority.require(call.caller, authority.READ_METHODS)
    user, collection = call.user(call.args[0]), call.args[1]
    return _list(call, user, collection, [_method_json(one) for one in user.methods if one.kind == _KINDS[collection]])


def list_password_methods(call: Call) -> Reply:
    """`GET /users/{id}/authentication/passwordMethods`"""
    authority.require(call.caller, authority.READ_METHODS)
    user = call.user(call.args[0])
    return _list(call, user, "passwordMethods", [_password_json(user)])


def delete_method(call: Call) -> Reply:
    """`DELETE /users/{id}/authentication/phoneMethods/{id}` and its like"""
    key, collection, method_id = call.args
    authority.require(call.caller, authority.WRITE_METHODS)
    user = call.user(key)
    authority.require_over(call, authority.WRITE_METHODS, user)
    left = tuple(one for one in user.methods if (one.kind, one.id) != (_KINDS[collection], method_id.lower()))
    if left == user.methods:
        raise not_found(method_id)
    after = call.directory.update_user(user.id, methods=left)
    call.audit("UserManagement", "Admin deleted security info", after, collection)
    return Reply(204, applied=True)


def add_phone(call: Call) -> Reply:
    """`POST /users/{id}/authentication/phoneMethods`"""
    authority.require(call.caller, authority.WRITE_METHODS)
    user = call.user(call.args[0])
    authority.require_over(call, authority.WRITE_METHODS, user)
    number, kind = call.body["phoneNumber"], call.body["phoneType"]
    if not re.fullmatch(r"\+[0-9]{1,3} [0-9x]{4,20}", number):
        raise bad_request("The phone number is not valid.", "invalidPhoneNumber")
    if any(one.kind == "phone" and one.properties["phoneType"] == kind for one in user.methods):
        raise bad_request(f"The user already has a phone of the type {kind}.")
    method = AuthMethod(
        str(uuid4()), "phone", {"phoneNumber": number, "phoneType": kind, "smsSignInState": "notEnabled"}
    )
    after = call.directory.update_user(user.id, methods=(*user.methods, method))
    call.audit("UserManagement", "Admin registered security info", after, "phoneMethods")
    return Reply(201, _method_json(method), applied=True)


def _list(call: Call, user: User, collection: str, value: list[dict[str, Any]]) -> Reply:
    context = f"{call.base}/$metadata#users('{user.id}')/authentication/{collection}"
    return Reply(body={"@odata.context": context, "value": value})


def _type(kind: str) -> str:
    return f"#microsoft.graph.{kind}AuthenticationMethod"


def _method_json(method: AuthMethod, *, typed: bool = False) -> dict[str, Any]:
    body = {"id": method.id, **method.properties}
    return {"@odata.type": _type(method.kind), **body} if typed else body


def _password_json(user: User, *, typed: bool = False) -> dict[str, Any]:
    body = {"id": PASSWORD_METHOD, "password": None, "createdDateTime": iso(user.password_changed)}
    return {"@odata.type": _type("password"), **body} if typed else body


# Temporary access passes


def list_access_passes(call: Call) -> Reply:
    """`GET /users/{id}/authentication/temporaryAccessPassMethods`"""
    authority.require(call.caller, authority.READ_ACCESS_PASSES)
    user = call.user(call.args[0])
    value = [] if user.access_pass is None else [_pass_json(call, user.access_pass)]
    return _list(call, user, "temporaryAccessPassMethods", value)


def get_access_pass(call: Call) -> Reply:
    """`GET /users/{id}/authentication/temporaryAccessPassMethods/{id}`"""
    authority.require(call.caller, authority.READ_ACCESS_PASSES)
    held = call.user(call.args[0]).access_pass
    if held is None or held.id != call.args[1].lower():
        raise not_found(call.args[1])
    return Reply(body=_pass_json(call, held))


def make_access_pass(call: Call) -> Reply:
    """`POST /users/{id}/authentication/temporaryAccessPassMethods`: replaces the one the user has.

    Its value is in this answer and in no other.
    """
    authority.require(call.caller, authority.WRITE_ACCESS_PASSES)
    user = call.user(call.args[0])
    authority.require_over(call, authority.WRITE_ACCESS_PASSES, user)
    policy = call.directory.tenant.access_pass_policy
    if not policy.enabled:
        raise bad_request("Temporary Access Pass is disabled by the authentication methods policy.", "badRequest")
    if user.kind == "Guest":
        raise bad_request("Temporary Access Pass cannot be added to an external guest user.", "badRequest")
    minutes = call.body.get("lifetimeInMinutes") or policy.default
    if not policy.minimum <= minutes <= policy.maximum:
        raise bad_request(
            f"lifetimeInMinutes must be between {policy.minimum} and {policy.maximum}, as the policy says.",
            "badRequest",
        )
    now = call.clock.now()
    made = AccessPass(
        id=str(uuid4()),
        value="".join(
            secrets.choice("ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz23456789%^&*+") for _ in range(8)
        ),
        created=now,
        start=_start(call.body.get("startDateTime"), now),
        minutes=minutes,
        once=call.body.get("isUsableOnce") is True,
    )
    after = call.directory.update_user(user.id, access_pass=made)
    call.audit("UserManagement", "Admin registered security info", after, "temporaryAccessPassMethods")
    return Reply(201, {**_pass_json(call, made), "temporaryAccessPass": made.value}, applied=True)


def delete_access_pass(call: Call) -> Reply:
    """`DELETE /users/{id}/authentication/temporaryAccessPassMethods/{id}`"""
    authority.require(call.caller, authority.WRITE_ACCESS_PASSES)
    user = call.user(call.args[0])
    authority.require_over(call, authority.WRITE_ACCESS_PASSES, user)
    if user.access_pass is None or user.access_pass.id != call.args[1].lower():
        raise not_found(call.args[1])
    after = call.directory.update_user(user.id, access_pass=None)
    call.audit("UserManagement", "Admin deleted security info", after, "temporaryAccessPassMethods")
    return Reply(204, applied=True)


def _start(text: str | None, now: float) -> float:
    if text is None:
        return now
    try:
        start = datetime.fromisoformat(text)
    except ValueError as error:
        raise bad_request("startDateTime is not a date and time.", "badRequest") from error
    if start.tzinfo is None or start.timestamp() < now - 60:
        raise bad_request("startDateTime must have a time zone and may not be in the past.", "badRequest")
    return start.timestamp()


def _pass_json(call: Call, held: AccessPass) -> dict[str, Any]:
    now, end = call.clock.now(), held.start + held.minutes * 60
    reason = "NotYetValid" if now < held.start else "Expired" if now >= end else "EnabledByPolicy"
    if not call.directory.tenant.access_pass_policy.enabled:
        reason = "DisabledByPolicy"
    return {
        "id": held.id,
        "temporaryAccessPass": None,
        "createdDateTime": iso(held.created),
        "startDateTime": iso(held.start),
        "lifetimeInMinutes": held.minutes,
        "isUsableOnce": held.once,
        "isUsable": reason == "EnabledByPolicy",
        "methodUsabilityReason": reason,
    }


# Resetting with writeback


class PasswordResets:
    """`resetPassword` and the operations it starts; `seconds` is how long one runs."""

    def __init__(self) -> None:
        self.seconds = 1.0
        self._operations: dict[str, Operation] = {}

    def start(self, call: Call) -> Reply:
        """`POST /users/{id}/authentication/methods/28c10230-…/resetPassword`

        Delegated only and never on oneself; the user must change the password at the next sign-in.
        """
        authority.require(call.caller, authority.RESET_PASSWORD)
        key, method_id = call.args
        user = call.user(key)
        if method_id.lower() != PASSWORD_METHOD:
            raise not_found(method_id)
        if call.caller.principal_id == user.id:
            raise denied("A user cannot reset the own password.")
        authority.require_over(call, authority.RESET_PASSWORD, user)
        given = call.body.get("newPassword")
        password = given or make_password()
        check_password(call.directory, user, password)
        failure = "Password writeback is not enabled." if user.source is Source.ON_PREMISES else None
        if failure is None:
            call.directory.set_password(user.id, password, must_change=True)
            call.audit("UserManagement", "Reset user password", user, "PasswordProfile")
        now = call.clock.now()
        operation = Operation(str(uuid4()), user.id, now, now + self.seconds, failure)
        self._operations[operation.id] = operation
        location = f"{call.base}/users/{user.id}/authentication/operations/{operation.id}"
        body: Mapping[str, Any] = {} if given else {"newPassword": password}
        return Reply(202, body, {"Location": location}, applied=failure is None)

    def get(self, call: Call) -> Reply:
        """`GET /users/{id}/authentication/operations/{id}`"""
        authority.require(call.caller, replace(authority.READ_METHODS, roles=authority.RESET_PASSWORD.roles))
        key, operation_id = call.args
        operation = self._operations.get(operation_id)
        if operation is None or operation.user_id != call.user(key).id:
            raise not_found(operation_id)
        running = call.clock.now() < operation.runs_until
        status = "running" if running else "failed" if operation.failure else "succeeded"
        context = f"{call.base}/$metadata#users('{operation.user_id}')/authentication/operations/$entity"
        return Reply(
            body={
                "@odata.context": context,
                "id": operation.id,
                "status": status,
                "statusDetail": None if running else operation.failure,
                "createdDateTime": iso(operation.created),
                "lastActionDateTime": iso(min(call.clock.now(), operation.runs_until)),
                "resourceLocation": None,
            }
        )
