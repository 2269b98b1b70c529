"""SIGKILL between a failure and the card that says what is behind it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.model import RequestState
from bot.road import Point
from tests.recovery.scene import Scene, open_scene
from tests.stage import HELPDESK

pytestmark = pytest.mark.slow

BLOCKED = "Blocked by “MFA for all admins”"


async def test_the_card_comes_after_the_next_start_and_once(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        scene.world.access.add_from_file("mfa-for-admins.json")
        await scene.start(kill_at=Point.FINISHED)
        await scene.world.slack.command("ana", HELPDESK, '/m365 block-sign-in adele@contoso.com --reason "left"')
        await scene.death()
        (row,) = scene.rows()
        assert (row.state, row.answer["blocked"]["phase"]) == (RequestState.FAILED, "looking")
        assert BLOCKED not in scene.story()

        await scene.start()
        await _told(scene, BLOCKED)
        await scene.stop()
        await scene.start()
        await _told(scene, "[Test again]")
        assert scene.story().count(BLOCKED) == 1

        scene.world.access.remove("MFA for all admins")
        await scene.press("bo", "Test again")
        await _told(scene, "Latchkey can sign in again")
        await _told(scene, "was blocked")
        assert [row.state for row in scene.rows()] == [RequestState.FAILED, RequestState.DONE]


async def _told(scene: Scene, words: str) -> None:
    await scene.until(lambda: words in scene.story() and scene.all_is_told())
