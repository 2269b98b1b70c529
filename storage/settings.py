"""What tenant admins have decided: every change is a new version, and the old ones stay."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from bot.errors import Conflict
from bot.model import AuditRecord, Author, IdentityKind, Mode, SettingsChange, TenantSettings
from storage import power
from storage.audit import AuditTrail
from storage.database import Database, to_text
from storage.seal import canonical

_CURRENT: Final = "SELECT version, settings FROM tenant_settings WHERE tenant = ? ORDER BY version DESC LIMIT 1"

_SINCE: Final = (
    "SELECT version, settings, set_at, set_by FROM tenant_settings WHERE tenant = ? AND version >= ? ORDER BY version"
)


class Settings:
    """The tenant's settings. Every change is audited in its own transaction."""

    def __init__(self, db: Database, trail: AuditTrail) -> None:
        self._db = db
        self._trail = trail
        self._settings = lru_cache(maxsize=4)(_settings)  # by the row's own text, so it cannot be out of date
        self._listeners: list[Callable[[], None]] = []

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call *listener*, on the event loop, after each change that is made here."""
        self._listeners.append(listener)

    def _changed(self) -> None:
        for listener in self._listeners:
            listener()

    async def current(self) -> TenantSettings:
        """The settings in force; version 0 is what ships, before anybody decided anything.

        Read on the event loop, as the rights are: every decision needs both, and a thread costs more than the read.
        """
        return self._in_force(self._db.read_now(_CURRENT, (self._db.tenant,)))

    async def change(self, settings: TenantSettings, *, by: Author, reason: str) -> TenantSettings:
        """Put *settings*, made from the version it carries, in force as the next one.

        Raises `Conflict` if somebody else changed them since that version was read.
        """

        def work(connection: sqlite3.Connection) -> TenantSettings:
            before = self._in_force(connection.execute(_CURRENT, (self._db.tenant,)).fetchall())
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

        return await self._db.write(work, then=self._changed)

    async def since(self, version: int) -> Sequence[SettingsChange]:
        """How they were changed after this version, oldest first."""

        def work(connection: sqlite3.Connection) -> Sequence[SettingsChange]:
            changes, before = [], _to_json(TenantSettings())
            for number, text, at, by in connection.execute(_SINCE, (self._db.tenant, version)):
                after = _to_json(self._settings(number, text))
                if number > version:
                    changed = {name: (before[name], after[name]) for name in after if before[name] != after[name]}
                    changes.append(SettingsChange(datetime.fromisoformat(at), by, changed))
                before = after
            return changes

        return await self._db.read(work)

    def _in_force(self, rows: list[tuple[int, str]]) -> TenantSettings:
        return self._settings(*rows[0]) if rows else TenantSettings()


def _to_json(settings: TenantSettings) -> dict[str, Any]:
    return {name: value for name, value in asdict(settings).items() if name != "version"}


def _settings(version: int, text: str) -> TenantSettings:
    data = json.loads(text)
    kind = data.pop("identity_kind")
    return TenantSettings(
        version=version,
        mode=Mode(data.pop("mode")),
        identity_kind=IdentityKind(kind) if kind else None,
        work_channels=tuple(data.pop("work_channels")),
        **data,
    )
