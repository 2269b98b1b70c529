"""A file that is made row by row for people to open: CSV that no spreadsheet takes for formulas, or JSON Lines."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from tempfile import TemporaryFile
from typing import Final

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a cell begins with that spreadsheets take for a formula (OWASP: *CSV Injection*)."""


class Sheet:
    """A file that is being written, on disk and without a name: CSV as in RFC 4180, or JSON Lines."""

    def __init__(self, form: str, columns: Sequence[str]) -> None:
        self.form = form
        self.content = TemporaryFile()  # noqa: SIM115 - closed by `with` on the sheet
        self._columns = columns
        self._sha256 = hashlib.sha256()
        self._line = io.StringIO(newline="")
        self._csv = csv.writer(self._line)
        if form == "csv":
            self._write("\N{BYTE ORDER MARK}")  # spreadsheets take UTF-8 for something else without it
            self._cells(columns)

    def __enter__(self) -> Sheet:
        return self

    def __exit__(self, *error: object) -> None:
        self.content.close()

    def add(self, *values: str | int | None) -> None:
        """A row, in the order of the columns."""
        if self.form == "csv":
            self._cells([_harmless(value) if isinstance(value, str) else value for value in values])
        else:
            self.write_line(json.dumps(dict(zip(self._columns, values, strict=True))))

    def write_line(self, line: str) -> None:
        self._write(f"{line}\n")

    def finished(self) -> tuple[int, str]:
        """Its size and SHA-256; it can then be read from the beginning."""
        size = self.content.tell()
        self.content.seek(0)
        return size, self._sha256.hexdigest()

    def _cells(self, values: Iterable[str | int | None]) -> None:
        self._csv.writerow(values)
        self._write(self._line.getvalue())
        self._line.seek(0)
        self._line.truncate()

    def _write(self, text: str) -> None:
        # Half a pair of surrogates, which JSON can hold, is no character.
        data = text.encode("utf-8", "backslashreplace")
        self._sha256.update(data)
        self.content.write(data)


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
