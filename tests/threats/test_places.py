"""Channels that are shared with another company, foreign channels and conversations (S9): no names there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sandbox.faults import Answer, Rule
from sandbox.slack import Message
from tests.stage import HELPDESK, SHELL, Stage
from tests.threats.effects import heard, requests_of, settled

pytestmark = pytest.mark.asyncio(loop_scope="module")

PARTNERS = "#partners"
RESET = "Reset the password of Pradeep Gupta, Finance"

SECRETS = (
    "Pradeep",
    "Adele",
    "Alex",
    "Gupta",
    "contoso.com",
    "AADSTS",
    "Key Vault",
    "session",
    "Olive",
    "svc-latchkey",
)
"""Names and diagnostics."""


def shown_to_all(stage: Stage, channel: str) -> list[Message]:
    """What everybody in a channel reads, threads included."""
    slack = stage.world.slack
    top = slack.messages(channel)
    return [*top, *(reply for message in top for reply in slack.thread(message))]


def nothing_leaked(stage: Stage, channel: str) -> None:
    for message in shown_to_all(stage, channel):
        assert not [word for word in SECRETS if word in message.visible_text], message.visible_text


async def reset_from(stage: Stage, channel: str) -> Message:
    """Olive resets Pradeep's password from a channel; the message in her direct conversation that tells it."""
    slack = stage.world.slack
    stage.world.clock.advance(1000)
    direct = slack.direct("olive")
    before = len(slack.messages(direct))
    await stage.form("olive", '/m365 reset-password pradeep@contoso.com --reason "locked out"', RESET, channel=channel)
    await slack.choose("olive", "modal", "How was the caller verified?", "In person")
    await slack.click("olive", "modal", RESET)
    return await stage.until(
        lambda: [each for each in slack.messages(direct)[before:] if "was reset" in each.visible_text][-1]
    )


@pytest.mark.parametrize(
    ("channel", "why"),
    [
        (PARTNERS, "the channel you asked in is shared with another company"),
        ("#random", "Latchkey is not in the channel you asked in"),
        ("#secret-project", "Latchkey is not in the conversation you asked in"),
        ("D0OLIVEANA", "Latchkey is not in the conversation you asked in"),
    ],
)
async def test_what_was_asked_for_elsewhere_is_told_in_private_with_the_reason(
    shared: Stage, channel: str, why: str
) -> None:
    """S9."""
    card = await reset_from(shared, channel)

    assert "Pradeep Gupta" in card.visible_text
    assert why in card.visible_text
    assert shown_to_all(shared, channel) == []


async def test_what_was_asked_for_in_the_direct_conversation_is_told_there_without_more_ado(shared: Stage) -> None:
    """S9: it is the requester's own place."""
    card = await reset_from(shared, "dm")

    assert "Pradeep Gupta" in card.visible_text
    assert "It is told here because" not in card.visible_text


async def test_a_form_that_did_not_open_is_continued_in_private(shared: Stage) -> None:
    """S9: *Continue* names the person, so only who asked sees it, in a shared channel too."""
    slack = shared.world.slack
    before = len(slack.ephemerals("olive"))
    rule = shared.world.faults.add(Rule("slack", "*", "/views.open", Answer(200, {"ok": False, "error": "x"}), times=1))
    await slack.command("olive", PARTNERS, '/m365 reset-password adele@contoso.com --reason "x"')
    await shared.until(lambda: slack.ephemerals("olive")[before:])
    shared.world.faults.remove(rule)

    assert "[Continue]" in slack.ephemerals("olive")[-1].visible_text
    assert shown_to_all(shared, PARTNERS) == []
    assert not slack.ephemerals("otto")


@pytest.mark.parametrize(
    "typed",
    [
        "/m365 help",
        "/m365 show-user adele@contoso.com",
        "/m365 show-user smith",
        "/m365 can reset-password gary@contoso.com",
        "/m365 reset-password gary@contoso.com",
        "/m365 block-sign-in adele@contoso.com",
        "/m365-session status",
        "/m365 nonsense",
        "/m365 undo",
    ],
)
async def test_in_a_shared_channel_answers_and_refusals_are_for_the_requester_alone(shared: Stage, typed: str) -> None:
    """S9, S6: nobody of the other company reads who was asked about, or why it was refused."""
    slack = shared.world.slack
    said, forms = len(slack.ephemerals("olive")), len(slack.modals("olive"))
    await slack.command("olive", PARTNERS, typed)
    await shared.until(lambda: slack.ephemerals("olive")[said:] or slack.modals("olive")[forms:])
    await settled(shared.bot)
    while slack.modals("olive"):
        await slack.close("olive")

    assert shown_to_all(shared, PARTNERS) == []
    assert slack.ephemerals("otto") == []


async def test_what_was_read_is_not_shared_in_a_shared_channel(shared: Stage) -> None:
    """S9: the button is refused where others listen."""
    slack = shared.world.slack
    await shared.ask("olive", "/m365 show-user adele@contoso.com", channel=PARTNERS)
    answer = slack.ephemerals("olive")[-1]
    said = len(slack.ephemerals("olive"))
    await slack.click("olive", answer, "Share in channel")
    await shared.until(lambda: slack.ephemerals("olive")[said:])

    assert "shared with another company" in slack.ephemerals("olive")[-1].visible_text
    assert shown_to_all(shared, PARTNERS) == []


async def test_a_failure_to_open_the_session_is_not_told_in_a_shared_channel(shared: Stage) -> None:
    """S9: its words are diagnostics."""
    await shared.ask("ana", "/m365-session off")
    shared.world.faults.start("policy-blocks-service-account")
    answer = await shared.ask("olive", "/m365 show-user adele@contoso.com", channel=PARTNERS)
    shared.world.faults.stop_all()

    assert "Conditional Access" in answer or "policy" in answer
    assert shown_to_all(shared, PARTNERS) == []


async def test_a_channel_that_slack_does_not_show_counts_as_shared(shared: Stage) -> None:
    """S9: what cannot be looked at is not trusted."""
    slack = shared.world.slack
    slack.leave("latchkey", "#it-alerts")
    card = await reset_from(shared, "#it-alerts")
    slack.join("latchkey", "#it-alerts")

    assert "Pradeep Gupta" in card.visible_text
    nothing_leaked(shared, "#it-alerts")


async def test_only_work_channels_hear_of_work_once_they_are_set(shared: Stage) -> None:
    """S9."""
    settings = shared.bot.storage.settings
    before = await settings.current()
    await settings.change(replace(before, work_channels=("C0HELPDESK",)), by=SHELL, reason="test")
    card = await reset_from(shared, "#it-approvals")
    await settings.change(replace(await settings.current(), work_channels=()), by=SHELL, reason="test")

    assert "is not a work channel of Latchkey" in card.visible_text
    nothing_leaked(shared, "#it-approvals")


async def test_a_story_under_way_goes_on_in_private_once_its_channel_is_shared(shared: Stage) -> None:
    """S9: its beginning stands there; its end, with what went wrong, is told to who asked."""
    slack = shared.world.slack
    await shared.ask("ana", "/m365-session off")
    before, direct = len(slack.messages(HELPDESK)), slack.direct("ana")
    told = len(slack.messages(direct))
    shared.world.faults.start("vault-throttled")
    await slack.command("ana", HELPDESK, '/m365 block-sign-in alex@contoso.com --reason "lost his laptop"')
    card = await shared.card(before, " steps")
    await shared.until(lambda: slack.thread(card))
    await slack.share_channel(HELPDESK)
    await heard(shared.bot)
    written, replies = card.visible_text, len(slack.thread(card))

    shared.world.faults.stop_all()
    shared.world.faults.start("policy-blocks-service-account")
    shared.world.clock.advance(10)
    await shared.until(lambda: [each for each in slack.messages(direct)[told:] if "failed" in each.visible_text])
    shared.world.faults.stop_all()
    await said(shared)
    await slack.share_channel(HELPDESK, shared=False)

    assert card.visible_text == written
    assert len(slack.thread(card)) == replies
    assert len(slack.messages(HELPDESK)) == before + 1
    assert "shared with another company" in slack.messages(direct)[told].visible_text


async def test_what_is_done_in_a_channel_that_was_shared_since_is_told_in_private(shared: Stage) -> None:
    """S9: an Undo is a request of its own, and asks anew where it is told."""
    slack = shared.world.slack
    shared.world.clock.advance(1000)
    before, direct = len(slack.messages(HELPDESK)), slack.direct("ana")
    told = len(slack.messages(direct))
    await slack.command("ana", HELPDESK, '/m365 block-sign-in alex@contoso.com --reason "lost his laptop"')
    card = await shared.card(before, "was blocked")
    await slack.share_channel(HELPDESK)
    await heard(shared.bot)
    await slack.click("ana", card, "Undo")
    await shared.until(lambda: [each for each in slack.messages(direct)[told:] if "was unblocked" in each.visible_text])
    await said(shared)
    await slack.share_channel(HELPDESK, shared=False)

    assert (await requests_of(shared, "ana", 1))[0].action == "unblock-sign-in"
    assert len(slack.messages(HELPDESK)) == before + 1


async def said(stage: Stage) -> None:
    """Wait until nothing is left to be said."""
    await settled(stage.bot)
    outbox, slack = stage.bot.storage.outbox, stage.world.slack
    while await outbox.pending(stage.bot.storage.db.clock.now()):
        stage.world.clock.advance(1.0)
        await slack.wait_newer(slack.version, 0.05)
