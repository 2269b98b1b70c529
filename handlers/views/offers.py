"""The buttons a request offers, by its state; each carries nothing but the request's id."""

from __future__ import annotations

from bot.actions._action import Action
from bot.model import Request, RequestState
from handlers.views.approval import withdraw_button
from handlers.views.blocks import Block, button
from handlers.views.wording import wish

UNDO = "request.undo"
REVEAL = "request.reveal"
RESET_AGAIN = "request.reset_again"
TRY_AGAIN = "request.try_again"
RETRY_STEP = "request.retry_step"
CONTINUE = "request.continue"
DO_ANYWAY = "request.do_anyway"
LEAVE = "request.leave"
OPEN_SESSION = "request.open_session"
SHARE = "request.share"
OLDER = "request.older"
CHOOSE = "request.choose"
SIGN_IN = "request.sign_in"


def offers(request: Request, action: Action | None) -> list[Block]:
    """What may be pressed now. Whether it may be done is decided again at each press."""
    asked = request.state is RequestState.AWAITING_CONFIRMATION
    if request.state is RequestState.AWAITING_APPROVAL:
        return withdraw_button(request, action)
    if request.answer.get("sign_in") and (asked or request.state is RequestState.FAILED):
        return [_sign_in(request), _leave(request)] if asked else [_sign_in(request), *_undo(request, action)]
    if asked and request.answer.get("open"):
        return [button("Open session and run", OPEN_SESSION, request.id, style="primary"), _leave(request)]
    if asked and request.answer.get("ask"):
        return [button("Do it anyway", DO_ANYWAY, request.id, style="danger"), _leave(request)]
    if request.state is RequestState.DONE:
        return [*_of_a_secret(request), *_undo(request, action)]
    if request.state is RequestState.UNKNOWN and request.answer.get("reveal"):
        return _of_a_secret(request)  # Microsoft took it, so it is in force, although it does not show yet
    if request.state is RequestState.FAILED and request.answer.get("go_on"):
        return [button("Retry step", RETRY_STEP, request.id, style="primary"), *_undo(request, action)]
    if request.state in {RequestState.FAILED, RequestState.UNKNOWN} and _may_be_retried(request):
        return [button("Try again", TRY_AGAIN, request.id, spoken=f"Try again: {wish(request, action)}")]
    return []


def _may_be_retried(request: Request) -> bool:
    return bool(request.answer.get("again")) and not request.answer.get("retried")


def _sign_in(request: Request) -> Block:
    words = "Sign in at Microsoft" if request.action == "session-on" else "Sign in and go on"
    return button(words, SIGN_IN, request.id, style="primary")


def _leave(request: Request) -> Block:
    return button("Leave it", LEAVE, request.id)


def _of_a_secret(request: Request) -> list[Block]:
    match request.answer.get("reveal"):
        case "waiting":
            spoken = "Show the secret to me, once, in a window"
            return [button("Reveal once", REVEAL, request.id, style="primary", spoken=spoken)]
        case "expired" | "lost" if not request.answer.get("again_as"):
            return [button("Reset again", RESET_AGAIN, request.id, style="danger")]
    return []


def _undo(request: Request, action: Action | None) -> list[Block]:
    if request.plan is None or request.plan.undo is None or request.answer.get("undo"):
        return []
    what = "Undo what was done" if request.state is RequestState.FAILED else "Undo"
    return [button(what, UNDO, request.id, spoken=f"Undo: {wish(request, action)}")]
