"""Deliveries: taken once, found again after a crash, forgotten in time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from tests.clock import T0
from tests.storage.conftest import Opens, Store


async def stored_texts(store: Store) -> list[str | None]:
    rows = await store.db.read(lambda connection: connection.execute("SELECT payload FROM inbox").fetchall())
    return [text for (text,) in rows]


async def test_a_delivery_is_taken_once(store: Store) -> None:
    answers = await asyncio.gather(*(store.inbox.receive("T1:trigger", "command", {"n": n}) for n in range(10)))

    assert sorted(answers) == [False] * 9 + [True]


async def test_what_is_not_done_is_found_after_a_restart_oldest_first(opens: Opens) -> None:
    async with opens() as store:
        for key in ("b", "a", "c"):
            await store.inbox.receive(key, "command", {"text": f"show-user {key} \ud800"})
            store.clock.advance(1)
        await store.inbox.done("a")

    async with opens() as store:
        left = await store.inbox.open()

    assert [(delivery.key, delivery.payload["text"]) for delivery in left] == [
        ("b", "show-user b \ud800"),
        ("c", "show-user c \ud800"),
    ]
    assert (left[0].kind, left[0].received_at) == ("command", T0)


async def test_a_delivery_that_is_done_is_still_known_and_its_payload_forgotten(store: Store) -> None:
    await store.inbox.receive("a", "command", {"text": "show-user adele"})

    await store.inbox.done("a")
    await store.inbox.done("a")
    await store.inbox.done("never seen")

    assert await stored_texts(store) == [None]
    assert not await store.inbox.receive("a", "command", {})


async def test_slacks_token_is_not_stored(store: Store) -> None:
    payload = {"token": "verify-me", "text": "token", "payload": {"token": "verify-me", "type": "block_actions"}}

    await store.inbox.receive("a", "command", payload)

    assert [delivery.payload for delivery in await store.inbox.open()] == [
        {"text": "token", "payload": {"type": "block_actions"}}
    ]
    assert payload["token"] == "verify-me"


async def test_a_payload_that_is_never_done_is_forgotten_after_half_an_hour_and_the_key_after_a_day(
    store: Store,
) -> None:
    await store.inbox.receive("a", "command", {"text": "show-user adele"})
    store.clock.advance(29 * 60)
    await store.inbox.erase_old()
    assert len(await store.inbox.open()) == 1

    store.clock.advance(120)
    await store.inbox.receive("b", "command", {})
    assert [delivery.key for delivery in await store.inbox.open()] == ["b"]
    assert not await store.inbox.receive("a", "command", {})

    store.clock.advance(timedelta(hours=24, seconds=1).total_seconds())
    await store.inbox.erase_old()
    assert await stored_texts(store) == []


async def test_after_a_long_stop_open_deliveries_are_still_told_of(opens: Opens) -> None:
    async with opens() as store:
        await store.inbox.receive("a", "command", {"text": "show-user adele"})

    store.clock.advance(3600)
    async with opens() as store:
        assert [delivery.received_at for delivery in await store.inbox.open()] == [T0]
