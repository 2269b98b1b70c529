"""What auditors are told in Slack: the rows they mean, who may do what, and files that are safe in a spreadsheet."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import IO, Any
from zoneinfo import ZoneInfo

import pytest

from bot.actions import catalogue
from bot.auditing import Auditing
from bot.command import parse
from bot.errors import BadInput, NotPossible
from bot.model import AuditRecord, Author, Origin, Request, Secret, SlackUser, Target, TargetKind
from storage.audit import AuditTrail
from storage.database import Database
from storage.inbox import Inbox
from storage.operators import Operators
from storage.outbox import Outbox
from storage.requests import Requests
from tests.clock import ManualClock
from tests.tenant import ADELE, NOBODY, PaperTenant

SHELL = Author(login="root")
ANA, OLIVE, AUDREY = (SlackUser("T1", user) for user in ("UANA", "UOLIVE", "UAUDREY"))
MEGAN = Target(TargetKind.USER, "9f3a8f1c-3b6b-4c57-9d3a-0d9a5b7f1c11", "Megan Bowen", "megan@contoso.com")


@dataclass
class Desk:
    """Where files arrive. *full* lets none in."""

    files: list[tuple[SlackUser, str, bytes]] = field(default_factory=list)
    full: bool = False

    async def send(self, to: SlackUser, name: str, title: str, content: IO[bytes], size: int) -> None:
        if self.full:
            raise NotPossible("Slack did not take the file. Ask again in a few minutes.")
        data = content.read()
        assert len(data) == size
        self.files.append((to, name, data))


@dataclass
class Office:
    """An auditor's view of a file in which something has happened."""

    clock: ManualClock
    trail: AuditTrail
    operators: Operators
    requests: Requests
    auditing: Auditing
    desk: Desk
    ids: dict[SlackUser, str]

    async def ask(self, typed: str, **inputs: Any) -> tuple[str, dict[str, Any]]:
        """What Audrey is answered to `/m365-audit` and *typed*."""
        parsed = parse("/m365-audit", typed, catalogue())
        request = Request(
            id="f" * 32,
            operator_id=self.ids[AUDREY],
            slack=AUDREY,
            command="/m365-audit",
            action=parsed.action,
            origin=Origin("C1"),
            created_at=self.clock.now(),
            typed=parsed.target,
            inputs={**parsed.options, **inputs},
        )
        answer = self.auditing.who if parsed.action == "audit-who" else self.auditing.read
        return await answer(request)

    async def numbers(self, typed: str) -> list[int]:
        """The rows that are shown, newest first."""
        return [row[0] for row in (await self.ask(typed))[1]["rows"]]

    async def reset(self, who: SlackUser, target: Target, number: int, **facts: Any) -> int:
        """A password reset from its request to Microsoft's answer; the number of its last row."""
        request = Request(
            id=f"{number:032x}",
            operator_id=self.ids[who],
            slack=who,
            command="/m365 reset-password",
            action="reset-password",
            origin=Origin("C1"),
            created_at=self.clock.now(),
            target=target,
        )
        about: dict[str, Any] = {
            "operator_id": request.operator_id,
            "request_id": request.id,
            "attempt_id": f"a{number}",
            "target_id": target.id,
        }
        finished = {"outcome": "succeeded", **facts}
        await self.requests.add(
            request,
            audit=[
                AuditRecord("attempt.started", **about, facts={"call_index": 0}),
                AuditRecord("attempt.finished", **about, facts=finished),
            ],
        )
        return (await self.trail.head()).seq

    async def noted(self, kind: str, who: SlackUser | None = None, **facts: Any) -> int:
        await self.trail.append(AuditRecord(kind, operator_id=self.ids[who] if who else None, facts=facts))
        return (await self.trail.head()).seq


def an_auditing(
    clock: ManualClock, trail: AuditTrail, operators: Operators, requests: Requests, desk: Desk, *, most: int = 1000
) -> Auditing:
    return Auditing(
        clock=clock,
        operators=operators,
        requests=requests,
        trail=trail,
        directory=PaperTenant({"users/nobody@contoso.com": NOBODY, "users": []}),
        files=desk,
        zone=ZoneInfo("Europe/London"),
        most=most,
    )


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    clock = ManualClock()
    async with Database(tmp_path / "data" / "latchkey.db", tenant="t", clock=clock) as db:
        trail = AuditTrail(db, Secret("an audit key that only tests ever use"))
        operators = Operators(db, trail)
        requests = Requests(db, trail, Inbox(db), Outbox(db))
        await operators.ship_roles()
        ids = {}
        for slack, name, role in ((ANA, "Ana Ruiz", "tenant-admin"), (AUDREY, "Audrey Shaw", "auditor")):
            upn = f"{name.split()[0].lower()}@contoso.com"
            bound = await operators.bind(slack, account_id=f"id of {upn}", upn=upn, name=name, by=SHELL)
            await operators.grant(slack, role, by=SHELL, reason="the first")
            ids[slack] = bound.id
        olive = await operators.bind(OLIVE, account_id=None, upn="olive@contoso.com", name="Olive Hart", by=SHELL)
        ids[OLIVE] = olive.id
        await operators.grant(
            OLIVE, "helpdesk", by=Author(ids[ANA]), reason="new", expires_at=clock.now() + timedelta(days=90)
        )
        desk = Desk()
        auditing = an_auditing(clock, trail, operators, requests, desk)
        yield Office(clock, trail, operators, requests, auditing, desk, ids)


# --- Which rows -----------------------------------------------------------------------------------------------------


async def test_rows_are_found_by_operator_target_request_action_and_time(office: Office) -> None:
    early = await office.reset(OLIVE, ADELE.target, 1)
    office.clock.advance(timedelta(days=3).total_seconds())
    late = await office.reset(ANA, MEGAN, 2)
    opened = await office.noted("session.opened", ANA)

    assert await office.numbers("megan@contoso.com") == [late, late - 1]
    assert await office.numbers("Megan Bowen") == [late, late - 1], "by the name she had, whoever she is now"
    assert await office.numbers(MEGAN.id.upper()) == [late, late - 1]
    assert await office.numbers(f"{1:032x}") == [early, early - 1]
    assert await office.numbers("--action reset-password") == [late, late - 1, early, early - 1]
    assert await office.numbers("@ana --since 1d") == [opened, late, late - 1]
    assert await office.numbers("<@UANA|ana> --since 1d --action reset-password") == [late, late - 1]
    assert await office.numbers("--since 7d --until 2d --action reset-password") == [early, early - 1]
    assert (await office.numbers("Olive Hart"))[:2] == [early, early - 1]


async def test_an_operator_is_found_with_what_was_decided_about_them(office: Office) -> None:
    _, answer = await office.ask("olive@contoso.com")

    assert [(row[2], row[3], row[4]) for row in answer["rows"]] == [
        ("Ana Ruiz", "role granted", "Olive Hart"),
        ("the command line", "account linked", "Olive Hart"),
    ]
    assert answer["title"] == "Audit trail, Olive Hart"


async def test_refusals_break_glass_and_leavers_are_found(office: Office) -> None:
    refused = await office.noted("request.refused", OLIVE, why="grant")
    by_microsoft = await office.reset(OLIVE, ADELE.target, 1, outcome="refused")
    alone = await office.noted("approval.break_glass", ANA)
    reviewed = await office.noted("review.closed", AUDREY)
    urgent = await office.noted("grant.created", emergency=True)
    left = await office.noted("operator.left", operator=office.ids[OLIVE], why="disabled in Entra")
    await office.noted("session.opened", ANA)

    assert await office.numbers("--refused") == [by_microsoft, refused]
    assert await office.numbers("--break-glass") == [urgent, reviewed, alone]
    assert await office.numbers("--leavers") == [left]
    sentence, _ = await office.ask("Ana Ruiz --leavers --since 90m")
    assert sentence == "Audit trail, Ana Ruiz, the last 90 minutes, leavers: nothing found."


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("@nobody", "`@nobody` is no operator of Latchkey"),
        ("nobody@contoso.com", "Neither an operator nor anybody in the directory is called “nobody@contoso.com”"),
    ],
)
async def test_somebody_nobody_knows_is_explained(office: Office, typed: str, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        await office.ask(typed)


# --- Who may do what ------------------------------------------------------------------------------------------------


async def test_who_may_do_what_today_names_role_end_and_who_granted_it(office: Office) -> None:
    sentence, answer = await office.ask("who")

    assert sentence == "3 people may do something today."
    until, now = (office.clock.now() + timedelta(days=90)).isoformat(), office.clock.now().isoformat()
    assert answer["holdings"] == [
        ["Ana Ruiz", "", "tenant-admin", "", "", "the command line", now, ""],
        ["Audrey Shaw", "", "auditor", "", "", "the command line", now, ""],
        ["Olive Hart", "no account linked: may read only", "helpdesk", "", until, "Ana Ruiz", now, ""],
    ]


async def test_who_may_do_one_thing_counts_patterns_and_leaves_out_what_has_ended(office: Office) -> None:
    async def who(typed: str) -> list[str]:
        return [line[0] for line in (await office.ask(f"who {typed}"))[1].get("holdings", [])]

    assert await who("reset password") == ["Ana Ruiz", "Olive Hart"]
    assert await who("/m365-audit") == ["Ana Ruiz", "Audrey Shaw"]

    office.clock.advance(timedelta(days=91).total_seconds())

    assert await who("reset-password") == ["Ana Ruiz"]


async def test_who_may_do_what_can_be_taken_as_a_file(office: Office) -> None:
    await office.ask("who --export csv")

    ((_, name, data),) = office.desk.files
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    assert name == "latchkey-who-may-2026-03-03-0900.csv"
    assert [(row["operator"], row["role"], row["reason"]) for row in rows] == [
        ("Ana Ruiz", "tenant-admin", "the first"),
        ("Audrey Shaw", "auditor", "the first"),
        ("Olive Hart", "helpdesk", "new"),
    ]


# --- Files ----------------------------------------------------------------------------------------------------------


async def test_an_export_is_that_very_selection_and_the_trail_tells_of_it(office: Office) -> None:
    last = await office.reset(OLIVE, MEGAN, 1, microsoft_request_id="r-1")
    await office.noted("session.opened", ANA)

    sentence, answer = await office.ask("megan@contoso.com --export csv")

    ((to, name, data),) = office.desk.files
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    assert to == AUDREY
    assert sentence == "2 rows of the audit trail are in your direct messages as a file."
    assert answer["facts"] == [["Selection", "Megan Bowen"]]
    assert [(row["row"], row["what"], row["operator"], row["target"], row["client_request_id"]) for row in rows] == [
        (str(last - 1), "attempt.started", "Olive Hart", "Megan Bowen", "a1"),
        (str(last), "attempt.finished", "Olive Hart", "Megan Bowen", "a1"),
    ]
    (exported,) = await office.trail.query(limit=1)
    assert exported.record.kind == "audit.exported"
    assert exported.record.operator_id == office.ids[AUDREY]
    assert exported.record.facts == {
        "selection": {"target": MEGAN.id},
        "file": name,
        "rows": 2,
        "older_left_out": False,
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
    }


async def test_json_lines_are_the_sealed_rows_themselves(office: Office) -> None:
    await office.noted("test.noted", text="half a pair: \ud800, and a\nline")

    await office.ask("--export jsonl")

    whole = [line async for line in office.trail.export()]
    ((_, name, data),) = office.desk.files
    assert name.endswith(".jsonl")
    assert data.decode().splitlines() == whole[:-1], "all but the row that tells of the export"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
async def test_no_cell_of_a_file_is_taken_for_a_formula(office: Office, start: str) -> None:
    name = f'{start}HYPERLINK("http://evil.example";"a,b")\n'
    await office.reset(OLIVE, Target(TargetKind.USER, MEGAN.id, name, name), 1)

    await office.ask("--action reset-password --export csv")

    ((_, _, data),) = office.desk.files
    text = data.decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["target"] for row in rows] == [f"'{name}"] * 2
    assert text.count("\r\n") == 3 or start == "\r"
    assert '"' in text


async def test_of_a_selection_that_is_too_long_the_newest_are_taken_and_that_is_said(office: Office) -> None:
    last = await office.reset(OLIVE, MEGAN, 1)
    office.auditing = an_auditing(office.clock, office.trail, office.operators, office.requests, office.desk, most=2)

    _, answer = await office.ask("--export jsonl")

    ((_, _, data),) = office.desk.files
    assert [json.loads(line)["seq"] for line in data.splitlines()] == [last - 1, last]
    assert answer["notes"][0].startswith("There are more: a file holds the newest 2 rows.")
    assert (await office.trail.query(limit=1))[0].record.facts["older_left_out"] is True


async def test_a_file_that_slack_does_not_take_is_said_and_audited(office: Office) -> None:
    office.desk.full = True

    with pytest.raises(NotPossible, match="did not take the file"):
        await office.ask("--export csv")

    failed, exported = await office.trail.query(limit=2)
    assert (exported.record.kind, failed.record.kind) == ("audit.exported", "audit.export_failed")


async def test_nothing_found_is_no_file(office: Office) -> None:
    sentence, _ = await office.ask("--leavers --export csv")

    assert "nothing found, so there is no file" in sentence
    assert office.desk.files == []
    assert json.dumps(sentence)
