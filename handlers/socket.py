"""Socket Mode: two connections, so that one is there while Slack renews the other, and a watchdog over both."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.async_client import AsyncBaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.web.async_client import AsyncWebClient

from bot.errors import LatchkeyError
from bot.model import Secret
from bot.ports import Clock
from handlers.front_door import FrontDoor, TurnedAway

log = logging.getLogger(__name__)

CONNECTIONS: Final = 2
PING_EVERY: Final = 10
"""Seconds between pings. The SDK renews a connection that has not answered for four of them."""

LOOK_EVERY: Final = timedelta(seconds=15)
REPLACED_AFTER: Final = 4
GONE_AFTER: Final = 20
"""Looks in a row: bad before a connection is replaced, and all of them bad before the process is told to end (five
minutes). Looks are counted, not minutes, so that a clock that jumps ends nothing."""

_CLOSING: Final = 5.0


class _Connection:
    """One connection, and how many looks in a row it was bad."""

    def __init__(self, client: SocketModeClient) -> None:
        self.client = client
        self.bad_looks = 0
        self._connecting = asyncio.create_task(client.connect())  # type: ignore[no-untyped-call]  # the SDK's own

    async def look(self) -> bool:
        """Whether it is open and its pings are answered."""
        good = await self.client.is_connected()
        self.bad_looks = 0 if good else self.bad_looks + 1
        return good

    async def close(self) -> None:
        self._connecting.cancel()
        try:
            async with asyncio.timeout(_CLOSING):
                await self.client.close()  # type: ignore[no-untyped-call]  # the same
        except (TimeoutError, ConnectionError) as error:
            log.info("a connection did not close", extra={"error": type(error).__name__})
        await asyncio.gather(self._connecting, return_exceptions=True)


class Sockets:
    """The connections. *gone* is called once, when none has worked for five minutes: let the supervisor start anew."""

    def __init__(
        self,
        *,
        client: AsyncWebClient,
        app_token: Secret,
        front_door: FrontDoor,
        clock: Clock,
        gone: Callable[[], None],
    ) -> None:
        self._client = client
        self._app_token = app_token
        self._front_door = front_door
        self._clock = clock
        self._gone = gone
        self._connections: list[_Connection] = []
        self._watchdog: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to connect; Slack being away is no error, it is tried until it is there."""
        self._connections = [self._connect() for _ in range(CONNECTIONS)]
        self._watchdog = asyncio.create_task(self._watch(), name="socket-watchdog")

    async def ready(self) -> bool:
        """Whether Slack can reach us now."""
        return any([await connection.client.is_connected() for connection in self._connections])

    async def close(self) -> None:
        """Hang up. Deliveries under way are the front door's to finish."""
        if self._watchdog:
            self._watchdog.cancel()
            await asyncio.gather(self._watchdog, return_exceptions=True)
        await asyncio.gather(*(connection.close() for connection in self._connections))

    def _connect(self) -> _Connection:
        client = SocketModeClient(app_token=self._app_token.reveal(), web_client=self._client, ping_interval=PING_EVERY)
        client.socket_mode_request_listeners.append(self._hear)
        return _Connection(client)

    async def _hear(self, client: AsyncBaseSocketModeClient, request: SocketModeRequest) -> None:
        """Take a delivery in, then acknowledge it: what Slack thinks delivered is in the inbox."""
        try:
            answer = await self._front_door.receive(request.payload)
        except TurnedAway as error:
            self._front_door.note(error)
            answer = None  # acknowledged all the same: sending it again would change nothing
        except LatchkeyError as error:
            log.error("could not be kept", extra={"error": type(error).__name__})
            return
        await client.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id, payload=answer))

    async def _watch(self) -> None:
        all_bad = 0
        while all_bad < GONE_AFTER:
            await self._clock.sleep_until(self._clock.now() + LOOK_EVERY)
            good = [await connection.look() for connection in self._connections]
            all_bad = 0 if any(good) else all_bad + 1
            for place, connection in enumerate(self._connections):
                if connection.bad_looks >= REPLACED_AFTER:
                    log.warning("connection replaced")
                    self._connections[place] = self._connect()
                    await connection.close()
        log.error("slack could not be reached for five minutes")
        self._gone()
