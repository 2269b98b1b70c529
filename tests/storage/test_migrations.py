"""The schema: every step is applied once, and every row knows its tenant."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from storage.migrations import SCHEMA_VERSION, intended_structure, migrate, structure


def test_a_migrated_file_is_as_intended_and_migrating_again_changes_nothing() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection)
        first = structure(connection)
        migrate(connection)

        assert first == structure(connection) == intended_structure()
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


def test_every_table_has_the_tenant_in_every_row() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection)
        for kind, name in structure(connection):
            if kind == "table":
                columns = [row[1] for row in connection.execute(f"PRAGMA table_xinfo({name})")]
                assert "tenant" in columns, name
