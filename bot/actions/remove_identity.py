"""Take away what Latchkey works with: the account is kept disabled, or removed with its password."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from bot.actions._action import Action, Label
from bot.actions._afterwards import consent
from bot.actions._own import settings_now, the_tenant
from bot.actions._service_account import (
    Fate,
    Found,
    Steps,
    chosen,
    find_account,
    find_principal,
    is_ours,
    leave,
    to_default,
)
from bot.errors import BadInput
from bot.model import Identity, IdentityKind, Mode, Plan, Target, TargetKind, Undo
from bot.ports import Reader


@dataclass(frozen=True)
class Inputs:
    name: Annotated[str, Label("User name, or object id", "Empty: the one Latchkey works with.")] = ""
    then: Annotated[Fate, Label("What becomes of it")] = Fate.DISABLED
    roles: Annotated[str, Label("Directory roles it loses", "Ids with spaces between; empty: all, if removed.")] = ""


async def plan(reader: Reader, target: Target, inputs: Inputs, identity: Identity) -> Plan:
    """Advanced mode cannot do without it, so that ends first."""
    now = await settings_now(reader)
    name, found = await _meant(reader, now, inputs.name.strip())
    in_use = now["identity_name"] is not None and now["identity_name"].casefold() == name.casefold()
    steps = to_default(now) if in_use and now["mode"] == Mode.ADVANCED else Steps()
    only = frozenset(inputs.roles.split()) if inputs.roles.strip() else None
    steps += await leave(reader, now, name, found, inputs.then, only=only)
    if not steps.calls:
        return Plan(changes=(), calls=(), notes=(f"Nothing is left to do about {name}.",))
    return Plan(
        changes=steps.changes,
        calls=steps.calls,
        read_back=steps.calls[-1].seen,
        undo=Undo("switch-mode", {"to": Mode.ADVANCED.value}) if now["mode"] == Mode.ADVANCED else None,
        notes=steps.notes,
    )


async def _meant(reader: Reader, now: dict[str, Any], typed: str) -> tuple[str, Found | None]:
    """Its name and, if it is there, itself. Raises `BadInput`."""
    ours = (now["identity_name"] or "", now["identity_id"] or "")
    if not typed or typed.casefold() in {each.casefold() for each in ours if each}:
        if not now["identity_name"]:
            raise BadInput("Latchkey works with no account of its own. Name the one that is meant.", field="name")
        return now["identity_name"], await chosen(reader, now)
    if "@" in typed:
        found = await find_account(reader, typed)
        name = found.name if found else typed
        if not await is_ours(reader, now, name):
            raise BadInput(f"{name} is no account that Latchkey works with, or ever set up.", field="name")
        return name, found
    for kind in (IdentityKind.APPLICATION, IdentityKind.MANAGED_IDENTITY):
        if found := await find_principal(reader, kind, typed):
            return found.name, found
    raise BadInput(f"There is nothing called “{typed}” that Latchkey could work with.", field="name")


async def afterwards(reader: Reader, done: Plan) -> Sequence[str]:
    return await consent(reader)


ACTION = Action(
    name="remove-identity",
    title="Retire Latchkey account",
    phrase="retire the account {target} works with",
    working="Retiring the account {target} works with",
    done="The account {target} worked with was retired",
    permissions=(),
    inputs=Inputs,
    example=Inputs(then=Fate.REMOVED),
    about=TargetKind.TENANT,
    find=the_tenant,
    approval=True,
    sensitive=True,
    held_as="/m365-mode remove",
    stands_for="",
    afterwards=afterwards,
    plan=plan,
)
