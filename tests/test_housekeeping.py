"""What the bot does without anybody asking."""

import asyncio
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from bot.errors import StorageProblem
from bot.housekeeping import EVERY, erase_what_ran_out, next_night
from tests.clock import ManualClock
from tests.stage import Stage

LONDON = ZoneInfo("Europe/London")


@pytest.mark.parametrize(
    ("now", "night"),
    [
        pytest.param(datetime(2026, 1, 5, 1, 0, tzinfo=UTC), datetime(2026, 1, 5, 2, 30, tzinfo=UTC), id="tonight"),
        pytest.param(datetime(2026, 1, 5, 2, 30, tzinfo=UTC), datetime(2026, 1, 6, 2, 30, tzinfo=UTC), id="tomorrow"),
        pytest.param(datetime(2026, 7, 5, 3, 0, tzinfo=UTC), datetime(2026, 7, 6, 1, 30, tzinfo=UTC), id="in summer"),
    ],
)
def test_night_falls_where_the_tenant_is(now: datetime, night: datetime) -> None:
    assert next_night(now, LONDON) == night


async def test_erasing_goes_on_after_storage_was_in_the_way() -> None:
    clock = ManualClock()
    tries: list[str] = []

    async def erase() -> None:
        tries.append("again")
        if len(tries) == 1:
            raise StorageProblem("The database is locked.")

    chore = asyncio.create_task(erase_what_ran_out(clock, erase))
    while len(tries) < 2:
        await asyncio.sleep(0)  # let it fall asleep again
        clock.advance(EVERY.total_seconds())
    chore.cancel()

    assert tries == ["again", "again"]


async def test_a_row_changed_on_disk_ends_privileged_work_in_the_night(stage: Stage) -> None:
    await stage.ask("olive", "/m365-session on")

    meddle = "INSERT INTO role_commands VALUES (?, 'helpdesk', 1, '/m365*')"
    tenant = stage.config.tenant_id
    await stage.bot.storage.db.write(lambda connection: connection.execute(meddle, (tenant,)).rowcount)
    stage.world.clock.advance(timedelta(days=1).total_seconds())
    await stage.until(lambda: stage.bot.session.acting() is None)

    # The session may have ended because nobody used it; a new one opens until the night's check has found the row.
    while "Adele Vance" in await stage.ask("olive", "/m365 show-user adele@contoso.com"):
        continue
