"""Five hundred at once: one sign-in for everybody, an answer for each, and nobody's acknowledgement late."""

import asyncio
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from uuid import uuid4

import pytest

from sandbox.faults import Answer, Rule
from tests.crowd import ASKED_EACH, ASKING, CROWD, PEOPLE, all_type, openings, told
from tests.stage import HELPDESK, Stage

pytestmark = pytest.mark.slow


async def test_five_hundred_reads_on_a_cold_bot_cost_one_sign_in(stage: Stage) -> None:
    await all_type(stage)
    answers = await told(stage)

    for who, (_, name) in ASKING.items():
        ((answer, times),) = answers[who].items()
        assert name in answer
        assert times == ASKED_EACH
    assert stage.world.vault.count("list") == stage.world.vault.count("get") == 1
    assert len(stage.world.entra.grants("password")) == 1
    assert await openings(stage) == {"session.opened": 1}


@pytest.mark.parametrize(
    ("fault", "why", "sign_ins"),
    [("vault-down", "Key Vault", 0), ("policy-blocks-service-account", "Conditional Access", 1)],
)
async def test_an_opening_that_fails_fails_once_for_all_and_the_next_tries_afresh(
    stage: Stage, fault: str, why: str, sign_ins: int
) -> None:
    """Key Vault asks for patience first, so that all five hundred wait for the same opening."""
    throttled = Answer(429, {"error": {"code": "Throttled", "message": "Later."}}, {"Retry-After": "20"})
    stage.world.faults.add(Rule("vault", "GET", "/secrets/*", throttled, times=1))
    await all_type(stage)
    while len(await stage.bot.storage.requests.open()) < CROWD:
        pass  # reading them lets the bot go on
    stage.world.faults.start(fault)
    stage.world.clock.advance(20)
    explanations = await told(stage)

    for who in PEOPLE:
        assert sum(explanations[who].values()) == ASKED_EACH
        assert all(why in explanation and "[Try again]" in explanation for explanation in explanations[who])
    assert await openings(stage) == {"session.failed": 1}
    assert len(stage.world.entra.grants("password")) == sign_ins

    stage.world.faults.stop(fault)
    assert "Adele Vance" in await stage.ask("olive", "/m365 show-user adele@contoso.com")
    assert await openings(stage) == {"session.failed": 1, "session.opened": 1}


WRITES = 20
MAY_NOT_HOLD_THE_LOOP = ("/msal/", "/requests/", "_commit (storage)", "_read (storage)", "_scan (storage)")


async def test_nothing_that_waits_runs_on_the_event_loop(stage: Stage) -> None:
    """MSAL signs in, and SQLite commits, in other threads: looked at five hundred times a second under load."""
    people = [add_somebody(stage, number) for number in range(WRITES)]
    with watched() as seen:
        blocking = (f'/m365 block-sign-in {upn} --reason "left the company"' for upn in people)
        blocked = asyncio.gather(*(stage.world.slack.command("ana", HELPDESK, text) for text in blocking))
        await asyncio.gather(all_type(stage), blocked)
        await told(stage)
        await stage.until(lambda: stage.world.writes("PATCH", "/users/") == WRITES)

    assert len(stage.world.entra.grants("password")) == 1
    assert seen["looks"] > 0
    assert [place for place in MAY_NOT_HOLD_THE_LOOP if seen[place]] == []


def add_somebody(stage: Stage, number: int) -> str:
    """One more person like Adele; their user name."""
    adele, upn = stage.world.directory.user("adele@contoso.com"), f"person{number}@contoso.com"
    stage.world.directory.add_user(replace(adele, id=str(uuid4()), upn=upn, manager_id=None))
    return upn


@contextmanager
def watched() -> Iterator[Counter[str]]:
    """Looks again and again where the calling thread, which runs the event loop, is: how often it was where."""
    seen: Counter[str] = Counter()
    loop_thread, over = threading.get_ident(), threading.Event()

    def watch() -> None:
        while not over.wait(0.002):
            seen["looks"] += 1
            seen.update(places_of(loop_thread))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield seen
    finally:
        over.set()
        watching.join()


def places_of(thread: int) -> set[str]:
    """The places of `MAY_NOT_HOLD_THE_LOOP` that this thread's stack goes through now."""
    found: set[str] = set()
    frame = sys._current_frames().get(thread)
    while frame is not None:
        file, name = frame.f_code.co_filename, frame.f_code.co_name
        code = f"{name} (storage)" if file.endswith("storage/database.py") else file
        found.update(place for place in MAY_NOT_HOLD_THE_LOOP if place in code)
        frame = frame.f_back
    return found
