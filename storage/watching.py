"""What was last seen of the service identity, so that a change is noticed, also one while Latchkey did not run."""

from __future__ import annotations

import json
import sqlite3

from bot.ports import SeenIdentity
from storage.database import Database
from storage.seal import canonical


class Watched:
    """One row: the identity that acts now."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._known: SeenIdentity | None = None

    async def last(self) -> SeenIdentity | None:
        def work(connection: sqlite3.Connection) -> SeenIdentity | None:
            row = connection.execute(
                "SELECT identity, roles, password_changed_at, closed FROM watched WHERE tenant = ?",
                (self._db.tenant,),
            ).fetchone()
            if row is None:
                return None
            identity, roles, changed_at, closed = row
            held = frozenset(json.loads(roles)) if roles is not None else None
            return SeenIdentity(identity, held, changed_at, bool(closed))

        self._known = await self._db.read(work)
        return self._known

    async def save(self, seen: SeenIdentity | None) -> None:
        """Remember this, and nothing else; None: nothing at all."""
        if seen is not None and seen == self._known:
            return

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM watched WHERE tenant = ?", (self._db.tenant,))
            if seen is not None:
                roles = None if seen.roles is None else canonical(sorted(seen.roles))
                row = (self._db.tenant, seen.id, roles, seen.password_changed_at, seen.closed)
                connection.execute("INSERT INTO watched VALUES (?, ?, ?, ?, ?)", row)

        await self._db.write(work)
        self._known = seen
