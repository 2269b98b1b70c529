"""The card that says which rule of Microsoft Entra keeps Latchkey out, and the window with all that is known of it.

The card is for everybody who works there: the policies by name, whom to ask about them, and what to do. Conditions,
what exactly was changed and what Microsoft says are in the window, for tenant admins.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from bot.diagnosis import Blocked, Cause
from bot.model import NOBODY, IdentityKind, Request, RequestState
from bot.obstacle import RETRIED, Obstacle, Outcome, Phase, may_run_again, stands
from handlers.views.blocks import (
    VIEW_BLOCKS,
    Block,
    Markup,
    Said,
    View,
    actions,
    button,
    code,
    context,
    divider,
    escape,
    joined,
    markup,
    mention,
    modal,
    said,
    section,
    sections,
    when,
)
from handlers.views.offers import CONTINUE, DO_ANYWAY
from handlers.views.wording import Known, first_up

TEST: Final = "blocked.test"
ALLOWED_IPS: Final = "blocked.allowed_ips"
APPLICATION: Final = "blocked.application"
DETAILS: Final = "blocked.details"

_NOT_FOUND_OUT: Final = "What could not be found out"
_WORKS: Final = "Latchkey can sign in again"
_NO_NEED: Final = "Everybody works with an account of their own now"


def build(request: Request, known: Known) -> Said | None:
    """How it is with what stood in the way of *request*; None while that is not known yet."""
    obstacle = Obstacle.of(request)
    if obstacle is None or obstacle.phase is Phase.LOOKING:
        return None
    found = Blocked.from_json(obstacle.found) if obstacle.found else None
    gone_on = request.state is RequestState.DONE
    if gone_on or obstacle.phase in {Phase.WORKS, Phase.OVER}:
        return _over(request, obstacle, found, known, gone_on=gone_on)
    nothing_known = "Latchkey still cannot sign in" if obstacle.by else "Latchkey cannot sign in"
    headline = found.headline if found else nothing_known
    # In a thread, the line that ended it has called whoever asked.
    called = mention(request.slack.user) if request.started_at is None else ""
    title = joined([markup(":no_entry: *{}.*", headline.rstrip(".")), called], " ")
    # Microsoft's own remedy is for where nothing better is known.
    error = found.error if found and found.causes else str(obstacle.failure)
    blocks = [
        section(title),
        section(error),
        *(_findings(found) if found else []),
        *context(*_notes(obstacle, known)),
        *(_buttons(request, obstacle, found) if obstacle.phase is Phase.KNOWN and stands(request) else []),
    ]
    return said(joined([f"{headline.rstrip('.')}.", error], " "), blocks)


def _findings(found: Blocked) -> list[Block]:
    """The policies, what to do, what works meanwhile."""
    lines = [markup("• {}", joined([_demand(cause), _changed(cause)], " ")) for cause in found.causes]
    return [
        *sections(lines),
        *([] if found.causes else _listed(_NOT_FOUND_OUT, found.not_known)),
        *_listed("What to do", (first_up(each).rstrip(".") for each in _remedies(found))),
        *_listed("What works meanwhile", found.meanwhile),
    ]


def _demand(cause: Cause) -> Markup:
    named = cause.policy if cause.policy_id else first_up(cause.policy)
    return markup("*{}* {}.", named, cause.asks.rstrip("."))


def _changed(cause: Cause) -> Markup:
    """By whom and when, if that is known."""
    if not cause.changed_by:
        return Markup("")
    return markup(
        "Changed by {}{}.", cause.changed_by, markup(" {}", when(cause.changed_at)) if cause.changed_at else ""
    )


def _remedies(found: Blocked) -> list[str]:
    """Each once, the best of each cause before the second best of any; what helps against some of them says which."""
    longest = max((len(cause.remedies) for cause in found.causes), default=0)
    ranked = (cause.remedies[rank] for rank in range(longest) for cause in found.causes if rank < len(cause.remedies))
    return [_against(remedy, found.causes) for remedy in dict.fromkeys(ranked)]


def _against(remedy: str, causes: Sequence[Cause]) -> str:
    named = [f"“{cause.policy}”" for cause in causes if remedy in cause.remedies]
    if len(named) == len(causes):
        return remedy
    return f"Against {' and '.join(named)}: {remedy[:1].lower()}{remedy[1:]}"


def _listed(title: str, lines: Iterable[str]) -> list[Block]:
    shown = [markup("• {}", line) for line in lines if line]
    return sections([markup("*{}*", title), *shown]) if shown else []


def _notes(obstacle: Obstacle, known: Known) -> list[Markup]:
    notes = [markup("{} needed a management session, and it could not be opened.", known.by)]
    if obstacle.phase is Phase.TESTING:
        notes.append(markup(":hourglass_flowing_sand: {} tests it again …", obstacle.by))
    elif obstacle.by:
        notes.append(markup("{} tested it again {}: it is still so.", obstacle.by, when(obstacle.at)))
    if known.here_because:
        notes.append(escape(known.here_because))
    if known.maybe_twice:
        notes.append(Markup("Slack did not confirm an earlier message, so this may be said twice."))
    return notes


def _buttons(request: Request, obstacle: Obstacle, found: Blocked | None) -> list[Block]:
    is_account = obstacle.identity.kind is IdentityKind.SERVICE_ACCOUNT
    by_policies = found is not None and any(cause.policy_id for cause in found.causes)
    return actions(
        button("Test again", TEST, request.id, style="primary"),
        button("Set up allowed IPs", ALLOWED_IPS, request.id) if by_policies and is_account else None,
        button("Use the application identity instead", APPLICATION, request.id) if is_account else None,
        button("Details", DETAILS, request.id, spoken="Details, for tenant admins") if found else None,
        block_id=f"blocked:{request.id}:{request.version}",
    )


def _over(request: Request, obstacle: Obstacle, found: Blocked | None, known: Known, *, gone_on: bool) -> Said:
    """Nothing stands in the way any more."""
    how = markup("Tested by {} {}.", obstacle.by, when(obstacle.at)) if obstacle.by else _since(obstacle, gone_on)
    next_, pressed = _next(request, obstacle, known, gone_on=gone_on)
    works = _NO_NEED if obstacle.identity == NOBODY else _WORKS
    was = markup("Before: {}", found.headline) if found else Markup("")
    blocks = [
        section(joined([markup(":white_check_mark: *{}.*", works), how, next_], " ")),
        *context(was),
        *actions(pressed, block_id=f"blocked:{request.id}:{request.version}"),
    ]
    return said(joined([f"{works}.", next_], " "), blocks)


def _since(obstacle: Obstacle, gone_on: bool) -> Markup:
    return Markup("") if gone_on else markup("It did {}.", when(obstacle.at))


def _next(request: Request, obstacle: Obstacle, known: Known, *, gone_on: bool) -> tuple[Markup, Block | None]:
    """What becomes of the request, and what may be pressed for that."""
    again = str(request.answer.get(RETRIED))
    match obstacle.outcome:
        case Outcome.RUNS:
            return markup("What {} had asked for runs again.", known.by), None
        case Outcome.ASKS:
            words = markup("{}: does it still have to be done?", mention(request.slack.user))
            return words, button("Do it now", DO_ANYWAY, again, style="primary")
        case Outcome.FORM:
            words = markup("{}: go on with what you asked for.", mention(request.slack.user))
            return words, button("Continue", CONTINUE, again, style="primary")
    if gone_on:
        return Markup("The request has gone on."), None
    if may_run_again(request) and obstacle.phase is Phase.OVER:
        words = markup("*Test again* makes sure, and runs what {} had asked for.", known.by)
        return words, button("Test again", TEST, request.id, style="primary")
    return Markup(""), None


# --- For tenant admins ----------------------------------------------------------------------------------------------


def details(obstacle: Obstacle) -> View:
    """All that is known."""
    found = Blocked.from_json(obstacle.found)
    blocks = [
        section(joined([markup("*{}.*", found.headline.rstrip(".")), found.error], " ")),
        *context(*_ids(found)),
        *(block for cause in found.causes for block in _cause(cause)),
        *_listed("Changed since the last sign-in that went well", found.changes),
        *_reported(found.report_only),
        *_listed("What Microsoft says", (found.microsoft, *found.differences, found.logged)),
        *_listed(_NOT_FOUND_OUT, found.not_known),
    ]
    return modal("Why it is blocked", blocks[:VIEW_BLOCKS])


def _ids(found: Blocked) -> list[Markup]:
    microsoft = markup("Microsoft's code is AADSTS{}.", found.code) if found.code is not None else Markup("")
    correlation = markup("Correlation id {}", code(found.correlation_id)) if found.correlation_id else Markup("")
    return [
        markup("Signed in as {}, {}.", found.signed_in_as or found.identity, when(found.at)),
        joined([microsoft, correlation], " "),
        markup("It last signed in well {}.", when(found.well_at)) if found.well_at else Markup(""),
    ]


def _cause(cause: Cause) -> list[Block]:
    lines = [_demand(cause), markup("{}", cause.why), _changed(cause), markup("{}", cause.change)]
    lines += [markup("• {}", first_up(remedy)) for remedy in cause.remedies]
    return [divider(), *sections([line for line in lines if line]), *context(_named(cause))]


def _named(cause: Cause) -> Markup:
    return markup("Policy {}", code(cause.policy_id)) if cause.policy_id else Markup("")


def _reported(policies: Sequence[Cause]) -> list[Block]:
    lines = (f"{cause.policy}: {cause.why}" for cause in policies)
    return _listed("Policies that only report, and would block as well", lines)
