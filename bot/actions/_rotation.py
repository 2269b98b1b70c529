"""What the actions about the rotation have in common: each of their steps is a call to the desk `latchkey/rotation`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bot.actions._own import OWN
from bot.errors import NotPossible
from bot.model import Call, Expect, Point, ReadBack
from bot.ports import Reader

DESK: Final = (OWN, "rotation")


async def rotation_now(reader: Reader) -> Mapping[str, Any]:
    """How it stands. Raises `NotPossible` where there is nothing to rotate."""
    now = await reader.get(*DESK)
    if now["nothing"]:
        raise NotPossible(now["nothing"])
    return now


def go_on(until: Point, says: str) -> Call:
    """The step that brings the rotation of this request as far as *until*."""
    return Call("PUT", (*DESK, "on"), {"until": until.value}, says=says, seen=_reached(until))


def finish(says: str) -> Call:
    """The step that finds out what is in force, and puts everything right about it; nothing new is made."""
    return Call("PUT", (*DESK, "finished"), {}, says=says, seen=_reached(Point.RELEASED))


def _reached(point: Point) -> ReadBack:
    return ReadBack(DESK, "reached", Expect.CONTAINS, point.value, lags=False)
