"""The real rotator and the real alerts on a real database; around them the account and the vault of `model`, and a time
in which nobody waits. Each input and output may go wrong by chance; whoever dies of it is started again."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from bot.alerts import Alerts
from bot.errors import (
    GraphAnswer,
    GraphRefused,
    OutcomeUnknown,
    PasswordRefused,
    Retry,
    SignInCategory,
    SignInFailed,
    StorageProblem,
    VaultProblem,
)
from bot.guesses import WRONG_PASSWORD, GuessBook
from bot.model import Call, Generated, IdentityKind, Mode, RotationRecord, RotationState, Secret
from bot.ports import SecretVersion, Sent, Token
from bot.rotating import PasswordCredential
from bot.rotation import Answer, Ending, State
from bot.rotator import Rotator
from storage.alerts import Alerts as Incidents
from storage.audit import AuditTrail
from storage.database import Database
from storage.outbox import Outbox
from storage.rotations import Rotations
from storage.settings import Settings
from tests.clock import ManualClock
from tests.rotation.installation import KEY
from tests.rotation.model import FIVE, GUESSES, PROOFS, Violated, Way, World, finished, rest, watch
from tests.stage import SHELL

SECRET: Final = "latchkey-password"
UPN: Final = "latchkey@contoso.com"
LONDON: Final = ZoneInfo("Europe/London")
DAY: Final = timedelta(days=1)
TAKES: Final = 0.3
"""Seconds of each input and output."""

_WRITES: Final = frozenset({"claim", "renew", "release", "save", "count_guess", "set_due", "about", "of_kind", "by_id"})
"""What may go wrong in the database; to read the same file is not what fails."""


class Died(BaseException):
    """The process died. Nothing that it tries afterwards does anything."""


class Hurrying(ManualClock):
    """Where the bot would sleep, the time moves. What others do until then, `meanwhile` does. At the *end* it stops."""

    def __init__(self, end: datetime) -> None:
        super().__init__()
        self.meanwhile = _nobody_does_anything
        self.over = asyncio.Event()
        self._end = end

    async def sleep_until(self, when: datetime) -> None:
        if when > self._end:
            self.over.set()
            await asyncio.Event().wait()
        await self.meanwhile(when)
        if when > self.now():
            self.advance((when - self.now()).total_seconds())
        await asyncio.sleep(0)


async def _nobody_does_anything(until: datetime) -> None:
    pass


@dataclass
class Outside:
    """The account, the vault and the one who watches both after each input and output. A version has a value of its
    own here."""

    world: World
    clock: ManualClock
    values: dict[str, Secret] = field(default_factory=dict)
    rotation: str = ""
    """Which one the next sign-in is of."""
    were_in_force: set[str] = field(default_factory=set)
    violations: list[str] = field(default_factory=list)
    asked_at: datetime | None = None
    good: Counter[str] = field(default_factory=Counter)
    """How often each version signed in."""

    def __post_init__(self) -> None:
        self.values.update({version.version: Secret(f"set by hand: {version.version}") for version in self.versions})

    @property
    def versions(self) -> Sequence[SecretVersion]:
        return self.world.versions

    def version_of(self, value: Secret) -> str:
        """The name of what has this value."""
        return next(name for name, held in self.values.items() if held.reveal() == value.reveal())

    def sign_in(self, version: str) -> bool:
        right = self.world.sign_in(version)
        self.world.guessed[self.rotation] += not right
        self.good[version] += right
        return right

    def label(self, version: SecretVersion, state: State) -> None:
        waits = version.version in self.world.tagged(State.PENDING)
        if state is State.CURRENT and waits and self.good[version.version] < PROOFS:
            self.violations.append(
                f"{version.version} becomes current, and signed in {self.good[version.version]} times"
            )
        self.world.label(version, state)

    def look(self) -> None:
        self.were_in_force |= self.world.in_force
        self._check(lambda: watch(self.world))

    def is_done(self, record: RotationRecord) -> None:
        """A rotation says so: is it?"""
        in_force = next((each for each in self.versions if each.version == record.in_force), None)
        self._check(lambda: finished(self.world, Ending(in_force=in_force)))

    def reaches_account(self) -> None:
        """Somebody comes to the account: what was under way for long did before. A day without anybody is forgotten."""
        now = self.clock.now()
        if self.asked_at is not None and now - self.asked_at >= DAY:
            rest(self.world)
        self.asked_at = now
        self.world.arrive()

    def _check(self, check: Callable[[], None]) -> None:
        try:
            check()
        except Violated as violated:  # whoever is watched must not get hold of it
            self.violations.append(f"{self.clock.now():%Y-%m-%d %H:%M:%S} {violated}")


class Luck:
    """In which way an input or output goes wrong, if it does: one in twenty until it turns."""

    def __init__(self, seed: int, until: datetime) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - repeatable
        self.until = until
        self.had: Counter[str] = Counter()
        self.made = 0

    def draw(self, now: datetime, ways: Sequence[Way]) -> Way | None:
        self.made += now < self.until
        if now >= self.until or self.chance.random() >= 0.05:
            return None
        way = self.chance.choice(ways)
        self.had[way] += 1
        return way


@dataclass
class Process:
    """One life of the bot, as it meets what is outside. It is the vault, the sign-in and the tenant of its rotator."""

    outside: Outside
    luck: Luck
    dead: bool = False

    @contextmanager
    def io(self, problem: Callable[[Way], Exception], *more: Way, left: Sequence[Way] = ()) -> Iterator[Way | None]:
        """One input or output, which the block does. It may go wrong in *more* ways, and in some that are *left* to the
        block."""
        if self.dead:
            raise Died
        clock, world = self.outside.clock, self.outside.world
        clock.advance(TAKES)
        world.now = clock.now().replace(microsecond=0)  # as Key Vault writes it
        way = self.luck.draw(clock.now(), (*FIVE, *more))
        try:
            if way is Way.CRASH_BEFORE:
                raise Died
            if way in {Way.UNAPPLIED, Way.REFUSED} and way not in left:
                raise problem(way)
            yield way
            if way is Way.CRASH_AFTER:
                raise Died
            if way is Way.APPLIED:
                raise problem(way)
        except Died:
            self.dead = True
            raise
        finally:
            self.outside.look()

    # --- the vault ----------------------------------------------------------------------------------------------------

    async def versions(self, name: str) -> list[SecretVersion]:
        with self.io(_vault_problem):
            return [replace(version, name=name) for version in self.outside.versions]

    async def read(self, name: str, version: str | None = None) -> Secret:
        with self.io(_vault_problem):
            found = next(each for each in self.outside.versions if each.version == version)
            if not found.enabled:
                raise VaultProblem("It is disabled.", reason="disabled")
            return self.outside.values[found.version]

    async def store(
        self, name: str, value: Secret, *, tags: Mapping[str, str], content_type: str = ""
    ) -> SecretVersion:
        with self.io(_vault_problem):
            stored = self.outside.world.store(dict(tags))
            self.outside.values[stored.version] = value
            return replace(stored, name=name)

    async def label(self, name: str, version: str, *, tags: Mapping[str, str], enabled: bool | None = None) -> None:
        with self.io(_vault_problem):
            found = next(each for each in self.outside.versions if each.version == version)
            assert enabled is (False if tags["state"] == State.RETIRED else None)
            self.outside.label(replace(found, tags=tags), State(tags["state"]))

    async def remove(self, name: str) -> None:
        raise AssertionError("a rotation removes nothing")

    async def recover(self, name: str) -> None:
        raise AssertionError("nothing was removed")

    # --- the account --------------------------------------------------------------------------------------------------

    async def service_account(self, upn: str, password: Secret, *, claims: str | None = None) -> Token:
        with self.io(_sign_in_problem, Way.BLOCKED) as way:
            self.outside.reaches_account()
            right = self.outside.sign_in(self.outside.version_of(password))
            if not right and way is not Way.APPLIED:
                raise _sign_in_failed(SignInCategory.CREDENTIALS, WRONG_PASSWORD)
            if way is Way.BLOCKED:
                raise _sign_in_failed(SignInCategory.CONDITIONAL_ACCESS, 53003)
            return Token(password, self.outside.clock.now() + timedelta(hours=1))

    async def application(self, certificate: Secret, *, claims: str | None = None) -> Token:
        raise AssertionError("it is an account")

    async def managed_identity(self) -> Token:
        raise AssertionError("it is an account")

    def graph(self, tokens: object) -> Process:
        return self

    async def send(self, call: Call, *, attempt_id: str, generated: Mapping[Generated, Secret]) -> Sent:
        assert call.path == ("me", "changePassword")
        old, new = (self.outside.version_of(generated[which]) for which in (Generated.REPLACED, Generated.STORED))
        world = self.outside.world
        with self.io(_change_problem, Way.FORBIDDEN, Way.LATE, left=[Way.REFUSED]) as way:
            self.outside.reaches_account()
            match way:
                case Way.FORBIDDEN:
                    raise GraphRefused("It may not.", answer=GraphAnswer(403, "Authorization_RequestDenied"))
                case Way.LATE:
                    world.late = (*world.late, (old, new))
                    raise _change_problem(way)
                case Way.REFUSED:
                    world.banned |= {new}
            if world.change(old, new) is not Answer.DONE and way is not Way.APPLIED:
                raise PasswordRefused("It was not taken.", answer=GraphAnswer(400, "Request_BadRequest"))
            return Sent(204, "a request id")


class Table:
    """A table of the database, as a process meets it."""

    def __init__(self, process: Process, table: object) -> None:
        self._process = process
        self._table = table

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._table, name)
        if name not in _WRITES:
            return _alive(self._process, call)
        outside = self._process.outside

        async def made(*args: Any, **kwargs: Any) -> Any:
            with self._process.io(_storage_problem):
                found = await call(*args, **kwargs)
                if name == "count_guess":
                    outside.rotation = args[0]
                if name == "save" and args[0].state is RotationState.DONE:
                    outside.is_done(args[0])
                return found

        return made


def _alive(process: Process, call: Callable[..., Any]) -> Callable[..., Any]:
    async def made(*args: Any, **kwargs: Any) -> Any:
        if process.dead:
            raise Died
        return await call(*args, **kwargs)

    return made


def _vault_problem(way: Way) -> VaultProblem:
    return VaultProblem(f"Key Vault {way}.", reason="forbidden" if way is Way.REFUSED else "unreachable")


def _storage_problem(way: Way) -> StorageProblem:
    return StorageProblem(f"The database {way}.")


def _change_problem(way: Way) -> OutcomeUnknown:
    return OutcomeUnknown(f"The change {way}.")


def _sign_in_problem(way: Way) -> SignInFailed:
    if way is Way.REFUSED:
        return _sign_in_failed(SignInCategory.THROTTLING, 90055)
    return _sign_in_failed(SignInCategory.NETWORK, None)


def _sign_in_failed(category: SignInCategory, code: int | None) -> SignInFailed:
    return SignInFailed("It does not sign in.", category=category, retry=Retry.WAIT, code=code)


# --- The bot --------------------------------------------------------------------------------------------------------


class Nobody:
    """No tenant admin is told in person: there is a channel."""

    async def admin_holders(self) -> Sequence[Any]:
        return ()


class Bot:
    """The rotator and the alerts of one installation, through as many lives as they need."""

    def __init__(self, db: Database, outside: Outside, clock: Hurrying, luck: Luck) -> None:
        trail = AuditTrail(db, KEY)
        self.settings, self.rotations, self.outbox = Settings(db, trail), Rotations(db, trail), Outbox(db)
        self.incidents = Incidents(db, trail, self.outbox)
        self.deaths = 0
        self._outside = outside
        self._clock = clock
        self._luck = luck
        self._news = True
        self._repeat_at: datetime | None = None
        self.outbox.on_change(self._there_is_news)
        clock.meanwhile = self._repeat

    async def set_up(self) -> None:
        """Have it work with the service account, in Advanced mode."""
        now = await self.settings.current()
        kind = IdentityKind.SERVICE_ACCOUNT
        wanted = replace(now, mode=Mode.ADVANCED, identity_kind=kind, identity_id="its id", identity_name=UPN)
        await self.settings.change(wanted, by=SHELL, reason="test")

    async def live(self) -> None:
        """Until the end of time. Whoever dies is started again."""
        while not self._clock.over.is_set():
            process = Process(self._outside, self._luck)
            rotator = self._rotator(process)
            keeping_up = asyncio.create_task(rotator.keep_up())
            over = asyncio.create_task(self._clock.over.wait())
            await asyncio.wait({keeping_up, over}, return_when=asyncio.FIRST_COMPLETED)
            for task in (keeping_up, over):
                task.cancel()
            with suppress(asyncio.CancelledError, Died):
                await keeping_up
            await rotator.close()
            if process.dead:
                self.deaths += 1
                self._clock.advance(self._luck.chance.random() * 600)

    def _rotator(self, process: Process) -> Rotator:
        rotations: Any = Table(process, self.rotations)
        tenant: Any = process
        return Rotator(
            clock=self._clock,
            vault=process,
            tenant=tenant,
            rotations=rotations,
            settings=self.settings,
            credential_of=lambda settings: PasswordCredential(SECRET, UPN, process, process),
            alarm=self._alerts(Table(process, self.incidents)),
            zone=LONDON,
            allowed=GUESSES,
            guesses_of=GuessBook(self._clock).of,
            chance=self._luck.chance.random,
        )

    def _alerts(self, incidents: Any) -> Alerts:
        return Alerts(
            clock=self._clock, incidents=incidents, admins=Nobody(), channel="C0ALERTS01", mention="", zone=LONDON
        )

    # --- beside the rotator -------------------------------------------------------------------------------------------

    def _there_is_news(self) -> None:
        self._news = True

    async def _repeat(self, until: datetime) -> None:
        """Slack shows what is said, and alerts are repeated."""
        while True:
            if self._news:
                self._news = False
                for row in await self.outbox.pending(self._clock.now()):
                    key = row.message.key
                    await self.outbox.sent(key, row.revision, channel="C0ALERTS01", ts=row.ts or key)
                self._repeat_at = await self.incidents.next_due()
            if self._repeat_at is None or self._repeat_at > until:
                return
            left = (self._repeat_at - self._clock.now()).total_seconds()
            self._clock.advance(max(left, 0))
            await self._alerts(self.incidents).look()
            self._news = True
