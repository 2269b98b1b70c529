"""End that a role follows an Entra group, and with it what its members hold through that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from bot.actions._action import Action, Field, Label
from bot.actions._own import OWN
from bot.actions._rights import as_inputs, may
from bot.actions.follow_group import the_group
from bot.model import Call, Change, Expect, Identity, Plan, ReadBack, SlackUser, Target, TargetKind, Undo
from bot.ports import Reader


@dataclass(frozen=True)
class Inputs:
    role: Annotated[str, Label("Role", field=Field.ROLE)]
    scope: Annotated[str, Label("Only the one for the scope", "Empty: all of them.", field=Field.SCOPE)] = ""


async def the_followed_group(reader: Reader, typed: str, asker: SlackUser) -> Target:
    """A group that a role follows, also one that the tenant does not have any more."""
    for one in (await reader.get(OWN, "roles", "groups"))["value"]:
        group = Target.from_json(one)
        if typed.strip().casefold() in {group.id, group.name.casefold()}:
            return group
    return await the_group(reader, typed, asker)


async def plan(reader: Reader, target: Target, inputs: Inputs, identity: Identity) -> Plan:
    """Who holds the role through the group loses it at once."""
    await may(reader, "revoke", role=inputs.role)
    address = (OWN, "roles", "groups", target.id)
    ending = [
        each
        for each in (await reader.get(*address))["following"]
        if each["role"] == inputs.role and inputs.scope.casefold() in {"", each["scope"].casefold()}
    ]
    if not ending:
        return Plan(changes=(), calls=(), notes=(f"{inputs.role} does not follow the group {target.name}.",))
    gone = ReadBack(address, "held", Expect.LACKS, ending[0]["words"], lags=False)
    body = {"role": inputs.role, "scope": inputs.scope}
    return Plan(
        changes=tuple(Change("role of its members", each["words"], "nothing") for each in ending),
        calls=(Call("DELETE", address, body, says=f"Ending that {inputs.role} follows the group", seen=gone),),
        read_back=gone,
        undo=Undo("follow-group", as_inputs(ending[0])) if len(ending) == 1 else None,
    )


ACTION = Action(
    name="unfollow-group",
    title="Stop a role following a group",
    phrase="end that a role follows the group {target}",
    working="Ending that a role follows the group {target}",
    done="A role follows the group {target} no more",
    permissions=(),
    inputs=Inputs,
    example=Inputs(role="helpdesk"),
    about=TargetKind.GROUP,
    find=the_followed_group,
    confirm=True,
    held_as="/m365-roles unfollow",
    stands_for="SG-Helpdesk",
    plan=plan,
)
