"""Slack's side of Socket Mode: connections the app opens, envelopes sent to one of them, their acknowledgements."""

import asyncio
import json
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiohttp import WSMsgType, web

from sandbox.clock import WorldClock
from sandbox.faults import SOCKET, Drop, Faults, hang_up
from sandbox.slack.model import Ack, AckStatus, Delivery, Json
from sandbox.slack.transport import ACK_SECONDS, Retry

MOST_CONNECTIONS = 10
TICKET_SECONDS = 30.0
_CLOSE_SECONDS = 0.5


@dataclass(eq=False)
class _Connection:
    socket: web.WebSocketResponse
    request: web.Request
    is_silent: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def send(self, message: Json) -> None:
        async with self.lock:
            await self.socket.send_str(json.dumps(message, ensure_ascii=False))


class SocketMode:
    """The open connections of one app. Each payload goes to one of them, in turn.

    An acknowledgement counts whichever connection it comes back on: Slack does not say, and an app that
    reconnected meanwhile should not depend on it.
    """

    def __init__(self, clock: WorldClock, faults: Faults, app_id: str, changed: Callable[[], None]) -> None:
        self._clock = clock
        self._faults = faults
        self._app_id = app_id
        self._changed = changed
        self._connections: list[_Connection] = []
        self._tickets: dict[str, float] = {}
        self._waiting: dict[str, asyncio.Future[Json | None]] = {}
        self._turn = 0
        self.is_enabled = True
        self.opened = 0  # connections there ever were
        self._unsubscribe = faults.subscribe(self._drop_if_faulty)

    @property
    def connected(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    def new_ticket(self) -> str:
        """What an address from apps.connections.open ends with: good for one connection, soon."""
        ticket = secrets.token_urlsafe(16)
        self._tickets[ticket] = self._clock.now() + TICKET_SECONDS
        return ticket

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one connection until it ends."""
        expires = self._tickets.pop(request.match_info["ticket"], 0.0)
        if self._clock.now() > expires:
            return web.Response(status=403, text="this address was used or is too old")
        if self._is_faulty():
            hang_up(request)
            return web.Response()
        socket = web.WebSocketResponse(autoping=False, timeout=_CLOSE_SECONDS)
        await socket.prepare(request)
        connection = _Connection(socket, request)
        if self.connected >= MOST_CONNECTIONS:
            await connection.send(self._goodbye("too_many_websockets"))
            await socket.close()
            return socket
        self._connections.append(connection)
        self.opened += 1
        try:
            await connection.send(self._hello())
            self._changed()
            async for message in socket:
                if message.type is WSMsgType.PING and not connection.is_silent:
                    await socket.pong(message.data)
                elif message.type is WSMsgType.TEXT:
                    self._acknowledge(message.data)
        except ConnectionError:
            pass  # the app went away while we spoke; the end of its connection is all there is to note
        finally:
            self._connections.remove(connection)
            self._changed()
        return socket

    def _hello(self) -> Json:
        return {
            "type": "hello",
            "num_connections": self.connected,
            "connection_info": {"app_id": self._app_id},
            "debug_info": self._debug_info(),
        }

    def _debug_info(self) -> Json:
        started = datetime.fromtimestamp(self._clock.now(), UTC)
        return {
            "host": "applink-sandbox",
            "started": f"{started:%Y-%m-%d %H:%M:%S}.000",
            "build_number": 1,
            "approximate_connection_time": 18060,
        }

    def _goodbye(self, reason: str) -> Json:
        return {"type": "disconnect", "reason": reason, "debug_info": self._debug_info()}

    def _acknowledge(self, text: str) -> None:
        try:
            answer = json.loads(text)
        except ValueError:
            return  # Slack does not answer what it cannot read either
        waiting = self._waiting.get(answer.get("envelope_id", "")) if isinstance(answer, dict) else None
        if waiting is not None and not waiting.done():
            body = answer.get("payload")
            waiting.set_result(body if isinstance(body, dict) and body else None)

    async def attempt(self, delivery: Delivery, retry: Retry | None) -> Ack:
        """Send an envelope to one connection and wait for its acknowledgement."""
        began = time.monotonic()
        delivery.envelope_id = delivery.envelope_id or secrets.token_hex(16)
        envelope: Json = {
            "envelope_id": delivery.envelope_id,
            "type": delivery.kind,
            "payload": delivery.payload,
            "accepts_response_payload": delivery.kind != "events_api",
        }
        if retry is not None or delivery.kind == "events_api":
            envelope["retry_attempt"] = retry.number if retry else 0
            envelope["retry_reason"] = retry.reason if retry else ""
        answer: asyncio.Future[Json | None] = asyncio.get_running_loop().create_future()
        self._waiting[delivery.envelope_id] = answer
        try:
            if not await self._send(envelope):
                return Ack(AckStatus.UNDELIVERED, reason="no connection to the app")
            async with asyncio.timeout(ACK_SECONDS):
                body = await answer
            return Ack(AckStatus.OK, body, seconds=time.monotonic() - began)
        except TimeoutError:
            return Ack(AckStatus.TIMEOUT, reason="operation_timeout", seconds=time.monotonic() - began)
        finally:
            del self._waiting[delivery.envelope_id]

    async def _send(self, envelope: Json) -> bool:
        """Send to the connection whose turn it is; to the next when that one turns out to be gone."""
        for _ in range(len(self._connections)):
            if self._is_faulty():
                self.drop()
                break
            self._turn += 1
            connection = self._connections[self._turn % len(self._connections)]
            if connection.is_silent:
                return True  # on its way to nobody, as far as Slack can tell
            with suppress(ConnectionError):
                await connection.send(envelope)
                return True
        return False

    # What can happen to connections.

    async def disconnect(self, reason: str) -> None:
        """Announce the end as Slack does. `warning` leaves connections open, for the app to replace them;
        `refresh_requested` and `link_disabled` close them, the latter also turning new ones away."""
        self.is_enabled = self.is_enabled and reason != "link_disabled"
        for connection in tuple(self._connections):
            with suppress(ConnectionError):
                await connection.send(self._goodbye(reason))
                if reason != "warning":
                    await connection.socket.close()

    def drop(self) -> None:
        """Cut every connection without a goodbye."""
        for connection in tuple(self._connections):
            hang_up(connection.request)

    def go_silent(self) -> None:
        """From now on say nothing on the connections there are, not even to a ping."""
        for connection in self._connections:
            connection.is_silent = True

    def _is_faulty(self) -> bool:
        return isinstance(self._faults.match("slack", SOCKET, "/"), Drop)

    def _drop_if_faulty(self) -> None:
        if self._connections and self._is_faulty():
            self.drop()

    async def close(self) -> None:
        """Hang up on everybody."""
        self._unsubscribe()
        for connection in tuple(self._connections):
            if connection.is_silent:
                hang_up(connection.request)
            else:
                await connection.socket.close()
