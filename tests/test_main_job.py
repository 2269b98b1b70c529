"""The main job, end to end: help desk resets a password through a session that opens by itself."""

import re

from bot.ports import AuditSelection
from tests.stage import HELPDESK, Stage

ADELE = "Adele Vance, Sales"


async def test_the_first_reset_opens_a_session_and_tells_it_in_the_thread(stage: Stage) -> None:
    card = await stage.reset("olive", "adele@contoso.com", ADELE)
    closing = await stage.until(lambda: stage.world.slack.thread(card)[1])
    steps = (await stage.until(lambda: stage.world.slack.thread(card)))[0].visible_text

    assert "Management session was off: opening it with the service account" in steps
    assert "Reading the credential from Key Vault" in steps
    assert "Signing in" in steps
    assert re.search(r"Management session on until \d\d:\d\d", steps)
    assert "Resetting the password of Adele Vance" in steps
    assert "Reading it back" in steps
    assert "Olive Hart" in closing.visible_text
    assert "[Reveal once]" in closing.visible_text


async def test_the_password_is_shown_once_to_the_requester_and_signs_in(stage: Stage) -> None:
    slack, directory = stage.world.slack, stage.world.directory
    card = await stage.reset("olive", "adele@contoso.com", ADELE)
    await slack.click("ana", card, "Reveal once")
    await stage.until(lambda: slack.modals("ana") and "only Olive Hart can" in slack.modals("ana")[-1].visible_text)
    await slack.click("olive", card, "Reveal once")
    shown = await stage.until(lambda: slack.modals("olive") and slack.modals("olive")[-1].visible_text)
    password = await stage.until(
        lambda: re.search(r"[A-Z][a-z]+-[A-Z][a-z]+-[A-Z][a-z]+-\d{4}", slack.modals("olive")[-1].visible_text)
    )
    assert password is not None, shown

    assert directory.password_of("adele@contoso.com") == password.group()
    assert password.group() not in slack.history_text()
    await slack.close("olive")
    await stage.until(lambda: "[Reveal once]" not in card.visible_text)


async def test_a_second_reset_of_somebody_else_is_one_message(stage: Stage) -> None:
    await stage.reset("olive", "adele@contoso.com", ADELE)
    stage.world.clock.advance(120)
    card = await stage.reset("olive", "pradeep@contoso.com", "Pradeep Gupta, Finance")

    assert stage.world.slack.thread(card) == []
    assert "[Reveal once]" in card.visible_text
    assert "Olive Hart" in card.visible_text
    assert len(stage.world.slack.messages(HELPDESK)) == 2
    assert len(stage.world.entra.grants("password")) == 1


async def test_the_audit_trail_tells_it_and_joins_with_microsofts(stage: Stage) -> None:
    await stage.reset("olive", "adele@contoso.com", ADELE)
    rows = await stage.bot.storage.trail.query(
        AuditSelection(target=stage.world.directory.user("adele@contoso.com").id)
    )
    finished, started = (
        next(row.record for row in rows if row.record.kind == kind) for kind in ("attempt.finished", "attempt.started")
    )

    olive = await stage.bot.storage.operators.find(started.operator_id or "")
    assert olive is not None
    assert olive.upn == "olive@contoso.com"
    assert started.facts["reason"] == "locked out"
    assert started.facts["verified"]
    assert started.session_generation == 1
    found = finished.facts["microsoft_request_id"]
    theirs = [audit for audit in stage.world.directory.audits if audit.request_id == found]
    assert [audit.client_request_id for audit in theirs] == [started.attempt_id]
