"""The audit trail: rows that are only ever appended, each sealed together with the seal of the row before."""

from __future__ import annotations

import hmac
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

from bot.errors import BadInput
from bot.model import AuditRecord, Secret
from storage.database import Database, to_text
from storage.power import Contents, Row, RowChange, key_of, rows
from storage.seal import Seal, canonical

CHECKPOINT: Final = "audit.checkpoint"
"""The kind of the rows that hold a stamp of the contents of the tables that give power."""

_MOST_TOLD: Final = 20
"""How many findings are told one by one."""

_PAGE: Final = 1000
"""How many rows an export reads at a time."""

_RAW: Final = "SELECT seq, CAST(prev AS BLOB), CAST(mac AS BLOB), coalesce(CAST(body AS BLOB), x'') FROM audit"
"""Rows as they lie in the file. The casts matter: whoever edits a file does not keep to a column's type."""

_AT: Final = slice(len('{"at":"'), len('{"at":"2026-03-03T09:00:00.000000+00:00'))
"""Where a sealed text has its time: keys are sorted and `at` is the first."""


@dataclass(frozen=True)
class Head:
    """The last row of the trail. Kept or posted elsewhere, it shows later whether the trail was cut or replaced.

    `str()` and `parse` are the form that people copy: the row's number, a colon, its seal in hex.
    """

    seq: int
    mac: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.mac}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The head that was written as *text*. Raises `BadInput`."""
        seq, _, mac = text.strip().partition(":")
        if not (seq.isascii() and seq.isdigit() and len(mac) == 64 and set(mac) <= set("0123456789abcdef")):
            raise BadInput("A head of the audit trail looks like 1234:9f86d0... (a number, a colon, 64 hex digits).")
        return cls(int(seq), mac)


@dataclass(frozen=True)
class AuditRow:
    """A row of the trail as people read it."""

    seq: int
    at: datetime
    record: AuditRecord


@dataclass(frozen=True)
class Report:
    """What verifying found. `problems` are sentences, empty if the trail is sound; `notes` are worth knowing."""

    rows: int
    head: Head
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        return not self.problems


class AuditTrail:
    """Appends to the trail and examines it. *key* seals the rows; it must be kept outside the database's folder."""

    def __init__(self, db: Database, key: Secret) -> None:
        self._db = db
        self._seal = Seal(key, "latchkey audit chain")
        self._contents_seal = Seal(key, "latchkey audit contents")
        self._origin = self._seal(b"origin" + db.tenant.encode())
        """What the first row follows; another tenant's trail begins otherwise."""

    # --- appending ---------------------------------------------------------------------------------------------------

    async def append(self, *records: AuditRecord) -> None:
        """Chain and commit the records, durably. Raises `StorageProblem`: then nothing was written."""
        await self._db.write(lambda connection: self.chain(connection, records))

    def chain(
        self, connection: sqlite3.Connection, records: Sequence[AuditRecord], changes: Sequence[RowChange] = ()
    ) -> None:
        """Append the records inside the transaction under way. *changes* to the tables of power, made in it too, go
        with the first of them."""
        seq, prev = self._last(connection)
        now = to_text(self._db.clock.now())
        for record in records:
            seq += 1
            body = self._body(seq, now, record, changes)
            mac = self._seal_row(seq, prev, body.encode())
            connection.execute("INSERT INTO audit (seq, prev, mac, body) VALUES (?, ?, ?, ?)", (seq, prev, mac, body))
            prev, changes = mac, ()

    async def checkpoint(self) -> Head:
        """Write what the tables that give power hold now, and return the head to be kept elsewhere.

        Done nightly and at a clean stop; the next start then has little to examine.
        """

        def work(connection: sqlite3.Connection) -> Head:
            stamp = Contents(self._contents_seal, rows(connection)).stamp
            self.chain(connection, [AuditRecord(CHECKPOINT, facts={"contents": stamp})])
            return self._head(connection)

        return await self._db.write(work)

    def _body(self, seq: int, at: str, record: AuditRecord, changes: Sequence[RowChange]) -> str:
        known: dict[str, Any] = {
            "operator": record.operator_id,
            "request": record.request_id,
            "attempt": record.attempt_id,
            "target": record.target_id,
            "session": record.session_generation,
            "facts": dict(record.facts) or None,
            "rows": [change.to_json() for change in changes] or None,
        }
        return canonical(
            {"seq": seq, "at": at, "tenant": self._db.tenant, "kind": record.kind}
            | {name: value for name, value in known.items() if value is not None}
        )

    def _seal_row(self, seq: int, prev: bytes, body: bytes) -> bytes:
        return self._seal(b"%d|%b|%b" % (seq, prev, body))

    def _last(self, connection: sqlite3.Connection) -> tuple[int, bytes]:
        last = connection.execute("SELECT seq, CAST(mac AS BLOB) FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
        return last or (0, self._origin)

    def _head(self, connection: sqlite3.Connection) -> Head:
        seq, mac = self._last(connection)
        return Head(seq, mac.hex())

    # --- reading -----------------------------------------------------------------------------------------------------

    async def head(self) -> Head:
        """The last row. Keep it where whoever can write the database cannot write."""
        return await self._db.read(self._head)

    async def query(
        self,
        *,
        operator: str | None = None,
        target: str | None = None,
        request: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        before_seq: int | None = None,
        limit: int = 20,
    ) -> list[AuditRow]:
        """Rows that fit everything given, newest first. For the next page give the last row's `seq` as *before_seq*."""
        asked = {
            "operator_id = ?": operator,
            "target_id = ?": target,
            "request_id = ?": request,
            "at >= ?": to_text(since) if since else None,
            "at < ?": to_text(until) if until else None,
            "seq < ?": before_seq,
        }
        conditions = {"tenant = ?": self._db.tenant} | {
            condition: value for condition, value in asked.items() if value is not None
        }
        where = " AND ".join(conditions)
        sql = f"SELECT seq, body FROM audit WHERE {where} ORDER BY seq DESC LIMIT ?"  # noqa: S608 - values are bound

        def work(connection: sqlite3.Connection) -> list[AuditRow]:
            return [_audit_row(body) for _, body in connection.execute(sql, (*conditions.values(), limit))]

        return await self._db.scan(work)

    async def export(self) -> AsyncIterator[str]:
        """The whole trail as lines of JSON: each sealed text with `prev` and `mac` in hex added."""
        seq = 0

        def page(connection: sqlite3.Connection) -> list[tuple[int, bytes, bytes, str]]:
            sql = "SELECT seq, prev, mac, body FROM audit WHERE seq > ? ORDER BY seq LIMIT ?"
            return connection.execute(sql, (seq, _PAGE)).fetchall()

        while found := await self._db.scan(page):
            for seq, prev, mac, body in found:  # noqa: B007 - `page` goes on after the last
                yield f'{body[:-1]},"prev":"{prev.hex()}","mac":"{mac.hex()}"}}'

    # --- examining ---------------------------------------------------------------------------------------------------

    async def verify(self, *, expected_head: Head | None = None) -> Report:
        """Walk the whole chain and replay the tables that give power from it.

        Only *expected_head*, kept elsewhere at some earlier time, can show that the end was cut off or that the file
        was replaced by another that is sound in itself. Memory stays constant.
        """
        return await self._db.scan(lambda connection: self._examine(connection, expected_head, whole=True))

    async def verify_since_checkpoint(self, *, expected_head: Head | None = None) -> Report:
        """The same from the last checkpoint on: what every start examines."""
        return await self._db.scan(lambda connection: self._examine(connection, expected_head, whole=False))

    def _examine(self, connection: sqlite3.Connection, expected: Head | None, *, whole: bool) -> Report:
        start = None if whole else self._last_checkpoint(connection)
        walk = _Walk(self._seal_row, *((0, self._origin) if start is None else start[:2]))
        told = Contents(self._contents_seal)
        problems = []
        for seq, body in walk.telling_rows(connection):
            document = json.loads(body)
            for change in _changes(document):
                told.apply(change)
            if start is None and _stamp(document) not in (None, told.stamp):
                problems.append(f"Checkpoint {seq} does not fit the rows before it: changes of rights are missing.")
        found = Contents(self._contents_seal, rows(connection))
        agrees = found.stamp == told.stamp if start is None else found.without(told).stamp == start[2]
        if not agrees:
            problems += _differences(connection, _Walk(self._seal_row, 0, self._origin).telling_rows(connection)) or [
                "The tables of operators, roles, grants and settings do not hold what the trail says."
            ]
        if expected is not None:
            problems += self._compare_head(connection, expected)
        return Report(walk.count, self._head(connection), (*walk.problems(), *problems), tuple(walk.notes))

    def _last_checkpoint(self, connection: sqlite3.Connection) -> tuple[int, bytes, str] | None:
        """Where a walk begins that finds the last genuine checkpoint first, and that checkpoint's stamp."""
        for seq, prev, mac, body in connection.execute(f"{_RAW} ORDER BY seq DESC"):
            if b'"kind":"audit.checkpoint"' in body and hmac.compare_digest(self._seal_row(seq, prev, body), mac):
                stamp = _stamp(json.loads(body))
                if stamp is not None:
                    return seq - 1, prev, stamp
        return None

    def _compare_head(self, connection: sqlite3.Connection, expected: Head) -> list[str]:
        last = self._last(connection)[0]
        if last < expected.seq:
            return [
                f"The trail ends at row {last}, but row {expected.seq} was there before: its end was cut off, or an "
                "older file was put in its place."
            ]
        sql = "SELECT CAST(mac AS BLOB) FROM audit WHERE seq = ?"
        (mac,) = connection.execute(sql, (expected.seq,)).fetchone() or (self._origin,)
        if mac.hex() != expected.mac:
            return [
                f"Row {expected.seq} is not the one that was there before: the file was replaced, or the trail was "
                "continued from an older copy."
            ]
        return []


class _Walk:
    """Goes along the chain, noting where it is broken. *seq* and *prev* are the row before the first."""

    def __init__(self, seal_row: Callable[[int, bytes, bytes], bytes], seq: int, prev: bytes) -> None:
        self._seal_row = seal_row
        self._seq = seq
        self._prev = prev
        self.count = 0
        self.notes: list[str] = []
        self._broken = 0
        self._unsealed = 0
        self._problems: list[str] = []

    def telling_rows(self, connection: sqlite3.Connection) -> Iterator[tuple[int, bytes]]:
        """(number, text) of each row that tells of the tables of power, if its own seal is sound."""
        last_at = b""
        seal_row, same = self._seal_row, hmac.compare_digest
        for seq, prev, mac, body in connection.execute(f"{_RAW} WHERE seq > ? ORDER BY seq", (self._seq,)):
            sealed = same(seal_row(seq, prev, body), mac)
            if not sealed or prev != self._prev or seq != self._seq + 1:
                self._blame(seq, prev, mac, body, sealed)
            self._seq, self._prev = seq, mac
            self.count += 1
            if sealed:
                at = body[_AT]
                if at < last_at and len(self.notes) < _MOST_TOLD:
                    self.notes.append(f"Row {seq} is dated before the one it follows: the clock was set back.")
                last_at = at
                # Quotes inside a text are escaped, so a key found like this is a key.
                if b'"rows":[[' in body or b'"kind":"audit.checkpoint"' in body:
                    yield seq, body

    def problems(self) -> list[str]:
        if self.count > 1 and self._unsealed == self.count:
            return ["No row fits this audit key: it is not the key that the trail was written with."]
        hidden = self._broken - len(self._problems)
        return [*self._problems, *([f"{hidden} more rows are broken."] if hidden else [])]

    def _blame(self, seq: int, prev: bytes, mac: bytes, body: bytes, sealed: bool) -> None:
        self._broken += 1
        said = None if sealed else _said_seq(body)
        moved = said is not None and hmac.compare_digest(self._seal_row(said, prev, body), mac)
        self._unsealed += not (sealed or moved)
        if len(self._problems) >= _MOST_TOLD:
            return
        if moved:
            sentence = f"Row {seq} was written as row {said}: rows were reordered or renumbered."
        elif not sealed:
            sentence = f"Row {seq} is not as it was sealed: it was edited, or added by something without the key."
        elif seq != self._seq + 1:
            first, last = self._seq + 1, seq - 1
            which = f"Row {first} is" if first == last else f"Rows {first} to {last} are"
            sentence = f"{which} missing from the trail."
        else:
            sentence = f"Row {seq} is genuine but does not follow row {seq - 1}: rows were exchanged between copies."
        self._problems.append(sentence)


def _said_seq(body: bytes) -> int | None:
    """The number that a row which does not fit its place calls its own."""
    try:
        document = json.loads(body)
    except ValueError:
        return None
    seq = document.get("seq") if isinstance(document, dict) else None
    return seq if isinstance(seq, int) else None


def _changes(document: dict[str, Any]) -> list[RowChange]:
    """The changes to the tables of power that a row tells of."""
    return [RowChange(*change) for change in document.get("rows", [])]


def _stamp(document: dict[str, Any]) -> str | None:
    """What a row says that those tables hold, if it is a checkpoint."""
    return str(document["facts"]["contents"]) if document["kind"] == CHECKPOINT else None


def _audit_row(body: str) -> AuditRow:
    data = json.loads(body)
    record = AuditRecord(
        kind=data["kind"],
        operator_id=data.get("operator"),
        request_id=data.get("request"),
        attempt_id=data.get("attempt"),
        target_id=data.get("target"),
        session_generation=data.get("session"),
        facts=data.get("facts", {}),
    )
    return AuditRow(data["seq"], datetime.fromisoformat(data["at"]), record)


def _differences(connection: sqlite3.Connection, trail: Iterable[tuple[int, bytes]]) -> list[str]:
    """Which rows of power are not what the trail says, one sentence each; only asked for once something is wrong."""
    told: dict[tuple[Any, ...], Row] = {}
    for _, body in trail:
        for change in _changes(json.loads(body)):
            if change.after is None:
                told.pop(change.key, None)
            else:
                told[change.key] = change.after
    found = {key_of(table, row): row for table, row in rows(connection)}
    sentences = []
    for key in sorted(told.keys() | found.keys(), key=repr):
        name = f"{key[0]} {' '.join(map(str, key[1:]))}"
        if key not in told:
            sentences.append(f"The row {name} was added behind the bot's back.")
        elif key not in found:
            sentences.append(f"The row {name} was deleted behind the bot's back.")
        elif told[key] != found[key]:
            columns = ", ".join(column for column, value in told[key].items() if found[key][column] != value)
            sentences.append(f"The row {name} was edited behind the bot's back ({columns}).")
    return sentences[:_MOST_TOLD]
