"""A sign-in to ask about: who, to what, under which conditions; as Graph's `evaluate` takes it, and read from there.

What is None was not given. Graph docs: *conditionalAccessRoot: evaluate*, *signInConditions*.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from bot.errors import LatchkeyError
from bot.whatif.filter_rules import Device
from bot.whatif.locations import Address, read_address
from bot.whatif.policies import GUEST_KINDS
from bot.whatif.reading import Found, folded

if TYPE_CHECKING:
    from bot.model import JSON


class SignInProblem(LatchkeyError):
    """A sign-in has not the shape of a request to `evaluate`; the sentence says where."""


def group_name(id_: str) -> str:
    return id_


def role_name(id_: str) -> str:
    """Told apart from a group of the same id, should there ever be one."""
    return f"role {id_}"


@dataclass(frozen=True)
class Person:
    """A user: the ids of all groups they are in, directly or not, and the template ids of their directory roles.

    `guest` is Entra's userType. `guest_kinds` are kinds of Graph's guestOrExternalUserTypes; a member of the own tenant
    has none, and of a guest it may not be known.
    """

    id: str
    guest: bool = False
    guest_kinds: frozenset[str] | None = None
    home_tenant: str | None = None
    groups: frozenset[str] | None = None
    roles: frozenset[str] | None = None
    memberships: frozenset[str] = field(init=False, repr=False, compare=False)
    """All groups and roles that are known of them, as `group_name` and `role_name` have them."""

    def __post_init__(self) -> None:
        for name in ("guest_kinds", "groups", "roles"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else folded(value))
        object.__setattr__(self, "id", self.id.lower())
        object.__setattr__(self, "home_tenant", self.home_tenant and self.home_tenant.lower())
        known = frozenset(map(group_name, self.groups or ())).union(map(role_name, self.roles or ()))
        object.__setattr__(self, "memberships", known)

    @property
    def external(self) -> bool:
        return self.guest or bool(self.guest_kinds)

    @property
    def possible_kinds(self) -> frozenset[str]:
        """The kinds of guest that they may be of."""
        return self.guest_kinds or (GUEST_KINDS - {"b2bcollaborationmember"})


@dataclass(frozen=True)
class Principal:
    """A service principal, by its object id. Managed identities and the applications of other tenants are not
    `covered` by any policy (Entra docs: *Conditional Access for workload identities*)."""

    id: str
    covered: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", self.id.lower())


@dataclass(frozen=True)
class Applications:
    """The resources that a token is wanted for, by application id. A policy for one of them is a policy for all."""

    ids: frozenset[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", folded(self.ids))


@dataclass(frozen=True)
class UserAction:
    """Graph's `registerSecurityInformation` or `registerOrJoinDevices`."""

    name: str

    @property
    def urn(self) -> str:
        """What policies call it."""
        return _URNS.get(self.name.lower(), self.name.lower())


_URNS: Final = {
    "registersecurityinformation": "urn:user:registersecurityinfo",
    "registerorjoindevices": "urn:user:registerdevice",
}


@dataclass(frozen=True)
class AuthenticationContext:
    """`c1` to `c99`."""

    id: str


Wanted = Applications | UserAction | AuthenticationContext


@dataclass(frozen=True)
class Conditions:
    """Everything else. `compliant_network` says whether it comes through Global Secure Access, which a request to
    `evaluate` cannot say."""

    address: Address | None = None
    country: str | None = None
    """Two letters; empty for an address that belongs to no country."""
    platform: str | None = None
    client_app: str | None = None
    device: Mapping[str, str | bool | tuple[str, ...] | None] | None = None
    sign_in_risk: str | None = None
    user_risk: str | None = None
    principal_risk: str | None = None
    insider_risk: str | None = None
    flow: str | None = None
    compliant_network: bool | None = False


@dataclass(frozen=True)
class SignIn:
    who: Person | Principal
    what: Wanted | None = None
    conditions: Conditions = field(default_factory=Conditions)

    device: Device | None = field(init=False, repr=False, compare=False)
    missing: frozenset[str] = field(init=False, repr=False, compare=False)
    """What was not given, by the names that `evaluate` has for it."""

    def __post_init__(self) -> None:
        device = self.conditions.device
        object.__setattr__(self, "device", None if device is None else Device.of(device))
        object.__setattr__(self, "missing", frozenset(name for name, value in self._inputs().items() if value is None))

    def _inputs(self) -> dict[str, object]:
        given: dict[str, object] = {
            "signInContext": self.what,
            "compliantNetwork": self.conditions.compliant_network,
            **{name: getattr(self.conditions, ours) for name, ours in _CONDITIONS.items()},
        }
        if isinstance(self.who, Person):
            given |= {"groups": self.who.groups, "roles": self.who.roles}
            if self.who.external:
                given |= {"externalUserType": self.who.guest_kinds or None, "externalTenantId": self.who.home_tenant}
        return given

    def to_request(self, *, applied_only: bool = False) -> JSON:
        """The body for `POST /identity/conditionalAccess/evaluate`."""
        said = {name: getattr(self.conditions, ours) for name, ours in _CONDITIONS.items()}
        said = {name: value for name, value in said.items() if value is not None}
        if self.conditions.address is not None:
            said["ipAddress"] = str(self.conditions.address)
        if self.conditions.flow is not None:
            said["authenticationFlow"] = {"transferMethod": self.conditions.flow}
        if self.conditions.device is not None:
            facts = self.conditions.device.items()
            said["deviceInfo"] = {name: list(value) if isinstance(value, tuple) else value for name, value in facts}
        body = {"signInIdentity": self._identity(), "signInConditions": said, "appliedPoliciesOnly": applied_only}
        return body if self.what is None else body | {"signInContext": _context(self.what)}

    def _identity(self) -> JSON:
        if isinstance(self.who, Principal):
            return {"@odata.type": "#microsoft.graph.servicePrincipalSignIn", "servicePrincipalId": self.who.id}
        identity = {"@odata.type": "#microsoft.graph.userSignIn", "userId": self.who.id}
        if self.who.guest_kinds:
            kinds = (_GUEST_NAMES.get(kind, kind) for kind in sorted(self.who.guest_kinds))
            identity["externalUserType"] = ",".join(kinds)
        if self.who.home_tenant:
            identity["externalTenantId"] = self.who.home_tenant
        return identity


_CONDITIONS: Final = {
    "ipAddress": "address",
    "country": "country",
    "devicePlatform": "platform",
    "clientAppType": "client_app",
    "deviceInfo": "device",
    "signInRiskLevel": "sign_in_risk",
    "userRiskLevel": "user_risk",
    "servicePrincipalRiskLevel": "principal_risk",
    "insiderRiskLevel": "insider_risk",
    "authenticationFlow": "flow",
}
"""How `evaluate` names each of our conditions."""

_GUEST_NAMES: Final = {
    "internalguest": "internalGuest",
    "b2bcollaborationguest": "b2bCollaborationGuest",
    "b2bcollaborationmember": "b2bCollaborationMember",
    "b2bdirectconnectuser": "b2bDirectConnectUser",
    "otherexternaluser": "otherExternalUser",
    "serviceprovider": "serviceProvider",
}


def _context(what: Wanted) -> JSON:
    match what:
        case Applications(ids):
            return {"@odata.type": "#microsoft.graph.applicationContext", "includeApplications": sorted(ids)}
        case UserAction(name):
            return {"@odata.type": "#microsoft.graph.userActionContext", "userAction": name}
        case AuthenticationContext(id_):
            return {"@odata.type": "#microsoft.graph.authContext", "authenticationContextValue": id_}


# --- Reading --------------------------------------------------------------------------------------------------------


def read_request(data: JSON, known: Person | None = None, where: str = "The request") -> SignIn:
    """A sign-in from the body of a request to `evaluate`; *known* is what is known of its user beside that.

    Raises `SignInProblem`.
    """
    body = Found.in_json(data, where, SignInProblem)
    identity = body.part("signInIdentity") or Found({}, f"{body.where}, `signInIdentity`", SignInProblem)
    return SignIn(_who(identity, known), _what(body.part("signInContext")), _conditions(body.part("signInConditions")))


def read_person(data: JSON, where: str = "The user") -> Person:
    """`{"id", "userType": "member" or "guest", "guestType", "homeTenantId", "groups": [ids], "roles": [template ids]}`.

    Raises `SignInProblem`.
    """
    user = Found.in_json(data, where, SignInProblem)
    id_ = user.text("id")
    if not id_:
        raise user.refuse("id", "there")
    return Person(
        id_,
        guest=(user.text("userType") or "").lower() == "guest",
        guest_kinds=_kinds(user, "guestType"),
        home_tenant=user.text("homeTenantId"),
        groups=_ids(user, "groups"),
        roles=_ids(user, "roles"),
    )


def _ids(part: Found, key: str) -> frozenset[str] | None:
    return None if part.value.get(key) is None else frozenset(part.names(key))


def _kinds(part: Found, key: str) -> frozenset[str] | None:
    return (folded(part.names(key)) - {"none"}) or None


def _who(identity: Found, known: Person | None) -> Person | Principal:
    kind = (identity.text("@odata.type") or "").rpartition(".")[2]
    principal = identity.text("servicePrincipalId")
    if principal and kind in ("", "servicePrincipalSignIn"):
        return Principal(principal)
    if kind not in ("", "userSignIn"):
        raise SignInProblem(f"{identity.where} says neither which user nor which service principal signs in.")
    person = known or Person(identity.text("userId") or "")
    if not person.id:
        raise SignInProblem(f"{identity.where} does not say who signs in.")
    return replace(
        person,
        guest_kinds=_kinds(identity, "externalUserType") or person.guest_kinds,
        home_tenant=identity.text("externalTenantId") or person.home_tenant,
    )


def _what(context: Found | None) -> Wanted | None:
    if context is None:
        return None
    kind = (context.text("@odata.type") or "").rpartition(".")[2]
    action, value = context.text("userAction"), context.text("authenticationContextValue")
    if kind == "userActionContext" or (not kind and action):
        return UserAction(action) if action else None
    if kind == "authContext" or (not kind and value):
        return AuthenticationContext(value.lower()) if value else None
    if kind not in ("", "applicationContext"):
        raise SignInProblem(f"{context.where} is no application, no user action and no authentication context.")
    ids = context.names("includeApplications")
    return Applications(frozenset(ids)) if ids else None


def _conditions(part: Found | None) -> Conditions:
    if part is None:
        return Conditions()
    ip, flow = part.text("ipAddress"), part.part("authenticationFlow")
    try:
        address = read_address(ip) if ip else None
    except ValueError as error:
        raise part.refuse("ipAddress", "an address such as 203.0.113.10") from error
    return Conditions(
        address=address,
        country=part.text("country"),
        platform=part.text("devicePlatform"),
        client_app=part.text("clientAppType"),
        device=_device(part.part("deviceInfo")),
        sign_in_risk=part.text("signInRiskLevel"),
        user_risk=part.text("userRiskLevel"),
        principal_risk=part.text("servicePrincipalRiskLevel"),
        insider_risk=part.text("insiderRiskLevel"),
        flow=flow.text("transferMethod") if flow else None,
    )


def _device(part: Found | None) -> Mapping[str, str | bool | tuple[str, ...] | None] | None:
    if part is None:
        return None
    properties: dict[str, str | bool | tuple[str, ...] | None] = {}
    for name, value in part.value.items():
        if value is None or "@" in name:
            continue
        if isinstance(value, list):
            properties[name] = part.names(name)
        elif isinstance(value, str | bool):
            properties[name] = value
        else:
            raise part.refuse(name, "a text, true, false or a list of texts")
    return properties
