"""A form opens at once, fills when somebody was found, and runs only by the button that names them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from bot.model import Call, Change, Person, Plan, Request, RequestState
from bot.ports import Audience, Message, Preview
from sandbox.faults import Answer, Drop, Rule
from sandbox.slack.model import View
from tests.handlers.stage import ADELE, OLIVE, Stage

RESET = '/m365 reset-password adele@contoso.com --reason "locked out"'
BUTTON = "Reset the password of Adele Vance, Sales"
PLAN = Plan(
    changes=(Change("password", None, "a new temporary one"),),
    calls=(Call("PATCH", ("users", ADELE.id), {}),),
)


async def opened(stage: Stage, typed: str = RESET) -> Request:
    """Olive typed a command, and its form is open."""
    await stage.people.command("olive", "#helpdesk", typed)
    await stage.settled()
    return (await stage.rows())[-1]


async def filled(stage: Stage, request: Request, person: Person = ADELE, plan: Plan | None = PLAN) -> Request:
    """The runner found the person and made a plan."""
    waiting = await stage.run(
        request, state=RequestState.AWAITING_CONFIRMATION, target=person.target, plan=plan, digest="d1"
    )
    await stage.forms.fill(waiting, Preview(person, plan))
    return waiting


async def test_a_form_opens_at_once_and_says_whom_it_looks_for(stage: Stage) -> None:
    request = await opened(stage)

    view = stage.people.modal("olive")
    assert view is not None
    assert "Looking up adele@contoso.com" in view.visible_text.replace("`", "")
    assert "locked out" in view.visible_text
    assert BUTTON not in view.visible_text
    assert request.form == view.id
    assert request.state is RequestState.RECEIVED
    assert stage.worker.woken == [request.id]


async def test_a_filled_form_shows_who_it_is_and_the_button_that_names_them(stage: Stage) -> None:
    await filled(stage, await opened(stage))

    view = stage.people.modal("olive")
    assert view is not None
    for text in ("Adele Vance", "Sales", "Miriam Graham", "Leeds", "the cloud", "a new temporary one", f"[{BUTTON}]"):
        assert text in view.visible_text


async def test_the_button_runs_with_what_was_filled_in(stage: Stage) -> None:
    request = await filled(stage, await opened(stage))
    await stage.people.fill("olive", {"verified": "called back"})

    await stage.people.click("olive", "modal", BUTTON)
    await stage.settled()

    request = await stage.now(request)
    assert request.state is RequestState.READY
    assert (request.reason, request.verified) == ("locked out", "called back")
    assert request.digest == "d1"
    assert stage.worker.woken == [request.id] * 2
    assert "on its way" in _modal_with(stage, "You can close this window").visible_text


async def test_pressing_twice_runs_once(stage: Stage) -> None:
    request = await filled(stage, await opened(stage))
    await stage.people.fill("olive", {"verified": "called back"})

    await stage.people.click("olive", "modal", BUTTON)
    await stage.settled()
    delivery = next(one for one in reversed(stage.people.deliveries) if one.payload.get("type") == "block_actions")
    again = {**delivery.payload, "trigger_id": "another.press"}
    await stage.people.deliver("interactive", again)
    await stage.settled()

    assert (await stage.now(request)).version == request.version + 1
    assert stage.worker.woken == [request.id] * 2


async def test_the_button_without_a_verified_caller_says_so_and_runs_nothing(stage: Stage) -> None:
    request = await filled(stage, await opened(stage))

    await stage.people.click("olive", "modal", BUTTON)

    view = await stage.people.until(lambda: _modal_with(stage, "how you made sure who is calling"))
    assert BUTTON in view.visible_text
    assert (await stage.now(request)).state is RequestState.AWAITING_CONFIRMATION


async def test_enter_previews_and_runs_nothing(stage: Stage) -> None:
    request = await filled(stage, await opened(stage))

    delivery = await stage.people.submit("olive", {"verified": "called back"})
    await stage.settled()

    request = await stage.now(request)
    assert delivery.ack.body is not None
    assert delivery.ack.body["response_action"] == "update"
    assert request.state is RequestState.RECEIVED
    assert (request.verified, request.plan) == ("called back", None)
    await filled(stage, request)
    view = stage.people.modal("olive")
    assert view is not None
    assert "Called back on the number on file" in view.visible_text
    assert f"[{BUTTON}]" in view.visible_text


async def test_inputs_that_changed_after_the_plan_are_planned_anew(stage: Stage) -> None:
    request = await filled(stage, await opened(stage, "/m365 add-to-group adele@contoso.com"))
    stage.search.targets = (replace(ADELE.target, id="g2", name="Project Falcon"),)

    await stage.people.choose("olive", "modal", "group", "Project Falcon")
    await stage.people.fill("olive", {"reason": "project"})
    await stage.people.click("olive", "modal", "Add Adele Vance, Sales to the group")
    await stage.settled()

    request = await stage.now(request)
    assert request.state is RequestState.READY
    assert request.inputs == {"group": "g2"}
    assert (request.plan, request.digest) == (None, None)


async def test_a_person_is_chosen_from_a_list_when_none_was_typed(stage: Stage) -> None:
    request = await opened(stage, "/m365 reset-password")
    assert stage.worker.woken == []
    assert request.state is RequestState.AWAITING_CONFIRMATION

    await stage.people.choose("olive", "modal", "Whom", "Adele Vance")
    await stage.settled()

    request = await stage.now(request)
    assert (request.typed, request.state) == (ADELE.id, RequestState.RECEIVED)
    assert stage.worker.woken == [request.id]


async def test_a_name_that_fits_several_people_offers_them_and_picks_nobody(stage: Stage) -> None:
    request = await opened(stage, "/m365 reset-password smith")
    john = replace(ADELE, id=ADELE.id[:-1] + "1", name="John Smith", upn="john.smith@contoso.com")
    jon = replace(ADELE, id=ADELE.id[:-1] + "2", name="Jon Smith", upn="jon.smith@contoso.com")
    request = await stage.run(request, state=RequestState.AWAITING_CONFIRMATION)
    await stage.forms.fill(request, Preview(None, None, suggestions=(john, jon)))

    await stage.people.choose("olive", "modal", "Did you mean", "Jon Smith")
    await stage.settled()

    assert (await stage.now(request)).typed == jon.id


async def test_a_read_without_a_person_asks_for_one_and_answers_in_private(stage: Stage) -> None:
    request = await opened(stage, "/m365 show-user")

    await stage.people.choose("olive", "modal", "Whom", "Adele Vance")
    delivery = await stage.people.submit("olive")

    request = await stage.now(request)
    assert delivery.ack.body == {"response_action": "clear"}
    assert (request.typed, request.form, request.state) == (ADELE.id, None, RequestState.RECEIVED)
    assert stage.worker.woken == [request.id]


async def test_a_form_that_is_closed_withdraws_its_request(stage: Stage) -> None:
    request = await filled(stage, await opened(stage))

    await stage.people.close("olive")
    await stage.settled()

    request = await stage.now(request)
    assert request.state is RequestState.WITHDRAWN
    assert await stage.audited("request.withdrawn") == [{"facts": {}, "request": request.id}]


async def test_a_form_says_why_it_came_to_nothing_and_offers_another_try(stage: Stage) -> None:
    request = await opened(stage)
    failed = await stage.run(request, state=RequestState.FAILED, sentence="Key Vault is away.", answer={"again": True})
    await stage.forms.tell(failed, failed.sentence, again=True)
    view = stage.people.modal("olive")
    assert view is not None
    assert "Key Vault is away." in view.visible_text

    await stage.people.click("olive", "modal", "Try again")
    await stage.settled()

    _, again = await stage.rows()
    assert (again.action, again.form, again.state) == ("reset-password", view.id, RequestState.RECEIVED)
    assert stage.worker.woken[-1] == again.id
    assert "Looking up" in view.visible_text


async def test_a_form_slack_does_not_open_leaves_continue(stage: Stage) -> None:
    too_late = Answer(200, {"ok": False, "error": "expired_trigger_id"})
    stage.workspace.faults.add(Rule("slack", "*", "/views.open", too_late, times=1))
    request = await opened(stage)
    assert stage.worker.woken == []

    offer = await stage.people.until(lambda: stage.people.ephemerals("olive")[-1])
    await stage.people.click("olive", offer, "Continue")
    await stage.settled()

    view = stage.people.modal("olive")
    request = await stage.now(request)
    assert view is not None
    assert (request.form, request.state) == (view.id, RequestState.RECEIVED)
    assert stage.worker.woken == [request.id]
    assert "[Continue]" not in stage.people.ephemerals("olive")[-1].visible_text


async def test_a_form_that_never_opened_is_offered_by_itself_after_a_while(stage: Stage) -> None:
    due_at = stage.clock.now() + timedelta(minutes=30)
    left = await stage.have(told=False, state=RequestState.AWAITING_CONFIRMATION, due_at=due_at)
    after = stage.clock.now() + timedelta(seconds=5)
    offer = Message(f"continue:{left.id}", "continue", left.id, audience=Audience.REQUESTER, after=after)
    await stage.outbox.say(offer)
    assert not [shown for shown in stage.people.ephemerals("olive") if "[Continue]" in shown.visible_text]

    stage.workspace.clock.advance(6)

    await stage.people.until(lambda: "[Continue]" in stage.people.ephemerals("olive")[-1].visible_text)


async def test_nobody_but_the_requester_can_use_a_form(stage: Stage) -> None:
    request = await filled(stage, await opened(stage))
    press = {"type": "block_actions", "user": {"id": "U0ANA00001", "team_id": OLIVE.team}}
    await stage.people.click("olive", "modal", BUTTON)
    await stage.settled()
    delivery = next(one for one in reversed(stage.people.deliveries) if one.payload.get("type") == "block_actions")

    await stage.people.deliver("interactive", {**delivery.payload, **press, "trigger_id": "forged.1"})
    await stage.settled()

    assert (await stage.now(request)).state is RequestState.AWAITING_CONFIRMATION
    (row,) = await stage.audited("press.refused")
    assert row["facts"]["user"] == "U0ANA00001"


async def test_slack_being_away_while_a_form_is_filled_is_no_error(stage: Stage) -> None:
    request = await opened(stage)
    stage.workspace.faults.add(Rule("slack", "*", "/views.update", Drop("before")))

    await filled(stage, request)

    assert (await stage.now(request)).state is RequestState.AWAITING_CONFIRMATION


def _modal_with(stage: Stage, text: str) -> View:
    view = stage.people.modal("olive")
    if view is None or text not in view.visible_text:
        raise LookupError(text)
    return view
