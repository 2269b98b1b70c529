"""SIGKILL at every step of allowed IPs and of the way back, one after the other: nothing is doubled, all is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.actions._allowed_ips import GROUP, LOCATION, POLICY
from bot.model import RequestState
from bot.road import Point
from tests.recovery.scene import Scene, open_scene
from tests.recovery.test_set_up_kills import APPROVALS, Admins, told
from tests.stage import HELPDESK
from tests.test_allowed_ips import HERE, MFA, STEPS

pytestmark = pytest.mark.slow

BACK = (
    f"Taking the account in again: “{MFA}”",
    f"Deleting the group “{GROUP}”",
    f"Deleting the policy “{POLICY}”",
    f"Deleting the named location “{LOCATION}”",
    "Comparing the policies with how they were",
)
CHECK = STEPS[2]
LEAVES_NO_TRACE = (CHECK, STEPS[6], BACK[4])
"""What a restart does again, whether it was done or not."""


def nobody_is_let_off_too_early(scene: Scene) -> None:
    """As long as elsewhere is not closed, the account is left out of nothing."""
    policies = {policy["displayName"]: policy for policy in scene.world.access.policies()}
    if policies[MFA]["conditions"]["users"]["excludeGroups"]:
        assert policies[POLICY]["state"] == "enabled"


def content(scene: Scene) -> list[object]:
    things = (*scene.world.access.policies(), *scene.world.access.locations())
    return [{**thing, "modifiedDateTime": None} for thing in things]


async def killed_at_each(scene: Scene, admins: Admins, steps: tuple[str, ...], point: Point) -> None:
    """Kill the bot at one step after the other, and go on each time, until the request is over."""
    for step, title in enumerate(steps):
        await scene.death()
        nobody_is_let_off_too_early(scene)
        again = point is Point.ATTEMPTED or title in LEAVES_NO_TRACE
        first = title if again else steps[step + 1]
        # The check is made again before whatever changes anything.
        checks = CHECK in steps[:step] and first not in LEAVES_NO_TRACE
        last = step == len(steps) - 1
        await scene.start(kill_at=None if last else point, times=1 + again + checks)
        if step > len(steps) - 2 - (not again):
            continue  # nobody has to sign in for what is left, so it goes on by itself
        await scene.passes_until(lambda: scene.rows()[-1].state is RequestState.FAILED)
        assert told(scene.rows()[-1], steps) == (step if again else step + 1), title
        await admins.sign_in()
    row = await scene.end_of()
    assert row.state is RequestState.DONE, row


@pytest.mark.parametrize("point", [Point.ATTEMPTED, Point.SENT], ids=["before", "after"])
async def test_killed_at_each_step_there_and_back_nothing_is_doubled_and_all_is_as_it_was(
    tmp_path: Path, point: Point
) -> None:
    async with open_scene(tmp_path) as scene:
        scene.world.access.add_from_file("mfa-for-admins")
        before = content(scene)
        admins = Admins(scene)
        await scene.start(kill_at=point)
        await admins.ask(f"allowed-ips {HERE}")
        await scene.until(lambda: scene.rows()[-1].state is RequestState.AWAITING_CONFIRMATION)
        await admins.sign_in()
        await killed_at_each(scene, admins, STEPS, point)

        access = scene.world.access
        assert [each["displayName"] for each in access.policies()] == [MFA, POLICY]
        assert [each["displayName"] for each in access.locations()] == [LOCATION]
        assert [group.name for group in scene.world.directory.latest.groups()].count(GROUP) == 1

        await scene.stop()
        await scene.start(kill_at=point)
        slack = scene.world.slack
        await slack.command("ana", HELPDESK, '/m365-mode remove-allowed-ips --reason "test"')
        await scene.until(lambda: "[Approve]" in slack.messages(APPROVALS)[-1].visible_text)
        await slack.click("bo", slack.messages(APPROVALS)[-1], "Approve")
        await scene.until(lambda: scene.rows()[-1].state is RequestState.AWAITING_CONFIRMATION)
        await admins.sign_in()
        await killed_at_each(scene, admins, BACK, point)
        assert content(scene) == before
        verified = await scene.bot.command("audit", "verify")
        assert verified.exit_code == 0, verified.output
