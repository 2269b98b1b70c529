"""What Slack delivered and the bot acknowledged, until it is done."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from bot.model import JSON
from storage.database import Database, to_text

PAYLOAD_KEPT: Final = timedelta(minutes=30)
"""How long a process keeps the payload of a delivery that it cannot get done: as long as Slack's reply addresses live.

A process that has just started gives what it found its chance first, so that nothing acknowledged goes unheard.
"""

KEY_KEPT: Final = timedelta(hours=24)
"""How long a delivery is recognised when it comes again."""

_IS_OPEN: Final = "SELECT 1 FROM inbox WHERE tenant = ? AND key = ? AND done_at IS NULL"


@dataclass(frozen=True)
class Delivery:
    """Something that Slack delivered and nobody has taken up yet."""

    key: str
    kind: str
    payload: Mapping[str, JSON]
    received_at: datetime


class Inbox:
    """Deliveries by the key that Slack gives them; the caller makes it unique per team."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._since = db.clock.now()

    async def receive(self, key: str, kind: str, payload: Mapping[str, JSON]) -> bool:
        """Commit a delivery, durably. False if this key was received before: nothing is to be done then.

        Slack's verification token is not stored.
        """
        text = json.dumps(_without_token(payload))

        def work(connection: sqlite3.Connection) -> bool:
            now = self._db.clock.now()
            self._erase_old(connection)
            inserted = connection.execute(
                "INSERT INTO inbox (tenant, key, kind, payload, received_at) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (tenant, key) DO NOTHING",
                (self._db.tenant, key, kind, text, to_text(now)),
            )
            return inserted.rowcount == 1

        return await self._db.write(work)

    async def open(self) -> Sequence[Delivery]:
        """Deliveries that are not done, oldest first: what a process that died had acknowledged but not taken up.

        They come however old they are, so that somebody is told; `received_at` says what is stale by now.
        """

        def work(connection: sqlite3.Connection) -> Sequence[Delivery]:
            rows = connection.execute(
                "SELECT key, kind, payload, received_at FROM inbox "
                "WHERE tenant = ? AND payload IS NOT NULL ORDER BY received_at, key",
                (self._db.tenant,),
            )
            return [Delivery(key, kind, json.loads(text), datetime.fromisoformat(at)) for key, kind, text, at in rows]

        return await self._db.read(work)

    async def done(self, key: str) -> None:
        """Forget the payload. Saying so twice, or of an unknown key, changes nothing."""
        # Most deliveries are done by now, in the transaction that wrote their request: no commit for those.
        if self._db.read_now(_IS_OPEN, (self._db.tenant, key)):
            await self._db.write(lambda connection: self.mark_done(connection, key))

    def mark_done(self, connection: sqlite3.Connection, key: str) -> bool:
        """The same inside the transaction under way; False if the delivery was done before."""
        row = connection.execute(
            "SELECT done_at FROM inbox WHERE tenant = ? AND key = ?", (self._db.tenant, key)
        ).fetchone()
        connection.execute(
            "UPDATE inbox SET done_at = ?, payload = NULL WHERE tenant = ? AND key = ? AND done_at IS NULL",
            (to_text(self._db.clock.now()), self._db.tenant, key),
        )
        return row is None or row[0] is None

    async def erase_old(self) -> None:
        """Erase what is older than it may be kept. Each delivery does it too; a quiet bot needs a timer."""
        await self._db.write(self._erase_old)

    def _erase_old(self, connection: sqlite3.Connection) -> None:
        now = self._db.clock.now()
        if now - self._since >= PAYLOAD_KEPT:
            connection.execute(
                "UPDATE inbox SET payload = NULL WHERE payload IS NOT NULL AND received_at < ?",
                (to_text(now - PAYLOAD_KEPT),),
            )
        connection.execute("DELETE FROM inbox WHERE payload IS NULL AND received_at < ?", (to_text(now - KEY_KEPT),))


def _without_token(payload: Mapping[str, JSON]) -> dict[str, JSON]:
    kept = {name: value for name, value in payload.items() if name != "token"}
    if isinstance(kept.get("payload"), Mapping):  # Socket Mode's envelope holds what HTTP sends by itself
        kept["payload"] = _without_token(kept["payload"])
    return kept
