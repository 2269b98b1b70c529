"""A stage for every test that wants one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.handlers.stage import Stage, a_stage


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """The Slack room over Socket Mode."""
    async with a_stage(tmp_path) as stage:
        yield stage


@pytest.fixture
async def http_stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """The Slack room over signed HTTP."""
    async with a_stage(tmp_path, transport="http") as stage:
        yield stage
