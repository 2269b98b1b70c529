"""How long a sign-in over 200 policies takes: explained, and only decided; against the evaluator of the tests.

And with how many calls everything is fetched that judging everybody needs.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import aiohttp

from bot.clock import SystemClock
from bot.config import Config, read_config
from bot.microsoft.bot_tokens import BotTokens
from bot.microsoft.credentials import bot_credential
from bot.microsoft.http import open_http
from bot.tenant_people import read_people
from bot.whatif.evaluation import PolicySet
from bot.whatif.locations import read_locations
from bot.whatif.policies import read_policies
from bot.whatif.signins import SignIn, read_person, read_request
from bot.wiring import audit_key, microsoft, policies_of, storage
from tests.benchmarks import Goal, Row
from tests.benchmarks.processes import Child
from tests.stage import environment
from tests.whatif import drawn, naive
from tests.whatif.drawn import JSON, Dice

_POLICIES = 200
_SIGN_INS = 2_000
_ROUNDS = 5
_PEOPLE, _GROUPS, _MEMBERS = 10_000, 20, 2_500
"""Of the tenant that is fetched: so many, however small the run is, for pages are what is counted."""

T = TypeVar("T")


def run(scale: float) -> list[Row]:
    """Of each the best round, for other programs only ever add. The sign-ins say everything, and are other ones in
    every round, so that nothing is remembered of them."""
    dice = Dice(1)
    raw = [{**dice.policy(str(number)), "state": "enabled"} for number in range(_POLICIES)]
    policies, locations = read_policies(raw), read_locations(drawn.LOCATIONS)
    slow: list[float] = []
    explained: list[float] = []
    decided: list[float] = []
    compiled = PolicySet.compile(policies, locations)
    for _ in range(_ROUNDS):
        lines = [dice.line(str(number), given=1.0) for number in range(max(100, int(_SIGN_INS * scale)))]
        slow.append(_per_call(lambda line: _naive(raw, line), lines[:50]))
        explained.append(_per_call(lambda sign_in: _explained(compiled, sign_in), map(_read, lines)))
        decided.append(_per_call(compiled.decide, map(_read, lines)))
    compiling = _per_call(lambda known: PolicySet.compile(policies, known), [locations] * _ROUNDS)
    floor = f"one condition after the other: {min(slow):.0f} µs"
    rows = ((f"what-if over {_POLICIES} policies, explained", explained, 100), ("the same, only decided", decided, 10))
    return [
        *(_row(measure, floor, min(times), Goal("≤", goal, "µs")) for measure, times, goal in rows),
        _row(f"{_POLICIES} policies compiled", "", compiling, Goal("≤", 100_000, "µs")),
        _fetching(),
    ]


# --- fetching -------------------------------------------------------------------------------------------------------


def _fetching() -> Row:
    with (
        tempfile.TemporaryDirectory() as folder,
        Child("tests.benchmarks.world", "socket", folder, folder=Path(folder)) as world,
    ):
        world.ask("people", count=_PEOPLE)
        groups = world.ask("policies_for", groups=_GROUPS, of=_MEMBERS)
        with environment(world.said["environment"]):
            return asyncio.run(_fetched(world, read_config(), groups))


async def _fetched(world: Child, config: Config, groups: Sequence[str]) -> Row:
    world.ask("asked_of_graph")
    begun = time.perf_counter()
    await _page_through(config, groups)
    floor, floor_seconds = len(world.ask("asked_of_graph")), time.perf_counter() - begun
    clock = SystemClock()
    async with microsoft(config, clock) as ways, storage(config, clock, await audit_key(config, ways)) as store:
        begun = time.perf_counter()
        tenant = await policies_of(config, clock, ways, store).read()
        people = await read_people(ways.policies, tenant.policies)
        seconds, calls = time.perf_counter() - begun, len(world.ask("asked_of_graph"))
    assert len(people) > _PEOPLE
    assert sum(len(account.person.groups or ()) for account in people.values()) == _GROUPS * _MEMBERS
    return Row(
        f"calls for {_PEOPLE:,} people and {_GROUPS} groups",
        f"{floor} pages of users and members, back to back: {floor_seconds:.1f} s",
        f"{calls} calls, {seconds:.1f} s",
        calls / floor,
        Goal("≤", 1.1),
    )


async def _page_through(config: Config, groups: Sequence[str]) -> None:
    """The users and the members of the groups with bare aiohttp, page for page, one after the other."""
    async with open_http(config.extra_ca_file) as http:
        credential = bot_credential(config.bot_identity.value, authority_host=config.authority_host, http=http)
        token = (await BotTokens(credential, config.graph_url).token()).value.reveal()
        await credential.close()
        for path in ("users", *(f"groups/{group}/transitiveMembers" for group in groups)):
            url = f"{config.graph_url}/{path}?$select=id&$top=999"
            while url:
                url = await _next_page(http, url, token)


async def _next_page(http: aiohttp.ClientSession, url: str, token: str) -> str:
    async with http.get(url, headers={"Authorization": f"Bearer {token}"}) as answer:
        assert answer.status == 200, await answer.text()
        return str((await answer.json()).get("@odata.nextLink", ""))


# --- judging --------------------------------------------------------------------------------------------------------


def _row(measure: str, floor: str, micros: float, goal: Goal) -> Row:
    return Row(measure, floor, f"{micros:,.1f} µs", micros, goal)


def _explained(policies: PolicySet, sign_in: SignIn) -> None:
    """Everything that a table shows."""
    verdict = policies.evaluate(sign_in)
    for outcome in (verdict.enforced, verdict.report_only):
        _ = outcome.decision, outcome.controls, outcome.session_limits


def _naive(policies: list[JSON], line: JSON) -> None:
    for policy in policies:
        naive.judge(policy, line, drawn.LOCATIONS, strict=False)


def _read(line: JSON) -> SignIn:
    return read_request(line["request"], read_person(line["user"]) if line["user"] else None)


def _per_call(call: Callable[[T], object], of: Iterable[T]) -> float:
    """Microseconds of CPU for one."""
    each_of = list(of)
    begun = time.process_time()
    for each in each_of:
        call(each)
    return (time.process_time() - begun) / len(each_of) * 1e6
