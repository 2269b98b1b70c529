"""The one way in: a delivery is checked, committed to the inbox, acknowledged, and then handed to Bolt.

Socket Mode and signed HTTP alike end in `FrontDoor.receive`. Bolt checks nothing (it would refuse a replay as too old):
this module is the only verifier. What is acknowledged is in the inbox, so a process that dies takes it up at its next
start. Submissions and searches, whose answer *is* the acknowledgement, go to Bolt at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import parse_qsl

from aiohttp import web
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_bolt.response import BoltResponse

from bot.errors import LatchkeyError
from bot.model import JSON, Secret
from bot.ports import Clock
from bot.timing import within
from handlers.gestures import Kind, Malformed, installed_in, key_of, kind_of, read
from handlers.ports import Inbox, Received
from handlers.slack import Installed

log = logging.getLogger(__name__)

LARGEST: Final = 1024 * 1024
"""Bytes of a request. A view may have 250 kB, and a form encodes some bytes as three."""

OLDEST: Final = 300
"""Seconds a signature is good for (Slack docs: *Verifying requests from Slack*)."""

IN_TIME: Final = timedelta(seconds=10)
"""How long a request may take to arrive. Slack's come in one piece; a stranger may dribble."""

AT_ONCE: Final = 32
"""Deliveries in Bolt at the same time; more wait their turn, safe in the inbox. They mostly compute, so that more at
once would only keep the next acknowledgement waiting."""

_MOST_FIELDS: Final = 200
_TIMESTAMP: Final = re.compile(r"\d{1,12}", re.ASCII)
_SIGNATURE: Final = re.compile(r"v0=[0-9a-f]{64}", re.ASCII)
_ANSWERED: Final = frozenset({Kind.SUBMISSION, Kind.SEARCH})

Dispatch = Callable[[AsyncBoltRequest], Awaitable[BoltResponse]]


class TurnedAway(Exception):
    """A delivery that is not for us or not sound. `status` is for HTTP; the message says why, without content."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


class FrontDoor:
    """Receives deliveries. Give `dispatch` an app's `async_dispatch`; without *signing_secret* HTTP is closed."""

    def __init__(
        self,
        *,
        dispatch: Dispatch,
        inbox: Inbox,
        installed: Installed,
        clock: Clock,
        signing_secret: Secret | None = None,
    ) -> None:
        self._dispatch = dispatch
        self._inbox = inbox
        self._installed = installed
        self._clock = clock
        self._signing_key = signing_secret.reveal().encode() if signing_secret else b""
        self._places = asyncio.Semaphore(AT_ONCE)
        self._kept: set[asyncio.Task[None]] = set()
        self.turned_away: Counter[int] = Counter()
        """How many deliveries were turned away since the start, by HTTP status."""

    # --- both ways ----------------------------------------------------------------------------------------------------

    async def receive(self, body: Mapping[str, Any]) -> JSON:
        """Take a delivery in and return the body of its acknowledgement, None for an empty one.

        Raises `TurnedAway`; raises `StorageProblem` if it could not be kept, and then it must not be acknowledged.
        """
        kind, key = self._check(body)
        payload = {name: value for name, value in body.items() if name != "token"}
        request = _request(payload, key)
        if kind in _ANSWERED:
            return await self._answer(request)
        if await self._inbox.receive(key, kind.value, payload):
            self._keep(self._deliver(request, key))
        else:
            log.info("delivered again", extra={"kind": kind.value})
        return None

    async def redeliver(self) -> None:
        """Take up what an earlier process had acknowledged and not finished. Call once, after the worker started."""
        for left in await self._inbox.open():
            self._keep(self._take_up(left))

    async def close(self, grace: float = 10.0) -> None:
        """Let what was acknowledged become requests, *grace* seconds at most; the rest is in the inbox."""
        if self._kept:
            await asyncio.wait(self._kept, timeout=grace)
        for task in tuple(self._kept):
            task.cancel()
        await asyncio.gather(*self._kept, return_exceptions=True)

    def note(self, error: TurnedAway) -> None:
        """Count and log a delivery that was turned away; nothing of its content."""
        self.turned_away[error.status] += 1
        log.warning("turned away", extra={"status": error.status, "why": error.why})

    def _check(self, body: Mapping[str, Any]) -> tuple[Kind, str]:
        try:
            kind, key = kind_of(body), key_of(body)
            team = installed_in(body)
            read(body)
        except Malformed as error:
            raise TurnedAway(400, f"malformed: {error}") from error
        if team != self._installed.team or body.get("api_app_id") != self._installed.app:
            raise TurnedAway(403, "for another app or team")
        return kind, key

    async def _answer(self, request: AsyncBoltRequest) -> JSON:
        response = await self._dispatch(request)
        return json.loads(response.body) if response.body else None

    async def _take_up(self, left: Received) -> None:
        await self._deliver(_request(dict(left.payload), left.key), left.key)

    async def _deliver(self, request: AsyncBoltRequest, key: str) -> None:
        async with self._places:
            response = await self._dispatch(request)
        if response.status != 200:
            log.warning("nobody listens to this", extra={"status": response.status, "kind": key.split(":")[1]})
        await self._inbox.done(key)

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._kept.add(task)
        task.add_done_callback(self._settle)

    def _settle(self, task: asyncio.Task[None]) -> None:
        self._kept.discard(task)
        if not task.cancelled() and (error := task.exception()):
            # Listeners raise nothing (guard.py), so this is the inbox: the row stays open for the next start.
            log.error("a delivery was not finished", exc_info=error)

    # --- HTTP ---------------------------------------------------------------------------------------------------------

    def routes(self, path: str = "/slack/events") -> list[web.RouteDef]:
        """What to mount for Slack's request URLs (events, interactivity, commands, menus: all the same)."""
        return [web.post(path, self._http)]

    async def _http(self, request: web.Request) -> web.Response:
        try:
            body = _parse(await self._verified(request), request.content_type)
            if body.get("type") == "url_verification":
                return web.json_response({"challenge": str(body.get("challenge", ""))[:1000]})
            answer = await self.receive(body)
        except TurnedAway as error:
            self.note(error)
            return web.Response(status=error.status)
        except LatchkeyError as error:
            log.error("could not be kept", extra={"error": type(error).__name__})
            return web.Response(status=503)
        return web.Response() if answer is None else web.json_response(answer)

    async def _verified(self, request: web.Request) -> bytes:
        """The raw bytes, once their signature is good. The headers are looked at before anything is read."""
        if not self._signing_key:
            raise TurnedAway(401, "no signing secret is set")
        timestamp = request.headers.get("X-Slack-Request-Timestamp", "")
        signature = request.headers.get("X-Slack-Signature", "")
        if not _TIMESTAMP.fullmatch(timestamp) or not _SIGNATURE.fullmatch(signature):
            raise TurnedAway(401, "no usable signature")
        if abs(self._clock.now().timestamp() - int(timestamp)) > OLDEST:
            raise TurnedAway(401, "too old, or our clock is wrong")
        try:
            whole = request.content.is_eof()  # then there is nothing to wait for, and no timer is needed
            raw = await (_read(request) if whole else within(self._clock, IN_TIME, _read(request)))
        except TimeoutError as error:
            raise TurnedAway(408, "too slow") from error
        except web.RequestPayloadError as error:
            raise TurnedAway(400, "broken off") from error
        base = b"v0:" + timestamp.encode() + b":" + raw
        expected = hmac.new(self._signing_key, base, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(f"v0={expected}".encode(), signature.encode()):
            raise TurnedAway(401, "wrong signature")
        return raw


def _request(payload: dict[str, Any], key: str) -> AsyncBoltRequest:
    try:
        # Not "http": Bolt would parse and verify once more.
        return AsyncBoltRequest(mode="socket_mode", body=payload, context={"delivery": key})
    except (AttributeError, LookupError, TypeError) as error:
        # Bolt reads parts of its own (enterprise, authorizations) and takes their shape for granted.
        raise TurnedAway(400, "malformed: not of the shape Bolt reads") from error


async def _read(request: web.Request) -> bytes:
    if (request.content_length or 0) > LARGEST:
        raise TurnedAway(413, "too large")
    raw = bytearray()
    async for chunk in request.content.iter_chunked(64 * 1024):
        raw += chunk
        if len(raw) > LARGEST:
            raise TurnedAway(413, "too large")
    return bytes(raw)


def _parse(raw: bytes, content_type: str) -> Mapping[str, Any]:
    try:
        match content_type:
            case "application/json":
                body = json.loads(raw.decode())
            case "application/x-www-form-urlencoded":
                fields = parse_qsl(raw.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
                form = dict(fields)
                if len(form) != len(fields):
                    raise TurnedAway(400, "a field stands twice")
                body = json.loads(form["payload"]) if "payload" in form else form
            case _:
                raise TurnedAway(415, "content type")
    except (ValueError, RecursionError) as error:
        # ValueError: broken JSON, bad UTF-8, too many fields, numbers too long to be read
        raise TurnedAway(400, "unreadable") from error
    if not isinstance(body, dict):
        raise TurnedAway(400, "not an object")
    return body
