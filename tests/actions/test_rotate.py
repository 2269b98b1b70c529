"""What is asked of the rotation, step by step: each waits for its part of one try, and a new try needs a person."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.actions import catalogue
from bot.errors import NotPossible
from bot.model import (
    Author,
    Cause,
    CredentialKind,
    IdentityKind,
    Mode,
    Plan,
    Point,
    RotationRecord,
    RotationState,
    Target,
    TargetKind,
    TenantSettings,
    Trigger,
)
from bot.office import LATCHKEY, Errand
from bot.office.rotation import RotationDesk, Stands
from bot.ports import RotationStatus, SecretVersion
from bot.rotation import Aim

NOW = datetime(2026, 3, 3, 10, 12, tzinfo=UTC)
ACCOUNT = "svc@contoso.com"
SETTINGS = TenantSettings(
    mode=Mode.ADVANCED, identity_kind=IdentityKind.SERVICE_ACCOUNT, identity_id="i", identity_name=ACCOUNT
)


def record(**more: Any) -> RotationRecord:
    begun = RotationRecord("r1", CredentialKind.PASSWORD, Trigger.NOW, "secret", ACCOUNT, NOW, request_id="q1")
    return replace(begun, **more)


RUNNING = record(point=Point.CHECKED)
STANDING = record(state=RotationState.STANDING, cause=Cause.UNKNOWN, why="No answer.", in_force="v1", next_try_at=NOW)
DONE = record(state=RotationState.DONE, changed=True, finished_at=NOW + timedelta(minutes=1))


@dataclass
class Turning:
    """Gives what it was told to, and remembers what it was asked."""

    gives: list[RotationRecord]
    status_is: RotationStatus = field(
        default_factory=lambda: RotationStatus(
            CredentialKind.PASSWORD,
            account=ACCOUNT,
            since=NOW,
            versions=(SecretVersion("secret", "v1", True, NOW, tags={"state": "current"}),),
        )
    )
    asked: list[tuple[Trigger, str | None, Point | None, Aim]] = field(default_factory=list)

    async def run(
        self,
        *,
        trigger: Trigger,
        by: str | None = None,
        request_id: str | None = None,
        until: Point | None = None,
        aim: Aim = Aim.RENEW,
        tell: Callable[[Point], None] | None = None,
    ) -> RotationRecord:
        self.asked.append((trigger, request_id, until, aim))
        return self.gives.pop(0)

    async def status(self) -> RotationStatus:
        return self.status_is

    async def history(self, limit: int = 10) -> Sequence[RotationRecord]:
        return ()

    async def drill(self, *, fail: bool, by: str | None = None, request_id: str | None = None) -> RotationRecord:
        return self.gives.pop(0)


@dataclass
class Settled:
    settings: TenantSettings = SETTINGS

    async def current(self) -> TenantSettings:
        return self.settings


@dataclass
class Office:
    """Reads what a planner reads."""

    desk: RotationDesk
    acting: bool = False

    async def get(self, *path: str, query: Any = None, eventual: bool = False) -> dict[str, Any]:
        match path:
            case ("latchkey", "rotation"):
                return await self.desk.read((), {"for": "q1"})
            case ("latchkey", "session"):
                return {"acting": self.acting, "state": "on", "until": None}
            case ("latchkey", "settings"):
                return asdict(SETTINGS)
        raise NotImplementedError(path)

    async def collect(self, *path: str, **more: Any) -> list[dict[str, Any]]:
        raise NotImplementedError

    async def ask(self, *path: str, body: Any) -> dict[str, Any]:
        raise NotImplementedError


def desk_of(rotator: Turning, settings: TenantSettings = SETTINGS) -> RotationDesk:
    return RotationDesk(rotator, Settled(settings), UTC)


def step(*path: str, **body: Any) -> Errand:
    return Errand("PUT", path, body, Author("o1"), "test", "q1", "a1")


async def planned(name: str, rotator: Turning, *, acting: bool = False) -> Plan:
    action = catalogue()[name]
    assert action.plan is not None
    target = Target(TargetKind.TENANT, "tenant", "Latchkey")
    return await action.plan(Office(desk_of(rotator), acting), target, action.parse({}), LATCHKEY)


async def test_each_step_of_now_waits_for_its_point_of_the_same_try() -> None:
    rotator = Turning([RUNNING, RUNNING, RUNNING, RUNNING, RUNNING, DONE])
    desk, plan = desk_of(rotator), await planned("rotate-now", rotator)
    for call in plan.calls:
        await desk.carry_out(step(*call.path[2:], **call.body))

    assert rotator.asked == [
        (Trigger.NOW, "q1", until, Aim.RENEW)
        for until in (Point.CHECKED, Point.NOTED, Point.CHANGED, Point.PROVEN, Point.WRITTEN, None)
    ]
    now = await desk.read((), {"for": "q1"})
    assert all(call.seen is not None and call.seen.holds(now) for call in plan.calls)


async def test_now_asks_for_an_approval_only_while_a_session_is_on_and_is_the_same_plan_otherwise() -> None:
    alone, asking = [await planned("rotate-now", Turning([]), acting=acting) for acting in (False, True)]

    assert alone.approval == ""
    assert "session is on" in asking.approval
    assert replace(asking, approval="") == alone


async def test_one_that_stood_is_tried_anew_only_when_somebody_goes_on() -> None:
    rotator = Turning([RUNNING, STANDING, DONE])
    desk = desk_of(rotator)
    await desk.carry_out(step("on", until=Point.CHECKED.value))
    with pytest.raises(
        Stands, match=r"signs in\. No answer\. Latchkey tries again by itself on \d+ \w+ at \d\d:\d\d\.$"
    ):
        await desk.carry_out(step("on", until=Point.NOTED.value))
    rotator.status_is = replace(rotator.status_is, open=STANDING)
    await desk.carry_out(step("on", until=Point.NOTED.value))

    assert [(trigger, request) for trigger, request, _, _ in rotator.asked] == [
        (Trigger.NOW, "q1"),
        (Trigger.NOW, "q1"),
        (Trigger.RETRY, None),
    ]


async def test_after_a_restart_one_that_stands_is_tried_anew_too() -> None:
    rotator = Turning([DONE])
    rotator.status_is = replace(rotator.status_is, open=STANDING)
    await desk_of(rotator).carry_out(step("on", until=Point.NOTED.value))

    assert [(trigger, request) for trigger, request, _, _ in rotator.asked] == [(Trigger.RETRY, None)]


async def test_one_that_was_joined_and_ended_between_two_steps_is_not_begun_again() -> None:
    """It was the schedule's: the database knows nothing of the request."""
    schedules = replace(RUNNING, request_id=None, trigger=Trigger.SCHEDULE)
    rotator = Turning([schedules])
    desk = desk_of(rotator)
    await desk.carry_out(step("on", until=Point.CHECKED.value))
    rotator.status_is = replace(rotator.status_is, last=replace(DONE, request_id=None, trigger=Trigger.SCHEDULE))
    await desk.carry_out(step("on", until=Point.NOTED.value))

    assert len(rotator.asked) == 1


async def test_a_drill_that_fails_by_itself_is_a_failure() -> None:
    drill = record(trigger=Trigger.DRILL, state=RotationState.STANDING, cause=Cause.VAULT, why="Key Vault is away.")
    with pytest.raises(Stands, match=r"a rotation would fail, too\. Nothing was changed\. Key Vault is away\."):
        await desk_of(Turning([drill])).carry_out(step("drill", fail=False))
    with pytest.raises(Stands, match="Key Vault is away"):
        await desk_of(Turning([drill])).carry_out(step("drill", fail=True))

    wished = replace(drill, cause=Cause.FORBIDDEN, why="As you wished.")
    assert await desk_of(Turning([wished])).carry_out(step("drill", fail=True)) == ""


async def test_where_there_is_nothing_to_rotate_each_action_says_why() -> None:
    rotator = Turning([], RotationStatus(nothing="Azure looks after it."))
    for name in ("rotate-now", "rotate-back", "rotate-drill"):
        with pytest.raises(NotPossible, match="Azure looks after it"):
            await planned(name, rotator)


async def test_a_rotation_that_stands_is_still_finished_in_default_mode() -> None:
    rotator = Turning([])
    rotator.status_is = replace(rotator.status_is, open=STANDING)
    default = replace(SETTINGS, mode=Mode.DEFAULT)

    assert (await desk_of(rotator, default).read((), {}))["nothing"] == ""
    rotator.status_is = replace(rotator.status_is, open=None)
    assert "Default mode" in (await desk_of(rotator, default).read((), {}))["nothing"]
