"""Take a role from somebody, at once and without anybody's approval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from bot.actions._action import Action, Field, Label
from bot.actions._own import OWN
from bot.actions._rights import (
    EVERYWHERE,
    address_of,
    as_inputs,
    may,
    read_person,
    shows,
    the_person,
)
from bot.errors import NotPossible
from bot.model import TENANT_ADMIN, Call, Change, Expect, Identity, Plan, Target, TargetKind, Undo
from bot.ports import Reader


@dataclass(frozen=True)
class Inputs:
    role: Annotated[str, Label("Role", field=Field.ROLE)]
    scope: Annotated[str, Label("Only the grant for the scope", "Empty: all of them.", field=Field.SCOPE)] = ""


async def plan(reader: Reader, target: Target, inputs: Inputs, identity: Identity) -> Plan:
    """Every grant of the role, or the one in a scope. Undo grants it again, which somebody else has to approve."""
    await may(reader, "revoke", role=inputs.role)
    person = await read_person(reader, target)
    holds = [
        grant
        for grant in person["grants"]
        if grant["role"] == inputs.role and (not inputs.scope or _same(grant["scope"], inputs.scope))
    ]
    held = [grant for grant in holds if not grant["through_group"]]
    if not holds:
        where = f" in “{inputs.scope}”" if inputs.scope and not _same(inputs.scope, EVERYWHERE) else ""
        return Plan(changes=(), calls=(), notes=(f"{target.name} does not hold {inputs.role}{where}.",))
    if not held:
        raise NotPossible(
            f"{target.name} is {inputs.role} as a member of a group. Take them out of it in Microsoft Entra, or end "
            "what follows the group: `/m365-roles unfollow`."
        )
    stays = f"{target.name} stays {inputs.role} as a member of a group." if len(held) < len(holds) else ""
    body = {"role": inputs.role, "scope": inputs.scope}
    gone = shows(target, held[0]["words"], Expect.LACKS)
    return Plan(
        changes=tuple(Change("role", grant["words"], "nothing") for grant in held),
        calls=(Call("DELETE", address_of(target), body, says=f"Revoking {inputs.role}", seen=gone),),
        read_back=gone,
        undo=Undo("grant-role", as_inputs(held[0])) if len(held) == 1 else None,
        notes=await _about_admins(reader, target) if inputs.role == TENANT_ADMIN else (stays,) if stays else (),
    )


async def _about_admins(reader: Reader, target: Target) -> tuple[str, ...]:
    """Raises `NotPossible` for the last tenant admin; warns where one remains."""
    admins = (await reader.get(OWN, "roles", "admins"))["value"]
    left = [admin for admin in admins if admin != target.id]
    if target.id in admins and not left:
        raise NotPossible(
            f"{target.name} is the last tenant admin, and without one nobody could grant anything. "
            "Make somebody else tenant admin first."
        )
    if len(left) == 1:
        return (
            "Only one tenant admin remains after this. Nobody could then approve what they ask for: they could only "
            "break the glass.",
        )
    return ()


def _same(one: str, other: str) -> bool:
    return one.casefold() == other.casefold()


ACTION = Action(
    name="revoke-role",
    title="Revoke a role",
    phrase="revoke a role of {target}",
    working="Revoking a role of {target}",
    done="A role of {target} was revoked",
    permissions=(),
    inputs=Inputs,
    example=Inputs(role="helpdesk"),
    about=TargetKind.OPERATOR,
    find=the_person,
    confirm=True,
    held_as="/m365-roles revoke",
    stands_for="@olive",
    plan=plan,
)
