"""What tests of the rotation share: they say what they tried, and the run prints it in the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.rotation.tried import TRIED, Tried


@pytest.fixture
def tried(record_property: Callable[[str, Any], None]) -> Tried:
    counts: Counter[tuple[str, str, str]] = Counter()
    failures: Counter[tuple[str, str, str]] = Counter()
    rows: list[list[Any]] = []
    record_property(TRIED, rows)

    def tell(table: str, row: str, column: str, passed: bool) -> None:
        counts[table, row, column] += 1
        failures[table, row, column] += not passed
        rows[:] = [[*map(str, cell), number, failures[cell]] for cell, number in counts.items()]

    return tell
