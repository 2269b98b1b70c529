"""Slack comes to agree with the outbox: in order, paced, once if it can be, whatever Slack does meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.model import Approval, ApprovalState, Author, Origin, Request, RequestState, Step, StepStatus
from bot.ports import Audience, Message
from handlers.identity import People
from handlers.pacing import POST_BURST, Bucket, Pace
from handlers.places import Places
from handlers.reporter import Reporter
from handlers.voice import Voice
from sandbox.faults import Answer, Delay, Drop, Rule
from sandbox.slack import RateLimits
from sandbox.slack.model import Message as Shown
from storage.database import Database
from storage.outbox import Outbox, Outgoing
from tests.handlers.stage import HELPDESK, OLIVE, SUPPORT, Stage, a_stage

SHELL = Author(login="root")
STEPS = (
    Step("a", "Signing in", StepStatus.DONE),
    Step("b", "Resetting the password", StepStatus.IN_PROGRESS),
    Step("c", "Reading it back", StepStatus.PENDING),
)


async def running(stage: Stage, channel: str = HELPDESK, **fields: Any) -> Request:
    """A request that had to open the session, under way."""
    return await stage.have(
        **{
            "state": RequestState.RUNNING,
            "started_at": stage.clock.now(),
            "opened_session": True,
            "steps": STEPS,
            "origin": Origin(channel),
            **fields,
        }
    )


async def ends(stage: Stage, request: Request, **fields: Any) -> Request:
    steps = tuple(replace(step, status=StepStatus.DONE) for step in STEPS)
    sentence = "The password of Adele Vance was reset."
    ended = {"state": RequestState.DONE, "steps": steps, "sentence": sentence, **fields}
    return await stage.run(request, **ended)


async def first(stage: Stage, channel: str = "#helpdesk", text: str = "") -> Shown:
    """The first message of a channel, once it says *text*."""

    def it() -> Shown:
        message = stage.people.messages(channel)[0]
        if text not in message.visible_text:
            raise LookupError(text)
        return message

    return await stage.people.until(it)


async def direct(stage: Stage, text: str = "") -> Shown:
    return await first(stage, stage.people.direct("olive").id, text)


# --- One story ------------------------------------------------------------------------------------------------------


async def test_a_long_request_is_one_card_with_its_steps_in_the_thread(stage: Stage) -> None:
    request = await running(stage)

    card = await first(stage, text="1 of 3 steps")
    (steps,) = await stage.people.until(lambda: stage.people.thread(card))
    assert "Resetting the password of Adele Vance" in card.visible_text
    assert "Signing in" in steps.visible_text
    assert stage.people.mentions(card) == ()

    await ends(stage, request)

    card = await first(stage, text="was reset")
    _, closing = await stage.people.until(lambda: _at_least(stage.people.thread(card), 2))
    assert stage.people.mentions(closing) == (f"@{OLIVE.user}",)
    assert len(stage.people.messages("#helpdesk")) == 1


async def drained(stage: Stage) -> None:
    """Wait until the outbox has nothing to say that can be said now."""
    async with asyncio.timeout(45):
        while await stage.outbox.pending(stage.clock.now()):  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.002)


def _at_least(found: list[Shown], count: int) -> list[Shown]:
    if len(found) < count:
        raise LookupError(count)
    return found


async def test_a_quick_request_is_one_message_already_final(stage: Stage) -> None:
    now = stage.clock.now()
    request = await stage.have(state=RequestState.RUNNING, started_at=now)
    await ends(stage, request, steps=())

    await first(stage, text="was reset")

    assert len(stage.people.calls("chat.postMessage")) == 1
    assert stage.people.calls("chat.update") == []


async def test_a_request_that_takes_longer_shows_its_card_meanwhile(stage: Stage) -> None:
    await stage.have(state=RequestState.RUNNING, started_at=stage.clock.now())
    assert stage.people.messages("#helpdesk") == []

    stage.workspace.clock.advance(4)

    await first(stage, text="Resetting the password")


async def test_versions_between_are_never_sent(stage: Stage) -> None:
    request = await running(stage)
    await first(stage, text="1 of 3 steps")

    for number in range(30):
        steps = (*STEPS[:2], Step("c", f"Look {number}", StepStatus.PENDING))
        request = await stage.run(request, steps=steps)
    await ends(stage, request)

    await first(stage, text="was reset")
    assert len(stage.people.calls("chat.update")) <= 4


async def test_nothing_is_sent_when_nothing_changed(stage: Stage) -> None:
    request = await ends(stage, await running(stage))
    card = await first(stage, text="was reset")
    await stage.people.until(lambda: _at_least(stage.people.thread(card), 2))
    updates = len(stage.people.calls("chat.update"))

    await stage.outbox.say(Message(f"steps:{request.id}", "steps", request.id, under=f"card:{request.id}"))
    await drained(stage)

    assert len(stage.people.calls("chat.update")) == updates


# --- Where ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channel", "why"),
    [
        ("C0PARTNERS", "shared with another company"),
        ("C0RANDOM01", "Invite it there with /invite"),
        ("G0SECRET01", "not in the conversation"),
        ("D0OLIVEANA", "not in the conversation"),
    ],
)
async def test_what_cannot_be_told_where_it_was_asked_is_told_in_a_direct_message_saying_why(
    stage: Stage, channel: str, why: str
) -> None:
    request = await ends(stage, await running(stage, channel))

    card = await direct(stage, "was reset")
    assert why in card.visible_text
    assert await stage.people.until(lambda: stage.people.thread(card))
    assert stage.people.messages(channel) == []
    assert (await stage.now(request)).state is RequestState.DONE


async def test_only_work_channels_see_work_once_they_are_set(stage: Stage) -> None:
    settings = await stage.settings.current()
    await stage.settings.change(replace(settings, work_channels=("C0APPROVE1",)), by=SHELL, reason="a test")

    await ends(stage, await running(stage))

    assert "not a work channel" in (await direct(stage, "was reset")).visible_text


async def test_a_channel_shared_a_moment_ago_sees_nothing_more(stage: Stage) -> None:
    await ends(stage, await running(stage))
    await first(stage, text="was reset")
    await stage.people.share_channel("#helpdesk")
    await stage.settled()

    await ends(stage, await running(stage))

    assert "shared with another company" in (await direct(stage, "was reset")).visible_text


async def test_a_request_made_with_the_bot_alone_is_told_there_without_excuses(stage: Stage) -> None:
    await ends(stage, await running(stage, stage.people.direct("olive").id))

    assert "told here because" not in (await direct(stage, "was reset")).visible_text


async def test_a_channel_archived_meanwhile_loses_no_outcome(stage: Stage) -> None:
    request = await running(stage)
    await first(stage)
    stage.people.archive("#helpdesk")

    await ends(stage, request)

    closing = await direct(stage, "was reset")
    assert "does not let Latchkey write" in closing.visible_text


async def test_a_deleted_card_is_posted_anew_with_its_outcome(stage: Stage) -> None:
    request = await running(stage)
    card = await first(stage)
    await stage.workspace.client.chat_delete(channel=HELPDESK, ts=card.ts)

    await ends(stage, request)

    await direct(stage, "was reset")


# --- In private -----------------------------------------------------------------------------------------------------


async def answered(stage: Stage, reply_url: str | None = None) -> Request:
    request = await stage.have(action="help", command="/m365 help", target=None)
    done = replace(request, state=RequestState.DONE, sentence="What you can do.", finished_at=stage.clock.now())
    say = [Message(f"answer:{request.id}", "answer", request.id, audience=Audience.REQUESTER)]
    return await stage.requests.save(done, say=say, reply_url=reply_url)


async def test_a_private_answer_comes_through_the_response_url(stage: Stage) -> None:
    delivery = await stage.people.command("olive", "#random", "/m365 help")
    await answered(stage, delivery.response_url)

    answer = await stage.people.until(lambda: stage.people.ephemerals("olive")[-1])
    assert answer.channel == "C0RANDOM01"
    assert "What you can do." in answer.visible_text


async def test_without_a_response_url_it_is_whispered_in_the_channel(stage: Stage) -> None:
    await answered(stage)

    answer = await stage.people.until(lambda: stage.people.ephemerals("olive")[-1])
    assert answer.channel == HELPDESK


async def test_a_response_url_of_somebody_elses_server_is_not_called(stage: Stage) -> None:
    await answered(stage, "https://evil.example/hook")

    answer = await stage.people.until(lambda: stage.people.ephemerals("olive")[-1])
    assert answer.channel == HELPDESK


async def test_where_the_bot_cannot_whisper_it_writes_to_the_person(stage: Stage) -> None:
    request = await stage.have(action="help", target=None, origin=Origin("C0RANDOM01"))
    await stage.run(request, state=RequestState.DONE, sentence="What you can do.")

    await direct(stage, "What you can do.")


# --- When Slack is not well -----------------------------------------------------------------------------------------


async def test_while_slack_is_away_everything_waits_and_then_comes_in_order(stage: Stage) -> None:
    stage.workspace.faults.start("slack-down")
    requests = [await ends(stage, await running(stage)) for _ in range(3)]
    assert len(await stage.outbox.pending(stage.clock.now())) == 9
    stage.workspace.clock.advance(3600)
    stage.workspace.faults.stop_all()
    stage.workspace.clock.advance(120)

    cards = await stage.people.until(lambda: _at_least(stage.people.messages("#helpdesk"), 3))
    stage.workspace.clock.advance(20)
    await stage.people.until(lambda: all(len(stage.people.thread(card)) == 2 for card in cards))
    assert len(cards) == len(requests)


async def test_told_to_wait_it_sends_the_newest_later(stage: Stage) -> None:
    request = await running(stage)
    await first(stage)
    limited = Answer(429, {"ok": False, "error": "ratelimited"}, {"Retry-After": "30"})
    stage.workspace.faults.add(Rule("slack", "*", "/chat.update", limited, times=1))

    await ends(stage, request)
    card = await first(stage)
    await stage.people.until(lambda: stage.people.thread(card)[1])
    assert "was reset" not in card.visible_text
    stage.workspace.clock.advance(31)

    await first(stage, text="was reset")


async def test_a_slack_that_takes_no_plans_gets_the_steps_as_text(stage: Stage) -> None:
    stage.people.refuses_block("plan")
    await ends(stage, await running(stage))

    card = await first(stage, text="was reset")
    steps, _ = await stage.people.until(lambda: _at_least(stage.people.thread(card), 2))
    assert "Done: Signing in" in steps.visible_text
    refused = [call for call in stage.people.calls("chat.postMessage") if not call.ok]

    await ends(stage, await running(stage))
    await stage.people.until(lambda: _at_least(stage.people.thread(stage.people.messages("#helpdesk")[1]), 2))
    assert [call for call in stage.people.calls("chat.postMessage") if not call.ok] == refused


async def test_a_line_whose_fate_is_unknown_comes_again_and_says_so(tmp_path: Path) -> None:
    async with a_stage(tmp_path) as stage:
        stage.workspace.faults.add(Rule("slack", "*", "/chat.postMessage", Drop("after"), times=1))
        await ends(stage, await running(stage, opened_session=False), steps=())
        stage.workspace.clock.advance(2)

        lost, again = await stage.people.until(lambda: _at_least(stage.people.messages("#helpdesk"), 2))

        assert "may be said twice" not in lost.visible_text
        assert "may be said twice" in again.visible_text


async def test_a_line_left_over_by_a_dead_process_says_that_it_may_be_there_already(tmp_path: Path) -> None:
    async with a_stage(tmp_path, reporting=False) as stage:
        request = await ends(stage, await running(stage, opened_session=False), steps=())
        await stage.outbox.placed(f"card:{request.id}", HELPDESK)
    async with a_stage(tmp_path) as stage:
        assert "may be said twice" in (await first(stage, text="was reset")).visible_text


async def test_what_slack_will_never_take_stops_nobody_else(stage: Stage) -> None:
    odd = Answer(200, {"ok": False, "error": "msg_too_long"})
    stage.workspace.faults.add(Rule("slack", "*", "/chat.postMessage", odd, times=1))
    await ends(stage, await running(stage, opened_session=False), steps=())
    await ends(stage, await running(stage, opened_session=False), steps=())

    await first(stage, text="was reset")
    await drained(stage)


async def test_what_an_earlier_process_left_is_said_by_the_next(tmp_path: Path) -> None:
    async with a_stage(tmp_path, reporting=False) as stage:
        await ends(stage, await running(stage))
    async with a_stage(tmp_path) as stage:
        card = await first(stage, text="was reset")
        await stage.people.until(lambda: _at_least(stage.people.thread(card), 2))


async def test_closing_says_what_can_be_said_at_once(tmp_path: Path) -> None:
    async with a_stage(tmp_path) as stage:
        stage.workspace.faults.add(Rule("slack", "*", "/chat.postMessage", Delay(0.2), times=1))
        await ends(stage, await running(stage, opened_session=False), steps=())

        await stage.room.reporter.close()

        assert "was reset" in stage.people.messages("#helpdesk")[0].visible_text


class _SlowOutbox(Outbox):
    """Gives what it has read only when told to, as if the event loop were busy meanwhile."""

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self.may_give, self.has_read, self.was_told = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def pending(self, now: datetime) -> Sequence[Outgoing]:
        rows = await super().pending(now)
        self.has_read.set()
        await self.may_give.wait()
        self.may_give.clear()
        return rows

    async def sent(self, key: str, revision: int, *, channel: str | None = None, ts: str | None = None) -> None:
        await super().sent(key, revision, channel=channel, ts=ts)
        self.was_told.set()


async def nobody_asks(request: Request, approval_id: str, why: str) -> None:
    raise AssertionError


async def nobody_alerts(message: Message, why: str) -> None:
    raise AssertionError


async def test_what_is_said_while_the_outbox_is_read_is_not_said_again(tmp_path: Path) -> None:
    async with a_stage(tmp_path, reporting=False) as stage:
        outbox = _SlowOutbox(stage.db)
        reporter = Reporter(
            outbox=outbox,
            requests=stage.requests,
            operators=stage.operators,
            people=People(stage.slack, stage.clock, stage.installed, SUPPORT),
            places=Places(stage.slack, stage.settings, stage.clock),
            slack=stage.slack,
            voice=Voice(stage.slack),
            clock=stage.clock,
            support=SUPPORT,
            unheard=nobody_asks,
            alert_unheard=nobody_alerts,
        )
        stage.workspace.faults.add(Rule("slack", "*", "/chat.postEphemeral", Delay(0.1), times=1))
        await answered(stage)
        await reporter.start()
        outbox.may_give.set()
        await outbox.has_read.wait()
        outbox.has_read.clear()
        outbox.changed()
        await outbox.has_read.wait()  # while the answer is on its way,
        await outbox.was_told.wait()
        outbox.has_read.clear()
        outbox.may_give.set()  # and what was read is given out after it has arrived
        outbox.changed()
        await outbox.has_read.wait()
        outbox.may_give.set()
        await reporter.close()

        assert len(stage.people.ephemerals("olive")) == 1


# --- Messages about no request ----------------------------------------------------------------------------------------


def a_head(channel: str, day: str = "2026-11-22", **data: Any) -> Message:
    about = {"channel": channel, "day": day, "seq": 1234, "seal": "3f" * 32, "changes": 12, **data}
    return Message(f"audit-head:{day}", "audit-head", audience=Audience.CHANNEL, data=about)


async def test_what_is_about_no_request_stands_in_the_channel_it_names_and_is_rewritten_there(stage: Stage) -> None:
    await stage.outbox.say(a_head("C0ALERTS01"))

    line = await first(stage, "#it-alerts", "Audit head 22 Nov 2026: row 1234, seal `3f3f3f3f3f3f`… . 12 changes since")
    assert f"latchkey audit verify --head 1234:{'3f' * 32}" in line.visible_text

    await stage.outbox.say(a_head("C0ALERTS01", wrong="Row 7 is missing from the trail."))

    await first(stage, "#it-alerts", "the trail is not sound.* Row 7 is missing")
    assert len(stage.people.messages("#it-alerts")) == 1


async def test_a_message_that_names_a_person_comes_to_their_direct_messages(stage: Stage) -> None:
    await stage.outbox.say(a_head(OLIVE.user))

    await direct(stage, "Audit head 22 Nov 2026")


@pytest.mark.parametrize("channel", ["C0PARTNERS", "C0RANDOM01", "C0NOWHERE1", ""])
async def test_what_has_no_place_in_its_channel_stands_nowhere_else_and_stops_nobody(
    stage: Stage, channel: str
) -> None:
    await stage.outbox.say(a_head(channel))
    await stage.outbox.say(a_head("C0ALERTS01", "2026-11-23"))

    await first(stage, "#it-alerts", "Audit head 23 Nov 2026")
    await drained(stage)
    assert [call for call in stage.people.calls("chat.postMessage") if call.ok][1:] == []


async def test_a_card_about_a_request_can_stand_in_a_channel_of_its_own(stage: Stage) -> None:
    request = await ends(stage, await running(stage, opened_session=False), steps=())
    told = Message("told", "closing", request.id, audience=Audience.CHANNEL, data={"channel": "C0APPROVE1"})
    await stage.outbox.say(told)

    await first(stage, "#it-approvals", "was reset")


# --- Pace -----------------------------------------------------------------------------------------------------------


async def test_a_crowd_of_requests_never_speaks_faster_than_slack_allows(tmp_path: Path) -> None:
    async with a_stage(tmp_path, limits=RateLimits(post_burst=7)) as stage:
        requests = [await running(stage) for _ in range(12)]
        for request in requests:
            await ends(stage, request)
        for _ in range(1000):
            if not await stage.outbox.pending(stage.clock.now()):
                break
            stage.workspace.clock.advance(5)
            await asyncio.sleep(0.02)

        assert await stage.outbox.pending(stage.clock.now()) == []
        assert [call for call in stage.people.calls() if not call.ok] == []
        cards = stage.people.messages("#helpdesk")
        assert len(cards) == 12
        assert all("was reset" in card.visible_text for card in cards)
        assert all(len(stage.people.thread(card)) == 2 for card in cards)


async def test_thirty_approvals_with_reminders_stay_inside_slacks_pace_and_what_is_settled_goes_first(
    tmp_path: Path,
) -> None:
    async with a_stage(tmp_path, limits=RateLimits(post_burst=7)) as stage:
        waiting = [await asks_others(stage, number) for number in range(30)]
        await quiet(stage)
        shown = len(stage.people.calls("chat.postMessage"))
        assert len(stage.people.messages("#it-approvals")) == 30

        for request in waiting:
            assert request.approval is not None
            await stage.run(request, approval=replace(request.approval, reminders=1))
        last = await stage.now(waiting[-1])
        assert last.approval is not None
        decided = replace(last.approval, state=ApprovalState.DENIED, decided_by=last.operator_id, reason="not now")
        await stage.run(last, state=RequestState.REFUSED, sentence="Denied.", approval=decided)
        await until_rewritten(stage, "denied by")
        assert len(stage.people.calls("chat.postMessage")) - shown < 29, "all reminders were said before the answer"
        await quiet(stage)

        assert [call for call in stage.people.calls() if not call.ok] == []
        cards = stage.people.messages("#it-approvals")
        assert sum("Still waiting" in reply.visible_text for card in cards for reply in stage.people.thread(card)) == 29


async def asks_others(stage: Stage, number: int) -> Request:
    """A request of Olive's that waits for somebody to agree."""
    now = stage.clock.now()
    approval = Approval(f"{number:032x}", "digest", "C0APPROVE1", now, now + timedelta(hours=8), why="A VIP.")
    return await stage.have(state=RequestState.AWAITING_APPROVAL, started_at=now, approval=approval)


async def quiet(stage: Stage) -> None:
    """Let time pass until everything is said."""
    for _ in range(1000):
        if not await stage.outbox.pending(stage.clock.now()):
            return
        stage.workspace.clock.advance(1)
        await asyncio.sleep(0.01)


async def until_rewritten(stage: Stage, words: str) -> None:
    """Let time pass until a card in the approvals channel says so."""
    for _ in range(1000):
        if any(words in card.visible_text for card in stage.people.messages("#it-approvals")):
            return
        stage.workspace.clock.advance(0.2)
        await asyncio.sleep(0.01)


def test_a_bucket_gives_its_burst_and_then_one_at_a_time() -> None:
    bucket = Bucket(3, 0.5, now=0.0)

    assert [bucket.take(0.0) for _ in range(4)] == [0, 0, 0, 2.0]
    assert bucket.take(2.0) == 0
    assert bucket.take(1.0) > 0  # a clock that goes back gives nothing


def test_what_is_late_does_not_meet_what_comes_after_it() -> None:
    pace = Pace(now=0.0)
    assert [pace.post("C1", 0.0) for _ in range(POST_BURST + 1)] == [0] * POST_BURST + [1.0]

    assert pace.post("C1", 60.0) == 1.0, "all of it may reach Slack only now"
    assert pace.post("C2", 60.0) == 0
    for _ in range(POST_BURST):
        pace.posted("C1", 60.0)
    assert pace.post("C1", 60.0) == 1.0
    assert pace.post("C1", 61.0) == 0


def test_waiting_that_slack_asked_for_holds_back_what_it_was_about() -> None:
    pace = Pace(now=0.0)
    pace.told_to_wait(30, 0.0, "C1")
    pace.told_to_wait(10, 0.0, None)

    assert pace.post("C1", 1.0) == 29
    assert pace.post("C2", 1.0) == 0
    assert pace.update(1.0) == 9
    assert pace.update(10.0) == 0


async def test_the_home_tab_hears_of_what_has_ended(stage: Stage) -> None:
    await stage.people.open_home("olive")
    published = len(stage.people.calls("views.publish"))
    await ends(stage, await running(stage))
    await drained(stage)

    stage.workspace.clock.advance(3)

    await stage.people.until(lambda: len(stage.people.calls("views.publish")) > published)
    home = stage.people.home("olive")
    assert home is not None
    assert "Reset the password of Adele Vance: Done" in home.visible_text.replace("*", "")
