"""The Home tab shows what this person may do and why not the rest, and stays true while it is looked at."""

from __future__ import annotations

from datetime import timedelta

from bot.model import Mode, RequestState, Session, SessionState
from sandbox.faults import Answer, Rule
from sandbox.slack.model import View
from tests.handlers.stage import SUPPORT, Stage


async def shown(stage: Stage, person: str = "olive") -> View:
    view = await stage.people.open_home(person)
    assert view is not None
    return view


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


async def test_a_change_of_the_session_is_seen_once_however_often_it_changes(stage: Stage) -> None:
    await shown(stage)
    published = len(stage.people.calls("views.publish"))
    until = stage.clock.now() + timedelta(minutes=30)
    for number in range(5):
        stage.session.current = Session(number, Mode.ADVANCED, SessionState.ON, idle_until=until)
        stage.room.home.session_changed(stage.session.current)

    stage.workspace.clock.advance(3)

    await stage.people.until(lambda: len(stage.people.calls("views.publish")) > published)
    assert len(stage.people.calls("views.publish")) == published + 1
    view = stage.people.home("olive")
    assert view is not None
    assert "On until" in view.visible_text.replace("*", "")
    assert "[Turn off]" in view.visible_text


async def test_a_home_tab_nobody_has_looked_at_for_hours_is_left_alone(stage: Stage) -> None:
    await shown(stage)
    published = len(stage.people.calls("views.publish"))
    stage.workspace.clock.advance(2 * 3600)

    stage.room.home.session_changed(stage.session.current)
    stage.workspace.clock.advance(3)
    await stage.room.home.close()

    assert len(stage.people.calls("views.publish")) == published


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
