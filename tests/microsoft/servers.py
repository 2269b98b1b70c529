"""Small servers on loopback that answer as a test says, and a client of ours that talks to them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from aiohttp import web

from bot.microsoft.client import GraphClient
from bot.microsoft.http import open_http
from bot.microsoft.protocol import Base
from bot.model import Secret
from bot.ports import Token
from tests.clock import T0, ManualClock


@dataclass
class PlainTokens:
    """A token source that counts: each token it makes is another one."""

    made: int = 1
    demanded: list[str | None] = field(default_factory=list)

    async def token(self) -> Token:
        return Token(Secret(f"canary-token-{self.made}"), T0 + timedelta(hours=1))

    async def fresh_token(self, refused: Token, claims: str | None = None) -> Token:
        self.demanded.append(claims)
        self.made += 1
        return await self.token()


@dataclass
class Seen:
    """A request as it arrived; `target` is its path and query, byte for byte."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: Any


@dataclass
class Answering:
    """A Graph that gives the answers it was told to, in order; the last one again and again."""

    client: GraphClient
    clock: ManualClock
    tokens: PlainTokens
    url: str
    seen: list[Seen] = field(default_factory=list)
    answers: list[web.Response | Callable[[], Awaitable[web.Response]]] = field(default_factory=list)

    def will(self, *answers: web.Response | Callable[[], Awaitable[web.Response]]) -> None:
        self.answers = list(answers)


def says(
    body: Any = None, status: int = 200, headers: Mapping[str, str] | None = None, kind: str = "application/json"
) -> web.Response:
    """An answer: JSON, or text as it is."""
    text = body if isinstance(body, str) else json.dumps(body)
    return web.Response(
        status=status, text=None if body is None else text, headers=headers, content_type=None if body is None else kind
    )


def refuses(status: int, code: str = "", headers: Mapping[str, str] | None = None, **more: Any) -> web.Response:
    """An error as Graph words it."""
    ids = {"request-id": "11111111-aaaa", **(headers or {})}
    return says({"error": {"code": code, "message": "For developers only.", **more}}, status, ids)


@asynccontextmanager
async def answering(*answers: web.Response, prefix: str = "/graph/v1.0") -> AsyncIterator[Answering]:
    """A server for *answers*, and a client whose clock hurries through every wait."""

    async def answer(request: web.Request) -> web.StreamResponse:
        text = await request.text()
        graph.seen.append(
            Seen(request.method, request.raw_path, dict(request.headers), json.loads(text) if text else None)
        )
        told = graph.answers.pop(0) if len(graph.answers) > 1 else graph.answers[0]
        if not isinstance(told, web.Response):
            return await told()
        # A response can be sent once; the last one may be wanted again.
        return web.Response(status=told.status, body=told.body, headers=told.headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}{prefix}"
        async with open_http() as http:
            clock, tokens = ManualClock(hurries=True), PlainTokens()
            client = GraphClient(http, Base.parse(url), tokens, clock, jitter=lambda: 0.0)
            graph = Answering(client, clock, tokens, url, answers=list(answers))
            yield graph
    finally:
        await runner.cleanup()


@dataclass
class RawServer:
    """A server that reads whole requests, keeps their first lines as *applied*, and then hangs up."""

    url: str
    applied: list[str]


@asynccontextmanager
async def hanging_up(reply: bytes = b"") -> AsyncIterator[RawServer]:
    """A server that applies every request, writes *reply* and closes the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next((line.partition(":")[2] for line in head.lower().split("\r\n") if "content-length" in line), "0")
        await reader.readexactly(int(length))
        server.applied.append(head.partition("\r\n")[0])
        writer.write(reply)
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    server = RawServer(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1.0", [])
    async with listener:
        yield server
