"""The identity Latchkey works with: which directory roles it needs, and the steps in which it comes and goes.

The order of the steps decides what a death between any two of them leaves behind. A password is stored before it is
set, and proved by a sign-in before it becomes the current one; only an account that has come so far is given roles;
only one that has its roles is chosen to work with. It goes the other way round, its password last.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import combinations
from typing import Any, Final

from bot.actions import delegated
from bot.actions._action import Action
from bot.actions._own import OWN, set_settings
from bot.directory import quoted
from bot.directory_roles import (
    AUTHENTICATION_ADMINISTRATOR,
    DIRECTORY_READERS,
    GLOBAL_ADMINISTRATOR,
    GROUPS_ADMINISTRATOR,
    HELPDESK_ADMINISTRATOR,
    LICENSE_ADMINISTRATOR,
    PASSWORD_ADMINISTRATOR,
    PRIVILEGED_AUTHENTICATION_ADMINISTRATOR,
    SECURITY_READER,
    USER_ADMINISTRATOR,
    name_of,
)
from bot.errors import BadInput, GraphNotFound, NotPossible
from bot.model import Call, Change, Expect, Generated, Identity, IdentityKind, Mode, ReadBack, Undo
from bot.ports import Reader

DESK: Final = (OWN, "identity")
SESSION: Final = (OWN, "session")

DISPLAY_NAME: Final = "Latchkey service account"
LOCAL_PART: Final = "latchkey"

_USER_NAME: Final = re.compile(r"[A-Za-z0-9'.\-_!#^~]{1,64}@[A-Za-z0-9.-]{3,48}")


class Fate(StrEnum):
    """What becomes of an account that is no longer worked with."""

    KEPT = "kept"
    DISABLED = "disabled"
    REMOVED = "removed"
    """With its roles and its password."""


# --- Which roles ----------------------------------------------------------------------------------------------------

_REACH: Final[Mapping[str, int]] = {
    LICENSE_ADMINISTRATOR: 1,
    GROUPS_ADMINISTRATOR: 1,
    PASSWORD_ADMINISTRATOR: 2,
    HELPDESK_ADMINISTRATOR: 3,
    AUTHENTICATION_ADMINISTRATOR: 4,
    USER_ADMINISTRATOR: 5,
    PRIVILEGED_AUTHENTICATION_ADMINISTRATOR: 100,
    GLOBAL_ADMINISTRATOR: 1000,
}
"""How far each role reaches, in comparison: that of a few narrow roles is less than that of a broad one (Entra docs:
*Microsoft Entra built-in roles*; *Privileged* there are those from 2 up)."""

_UNKNOWN_REACH: Final = 50

_TO_LOOK: Final[Mapping[str, str]] = {
    DIRECTORY_READERS: "to see people, groups and licences",
    SECURITY_READER: "to see who is, or could become, an administrator",
}
"""What an account needs that looks at the tenant with the rights of a user; an application has permissions for it."""


def needed_roles(kind: IdentityKind, *, everything: bool = False) -> dict[str, str]:
    """The directory roles that an identity of this *kind* needs for the actions there are, each with what it is for:
    of all sets that suffice the one that reaches least far. *everything* is Global Administrator."""
    if everything:
        return {GLOBAL_ADMINISTRATOR: "for everything, as you chose"}
    identity = Identity(kind, "", "")
    wanted = [action for action in delegated().values() if action.roles and _can_ever(action, identity)]
    ways = [frozenset(action.roles_for(identity)) for action in wanted]
    chosen = min(_sets_that_suffice(ways), key=lambda roles: (sum(map(_reach, roles)), len(roles), roles))
    found = {
        role: f"to {', '.join(action.in_words for action in wanted if role in action.roles_for(identity))}"
        for role in sorted(chosen, key=name_of)
    }
    return {**found, **_TO_LOOK} if identity.delegated else found


def _can_ever(action: Action, identity: Identity) -> bool:
    return identity.delegated or not action.delegated_only


def _sets_that_suffice(ways: Sequence[frozenset[str]]) -> Iterable[tuple[str, ...]]:
    there = sorted(frozenset().union(*ways))
    for size in range(len(there) + 1):
        for roles in combinations(there, size):
            if all(way & set(roles) for way in ways):
                yield roles


def _reach(role: str) -> int:
    return _REACH.get(role, _UNKNOWN_REACH)


# --- What there is --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """A user, or a service principal, as it is now. `assignments` are (id, role) of the roles given to it directly."""

    kind: IdentityKind
    id: str
    name: str
    enabled: bool = True
    since: str = ""
    password_changed_at: str | None = None
    why_not: str = ""
    """Why it cannot be the account Latchkey works with."""
    assignments: tuple[tuple[str, str], ...] = ()

    @property
    def roles(self) -> frozenset[str]:
        return frozenset(role for _, role in self.assignments)


async def find_account(reader: Reader, name: str) -> Found | None:
    """The user with this user name or object id."""
    wanted = (
        "id,userPrincipalName,displayName,accountEnabled,userType,onPremisesSyncEnabled,createdDateTime,"
        "lastPasswordChangeDateTime"
    )
    try:
        user = await reader.get("users", name, query={"$select": wanted})
    except GraphNotFound:
        return None
    why_not = ""
    if user.get("userType") == "Guest":
        why_not = "is a guest, whose password is not this organisation's to set"
    elif user.get("onPremisesSyncEnabled"):
        why_not = "is synced from on-premises, where its password is decided"
    elif operator := (await reader.get(*DESK, "operator", user["id"]))["name"]:
        why_not = f"is the own account of {operator}, who uses Latchkey"
    return Found(
        IdentityKind.SERVICE_ACCOUNT,
        user["id"],
        user["userPrincipalName"],
        enabled=bool(user.get("accountEnabled")),
        since=str(user.get("createdDateTime") or "")[:10],
        password_changed_at=user.get("lastPasswordChangeDateTime"),
        why_not=why_not,
        assignments=await _assignments(reader, user["id"]),
    )


async def find_application(reader: Reader) -> Found:
    """The application that `LATCHKEY_WORKER_CLIENT_ID` names. Raises `NotPossible`."""
    client_id = (await reader.get(*DESK, "worker"))["client_id"]
    if not client_id:
        raise NotPossible(
            "Which application it is, is not set. Ask whoever runs Latchkey to set LATCHKEY_WORKER_CLIENT_ID."
        )
    query = {"$filter": f"appId eq {quoted(client_id)}", "$select": "id,displayName"}
    found = await reader.collect("servicePrincipals", query=query)
    if not found:
        raise NotPossible(f"The tenant has no application {client_id}. Register it there first.")
    return await _principal(reader, IdentityKind.APPLICATION, found[0])


async def find_managed_identity(reader: Reader, object_id: str) -> Found:
    """The managed identity with this object id. Raises `BadInput`."""
    found = await find_principal(reader, IdentityKind.MANAGED_IDENTITY, object_id)
    if found is None:
        raise BadInput(
            "There is no managed identity with that object id. The machine's page in the Azure portal shows it under "
            "Identity.",
            field="name",
        )
    return found


async def find_principal(reader: Reader, kind: IdentityKind, object_id: str) -> Found | None:
    """The service principal with this object id, if it is of this *kind*."""
    query = {"$select": "id,displayName,servicePrincipalType"}
    try:
        found = await reader.get("servicePrincipals", object_id, query=query)
    except GraphNotFound:
        return None
    is_managed = found.get("servicePrincipalType") == "ManagedIdentity"
    return await _principal(reader, kind, found) if is_managed is (kind is IdentityKind.MANAGED_IDENTITY) else None


async def _principal(reader: Reader, kind: IdentityKind, data: Mapping[str, Any]) -> Found:
    return Found(kind, data["id"], data["displayName"], assignments=await _assignments(reader, data["id"]))


async def _assignments(reader: Reader, principal_id: str) -> tuple[tuple[str, str], ...]:
    query = {"$filter": f"principalId eq {quoted(principal_id)}"}
    found = await reader.collect("roleManagement", "directory", "roleAssignments", query=query)
    return tuple((each["id"], each["roleDefinitionId"]) for each in found if each["directoryScopeId"] == "/")


async def new_name(reader: Reader, typed: str) -> str:
    """The user name for a new account: the one that was *typed*, or ours in the tenant's own domain. Raises
    `BadInput`."""
    [tenant, *_] = await reader.collect("organization", query={"$select": "id,verifiedDomains"})
    domains = [domain for domain in tenant["verifiedDomains"] if domain.get("type", "Managed") == "Managed"]
    if not typed:
        # Where the default one is federated, a sign-in with a password would leave Entra.
        best = sorted(domains, key=lambda domain: (not domain.get("isDefault"), not domain.get("isInitial")))
        return f"{LOCAL_PART}@{best[0]['name']}"
    name = typed.lower()
    known = {str(domain["name"]).lower() for domain in domains}
    if not _USER_NAME.fullmatch(name) or name.partition("@")[2] not in known:
        raise BadInput(
            f"“{typed}” cannot be a user name of this organisation. Type one such as {LOCAL_PART}@{min(known)}.",
            field="name",
        )
    return name


async def chosen(reader: Reader, now: Mapping[str, Any]) -> Found | None:
    """The identity that the settings name, if it is still there."""
    kind, object_id = now["identity_kind"], now["identity_id"]
    if not kind or not object_id:
        return None
    if IdentityKind(kind) is IdentityKind.SERVICE_ACCOUNT:
        return await find_account(reader, object_id)
    return await find_principal(reader, IdentityKind(kind), object_id)


# --- How it comes ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Steps:
    """A part of a plan."""

    changes: tuple[Change, ...] = ()
    calls: tuple[Call, ...] = ()
    notes: tuple[str, ...] = ()

    def __add__(self, other: Steps) -> Steps:
        return Steps(self.changes + other.changes, self.calls + other.calls, self.notes + other.notes)


ANY_ADMINISTRATOR: Final = (
    "For this an administrator signs in with an account of their own, as Global Administrator; nothing of that account "
    "stays with Latchkey."
)
_WHO_MAY_RESET: Final = (
    "For this an administrator signs in with an account of their own, as Privileged Authentication Administrator or "
    "Global Administrator; nothing of that account stays with Latchkey."
)
_ALL_POWERFUL: Final = (
    "As a Global Administrator the account could do anything in the tenant, also to every administrator. The actions "
    "there are do not need it."
)
_NOTHING_MORE: Final = (
    "It signs in with its password alone: security defaults, and policies that ask for a second factor, must leave it "
    "out."
)


def set_up_account(now: Mapping[str, Any], name: str, found: Found | None, *, everything: bool) -> Steps:
    """Create the account *name*, or adopt the one that was *found*, and give it a password and roles.

    Raises `NotPossible` for an account that cannot be adopted.
    """
    if found is not None and found.why_not:
        raise NotPossible(f"{found.name} {found.why_not}, so it cannot be worked with. Choose another name.")
    name = found.name if found else name
    current = "Making that password the current one"
    calls = (
        *_new_password(name, _make(name) if found is None else _take(found)),
        _desk_call("PUT", ("secrets", "current"), {"account": name}, current, _waits(name, False)),
    )
    return Steps(_account_changes(name, found), calls, _account_notes(found)) + _roles_and_choice(
        now, IdentityKind.SERVICE_ACCOUNT, name, found, everything=everything
    )


def reset(found: Found) -> Steps:
    """Give the account another password, and let it sign in again if it was disabled. The rotation then makes it the
    current one. Raises `NotPossible`."""
    if found.why_not:
        raise NotPossible(f"{found.name} {found.why_not}, so Latchkey cannot give it another password.")
    changes: tuple[Change, ...] = (Change("password", None, "a new one, which is in Key Vault before it is set"),)
    enable: tuple[Call, ...] = ()
    if not found.enabled:
        changes += (Change("account", f"{found.name}, disabled", "enabled"),)
        enable = (_enable(found, True),)
    calls = _new_password(found.name, *enable, _take(replace(found, enabled=True)))
    return Steps(changes, calls, (_WHO_MAY_RESET, _replaced(found)))


def _new_password(name: str, *sets: Call) -> tuple[Call, ...]:
    """The steps in which an account gets another password, stored before *sets*, which set it, and proved. What is left
    to do is to make it the current one."""
    account, proof = {"account": name}, _proof(IdentityKind.SERVICE_ACCOUNT, name)
    return (
        _desk_call("PUT", ("secrets", "pending"), account, "Storing a new password in Key Vault", _waits(name, True)),
        *sets,
        _desk_call("PUT", ("proof",), proof, f"Signing in as {name}", _NEVER),
    )


def set_up_principal(now: Mapping[str, Any], found: Found, *, everything: bool) -> Steps:
    """Prove that an application, or a managed identity, signs in, and give it roles."""
    proof = _proof(found.kind, found.name, found.id)
    calls = (_desk_call("PUT", ("proof",), proof, f"Signing in as {found.name}", _NEVER),)
    return Steps(calls=calls) + _roles_and_choice(now, found.kind, found.name, found, everything=everything)


def take_back(steps: Steps, name: str, *, was_there: bool) -> Undo:
    """What undoes a set-up: *name* goes, or is disabled where the account *was there* before, and loses the roles that
    it was given."""
    path = ("roleManagement", "directory", "roleAssignments")
    given = [call.body["roleDefinitionId"] for call in steps.calls if call.path == path]
    fate = Fate.DISABLED if was_there else Fate.REMOVED
    new = any(call.path == ("users",) for call in steps.calls)
    return Undo(
        "remove-identity",
        {"name": name, "then": fate.value} | ({} if new else {"roles": " ".join(given) or "none"}),
    )


def _make(name: str) -> Call:
    local = name.partition("@")[0]
    body = {
        "accountEnabled": True,
        "displayName": DISPLAY_NAME,
        "mailNickname": re.sub(r"[^A-Za-z0-9.-]", "", local) or LOCAL_PART,
        "userPrincipalName": name,
        "passwordPolicies": "DisablePasswordExpiration",
        "passwordProfile": {"password": Generated.STORED.marker, "forceChangePasswordNextSignIn": False},
    }
    query = (("$filter", f"userPrincipalName eq {quoted(name)}"), ("$select", "id,userPrincipalName"))
    seen = ReadBack(("users",), "value/userPrincipalName", Expect.CONTAINS, name, query)
    return Call("POST", ("users",), body, says=f"Creating the account {name}", seen=seen)


def _take(found: Found) -> Call:
    body = {
        "passwordPolicies": "DisablePasswordExpiration",
        "passwordProfile": {"password": Generated.STORED.marker, "forceChangePasswordNextSignIn": False},
        **({} if found.enabled else {"accountEnabled": True}),
    }
    query = (("$select", "id,lastPasswordChangeDateTime"),)
    seen = ReadBack(("users", found.id), "lastPasswordChangeDateTime", Expect.DIFFERS, found.password_changed_at, query)
    says = f"Setting the password of {found.name}"
    return Call("PATCH", ("users", found.name), body, says=says, seen=seen)


def _roles_and_choice(
    now: Mapping[str, Any], kind: IdentityKind, name: str, found: Found | None, *, everything: bool
) -> Steps:
    wanted = needed_roles(kind, everything=everything)
    held = found.roles if found else frozenset()
    missing = [role for role in wanted if role not in held]
    calls = [_assign(role, name, found) for role in missing]
    choice = {"kind": kind.value, "name": name, "id": found.id if found else None}
    seen = ReadBack((OWN, "settings"), "identity_name", Expect.EQUALS, name, lags=False)
    calls.append(_desk_call("PUT", ("chosen",), choice, f"Choosing {name} as what Latchkey works with", seen))
    changes = [
        Change(f"directory role{', held already' if role in held else ''}", None, f"{name_of(role)}, {why}")
        for role, why in wanted.items()
    ]
    if now["identity_name"] != name:
        changes.append(Change("Latchkey works with", now["identity_name"], name))
    notes = [ANY_ADMINISTRATOR] if missing or kind is IdentityKind.SERVICE_ACCOUNT else []
    if everything:
        notes.append(_ALL_POWERFUL)
    if now["identity_name"] not in (None, name):
        before = now["identity_name"]
        notes.append(f"{before} stays as it is. Once this works, retire it: `/m365-mode remove --name` and its name.")
    if beyond := sorted(name_of(role) for role in held - wanted.keys()):
        notes.append(f"It also holds {', '.join(beyond)}, which it does not need.")
    return Steps(tuple(changes), tuple(calls), tuple(notes))


def _assign(role: str, name: str, found: Found | None) -> Call:
    # What a new account's object id is, is known only once it is there.
    body = {
        "@odata.type": "#microsoft.graph.unifiedRoleAssignment",
        "roleDefinitionId": role,
        "principalId": found.id if found else {"$id_of": name},
        "directoryScopeId": "/",
    }
    if found is not None:
        query = (("$filter", f"principalId eq {quoted(found.id)}"),)
        path: tuple[str, ...] = ("roleManagement", "directory", "roleAssignments")
        seen = ReadBack(path, "value/roleDefinitionId", Expect.CONTAINS, role, query)
    else:
        path = ("users", name, "transitiveMemberOf", "microsoft.graph.directoryRole")
        seen = ReadBack(path, "value/roleTemplateId", Expect.CONTAINS, role, (("$select", "id,roleTemplateId"),))
    where = ("roleManagement", "directory", "roleAssignments")
    return Call("POST", where, body, says=f"Assigning the role {name_of(role)}", seen=seen)


def _account_changes(name: str, found: Found | None) -> tuple[Change, ...]:
    if found is None:
        return (Change("account", None, f"{name}, new, with a password that only Key Vault knows"),)
    there = f"{found.name}, there since {found.since}" if found.since else found.name
    return (Change("account", there if found.enabled else f"{there}, disabled", "with a new password in Key Vault"),)


def _account_notes(found: Found | None) -> tuple[str, ...]:
    if found is None:
        return (_NOTHING_MORE,)
    return (_replaced(found), _NOTHING_MORE)


def _replaced(found: Found) -> str:
    return f"The password of {found.name} is replaced: whoever uses that account by hand cannot sign in any more."


# --- How it goes ----------------------------------------------------------------------------------------------------


def mode_changes(now: Mapping[str, Any], to: Mode) -> Change:
    """The line of a plan that switches the mode."""
    before = Mode(now["mode"])
    return Change("mode", "not set up" if before is Mode.NONE else before.value, to.value)


def to_default(now: Mapping[str, Any]) -> Steps:
    """Switch to Default mode, and turn the session of the identity off."""
    off = ReadBack(SESSION, "acting", Expect.EQUALS, False, lags=False)
    return Steps(
        (
            mode_changes(now, Mode.DEFAULT),
            Change("management session", None, "each operator's own, with an administrator account of theirs"),
        ),
        (
            set_settings(now, {"mode": Mode.DEFAULT.value}, "Saving the mode"),
            Call("PUT", (*SESSION, "off"), {}, says="Turning the old session off", seen=off),
        ),
    )


async def leave(
    reader: Reader,
    now: Mapping[str, Any],
    name: str,
    found: Found | None,
    fate: Fate,
    *,
    only: frozenset[str] | None = None,
) -> Steps:
    """What becomes of the identity *name* once nothing works with it. Of its directory roles it loses *only* these."""
    match fate:
        case Fate.DISABLED if found is not None and found.kind is IdentityKind.SERVICE_ACCOUNT:
            steps = _unassign(found, only or frozenset())
            if found.enabled:
                stays = "its password stays" if only else "its roles and its password stay"
                disabled = Change("account", found.name, f"disabled; {stays}")
                steps += Steps((disabled,), (_enable(found, False),))
            return steps + Steps(notes=(ANY_ADMINISTRATOR,) if steps.calls else ())
        case Fate.REMOVED:
            return await _remove(reader, now, name, found, only)
    return Steps()


def enabling(found: Found) -> Steps:
    """Let a disabled account sign in again."""
    return Steps(
        (Change("account", f"{found.name}, disabled", "enabled"),), (_enable(found, True),), (ANY_ADMINISTRATOR,)
    )


def _enable(found: Found, enabled: bool) -> Call:
    seen = ReadBack(("users", found.id), "accountEnabled", Expect.EQUALS, enabled, (("$select", "id,accountEnabled"),))
    says = f"{'Enabling' if enabled else 'Disabling'} {found.name}"
    return Call("PATCH", ("users", found.id), {"accountEnabled": enabled}, says=says, seen=seen)


def _unassign(found: Found, roles: frozenset[str]) -> Steps:
    """Take these roles away, as far as it holds them."""
    of_it = (("$filter", f"principalId eq {quoted(found.id)}"),)
    where = ("roleManagement", "directory", "roleAssignments")
    steps = Steps()
    for assignment, role in found.assignments:
        if role in roles:
            seen = ReadBack(where, "value/id", Expect.LACKS, assignment, of_it)
            says = f"Taking the role {name_of(role)} away"
            call = Call("DELETE", (*where, assignment), says=says, seen=seen)
            steps += Steps((Change("directory role", name_of(role), "taken away"),), (call,))
    return steps


async def _remove(
    reader: Reader, now: Mapping[str, Any], name: str, found: Found | None, only: frozenset[str] | None
) -> Steps:
    changes: list[Change] = []
    calls: list[Call] = []
    notes: list[str] = []
    if found is not None:
        # An account goes with all it holds; what was in the tenant before loses no more than it was given.
        all_of_it = found.roles if found.kind is IdentityKind.SERVICE_ACCOUNT else frozenset(needed_roles(found.kind))
        taken = _unassign(found, all_of_it if only is None else only)
        changes.extend(taken.changes)
        calls.extend(taken.calls)
    if found is not None and found.kind is IdentityKind.SERVICE_ACCOUNT:
        query = (("$filter", f"id eq {quoted(found.id)}"), ("$select", "id"))
        seen = ReadBack(("users",), "value/id", Expect.LACKS, found.id, query)
        says = f"Deleting the account {found.name}"
        calls.append(Call("DELETE", ("users", found.id), says=says, seen=seen))
        changes.append(Change("account", found.name, "deleted; Microsoft can restore it for 30 days"))
    elif found is not None:
        notes.append(f"{found.name} itself stays in the tenant: remove it there if nothing else needs it.")
    if calls:
        notes.append(ANY_ADMINISTRATOR)
    secrets = await reader.get(*DESK, "secrets")
    if any(_same(each["account"], name) for each in secrets["value"]):
        seen = ReadBack((*DESK, "secrets"), "value/account", Expect.LACKS, name, lags=False)
        calls.append(
            _desk_call("DELETE", ("secrets",), {"account": name}, "Removing its password from Key Vault", seen)
        )
        changes.append(Change("password in Key Vault", "stored", "removed"))
    if now["identity_name"] is not None and _same(now["identity_name"], name):
        seen = ReadBack((OWN, "settings"), "identity_name", Expect.DIFFERS, now["identity_name"], lags=False)
        calls.append(_desk_call("DELETE", ("chosen",), {"name": now["identity_name"]}, "Forgetting the account", seen))
        changes.append(Change("Latchkey works with", now["identity_name"], "nothing any more"))
    return Steps(tuple(changes), tuple(calls), tuple(notes))


async def is_ours(reader: Reader, now: Mapping[str, Any], name: str) -> bool:
    """Whether Latchkey works with the account of this user name, or keeps a password of its: others are not its to
    take away."""
    if now["identity_name"] is not None and _same(now["identity_name"], name):
        return True
    secrets = await reader.get(*DESK, "secrets")
    return any(_same(each["account"], name) for each in secrets["value"])


# --- Small things ---------------------------------------------------------------------------------------------------

_NEVER: Final = ReadBack((*DESK, "proof"), "signed_in", Expect.EQUALS, True, lags=False)
"""That it signed in shows nowhere: it is done again."""


def _desk_call(method: str, path: tuple[str, ...], body: Mapping[str, Any], says: str, seen: ReadBack) -> Call:
    return Call(method, (*DESK, *path), dict(body), says=says, seen=seen)


def _waits(name: str, waits: bool) -> ReadBack:
    """Whether a password of this account waits in Key Vault to become the current one."""
    return ReadBack((*DESK, "secrets"), "value/pending", Expect.CONTAINS if waits else Expect.LACKS, name, lags=False)


def _proof(kind: IdentityKind, name: str, object_id: str | None = None) -> dict[str, Any]:
    return {"kind": kind.value, "name": name, "id": object_id}


def _same(one: str, other: str) -> bool:
    return one.casefold() == other.casefold()
