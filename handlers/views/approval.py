"""The card that asks somebody else to agree, what reminds of it, and the windows in which they answer."""

from __future__ import annotations

from bot import policy
from bot.actions._action import Action
from bot.model import Approval, ApprovalState, Request
from handlers.views.blocks import (
    Block,
    Markup,
    Said,
    View,
    actions,
    button,
    clean,
    code,
    confirmed,
    context,
    cut,
    field,
    joined,
    markup,
    modal,
    said,
    section,
    sections,
    text_input,
    when,
    with_channels,
)
from handlers.views.wording import Known, first_up, wish

APPROVE = "approval.approve"
DENY = "approval.deny"
ALONE = "approval.alone"
WITHDRAW = "approval.withdraw"
REVIEW = "approval.review"

DENY_WINDOW = "approval.deny_window"
ALONE_WINDOW = "approval.alone_window"
REVIEW_WINDOW = "approval.review_window"

REASON = "reason"
_VALUE = "approval.value"
_ASKED = "approval:"
_LONGEST_REASON = 500
_LONGEST_WISH = 200
_QUOTES = str.maketrans(dict.fromkeys("“”„", "'"))


def build(request: Request, known: Known) -> Said | None:
    """Who asks, what would change, why it needs somebody else, until when; then who decided what, and when."""
    approval = request.approval
    if approval is None:
        return None
    what = _what(request, known)
    if approval.id != known.data.get("approval"):
        words = markup(":leftwards_arrow_with_hook: *{}*: this was asked anew, in a later message.", what)
        return said(words, [section(words)])
    waits = approval.state is ApprovalState.PENDING
    title = markup(":raised_hand: *Approval wanted: {}*", what) if waits else settled(request, known)
    return said(
        joined([markup("Approval wanted: {}.", what) if waits else title, markup("Asked by {}.", known.by)], " "),
        [
            section(title),
            *context(_whom(request)),
            *sections([Markup("*What will change*" if waits else "*What was asked for*"), *_changes(request)]),
            *context(*_asked(request, known)),
            *context(*([*_why(approval), *_ends(approval)] if waits else [])),
            *(_answers(request, known, approval) if waits else []),
        ],
    )


def reminder(request: Request, known: Known) -> Said | None:
    """A line in the card's thread while nobody has answered; once somebody has, it says so."""
    approval = request.approval
    if approval is None or approval.id != known.data.get("approval"):
        return None
    if approval.state is not ApprovalState.PENDING:
        words = settled(request, known)
        return said(words, [section(words)])
    words = markup(
        ":alarm_clock: Still waiting for an approval: {}. It ends {}.",
        _what(request, known),
        when(approval.expires_at),
    )
    return said(words, [section(words)])


def alone(request: Request, known: Known) -> Said | None:
    """The alert that somebody agreed to their own request, and its review."""
    approval = request.approval
    if approval is None:
        return None
    if approval.id != known.data.get("approval", approval.id):
        words = markup(
            ":leftwards_arrow_with_hook: {}: somebody had approved their own request, but nothing was done on that. It "
            "was asked anew.",
            _what(request, known),
        )
        return said(words, [section(words)])
    if not approval.break_glass:
        return None
    words = markup(
        ":rotating_light: *{} approved their own request* (break-glass): {}. Reason: {}",
        known.decided_by,
        _what(request, known),
        _quoted(approval.reason),
    )
    if approval.under_review:
        todo = "Another tenant admin has to review this. Until then it stays on the Home tab."
        review = button(
            "Close the review", REVIEW, request.id, spoken=f"Close the review: {wish(request, known.action)}"
        )
        return said(words, [section(words), *context(todo), *actions(review)])
    seen = markup("Reviewed by {}: {}", known.reviewed_by, _quoted(approval.review))
    return said(words, [section(words), *context(seen)])


def settled(request: Request, known: Known) -> Markup:
    """Who decided what, and when."""
    approval = request.approval
    what = _what(request, known)
    if approval is None:
        return markup("*{}*", what)
    at = when(approval.decided_at) if approval.decided_at else Markup("")
    reason = markup(" Reason: {}", _quoted(approval.reason)) if approval.reason else Markup("")
    match approval.state:
        case ApprovalState.APPROVED if approval.break_glass:
            return markup(":rotating_light: *{}*: approved by {} alone, {}.{}", what, known.decided_by, at, reason)
        case ApprovalState.APPROVED:
            return markup(":white_check_mark: *{}*: approved by {}, {}.", what, known.decided_by, at)
        case ApprovalState.DENIED:
            return markup(":no_entry: *{}*: denied by {}, {}.{}", what, known.decided_by, at, reason)
        case ApprovalState.EXPIRED:
            return markup(":alarm_clock: *{}*: nobody answered in time, so nothing was done.", what)
        case ApprovalState.WITHDRAWN if approval.reason:  # somebody had left
            return markup(":leftwards_arrow_with_hook: *{}*: ended.{}", what, markup(" {}", approval.reason))
        case ApprovalState.WITHDRAWN:
            return markup(":leftwards_arrow_with_hook: *{}*: withdrawn by {}.", what, known.by)
        case ApprovalState.PENDING:
            return markup(":raised_hand: *{}*: waits for an approval.", what)


def _what(request: Request, known: Known) -> str:
    """What was asked for, cut where a long name would push away what else there is to read."""
    return cut(wish(request, known.action), _LONGEST_WISH)


def _whom(request: Request) -> Markup:
    """Whom or what it is about, by more than a name that others may have, too."""
    target = request.target
    return code(cut(target.detail, _LONGEST_WISH)) if target and target.detail else Markup("")


def _changes(request: Request) -> list[Markup]:
    """What would change, and what is to be known before that: of the plan that is asked about, and of no later one."""
    plan = request.plan
    if plan is None or request.approval is None or request.approval.digest != request.digest:
        return [Markup("• something else by now: it has to be asked anew")]
    changes = [_change(each.what, each.before, each.after) for each in plan.changes]
    return [*changes, *(markup(":warning: {}", note) for note in plan.notes)]


def _change(what: str, before: str | None, after: str) -> Markup:
    if before:
        return markup("• {}: {} → {}", what, with_channels(before), with_channels(after))
    return markup("• {}: {}", what, with_channels(after))


def _asked(request: Request, known: Known) -> list[Markup]:
    """Who asked, and what they say about it: each by itself, and theirs in quotes, so that no reason can pass for more
    than it is."""
    given = (("Reason", request.reason), ("Caller verified", request.verified), ("Ticket", request.ticket))
    return [markup("Asked by {}", known.by), *(markup("{}: {}", what, _quoted(text)) for what, text in given if text)]


def _quoted(text: str) -> str:
    words = cut(clean(text), _LONGEST_REASON).translate(_QUOTES)
    return f"“{words}”"


def _why(approval: Approval) -> list[str]:
    """Why it needs somebody else, where that is more than that such things always do."""
    return [] if approval.why == policy.words(policy.Finding(policy.Code.APPROVAL, False)) else [approval.why]


def _ends(approval: Approval) -> list[Markup]:
    return [markup("It ends {} if nobody answers.", when(approval.expires_at))]


def at_home(request: Request, known: Known) -> list[Block]:
    """The same question on the Home tab of somebody who may answer it."""
    approval = request.approval
    if approval is None:
        return []
    return [
        *sections([markup("*{}*", _what(request, known)), *_changes(request)]),
        *context(_whom(request), *_asked(request, known), *_why(approval), *_ends(approval)),
        *_answers(request, known, approval),
    ]


def alone_at_home(request: Request, known: Known) -> list[Block]:
    """What somebody agreed to alone, on the Home tab of those who can review it."""
    said = alone(request, known)
    return [*said.blocks] if said else []


def _answers(request: Request, known: Known, approval: Approval) -> list[Block]:
    what = wish(request, known.action)
    return actions(
        button("Approve", APPROVE, request.id, style="primary", spoken=f"Approve: {what}"),
        button("Deny", DENY, request.id, style="danger", spoken=f"Deny: {what}"),
        block_id=f"{_ASKED}{approval.id}",
    )


def seen_in(block_id: str) -> str:
    """The id of the question that stood above the button that was pressed."""
    return block_id.removeprefix(_ASKED)


def about(request: Request) -> str:
    """What a window about the question carries, for `named`."""
    return f"{request.id}:{request.approval.id if request.approval else ''}"


def named(carried: str) -> tuple[str, str]:
    """The ids of request and question that a window carries."""
    request_id, _, approval_id = carried.partition(":")
    return request_id, approval_id


def deny_window(request: Request, known: Known) -> View:
    """Asks why not."""
    reason = field("Reason, for the person who asked", _reason(), block_id=REASON)
    words = markup("{} asked: {}.", known.by, _what(request, known))
    shown = [section(words), *context(_whom(request)), reason]
    return modal("Deny", shown, callback_id=DENY_WINDOW, about=about(request), submit="Deny")


def alone_window(request: Request, known: Known) -> View:
    """Makes sure that somebody means to agree to their own request."""
    words = markup(
        ":rotating_light: You are about to approve your *own* request: {}. Do it only if nobody else can be reached "
        "and it cannot wait. The approvals channel is alerted at once, it must run within 15 minutes, and another "
        "tenant admin has to review it.",
        _what(request, known),
    )
    reason = field("Why it cannot wait", _reason(), block_id=REASON)
    shown = [section(words), *context(_whom(request)), *sections(_changes(request)), reason]
    title = "Approve your own request"
    return modal(title, shown, callback_id=ALONE_WINDOW, about=about(request), submit="Approve alone")


def review_window(request: Request, known: Known) -> View:
    """Asks for a note on what somebody agreed to alone."""
    words = markup("{} approved their own request: {}.", known.decided_by, first_up(wish(request, known.action)))
    note = field("What you found", _reason(), block_id=REASON)
    return modal(
        "Close the review", [section(words), note], callback_id=REVIEW_WINDOW, about=about(request), submit="Close"
    )


def _reason() -> Block:
    return text_input(_VALUE, multiline=True, longest=_LONGEST_REASON)


def withdraw_button(request: Request, action: Action | None) -> list[Block]:
    """What the requester can do while others have not answered."""
    what = wish(request, action)
    take_back = confirmed(
        button("Withdraw", WITHDRAW, request.id, spoken=f"Withdraw: {what}"),
        title="Withdraw this?",
        text="Nothing is done then. To have it done after all, it has to be asked for again.",
        yes="Withdraw",
        no="Keep it",
    )
    return [take_back, button("Approve it alone …", ALONE, request.id, spoken=f"Approve it alone: {what}")]
