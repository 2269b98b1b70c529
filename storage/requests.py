"""Operators' wishes and all that became of them, each change in one transaction with its audit rows and messages."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from bot.errors import Conflict
from bot.model import (
    Approval,
    ApprovalState,
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

_ASKED: Final = """
    (SELECT json_array(a.id, a.digest, a.channel, a.asked_at, a.expires_at, a.why, a.state, a.decided_by,
                       a.decided_at, a.reason, a.reminders, a.break_glass, a.reviewed_by, a.reviewed_at, a.review)
     FROM approvals a WHERE a.request = r.id ORDER BY a.asked_at DESC, a.rowid DESC LIMIT 1)
"""
"""The last approval that was asked for."""

_COLUMNS: Final = (
    "r.id, r.version, r.state, r.operator_id, r.team, r.slack_user, r.action, r.created_at, r.due_at, r.details, "
    f"{_ASKED}"
)

_BY_ID: Final = f"SELECT {_COLUMNS} FROM requests r WHERE r.tenant = ? AND r.id = ?"  # noqa: S608 - our own words


class Requests:
    """Requests, their attempts and their messages. Each method is one durable transaction."""

    def __init__(self, db: Database, trail: AuditTrail, inbox: Inbox, outbox: Outbox) -> None:
        self._db = db
        self._trail = trail
        self._inbox = inbox
        self._outbox = outbox
        self._listeners: list[Callable[[Request], None]] = []

    def on_change(self, listener: Callable[[Request], None]) -> None:
        """Call *listener*, on the event loop, after each commit of a request here."""
        self._listeners.append(listener)

    def _changed(self, request: Request) -> Request:
        for listener in self._listeners:
            listener(request)
        return request

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
            self._put_approval(connection, request)
            self._with(connection, request, audit, say, reply_url)
            return request

        return self._changed(await self._db.write(work, then=self._outbox.changed if say else None))

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

        def work(connection: sqlite3.Connection) -> Request:
            saved = self.put(connection, request)
            if delivery is not None:
                self._inbox.mark_done(connection, delivery)
            self._with(connection, saved, audit, say, reply_url)
            return saved

        return self._changed(await self._db.write(work, then=self._outbox.changed if say else None))

    def put(self, connection: sqlite3.Connection, request: Request) -> Request:
        """Write the row of *request*, inside the transaction under way, if it still has its `version`; returns it with
        the next one. Raises `Conflict`."""
        saved = replace(request, version=request.version + 1)
        updated = connection.execute(
            "UPDATE requests SET version = :version, state = :state, operator_id = :operator_id, "
            "action = :action, target_id = :target_id, due_at = :due_at, details = :details "
            "WHERE id = :id AND tenant = :tenant AND version = :version - 1",
            _row(saved, self._db.tenant),
        )
        if updated.rowcount != 1:
            raise Conflict("Somebody else was first: this request has changed meanwhile. Look at it again.")
        self._put_approval(connection, saved)
        return saved

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

    def _put_approval(self, connection: sqlite3.Connection, request: Request) -> None:
        if request.approval is not None:
            connection.execute(
                "INSERT OR REPLACE INTO approvals VALUES (:id, :tenant, :request, :digest, :channel, :asked_at, "
                ":expires_at, :why, :state, :decided_by, :decided_at, :reason, :reminders, :break_glass, :reviewed_by, "
                ":reviewed_at, :review)",
                _approval_row(request.approval, request.id, self._db.tenant),
            )

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

    async def awaiting_approval(self) -> Sequence[Request]:
        """Requests that wait for somebody else to agree, oldest first."""
        return await self._select("r.state = 'awaiting_approval' ORDER BY r.created_at, r.id")

    async def under_review(self) -> Sequence[Request]:
        """Requests that were agreed to alone and that nobody else has looked at since, oldest first."""
        found = await self._select(
            "r.id IN (SELECT request FROM approvals WHERE break_glass = 1 AND reviewed_by IS NULL) "
            "ORDER BY r.created_at, r.id"
        )
        # What was asked anew since did not run on it.
        return [request for request in found if request.approval is not None and request.approval.under_review]

    async def stopped(self) -> Sequence[Request]:
        """Requests that failed and are still to be looked at, oldest first."""
        return await self._select("r.due_at IS NOT NULL AND r.state = 'failed' ORDER BY r.created_at, r.id")

    async def under_way(self, action: str) -> Sequence[Request]:
        """Requests for this action that wait for an approval or are being carried out, oldest first."""
        return await self._select(
            "r.action = :action AND r.state IN ('awaiting_approval', 'ready', 'running') ORDER BY r.created_at, r.id",
            action=action,
        )

    def concerning(self, connection: sqlite3.Connection, operator: Operator) -> list[Request]:
        """What is not over and *operator* asked for or agreed to, oldest first, inside the transaction under way."""
        sql = f"""
            SELECT {_COLUMNS} FROM requests r
            WHERE r.team = :team AND r.slack_user = :user AND r.tenant = :tenant
              AND r.state NOT IN ('done', 'failed', 'refused', 'expired', 'withdrawn')
            UNION
            SELECT {_COLUMNS} FROM requests r
            WHERE r.state IN ('received', 'decided', 'ready', 'running') AND r.tenant = :tenant
              AND EXISTS (SELECT 1 FROM approvals a
                          WHERE a.request = r.id AND a.state = 'approved' AND a.decided_by = :operator)
            ORDER BY 8, 1
        """  # noqa: S608 - our own words
        about = {
            "tenant": self._db.tenant,
            "team": operator.slack.team,
            "user": operator.slack.user,
            "operator": operator.id,
        }
        return [_request(*row) for row in connection.execute(sql, about)]

    async def targets_called(self, text: str) -> Sequence[Target]:
        """Targets of earlier requests that had this sign-in name or name then, each once, with the name of the last."""

        def work(connection: sqlite3.Connection) -> Sequence[Target]:
            found = connection.execute(
                """
                SELECT json_extract(details, '$.target'), max(created_at) FROM requests
                WHERE tenant = :tenant AND target_id IS NOT NULL
                  AND (json_extract(details, '$.target.detail') = :text COLLATE NOCASE
                       OR json_extract(details, '$.target.name') = :text COLLATE NOCASE)
                GROUP BY target_id
                """,
                {"tenant": self._db.tenant, "text": text.strip()},
            )
            return [Target.from_json(json.loads(target)) for target, _ in found]

        return await self._db.scan(work)

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
                if "rotation" in about:  # a call of the rotation that it asked for
                    continue
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
    approval: str | None,
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
        approval=_approval(*json.loads(approval)) if approval else None,
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


def _approval_row(approval: Approval, request_id: str, tenant: str) -> dict[str, Any]:
    return {
        "id": approval.id,
        "tenant": tenant,
        "request": request_id,
        "digest": approval.digest,
        "channel": approval.channel,
        "asked_at": to_text(approval.asked_at),
        "expires_at": to_text(approval.expires_at),
        "why": approval.why,
        "state": approval.state.value,
        "decided_by": approval.decided_by,
        "decided_at": to_text(approval.decided_at) if approval.decided_at else None,
        "reason": approval.reason,
        "reminders": approval.reminders,
        "break_glass": int(approval.break_glass),
        "reviewed_by": approval.reviewed_by,
        "reviewed_at": to_text(approval.reviewed_at) if approval.reviewed_at else None,
        "review": approval.review,
    }


def _approval(
    id_: str,
    digest: str,
    channel: str,
    asked_at: str,
    expires_at: str,
    why: str,
    state: str,
    decided_by: str | None,
    decided_at: str | None,
    reason: str,
    reminders: int,
    break_glass: int,
    reviewed_by: str | None,
    reviewed_at: str | None,
    review: str,
) -> Approval:
    return Approval(
        id=id_,
        digest=digest,
        channel=channel,
        asked_at=datetime.fromisoformat(asked_at),
        expires_at=datetime.fromisoformat(expires_at),
        why=why,
        state=ApprovalState(state),
        decided_by=decided_by,
        decided_at=from_text(decided_at),
        reason=reason,
        reminders=reminders,
        break_glass=bool(break_glass),
        reviewed_by=reviewed_by,
        reviewed_at=from_text(reviewed_at),
        review=review,
    )
