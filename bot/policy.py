"""Decide who may do what to whom: pure, deny by default, a deny wins, every answer with its reasons.

A decision keeps codes and ids; `words` and `because` make sentences of them when somebody wants to read them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from bot.actions._action import Action
from bot.directory_roles import GLOBAL_ADMINISTRATOR, HARMLESS, names_of
from bot.model import (
    Grant,
    Identity,
    Operator,
    Person,
    Plan,
    Rights,
    ScopeOp,
    ScopeRule,
    Session,
    SessionState,
    TenantSettings,
)

ADMIN_COMMAND: Final = "/m365-roles"
"""Who holds this command is a tenant admin: the people to ask when no other operator can help."""

APPROVE_COMMAND: Final = "/m365 approve"
"""Who holds this command may agree to what others ask for."""

ACKNOWLEDGE_COMMAND: Final = "/m365-rotate acknowledge"
"""Who holds this command may acknowledge alerts; who may approve may do that, too."""

_NEVER_TYPED: Final = {APPROVE_COMMAND: "approve what others ask for", ACKNOWLEDGE_COMMAND: "acknowledge alerts"}
"""What people press, and what is said of it in place of a command."""

LONGEST_TICKET: Final = 64
"""A longer ticket is refused before the tenant's pattern, which may be slow on long text, is tried on it."""


class Verdict(StrEnum):
    ALLOW = "allow"
    NEEDS_APPROVAL = "needs_approval"
    DENY = "deny"


class Code(StrEnum):
    """What was looked at. The same code stands for a yes and a no; `Finding.ok` tells which."""

    OPERATOR = "operator"
    SUSPENDED = "suspended"
    COMMAND = "command"
    EXPIRED = "expired"
    ACCOUNT = "account"
    TARGET = "target"
    SCOPE = "scope"
    FACTS = "facts"
    OUR_IDENTITY = "our_identity"
    OWN_ACCOUNT = "own_account"
    NEVER_TOUCH = "never_touch"
    DIRECTORY_ROLE = "directory_role"
    ROLE_ASSIGNABLE_GROUP = "role_assignable_group"
    RESTRICTED_UNIT = "restricted_unit"
    GUEST = "guest"
    UNLIMITED = "unlimited"
    PROTECTION = "protection"
    ELIGIBILITY = "eligibility"
    ASK_FIRST = "ask_first"
    APPROVAL = "approval"
    OWN_REQUEST = "own_request"
    POWER_GROUP = "power_group"
    SESSION = "session"
    DELEGATED_ONLY = "delegated_only"
    IDENTITY_ROLE = "identity_role"
    REASON = "reason"
    VERIFIED = "verified"
    TICKET = "ticket"


_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, whether it lets the request pass, and the ids and names it was about."""

    code: Code
    ok: bool
    facts: Mapping[str, str] = field(default_factory=lambda: _NOTHING)


@dataclass(frozen=True)
class Question:
    """All that a decision is made from. What is not known is left out, and then never allows a write.

    `session` and `our_identities` matter to writes; `plan` is given once there is one, so that a change to a group
    that decides about power is found. `power_groups` are the ids of all groups that any scope names, `around` those of
    all groups that the changed ones are in. `asking` is set while a form will still ask for the reason, how the caller
    was verified and the ticket (and for `can`): what is missing of them is then noted and does not refuse.
    """

    rights: Rights
    command: str
    action: Action | None
    now: datetime
    settings: TenantSettings
    target: Person | None = None
    session: Session | None = None
    our_identities: frozenset[str] = frozenset()
    reason: str = ""
    verified: str = ""
    ticket: str = ""
    ticket_pattern: str | None = None
    asking: bool = False
    plan: Plan | None = None
    power_groups: frozenset[str] = frozenset()
    around: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Decision:
    """The verdict, everything that was looked at in order, and the grant that allowed it (None if none did)."""

    verdict: Verdict
    trace: tuple[Finding, ...]
    grant: Grant | None = None

    @property
    def deny(self) -> Finding | None:
        """What stops it: the first refusal, or else the need of an approval; None if it may go on."""
        waits = None
        for finding in self.trace:
            if not finding.ok:
                if finding.code not in _AGREED_TO:
                    return finding
                waits = waits or finding
        return waits


_AGREED_TO: Final = (Code.ASK_FIRST, Code.APPROVAL)
"""What somebody else may allow by agreeing."""


# --- Deciding -------------------------------------------------------------------------------------------------------


def decide_person(question: Question) -> Decision:
    """Whether this person may use this command at all; reads nothing of the tenant. With a session, also whether the
    identity that would act in it can do the action at all."""
    trace, live = _about_the_person(question)
    action, session = question.action, question.session
    if live and action is not None and not action.own and session is not None and session.identity is not None:
        trace.append(check_identity(action, session.identity))
    return _verdict(trace, live[0] if live else None)


def decide_for_everybody(question: Question) -> Decision:
    """Whether this person may use this command, which concerns everybody: a grant limited to some people is none."""
    trace, live = _about_the_person(question)
    return _verdict(trace, _without_limits(live, trace) if live else None)


def holds(rights: Rights, command: str, now: datetime, settings: TenantSettings) -> bool:
    """Whether the person with these *rights* may use *command* for everybody: who so holds the command of a matter of
    Latchkey's own decides on it."""
    return decide_for_everybody(Question(rights, command, None, now, settings)).verdict is not Verdict.DENY


def decide(question: Question) -> Decision:
    """Whether this may be done, to this target, as everything is now. Reads of the tenant skip what protects targets.

    Without an action (a built-in such as `help`) this is `decide_person`. What is Latchkey's own has no person as its
    target: whoever changes it needs a grant that is not limited to some people.
    """
    trace, live = _about_the_person(question)
    action, grant = question.action, live[0] if live else None
    if action is not None and grant is not None and action.own:
        grant = _without_limits(live, trace)
        trace.extend(_about_demands(question, action))
        trace.extend(_about_approval(question, action))
    elif action is not None and grant is not None:
        if question.target is None:
            trace.append(Finding(Code.TARGET, False))
        else:
            grant = _about_the_scope(live, question.target, trace)
            if action.writes:
                trace.extend(_about_protection(question, action, question.target))
        if action.writes:
            trace.append(_about_the_session(question.session))
        if question.session is not None and question.session.identity is not None:
            trace.append(check_identity(action, question.session.identity))
        if action.writes:
            trace.extend(_about_demands(question, action))
        trace.extend(_about_approval(question, action))
    return _verdict(trace, grant)


def decide_agreement(
    rights: Rights, asked_by: Operator | None, *, own: bool, command: str, now: datetime, settings: TenantSettings
) -> Decision:
    """Whether the person with these *rights* may agree to what somebody else asked for, or may deny it.

    *rights* are those to `agreed_by(...)`, which is *command*. What is Latchkey's *own* is agreed to by those who could
    ask for it themselves.
    """
    trace, live = _about_the_person(Question(rights, command, None, now, settings))
    operator, grant = rights.operator, live[0] if live else None
    if grant is not None and operator is not None:
        grant = _without_limits(live, trace)
        trace.append(_UNBOUND if operator.account_id is None else _BOUND)
        if asked_by is None or _are_the_same(operator, asked_by):
            trace.append(Finding(Code.OWN_REQUEST, False))
    return _verdict(trace, grant)


def _are_the_same(one: Operator, other: Operator) -> bool:
    """Whether two operators are one person, who may have two Slack accounts."""
    accounts = [operator.account_id and operator.account_id.lower() for operator in (one, other)]
    return one.id == other.id or (accounts[0] is not None and accounts[0] == accounts[1])


def agreed_by(action: Action) -> str:
    """The command whose holders may agree to *action*."""
    return action.command if action.own else APPROVE_COMMAND


def needs_guard(question: Question) -> bool:
    """Whether the target must be read with `read_person(guard=True)` before `decide`: for every write, and for a read
    that a scope limits to the members of a group."""
    writes = question.action is not None and question.action.writes
    return writes or any(_asks_for_a_group(grant.scope.rule) for grant in question.rights.grants if grant.scope)


def changed_groups(plan: Plan) -> set[str]:
    """The ids of the groups whose members *plan* would change: only then does `decide` need `power_groups` and
    `around`."""
    return {call.path[1] for call in plan.calls if call.path[0] == "groups" and len(call.path) > 1}


def check_identity(action: Action, identity: Identity) -> Finding:
    """Whether the identity that would act can do *action*, by its kind and directory roles. `help` greys out by it."""
    if action.delegated_only and not identity.delegated:
        return Finding(Code.DELEGATED_ONLY, False, {"identity": identity.name})
    needed = action.roles_for(identity)
    if needed and identity.roles.isdisjoint((*needed, GLOBAL_ADMINISTRATOR)):
        return Finding(Code.IDENTITY_ROLE, False, {"identity": identity.name, "needed": _or(names_of(needed))})
    return _IDENTITY_SUFFICES


_KNOWN: Final = Finding(Code.OPERATOR, True)
_STRANGER: Final = Finding(Code.OPERATOR, False)
_SUSPENDED: Final = Finding(Code.SUSPENDED, False)
_BOUND: Final = Finding(Code.ACCOUNT, True)
_UNBOUND: Final = Finding(Code.ACCOUNT, False)
_SESSION_ON: Final = Finding(Code.SESSION, True)
_SESSION_OFF: Final = Finding(Code.SESSION, False)
_IDENTITY_SUFFICES: Final = Finding(Code.IDENTITY_ROLE, True)


def _verdict(trace: list[Finding], grant: Grant | None) -> Decision:
    decision = Decision(Verdict.ALLOW, tuple(trace), grant)
    stops = decision.deny
    if stops is None and grant is not None:
        return decision
    if stops is not None and stops.code in _AGREED_TO and grant is not None:
        return Decision(Verdict.NEEDS_APPROVAL, decision.trace, grant)
    return Decision(Verdict.DENY, decision.trace)


def _about_the_person(question: Question) -> tuple[list[Finding], list[Grant]]:
    """The findings, and the grants that count now: none if the person is refused."""
    rights = question.rights
    operator = rights.operator
    if operator is None:
        return [_STRANGER], []
    if operator.suspended:
        return [_KNOWN, _SUSPENDED], []
    live = [grant for grant in rights.grants if grant.expires_at is None or grant.expires_at > question.now]
    if not live:
        return [_KNOWN, _no_grant(question)], []
    if len(live) > 1:
        live.sort(key=_by_reach)
    role = live[0].role if len(live) == 1 else _and(sorted({grant.role for grant in live}))
    trace = [_KNOWN, Finding(Code.COMMAND, True, {"role": role})]
    if question.action is not None and question.action.writes:
        if operator.account_id is None:
            trace.append(_UNBOUND)
            return trace, []
        trace.append(_BOUND)
    return trace, live


def _by_reach(grant: Grant) -> tuple[bool, str, str, str]:
    """Grants without a scope first, so that the order they are read in does not matter."""
    scope = grant.scope
    return scope is not None, grant.role, scope.name if scope else "", grant.id


def _no_grant(question: Question) -> Finding:
    ended = [(grant.expires_at, grant.role) for grant in question.rights.grants if grant.expires_at is not None]
    if ended:
        when, role = max(ended)
        return Finding(Code.EXPIRED, False, {"role": role, "ended": when.isoformat()})
    return Finding(Code.COMMAND, False, {"command": question.command, "roles": _and(question.rights.other_roles)})


def _without_limits(live: Sequence[Grant], trace: list[Finding]) -> Grant | None:
    """The first grant that counts for everybody; says in *trace* that there is none."""
    if live[0].scope is None:  # those without a scope come first
        return live[0]
    trace.append(Finding(Code.UNLIMITED, False, {"scope": live[0].scope.name}))
    return None


def _about_the_scope(live: Sequence[Grant], target: Person, trace: list[Finding]) -> Grant | None:
    """The first grant whose scope covers the target; says in *trace* why, or why each does not."""
    outside = []
    for grant in live:
        if grant.scope is None:
            trace.append(Finding(Code.SCOPE, True, {"target": target.name}))
            return grant
        if _holds(grant.scope.rule, target):
            trace.append(Finding(Code.SCOPE, True, {"target": target.name, "scope": grant.scope.name}))
            return grant
        needs, found = _obstacle(grant.scope.rule, target)
        facts = {"target": target.name, "scope": grant.scope.name, "needs": needs, "found": found}
        outside.append(Finding(Code.SCOPE, False, facts))
    trace.extend(outside)
    return None


def _about_protection(question: Question, action: Action, target: Person) -> Iterator[Finding]:
    settings, operator = question.settings, question.rights.operator
    about = {"target": target.name}
    found = []
    if _is_one_of(target, (*question.our_identities, settings.identity_id)):
        found.append(Finding(Code.OUR_IDENTITY, False, about))
    if operator is None or _is_one_of(target, (operator.account_id,)):
        found.append(Finding(Code.OWN_ACCOUNT, False, about))
    if not target.guarded:
        found.append(Finding(Code.FACTS, False, about))
    if settings.never_touch_group in target.groups:
        found.append(Finding(Code.NEVER_TOUCH, False, about))
    if powerful := target.directory_roles - HARMLESS:
        found.append(Finding(Code.DIRECTORY_ROLE, False, {**about, "roles": _and(names_of(powerful))}))
    if target.in_role_assignable_group:
        found.append(Finding(Code.ROLE_ASSIGNABLE_GROUP, False, about))
    if target.in_restricted_unit:
        found.append(Finding(Code.RESTRICTED_UNIT, False, about))
    if target.guest and action.not_for_guests:
        found.append(Finding(Code.GUEST, False, {**about, "why": action.not_for_guests}))
    yield from found or [Finding(Code.PROTECTION, True, about)]
    if target.eligibility_unknown:
        yield Finding(Code.ELIGIBILITY, True, about)
    if settings.ask_first_group in target.groups:
        yield Finding(Code.ASK_FIRST, False, about)
    yield from _about_the_plan(question)


def _is_one_of(target: Person, ids: Iterable[str | None]) -> bool:
    return target.id.lower() in {known.lower() for known in ids if known}


def _about_the_plan(question: Question) -> Iterator[Finding]:
    """Whoever fills such a group decides whom Latchkey may touch, which is more than the command was granted for."""
    if question.plan is None:
        return
    changed = changed_groups(question.plan) | question.around
    settings, scopes = question.settings, [grant.scope for grant in question.rights.grants if grant.scope]
    decisive = {settings.never_touch_group, settings.ask_first_group} | question.power_groups
    decisive.update(group for scope in scopes for group in _groups_of(scope.rule))
    for group in sorted(changed & decisive):
        yield Finding(Code.POWER_GROUP, False, {"group": group})


def _about_the_session(session: Session | None) -> Finding:
    works = session is not None and session.identity is not None
    if works and session is not None and session.state in (SessionState.ON, SessionState.DEGRADED):
        return _SESSION_ON
    return _SESSION_OFF


def _about_demands(question: Question, action: Action) -> Iterator[Finding]:
    settings = question.settings
    if settings.reason_required:
        yield _demand(Code.REASON, bool(question.reason.strip()), question)
    if settings.verification_required and action.verify_caller:
        yield _demand(Code.VERIFIED, bool(question.verified.strip()), question)
    if question.ticket_pattern is not None:
        ticket = question.ticket.strip()
        fits = len(ticket) <= LONGEST_TICKET and re.fullmatch(question.ticket_pattern, ticket) is not None
        facts = {"ticket": ticket[:LONGEST_TICKET], "pattern": question.ticket_pattern}
        yield _demand(Code.TICKET, fits, question, facts if ticket else {"pattern": question.ticket_pattern})


def _about_approval(question: Question, action: Action) -> Iterator[Finding]:
    """Somebody else has to agree to some actions always, and to others as the plan says why."""
    if action.approval:
        yield Finding(Code.APPROVAL, False)
    elif question.plan is not None and question.plan.approval:
        yield Finding(Code.APPROVAL, False, {"why": question.plan.approval})


def _demand(code: Code, met: bool, question: Question, facts: Mapping[str, str] = _NOTHING) -> Finding:
    if met or not question.asking:
        return Finding(code, met, facts)
    return Finding(code, True, {**facts, "asked": "later"})


# --- Scopes ---------------------------------------------------------------------------------------------------------


def _holds(rule: ScopeRule, person: Person) -> bool | None:
    """Whether *rule* is true of *person*; None if that cannot be known, which neither `NOT` nor anything else turns
    into a yes. A rule that asks nothing is never true."""
    match rule.op:
        case ScopeOp.ATTRIBUTE:
            value = person.attributes.get(rule.attribute)
            if value is None or not rule.values:
                return None
            return value.casefold() in (wanted.casefold() for wanted in rule.values)
        case ScopeOp.GROUP:
            return rule.values[0] in person.groups if person.guarded and rule.values else None
        case ScopeOp.ALL:
            return _every([_holds(part, person) for part in rule.parts])
        case ScopeOp.ANY:
            return _negated(_every([_negated(_holds(part, person)) for part in rule.parts]))
        case ScopeOp.NOT:
            return _every([_negated(_holds(part, person)) for part in rule.parts])


def _every(answers: list[bool | None]) -> bool | None:
    if False in answers:
        return False
    return None if None in answers or not answers else True


def _negated(answer: bool | None) -> bool | None:
    return None if answer is None else not answer


def _groups_of(rule: ScopeRule) -> Iterator[str]:
    if rule.op is ScopeOp.GROUP:
        yield from rule.values[:1]
    for part in rule.parts:
        yield from _groups_of(part)


def _asks_for_a_group(rule: ScopeRule) -> bool:
    return next(_groups_of(rule), None) is not None


def _obstacle(rule: ScopeRule, person: Person) -> tuple[str, str]:
    """The first condition that is not met, in words, and what was found instead."""
    if rule.op is ScopeOp.ALL:
        for part in rule.parts:
            if not _holds(part, person):
                return _obstacle(part, person)
    if rule.op is ScopeOp.ATTRIBUTE:
        value = person.attributes.get(rule.attribute)
        return _condition(rule), "not known" if value is None else value or "empty"
    if _holds(rule, person) is None:
        return _condition(rule), "not known"
    return _condition(rule), ""


_CALLED: Final = {
    "jobTitle": "title",
    "officeLocation": "office",
    "companyName": "company",
    "usageLocation": "usage location",
    "employeeType": "employee type",
    "userType": "user type",
    "userPrincipalName": "sign-in name",
}


def _condition(rule: ScopeRule) -> str:
    match rule.op:
        case ScopeOp.ATTRIBUTE:
            return f"{_CALLED.get(rule.attribute, rule.attribute)} {_or(rule.values)}"
        case ScopeOp.GROUP:
            return f"membership in the group {_or(rule.values[:1])}"
        case ScopeOp.ALL:
            return " and ".join(map(_condition, rule.parts)) or "nothing"
        case ScopeOp.ANY:
            return " or ".join(map(_condition, rule.parts)) or "nothing"
        case ScopeOp.NOT:
            return f"not {' or '.join(map(_condition, rule.parts)) or 'nothing'}"


# --- Words ----------------------------------------------------------------------------------------------------------

_DEMANDS: Final = (Code.REASON, Code.VERIFIED, Code.TICKET)
_ANOTHER_OPERATOR_CAN: Final = (Code.COMMAND, Code.SCOPE, Code.UNLIMITED, Code.OWN_ACCOUNT, Code.OWN_REQUEST)
_NOBODY_IS_NEEDED: Final = (*_DEMANDS, Code.ACCOUNT, Code.TARGET, Code.SESSION, Code.FACTS)


def who_helps(decision: Decision, command: str) -> str:
    """The command whose holders can help the person who was refused (for `Operators.who_may`); empty if the person
    can help themselves. The person who asked may be among the holders: leave them out before naming anybody."""
    stops = decision.deny
    if stops is None or stops.code in _NOBODY_IS_NEEDED:
        return ""
    return command if stops.code in _ANOTHER_OPERATOR_CAN else ADMIN_COMMAND


def because(decision: Decision, ask: Sequence[str] = (), *, zone: tzinfo = UTC) -> str:
    """The decision in full sentences: what stops it and what to do next, with *ask* as the names of who can help
    (see `who_helps`). Everything that is still demanded is said at once."""
    stops = decision.deny
    if stops is None:
        return " ".join(words(finding, zone=zone) for finding in decision.trace if finding.code in _WHY_YES)
    if stops.code in _DEMANDS:
        return " ".join(words(finding) for finding in decision.trace if not finding.ok and finding.code in _DEMANDS)
    return words(stops, ask, zone=zone)


_WHY_YES: Final = (Code.COMMAND, Code.SCOPE)


def words(finding: Finding, ask: Sequence[str] = (), *, zone: tzinfo = UTC) -> str:
    """A finding in full sentences; a refusal ends in what to do next.

    Names in them come from the tenant: escape the sentence where it is shown. Times are given in *zone*.
    """
    facts = {key: _printable(value) for key, value in finding.facts.items()}
    return _yes(finding.code, facts) if finding.ok else _no(finding.code, facts, ask, zone)


def briefly(finding: Finding, *, zone: tzinfo = UTC) -> str:
    """A refusal for a list of what somebody cannot do: the same words for everything that the same stands against."""
    facts = {key: _printable(value) for key, value in finding.facts.items()}
    match finding.code:
        case Code.COMMAND:
            held = facts["roles"]
            return f"Your roles do not include it; you hold {held}." if held else "You hold no role at the moment."
        case Code.IDENTITY_ROLE:
            return f"{facts['identity']} lacks the directory role for it: {facts['needed']}."
        case Code.DELEGATED_ONLY:
            return f"Only a signed-in account can do it, and {facts['identity']} is an application."
        case _:
            return words(finding, zone=zone)


def _yes(code: Code, facts: Mapping[str, str]) -> str:
    later = "asked" in facts
    match code:
        case Code.OPERATOR:
            return "You are a Latchkey operator."
        case Code.COMMAND:
            return f"You may use this as {facts['role']}."
        case Code.ACCOUNT:
            return "Your Microsoft account is linked."
        case Code.SCOPE if "scope" in facts:
            return f"{facts['target']} is in your scope “{facts['scope']}”."
        case Code.SCOPE:
            return f"Your grant covers everybody, so {facts['target']} too."
        case Code.PROTECTION:
            return f"{facts['target']} is no administrator and not a protected account."
        case Code.ELIGIBILITY:
            return "This tenant's licence has no eligible (PIM) roles, so there were none to check."
        case Code.SESSION:
            return "The management session is on."
        case Code.IDENTITY_ROLE:
            return "The identity that acts has the directory role this needs."
        case Code.REASON:
            return "You will be asked for a reason." if later else "A reason is given."
        case Code.VERIFIED:
            return (
                "You will be asked how you verified the caller." if later else "It is said how the caller was verified."
            )
        case Code.TICKET:
            return "You will be asked for a ticket number." if later else "A ticket number is given."
        case _:
            raise ValueError(f"{code} has no good news")


def _no(code: Code, facts: Mapping[str, str], ask: Sequence[str], zone: tzinfo) -> str:
    target = facts.get("target", "this account")
    elsewhere = _ask(ask, "to do it in the Microsoft Entra admin center")
    match code:
        case Code.OPERATOR:
            return f"You are not a Latchkey operator. {_ask(ask, 'to give you a role')}"
        case Code.SUSPENDED:
            return f"Your Latchkey access is suspended. {_ask(ask, 'why, and to lift it')}"
        case Code.COMMAND:
            held = facts["roles"]
            roles = f"Your roles do not include it; you hold {held}" if held else "You hold no role at the moment"
            command = facts["command"]
            what = _NEVER_TYPED.get(command, f"use `{command}`")
            return f"You may not {what}. {roles}. {_ask(ask, 'to do it for you')}"
        case Code.EXPIRED:
            ended = _moment(facts["ended"], zone)
            return f"Your grant of the role {facts['role']} ended on {ended}. {_ask(ask, 'to renew it')}"
        case Code.ACCOUNT:
            return (
                "No Microsoft account is linked to you yet, so you may look things up but not change anything. "
                "Type `/m365 link` to link yours."
            )
        case Code.TARGET:
            return "It is not clear whom this is for. Type the person's sign-in name, such as `adele@contoso.com`."
        case Code.SCOPE:
            found = f"; found is {facts['found']}" if facts["found"] else ""
            return (
                f"{target} is outside your scope “{facts['scope']}”, which asks for {facts['needs']}{found}. "
                f"{_ask(ask, 'to do it for you')}"
            )
        case Code.FACTS:
            return (
                f"Latchkey could not read whether {target} is a protected account, so nothing is changed. "
                "Try again; if it stays so, ask a tenant admin to run `latchkey doctor`."
            )
        case Code.OUR_IDENTITY:
            return f"{target} is an account that Latchkey itself works with, which it never changes. {elsewhere}"
        case Code.OWN_ACCOUNT:
            return f"{target} is your own account, which nobody changes for themselves. {_ask(ask, 'to do it for you')}"
        case Code.NEVER_TOUCH:
            return f"{target} is on the list of accounts that Latchkey never touches. {elsewhere}"
        case Code.DIRECTORY_ROLE:
            return f"{target} is an administrator ({facts['roles']}), so Latchkey leaves the account alone. {elsewhere}"
        case Code.ROLE_ASSIGNABLE_GROUP:
            return (
                f"{target} belongs to a group that can make people administrators, so Latchkey leaves the account "
                f"alone. {elsewhere}"
            )
        case Code.RESTRICTED_UNIT:
            return f"{target} is in a restricted administrative unit, left to its own administrators. {elsewhere}"
        case Code.GUEST:
            return f"{target} is a guest. {facts['why']}"
        case Code.UNLIMITED:
            return (
                f"This concerns everybody, and your role counts only within “{facts['scope']}”. "
                f"{_ask(ask, 'to do it for you')}"
            )
        case Code.ASK_FIRST:
            return f"{target} is on the list of people to ask about first, so somebody else has to approve this."
        case Code.APPROVAL:
            return " ".join(filter(None, (facts.get("why"), "Somebody else has to approve this.")))
        case Code.OWN_REQUEST:
            return f"Nobody approves their own request. {_ask(ask, 'to look at it')}"
        case Code.POWER_GROUP:
            return (
                f"The group {facts['group']} decides whom Latchkey may touch, so it is not changed through Latchkey. "
                f"{elsewhere}"
            )
        case Code.SESSION:
            return (
                "The management session is not on, so nothing can be changed. Type `/m365-session on`, then try again."
            )
        case Code.DELEGATED_ONLY:
            return (
                f"Microsoft lets only a signed-in account do this, and Latchkey works here as the application "
                f"{facts['identity']}. {_ask(ask, 'to do it in the Microsoft Entra admin center')}"
            )
        case Code.IDENTITY_ROLE:
            return (
                f"Latchkey works as {facts['identity']}, which lacks the directory role this needs: "
                f"{facts['needed']}. {_ask(ask, 'to assign it in the Microsoft Entra admin center')}"
            )
        case Code.REASON:
            return 'A reason is needed. Add it, such as `--reason "locked out"`.'
        case Code.VERIFIED:
            return 'It must be said how you verified the caller. Add it, such as `--verified "called back"`.'
        case Code.TICKET:
            wrong = f", which `{facts['ticket']}` is not" if "ticket" in facts else ""
            return f"A ticket number is needed{wrong}. Add `--ticket` and the number, in the form `{facts['pattern']}`."
        case Code.PROTECTION | Code.ELIGIBILITY:
            raise ValueError(f"{code} never refuses")


def _ask(names: Sequence[str], deed: str) -> str:
    return f"Ask {_or([_printable(name) for name in names]) or 'a tenant admin'} {deed}."


def _moment(when: str, zone: tzinfo) -> str:
    local = datetime.fromisoformat(when).astimezone(zone)
    return f"{local.day} {local:%B %Y at %H:%M %Z}"


def _or(items: Iterable[str]) -> str:
    return _listed(list(items), "or")


def _and(items: Iterable[str]) -> str:
    return _listed(list(items), "and")


def _listed(items: list[str], word: str) -> str:
    return f"{', '.join(items[:-1])} {word} {items[-1]}" if len(items) > 1 else "".join(items)


def _printable(text: str) -> str:
    """*text* on one line, without characters that are not seen, and not endless."""
    seen = text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)
    return " ".join(seen.split())[:200]
