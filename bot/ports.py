"""What `bot/` needs of the world, as Protocols: one per noun, named for the need and not for the product behind it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from bot.model import (
    JSON,
    AuditRecord,
    Call,
    CredentialKind,
    Operator,
    Person,
    Plan,
    Request,
    Rights,
    RotationRecord,
    Secret,
    Session,
    SlackUser,
    Target,
    TenantSettings,
    Trouble,
)

# --- Time -----------------------------------------------------------------------------------------------------------


class Clock(Protocol):
    """The only way to read time or to sleep in `bot/`, `handlers/` and `storage/`."""

    def now(self) -> datetime:
        """The present, timezone-aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds that only grow; for measuring durations."""

    async def sleep_until(self, when: datetime) -> None:
        """Return once `now()` has reached *when*, also if the clock is moved meanwhile."""


# --- Microsoft ------------------------------------------------------------------------------------------------------


class Reader(Protocol):
    """Reads the tenant. It has no way to write: a plan is made with nothing but this.

    Path segments are raw text; each is encoded with nothing safe. Raises `GraphNotFound`, `GraphRefused`,
    `GraphUnavailable`, `SessionEnded`.
    """

    async def get(self, *path: str, query: Mapping[str, str] | None = None, eventual: bool = False) -> dict[str, Any]:
        """One object. `eventual` sends `ConsistencyLevel: eventual` (Graph docs: *Advanced query capabilities*)."""

    async def collect(
        self, *path: str, query: Mapping[str, str] | None = None, eventual: bool = False, limit: int | None = None
    ) -> list[dict[str, Any]]:
        """The items of a collection, its pages followed, at most *limit* of them."""

    async def ask(self, *path: str, body: JSON) -> dict[str, Any]:
        """A POST that only reads (`checkMemberGroups`)."""


@dataclass(frozen=True)
class Sent:
    """A call that Graph accepted: its status, Microsoft's `request-id`, and the secret it revealed, if it was to."""

    status: int
    request_id: str | None
    revealed: Secret | None = None
    says: str = ""
    """What its step in the story says of it, beside its title."""


class Graph(Reader, Protocol):
    """Reads and changes the tenant as one identity."""

    async def send(self, call: Call, *, attempt_id: str, generated: Secret | None = None) -> Sent:
        """Send *call* once, with *generated* in place of its marker and *attempt_id* as `client-request-id`.

        Raises `GraphRefused` or `GraphUnavailable` (nothing was changed), or `OutcomeUnknown` (it may have been).
        A 202 that `call.poll` follows is awaited to its end.
        """


@dataclass(frozen=True)
class Token:
    """An access token for Graph and when it ends."""

    value: Secret
    expires_at: datetime


class SignIn(Protocol):
    """Signs service identities in. Each call is one fresh sign-in; nothing is cached. Raises `SignInFailed`."""

    async def service_account(self, upn: str, password: Secret, *, claims: str | None = None) -> Token: ...

    async def application(self, certificate: Secret, *, claims: str | None = None) -> Token: ...

    async def managed_identity(self) -> Token: ...


@dataclass(frozen=True)
class Certificate:
    """What may be known of a certificate that an application signs in with."""

    thumbprint: str
    """SHA-256, in hex."""
    ends_at: datetime
    public: str
    """The certificate itself, DER in base64, as Graph takes it."""
    marks: frozenset[str]
    """By which Graph's `key` or `customKeyIdentifier` shows that it means this one."""


class Certificates(Protocol):
    """Makes and reads certificates with their keys. It computes for a while: call it in a thread."""

    def make(self, name: str) -> Secret:
        """A new one, self-signed, in the name of an application."""

    def read(self, value: Secret) -> Certificate | None:
        """What a stored value is; None if it is no certificate with a key that could sign in."""

    def proof(self, value: Secret, object_id: str) -> Secret:
        """What shows Graph for some minutes that one has the key of this certificate of the application with this
        object id. Raises `SignInFailed` if it cannot be used."""


class TokenSource(Protocol):
    """Where a Graph client gets its token from, asked before every request."""

    async def token(self) -> Token:
        """A token with at least five minutes left. Raises `SessionEnded` once its session is over."""

    async def fresh_token(self, refused: Token, claims: str | None = None) -> Token:
        """A token newer than *refused*, which Graph did not accept, by one new sign-in (with *claims* if demanded)."""


@dataclass(frozen=True)
class Asked:
    """What a person is asked for when they sign in: Graph's delegated permissions (`.default` is all that was consented
    to), tokens that can be renewed if it is *lasting*, a new proof of who they are if it must be *fresh*."""

    permissions: tuple[str, ...]
    lasting: bool = False
    fresh: bool = False
    hint: str = ""
    """The account's user principal name, where only one will do."""


class PersonTokens(TokenSource, Protocol):
    """The tokens of one person's sign-in, in memory only."""

    @property
    def proved_at(self) -> datetime | None:
        """When the person last proved to Microsoft who they are, if Microsoft said so."""

    def forget(self) -> None:
        """Drop every token."""


class BrowserSignIn(Protocol):
    """A sign-in under way in somebody's browser."""

    @property
    def url(self) -> str: ...

    @property
    def state(self) -> str: ...

    async def finish(self, query: Mapping[str, str]) -> PersonTokens:
        """Redeem what the browser came back with. Raises `SignInFailed`."""


class CodeSignIn(Protocol):
    """A sign-in under way on some device, by a code."""

    @property
    def code(self) -> str: ...

    @property
    def url(self) -> str: ...

    @property
    def until(self) -> datetime: ...

    @property
    def interval(self) -> timedelta:
        """How long to wait before each `poll`."""

    async def poll(self) -> PersonTokens | None:
        """Ask once whether somebody has signed in; None if not yet. Raises `SignInFailed`."""


class PeopleSignIn(Protocol):
    """Signs people in with accounts of their own, at our tenant's authority only. Raises `SignInFailed`."""

    @property
    def has_callback(self) -> bool:
        """Whether Microsoft can send a browser back to us."""

    async def in_browser(self, asked: Asked) -> BrowserSignIn: ...

    async def by_code(self, asked: Asked) -> CodeSignIn: ...


class Tenant(Protocol):
    """Makes Graph clients."""

    def graph(self, tokens: TokenSource) -> Graph:
        """A client that acts as whoever *tokens* speaks for."""


@dataclass(frozen=True)
class SecretVersion:
    """A version of a secret, without its value. `tags["state"]` is current, pending, previous or refused."""

    name: str
    version: str
    enabled: bool
    created_at: datetime
    expires_at: datetime | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


class Vault(Protocol):
    """Where secrets rest. Raises `VaultProblem`."""

    async def versions(self, name: str) -> list[SecretVersion]:
        """All versions, newest first; empty if there is no such secret."""

    async def read(self, name: str, version: str | None = None) -> Secret:
        """The value of a version, or of the latest."""

    async def store(
        self, name: str, value: Secret, *, tags: Mapping[str, str], content_type: str = ""
    ) -> SecretVersion:
        """Add a version."""

    async def label(self, name: str, version: str, *, tags: Mapping[str, str], enabled: bool | None = None) -> None:
        """Replace a version's tags, and whether it is enabled, unless that is None."""

    async def remove(self, name: str) -> None:
        """Delete the secret with all its versions, to where `recover` finds it for a while. One that is not there is
        fine."""

    async def recover(self, name: str) -> None:
        """Bring a deleted secret back, its versions as they were: only then can its name be used again."""


# --- Rotation -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RotationStatus:
    """How the rotation stands. With `kind` None there is nothing to rotate, and `nothing` is a sentence that says why.

    `open` is the rotation that runs or stands, `last` the last one that was done. `since` is when what is in force was
    stored. `versions` are those of the identity, newest first; where the vault does not give them, `problem` says why.
    """

    kind: CredentialKind | None = None
    nothing: str = ""
    secret: str = ""
    account: str = ""
    open: RotationRecord | None = None
    last: RotationRecord | None = None
    next_due: datetime | None = None
    since: datetime | None = None
    versions: tuple[SecretVersion, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Claim:
    """Who alone may rotate a secret, and until when unless it is renewed. `fence` grows with each new claim."""

    owner: str
    fence: int
    until: datetime


@dataclass(frozen=True)
class Due:
    """When a secret is rotated next, reckoned from `since` under the `rule` that held then."""

    at: datetime
    since: datetime
    rule: str


class Rotations(Protocol):
    """Rotations, who may carry them out, and when the next is due. Each method is one durable transaction.

    Raises `StorageProblem`. What a claim is given for raises `Conflict` once somebody else has taken it over.
    """

    async def claim(self, secret: str, owner: str, *, until: datetime) -> Claim:
        """The claim that is in force after this: ours if nobody else's was."""

    async def renew(self, secret: str, claim: Claim, *, until: datetime) -> Claim: ...

    async def release(self, secret: str, claim: Claim) -> None:
        """Give it back. One that somebody else has taken over is theirs."""

    async def claimed(self, secret: str) -> Claim | None:
        """Whose it is now, if it is anybody's."""

    async def save(
        self, record: RotationRecord, *audit: AuditRecord, claim: Claim | None = None, due: Due | None = None
    ) -> None:
        """Write the rotation all but its `guesses`, what is audited of it, and when the next one is due."""

    async def count_guess(self, rotation_id: str, by: int, *, claim: Claim | None = None) -> int:
        """Add *by* (1, or -1 for one that was right) to the guesses of a rotation; how many they are now."""

    async def open(self, secret: str) -> RotationRecord | None:
        """The rotation of this secret that is not over."""

    async def all_open(self) -> Sequence[RotationRecord]:
        """Those of every secret that are not over, but for drills."""

    async def last(self, secret: str) -> RotationRecord | None:
        """The last one that put something new in force."""

    async def find(self, rotation_id: str) -> RotationRecord | None: ...

    async def of_request(self, request_id: str) -> RotationRecord | None:
        """The last one that a request began or had tried again."""

    async def history(self, secret: str, limit: int) -> Sequence[RotationRecord]:
        """Newest first, drills too, without repairs that had nothing to do."""

    async def due(self, secret: str) -> Due | None: ...

    async def set_due(self, secret: str, due: Due) -> None: ...


# --- Storage --------------------------------------------------------------------------------------------------------


class Audience(StrEnum):
    """Who sees a message."""

    PLACE = "place"
    """The work channel the request came from, or the requester's DM when that is no work channel."""
    REQUESTER = "requester"
    """Only the person who asked."""
    CHANNEL = "channel"
    """The channel that `data["channel"]` names, or the DM of the person whose Slack user id stands there. Nothing else
    takes its place: what cannot be posted there, or what another company would read there, is given up and logged."""


@dataclass(frozen=True)
class Message:
    """Something that should stand in Slack. The outbox keeps it; the reporter makes Slack agree.

    Saying a message again under the same `key` rewrites it in place. `view` names how it is rendered (a function of
    handlers/views/messages.py): from the request `subject` as it is when it is sent, `VIEWS[view](request, known)`; or
    with `subject` empty and the audience CHANNEL, about no request, `NOTICES[view](known)`. Either finds `data` as
    `known.data`, and gives None when there is nothing to say any more. `under` is the key of the message in whose
    thread it belongs. `after` holds the first posting back until then: a request that ends sooner is one message,
    already final.
    """

    key: str
    view: str
    subject: str = ""
    audience: Audience = Audience.PLACE
    under: str | None = None
    data: Mapping[str, JSON] = field(default_factory=dict)
    after: datetime | None = None


class DecisionRead(Protocol):
    """The one indexed read that runs on the event loop."""

    def rights(self, slack: SlackUser, command: str) -> Rights:
        """Who this is and which grants hold *command*, as committed by any process at this instant."""


class Operators(DecisionRead, Protocol):
    """The people who may ask, and what they were granted. What changes here is audited in the same transaction."""

    async def find(self, operator_id: str) -> Operator | None: ...

    async def role_commands(self, slack: SlackUser) -> Sequence[tuple[str, str]]:
        """(role, command pattern) of every current grant of this person."""

    async def who_may(self, command: str) -> Sequence[Operator]:
        """Operators with a current grant that holds *command*, a few of them, for *ask ...* in a refusal."""

    async def power_groups(self) -> frozenset[str]:
        """The ids of all groups that a scope names or that a role follows: whoever fills them decides whom Latchkey may
        touch, and who may do what."""


@dataclass(frozen=True)
class Leaver:
    """An operator who has left, and what of theirs was open then.

    `asked` are their own requests that had not begun to change anything, `agreed` those of others that wait to run
    because they agreed, `running` how many of theirs are being carried out and are finished. `last_admin` says that no
    tenant admin remains.
    """

    operator: Operator
    roles: tuple[str, ...] = ()
    asked: tuple[Request, ...] = ()
    agreed: tuple[Request, ...] = ()
    running: int = 0
    last_admin: bool = False


@dataclass(frozen=True)
class Parting:
    """What becomes of that: the requests as they end, the audit rows, and what is said."""

    requests: Sequence[Request] = ()
    audit: Sequence[AuditRecord] = ()
    say: Sequence[Message] = ()


class Leaving(Protocol):
    async def let_go(self, operator_id: str, part: Callable[[Leaver], Parting]) -> Leaver | None:
        """Suspend an operator and write what *part* makes of it, in one transaction; None if they are suspended
        already.

        *part* runs in the writer's thread and must be pure.
        """


class Following(Protocol):
    """The grants that follow Entra groups. Each method is one transaction, audited person by person."""

    async def match(self, group_grant_id: str, members: Collection[str], *, read_at: datetime) -> tuple[int, int]:
        """Let exactly the operators among *members* (account ids, in small letters) hold the role; how many began and
        ended."""

    async def end_unread(self, group_grant_id: str, why: str, *, say: Callable[[int], Sequence[Message]]) -> int:
        """End every grant that follows it, the group grant itself staying; how many they were. If there were any, *say*
        gets their number and its messages go out with the same commit."""


class Settings(Protocol):
    async def current(self) -> TenantSettings: ...


class SessionLog(Protocol):
    """Remembers management sessions, so that generations only grow, also across restarts."""

    async def last(self) -> Sequence[Session]:
        """The latest session of the tenant and of each operator who ever had one of their own."""

    async def save(self, session: Session, *audit: AuditRecord) -> None:
        """Write the session and what is to be audited of it in one transaction."""


@dataclass(frozen=True)
class Attempt:
    """One call of a request as the audit trail tells it. `finished` is None while no second row exists."""

    id: str
    request_id: str
    call_index: int
    started_at: datetime
    finished: str | None = None
    """`succeeded`, `refused`, `unavailable` or `unknown`."""

    @property
    def changed_nothing(self) -> bool:
        """Whether the call may be sent again."""
        return self.finished in {"refused", "unavailable"}


class Requests(Protocol):
    """Requests, their attempts and their messages. Each method is one durable transaction."""

    async def add(
        self,
        request: Request,
        *,
        delivery: str | None = None,
        audit: Sequence[AuditRecord] = (),
        say: Sequence[Message] = (),
        reply_url: str | None = None,
    ) -> Request:
        """Insert a request, mark the inbox row *delivery* done, append audit rows and put messages in the outbox.

        *reply_url* is Slack's `response_url`, kept for private answers until it is used or 30 minutes old.
        """

    async def find(self, request_id: str) -> Request | None: ...

    async def save(
        self,
        request: Request,
        *,
        audit: Sequence[AuditRecord] = (),
        say: Sequence[Message] = (),
        delivery: str | None = None,
        reply_url: str | None = None,
    ) -> Request:
        """Write *request* if the row still has its `version`; returns it with the next one. Raises `Conflict`."""

    async def open(self) -> Sequence[Request]:
        """Requests that a restart must take up: received, decided, ready or running, oldest first."""

    async def due(self, now: datetime) -> Sequence[Request]:
        """Requests whose `due_at` has come."""

    async def next_due(self) -> datetime | None: ...

    async def attempts(self, request_id: str) -> Sequence[Attempt]: ...

    async def latest_on(self, target_id: str, action: str, since: datetime) -> tuple[Request, Operator] | None:
        """The last request of this action that began to write on this target since then, and whose it was."""


class AuditTrail(Protocol):
    async def append(self, *records: AuditRecord) -> None:
        """Chain and commit the records, durably."""


@dataclass(frozen=True)
class AuditSelection:
    """Which rows of the audit trail are wanted: those that fit everything that is given.

    `operator` finds what they did and what was decided about them as an operator, `target` what was done to an account;
    both together, either of these. `action` finds the rows of requests for it. `refused`: by Latchkey, by another
    person or by Microsoft. `break_glass`: agreed to alone, reviewed, or granted in an emergency. `leavers`: operators
    who left, were suspended or came back.
    """

    operator: str | None = None
    target: str | None = None
    request: str | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    refused: bool = False
    break_glass: bool = False
    leavers: bool = False


@dataclass(frozen=True)
class AuditRow:
    """A row of the trail as people read it.

    `target_name` is what the target was called then, if the row belongs to a request. `sealed` is the row as it lies in
    the file: its JSON with the seal of the row before (`prev`) and its own (`mac`) in hex.
    """

    seq: int
    at: datetime
    record: AuditRecord
    target_name: str = ""
    sealed: str = ""


class AuditReading(Protocol):
    """Looks things up in the audit trail."""

    async def query(
        self, about: AuditSelection = ..., *, before_seq: int | None = None, limit: int = 20
    ) -> Sequence[AuditRow]:
        """Rows of the selection, newest first. For the next page give the last row's `seq` as *before_seq*."""

    async def each(self, about: AuditSelection, take: Callable[[AuditRow], None], *, limit: int) -> tuple[int, bool]:
        """Hand each row of the selection to *take*, in a thread, oldest first; of more than *limit* the newest.

        Returns how many there were, and whether older ones were left out.
        """


@dataclass(frozen=True)
class SeenIdentity:
    """What was seen of the service identity last: its directory roles (None: they could not be read), when its
    password was changed, as Graph says it, and whether it can sign in from Latchkey's address only."""

    id: str
    roles: frozenset[str] | None = None
    password_changed_at: str = ""
    closed: bool = False


class Watched(Protocol):
    """Remembers what was seen of the service identity."""

    async def last(self) -> SeenIdentity | None: ...

    async def save(self, seen: SeenIdentity | None) -> None:
        """Remember this, and nothing else; None: nothing at all."""


@dataclass(frozen=True)
class RememberedPolicies:
    """The Conditional Access policies and named locations of a moment, as Graph gave them. The same content has the
    same `digest`. `seen_at` is when they were read, or the last sign-in that went well under them."""

    digest: str
    policies: tuple[JSON, ...]
    locations: tuple[JSON, ...]
    seen_at: datetime


class PolicyMemory(Protocol):
    """Remembers what the tenant's policies were, by content."""

    async def see(self, content: RememberedPolicies) -> None:
        """This is what they are now."""

    async def went_well(self, identity: str, digest: str, at: datetime) -> None:
        """An identity has signed in under the content with this digest, which was seen before."""

    async def last_well(self, identity: str) -> RememberedPolicies | None:
        """What was in force when this identity last signed in well."""


# --- Alerts ---------------------------------------------------------------------------------------------------------


class Alarm(Protocol):
    """Tells whoever is on call. Neither method waits for Slack, and what was told is remembered."""

    async def raise_(self, trouble: Trouble) -> None:
        """Open an incident, or bring the open one of the same kind and about up to date. The same twice is said once.

        Raises `StorageProblem`.
        """

    async def close(self, kind: str, about: str = "", how: str = "") -> None:
        """It is over, and *how* (a sentence). With *about* empty all of the kind are. Nothing open: nothing happens.

        Raises `StorageProblem`.
        """


# --- Slack ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Preview:
    """What a form or a preview shows: whom it will hit and what would change."""

    person: Person | None
    plan: Plan | None
    warnings: tuple[str, ...] = ()
    suggestions: tuple[Person, ...] = ()
    target: Target | None = None
    """What it is about, where that is no person."""


class Forms(Protocol):
    """The open form of a request, in the requester's hands."""

    async def fill(self, request: Request, preview: Preview) -> None:
        """Show whom it will hit and the button that names it. A form that is gone is no error: it is logged."""

    async def tell(self, request: Request, sentence: str, *, again: bool) -> None:
        """Replace the form by a sentence, with *Try again* if that can help."""


class Reveals(Protocol):
    """Holds generated secrets in memory until they are seen once."""

    def keep(self, request_id: str, secret: Secret, *, until: datetime) -> None: ...

    def take(self, request_id: str) -> Secret | None:
        """The secret, once; None if it was taken, has expired or was never here."""

    def holds(self, request_id: str) -> bool: ...
