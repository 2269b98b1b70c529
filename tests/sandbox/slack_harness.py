"""A pretend workspace on a real port and a real Bolt app against it, for the tests of the workspace itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp
from aiohttp import web
from slack_bolt.adapter.aiohttp import to_aiohttp_response, to_bolt_request
from slack_bolt.adapter.socket_mode.async_handler import AsyncSocketModeHandler
from slack_bolt.app.async_app import AsyncApp
from slack_sdk.web.async_client import AsyncWebClient

from sandbox.clock import WorldClock
from sandbox.faults import Faults
from sandbox.slack import RateLimits, SlackWorkspace

MANIFEST: dict[str, Any] = {
    "features": {
        "app_home": {"home_tab_enabled": True, "messages_tab_enabled": True},
        "slash_commands": [{"command": "/m365", "should_escape": True}, {"command": "/raw"}],
    },
    "oauth_config": {
        "scopes": {"bot": ["commands", "chat:write", "im:write", "users:read", "channels:read", "groups:read"]}
    },
    "settings": {
        "interactivity": {"is_enabled": True},
        "event_subscriptions": {"bot_events": ["app_home_opened", "user_change", "channel_shared"]},
    },
}


@dataclass(frozen=True)
class Stage:
    """A served workspace, with a Web API client that holds the bot's token."""

    slack: SlackWorkspace
    clock: WorldClock
    faults: Faults
    client: AsyncWebClient
    http: aiohttp.ClientSession

    def client_with(self, token: str) -> AsyncWebClient:
        """A Web API client with another token."""
        return AsyncWebClient(token, base_url=f"{self.slack.base_url}/slack/api/", session=self.http)

    def client_without_retries(self) -> AsyncWebClient:
        """A Web API client that gives up at the first lost connection, which the SDK's own does not."""
        return AsyncWebClient(self.client.token, base_url=self.client.base_url, session=self.http, retry_handlers=[])

    def bolt(self) -> AsyncApp:
        """A Bolt app of this workspace, with no listeners yet."""
        return AsyncApp(client=self.client, signing_secret=self.slack.signing_secret)


@asynccontextmanager
async def a_workspace(
    *,
    transport: Literal["socket", "http"] = "socket",
    manifest: dict[str, Any] = MANIFEST,
    limits: RateLimits | None = None,
) -> AsyncIterator[Stage]:
    """Serve a workspace on loopback."""
    clock, faults = WorldClock(), Faults()
    slack = SlackWorkspace(clock, faults, manifest, transport=transport, limits=limits)
    app = web.Application()
    slack.routes(app)
    async with served(app) as url, aiohttp.ClientSession() as http:
        slack.base_url = url
        client = AsyncWebClient(slack.bot_token, base_url=f"{url}/slack/api/", session=http)
        try:
            yield Stage(slack, clock, faults, client, http)
        finally:
            await slack.stop()


@asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[str]:
    """Serve an application on a free port of loopback; its address."""
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def running(stage: Stage, app: AsyncApp, connections: int = 1) -> AsyncIterator[None]:
    """Run a Bolt app against the workspace, over whichever transport the workspace has."""
    if stage.slack.transport == "http":
        async with _over_http(stage, app):
            yield
        return
    handlers = [
        AsyncSocketModeHandler(
            app, stage.slack.app_token, web_client=stage.client_with(stage.slack.app_token), ping_interval=1
        )
        for _ in range(connections)
    ]
    for handler in handlers:
        await handler.connect_async()  # type: ignore[no-untyped-call]  # Bolt left it untyped
    await stage.slack.connected(connections)
    try:
        yield
    finally:
        for handler in handlers:
            await handler.close_async()  # type: ignore[no-untyped-call]  # the same


@asynccontextmanager
async def _over_http(stage: Stage, app: AsyncApp) -> AsyncIterator[None]:
    async def events(request: web.Request) -> web.Response:
        response = await app.async_dispatch(await to_bolt_request(request))
        return await to_aiohttp_response(response)

    server = web.Application()
    server.router.add_post("/slack/events", events)
    async with served(server) as url:
        stage.slack.bot_url = url
        yield


def button(label: str, action_id: str, **fields: Any) -> dict[str, Any]:
    """A button."""
    text = {"type": "plain_text", "text": label}
    return {"type": "button", "text": text, "action_id": action_id, **fields}


def actions(*elements: dict[str, Any]) -> dict[str, Any]:
    """A row of controls."""
    return {"type": "actions", "elements": list(elements)}


def section(text: str, **fields: Any) -> dict[str, Any]:
    """A paragraph of mrkdwn."""
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}, **fields}


def field(label: str, block_id: str, element: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A field of a form."""
    return {
        "type": "input",
        "block_id": block_id,
        "label": {"type": "plain_text", "text": label},
        "element": {"action_id": "value", **element},
        **fields,
    }


def option(text: str, value: str) -> dict[str, Any]:
    """One choice in a menu."""
    return {"text": {"type": "plain_text", "text": text}, "value": value}


def modal(title: str, *blocks: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A form with a Save button."""
    return {
        "type": "modal",
        "title": {"type": "plain_text", "text": title},
        "submit": {"type": "plain_text", "text": "Save"},
        "blocks": list(blocks),
        **fields,
    }
