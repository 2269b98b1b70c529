"""The page as the person before it sees it: found by roles, labels and words, as one would look for things."""

from __future__ import annotations

from playwright.async_api import Locator, Page, expect

_TOO_WIDE = """(width) => [...document.querySelectorAll("html, body *")]
  .filter((element) => element.checkVisibility() && !element.closest(".table, .tabs"))
  .filter((element) => {
    const scrolls = element.matches("html") || ["auto", "scroll"].includes(getComputedStyle(element).overflowX);
    return scrolls && (element.scrollWidth > element.clientWidth || element.clientWidth > width);
  })
  .map((element) => `${element.localName}#${element.id}.${element.className}: ${element.scrollWidth}`)"""
"""Wide tables and the row of tabs scroll by themselves; nothing else should."""


class Screen:
    """What is on one screen, and what one does there."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.person = page.get_by_label("You are")
        self.channels = page.get_by_role("navigation", name="Channels and apps")
        self.message_box = page.get_by_role("combobox", name="Message")
        self.messages = page.get_by_role("log", name="Messages")
        self.thread = page.get_by_role("complementary", name="Thread")
        self.replies = page.get_by_role("log", name="Replies")
        self.home = page.get_by_role("region", name="App Home")
        self.world = page.get_by_role("region", name="Break things and time")
        self.toasts = page.get_by_role("alert")
        self.form = page.get_by_role("dialog")

    # Looking.

    def message(self, *words: str) -> Locator:
        """The last message of the channel with all these words."""
        return _with(self.messages.get_by_role("article"), words).last

    def reply(self, *words: str) -> Locator:
        """The last message of the open thread with all these words."""
        return _with(self.replies.get_by_role("article"), words).last

    def heading(self, name: str) -> Locator:
        """The title of the open form."""
        return self.form.get_by_role("heading", name=name)

    async def too_wide(self) -> list[str]:
        """What is wider than the room there is: the page itself, or anything in it that was not made to scroll."""
        size = self.page.viewport_size
        assert size is not None
        found: list[str] = await self.page.evaluate(_TOO_WIDE, size["width"])
        return found

    # Doing.

    async def become(self, person: str) -> None:
        """Be somebody else: `person` is their short name."""
        await self.person.select_option(person)
        await expect(self.page).to_have_title(f"{(await self._person_named(person))} · Latchkey sandbox")

    async def _person_named(self, person: str) -> str:
        words: str = await self.person.locator(f"option[value={person}]").inner_text()
        return words.partition(" – ")[0]

    async def go(self, place: str) -> None:
        """Open a channel, a conversation or the bot's home by its name, from the list of channels."""
        menu = self.page.get_by_role("button", name="Channels", exact=True)  # there on phones only
        if await menu.is_visible():
            await menu.click()
        await self.channels.get_by_role("button", name=place).click()

    async def say(self, text: str) -> None:
        """Type into the place that is open."""
        await self.message_box.fill(text)
        await self.message_box.press("Enter")

    async def fill_in(self, label: str, value: str) -> None:
        """Choose an option of a select in the open form, by its label."""
        await self.form.get_by_label(label).select_option(value)

    async def close_form(self) -> None:
        """Close the form with the button at its bottom."""
        await self.form.locator("footer").get_by_role("button").first.click()
        await expect(self.form).to_be_hidden()

    async def open_panel(self, tab: str) -> Locator:
        """Open the panel below at this tab and return what it shows."""
        opener = self.world.get_by_role("button", name="Break things")
        if await opener.get_attribute("aria-expanded") == "false":
            await opener.click()
        await self.world.get_by_role("tab", name=tab).click()
        return self.world.get_by_role("tabpanel", name=tab)

    async def close_panel(self) -> None:
        """Close the panel below."""
        await self.world.get_by_role("button", name="Break things").click()

    async def reset(self, account: str, whom: str, verified: str = "Called back on the number on file") -> Locator:
        """Reset a password to the end and return its message. `whom` is the person's name and department."""
        name = whom.partition(",")[0]
        await self.say(f'/m365 reset-password {account} --reason "locked out"')
        await self.fill_in("How was the caller verified?", verified)
        await button(self.form, f"Reset the password of {whom}").click()
        card = self.message(f"The password of {name} was reset")
        await expect(card).to_be_visible()
        await self.close_form()
        return card


def button(inside: Locator | Page, words: str) -> Locator:
    """The last button with these words on it, which is the newest; what a screen reader says may be more."""
    return inside.get_by_role("button").filter(has_text=words).last


def _with(found: Locator, words: tuple[str, ...]) -> Locator:
    for each in words:
        found = found.filter(has_text=each)
    return found
