"""The tables of the rotation: a claim only one holds, a count nobody overwrites, rows that come back whole."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from bot.errors import Conflict
from bot.model import AuditRecord, Cause, CredentialKind, Point, RotationRecord, RotationState, Trigger
from bot.ports import Due
from storage.rotations import Rotations
from tests.clock import T0
from tests.storage.conftest import Opens, Store

SECRET = "latchkey-service-account"
MINUTES = timedelta(minutes=3)


def a_rotation(rotation_id: str = "r1", **changes: object) -> RotationRecord:
    record = RotationRecord(
        rotation_id, CredentialKind.PASSWORD, Trigger.SCHEDULE, SECRET, "svc@contoso.com", T0, incident=rotation_id
    )
    return replace(record, **changes)  # type: ignore[arg-type]


async def test_what_is_written_comes_back_whole(store: Store) -> None:
    rotations = Rotations(store.db, store.trail)
    record = a_rotation(
        by="ana",
        request_id="q1",
        state=RotationState.STANDING,
        point=Point.CHANGING,
        cause=Cause.UNKNOWN,
        why="No answer came.",
        code=50053,
        in_force="v1",
        pending="v2",
        tried_at=T0,
        stood_at=T0,
        next_try_at=T0 + MINUTES,
        steps=((Point.STARTED, 0.0), (Point.LISTED, 1.5)),
        giving_up=True,
        changed=True,
    )
    await rotations.save(record, AuditRecord("rotation.failed", facts={"rotation": "r1"}))
    assert await rotations.find("r1") == await rotations.open(SECRET) == await rotations.of_request("q1") == record
    assert (await store.trail.query())[0].record.kind == "rotation.failed"
    await rotations.save(replace(record, state=RotationState.DONE, finished_at=T0))
    assert await rotations.open(SECRET) is None
    assert await rotations.last(SECRET) == replace(record, state=RotationState.DONE, finished_at=T0)


async def test_guesses_are_counted_by_everybody_and_overwritten_by_nobody(store: Store) -> None:
    rotations = Rotations(store.db, store.trail)
    record = a_rotation()
    await rotations.save(record)
    assert await rotations.count_guess("r1", 1) == 1
    assert await rotations.count_guess("r1", 1) == 2
    await rotations.save(replace(record, point=Point.LISTED))
    assert await rotations.count_guess("r1", -1) == 1


async def test_of_two_processes_one_holds_the_claim_until_it_gives_it_back_or_dies(
    opens: Opens, store: Store, path: Path
) -> None:
    async with opens() as another:
        one, other = Rotations(store.db, store.trail), Rotations(another.db, another.trail)
        held = await one.claim(SECRET, "one", until=T0 + MINUTES)
        assert (await other.claim(SECRET, "other", until=T0 + MINUTES)).owner == "one"
        assert (await other.claimed(SECRET)) == held
        await one.release(SECRET, held)
        assert await other.claimed(SECRET) is None

        held = await one.claim(SECRET, "one", until=T0 + MINUTES)
        store.clock.advance(MINUTES.total_seconds())
        await one.renew(SECRET, held, until=T0 + 2 * MINUTES)  # it ran out, and nobody wanted it
        store.clock.advance(MINUTES.total_seconds())
        taken = await other.claim(SECRET, "other", until=T0 + 3 * MINUTES)
        assert (taken.owner, taken.fence) == ("other", held.fence + 1)
        for late in (
            one.renew(SECRET, held, until=T0 + 9 * MINUTES),
            one.save(a_rotation(), claim=held),
        ):
            with pytest.raises(Conflict):
                await late
        assert await one.find("r1") is None, "whoever was taken over writes nothing more"
        await one.release(SECRET, held)
        assert await one.claimed(SECRET) == taken


async def test_the_history_has_drills_and_no_repairs_that_had_nothing_to_do(store: Store) -> None:
    rotations = Rotations(store.db, store.trail)
    over = {"state": RotationState.DONE, "finished_at": T0}
    await rotations.save(a_rotation("r1", changed=True, **over))
    await rotations.save(a_rotation("r2", trigger=Trigger.REPAIR, **over))
    await rotations.save(a_rotation("r3", trigger=Trigger.DRILL, secret=f"{SECRET}-drill", **over))
    await rotations.save(a_rotation("r4", secret="another"))
    assert [record.id for record in await rotations.history(SECRET, 10)] == ["r3", "r1"]


async def test_what_is_due_is_kept(store: Store) -> None:
    rotations = Rotations(store.db, store.trail)
    assert await rotations.due(SECRET) is None
    due = Due(T0 + timedelta(days=7), T0, "a rule")
    await rotations.set_due(SECRET, due)
    assert await rotations.due(SECRET) == due
