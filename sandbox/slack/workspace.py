"""The pretend Slack workspace as the rest of the sandbox, dialogues and tests use it."""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

from aiohttp import web

from sandbox.clock import WorldClock
from sandbox.faults import Faults, disturb
from sandbox.slack.content import CUT_AFTER
from sandbox.slack.courier import Courier
from sandbox.slack.files import Uploads
from sandbox.slack.hands import Hands, Where
from sandbox.slack.http_delivery import HttpDelivery
from sandbox.slack.limits import Limiter, RateLimits
from sandbox.slack.manifest import Manifest
from sandbox.slack.model import (
    Call,
    Channel,
    Delivery,
    File,
    Json,
    Message,
    NotOnScreen,
    Person,
    Record,
    SlackError,
    Values,
    View,
)
from sandbox.slack.payloads import Payloads
from sandbox.slack.reading import mentions
from sandbox.slack.screen import snapshot
from sandbox.slack.socket_mode import SocketMode
from sandbox.slack.state import State
from sandbox.slack.tickets import Tickets
from sandbox.slack.web_api import WebApi

_T = TypeVar("_T")
Place = Where | Literal["modal", "home"]
"""Where something is clicked: a message, a view, or the person's open modal or home by word."""


class SlackWorkspace:
    """A Slack workspace with one installed app, reached over HTTP and WebSocket under `/slack/`.

    `base_url` is where its routes are mounted, as `http://127.0.0.1:8000`; it may be set after the port is
    known, and before the app connects. With `transport="http"` set `bot_url`, too. People are addressed by
    short name (`olive`), id or `Person`; channels by `#name`, id or `Channel`; `dm` is the direct
    conversation with the bot. Waiting for the app takes real seconds; everything that expires, fills up or is
    retried goes by the world's clock.
    """

    def __init__(
        self,
        clock: WorldClock,
        faults: Faults,
        manifest: Mapping[str, Any],
        *,
        transport: Literal["socket", "http"] = "socket",
        base_url: str = "",
        limits: RateLimits | None = None,
    ) -> None:
        self.base_url = base_url
        self.bot_token = f"xoxb-{secrets.token_hex(12)}"
        self.signing_secret = secrets.token_hex(16)
        self.transport = transport
        self._refused: set[str] = set()
        self._state = State(clock.now)
        self.app_token = f"xapp-1-{self._state.app.id}-{secrets.token_hex(12)}"
        self._manifest = Manifest(manifest)
        if "files:read" not in self._manifest.scopes:
            self._refused.add("file_input")  # "File input element", usage info
        limits = limits or RateLimits()
        tickets = Tickets(clock.now, limits.trigger_seconds)
        self._payloads = Payloads(self._state, tickets, lambda: self.base_url)
        self.sockets = SocketMode(clock, faults, self._state.app.id, self._state.touch)
        self._http = HttpDelivery(clock, self.signing_secret)
        self._faults = faults
        self._uploads = Uploads(lambda: self.base_url)
        self._courier = Courier(self.sockets if transport == "socket" else self._http, clock)
        self._hands = Hands(self._state, self._manifest, self._payloads, self._courier, self._refused)
        self._api = WebApi(
            self._state,
            self._manifest,
            tickets,
            self._payloads,
            Limiter(limits, clock.now),
            faults,
            bot_token=self.bot_token,
            app_token=self.app_token,
            new_socket_url=self._new_socket_url,
            refused_blocks=self._refused,
            uploads=self._uploads,
        )

    def routes(self, app: web.Application) -> None:
        """Mount the workspace on an aiohttp application."""
        app.router.add_route("*", "/slack/api/{method}", self._api.handle)
        app.router.add_get("/slack/socket/{ticket}", self.sockets.handle)
        app.router.add_post("/slack/response/{token}", self._api.handle_response)
        app.router.add_post("/slack/upload/{ticket}", self._receive_file)
        app.router.add_get("/slack/files-pri/{key}/{name:.+}", self._api.handle_file)

    async def _receive_file(self, request: web.Request) -> web.StreamResponse:
        effect = self._faults.match("slack", "POST", f"/upload/{request.match_info['ticket']}")
        return await disturb(effect, request, lambda: self._uploads.receive(request))

    async def stop(self) -> None:
        """End every connection and every retry. The workspace does not come back."""
        await self._courier.close()
        await self.sockets.close()
        await self._http.close()

    def _new_socket_url(self) -> str:
        if self.transport != "socket" or not self.sockets.is_enabled:
            raise SlackError("access_denied")  # Socket Mode is switched off for the app
        scheme, _, rest = self.base_url.partition("://")
        return f"{'wss' if scheme == 'https' else 'ws'}://{rest}/slack/socket/{self.sockets.new_ticket()}"

    # Who, where, what.

    @property
    def team_id(self) -> str:
        """The workspace's id."""
        return self._state.team.id

    @property
    def bot_user(self) -> str:
        """The id of the bot's user."""
        return self._state.app.bot_user

    def person(self, person: str | Person) -> Person:
        """Somebody, as they are now. NotOnScreen lists the names there are."""
        return self._state.person(person)

    @property
    def people(self) -> tuple[Person, ...]:
        """Everybody, the bot's own user included."""
        return tuple(self._state.people.values())

    def channel(self, channel: str | Channel) -> Channel:
        """A conversation. NotOnScreen lists the names there are."""
        return self._state.channel(channel)

    def direct(self, person: str | Person) -> Channel:
        """Somebody's direct conversation with the bot."""
        return self._state.direct(self.person(person))

    def messages(self, channel: str | Channel) -> list[Message]:
        """What a channel shows to all, oldest first: no thread replies but those also sent to the channel."""
        return self._state.top_level(self.channel(channel))

    def thread(self, message: Message) -> list[Message]:
        """The replies under a message, oldest first."""
        return self._state.replies(self._state.channels[message.channel], message.thread_ts or message.ts)

    def ephemerals(self, person: str | Person, channel: str | Channel | None = None) -> list[Message]:
        """What only this person sees, oldest first; Slackbot's words about failed commands included."""
        return self._state.ephemerals(self.person(person), self.channel(channel) if channel else None)

    def message(self, channel: str | Channel, ts: str) -> Message | None:
        """A message by its id, thread replies and ephemeral ones included."""
        return self._state.message(self.channel(channel), ts)

    def files(self, person: str | Person) -> list[File]:
        """The files somebody can open, oldest first: name, title and content."""
        return [file for _, file in self._state.files(self.person(person))]

    def view(self, view_id: str) -> View | None:
        """An open modal, or a home, by its id."""
        return self._state.view(view_id)

    def modal(self, person: str | Person) -> View | None:
        """The modal in front of somebody."""
        return self._hands.top(self.person(person))

    def modals(self, person: str | Person) -> list[View]:
        """All modals somebody has open, from the bottom up."""
        return list(self._state.stacks.get(self.person(person).id, ()))

    def home(self, person: str | Person) -> View | None:
        """Somebody's App Home as last published."""
        return self._state.homes.get(self.person(person).id)

    def snapshot(self, person: str | Person) -> Json:
        """The workspace as somebody sees it, as JSON; see `screen.py`."""
        return snapshot(self._state, self.person(person))

    # What was.

    def calls(self, method: str | None = None) -> list[Call]:
        """The Web API calls seen, oldest first; posts to response URLs count as method `response_url`."""
        return [call for call in self._state.calls if method in (None, call.method)]

    @property
    def deliveries(self) -> list[Delivery]:
        """Everything that was sent to the app, or held back from it, oldest first."""
        return list(self._courier.deliveries)

    @property
    def history(self) -> list[Record]:
        """Every state that messages, ephemerals, homes and modals ever had."""
        return list(self._state.history)

    def history_text(self) -> str:
        """All text that was ever in a message, ephemeral message or home, block values and metadata included.

        Modals are left out: they are where secrets may be shown.
        """
        return "\n".join(
            text for record in self._state.history if record.kind != "modal" for text in _texts(record.content)
        )

    @staticmethod
    def mentions(message: Message) -> tuple[str, ...]:
        """Whom a message notifies, as `@U…`, `!channel`, `!here`, `!everyone` or `!subteam^…`."""
        return mentions(message.text, message.blocks)

    # What people do.

    async def command(self, person: str | Person, channel: str | Channel, text: str) -> Delivery:
        """Type a slash command, as `/m365 help`, and wait until the app acknowledged it or its time is over."""
        return await self._hands.command(self.person(person), self._here(person, channel), text)

    def say(self, person: str | Person, channel: str | Channel, text: str, thread: Message | None = None) -> Message:
        """Write an ordinary message, which the app is not told of."""
        return self._hands.say(self.person(person), self._here(person, channel), text[:CUT_AFTER], thread)

    async def click(
        self, person: str | Person, where: Place, label: str, value: str | None = None, beside: str = ""
    ) -> Delivery:
        """Press the button with this label (or action id), or the item of a "⋯" menu. A question is answered with yes.

        `beside` are words of the line it stands in, where several look alike. `value` forges what the button
        carries. NotOnScreen says what there is instead.
        """
        return await self._hands.click(self.person(person), self._on_screen(person, where), label, value, beside)

    async def choose(self, person: str | Person, where: Place, label: str, chosen: Any) -> Delivery | None:
        """Choose in a menu, tick a box or fill a field. None when the app hears of it with the form only.

        `label` is a field's label or placeholder (a part will do), an action id or a block id. `chosen` is an
        option's text or value, a list of them, an option as `options` returned it, a person, a channel, a
        text, a date, True for a lone checkbox, or a file: its path, or its name and content.
        """
        return await self._hands.choose(self.person(person), self._on_screen(person, where), label, chosen)

    async def fill(self, person: str | Person, values: Mapping[str, Any], view: View | None = None) -> None:
        """Fill fields of the open modal, as `choose` does, and leave it open."""
        await self._hands.fill(self.person(person), self._open(person, view), values)

    def hold(self, person: str | Person, where: Place, values: Values) -> None:
        """Put values as Slack reports them (block id, action id, value) into a surface, telling nobody.

        For a page whose own fields hold what was typed. NotOnScreen if a field is not there.
        """
        self._hands.hold(self.person(person), self._on_screen(person, where), values)

    async def options(self, person: str | Person, where: Place, label: str, typed: str) -> list[Json]:
        """What a menu offers once this is typed into it; the app is asked if the menu is an external one."""
        return await self._hands.options(self.person(person), self._on_screen(person, where), label, typed)

    async def submit(
        self, person: str | Person, values: Mapping[str, Any] | None = None, view: View | None = None
    ) -> Delivery:
        """Fill fields of the open modal, press its submit button, and do what the app answers.

        A form that is not complete is not sent: `ack.status` is `not_sent`, the view shows the errors.
        """
        return await self._hands.submit(self.person(person), self._open(person, view), values or {})

    async def close(self, person: str | Person, *, everything: bool = False) -> Delivery | None:
        """Close the modal in front, or with `everything` the stack; tells the app where `notify_on_close` is set."""
        return await self._hands.close(self.person(person), self._open(person, None), everything=everything)

    async def open_home(self, person: str | Person) -> View | None:
        """Open the bot's Home tab, and wait at most five seconds for the app to publish it anew."""
        return await self._hands.open_home(self.person(person))

    def _here(self, person: str | Person, channel: str | Channel) -> Channel:
        return self.direct(person) if channel == "dm" else self.channel(channel)

    def _on_screen(self, person: str | Person, where: Place) -> Where:
        if where == "modal":
            return self._open(person, None)
        if where == "home":
            home = self.home(person)
            if home is None:
                raise NotOnScreen(f"{self.person(person).name} has no home yet")
            return home
        if isinstance(where, str):
            raise NotOnScreen(f"{where!r} is neither 'modal' nor 'home'")
        return where

    def _open(self, person: str | Person, view: View | None) -> View:
        top = self.modal(person)
        if top is None or (view is not None and view is not top):
            raise NotOnScreen(f"{self.person(person).name} has no such modal in front")
        return top

    # What Slack does.

    async def redeliver(self, delivery: Delivery, *, same_envelope: bool = False) -> Delivery:
        """Deliver a payload once more, marked as a retry, and do what the app answers."""
        again = await self._courier.again(delivery, same_envelope=same_envelope)
        self._hands.settle(again)
        return again

    async def deliver(self, kind: Literal["slash_commands", "interactive", "events_api"], payload: Json) -> Delivery:
        """Deliver any payload, as forged as a test wants it."""
        delivery = await self._courier.send(kind, payload)
        self._hands.settle(delivery)
        return delivery

    async def event(self, event: Json) -> Delivery | None:
        """Tell the app of an event; retried until acknowledged. None if its manifest does not subscribe to it."""
        return await self._hands.event(event)

    def signed_request(self, payload: Json, at: float | None = None) -> tuple[bytes, dict[str, str]]:
        """Body and headers of the HTTP request with this payload, signed for a world time (default: now)."""
        return self._http.signed(payload, at)

    async def change_person(self, person: str | Person, **changes: Any) -> Person:
        """Change fields of somebody's account (`deleted=True`, `is_restricted=True`, …); sends user_change."""
        changed = self._state.change_person(self.person(person), changes)
        user = self._payloads.user(changed, self._manifest.scopes)
        await self.event({"type": "user_change", "user": user, "cache_ts": int(self._state.now())})
        return changed

    async def deactivate(self, person: str | Person) -> Person:
        """Close somebody's account, as a workspace admin does. Their own clicks may still be on the way."""
        return await self.change_person(person, deleted=True)

    async def reactivate(self, person: str | Person) -> Person:
        """Open somebody's account again."""
        return await self.change_person(person, deleted=False)

    async def share_channel(self, channel: str | Channel, *, shared: bool = True) -> None:
        """Share a channel with the partner workspace, or end that; sends channel_shared or channel_unshared."""
        found = self.channel(channel)
        found.is_ext_shared = shared
        self._state.touch()
        partner = next(team for team in self._state.teams if team != self.team_id)
        event: Json = {"channel": found.id, "is_ext_shared": shared}
        if shared:
            await self.event({"type": "channel_shared", "connected_team_id": partner, **event})
        else:
            await self.event({"type": "channel_unshared", "previously_connected_team_id": partner, **event})

    def archive(self, channel: str | Channel) -> None:
        """Archive a channel."""
        self.channel(channel).is_archived = True
        self._state.touch()

    def join(self, person: str | Person, channel: str | Channel) -> None:
        """Let somebody into a channel; `latchkey` is the bot, as after /invite."""
        self.channel(channel).members.add(self.person(person).id)
        self._state.touch()

    def leave(self, person: str | Person, channel: str | Channel) -> None:
        """Take somebody out of a channel."""
        self.channel(channel).members.discard(self.person(person).id)
        self._state.touch()

    def delete_message(self, message: Message) -> None:
        """Delete a message, as a workspace owner may."""
        self._state.delete(message)

    def refuses_block(self, block_type: str) -> None:
        """From now on treat this type of block or element as one Slack does not know (`invalid_blocks`)."""
        self._refused.add(block_type)

    def accepts_block(self, block_type: str) -> None:
        """Know this block type again."""
        self._refused.discard(block_type)

    @property
    def names_team_in_submissions(self) -> bool:
        """Whether `user.team_id` is part of view_submission and view_closed; Slack does not always send it."""
        return self._payloads.names_team_in_submissions

    @names_team_in_submissions.setter
    def names_team_in_submissions(self, names: bool) -> None:
        self._payloads.names_team_in_submissions = names

    @property
    def bot_url(self) -> str:
        """Where the app listens with `transport="http"`, without `/slack/events`."""
        return self._http.bot_url

    @bot_url.setter
    def bot_url(self, url: str) -> None:
        self._http.bot_url = url

    # Waiting.

    @property
    def bot_connected(self) -> int:
        """How many Socket Mode connections the app has open."""
        return self.sockets.connected

    async def connected(self, n: int = 1, timeout: float = 10.0) -> None:
        """Wait until the app has at least `n` connections open."""
        await self.until(lambda: self.bot_connected >= n, timeout)

    @property
    def version(self) -> int:
        """Grows with every change."""
        return self._state.version

    async def changed(self) -> None:
        """Wait until anything changes."""
        await self._state.changed()

    async def wait_newer(self, version: int, timeout: float) -> int:
        """Wait until `version` is over, or for so many real seconds; the version then."""
        try:
            async with asyncio.timeout(timeout):
                while self._state.version <= version:
                    await self._state.changed()
        except TimeoutError:
            pass  # nothing happened, which is an answer too
        return self._state.version

    async def until(self, predicate: Callable[[], _T], timeout: float = 45.0) -> _T:
        """Wait until `predicate` is true, looking after every change; what it returned.

        Something that is not there yet (LookupError) counts as not true yet. After so many real seconds:
        AssertionError with what the workspace looks like.
        """
        missing: LookupError | None = None

        def holds() -> _T | None:
            nonlocal missing
            try:
                return predicate()
            except LookupError as error:
                missing = error
                return None

        try:
            async with asyncio.timeout(timeout):
                while not (found := holds()):
                    await self._state.changed()
                return found
        except TimeoutError:
            if last := holds():
                return last
            why = f"\n(last: {missing})" if missing else ""
            raise AssertionError(f"not true within {timeout:g} s{why}\n{self.picture()}") from None

    def picture(self) -> str:
        """What the workspace looks like, in words: for somebody who reads why a test failed."""
        parts = [f"bot connections: {self.bot_connected}"]
        for channel in self._state.channels.values():
            messages = self._state.messages[channel.id][-4:]
            parts.extend(
                f"--- #{channel.name}{_where(message)} {self._state.name_of(message.user)}:\n{message.visible_text}"
                for message in messages
            )
        for person, stack in self._state.stacks.items():
            parts.extend(f"--- modal of {self._state.name_of(person)}:\n{view.visible_text}" for view in stack)
        parts.extend(f"--- delivery {d.kind} {d.ack.status} {d.ack.reason}" for d in self._courier.deliveries[-4:])
        parts.extend(f"--- call {c.method}: {c.answer.get('error', 'ok')}" for c in self._state.calls[-6:])
        return "\n".join(parts)


def _where(message: Message) -> str:
    return (" (in a thread)" if message.thread_ts else "") + (" (ephemeral)" if message.to else "")


def _texts(value: Any) -> list[str]:
    """Every text inside a JSON value."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for inner in value.values() for text in _texts(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in _texts(inner)]
    return []
