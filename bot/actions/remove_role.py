"""Remove a role that nobody holds any more."""

from __future__ import annotations

from bot.actions._action import Action, NoInputs
from bot.actions._own import OWN
from bot.actions._rights import listed, may
from bot.actions.define_role import the_role
from bot.model import Call, Change, Expect, Identity, Plan, ReadBack, Target, TargetKind, Undo
from bot.ports import Reader


async def plan(reader: Reader, target: Target, inputs: NoInputs, identity: Identity) -> Plan:
    """It holds nothing afterwards, and cannot be granted. Its name stays in the history of grants."""
    now = await reader.get(OWN, "roles", "named", target.id)
    if not now["patterns"]:
        return Plan(changes=(), calls=(), notes=(f"There is no role {target.name}.",))
    await may(reader, "define", role=target.id)
    path = (OWN, "roles", "named", target.id)
    gone = ReadBack(path, "patterns", Expect.LACKS, now["patterns"][0], lags=False)
    return Plan(
        changes=(Change("commands", listed(now["patterns"]), "none"),),
        calls=(Call("DELETE", path, says=f"Removing {target.name}", body={}, seen=gone),),
        read_back=gone,
        undo=Undo("define-role", {"commands": listed(now["patterns"]), "title": now["title"]}),
    )


ACTION = Action(
    name="remove-role",
    title="Remove a role",
    phrase="remove the role {target}",
    working="Removing the role {target}",
    done="The role {target} was removed",
    permissions=(),
    about=TargetKind.ROLE,
    find=the_role,
    confirm=True,
    held_as="/m365-roles remove",
    stands_for="onboarding",
    plan=plan,
)
