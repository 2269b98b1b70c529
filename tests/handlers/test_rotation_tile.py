"""The rotation on the Home tab: last, next, age, health in a sign and a word, the last ten, alerts, and buttons."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bot.model import (
    Cause,
    CredentialKind,
    Point,
    RequestState,
    RotationRecord,
    RotationState,
    Severity,
    Trigger,
    Trouble,
)
from bot.ports import RotationStatus, SecretVersion
from sandbox.slack.blocks import Surface, check_view
from tests.handlers.stage import ANA, Stage, a_stage

SECRET, ACCOUNT = "latchkey-service-account", "svc@contoso.com"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with a_stage(tmp_path, reporting=False) as stage:
        yield stage


def version(at: datetime, state: str, *, enabled: bool = True) -> SecretVersion:
    return SecretVersion(SECRET, f"{state}-{at:%d}", enabled, at, tags={"state": state, "account": ACCOUNT})


def rotation(at: datetime, **more: object) -> RotationRecord:
    record = RotationRecord(
        id=f"r{at:%d%H%M}",
        kind=CredentialKind.PASSWORD,
        trigger=Trigger.SCHEDULE,
        secret=SECRET,
        account=ACCOUNT,
        started_at=at,
        state=RotationState.DONE,
        changed=True,
        finished_at=at + timedelta(seconds=48),
        in_force="current",
        steps=((Point.LISTED, 0.1), (Point.PROVEN, 31.0)),
    )
    return replace(record, **more)  # type: ignore[arg-type]


def goes_well(now: datetime) -> RotationStatus:
    since = now - timedelta(days=2)
    return RotationStatus(
        kind=CredentialKind.PASSWORD,
        secret=SECRET,
        account=ACCOUNT,
        last=rotation(since),
        next_due=now + timedelta(days=5),
        since=since,
        versions=(version(since, "current"), version(since - timedelta(days=7), "previous")),
    )


async def home_of(stage: Stage, person: str = "ana") -> str:
    view = await stage.people.open_home(person)
    assert view is not None
    assert check_view(dict(view.definition), Surface.HOME) == []
    return view.visible_text


async def test_a_rotation_that_goes_well_is_one_look(stage: Stage) -> None:
    now = stage.clock.now()
    ana = stage.operators.rights(ANA, "/m365-rotate now").operator
    assert ana is not None
    stage.rotated.is_now = goes_well(now)
    stage.rotated.records = [
        rotation(now - timedelta(days=2)),
        rotation(now - timedelta(days=4), trigger=Trigger.DRILL, by=ana.id),
        rotation(now - timedelta(days=9), trigger=Trigger.NOW, by=ana.id),
    ]
    text = await home_of(stage)

    for words in (
        "Well. The password was changed on time, and nothing waits.",
        "2 days ago",
        "Next change",
        "Changed every 7 days, Tuesday to Thursday between 10:00 and 15:00.",
        "By schedule: done in 48 seconds",
        "Drill by Ana Ruiz: done in 48 seconds",
        "By Ana Ruiz: done in 48 seconds",
        "[Rotate now …]",
        "[Run a drill …]",
        "[Recover …]",
    ):
        assert words in text.replace("*", ""), words
    assert "[Roll back …]" not in text


async def test_who_does_not_decide_about_latchkey_sees_none_of_it(stage: Stage) -> None:
    stage.rotated.is_now = goes_well(stage.clock.now())

    assert "Rotate now" not in await home_of(stage, "olive")


async def test_one_that_stands_says_what_holds_and_when_it_goes_on(stage: Stage) -> None:
    now = stage.clock.now()
    stands = rotation(
        now - timedelta(hours=1),
        state=RotationState.STANDING,
        finished_at=None,
        changed=False,
        cause=Cause.UNKNOWN,
        why="Microsoft did not answer.",
        next_try_at=now + timedelta(minutes=30),
        pending="pending",
    )
    well = goes_well(now)
    stage.rotated.is_now = replace(well, open=stands, versions=(version(now, "pending"), *well.versions))
    stage.rotated.records = [stands]
    await stage.alerts.raise_(
        Trouble("rotation", stands.id, Severity.ATTENTION, "Rotation failed. Nothing is broken yet.", "No answer.")
    )
    text = (await home_of(stage)).replace("*", "")

    for words in (
        "Needs attention. Rotation failed. Nothing is broken yet: the current password signs in. Microsoft did not "
        "answer.",
        "Next try: ",
        "Open alert since",
        "Rotation failed. Nothing is broken yet.",
        "By schedule: not finished, failed at: ",
        "[Roll back …]",
    ):
        assert words in text, words


@pytest.mark.parametrize(
    ("cause", "why", "says"),
    [
        (Cause.LOST, "", "no password that Key Vault holds signs in. Microsoft says no to every"),
        (Cause.GONE, "The account is disabled.", "cannot sign in any more. The account is disabled."),
        (Cause.BLOCKED, "A second factor is wanted.", "from signing in. A second factor is wanted."),
    ],
)
async def test_what_stops_every_sign_in_is_said_so(stage: Stage, cause: Cause, why: str, says: str) -> None:
    now = stage.clock.now()
    stands = rotation(now, state=RotationState.STANDING, finished_at=None, cause=cause, why=why, in_force=None)
    stage.rotated.is_now = replace(goes_well(now), open=stands)

    text = (await home_of(stage)).replace("*", "")
    assert "Broken. Sessions will stop: " in text
    assert says in text


async def test_one_that_is_too_old_says_how_old(stage: Stage) -> None:
    now = stage.clock.now()
    stage.rotated.is_now = replace(goes_well(now), since=now - timedelta(days=15))

    assert "The password is 15 days old" in await home_of(stage)


async def test_where_there_is_nothing_to_rotate_nothing_is_offered(stage: Stage) -> None:
    stage.rotated.is_now = RotationStatus(nothing="Azure looks after it.")
    text = await home_of(stage)

    assert "Nothing to rotate.* Azure looks after it." in text
    assert "[Rotate now …]" not in text
    assert "[Recover …]" not in text


@pytest.mark.parametrize(
    ("label", "action", "asks"),
    [
        ("Rotate now …", "rotate-now", "Reason"),
        ("Run a drill …", "rotate-drill", "Let it fail"),
        ("Recover …", "recover-password", "Reason"),
    ],
)
async def test_each_button_opens_the_form_of_its_action_and_does_nothing_by_itself(
    stage: Stage, label: str, action: str, asks: str
) -> None:
    stage.rotated.is_now = goes_well(stage.clock.now())
    await home_of(stage)

    await stage.people.click("ana", "home", label)

    await stage.people.until(lambda: (view := stage.people.modal("ana")) and asks in view.visible_text)
    await stage.settled()
    asked = await stage.only_row()
    assert (asked.action, asked.state) == (action, RequestState.RECEIVED)
    assert asked.form is not None
