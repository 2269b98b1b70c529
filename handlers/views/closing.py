"""The line that ends a thread: it mentions who asked, because an edited card notifies nobody."""

from __future__ import annotations

from dataclasses import replace

from bot.model import Request, RequestState
from bot.story import EARLIER
from handlers.views.blocks import Markup, Said, actions, context, joined, markup, mention, said, section, sections
from handlers.views.offers import offers
from handlers.views.wording import Known, afterwards, cue, emoji, notes, state_word, wish


def build(request: Request, known: Known) -> Said:
    """How it ended, with the buttons that matter to the person mentioned; without them once there are news."""
    if earlier := request.answer.get(EARLIER):
        state, sentence = earlier
        before = replace(request, state=RequestState(state), sentence=sentence)
        return said(sentence, [section(_line(before, known, emoji(before.state)))])
    return news(request, known)


def news(request: Request, known: Known) -> Said:
    """How it ended after all."""
    text = joined([f"{state_word(request.state)}:", _told(request, known)], " ")
    return said(
        text,
        [
            section(_line(request, known, cue(request))),
            *sections(afterwards(request)),
            *context(*notes(request, known)),
            *actions(*offers(request, known.action), block_id=f"closing:{request.id}:{request.version}"),
        ],
    )


def wanted(request: Request, known: Known) -> Said | None:
    """Others have agreed, perhaps hours later, and now it waits for whoever asked: an edited card notifies nobody."""
    if request.state is not RequestState.AWAITING_CONFIRMATION:
        return None
    line = markup("{} {} {}", mention(request.slack.user), cue(request), request.sentence)
    return said(request.sentence, [section(line)])


def _line(request: Request, known: Known, sign: Markup) -> Markup:
    outcome = markup("*{}.* {}", state_word(request.state), _told(request, known))
    return markup("{} {} {}", mention(request.slack.user), sign, outcome)


def _told(request: Request, known: Known) -> str:
    return f"{(request.sentence or wish(request, known.action)).rstrip('.')}."
