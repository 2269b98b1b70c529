"""Alerts as people meet them in Slack: the card and its thread, who may press what, and where it goes if it cannot
stand where it should."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.alerts import Means, raised
from bot.model import Author, RequestState, ScopeOp, ScopeRule, Severity, Trouble
from handlers.views.alert import lasted
from handlers.views.blocks import Said
from handlers.views.messages import NOTICES
from handlers.views.wording import Known
from sandbox.slack.model import Message
from sandbox.slack.reading import mentions
from tests.handlers.stage import ANA, AUDREY, BO, OLIVE, Stage, a_stage
from tests.handlers.test_blocks import NASTY
from tests.handlers.test_buttons import told
from tests.handlers.test_views import assert_slack_takes, reads

ALERTS = "#it-alerts"
LEEDS = ScopeRule(ScopeOp.ATTRIBUTE, attribute="officeLocation", values=("Leeds",))
STANDS = Trouble(
    "rotation",
    "r1",
    Severity.ATTENTION,
    "Rotation failed. Nothing is broken yet: the current password signs in.",
    "Key Vault did not answer when the new password was to be stored.",
    facts=(("Step that failed", "Storing the new password"), ("Signs in now", "the password of 24 Feb")),
    next_at=datetime(2026, 3, 3, 10, 40, tzinfo=UTC),
    offers=("retry", "roll-back"),
)
STOPS = replace(
    STANDS,
    severity=Severity.SESSIONS_STOP,
    headline="Sessions will stop: no stored password signs in.",
    offers=("retry", "reset"),
)


async def card(stage: Stage, says: str = "", channel: str = ALERTS) -> Message:
    """The last card of a channel, once it says this."""

    def last() -> Message:
        message = stage.people.messages(channel)[-1]
        if says not in message.visible_text:
            raise LookupError(says)
        return message

    return await stage.people.until(last)


async def thread(stage: Stage, lines: int) -> list[str]:
    """The thread under the last card, once it has so many lines."""

    def found() -> list[str] | None:
        said = [message.visible_text for message in stage.people.thread(stage.people.messages(ALERTS)[-1])]
        return said if len(said) >= lines else None

    lines_then = await stage.people.until(found)
    assert lines_then is not None
    return lines_then


async def test_the_card_says_what_failed_what_signs_in_and_what_comes_next(stage: Stage) -> None:
    await stage.alerts.raise_(STANDS)
    shown = await card(stage)

    for words in (
        "Attention:",
        "Nothing is broken yet: the current password signs in.",
        "Key Vault did not answer",
        "Storing the new password",
        "the password of 24 Feb",
        "Next try",
        "[Retry now]",
        "[Roll back]",
        "[Acknowledge]",
    ):
        assert words in shown.visible_text
    assert "Nothing is broken yet" in shown.text
    assert stage.people.mentions(shown) == ()


async def test_what_stops_sessions_calls_people_and_says_so_in_words(stage: Stage) -> None:
    await stage.alerts.raise_(STOPS)
    shown = await card(stage)

    assert set(stage.people.mentions(shown)) == {"!here"}
    assert "Sessions will stop: No stored password signs in." in plain(shown.visible_text)
    assert "[Reset with an administrator's sign-in]" in shown.visible_text


async def test_a_tenant_admin_acknowledges_and_the_card_says_who_and_when(stage: Stage) -> None:
    await stage.alerts.raise_(STANDS)
    shown = await card(stage)
    await stage.people.click("ana", shown, "Acknowledge")
    after = await card(stage, "Ana Ruiz acknowledged this")
    assert "[Acknowledge]" not in after.visible_text
    assert "[Retry now]" in after.visible_text

    assert "Ana Ruiz acknowledged this. It is not repeated" in (await thread(stage, 1))[0]
    (row,) = await stage.audited("alert.acknowledged")
    assert row["facts"]["headline"] == STANDS.headline


async def test_help_desk_is_refused_with_whom_to_ask_and_that_is_written_down(stage: Stage) -> None:
    await stage.alerts.raise_(STANDS)
    shown = await card(stage)
    for button, words in (
        ("Acknowledge", "You may not acknowledge alerts."),
        ("Retry now", "You may not use"),
        ("Roll back", "You may not use"),
    ):
        await stage.people.click("olive", shown, button)
        await stage.settled()
        await told(stage, "olive", words)
        await told(stage, "olive", "Ana Ruiz")

    assert [row["facts"]["user"] for row in await stage.audited("alert.refused")] == [OLIVE.user]
    assert len(await stage.audited("request.refused")) == 2
    (alert,) = await stage.alerts.open()
    assert (alert.acknowledged_at, dict(alert.asked)) == (None, {})


async def test_who_approves_acknowledges_and_retries_and_does_not_roll_back(stage: Stage) -> None:
    await stage.operators.grant(AUDREY, "approver", by=Author(login="root"), reason="a test")
    await stage.alerts.raise_(STANDS)
    await stage.people.click("audrey", await card(stage), "Retry now")
    await card(stage)
    assert "Audrey Shaw pressed Retry now" in plain((await thread(stage, 1))[0])
    await stage.people.click("audrey", await card(stage), "Acknowledge")
    await card(stage, "Audrey Shaw acknowledged this")
    await stage.people.click("audrey", await card(stage), "Roll back")
    await told(stage, "audrey", "Ana Ruiz")

    kept = [(row.action, row.command, row.state) for row in await stage.rows()]
    assert kept == [
        ("rotate-now", "/m365 approve", RequestState.RECEIVED),
        ("rotate-back", "/m365-rotate back", RequestState.REFUSED),
    ]


async def test_who_approves_for_some_people_only_acknowledges_nothing(stage: Stage) -> None:
    """An alert is about everybody's sessions."""
    scope = await stage.operators.add_scope("Leeds", LEEDS, by=Author(login="root"))
    await stage.operators.grant(AUDREY, "approver", by=Author(login="root"), reason="a test", scope_id=scope.id)
    await stage.alerts.raise_(STOPS)
    await stage.people.click("audrey", await card(stage), "Acknowledge")
    await told(stage, "audrey", "your role counts only within “Leeds”")

    (row,) = await stage.audited("alert.refused")
    assert row["facts"]["user"] == AUDREY.user
    (alert,) = await stage.alerts.open()
    assert alert.acknowledged_at is None


@pytest.mark.parametrize(
    ("button", "action", "trouble"),
    [
        ("Retry now", "rotate-now", STANDS),
        ("Roll back", "rotate-back", STANDS),
        ("Reset with an administrator's sign-in", "recover-password", STOPS),
    ],
)
async def test_what_it_offers_becomes_a_request_at_most_one_at_a_time(
    stage: Stage, button: str, action: str, trouble: Trouble
) -> None:
    await colleague(stage)
    await stage.alerts.raise_(trouble)
    shown = await card(stage)
    await stage.people.click("ana", shown, button)
    await stage.settled()
    await thread(stage, 1)
    request = await stage.only_row()
    assert (request.action, request.slack, request.reason) == (action, ANA, f"Alert: {trouble.headline}")

    await stage.people.click("bo", shown, button)
    await told(stage, "bo", "Ana Ruiz was first")
    await stage.run(await stage.now(request), state=RequestState.FAILED, sentence="It failed again.")
    await stage.people.click("bo", await card(stage), button)
    await stage.settled()
    assert [row.slack for row in await stage.rows()] == [ANA, BO]


async def test_a_closed_card_says_how_long_it_lasted_and_has_no_buttons(stage: Stage) -> None:
    await stage.alerts.raise_(STOPS)
    open_card = await card(stage)
    stage.workspace.clock.advance(130 * 60)
    await stage.alerts.close("rotation", "r1", "The new password is in force.")
    shown = await card(stage, "Over")

    assert "It lasted 2 h 10 min" in shown.visible_text
    assert "Over: a rotation had failed." in plain(shown.visible_text)
    assert "The new password is in force." in shown.visible_text
    assert "[" not in shown.visible_text
    assert stage.people.mentions(shown) == ()
    (line,) = await thread(stage, 1)
    assert "It lasted 2 h 10 min" in line
    assert open_card.ts == shown.ts


async def test_a_press_on_an_old_view_of_the_card_says_what_happened_meanwhile(tmp_path: Path) -> None:
    """Two people press at once, and what Slack shows is behind: here it is not told at all."""
    async with a_stage(tmp_path) as stage:
        await colleague(stage)
        await stage.alerts.raise_(STANDS)
        shown = await card(stage)
        await stage.room.reporter.close()
        await stage.people.click("ana", shown, "Acknowledge")
        await stage.settled()
        await stage.people.click("bo", shown, "Acknowledge")
        await told(stage, "bo", "Ana Ruiz acknowledged this already")

        await stage.alerts.raise_(replace(STANDS, offers=("roll-back",)))
        await stage.people.click("bo", shown, "Retry now")
        await told(stage, "bo", "not offered any more")
        await stage.alerts.close("rotation", "r1", "The new password is in force.")
        for button in ("Roll back", "Acknowledge"):
            await stage.people.click("bo", shown, button)
            await stage.settled()
            await told(stage, "bo", "This is over since")
        await stage.people.click("bo", shown, "Acknowledge", "0" * 32)
        await told(stage, "bo", "does not know this alert")
        assert await stage.rows() == []


async def test_a_repeat_is_a_line_in_the_thread_that_mentions_people(stage: Stage) -> None:
    await stage.alerts.raise_(STOPS)
    await card(stage)
    stage.workspace.clock.advance(16 * 60)
    await stage.alerts.look()

    (line,) = await thread(stage, 1)
    assert "Still open after 16 min" in line
    reply = stage.people.thread(await card(stage))[0]
    assert set(stage.people.mentions(reply)) == {f"@{ANA.user}"}


async def test_slack_away_for_an_hour_the_cards_come_in_order_afterwards(stage: Stage) -> None:
    await stage.alerts.raise_(replace(STANDS, about="0", headline="First."))
    await card(stage, "First")
    stage.workspace.faults.start("slack-down")
    for number in range(1, 5):
        await stage.alerts.raise_(replace(STANDS, about=str(number), headline=f"Number {number}."))
        stage.workspace.clock.advance(15 * 60)
        await stage.alerts.look()
    await stage.alerts.close("rotation", "2", "It works again.")
    stage.workspace.faults.stop("slack-down")
    stage.workspace.clock.advance(70)
    await card(stage, "Number 4.")

    shown = [message.visible_text for message in stage.people.messages(ALERTS)]
    heads = ["First", *(f"Number {number}" for number in range(1, 5))]
    assert [next(head for head in heads if head in text) for text in shown] == heads
    assert "Over" in shown[2]


@pytest.mark.parametrize(
    ("channel", "why"),
    [
        ("C0PARTNERS", "another company reads in the alerts channel"),
        ("C0RANDOM01", "not in"),
        ("C0NOSUCH01", "no such alerts channel"),
    ],
)
async def test_what_cannot_stand_in_the_channel_goes_to_the_tenant_admins(
    tmp_path: Path, channel: str, why: str
) -> None:
    async with a_stage(tmp_path, alerts_channel=channel) as stage:
        await stage.alerts.raise_(STANDS)
        shown = await card(stage, STANDS.headline, stage.people.direct("ana").id)
        assert why in shown.visible_text
        await stage.people.click("ana", shown, "Acknowledge")
        await card(stage, "Ana Ruiz acknowledged this", stage.people.direct("ana").id)
        assert stage.people.messages("#partners") == []


@pytest.mark.parametrize("text", NASTY)
@pytest.mark.parametrize("change", [lambda t: t, lambda t: replace(t, drill=True), lambda t: replace(t, offers=())])
def test_no_text_breaks_a_card_or_a_line(text: str, change: Callable[[Trouble], Trouble]) -> None:
    trouble = change(replace(STOPS, headline=text, why=text, facts=((text, text),) * 12))
    for said in shown_of(trouble, acknowledged_by=text, how=text, misplaced=text, page_problem=text):
        assert set(mentions(said.text, list(said.blocks))) <= {"!here"}


def test_a_drill_says_so_in_its_first_word_everywhere() -> None:
    for said in map(reads, shown_of(replace(STOPS, drill=True))):
        assert said.startswith("DRILL. ")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (5, "less than a minute"),
        (61, "1 min"),
        (3600, "1 h"),
        (7800, "2 h 10 min"),
        (90000, "1 day 1 h"),
        (172800, "2 days"),
    ],
)
def test_durations_are_said_in_words(seconds: int, words: str) -> None:
    assert lasted(timedelta(seconds=seconds)) == words


# --- ----------------------------------------------------------------------------------------------------------------


def shown_of(trouble: Trouble, **fields: Any) -> list[Said]:
    """Every card and line there can be of *trouble*."""
    now = datetime(2026, 3, 3, 9, tzinfo=UTC)
    means = Means(now, UTC, ("C0ALERTS01",))  # type: ignore[arg-type]
    change = raised(means, trouble, None, lambda key: False)
    assert change is not None
    (message,) = change.say
    shown = []
    for state in ({}, {"acknowledged_at": now.isoformat()}, {"closed_at": now.isoformat()}):
        said = NOTICES["alert"](Known(None, "", data={**message.data, **fields, **state}, maybe_twice=True))
        assert said is not None
        assert_slack_takes(said)
        shown.append(said)
    for what in ("again", "repeat", "risen", "back", "acknowledged", "asked", "closed", "changed"):
        line = {**message.data, **fields, "what": what, "at": now.isoformat(), "by": "Ana", "offer": "retry"}
        said = NOTICES["alert-line"](Known(None, "", data=line, maybe_twice=True))
        assert said is not None
        assert_slack_takes(said)
        shown.append(said)
    return shown


def plain(text: str) -> str:
    return text.replace("*", "")


async def colleague(stage: Stage) -> None:
    """Bo is a tenant admin, too."""
    shell = Author(login="root")
    await stage.operators.bind(
        BO, account_id="a0000000-0000-4000-8000-000000000009", upn="bo@contoso.com", name="Bo Lind", by=shell
    )
    await stage.operators.grant(BO, "tenant-admin", by=shell, reason="a test")
