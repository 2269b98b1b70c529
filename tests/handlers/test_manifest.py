"""The manifest lists exactly what is registered, and the scopes that the calls need."""

from __future__ import annotations

import ast
from pathlib import Path

from handlers.app import EVENTS
from handlers.commands import COMMANDS
from tests.handlers.stage import MANIFEST

NEEDS = {
    "auth_test": None,
    "bots_info": "users:read",
    "chat_postMessage": "chat:write",
    "chat_update": "chat:write",
    "chat_postEphemeral": "chat:write",
    "conversations_info": "channels:read",
    "conversations_open": "im:write",
    "files_completeUploadExternal": "files:write",
    "files_getUploadURLExternal": "files:write",
    "users_info": "users:read",
    "views_open": None,
    "views_update": None,
    "views_publish": None,
}
"""The Web API methods the bot may call, and the scope each needs (Slack docs: the page of each method)."""


def test_every_command_is_registered_and_every_registered_command_is_in_the_manifest() -> None:
    commands = MANIFEST["features"]["slash_commands"]

    assert {command["command"] for command in commands} == set(COMMANDS)
    assert all(command["should_escape"] for command in commands)


def test_every_event_is_registered_and_every_registered_event_is_in_the_manifest() -> None:
    assert set(MANIFEST["settings"]["event_subscriptions"]["bot_events"]) == set(EVENTS)


def test_the_methods_that_are_called_are_covered_by_the_scopes_and_no_scope_is_left_over() -> None:
    source = ast.parse((Path(__file__).parents[2] / "handlers" / "slack.py").read_text())
    called = {
        node.attr
        for node in ast.walk(source)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Attribute)
        and node.value.attr == "client"
        and "_" in node.attr
        and node.attr != "base_url"
    }
    scopes = set(MANIFEST["oauth_config"]["scopes"]["bot"])

    assert called == set(NEEDS)
    assert {scope for scope in NEEDS.values() if scope} <= scopes
    # Slash commands themselves, channels:read for private channels, and files that are fetched by no method.
    assert scopes - {scope for scope in NEEDS.values() if scope} == {"commands", "groups:read", "files:read"}
