"""Runs requests by their ids: one task each, woken when something happened to it or when its time has come."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from bot.carrying_out import REVEAL_FOR
from bot.errors import StorageProblem
from bot.model import RequestState
from bot.ports import Clock, Requests
from bot.runner import Runner

log = logging.getLogger(__name__)

AT_ONCE = 32
"""Requests under way at the same time; more wait their turn in memory, their rows being safe already."""

NOT_SOONER_THAN = timedelta(seconds=1)
"""The least time between two looks at what is due, so that a row that stays due cannot spin."""

STRANDED_FOR = timedelta(minutes=1)
"""When to go on with what could not even be written down (a full disk, say)."""


class Worker:
    """Takes requests along their road, each by one task at a time."""

    def __init__(self, requests: Requests, clock: Clock) -> None:
        self._runner: Runner | None = None
        self._requests = requests
        self._clock = clock
        self._places = asyncio.Semaphore(AT_ONCE)
        self._walking: dict[str, asyncio.Task[None]] = {}
        self._once_more: set[str] = set()
        self._stranded: dict[str, datetime] = {}
        self._timer: asyncio.Task[None] | None = None
        self._rescheduled = asyncio.Event()
        self._draining = False

    async def start(self, runner: Runner) -> None:
        """Take up what an earlier process left: open requests, and secrets that died with it unseen."""
        self._runner = runner
        left_waiting = await self._requests.due(self._clock.now() + REVEAL_FOR)
        # What was being written goes first: what waits for the same target would disturb its read-back.
        left_open = sorted(await self._requests.open(), key=lambda request: request.state is not RequestState.RUNNING)
        self._wake_all(request.id for request in (*left_open, *left_waiting))
        self._timer = asyncio.create_task(self._wake_what_is_due())

    async def close(self, grace: float = 30.0) -> None:
        """Take nothing new, give what is under way *grace* seconds, and leave the rest to the next start."""
        self._draining = True
        if self._timer:
            self._timer.cancel()
        walking = list(self._walking.values())
        if walking:
            await asyncio.wait(walking, timeout=grace)
        for task in walking:
            task.cancel()
        await asyncio.gather(*walking, *([self._timer] if self._timer else []), return_exceptions=True)

    def wake(self, request_id: str) -> None:
        """Go on with this request; if it is being walked already, once more afterwards. Before `start` and while
        closing this does nothing: the row itself is what the next start goes by."""
        if self._runner is None or self._draining:
            return
        if request_id in self._walking:
            self._once_more.add(request_id)
            return
        task = asyncio.create_task(self._walk(self._runner, request_id))
        self._walking[request_id] = task

    def _wake_all(self, request_ids: Iterable[str]) -> None:
        for request_id in tuple(request_ids):
            self.wake(request_id)

    async def _walk(self, runner: Runner, request_id: str) -> None:
        woken_at = self._clock.monotonic()
        try:
            async with self._places:
                self._once_more.add(request_id)
                while request_id in self._once_more:
                    self._once_more.discard(request_id)
                    await self._advance(runner, request_id, woken_at)
                    woken_at = self._clock.monotonic()
        finally:
            del self._walking[request_id]
            self._rescheduled.set()

    async def _advance(self, runner: Runner, request_id: str, woken_at: float) -> None:
        try:
            await runner.advance(request_id, woken_at)
        except Exception:  # the one place that answers for faults nobody foresaw: told, logged, and the worker lives
            reference = secrets.token_hex(3)
            log.exception("request stumbled", extra={"request": request_id, "reference": reference})
            try:
                await runner.stumbled(request_id, reference)
            except Exception:
                log.exception("request could not even be failed", extra={"request": request_id, "reference": reference})
                self._stranded[request_id] = self._clock.now() + STRANDED_FOR

    async def _wake_what_is_due(self) -> None:
        while True:
            self._rescheduled.clear()
            try:
                due_at = await self._next_due()
                await self._until(due_at)
                if due_at is not None and due_at <= self._clock.now():
                    await self._wake_due()
                    await self._clock.sleep_until(self._clock.now() + NOT_SOONER_THAN)
            except StorageProblem:
                log.exception("what is due cannot be read")
                await self._clock.sleep_until(self._clock.now() + STRANDED_FOR)

    async def _next_due(self) -> datetime | None:
        soonest = [*self._stranded.values(), await self._requests.next_due()]
        return min((when for when in soonest if when is not None), default=None)

    async def _wake_due(self) -> None:
        now = self._clock.now()
        due = [request.id for request in await self._requests.due(now)]
        afloat = [request_id for request_id, when in self._stranded.items() if when <= now]
        for request_id in afloat:
            del self._stranded[request_id]
        self._wake_all((*due, *afloat))

    async def _until(self, due_at: datetime | None) -> None:
        """Wait for that time, or for a request to have come to rest, which may have brought an earlier one."""
        waiting: list[asyncio.Task[Any]] = [asyncio.create_task(self._rescheduled.wait())]
        if due_at is not None:
            waiting.append(asyncio.create_task(self._clock.sleep_until(due_at)))
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
