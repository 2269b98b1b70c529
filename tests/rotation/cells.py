"""Cells of the fault matrix: one fault at one step of one rotation, played to its end over real HTTP."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Protocol

from bot.config import Config
from bot.errors import LatchkeyError, StorageProblem
from bot.model import Point, RotationRecord, RotationState, Trigger
from bot.ports import Alarm
from bot.rotation import Aim
from sandbox.faults import Effect, Rule, Service
from sandbox.world import World
from storage.database import Database
from storage.rotations import Rotations
from tests.rotation.installation import Installation, WorldTime, installation
from tests.rotation.observer import MOST_WRONG, Observer
from tests.rotation.tried import Tried

TABLE = "Fault matrix of the rotation: the fault x the point that was passed last before it"

TRIES = 6
"""So many further tries at most, once a fault is over, until the rotation is done."""


class Fault(Protocol):
    """Something that goes wrong, once or until it ends."""

    @property
    def name(self) -> str: ...

    def begin(self, cell: Cell, after: int) -> None:
        """Have it happen after so many requests, or calls."""

    def happened(self) -> bool: ...

    def end(self, cell: Cell) -> None: ...


@dataclass(frozen=True)
class Traits:
    """What the checks have to know of a fault."""

    meddles: bool = False
    """Somebody else changes what no rotation can make up for."""
    refuses: bool = False
    """New passwords are refused, so that more than one is made."""
    forgets: bool = False
    """The database fails, so that not everything is written down."""


NOTHING_SPECIAL = Traits()


@dataclass
class Cell:
    """One rotation of one installation, and what it may do. `at` is the point that it passed last."""

    world: World
    clock: WorldTime
    place: Installation
    traits: Traits = NOTHING_SPECIAL
    stored_by_people: int = 0
    at: Point = Point.DUE
    hit: Point | None = None
    wrap: Callable[[Rotations, Database], Any] = lambda rotations, db: rotations
    alarm: Alarm | None = None
    listeners: list[Callable[[], None]] = field(default_factory=list)
    """Told of each change in the world and of each point."""

    def passed(self, point: Point) -> None:
        self.at = point
        self.look()

    def look(self) -> None:
        for listener in tuple(self.listeners):
            listener()

    @property
    def requests(self) -> int:
        """How many requests the world has seen."""
        world = self.world
        return len(world.entra.requests) + len(world.vault.requests) + len(world.graph.requests)


# --- faults -----------------------------------------------------------------------------------------------------------

_METHODS: dict[Service, str] = {
    "entra": "GET|POST",
    "vault": "CHALLENGE|GET|PUT|PATCH|POST",
    "graph": "GET|POST",
}
FOR_EVER = 1_000_000


@dataclass
class Answers:
    """A service answers otherwise than it should: some requests, or all from one on."""

    name: str
    service: Service
    effect: Effect
    methods: str = ""
    times: int = 1
    _rule: Rule | None = None

    def begin(self, cell: Cell, after: int) -> None:
        self._rule, methods = None, self.methods or _METHODS[self.service]
        self._rule = cell.world.faults.add(Rule(self.service, methods, "*", self.effect, self.times, after))

    def happened(self) -> bool:
        return self._rule is not None and self._rule.times != self.times

    def end(self, cell: Cell) -> None:
        cell.world.faults.stop_all()


def lasting(name: str, service: Service, effect: Effect, methods: str = "") -> Answers:
    """From one request on, until the fault ends."""
    return Answers(name, service, effect, methods, FOR_EVER)


@dataclass
class Happens:
    """Something happens in the world after so many requests of any kind, and `undo` takes it back."""

    name: str
    do: Callable[[Cell], Any]
    undo: Callable[[Cell], Any] = lambda cell: None
    _happened: bool = False

    def begin(self, cell: Cell, after: int) -> None:
        self._happened, start = False, cell.requests

        def look() -> None:
            if not self._happened and cell.requests - start >= after:
                self._happened = True
                self.do(cell)

        cell.listeners.append(look)
        look()

    def happened(self) -> bool:
        return self._happened

    def end(self, cell: Cell) -> None:
        cell.listeners.clear()
        if self._happened:
            self.undo(cell)
        cell.world.faults.stop_all()


How = Literal["fails", "is done, and fails", "is locked", "is full"]


@dataclass
class Calls:
    """The database fails after so many calls to the rotations in it: one, or all from one on."""

    name: str
    how: How
    times: int = 1
    _left: int = 0
    _after: int = 0
    _look: Callable[[], None] = lambda: None

    def begin(self, cell: Cell, after: int) -> None:
        self._left, self._after, self._look = self.times, after, cell.world.changes.tell
        cell.wrap = lambda rotations, db: Unlucky(rotations, db, self)

    def happened(self) -> bool:
        return self._left < self.times

    def end(self, cell: Cell) -> None:
        cell.wrap = lambda rotations, db: rotations

    def is_next(self) -> bool:
        """Whether it happens to the call that comes now."""
        self._after -= 1
        if self._after >= 0 or self._left == 0:
            return False
        self._left -= 1
        self._look()
        return True


class Unlucky:
    """The rotations in a database, some calls to which fail."""

    def __init__(self, rotations: Rotations, db: Database, fault: Calls) -> None:
        self._rotations, self._db, self._fault = rotations, db, fault

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._rotations, name)

        async def made(*args: Any, **kwargs: Any) -> Any:
            if not self._fault.is_next():
                return await call(*args, **kwargs)
            match self._fault.how:
                case "fails":
                    raise StorageProblem("The database cannot be written. Nothing was changed.")
                case "is done, and fails":
                    await call(*args, **kwargs)
                    raise StorageProblem("The database does not say whether it was written.")
                case "is locked":
                    with locked(self._db.path):
                        return await call(*args, **kwargs)
                case "is full":
                    with full_disk():
                        return await call(*args, **kwargs)

        return made


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another process writes to the database and does not come to an end."""
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process can grow."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# --- playing ----------------------------------------------------------------------------------------------------------


@dataclass
class Matrix:
    """Plays cells one after the other in one world; `failures` is what went wrong."""

    world: World
    config: Config
    clock: WorldTime
    folder: Path
    tried: Tried
    failures: list[str] = field(default_factory=list)
    looks: int = 0
    _number: int = 0

    async def every_step(self, fault: Fault, traits: Traits = NOTHING_SPECIAL) -> None:
        """One cell for each request that a rotation makes, until the fault finds none to happen at."""
        after = 0
        while await self.cell(fault, after, traits):
            after += 1
        assert after, f"{fault.name} never happened"

    async def place(self) -> Installation:
        """A new installation."""
        self._number += 1
        place = installation(self.world, self.config, self.clock, self.folder, self._number)
        await place.set_up()
        return place

    async def cell(self, fault: Fault, after: int = 0, traits: Traits = NOTHING_SPECIAL) -> bool:
        """Play one; whether the fault happened."""
        cell = Cell(self.world, self.clock, await self.place(), traits)
        failure = ""
        try:
            await self._play(cell, fault, after)
        except AssertionError as error:
            failure = str(error) or "an assertion failed"
        finally:
            self.world.faults.stop_all()
            self.clock.skew = 0.0
        if failure:
            self.failures.append(f"{fault.name}, {after + 1}, after {(cell.hit or cell.at).value}: {failure}")
        if cell.hit:
            self.tried(TABLE, fault.name, cell.hit.value, not failure)
        return cell.hit is not None

    async def _play(self, cell: Cell, fault: Fault, after: int) -> None:
        observer = cell.place.observer()

        def look() -> None:
            cell.look()
            if cell.hit is None and fault.happened():
                cell.hit = cell.at
                if cell.traits.meddles:
                    observer.somebody_meddled()

        with observer.watching(), watching(self.world, look):
            fault.begin(cell, after)
            look()
            record = await self._try(cell)
            look()
            self._check_told(cell, record)
            fault.end(cell)
            if cell.hit is None:
                assert is_done(record), f"undisturbed, and yet {record}"
            observer.all_is_well_again()
            for _ in range(TRIES):
                if is_done(record):
                    break
                self._let_time_pass(record)
                if record and record.guesses >= MOST_WRONG:  # another one takes over from it
                    observer.started()
                record = await self._try(cell)
                self._check_told(cell, record)
            assert is_done(record), f"still not done: {record}"
            self._check_once(cell, observer.count() - 2 - cell.stored_by_people)
            await self._check_afterwards(cell, observer)
        self.looks += observer.looks
        observer.check_settled()

    async def _try(self, cell: Cell) -> RotationRecord | None:
        """One try in a life of its own; the rotation then, None if the database did not let it be written down."""
        async with cell.place.life(passed=cell.passed, wrap=cell.wrap, alarm=cell.alarm) as life:
            known = await life.rotations.history(cell.place.secret, 1)
            try:
                return await life.rotator.run(trigger=Trigger.RETRY if known else Trigger.SCHEDULE)
            except LatchkeyError:
                if not cell.traits.forgets:
                    raise
                return None

    def _let_time_pass(self, record: RotationRecord | None) -> None:
        at = self.clock.now() + timedelta(minutes=4)
        if record and record.next_try_at:
            at = max(at, record.next_try_at)
        self.world.clock.advance((at - self.clock.now()).total_seconds() + 1)

    @staticmethod
    def _check_told(cell: Cell, record: RotationRecord | None) -> None:
        """It is done and nobody is bothered, or it stands and one alert is open."""
        if record is None or (cell.traits.forgets and record.state is RotationState.RUNNING):
            return
        opened = list(cell.place.alarm.open)
        if record.state is RotationState.DONE:
            assert not opened, f"done, and yet an alert is open: {opened}"
        else:
            assert record.state is RotationState.STANDING, record.state
            assert record.next_try_at is not None
            assert len(opened) == 1, f"it stands because of {record.cause}, and {len(opened)} alerts are open"

    @staticmethod
    def _check_once(cell: Cell, made: int) -> None:
        """One new password, one incident, one row in the trail for the beginning and the end of each try."""
        incidents = cell.place.alarm.opened
        assert len(incidents) <= 1, f"one rotation, {incidents}"
        assert not cell.place.alarm.open
        if not cell.traits.refuses:
            assert made == 1, f"{made} new passwords were stored"
        if not cell.traits.forgets:
            kinds = [kind.removeprefix("rotation.") for kind, _ in cell.place.audited()]
            tries = [kind for kind in kinds if kind != "given_up"]  # one that another takes over from
            assert set(tries[::2]) <= {"started", "resumed"}, kinds
            assert set(tries[1::2]) <= {"failed", "done"}, kinds
            assert kinds.count("started") - kinds.count("given_up") == kinds.count("done") == 1, kinds

    @staticmethod
    async def _check_afterwards(cell: Cell, observer: Observer) -> None:
        """The next life opens a session at the first try and finds nothing to repair; what is old is retired, if only
        when the next rotation comes."""
        async with cell.place.life() as life:
            await life.reader.sign_in(lambda key, title: None)
            assert not life.repairs
            if observer.states().count("previous") > 1 or cell.stored_by_people:
                await life.rotator.run(trigger=Trigger.REPAIR, aim=Aim.REPAIR)


def is_done(record: RotationRecord | None) -> bool:
    return record is not None and record.state is RotationState.DONE


class watching:
    """Call *look* at each change in a world."""

    def __init__(self, world: World, look: Callable[[], None]) -> None:
        self._world, self._look = world, look

    def __enter__(self) -> None:
        self._end = self._world.changes.subscribe(self._look)

    def __exit__(self, *_: object) -> None:
        self._end()
