"""Policies, their conditions and what came of them in plain English.

Every function takes *names*: what people call users, groups, roles, applications and locations, by id. An id that is
not among them is shown as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from bot.whatif import apps
from bot.whatif.evaluation import Clause, Decision, PolicyResult, Reason, Verdict
from bot.whatif.policies import (
    Aim,
    Choice,
    Control,
    ControlKind,
    Filter,
    Guests,
    Policy,
    SessionLimit,
    State,
    Users,
)
from bot.whatif.signins import Applications, AuthenticationContext, Person, Principal, SignIn, UserAction, Wanted

Names = Mapping[str, str]

MOST_NAMES: Final = 6
"""How many of a list are named; the rest are counted."""


# --- A policy -------------------------------------------------------------------------------------------------------


def explain(policy: Policy, names: Names) -> tuple[str, ...]:
    """Sentences: its state, who and what it is about, under which conditions, what it then does, what is not known."""
    return (
        f"{_STATES.get(policy.state, f'It is in the state {policy.state}, which is not known here.')}",
        f"It is about {who(policy, names)}, {target(policy, names)}.",
        *(f"Only {condition}." for condition in conditions(policy, names)),
        f"Then it {demand(policy, names)}.",
        *(f"It also has the condition `{name}`, which cannot be judged here." for name in policy.not_known),
    )


_STATES: Final = {
    State.ENABLED: "It is on.",
    State.REPORT_ONLY: "It only reports what it would do.",
    State.DISABLED: "It is off.",
}


def who(policy: Policy, names: Names) -> str:
    users, parts = policy.users, []
    if policy.workloads and policy.workloads.principals.include:
        parts.append(_choice(policy.workloads.principals, names, _PRINCIPALS))
    if policy.workloads and policy.workloads.filter:
        parts.append(f"service principals {_filtered(policy.workloads.filter)}")
    include = [
        *_special(users.users.include, names),
        *_counted("members of", users.groups.include, names),
        *_counted("holders of the role", users.roles.include, names),
        *([_guests(users.include_guests)] if users.include_guests else []),
    ]
    exclude = [
        *_special(users.users.exclude, names),
        *_counted("members of", users.groups.exclude, names),
        *_counted("holders of the role", users.roles.exclude, names),
        *([_guests(users.exclude_guests)] if users.exclude_guests else []),
    ]
    if include and not (parts and include == ["no users"]):
        parts.append(listed(include))
    if not parts and not policy.workloads:
        parts.append("all users")
    if exclude:
        parts.append(f"but not {listed(exclude, 'or')}")
    return ", ".join(parts) or "no one that is known here"


_PRINCIPALS: Final = {
    "all": "all service principals",
    "serviceprincipalsinmytenant": "all service principals of the tenant's own applications",
    "none": "no service principals",
}


def target(policy: Policy, names: Names) -> str:
    wanted = policy.target
    match wanted.aim:
        case Aim.USER_ACTIONS:
            return f"when they {listed((_ACTIONS.get(each.lower(), each) for each in wanted.user_actions), 'or')}"
        case Aim.AUTHENTICATION_CONTEXTS:
            return f"for what is marked with the authentication context {listed(wanted.contexts, 'or')}"
        case Aim.NETWORKS:
            return "for a traffic profile of Global Secure Access"
        case Aim.EVERYTHING:
            said = _choice(Choice(("All",), wanted.applications.exclude), {**apps.NAMES, **names}, _RESOURCES)
        case Aim.APPLICATIONS:
            said = _choice(wanted.applications, {**apps.NAMES, **names}, _RESOURCES)
    if wanted.filter:
        said = f"{said} {_filtered(wanted.filter)}".strip()
    return f"for {said}"


_ACTIONS: Final = {
    "urn:user:registersecurityinfo": "register security information",
    "urn:user:registerdevice": "register or join a device",
}
_RESOURCES: Final = {
    "all": "all resources",
    "none": "no resource",
    "office365": "Office 365",
    "microsoftadminportals": "Microsoft's admin portals",
}


def conditions(policy: Policy, names: Names) -> tuple[str, ...]:
    """Each condition that is set beside who and what, as words to follow *only*."""
    said: list[str] = []
    if policy.platforms:
        said.append(f"on {_choice(policy.platforms, _PLATFORMS, {'all': 'any platform'})}")
    if policy.devices:
        said.append(f"on devices {_filtered(policy.devices)}")
    if policy.client_apps and "all" not in policy.client_apps:
        said.append(f"through {listed(map(client_app, policy.client_apps), 'or')}")
    if policy.locations:
        places = {"all": "anywhere", "alltrusted": "all trusted locations", "none": "nowhere"}
        said.append(f"from {_choice(policy.locations, names, places)}")
    for levels, what in (
        (policy.sign_in_risks, "sign-in risk"),
        (policy.user_risks, "user risk"),
        (policy.principal_risks, "service principal risk"),
        (policy.insider_risks, "insider risk"),
    ):
        if levels:
            said.append(f"at {what} {listed(levels, 'or')}")
    if policy.flows:
        said.append(f"by {listed((_FLOWS.get(flow, flow) for flow in policy.flows), 'or')}")
    return tuple(said)


def client_app(name: str) -> str:
    """What people call a kind of client."""
    return _CLIENTS.get(name, name)


_PLATFORMS: Final = {"android": "Android", "windows": "Windows", "macos": "macOS", "linux": "Linux", "ios": "iOS"}
_CLIENTS: Final = {
    "browser": "a browser",
    "mobileAppsAndDesktopClients": "mobile apps and desktop clients",
    "exchangeActiveSync": "Exchange ActiveSync",
    "easSupported": "supported Exchange ActiveSync clients",
    "other": "clients with legacy authentication",
}
_FLOWS: Final = {"deviceCodeFlow": "device code", "authenticationTransfer": "authentication transfer"}


def demand(policy: Policy, names: Names) -> str:
    """What it does where it applies, as words to follow *it*."""
    grant, limits = policy.grant, [session_limit(limit) for limit in policy.session]
    if grant.blocks:
        said = ["blocks the sign-in"]
    elif grant.controls:
        joined = listed((control(each, names) for each in grant.controls), "and" if grant.all_of_them else "or")
        said = [f"demands {joined}"]
    else:
        said = []
    if limits:
        said.append(f"limits the session ({'; '.join(limits)})")
    return " and ".join(said) or "asks for nothing"


def control(each: Control, names: Names) -> str:
    match each.kind:
        case ControlKind.BUILT_IN:
            return _CONTROLS.get(each.value, each.value)
        case ControlKind.STRENGTH:
            named = each.name or names.get(each.value) or _STRENGTHS.get(each.value) or each.value
            return f"the authentication strength “{named}”"
        case ControlKind.TERMS:
            return f"acceptance of the terms of use “{names.get(each.value, each.value)}”"
        case ControlKind.CUSTOM:
            return f"the custom control “{names.get(each.value, each.value)}”"


_CONTROLS: Final = {
    "block": "nothing: it blocks",
    "mfa": "multifactor authentication",
    "compliantDevice": "a compliant device",
    "domainJoinedDevice": "a hybrid joined device",
    "approvedApplication": "an approved client app",
    "compliantApplication": "an app protection policy",
    "passwordChange": "a password change",
    "riskRemediation": "remediation of the risk",
}
_STRENGTHS: Final = {
    "00000000-0000-0000-0000-000000000002": "Multifactor authentication",
    "00000000-0000-0000-0000-000000000003": "Passwordless MFA",
    "00000000-0000-0000-0000-000000000004": "Phishing-resistant MFA",
}


def session_limit(limit: SessionLimit) -> str:
    named = _LIMITS.get(limit.name, limit.name)
    return f"{named}: {_SETTINGS.get(limit.value, limit.value)}" if limit.value else named


_LIMITS: Final = {
    "signInFrequency": "sign in again",
    "persistentBrowser": "stay signed in after the browser closes",
    "applicationEnforcedRestrictions": "restrictions that the application enforces",
    "cloudAppSecurity": "Defender for Cloud Apps",
    "secureSignInSession": "tokens bound to the device",
    "disableResilienceDefaults": "no sign-ins on old tokens during an outage",
    "continuousAccessEvaluation": "continuous access evaluation",
}
_SETTINGS: Final = {
    "everyTime": "every time",
    "mcasConfigured": "as configured there",
    "monitorOnly": "monitor only",
    "blockDownloads": "no downloads",
    "strictLocation": "strictly by location",
}


# --- What came of a sign-in -----------------------------------------------------------------------------------------


def describe(sign_in: SignIn, names: Names) -> str:
    """Who signs in, to what, from where."""
    person = names.get(sign_in.who.id, sign_in.who.id)
    parts = [person if isinstance(sign_in.who, Person) else f"service principal {person}"]
    parts.append(wanted(sign_in.what, {**apps.NAMES, **names}))
    given = sign_in.conditions
    if given.address is not None:
        parts.append(f"from {given.address}{f' ({given.country})' if given.country else ''}")
    elif given.country:
        parts.append(f"from {given.country}")
    if given.client_app:
        parts.append(f"through {client_app(given.client_app)}")
    if given.platform and given.platform.lower() != "all":
        parts.append(f"on {_PLATFORMS.get(given.platform.lower(), given.platform)}")
    if given.flow and given.flow != "none":
        parts.append(f"by {_FLOWS.get(given.flow, given.flow)}")
    return ", ".join(parts)


def wanted(what: Wanted | None, names: Names) -> str:
    match what:
        case Applications(ids):
            return f"to {listed(sorted(names.get(id_, id_) for id_ in ids))}"
        case UserAction():
            return f"to {_ACTIONS.get(what.urn, what.name)}"
        case AuthenticationContext(id_):
            return f"to what is marked {id_}"
        case None:
            return "to something that was not said"


def because(result: PolicyResult, names: Names, sign_in: SignIn | None = None) -> str:
    """Whether the policy applies, and `why`."""
    said = why(result, names, sign_in)
    if result.applies is None:
        return f"Nobody can tell whether it applies. {said}"
    if result.applies:
        return f"It applies because it {said.removeprefix('It ')}"
    return f"It does not apply: {said[:1].lower()}{said[1:]}"


def why(result: PolicyResult, names: Names, sign_in: SignIn | None = None) -> str:
    """Why the policy applies, or why not, or what would have to be known. With *sign_in*, it names of those whom the
    policy is about only what this sign-in is among."""
    if result.applies is None:
        return f"Not known: {listed(missing(name) for name in result.unknown)}."
    if result.applies:
        policy = result.policy if sign_in is None else _as_met_by(result.policy, sign_in.who)
        about = f"{who(policy, names)}, {target(policy, names)}"
        return f"It is about {'; '.join((about, *conditions(policy, names)))}."
    failing = listed(_REASONS[reason] for reason in result.failed)
    left_out = f" Not given: {listed(missing(name) for name in result.unknown)}." if result.unknown else ""
    return f"{failing[:1].upper()}{failing[1:]}.{left_out}"


def _as_met_by(policy: Policy, somebody: Person | Principal) -> Policy:
    """*policy* with the users left out among whom *somebody* is not; those that it excludes are left out, too."""
    if isinstance(somebody, Principal):
        return policy
    named, theirs = policy.users, {"all", somebody.id} | ({"guestsorexternalusers"} if somebody.external else set())
    met = Users(
        users=_only(named.users, theirs),
        groups=_only(named.groups, somebody.groups or ()),
        roles=_only(named.roles, somebody.roles or ()),
        include_guests=named.include_guests if somebody.external else None,
    )
    everybody = Users(users=Choice(("All",)))
    return replace(policy, users=everybody if "All" in met.users.include or not met.includes_somebody else met)


def _only(choice: Choice, ids: Collection[str]) -> Choice:
    return Choice(tuple(id_ for id_ in choice.include if id_.lower() in ids))


def reason(each: Reason) -> str:
    return _REASONS[each]


_REASONS: Final[Mapping[Reason, str]] = {
    Reason.NOT_ENOUGH_INFORMATION: "not enough is known",
    Reason.INVALID_CONDITION: "one of its conditions is not valid",
    Reason.USERS: "it is not about this user",
    Reason.WORKLOAD_IDENTITIES: "it is not about this service principal, or not at this risk",
    Reason.APPLICATION: "it is not about this resource",
    Reason.USER_ACTIONS: "it is about other user actions",
    Reason.AUTHENTICATION_CONTEXT: "it is about other authentication contexts",
    Reason.DEVICE_PLATFORM: "it is about other platforms",
    Reason.DEVICES: "its filter leaves this device out",
    Reason.CLIENT_APPS: "it is about other kinds of client",
    Reason.LOCATION: "it is about other locations",
    Reason.SIGN_IN_RISK: "the sign-in risk is another",
    Reason.EMPTY_POLICY: "it is empty",
    Reason.INVALID_POLICY: "it is not valid",
    Reason.POLICY_NOT_ENABLED: "it is off",
    Reason.USER_RISK: "the user risk is another",
    Reason.TIME: "it is about other times",
    Reason.INSIDER_RISK: "the insider risk is another",
    Reason.AUTHENTICATION_FLOW: "it is about other ways of signing in",
}

_MISSING: Final = {
    "groups": "the user's groups",
    "roles": "the user's directory roles",
    "externalUserType": "the kind of guest",
    "externalTenantId": "the guest's home tenant",
    "signInContext": "the resource",
    "ipAddress": "the address",
    "country": "the country",
    "compliantNetwork": "whether it comes through the compliant network",
    "devicePlatform": "the platform",
    "clientAppType": "the kind of client",
    "deviceInfo": "the device",
    "signInRiskLevel": "the sign-in risk",
    "userRiskLevel": "the user risk",
    "servicePrincipalRiskLevel": "the service principal's risk",
    "insiderRiskLevel": "the insider risk",
    "authenticationFlow": "the way of signing in",
}


def missing(name: str) -> str:
    return _MISSING.get(name, f"the {name}")


def summary(verdict: Verdict, names: Names) -> str:
    """What it comes to, in one sentence."""
    match verdict.decision:
        case Decision.BLOCK:
            blocking = [policy.name or policy.id for policy in verdict.enforced.applying if policy.grant.blocks]
            return f"Blocked by {listed(f'“{name}”' for name in blocking)}."
        case Decision.CONTROLS_REQUIRED:
            return f"Allowed with {clauses(verdict.controls, names)}."
        case Decision.ALLOW:
            return "Allowed."


def clauses(needed: Sequence[Clause], names: Names) -> str:
    """Everything that has to be met."""
    parts = [listed((control(each, names) for each in sorted(clause)), "or") for clause in needed]
    several = len(parts) > 1
    return listed(
        f"({part})" if several and len(clause) > 1 else part for part, clause in zip(parts, needed, strict=True)
    )


# --- Lists ----------------------------------------------------------------------------------------------------------


def listed(words: Iterable[str], joined: str = "and") -> str:
    """*a, b and c*, with what is too long for a sentence counted."""
    said = list(dict.fromkeys(words))
    if len(said) > MOST_NAMES:
        said = [*said[: MOST_NAMES - 1], f"{len(said) - MOST_NAMES + 1} more"]
    return f" {joined} ".join(part for part in (", ".join(said[:-1]), *said[-1:]) if part)


def _choice(choice: Choice, names: Names, special: Names) -> str:
    def called(id_: str) -> str:
        return special.get(id_.lower()) or names.get(id_.lower()) or names.get(id_) or id_

    include = listed(map(called, choice.include), "or") or special["all"]
    return f"{include} except {listed(map(called, choice.exclude), 'or')}" if choice.exclude else include


def _special(users: Sequence[str], names: Names) -> list[str]:
    said = {"all": "all users", "none": "no users", "guestsorexternalusers": "all guests and external users"}
    return [
        said.get(user.lower()) or names.get(user.lower()) or names.get(user) or f"the user {user}" for user in users
    ]


def _counted(what: str, ids: Sequence[str], names: Names) -> list[str]:
    if not ids:
        return []
    return [f"{what} {listed((names.get(id_.lower()) or names.get(id_) or id_ for id_ in ids), 'or')}"]


def _guests(guests: Guests) -> str:
    kinds = listed((_GUESTS.get(kind, kind) for kind in sorted(guests.kinds)), "or")
    if guests.tenants is None:
        return kinds
    count = len(guests.tenants)
    return f"{kinds} from {count} named tenant{'' if count == 1 else 's'}"


_GUESTS: Final = {
    "internalguest": "local guests",
    "b2bcollaborationguest": "B2B collaboration guests",
    "b2bcollaborationmember": "B2B collaboration members",
    "b2bdirectconnectuser": "B2B direct connect users",
    "otherexternaluser": "other external users",
    "serviceprovider": "service providers",
}


def _filtered(only: Filter) -> str:
    return f"that {'do not match' if only.excludes else 'match'} `{only.rule}`"
