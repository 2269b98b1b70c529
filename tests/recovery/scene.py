"""A world and a bot in a process of its own that can be killed, and how its people go on afterwards."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from bot.config import read_config
from bot.model import Mode, RequestState
from bot.road import Point
from sandbox.bot_process import BotCommandError, BotProcess
from sandbox.graph import GraphRequest
from sandbox.slack import Message
from sandbox.slack.controls import controls
from sandbox.slack.model import View
from sandbox.world import World
from tests.stage import HELPDESK, environment, set_up

T = TypeVar("T")

PATIENCE = 90.0
"""Real seconds after which something that did not come true will not."""


@dataclass(frozen=True)
class Row:
    """A request as the database has it."""

    id: str
    state: RequestState
    due_at: str | None
    details: dict[str, Any]

    @property
    def answer(self) -> dict[str, Any]:
        return dict(self.details["answer"])

    def seconds_to_go(self, now: float) -> float:
        """How long until it is due."""
        return datetime.fromisoformat(self.due_at).timestamp() - now if self.due_at else 0.0


class Scene:
    """One world, its bot's database, and the bot while it lives."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._bot: BotProcess | None = None

    @property
    def bot(self) -> BotProcess:
        assert self._bot is not None
        return self._bot

    # --- lives and deaths ---------------------------------------------------------------------------------------------

    async def start(self, *, kill_at: Point | None = None, times: int = 1) -> None:
        """Start the bot and wait until Slack can deliver; with *kill_at* it will kill itself when it has passed there
        so many *times*, which may be before Slack can deliver: what it finds half done it goes on with at once."""
        further = {"LATCHKEY_SANDBOX_KILL_AT": f"{kill_at.name}:{times}"} if kill_at else {}
        bot = self._bot = BotProcess({**self.world.environment(), **further}, self.world.state)
        self.world.adopt(bot)
        try:
            await self.world.start_bot()
        except BotCommandError:
            if kill_at is None or bot.exit_code != -9:
                raise

    async def stop(self) -> None:
        """Ask the bot to end."""
        if self._bot is not None:
            await self._bot.stop()

    async def death(self) -> None:
        """Wait until the bot has killed itself."""
        await self.until(lambda: self.bot.state == "died")
        assert self.bot.exit_code == -9, self.bot.log()[-3000:]

    # --- looking ------------------------------------------------------------------------------------------------------

    async def until(self, look: Callable[[], T], timeout: float = PATIENCE) -> T:
        """What *look* gives once that is something; asked again after each change in the world, and now and then."""
        deadline = time.monotonic() + timeout
        while True:
            change = self.world.changes.next()
            with suppress(LookupError):
                if found := look():
                    return found
            assert time.monotonic() < deadline, self._picture()
            with suppress(TimeoutError):  # the database tells nobody of its changes
                await asyncio.wait_for(change.wait(), 0.05)

    def rows(self) -> list[Row]:
        """All requests, oldest first."""
        with closing(sqlite3.connect(f"file:{self.world.database}?mode=ro", uri=True)) as connection:
            found = connection.execute("SELECT id, state, due_at, details FROM requests ORDER BY created_at, rowid")
            return [Row(id_, RequestState(state), due, json.loads(details)) for id_, state, due, details in found]

    def audited(self, kind: str) -> list[dict[str, Any]]:
        """The bodies of all audit rows of one kind, oldest first."""
        with closing(sqlite3.connect(f"file:{self.world.database}?mode=ro", uri=True)) as connection:
            found = connection.execute("SELECT body FROM audit WHERE kind = ? ORDER BY seq", (kind,))
            return [json.loads(body) for (body,) in found]

    def all_is_told(self) -> bool:
        """Whether the bot knows that Slack shows everything it has to say."""
        with closing(sqlite3.connect(f"file:{self.world.database}?mode=ro", uri=True)) as connection:
            (untold,) = connection.execute("SELECT count(*) FROM outbox WHERE wanted > sent").fetchone()
        return bool(untold == 0)

    def story(self, *, channel: str = HELPDESK) -> str:
        """All that stands in a channel, threads included."""
        slack = self.world.slack
        messages = [each for top in slack.messages(channel) for each in (top, *slack.thread(top))]
        return "\n".join(message.visible_text for message in messages)

    def graph_requests(self, since: int = 0) -> list[GraphRequest]:
        return self.world.graph.requests[since:]

    # --- going on -----------------------------------------------------------------------------------------------------

    async def end_of(self, number: int = -1) -> Row:
        """Let the world's time pass until a request has ended, and return it."""
        await self.until(self.rows)
        await self.passes_until(lambda: self.rows()[number].state.final)
        return self.rows()[number]

    async def passes_until(self, look: Callable[[], T]) -> T:
        """What *look* gives once that is something, while the world's time passes wherever the bot waits for it."""
        deadline = time.monotonic() + PATIENCE
        while not (found := look()):
            assert time.monotonic() < deadline, self._picture()
            rows = self.rows()
            under_way = [row for row in rows if not row.state.final and row.due_at is None]
            second_looks = [
                row.seconds_to_go(self.world.clock.now()) for row in rows if row.state is RequestState.UNKNOWN
            ]
            if not under_way and min(second_looks, default=0.0) > 0:
                self.world.clock.advance(min(second_looks) + 1)
            elif not await self._changes(rows) and (under_way or second_looks):
                self.world.clock.advance(10)  # it reads back, for a minute, or waits for a Microsoft that is away
        return found

    async def _changes(self, rows: list[Row]) -> bool:
        """Whether any row changes within a moment."""
        try:
            return await self.until(lambda: rows != self.rows(), 0.15)
        except AssertionError:
            return False

    def _picture(self) -> str:
        log = self._bot.log()[-3000:] if self._bot else ""
        return f"{self.world.slack.picture()}\n{self.rows()[-3:]}\n{log}"

    async def press(self, person: str, label: str) -> None:
        """Press a button wherever *person* sees it first: in a form, in private, in the channel or its threads."""
        where = await self.until(lambda: self._with_button(person, label))
        assert where is not None
        await self.world.slack.click(person, where, label)

    def _with_button(self, person: str, label: str) -> Message | View | None:
        slack = self.world.slack
        places: list[Message | View] = [*reversed(slack.modals(person)), *reversed(slack.ephemerals(person))]
        for place in (*places, *self._messages()):
            if any(label in control.names for control in controls(place.blocks)):
                return place
        return None

    def _messages(self) -> list[Message]:
        slack = self.world.slack
        stories = [[top, *slack.thread(top)] for top in reversed(slack.messages(HELPDESK))]
        return [message for story in stories for message in story]

    async def form_filled(self, person: str, button: str) -> None:
        """Wait until the form shows *button*; where it could not be opened in time, by way of *Continue*."""
        slack = self.world.slack

        def there() -> str:
            views = slack.modals(person)
            if views and f"[{button}]" in views[-1].visible_text:
                return "form"
            return "continue" if not views and self._with_button(person, "Continue") else ""

        if not slack.modals(person):
            self.world.clock.advance(6)  # *Continue* waits some seconds for a form that may still open
        if await self.until(there) == "continue":
            await self.press(person, "Continue")
            await self.until(lambda: there() == "form")


@asynccontextmanager
async def open_scene(folder: Path, mode: Mode = Mode.ADVANCED) -> AsyncIterator[Scene]:
    """A new world in which the bot is set up, and does not run yet."""
    async with World(state=folder) as world:
        with environment(world.environment()):
            await set_up(read_config(), world, mode)
        scene = Scene(world)
        try:
            yield scene
        finally:
            await scene.stop()
