"""Carries payloads to the app, and carries events there again when they were not acknowledged."""

import asyncio
from contextlib import suppress
from copy import deepcopy

from sandbox.clock import WorldClock
from sandbox.slack.model import Ack, AckStatus, Delivery, Json
from sandbox.slack.transport import Retry, Transport

RETRY_AFTER = (0.0, 60.0, 300.0)
"""Seconds of the world after which an event is sent again: at once, after a minute, after five."""

_REASONS = {
    AckStatus.TIMEOUT: "http_timeout",
    AckStatus.UNDELIVERED: "connection_failed",
    AckStatus.REFUSED: "http_error",
}


class Courier:
    """Everything the workspace sends goes through here; `deliveries` remembers all of it, oldest first."""

    def __init__(self, transport: Transport, clock: WorldClock) -> None:
        self._transport = transport
        self._clock = clock
        self._retrying: set[asyncio.Task[None]] = set()
        self.deliveries: list[Delivery] = []

    async def send(self, kind: str, payload: Json) -> Delivery:
        """Deliver once, and answer when the app has, or when its time is over."""
        delivery = self._new(kind, payload)
        await self._attempt(delivery, None)
        return delivery

    async def event(self, payload: Json) -> Delivery:
        """Deliver an event. Answers after the first attempt; further ones go on behind the scenes."""
        began = self._clock.now()
        delivery = await self.send("events_api", payload)
        if delivery.ack.status is not AckStatus.OK:
            task = asyncio.create_task(self._retry(delivery, began))
            self._retrying.add(task)
            task.add_done_callback(self._retrying.discard)
        return delivery

    async def again(self, delivery: Delivery, *, same_envelope: bool) -> Delivery:
        """Deliver the same payload another time, marked as a retry."""
        copy = self._new(delivery.kind, delivery.payload)
        copy.envelope_id = delivery.envelope_id if same_envelope else ""
        times = sum(1 for other in self.deliveries if other.payload == delivery.payload) - 1
        await self._attempt(copy, Retry(times, _REASONS.get(delivery.ack.status, "http_timeout")))
        return copy

    def not_sent(self, kind: str, reason: str) -> Delivery:
        """A delivery that never left, because Slack itself said no."""
        delivery = self._new(kind, {})
        delivery.ack = Ack(AckStatus.NOT_SENT, reason=reason)
        return delivery

    def _new(self, kind: str, payload: Json) -> Delivery:
        delivery = Delivery(kind, deepcopy(payload))
        self.deliveries.append(delivery)
        return delivery

    async def _attempt(self, delivery: Delivery, retry: Retry | None) -> None:
        delivery.ack = await self._transport.attempt(delivery, retry)
        delivery.attempts.append(delivery.ack)

    async def _retry(self, delivery: Delivery, began: float) -> None:
        """Attempt again; each time counts from the beginning of the attempt before."""
        for number, seconds in enumerate(RETRY_AFTER, start=1):
            reason = _REASONS.get(delivery.ack.status, "unknown_error")
            await _sleep_until(self._clock, began + seconds)
            began = self._clock.now()
            delivery.envelope_id = ""
            await self._attempt(delivery, Retry(number, reason))
            if delivery.ack.status is AckStatus.OK:
                return

    async def close(self) -> None:
        """Give up what is still to be repeated."""
        for task in tuple(self._retrying):
            task.cancel()
        await asyncio.gather(*self._retrying, return_exceptions=True)


async def _sleep_until(clock: WorldClock, when: float) -> None:
    """Sleep until a time of the world: somebody who moves its clock cuts the sleep short."""
    moved = asyncio.Event()
    unsubscribe = clock.subscribe(lambda _: moved.set())
    try:
        while (left := when - clock.now()) > 0:
            moved.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await moved.wait()
    finally:
        unsubscribe()
