"""The audit trail: rows that are only ever appended, each sealed together with the seal of the row before."""

from __future__ import annotations

import hmac
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Self

from bot.errors import BadInput, TamperingFound
from bot.model import AuditRecord, Secret
from bot.ports import AuditRow, AuditSelection
from storage.database import Database, to_text
from storage.power import Contents, Row, RowChange, counted, key_of, rows
from storage.seal import Seal, canonical

CHECKPOINT: Final = "audit.checkpoint"
"""The kind of the rows that hold a stamp of the contents of the tables that give power."""

CUT: Final = "audit.cut"
"""The kind of the rows that seal what was taken away at the trail's beginning, and what it left behind."""

_PIECE: Final = 5000
"""How many rows a cut takes away at a time: the writer is held for as long as that takes."""

_MOST_TOLD: Final = 20
"""How many findings are told one by one."""

_PAGE: Final = 1000
"""How many rows an export reads at a time."""

_RAW: Final = "SELECT seq, CAST(prev AS BLOB), CAST(mac AS BLOB), coalesce(CAST(body AS BLOB), x'') FROM audit"
"""Rows as they lie in the file. The casts matter: whoever edits a file does not keep to a column's type."""

_READ: Final = """
SELECT a.body, a.prev, a.mac, json_extract(r.details, '$.target.name')
FROM audit a LEFT JOIN requests r ON r.id = a.request_id
"""

_EVERYTHING: Final = AuditSelection()

_BEYOND: Final = 1 << 62
"""More than the number of any row."""

_OF_ACTION: Final = """(json_extract(a.body, '$.facts.action') = ?
    OR a.request_id IN (SELECT id FROM requests WHERE action = ?))"""
_REFUSED: Final = """(a.kind LIKE '%.refused' OR a.kind LIKE '%.denied'
    OR json_extract(a.body, '$.facts.outcome') = 'refused')"""
_BREAK_GLASS: Final = """(a.kind LIKE '%break_glass%' OR a.kind LIKE 'review.%'
    OR json_extract(a.body, '$.facts.break_glass') OR json_extract(a.body, '$.facts.emergency'))"""
_LEAVERS: Final = "a.kind IN ('operator.left', 'operator.suspended', 'operator.restored', 'grant.unfollowed')"

# A change of Latchkey itself is an attempt as well, whose effect is a row of its own.
_CHANGES: Final = """
SELECT count(*) FROM audit a WHERE a.seq > ? AND a.tenant = ? AND (
    json_type(a.body, '$.rows') IS NOT NULL
    OR (a.kind = 'attempt.finished' AND json_extract(a.body, '$.facts.outcome') = 'succeeded' AND NOT EXISTS (
        SELECT 1 FROM audit s WHERE s.request_id = a.request_id AND s.attempt_id = a.attempt_id
        AND s.kind = 'attempt.started' AND json_extract(s.body, '$.facts.path') LIKE 'latchkey/%')))
"""

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
class _Beginning:
    """What the first row of the trail follows: the last row that was cut, or the origin.

    `contents` is what the tables of power held there; `sealed_in` the row that says so, and when it was written.
    """

    seq: int
    mac: bytes
    contents: Contents
    sealed_in: tuple[int, str] | None = None


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
        self._mask = Seal(key, "latchkey audit cut")
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

    async def cut(self, before: datetime, *, seen: timedelta | None = None) -> int:
        """Take away the rows older than *before*; returns how many. None if no checkpoint was left in the time *seen*:
        then the clock may have leapt, and what it calls old may be young.

        The trail then begins after the last of them. A row of its own seals how many went, the seals of the first and
        the last, and what the tables of power held there, so that what remains is examined as the whole was. It is
        written in the transaction that takes the rows away; without it the file's own triggers let none go. Rows that
        are not sound are not taken away: raises `TamperingFound`.
        """
        if seen is not None and not await self._db.scan(lambda connection: self._was_here(connection, seen)):
            return 0
        gone = 0
        while piece := await self._db.write(lambda connection: self._cut(connection, before)):
            gone += piece
        return gone

    def _was_here(self, connection: sqlite3.Connection, lately: timedelta) -> bool:
        sql = "SELECT at FROM audit WHERE kind = ? ORDER BY seq DESC LIMIT 1"
        (last,) = connection.execute(sql, (CHECKPOINT,)).fetchone() or ("",)
        return bool(last > to_text(self._db.clock.now() - lately))

    def _cut(self, connection: sqlite3.Connection, before: datetime) -> int:
        beginning = self._beginning(connection)
        most = min(self._last(connection)[0], beginning.seq + _PIECE)
        sql = "SELECT seq FROM audit WHERE at >= ? AND seq <= ? ORDER BY seq LIMIT 1"
        (first_kept,) = connection.execute(sql, (to_text(before), most)).fetchone() or (most + 1,)
        through = first_kept - 1
        if through <= beginning.seq:
            return 0
        walk, told = _Walk(self._seal_row, beginning.seq, beginning.mac), beginning.contents
        for _, body in walk.telling_rows(connection, through):
            for change in _changes(json.loads(body)):
                told.apply(change)
        if walk.count != through - beginning.seq or walk.problems():
            found = " ".join(walk.problems()[:3])
            raise TamperingFound(f"The audit trail is not sound, so nothing old is taken away from it. {found}".strip())
        ends = "SELECT mac, at FROM audit WHERE seq = ?"
        first, _ = connection.execute(ends, (beginning.seq + 1,)).fetchone()
        last, until = connection.execute(ends, (through,)).fetchone()
        facts = {
            "rows": through - beginning.seq,
            "first": beginning.seq + 1,
            "first_seal": first.hex(),
            "through": through,
            "last_seal": last.hex(),
            "until": until,
            # The seal of the last row stands for all that was before it, so no mask is ever used for two sums.
            "contents": told.masked(self._mask(last)),
        }
        self.chain(connection, [AuditRecord(CUT, facts=facts)])
        connection.execute("DELETE FROM audit WHERE seq <= ?", (through,))
        return through - beginning.seq

    def _beginning(self, connection: sqlite3.Connection) -> _Beginning:
        """What the first row follows, as the newest genuine cut says; the origin for a trail that has its first row."""
        (first,) = connection.execute("SELECT min(seq) FROM audit").fetchone()
        if first is not None and first > 1:
            for seq, prev, mac, body in connection.execute(f"{_RAW} ORDER BY seq DESC"):
                if b'"kind":"audit.cut"' in body and hmac.compare_digest(self._seal_row(seq, prev, body), mac):
                    document = json.loads(body)
                    if document["kind"] == CUT:
                        facts = document["facts"]
                        last = bytes.fromhex(facts["last_seal"])
                        left = Contents.unmasked(self._contents_seal, facts["contents"], self._mask(last))
                        return _Beginning(facts["through"], last, left, (seq, document["at"]))
        return _Beginning(0, self._origin, Contents(self._contents_seal))

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
        self, about: AuditSelection = _EVERYTHING, *, before_seq: int | None = None, limit: int = 20
    ) -> list[AuditRow]:
        """Rows of the selection, newest first. For the next page give the last row's `seq` as *before_seq*."""
        where, values = self._where(about)
        below = before_seq or _BEYOND

        def work(connection: sqlite3.Connection) -> list[AuditRow]:
            sql = f"{_READ} WHERE {where} AND a.seq < ? ORDER BY a.seq DESC LIMIT ?"
            return [_audit_row(*row) for row in connection.execute(sql, (*values, below, limit))]

        return await self._db.scan(work)

    async def each(self, about: AuditSelection, take: Callable[[AuditRow], None], *, limit: int) -> tuple[int, bool]:
        """Hand each row of the selection to *take*, in a thread, oldest first; of more than *limit* the newest.

        Returns how many there were, and whether older ones were left out.
        """
        where, values = self._where(about)

        def work(connection: sqlite3.Connection) -> tuple[int, bool]:
            last_left_out = f"SELECT a.seq FROM audit a WHERE {where} ORDER BY a.seq DESC LIMIT 1 OFFSET ?"  # noqa: S608 - bound
            (above,) = connection.execute(last_left_out, (*values, limit)).fetchone() or (None,)
            sql = f"{_READ} WHERE {where} AND a.seq > ? ORDER BY a.seq"
            count = 0
            for row in connection.execute(sql, (*values, above or 0)):
                take(_audit_row(*row))
                count += 1
            return count, above is not None

        return await self._db.scan(work)

    def _where(self, about: AuditSelection) -> tuple[str, list[Any]]:
        """The conditions for *about*, and the values bound in them."""
        asked: list[tuple[str, tuple[Any, ...]]] = [("a.tenant = ?", (self._db.tenant,))]
        whose: list[tuple[str, tuple[Any, ...]]] = []
        if about.operator:
            about_them = "a.operator_id = ? OR json_extract(a.body, '$.facts.operator') = ?"
            whose.append((about_them, (about.operator,) * 2))
        if about.target:
            whose.append(("a.target_id = ?", (about.target,)))
        if whose:
            either = " OR ".join(condition for condition, _ in whose)
            asked.append((f"({either})", tuple(value for _, bound in whose for value in bound)))
        if about.request:
            asked.append(("a.request_id = ?", (about.request,)))
        if about.action:
            asked.append((_OF_ACTION, (about.action,) * 2))
        if about.since:
            asked.append(("a.at >= ?", (to_text(about.since),)))
        if about.until:
            asked.append(("a.at < ?", (to_text(about.until),)))
        asked += [
            (condition, ())
            for wanted, condition in (
                (about.refused, _REFUSED),
                (about.break_glass, _BREAK_GLASS),
                (about.leavers, _LEAVERS),
            )
            if wanted
        ]
        return " AND ".join(condition for condition, _ in asked), [value for _, bound in asked for value in bound]

    async def changes_since(self, moment: datetime) -> int:
        """How often the tenant, rights or settings were changed since then."""

        def work(connection: sqlite3.Connection) -> int:
            before = "SELECT seq FROM audit WHERE at < ? ORDER BY seq DESC LIMIT 1"
            (seq,) = connection.execute(before, (to_text(moment),)).fetchone() or (0,)
            (count,) = connection.execute(_CHANGES, (seq, self._db.tenant)).fetchone()
            return int(count)

        return await self._db.scan(work)

    async def export(self) -> AsyncIterator[str]:
        """The whole trail as lines of JSON: each sealed text with `prev` and `mac` in hex added."""
        seq = 0

        def page(connection: sqlite3.Connection) -> list[tuple[int, bytes, bytes, str]]:
            sql = "SELECT seq, prev, mac, body FROM audit WHERE seq > ? ORDER BY seq LIMIT ?"
            return connection.execute(sql, (seq, _PAGE)).fetchall()

        while found := await self._db.scan(page):
            for seq, prev, mac, body in found:  # noqa: B007 - `page` goes on after the last
                yield _sealed(body, prev, mac)

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
        checkpoint = None if whole else self._last_checkpoint(connection)
        if checkpoint is None:
            beginning = self._beginning(connection)
            walk, told = _Walk(self._seal_row, beginning.seq, beginning.mac), beginning.contents
            problems = self._left_before(connection, beginning)
        else:
            walk, told = _Walk(self._seal_row, *checkpoint[:2]), Contents(self._contents_seal)
            problems = []
        for seq, body in walk.telling_rows(connection):
            document = json.loads(body)
            for change in _changes(document):
                told.apply(change)
            if checkpoint is None and _stamp(document) not in (None, told.stamp):
                problems.append(f"Checkpoint {seq} does not fit the rows before it: changes of rights are missing.")
        found = Contents(self._contents_seal, rows(connection))
        agrees = found.stamp == told.stamp if checkpoint is None else found.without(told).stamp == checkpoint[2]
        if not agrees:
            problems += self._differences(connection) or [
                "The tables of operators, roles, grants and settings do not hold what the trail says."
            ]
        notes = [*self._what_went(beginning), *walk.notes] if checkpoint is None else list(walk.notes)
        if expected is not None:
            found_problems, found_notes = self._compare_head(connection, expected)
            problems += found_problems
            notes += found_notes
        return Report(walk.count, self._head(connection), (*walk.problems(), *problems), tuple(notes))

    def _what_went(self, beginning: _Beginning) -> list[str]:
        if beginning.sealed_in is None:
            return []
        row, at = beginning.sealed_in
        return [
            f"The trail begins at row {beginning.seq + 1}: what was before was taken away when its time was over. Row "
            f"{row} of {at[:10]} seals that."
        ]

    def _left_before(self, connection: sqlite3.Connection, beginning: _Beginning) -> list[str]:
        sql = "SELECT min(seq), max(seq), count(*) FROM audit WHERE seq <= ?"
        first, last, count = connection.execute(sql, (beginning.seq,)).fetchone()
        if not count:
            return []
        which = f"Row {first} stands" if count == 1 else f"{count} rows from {first} to {last} stand"
        return [f"{which} before the beginning of the trail: put there after it was cut."]

    def _differences(self, connection: sqlite3.Connection) -> list[str]:
        beginning = self._beginning(connection)
        walk = _Walk(self._seal_row, beginning.seq, beginning.mac)
        return _differences(connection, walk.telling_rows(connection), from_the_first=beginning.sealed_in is None)

    def _last_checkpoint(self, connection: sqlite3.Connection) -> tuple[int, bytes, str] | None:
        """Where a walk begins that finds the last genuine checkpoint first, and that checkpoint's stamp."""
        for seq, prev, mac, body in connection.execute(f"{_RAW} ORDER BY seq DESC"):
            if b'"kind":"audit.checkpoint"' in body and hmac.compare_digest(self._seal_row(seq, prev, body), mac):
                stamp = _stamp(json.loads(body))
                if stamp is not None:
                    return seq - 1, prev, stamp
        return None

    def _compare_head(self, connection: sqlite3.Connection, expected: Head) -> tuple[list[str], list[str]]:
        """(problems, notes)."""
        last = self._last(connection)[0]
        if last < expected.seq:
            return [
                f"The trail ends at row {last}, but row {expected.seq} was there before: its end was cut off, or an "
                "older file was put in its place."
            ], []
        sql = "SELECT CAST(mac AS BLOB) FROM audit WHERE seq = ?"
        (mac,) = connection.execute(sql, (expected.seq,)).fetchone() or (None,)
        if mac is None:
            beginning = self._beginning(connection)
            if beginning.sealed_in and expected.seq < beginning.seq:
                row, at = beginning.sealed_in
                return [], [
                    f"Row {expected.seq} was taken away when its time was over (row {row} of {at[:10]} seals it): its "
                    "seal cannot be compared. Give a newer head."
                ]
            mac = beginning.mac
        if mac.hex() != expected.mac:
            return [
                f"Row {expected.seq} is not the one that was there before: the file was replaced, or the trail was "
                "continued from an older copy."
            ], []
        return [], []


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

    def telling_rows(self, connection: sqlite3.Connection, through: int = _BEYOND) -> Iterator[tuple[int, bytes]]:
        """(number, text) of each row that tells of the tables of power, if its own seal is sound."""
        last_at = b""
        seal_row, same = self._seal_row, hmac.compare_digest
        wanted = f"{_RAW} WHERE seq > ? AND seq <= ? ORDER BY seq"
        for seq, prev, mac, body in connection.execute(wanted, (self._seq, through)):
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


def _sealed(body: str, prev: bytes, mac: bytes) -> str:
    return f'{body[:-1]},"prev":"{prev.hex()}","mac":"{mac.hex()}"}}'


def _audit_row(body: str, prev: bytes, mac: bytes, target_name: str | None) -> AuditRow:
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
    at = datetime.fromisoformat(data["at"])
    return AuditRow(data["seq"], at, record, target_name or "", _sealed(body, prev, mac))


def _differences(
    connection: sqlite3.Connection, trail: Iterable[tuple[int, bytes]], *, from_the_first: bool
) -> list[str]:
    """Which rows of power are not what the trail says, one sentence each; only asked for once something is wrong.

    A trail that was cut does not tell of all rows: of those it has not told of nothing can be said.
    """
    told: dict[tuple[Any, ...], Row] = {}
    ended: set[tuple[Any, ...]] = set()
    for _, body in trail:
        for change in _changes(json.loads(body)):
            if change.after is None:
                told.pop(change.key, None)
                ended.add(change.key)
            else:
                told[change.key] = counted(change.table, change.after)
    found = {key_of(table, row): counted(table, row) for table, row in rows(connection)}
    sentences = []
    for key in sorted(told.keys() | found.keys(), key=repr):
        name = f"{key[0]} {' '.join(map(str, key[1:]))}"
        if key not in told:
            if from_the_first or key in ended:
                sentences.append(f"The row {name} was added behind the bot's back.")
        elif key not in found:
            sentences.append(f"The row {name} was deleted behind the bot's back.")
        elif told[key] != found[key]:
            columns = ", ".join(
                column
                for column in sorted(told[key].keys() | found[key].keys())
                if told[key].get(column) != found[key].get(column)
            )
            sentences.append(f"The row {name} was edited behind the bot's back ({columns}).")
    return sentences[:_MOST_TOLD]
