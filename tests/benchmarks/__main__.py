"""`python -m tests.benchmarks`: run them all and print one table. `--help` says how to run some, or all of it."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Final

from tests.benchmarks import Row, measure

ALL: Final = ("acknowledge", "flood", "storage", "action", "rotation", "reads", "start", "whatif")


def main() -> int:
    """Print the table; 0 however the figures are: a shared machine is no reason to fail a build."""
    parsed = _parser().parse_args()
    rows: list[Row] = []
    # Each in a process of its own, so that none finds the memory or the garbage of another.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        for name in parsed.only or ALL:
            begun = time.monotonic()
            rows += pool.submit(measure, name, parsed.scale).result()
            print(f"{name}: {time.monotonic() - begun:.0f} s", file=sys.stderr)
    print(table(rows))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "--scale", type=float, default=0.1, help="1 for 10,000 operators and a million audit rows; 0.1 by default"
    )
    parser.add_argument("--only", choices=ALL, nargs="+", metavar="NAME", help=f"some of: {', '.join(ALL)}")
    return parser


def table(rows: Sequence[Row]) -> str:
    """The rows as a table in Markdown, so that it can be kept as it is."""
    lines = [("measure", "floor", "ours", "ratio", "goal", "met")]
    lines += [(row.measure, row.floor, row.ours, row.ratio, str(row.goal), "yes" if row.met else "NO") for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    drawn = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    ruled = [drawn[0], " | ".join("-" * width for width in widths), *drawn[1:]]
    return "\n".join(f"| {line} |" for line in ruled)


if __name__ == "__main__":
    sys.exit(main())
