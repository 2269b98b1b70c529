"""Buttons carry ids and nothing else: who presses, what it means and whether it may be, come from the rows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from bot.model import Author, Call, Change, Origin, Plan, Request, RequestState, Session, SessionState, SlackUser, Undo
from sandbox.faults import Answer, Rule
from sandbox.slack.model import Message, View
from tests.handlers.stage import ADELE, ANA, HELPDESK, OLIVE, Stage

BLOCKED = Plan(
    changes=(Change("sign-in", "allowed", "blocked"),),
    calls=(Call("PATCH", ("users", ADELE.id), {"accountEnabled": False}),),
    undo=Undo("unblock-sign-in"),
)


async def card(stage: Stage, count: int = 1) -> Message:
    """The last card in the channel, once there are so many."""
    return await stage.people.until(lambda: stage.people.messages("#helpdesk")[count - 1])


def modal(stage: Stage, person: str, text: str) -> View:
    """Somebody's open window, once it says this."""
    view = stage.people.modal(person)
    if view is None or text not in view.visible_text:
        raise LookupError(text)
    return view


async def told(stage: Stage, person: str, text: str) -> Message:
    """The last thing somebody was told in private, once it says this."""

    def last() -> Message:
        message = stage.people.ephemerals(person)[-1]
        if text not in message.visible_text:
            raise LookupError(text)
        return message

    return await stage.people.until(last)


async def blocked(stage: Stage, **fields: Any) -> Request:
    """Olive blocked Adele's sign-in."""
    now = stage.clock.now()
    return await stage.have(
        **{
            "command": "/m365 block-sign-in",
            "action": "block-sign-in",
            "state": RequestState.DONE,
            "started_at": now,
            "finished_at": now,
            "plan": BLOCKED,
            "sentence": "Sign-in of Adele Vance is blocked.",
            **fields,
        }
    )


# --- Reveal ---------------------------------------------------------------------------------------------------------


async def test_a_secret_is_shown_once_in_a_window_and_the_card_says_so(stage: Stage) -> None:
    request = await stage.done_reset()

    await stage.people.click("olive", await card(stage), "Reveal once")

    view = await stage.people.until(lambda: modal(stage, "olive", "Walnut-Tiger-42"))
    assert "capital w" in view.visible_text.lower() or "whiskey" in view.visible_text.lower()
    await stage.people.until(lambda: "Revealed to Olive Hart" in stage.people.messages("#helpdesk")[0].visible_text)
    assert "[Reveal once]" not in (await card(stage)).visible_text
    assert (await stage.now(request)).answer["reveal"] == "revealed"
    assert [row["request"] for row in await stage.audited("reveal.shown")] == [request.id]
    assert "Walnut-Tiger-42" not in stage.people.history_text()


async def test_nobody_else_sees_a_secret_and_that_they_tried_is_audited(stage: Stage) -> None:
    request = await stage.done_reset()

    await stage.people.click("ana", await card(stage), "Reveal once")

    await stage.people.until(lambda: modal(stage, "ana", "only Olive Hart can do that"))
    assert stage.reveals.holds(request.id)
    assert [row["facts"]["user"] for row in await stage.audited("press.refused")] == [ANA.user]


async def test_a_second_press_shows_nothing(stage: Stage) -> None:
    await stage.done_reset()
    message = await card(stage)
    await stage.people.click("olive", message, "Reveal once")
    await stage.people.until(lambda: modal(stage, "olive", "Walnut-Tiger-42"))
    delivery = stage.people.deliveries[-1]

    again = {**delivery.payload, "trigger_id": stage.people._payloads._tickets.trigger(OLIVE.user, from_view=False)}
    await stage.people.deliver("interactive", again)

    await stage.people.until(lambda: modal(stage, "olive", "shown already"))


async def test_a_secret_that_died_with_its_process_is_said_to_be_gone(stage: Stage) -> None:
    request = await stage.done_reset()
    stage.reveals.take(request.id)

    await stage.people.click("olive", await card(stage), "Reveal once")

    await stage.people.until(lambda: modal(stage, "olive", "it is gone"))
    await stage.people.until(lambda: "[Reset again]" in stage.people.messages("#helpdesk")[0].visible_text)
    assert (await stage.now(request)).answer["reveal"] == "lost"


async def test_a_window_slack_does_not_open_costs_no_secret(stage: Stage) -> None:
    request = await stage.done_reset()
    too_late = Answer(200, {"ok": False, "error": "expired_trigger_id"})
    stage.workspace.faults.add(Rule("slack", "*", "/views.open", too_late, times=1))

    await stage.people.click("olive", await card(stage), "Reveal once")

    await told(stage, "olive", "press the button again")
    assert stage.reveals.holds(request.id)
    assert (await stage.now(request)).answer["reveal"] == "waiting"


async def test_a_secret_that_could_not_be_shown_is_not_shown_later(stage: Stage) -> None:
    request = await stage.done_reset()
    stage.workspace.faults.add(Rule("slack", "*", "/views.update", Answer(500), times=1))

    await stage.people.click("olive", await card(stage), "Reveal once")
    await stage.settled()

    assert (await stage.now(request)).answer["reveal"] == "lost"
    assert not stage.reveals.holds(request.id)


async def test_a_secret_is_only_for_somebody_slack_has_just_vouched_for(stage: Stage) -> None:
    request = await stage.done_reset()
    stage.workspace.faults.add(Rule("slack", "*", "/users.info", Answer(503)))

    await stage.people.click("olive", await card(stage), "Reveal once")

    await told(stage, "olive", "does not confirm who you are")
    assert stage.reveals.holds(request.id)


# --- Undo, again ----------------------------------------------------------------------------------------------------


async def test_undo_is_a_new_request_under_the_rights_of_whoever_presses(stage: Stage) -> None:
    done = await blocked(stage)

    await stage.people.click("ana", await card(stage), "Undo")
    await stage.settled()

    _, back = await stage.rows()
    assert (back.action, back.undo_of, back.slack) == ("unblock-sign-in", done.id, ANA)
    assert back.target == ADELE.target
    assert back.reason
    assert stage.worker.woken == [back.id]
    await stage.people.until(lambda: "[Undo]" not in stage.people.messages("#helpdesk")[0].visible_text)


async def test_who_may_not_undo_is_told_and_the_button_stays(stage: Stage) -> None:
    await blocked(stage)

    await stage.people.click("vic", await card(stage), "Undo")

    await told(stage, "vic", "Olive Hart")
    assert "[Undo]" in (await card(stage)).visible_text
    assert stage.worker.woken == []


async def test_two_people_undo_once(stage: Stage) -> None:
    await blocked(stage)
    message = await card(stage)
    press = await stage.people.click("ana", message, "Undo")
    await stage.settled()

    forged = {**press.payload, "user": {"id": OLIVE.user, "team_id": OLIVE.team}, "trigger_id": "second.press"}
    await stage.people.deliver("interactive", forged)
    await stage.settled()

    assert len(await stage.rows()) == 2
    assert len(stage.worker.woken) == 1


async def test_a_typed_undo_takes_back_the_latest_that_can_be(stage: Stage) -> None:
    done = await blocked(stage)
    await stage.have(state=RequestState.FAILED, finished_at=stage.clock.now(), sentence="No.")

    await stage.people.command("olive", "#helpdesk", "/m365 undo")
    await stage.settled()

    assert (await stage.rows())[-1].undo_of == done.id


async def test_what_failed_after_it_was_agreed_to_is_tried_again_without_asking(stage: Stage) -> None:
    now = stage.clock.now()
    failed = await stage.have(
        state=RequestState.FAILED, started_at=now, finished_at=now, sentence="Graph is away.", answer={"again": True}
    )

    await stage.people.click("olive", await card(stage), "Try again")
    await stage.settled()

    _, again = await stage.rows()
    assert (again.state, again.target, again.verified) == (RequestState.READY, failed.target, "called back")
    assert stage.worker.woken == [again.id]
    await stage.people.until(lambda: "[Try again]" not in stage.people.messages("#helpdesk")[0].visible_text)


async def test_only_who_asked_tries_again(stage: Stage) -> None:
    now = stage.clock.now()
    await stage.have(state=RequestState.FAILED, started_at=now, finished_at=now, sentence="No.", answer={"again": True})

    await stage.people.click("ana", await card(stage), "Try again")

    await told(stage, "ana", "only Olive Hart")
    assert len(await stage.rows()) == 1


async def test_a_password_nobody_saw_is_reset_again_without_being_asked_about_the_first(stage: Stage) -> None:
    request = await stage.done_reset()
    await stage.run(await stage.now(request), answer={"reveal": "expired"})
    await stage.people.until(lambda: "[Reset again]" in stage.people.messages("#helpdesk")[0].visible_text)

    await stage.people.click("olive", await card(stage), "Reset again")
    await stage.settled()

    _, again = await stage.rows()
    assert (again.action, again.repeat_of, again.state) == ("reset-password", request.id, RequestState.READY)


# --- Questions ------------------------------------------------------------------------------------------------------


async def asked(stage: Stage, answer: dict[str, Any], **fields: Any) -> Request:
    now = stage.clock.now()
    defaults = {"started_at": now, "digest": "d2", "due_at": now + timedelta(minutes=30)}
    return await stage.have(
        state=RequestState.AWAITING_CONFIRMATION,
        sentence="Somebody asked to do this 2 minutes ago. Nothing was done yet.",
        answer=answer,
        **{**defaults, **fields},
    )


async def test_going_on_anyway_remembers_what_one_was_told_about(stage: Stage) -> None:
    request = await asked(stage, {"ask": True, "repeat_of": "e" * 32})

    await stage.people.click("olive", await card(stage), "Do it anyway")
    await stage.settled()

    request = await stage.now(request)
    assert (request.state, request.repeat_of, request.digest) == (RequestState.READY, "e" * 32, "d2")
    assert request.due_at is None
    assert stage.worker.woken == [request.id]


async def test_leaving_it_ends_the_request(stage: Stage) -> None:
    request = await asked(stage, {"ask": True})

    await stage.people.click("olive", await card(stage), "Leave it")
    await stage.settled()

    assert (await stage.now(request)).state is RequestState.WITHDRAWN
    assert stage.worker.woken == []
    await stage.people.until(lambda: "[Leave it]" not in stage.people.messages("#helpdesk")[0].visible_text)


async def test_a_session_that_does_not_open_by_itself_is_opened_by_a_press(stage: Stage) -> None:
    request = await asked(stage, {"open": True}, started_at=None, target=None)
    question = await stage.people.until(lambda: stage.people.ephemerals("olive")[-1])

    await stage.people.click("olive", question, "Open session and run")
    await stage.settled()

    request = await stage.now(request)
    assert (request.state, request.answer) == (RequestState.RECEIVED, {"may_open": True})
    assert stage.worker.woken == [request.id]
    await stage.people.until(lambda: "[Open session" not in stage.people.ephemerals("olive")[-1].visible_text)


async def test_one_of_the_people_who_could_be_meant_is_chosen(stage: Stage) -> None:
    suggestions = [[ADELE.id, "Adele Vance", "Adele Vance, Sales"]]
    request = await asked(
        stage, {"suggestions": suggestions}, action="show-user", started_at=None, target=None, typed="adele"
    )
    question = await stage.people.until(lambda: stage.people.ephemerals("olive")[-1])

    await stage.people.choose("olive", question, "Choose the person", "Adele Vance")
    await stage.settled()

    request = await stage.now(request)
    assert (request.typed, request.state) == (ADELE.id, RequestState.RECEIVED)


@pytest.mark.parametrize("label", ["Do it anyway", "Leave it"])
async def test_nobody_else_answers_a_question(stage: Stage, label: str) -> None:
    request = await asked(stage, {"ask": True})

    await stage.people.click("ana", await card(stage), label)
    await told(stage, "ana", "only Olive Hart")

    assert (await stage.now(request)).state is RequestState.AWAITING_CONFIRMATION


# --- Reads ----------------------------------------------------------------------------------------------------------


async def a_read(stage: Stage, channel: str = HELPDESK) -> Request:
    return await stage.have(
        action="show-user",
        command="/m365 show-user",
        state=RequestState.DONE,
        origin=Origin(channel),
        finished_at=stage.clock.now(),
        sentence="Adele Vance",
        answer={"title": "Adele Vance", "facts": [["Office", "Leeds"]]},
    )


async def test_a_read_is_for_the_requester_until_it_is_shared(stage: Stage) -> None:
    await a_read(stage)
    answer = await stage.people.until(lambda: stage.people.ephemerals("olive")[-1])
    assert stage.people.messages("#helpdesk") == []

    await stage.people.click("olive", answer, "Share in channel")

    shared = await card(stage)
    assert "Leeds" in shared.visible_text
    assert "shared by Olive Hart" in shared.visible_text
    await stage.people.until(lambda: "[Share" not in stage.people.ephemerals("olive")[-1].visible_text)


async def test_nothing_is_shared_with_another_company(stage: Stage) -> None:
    await a_read(stage, "C0PARTNERS")
    answer = await stage.people.until(lambda: stage.people.ephemerals("olive")[-1])

    await stage.people.click("olive", answer, "Share in channel")

    await told(stage, "olive", "shared with another company")
    assert stage.people.messages("#partners") == []


async def test_the_audit_trail_is_paged(stage: Stage) -> None:
    page = await stage.have(
        action="audit",
        command="/m365-audit",
        slack=SlackUser(OLIVE.team, "U0AUDREY01"),
        operator_id=None,
        state=RequestState.DONE,
        typed="adele@contoso.com",
        inputs={"since": "7d"},
        target=None,
        finished_at=stage.clock.now(),
        answer={"title": "Audit trail", "rows": [[9, stage.clock.now().isoformat(), "o", "k", "t", "s"]], "next": 9},
    )
    answer = await stage.people.until(lambda: stage.people.ephemerals("audrey")[-1])

    await stage.people.click("audrey", answer, "Older")
    await stage.settled()

    older = (await stage.rows())[-1]
    assert (older.action, older.typed, older.inputs) == ("audit", page.typed, {"since": "7d", "before": 9})
    assert stage.worker.woken == [older.id]


# --- The Home tab ---------------------------------------------------------------------------------------------------


async def test_the_session_is_switched_from_home_by_who_may(stage: Stage) -> None:
    await stage.people.open_home("olive")

    await stage.people.click("olive", "home", "Turn on")
    await stage.settled()

    request = await stage.only_row()
    assert (request.action, request.command, request.origin) == ("session-on", "/m365-session on", Origin("", "home"))
    assert stage.worker.woken == [request.id]


async def test_who_may_not_switch_the_session_is_told_in_a_direct_message(stage: Stage) -> None:
    stage.session.current = Session(1, stage.session.current.mode, SessionState.ON)
    home = await stage.people.open_home("olive")
    assert home is not None
    await stage.operators.grant(OLIVE, "viewer", by=Author(login="root"), reason="a test")
    await stage.operators.revoke(OLIVE, "operator", by=Author(login="root"), reason="a test")

    await stage.people.click("olive", home, "Turn off")

    (told_so,) = await stage.people.until(lambda: stage.people.messages(stage.people.direct("olive")))
    assert "Ana Ruiz" in told_so.visible_text
    assert stage.worker.woken == []


# --- Tampering ------------------------------------------------------------------------------------------------------

TAMPERED = [
    "",
    "x",
    "0" * 31,
    "0" * 33,
    "f" * 32,
    "' or 1=1 --",
    "../../etc/passwd",
    "\u0661" * 32,
    "{}",
    "A" * 2000,
    '{"id": "0"}',
]


@pytest.mark.parametrize("value", TAMPERED, ids=range(len(TAMPERED)))
@pytest.mark.parametrize("label", ["Undo", "Reveal once"])
async def test_a_button_with_a_forged_value_does_nothing_but_say_so(stage: Stage, label: str, value: str) -> None:
    await (blocked(stage) if label == "Undo" else stage.done_reset())
    message = await card(stage)
    before = await stage.rows()

    delivery = await stage.people.click("olive", message, label, value=value)
    await stage.settled()

    assert delivery.ack.status == "ok"
    assert await stage.rows() == before
    assert stage.worker.woken == []
    words = [one.visible_text for one in stage.people.ephemerals("olive")]
    window = stage.people.modal("olive")
    assert any("does not know what this belongs to" in text for text in [*words, window.visible_text if window else ""])


@pytest.mark.parametrize(
    "label", ["request.reset_again", "request.try_again", "request.do_anyway", "request.open_session", "request.share"]
)
async def test_a_button_that_is_not_offered_now_does_nothing(stage: Stage, label: str) -> None:
    request = await blocked(stage)
    await card(stage)
    press = await stage.people.click("olive", await card(stage), "Undo", value="0" * 31 + "x")
    forged = {
        **press.payload,
        "trigger_id": f"forged.{label}",
        "actions": [{**press.payload["actions"][0], "action_id": label, "value": request.id}],
    }

    await stage.people.deliver("interactive", forged)
    await stage.settled()

    assert await stage.rows() == [request]
    assert stage.worker.woken == []


async def test_a_button_of_another_version_is_answered_politely(stage: Stage) -> None:
    await blocked(stage)
    press = await stage.people.click("olive", await card(stage), "Undo", value="x")
    action = {**press.payload["actions"][0], "action_id": "v0.old_button"}

    delivery = await stage.people.deliver("interactive", {**press.payload, "trigger_id": "old.1", "actions": [action]})

    assert delivery.ack.status == "ok"
    await told(stage, "olive", "another version of Latchkey")
