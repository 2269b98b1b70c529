"""What a person did in Slack, read once from the payload it came in, whatever kind that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bot.model import SlackUser


class Kind(StrEnum):
    """The kinds of deliveries there are."""

    COMMAND = "command"
    PRESS = "press"
    SUBMISSION = "submission"
    CLOSING = "closing"
    SEARCH = "search"
    EVENT = "event"


class Malformed(Exception):
    """A payload that is not of the shape Slack documents; the message says which part, never what it held."""


@dataclass(frozen=True)
class Gesture:
    """What somebody did, and where they will look for an answer.

    `actor` is the person's own team (not the team the app is installed in) and user id; None when the payload names no
    team for them. `delivery` is the inbox key. `value` is what a button carried, a list's chosen value, or what was
    typed into a search. `view` is the modal or Home it happened in.
    """

    kind: Kind
    name: str
    """The command, action id, callback id or event type."""
    user: str
    team: str | None
    delivery: str = ""
    channel: str = ""
    text: str = ""
    value: str = ""
    trigger: str = ""
    reply_url: str | None = None
    ephemeral: bool = False
    """It happened in a message that only the actor sees."""
    block: str = ""
    """The id of the block that was pressed."""
    view: Mapping[str, Any] = field(default_factory=dict)
    event: Mapping[str, Any] = field(default_factory=dict)

    @property
    def actor(self) -> SlackUser:
        return SlackUser(self.team or "", self.user)

    @property
    def modal(self) -> str | None:
        """The id of the modal it happened in."""
        return str(self.view["id"]) if self.view.get("type") == "modal" else None

    @property
    def at_home(self) -> bool:
        """Whether it happened on the Home tab."""
        return self.view.get("type") == "home"

    @property
    def about(self) -> str:
        """The id a modal carries in its private metadata."""
        return str(self.view.get("private_metadata") or "")


def kind_of(body: Mapping[str, Any]) -> Kind:
    """Which kind of delivery this is. Raises `Malformed`."""
    if isinstance(body.get("command"), str):
        return Kind.COMMAND
    match body.get("type"):
        case "block_actions":
            return Kind.PRESS
        case "view_submission":
            return Kind.SUBMISSION
        case "view_closed":
            return Kind.CLOSING
        case "block_suggestion":
            return Kind.SEARCH
        case "event_callback":
            return Kind.EVENT
    raise Malformed("type")


def installed_in(body: Mapping[str, Any]) -> str:
    """The team the app was addressed in (Slack docs: *Slack Connect*): never the actor's. Raises `Malformed`."""
    match kind_of(body):
        case Kind.COMMAND | Kind.EVENT:
            return _text(body, "team_id")
        case Kind.PRESS | Kind.SEARCH:
            return _text(_map(body, "team"), "id")
        case Kind.SUBMISSION | Kind.CLOSING:
            return _text(_map(body, "view"), "app_installed_team_id")


def key_of(body: Mapping[str, Any]) -> str:
    """What is the same in every delivery of the same thing. Raises `Malformed`."""
    kind = kind_of(body)
    match kind:
        case Kind.EVENT:
            own = _text(body, "event_id")
        case Kind.COMMAND | Kind.PRESS:
            own = _text(body, "trigger_id")
        case Kind.SUBMISSION | Kind.CLOSING:
            own = f"{_text(_map(body, 'view'), 'id')}:{_text(_map(body, 'view'), 'hash')}"
        case Kind.SEARCH:
            own = ""
    return f"{installed_in(body)}:{kind}:{own}"


def read(body: Mapping[str, Any], delivery: str = "") -> Gesture:
    """The gesture in a payload. Raises `Malformed`.

    Whose the actor is differs by payload: an outsider's press names their team in `user.team_id`, their submission in
    `team.id`, where `user` may have none.
    """
    kind = kind_of(body)
    if kind is not Kind.EVENT and "event" in body:  # Bolt would look into it
        raise Malformed("event")
    if kind is Kind.COMMAND:
        return Gesture(
            kind,
            name=_text(body, "command"),
            user=_text(body, "user_id"),
            team=_text(body, "team_id"),
            delivery=delivery,
            channel=_text(body, "channel_id"),
            text=encodable(body.get("text") or ""),
            trigger=_text(body, "trigger_id"),
            reply_url=_text(body, "response_url"),
        )
    if kind is Kind.EVENT:
        event = _map(body, "event")
        about = event["user"] if isinstance(event.get("user"), dict) else {"id": event.get("user")}
        return Gesture(
            kind,
            name=_text(event, "type"),
            user=_maybe(about, "id") or "",
            team=_maybe(event, "user_team") or _maybe(event, "source_team") or _maybe(body, "team_id"),
            delivery=delivery,
            event=event,
        )
    return _interaction(kind, body, delivery)


def _interaction(kind: Kind, body: Mapping[str, Any], delivery: str) -> Gesture:
    user = _map(body, "user")
    team = _maybe(user, "team_id")
    view = _map(body, "view") if "view" in body else {}
    if view:
        _text(view, "id")
    name, value, trigger, block = "", "", "", ""
    match kind:
        case Kind.PRESS:
            actions = body.get("actions")
            if not (isinstance(actions, list) and actions and isinstance(actions[0], dict)):
                raise Malformed("actions")
            name, value, trigger = _text(actions[0], "action_id"), _value(actions[0]), _text(body, "trigger_id")
            block = _maybe(actions[0], "block_id") or ""
        case Kind.SEARCH:
            name, value = _text(body, "action_id"), encodable(body.get("value") or "")
        case Kind.SUBMISSION | Kind.CLOSING:
            team = team or _maybe(_map(body, "team"), "id")
            name = _maybe(view, "callback_id") or ""
    container = body.get("container")
    place = container if isinstance(container, dict) else {}
    channel = body.get("channel")
    return Gesture(
        kind,
        name=name,
        user=_text(user, "id"),
        team=team,
        delivery=delivery,
        channel=(_maybe(channel, "id") if isinstance(channel, dict) else None) or _maybe(place, "channel_id") or "",
        value=value,
        trigger=trigger,
        reply_url=_maybe(body, "response_url"),
        ephemeral=place.get("is_ephemeral") is True,
        block=block,
        view=view,
    )


def _value(action: Mapping[str, Any]) -> str:
    chosen = action.get("selected_option")
    return encodable(chosen.get("value") if isinstance(chosen, dict) else action.get("value") or "")


def encodable(value: object) -> str:
    """Text without lone surrogates, which JSON can hold and nothing else can store."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _text(body: Mapping[str, Any], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str) or not value or not value.isprintable() or len(value) > 3000:
        raise Malformed(key)
    return value


def _maybe(body: Mapping[str, Any], key: str) -> str | None:
    return _text(body, key) if body.get(key) else None


def _map(body: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = body.get(key)
    if not isinstance(value, dict):
        raise Malformed(key)
    return value
