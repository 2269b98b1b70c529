"""The people who may ask, what their roles hold, and the one read that every decision begins with."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from bot.errors import BadInput, NotPossible
from bot.model import (
    TENANT_ADMIN,
    AuditRecord,
    Author,
    Grant,
    GroupGrant,
    Operator,
    Rights,
    Role,
    Scope,
    ScopeOp,
    ScopeRule,
    SlackUser,
    Target,
    TargetKind,
    covers,
    decides_on_power,
)
from storage import power
from storage.audit import AuditTrail
from storage.database import Database, from_text, to_text
from storage.power import RowChange
from storage.seal import canonical

ALL_OF_IT: Final = "/m365*"
"""What tenant admins hold: every command there is and will be."""

_EVERYONE: Final = ("/m365 help", "/m365 can")
_READS: Final = ("/m365-rotate status", "/m365-rotate history", "/m365-whatif")
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
    "approver": ("Looks at requests of others and agrees to them", (*_VIEWER, "/m365 approve", *_READS)),
    "auditor": ("Reads the audit trail", (*_EVERYONE, "/m365-session status", "/m365-audit", *_READS)),
    TENANT_ADMIN: ("Decides on modes, roles and settings", (ALL_OF_IT,)),
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

_ADMINS: Final = f"""
SELECT DISTINCT o.id FROM grants g JOIN operators o ON o.id = g.operator
WHERE g.tenant = :tenant AND g.role = '{TENANT_ADMIN}' AND {_CURRENT} AND g.scope IS NULL AND NOT o.suspended
"""  # noqa: S608 - our own words

_FOLLOWED_COLUMNS: Final = (
    "f.id, f.group_id, f.group_name, f.role, f.scope, f.expires_at, f.granted_at, f.granted_by, f.reason"
)

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
        self._listeners: list[Callable[[], None]] = []

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call *listener*, on the event loop, after each change here of what grants that follow a group depend on."""
        self._listeners.append(listener)

    def _changed(self) -> None:
        for listener in self._listeners:
            listener()

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
        """The ids of all groups that a scope names or that a role follows: whoever fills them decides whom Latchkey may
        touch, and who may do what."""
        rules = await self._rows("SELECT rule FROM scopes WHERE tenant = :tenant")
        followed = await self._rows("SELECT group_id FROM group_grants WHERE tenant = :tenant AND revoked_at IS NULL")
        named = (group for (rule,) in rules for group in _groups_of(ScopeRule.from_json(json.loads(rule))))
        return frozenset(named).union(group for (group,) in followed)

    async def everyone(self) -> Sequence[Holder]:
        """All operators with the grants that were not revoked, for listings."""
        return await self._holders("o.tenant = :tenant")

    async def holder(self, team: str, called: str) -> Holder | None:
        """The operator with this Slack user id in *team*, or else of this user principal name; None if nobody is."""
        who = "o.tenant = :tenant AND (o.team = :team AND o.slack_user = :called OR lower(o.upn) = lower(:called))"
        found = await self._holders(who, team=team, called=called)
        return next((one for one in found if one.operator.slack.user == called), found[0] if len(found) == 1 else None)

    async def admin_holders(self) -> Sequence[Holder]:
        """Who is tenant admin now."""
        ids = await self._rows(_ADMINS)
        return [holder for holder in await self.everyone() if (holder.operator.id,) in ids] if ids else []

    async def _holders(self, who: str, **values: str) -> Sequence[Holder]:
        sql = f"""
            SELECT {_OPERATOR_COLUMNS}, g.id, g.role, g.expires_at, g.via, g.granted_by, g.granted_at, g.reason,
                   s.id, s.name, s.rule
            FROM operators o LEFT JOIN grants g ON g.operator = o.id AND g.revoked_at IS NULL
                 LEFT JOIN scopes s ON s.id = g.scope
            WHERE {who} ORDER BY o.name, o.id, g.role
        """  # noqa: S608 - our own words
        holders: dict[str, Holder] = {}
        for *person, grant, role, expires, via, by, at, why, scope, scope_name, rule in await self._rows(sql, **values):
            holder = holders.setdefault(person[0], Holder(_operator(person), ()))
            if grant is not None:
                where = None if scope is None else self._scope(scope, scope_name, rule)
                held = Grant(grant, role, where, from_text(expires), None, via, by, from_text(at), why)
                holders[person[0]] = replace(holder, grants=(*holder.grants, held))
        return list(holders.values())

    async def followed_groups(self) -> Sequence[GroupGrant]:
        """Which roles follow which Entra groups now."""
        sql = f"""
            SELECT {_FOLLOWED_COLUMNS}, s.name, s.rule, r.read_at
            FROM group_grants f LEFT JOIN scopes s ON s.id = f.scope LEFT JOIN group_reads r ON r.group_grant = f.id
            WHERE f.tenant = :tenant AND f.revoked_at IS NULL AND (f.expires_at IS NULL OR f.expires_at > :now)
            ORDER BY f.group_name, f.role, f.id
        """  # noqa: S608 - our own words
        return [self._followed(*row) for row in await self._rows(sql)]

    def _followed(
        self, id_: str, group: str, name: str, role: str, scope: str | None, expires_at: str | None,
        granted_at: str, granted_by: str | None, reason: str, scope_name: str, rule: str, read_at: str | None,
    ) -> GroupGrant:  # fmt: skip
        return GroupGrant(
            id_,
            Target(TargetKind.GROUP, group, name),
            role,
            datetime.fromisoformat(granted_at),
            scope=None if scope is None else self._scope(scope, scope_name, rule),
            expires_at=from_text(expires_at),
            granted_by=granted_by,
            reason=reason,
            read_at=from_text(read_at),
        )

    async def active(self) -> Sequence[Operator]:
        """All operators who are not suspended."""
        where = "o.tenant = :tenant AND NOT o.suspended"
        sql = f"SELECT {_OPERATOR_COLUMNS} FROM operators o WHERE {where} ORDER BY o.id"  # noqa: S608 - our own words
        return [_operator(row) for row in await self._rows(sql)]

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

    async def role_list(self) -> Sequence[Role]:
        """Every role that holds a command, with how many people hold it now; the shipped ones first."""
        holders = f"""
            SELECT g.role, count(DISTINCT o.id) FROM grants g JOIN operators o ON o.id = g.operator
            WHERE g.tenant = :tenant AND {_CURRENT} AND NOT o.suspended GROUP BY g.role
        """  # noqa: S608 - our own words
        held = dict(await self._rows(holders))
        titles = dict(await self._rows("SELECT name, title FROM roles WHERE tenant = :tenant"))
        found = [
            Role(name, titles[name], patterns, held.get(name, 0), shipped=name in SHIPPED_ROLES)
            for name, patterns in (await self.roles()).items()
            if patterns
        ]
        order = {name: place for place, name in enumerate(SHIPPED_ROLES)}
        return sorted(found, key=lambda role: (order.get(role.name, len(order)), role.name))

    async def scopes(self) -> Sequence[Scope]:
        """Every scope there is, by name."""
        rows = await self._rows("SELECT id, name, rule FROM scopes WHERE tenant = :tenant ORDER BY name, id")
        return [self._scope(*row) for row in rows]

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
        to their own request. Who is not at a command line links themselves: to one account, once, and not to that of
        somebody suspended unless it was entered for them.
        """

        def work(connection: sqlite3.Connection) -> Operator:
            known = self._operator_row(connection, slack)
            if not by.login and known["account_id"] not in (None, account_id):
                raise BadInput(f"Another account, {known['upn']}, is linked already. Ask a tenant admin to change it.")
            entered = bool(by.login) or str(known["upn"] or "").casefold() == str(upn).casefold()
            self._not_taken(connection, slack, account_id, by_the_suspended=not entered)
            row = known | {"account_id": account_id, "upn": upn, "name": name}
            who = by if by.operator_id or by.login else Author(str(row["id"]))
            change = power.put(connection, "operators", **row)
            record = AuditRecord(
                "operator.bound",
                operator_id=who.operator_id,
                facts={"operator": str(row["id"]), "account": account_id, "upn": upn, **who.facts},
            )
            self._trail.chain(connection, [record], [change])
            return _operator_of(row)

        return await self._db.write(work, then=self._changed)

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
        upn: str | None = None,
        name: str | None = None,
    ) -> Grant:
        """Grant *role*, making the Slack user an operator if they are none yet. The same role and scope granted again
        replaces the earlier grant.

        Nobody grants what they do not hold themselves, as widely and for as long. From the command line everything may
        be granted but a third tenant admin: that takes *emergency* and a reason. *upn* is the account they have to link
        before they may change anything; *name* is what to call somebody who has no name yet.
        """

        def work(connection: sqlite3.Connection) -> Grant:
            now = self._db.clock.now()
            scope = self._grantable(connection, by.operator_id, role, scope_id, expires_at)
            urgent = False
            if by.operator_id is None and role == TENANT_ADMIN:
                urgent = self._is_emergency(connection, emergency, reason)
            person = self._operator_row(connection, slack)
            if upn is not None and person["account_id"] is None:
                person["upn"] = upn
            person["name"] = person["name"] or name
            lasting = self.admins(connection, lasting=True)
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
                    via=None,
                )
            )
            if lasting and not self.admins(connection, lasting=True):
                raise NotPossible(
                    f"{_called_of(person)} is the last tenant admin without an end, and with one nobody could grant "
                    "anything after it. Make somebody else tenant admin first."
                )
            facts = {
                "grant": grant.id,
                "operator": str(person["id"]),
                "role": role,
                "scope": scope.name if scope else None,
                "until": to_text(expires_at) if expires_at else None,
                "emergency": urgent,
                "reason": reason,
                **({"account_expected": upn} if upn else {}),
            }
            record = AuditRecord("grant.created", operator_id=by.operator_id, facts={**facts, **by.facts})
            self._trail.chain(connection, [record], changes)
            return grant

        return await self._db.write(work)

    async def revoke(
        self,
        slack: SlackUser,
        role: str,
        *,
        by: Author,
        reason: str,
        any_scope: bool = True,
        scope_id: str | None = None,
    ) -> int:
        """Revoke every grant of *role* this person holds, whatever its scope; how many there were. Unless *any_scope*,
        only the one in *scope_id* (None: the one without a scope).

        From the commit on, every decision of every process knows. The last tenant admin cannot be revoked, and what
        follows a group ends with the membership: it stays.
        """

        def work(connection: sqlite3.Connection) -> int:
            self._known_role(connection, role)
            person = self._known_operator(connection, slack)
            if by.operator_id is not None:
                self._must_hold(connection, by.operator_id, role, None, self._db.clock.now())
            before = self._admins_before(connection)
            changes = self._end_grants(connection, str(person["id"]), role, by, scope_id=scope_id, any_scope=any_scope)
            if not changes:
                self._not_through_a_group(connection, person, role)
                raise BadInput(f"{_called_of(person)} does not hold {role}, so there is nothing to revoke.")
            self._admins_remain(connection, person, before)
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
                    until = self._db.clock.now() if suspended else None
                    self._must_hold(connection, by.operator_id, role, None, until)
            if not suspended:  # the account may have been given to somebody else meanwhile
                self._not_taken(connection, slack, None if person["account_id"] is None else str(person["account_id"]))
            before = self._admins_before(connection)
            changed = {**person, "suspended": int(suspended)}
            change = power.put(connection, "operators", **changed)
            self._admins_remain(connection, person, before)
            record = AuditRecord(
                "operator.suspended" if suspended else "operator.restored",
                operator_id=by.operator_id,
                facts={"operator": str(person["id"]), "reason": reason, **by.facts},
            )
            self._trail.chain(connection, [record], [change])
            return _operator_of(changed)

        return await self._db.write(work, then=self._changed)

    # --- following an Entra group ------------------------------------------------------------------------------------

    async def follow_group(
        self,
        group: Target,
        role: str,
        *,
        by: Author,
        reason: str,
        scope_id: str | None = None,
        expires_at: datetime | None = None,
    ) -> str:
        """Let *role* follow an Entra group, so that whoever is a member and an operator holds it; the id of that.

        The members get their grants once they have been read (`bot/group_grants.py`). The same group, role and scope
        again replaces the earlier one; whoever holds the role through that goes on holding it. Tenant admins are named
        one by one: otherwise whoever may fill the group could make themselves one.
        """

        def work(connection: sqlite3.Connection) -> str:
            now = self._db.clock.now()
            scope = self._grantable(connection, by.operator_id, role, scope_id, expires_at, following=True)
            new = {
                "id": _new_id(),
                "tenant": self._db.tenant,
                "group_id": group.id.lower(),
                "group_name": group.name,
                "role": role,
                "scope": scope_id,
                "expires_at": to_text(expires_at) if expires_at else None,
                "granted_at": to_text(now),
                "granted_by": by.operator_id,
                "reason": reason,
                "revoked_at": None,
                "revoked_by": None,
            }
            changes = [power.put(connection, "group_grants", **new)]
            for (earlier,) in connection.execute(
                "SELECT id FROM group_grants WHERE tenant = :tenant AND group_id = :group_id AND role = :role "
                "AND scope IS :scope AND revoked_at IS NULL AND id <> :id",
                new,
            ).fetchall():
                held = self._held_via(connection, earlier)
                changes += self._end_following(connection, earlier, by)
                connection.execute(
                    "INSERT INTO group_reads SELECT ?, tenant, read_at FROM group_reads WHERE group_grant = ?",
                    (new["id"], earlier),
                )
                kept = {"via": new["id"], "expires_at": new["expires_at"], "granted_at": to_text(now), "reason": reason}
                changes += [power.put(connection, "grants", **{**row, "id": _new_id(), **kept}) for row in held]
            facts = {
                "group_grant": new["id"],
                "group": group.id.lower(),
                "group_name": group.name,
                "role": role,
                "scope": scope.name if scope else None,
                "until": new["expires_at"],
                "reason": reason,
            }
            record = AuditRecord("group_grant.created", operator_id=by.operator_id, facts={**facts, **by.facts})
            self._trail.chain(connection, [record], changes)
            return str(new["id"])

        return await self._db.write(work, then=self._changed)

    async def unfollow_group(self, group_grant_id: str, by: Author, reason: str) -> int:
        """End it, and with it every grant that follows it; how many these were. From the commit on, every decision of
        every process knows."""

        def work(connection: sqlite3.Connection) -> int:
            row = power.find(connection, "group_grants", id=group_grant_id, tenant=self._db.tenant)
            if row is None or row["revoked_at"] is not None:
                raise BadInput("That role does not follow that group any more, so there is nothing to end.")
            if by.operator_id is not None:
                self._must_hold(connection, by.operator_id, str(row["role"]), None, self._db.clock.now())
            changes = self._end_following(connection, group_grant_id, by)
            facts = {
                "group_grant": group_grant_id,
                "group": row["group_id"],
                "group_name": row["group_name"],
                "role": row["role"],
                "reason": reason,
            }
            record = AuditRecord("group_grant.revoked", operator_id=by.operator_id, facts={**facts, **by.facts})
            self._trail.chain(connection, [record], changes)
            return len(changes) - 1

        return await self._db.write(work, then=self._changed)

    def _end_following(self, connection: sqlite3.Connection, group_grant_id: str, by: Author) -> list[RowChange]:
        ended = {"revoked_at": to_text(self._db.clock.now()), "revoked_by": by.operator_id}
        row = power.find(connection, "group_grants", id=group_grant_id) or {}
        held = self._held_via(connection, group_grant_id)
        return [
            power.put(connection, "group_grants", **{**row, **ended}),
            *(power.put(connection, "grants", **{**grant, **ended}) for grant in held),
        ]

    def _held_via(self, connection: sqlite3.Connection, group_grant_id: str) -> list[power.Row]:
        ids = connection.execute("SELECT id FROM grants WHERE via = ? AND revoked_at IS NULL", (group_grant_id,))
        return [power.find(connection, "grants", id=id_) or {} for (id_,) in ids.fetchall()]

    # --- roles and scopes --------------------------------------------------------------------------------------------

    async def define_role(
        self, name: str, title: str, patterns: Sequence[str], *, by: Author, reason: str
    ) -> tuple[str, ...]:
        """Make a role that holds these command patterns, or make an existing one hold exactly them; how it was before.

        Whoever holds the role holds them from the commit on. Nobody makes a role hold more than they hold themselves,
        everywhere and without an end, nor takes such from it.
        """

        def work(connection: sqlite3.Connection) -> tuple[str, ...]:
            before = self._definable(connection, by.operator_id, name, patterns)
            tenant = self._db.tenant
            changes = [power.put(connection, "roles", tenant=tenant, name=name, title=title)]
            changes += self._hold(connection, name, patterns)
            facts = {"role": name, "title": title, "commands": list(patterns), "before": before, "reason": reason}
            record = AuditRecord("role.defined", operator_id=by.operator_id, facts={**facts, **by.facts})
            self._trail.chain(connection, [record], changes)
            return tuple(before)

        return await self._db.write(work)

    async def remove_role(self, name: str, *, by: Author, reason: str) -> None:
        """Take every command from a role that nobody holds any more. Its name stays in the history of grants."""

        def work(connection: sqlite3.Connection) -> None:
            before = self._removable(connection, by.operator_id, name)
            facts = {"role": name, "before": before, "reason": reason}
            record = AuditRecord("role.removed", operator_id=by.operator_id, facts={**facts, **by.facts})
            self._trail.chain(connection, [record], self._hold(connection, name, ()))

        await self._db.write(work)

    def _hold(self, connection: sqlite3.Connection, role: str, patterns: Sequence[str]) -> list[RowChange]:
        about = {"tenant": self._db.tenant, "role": role}
        before, after = set(self._patterns(connection, role)), set(patterns)
        gone = [
            power.drop(connection, "role_commands", **about, wild=int(pattern.endswith("*")), pattern=pattern)
            for pattern in sorted(before - after)
        ]
        return gone + [
            power.put(connection, "role_commands", **about, wild=int(pattern.endswith("*")), pattern=pattern)
            for pattern in sorted(after - before)
        ]

    async def add_scope(self, name: str, rule: ScopeRule, *, by: Author, reason: str = "") -> Scope:
        """Make a scope that grants can name, or give the one of that name another rule: all grants in it then count
        there. Whoever does the latter holds everything that was granted in it, everywhere."""

        def work(connection: sqlite3.Connection) -> Scope:
            text = canonical(rule.to_json())
            earlier = self._scope_definable(connection, by.operator_id, name)
            scope = Scope(earlier.id if earlier else _new_id(), name, rule)
            change = power.put(connection, "scopes", id=scope.id, tenant=self._db.tenant, name=name, rule=text)
            facts = {"scope": scope.id, "name": name, "rule": text, **({"reason": reason} if reason else {})}
            if earlier:
                facts["before"] = canonical(earlier.rule.to_json())
            kind = "scope.changed" if earlier else "scope.added"
            record = AuditRecord(kind, operator_id=by.operator_id, facts={**facts, **by.facts})
            self._trail.chain(connection, [record], [change])
            return scope

        return await self._db.write(work, then=self._changed)

    # --- asking first ------------------------------------------------------------------------------------------------

    async def check_grant(
        self, by: str, role: str, scope_id: str | None, until: datetime | None, *, following: bool = False
    ) -> None:
        """Raise what `grant` (or `follow_group`) would say of it."""
        await self._db.read(
            lambda connection: self._grantable(connection, by, role, scope_id, until, following=following)
        )

    async def check_revoke(self, by: str, role: str) -> None:
        """Raise if this operator may not take *role* from anybody."""

        def work(connection: sqlite3.Connection) -> None:
            self._known_role(connection, role)
            self._must_hold(connection, by, role, None, self._db.clock.now())

        await self._db.read(work)

    async def check_role(self, by: str, name: str, patterns: Sequence[str]) -> None:
        """Raise what `define_role` would say of it; without patterns, what `remove_role` would."""
        await self._db.read(
            lambda connection: (
                self._definable(connection, by, name, patterns) if patterns else self._removable(connection, by, name)
            )
        )

    async def check_scope(self, by: str, name: str) -> None:
        """Raise what `add_scope` would say of it."""
        await self._db.read(lambda connection: self._scope_definable(connection, by, name))

    # --- rules -------------------------------------------------------------------------------------------------------

    def _grantable(
        self,
        connection: sqlite3.Connection,
        by: str | None,
        role: str,
        scope_id: str | None,
        until: datetime | None,
        *,
        following: bool = False,
    ) -> Scope | None:
        """The scope, if the operator *by* (None: somebody at the command line) may grant *role* in it up to then."""
        if until is not None and until <= self._db.clock.now():
            raise BadInput("That end lies in the past. Give a time to come, or none.", field="until")
        self._known_role(connection, role)
        scope = self._known_scope(connection, scope_id)
        if following and decides_on_power(self._patterns(connection, role)):
            raise NotPossible(
                "Tenant admins are named one by one: whoever may add members to a group could otherwise make "
                f"themselves one. Grant {role} to each person."
            )
        if by is not None:
            self._must_hold(connection, by, role, scope_id, until)
        return scope

    def _definable(
        self, connection: sqlite3.Connection, by: str | None, name: str, patterns: Sequence[str]
    ) -> list[str]:
        """What the role holds now, if the operator *by* may make it hold *patterns*."""
        before = self._patterns(connection, name)
        if not patterns:
            raise BadInput("Name at least one command that the role is to hold.", field="commands")
        if name == TENANT_ADMIN and ALL_OF_IT not in patterns:
            raise NotPossible(
                f"The role {TENANT_ADMIN} keeps `{ALL_OF_IT}`: without it nobody could grant anything. "
                "Define another role for those who are to do less."
            )
        if decides_on_power(patterns) and self._is_given(connection, name, "group_grants"):
            raise NotPossible(
                f"A group gives the role {name}, and what decides on power is granted to people one by one. End that "
                "it follows the group first."
            )
        if by is not None:
            self._must_cover(connection, by, name, sorted({*before, *patterns}))
        return before

    def _removable(self, connection: sqlite3.Connection, by: str | None, name: str) -> list[str]:
        """What the role holds now, if the operator *by* may remove it."""
        self._known_role(connection, name)
        before = self._patterns(connection, name)
        if name in SHIPPED_ROLES:
            raise NotPossible(f"The role {name} came with Latchkey and stays. Define it anew to change what it holds.")
        if self._is_given(connection, name, "grants") or self._is_given(connection, name, "group_grants"):
            raise NotPossible(
                f"Somebody still holds the role {name}, or a group gives it. `/m365-roles who {name}` tells who: "
                "revoke it first."
            )
        if by is not None:
            self._must_cover(connection, by, name, before)
        return before

    def _is_given(self, connection: sqlite3.Connection, role: str, table: str) -> bool:
        """Whether a grant in *table* gives *role* now."""
        sql = f"""
            SELECT 1 FROM {table} WHERE tenant = ? AND role = ? AND revoked_at IS NULL
            AND (expires_at IS NULL OR expires_at > ?)
        """  # noqa: S608 - our own words
        return connection.execute(sql, (self._db.tenant, role, to_text(self._db.clock.now()))).fetchone() is not None

    def _scope_definable(self, connection: sqlite3.Connection, by: str | None, name: str) -> Scope | None:
        """The scope of that name, if there is one, and if the operator *by* may change where it reaches."""
        row = power.find(connection, "scopes", tenant=self._db.tenant, name=name)
        if row is None:
            return None
        if by is not None:
            about = {"scope": row["id"], "now": to_text(self._db.clock.now())}
            granted = " UNION ".join(
                f"SELECT role FROM {table} WHERE scope = :scope AND revoked_at IS NULL "  # noqa: S608 - our own words
                "AND (expires_at IS NULL OR expires_at > :now)"
                for table in ("grants", "group_grants")
            )
            for (role,) in connection.execute(granted, about).fetchall():
                self._must_hold(connection, by, role, None, None)
        return self._scope(str(row["id"]), name, str(row["rule"]))

    def _must_hold(
        self, connection: sqlite3.Connection, operator_id: str, role: str, scope_id: str | None, until: datetime | None
    ) -> None:
        """Refuse unless the operator's own grants cover all commands of *role*, in this scope and up to this time."""
        self._must_cover(connection, operator_id, role, self._patterns(connection, role), scope_id, until)

    def _patterns(self, connection: sqlite3.Connection, role: str) -> list[str]:
        sql = "SELECT pattern FROM role_commands WHERE tenant = ? AND role = ? ORDER BY pattern"
        return [pattern for (pattern,) in connection.execute(sql, (self._db.tenant, role))]

    def _must_cover(
        self,
        connection: sqlite3.Connection,
        operator_id: str,
        role: str,
        patterns: Sequence[str],
        scope_id: str | None = None,
        until: datetime | None = None,
    ) -> None:
        """Refuse unless the operator's own grants cover all *patterns*, in this scope and up to this time."""
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
        for pattern in patterns:
            if not any(covers(mine, pattern) for (mine,) in held):
                raise NotPossible(
                    "Nobody gives or takes more than they hold themselves, as widely and for as long: "
                    f"{role} holds `{pattern}`. Ask a tenant admin who does."
                )

    def _not_taken(
        self,
        connection: sqlite3.Connection,
        slack: SlackUser,
        account_id: str | None,
        *,
        by_the_suspended: bool = False,
    ) -> None:
        """Refuse if the account is another operator's: two Slack users of one person could agree with each other. With
        *by_the_suspended* also if that one is suspended: nobody comes back by themselves as somebody new."""
        taken = connection.execute(
            "SELECT name, slack_user, suspended FROM operators WHERE tenant = ? AND account_id = ? "
            "AND (NOT suspended OR ?) AND NOT (team = ? AND slack_user = ?) ORDER BY suspended",
            (self._db.tenant, account_id, by_the_suspended, slack.team, slack.user),
        ).fetchone()
        if taken and taken[2]:
            whose = f"That account belongs to {_called(*taken[:2])}, whose access to Latchkey is suspended."
            raise BadInput(
                f"{whose} Ask a tenant admin to restore it, or to name the account when granting you a role."
            )
        if taken:
            raise BadInput(f"That account already belongs to {_called(*taken[:2])}. Take it from them first.")

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

    def admins(self, connection: sqlite3.Connection, *, lasting: bool = False) -> int:
        """How many tenant admins there are now, inside the transaction under way; *lasting*: without an end."""
        sql = f"{_ADMINS} AND g.expires_at IS NULL" if lasting else _ADMINS
        about = {"tenant": self._db.tenant, "now": to_text(self._db.clock.now())}
        return len(connection.execute(sql, about).fetchall())

    def _admins_before(self, connection: sqlite3.Connection) -> tuple[int, int]:
        """How many tenant admins there are, and how many of them without an end."""
        return self.admins(connection), self.admins(connection, lasting=True)

    def _admins_remain(self, connection: sqlite3.Connection, person: power.Row, before: tuple[int, int]) -> None:
        """Refuse what leaves no tenant admin, at once or as soon as the time of the others is over."""
        some, lasting = self._admins_before(connection)
        if before[0] and not some:
            raise NotPossible(
                f"{_called_of(person)} is the last tenant admin, and without one nobody could grant anything. "
                "Make somebody else tenant admin first."
            )
        if before[1] and not lasting:
            raise NotPossible(
                f"{_called_of(person)} is the last tenant admin without an end: once the time of the others is over, "
                "nobody could grant anything. Make somebody else tenant admin without an end first."
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
            "SELECT id FROM grants "
            "WHERE operator = ? AND role = ? AND revoked_at IS NULL AND via IS NULL AND (? OR scope IS ?)",
            (operator_id, role, any_scope, scope_id),
        ).fetchall()
        ended = {"revoked_at": to_text(self._db.clock.now()), "revoked_by": by.operator_id}
        return [
            power.put(connection, "grants", **{**(power.find(connection, "grants", id=id_) or {}), **ended})
            for (id_,) in ids
        ]

    def _not_through_a_group(self, connection: sqlite3.Connection, person: power.Row, role: str) -> None:
        """Refuse to take from one person what would be theirs again at the next look at the group."""
        found = connection.execute(
            "SELECT f.group_name FROM grants g JOIN group_grants f ON f.id = g.via "
            "WHERE g.operator = ? AND g.role = ? AND g.revoked_at IS NULL",
            (person["id"], role),
        ).fetchone()
        if found:
            raise NotPossible(
                f"{_called_of(person)} is {role} as a member of the group {found[0]}, so nothing was revoked. Take "
                "them out of that group in Microsoft Entra, or end what follows the group."
            )

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
                "SELECT DISTINCT role FROM role_commands WHERE tenant = ? ORDER BY role", (self._db.tenant,)
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
