"""The tenant's Conditional Access as Graph tells of it: read, remembered, named, and asked about.

Everything is read as the bot identity. Graph serves one call about Conditional Access a second for all applications of
a tenant, and says nothing of when to come back (Graph docs: *Microsoft Graph service-specific throttling limits*): this
process takes turns with itself.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from bot import directory_roles
from bot.errors import GraphProblem, GraphRefused, GraphUnavailable, LatchkeyError, StorageProblem
from bot.model import JSON, Identity, IdentityKind
from bot.policy_changes import digest_of
from bot.ports import Clock, PolicyMemory, Reader, RememberedPolicies, Settings
from bot.remembering import Remembering
from bot.whatif import apps
from bot.whatif.evaluation import PolicyResult, PolicySet, Reason, Verdict
from bot.whatif.locations import Address, NamedLocation, read_address, read_locations
from bot.whatif.policies import Policy, read_policies
from bot.whatif.signins import Applications, Conditions, Person, Principal, SignIn
from bot.whatif.words import Names

log = logging.getLogger(__name__)

BETWEEN_CALLS: Final = timedelta(seconds=1.1)
"""How far apart calls about Conditional Access are."""

AT_ONCE: Final = timedelta(0)

REMEMBERED_FOR: Final = timedelta(minutes=15)
"""For so long after a reading, a good sign-in counts as one under the policies that were read; none is made for it."""

NAMES_KEPT: Final = timedelta(hours=1)
"""How long a name may be used again."""

NAMES_TRIED: Final = timedelta(minutes=1)
"""How long names are done without where Graph could not give them."""

_MOST_NAMES: Final = 20_000
"""So many names are kept at most; the newest half of them, when they are more."""

PASSWORD_CLIENT: Final = "mobileAppsAndDesktopClients"  # noqa: S105 - a kind of client
"""As which kind of client a sign-in with user name and password counts, unless the sign-in log says otherwise. Entra
docs, *Conditional Access: Conditions*, do not name this flow."""

READS_POLICIES: Final = "Policy.Read.All"
READS_LOGS: Final = "AuditLog.Read.All"

_CLIENTS: Final = {
    "browser": "browser",
    "mobile apps and desktop clients": PASSWORD_CLIENT,
    "exchange activesync": "exchangeActiveSync",
    "other clients": "other",
}
"""How the sign-in log calls the kinds of clients that policies know. Legacy protocols have names of their own there."""

_AFTER_THE_PASSWORD: Final = frozenset({50072, 50074, 50076, 50079, 530035})
"""How Entra asks for a second factor, or refuses without one, where no policy does (Entra docs: *error codes*)."""

_PAGE: Final = {"$top": "999"}

USER: Final = "id,displayName,userPrincipalName,userType,creationType"
"""What of a user `read_user` looks at, and what people call them by."""


# --- What is read -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TenantPolicies:
    """One reading of the tenant. The same content, in whatever order, has the same `digest`."""

    policies: tuple[Policy, ...]
    locations: tuple[NamedLocation, ...]
    read_at: datetime
    digest: str
    compiled: PolicySet = field(repr=False)
    names: Names = field(repr=False, default_factory=dict)
    """What the ids mean that the policies mention, as far as it could be read. Ids are in small letters."""

    def find(self, policy_id: str) -> Policy | None:
        return next((policy for policy in self.policies if policy.id == policy_id), None)


@dataclass(frozen=True)
class Egress:
    """The address from which Latchkey's sign-ins are seen. `source` is *configured* or *sign-in log*; `seen_at` is when
    the log last had it, and `country` what it said (empty: the address belongs to none; None: not known). `others` are
    further addresses that the newest lines of the log have."""

    address: Address
    country: str | None = None
    source: str = "configured"
    seen_at: datetime | None = None
    others: tuple[Address, ...] = ()


@dataclass(frozen=True)
class Account:
    """Somebody of the tenant, as policies see them and as people call them."""

    person: Person
    upn: str
    name: str


@dataclass(frozen=True)
class LoggedPolicy:
    """What the sign-in log says that a policy did, in Graph's words (`failure`, `reportOnlyFailure`, ...)."""

    id: str
    name: str
    result: str


@dataclass(frozen=True)
class LoggedSignIn:
    """A line of the sign-in log. `status` is what Conditional Access came to: success, failure or notApplied."""

    at: datetime
    correlation_id: str
    code: int
    status: str
    address: Address | None
    country: str | None
    client_app: str | None
    sign_in_risk: str | None
    user_risk: str | None
    policies: tuple[LoggedPolicy, ...]

    @property
    def password_was_right(self) -> bool:
        """Whether it can only have been Latchkey: everything else is asked after the password."""
        return self.code == 0 or self.status == "failure" or self.code in _AFTER_THE_PASSWORD

    @property
    def egress(self) -> Egress | None:
        return Egress(self.address, self.country, "sign-in log", self.at) if self.address is not None else None


@dataclass(frozen=True)
class Change:
    """Who changed a policy last, as the directory's audit log has it. `what` is its name for it."""

    policy_id: str
    policy: str
    by: str
    at: datetime
    what: str


@dataclass(frozen=True)
class Difference:
    """Where Graph's what-if and ours do not say the same of a policy."""

    policy: Policy
    ours: bool | None
    theirs: bool | None
    """None: Graph does not tell of it."""
    our_reasons: tuple[str, ...] = ()
    their_reasons: tuple[str, ...] = ()


Answers = Mapping[str, tuple[bool, tuple[str, ...]]]
"""By the id of a policy: whether Graph says that it applies, and its `analysisReasons`."""


class _NameBook:
    """Names by id. Each id is asked about at most once in a while, also one that nobody knows; what cannot be asked
    just now has no name."""

    def __init__(
        self, clock: Clock, built_in: Names, ask: Callable[[Sequence[str]], Coroutine[Any, Any, Names]]
    ) -> None:
        self._clock = clock
        self._built_in = built_in
        self._ask = ask
        self._known: dict[str, tuple[datetime, str]] = {}
        self._failed_at: datetime | None = None

    async def look_up(self, ids: Iterable[str]) -> dict[str, str]:
        """The names of those that have one."""
        wanted, now = _ids(ids), self._clock.now()
        new = [id_ for id_ in wanted if id_ not in self._built_in and not self._is_fresh(id_, now)]
        if new and not (self._failed_at and abs(now - self._failed_at) < NAMES_TRIED):
            try:
                found = await self._ask(new)
                self._failed_at = None
                self.learn({id_: found.get(id_, "") for id_ in new})
            except GraphProblem as problem:
                log.info("names could not be looked up", extra={"why": str(problem)})
                if isinstance(problem, GraphRefused):  # it will be next time, too
                    self.learn(dict.fromkeys(new, ""))
                else:
                    self._failed_at = self._clock.now()
        named = ((id_, self._built_in.get(id_) or self._known.get(id_, (now, ""))[1]) for id_ in wanted)
        return {id_: name for id_, name in named if name}

    def learn(self, names: Names) -> None:
        """Somebody has just read them."""
        now = self._clock.now()
        self._known |= {id_: (now, name) for id_, name in names.items()}
        if len(self._known) > _MOST_NAMES:
            self._known = dict(sorted(self._known.items(), key=lambda each: each[1][0])[-_MOST_NAMES // 2 :])

    def _is_fresh(self, id_: str, now: datetime) -> bool:
        return id_ in self._known and abs(now - self._known[id_][0]) < NAMES_KEPT


class ConditionalAccess:
    """What Latchkey knows of the tenant's Conditional Access.

    Readings by several at once are one. All methods that read raise `GraphRefused` without the permission for it, and
    `GraphUnavailable`; `SignInFailed` if the bot identity cannot sign in.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        directory: Reader,
        beta: Reader,
        memory: PolicyMemory,
        settings: Settings,
        egress: Address | None = None,
        client_id: str = "",
    ) -> None:
        """*directory* and *beta* read the tenant as the bot identity, the second one what Graph has in its beta only.
        *egress* is the configured address, *client_id* the application through which the service account signs in."""
        self._clock = clock
        self._directory = directory
        self._beta = beta
        self._memory = memory
        self._settings = settings
        self.configured = egress
        self._client_id = client_id
        self._turn = asyncio.Lock()
        self._next_turn = -math.inf
        """By the monotonic clock: the other one may jump."""
        self._fetched: Remembering[_Content] = Remembering(self._fetch, clock)
        self._working_out = asyncio.Lock()
        self._compiled: dict[str, PolicySet] = {}
        self._objects = _NameBook(clock, directory_roles.NAMES, self._ask_for_objects)
        self._applications = _NameBook(clock, apps.NAMES, self._ask_for_applications)
        self._well = asyncio.Event()
        self._was_refused = False
        self._on_change: list[Callable[[], None]] = []
        self._last_digest = ""

    @property
    def reader(self) -> Reader:
        """Reads it as Graph has it. Whoever does waits for `turn` first."""
        return self._directory

    # --- policies ----------------------------------------------------------------------------------------------------

    async def read(self, *, fresh: timedelta = AT_ONCE) -> TenantPolicies:
        """The policies and named locations, read at most *fresh* ago. Raises `PolicyProblem`, too."""
        content = await self._fetched.look_up("", fresh)
        objects, applications = _mentioned(content.policies)
        async with self._working_out:  # for all who wait for it
            compiled = self._compiled.get(content.digest)
            if compiled is None or compiled.policies != content.policies:  # the same in another order
                compiled = await asyncio.to_thread(PolicySet.compile, content.policies, content.locations)
                self._compiled = {content.digest: compiled}
            names = {**await self._objects.look_up(objects), **await self._applications.look_up(applications)}
        places = {place.id.lower(): place.name for place in content.locations if place.name}
        return TenantPolicies(
            content.policies, content.locations, content.read_at, content.digest, compiled, {**names, **places}
        )

    async def last_well(self, identity: Identity) -> RememberedPolicies | None:
        """The policies as they were when this identity last signed in well, if that is known."""
        return await self._memory.last_well(identity.id)

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call *listener* after a reading that found something else than the reading before."""
        self._on_change.append(listener)

    async def _fetch(self, _: str) -> _Content:
        """Two calls, if the tenant has no more policies than fit on a page."""
        at = self._clock.now()
        policies = await self._collect("identity", "conditionalAccess", "policies")
        locations = await self._collect("identity", "conditionalAccess", "namedLocations")
        content = await asyncio.to_thread(_Content.of, policies, locations, at)
        try:
            await self._memory.see(content.remembered)
        except StorageProblem as problem:  # what was read is good all the same
            log.warning("the policies could not be remembered", extra={"why": str(problem)})
        if self._last_digest not in ("", content.digest):
            for listener in self._on_change:
                listener()
        self._last_digest = content.digest
        return content

    async def _collect(self, *path: str) -> list[dict[str, Any]]:
        await self.turn()
        return await self._directory.collect(*path)

    async def turn(self) -> None:
        """Return when this process may make its next call about Conditional Access. Whoever changes policies waits
        here, too."""
        async with self._turn:
            wait = max(0.0, self._next_turn - self._clock.monotonic())
            await self._clock.sleep_until(self._clock.now() + timedelta(seconds=wait))
            self._next_turn = self._clock.monotonic() + BETWEEN_CALLS.total_seconds()

    # --- remembering ------------------------------------------------------------------------------------------------

    def well(self) -> None:
        """The service identity has signed in. Returns at once; `keep_up` remembers under which policies."""
        self._well.set()

    def trouble(self, error: LatchkeyError, identity: Identity | None) -> None:
        """The service identity could not sign in: until it does, somebody may change the policies for it."""
        self._was_refused = True

    async def keep_up(self) -> None:
        """Run until cancelled."""
        while True:
            await self._well.wait()
            self._well.clear()
            try:
                await self.remember()
            except LatchkeyError as error:
                log.info("could not remember the policies", extra={"why": str(error)})
            except Exception:
                log.exception("remembering the policies met something unforeseen")

    async def remember(self) -> None:
        """Note that the service identity signs in well under the policies as they are now."""
        settings = await self._settings.current()
        if settings.identity_id is None:
            return
        was_refused, self._was_refused = self._was_refused, False
        try:
            content = await self._fetched.look_up("", AT_ONCE if was_refused else REMEMBERED_FOR)
        except BaseException:
            self._was_refused |= was_refused
            raise
        await self._memory.went_well(settings.identity_id, content.digest, content.read_at)

    # --- names ------------------------------------------------------------------------------------------------------

    async def known(self, *ids: str) -> Names:
        """What people call these: objects of the directory by id, applications by application id, directory roles by
        template id. Those that nobody knows are missing."""
        objects = await self._objects.look_up(ids)
        return objects | await self._applications.look_up(set(_ids(ids)) - objects.keys())

    async def _ask_for_objects(self, ids: Sequence[str]) -> Names:
        """Graph docs: *directoryObject: getByIds*; at most 1000 at a time."""
        named: dict[str, str] = {}
        for start in range(0, len(ids), 1000):
            body = {"ids": ids[start : start + 1000], "types": ["user", "group", "servicePrincipal"]}
            found = await self._directory.ask("directoryObjects", "getByIds", body=body)
            named |= _by(found.get("value"), "id")
        return named

    async def _ask_for_applications(self, ids: Sequence[str]) -> Names:
        """Graph docs: *Use the $filter query parameter*: at most 15 in a list."""
        named: dict[str, str] = {}
        for start in range(0, len(ids), 15):
            listed = ",".join(f"'{id_}'" for id_ in ids[start : start + 15])
            query = {"$filter": f"appId in ({listed})", "$select": "id,appId,displayName"}
            named |= _by(await self._directory.collect("servicePrincipals", query=query), "appId")
        return named

    # --- who, and from where ------------------------------------------------------------------------------------------

    async def who(self, identity: Identity) -> Person | Principal:
        """The identity as policies see it now."""
        if not identity.delegated:
            # Graph docs: *servicePrincipalSignIn*; Entra docs: *Conditional Access for workload identities*.
            return Principal(identity.id, covered=identity.kind is IdentityKind.APPLICATION)
        return await self._with_memberships(Person(identity.id))

    async def person(self, upn_or_id: str) -> Account:
        """Any account of the tenant. Raises `GraphNotFound`."""
        user = await self._directory.get("users", upn_or_id, query={"$select": USER})
        person = await self._with_memberships(read_user(user))
        upn = str(user.get("userPrincipalName") or upn_or_id)
        return Account(person, upn, str(user.get("displayName") or upn))

    async def _with_memberships(self, person: Person) -> Person:
        """With all groups and directory roles. What Graph does not let us see of them is None: not known."""
        held = await self._directory.collect(
            "users",
            person.id,
            "transitiveMemberOf",
            query={"$select": "id,displayName,roleTemplateId", **_PAGE},
        )
        groups = frozenset(str(each["id"]) for each in held if _is(each, "group"))
        roles = [each.get("roleTemplateId") for each in held if _is(each, "directoryRole")]
        # Without the permission to read roles, Graph gives them without properties.
        seen = frozenset(str(role) for role in roles if role)
        self._objects.learn(_by(held, "id"))
        return replace(person, groups=groups, roles=seen if all(roles) else None)

    async def egress(self, identity: Identity | None = None) -> Egress | None:
        """The address that is configured, or the newest one in the sign-in log of the service identity (of *identity*,
        if it is not the one that is set up); None if neither is known."""
        if identity is None:
            settings = await self._settings.current()
            if settings.identity_kind and settings.identity_id:
                identity = Identity(settings.identity_kind, settings.identity_id, settings.identity_name or "")
        return egress_of(self.configured, await self._lines_of(identity))

    async def sign_in_of(self, identity: Identity) -> SignIn:
        """A sign-in of the identity as Latchkey really does it: to Microsoft Graph, from its egress address, without a
        device or a platform. Which kind of client it counts as is taken from the sign-in log, if that is known."""
        who, lines = await asyncio.gather(self._who_as_far_as_seen(identity), self._lines_of(identity))
        return as_it_is_done(who, egress_of(self.configured, lines), next(iter(lines), None))

    async def _who_as_far_as_seen(self, identity: Identity) -> Person | Principal:
        try:
            return await self.who(identity)
        except GraphRefused as refusal:
            if not refusal.lacks_permission:
                raise
            log.info("groups and roles may not be read", extra={"why": str(refusal)})
            return Person(identity.id)

    async def _lines_of(self, identity: Identity | None) -> Sequence[LoggedSignIn]:
        """Empty if they may not be read."""
        if identity is None or not identity.delegated:
            return ()
        try:
            return await self.sign_ins(identity)
        except GraphProblem as problem:
            log.info("the sign-in log could not be read", extra={"why": str(problem)})
            return ()

    # --- what else Microsoft knows ------------------------------------------------------------------------------------

    async def sign_ins(self, identity: Identity) -> Sequence[LoggedSignIn]:
        """The newest ones through Latchkey's application for which the password was right, newest first. Only accounts
        are in that part of the log, and it is some minutes behind (Graph docs: *List signIns*)."""
        wanted = [f"userId eq '{identity.id}'", *([f"appId eq '{self._client_id}'"] if self._client_id else [])]
        query = {"$filter": " and ".join(wanted), "$top": "20"}
        found = await self._directory.collect("auditLogs", "signIns", query=query, limit=20)
        lines = [line for each in found if (line := _logged(each)) is not None]
        return sorted((line for line in lines if line.password_was_right), key=lambda line: line.at, reverse=True)

    async def changes(self) -> Mapping[str, Change]:
        """The last change of each policy and named location, by its id, as far back as the newest 100 reach (Graph
        docs: *List directoryAudits*: newest first, and not to be sorted where it is filtered)."""
        query = {"$filter": "loggedByService eq 'Conditional Access'", "$top": "100"}
        found = await self._directory.collect("auditLogs", "directoryAudits", query=query, limit=100)
        last: dict[str, Change] = {}
        for change in (change for each in found for change in _changes(each)):
            if change.policy_id not in last or change.at > last[change.policy_id].at:
                last[change.policy_id] = change
        return last

    async def security_defaults(self) -> bool:
        """Whether security defaults are on (Graph docs: *Get identitySecurityDefaultsEnforcementPolicy*)."""
        found = await self._directory.get("policies", "identitySecurityDefaultsEnforcementPolicy")
        if not isinstance(found.get("isEnabled"), bool):
            raise _unreadable()
        return found["isEnabled"] is True

    async def per_user_mfa(self, identity: Identity) -> str:
        """`disabled`, `enabled` or `enforced` (Graph docs, beta: *Get authentication methods states*)."""
        found = await self._beta.get("users", identity.id, "authentication", "requirements")
        if not isinstance(found.get("perUserMfaState"), str):
            raise _unreadable()
        return str(found["perUserMfaState"])

    async def evaluate(self, sign_in: SignIn) -> Answers:
        """What Graph's own what-if says of each policy (Graph docs: *conditionalAccessRoot: evaluate*)."""
        await self.turn()
        found = await self._directory.ask("identity", "conditionalAccess", "evaluate", body=sign_in.to_request())
        results = found.get("value")
        if not isinstance(results, list) or not all(isinstance(each, dict) and each.get("id") for each in results):
            raise _unreadable()
        return {
            str(each["id"]): (each.get("policyApplies") is True, _names_in(each.get("analysisReasons")))
            for each in results
        }

    async def ask_microsoft(self, sign_in: SignIn) -> Answers | None:
        """The same; None where that is not permitted."""
        try:
            return await self.evaluate(sign_in)
        except GraphRefused as refusal:
            if refusal.lacks_permission:
                return None
            raise


def compare(verdict: Verdict, theirs: Answers, sign_in: SignIn) -> tuple[Difference, ...]:
    """Where Graph does not say what we say. Each difference is a line in the log, with what was asked about."""
    found = []
    for result in verdict.results:
        answer = theirs.get(result.policy.id)
        difference = _difference(result, answer)
        if difference is None:
            continue
        found.append(difference)
        log.warning(
            "graph judges a policy differently",
            extra={
                "policy": result.policy.id,
                "ours": difference.ours,
                "theirs": difference.theirs,
                "our_reasons": list(difference.our_reasons),
                "their_reasons": list(difference.their_reasons),
                "asked": json.dumps(sign_in.to_request(), sort_keys=True),
                "conditions": json.dumps(result.policy.raw.get("conditions"), sort_keys=True),
            },
        )
    return tuple(found)


def as_it_is_done(who: Person | Principal, egress: Egress | None, line: LoggedSignIn | None) -> SignIn:
    """A sign-in of Latchkey's. *line* is one of them in the log, which tells what else is only assumed."""
    client = (line.client_app if line else None) or PASSWORD_CLIENT
    risk = (line.sign_in_risk, line.user_risk) if line else ("none", "none")
    return SignIn(
        who,
        Applications(frozenset({apps.GRAPH})),
        Conditions(
            address=egress.address if egress else None,
            country=egress.country if egress else None,
            platform="all",
            client_app=client if isinstance(who, Person) else None,
            device={},
            sign_in_risk=risk[0],
            user_risk=risk[1],
            principal_risk="none",
            insider_risk="none",
            flow="none",
        ),
    )


# --- Reading Graph's answers ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Content:
    policies: tuple[Policy, ...]
    locations: tuple[NamedLocation, ...]
    read_at: datetime
    digest: str
    remembered: RememberedPolicies

    @classmethod
    def of(cls, policies: Sequence[JSON], locations: Sequence[JSON], at: datetime) -> _Content:
        """Raises `PolicyProblem`."""
        remembered = RememberedPolicies(
            digest=digest_of((*policies, *locations)), policies=tuple(policies), locations=tuple(locations), seen_at=at
        )
        return cls(read_policies(list(policies)), read_locations(list(locations)), at, remembered.digest, remembered)


_WORDS: Final = frozenset(
    {"all", "none", "guestsorexternalusers", "alltrusted", "office365", "microsoftadminportals"}
    | {"serviceprincipalsinmytenant"}
)


def _mentioned(policies: Iterable[Policy]) -> tuple[set[str], set[str]]:
    """The ids of the objects and of the applications that policies mention."""
    objects: set[str] = set()
    applications: set[str] = set()
    for policy in policies:
        for choice in (policy.users.users, policy.users.groups, policy.users.roles):
            objects.update(choice.include, choice.exclude)
        if policy.workloads:
            objects.update(policy.workloads.principals.include, policy.workloads.principals.exclude)
        applications.update(policy.target.applications.include, policy.target.applications.exclude)
    return objects, applications


def _ids(given: Iterable[str]) -> list[str]:
    """Those that are ids, in small letters; an order that stays makes the same question the same."""
    lowered = {id_.strip().lower() for id_ in given}
    return sorted(id_ for id_ in lowered - _WORDS if len(id_) == 36 and set(id_) <= set("0123456789abcdef-"))


def _by(found: object, key: str) -> dict[str, str]:
    """What things are called, by *key*."""
    things = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    return {
        str(each[key]).lower(): str(each["displayName"]) for each in things if each.get(key) and each.get("displayName")
    }


def _unreadable() -> GraphUnavailable:
    return GraphUnavailable("Microsoft's answer could not be read. Try again in some minutes.")


def _is(item: Mapping[str, Any], kind: str) -> bool:
    return item.get("@odata.type") == f"#microsoft.graph.{kind}"


def read_user(user: Mapping[str, Any]) -> Person:
    """Graph docs: *user resource type*, `creationType`: whoever was invited has `Invitation`."""
    guest = user.get("userType") == "Guest"
    invited = user.get("creationType") == "Invitation" or "#EXT#" in str(user.get("userPrincipalName", "")).upper()
    kinds: frozenset[str] | None = None
    if invited:
        kinds = frozenset({"b2bCollaborationGuest" if guest else "b2bCollaborationMember"})
    elif guest:
        kinds = frozenset({"internalGuest"})
    return Person(str(user["id"]), guest=guest, guest_kinds=kinds)


def egress_of(configured: Address | None, lines: Sequence[LoggedSignIn]) -> Egress | None:
    """The configured address, with what the log knows of it, or else the newest one in the log."""
    for line in lines:
        if line.address is not None and configured in (None, line.address):
            source = "sign-in log" if configured is None else "configured"
            return Egress(line.address, line.country, source, line.at, _besides(line.address, lines))
    return Egress(configured, others=_besides(configured, lines)) if configured is not None else None


def _besides(here: Address, lines: Sequence[LoggedSignIn]) -> tuple[Address, ...]:
    seen = dict.fromkeys(line.address for line in lines)
    return tuple(address for address in seen if address not in (None, here))


def _logged(line: Mapping[str, Any]) -> LoggedSignIn | None:
    """A line of the sign-in log (Graph docs: *signIn resource type*); None if it cannot be read."""
    at = _moment(line.get("createdDateTime"))
    if at is None:
        return None
    status, location, applied = _object(line, "status"), _object(line, "location"), line.get(_APPLIED)
    code = status.get("errorCode")
    try:
        address = read_address(str(line.get("ipAddress") or ""))
    except ValueError:
        address = None
    country = location.get("countryOrRegion")
    return LoggedSignIn(
        at=at,
        correlation_id=str(line.get("correlationId") or ""),
        code=code if isinstance(code, int) else 0,
        status=str(line.get("conditionalAccessStatus") or ""),
        address=address,
        country=str(country) if country else None,
        client_app=_CLIENTS.get(str(line.get("clientAppUsed") or "").lower()),
        sign_in_risk=_risk(line.get("riskLevelDuringSignIn")),
        user_risk=_risk(line.get("riskLevelAggregated")),
        policies=tuple(
            LoggedPolicy(str(each.get("id")), str(each.get("displayName") or ""), str(each.get("result") or ""))
            for each in (applied if isinstance(applied, list) else ())
            if isinstance(each, dict)
        ),
    )


_APPLIED: Final = "appliedConditionalAccessPolicies"


def _object(thing: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = thing.get(key)
    return found if isinstance(found, dict) else {}


def _risk(level: object) -> str | None:
    """None: Entra keeps it to itself (the licence is not there for it)."""
    return level if isinstance(level, str) and level in ("none", "low", "medium", "high") else None


def _changes(row: Mapping[str, Any]) -> Iterable[Change]:
    """What a row of the audit log tells of policies (Graph docs: *directoryAudit resource type*)."""
    at = _moment(row.get("activityDateTime"))
    began, targets = _object(row, "initiatedBy"), row.get("targetResources")
    user, app = _object(began, "user"), _object(began, "app")
    by = user.get("displayName") or user.get("userPrincipalName") or app.get("displayName") or "somebody"
    if at is None or row.get("result") not in (None, "success"):
        return
    for target in targets if isinstance(targets, list) else ():
        if isinstance(target, dict) and target.get("id"):
            name, what = target.get("displayName") or "", row.get("activityDisplayName") or ""
            yield Change(str(target["id"]).lower(), str(name), str(by), at, str(what))


def _moment(text: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text or ""))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _names_in(flags: object) -> tuple[str, ...]:
    return tuple(name for part in str(flags or "").split(",") if (name := part.strip()) and name != "notSet")


def _difference(result: PolicyResult, answer: tuple[bool, tuple[str, ...]] | None) -> Difference | None:
    """Graph gives one reason, the first; what it says of policies that are off is no news."""
    reasons = tuple(str(reason) for reason in result.reasons)
    if answer is None:
        off = Reason.POLICY_NOT_ENABLED in result.failed
        return None if off else Difference(result.policy, result.applies, None, reasons)
    applies, theirs = answer
    if result.applies == applies:
        return None
    return Difference(result.policy, result.applies, applies, reasons, theirs)
