"""What the Slack room needs of the others, as Protocols: inbox, outbox, a few reads, a search, and the worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from bot.model import Request, Session, SlackUser, Target
from bot.ports import Message


class Received(Protocol):
    """A delivery of Slack that is not done yet."""

    @property
    def key(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def payload(self) -> Mapping[str, Any]: ...


class Inbox(Protocol):
    """What Slack delivered, until it is done. Keys are kept for 24 hours, payloads only until the row is done."""

    async def receive(self, key: str, kind: str, payload: Mapping[str, Any]) -> bool:
        """Commit a delivery, durably. False if this key was received before: nothing is to be done then."""

    async def open(self) -> Sequence[Received]:
        """Deliveries that are not done, oldest first: what a process that died had acknowledged but not taken up."""

    async def done(self, key: str) -> None:
        """Forget the payload. Saying so twice, or of an unknown key, changes nothing."""


class Outgoing(Protocol):
    """A message that Slack does not show as it should yet."""

    @property
    def message(self) -> Message: ...

    @property
    def revision(self) -> int:
        """Grows each time the message is said again; what is reported as sent is a revision."""

    @property
    def final(self) -> bool:
        """Whether the request it is about has ended: such messages are sent before those about progress."""

    @property
    def channel(self) -> str | None:
        """Where it is to stand, once that was decided."""

    @property
    def ts(self) -> str | None:
        """Slack's id of it in `channel`, once it stands there; None for ephemeral ones, which cannot be edited."""

    @property
    def maybe_sent(self) -> bool:
        """An earlier sending had an unknown outcome: Slack may show it already."""

    @property
    def parent_channel(self) -> str | None: ...

    @property
    def parent_ts(self) -> str | None:
        """Where the message it belongs under stands; None while that has not been posted."""

    @property
    def reply_url(self) -> str | None:
        """Slack's `response_url` of the request, while it can still be used."""


class Outbox(Protocol):
    """What is still to be said in Slack. Each method is one durable transaction."""

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call *listener*, on the event loop, after every commit that puts something into the outbox."""

    async def pending(self, now: datetime) -> Sequence[Outgoing]:
        """Messages with a revision that is not sent and whose `after` has come, oldest first."""

    async def next_after(self, now: datetime) -> datetime | None:
        """When the next message that is held back may be posted."""

    async def placed(self, key: str, channel: str) -> None:
        """It was decided that the message stands in *channel*."""

    async def sent(self, key: str, revision: int, *, channel: str | None = None, ts: str | None = None) -> None:
        """Slack shows this revision, at *channel* and *ts* if it can be edited there."""

    async def maybe_sent(self, key: str) -> None:
        """The connection ended after the message had left: it may stand in Slack already."""

    async def failed(self, key: str, revision: int, why: str) -> None:
        """Slack will not take this revision, however often it is sent."""


class Rows(Protocol):
    """Reads that only the Home tab and `/m365 undo` need."""

    async def recent(self, slack: SlackUser, limit: int) -> Sequence[Request]:
        """This person's latest requests, newest first."""


class Search(Protocol):
    """What the lists of a form find. Only targets that this person may use this command on."""

    async def people(self, slack: SlackUser, command: str, typed: str) -> Sequence[Target]: ...

    async def groups(self, slack: SlackUser, command: str, typed: str) -> Sequence[Target]: ...

    async def licenses(self, slack: SlackUser, command: str, typed: str) -> Sequence[Target]: ...


class Worker(Protocol):
    def wake(self, request_id: str) -> None:
        """Go on with this request soon, in a task of the worker's."""


class CurrentSession(Protocol):
    @property
    def current(self) -> Session:
        """The management session as people see it."""


class Answers(Protocol):
    async def answer(self, request: Request) -> tuple[str, Mapping[str, Any]]:
        """The sentence and the data that answer an enquiry such as `help`."""
