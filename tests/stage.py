"""The whole bot in this process against the pretend world: real Bolt, MSAL, Azure SDKs and SQLite over loopback."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from bot.clock import SystemClock
from bot.config import Config, read_config
from bot.model import Author, IdentityKind, Mode, SlackUser
from bot.wiring import Latchkey, audit_key, latchkey, microsoft, storage
from sandbox.directory import SERVICE_ACCOUNT
from sandbox.slack import Message, RateLimits
from sandbox.world import Transport, World

T = TypeVar("T")

HELPDESK = "#helpdesk"
TEAM = "T0CONTOSO"

OPERATORS = (
    ("U0OLIVE001", "helpdesk", "olive"),
    ("U0AUDREY01", "auditor", "audrey"),
    ("U0VIC00001", "viewer", None),
    ("U0ANA00001", "tenant-admin", "ana"),
    ("U0BO000001", "tenant-admin", "bo"),
)
"""Slack user, role, and the part of their own account's name before the @ (None: no account is bound)."""

SHELL = Author(login="test")


@dataclass
class Stage:
    """A world, the bot in it, and how its people use it."""

    world: World
    config: Config
    bot: Latchkey

    async def until(self, look: Callable[[], T]) -> T:
        """What *look* gives once that is something; it is asked again after each change in Slack."""
        return await self.world.slack.until(look)

    async def ask(self, person: str, text: str, *, channel: str = HELPDESK) -> str:
        """Type a command and return the words that were said to *person* alone because of it."""
        before = len(self.world.slack.ephemerals(person))
        await self.world.slack.command(person, channel, text)
        said = await self.until(lambda: self.world.slack.ephemerals(person)[before:])
        return said[-1].visible_text

    async def form(self, person: str, text: str, button: str, *, channel: str = HELPDESK) -> None:
        """Type a command and wait until its form shows *button*."""
        await self.world.slack.command(person, channel, text)
        await self.until(lambda: f"[{button}]" in self.world.slack.modals(person)[-1].visible_text)

    async def reset(self, person: str, upn: str, whom: str) -> Message:
        """Reset a password to the end and return the card."""
        slack, button = self.world.slack, f"Reset the password of {whom}"
        before = len(slack.messages(HELPDESK))
        await self.form(person, f'/m365 reset-password {upn} --reason "locked out"', button)
        await slack.choose(person, "modal", "How was the caller verified?", "Called back on the number on file")
        await slack.click(person, "modal", button)
        return await self.card(before, "was reset")

    async def card(self, before: int, words: str) -> Message:
        """The card in the help desk's channel, after the first *before* messages, once it says *words*."""

        def found() -> Message | None:
            cards = [card for card in self.world.slack.messages(HELPDESK)[before:] if words in card.visible_text]
            return cards[-1] if cards else None

        card = await self.until(found)
        assert card is not None
        return card


@contextmanager
def environment(settings: Mapping[str, str]) -> Iterator[None]:
    """These settings, and no other `LATCHKEY_` or `AZURE_` ones, in this process's environment."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(("LATCHKEY_", "AZURE_")):
            del os.environ[name]
    os.environ.update(settings)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


async def set_up(config: Config, world: World, mode: Mode = Mode.ADVANCED) -> None:
    """What the command line does on a first installation, without a process for each step. Only in Advanced *mode* is
    there an account to work with."""
    clock = SystemClock()
    async with microsoft(config, clock) as ways, storage(config, clock, await audit_key(config, ways)) as store:
        for user, role, name in OPERATORS:
            slack = SlackUser(TEAM, user)
            if name:
                account = world.directory.user(f"{name}@contoso.com")
                await store.operators.bind(slack, account_id=account.id, upn=account.upn, name=account.name, by=SHELL)
            await store.operators.grant(slack, role, by=SHELL, reason="test")
        account = world.directory.user(SERVICE_ACCOUNT)
        settings = replace(
            await store.settings.current(),
            mode=mode,
            never_touch_group=world.directory.group("Latchkey never touch").id,
            ask_first_group=world.directory.group("Latchkey ask first").id,
        )
        if mode is Mode.ADVANCED:
            settings = replace(
                settings,
                identity_kind=IdentityKind.SERVICE_ACCOUNT,
                identity_id=account.id,
                identity_name=account.upn,
            )
        await store.settings.change(settings, by=SHELL, reason="test")


UNHURRIED = RateLimits(trigger_seconds=60.0)
"""A Slack that does not mind how long a busy machine takes to open a form; whoever is late says so otherwise."""


@asynccontextmanager
async def open_stage(
    folder: Path,
    *,
    transport: Transport = "socket",
    limits: RateLimits | None = None,
    mode: Mode = Mode.ADVANCED,
    callback: bool = False,
    paging: bool = False,
    **settings: str,
) -> AsyncIterator[Stage]:
    """A new world with a bot that was set up, connected. *settings* are further `LATCHKEY_` settings."""
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(
            World(transport=transport, state=folder, limits=limits or UNHURRIED, callback=callback, paging=paging)
        )
        further = {f"LATCHKEY_{name.upper()}": value for name, value in settings.items()}
        stack.enter_context(environment({**world.environment(), **further}))
        config = read_config()
        await set_up(config, world, mode)
        bot = await stack.enter_async_context(latchkey(config))
        if transport == "socket":
            await world.slack.connected(2)
        yield Stage(world, config, bot)
