"""Let a role follow an Entra group, so that its members who are operators hold it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from bot.actions._action import Action, Field, Label
from bot.actions._own import OWN
from bot.actions._rights import ROLE_HINT, SCOPE_HINT, UNTIL_HINT, counts_for, in_words, may
from bot.directory import find_group
from bot.errors import BadInput
from bot.model import Call, Change, Expect, Identity, Plan, ReadBack, SlackUser, Target, TargetKind, Undo
from bot.ports import Reader


@dataclass(frozen=True)
class Inputs:
    role: Annotated[str, Label("Role", ROLE_HINT, field=Field.ROLE)]
    scope: Annotated[str, Label("Only for people in the scope", SCOPE_HINT, field=Field.SCOPE)] = ""
    until: Annotated[str, Label("Until", UNTIL_HINT, field=Field.DATE)] = ""


async def the_group(reader: Reader, typed: str, asker: SlackUser) -> Target:
    """The target of what is about a group: one of that name or id."""
    if not typed.strip():
        raise BadInput("Say which group: type its whole name.", field="target")
    group = await find_group(reader, typed)
    return Target(TargetKind.GROUP, group.id, group.name, group.kind)


async def plan(reader: Reader, target: Target, inputs: Inputs, identity: Identity) -> Plan:
    """Whoever is a member, also through other groups, holds the role for as long as they are."""
    granted = await may(reader, "follow", role=inputs.role, scope=inputs.scope, until=inputs.until)
    address = (OWN, "roles", "groups", target.id)
    held = (await reader.get(*address))["held"]
    words = granted["words"]
    if words in held:
        return Plan(changes=(), calls=(), notes=(f"{words} follows the group {target.name} already.",))
    followed = ReadBack(address, "held", Expect.CONTAINS, words, lags=False)
    body = {"role": inputs.role, "scope": granted["scope"], "until": granted["until"], "name": target.name}
    back = {"role": inputs.role, "scope": granted["scope"]}
    return Plan(
        changes=(
            Change("role of its members", ", ".join(held) or None, words),
            Change("which allows to", None, in_words(granted["patterns"])),
            *counts_for(granted),
        ),
        calls=(Call("PUT", address, body, says=f"Letting {inputs.role} follow the group", seen=followed),),
        read_back=followed,
        undo=Undo("unfollow-group", back),
        notes=(
            "Whoever may add members to this group decides from then on who holds the role. Latchkey itself will not "
            "change its members any more.",
        ),
    )


ACTION = Action(
    name="follow-group",
    title="Let a role follow a group",
    phrase="let a role follow the group {target}",
    working="Letting a role follow the group {target}",
    done="A role follows the group {target}",
    permissions=(),
    inputs=Inputs,
    example=Inputs(role="helpdesk"),
    about=TargetKind.GROUP,
    find=the_group,
    approval=True,
    held_as="/m365-roles follow",
    stands_for="SG-Helpdesk",
    plan=plan,
)
