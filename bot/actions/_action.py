"""What an action is: a declaration of its name, what it may and must be given, and how it is planned."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from datetime import date, datetime, timedelta
from enum import Enum, StrEnum
from functools import cache
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

from bot.errors import BadInput
from bot.model import JSON, Identity, Person, Plan, SlackUser, Target, TargetKind, TenantSettings
from bot.ports import Reader

LONGEST_TEXT: Final = 256
"""The most characters a text input may have; names in Entra end at 256 as well."""


class Field(StrEnum):
    """How an input is asked for in a form."""

    TEXT = "text"
    NUMBER = "number"
    CHECKBOX = "checkbox"
    SELECT = "select"
    GROUP = "group"
    LICENSE = "license"
    CHANNELS = "channels"
    """Channels of Slack, by id, with spaces between them."""
    ROLE = "role"
    """A role of Latchkey's, by its name."""
    SCOPE = "scope"
    """A scope, by its name."""
    DATE = "date"
    """A day such as 2026-12-31, also with a time; where it is typed, also a time span from today such as 30d."""


@dataclass(frozen=True)
class Label:
    """What a person reads beside an input. `search` makes it a searchable list of groups or licences by id; `field`
    says how it is asked for where its type does not. `maximum` is also a text's longest. `check` raises `BadInput` for
    a text that cannot be meant. `steers` means that which other inputs matter depends on it (`Action.needless`).
    """

    text: str
    hint: str = ""
    search: TargetKind | None = None
    minimum: int | None = None
    maximum: int | None = None
    field: Field | None = None
    check: Callable[[str], object] | None = None
    steers: bool = False


@dataclass(frozen=True)
class Input:
    """One input of an action, read off the type hints of its `Inputs`."""

    name: str
    label: Label
    field: Field
    required: bool
    default: JSON
    choices: tuple[tuple[str, str], ...] = ()
    """(value, label) of a select."""

    @property
    def option(self) -> str:
        """How it is typed: `--name`, with dashes for underscores (one at the end is Python's, not part of it)."""
        return "--" + self.name.rstrip("_").replace("_", "-")


@dataclass(frozen=True)
class NoInputs:
    """For actions that need nothing but a target."""


@dataclass(frozen=True)
class Answer:
    """What a read shows: a headline and labelled values, in reading order. Values are plain text from the tenant."""

    title: str
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()


Planner = Callable[[Reader, Any, Any, Identity], Awaitable[Plan]]
"""(reader, target, inputs, identity that would act) to a plan. The target is a `Person`, or a `Target` where the action
is Latchkey's own. Raises `NotPossible` with where to go instead, and `BadInput` when an input names nothing there is.
"""

Finder = Callable[[Reader, str, SlackUser], Awaitable[Target]]
"""(reader, what was typed, who asks) to the target of an action that is Latchkey's own. Raises `BadInput`."""

Closer = Callable[[Reader, Plan], Awaitable[Sequence[str]]]
"""(reader, the plan that was carried out) to what is to be known once it is done: what is true now, what is left to do.
"""

Answerer = Callable[[Reader, Person, Any], Awaitable[Answer]]

Sorter = Callable[[Mapping[str, JSON], TenantSettings], Collection[str]]
"""(what is given, the settings) to the names of the inputs that make no difference then."""


@dataclass(frozen=True, kw_only=True)
class Action:
    """Something an operator may have done, or look up, on a user of the tenant; or a change of Latchkey itself.

    Exactly one of `plan` (it changes something; `plan` itself only reads) and `answer` (it only reads) is given.
    `phrase` completes *to ...* and names its target as `{target}`: `reset the password of {target}`; buttons and cards
    are made from it. `working` and `done` are the same in the two other tenses. `permissions` are the Graph permissions
    it needs beside those of `directory.py`, least first; `roles` are directory role template ids any one of which lets
    the session's identity do it (Entra docs: *Microsoft Entra built-in roles*), and `application_roles` those for an
    identity that does not sign in as a user, where Microsoft asks more of it. `verify_caller` asks how the caller was
    verified. `confirm` asks the operator to press the button that names the target (actions that cannot be taken back).
    `delegated_only` means Graph has no application permission for it. `not_for_guests` says, where guests are refused,
    why and where to go instead. `example` is a set of inputs for help and tests.

    An action that is Latchkey's own (its mode, its roles, the identity it acts with) has a `find`, which names its
    target, of the kind `about`; it needs no management session and reads and writes below `latchkey` (`bot/office/`).
    Its calls to Graph go out as an administrator who signs in for it. `approval` means that somebody else
    has to agree, who could do the same; `sensitive`, that they prove at Microsoft who they are. `held_as` is what roles
    are matched with, where that is not `/m365` and the name. `stands_for` is the target in examples. `afterwards` says
    what its card ends with once it is done. A form leaves out what is `needless`; typed, it stays as it is.
    """

    name: str
    title: str
    phrase: str
    working: str
    done: str
    permissions: tuple[str, ...]
    roles: tuple[str, ...] = ()
    application_roles: tuple[str, ...] = ()
    inputs: type = NoInputs
    example: Any = NoInputs()
    verify_caller: bool = False
    confirm: bool = False
    delegated_only: bool = False
    not_for_guests: str = ""
    plan: Planner | None = None
    answer: Answerer | None = None
    about: TargetKind = TargetKind.USER
    find: Finder | None = None
    approval: bool = False
    sensitive: bool = False
    held_as: str = ""
    stands_for: str = "adele@contoso.com"
    afterwards: Closer | None = None
    needless: Sorter | None = None

    def __post_init__(self) -> None:
        if (self.plan is None) == (self.answer is None):
            raise TypeError(f"{self.name}: an action either plans or answers")

    @property
    def writes(self) -> bool:
        return self.plan is not None

    @property
    def own(self) -> bool:
        """Whether it changes Latchkey itself, not somebody's account."""
        return self.find is not None

    @property
    def in_words(self) -> str:
        """Its title within a sentence."""
        return self.title[:1].lower() + self.title[1:]

    @property
    def command(self) -> str:
        """What roles are matched with."""
        return self.held_as or f"/m365 {self.name}"

    @property
    def usage(self) -> str:
        """What to type, with required inputs in their order: `/m365 add-to-group adele@contoso.com <group>`."""
        wanted = "".join(f" <{each.label.text.lower()}>" for each in self.asks if each.required)
        return f"{self.command}{f' {self.stands_for}' if self.stands_for else ''}{wanted}"

    @property
    def asks(self) -> tuple[Input, ...]:
        """Its inputs, in order."""
        return _read_inputs(self.inputs)

    def roles_for(self, identity: Identity) -> tuple[str, ...]:
        """The directory roles any one of which lets this identity do it; none if it needs none."""
        return self.application_roles if self.application_roles and not identity.delegated else self.roles

    def missing(self, inputs: Mapping[str, JSON]) -> Sequence[Input]:
        """Required inputs that *inputs* does not hold."""
        return [wanted for wanted in self.asks if wanted.required and inputs.get(wanted.name) in (None, "")]

    def parse(self, inputs: Mapping[str, JSON]) -> Any:
        """The typed inputs. Raises `BadInput` naming the first that is missing or cannot be used."""
        for wanted in self.missing(inputs):
            raise BadInput(
                f"`{self.name}` needs the {wanted.label.text.lower()}. Type it as `{self.usage}`.", field=wanted.name
            )
        return self.inputs(**self.check(inputs))

    def check(self, inputs: Mapping[str, JSON]) -> dict[str, JSON]:
        """What is given of the inputs, converted; some may still be missing. Raises `BadInput` like `parse`."""
        known = {wanted.name: wanted for wanted in self.asks}
        for name in inputs:
            if name not in known:
                options = ", ".join(f"`{wanted.option}`" for wanted in known.values()) or "none"
                raise BadInput(f"`{self.name}` has no input `{_cut(name)}`. It has: {options}.", field=name)
        given = {name: inputs.get(name) for name in known}
        return {name: _convert(known[name], value) for name, value in given.items() if value not in (None, "")}


@cache
def _read_inputs(declared: type) -> tuple[Input, ...]:
    hints = get_type_hints(declared, include_extras=True)
    found = []
    for declared_field in fields(declared):
        hint = hints[declared_field.name]
        if get_origin(hint) is not Annotated:
            raise TypeError(f"{declared.__name__}.{declared_field.name} needs a Label")
        kind, label = get_args(hint)
        required = declared_field.default is MISSING
        default = None if required else declared_field.default
        found.append(
            Input(
                name=declared_field.name,
                label=label,
                field=_field_of(kind, label),
                required=required,
                default=default.value if isinstance(default, Enum) else default,
                choices=tuple((member.value, member.value) for member in kind) if issubclass(kind, Enum) else (),
            )
        )
    return tuple(found)


def _field_of(kind: type, label: Label) -> Field:
    if label.field is not None:
        return label.field
    if label.search is TargetKind.GROUP:
        return Field.GROUP
    if label.search is TargetKind.LICENSE:
        return Field.LICENSE
    if issubclass(kind, StrEnum):
        return Field.SELECT
    return {bool: Field.CHECKBOX, int: Field.NUMBER, str: Field.TEXT}[kind]


TRUE: Final = frozenset({"true", "yes", "on", "1"})
FALSE: Final = frozenset({"false", "no", "off", "0"})


def _convert(wanted: Input, given: JSON) -> JSON:
    option, label = wanted.option, wanted.label
    match wanted.field:
        case Field.CHECKBOX:
            word = str(given).lower()
            if word not in TRUE | FALSE:
                raise BadInput(f"`{option}` is yes or no, not `{_cut(given)}`.", field=wanted.name)
            return word in TRUE
        case Field.NUMBER:
            low, high = label.minimum, label.maximum
            asked = f"a whole number from {low} to {high}" if low is not None else "a whole number"
            try:
                number = int(str(given))
            except ValueError as error:
                raise BadInput(f"`{option}` is {asked}, not `{_cut(given)}`.", field=wanted.name) from error
            if (low is not None and number < low) or (high is not None and number > high):
                raise BadInput(f"`{option}` is {asked}, not {_cut(number)}.", field=wanted.name)
            return number
        case Field.SELECT:
            values = [value for value, _ in wanted.choices]
            if given not in values:
                raise BadInput(f"`{option}` is one of {', '.join(values)}, not `{_cut(given)}`.", field=wanted.name)
            return given
        case Field.DATE:
            return _day(option, str(given).strip(), wanted.name)
        case Field.TEXT | Field.GROUP | Field.LICENSE | Field.CHANNELS | Field.ROLE | Field.SCOPE:
            text = str(given).strip()
            if not text:
                raise BadInput(f"`{option}` is empty. Write what it should be after it.", field=wanted.name)
            longest = label.maximum or LONGEST_TEXT
            if len(text) > longest:
                raise BadInput(f"`{option}` is too long: at most {longest} characters.", field=wanted.name)
            if label.check is not None:
                label.check(text)
            return text


_SPAN: Final = re.compile(r"(\d{1,4})([dw])", re.ASCII | re.IGNORECASE)


def dated(typed: str, today: date) -> str:
    """The day that a time span from *today* means (`30d`, `2w`); anything else as it is."""
    span = _SPAN.fullmatch(typed.strip())
    if span is None:
        return typed
    days = int(span[1]) * (7 if span[2] in "wW" else 1)
    return (today + timedelta(days=days)).isoformat()


def _day(option: str, text: str, name: str) -> str:
    if _SPAN.fullmatch(text):
        return text
    try:
        datetime.fromisoformat(text)
    except ValueError as error:
        sentence = f"`{option}` is a day such as 2026-12-31 or a time span such as 30d, not `{_cut(text)}`."
        raise BadInput(sentence, field=name) from error
    return text


def _cut(given: JSON) -> str:
    """What was given, short enough to quote in a sentence."""
    text = str(given)
    return text if len(text) <= 40 else text[:39] + "…"
