"""Every night: examine the whole audit trail, and leave a checkpoint from which the next start goes on."""

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
