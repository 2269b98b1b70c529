"""What the app's manifest lets it do, and what Slack does to a typed command because of it."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from sandbox.slack.state import State

_TOKEN = re.compile(
    r"""(?P<url>https?://[^\s<>|"”]+)
      | (?<![^\s"'“‘(\[,;:=])(?P<mail>[A-Za-z0-9_][A-Za-z0-9._%+'-]*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)
      | (?<!\S)@(?P<person>[\w.-]+)
      | (?<!\S)\#(?P<channel>[\w-]+)
      | (?P<special>[&<>])""",
    re.VERBOSE,
)
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


class Manifest:
    """The parts of a parsed `manifest.yml` that decide what is delivered and what is refused."""

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        features = manifest.get("features", {})
        settings = manifest.get("settings", {})
        self._commands = {
            command["command"]: bool(command.get("should_escape", False))
            for command in features.get("slash_commands", ())
        }
        self.scopes: tuple[str, ...] = tuple(manifest["oauth_config"]["scopes"]["bot"])
        self.events = frozenset(settings.get("event_subscriptions", {}).get("bot_events", ()))
        home = features.get("app_home", {})
        self.home_tab = bool(home.get("home_tab_enabled", False))
        self.messages_tab = bool(home.get("messages_tab_enabled", False))
        self.is_interactive = bool(settings.get("interactivity", {}).get("is_enabled", False))

    def has_command(self, command: str) -> bool:
        """Whether the app registered this slash command."""
        return command in self._commands

    def escapes(self, command: str) -> bool:
        """Whether what follows this command is escaped before it is sent (`should_escape`)."""
        return self._commands[command]


def escaped(text: str, state: State) -> str:
    """Typed text as a command with `should_escape` receives it.

    `@olive` becomes `<@U…>`, `#helpdesk` `<#C…|helpdesk>` (a private channel `<#G…|>`), a link `<https://…>`, an
    address `<mailto:a@b.c|a@b.c>`; `&`, `<` and `>` become entities. Names nobody has stay as typed.
    """
    people = {person.name: person for person in state.people.values()}
    channels = {channel.name: channel for channel in state.channels.values() if not channel.is_im}

    def person(name: str) -> str:
        return f"<@{people[name].id}>" if name in people else f"@{name}"

    def channel(name: str) -> str:
        if name not in channels:
            return f"#{name}"
        found = channels[name]
        return f"<#{found.id}|{'' if found.is_private else found.name}>"

    forms: Mapping[str, Callable[[str], str]] = {
        "url": lambda url: f"<{url.replace('&', '&amp;')}>",
        "mail": lambda mail: f"<mailto:{mail}|{mail}>",
        "person": person,
        "channel": channel,
        "special": lambda character: _ENTITIES[character],
    }

    def form(found: re.Match[str]) -> str:
        kind = str(found.lastgroup)
        return forms[kind](found[kind])

    return _TOKEN.sub(form, text)
