"""Other processes for tests of storage: `python -m tests.storage.child WHAT PATH`. Each prints a line per commit."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from bot.clock import SystemClock
from bot.model import AuditRecord
from storage.audit import AuditTrail
from storage.database import Database
from storage.operators import Operators
from tests.storage.conftest import KEY, OLIVE, SHELL, TENANT


async def append(path: Path, count: int) -> None:
    async with Database(path, tenant=TENANT, clock=SystemClock()) as db:
        trail = AuditTrail(db, KEY)
        for number in range(count):
            await trail.append(AuditRecord("test.appended", facts={"number": number}))
            print(number, flush=True)


async def revoke(path: Path) -> None:
    async with Database(path, tenant=TENANT, clock=SystemClock()) as db:
        await Operators(db, AuditTrail(db, KEY)).revoke(OLIVE, "helpdesk", by=SHELL, reason="a test")
        print("revoked", flush=True)


def killed_while_appending(path: Path, count: int) -> int:
    """Let a process append until at least *count* rows are acknowledged, kill it, and say how many were."""
    command = [sys.executable, "-m", __name__, "append", str(path), "1000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for _ in range(count):
            child.stdout.readline()
        child.kill()
        return count + len(child.stdout.readlines())


if __name__ == "__main__":
    what, where = sys.argv[1], Path(sys.argv[2])
    asyncio.run(revoke(where) if what == "revoke" else append(where, int(sys.argv[3])))
