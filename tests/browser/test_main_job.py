"""The main job, clicked through: help desk resets a password, and the management session opens by itself."""

import re

import pytest
from playwright.async_api import expect

from sandbox.faults import Delay, Rule
from sandbox.world import World
from tests.browser.conftest import OpenScreen
from tests.browser.screen import button
from tests.browser.session import turn_session

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

PASSWORD = re.compile(r"[A-Z][a-z]+-[A-Z][a-z]+-[A-Z][a-z]+-\d{4}")


async def test_the_help_desk_resets_a_password_from_the_command_to_the_phone(
    world: World, open_screen: OpenScreen
) -> None:
    await turn_session(world, "off")
    olive = await open_screen("olive")

    await olive.say('/m365 reset-password adele@contoso.com --reason "locked out"')
    await expect(olive.heading("Reset a password")).to_be_visible()
    await expect(olive.heading("Adele Vance")).to_be_visible()
    for fact in (
        "adele@contoso.com",
        "Department\nSales",
        "Manager\nMiriam Graham",
        "Office\nLeeds",
        "Last sign-in",
        "Comes from\nthe cloud",
    ):
        await expect(olive.form).to_contain_text(fact, use_inner_text=True)
    await expect(olive.form.get_by_label("Reason")).to_have_value("locked out")
    await olive.fill_in("How was the caller verified?", "Called back on the number on file")
    # Two seconds of Microsoft's, to be seen at work.
    slowly = world.faults.add(Rule("graph", "PATCH", "/users/*", Delay(2.0)))
    await button(olive.form, "Reset the password of Adele Vance, Sales").click()
    await expect(olive.form).to_contain_text("on its way")
    await olive.close_form()

    card = olive.message("Resetting the password of Adele Vance")
    await expect(card).to_contain_text(re.compile(r"[█░]{14} \d of \d steps"))
    done = olive.message("The password of Adele Vance was reset")
    await expect(done).to_contain_text("Asked by Olive Hart")
    await expect(done).to_contain_text("Reason: locked out")
    world.faults.remove(slowly)

    await button(done, "2 replies").click()
    steps = olive.thread.get_by_role("listitem")
    await expect(steps).to_have_count(6)
    for step, words in enumerate(
        (
            "Management session was off: opening it with the service account",
            "Reading the credential from Key Vault",
            "Signing in",
            "Management session on until",
            "Resetting the password of Adele Vance",
            "Reading it back",
        )
    ):
        await expect(steps.nth(step)).to_contain_text(words)
        await expect(steps.nth(step)).to_contain_text("Done")
    closing = olive.reply("@Olive Hart", "Done.", "The password of Adele Vance was reset")

    await button(closing, "Reveal once").click()
    await expect(olive.heading("Shown once")).to_be_visible()
    await expect(olive.form).to_contain_text("To read it out")
    found = PASSWORD.search(await olive.form.inner_text())
    assert found is not None
    password = found.group()
    assert world.directory.password_of("adele@contoso.com") == password
    await expect(olive.form).to_contain_text(f"{password[0]}   capital ", use_inner_text=True)
    await expect(olive.form).to_contain_text("-   hyphen", use_inner_text=True)

    await button(olive.form, "I have it").click()
    await expect(olive.form).to_be_hidden()
    await expect(closing).to_contain_text("Revealed to Olive Hart")
    await expect(olive.page.get_by_role("button").filter(has_text="Reveal once")).to_have_count(0)
    assert password not in await olive.page.content()
    assert password not in world.slack.history_text()


async def test_a_password_is_shown_to_nobody_else_and_not_twice(world: World, open_screen: OpenScreen) -> None:
    await turn_session(world, "on")
    olive, ana = await open_screen("olive"), await open_screen("ana")
    card = await olive.reset("pradeep@contoso.com", "Pradeep Gupta, Finance")
    seen_by_ana = ana.message("The password of Pradeep Gupta was reset")

    await button(seen_by_ana, "Reveal once").click()
    await expect(ana.form).to_contain_text("only Olive Hart can")
    await ana.close_form()
    await button(card, "Reveal once").click()
    await expect(olive.form).to_contain_text(world.directory.password_of("pradeep@contoso.com"))
    await olive.close_form()

    for screen in (olive, ana):
        shown = screen.message("The password of Pradeep Gupta was reset")
        await expect(shown).to_contain_text("Revealed to Olive Hart")
        await expect(button(shown, "Reveal once")).to_have_count(0)
        assert world.directory.password_of("pradeep@contoso.com") not in await screen.page.content()


async def test_a_second_reset_is_one_message(world: World, open_screen: OpenScreen) -> None:
    await turn_session(world, "on")
    olive = await open_screen("olive")
    messages = olive.messages.get_by_role("article")
    before = await messages.count()

    card = await olive.reset("lee@contoso.com", "Lee Gu, Engineering")
    await expect(button(card, "Reveal once")).to_be_visible()

    await expect(messages).to_have_count(before + 1)
    await expect(card).to_contain_text("@Olive Hart")
    await expect(card.get_by_role("button").filter(has_text=re.compile("repl"))).to_have_count(0)
