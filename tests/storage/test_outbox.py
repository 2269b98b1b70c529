"""The outbox: what Slack does not show yet, and where it stands once it does."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

from bot.model import RequestState
from bot.ports import Audience, Message
from storage.outbox import Outgoing
from tests.clock import T0
from tests.storage.conftest import Opens, Store
from tests.storage.test_requests import a_request

CARD = Message("card:r1", "card", "r1", data={"n": [1, "–"]})
STEPS = Message("steps:r1", "steps", "r1", under="card:r1")
ANSWER = Message("answer:r1", "answer", "r1", audience=Audience.REQUESTER)


async def keys(store: Store) -> list[str]:
    return [row.message.key for row in await store.outbox.pending(store.clock.now())]


async def one(store: Store) -> Outgoing:
    (row,) = await store.outbox.pending(store.clock.now())
    return row


async def test_a_message_is_pending_until_the_revision_that_was_said_last_is_sent(opens: Opens) -> None:
    async with opens() as store:
        await store.outbox.say(CARD)
        row = await one(store)
        assert (row.message, row.revision, row.ts, row.maybe_sent) == (CARD, 1, None, False)

        await store.outbox.say(replace(CARD, data={"n": 2}))
        await store.outbox.sent("card:r1", 1, channel="C1", ts="1.0")

    async with opens() as store:
        row = await one(store)
        assert (row.message.data, row.revision, row.channel, row.ts) == ({"n": 2}, 2, "C1", "1.0")
        await store.outbox.sent("card:r1", 2)
        assert await keys(store) == []
        assert await store.outbox.find("card:r1") == ("C1", "1.0")


async def test_messages_come_in_the_order_they_were_first_said(store: Store) -> None:
    await store.outbox.say(CARD, STEPS)
    await store.outbox.say(ANSWER)
    await store.outbox.say(CARD)

    assert await keys(store) == ["card:r1", "steps:r1", "answer:r1"]


async def test_a_message_knows_where_its_parent_stands(store: Store) -> None:
    await store.outbox.say(CARD, STEPS)
    await store.outbox.placed("card:r1", "C1")

    _, before = await store.outbox.pending(T0)
    await store.outbox.sent("card:r1", 1, channel="C1", ts="1.0")
    after = await one(store)

    assert (before.parent_channel, before.parent_ts) == ("C1", None)
    assert (after.parent_channel, after.parent_ts) == ("C1", "1.0")


async def test_the_first_posting_is_held_back_and_rewriting_is_not(store: Store) -> None:
    soon = T0 + timedelta(seconds=3)
    await store.outbox.say(replace(CARD, after=soon))

    assert await keys(store) == []
    assert await store.outbox.next_after(T0) == soon
    store.clock.advance(3)
    assert (await one(store)).message.after == soon
    assert await store.outbox.next_after(store.clock.now()) is None

    await store.outbox.sent("card:r1", 1, channel="C1", ts="1.0")
    await store.outbox.say(replace(CARD, after=soon + timedelta(hours=1)))
    assert await keys(store) == ["card:r1"]


async def test_a_request_that_ends_sooner_is_said_at_once(store: Store) -> None:
    await store.outbox.say(replace(CARD, after=T0 + timedelta(seconds=3)))
    await store.outbox.say(CARD)

    assert await keys(store) == ["card:r1"]
    assert await store.outbox.next_after(T0) is None


async def test_what_slack_will_not_take_is_given_up_until_it_is_said_again(store: Store) -> None:
    await store.outbox.say(CARD)
    await store.outbox.failed("card:r1", 1, "msg_too_long")
    assert await keys(store) == []

    await store.outbox.say(CARD)
    assert (await one(store)).revision == 2


async def test_a_posting_of_unknown_outcome_is_remembered_until_one_is_known(store: Store) -> None:
    await store.outbox.say(CARD)
    await store.outbox.maybe_sent("card:r1")
    assert (await one(store)).maybe_sent

    await store.outbox.say(CARD)
    await store.outbox.sent("card:r1", 1, channel="C1", ts="1.0")
    assert not (await one(store)).maybe_sent


async def test_messages_about_requests_that_have_ended_are_known(store: Store) -> None:
    await store.requests.add(a_request("r1"), say=[CARD])
    assert not (await one(store)).final

    await store.requests.save(a_request("r1", state=RequestState.DONE))
    assert (await one(store)).final


async def test_the_reporter_is_woken_after_the_commit_and_only_if_something_is_to_be_said(store: Store) -> None:
    woken = asyncio.Event()
    store.outbox.on_change(woken.set)

    request = await store.requests.add(a_request("r1"))
    assert not woken.is_set()
    request = await store.requests.save(request, say=[CARD])
    assert woken.is_set()
    assert await keys(store) == ["card:r1"]

    woken.clear()
    await store.outbox.sent("card:r1", 1)
    assert not woken.is_set()
    await store.outbox.say(CARD)
    assert woken.is_set()


async def test_a_reply_address_is_given_until_it_was_used_five_times(store: Store) -> None:
    await store.requests.add(a_request("r1"), say=[ANSWER], reply_url="https://hooks.slack.test/1")

    for revision in range(1, 6):
        assert (await one(store)).reply_url == "https://hooks.slack.test/1"
        await store.outbox.sent("answer:r1", revision)
        await store.outbox.say(ANSWER)

    assert (await one(store)).reply_url is None


async def test_a_reply_address_is_erased_after_half_an_hour(store: Store) -> None:
    await store.requests.add(a_request("r1"), say=[ANSWER], reply_url="https://hooks.slack.test/1")
    store.clock.advance(30 * 60)
    assert (await one(store)).reply_url is None

    await store.outbox.erase_old()

    left = await store.db.read(lambda connection: connection.execute("SELECT count(*) FROM reply_urls").fetchone())
    assert left == (0,)
