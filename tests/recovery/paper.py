"""A bot without any I/O: rows in a dict, a tenant on paper, and faults that strike at the N-th step outwards."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Any
from zoneinfo import ZoneInfo

from bot.approvals import Approvals
from bot.auditing import Reply
from bot.enquiries import Enquiries
from bot.errors import (
    Conflict,
    GraphAnswer,
    GraphNotFound,
    GraphRefused,
    GraphUnavailable,
    OutcomeUnknown,
    SessionEnded,
    StorageProblem,
    VaultProblem,
)
from bot.journey import Means
from bot.model import (
    JSON,
    AuditRecord,
    Call,
    Grant,
    IdentityKind,
    Mode,
    Operator,
    Origin,
    Repeat,
    Request,
    RequestState,
    Rights,
    Secret,
    Session,
    SlackUser,
    Target,
    TargetKind,
    TenantSettings,
)
from bot.office import Office
from bot.ports import Attempt, Graph, Message, Preview, Sent, Token, TokenSource
from bot.reveals import SecretsInWaiting
from bot.road import Point
from bot.runner import Runner
from bot.session import ManagementSession
from bot.standing import Standing
from tests.clock import T0, ManualClock
from tests.tenant import (
    ADELE_ID,
    GLOBAL_ADMINISTRATOR,
    SALES_ID,
    SERVICE_ACCOUNT,
    Enabled,
    NobodySignsIn,
    PaperTenant,
    contoso,
    group,
    user,
)

OLIVE = Operator("olive", SlackUser("T1", "U1"), account_id="a1", upn="olive@contoso.com", name="Olive Hart")
ANA = Operator("ana", SlackUser("T1", "U2"), account_id="a2", upn="ana@contoso.com", name="Ana Ruiz")
ADELE = Target(TargetKind.USER, ADELE_ID, "Adele Vance", "adele@contoso.com")
LONDON = ZoneInfo("Europe/London")

SETTINGS = TenantSettings(
    version=1,
    mode=Mode.ADVANCED,
    identity_kind=IdentityKind.SERVICE_ACCOUNT,
    identity_id=SERVICE_ACCOUNT.id,
    identity_name=SERVICE_ACCOUNT.name,
)


class Outward(Enum):
    """The kinds of steps a bot takes outwards."""

    SAVE = "save"
    READ = "read"
    SEND = "send"
    SIGN_IN = "sign in"


class Fault(Enum):
    """What can happen to a step outwards, and to which kinds of them."""

    FULL = ("the disk is full", Outward.SAVE)
    KILLED_BEFORE_COMMIT = ("killed before the commit", Outward.SAVE)
    KILLED_AFTER_COMMIT = ("killed after the commit", Outward.SAVE)
    UNREADABLE = ("Graph does not answer", Outward.READ)
    STALE = ("an old replica answers", Outward.READ)
    ENDED = ("the session has ended", Outward.READ)
    KILLED_READING = ("killed while reading", Outward.READ)
    REFUSED = ("Microsoft says no", Outward.SEND)
    BUSY = ("Microsoft says not now", Outward.SEND)
    ENDED_BEFORE_SENDING = ("the session has ended before sending", Outward.SEND)
    LOST_BEFORE = ("the connection is lost before it was applied", Outward.SEND)
    LOST_AFTER = ("the connection is lost after it was applied", Outward.SEND)
    BUG_AFTER = ("our own fault after it was applied", Outward.SEND)
    KILLED_BEFORE = ("killed before it was applied", Outward.SEND)
    KILLED_AFTER = ("killed after it was applied", Outward.SEND)
    NO_VAULT = ("the vault does not answer", Outward.SIGN_IN)
    KILLED_SIGNING_IN = ("killed while signing in", Outward.SIGN_IN)

    def __init__(self, title: str, strikes: Outward) -> None:
        self.title = title
        self.strikes = strikes


class Killed(BaseException):
    """The process is gone: nothing of ours may catch this."""


@dataclass
class Row:
    """A row of the audit trail."""

    record: AuditRecord
    at: datetime


@dataclass
class Contoso:
    """What is true in the tenant, and what was done to it."""

    password: str = "at the start"
    password_changes: int = 0
    sign_outs: int = 0
    enabled: bool = True
    synced: bool = False
    member: bool = False
    access_passes: int = 0
    applied: list[str] = field(default_factory=list)
    """The `client-request-id` of every change, in order."""
    one_shots: list[str] = field(default_factory=list)
    """The last part of the path of every change that is a new effect each time."""
    asked: list[str] = field(default_factory=list)
    """The last part of the path of everything that was asked for and done, in order."""

    def shown(self) -> PaperTenant:
        """The tenant as Graph shows it."""
        adele = user(
            accountEnabled=self.enabled,
            onPremisesSyncEnabled=self.synced or None,
            lastPasswordChangeDateTime=f"2026-01-05T08:00:{self.password_changes:02}Z",
            signInSessionsValidFromDateTime=f"2026-01-05T08:00:{self.sign_outs:02}Z",
        )
        passes = [{"createdDateTime": f"2026-01-05T08:00:{self.access_passes:02}Z"}] if self.access_passes else []
        tenant = contoso()
        tenant.answers |= {
            f"users/{ADELE_ID}": adele,
            f"users/{ADELE_ID}/transitiveMemberOf": [group()] if self.member else [],
            f"users/{ADELE_ID}/memberOf/microsoft.graph.group": [group()] if self.member else [],
            f"users/{ADELE_ID}/checkMemberGroups": {"value": [SALES_ID] if self.member else []},
            f"users/{ADELE_ID}/authentication/temporaryAccessPassMethods": passes,
            f"users/{SERVICE_ACCOUNT.id}/transitiveMemberOf/microsoft.graph.directoryRole": [
                {"roleTemplateId": GLOBAL_ADMINISTRATOR}
            ],
            "directory/onPremisesSynchronization": {"features": {"passwordWritebackEnabled": True}},
        }
        return tenant

    def apply(self, call: Call, attempt_id: str, generated: Secret | None) -> Secret | None:
        """Do what *call* asks for, as Graph does; returns what only the answer reveals."""
        revealed = None
        match call.method, call.path[-1]:
            case "PATCH", _ if generated:
                self.password, self.password_changes = generated.reveal(), self.password_changes + 1
            case "PATCH", _:
                self.enabled = call.body["accountEnabled"]
            case "POST", "resetPassword" if generated:
                self.password = generated.reveal()
            case "POST", "revokeSignInSessions":
                self.sign_outs += 1
            case "POST", "temporaryAccessPassMethods":
                self.access_passes += 1
                self.password = f"pass {self.access_passes}"
                revealed = Secret(self.password)
            case "POST", "$ref":
                if self.member:
                    raise GraphRefused("It is a member already.", answer=GraphAnswer(400, "Request_BadRequest"))
                self.member = True
            case "DELETE", "$ref":
                if not self.member:
                    raise GraphNotFound("It is no member.", answer=GraphAnswer(404, "Request_ResourceNotFound"))
                self.member = False
            case "PUT", "what-if":  # changes nothing
                pass
            case method, last:
                raise AssertionError(f"nobody knows {method} ../{last}")
        self.applied.append(attempt_id)
        self.asked.append(call.path[-1])
        if call.repeat is Repeat.ONE_SHOT:
            self.one_shots.append(call.path[-1])
        return revealed


class World:
    """What outlives a process: the rows, the tenant, the time; and which faults are still to come."""

    def __init__(self, faults: Mapping[int, Fault] | None = None, tenant: Contoso | None = None) -> None:
        self.faults = dict(faults or {})
        self.tenant = tenant or Contoso()
        self.at_first = self.tenant.shown()
        self.time = ManualClock()
        self.settings = SETTINGS
        self.requests: dict[str, Request] = {}
        self.audit: list[Row] = []
        self.sessions: list[Session] = []
        self.said: list[Message] = []
        self.kinds: list[Outward] = []
        self.lag = timedelta()
        """For how long after a change reads show the tenant as it was at first."""
        self.changed_at: datetime | None = None

    @property
    def request(self) -> Request:
        """The first request."""
        return next(iter(self.requests.values()))

    def passes_until(self, when: datetime | None) -> None:
        """Let the time pass until then, if that is to come."""
        if when is not None and when > self.time.now():
            self.time.advance((when - self.time.now()).total_seconds())

    def of_attempts(self, kind: str) -> list[AuditRecord]:
        return [row.record for row in self.audit if row.record.kind == kind]


@dataclass
class Hurried:
    """The clock of a walk: it does not wait, it moves the time. Whoever else sleeps is woken as the time comes."""

    world: World

    def now(self) -> datetime:
        return self.world.time.now()

    def monotonic(self) -> float:
        return self.world.time.monotonic()

    async def sleep_until(self, when: datetime) -> None:
        self.world.passes_until(when)
        await asyncio.sleep(0)


class Process:
    """One life of the bot in a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.dead = False
        self.clock = Hurried(world)
        self.reveals = SecretsInWaiting(self.clock)
        self.passed: list[Point] = []
        self.rows = Rows(self)
        self.people = People()
        self.log = Log(self)
        self.session = ManagementSession(
            clock=world.time,
            settings=self.log,
            sessions=self.log,
            identity_of=lambda settings: SignsIn(self),
            tenant=TenantOf(self),
            zone=LONDON,
        )
        standing, nobody = Standing(clock=self.clock, directory=Enabled(), slack=None), NobodySignsIn()
        self.runner = Runner(
            Means(
                clock=self.clock,
                requests=self.rows,
                operators=self.people,
                settings=self.log,
                session=self.session,
                forms=NoForms(),
                reveals=self.reveals,
                enquiries=Enquiries(
                    clock=self.clock,
                    operators=self.people,
                    settings=self.log,
                    session=self.session,
                    auditing=NothingToRead(),
                    roll=NothingToRead(),
                    rotation=NothingToRead(),
                    what_if=NothingToRead(),
                    zone=LONDON,
                ),
                approvals=Approvals(self.clock, self.rows, self.people, self.log, NothingToRead(), standing, nobody),
                standing=standing,
                office=Office(
                    clock=self.clock,
                    session=self.session,
                    desks={},
                    directory=Enabled(),
                    tenant=TenantOf(self),
                    sign_ins=nobody,
                ),
                zone=LONDON,
                passed=self.passed.append,
            )
        )

    def step(self, kind: Outward) -> Fault | None:
        """The fault that strikes the step outwards which is about to be taken."""
        if self.dead:
            raise Killed
        self.world.kinds.append(kind)
        fault = self.world.faults.pop(len(self.world.kinds), None)
        return fault if fault is not None and fault.strikes is kind else None

    def die(self) -> Killed:
        self.dead = True
        return Killed()

    async def advance(self, request_id: str) -> None:
        """What the worker does with a request that it is woken for."""
        try:
            await self.runner.advance(request_id, self.clock.monotonic())
        except Exception:  # noqa: BLE001 - as the worker, which answers for faults nobody foresaw
            try:
                await self.runner.stumbled(request_id, "abc123")
            except StorageProblem:
                self.world.time.advance(60)
        if self.dead:
            raise Killed

    async def close(self) -> None:
        self.dead = True
        await self.session.close()


async def live(world: World, request_id: str = "r1", *, lives: int = 10) -> Process:
    """Let bots live in *world*, one after the other, until the request has ended; returns the one that saw it.

    A secret that waits to be seen has ended it only in the process that holds it.
    """
    for _ in range(lives):
        process = Process(world)
        try:
            await process.session.start()
            await process.advance(request_id)
            while not (row := world.requests[request_id]).state.final or (
                row.answer.get("reveal") == "waiting" and not process.reveals.holds(request_id)
            ):
                assert world.time.now() - T0 < timedelta(hours=2), f"no end of {row.state}: {row.sentence}"
                world.passes_until(row.due_at)
                await process.advance(request_id)
        except (Killed, StorageProblem):
            await process.close()
            continue
        return process
    raise AssertionError("the bot was killed too often")


# --- ports -----------------------------------------------------------------------------------------------------------


class Rows:
    """Requests, their attempts and their messages."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._world = process.world

    async def add(
        self,
        request: Request,
        *,
        delivery: str | None = None,
        audit: Sequence[AuditRecord] = (),
        say: Sequence[Message] = (),
        reply_url: str | None = None,
    ) -> Request:
        self._world.requests[request.id] = request
        return request

    async def find(self, request_id: str) -> Request | None:
        await asyncio.sleep(0)
        return self._world.requests.get(request_id)

    async def save(
        self,
        request: Request,
        *,
        audit: Sequence[AuditRecord] = (),
        say: Sequence[Message] = (),
        delivery: str | None = None,
        reply_url: str | None = None,
    ) -> Request:
        await asyncio.sleep(0)
        fault = self._process.step(Outward.SAVE)
        if fault is Fault.FULL:
            raise StorageProblem("The database cannot be written: the disk is full. Nothing was changed.")
        if fault is Fault.KILLED_BEFORE_COMMIT:
            raise self._process.die()
        if self._world.requests[request.id].version != request.version:
            raise Conflict("Somebody else was first.")
        saved = replace(request, version=request.version + 1)
        self._world.requests[request.id] = saved
        self._world.audit.extend(Row(record, self._world.time.now()) for record in audit)
        self._world.said.extend(say)
        if fault is Fault.KILLED_AFTER_COMMIT:
            raise self._process.die()
        return saved

    async def open(self) -> Sequence[Request]:
        return [request for request in self._world.requests.values() if not request.state.final]

    async def due(self, now: datetime) -> Sequence[Request]:
        return [request for request in self._world.requests.values() if request.due_at and request.due_at <= now]

    async def next_due(self) -> datetime | None:
        return min((request.due_at for request in self._world.requests.values() if request.due_at), default=None)

    async def under_review(self) -> Sequence[Request]:
        return []

    async def awaiting_approval(self) -> Sequence[Request]:
        return [each for each in self._world.requests.values() if each.state is RequestState.AWAITING_APPROVAL]

    async def attempts(self, request_id: str) -> Sequence[Attempt]:
        found: dict[str, Attempt] = {}
        for row in self._world.audit:
            about, attempt_id = row.record.facts, row.record.attempt_id
            if row.record.request_id != request_id or attempt_id is None:
                continue
            if row.record.kind == "attempt.started":
                found[attempt_id] = Attempt(attempt_id, request_id, about["call_index"], row.at)
            else:
                found[attempt_id] = replace(found[attempt_id], finished=about["outcome"])
        return list(found.values())

    async def latest_on(self, target_id: str, action: str, since: datetime) -> tuple[Request, Operator] | None:
        for row in reversed(self._world.audit):
            request = self._world.requests[row.record.request_id or ""]
            if row.record.kind == "attempt.started" and row.at >= since and request.action == action:
                return request, ANA if request.slack == ANA.slack else OLIVE
        return None


class People:
    """Olive and Ana, who may do everything."""

    def rights(self, slack: SlackUser, command: str) -> Rights:
        return Rights(ANA if slack == ANA.slack else OLIVE, (Grant("g1", "tenant-admin", pattern="*"),))

    async def find(self, operator_id: str) -> Operator | None:
        return OLIVE

    async def role_commands(self, slack: SlackUser) -> Sequence[tuple[str, str]]:
        return [("tenant-admin", "*")]

    async def who_may(self, command: str) -> Sequence[Operator]:
        return [ANA]

    async def power_groups(self) -> frozenset[str]:
        return frozenset()

    async def everyone(self) -> Sequence[Any]:
        return []


class Log:
    """The settings, and the log of sessions; neither ever fails: `test_session.py` sees to that."""

    def __init__(self, process: Process) -> None:
        self._world = process.world

    async def current(self) -> TenantSettings:
        return self._world.settings

    async def last(self) -> list[Session]:
        return self._world.sessions[-1:]

    async def save(self, session: Session, *audit: AuditRecord) -> None:
        self._world.sessions.append(session)


class NoForms:
    """Nobody has a form open."""

    async def fill(self, request: Request, preview: Preview) -> None:
        assert request.form is None

    async def tell(self, request: Request, sentence: str, *, again: bool) -> None:
        assert request.form is None


class NothingToRead:
    """An audit trail nobody asks anything."""

    async def read(self, request: Request) -> Reply:
        raise NotImplementedError

    who = roles = status = history = ask = compare = draft = read

    async def append(self, *records: AuditRecord) -> None:
        """Nobody is refused an approval on paper."""


@dataclass
class SignsIn:
    """The service account."""

    process: Process

    async def sign_in(self, show: Any, *, claims: str | None = None) -> Token:
        show("sign-in", "Signing in")
        match self.process.step(Outward.SIGN_IN):
            case Fault.NO_VAULT:
                raise VaultProblem("Key Vault cannot be reached. Try again in some minutes.", reason="unreachable")
            case Fault.KILLED_SIGNING_IN:
                raise self.process.die()
        return Token(Secret("token"), self.process.clock.now() + timedelta(hours=8))


@dataclass
class TenantOf:
    """Makes Graph clients of a process."""

    process: Process

    def graph(self, tokens: TokenSource) -> Graph:
        return PaperGraph(self.process, tokens)


@dataclass
class PaperGraph:
    """Graph over a tenant on paper."""

    process: Process
    tokens: TokenSource

    async def get(self, *path: str, query: Mapping[str, str] | None = None, eventual: bool = False) -> dict[str, Any]:
        tenant = await self._asked()
        listed = tenant.answers["/".join(path)]
        return (
            {"value": listed} if isinstance(listed, list) else await tenant.get(*path, query=query, eventual=eventual)
        )

    async def collect(
        self, *path: str, query: Mapping[str, str] | None = None, eventual: bool = False, limit: int | None = None
    ) -> list[dict[str, Any]]:
        return await (await self._asked()).collect(*path, query=query, eventual=eventual, limit=limit)

    async def ask(self, *path: str, body: JSON) -> dict[str, Any]:
        return await (await self._asked()).ask(*path, body=body)

    async def _asked(self) -> PaperTenant:
        await self.tokens.token()
        world = self.process.world
        lags = world.changed_at is not None and world.time.now() < world.changed_at + world.lag
        match self.process.step(Outward.READ):
            case Fault.UNREADABLE:
                raise GraphUnavailable("Microsoft Graph cannot be reached at the moment.")
            case Fault.ENDED:
                raise SessionEnded("The management session this began under has ended.")
            case Fault.KILLED_READING:
                raise self.process.die()
            case Fault.STALE:
                lags = True
        return world.at_first if lags else world.tenant.shown()

    async def send(self, call: Call, *, attempt_id: str, generated: Secret | None = None) -> Sent:
        world = self.process.world
        announced = [record.attempt_id for record in world.of_attempts("attempt.started")]
        assert announced[-1] == attempt_id, "a call left without its row"
        await self.tokens.token()
        fault = self.process.step(Outward.SEND)
        match fault:
            case Fault.REFUSED:
                raise GraphRefused("Microsoft said no.", answer=GraphAnswer(403, "Authorization_RequestDenied"))
            case Fault.BUSY:
                raise GraphUnavailable("Microsoft is too busy at the moment. Nothing was changed.")
            case Fault.ENDED_BEFORE_SENDING:
                raise SessionEnded("The management session this began under has ended.")
            case Fault.LOST_BEFORE:
                raise OutcomeUnknown("No answer.")
            case Fault.KILLED_BEFORE:
                raise self.process.die()
        revealed = world.tenant.apply(call, attempt_id, generated)
        world.changed_at = world.time.now()
        match fault:
            case Fault.LOST_AFTER:
                raise OutcomeUnknown("No answer.")
            case Fault.BUG_AFTER:
                raise RuntimeError("a fault of ours")
            case Fault.KILLED_AFTER:
                raise self.process.die()
        return Sent(204, f"microsoft-{attempt_id}", revealed)


def agreed(action: str, **more: Any) -> Request:
    """Olive's request about Adele, to which everybody concerned has agreed."""
    asked = Request(
        id="r1",
        operator_id=OLIVE.id,
        slack=OLIVE.slack,
        command=f"/m365 {action}",
        action=action,
        origin=Origin("C1"),
        created_at=T0,
        state=RequestState.READY,
        typed=ADELE.detail,
        target=ADELE,
        reason="locked out",
        verified="called back",
    )
    return replace(asked, **more)
