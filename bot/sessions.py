"""Which management session somebody acts through: the tenant's one in Advanced mode, in Default mode their own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from bot import story
from bot.errors import Conflict, LatchkeyError, NotPossible, StorageProblem
from bot.identities import ServiceIdentity, Show
from bot.model import (
    Identity,
    Mode,
    Operator,
    Request,
    RequestState,
    Session,
    SessionState,
    SlackUser,
    TenantSettings,
)
from bot.ports import Audience, Clock, Message, Operators, Requests, SessionLog, Settings, Tenant, Token
from bot.session import Generations, ManagementSession
from bot.signing_in import SignedIn

log = logging.getLogger(__name__)

SIGN_IN: Final = "sign_in"
"""Where the answer of a request that waits says that it goes on once its requester has signed in, and for what."""

LOOKS_EVERY: Final = timedelta(minutes=1)
"""How often it is looked whose owner was left without a role; at each use of a session that is looked at, too."""

_LOOKED_THROUGH: Final = 500
"""How many of somebody's latest requests are looked through for those that waited, and for a receipt."""


class Holding(Protocol):
    @property
    def operator(self) -> Operator: ...


class People(Operators, Protocol):
    """The operators, all of them: an account that is one's is nobody else's."""

    async def everyone(self) -> Sequence[Holding]: ...


class Recent(Requests, Protocol):
    async def recent(self, slack: SlackUser, limit: int) -> Sequence[Request]:
        """This person's latest requests, newest first."""


class Saying(Protocol):
    async def say(self, *messages: Message) -> None:
        """Put messages in, in a transaction of their own."""


class Waker(Protocol):
    def wake(self, request_id: str) -> None: ...


def _unheard(error: LatchkeyError) -> None:
    """Nobody wants to know."""


class Heard:
    """The service identity, of whose sign-ins somebody else wants to know, too."""

    def __init__(
        self,
        acts: ServiceIdentity,
        well: Callable[[], None],
        trouble: Callable[[LatchkeyError], None] = _unheard,
    ) -> None:
        self._acts = acts
        self._well = well
        self._trouble = trouble

    async def sign_in(self, show: Show, *, claims: str | None = None) -> Token:
        try:
            token = await self._acts.sign_in(show, claims=claims)
        except LatchkeyError as error:
            self._trouble(error)
            raise
        self._well()
        return token


class Sessions:
    """All management sessions of the tenant. They count in one, so that no two generations are the same."""

    def __init__(
        self,
        *,
        clock: Clock,
        settings: Settings,
        log: SessionLog,
        identity_of: Callable[[TenantSettings], ServiceIdentity],
        tenant: Tenant,
        zone: ZoneInfo,
        operators: People,
        requests: Recent,
        outbox: Saying,
        worker: Waker,
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._log = log
        self._identity_of = identity_of
        self._tenant = tenant
        self._zone = zone
        self._operators = operators
        self._requests = requests
        self._outbox = outbox
        self._worker = worker
        self._generations = Generations()
        self._listeners: list[Callable[[Session], None]] = []
        self._on_trouble: list[Callable[[LatchkeyError, Identity | None], None]] = []
        self._on_well: list[Callable[[], None]] = []
        self._mode = Mode.NONE
        self._forbidden: str | None = None
        self.shared = self._make(None)
        """The tenant's own, which everybody acts through in Advanced mode."""
        self._own: dict[str, ManagementSession] = {}

    async def start(self) -> None:
        """Take up the count. What was on when the process died is off, and its owner is told."""
        self._mode = (await self._settings.current()).mode
        last = {session.owner: session for session in await self._log.last()}
        self._generations.after(max((session.generation for session in last.values()), default=0))
        await self.shared.take_up(last.pop(None, None))
        for owner, session in last.items():
            if owner is not None:
                self._own[owner] = self._make(owner)
                await self._own[owner].take_up(session)

    async def close(self) -> None:
        """Stop all timers and openings, and forget every token."""
        await asyncio.gather(*(session.close() for session in self.all()))

    # --- whose -------------------------------------------------------------------------------------------------------

    async def of(self, operator_id: str | None) -> ManagementSession:
        """The session this operator acts through now. Those of another mode than the one in force are ended first."""
        self._mode = (await self._settings.current()).mode
        own = self._mode is Mode.DEFAULT
        for session in self.all():
            if session.acting() is not None and (session.owner is not None) is not own:
                await session.end_because("The mode was switched.", by=None)
        if own and operator_id is not None:
            await self._end_if_without_role(self._of_their_own(operator_id))
            return self._of_their_own(operator_id)
        return self.shared

    def current_for(self, operator_id: str | None) -> Session:
        """The session this operator would act through, as people see it; by the mode that was in force at the last
        look."""
        if self._mode is not Mode.DEFAULT:
            return self.shared.current
        if operator_id in self._own:
            return self._own[operator_id].current
        return Session(generation=0, mode=Mode.DEFAULT, state=SessionState.OFF, owner=operator_id)

    def clock_time(self, when: datetime | None) -> str:
        """A time of day for a sentence, in the tenant's time zone; with the date when that is not today."""
        return self.shared.clock_time(when)

    def all(self) -> tuple[ManagementSession, ...]:
        return self.shared, *self._own.values()

    def on_change(self, listener: Callable[[Session], None]) -> None:
        """Call *listener* after every change of any session's state."""
        self._listeners.append(listener)

    def on_trouble(self, listener: Callable[[LatchkeyError, Identity | None], None]) -> None:
        """Call *listener* when the service identity could not sign in: with why, and which it is."""
        self._on_trouble.append(listener)

    def on_well(self, listener: Callable[[], None]) -> None:
        """Call *listener* when the service identity has signed in."""
        self._on_well.append(listener)

    async def try_out(self) -> None:
        """Sign the service identity in once, to see whether it can. Whoever listens to sign-ins hears of it; no session
        comes of it. Raises `SignInFailed`, `VaultProblem` or `StorageProblem`."""
        if self._forbidden is not None:
            raise StorageProblem(self._forbidden)
        await self._heard(await self._settings.current()).sign_in(_quietly)

    # --- ending them -------------------------------------------------------------------------------------------------

    async def end_all(self, why: str, by: str | None) -> None:
        """End whatever is on, whoever's it is. *by* is an operator's id, None for Latchkey itself."""
        for session in self.all():
            await session.end_because(why, by=by)

    async def begin_switch(self, by: str | None) -> None:
        """End whatever is on, whoever's it is, and have what is asked for meanwhile wait until `end_switch`."""
        self._mode = (await self._settings.current()).mode
        await self.shared.begin_switch(by=by)
        for own in tuple(self._own.values()):
            await own.end_because("The mode is being switched.", by=by)

    async def end_switch(self) -> Mode:
        """Let the sessions of the mode that is in force now be opened; which that is."""
        self._mode = (await self._settings.current()).mode
        await self.shared.end_switch(mode=self._mode)
        return self._mode

    async def end_of(self, operator_id: str, why: str) -> None:
        """End this operator's own session, if there is one; the tenant's stays."""
        if session := self._own.get(operator_id):
            await session.end_because(why, by=None)

    async def watch(self) -> None:
        """End the sessions of those who were left without a role, by whomever and however. Run until cancelled."""
        while True:
            await self._clock.sleep_until(self._clock.now() + LOOKS_EVERY)
            try:
                for session in tuple(self._own.values()):
                    await self._end_if_without_role(session)
            except StorageProblem as error:
                log.warning("could not look at the sessions", extra={"why": str(error)})

    async def _end_if_without_role(self, session: ManagementSession) -> None:
        if session.acting() is None or session.owner is None:
            return
        operator = await self._operators.find(session.owner)
        if operator is None or not await self._holds_a_role(operator):
            await session.end_because("Its owner holds no role in Latchkey any more.", by=None)

    async def _holds_a_role(self, operator: Operator) -> bool:
        return not operator.suspended and bool(await self._operators.role_commands(operator.slack))

    async def forbid(self, why: str) -> None:
        """End all sessions and open no other in this process: the database is not to be believed."""
        self._forbidden = why
        for session in self.all():
            await session.forbid(why)

    # --- signing in --------------------------------------------------------------------------------------------------

    async def signed_in(self, slack: SlackUser, about: str, account: SignedIn) -> str:
        """Somebody signed in to open a session of their own: what waited for that goes on. *about* is the request."""
        operator = await self._may_open(slack, account)
        session = await self.of(operator.id)
        if session.owner != operator.id:
            raise _nobody_has_to()
        opened = await session.open_with(account, opened_for=about)
        try:
            await self._may_open(slack, account)
        except LatchkeyError:  # it was decided otherwise while it opened, and whoever did found nothing to end
            await session.end_because("It may not be open any more.", by=None)
            raise
        await self._go_on(slack)
        return f"Your management session is on until {session.clock_time(opened.on_until)}."

    async def _may_open(self, slack: SlackUser, account: SignedIn) -> Operator:
        settings = await self._settings.current()
        operator = self._operators.rights(slack, "/m365-session on").operator
        if operator is None or not await self._holds_a_role(operator):
            raise NotPossible("You hold no role in Latchkey at the moment. Ask a tenant admin for one.")
        if settings.mode is not Mode.DEFAULT:
            raise _nobody_has_to()
        if account.account_id == settings.identity_id:
            raise NotPossible(f"{account.upn} is the account Latchkey works with. Sign in with one of your own.")
        for holding in await self._operators.everyone():
            other = holding.operator
            if other.account_id == account.account_id and other.id != operator.id:
                raise NotPossible(
                    f"{account.upn} is the account of {other.name or 'somebody else'}. Sign in with one of your own."
                )
        return operator

    async def _go_on(self, slack: SlackUser) -> None:
        """Wake what waited for this person's sign-in."""
        for request in await self._requests.recent(slack, _LOOKED_THROUGH):
            if request.state is not RequestState.AWAITING_CONFIRMATION or request.answer.get(SIGN_IN) != "session":
                continue
            agreed = request.started_at is not None and request.target is not None
            state = RequestState.READY if agreed else RequestState.RECEIVED
            again = replace(request, state=state, sentence="", answer={}, due_at=None)
            try:
                await self._requests.save(again, say=story.messages(again, self._clock.now()))
            except Conflict:
                log.info("request changed meanwhile", extra={"request": request.id})
            else:
                self._worker.wake(request.id)

    # --- what its owner is told --------------------------------------------------------------------------------------

    async def ending(self, session: Session) -> None:
        """An operator's own session ends soon unless something more is done in it."""
        end = session.on_until
        if end is None or not (told := await self._user(session.owner)):
            return
        at_limit = end == session.absolute_until
        data = {"channel": told, "until": end.isoformat(), "extends": not at_limit}
        key = f"session-ending:{session.generation}:{end:%H%M}"
        await self._outbox.say(Message(key, "session-ending", audience=Audience.CHANNEL, data=data))

    async def ended(self, was: Session, why: str) -> None:
        """The receipt of an operator's own session."""
        await self._news_to(was, why)

    async def _news_to(self, was: Session, why: str) -> None:
        if not (told := await self._user(was.owner)):
            return
        operator = await self._operators.find(was.owner or "")
        done = 0
        for request in await self._requests.recent(operator.slack, _LOOKED_THROUGH) if operator else ():
            changed = request.plan is not None and request.plan.calls and request.state is RequestState.DONE
            done += bool(changed and request.session_generation == was.generation)
        data = {
            "channel": told,
            "why": why,
            "account": was.identity.name if was.identity else "",
            "opened_at": was.opened_at.isoformat() if was.opened_at else None,
            "changes": done,
        }
        key = f"session-ended:{was.generation}"
        await self._outbox.say(Message(key, "session-ended", audience=Audience.CHANNEL, data=data))

    async def _user(self, operator_id: str | None) -> str:
        """The Slack user of an operator, who reads it in their direct messages."""
        operator = await self._operators.find(operator_id) if operator_id else None
        return operator.slack.user if operator else ""

    # --- making them -------------------------------------------------------------------------------------------------

    def _of_their_own(self, operator_id: str) -> ManagementSession:
        if operator_id not in self._own:
            self._own[operator_id] = self._make(operator_id)
        return self._own[operator_id]

    def _make(self, owner: str | None) -> ManagementSession:
        session = ManagementSession(
            clock=self._clock,
            settings=self._settings,
            sessions=self._log,
            identity_of=self._heard,
            tenant=self._tenant,
            zone=self._zone,
            generations=self._generations,
            owner=owner,
            news=None if owner is None else self,
            forbidden=self._forbidden,
        )
        session.on_change(self._changed)
        return session

    def _heard(self, settings: TenantSettings) -> ServiceIdentity:
        identity = None
        if settings.identity_kind is not None and settings.identity_id is not None:
            identity = Identity(settings.identity_kind, settings.identity_id, settings.identity_name or "")

        def well() -> None:
            for listener in self._on_well:
                _told(listener)

        def trouble(error: LatchkeyError) -> None:
            for listener in self._on_trouble:
                _told(partial(listener, error, identity))

        return Heard(self._identity_of(settings), well, trouble)

    def _changed(self, session: Session) -> None:
        for listener in self._listeners:
            listener(session)


def _told(listener: Callable[[], None]) -> None:
    """What goes wrong with somebody who only listens must not cost anybody their session."""
    try:
        listener()
    except Exception:
        log.exception("somebody who listens to sign-ins failed")


def _quietly(key: str, title: str) -> None:
    """Nobody watches the steps."""


def _nobody_has_to() -> NotPossible:
    return NotPossible("Nobody has to sign in: Latchkey works with an account of its own now. Go on in Slack.")
