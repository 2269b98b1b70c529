"""Requests: nothing of them is lost in a row, the first change wins, and what belongs together is one transaction."""

from __future__ import annotations

import asyncio
from dataclasses import MISSING, fields, replace
from datetime import timedelta

import pytest

from bot.errors import Conflict
from bot.model import (
    Approval,
    ApprovalState,
    AuditRecord,
    Call,
    Change,
    Expect,
    Generated,
    Mode,
    Origin,
    Plan,
    ReadBack,
    Repeat,
    Request,
    RequestState,
    Secret,
    Step,
    StepStatus,
    Target,
    TargetKind,
    Undo,
)
from bot.ports import Attempt, AuditSelection, Message
from tests.clock import T0
from tests.storage.conftest import BO, OLIVE, SHELL, Store

ADELE = Target(TargetKind.USER, "adele-id", "Adele Vance", "adele@contoso.com")


def a_request(id_: str = "r1", **about: object) -> Request:
    usual = Request(
        id=id_,
        operator_id=None,
        slack=OLIVE,
        command="/m365 reset-password",
        action="reset-password",
        origin=Origin("C1"),
        created_at=T0,
    )
    return replace(usual, **about)  # type: ignore[arg-type]  # each test names fields of a request


PLAN = Plan(
    changes=(Change("Password", None, "a new one"), Change("Sign-in", "blocked", "allowed")),
    calls=(
        Call(
            "PATCH",
            ("users", "adele-id"),
            {"passwordProfile": {"password": Generated.PASSWORD.marker}},
            Repeat.ONE_SHOT,
        ),
        Call("POST", ("users", "adele-id", "pass"), None, reveals="temporaryAccessPass", poll=True),
    ),
    read_back=ReadBack(("users", "adele-id"), "a/b", Expect.DIFFERS, "2026", (("$select", "id"),), "POST", {"x": [1]}),
    undo=Undo("block-sign-in", {"why": "taken back"}),
    notes=("Everybody is signed out.",),
)


async def test_no_field_of_a_request_is_lost(store: Store) -> None:
    request = a_request(
        operator_id="o-1",
        origin=Origin("C7", "button"),
        state=RequestState.RUNNING,
        version=7,
        typed="adele—”\ud800",
        target=ADELE,
        inputs={"force": True, "days": 3, "groups": ["a", "b"]},
        reason="locked out",
        verified="called back",
        ticket="INC-1",
        preview=True,
        form="V1",
        plan=PLAN,
        digest="d" * 64,
        approval=Approval(
            "a1",
            "d" * 64,
            "C2",
            T0,
            T0 + timedelta(hours=8),
            "Somebody else has to agree.",
            state=ApprovalState.APPROVED,
            decided_by="o-2",
            decided_at=T0 + timedelta(hours=1),
            reason="fine",
            reminders=2,
            break_glass=True,
            reviewed_by="o-3",
            reviewed_at=T0 + timedelta(hours=2),
            review="seen",
        ),
        session_generation=3,
        mode=Mode.ADVANCED,
        identity_id="svc",
        undo_of="r0",
        repeat_of="r-1",
        steps=(Step("open", "Signing in", StepStatus.DONE, "as svc"), Step("reset", "Resetting", StepStatus.PENDING)),
        sentence="Half done.",
        answer={"reveal": "waiting", "facts": [["Name", "Adele"]]},
        due_at=T0 + timedelta(minutes=10),
        opened_session=True,
        started_at=T0 + timedelta(seconds=1),
        finished_at=T0 + timedelta(seconds=1, microseconds=5),
    )
    for field in fields(Request):
        if field.default is not MISSING:
            assert getattr(request, field.name) != field.default, f"the test forgot {field.name}"

    await store.requests.add(request)

    assert await store.requests.find("r1") == request
    saved = await store.requests.save(request)
    assert await store.requests.find("r1") == saved == replace(request, version=8)


async def test_a_request_nobody_made_is_not_found(store: Store) -> None:
    assert await store.requests.find("r1") is None
    with pytest.raises(Conflict):
        await store.requests.save(a_request())


async def test_of_two_who_change_a_request_at_once_one_wins(store: Store) -> None:
    request = await store.requests.add(a_request())

    for _ in range(100):
        outcomes = await asyncio.gather(
            *(store.requests.save(replace(request, sentence=f"written by {n}")) for n in range(3)),
            return_exceptions=True,
        )
        winners = [outcome for outcome in outcomes if isinstance(outcome, Request)]
        assert len(winners) == 1
        assert [type(outcome) for outcome in outcomes if outcome not in winners] == [Conflict, Conflict]
        request = winners[0]
        assert await store.requests.find("r1") == request


async def test_adding_marks_the_delivery_done_and_keeps_what_is_to_be_said_and_audited(store: Store) -> None:
    await store.inbox.receive("d1", "command", {"text": "reset-password adele"})

    await store.requests.add(
        a_request(),
        delivery="d1",
        audit=[AuditRecord("request.received", request_id="r1")],
        say=[Message("card:r1", "card", "r1")],
        reply_url="https://hooks.slack.test/1",
    )

    assert await store.inbox.open() == []
    (said,) = await store.outbox.pending(T0)
    assert (said.message.key, said.reply_url) == ("card:r1", "https://hooks.slack.test/1")
    assert [row.record.kind for row in await store.trail.query(AuditSelection(request="r1"))] == ["request.received"]


async def test_one_delivery_becomes_one_request(store: Store) -> None:
    await store.inbox.receive("d1", "command", {})
    await store.requests.add(a_request("r1"), delivery="d1")

    with pytest.raises(Conflict, match="taken up already"):
        await store.requests.add(a_request("r2"), delivery="d1")

    assert await store.requests.find("r2") is None


async def test_if_one_part_cannot_be_written_none_is(store: Store) -> None:
    await store.inbox.receive("d1", "command", {})
    bad = AuditRecord("request.received", facts={"password": Secret("hunter2")})

    with pytest.raises(TypeError):
        await store.requests.add(a_request(), delivery="d1", say=[Message("card:r1", "card", "r1")], audit=[bad])

    assert await store.requests.find("r1") is None
    assert len(await store.inbox.open()) == 1
    assert await store.outbox.pending(T0) == []


async def test_a_secret_cannot_get_into_a_row(store: Store) -> None:
    for request in (a_request(inputs={"a": Secret("hunter2")}), a_request(answer={"a": [Secret("hunter2")]})):
        with pytest.raises(TypeError):
            await store.requests.add(request)
    with pytest.raises(TypeError):
        await store.outbox.say(Message("k", "card", "r1", data={"password": Secret("hunter2")}))
    with pytest.raises(TypeError):
        await store.inbox.receive("k", "command", {"password": Secret("hunter2")})


async def test_a_restart_finds_what_it_must_take_up_oldest_first(store: Store) -> None:
    for number, state in enumerate(RequestState):
        created = T0 - timedelta(minutes=number)
        await store.requests.add(a_request(state.value, state=state, created_at=created))

    assert [request.id for request in await store.requests.open()] == ["running", "ready", "decided", "received"]


async def test_requests_come_due(store: Store) -> None:
    for minutes in (30, 10, 20):
        await store.requests.add(a_request(f"in {minutes}", due_at=T0 + timedelta(minutes=minutes)))
    await store.requests.add(a_request("never"))

    assert await store.requests.next_due() == T0 + timedelta(minutes=10)
    assert await store.requests.due(T0) == []
    due = await store.requests.due(T0 + timedelta(minutes=20))
    assert [request.id for request in due] == ["in 10", "in 20"]

    for request in [*due, *await store.requests.due(T0 + timedelta(hours=1))]:
        current = await store.requests.find(request.id)
        assert current is not None
        await store.requests.save(replace(current, due_at=None))
    assert await store.requests.next_due() is None


async def test_a_persons_latest_requests_come_newest_first(store: Store) -> None:
    for number in range(5):
        await store.requests.add(a_request(f"r{number}", created_at=T0 + timedelta(minutes=number)))
    await store.requests.add(a_request("bo's", slack=BO))

    assert [request.id for request in await store.requests.recent(OLIVE, 3)] == ["r4", "r3", "r2"]


# --- attempts -------------------------------------------------------------------------------------------------------


def started(attempt: str, index: int, request: str = "r1") -> AuditRecord:
    return AuditRecord(
        "attempt.started",
        request_id=request,
        attempt_id=attempt,
        target_id=ADELE.id,
        facts={"call_index": index, "action": "reset-password"},
    )


def finished(attempt: str, outcome: str, request: str = "r1") -> AuditRecord:
    return AuditRecord("attempt.finished", request_id=request, attempt_id=attempt, facts={"outcome": outcome})


async def test_attempts_are_told_as_the_audit_trail_has_them(store: Store) -> None:
    request = await store.requests.add(a_request(), audit=[started("a1", 0), started("x", 0, "another request")])
    request = await store.requests.save(request, audit=[finished("a1", "unavailable"), started("a2", 0)])
    store.clock.advance(5)
    await store.requests.save(request, audit=[finished("a2", "succeeded"), started("a3", 1)])

    assert await store.requests.attempts("r1") == [
        Attempt("a1", "r1", 0, T0, "unavailable"),
        Attempt("a2", "r1", 0, T0, "succeeded"),
        Attempt("a3", "r1", 1, T0 + timedelta(seconds=5)),
    ]


async def test_who_last_did_the_same_to_the_same_target_is_known(store: Store) -> None:
    await store.operators.bind(OLIVE, account_id="o", upn=None, name="Olive", by=SHELL)
    olive = store.operators.rights(OLIVE, "").operator
    assert olive is not None
    about = {"operator_id": olive.id, "target": ADELE}
    await store.requests.add(a_request("first", **about), audit=[started("a1", 0, "first")])
    await store.requests.add(a_request("only planned", **about))
    store.clock.advance(60)
    second = await store.requests.add(a_request("second", **about), audit=[started("a2", 0, "second")])
    store.clock.advance(600)
    await store.requests.add(a_request("other", action="block-sign-in", **about), audit=[started("a3", 0, "other")])

    assert await store.requests.latest_on(ADELE.id, "reset-password", T0) == (second, olive)
    assert await store.requests.latest_on(ADELE.id, "reset-password", T0 + timedelta(seconds=61)) is None
    assert await store.requests.latest_on("megan-id", "reset-password", T0) is None
