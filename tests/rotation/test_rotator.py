"""The rotator over HTTP against the pretend tenant: what becomes of a rotation, and what is told of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from bot.config import read_config
from bot.errors import NotPossible
from bot.model import Cause, Mode, Point, RotationRecord, RotationState, Severity, Trigger
from bot.rotation import Aim
from bot.rotation_drive import Passed
from bot.rotator import Busy, Rotator
from sandbox.directory import SERVICE_ACCOUNT
from sandbox.faults import Answer, Drop, Refuse, Rule
from sandbox.world import World
from storage.audit import AuditTrail
from storage.settings import Settings
from tests.rotation.installation import KEY, Installation, WorldTime, installation
from tests.stage import SHELL, environment


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Installation]:
    async with World(state=tmp_path / "world") as world:
        with environment(world.environment()):
            clock = WorldTime(world.clock)
            place = installation(world, read_config(), clock, tmp_path / "bot", 1)
            await place.set_up()
            yield place


def fault(place: Installation, service: str, method: str, path: str, effect: object, times: int | None = 1) -> Rule:
    return place.world.faults.add(Rule(service, method, path, effect, times=times))  # type: ignore[arg-type]


@asynccontextmanager
async def bot(place: Installation, *, passed: Passed = lambda point: None) -> AsyncIterator[Rotator]:
    """One life of the bot."""
    async with place.life(passed=passed) as life:
        yield life.rotator


async def keeps_up(place: Installation, times: int = 1, *, repair: bool = False) -> list[RotationRecord]:
    """One life of the bot in which nobody asks it for anything (but a *repair*), until a try has ended so many times.
    What was done, newest first."""
    ended = 0

    def passed(point: Point) -> None:
        nonlocal ended
        ended += point is Point.RELEASED
        if ended == times:
            keeping_up.cancel()

    async with bot(place, passed=passed) as rotator:
        keeping_up = asyncio.create_task(rotator.keep_up())
        if repair:
            rotator.repair()
            rotator.repair()
        with suppress(asyncio.CancelledError):
            await keeping_up
        await rotator.close()
        return list(await rotator.history(20))


def kinds(place: Installation) -> list[str]:
    return [kind for kind, _ in place.audited()]


async def test_a_rotation_puts_a_new_password_in_force_and_nothing_is_ever_without_one(place: Installation) -> None:
    before, observer = place.world.directory.password_of(SERVICE_ACCOUNT), place.observer()
    async with bot(place) as rotator:
        with observer.watching():
            record = await rotator.run(trigger=Trigger.NOW, by="ana", request_id="r1")
        status = await rotator.status()
        again = await rotator.run(trigger=Trigger.NOW, by="ana", request_id="r1")

    observer.check_settled()
    assert record.state is RotationState.DONE
    assert record.changed
    assert (record.guesses, record.tries, record.cause) == (0, 1, None)
    assert [point for point, _ in record.steps] == [
        Point.STARTED, Point.LISTED, Point.CHECKED, Point.PREVIOUS_TAGGED, Point.STORING, Point.NOTED, Point.TESTED,
        Point.CHANGING, Point.CHANGED, Point.PROVEN, Point.CURRENT_TAGGED, Point.PREVIOUS_TAGGED, Point.WRITTEN,
        Point.RENEWED, Point.RETIRED,
    ]  # fmt: skip
    assert place.world.directory.password_of(SERVICE_ACCOUNT) != before
    assert kinds(place) == ["rotation.started", "rotation.done"]
    assert again == record, "a request has one rotation"
    assert status.last == record
    assert status.open is None
    assert status.since is not None
    assert status.since >= record.started_at.replace(microsecond=0)
    assert not place.alarm.opened


async def test_a_step_by_step_rotation_is_one_rotation(place: Installation) -> None:
    reached: list[Point] = []
    async with bot(place) as rotator:
        for until in (Point.CHECKED, Point.NOTED, Point.PROVEN, Point.WRITTEN, None):
            record = await rotator.run(trigger=Trigger.NOW, by="ana", request_id="r1", until=until, tell=reached.append)
            assert record.state is RotationState.DONE or until is not None
    assert record.state is RotationState.DONE
    assert Point.WRITTEN in reached
    assert kinds(place) == ["rotation.started", "rotation.done"]


async def test_what_another_life_began_is_finished_with_the_password_that_is_stored(place: Installation) -> None:
    """The process dies right after Microsoft has the new password, before anybody has seen that."""

    class Died(BaseException):
        pass

    def dies(point: Point) -> None:
        if point is Point.CHANGED:
            raise Died

    observer = place.observer()
    with observer.watching():
        async with bot(place, passed=dies) as rotator:
            with pytest.raises(Died):
                await rotator.run(trigger=Trigger.SCHEDULE)
        count = observer.count()
        (record,) = await keeps_up(place)
    observer.check_settled()
    assert record.state is RotationState.DONE
    assert observer.count() == count, "no second new one"
    assert kinds(place) == ["rotation.started", "rotation.resumed", "rotation.done"]


async def test_replication_that_takes_ten_minutes_is_waited_for(place: Installation) -> None:
    place.world.entra.replication_lag = 600.0
    observer = place.observer()
    place.world.clock.advance(3600)
    with observer.watching():
        async with bot(place) as rotator:
            record = await rotator.run(trigger=Trigger.SCHEDULE)
    place.world.entra.replication_lag = 0.0
    observer.check_settled()
    assert record.state is RotationState.DONE
    assert record.guesses <= 9


async def test_a_banned_password_is_replaced_by_another(place: Installation) -> None:
    refuse = Answer(400, {"error": {"code": "Request_BadRequest", "message": "The password is banned."}})
    fault(place, "graph", "POST", "*/me/changePassword", refuse, times=2)
    observer = place.observer()
    with observer.watching():
        async with bot(place) as rotator:
            record = await rotator.run(trigger=Trigger.SCHEDULE)
    observer.look()
    assert record.state is RotationState.DONE
    assert observer.states() == ["previous", "refused", "refused", "current"]
    assert not observer.violations


async def test_who_may_not_change_the_password_stands_with_an_alert_and_the_old_one_stays(place: Installation) -> None:
    no = Answer(403, {"error": {"code": "Authorization_RequestDenied", "message": "no"}})
    rule = fault(place, "graph", "POST", "*/me/changePassword", no, times=None)
    async with bot(place) as rotator:
        record = await rotator.run(trigger=Trigger.SCHEDULE)
        assert record.state is RotationState.STANDING
        assert record.cause is Cause.FORBIDDEN
        (((kind, about), trouble),) = place.alarm.open.items()
        assert (kind, about) == ("rotation", record.id)
        assert trouble.severity is Severity.ATTENTION
        assert trouble.headline == "Rotation failed. Nothing is broken yet: the current password signs in."
        assert trouble.next_at == record.next_try_at
        assert set(trouble.offers) == {"retry", "roll-back", "reset"}
        assert dict(trouble.facts)["Step that failed"] == "Putting the new password in force at Microsoft"

        first = record.next_try_at
        place.world.clock.advance(16 * 60)
        record = await rotator.run(trigger=Trigger.RETRY)
        assert first is not None
        assert record.next_try_at is not None
        assert record.tried_at is not None
        assert record.next_try_at - record.tried_at == timedelta(minutes=30)
        assert len(place.alarm.opened) == 1, "one incident for all tries"

        place.world.faults.remove(rule)
        record = await rotator.run(trigger=Trigger.RETRY, by="ana")
    assert record.state is RotationState.DONE
    assert record.tries == 3
    assert not place.alarm.open
    assert kinds(place) == [
        "rotation.started", "rotation.failed",
        "rotation.resumed", "rotation.failed",
        "rotation.resumed", "rotation.done",
    ]  # fmt: skip


async def test_rolling_back_keeps_what_is_in_force_and_the_new_one_is_never_used(place: Installation) -> None:
    no = Answer(403, {"error": {"code": "Authorization_RequestDenied", "message": "no"}})
    fault(place, "graph", "POST", "*/me/changePassword", no)
    before, observer = place.world.directory.password_of(SERVICE_ACCOUNT), place.observer()
    with observer.watching():
        async with bot(place) as rotator:
            await rotator.run(trigger=Trigger.SCHEDULE)
            record = await rotator.run(trigger=Trigger.RETRY, by="ana", aim=Aim.GIVE_UP)
    assert record.state is RotationState.GIVEN_UP
    assert place.world.directory.password_of(SERVICE_ACCOUNT) == before
    assert not place.alarm.open
    assert "pending" not in observer.states()
    assert not observer.violations


async def test_an_answer_that_is_lost_after_the_change_is_found_out_by_signing_in(place: Installation) -> None:
    fault(place, "graph", "POST", "*/me/changePassword", Drop("after"))
    observer = place.observer()
    with observer.watching():
        async with bot(place) as rotator:
            record = await rotator.run(trigger=Trigger.SCHEDULE)
    observer.check_settled()
    assert record.state is RotationState.DONE


async def test_a_vault_that_is_down_stops_the_rotation_before_anything_is_changed(place: Installation) -> None:
    fault(place, "vault", "GET", "*", Answer(500), times=None)
    async with bot(place) as rotator:
        record = await rotator.run(trigger=Trigger.SCHEDULE)
        assert (record.state, record.cause) == (RotationState.STANDING, Cause.VAULT)
        trouble = place.alarm.open["rotation", record.id]
        assert trouble.headline == "Rotation failed. Nothing is broken yet: the password was not touched."
        assert (await rotator.status()).problem
    assert not place.world.graph.requests


async def test_a_secret_that_somebody_deleted_is_recovered(place: Installation) -> None:
    place.world.vault._secrets[place.secret].deleted = 1
    async with bot(place) as rotator:
        record = await rotator.run(trigger=Trigger.SCHEDULE)
    assert record.state is RotationState.DONE
    place.observer().check_settled()


async def test_a_locked_account_is_left_alone_for_ten_minutes_whoever_asks(place: Installation) -> None:
    fault(place, "entra", "SIGN-IN", "*", Refuse(50053), times=1)
    async with bot(place) as rotator:
        record = await rotator.run(trigger=Trigger.SCHEDULE)
        assert (record.cause, record.code, record.guesses) == (Cause.UNKNOWN, 50053, 0)
        asked = len(place.world.entra.requests)
        with pytest.raises(NotPossible, match="Try again in 10 minutes"):
            await rotator.run(trigger=Trigger.RETRY, by="ana")
        assert len(place.world.entra.requests) == asked
        place.world.clock.advance(601)
        record = await rotator.run(trigger=Trigger.RETRY, by="ana")
    assert record.state is RotationState.DONE


async def test_a_policy_in_the_way_is_no_wrong_password(place: Installation) -> None:
    fault(place, "entra", "SIGN-IN", "*", Refuse(53003), times=None)
    async with bot(place) as rotator:
        record = await rotator.run(trigger=Trigger.SCHEDULE)
    assert (record.cause, record.code, record.guesses) == (Cause.BLOCKED, 53003, 0)
    trouble = place.alarm.open["rotation", record.id]
    assert trouble.severity is Severity.SESSIONS_STOP
    assert "AADSTS53003" in trouble.why


async def test_a_password_changed_elsewhere_is_told_as_that_and_nothing_is_disabled(place: Installation) -> None:
    place.world.directory.set_password(SERVICE_ACCOUNT, "Somebody-else-9271!")
    observer = place.observer()
    observer.somebody_meddled()
    async with bot(place) as rotator:
        with observer.watching():
            record = await rotator.run(trigger=Trigger.SCHEDULE)
            assert record.cause is Cause.LOST
            identity = place.world.directory.user(SERVICE_ACCOUNT).id
            trouble = place.alarm.open["password-changed-elsewhere", identity]
            assert trouble.severity is Severity.SESSIONS_STOP
            assert "reset" in trouble.offers
            again = await rotator.run(trigger=Trigger.RETRY, by="ana")
        assert again.cause is Cause.LOST
        assert observer.wrong <= 9
        assert place.world.entra.try_password(SERVICE_ACCOUNT, "Somebody-else-9271!") == 0, "it was never locked"

        # Somebody stores the right one: a day need not pass, but the hour in which nobody guesses.
        place.world.clock.advance(3601)
        place.world.vault.put(place.secret, "Somebody-else-9271!")
        record = await rotator.run(trigger=Trigger.RETRY, by="ana")
        assert record.state is RotationState.DONE
    assert not place.alarm.open


async def test_two_processes_take_turns(place: Installation) -> None:
    async with bot(place) as one, bot(place) as other:
        await one.run(trigger=Trigger.NOW, by="ana", request_id="r1", until=Point.CHECKED)
        with pytest.raises(Busy):
            await other.run(trigger=Trigger.NOW, by="bo", request_id="r2")
        record = await one.run(trigger=Trigger.NOW, by="ana", request_id="r1")
        assert record.state is RotationState.DONE
        assert (await other.run(trigger=Trigger.NOW, by="bo", request_id="r2")).state is RotationState.DONE
    place.observer().check_settled()


async def test_a_version_that_signs_in_but_is_not_current_is_put_right(place: Installation) -> None:
    (old, new) = place.world.vault.versions(place.secret)
    new.tags, old.tags = {"state": "previous"}, {"state": "current"}
    async with bot(place) as rotator:
        record = await rotator.run(trigger=Trigger.REPAIR, aim=Aim.REPAIR)
        assert record.state is RotationState.DONE
        assert not await rotator.history(), "nothing was rotated"
    assert [version.tags["state"] for version in (old, new)] == ["previous", "current"]


async def test_a_reader_who_found_another_one_in_force_has_it_put_right_soon(place: Installation) -> None:
    (old, new) = place.world.vault.versions(place.secret)
    new.tags, old.tags = {"state": "previous"}, {"state": "current"}
    await keeps_up(place, repair=True)
    assert [version.tags["state"] for version in (old, new)] == ["previous", "current"]
    assert kinds(place) == ["rotation.started", "rotation.done"]


async def test_in_default_mode_nothing_new_is_made(place: Installation) -> None:
    async with place._database() as db:
        settings = Settings(db, AuditTrail(db, KEY))
        await settings.change(replace(await settings.current(), mode=Mode.DEFAULT), by=SHELL, reason="test")
    async with bot(place) as rotator:
        with pytest.raises(NotPossible, match="Default mode"):
            await rotator.run(trigger=Trigger.NOW, by="ana")


async def test_the_schedule_rotates_once_a_week_and_catches_up_once(place: Installation) -> None:
    begun = place.clock.now()
    done = await keeps_up(place, 3)
    weeks = [later.started_at - earlier.started_at for later, earlier in pairwise(done)]
    assert all(timedelta(days=6) < week < timedelta(days=8) for week in weeks)
    assert all(record.started_at.weekday() in {1, 2, 3} for record in done)
    assert done[-1].started_at - begun >= timedelta(days=6)

    place.world.clock.advance(40 * 86400)
    back = place.clock.now()
    done = await keeps_up(place, 2)
    assert len(done) == 5
    assert timedelta() <= done[1].started_at - back <= timedelta(days=1), "caught up, once"
    assert done[0].started_at - done[1].started_at > timedelta(days=5)
    place.observer().check_settled()


async def test_a_drill_goes_all_the_way_and_changes_nothing(place: Installation) -> None:
    before = place.world.directory.password_of(SERVICE_ACCOUNT)
    real = [(version.id, dict(version.tags)) for version in place.world.vault.versions(place.secret)]
    async with bot(place) as rotator:
        record = await rotator.drill(fail=False)
        failed = await rotator.drill(fail=True)
        assert [drill.trigger for drill in await rotator.history()] == [Trigger.DRILL, Trigger.DRILL]
        assert (await rotator.status()).open is None
    assert record.state is RotationState.DONE
    assert record.point is Point.RELEASED
    assert failed.state is RotationState.STANDING
    assert failed.finished_at is not None
    (trouble,) = place.alarm.open.values()
    assert trouble.drill
    assert trouble.headline.startswith("Rotation failed. Nothing is broken yet")
    assert place.world.directory.password_of(SERVICE_ACCOUNT) == before
    assert [(version.id, dict(version.tags)) for version in place.world.vault.versions(place.secret)] == real
    assert not any(version.enabled for version in place.world.vault.versions(f"{place.secret}-drill"))


async def test_no_password_is_written_down_anywhere(place: Installation, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with bot(place) as rotator:
        await rotator.run(trigger=Trigger.NOW, by="ana")
        await rotator.drill(fail=False)
    folder = place.config.database.parent
    written = b"".join(file.read_bytes() for file in folder.iterdir()) + caplog.text.encode()
    values = [
        version.value
        for name in (place.secret, f"{place.secret}-drill")
        for version in place.world.vault.versions(name)
    ]
    assert not [value for value in values if value.encode() in written]
