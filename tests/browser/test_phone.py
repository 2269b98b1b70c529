"""The page on a phone: the main job can be done there, and nothing is wider than the screen."""

import pytest
from playwright.async_api import expect

from sandbox.world import World
from tests.browser.conftest import OpenScreen
from tests.browser.screen import Screen, button

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def phone(open_screen: OpenScreen, person: str = "olive") -> Screen:
    size = {"width": 390, "height": 844}
    return await open_screen(person, viewport=size, screen=size, is_mobile=True, has_touch=True)


async def test_the_main_job_is_done_on_a_phone(world: World, open_screen: OpenScreen) -> None:
    olive = await phone(open_screen)
    await olive.go("helpdesk")
    assert await olive.too_wide() == []

    # A phone makes a dash of two hyphens, and curls the quotes.
    await olive.message_box.fill("/m365 reset-password adele@contoso.com —reason “locked out”")
    await olive.page.get_by_role("button", name="Send").tap()
    await olive.fill_in("How was the caller verified?", "In person")
    await expect(olive.form.get_by_label("Reason")).to_have_value("locked out")
    assert await olive.too_wide() == []
    await button(olive.form, "Reset the password of Adele Vance, Sales").tap()
    await expect(olive.form).to_contain_text("on its way")
    await olive.close_form()

    card = olive.message("The password of Adele Vance was reset")
    await button(card, "2 replies").tap()
    await expect(olive.reply("Signing in")).to_be_visible()
    assert await olive.too_wide() == []
    await button(olive.reply("@Olive Hart"), "Reveal once").tap()
    await expect(olive.form).to_contain_text(world.directory.password_of("adele@contoso.com"))
    assert await olive.too_wide() == []
    await button(olive.form, "I have it").tap()
    await expect(olive.form).to_be_hidden()

    await olive.page.get_by_role("button", name="Close the thread").tap()
    await expect(olive.message_box).to_be_visible()


@pytest.mark.parametrize("person", ["olive", "ana"])
async def test_the_home_fits_a_phone(open_screen: OpenScreen, person: str) -> None:
    screen = await phone(open_screen, person)
    await screen.go("Latchkey home")

    await expect(screen.home).to_contain_text("Your recent requests")
    assert await screen.too_wide() == []


@pytest.mark.parametrize(
    "text", ["help", "show-user evil@contoso.com", "can reset-password gary@contoso.com", "make-coffee " + "x" * 200]
)
async def test_an_answer_fits_a_phone(open_screen: OpenScreen, text: str) -> None:
    olive = await phone(open_screen)
    await olive.say(f"/m365 {text}")

    await expect(olive.message("Only visible to you")).to_be_visible()
    assert await olive.too_wide() == []


@pytest.mark.parametrize("tab", ["Faults", "Time and bot", "What Microsoft saw", "Bot's log"])
async def test_the_panel_fits_a_phone(open_screen: OpenScreen, tab: str) -> None:
    olive = await phone(open_screen)

    await expect(await olive.open_panel(tab)).not_to_be_empty()
    assert await olive.too_wide() == []
    await olive.close_panel()
    await expect(olive.message_box).to_be_visible()


async def test_the_list_of_channels_makes_way_for_what_was_chosen(open_screen: OpenScreen) -> None:
    olive = await phone(open_screen)
    await expect(olive.channels).to_be_hidden()

    await olive.go("it-alerts")
    await expect(olive.channels).to_be_hidden()
    await expect(olive.page.get_by_role("heading", name="#it-alerts")).to_be_visible()
