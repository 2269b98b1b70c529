"""What is done past everybody in Slack alerts them: an emergency at the command line, a database nobody may believe."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bot.errors import TamperingFound
from bot.wiring import administration, latchkey
from tests.stage import Stage, open_stage

ALERTS = "#it-alerts"


async def test_an_emergency_at_the_command_line_alerts_everybody_and_is_over_once_it_was_seen(stage: Stage) -> None:
    slack = stage.world.slack
    async with administration(stage.config) as desk:
        await desk.grant(
            "U0OLIVE001",
            "tenant-admin",
            account=None,
            team="T0CONTOSO",
            until=None,
            emergency=True,
            reason="both are ill",
        )
    stage.world.clock.advance(61)  # the bot looks what another process has left
    card = await stage.until(lambda: slack.messages(ALERTS)[-1])

    assert "U0OLIVE001" in card.visible_text
    assert "both are ill" in card.visible_text
    await slack.click("bo", card, "Acknowledge")
    await stage.until(lambda: "Bo Lind has seen it" in slack.messages(ALERTS)[-1].visible_text)


async def test_an_adoption_in_an_emergency_alerts_and_a_usual_grant_does_not(stage: Stage) -> None:
    async with administration(stage.config) as desk:
        await desk.grant(
            "U0VIC00001", "helpdesk", account=None, team="T0CONTOSO", until=None, emergency=False, reason=""
        )
        assert await stage.bot.alerts.open() == []
        await desk.adopt_own_accounts(reason="Key Vault is gone", emergency=True)
        await desk.protect("never-touch", "Latchkey ask first", reason="mixed up", emergency=True)

    alerts = await stage.bot.alerts.open()
    assert [alert.trouble.why for alert in alerts] == ["Reason given: Key Vault is gone", "Reason given: mixed up"]
    assert {alert.trouble.kind for alert in alerts} == {"emergency"}


async def test_a_night_that_finds_the_trail_unsound_alerts_and_wakes_people(tmp_path: Path) -> None:
    async with open_stage(tmp_path, paging=True) as stage:
        slack, pager = stage.world.slack, stage.world.pager
        _tamper(stage.config.database)
        stage.world.clock.advance(25 * 3600)
        said = await stage.until(
            lambda: [m.visible_text for m in slack.messages(ALERTS) if "is not what Latchkey wrote" in m.visible_text]
        )

        assert "Sessions will stop" in said[0]
        while not pager.pages:
            await stage.world.changes.next().wait()


async def test_a_start_on_a_database_that_was_changed_is_told_at_once_and_not_with_each_try(tmp_path: Path) -> None:
    async with open_stage(tmp_path, paging=True) as stage:
        config, world = stage.config, stage.world
        _tamper(config.database)
        for _ in range(3):
            with pytest.raises(TamperingFound):
                async with latchkey(config):
                    pass

        said = [message.visible_text for message in world.slack.messages(ALERTS)]
        assert [text for text in said if "does not start" in text] == said
        assert len(said) == 1
        assert "operators" not in said[0]
        (page,) = world.pager.pages.values()
        assert page.wakings == 1


def _tamper(database: Path) -> None:
    """Somebody suspends an operator behind the bot's back."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE operators SET suspended = 1 WHERE name = 'Olive Hart'")
