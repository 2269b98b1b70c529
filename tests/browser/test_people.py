"""One page, many people: each sees what Slack would show them, and those from elsewhere are refused."""

import pytest
from playwright.async_api import expect

from tests.browser.conftest import OpenScreen

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_what_only_olive_may_see_is_gone_when_one_becomes_ana(open_screen: OpenScreen) -> None:
    screen = await open_screen("olive")
    await screen.say("/m365 show-user adele@contoso.com")
    await expect(screen.message("Only visible to you", "adele@contoso.com")).to_be_visible()
    await expect(screen.channels.get_by_role("button", name="Ana Ruiz")).to_be_visible()

    await screen.become("ana")
    await expect(screen.messages.get_by_role("article").filter(has_text="adele@contoso.com")).to_have_count(0)
    await expect(screen.channels.get_by_role("button", name="Olive Hart")).to_be_visible()
    await expect(screen.channels.get_by_role("button", name="Ana Ruiz")).to_have_count(0)

    await screen.become("olive")
    await expect(screen.message("Only visible to you", "adele@contoso.com")).to_be_visible()


async def test_what_is_shared_in_the_channel_is_there_for_others(open_screen: OpenScreen) -> None:
    olive, ana = await open_screen("olive"), await open_screen("ana")
    await ana.go("it-alerts")
    await olive.say("/m365 show-user lee@contoso.com")
    await olive.message("Only visible to you", "lee@contoso.com").get_by_role("button", name="Share in channel").click()

    await expect(ana.channels.get_by_role("button", name="helpdesk")).to_contain_text("unread")
    await ana.go("helpdesk")
    await expect(ana.message("lee@contoso.com")).to_be_visible()
    await expect(ana.message("lee@contoso.com")).not_to_contain_text("Only visible to you")
    await expect(ana.channels.get_by_role("button", name="helpdesk")).not_to_contain_text("unread")


async def test_a_conversation_is_seen_by_its_two_people(open_screen: OpenScreen) -> None:
    olive, ana, bo = [await open_screen(person) for person in ("olive", "ana", "bo")]
    await olive.go("Ana Ruiz")
    await olive.say("Are you *in* today?")
    await ana.go("Olive Hart")

    await expect(ana.message("Are you in today?").locator("strong", has_text="in")).to_be_visible()
    await expect(bo.channels.get_by_role("button", name="Olive Hart")).to_have_count(0)


async def test_an_outsider_sees_the_shared_channel_and_nothing_of_the_tenant(open_screen: OpenScreen) -> None:
    otto = await open_screen("otto")
    await expect(otto.channels.get_by_role("button")).to_have_text(["#partners", "●Latchkey", "⌂Latchkey home"])
    await expect(otto.page.get_by_role("heading", name="#partners")).to_be_visible()

    await otto.say("/m365 show-user adele@contoso.com")
    await expect(otto.message("Slackbot", "not a valid command")).to_be_visible()
    await otto.go("Latchkey home")
    await expect(otto.home).to_contain_text("You are not set up to use it. Ask Ana Ruiz or Bo Lind.")
    await expect(otto.home.get_by_role("button")).to_have_count(0)


async def test_a_guest_is_refused_in_words(open_screen: OpenScreen) -> None:
    gus = await open_screen("gus")
    await gus.say("/m365 reset-password adele@contoso.com")

    await expect(gus.message("Guests cannot use Latchkey. Ask Ana Ruiz or Bo Lind")).to_be_visible()
    await expect(gus.form).to_be_hidden()


async def test_the_composer_offers_the_commands_and_takes_one_by_key(open_screen: OpenScreen) -> None:
    olive = await open_screen("olive")
    offered = olive.page.get_by_role("listbox", name="Commands").get_by_role("option")

    await olive.message_box.press_sequentially("/m365-s")
    await expect(offered).to_have_count(1)
    await olive.message_box.press("ArrowDown")
    await expect(offered.first).to_have_attribute("aria-selected", "true")
    await olive.message_box.press("Enter")
    await expect(olive.message_box).to_have_value("/m365-session ")
    await olive.message_box.press_sequentially("status")
    await olive.message_box.press("Enter")

    await expect(olive.message("Only visible to you", "anagement session")).to_be_visible()
