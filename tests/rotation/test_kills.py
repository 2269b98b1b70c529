"""SIGKILL at every point of a rotation: what is in force is always stored, and the next start finishes by itself."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, closing, suppress
from pathlib import Path

import pytest

from bot.config import Config, read_config
from bot.model import Point
from sandbox.bot_process import BotProcess
from sandbox.world import World
from tests.recovery.scene import open_scene
from tests.rotation.children import child_of
from tests.rotation.installation import WorldTime, installation
from tests.rotation.observer import Observer
from tests.rotation.tried import Tried
from tests.stage import environment

pytestmark = pytest.mark.slow

TABLE = "SIGKILL: the point at which the process died"

POINTS = [*(f"{point}:1" for point in Point), f"{Point.PREVIOUS_TAGGED}:2"]
"""The tags are put right before something new is stored, and again when that is in force."""


def column(kill: str) -> str:
    """C13+ is the second time at C13."""
    return kill.removesuffix(":1").replace(":2", "+")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with World(state=tmp_path / "world") as world:
        with environment(world.environment()):
            yield world


@pytest.fixture
def config(world: World) -> Config:
    return read_config()


async def test_killed_at_any_point_the_next_start_finishes(
    world: World, config: Config, tmp_path: Path, tried: Tried
) -> None:
    clock = WorldTime(world.clock)
    async with AsyncExitStack() as children:
        child = await children.enter_async_context(child_of(world))
        for number, kill in enumerate(POINTS):
            place = installation(world, config, clock, tmp_path, number)
            await place.set_up()
            observer = place.observer()
            with observer.watching():
                await child.opens(place)
                if kill.startswith(f"{Point.DUE}:"):
                    child.keeps_up(kill=kill)
                else:
                    child.runs(kill=kill)
                assert await child.says() == {"died": -9}, kill
                assert not place.alarm.opened

                child = await children.enter_async_context(child_of(world))
                await child.opens(place)
                child.keeps_up()
                said = await child.says()
                assert said["ended"] == "done", (kill, said)
                await child.closes()
            observer.check_settled()
            assert observer.count() == 3, f"{kill}: more than one new password was made"
            assert not place.alarm.open
            tried(TABLE, "once", column(kill), True)


async def test_killed_at_every_point_of_one_rotation_it_is_done_in_the_end(
    world: World, config: Config, tmp_path: Path, tried: Tried
) -> None:
    place = installation(world, config, WorldTime(world.clock), tmp_path, 0)
    await place.set_up()
    observer = place.observer()
    with observer.watching():
        for kill in [*POINTS, ""]:
            async with child_of(world) as child:
                await child.opens(place)
                child.keeps_up(kill=kill)
                said = await child.says()
                if kill and "died" in said:
                    tried(TABLE, "again and again", column(kill), True)
                elif not kill:
                    assert said["ended"] == "done"
    observer.check_settled()
    assert observer.count() == 3
    assert not place.alarm.open


@pytest.mark.parametrize("kill", [Point.STORED, Point.CHANGED, Point.CURRENT_TAGGED])
async def test_the_whole_bot_killed_by_schedule_finishes_after_its_restart(
    tmp_path: Path, tried: Tried, kill: Point
) -> None:
    async with open_scene(tmp_path) as scene:
        world = scene.world
        observer = Observer(world)

        def rotates() -> bool:
            with closing(sqlite3.connect(f"file:{world.database}?mode=ro", uri=True)) as connection:
                return bool(connection.execute("SELECT 1 FROM rotations WHERE state = 'running'").fetchall())

        async def passes(look: Callable[[], object]) -> None:
            """The world's time passes until something has come true."""
            for _ in range(1000):
                if look():
                    return
                world.clock.advance(10 if rotates() else 3600)
                change = world.changes.next()
                with suppress(TimeoutError):
                    await asyncio.wait_for(change.wait(), 0.05)
            raise AssertionError(f"it never came true: {world.slack.picture()}")

        with observer.watching():
            bot = BotProcess({**world.environment(), "LATCHKEY_SANDBOX_KILL_AT": kill}, world.state)
            world.adopt(bot)
            await world.start_bot()
            await passes(lambda: bot.state == "died")
            assert bot.exit_code == -9, bot.log()[-3000:]
            await scene.start()
            await passes(lambda: observer.states() == ["previous", "current"])
            await scene.until(lambda: scene.audited("rotation.done"))
        assert not observer.violations
        assert [version.tags["state"] for version in observer.signs_in()] == ["current"]
        assert observer.count() == 2
        assert len(scene.audited("rotation.started")) == len(scene.audited("rotation.resumed")) == 1
        tried(TABLE, "the whole bot", kill, True)
