"""What `bot/` needs of the world, as Protocols: one per noun, named for the need and not for the product behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from bot.model import (
    JSON,
    AuditRecord,
    Call,
    Identity,
    Operator,
    Person,
    Plan,
    Request,
    Rights,
    Secret,
    Session,
    SlackUser,
    TenantSettings,
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


class TokenSource(Protocol):
    """Where a Graph client gets its token from, asked before every request."""

    async def token(self) -> Token:
        """A token with at least five minutes left. Raises `SessionEnded` once its session is over."""

    async def fresh_token(self, refused: Token, claims: str | None = None) -> Token:
        """A token newer than *refused*, which Graph did not accept, by one new sign-in (with *claims* if demanded)."""


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

    async def label(self, name: str, version: str, *, tags: Mapping[str, str], enabled: bool = True) -> None:
        """Replace a version's tags and whether it is enabled."""


# --- Storage --------------------------------------------------------------------------------------------------------


class Audience(StrEnum):
    """Who sees a message."""

    PLACE = "place"
    """The work channel the request came from, or the requester's DM when that is no work channel."""
    REQUESTER = "requester"
    """Only the person who asked."""


@dataclass(frozen=True)
class Message:
    """Something that should stand in Slack. The outbox keeps it; the reporter makes Slack agree.

    Saying a message again under the same `key` rewrites it in place. `view` names how it is rendered, from the request
    `subject` as it is when it is sent, and from `data`. `under` is the key of the message in whose thread it belongs.
    `after` holds the first posting back until then: a request that ends sooner is one message, already final.
    """

    key: str
    view: str
    subject: str
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
        """The ids of all groups that a scope names: whoever fills them decides whom Latchkey may touch."""


class Settings(Protocol):
    async def current(self) -> TenantSettings: ...


class SessionLog(Protocol):
    """Remembers management sessions, so that generations only grow, also across restarts."""

    async def last(self) -> Session | None: ...

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


# --- Slack ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Preview:
    """What a form or a preview shows: whom it will hit and what would change."""

    person: Person | None
    plan: Plan | None
    warnings: tuple[str, ...] = ()
    suggestions: tuple[Person, ...] = ()


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


class Diagnosis(Protocol):
    """Turns a failed opening into words for the thread (more than the error table, once what-if exists)."""

    async def explain(self, error: Exception, identity: Identity | None) -> str: ...
