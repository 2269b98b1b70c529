"""A management session: opened once for everybody who waits, ended by idleness, by its limit or by a person."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

from bot.errors import (
    LatchkeyError,
    NotPossible,
    Retry,
    SessionEnded,
    SessionNotOpened,
    SignInFailed,
    StorageProblem,
)
from bot.identities import ServiceIdentity, called, directory_roles
from bot.model import (
    JSON,
    AuditRecord,
    Identity,
    IdentityKind,
    Mode,
    Session,
    SessionState,
    Step,
    StepStatus,
    TenantSettings,
)
from bot.ports import Clock, Graph, SessionLog, Settings, Tenant, Token
from bot.signing_in import SignedIn

log = logging.getLogger(__name__)

RENEW_BEFORE = timedelta(minutes=5)
"""A token with less than this left is not used for another call (MSAL treats it as expired, too)."""

EXTENSION = timedelta(hours=2)
"""How far *extend* moves the idle end; the absolute limit stays."""

WARNED_BEFORE: Final = timedelta(minutes=5)
"""When before its end an operator's own session says so: what ends with it is a sign-in that somebody has to repeat."""


SWITCH_TAKES: Final = timedelta(minutes=1)
"""How long a switch of the mode may keep others waiting; after that they try for themselves."""


class Event(StrEnum):
    """What can happen to a management session."""

    ENABLE = "enable"
    OPENED = "opened"
    RENEWED = "renewed"
    FAILED = "failed"
    ENDED = "ended"
    LOST = "lost"
    SWITCH = "switch"
    SWITCHED = "switched"


_NEXT: Mapping[tuple[SessionState, Event], SessionState] = {
    (SessionState.OFF, Event.ENABLE): SessionState.ENABLING,
    (SessionState.OFF, Event.SWITCH): SessionState.SWITCHING,
    (SessionState.ENABLING, Event.OPENED): SessionState.ON,
    (SessionState.ENABLING, Event.FAILED): SessionState.DEGRADED,
    (SessionState.ENABLING, Event.ENDED): SessionState.OFF,
    (SessionState.ON, Event.RENEWED): SessionState.ON,
    (SessionState.ON, Event.ENDED): SessionState.OFF,
    (SessionState.ON, Event.LOST): SessionState.DEGRADED,
    (SessionState.ON, Event.SWITCH): SessionState.SWITCHING,
    (SessionState.DEGRADED, Event.ENABLE): SessionState.ENABLING,
    (SessionState.DEGRADED, Event.ENDED): SessionState.OFF,
    (SessionState.DEGRADED, Event.SWITCH): SessionState.SWITCHING,
    (SessionState.SWITCHING, Event.SWITCHED): SessionState.OFF,
    (SessionState.SWITCHING, Event.ENDED): SessionState.OFF,
    (SessionState.SWITCHING, Event.FAILED): SessionState.DEGRADED,
}


def next_state(state: SessionState, event: Event) -> SessionState | None:
    """The state after *event*, or None where the event means nothing.

    off → enabling → on → off; a failed opening is degraded, from which the next request tries afresh.
    """
    return _NEXT.get((state, event))


class SessionOff(LatchkeyError):
    """The session is off and may not be opened without a person saying so (auto-enable is off)."""


class OwnSessionOff(SessionOff):
    """The session is the operator's own, and only their sign-in at Microsoft opens it."""


class Generations:
    """Counts for all sessions of the tenant, so that no two ever have the same number."""

    def __init__(self) -> None:
        self._last = 0

    def after(self, last: int) -> None:
        """Go on from *last*, which was used before."""
        self._last = max(self._last, last)

    def next(self) -> int:
        self._last += 1
        return self._last


class WhoseSession(Protocol):
    """Knows which session each operator acts through."""

    async def of(self, operator_id: str | None) -> ManagementSession:
        """The session this operator acts through now."""

    def current_for(self, operator_id: str | None) -> Session:
        """That session as people see it."""

    def clock_time(self, when: datetime | None) -> str:
        """A time of day for a sentence, in the tenant's time zone; with the date when that is not today."""


class News(Protocol):
    """Hears what the operator whose session it is has to be told."""

    async def ending(self, session: Session) -> None:
        """It ends soon unless something more is done in it."""

    async def ended(self, was: Session, why: str) -> None:
        """It was on, and has ended."""


Tell = Callable[[tuple[Step, ...]], Awaitable[None]]
"""Told of the steps of an opening so far, each time they change."""


@dataclass(frozen=True)
class Acting:
    """The right to act through a session: worthless once that has ended. One that was given out before the session was
    renewed stays good until then."""

    session: Session
    identity: Identity
    graph: Graph


class _Opening:
    """One opening under way, followed by everybody who waits for it."""

    def __init__(self, run: Callable[[_Opening], Coroutine[None, None, Acting]]) -> None:
        self.steps: tuple[Step, ...] = ()
        self._changed = asyncio.Event()
        self.task = asyncio.create_task(run(self))
        self.task.add_done_callback(self._ended)

    def show(self, key: str, title: str, status: StepStatus = StepStatus.IN_PROGRESS) -> None:
        """Begin the step *key*; the one before it is thereby done."""
        self._end_step(StepStatus.DONE)
        self.steps = (*self.steps, Step(f"session:{key}", title, status))
        self._announce()

    def fail(self) -> None:
        """The step under way is where it failed."""
        self._end_step(StepStatus.FAILED)

    def _ended(self, task: asyncio.Task[Acting]) -> None:
        if not task.cancelled():
            task.exception()  # raised to everybody who follows; asyncio complains if nobody is left
        self._announce()

    def _end_step(self, status: StepStatus) -> None:
        self.steps = tuple(
            replace(step, status=status) if step.status is StepStatus.IN_PROGRESS else step for step in self.steps
        )

    def _announce(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def follow(self, tell: Tell) -> Acting:
        """Wait for the end, telling of each change; slow listeners miss states in between, never the last."""
        told: tuple[Step, ...] = ()
        while True:
            changed, steps, ended = self._changed, self.steps, self.task.done()
            if steps != told:
                await tell(steps)
                told = steps
            elif ended:
                return self.task.result()
            else:
                await changed.wait()


class _Tokens:
    """The token of one generation, renewed by a new sign-in when it nears its end."""

    def __init__(self, owner: ManagementSession, generation: int, identity: ServiceIdentity, token: Token) -> None:
        self._owner = owner
        self._generation = generation
        self._identity = identity
        self._token = token
        self._renewing = asyncio.Lock()

    async def token(self) -> Token:
        self._owner.check(self._generation)
        if self._token.expires_at - self._owner.clock.now() < RENEW_BEFORE:
            return await self.fresh_token(self._token)
        return self._token

    async def fresh_token(self, refused: Token, claims: str | None = None) -> Token:
        async with self._renewing:
            self._owner.check(self._generation)
            if self._token is refused:
                try:
                    self._token = await self._identity.sign_in(_quietly, claims=claims)
                except LatchkeyError as error:
                    raise await self._owner.lost(self._generation, error) from error
        self._owner.check(self._generation)
        return self._token


def _quietly(key: str, title: str) -> None:
    """A renewal in the middle of a session is nobody's news."""


@dataclass
class _OwnAccount:
    """Somebody who has signed in, in the place of a service identity: the first token is there already."""

    signed_in: SignedIn
    given: Token | None = None

    async def sign_in(self, show: Callable[[str, str], None], *, claims: str | None = None) -> Token:
        tokens = self.signed_in.tokens
        self.given = await (tokens.token() if self.given is None else tokens.fresh_token(self.given, claims))
        return self.given


_Enter = Callable[[], tuple[Identity, ServiceIdentity]]


class ManagementSession:
    """The one Advanced session of the tenant, or in Default mode the session of the one operator who is its *owner*.

    `current` is what people see. `ensure` gives the right to act, opening the session if it may. All who ask while it
    opens share that one opening, its steps and its failure; after a failure the next one tries afresh.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        settings: Settings,
        sessions: SessionLog,
        identity_of: Callable[[TenantSettings], ServiceIdentity],
        tenant: Tenant,
        zone: ZoneInfo,
        generations: Generations | None = None,
        owner: str | None = None,
        news: News | None = None,
        forbidden: str | None = None,
    ) -> None:
        self.clock = clock
        self.owner = owner
        self._generations = generations or Generations()
        self._news = news
        self._settings = settings
        self._sessions = sessions
        self._identity_of = identity_of
        self._tenant = tenant
        self._zone = zone
        mode = Mode.NONE if owner is None else Mode.DEFAULT
        self._session = Session(generation=0, mode=mode, state=SessionState.OFF, owner=owner)
        self._live: int | None = None
        self._renewed: set[int] = set()
        """The generations before the live one, of the same session: what is under way in them goes on."""
        self._renewing = asyncio.Lock()
        self._acting: Acting | None = None
        self._opening: _Opening | None = None
        self._idle = timedelta()
        self._ender: asyncio.Task[None] | None = None
        self._listeners: list[Callable[[Session], None]] = []
        self._forget: Callable[[], None] = _nothing
        self._forbidden = forbidden
        self._failed: tuple[float, SessionNotOpened] | None = None
        self._switch: tuple[datetime, asyncio.Event] | None = None
        """Until when others wait for the switch under way, and what tells them that it is over."""

    async def start(self) -> None:
        """Go on from what the log knows."""
        sessions = await self._sessions.last()
        self._generations.after(max((session.generation for session in sessions), default=0))
        await self.take_up(next((session for session in sessions if session.owner == self.owner), None))

    async def take_up(self, last: Session | None) -> None:
        """Go on from the *last* one. A session that was on when the process died is off: its token is gone."""
        if self.owner is None:
            settings = await self._settings.current()
            self._session = replace(last or self._session, mode=settings.mode)
        elif last:
            self._session = last
        self._generations.after(self._session.generation)
        if last and last.state is not SessionState.OFF:
            await self._finish("The bot was restarted.", by=None)

    async def close(self) -> None:
        """Stop the timer and an opening under way, and forget the token."""
        tasks = [task for task in (self._ender, self._opening and self._opening.task) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._live = self._acting = None
        self._renewed.clear()
        self._forget()

    @property
    def current(self) -> Session:
        """The session as people see it."""
        return self._session

    async def of(self, operator_id: str | None) -> ManagementSession:
        """This one: where there is no other, it is everybody's."""
        return self

    def current_for(self, operator_id: str | None) -> Session:
        return self._session

    def on_change(self, listener: Callable[[Session], None]) -> None:
        """Call *listener* after every change of state."""
        self._listeners.append(listener)

    def check(self, generation: int) -> None:
        """Raise `SessionEnded` unless *generation* is of the session that is on, or being opened, now."""
        if self._live != generation and generation not in self._renewed:
            raise SessionEnded(
                "The management session this began under has ended. Try again: a new one opens by itself."
            )

    def acting(self) -> Acting | None:
        """The right to act if the session is on; opens nothing."""
        return self._acting

    async def ensure(
        self, *, opened_for: str, tell: Tell, may_open: bool = False, waiting_since: float | None = None
    ) -> Acting:
        """The right to act.

        If the session is off it is opened when auto-enable is on or *may_open* says that a person asked for it;
        *tell* hears the steps. Who has been *waiting_since* before the last opening failed (by the clock's `monotonic`)
        shares that failure, also if its turn came only now. Raises `SessionOff`, `OwnSessionOff` (it is somebody's
        own), `NotPossible` (not set up), `SessionNotOpened`, or `StorageProblem` once it was forbidden.
        """
        await self._until_switched(tell)
        self._must_be_allowed()
        if self._failed and waiting_since is not None and waiting_since <= self._failed[0] and self._acting is None:
            raise self._failed[1]
        settings = await self._settings.current()
        if self._acting is not None and not self._is_to_act(self._acting, settings):
            # Somebody decided so elsewhere, from a shell say: no session outlives that.
            await self._finish("Another account was chosen to act.", by=None)
        if self._acting is None and self._opening is None:
            if self.owner is not None:
                raise OwnSessionOff("Your management session is off. Sign in at Microsoft to open it.")
            if not (settings.auto_enable or may_open):
                raise SessionOff("The management session is off. Open it to go on.")
            self._opening = _Opening(
                lambda opening: self._open(opening, settings, opened_for, lambda: self._service(settings))
            )
        if self._opening is not None:
            return await self._opening.follow(tell)
        self._touch()
        return self._acting or await self.ensure(opened_for=opened_for, tell=tell, may_open=may_open)

    async def open_with(self, signed_in: SignedIn, *, opened_for: str) -> Session:
        """Open the owner's own session with the account they have just signed in with, in place of the one before.

        Whatever comes of it, the tokens are this session's from now on. Raises as `ensure` does.
        """
        while self._opening is not None:
            await asyncio.wait([self._opening.task])
        settings = await self._settings.current()
        if self._acting is not None:
            await self._finish("You signed in anew.", by=self.owner)
        self._must_be_allowed()
        if self._opening is not None or self._acting is not None:
            raise SessionEnded("Your management session is being opened by another sign-in of yours.")
        identity = Identity(IdentityKind.ADMINISTRATOR, signed_in.account_id, signed_in.upn, signed_in.roles)
        self._forget = signed_in.tokens.forget
        account = _OwnAccount(signed_in)
        self._opening = _Opening(lambda opening: self._open(opening, settings, opened_for, lambda: (identity, account)))
        return (await self._opening.follow(_to_nobody)).session

    def _must_be_allowed(self) -> None:
        if self._forbidden is not None:
            raise StorageProblem(self._forbidden)

    def _service(self, settings: TenantSettings) -> tuple[Identity, ServiceIdentity]:
        return _identity_to_use(settings), self._identity_of(settings)

    def _is_to_act(self, acting: Acting, settings: TenantSettings) -> bool:
        """Whether the settings still name the mode, and the identity, that the session was opened with."""
        if acting.session.mode is not settings.mode:
            return False
        named = settings.identity_kind, settings.identity_id
        return self.owner is not None or named == (acting.identity.kind, acting.identity.id)

    async def _open(self, opening: _Opening, settings: TenantSettings, opened_for: str, enter: _Enter) -> Acting:
        generation = self._live = self._generations.next()
        try:
            self._move(Event.ENABLE, generation=generation, mode=settings.mode, why=None)
            identity, acts = enter()
            opening.show("opening", f"Management session was off: opening it with {called(identity)}")
            token = await acts.sign_in(opening.show)
            graph = self._tenant.graph(_Tokens(self, generation, acts, token))
            if self.owner is None:
                identity = replace(identity, roles=await directory_roles(graph, identity))
            now = self.clock.now()
            session = Session(
                generation=generation,
                mode=settings.mode,
                state=SessionState.ON,
                identity=identity,
                opened_at=now,
                idle_until=now + timedelta(minutes=settings.idle_minutes),
                absolute_until=now + timedelta(minutes=settings.absolute_minutes),
                opened_for=opened_for,
                owner=self.owner,
            )
            await self._sessions.save(session, _record("session.opened", session, {"for": opened_for}))
            self.check(generation)
        except LatchkeyError as error:
            opening.fail()
            if self._live == generation:
                self._move(Event.FAILED, why=str(error))
            failure = _record("session.failed", self._session, {"for": opened_for, "why": str(error)})
            await self._sessions.save(self._session, failure)
            if isinstance(error, NotPossible | SessionEnded):  # not a fault: it is not set up, or was turned off
                raise
            self._failed = self.clock.monotonic(), SessionNotOpened(error)
            raise self._failed[1] from error
        else:
            self._idle = timedelta(minutes=settings.idle_minutes)
            self._acting = Acting(session, identity, graph)
            self._move(Event.OPENED, **vars(session))
            self._ender = asyncio.create_task(self._end_in_time())
            opening.show("on", f"Management session on until {self.clock_time(session.on_until)}", StepStatus.DONE)
            return self._acting
        finally:
            self._opening = None
            if self._acting is None:
                self._live = None
                self._forget()

    async def renew(self, why: str) -> None:
        """Sign the service identity in anew, if the session is on; what starts after that acts by the new sign-in.

        What is under way goes on with the token it has, and gets another by a sign-in of its own if Microsoft takes
        that one no more. The times at which the session ends stay; nobody waits, and nobody is told. Raises
        `SignInFailed`, `VaultProblem` or `StorageProblem`; the session then goes on as it was.
        """
        async with self._renewing:
            while self._opening is not None:  # it may have begun with what is in force no more
                await asyncio.wait([self._opening.task])
            acting, settings = self._acting, await self._settings.current()
            if self.owner is not None or acting is None or not self._is_to_act(acting, settings):
                return
            _, acts = self._service(settings)
            token = await acts.sign_in(_quietly)
            if self._acting is not acting:
                return
            before, generation = acting.session.generation, self._generations.next()
            renewed = replace(self._session, generation=generation)
            await self._sessions.save(renewed, _record("session.renewed", renewed, {"why": why}))
            if self._acting is not acting:  # it ended meanwhile, and that was written after this
                return
            self._renewed.add(before)
            self._live = generation
            self._move(Event.RENEWED, generation=generation)
            graph = self._tenant.graph(_Tokens(self, generation, acts, token))
            self._acting = Acting(self._session, acting.identity, graph)

    async def extend(self, *, by: str) -> Session:
        """Move the idle end, never past the absolute limit. *by* is an operator's id. Raises `NotPossible` when off."""
        if self._acting is None:
            raise NotPossible(
                "The management session is off, so there is nothing to extend. `/m365-session on` opens it."
            )
        self._touch(EXTENSION)
        await self._sessions.save(self._session, _record("session.extended", self._session, {}, by))
        return self._session

    async def end(self, *, by: str) -> Session:
        """End the session and forget its token. *by* is the operator's id. Ending an ended session changes nothing."""
        if self._session.state in {SessionState.ON, SessionState.DEGRADED, SessionState.ENABLING}:
            await self._finish("It was turned off.", by=by)
        return self._session

    async def end_because(self, why: str, *, by: str | None) -> None:
        """End the session, if it is on or might be soon, for a reason of Latchkey's."""
        if self._session.state is not SessionState.OFF or self._live is not None:
            await self._finish(why, by=by)

    # --- switching ----------------------------------------------------------------------------------------------------

    async def begin_switch(self, *, by: str | None) -> None:
        """Turn it off, and have whoever needs it wait until `end_switch`; at most a minute. Doing it again is fine."""
        was, why = self._session, "The mode is being switched."
        self._drop()
        if was.state is SessionState.ENABLING:
            self._move(Event.ENDED)
        number = self._generations.next()
        over = self._switch[1] if self._switch else asyncio.Event()
        self._switch = self.clock.now() + SWITCH_TAKES, over
        self._move(Event.SWITCH, generation=number, why=why, idle_until=None, absolute_until=None)
        await self._sessions.save(self._session, _record("session.ended", self._session, {"why": why}, by))
        await self._tell_of_the_end(was, why)

    async def end_switch(self, *, mode: Mode) -> None:
        """The switch is over: it is off, and may be opened in *mode*."""
        while self._opening is not None:  # one that was under way and has come to nothing
            await asyncio.wait([self._opening.task])
        if self._session.state is SessionState.SWITCHING:
            self._move(Event.SWITCHED, mode=mode, why=None)
            await self._sessions.save(self._session)
        self._nobody_waits()

    async def _until_switched(self, tell: Tell) -> None:
        """Wait for a switch under way. One that came to no end is given up."""
        step = Step("session:switching", "The mode is being switched: waiting for that", StepStatus.IN_PROGRESS)
        waited = False
        while self._switch is not None and self._session.state is SessionState.SWITCHING:
            if not waited:
                await tell((step,))
            waited = True
            until, over = self._switch
            either = [asyncio.create_task(over.wait()), asyncio.create_task(self.clock.sleep_until(until))]
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in either:
                    each.cancel()
            if self._session.state is SessionState.SWITCHING and self.clock.now() >= self._switch[0]:
                self._move(Event.FAILED, why="The switch of the mode came to no end.")
                self._nobody_waits()
        if waited:
            await tell((replace(step, status=StepStatus.DONE),))

    def _nobody_waits(self) -> None:
        if self._switch is not None:
            self._switch[1].set()
            self._switch = None

    async def lost(self, generation: int, error: LatchkeyError) -> LatchkeyError:
        """The identity of this generation can no longer sign in: what to raise because of it.

        The next request tries to open a session afresh; where the session was renewed since, its newer token stays. A
        person's own sign-in cannot be repeated without that person, so it is not given up because Microsoft cannot be
        reached for once.
        """
        passes = isinstance(error, SignInFailed) and error.retry is Retry.BACKOFF
        if self.owner is not None and passes:
            return error
        if self._live == generation:
            was = self._session
            self._drop()
            number = self._generations.next()
            self._move(Event.LOST, generation=number, why=str(error), idle_until=None, absolute_until=None)
            await self._sessions.save(self._session, _record("session.lost", self._session, {"why": str(error)}))
            await self._tell_of_the_end(was, str(error))
        self._renewed.discard(generation)
        if self.owner is not None:
            return OwnSessionOff(f"Your management session has ended: {error} Sign in at Microsoft to open it again.")
        return SessionNotOpened(error)

    async def forbid(self, why: str) -> None:
        """End the session and open no other in this process: the database is not to be believed."""
        self._forbidden = why
        await self._finish(why, by=None)

    def clock_time(self, when: datetime | None) -> str:
        """A time of day for a sentence, in the tenant's time zone; with the date when that is not today."""
        if when is None:
            return "further notice"
        local, today = when.astimezone(self._zone), self.clock.now().astimezone(self._zone)
        return f"{local:%H:%M}" if local.date() == today.date() else f"{local:%H:%M on %d %B}"

    def _touch(self, idle: timedelta | None = None) -> None:
        limit = self._session.absolute_until
        wanted = self.clock.now() + (idle or self._idle)
        # Working does not take back what *extend* gave.
        wanted = max(wanted, self._session.idle_until or wanted)
        self._session = replace(self._session, idle_until=min(wanted, limit) if limit else wanted)

    async def _end_in_time(self) -> None:
        warned_of = None
        while (end := self._session.on_until) and self.clock.now() < end:
            if self._news is None or warned_of == end:
                await self.clock.sleep_until(end)
            elif self.clock.now() < end - WARNED_BEFORE:
                await self.clock.sleep_until(end - WARNED_BEFORE)
            else:
                warned_of = end
                await self._news.ending(self._session)
        at_limit = self._session.absolute_until and self.clock.now() >= self._session.absolute_until
        self._ender = None
        await self._finish("It reached its time limit." if at_limit else "Nobody used it for a while.", by=None)

    def _drop(self) -> None:
        """Forget the token and the timer: nobody acts any more."""
        self._live = self._acting = None
        self._renewed.clear()
        self._forget()
        self._forget = _nothing
        if self._ender:
            self._ender.cancel()
            self._ender = None

    async def _finish(self, why: str, *, by: str | None) -> None:
        was = self._session
        self._drop()
        number = self._generations.next()
        self._move(Event.ENDED, generation=number, why=why, idle_until=None, absolute_until=None)
        self._nobody_waits()
        await self._sessions.save(self._session, _record("session.ended", self._session, {"why": why}, by))
        await self._tell_of_the_end(was, why)

    async def _tell_of_the_end(self, was: Session, why: str) -> None:
        if self._news is not None and was.state is SessionState.ON:
            await self._news.ended(was, why)

    def _move(self, event: Event, **changes: Any) -> None:
        state = next_state(self._session.state, event)
        if state is None:  # the event means nothing here: an opening that failed because it was turned off, say
            return
        self._session = replace(self._session, **{**changes, "state": state})
        log.info("session", extra={"state": state.value, "generation": self._session.generation})
        for listener in self._listeners:
            listener(self._session)


def _nothing() -> None:
    """There is nothing to forget: a service identity's token is the session's alone."""


async def _to_nobody(steps: tuple[Step, ...]) -> None:
    """Whoever signs in reads the outcome on the page they signed in on."""


def _identity_to_use(settings: TenantSettings) -> Identity:
    if settings.mode is not Mode.ADVANCED or settings.identity_kind is None or not settings.identity_id:
        raise NotPossible("Latchkey is not set up yet: it has no account to act with. A tenant admin can set it up.")
    return Identity(settings.identity_kind, settings.identity_id, settings.identity_name or "")


def _record(kind: str, session: Session, facts: Mapping[str, JSON], by: str | None = None) -> AuditRecord:
    about = {"mode": session.mode.value, "identity": session.identity.id if session.identity else None}
    by = by or (session.owner if kind == "session.opened" else None)
    return AuditRecord(kind, operator_id=by, session_generation=session.generation, facts={**about, **facts})
