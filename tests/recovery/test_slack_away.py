"""Slack goes away while requests run: they go on, and what came of them is told in order, once, when it is back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.model import RequestState
from bot.road import Point
from sandbox.faults import Delay, Rule
from tests.recovery.scene import Scene, open_scene
from tests.stage import HELPDESK, Stage, open_stage

BLOCK_ALEX = "/m365 block-sign-in alex@contoso.com --reason left"
ADD_LEE = "/m365 add-to-group lee@contoso.com --group Sales --reason joins"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with open_stage(tmp_path) as opened:
        yield opened


def told(scene: Scene) -> list[str]:
    """What stands in the channel, threads included, in the order in which it came."""
    slack = scene.world.slack
    messages = [each for top in slack.messages(HELPDESK) for each in (top, *slack.thread(top))]
    return [message.visible_text for message in sorted(messages, key=lambda message: float(message.ts))]


async def comes_back(scene: Scene) -> None:
    """Slack can be reached again, and the bot has had its rest from trying."""
    scene.world.faults.stop("slack-down")
    scene.world.clock.advance(61)


async def test_what_ended_while_slack_was_away_is_told_once_it_is_back_and_in_order(stage: Stage) -> None:
    scene = Scene(stage.world)
    stage.world.faults.add(Rule("graph", "PATCH", "/users/*", Delay(0.3), times=1))
    await stage.world.slack.command("ana", HELPDESK, BLOCK_ALEX)
    await scene.until(lambda: any(row.state is RequestState.RUNNING for row in scene.rows()))
    stage.world.faults.start("slack-down")
    await scene.until(lambda: scene.rows()[0].state is RequestState.DONE)
    assert "was blocked" not in scene.story()

    await comes_back(scene)
    await scene.until(lambda: len(told(scene)) == 3)
    card, steps, closing = told(scene)
    assert "Sign-in of Alex Wilber was blocked" in card
    assert "Blocking the sign-in of Alex Wilber" in steps
    assert "@Ana Ruiz" in closing
    assert "may be said twice" not in "".join(told(scene))
    posted = [call for call in stage.world.slack.calls("chat.postMessage") if call.answer.get("ok")]
    assert len(posted) == 3


@pytest.mark.slow
async def test_what_was_cut_off_while_slack_was_away_is_finished_and_told_once_it_is_back(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        await scene.start(kill_at=Point.SENT)
        await scene.world.slack.command("ana", HELPDESK, ADD_LEE)
        await scene.death()
        scene.world.faults.start("slack-down")
        await scene.bot.start()  # as a supervisor does, again and again
        await scene.until(lambda: scene.bot.state == "died")
        assert "Traceback" not in scene.bot.log()

        await comes_back(scene)
        await scene.start()
        row = await scene.end_of()
        assert row.state is RequestState.DONE
        assert scene.world.writes("POST", "/groups/") == 1
        await scene.until(lambda: "Lee Gu was added to the group" in scene.story())
        assert len(scene.world.slack.messages(HELPDESK)) == 1


@pytest.mark.slow
async def test_what_ended_before_a_restart_and_was_not_told_is_told_by_the_next_process(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        await scene.start()
        scene.world.faults.add(Rule("graph", "POST", "/groups/*", Delay(0.3), times=1))
        await scene.world.slack.command("ana", HELPDESK, ADD_LEE)
        await scene.until(lambda: any(row.state is RequestState.RUNNING for row in scene.rows()))
        scene.world.faults.start("slack-down")
        await scene.until(lambda: scene.rows()[0].state is RequestState.DONE)
        await scene.bot.kill()
        assert "Lee Gu was added" not in scene.story()

        await comes_back(scene)
        await scene.start()
        await scene.until(lambda: scene.story().count("Lee Gu was added to the group") == 2)
        (card,) = scene.world.slack.messages(HELPDESK)
        assert len(scene.world.slack.thread(card)) == 2
        assert scene.world.writes("POST", "/groups/") == 1
