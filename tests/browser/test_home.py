"""App Home as its people see it: the session with its buttons, what one may do and why not, and one's requests."""

import re

import pytest
from playwright.async_api import expect

from sandbox.world import World
from tests.browser.conftest import OpenScreen
from tests.browser.screen import button

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

ON = re.compile(r"On until (today|tomorrow) at \d\d:\d\d")


async def test_the_session_is_turned_on_extended_and_off(world: World, open_screen: OpenScreen) -> None:
    ana = await open_screen("ana")
    await ana.go("Latchkey home")
    turned_on = button(ana.home, "Turn on")
    await turned_on.click()
    await expect(ana.home).to_contain_text(ON)
    await expect(ana.home).to_contain_text("Acts as svc-latchkey@contoso.onmicrosoft.com.")
    before = await ana.home.get_by_text(ON).inner_text()

    world.clock.advance(10 * 60)
    await button(ana.home, "Extend").click()
    await expect(ana.home.get_by_text(ON)).not_to_have_text(before)

    await button(ana.home, "Turn off").click()
    await expect(ana.home).to_contain_text("Off. It opens by itself when an action needs it.")
    await expect(turned_on).to_be_visible()


async def test_the_session_of_one_is_the_session_of_all(open_screen: OpenScreen) -> None:
    ana, olive = await open_screen("ana"), await open_screen("olive")
    await ana.go("Latchkey home")
    await olive.go("Latchkey home")

    await button(olive.home, "Turn on").click()
    for screen in (olive, ana):
        await expect(screen.home).to_contain_text(ON)


async def test_the_help_desk_reads_what_it_may_do_and_why_not_the_rest(open_screen: OpenScreen) -> None:
    olive = await open_screen("olive")
    await olive.go("Latchkey home")

    may = olive.home.get_by_text("/m365 reset-password adele@contoso.com")
    await expect(may).to_be_visible()
    await expect(olive.home).to_contain_text(
        re.compile(r"Not available to you now.*Your roles do not include it.*assign-license", re.DOTALL)
    )
    await expect(olive.home).to_contain_text("Ask Ana Ruiz or Bo Lind.")


async def test_a_tenant_admin_may_more(open_screen: OpenScreen) -> None:
    ana = await open_screen("ana")
    await ana.go("Latchkey home")

    await expect(ana.home).to_contain_text("/m365 assign-license")
    await expect(ana.home).not_to_contain_text("Your roles do not include it")


async def test_a_request_is_among_the_recent_ones_of_whoever_made_it(open_screen: OpenScreen) -> None:
    olive, ana = await open_screen("olive"), await open_screen("ana")
    await olive.reset("pradeep@contoso.com", "Pradeep Gupta, Finance")
    await olive.go("Latchkey home")
    await ana.go("Latchkey home")

    await expect(olive.home).to_contain_text("Reset the password of Pradeep Gupta: Done")
    await expect(ana.home).to_contain_text("Your recent requests")
    await expect(ana.home).not_to_contain_text("Pradeep Gupta")


async def test_somebody_who_is_no_operator_is_told_whom_to_ask(open_screen: OpenScreen) -> None:
    nina = await open_screen("nina")
    await nina.go("Latchkey home")

    await expect(nina.home).to_contain_text("You are not set up to use it. Ask Ana Ruiz or Bo Lind.")
    await expect(nina.home).not_to_contain_text("/m365 reset-password")


async def test_something_is_done_from_the_list_of_what_may_be_done(open_screen: OpenScreen) -> None:
    olive = await open_screen("olive")
    await olive.go("Latchkey home")
    await button(olive.home, "Do something …").click()
    await expect(olive.form).to_contain_text("Not available to you now")

    await olive.form.get_by_role("combobox").select_option("Show a person")
    await expect(olive.heading("Show a person")).to_be_visible()
    whom = olive.form.get_by_role("combobox", name="Whom")
    await whom.press_sequentially("ade")
    await olive.form.get_by_role("option", name="Adele Vance adele@contoso.com").click()
    await button(olive.form, "Show").click()
    await expect(olive.form).to_be_hidden()


async def test_a_button_stays_under_the_finger_while_the_home_tab_is_published_anew(
    world: World, open_screen: OpenScreen
) -> None:
    olive = await open_screen("olive")
    await olive.go("Latchkey home")
    something = button(olive.home, "Do something …")
    await expect(something).to_be_visible()
    await something.hover()
    await olive.page.mouse.down()

    async with olive.page.expect_response(re.compile("/api/snapshot")):
        await world.slack.open_home("olive")
    await olive.page.evaluate("new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn)))")
    await olive.page.mouse.up()

    await expect(olive.form).to_contain_text("Not available to you now")


async def test_the_help_desk_sees_no_management_box(open_screen: OpenScreen) -> None:
    olive = await open_screen("olive")
    await olive.go("Latchkey home")
    await expect(olive.home).to_contain_text("What you may do")

    await expect(olive.home.get_by_role("heading", name="Management", exact=True)).to_have_count(0)
    await expect(olive.home.get_by_role("radio")).to_have_count(0)
    await expect(button(olive.home, "Save")).to_have_count(0)


async def test_the_box_fits_a_phone(open_screen: OpenScreen) -> None:
    ana = await open_screen("ana", viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    await ana.go("Latchkey home")
    await expect(button(ana.home, "Save")).to_be_visible()

    assert await ana.too_wide() == []


async def test_saving_in_the_box_switches_only_once_another_admin_has_approved(open_screen: OpenScreen) -> None:
    ana, bo = await open_screen("ana"), await open_screen("bo")
    await ana.go("Latchkey home")
    await bo.go("Latchkey home")
    await ana.home.get_by_role("radio", name="Default").check()
    await button(ana.home, "Save").click()

    await expect(ana.form).to_contain_text("What will change")
    await ana.form.get_by_label("Reason").fill("We work with our own accounts now")
    await button(ana.form, "Change how management sessions of Latchkey work").click()
    await ana.close_form()
    await expect(ana.home).to_contain_text("Ana Ruiz asked")
    await expect(ana.home).to_contain_text("Waiting for an approval")
    await expect(button(ana.home, "Approve")).to_have_count(0)

    await expect(bo.home).to_contain_text("Waiting for your decision")
    await expect(bo.home).to_contain_text("mode: advanced → default")
    await button(bo.home, "Approve").click()
    for screen in (ana, bo):
        await expect(button(screen.home, "Sign in at Microsoft")).to_be_visible()
        await expect(screen.home.get_by_role("radio", name="Default")).to_be_checked()
    await expect(bo.home).not_to_contain_text("Waiting for your decision")
