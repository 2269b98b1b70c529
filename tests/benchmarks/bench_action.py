"""What a warm action costs beside the calls it makes: policy, plan, two durable audit rows, reading back."""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from yarl import URL

from bot.approvals import Approvals
from bot.auditing import Reply
from bot.clock import SystemClock
from bot.config import Config, read_config
from bot.enquiries import Enquiries
from bot.journey import Means
from bot.microsoft.http import tls_context
from bot.model import Origin, Request, RequestState, SlackUser, Target, TargetKind
from bot.office import Office
from bot.ports import Preview
from bot.reveals import SecretsInWaiting
from bot.runner import Runner
from bot.session import ManagementSession
from bot.signing_in import SigningIn
from bot.standing import Standing
from bot.wiring import audit_key, guess_book, microsoft, service_identity, storage
from tests.benchmarks import Goal, Row
from tests.benchmarks.processes import Child
from tests.stage import TEAM, environment

_ACTIONS = 200
"""Each by turns with its floor: whatever else the machine does disturbs both alike."""

Seen = tuple[str, str, str]
"""Method, path and query of a call."""


class _NoForms:
    """Nobody has a form open."""

    async def fill(self, request: Request, preview: Preview) -> None:
        raise NotImplementedError

    async def tell(self, request: Request, sentence: str, *, again: bool) -> None:
        raise NotImplementedError


class _NoAuditors:
    """Nobody asks."""

    async def read(self, request: Request) -> Reply:
        raise NotImplementedError

    who = roles = status = history = ask = compare = draft = read


def run(scale: float) -> list[Row]:
    """One row for CPU, one for time."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Child("tests.benchmarks.world", "socket", folder, folder=Path(folder)) as world,
    ):
        with environment(world.said["environment"]):
            return asyncio.run(_measure(world, read_config()))


async def _measure(world: Child, config: Config) -> list[Row]:
    people = iter(world.ask("people", count=_ACTIONS + 2))
    async with _a_runner(config) as (confirmed, advance), _bare(config) as replay:
        await advance(await confirmed(next(people)))  # opens the session
        world.ask("asked_of_graph")
        await advance(await confirmed(next(people)))
        calls = world.ask("asked_of_graph")
        floors, ours = [], []
        for person in people:
            request = await confirmed(person)
            floors.append(await _used(replay(calls)))
            ours.append(await _used(advance(request)))
    cpu, bare_cpu = (statistics.median(used.cpu for used in side) for side in (ours, floors))
    wall, bare_wall = (statistics.median(used.wall for used in side) for side in (ours, floors))
    told = f"{len(calls)} calls with bare aiohttp and 2 fdatasyncs"
    return [
        Row("warm password reset, CPU", f"{told}: {bare_cpu:.2f} ms", f"{cpu:.2f} ms", cpu / bare_cpu, Goal("≤", 1.5)),
        Row(
            "warm password reset, added time",
            f"the same: {bare_wall:.2f} ms",
            f"{wall:.2f} ms, {wall - bare_wall:.2f} more",
            round(wall - bare_wall, 2),
            Goal("≤", 2, "ms"),
        ),
    ]


@dataclass(frozen=True)
class _Used:
    """Milliseconds: of CPU of this process with all its threads, and of time."""

    cpu: float
    wall: float


async def _used(work: Awaitable[None]) -> _Used:
    cpu, began = time.process_time(), time.perf_counter()
    await work
    return _Used((time.process_time() - cpu) * 1e3, (time.perf_counter() - began) * 1e3)


@asynccontextmanager
async def _a_runner(
    config: Config,
) -> AsyncIterator[tuple[Callable[[str], Awaitable[str]], Callable[[str], Awaitable[None]]]]:
    """Makes a confirmed request to reset a person's password, and takes it along the road to its outcome."""
    clock = SystemClock()
    guesses = guess_book(config, clock)
    async with microsoft(config, clock) as ways, storage(config, clock, await audit_key(config, ways)) as store:
        session = ManagementSession(
            clock=clock,
            settings=store.settings,
            sessions=store.sessions,
            identity_of=lambda settings: service_identity(config, ways, guesses, settings),
            tenant=ways.tenant,
            zone=config.zone,
        )
        await session.start()
        enquiries = Enquiries(
            clock=clock,
            operators=store.operators,
            settings=store.settings,
            session=session,
            auditing=_NoAuditors(),
            roll=_NoAuditors(),
            rotation=_NoAuditors(),
            what_if=_NoAuditors(),
            zone=config.zone,
        )
        standing = Standing(clock=clock, directory=ways.bot_graph, slack=None)
        signing_in = SigningIn(
            clock=clock,
            people=ways.people,
            tenant=ways.tenant,
            tenant_id=config.tenant_id,
            operators=store.operators,
            audit=store.trail,
        )
        runner = Runner(
            Means(
                clock=clock,
                requests=store.requests,
                operators=store.operators,
                settings=store.settings,
                session=session,
                forms=_NoForms(),
                reveals=SecretsInWaiting(clock),
                enquiries=enquiries,
                approvals=Approvals(
                    clock, store.requests, store.operators, store.settings, store.trail, standing, signing_in
                ),
                standing=standing,
                office=Office(
                    clock=clock,
                    session=session,
                    desks={},
                    directory=ways.bot_graph,
                    tenant=ways.tenant,
                    sign_ins=signing_in,
                ),
                zone=config.zone,
            )
        )
        olive = SlackUser(TEAM, "U0OLIVE001")
        operator = store.operators.rights(olive, "/m365 reset-password").operator
        assert operator is not None

        async def confirmed(person: str) -> str:
            request = Request(
                id=uuid.uuid4().hex,
                operator_id=operator.id,
                slack=olive,
                command="/m365 reset-password",
                action="reset-password",
                origin=Origin("C0HELPDESK"),
                created_at=clock.now(),
                state=RequestState.READY,
                target=Target(TargetKind.USER, person, "Adele Vance"),
                reason="locked out",
                verified="called back",
            )
            await store.requests.add(request)
            return request.id

        async def advance(request_id: str) -> None:
            await runner.advance(request_id, clock.monotonic())

        yield confirmed, advance
        left = await store.requests.recent(olive, 1)
        if left[0].state is not RequestState.DONE:
            raise RuntimeError(f"the benchmark's own action failed: {left[0].sentence}")
        await session.close()


@asynccontextmanager
async def _bare(config: Config) -> AsyncIterator[Callable[[Sequence[Seen]], Awaitable[None]]]:
    """Makes the same calls, at once where that is possible, with two durable lines around the one that writes."""
    token = await _token(config)
    body = {"passwordProfile": {"password": "Walnut-Tiger-4211", "forceChangePasswordNextSignIn": True}}
    headers = {"Authorization": f"Bearer {token}"}
    connector = aiohttp.TCPConnector(ssl=tls_context(config.extra_ca_file))
    with (config.database.parent / "floor").open("ab", buffering=0) as file:
        async with aiohttp.ClientSession(connector=connector, headers=headers) as http:

            async def call(seen: Seen) -> None:
                method, path, query = seen
                url = URL(f"{config.graph_url}{path}{'?' if query else ''}{query}", encoded=True)
                async with http.request(method, url, json=body if method == "PATCH" else None) as answer:
                    assert answer.status < 300, await answer.text()
                    await answer.read()

            def commit() -> None:
                file.write(b"x" * 400)
                os.fdatasync(file.fileno())

            async def replay(calls: Sequence[Seen]) -> None:
                reads = list(itertools.takewhile(lambda seen: seen[0] != "PATCH", calls))
                await asyncio.gather(*map(call, reads))
                commit()
                for seen in calls[len(reads) :]:
                    await call(seen)
                commit()

            yield replay


async def _token(config: Config) -> str:
    clock = SystemClock()
    async with microsoft(config, clock) as ways:
        async with storage(config, clock, await audit_key(config, ways)) as store:
            settings = await store.settings.current()
        identity = service_identity(config, ways, guess_book(config, clock), settings)
        token = await identity.sign_in(lambda key, title: None)
    return token.value.reveal()
