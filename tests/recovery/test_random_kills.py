"""SIGKILL a hundred times at random moments under load: the acknowledged is finished or told, and nothing twice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from bot.config import read_config
from bot.model import RequestState
from sandbox.slack import AckStatus, Delivery, RateLimits
from sandbox.world import World
from tests.recovery.scene import Scene
from tests.stage import HELPDESK, environment, set_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

KILLS = 100
TARGETS = ("adele", "alex", "diego", "lee", "pradeep", "miriam", "john.smith", "jon.smith", "zoe", "cyrus")
PATIENT = RateLimits(dict.fromkeys(range(1, 6), 100_000), 100_000, 1000.0, 100_000)
SEED = 20_260_301


class Load:
    """What people type while the bot is killed, and which of it Slack was told is taken care of."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.reads = 0
        self.writes: set[str] = set()

    async def type_something(self, round_: int) -> None:
        """Two changes and three look-ups at once; one that nobody acknowledged is not counted."""
        slack, deed = self._scene.world.slack, "block" if round_ // len(TARGETS) % 2 == 0 else "unblock"
        wishes = {f"wish-{round_}-{place}": TARGETS[(round_ + place * 5) % len(TARGETS)] for place in range(2)}
        typed = [
            slack.command("ana", HELPDESK, f"/m365 {deed}-sign-in {whom}@contoso.com --reason {wish}")
            for wish, whom in wishes.items()
        ]
        typed += [slack.command("olive", HELPDESK, f"/m365 show-user {whom}@contoso.com") for whom in TARGETS[:3]]
        deliveries: list[Delivery] = await asyncio.gather(*typed)
        heard = [delivery.ack.status is AckStatus.OK for delivery in deliveries]
        self.writes |= {wish for wish, acknowledged in zip(wishes, heard, strict=False) if acknowledged}
        self.reads += sum(heard[2:])


async def test_what_was_acknowledged_is_finished_or_told_and_nothing_is_done_twice(tmp_path: Path) -> None:
    dice = random.Random(SEED)  # noqa: S311 - the same moments in every run
    async with World(state=tmp_path, limits=PATIENT) as world:
        with environment(world.environment()):
            await set_up(read_config(), world)
        scene = Scene(world)
        load = Load(scene)
        for round_ in range(KILLS):
            await scene.start()
            world.clock.advance(16 * 60)  # the same on the same person again is no longer asked about
            typing = asyncio.create_task(load.type_something(round_))
            await asyncio.wait({typing}, timeout=dice.uniform(0.0, 0.12))  # right after an acknowledgement, or before
            if round_ % 2:
                await _changes_are_under_way(scene, dice.randint(1, 5))
            await scene.bot.kill()
            await typing
        await scene.start()
        await scene.passes_until(lambda: all(_rests(row.state) for row in scene.rows()))
        while not scene.all_is_told():  # Slack hears some messages in each such moment, and no more
            world.clock.advance(5)
            await asyncio.wait({asyncio.create_task(world.slack.changed())}, timeout=0.2)
        await scene.stop()

        rows = scene.rows()
        assert load.writes <= {str(row.details["reason"]) for row in rows}
        assert load.reads <= sum(row.details["command"] == "/m365 show-user" for row in rows)
        assert len(load.writes) > KILLS / 2, "hardly anything was acknowledged before a kill: the test shows nothing"
        cut_off = [row for row in rows if "The bot was interrupted" in str(row.details["steps"])]
        assert len(cut_off) >= KILLS / 20, "hardly any change was cut off by a kill: the test shows nothing"
        assert _done_twice(scene) == {}
        assert (await scene.bot.command("audit", "verify")).exit_code == 0


async def _changes_are_under_way(scene: Scene, count: int) -> None:
    """Graph has been sent *count* changes more, or a moment is over in which none came."""
    seen = _sent(scene) + count
    with suppress(AssertionError):
        await scene.until(lambda: _sent(scene) >= seen, timeout=1.0)


def _sent(scene: Scene) -> int:
    return sum(request.method == "PATCH" for request in scene.graph_requests())


def _rests(state: RequestState) -> bool:
    """Over, or waiting for a person to say whether to go on."""
    return state.final or state is RequestState.AWAITING_CONFIRMATION


def _done_twice(scene: Scene) -> dict[str, int]:
    """Requests of which Microsoft applied more than one call, by id."""
    request_of = {row["attempt"]: row["request"] for row in scene.audited("attempt.started")}
    applied = Counter(
        request_of[request.client_request_id]
        for request in scene.world.graph.writes()
        if request.client_request_id in request_of
    )
    assert sum(applied.values()) == len(scene.world.graph.writes()), "a write without an attempt's row"
    return {request: count for request, count in applied.items() if count > 1}
