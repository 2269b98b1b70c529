"""Benchmarks: each prints a ratio to a floor that is measured in the same run, beside the goal."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured, the figure, the goal it is to meet, and what it was compared with."""

    measure: str
    value: float
    goal: str
    floor: str
