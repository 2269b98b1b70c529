"""What people see: visible text, snapshots, and waiting for something to happen."""

import asyncio
import json
from typing import Any

import pytest

from tests.sandbox.slack_harness import a_workspace, actions, button, field, modal, option, section


def rich(*texts: str) -> dict[str, Any]:
    spans = [{"type": "text", "text": text} for text in texts]
    return {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": spans}]}


async def test_everything_a_reader_sees_is_in_the_visible_text() -> None:
    async with a_workspace() as stage:
        menu = {
            "type": "external_select",
            "action_id": "who",
            "placeholder": {"type": "plain_text", "text": "Find somebody"},
        }
        blocks = [
            {"type": "header", "text": {"type": "plain_text", "text": "Reset &amp; reveal"}},
            section(
                "For <@U0OLIVE001> in <#C0HELPDESK>, see <https://x.example|the page>", accessory=button("Open", "open")
            ),
            {"type": "section", "fields": [{"type": "mrkdwn", "text": "*Who*\nAdele &lt;Vance&gt;"}]},
            {"type": "context", "elements": [{"type": "plain_text", "text": "Job 7f3a"}]},
            {
                "type": "plan",
                "title": "1 of 2",
                "tasks": [
                    {
                        "type": "task_card",
                        "task_id": "1",
                        "title": "Sign in",
                        "status": "complete",
                        "output": rich("on", " time"),
                    },
                    {
                        "type": "task_card",
                        "task_id": "2",
                        "title": "Reset",
                        "status": "in_progress",
                        "details": rich("soon"),
                    },
                ],
            },
            {"type": "table", "rows": [[{"type": "raw_text", "text": "Policy"}, rich("blocks")]]},
            actions(
                button("Reveal once", "reveal"),
                menu,
                {"type": "overflow", "action_id": "more", "options": [option("Undo", "u")]},
                {
                    "type": "checkboxes",
                    "action_id": "c",
                    "options": [option("Sure", "s")],
                    "initial_options": [option("Sure", "s")],
                },
            ),
        ]
        await stage.client.chat_postMessage(channel="C0HELPDESK", text="fallback", blocks=blocks)

        assert stage.slack.messages("#helpdesk")[0].visible_text.splitlines() == [
            "Reset &amp; reveal",  # plain text is shown as it is
            "For @Olive Hart in #helpdesk, see the page",
            "[Open]",
            "*Who*",
            "Adele <Vance>",
            "Job 7f3a",
            "1 of 2",
            "(complete) Sign in",
            "on time",
            "(in_progress) Reset",
            "soon",
            "Policy | blocks",
            "[Reveal once]  [Find somebody]  [Undo]  (x) Sure",
        ]


@pytest.mark.parametrize(
    ("form", "shown"),
    [
        ("{date_num} {time}", "2026-07-01 13:30"),
        ("{date_short_pretty} at {time_secs}", "today at 13:30:00"),
        ("{date_long}", "Wednesday, July 1, 2026"),
        ("{ago}", "5 minutes ago"),
    ],
)
async def test_times_are_shown_in_the_readers_zone(form: str, shown: str) -> None:
    async with a_workspace() as stage:
        noon = 1782909000  # 2026-07-01 12:30 UTC, summer in London
        stage.clock.advance(noon + 300 - stage.clock.now())
        await stage.client.chat_postMessage(channel="C0HELPDESK", text=f"<!date^{noon}^{form}|12:30 UTC>")

        assert stage.slack.messages("#helpdesk")[0].visible_text == shown


async def test_a_snapshot_shows_a_person_what_is_theirs_and_nothing_else() -> None:
    async with a_workspace() as stage:
        ts = (await stage.client.chat_postMessage(channel="C0HELPDESK", text="card"))["ts"]
        await stage.client.chat_postMessage(channel="C0HELPDESK", text="step", thread_ts=ts)
        await stage.client.chat_postEphemeral(channel="C0HELPDESK", user="U0OLIVE001", text="psst")
        await stage.client.chat_postMessage(channel="U0OLIVE001", text="direct")
        delivery = await stage.slack.command("olive", "#helpdesk", "/raw")
        await stage.client.views_open(
            trigger_id=delivery.trigger_id, view=modal("Form", field("Why", "why", {"type": "plain_text_input"}))
        )
        await stage.slack.fill("olive", {"Why": "beca"})

        olive, ana, otto = (stage.slack.snapshot(person) for person in ("olive", "ana", "otto"))

        json.dumps([olive, ana, otto])
        places = {c["id"]: c for c in olive["channels"]}
        assert [(m["text"], m["thread_ts"], m["to"]) for m in places["C0HELPDESK"]["messages"]][:3] == [
            ("card", None, None),
            ("step", ts, None),
            ("psst", None, "U0OLIVE001"),
        ]
        assert [m["text"] for m in places["D0OLIVE001"]["messages"]] == ["direct"]
        assert olive["modal"]["values"]["why"]["value"]["value"] == "beca"
        assert "psst" not in json.dumps(ana)
        assert "direct" not in json.dumps(ana)
        assert ana["modal"] is None
        assert [c["name"] for c in otto["channels"]] == ["partners", "dm-otto"]


async def test_a_page_puts_what_its_fields_hold_into_the_form() -> None:
    async with a_workspace() as stage:
        delivery = await stage.slack.command("olive", "#helpdesk", "/raw")
        form = modal("Form", field("Why", "why", {"type": "plain_text_input"}))
        await stage.client.views_open(trigger_id=delivery.trigger_id, view=form)

        stage.slack.hold("olive", "modal", {"why": {"value": {"type": "plain_text_input", "value": "typed"}}})

        submitted = await stage.slack.submit("olive")
        assert submitted.payload["view"]["state"]["values"]["why"]["value"]["value"] == "typed"
        with pytest.raises(LookupError, match="there is no plain_text_input 'other'"):
            stage.slack.hold("olive", "modal", {"why": {"other": {"type": "plain_text_input", "value": "x"}}})


async def test_the_version_grows_and_can_be_waited_for() -> None:
    async with a_workspace() as stage:
        before = stage.slack.version
        assert await stage.slack.wait_newer(before, timeout=0) == before

        waiting = asyncio.create_task(stage.slack.wait_newer(before, timeout=5))
        await stage.client.chat_postMessage(channel="C0HELPDESK", text="x")

        assert await waiting > before


async def test_waiting_ends_when_it_comes_true_and_tells_what_there_is_when_it_does_not() -> None:
    async with a_workspace() as stage:
        waiting = asyncio.create_task(stage.slack.until(lambda: stage.slack.messages("#helpdesk")[0].text))
        await stage.client.chat_postMessage(channel="C0HELPDESK", text="here I am")
        assert await waiting == "here I am"

        with pytest.raises(AssertionError, match=r"(?s)not true within 0 s.*#helpdesk Latchkey:\nhere I am"):
            await stage.slack.until(lambda: stage.slack.messages("#it-alerts")[0], timeout=0)


async def test_history_holds_what_was_ever_said_but_not_what_a_modal_showed() -> None:
    async with a_workspace() as stage:
        delivery = await stage.slack.command("olive", "#helpdesk", "/raw")
        await stage.client.views_open(trigger_id=delivery.trigger_id, view=modal("Secret", section("hunter2")))
        await stage.client.views_publish(user_id="U0OLIVE001", view={"type": "home", "blocks": [section("at home")]})
        posted = await stage.client.chat_postMessage(channel="C0HELPDESK", text="oops")
        await stage.client.chat_delete(channel="C0HELPDESK", ts=posted["ts"])

        text = stage.slack.history_text()
        assert "at home" in text
        assert "oops" in text
        assert "hunter2" not in text
        assert {record.kind for record in stage.slack.history} == {"modal", "home", "message", "ephemeral"}
