"""Two processes rotate one secret at the same time, at the same and at adjacent points, with and without a claim."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from itertools import cycle, pairwise
from pathlib import Path

import pytest

from bot.config import read_config
from bot.model import Point, RotationState, Trigger
from bot.rotation import Aim
from sandbox.world import World
from tests.rotation.children import Child, child_of
from tests.rotation.installation import Installation, RecordingAlarm, WorldTime, installation
from tests.rotation.observer import Observer
from tests.rotation.tried import Tried
from tests.stage import environment

pytestmark = pytest.mark.slow

TABLE = "Two processes: who goes on first x the points at which both stood"

ALL = list(Point)[1:]
"""A try that is asked for begins with its claim."""

CLAIM_RUNS_OUT = 200.0
"""Seconds."""


def pairs() -> Iterator[tuple[Point, Point]]:
    """The same point, and the next one."""
    for first, second in pairwise(ALL):
        yield first, first
        yield first, second
    yield ALL[-1], ALL[-1]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with World(state=tmp_path / "world") as world:
        with environment(world.environment()):
            yield world


@dataclass
class Two:
    """Two processes at work on one secret."""

    first: Child
    second: Child

    async def go_on(self, order: str, standing: dict[str, bool]) -> None:
        """Let those that stand go on to their ends, in this order."""
        match order:
            case "in turn":
                for name in cycle(("first", "second")):
                    if not any(standing.values()):
                        return
                    if standing[name]:
                        child = getattr(self, name)
                        child.goes(*ALL)
                        standing[name] = "at" in await child.says()
            case "the first one first":
                await self._to_the_end("first", standing)
                await self._to_the_end("second", standing)
            case _:
                await self._to_the_end("second", standing)
                await self._to_the_end("first", standing)

    async def _to_the_end(self, name: str, standing: dict[str, bool]) -> None:
        if standing[name]:
            child: Child = getattr(self, name)
            child.goes()
            assert "ended" in await child.says()


@pytest.mark.parametrize("order", ["the first one first", "the second one first", "in turn"])
@pytest.mark.parametrize("claim", [True, False], ids=["with a claim", "without"])
async def test_two_at_the_same_time(world: World, tmp_path: Path, tried: Tried, claim: bool, order: str) -> None:
    config, clock = read_config(), WorldTime(world.clock)
    async with AsyncExitStack() as stack:
        children = [await stack.enter_async_context(child_of(world)) for _ in range(2)]
        two, failures = Two(*children), list[str]()
        for number, (here, there) in enumerate(pairs()):
            place = installation(world, config, clock, tmp_path, number)
            await place.set_up()
            other = place
            if not claim:
                elsewhere = place.config.model_copy(update={"database": tmp_path / f"{number}-other" / "latchkey.db"})
                other = replace(place, config=elsewhere, alarm=RecordingAlarm())
                await other.set_up()
            observer = place.observer()
            with observer.watching():
                await two.first.opens(place)
                await two.second.opens(other)
                two.first.runs(stops=[here])
                standing = {"first": "at" in await two.first.says()}
                if claim:
                    two.second.runs()
                    assert (await two.second.says())["ended"] == "busy" or here is Point.RELEASED
                    world.clock.advance(CLAIM_RUNS_OUT)
                two.second.runs(stops=[there])
                standing["second"] = "at" in await two.second.says()
                await two.go_on(order, standing)
                await two.first.closes()
                await two.second.closes()
                for each in {id(place): place, id(other): other}.values():
                    await finish(each)
                if observer.states().count("previous") > 1:  # what one of them labelled, the next rotation retires
                    async with place.life() as life:
                        await life.rotator.run(trigger=Trigger.REPAIR, aim=Aim.REPAIR)
            problem = found(observer)
            if place.alarm.open or other.alarm.open:
                problem = f"{problem} done, and yet alerts are open".strip()
            if problem:
                failures.append(f"{here.value} and {there.value}: {problem}")
            row = f"{'with a claim that ran out' if claim else 'without a claim'}, {order}"
            tried(TABLE, row, here.value if here is there else f"{here.value}+", not problem)
    assert not failures, "\n".join(failures)


async def finish(place: Installation) -> None:
    """One more try, or some, of one process alone."""
    for _ in range(4):
        async with place.life() as life:
            waits = await life.rotations.open(place.secret) is not None
            record = await life.rotator.run(trigger=Trigger.RETRY if waits else Trigger.NOW)
            if record.state is RotationState.DONE:
                return
        place.world.clock.advance(3600 * 9)
    raise AssertionError(f"it does not come to an end: {record}")


def found(observer: Observer) -> str:
    try:
        observer.check_settled()
    except AssertionError as error:
        return str(error) or "an assertion failed"
    return ""
