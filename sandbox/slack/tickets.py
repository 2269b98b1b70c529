"""What an interaction hands the app for a short while: trigger ids and response URLs."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from sandbox.slack.model import Message, SlackError

RESPONSE_SECONDS = 30 * 60.0
RESPONSE_USES = 5


@dataclass
class Trigger:
    """The right to open one modal for one person."""

    person: str
    expires: float
    from_view: bool  # given out by an interaction inside a modal
    used: bool = False


@dataclass
class ResponseUrl:
    """The right to answer one interaction a few times. `original` is the message it happened in, if any."""

    person: str
    channel: str
    original: Message | None
    command: str  # what was typed, for answers that everybody sees; empty for other interactions
    expires: float
    uses: int = 0


class Tickets:
    """Gives tickets out and takes them back; times are the world's."""

    def __init__(self, now: Callable[[], float], trigger_seconds: float) -> None:
        self._now = now
        self._trigger_seconds = trigger_seconds
        self._triggers: dict[str, Trigger] = {}
        self._responses: dict[str, ResponseUrl] = {}

    def trigger(self, person: str, *, from_view: bool) -> str:
        """A new trigger id."""
        trigger_id = f"{secrets.randbelow(10**13)}.{secrets.randbelow(10**12)}.{secrets.token_hex(16)}"
        self._triggers[trigger_id] = Trigger(person, self._now() + self._trigger_seconds, from_view)
        return trigger_id

    def redeem(self, trigger_id: str) -> Trigger:
        """Use a trigger id up. SlackError when it is unknown, too old or used."""
        trigger = self._triggers.get(trigger_id)
        if trigger is None:
            raise SlackError("invalid_trigger_id")
        if trigger.used:
            raise SlackError("exchanged_trigger_id")
        if self._now() > trigger.expires:
            raise SlackError("expired_trigger_id")
        trigger.used = True
        return trigger

    def response(self, person: str, channel: str, original: Message | None = None, command: str = "") -> str:
        """A new token for a response URL."""
        token = secrets.token_urlsafe(24)
        self._responses[token] = ResponseUrl(person, channel, original, command, self._now() + RESPONSE_SECONDS)
        return token

    def answer(self, token: str) -> ResponseUrl:
        """Use a response URL once. SlackError `expired_url` or `used_url` when it is over."""
        response = self._responses.get(token)
        if response is None or self._now() > response.expires:
            raise SlackError("expired_url")
        if response.uses >= RESPONSE_USES:
            raise SlackError("used_url")
        response.uses += 1
        return response
