"""Set up the account, or the application, that Latchkey works with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from bot.actions._action import Action, Label
from bot.actions._afterwards import consent, may_do
from bot.actions._own import settings_now, the_tenant
from bot.actions._service_account import (
    find_account,
    find_application,
    find_managed_identity,
    new_name,
    set_up_account,
    set_up_principal,
    take_back,
)
from bot.errors import BadInput
from bot.model import Identity, Plan, Target, TargetKind
from bot.ports import Reader


class Kind(StrEnum):
    """What it is, as it is asked for."""

    SERVICE_ACCOUNT = "service-account"
    APPLICATION = "application"
    MANAGED_IDENTITY = "managed-identity"


@dataclass(frozen=True)
class Inputs:
    kind: Annotated[Kind, Label("What it is")] = Kind.SERVICE_ACCOUNT
    name: Annotated[
        str, Label("User name, or object id", "Empty: latchkey@ and your domain. A managed identity needs its id.")
    ] = ""
    adopt: Annotated[bool, Label("Take an account that is there already")] = False
    global_administrator: Annotated[bool, Label("Make it a Global Administrator")] = False


async def plan(reader: Reader, target: Target, inputs: Inputs, identity: Identity) -> Plan:
    """One step for the password, the account, its proof, each role and the choice."""
    now, everything, typed = await settings_now(reader), inputs.global_administrator, inputs.name.strip()
    match inputs.kind:
        case Kind.APPLICATION:
            principal = await find_application(reader)
            name, steps = principal.id, set_up_principal(now, principal, everything=everything)
        case Kind.MANAGED_IDENTITY:
            if not typed:
                raise BadInput("Give the object id of the managed identity.", field="name")
            principal = await find_managed_identity(reader, typed)
            name, steps = principal.id, set_up_principal(now, principal, everything=everything)
        case _:
            name = await new_name(reader, typed)
            found = await find_account(reader, name)
            if found is not None and not inputs.adopt:
                raise BadInput(
                    f"There is an account {found.name} already. Tick *{_ADOPT}* (`--adopt`) to take it, or choose "
                    "another name.",
                    field="name",
                )
            if found is None and inputs.adopt:
                raise BadInput(f"There is no account {name} to take. Check the name.", field="name")
            steps = set_up_account(now, name, found, everything=everything)
    return Plan(
        changes=steps.changes,
        calls=steps.calls,
        read_back=steps.calls[-1].seen,
        undo=take_back(steps, name, was_there=inputs.kind == Kind.SERVICE_ACCOUNT and inputs.adopt),
        notes=steps.notes,
    )


async def afterwards(reader: Reader, done: Plan) -> Sequence[str]:
    return [*await may_do(reader, done), *await consent(reader)]


_ADOPT: Final = "Take an account that is there already"

ACTION = Action(
    name="set-up-identity",
    title="Set up Latchkey account",
    phrase="set up the account {target} works with",
    working="Setting up the account {target} works with",
    done="The account {target} works with was set up",
    permissions=(),
    inputs=Inputs,
    example=Inputs(name="latchkey@contoso.com"),
    about=TargetKind.TENANT,
    find=the_tenant,
    approval=True,
    sensitive=True,
    held_as="/m365-mode set-up",
    stands_for="",
    afterwards=afterwards,
    plan=plan,
)
