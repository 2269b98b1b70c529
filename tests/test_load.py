"""Five hundred at once: one sign-in for everybody, an answer for each, and nobody's acknowledgement late."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox.faults import Delay, Rule
from sandbox.slack import AckStatus, RateLimits
from tests.stage import HELPDESK, Stage, open_stage

pytestmark = pytest.mark.slow

CROWD = 500
PATIENT = RateLimits(dict.fromkeys(range(1, 6), 10000), 10_000, 1000.0, 10_000)


@pytest.fixture
async def crowded(tmp_path: Path) -> AsyncIterator[Stage]:
    """A stage whose Slack does not mind five hundred answers to one person."""
    async with open_stage(tmp_path, limits=PATIENT) as stage:
        yield stage


async def all_ask(stage: Stage) -> list[str]:
    """Olive asks five hundred times at once; the words she is told, once there is one for each question."""
    slack = stage.world.slack
    before = len(slack.ephemerals("olive"))
    asked = [slack.command("olive", HELPDESK, "/m365 show-user adele@contoso.com") for _ in range(CROWD)]
    deliveries = await asyncio.gather(*asked)
    assert {delivery.ack.status for delivery in deliveries} == {AckStatus.OK}
    await slack.until(lambda: len(slack.ephemerals("olive")) - before >= CROWD, timeout=120)
    return [message.visible_text for message in slack.ephemerals("olive")[before:]]


def password_grants(stage: Stage) -> int:
    return len(stage.world.entra.grants("password"))


async def test_five_hundred_reads_on_a_cold_bot_cost_one_sign_in(crowded: Stage) -> None:
    answers = await all_ask(crowded)

    assert len(answers) == CROWD
    assert all("Adele Vance" in answer and "Miriam Graham" in answer for answer in answers)
    assert crowded.world.vault.count("list") == 1
    assert crowded.world.vault.count("get") == 1
    assert password_grants(crowded) == 1


async def test_when_that_one_opening_fails_everybody_is_told_and_the_next_tries_afresh(crowded: Stage) -> None:
    # Entra takes its time, as it does, so that everybody is waiting when it refuses.
    crowded.world.faults.add(Rule("entra", "POST", "/oauth2/v2.0/token", Delay(8), times=1, after=1))
    crowded.world.faults.start("policy-blocks-service-account")
    answers = await all_ask(crowded)

    assert len(answers) == CROWD
    assert all("could not be opened" in answer and "[Try again]" in answer for answer in answers)
    assert password_grants(crowded) == 1

    crowded.world.faults.stop("policy-blocks-service-account")
    assert "Adele Vance" in await crowded.ask("olive", "/m365 show-user adele@contoso.com")
    assert password_grants(crowded) == 2
