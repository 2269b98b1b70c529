"""The Home tab: the management session, what this person may do and why not the rest, and their recent requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bot.actions._action import Action
from bot.model import Mode, Request, Session, SessionState
from handlers.views.blocks import (
    Block,
    Markup,
    View,
    actions,
    button,
    context,
    divider,
    header,
    home_tab,
    joined,
    markup,
    section,
    sections,
    when,
)
from handlers.views.help import commands
from handlers.views.wording import emoji, state_word, wish

TURN_ON = "session.on"
TURN_OFF = "session.off"
EXTEND = "session.extend"


@dataclass(frozen=True)
class HomeFacts:
    """What the Home tab of one person shows. `may` are rows of (command, title, why not)."""

    session: Session
    may: Sequence[tuple[str, str, str]]
    recent: Sequence[tuple[Request, Action | None]]
    support: str


def build(facts: HomeFacts) -> View:
    return home_tab(
        [
            header("Management session"),
            *_session(facts.session),
            divider(),
            header("What you may do"),
            *commands(facts.may),
            divider(),
            header("Your recent requests"),
            *_recent(facts.recent),
            *context(markup("Questions? Ask {}. `/m365 help` shows the commands anywhere.", facts.support)),
        ]
    )


def closed(support: str) -> View:
    """For somebody who may not use the bot: nothing about the tenant, and whom to ask."""
    return home_tab(
        [
            header("Latchkey"),
            section("Latchkey runs approved Microsoft 365 administration for the help desk of this workspace."),
            *context(markup("You are not set up to use it. Ask {}.", support)),
        ]
    )


def _session(session: Session) -> list[Block]:
    """Its state, and the buttons that make sense in it. Who may press them is decided at the press."""
    if session.mode is Mode.NONE:
        return [section("Latchkey is not set up yet.")]
    match session.state:
        case SessionState.ON:
            until = when(session.on_until) if session.on_until else "further notice"
            acts_as = markup("Acts as {}.", session.identity.name) if session.identity else Markup("")
            words = joined([markup(":large_green_circle: *On* until {}.", until), acts_as], " ")
            offered = [button("Extend", EXTEND, "session"), button("Turn off", TURN_OFF, "session", style="danger")]
        case SessionState.ENABLING | SessionState.SWITCHING:
            words, offered = Markup(":hourglass_flowing_sand: *Being opened.*"), []
        case SessionState.DEGRADED:
            words = markup(":warning: *Could not be opened.* {}", session.why or "")
            offered = [button("Turn on", TURN_ON, "session", style="primary")]
        case SessionState.OFF:
            words = markup(":white_circle: *Off.* It opens by itself when an action needs it.")
            offered = [button("Turn on", TURN_ON, "session", style="primary")]
    return [section(words), *actions(*offered)]


def _recent(recent: Sequence[tuple[Request, Action | None]]) -> list[Block]:
    if not recent:
        return [section("None yet.")]
    return sections(
        joined(
            [
                markup("{} *{}*: {}", emoji(request.state), wish(request, action), state_word(request.state)),
                when(request.created_at),
                request.sentence,
            ],
            "  ·  ",
        )
        for request, action in recent
    )
