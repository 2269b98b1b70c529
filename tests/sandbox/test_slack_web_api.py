"""The Web API as the bot meets it: tokens, scopes, limits, and what each method grants or refuses."""

import io
import json
from typing import Any

import aiohttp
import pytest
from slack_sdk.errors import SlackApiError

from sandbox.faults import Answer, Drop, Rule
from sandbox.slack import RateLimits
from tests.sandbox.slack_harness import MANIFEST, Stage, a_workspace, actions, button, modal, section

TASKS = [{"type": "task_card", "task_id": "1", "title": "Sign in", "status": "in_progress"}]


async def refusal(stage: Stage, method: str, **arguments: Any) -> Any:
    """The answer to a call that must be refused."""
    with pytest.raises(SlackApiError) as refused:
        await stage.client.api_call(method, json=arguments)
    return refused.value.response


async def test_the_bot_learns_who_it_is_and_what_it_may() -> None:
    async with a_workspace() as stage:
        answer = await stage.client.auth_test()

        assert (answer["team_id"], answer["user_id"], answer["bot_id"]) == ("T0CONTOSO", "U0LATCHKEY", "B0LATCHKEY")
        assert answer.headers["X-OAuth-Scopes"].split(",")[:2] == ["commands", "chat:write"]
        app = await stage.client_with(stage.slack.app_token).auth_test()
        assert app["app_id"] == "A0LATCHKEY"


async def test_a_call_is_understood_as_form_json_and_query() -> None:
    async with a_workspace() as stage:
        url = f"{stage.slack.base_url}/slack/api/users.info"
        headers = {"Authorization": f"Bearer {stage.slack.bot_token}"}
        asked = {"user": "U0OLIVE001"}

        async def name(**request: Any) -> str:
            async with stage.http.request(url=url, **request) as response:
                body = await response.json()
                return str(body["user"]["name"])

        assert await name(method="GET", params=asked, headers=headers) == "olive"
        assert await name(method="POST", data=asked, headers=headers) == "olive"
        assert await name(method="POST", json=asked, headers=headers) == "olive"
        assert await name(method="POST", data={**asked, "token": stage.slack.bot_token}) == "olive"


async def test_broken_bodies_and_unknown_methods_are_refused_by_name() -> None:
    async with a_workspace() as stage:
        url = f"{stage.slack.base_url}/slack/api/"
        headers = {"Authorization": f"Bearer {stage.slack.bot_token}", "Content-Type": "application/json"}

        async def error(method: str, data: str) -> tuple[int, str]:
            async with stage.http.post(url + method, data=data, headers=headers) as response:
                return response.status, (await response.json())["error"]

        assert await error("auth.test", "{") == (200, "invalid_json")
        assert await error("auth.test", "[]") == (200, "json_not_object")
        assert await error("chat.shout", "{}") == (200, "unknown_method")


@pytest.mark.parametrize("junk", [None, 7, [], {}, ["x"], {"x": 1}, "x"], ids=repr)
async def test_junk_in_any_argument_is_refused_and_never_breaks_the_workspace(junk: Any) -> None:
    async with a_workspace() as stage:
        headers = {"Authorization": f"Bearer {stage.slack.bot_token}"}
        names = "channel ts thread_ts text blocks metadata user user_id view view_id external_id trigger_id hash"
        for method in ("chat.postMessage", "chat.update", "chat.postEphemeral", "views.open", "views.update"):
            for name in names.split():
                sound = {"channel": "C0HELPDESK", "text": "x", "user": "U0OLIVE001", "view": modal("x", section("x"))}
                url = f"{stage.slack.base_url}/slack/api/{method}"
                async with stage.http.post(url, json={**sound, name: junk}, headers=headers) as response:
                    assert response.status in (200, 429), f"{method} {name}"


@pytest.mark.parametrize(
    ("token", "error"), [("", "not_authed"), ("xoxb-somebody-else", "invalid_auth")], ids=["none", "wrong"]
)
async def test_a_call_without_the_right_token_is_refused(token: str, error: str) -> None:
    async with a_workspace() as stage:
        with pytest.raises(SlackApiError) as refused:
            await stage.client_with(token).auth_test()
        assert refused.value.response["error"] == error


async def test_each_kind_of_token_opens_its_own_doors() -> None:
    async with a_workspace() as stage:
        assert (await refusal(stage, "apps.connections.open"))["error"] == "not_allowed_token_type"
        with pytest.raises(SlackApiError, match="not_allowed_token_type"):
            await stage.client_with(stage.slack.app_token).chat_postMessage(channel="C0HELPDESK", text="x")


async def test_a_scope_the_manifest_lacks_is_named() -> None:
    async with a_workspace() as stage:
        answer = await refusal(stage, "team.info")

        assert (answer["error"], answer["needed"]) == ("missing_scope", "team:read")
        assert answer["provided"] == ",".join(MANIFEST["oauth_config"]["scopes"]["bot"])
        assert (await refusal(stage, "conversations.list", types="im"))["needed"] == "im:read"


# Posting.


async def test_a_posted_message_is_what_the_channel_shows() -> None:
    async with a_workspace() as stage:
        metadata = {"event_type": "job", "event_payload": {"id": "7f3a"}}
        posted = await stage.client.chat_postMessage(
            channel="C0HELPDESK", text="fallback", blocks=[section("Hello *you*")], metadata=metadata
        )

        [message] = stage.slack.messages("#helpdesk")
        assert (message.ts, message.user, message.metadata) == (posted["ts"], "U0LATCHKEY", metadata)
        assert message.visible_text == "Hello *you*"
        assert posted["message"]["blocks"][0]["block_id"]


async def test_threads_and_broadcast_replies() -> None:
    async with a_workspace() as stage:
        parent = (await stage.client.chat_postMessage(channel="C0HELPDESK", text="card"))["ts"]
        reply = (await stage.client.chat_postMessage(channel="C0HELPDESK", text="step", thread_ts=parent))["ts"]
        await stage.client.chat_postMessage(channel="C0HELPDESK", text="end", thread_ts=parent, reply_broadcast=True)

        card, end = stage.slack.messages("#helpdesk")
        assert (card.text, end.text) == ("card", "end")
        assert [m.text for m in stage.slack.thread(card)] == ["step", "end"]
        below = await refusal(stage, "chat.postMessage", channel="C0HELPDESK", text="x", thread_ts=reply)
        assert below["error"] == "cannot_reply_to_message"
        nowhere = await refusal(stage, "chat.postMessage", channel="C0HELPDESK", text="x", thread_ts="1.2")
        assert nowhere["error"] == "thread_not_found"


@pytest.mark.parametrize(
    ("channel", "error"),
    [
        ("C0RANDOM01", "not_in_channel"),
        ("G0SECRET01", "channel_not_found"),
        ("D0OLIVEANA", "channel_not_found"),
        ("C0NOWHERE0", "channel_not_found"),
    ],
)
async def test_the_bot_posts_only_where_it_is(channel: str, error: str) -> None:
    async with a_workspace() as stage:
        assert (await refusal(stage, "chat.postMessage", channel=channel, text="x"))["error"] == error


async def test_an_archived_channel_and_a_bot_taken_out_refuse_posts() -> None:
    async with a_workspace() as stage:
        stage.slack.archive("#it-alerts")
        stage.slack.leave("latchkey", "#helpdesk")

        assert (await refusal(stage, "chat.postMessage", channel="C0ALERTS01", text="x"))["error"] == "is_archived"
        assert (await refusal(stage, "chat.postMessage", channel="C0HELPDESK", text="x"))["error"] == "not_in_channel"


async def test_a_persons_id_means_the_direct_conversation() -> None:
    async with a_workspace() as stage:
        opened = await stage.client.conversations_open(users="U0OLIVE001")
        posted = await stage.client.chat_postMessage(channel="U0OLIVE001", text="hello")

        assert opened["channel"]["id"] == posted["channel"] == stage.slack.direct("olive").id
        assert [m.text for m in stage.slack.messages(stage.slack.direct("olive"))] == ["hello"]


async def test_without_text_or_blocks_there_is_nothing_to_post() -> None:
    async with a_workspace() as stage:
        assert (await refusal(stage, "chat.postMessage", channel="C0HELPDESK", text=" "))["error"] == "no_text"


async def test_refused_blocks_are_pointed_at() -> None:
    async with a_workspace() as stage:
        answer = await refusal(
            stage, "chat.postMessage", channel="C0HELPDESK", text="x", blocks=[section("a"), section("b" * 3001)]
        )

        where = "must be less than 3001 characters [json-pointer:/blocks/1/text/text]"
        assert (answer["error"], answer["errors"]) == ("invalid_blocks", [where])
        assert answer["response_metadata"]["messages"] == [f"[ERROR] {where}"]
        broken = await refusal(stage, "chat.postMessage", channel="C0HELPDESK", text="x", blocks="{")
        assert broken["error"] == "invalid_blocks_format"


async def test_a_workspace_that_does_not_know_plans_refuses_them_until_it_does() -> None:
    async with a_workspace() as stage:
        plan = [{"type": "plan", "title": "Opening", "tasks": TASKS}]
        stage.slack.refuses_block("plan")

        answer = await refusal(stage, "chat.postMessage", channel="C0HELPDESK", text="x", blocks=plan)
        assert answer["errors"] == ["unsupported type: plan [json-pointer:/blocks/0/type]"]

        stage.slack.accepts_block("plan")
        await stage.client.chat_postMessage(channel="C0HELPDESK", text="x", blocks=plan)
        assert stage.slack.messages("#helpdesk")[-1].visible_text == "Opening\n(in_progress) Sign in"


# Changing.


async def test_an_update_replaces_everything_and_is_kept_in_history() -> None:
    async with a_workspace() as stage:
        first = [section("before"), actions(button("Go", "go", value="42"))]
        ts = (await stage.client.chat_postMessage(channel="C0HELPDESK", text="one", blocks=first))["ts"]
        [message] = stage.slack.messages("#helpdesk")

        await stage.client.chat_update(channel="C0HELPDESK", ts=ts, text="two", blocks=[section("after")])
        assert (message.visible_text, message.edited) == ("after", False)

        await stage.client.chat_update(channel="C0HELPDESK", ts=ts, text="three")
        assert (message.visible_text, message.blocks, message.edited) == ("three", [], True)
        assert {"before", "Go", "42", "after", "three"} <= set(stage.slack.history_text().splitlines())


async def test_what_cannot_be_updated_or_deleted() -> None:
    async with a_workspace() as stage:
        said = stage.slack.say("olive", "#helpdesk", "mine")
        whisper = await stage.client.chat_postEphemeral(channel="C0HELPDESK", user="U0OLIVE001", text="psst")
        ts = (await stage.client.chat_postMessage(channel="C0HELPDESK", text="ours"))["ts"]

        async def error(method: str, ts: str, **more: Any) -> str:
            answer = await refusal(stage, method, channel="C0HELPDESK", ts=ts, **more)
            return str(answer["error"])

        assert await error("chat.update", said.ts, text="x") == "cant_update_message"
        assert await error("chat.delete", said.ts) == "cant_delete_message"
        assert await error("chat.update", whisper["message_ts"], text="x") == "message_not_found"
        assert await error("chat.delete", whisper["message_ts"]) == "message_not_found"
        assert await error("chat.update", ts, text="x" * 4001) == "msg_too_long"
        await stage.client.chat_delete(channel="C0HELPDESK", ts=ts)
        assert await error("chat.update", ts, text="x") == "message_not_found"


async def test_a_deleted_parent_leaves_a_tombstone_over_its_thread() -> None:
    async with a_workspace() as stage:
        ts = (await stage.client.chat_postMessage(channel="C0HELPDESK", text="card"))["ts"]
        await stage.client.chat_postMessage(channel="C0HELPDESK", text="step", thread_ts=ts)
        [card] = stage.slack.messages("#helpdesk")

        stage.slack.delete_message(card)

        assert stage.slack.messages("#helpdesk")[0].visible_text == "This message was deleted."
        assert [m.text for m in stage.slack.thread(card)] == ["step"]


async def test_an_ephemeral_message_is_seen_by_one_person_who_is_there() -> None:
    async with a_workspace() as stage:
        await stage.client.chat_postEphemeral(channel="C0PARTNERS", user="U0OTTO0001", text="psst")

        assert [m.text for m in stage.slack.ephemerals("otto", "#partners")] == ["psst"]
        assert stage.slack.ephemerals("olive") == stage.slack.messages("#partners") == []
        answer = await refusal(stage, "chat.postEphemeral", channel="C0HELPDESK", user="U0OTTO0001", text="x")
        assert answer["error"] == "user_not_in_channel"


async def test_a_message_tells_whom_it_notifies() -> None:
    async with a_workspace() as stage:
        await stage.client.chat_postMessage(
            channel="C0HELPDESK",
            text="Done",
            blocks=[section("<@U0OLIVE001> said &lt;!channel&gt;"), section("<!here>")],
        )

        [message] = stage.slack.messages("#helpdesk")
        assert stage.slack.mentions(message) == ("@U0OLIVE001", "!here")
        assert message.visible_text == "@Olive Hart said <!channel>\n@here"


# Limits and faults.


async def test_posting_is_limited_per_channel_and_time_heals_it() -> None:
    async with a_workspace() as stage:
        for _ in range(10):
            await stage.client.chat_postMessage(channel="C0HELPDESK", text="x")

        answer = await refusal(stage, "chat.postMessage", channel="C0HELPDESK", text="x")
        assert (answer.status_code, answer["error"], answer.headers["Retry-After"]) == (429, "ratelimited", "1")
        await stage.client.chat_postMessage(channel="C0APPROVE1", text="another channel is free")
        stage.clock.advance(1)
        await stage.client.chat_postMessage(channel="C0HELPDESK", text="x")


async def test_every_tier_has_its_limit_and_a_test_may_raise_it() -> None:
    low = RateLimits(tiers={1: 1, 2: 1, 3: 1, 4: 1, 5: 1})
    async with a_workspace(limits=low) as stage:
        await stage.client.users_info(user="U0OLIVE001")

        answer = await refusal(stage, "users.info", user="U0OLIVE001")
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "60")
        await stage.client.users_list()


async def test_a_named_fault_and_a_dropped_answer_hit_the_web_api() -> None:
    async with a_workspace() as stage:
        stage.faults.add(
            Rule(
                "slack", "POST", "/chat.postMessage", Answer(200, {"ok": False, "error": "restricted_action"}), times=1
            )
        )
        assert (await refusal(stage, "chat.postMessage", channel="C0HELPDESK", text="x"))[
            "error"
        ] == "restricted_action"

        stage.faults.add(Rule("slack", "POST", "/chat.postMessage", Drop("after"), times=1))
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await stage.client_without_retries().chat_postMessage(channel="C0HELPDESK", text="applied")
        assert [m.text for m in stage.slack.messages("#helpdesk")] == ["applied"]


# Reading.


async def test_a_user_is_told_as_they_are() -> None:
    async with a_workspace() as stage:

        async def user(user_id: str) -> Any:
            return (await stage.client.users_info(user=user_id))["user"]

        assert (await user("U0GUS00001"))["is_restricted"] is True
        assert (await user("U0DORA0001"))["deleted"] is True
        assert (await user("U0ROBO0001"))["is_bot"] is True
        otto = await user("U0OTTO0001")
        assert (otto["team_id"], otto["is_stranger"]) == ("T0PARTNER0", True)
        olive = await user("U0OLIVE001")
        assert (olive["team_id"], olive["tz"], olive["is_restricted"]) == ("T0CONTOSO", "Europe/London", False)
        assert "email" not in olive["profile"]
        assert (await refusal(stage, "users.info", user="U0NOBODY00"))["error"] == "user_not_found"


async def test_an_address_needs_its_own_scope() -> None:
    manifest = json.loads(json.dumps(MANIFEST))
    manifest["oauth_config"]["scopes"]["bot"].append("users:read.email")
    async with a_workspace(manifest=manifest) as stage:
        answer = await stage.client.users_info(user="U0OLIVE001")
        assert answer["user"]["profile"]["email"] == "olive@contoso.com"


async def test_channels_tell_whether_outsiders_read_along() -> None:
    async with a_workspace() as stage:
        info = await stage.client.conversations_info(channel="C0PARTNERS")
        assert info["channel"]["is_ext_shared"] is True
        assert (await stage.client.conversations_info(channel="C0RANDOM01"))["channel"]["is_member"] is False
        assert (await refusal(stage, "conversations.info", channel="G0SECRET01"))["error"] == "channel_not_found"
        members = await stage.client.conversations_members(channel="C0PARTNERS")
        assert {"U0OTTO0001", "U0LATCHKEY", "U0OLIVE001"} <= set(members["members"])


async def test_listings_come_in_pages() -> None:
    async with a_workspace() as stage:
        ids = []
        async for page in await stage.client.users_list(limit=4):
            ids += [user["id"] for user in page["members"]]
        assert ids == [person.id for person in stage.slack.people]

        mine = await stage.client.users_conversations(types="public_channel,private_channel")
        assert {c["name"] for c in mine["channels"]} == {"helpdesk", "it-approvals", "it-alerts", "partners"}
        every = await stage.client.conversations_list()
        assert {c["name"] for c in every["channels"]} == {"helpdesk", "it-approvals", "it-alerts", "partners", "random"}


async def test_the_calls_seen_are_remembered_without_the_token() -> None:
    async with a_workspace() as stage:
        await stage.client.chat_postMessage(channel="C0HELPDESK", text="x")
        await refusal(stage, "views.open", trigger_id="made-up", view=modal("Hi", section("x")))

        [posted] = stage.slack.calls("chat.postMessage")
        assert (posted.arguments["text"], posted.ok) == ("x", True)
        [opened] = stage.slack.calls("views.open")
        assert (opened.ok, opened.answer["error"]) == (False, "invalid_trigger_id")
        assert stage.slack.bot_token not in repr(stage.slack.calls())


# Files.

WITH_FILES = {
    **MANIFEST,
    "oauth_config": {"scopes": {"bot": [*MANIFEST["oauth_config"]["scopes"]["bot"], "files:write"]}},
}


async def test_a_file_uploaded_into_a_direct_conversation_is_there_for_that_person_only() -> None:
    async with a_workspace(manifest=WITH_FILES) as stage:
        opened = await stage.client.conversations_open(users="U0AUDREY01")
        direct = opened["channel"]["id"]

        done = await stage.client.files_upload_v2(
            channel=direct, filename="audit.csv", title="Audit of May", content="who,what\n", initial_comment="Here:"
        )

        [file] = stage.slack.files("audrey")
        assert (file.id, file.name, file.title) == (done["file"]["id"], "audit.csv", "Audit of May")
        assert (file.content, file.mimetype) == (b"who,what\n", "text/csv")
        [message] = stage.slack.messages(direct)
        assert message.visible_text == "Here:\nAudit of May"
        assert stage.slack.files("ana") == []
        assert "who,what" in stage.slack.history_text()


async def test_a_large_file_is_taken_raw_or_as_a_form() -> None:
    async with a_workspace(manifest=WITH_FILES) as stage:
        content = b"x" * 3_000_000
        form = aiohttp.FormData()
        form.add_field("filename", io.BytesIO(content), filename="big.txt")
        for body in (io.BytesIO(content), form):
            begun = await stage.client.files_getUploadURLExternal(filename="big.txt", length=len(content))
            async with stage.http.post(begun["upload_url"], data=body) as response:
                assert (response.status, await response.text()) == (200, "OK - 3000000")
            await stage.client.files_completeUploadExternal(files=[{"id": begun["file_id"]}], channel_id="C0HELPDESK")

        assert [len(file.content) for file in stage.slack.files("olive")] == [3_000_000, 3_000_000]


async def test_an_upload_that_is_not_whole_shares_nothing() -> None:
    async with a_workspace(manifest=WITH_FILES) as stage:
        begun = await stage.client.files_getUploadURLExternal(filename="a.txt", length=5)
        complete = {"files": [{"id": begun["file_id"]}], "channel_id": "C0HELPDESK"}

        async def send(content: bytes) -> int:
            async with stage.http.post(begun["upload_url"], data=content) as response:
                return response.status

        assert (await refusal(stage, "files.completeUploadExternal", **complete))["error"] == "file_update_failed"
        assert await send(b"four") == 400
        assert [await send(b"five!"), await send(b"again")] == [200, 404]
        elsewhere = {**complete, "channel_id": "C0RANDOM01"}
        assert (await refusal(stage, "files.completeUploadExternal", **elsewhere))["error"] == "not_in_channel"
        person = {**complete, "channel_id": "U0OLIVE001"}
        assert (await refusal(stage, "files.completeUploadExternal", **person))["error"] == "channel_not_found"
        assert stage.slack.messages("#helpdesk") == []
        await stage.client.api_call("files.completeUploadExternal", json=complete)
        assert (await refusal(stage, "files.completeUploadExternal", **complete))["error"] == "file_not_found"


async def test_uploading_needs_its_scope_and_a_size() -> None:
    async with a_workspace() as stage:
        answer = await refusal(stage, "files.getUploadURLExternal", filename="a.txt", length=1)
        assert (answer["error"], answer["needed"]) == ("missing_scope", "files:write")
    async with a_workspace(manifest=WITH_FILES) as stage:
        answer = await refusal(stage, "files.getUploadURLExternal", filename="a.txt", length=0)
        assert answer["error"] == "invalid_arguments"


async def test_updates_of_cards_are_limited_for_the_whole_workspace() -> None:
    async with a_workspace() as stage:
        posted = await stage.client.chat_postMessage(channel="C0HELPDESK", text="0")
        where = {"channel": "C0HELPDESK", "ts": posted["ts"]}
        for number in range(50):
            await stage.client.chat_update(**where, text=str(number))

        answer = await refusal(stage, "chat.update", **where, text="one too many")
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "2")
        stage.clock.advance(2)
        await stage.client.chat_update(**where, text="later")
