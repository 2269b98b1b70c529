"""The line that ends a thread: it mentions who asked, because an edited card notifies nobody."""

from __future__ import annotations

from bot.model import Request
from handlers.views.blocks import Said, actions, context, joined, markup, mention, said, section
from handlers.views.offers import offers
from handlers.views.wording import Known, emoji, notes, state_word, wish


def build(request: Request, known: Known) -> Said:
    """How it ended, with the buttons that matter to the person mentioned."""
    told = f"{(request.sentence or wish(request, known.action)).rstrip('.')}."
    outcome = markup("*{}.* {}", state_word(request.state), told)
    line = markup("{} {} {}", mention(request.slack.user), emoji(request.state), outcome)
    text = joined([f"{state_word(request.state)}:", told], " ")
    return said(
        text,
        [
            section(line),
            *context(*notes(request, known)),
            *actions(*offers(request, known.action), block_id=f"closing:{request.id}:{request.version}"),
        ],
    )
