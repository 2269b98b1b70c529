"""What people read of a rotation that cannot go on, and of one that went on after all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from bot.model import Cause, CredentialKind, Point, RotationRecord, Severity, Trouble

When = Callable[[datetime], str]
"""A time of the day, in the tenant's time zone."""

ROTATION: Final = "rotation"
ELSEWHERE: Final = "password-changed-elsewhere"
DRILL: Final = "drill"

_STOPS: Final = frozenset({Cause.LOST, Cause.GONE, Cause.BLOCKED})
"""What keeps every session from being opened."""


def trouble(record: RotationRecord, when: When, *, set_aside: Sequence[datetime] = (), elsewhere: str = "") -> Trouble:
    """The alert of a rotation that stands. *set_aside* are the times at which versions were stored that somebody has
    disabled although they may be in force. *elsewhere* is the id of the identity, if somebody else must have changed
    what is in force."""
    stops = record.cause in _STOPS
    why = " ".join(filter(None, (_why(record), _set_aside(record, when, set_aside))))
    facts = [
        ("Step that failed", failed_step(record)),
        ("Signs in now", signs_in(record)),
        ("What Latchkey does next", _next(record)),
        ("Account", record.account),
    ]
    return Trouble(
        kind=ELSEWHERE if elsewhere else ROTATION,
        about=elsewhere or record.incident,
        severity=Severity.SESSIONS_STOP if stops else Severity.ATTENTION,
        headline=_headline(record),
        why=why,
        facts=tuple(facts),
        next_at=record.next_try_at,
        offers=_offers(record),
    )


def of_drill(record: RotationRecord) -> Trouble:
    """The alert of a drill that was to fail, as people would see it of a rotation."""
    return Trouble(
        kind=DRILL,
        about=record.id,
        severity=Severity.ATTENTION,
        headline=f"Rotation failed. Nothing is broken yet: the current {_what(record)} signs in.",
        why=record.why,
        facts=(
            ("Step that failed", failed_step(record)),
            ("Signs in now", f"The {_what(record)} in force, as before: a drill changes nothing at Microsoft."),
            ("What Latchkey does next", "Nothing. If this were real, it would try again after 15 minutes."),
        ),
        drill=True,
    )


def over(record: RotationRecord) -> str:
    """How the incident ended."""
    what = _what(record)
    if record.giving_up and not record.changed:
        return f"The new {what} was given up. The current {what} signs in as before, and nothing was changed."
    if record.changed:
        return f"The rotation is done: the new {what} signs in and is the current one."
    return f"The {what} in force signs in, and what Key Vault says of it is right again."


def elsewhere_over(record: RotationRecord) -> str:
    return f"A {_what(record)} that Key Vault holds signs in again."


def failed_step(record: RotationRecord) -> str:
    """The step that failed, as a phrase."""
    what = _what(record)
    match record.cause:
        case Cause.LOST | Cause.GONE | Cause.BLOCKED | Cause.GUESSES:
            return f"Finding out which {what} signs in"
        case Cause.NOT_SEEN:
            return f"Proving that the new {what} signs in"
    match record.point:
        case Point.DUE | Point.CLAIMED | Point.STARTED:
            return f"Looking up which {what}s Key Vault holds"
        case Point.LISTED:
            return f"Finding out which {what} signs in"
        case Point.CHECKED:
            return f"Marking in Key Vault which {what} is which"
        case Point.STORING:
            return f"Storing a new {what} in Key Vault"
        case Point.CHANGING | Point.NOTED | Point.STORED:
            return f"Putting the new {what} in force at Microsoft"
        case Point.TESTED | Point.CHANGED:
            return f"Proving that the new {what} signs in"
        case Point.PROVEN | Point.CURRENT_TAGGED:
            return f"Marking the new {what} in Key Vault as the current one"
    return "Writing down that it is done"


def signs_in(record: RotationRecord) -> str:
    """Which stored version signs in, as a sentence."""
    what = _what(record)
    match record.cause:
        case Cause.LOST:
            return f"No {what} that Key Vault holds."
        case Cause.GONE:
            return "Nothing: the account itself cannot sign in."
        case Cause.BLOCKED:
            return f"Nothing, because of a policy. The stored {what} is right."
    if record.in_force is None:
        return f"Not known for certain. Every {what} that may be in force is stored."
    if record.in_force == record.pending:
        return f"The new {what}."
    return f"The current {what}, as before."


def _headline(record: RotationRecord) -> str:
    what = _what(record)
    match record.cause:
        case Cause.LOST:
            return f"Sessions will stop: no {what} that Key Vault holds signs in."
        case Cause.GONE:
            return "Sessions will stop: the account Latchkey works with cannot sign in any more."
        case Cause.BLOCKED:
            return "Sessions will stop: a policy keeps the account Latchkey works with from signing in."
    if record.in_force is None and record.pending is None:
        return f"Rotation failed. Nothing is broken yet: the {what} was not touched."
    if record.in_force is None:
        return f"Rotation failed. Nothing is broken yet: each {what} that may be in force is stored."
    if record.in_force == record.pending:
        return f"Rotation not finished. Nothing is broken yet: the new {what} signs in."
    return f"Rotation failed. Nothing is broken yet: the current {what} signs in."


def _why(record: RotationRecord) -> str:
    what = _what(record)
    match record.cause:
        case Cause.LOST:
            return (
                f"Microsoft says no to every {what} that is stored, so somebody changed it outside Latchkey. Nothing "
                "was disabled and nothing was changed."
            )
        case Cause.NOT_SEEN:
            return (
                f"Microsoft took the new {what}, and not all of its servers know it yet. Both are stored, and Latchkey "
                "tries both."
            )
        case Cause.GUESSES:
            return (
                f"As many sign-ins failed as may: with more of them Microsoft might lock the account. Latchkey tries "
                f"no {what} for a day."
            )
        case Cause.NOT_TAKEN if _is_password(record):
            return (
                "Microsoft refused every new password that Latchkey made. The tenant's own list of banned passwords "
                "may be the reason (in Entra: Authentication methods, Password protection)."
            )
        case Cause.NOT_TAKEN:
            return f"Microsoft refused every new {what} that Latchkey made. {record.why}".rstrip()
        case Cause.FORBIDDEN if _is_password(record):
            return (
                "Microsoft does not let the account change its own password. That needs no directory role. Look in "
                "Entra whether the application it signs in with still has the consent "
                "User-PasswordProfile.ReadWrite.All."
            )
        case Cause.FORBIDDEN:
            return f"The application may not change its own {what}. {record.why}".rstrip()
        case Cause.UNKNOWN if not record.why:
            return f"Microsoft does not say at the moment which {what} signs in."
    code = f" Microsoft's code is AADSTS{record.code}." if record.code else ""
    return f"{record.why}{code}".strip()


def _set_aside(record: RotationRecord, when: When, set_aside: Sequence[datetime]) -> str:
    if not set_aside:
        return ""
    stored = ", ".join(f"the one stored {at:%Y-%m-%d} at {when(at)}" for at in set_aside)
    return f"Somebody has disabled in Key Vault what may be in force: {stored}. Latchkey does not enable it by itself."


def _next(record: RotationRecord) -> str:
    what = _what(record)
    match record.cause:
        case Cause.LOST:
            return (
                f"It tries again seldom, so that the account is not locked. Store the right {what} as a new version in "
                "Key Vault and press Retry now"
                + (", or have an administrator set a new one." if _is_password(record) else ".")
            )
        case Cause.GONE:
            return (
                "It tries again. Enable or restore the account, or do what Microsoft asks of it, and press Retry now."
            )
        case Cause.BLOCKED:
            return "It tries again. Exclude the account from the policy or allow this address, and press Retry now."
        case Cause.GUESSES:
            return "It waits a day, and then finds out afresh which one signs in."
        case Cause.FORBIDDEN | Cause.NOT_TAKEN:
            return f"It tries again by itself. Until then everything goes on with the current {what}."
        case Cause.VAULT:
            return "It tries again by itself as soon as Key Vault may answer. A session that is on goes on."
    if record.pending:
        return f"It looks again which {what} signs in, and finishes with the new one that is stored already."
    return "It tries again by itself, from the beginning."


def _offers(record: RotationRecord) -> tuple[str, ...]:
    offers = ["retry"]
    waits = record.pending is not None and record.pending != record.in_force
    if waits and record.cause not in {*_STOPS, Cause.VAULT, Cause.GUESSES}:
        offers.append("roll-back")
    if _is_password(record) and record.cause in {Cause.LOST, Cause.FORBIDDEN, Cause.NOT_TAKEN, Cause.GUESSES}:
        offers.append("reset")
    return tuple(offers)


def _is_password(record: RotationRecord) -> bool:
    return record.kind is CredentialKind.PASSWORD


def _what(record: RotationRecord) -> str:
    return record.kind.value
