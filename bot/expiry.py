"""Grants end by themselves, and say so in advance: to who holds them, and of a tenant admin to the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from bot.errors import StorageProblem
from bot.model import TENANT_ADMIN, SlackUser
from bot.ports import Audience, Clock, Message

log = logging.getLogger(__name__)

EVERY: Final = timedelta(minutes=15)
"""How often it is looked whether somebody has to be told."""


class Ending(Protocol):
    """A grant that ends soon: in `days` days at most. `first` says that nobody was told of it before."""

    @property
    def id(self) -> str: ...

    @property
    def slack(self) -> SlackUser: ...

    @property
    def name(self) -> str: ...

    @property
    def role(self) -> str: ...

    @property
    def scope(self) -> str: ...

    @property
    def ends(self) -> datetime: ...

    @property
    def days(self) -> int: ...

    @property
    def first(self) -> bool: ...


class Expiring(Protocol):
    async def tell(self, say: Callable[[Ending], Sequence[Message]]) -> int:
        """Put what *say* makes of each grant that is due into the outbox; how many there were."""


async def tell_of_ends(clock: Clock, expiring: Expiring, channel: str) -> None:
    """Run until cancelled. *channel* is where tenant admins read that one of them is about to end; empty: nowhere."""
    while True:
        try:
            await expiring.tell(lambda ending: messages(ending, channel))
        except StorageProblem as error:
            log.warning("could not tell of grants that end", extra={"why": str(error)})
        await clock.sleep_until(clock.now() + EVERY)


def messages(ending: Ending, channel: str) -> Sequence[Message]:
    """To who holds it at each time ahead; of a tenant admin once to the others."""
    data = {"name": ending.name, "role": ending.role, "scope": ending.scope, "ends": ending.ends.isoformat()}
    to_them = _say(f"ends:{ending.id}:{ending.days}", {**data, "channel": ending.slack.user, "own": True})
    if ending.role != TENANT_ADMIN or not ending.first or not channel:
        return [to_them]
    return [to_them, _say(f"ends:{ending.id}:admins", {**data, "channel": channel, "own": False})]


def _say(key: str, data: dict[str, object]) -> Message:
    return Message(key, "grant-ends", audience=Audience.CHANNEL, data=data)
