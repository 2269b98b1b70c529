"""What is kept of the audit trail outside the database: its key, and the last head seen."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from bot.errors import BadInput, StorageProblem
from bot.model import Secret
from storage.audit import Head


def new_key() -> Secret:
    """A key for a new trail. It is to be stored where whoever can write the database cannot read."""
    return Secret(secrets.token_urlsafe(48))


def key_from_file(path: Path, *, database: Path) -> Secret:
    """The audit key in *path*; a new one is made there if there is no database yet that needs the old one.

    Raises `StorageProblem` if the key is missing, lies beside the database, or can be read by others.
    """
    if path.parent.resolve() == database.parent.resolve():
        raise StorageProblem(
            f"The audit key {path} lies in the same folder as the database, so whoever can change the one could forge "
            "the other. Move it elsewhere and set LATCHKEY_AUDIT_KEY_FILE."
        )
    if not path.exists():
        if database.exists():
            raise StorageProblem(
                f"The audit key {path} is missing. Without it nobody can tell whether the database was changed: put it "
                "back from where keys are kept."
            )
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_privately(path, new_key().reveal())
    _refuse_readable(path)
    try:
        return Secret(path.read_text(encoding="ascii").strip())
    except (OSError, UnicodeDecodeError) as error:
        raise StorageProblem(
            f"The audit key {path} cannot be read: it must be a file of plain characters. Put it back from where keys "
            "are kept."
        ) from error


def kept_head(path: Path) -> Head | None:
    """The head that `keep_head` wrote; None if there is none yet. Raises `StorageProblem` if it cannot be read."""
    if not path.exists():
        return None
    try:
        return Head.parse(path.read_text(encoding="ascii", errors="replace"))
    except BadInput as error:
        raise StorageProblem(
            f"{path} should hold the last head of the audit trail and does not. Compare with the head that was last "
            "posted, then put that there."
        ) from error


def keep_head(path: Path, head: Head) -> None:
    """Remember *head*, replacing the one before in one step."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.new")
    beside.unlink(missing_ok=True)
    _write_privately(beside, f"{head}\n")
    beside.replace(path)


def _write_privately(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _refuse_readable(path: Path) -> None:
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise StorageProblem(f"The audit key {path} can be read by others. Run: chmod 600 {path}")
