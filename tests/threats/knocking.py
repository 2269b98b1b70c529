"""Raw requests to the bot's HTTP door, as anybody on the internet can send them."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp

from sandbox.slack.http_delivery import EVENTS_PATH, encoded, signature
from tests.stage import TEAM, Stage

FORM = "application/x-www-form-urlencoded"
APP = "A0LATCHKEY"

Payload = dict[str, Any]


def now(stage: Stage) -> str:
    """The time of the world, as a signed request says it."""
    return str(int(stage.world.clock.now()))


def signed(stage: Stage, body: bytes, content_type: str = FORM, **other: str) -> dict[str, str]:
    """The headers under which Slack would send *body*; *other* ones with `_` for `-`."""
    at = now(stage)
    return {
        "Content-Type": content_type,
        "X-Slack-Request-Timestamp": at,
        "X-Slack-Signature": signature(stage.world.slack.signing_secret, at, body),
        **{name.replace("_", "-"): value for name, value in other.items()},
    }


async def knock(stage: Stage, body: bytes, headers: Mapping[str, str], *, port: int | None = None) -> int:
    """Post *body* to the bot and return the status of its answer."""
    url = stage.world.slack.bot_url if port is None else f"http://127.0.0.1:{port}"
    async with aiohttp.ClientSession() as http:
        sent = io.BytesIO(body)  # plain bytes of more than a mebibyte earn a warning
        async with http.post(url + EVENTS_PATH, data=sent, headers=headers, allow_redirects=False) as answer:
            await answer.read()
            return answer.status


async def knock_payload(stage: Stage, payload: Mapping[str, Any]) -> int:
    """Post *payload* as Slack would, signed."""
    content_type, body = encoded(dict(payload))
    return await knock(stage, body, signed(stage, body, content_type))


async def knock_raw(stage: Stage, *pieces: bytes) -> bytes:
    """Send bytes that no HTTP client would, one after another, and return the first line of the answer."""
    address = urlsplit(stage.world.slack.bot_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return await reader.readline()
    finally:
        writer.close()


def a_command(text: str = "help", *, trigger: str, **changes: Any) -> Payload:
    """What Olive types, as Slack sends it."""
    payload = {
        "token": "verification-token",
        "team_id": TEAM,
        "team_domain": "contoso",
        "channel_id": "C0HELPDESK",
        "channel_name": "helpdesk",
        "user_id": "U0OLIVE001",
        "user_name": "olive",
        "command": "/m365",
        "text": text,
        "api_app_id": APP,
        "is_enterprise_install": "false",
        "response_url": "https://hooks.slack.com/commands/T0CONTOSO/1/x",
        "trigger_id": trigger,
    }
    return {name: value for name, value in {**payload, **changes}.items() if value is not None}


def a_press(action_id: str = "request.undo", value: str = "0" * 32, *, trigger: str, **changes: Any) -> Payload:
    """A press of Olive's on a card."""
    payload = {
        "type": "block_actions",
        "user": {"id": "U0OLIVE001", "username": "olive", "name": "olive", "team_id": TEAM},
        "api_app_id": APP,
        "token": "verification-token",
        "team": {"id": TEAM, "domain": "contoso"},
        "enterprise": None,
        "is_enterprise_install": False,
        "container": {"type": "message", "message_ts": "1.2", "channel_id": "C0HELPDESK", "is_ephemeral": False},
        "channel": {"id": "C0HELPDESK", "name": "helpdesk"},
        "trigger_id": trigger,
        "actions": [{"type": "button", "action_id": action_id, "block_id": "b", "value": value, "action_ts": "1.2"}],
    }
    return {name: value for name, value in {**payload, **changes}.items() if value is not None}


def a_submission(about: str = "0" * 32, **changes: Any) -> Payload:
    """A form that Olive sends off."""
    view = {
        "id": "V0FORGED001",
        "hash": "1.abc",
        "type": "modal",
        "callback_id": "request.form",
        "private_metadata": about,
        "app_installed_team_id": TEAM,
        "state": {"values": {}},
    }
    payload = {
        "type": "view_submission",
        "user": {"id": "U0OLIVE001", "username": "olive", "name": "olive", "team_id": TEAM},
        "api_app_id": APP,
        "team": {"id": TEAM, "domain": "contoso"},
        "trigger_id": "1.1.submission",
        "view": {**view, **changes.pop("view", {})},
    }
    return {name: value for name, value in {**payload, **changes}.items() if value is not None}


def an_event(kind: str = "app_home_opened", *, event_id: str, about: Payload | None = None, **changes: Any) -> Payload:
    """News from Slack."""
    payload = {
        "type": "event_callback",
        "team_id": TEAM,
        "api_app_id": APP,
        "event_id": event_id,
        "event": {"type": kind, "user": "U0OLIVE001", "tab": "home", **(about or {})},
    }
    return {name: value for name, value in {**payload, **changes}.items() if value is not None}


def in_a_form(payload: Any) -> bytes:
    """The body of an interaction: a form whose one field is JSON."""
    return urlencode({"payload": payload if isinstance(payload, str) else json.dumps(payload)}).encode()
