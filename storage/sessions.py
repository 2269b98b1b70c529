"""Management sessions as they were, so that generations only grow."""

from __future__ import annotations

import json
import sqlite3

from bot.errors import Conflict
from bot.model import AuditRecord, Identity, IdentityKind, Mode, Session, SessionState
from storage.audit import AuditTrail
from storage.database import Database, from_text, to_text
from storage.seal import canonical


class SessionLog:
    """One row per generation. Tokens are not in it."""

    def __init__(self, db: Database, trail: AuditTrail) -> None:
        self._db = db
        self._trail = trail

    async def last(self) -> Session | None:
        """The session with the highest generation."""

        def work(connection: sqlite3.Connection) -> Session | None:
            row = connection.execute(
                "SELECT generation, mode, state, identity, opened_at, idle_until, absolute_until, opened_for, why "
                "FROM sessions WHERE tenant = ? ORDER BY generation DESC LIMIT 1",
                (self._db.tenant,),
            ).fetchone()
            return _session(*row) if row else None

        return await self._db.read(work)

    async def save(self, session: Session, *audit: AuditRecord) -> None:
        """Write the session and what is to be audited of it in one transaction.

        Raises `Conflict` if a later generation was written meanwhile.
        """
        times = (session.opened_at, session.idle_until, session.absolute_until)
        row = (
            self._db.tenant,
            session.generation,
            session.mode.value,
            session.state.value,
            _identity_json(session.identity),
            *(to_text(when) if when else None for when in times),
            session.opened_for,
            session.why,
        )

        def work(connection: sqlite3.Connection) -> None:
            (latest,) = connection.execute(
                "SELECT coalesce(max(generation), 0) FROM sessions WHERE tenant = ?", (self._db.tenant,)
            ).fetchone()
            if session.generation < latest:
                raise Conflict("A later management session has begun meanwhile.")
            connection.execute("INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            self._trail.chain(connection, audit)

        await self._db.write(work)


def _identity_json(identity: Identity | None) -> str | None:
    if identity is None:
        return None
    return canonical({"kind": identity.kind, "id": identity.id, "name": identity.name, "roles": sorted(identity.roles)})


def _identity(text: str | None) -> Identity | None:
    if text is None:
        return None
    data = json.loads(text)
    return Identity(IdentityKind(data["kind"]), data["id"], data["name"], frozenset(data["roles"]))


def _session(
    generation: int,
    mode: str,
    state: str,
    identity: str | None,
    opened_at: str | None,
    idle_until: str | None,
    absolute_until: str | None,
    opened_for: str | None,
    why: str | None,
) -> Session:
    return Session(
        generation=generation,
        mode=Mode(mode),
        state=SessionState(state),
        identity=_identity(identity),
        opened_at=from_text(opened_at),
        idle_until=from_text(idle_until),
        absolute_until=from_text(absolute_until),
        opened_for=opened_for,
        why=why,
    )
