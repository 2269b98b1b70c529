"""Directory roles in Graph: definitions, assignments, and eligibility in Privileged Identity Management."""

import secrets
from collections.abc import Mapping
from typing import Any

from sandbox.clock import iso
from sandbox.directory import RoleAssignment, RoleDefinition, View
from sandbox.graph import authority
from sandbox.graph.call import Call, GraphError, Reply, bad_request, not_found
from sandbox.graph.odata import Entity, page, record_entity, single


def _value(_: View, role: RoleDefinition, name: str) -> Any:
    values = {
        "id": f"00d1{role.id[4:]}",  # the activated role is an object of its own, not its template
        "roleTemplateId": role.id,
        "displayName": role.name,
        "description": f"The role {role.name}.",
        "deletedDateTime": None,
    }
    return values[name]


ROLE = Entity[RoleDefinition](
    "directoryRole",
    _value,
    frozenset({"id", "roleTemplateId", "displayName", "description", "deletedDateTime"}),
    ("id", "deletedDateTime", "description", "displayName", "roleTemplateId"),
    filterable=frozenset({"roleTemplateId", "displayName"}),
)

_DEFINITION = record_entity(
    "unifiedRoleDefinition",
    ("id", "displayName", "description", "isBuiltIn", "isEnabled", "templateId", "version", "rolePermissions"),
    ("id", "displayName", "isBuiltIn", "templateId"),
)
_ASSIGNMENT = record_entity(
    "unifiedRoleAssignment",
    ("id", "principalId", "roleDefinitionId", "directoryScopeId", "appScopeId"),
    ("id", "principalId", "roleDefinitionId", "directoryScopeId"),
)
_ELIGIBILITY = record_entity(
    "unifiedRoleEligibilityScheduleInstance",
    (
        "id", "principalId", "roleDefinitionId", "directoryScopeId", "appScopeId", "memberType",
        "roleEligibilityScheduleId", "startDateTime", "endDateTime",
    ),
    ("principalId", "roleDefinitionId", "directoryScopeId"),
)  # fmt: skip


def list_directory_roles(call: Call) -> Reply:
    """`GET /directoryRoles`: the built-in roles somebody was ever given"""
    authority.require(call.caller, authority.READ_ROLES)
    given = {one.role_id for one in call.view.assignments() if not one.eligible}
    roles = [role for role in call.directory.roles.values() if role.built_in and role.id in given]
    return Reply(body=page(call, roles, lambda _: ROLE, "directoryRoles", checked=ROLE))


def list_definitions(call: Call) -> Reply:
    """`GET /roleManagement/directory/roleDefinitions`"""
    authority.require(call.caller, authority.READ_ROLES)
    rows = [_definition(role) for role in call.directory.roles.values()]
    return Reply(body=page(call, rows, lambda _: _DEFINITION, _context("roleDefinitions"), checked=_DEFINITION))


def get_definition(call: Call) -> Reply:
    """`GET /roleManagement/directory/roleDefinitions/{id}`"""
    authority.require(call.caller, authority.READ_ROLES)
    role = call.directory.roles.get(call.args[0].lower())
    if role is None:
        raise not_found(call.args[0])
    return Reply(body=single(call, _DEFINITION, _definition(role), _context("roleDefinitions")))


def list_assignments(call: Call) -> Reply:
    """`GET /roleManagement/directory/roleAssignments`"""
    authority.require(call.caller, authority.READ_ROLES)
    # Of somebody deleted none shows, until the account is restored.
    rows = [
        _assignment(one) for one in call.view.assignments() if not one.eligible and call.view.exists(one.principal_id)
    ]
    return Reply(
        body=page(
            call,
            rows,
            lambda _: _ASSIGNMENT,
            _context("roleAssignments"),
            checked=_ASSIGNMENT,
            expansions={"roleDefinition": lambda row, _: _definition(call.directory.roles[row["roleDefinitionId"]])},
        )
    )


def get_assignment(call: Call) -> Reply:
    """`GET /roleManagement/directory/roleAssignments/{id}`"""
    authority.require(call.caller, authority.READ_ROLES)
    row = _assignment(_find(call, call.view))
    return Reply(body=single(call, _ASSIGNMENT, row, _context("roleAssignments")))


def assign(call: Call) -> Reply:
    """`POST /roleManagement/directory/roleAssignments`"""
    authority.require(call.caller, authority.WRITE_ROLES)
    latest = call.directory.latest
    role = call.directory.roles.get(call.body["roleDefinitionId"].lower())
    if role is None:
        raise not_found(call.body["roleDefinitionId"])
    holder, scope = call.body["principalId"].lower(), call.body["directoryScopeId"]
    group = latest.group(holder)
    if "@" in holder or not latest.exists(holder):
        raise not_found(holder)
    if group is not None and not group.role_assignable:
        raise bad_request("Role assignment is only supported for groups whose isAssignableToRole is true.")
    if scope != "/" and scope not in {f"/administrativeUnits/{unit.id}" for unit in latest.units()}:
        raise bad_request("The directoryScopeId is not valid.")
    wanted = (role.id, holder, scope)
    if any((one.role_id, one.principal_id, one.scope) == wanted and not one.eligible for one in latest.assignments()):
        message = "A conflicting object with one or more of the specified property values is present in the directory."
        details = [{"code": "ConflictingObjects", "target": "roleAssignment", "message": message}]
        raise GraphError(400, "Request_BadRequest", message, details=details)
    made = RoleAssignment(secrets.token_urlsafe(32), role.id, holder, scope)
    call.directory.add_assignment(made)
    _audit(call, "Add member to role", made)
    return Reply(201, single(call, _ASSIGNMENT, _assignment(made), _context("roleAssignments")), applied=True)


def unassign(call: Call) -> Reply:
    """`DELETE /roleManagement/directory/roleAssignments/{id}`"""
    authority.require(call.caller, authority.WRITE_ROLES)
    held = _find(call, call.directory.latest)
    if held.principal_id == call.caller.principal_id and held.role_id == authority.GLOBAL_ADMINISTRATOR:
        raise bad_request("Removing self from Global Administrator built-in role is not allowed.")
    call.directory.remove_assignment(held.id)
    _audit(call, "Remove member from role", held)
    return Reply(204, applied=True)


def _find(call: Call, view: View) -> RoleAssignment:
    for one in view.assignments():
        if one.id == call.args[0] and not one.eligible:
            return one
    raise not_found(call.args[0])


def _audit(call: Call, activity: str, assignment: RoleAssignment) -> None:
    latest = call.directory.latest
    holder = latest.user(assignment.principal_id) or latest.group(assignment.principal_id)
    application = next(
        (app for app in call.directory.applications.values() if app.principal_id == assignment.principal_id), None
    )
    if target := holder or application:
        role = call.directory.roles[assignment.role_id]
        call.audit("RoleManagement", activity, target, f"Role.DisplayName={role.name}")


def list_eligibility(call: Call) -> Reply:
    """`GET /roleManagement/directory/roleEligibilityScheduleInstances`"""
    authority.require(call.caller, authority.READ_ELIGIBILITY)
    if "P2" not in call.directory.tenant.premium:
        raise bad_request(
            "The tenant needs to have Microsoft Entra ID P2 or Microsoft Entra ID Governance license.",
            "AadPremiumLicenseRequired",
        )
    rows = [_eligibility(call, one) for one in call.view.assignments() if one.eligible]
    name = _context("roleEligibilityScheduleInstances")
    return Reply(
        body=page(
            call,
            rows,
            lambda _: _ELIGIBILITY,
            name,
            checked=_ELIGIBILITY,
            expansions={"roleDefinition": lambda row, _: _definition(call.directory.roles[row["roleDefinitionId"]])},
        )
    )


def _context(name: str) -> str:
    return f"roleManagement/directory/{name}"


def _definition(role: RoleDefinition) -> Mapping[str, Any]:
    return {
        "id": role.id,
        "displayName": role.name,
        "description": f"The role {role.name}.",
        "isBuiltIn": role.built_in,
        "isEnabled": True,
        "templateId": role.id,
        "version": "1",
        "rolePermissions": [],
    }


def _assignment(assignment: RoleAssignment) -> dict[str, Any]:
    return {
        "id": assignment.id,
        "principalId": assignment.principal_id,
        "roleDefinitionId": assignment.role_id,
        "directoryScopeId": assignment.scope,
        "appScopeId": None,
    }


def _eligibility(call: Call, assignment: RoleAssignment) -> dict[str, Any]:
    return {
        **_assignment(assignment),
        "memberType": "Direct",
        "roleEligibilityScheduleId": assignment.id,
        "startDateTime": iso(call.clock.now() - 86400),
        "endDateTime": None,
    }
