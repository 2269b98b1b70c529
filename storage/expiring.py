"""Grants that will end: which of them somebody has still to be told of, each once for each time ahead."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from bot.model import SlackUser
from bot.ports import Message
from storage.database import Database, to_text
from storage.outbox import Outbox

AHEAD: Final = (timedelta(days=7), timedelta(days=1))
"""How long before its end a grant is told of, the longest first."""

_ENDING: Final = """
SELECT g.id, o.team, o.slack_user, coalesce(o.name, o.slack_user), g.role, s.name, g.expires_at, g.granted_at
FROM grants g JOIN operators o ON o.id = g.operator LEFT JOIN scopes s ON s.id = g.scope
WHERE g.tenant = :tenant AND g.revoked_at IS NULL AND g.expires_at > :now AND g.expires_at <= :horizon
  AND NOT o.suspended
ORDER BY g.expires_at, g.id
"""


@dataclass(frozen=True)
class Ending:
    """A grant that ends soon. `first` says that nobody was told of it before."""

    id: str
    slack: SlackUser
    name: str
    role: str
    scope: str
    ends: datetime
    days: int
    first: bool


class Expiring:
    """Remembers who was told what about which grant."""

    def __init__(self, db: Database, outbox: Outbox) -> None:
        self._db = db
        self._outbox = outbox

    async def tell(self, say: Callable[[Ending], Sequence[Message]]) -> int:
        """Put what *say* makes of each grant that is due into the outbox, in one transaction; how many there were.

        Who got a grant for less than a time ahead is not told at that time: they have just read when it ends. If the
        bot was away at two of these times, only the later one is told.
        """

        def work(connection: sqlite3.Connection) -> int:
            now = self._db.clock.now()
            about = {"tenant": self._db.tenant, "now": to_text(now), "horizon": to_text(now + AHEAD[0])}
            told = 0
            found = connection.execute(_ENDING, about).fetchall()
            for id_, team, user, name, role, scope, ends_at, granted_at in found:
                ends, granted = datetime.fromisoformat(ends_at), datetime.fromisoformat(granted_at)
                due = [ahead.days for ahead in AHEAD if granted < ends - ahead <= now]
                known = self._told(connection, id_)
                if not set(due) - known:
                    continue
                rows = [(id_, self._db.tenant, days, to_text(now)) for days in due if days not in known]
                connection.executemany("INSERT INTO grant_warnings VALUES (?, ?, ?, ?)", rows)
                ending = Ending(id_, SlackUser(team, user), name, role, scope or "", ends, min(due), first=not known)
                self._outbox.put(connection, say(ending))
                told += 1
            return told

        return await self._db.write(work, then=self._outbox.changed)

    def _told(self, connection: sqlite3.Connection, grant_id: str) -> set[int]:
        rows = connection.execute("SELECT days FROM grant_warnings WHERE grant_id = ?", (grant_id,))
        return {days for (days,) in rows}
