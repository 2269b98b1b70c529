"""The matrix of what tests of the rotation tried, printed at the end of a run, a parallel one too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

TRIED = "rotation-cells"
"""The property of a report under which a test says what it tried: rows of [table, row, column, cells, failures]."""

Tried = Callable[[str, str, str, bool], None]
"""Told of each cell: its table, row and column, and whether it passed."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was tried, as a matrix with counts."""
    tables: dict[str, dict[tuple[str, str], list[int]]] = {}
    seconds: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, rows in getattr(report, "user_properties", ()):
                if name != TRIED or report.when != "call":
                    continue
                for table in {row[0] for row in rows}:
                    seconds[table] += report.duration
                for table, row, column, number, failed in rows:
                    cell = tables.setdefault(table, {}).setdefault((row, column), [0, 0])
                    cell[0] += number
                    cell[1] += failed
    for table, cells in tables.items():
        terminalreporter.section(table)
        for line in _drawn(cells):
            terminalreporter.write_line(line)
        tried, failed = (sum(cell[at] for cell in cells.values()) for at in (0, 1))
        terminalreporter.write_line(f"{tried} cells tried, {tried - failed} passed, {seconds[table] / 60:.1f} minutes")


def _drawn(cells: dict[tuple[str, str], list[int]]) -> list[str]:
    """A matrix: how many cells passed, and how many did not where any did not."""
    rows = list(dict.fromkeys(row for row, _ in cells))
    columns = sorted({column for _, column in cells}, key=_place)
    width = max(len(row) for row in rows)
    lines = [" " * width + "".join(f"{column:>6}" for column in columns)]
    for row in rows:
        found = [cells.get((row, column), [0, 0]) for column in columns]
        shown = [f"{number - failed}!{failed}" if failed else str(number or "·") for number, failed in found]
        lines.append(f"{row:<{width}}" + "".join(f"{each:>6}" for each in shown))
    return lines


def _place(column: str) -> tuple[int, str]:
    """C9 comes before C10."""
    number = column.removeprefix("C").partition("+")[0]
    return (int(number), column) if number.isdigit() else (-1, column)
