"""An account, its vault and a journal in memory; somebody who rotates there, step by step; and somebody who watches.

The account is Entra as it misbehaves: for some sign-ins after a change a server still knows only what was in force
before, and whoever is wrong too often is locked out. Key Vault has no conditional write: the last one wins, and a tag
may be written by whoever knew less. The journal is what survives a crash: which rotation it is and what it guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from bot.ports import SecretVersion
from bot.rotation import (
    OVERLAP,
    Aim,
    Answer,
    Cause,
    Change,
    Changed,
    Effect,
    Ending,
    Label,
    ListVersions,
    Reach,
    Renew,
    SignsIn,
    State,
    Steps,
    Store,
    Task,
    Tried,
    TrySignIn,
    Wait,
    Withdraw,
    in_reading_order,
    rotation,
    state_of,
)
from tests.clock import T0

GUESSES: Final = 9
PROOFS: Final = 2
LOCKS_AT: Final = 10
"""How many wrong passwords lock an account."""

REMEMBERED: Final = 3
"""How many of the last wrong passwords do not count again (Entra docs: *Microsoft Entra smart lockout*)."""


class Way(StrEnum):
    """How one input or output goes wrong."""

    UNAPPLIED = "fails"
    APPLIED = "is done, but no answer comes"
    CRASH_BEFORE = "the process dies before it"
    CRASH_AFTER = "the process dies after it"
    REFUSED = "is refused"
    FORBIDDEN = "is forbidden"
    LATE = "is done later, when nobody expects it any more"
    BLOCKED = "is stopped by a policy"


FIVE: Final = (Way.UNAPPLIED, Way.APPLIED, Way.CRASH_BEFORE, Way.CRASH_AFTER, Way.REFUSED)


def ways(effect: Effect) -> tuple[Way, ...]:
    """How an effect may go wrong."""
    match effect:
        case Wait():
            return ()
        case Change():
            return (*FIVE, Way.FORBIDDEN, Way.LATE)
        case TrySignIn():
            return (*FIVE, Way.BLOCKED)
    return FIVE


class Violated(AssertionError):
    """What must never be so, is."""


class Failed(Exception):
    """An effect failed, or the process died in it: this try is over."""


class World:
    """What is outside the process. A version's name is its value, too."""

    def __init__(self, *, replaces: bool = True, lag: Sequence[bool] = ()) -> None:
        self.replaces = replaces
        self.lag: Final = tuple(lag)
        """After a change: which of the next sign-ins meet a server that has not heard of it."""
        self.now = T0
        self.versions: tuple[SecretVersion, ...] = ()
        self.in_force: frozenset[str] = frozenset()
        self.before: frozenset[str] = frozenset()
        self.lags: tuple[bool, ...] = ()
        self.banned: frozenset[str] = frozenset()
        self.bans_all = False
        self.blocked = False
        self.late: tuple[tuple[str, str], ...] = ()
        self.wrong = 0
        self.remembered: tuple[str, ...] = ()
        self.guessed: Counter[str] = Counter()
        """What the account really saw go wrong, by rotation."""
        self.spent: Counter[str] = Counter()
        """What the journal says may have gone wrong."""
        self.book: int | None = None
        """What went wrong or may have since the last right one, where whoever rotates counts that too."""
        self.looked_at: object = None
        self.meddled = 0
        """How often somebody else changed the password."""
        self.lost = False
        """Somebody changed the password elsewhere: until an administrator's reset, nothing can be held."""

    def copy(self) -> World:
        other = copy(self)
        other.guessed, other.spent = self.guessed.copy(), self.spent.copy()
        return other

    def key(self) -> Hashable:
        """Equal for worlds in which the same may happen."""
        return (
            *(plain(version) for version in self.versions),
            *(version.created_at + OVERLAP <= self.now for version in self.versions),
            (self.in_force, self.before if self.lags else None, self.lags, self.banned, self.late),
            (self.wrong, self.remembered, self.book, *sorted(self.spent.items()), *sorted(self.guessed.items())),
        )

    # --- the vault ----------------------------------------------------------------------------------------------------

    def store(self, tags: dict[str, str], *, enabled: bool = True) -> SecretVersion:
        number = len(self.versions) + 1
        created = max(self.now, *(one.created_at + timedelta(seconds=1) for one in self.versions), T0)
        version = SecretVersion("password", f"v{number}", enabled, created, None, tags)
        self.versions = (version, *self.versions)
        return version

    def label(self, version: SecretVersion, state: State) -> None:
        self.versions = tuple(
            replace(one, tags={**version.tags, "state": state.value}, enabled=state is not State.RETIRED)
            if one.version == version.version
            else one
            for one in self.versions
        )

    def tagged(self, state: State) -> list[str]:
        return [one.version for one in self.versions if one.enabled and state_of(one) is state]

    # --- the account --------------------------------------------------------------------------------------------------

    def arrive(self) -> None:
        """What was under way for long reaches the account now."""
        late, self.late = self.late, ()
        for old, new in late:
            self.change(old, new)

    def sign_in(self, value: str) -> bool:
        lags, self.lags = self.lags[:1], self.lags[1:]
        if value in (self.before if any(lags) else self.in_force):
            self.wrong, self.remembered = 0, ()
            return True
        self._is_wrong(value)
        return False

    def change(self, old: str, new: str) -> Answer:
        if old not in self.in_force:
            self._is_wrong(old)
            return Answer.NOT_TAKEN
        if new in self.banned or self.bans_all or (self.replaces and new in self.in_force):
            return Answer.NOT_TAKEN
        self.put(frozenset({new}) if self.replaces else self.in_force | {new})
        return Answer.DONE

    def put(self, in_force: frozenset[str]) -> None:
        self.before, self.in_force, self.lags = self.in_force, in_force, self.lag

    def _is_wrong(self, value: str) -> None:
        if self.replaces and value not in self.remembered:
            self.wrong += 1
            self.remembered = (*self.remembered, value)[-REMEMBERED:]


def plain(found: object) -> Hashable:
    """What a step gave, so that it can be compared."""
    match found:
        case SecretVersion():
            return (found.version, found.enabled, *sorted(found.tags.items()))
        case list():
            return tuple(plain(one) for one in found)
        case Tried():
            return found.signs_in
        case Changed():
            return found.answer
    return None


def watch(world: World) -> None:
    """Look at everything from outside. Raises `Violated`."""
    if world.wrong >= LOCKS_AT:
        raise Violated("the account is locked out")
    if over := [one for one, guessed in world.guessed.items() if guessed > GUESSES]:
        raise Violated(f"{over} guessed more than {GUESSES} times")
    looked_at = (world.versions, world.in_force, world.before, any(world.lags))
    if world.lost or looked_at == world.looked_at:
        return
    world.looked_at = looked_at
    enabled = {version.version for version in world.versions if version.enabled}
    if not world.in_force & enabled:
        raise Violated("I1: no stored version signs in")
    if not world.in_force <= enabled:
        raise Violated(f"I2: {world.in_force - enabled} is in force, and not stored or disabled")
    if any(world.lags) and not world.before & enabled:
        raise Violated("I2: no stored version signs in where a server lags behind")
    read = [version.version for version in in_reading_order(world.versions)]
    for there in (world.in_force, world.before) if any(world.lags) else (world.in_force,):
        first = next((index for index, version in enumerate(read) if version in there), None)
        if first is None:
            raise Violated(f"R: the reader tries {read}, and in force is {set(there)}")
        if first >= GUESSES:
            raise Violated(f"R: the reader is wrong {first} times before it is right")


def finished(world: World, ending: Ending) -> None:
    """What must be so when a rotation is done."""
    current = world.tagged(State.CURRENT)
    if len(current) != 1 or not world.in_force.issuperset(current):
        raise Violated(f"F: current is {current}, in force is {set(world.in_force)}")
    if world.replaces and world.before != world.in_force and not world.tagged(State.PREVIOUS):
        raise Violated("F: the one before is disabled")
    if ending.in_force is None or ending.in_force.version != current[0]:
        raise Violated(f"F: it says that {ending.in_force} is in force, and current is {current}")


@dataclass
class Worker:
    """A process that carries out one try of a rotation, one effect at a time."""

    world: World
    id: str
    aim: Aim = Aim.RENEW
    alone: bool = True
    """Nobody else rotates: what there is can be found."""

    effect: Effect | None = None
    """What it is about to do; None when the try is over."""
    ending: Ending | None = None
    seen: list[Any] = field(default_factory=list)
    """What came back from each effect of this try."""
    good: Counter[str] = field(default_factory=Counter)
    """How often each version signed in, in this try and since it was sent."""
    new: set[str] = field(default_factory=set)
    """What waited, and what this try sent."""
    _steps: Steps | None = None
    _task: Task | None = None
    _meddled: int = 0

    def begin(self) -> None:
        left = GUESSES - max(self.world.spent[self.id], self.world.book or 0)
        self._task = Task(self.id, left, self.world.now, self.aim, self.world.replaces)
        self.seen, self.ending, self._steps = [], None, rotation(self._task)
        self._meddled, self.good, self.new = self.world.meddled, Counter(), set()
        self.effect = next(self._steps)

    def in_another(self, world: World) -> Worker:
        """The same process at the same place, in a copy of the world."""
        other = Worker(world, self.id, self.aim, self.alone, _task=self._task, ending=self.ending)
        other.good, other.new = self.good.copy(), self.new.copy()
        if self.effect is not None and self._task is not None:
            other._steps = rotation(self._task)
            other.effect = next(other._steps)
            for found in self.seen:
                other.seen.append(found)
                other.effect = other._steps.send(found)
        return other

    def key(self) -> Hashable:
        over = self.effect is None
        return (self.id, over, over and self.ending is not None and self.ending.done, *map(plain, self.seen))

    def step(self, way: Way | None = None) -> None:
        """Carry out the next effect, or have it go wrong in this way."""
        assert self.effect is not None
        assert self._steps is not None
        try:
            found = self._carry_out(self.effect, way)
        except Failed:
            self.effect = None
            self._steps.close()
        else:
            try:
                self.seen.append(found)
                self.effect = self._steps.send(found)
            except StopIteration as over:
                self.effect, self.ending = None, over.value
                self._check_end(over.value)
        watch(self.world)

    def _carry_out(self, effect: Effect, way: Way | None) -> Any:
        if way is Way.CRASH_BEFORE and not isinstance(effect, TrySignIn):
            raise Failed
        match effect:
            case TrySignIn(version):
                found: Any = self._sign_in(version.version, way)
            case Change(old, new):
                found = self._change(old.version, new.version, way)
            case Wait(time):
                self.world.now += time
                found = None
            case _:
                if way in {Way.UNAPPLIED, Way.REFUSED}:
                    raise Failed
                found = self._apply(effect)
                if way is Way.APPLIED:
                    raise Failed
        if way is Way.CRASH_AFTER:
            raise Failed
        return found

    def _sign_in(self, value: str, way: Way | None) -> Tried:
        self.world.arrive()
        wrong = sum(isinstance(found, Tried) and found.signs_in is SignsIn.NO for found in self.seen)
        if self._task is not None and wrong >= self._task.guesses:
            raise Violated("it guesses more than it may")
        if max(self.world.spent[self.id], self.world.book or 0) >= GUESSES:
            return Tried(SignsIn.UNKNOWN)  # another process spent them
        if self.world.book is not None:
            self.world.book += 1
        self.world.spent[self.id] += 1  # before it leaves, and taken back once it is known not to have been wrong
        if way is Way.CRASH_BEFORE:
            raise Failed
        if way is Way.REFUSED:
            self.world.spent[self.id] -= 1
            return Tried(SignsIn.UNKNOWN)
        if way is Way.UNAPPLIED:
            return Tried(SignsIn.UNKNOWN)
        right = self.world.sign_in(value)
        self.world.guessed[self.id] += not right
        if way is Way.APPLIED:
            return Tried(SignsIn.UNKNOWN)
        if way is not Way.CRASH_AFTER:
            self.world.spent[self.id] -= right
            if right and self.world.book is not None:
                self.world.book = 0
        self.good[value] += right
        if right and (way is Way.BLOCKED or self.world.blocked):
            return Tried(SignsIn.BLOCKED)
        return Tried(SignsIn.YES if right else SignsIn.NO)

    def _change(self, old: str, new: str, way: Way | None) -> Changed:
        world = self.world
        world.arrive()
        match way:
            case Way.UNAPPLIED:
                return Changed(Answer.UNKNOWN)
            case Way.LATE:
                world.late = (*world.late, (old, new))
                return Changed(Answer.UNKNOWN)
            case Way.REFUSED:
                world.banned |= {new}
            case Way.FORBIDDEN:
                return Changed(Answer.FORBIDDEN)
        answer = world.change(old, new)
        self.new.add(new)
        self.good[new] = 0
        return Changed(Answer.UNKNOWN if way is Way.APPLIED else answer)

    def _apply(self, effect: Effect) -> Any:
        world = self.world
        match effect:
            case ListVersions():
                self.new.update(world.tagged(State.PENDING))
                return list(world.versions)
            case Store():
                if self.alone and world.tagged(State.PENDING):
                    raise Violated("a second new one is made while another waits")
                return world.store({"state": State.PENDING.value, "rotation": self.id})
            case Label(version, state):
                self._check_label(version.version, state)
                world.label(version, state)
            case Withdraw(version):
                if not world.replaces:
                    world.put(world.in_force - {version.version})
        return None

    def _check_label(self, version: str, state: State) -> None:
        """No tag says what is not known yet."""
        if state is State.CURRENT and version in self.new and self.good[version] < PROOFS:
            raise Violated(f"{version} becomes current, and signed in {self.good[version]} times")
        known = self.alone and self.aim is not Aim.GIVE_UP and not self.world.late
        if state is State.REFUSED and known and version in self.world.in_force:
            raise Violated(f"{version} is called refused, and is in force")

    def _check_end(self, ending: Ending) -> None:
        """What somebody reads of it must be true."""
        world = self.world
        if world.lost or world.meddled > self._meddled:
            return
        signs_in = world.in_force | world.before if world.lag else world.in_force
        if self.alone and ending.in_force and ending.in_force.version not in signs_in and not world.late:
            raise Violated(f"it says that {ending.in_force.version} is in force, and it is {set(world.in_force)}")
        if ending.cause is Cause.LOST and not world.lag:
            raise Violated("it says that nothing stored signs in")
        if ending.done and self.alone:
            finished(world, ending)
        if ending.done and self.aim is Aim.RENEW and self.alone and not ending.changed:
            raise Violated("it says that nothing was changed")


# --- Everything that may go wrong, up to a number of times ----------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """A rotation that is to be brought to its end, and the time that passes before."""

    id: str
    aim: Aim = Aim.RENEW
    after: timedelta = timedelta()


@dataclass
class Exploration:
    """Every way in which up to some inputs and outputs go wrong, in a row of rotations that are retried until done.

    The faults are chosen as the run unfolds: the first, the second ... in each way, until a run meets no more. What
    leads to the same world is looked at once and counted as often as it occurs.
    """

    parts: Sequence[Part]
    ways: Callable[[Effect], Iterable[Way]] = ways
    runs: int = 0
    effects: int = 0
    most_tries: int = 0
    _known: dict[Hashable, int | None] = field(default_factory=dict)

    def plans(self, world: World, faults: int) -> int:
        """How many plans there are. Raises `Violated`."""
        world = world.copy()
        watch(world)
        return self._from(world, 0, self.parts[0].id, faults, 0, ())

    def _from(
        self, world: World, number: int, rotation_id: str, faults: int, tries: int, story: tuple[str, ...]
    ) -> int:
        if number == len(self.parts):
            return 1
        key = (world.key(), number, rotation_id, faults)
        if key in self._known:
            known = self._known[key]
            if known is None:
                raise Violated(f"it never ends: {story}")
            return known
        self._known[key] = None
        total = 0
        plans: list[tuple[tuple[int, Way], ...]] = [()]
        while plans:
            plan = plans.pop()
            total += self._one(world.copy(), number, rotation_id, faults, tries, plan, story, plans)
        self._known[key] = total
        return total

    def _one(
        self,
        world: World,
        number: int,
        rotation_id: str,
        faults: int,
        tries: int,
        plan: tuple[tuple[int, Way], ...],
        story: tuple[str, ...],
        plans: list[tuple[tuple[int, Way], ...]],
    ) -> int:
        """One try under a plan, and all that may follow; plans that have one fault more are added to *plans*."""
        self.runs += 1
        part = self.parts[number]
        worker = Worker(world, rotation_id, part.aim)
        told = (*story, f"{rotation_id} {', '.join(f'{index} {way}' for index, way in plan) or 'well'}")
        wrong = dict(plan)
        begin = plan[-1][0] + 1 if plan else 0
        index = 0
        try:
            worker.begin()
            while worker.effect is not None:
                if len(plan) < faults and index >= begin:
                    plans.extend((*plan, (index, way)) for way in self.ways(worker.effect))
                worker.step(wrong.get(index))
                index += 1
        except Violated as violated:
            raise Violated(f"{violated}, after {told}") from None
        self.effects += index
        left = faults - len(plan)
        if worker.ending is not None and worker.ending.done:
            self.most_tries = max(self.most_tries, tries + 1)
            if number + 1 < len(self.parts):
                world.now += self.parts[number + 1].after
                rest(world)
                rotation_id = self.parts[number + 1].id
            return self._from(world, number + 1, rotation_id, left, 0, told)
        if worker.ending is not None and worker.ending.cause is Cause.GUESSES:
            world.now += timedelta(days=1)
            rest(world)
            rotation_id += "'"
        return self._from(world, number, rotation_id, left, tries + 1, told)


def rest(world: World) -> None:
    """A day and more: Entra has forgotten what was wrong, and every server has heard."""
    world.wrong, world.remembered, world.lags = 0, (), ()
    if world.book is not None:
        world.book = 0


# --- Several at once ------------------------------------------------------------------------------------------------


@dataclass
class Interleaving:
    """Every order in which the effects of several workers may come, each trying again until done or *tries* are over.

    Orders that lead to the same world with the same knowledge in every worker are looked at once and counted as often
    as they occur. Nobody holds a claim. At the end, one more goes over it alone and must bring everything in order.
    """

    tries: int = 2
    ways: Callable[[Effect], Iterable[Way]] = ways
    """In which ways an effect of one worker may go wrong beside."""
    states: int = 0
    _known: dict[Hashable, int] = field(default_factory=dict)

    def schedules(self, world: World, workers: Sequence[Worker], faults: int = 0) -> int:
        """How many orders there are. Raises `Violated`."""
        for worker in workers:
            worker.world, worker.alone = world, False
            worker.begin()
            _skip(worker)
        return self._from(world, tuple(workers), tuple(1 for _ in workers), faults, ())

    def _from(
        self, world: World, workers: tuple[Worker, ...], tries: tuple[int, ...], faults: int, story: tuple[str, ...]
    ) -> int:
        key = (world.key(), tries, faults, *(worker.key() for worker in workers))
        if key in self._known:
            return self._known[key]
        self.states += 1
        total = 0
        for index, worker in enumerate(workers):
            if worker.effect is None:
                continue
            for way in (None, *(self.ways(worker.effect) if faults else ())):
                there = world.copy()
                all_there = tuple(one.in_another(there) for one in workers)
                told = (*story, f"{index} {_name(worker.effect)}{f' {way}' if way else ''}")
                times = list(tries)
                try:
                    all_there[index].step(way)
                    _skip(all_there[index])
                except Violated as violated:
                    raise Violated(f"{violated}, after {told}") from None
                if _may_try_again(all_there[index]) and times[index] < self.tries:
                    times[index] += 1
                    all_there[index].begin()
                    _skip(all_there[index])
                total += self._from(there, all_there, tuple(times), faults - bool(way), told)
        if not total:
            total = 1
            self._finish(world, story)
        self._known[key] = total
        return total

    def _finish(self, world: World, story: tuple[str, ...]) -> None:
        last = world.copy()
        last.now += timedelta(hours=2)
        rest(last)
        for aim in (Aim.REPAIR, Aim.RENEW):
            worker = Worker(last, f"{aim} later", aim)
            try:
                worker.begin()
                while worker.effect is not None:
                    worker.step()
                if worker.ending is None or not worker.ending.done:
                    raise Violated(f"it is not brought in order: {worker.ending}")
            except Violated as violated:
                raise Violated(f"{violated}, afterwards, after {story}") from None


def _may_try_again(worker: Worker) -> bool:
    over = worker.effect is None and not (worker.ending and worker.ending.done)
    return over and worker.world.spent[worker.id] < GUESSES


def _skip(worker: Worker) -> None:
    """What nobody else can see or meet: the order of that makes no difference."""
    while isinstance(worker.effect, Reach | Wait | Renew):
        worker.step()


def _name(effect: Effect) -> str:
    match effect:
        case TrySignIn(version) | Withdraw(version):
            return f"{type(effect).__name__} {version.version}"
        case Label(version, state):
            return f"{version.version} becomes {state}"
        case Change(old, new):
            return f"Change {old.version} to {new.version}"
    return type(effect).__name__


# --- How it may begin -----------------------------------------------------------------------------------------------


def a_world(
    *states: str, in_force: Iterable[int] = (1,), replaces: bool = True, lag: Sequence[bool] = (), sent: str = "old"
) -> World:
    """A world whose vault holds versions tagged so, oldest first ("": stored by hand); *in_force* count from 1."""
    world = World(replaces=replaces, lag=lag)
    for state in states:
        world.store({"state": state, "rotation": sent} if state else {})
    world.in_force = world.before = frozenset(f"v{number}" for number in in_force)
    world.now += timedelta(days=8)
    return world
