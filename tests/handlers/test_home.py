"""The Home tab shows what this person may do, asked for and decides on, why not the rest, and stays true meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bot import approvals
from bot.model import ApprovalState, Call, Change, Mode, Plan, RequestState, Session, SessionState
from handlers.gestures import Gesture, Kind
from handlers.home import Home
from sandbox.faults import Answer, Rule
from sandbox.slack.model import View
from tests.clock import ManualClock
from tests.handlers.stage import ANA, HELPDESK, SUPPORT, VIC, Stage, a_stage

PLAN = Plan(changes=(), calls=(Call("PATCH", ("users", "x")),))


@pytest.fixture
async def quiet_stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """Without a reporter: nothing is posted, so that Home tabs are all there is to see."""
    async with a_stage(tmp_path, reporting=False) as stage:
        yield stage


async def shown(stage: Stage, person: str = "olive") -> View:
    view = await stage.people.open_home(person)
    assert view is not None
    return view


def published(stage: Stage) -> int:
    return len(stage.people.calls("views.publish"))


async def becomes(stage: Stage, person: str, *texts: str) -> str:
    """What this person's Home tab says once all of *texts* stand there."""

    def look() -> str | None:
        view = stage.people.home(person)
        text = view.visible_text if view else ""
        return text if all(each in text for each in texts) else None

    found = await stage.people.until(look)
    assert found is not None
    return found


async def test_an_operator_sees_the_session_their_commands_and_their_requests(stage: Stage) -> None:
    await stage.have(state=RequestState.DONE, finished_at=stage.clock.now(), sentence="Reset at nine.")

    view = await shown(stage)

    for text in ("Off.", "[Turn on]", "/m365 show-user", "None of your roles holds it.", "Reset at nine."):
        assert text in view.visible_text


async def test_who_is_no_operator_sees_nothing_of_the_tenant(stage: Stage) -> None:
    for person in ("nina", "gus"):
        view = await shown(stage, person)

        assert SUPPORT in view.visible_text
        assert "show-user" not in view.visible_text


async def test_somebody_slack_does_not_vouch_for_sees_nothing_of_the_tenant(stage: Stage) -> None:
    stage.workspace.faults.add(Rule("slack", "*", "/users.info", Answer(503)))

    assert "show-user" not in (await shown(stage)).visible_text


async def test_what_was_changed_in_the_session_stands_there_and_in_the_last_one_once_it_is_off(stage: Stage) -> None:
    ended: dict[str, Any] = {"state": RequestState.DONE, "finished_at": stage.clock.now(), "plan": PLAN}
    await stage.have(**ended, session_generation=3)
    await stage.have(**ended, session_generation=2, action="revoke-sessions")
    stage.session.current = Session(3, Mode.ADVANCED, SessionState.ON)
    assert "What you changed in this session" in (await shown(stage)).visible_text

    stage.session.current = Session(5, Mode.ADVANCED, SessionState.ON)
    assert "What you changed" not in (await shown(stage)).visible_text

    stage.session.current = Session(6, Mode.ADVANCED, SessionState.OFF)
    text = (await shown(stage)).visible_text
    _, _, receipts = text.partition("What you changed in the last session")
    assert "Reset the password of Adele Vance" in receipts
    assert "Sign Adele Vance out" not in receipts


@pytest.mark.parametrize("state", [SessionState.ON, SessionState.OFF])
async def test_a_session_that_was_signed_in_anew_is_one_session(stage: Stage, state: SessionState) -> None:
    opened = stage.clock.now()
    for number, action in ((1, "block-sign-in"), (2, "revoke-sessions"), (3, "reset-password")):
        ended: dict[str, Any] = {"finished_at": opened + timedelta(minutes=number - 2), "session_generation": number}
        await stage.have(state=RequestState.DONE, plan=PLAN, action=action, **ended)
    stage.session.current = Session(3, Mode.ADVANCED, state, opened_at=opened)
    text = (await shown(stage)).visible_text

    lines = [line.partition("  ·  today") for line in text.splitlines()]
    changed = [what for what, when, _ in lines if what.startswith("• ") and when]
    assert changed == ["• Reset the password of Adele Vance", "• Sign Adele Vance out everywhere"]


async def test_in_default_mode_the_session_is_turned_on_by_signing_in(stage: Stage) -> None:
    stage.session.current = Session(1, Mode.DEFAULT, SessionState.OFF)
    await shown(stage)

    await stage.people.click("olive", "home", "Sign in at Microsoft")

    await stage.people.until(lambda: "your own administrator account" in _window(stage, "olive"))
    assert await stage.rows() == []


def _window(stage: Stage, person: str) -> str:
    view = stage.people.modal(person)
    return view.visible_text if view else ""


# --- Do something ---------------------------------------------------------------------------------------------------


async def test_what_may_be_done_is_chosen_from_a_list_and_its_form_takes_the_window_over(stage: Stage) -> None:
    await shown(stage)
    await stage.people.click("olive", "home", "Do something …")
    await stage.people.until(lambda: "What is to be done?" in _window(stage, "olive"))
    assert "None of your roles holds it." in _window(stage, "olive")
    offered = await stage.people.options("olive", "modal", "What is to be done?", "")
    assert [option["value"] for option in offered] == ["show-user", "reset-password"]

    await stage.people.choose("olive", "modal", "What is to be done?", "Reset a password")

    await stage.people.until(lambda: "Whom" in _window(stage, "olive"))
    request = await stage.only_row()
    assert (request.action, request.state) == ("reset-password", RequestState.AWAITING_CONFIRMATION)
    assert len(stage.people.modals("olive")) == 1


async def test_a_choice_that_was_not_offered_is_refused_in_the_window_and_audited(stage: Stage) -> None:
    await shown(stage, "vic")
    await stage.people.click("vic", "home", "Do something …")
    await stage.people.until(lambda: "What is to be done?" in _window(stage, "vic"))

    await stage.people.choose("vic", "modal", "What is to be done?", "Reset a password")

    await stage.people.until(lambda: "You may not use" in _window(stage, "vic"))
    assert (await stage.only_row()).state is RequestState.REFUSED
    (refused,) = await stage.audited("request.refused")
    assert refused["facts"]["user"] == VIC.user


# --- What waits for a decision --------------------------------------------------------------------------------------


async def a_question(stage: Stage) -> None:
    now = stage.clock.now()
    await stage.have(
        state=RequestState.AWAITING_APPROVAL,
        started_at=now,
        plan=replace(PLAN, changes=(Change("password", None, "a new one"),)),
        digest="d",
        approval=approvals.ask("d", "Adele Vance is on the list of people to ask about first.", HELPDESK, now),
    )


async def test_what_waits_for_a_decision_stands_on_the_home_tabs_of_those_who_may_decide(quiet_stage: Stage) -> None:
    stage = quiet_stage
    for person in ("ana", "olive", "vic"):
        assert "Waiting for your decision" not in (await shown(stage, person)).visible_text

    await a_question(stage)
    stage.workspace.clock.advance(3)

    question = await becomes(stage, "ana", "Waiting for your decision", "[Approve]", "[Deny]")
    for words in ("Reset the password of Adele Vance", "password: a new one", "Asked by Olive Hart", "ask about first"):
        assert words in question
    for person in ("olive", "vic"):  # hers, and not his to decide
        assert "[Approve]" not in (await shown(stage, person)).visible_text


async def test_what_is_approved_on_the_home_tab_is_approved_and_gone_from_there(quiet_stage: Stage) -> None:
    stage = quiet_stage
    await a_question(stage)
    await shown(stage, "ana")

    await stage.people.click("ana", "home", "Approve")

    await stage.settled()
    request = await stage.only_row()
    assert request.state is RequestState.READY
    assert request.approval is not None
    assert request.approval.state is ApprovalState.APPROVED
    assert stage.worker.woken == [request.id]
    before = published(stage)
    stage.workspace.clock.advance(3)
    await stage.people.until(lambda: published(stage) > before)
    view = stage.people.home("ana")
    assert view is not None
    assert "[Approve]" not in view.visible_text


async def test_who_comes_second_is_told_so_in_a_window(quiet_stage: Stage) -> None:
    stage = quiet_stage
    await a_question(stage)
    await shown(stage, "ana")
    request = await stage.only_row()
    await stage.requests.save(replace(request, state=RequestState.WITHDRAWN, sentence="Olive took it back."))

    await stage.people.click("ana", "home", "Approve")

    await stage.people.until(lambda: "This is settled already. Olive took it back." in _window(stage, "ana"))


# --- Staying fresh --------------------------------------------------------------------------------------------------


async def test_a_change_of_the_session_is_seen_once_however_often_it_changes(stage: Stage) -> None:
    await shown(stage)
    before = published(stage)
    until = stage.clock.now() + timedelta(minutes=30)
    for number in range(5):
        stage.session.current = Session(number, Mode.ADVANCED, SessionState.ON, idle_until=until)
        stage.room.home.session_changed(stage.session.current)

    stage.workspace.clock.advance(3)

    await stage.people.until(lambda: published(stage) > before)
    assert published(stage) == before + 1
    text = (await becomes(stage, "olive", "[Turn off]")).replace("*", "")
    assert "On until" in text


async def test_a_home_tab_that_stayed_open_over_the_day_is_still_true(quiet_stage: Stage) -> None:
    stage = quiet_stage
    await shown(stage)
    stage.workspace.clock.advance(20 * 3600)

    await stage.have(state=RequestState.DONE, finished_at=stage.clock.now(), sentence="Reset in the evening.")
    stage.workspace.clock.advance(3)

    await becomes(stage, "olive", "Reset in the evening.")


async def test_a_home_tab_nobody_has_looked_at_for_a_day_is_left_alone(quiet_stage: Stage) -> None:
    stage = quiet_stage
    await shown(stage)
    await shown(stage, "ana")
    stage.workspace.clock.advance(25 * 3600)
    await shown(stage, "ana")
    before = published(stage)

    stage.room.home.session_changed(stage.session.current)
    stage.workspace.clock.advance(3)

    await stage.people.until(lambda: published(stage) > before)
    await stage.room.home.close()
    assert stage.people.calls("views.publish")[before].arguments["user_id"] == ANA.user
    assert published(stage) == before + 1


@dataclass
class Screens:
    """Draws and shows Home tabs, noting whose and when."""

    clock: ManualClock
    shown: list[tuple[str, float]] = field(default_factory=list)

    async def of(self, gesture: Gesture) -> dict[str, Any]:
        return {}

    async def publish_home(self, user: str, view: dict[str, Any]) -> None:
        self.shown.append((user, self.clock.monotonic()))


async def test_of_a_hundred_open_home_tabs_the_fifty_opened_last_follow_within_slack_s_pace() -> None:
    clock = ManualClock()
    screens = Screens(clock)
    home = Home(slack=screens, page=screens, clock=clock)
    for number in range(100):
        await home.opened(Gesture(Kind.EVENT, "app_home_opened", f"U{number}", "T", event={"tab": "home"}))
    opened = len(screens.shown)

    began = clock.monotonic()
    home.session_changed(Session(1, Mode.ADVANCED, SessionState.ON))
    for _ in range(60):
        clock.advance(1)
        for _ in range(200):  # as many turns as fifty tasks may need
            await asyncio.sleep(0)

    followed = screens.shown[opened:]
    assert {user for user, _ in followed} == {f"U{number}" for number in range(50, 100)}
    assert len(followed) == 50
    assert max(at for _, at in followed) - began > (50 - 10) / 100 * 60  # tier 4 is a hundred in a minute, and a burst
    await home.close()


async def test_the_messages_tab_publishes_nothing(stage: Stage) -> None:
    event = {"type": "app_home_opened", "user": "U0OLIVE001", "channel": "D1", "tab": "messages"}

    await stage.people.event(event)
    await stage.settled()

    assert stage.people.calls("views.publish") == []


async def test_slack_refusing_a_home_tab_is_no_fault(stage: Stage) -> None:
    refused = Answer(200, {"ok": False, "error": "not_enabled"})
    stage.workspace.faults.add(Rule("slack", "*", "/views.publish", refused))

    await stage.people.event({"type": "app_home_opened", "user": "U0OLIVE001", "tab": "home"})
    await stage.settled()

    assert await stage.inbox.open() == []
