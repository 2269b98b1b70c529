"""The form of a request: whom it will hit, what is still asked for, and the button that names what it does.

Submitting (which is also what Enter does) only previews. The one way to run is the button that names action and person,
whose press carries the form's state along, although Slack calls it no submission.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bot.actions._action import Action, Field, Input
from bot.command import looks_exact
from bot.errors import BadInput
from bot.model import JSON, Person, Request, Target, TargetKind, TenantSettings
from bot.policy import LONGEST_TICKET
from bot.ports import Preview
from handlers.gestures import encodable
from handlers.views import blocks
from handlers.views.blocks import (
    Block,
    Markup,
    View,
    actions,
    button,
    channels_select,
    checkbox,
    code,
    context,
    date_picker,
    divider,
    facts,
    header,
    markup,
    modal,
    number_input,
    option,
    option_group,
    search_select,
    section,
    sections,
    select,
    text_input,
    user_select,
    when,
    with_channels,
)
from handlers.views.wording import first_up, names_it, wish

CALLBACK = "request.form"
RUN = "form.run"
FIND_PERSON = "form.find_person"
CHOOSE_PERSON = "form.choose_person"
FIND_GROUP = "form.find_group"
FIND_LICENSE = "form.find_license"
STEER = "form.steer"

_TARGET = "target"
_SUGGESTED = "suggested"
_REASON = "reason"
_VERIFIED = "verified"
_TICKET = "ticket"
_INPUT = "input:"
_VALUE = "form.value"
_NOTHING = "none"

WAYS_TO_VERIFY: tuple[tuple[str, str], ...] = (
    ("called back", "Called back on the number on file"),
    ("manager confirmed", "Manager confirmed"),
    ("in person", "In person"),
    ("ticket", "Ticket"),
)
"""(what is recorded, what is shown)."""

_LONGEST_REASON = 500


@dataclass(frozen=True)
class Demands:
    """What must be said before this action may run, beside its own inputs."""

    reason: bool
    verified: bool
    ticket: re.Pattern[str] | None

    @classmethod
    def of(cls, action: Action, settings: TenantSettings, ticket_pattern: str | None) -> Demands:
        return cls(
            reason=action.writes and settings.reason_required,
            verified=action.verify_caller and settings.verification_required,
            ticket=re.compile(ticket_pattern) if action.writes and ticket_pattern else None,
        )

    def unmet(self, reason: str, verified: str, ticket: str) -> dict[str, str]:
        """What is missing, by the block to blame."""
        missing = {}
        if self.reason and not reason:
            missing[_REASON] = "Say why, for the audit trail."
        if self.verified and not verified:
            missing[_VERIFIED] = "Say how you made sure who is calling."
        if self.ticket and not (len(ticket) <= LONGEST_TICKET and self.ticket.fullmatch(ticket)):
            missing[_TICKET] = "Give the ticket, as your ticket system writes it."
        return missing


@dataclass(frozen=True)
class Choices:
    """What may be chosen of Latchkey's own: roles and scopes, each as (name, what it is for)."""

    roles: Sequence[tuple[str, str]] = ()
    scopes: Sequence[tuple[str, str]] = ()

    @classmethod
    def needed_for(cls, action: Action) -> bool:
        return any(wanted.field in {Field.ROLE, Field.SCOPE} for wanted in action.asks)


@dataclass(frozen=True)
class Filled:
    """What was filled in. `target` is an object id chosen from a list (of what is Latchkey's own, what would be typed),
    empty if it was not asked for."""

    target: str = ""
    inputs: Mapping[str, JSON] = field(default_factory=dict)
    reason: str = ""
    verified: str = ""
    ticket: str = ""


def needed(request: Request, action: Action, demands: Demands, *, exact: bool) -> bool:
    """Whether *request* cannot go on without a form. *exact*: its target is a UPN, an object id, or already known."""
    if action.missing(request.inputs) or (needs_target(action) and not (request.typed or request.target)):
        return True
    if not action.writes or request.preview:
        return False
    return (
        action.confirm
        or not (exact or action.own)
        or bool(demands.unmet(request.reason, request.verified, request.ticket))
    )


def needs_target(action: Action) -> bool:
    """Whether somebody or something has to be named: what is about Latchkey as a whole needs nobody."""
    return action.about is not TargetKind.TENANT


# --- Build ----------------------------------------------------------------------------------------------------------


def build(
    request: Request,
    action: Action,
    demands: Demands,
    preview: Preview | None,
    *,
    problems: Mapping[str, str] | None = None,
    choices: Choices = Choices(),
    needless: Collection[str] = (),
) -> View:
    """The form as it stands. Without *preview* the person is still being looked up, or still to be chosen; *problems*
    are shown above the button. Inputs that are *needless* are asked for only if something else than usual is given."""
    subject = (preview.person or preview.target) if preview else None
    shown: list[Block] = [
        *(_what(request, action, preview) if action.own else [*_who(request, preview), *_picker(request, preview)]),
        *(
            _ask(wanted, request.inputs.get(wanted.name, wanted.default), choices)
            for wanted in action.asks
            if (wanted.field is not Field.SCOPE or choices.scopes)
            and (wanted.name not in needless or request.inputs.get(wanted.name) not in (None, "", wanted.default))
        ),
        *(_demanded(request, action, demands) if action.writes else []),
        *_effect(preview),
        *context(*(markup(":warning: {}", problem) for problem in (problems or {}).values())),
    ]
    if subject and action.writes:
        style = "danger" if action.confirm and not action.own else "primary"
        shown += [divider(), *actions(button(names_it(action, subject), RUN, request.id, style=style), block_id=RUN)]
    return modal(
        _title(action),
        shown,
        callback_id=CALLBACK,
        about=request.id,
        submit="Preview" if action.writes else "Show",
        close="Cancel",
        tell_when_closed=True,
    )


def _title(action: Action) -> str:
    """The action's title; its name where Slack has no room for that."""
    return action.title if len(action.title) <= blocks.LONGEST_TITLE else first_up(action.name.replace("-", " "))


def _what(request: Request, action: Action, preview: Preview | None) -> list[Block]:
    """What a change of Latchkey itself is about, or the question for it."""
    target = preview.target if preview else None
    if target is not None:
        return [header(first_up(action.phrase.format(target=target.name))), *context(target.detail)]
    if not needs_target(action) or (request.typed and preview is None):
        return [section(Markup(":hourglass_flowing_sand: Looking how it is now …"))]
    if action.about is TargetKind.OPERATOR:
        return [blocks.field("Who", user_select(_VALUE, placeholder="Choose a person"), block_id=_TARGET)]
    asked = text_input(_VALUE, initial=request.typed, longest=_LONGEST_NAME)
    return [blocks.field(_NAMED.get(action.about, "What"), asked, block_id=_TARGET)]


_LONGEST_NAME = 120
_NAMED: Mapping[TargetKind, str] = {
    TargetKind.GROUP: "Group in Microsoft Entra",
    TargetKind.ROLE: "Name of the role",
    TargetKind.SCOPE: "Name of the scope",
}


def _who(request: Request, preview: Preview | None) -> list[Block]:
    if preview is None:
        looking = markup(":hourglass_flowing_sand: Looking up {} …", code(request.typed))
        return [section(looking)] if request.typed else [section("Choose the person first.")]
    if preview.person is None:
        nobody = markup("Nobody was found by exactly {}. Choose from the list.", code(request.typed))
        return [section(nobody if request.typed else Markup("Choose the person first."))]
    return [header(preview.person.name), *facts(_about(preview.person))]


def _about(person: Person) -> list[tuple[str, Markup | str]]:
    return [
        ("Account", person.upn),
        ("Department", person.department or ""),
        ("Job title", person.title or ""),
        ("Manager", person.manager or ""),
        ("Office", person.office or ""),
        ("Last sign-in", when(person.last_sign_in) if person.last_sign_in else "not known"),
        ("Comes from", "on-premises Active Directory, synced" if person.synced else "the cloud"),
        ("Sign-in", "allowed" if person.enabled else "blocked"),
    ]


def _picker(request: Request, preview: Preview | None) -> list[Block]:
    """The lists a person is chosen from, while it is not settled who it is, or where it was settled by choosing."""
    person = preview.person if preview else None
    if request.typed and (preview is None or (person and request.typed != person.id)):
        return []
    chosen = option(person.name, person.id, person.upn) if person else None
    search = search_select(FIND_PERSON, initial=chosen, placeholder="Type a name or an account")
    found: list[Block] = []
    if preview and preview.suggestions:
        near = [option(each.name, each.id, _detail(each)) for each in preview.suggestions]
        menu = select(CHOOSE_PERSON, near, placeholder="Choose")
        found = [blocks.field("Did you mean", menu, block_id=_SUGGESTED, optional=True, tells=True)]
    return [*found, blocks.field("Whom", search, block_id=_TARGET, optional=bool(found), tells=True)]


def _detail(person: Person) -> str:
    return ", ".join(part for part in (person.upn, person.department) if part)


def _ask(wanted: Input, value: JSON, choices: Choices) -> Block:
    label = wanted.label
    given = "" if value is None else str(value)
    match wanted.field:
        case Field.CHECKBOX:
            element = checkbox(_VALUE, "Yes", checked=value is True or given.lower() in {"true", "yes", "on", "1"})
        case Field.NUMBER:
            element = number_input(_VALUE, initial=given, lowest=label.minimum, highest=label.maximum)
        case Field.SELECT:
            action_id = STEER if label.steers else _VALUE
            element = select(action_id, [option(text, value) for value, text in wanted.choices], initial=given)
        case Field.GROUP | Field.LICENSE:
            action_id = FIND_GROUP if wanted.field is Field.GROUP else FIND_LICENSE
            element = search_select(action_id, initial=option(given, given) if given else None, placeholder="Search")
        case Field.CHANNELS:
            element = channels_select(_VALUE, initial=given.split(), placeholder="Choose channels")
        case Field.ROLE:
            element = _menu(choices.roles, given)
        case Field.SCOPE:
            element = _menu(choices.scopes, given)
        case Field.DATE if re.fullmatch(r"\d{4}-\d\d-\d\d|", given, re.ASCII):
            element = date_picker(_VALUE, initial=given, placeholder="Choose a day")
        case Field.DATE:
            element = text_input(_VALUE, initial=given)
        case Field.TEXT:
            element = text_input(_VALUE, initial=given)
    # A box that is not ticked counts as empty, so it is never a required input to Slack.
    optional = not wanted.required or wanted.field is Field.CHECKBOX
    return blocks.field(
        label.text, element, block_id=_INPUT + wanted.name, hint=label.hint, optional=optional, tells=label.steers
    )


def _menu(known: Sequence[tuple[str, str]], given: str) -> Block:
    """A menu of names; what is given and not among them stays as it was typed."""
    if given and given not in (name for name, _ in known):
        return text_input(_VALUE, initial=given)
    return select(_VALUE, [option(name, name, what) for name, what in known], initial=given, placeholder="Choose")


def _demanded(request: Request, action: Action, demands: Demands) -> list[Block]:
    asked = []
    if action.verify_caller:
        ways = select(_VALUE, [option(text, value) for value, text in _ways(request)], initial=request.verified or None)
        label = "How was the caller verified?"
        asked.append(blocks.field(label, ways, block_id=_VERIFIED, optional=not demands.verified))
    reason = text_input(_VALUE, initial=request.reason, longest=_LONGEST_REASON)
    asked.append(blocks.field("Reason", reason, block_id=_REASON, optional=not demands.reason))
    if demands.ticket:
        ticket = text_input(_VALUE, initial=request.ticket, longest=LONGEST_TICKET)
        asked.append(blocks.field("Ticket", ticket, block_id=_TICKET))
    return asked


def _ways(request: Request) -> list[tuple[str, str]]:
    known = {value for value, _ in WAYS_TO_VERIFY}
    typed = [(request.verified, request.verified)] if request.verified and request.verified not in known else []
    return [*WAYS_TO_VERIFY, *typed]


def _effect(preview: Preview | None) -> list[Block]:
    if preview is None:
        return []
    lines = [markup(":warning: {}", warning) for warning in preview.warnings]
    if preview.plan:
        lines += [markup(":warning: {}", note) for note in preview.plan.notes if note not in preview.warnings]
        changes = [_change(what.what, what.before, what.after) for what in preview.plan.changes]
        lines += [Markup("*What will change*"), *changes] if changes else [Markup("Nothing has to be changed.")]
    return sections(lines) if lines else []


def _change(what: str, before: str | None, after: str) -> Markup:
    if before:
        return markup("• {}: {} → *{}*", what, with_channels(before), with_channels(after))
    return markup("• {}: *{}*", what, with_channels(after))


def on_its_way(request: Request, action: Action) -> View:
    """What stands in place of the form once it runs (an app cannot close a form by itself)."""
    words = markup(":hourglass_flowing_sand: {}: on its way. You can close this window.", wish(request, action))
    return modal(action.title, [section(words), *context("How it goes is told where you asked for it.")])


def told(title: str, sentence: str, buttons: Sequence[Block] = ()) -> View:
    """A sentence in place of the form, and what can be done about it."""
    return modal(title, [section(sentence), *actions(*buttons)])


def found(options: Sequence[Target]) -> JSON:
    """The answer to a search, by object id."""
    return {"options": [option(each.name, each.id, each.detail) for each in options[:100]]}


def nothing_to_choose(sentence: str) -> JSON:
    """The answer to a search that says why there is nothing: a group, whose name Slack shows, with no real option."""
    return {"option_groups": [option_group(sentence, [option("…", _NOTHING)])]}


# --- Parse ----------------------------------------------------------------------------------------------------------


def parse(view: Mapping[str, Any], action: Action, before: Mapping[str, JSON] | None = None) -> Filled:
    """What the view's state holds; whatever is not of the expected shape counts as not filled in. Inputs that the form
    did not ask for stay as they were *before*."""
    state = view.get("state")
    values = state.get("values") if isinstance(state, dict) else None
    given = values if isinstance(values, dict) else {}
    inputs = dict(before or {}) | {
        wanted.name: value_in(given, block) for wanted in action.asks if (block := _INPUT + wanted.name) in given
    }
    chosen = value_in(given, _SUGGESTED) or value_in(given, _TARGET)
    return Filled(
        target=_own_target(given) if action.own else _object_id(chosen),
        inputs={name: value for name, value in inputs.items() if value not in (None, "")},
        reason=str(value_in(given, _REASON) or "").strip()[:_LONGEST_REASON],
        verified=str(value_in(given, _VERIFIED) or "").strip()[:100],
        ticket=str(value_in(given, _TICKET) or "").strip()[:100],
    )


def _own_target(given: Mapping[str, Any]) -> str:
    return str(value_in(given, _TARGET) or "").strip()[:_LONGEST_NAME]


def _object_id(value: JSON) -> str:
    return value if isinstance(value, str) and looks_exact(value) else ""


def value_in(values: Mapping[str, Any], block_id: str) -> JSON:
    """What an input of that block holds; None if nothing, or if it is not of the expected shape."""
    block = values.get(block_id)
    element = next(iter(block.values()), None) if isinstance(block, dict) else None
    if not isinstance(element, dict):
        return None
    match element:
        case {"type": "checkboxes", "selected_options": list(ticked)}:
            return bool(ticked)
        case {"selected_option": {"value": str(value)}}:
            return None if value == _NOTHING else encodable(value)
        case {"selected_conversations": list(ids)}:
            return " ".join(map(encodable, ids)) or None
        case {"selected_user": str(user)}:
            return f"@{encodable(user)}"
        case {"selected_date": str(day)}:
            return encodable(day)
        case {"value": str(value)}:
            return encodable(value)
    return None


def nobody_chosen(action: Action) -> dict[str, str]:
    named = action.own and action.about is not TargetKind.OPERATOR
    return {_TARGET: "Fill this in first." if named else "Choose the person first."}


def problems(filled: Filled, action: Action, demands: Demands) -> dict[str, str]:
    """What stands in the way, by the block to blame; empty if it may go on."""
    found = demands.unmet(filled.reason, filled.verified, filled.ticket)
    try:
        action.parse(filled.inputs)
    except BadInput as error:
        blamed = error.field or next((wanted.name for wanted in action.asks), None)
        found[_INPUT + blamed if blamed else _REASON] = str(error)
    return found
