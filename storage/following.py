"""The grants that follow Entra groups: made and ended by Latchkey itself as people come into the groups and leave."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Collection, Sequence
from datetime import datetime

from bot.model import AuditRecord, Author
from bot.ports import Message
from storage import power
from storage.audit import AuditTrail
from storage.database import Database, to_text
from storage.outbox import Outbox
from storage.power import RowChange

_ITSELF = Author()


class Following:
    """Keeps the grants of group grants. Each method is one transaction, audited person by person."""

    def __init__(self, db: Database, trail: AuditTrail, outbox: Outbox) -> None:
        self._db = db
        self._trail = trail
        self._outbox = outbox

    async def match(self, group_grant_id: str, members: Collection[str], *, read_at: datetime) -> tuple[int, int]:
        """Let exactly the operators among *members* (account ids, in small letters) hold the role; how many began and
        ended.

        *read_at* is when the members were read. Whoever is suspended keeps what they had and gets nothing new. Nothing
        happens if the group grant has ended meanwhile.
        """

        def work(connection: sqlite3.Connection) -> tuple[int, int]:
            row = self._current(connection, group_grant_id)
            if row is None:
                return 0, 0
            connection.execute(
                "INSERT OR REPLACE INTO group_reads VALUES (?, ?, ?)",
                (group_grant_id, self._db.tenant, to_text(read_at)),
            )
            inside = {
                id_: bool(suspended)
                for id_, account, suspended in connection.execute(
                    "SELECT id, account_id, suspended FROM operators WHERE tenant = ? AND account_id IS NOT NULL",
                    (self._db.tenant,),
                )
                if account.lower() in members
            }
            held = self._held(connection, group_grant_id)
            ended = [grant for grant in held if grant["operator"] not in inside]
            holders = {grant["operator"] for grant in held}
            begun = [id_ for id_, suspended in inside.items() if not suspended and id_ not in holders]
            self._write(connection, row, begun, ended, "is not in the group, or has another account")
            return len(begun), len(ended)

        return await self._db.write(work)

    async def end_unread(self, group_grant_id: str, why: str, *, say: Callable[[int], Sequence[Message]]) -> int:
        """End every grant that follows it, the group grant itself staying; how many they were. If there were any, *say*
        gets their number and its messages go out with the same commit."""

        def work(connection: sqlite3.Connection) -> int:
            row = self._current(connection, group_grant_id)
            held = self._held(connection, group_grant_id) if row else []
            if row and held:
                self._write(connection, row, [], held, why)
                self._outbox.put(connection, say(len(held)))
            return len(held)

        return await self._db.write(work, then=self._outbox.changed)

    def _current(self, connection: sqlite3.Connection, group_grant_id: str) -> power.Row | None:
        row = power.find(connection, "group_grants", id=group_grant_id, tenant=self._db.tenant)
        if row is None or row["revoked_at"] is not None:
            return None
        expires = row["expires_at"]
        return row if expires is None or str(expires) > to_text(self._db.clock.now()) else None

    def _held(self, connection: sqlite3.Connection, group_grant_id: str) -> list[power.Row]:
        ids = connection.execute("SELECT id FROM grants WHERE via = ? AND revoked_at IS NULL", (group_grant_id,))
        return [power.find(connection, "grants", id=id_) or {} for (id_,) in ids.fetchall()]

    def _write(
        self,
        connection: sqlite3.Connection,
        followed: power.Row,
        begun: Sequence[str],
        ended: Sequence[power.Row],
        why: str,
    ) -> None:
        now = to_text(self._db.clock.now())
        changes: list[RowChange] = []
        records: list[AuditRecord] = []

        def note(kind: str, grant: power.Row, **more: str) -> None:
            facts = {
                "operator": grant["operator"],
                "grant": grant["id"],
                "role": followed["role"],
                "group_grant": followed["id"],
                "group": followed["group_id"],
                "group_name": followed["group_name"],
            }
            records.append(AuditRecord(kind, facts={**facts, **more, **_ITSELF.facts}))

        for grant in ended:
            changes.append(power.put(connection, "grants", **{**grant, "revoked_at": now}))
            note("grant.unfollowed", grant, why=why)
        for operator in begun:
            grant = {
                "id": str(uuid.uuid4()),
                "tenant": self._db.tenant,
                "operator": operator,
                "role": followed["role"],
                "scope": followed["scope"],
                "expires_at": followed["expires_at"],
                "granted_at": now,
                "granted_by": followed["granted_by"],
                "emergency": 0,
                "reason": followed["reason"],
                "revoked_at": None,
                "revoked_by": None,
                "via": followed["id"],
            }
            changes.append(power.put(connection, "grants", **grant))
            note("grant.followed", grant)
        self._trail.chain(connection, records, changes)
