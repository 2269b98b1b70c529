"""Many people of the tenant at once as Conditional Access sees them, with no more calls than that needs.

Of groups and directory roles only those matter that policies mention. So what is read is who is in each of these, and
never, person for person, where somebody is in: that would be as many calls as there are people.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from bot.command import looks_like_id
from bot.conditional_access import USER, Account, read_user
from bot.directory import quoted, together
from bot.errors import GraphNotFound, GraphRefused
from bot.ports import Reader
from bot.standing import NO_SUCH_OBJECT
from bot.whatif.policies import Policy
from bot.whatif.reading import folded

log = logging.getLogger(__name__)

AT_ONCE: Final = 4
"""How many calls are under way at the same time."""

LISTED: Final = 15
"""How many ids a filter may name (Graph docs: *Use the $filter query parameter*)."""

CHECKED: Final = 20
"""How many groups can be asked about at once (Graph docs: *checkMemberGroups*)."""

T = TypeVar("T")


@dataclass(frozen=True)
class Mentioned:
    """The groups and the directory roles, by template id, that policies include or exclude."""

    groups: frozenset[str]
    roles: frozenset[str]

    @staticmethod
    def by(policies: Iterable[Policy]) -> Mentioned:
        users = [policy.users for policy in policies]
        groups = folded(id_ for each in users for id_ in (*each.groups.include, *each.groups.exclude))
        roles = folded(id_ for each in users for id_ in (*each.roles.include, *each.roles.exclude))
        return Mentioned(groups, roles)


async def read_people(
    directory: Reader, policies: Iterable[Policy], ids: Collection[str] | None = None
) -> dict[str, Account]:
    """Everybody in the tenant by object id, or those with these *ids*; whoever is deleted is left out.

    Of their groups and roles they have those that *policies* mention, drafts included: judge them by no others. Roles
    are None, not known, where the bot identity may not read them. Raises `GraphRefused`, `GraphUnavailable`.
    """
    mentioned = Mentioned.by(policies)
    wanted = None if ids is None else sorted(folded(ids))
    users = await _read_users(directory, wanted)
    if not users:
        return {}
    groups = await _read_groups(directory, mentioned.groups, None if wanted is None else sorted(users))
    roles = await _read_roles(directory, mentioned.roles, users.keys(), groups)
    return await asyncio.to_thread(_with_memberships, users, groups, roles)


def _with_memberships(
    users: Mapping[str, Account], groups: Mapping[str, frozenset[str]], roles: Mapping[str, frozenset[str]] | None
) -> dict[str, Account]:
    def of(id_: str, holding: Mapping[str, frozenset[str]]) -> frozenset[str]:
        return frozenset(name for name, members in holding.items() if id_ in members)

    return {
        id_: replace(
            account,
            person=replace(account.person, groups=of(id_, groups), roles=None if roles is None else of(id_, roles)),
        )
        for id_, account in users.items()
    }


async def _read_users(directory: Reader, ids: Sequence[str] | None) -> dict[str, Account]:
    filters: list[Mapping[str, str]] = [{"$top": "999"}]
    if ids is not None:
        filters = [{"$filter": f"id in ({','.join(map(quoted, some))})"} for some in _some(ids, LISTED)]
    found = await _few_at_once([directory.collect("users", query={"$select": USER, **only}) for only in filters])
    accounts = [_account(user) for page in found for user in page]
    return {account.person.id: account for account in accounts}


def _account(user: Mapping[str, Any]) -> Account:
    person, upn = read_user(user), str(user.get("userPrincipalName") or user["id"])
    return Account(person, upn, str(user.get("displayName") or upn))


async def _read_groups(directory: Reader, groups: Set[str], users: Sequence[str] | None) -> dict[str, frozenset[str]]:
    """Who is in each of these groups, also through others; of *users* only, if they are said."""
    # What is no id (a placeholder in a draft, say) has no members, and nobody is asked about it.
    nobody = {group: frozenset[str]() for group in groups if not looks_like_id(group)}
    ordered = sorted(groups - nobody.keys())
    if users is not None and len(users) * -(-len(ordered) // CHECKED) <= len(ordered):
        return nobody | await _check_users(directory, ordered, users)
    found = await _few_at_once([_members(directory, group) for group in ordered])
    return nobody | dict(zip(ordered, found, strict=True))


async def _check_users(directory: Reader, groups: Sequence[str], users: Sequence[str]) -> dict[str, frozenset[str]]:
    asked = [(user, some) for user in users for some in _some(groups, CHECKED)]
    answers = await _few_at_once(
        [directory.ask("users", user, "checkMemberGroups", body={"groupIds": list(some)}) for user, some in asked]
    )
    held = {(user, str(each).lower()) for (user, _), found in zip(asked, answers, strict=True) for each in _of(found)}
    return {group: frozenset(user for user in users if (user, group) in held) for group in groups}


async def _members(directory: Reader, group: str) -> frozenset[str]:
    try:
        query = {"$select": "id", "$top": "999"}
        found = await directory.collect("groups", group, "transitiveMembers", query=query)
    except GraphNotFound as error:
        if error.answer is not None and error.answer.code == NO_SUCH_OBJECT:
            return frozenset()  # policies keep the ids of groups that were deleted
        raise
    return frozenset(str(member["id"]).lower() for member in found)


async def _read_roles(
    directory: Reader, roles: Collection[str], users: Collection[str], groups: Mapping[str, frozenset[str]]
) -> dict[str, frozenset[str]] | None:
    """Who holds each of these roles, also through groups; None if that may not be read. Roles that hold in a part of
    the directory only are not what policies mean (Entra docs: *Conditional Access: Users, groups*)."""
    if not roles:
        return {}
    try:
        assigned = await directory.collect("roleManagement", "directory", "roleAssignments")
    except GraphRefused as refusal:
        log.info("directory roles may not be read", extra={"why": str(refusal)})
        return None
    # A built-in role's definition id is its template id (Graph docs: *unifiedRoleDefinition resource type*).
    held = {
        (str(each.get("roleDefinitionId")).lower(), str(each.get("principalId")).lower())
        for each in assigned
        if each.get("directoryScopeId") == "/"
    }
    held = {(role, holder) for role, holder in held if role in roles}
    others = sorted({holder for _, holder in held} - set(users) - groups.keys())
    through = {**groups, **await _read_assignable_groups(directory, others)}
    return {
        role: frozenset().union(*(through.get(holder, {holder}) for each, holder in held if each == role))
        for role in roles
    }


async def _read_assignable_groups(directory: Reader, holders: Sequence[str]) -> dict[str, frozenset[str]]:
    """The members of those among these holders of roles that are groups."""
    groups: list[str] = []
    for some in _some(holders, 1000):
        found = await directory.ask("directoryObjects", "getByIds", body={"ids": list(some), "types": ["group"]})
        groups += [str(each["id"]).lower() for each in _of(found)]
    members = await _few_at_once([_members(directory, group) for group in groups])
    return dict(zip(groups, members, strict=True))


async def _few_at_once(calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    answers: list[T] = []
    try:
        for some in _some(calls, AT_ONCE):
            answers += await together(*some)
    finally:
        for call in calls:
            call.close()  # those that were not begun, if one failed
    return answers


def _of(answer: Mapping[str, Any]) -> Sequence[Any]:
    found = answer.get("value")
    return found if isinstance(found, list) else ()


def _some(of: Sequence[T], most: int) -> list[Sequence[T]]:
    return [of[start : start + most] for start in range(0, len(of), most)]
