"""What could lock the account out by way of a rotation, hide what it did, or leave its alerts without anybody."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.config import read_config
from bot.errors import SignInFailed, StorageProblem
from bot.model import IdentityKind, RotationState, Trigger
from bot.rotation import Aim
from sandbox.directory import SERVICE_ACCOUNT
from sandbox.faults import Answer, Refuse, Rule
from sandbox.world import World
from storage.audit import AuditTrail
from storage.inbox import Inbox
from storage.outbox import Outbox
from storage.requests import Requests
from storage.settings import Settings
from tests.rotation.installation import KEY, Installation, RecordingAlarm, WorldTime, installation
from tests.stage import SHELL, environment

NO = Answer(403, {"error": {"code": "Authorization_RequestDenied", "message": "no"}})


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Installation]:
    async with World(state=tmp_path / "world") as world:
        with environment(world.environment()):
            place = installation(world, read_config(), WorldTime(world.clock), tmp_path / "bot", 1)
            await place.set_up()
            yield place


def refuse_the_change(place: Installation) -> Rule:
    return place.world.faults.add(Rule("graph", "POST", "*/me/changePassword", NO, times=None))


def wrong_by(place: Installation, days: int) -> None:
    """The clock of the bot's machine is so far ahead."""
    assert isinstance(place.clock, WorldTime)
    place.clock.skew = days * 86400


async def put(place: Installation, **changes: Any) -> None:
    async with place._database() as db:
        settings = Settings(db, AuditTrail(db, KEY))
        await settings.change(replace(await settings.current(), **changes), by=SHELL, reason="test")


def attempts(place: Installation, request_id: str | None = None) -> list[tuple[str, str, dict[str, Any]]]:
    """Kind, id and facts of each row of an attempt, oldest first."""
    with closing(sqlite3.connect(f"file:{place.config.database}?mode=ro", uri=True)) as connection:
        rows = connection.execute(
            "SELECT kind, attempt_id, json_extract(body, '$.facts') FROM audit "
            "WHERE attempt_id IS NOT NULL AND request_id IS ? ORDER BY seq",
            (request_id,),
        )
        return [(kind, attempt_id, json.loads(facts)) for kind, attempt_id, facts in rows]


# --- guesses --------------------------------------------------------------------------------------------------------


async def test_drills_never_guess_more_than_a_rotation_may(place: Installation) -> None:
    """Somebody changed the password elsewhere, and people press on, to see whether a rotation would work."""
    place.world.directory.set_password(SERVICE_ACCOUNT, "Somebody-else-9271!")
    observer = place.observer()
    async with place.life() as life:
        for _ in range(12):
            drill = await life.rotator.drill(fail=False, by="ana")
            assert drill.cause is not None
        await life.rotator.drill(fail=True, by="ana")
    assert observer.wrong <= 9
    assert not place.alarm.opened, "nobody is told that the current password signs in"


async def test_a_drill_and_a_reader_share_their_guesses(place: Installation) -> None:
    place.world.directory.set_password(SERVICE_ACCOUNT, "Somebody-else-9271!")
    observer = place.observer()
    async with place.life() as life:
        await life.rotator.run(trigger=Trigger.SCHEDULE)
        await life.rotator.drill(fail=False, by="ana")
    assert observer.wrong <= 9


@pytest.mark.parametrize("rotates", [True, False])
async def test_who_presses_on_all_day_does_not_lock_the_account(place: Installation, *, rotates: bool) -> None:
    """More different passwords are stored than Microsoft remembers to be wrong, and none of them is right."""
    for number in range(4):
        place.world.vault.put(place.secret, f"refused {number}", tags={"state": "refused"})
    place.world.directory.set_password(SERVICE_ACCOUNT, "Somebody-else-9271!")
    observer = place.observer()
    async with place.life() as life:
        if rotates:
            await life.rotator.run(trigger=Trigger.SCHEDULE)
        for _ in range(6 * 23):
            with pytest.raises(SignInFailed):
                await life.reader.sign_in(lambda key, title: None)
            place.world.clock.advance(600)
        assert observer.wrong <= 9
        assert place.world.entra.try_password(SERVICE_ACCOUNT, "Somebody-else-9271!") == 0

        place.world.vault.put(place.secret, "Somebody-else-9271!", tags={"state": "current"})
        await life.reader.sign_in(lambda key, title: None)


# --- what was done is written down ------------------------------------------------------------------------------------


async def test_each_change_at_microsoft_has_a_row_before_it_leaves(place: Installation) -> None:
    async with place.life() as life:
        await life.rotator.run(trigger=Trigger.SCHEDULE)
    (sent,) = [each for each in place.world.graph.requests if each.method == "POST"]
    (started, first, begun), (finished, second, ended) = attempts(place)
    assert (started, finished) == ("attempt.started", "attempt.finished")
    assert first == second == sent.client_request_id
    assert begun["path"] == "me/changePassword"
    assert ended["outcome"] == "succeeded"
    assert ended["microsoft_request_id"]
    async with place._database() as db:
        changes = await AuditTrail(db, KEY).changes_since(place.clock.now() - timedelta(days=1))
    assert changes == 2, "the one of the settings, and this"


async def test_what_cannot_be_written_down_is_not_sent(place: Installation) -> None:
    class Full:
        """Takes no row of an attempt."""

        def __init__(self, rotations: Any) -> None:
            self._rotations = rotations

        def __getattr__(self, name: str) -> Any:
            return getattr(self._rotations, name)

        async def save(self, record: Any, *audit: Any, **more: Any) -> None:
            if any(row.kind == "attempt.started" for row in audit):
                raise StorageProblem("The disk is full.")
            await self._rotations.save(record, *audit, **more)

    before = place.world.directory.password_of(SERVICE_ACCOUNT)
    async with place.life(wrap=lambda rotations, db: Full(rotations)) as life:
        record = await life.rotator.run(trigger=Trigger.SCHEDULE)
    assert record.state is RotationState.STANDING
    assert place.world.directory.password_of(SERVICE_ACCOUNT) == before
    assert not [each for each in place.world.graph.requests if each.method == "POST"]


async def test_a_request_that_rotates_goes_on_after_a_restart_by_its_own_attempts_alone(place: Installation) -> None:
    async with place.life() as life:
        await life.rotator.run(trigger=Trigger.NOW, by="ana", request_id="r1")
    assert len(attempts(place, "r1")) == 2
    async with place._database() as db:
        assert await Requests(db, AuditTrail(db, KEY), Inbox(db), Outbox(db)).attempts("r1") == []


# --- no alert without anybody to end it -------------------------------------------------------------------------------


async def _keeps_up(place: Installation) -> None:
    """Two hours of the bot in which nobody asks it for anything."""
    clock, late = place.world.clock, asyncio.Event()
    over = clock.now() + 7200
    clock.subscribe(lambda offset: late.set() if clock.now() >= over else None)
    async with place.life() as life, asyncio.timeout(60):
        keeping_up = asyncio.create_task(life.rotator.keep_up())
        await late.wait()
        keeping_up.cancel()
        await asyncio.gather(keeping_up, return_exceptions=True)


@pytest.mark.parametrize(
    "after",
    [
        {"identity_kind": None, "identity_id": None, "identity_name": None},
        {"identity_kind": IdentityKind.MANAGED_IDENTITY, "identity_name": "the machine"},
        {"identity_kind": IdentityKind.APPLICATION, "identity_name": "Latchkey worker"},
        {"identity_name": "another@contoso.onmicrosoft.com"},
    ],
    ids=["none", "managed identity", "application", "another account"],
)
async def test_what_stood_for_an_account_that_was_left_is_over(place: Installation, after: dict[str, Any]) -> None:
    refuse_the_change(place)
    async with place.life() as life:
        stands = await life.rotator.run(trigger=Trigger.SCHEDULE)
        assert stands.state is RotationState.STANDING
    await put(place, **after)
    await _keeps_up(place)
    assert ("rotation", stands.id) in place.alarm.closed


async def test_who_dies_after_giving_up_says_so_at_the_next_start(place: Installation) -> None:
    refuse_the_change(place)
    async with place.life() as life:
        await life.rotator.run(trigger=Trigger.SCHEDULE)
    (key,) = place.alarm.open

    class Deaf(RecordingAlarm):
        """The process dies before it tells."""

        async def close(self, kind: str, about: str = "", how: str = "") -> None:
            raise RuntimeError("gone")

    async with place.life(alarm=Deaf()) as life:
        with pytest.raises(RuntimeError):
            await life.rotator.run(trigger=Trigger.RETRY, by="ana", aim=Aim.GIVE_UP)
    await _keeps_up(place)
    assert key in place.alarm.closed


# --- a clock that is put right ----------------------------------------------------------------------------------------


async def test_what_stood_under_a_clock_that_was_a_year_ahead_goes_on(place: Installation) -> None:
    place.world.faults.add(Rule("graph", "POST", "*/me/changePassword", NO, times=1))
    wrong_by(place, 365)
    async with place.life() as life:
        stands = await life.rotator.run(trigger=Trigger.SCHEDULE)
        assert stands.state is RotationState.STANDING
    wrong_by(place, 0)
    await _keeps_up(place)
    assert not place.alarm.open


async def test_a_claim_of_the_dead_under_such_a_clock_holds_nobody_up(place: Installation) -> None:
    wrong_by(place, 365)
    async with place.life() as life:
        await life.rotations.claim(place.secret, "the dead", until=place.clock.now() + timedelta(minutes=3))
    wrong_by(place, 0)
    async with place.life() as life:
        assert (await life.rotator.run(trigger=Trigger.NOW, by="ana")).state is RotationState.DONE


async def test_an_account_that_was_locked_under_such_a_clock_is_tried_again(place: Installation) -> None:
    place.world.faults.add(Rule("entra", "SIGN-IN", "*", Refuse(50053), times=1))
    wrong_by(place, 365)
    async with place.life() as life:
        await life.rotator.run(trigger=Trigger.SCHEDULE)
        wrong_by(place, 0)
        assert (await life.rotator.run(trigger=Trigger.RETRY, by="ana")).state is RotationState.DONE
