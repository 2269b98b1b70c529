"""What has to be done without anybody asking: erase what may not be kept, and examine the audit trail at night."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import date, datetime, time, timedelta
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from bot.errors import StorageProblem
from bot.model import Severity, Trouble
from bot.ports import Alarm, Audience, Clock, Message

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
    alarm: Alarm,
    *,
    examine: Callable[[], Awaitable[str | None]],
    take_away: Callable[[], Awaitable[object]],
    leave_checkpoint: Callable[[], Awaitable[object]],
    post: Callable[[str | None], Awaitable[None]],
    foresee: Callable[[], None] = lambda: None,
) -> None:
    """Run until cancelled. *examine* says what is wrong with the audit trail, or None; what is wrong ends everything
    privileged, and raises an alert. *take_away* drops what is older than it is to be kept. *post* tells what was found,
    and where the trail ends now, to people who look at it from elsewhere. *foresee* has it looked up whether the next
    sign-in will be let in, and returns at once."""
    while True:
        await clock.sleep_until(next_night(clock.now(), zone))
        foresee()
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
            if wrong is not None:
                await alarm.raise_(unsound(wrong))
            else:
                await alarm.close("audit", how="The audit trail verifies again.")
            await post(wrong)
        except StorageProblem as error:
            log.warning("could not post the audit trail's head", extra={"why": str(error)})


def unsound(found: str) -> Trouble:
    """The alert that the audit trail, or a table that gives power, is not what was written to it."""
    return Trouble(
        "audit",
        "trail",
        Severity.SESSIONS_STOP,
        "Sessions will stop: what stands in the database is not what Latchkey wrote to it.",
        found,
        facts=(
            ("What Latchkey does next", "Nothing privileged, until it is started on a database that verifies."),
            ("What to do", "Find out who changed it. `latchkey audit verify` tells all; then put back a backup."),
        ),
    )


def audit_head(channel: str, day: date, *, seq: int, seal: str, changes: int, wrong: str | None = None) -> Message:
    """The line that tells *channel* once a day where the audit trail ends. Said twice on one day, it is rewritten."""
    data = {"channel": channel, "day": day.isoformat(), "seq": seq, "seal": seal, "changes": changes, "wrong": wrong}
    return Message(f"audit-head:{day}", "audit-head", audience=Audience.CHANNEL, data=data)


def next_night(now: datetime, zone: ZoneInfo) -> datetime:
    """The next time it is `AT` in *zone*."""
    local = now.astimezone(zone)
    tonight = datetime.combine(local.date(), AT, zone)
    return tonight if tonight > local else datetime.combine(local.date() + timedelta(days=1), AT, zone)
