"""Every single fault at every step of a rotation, over real HTTP with the real libraries: nobody is ever locked out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from bot.config import read_config
from bot.model import Point
from sandbox.directory import SERVICE_ACCOUNT, make_password
from sandbox.faults import SIGN_IN, Answer, Drop, Refuse, Rule, Service
from sandbox.vault import Version
from sandbox.world import World
from tests.rotation.cells import FOR_EVER, Answers, Calls, Cell, Happens, How, Matrix, Traits, lasting
from tests.rotation.installation import WorldTime
from tests.rotation.tried import Tried
from tests.stage import environment

SERVICES: tuple[Service, ...] = ("entra", "vault", "graph")


@pytest.fixture
async def matrix(tmp_path: Path, tried: Tried) -> AsyncIterator[Matrix]:
    async with World(state=tmp_path / "world") as world:
        with environment(world.environment()):
            yield Matrix(world, read_config(), WorldTime(world.clock), tmp_path, tried)


def passed(matrix: Matrix) -> None:
    assert not matrix.failures, "\n".join(matrix.failures)


@pytest.mark.parametrize(
    ("fault", "after"),
    [
        (Answers("graph: answer lost, once", "graph", Drop("after")), 0),
        (Answers("vault: answer lost, once", "vault", Drop("after"), "PUT"), 0),
        (lasting("entra: 503", "entra", Answer(503)), 7),
        (Answers("sign-in: 50126, until it ends", "entra", Refuse(50126), SIGN_IN, FOR_EVER), 1),
    ],
    ids=lambda value: value.name if isinstance(value, Answers) else "",
)
async def test_the_most_telling_ones(matrix: Matrix, fault: Answers, after: int) -> None:
    assert await matrix.cell(fault, after)
    passed(matrix)


@pytest.mark.slow
@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    ("name", "effect"),
    [
        ("answer lost", Drop("after")),
        ("request lost", Drop("before")),
        ("429", Answer(429, {"error": {"code": "Throttled", "message": "Too many."}}, {"Retry-After": "7"})),
        ("429 for long", Answer(429, {"error": {"code": "Throttled", "message": "Too many."}}, {"Retry-After": "900"})),
        ("500", Answer(500, {"error": {"code": "InternalError", "message": "A fault."}})),
        ("503", Answer(503, {"error": {"code": "ServiceUnavailable", "message": "Away."}})),
        ("401", Answer(401, {"error": {"code": "Unauthorized", "message": "No."}})),
        ("403", Answer(403, {"error": {"code": "Forbidden", "message": "No."}})),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_one_request_that_goes_wrong(matrix: Matrix, service: Service, name: str, effect: Answer | Drop) -> None:
    await matrix.every_step(Answers(f"{service}: {name}, once", service, effect))
    passed(matrix)


FORBIDDEN = {"code": "Forbidden", "message": "Caller is not authorized.", "innererror": {"code": "ForbiddenByRbac"}}
FIREWALL = {
    "code": "Forbidden",
    "message": "Client address is not authorized.",
    "innererror": {"code": "ForbiddenByFirewall"},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        lasting("vault: away", "vault", Drop("before")),
        lasting("vault: 503", "vault", Answer(503)),
        lasting("vault: 403, role taken away", "vault", Answer(403, {"error": FORBIDDEN}), "GET|PUT|PATCH|POST"),
        lasting("vault: 403, firewall closed", "vault", Answer(403, {"error": FIREWALL}), "GET|PUT|PATCH|POST"),
        lasting("entra: away", "entra", Drop("before")),
        lasting("entra: 503", "entra", Answer(503)),
        lasting("entra: 429", "entra", Answer(429, {"error": "temporarily_unavailable"}, {"Retry-After": "60"})),
        lasting("graph: away", "graph", Drop("before")),
        lasting("graph: applied, no answer", "graph", Drop("after")),
        lasting("graph: 403, role lost", "graph", Answer(403, {"error": {"code": "Authorization_RequestDenied"}})),
        lasting("graph: 429", "graph", Answer(429, {"error": {"code": "TooManyRequests"}}, {"Retry-After": "60"})),
        lasting("graph: 503", "graph", Answer(503, {"error": {"code": "ServiceUnavailable"}})),
    ],
    ids=lambda fault: fault.name,
)
async def test_a_service_that_stays_away(matrix: Matrix, fault: Answers) -> None:
    await matrix.every_step(fault)
    passed(matrix)


@pytest.mark.slow
async def test_vault_and_entra_away_at_the_same_time(matrix: Matrix) -> None:
    def split(cell: Cell) -> None:
        for service in SERVICES:
            cell.world.faults.add(Rule(service, "*", "*", Drop("before")))

    await matrix.every_step(Happens("network split: vault and Entra away", split))
    passed(matrix)


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, FOR_EVER], ids=["once", "until it ends"])
@pytest.mark.parametrize("code", [50126, 50053, 50076, 50079, 53003, 530035, 50055, 50057, 50034])
async def test_a_sign_in_that_is_refused(matrix: Matrix, code: int, times: int) -> None:
    how = "once" if times == 1 else "until it ends"
    await matrix.every_step(Answers(f"sign-in: {code}, {how}", "entra", Refuse(code), SIGN_IN, times))
    passed(matrix)


# --- what somebody else does in the middle of it ----------------------------------------------------------------------


def delete(cell: Cell) -> None:
    cell.world.vault.delete(cell.place.secret)


def recover(cell: Cell) -> None:
    cell.world.vault.recover(cell.place.secret)


def delete_for_good(cell: Cell) -> None:
    """The bot may not recover it."""
    delete(cell)
    cell.world.faults.add(Rule("vault", "POST", "/deletedsecrets/*", Answer(403, {"error": FORBIDDEN})))


class Disabled(Happens):
    """Somebody disables versions, and enables them afterwards; Latchkey never does that by itself."""

    def __init__(self, name: str, *, only_in_force: bool) -> None:
        super().__init__(name, self._disable, self._enable)
        self._only_in_force = only_in_force
        self._disabled: list[Version] = []

    def _disable(self, cell: Cell) -> None:
        password = cell.world.directory.password_of(SERVICE_ACCOUNT)
        versions = [version for version in cell.world.vault.versions(cell.place.secret) if version.enabled]
        self._disabled = [version for version in versions if not self._only_in_force or version.value == password]
        for version in self._disabled:
            version.enabled = False

    def _enable(self, cell: Cell) -> None:
        assert not any(version.enabled for version in self._disabled), "it was enabled without asking anybody"
        for version in self._disabled:
            version.enabled = version.tags.get("state") != "retired"


def expire(cell: Cell) -> None:
    for version in cell.world.vault.versions(cell.place.secret):
        version.expires = int(cell.world.clock.now()) - 60


class ChangedElsewhere(Happens):
    """Somebody gives the account another password; they take it back, or store it in the vault."""

    def __init__(self, name: str, *, stored: bool) -> None:
        super().__init__(name, self._change, self._store if stored else self._take_back)

    def _change(self, cell: Cell) -> None:
        self._before = cell.world.directory.password_of(SERVICE_ACCOUNT)
        cell.world.directory.set_password(SERVICE_ACCOUNT, make_password())

    def _take_back(self, cell: Cell) -> None:
        cell.world.directory.set_password(SERVICE_ACCOUNT, self._before)

    def _store(self, cell: Cell) -> None:
        cell.world.clock.advance(1)
        cell.world.vault.put(cell.place.secret, cell.world.directory.password_of(SERVICE_ACCOUNT))
        cell.stored_by_people += 1


def account(**changes: bool) -> Callable[[Cell], object]:
    return lambda cell: cell.world.directory.update_user(SERVICE_ACCOUNT, **changes)


def restore(cell: Cell) -> None:
    for user_id in tuple(cell.world.directory.deleted):
        cell.world.directory.restore_user(user_id)


def unlabel(cell: Cell) -> None:
    for version in cell.world.vault.versions(cell.place.secret):
        version.tags = {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "meddles"),
    [
        (Happens("somebody deletes the secret", delete, recover), False),
        (Happens("the same, and it may not be recovered", delete_for_good, recover), False),
        (Disabled("somebody disables what is in force", only_in_force=True), True),
        (Disabled("somebody disables every version", only_in_force=False), True),
        (Happens("every version expires", expire), False),
        (ChangedElsewhere("password changed elsewhere, and back", stored=False), True),
        (ChangedElsewhere("password changed elsewhere, then stored", stored=True), True),
        (Happens("account disabled", account(enabled=False), account(enabled=True)), True),
        (
            Happens("account deleted", lambda cell: cell.world.directory.delete_user(SERVICE_ACCOUNT), restore),
            True,
        ),
        (
            Happens("password expires", account(must_change_password=True), account(must_change_password=False)),
            False,
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Happens) else "",
)
async def test_what_somebody_else_does_meanwhile(matrix: Matrix, fault: Happens, meddles: bool) -> None:
    await matrix.every_step(fault, Traits(meddles=meddles))
    passed(matrix)


# --- clocks, databases, Microsoft's slowness and taste ----------------------------------------------------------------


def clock(seconds: float) -> Callable[[Cell], None]:
    def jump(cell: Cell) -> None:
        cell.clock.skew = seconds

    return jump


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "seconds"), [("-1 day", -86400.0), ("-1 h", -3600.0), ("+1 h", 3600.0), ("+1 day", 86400.0)]
)
async def test_the_clock_of_the_machine_jumps(matrix: Matrix, name: str, seconds: float) -> None:
    await matrix.every_step(Happens(f"clock jumps by {name}", clock(seconds), clock(0.0)))
    passed(matrix)


DAY = 86400.0


@pytest.mark.slow
@pytest.mark.parametrize("wrong_for", [1, 2], ids=["over one rotation", "over two"])
@pytest.mark.parametrize("seconds", [-DAY, -3600.0, 3600.0, DAY])
async def test_a_wrong_clock_brings_one_rotation_more_at_most(matrix: Matrix, seconds: float, wrong_for: int) -> None:
    """Six weeks, in which the clock is put forward in London; the clock of the machine jumps as soon as the first
    rotation is done, and is right again after one more, or two."""
    world, time = matrix.world, matrix.clock
    world.clock.advance(datetime(2027, 3, 21, tzinfo=UTC).timestamp() - world.clock.now())
    place, changed = await matrix.place(), list[float]()
    observer, end = place.observer(), world.clock.now() + 6 * 7 * DAY

    def passed_by(point: Point) -> None:
        if point is Point.CHANGED:
            changed.append(world.clock.now())
        if point is Point.RELEASED:
            time.skew = seconds if 1 <= len(changed) <= wrong_for else 0.0

    with observer.watching():
        async with place.life(passed=passed_by) as life:
            going_on = asyncio.create_task(life.rotator.keep_up())
            while world.clock.now() < end:
                await world.changes.next().wait()
            going_on.cancel()
            await asyncio.gather(going_on, return_exceptions=True)
    time.skew = 0.0
    apart = [(after - before) / DAY for before, after in pairwise(changed)]
    assert 5 <= len(changed) <= 7, apart
    assert min(apart) > 4, apart
    assert not observer.violations
    assert not place.alarm.opened


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "times"),
    [
        ("fails", 1),
        ("fails", FOR_EVER),
        ("is done, and fails", 1),
        ("is done, and fails", FOR_EVER),
        ("is locked", FOR_EVER),
        ("is full", FOR_EVER),
    ],
)
async def test_a_database_that_fails(matrix: Matrix, how: How, times: int) -> None:
    name = f"database: {how}, {'once' if times == 1 else 'until it ends'}"
    await matrix.every_step(Calls(name, how, times), traits=Traits(forgets=True))
    passed(matrix)


@pytest.mark.slow
@pytest.mark.parametrize("minutes", [0.1, 0.5, 1, 2, 5, 10, 14.5])
async def test_a_change_that_takes_its_time_to_reach_every_server(matrix: Matrix, minutes: float) -> None:
    def slow(cell: Cell) -> None:
        cell.world.entra.replication_lag = minutes * 60

    def quick(cell: Cell) -> None:
        cell.world.entra.replication_lag = 0.0

    await matrix.cell(Happens(f"replication takes {minutes:g} min", slow, quick))
    passed(matrix)


WEAK = Answer(400, {"error": {"code": "Request_BadRequest", "message": "Choose a different password."}})


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2, 4, 5, 6, 9, FOR_EVER])
async def test_new_passwords_that_are_refused(matrix: Matrix, times: int) -> None:
    how = f"{times} times" if times < FOR_EVER else "until it ends"
    await matrix.cell(
        Answers(f"graph: 400, weak or banned, {how}", "graph", WEAK, times=times), traits=Traits(refuses=True)
    )
    passed(matrix)


async def test_the_observer_sees_a_password_that_is_stored_nowhere_or_disabled(matrix: Matrix) -> None:
    place = await matrix.place()
    lost, disabled = place.observer(), place.observer()
    with disabled.watching():
        matrix.world.vault.versions(place.secret)[-1].enabled = False
    matrix.world.vault.versions(place.secret)[-1].enabled = True
    with lost.watching():
        matrix.world.directory.set_password(SERVICE_ACCOUNT, make_password())
    for observer in (disabled, lost):
        assert observer.violations == [
            "the password in force is not stored, or is disabled",
            "no stored password signs in",
        ]
