"""SIGKILL at every step of the set-up and of the switch, one after the other: what is there then, and what is told."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.model import Mode, RequestState
from bot.road import Point
from sandbox.directory import SERVICE_ACCOUNT
from tests.recovery.scene import Row, Scene, open_scene
from tests.stage import HELPDESK

pytestmark = pytest.mark.slow

APPROVALS = "#it-approvals"
ACCOUNT = "latchkey@contoso.com"
SECRET = "latchkey-service-account"
SIGN_IN = "Sign in and go on"

FIRST_SWITCH = (
    "Storing a new password in Key Vault",
    f"Creating the account {ACCOUNT}",
    f"Signing in as {ACCOUNT}",
    "Making that password the current one",
    "Assigning the role Authentication Administrator",
    "Assigning the role Groups Administrator",
    "Assigning the role License Administrator",
    "Assigning the role Directory Readers",
    "Assigning the role Security Reader",
    f"Choosing {ACCOUNT} as what Latchkey works with",
    "Saving the mode",
    "Turning the old session off",
    "Opening the new session",
)
LAST_AS_ADMINISTRATOR = FIRST_SWITCH.index("Assigning the role Security Reader")
LEAVES_NO_TRACE = (f"Signing in as {ACCOUNT}", "Turning the old session off", "Opening the new session")
"""What a restart does again, whether it was done or not."""


@dataclass
class Admins:
    """Ana asks, Bo agrees, and Ana's administrator account signs in, as often as it is asked for."""

    scene: Scene

    async def ask(self, words: str) -> None:
        slack = self.scene.world.slack
        await slack.command("ana", HELPDESK, f'/m365-mode {words} --reason "test"')
        card = await self.scene.until(lambda: slack.messages(APPROVALS))
        await self.scene.until(lambda: "[Approve]" in slack.messages(APPROVALS)[-1].visible_text)
        await slack.click("bo", card[-1], "Approve")

    async def sign_in(self) -> None:
        world = self.scene.world
        before = self._code()
        await self.scene.press("ana", SIGN_IN)
        code = await self.scene.until(lambda: self._code() if self._code() != before else "")
        await world.sign_in(world.device_page, "ana.admin@contoso.com", code=code)
        world.clock.advance(6)  # the bot asks every five seconds

    def _code(self) -> str:
        windows = self.scene.world.slack.modals("ana")
        found = re.search(r"^[A-Z0-9]{9}$", windows[-1].visible_text, re.MULTILINE) if windows else None
        return found[0] if found else ""


def all_is_in_order(scene: Scene, account: str = ACCOUNT) -> None:
    """No password signs in that is not stored, and nobody holds a role who was not proved to sign in."""
    directory = scene.world.directory
    user = directory.latest.user(account)
    versions = [version for version in scene.world.vault.versions(SECRET) if version.enabled]
    if user is None:
        return
    password = directory.password_of(account)
    assert password in [version.value for version in versions]
    if directory.latest.active_roles(user.id):
        assert password in [version.value for version in versions if version.tags.get("state") == "current"]


def told(row: Row, steps: Sequence[str]) -> int:
    """How many steps are done, as the request says, and which is the next."""
    sentence = row.details["sentence"]
    found = re.match(r"(\d+) of (\d+) steps are done\. The next one, “(.*)”, waits: The administrator", sentence)
    assert found, sentence
    assert int(found[2]) == len(steps)
    assert found[3] == steps[int(found[1])]
    return int(found[1])


def shown_by_the_tenant(scene: Scene) -> int:
    """How many of the first steps the tenant and the vault show as done, those that leave no trace aside."""
    directory, versions = scene.world.directory, scene.world.vault.versions(SECRET)
    ours = [version for version in versions if version.tags.get("account") == ACCOUNT]
    user = directory.latest.user(ACCOUNT)
    current = any(version.tags["state"] == "current" for version in ours)
    roles = len(directory.latest.active_roles(user.id)) if user else 0
    return bool(ours) + bool(user) + current + roles


@pytest.mark.parametrize("point", [Point.ATTEMPTED, Point.SENT], ids=["before", "after"])
async def test_killed_at_each_step_of_the_first_switch_it_is_told_truly_and_completed(
    tmp_path: Path, point: Point
) -> None:
    async with open_scene(tmp_path, Mode.NONE) as scene:
        admins = Admins(scene)
        await scene.start(kill_at=point)
        await admins.ask("advanced")
        await scene.until(lambda: scene.rows()[0].state is RequestState.AWAITING_CONFIRMATION)
        await admins.sign_in()

        for step, title in enumerate(FIRST_SWITCH):
            await scene.death()
            all_is_in_order(scene)
            again = point is Point.ATTEMPTED or title in LEAVES_NO_TRACE
            last = step == len(FIRST_SWITCH) - 1
            await scene.start(kill_at=None if last else point, times=2 if again else 1)
            done_by_administrator = step > LAST_AS_ADMINISTRATOR or (step == LAST_AS_ADMINISTRATOR and not again)
            if done_by_administrator:
                continue  # nobody has to sign in for what is left, so it goes on by itself
            await scene.passes_until(lambda: scene.rows()[0].state is RequestState.FAILED)
            done = told(scene.rows()[0], FIRST_SWITCH)
            assert done == (step if again else step + 1)
            assert shown_by_the_tenant(scene) == done - (done > 2)
            await scene.until(lambda: scene.rows()[0].details["sentence"] in scene.story())
            await admins.sign_in()

        row = await scene.end_of()
        assert (row.state, row.details["sentence"]) == (
            RequestState.DONE,
            "The way management sessions of Latchkey work was changed",
        )
        all_is_in_order(scene)
        assert shown_by_the_tenant(scene) == 8
        await scene.until(lambda: "Management session on until" in scene.story())
        assert scene.world.writes("POST", "/users") == 1
        assert scene.world.writes("POST", "/roleManagement") == 5
        await _the_session_works(scene)
        verified = await scene.bot.command("audit", "verify")
        assert verified.exit_code == 0, verified.output


async def _the_session_works(scene: Scene) -> None:
    await scene.world.slack.command("olive", HELPDESK, "/m365 show-user adele@contoso.com")
    await scene.until(lambda: "Retail Manager" in scene.world.slack.ephemerals("olive")[-1].visible_text)


BACK = (
    "Saving the mode",
    "Turning the old session off",
    "Taking the role User Administrator away",
    "Taking the role Authentication Administrator away",
    "Taking the role Groups Administrator away",
    "Taking the role License Administrator away",
    "Taking the role Directory Readers away",
    f"Deleting the account {SERVICE_ACCOUNT}",
    "Removing its password from Key Vault",
    "Forgetting the account",
)


@pytest.mark.parametrize("point", [Point.ATTEMPTED, Point.SENT], ids=["before", "after"])
async def test_killed_at_each_step_back_to_default_it_is_told_truly_and_completed(tmp_path: Path, point: Point) -> None:
    async with open_scene(tmp_path) as scene:
        admins = Admins(scene)
        await scene.start(kill_at=point)
        await admins.ask("default --account removed")
        await scene.until(lambda: scene.rows()[0].state is RequestState.AWAITING_CONFIRMATION)
        await admins.sign_in()

        for step, title in enumerate(BACK):
            await scene.death()
            password_is_stored(scene)
            # A restart turns the session off by itself.
            again = point is Point.ATTEMPTED and title != "Turning the old session off"
            last = step == len(BACK) - 1
            await scene.start(kill_at=None if last else point, times=2 if again else 1)
            if step > BACK.index(f"Deleting the account {SERVICE_ACCOUNT}") - (not again):
                continue
            await scene.passes_until(lambda: scene.rows()[0].state is RequestState.FAILED)
            assert told(scene.rows()[0], BACK) == (step if again else step + 1), title
            await admins.sign_in()

        row = await scene.end_of()
        assert row.state is RequestState.DONE, row
        assert scene.world.directory.latest.user(SERVICE_ACCOUNT) is None
        assert not [version for version in scene.world.vault.versions(SECRET) if version.enabled]


def password_is_stored(scene: Scene) -> None:
    if scene.world.directory.latest.user(SERVICE_ACCOUNT) is not None:
        stored = [version.value for version in scene.world.vault.versions(SECRET) if version.enabled]
        assert scene.world.directory.password_of(SERVICE_ACCOUNT) in stored
