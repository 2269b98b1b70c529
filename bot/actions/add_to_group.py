"""Make a person a member of a group."""

from __future__ import annotations

from bot.actions._action import Action
from bot.actions._membership import PERMISSIONS, ROLES, Inputs, changeable_group, is_direct_member, membership
from bot.model import Call, Change, Expect, Identity, Person, Plan, Undo
from bot.ports import Reader


async def plan(reader: Reader, person: Person, inputs: Inputs, identity: Identity) -> Plan:
    """Add the person to the group's direct members."""
    group = await changeable_group(reader, inputs.group)
    if await is_direct_member(reader, person, group):
        return Plan(changes=(), calls=(), notes=(f"{person.name} is already in {group.name}.",))
    return Plan(
        changes=(Change(f"{group.kind} {group.name}", "not a member", "member"),),
        calls=(
            Call(
                "POST",
                ("groups", group.id, "members", "$ref"),
                {"@odata.id": {"$ref_to": ["directoryObjects", person.id]}},
            ),
        ),
        read_back=membership(person, group, expect=Expect.CONTAINS),
        undo=Undo("remove-from-group", {"group": group.id}),
    )


ACTION = Action(
    name="add-to-group",
    title="Add a person to a group",
    phrase="add {target} to the group",
    working="Adding {target} to the group",
    done="{target} was added to the group",
    permissions=PERMISSIONS,
    roles=ROLES,
    inputs=Inputs,
    example=Inputs(group="Sales"),
    plan=plan,
)
