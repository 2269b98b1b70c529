"""Why a sign-in of the service identity was refused: which policy, since when, by whom, and what helps.

`Diagnosis.of` never fails: what cannot be read is a sentence in `Blocked.not_known`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Final, TypeVar

from bot.conditional_access import (
    READS_LOGS,
    READS_POLICIES,
    Answers,
    Change,
    ConditionalAccess,
    Difference,
    LoggedSignIn,
    TenantPolicies,
    as_it_is_done,
    compare,
    egress_of,
)
from bot.errors import (
    GraphRefused,
    LatchkeyError,
    NotAsked,
    SessionNotOpened,
    SignInCategory,
    SignInFailed,
)
from bot.model import JSON, Identity, IdentityKind
from bot.policy_changes import Changed, changed_since
from bot.ports import Clock, RememberedPolicies
from bot.whatif import words
from bot.whatif.controls import Blocker, Remedy, blocker_of, passes
from bot.whatif.evaluation import PolicyResult, PolicySet
from bot.whatif.locations import Address
from bot.whatif.policies import ControlKind, Policy, State
from bot.whatif.signins import Person, Principal, SignIn

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cause:
    """One thing that keeps the identity out. `policy` is its name; `policy_id` is empty where it is no policy (security
    defaults, multifactor authentication of the account itself, risk).

    All texts are full sentences or fit behind the policy's name, and name nobody but who changed it. `why` and
    `changed_by` are details for tenant admins.
    """

    policy: str
    policy_id: str
    asks: str
    """What it does then, behind its name: *blocks the sign-in*, *demands multifactor authentication*."""
    why: str
    """Why it applies, a sentence."""
    remedies: tuple[str, ...]
    """What lets the identity in again, each an order (*exclude the account from the policy, ...*), the best first."""
    blocks: bool = True
    """Whether it blocks outright; otherwise it demands what the identity cannot do."""
    certain: bool = True
    """Whether it applies for certain. Otherwise `why` says what nobody can tell."""
    changed_by: str = ""
    changed_at: datetime | None = None
    change: str = ""
    """What was done to it since the identity last signed in well, a sentence; empty: nothing, or it is not known."""
    address_helps: bool = False
    """Whether allowed IPs would help against it."""


@dataclass(frozen=True)
class Blocked:
    """What a card says of a sign-in that was refused."""

    headline: str
    """*Blocked by “MFA for all admins”*."""
    error: str
    """What Microsoft said, in words."""
    code: int | None
    correlation_id: str | None
    identity: str
    """The name of the identity; `kind` is what kind it is (a value of `IdentityKind`)."""
    kind: str
    at: datetime
    causes: tuple[Cause, ...] = ()
    """The likeliest first. Empty: nothing that Latchkey can see would refuse it."""
    report_only: tuple[Cause, ...] = ()
    """Policies that only report and would block as well once they are on."""
    changes: tuple[str, ...] = ()
    """What else was changed in the policies since the last sign-in that went well, sentences, for tenant admins."""
    well_at: datetime | None = None
    """When it last signed in well, as far as it is remembered with the policies of that time."""
    signed_in_as: str = ""
    """How Latchkey signs in, as it was judged: *latchkey@contoso.com, to Microsoft Graph, from 203.0.113.10 (IE)*."""
    logged: str = ""
    """What the sign-in log says of this very sign-in, sentences; empty: it is not there, or not yet."""
    differences: tuple[str, ...] = ()
    """Where Microsoft's own what-if does not say the same, both answers in a sentence."""
    microsoft: str = ""
    """A sentence: that Microsoft's own what-if says the same, or why it was not asked. Empty where it differs."""
    not_known: tuple[str, ...] = ()
    """What could not be read or told, and what for, sentences."""
    meanwhile: tuple[str, ...] = ()
    """What works all the same, sentences."""

    def to_json(self) -> JSON:
        """For the `data` of a message; `from_json` reads it, also what an older or newer version wrote."""
        return {each.name: _written(getattr(self, each.name)) for each in fields(self)}

    @classmethod
    def from_json(cls, data: JSON) -> Blocked:
        return _read(cls, data)


def _written(value: Any) -> JSON:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Cause):
        return {each.name: _written(getattr(value, each.name)) for each in fields(value)}
    return [_written(each) for each in value] if isinstance(value, tuple) else value


_Read = TypeVar("_Read", "Cause", "Blocked")


def _read(kind: type[_Read], data: JSON) -> _Read:
    values: dict[str, Any] = {}
    for name in (each.name for each in fields(kind) if each.name in data):
        value = data[name]
        if name in ("causes", "report_only"):
            value = tuple(_read(Cause, cause) for cause in value)
        elif name in ("at", "well_at", "changed_at"):
            value = datetime.fromisoformat(value) if value else None
        values[name] = tuple(value) if isinstance(value, list) else value
    return kind(**values)


# --- Finding out ------------------------------------------------------------------------------------------------------

_T = TypeVar("_T")

_ASK_FOR_IT: Final = frozenset(
    {
        SignInCategory.MFA,
        SignInCategory.DEVICE,
        SignInCategory.LOCATION,
        SignInCategory.RISK,
        SignInCategory.CONDITIONAL_ACCESS,
    }
)
"""Causes that come after the password and have to do with policies."""

_SECURITY_DEFAULTS: Final = 530035
_SECURITY_DEFAULTS_ID: Final = "00000000-0000-0000-0000-000000000005"
"""Of identitySecurityDefaultsEnforcementPolicy, the same in every tenant."""


def can_be_diagnosed(error: LatchkeyError) -> SignInFailed | None:
    """The refused sign-in in *error* if there is anything to find out about it. After a wrong password there is not:
    policies were not asked."""
    failed = error.cause if isinstance(error, SessionNotOpened) else error
    if not isinstance(failed, SignInFailed) or isinstance(failed, NotAsked):
        return None
    return failed if failed.category in _ASK_FOR_IT or failed.code == _SECURITY_DEFAULTS else None


@dataclass(frozen=True)
class _Found:
    """What could be read; None: not this part. `missing` says of each what it was for."""

    policies: TenantPolicies | None
    changes: Mapping[str, Change] | None
    well: RememberedPolicies | None
    security_defaults: bool | None
    per_user_mfa: str | None
    answers: Answers | None
    missing: tuple[str, ...]


class Diagnosis:
    """Finds out why sign-ins were refused. It only reads, as the bot identity."""

    def __init__(self, *, clock: Clock, conditional_access: ConditionalAccess) -> None:
        self._clock = clock
        self._access = conditional_access

    async def of(self, error: LatchkeyError, identity: Identity | None) -> Blocked | None:
        """What is behind *error*; None if it has nothing to do with policies. It takes some seconds."""
        failed = can_be_diagnosed(error)
        if failed is None or identity is None:
            return None
        at, access, missing = self._clock.now(), self._access, _Missing()
        of_people = identity.delegated  # the rest is of no concern to an application
        (policies, who, lines, changes), (well, security_defaults, per_user_mfa) = await asyncio.gather(
            asyncio.gather(
                _part(access.read(), missing, "The policies", READS_POLICIES),
                _part(access.who(identity), missing, "Groups and roles of the account", "GroupMember.Read.All"),
                _part(access.sign_ins(identity), missing, "The sign-in log", READS_LOGS, of_people),
                _part(access.changes(), missing, "Who changed the policies", READS_LOGS),
            ),
            asyncio.gather(
                _part(access.last_well(identity), missing, "What the policies were before"),
                _part(access.security_defaults(), missing, "Security defaults", READS_POLICIES, of_people),
                _part(access.per_user_mfa(identity), missing, "Per-user MFA", READS_POLICIES, of_people),
            ),
        )
        line = next((line for line in lines or () if line.correlation_id == failed.correlation_id), None)
        sign_in = as_it_is_done(
            who or (Person(identity.id) if of_people else Principal(identity.id)),
            (line and line.egress) or egress_of(access.configured, lines or ()),
            line or next(iter(lines or ()), None),
        )
        asked = policies is not None
        answers = await _part(access.evaluate(sign_in), missing, "Microsoft's own what-if", READS_POLICIES, asked)
        found = _Found(policies, changes, well, security_defaults, per_user_mfa, answers, missing.told)
        case = _Case(failed, identity, at, sign_in, bool(lines), line, found, access.configured)
        try:
            return await asyncio.to_thread(_told, case)
        except Exception:
            log.exception("a diagnosis met something unforeseen")
            sentence = "Which policy it is: not known. Latchkey could not work it out; its log has more."
            return _told(replace(case, found=_Found(None, None, None, None, None, None, (*missing.told, sentence))))


@dataclass(frozen=True)
class _Missing:
    """What could not be read: sentences, and by the permission that would be needed what it would have been for."""

    other: list[str] = field(default_factory=list)
    forbidden: dict[str, list[str]] = field(default_factory=dict)

    @property
    def told(self) -> tuple[str, ...]:
        said = []
        for permission, parts in sorted(self.forbidden.items(), key=lambda each: each[0] != READS_POLICIES):
            named = _listed(sorted(parts, key=lambda part: part != "the policies"))
            them = "them" if len(parts) > 1 else "it"
            said.append(
                f"{named[:1].upper()}{named[1:]}: not known. Latchkey's own identity may not read {them}; it needs "
                f"{permission}."
            )
        return (*said, *self.other)


async def _part(
    reading: Coroutine[Any, Any, _T], missing: _Missing, what: str, permission: str = "", wanted: bool = True
) -> _T | None:
    """What *reading* gives; if it cannot, None and a sentence. It is not read unless it is *wanted*."""
    if not wanted:
        reading.close()
        return None
    try:
        return await reading
    except GraphRefused as refusal:
        if permission and refusal.lacks_permission:
            missing.forbidden.setdefault(permission, []).append(f"{what[:1].lower()}{what[1:]}")
        else:
            missing.other.append(f"{what}: not known. {refusal}")
    except LatchkeyError as problem:
        missing.other.append(f"{what}: not known. {problem}")
    except Exception:
        log.exception("a part of a diagnosis met something unforeseen")
        missing.other.append(f"{what}: not known. Latchkey could not read Microsoft's answer; its log has more.")
    return None


# --- Telling ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Case:
    """Everything that is told from."""

    failed: SignInFailed
    identity: Identity
    at: datetime
    sign_in: SignIn
    """As it is assumed to have been."""
    client_is_known: bool
    line: LoggedSignIn | None
    found: _Found
    configured: Address | None

    @property
    def known(self) -> SignIn:
        """The sign-in with only what is known of it. Until the log has it, its risk is not."""
        if self.line is not None or isinstance(self.sign_in.who, Principal):
            return self.sign_in
        given = replace(self.sign_in.conditions, sign_in_risk=None, user_risk=None)
        return replace(self.sign_in, conditions=given if self.client_is_known else replace(given, client_app=None))

    @property
    def address_is_assumed(self) -> bool:
        """Whether it may have come from another address: the log has not got it yet."""
        return self.line is None and self.sign_in.conditions.address is not None

    @property
    def names(self) -> words.Names:
        known = self.found.policies.names if self.found.policies else {}
        return {**known, self.identity.id.lower(): self.identity.name}

    @cached_property
    def changed(self) -> tuple[Changed, ...]:
        """Since the identity last signed in well, as far as that is known."""
        before, now = self.found.well, self.found.policies
        if before is None or now is None:
            return ()
        policies = [policy.raw for policy in now.policies]
        return changed_since((before.policies, before.locations), (policies, [each.raw for each in now.locations]))

    @property
    def refused_by(self) -> frozenset[str]:
        """The policies that the sign-in log says refused this very sign-in."""
        results = self.line.policies if self.line else ()
        return frozenset(each.id.lower() for each in results if each.result == "failure")


def _told(case: _Case) -> Blocked:
    failed, identity, found = case.failed, case.identity, case.found
    causes, report_only, missing = [*_no_policies(case)], list[Cause](), [*found.missing]
    differences: tuple[Difference, ...] = ()
    if found.policies is not None:
        causes += _of_policies(case, found.policies.compiled)
        verdict = found.policies.compiled.evaluate(case.sign_in)
        report_only = [
            _cause(case, result, blocker_of(result.policy, identity.kind))
            for result in verdict.results
            if result.applies and _would_block(result.policy, identity.kind, State.REPORT_ONLY)
        ]
        if found.answers is not None:
            differences = compare(verdict, found.answers, case.sign_in)
            causes += _seen_elsewhere(case, causes, differences)
        missing += _not_given(case)
        if case.address_is_assumed and not any(cause.certain and _fits(case, cause) for cause in causes):
            causes += _from_elsewhere(case, causes, found.policies.compiled)
            address = case.sign_in.conditions.address
            missing.append(
                f"From which address it came: not known yet. The sign-in log does not have it; {address} is assumed."
            )
        if any(cause.certain and _fits(case, cause) for cause in causes):
            missing += _some(
                (f"“{cause.policy}”: may refuse it, too. {cause.why}" for cause in causes if not cause.certain),
                "other policies may refuse it, too.",
            )
            causes = [cause for cause in causes if cause.certain]
        if found.well is None:
            missing.append("What has changed: not known. No sign-in that went well is remembered with its policies.")
    causes.sort(key=lambda cause: _rank(case, cause))
    named = {cause.policy_id.lower() for cause in (*causes, *report_only)}
    return Blocked(
        headline=_headline(causes),
        error=failed.meaning,
        code=failed.code,
        correlation_id=failed.correlation_id,
        identity=identity.name,
        kind=identity.kind.value,
        at=case.at,
        causes=tuple(causes),
        report_only=tuple(report_only),
        changes=_some(
            (_sentence(case, change) for change in case.changed if change.id not in named), "other changes were made."
        ),
        well_at=found.well.seen_at if found.well else None,
        signed_in_as=words.describe(case.sign_in, case.names),
        logged=_logged(case),
        differences=_some(map(_both_sides, differences), "other policies are judged differently; the log has them."),
        microsoft=_microsoft(case, differences),
        not_known=tuple(missing),
        meanwhile=_meanwhile(case),
    )


def _headline(causes: Sequence[Cause]) -> str:
    if not causes:
        return "Microsoft refused the sign-in"
    first = causes[0]
    name = f"“{first.policy}”" if first.policy_id else first.policy
    others = sum(cause.certain for cause in causes[1:])
    more = f" and {others} more" if others else ""
    return f"Blocked by {name}{more}" if first.certain else f"Perhaps blocked by {name}"


# --- Policies


def _would_block(policy: Policy, kind: IdentityKind, state: str) -> bool:
    return policy.state == state and not passes(kind, policy)


def _of_policies(case: _Case, policies: PolicySet) -> Iterator[Cause]:
    """Those that apply, and those of which nobody can tell: one of them may be what blocks."""
    assumed, known = (policies.evaluate(sign_in, strict=True) for sign_in in (case.sign_in, case.known))
    for result, certainly in zip(assumed.results, known.results, strict=True):
        if not _would_block(result.policy, case.identity.kind, State.ENABLED):
            continue
        result = result if result.applies else certainly
        if result.applies is not False or result.policy.id.lower() in case.refused_by:
            yield _cause(case, result, blocker_of(result.policy, case.identity.kind))


def _from_elsewhere(case: _Case, causes: Sequence[Cause], policies: PolicySet) -> Iterator[Cause]:
    """Those that could apply if Latchkey's address is not the one that is assumed."""
    told = {cause.policy_id for cause in causes}
    anywhere = replace(case.known, conditions=replace(case.known.conditions, address=None, country=None))
    for result in policies.evaluate(anywhere, strict=True).results:
        policy = result.policy
        if result.applies is None and policy.id not in told and _would_block(policy, case.identity.kind, State.ENABLED):
            yield _cause(case, result, blocker_of(policy, case.identity.kind))


def _seen_elsewhere(case: _Case, causes: Sequence[Cause], differences: Iterable[Difference]) -> Iterator[Cause]:
    """Those of which only Microsoft says that they apply."""
    told = {cause.policy_id for cause in causes}
    for difference in differences:
        policy = difference.policy
        if difference.theirs and policy.id not in told and _would_block(policy, case.identity.kind, State.ENABLED):
            result = PolicyResult(policy, applies=None)
            why = "Microsoft's own what-if says that it applies; Latchkey judges that it does not."
            yield replace(_cause(case, result, blocker_of(policy, case.identity.kind)), why=why)


def _cause(case: _Case, result: PolicyResult, blocker: Blocker) -> Cause:
    policy, found = result.policy, case.found
    change = found.changes.get(policy.id.lower()) if found.changes else None
    why = words.because(result, case.names, case.sign_in)
    certain = result.applies is True
    if not certain and policy.id.lower() in case.refused_by:
        why, certain = "The sign-in log says that it refused this sign-in.", True
    return Cause(
        policy=policy.name or policy.id,
        policy_id=policy.id,
        asks=_asks(blocker, case.names),
        why=why,
        remedies=tuple(_remedies(case, blocker)),
        blocks=blocker.blocks_outright,
        certain=certain,
        changed_by=change.by if change else "",
        changed_at=change.at if change else None,
        change=_change_of(case, policy),
        address_helps=case.identity.kind in _ALLOWED_IPS_ARE_FOR,
    )


_ALLOWED_IPS_ARE_FOR: Final = {IdentityKind.SERVICE_ACCOUNT, IdentityKind.APPLICATION}


def _asks(blocker: Blocker, names: words.Names) -> str:
    if blocker.blocks_outright:
        return "blocks the sign-in"
    if blocker.unmet:
        joined = " and " if blocker.policy.grant.all_of_them else " or "
        return f"demands {joined.join(words.control(control, names) for control in blocker.unmet)}"
    return "demands tokens that are bound to a device"


def _remedies(case: _Case, blocker: Blocker) -> Iterator[str]:
    name, address = case.identity.name, case.sign_in.conditions.address
    for remedy in blocker.remedies:
        match remedy:
            case Remedy.ADD_ADDRESS:
                where = f"{address}" if address else "Latchkey's address"
                yield f"Add {where} to the locations that the policy lets pass."
            case Remedy.CHANGE_CLIENT:
                yield "Leave the kind of client as which Latchkey's sign-in counts out of the policy, for everybody."
            case Remedy.EXCLUDE_ACCOUNT if isinstance(case.sign_in.who, Person):
                instead = "guard it by allowed IPs instead: “Set up allowed IPs” does both."
                yield f"Leave {name} out of the policy, and {instead}"
            case Remedy.EXCLUDE_ACCOUNT:
                yield f"Leave {name} out of the policy."
            case Remedy.USE_APPLICATION:
                yield "Let Latchkey act as an application: policies for people do not reach it."


def _change_of(case: _Case, policy: Policy) -> str:
    """What was done since all was well to the policy, or to a location that it names."""
    places = {each.lower() for each in (*policy.locations.include, *policy.locations.exclude)}
    said = [f"It {change.words}." for change in case.changed if change.is_policy and change.id == policy.id.lower()]
    said += [
        f"The named location “{change.name}”, which it names, {change.words}."
        for change in case.changed
        if not change.is_policy and change.id in places
    ]
    return " ".join(said)


def _sentence(case: _Case, change: Changed) -> str:
    what = f"“{change.name}”" if change.is_policy else f"The named location “{change.name}”"
    known = case.found.changes.get(change.id) if case.found.changes else None
    return f"{what} {change.words}{f', by {known.by}' if known else ''}."


# --- What is no policy


def _no_policies(case: _Case) -> Iterator[Cause]:
    """What refuses a sign-in and is nowhere among the policies."""
    name, found = case.identity.name, case.found
    application = "Let Latchkey act as an application, of which no second factor is asked."
    if found.security_defaults or case.failed.code == _SECURITY_DEFAULTS:
        change = found.changes.get(_SECURITY_DEFAULTS_ID) if found.changes else None
        yield Cause(
            "security defaults",
            "",
            "demand multifactor authentication of administrators at every sign-in",
            "They are on in this tenant, and are for everybody; nobody can be left out.",
            ("Replace security defaults by Conditional Access policies, which can leave the account out.", application),
            blocks=case.failed.code == _SECURITY_DEFAULTS,
            changed_by=change.by if change else "",
            changed_at=change.at if change else None,
        )
    if found.per_user_mfa in ("enabled", "enforced"):
        yield Cause(
            "per-user multifactor authentication",
            "",
            "demands multifactor authentication of the account at every sign-in",
            f"It is {found.per_user_mfa} for {name}, beside all policies.",
            (f"Set per-user MFA of {name} to disabled, and let a policy guard the account.", application),
            blocks=False,
        )
    risks = (case.line.sign_in_risk, case.line.user_risk) if case.line else ()
    seen = next((risk for risk in risks if risk not in (None, "none")), "")
    if seen or case.failed.category is SignInCategory.RISK:
        yield Cause(
            "a risk that Microsoft sees",
            "",
            "has to be reviewed first",
            f"The sign-in log calls the risk {seen}." if seen else "Microsoft refused the sign-in because of a risk.",
            (f"Look at {name} in Entra ID Protection, and dismiss the risk if it is none.",),
            blocks=case.failed.category is SignInCategory.RISK,
            certain=case.failed.category is SignInCategory.RISK,
        )


# --- Which is the likeliest

_MFA: Final = frozenset({"mfa"})
_ASKED_BY_CODE: Final[Mapping[int, frozenset[str]]] = {
    53003: frozenset({"block"}),
    530032: frozenset({"block"}),
    **dict.fromkeys((50072, 50074, 50076, 50078, 50079, 500121), _MFA),
    **dict.fromkeys((53000, 530002, 530003), frozenset({"compliantDevice"})),
    53001: frozenset({"domainJoinedDevice"}),
    **dict.fromkeys((53002, 530021), frozenset({"approvedApplication"})),
    53009: frozenset({"compliantApplication"}),
    50135: frozenset({"passwordChange", "riskRemediation"}),
}
"""The controls because of which Entra refuses with a code (Entra docs: *error codes*)."""


def _rank(case: _Case, cause: Cause) -> tuple[bool, ...]:
    """The likeliest first; those of one rank stay in the order of the policies. The sign-in log names policies only."""
    logged, fits = cause.policy_id.lower() in case.refused_by, _fits(case, cause)
    return (
        not (logged or (fits and not cause.policy_id)),
        not fits,
        not logged,
        not cause.certain,
        not cause.change,
        not cause.blocks,
    )


def _fits(case: _Case, cause: Cause) -> bool:
    """Whether Entra refuses with this code where it is the cause."""
    code, category = case.failed.code, case.failed.category
    if not cause.policy_id:
        if category is SignInCategory.RISK:
            return cause.certain and cause.blocks
        return code == _SECURITY_DEFAULTS or category is SignInCategory.MFA
    policy = case.found.policies.find(cause.policy_id) if case.found.policies else None
    wanted = _ASKED_BY_CODE.get(code or 0, frozenset())
    controls = policy.grant.controls if policy else ()
    return any(
        control.value in wanted or (control.kind is ControlKind.STRENGTH and wanted == _MFA) for control in controls
    )


# --- What else is said


def _logged(case: _Case) -> str:
    line = case.line
    if line is None:
        return ""
    refused = [each.name for each in line.policies if each.result == "failure"]
    said = [f"The sign-in log has it, from {line.address}{f' ({line.country})' if line.country else ''}."]
    if refused:
        said.append(f"It says that it was refused by {_listed(f'“{name}”' for name in refused)}.")
    elif line.status == "notApplied":
        said.append("It says that no policy applied.")
    if case.configured not in (None, line.address):
        said.append(f"LATCHKEY_EGRESS_IP says {case.configured}: correct it.")
    return " ".join(said)


def _both_sides(difference: Difference) -> str:
    ours, theirs = (_says(says) for says in (difference.ours, difference.theirs))
    reasons = f" ({', '.join(difference.their_reasons)})" if difference.their_reasons else ""
    return (
        f"“{difference.policy.name or difference.policy.id}”: Latchkey says that {ours}, Microsoft's own what-if that "
        f"{theirs}{reasons}."
    )


def _says(applies: bool | None) -> str:
    return {True: "it applies", False: "it does not apply", None: "it cannot tell"}[applies]


def _microsoft(case: _Case, differences: Sequence[Difference]) -> str:
    if case.found.answers is None or differences:
        return ""
    return "Microsoft's own what-if says the same of every policy."


def _not_given(case: _Case) -> Iterator[str]:
    if case.sign_in.conditions.address is None:
        yield (
            "From which address Latchkey signs in: not known. Set LATCHKEY_EGRESS_IP, or let its own identity read the "
            "sign-in log."
        )
    elif case.sign_in.conditions.country is None:
        yield f"In which country {case.sign_in.conditions.address} is: not known, so policies for countries are open."


def _meanwhile(case: _Case) -> tuple[str, ...]:
    said = ["What needs no session works as always: `/m365-audit`, `/m365-roles`, `/m365-rotate` and approvals."]
    if case.identity.kind is IdentityKind.SERVICE_ACCOUNT:
        said.append("What is urgent can be done in the Entra admin center, with your own administrator account.")
    return tuple(said)


def _some(sentences: Iterable[str], others: str) -> tuple[str, ...]:
    """At most as many as a card can show; how many *others* there are stands at the end."""
    said = tuple(sentences)
    left = len(said) - _MOST
    return said if left < 2 else (*said[:_MOST], f"{left} {others}")


_MOST: Final = 10


def _listed(words_: Iterable[str]) -> str:
    said = list(dict.fromkeys(words_))
    return " and ".join(part for part in (", ".join(said[:-1]), *said[-1:]) if part)
