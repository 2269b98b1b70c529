"""The nouns of the pretend workspace: people, channels, messages, views, deliveries, calls."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

Json = dict[str, Any]
"""An object as it travels: Slack's payloads and blocks are kept as they were sent."""

Values = dict[str, dict[str, Json]]
"""What is filled in on a surface: block id, then action id, then the value as Slack reports it."""


class SlackError(Exception):
    """A Web API call that is refused: `code` is Slack's error code, `extra` goes into the answer as it is."""

    def __init__(self, code: str, **extra: Any) -> None:
        super().__init__(code)
        self.code = code
        self.extra = extra


class NotOnScreen(LookupError):
    """Somebody was told to use what is not there for them; the message says what is there instead."""


@dataclass(frozen=True)
class Team:
    """A workspace: ours, or one that shares a channel with it."""

    id: str
    name: str
    domain: str
    tz: str = "UTC"


@dataclass(frozen=True)
class App:
    """The installed app, and the bot user it acts as."""

    id: str
    bot_id: str
    bot_user: str
    verification_token: str  # Slack's old `token` field, still part of every payload


@dataclass(frozen=True)
class Person:
    """Somebody with an account in a workspace, or another app's bot user. `name` is how tests address them."""

    id: str
    name: str
    real_name: str
    team_id: str
    tz: str
    title: str = ""
    email: str = ""
    is_bot: bool = False
    is_restricted: bool = False
    is_ultra_restricted: bool = False
    is_stranger: bool = False
    deleted: bool = False


@dataclass(eq=False)
class Channel:
    """A conversation. It changes while a test looks at it: people join, it is archived or shared."""

    id: str
    name: str
    members: set[str]
    is_private: bool = False
    is_im: bool = False
    is_ext_shared: bool = False
    is_archived: bool = False

    @property
    def type(self) -> str:
        """What the `types` of conversations.list call it."""
        if self.is_im:
            return "im"
        return "private_channel" if self.is_private else "public_channel"

    @property
    def payload_name(self) -> str:
        """Its name in a payload, which keeps the names of private conversations to itself."""
        if self.is_im:
            return "directmessage"
        return "privategroup" if self.is_private else self.name


@dataclass(frozen=True)
class File:
    """A file somebody shared. Slack keeps it: `content` belongs to what must never hold a secret."""

    id: str
    name: str
    title: str
    mimetype: str
    content: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """Its content as text; what is no UTF-8 shows as replacement characters."""
        return self.content.decode(errors="replace")


class Reader(Protocol):
    """Turns blocks into what a person reads; see `reading.py`."""

    def blocks(self, blocks: list[Json], values: Values | None = None) -> str:
        """The text of blocks, one line per thing."""

    def mrkdwn(self, text: str) -> str:
        """A marked-up text as it is displayed."""


@dataclass(eq=False)
class Message:
    """A message as it is now. One object per message: it changes when the message is edited or deleted."""

    channel: str
    ts: str
    user: str
    text: str
    blocks: list[Json]
    reader: Reader = field(repr=False)
    thread_ts: str | None = None
    broadcast: bool = False  # a reply that is also shown in the channel
    to: str | None = None  # an ephemeral message: the only one who sees it
    metadata: Json | None = None
    edited: bool = False  # carries the "(edited)" flag
    deleted: bool = False
    values: dict[str, Values] = field(default_factory=dict, repr=False)  # by person
    files: tuple[File, ...] = ()

    @property
    def is_ephemeral(self) -> bool:
        """Whether only one person sees it."""
        return self.to is not None

    @property
    def visible_text(self) -> str:
        """Everything a reader sees: its blocks, labels of buttons in [brackets]; its text if it has none; its files."""
        if self.deleted:
            return "This message was deleted."
        words = self.reader.blocks(self.blocks) if self.blocks else self.reader.mrkdwn(self.text)
        return "\n".join(filter(None, (words, *(file.title for file in self.files))))


@dataclass(eq=False)
class View:
    """A modal or an App Home as one person sees it. `definition` is what the app sent, with ids filled in."""

    id: str
    person: str
    definition: Json
    hash: str
    root_id: str
    reader: Reader = field(repr=False)
    previous_id: str | None = None
    values: Values = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)  # block id: what is wrong with its input
    notice: str = ""  # what Slack itself says about a failed interaction
    is_open: bool = True

    @property
    def type(self) -> str:
        """`modal` or `home`."""
        return str(self.definition["type"])

    @property
    def blocks(self) -> list[Json]:
        """Its blocks."""
        blocks: list[Json] = self.definition["blocks"]
        return blocks

    def words(self, part: str) -> str:
        """The text of `title`, `submit` or `close`; empty if the view has none."""
        return str((self.definition.get(part) or {}).get("text", ""))

    @property
    def visible_text(self) -> str:
        """Everything its person sees: title, blocks with what is filled in, errors, buttons in [brackets]."""
        footer = " ".join(f"[{word}]" for word in (self.words("close"), self.words("submit")) if word)
        lines = (
            self.words("title"),
            self.notice,
            self.reader.blocks(self.blocks, self.values),
            *self.errors.values(),
            footer,
        )
        return "\n".join(line for line in lines if line)


class AckStatus(StrEnum):
    """How a delivery ended."""

    PENDING = "pending"
    OK = "ok"
    TIMEOUT = "timeout"  # not acknowledged within three seconds
    UNDELIVERED = "undelivered"  # no connection to the app
    REFUSED = "refused"  # over HTTP: answered, but not with 200
    INVALID = "invalid"  # acknowledged with something Slack cannot use; `reason` says what
    NOT_SENT = "not_sent"  # Slack's own client stopped it; `reason` is what the person is told


@dataclass(frozen=True)
class Ack:
    """The app's answer to a delivery. `body` is what came with it, `seconds` how long it took."""

    status: AckStatus
    body: Json | None = None
    reason: str = ""
    seconds: float = 0.0


@dataclass(eq=False)
class Delivery:
    """A payload on its way to the app, with the answer to its latest attempt in `ack`.

    `kind` is Slack's word for it: `slash_commands`, `interactive` or `events_api`. `attempts` holds the
    answer to each attempt; only events are attempted more than once.
    """

    kind: str
    payload: Json
    ack: Ack = Ack(AckStatus.PENDING)
    envelope_id: str = ""
    attempts: list[Ack] = field(default_factory=list)

    @property
    def trigger_id(self) -> str:
        """What opens a modal, for three seconds; empty if the payload has none."""
        return str(self.payload.get("trigger_id", ""))

    @property
    def response_url(self) -> str:
        """Where answers go, five times within half an hour; empty if the payload has none."""
        return str(self.payload.get("response_url", ""))


@dataclass(frozen=True)
class Call:
    """A Web API call the workspace has seen, and the answer it gave. `at` is the world's time."""

    method: str
    arguments: Mapping[str, Any]
    answer: Mapping[str, Any]
    at: float

    @property
    def ok(self) -> bool:
        """Whether it was granted."""
        return bool(self.answer.get("ok"))


@dataclass(frozen=True)
class Record:
    """One state something ever had. `kind` is `message`, `ephemeral`, `home` or `modal`."""

    kind: str
    at: float
    channel_or_person: str
    content: Mapping[str, Any]
