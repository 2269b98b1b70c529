"""The bot's own small web server: what a supervisor asks for, the sign-in pages, and Slack's deliveries over HTTP."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

from aiohttp import web
from aiohttp.typedefs import Handler

from bot.errors import ConfigurationError

log = logging.getLogger(__name__)


class State(Protocol):
    """What the bot says of itself."""

    @property
    def session_on(self) -> bool: ...

    @property
    def turned_away(self) -> Mapping[int, int]:
        """Deliveries refused since the start, by HTTP status."""

    async def ready(self) -> bool:
        """Whether Slack can reach it and it can remember."""


@asynccontextmanager
async def served(
    port: int, state: State, routes: Iterable[web.AbstractRouteDef], *, largest: int
) -> AsyncIterator[None]:
    """Serve `/healthz`, `/readyz`, `/metrics` and *routes*; bodies have at most *largest* bytes.

    Raises `ConfigurationError` if nobody can listen there.
    """
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

    async def healthy(request: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def ready(request: web.Request) -> web.Response:
        return web.Response(text="ready\n") if await state.ready() else web.Response(status=503, text="not ready\n")

    async def metrics(request: web.Request) -> web.Response:
        session_on.set(state.session_on)
        slack_connected.set(await state.ready())
        for status, count in state.turned_away.items():
            turned_away.labels(status).set(count)
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    registry = CollectorRegistry()
    session_on = Gauge("latchkey_session_on", "Whether the management session is on", registry=registry)
    slack_connected = Gauge("latchkey_slack_connected", "Whether Slack can reach the bot", registry=registry)
    turned_away = Gauge("latchkey_turned_away", "Deliveries refused since the start", ["status"], registry=registry)
    application = web.Application(client_max_size=largest, middlewares=[_stumbles_are_logged])
    application.add_routes([web.get("/healthz", healthy), web.get("/readyz", ready), web.get("/metrics", metrics)])
    application.add_routes(routes)
    # Bodies stay as they came: Slack compresses none and signs the bytes, and a stranger could send a bomb.
    runner = web.AppRunner(application, access_log=None, auto_decompress=False)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, port=port).start()
        except OSError as error:
            raise ConfigurationError(f"LATCHKEY_HTTP_PORT: nobody can listen on port {port} ({error}).") from error
        yield
    finally:
        await runner.cleanup()


@web.middleware
async def _stumbles_are_logged(request: web.Request, handler: Handler) -> web.StreamResponse:
    """aiohttp's own logger is silenced, for it quotes what strangers send."""
    try:
        return await handler(request)
    except (web.HTTPException, ConnectionError):
        raise
    except Exception:  # whatever it is, the caller gets an answer and the log the rest
        log.exception("a request stumbled", extra={"method": request.method})
        return web.Response(status=500)
