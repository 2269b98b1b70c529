"""What every program does before it trusts the file, and what it leaves behind for the next one."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from bot.errors import TamperingFound
from storage.audit import AuditTrail, Head, Report
from storage.audit_key import keep_head, kept_head
from storage.database import Database
from storage.migrations import intended_structure, structure
from storage.operators import Operators

TOLD_AGAIN: Final = timedelta(hours=1)
"""How often people are told of a database that cannot be believed, however often a start is tried."""


async def check(db: Database, trail: AuditTrail, operators: Operators, *, head_file: Path | None) -> Report:
    """Examine what has changed since the last checkpoint, and give a new file its shipped roles.

    *head_file* is where `leave` keeps the trail's head, outside the database's folder; None if there is no such place.
    Raises `TamperingFound`: then nothing in the file may be believed and no privileged work begun.
    """
    await _check_structure(db)
    head = await asyncio.to_thread(kept_head, head_file) if head_file else None
    report = await trail.verify_since_checkpoint(expected_head=head)
    if not report.sound:
        restored = f" If you have just put back a backup on purpose, delete {head_file} and start again."
        raise TamperingFound(
            f"The database {db.path} was changed behind the bot's back, so nothing privileged is done. "
            f"{' '.join(report.problems[:3])} `latchkey audit verify` tells all.{restored if head else ''}"
        )
    await operators.ship_roles()
    return report


async def leave(trail: AuditTrail, *, head_file: Path | None) -> Head:
    """Write a checkpoint and remember the head: nightly, and when stopping cleanly."""
    head = await trail.checkpoint()
    if head_file:
        await asyncio.to_thread(keep_head, head_file, head)
    return head


def is_to_be_told(database: Path, now: datetime) -> bool:
    """Whether it is time to tell people (again) that *database* is not to be believed. What was told when cannot be
    kept in it, so a file beside it does."""
    told = database.with_suffix(".told")
    with contextlib.suppress(OSError, ValueError):
        if timedelta(0) <= now - datetime.fromisoformat(told.read_text(encoding="utf-8")) < TOLD_AGAIN:
            return False
    with contextlib.suppress(OSError):  # a disk that takes nothing is no reason to stay silent
        told.write_text(now.isoformat(), encoding="utf-8")
    return True


async def _check_structure(db: Database) -> None:
    found = await db.read(structure)
    intended = intended_structure()
    strange = sorted(name for _, name in found.keys() - intended.keys())
    missing = sorted(name for _, name in intended.keys() - found.keys())
    altered = sorted(name for kind, name in found.keys() & intended.keys() if found[kind, name] != intended[kind, name])
    sentences = [
        f"{what}: {', '.join(names)}."
        for what, names in (("Not ours", strange), ("Missing", missing), ("Altered", altered))
        if names
    ]
    if sentences:
        raise TamperingFound(
            f"The tables, indexes or triggers of {db.path} are not the ones this version makes. {' '.join(sentences)} "
            "Put back a backup you trust."
        )
