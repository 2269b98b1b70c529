"""A crowd in front of the whole bot: four people who ask five hundred times at once, each about somebody else."""

import asyncio
from collections import Counter

from sandbox.slack import AckStatus
from tests.stage import HELPDESK, Stage

CROWD = 500
ASKING = {
    "olive": ("adele@contoso.com", "Adele Vance"),
    "vic": ("alex@contoso.com", "Alex Wilber"),
    "ana": ("pradeep@contoso.com", "Pradeep Gupta"),
    "bo": ("lee@contoso.com", "Lee Gu"),
}
"""Four people, and whom each asks about."""

PEOPLE = tuple(ASKING)
ASKED_EACH = CROWD // len(PEOPLE)


async def all_type(stage: Stage) -> None:
    """Everybody asks again and again, five hundred times in all, and each is acknowledged in time."""
    slack = stage.world.slack
    typed = [slack.command(who, HELPDESK, f"/m365 show-user {ASKING[who][0]}") for who in PEOPLE * ASKED_EACH]
    deliveries = await asyncio.gather(*typed)
    assert Counter(delivery.ack.status for delivery in deliveries) == {AckStatus.OK: CROWD}


async def told(stage: Stage) -> dict[str, Counter[str]]:
    """What each person was told in private, and how often, once that are five hundred things."""
    slack = stage.world.slack
    await slack.until(lambda: sum(len(slack.ephemerals(who)) for who in PEOPLE) >= CROWD, timeout=120)
    return {who: Counter(message.visible_text for message in slack.ephemerals(who)) for who in PEOPLE}


async def openings(stage: Stage) -> Counter[str]:
    """How often a session was opened, or could not be."""
    rows = await stage.bot.storage.trail.query(limit=10_000)
    return Counter(row.record.kind for row in rows if row.record.kind in {"session.opened", "session.failed"})
