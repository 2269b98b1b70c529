"""Make a role of one's own, or change what a role holds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Final

from bot.actions._action import Action, Label
from bot.actions._own import OWN
from bot.actions._rights import listed, may, patterns_of
from bot.errors import BadInput
from bot.model import (
    Call,
    Change,
    Expect,
    Identity,
    Plan,
    ReadBack,
    SlackUser,
    Target,
    TargetKind,
    Undo,
    decides_on_power,
)
from bot.ports import Reader

_NAME: Final = re.compile(r"[a-z][a-z0-9-]{1,39}")


@dataclass(frozen=True)
class Inputs:
    commands: Annotated[
        str,
        Label(
            "Commands",
            "With commas between them: /m365 reset-password, /m365 show-user. /m365 show* is all that begins so.",
            check=patterns_of,
        ),
    ]
    title: Annotated[str, Label("What it is for")] = ""


async def the_role(reader: Reader, typed: str, asker: SlackUser) -> Target:
    """The target of what is about a role, whether there is one of that name or not."""
    name = "-".join(typed.split()).casefold()
    if not _NAME.fullmatch(name):
        raise BadInput(
            f"`{typed[:60]}` is no name for a role. Use 2 to 40 small letters, digits and dashes: `onboarding`.",
            field="target",
        )
    return Target(TargetKind.ROLE, name, name)


async def plan(reader: Reader, target: Target, inputs: Inputs, identity: Identity) -> Plan:
    """Everybody who holds the role holds exactly these commands from then on."""
    now = await reader.get(OWN, "roles", "named", target.id)
    before, after = set(now["patterns"]), set(patterns_of(inputs.commands))
    title = inputs.title.strip() or now["title"] or target.name
    if before == after and title == now["title"]:
        return Plan(changes=(), calls=(), notes=(f"The role {target.name} is so already.",))
    await may(reader, "define", role=target.id, patterns=",".join(sorted(after)))
    body = {"title": title, "patterns": sorted(after)}
    whole = f"{title}: {listed(after)}"
    defined = ReadBack((OWN, "roles", "named", target.id), "whole", Expect.EQUALS, whole, lags=False)
    return Plan(
        changes=_changes(now["title"], title, before, after),
        calls=(Call("PUT", defined.path, body, says=f"Defining {target.name}", seen=defined),),
        read_back=defined,
        undo=_undo(now["title"], before),
        notes=_notes(target.name, now["holders"], bool(before)),
        sensitive=decides_on_power(before | after),
    )


def _changes(title_before: str, title: str, before: set[str], after: set[str]) -> tuple[Change, ...]:
    changes = [Change("title", title_before or None, title)] if title != title_before else []
    if not before:
        return (*changes, Change("commands", None, listed(after)))
    if came := after - before:
        changes.append(Change("added", None, listed(came)))
    if gone := before - after:
        changes.append(Change("taken out", None, listed(gone)))
    return tuple(changes)


def _undo(title: str, before: set[str]) -> Undo:
    return Undo("define-role", {"commands": listed(before), "title": title}) if before else Undo("remove-role")


def _notes(name: str, holders: int, known: bool) -> tuple[str, ...]:
    if not known:
        return (f"Nobody holds it until it is granted: `/m365-roles grant @olive {name}`.",)
    people = "1 person holds" if holders == 1 else f"{holders} people hold"
    return (f"{people} the role {name}: for them it changes at once.",)


ACTION = Action(
    name="define-role",
    title="Define a role",
    phrase="define the role {target}",
    working="Defining the role {target}",
    done="The role {target} was defined",
    permissions=(),
    inputs=Inputs,
    example=Inputs(commands="/m365 reset-password, /m365 show-user"),
    about=TargetKind.ROLE,
    find=the_role,
    approval=True,
    held_as="/m365-roles define",
    stands_for="onboarding",
    plan=plan,
)
