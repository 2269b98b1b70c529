"""The Slack app's manifest says what the bot registers, hears and calls in a full run: no less, no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from handlers.app import EVENTS
from handlers.commands import COMMANDS
from tests.stage import HELPDESK, Stage

MANIFEST: dict[str, Any] = yaml.safe_load((Path(__file__).parent.parent / "manifest.yml").read_text(encoding="utf-8"))

# --- what a manifest may hold (Slack docs: *App manifest reference*), as far as ours goes -------------


def _text(longest: int, shortest: int = 1, **more: Any) -> dict[str, Any]:
    return {"type": "string", "minLength": shortest, "maxLength": longest, **more}


def _object(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def _list(items: dict[str, Any], most: int) -> dict[str, Any]:
    return {"type": "array", "items": items, "maxItems": most, "uniqueItems": True}


_SWITCH = {"type": "boolean"}
_COMMAND = _object(
    ("command", "description"),
    command=_text(32, 2, pattern="^/[a-z0-9_-]+$"),
    description=_text(2000),
    usage_hint=_text(1000),
    should_escape=_SWITCH,
    url=_text(3000, pattern="^https://"),
)
SCHEMA = _object(
    ("display_information",),
    _metadata=_object(major_version={"const": 2}, minor_version={"type": "integer"}),
    display_information=_object(
        ("name",),
        name=_text(35),
        description=_text(140),
        long_description=_text(4000, 175),
        background_color=_text(7, 4, pattern="^#([0-9a-fA-F]{3}){1,2}$"),
    ),
    features=_object(
        app_home=_object(
            home_tab_enabled=_SWITCH, messages_tab_enabled=_SWITCH, messages_tab_read_only_enabled=_SWITCH
        ),
        bot_user=_object(("display_name",), display_name=_text(80, pattern="^[a-z0-9_.-]+$"), always_online=_SWITCH),
        slash_commands=_list(_COMMAND, 50),
    ),
    oauth_config=_object(scopes=_object(bot=_list(_text(255, pattern="^[a-z:._]+$"), 255))),
    settings=_object(
        interactivity=_object(("is_enabled",), is_enabled=_SWITCH),
        event_subscriptions=_object(bot_events=_list(_text(255, pattern="^[a-z_.]+$"), 100)),
        org_deploy_enabled=_SWITCH,
        socket_mode_enabled=_SWITCH,
        token_rotation_enabled=_SWITCH,
    ),
)

NEEDS: dict[str, frozenset[str]] = {
    "auth.test": frozenset(),
    "apps.connections.open": frozenset(),  # the app-level token's own scope, connections:write
    "bots.info": frozenset({"users:read"}),
    "chat.postEphemeral": frozenset({"chat:write"}),
    "chat.postMessage": frozenset({"chat:write"}),
    "chat.update": frozenset({"chat:write"}),
    "conversations.info": frozenset({"channels:read", "groups:read"}),  # public channels, private ones
    "conversations.open": frozenset({"im:write"}),
    "files.completeUploadExternal": frozenset({"files:write"}),
    "files.getUploadURLExternal": frozenset({"files:write"}),
    "response_url": frozenset({"commands"}),
    "url_private": frozenset({"files:read"}),  # "File input element"
    "users.info": frozenset({"users:read"}),
    "views.open": frozenset(),
    "views.publish": frozenset(),
    "views.update": frozenset(),
}
"""The scopes of each method (Slack docs: the page of the method)."""


def test_the_manifest_is_one() -> None:
    assert [error.message for error in Draft202012Validator(SCHEMA).iter_errors(MANIFEST)] == []


def test_a_manifest_with_anything_else_in_it_is_none() -> None:
    """The schema itself is strict: it would find what Slack refuses."""
    spoiled: tuple[dict[str, Any], ...] = (
        {**MANIFEST, "extra": 1},
        {**MANIFEST, "display_information": {"name": "x" * 36}},
        {**MANIFEST, "features": {**MANIFEST["features"], "slash_commands": [{"command": "m365", "description": "x"}]}},
        {**MANIFEST, "oauth_config": {"scopes": {"bot": ["commands", "commands"]}}},
        {name: part for name, part in MANIFEST.items() if name != "display_information"},
    )
    for manifest in spoiled:
        assert list(Draft202012Validator(SCHEMA).iter_errors(manifest))


def test_commands_and_events_are_those_that_are_registered() -> None:
    features, settings = MANIFEST["features"], MANIFEST["settings"]

    assert sorted(command["command"] for command in features["slash_commands"]) == sorted(COMMANDS)
    assert sorted(settings["event_subscriptions"]["bot_events"]) == sorted(EVENTS)
    assert all(command["should_escape"] for command in features["slash_commands"])
    assert settings["interactivity"]["is_enabled"]
    assert features["app_home"]["home_tab_enabled"]
    assert features["app_home"]["messages_tab_enabled"]


def test_the_scopes_are_those_of_the_methods() -> None:
    assert set(MANIFEST["oauth_config"]["scopes"]["bot"]) == frozenset().union(*NEEDS.values())


async def test_in_a_full_run_each_method_is_called_and_no_other_and_slack_grants_them_all(stage: Stage) -> None:
    """Everything that people can do, from everywhere they can be."""
    slack = stage.world.slack
    card = await stage.reset("olive", "adele@contoso.com", "Adele Vance, Sales")
    await stage.ask("audrey", "/m365-audit adele@contoso.com --export csv")
    await slack.command("audrey", HELPDESK, "/m365-whatif draft")
    await stage.until(lambda: slack.modals("audrey"))
    await slack.submit("audrey", {"A file": ("policy.json", b"{}")})
    await slack.click("olive", card, "Reveal once")
    await stage.until(lambda: "[I have it]" in slack.modals("olive")[-1].visible_text)
    await slack.close("olive")
    await slack.open_home("olive")
    await slack.share_channel("#it-alerts")
    slack.join("latchkey", "#secret-project")
    for channel in (HELPDESK, "#secret-project", "#partners", "#random", "dm", "#it-alerts"):
        await stage.ask("olive", "/m365 show-user adele@contoso.com", channel=channel)
        await _blocks_alex(stage, channel)
    slack.join("otto", HELPDESK)
    undoable = next(message for message in slack.messages(HELPDESK) if "[Undo]" in message.visible_text)
    await slack.click("otto", undoable, "Undo")
    await stage.until(lambda: slack.ephemerals("otto"))

    calls = slack.calls()
    # Over HTTP the app's id is asked of bots.info; chat.postEphemeral is for who pressed without a response URL.
    assert {call.method for call in calls} <= set(NEEDS)
    assert set(NEEDS) - {call.method for call in calls} <= {"bots.info", "chat.postEphemeral"}
    assert [call for call in calls if call.answer.get("error") == "missing_scope"] == []


async def _blocks_alex(stage: Stage, channel: str) -> None:
    posted = len(stage.world.slack.calls("chat.postMessage"))
    await stage.world.slack.command("ana", channel, '/m365 block-sign-in alex@contoso.com --reason "test"')
    await stage.until(lambda: len(stage.world.slack.calls("chat.postMessage")) > posted)
    stage.world.clock.advance(1000)
    stage.world.directory.update_user("alex", enabled=True)


async def test_every_event_that_is_subscribed_to_is_heard(stage: Stage) -> None:
    """And whatever else Slack might send is acknowledged and left alone."""
    slack = stage.world.slack
    await slack.open_home("olive")
    await slack.change_person("olive", title="Service Desk")
    await slack.share_channel("#it-alerts")
    await slack.share_channel("#it-alerts", shared=False)

    heard = {each.payload["event"]["type"] for each in slack.deliveries if each.kind == "events_api"}
    assert heard == set(EVENTS)
    assert {each.ack.status for each in slack.deliveries} == {"ok"}


async def test_a_command_that_is_not_in_the_manifest_is_not_offered(stage: Stage) -> None:
    delivery = await stage.world.slack.command("olive", HELPDESK, "/m365-nothing at all")

    assert delivery.ack.status == "not_sent"
