"""What tests of the whole bot share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.rotation.tried import pytest_terminal_summary as pytest_terminal_summary  # a hook, which pytest looks for
from tests.stage import Stage, open_stage


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """The whole bot, set up and connected, in a world of its own."""
    async with open_stage(tmp_path) as opened:
        yield opened
