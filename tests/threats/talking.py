"""Typing something and reading what comes of it, wherever it is said."""

from __future__ import annotations

from tests.stage import HELPDESK, Stage


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
