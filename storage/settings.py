"""What tenant admins have decided: every change is a new version, and the old ones stay."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict, replace
from typing import Any

from bot.errors import Conflict
from bot.model import AuditRecord, IdentityKind, Mode, TenantSettings
from storage import power
from storage.audit import AuditTrail
from storage.database import Database, to_text
from storage.power import Author
from storage.seal import canonical


class Settings:
    """The tenant's settings. Every change is audited in its own transaction."""

    def __init__(self, db: Database, trail: AuditTrail) -> None:
        self._db = db
        self._trail = trail

    async def current(self) -> TenantSettings:
        """The settings in force; version 0 is what ships, before anybody decided anything."""
        return await self._db.read(self._current)

    async def change(self, settings: TenantSettings, *, by: Author, reason: str) -> TenantSettings:
        """Put *settings*, made from the version it carries, in force as the next one.

        Raises `Conflict` if somebody else changed them since that version was read.
        """

        def work(connection: sqlite3.Connection) -> TenantSettings:
            before = self._current(connection)
            if before.version != settings.version:
                raise Conflict("Somebody else has changed the settings meanwhile. Look at them again, then decide.")
            after = replace(settings, version=before.version + 1)
            change = power.put(
                connection,
                "tenant_settings",
                tenant=self._db.tenant,
                version=after.version,
                settings=canonical(_to_json(after)),
                set_at=to_text(self._db.clock.now()),
                set_by=by.operator_id,
                reason=reason,
            )
            old, new = _to_json(before), _to_json(after)
            changed = {name: [old[name], new[name]] for name in new if old[name] != new[name]}
            facts = {"version": after.version, "changed": changed, "reason": reason, **by.facts}
            record = AuditRecord("settings.changed", operator_id=by.operator_id, facts=facts)
            self._trail.chain(connection, [record], [change])
            return after

        return await self._db.write(work)

    def _current(self, connection: sqlite3.Connection) -> TenantSettings:
        row = connection.execute(
            "SELECT version, settings FROM tenant_settings WHERE tenant = ? ORDER BY version DESC LIMIT 1",
            (self._db.tenant,),
        ).fetchone()
        return _from_json(row[0], json.loads(row[1])) if row else TenantSettings()


def _to_json(settings: TenantSettings) -> dict[str, Any]:
    return {name: value for name, value in asdict(settings).items() if name != "version"}


def _from_json(version: int, data: dict[str, Any]) -> TenantSettings:
    kind = data.pop("identity_kind")
    return TenantSettings(
        version=version,
        mode=Mode(data.pop("mode")),
        identity_kind=IdentityKind(kind) if kind else None,
        work_channels=tuple(data.pop("work_channels")),
        **data,
    )
