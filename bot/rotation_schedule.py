"""When the credential is rotated: a time by chance in a window of the tenant's day, every so many days.

Nothing here reads a clock. What is due is reckoned once and kept, as a time of UTC.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from bot.errors import BadInput
from bot.model import TenantSettings
from bot.ports import Due

CATCH_UP: Final = timedelta(days=1)
"""What was missed is made up for in the next window, but no later than this after it was due."""

_DAY: Final = 24 * 60
_NAMES: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_IN_FULL: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True)
class Rule:
    """Every *days* days, on *weekdays* (0 is Monday), in the window that begins and ends at these minutes of the day in
    *zone*. A window that does not end after it begins goes on over midnight."""

    days: int
    weekdays: frozenset[int]
    begins: int
    ends: int
    zone: ZoneInfo

    @classmethod
    def of(cls, settings: TenantSettings, zone: ZoneInfo) -> Rule:
        """Raises `BadInput`."""
        return cls(
            settings.rotation_days,
            weekdays(settings.rotation_weekdays),
            settings.rotation_from,
            settings.rotation_until,
            zone,
        )

    def __str__(self) -> str:
        """The same for the same rule."""
        days = ",".join(_NAMES[day] for day in sorted(self.weekdays))
        return f"{self.days} {days} {self.begins}-{self.ends} {self.zone.key}"

    def window(self, day: date) -> tuple[datetime, datetime]:
        """The window that begins on this day, in UTC. Where the clocks are put forward in it, it is shorter."""
        ends = self.ends if self.ends > self.begins else self.ends + _DAY
        start, end = self._at(day, self.begins), self._at(day, ends)
        return start, max(start, end)

    def day_of(self, when: datetime) -> date:
        """The day whose window *when* belongs to."""
        over_midnight = timedelta(minutes=self.ends if self.ends <= self.begins else 0)
        return (when.astimezone(self.zone).replace(tzinfo=None) - over_midnight).date()

    def days_from(self, day: date) -> Iterator[date]:
        """The days with a window, from this one on."""
        while True:
            if day.weekday() in self.weekdays:
                yield day
            day += timedelta(days=1)

    def _at(self, day: date, minutes: int) -> datetime:
        later, minute = divmod(minutes, _DAY)
        local = datetime.combine(day + timedelta(days=later), time(*divmod(minute, 60)), tzinfo=self.zone)
        return local.astimezone(UTC)


def next_due(rule: Rule, since: datetime, chance: float) -> datetime:
    """When it is due next, *since* having been the last time: on the first day with a window that is not earlier than
    the rule says, at a time in it that *chance* (0 to 1) chooses."""
    start, end = rule.window(next(rule.days_from(rule.day_of(since) + timedelta(days=rule.days))))
    return start + (end - start) * chance


def reckoned(rule: Rule, kept: Due | None, last: datetime | None, now: datetime, chance: float) -> Due:
    """What is due next: what was *kept*, as long as it was reckoned from the same *last* rotation under the same rule.

    A clock that was set back shows in a time that is too far ahead: then, and where there was no rotation yet, it is
    reckoned from now. A rule that was changed makes nothing due before its next window.
    """
    latest = now + timedelta(days=rule.days + len(_NAMES) + 1)
    if kept is not None and kept.at > latest:
        kept = None
    since = last if last is not None and last <= now else kept.since if kept else now
    if kept is not None and kept.since >= since and kept.rule == str(rule):
        return kept
    at = next_due(rule, since, chance)
    if at > latest:
        since, at = now, next_due(rule, now, chance)
    elif at < now:
        start, end = _window_from(rule, now)
        at = max(now, start) + (end - max(now, start)) * chance
    return Due(at, since, str(rule))


def begins_at(rule: Rule, due: datetime, now: datetime) -> datetime:
    """When to begin what is, or was, due at that time: what was missed in the next window, once, see `CATCH_UP`."""
    if due >= now:
        return due
    return max(now, min(_window_from(rule, now)[0], due + CATCH_UP))


def _window_from(rule: Rule, now: datetime) -> tuple[datetime, datetime]:
    """The first window that is not over."""
    return next(
        window for day in rule.days_from(rule.day_of(now) - timedelta(days=1)) if (window := rule.window(day))[1] > now
    )


# --- Words ----------------------------------------------------------------------------------------------------------


def weekdays(text: str) -> frozenset[int]:
    """The days that *text* names: `tue-thu`, `mon, wed`, `fri-mon`, `daily`. Raises `BadInput`."""
    found: set[int] = set()
    for part in filter(None, re.split(r"[,\s]+", re.sub(r"\s*[-–]\s*", "-", text.strip().lower()))):
        first, through, last = ("mon", "-", "sun") if part == "daily" else part.partition("-")
        start = _weekday(first)
        end = _weekday(last) if through else start
        found.update((start + offset) % 7 for offset in range((end - start) % 7 + 1))
    if not found:
        raise BadInput("Name the days of the week on which to rotate, such as `tue-thu` or `mon, wed`.")
    return frozenset(found)


def _weekday(text: str) -> int:
    for day, name in enumerate(_IN_FULL):
        if len(text) >= 3 and name.lower().startswith(text):
            return day
    raise BadInput("That is no day of the week. Write the days such as `tue-thu` or `mon, wed`.")


def minute_of_day(text: str) -> int:
    """The minute that *text* names, such as `10:00`; `24:00` is the end of the day. Raises `BadInput`."""
    found = re.fullmatch(r"(\d{1,2})(?:[:.](\d{2}))?", text.strip())
    minute = int(found[1]) * 60 + int(found[2] or 0) if found and int(found[2] or 0) < 60 else -1
    if not 0 <= minute <= _DAY:
        raise BadInput("That is no time of the day. Write it such as `10:00`.")
    return minute


def clock(minutes: int) -> str:
    """The minute of a day as people write it: *10:00*."""
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def described(settings: TenantSettings) -> str:
    """The rule in words: *every 7 days, Tuesday to Thursday between 10:00 and 15:00*."""
    every = "every day" if settings.rotation_days == 1 else f"every {settings.rotation_days} days"
    window = f"between {clock(settings.rotation_from)} and {clock(settings.rotation_until)}"
    if settings.rotation_from == settings.rotation_until:
        window = "at any time of the day"
    return f"{every}, {_days(weekdays(settings.rotation_weekdays))} {window}"


def _days(days: frozenset[int]) -> str:
    if len(days) == len(_NAMES):
        return "on any day"
    ordered = sorted(days)
    if len(ordered) > 2 and ordered[-1] - ordered[0] == len(ordered) - 1:
        return f"{_IN_FULL[ordered[0]]} to {_IN_FULL[ordered[-1]]}"
    names = [_IN_FULL[day] for day in ordered]
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
