"""A year of weekly rotations in which one step in twenty goes wrong: nobody is locked out, each failure is told."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from bot.alerts import CARD, LINE
from bot.model import RotationState
from bot.rotation import Aim, Cause, Ending
from storage.database import Database
from tests.clock import T0
from tests.rotation.in_memory import SECRET, Bot, Hurrying, Luck, Outside
from tests.rotation.model import GUESSES, Worker, World, rest, ways
from tests.rotation.test_every_fault import LAGS, NO_LAG, begin

GAPS: Final = tuple(timedelta(minutes=minutes) for minutes in (15, 30, 60, 120, 240, 480))
DAY: Final = timedelta(days=1)
WEEK: Final = timedelta(days=7)
YEAR: Final = 52 * WEEK
SOON: Final = timedelta(hours=2)
"""Somebody is told by then, also if whoever should tell dies, or finds the database locked, some times over."""


@dataclass
class Alarm:
    """Who is told of what: one open incident for each rotation."""

    open: set[str] = field(default_factory=set)
    raised: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    def raise_(self, about: str) -> None:
        if about not in self.open:
            self.open.add(about)
            self.raised.append(about)

    def close(self, about: str) -> None:
        if about in self.open:
            self.open.remove(about)
            self.closed.append(about)


@dataclass
class Year:
    """What the rotator makes of tries: it tries again after growing gaps, and tells."""

    world: World
    chance: random.Random
    alarm: Alarm = field(default_factory=Alarm)
    tries: int = 0
    failed: list[str] = field(default_factory=list)

    def rotate(self, incident: str) -> None:
        rotation_id = incident
        for number in range(100):
            ending = self._try(rotation_id)
            if ending is not None and ending.done:
                self.alarm.close(incident)
                return
            if not number:
                self.failed.append(incident)
            self.alarm.raise_(incident)
            wait = GAPS[min(number, len(GAPS) - 1)]
            if ending is not None and ending.cause is Cause.GUESSES:
                rotation_id, wait = f"{rotation_id}'", DAY
            self.world.now += wait
            if wait >= DAY:
                rest(self.world)
        raise AssertionError(f"{incident} is never done")

    def _try(self, rotation_id: str) -> Ending | None:
        self.tries += 1
        worker = Worker(self.world, rotation_id, Aim.RENEW)
        worker.begin()
        while worker.effect is not None:
            goes_wrong = ways(worker.effect) and self.chance.random() < 0.05
            worker.step(self.chance.choice(ways(worker.effect)) if goes_wrong else None)
        return worker.ending


@pytest.mark.parametrize("lag", [NO_LAG, LAGS[0]])
@pytest.mark.parametrize("seed", range(20))
def test_a_year_of_rotations_with_five_percent_faults(seed: int, lag: tuple[bool, ...]) -> None:
    year = Year(begin("stored by hand", lag), random.Random(seed))  # noqa: S311 - repeatable

    for week in range(52):
        began = year.world.now
        year.rotate(f"week {week}")
        year.world.now = max(year.world.now, began + timedelta(days=7))
        rest(year.world)

    print(
        f"{year.tries} tries, {len(year.failed)} rotations that failed at first, {len(year.world.versions)} passwords"
    )
    assert year.alarm.raised == year.failed, "every failure is told once"
    assert year.alarm.closed == year.failed, "and closed"
    assert not year.alarm.open
    assert len(year.failed) > 5
    enabled = sum(version.enabled for version in year.world.versions)
    assert enabled <= 6, "the vault does not fill up"


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "lag"), [(0, NO_LAG), (2, LAGS[2])])
async def test_a_year_of_the_rotator_itself_with_five_percent_faults(
    tmp_path: Path, seed: int, lag: tuple[bool, ...]
) -> None:
    clock = Hurrying(T0 + YEAR + 2 * WEEK)  # after the year all goes well, and what stands can end
    outside, luck = Outside(begin("stored by hand", lag), clock), Luck(seed, T0 + YEAR)
    async with Database(tmp_path / "data" / "latchkey.db", tenant="t", clock=clock) as db:
        bot = Bot(db, outside, clock, luck)
        await bot.set_up()
        await bot.live()
        rotations = await bot.rotations.history(SECRET, 1000)
        still_open = await bot.rotations.open(SECRET), await bot.incidents.open()
        alerts = [_alert(*row) for row in await db.read(lambda c: c.execute(_ALERTS).fetchall())]
        said: list[Any] = await db.read(lambda c: c.execute("SELECT key, view, data FROM outbox").fetchall())

    done = sorted(each.finished_at for each in rotations if each.changed and each.finished_at)
    stood = {each.incident: each.stood_at for each in rotations if each.stood_at is not None}
    guessed = outside.world.guessed
    print(
        f"{luck.made} inputs and outputs, {luck.had.total()} went wrong, {bot.deaths} deaths, {len(done)} rotations, "
        f"{sum(each.tries for each in rotations)} tries, {len(stood)} stood, {len(alerts)} alerts, "
        f"{guessed.total()} wrong sign-ins, at most {max(guessed.values())} of one rotation",
        *(f"{times} × {way}" for way, times in luck.had.items()),
        sep="; ",
    )
    assert not outside.violations, "nobody is ever locked out"
    assert still_open == (None, [])
    assert max(guessed.values()) <= GUESSES

    in_the_year = [at for at in done if at < T0 + YEAR]
    assert len(in_the_year) <= 1.05 * 52, "no more than one in each period"
    assert len(done) <= len(outside.were_in_force) - 1 <= 1.05 * 54, "nor more new passwords"
    for week in range(52):
        begins = T0 + week * WEEK
        assert any(begins <= at < begins + 2 * WEEK for at in done), f"week {week}"

    over = {each.incident: each.finished_at for each in rotations if each.state is RotationState.DONE}
    told = Counter(alert.about for alert in alerts)
    assert set(stood) <= set(told) <= set(over), "every one that stood was told"
    assert set(told.values()) == {1}, "once"
    for alert in alerts:
        assert alert.opened_at - stood.get(alert.about, alert.opened_at) < SOON, "at once"
        assert alert.closed_at - (over[alert.about] or T0) < SOON, "and it was over when the rotation was done"
        about = [(view, key, json.loads(data)) for key, view, data in said if key.split(":")[1] == alert.id]
        lines = Counter(data["what"] for view, _, data in about if view == LINE)
        assert [key for view, key, _ in about if view == CARD] == [f"alert:{alert.id}"]
        assert lines["closed"] == 1 + lines["back"]
    assert len(stood) > 5


_ALERTS: Final = "SELECT id, about, opened_at, closed_at FROM alerts"


@dataclass(frozen=True)
class Incident:
    id: str
    about: str
    opened_at: datetime
    closed_at: datetime


def _alert(alert_id: str, about: str, opened_at: str, closed_at: str) -> Incident:
    return Incident(alert_id, about, datetime.fromisoformat(opened_at), datetime.fromisoformat(closed_at))
