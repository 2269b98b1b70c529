"""How a payload reaches the app, whichever way the app is connected."""

from dataclasses import dataclass
from typing import Protocol

from sandbox.slack.model import Ack, Delivery

ACK_SECONDS = 3.0
"""How long Slack waits for an acknowledgement, in seconds of the machine: nobody can hurry a waiting person."""


@dataclass(frozen=True)
class Retry:
    """Which repetition of a delivery this is, and why there is one: `http_timeout`, `timeout`, …"""

    number: int
    reason: str


class Transport(Protocol):
    """Socket Mode or signed HTTP."""

    async def attempt(self, delivery: Delivery, retry: Retry | None) -> Ack:
        """Send the payload once and wait for the answer, at most `ACK_SECONDS`."""
