"""A password is rotated while people work: what is under way ends well, and nobody notices anything."""

from __future__ import annotations

import pytest

from bot.model import RequestState, SessionState
from sandbox.directory import SERVICE_ACCOUNT
from sandbox.faults import Challenge, Rule
from sandbox.vault import SERVICE_ACCOUNT_SECRET
from tests.recovery.scene import Scene
from tests.stage import HELPDESK, Stage

BLOCK_ALEX = "/m365 block-sign-in alex@contoso.com --reason left"
BLOCK_ADELE = "/m365 block-sign-in adele@contoso.com --reason left"
NEW = "Quiet-Harbour-4711"


class Hands:
    """What the rotation of the password does to the tenant and the vault, step by step."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._vault = stage.world.vault

    def change(self) -> None:
        """Stored before it is changed."""
        tags = {"state": "pending", "account": SERVICE_ACCOUNT}
        self._vault.put(SERVICE_ACCOUNT_SECRET, NEW, tags=tags)
        self._stage.world.directory.set_password(SERVICE_ACCOUNT, NEW)

    def label(self) -> None:
        old, new = self._vault.versions(SERVICE_ACCOUNT_SECRET)
        new.tags = {**new.tags, "state": "current"}
        old.tags = {**old.tags, "state": "previous"}

    async def rotate(self) -> None:
        self.change()
        self.label()
        await self._stage.bot.session.renew("A new password is in force.")


@pytest.fixture
def hands(stage: Stage) -> Hands:
    return Hands(stage)


async def blocked_but_not_seen_yet(stage: Stage) -> Scene:
    """Alex's sign-in was blocked, and a replica that lags keeps the bot reading."""
    scene = Scene(stage.world)
    stage.world.faults.start("graph-lag")
    await stage.world.slack.command("ana", HELPDESK, BLOCK_ALEX)
    await scene.until(lambda: stage.world.writes("PATCH", "/users/") == 1)
    await scene.until(lambda: stage.world.graph.requests[-1].method == "GET")
    return scene


async def done(stage: Stage, scene: Scene) -> None:
    """The replica hears of it, and the request ends."""
    stage.world.faults.stop("graph-lag")
    stage.world.clock.advance(25)
    await scene.until(lambda: "was blocked" in scene.story())


def codes(stage: Stage) -> list[int | None]:
    return [grant.code for grant in stage.world.entra.grants("password")]


@pytest.mark.parametrize("revoked", [False, True], ids=["the token stays good", "Microsoft revokes the token"])
async def test_what_is_under_way_ends_and_what_starts_after_acts_by_the_new_sign_in(
    stage: Stage, hands: Hands, revoked: bool
) -> None:
    scene = await blocked_but_not_seen_yet(stage)
    before = stage.bot.session.current
    await hands.rotate()
    if revoked:
        stage.world.faults.add(Rule("graph", "GET", "/users/*", Challenge(), times=1))
    await done(stage, scene)

    assert codes(stage) == [0, 0, 0] if revoked else [0, 0]
    await stage.world.slack.command("bo", HELPDESK, BLOCK_ADELE)
    await scene.until(lambda: [row.state for row in scene.rows()] == [RequestState.DONE] * 2)
    first, second = (row.details["session_generation"] for row in scene.rows())
    now = stage.bot.session.current
    assert (first, second) == (before.generation, now.generation)
    assert now.state is SessionState.ON
    assert (now.opened_at, now.absolute_until) == (before.opened_at, before.absolute_until)
    assert scene.story().count("anagement session") == 2, "that it was off, and that it is on: the first request's"
    assert [each["facts"]["why"] for each in scene.audited("session.renewed")] == ["A new password is in force."]
    assert scene.audited("session.ended") == scene.audited("session.lost") == []


async def test_a_token_that_is_revoked_before_the_new_password_is_tagged_is_replaced_all_the_same(
    stage: Stage, hands: Hands
) -> None:
    """Between the change and the tags only a sign-in tells which password is in force."""
    scene = await blocked_but_not_seen_yet(stage)
    hands.change()
    stage.world.faults.add(Rule("graph", "GET", "/users/*", Challenge(), times=1))
    await done(stage, scene)

    assert codes(stage)[:3] == [0, 50126, 0]
    assert stage.bot.session.current.state is SessionState.ON
    assert scene.audited("session.lost") == []


async def test_nobody_is_told_and_home_stays_as_it_was(stage: Stage, hands: Hands) -> None:
    slack = stage.world.slack
    await stage.ask("olive", "/m365 show-user adele@contoso.com")
    scene = Scene(stage.world)
    await scene.until(scene.all_is_told)
    home, places = await slack.open_home("ana"), (HELPDESK, slack.direct("ana"), slack.direct("olive"))
    said = [len(slack.messages(place)) for place in places]
    await hands.rotate()
    await scene.until(scene.all_is_told)

    again = await slack.open_home("ana")
    assert home is not None
    assert again is not None
    assert again.visible_text == home.visible_text
    assert [len(slack.messages(place)) for place in places] == said
    assert "Alex Wilber" in await stage.ask("olive", "/m365 show-user alex@contoso.com")
    assert len(codes(stage)) == 2
