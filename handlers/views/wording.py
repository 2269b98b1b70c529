"""How a request is called in a sentence, and the small lines that several of its messages share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from bot import story
from bot.actions._action import Action
from bot.model import JSON, ApprovalState, Person, Request, RequestState, StepStatus, Target
from handlers.views.blocks import Markup, escape, joined, markup, when


@dataclass(frozen=True)
class Known:
    """What a message needs to know beside its request.

    `by` is the requester's name. `here_because` says why it is not where it was asked for. `maybe_twice` is set when
    Slack may have shown it already. `support` is whom to ask. `data` is what came with the message.
    """

    action: Action | None
    by: str
    here_because: str = ""
    maybe_twice: bool = False
    support: str = ""
    data: Mapping[str, JSON] = field(default_factory=dict)
    decided_by: str = ""
    """Who answered the question for an approval."""
    reviewed_by: str = ""


_BUILT_IN: Mapping[str, str] = {
    "help": "show the help",
    "can": "look up what may be done",
    "audit": "search the audit trail",
    "audit-who": "list who may do what",
    "mode": "show which mode it is",
    "rotate-help": "show the help of the rotation",
    "rotate-history": "show what became of the last rotations",
    "rotate-status": "show how the rotation stands",
    "whatif": "judge a sign-in",
    "whatif-draft": "try a draft of a policy",
    "whatif-help": "show the help of what-if",
    "whatif-matrix": "compare sign-ins",
    "roles-list": "list the roles",
    "roles-who": "list who holds which role",
    "session-status": "show the management session",
    "session-on": "turn the management session on",
    "session-off": "turn the management session off",
    "session-extend": "extend the management session",
}


def whom(request: Request) -> str:
    """The target as far as it is known."""
    return request.target.name if request.target else request.typed or "somebody"


def wish(request: Request, action: Action | None) -> str:
    """What was asked for: *Reset the password of Adele Vance*."""
    phrase = action.phrase.format(target=whom(request)) if action else _BUILT_IN.get(request.action, request.command)
    return first_up(phrase)


def names_it(action: Action, subject: Person | Target) -> str:
    """What the button says that does it: *Reset the password of Adele Vance, Sales*."""
    return first_up(action.phrase.format(target=subject.label if isinstance(subject, Person) else subject.name))


def first_up(text: str) -> str:
    return text[:1].upper() + text[1:]


def bar(request: Request) -> str:
    """A progress bar with its words, empty while no step is known."""
    if not request.steps:
        return ""
    done = sum(step.status is StepStatus.DONE for step in request.steps)
    filled = round(14 * done / len(request.steps))
    return f"`{'█' * filled}{'░' * (14 - filled)}` {done} of {len(request.steps)} steps"


_STATE: Mapping[RequestState, tuple[str, str]] = {
    RequestState.RECEIVED: ("hourglass_flowing_sand", "Working"),
    RequestState.DECIDED: ("hourglass_flowing_sand", "Working"),
    RequestState.READY: ("hourglass_flowing_sand", "Working"),
    RequestState.RUNNING: ("hourglass_flowing_sand", "Working"),
    RequestState.AWAITING_CONFIRMATION: ("raised_hand", "Waiting for you"),
    RequestState.AWAITING_APPROVAL: ("raised_hand", "Waiting for an approval"),
    RequestState.DONE: ("white_check_mark", "Done"),
    RequestState.FAILED: ("x", "Failed"),
    RequestState.UNKNOWN: ("warning", "Not confirmed yet"),
    RequestState.REFUSED: ("no_entry", "Refused"),
    RequestState.EXPIRED: ("alarm_clock", "Expired"),
    RequestState.WITHDRAWN: ("leftwards_arrow_with_hook", "Withdrawn"),
}


def emoji(state: RequestState) -> Markup:
    """A second cue for the eye; the word always stands beside it."""
    return Markup(f":{_STATE[state][0]}:")


def cue(request: Request) -> Markup:
    """The same for how a request ended: what was done is no good news when nobody can use it."""
    unseen = request.answer.get("reveal") in {"expired", "lost"}
    return emoji(RequestState.UNKNOWN if unseen else request.state)


def state_word(state: RequestState) -> str:
    return _STATE[state][1]


def threaded(request: Request) -> bool:
    """Whether the request's steps stand in a thread under its card (for a request that has ended)."""
    ended = request.finished_at or request.started_at or request.created_at
    return any(message.view == "steps" for message in story.messages(request, ended))


def asked_by(request: Request, known: Known) -> Markup:
    """Who asked, why, and how the caller was verified."""
    asked = [markup("Asked by {}", known.by)]
    if known.decided_by and request.approval and request.approval.state is ApprovalState.APPROVED:
        words = "Approved by {} alone" if request.approval.break_glass else "Approved by {}"
        asked.append(markup(words, known.decided_by))
    if request.reason:
        asked.append(markup("Reason: {}", request.reason))
    if request.verified:
        asked.append(markup("Caller verified: {}", request.verified))
    if request.ticket:
        asked.append(markup("Ticket: {}", request.ticket))
    return joined(asked, "  ·  ")


def afterwards(request: Request) -> list[Markup]:
    """What is true once it is done, and what is left to do."""
    lines = request.answer.get("afterwards") or ()
    return [markup("• {}" if len(lines) > 1 else "{}", line) for line in lines]


def notes(request: Request, known: Known) -> list[Markup]:
    """What else is to be known about this message: who saw the secret, why it stands here, whether it may be twice."""
    lines = []
    if revealed := _revealed_at(request):
        lines.append(markup(":lock: Revealed to {} {}", known.by, when(revealed)))
    if known.here_because:
        lines.append(escape(known.here_because))
    if known.maybe_twice:
        lines.append(Markup("Slack did not confirm an earlier line, so this may be said twice."))
    return lines


def _revealed_at(request: Request) -> datetime | None:
    seen = request.answer.get("revealed_at")
    return datetime.fromisoformat(seen) if isinstance(seen, str) else None
