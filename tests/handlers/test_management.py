"""The management box: for those who decide about Latchkey and nobody else; nothing in it changes anything by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot import approvals
from bot.model import Author, IdentityKind, Mode, RequestState, Session, SessionState, SlackUser
from handlers.views import management
from sandbox.slack.blocks import Surface, check_view
from sandbox.slack.model import Delivery
from tests.handlers.stage import ANA, BO, HELPDESK, OLIVE, TEAM, Stage, a_stage

SHELL = Author(login="root")
OPENS = "Auto-enable (Advanced mode)"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """With two tenant admins, of whom Bo is the second."""
    async with a_stage(tmp_path, reporting=False) as stage:
        operator = await stage.operators.bind(
            BO, account_id="a0000000-0000-4000-8000-000000000009", upn="bo@contoso.com", name="Bo Lind", by=SHELL
        )
        assert operator.name == "Bo Lind"
        await stage.operators.grant(BO, "tenant-admin", by=SHELL, reason="a test")
        yield stage


async def home_of(stage: Stage, person: str) -> str:
    view = await stage.people.open_home(person)
    assert view is not None
    return view.visible_text


def window(stage: Stage, person: str) -> str:
    view = stage.people.modal(person)
    return view.visible_text if view else ""


async def told(stage: Stage, person: str, words: str) -> str:
    """What the window of this person says, once *words* stand in it."""
    await stage.people.until(lambda: words in window(stage, person))
    return window(stage, person)


async def bo_changes(stage: Stage, **changes: Any) -> None:
    by = Author(stage.operators.rights(BO, "/m365-mode").operator.id)  # type: ignore[union-attr]
    await stage.settings.change(replace(await stage.settings.current(), **changes), by=by, reason="a test")


async def test_before_anything_is_set_up_the_box_is_where_an_admin_is_sent(stage: Stage) -> None:
    stage.session.current = Session(0, Mode.NONE, SessionState.OFF)

    assert "not set up yet. Choose a mode below and press *Save*." in await home_of(stage, "ana")
    assert "not set up yet. Ask" in await home_of(stage, "olive")


async def forged(stage: Stage, pressed: Delivery, who: SlackUser, number: int = 1) -> None:
    """Deliver a press once more, as if somebody else had done it."""
    payload = deepcopy(dict(pressed.payload))
    payload["user"] = {**payload["user"], "id": who.user, "team_id": who.team}
    payload["trigger_id"] = f"9.9.forged{number}"
    await stage.people.deliver("interactive", payload)
    await stage.settled()


# --- What it shows --------------------------------------------------------------------------------------------------


async def test_only_who_decides_about_latchkey_sees_the_box(stage: Stage) -> None:
    for person, sees_it in (("ana", True), ("bo", True), ("olive", False), ("audrey", False), ("vic", False)):
        text = await home_of(stage, person)
        for words in ("Management\n", "[Save]", "Identities", "Operators and what they hold", "Bo Lind"):
            assert (words in text) is sees_it, (person, words)

    await stage.operators.revoke(BO, "tenant-admin", by=SHELL, reason="a test")

    assert "[Save]" not in await home_of(stage, "bo")


async def test_the_box_tells_how_the_identities_are_and_who_holds_what(stage: Stage) -> None:
    account = {"identity_kind": IdentityKind.SERVICE_ACCOUNT, "identity_id": "i", "identity_name": "svc@contoso.com"}
    await bo_changes(stage, **account, work_channels=(HELPDESK,))
    stage.session.current = Session(1, Mode.ADVANCED, SessionState.DEGRADED, why="The password is wrong.")
    stage.health.wrong = "Microsoft refused it."

    text = await home_of(stage, "ana")

    assert "svc@contoso.com (service account). It could not sign in: The password is wrong." in text
    assert "Bot identity: Microsoft refused it." in text
    assert "Work channels: #helpdesk" in text
    assert "Vic Moss (no Microsoft account linked): viewer" in text.replace("*", "")


async def test_of_many_operators_twenty_are_listed_and_the_rest_is_counted(stage: Stage) -> None:
    for number in range(29):
        user = SlackUser(TEAM, f"U0MANY{number:04}")
        await stage.operators.bind(user, account_id=None, upn=None, name=f"Many {number:02}", by=SHELL)
        await stage.operators.grant(user, "viewer", by=SHELL, reason="a test")

    view = await stage.people.open_home("ana")

    assert view is not None
    assert "(34)" in view.visible_text
    assert "and 14 more: `/m365-roles who`" in view.visible_text
    assert check_view(dict(view.definition), Surface.HOME) == []


# --- Save -----------------------------------------------------------------------------------------------------------


async def test_saving_changes_nothing_but_asks_for_the_switch_in_a_form(stage: Stage) -> None:
    before = await stage.settings.current()
    await home_of(stage, "ana")
    await stage.people.choose("ana", "home", "Mode", "Default")
    await stage.people.choose("ana", "home", OPENS, False)

    await stage.people.click("ana", "home", "Save")

    await told(stage, "ana", "Reason")
    await stage.settled()
    asked = await stage.only_row()
    assert (asked.action, asked.command, dict(asked.inputs)) == (
        management.SWITCH,
        "/m365-mode",
        {"to": "default", "auto_enable": "off"},
    )
    assert asked.state is RequestState.RECEIVED  # the runner looks at it, and the form shows what would change
    assert asked.form is not None
    assert await stage.settings.current() == before


async def test_who_saves_what_was_drawn_before_somebody_else_s_change_is_told_what_changed(stage: Stage) -> None:
    await home_of(stage, "ana")
    await bo_changes(stage, mode=Mode.DEFAULT)
    await stage.people.choose("ana", "home", "Mode", "Default")

    await stage.people.click("ana", "home", "Save")

    text = await told(stage, "ana", "Bo Lind changed this")
    assert "mode: advanced → default" in text
    assert await stage.rows() == []
    await stage.people.close("ana")
    # Her Home tab was drawn anew, so that a second look is one at how it is now.
    await stage.people.choose("ana", "home", "Mode", "Advanced")
    await stage.people.click("ana", "home", "Save")
    await told(stage, "ana", "Reason")
    await stage.settled()
    assert (await stage.only_row()).inputs["to"] == "advanced"


async def test_who_saves_while_another_switch_waits_is_told_whose_it_is(stage: Stage) -> None:
    now = stage.clock.now()
    await home_of(stage, "ana")
    await stage.have(
        slack=BO,
        action=management.SWITCH,
        command="/m365-mode",
        inputs={"to": "default"},
        state=RequestState.AWAITING_APPROVAL,
        approval=approvals.ask("d", "Somebody else has to approve this.", HELPDESK, now),
    )
    await stage.people.choose("ana", "home", "Mode", "Default")

    await stage.people.click("ana", "home", "Save")

    assert "nothing was asked for a second time" in await told(stage, "ana", "Bo Lind asked")
    assert len(await stage.rows()) == 1


async def test_saving_what_is_so_already_asks_for_nothing(stage: Stage) -> None:
    await home_of(stage, "ana")

    await stage.people.click("ana", "home", "Save")

    await told(stage, "ana", "It is so already")
    assert await stage.rows() == []


# --- Forged ---------------------------------------------------------------------------------------------------------


async def test_a_save_that_was_forged_or_came_too_late_is_refused_and_audited(stage: Stage) -> None:
    await home_of(stage, "ana")
    await stage.people.choose("ana", "home", "Mode", "Default")
    saved = await stage.people.click("ana", "home", "Save")
    await stage.settled()

    await forged(stage, saved, OLIVE)
    await stage.operators.revoke(BO, "tenant-admin", by=SHELL, reason="a test")
    await forged(stage, saved, BO, 2)

    by_ana, by_olive, by_bo = await stage.rows()
    assert by_ana.state is RequestState.RECEIVED
    assert {by_olive.state, by_bo.state} == {RequestState.REFUSED}
    refused = await stage.audited("request.refused")
    assert [(each["facts"]["user"], each["facts"]["command"]) for each in refused] == [
        (OLIVE.user, "/m365-mode"),
        (BO.user, "/m365-mode"),
    ]
    assert stage.worker.woken == [by_ana.id]


async def test_the_other_buttons_are_decided_at_the_press_too(stage: Stage) -> None:
    await home_of(stage, "ana")
    for number, (label, action) in enumerate((("Change settings …", "change-settings"), ("Grant …", "grant-role"))):
        pressed = await stage.people.click("ana", "home", label)
        await stage.people.until(lambda: stage.people.modal("ana"))
        await stage.settled()
        await stage.people.close("ana")
        await forged(stage, pressed, OLIVE, number)

        by_ana, by_olive = (await stage.rows())[-2:]
        assert by_ana.action == by_olive.action == action
        assert by_ana.state is not RequestState.REFUSED
        assert by_olive.state is RequestState.REFUSED
    assert len(await stage.audited("request.refused")) == 2


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"management.mode:x": {}},
        {"management.mode:1": []},
        {"management.mode:1": {"management.value": {"selected_option": {"value": "none"}}}},
        {"management.mode:99999999999999999999": {"management.value": {"selected_option": {"value": "default"}}}},
        {
            "management.mode:999": {"management.value": {"selected_option": {"value": "default"}}},
            "management.auto:999": {"management.value": {"selected_options": []}},
        },
    ],
    ids=["nothing", "no version", "no fields", "another mode", "endless", "a version to come"],
)
async def test_a_box_of_another_shape_asks_for_nothing(stage: Stage, values: dict[str, Any]) -> None:
    await home_of(stage, "ana")
    saved = await stage.people.click("ana", "home", "Save")
    await told(stage, "ana", "It is so already")
    payload = deepcopy(dict(saved.payload))
    payload["view"]["state"] = {"values": values}
    payload["trigger_id"] = "9.9.forged"

    delivery = await stage.people.deliver("interactive", payload)

    assert delivery.ack.status == "ok"
    await stage.settled()
    assert await stage.rows() == []


async def test_the_form_of_the_settings_begins_with_how_they_are(stage: Stage) -> None:
    await bo_changes(stage, work_channels=(HELPDESK,), reason_required=False)
    await home_of(stage, "ana")

    await stage.people.click("ana", "home", "Change settings …")

    await told(stage, "ana", "Work channels")
    await stage.settled()
    view = stage.people.modal("ana")
    assert view is not None
    state = view.values
    assert state["input:work_channels"]["form.value"]["selected_conversations"] == [HELPDESK]
    assert state["input:reason_required"]["form.value"]["selected_option"]["value"] == "off"
    assert state["input:idle_minutes"]["form.value"]["value"] == "30"
    assert state["input:rotation_hours"]["form.value"]["value"] == "10:00-15:00"
    assert ANA.user in {request.slack.user for request in await stage.rows()}


async def test_so_it_does_when_it_is_typed_but_for_what_was_typed(stage: Stage) -> None:
    await bo_changes(stage, work_channels=(HELPDESK,), rotation_days=14, rotation_weekdays="mon, wed")

    await stage.people.command("ana", "#helpdesk", "/m365-mode settings --any-channel yes --idle-minutes 15")

    await told(stage, "ana", "Work channels")
    await stage.settled()
    view = stage.people.modal("ana")
    assert view is not None
    state = view.values
    assert not state["input:work_channels"]["form.value"]["selected_conversations"]
    shown = {name: state[f"input:{name}"]["form.value"]["value"] for name in ("idle_minutes", "absolute_minutes")}
    assert shown == {"idle_minutes": "15", "absolute_minutes": "480"}
    rotation = [state[f"input:rotation_{name}"]["form.value"]["value"] for name in ("days", "weekdays", "hours")]
    assert rotation == ["14", "mon, wed", "10:00-15:00"]
