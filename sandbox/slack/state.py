"""What the workspace remembers: people, channels, messages, views, and every state they ever had."""

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from mimetypes import guess_type
from pathlib import Path
from typing import Any

import yaml

from sandbox.slack.blocks import with_ids
from sandbox.slack.controls import controls, starting_value
from sandbox.slack.model import (
    App,
    Call,
    Channel,
    File,
    Json,
    Message,
    NotOnScreen,
    Person,
    Record,
    SlackError,
    Team,
    Values,
    View,
)
from sandbox.slack.reading import BlockReader

SLACKBOT = "USLACKBOT"
"""Who speaks when Slack itself has something to say."""

_DATA = Path(__file__).parent.parent / "data" / "workspace.yaml"
_STACK = 3


class State:
    """The workspace's memory. Every change raises `version` and wakes whoever waits in `changed`."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.version = 0
        self._change = asyncio.Event()
        data = yaml.safe_load(_DATA.read_text(encoding="utf-8"))
        self.team = Team(**data["team"])
        self.teams = {self.team.id: self.team} | {
            key: Team(id=key, **fields) for key, fields in data["partners"].items()
        }
        self.app = App(**data["app"])
        self.people = {person.id: person for person in self._people(data["people"])}
        self.channels = {channel.id: channel for channel in self._channels(data["channels"])}
        self.messages: dict[str, list[Message]] = defaultdict(list)
        self.stacks: dict[str, list[View]] = defaultdict(list)
        self.homes: dict[str, View] = {}
        self.handed_over: dict[str, File] = {}
        self.calls: list[Call] = []
        self.history: list[Record] = []
        self._last_ts = 0
        self.reader = BlockReader(self.name_of, now, self.team.tz)

    def _people(self, rows: list[Json]) -> Iterator[Person]:
        for row in rows:
            yield Person(**{"team_id": self.team.id, "tz": self.team.tz, **row})

    def _channels(self, rows: list[Json]) -> Iterator[Channel]:
        named = {person.name: person.id for person in self.people.values()}
        internal = {
            person.id for person in self.people.values() if person.team_id == self.team.id and not person.is_bot
        }
        for row in rows:
            listed = row.pop("members")
            members = {named[member] for member in listed if member != "internal"}
            yield Channel(members=members | internal if "internal" in listed else members, **row)

    # Who and where.

    def person(self, name_or_id: "str | Person") -> Person:
        """The person as they are now, by short name or id. NotOnScreen lists the names."""
        key = name_or_id.id if isinstance(name_or_id, Person) else name_or_id.removeprefix("@")
        for person in self.people.values():
            if key in (person.id, person.name):
                return person
        raise NotOnScreen(f"nobody is called {key!r}; there are: {', '.join(p.name for p in self.people.values())}")

    def channel(self, name_or_id: "str | Channel") -> Channel:
        """The channel by `#name`, name or id. NotOnScreen lists the names."""
        if isinstance(name_or_id, Channel):
            return name_or_id
        key = name_or_id.removeprefix("#")
        for channel in self.channels.values():
            if key in (channel.id, channel.name):
                return channel
        there = ", ".join(f"#{c.name}" for c in self.channels.values() if not c.is_im)
        raise NotOnScreen(f"no channel is called {name_or_id!r}; there are: {there}")

    def direct(self, person: Person) -> Channel:
        """The direct conversation of a person with the bot, begun if there was none."""
        channel_id = direct_id(person)
        if channel_id not in self.channels:
            members = {person.id, self.app.bot_user}
            self.channels[channel_id] = Channel(channel_id, f"dm-{person.name}", members, is_im=True)
            self.touch()
        return self.channels[channel_id]

    def name_of(self, key: str) -> str:
        """How a user or channel id is displayed; an id that means nothing stays as it is."""
        if key in self.people:
            return self.people[key].real_name
        return self.channels[key].name if key in self.channels else key

    def bot_is_in(self, channel: Channel) -> bool:
        """Whether the bot is a member."""
        return self.app.bot_user in channel.members

    def change_person(self, person: Person, changes: Mapping[str, Any]) -> Person:
        """The same person with some fields changed."""
        changed = replace(person, **changes)
        self.people[person.id] = changed
        self.touch()
        return changed

    # Change.

    def touch(self) -> None:
        """Say that something has changed."""
        self.version += 1
        change, self._change = self._change, asyncio.Event()
        change.set()

    async def changed(self) -> None:
        """Wait until something changes."""
        await self._change.wait()

    def next_ts(self) -> str:
        """A message's id: its time, later than any before."""
        self._last_ts = max(int(self.now() * 1_000_000), self._last_ts + 1)
        return f"{self._last_ts // 1_000_000}.{self._last_ts % 1_000_000:06d}"

    def _record(self, kind: str, where: str, content: Json) -> None:
        self.history.append(Record(kind, self.now(), where, deepcopy(content)))
        self.touch()

    def saw_call(self, call: Call) -> None:
        """Remember a Web API call."""
        self.calls.append(call)
        self.touch()

    # Messages.

    def post(
        self,
        channel: Channel,
        user: str,
        text: str,
        blocks: list[Json],
        *,
        thread_ts: str | None = None,
        broadcast: bool = False,
        to: str | None = None,
        metadata: Json | None = None,
        files: tuple[File, ...] = (),
    ) -> Message:
        """Put a message into a channel; `to` makes it ephemeral."""
        message = Message(
            channel.id,
            self.next_ts(),
            user,
            text,
            with_ids(blocks),
            self.reader,
            thread_ts=thread_ts,
            broadcast=broadcast,
            to=to,
            metadata=metadata,
            files=files,
        )
        self.messages[channel.id].append(message)
        self._record_message(message)
        return message

    def edit(self, message: Message, text: str, blocks: list[Json], metadata: Json | None) -> None:
        """Give a message new content. What people had filled in stays where the ids are the same."""
        message.text, message.blocks = text, with_ids(blocks)
        message.edited = not blocks  # with blocks Slack shows no "(edited)"
        if metadata is not None:
            message.metadata = metadata
        message.values = {person: kept_values(message.blocks, values) for person, values in message.values.items()}
        self._record_message(message)

    def delete(self, message: Message) -> None:
        """Take a message away; a parent whose thread goes on leaves a tombstone."""
        message.deleted = True
        message.text, message.blocks, message.files = "", [], ()
        replies = any(m.thread_ts == message.ts and not m.deleted for m in self.messages[message.channel])
        if not replies:
            self.messages[message.channel].remove(message)
        self.touch()

    def _record_message(self, message: Message) -> None:
        content = {
            "ts": message.ts,
            "user": message.user,
            "text": message.text,
            "blocks": message.blocks,
            "metadata": message.metadata,
            "visible_text": message.visible_text,
            "files": [{"name": file.name, "title": file.title, "text": file.text} for file in message.files],
        }
        self._record("ephemeral" if message.is_ephemeral else "message", message.channel, content)

    def message(self, channel: Channel, ts: str) -> Message | None:
        """The message with this id, ephemeral ones included."""
        return next((m for m in self.messages[channel.id] if m.ts == ts), None)

    def top_level(self, channel: Channel) -> list[Message]:
        """What the channel shows to everybody, oldest first: no replies but those that were also sent there."""
        return [m for m in self.messages[channel.id] if not m.is_ephemeral and (m.thread_ts is None or m.broadcast)]

    def replies(self, channel: Channel, ts: str) -> list[Message]:
        """The thread under a message, oldest first, without the message itself."""
        return [m for m in self.messages[channel.id] if m.thread_ts == ts and not m.is_ephemeral]

    def ephemerals(self, person: Person, channel: Channel | None) -> list[Message]:
        """What only this person sees, oldest first."""
        return sorted(
            (
                m
                for messages in self.messages.values()
                for m in messages
                if m.to == person.id and (channel is None or m.channel == channel.id)
            ),
            key=lambda m: m.ts,
        )

    def files(self, person: Person) -> list[tuple[Message, File]]:
        """The files this person can open, each with its message, oldest first."""
        there = [
            (message, file)
            for channel in self.channels.values()
            if person.id in channel.members
            for message in self.messages[channel.id]
            if message.to in (None, person.id)
            for file in message.files
        ]
        return sorted(there, key=lambda found: found[0].ts)

    def hand_over(self, name: str, content: bytes) -> File:
        """A file that somebody puts into a form: the app may read it, and it is in no conversation."""
        kind = guess_type(name)[0] or "application/octet-stream"
        file = File(f"F0{secrets.token_hex(5).upper()}", name, name, kind, content)
        self.handed_over[file.id] = file
        self.touch()
        return file

    def readable(self, file_id: str) -> File | None:
        """The file with this id, if the app can see it."""
        shared = {
            file.id: file
            for channel in self.channels.values()
            if self.bot_is_in(channel)
            for message in self.messages[channel.id]
            for file in message.files
        }
        return self.handed_over.get(file_id) or shared.get(file_id)

    # Views.

    def view(self, view_id: str) -> View | None:
        """The open modal, or the home, with this id."""
        everywhere = (view for stack in self.stacks.values() for view in stack)
        return next((v for v in (*everywhere, *self.homes.values()) if v.id == view_id), None)

    def open_modal(self, person: Person, definition: Json, *, on_top: bool) -> View:
        """Open a modal, above the ones there are or in place of them. SlackError `push_limit_reached` after three."""
        if not on_top:
            self.clear_modals(person)
        stack = self.stacks[person.id]
        if len(stack) >= _STACK:
            raise SlackError("push_limit_reached")
        view = self._new_view(person, definition)
        if stack:
            view.root_id, view.previous_id = stack[0].id, stack[-1].id
        stack.append(view)
        self._record("modal", person.id, view.definition)
        return view

    def redefine(self, view: View, definition: Json) -> None:
        """Show other content in an open view. What was filled in stays where block and action ids are the same."""
        view.definition = {**definition, "blocks": with_ids(definition["blocks"])}
        view.values = kept_values(view.blocks, view.values)
        view.hash = self._hash()
        view.errors, view.notice = {}, ""
        self._record(view.type, view.person, view.definition)

    def close_modal(self, view: View) -> None:
        """Close a modal; the one below it shows again."""
        view.is_open = False
        self.stacks[view.person] = [v for v in self.stacks[view.person] if v is not view]
        self.touch()

    def clear_modals(self, person: Person) -> None:
        """Close everything a person has open."""
        for view in self.stacks.pop(person.id, []):
            view.is_open = False
        self.touch()

    def publish_home(self, person: Person, definition: Json) -> View:
        """Show this on a person's App Home."""
        home = self.homes.get(person.id)
        if home is None:
            home = self.homes[person.id] = self._new_view(person, definition)
            self._record("home", person.id, home.definition)
        else:
            self.redefine(home, definition)
        return home

    def _new_view(self, person: Person, definition: Json) -> View:
        view_id = f"V0{secrets.token_hex(5).upper()}"
        blocks = with_ids(definition["blocks"])
        return View(
            view_id,
            person.id,
            {**definition, "blocks": blocks},
            self._hash(),
            view_id,
            self.reader,
            values=kept_values(blocks, {}),
        )

    def _hash(self) -> str:
        return f"{self.next_ts()}.{secrets.token_hex(4)}"


def direct_id(person: Person) -> str:
    """The id of a person's conversation with the bot, begun or not."""
    return f"D0{person.id[2:]}"


def kept_values(blocks: list[Json], before: Values) -> Values:
    """The state of these blocks: what was filled in under the same ids, the initial values elsewhere."""
    values: Values = {}
    for control in controls(blocks):
        if control.holds_state:
            old = before.get(control.block_id, {}).get(control.action_id)
            keeps = old is not None and old["type"] == control.type
            values.setdefault(control.block_id, {})[control.action_id] = (
                old if old is not None and keeps else starting_value(control.element)
            )
    return values
