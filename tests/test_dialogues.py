"""The shipped dialogues come true: the real bot, in a process of its own, against the pretend world."""

import asyncio
from pathlib import Path

import pytest

from sandbox.dialogue import load
from sandbox.play import perform, prepare
from tests.stage import UNHURRIED

DIALOGUES = sorted((Path(__file__).parent.parent / "sandbox" / "dialogues").glob("*.yaml"))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished first installation, made once with the bot's own command line; every dialogue gets a copy."""
    folder = tmp_path_factory.mktemp("prepared")
    asyncio.run(prepare(folder))  # in a loop of its own: each test has another one
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("file", DIALOGUES, ids=lambda file: file.stem)
async def test_a_dialogue_comes_true(file: Path, prepared: Path) -> None:
    await perform(load(file), prepared, limits=UNHURRIED)


@pytest.mark.slow
async def test_the_main_job_comes_true_over_signed_http(prepared: Path) -> None:
    file = next(file for file in DIALOGUES if file.stem == "main_job_cold")

    await perform(load(file), prepared, transport="http", limits=UNHURRIED)
