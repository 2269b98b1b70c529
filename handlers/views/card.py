"""The one message of a change, edited in place from its first step to its outcome."""

from __future__ import annotations

from bot.actions._action import Action
from bot.model import Request, RequestState, StepStatus
from handlers.views.blocks import (
    Markup,
    Said,
    actions,
    context,
    joined,
    markup,
    mention,
    said,
    section,
    sections,
    when,
)
from handlers.views.offers import offers
from handlers.views.wording import (
    Known,
    afterwards,
    asked_by,
    bar,
    cue,
    first_up,
    notes,
    state_word,
    threaded,
    whom,
    wish,
)

_RESTING = frozenset({RequestState.UNKNOWN, RequestState.AWAITING_CONFIRMATION, RequestState.AWAITING_APPROVAL})


def build(request: Request, known: Known) -> Said:
    """What, on whom, by whom, how far; then how it ended and what can be done about it."""
    title = _title(request, known.action)
    lines = [markup("{} *{}*", cue(request), title), *_body(request, known, title)]
    blocks = [
        section(joined(lines, "\n")),
        *(sections(afterwards(request)) if request.state is RequestState.DONE else []),
        *context(asked_by(request, known), *notes(request, known)),
        *actions(*offers(request, known.action), block_id=f"card:{request.id}:{request.version}"),
    ]
    return said(_sentence(request, known, title), blocks)


def _title(request: Request, action: Action | None) -> str:
    if action is None:
        return wish(request, action)
    match request.state:
        case RequestState.RECEIVED | RequestState.DECIDED | RequestState.READY | RequestState.RUNNING:
            return first_up(action.working.format(target=whom(request)))
        case RequestState.DONE if request.plan is not None and not request.plan.calls:
            return request.sentence  # it was so already: nothing was done
        case RequestState.DONE:
            return first_up(action.done.format(target=whom(request)))
    return f"{wish(request, action)}: {state_word(request.state).lower()}"


def _body(request: Request, known: Known, title: str) -> list[Markup]:
    if request.state.final or request.state in _RESTING:
        told = [markup("{}", more)] if (more := _beyond(title, request.sentence)) else []
        if request.state is RequestState.AWAITING_APPROVAL and request.approval:
            told.append(markup("It ends {} if nobody answers.", when(request.approval.expires_at)))
        if request.answer.get("reveal") == "waiting":
            who = mention(request.slack.user) if _needs_its_reader(request) else known.by
            told.append(markup("{} can see it once, within ten minutes.", who))
        elif _needs_its_reader(request) and told:
            told[0] = markup("{} {}", mention(request.slack.user), told[0])
        return [*_changes(request), *told]
    now = next((step for step in reversed(request.steps) if step.status is StepStatus.IN_PROGRESS), None)
    return [Markup(line) for line in (bar(request),) if line] + ([markup("{}", now.title)] if now else [])


def _changes(request: Request) -> list[Markup]:
    """What was done, or what would be after all."""
    if request.state is RequestState.DONE and request.plan is not None:
        return [
            markup("• {}: {} → {}", change.what, change.before, change.after)
            if change.before
            else markup("• {}: {}", change.what, change.after)
            for change in request.plan.changes
        ]
    return [markup("• {}: {}", what, how) for what, how in request.answer.get("changes") or ()]


def _beyond(title: str, sentence: str) -> str:
    """What *sentence* says that the title has not said: nothing, or what follows its *but*, or all of it."""
    return first_up(sentence.removeprefix(title.rstrip(".")).lstrip(",. "))


def _needs_its_reader(request: Request) -> bool:
    """One message is all there is, and somebody must act on it: mention who asked."""
    ended_badly = request.state in {RequestState.FAILED, RequestState.UNKNOWN, RequestState.REFUSED}
    return (ended_badly or request.answer.get("reveal") == "waiting") and not threaded(request)


def _sentence(request: Request, known: Known, title: str) -> Markup:
    told = markup("{}.", title.rstrip("."))
    return joined([told, _beyond(title, request.sentence), markup("Asked by {}.", known.by)], " ")
