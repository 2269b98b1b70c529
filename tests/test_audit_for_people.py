"""Auditors without a shell: files, the head that is posted every night, and a past whose time is over."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from bot.audit_commands import verify_audit
from bot.ports import AuditSelection
from sandbox.faults import Answer, Rule
from sandbox.slack import Message
from tests.stage import SHELL, Stage, open_stage

ADELE = "Adele Vance, Sales"
NIGHT = timedelta(days=1).total_seconds()


async def test_an_export_comes_as_a_file_to_the_auditor_and_the_trail_tells_of_it(stage: Stage) -> None:
    await stage.reset("olive", "adele@contoso.com", ADELE)

    said = await stage.ask("audrey", "/m365-audit adele@contoso.com --action reset-password --export csv")

    assert "of the audit trail are in your direct messages as a file." in said
    (file,) = stage.world.slack.files("audrey")
    rows = list(csv.DictReader(io.StringIO(file.content.decode("utf-8-sig"), newline="")))
    theirs = {audit.client_request_id for audit in stage.world.directory.audits}
    assert {row["client_request_id"] for row in rows if row["what"] == "attempt.started"} <= theirs
    assert {row["target"] for row in rows} == {"Adele Vance"}
    (row,) = [row for row in await stage.bot.storage.trail.query() if row.record.kind == "audit.exported"]
    assert row.record.facts["sha256"] == hashlib.sha256(file.content).hexdigest()
    assert row.record.facts["rows"] == len(rows) > 2
    assert stage.world.slack.files("olive") == []


async def test_a_file_goes_to_slack_and_nowhere_else(stage: Stage) -> None:
    elsewhere = {"ok": True, "upload_url": "http://127.0.0.1:9/upload", "file_id": "F1"}
    stage.world.faults.add(Rule("slack", "*", "/files.getUploadURLExternal", Answer(200, elsewhere), times=1))

    said = await stage.ask("audrey", "/m365-audit --export jsonl")

    assert "Slack did not take the file" in said
    assert stage.world.slack.files("audrey") == []
    kinds = [row.record.kind for row in await stage.bot.storage.trail.query()]
    assert {"audit.exported", "audit.export_failed"} <= set(kinds)


async def test_who_may_do_what_is_told_and_only_to_auditors(stage: Stage) -> None:
    said = await stage.ask("audrey", "/m365-audit who reset-password")

    assert "3 people may use /m365 reset-password today." in said.replace("`", "")
    assert re.search(r"Olive Hart.*helpdesk.*everywhere.*until revoked.*granted by the command line", said)
    assert "Vic Moss" not in said
    assert "You may not use" in await stage.ask("olive", "/m365-audit who")


def heads(stage: Stage) -> list[Message]:
    return [line for line in stage.world.slack.messages("#it-alerts") if "Audit head" in line.visible_text]


async def test_the_head_is_posted_every_night_and_the_trail_is_checked_against_it(stage: Stage, tmp_path: Path) -> None:
    await stage.reset("olive", "adele@contoso.com", ADELE)
    stage.world.clock.advance(NIGHT)
    (line,) = await stage.until(lambda: heads(stage))
    found = re.search(r"verify --head (\d+:[0-9a-f]{64})", line.visible_text)
    assert found

    out = io.StringIO()
    assert await verify_audit(stage.config, found[1], out) == 0
    assert "The audit trail is sound" in out.getvalue()

    other = found[1].replace(":", ":0")[:-1]
    assert await verify_audit(stage.config, other, out) == 1
    assert "is not the one that was there before" in out.getvalue()


async def test_a_trail_that_is_not_sound_is_told_in_the_channel(stage: Stage) -> None:
    meddle = "INSERT INTO role_commands VALUES (?, 'helpdesk', 1, '/m365*')"
    tenant = stage.config.tenant_id
    await stage.bot.storage.db.write(lambda connection: connection.execute(meddle, (tenant,)).rowcount)

    stage.world.clock.advance(NIGHT)

    def told() -> list[Message]:
        lines = stage.world.slack.messages("#it-alerts")
        return [line for line in lines if "the trail is not sound" in line.visible_text]

    (line,) = await stage.until(told)
    assert "/m365*" in line.visible_text
    assert heads(stage) == []


async def test_rows_go_when_their_time_is_over_and_the_bot_goes_on(tmp_path: Path) -> None:
    async with open_stage(tmp_path) as stage:
        store = stage.bot.storage
        await stage.reset("olive", "adele@contoso.com", ADELE)
        settings = replace(await store.settings.current(), retention_days=90)
        await store.settings.change(settings, by=SHELL, reason="a test")

        stage.world.clock.advance(100 * NIGHT)
        await stage.until(lambda: heads(stage))
        before = (await store.trail.verify()).rows
        assert before > 10  # in the first night after so long it could be the clock that is wrong
        stage.world.clock.advance(NIGHT)
        await stage.until(lambda: len(heads(stage)) > 1)

        left = await store.trail.query(AuditSelection(action="reset-password"))
        assert "attempt.started" not in [row.record.kind for row in left]
        report = await store.trail.verify()
        assert report.sound
        assert report.rows < 10
        await stage.reset("olive", "adele@contoso.com", ADELE)
