"""Several processes that rotate one credential at once, and none of them holds a claim: still nobody is locked out."""

from __future__ import annotations

from typing import Final

import pytest

from bot.rotation import Aim, Change, Effect, ListVersions, Store
from tests.rotation.model import Interleaving, Way, Worker, ways
from tests.rotation.test_every_fault import BEGINNINGS, LAGS, NO_LAG, begin

PAIRS: Final = [(Aim.RENEW, Aim.RENEW), (Aim.RENEW, Aim.REPAIR), (Aim.RENEW, Aim.GIVE_UP)]


def every_order(
    beginning: str, lag: tuple[bool, ...], ids: tuple[str, ...], aims: tuple[Aim, ...], *, tries: int, faults: int = 0
) -> int:
    world, every = begin(beginning, lag), Interleaving(tries, fatal)
    count = every.schedules(world, [Worker(world, one, aim) for one, aim in zip(ids, aims, strict=True)], faults)
    print(f"{len(ids)} workers, {tries} tries each, {faults} faults: {count:,} orders, {every.states:,} states")
    return count


def fatal(effect: Effect) -> tuple[Way, ...]:
    """The process dies after it, or what it changes is done without an answer."""
    kinds = {Way.CRASH_AFTER, Way.APPLIED} if isinstance(effect, Change) else {Way.CRASH_AFTER}
    return tuple(way for way in ways(effect) if way in kinds and isinstance(effect, Change | Store | ListVersions))


@pytest.mark.parametrize("ids", [("one", "two"), ("one", "one")], ids=["two rotations", "the same rotation"])
@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_two_in_every_order(beginning: str, ids: tuple[str, str]) -> None:
    assert every_order(beginning, NO_LAG, ids, PAIRS[0], tries=1) >= 1_000


@pytest.mark.slow
@pytest.mark.parametrize("aims", PAIRS, ids=["both renew", "one repairs", "one gives up"])
@pytest.mark.parametrize(
    ("beginning", "lag"),
    [
        ("as usual", NO_LAG),
        ("as usual", LAGS[1]),
        ("an old one waits", LAGS[0]),
        ("the previous one is in force", NO_LAG),
    ],
)
def test_two_that_try_again_in_every_order(beginning: str, lag: tuple[bool, ...], aims: tuple[Aim, Aim]) -> None:
    assert every_order(beginning, lag, ("one", "two"), aims, tries=2) > 1_000


@pytest.mark.slow
def test_two_of_which_one_dies_in_every_order() -> None:
    assert every_order("as usual", NO_LAG, ("one", "two"), PAIRS[0], tries=2, faults=1) > 1_000_000
