"""What-if in Slack: its form, the window for a draft, and the table of its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from bot.errors import BadInput
from bot.model import JSON, Request, RequestState
from bot.what_if_by_hand.options import ACTION_CHOICES, MENUS, Choice, read
from handlers.views import blocks
from handlers.views.blocks import (
    Block,
    View,
    button,
    context,
    file_input,
    markup,
    modal,
    option,
    section,
    sections,
    select,
    table,
    text_input,
)
from handlers.views.form import value_in

ASK: Final = "whatif"
DRAFT: Final = "whatif-draft"
"""The requests that have a form here, by their action."""

CALLBACK: Final = "whatif.form"
DRAFT_CALLBACK: Final = "whatif.draft"
CHANGE: Final = "whatif.change"

FILE: Final = "file"
PASTED: Final = "pasted"
"""The two ways to hand a draft over, by the block to blame."""

_ACCOUNT: Final = "account"
_INPUT: Final = "input:"
_VALUE: Final = "whatif.value"
_IS: Final = "is:"
"""What stands before the value of an option, so that none of them means *nothing chosen*."""

_NOT_SAID: Final = option("Not said", "none")
_LONGEST_PASTED: Final = 3000

_TYPED: Final = (
    ("app", "Signs in to", "A name such as Microsoft Graph, Exchange or Teams, or an application id."),
    ("ip", "From the address", "Such as 203.0.113.10."),
    ("country", "In the country", "Two letters or a name. “none”: the address belongs to no country."),
)
_CHOSEN: Final = (
    ("client", "Through"),
    ("platform", "On the platform"),
    ("device", "On a device that is"),
    ("flow", "By the flow"),
    ("action", "Or: to do this instead of signing in to an application"),
    ("risk", "Sign-in risk"),
    ("user_risk", "User risk"),
)


def has_form(request: Request) -> bool:
    return request.action in {ASK, DRAFT}


def needs_form(request: Request) -> bool:
    """Whether *request* cannot go on without one."""
    return request.action == DRAFT and not request.inputs.get("policy")


def build(request: Request, *, files: bool = True) -> View:
    """The form of a request that has one. Without *files* a draft can only be pasted."""
    return _draft(request, files=files) if request.action == DRAFT else _form(request)


# --- The form ---------------------------------------------------------------------------------------------------------


def _form(request: Request) -> View:
    given = {name: str(value or "") for name, value in request.inputs.items()}
    account = text_input(_VALUE, initial=request.typed, longest=256)
    hint = "A name or a sign-in name. Empty: the account that Latchkey works with."
    asked = [blocks.field("Whose sign-in", account, block_id=_ACCOUNT, hint=hint, optional=True)]
    for name, label, hint in _TYPED:
        typed = text_input(_VALUE, initial=given.get(name, ""), longest=120)
        asked.append(blocks.field(label, typed, block_id=_INPUT + name, hint=hint, optional=True))
    for name, label in _CHOSEN:
        menu = _menu(_choices(name), given.get(name, ""))
        asked.append(blocks.field(label, menu, block_id=_INPUT + name, optional=True))
    note = "What is not said is not known: policies that depend on it are shown as those of which it cannot be told."
    return modal(
        "What if",
        [*context(note), *asked],
        callback_id=CALLBACK,
        about=request.id,
        submit="Show",
        close="Cancel",
        tell_when_closed=True,
    )


def _choices(name: str) -> Sequence[Choice]:
    return ACTION_CHOICES if name == "action" else MENUS[name].choices


def _menu(choices: Sequence[Choice], given: str) -> Block:
    """A menu in which nothing may be chosen again; what is not in it stays (an authentication context)."""
    known = [option(choice.said, _IS + choice.value) for choice in choices]
    if given and given not in (choice.value for choice in choices):
        known.append(option(given, _IS + given))
    return select(_VALUE, [_NOT_SAID, *known], initial=_IS + given if given else None, placeholder="Not said")


def parse(view: Mapping[str, Any]) -> tuple[str, dict[str, JSON]]:
    """Whose sign-in, and what was said of it."""
    values = _values(view)
    inputs = {name: _said(values, _INPUT + name) for name, *_ in (*_TYPED, *_CHOSEN)}
    return _said(values, _ACCOUNT)[:256], {name: value for name, value in inputs.items() if value}


def problems(account: str, inputs: Mapping[str, JSON]) -> dict[str, str]:
    """What cannot be used, by the block to blame."""
    if "," in account:
        return {_ACCOUNT: "One account at a time."}
    try:
        read(inputs)
    except BadInput as error:
        return {_INPUT + (error.field or "app"): str(error)}
    return {}


def _values(view: Mapping[str, Any]) -> Mapping[str, Any]:
    state = view.get("state")
    values = state.get("values") if isinstance(state, dict) else None
    return values if isinstance(values, dict) else {}


def _said(values: Mapping[str, Any], block_id: str) -> str:
    return str(value_in(values, block_id) or "").strip().removeprefix(_IS)


# --- A draft ----------------------------------------------------------------------------------------------------------


def _draft(request: Request, *, files: bool) -> View:
    shown = [
        section(
            "Hand over a Conditional Access policy as JSON, as Microsoft Graph writes it. What it would change is "
            "tried out; nothing is saved."
        )
    ]
    if files:
        chosen = file_input(_VALUE, ("json", "txt"))
        shown.append(blocks.field("A file", chosen, block_id=FILE, hint="One policy, as JSON.", optional=True))
    pasted = text_input(_VALUE, multiline=True, longest=_LONGEST_PASTED)
    hint = f"Up to {_LONGEST_PASTED:,} characters. "
    hint += "" if files else "To hand over files, install the app again with the scope files:read."
    shown.append(blocks.field("Or pasted" if files else "Pasted", pasted, block_id=PASTED, hint=hint, optional=True))
    return modal(
        "Try a policy",
        shown,
        callback_id=DRAFT_CALLBACK,
        about=request.id,
        submit="Try",
        close="Cancel",
        tell_when_closed=True,
    )


def handed_over(view: Mapping[str, Any]) -> tuple[str, str]:
    """The address of the file, and the text that was pasted; either may be empty."""
    values = _values(view)
    block = values.get(FILE)
    element = next(iter(block.values()), None) if isinstance(block, dict) else None
    files = element.get("files") if isinstance(element, dict) else None
    first = files[0] if isinstance(files, list) and files else None
    url = first.get("url_private") if isinstance(first, dict) else None
    return url if isinstance(url, str) else "", str(value_in(values, PASTED) or "").strip()


# --- The answer -------------------------------------------------------------------------------------------------------


def content(answer: Mapping[str, JSON]) -> list[Block]:
    """The lines and the table of an answer."""
    found: list[Block] = sections(markup("• {}", str(line)) for line in answer.get("lines") or ())
    held = answer.get("table")
    if isinstance(held, dict):
        found.append(
            table([str(name) for name in held["columns"]], [[str(cell) for cell in row] for row in held["rows"]])
        )
    return found


def change_button(request: Request) -> Block | None:
    """Under an answer, or under why there is none."""
    ended = request.state in {RequestState.DONE, RequestState.FAILED}
    return button("Change the inputs", CHANGE, request.id) if request.action == ASK and ended else None
