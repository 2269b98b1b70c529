"""Make a scope, in which a grant counts only for some people, or change which people these are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, Final

from bot.actions._action import Action, Label
from bot.actions._own import OWN
from bot.actions._rights import EVERYWHERE, may, rule_in_words
from bot.directory import SCOPE_ATTRIBUTES, find_group
from bot.errors import BadInput
from bot.model import (
    Call,
    Change,
    Expect,
    Identity,
    Plan,
    ReadBack,
    ScopeOp,
    ScopeRule,
    SlackUser,
    Target,
    TargetKind,
    Undo,
)
from bot.ports import Reader

_QUOTES: Final = frozenset('“”"`')
"""A name stands between these where it is shown, and must not seem to end before it does."""


def attribute_of(typed: str) -> str:
    """The attribute, as Graph writes it. Raises `BadInput` naming those there are."""
    found = next((known for known in SCOPE_ATTRIBUTES if known.casefold() == typed.strip().casefold()), None)
    if found is None:
        common = ", ".join(name for name in SCOPE_ATTRIBUTES if not name.startswith("extension"))
        raise BadInput(
            f"`{typed[:40]}` is no attribute a scope can ask about. It is one of {common}, or extensionAttribute1 to "
            "extensionAttribute15.",
            field="attribute",
        )
    return found


@dataclass(frozen=True)
class Inputs:
    attribute: Annotated[
        str, Label("Attribute", "Such as department, officeLocation, country.", check=attribute_of)
    ] = "department"
    in_: Annotated[str, Label("Is one of", "Such as: Sales, Marketing")] = ""
    group: Annotated[str, Label("Or: members of the group", "The group's whole name.")] = ""


async def the_scope(reader: Reader, typed: str, asker: SlackUser) -> Target:
    """The target of what is about a scope, whether there is one of that name or not."""
    name = " ".join(typed.split())
    plain = name.isprintable() and not set(name) & _QUOTES and name[:1].isalnum()
    if not 2 <= len(name) <= 60 or name.casefold() == EVERYWHERE or not plain:
        raise BadInput("A scope needs a name of 2 to 60 characters, such as `Sales in Leeds`.", field="target")
    return Target(TargetKind.SCOPE, name, name)


async def plan(reader: Reader, target: Target, inputs: Inputs, identity: Identity) -> Plan:
    """Every grant in the scope counts for the people it names from then on, and for nobody else."""
    rule, words = await _rule(reader, inputs)
    address = (OWN, "roles", "scopes", target.id)
    now = (await reader.get(*address))["rule"]
    if now == rule.to_json():
        return Plan(changes=(), calls=(), notes=(f"The scope {target.name} is so already.",))
    await may(reader, "scope", scope=target.id)
    seen = ReadBack(address, "text", Expect.EQUALS, json.dumps(rule.to_json(), sort_keys=True), lags=False)
    before = rule_in_words(now) if now else None
    return Plan(
        changes=(Change("people in it", before, words),),
        calls=(Call("PUT", address, {"rule": rule.to_json()}, says="Saving the scope", seen=seen),),
        read_back=seen,
        undo=_undo(now),
        notes=("Every grant in this scope changes with it at once.",) if now else (),
    )


async def _rule(reader: Reader, inputs: Inputs) -> tuple[ScopeRule, str]:
    """What is asked for, and that in words."""
    if bool(inputs.group) == bool(inputs.in_):
        raise BadInput(
            "Say either which values the attribute has (`--attribute department --in Sales`) or a group "
            "(`--group SG-Sales`).",
            field="in_",
        )
    if inputs.group:
        group = await find_group(reader, inputs.group)
        return ScopeRule(ScopeOp.GROUP, values=(group.id,)), f"members of the group {group.name}"
    values = tuple(dict.fromkeys(value.strip() for value in inputs.in_.split(",") if value.strip()))
    if not values:
        raise BadInput("Name at least one value, such as `--in Sales`.", field="in_")
    rule = ScopeRule(ScopeOp.ATTRIBUTE, attribute=attribute_of(inputs.attribute), values=values)
    return rule, rule_in_words(rule.to_json())


def _undo(rule: dict[str, Any] | None) -> Undo | None:
    """The earlier rule, where it can be asked for."""
    match rule:
        case {"attribute": attribute, "in": values}:
            return Undo("define-scope", {"attribute": attribute, "in_": ", ".join(values)})
        case {"group": group}:
            return Undo("define-scope", {"group": group})
    return None


ACTION = Action(
    name="define-scope",
    title="Define a scope",
    phrase="define the scope {target}",
    working="Defining the scope {target}",
    done="The scope {target} was defined",
    permissions=(),
    inputs=Inputs,
    example=Inputs(in_="Sales"),
    about=TargetKind.SCOPE,
    find=the_scope,
    approval=True,
    held_as="/m365-roles scope",
    stands_for='"Sales in Leeds"',
    plan=plan,
)
