"""Letting an operator go: everything of theirs ends in one transaction, or nothing does."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from bot.errors import Conflict
from bot.model import (
    Approval,
    ApprovalState,
    AuditRecord,
    Operator,
    Origin,
    Request,
    RequestState,
    SlackUser,
)
from bot.ports import Leaver, Parting
from tests.clock import T0
from tests.storage.conftest import ANA, BO, OLIVE, SHELL, Store


async def someone(store: Store, slack: SlackUser, role: str = "helpdesk") -> Operator:
    await store.operators.bind(slack, account_id=f"acc-{slack.user}", upn=None, name=slack.user, by=SHELL)
    await store.grant(slack, role)
    operator = store.operators.rights(slack, "").operator
    assert operator is not None
    return operator


async def wish(store: Store, of: Operator, state: RequestState, approval: Approval | None = None) -> Request:
    request = Request(
        f"{of.slack.user}-{state.value}",
        of.id,
        of.slack,
        "/m365 reset-password",
        "reset-password",
        Origin("C1"),
        T0,
        state=state,
        approval=approval,
    )
    return await store.requests.add(request)


def everything_ends(leaver: Leaver) -> Parting:
    ended = [replace(request, state=RequestState.REFUSED) for request in (*leaver.asked, *leaver.agreed)]
    return Parting(ended, [AuditRecord("operator.left", facts={"operator": leaver.operator.id})])


async def test_what_had_not_begun_ends_and_what_runs_is_finished(store: Store) -> None:
    olive = await someone(store, OLIVE)
    states = RequestState.AWAITING_CONFIRMATION, RequestState.AWAITING_APPROVAL, RequestState.READY
    for state in (*states, RequestState.RUNNING, RequestState.DONE):
        await wish(store, olive, state)

    leaver = await store.leaving.let_go(olive.id, everything_ends)

    assert leaver is not None
    assert (leaver.roles, leaver.running, leaver.last_admin) == (("helpdesk",), 1, False)
    assert {request.state for request in leaver.asked} == set(states)
    now = {request.id: request.state.value for request in await store.requests.recent(OLIVE, 10)}
    assert now == {
        "UOLIVE-awaiting_confirmation": "refused",
        "UOLIVE-awaiting_approval": "refused",
        "UOLIVE-ready": "refused",
        "UOLIVE-running": "running",
        "UOLIVE-done": "done",
    }
    person = store.operators.rights(OLIVE, "").operator
    assert person is not None
    assert person.suspended
    assert (await store.trail.verify()).sound


async def test_what_others_run_because_they_agreed_ends_too(store: Store) -> None:
    olive, ana = await someone(store, OLIVE), await someone(store, ANA, "tenant-admin")
    await someone(store, BO, "tenant-admin")
    agreed = Approval(
        "a1", "digest", "C2", T0, T0 + timedelta(hours=8), "asked", state=ApprovalState.APPROVED, decided_by=ana.id
    )
    await wish(store, olive, RequestState.READY, agreed)
    await wish(store, olive, RequestState.RUNNING, replace(agreed, id="a2"))

    leaver = await store.leaving.let_go(ana.id, everything_ends)

    assert leaver is not None
    assert [request.id for request in leaver.agreed] == ["UOLIVE-ready"]
    ended = await store.requests.find("UOLIVE-ready")
    assert ended is not None
    assert ended.state is RequestState.REFUSED


async def test_the_last_tenant_admin_is_let_go_all_the_same(store: Store) -> None:
    ana = await someone(store, ANA, "tenant-admin")

    leaver = await store.leaving.let_go(ana.id, everything_ends)

    assert leaver is not None
    assert leaver.last_admin


async def test_only_whoever_is_first_lets_somebody_go(store: Store) -> None:
    olive = await someone(store, OLIVE)
    await store.leaving.let_go(olive.id, everything_ends)

    assert await store.leaving.let_go(olive.id, everything_ends) is None

    kinds = [row.record.kind for row in await store.trail.query(limit=100)]
    assert kinds.count("operator.left") == 1


async def test_if_one_thing_cannot_end_nothing_does(store: Store) -> None:
    olive = await someone(store, OLIVE)
    await wish(store, olive, RequestState.READY)

    def confused(leaver: Leaver) -> Parting:
        (request,) = leaver.asked
        return Parting([replace(request, version=17)], [AuditRecord("operator.left")])

    with pytest.raises(Conflict):
        await store.leaving.let_go(olive.id, confused)

    person = store.operators.rights(OLIVE, "").operator
    assert person is not None
    assert not person.suspended
