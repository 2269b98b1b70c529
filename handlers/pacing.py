"""How often Slack may be spoken to: buckets that fill with time (Slack docs: *Rate limits*)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

UPDATES_PER_MINUTE: Final = 40
"""chat.update allows about 50 per minute in the whole workspace; some are left for what must be said at once."""

UPDATE_BURST: Final = 5
POSTS_PER_SECOND: Final = 1.0
POST_BURST: Final = 5
"""chat.postMessage allows about one per second and channel, with bursts Slack does not document."""

BETWEEN_UPDATES: Final = 3.0
"""Seconds between two versions of one message while it is not final; those between are never sent."""

_CHANNELS: Final = 1000


class Bucket:
    """Holds up to *size* tokens and gains *per_second*. Times are those of a monotonic clock."""

    def __init__(self, size: float, per_second: float, now: float) -> None:
        self._size = size
        self._per_second = per_second
        self._level = size
        self._seen = now

    def take(self, now: float) -> float:
        """Take a token and return 0, or return the seconds until there is one."""
        self._level = min(self._size, self._level + max(0.0, now - self._seen) * self._per_second)
        self._seen = now
        if self._level >= 1:
            self._level -= 1
            return 0.0
        return (1 - self._level) / self._per_second


class _Lane(Bucket):
    """Does not fill while what was taken is under way: what reaches Slack late counts there from then on."""

    def __init__(self, size: float, per_second: float, now: float) -> None:
        super().__init__(size, per_second, now)
        self._under_way = 0

    def take(self, now: float) -> float:
        self._still(now)
        wait = super().take(now)
        self._under_way += wait == 0
        return wait

    def arrived(self, now: float) -> None:
        """Slack has answered one, or will not any more."""
        self._still(now)
        self._under_way = max(self._under_way - 1, 0)

    def _still(self, now: float) -> None:
        if self._under_way:
            self._seen = now


class Pace:
    """The workspace's budget. Each method returns the seconds to wait, 0 for *go on now*, which counts as done."""

    def __init__(self, now: float) -> None:
        self._updates = Bucket(UPDATE_BURST, UPDATES_PER_MINUTE / 60, now)
        self._updates_from = now
        self._posts: OrderedDict[str, _Lane] = OrderedDict()
        self._posts_from: dict[str, float] = {}

    def update(self, now: float) -> float:
        return max(self._updates_from - now, 0.0) or self._updates.take(now)

    def post(self, channel: str, now: float) -> float:
        """Whoever may go on says when it is over: `posted`."""
        if (wait := self._posts_from.get(channel, now) - now) > 0:
            return wait
        self._posts_from.pop(channel, None)
        lane = self._posts.setdefault(channel, _Lane(POST_BURST, POSTS_PER_SECOND, now))
        self._posts.move_to_end(channel)
        while len(self._posts) > _CHANNELS:
            self._posts.popitem(last=False)
        return lane.take(now)

    def posted(self, channel: str, now: float) -> None:
        if lane := self._posts.get(channel):
            lane.arrived(now)

    def told_to_wait(self, wait: float, now: float, channel: str | None) -> None:
        """Slack asked to wait: with posts to *channel*, or with all updates if that is None."""
        if channel is None:
            self._updates_from = now + wait
        else:
            self._posts_from[channel] = now + wait
