"""Generated secrets on their way to the one person who may see them: in memory, once, for ten minutes."""

from __future__ import annotations

from datetime import datetime

from bot.model import Secret
from bot.ports import Clock


class SecretsInWaiting:
    """Holds secrets by request id. Nothing here survives the process, on purpose: a restart says so."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[str, tuple[Secret, datetime]] = {}

    def keep(self, request_id: str, secret: Secret, *, until: datetime) -> None:
        """Keep *secret* until it is taken or *until* has come."""
        self._waiting[request_id] = (secret, until)

    def take(self, request_id: str) -> Secret | None:
        """The secret, and forget it; None if it was taken, is too old, or was never here."""
        secret, until = self._waiting.pop(request_id, (None, None))
        if until is None or until <= self._clock.now():
            return None
        return secret

    def holds(self, request_id: str) -> bool:
        """Whether `take` would give it."""
        _, until = self._waiting.get(request_id, (None, None))
        return until is not None and until > self._clock.now()
