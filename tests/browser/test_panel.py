"""The panel below the workspace: one breaks things and moves time, and sees what Microsoft saw of it."""

import pytest
from playwright.async_api import expect

from sandbox.world import World
from tests.browser.conftest import OpenScreen
from tests.browser.screen import button

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_a_vault_that_is_down_is_explained_and_tried_again_when_it_is_back(
    world: World, open_screen: OpenScreen
) -> None:
    olive = await open_screen("olive")
    state = olive.world.get_by_text("bot connected")
    faults = await olive.open_panel("Faults")
    await faults.get_by_role("switch", name="Key Vault down").check()
    await expect(olive.world).to_contain_text("1 fault")
    await olive.close_panel()

    await olive.say("/m365 show-user adele@contoso.com")
    refused = olive.message("Only visible to you", "The management session could not be opened", "Key Vault")
    await expect(refused).to_be_visible()
    await olive.open_panel("Faults")
    await faults.get_by_role("switch", name="Key Vault down").uncheck()
    await expect(olive.world).to_contain_text("nothing broken")
    assert world.faults.active() == []

    await button(refused, "Try again").click()
    await expect(olive.message("Only visible to you", "Miriam Graham")).to_be_visible()
    await expect(state).to_be_visible()


async def test_eight_hours_later_the_session_is_over(open_screen: OpenScreen) -> None:
    olive = await open_screen("olive")
    await olive.say("/m365 show-user adele@contoso.com")
    await expect(olive.message("Only visible to you", "Miriam Graham")).to_be_visible()
    await olive.go("Latchkey home")
    await expect(olive.home).to_contain_text("On until")

    panel = await olive.open_panel("Time and bot")
    await panel.get_by_role("button", name="+8 h").click()
    await expect(panel).to_contain_text("in the pretend world, +8 h.")
    await olive.go("helpdesk")
    await olive.go("Latchkey home")  # which Slack tells the bot, as it does not when time goes by
    await expect(olive.home).to_contain_text("Off. It opens by itself when an action needs it.")


async def test_a_bot_that_was_killed_is_missed_and_comes_back(world: World, open_screen: OpenScreen) -> None:
    olive = await open_screen("olive")
    panel = await olive.open_panel("Time and bot")
    await panel.get_by_role("button", name="Kill the bot").click()
    await expect(panel).to_contain_text("The bot is stopped.")
    await expect(olive.world).to_contain_text("no bot")

    await olive.say("/m365 help")
    await expect(olive.message("Slackbot", 'failed with the error "dispatch_failed"')).to_be_visible()

    await panel.get_by_role("button", name="Start the bot").click()
    await expect(panel).to_contain_text("The bot is running and connected.")
    await olive.say("/m365 help")
    await expect(olive.message("Latchkey", "You may")).to_be_visible()
    assert world.bot_connected


async def test_a_reset_is_in_microsofts_own_log_with_its_request_id(world: World, open_screen: OpenScreen) -> None:
    olive = await open_screen("olive")
    await olive.reset("isaiah@contoso.com", "Isaiah Langer, Sales")

    panel = await olive.open_panel("What Microsoft saw")
    row = panel.get_by_role("row").filter(has_text="Isaiah Langer").first
    audit = next(audit for audit in reversed(world.directory.audits) if audit.target.name == "Isaiah Langer")
    for cell in (audit.activity, "Latchkey service account", audit.client_request_id, audit.request_id):
        await expect(row.get_by_role("cell", name=cell, exact=True)).to_be_visible()
    await expect(panel).not_to_contain_text(world.directory.password_of("isaiah@contoso.com"))
    await expect(await olive.open_panel("Bot's log")).to_contain_text('"event": "ready"')


async def test_what_slack_delivers_again_is_not_done_again(world: World, open_screen: OpenScreen) -> None:
    ana = await open_screen("ana")
    await ana.say("/m365 block-sign-in alex@contoso.com --reason 'lost laptop'")
    blocked = ana.messages.get_by_role("article").filter(has_text="Sign-in of Alex Wilber was blocked")
    await expect(blocked).to_have_count(1)
    writes = world.writes("PATCH", "/users/")

    panel = await ana.open_panel("Time and bot")
    await panel.get_by_role("button", name="Deliver the last one again").click()
    await expect(ana.toasts).to_contain_text("Delivered once more, marked as a retry.")
    await ana.say("/m365 help")
    await expect(ana.message("You may")).to_be_visible()

    await expect(blocked).to_have_count(1)
    assert world.writes("PATCH", "/users/") == writes


async def test_the_tabs_are_walked_with_the_arrow_keys(open_screen: OpenScreen) -> None:
    olive = await open_screen("olive")
    await olive.open_panel("Faults")

    for tab in ("People", "Time and bot", "What Microsoft saw", "Bot's log", "Faults"):
        await olive.page.keyboard.press("ArrowRight")
        await expect(olive.world.get_by_role("tab", name=tab)).to_be_focused()
        await expect(olive.world.get_by_role("tab", name=tab)).to_have_attribute("aria-selected", "true")
        await expect(olive.world.get_by_role("tabpanel", name=tab)).to_be_visible()


async def test_a_sandbox_that_does_not_answer_is_waited_for(world: World, open_screen: OpenScreen) -> None:
    olive = await open_screen("olive")
    notice = olive.page.get_by_role("status")

    await olive.page.context.set_offline(True)
    world.slack.say("ana", "#helpdesk", "Is anybody there?")
    await expect(notice).to_contain_text("The sandbox does not answer.")
    await olive.page.context.set_offline(False)

    await expect(olive.message("Is anybody there?")).to_be_visible()
    await expect(notice).to_be_empty()
