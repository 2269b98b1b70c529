"""What ends, in one transaction, when an operator has left."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from bot.model import Operator, RequestState, SlackUser
from bot.ports import Leaver, Parting
from storage import power
from storage.audit import AuditTrail
from storage.database import Database
from storage.operators import Operators
from storage.outbox import Outbox
from storage.requests import Requests


class Leaving:
    """Suspends operators who have left and ends what they had open."""

    def __init__(
        self, db: Database, trail: AuditTrail, operators: Operators, requests: Requests, outbox: Outbox
    ) -> None:
        self._db = db
        self._trail = trail
        self._operators = operators
        self._requests = requests
        self._outbox = outbox

    async def let_go(self, operator_id: str, part: Callable[[Leaver], Parting]) -> Leaver | None:
        """Suspend an operator and write what *part* makes of it; None if they are suspended already.

        *part* runs in the writer's thread and must be pure. The last tenant admin is suspended like anybody else.
        """

        def work(connection: sqlite3.Connection) -> Leaver | None:
            row = power.find(connection, "operators", id=operator_id, tenant=self._db.tenant)
            if row is None or row["suspended"]:
                return None
            had_admin = self._operators.admins(connection)
            change = power.put(connection, "operators", **{**row, "suspended": 1})
            leaver = self._leaver(connection, row, last_admin=had_admin > 0 and not self._operators.admins(connection))
            parting = part(leaver)
            for request in parting.requests:
                self._requests.put(connection, request)
            self._trail.chain(connection, parting.audit, [change])
            self._outbox.put(connection, parting.say)
            return leaver

        return await self._db.write(work, then=self._outbox.changed)

    def _leaver(self, connection: sqlite3.Connection, row: power.Row, *, last_admin: bool) -> Leaver:
        operator = Operator(
            str(row["id"]),
            SlackUser(str(row["team"]), str(row["slack_user"])),
            None if row["account_id"] is None else str(row["account_id"]),
            None if row["upn"] is None else str(row["upn"]),
            None if row["name"] is None else str(row["name"]),
            suspended=True,
        )
        roles = connection.execute(
            "SELECT DISTINCT role FROM grants WHERE operator = ? AND revoked_at IS NULL ORDER BY role", (operator.id,)
        ).fetchall()
        concerning = self._requests.concerning(connection, operator)
        begun = {RequestState.RUNNING, RequestState.UNKNOWN}
        waiting = [request for request in concerning if request.state not in begun]
        return Leaver(
            operator,
            tuple(role for (role,) in roles),
            asked=tuple(request for request in waiting if request.slack == operator.slack),
            agreed=tuple(request for request in waiting if request.slack != operator.slack),
            running=sum(request.slack == operator.slack for request in concerning)
            - sum(request.slack == operator.slack for request in waiting),
            last_admin=last_admin,
        )
