"""The people who may ask, what their roles hold, and the one read that every decision begins with."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from bot.errors import BadInput, NotPossible
from bot.model import AuditRecord, Grant, Operator, Rights, Scope, ScopeOp, ScopeRule, SlackUser
from storage import power
from storage.audit import AuditTrail
from storage.database import Database, from_text, to_text
from storage.power import Author, RowChange
from storage.seal import canonical

TENANT_ADMIN: Final = "tenant-admin"

_EVERYONE: Final = ("/m365 help", "/m365 can")
_VIEWER: Final = (*_EVERYONE, "/m365 show-user", "/m365-session status")
_HELPDESK: Final = (
    *_VIEWER,
    "/m365 reset-password",
    "/m365 revoke-sessions",
    "/m365 unblock-sign-in",
    "/m365 undo",
    "/m365-session on",
    "/m365-session extend",
    "/m365-session off",
)
_OPERATOR: Final = (
    *_HELPDESK,
    # An access pass signs in as somebody else without their second factor: more than a help desk needs every day.
    "/m365 temporary-access-pass",
    "/m365 block-sign-in",
    "/m365 add-to-group",
    "/m365 remove-from-group",
    "/m365 assign-license",
    "/m365 remove-license",
)

SHIPPED_ROLES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "viewer": ("Looks people up", _VIEWER),
    "helpdesk": ("Helps people to sign in again", _HELPDESK),
    "operator": ("Runs everyday administration", _OPERATOR),
    "approver": ("Looks at requests of others and agrees to them", _VIEWER),
    "auditor": ("Reads the audit trail", (*_EVERYONE, "/m365-session status", "/m365-audit")),
    TENANT_ADMIN: ("Decides on modes, roles and settings", ("/m365*",)),
}
"""Role to its title and command patterns. They become rows once, on a new file; from then on the rows count."""

# A pattern that ends with * is kept apart (wild = 1), so that a grant costs two short seeks, however many commands its
# role holds.
_RIGHTS: Final = """
SELECT o.id, o.account_id, o.upn, o.name, o.suspended, g.id, g.role, g.expires_at, s.id, s.name, s.rule,
       coalesce(
           (SELECT c.pattern FROM role_commands c
            WHERE c.tenant = o.tenant AND c.role = g.role AND c.wild = 0 AND c.pattern = ?1),
           (SELECT c.pattern FROM role_commands c
            WHERE c.tenant = o.tenant AND c.role = g.role AND c.wild = 1 AND ?1 GLOB c.pattern LIMIT 1))
FROM operators o
LEFT JOIN grants g ON g.operator = o.id AND g.revoked_at IS NULL
LEFT JOIN scopes s ON s.id = g.scope
WHERE o.tenant = ?2 AND o.team = ?3 AND o.slack_user = ?4
"""

_CURRENT: Final = "g.revoked_at IS NULL AND (g.expires_at IS NULL OR g.expires_at > :now)"

_OPERATOR_COLUMNS: Final = "o.id, o.team, o.slack_user, o.account_id, o.upn, o.name, o.suspended"

_BY_ID: Final = f"SELECT {_OPERATOR_COLUMNS} FROM operators o WHERE o.tenant = ? AND o.id = ?"  # noqa: S608 - our own words


@dataclass(frozen=True)
class Holder:
    """An operator and the grants they hold now or held until one expired."""

    operator: Operator
    grants: tuple[Grant, ...]


class Operators:
    """Operators, roles, grants and scopes. Every change is audited in its own transaction.

    Methods that change something raise `BadInput` or `NotPossible` with a sentence; then nothing was changed.
    """

    def __init__(self, db: Database, trail: AuditTrail) -> None:
        self._db = db
        self._trail = trail
        self._scope = lru_cache(maxsize=4096)(_scope)  # by the rule's own text, so it cannot be out of date

    # --- deciding ----------------------------------------------------------------------------------------------------

    def rights(self, slack: SlackUser, command: str) -> Rights:
        """Who this is and which grants hold *command*, as committed by any process at this instant."""
        rows = self._db.read_now(_RIGHTS, (command, self._db.tenant, slack.team, slack.user))
        if not rows:
            return Rights(operator=None)
        id_, account_id, upn, name, suspended = rows[0][:5]
        grants = []
        others = []
        for _, _, _, _, _, grant, role, expires, scope, scope_name, rule, pattern in rows:
            if grant is None:
                continue
            ends = from_text(expires)
            if pattern is not None:
                where = None if scope is None else self._scope(scope, scope_name, rule)
                grants.append(Grant(grant, role, where, ends, pattern))
            elif (ends is None or ends > self._db.clock.now()) and role not in others:
                others.append(role)
        operator = Operator(id_, slack, account_id, upn, name, bool(suspended))
        return Rights(operator, tuple(grants), tuple(others))

    # --- reading -----------------------------------------------------------------------------------------------------

    async def find(self, operator_id: str) -> Operator | None:
        """The operator with this id. One row by its key, read on the event loop like the rights."""
        rows = self._db.read_now(_BY_ID, (self._db.tenant, operator_id))
        return _operator(rows[0]) if rows else None

    async def role_commands(self, slack: SlackUser) -> Sequence[tuple[str, str]]:
        """(role, command pattern) of every current grant of this person."""
        sql = f"""
            SELECT DISTINCT g.role, c.pattern
            FROM operators o JOIN grants g ON g.operator = o.id
                 JOIN role_commands c ON c.tenant = g.tenant AND c.role = g.role
            WHERE o.tenant = :tenant AND o.team = :team AND o.slack_user = :user AND {_CURRENT}
            ORDER BY g.role, c.pattern
        """  # noqa: S608 - our own words
        return await self._rows(sql, team=slack.team, user=slack.user)

    async def who_may(self, command: str) -> Sequence[Operator]:
        """Up to three operators with a current grant that holds *command*; tenant admins come last."""
        sql = f"""
            SELECT {_OPERATOR_COLUMNS}
            FROM role_commands c JOIN grants g ON g.tenant = c.tenant AND g.role = c.role
                 JOIN operators o ON o.id = g.operator
            WHERE c.tenant = :tenant AND :command GLOB c.pattern AND {_CURRENT} AND NOT o.suspended
            GROUP BY o.id ORDER BY min(g.role = '{TENANT_ADMIN}'), o.name, o.id LIMIT 3
        """  # noqa: S608 - our own words
        return [_operator(row) for row in await self._rows(sql, command=command)]

    async def power_groups(self) -> frozenset[str]:
        """The ids of all groups that a scope names: whoever fills them decides whom Latchkey may touch."""
        rules = await self._rows("SELECT rule FROM scopes WHERE tenant = :tenant")
        return frozenset(group for (rule,) in rules for group in _groups_of(ScopeRule.from_json(json.loads(rule))))

    async def everyone(self) -> Sequence[Holder]:
        """All operators with the grants that were not revoked, for listings."""
        sql = f"""
            SELECT {_OPERATOR_COLUMNS}, g.id, g.role, g.expires_at, s.id, s.name, s.rule
            FROM operators o LEFT JOIN grants g ON g.operator = o.id AND g.revoked_at IS NULL
                 LEFT JOIN scopes s ON s.id = g.scope
            WHERE o.tenant = :tenant ORDER BY o.name, o.id, g.role
        """  # noqa: S608 - our own words
        holders: dict[str, Holder] = {}
        for *person, grant, role, expires, scope, scope_name, rule in await self._rows(sql):
            holder = holders.setdefault(person[0], Holder(_operator(person), ()))
            if grant is not None:
                where = None if scope is None else self._scope(scope, scope_name, rule)
                held = Grant(grant, role, where, from_text(expires))
                holders[person[0]] = replace(holder, grants=(*holder.grants, held))
        return list(holders.values())

    async def roles(self) -> Mapping[str, tuple[str, ...]]:
        """Each role and its command patterns."""
        found: dict[str, tuple[str, ...]] = {}
        sql = """
            SELECT r.name, c.pattern FROM roles r LEFT JOIN role_commands c ON c.tenant = r.tenant AND c.role = r.name
            WHERE r.tenant = :tenant ORDER BY r.name, c.pattern
        """
        for role, pattern in await self._rows(sql):
            found[role] = (*found.get(role, ()), *([pattern] if pattern else []))
        return found

    async def _rows(self, sql: str, **values: str) -> list[Any]:
        about = {"tenant": self._db.tenant, "now": to_text(self._db.clock.now()), **values}
        return await self._db.read(lambda connection: connection.execute(sql, about).fetchall())

    # --- changing ----------------------------------------------------------------------------------------------------

    async def ship_roles(self) -> None:
        """Write the shipped roles, if this tenant has no roles yet."""
        tenant = self._db.tenant

        def work(connection: sqlite3.Connection) -> None:
            if connection.execute("SELECT 1 FROM roles WHERE tenant = ?", (tenant,)).fetchone():
                return
            changes = []
            for role, (title, patterns) in SHIPPED_ROLES.items():
                changes.append(power.put(connection, "roles", tenant=tenant, name=role, title=title))
                for pattern in patterns:
                    wild = int(pattern.endswith("*"))
                    changes.append(
                        power.put(connection, "role_commands", tenant=tenant, role=role, wild=wild, pattern=pattern)
                    )
            self._trail.chain(connection, [AuditRecord("roles.shipped")], changes)

        await self._db.write(work)

    async def bind(
        self, slack: SlackUser, *, account_id: str | None, upn: str | None, name: str | None, by: Author
    ) -> Operator:
        """Bind a Slack user to an Entra account, making them an operator if they are none yet.

        *account_id* None takes the binding back. One account belongs to one Slack user: two would let a person agree
        to their own request.
        """

        def work(connection: sqlite3.Connection) -> Operator:
            if account_id is not None:
                taken = connection.execute(
                    "SELECT name, slack_user FROM operators WHERE tenant = ? AND account_id = ? AND NOT suspended "
                    "AND NOT (team = ? AND slack_user = ?)",
                    (self._db.tenant, account_id, slack.team, slack.user),
                ).fetchone()
                if taken:
                    raise BadInput(f"That account already belongs to {_called(*taken)}. Take it from them first.")
            row = self._operator_row(connection, slack) | {"account_id": account_id, "upn": upn, "name": name}
            change = power.put(connection, "operators", **row)
            record = AuditRecord(
                "operator.bound",
                operator_id=by.operator_id,
                facts={"operator": str(row["id"]), "account": account_id, "upn": upn, **by.facts},
            )
            self._trail.chain(connection, [record], [change])
            return _operator_of(row)

        return await self._db.write(work)

    async def grant(
        self,
        slack: SlackUser,
        role: str,
        *,
        by: Author,
        reason: str,
        scope_id: str | None = None,
        expires_at: datetime | None = None,
        emergency: bool = False,
    ) -> Grant:
        """Grant *role*, making the Slack user an operator if they are none yet. The same role and scope granted again
        replaces the earlier grant.

        Nobody grants what they do not hold themselves, as widely and for as long. From the command line everything may
        be granted but a third tenant admin: that takes *emergency* and a reason.
        """

        def work(connection: sqlite3.Connection) -> Grant:
            now = self._db.clock.now()
            if expires_at is not None and expires_at <= now:
                raise BadInput("That end lies in the past. Give a time to come, or none.", field="until")
            self._known_role(connection, role)
            scope = self._known_scope(connection, scope_id)
            urgent = False
            if by.operator_id is not None:
                self._must_hold(connection, by.operator_id, role, scope_id, expires_at)
            elif role == TENANT_ADMIN:
                urgent = self._is_emergency(connection, emergency, reason)
            person = self._operator_row(connection, slack)
            changes = [power.put(connection, "operators", **person)]
            changes += self._end_grants(connection, str(person["id"]), role, by, scope_id=scope_id, any_scope=False)
            grant = Grant(_new_id(), role, scope, expires_at)
            changes.append(
                power.put(
                    connection,
                    "grants",
                    id=grant.id,
                    tenant=self._db.tenant,
                    operator=person["id"],
                    role=role,
                    scope=scope_id,
                    expires_at=to_text(expires_at) if expires_at else None,
                    granted_at=to_text(now),
                    granted_by=by.operator_id,
                    emergency=int(urgent),
                    reason=reason,
                    revoked_at=None,
                    revoked_by=None,
                )
            )
            facts = {
                "grant": grant.id,
                "operator": str(person["id"]),
                "role": role,
                "scope": scope.name if scope else None,
                "until": to_text(expires_at) if expires_at else None,
                "emergency": urgent,
                "reason": reason,
            }
            record = AuditRecord("grant.created", operator_id=by.operator_id, facts={**facts, **by.facts})
            self._trail.chain(connection, [record], changes)
            return grant

        return await self._db.write(work)

    async def revoke(self, slack: SlackUser, role: str, *, by: Author, reason: str) -> int:
        """Revoke every grant of *role* this person holds, whatever its scope; how many there were.

        From the commit on, every decision of every process knows. The last tenant admin cannot be revoked.
        """

        def work(connection: sqlite3.Connection) -> int:
            self._known_role(connection, role)
            person = self._known_operator(connection, slack)
            if by.operator_id is not None:
                self._must_hold(connection, by.operator_id, role, None, None)
            had_admin = self._admins(connection)
            changes = self._end_grants(connection, str(person["id"]), role, by)
            if not changes:
                raise BadInput(f"{_called_of(person)} does not hold {role}, so there is nothing to revoke.")
            if had_admin and not self._admins(connection):
                raise self._last_admin(person)
            facts = {"operator": str(person["id"]), "role": role, "reason": reason, **by.facts}
            record = AuditRecord("grant.revoked", operator_id=by.operator_id, facts=facts)
            self._trail.chain(connection, [record], changes)
            return len(changes)

        return await self._db.write(work)

    async def suspend(self, slack: SlackUser, *, by: Author, reason: str, suspended: bool = True) -> Operator:
        """Take all power from an operator, keeping their grants; *suspended* False gives it back.

        The last tenant admin cannot be suspended.
        """

        def work(connection: sqlite3.Connection) -> Operator:
            person = self._known_operator(connection, slack)
            if by.operator_id is not None:
                for (role,) in connection.execute(
                    "SELECT DISTINCT role FROM grants WHERE operator = ? AND revoked_at IS NULL", (person["id"],)
                ).fetchall():
                    self._must_hold(connection, by.operator_id, role, None, None)
            had_admin = self._admins(connection)
            changed = {**person, "suspended": int(suspended)}
            change = power.put(connection, "operators", **changed)
            if had_admin and not self._admins(connection):
                raise self._last_admin(person)
            record = AuditRecord(
                "operator.suspended" if suspended else "operator.restored",
                operator_id=by.operator_id,
                facts={"operator": str(person["id"]), "reason": reason, **by.facts},
            )
            self._trail.chain(connection, [record], [change])
            return _operator_of(changed)

        return await self._db.write(work)

    async def add_scope(self, name: str, rule: ScopeRule, *, by: Author) -> Scope:
        """Make a scope that grants can name."""
        scope = Scope(_new_id(), name, rule)

        def work(connection: sqlite3.Connection) -> Scope:
            text = canonical(rule.to_json())
            change = power.put(connection, "scopes", id=scope.id, tenant=self._db.tenant, name=name, rule=text)
            record = AuditRecord(
                "scope.added", operator_id=by.operator_id, facts={"scope": scope.id, "name": name, **by.facts}
            )
            self._trail.chain(connection, [record], [change])
            return scope

        return await self._db.write(work)

    # --- rules -------------------------------------------------------------------------------------------------------

    def _must_hold(
        self, connection: sqlite3.Connection, operator_id: str, role: str, scope_id: str | None, until: datetime | None
    ) -> None:
        """Refuse unless the operator's own grants cover all commands of *role*, in this scope and up to this time."""
        held = connection.execute(
            f"""
            SELECT c.pattern FROM grants g JOIN operators o ON o.id = g.operator
                 JOIN role_commands c ON c.tenant = g.tenant AND c.role = g.role
            WHERE o.id = :id AND o.tenant = :tenant AND NOT o.suspended AND {_CURRENT}
              AND (g.scope IS NULL OR g.scope IS :scope)
              AND (g.expires_at IS NULL OR g.expires_at >= :until)
            """,  # noqa: S608 - our own words
            {
                "id": operator_id,
                "tenant": self._db.tenant,
                "now": to_text(self._db.clock.now()),
                "scope": scope_id,
                "until": to_text(until) if until else None,
            },
        ).fetchall()
        wanted = connection.execute(
            "SELECT pattern FROM role_commands WHERE tenant = ? AND role = ?", (self._db.tenant, role)
        ).fetchall()
        for (pattern,) in wanted:
            if not any(_covers(mine, pattern) for (mine,) in held):
                raise NotPossible(
                    f"Nobody gives or takes more than they hold themselves, and {role} holds `{pattern}`. "
                    "Ask a tenant admin who does."
                )

    def _is_emergency(self, connection: sqlite3.Connection, emergency: bool, reason: str) -> bool:
        """Whether naming a tenant admin from the command line goes beyond the first two."""
        (ever,) = connection.execute(
            "SELECT count(DISTINCT operator) FROM grants WHERE tenant = ? AND role = ?", (self._db.tenant, TENANT_ADMIN)
        ).fetchone()
        if ever < 2:
            return False
        if not emergency:
            raise BadInput(
                "The first two tenant admins have been named, so another one from a shell is an emergency: add "
                "`--emergency --reason`. The audit trail says so, for review.",
                field="emergency",
            )
        if not reason.strip():
            raise BadInput("An emergency needs its reason: add `--reason`.", field="reason")
        return True

    def _admins(self, connection: sqlite3.Connection) -> int:
        sql = f"""
            SELECT count(DISTINCT o.id) FROM grants g JOIN operators o ON o.id = g.operator
            WHERE g.tenant = :tenant AND g.role = '{TENANT_ADMIN}' AND {_CURRENT} AND g.scope IS NULL
              AND NOT o.suspended
        """  # noqa: S608 - our own words
        about = {"tenant": self._db.tenant, "now": to_text(self._db.clock.now())}
        return int(connection.execute(sql, about).fetchone()[0])

    def _last_admin(self, person: power.Row) -> NotPossible:
        return NotPossible(
            f"{_called_of(person)} is the last tenant admin, and without one nobody could grant anything. "
            "Make somebody else tenant admin first."
        )

    def _end_grants(
        self,
        connection: sqlite3.Connection,
        operator_id: str,
        role: str,
        by: Author,
        *,
        scope_id: str | None = None,
        any_scope: bool = True,
    ) -> list[RowChange]:
        ids = connection.execute(
            "SELECT id FROM grants WHERE operator = ? AND role = ? AND revoked_at IS NULL AND (? OR scope IS ?)",
            (operator_id, role, any_scope, scope_id),
        ).fetchall()
        ended = {"revoked_at": to_text(self._db.clock.now()), "revoked_by": by.operator_id}
        return [
            power.put(connection, "grants", **{**(power.find(connection, "grants", id=id_) or {}), **ended})
            for (id_,) in ids
        ]

    def _operator_row(self, connection: sqlite3.Connection, slack: SlackUser) -> dict[str, str | int | None]:
        """The person's row, or a new one for somebody who is no operator yet."""
        found = power.find(connection, "operators", tenant=self._db.tenant, team=slack.team, slack_user=slack.user)
        new = {"account_id": None, "upn": None, "name": None, "suspended": 0}
        who = {"id": _new_id(), "tenant": self._db.tenant, "team": slack.team, "slack_user": slack.user}
        return dict(found or {**who, **new})

    def _known_operator(self, connection: sqlite3.Connection, slack: SlackUser) -> power.Row:
        found = power.find(connection, "operators", tenant=self._db.tenant, team=slack.team, slack_user=slack.user)
        if found is None:
            raise BadInput(f"{slack.user} of {slack.team} is no operator here.")
        return found

    def _known_role(self, connection: sqlite3.Connection, role: str) -> None:
        names = [
            name
            for (name,) in connection.execute(
                "SELECT name FROM roles WHERE tenant = ? ORDER BY name", (self._db.tenant,)
            )
        ]
        if role not in names:
            raise BadInput(f"There is no role `{role}`. The roles are {', '.join(names)}.", field="role")

    def _known_scope(self, connection: sqlite3.Connection, scope_id: str | None) -> Scope | None:
        if scope_id is None:
            return None
        found = power.find(connection, "scopes", id=scope_id, tenant=self._db.tenant)
        if found is None:
            raise BadInput("There is no such scope.", field="scope")
        return self._scope(str(found["id"]), str(found["name"]), str(found["rule"]))


def _new_id() -> str:
    return str(uuid.uuid4())


def _scope(id_: str, name: str, rule: str) -> Scope:
    return Scope(id_, name, ScopeRule.from_json(json.loads(rule)))


def _covers(mine: str, pattern: str) -> bool:
    """Whether whatever *pattern* matches, *mine* matches too."""
    return mine == pattern or (mine.endswith("*") and pattern.startswith(mine[:-1]))


def _operator(row: Sequence[Any]) -> Operator:
    id_, team, user, account_id, upn, name, suspended = row
    return Operator(id_, SlackUser(team, user), account_id, upn, name, bool(suspended))


def _operator_of(row: Mapping[str, Any]) -> Operator:
    return _operator([row[key] for key in ("id", "team", "slack_user", "account_id", "upn", "name", "suspended")])


def _called(name: str | None, slack_user: str) -> str:
    return name or slack_user


def _called_of(person: power.Row) -> str:
    return _called(None if person["name"] is None else str(person["name"]), str(person["slack_user"]))


def _groups_of(rule: ScopeRule) -> set[str]:
    own = set(rule.values[:1]) if rule.op is ScopeOp.GROUP else set()
    return own.union(*map(_groups_of, rule.parts))
