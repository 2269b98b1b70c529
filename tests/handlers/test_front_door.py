"""What comes in is ours, sound and new, or it has no effect; what is acknowledged is kept."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from aiohttp import web
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_bolt.response import BoltResponse

from bot.errors import StorageProblem
from bot.model import RequestState, Secret
from handlers.front_door import FrontDoor
from storage.database import Database
from storage.inbox import Inbox
from tests.handlers.stage import Stage, a_stage
from tests.sandbox.slack_harness import served

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


def a_command(stage: Stage, **fields: Any) -> dict[str, Any]:
    """A command of Olive's as Slack sends it."""
    olive, channel = stage.people.person("olive"), stage.people.channel("#helpdesk")
    made = stage.people._payloads.command(olive, channel.id, "/m365", "help", "/m365 help")
    return {**made, **fields}


def an_event(stage: Stage, **fields: Any) -> dict[str, Any]:
    """Olive opened her Home tab."""
    event = {"type": "app_home_opened", "user": "U0OLIVE001", "tab": "home"}
    return {**stage.people._payloads.event(event), **fields}


def signed(stage: Stage, body: bytes, *, timestamp: str | None = None, key: str | None = None) -> dict[str, str]:
    at = timestamp if timestamp is not None else str(int(stage.clock.now().timestamp()))
    base = b"v0:" + at.encode() + b":" + body
    digest = hmac.new((stage.people.signing_secret if key is None else key).encode(), base, hashlib.sha256).hexdigest()
    return {"X-Slack-Request-Timestamp": at, "X-Slack-Signature": f"v0={digest}"}


async def send(stage: Stage, body: bytes, headers: Mapping[str, str], content_type: str = FORM) -> int:
    async with aiohttp.ClientSession() as http:
        url = f"{stage.url}/slack/events"
        async with http.post(url, data=BytesIO(body), headers={"Content-Type": content_type, **headers}) as answer:
            assert not (await answer.read() if answer.status != 200 else b"")
            return answer.status


async def send_signed(stage: Stage, body: bytes, content_type: str = FORM) -> int:
    return await send(stage, body, signed(stage, body), content_type)


async def assert_nothing_happened(stage: Stage) -> None:
    await stage.settled()
    assert await stage.rows() == []
    assert await stage.inbox.open() == []
    assert stage.worker.woken == []


# --- HTTP: who sent it ----------------------------------------------------------------------------------------------


async def test_a_signed_command_is_acknowledged_with_nothing_and_done(http_stage: Stage) -> None:
    stage = http_stage

    status = await send_signed(stage, urlencode(a_command(stage)).encode())
    await stage.settled()

    assert status == 200
    assert (await stage.only_row()).action == "help"


FORGED: dict[str, Any] = {
    "no headers": lambda stage, body: {},
    "no signature": lambda stage, body: {"X-Slack-Request-Timestamp": str(int(stage.clock.now().timestamp()))},
    "another secret": lambda stage, body: signed(stage, body, key="guessed"),
    "another body": lambda stage, body: signed(stage, body + b"&x=1"),
    "version 1": lambda stage, body: _with_signature(stage, body, lambda s: "v1" + s[2:]),
    "upper case": lambda stage, body: _with_signature(stage, body, str.upper),
    "cut short": lambda stage, body: _with_signature(stage, body, lambda s: s[:-1]),
    "no letters": lambda stage, body: _with_signature(stage, body, lambda s: "v0=" + "\u0660" * 64),
    "latin letters": lambda stage, body: _with_signature(stage, body, lambda s: "v0=" + "ä" * 64),
    "empty timestamp": lambda stage, body: signed(stage, body, timestamp=""),
    "no number": lambda stage, body: signed(stage, body, timestamp="yesterday"),
    "a fraction": lambda stage, body: signed(stage, body, timestamp="1.5"),
    "negative": lambda stage, body: signed(stage, body, timestamp="-1"),
    "arabic digits": lambda stage, body: signed(stage, body, timestamp="١٧٦٠٠٠٠٠٠٠"),
    "5,000 digits": lambda stage, body: signed(stage, body, timestamp="9" * 5000),
    "too old": lambda stage, body: signed(stage, body, timestamp=str(int(stage.clock.now().timestamp()) - 301)),
    "from the future": lambda stage, body: signed(stage, body, timestamp=str(int(stage.clock.now().timestamp()) + 302)),
}


def _with_signature(stage: Stage, body: bytes, change: Any) -> dict[str, str]:
    headers = signed(stage, body)
    return {**headers, "X-Slack-Signature": change(headers["X-Slack-Signature"])}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED.keys())
async def test_what_slack_did_not_sign_just_now_is_turned_away(http_stage: Stage, forge: Any) -> None:
    body = urlencode(a_command(http_stage)).encode()

    assert await send(http_stage, body, forge(http_stage, body)) == 401

    await assert_nothing_happened(http_stage)


@asynccontextmanager
async def another_door(stage: Stage, **fields: Any) -> AsyncIterator[Stage]:
    """The stage with a front door of its own."""
    usual: dict[str, Any] = {
        "dispatch": stage.room.front_door._dispatch,
        "inbox": stage.inbox,
        "installed": stage.installed,
        "clock": stage.clock,
        "signing_secret": Secret(stage.people.signing_secret),
    }
    app = web.Application()
    app.add_routes(FrontDoor(**{**usual, **fields}).routes())
    async with served(app) as url:
        yield replace(stage, url=url)


@pytest.mark.parametrize("secret", [None, Secret("")])
async def test_no_secret_means_no_door(http_stage: Stage, secret: Secret | None) -> None:
    async with another_door(http_stage, signing_secret=secret) as stage:
        body = urlencode(a_command(stage)).encode()

        assert await send(stage, body, signed(stage, body, key="")) == 401

    await assert_nothing_happened(http_stage)


async def test_a_check_of_the_certificate_smuggles_nothing_in(http_stage: Stage) -> None:
    body = urlencode(a_command(http_stage, ssl_check="1")).encode()

    assert await send(http_stage, body, {}) == 401

    await assert_nothing_happened(http_stage)


async def test_large_unsigned_bodies_do_not_hold_the_loop(http_stage: Stage) -> None:
    body = b"&".join(b"k%d=v" % number for number in range(100_000))[:900_000]
    fake = {"X-Slack-Signature": "v0=" + "0" * 64}
    loop = asyncio.get_running_loop()
    longest, last, ticking = 0.0, loop.time(), True

    async def tick() -> None:
        nonlocal longest, last
        while ticking:
            await asyncio.sleep(0)
            longest, last = max(longest, loop.time() - last), loop.time()

    watch = asyncio.create_task(tick())
    for timestamp in ("", str(int(http_stage.clock.now().timestamp()))):
        assert await send(http_stage, body, {**fake, "X-Slack-Request-Timestamp": timestamp}) == 401
    ticking = False
    await watch

    assert longest < 0.05


# --- HTTP: what it is -----------------------------------------------------------------------------------------------

UNREADABLE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", FORM),
    "nothing as JSON": (b"", JSON),
    "broken JSON": (b'{"type": "event_callback"', JSON),
    "a list": (b"[]", JSON),
    "a number": (b"7", JSON),
    "null": (b"null", JSON),
    "an endless number": (b'{"a": ' + b"9" * 6000 + b"}", JSON),
    "deep nesting": (b'{"a":' + b"[" * 100_000, JSON),
    "bad UTF-8": (b'{"type": "\xff\xfe"}', JSON),
    "bad UTF-8 in a form": (b"command=%ff%fe&team_id=T", FORM),
    "no known type": (b'{"type": "no_such"}', JSON),
    "no type": (b"{}", JSON),
    "a payload that is no JSON": (b"payload=%7B", FORM),
    "a payload that is a list": (b"payload=%5B%5D", FORM),
    "an empty payload": (b"payload=", FORM),
    "a deep payload": (b"payload=" + b"%5B" * 100_000, FORM),
    "100,000 fields": (b"&".join(b"a%d=1" % n for n in range(60_000)), FORM),
    "a field twice": (b"command=%2Fm365&command=%2Fm365&team_id=T0CONTOSO", FORM),
    "XML": (b"<a/>", "text/xml"),
    "no content type": (b"{}", ""),
    "a binary": (bytes(range(256)), "application/octet-stream"),
}


@pytest.mark.parametrize(("body", "content_type"), UNREADABLE.values(), ids=UNREADABLE.keys())
async def test_what_cannot_be_read_is_the_senders_fault(http_stage: Stage, body: bytes, content_type: str) -> None:
    assert 400 <= await send_signed(http_stage, body, content_type) < 500

    await assert_nothing_happened(http_stage)


async def test_a_body_beyond_the_limit_is_turned_away(http_stage: Stage) -> None:
    assert await send_signed(http_stage, b"x" * (1024 * 1024 + 1)) == 413


MISSHAPEN: dict[str, dict[str, Any]] = {
    "no team": {"team_id": ""},
    "no user": {"user_id": ""},
    "no trigger": {"trigger_id": ""},
    "no channel": {"channel_id": ""},
    "no response url": {"response_url": ""},
    "a user with a line break": {"user_id": "U1\nX-Evil: 1"},
    "a very long trigger": {"trigger_id": "t" * 5000},
}


@pytest.mark.parametrize("fields", MISSHAPEN.values(), ids=MISSHAPEN.keys())
async def test_a_command_that_lacks_something_is_malformed(http_stage: Stage, fields: dict[str, Any]) -> None:
    assert await send_signed(http_stage, urlencode(a_command(http_stage, **fields)).encode()) == 400

    await assert_nothing_happened(http_stage)


INTERACTIONS: list[dict[str, Any]] = [
    {"type": "block_actions"},
    {"type": "block_actions", "team": 5, "user": None},
    {"type": "block_actions", "team": {"id": "T0CONTOSO"}, "user": {"id": "U1"}, "trigger_id": "t", "actions": []},
    {"type": "block_actions", "team": {"id": "T0CONTOSO"}, "user": {"id": "U1"}, "trigger_id": "t", "actions": [7]},
    {"type": "block_actions", "team": {"id": "T0CONTOSO"}, "user": "U1", "trigger_id": "t", "actions": [{}]},
    {"type": "view_submission", "view": []},
    {"type": "view_submission", "view": {"app_installed_team_id": "T0CONTOSO"}},
    {"type": "block_suggestion", "team": {"id": "T0CONTOSO"}},
    {"type": "event_callback", "team_id": "T0CONTOSO", "event_id": "E1"},
    {"type": "event_callback", "team_id": "T0CONTOSO", "event_id": "E1", "event": {"type": 5}},
    {"type": ["block_actions"]},
]


@pytest.mark.parametrize("payload", INTERACTIONS, ids=range(len(INTERACTIONS)))
async def test_an_interaction_of_another_shape_is_malformed(http_stage: Stage, payload: dict[str, Any]) -> None:
    whole = {"api_app_id": http_stage.installed.app, **payload}

    assert await send_signed(http_stage, urlencode({"payload": json.dumps(whole)}).encode()) == 400

    await assert_nothing_happened(http_stage)


@pytest.mark.parametrize("fields", [{"team_id": "T0PARTNER0"}, {"api_app_id": "A0OTHER"}, {"api_app_id": ""}])
async def test_what_is_for_another_team_or_app_is_refused(http_stage: Stage, fields: dict[str, str]) -> None:
    assert await send_signed(http_stage, urlencode(a_command(http_stage, **fields)).encode()) == 403

    await assert_nothing_happened(http_stage)


async def test_slack_may_check_the_address(http_stage: Stage) -> None:
    body = json.dumps({"type": "url_verification", "challenge": "3eZbrw1aB"}).encode()
    async with aiohttp.ClientSession() as http:
        headers = {"Content-Type": JSON, **signed(http_stage, body)}
        async with http.post(f"{http_stage.url}/slack/events", data=body, headers=headers) as answer:
            assert await answer.json() == {"challenge": "3eZbrw1aB"}


# --- Both ways ------------------------------------------------------------------------------------------------------


async def test_identical_bytes_have_one_effect(http_stage: Stage) -> None:
    body = urlencode(a_command(http_stage)).encode()
    headers = signed(http_stage, body)

    statuses = await asyncio.gather(*(send(http_stage, body, headers) for _ in range(5)))
    await http_stage.settled()

    assert set(statuses) == {200}
    assert len(await http_stage.rows()) == 1
    assert len(http_stage.worker.woken) == 1


async def test_an_event_sent_four_times_publishes_one_home(stage: Stage) -> None:
    event = an_event(stage)
    for _ in range(4):
        assert (await stage.people.deliver("events_api", event)).ack.status == "ok"
    await stage.settled()

    assert len(stage.people.calls("views.publish")) == 1


@pytest.mark.parametrize("fields", [{"team_id": "T0PARTNER0"}, {"api_app_id": "A0OTHER"}, {"trigger_id": ""}])
async def test_over_a_socket_what_is_not_ours_is_acknowledged_and_dropped(stage: Stage, fields: dict[str, str]) -> None:
    delivery = await stage.people.deliver("slash_commands", a_command(stage, **fields))

    assert (delivery.ack.status, delivery.ack.body) == ("ok", None)
    await assert_nothing_happened(stage)


async def test_slacks_token_is_not_kept(stage: Stage) -> None:
    seen: list[Mapping[str, Any]] = []

    class Looking:
        async def receive(self, key: str, kind: str, payload: Mapping[str, Any]) -> bool:
            seen.append(payload)
            return False

        async def open(self) -> list[Any]:
            return []

        async def done(self, key: str) -> None:
            return None

    door = FrontDoor(
        dispatch=stage.room.front_door._dispatch, inbox=Looking(), installed=stage.installed, clock=stage.clock
    )
    await door.receive(a_command(stage))

    assert "token" not in seen[0]


async def test_what_cannot_be_kept_is_not_acknowledged(http_stage: Stage, tmp_path: Path) -> None:
    async with Database(tmp_path / "full" / "disk.db", tenant="t", clock=http_stage.clock) as db:
        closed = Inbox(db)

    async with another_door(http_stage, inbox=closed) as stage:
        assert await send_signed(stage, urlencode(a_command(stage)).encode()) == 503


async def test_what_was_acknowledged_before_the_process_died_is_taken_up_by_the_next(tmp_path: Path) -> None:
    async with a_stage(tmp_path) as stage:
        await stage.inbox.receive("T0CONTOSO:command:1.2.3", "command", a_command(stage))
    async with a_stage(tmp_path) as stage:
        await stage.room.front_door.redeliver()
        await stage.settled()

        assert (await stage.only_row()).state is RequestState.RECEIVED
        assert await stage.inbox.open() == []
        await stage.room.front_door.redeliver()
        await stage.settled()
        assert len(await stage.rows()) == 1


async def test_a_delivery_that_was_not_finished_stays_for_the_next_start(stage: Stage) -> None:
    async def broken(request: AsyncBoltRequest) -> BoltResponse:
        raise StorageProblem("The disk is full.")

    door = FrontDoor(dispatch=broken, inbox=stage.inbox, installed=stage.installed, clock=stage.clock)
    await door.receive(a_command(stage))
    await door.close()

    assert len(await stage.inbox.open()) == 1


async def test_closing_waits_for_what_was_acknowledged(stage: Stage) -> None:
    await stage.people.command("olive", "#helpdesk", "/m365 help")

    await stage.room.front_door.close()

    assert len(await stage.rows()) == 1
