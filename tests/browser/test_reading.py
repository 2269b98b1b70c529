"""The page can be read by everybody: texts stand out from their ground by day and by night, controls have names."""

from typing import Literal

import pytest
from playwright.async_api import expect

from sandbox.world import World
from tests.browser.conftest import OpenScreen
from tests.browser.screen import Screen, button
from tests.browser.session import turn_session

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

ACCOUNTS = {
    "light": ("lee@contoso.com", "Lee Gu, Engineering"),
    "dark": ("alex@contoso.com", "Alex Wilber, Marketing"),
}

FAINT = """() => {
  const numbers = (color) => (color.match(/[\\d.]+/g) ?? []).map(Number);
  const over = ([r, g, b, a = 1], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a)];
  const ground = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      const color = numbers(getComputedStyle(at).backgroundColor);
      layers.push(color);
      if ((color[3] ?? 1) === 1) break;
    }
    return layers.reduceRight((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const light = (color) => {
    const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = color.map((part) => linear(part / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (ink, paper) => {
    const [one, other] = [light(over(ink, paper)), light(paper)];
    return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  };
  const found = [];
  const look = (words, element, pseudo) => {
    const paper = ground(element);
    const contrast = ratio(numbers(getComputedStyle(element, pseudo).color), paper);
    if (contrast < 4.5) found.push(`${contrast.toFixed(2)}: ${words.trim().slice(0, 60)}`);
  };
  const shown = (element) => element.checkVisibility({visibilityProperty: true, opacityProperty: true});
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    // Pictures of their own colours are no text, and clipped words are there to be heard only.
    if (!/[\\p{L}\\p{N}]/u.test(texts.currentNode.data) || !shown(element)) continue;
    if (getComputedStyle(element).clipPath !== "none" || element.closest("option, noscript")) continue;
    look(texts.currentNode.data, element);
  }
  for (const field of document.querySelectorAll("input:not([type=checkbox], [type=radio]), select, textarea")) {
    if (!shown(field)) continue;
    look(`value of ${field.id}`, field);
    if (field.placeholder) look(field.placeholder, field, "::placeholder");
  }
  return found;
}"""
"""Every visible text whose contrast to what is behind it is under 4.5 to 1, as WCAG 2.2 counts it (1.4.3)."""

NAMELESS = """() => [...document.querySelectorAll("button, input, select, textarea, a, [role=option], dialog")]
  .filter((control) => control.checkVisibility())
  .filter((control) => !(control.innerText?.trim() || control.ariaLabel || control.labels?.length
    || control.getAttribute("aria-labelledby")))
  .map((control) => control.outerHTML.slice(0, 120))"""
"""Every visible control that nothing names."""


async def is_readable(screen: Screen) -> None:
    assert await screen.page.evaluate(FAINT) == []
    assert await screen.page.evaluate(NAMELESS) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_text_stands_out_from_its_ground(
    world: World, open_screen: OpenScreen, scheme: Literal["light", "dark"]
) -> None:
    await turn_session(world, "off")
    olive = await open_screen("olive", color_scheme=scheme, reduced_motion="reduce")
    await is_readable(olive)

    card = await olive.reset(*ACCOUNTS[scheme])
    await button(card, "2 replies").click()
    await expect(olive.reply("@Olive Hart")).to_be_visible()
    await olive.say("/m365 can reset-password gary@contoso.com")
    await expect(olive.message("Only visible to you", "Global Administrator")).to_be_visible()
    await is_readable(olive)
    await button(card, "Reveal once").click()
    await expect(olive.form).to_contain_text("To read it out")
    await is_readable(olive)
    await button(olive.form, "I have it").click()

    await olive.message_box.press_sequentially("/m365")
    await is_readable(olive)
    await olive.say("/m365 reset-password")
    await expect(olive.heading("Reset a password")).to_be_visible()
    await button(olive.form, "Preview").click()
    await expect(olive.form.get_by_text("Please complete this required field.")).to_have_count(3)
    await is_readable(olive)
    await olive.form.get_by_role("combobox", name="Whom").press_sequentially("adele")
    await expect(olive.form.get_by_role("option", name="Adele Vance")).to_be_visible()
    await is_readable(olive)
    await olive.form.get_by_role("option", name="Adele Vance").click()
    await expect(button(olive.form, "Reset the password of Adele Vance, Sales")).to_be_visible()
    await is_readable(olive)
    await olive.close_form()

    for tab in ("Faults", "Time and bot", "What Microsoft saw", "Bot's log"):
        await expect(await olive.open_panel(tab)).not_to_be_empty()
        await is_readable(olive)
    await (await olive.open_panel("Time and bot")).get_by_role("button", name="Deliver the last one again").click()
    await expect(olive.toasts).to_contain_text("Delivered once more")
    await is_readable(olive)
    await olive.close_panel()
    await olive.go("Latchkey home")
    await expect(olive.home).to_contain_text("Your recent requests")
    await is_readable(olive)


async def test_the_newest_message_stays_in_sight(open_screen: OpenScreen) -> None:
    olive = await open_screen("olive", viewport={"width": 1280, "height": 700})
    for _ in range(2):
        await olive.say("/m365 help")
    last = olive.messages.get_by_role("article").last
    await expect(last).to_contain_text("Only visible to you")

    async def the_end_is_in_sight() -> None:
        end = "({scrollHeight, scrollTop, clientHeight}) => scrollHeight - scrollTop - clientHeight < 2"
        await olive.page.wait_for_function(f"list => ({end})(list)", arg=await olive.messages.element_handle())

    await olive.open_panel("Faults")
    await the_end_is_in_sight()
    before = await olive.messages.get_by_role("article").count()
    await olive.messages.evaluate("list => list.scrollTo(0, 0)")
    await olive.say("/m365 help")
    await expect(olive.messages.get_by_role("article")).to_have_count(before + 1)
    await the_end_is_in_sight()
