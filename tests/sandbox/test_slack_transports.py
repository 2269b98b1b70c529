"""Connections that come and go, events that are carried again, and signatures."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs

import aiohttp
import pytest
from aiohttp import web
from slack_bolt.context.ack.async_ack import AsyncAck
from slack_sdk.errors import SlackApiError
from slack_sdk.signature import Clock, SignatureVerifier

from sandbox.faults import SOCKET, Drop, Rule
from sandbox.slack import AckStatus
from tests.sandbox.slack_harness import Stage, a_workspace, running, served


class ClockOf(Clock):
    """The SDK's verifier refuses requests that are old by its clock: let that be the world's."""

    def __init__(self, stage: Stage) -> None:
        self._clock = stage.clock

    def now(self) -> float:
        return self._clock.now()


async def a_socket(stage: Stage) -> aiohttp.ClientWebSocketResponse:
    """A bare Socket Mode connection, before its hello."""
    opened = await stage.client_with(stage.slack.app_token).apps_connections_open(app_token=stage.slack.app_token)
    return await stage.http.ws_connect(opened["url"])


async def test_a_connection_begins_with_hello_and_an_envelope_waits_for_its_acknowledgement() -> None:
    async with a_workspace() as stage:
        socket = await a_socket(stage)
        hello = await socket.receive_json()
        assert (hello["type"], hello["num_connections"]) == ("hello", 1)
        assert hello["connection_info"] == {"app_id": "A0LATCHKEY"}

        typing = asyncio.create_task(stage.slack.command("olive", "#helpdesk", "/m365 help"))
        envelope = await socket.receive_json()
        assert (envelope["type"], envelope["accepts_response_payload"]) == ("slash_commands", True)
        await socket.send_str("not JSON")
        await socket.send_json({"envelope_id": "another"})
        await socket.send_json({"envelope_id": envelope["envelope_id"], "payload": {"text": "hi"}})

        delivery = await typing
        assert (delivery.ack.status, delivery.ack.body) == (AckStatus.OK, {"text": "hi"})
        assert delivery.envelope_id == envelope["envelope_id"]
        await socket.close()


async def test_an_address_is_good_for_one_connection() -> None:
    async with a_workspace() as stage:
        opened = await stage.client_with(stage.slack.app_token).apps_connections_open(app_token=stage.slack.app_token)
        async with stage.http.ws_connect(opened["url"]):
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await stage.http.ws_connect(opened["url"])


async def test_the_eleventh_connection_is_sent_away() -> None:
    async with a_workspace() as stage:
        sockets = [await a_socket(stage) for _ in range(11)]

        await stage.slack.connected(10)
        goodbye = await sockets[-1].receive_json()
        assert (goodbye["type"], goodbye["reason"]) == ("disconnect", "too_many_websockets")
        for socket in sockets:
            await socket.close()


async def test_each_payload_goes_to_one_of_two_connections() -> None:
    async with a_workspace() as stage:
        app, seen = stage.bolt(), []

        @app.command("/m365")
        async def m365(ack: AsyncAck, body: dict[str, Any]) -> None:
            seen.append(body["text"])
            await ack()

        async with running(stage, app, connections=2):
            for number in range(4):
                await stage.slack.command("olive", "#helpdesk", f"/m365 {number}")
        assert seen == ["0", "1", "2", "3"]


@pytest.mark.parametrize("how", ["refresh_requested", "warning", "cut", "silence"])
async def test_a_bot_comes_back_after_its_connection_went(how: str) -> None:
    async with a_workspace() as stage:
        app = stage.bolt()

        @app.command("/m365")
        async def m365(ack: AsyncAck) -> None:
            await ack()

        async with running(stage, app):
            slack = stage.slack
            if how == "cut":
                slack.sockets.drop()
            elif how == "silence":
                slack.sockets.go_silent()
                assert (await slack.command("olive", "#helpdesk", "/m365")).ack.status is AckStatus.TIMEOUT
            else:
                await slack.sockets.disconnect(how)
            await slack.until(lambda: slack.sockets.opened == 2 and slack.bot_connected == 1, timeout=10)

            assert (await slack.command("olive", "#helpdesk", "/m365")).ack.status is AckStatus.OK


async def test_a_disabled_link_turns_new_connections_away() -> None:
    async with a_workspace() as stage:
        socket = await a_socket(stage)
        await socket.receive_json()

        await stage.slack.sockets.disconnect("link_disabled")

        assert (await socket.receive_json())["reason"] == "link_disabled"
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        with pytest.raises(SlackApiError, match="access_denied"):
            await a_socket(stage)


async def test_the_fault_that_drops_sockets_cuts_them_and_keeps_cutting() -> None:
    async with a_workspace() as stage:
        socket = await a_socket(stage)
        await socket.receive_json()

        stage.faults.start("slack-drops-socket")

        await stage.slack.until(lambda: stage.slack.bot_connected == 0)
        with pytest.raises(aiohttp.ClientError):
            await a_socket(stage)
        stage.faults.stop("slack-drops-socket")
        again = await a_socket(stage)
        assert (await again.receive_json())["type"] == "hello"
        await again.close()


async def test_a_connection_cut_with_the_payload_costs_that_payload() -> None:
    async with a_workspace() as stage:
        socket = await a_socket(stage)
        await socket.receive_json()
        stage.faults.add(Rule("slack", SOCKET, "/", Drop("before"), times=1, after=1))

        delivery = await stage.slack.command("olive", "#helpdesk", "/m365 help")

        assert delivery.ack.status is AckStatus.UNDELIVERED
        await stage.slack.until(lambda: stage.slack.bot_connected == 0)


@asynccontextmanager
async def an_app_that_answers(stage: Stage, *statuses: int) -> AsyncIterator[asyncio.Queue[web.Request]]:
    """A server in the app's place that answers with these statuses in turn; the requests it has read."""
    seen: asyncio.Queue[web.Request] = asyncio.Queue()
    answers = iter(statuses)

    async def events(request: web.Request) -> web.Response:
        await request.read()
        seen.put_nowait(request)
        return web.Response(status=next(answers))

    app = web.Application()
    app.router.add_post("/slack/events", events)
    async with served(app) as url:
        stage.slack.bot_url = url
        yield seen


async def test_an_unacknowledged_event_comes_again_at_once_after_a_minute_and_after_five() -> None:
    async with a_workspace(transport="http") as stage:
        async with an_app_that_answers(stage, 500, 500, 500, 200) as seen:
            await stage.slack.change_person("vic", title="Service Desk")
            requests = [await seen.get(), await seen.get()]
            for minutes in (1, 5):
                assert seen.empty()
                stage.clock.advance(minutes * 60)
                requests.append(await seen.get())

        assert len({(await request.json())["event_id"] for request in requests}) == 1
        headers = [request.headers for request in requests]
        assert [h.get("X-Slack-Retry-Num") for h in headers] == [None, "1", "2", "3"]
        assert [h.get("X-Slack-Retry-Reason") for h in headers] == [None, *["http_error"] * 3]


async def test_an_event_waits_for_a_bot_that_is_away() -> None:
    async with a_workspace() as stage:
        changed = stage.slack.change_person("vic", deleted=True)
        assert (await changed).deleted
        assert stage.slack.person("vic").deleted

        socket = await a_socket(stage)
        await socket.receive_json()
        stage.clock.advance(60)
        envelope = await socket.receive_json()
        assert (envelope["type"], envelope["payload"]["event"]["type"]) == ("events_api", "user_change")
        assert (envelope["retry_attempt"], envelope["retry_reason"]) == (2, "connection_failed")
        assert envelope["payload"]["event"]["user"]["deleted"] is True
        await socket.send_json({"envelope_id": envelope["envelope_id"]})
        await socket.close()


async def test_only_events_the_manifest_names_are_sent() -> None:
    async with a_workspace() as stage:
        await stage.slack.share_channel("#random")
        await stage.slack.share_channel("#random", shared=False)  # channel_unshared is not subscribed to

        [told] = stage.slack.deliveries
        event = told.payload["event"]
        assert (event["type"], event["channel"]) == ("channel_shared", "C0RANDOM01")
        assert event["connected_team_id"] == "T0PARTNER0"
        assert stage.slack.channel("#random").is_ext_shared is False


async def test_http_deliveries_are_signed_over_the_raw_body_at_the_worlds_time() -> None:
    async with a_workspace(transport="http") as stage:
        stage.clock.advance(3600)
        async with an_app_that_answers(stage, 200, 200, 200) as seen:
            await stage.slack.command("olive", "#helpdesk", "/m365 héllo & more")
            await stage.slack.change_person("vic", title="x")
            requests = [seen.get_nowait(), seen.get_nowait()]

        verifier = SignatureVerifier(stage.slack.signing_secret, ClockOf(stage))
        for request in requests:
            headers = dict(request.headers)
            assert verifier.is_valid_request(await request.read(), headers)
            assert not verifier.is_valid_request(await request.read() + b" ", headers)
        assert [r.content_type for r in requests] == ["application/x-www-form-urlencoded", "application/json"]


async def test_a_signed_request_can_be_made_for_any_time_and_payload() -> None:
    async with a_workspace(transport="http") as stage:
        payload = {"type": "block_actions", "user": {"id": "U0OTTO0001"}}

        body, headers = stage.slack.signed_request(payload, at=stage.clock.now() - 600)

        assert json.loads(parse_qs(body.decode())["payload"][0]) == payload
        stamp = headers["X-Slack-Request-Timestamp"]
        signed = SignatureVerifier(stage.slack.signing_secret).generate_signature(timestamp=stamp, body=body)
        assert headers["X-Slack-Signature"] == signed
        assert int(stamp) == int(stage.clock.now() - 600)
