"""Groups in Graph: reading, searching, and who is a member of what."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from sandbox.clock import iso
from sandbox.directory import AdministrativeUnit, Group, GroupKind, RoleDefinition, User, View
from sandbox.graph import authority
from sandbox.graph.call import Call, Reply, bad_request, denied, not_found
from sandbox.graph.odata import Entity, page, single
from sandbox.graph.roles import ROLE
from sandbox.graph.units import UNIT
from sandbox.graph.users import ON_PREMISES, USER, me

_MAIL_KINDS = (GroupKind.DISTRIBUTION, GroupKind.MAIL_SECURITY)
_EXCHANGE = "Cannot Update a mail-enabled security groups and or distribution list."


def _value(_: View, group: Group, name: str) -> Any:
    match name:
        case "groupTypes":
            types = ["Unified"] if group.kind is GroupKind.UNIFIED else []
            return [*types, "DynamicMembership"] if group.membership_rule else types
        case "membershipRuleProcessingState":
            return "On" if group.membership_rule else None
        case "visibility":
            return "Private" if group.kind is GroupKind.UNIFIED else None
        case "assignedLicenses":
            return [{"skuId": one.sku_id, "disabledPlans": list(one.disabled_plans)} for one in group.licenses]
        case "proxyAddresses":
            return [f"SMTP:{group.mail}"] if group.mail else []
    values: Mapping[str, Any] = {
        "id": group.id,
        "displayName": group.name,
        "description": group.description,
        "mail": group.mail,
        "mailNickname": (group.mail or group.name.replace(" ", "")).partition("@")[0],
        "mailEnabled": group.mail is not None,
        "securityEnabled": group.kind in (GroupKind.SECURITY, GroupKind.MAIL_SECURITY),
        "membershipRule": group.membership_rule,
        "onPremisesSyncEnabled": True if group.synced else None,
        "isAssignableToRole": True if group.role_assignable else None,
        "createdDateTime": iso(group.created),
        "renewedDateTime": iso(group.created),
    }
    return values[name]


_DEFAULT = (
    "id", "createdDateTime", "description", "displayName", "groupTypes", "isAssignableToRole", "mail",
    "mailEnabled", "mailNickname", "membershipRule", "membershipRuleProcessingState", "onPremisesSyncEnabled",
    "proxyAddresses", "renewedDateTime", "securityEnabled", "visibility",
)  # fmt: skip

GROUP = Entity[Group](
    "group",
    _value,
    frozenset({*_DEFAULT, "assignedLicenses"}),
    _DEFAULT,
    filterable=frozenset(
        {
            "id", "displayName", "mail", "mailNickname", "mailEnabled", "securityEnabled", "groupTypes",
            "isAssignableToRole", "onPremisesSyncEnabled", "createdDateTime",
        }
    ),
    searchable=frozenset({"displayName", "description", "mail", "mailNickname"}),
)  # fmt: skip


def list_groups(call: Call) -> Reply:
    """`GET /groups`"""
    authority.require(call.caller, authority.READ_GROUPS)
    view = call.index if call.options.filter or call.options.search else call.view
    groups = sorted(view.groups(), key=lambda group: group.name.casefold())
    return Reply(body=page(call, groups, lambda _: GROUP, "groups", view=view, checked=GROUP))


def get_group(call: Call) -> Reply:
    """`GET /groups/{id}`"""
    authority.require(call.caller, authority.READ_GROUPS)
    return Reply(body=single(call, GROUP, call.group(call.args[0]), "groups"))


def create_group(call: Call) -> Reply:
    """`POST /groups`: security groups, whose members are chosen by hand"""
    authority.require(call.caller, authority.CREATE_GROUPS)
    body = call.body
    for name in ("displayName", "mailEnabled", "mailNickname", "securityEnabled"):
        if body.get(name) in (None, ""):
            raise bad_request(f"A value is required for property '{name}' of resource 'Group'.")
    if not _NICKNAME.fullmatch(body["mailNickname"]):
        raise bad_request("Invalid value specified for property 'mailNickname' of resource 'Group'.")
    if body["mailEnabled"] or not body["securityEnabled"] or body.get("groupTypes"):
        raise bad_request("The service does not currently support writes of mail-enabled groups.")
    if body.get("isAssignableToRole"):
        # "Create group", groups that can be assigned to Microsoft Entra roles; and only a tenant with P1 has them.
        authority.require(call.caller, authority.WRITE_ROLE_GROUPS)
        if "P1" not in call.directory.tenant.premium or body.get("visibility") not in (None, "Private"):
            raise bad_request("Invalid value specified for property 'isAssignableToRole' of resource 'Group'.")
    referenced = {name: [_referenced(url) for url in body.get(f"{name}@odata.bind") or ()] for name in _BOUND}
    for key in (*referenced["members"], *referenced["owners"]):
        if not call.directory.latest.exists(key):
            raise not_found(key)
    group = Group(
        id=str(uuid4()),
        name=body["displayName"],
        description=body.get("description"),
        members=tuple(dict.fromkeys(referenced["members"])),
        owners=tuple(dict.fromkeys(referenced["owners"])),
        role_assignable=bool(body.get("isAssignableToRole")),
        created=call.clock.now(),
    )
    call.directory.add_group(group)
    call.audit("GroupManagement", "Add group", group, *body)
    for key in group.members:
        if member := call.directory.latest.user(key) or call.directory.latest.group(key):
            call.audit("GroupManagement", "Add member to group", member, f"Group.ObjectID={group.id}")
    return Reply(201, single(call, GROUP, group, "groups"), applied=True)


_BOUND = ("members", "owners")
_NICKNAME = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}")


def delete_group(call: Call) -> Reply:
    """`DELETE /groups/{id}`"""
    group = call.group(call.args[0])
    if group.role_assignable:
        authority.require(call.caller, authority.WRITE_ROLE_GROUPS)
    else:
        authority.require(call.caller, authority.DELETE_GROUPS)
    if group.synced:
        raise bad_request(ON_PREMISES)
    call.directory.delete_group(group.id)
    call.audit("GroupManagement", "Delete group", group)
    return Reply(204, applied=True)


def list_members(call: Call) -> Reply:
    """`GET /groups/{id}/members`"""
    return _members(call, transitive=False)


def list_transitive_members(call: Call) -> Reply:
    """`GET /groups/{id}/transitiveMembers`"""
    return _members(call, transitive=True)


def _members(call: Call, *, transitive: bool) -> Reply:
    authority.require(call.caller, authority.READ_GROUPS)
    key, *cast = call.args
    members = call.view.members_of(call.group(key), transitive=transitive)
    if not cast:
        return Reply(body=page(call, members, entity_of, "directoryObjects", typed=True))
    if cast[0] == "microsoft.graph.user":
        people = [one for one in members if isinstance(one, User)]
        return Reply(body=page(call, people, lambda _: USER, "directoryObjects", checked=USER))
    groups = [one for one in members if isinstance(one, Group)]
    return Reply(body=page(call, groups, lambda _: GROUP, "directoryObjects", checked=GROUP))


def entity_of(item: Any) -> Entity[Any]:
    """The kind of a directory object."""
    kinds: Mapping[type, Entity[Any]] = {
        User: USER,
        Group: GROUP,
        RoleDefinition: ROLE,
        AdministrativeUnit: UNIT,
    }
    return kinds[type(item)]


def list_member_of(call: Call) -> Reply:
    """`GET /users/{id}/memberOf` and its casts"""
    return _member_of(call, transitive=False)


def list_transitive_member_of(call: Call) -> Reply:
    """`GET /users/{id}/transitiveMemberOf` and its casts"""
    return _member_of(call, transitive=True)


def list_groups_around(call: Call) -> Reply:
    """`GET /groups/{id}/transitiveMemberOf`"""
    authority.require(call.caller, authority.READ_GROUPS)
    around = call.view.groups_of(call.group(call.args[0]).id, transitive=True)
    return Reply(body=page(call, around, entity_of, "directoryObjects", typed=True))


def list_my_member_of(call: Call) -> Reply:
    """`GET /me/memberOf` and its casts"""
    return _containers(call, me(call), call.args, transitive=False)


def list_my_transitive_member_of(call: Call) -> Reply:
    """`GET /me/transitiveMemberOf` and its casts"""
    return _containers(call, me(call), call.args, transitive=True)


def _member_of(call: Call, *, transitive: bool) -> Reply:
    authority.require(call.caller, authority.READ_USERS)
    authority.require(call.caller, authority.READ_GROUPS)
    key, *cast = call.args
    return _containers(call, call.user(key), cast, transitive=transitive)


def _containers(call: Call, user: User, cast: Sequence[str], *, transitive: bool) -> Reply:
    groups = call.view.groups_of(user.id, transitive=transitive)
    holders = {user.id, *(group.id for group in groups if transitive)}
    roles = _held_roles(call, holders)
    containers: Sequence[Any] = [*groups, *roles, *call.view.units_of(user.id)]

    def shown_as(item: Any) -> Entity[Any]:
        # "Limited information returned for inaccessible member objects": without the permission to read things of a
        # kind, one is told that they are there, and nothing about them.
        entity = entity_of(item)
        if call.caller.token.permissions & _READERS[entity.name].permissions:
            return entity
        return replace(entity, value=lambda view, one, name: entity.value(view, one, name) if name == "id" else None)

    if not cast:
        return Reply(body=page(call, containers, shown_as, "directoryObjects", typed=True))
    kinds: Mapping[str, Entity[Any]] = {f"microsoft.graph.{kind.name}": kind for kind in (GROUP, ROLE, UNIT)}
    kind = kinds[cast[0]]
    chosen = [item for item in containers if entity_of(item) is kind]
    return Reply(body=page(call, chosen, shown_as, f"directoryObjects/{cast[0]}", checked=kind))


_READERS: Mapping[str, authority.Need] = {
    GROUP.name: authority.READ_GROUPS,
    ROLE.name: authority.READ_ROLES,
    UNIT.name: authority.READ_UNITS,
}


def _held_roles(call: Call, holders: set[str]) -> list[RoleDefinition]:
    # Only active, tenant-wide assignments of built-in roles are memberships of a directoryRole object; custom and
    # scoped ones show in roleManagement alone.
    ids = {
        one.role_id
        for one in call.view.assignments()
        if one.principal_id in holders and not one.eligible and one.scope == "/"
    }
    return [role for role in call.directory.roles.values() if role.id in ids and role.built_in]


def check_member_groups(call: Call) -> Reply:
    """`POST /users/{id}/checkMemberGroups`: a read, whatever its method."""
    authority.require(call.caller, authority.READ_USERS)
    authority.require(call.caller, authority.READ_GROUPS)
    user = call.user(call.args[0])
    mine = {group.id for group in call.view.groups_of(user.id, transitive=True)}
    wanted = [str(one).lower() for one in call.body["groupIds"]]
    return Reply(
        body={
            "@odata.context": f"{call.base}/$metadata#Collection(Edm.String)",
            "value": [one for one in wanted if one in mine],
        }
    )


def add_member(call: Call) -> Reply:
    """`POST /groups/{id}/members/$ref`"""
    group = _writable(call)
    member_id = _referenced(call.body["@odata.id"])
    member = call.directory.latest.user(member_id) or call.directory.latest.group(member_id)
    if member is None:
        raise not_found(member_id)
    if member.id in group.members:
        raise bad_request(
            "One or more added object references already exist for the following modified properties: 'members'."
        )
    call.directory.add_member(group.id, member.id)
    call.audit("GroupManagement", "Add member to group", member, f"Group.ObjectID={group.id}")
    return Reply(204, applied=True)


def remove_member(call: Call) -> Reply:
    """`DELETE /groups/{id}/members/{id}/$ref`"""
    group = _writable(call)
    member_id = call.args[1].lower()
    if member_id not in group.members:
        raise not_found(call.args[1])
    member = call.directory.latest.user(member_id) or call.directory.latest.group(member_id)
    call.directory.remove_member(group.id, member_id)
    call.audit("GroupManagement", "Remove member from group", member or group, f"Group.ObjectID={group.id}")
    return Reply(204, applied=True)


def _writable(call: Call) -> Group:
    """The group of this call, if Graph lets this caller change who is in it."""
    group = call.directory.latest.group(call.args[0])
    if group is not None and group.role_assignable:
        authority.require(call.caller, authority.WRITE_ROLE_GROUP_MEMBERS)
    elif group is None or call.caller.principal_id not in group.owners:
        authority.require(call.caller, authority.WRITE_MEMBERS)
    if group is None:
        raise not_found(call.args[0])
    if group.synced:
        raise bad_request(ON_PREMISES)
    if group.kind in _MAIL_KINDS:
        raise bad_request(_EXCHANGE)
    if group.membership_rule is not None:
        raise denied()  # Graph says no more about a dynamic group
    return group


def _referenced(url: str) -> str:
    """The id at the end of an `@odata.id`: `https://graph.microsoft.com/v1.0/directoryObjects/{id}`."""
    path = urlsplit(url).path.split("/")
    if len(path) < 3 or path[-2] not in ("directoryObjects", "users", "groups") or not path[-1]:
        raise bad_request("Invalid URL format specified in @odata.id.")
    return unquote(path[-1])
