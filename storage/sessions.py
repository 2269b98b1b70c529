"""Management sessions as they were, so that generations only grow."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Final

from bot.errors import Conflict
from bot.model import AuditRecord, Identity, IdentityKind, Mode, Session, SessionState
from storage.audit import AuditTrail
from storage.database import Database, from_text, to_text
from storage.seal import canonical

_COLUMNS: Final = (
    "tenant", "generation", "mode", "state", "identity", "opened_at", "idle_until", "absolute_until", "opened_for",
    "why", "owner",
)  # fmt: skip


_SAVE: Final = (
    f"INSERT OR REPLACE INTO sessions ({', '.join(_COLUMNS)}) "  # noqa: S608 - our own words
    f"VALUES ({', '.join('?' for _ in _COLUMNS)})"
)


class SessionLog:
    """One row per generation, whoever's session it was. Tokens are not in it."""

    def __init__(self, db: Database, trail: AuditTrail) -> None:
        self._db = db
        self._trail = trail

    async def last(self) -> Sequence[Session]:
        """The latest session of the tenant and of each operator who ever had one of their own."""

        def work(connection: sqlite3.Connection) -> Sequence[Session]:
            rows = connection.execute(
                f"SELECT {', '.join(_COLUMNS[1:])} FROM sessions "  # noqa: S608 - our own words
                "WHERE (tenant, generation) IN "
                "(SELECT tenant, max(generation) FROM sessions WHERE tenant = ? GROUP BY owner) ORDER BY generation",
                (self._db.tenant,),
            ).fetchall()
            return [_session(*row) for row in rows]

        return await self._db.read(work)

    async def save(self, session: Session, *audit: AuditRecord) -> None:
        """Write the session and what is to be audited of it in one transaction.

        Raises `Conflict` if a later one of the same owner was written meanwhile, or this generation for another.
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
            session.owner,
        )

        def work(connection: sqlite3.Connection) -> None:
            taken = connection.execute(
                "SELECT 1 FROM sessions WHERE tenant = :tenant AND ((owner IS :owner AND generation > :generation) "
                "OR (owner IS NOT :owner AND generation = :generation))",
                {"tenant": self._db.tenant, "owner": session.owner, "generation": session.generation},
            ).fetchone()
            if taken:
                raise Conflict("A later management session has begun meanwhile.")
            connection.execute(_SAVE, row)
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
    owner: str | None,
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
        owner=owner,
    )
