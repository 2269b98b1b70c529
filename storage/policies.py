"""What the tenant's Conditional Access policies were, so that one can say what has changed since all was well.

Each policy and named location is kept once, however many readings it was in.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from datetime import datetime, timedelta
from typing import Any, Final

from bot.ports import RememberedPolicies
from storage.database import Database, to_text
from storage.seal import canonical

KEPT: Final = timedelta(days=90)
MOST: Final = 20
"""How long a content is kept that was not seen again, and how many are. The one under which an identity last signed in
well stays."""


class PolicyMemory:
    """Readings by the digest of their content."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def see(self, content: RememberedPolicies) -> None:
        """This is what they are now. What is there already is only dated."""

        def work(connection: sqlite3.Connection) -> None:
            tenant, at = self._db.tenant, to_text(content.seen_at)
            dated = connection.execute(
                "UPDATE policy_readings SET last_seen = max(last_seen, ?) WHERE tenant = ? AND digest = ?",
                (at, tenant, content.digest),
            )
            if dated.rowcount:
                return
            parts = _parts(content)
            connection.executemany(
                "INSERT OR IGNORE INTO policy_parts VALUES (?, ?, ?)",
                [(tenant, digest, body) for digest, (_, body) in parts.items()],
            )
            listed = canonical([[kind, digest] for digest, (kind, _) in parts.items()])
            connection.execute(
                "INSERT INTO policy_readings VALUES (?, ?, ?, ?, ?)", (tenant, content.digest, listed, at, at)
            )
            self._forget_old(connection, content)

        await self._db.write(work)

    async def went_well(self, identity: str, digest: str, at: datetime) -> None:
        """An identity has signed in under the content with this digest, which was seen before."""

        def work(connection: sqlite3.Connection) -> None:
            row = (self._db.tenant, identity, digest, to_text(at))
            connection.execute("INSERT OR REPLACE INTO policy_well VALUES (?, ?, ?, ?)", row)

        await self._db.write(work)

    async def last_well(self, identity: str) -> RememberedPolicies | None:
        """What was in force when this identity last signed in well."""

        def work(connection: sqlite3.Connection) -> RememberedPolicies | None:
            row = connection.execute(
                """
                SELECT r.digest, r.parts, w.at FROM policy_well w
                JOIN policy_readings r ON r.tenant = w.tenant AND r.digest = w.digest
                WHERE w.tenant = ? AND w.identity = ?
                """,
                (self._db.tenant, identity),
            ).fetchone()
            if row is None:
                return None
            digest, listed, at = row
            found: dict[str, list[Any]] = {"policy": [], "location": []}
            for kind, part in json.loads(listed):
                (body,) = connection.execute(
                    "SELECT body FROM policy_parts WHERE tenant = ? AND digest = ?", (self._db.tenant, part)
                ).fetchone()
                found[kind].append(json.loads(body))
            when = datetime.fromisoformat(at)
            return RememberedPolicies(digest, tuple(found["policy"]), tuple(found["location"]), when)

        return await self._db.read(work)

    def _forget_old(self, connection: sqlite3.Connection, now: RememberedPolicies) -> None:
        tenant = self._db.tenant
        gone = connection.execute(
            """
            DELETE FROM policy_readings WHERE tenant = :tenant AND digest != :now
              AND digest NOT IN (SELECT digest FROM policy_well WHERE tenant = :tenant)
              AND (last_seen < :since OR digest NOT IN (
                SELECT digest FROM policy_readings WHERE tenant = :tenant ORDER BY last_seen DESC LIMIT :most))
            """,
            {"tenant": tenant, "now": now.digest, "since": to_text(now.seen_at - KEPT), "most": MOST},
        )
        if not gone.rowcount:
            return
        listings = connection.execute("SELECT parts FROM policy_readings WHERE tenant = ?", (tenant,))
        wanted = {part for (listed,) in listings for _, part in json.loads(listed)}
        parts = connection.execute("SELECT digest FROM policy_parts WHERE tenant = ?", (tenant,)).fetchall()
        connection.executemany(
            "DELETE FROM policy_parts WHERE tenant = ? AND digest = ?",
            [(tenant, part) for (part,) in parts if part not in wanted],
        )


def _parts(content: RememberedPolicies) -> dict[str, tuple[str, str]]:
    """By a digest of each: what kind it is, and its JSON, which is what Graph gave."""
    parts: dict[str, tuple[str, str]] = {}
    for kind, things in (("policy", content.policies), ("location", content.locations)):
        for thing in things:
            body = json.dumps(thing, separators=(",", ":"))
            parts[hashlib.sha256(f"{kind} {body}".encode()).hexdigest()] = kind, body
    return parts
