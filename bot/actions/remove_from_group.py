"""Take a person out of a group."""

from __future__ import annotations

from bot.actions._action import Action
from bot.actions._membership import PERMISSIONS, ROLES, Inputs, changeable_group, is_direct_member, membership
from bot.errors import NotPossible
from bot.model import Call, Change, Expect, Identity, Person, Plan, Undo
from bot.ports import Reader


async def plan(reader: Reader, person: Person, inputs: Inputs, identity: Identity) -> Plan:
    """Remove the person from the group's direct members."""
    group = await changeable_group(reader, inputs.group)
    if not await is_direct_member(reader, person, group):
        answer = await reader.ask("users", person.id, "checkMemberGroups", body={"groupIds": [group.id]})
        if group.id in answer.get("value", []):
            raise NotPossible(
                f"{person.name} is in {group.name} only through another group that belongs to it. "
                "Find that group with `/m365 show-user`, and remove the person there."
            )
        return Plan(changes=(), calls=(), notes=(f"{person.name} is not in {group.name}.",))
    return Plan(
        changes=(Change(f"{group.kind} {group.name}", "member", "not a member"),),
        # The last segment matters: without `$ref` the person would be deleted, not the membership.
        calls=(Call("DELETE", ("groups", group.id, "members", person.id, "$ref")),),
        read_back=membership(person, group, expect=Expect.LACKS),
        undo=Undo("add-to-group", {"group": group.id}),
    )


ACTION = Action(
    name="remove-from-group",
    title="Remove a person from a group",
    phrase="remove {target} from the group",
    working="Removing {target} from the group",
    done="{target} was removed from the group",
    permissions=PERMISSIONS,
    roles=ROLES,
    inputs=Inputs,
    example=Inputs(group="Sales"),
    plan=plan,
)
