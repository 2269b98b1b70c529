"""Who may do what in Graph: permissions of the token, and directory roles of the caller over the target."""

from collections.abc import Mapping
from dataclasses import dataclass

from sandbox.directory import User, View
from sandbox.graph.call import Call, Caller, denied

GLOBAL_ADMINISTRATOR = "62e90394-69f5-4237-9190-012177145e10"
PRIVILEGED_ROLE_ADMINISTRATOR = "e8611ab8-c189-46e8-94e1-60213ab1f814"
PRIVILEGED_AUTHENTICATION_ADMINISTRATOR = "7be44c8a-adaf-4e2a-84d6-ab2649e08a13"
USER_ADMINISTRATOR = "fe930be7-5e62-47db-91af-98c3a49a38b1"
AUTHENTICATION_ADMINISTRATOR = "c4e39bd9-1100-46d3-8c65-fb160da0071f"
AUTHENTICATION_POLICY_ADMINISTRATOR = "0526716b-113d-4c15-b2c8-68e3c22b9f80"
HELPDESK_ADMINISTRATOR = "729827e3-9c14-49f7-bb1b-9608f156bbb8"
PASSWORD_ADMINISTRATOR = "966707d0-3269-4727-9be2-8c3a10f19b9d"
GROUPS_ADMINISTRATOR = "fdd7a751-b60b-444a-984c-02652fe8fa1c"
LICENSE_ADMINISTRATOR = "4d6ac14f-3453-41d0-bef9-a3e0c569773a"
CONDITIONAL_ACCESS_ADMINISTRATOR = "b1be1c3e-b65d-4f19-8427-f6fa0d97feb9"
SECURITY_ADMINISTRATOR = "194ae4cb-b126-40b2-bd5b-6091b380977d"
CLOUD_APPLICATION_ADMINISTRATOR = "158c047a-c907-4556-b7ef-446551a6b5f7"
GLOBAL_READER = "f2ef992c-3afb-46b9-b7cf-a126ee74c451"
SECURITY_READER = "5d6b6bb7-de71-4623-b4af-96380a352509"
REPORTS_READER = "4a5d8f65-41da-4de4-8968-e035b65339cf"
DIRECTORY_READERS = "88d8e3e3-8f55-4a1e-953a-9b9898b8876b"
GUEST_INVITER = "95e79109-95c0-4d8e-aee3-d01accf2d47b"
MESSAGE_CENTER_READER = "790c1fb9-7f7d-4f88-86a1-ef1f95c05c1b"
USAGE_SUMMARY_REPORTS_READER = "75934031-6c7e-415a-99d7-48dbd49e875e"
USER_EXPERIENCE_SUCCESS_MANAGER = "27460883-1df1-4691-b032-3b79643e5e63"


@dataclass(frozen=True)
class Need:
    """The permissions of which one suffices, and the directory roles of which a person must hold one."""

    permissions: frozenset[str]
    roles: frozenset[str] | None = None  # None: any member of the tenant
    application: bool = True  # False: Graph has no such call for applications


def _need(*permissions: str, roles: frozenset[str] | None = None, application: bool = True) -> Need:
    return Need(frozenset(permissions), roles, application)


_METHOD_READERS = frozenset(
    {GLOBAL_ADMINISTRATOR, GLOBAL_READER, AUTHENTICATION_ADMINISTRATOR, PRIVILEGED_AUTHENTICATION_ADMINISTRATOR}
)
_METHOD_WRITERS = _METHOD_READERS - {GLOBAL_READER}
_SENSITIVE = _METHOD_WRITERS | {USER_ADMINISTRATOR}
_RESETTERS = _SENSITIVE | {HELPDESK_ADMINISTRATOR, PASSWORD_ADMINISTRATOR}
_LICENSERS = frozenset({GLOBAL_ADMINISTRATOR, USER_ADMINISTRATOR, LICENSE_ADMINISTRATOR})
_GROUPERS = frozenset({GLOBAL_ADMINISTRATOR, USER_ADMINISTRATOR, GROUPS_ADMINISTRATOR})
_DIRECTORY = ("Directory.Read.All", "Directory.ReadWrite.All")

READ_ME = _need("User.Read", "User.ReadWrite", "User.Read.All", "User.ReadWrite.All", *_DIRECTORY)
READ_USERS = _need("User.Read.All", "User.ReadWrite.All", *_DIRECTORY)
READ_DELETED = READ_USERS
DELETE_USERS = _need("User.DeleteRestore.All", "User.ReadWrite.All", roles=_SENSITIVE)
READ_SIGN_IN_ACTIVITY = _need("AuditLog.Read.All")
WRITE_USERS = _need(
    "User.ReadWrite.All", "Directory.ReadWrite.All", roles=frozenset({GLOBAL_ADMINISTRATOR, USER_ADMINISTRATOR})
)
WRITE_SENSITIVE = _need("User.ReadWrite.All", "Directory.ReadWrite.All", roles=_SENSITIVE)
WRITE_PASSWORD = _need("User-PasswordProfile.ReadWrite.All", "Directory.AccessAsUser.All", roles=_SENSITIVE)
WRITE_ENABLED = _need("User.EnableDisableAccount.All", roles=_SENSITIVE)
REVOKE_SESSIONS = _need("User.RevokeSessions.All", "User.ReadWrite.All", "Directory.ReadWrite.All", roles=_RESETTERS)
CHANGE_OWN_PASSWORD = _need("User-PasswordProfile.ReadWrite.All", "Directory.AccessAsUser.All", application=False)
RESET_PASSWORD = _need(
    "UserAuthenticationMethod.ReadWrite.All",
    "UserAuthMethod-Password.ReadWrite.All",
    roles=_METHOD_WRITERS,
    application=False,
)
READ_METHODS = _need(
    "UserAuthenticationMethod.Read.All", "UserAuthenticationMethod.ReadWrite.All", roles=_METHOD_READERS
)
WRITE_METHODS = _need("UserAuthenticationMethod.ReadWrite.All", roles=_METHOD_WRITERS)
READ_ACCESS_PASSES = _need(*READ_METHODS.permissions, "UserAuthMethod-TAP.ReadWrite.All", roles=_METHOD_READERS)
WRITE_ACCESS_PASSES = _need(*WRITE_METHODS.permissions, "UserAuthMethod-TAP.ReadWrite.All", roles=_METHOD_WRITERS)
READ_GROUPS = _need(
    "GroupMember.Read.All",
    "GroupMember.ReadWrite.All",
    "Group.Read.All",
    "Group.ReadWrite.All",
    *_DIRECTORY,
)
READ_OBJECTS = Need(READ_USERS.permissions | READ_GROUPS.permissions)
CREATE_GROUPS = _need("Group.Create", "Group.ReadWrite.All", "Directory.ReadWrite.All")
DELETE_GROUPS = _need("Group.ReadWrite.All", roles=_GROUPERS)
WRITE_MEMBERS = _need("GroupMember.ReadWrite.All", "Group.ReadWrite.All", roles=_GROUPERS)
WRITE_ROLE_GROUP_MEMBERS = _need(
    "RoleManagement.ReadWrite.Directory", roles=frozenset({GLOBAL_ADMINISTRATOR, PRIVILEGED_ROLE_ADMINISTRATOR})
)
READ_LICENSES = _need(
    "LicenseAssignment.Read.All", "LicenseAssignment.ReadWrite.All", "Organization.Read.All", *_DIRECTORY
)
WRITE_LICENSES = _need(
    "LicenseAssignment.ReadWrite.All", "User.ReadWrite.All", "Directory.ReadWrite.All", roles=_LICENSERS
)
READ_ROLES = _need("RoleManagement.Read.Directory", "RoleManagement.ReadWrite.Directory", *_DIRECTORY)
WRITE_ROLE_GROUPS = WRITE_ROLE_GROUP_MEMBERS
WRITE_ROLES = WRITE_ROLE_GROUP_MEMBERS
READ_ELIGIBILITY = _need(
    "RoleEligibilitySchedule.Read.Directory",
    "RoleEligibilitySchedule.ReadWrite.Directory",
    "RoleManagement.Read.Directory",
    "RoleManagement.ReadWrite.Directory",
)
READ_UNITS = _need("AdministrativeUnit.Read.All", "AdministrativeUnit.ReadWrite.All", *_DIRECTORY)
READ_APPLICATIONS = _need("Application.Read.All", "Application.ReadWrite.All", *_DIRECTORY)
WRITE_APPLICATIONS = _need(
    "Application.ReadWrite.All",
    "Directory.ReadWrite.All",
    roles=frozenset({GLOBAL_ADMINISTRATOR, CLOUD_APPLICATION_ADMINISTRATOR}),
)
READ_GRANTS = _need("DelegatedPermissionGrant.Read.All", "DelegatedPermissionGrant.ReadWrite.All", *_DIRECTORY)
WRITE_GRANTS = _need(
    "DelegatedPermissionGrant.ReadWrite.All",
    roles=frozenset({GLOBAL_ADMINISTRATOR, PRIVILEGED_ROLE_ADMINISTRATOR, CLOUD_APPLICATION_ADMINISTRATOR}),
)
READ_ORGANIZATION = _need("Organization.Read.All", "User.Read", "User.Read.All", *_DIRECTORY)
READ_POLICIES = _need("Policy.Read.All")
_ACCESS_WRITERS = frozenset({GLOBAL_ADMINISTRATOR, SECURITY_ADMINISTRATOR, CONDITIONAL_ACCESS_ADMINISTRATOR})
_ACCESS_READERS = _ACCESS_WRITERS | {GLOBAL_READER, SECURITY_READER}
READ_ACCESS = _need("Policy.Read.All", roles=_ACCESS_READERS)
WRITE_ACCESS = _need("Policy.ReadWrite.ConditionalAccess", roles=_ACCESS_WRITERS)
EVALUATE = _need(
    "Policy.Read.ConditionalAccess",
    "Policy.Read.All",
    "Policy.ReadWrite.ConditionalAccess",
    roles=_ACCESS_READERS,
)
WRITE_SECURITY_DEFAULTS = _need("Policy.ReadWrite.SecurityDefaults", roles=_ACCESS_WRITERS)
READ_REQUIREMENTS = _need(
    "Policy.ReadWrite.AuthenticationMethod",
    "Policy.Read.All",
    roles=frozenset(
        {GLOBAL_ADMINISTRATOR, GLOBAL_READER, AUTHENTICATION_ADMINISTRATOR, AUTHENTICATION_POLICY_ADMINISTRATOR}
    ),
)
WRITE_REQUIREMENTS = _need(
    "Policy.ReadWrite.AuthenticationMethod",
    roles=frozenset({GLOBAL_ADMINISTRATOR, AUTHENTICATION_POLICY_ADMINISTRATOR}),
)
READ_SIGN_INS = _need(
    "AuditLog.Read.All",
    roles=frozenset({GLOBAL_ADMINISTRATOR, GLOBAL_READER, SECURITY_ADMINISTRATOR, SECURITY_READER, REPORTS_READER}),
)
READ_AUDITS = _need(
    "AuditLog.Read.All",
    roles=frozenset({GLOBAL_ADMINISTRATOR, GLOBAL_READER, SECURITY_READER, REPORTS_READER}),
)


def require(caller: Caller, need: Need) -> None:
    """Refuse a caller whose token lacks the permission or whose person lacks every one of the directory roles."""
    if not need.permissions & caller.token.permissions:
        raise denied()
    if not caller.delegated:
        if not need.application:
            raise denied("This operation is not supported with application permissions.")
    elif need.roles is not None and not need.roles & _all_roles(caller):
        raise denied()


def _all_roles(caller: Caller) -> frozenset[str]:
    return caller.roles.union(*caller.unit_roles.values())


# "Privileged roles and permissions in Microsoft Entra ID", who can perform sensitive actions: an actor may act on
# people who hold no role but these.
_HARMLESS = frozenset({DIRECTORY_READERS, GUEST_INVITER, PASSWORD_ADMINISTRATOR})
_REPORTING = frozenset(
    {MESSAGE_CENTER_READER, REPORTS_READER, USAGE_SUMMARY_REPORTS_READER, USER_EXPERIENCE_SUCCESS_MANAGER}
)
_MAY_ACT_ON: Mapping[str, frozenset[str]] = {
    PASSWORD_ADMINISTRATOR: _HARMLESS,
    HELPDESK_ADMINISTRATOR: _HARMLESS | _REPORTING | {HELPDESK_ADMINISTRATOR},
    AUTHENTICATION_ADMINISTRATOR: _HARMLESS | _REPORTING | {AUTHENTICATION_ADMINISTRATOR},
    USER_ADMINISTRATOR: _HARMLESS | _REPORTING | {HELPDESK_ADMINISTRATOR, USER_ADMINISTRATOR, GROUPS_ADMINISTRATOR},
}
_MAY_ACT_ON_ALL = frozenset({GLOBAL_ADMINISTRATOR, PRIVILEGED_AUTHENTICATION_ADMINISTRATOR})


def require_over(call: Call, need: Need, target: User, *, role_for_application: bool = False) -> None:
    """Refuse a sensitive action on somebody this caller's roles do not reach.

    Applications are not held back by the target's roles, save where Graph wants one of the directory roles of
    their service principal too (`role_for_application`, as for passwordProfile).
    """
    roles = require_in_reach(call, need, target)
    if not call.caller.delegated and not role_for_application:
        return
    if roles & _MAY_ACT_ON_ALL:
        return
    target_roles = _roles_that_protect(call.view, target)
    if not any(target_roles <= _MAY_ACT_ON.get(role, frozenset()) for role in roles):
        raise denied()


def require_in_reach(call: Call, need: Need, target: User) -> frozenset[str]:
    """Refuse a change to somebody outside the caller's roles; answers those of `need` that do reach.

    A member of a restricted unit is reached only by a role over that very unit.
    """
    require(call.caller, need)
    wanted = need.roles or frozenset()
    units = call.view.units_of(target.id)
    over_units = frozenset[str]().union(*(call.caller.unit_roles.get(unit.id, frozenset()) for unit in units))
    for unit in units:
        if unit.restricted and not call.caller.unit_roles.get(unit.id):
            raise denied("Insufficient privileges: the target is in a restricted management administrative unit.")
    roles = wanted & (call.caller.roles | over_units)
    if call.caller.delegated and wanted and not roles:
        raise denied()
    return roles


def _roles_that_protect(view: View, target: User) -> frozenset[str]:
    roles = {assignment.role_id for assignment in view.active_roles(target.id)}
    if any(group.role_assignable and target.id in (*group.members, *group.owners) for group in view.groups()):
        roles.add("a role-assignable group")
    return frozenset(roles)
