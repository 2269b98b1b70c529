"""The management box of the Home tab, for those who decide about Latchkey: its mode, its identities, its operators."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from bot.actions import catalogue
from bot.actions._own import SETTINGS, shown
from bot.errors import BadInput
from bot.model import JSON, Grant, Mode, Operator, Request, Session, SessionState, SettingsChange
from bot.model import TenantSettings as Settings
from bot.rotation_schedule import described
from bot.rotation_told import RotationNow
from handlers.ports import Holding
from handlers.views import approval, rotation
from handlers.views.blocks import (
    Block,
    Markup,
    actions,
    button,
    channel_link,
    checkbox,
    context,
    divider,
    field,
    header,
    joined,
    markup,
    mention,
    option,
    radio,
    section,
    sections,
    when,
    with_channels,
)
from handlers.views.wording import Known, wish

SAVE = "management.save"
SET_UP = "management.set_up"
CHANGE = "management.settings"
GRANT = "management.grant"
REVOKE = "management.revoke"
DEFINE = "management.define"

SWITCH: Final = "switch-mode"
"""The action that *Save* asks for."""

ASKS_FOR: Final[Mapping[str, str]] = {
    SET_UP: "set-up-identity",
    CHANGE: "change-settings",
    GRANT: "grant-role",
    REVOKE: "revoke-role",
    DEFINE: "define-role",
    **rotation.ASKS_FOR,
}
"""Each other button, and the action whose form it opens."""

OPERATORS: Final = 20
"""How many operators are listed; `/m365-roles who` tells of the others."""

_REVIEWS: Final = 5
_OPEN: Final = 10
_MODE = "management.mode:"
_AUTO = "management.auto:"
_VALUE = "management.value"

_MODES: Final = (
    (Mode.DEFAULT, "Default", "Operators sign in with administrator accounts of their own"),
    (Mode.ADVANCED, "Advanced", "Latchkey works with an account of its own"),
)


@dataclass(frozen=True)
class Facts:
    """What the box shows. `session` is the tenant's own; `bot_identity` says what is wrong with the identity that only
    reads, empty if nothing is. `may` names the actions of Latchkey's own that this person may ask for, `elsewhere` the
    requests that stand on the tab already, by their ids."""

    settings: Settings
    session: Session
    bot_identity: str
    open: Sequence[tuple[Request, Known]]
    reviews: Sequence[tuple[Request, Known]]
    operators: Sequence[Holding]
    may: Collection[str]
    now: datetime
    elsewhere: Collection[str] = ()
    rotation: RotationNow | None = None
    """None if it is not known just now."""


def build(facts: Facts) -> list[Block]:
    """The box. What it was made from travels in the ids of its blocks, which Slack gives back with each press."""
    return [
        divider(),
        header("Management"),
        *_mode(facts),
        section(Markup("*Identities*")),
        *sections(_identities(facts)),
        *_buttons(facts, (SET_UP, f"Set up {'another' if facts.settings.identity_id else 'the'} service identity …")),
        *rotation.tile(facts.rotation, facts.may),
        *_open([each for each in facts.open if each[0].id not in facts.elsewhere]),
        *_reviews(facts.reviews),
        section(Markup("*Settings*")),
        *sections(_settings(facts.settings)),
        *_buttons(facts, (CHANGE, "Change settings …")),
        section(markup("*Operators and what they hold* ({})", len(facts.operators))),
        *_operators(facts),
        *_buttons(facts, (GRANT, "Grant …"), (REVOKE, "Revoke …"), (DEFINE, "New role …")),
    ]


def _buttons(facts: Facts, *offered: tuple[str, str]) -> list[Block]:
    return actions(*(button(text, name, ASKS_FOR[name]) for name, text in offered if ASKS_FOR[name] in facts.may))


# --- The mode -------------------------------------------------------------------------------------------------------


def _mode(facts: Facts) -> list[Block]:
    version, settings = str(facts.settings.version), facts.settings
    modes = radio(_VALUE, [option(text, mode.value, why) for mode, text, why in _MODES], initial=settings.mode.value)
    opens = checkbox(_VALUE, "Open the session by itself when an action needs it", checked=settings.auto_enable)
    asked = next(((request, known) for request, known in facts.open if request.action == SWITCH), None)
    note = "Saving asks another tenant admin to approve; nothing is switched before that."
    return [
        field("Mode", modes, block_id=_MODE + version),
        field("Auto-enable (Advanced mode)", opens, block_id=_AUTO + version, optional=True),
        *context(_asked_already(*asked) if asked else note),
        *actions(button("Save", SAVE, version, style="primary", spoken="Save the mode")),
    ]


@dataclass(frozen=True)
class Chosen:
    """What stood in the box when *Save* was pressed, and the version of the settings it was made from."""

    version: int
    inputs: Mapping[str, JSON]


def chosen(view: Mapping[str, Any]) -> Chosen:
    """What was chosen. Raises `BadInput` where no mode was, and for a view of any other shape."""
    match view.get("state"):
        case {"values": dict(values)}:
            for block_id, fields in values.items():
                version = str(block_id).removeprefix(_MODE)
                if block_id != version and version.isdecimal() and isinstance(fields, dict):
                    inputs = {"to": _mode_in(fields), "auto_enable": _auto_in(values.get(_AUTO + version))}
                    return Chosen(int(version[:9]), inputs)
    raise BadInput("Latchkey cannot read what was chosen. Open the Home tab again.")


def _mode_in(fields: Mapping[str, Any]) -> str:
    match fields.get(_VALUE):
        case {"selected_option": {"value": str(value)}} if value in {mode.value for mode, _, _ in _MODES}:
            return value
    raise BadInput("Choose a mode first, then save.")


def _auto_in(fields: Any) -> str:
    match fields:
        case {**elements}:
            match elements.get(_VALUE):
                case {"selected_options": list(ticked)}:
                    return "on" if ticked else "off"
    raise BadInput("Latchkey cannot read what was chosen. Open the Home tab again.")


def is_so_already(settings: Settings, wanted: Chosen) -> bool:
    """Whether nothing would change."""
    return wanted.inputs == {"to": settings.mode.value, "auto_enable": "on" if settings.auto_enable else "off"}


def changed_meanwhile(changes: Sequence[tuple[str, SettingsChange]]) -> Markup:
    """What became different after the box was drawn, and by whom: nothing was asked for."""
    told = [
        markup("{} changed this {}: {}.", by, when(change.at), _difference(change) or "nothing that shows")
        for by, change in changes
    ]
    return joined([*told, Markup("So nothing was asked for. The Home tab shows how it is now.")], "\n")


def asked_already(request: Request, known: Known) -> Markup:
    """Somebody else saved before, and that waits for an answer."""
    return joined(
        [
            _asked_already(request, known),
            Markup("So nothing was asked for a second time: that one has to be answered or withdrawn first."),
        ],
        "\n",
    )


def _asked_already(request: Request, known: Known) -> Markup:
    mode = str(request.inputs.get("to") or "").capitalize()
    return markup(
        ":raised_hand: {} asked {}: {}{}. It is not done yet.",
        known.by,
        when(request.created_at),
        wish(request, known.action),
        markup(" ({})", mode) if mode else "",
    )


def _difference(change: SettingsChange) -> Markup:
    lines = [
        markup("{}: {} → {}", SETTINGS[name], with_channels(shown(before, name)), with_channels(shown(after, name)))
        for name, (before, after) in change.changed.items()
        if name in SETTINGS
    ]
    return joined(lines, "; ")


# --- The identities, and what waits ---------------------------------------------------------------------------------


def _identities(facts: Facts) -> list[Markup]:
    lines = [_service_identity(facts.settings, facts.session)]
    if facts.bot_identity:
        lines.append(markup(":warning: Bot identity: {}", facts.bot_identity))
    else:
        lines.append(Markup(":large_green_circle: Bot identity: it reads the directory."))
    return lines


def _service_identity(settings: Settings, session: Session) -> Markup:
    if settings.identity_kind is None or settings.identity_id is None:
        return Markup(":white_circle: Service identity: none is set up yet.")
    who = markup("{} ({})", settings.identity_name or settings.identity_id, settings.identity_kind.replace("-", " "))
    if settings.mode is not Mode.ADVANCED:
        return markup(":white_circle: Service identity: {}. It rests while the mode is not Advanced.", who)
    last = markup("It signed in last {}.", when(session.opened_at)) if session.opened_at else Markup("")
    same = session.identity is not None and session.identity.id == settings.identity_id
    match session.state:
        case SessionState.ON if same:
            return markup(":large_green_circle: Service identity: {}. {}", who, last)
        case SessionState.DEGRADED:
            words = markup(":warning: Service identity: {}. It could not sign in: {}", who, session.why or "")
            return joined([words, last if same else ""], " ")
    never = Markup("It has not signed in yet.")
    return markup(":white_circle: Service identity: {}. {}", who, last if same and last else never)


def _open(waiting: Sequence[tuple[Request, Known]]) -> list[Block]:
    if not waiting:
        return []
    lines = [
        markup("• {}: asked by {} {}", wish(request, known.action), known.by, when(request.created_at))
        for request, known in waiting[:_OPEN]
    ]
    if len(waiting) > _OPEN:
        lines.append(markup("… and {} more", len(waiting) - _OPEN))
    return [section(markup("*Open approvals* ({})", len(waiting))), *sections(lines)]


def _reviews(reviews: Sequence[tuple[Request, Known]]) -> list[Block]:
    if not reviews:
        return []
    shown = [block for request, known in reviews[:_REVIEWS] for block in approval.alone_at_home(request, known)]
    more = f"… and {len(reviews) - _REVIEWS} more to review." if len(reviews) > _REVIEWS else ""
    return [section(Markup("*To be reviewed*")), *shown, *context(more)]


# --- The settings, and who may do what ------------------------------------------------------------------------------


def _settings(settings: Settings) -> list[Markup]:
    places = joined([channel_link(channel) for channel in settings.work_channels], ", ")
    return [
        markup("Work channels: {}", places or "every internal channel that Latchkey is in"),
        markup("A reason is demanded: {}", _yes(settings.reason_required)),
        markup("How the caller was verified is demanded: {}", _yes(settings.verification_required)),
        markup(
            "A session ends {} after its last use, and {} after it was opened.",
            _long(settings.idle_minutes),
            _long(settings.absolute_minutes),
        ),
        markup("The audit trail is kept for {} days.", settings.retention_days),
        markup("The password Latchkey works with is changed {}.", described(settings)),
    ]


def _long(minutes: int) -> str:
    hours, odd = divmod(minutes, 60)
    if odd or not hours:
        return "1 minute" if minutes == 1 else f"{minutes} minutes"
    return "1 hour" if hours == 1 else f"{hours} hours"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _operators(facts: Facts) -> list[Block]:
    holders = [(each, [grant for grant in each.grants if _counts(grant, facts.now)]) for each in facts.operators]
    # Who holds something first: those whose grants have ended are of interest to nobody in a hurry.
    ordered = sorted(holders, key=lambda held: not held[1])
    lines = [markup("• {}: {}", _person(each.operator), _held(grants)) for each, grants in ordered[:OPERATORS]]
    more = max(0, len(ordered) - OPERATORS)
    return [*sections(lines), *context(Markup(f"and {more} more: `/m365-roles who`") if more else "")]


def _counts(grant: Grant, now: datetime) -> bool:
    return grant.expires_at is None or grant.expires_at > now


def _person(operator: Operator) -> Markup:
    notes = [
        "suspended" if operator.suspended else "",
        "no Microsoft account linked" if operator.account_id is None else "",
    ]
    noted = ", ".join(note for note in notes if note)
    name = markup("*{}*", operator.name or operator.upn or mention(operator.slack.user))
    return markup("{} ({})", name, noted) if noted else name


def _held(grants: Sequence[Grant]) -> Markup:
    return joined([_grant(grant) for grant in grants], ", ") or Markup("nothing")


def _grant(grant: Grant) -> Markup:
    limits = joined(
        [
            markup("for {}", grant.scope.name) if grant.scope else "",
            markup("until {}", when(grant.expires_at)) if grant.expires_at else "",
            "follows a group" if grant.via else "",
        ],
        ", ",
    )
    return markup("{} ({})", grant.role, limits) if limits else markup("{}", grant.role)


def askable() -> Collection[str]:
    """The actions that the box has buttons for, as far as there are such actions."""
    return {SWITCH, *ASKS_FOR.values()} & catalogue().keys()
