"""Forms as one fills them in: what is missing is said at its field, and nothing happens by accident."""

from typing import Any

import pytest
from aiohttp import ClientSession
from playwright.async_api import Locator, expect

from sandbox.world import World
from tests.browser.conftest import OpenScreen
from tests.browser.screen import Screen, button

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

OUTSIDE = (
    "!document.querySelector('dialog').contains(document.activeElement) && document.activeElement !== document.body"
)
"""Whether the focus is somewhere on the page, but not in the dialog."""


async def open_form(screen: Screen, text: str, title: str) -> Locator:
    await screen.say(text)
    await expect(screen.heading(title)).to_be_visible()
    return screen.form


async def test_what_is_missing_is_said_at_its_field(open_screen: OpenScreen) -> None:
    olive = await open_screen("olive")
    form = await open_form(olive, "/m365 reset-password adele@contoso.com", "Adele Vance")
    verified, reason = form.get_by_label("How was the caller verified?"), form.get_by_label("Reason")

    await form.get_by_role("button", name="Preview").click()
    for field in (verified, reason):
        await expect(field).to_have_accessible_description("Please complete this required field.")
        await expect(field).to_have_attribute("aria-invalid", "true")
    await expect(verified).to_be_focused()

    await verified.select_option("In person")
    await reason.fill("   ")
    await form.get_by_role("button", name="Preview").click()
    await expect(reason).to_have_accessible_description("Say why, for the audit trail.")
    await expect(reason).to_be_focused()
    await expect(verified).not_to_have_attribute("aria-invalid", "true")
    await expect(verified).to_have_value("in person")


async def test_a_person_is_found_by_typing_and_chosen_by_key(open_screen: OpenScreen) -> None:
    olive = await open_screen("olive")
    form = await open_form(olive, "/m365 reset-password", "Reset a password")
    whom = form.get_by_role("combobox", name="Whom")

    await expect(whom).to_be_focused()
    await whom.press_sequentially("ade")
    adele = form.get_by_role("option", name="Adele Vance adele@contoso.com")
    await expect(adele).to_be_visible()
    await whom.press("ArrowDown")
    await expect(adele).to_have_attribute("aria-selected", "true")
    await whom.press("Enter")

    await expect(olive.heading("Adele Vance")).to_be_visible()
    await expect(form.get_by_role("combobox", name="Whom")).to_have_value("Adele Vance")
    await expect(button(form, "Reset the password of Adele Vance, Sales")).to_be_visible()


async def test_near_names_are_offered_and_none_is_picked(open_screen: OpenScreen) -> None:
    olive = await open_screen("olive")
    form = await open_form(olive, "/m365 reset-password smith --reason forgotten", "Reset a password")

    near = form.get_by_role("combobox", name="Did you mean")
    await expect(near.get_by_role("option")).to_have_text(["John Smith", "Jon Smith"])
    await expect(form.get_by_role("button").filter(has_text="Reset the password")).to_have_count(0)
    await near.select_option(label="Jon Smith")
    await expect(olive.heading("Jon Smith")).to_be_visible()
    await expect(button(form, "Reset the password of Jon Smith, Finance")).to_be_visible()


async def test_the_preview_shows_what_would_change_and_changes_nothing(world: World, open_screen: OpenScreen) -> None:
    before = world.directory.password_of("adele@contoso.com")
    olive = await open_screen("olive")
    form = await open_form(olive, "/m365 reset-password adele@contoso.com --reason asked", "Adele Vance")

    await form.get_by_label("How was the caller verified?").select_option("Manager confirmed")
    await form.get_by_label("Reason").press("Enter")  # which must not run it either
    await form.get_by_role("button", name="Preview").click()
    await expect(form).to_contain_text("What will change")
    await expect(form).to_contain_text("password: a new temporary one, to be changed at the next sign-in")
    await expect(form.get_by_label("How was the caller verified?")).to_have_value("manager confirmed")
    await olive.close_form()

    assert world.directory.password_of("adele@contoso.com") == before
    await expect(olive.messages.get_by_role("article").filter(has_text="Adele Vance")).to_have_count(0)


async def test_escape_closes_the_form_and_withdraws_the_request(world: World, open_screen: OpenScreen) -> None:
    before = world.directory.password_of("miriam@contoso.com")
    olive = await open_screen("olive")
    await open_form(olive, "/m365 reset-password miriam@contoso.com --reason asked", "Miriam Graham")

    await olive.page.keyboard.press("Escape")
    await expect(olive.form).to_be_hidden()
    await expect(olive.message_box).to_be_focused()

    await olive.go("Latchkey home")
    await expect(olive.home).to_contain_text("Reset the password of Miriam Graham: Withdrawn")
    assert world.directory.password_of("miriam@contoso.com") == before


async def test_the_focus_stays_in_the_form(open_screen: OpenScreen) -> None:
    olive = await open_screen("olive")
    await open_form(olive, "/m365 reset-password adele@contoso.com", "Adele Vance")

    for key in ["Tab"] * 9 + ["Shift+Tab"] * 9:
        await olive.page.keyboard.press(key)
        assert not await olive.page.evaluate(OUTSIDE), f"{key} left the form"


async def test_what_one_types_stays_while_others_go_on(world: World, open_screen: OpenScreen) -> None:
    olive = await open_screen("olive")
    form = await open_form(olive, "/m365 reset-password adele@contoso.com", "Adele Vance")
    reason = form.get_by_label("Reason")

    await reason.fill("locked ")
    world.slack.say("ana", "#helpdesk", "The lift is out of order.")
    await expect(olive.messages).to_contain_text("The lift is out of order.")
    await olive.page.keyboard.type("out")

    await expect(reason).to_have_value("locked out")


async def test_what_can_be_taken_back_is_taken_back_by_undo(world: World, open_screen: OpenScreen) -> None:
    ana = await open_screen("ana")
    await ana.say("/m365 block-sign-in diego@contoso.com --reason 'left the company'")
    blocked = ana.message("Sign-in of Diego Siciliani was blocked")
    await expect(blocked).to_contain_text("sign-in: allowed → blocked")
    assert not world.directory.user("diego@contoso.com").enabled

    await button(blocked, "Undo").click()
    await expect(ana.message("Sign-in of Diego Siciliani was unblocked")).to_be_visible()
    await expect(button(blocked, "Undo")).to_have_count(0)
    assert world.directory.user("diego@contoso.com").enabled


async def test_a_press_that_asks_first_is_told_to_the_bot_only_after_yes(world: World, open_screen: OpenScreen) -> None:
    def text(words: str) -> dict[str, str]:
        return {"type": "plain_text", "text": words}

    press = {"type": "button", "action_id": "asked.first", "text": text("Restart the printer"), "style": "danger"}
    press["confirm"] = {
        "title": text("Restart it?"),
        "text": text("Whatever it prints now is lost."),
        "confirm": text("Restart"),
        "deny": text("Leave it"),
        "style": "danger",
    }
    await post(world, channel="C0ALERTS01", text="A printer", blocks=[{"type": "actions", "elements": [press]}])
    olive = await open_screen("olive")
    await olive.go("it-alerts")
    question = olive.page.get_by_role("dialog", name="Restart it?")
    before = len(world.slack.deliveries)

    for no in ("Enter", "Escape"):  # Enter, because what can do no harm is what stands ready
        await olive.messages.get_by_role("button", name="Restart the printer").click()
        await expect(question).to_contain_text("Whatever it prints now is lost.")
        await expect(question.get_by_role("button", name="Leave it")).to_be_focused()
        await olive.page.keyboard.press(no)
        await expect(question).to_be_hidden()
    assert len(world.slack.deliveries) == before

    await olive.messages.get_by_role("button", name="Restart the printer").click()
    await question.get_by_role("button", name="Restart", exact=True).click()
    await world.slack.until(lambda: len(world.slack.deliveries) == before + 1)


async def post(world: World, **message: Any) -> None:
    """Post as the bot would."""
    token = {"Authorization": f"Bearer {world.slack.bot_token}"}
    async with ClientSession() as session:
        async with session.post(f"{world.url}/slack/api/chat.postMessage", json=message, headers=token) as answer:
            body = await answer.json()
            assert body["ok"], body
