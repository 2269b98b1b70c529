"""Presses and forms that were tampered with (S8): Slack carries ids, and what they mean stands in the rows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from bot.model import Origin, Request, RequestState
from handlers.views import form, home, offers
from sandbox.slack import Record
from tests.stage import HELPDESK, Stage
from tests.threats.effects import PEOPLE, nothing_done, records, requests_of, settled
from tests.threats.knocking import a_press, a_submission

pytestmark = pytest.mark.asyncio(loop_scope="module")

RESET = "Reset the password of Adele Vance, Sales"
SIGN_OUT = "Sign John Smith, Sales out everywhere"

ON_REQUESTS = (
    offers.UNDO,
    offers.REVEAL,
    offers.RESET_AGAIN,
    offers.TRY_AGAIN,
    offers.CONTINUE,
    offers.DO_ANYWAY,
    offers.LEAVE,
    offers.OPEN_SESSION,
    offers.SHARE,
    offers.OLDER,
)
"""Buttons whose value is a request's id."""

_FORGED = iter(range(100_000))


def trigger() -> str:
    return f"8.8.forged{next(_FORGED)}"


async def press(stage: Stage, who: str, action_id: str, value: str, **changes: Any) -> str:
    """Press a button that carries *value*, and return what is said to *who* because of it."""
    user = {"id": PEOPLE[who].user, "team_id": PEOPLE[who].team}
    before = len(stage.world.slack.ephemerals(who))
    delivery = await stage.world.slack.deliver(
        "interactive", a_press(action_id, value, trigger=trigger(), user=user, **changes)
    )
    assert delivery.ack.status == "ok"
    said = await stage.until(lambda: stage.world.slack.ephemerals(who)[before:])
    return said[-1].visible_text


async def the_only(stage: Stage, person: str) -> Request:
    return (await requests_of(stage, person, 1))[0]


@asynccontextmanager
async def a_form(stage: Stage, person: str = "olive") -> AsyncIterator[Request]:
    """Somebody has the form about Adele before them."""
    await stage.form(person, '/m365 reset-password adele@contoso.com --reason "x"', RESET)
    yield await the_only(stage, person)
    if stage.world.slack.modals(person):
        await stage.world.slack.close(person)


async def as_left(stage: Stage, request: Request) -> Request:
    """The request once nothing of what came before is under way."""
    await settled(stage.bot)
    found = await stage.bot.storage.requests.find(request.id)
    assert found is not None
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def done(shared: Stage) -> Request:
    """A request of Olive's that is over: she signed John out everywhere."""
    await shared.form("olive", '/m365 revoke-sessions john.smith@contoso.com --reason "lost phone"', SIGN_OUT)
    await shared.world.slack.click("olive", "modal", SIGN_OUT)
    await shared.card(0, "was signed out")
    await shared.world.slack.close("olive")
    return await the_only(shared, "olive")


# --- what a button carries ---------------------------------------------------------------------------

VALUES = {
    "nothing": "",
    "an id nobody has": "0123456789abcdef" * 2,
    "an id in capitals": "0123456789ABCDEF" * 2,
    "an id and more": "0123456789abcdef" * 2 + "\n",
    "an object id": "f142e421-ec74-44a4-9ec6-636e45e4a66d",
    "a user name": "adele@contoso.com",
    "another operation": '{"action": "block-sign-in", "target": "adele@contoso.com"}',
    "a statement": "' OR 1=1 --",
    "a path": "../../users/adele",
    "markup": "<!channel> <@U0OLIVE001>",
    "a hundred thousand letters": "a" * 100_000,
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
async def test_a_button_that_carries_anything_but_a_request_does_nothing(shared: Stage, value: str) -> None:
    """S8: every button, with every value."""
    async with nothing_done(shared):
        for action_id in ON_REQUESTS:
            if action_id == offers.REVEAL:
                continue  # it opens its window first; see below
            answer = await press(shared, "olive", action_id, value)
            assert "does not know what this belongs to" in answer, action_id


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
async def test_no_value_brings_a_secret_to_light(shared: Stage, done: Request, value: str) -> None:
    """S8: the window says why there is nothing to see."""
    press_of_hers = await shared.world.slack.command("olive", HELPDESK, "/m365 help")
    forged = a_press(offers.REVEAL, value, trigger=press_of_hers.trigger_id)
    async with nothing_done(shared):
        await shared.world.slack.deliver("interactive", forged)
        shown = await shared.until(lambda: _told(shared, "does not know what this belongs to"))
    await shared.world.slack.close("olive")

    assert "[I have it]" not in shown


def _told(stage: Stage, words: str) -> str:
    modal = stage.world.slack.modal("olive")
    return modal.visible_text if modal and words in modal.visible_text else ""


@pytest.mark.parametrize("action_id", [each for each in ON_REQUESTS if each not in {offers.UNDO, offers.REVEAL}])
async def test_what_is_over_is_not_moved_by_buttons_of_other_moments(
    shared: Stage, done: Request, action_id: str
) -> None:
    """S8: whether a button may do something is read from the row, not from the message it stood in."""
    async with nothing_done(shared):
        answer = await press(shared, "olive", action_id, done.id)

    assert answer
    assert await as_left(shared, done) == done


async def test_what_has_no_inverse_is_not_undone(shared: Stage, done: Request) -> None:
    """S8."""
    async with nothing_done(shared):
        assert "This cannot be undone" in await press(shared, "olive", offers.UNDO, done.id)


@pytest.mark.parametrize("action_id", [each for each in ON_REQUESTS if each not in {offers.UNDO, offers.REVEAL}])
async def test_another_persons_request_is_not_theirs_to_press(shared: Stage, done: Request, action_id: str) -> None:
    """S8: not even a tenant admin's. It is written down."""
    before = len(await records(shared, "press.refused", user="U0ANA00001", did=action_id))
    async with nothing_done(shared):
        answer = await press(shared, "ana", action_id, done.id)

    assert "Olive Hart asked for this, so only Olive Hart can do that" in answer
    assert len(await records(shared, "press.refused", user="U0ANA00001", did=action_id)) == before + 1


async def test_the_switches_of_the_home_tab_take_no_orders_from_their_value(shared: Stage) -> None:
    """S8: which switch it is says the action id, whose it is the record."""
    before = len(shared.world.slack.ephemerals("olive"))
    async with nothing_done(shared):
        forged = a_press(home.EXTEND, '{"hours": 10000}', trigger=trigger())
        await shared.world.slack.deliver("interactive", forged)
        said = await shared.until(lambda: shared.world.slack.ephemerals("olive")[before:])

    assert "The management session is on until" in said[0].visible_text
    assert (await the_only(shared, "olive")).inputs == {}


# --- what there is no button for -----------------------------------------------------------------------


@pytest.mark.parametrize("action_id", ["approve", "request.approve", "v0:request.undo", "mode.switch", "request.undo "])
async def test_a_button_of_another_deployment_is_refused_in_words(shared: Stage, done: Request, action_id: str) -> None:
    """S8: old cards stay in channels for years."""
    async with nothing_done(shared):
        answer = await press(shared, "olive", action_id, done.id)

    assert "belongs to another version of Latchkey, so nothing was done" in answer


@pytest.mark.parametrize("callback", ["request.form.v0", "approve", ""])
async def test_a_form_of_another_deployment_is_refused_in_words(shared: Stage, done: Request, callback: str) -> None:
    """S8."""
    async with nothing_done(shared):
        delivery = await shared.world.slack.deliver(
            "interactive", a_submission(done.id, view={"callback_id": callback, "hash": callback or "none"})
        )

    assert "belongs to another version of Latchkey, so nothing was done" in json.dumps(delivery.ack.body)


async def test_a_request_about_an_action_that_no_longer_exists_goes_nowhere(shared: Stage, done: Request) -> None:
    """S8: a row of an older version, with everything that its buttons could need."""
    old = replace(
        done,
        id="f" * 32,
        version=0,
        action="delete-user",
        command="/m365 delete-user",
        state=RequestState.FAILED,
        answer={"again": True},
        origin=Origin(done.origin.channel),
    )
    await shared.bot.storage.requests.add(old)
    async with nothing_done(shared):
        answer = await press(shared, "olive", offers.TRY_AGAIN, old.id)

    assert "You may not use `/m365 delete-user`" in answer or "no action" in answer


# --- forms -------------------------------------------------------------------------------------------


async def test_a_form_that_names_another_persons_request_is_refused(shared: Stage) -> None:
    """S8: an edited `private_metadata`."""
    async with a_form(shared, "ana") as anas:
        async with nothing_done(shared):
            delivery = await shared.world.slack.deliver("interactive", a_submission(anas.id, view={"hash": "edited"}))

        assert "Ana Ruiz asked for this" in json.dumps(delivery.ack.body)
        assert await as_left(shared, anas) == anas
    assert await records(shared, "press.refused", user="U0OLIVE001", did="request.form")


async def test_a_search_under_another_persons_request_finds_nobody(shared: Stage) -> None:
    """S8: its rights are not lent to who edits the form."""
    async with a_form(shared, "ana") as anas:
        search = {**a_submission(anas.id), "type": "block_suggestion", "action_id": form.FIND_PERSON, "value": "adele"}
        delivery = await shared.world.slack.deliver("interactive", search)

    assert "Vance" not in json.dumps(delivery.ack.body)
    assert "option_groups" in (delivery.ack.body or {})


async def test_another_persons_form_is_not_closed_for_them(shared: Stage) -> None:
    """S8."""
    async with a_form(shared, "ana") as anas:
        forged = {**a_submission(anas.id, view={"id": anas.form, "hash": "closing"}), "type": "view_closed"}
        await shared.world.slack.deliver("interactive", forged)

        assert (await as_left(shared, anas)).state is RequestState.AWAITING_CONFIRMATION


@pytest.mark.parametrize(
    "about",
    ["", "0" * 32, "adele@contoso.com", '{"action": "reset-password"}', ["f" * 32], {"id": 1}, 5, None],
    ids=str,
)
async def test_a_form_about_nothing_is_answered_in_words(shared: Stage, about: Any) -> None:
    """S8."""
    async with nothing_done(shared):
        delivery = await shared.world.slack.deliver(
            "interactive", a_submission(about, view={"hash": f"about {about!r}".encode("ascii", "replace").decode()})
        )

    assert "does not know what this belongs to" in json.dumps(delivery.ack.body)


STATES: dict[str, Any] = {
    "no state": None,
    "no values": {},
    "a list": {"values": []},
    "a word": {"values": "verified"},
    "blocks that are words": {"values": {"reason": "x", "verified": "y"}},
    "elements that are words": {"values": {"reason": {"form.value": "x"}, "verified": {"form.value": 5}}},
    "values of other kinds": {
        "values": {
            "reason": {"form.value": {"type": "plain_text_input", "value": ["x"]}},
            "verified": {"form.value": {"type": "static_select", "selected_option": "called back"}},
            "target": {"form.find_person": {"type": "external_select", "selected_option": {"value": {"id": 1}}}},
        }
    },
    "endless ones": {
        "values": {
            "reason": {"form.value": {"type": "plain_text_input", "value": "r" * 100_000}},
            "verified": {"form.value": {"type": "static_select", "selected_option": {"value": "v" * 100_000}}},
        }
    },
    "fields nobody asked for": {
        "values": {"input:role": {"x": {"value": "tenant-admin"}}, "ticket": {"x": {"value": "1"}}}
    },
}


@pytest.mark.parametrize("given", STATES.values(), ids=STATES.keys())
async def test_a_form_filled_with_anything_runs_nothing(shared: Stage, given: Any) -> None:
    """S8: sending it off only previews, whatever is in it, and never stumbles."""
    async with a_form(shared) as request:
        async with nothing_done(shared):
            delivery = await shared.world.slack.deliver(
                "interactive", a_submission(request.id, view={"id": request.form, "hash": "odd", "state": given})
            )
            await as_left(shared, request)

        assert delivery.ack.body is not None
        assert delivery.ack.body["response_action"] in {"errors", "update"}


async def test_the_button_runs_nothing_while_something_that_is_demanded_is_missing(shared: Stage) -> None:
    """S8: Slack does not hold back a press as it holds back a submission; we do."""
    async with a_form(shared) as request:
        async with nothing_done(shared):
            await shared.world.slack.click("olive", "modal", RESET)
            await shared.until(lambda: _told(shared, "Say how you made sure who is calling"))

        assert (await as_left(shared, request)).state is RequestState.AWAITING_CONFIRMATION


def _state(**values: str) -> dict[str, Any]:
    """A form's state: the reason, the verification, and a person chosen from the list."""
    elements: dict[str, Any] = {
        "reason": {"form.value": {"type": "plain_text_input", "value": values.get("reason", "locked out")}},
        "verified": {"form.value": {"type": "static_select", "selected_option": {"value": "called back"}}},
    }
    if "target" in values:
        chosen = {"value": values["target"], "text": {"type": "plain_text", "text": "x"}}
        elements["target"] = {form.FIND_PERSON: {"type": "external_select", "selected_option": chosen}}
    return {"values": elements}


def _press_in_form(request: Request, action_id: str, value: str, state: dict[str, Any]) -> dict[str, Any]:
    view = a_submission(request.id, view={"id": request.form, "state": state})["view"]
    pressed = a_press(action_id, value, trigger=trigger(), view=view, channel=None)
    pressed["container"] = {"type": "view", "view_id": request.form}
    return pressed


async def test_whom_the_button_names_is_whom_it_hits_whatever_the_form_was_made_to_hold(shared: Stage) -> None:
    """S8: the form names Adele; its state was edited to hold somebody else."""
    directory = shared.world.directory
    lee, adele = directory.user("lee"), directory.user("adele")
    before = len(shared.world.slack.messages(HELPDESK))
    async with a_form(shared) as request:
        forged = _press_in_form(request, form.RUN, request.id, _state(target=lee.id))
        await shared.world.slack.deliver("interactive", forged)
        await shared.card(before, "was reset")

    assert directory.user("lee").password_changed == lee.password_changed
    assert directory.user("adele").password_changed > adele.password_changed
    shared.world.clock.advance(16 * 60)  # the same again would be asked about


async def test_a_list_in_a_form_that_has_run_moves_nothing(shared: Stage, done: Request) -> None:
    """S8: a window left open in another browser, or a replayed choice, after the request is over."""
    lee = shared.world.directory.user("lee").id
    async with nothing_done(shared):
        forged = _press_in_form(done, form.FIND_PERSON, lee, _state())
        forged["actions"][0]["selected_option"] = {"value": lee}
        await shared.world.slack.deliver("interactive", forged)

        assert await as_left(shared, done) == done


@pytest.mark.parametrize("chosen", ["adele", "../users", "x' or 1 eq 1", "none", ""])
async def test_a_choice_that_was_not_on_the_list_chooses_nobody(shared: Stage, chosen: str) -> None:
    """S8: the block that names the request was not edited, the option was."""
    before = len(shared.world.slack.ephemerals("olive"))
    await shared.world.slack.command("olive", HELPDESK, "/m365 show-user smith")
    await shared.until(lambda: shared.world.slack.ephemerals("olive")[before:])
    request = await the_only(shared, "olive")
    async with nothing_done(shared):
        answer = await press(
            shared,
            "olive",
            offers.CHOOSE,
            chosen,
            actions=[
                {
                    "type": "static_select",
                    "action_id": offers.CHOOSE,
                    "block_id": request.id,
                    "selected_option": {"value": chosen},
                }
            ],
        )

    assert "Choose somebody from the list" in answer
    assert await as_left(shared, request) == request


async def test_a_choice_in_another_persons_question_is_refused(shared: Stage) -> None:
    """S8: the block id was swapped."""
    before = len(shared.world.slack.ephemerals("olive"))
    await shared.world.slack.command("olive", HELPDESK, "/m365 show-user smith")
    await shared.until(lambda: shared.world.slack.ephemerals("olive")[before:])
    request = await the_only(shared, "olive")
    john = shared.world.directory.user("john.smith").id

    answer = await press(
        shared,
        "ana",
        offers.CHOOSE,
        john,
        actions=[
            {
                "type": "static_select",
                "action_id": offers.CHOOSE,
                "block_id": request.id,
                "selected_option": {"value": john},
            }
        ],
    )

    assert "Olive Hart asked for this" in answer
    assert await as_left(shared, request) == request


# --- the same twice ------------------------------------------------------------------------------------


async def test_two_quick_presses_of_the_button_are_one_reset(shared: Stage) -> None:
    """S8: two payloads of their own, as from a double click."""
    writes, before = len(shared.world.graph.writes()), len(shared.world.slack.messages(HELPDESK))
    async with a_form(shared) as request:
        twice = [_press_in_form(request, form.RUN, request.id, _state()) for _ in range(2)]
        await asyncio.gather(*(shared.world.slack.deliver("interactive", each) for each in twice))
        await shared.card(before, "was reset")
        await as_left(shared, request)

    assert len(shared.world.graph.writes()) == writes + 1
    assert len(shared.world.slack.messages(HELPDESK)) == before + 1
    shared.world.clock.advance(16 * 60)


async def test_two_people_who_undo_at_once_undo_once(shared: Stage) -> None:
    """S8: whoever is second is told."""
    slack, before = shared.world.slack, len(shared.world.slack.messages(HELPDESK))
    await slack.command("ana", HELPDESK, '/m365 block-sign-in alex@contoso.com --reason "lost his laptop"')
    card = await shared.card(before, "was blocked")
    writes = len(shared.world.graph.writes())

    await asyncio.gather(slack.click("ana", card, "Undo"), slack.click("bo", card, "Undo"))
    await shared.card(before, "was unblocked")
    await as_left(shared, await the_only(shared, "ana"))

    assert len(shared.world.graph.writes()) == writes + 1
    assert shared.world.directory.user("alex").enabled
    said = [message.visible_text for who in ("ana", "bo") for message in slack.ephemerals(who)[-1:]]
    assert any("undone already" in text or "Somebody else was first" in text for text in said), said


async def test_a_secret_asked_for_twice_at_once_is_shown_once(shared: Stage) -> None:
    """S8: in one window; the other says that it is over."""
    slack, before = shared.world.slack, len(shared.world.slack.messages(HELPDESK))
    async with a_form(shared):
        await slack.choose("olive", "modal", "How was the caller verified?", "In person")
        await slack.click("olive", "modal", RESET)
        card = await shared.card(before, "[Reveal once]")
    await asyncio.gather(slack.click("olive", card, "Reveal once"), slack.click("olive", card, "Reveal once"))
    password = shared.world.directory.password_of("adele")

    def shown() -> list[Record]:
        return [each for each in slack.history if each.kind == "modal" and password in json.dumps(each.content)]

    await shared.until(shown)
    await as_left(shared, await the_only(shared, "olive"))

    assert len(shown()) == 1
