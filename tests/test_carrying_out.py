"""Points 8 to 11 of the road with every step outwards failing in every way it can: once applied, and truly told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from bot.model import JSON, Call, Change, Expect, Plan, ReadBack, Repeat, RequestState, Step
from bot.ports import Audience
from bot.road import Point
from tests.clock import T0
from tests.recovery.paper import ANA, Contoso, Fault, Killed, Outward, Process, World, agreed, live
from tests.tenant import ADELE_ID, SALES_ID


@dataclass(frozen=True)
class Case:
    """An action, and the tenant it is asked in."""

    name: str
    inputs: Mapping[str, JSON] = field(default_factory=dict)
    tenant: Mapping[str, Any] = field(default_factory=dict)
    one_shot: bool = False
    secret: bool = False
    blind: bool = False
    """Nothing in the tenant shows whether it was done."""

    plan: Plan | None = None
    """Stored when a bot died before it had sent anything of it; else the action plans."""

    def world(self, faults: Mapping[int, Fault] | None = None) -> World:
        world = World(faults, Contoso(**self.tenant))
        world.requests["r1"] = agreed(self.name, inputs=self.inputs)
        if self.plan is not None:
            begun = replace(world.request, state=RequestState.RUNNING, started_at=T0, session_generation=1)
            world.requests["r1"] = replace(begun, plan=self.plan)
        return world


RESET = Case("reset-password", one_shot=True, secret=True)
WRITEBACK = Case("reset-password", tenant={"synced": True}, one_shot=True, secret=True, blind=True)
BLOCK = Case("block-sign-in")
SIGN_OUT = Case("revoke-sessions", one_shot=True)
PASS = Case("temporary-access-pass", one_shot=True, secret=True)
ADD = Case("add-to-group", {"group": SALES_ID})
REMOVE = Case("remove-from-group", {"group": SALES_ID}, {"member": True})

TWO_PARTS = Case(
    "revoke-sessions",
    plan=Plan(
        changes=(Change("sign-in", "allowed", "blocked"), Change("sessions", "signed in", "signed out")),
        calls=(
            Call("PATCH", ("users", ADELE_ID), {"accountEnabled": False}),
            Call("POST", ("users", ADELE_ID, "revokeSignInSessions"), repeat=Repeat.ONE_SHOT),
        ),
        read_back=ReadBack(
            path=("users", ADELE_ID),
            pointer="signInSessionsValidFromDateTime",
            expect=Expect.DIFFERS,
            value="2026-01-05T08:00:00Z",
        ),
    ),
    one_shot=True,
)

CASES = {
    "reset": RESET,
    "reset with writeback": WRITEBACK,
    "block": BLOCK,
    "sign out": SIGN_OUT,
    "access pass": PASS,
    "add": ADD,
    "remove": REMOVE,
    "two parts": TWO_PARTS,
}
each_case = pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])

UNTOLD = ("cannot be looked up here", "cannot be told any more")
"""What a failure says that may have been applied after all."""


async def played(case: Case, faults: Mapping[int, Fault]) -> World:
    """The world after the request has ended, judged: nothing applied twice, nothing untrue said, nothing lost."""
    world = case.world(faults)
    process = await live(world)
    try:
        judge(case, world, process)
    except AssertionError as error:
        error.add_note(f"{case.name} with {faults}: {world.request.state.value}, {world.request.sentence!r}")
        raise
    finally:
        await process.close()
    return world


def judge(case: Case, world: World, process: Process) -> None:
    request, applied = world.request, world.tenant.applied
    assert request.plan is not None or not applied
    calls = request.plan.calls if request.plan else ()
    assert len(world.tenant.one_shots) == len(set(world.tenant.one_shots))
    assert len(applied) <= len(calls) or len(calls) > 1

    match request.state:
        case RequestState.DONE:
            assert len(applied) >= len(calls)
        case RequestState.FAILED if len(calls) > 1 and applied:
            assert "Not all of this was done." in request.sentence
        case RequestState.FAILED:
            assert not applied or (case.blind and any(words in request.sentence for words in UNTOLD))
        case state:
            raise AssertionError(f"no way to end: {state}")
    assert request.sentence
    assert not (applied and len(calls) == 1 and "Nothing was changed" in request.sentence)

    started, finished = world.of_attempts("attempt.started"), world.of_attempts("attempt.finished")
    assert [record.attempt_id for record in started] == [record.attempt_id for record in finished]
    for record in finished:
        outcome = record.facts["outcome"]
        assert outcome == "unknown" or (outcome == "succeeded") is (record.attempt_id in applied)

    if case.secret and request.state is RequestState.DONE:
        secret = process.reveals.take(request.id)
        if request.answer["reveal"] == "waiting":
            assert secret is not None
            assert secret.reveal() == world.tenant.password
        else:
            assert secret is None
            assert request.answer["reveal"] in {"lost", "expired"}
            assert "cannot sign in with it" in request.sentence
    assert world.tenant.password not in repr((world.requests, world.audit, world.said))


def strikes(world: World, *, after: int = 0) -> Iterator[tuple[int, Fault]]:
    """Every fault at every step that was taken in *world* after the first *after* ones."""
    for number, kind in enumerate(world.kinds[after:], after + 1):
        yield from ((number, fault) for fault in Fault if fault.strikes is kind)


@each_case
async def test_without_faults_it_is_done(case: Case) -> None:
    world = case.world()
    process = await live(world)

    judge(case, world, process)
    assert world.request.state is RequestState.DONE
    await process.close()


async def test_the_points_are_passed_in_the_order_of_the_road() -> None:
    process = await live(RESET.world())

    assert process.passed == [point for point in Point if point > Point.PARSED]
    await process.close()


@each_case
async def test_whatever_fails_once_it_is_applied_at_most_once_and_truly_told(case: Case) -> None:
    for fault in strikes(await played(case, {})):
        world = await played(case, dict([fault]))

        assert world.time.now() - T0 < timedelta(minutes=15)


@pytest.mark.slow
@each_case
async def test_whatever_fails_twice_it_is_applied_at_most_once_and_truly_told(case: Case) -> None:
    for number, fault in strikes(await played(case, {})):
        for another in strikes(await played(case, {number: fault}), after=number):
            world = await played(case, dict([(number, fault), another]))

            assert world.time.now() - T0 < timedelta(minutes=45)


# --- step by step -----------------------------------------------------------------------------------------------------

_BLOCKED = ReadBack(path=("users", ADELE_ID), pointer="accountEnabled", expect=Expect.EQUALS, value=False)
_SIGNED_OUT = ReadBack(
    path=("users", ADELE_ID),
    pointer="signInSessionsValidFromDateTime",
    expect=Expect.DIFFERS,
    value="2026-01-05T08:00:00Z",
)

_NEVER = ReadBack(path=("users", ADELE_ID), pointer="checked", expect=Expect.EQUALS, value=True, lags=False)

STEP_BY_STEP = Case(
    "revoke-sessions",
    plan=Plan(
        changes=(Change("sign-in", "allowed", "blocked"), Change("sessions", "signed in", "signed out")),
        calls=(
            Call("PATCH", ("users", ADELE_ID), {"accountEnabled": False}, says="Blocking", seen=_BLOCKED),
            Call("PUT", ("what-if",), says="Asking what would happen", seen=_NEVER, checks=True),
            Call(
                "POST",
                ("users", ADELE_ID, "revokeSignInSessions"),
                repeat=Repeat.ONE_SHOT,
                says="Signing out",
                seen=_SIGNED_OUT,
            ),
        ),
        read_back=_SIGNED_OUT,
    ),
    one_shot=True,
)


async def gone_on_with(faults: Mapping[int, Fault]) -> World:
    """The world after *Retry step* was pressed until nothing stopped any more, judged at each stop."""
    world = STEP_BY_STEP.world(faults)
    for _ in range(4):
        asked_before = len(world.tenant.asked)
        process = await live(world)
        await process.close()
        request, applied = world.request, len(world.tenant.applied)
        asked = world.tenant.asked[asked_before:]
        assert "revokeSignInSessions" not in asked or "what-if" in asked[: asked.index("revokeSignInSessions")]
        assert len(world.tenant.one_shots) == len(set(world.tenant.one_shots)), request.sentence
        if request.state is RequestState.DONE:
            assert not world.tenant.enabled
            assert world.tenant.sign_outs == 1
            return world
        assert request.state is RequestState.FAILED
        assert request.answer.get("go_on") or not applied, (faults, request.sentence)
        if applied:
            done = int(request.sentence[0]) if request.sentence[0].isdigit() else 3
            assert done <= applied, (faults, request.sentence)
        answer = {name: value for name, value in request.answer.items() if name != "go_on"}
        world.time.advance(600)
        world.requests["r1"] = replace(request, state=RequestState.RUNNING, sentence="", answer=answer)
    raise AssertionError(f"it stops again and again: {faults}, {world.request.sentence}")


async def test_wherever_a_plan_of_steps_stops_it_says_how_far_it_is_and_goes_on_from_there() -> None:
    for fault in strikes(await gone_on_with({})):
        await gone_on_with(dict([fault]))


@pytest.mark.slow
async def test_the_same_when_it_stops_twice() -> None:
    for number, fault in strikes(await gone_on_with({})):
        for another in strikes(await gone_on_with({number: fault}), after=number):
            await gone_on_with(dict([(number, fault), another]))


async def test_a_step_that_is_never_seen_can_be_gone_on_with_once_it_shows() -> None:
    world = STEP_BY_STEP.world()
    world.lag = timedelta(hours=1)
    process = await live(world)
    await process.close()
    assert rests_in(world, RequestState.FAILED)
    assert world.request.answer["go_on"]
    assert world.request.sentence.startswith("Every step was done, but that could not be seen")

    world.lag = timedelta()
    world.requests["r1"] = replace(world.request, state=RequestState.RUNNING, answer={})
    await (await live(world)).close()
    assert rests_in(world, RequestState.DONE)
    assert world.tenant.one_shots == ["revokeSignInSessions"]


# --- replicas that lag ------------------------------------------------------------------------------------------------


def rests_in(world: World, state: RequestState) -> bool:
    return world.request.state is state


async def number_of_sending(case: Case) -> int:
    """Which step outwards sends the call, when nothing fails."""
    return (await played(case, {})).kinds.index(Outward.SEND) + 1


async def until_it_rests(world: World) -> Process:
    """A bot that has brought the request as far as it can go now."""
    process = Process(world)
    await process.session.start()
    await process.advance("r1")
    return process


async def ten_minutes_later(world: World, process: Process) -> None:
    assert world.request.due_at is not None
    world.passes_until(world.request.due_at)
    await process.advance("r1")


@each_case
async def test_a_stale_read_back_is_repeated_for_a_minute(case: Case) -> None:
    world = case.world()
    world.lag = timedelta(seconds=55)
    process = await live(world)

    judge(case, world, process)
    assert rests_in(world, RequestState.DONE)
    assert world.time.now() - T0 < timedelta(seconds=75)
    await process.close()


@pytest.mark.parametrize("case", [BLOCK, SIGN_OUT, ADD, REMOVE], ids=lambda case: case.name)
async def test_what_does_not_show_after_a_minute_is_looked_at_once_more(case: Case) -> None:
    world = case.world()
    world.lag = timedelta(minutes=5)
    process = await until_it_rests(world)

    assert rests_in(world, RequestState.UNKNOWN)
    assert world.request.sentence == "Microsoft accepted this, but does not show it yet. I look again at 09:11."
    assert "again" not in world.request.answer

    await ten_minutes_later(world, process)
    judge(case, world, process)
    assert rests_in(world, RequestState.DONE)
    await process.close()


@pytest.mark.parametrize("case", [RESET, PASS], ids=lambda case: case.name)
async def test_a_secret_that_microsoft_took_can_be_seen_while_the_tenant_does_not_show_it_yet(case: Case) -> None:
    world = case.world()
    world.lag = timedelta(minutes=5)
    process = await until_it_rests(world)

    assert rests_in(world, RequestState.UNKNOWN)
    assert world.request.answer["reveal"] == "waiting"
    assert process.reveals.holds("r1")

    await ten_minutes_later(world, process)
    judge(case, world, process)
    assert world.request.answer["reveal"] == "waiting"
    await process.close()


async def test_a_secret_seen_before_the_second_look_is_not_called_lost_by_it() -> None:
    world = RESET.world()
    world.lag = timedelta(minutes=5)
    process = await until_it_rests(world)
    assert process.reveals.take("r1") is not None
    seen = {**world.request.answer, "reveal": "revealed", "revealed_at": T0.isoformat()}
    world.requests["r1"] = replace(world.request, answer=seen)

    await ten_minutes_later(world, process)
    assert rests_in(world, RequestState.DONE)
    assert world.request.answer["reveal"] == "revealed"
    assert world.request.sentence == "The password of Adele Vance was reset"
    await process.close()


async def test_only_a_contradiction_at_the_second_look_is_a_failure() -> None:
    world = RESET.world()
    world.lag = timedelta(hours=1)
    process = await until_it_rests(world)

    await ten_minutes_later(world, process)
    assert rests_in(world, RequestState.FAILED)
    assert world.request.sentence == "Microsoft had accepted this, but still shows no change, so it did not happen."
    assert world.request.answer["again"]
    assert not process.reveals.holds("r1")
    await process.close()


async def test_what_a_second_look_finds_is_a_line_of_its_own_that_calls_its_reader() -> None:
    world = SIGN_OUT.world()
    world.lag = timedelta(hours=1)
    process = await until_it_rests(world)
    assert world.said[-1].key == "closing:r1"
    unconfirmed = world.request.sentence

    await ten_minutes_later(world, process)
    assert [message.key for message in world.said[-2:]] == ["closing:r1", "news:r1"]
    assert world.request.answer["earlier"] == ["unknown", unconfirmed]
    await process.close()


async def test_a_secret_nobody_looked_at_in_time_is_gone_and_that_is_news() -> None:
    world = RESET.world()
    process = await until_it_rests(world)

    await ten_minutes_later(world, process)
    assert world.request.answer["reveal"] == "expired"
    assert world.request.answer["earlier"] == ["done", "The password of Adele Vance was reset"]
    assert world.request.sentence == (
        "The password of Adele Vance was reset, but nobody looked at it in time. It cannot be shown any more, so Adele "
        "Vance cannot sign in with it."
    )
    assert world.said[-1].key == "news:r1"
    await process.close()


@pytest.mark.parametrize("way", ["waiting", "showing"])
async def test_a_secret_that_waits_or_is_being_shown_when_the_bot_dies_is_told_to_be_lost(way: str) -> None:
    world = RESET.world()
    process = await until_it_rests(world)
    world.requests["r1"] = replace(world.request, answer={**world.request.answer, "reveal": way})
    await process.close()

    process = await until_it_rests(world)
    assert world.request.answer["reveal"] == "lost"
    assert "the bot was restarted before anybody saw it" in world.request.sentence
    await process.close()


# --- second looks that cannot look ------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.NO_VAULT, Fault.UNREADABLE])
async def test_not_being_able_to_look_again_is_no_contradiction(fault: Fault) -> None:
    world = RESET.world()
    send = await number_of_sending(RESET)
    world.faults = {send: Fault.LOST_AFTER, **dict.fromkeys(range(send + 1, send + 60), Fault.UNREADABLE)}
    process = await until_it_rests(world)
    await process.session.end(by="olive")
    assert rests_in(world, RequestState.UNKNOWN)

    now = len(world.kinds)
    world.faults = dict.fromkeys(range(now + 1, now + 60), fault)
    await ten_minutes_later(world, process)
    assert rests_in(world, RequestState.UNKNOWN)
    assert "not known" in world.request.sentence
    assert "I look again at 09:2" in world.request.sentence

    world.faults.clear()
    await ten_minutes_later(world, process)
    judge(RESET, world, process)
    assert world.request.answer["reveal"] == "waiting"
    await process.close()


async def test_a_session_that_may_not_open_by_itself_leaves_the_outcome_open_until_somebody_opens_it() -> None:
    world = RESET.world({await number_of_sending(RESET): Fault.KILLED_AFTER})
    world.settings = replace(world.settings, auto_enable=False)
    world.requests["r1"] = replace(world.request, answer={"may_open": True})
    with pytest.raises(Killed):
        await until_it_rests(world)
    assert world.tenant.password_changes == 1
    world.requests["r1"] = replace(world.request, answer={})
    process = await until_it_rests(world)

    assert rests_in(world, RequestState.UNKNOWN)
    assert "The management session is off" in world.request.sentence

    await process.session.ensure(opened_for="r2", tell=nobody_listens, may_open=True)
    await ten_minutes_later(world, process)
    judge(RESET, world, process)
    assert world.tenant.password_changes == 1
    await process.close()


async def nobody_listens(steps: tuple[Step, ...]) -> None:
    """Opens a session without a story."""


# --- several at once --------------------------------------------------------------------------------------------------


async def test_what_somebody_else_did_since_is_not_taken_for_ones_own() -> None:
    world = RESET.world()
    world.faults = {await number_of_sending(RESET): Fault.LOST_BEFORE}
    process = await until_it_rests(world)
    assert rests_in(world, RequestState.UNKNOWN)
    world.requests["r2"] = agreed(
        "reset-password", id="r2", operator_id=ANA.id, slack=ANA.slack, created_at=world.time.now(), repeat_of="r1"
    )
    await process.advance("r2")
    secret = process.reveals.take("r2")
    assert secret is not None
    assert secret.reveal() == world.tenant.password

    await ten_minutes_later(world, process)
    first = world.requests["r1"]
    assert first.state is RequestState.FAILED
    assert first.sentence == (
        "Ana Ruiz asked to reset the password of Adele Vance again at 09:01, and that counts. Whether this one was "
        "done before cannot be told any more."
    )
    assert "reveal" not in first.answer
    assert not process.reveals.holds("r1")
    await process.close()


async def test_two_writes_on_one_target_run_one_after_the_other_and_the_second_sees_what_the_first_did() -> None:
    world = ADD.world()
    world.requests["r2"] = agreed(
        "remove-from-group", id="r2", inputs={"group": SALES_ID}, state=RequestState.RECEIVED, typed=ADELE_ID
    )
    process = Process(world)
    await process.session.start()
    await asyncio.gather(process.advance("r1"), process.advance("r2"))

    assert [request.state for request in world.requests.values()] == [RequestState.DONE, RequestState.DONE]
    assert [request.sentence for request in world.requests.values()] == [
        "Adele Vance was added to the group",
        "Adele Vance was removed from the group",
    ]
    assert not world.tenant.member
    await process.close()


async def test_the_same_again_within_a_quarter_of_an_hour_is_asked_about() -> None:
    world = BLOCK.world()
    process = await until_it_rests(world)
    world.tenant.enabled = True
    world.time.advance(120)
    world.requests["r2"] = agreed("block-sign-in", id="r2", slack=ANA.slack, operator_id=ANA.id)
    await process.advance("r2")

    assert world.requests["r2"].state is RequestState.AWAITING_CONFIRMATION
    assert world.requests["r2"].sentence == (
        "Olive Hart already asked to block the sign-in of Adele Vance 2 minutes ago. Nothing was done yet."
    )
    assert len(world.tenant.applied) == 1
    await process.close()


async def test_what_failed_is_nothing_to_ask_about_when_it_is_tried_again() -> None:
    world = BLOCK.world()
    world.faults = {await number_of_sending(BLOCK): Fault.REFUSED}
    process = await until_it_rests(world)
    assert rests_in(world, RequestState.FAILED)
    world.requests["r2"] = agreed("block-sign-in", id="r2")
    await process.advance("r2")

    assert world.requests["r2"].state is RequestState.DONE
    await process.close()


async def test_an_action_that_must_be_confirmed_never_runs_by_itself_when_its_form_is_not_known() -> None:
    """A crash between opening a form and noting its id leaves such a request."""
    world = RESET.world()
    world.requests["r1"] = replace(world.request, state=RequestState.RECEIVED, target=None)
    process = await until_it_rests(world)

    assert rests_in(world, RequestState.AWAITING_CONFIRMATION)
    assert not world.tenant.applied
    assert [(message.view, message.audience) for message in world.said] == [("continue", Audience.REQUESTER)]
    await process.close()
