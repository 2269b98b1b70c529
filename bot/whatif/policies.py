"""Conditional Access policies as Graph writes them (Graph docs: *conditionalAccessPolicy*), read into values.

Reading loses nothing: `Policy.raw` is what was read. Keys and values that are not known here are kept in it, and a
condition that is not known makes the policy one that cannot be judged to the end, never one that cannot be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from bot.errors import LatchkeyError
from bot.whatif.reading import Found, folded, is_said, quoted

if TYPE_CHECKING:
    from bot.model import JSON


class PolicyProblem(LatchkeyError):
    """A policy or named location has not the shape that Graph gives it; the sentence says where."""


class State:
    """The states of a policy. Another one may come: it is kept, and nobody can say what it does."""

    ENABLED: Final = "enabled"
    REPORT_ONLY: Final = "enabledForReportingButNotEnforced"
    DISABLED: Final = "disabled"


GUEST_KINDS: Final = folded(
    (
        "internalGuest",
        "b2bCollaborationGuest",
        "b2bCollaborationMember",
        "b2bDirectConnectUser",
        "otherExternalUser",
        "serviceProvider",
    )
)


@dataclass(frozen=True, slots=True)
class Choice:
    """What a condition includes and what it excludes; excluding wins."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.include or self.exclude)


@dataclass(frozen=True, slots=True)
class Guests:
    """Guests and external users of some kinds, from some tenants. `tenants` None means from all of them."""

    kinds: frozenset[str]
    tenants: frozenset[str] | None = None


ANY_GUESTS: Final = Guests(GUEST_KINDS)
"""What `GuestsOrExternalUsers` in a list of users stands for."""


@dataclass(frozen=True, slots=True)
class Users:
    users: Choice = field(default_factory=Choice)
    groups: Choice = field(default_factory=Choice)
    roles: Choice = field(default_factory=Choice)
    include_guests: Guests | None = None
    exclude_guests: Guests | None = None

    @property
    def includes_somebody(self) -> bool:
        return bool(self.users.include or self.groups.include or self.roles.include or self.include_guests)

    @property
    def is_one_person(self) -> bool:
        """Whether the policy was made for a single account, which to leave out would be to undo it."""
        others = (self.groups.include, self.roles.include, self.include_guests)
        return len(self.users.include) == 1 and self.users.include[0].lower() not in _MANY and not any(others)


_MANY: Final = {"all", "none", "guestsorexternalusers"}


@dataclass(frozen=True, slots=True)
class Filter:
    """A rule, and whether what it matches is what the policy is about (`include`) or not about (`exclude`)."""

    rule: str
    excludes: bool


@dataclass(frozen=True, slots=True)
class Workloads:
    """Service principals. A policy that names none of those it knows of is about none."""

    principals: Choice
    filter: Filter | None


class Aim(StrEnum):
    """What kind of target a policy names."""

    APPLICATIONS = "applications"
    USER_ACTIONS = "user actions"
    AUTHENTICATION_CONTEXTS = "authentication contexts"
    NETWORKS = "traffic profiles"
    """Of Global Secure Access. No sign-in that can be asked about goes there."""
    EVERYTHING = "everything"
    """Nothing is named."""


@dataclass(frozen=True, slots=True)
class Target:
    applications: Choice = field(default_factory=Choice)
    filter: Filter | None = None
    user_actions: tuple[str, ...] = ()
    contexts: tuple[str, ...] = ()
    aim: Aim = Aim.EVERYTHING


class ControlKind(StrEnum):
    BUILT_IN = "built-in"
    STRENGTH = "authentication strength"
    TERMS = "terms of use"
    CUSTOM = "custom"


@dataclass(frozen=True, slots=True, order=True)
class Control:
    """Something a policy demands before access is granted. `name` is what Graph calls it, if it says so."""

    kind: ControlKind
    value: str
    name: str = field(default="", compare=False)


BLOCK: Final = Control(ControlKind.BUILT_IN, "block")


@dataclass(frozen=True, slots=True)
class Grant:
    """The controls of a policy; `all_of_them` says that one is not enough."""

    controls: tuple[Control, ...] = ()
    all_of_them: bool = False

    @property
    def blocks(self) -> bool:
        return BLOCK in self.controls


@dataclass(frozen=True, slots=True)
class SessionLimit:
    """What a session is limited by, as Graph names it, and how: `signInFrequency`, `12 hours`."""

    name: str
    value: str = ""


TOKEN_PROTECTION: Final = "secureSignInSession"  # noqa: S105 - the name of a control
"""The one session control that can keep somebody out: it demands tokens bound to a device."""


_ACTIVE_SYNC: Final = ("easSupported", "easUnsupported")


@dataclass(frozen=True)
class Policy:
    """One policy. Two are the same policy if they have the same `id`; a draft may have none."""

    id: str
    name: str
    state: str
    users: Users
    workloads: Workloads | None
    target: Target
    client_apps: tuple[str, ...]
    platforms: Choice
    locations: Choice
    devices: Filter | None
    sign_in_risks: tuple[str, ...]
    user_risks: tuple[str, ...]
    principal_risks: tuple[str, ...]
    insider_risks: tuple[str, ...]
    flows: tuple[str, ...]
    not_known: tuple[str, ...]
    """Conditions that are set and not known here."""
    grant: Grant
    session: tuple[SessionLimit, ...]
    raw: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def all_client_apps(self) -> tuple[str, ...]:
        """With those that others include: `exchangeActiveSync` is that on platforms that are supported and on all other
        ones (Graph docs: *conditionalAccessConditionSet*)."""
        more = _ACTIVE_SYNC if "exchangeactivesync" in folded(self.client_apps) else ()
        return (*self.client_apps, *more)

    @property
    def is_empty(self) -> bool:
        """Whether it neither demands anything nor says of whom or for what."""
        says = self.users.includes_somebody or self.workloads or self.target.aim is not Aim.EVERYTHING
        return not (says or self.grant.controls or self.session)

    def to_json(self) -> JSON:
        return self.raw


def read_policies(data: JSON) -> tuple[Policy, ...]:
    """From a list, or from a page of Graph's answer. Raises `PolicyProblem`, also where two have the same id."""
    policies = tuple(read_policy(each, f"Policy {n}") for n, each in enumerate(listed(data, "The policies"), start=1))
    seen: set[str] = set()
    for policy in policies:
        if policy.id and policy.id in seen:
            raise PolicyProblem(f"There are two policies with the id {quoted(policy.id)}.")
        seen.add(policy.id)
    return policies


def listed(data: JSON, what: str) -> list[JSON]:
    """The list in *data*, which may be a page of Graph's answer. Raises `PolicyProblem`."""
    if isinstance(data, dict) and isinstance(data.get("value"), list):
        data = data["value"]
    if not isinstance(data, list):
        raise PolicyProblem(f"{what} are not a list, nor an answer of Graph that holds one under `value`.")
    return data


def read_policy(data: JSON, where: str = "The policy") -> Policy:
    """Raises `PolicyProblem`. *where* is what the sentence calls the policy before its name is known."""
    raw = Found.in_json(data, where, PolicyProblem)
    name = raw.text("displayName") or ""
    if name:
        raw = Found(raw.value, f"Policy {quoted(name)}", PolicyProblem)
    conditions = raw.part("conditions") or Found({}, raw.where, PolicyProblem)
    return Policy(
        id=raw.text("id") or "",
        name=name,
        state=raw.text("state") or State.DISABLED,
        users=_users(conditions.part("users")),
        workloads=_workloads(conditions.part("clientApplications")),
        target=_target(conditions.part("applications")),
        client_apps=conditions.names("clientAppTypes"),
        platforms=_choice(conditions.part("platforms"), "Platforms"),
        locations=_choice(conditions.part("locations"), "Locations"),
        devices=_filter((devices := conditions.part("devices")) and devices.part("deviceFilter")),
        sign_in_risks=conditions.names("signInRiskLevels"),
        user_risks=conditions.names("userRiskLevels"),
        principal_risks=conditions.names("servicePrincipalRiskLevels"),
        insider_risks=conditions.names("insiderRiskLevels"),
        flows=_flows(conditions.part("authenticationFlows")),
        not_known=_not_known(conditions, devices),
        grant=_grant(raw.part("grantControls")),
        session=_session(raw.part("sessionControls")),
        raw=raw.value,
    )


# --- Conditions -----------------------------------------------------------------------------------------------------

_KNOWN: Final = {
    "users", "clientApplications", "applications", "clientAppTypes", "platforms", "locations", "devices",
    "signInRiskLevels", "userRiskLevels", "servicePrincipalRiskLevels", "insiderRiskLevels", "authenticationFlows",
}  # fmt: skip


def _not_known(conditions: Found, devices: Found | None) -> tuple[str, ...]:
    unknown = [
        key for key, value in conditions.value.items() if key not in _KNOWN and "@" not in key and is_said(value)
    ]
    if devices is not None:
        named = [key for key in devices.value if key != "deviceFilter" and "@" not in key]
        unknown += [f"devices.{key}" for key in named if devices.given(key)]
        only = devices.part("deviceFilter")
        if only is not None and (only.text("mode") or "include").lower() not in ("include", "exclude"):
            unknown.append("devices.deviceFilter.mode")
    return tuple(sorted(unknown))


def _choice(part: Found | None, what: str) -> Choice:
    return Choice(part.names(f"include{what}"), part.names(f"exclude{what}")) if part else Choice()


def _users(part: Found | None) -> Users:
    if part is None:
        return Users()
    return Users(
        users=_choice(part, "Users"),
        groups=_choice(part, "Groups"),
        roles=_choice(part, "Roles"),
        include_guests=_guests(part.part("includeGuestsOrExternalUsers")),
        exclude_guests=_guests(part.part("excludeGuestsOrExternalUsers")),
    )


def _guests(part: Found | None) -> Guests | None:
    if part is None:
        return None
    tenants = part.part("externalTenants")
    some = tenants is not None and tenants.text("membershipKind") == "enumerated"
    kinds = folded(part.names("guestOrExternalUserTypes")) - {"none"}
    return Guests(kinds, folded(tenants.names("members")) if some and tenants else None) if kinds else None


def _workloads(part: Found | None) -> Workloads | None:
    if part is None:
        return None
    return Workloads(_choice(part, "ServicePrincipals"), _filter(part.part("servicePrincipalFilter")))


def _target(part: Found | None) -> Target:
    if part is None:
        return Target()
    applications, only = _choice(part, "Applications"), _filter(part.part("applicationFilter"))
    actions = part.names("includeUserActions")
    contexts = part.names("includeAuthenticationContextClassReferences")
    if actions:
        aim = Aim.USER_ACTIONS
    elif contexts:
        aim = Aim.AUTHENTICATION_CONTEXTS
    elif applications.include or (only and not only.excludes):
        aim = Aim.APPLICATIONS
    elif part.given("globalSecureAccess") or part.given("networkAccess"):
        aim = Aim.NETWORKS
    else:
        aim = Aim.EVERYTHING
    return Target(applications, only, actions, contexts, aim)


def _filter(part: Found | None) -> Filter | None:
    if part is None:
        return None
    rule = part.text("rule")
    return Filter(rule, excludes=(part.text("mode") or "").lower() == "exclude") if rule and rule.strip() else None


def _flows(part: Found | None) -> tuple[str, ...]:
    return tuple(flow for flow in part.names("transferMethods") if flow != "none") if part else ()


# --- Controls -------------------------------------------------------------------------------------------------------


def _grant(part: Found | None) -> Grant:
    if part is None:
        return Grant()
    controls = [Control(ControlKind.BUILT_IN, name) for name in part.names("builtInControls")]
    strength = part.part("authenticationStrength")
    if strength is not None:
        named = strength.text("displayName") or ""
        controls.append(Control(ControlKind.STRENGTH, (strength.text("id") or named).lower(), named))
    controls += [Control(ControlKind.TERMS, name) for name in part.names("termsOfUse")]
    controls += [Control(ControlKind.CUSTOM, name) for name in part.names("customAuthenticationFactors")]
    return Grant(tuple(controls), all_of_them=(part.text("operator") or "").upper() == "AND")


def _session(part: Found | None) -> tuple[SessionLimit, ...]:
    if part is None:
        return ()
    return tuple(
        SessionLimit(name, _how(value))
        for name, value in part.value.items()
        if "@" not in name and value is not False and _is_on(value)
    )


def _is_on(value: object) -> bool:
    return is_said(value) and not (isinstance(value, dict) and value.get("isEnabled") is False)


def _how(value: object) -> str:
    """The setting of a session control in as few words as say it."""
    if not isinstance(value, dict):
        return ""
    if value.get("value") is not None and value.get("type"):
        return f"{value['value']} {value['type']}"
    settings = (value.get(key) for key in ("frequencyInterval", "mode", "cloudAppSecurityType"))
    return next((setting for setting in settings if isinstance(setting, str)), "")
