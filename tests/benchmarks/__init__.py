"""Benchmarks: each prints a ratio to a floor that is measured in the same run, beside the goal.

`python -m tests.benchmarks` runs them all; `docs/benchmarks.md` says what each row means.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Final

_COMPARED: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "≤": operator.le,
    "≥": operator.ge,
    "=": operator.eq,
}


@dataclass(frozen=True)
class Goal:
    """What a figure is to be: *compared* with *bound*. Without a unit the figure is a ratio to the floor."""

    compared: str
    bound: float
    unit: str = ""

    def met(self, figure: float) -> bool:
        return _COMPARED[self.compared](figure, self.bound)

    def __str__(self) -> str:
        return f"{self.compared} {self.bound:g} {self.unit}".rstrip()


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured, the floor and ours in words, and the figure the goal is about."""

    measure: str
    floor: str
    ours: str
    figure: float
    goal: Goal

    @property
    def met(self) -> bool:
        return self.goal.met(self.figure)

    @property
    def ratio(self) -> str:
        return "" if self.goal.unit else f"{self.figure:.2f}"


def measure(name: str, scale: float) -> list[Row]:
    """The rows of the benchmark *name*."""
    rows: list[Row] = import_module(f"tests.benchmarks.bench_{name}").run(scale)
    return rows
