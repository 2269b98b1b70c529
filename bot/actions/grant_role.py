"""Grant somebody in Slack a role, everywhere or in a scope, for good or until a day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from bot.actions._action import Action, Field, Label
from bot.actions._rights import (
    ROLE_HINT,
    SCOPE_HINT,
    UNTIL_HINT,
    address_of,
    as_inputs,
    counts_for,
    in_words,
    may,
    must_be_one_of_us,
    read_person,
    shows,
    the_person,
)
from bot.directory import find_people, means_exactly
from bot.errors import BadInput, NotPossible
from bot.model import Call, Change, Identity, Plan, Target, TargetKind, Undo
from bot.ports import Reader


@dataclass(frozen=True)
class Inputs:
    role: Annotated[str, Label("Role", ROLE_HINT, field=Field.ROLE)]
    scope: Annotated[str, Label("Only for people in the scope", SCOPE_HINT, field=Field.SCOPE)] = ""
    until: Annotated[str, Label("Until", UNTIL_HINT, field=Field.DATE)] = ""
    account: Annotated[str, Label("Their Microsoft account", "The sign-in name that they have to link.")] = ""


async def plan(reader: Reader, target: Target, inputs: Inputs, identity: Identity) -> Plan:
    """The role, what it allows, and the account they have to link before they can change anything."""
    granted = await may(reader, "grant", role=inputs.role, scope=inputs.scope, until=inputs.until)
    await must_be_one_of_us(reader, target)
    person = await read_person(reader, target)
    account = await _account(reader, person, inputs.account, target.name) if inputs.account else ""
    words = granted["words"]
    if words in person["held"] and (not account or account == person["upn"]):
        return Plan(changes=(), calls=(), notes=(f"{target.name} holds {words} already.",))
    same = [grant for grant in person["grants"] if grant["role"] == inputs.role]
    replaced = next((one for one in same if one["scope"] == granted["scope"] and not one["through_group"]), None)
    changes = [
        Change("role", replaced["words"] if replaced else None, words),
        Change("which allows to", None, in_words(granted["patterns"])),
        *counts_for(granted),
    ]
    if account and account != person["upn"]:
        changes.append(Change("account to be linked", person["upn"], account))
    back = {"role": inputs.role, **({"scope": granted["scope"]} if same else {})}
    body = {
        "role": inputs.role,
        "scope": granted["scope"],
        "until": granted["until"],
        "account": account,
        "name": target.name,
    }
    return Plan(
        changes=tuple(changes),
        calls=(Call("PUT", address_of(target), body, says=f"Granting {words}", seen=shows(target, words)),),
        read_back=shows(target, words),
        undo=Undo("grant-role", as_inputs(replaced)) if replaced else Undo("revoke-role", back),
        notes=_notes(person, target.name, granted),
        sensitive=granted["decides_on_power"],
    )


async def _account(reader: Reader, person: dict[str, Any], typed: str, name: str) -> str:
    """The user principal name of the account that was typed. Raises `BadInput` or `NotPossible`."""
    found = await find_people(reader, typed)
    exactly = next((one for one in found if means_exactly(typed, one)), None)
    if exactly is None:
        raise BadInput(f"There is no account `{typed[:60]}`. Type the whole sign-in name.", field="account")
    if person["account"] and person["account"].lower() != exactly.id:
        raise NotPossible(f"{name} has linked another account already: {person['upn']}. Grant without an account.")
    return exactly.upn


def _notes(person: dict[str, Any], name: str, granted: dict[str, Any]) -> tuple[str, ...]:
    notes = []
    if person["suspended"]:
        notes.append(f"{name} is suspended, so this counts only once a tenant admin restores them.")
    if not person["account"]:
        notes.append(f"Until {name} has typed `/m365 link`, they may look things up but not change anything.")
    if granted["decides_on_power"]:
        notes.append("This role decides who may do what, or as whom Latchkey acts.")
    return tuple(notes)


ACTION = Action(
    name="grant-role",
    title="Grant a role",
    phrase="grant a role to {target}",
    working="Granting a role to {target}",
    done="A role was granted to {target}",
    permissions=(),
    inputs=Inputs,
    example=Inputs(role="helpdesk"),
    about=TargetKind.OPERATOR,
    find=the_person,
    approval=True,
    held_as="/m365-roles grant",
    stands_for="@olive",
    plan=plan,
)
