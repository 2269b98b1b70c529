"""Buttons, menus, forms and App Home: what people do and what the app receives."""

import re
from datetime import datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

import pytest
from slack_bolt.context.ack.async_ack import AsyncAck
from slack_bolt.context.respond.async_respond import AsyncRespond
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from sandbox.slack import AckStatus, Delivery, Message, NotOnScreen, View
from tests.sandbox.slack_harness import (
    MANIFEST,
    Stage,
    a_workspace,
    actions,
    button,
    field,
    modal,
    option,
    running,
    section,
)

both = pytest.mark.parametrize("transport", ["socket", "http"])
PLAIN = {"type": "plain_text_input"}
COLOURS = [option("Dark red", "r"), option("Dark blue", "b")]


async def card(stage: Stage, *blocks: dict[str, Any], channel: str = "C0HELPDESK") -> Message:
    """A message of the bot."""
    await stage.client.chat_postMessage(channel=channel, text="card", blocks=list(blocks))
    return stage.slack.messages(channel)[-1]


async def opened(stage: Stage, view: dict[str, Any]) -> View:
    """A modal the bot opened for Olive."""
    delivery = await stage.slack.command("olive", "#helpdesk", "/m365 form")
    await stage.client.views_open(trigger_id=delivery.trigger_id, view=view)
    return await stage.slack.until(lambda: stage.slack.modals("olive")[-1])


# Messages.


@both
async def test_a_click_tells_who_where_and_what(transport: Literal["socket", "http"]) -> None:
    async with a_workspace(transport=transport) as stage:
        app, bodies = stage.bolt(), []

        @app.action("approve")
        async def approve(ack: AsyncAck, body: dict[str, Any]) -> None:
            bodies.append(body)
            await ack()

        message = await card(stage, actions(button("Approve", "approve", value="91c2", style="primary")))
        async with running(stage, app):
            delivery = await stage.slack.click("ana", message, "Approve")

        [body] = bodies
        assert delivery.ack.status is AckStatus.OK
        assert body["user"] == {"id": "U0ANA00001", "username": "ana", "name": "ana", "team_id": "T0CONTOSO"}
        assert body["team"] == {"id": "T0CONTOSO", "domain": "contoso"}
        assert body["container"] == {
            "type": "message",
            "message_ts": message.ts,
            "channel_id": "C0HELPDESK",
            "is_ephemeral": False,
        }
        assert body["channel"] == {"id": "C0HELPDESK", "name": "helpdesk"}
        assert body["message"]["ts"] == message.ts
        assert body["state"] == {"values": {}}
        [action] = body["actions"]
        assert (action["action_id"], action["value"], action["type"]) == ("approve", "91c2", "button")
        assert action["block_id"] == message.blocks[0]["block_id"]


async def test_an_outsiders_click_names_both_workspaces() -> None:
    async with a_workspace() as stage:
        message = await card(stage, actions(button("Approve", "approve")), channel="C0PARTNERS")

        delivery = await stage.slack.click("otto", message, "Approve")

        assert delivery.payload["user"]["team_id"] == "T0PARTNER0"
        assert delivery.payload["team"]["id"] == "T0CONTOSO"


async def test_a_person_told_to_press_what_is_not_there_learns_what_is() -> None:
    async with a_workspace() as stage:
        message = await card(stage, actions(button("Approve", "approve"), button("Deny", "deny")))
        elsewhere = await card(stage, actions(button("Approve", "approve")), channel="C0ALERTS01")

        with pytest.raises(NotOnScreen, match=r"no 'Undo' here; there is: 'Approve' \(approve\), 'Deny' \(deny\)"):
            await stage.slack.click("olive", message, "Undo")
        with pytest.raises(NotOnScreen, match="otto does not have this on the screen"):
            await stage.slack.click("otto", elsewhere, "Approve")
        await stage.client.chat_update(channel="C0HELPDESK", ts=message.ts, text="Done", blocks=[section("Done")])
        with pytest.raises(NotOnScreen, match="nothing to use"):
            await stage.slack.click("olive", message, "Approve")


async def test_a_button_for_one_person_is_not_shown_to_another() -> None:
    async with a_workspace() as stage:
        only = button("Reveal once", "reveal", visible_to_user_ids=["U0OLIVE001"])
        message = await card(stage, actions(only, button("Help", "help")))

        with pytest.raises(NotOnScreen, match="not shown to ana"):
            await stage.slack.click("ana", message, "Reveal once")
        shown = {p: stage.slack.snapshot(p)["channels"][0]["messages"][0]["blocks"] for p in ("olive", "ana")}
        assert [len(shown[p][0]["elements"]) for p in ("olive", "ana")] == [2, 1]


async def test_a_forged_value_and_a_forged_payload_are_delivered_as_asked() -> None:
    async with a_workspace() as stage:
        message = await card(stage, actions(button("Approve", "approve", value="mine")))

        forged = await stage.slack.click("olive", message, "Approve", value="yours")
        assert forged.payload["actions"][0]["value"] == "yours"
        payload = {**forged.payload, "api_app_id": "A0SOMEBODY", "user": {"id": "U0NOBODY00"}}
        assert (await stage.slack.deliver("interactive", payload)).payload["api_app_id"] == "A0SOMEBODY"


async def test_choices_in_a_message_travel_with_its_state_per_person() -> None:
    async with a_workspace() as stage:
        menu = {
            "type": "static_select",
            "action_id": "colour",
            "options": COLOURS,
            "placeholder": {"type": "plain_text", "text": "Colour"},
        }
        message = await card(stage, {**actions(menu, button("Go", "go")), "block_id": "row"})

        chosen = await stage.slack.choose("olive", message, "Colour", "blue")
        assert chosen is not None
        assert chosen.payload["actions"][0]["selected_option"] == COLOURS[1]

        state = {p: (await stage.slack.click(p, message, "Go")).payload["state"]["values"] for p in ("olive", "ana")}
        assert state["olive"] == {"row": {"colour": {"type": "static_select", "selected_option": COLOURS[1]}}}
        assert state["ana"] == {}


async def test_an_answer_through_the_response_url_can_replace_or_delete_the_message() -> None:
    async with a_workspace() as stage:
        app = stage.bolt()

        @app.action("replace")
        async def replace(ack: AsyncAck, respond: AsyncRespond) -> None:
            await ack()
            await respond("Replaced", replace_original=True)

        @app.action("delete")
        async def delete(ack: AsyncAck, respond: AsyncRespond) -> None:
            await ack()
            await respond(delete_original=True)

        whisper = await stage.client.chat_postEphemeral(
            channel="C0HELPDESK", user="U0OLIVE001", text="psst", blocks=[actions(button("Replace", "replace"))]
        )
        loud = await card(stage, actions(button("Delete", "delete")))
        async with running(stage, app):
            [ephemeral] = stage.slack.ephemerals("olive")
            clicked = await stage.slack.click("olive", ephemeral, "Replace")
            await stage.slack.click("olive", loud, "Delete")
            await stage.slack.until(lambda: not stage.slack.messages("#helpdesk"))
            await stage.slack.until(lambda: ephemeral.visible_text == "Replaced")

        assert clicked.payload["container"]["is_ephemeral"] is True
        assert clicked.payload["container"]["message_ts"] == whisper["message_ts"]
        assert "message" not in clicked.payload
        assert ephemeral.to == "U0OLIVE001"


async def test_a_click_that_is_not_acknowledged_is_shown_to_who_clicked() -> None:
    async with a_workspace() as stage:
        message = await card(stage, actions(button("Approve", "approve")))

        delivery = await stage.slack.click("ana", message, "Approve")

        assert delivery.ack.status is AckStatus.UNDELIVERED
        assert "could not be reached" in stage.slack.ephemerals("ana")[-1].visible_text


async def test_an_app_without_interactivity_hears_of_no_click() -> None:
    manifest: dict[str, Any] = {"oauth_config": {"scopes": {"bot": ["chat:write"]}}}
    async with a_workspace(manifest=manifest) as stage:
        message = await card(stage, actions(button("Approve", "approve")))

        assert (await stage.slack.click("ana", message, "Approve")).ack.status is AckStatus.NOT_SENT


# Forms.


async def test_a_trigger_opens_one_modal_within_three_seconds() -> None:
    async with a_workspace() as stage:

        async def error(trigger_id: str) -> str:
            with pytest.raises(SlackApiError) as refused:
                await stage.client.views_open(trigger_id=trigger_id, view=modal("Form", section("x")))
            return str(refused.value.response["error"])

        used = await stage.slack.command("olive", "#helpdesk", "/m365")
        await stage.client.views_open(trigger_id=used.trigger_id, view=modal("Form", section("x")))
        assert await error(used.trigger_id) == "exchanged_trigger_id"

        late = await stage.slack.command("olive", "#helpdesk", "/m365")
        stage.clock.advance(3.1)
        assert await error(late.trigger_id) == "expired_trigger_id"
        assert await error("1.2.3") == "invalid_trigger_id"


async def test_a_refused_view_is_pointed_at_and_leaves_the_trigger_usable() -> None:
    async with a_workspace() as stage:
        delivery = await stage.slack.command("olive", "#helpdesk", "/m365")

        with pytest.raises(SlackApiError) as refused:
            await stage.client.views_open(trigger_id=delivery.trigger_id, view=modal("x" * 25, section("x")))
        assert refused.value.response["error"] == "invalid_arguments"
        [message] = refused.value.response["response_metadata"]["messages"]
        assert message == "[ERROR] must be less than 25 characters [json-pointer:/view/title/text]"
        await stage.client.views_open(trigger_id=delivery.trigger_id, view=modal("Form", section("x")))

        large = modal("Form", *(section("x" * 3000) for _ in range(84)))
        again = await stage.slack.command("olive", "#helpdesk", "/m365")
        with pytest.raises(SlackApiError, match="view_too_large"):
            await stage.client.views_open(trigger_id=again.trigger_id, view=large)


@both
async def test_a_submitted_form_carries_every_field_and_closes(transport: Literal["socket", "http"]) -> None:
    async with a_workspace(transport=transport) as stage:
        app, bodies = stage.bolt(), []

        @app.command("/m365")
        async def form(ack: AsyncAck, client: AsyncWebClient, body: dict[str, Any]) -> None:
            await ack()
            view = modal(
                "Reset",
                field("Why", "why", PLAIN),
                field("Note", "note", PLAIN, optional=True),
                field("How verified", "verified", {"type": "radio_buttons", "options": COLOURS}),
                field("Until", "until", {"type": "datepicker", "initial_date": "2026-12-24"}),
                field("Who", "who", {"type": "users_select"}),
                field("Agreed", "agreed", {"type": "checkboxes", "options": [option("Yes", "yes")]}),
                callback_id="reset",
                private_metadata="7f3a",
            )
            await client.views_open(trigger_id=body["trigger_id"], view=view)

        @app.view("reset")
        async def submitted(ack: AsyncAck, body: dict[str, Any]) -> None:
            bodies.append(body)
            await ack()

        async with running(stage, app):
            await stage.slack.command("olive", "#helpdesk", "/m365 reset")
            await stage.slack.until(lambda: stage.slack.modal("olive"))
            await stage.slack.submit("olive", {"why": "locked out", "verified": "blue", "Who": "bo", "Agreed": True})

        [body] = bodies
        assert stage.slack.modal("olive") is None
        assert (body["view"]["private_metadata"], body["view"]["app_installed_team_id"]) == ("7f3a", "T0CONTOSO")
        assert body["user"]["team_id"] == body["team"]["id"] == "T0CONTOSO"
        assert body["view"]["state"]["values"] == {
            "why": {"value": {"type": "plain_text_input", "value": "locked out"}},
            "note": {"value": {"type": "plain_text_input", "value": None}},
            "verified": {"value": {"type": "radio_buttons", "selected_option": COLOURS[1]}},
            "until": {"value": {"type": "datepicker", "selected_date": "2026-12-24"}},
            "who": {"value": {"type": "users_select", "selected_user": "U0BO000001"}},
            "agreed": {"value": {"type": "checkboxes", "selected_options": [option("Yes", "yes")]}},
        }


async def test_an_incomplete_form_is_held_back_by_slack() -> None:
    async with a_workspace() as stage:
        view = await opened(
            stage,
            modal(
                "Form",
                field("Why", "why", {**PLAIN, "min_length": 5}),
                field("How many", "count", {"type": "number_input", "is_decimal_allowed": False, "max_value": "9"}),
            ),
        )

        assert (await stage.slack.submit("olive")).ack.status is AckStatus.NOT_SENT
        assert view.errors == dict.fromkeys(("why", "count"), "Please complete this required field.")
        await stage.slack.submit("olive", {"Why": "no", "How many": "12"})
        assert view.errors["why"] == "Please lengthen this to at least 5 characters."
        assert view.errors["count"] == "Please enter a number in range."
        assert "Please lengthen" in view.visible_text
        assert stage.slack.deliveries[-1].payload == {}


async def submitted(stage: Stage, **answer: Any) -> tuple[Delivery, View]:
    """Olive's form after the app answered her submission like this; what she typed stays."""
    app = stage.bolt()

    @app.view("form")
    async def submission(ack: AsyncAck) -> None:
        await ack(**answer)

    view = await opened(stage, modal("Form", field("Why", "why", PLAIN), callback_id="form"))
    async with running(stage, app):
        delivery = await stage.slack.submit("olive", {"why": "because"})
    return delivery, view


async def test_errors_stand_at_their_fields() -> None:
    async with a_workspace() as stage:
        _, view = await submitted(stage, response_action="errors", errors={"why": "Say more."})

        assert (stage.slack.modal("olive"), view.errors, view.notice) == (view, {"why": "Say more."}, "")
        assert "because" in view.visible_text


async def test_an_answer_slack_cannot_use_leaves_trouble_in_the_form() -> None:
    async with a_workspace() as stage:
        delivery, view = await submitted(stage, response_action="errors", errors={"nowhere": "Say more."})

        assert delivery.ack.status is AckStatus.INVALID
        assert view.notice == "We had some trouble connecting. Try again?"
        assert view.notice in view.visible_text


async def test_an_update_shows_another_form_and_keeps_what_was_typed() -> None:
    async with a_workspace() as stage:
        later = modal("Later", section("More?"), field("Why", "why", PLAIN))
        _, view = await submitted(stage, response_action="update", view=later)

        assert stage.slack.modal("olive") is view
        assert view.visible_text == "Later\nMore?\nWhy\n[because]\n[Save]"


async def test_a_push_stacks_and_clear_takes_everything_away() -> None:
    async with a_workspace() as stage:
        await submitted(stage, response_action="push", view=modal("On top", section("x")))
        assert [v.words("title") for v in stage.slack.modals("olive")] == ["Form", "On top"]
        await submitted(stage, response_action="clear")
        assert stage.slack.modals("olive") == []


async def test_an_outsiders_form_names_their_workspace_and_may_not_name_it_twice() -> None:
    async with a_workspace() as stage:
        message = await card(stage, actions(button("Approve", "approve")), channel="C0PARTNERS")
        trigger = (await stage.slack.click("otto", message, "Approve")).trigger_id
        await stage.client.views_open(trigger_id=trigger, view=modal("Form", section("x")))
        stage.slack.names_team_in_submissions = False

        delivery = await stage.slack.submit("otto")

        assert delivery.payload["team"]["id"] == "T0PARTNER0"
        assert delivery.payload["view"]["app_installed_team_id"] == "T0CONTOSO"
        assert "team_id" not in delivery.payload["user"]


async def test_a_stack_has_three_modals_at_most() -> None:
    async with a_workspace() as stage:
        row = {**actions(button("More", "more")), "block_id": "row"}
        await opened(stage, modal("1", row))
        for title in ("2", "3"):
            trigger = (await stage.slack.click("olive", "modal", "More")).trigger_id
            await stage.client.views_push(trigger_id=trigger, view=modal(title, row))

        trigger = (await stage.slack.click("olive", "modal", "More")).trigger_id
        with pytest.raises(SlackApiError, match="push_limit_reached"):
            await stage.client.views_push(trigger_id=trigger, view=modal("4", row))
        first, _, third = stage.slack.modals("olive")
        assert third.root_id == first.id

        outside = await stage.slack.command("olive", "#helpdesk", "/m365")
        with pytest.raises(SlackApiError, match="not_found"):
            await stage.client.views_push(trigger_id=outside.trigger_id, view=modal("5", row))


async def test_a_view_changed_meanwhile_is_not_overwritten() -> None:
    async with a_workspace() as stage:
        view = await opened(stage, modal("Form", section("x"), external_id="job-7"))
        old = view.hash

        await stage.client.views_update(external_id="job-7", hash=old, view=modal("Form", section("y")))
        with pytest.raises(SlackApiError, match="hash_conflict"):
            await stage.client.views_update(view_id=view.id, hash=old, view=modal("Form", section("z")))
        assert view.visible_text == "Form\ny\n[Save]"

        await stage.slack.close("olive")
        with pytest.raises(SlackApiError, match="not_found"):
            await stage.client.views_update(view_id=view.id, view=modal("Form", section("z")))


async def test_closing_is_told_only_where_the_form_asks_for_it() -> None:
    async with a_workspace() as stage:
        await opened(stage, modal("Quiet", section("x")))
        assert await stage.slack.close("olive") is None

        view = await opened(stage, modal("Loud", section("x"), notify_on_close=True, callback_id="loud"))
        told = await stage.slack.close("olive", everything=True)
        assert told is not None
        assert (told.payload["type"], told.payload["is_cleared"]) == ("view_closed", True)
        assert told.payload["view"]["id"] == view.id
        with pytest.raises(NotOnScreen):
            await stage.slack.close("olive")


async def test_a_button_in_a_form_sends_what_is_typed_so_far() -> None:
    async with a_workspace() as stage:
        view = await opened(stage, modal("Form", field("Why", "why", PLAIN), actions(button("Check", "check"))))
        await stage.slack.fill("olive", {"Why": "half a rea"})

        delivery = await stage.slack.click("olive", view, "Check")

        assert delivery.payload["container"] == {"type": "view", "view_id": view.id}
        assert delivery.payload["view"]["state"]["values"]["why"]["value"]["value"] == "half a rea"
        assert "response_url" not in delivery.payload
        assert view.notice  # nobody is connected


# Menus whose options the app gives.


async def test_a_search_asks_the_app_and_its_answer_can_be_chosen() -> None:
    async with a_workspace() as stage:
        app, typed = stage.bolt(), []

        @app.options("value")
        async def search(ack: AsyncAck, body: dict[str, Any]) -> None:
            typed.append((body["value"], body["user"]["team_id"], body["container"]["type"]))
            found = [option("Adele Vance", "1"), option("Alex Wilber", "2")]
            await ack(options=[o for o in found if body["value"].lower() in o["text"]["text"].lower()])

        who = field("Who", "who", {"type": "external_select", "min_query_length": 2})
        view = await opened(stage, modal("Form", who))
        async with running(stage, app):
            assert await stage.slack.options("olive", view, "Who", "a") == []
            found = await stage.slack.options("olive", view, "Who", "al")
            await stage.slack.fill("olive", {"Who": "Adele"})
            with pytest.raises(NotOnScreen, match="no one option 'Zoë'"):
                await stage.slack.fill("olive", {"Who": "Zoë"})

        assert typed[0] == ("al", "T0CONTOSO", "view")
        assert [o["text"]["text"] for o in found] == ["Alex Wilber"]
        assert view.values["who"]["value"]["selected_option"]["value"] == "1"
        assert "[Adele Vance]" in view.visible_text


async def test_more_than_100_options_are_none() -> None:
    async with a_workspace() as stage:
        app = stage.bolt()

        @app.options("value")
        async def search(ack: AsyncAck) -> None:
            await ack(options=[option("x", str(n)) for n in range(101)])

        view = await opened(stage, modal("Form", field("Who", "who", {"type": "external_select"})))
        async with running(stage, app):
            assert await stage.slack.options("olive", view, "Who", "abc") == []

        assert stage.slack.deliveries[-1].ack.status is AckStatus.INVALID


# App Home.


@both
async def test_opening_home_tells_the_app_which_publishes_it(transport: Literal["socket", "http"]) -> None:
    async with a_workspace(transport=transport) as stage:
        app = stage.bolt()

        @app.event("app_home_opened")
        async def home(event: dict[str, Any], client: AsyncWebClient) -> None:
            again = "view" in event
            blocks = [section(f"{event['tab']}, again: {again}"), actions(button("Edit", "edit"))]
            await client.views_publish(user_id=event["user"], view={"type": "home", "blocks": blocks})

        async with running(stage, app):
            texts = [view.visible_text for view in (await stage.slack.open_home("ana"),) if view]
            texts += [view.visible_text for view in (await stage.slack.open_home("ana"),) if view]

        assert texts == ["home, again: False\n[Edit]", "home, again: True\n[Edit]"]
        assert stage.slack.home("olive") is None
        assert stage.slack.deliveries[0].payload["event"]["channel"] == stage.slack.direct("ana").id
        edit = await stage.slack.click("ana", "home", "Edit")
        assert edit.payload["view"]["type"] == "home"


async def test_home_knows_its_hash_and_whether_there_is_a_tab() -> None:
    async with a_workspace() as stage:
        view = {"type": "home", "blocks": [section("x")]}
        old = (await stage.client.views_publish(user_id="U0ANA00001", view=view))["view"]["hash"]
        await stage.client.views_publish(user_id="U0ANA00001", view=view, hash=old)
        with pytest.raises(SlackApiError, match="hash_conflict"):
            await stage.client.views_publish(user_id="U0ANA00001", view=view, hash=old)

    manifest: dict[str, Any] = {"oauth_config": {"scopes": {"bot": ["chat:write"]}}}
    async with a_workspace(manifest=manifest) as stage:
        with pytest.raises(SlackApiError, match="not_enabled"):
            await stage.client.views_publish(user_id="U0ANA00001", view=view)
        with pytest.raises(SlackApiError, match="messages_tab_disabled"):
            await stage.client.chat_postMessage(channel="U0ANA00001", text="x")


# Menus and lines.

OPERATORS = [
    section("*Olive Hart* · help desk", accessory=button("Revoke", "revoke.olive", value="g1")),
    section("*Vic Moss* · viewer", accessory={**button("Revoke", "revoke.vic"), "value": "g2"}),
    {"type": "context", "elements": [{"type": "mrkdwn", "text": "until tomorrow"}]},
    actions({"type": "overflow", "action_id": "more.vic", "options": [option("Extend", "e2"), option("Ask", "a2")]}),
    section("*Bo Lind* · tenant admin"),
    actions({"type": "overflow", "action_id": "more.bo", "options": [option("Extend", "e3"), option("Ask", "a3")]}),
]


async def test_of_several_that_look_alike_one_presses_the_one_in_a_line() -> None:
    async with a_workspace() as stage:
        app, bodies = stage.bolt(), []

        @app.action(re.compile(".*"))
        async def used(ack: AsyncAck, body: dict[str, Any]) -> None:
            bodies.append(body["actions"][0])
            await ack()

        message = await card(stage, *OPERATORS)
        async with running(stage, app):
            with pytest.raises(NotOnScreen, match="'Revoke' could be any of"):
                await stage.slack.click("ana", message, "Revoke")
            await stage.slack.click("ana", message, "Revoke", beside="Vic Moss")
            await stage.slack.click("ana", message, "Extend", beside="until tomorrow")
            await stage.slack.click("ana", message, "Ask", beside="Bo Lind")

        assert [body["action_id"] for body in bodies] == ["revoke.vic", "more.vic", "more.bo"]
        assert [body["selected_option"]["value"] for body in bodies[1:]] == ["e2", "a3"]


async def test_a_menu_offers_what_its_person_could_choose() -> None:
    public = {"include": ["public"], "exclude_external_shared_channels": True}
    work = field("Work channels", "work", {"type": "multi_conversations_select", "filter": public})
    who = field("Who", "who", {"type": "users_select"})
    until = field("Until", "until", {"type": "datepicker"})
    async with a_workspace() as stage:
        view = await opened(stage, modal("Settings", work, who, until))
        for channel in ("#partners", "#secret-project"):
            with pytest.raises(NotOnScreen, match="is not offered to olive in 'Work channels'"):
                await stage.slack.choose("olive", view, "Work", [channel])
        with pytest.raises(NotOnScreen, match="dora is deactivated"):
            await stage.slack.choose("olive", view, "Who", "dora")
        await stage.slack.fill("olive", {"Work": ["#helpdesk", "#random"], "Who": "bo", "Until": "in 7 days"})

        assert view.values["work"]["value"]["selected_conversations"] == ["C0HELPDESK", "C0RANDOM01"]
        assert view.values["who"]["value"]["selected_user"] == "U0BO000001"
        week = datetime.fromtimestamp(stage.clock.now(), ZoneInfo("Europe/London")) + timedelta(days=7)
        assert view.values["until"]["value"]["selected_date"] == f"{week:%Y-%m-%d}"


async def test_somebody_who_is_deactivated_is_told_of_and_comes_back() -> None:
    async with a_workspace() as stage:
        app, seen = stage.bolt(), []

        @app.event("user_change")
        async def changed(event: dict[str, Any]) -> None:
            seen.append((event["user"]["id"], event["user"]["deleted"]))

        async with running(stage, app):
            await stage.slack.deactivate("olive")
            assert (await stage.client.users_info(user="U0OLIVE001"))["user"]["deleted"] is True
            await stage.slack.reactivate("olive")

        assert seen == [("U0OLIVE001", True), ("U0OLIVE001", False)]


async def test_a_file_is_handed_over_by_a_form_and_read_with_the_scope_for_it() -> None:
    scopes = [*MANIFEST["oauth_config"]["scopes"]["bot"], "files:read"]
    draft = {"type": "file_input", "filetypes": ["json"], "max_files": 1}
    view = modal("Form", field("A file", "file", draft))
    async with a_workspace(manifest={**MANIFEST, "oauth_config": {"scopes": {"bot": scopes}}}) as stage:
        await opened(stage, view)
        for wrong in ("no-such-file.json", ("a.exe", b""), [("a.json", b"{}"), ("b.json", b"{}")]):
            with pytest.raises(NotOnScreen):
                await stage.slack.submit("olive", {"A file": wrong})
        sent = await stage.slack.submit("olive", {"A file": ("a.json", b"{}")})

        (held,) = sent.payload["view"]["state"]["values"]["file"].values()
        (file,) = held["files"]
        assert (file["name"], file["filetype"], file["size"], file["user"]) == ("a.json", "json", 2, "U0OLIVE001")
        token = {"Authorization": f"Bearer {stage.slack.bot_token}"}
        async with stage.http.get(file["url_private"], headers=token) as answer:
            assert await answer.read() == b"{}"
        async with stage.http.get(file["url_private"], allow_redirects=False) as answer:
            assert answer.status == 302
        async with stage.http.get(file["url_private"].replace(file["id"], "F0NONE"), headers=token) as answer:
            assert answer.status == 404
    async with a_workspace() as stage:
        with pytest.raises(SlackApiError) as refused:
            await opened(stage, view)
        assert refused.value.response["error"] == "invalid_arguments"
