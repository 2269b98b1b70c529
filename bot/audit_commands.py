"""`latchkey audit verify` and `export`: the trail as it lies on disk, without loading the rest of the bot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TextIO

from bot.clock import SystemClock
from bot.config import Config
from bot.logs import set_up_logging
from bot.model import Secret
from storage.audit import AuditTrail, Head
from storage.audit_key import kept_head, key_from_file
from storage.database import Database


async def verify_audit(config: Config, head: str | None, out: TextIO) -> int:
    """Walk the whole trail and write what was found to *out*; 0 if it is sound. *head* was posted or kept elsewhere."""
    expected = Head.parse(head) if head else await _kept_head(config)
    async with _trail(config) as trail:
        report = await trail.verify(expected_head=expected)
    for sentence in (*report.problems, *report.notes):
        print(sentence, file=out)
    verdict = "sound" if report.sound else "NOT SOUND"
    print(f"The audit trail is {verdict}: {report.rows} rows, head {report.head}.", file=out)
    return 0 if report.sound else 1


async def export_audit(config: Config, out: TextIO) -> int:
    """Write the whole trail to *out* as JSON Lines."""
    async with _trail(config) as trail:
        async for line in trail.export():
            print(line, file=out)
    return 0


@asynccontextmanager
async def _trail(config: Config) -> AsyncIterator[AuditTrail]:
    """The trail, unexamined, and left as it is."""
    set_up_logging("WARNING")
    clock = SystemClock()
    key = await _key(config, clock)
    async with Database(config.database, tenant=config.tenant_id, clock=clock) as db:
        yield AuditTrail(db, key)


async def _key(config: Config, clock: SystemClock) -> Secret:
    if config.audit_key_file:
        return await asyncio.to_thread(key_from_file, config.audit_key_file, database=config.database)
    from bot.microsoft.sdk_logs import quiet_sdk_loggers
    from bot.wiring import audit_key, microsoft  # it rests in Key Vault: only then is the way there needed

    quiet_sdk_loggers()
    async with microsoft(config, clock) as ways:
        return await audit_key(config, ways)


async def _kept_head(config: Config) -> Head | None:
    return await asyncio.to_thread(kept_head, config.head_file) if config.head_file else None
