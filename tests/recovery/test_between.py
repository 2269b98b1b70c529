"""What changes between asking and doing, and what meets on one target: asked again, one after the other, never lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.model import RequestState
from sandbox.faults import Delay, Rule
from sandbox.slack import Message
from tests.recovery.scene import Scene, open_scene
from tests.stage import HELPDESK, Stage, open_stage

RESET_ADELE = "Reset the password of Adele Vance, Sales"
BLOCK_ALEX = "/m365 block-sign-in alex@contoso.com --reason left"
ADD_ALEX = "/m365 add-to-group alex@contoso.com --group Sales --reason joins"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with open_stage(tmp_path) as opened:
        yield opened


async def filled_in(stage: Stage) -> None:
    await stage.form("olive", "/m365 reset-password adele@contoso.com --reason r", RESET_ADELE)
    await stage.world.slack.choose("olive", "modal", "How was the caller verified?", "In person")


async def card_that_says(scene: Scene, words: str) -> Message:
    slack = scene.world.slack
    return (await scene.until(lambda: [card for card in slack.messages(HELPDESK) if words in card.visible_text]))[0]


# --- two at once ------------------------------------------------------------------------------------------------------


async def test_two_changes_of_one_account_are_made_one_after_the_other(stage: Stage) -> None:
    scene, world = Scene(stage.world), stage.world
    await stage.ask("ana", "/m365 show-user lee@contoso.com")  # the session is on
    world.faults.add(Rule("graph", "PATCH", "/users/*", Delay(0.3), times=1))
    block = asyncio.create_task(world.slack.command("ana", HELPDESK, BLOCK_ALEX))
    await scene.until(lambda: any(request.method == "PATCH" for request in world.graph.requests))
    await world.slack.command("bo", HELPDESK, ADD_ALEX)
    await block
    await scene.until(lambda: [row.state for row in scene.rows()] == [RequestState.DONE] * 3)

    written = [at for at, request in enumerate(world.graph.requests) if request.applied]
    assert [world.graph.requests[at].method for at in written] == ["PATCH", "POST"]
    read_back = next(
        at for at, request in enumerate(world.graph.requests) if at > written[0] and "accountEnabled" in request.query
    )
    assert read_back < written[1]


@pytest.mark.slow
async def test_the_same_change_twice_at_once_is_made_once_and_asked_about(stage: Stage) -> None:
    scene, world = Scene(stage.world), stage.world
    world.faults.add(Rule("graph", "PATCH", "/users/*", Delay(0.2), times=1))
    await asyncio.gather(
        world.slack.command("ana", HELPDESK, BLOCK_ALEX), world.slack.command("bo", HELPDESK, BLOCK_ALEX)
    )
    await scene.until(lambda: sum(row.state.final or row.answer.get("ask", False) for row in scene.rows()) == 2)

    assert world.writes("PATCH", "/users/") == 1
    await scene.until(lambda: "Sign-in of Alex Wilber was blocked" in scene.story())
    await scene.until(lambda: "is already blocked" in scene.story() or "[Do it anyway]" in scene.story())


# --- the same again ---------------------------------------------------------------------------------------------------


async def asked_about(stage: Stage) -> Scene:
    """Olive has reset Adele's password; two minutes later Ana wants to do it again, and is asked."""
    scene = Scene(stage.world)
    await stage.reset("olive", "adele@contoso.com", "Adele Vance, Sales")
    stage.world.clock.advance(120)
    await stage.form("ana", "/m365 reset-password adele@contoso.com --reason r", RESET_ADELE)
    await stage.world.slack.choose("ana", "modal", "How was the caller verified?", "In person")
    # The form says so, too, but what it says can be overlooked.
    assert "Olive Hart already asked to reset the password of Adele Vance 2 minutes ago." in (
        stage.world.slack.modals("ana")[-1].visible_text
    )
    return scene


@pytest.mark.slow
async def test_who_goes_on_from_a_form_that_says_so_is_not_asked_a_second_time(stage: Stage) -> None:
    scene = await asked_about(stage)
    await stage.world.slack.click("ana", "modal", RESET_ADELE)
    row = await scene.end_of()

    assert row.state is RequestState.DONE
    assert stage.world.writes("PATCH", "/users/") == 2


@pytest.mark.slow
async def test_a_change_that_was_made_while_a_form_was_open_is_asked_about(stage: Stage) -> None:
    scene = Scene(stage.world)
    await filled_in(stage)
    await stage.reset("ana", "adele@contoso.com", "Adele Vance, Sales")
    first = stage.world.directory.password_of("adele")
    await stage.world.slack.click("olive", "modal", RESET_ADELE)
    card = await card_that_says(scene, "[Leave it]")
    assert "[Do it anyway]" in card.visible_text
    assert "Nothing was done yet." in card.visible_text

    await stage.world.slack.click("olive", card, "Leave it")
    await scene.until(lambda: "Left as it was: nothing was done." in card.visible_text)
    assert "[" not in card.visible_text
    assert stage.world.directory.password_of("adele") == first


# --- between form and press -------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_what_changed_since_it_was_looked_at_is_shown_and_can_be_done_all_the_same(stage: Stage) -> None:
    scene = Scene(stage.world)
    await filled_in(stage)
    stage.world.directory.update_user("adele", enabled=False)
    await stage.world.slack.click("olive", "modal", RESET_ADELE)
    card = await card_that_says(scene, "[Do it anyway]")
    assert "Something about this account changed since you looked. Nothing was done yet." in card.visible_text
    assert "• password: a new temporary one" in card.visible_text
    assert stage.world.graph.writes() == []

    await stage.world.slack.click("olive", card, "Do it anyway")
    row = await scene.end_of()
    assert row.state is RequestState.DONE
    assert stage.world.writes("PATCH", "/users/") == 1


@pytest.mark.slow
async def test_a_session_that_ended_between_form_and_press_opens_again(stage: Stage) -> None:
    scene = Scene(stage.world)
    await filled_in(stage)
    await stage.ask("ana", "/m365-session off")
    await stage.world.slack.click("olive", "modal", RESET_ADELE)
    row = await scene.end_of(0)

    assert row.state is RequestState.DONE
    await scene.until(lambda: "Management session was off: opening it with the service account" in scene.story())
    assert len(stage.world.entra.grants("password")) == 2


@pytest.mark.slow
async def test_a_target_that_was_deleted_between_form_and_press_is_told_on_the_card(stage: Stage) -> None:
    scene = Scene(stage.world)
    await filled_in(stage)
    stage.world.directory.delete_user("adele")
    await stage.world.slack.click("olive", "modal", RESET_ADELE)
    card = await card_that_says(scene, "Microsoft knows no such object")

    assert "Reset the password of Adele Vance: failed" in card.visible_text
    assert (await scene.end_of()).state is RequestState.FAILED
    assert stage.world.graph.writes() == []


@pytest.mark.slow
async def test_a_form_nobody_presses_expires_and_nothing_is_done(stage: Stage) -> None:
    scene = Scene(stage.world)
    await filled_in(stage)
    stage.world.clock.advance(31 * 60)
    await scene.until(lambda: scene.rows()[0].state is RequestState.EXPIRED)

    await scene.until(lambda: "Nobody confirmed this in time" in stage.world.slack.modals("olive")[-1].visible_text)
    assert stage.world.graph.writes() == []


# --- secrets that wait ------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_secret_nobody_looked_at_is_gone_after_ten_minutes_and_its_requester_is_called(stage: Stage) -> None:
    card = await stage.reset("olive", "adele@contoso.com", "Adele Vance, Sales")
    stage.world.clock.advance(601)
    await stage.until(lambda: len(stage.world.slack.thread(card)) == 3)
    _, closing, news = stage.world.slack.thread(card)

    assert "@Olive Hart" in news.visible_text
    assert (
        "The password of Adele Vance was reset, but nobody looked at it in time. It cannot be shown any more, so Adele "
        "Vance cannot sign in with it."
    ) in news.visible_text
    assert "[Reset again]" in news.visible_text
    await stage.until(lambda: "[" not in closing.visible_text)
    assert "But nobody looked at it in time." in card.visible_text
    assert card.visible_text.count("The password of Adele Vance was reset") == 1


@pytest.mark.slow
async def test_a_bot_killed_while_a_secret_waits_tells_its_requester_that_it_is_lost(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        await scene.start()
        slack = scene.world.slack
        await slack.command("olive", HELPDESK, "/m365 reset-password adele@contoso.com --reason r")
        await scene.form_filled("olive", RESET_ADELE)
        await slack.choose("olive", "modal", "How was the caller verified?", "In person")
        await slack.click("olive", "modal", RESET_ADELE)
        await scene.until(lambda: scene.story().count("[Reveal once]") == 2)
        await scene.until(scene.all_is_told)
        await scene.bot.kill()
        await scene.start()

        card = await card_that_says(scene, "But the bot was restarted before anybody saw it.")
        await scene.until(lambda: "@Olive Hart" in slack.thread(card)[2].visible_text)
        assert "[Reset again]" in slack.thread(card)[2].visible_text
        await scene.until(lambda: "[Reveal once]" not in scene.story())
        assert len(scene.world.graph.writes()) == 1
