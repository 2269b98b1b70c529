"""What is typed becomes one request, or a sentence to the person who typed it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.model import Author, RequestState
from handlers.commands import COMMANDS, held_as
from sandbox.faults import Answer, Rule
from tests.handlers.stage import OLIVE, Stage

SHELL = Author(login="root")


async def test_a_complete_change_becomes_a_request_and_wakes_the_worker(stage: Stage) -> None:
    typed = '/m365 unblock-sign-in adele@contoso.com --reason "back from leave"'
    delivery = await stage.people.command("olive", "#helpdesk", typed)
    await stage.settled()

    request = await stage.only_row()
    assert delivery.ack.body is None
    assert (request.action, request.typed, request.reason) == (
        "unblock-sign-in",
        "adele@contoso.com",
        "back from leave",
    )
    assert (request.command, request.state) == ("/m365 unblock-sign-in", RequestState.RECEIVED)
    assert (request.slack, request.origin.channel) == (OLIVE, "C0HELPDESK")
    assert stage.worker.woken == [request.id]
    assert await stage.inbox.open() == []


@pytest.mark.parametrize(
    ("who", "typed", "action", "command"),
    [
        ("olive", "/m365 help", "help", "/m365 help"),
        ("olive", "/m365", "help", "/m365 help"),
        ("olive", "/m365 can reset-password adele@contoso.com", "can", "/m365 can"),
        ("olive", "/m365 show-user adele", "show-user", "/m365 show-user"),
        ("olive", "/m365-session", "session-status", "/m365-session status"),
        ("olive", "/m365-session on", "session-on", "/m365-session on"),
        ("audrey", "/m365-audit adele@contoso.com --since 7d", "audit", "/m365-audit"),
    ],
)
async def test_everything_typed_becomes_a_request(
    stage: Stage, who: str, typed: str, action: str, command: str
) -> None:
    await stage.people.command(who, "#helpdesk", typed)
    await stage.settled()

    request = await stage.only_row()
    assert (request.action, request.command, request.state) == (action, command, RequestState.RECEIVED)
    assert stage.worker.woken == [request.id]


@pytest.mark.parametrize(
    ("who", "typed", "said"),
    [
        ("nina", "/m365 show-user adele@contoso.com", "Ana Ruiz"),
        ("vic", "/m365 reset-password adele@contoso.com", "Ana Ruiz"),
        ("olive", "/m365-audit", "Ana Ruiz"),
        ("audrey", "/m365 reset-password adele@contoso.com", "Olive Hart"),
    ],
)
async def test_who_may_not_is_told_why_in_private_whom_to_ask_and_that_is_audited(
    stage: Stage, who: str, typed: str, said: str
) -> None:
    await stage.people.command(who, "#helpdesk", typed)

    answer = await stage.people.until(lambda: stage.people.ephemerals(who)[-1])
    request = await stage.only_row()
    assert said in answer.visible_text
    assert request.state is RequestState.REFUSED
    assert stage.worker.woken == []
    assert stage.people.messages("#helpdesk") == []
    assert [row["request"] for row in await stage.audited("request.refused")] == [request.id]


async def test_a_revoked_grant_counts_at_the_very_next_command(stage: Stage) -> None:
    await stage.operators.revoke(OLIVE, "operator", by=SHELL, reason="left the desk")

    await stage.people.command("olive", "#helpdesk", "/m365 show-user adele@contoso.com")
    await stage.settled()

    assert (await stage.only_row()).state is RequestState.REFUSED


@pytest.mark.parametrize(
    "typed",
    [
        "/m365 no-such-action adele@contoso.com",
        "/m365 reset-password --nonsense x",
        "/m365-session sideways",
        "/m365-audit --since yesterday",
        "/m365 undo",
        "/m365 undo 0123456789abcdef0123456789abcdef",
    ],
)
async def test_what_cannot_be_understood_gets_a_sentence_and_changes_nothing(stage: Stage, typed: str) -> None:
    await stage.people.command("olive", "#helpdesk", typed)

    answer = await stage.people.until(lambda: stage.people.ephemerals("olive")[-1])
    request = await stage.only_row()
    assert request.state is RequestState.REFUSED
    assert request.sentence
    assert request.sentence.replace("`", "") in answer.visible_text.replace("`", "")
    assert stage.worker.woken == []


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300), st.sampled_from(COMMANDS))
def _any_text(text: str, command: str) -> None:
    _TEXTS.append(f"{command} {text}")


_TEXTS: list[str] = []


async def test_no_text_after_a_command_makes_the_bot_stumble(stage: Stage) -> None:
    _any_text()
    for typed in _TEXTS:
        delivery = await stage.people.command("olive", "#helpdesk", typed)
        assert delivery.ack.status == "ok"
    await stage.settled()

    rows = await stage.rows()
    assert len(rows) == len(_TEXTS)
    assert all(request.sentence for request in rows if request.state is RequestState.REFUSED)
    assert not [answer for answer in stage.people.ephemerals("olive") if "our side" in answer.visible_text]


async def test_the_same_delivery_twice_is_one_request(stage: Stage) -> None:
    delivery = await stage.people.command("olive", "#helpdesk", "/m365 show-user adele")
    await stage.people.redeliver(delivery)
    await stage.settled()

    assert len(await stage.rows()) == 1
    assert len(stage.worker.woken) == 1


async def test_who_slack_cannot_vouch_for_is_told_to_try_again_and_nothing_is_done(stage: Stage) -> None:
    stage.workspace.faults.add(Rule("slack", "*", "/users.info", Answer(503, {"ok": False}), times=1))

    await stage.people.command("olive", "#helpdesk", "/m365 show-user adele")

    answer = await stage.people.until(lambda: stage.people.ephemerals("olive")[-1])
    assert "does not confirm who you are" in answer.visible_text
    assert await stage.rows() == []


def test_every_word_is_held_as_a_command_of_its_own() -> None:
    assert held_as("reset-password") == "/m365 reset-password"
    assert held_as("session-off") == "/m365-session off"
    assert held_as("audit") == "/m365-audit"
