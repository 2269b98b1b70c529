"""A browser for all tests of this package, a world with its bot for each module, and a page for each test."""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Dialog, Error, Request, async_playwright, expect

from sandbox.bot_process import BotProcess
from sandbox.play import prepare
from sandbox.slack import RateLimits
from sandbox.world import World
from tests.browser.screen import Screen

_NAMES = ("chromium", "chromium-browser", "google-chrome")

_ARGUMENTS = (
    "--no-sandbox",  # tests may run as root, in a container
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # whatever the browser itself may want elsewhere
)

_SECONDS = 45.0
"""How long a page may take to show something: many times what it takes, for a machine that is busy elsewhere."""

_PATIENT = RateLimits(
    dict.fromkeys(range(1, 6), 100_000), post_burst=10_000, posts_per_minute=100_000, trigger_seconds=_SECONDS
)
"""A Slack that does not mind what a whole module says in seconds, nor how long a busy machine takes for a form."""

OpenScreen = Callable[..., Awaitable[Screen]]


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where Chromium is. Without one, tests are skipped, unless a browser is required."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        missing = f"no Chromium on the path ({', '.join(_NAMES)})"
        if os.environ.get("LATCHKEY_BROWSER_REQUIRED") == "1":
            pytest.fail(f"{missing}, and LATCHKEY_BROWSER_REQUIRED=1")
        pytest.skip(missing)
    return found


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    expect.set_options(timeout=_SECONDS * 1000)
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=chromium, args=_ARGUMENTS)
        yield running
        await running.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def prepared(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished first installation, made once with the bot's own command line; every world gets a copy."""
    folder = tmp_path_factory.mktemp("prepared")
    await prepare(folder)
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A world whose bot is connected, shared by a module. Each test there has people of the tenant to itself."""
    folder = tmp_path_factory.mktemp("world") / "state"
    shutil.copytree(prepared, folder)
    async with World(state=folder, limits=_PATIENT) as opened:
        bot = BotProcess(opened.environment(), folder)
        opened.adopt(bot)
        try:
            await opened.start_bot()
            yield opened
        finally:
            await bot.stop()
        assert "Traceback" not in bot.log()


@pytest_asyncio.fixture(loop_scope="session")
async def open_screen(browser: Browser, world: World) -> AsyncIterator[OpenScreen]:
    """Opens the page as somebody, in a browser of their own: `open_screen("ana", color_scheme="dark")`.

    Further arguments are Playwright's for a new context. At the end of the test: nothing was asked of anywhere else,
    nothing raised, and no dialog of the browser's own appeared, as one would if a text had run as a script.
    """
    screens: list[Screen] = []
    elsewhere: list[str] = []
    trouble: list[str] = []

    def on_request(request: Request) -> None:
        if not request.url.startswith((f"{world.url}/", "data:")):
            elsewhere.append(request.url)

    def on_console(message: ConsoleMessage) -> None:
        # What a request was refused for is shown on the page; Chromium reports the status here as well.
        if message.type == "error" and not message.location["url"].startswith(f"{world.url}/api/"):
            trouble.append(message.text)

    def on_error(error: Error) -> None:
        trouble.append(str(error))

    async def on_dialog(dialog: Dialog) -> None:
        trouble.append(f"{dialog.type}: {dialog.message}")
        await dialog.dismiss()

    async def opened(person: str = "olive", **context_options: object) -> Screen:
        context = await browser.new_context(
            **{  # type: ignore[arg-type]  # passed on as they are: Playwright has forty of them
                "locale": "en-GB",
                "timezone_id": "Europe/London",
                "viewport": {"width": 1280, "height": 800},
                **context_options,
            }
        )
        context.set_default_timeout(_SECONDS * 1000)
        context.on("request", on_request)
        page = await context.new_page()
        page.on("console", on_console)
        page.on("pageerror", on_error)
        page.on("dialog", on_dialog)
        await page.goto(f"{world.url}/?as={person}")
        screen = Screen(page)
        screens.append(screen)
        await expect(screen.person).to_have_value(person)  # and with it, all there is for this person to see
        return screen

    yield opened
    for screen in screens:
        await screen.page.context.close()
    for person in world.slack.people:
        if world.slack.modal(person) is not None:
            await world.slack.close(person, everything=True)
    assert elsewhere == []
    assert trouble == []
