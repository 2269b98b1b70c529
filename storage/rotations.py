"""Rotations as they are and were, who alone may carry one out, and when the next is due."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, Final

from bot.errors import Conflict
from bot.model import AuditRecord, Cause, CredentialKind, Point, RotationRecord, RotationState, Trigger, drill_of
from bot.ports import Claim, Due
from storage.audit import AuditTrail
from storage.database import Database, from_text, to_text
from storage.seal import canonical

_TIMES: Final = ("started_at", "tried_at", "stood_at", "finished_at", "next_try_at")
_COLUMNS: Final = tuple(field.name for field in fields(RotationRecord))
_SELECT: Final = f"SELECT {', '.join(_COLUMNS)} FROM rotations WHERE tenant = ? AND "  # noqa: S608 - our own words
_SAVE: Final = (
    f"INSERT INTO rotations (tenant, {', '.join(_COLUMNS)}) "  # noqa: S608 - our own words
    f"VALUES (?, {', '.join('?' for _ in _COLUMNS)}) ON CONFLICT (id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name not in {"id", "guesses", "started_at"})
)
"""What `count_guess` counted stays."""


class Rotations:
    """One row per rotation, with what the last try of it knew. The tags in the vault are the truth, this is not."""

    def __init__(self, db: Database, trail: AuditTrail) -> None:
        self._db = db
        self._trail = trail

    # --- who may ------------------------------------------------------------------------------------------------------

    async def claim(self, secret: str, owner: str, *, until: datetime) -> Claim:
        """The claim that is in force after this: ours if nobody else's was.

        One that would hold much longer than ours was made before the clock was put back, and counts no more.
        """

        def work(connection: sqlite3.Connection) -> Claim:
            held, now = self._claim(connection, secret), self._db.clock.now()
            latest = until + (until - now)
            if held is not None and held.owner not in {owner, ""} and now < held.until <= latest:
                return held
            claim = Claim(owner, held.fence + 1 if held else 1, until)
            self._put(connection, secret, claim)
            return claim

        return await self._db.write(work)

    async def renew(self, secret: str, claim: Claim, *, until: datetime) -> Claim:
        """The claim, for longer. Raises `Conflict` if somebody else has taken it over."""

        def work(connection: sqlite3.Connection) -> Claim:
            self._check(connection, secret, claim)
            renewed = Claim(claim.owner, claim.fence, until)
            self._put(connection, secret, renewed)
            return renewed

        return await self._db.write(work)

    async def release(self, secret: str, claim: Claim) -> None:
        """Give it back. One that somebody else has taken over is theirs."""

        def work(connection: sqlite3.Connection) -> None:
            held = self._claim(connection, secret)
            if held is not None and held.fence == claim.fence:
                self._put(connection, secret, Claim("", held.fence, self._db.clock.now()))

        await self._db.write(work)

    async def claimed(self, secret: str) -> Claim | None:
        """Whose it is now, if it is anybody's."""
        held = await self._db.read(lambda connection: self._claim(connection, secret))
        return held if held and held.owner and held.until > self._db.clock.now() else None

    def _claim(self, connection: sqlite3.Connection, secret: str) -> Claim | None:
        row = connection.execute(
            "SELECT owner, fence, until FROM rotation_claims WHERE tenant = ? AND secret = ?", (self._db.tenant, secret)
        ).fetchone()
        return Claim(row[0], row[1], datetime.fromisoformat(row[2])) if row else None

    def _put(self, connection: sqlite3.Connection, secret: str, claim: Claim) -> None:
        connection.execute(
            "INSERT OR REPLACE INTO rotation_claims (tenant, secret, owner, fence, until) VALUES (?, ?, ?, ?, ?)",
            (self._db.tenant, secret, claim.owner, claim.fence, to_text(claim.until)),
        )

    def _check(self, connection: sqlite3.Connection, secret: str, claim: Claim | None) -> None:
        """A claim that has run out and that nobody has taken over still counts."""
        held = self._claim(connection, secret) if claim else None
        if claim is not None and (held is None or held.fence != claim.fence):
            raise Conflict("Another process has taken the rotation over.")

    # --- what became of it --------------------------------------------------------------------------------------------

    async def save(
        self, record: RotationRecord, *audit: AuditRecord, claim: Claim | None = None, due: Due | None = None
    ) -> None:
        """Write the rotation all but its `guesses`, what is audited of it, and when the next one is due."""
        row = tuple(_value(record, name) for name in _COLUMNS)

        def work(connection: sqlite3.Connection) -> None:
            self._check(connection, record.secret, claim)
            connection.execute(_SAVE, (self._db.tenant, *row))
            if due is not None:
                self._put_due(connection, record.secret, due)
            self._trail.chain(connection, audit)

        await self._db.write(work)

    async def count_guess(self, rotation_id: str, by: int, *, claim: Claim | None = None) -> int:
        """Add *by* (1, or -1 for one that was right) to the guesses of a rotation; how many they are now."""

        def work(connection: sqlite3.Connection) -> int:
            row = connection.execute(
                "UPDATE rotations SET guesses = guesses + ? WHERE id = ? RETURNING guesses, secret", (by, rotation_id)
            ).fetchone()
            self._check(connection, row[1], claim)
            return int(row[0])

        return await self._db.write(work)

    async def open(self, secret: str) -> RotationRecord | None:
        """The rotation of this secret that is not over."""
        found = await self._find("secret = ? AND finished_at IS NULL ORDER BY started_at DESC LIMIT 1", secret)
        return found[0] if found else None

    async def all_open(self) -> Sequence[RotationRecord]:
        """Those of every secret that are not over, but for drills."""
        return await self._find("finished_at IS NULL AND trigger != 'drill' ORDER BY started_at")

    async def last(self, secret: str) -> RotationRecord | None:
        """The last one that put something new in force."""
        where = "secret = ? AND changed = 1 AND state = 'done' ORDER BY finished_at DESC LIMIT 1"
        found = await self._find(where, secret)
        return found[0] if found else None

    async def find(self, rotation_id: str) -> RotationRecord | None:
        found = await self._find("id = ?", rotation_id)
        return found[0] if found else None

    async def of_request(self, request_id: str) -> RotationRecord | None:
        """The last one that a request began or had tried again."""
        found = await self._find("request_id = ? ORDER BY started_at DESC LIMIT 1", request_id)
        return found[0] if found else None

    async def history(self, secret: str, limit: int) -> Sequence[RotationRecord]:
        """Newest first, drills too, without repairs that had nothing to do."""
        return await self._find(
            "(secret = ? OR (secret = ? AND trigger = 'drill')) AND "
            "(trigger != 'repair' OR changed = 1 OR cause IS NOT NULL) "
            "ORDER BY started_at DESC, rowid DESC LIMIT ?",
            secret,
            drill_of(secret),
            limit,
        )

    async def _find(self, where: str, *values: object) -> Sequence[RotationRecord]:
        def work(connection: sqlite3.Connection) -> Sequence[RotationRecord]:
            return [_record(row) for row in connection.execute(_SELECT + where, (self._db.tenant, *values))]

        return await self._db.read(work)

    # --- when ---------------------------------------------------------------------------------------------------------

    async def due(self, secret: str) -> Due | None:
        def work(connection: sqlite3.Connection) -> Due | None:
            row = connection.execute(
                "SELECT at, since, rule FROM rotation_dues WHERE tenant = ? AND secret = ?", (self._db.tenant, secret)
            ).fetchone()
            return Due(datetime.fromisoformat(row[0]), datetime.fromisoformat(row[1]), row[2]) if row else None

        return await self._db.read(work)

    async def set_due(self, secret: str, due: Due) -> None:
        await self._db.write(lambda connection: self._put_due(connection, secret, due))

    def _put_due(self, connection: sqlite3.Connection, secret: str, due: Due) -> None:
        connection.execute(
            "INSERT OR REPLACE INTO rotation_dues (tenant, secret, at, since, rule) VALUES (?, ?, ?, ?, ?)",
            (self._db.tenant, secret, to_text(due.at), to_text(due.since), due.rule),
        )


def _value(record: RotationRecord, name: str) -> Any:
    value = getattr(record, name)
    match value:
        case datetime():
            return to_text(value)
        case tuple():
            return canonical([list(step) for step in value])
        case bool():
            return int(value)
    return value


def _record(row: Sequence[Any]) -> RotationRecord:
    data = dict(zip(_COLUMNS, row, strict=True))
    times: dict[str, Any] = {name: from_text(data.pop(name)) for name in _TIMES}
    cause, steps = data.pop("cause"), json.loads(data.pop("steps"))
    return RotationRecord(
        kind=CredentialKind(data.pop("kind")),
        trigger=Trigger(data.pop("trigger")),
        state=RotationState(data.pop("state")),
        point=Point(data.pop("point")),
        cause=Cause(cause) if cause else None,
        steps=tuple((Point(point), seconds) for point, seconds in steps),
        giving_up=bool(data.pop("giving_up")),
        changed=bool(data.pop("changed")),
        **times,
        **data,
    )
