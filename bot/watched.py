"""What may go wrong with the service identity while nobody rotates anything, judged from what was seen: pure.

Each function gives the `Trouble` to raise, or None. The sentences are read by whoever is on call: what it is, what
stops working because of it, what to press or do. `docs/rotation.md` has a row for each kind.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from bot import policy
from bot.actions import delegated
from bot.canary import CLIENTS, Foresight
from bot.directory_roles import names_of
from bot.errors import LatchkeyError, SignInCategory, SignInFailed, VaultProblem
from bot.guesses import what_it_says
from bot.identities import called
from bot.model import CredentialKind, Identity, IdentityKind, Severity, Trouble
from bot.ports import RotationStatus, SecretVersion
from bot.rotation import SignsIn, State, state_of
from bot.whatif.controls import Blocker, Remedy
from bot.whatif.words import client_app, demand, listed

ACCOUNT: Final = "account"
CERTIFICATE: Final = "certificate"
CHANGED_ELSEWHERE: Final = "password-changed-elsewhere"
OUTSIDE: Final = "outside"
POLICY: Final = "policy"
ROLES: Final = "roles"
SECRET_OLD: Final = "secret-old"  # noqa: S105 - the name of an alert, not a secret
VAULT: Final = "vault"

OF_SIGN_INS: Final = (ACCOUNT, CHANGED_ELSEWHERE, POLICY, VAULT)
"""The kinds that stand in the way of a sign-in: one that succeeds ends them all."""

KINDS: Final = (*OF_SIGN_INS, CERTIFICATE, OUTSIDE, ROLES, SECRET_OLD)

ENDS_SOON: Final = timedelta(days=14)
"""How long before its end a certificate is told of."""

CADENCES: Final = 2
"""So many times the cadence old, a password or certificate is too old."""

NO_SUCH_USER: Final = 50034
LOCKED: Final = 50053
"""AADSTS50034, *UserAccountNotFound*, and AADSTS50053, *IdsLocked* (Entra docs: *Microsoft Entra
authentication error codes*)."""

_TOLD: Final = 3
"""Of so many policies it is said what each does; the others are counted."""

_CODE: Final = "Microsoft's code"
_STAYS: Final = ("What goes on", "A management session that is on goes on until it ends, but at most about an hour.")
_NONE_OPENS: Final = (
    "What stops working",
    "No management session can be opened: nobody can change anything through Latchkey.",
)
_LOOKS: Final = ("What Latchkey does next", "It looks again every 10 minutes, and closes this once all is well.")
_LOOKS_HOURLY: Final = (
    "What Latchkey does next",
    "It looks again every hour, and closes this once it is put right.",
)
_NEEDS_SOMEBODY: Final = frozenset(
    {SignInCategory.APP_CONFIG, SignInCategory.FEDERATION, SignInCategory.FLOW, SignInCategory.PASSWORD_POLICY}
)
"""Why a sign-in fails that says nothing of the credential, and that does not pass by itself."""


def account(identity: Identity, found: Mapping[str, Any] | None) -> Trouble | None:
    """*found* is the account as the directory has it, None if it was deleted."""
    what = called(identity)
    if found is None:
        return _stops(
            ACCOUNT,
            identity,
            f"Sessions will stop: {what} {identity.name} was deleted.",
            f"Microsoft Entra has no {identity.name} any more.",
            "Restore it in Entra under deleted users; that works for 30 days. Otherwise set another one up with "
            "`/m365-mode advanced`.",
        )
    if found.get("accountEnabled") is False:
        return _stops(
            ACCOUNT,
            identity,
            f"Sessions will stop: {what} {identity.name} is disabled.",
            "Somebody blocked its sign-in in Microsoft Entra.",
            "Find out who did that and why (Entra's audit log has it), and enable it there.",
        )
    return None


def refused(identity: Identity, error: LatchkeyError, status: RotationStatus) -> Trouble | None:
    """What a failed sign-in of the identity says; None if it passes by itself, or tells nothing new."""
    if isinstance(error, VaultProblem):
        return nothing_stored(identity, status) or vault_lost(identity, str(error), stops=True)
    if not isinstance(error, SignInFailed):
        return None
    what, said = called(identity), _of_microsoft(error)
    match what_it_says(error):
        case SignsIn.NO:
            return _changed_elsewhere(identity, said)
        case SignsIn.GONE if error.code == NO_SUCH_USER:
            return account(identity, None)
        case SignsIn.GONE:
            return _stops(
                ACCOUNT, identity, f"Sessions will stop: {what} {identity.name} cannot sign in.", str(error), "", said
            )
        case SignsIn.BLOCKED:
            return _stops(
                POLICY,
                identity,
                f"Sessions will stop: a rule of Microsoft Entra does not let {what} sign in.",
                f"Its {_credential(identity)} is right. {error}",
                "",
                said,
            )
    if error.code == LOCKED:
        return Trouble(
            ACCOUNT,
            identity.id,
            Severity.ATTENTION,
            f"{_capital(what)} is locked for a while.",
            str(error),
            (_NONE_OPENS, ("What Latchkey does next", "It tries again every 10 minutes."), *said),
        )
    if error.category in _NEEDS_SOMEBODY:
        headline = f"Sessions will stop: Microsoft Entra does not let {what} sign in."
        return _stops(POLICY, identity, headline, str(error), "", said)
    return None


def vault_lost(identity: Identity, why: str, *, stops: bool) -> Trouble:
    """Key Vault does not give the credential. *stops*: a session was to be opened and could not be."""
    if stops:
        headline = "Sessions will stop: Key Vault does not give what is needed to open one."
        return _stops(VAULT, identity, headline, why, "")
    return Trouble(
        VAULT,
        identity.id,
        Severity.ATTENTION,
        "Key Vault cannot be used. The next management session may not open.",
        why,
        (_STAYS, ("What Latchkey does next", "It looks again, and rotates nothing until Key Vault can be used.")),
    )


def nothing_stored(identity: Identity, status: RotationStatus) -> Trouble | None:
    """Key Vault can be used, and holds nothing that may be used to sign in."""
    if status.kind is None or status.problem or any(version.enabled for version in status.versions):
        return None
    credential, deleted = _credential(identity), not status.versions
    if deleted:
        why = f"The secret {status.secret} was deleted. Key Vault keeps it for a while."
        remedy = "Press Retry now: Latchkey brings it back as it was. Then find out who deleted it."
    else:
        why = f"Somebody disabled every version of the secret {status.secret}."
        remedy = "Find out who did that and why, and enable the newest one in Key Vault: Latchkey goes on by itself."
    if _resets(identity):
        remedy += " If that does not help: Reset with an administrator's sign-in, which stores a new one."
    headline = f"Sessions will stop: Key Vault holds no {credential} of {called(identity)}."
    trouble = _stops(VAULT, identity, headline, why, remedy, reset=True)
    return replace(trouble, offers=("retry", *trouble.offers)) if deleted else trouble


def too_old(
    identity: Identity, status: RotationStatus, days: int, now: datetime, when: Callable[[datetime], str]
) -> Trouble | None:
    """*days* is the cadence of rotations."""
    if status.kind is None or status.since is None or now - status.since <= CADENCES * timedelta(days=days):
        return None
    credential, age = _credential(identity), (now - status.since).days
    return Trouble(
        SECRET_OLD,
        identity.id,
        Severity.ATTENTION,
        f"The {credential} of {called(identity)} is {age} days old. Nothing is broken yet.",
        f"It should be changed every {days} days, and was not.",
        (
            ("Last changed", when(status.since)),
            ("Next change", when(status.next_due) if status.next_due else "not planned"),
            ("What to do", f"Press Retry now, which changes the {credential}. If that fails, its own alert says why."),
        ),
        offers=("retry",),
    )


def certificate_ends(
    identity: Identity, ends_at: datetime, now: datetime, when: Callable[[datetime], str]
) -> Trouble | None:
    left = ends_at - now
    if left > ENDS_SOON:
        return None
    over = left <= timedelta(0)
    told = f"ended on {when(ends_at)}" if over else f"ends in {_days(left)}"
    renewing = "Press Retry now: Latchkey makes a new one while this one still signs in."
    storing = "Register a new certificate for the application in Entra, and store it in Key Vault."
    return Trouble(
        CERTIFICATE,
        identity.id,
        Severity.SESSIONS_STOP if left <= timedelta(days=1) else Severity.ATTENTION,
        f"{'Sessions will stop: t' if left <= timedelta(days=1) else 'T'}he certificate of {identity.name} {told}.",
        "It should have been replaced long before, and was not.",
        (("It ends", when(ends_at)), _NONE_OPENS if over else _STAYS, ("What to do", storing if over else renewing)),
        offers=() if over else ("retry",),
    )


def roles_changed(identity: Identity, before: Collection[str], held: Collection[str]) -> Trouble | None:
    """Both are template ids of directory roles."""
    added, lost = sorted(set(held) - set(before)), sorted(set(before) - set(held))
    if not added and not lost:
        return None
    what = called(identity)
    could_not = _cannot(identity, before)
    cannot = [title for title in _cannot(identity, held) if title not in could_not]
    facts = [
        *([("Taken away", ", ".join(names_of(lost)))] if lost else []),
        *([("Given", ", ".join(names_of(added)))] if added else []),
        ("What stops working", f"Nobody can: {', '.join(cannot)}" if cannot else "Nothing."),
        (
            "What to do",
            "If that was meant, press Acknowledge: they count as right from then on. Otherwise find out who did it "
            "(Entra's audit log has it) and put them back.",
        ),
        ("What Latchkey does next", "It looks again every hour, and closes this once they are as they were."),
    ]
    return Trouble(
        ROLES,
        identity.id,
        Severity.ATTENTION,
        f"The directory roles of {what} {identity.name} were changed, and not by Latchkey.",
        "Somebody gave it roles or took some away in Microsoft Entra.",
        tuple(facts),
    )


# --- what policies will do ------------------------------------------------------------------------------------------


def foreseen(identity: Identity, foresight: Foresight, when: Callable[[datetime], str]) -> Iterator[Trouble]:
    """All that is not as it should be, the worst first."""
    if foresight.stops:
        yield kept_out(identity, foresight, when)
    if foresight.ahead:
        yield would_keep_out(identity, foresight, when)
    if foresight.opened:
        yield open_to_others(identity, foresight)


def kept_out(
    identity: Identity, foresight: Foresight, when: Callable[[datetime], str], denied: Trouble | None = None
) -> Trouble:
    """The next sign-in of the identity comes to nothing, as far as anybody can tell beforehand; *denied* is what was
    told of one that did."""
    what, found = called(identity), foresight.blockers
    why = [_does(found, foresight, what)] if found else []
    if foresight.switches.security_defaults:
        why.append("Security defaults ask whoever holds a directory role for a second factor at every sign-in.")
    if foresight.switches.per_user_mfa:
        why.append(f"Multifactor authentication is switched on for {identity.name} itself, which is no policy.")
    if found:
        those, remedy = _policies(found, "does not", "do not"), _capital(_remedies(identity, found))
    elif foresight.switches.security_defaults:
        those = "security defaults do not"
        remedy = "Switch to the application identity; or put policies in the place of security defaults."
    else:
        those = "multifactor authentication of the account itself does not"
        remedy = "Switch it off for this account in Entra, under per-user multifactor authentication."
    headline = f"Sessions will stop: {those} let {what} sign in."
    said = tuple(fact for fact in denied.facts if fact[0] == _CODE) if denied else ()
    return _stops(POLICY, identity, headline, " ".join(why), remedy, (*_changed(found, foresight, when), *said))


def would_keep_out(identity: Identity, foresight: Foresight, when: Callable[[datetime], str]) -> Trouble:
    """Policies that only report would keep the identity out."""
    found, one = foresight.ahead, len(foresight.ahead) == 1
    headline = f"{_policies(found, 'would', 'would')} stop sessions once {'it is' if one else 'they are'} on."
    does = _does(found, foresight, called(identity))
    before = f"Before anybody switches {'it' if one else 'them'} on"
    return Trouble(
        POLICY,
        identity.id,
        Severity.ATTENTION,
        f"{_capital(headline)} Nothing is broken yet.",
        f"So far {'it only reports' if one else 'they only report'}. Once {'it is' if one else 'they are'} on: {does}",
        (*_changed(found, foresight, when), ("What to do", f"{before}: {_remedies(identity, found)}"), _LOOKS_HOURLY),
    )


def let_in_all_the_same(identity: Identity, foresight: Foresight, when: Callable[[datetime], str]) -> Trouble:
    """The identity signed in, though nothing that can be seen would let it."""
    refused = kept_out(identity, foresight, when)
    headline = refused.headline.removeprefix("Sessions will stop: ").removesuffix(".")
    return replace(
        refused,
        severity=Severity.ATTENTION,
        headline=f"{_capital(headline)}, as it reads. Nothing is broken yet.",
        why=f"{refused.why} But {called(identity)} signed in all the same, long after that was changed.",
        facts=(
            *_changed(foresight.blockers, foresight, when),
            ("What to do", "See what `/m365-whatif` says, and what Microsoft says beside it."),
            _LOOKS_HOURLY,
        ),
    )


def open_to_others(identity: Identity, foresight: Foresight) -> Trouble:
    """Sign-ins from elsewhere were blocked, and are not any more."""
    what = called(identity)
    some = [client_app(each) for each in foresight.opened if each] if set(CLIENTS) - {*foresight.opened} else []
    through = f" that come through {listed(some, 'or')}" if some else ""
    return Trouble(
        OUTSIDE,
        identity.id,
        Severity.ATTENTION,
        f"{_capital(what)} {identity.name} can sign in from anywhere again.",
        "Only sign-ins from the allowed addresses got through so far. Now no policy stops those from elsewhere"
        f"{through}.",
        (
            ("What stops working", f"Nothing. But whoever has its {_credential(identity)} could use it elsewhere."),
            (
                "What to do",
                "If that was meant, press Acknowledge: it counts as right from then on. Otherwise find out who changed "
                "the policies (Entra's audit log has it); `/m365-mode allowed-ips` puts them right.",
            ),
            _LOOKS_HOURLY,
        ),
    )


def _policies(found: Sequence[Blocker], one: str, several: str) -> str:
    others = len(found) - 1
    if not others:
        return f"the policy {_named(found[0])} {one}"
    return f"{_named(found[0])} and {others} other polic{'y' if others == 1 else 'ies'} {several}"


def _does(found: Sequence[Blocker], foresight: Foresight, what: str) -> str:
    told = [f"{_named(blocker)} {demand(blocker.policy, foresight.names)}" for blocker in found[:_TOLD]]
    more = [f"and {len(found) - _TOLD} more" if len(found) > _TOLD else ""]
    cannot = "" if all(blocker.blocks_outright for blocker in found) else f" {_capital(what)} cannot do that."
    return f"{'; '.join(filter(None, told + more))}.{cannot}"


def _remedies(identity: Identity, found: Iterable[Blocker]) -> str:
    fitting = {remedy for blocker in found for remedy in blocker.remedies}
    remedies = [remedy.value for remedy in Remedy if remedy in fitting]
    helps = "`/m365-mode allowed-ips` lets it in from here, and `/m365-whatif` tells more"
    return f"{'; or '.join(remedies)}. {helps if identity.delegated else '`/m365-whatif` tells more'}."


def _changed(
    found: Iterable[Blocker], foresight: Foresight, when: Callable[[datetime], str]
) -> tuple[tuple[str, str], ...]:
    known = [(blocker, foresight.changes.get(blocker.policy.id.lower())) for blocker in found]
    told = [f"{_named(blocker)} by {change.by}, {when(change.at)}" for blocker, change in known if change]
    return (("Changed last", "; ".join(told)),) if told else ()


def _named(blocker: Blocker) -> str:
    return f"“{blocker.policy.name or blocker.policy.id}”"


def in_use(versions: Sequence[SecretVersion]) -> SecretVersion | None:
    """The newest enabled version that is tagged as the one in force."""
    return next((each for each in versions if each.enabled and state_of(each) is State.CURRENT), None)


def _changed_elsewhere(identity: Identity, said: tuple[tuple[str, str], ...]) -> Trouble:
    credential, what = _credential(identity), called(identity)
    remedy = (
        "Whoever changed it knows the new one: have it stored as a new version of the secret in Key Vault. Or press "
        "Reset with an administrator's sign-in."
        if _resets(identity)
        else "Register the stored certificate for the application in Entra again, or store the one that is registered."
    )
    return _stops(
        CHANGED_ELSEWHERE,
        identity,
        f"Sessions will stop: somebody else changed the {credential} of {what}.",
        f"No {credential} that Key Vault holds signs {identity.name} in, and Latchkey was not changing it.",
        remedy,
        said,
        reset=True,
    )


def _stops(
    kind: str,
    identity: Identity,
    headline: str,
    why: str,
    remedy: str,
    more: tuple[tuple[str, str], ...] = (),
    *,
    reset: bool = False,
) -> Trouble:
    to_do = (("What to do", remedy),) if remedy else ()
    offers = ("reset",) if reset and _resets(identity) else ()
    return Trouble(
        kind, identity.id, Severity.SESSIONS_STOP, headline, why, (_NONE_OPENS, *to_do, _LOOKS, *more), offers=offers
    )


def _of_microsoft(error: SignInFailed) -> tuple[tuple[str, str], ...]:
    """What Microsoft's support asks for. The correlation id is not among it: it is another one at each try."""
    return () if error.code is None else ((_CODE, f"AADSTS{error.code}"),)


def _cannot(identity: Identity, roles: Collection[str]) -> list[str]:
    having = Identity(identity.kind, identity.id, identity.name, frozenset(roles))
    return [action.title.lower() for action in delegated().values() if not policy.check_identity(action, having).ok]


def _credential(identity: Identity) -> str:
    kind = CredentialKind.PASSWORD if identity.kind is IdentityKind.SERVICE_ACCOUNT else CredentialKind.CERTIFICATE
    return kind.value


def _resets(identity: Identity) -> bool:
    return identity.kind is IdentityKind.SERVICE_ACCOUNT


def _days(left: timedelta) -> str:
    return f"{left.days} days" if left.days > 1 else "a day" if left.days else "less than a day"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
