"""The world's clock and the faults one can start, as the servers see them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta

import aiohttp
import pytest
from aiohttp import web

from bot.clock import SystemClock
from bot.in_sandbox import sandbox_time
from sandbox.clock import WorldClock, iso
from sandbox.faults import Answer, Delay, Drop, Effect, Faults, Hang, Rule, disturb
from sandbox.world import World

OFFERED = {
    "policy-blocks-service-account",
    "mfa-required",
    "wrong-password",
    "account-disabled",
    "entra-down",
    "vault-down",
    "vault-forbidden",
    "vault-throttled",
    "graph-throttled",
    "graph-down",
    "graph-forbidden",
    "graph-lag",
    "graph-drops-after-write",
    "slack-down",
    "slack-throttled",
    "slack-drops-socket",
}


def test_time_moves_when_told_to() -> None:
    clock = WorldClock()
    before = clock.now()

    clock.advance(3600)

    assert 3600 <= clock.now() - before < 3610
    assert iso(0) == "1970-01-01T00:00:00Z"


async def test_listeners_hear_the_offset_now_and_after_every_move() -> None:
    clock = WorldClock()
    heard: list[float] = []
    stop = clock.subscribe(heard.append)

    async with aclosing(clock.offsets()) as offsets:
        seen = [await anext(offsets)]
        clock.advance(60)
        clock.advance(-10)
        seen += [await anext(offsets), await anext(offsets)]
    stop()
    clock.advance(1)

    assert seen == [0.0, 60.0, 50.0]
    assert heard == [60.0, 50.0]


async def test_once_time_has_passed_whoever_follows_lives_in_it() -> None:
    async with World() as world:
        ours, others = SystemClock(), SystemClock()
        address = f"{world.url}/clock"
        async with sandbox_time(address, ours, lambda: None):
            async with sandbox_time(address, others, lambda: None):
                before = ours.now()
                await world.passes(3600)
                assert min(ours.now(), others.now()) - before >= timedelta(hours=1)
            await world.passes(-3600)
            assert ours.now() - before < timedelta(hours=1)
        await world.passes(60)  # nobody follows any more


def test_every_fault_the_panel_needs_is_offered_and_told_in_a_sentence() -> None:
    catalogue = Faults().catalogue()

    assert {kind.name for kind in catalogue} >= OFFERED
    for kind in catalogue:
        assert kind.description.endswith(".")
        assert len(kind.title) < 40
        assert all(rule.service == kind.service for rule in kind.rules)


def test_a_named_fault_happens_until_it_is_stopped() -> None:
    faults = Faults()

    faults.start("graph-down")

    assert faults.active() == ["graph-down"]
    for _ in range(5):
        assert isinstance(faults.match("graph", "GET", "/users"), Answer)
    faults.stop("graph-down")
    assert faults.match("graph", "GET", "/users") is None


def test_a_counted_fault_ends_by_itself_and_starts_anew() -> None:
    faults = Faults()
    changes: list[list[str]] = []
    faults.subscribe(lambda: changes.append(faults.active()))

    for _ in range(2):
        faults.start("graph-throttled")
        effects = [faults.match("graph", "GET", "/users") for _ in range(4)]
        assert [isinstance(effect, Answer) for effect in effects] == [True, True, True, False]

    assert faults.active() == []
    assert changes[-1] == []


def test_an_unknown_fault_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        Faults().start("graph-donw")
    with pytest.raises(KeyError):
        Faults().stop("graph-donw")


@pytest.mark.parametrize(
    ("rule", "method", "path", "matches"),
    [
        pytest.param(Rule("graph", "*", "/*", Hang()), "GET", "/users/a/b", True, id="everything"),
        pytest.param(Rule("graph", "PATCH", "/users/*", Hang()), "PATCH", "/users/a", True, id="one method"),
        pytest.param(Rule("graph", "PATCH", "/users/*", Hang()), "GET", "/users/a", False, id="another method"),
        pytest.param(Rule("graph", "PUT|POST", "/*", Hang()), "POST", "/x", True, id="one of two methods"),
        pytest.param(Rule("vault", "*", "/*", Hang()), "GET", "/users", False, id="another service"),
        pytest.param(Rule("graph", "*", "/*", Hang(), except_paths=("*/x",)), "GET", "/a/x", False, id="spared path"),
    ],
)
def test_a_rule_matches_service_method_and_path(rule: Rule, method: str, path: str, matches: bool) -> None:
    faults = Faults()
    faults.add(rule)

    assert (faults.match("graph", method, path) is rule.effect) is matches


def test_a_rule_may_let_requests_through_first_and_then_count() -> None:
    faults = Faults()
    faults.add(Rule("graph", "PATCH", "/*", Drop("after"), times=1, after=2))

    seen = [faults.match("graph", "PATCH", "/users/a") for _ in range(4)]

    assert seen == [None, None, Drop("after"), None]


def test_everything_can_be_ended_at_once() -> None:
    faults = Faults()
    faults.start("entra-down")
    rule = faults.add(Rule("graph", "*", "/*", Hang()))

    faults.stop_all()
    faults.remove(rule)

    assert faults.active() == []
    assert faults.match("graph", "GET", "/users") is None


def test_only_real_writes_are_dropped_after_they_were_applied() -> None:
    faults = Faults()
    faults.start("graph-drops-after-write")

    assert faults.match("graph", "GET", "/users/a") is None
    assert faults.match("graph", "POST", "/users/a/checkMemberGroups") is None
    assert faults.match("graph", "PATCH", "/users/a") == Drop("after")
    assert faults.match("graph", "PATCH", "/users/a") is None


@asynccontextmanager
async def _server(effect: Effect) -> AsyncIterator[tuple[str, list[str]]]:
    """A server that notes what it was asked and is disturbed by `effect`."""
    served: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        async def serve() -> web.StreamResponse:
            served.append(request.path)
            return web.Response(text="done")

        return await disturb(effect, request, serve)

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/", served
    finally:
        await runner.cleanup()


async def test_an_answer_is_given_instead_of_serving() -> None:
    effect = Answer(429, {"error": "slow down"}, {"Retry-After": "3"})
    async with _server(effect) as (url, served), aiohttp.ClientSession() as http, http.get(url) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "3")
        assert await answer.json() == {"error": "slow down"}
        assert served == []


@pytest.mark.parametrize(("when", "applied"), [("before", 0), ("after", 1)])
async def test_a_dropped_connection_tells_the_client_nothing(when: str, applied: int) -> None:
    effect = Drop("before" if when == "before" else "after")
    async with _server(effect) as (url, served), aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientConnectionError):
            await http.get(url)

        # aiohttp itself asks once more after a lost connection: every one of them was applied, or none.
        assert (len(served) > 0) is (applied > 0)


async def test_a_hanging_server_lasts_as_long_as_the_client_waits() -> None:
    async with _server(Hang()) as (url, served), aiohttp.ClientSession() as http:
        with pytest.raises(TimeoutError):
            await http.get(url, timeout=aiohttp.ClientTimeout(total=0.05))

        assert served == []


async def test_a_delayed_request_is_served_late() -> None:
    async with _server(Delay(0.05)) as (url, served), aiohttp.ClientSession() as http:
        started = asyncio.get_running_loop().time()
        async with http.get(url) as answer:
            assert await answer.text() == "done"

        assert asyncio.get_running_loop().time() - started >= 0.05
        assert served == ["/"]
