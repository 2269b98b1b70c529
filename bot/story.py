"""Which messages a request should have in Slack now: pure, so that a restart can say the same again."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from bot.model import Request, RequestState
from bot.ports import Audience, Message

AT_ONCE: Final = timedelta(seconds=3)
"""A request that ends sooner than this is one message, already final; a longer one gets a bar and its thread."""

EARLIER: Final = "earlier"
"""Where a request's answer keeps [state, sentence] of the line that had ended its thread, once there are news: that
line stays as it was, and the news are a line of their own, because an edited one notifies nobody."""

WORTH_A_MENTION: Final = timedelta(seconds=30)
"""Who waited longer than this is mentioned when it ends."""


def messages(request: Request, now: datetime) -> list[Message]:
    """The messages of *request*, each under a key of its own, so that saying them again rewrites them.

    Before it is confirmed, and for everything that only reads, what it says is for the requester alone. From
    `started_at` on it has a card in the channel. The card has a thread (steps, closing line) when a session had to be
    opened for it or when it takes longer than `AT_ONCE`.
    """
    if request.started_at is None:
        return [] if request.form or not _says_something(request) else [_private(request)]
    ended = request.state.final or request.state is RequestState.UNKNOWN
    elapsed = (request.finished_at or now) - request.started_at
    threaded = request.opened_session or elapsed > AT_ONCE
    card = f"card:{request.id}"
    told = [
        Message(card, "card", request.id, after=None if ended or threaded else request.started_at + AT_ONCE),
    ]
    if threaded:
        told.append(Message(f"steps:{request.id}", "steps", request.id, under=card))
    if ended and threaded and (_wants_a_reader(request) or elapsed > WORTH_A_MENTION or request.opened_session):
        told.append(Message(f"closing:{request.id}", "closing", request.id, under=card))
        if request.answer.get(EARLIER):
            told.append(Message(f"news:{request.id}", "news", request.id, under=card))
    return told


def has_closed(request: Request) -> bool:
    """Whether a line that ends its thread stands in Slack, or is on its way there."""
    ended = request.finished_at or request.created_at
    return any(message.view == "closing" for message in messages(request, ended))


def unseen(done: str, why: str, whom: str) -> str:
    """What to say when a secret is gone that nobody has seen: *The password of Adele Vance was reset, but ...*."""
    return f"{done}, but {why}. It cannot be shown any more, so {whom} cannot sign in with it."


def _says_something(request: Request) -> bool:
    return request.state.final or request.state is RequestState.AWAITING_CONFIRMATION


def _wants_a_reader(request: Request) -> bool:
    return request.state is not RequestState.DONE or "reveal" in request.answer


def _private(request: Request) -> Message:
    # What waits without a question waits for its form, which is not open.
    view = "answer" if request.sentence or request.state.final else "continue"
    return Message(f"{view}:{request.id}", view, request.id, audience=Audience.REQUESTER)
