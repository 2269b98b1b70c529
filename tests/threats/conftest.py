"""What the tests of attacks share: a bot for each module, and its log, in which no exception may stand."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
import pytest_asyncio

from bot.logs import quiet_libraries
from bot.microsoft.sdk_logs import quiet_sdk_loggers
from tests.stage import Stage, open_stage
from tests.threats.log import Log
from tests.threats.talking import PATIENT


@contextmanager
def _levels_kept() -> Iterator[None]:
    manager = logging.Logger.manager
    before = {name: each.level for name, each in manager.loggerDict.items() if isinstance(each, logging.Logger)}
    try:
        yield
    finally:
        for name, each in manager.loggerDict.items():
            if isinstance(each, logging.Logger):
                each.setLevel(before.get(name, logging.NOTSET))


@pytest.fixture(autouse=True)
def log() -> Iterator[Log]:
    """All that the bot logs during a test, as `latchkey run` would write it. No attack may make it stumble."""
    root, kept = logging.getLogger(), Log()
    level = root.level
    with _levels_kept():
        quiet_libraries()
        quiet_sdk_loggers()
        root.addHandler(kept)
        root.setLevel(logging.INFO)
        yield kept
        root.removeHandler(kept)
        root.setLevel(level)
    assert kept.tracebacks == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """One bot for all tests of a module, which leave it as they found it."""
    async with open_stage(tmp_path_factory.mktemp("shared"), limits=PATIENT) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def over_http(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """The same, to which Slack delivers by signed HTTP."""
    async with open_stage(tmp_path_factory.mktemp("over_http"), transport="http", limits=PATIENT) as opened:
        yield opened
