"""Settings and management sessions as they were."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from bot.errors import Conflict
from bot.model import AuditRecord, Author, Identity, IdentityKind, Mode, Session, SessionState, TenantSettings
from bot.ports import AuditSelection
from tests.clock import T0
from tests.storage.conftest import SHELL, Opens, Store


async def test_before_anybody_decided_the_shipped_settings_count(store: Store) -> None:
    assert await store.settings.current() == TenantSettings()


async def test_a_change_is_the_next_version_and_is_audited_with_what_changed(opens: Opens) -> None:
    async with opens() as store:
        wanted = TenantSettings(
            mode=Mode.ADVANCED,
            identity_kind=IdentityKind.SERVICE_ACCOUNT,
            identity_id="svc",
            identity_name="svc@contoso.com",
            work_channels=("C1", "C2"),
            idle_minutes=10,
        )
        first = await store.settings.change(wanted, by=SHELL, reason="first set-up")
        second = await store.settings.change(
            replace(first, identity_kind=None, auto_enable=False), by=Author("ana-id"), reason="calm down"
        )
        row = (await store.trail.query(limit=1))[0]

    async with opens() as store:
        assert await store.settings.current() == second
    assert first == replace(wanted, version=1)
    assert row.record.operator_id == "ana-id"
    assert row.record.facts == {
        "version": 2,
        "changed": {"auto_enable": [True, False], "identity_kind": ["service-account", None]},
        "reason": "calm down",
    }


async def test_of_two_who_decide_at_once_one_is_told_to_look_again(store: Store) -> None:
    current = await store.settings.current()

    outcomes = await asyncio.gather(
        store.settings.change(replace(current, idle_minutes=5), by=SHELL, reason="a"),
        store.settings.change(replace(current, idle_minutes=9), by=SHELL, reason="b"),
        return_exceptions=True,
    )

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "TenantSettings"]


async def test_the_last_session_is_remembered_across_restarts(opens: Opens) -> None:
    session = Session(
        generation=4,
        mode=Mode.ADVANCED,
        state=SessionState.ON,
        identity=Identity(IdentityKind.APPLICATION, "app", "Latchkey", frozenset({"b", "a"})),
        opened_at=T0,
        idle_until=T0 + timedelta(minutes=30),
        absolute_until=T0 + timedelta(hours=8),
        opened_for="r1",
        why="nothing is wrong",
    )
    async with opens() as store:
        assert await store.sessions.last() == []
        await store.sessions.save(session, AuditRecord("session.opened", session_generation=4))

    async with opens() as store:
        assert await store.sessions.last() == [session]
        ended = replace(session, generation=5, state=SessionState.OFF, identity=None, idle_until=None)
        await store.sessions.save(ended)
        assert await store.sessions.last() == [ended]
        assert [row.record.kind for row in await store.trail.query()] == ["session.opened"]


async def test_generations_only_grow(store: Store) -> None:
    await store.sessions.save(Session(5, Mode.ADVANCED, SessionState.OFF))

    with pytest.raises(Conflict):
        await store.sessions.save(Session(4, Mode.ADVANCED, SessionState.ON), AuditRecord("session.opened"))

    assert await store.trail.query(AuditSelection(request="session.opened")) == []
    (last,) = await store.sessions.last()
    assert last.state is SessionState.OFF


async def test_each_operators_own_session_counts_with_the_tenants_and_none_takes_anothers_number(store: Store) -> None:
    shared = Session(5, Mode.ADVANCED, SessionState.OFF)
    olives = Session(6, Mode.DEFAULT, SessionState.ON, owner="olive")
    await store.sessions.save(shared)
    await store.sessions.save(olives)
    await store.sessions.save(replace(shared, why="still off"))

    with pytest.raises(Conflict):
        await store.sessions.save(Session(6, Mode.DEFAULT, SessionState.ON, owner="ana"))

    assert await store.sessions.last() == [replace(shared, why="still off"), olives]
