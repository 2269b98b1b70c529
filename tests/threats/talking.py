"""Typing something and reading what comes of it, wherever it is said."""

from __future__ import annotations

from sandbox.slack import RateLimits
from tests.stage import HELPDESK, UNHURRIED, Stage

PATIENT = RateLimits(
    dict.fromkeys(range(1, 6), 100_000),
    post_burst=10_000,
    posts_per_minute=100_000,
    trigger_seconds=UNHURRIED.trigger_seconds,
)
"""A Slack that does not mind what a whole module says in seconds."""


async def last_said(stage: Stage, person: str, typed: str, *, channel: str = HELPDESK) -> str:
    """What *person* is told, in private or in a form, because they typed this."""
    slack = stage.world.slack
    said, forms = len(slack.ephemerals(person)), len(slack.modals(person))
    await slack.command(person, channel, typed)

    def found() -> str:
        if slack.ephemerals(person)[said:]:
            return slack.ephemerals(person)[-1].visible_text
        form = slack.modals(person)[forms:]
        return form[-1].visible_text if form and "Looking up" not in form[-1].visible_text else ""

    text = await stage.until(found)
    while slack.modals(person):
        await slack.close(person)
    return text
