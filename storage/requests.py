"""Operators' wishes and all that became of them, each change in one transaction with its audit rows and messages."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from bot.errors import Conflict
from bot.model import (
    AuditRecord,
    Mode,
    Operator,
    Origin,
    Plan,
    Request,
    RequestState,
    SlackUser,
    Step,
    Target,
)
from bot.ports import Attempt, Message
from storage.audit import AuditTrail
from storage.database import Database, from_text, to_text
from storage.inbox import Inbox
from storage.outbox import Outbox
from storage.seal import canonical

_COLUMNS: Final = (
    "r.id, r.version, r.state, r.operator_id, r.team, r.slack_user, r.action, r.created_at, r.due_at, r.details"
)

_BY_ID: Final = f"SELECT {_COLUMNS} FROM requests r WHERE r.tenant = ? AND r.id = ?"  # noqa: S608 - our own words


class Requests:
    """Requests, their attempts and their messages. Each method is one durable transaction."""

    def __init__(self, db: Database, trail: AuditTrail, inbox: Inbox, outbox: Outbox) -> None:
        self._db = db
        self._trail = trail
        self._inbox = inbox
        self._outbox = outbox

    # --- writing -----------------------------------------------------------------------------------------------------

    async def add(
        self,
        request: Request,
        *,
        delivery: str | None = None,
        audit: Sequence[AuditRecord] = (),
        say: Sequence[Message] = (),
        reply_url: str | None = None,
    ) -> Request:
        """Insert a request, mark the inbox row *delivery* done, append audit rows and put messages in the outbox.

        *reply_url* is Slack's `response_url`, kept for private answers until it is used up or 30 minutes old. Raises
        `Conflict` if the delivery was done before: its request exists already.
        """
        row = _row(request, self._db.tenant)

        def work(connection: sqlite3.Connection) -> Request:
            if delivery is not None and not self._inbox.mark_done(connection, delivery):
                raise Conflict("This was taken up already.")
            connection.execute(
                "INSERT INTO requests VALUES (:id, :tenant, :version, :state, :operator_id, :team, :slack_user, "
                ":action, :target_id, :created_at, :due_at, :details)",
                row,
            )
            self._with(connection, request, audit, say, reply_url)
            return request

        return await self._db.write(work, then=self._outbox.changed if say else None)

    async def save(
        self,
        request: Request,
        *,
        audit: Sequence[AuditRecord] = (),
        say: Sequence[Message] = (),
        delivery: str | None = None,
        reply_url: str | None = None,
    ) -> Request:
        """Write *request* if the row still has its `version`; returns it with the next one. Raises `Conflict`."""
        saved = replace(request, version=request.version + 1)
        row = _row(saved, self._db.tenant)

        def work(connection: sqlite3.Connection) -> Request:
            updated = connection.execute(
                "UPDATE requests SET version = :version, state = :state, operator_id = :operator_id, "
                "action = :action, target_id = :target_id, due_at = :due_at, details = :details "
                "WHERE id = :id AND tenant = :tenant AND version = :version - 1",
                row,
            )
            if updated.rowcount != 1:
                raise Conflict("Somebody else was first: this request has changed meanwhile. Look at it again.")
            if delivery is not None:
                self._inbox.mark_done(connection, delivery)
            self._with(connection, saved, audit, say, reply_url)
            return saved

        return await self._db.write(work, then=self._outbox.changed if say else None)

    def _with(
        self,
        connection: sqlite3.Connection,
        request: Request,
        audit: Sequence[AuditRecord],
        say: Sequence[Message],
        reply_url: str | None,
    ) -> None:
        self._trail.chain(connection, audit)
        self._outbox.put(connection, say)
        if reply_url is not None:
            self._outbox.keep_reply_url(connection, request.id, reply_url)

    # --- reading -----------------------------------------------------------------------------------------------------

    async def find(self, request_id: str) -> Request | None:
        """The request with this id. One row by its key, read on the loop: a thread would cost more than the read."""
        rows = self._db.read_now(_BY_ID, (self._db.tenant, request_id))
        return _request(*rows[0]) if rows else None

    async def open(self) -> Sequence[Request]:
        """Requests that a restart must take up: received, decided, ready or running, oldest first."""
        return await self._select("r.state IN ('received', 'decided', 'ready', 'running') ORDER BY r.created_at, r.id")

    async def due(self, now: datetime) -> Sequence[Request]:
        """Requests whose `due_at` has come, the longest due first."""
        return await self._select("r.due_at <= :now ORDER BY r.due_at", now=to_text(now))

    async def next_due(self) -> datetime | None:
        """The soonest `due_at` of all requests."""

        def work(connection: sqlite3.Connection) -> datetime | None:
            sql = "SELECT min(due_at) FROM requests WHERE due_at IS NOT NULL AND tenant = ?"
            return from_text(connection.execute(sql, (self._db.tenant,)).fetchone()[0])

        return await self._db.read(work)

    async def recent(self, slack: SlackUser, limit: int) -> Sequence[Request]:
        """This person's latest requests, newest first."""
        return await self._select(
            "r.team = :team AND r.slack_user = :user ORDER BY r.created_at DESC, r.rowid DESC LIMIT :limit",
            team=slack.team,
            user=slack.user,
            limit=limit,
        )

    async def attempts(self, request_id: str) -> Sequence[Attempt]:
        """What the audit trail tells of the calls that were about to leave for this request, in that order."""

        def work(connection: sqlite3.Connection) -> Sequence[Attempt]:
            found: dict[str, Attempt] = {}
            for attempt, kind, at, facts in connection.execute(
                "SELECT attempt_id, kind, at, json_extract(body, '$.facts') FROM audit "
                "WHERE request_id = ? AND attempt_id IS NOT NULL ORDER BY seq",
                (request_id,),
            ):
                about = json.loads(facts)
                if kind == "attempt.started":
                    started_at = datetime.fromisoformat(at)
                    found[attempt] = Attempt(attempt, request_id, about["call_index"], started_at)
                elif kind == "attempt.finished":
                    found[attempt] = replace(found[attempt], finished=about["outcome"])
            return list(found.values())

        return await self._db.read(work)

    async def latest_on(self, target_id: str, action: str, since: datetime) -> tuple[Request, Operator] | None:
        """The last request of this action that began to write on this target since then, and whose it was."""

        def work(connection: sqlite3.Connection) -> tuple[Request, Operator] | None:
            row = connection.execute(
                f"""
                SELECT {_COLUMNS}, o.id, o.account_id, o.upn, o.name, o.suspended
                FROM requests r JOIN audit a ON a.request_id = r.id JOIN operators o ON o.id = r.operator_id
                WHERE r.tenant = :tenant AND r.target_id = :target AND r.action = :action
                  AND a.kind = 'attempt.started' AND a.at >= :since
                ORDER BY a.seq DESC LIMIT 1
                """,  # noqa: S608 - our own words
                {"tenant": self._db.tenant, "target": target_id, "action": action, "since": to_text(since)},
            ).fetchone()
            if row is None:
                return None
            request = _request(*row[:-5])
            id_, account_id, upn, name, suspended = row[-5:]
            return request, Operator(id_, request.slack, account_id, upn, name, bool(suspended))

        return await self._db.read(work)

    async def _select(self, where: str, **values: str | int) -> list[Request]:
        sql = f"SELECT {_COLUMNS} FROM requests r WHERE r.tenant = :tenant AND {where}"  # noqa: S608 - our own words
        about = {"tenant": self._db.tenant, **values}
        return await self._db.read(lambda connection: [_request(*row) for row in connection.execute(sql, about)])


def _row(request: Request, tenant: str) -> dict[str, Any]:
    return {
        "id": request.id,
        "tenant": tenant,
        "version": request.version,
        "state": request.state.value,
        "operator_id": request.operator_id,
        "team": request.slack.team,
        "slack_user": request.slack.user,
        "action": request.action,
        "target_id": request.target.id if request.target else None,
        "created_at": to_text(request.created_at),
        "due_at": to_text(request.due_at) if request.due_at else None,
        "details": canonical(_details(request)),
    }


def _details(request: Request) -> dict[str, Any]:
    """Everything that no query asks for. JSON can hold any text a person types, half a surrogate pair included."""
    return {
        "command": request.command,
        "channel": request.origin.channel,
        "surface": request.origin.surface,
        "typed": request.typed,
        "target": request.target.to_json() if request.target else None,
        "inputs": dict(request.inputs),
        "reason": request.reason,
        "verified": request.verified,
        "ticket": request.ticket,
        "preview": request.preview,
        "form": request.form,
        "plan": request.plan.to_json() if request.plan else None,
        "digest": request.digest,
        "session_generation": request.session_generation,
        "mode": request.mode,
        "identity_id": request.identity_id,
        "undo_of": request.undo_of,
        "repeat_of": request.repeat_of,
        "steps": [step.to_json() for step in request.steps],
        "sentence": request.sentence,
        "answer": dict(request.answer),
        "opened_session": request.opened_session,
        "started_at": to_text(request.started_at) if request.started_at else None,
        "finished_at": to_text(request.finished_at) if request.finished_at else None,
    }


def _request(
    id_: str,
    version: int,
    state: str,
    operator_id: str | None,
    team: str,
    slack_user: str,
    action: str,
    created_at: str,
    due_at: str | None,
    details: str,
) -> Request:
    told = json.loads(details)
    return Request(
        id=id_,
        operator_id=operator_id,
        slack=SlackUser(team, slack_user),
        command=told["command"],
        action=action,
        origin=Origin(told["channel"], told["surface"]),
        created_at=datetime.fromisoformat(created_at),
        state=RequestState(state),
        version=version,
        typed=told["typed"],
        target=Target.from_json(told["target"]) if told["target"] else None,
        inputs=told["inputs"],
        reason=told["reason"],
        verified=told["verified"],
        ticket=told["ticket"],
        preview=told["preview"],
        form=told["form"],
        plan=Plan.from_json(told["plan"]) if told["plan"] else None,
        digest=told["digest"],
        session_generation=told["session_generation"],
        mode=Mode(told["mode"]) if told["mode"] else None,
        identity_id=told["identity_id"],
        undo_of=told["undo_of"],
        repeat_of=told["repeat_of"],
        steps=tuple(Step.from_json(step) for step in told["steps"]),
        sentence=told["sentence"],
        answer=told["answer"],
        due_at=from_text(due_at),
        opened_session=told["opened_session"],
        started_at=from_text(told["started_at"]),
        finished_at=from_text(told["finished_at"]),
    )
