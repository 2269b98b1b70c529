"""When the next rotation is due: in the window, once in a period, whatever the clocks and the settings do."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import BadInput
from bot.model import TenantSettings
from bot.ports import Due
from bot.rotation_schedule import (
    CATCH_UP,
    Rule,
    begins_at,
    described,
    minute_of_day,
    next_due,
    reckoned,
    weekdays,
)

LONDON = ZoneInfo("Europe/London")
ZONES = [LONDON, *map(ZoneInfo, ("America/New_York", "Pacific/Kiritimati", "Australia/Lord_Howe", "Pacific/Apia"))]
SHIPPED = Rule.of(TenantSettings(), LONDON)

rules = st.builds(
    Rule,
    days=st.integers(1, 90),
    weekdays=st.frozensets(st.integers(0, 6), min_size=1),
    begins=st.integers(0, 24 * 60 - 1),
    ends=st.integers(0, 24 * 60 - 1),
    zone=st.sampled_from(ZONES),
)
moments = st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
chances = st.floats(0, 1)


@given(rules, moments, chances)
def test_it_is_due_in_a_window_not_before_its_day_and_at_most_a_week_later(
    rule: Rule, since: datetime, chance: float
) -> None:
    due = next_due(rule, since, chance)
    day = rule.day_of(since) + timedelta(days=rule.days)
    found = next(each for each in rule.days_from(day))
    start, end = rule.window(found)
    assert start <= due <= end
    assert found.weekday() in rule.weekdays
    assert found - day < timedelta(days=7)
    # A day is 25 hours long at most, and a window may be anywhere in it (and Samoa once left out a day).
    assert timedelta(days=rule.days - 2) < due - since < timedelta(days=rule.days + 10)


@given(rules, moments, chances, st.timedeltas(timedelta(0), timedelta(days=400)))
def test_what_was_missed_is_made_up_for_once_and_a_day_late_at_most(
    rule: Rule, since: datetime, chance: float, late: timedelta
) -> None:
    due = next_due(rule, since, chance)
    now = due + late
    begins = begins_at(rule, due, now)
    assert begins >= now
    assert begins <= max(now, due + CATCH_UP)
    again = next_due(rule, begins, chance)
    assert again - begins > timedelta(days=rule.days - 2)


@given(moments, chances, st.lists(st.timedeltas(timedelta(days=-40), timedelta(days=40)), max_size=30))
def test_clocks_that_jump_cause_no_more_than_one_extra_rotation_each(
    start: datetime, chance: float, jumps: list[timedelta]
) -> None:
    """A simulated bot looks every hour, and the wall clock jumps now and then; time as such goes on by hours."""
    kept: Due | None = None
    last: datetime | None = None
    wall, lived, rotated = start, 0, []
    for jump in [timedelta(), *jumps]:
        wall += jump
        for _ in range(24 * 9):
            kept = reckoned(SHIPPED, kept, last, wall, chance)
            if begins_at(SHIPPED, kept.at, wall) <= wall:
                rotated.append(lived)
                last = wall
                kept = Due(next_due(SHIPPED, wall, chance), wall, str(SHIPPED))
            wall += timedelta(hours=1)
            lived += 1
    weeks = lived / (24 * 7)
    forward = sum(jump > timedelta() for jump in jumps)
    assert len(rotated) <= weeks + 2 + forward
    # And it never stops: each jump back puts the next one off by a cadence and a week at most.
    gaps = [later - earlier for earlier, later in zip([0, *rotated], [*rotated, lived], strict=True)]
    assert max(gaps) <= 24 * (21 + 16 * sum(jump < timedelta() for jump in jumps))


@given(moments, chances)
def test_it_is_reckoned_once_until_something_changes(now: datetime, chance: float) -> None:
    kept = reckoned(SHIPPED, None, None, now, chance)
    assert reckoned(SHIPPED, kept, None, now + timedelta(days=3), 1 - chance) == kept
    seldom = replace(SHIPPED, days=30)
    other = reckoned(seldom, kept, None, now + timedelta(days=3), chance)
    assert other.at > kept.at
    assert reckoned(seldom, other, now + timedelta(days=4), now + timedelta(days=4), chance) != other, "it was rotated"


@given(moments, chances)
def test_a_shorter_cadence_makes_nothing_due_outside_its_window(now: datetime, chance: float) -> None:
    kept = reckoned(replace(SHIPPED, days=30), None, None, now, chance)
    later = now + timedelta(days=20)
    sooner = reckoned(SHIPPED, kept, None, later, chance)
    assert sooner.at >= later
    local = sooner.at.astimezone(LONDON)
    assert local.weekday() in {1, 2, 3}
    assert 10 * 60 <= local.hour * 60 + local.minute <= 15 * 60


def test_the_shipped_window_holds_when_the_clocks_change() -> None:
    for since in (datetime(2026, 3, 24, 12, tzinfo=UTC), datetime(2026, 10, 20, 12, tzinfo=UTC)):
        assert next_due(SHIPPED, since, 0).astimezone(LONDON).hour == 10


def test_days_and_times_are_read_as_people_write_them() -> None:
    assert weekdays("tue-thu") == weekdays("Tuesday – Thursday") == weekdays("tue, wed thu") == {1, 2, 3}
    assert weekdays("fri-mon") == {4, 5, 6, 0}
    assert weekdays("daily") == set(range(7))
    assert (minute_of_day("10:00"), minute_of_day("7"), minute_of_day("24:00")) == (600, 420, 1440)
    for wrong in ("", "someday", "tue-"):
        with pytest.raises(BadInput):
            weekdays(wrong)
    for wrong in ("25:00", "10:60", "noon"):
        with pytest.raises(BadInput):
            minute_of_day(wrong)


def test_the_rule_is_told_in_words() -> None:
    assert described(TenantSettings()) == "every 7 days, Tuesday to Thursday between 10:00 and 15:00"
    nightly = TenantSettings(rotation_days=1, rotation_weekdays="daily", rotation_from=1320, rotation_until=240)
    assert described(nightly) == "every day, on any day between 22:00 and 04:00"
