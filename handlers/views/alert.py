"""The card of an alert, and the lines in its thread: what is wrong, what it means, what comes next, what to press."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from bot.model import JSON, Severity, Trouble
from handlers.views.blocks import (
    Block,
    Markup,
    Said,
    actions,
    button,
    confirmed,
    context,
    facts,
    joined,
    markup,
    mention,
    said,
    section,
    when,
)
from handlers.views.wording import Known

ACKNOWLEDGE: Final = "alert.acknowledge"
RETRY: Final = "alert.retry"
ROLL_BACK: Final = "alert.roll_back"
RESET: Final = "alert.reset"

OFFERS: Final[Mapping[str, str]] = {
    "retry": "Retry now",
    "roll-back": "Roll back",
    "reset": "Reset with an administrator's sign-in",
}
"""What a button that is offered says."""

_TWICE: Final = Markup("Slack did not confirm an earlier message, so this may be said twice.")

_SEVERITY: Final[Mapping[Severity, tuple[Markup, str]]] = {
    Severity.ATTENTION: (Markup(":large_yellow_circle:"), "Attention"),
    Severity.SESSIONS_STOP: (Markup(":red_circle:"), "Sessions will stop"),
}
"""A sign and the word beside it."""

_WAS: Final[Mapping[str, str]] = {
    "account": "the account that Latchkey works with could not sign in.",
    "audit": "the audit trail was found not to be sound.",
    "certificate": "the certificate was near its end.",
    "drill": "a rotation had failed.",
    "emergency": "somebody had changed rights at the command line.",
    "password-changed-elsewhere": "somebody else had changed what Latchkey signs in with.",
    "policy": "Microsoft Entra did not let Latchkey sign in.",
    "roles": "the directory roles of what Latchkey works with had been changed.",
    "rotation": "a rotation had failed.",
    "secret-old": "what Latchkey signs in with was too old.",
    "vault": "Key Vault did not give what Latchkey signs in with.",
}
"""What an incident of a kind was, once it is over."""


def card(known: Known) -> Said:
    """One incident, as it is now."""
    data = known.data
    trouble = Trouble.from_json(data["trouble"])
    sign, word = _SEVERITY[trouble.severity]
    drill = Markup("DRILL. " if trouble.drill else "")
    closed, acknowledged = _time(data["closed_at"]), _time(data["acknowledged_at"])
    if closed is not None:
        title = markup("{}:white_check_mark: *Over:* {}", drill, _what_was(trouble))
        state = _over(data, closed)
        sentence = markup("{}Over: {} {}", drill, _what_was(trouble), state)
    else:
        following = _next(trouble.next_at) if trouble.next_at else ""
        title = joined([markup("{}{} *{}:* *{}*", drill, sign, word, _headline(trouble, word)), following], " ")
        state = Markup("")
        if acknowledged is not None:
            state = markup(":eyes: {} acknowledged this {}.", data["acknowledged_by"], when(acknowledged))
        first = markup("{}{}: {}", drill, word, _headline(trouble, word))
        sentence = joined([first, following, trouble.why], " ")
    is_open = closed is None
    called = _mentions(data["mention"])
    blocks = [
        section(joined([title, called], " ")),
        *([section(trouble.why)] if trouble.why and is_open else []),
        *(facts([(label, value) for label, value in trouble.facts]) if is_open else []),
        *([section(state)] if state else []),
        *context(*_notes(data, trouble, is_open=is_open)),
        *(_buttons(data, trouble, acknowledge=acknowledged is None) if is_open else []),
        *(context(_TWICE) if known.maybe_twice else []),
    ]
    return said(joined([sentence, called], " "), blocks)


def line(known: Known) -> Said:
    """One line of its history."""
    data = known.data
    trouble, at = Trouble.from_json(data["trouble"]), datetime.fromisoformat(str(data["at"]))
    words = _line(data, trouble, at)
    if trouble.drill:
        words = markup("DRILL. {}", words)
    words = joined([words, _mentions(data["mention"])], " ")
    return said(words, [section(words), *(context(_TWICE) if known.maybe_twice else [])])


def _line(data: Mapping[str, JSON], trouble: Trouble, at: datetime) -> Markup:
    sign, word = _SEVERITY[trouble.severity]
    headline, following = _headline(trouble, word), _next(trouble.next_at) if trouble.next_at else Markup("")
    match data["what"]:
        case "again":
            return joined([Markup(":repeat: Tried again, with the same result."), following], " ")
        case "repeat":
            still = lasted(at - datetime.fromisoformat(str(data["opened_at"])))
            words = markup(":alarm_clock: *Still open after {}:* {}", still, headline)
            return joined([words, "Nobody has acknowledged it yet.", following], " ")
        case "risen":
            return joined(
                [markup("{} *It has become worse. {}:* {}", sign, word, headline), trouble.why, following], " "
            )
        case "back":
            return joined([markup("{} *It is back.* {}", sign, headline), trouble.why, following], " ")
        case "acknowledged":
            return markup(":eyes: {} acknowledged this. It is not repeated any more.", data["acknowledged_by"])
        case "asked":
            return markup(":point_right: {} pressed *{}*.", data["by"], OFFERS.get(str(data["offer"]), ""))
        case "closed":
            return markup(":white_check_mark: *Over.* {}", _over(data, at))
    return joined([markup("{} {}: {}", sign, word, headline), trouble.why, following], " ")


def _headline(trouble: Trouble, word: str) -> str:
    """The first line, without the word that stands before it already."""
    bare = trouble.headline.removeprefix(f"{word}: ")
    return bare[:1].upper() + bare[1:]


def _what_was(trouble: Trouble) -> str:
    """What is over now, in a sentence. The headline says how things are while it lasts."""
    return _WAS.get(trouble.kind, trouble.headline)


def _over(data: Mapping[str, JSON], closed: datetime) -> Markup:
    opened = datetime.fromisoformat(str(data["opened_at"]))
    words = markup("It lasted {}, from {} to {}.", lasted(closed - opened), when(opened), when(closed))
    return joined([str(data["how"]), words], " ")


def _next(at: datetime) -> Markup:
    return markup("Next try {}.", when(at))


def _notes(data: Mapping[str, JSON], trouble: Trouble, *, is_open: bool) -> list[Markup]:
    notes = []
    if is_open:
        notes.append(markup("Since {}", when(datetime.fromisoformat(str(data["opened_at"])))))
    else:
        notes.append(joined(["While it lasted this said:", trouble.headline, trouble.why], " "))
        if data["acknowledged_by"]:
            at = _time(data["acknowledged_at"])
            notes.append(markup("Acknowledged by {} {}", data["acknowledged_by"], when(at) if at else ""))
    if data["misplaced"]:
        notes.append(markup("You are told here because of the alerts channel: {}", data["misplaced"]))
    if data["page_problem"]:
        again = _time(data["page_at"])
        more = markup(" It is tried again {}.", when(again)) if again else Markup("")
        notes.append(
            markup(":warning: The webhook that wakes people was not reached: {}{}", data["page_problem"], more)
        )
    return notes


def _buttons(data: Mapping[str, JSON], trouble: Trouble, *, acknowledge: bool) -> list[Block]:
    alert = str(data["alert"])
    action_ids = {"retry": RETRY, "roll-back": ROLL_BACK, "reset": RESET}
    offered = {offer: button(OFFERS[offer], action_ids[offer], alert) for offer in trouble.offers if offer in OFFERS}
    if "retry" in offered:
        offered["retry"]["style"] = "primary"
    if "roll-back" in offered:
        offered["roll-back"] = confirmed(
            offered["roll-back"],
            title="Roll back?",
            text="The password in force stays, and the new one is used no more, unless Microsoft has it already.",
            yes="Roll back",
            no="Leave it",
        )
    seen = button("Acknowledge", ACKNOWLEDGE, alert, spoken=f"Acknowledge: {trouble.headline}")
    return actions(*offered.values(), seen if acknowledge else None, block_id=f"alert:{alert}")


_GROUP: Final = re.compile(r"S[A-Z0-9]{1,30}", re.ASCII)


def _mentions(ids: Sequence[str]) -> Markup:
    """Whom the message is to notify. These come from the settings and our own rows, never from outside."""
    return joined([_mentioned(each) for each in ids], " ")


def _mentioned(whom: str) -> Markup:
    if whom == "here":
        return Markup("<!here>")
    return Markup(f"<!subteam^{whom}>") if _GROUP.fullmatch(whom) else mention(whom)


def lasted(time: timedelta) -> str:
    """A duration in words: *2 h 10 min*."""
    minutes = int(time.total_seconds()) // 60
    if minutes < 1:
        return "less than a minute"
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        parts = [f"{days} {'day' if days == 1 else 'days'}", f"{hours} h" if hours else ""]
    else:
        parts = [f"{hours} h" if hours else "", f"{minutes} min" if minutes else ""]
    return " ".join(filter(None, parts))


def _time(text: Any) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None
