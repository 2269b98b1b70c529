"""Five hundred reads on a cold bot: what they ask of Key Vault and Entra, also when the opening is refused."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from sandbox.faults import Answer, Rule
from tests.benchmarks import Goal, Row
from tests.crowd import CROWD, all_type, openings, told
from tests.stage import Stage, open_stage


def run(scale: float) -> list[Row]:
    """The counts, once well and once refused by Entra."""
    return [*asyncio.run(_crowd(refused=False)), *asyncio.run(_crowd(refused=True))]


async def _crowd(*, refused: bool) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        async with open_stage(Path(folder)) as stage:
            begun = time.perf_counter()
            await (_type_and_be_refused(stage) if refused else all_type(stage))
            answers = sum(sum(words.values()) for words in (await told(stage)).values())
            took = f"in {time.perf_counter() - begun:.1f} s, the pretend world in the same process"
            grants, opened = len(stage.world.entra.grants("password")), await openings(stage)
            if refused:
                how = f"{CROWD} reads, opening refused: "
                counts = {"failed openings": opened["session.failed"]}
            else:
                how = f"{CROWD} reads, cold: "
                counts = {"listings": stage.world.vault.count("list"), "gets": stage.world.vault.count("get")}
            return [
                Row(f"{how}answers", "", f"{answers} ({took})", answers, Goal("=", CROWD, "answers")),
                *(Row(f"{how}{what}", "", str(count), count, Goal("=", 1, what)) for what, count in counts.items()),
                Row(f"{how}password grants", "", str(grants), grants, Goal("=", 1, "grants")),
            ]


async def _type_and_be_refused(stage: Stage) -> None:
    """Key Vault asks for patience first, so that all wait for the same opening; then Entra refuses it."""
    throttled = Answer(429, {"error": {"code": "Throttled", "message": "Later."}}, {"Retry-After": "20"})
    stage.world.faults.add(Rule("vault", "GET", "/secrets/*", throttled, times=1))
    stage.world.faults.start("policy-blocks-service-account")
    await all_type(stage)
    while len(await stage.bot.storage.requests.open()) < CROWD:
        pass  # reading them lets the bot go on
    stage.world.clock.advance(20)
