"""The state of the pretend tenant: its people, groups, roles, licences, passwords, and who changed what."""

import secrets
import string
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from typing import Any, Generic, TypeVar
from uuid import uuid4

from cryptography import x509

from sandbox.clock import WorldClock
from sandbox.tls import ApplicationCertificate, make_application_certificate

SERVICE_ACCOUNT = "svc-latchkey@contoso.onmicrosoft.com"


class Source(Enum):
    """Where a user's account is mastered, and whether a password set in the cloud reaches that place."""

    CLOUD = "cloud"
    ON_PREMISES = "on-premises"
    ON_PREMISES_WITH_WRITEBACK = "on-premises with password writeback"


class GroupKind(Enum):
    SECURITY = "security"
    UNIFIED = "unified"
    MAIL_SECURITY = "mail-security"
    DISTRIBUTION = "distribution"


@dataclass(frozen=True)
class License:
    """A licence a user or a group was given directly."""

    sku_id: str
    disabled_plans: tuple[str, ...] = ()


@dataclass(frozen=True)
class AuthMethod:
    """A registered way to sign in; `kind` is Graph's type without its prefix and suffix: `phone`, `fido2`."""

    id: str
    kind: str
    properties: Mapping[str, Any]


@dataclass(frozen=True)
class AccessPass:
    """A temporary access pass; times are unix seconds."""

    id: str
    value: str
    created: float
    start: float
    minutes: int
    once: bool


@dataclass(frozen=True)
class User:
    """A user; `attributes` are plain Graph properties under Graph's names (jobTitle, department, …)."""

    id: str
    upn: str
    name: str
    kind: str = "Member"
    enabled: bool = True
    source: Source = Source.CLOUD
    usage_location: str | None = "GB"
    manager_id: str | None = None
    licenses: tuple[License, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    methods: tuple[AuthMethod, ...] = ()
    access_pass: AccessPass | None = None
    created: float = 0.0
    last_sign_in: float | None = None
    password_changed: float = 0.0
    must_change_password: bool = False
    sessions_valid_from: float = 0.0

    @property
    def synced(self) -> bool:
        return self.source is not Source.CLOUD


@dataclass(frozen=True)
class Group:
    """A group; members and owners are object ids of users and groups."""

    id: str
    name: str
    kind: GroupKind = GroupKind.SECURITY
    description: str | None = None
    mail: str | None = None
    members: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    licenses: tuple[License, ...] = ()
    membership_rule: str | None = None  # a dynamic group has one; nobody adds members by hand
    synced: bool = False
    role_assignable: bool = False
    created: float = 0.0


@dataclass(frozen=True)
class AdministrativeUnit:
    """A restricted one protects its members from administrators whose role is not scoped to it."""

    id: str
    name: str
    restricted: bool = False
    members: tuple[str, ...] = ()


@dataclass(frozen=True)
class RoleDefinition:
    id: str
    name: str
    built_in: bool = True


@dataclass(frozen=True)
class RoleAssignment:
    """A directory role held by a user, group or service principal; eligible ones are not in force."""

    id: str
    role_id: str
    principal_id: str
    scope: str = "/"
    eligible: bool = False


@dataclass(frozen=True)
class Sku:
    """A subscription; `used_elsewhere` units belong to people the tenant file does not name."""

    id: str
    part_number: str
    enabled: int
    used_elsewhere: int
    plans: Mapping[str, str]  # id: name


@dataclass(frozen=True)
class KeyCredential:
    """A certificate registered for an application, which may sign in with its key."""

    id: str
    certificate: x509.Certificate
    name: str

    def in_force(self, now: float) -> bool:
        """Whether its time has begun and not ended; *now* is in unix seconds."""
        certificate = self.certificate
        return certificate.not_valid_before_utc.timestamp() <= now < certificate.not_valid_after_utc.timestamp()


@dataclass(frozen=True)
class Application:
    """An app registration with its service principal.

    `consent` are the delegated Graph permissions an administrator granted for everybody before the world began,
    `roles` the application permissions.
    """

    key: str  # our name for it: bot, service, worker, signin, managed
    name: str
    app_id: str
    principal_id: str
    object_id: str | None = None  # of the registration; a managed identity has none
    secret: str | None = None
    uses_certificate: bool = False
    managed: bool = False  # a managed identity: the machine gives out its tokens
    public: bool = False  # may use device codes without its secret ("isFallbackPublicClient")
    redirect_uris: tuple[str, ...] = ()
    consent: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    vault_role: str | None = None


@dataclass(frozen=True)
class Consent:
    """Delegated Graph permissions an application was granted, for one person or for everybody (None)."""

    id: str
    client_id: str  # of the service principal
    principal_id: str | None
    scopes: frozenset[str]


@dataclass(frozen=True)
class Stranger:
    """An account of another tenant."""

    upn: str
    name: str
    tenant_id: str


@dataclass(frozen=True)
class AccessPassPolicy:
    """The tenant's rule for temporary access passes; times are minutes."""

    enabled: bool
    minimum: int
    maximum: int
    default: int


@dataclass(frozen=True)
class Tenant:
    """What is true of the whole tenant."""

    id: str
    name: str
    domains: tuple[str, ...]
    premium: frozenset[str]
    security_defaults: bool
    access_pass_policy: AccessPassPolicy
    banned_words: frozenset[str]


@dataclass(frozen=True)
class PolicyChange:
    """What was done to a policy or a named location, as the audit log tells it: whole, before and after, as JSON."""

    id: str
    name: str
    kind: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Audit:
    """One line of the directory audit log, written for every change made through Graph."""

    id: str
    time: float
    request_id: str
    client_request_id: str | None
    category: str
    activity: str
    caller_app: Application
    caller_user: User | None
    target: User | Group | Application | PolicyChange
    modified: tuple[str, ...]  # names of the properties that changed


T = TypeVar("T")


class Timeline(Generic[T]):
    """The states of one object over time, so that a slow replica can show an old one. None: it did not exist."""

    def __init__(self, value: T, since: float | None = None) -> None:
        """With `since` there was nothing before."""
        self._times = [float("-inf")] if since is None else [float("-inf"), since]
        self._values: list[T | None] = [value] if since is None else [None, value]

    def set(self, time: float, value: T | None) -> None:
        """The state from `time` on."""
        self._times.append(max(time, self._times[-1]))  # in order, even when the clock was moved back
        self._values.append(value)
        if len(self._times) > 500:
            # Nobody looks back that far; a soak test would otherwise keep every state it ever made.
            del self._times[:250], self._values[:250]

    def at(self, time: float | None) -> T | None:
        """The state at `time`; None: the newest."""
        if time is None:
            return self._values[-1]
        return self._values[max(0, bisect_right(self._times, time) - 1)]


class View:
    """The directory as of one moment; reads only."""

    def __init__(self, directory: "Directory", time: float | None) -> None:
        self._directory = directory
        self._time = time

    def user(self, key: str) -> User | None:
        """By object id or user principal name, in any case."""
        key = key.lower()
        line = self._directory.user_lines.get(self._directory.upns.get(key, key))
        return None if line is None else line.at(self._time)

    def users(self) -> Iterator[User]:
        for line in self._directory.user_lines.values():
            if (user := line.at(self._time)) is not None:
                yield user

    def group(self, key: str) -> Group | None:
        line = self._directory.group_lines.get(key.lower())
        return None if line is None else line.at(self._time)

    def groups(self) -> Iterator[Group]:
        for line in self._directory.group_lines.values():
            if (group := line.at(self._time)) is not None:
                yield group

    def units(self) -> tuple[AdministrativeUnit, ...]:
        return self._directory.units

    def assignments(self) -> tuple[RoleAssignment, ...]:
        """Every role assignment, active and eligible."""
        return self._directory.assignment_line.at(self._time) or ()

    def consents(self) -> tuple[Consent, ...]:
        """Every delegated permission grant."""
        return self._directory.consent_line.at(self._time) or ()

    def keys(self, application: Application) -> tuple[KeyCredential, ...]:
        """The certificates registered for an application, expired ones too."""
        return self._directory.key_line(application).at(self._time) or ()

    def exists(self, object_id: str) -> bool:
        """Whether there is a user, group or service principal with this id."""
        return (
            self.user(object_id) is not None
            or self.group(object_id) is not None
            or any(app.principal_id == object_id for app in self._directory.applications.values())
        )

    def groups_of(self, member_id: str, *, transitive: bool) -> list[Group]:
        """The groups a user or group is a member of, nearest first, each once."""
        found: dict[str, Group] = {}
        frontier = {member_id}
        while frontier:
            reached = [
                group for group in self.groups() if group.id not in found and not frontier.isdisjoint(group.members)
            ]
            found.update((group.id, group) for group in reached)
            frontier = {group.id for group in reached} if transitive else set()
        return list(found.values())

    def members_of(self, group: Group, *, transitive: bool) -> list[User | Group]:
        """The members of a group that exist, each once."""
        found: dict[str, User | Group] = {}
        waiting = [group]
        while waiting:
            for member_id in waiting.pop().members:
                member = self.user(member_id) or self.group(member_id)
                if member is None or member.id in found:
                    continue
                found[member.id] = member
                if transitive and isinstance(member, Group):
                    waiting.append(member)
        return list(found.values())

    def units_of(self, member_id: str) -> list[AdministrativeUnit]:
        return [unit for unit in self.units() if member_id in unit.members]

    def active_roles(self, principal_id: str) -> list[RoleAssignment]:
        """Assignments in force: the principal's own and those of its role-assignable groups."""
        holders = {principal_id} | {
            group.id for group in self.groups() if group.role_assignable and principal_id in group.members
        }
        return [
            assignment
            for assignment in self.assignments()
            if not assignment.eligible and assignment.principal_id in holders
        ]

    def licenses_of(self, user: User) -> list[tuple[License, str | None]]:
        """What a user is licensed for, each with the id of the group it comes from, or None."""
        own: list[tuple[License, str | None]] = [(license_, None) for license_ in user.licenses]
        return own + [
            (license_, group.id)
            for group in self.groups()
            if group.licenses and user.id in group.members
            for license_ in group.licenses
        ]

    def consumed(self, sku: Sku) -> int:
        """How many units of a subscription are in use."""
        return sku.used_elsewhere + sum(
            any(license_.sku_id == sku.id for license_, _ in self.licenses_of(user)) for user in self.users()
        )


class Directory:
    """The tenant. Servers read it through `latest` or `at`; they and the tests change it through its verbs."""

    def __init__(
        self,
        clock: WorldClock,
        tenant: Tenant,
        *,
        users: Iterable[User],
        groups: Iterable[Group],
        units: Iterable[AdministrativeUnit],
        roles: Iterable[RoleDefinition],
        assignments: Iterable[RoleAssignment],
        skus: Iterable[Sku],
        applications: Iterable[Application],
        strangers: Iterable[Stranger] = (),
        browser: Iterable[str] = (),
    ) -> None:
        """`browser`: the user principal names that the browser remembers and offers for signing in."""
        self.clock = clock
        self.tenant = tenant
        self.units = tuple(units)
        self.roles = {role.id: role for role in roles}
        self.skus = {sku.id: sku for sku in skus}
        self.applications = {application.key: application for application in applications}
        self.strangers = {stranger.upn: stranger for stranger in strangers}
        self.browser = tuple(browser)
        self.audits: list[Audit] = []

        self.user_lines: dict[str, Timeline[User]] = {}
        self.upns: dict[str, str] = {}
        self.group_lines = {group.id: Timeline(group) for group in groups}
        self.assignment_line = Timeline(tuple(assignments))
        self.consent_line = Timeline(
            tuple(
                Consent(str(uuid4()), app.principal_id, None, app.consent)
                for app in self.applications.values()
                if app.consent
            )
        )
        self.deleted: dict[str, tuple[User, float]] = {}  # by id: who can still be restored, and since when gone
        self._passwords: dict[str, list[tuple[float, str]]] = {}
        self._key_lines: dict[str, Timeline[tuple[KeyCredential, ...]]] = {}
        for user in users:
            self.add_user(user)

    # What is true

    @cached_property
    def latest(self) -> View:
        """The directory as it is."""
        return View(self, None)

    def at(self, time: float) -> View:
        """The directory as it was at `time`."""
        return View(self, time)

    def user(self, key: str) -> User:
        """By object id, user principal name, or the part of it before the @; `KeyError` if there is nobody."""
        user = self.latest.user(key) or self.latest.user(f"{key}@{self.tenant.domains[0]}")
        if user is None:
            raise KeyError(key)
        return user

    def group(self, key: str) -> Group:
        """By object id or display name; `KeyError` if there is none. For tests."""
        for group in self.latest.groups():
            if key in (group.id, group.name):
                return group
        raise KeyError(key)

    def role(self, name: str) -> RoleDefinition:
        """By display name; `KeyError` if there is none. For tests."""
        for role in self.roles.values():
            if role.name == name:
                return role
        raise KeyError(name)

    def application_by_id(self, app_id: str) -> Application | None:
        return next((app for app in self.applications.values() if app.app_id == app_id), None)

    @cached_property
    def worker_certificate(self) -> ApplicationCertificate:
        """What the worker application signs in with at first. Made when asked for: it takes a tenth of a second."""
        return make_application_certificate("Latchkey worker")

    # Certificates

    def key_line(self, application: Application) -> Timeline[tuple[KeyCredential, ...]]:
        """The certificates of an application over time."""
        if application.key not in self._key_lines:
            keys: tuple[KeyCredential, ...] = ()
            if application.uses_certificate:
                keys = (KeyCredential(str(uuid4()), self.worker_certificate.certificate, "CN=Latchkey worker"),)
            self._key_lines[application.key] = Timeline(keys)
        return self._key_lines[application.key]

    def add_key(self, application: Application, certificate: x509.Certificate, name: str = "") -> KeyCredential:
        """Register a certificate beside those there are."""
        key = KeyCredential(str(uuid4()), certificate, name or certificate.subject.rfc4514_string())
        self.key_line(application).set(self.clock.now(), (*self.latest.keys(application), key))
        return key

    def remove_key(self, application: Application, key_id: str) -> None:
        """Take a certificate away; one that is not there changes nothing."""
        left = tuple(key for key in self.latest.keys(application) if key.id != key_id)
        self.key_line(application).set(self.clock.now(), left)

    # Passwords

    @property
    def passwords(self) -> tuple[str, ...]:
        """Every password that ever was in force in this world, for those who look for leaks."""
        return tuple(password for history in self._passwords.values() for _, password in history)

    def password_of(self, key: str) -> str:
        """The password in force. For tests."""
        return self._passwords[self.user(key).id][-1][1]

    def password_at(self, user_id: str, time: float) -> str:
        """The password a replica knows that has heard nothing since `time`."""
        history = self._passwords[user_id]
        return next((password for set_at, password in reversed(history) if set_at <= time), history[0][1])

    def signs_in(self, key: str, password: str) -> bool:
        """Whether this is the password of an account that may sign in (being asked to change it is fine)."""
        return self.user(key).enabled and self.password_of(key) == password

    def set_password(self, key: str, password: str, *, must_change: bool = False) -> User:
        """Put a password in force and end the sessions made with the old one."""
        now = self.clock.now()
        user = self.update_user(key, password_changed=now, sessions_valid_from=now, must_change_password=must_change)
        self._passwords[user.id].append((now, password))
        return user

    # Changes, as an administrator elsewhere would make them

    def add_user(self, user: User, password: str | None = None, *, since: float | None = None) -> User:
        """Make an account; without a password it gets one nobody was told.

        It has always been there, also for a replica that lags, unless `since` says from when on.
        """
        self.user_lines[user.id] = Timeline(user, since)
        self.upns[user.upn.lower()] = user.id
        self._passwords[user.id] = [(float("-inf"), password or make_password())]
        return user

    def update_user(self, key: str, **changes: Any) -> User:
        """Change fields of `User`; `KeyError` if there is nobody."""
        before = self.user(key)
        after = replace(before, **changes)
        if after.upn != before.upn:
            if self.upns[before.upn.lower()] == before.id:  # nobody else took the name
                del self.upns[before.upn.lower()]
            self.upns[after.upn.lower()] = after.id
        self.user_lines[after.id].set(self.clock.now(), after)
        return after

    def delete_user(self, key: str) -> None:
        """Delete an account; its id and its name are gone, and it can be restored for 30 days."""
        user = self.user(key)
        self.user_lines[user.id].set(self.clock.now(), None)
        self.deleted[user.id] = user, self.clock.now()

    def restore_user(self, user_id: str) -> User:
        """Bring a deleted account back as it was, groups and roles included; `KeyError` if it is not there to be."""
        user, _ = self.deleted.pop(user_id)
        self.upns[user.upn.lower()] = user.id
        self.user_lines[user.id].set(self.clock.now(), user)
        return user

    def add_group(self, group: Group) -> Group:
        """Make a group."""
        self.group_lines[group.id] = Timeline(group, self.clock.now())
        return group

    def delete_group(self, key: str) -> None:
        """Delete a group for good, as security groups are; `KeyError` if there is none."""
        self.group_lines[self.group(key).id].set(self.clock.now(), None)

    def update_group(self, key: str, **changes: Any) -> Group:
        """Change fields of `Group`; `KeyError` if there is none."""
        group = replace(self.group(key), **changes)
        self.group_lines[group.id].set(self.clock.now(), group)
        return group

    def add_member(self, group_key: str, member_id: str) -> Group:
        """Put a user or group into a group; being in it already changes nothing."""
        members = self.group(group_key).members
        return self.update_group(group_key, members=tuple(dict.fromkeys((*members, member_id))))

    def remove_member(self, group_key: str, member_id: str) -> Group:
        """Take a member out of a group; not being in it changes nothing."""
        members = self.group(group_key).members
        return self.update_group(group_key, members=tuple(one for one in members if one != member_id))

    def assign_role(
        self, principal_id: str, role_name: str, *, scope: str = "/", eligible: bool = False
    ) -> RoleAssignment:
        """Give a directory role to a user, group or service principal."""
        assignment = RoleAssignment(str(uuid4()), self.role(role_name).id, principal_id, scope=scope, eligible=eligible)
        self._set_assignments((*self.latest.assignments(), assignment))
        return assignment

    def unassign_role(self, principal_id: str, role_name: str) -> None:
        """Take a directory role away, active and eligible, in every scope."""
        role_id = self.role(role_name).id
        self._set_assignments(
            tuple(
                one for one in self.latest.assignments() if (one.principal_id, one.role_id) != (principal_id, role_id)
            )
        )

    def add_assignment(self, assignment: RoleAssignment) -> None:
        """Give a directory role, named by its id."""
        self._set_assignments((*self.latest.assignments(), assignment))

    def remove_assignment(self, assignment_id: str) -> None:
        """Take one assignment away; one that is not there changes nothing."""
        self._set_assignments(tuple(one for one in self.latest.assignments() if one.id != assignment_id))

    # What applications may do for people

    def consented(self, application: Application, user_id: str) -> frozenset[str]:
        """The delegated permissions an application holds for somebody, by the tenant's consent or the person's own."""
        return frozenset().union(
            *(
                one.scopes
                for one in self.latest.consents()
                if one.client_id == application.principal_id and one.principal_id in (None, user_id)
            )
        )

    def consent(self, application: Application, scopes: Iterable[str], user_id: str | None) -> Consent:
        """Grant delegated permissions for one person, or for everybody (None); there is one grant for each."""
        whose = application.principal_id, user_id
        held = next((one for one in self.latest.consents() if (one.client_id, one.principal_id) == whose), None)
        granted = Consent(
            held.id if held else str(uuid4()), *whose, frozenset(scopes) | (held.scopes if held else frozenset())
        )
        self._set_consents((*(one for one in self.latest.consents() if one is not held), granted))
        return granted

    def withdraw_consent(self, consent_id: str) -> None:
        """Take a grant away; one that is not there changes nothing."""
        self._set_consents(tuple(one for one in self.latest.consents() if one.id != consent_id))

    def _set_consents(self, consents: tuple[Consent, ...]) -> None:
        self.consent_line.set(self.clock.now(), consents)

    def _set_assignments(self, assignments: tuple[RoleAssignment, ...]) -> None:
        self.assignment_line.set(self.clock.now(), assignments)


def make_password() -> str:
    """Sixteen characters of all four classes, as a tenant's rules want them."""
    classes = (string.ascii_lowercase, string.ascii_uppercase, string.digits, "!#$%*+-.=?@_~^")
    characters = [secrets.choice(one) for one in classes for _ in range(4)]
    secrets.SystemRandom().shuffle(characters)
    return "".join(characters)
