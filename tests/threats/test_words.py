"""Names and texts from people and from the tenant, in Slack and in the log (S16, S17): shown, never obeyed."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import pytest
import pytest_asyncio

from bot.logs import JsonLines
from sandbox.directory import Directory
from tests.stage import HELPDESK, SHELL, Stage
from tests.threats.effects import PEOPLE, settled
from tests.threats.log import Log

pytestmark = pytest.mark.asyncio(loop_scope="module")

NASTY = {
    "mentions": "<!channel> <!here> <!everyone> <@U0BO000001> <!subteam^S0ADMINS|admins>",
    "links": "<https://evil.example|Approve> https://evil.example/x evil.example",
    "entities": "&lt;!channel&gt; &amp;lt;!channel&amp;gt; &#60;!channel&#62;",
    "layout": "*Done* _by_ ~Ana~ `x` ```y``` > quoted\n• item\n:white_check_mark:",
    "directions": "\u202egnp.exe\u202c \u2066x\u2069 a\u200bb\ufeff",
    "half a tag": "<!chan",
    "a tag around": "> <",
    "endless": "A" * 10_000,
    "a date": "<!date^0^{date}^https://evil.example|soon>",
}

_ALLOWED = re.compile(
    r"<(@[UW][A-Z0-9]{1,30}|!date\^\d+\^\{date_short_pretty\} at \{time\}\|[^<>|]*|#[CG][A-Z0-9]{1,30})>"
)
_DIRECTIONS = re.compile("[\u202a-\u202e\u2066-\u2069\u200b-\u200f\ufeff]")


def marked_up(value: Any) -> Iterator[str]:
    """Every text that Slack reads as mrkdwn: text objects, and a message's own text."""
    if isinstance(value, Mapping):
        if value.get("type") == "mrkdwn":
            yield value["text"]
        for name, inner in value.items():
            if name == "text" and isinstance(inner, str) and value.get("type") not in {"mrkdwn", "plain_text", "text"}:
                yield inner
            else:
                yield from marked_up(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from marked_up(inner)


def inspected(stage: Stage, since: int = 0) -> int:
    """Look at all that was ever shown since; how many texts there were."""
    slack, seen = stage.world.slack, 0
    for record in slack.history[since:]:
        for text in marked_up(record.content):
            seen += 1
            left = _ALLOWED.sub("", text)
            assert "<" not in left, text
            assert ">" not in left.replace("&gt;", ""), text
            assert not _DIRECTIONS.search(text), ascii(text)
    for place in (HELPDESK, slack.direct("olive"), slack.direct("ana")):
        for message in slack.messages(place):
            assert set(slack.mentions(message)) <= {"@U0OLIVE001", "@U0ANA00001"}
    return seen


@pytest_asyncio.fixture(autouse=True, scope="module", loop_scope="module")
async def session_on(shared: Stage) -> None:
    shared.world.graph.index_lag = 0.0
    await shared.ask("olive", "/m365 show-user adele@contoso.com")


async def test_the_tenants_own_nasty_name_goes_through_the_main_job_as_letters(shared: Stage) -> None:
    """S16: the card, its thread, the form, the window of the secret, the audit trail, Home: all of it."""
    slack = shared.world.slack
    since = len(slack.history)
    card = await shared.reset("olive", "evil@contoso.com", "<!channel> *Eve* <https://evil.example|x>, Sales")
    await slack.click("olive", card, "Reveal once")
    await shared.until(lambda: "[I have it]" in slack.modals("olive")[-1].visible_text)
    await slack.close("olive")
    await shared.ask("olive", "/m365 show-user evil@contoso.com")
    await shared.ask("olive", "/m365 can reset-password evil@contoso.com")
    await shared.ask("olive", "/m365 show-user evil")
    await shared.ask("audrey", "/m365-audit")
    await slack.open_home("olive")
    await settled(shared.bot)

    assert inspected(shared, since) > 20
    assert "<!channel>" in card.visible_text  # what it is called, to be read by people


@pytest.mark.parametrize("nasty", NASTY.values(), ids=NASTY.keys())
async def test_a_name_in_the_tenant_is_shown_and_not_obeyed(shared: Stage, nasty: str) -> None:
    """S16."""
    directory, slack = shared.world.directory, shared.world.slack
    since = len(slack.history)
    _rename(directory, "diego", nasty)
    await shared.ask("olive", "/m365 show-user diego@contoso.com")
    await slack.command("ana", HELPDESK, '/m365 add-to-group diego@contoso.com --group "No such group" --reason "x"')
    await slack.command("olive", HELPDESK, '/m365 reset-password diego@contoso.com --reason "x"')
    await settled(shared.bot)
    await slack.close("olive")

    assert inspected(shared, since) > 5


def _rename(directory: Directory, who: str, name: str) -> None:
    attributes = {**directory.user(who).attributes, "jobTitle": name, "department": name[:64], "officeLocation": name}
    directory.update_user(who, name=name, attributes=attributes)


@pytest.mark.parametrize("nasty", NASTY.values(), ids=NASTY.keys())
async def test_what_operators_write_is_shown_and_not_obeyed(shared: Stage, nasty: str) -> None:
    """S16: reasons, tickets and how a caller was verified stand on cards that everybody reads."""
    slack = shared.world.slack
    since, text = len(slack.history), nasty.replace('"', "'").replace("\n", " ")[:400]
    shared.world.clock.advance(1000)
    await slack.command(
        "ana",
        HELPDESK,
        f'/m365 block-sign-in alex@contoso.com --reason "{text}" --ticket "{text[:60]}" --verified "{text}"',
    )
    await settled(shared.bot)
    await slack.command("ana", HELPDESK, "/m365 undo")
    await settled(shared.bot)
    await slack.command("olive", HELPDESK, f'/m365 show-user "{text[:200]}"')
    await slack.command("olive", HELPDESK, f"/m365 {text}")
    await shared.ask("audrey", "/m365-audit")
    await slack.command("olive", HELPDESK, "/m365 reset-password lee@contoso.com")
    await settled(shared.bot)
    await slack.choose("olive", "modal", "Reason", nasty[:500])
    await slack.submit("olive")
    await settled(shared.bot)
    await slack.close("olive")

    assert inspected(shared, since) > 10


@pytest.mark.parametrize("nasty", NASTY.values(), ids=NASTY.keys())
async def test_what_people_call_themselves_in_slack_is_shown_and_not_obeyed(shared: Stage, nasty: str) -> None:
    """S16: for somebody whom our own records have no name for."""
    slack, operators = shared.world.slack, shared.bot.storage.operators
    since = len(slack.history)
    await operators.bind(
        PEOPLE["vic"],
        account_id=shared.world.directory.user("vic").id,
        upn="vic@contoso.com",
        name=None,
        by=SHELL,
    )
    await operators.grant(PEOPLE["vic"], "tenant-admin", by=SHELL, reason="test", emergency=True)
    await slack.change_person("vic", real_name=nasty)
    await shared.ask("vic", "/m365 show-user adele@contoso.com")
    shared.world.clock.advance(1000)
    await slack.command("vic", HELPDESK, '/m365 block-sign-in alex@contoso.com --reason "x"')
    await settled(shared.bot)
    await slack.command("vic", HELPDESK, "/m365 undo")
    await settled(shared.bot)
    await operators.revoke(PEOPLE["vic"], "tenant-admin", by=SHELL, reason="test")

    assert inspected(shared, since) > 5


async def test_in_all_that_was_ever_said_nothing_was_obeyed(shared: Stage) -> None:
    """S16: also in what waited for its turn."""
    outbox, slack = shared.bot.storage.outbox, shared.world.slack
    while await outbox.pending(outbox_time(shared)):
        shared.world.clock.advance(1.0)
        await slack.wait_newer(slack.version, 0.05)

    assert inspected(shared) > 500


def outbox_time(stage: Stage) -> datetime:
    return stage.bot.storage.db.clock.now()


# --- the log -------------------------------------------------------------------------------------------

FORGERIES = (
    'x\n{"at": "2026-01-01", "level": "CRITICAL", "event": "audit trail not sound"}',
    "x\r\nERROR forged",
    "\x1b[2J\x1b[31mred\x1b[0m",
    "x\u2028y\u2029z\x85w",
    '", "level": "CRITICAL", "event": "forged", "x": "',
    "\x00\x07\x08",
)


@pytest.mark.parametrize("forgery", FORGERIES, ids=ascii)
async def test_no_text_becomes_a_line_of_the_log(shared: Stage, log: Log, forgery: str) -> None:
    """S17: commands, targets, reasons, names, forms; the log holds none of them, and each event is one line."""
    slack = shared.world.slack
    _rename(shared.world.directory, "diego", forgery)
    for typed in (
        f"/m365 {forgery}",
        f'/m365 show-user "{forgery}"',
        f'/m365 reset-password diego@contoso.com --reason "{forgery}"',
        f"/m365-audit {forgery}",
        f"/m365-session {forgery}",
    ):
        await slack.command("olive", HELPDESK, typed)
        await settled(shared.bot)
    await shared.ask("olive", "/m365 show-user diego@contoso.com")

    for event in log.events:
        assert event["level"] != "CRITICAL"
        assert "forged" not in json.dumps(event)
        assert "\x1b" not in json.dumps(event, ensure_ascii=False)


@pytest.mark.parametrize("forgery", [*FORGERIES, "\ud800"], ids=ascii)
async def test_whatever_is_logged_is_one_line_of_json(forgery: str) -> None:
    """S17: the format itself, with the text in every place that a record has."""
    record = logging.LogRecord(forgery, logging.INFO, forgery, 1, "%s", (forgery,), None)
    record.note = forgery

    line = JsonLines().format(record)

    assert len(line.splitlines()) == 1
    assert line.isprintable()
    assert json.loads(line)["level"] == "INFO"
    assert json.loads(line)["note"] == forgery
