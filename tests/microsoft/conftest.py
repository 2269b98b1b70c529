"""Fixtures of the Microsoft tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.microsoft.tenant import Contoso, open_contoso


@pytest.fixture
async def contoso() -> AsyncIterator[Contoso]:
    async with open_contoso() as tenant:
        yield tenant
