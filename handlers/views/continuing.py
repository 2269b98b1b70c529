"""The way back to a form that could not be opened in time."""

from __future__ import annotations

from bot.model import Request, RequestState
from bot.obstacle import WORKS_AGAIN
from handlers.views.blocks import Said, actions, button, markup, said, section
from handlers.views.offers import CONTINUE
from handlers.views.wording import Known, wish


def build(request: Request, known: Known) -> Said | None:
    """Nothing once the form is open or the request has gone on."""
    if request.form or request.state is not RequestState.AWAITING_CONFIRMATION:
        return None
    why = "Latchkey can sign in again" if request.answer.get(WORKS_AGAIN) else "Slack did not open the form in time"
    words = markup("{}: {}. Nothing has been done yet.", wish(request, known.action), why)
    return said(words, [section(words), *actions(button("Continue", CONTINUE, request.id, style="primary"))])
