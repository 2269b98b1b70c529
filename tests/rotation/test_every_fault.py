"""Rotations in memory, with every input and output failing in every way: nobody is ever locked out.

SQLite's loop: fail the first, the second, the third ... until a run meets no more faults, and all of that again with
another fault after the first.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import pytest

from bot.rotation import NEW_ONES, OVERLAP, Aim, Cause, Change, Ending, Reach, State, Store, Wait
from tests.rotation.model import Exploration, Part, Way, Worker, World, a_world

NO_LAG: Final = ()
LAGS: Final = [(True, True), (False, True), (True, True, True, True)]
"""After a change: which of the next sign-ins meet a server that has not heard of it."""

BEGINNINGS: Final = {
    "stored by hand": (("",), 1),
    "as usual": (("previous", "previous", "current"), 3),
    "a new one waits": (("previous", "current", "pending"), 2),
    "the one that waits is in force": (("previous", "current", "pending"), 3),
    "two wait": (("previous", "current", "pending", "pending"), 2),
    "two wait and the older is in force": (("previous", "current", "pending", "pending"), 3),
    "an old one waits": (("previous", "pending", "current"), 3),
    "the previous one is in force": (("previous", "previous", "current"), 2),
    "two are current": (("previous", "current", "current"), 3),
    "two are current and the older is in force": (("previous", "current", "current"), 2),
    "some were refused": (("previous", "current", "refused", "refused"), 2),
    "a refused one is in force": (("previous", "current", "refused"), 3),
    "none of them has a tag": (("", "", ""), 1),
}
"""How the versions are tagged, oldest first, and which one is in force."""

TWO_WEEKS: Final = (Part("one"), Part("two", after=timedelta(days=7)))
GIVEN_UP: Final = (Part("one", Aim.GIVE_UP), *TWO_WEEKS[1:])
REPAIRED: Final = (Part("one", Aim.REPAIR), *TWO_WEEKS[1:])
CERTIFICATES: Final = (Part("one"), Part("old ones go", Aim.REPAIR, OVERLAP * 2), Part("two", after=timedelta(days=90)))


def begin(beginning: str, lag: tuple[bool, ...] = NO_LAG) -> World:
    states, in_force = BEGINNINGS[beginning]
    return a_world(*states, in_force=[in_force], lag=lag)


def explored(world: World, parts: tuple[Part, ...], faults: int) -> int:
    exploration = Exploration(parts)
    plans = exploration.plans(world, faults)
    print(f"up to {faults} faults: {plans:,} plans, {exploration.runs:,} tries of {exploration.effects:,} effects")
    return plans


@pytest.mark.parametrize("lag", [NO_LAG, *LAGS])
@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_two_rotations_with_any_one_fault(beginning: str, lag: tuple[bool, ...]) -> None:
    assert explored(begin(beginning, lag), TWO_WEEKS, 1) > 200


@pytest.mark.slow
@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_two_rotations_with_any_two_faults(beginning: str) -> None:
    assert explored(begin(beginning, LAGS[0]), TWO_WEEKS, 2) > 20_000


@pytest.mark.slow
@pytest.mark.parametrize(("lag", "weeks"), [(NO_LAG, 2), (LAGS[0], 1)])
def test_rotations_with_any_three_faults(lag: tuple[bool, ...], weeks: int) -> None:
    assert explored(begin("as usual", lag), TWO_WEEKS[:weeks], 3) > 100_000


@pytest.mark.parametrize("parts", [GIVEN_UP, REPAIRED], ids=["given up", "repaired"])
@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_a_new_one_is_given_up_or_the_tags_are_repaired_with_any_one_fault(
    beginning: str, parts: tuple[Part, ...]
) -> None:
    assert explored(begin(beginning, LAGS[1]), parts, 1) > 100


@pytest.mark.parametrize(
    ("states", "in_force"),
    [
        (("",), (1,)),
        (("previous", "current"), (1, 2)),
        (("previous", "previous", "current"), (2, 3)),
        (("current", "pending"), (1, 2)),
        (("current", "pending"), (1,)),
        (("current", "refused"), (1, 2)),
        (("previous", "current"), (1,)),
    ],
)
@pytest.mark.parametrize("lag", [NO_LAG, LAGS[0]])
def test_certificates_of_which_several_are_in_force_with_any_one_fault(
    states: tuple[str, ...], in_force: tuple[int, ...], lag: tuple[bool, ...]
) -> None:
    world = a_world(*states, in_force=in_force, lag=lag, replaces=False)

    assert explored(world, CERTIFICATES, 1) > 200


def test_an_old_certificate_is_withdrawn_after_its_overlap_and_not_before() -> None:
    world = a_world("previous", "current", in_force=(1, 2), replaces=False)

    run(world, "one")
    assert world.in_force == {"v1", "v2", "v3"}

    world.now += OVERLAP
    run(world, "later", Aim.REPAIR)
    assert world.in_force == {"v3"}
    assert [version.version for version in world.versions if version.enabled] == ["v3"]


# --- Single stories -------------------------------------------------------------------------------------------------


def run(world: World, rotation_id: str, aim: Aim = Aim.RENEW) -> Ending:
    worker = Worker(world, rotation_id, aim)
    worker.begin()
    while worker.effect is not None:
        worker.step()
    assert worker.ending is not None
    return worker.ending


def test_the_one_before_stays_enabled_and_what_is_older_does_not() -> None:
    world = begin("as usual")

    for week in ("one", "two", "three"):
        run(world, week)

    enabled = [(version.version, version.tags["state"]) for version in world.versions if version.enabled]
    assert enabled == [("v6", "current"), ("v5", "previous")]


def test_the_one_before_stays_enabled_although_others_were_refused_since() -> None:
    world = begin("as usual")
    world.banned = frozenset({"v4", "v5"})

    assert run(world, "one").done

    assert world.tagged(State.CURRENT) == ["v6"]
    assert world.tagged(State.PREVIOUS) == ["v3"]
    assert world.tagged(State.REFUSED) == ["v5", "v4"]


def test_a_tenant_that_takes_no_password_at_all_is_asked_five_times_and_then_once_in_a_try() -> None:
    world = begin("as usual")
    world.bans_all = True

    assert run(world, "one").cause is Cause.NOT_TAKEN
    assert len(world.tagged(State.REFUSED)) == NEW_ONES
    assert run(world, "one").cause is Cause.NOT_TAKEN
    assert len(world.tagged(State.REFUSED)) == NEW_ONES + 1

    world.now += timedelta(days=2)
    ending = run(world, "one")
    assert ending.cause is Cause.NOT_TAKEN
    assert ending.in_force is not None
    assert ending.in_force.version == "v3"
    assert len(world.tagged(State.REFUSED)) == 1, "what was refused long ago is disabled"

    world.bans_all = False
    assert run(world, "one").done


def test_a_policy_that_stops_the_sign_in_stops_the_change_too() -> None:
    world = begin("as usual")
    world.blocked = True

    ending = run(world, "one")

    assert ending.cause is Cause.BLOCKED
    assert len(world.versions) == 3, "nothing new was made"
    world.blocked = False
    assert run(world, "one").done


def test_nothing_is_made_or_changed_when_nothing_that_is_stored_signs_in() -> None:
    world = begin("as usual")
    world.lost, world.in_force = True, frozenset({"somebody's own"})

    ending = run(world, "one")

    assert ending.cause is Cause.LOST
    assert ending.in_force is None
    assert len(world.versions) == 3
    assert all(version.enabled for version in world.versions)


def test_an_empty_vault_is_told_as_nothing_that_signs_in() -> None:
    world = a_world(in_force=())
    world.lost = True

    assert run(world, "one").cause is Cause.LOST
    assert not world.versions


def test_a_change_of_which_nobody_heard_costs_one_guess_at_most() -> None:
    world = begin("as usual")
    for _ in range(2):
        worker = Worker(world, "one")
        worker.begin()
        while worker.effect is not None:
            worker.step(Way.UNAPPLIED if isinstance(worker.effect, Change) else None)
        assert worker.ending is not None
        assert worker.ending.cause is Cause.UNKNOWN
        assert worker.ending.in_force is not None
        assert worker.ending.in_force.version == "v3", "the old one signed in all the time"

    assert world.guessed["one"] == 1
    assert run(world, "one").done


def test_two_good_sign_ins_lie_half_a_minute_apart_before_a_tag_says_that_it_is_current() -> None:
    world = begin("as usual")
    worker, waited = Worker(world, "one"), timedelta()
    worker.begin()
    while not (isinstance(worker.effect, Reach) and worker.effect.point == "C12"):
        if isinstance(worker.effect, Wait):
            waited += worker.effect.time
        elif isinstance(worker.effect, Change | Store):
            waited = timedelta()
        worker.step()

    assert waited == timedelta(seconds=30)


def test_what_was_finished_but_for_the_rest_is_not_done_again() -> None:
    world = begin("as usual")
    worker = Worker(world, "one")
    worker.begin()
    while not (isinstance(worker.effect, Reach) and worker.effect.point == "C12"):
        worker.step()
    worker.step(Way.CRASH_BEFORE)

    ending = run(world, "one")

    assert ending.done
    assert ending.changed
    assert len(world.versions) == 4


def test_the_tags_are_put_right_before_a_new_one_is_tried() -> None:
    world = begin("the previous one is in force")
    worker = Worker(world, "one")
    worker.begin()
    while worker.effect is not None:
        worker.step(Way.FORBIDDEN if isinstance(worker.effect, Change) else None)

    assert worker.ending is not None
    assert worker.ending.cause is Cause.FORBIDDEN
    assert world.tagged(State.CURRENT) == ["v2"]
    assert world.tagged(State.PREVIOUS) == ["v3", "v1"]
