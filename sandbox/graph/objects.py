"""Directory objects of any kind in Graph: many at once by id, and those that were deleted."""

from dataclasses import replace
from typing import Any

from sandbox.clock import iso
from sandbox.directory import User
from sandbox.graph import authority
from sandbox.graph.call import Call, Reply, conflict, not_found
from sandbox.graph.groups import entity_of
from sandbox.graph.odata import page, single
from sandbox.graph.organization import principal_json
from sandbox.graph.users import USER

_RESTORABLE_SECONDS = 30 * 86400.0
_DELETED = replace(USER, default=(*USER.default, "deletedDateTime"))


def get_by_ids(call: Call) -> Reply:
    """`POST /directoryObjects/getByIds`: a read, whatever its method; an id nobody has is left out.

    Of what the caller may not read, id and kind are all it is told.
    """
    authority.require(call.caller, authority.READ_OBJECTS)
    types = {str(one).lower() for one in call.body.get("types") or ("user", "group", "serviceprincipal")}
    permissions = call.caller.token.permissions
    value: list[dict[str, Any]] = []
    for key in dict.fromkeys(str(one).lower() for one in call.body["ids"]):
        found: User | Any = call.view.user(key) if "@" not in key else None
        found = found or call.view.group(key)
        application = next((app for app in call.directory.applications.values() if app.principal_id == key), None)
        if found is not None:
            entity = entity_of(found)
            need = authority.READ_USERS if entity is USER else authority.READ_GROUPS
            shown = entity.show(call.view, found, entity.default)
        elif application is not None:
            entity, need = None, authority.READ_APPLICATIONS
            shown = dict(principal_json(call, application))
        else:
            continue
        name = entity.name if entity is not None else "servicePrincipal"
        if name.lower() in types:
            told = shown if permissions & need.permissions else {}
            value.append({"@odata.type": f"#microsoft.graph.{name}", **told, "id": key})
    return Reply(body={"@odata.context": f"{call.base}/$metadata#directoryObjects", "value": value})


def list_deleted_users(call: Call) -> Reply:
    """`GET /directory/deletedItems/microsoft.graph.user`"""
    authority.require(call.caller, authority.READ_DELETED)
    users = [_deleted(call, user_id) for user_id in tuple(call.directory.deleted) if _restorable(call, user_id)]
    return Reply(body=page(call, users, lambda _: _DELETED, "directory/deletedItems", checked=_DELETED))


def get_deleted(call: Call) -> Reply:
    """`GET /directory/deletedItems/{id}`"""
    authority.require(call.caller, authority.READ_DELETED)
    body = single(call, _DELETED, _deleted(call, call.args[0].lower()), "directoryObjects")
    return Reply(body={**body, "@odata.type": "#microsoft.graph.user"})


def restore(call: Call) -> Reply:
    """`POST /directory/deletedItems/{id}/restore`"""
    authority.require(call.caller, authority.DELETE_USERS)
    user = _deleted(call, call.args[0].lower())
    authority.require_over(call, authority.DELETE_USERS, user)
    if call.directory.latest.user(user.upn) is not None:
        raise conflict("userPrincipalName")
    restored = call.directory.restore_user(user.id)
    call.audit("UserManagement", "Restore user", restored)
    body = single(call, USER, restored, "directoryObjects")
    return Reply(200, {**body, "@odata.type": "#microsoft.graph.user"}, applied=True)


def purge(call: Call) -> Reply:
    """`DELETE /directory/deletedItems/{id}`: for good"""
    authority.require(call.caller, authority.DELETE_USERS)
    user = _deleted(call, call.args[0].lower())
    authority.require_over(call, authority.DELETE_USERS, user)
    del call.directory.deleted[user.id]
    call.audit("UserManagement", "Hard Delete user", user)
    return Reply(204, applied=True)


def _restorable(call: Call, user_id: str) -> bool:
    return call.clock.now() < call.directory.deleted[user_id][1] + _RESTORABLE_SECONDS


def _deleted(call: Call, user_id: str) -> User:
    if user_id not in call.directory.deleted or not _restorable(call, user_id):
        raise not_found(user_id)
    user, when = call.directory.deleted[user_id]
    return replace(user, attributes={**user.attributes, "deletedDateTime": iso(when)})
