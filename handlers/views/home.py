"""The Home tab: the management session, what waits for this person, what they asked for, may do, and why not the rest;
for those who decide about Latchkey also the management box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bot.actions._action import Action
from bot.model import Mode, Request, Session, SessionState
from handlers.views import approval, management
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
from handlers.views.wording import Known, emoji, first_up, state_word, whom, wish

TURN_ON = "session.on"
TURN_OFF = "session.off"
EXTEND = "session.extend"
DO_SOMETHING = "home.do_something"

_WAITING: Final = 5

_NOT_LINKED: Final = Markup(
    ":link: *Your Microsoft account is not linked yet*, so you may look things up but not change anything. Type "
    "`/m365 link` to link it."
)


@dataclass(frozen=True)
class HomeFacts:
    """What the Home tab of one person shows. `may` are rows of (command, title, why not); `waiting` is what this person
    may decide on, `done` what they changed in the session that is on, or in the last one. `management` is None for
    those who do not decide about Latchkey. `does_something`: there is an action for them to choose; `switches`: they
    may turn the session on and off; `linked`: their Microsoft account is known."""

    session: Session
    may: Sequence[tuple[str, str, str]]
    recent: Sequence[tuple[Request, Action | None]]
    support: str
    auto_enable: bool = True
    waiting: Sequence[tuple[Request, Known]] = ()
    done: Sequence[tuple[Request, Action | None]] = ()
    management: management.Facts | None = None
    does_something: bool = True
    switches: bool = True
    linked: bool = True


def build(facts: HomeFacts) -> View:
    return home_tab(
        [
            *actions(button("Do something …", DO_SOMETHING, "home", style="primary") if facts.does_something else None),
            *([] if facts.linked else [section(_NOT_LINKED)]),
            header("Management session"),
            *_session(facts),
            *_waiting(facts.waiting),
            *(management.build(facts.management) if facts.management else []),
            divider(),
            header("Your recent requests"),
            *_recent(facts.recent),
            *_done(facts),
            divider(),
            header("What you may do"),
            *commands(facts.may, heading=""),
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


def _session(facts: HomeFacts) -> list[Block]:
    """Its state, and the buttons that make sense in it. Who may press them is decided at the press."""
    session, own = facts.session, facts.session.mode is Mode.DEFAULT
    if session.mode is Mode.NONE:
        todo = Markup("Choose a mode below and press *Save*.") if facts.management else markup("Ask {}.", facts.support)
        return [section(markup("Latchkey is not set up yet. {}", todo))]
    turn_on = button("Sign in at Microsoft" if own else "Turn on", TURN_ON, "session", style="primary")
    match session.state:
        case SessionState.ON:
            until = when(session.on_until) if session.on_until else "further notice"
            acts_as = markup("Acts as {}.", session.identity.name) if session.identity else Markup("")
            whose = Markup("It is yours alone.") if own else ""
            words = joined([markup(":large_green_circle: *On* until {}.", until), acts_as, whose], " ")
            offered = [button("Extend", EXTEND, "session"), button("Turn off", TURN_OFF, "session", style="danger")]
        case SessionState.ENABLING:
            words, offered = Markup(":hourglass_flowing_sand: *Being opened.*"), []
        case SessionState.SWITCHING:
            words, offered = Markup(":hourglass_flowing_sand: *Being switched to another mode.*"), []
        case SessionState.DEGRADED:
            words = markup(":warning: *Could not be opened.* {}", session.why or "")
            offered = [turn_on]
        case SessionState.OFF:
            words = markup(":white_circle: *Off.* {}", _opens(facts))
            offered = [turn_on]
    return [section(words), *(actions(*offered) if facts.switches else [])]


def _opens(facts: HomeFacts) -> str:
    if facts.session.mode is Mode.DEFAULT:
        return "It opens when you sign in at Microsoft, with your own administrator account."
    if not facts.auto_enable:
        return "It opens when somebody turns it on."
    return "It opens by itself when an action needs it."


def _waiting(waiting: Sequence[tuple[Request, Known]]) -> list[Block]:
    if not waiting:
        return []
    shown = [block for request, known in waiting[:_WAITING] for block in approval.at_home(request, known)]
    more = len(waiting) - _WAITING
    return [
        divider(),
        header("Waiting for your decision"),
        *shown,
        *context(f"… and {more} more, each on its card." if more > 0 else ""),
    ]


def _done(facts: HomeFacts) -> list[Block]:
    if not facts.done:
        return []
    now = facts.session.state is SessionState.ON and facts.session.holds(facts.done[0][0])
    title = "*What you changed in this session*" if now else "*What you changed in the last session*"
    lines = [
        joined([markup("• {}", wish(request, action)), when(request.finished_at or request.created_at)], "  ·  ")
        for request, action in facts.done
    ]
    return sections([Markup(title), *lines])


def _says_it_all(request: Request, action: Action | None) -> bool:
    """Whether there is no more to say than that it is done."""
    return action is not None and request.sentence.rstrip(".") == first_up(action.done.format(target=whom(request)))


def _recent(recent: Sequence[tuple[Request, Action | None]]) -> list[Block]:
    if not recent:
        return [section("None yet.")]
    return sections(
        joined(
            [
                markup("{} *{}*: {}", emoji(request.state), wish(request, action), state_word(request.state)),
                when(request.created_at),
                "" if _says_it_all(request, action) else request.sentence,
            ],
            "  ·  ",
        )
        for request, action in recent
    )
