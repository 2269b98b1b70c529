"""Which messages a request should have in Slack now: pure, so that a restart can say the same again."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from bot.model import Approval, ApprovalState, Request, RequestState
from bot.obstacle import Obstacle, Phase
from bot.ports import Audience, Message

AT_ONCE: Final = timedelta(seconds=3)
"""A request that ends sooner than this is one message, already final; a longer one gets a bar and its thread."""

EARLIER: Final = "earlier"
"""Where a request's answer keeps [state, sentence] of the line that had ended its thread, once there are news: that
line stays as it was, and the news are a line of their own, because an edited one notifies nobody."""

ASKED_FOR: Final = "asked_for"
"""Where the answer of a request under way again says that a person asked for it: nothing was interrupted."""

WORTH_A_MENTION: Final = timedelta(seconds=30)
"""Who waited longer than this is mentioned when it ends."""


def messages(request: Request, now: datetime) -> list[Message]:
    """The messages of *request*, each under a key of its own, so that saying them again rewrites them.

    Before it is confirmed, and for everything that only reads, what it says is for the requester alone. From
    `started_at` on it has a card in the channel. The card has a thread (steps, closing line) when a session had to be
    opened for it or when it takes longer than `AT_ONCE`.
    """
    if request.started_at is None:
        if blocked := _blocked(request):
            return blocked  # that it failed was said before, and what is said in private cannot be rewritten
        return [] if request.form or not _says_something(request) else [_private(request)]
    ended = request.state.final or request.state is RequestState.UNKNOWN
    elapsed = (request.finished_at or now) - request.started_at
    waits = request.approval is not None  # for other people, which takes as long as it takes
    threaded = request.opened_session or waits or elapsed > AT_ONCE or _has_several_steps(request)
    card = f"card:{request.id}"
    told = [
        Message(card, "card", request.id, after=None if ended or threaded else request.started_at + AT_ONCE),
    ]
    if threaded:
        told.append(Message(f"steps:{request.id}", "steps", request.id, under=card))
    if request.state is RequestState.AWAITING_CONFIRMATION and request.answer.get("sign_in") and waits:
        told.append(Message(f"wanted:{request.id}", "wanted", request.id, under=card))
    if ended and threaded and (_wants_a_reader(request) or elapsed > WORTH_A_MENTION or request.opened_session):
        told.append(Message(f"closing:{request.id}", "closing", request.id, under=card))
        if request.answer.get(EARLIER):
            told.append(Message(f"news:{request.id}", "news", request.id, under=card))
    return told + _blocked(request, under=card) + _approvals(request)


def question(request: Request, approval: Approval) -> Message:
    """The card that asks somebody else to agree, and later says who did."""
    settled = approval.state is not ApprovalState.PENDING
    about = {"channel": approval.channel, "approval": approval.id, "settled": settled}
    return Message(f"approval:{approval.id}", "approval", request.id, audience=Audience.CHANNEL, data=about)


def _approvals(request: Request) -> list[Message]:
    """What the approvals channel should have: the question, its reminders, and an alert when the glass was broken."""
    approval = request.approval
    if approval is None:
        return []
    card = question(request, approval)
    waits = approval.state is ApprovalState.PENDING
    told = [card]
    # A reminder is a line of its own, because an edited one notifies nobody; once it is settled, each says so.
    for number in range(max(approval.reminders, 1) if waits else 1, approval.reminders + 1):
        key = f"reminder:{approval.id}:{number}"
        told.append(replace(card, key=key, view="reminder", under=card.key))
    if approval.break_glass:
        told.append(alert(request, approval))
    return told


def _blocked(request: Request, *, under: str | None = None) -> list[Message]:
    """What stood in the way of its management session, once that is known: in its thread, or where it was asked for,
    for those who can do something about it."""
    obstacle = Obstacle.of(request)
    if obstacle is None or obstacle.phase is Phase.LOOKING:
        return []
    return [Message(f"blocked:{request.id}", "blocked", request.id, under=under)]


def superseded(request: Request) -> list[Message]:
    """What the approvals channel has of the question that was asked before *request* asks anew."""
    approval = request.approval
    if approval is None:
        return []
    card = question(request, approval)
    return [card, *([alert(request, approval)] if approval.break_glass else [])]


def alert(request: Request, approval: Approval, *, to: str = "") -> Message:
    """Tells that somebody agreed to their own request: in the approvals channel, or *to* somebody in person."""
    about = {"channel": to or approval.channel, "approval": approval.id, "settled": True}
    key = ":".join(filter(None, ("alone", approval.id, to)))
    return Message(key, "alone", request.id, audience=Audience.CHANNEL, data=about)


def has_closed(request: Request) -> bool:
    """Whether a line that ends its thread stands in Slack, or is on its way there."""
    ended = request.finished_at or request.created_at
    return any(message.view == "closing" for message in messages(request, ended))


def on_its_way_again(stopped: Request, state: RequestState) -> Request:
    """*stopped* between two of its steps, going on in *state* because a person wants that: what had ended its thread
    stays as it was, and its questions are answered."""
    answer = {key: value for key, value in stopped.answer.items() if key not in {"sign_in", "go_on"}}
    if has_closed(stopped):
        answer[EARLIER] = [stopped.state.value, stopped.sentence]
    if state is RequestState.RUNNING:
        answer[ASKED_FOR] = True
    return replace(stopped, state=state, answer=answer, due_at=None, sentence="", finished_at=None)


def unseen(done: str, why: str, whom: str) -> str:
    """What to say when a secret is gone that nobody has seen: *The password of Adele Vance was reset, but ...*."""
    return f"{done}, but {why}. It cannot be shown any more, so {whom} cannot sign in with it."


def _has_several_steps(request: Request) -> bool:
    return request.plan is not None and len(request.plan.calls) > 1 and all(call.says for call in request.plan.calls)


def _says_something(request: Request) -> bool:
    return request.state.final or request.state is RequestState.AWAITING_CONFIRMATION


def _wants_a_reader(request: Request) -> bool:
    return request.state is not RequestState.DONE or "reveal" in request.answer


def _private(request: Request) -> Message:
    # What waits without a question waits for its form, which is not open.
    view = "answer" if request.sentence or request.state.final else "continue"
    return Message(f"{view}:{request.id}", view, request.id, audience=Audience.REQUESTER)
