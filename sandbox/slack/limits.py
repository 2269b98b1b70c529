"""What Slack allows: how often the app may call, as buckets that fill up again with the world's time."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RateLimits:
    """Calls per minute by tier, and the limits on posting. Raise them for a test that is not about limits.

    The numbers per tier are those of Slack's page "Rate limits". Slack tolerates bursts without saying how
    large: here a full minute's worth of a tier at once, `post_burst` messages at once in a channel (one a
    second afterwards), and `posts_per_minute` in the whole workspace. A trigger id opens a form for
    `trigger_seconds` (Slack docs: "Modals").
    """

    tiers: Mapping[int, int] = field(default_factory=lambda: {1: 1, 2: 20, 3: 50, 4: 100, 5: 600})
    post_burst: int = 10
    posts_per_second: float = 1.0
    posts_per_minute: int = 300
    trigger_seconds: float = 3.0


@dataclass
class _Bucket:
    size: float
    per_second: float
    level: float
    seen: float

    def take(self, now: float) -> float:
        """Take one and return 0, or return the seconds until there is one."""
        self.level = min(self.size, self.level + max(0.0, now - self.seen) * self.per_second)
        self.seen = now
        if self.level >= 1:
            self.level -= 1
            return 0.0
        return (1 - self.level) / self.per_second


class Limiter:
    """Counts the app's calls. Tier 5 stands for methods Slack calls special, with hundreds a minute."""

    def __init__(self, limits: RateLimits, now: Callable[[], float]) -> None:
        self._limits = limits
        self._now = now
        self._buckets: dict[str, _Bucket] = {}

    def call(self, method: str, tier: int) -> int:
        """Count a call; 0 if it may go on, else the whole seconds to wait (`Retry-After`)."""
        per_minute = self._limits.tiers[tier]
        return self._take(method, per_minute, per_minute / 60)

    def post(self, channel: str) -> int:
        """Count a message to a channel, likewise."""
        limits = self._limits
        wait = self._take(f"post {channel}", limits.post_burst, limits.posts_per_second)
        return wait or self._take("posts", limits.posts_per_minute, limits.posts_per_minute / 60)

    def _take(self, name: str, size: float, per_second: float) -> int:
        now = self._now()
        bucket = self._buckets.setdefault(name, _Bucket(size, per_second, size, now))
        return math.ceil(bucket.take(now))
