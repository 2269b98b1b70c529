"""The tables that give power, and the sealed sum of their contents by which an edit on disk shows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self, TypeAlias

from storage.seal import Seal, canonical

Row: TypeAlias = Mapping[str, str | int | None]

KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "operators": ("id",),
    "roles": ("tenant", "name"),
    "role_commands": ("tenant", "role", "wild", "pattern"),
    "scopes": ("id",),
    "grants": ("id",),
    "group_grants": ("id",),
    "tenant_settings": ("tenant", "version"),
}
"""The tables that give power, and what identifies a row of each."""

_ADDED: Final[Mapping[str, frozenset[str]]] = {"grants": frozenset({"via"})}
"""Columns that a table was not born with: rows of the trail that are older do not have them."""

_MODULUS: Final = 1 << 256


@dataclass(frozen=True)
class RowChange:
    """A row of a table that gives power, before and after; None where there is none."""

    table: str
    before: Row | None
    after: Row | None

    def to_json(self) -> list[Any]:
        return [self.table, self.before, self.after]

    @property
    def key(self) -> tuple[Any, ...]:
        """What identifies the row: its table, and the values of the table's key."""
        return key_of(self.table, self.after or self.before or {})


def key_of(table: str, row: Row) -> tuple[Any, ...]:
    """What identifies *row* of *table* among all rows of power."""
    return (table, *(row[column] for column in KEYS[table]))


def counted(table: str, row: Row) -> Row:
    """*row* as it counts for the trail: a column that was added later says nothing where it is null, so that a row
    weighs the same before and after the column came."""
    added = _ADDED.get(table, frozenset())
    return {column: value for column, value in row.items() if value is not None or column not in added}


def find(connection: sqlite3.Connection, table: str, **key: str | int) -> Row | None:
    """The row of *table* with this key."""
    where = " AND ".join(f"{column} = :{column}" for column in key)
    # Table and columns are our own words; values are bound.
    return next(_rows(connection.execute(f"SELECT * FROM {table} WHERE {where}", key)), None)  # noqa: S608


def put(connection: sqlite3.Connection, table: str, **row: str | int | None) -> RowChange:
    """Insert or replace a row, given in full. The change returned must be audited in the same transaction."""
    key = {column: row[column] for column in KEYS[table]}
    before = find(connection, table, **key)  # type: ignore[arg-type]  # no key holds NULL
    columns, values = ", ".join(row), ", ".join(f":{column}" for column in row)
    if before is None:
        connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({values})", row)  # noqa: S608 - as in `find`
    else:
        where = " AND ".join(f"{column} = :{column}" for column in key)
        connection.execute(f"UPDATE {table} SET ({columns}) = ({values}) WHERE {where}", row)  # noqa: S608 - as above
    return RowChange(table, before, row)


def drop(connection: sqlite3.Connection, table: str, **key: str | int) -> RowChange:
    """Delete the row with this key. The change returned must be audited in the same transaction."""
    change = RowChange(table, find(connection, table, **key), None)
    where = " AND ".join(f"{column} = :{column}" for column in key)
    connection.execute(f"DELETE FROM {table} WHERE {where}", key)  # noqa: S608 - as in `find`
    return change


def rows(connection: sqlite3.Connection) -> Iterator[tuple[str, Row]]:
    """Every row of power, with its table."""
    for table in KEYS:
        for row in _rows(connection.execute(f"SELECT * FROM {table}")):  # noqa: S608 - our own words
            yield table, row


def _rows(cursor: sqlite3.Cursor) -> Iterator[Row]:
    names = [column[0] for column in cursor.description]
    for values in cursor:
        yield dict(zip(names, values, strict=True))


class Contents:
    """The sum of the seals of all rows of power: the same for the same rows in any order, and kept up change by change.

    A sum of seals can be brought forward without reading the tables, so a trail of a million rows is replayed in
    constant memory. Only `stamp`, a seal over the sum, is ever written down: nobody can learn from it what a row adds.
    """

    def __init__(self, seal: Seal, rows: Iterable[tuple[str, Row]] = ()) -> None:
        self._seal = seal
        self._sum = 0
        for table, row in rows:
            self._sum += self._weight(table, row)

    def apply(self, change: RowChange) -> None:
        """Follow *change*."""
        if change.before is not None:
            self._sum -= self._weight(change.table, change.before)
        if change.after is not None:
            self._sum += self._weight(change.table, change.after)

    def without(self, later: Contents) -> Contents:
        """These contents before the changes that *later* followed."""
        earlier = Contents(self._seal)
        earlier._sum = self._sum - later._sum
        return earlier

    def masked(self, mask: bytes) -> str:
        """The sum itself, in hex, for whoever can make *mask* again: 32 bytes that were used for no other sum."""
        return (self._sum % _MODULUS ^ int.from_bytes(mask, "big")).to_bytes(32, "big").hex()

    @classmethod
    def unmasked(cls, seal: Seal, text: str, mask: bytes) -> Self:
        """The contents whose sum `masked` wrote as *text*."""
        contents = cls(seal)
        contents._sum = int(text, 16) ^ int.from_bytes(mask, "big")
        return contents

    @property
    def stamp(self) -> str:
        """What a checkpoint keeps, in hex."""
        return self._seal(b"sum" + (self._sum % _MODULUS).to_bytes(32, "big")).hex()

    def _weight(self, table: str, row: Row) -> int:
        return int.from_bytes(self._seal(b"row" + canonical([table, counted(table, row)]).encode()), "big")
