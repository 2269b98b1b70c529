"""What was judged, as people read it: sentences, tables and rows of a file. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from bot.conditional_access import Difference
from bot.model import JSON
from bot.what_if_by_hand.judging import Judged, Place, Subject
from bot.what_if_by_hand.options import MENUS
from bot.whatif import apps, words
from bot.whatif.controls import Blocker, Remedy
from bot.whatif.evaluation import Decision, Outcome, PolicyResult, Verdict
from bot.whatif.policies import Policy, State
from bot.whatif.signins import SignIn, Wanted

SHOWN: Final = 20
"""How many rows a table in a message has; the whole of a longer one comes as a file."""

_LONGEST_CELL: Final = 240
_LONGEST_TABLE: Final = 8_000  # Slack takes some more than that in all cells of a table together

COLUMNS: Final = ("Policy", "State", "Applies", "Why", "Then it")
CHANGES: Final = ("Who", "To", "From", "Through", "Now", "With the draft")
MATRIX: Final = (
    "account", "account_id", "application", "address", "country", "place", "client", "decision", "asks_for",
    "policies", "report_only", "cannot_tell", "session_limits",
)  # fmt: skip

_STATES: Final = {State.ENABLED: "on", State.REPORT_ONLY: "report-only", State.DISABLED: "off"}
_ANSWERS: Final = {True: "applies", False: "does not apply", None: "cannot tell"}
_ON: Final = (State.ENABLED, State.REPORT_ONLY)

_OPTION_FOR: Final = {
    "signInContext": "app",
    "ipAddress": "ip",
    "country": "country",
    "devicePlatform": "platform",
    "clientAppType": "client",
    "deviceInfo": "device",
    "signInRiskLevel": "risk",
    "servicePrincipalRiskLevel": "risk",
    "userRiskLevel": "user-risk",
    "authenticationFlow": "flow",
}
"""What is typed to give the condition that a policy has to know."""


def rank(result: PolicyResult) -> tuple[int, int]:
    """What counts most first."""
    state = (State.ENABLED, State.REPORT_ONLY).index(result.policy.state) if result.policy.state in _ON else 2
    blocks = 0 if result.policy.grant.blocks else 1
    match result.applies:
        case True:
            return state * 2, blocks
        case None:
            return 1 + state * 2, blocks
    return 6 + state, 0


def row(result: PolicyResult, names: words.Names, sign_in: SignIn) -> list[str]:
    """One policy, in `COLUMNS`."""
    policy = result.policy
    return [
        policy.name or policy.id,
        _STATES.get(policy.state, policy.state),
        _ANSWERS[result.applies],
        words.why(result, names, sign_in),
        words.demand(policy, names) if result.applies is not False else "",
    ]


def comes_to(verdict: Verdict, stops: Sequence[Blocker], names: words.Names) -> str:
    """What becomes of the sign-in, *stops* being what keeps Latchkey's own identity out."""
    said = words.summary(verdict, names)
    if stops and verdict.decision is not Decision.BLOCK:
        said += f" It {cannot(stops, names)}, so it is not signed in."
    elif any(blocker.token_protection for blocker in stops):
        said += " It cannot bind its tokens to a device."
    if verdict.untold:
        said += f" It is not known whether {count(verdict.untold)} more would apply."
    return said


def cannot(stops: Sequence[Blocker], names: words.Names) -> str:
    """What keeps it out, to follow its name."""
    if any(blocker.blocks_outright for blocker in stops):
        return f"would be blocked by {_named(blocker.policy for blocker in stops if blocker.blocks_outright)}"
    unmet = [words.control(each, names) for each in dict.fromkeys(each for blocker in stops for each in blocker.unmet)]
    what = words.listed(unmet, "or") if unmet else "tokens that are bound to a device"
    asks = "asks" if len(stops) == 1 else "ask"
    return f"cannot do {what}, which {_named(blocker.policy for blocker in stops)} {asks} for"


def difference(found: Difference) -> str:
    """What Microsoft says of a policy of which we say something else."""
    said = {True: "applies", False: "does not apply", None: "is not told of"}[found.theirs]
    because = f" ({', '.join(found.their_reasons)})" if found.their_reasons else ""
    return f"“{found.policy.name or found.policy.id}” {said}{because}"


def would(outcome: Outcome, names: words.Names) -> str:
    """What report-only policies would come to, were they on."""
    if not outcome.applying:
        return "Would change nothing: none applies."
    who = _named(outcome.applying)
    match outcome.decision:
        case Decision.BLOCK:
            return f"Would block: {_named(policy for policy in outcome.applying if policy.grant.blocks)}."
        case Decision.CONTROLS_REQUIRED:
            return f"Would ask for {words.clauses(outcome.controls, names)}: {who}."
    limits = "; ".join(map(words.session_limit, outcome.session_limits))
    return f"Would limit the session ({limits}): {who}." if limits else f"Would ask for nothing: {who}."


def not_said(verdict: Verdict) -> list[str]:
    """What to add so that more can be told."""
    missing = list(dict.fromkeys(name for result in verdict.untold for name in result.unknown))
    options = list(dict.fromkeys(_OPTION_FOR[name] for name in missing if name in _OPTION_FOR))
    if not options:
        return []
    return [f"To know of {count(verdict.untold)} more, add {words.listed(f'`--{each} …`' for each in options)}."]


def remedies(stops: Sequence[Blocker]) -> list[str]:
    found = [remedy for remedy in Remedy if any(remedy in blocker.remedies for blocker in stops)]
    return [f"What would help: {'; or '.join(found)}."] if found else []


def _named(policies: Iterable[Policy]) -> str:
    return words.listed((f"“{policy.name or policy.id}”" for policy in policies), "and")


def count(policies: Sequence[object]) -> str:
    return "1 policy" if len(policies) == 1 else f"{len(policies)} policies"


def target_name(target: Wanted, names: words.Names) -> str:
    return words.wanted(target, {**apps.NAMES, **names}).removeprefix("to ")


def _outcome(verdict: Verdict, stops: Sequence[Blocker], names: words.Names) -> str:
    """In as few words as say it."""
    match verdict.decision:
        case Decision.BLOCK:
            said = "blocked"
        case Decision.CONTROLS_REQUIRED:
            asked = words.clauses(verdict.controls, names)
            said = f"stopped: lacks {asked}" if stops else f"allowed with {asked}"
        case Decision.ALLOW:
            said = "stopped: token protection" if stops else "allowed"
    return f"{said} ?" if verdict.untold and verdict.decision is not Decision.BLOCK else said


def _client(value: str | None) -> str:
    return next((choice.typed for choice in MENUS["client"].choices if choice.value == value), value or "")


def table(
    found: Iterable[Judged],
    subjects: Sequence[Subject],
    places: Sequence[Place],
    targets: Sequence[Wanted],
    names: words.Names,
) -> list[list[str]]:
    """A row for each account and address, with a cell for each target."""
    cells: dict[tuple[int, int, int], dict[str, list[str]]] = {}
    for each in found:
        grouped = cells.setdefault((id(each.subject), id(each.place), id(each.target)), {})
        grouped.setdefault(_outcome(each.verdict, each.stops, names), []).append(_client(each.client))
    return [
        [subject.name, place.text, *(_cell(cells[id(subject), id(place), id(target)]) for target in targets)]
        for subject in subjects
        for place in places
    ]


def _cell(grouped: Mapping[str, Sequence[str]]) -> str:
    """What comes of it through each kind of client; said once where it is the same."""
    if len(grouped) == 1:
        return next(iter(grouped))
    return "; ".join(f"{', '.join(clients)}: {outcome}" for outcome, clients in grouped.items())


def line(each: Judged, names: words.Names) -> list[str]:
    """One sign-in, in `MATRIX`."""
    verdict, place = each.verdict, each.place
    decision = "blocked" if verdict.decision is not Decision.BLOCK and each.stops else str(verdict.decision)
    return [
        each.subject.name,
        each.subject.usual.who.id,
        target_name(each.target, names),
        str(place.address or ""),
        place.country or "",
        place.called,
        _client(each.client),
        decision,
        words.clauses(verdict.controls, names),
        "; ".join(policy.name or policy.id for policy in verdict.enforced.applying),
        "; ".join(policy.name or policy.id for policy in verdict.report_only.applying),
        "; ".join(result.policy.name or result.policy.id for result in verdict.untold),
        "; ".join(map(words.session_limit, verdict.session_limits)),
    ]


def changes(before: Sequence[Judged], after: Sequence[Judged], draft: Policy, names: words.Names) -> list[list[str]]:
    """The sign-ins of which something else comes, those that differ by the kind of client only in one row."""
    grouped: dict[tuple[str, ...], list[str]] = {}
    for one, other in zip(before, after, strict=True):
        if not one.differs(other, draft):
            continue
        now, then = (_outcome(each.verdict, each.stops, names) for each in (one, other))
        untold = next((result for result in other.verdict.untold if result.policy is draft), None)
        if untold:
            then = f"cannot tell: {words.listed(words.missing(name) for name in untold.unknown)} is not known"
        elif now == then:
            limits = "; ".join(map(words.session_limit, other.verdict.session_limits))
            then = f"{then}, with the session limited ({limits})" if limits else f"{then}, without the limits of now"
        key = (one.subject.name, target_name(one.target, names), one.place.text, now, then)
        grouped.setdefault(key, []).append(_client(one.client))
    rows = [
        [who, to, place, ", ".join(filter(None, clients)) or "–", now, then]
        for (who, to, place, now, then), clients in grouped.items()
    ]
    return merged(merged(rows, CHANGES.index("To"), "; "), CHANGES.index("From"), "; ")


def merged(rows: Sequence[list[str]], column: int, by: str) -> list[list[str]]:
    """Rows that differ in one column only, as one."""
    grouped: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        grouped.setdefault((*row[:column], *row[column + 1 :]), []).append(row[column])
    return [[*others[:column], by.join(values), *others[column:]] for others, values in grouped.items()]


def fitting(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """As many of the rows, and as much of their cells, as a message has room for."""
    room, short = _LONGEST_TABLE, []
    for row in rows[:SHOWN]:
        cut = [cell if len(cell) <= _LONGEST_CELL else cell[: _LONGEST_CELL - 1].rstrip() + "…" for cell in row]
        room -= sum(map(len, cut))
        if room < 0:
            break
        short.append(cut)
    return short


def shown(
    title: str,
    facts: list[list[str]],
    columns: Sequence[str],
    rows: list[list[str]],
    notes: list[str],
    *,
    left_out: int = 0,
) -> dict[str, JSON]:
    if left_out > 0:
        notes = [f"The table is shortened: {left_out} more rows are in the file.", *notes]
    table = {"table": {"columns": list(columns), "rows": rows}} if rows else {}
    return {"title": title, "facts": facts, **table, "notes": notes}
