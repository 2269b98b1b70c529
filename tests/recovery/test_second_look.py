"""Replicas that lag, and looks that fail: an outcome is confirmed once it is seen, and a failure once contradicted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.model import RequestState
from sandbox.faults import Drop, Lag, Rule
from tests.recovery.scene import Scene
from tests.stage import HELPDESK, Stage, open_stage

RESET_ADELE = "Reset the password of Adele Vance, Sales"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with open_stage(tmp_path) as opened:
        yield opened


async def pressed(stage: Stage) -> Scene:
    """Olive has pressed the button of her form."""
    await stage.form("olive", "/m365 reset-password adele@contoso.com --reason r", RESET_ADELE)
    await stage.world.slack.choose("olive", "modal", "How was the caller verified?", "In person")
    await stage.world.slack.click("olive", "modal", RESET_ADELE)
    return Scene(stage.world)


async def unconfirmed(scene: Scene) -> str:
    """The sentence of a reset whose outcome could not be seen within a minute."""
    await scene.passes_until(lambda: scene.rows()[0].state is RequestState.UNKNOWN)
    sentence = str(scene.rows()[0].details["sentence"])
    await scene.until(lambda: sentence in scene.story())
    return sentence


async def revealed(scene: Scene) -> str:
    """Everything in the window that *Reveal once* opens for Olive."""
    await scene.press("olive", "Reveal once")
    await scene.until(lambda: "To read it out" in scene.world.slack.modals("olive")[-1].visible_text)
    return scene.world.slack.modals("olive")[-1].visible_text


async def test_a_replica_that_lags_by_seconds_is_asked_again_until_it_shows_the_change(stage: Stage) -> None:
    stage.world.faults.start("graph-lag")
    scene = await pressed(stage)
    row = await scene.end_of()

    assert row.state is RequestState.DONE
    assert scene.world.writes("PATCH", "/users/") == 1
    assert "not confirmed" not in scene.world.slack.history_text().lower()


@pytest.mark.slow
async def test_what_microsoft_accepted_and_does_not_show_is_not_confirmed_yet_but_can_be_used(stage: Stage) -> None:
    stage.world.faults.add(Rule("graph", "GET", "/users/*", Lag(150)))
    scene = await pressed(stage)
    sentence = await unconfirmed(scene)
    assert sentence.startswith("Microsoft accepted this, but does not show it yet. I look again at ")
    await scene.until(lambda: "Reset the password of Adele Vance: not confirmed yet" in scene.story())
    assert "[Try again]" not in scene.story()
    assert stage.world.directory.password_of("adele") in await revealed(scene)

    await scene.end_of()
    assert scene.rows()[0].state is RequestState.DONE
    assert scene.world.writes("PATCH", "/users/") == 1
    (card,) = scene.world.slack.messages(HELPDESK)
    _, before, news = await scene.until(
        lambda: scene.world.slack.thread(card) * (len(scene.world.slack.thread(card)) == 3)
    )
    assert sentence in before.visible_text
    assert "[" not in before.visible_text
    assert "@Olive Hart" in news.visible_text
    assert "The password of Adele Vance was reset" in news.visible_text


@pytest.mark.slow
async def test_a_secret_of_an_unconfirmed_reset_is_offered_once_a_second_look_finds_it_in_force(stage: Stage) -> None:
    stage.world.faults.add(Rule("graph", "PATCH", "/users/*", Drop("after"), times=1))
    lag = stage.world.faults.add(Rule("graph", "GET", "/users/*", Lag(150)))
    scene = await pressed(stage)
    assert "no clear answer came back" in await unconfirmed(scene)
    assert "[Reveal once]" not in scene.story()
    stage.world.faults.remove(lag)

    row = await scene.end_of()
    assert row.state is RequestState.DONE
    assert stage.world.directory.password_of("adele") in await revealed(scene)
    assert scene.world.writes("PATCH", "/users/") == 1


@pytest.mark.slow
async def test_a_contradiction_at_the_second_look_is_a_failure_to_be_tried_again(stage: Stage) -> None:
    lag = stage.world.faults.add(Rule("graph", "GET", "/users/*", Lag(3600)))
    scene = await pressed(stage)
    await unconfirmed(scene)
    row = await scene.end_of()

    assert row.state is RequestState.FAILED
    assert row.details["sentence"] == ("Microsoft had accepted this, but still shows no change, so it did not happen.")
    await scene.until(lambda: "[Try again]" in scene.story() and "[Reveal once]" not in scene.story())

    stage.world.faults.remove(lag)
    await scene.press("olive", "Try again")
    await scene.until(lambda: len(scene.rows()) == 2)
    assert (await scene.end_of()).state is RequestState.DONE


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["vault-down", "entra-down", "graph-down", "policy-blocks-service-account"])
async def test_a_second_look_that_cannot_look_says_so_and_looks_again(stage: Stage, fault: str) -> None:
    stage.world.faults.add(Rule("graph", "PATCH", "/users/*", Drop("after"), times=1))
    lag = stage.world.faults.add(Rule("graph", "GET", "/users/*", Lag(150)))
    scene = await pressed(stage)
    first = await unconfirmed(scene)
    stage.world.faults.remove(lag)
    await stage.ask("ana", "/m365-session off")
    stage.world.faults.start(fault)
    stage.world.clock.advance(601)
    reset = scene.rows()[0].id

    def looked() -> bool:
        row = next(row for row in scene.rows() if row.id == reset)
        return row.state is RequestState.UNKNOWN and row.details["sentence"] != first

    await scene.passes_until(looked)
    second = str(scene.rows()[0].details["sentence"])
    assert "So it is not known yet whether this was done. I look again at " in second
    await scene.until(lambda: second in scene.story())

    stage.world.faults.stop(fault)
    await scene.end_of(0)
    assert scene.rows()[0].state is RequestState.DONE
    assert stage.world.directory.password_of("adele") in await revealed(scene)
