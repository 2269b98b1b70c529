"""How deciding and remembering compare with their floors: the bare join, append + fdatasync, and scan + hash."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import resource
import sqlite3
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from bot import policy
from bot.actions import catalogue
from bot.clock import SystemClock
from bot.model import AuditRecord, Secret, SlackUser, TenantSettings
from storage import power
from storage.audit import AuditTrail
from storage.database import Database
from storage.operators import Operators
from tests.benchmarks import Goal, Row

_ROUNDS = 5
_APPENDED = 1_000
_TENANT = "11111111-2222-3333-4444-555555555555"
_ACTIONS = [f"/m365 action-number-{n}" for n in range(40)]

_FLOOR_JOIN = """
SELECT o.id, o.account_id, o.upn, o.name, o.suspended, g.id, g.role, g.expires_at, s.id, s.name, s.rule, c.pattern
FROM operators o JOIN grants g ON g.operator = o.id AND g.revoked_at IS NULL
     JOIN role_commands c ON c.tenant = o.tenant AND c.role = g.role AND c.wild = 0 AND c.pattern = ?1
     LEFT JOIN scopes s ON s.id = g.scope
WHERE o.tenant = ?2 AND o.team = ?3 AND o.slack_user = ?4
"""
"""The least that answers the question: grants of this person whose role holds exactly this command."""


def run(scale: float) -> list[Row]:
    """All rows; *scale* 1 is the full population (10,000 operators, 1,000 roles, a million audit rows)."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_run(Path(folder) / "data" / "bench.db", scale))


async def _run(path: Path, scale: float) -> list[Row]:
    operators, roles, history = (max(10, int(n * scale)) for n in (10_000, 1_000, 1_000_000))
    async with Database(path, tenant=_TENANT, clock=SystemClock()) as db:
        trail = AuditTrail(db, Secret("a key that only benchmarks ever use"))
        await db.write(lambda connection: _populate(connection, trail, operators, roles))
        decide = Operators(db, trail)
        rows = _decisions(path, decide, operators, "empty history")
        rows += await _appending(path, trail)
        for _ in range(0, history, 10_000):
            await trail.append(*(_record() for _ in range(min(10_000, history))))
        rows += _decisions(path, decide, operators, f"{history:,} audit rows")
        rows += await _verifying(path, trail)
    return rows


def _populate(connection: sqlite3.Connection, trail: AuditTrail, operators: int, roles: int) -> None:
    def put(table: str, **row: str | int | None) -> None:
        trail.chain(connection, [AuditRecord("bench.populated")], [power.put(connection, table, tenant=_TENANT, **row)])

    dice = random.Random(1)  # noqa: S311 - a population, not a secret
    for n in range(50):
        put("scopes", id=f"scope-{n}", name=f"Scope {n}", rule='{"attribute":"department","in":["Sales"]}')
    for n in range(roles):
        put("roles", name=f"role-{n}", title="a role")
        for action in dice.sample(_ACTIONS, 20):
            put("role_commands", role=f"role-{n}", wild=0, pattern=action)
    for n in range(operators):
        person = {"upn": f"user{n}@contoso.com", "name": f"User {n}", "account_id": f"account-{n}"}
        put("operators", id=f"{n:032x}", team="T1", slack_user=f"U{n}", suspended=0, **person)
        for k in range(3):
            put(
                "grants",
                id=f"{n:030x}-{k}",
                operator=f"{n:032x}",
                role=f"role-{dice.randrange(roles)}",
                scope=f"scope-{dice.randrange(50)}",
                expires_at=None,
                granted_at="2026",
                granted_by=None,
                emergency=0,
                reason="a benchmark",
                revoked_at=None,
                revoked_by=None,
            )


def _decisions(path: Path, decide: Operators, operators: int, when: str) -> list[Row]:
    """Whether a person may use a command: with the codes of its reasons, and in words."""
    dice = random.Random(2)  # noqa: S311 - as above
    asked = [(SlackUser("T1", f"U{dice.randrange(operators)}"), dice.choice(_ACTIONS)) for _ in range(2_000)]
    action, now, settings = catalogue()["show-user"], datetime.now(UTC), TenantSettings()
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)) as connection:

        def floor(slack: SlackUser, command: str) -> object:
            return connection.execute(_FLOOR_JOIN, (command, _TENANT, slack.team, slack.user)).fetchall()

        def in_codes(slack: SlackUser, command: str) -> policy.Decision:
            return policy.decide_person(policy.Question(decide.rights(slack, command), command, action, now, settings))

        def in_words(slack: SlackUser, command: str) -> object:
            decision = in_codes(slack, command)
            return [policy.words(finding) for finding in decision.trace], policy.because(decision)

        times: dict[str, list[float]] = {"floor": [], "with its codes": [], "in words": []}
        for _ in range(_ROUNDS):
            for name, question in (("floor", floor), ("with its codes", in_codes), ("in words", in_words)):
                times[name].append(_median(question, asked) * 1e6)
    bare = times.pop("floor")
    return [
        Row(
            f"decision {name}, {when}",
            f"the prepared join: {statistics.median(bare):.1f} µs",
            f"{statistics.median(ours):.1f} µs",
            _median_ratio(ours, bare),
            Goal("≤", bound),
        )
        for (name, ours), bound in zip(times.items(), (2, 4), strict=True)
    ]


def _median_ratio(ours: list[float], floors: list[float]) -> float:
    """The median of the ratios of one round each, which a busy machine disturbs least."""
    return statistics.median(mine / floor for mine, floor in zip(ours, floors, strict=True))


def _median(question: Callable[[SlackUser, str], object], asked: list[tuple[SlackUser, str]]) -> float:
    times = []
    for slack, command in asked:
        begun = time.perf_counter()
        question(slack, command)
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def _record() -> AuditRecord:
    return AuditRecord(
        "attempt.finished",
        operator_id=f"{random.randrange(10_000):032x}",  # noqa: S311 - as above
        request_id=str(uuid.uuid4()),
        attempt_id=str(uuid.uuid4()),
        target_id=str(uuid.uuid4()),
        session_generation=12,
        facts={"call_index": 0, "outcome": "succeeded", "status": 204, "microsoft_request_id": "e1671797-c52e-15f7"},
    )


async def _appending(path: Path, trail: AuditTrail) -> list[Row]:
    """Ways to append, each one row at a time by turns with its floor: what else the disk does disturbs both alike."""
    took: dict[str, list[float]] = {
        name: [] for name in ("floor", "in the writer", "floor awaited", "awaited singly", "32 awaited")
    }
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as connection,
        (path.parent / "floor").open("ab", buffering=0) as file,
    ):
        connection.execute("PRAGMA synchronous = FULL")

        def append_and_sync() -> None:
            file.write(b"x" * 400)
            os.fdatasync(file.fileno())

        def commit_one() -> None:
            connection.execute("BEGIN IMMEDIATE")
            trail.chain(connection, [_record()])
            connection.execute("COMMIT")

        for _ in range(_APPENDED):
            with _timed(took["floor"]):
                append_and_sync()
            with _timed(took["in the writer"]):
                commit_one()
        for _ in range(_APPENDED):
            with _timed(took["floor awaited"]):
                await asyncio.to_thread(append_and_sync)
            with _timed(took["awaited singly"]):
                await trail.append(_record())
        for _ in range(_APPENDED // 32):
            with _timed(took["32 awaited"]):
                await asyncio.gather(*(trail.append(_record()) for _ in range(32)))
    rates = {name: 1 / statistics.median(times) for name, times in took.items()}
    rates["32 awaited"] *= 32
    told = "400 bytes appended + fdatasync"
    return [
        Row(
            f"durable audit rows, {name}",
            f"{told}{', in a thread' if floor != 'floor' else ''}: {rates[floor]:,.0f}/s",
            f"{rates[name]:,.0f}/s",
            rates[name] / rates[floor],
            Goal("≥", 0.7),
        )
        for name, floor in (("in the writer", "floor"), ("awaited singly", "floor awaited"), ("32 awaited", "floor"))
    ]


@contextmanager
def _timed(times: list[float]) -> Iterator[None]:
    """Add how long the block took, in seconds."""
    begun = time.perf_counter()
    yield
    times.append(time.perf_counter() - begun)


async def _verifying(path: Path, trail: AuditTrail) -> list[Row]:
    floors, ours = [], []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(3):
        begun = time.perf_counter()
        floor_rows = await asyncio.to_thread(_scan_and_hash, path)
        floors.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        report = await trail.verify()
        ours.append(time.perf_counter() - begun)
        if report.rows != floor_rows or not report.sound:
            raise RuntimeError(f"the benchmark's own trail is not sound: {report.problems}")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return [
        Row(
            f"verify {report.rows:,} audit rows",
            f"scan + SHA-256 of each: {statistics.median(floors):.2f} s",
            f"{statistics.median(ours):.2f} s",
            _median_ratio(ours, floors),
            Goal("≤", 3),
        ),
        Row("memory that verifying adds", "", f"{grown:.0f} MiB", round(grown), Goal("≤", 64, "MiB")),
    ]


def _scan_and_hash(path: Path) -> int:
    count = 0
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        for _, _, _, body in connection.execute("SELECT seq, prev, mac, CAST(body AS BLOB) FROM audit ORDER BY seq"):
            hashlib.sha256(body).digest()
            count += 1
    return count
