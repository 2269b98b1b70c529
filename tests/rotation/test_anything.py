"""Anything, in any order: rotations, crashes, faults, somebody who changes the password elsewhere, clocks that jump."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bot.rotation import Aim, Cause, State
from tests.rotation.model import GUESSES, LOCKS_AT, Way, Worker, World, rest, watch, ways
from tests.rotation.test_every_fault import BEGINNINGS, LAGS, NO_LAG, begin

WORKERS = st.sampled_from([0, 1])


class Anything(RuleBasedStateMachine):
    """Two processes on one journal: both carry out the rotation that is open, if they are let."""

    world: World

    @initialize(beginning=st.sampled_from(sorted(BEGINNINGS)), lag=st.sampled_from([NO_LAG, *LAGS]))
    def begin_somehow(self, beginning: str, lag: tuple[bool, ...]) -> None:
        self.world = begin(beginning, lag)
        self.world.book = 0
        self.workers: list[Worker | None] = [None, None]
        self.advanced = True
        self.number = 1

    def is_free(self, index: int) -> bool:
        worker = self.workers[index]
        return worker is None or worker.effect is None

    # --- what the bot does --------------------------------------------------------------------------------------------

    @precondition(lambda self: self.advanced)
    @rule(index=WORKERS, aim=st.sampled_from([Aim.RENEW, Aim.RENEW, Aim.REPAIR, Aim.GIVE_UP]))
    def rotate(self, index: int, aim: Aim) -> None:
        if self.is_free(index):
            worker = self.workers[index] = Worker(self.world, str(self.number), aim, alone=False)
            worker.begin()

    @rule(index=WORKERS, steps=st.integers(1, 12))
    def go_on(self, index: int, steps: int) -> None:
        for _ in range(steps):
            self._step(index, None)

    @rule(index=WORKERS, which=st.integers(0, 7))
    def fail(self, index: int, which: int) -> None:
        worker = self.workers[index]
        if worker is not None and worker.effect is not None and (possible := ways(worker.effect)):
            self._step(index, possible[which % len(possible)])

    @rule(index=WORKERS)
    def crash(self, index: int) -> None:
        self.workers[index] = None

    def _step(self, index: int, way: Way | None) -> None:
        worker = self.workers[index]
        if worker is None or worker.effect is None:
            return
        worker.step(way)
        if worker.ending is not None and worker.ending.done and worker.id == str(self.number):
            self.number += 1

    @precondition(lambda self: self.advanced and all(self.is_free(index) for index in (0, 1)))
    @rule()
    def rotate_undisturbed(self) -> None:
        """Alone, a day later and with nothing going wrong, it is done, or says why it cannot be."""
        self._pass(timedelta(days=1))
        worker = Worker(self.world, str(self.number))
        worker.begin()
        while worker.effect is not None:
            worker.step()
        assert worker.ending is not None
        self.number += worker.ending.done
        if not self.world.lost:
            assert worker.ending.done, worker.ending
        elif sum(version.enabled for version in self.world.versions) <= GUESSES:
            assert worker.ending.cause is Cause.LOST, worker.ending

    # --- what others do -----------------------------------------------------------------------------------------------

    @rule()
    def somebody_changes_the_password_elsewhere(self) -> None:
        self.world.meddled += 1
        self.world.lost = True
        self.world.put(frozenset({f"somebody's {self.world.meddled}"}))

    @precondition(lambda self: self.world.lost)
    @rule()
    def an_administrator_resets_it(self) -> None:
        stored = self.world.store({"state": State.PENDING.value, "rotation": "reset"})
        self.world.put(frozenset({stored.version}))
        rest(self.world)
        self.world.meddled += 1
        self.world.lost = False

    @rule()
    def switch_the_mode(self) -> None:
        """In Default mode nothing begins; what is under way goes on."""
        self.advanced = not self.advanced

    @rule(hours=st.integers(-30, 30))
    def set_the_clock(self, hours: int) -> None:
        self.world.now += timedelta(hours=hours)

    @rule()
    def let_a_day_pass(self) -> None:
        self._pass(timedelta(days=1))

    def _pass(self, time: timedelta) -> None:
        """As many guesses as may be were made: another rotation takes over, after a day."""
        self.world.now += time
        rest(self.world)
        if self.world.spent[str(self.number)] and all(self.is_free(index) for index in (0, 1)):
            self.number += 1

    @invariant()
    def all_is_well(self) -> None:
        if hasattr(self, "world"):
            watch(self.world)
            assert self.world.wrong < LOCKS_AT


Anything.TestCase.settings = settings(
    max_examples=2_000,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

TestAnything = pytest.mark.slow(Anything.TestCase)
