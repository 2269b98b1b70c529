"""Slash commands and their answers, over Socket Mode and over signed HTTP."""

import asyncio
from typing import Any, Literal

import pytest
from slack_bolt.context.ack.async_ack import AsyncAck
from slack_bolt.context.respond.async_respond import AsyncRespond

from sandbox.slack import AckStatus, NotOnScreen
from tests.sandbox.slack_harness import a_workspace, running, section

Transport = Literal["socket", "http"]
both = pytest.mark.parametrize("transport", ["socket", "http"])


@both
async def test_a_command_reaches_the_app_with_every_field_slack_sends(transport: Transport) -> None:
    async with a_workspace(transport=transport) as stage:
        app, bodies = stage.bolt(), []

        @app.command("/m365")
        async def m365(ack: AsyncAck, body: dict[str, Any]) -> None:
            bodies.append(body)
            await ack()

        async with running(stage, app):
            delivery = await stage.slack.command("olive", "#helpdesk", "/m365 help me")

        assert delivery.ack.status is AckStatus.OK
        assert bodies == [
            {
                "token": "latchkey-verification-token",
                "team_id": "T0CONTOSO",
                "team_domain": "contoso",
                "channel_id": "C0HELPDESK",
                "channel_name": "helpdesk",
                "user_id": "U0OLIVE001",
                "user_name": "olive",
                "command": "/m365",
                "text": "help me",
                "api_app_id": "A0LATCHKEY",
                "is_enterprise_install": "false",
                "response_url": delivery.response_url,
                "trigger_id": delivery.trigger_id,
            }
        ]
        assert delivery.response_url.startswith(f"{stage.slack.base_url}/slack/response/")
        assert stage.slack.ephemerals("olive") == []


@both
async def test_an_acknowledgement_with_text_is_shown_to_the_typist_only(transport: Transport) -> None:
    async with a_workspace(transport=transport) as stage:
        app = stage.bolt()

        @app.command("/m365")
        async def m365(ack: AsyncAck) -> None:
            await ack("Only for you")

        async with running(stage, app):
            await stage.slack.command("olive", "helpdesk", "/m365 help")

        [shown] = stage.slack.ephemerals("olive")
        assert shown.visible_text == "Only for you"
        assert stage.slack.ephemerals("ana") == []
        assert stage.slack.messages("helpdesk") == []


async def test_a_public_acknowledgement_also_shows_what_was_typed() -> None:
    async with a_workspace() as stage:
        app = stage.bolt()

        @app.command("/m365")
        async def m365(ack: AsyncAck) -> None:
            await ack(text="For all", response_type="in_channel")

        async with running(stage, app):
            await stage.slack.command("olive", "#random", "/m365 status")

        texts = [(m.user, m.visible_text) for m in stage.slack.messages("#random")]
        assert texts == [("U0OLIVE001", "/m365 status"), ("U0LATCHKEY", "For all")]


@both
async def test_an_app_that_does_not_acknowledge_leaves_the_typist_with_a_timeout(transport: Transport) -> None:
    async with a_workspace(transport=transport) as stage:
        app, let_go = stage.bolt(), asyncio.Event()

        @app.command("/m365")
        async def m365(ack: AsyncAck) -> None:
            await let_go.wait()
            await ack()

        async with running(stage, app):
            delivery = await stage.slack.command("olive", "#helpdesk", "/m365 help")
            let_go.set()

        assert delivery.ack.status is AckStatus.TIMEOUT
        assert "operation_timeout" in stage.slack.ephemerals("olive")[-1].visible_text


@both
async def test_a_command_fails_to_the_typist_when_no_app_is_there(transport: Transport) -> None:
    async with a_workspace(transport=transport) as stage:
        stage.slack.bot_url = "http://127.0.0.1:9"

        delivery = await stage.slack.command("olive", "#helpdesk", "/m365 help")

        assert delivery.ack.status is AckStatus.UNDELIVERED
        assert "dispatch_failed" in stage.slack.ephemerals("olive", "#helpdesk")[-1].visible_text


@pytest.mark.parametrize(
    ("person", "line"), [("olive", "/unheard-of x"), ("otto", "/m365 help")], ids=["unregistered", "outsider"]
)
async def test_what_is_no_command_here_is_refused_by_slack_itself(person: str, line: str) -> None:
    async with a_workspace() as stage:
        delivery = await stage.slack.command(person, "#partners", line)

        assert delivery.ack.status is AckStatus.NOT_SENT
        assert "is not a valid command" in stage.slack.ephemerals(person)[-1].visible_text


async def test_nobody_types_in_a_channel_they_are_not_in() -> None:
    async with a_workspace() as stage:
        with pytest.raises(NotOnScreen, match="otto is not in #helpdesk"):
            await stage.slack.command("otto", "#helpdesk", "/m365 help")


@pytest.mark.parametrize(
    ("typed", "received"),
    [
        ("can @ana see #helpdesk", "can <@U0ANA00001> see <#C0HELPDESK|helpdesk>"),
        ("look in #secret-project", "look in <#G0SECRET01|>"),
        ("reset adele@contoso.com", "reset <mailto:adele@contoso.com|adele@contoso.com>"),
        ("see https://x.example/a?b=1&c=2", "see <https://x.example/a?b=1&amp;c=2>"),
        ('--reason "a < b & c > d"', '--reason "a &lt; b &amp; c &gt; d"'),
        ('"bo@contoso.com"', '"<mailto:bo@contoso.com|bo@contoso.com>"'),
        ("@nobody #nowhere", "@nobody #nowhere"),
        ("<!channel>", "&lt;!channel&gt;"),
    ],
)
async def test_an_escaping_command_receives_references_and_entities(typed: str, received: str) -> None:
    async with a_workspace() as stage:
        delivery = await stage.slack.command("olive", "#helpdesk", f"/m365 {typed}")

        assert delivery.payload["text"] == received


async def test_a_command_without_escaping_receives_what_was_typed() -> None:
    async with a_workspace() as stage:
        delivery = await stage.slack.command("olive", "#helpdesk", "/raw a@b.example & <@ana>")

        assert delivery.payload["text"] == "a@b.example & <@ana>"


async def test_commands_in_direct_and_private_conversations_hide_the_name_of_the_place() -> None:
    async with a_workspace() as stage:
        direct = await stage.slack.command("olive", "dm", "/m365 help")
        private = await stage.slack.command("olive", "#secret-project", "/m365 help")

        assert direct.payload["channel_name"] == "directmessage"
        assert direct.payload["channel_id"] == stage.slack.direct("olive").id
        assert private.payload["channel_name"] == "privategroup"


async def test_a_response_url_answers_five_times_within_half_an_hour() -> None:
    async with a_workspace() as stage:
        delivery = await stage.slack.command("olive", "#random", "/m365 help")

        async def answer() -> tuple[int, str]:
            async with stage.http.post(delivery.response_url, json={"text": "again"}) as response:
                return response.status, await response.text()

        assert [await answer() for _ in range(5)] == [(200, "ok")] * 5
        assert await answer() == (404, '{"ok": false, "error": "used_url"}')

        late = await stage.slack.command("olive", "#random", "/m365 help")
        stage.clock.advance(31 * 60)
        async with stage.http.post(late.response_url, json={"text": "late"}) as response:
            assert (response.status, (await response.json())["error"]) == (404, "expired_url")


async def test_an_answer_can_be_public_or_in_a_thread_and_is_ephemeral_otherwise() -> None:
    async with a_workspace() as stage:
        app = stage.bolt()

        @app.command("/m365")
        async def m365(ack: AsyncAck, respond: AsyncRespond) -> None:
            await ack()
            await respond("whisper")
            await respond(text="aloud", response_type="in_channel")
            parent = stage.slack.messages("#random")[-1]
            await respond(text="below", response_type="in_channel", thread_ts=parent.ts)

        async with running(stage, app):
            await stage.slack.command("olive", "#random", "/m365 help")
            parent = await stage.slack.until(lambda: stage.slack.messages("#random")[-1])
            [reply] = await stage.slack.until(lambda: stage.slack.thread(parent))

        assert [m.visible_text for m in stage.slack.ephemerals("olive")] == ["whisper"]
        assert (parent.visible_text, reply.visible_text) == ("aloud", "below")


async def test_an_answer_with_blocks_slack_refuses_is_refused() -> None:
    async with a_workspace() as stage:
        delivery = await stage.slack.command("olive", "#random", "/m365 help")

        async with stage.http.post(delivery.response_url, json={"blocks": [section("x" * 3001)]}) as response:
            assert response.status == 400
            assert (await response.json())["error"] == "invalid_blocks"


async def test_a_redelivered_command_is_the_same_payload_marked_as_a_retry() -> None:
    async with a_workspace() as stage:
        app, seen = stage.bolt(), []

        @app.command("/m365")
        async def m365(ack: AsyncAck, body: dict[str, Any], request: Any) -> None:
            seen.append((body["trigger_id"], request.headers.get("x-slack-retry-num")))
            await ack()

        async with running(stage, app):
            first = await stage.slack.command("olive", "#helpdesk", "/m365 help")
            again = await stage.slack.redeliver(first)

        assert again.ack.status is AckStatus.OK
        assert seen == [(first.trigger_id, None), (first.trigger_id, ["1"])]
