"""A load generator: signed slash commands over one kept connection, one after the other, each timed."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import socket
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self
from urllib.parse import urlencode

_numbers = itertools.count()


class Knocking:
    """Knocks at the bot's door on *port* of this machine, as Slack would."""

    def __init__(self, port: int, signing_secret: str, *, path: str = "/slack/events") -> None:
        self._secret = signing_secret.encode()
        self._path = path
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def signed(self, *, user: str = "U0OLIVE001", text: str = "help") -> bytes:
        """A request with a `/m365` command, no two of them the same."""
        number = next(_numbers)
        body = urlencode(
            {
                "token": "a token that nobody looks at",
                "team_id": "T0CONTOSO",
                "team_domain": "contoso",
                "channel_id": "C0HELPDESK",
                "channel_name": "helpdesk",
                "user_id": user,
                "user_name": "somebody",
                "command": "/m365",
                "text": text,
                "api_app_id": "A0LATCHKEY",
                "is_enterprise_install": "false",
                "response_url": f"http://127.0.0.1:9/slack/response/{number}",
                "trigger_id": f"{time.time_ns()}.{number}",
            }
        ).encode()
        at = str(int(time.time()))
        signature = hmac.new(self._secret, b"v0:%s:%s" % (at.encode(), body), hashlib.sha256).hexdigest()
        head = (
            f"POST {self._path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            f"X-Slack-Request-Timestamp: {at}\r\nX-Slack-Signature: v0={signature}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def knock(self, request: bytes) -> float:
        """Seconds until the answer was there. Raises RuntimeError if it is not 200."""
        begun = time.perf_counter()
        self._socket.sendall(request)
        head, _, body = self._until(b"\r\n\r\n").partition(b"\r\n\r\n")
        took = time.perf_counter() - begun
        status, _, headers = head.partition(b"\r\n")
        if b" 200 " not in status + b" ":
            raise RuntimeError(status.decode())
        length = next(
            (int(line[15:]) for line in headers.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        while len(body) < length:
            body += self._socket.recv(65536)
        return took

    def knock_with_each(self, requests: Iterable[bytes]) -> list[float]:
        return [self.knock(request) for request in requests]

    def _until(self, end: bytes) -> bytes:
        got = b""
        while end not in got:
            more = self._socket.recv(65536)
            if not more:
                raise RuntimeError("the server hung up")
            got += more
        return got

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
