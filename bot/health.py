"""Whether the identity that only reads still can: looked at when somebody wants to know, and remembered for a while."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final

from bot.errors import LatchkeyError
from bot.ports import Clock, Reader
from bot.remembering import Remembering
from bot.timing import within

log = logging.getLogger(__name__)

_FRESH: Final = timedelta(minutes=5)
_PATIENCE: Final = timedelta(seconds=2)


class Health:
    """How the bot identity is."""

    def __init__(self, clock: Clock, directory: Reader) -> None:
        """*directory* reads the tenant as the bot identity."""
        self._clock = clock
        self._directory = directory
        self._known: Remembering[str] = Remembering(self._look, clock)

    async def bot_identity(self) -> str:
        """What is wrong with it, in a sentence; empty if nothing is."""
        try:
            return await within(self._clock, _PATIENCE, self._known.look_up("directory", _FRESH))
        except TimeoutError:
            return "Microsoft has not answered it yet. `latchkey doctor` tells more."

    async def _look(self, what: str) -> str:
        try:
            await self._directory.collect("organization", query={"$select": "id"}, limit=1)
        except LatchkeyError as error:
            log.warning("the bot identity cannot read", extra={"error": type(error).__name__})
            return f"{error} `latchkey doctor` tells more."
        return ""
