"""Strangers, guests, bots and people who left are refused wherever they click, and told whom to ask."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bot.errors import CannotTell
from bot.model import RequestState
from handlers.gestures import Gesture, Kind
from handlers.identity import READS, NotOneOfUs, People
from sandbox.faults import Answer, Rule
from tests.handlers.stage import SUPPORT, TEAM, Stage
from tests.handlers.test_buttons import blocked, card
from tests.handlers.test_forms import filled, opened

OUTSIDERS: dict[str, dict[str, Any]] = {
    "a guest": {"is_restricted": True},
    "a single-channel guest": {"is_ultra_restricted": True},
    "a deactivated person": {"deleted": True},
    "a bot": {"is_bot": True},
    "a stranger": {"is_stranger": True, "team_id": "T0PARTNER0"},
    "somebody Slack does not call a stranger": {"is_stranger": False, "team_id": "T0PARTNER0"},
}

Deed = Callable[[Stage], Awaitable[Any]]


async def types(stage: Stage) -> None:
    await stage.people.command("nina", "#helpdesk", "/m365 show-user adele@contoso.com")


async def presses(stage: Stage) -> None:
    await blocked(stage)
    message = await card(stage)
    await stage.people.click("nina", message, "Undo")


async def submits(stage: Stage) -> None:
    await _in_olives_form(stage, "view_submission")


async def searches(stage: Stage) -> None:
    await _in_olives_form(stage, "block_suggestion")


async def opens_home(stage: Stage) -> None:
    await stage.people.open_home("nina")


async def _in_olives_form(stage: Stage, kind: str) -> None:
    """Nina sends what only somebody with Olive's form before them can send."""
    await filled(stage, await opened(stage))
    await stage.people.fill("olive", {"verified": "in person"})
    delivery = await stage.people.submit("olive")
    nina = stage.people.person("nina")
    forged = {
        **delivery.payload,
        "type": kind,
        "user": {"id": nina.id, "team_id": nina.team_id},
        "action_id": "form.find_person",
        "value": "adele",
    }
    if kind == "block_suggestion":
        forged["team"] = {"id": TEAM}
    forged["view"] = {**forged["view"], "hash": "another"}
    await stage.people.deliver("interactive", forged)


CASES: list[Any] = [
    pytest.param(changes, does, id=f"{who} {does.__name__}")
    for who, changes in OUTSIDERS.items()
    for does in (types, presses, submits, searches, opens_home)
    if not (does is types and "team_id" in changes)  # Slack does not offer our commands to other workspaces
]


@pytest.mark.parametrize(("changes", "does"), CASES)
async def test_who_is_not_one_of_us_gets_nothing_done(stage: Stage, changes: dict[str, Any], does: Deed) -> None:
    await stage.people.change_person("nina", **changes)

    await does(stage)
    await stage.settled()

    assert not [request for request in await stage.rows() if request.slack.user == "U0NINA0001"]
    assert RequestState.READY not in {request.state for request in await stage.rows()}
    if does in (types, presses):
        answer = await stage.people.until(lambda: stage.people.ephemerals("nina")[-1])
        assert SUPPORT in answer.visible_text
        assert [row["facts"]["user"] for row in await stage.audited("identity.refused")] == ["U0NINA0001"]
    if does is submits:
        body = stage.people.deliveries[-1].ack.body
        assert body is not None
        assert SUPPORT in str(body)
        assert body["response_action"] == "update"
    if does is searches:
        body = stage.people.deliveries[-1].ack.body
        assert body is not None
        assert "Adele" not in str(body)
    if does is opens_home:
        home = stage.people.home("nina")
        assert home is not None
        assert SUPPORT in home.visible_text
        assert "reset-password" not in home.visible_text


async def test_a_press_without_a_team_of_the_person_is_refused(stage: Stage) -> None:
    await blocked(stage)
    press = await stage.people.click("olive", await card(stage), "Undo", value="x")
    user = {"id": "U0OLIVE001"}

    await stage.people.deliver("interactive", {**press.payload, "trigger_id": "no.team", "user": user})
    await stage.settled()

    assert stage.worker.woken == []
    assert [row["facts"]["why"] for row in await stage.audited("identity.refused")] == ["other_team"]


async def test_a_submission_without_a_team_of_the_person_counts_for_the_team_it_names(stage: Stage) -> None:
    stage.people.names_team_in_submissions = False
    request = await filled(stage, await opened(stage))
    await stage.people.fill("olive", {"verified": "in person"})

    await stage.people.submit("olive")

    assert (await stage.now(request)).state is RequestState.RECEIVED


async def test_somebody_deactivated_a_moment_ago_is_refused_at_the_next_press(stage: Stage) -> None:
    await blocked(stage)
    message = await card(stage)
    await stage.people.command("ana", "#helpdesk", "/m365 help")
    await stage.settled()
    await stage.people.change_person("ana", deleted=True)
    await stage.settled()

    await stage.people.click("ana", message, "Undo")
    await stage.settled()

    assert [request.action for request in await stage.rows()] == ["block-sign-in", "help"]


def pressing(user: str) -> Gesture:
    return Gesture(Kind.PRESS, "x", user, TEAM)


async def test_what_slack_said_counts_for_as_long_as_the_use_allows(stage: Stage) -> None:
    people = People(stage.slack, stage.clock, stage.installed, SUPPORT)
    asked_before = len(stage.people.calls("users.info"))
    await people.check(pressing("U0OLIVE001"), READS)
    await people.check(pressing("U0OLIVE001"), READS)
    assert len(stage.people.calls("users.info")) - asked_before == 1

    stage.workspace.clock.advance(READS.total_seconds() + 1)
    await people.check(pressing("U0OLIVE001"), READS)

    assert len(stage.people.calls("users.info")) - asked_before == 2


async def test_many_gestures_at_once_ask_slack_once(stage: Stage) -> None:
    asked_before = len(stage.people.calls("users.info"))

    await asyncio.gather(*(stage.people.command("olive", "#helpdesk", "/m365 help") for _ in range(20)))
    await stage.settled()

    assert len(await stage.rows()) == 20
    assert len(stage.people.calls("users.info")) - asked_before == 1


async def test_a_slack_that_does_not_answer_vouches_for_nobody(stage: Stage) -> None:
    people = People(stage.slack, stage.clock, stage.installed, SUPPORT)
    stage.workspace.faults.add(Rule("slack", "*", "/users.info", Answer(500)))

    with pytest.raises(CannotTell, match="nothing was done"):
        await people.check(pressing("U0OLIVE001"), READS)


async def test_the_bot_does_not_listen_to_itself(stage: Stage) -> None:
    people = People(stage.slack, stage.clock, stage.installed, SUPPORT)

    with pytest.raises(NotOneOfUs, match=r"Apps and workflows.*4711"):
        await people.check(pressing(stage.people.bot_user), READS)
