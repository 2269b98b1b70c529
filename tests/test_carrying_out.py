"""Points 8 to 11 of the road with every step outwards failing in every way it can: once applied, and truly told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from bot.model import JSON, Call, Change, Expect, Plan, ReadBack, Repeat, RequestState
from bot.road import Point
from tests.clock import T0
from tests.recovery.paper import ANA, Contoso, Fault, Process, World, agreed, live
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
            begun = {"state": RequestState.RUNNING, "started_at": T0, "session_generation": 1}
            world.requests["r1"] = replace(world.request, plan=self.plan, **begun)
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
