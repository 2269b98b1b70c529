"""Slack's side of HTTP delivery: signed requests to the app's address, and its answers."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from urllib.parse import urlencode

import aiohttp

from sandbox.clock import WorldClock
from sandbox.slack.model import Ack, AckStatus, Delivery, Json
from sandbox.slack.transport import ACK_SECONDS, Retry

EVENTS_PATH = "/slack/events"


def encoded(payload: Json) -> tuple[str, bytes]:
    """The content type and body of a payload: JSON for events, a form for commands, a form holding JSON else."""
    if payload.get("type") in ("event_callback", "url_verification"):
        return "application/json", json.dumps(payload, ensure_ascii=False).encode()
    fields = payload if "command" in payload else {"payload": json.dumps(payload, ensure_ascii=False)}
    return "application/x-www-form-urlencoded", urlencode(fields).encode()


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """The `v0` signature of Slack's page "Verifying requests from Slack"."""
    base = b"v0:" + timestamp.encode() + b":" + body
    return "v0=" + hmac.new(secret.encode(), base, hashlib.sha256).hexdigest()


class HttpDelivery:
    """Posts payloads to `bot_url` + `/slack/events`. Redirects are not followed."""

    def __init__(self, clock: WorldClock, signing_secret: str) -> None:
        self._clock = clock
        self._secret = signing_secret
        self._session: aiohttp.ClientSession | None = None
        self.bot_url = ""

    def signed(self, payload: Json, at: float | None = None) -> tuple[bytes, dict[str, str]]:
        """Body and headers of a request with this payload, signed at a world time (default: now)."""
        content_type, body = encoded(payload)
        timestamp = str(int(self._clock.now() if at is None else at))
        return body, {
            "Content-Type": content_type,
            "X-Slack-Request-Timestamp": timestamp,
            "X-Slack-Signature": signature(self._secret, timestamp, body),
            "User-Agent": "Slackbot 1.0 (+https://api.slack.com/robots)",
        }

    async def attempt(self, delivery: Delivery, retry: Retry | None) -> Ack:
        """Post the payload once and wait for the answer."""
        if not self.bot_url:
            return Ack(AckStatus.UNDELIVERED, reason="nobody told Slack where the app is")
        body, headers = self.signed(delivery.payload)
        if retry is not None:
            headers |= {"X-Slack-Retry-Num": str(retry.number), "X-Slack-Retry-Reason": retry.reason}
        if self._session is None:
            # Slack has no limit on connections of its own: a flood must not wait here and count as the app's delay.
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        began = time.monotonic()
        try:
            async with (
                asyncio.timeout(ACK_SECONDS),
                self._session.post(
                    self.bot_url.rstrip("/") + EVENTS_PATH, data=body, headers=headers, allow_redirects=False
                ) as response,
            ):
                text = await response.text()
        except TimeoutError:
            return Ack(AckStatus.TIMEOUT, reason="operation_timeout", seconds=time.monotonic() - began)
        except aiohttp.ClientError as error:
            return Ack(AckStatus.UNDELIVERED, reason=f"no connection to the app: {error}")
        took = time.monotonic() - began
        if response.status != 200:
            return Ack(AckStatus.REFUSED, reason=f"HTTP status {response.status}", seconds=took)
        return Ack(AckStatus.OK, _body(text, response.headers), seconds=took)

    async def close(self) -> None:
        """Close the connections to the app."""
        if self._session is not None:
            await self._session.close()


def _body(text: str, headers: Mapping[str, str]) -> Json | None:
    if not text.strip():
        return None
    if headers.get("Content-Type", "").startswith("application/json"):
        try:
            body = json.loads(text)
        except ValueError:
            return {"text": text}
        return body if isinstance(body, dict) and body else None
    return {"text": text}
