"""Incidents: what is wrong, who was told, and what came of it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, Protocol

from bot.model import Alert, AuditRecord, Trouble
from bot.ports import Message
from storage.audit import AuditTrail
from storage.database import Database, from_text, to_text
from storage.outbox import Outbox
from storage.seal import canonical

_COLUMNS: Final = (
    "id", "tenant", "kind", "about", "severity", "trouble", "opened_at", "places", "misplaced", "lines", "last_line",
    "repeats", "repeat_at", "acknowledged_by", "acknowledged_at", "closed_at", "how", "asked", "page", "paged",
    "page_tries", "page_at", "page_problem",
)  # fmt: skip

_SELECT: Final = f"SELECT {', '.join(_COLUMNS)} FROM alerts WHERE tenant = :tenant AND "  # noqa: S608 - our own words

_PUT: Final = (
    f"INSERT INTO alerts ({', '.join(_COLUMNS)}) VALUES ({', '.join(f':{name}' for name in _COLUMNS)}) "  # noqa: S608
    f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _COLUMNS)}"
)


class Change(Protocol):
    """What becomes of an incident."""

    @property
    def alert(self) -> Alert: ...

    @property
    def audit(self) -> Sequence[AuditRecord]: ...

    @property
    def say(self) -> Sequence[Message]: ...


Decide = Callable[[Alert | None, Callable[[str], bool]], Change | None]


class Alerts:
    """The rows. What becomes of one is decided in the transaction that writes it, so that nothing happens twice.

    Where a method takes `decide`, that gets the incident (None if there is none) and may ask whether the message of a
    key was never shown. It must be pure. The method returns the incident as it has become; None if nothing did.
    """

    def __init__(self, db: Database, trail: AuditTrail, outbox: Outbox) -> None:
        self._db = db
        self._trail = trail
        self._outbox = outbox

    async def about(self, kind: str, about: str, decide: Decide) -> Alert | None:
        """Decide about the last incident of this kind and about, open or not."""
        which = "kind = :kind AND about = :about ORDER BY closed_at IS NULL DESC, closed_at DESC LIMIT 1"
        return await self._decide(decide, which, kind=kind, about=about)

    async def by_id(self, alert_id: str, decide: Decide) -> Alert | None:
        return await self._decide(decide, "id = :id", id=alert_id)

    async def of_kind(self, kind: str, decide: Decide) -> None:
        """Decide about each open one of this kind."""

        def work(connection: sqlite3.Connection) -> None:
            for alert in self._rows(connection, "kind = :kind AND closed_at IS NULL ORDER BY opened_at", kind=kind):
                self._apply(connection, alert, decide)

        await self._db.write(work, then=self._outbox.changed)

    async def find(self, alert_id: str) -> Alert | None:
        found = await self._db.read(lambda connection: self._rows(connection, "id = :id", id=alert_id))
        return found[0] if found else None

    async def open(self) -> Sequence[Alert]:
        """Those that are not over, oldest first."""
        return await self._db.read(
            lambda connection: self._rows(connection, "closed_at IS NULL ORDER BY opened_at, rowid")
        )

    async def due(self, now: datetime) -> Sequence[Alert]:
        """Those that are to be said again, or whose webhook is to be told."""
        which = "(repeat_at <= :now OR page_at <= :now) ORDER BY opened_at, rowid"
        return await self._db.read(lambda connection: self._rows(connection, which, now=to_text(now)))

    async def next_due(self) -> datetime | None:
        def work(connection: sqlite3.Connection) -> datetime | None:
            times = connection.execute(
                "SELECT (SELECT min(repeat_at) FROM alerts WHERE repeat_at IS NOT NULL AND tenant = :tenant), "
                "(SELECT min(page_at) FROM alerts WHERE page_at IS NOT NULL AND tenant = :tenant)",
                {"tenant": self._db.tenant},
            ).fetchone()
            return from_text(min(filter(None, times), default=None))

        return await self._db.read(work)

    async def say_what_is_unsaid(self) -> None:
        """Wake whoever speaks to Slack if something waits to be said: another process cannot."""

        def work(connection: sqlite3.Connection) -> bool:
            return connection.execute("SELECT 1 FROM outbox WHERE wanted > sent LIMIT 1").fetchone() is not None

        if await self._db.read(work):
            self._outbox.changed()

    # --- -------------------------------------------------------------------------------------------------------------

    async def _decide(self, decide: Decide, which: str, **values: Any) -> Alert | None:
        def work(connection: sqlite3.Connection) -> Alert | None:
            found = self._rows(connection, which, **values)
            return self._apply(connection, found[0] if found else None, decide)

        return await self._db.write(work, then=self._outbox.changed)

    def _apply(self, connection: sqlite3.Connection, alert: Alert | None, decide: Decide) -> Alert | None:
        change = decide(alert, lambda key: self._is_unsaid(connection, key))
        if change is None:
            return None
        connection.execute(_PUT, _row(change.alert, self._db.tenant))
        self._trail.chain(connection, change.audit)
        self._outbox.put(connection, change.say)
        return change.alert

    def _is_unsaid(self, connection: sqlite3.Connection, key: str) -> bool:
        shown = connection.execute(
            "SELECT 1 FROM outbox WHERE tenant = ? AND key = ? AND ts IS NOT NULL", (self._db.tenant, key)
        ).fetchone()
        return shown is None

    def _rows(self, connection: sqlite3.Connection, which: str, **values: Any) -> list[Alert]:
        rows = connection.execute(_SELECT + which, {"tenant": self._db.tenant, **values}).fetchall()
        return [_alert(dict(zip(_COLUMNS, row, strict=True))) for row in rows]


def _row(alert: Alert, tenant: str) -> dict[str, Any]:
    def text(moment: datetime | None) -> str | None:
        return to_text(moment) if moment else None

    return {
        "id": alert.id,
        "tenant": tenant,
        "kind": alert.trouble.kind,
        "about": alert.trouble.about,
        "severity": alert.trouble.severity.value,
        "trouble": canonical(alert.trouble.to_json()),
        "opened_at": to_text(alert.opened_at),
        "places": canonical(list(alert.places)),
        "misplaced": alert.misplaced,
        "lines": alert.lines,
        "last_line": alert.last_line,
        "repeats": alert.repeats,
        "repeat_at": text(alert.repeat_at),
        "acknowledged_by": alert.acknowledged_by,
        "acknowledged_at": text(alert.acknowledged_at),
        "closed_at": text(alert.closed_at),
        "how": alert.how,
        "asked": canonical({offer: list(which) for offer, which in alert.asked.items()}),
        "page": alert.page,
        "paged": alert.paged,
        "page_tries": alert.page_tries,
        "page_at": text(alert.page_at),
        "page_problem": alert.page_problem,
    }


def _alert(row: dict[str, Any]) -> Alert:
    return Alert(
        id=row["id"],
        trouble=Trouble.from_json(json.loads(row["trouble"])),
        opened_at=datetime.fromisoformat(row["opened_at"]),
        places=tuple(json.loads(row["places"])),
        misplaced=row["misplaced"],
        lines=row["lines"],
        last_line=row["last_line"],
        repeats=row["repeats"],
        repeat_at=from_text(row["repeat_at"]),
        acknowledged_by=row["acknowledged_by"],
        acknowledged_at=from_text(row["acknowledged_at"]),
        closed_at=from_text(row["closed_at"]),
        how=row["how"],
        asked={offer: (request, by) for offer, (request, by) in json.loads(row["asked"]).items()},
        page=row["page"],
        paged=row["paged"],
        page_tries=row["page_tries"],
        page_at=from_text(row["page_at"]),
        page_problem=row["page_problem"],
    )
