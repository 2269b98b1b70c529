"""Playing a dialogue: what people do happens, and what does not come true is told with its place.

The bot of these worlds never starts: what Slack and the tenant do by themselves is enough to play against.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox.bot_process import BotProcess
from sandbox.dialogue import parse
from sandbox.play import NotTrue, Player
from sandbox.world import World


class Stage:
    """A world, and a player of its people."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.player = Player(world, BotProcess(world.environment(), world.state))

    async def play(self, *steps: str) -> None:
        text = "title: A story\nsteps:\n" + "".join(f"  - {step}\n" for step in steps)
        await self.player.play(parse(text, Path("story.yaml")))


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with World() as world:
        yield Stage(world)


HELP = '{as: olive, in: "#helpdesk", type: "/m365 help"}'


async def test_what_somebody_types_is_delivered_and_its_answer_seen(stage: Stage) -> None:
    await stage.play(
        HELP,
        "{expect: {in: ephemeral, contains: dispatch_failed}}",
        '{expect: {in: "#helpdesk", count: 0}}',
        "{expect: {in: ephemeral, as: ana, count: 0}}",
    )

    assert [delivery.payload["text"] for delivery in stage.world.slack.deliveries] == ["help"]


async def test_what_is_not_there_is_told_with_line_step_and_what_is_there(stage: Stage) -> None:
    with pytest.raises(NotTrue) as told:
        await stage.play(HELP, "{expect: {in: ephemeral, contains: You may, within: 10ms}}")

    assert str(told.value) == (
        "story.yaml:4: step 2 did not come true: {expect: {in: ephemeral, contains: You may, within: 10ms}}\n"
        "not in ephemeral: 'You may'; there is:\n"
        '    | /m365 failed with the error "dispatch_failed"'
    )


@pytest.mark.parametrize(
    ("expectation", "complaint"),
    [
        ("{in: ephemeral, not_contains: failed}", "'failed' is in ephemeral"),
        ("{in: ephemeral, matches: '^Done'}", "not in ephemeral: a match of '^Done'"),
        ("{in: ephemeral, contains: failed, count: 2}", "expected 2 that fit, there are 1"),
        ("{in: thread, contains: x}", "    | (nothing)"),
        ("{in: modal, contains: x}", "    | (nothing)"),
        ("{in: '#nowhere', contains: x}", "no channel is called '#nowhere'"),
    ],
)
async def test_every_kind_of_expectation_can_fail(stage: Stage, expectation: str, complaint: str) -> None:
    expectation = expectation.replace("}", ", within: 10ms}")

    with pytest.raises(NotTrue) as told:
        await stage.play(HELP, f"{{expect: {expectation}}}")

    assert complaint in str(told.value)


async def test_an_expectation_is_met_by_a_change_that_comes_later(stage: Stage) -> None:
    def block() -> None:
        stage.world.directory.update_user("adele", enabled=False)

    stage.world.faults.subscribe(block)

    await stage.play("{fault: graph-down}", "{expect_tenant: {user: adele@contoso.com, accountEnabled: false}}")


@pytest.mark.parametrize(
    ("expectation", "complaint"),
    [
        ("{user: mallory@contoso.com, accountEnabled: true}", "the tenant has no user mallory@contoso.com"),
        ("{user: adele@contoso.com, accountEnabled: false}", "Adele Vance's account is enabled"),
        ("{user: adele@contoso.com, password: wrong}", "Adele Vance cannot sign in with that password"),
        ("{user: adele@contoso.com, member_of: Engineering}", "Adele Vance is not in Engineering, but in "),
        ("{user: adele@contoso.com, not_member_of: Sales}", "Adele Vance is in Sales"),
        ("{user: adele@contoso.com, licenses: []}", "Adele Vance has the licences ENTERPRISEPACK"),
        ("{writes: {PATCH /users/: 1}}", "Microsoft applied PATCH /users/ 0 times, not 1"),
    ],
)
async def test_the_tenant_is_looked_at(stage: Stage, expectation: str, complaint: str) -> None:
    expectation = expectation.removesuffix("}") + ", within: 10ms}"

    with pytest.raises(NotTrue, match="did not come true") as told:
        await stage.play(f"{{expect_tenant: {expectation}}}")

    assert complaint in str(told.value)


async def test_what_must_never_be_seen_is_looked_for_again_at_the_end(stage: Stage) -> None:
    with pytest.raises(NotTrue) as told:
        await stage.play("{never: {in: history, contains: dispatch_failed}}", HELP)

    assert str(told.value).startswith("story.yaml:3: step 1 did not come true")


async def test_somebody_who_presses_what_is_not_there_is_told_what_is(stage: Stage) -> None:
    with pytest.raises(NotTrue, match="there is no 'Undo' to use; there is: nothing"):
        await stage.play("{as: olive, click: Undo, within: 10ms}")


async def test_a_person_nobody_knows_is_told_with_those_there_are(stage: Stage) -> None:
    with pytest.raises(NotTrue, match="nobody is called 'mallory'; there are: olive"):
        await stage.play('{as: mallory, in: "#helpdesk", type: "/m365 help"}')


async def test_time_moves_and_a_delivery_comes_again(stage: Stage) -> None:
    await stage.play(HELP, "{advance: 5m}", "{redeliver: last}")

    assert stage.world.clock.offset == 300.0
    sent = [delivery.payload["trigger_id"] for delivery in stage.world.slack.deliveries]
    assert len(sent) == 2
    assert len(set(sent)) == 1


async def test_nothing_is_delivered_again_before_somebody_did_something(stage: Stage) -> None:
    with pytest.raises(NotTrue, match="nobody has done anything yet"):
        await stage.play("{redeliver: last}")
