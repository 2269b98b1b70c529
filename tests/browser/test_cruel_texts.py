"""Names and reasons that look like markup stay text: on the page nothing runs, pings or links because of them."""

import pytest
from playwright.async_api import Locator, expect

from sandbox.world import World
from tests.browser.conftest import OpenScreen
from tests.browser.screen import Screen, button

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

EVE = "<!channel> *Eve* <https://evil.example|x>"
CRUEL = """<img src=x onerror=alert(1)><script>alert(2)</script><!here> <@U0OLIVE001> javascript:alert(3)"""


async def nothing_came_of_it(screen: Screen, inside: Locator) -> None:
    """No element, address or call came out of a text."""
    await expect(inside.locator("img, script, iframe, object, style, svg, form")).to_have_count(0)
    await expect(inside.locator(".mention.loud")).to_have_count(0)
    for address in await inside.locator("a").evaluate_all("links => links.map(link => link.protocol)"):
        assert address in ("https:", "mailto:")
    await expect(inside.locator("[onerror], [onclick], a[href*='evil.example']")).to_have_count(0)
    assert await screen.page.evaluate("document.scripts.length") == 1


async def test_a_cruel_name_is_shown_as_it_is_written(world: World, open_screen: OpenScreen) -> None:
    olive = await open_screen("olive")

    await olive.say(f"/m365 reset-password evil@contoso.com --reason '{CRUEL}'")
    await expect(olive.heading(EVE)).to_be_visible()
    await expect(olive.form.get_by_label("Reason")).to_have_value(CRUEL)
    await nothing_came_of_it(olive, olive.form)
    await olive.fill_in("How was the caller verified?", "Ticket")
    await button(olive.form, f"Reset the password of {EVE}, Sales").click()

    card = olive.message("was reset", "Asked by Olive Hart")
    for text in ("<!channel>", "<https://evil.example|x>", "<img src=x onerror=alert(1)><script>alert(2)</script>"):
        await expect(card).to_contain_text(text)
    await nothing_came_of_it(olive, olive.messages)
    await olive.close_form()
    await button(card, "Reveal once").click()
    await expect(olive.form).to_contain_text(world.directory.password_of("evil@contoso.com"))
    await nothing_came_of_it(olive, olive.form)
    await olive.close_form()

    await olive.go("Latchkey home")
    await expect(olive.home).to_contain_text("<https://evil.example|x>")
    await nothing_came_of_it(olive, olive.home)
    seen = await olive.open_panel("What Microsoft saw")
    await expect(seen.get_by_role("cell", name=EVE)).to_be_visible()
    await nothing_came_of_it(olive, seen)


async def test_what_people_type_is_text(open_screen: OpenScreen) -> None:
    olive = await open_screen("olive")
    await olive.say(CRUEL)
    await olive.say("<javascript:alert(4)|a link> <https://contoso.example|another>")

    await expect(olive.message("<img src=x onerror=alert(1)>")).to_be_visible()
    await nothing_came_of_it(olive, olive.messages)


async def test_a_made_up_action_is_repeated_as_text(open_screen: OpenScreen) -> None:
    olive = await open_screen("olive")
    await olive.say("/m365 <b>bold</b><img/src=x/onerror=alert(5)>")

    await expect(olive.message("Only visible to you", "onerror=alert(5)")).to_be_visible()
    await nothing_came_of_it(olive, olive.messages)
