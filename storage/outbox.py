"""What should stand in Slack: each message with how often it was said, and the last of these that Slack shows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from bot.model import RequestState
from bot.ports import Audience, Message
from storage.database import Database, from_text, to_text
from storage.seal import canonical

REPLY_URL_KEPT: Final = timedelta(minutes=30)
REPLY_URL_USES: Final = 5
"""Slack docs, *Handling user interaction*: a response_url may be used up to 5 times within 30 minutes."""


@dataclass(frozen=True)
class Outgoing:
    """A message that Slack does not show as it should yet.

    `revision` grows each time it is said; what is reported as sent is a revision. `final` says that its request has
    ended, or that it was `settled` by itself. `ts` is None until it stands in `channel`. `maybe_sent`: an earlier
    posting had an unknown outcome.
    """

    message: Message
    revision: int
    final: bool
    channel: str | None
    ts: str | None
    maybe_sent: bool
    parent_channel: str | None
    parent_ts: str | None
    reply_url: str | None


class Outbox:
    """Messages by key. The reporter reads what is pending and says what became of it."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._listeners: list[Callable[[], None]] = []

    # --- saying ------------------------------------------------------------------------------------------------------

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call *listener*, on the event loop, after every commit that puts something into the outbox."""
        self._listeners.append(listener)

    def changed(self) -> None:
        """Tell the listeners. Whoever calls `put` in a transaction of their own calls this after its commit."""
        for listener in self._listeners:
            listener()

    async def say(self, *messages: Message) -> None:
        """Put messages in, in a transaction of their own."""
        await self._db.write(lambda connection: self.put(connection, messages), then=self.changed)

    def put(self, connection: sqlite3.Connection, messages: Sequence[Message]) -> None:
        """Put messages in, inside the transaction under way."""
        for message in messages:
            connection.execute(
                """
                INSERT INTO outbox (tenant, key, view, subject, audience, under, data, after, wanted)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1)
                ON CONFLICT (tenant, key) DO UPDATE SET
                    view = excluded.view, subject = excluded.subject, audience = excluded.audience,
                    under = excluded.under, data = excluded.data, after = excluded.after, wanted = wanted + 1
                """,
                (
                    self._db.tenant,
                    message.key,
                    message.view,
                    message.subject,
                    message.audience.value,
                    message.under,
                    canonical(dict(message.data)),
                    to_text(message.after) if message.after else None,
                ),
            )

    def keep_reply_url(self, connection: sqlite3.Connection, request_id: str, url: str) -> None:
        """Keep Slack's `response_url` for private answers about a request, inside the transaction under way."""
        now = self._db.clock.now()
        _erase_old(connection, now)
        connection.execute(
            "INSERT OR REPLACE INTO reply_urls (request, tenant, url, uses, kept_at) VALUES (?, ?, ?, ?, ?)",
            (request_id, self._db.tenant, url, REPLY_URL_USES, to_text(now)),
        )

    async def erase_old(self) -> None:
        """Erase reply addresses that have run out. Each new one does it too; a quiet bot needs a timer."""
        await self._db.write(lambda connection: _erase_old(connection, self._db.clock.now()))

    # --- for the reporter --------------------------------------------------------------------------------------------

    async def pending(self, now: datetime) -> Sequence[Outgoing]:
        """Messages with a revision that is not sent and whose `after` has come, in the order they were first said.

        Also those whose parent does not stand yet.
        """

        def work(connection: sqlite3.Connection) -> Sequence[Outgoing]:
            rows = connection.execute(
                """
                SELECT m.key, m.view, m.subject, m.audience, m.under, m.data, m.after,
                       m.wanted, r.state, m.channel, m.ts, m.maybe_sent, p.channel, p.ts, u.url
                FROM outbox m
                LEFT JOIN outbox p ON p.tenant = m.tenant AND p.key = m.under
                LEFT JOIN requests r ON r.id = m.subject
                LEFT JOIN reply_urls u ON u.request = m.subject AND u.kept_at > :oldest
                WHERE m.wanted > m.sent AND m.tenant = :tenant
                  AND (m.after IS NULL OR m.after <= :now OR m.ts IS NOT NULL)
                ORDER BY m.position
                """,
                {"tenant": self._db.tenant, "now": to_text(now), "oldest": to_text(now - REPLY_URL_KEPT)},
            )
            return [_outgoing(*row) for row in rows]

        return await self._db.read(work)

    async def next_after(self, now: datetime) -> datetime | None:
        """When the next message that is held back may be posted."""

        def work(connection: sqlite3.Connection) -> datetime | None:
            (first,) = connection.execute(
                "SELECT min(after) FROM outbox WHERE wanted > sent AND tenant = ? AND after > ? AND ts IS NULL",
                (self._db.tenant, to_text(now)),
            ).fetchone()
            return from_text(first)

        return await self._db.read(work)

    async def find(self, key: str) -> tuple[str, str] | None:
        """(channel, ts) of a message that stands in Slack."""

        def work(connection: sqlite3.Connection) -> tuple[str, str] | None:
            found: tuple[str, str] | None = connection.execute(
                "SELECT channel, ts FROM outbox WHERE tenant = ? AND key = ? AND ts IS NOT NULL", (self._db.tenant, key)
            ).fetchone()
            return found

        return await self._db.read(work)

    async def placed(self, key: str, channel: str) -> None:
        """It was decided that the message stands in *channel*."""
        await self._set(key, "channel = :channel", channel=channel)

    async def sent(self, key: str, revision: int, *, channel: str | None = None, ts: str | None = None) -> None:
        """Slack shows this revision, at *channel* and *ts* if it can be edited there.

        What only the requester sees counts as a use of the request's reply address.
        """

        def work(connection: sqlite3.Connection) -> None:
            self._update(
                connection,
                key,
                "sent = max(sent, :revision), channel = coalesce(:channel, channel), ts = coalesce(:ts, ts), "
                "maybe_sent = 0, why = NULL",
                {"revision": revision, "channel": channel, "ts": ts},
            )
            private = "SELECT subject FROM outbox WHERE tenant = ? AND key = ? AND audience = ?"
            about = (self._db.tenant, key, Audience.REQUESTER.value)
            connection.execute(f"UPDATE reply_urls SET uses = uses - 1 WHERE request IN ({private})", about)  # noqa: S608
            connection.execute("DELETE FROM reply_urls WHERE uses <= 0")

        await self._db.write(work)

    async def maybe_sent(self, key: str) -> None:
        """The connection ended after the message had left: it may stand in Slack already."""
        await self._set(key, "maybe_sent = 1")

    async def failed(self, key: str, revision: int, why: str) -> None:
        """Slack will not take this revision, however often it is sent. Said again, the message is tried again."""
        await self._set(key, "sent = max(sent, :revision), why = :why", revision=revision, why=why)

    async def _set(self, key: str, assignments: str, **values: Any) -> None:
        await self._db.write(lambda connection: self._update(connection, key, assignments, values))

    def _update(self, connection: sqlite3.Connection, key: str, assignments: str, values: dict[str, Any]) -> None:
        about = {"tenant": self._db.tenant, "key": key, **values}
        connection.execute(f"UPDATE outbox SET {assignments} WHERE tenant = :tenant AND key = :key", about)  # noqa: S608


def _erase_old(connection: sqlite3.Connection, now: datetime) -> None:
    connection.execute("DELETE FROM reply_urls WHERE kept_at <= ?", (to_text(now - REPLY_URL_KEPT),))


def _outgoing(
    key: str,
    view: str,
    subject: str,
    audience: str,
    under: str | None,
    data: str,
    after: str | None,
    revision: int,
    state: str | None,
    channel: str | None,
    ts: str | None,
    maybe_sent: int,
    parent_channel: str | None,
    parent_ts: str | None,
    reply_url: str | None,
) -> Outgoing:
    return Outgoing(
        message=Message(key, view, subject, Audience(audience), under, json.loads(data), from_text(after)),
        revision=revision,
        final=state is None or RequestState(state).final or bool(json.loads(data).get("settled")),
        channel=channel,
        ts=ts,
        maybe_sent=bool(maybe_sent),
        parent_channel=parent_channel,
        parent_ts=parent_ts,
        reply_url=reply_url,
    )
