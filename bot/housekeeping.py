"""What has to be done without anybody asking: erase what may not be kept, and examine the audit trail at night."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from bot.errors import StorageProblem
from bot.ports import Clock
from bot.session import ManagementSession

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


async def every_night(
    clock: Clock,
    zone: ZoneInfo,
    session: ManagementSession,
    *,
    examine: Callable[[], Awaitable[str | None]],
    leave_checkpoint: Callable[[], Awaitable[object]],
) -> None:
    """Run until cancelled. *examine* says what is wrong, or None; then nothing privileged is done any more."""
    while True:
        await clock.sleep_until(next_night(clock.now(), zone))
        try:
            wrong = await examine()
            if wrong is None:
                await leave_checkpoint()
                continue
        except StorageProblem as error:
            wrong = str(error)
        log.critical("audit trail not sound", extra={"found": wrong})
        await session.forbid(wrong)


def next_night(now: datetime, zone: ZoneInfo) -> datetime:
    """The next time it is `AT` in *zone*."""
    local = now.astimezone(zone)
    tonight = datetime.combine(local.date(), AT, zone)
    return tonight if tonight > local else datetime.combine(local.date() + timedelta(days=1), AT, zone)
