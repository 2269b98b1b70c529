"""What the Slack room needs of the others, as Protocols: inbox, outbox, a few reads, a search, and the worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from bot.enquiries import Offered
from bot.model import Grant, Operator, Request, Role, Scope, Session, SettingsChange, SlackUser, Target
from bot.ports import Message, Operators, Settings
from bot.rotation_told import RotationNow


class Received(Protocol):
    """A delivery of Slack that is not done yet."""

    @property
    def key(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def payload(self) -> Mapping[str, Any]: ...


class Leavers(Protocol):
    """Lets go whoever has left."""

    async def look_at(self, slack: SlackUser) -> None:
        """Slack says that something about this person changed. Raises `CannotTell`."""


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


class Holding(Protocol):
    """An operator and the grants they hold now or held until one expired."""

    @property
    def operator(self) -> Operator: ...

    @property
    def grants(self) -> Sequence[Grant]: ...


class Staff(Operators, Protocol):
    """The operators, to be listed."""

    async def everyone(self) -> Sequence[Holding]: ...


class SettingsHistory(Settings, Protocol):
    """The settings, and how they came to be."""

    async def since(self, version: int) -> Sequence[SettingsChange]:
        """How they were changed after this version, oldest first."""


class Health(Protocol):
    """How the identities are that Latchkey works with."""

    async def bot_identity(self) -> str:
        """What is wrong with the one that only reads, in a sentence; empty if nothing is."""


class Rotation(Protocol):
    """How the rotation is of what the service identity signs in with."""

    async def now(self) -> RotationNow | None:
        """How it stands; None if that cannot be known soon."""


class Rows(Protocol):
    """Reads that only the Home tab and `/m365 undo` need."""

    async def recent(self, slack: SlackUser, limit: int) -> Sequence[Request]:
        """This person's latest requests, newest first."""

    async def awaiting_approval(self) -> Sequence[Request]:
        """Requests that wait for somebody else to agree, oldest first."""

    async def under_review(self) -> Sequence[Request]:
        """Requests that were agreed to alone and that nobody else has looked at since, oldest first."""

    async def under_way(self, action: str) -> Sequence[Request]:
        """Requests for this action that wait for an approval or are being carried out, oldest first."""


class Menus(Protocol):
    """What the menus of a form offer of Latchkey's own."""

    async def role_list(self) -> Sequence[Role]: ...

    async def scopes(self) -> Sequence[Scope]: ...


class Search(Protocol):
    """What the lists of a form find. Only targets that this person may use this command on."""

    async def people(self, slack: SlackUser, command: str, typed: str) -> Sequence[Target]: ...

    async def groups(self, slack: SlackUser, command: str, typed: str) -> Sequence[Target]: ...

    async def licenses(self, slack: SlackUser, command: str, typed: str) -> Sequence[Target]: ...


class Worker(Protocol):
    def wake(self, request_id: str) -> None:
        """Go on with this request soon, in a task of the worker's."""


class CurrentSession(Protocol):
    def current_for(self, operator_id: str | None) -> Session:
        """The management session that this operator would act through, as people see it."""


class Answers(Protocol):
    async def answer(self, request: Request) -> tuple[str, Mapping[str, Any]]:
        """The sentence and the data that answer an enquiry such as `help`."""

    async def offered(self, slack: SlackUser) -> Sequence[Offered]:
        """Every action, and why this person cannot have it done; empty if they can."""

    async def also(self, slack: SlackUser) -> Sequence[tuple[str, str]]:
        """What else this person may type, and what that does."""
