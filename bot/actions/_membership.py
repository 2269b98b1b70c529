"""Who is a member of a group: what adding and removing have in common.

Scopes are about people, so a group is not looked for in them: whoever may use the action on a person may use it with
any group, save those that Latchkey leaves alone (`Group.why_not`) and those that decide about power in Latchkey itself
(`policy.Code.POWER_GROUP`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from bot.actions._action import Label
from bot.directory import Group, find_group
from bot.directory_roles import GROUPS_ADMINISTRATOR, USER_ADMINISTRATOR
from bot.errors import NotPossible
from bot.model import Expect, Person, ReadBack, TargetKind
from bot.ports import Reader

PERMISSIONS: Final = ("GroupMember.ReadWrite.All",)
ROLES: Final = (GROUPS_ADMINISTRATOR, USER_ADMINISTRATOR)


@dataclass(frozen=True)
class Inputs:
    group: Annotated[str, Label("Group", "Its name or object id.", search=TargetKind.GROUP)]


async def changeable_group(reader: Reader, typed: str) -> Group:
    """The group, if its members can be changed here. Raises `BadInput` or `NotPossible`."""
    group = await find_group(reader, typed)
    if group.why_not:
        raise NotPossible(group.why_not)
    return group


async def is_direct_member(reader: Reader, person: Person, group: Group) -> bool:
    """Whether the person is a member themselves; being one through another group does not count."""
    query = {"$select": "id", "$top": "999"}
    groups = await reader.collect("users", person.id, "memberOf", "microsoft.graph.group", query=query)
    return any(each["id"].lower() == group.id for each in groups)


def membership(person: Person, group: Group, *, expect: Expect) -> ReadBack:
    """How to see whether the person is a direct member. `checkMemberGroups` would not do: it counts members of groups
    in the group, so that it may say yes before a member is added and after one is removed."""
    return ReadBack(
        path=("users", person.id, "memberOf", "microsoft.graph.group"),
        query=(("$select", "id"), ("$top", "999")),
        pointer="value/id",
        expect=expect,
        value=group.id,
    )
