"""The road every change to the tenant travels, as numbered points, so that logs and crash tests can name them."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum


class Point(IntEnum):
    """Where a request is. A crash between any two leaves rows from which a restart knows what happened."""

    IDENTIFIED = 1
    """Slack's user was found (or not) among the operators."""
    PARSED = 2
    """What was typed became a request row, and the delivery is done."""
    PERSON_DECIDED = 3
    """Decided from SQLite alone; a no has ended here."""
    SESSION_OPEN = 4
    """A management session is on and this request may act through it."""
    RESOLVED = 5
    """The target is an object id, read as it is now, and the full decision was yes."""
    PLANNED = 6
    """The plan is stored with its digest."""
    CONFIRMED = 7
    """Whoever had to agree has agreed, and 4 to 6 came out the same again."""
    ATTEMPTED = 8
    """The attempt's row is committed; the call has not left."""
    SENT = 9
    """Microsoft answered, or did not; nothing of that is written yet."""
    READ_BACK = 10
    """The tenant was read; nothing of that is written yet."""
    FINISHED = 11
    """The outcome's row is committed; Slack has not heard of it."""


Passed = Callable[[Point], None]
"""Told of each point as it is passed, in the order of the road. Must return at once."""


def unobserved(point: object) -> None:
    """The `Passed` of production: nobody watches."""
