"""What has to be done without anybody asking: erase what may not be kept, and examine the audit trail at night."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import date, datetime, time, timedelta
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from bot.errors import StorageProblem
from bot.ports import Audience, Clock, Message

log = logging.getLogger(__name__)

AT: Final = time(2, 30)
"""When, in the tenant's time zone: nobody waits for the bot, and no clock change falls on it in most of the world."""


EVERY: Final = timedelta(minutes=5)
"""How often what has run out is erased; deliveries do it too, but a quiet bot gets none."""


async def erase_what_ran_out(clock: Clock, *erase: Callable[[], Awaitable[None]]) -> None:
    """Run until cancelled. Storage that is in the way for once is no reason to stop."""
    while True:
        await clock.sleep_until(clock.now() + EVERY)
        for one in erase:
            try:
                await one()
            except StorageProblem as error:
                log.warning("could not erase", extra={"why": str(error)})


class Forbidden(Protocol):
    """What is not to act any more once the database is not to be believed."""

    async def forbid(self, why: str) -> None: ...


async def every_night(
    clock: Clock,
    zone: ZoneInfo,
    session: Forbidden,
    *,
    examine: Callable[[], Awaitable[str | None]],
    take_away: Callable[[], Awaitable[object]],
    leave_checkpoint: Callable[[], Awaitable[object]],
    post: Callable[[str | None], Awaitable[None]],
) -> None:
    """Run until cancelled. *examine* says what is wrong with the audit trail, or None; what is wrong ends everything
    privileged. *take_away* drops what is older than it is to be kept. *post* tells what was found, and where the trail
    ends now, to people who look at it from elsewhere."""
    while True:
        await clock.sleep_until(next_night(clock.now(), zone))
        try:
            wrong = await examine()
            if wrong is None:
                await take_away()
                await leave_checkpoint()
        except StorageProblem as error:
            wrong = str(error)
        if wrong is not None:
            log.critical("audit trail not sound", extra={"found": wrong})
            await session.forbid(wrong)
        try:
            await post(wrong)
        except StorageProblem as error:
            log.warning("could not post the audit trail's head", extra={"why": str(error)})


def audit_head(channel: str, day: date, *, seq: int, seal: str, changes: int, wrong: str | None = None) -> Message:
    """The line that tells *channel* once a day where the audit trail ends. Said twice on one day, it is rewritten."""
    data = {"channel": channel, "day": day.isoformat(), "seq": seq, "seal": seal, "changes": changes, "wrong": wrong}
    return Message(f"audit-head:{day}", "audit-head", audience=Audience.CHANNEL, data=data)


def next_night(now: datetime, zone: ZoneInfo) -> datetime:
    """The next time it is `AT` in *zone*."""
    local = now.astimezone(zone)
    tonight = datetime.combine(local.date(), AT, zone)
    return tonight if tonight > local else datetime.combine(local.date() + timedelta(days=1), AT, zone)
