"""What the actions have in common that decide who may do what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from bot.actions import catalogue
from bot.actions._own import OWN
from bot.errors import BadInput, NotPossible
from bot.model import Change, Expect, ReadBack, SlackUser, Target, TargetKind, covers
from bot.ports import Reader

EVERYWHERE: Final = "everywhere"
"""What stands for *in no scope* where a scope is named."""

BUILT_IN: Final = (
    "/m365 approve",
    "/m365 can",
    "/m365 help",
    "/m365 undo",
    "/m365-audit",
    "/m365-roles list",
    "/m365-roles who",
    "/m365-rotate acknowledge",
    "/m365-rotate history",
    "/m365-rotate status",
    "/m365-session extend",
    "/m365-session off",
    "/m365-session on",
    "/m365-session status",
    "/m365-whatif",
)
"""What roles are matched with beside the actions."""

ROLE_HINT: Final = "Such as helpdesk. /m365-roles list shows what each allows."
SCOPE_HINT: Final = "Empty: everybody who is not protected."
UNTIL_HINT: Final = "The last day it counts. Empty: until it is revoked."


# --- Commands -------------------------------------------------------------------------------------------------------


def commands() -> frozenset[str]:
    """Everything that a role can hold."""
    return frozenset(BUILT_IN).union(action.command for action in catalogue().values())


def patterns_of(typed: str) -> tuple[str, ...]:
    """Command patterns out of a list with commas, each once. Raises `BadInput` for what means no command there is."""
    words = (" ".join(part.replace("`", " ").split()).casefold() for part in typed.replace("\n", ",").split(","))
    found = tuple(dict.fromkeys(word if word.startswith("/") else f"/m365 {word}" for word in words if word))
    for pattern in found:
        beginning = pattern.removesuffix("*")
        fits = (command for command in commands() if covers(pattern, command))
        if "*" in beginning or not beginning.startswith("/m365") or next(fits, None) is None:
            raise BadInput(
                f"`{pattern[:60]}` is no command. Write commands with commas between them, such as "
                "`/m365 reset-password, /m365 show-user`; a `*` at the end stands for all that begin so.",
                field="commands",
            )
    if not found:
        raise BadInput("Name at least one command that the role is to hold.", field="commands")
    return found


def listed(patterns: Iterable[str]) -> str:
    return ", ".join(sorted(patterns))


_SWITCHES: Final = frozenset({"/m365-session on", "/m365-session off", "/m365-session extend"})
_OF_ALL: Final = frozenset({"/m365 can", "/m365 help", "/m365-session status"})
_SAID: Final[Mapping[str, str]] = {
    "/m365*": "everything, and decide about Latchkey itself",
    "/m365 approve": "approve what others ask for",
    "/m365 undo": "undo",
    "/m365-audit": "search the audit trail",
    "/m365-roles list": "list the roles",
    "/m365-roles who": "list who holds which role",
    "/m365-rotate acknowledge": "acknowledge alerts",
    "/m365-rotate history": "list the last rotations",
    "/m365-rotate status": "see how the rotation is",
    "/m365-session extend": "extend the management session",
    "/m365-session off": "turn the management session off",
    "/m365-session on": "turn the management session on",
    "/m365-whatif": "see which policies apply to a sign-in",
}


def in_words(patterns: Iterable[str]) -> str:
    """What a role allows. A pattern that stands for several commands is shown as it is; what everybody may do who holds
    any role is left out, if there is more."""
    held = set(patterns)
    titles = {action.command: action.in_words for action in catalogue().values()}
    switches = ["turn the management session on and off"] if held >= _SWITCHES else []
    others = held - _OF_ALL - (_SWITCHES if switches else frozenset())
    said = [_SAID.get(each) or titles.get(each, each) for each in sorted(others)]
    return ", ".join([*said, *switches]) or "look only"


def rule_in_words(rule: Mapping[str, Any]) -> str:
    """Whom a scope with this rule is about."""
    match rule:
        case {"attribute": attribute, "in": values}:
            return f"{attribute} is {' or '.join(values)}"
        case {"group": group}:
            return f"members of the group {group}"
    return "several conditions"


def counts_for(granted: Mapping[str, Any]) -> list[Change]:
    """What a grant's scope reaches now: where that changes before it runs, it is asked about anew."""
    return [Change("which counts for", None, rule_in_words(granted["rule"]))] if granted["rule"] else []


# --- People ---------------------------------------------------------------------------------------------------------


async def the_person(reader: Reader, typed: str, asker: SlackUser) -> Target:
    """The target of what is about somebody in Slack: a mention, a user id, or the sign-in name of an operator."""
    if not typed.strip():
        raise BadInput("Say who it is about: type `@` and choose the person.", field="target")
    found = await reader.get(OWN, "roles", "find", asker.team, typed.strip())
    return Target(TargetKind.OPERATOR, found["id"], found["name"], found["upn"])


def address_of(target: Target, what: str = "people") -> tuple[str, ...]:
    """Where Latchkey keeps what it knows of a person."""
    return (OWN, "roles", what, *target.id.split("/", 1))


async def read_person(reader: Reader, target: Target) -> dict[str, Any]:
    """What somebody holds now, and the account that is theirs."""
    return await reader.get(*address_of(target))


async def must_be_one_of_us(reader: Reader, target: Target) -> None:
    """Raises `NotPossible` for who has left, is a guest, or is no person."""
    against = (await reader.get(*address_of(target, "standing")))["against"]
    if against:
        raise NotPossible(f"{target.name} {against}. So nothing can be granted to them.")


def shows(target: Target, words: str, expect: Expect = Expect.CONTAINS) -> ReadBack:
    """How to see that somebody holds something, or holds it no more."""
    return ReadBack(address_of(target), "held", expect, words, lags=False)


async def may(reader: Reader, what: str, **asked: str) -> dict[str, Any]:
    """Raises what would be said of such a change by the person who asks, before anybody has to agree to it."""
    return await reader.get(OWN, "roles", "may", what, query=asked)


def as_inputs(grant: Mapping[str, Any]) -> dict[str, str]:
    """The inputs that would grant the same again."""
    inputs = {"role": grant["role"]}
    if grant["scope"] != EVERYWHERE:
        inputs["scope"] = grant["scope"]
    if grant["until"]:
        inputs["until"] = grant["until"]
    return inputs
