"""Waiting on the clock port: for whichever comes first, and for something that must not take long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import datetime, timedelta
from typing import Any, TypeVar

from bot.ports import Clock

T = TypeVar("T")


async def woken_or_at(clock: Clock, woken: asyncio.Event, at: datetime | None) -> None:
    """Return once *woken* is set, or *at* has come."""
    waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(woken.wait())]
    if at is not None:
        waits.append(asyncio.ensure_future(clock.sleep_until(at)))
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def within(clock: Clock, limit: timedelta, work: Awaitable[T]) -> T:
    """The result of *work*; cancels it and raises TimeoutError if it takes longer than *limit*."""
    working = asyncio.ensure_future(work)
    timer = asyncio.ensure_future(clock.sleep_until(clock.now() + limit))
    try:
        await asyncio.wait({working, timer}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise TimeoutError
    finally:
        timer.cancel()
        working.cancel()
