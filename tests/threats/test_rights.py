"""Rights that were taken away, have ended, or are not one's own to give (S24, S28, S34): the next decision knows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from bot.clock import SystemClock
from bot.errors import NotPossible, SessionEnded
from bot.model import Author, Call, IdentityKind, RequestState
from bot.wiring import Storage, audit_key, storage
from sandbox.bot_process import BotProcess
from sandbox.directory import SERVICE_ACCOUNT
from sandbox.faults import Delay, Rule
from tests.stage import HELPDESK, SHELL, Stage
from tests.threats.effects import PEOPLE, acted, nothing_done, records, requests_of, settled

RESET_ADELE = "Reset the password of Adele Vance, Sales"

OLIVE = PEOPLE["olive"]


@asynccontextmanager
async def another_process(stage: Stage) -> AsyncIterator[Storage]:
    """The same database opened a second time, as a command at a shell opens it."""
    clock = SystemClock()
    clock.set_offset(stage.world.clock.offset)
    async with storage(stage.config, clock, await audit_key(stage.config, None)) as other:
        yield other


async def filled_in(stage: Stage) -> None:
    await stage.form("olive", '/m365 reset-password adele@contoso.com --reason "locked out"', RESET_ADELE)
    await stage.world.slack.choose("olive", "modal", "How was the caller verified?", "In person")


async def press(stage: Stage) -> str:
    """Press the button that names Adele, and return how it ended."""
    await stage.world.slack.click("olive", "modal", RESET_ADELE)
    await settled(stage.bot)
    request = (await requests_of(stage, "olive", 1))[0]
    assert request.state in {RequestState.REFUSED, RequestState.FAILED}
    return request.sentence


# --- taken away --------------------------------------------------------------------------------------

Taking = Callable[[Stage], Awaitable[None]]


async def revoked(stage: Stage) -> None:
    async with another_process(stage) as other:
        await other.operators.revoke(OLIVE, "helpdesk", by=SHELL, reason="left the team")


async def suspended(stage: Stage) -> None:
    async with another_process(stage) as other:
        await other.operators.suspend(OLIVE, by=SHELL, reason="under investigation")


async def unbound(stage: Stage) -> None:
    async with another_process(stage) as other:
        await other.operators.bind(OLIVE, account_id=None, upn=None, name="Olive Hart", by=SHELL)


async def replaced_by_less(stage: Stage) -> None:
    async with another_process(stage) as other:
        await other.operators.grant(OLIVE, "viewer", by=SHELL, reason="less")
        await other.operators.revoke(OLIVE, "helpdesk", by=SHELL, reason="less")


async def ended(stage: Stage) -> None:
    async with another_process(stage) as other:
        until = other.db.clock.now() + timedelta(minutes=10)
        await other.operators.grant(OLIVE, "helpdesk", by=SHELL, reason="for today", expires_at=until)
    stage.world.clock.advance(11 * 60)


TAKEN: dict[Taking, str] = {
    revoked: "You may not use `/m365 reset-password`",
    suspended: "Your Latchkey access is suspended",
    unbound: "No Microsoft account is linked to you",
    replaced_by_less: "you hold viewer",
    ended: "Your grant of the role helpdesk ended on",
}


@pytest.mark.parametrize("taken", TAKEN, ids=lambda taking: taking.__name__)
async def test_a_right_that_was_taken_away_is_gone_at_the_very_next_command(stage: Stage, taken: Taking) -> None:
    """S34: from another process, with no word to this one."""
    await filled_in(stage)
    await stage.world.slack.close("olive")
    await taken(stage)

    async with nothing_done(stage):
        answer = await stage.ask("olive", '/m365 reset-password adele@contoso.com --reason "locked out"')

    assert TAKEN[taken] in answer
    assert await records(stage, "request.refused", user="U0OLIVE001")


@pytest.mark.parametrize("taken", TAKEN, ids=lambda taking: taking.__name__)
async def test_a_right_that_was_taken_away_between_form_and_press_is_gone_at_the_press(
    stage: Stage, taken: Taking
) -> None:
    """S25, S34: and if the session has ended meanwhile, none is opened for it."""
    await filled_in(stage)
    await stage.ask("ana", "/m365-session off")
    signed_in = len(stage.world.entra.grants("password"))
    await taken(stage)

    async with nothing_done(stage):
        assert TAKEN[taken] in await press(stage)

    assert stage.world.graph.writes() == []
    assert len(stage.world.entra.grants("password")) == signed_in


async def test_lists_and_undo_end_with_the_right_too(stage: Stage) -> None:
    """S34: whatever decides on a person decides anew."""
    slack = stage.world.slack
    await slack.command("olive", HELPDESK, '/m365 reset-password --reason "x"')
    await stage.until(lambda: slack.modal("olive"))
    assert await slack.options("olive", "modal", "Whom", "adele")
    await revoked(stage)

    found = await slack.options("olive", "modal", "Whom", "adele")

    assert not [option for option in found if "Adele" in option["text"]["text"]]


@pytest.mark.slow
async def test_latchkey_revoke_denies_the_very_next_decision_of_a_running_bot(stage: Stage, tmp_path: Path) -> None:
    """S34: the real command, in a process of its own."""
    shell = BotProcess(stage.world.environment(), tmp_path)
    assert "signed out" in str(await _sign_out(stage, "john.smith@contoso.com", "John Smith, Sales"))

    finished = await shell.command("revoke", "U0OLIVE001", "helpdesk", "--reason", "left")
    assert finished.exit_code == 0, finished.output

    async with nothing_done(stage):
        answer = await stage.ask("olive", '/m365 revoke-sessions lee@contoso.com --reason "x"')
    assert "You may not use `/m365 revoke-sessions`" in answer


async def _sign_out(stage: Stage, upn: str, label: str) -> str:
    button = f"Sign {label} out everywhere"
    await stage.form("olive", f'/m365 revoke-sessions {upn} --reason "lost phone"', button)
    await stage.world.slack.click("olive", "modal", button)
    card = await stage.card(0, "signed out")
    await stage.world.slack.close("olive")
    return card.visible_text


# --- given to oneself --------------------------------------------------------------------------------


async def test_nobody_grants_themselves_more_than_they_hold(stage: Stage) -> None:
    """S24: the rule stands in the store, below everything that could ask for it."""
    operators = stage.bot.storage.operators
    olive = operators.rights(OLIVE, "/m365 help").operator
    assert olive is not None

    for role in ("tenant-admin", "operator", "auditor"):
        with pytest.raises(NotPossible, match="Nobody gives or takes more than they hold themselves"):
            await operators.grant(OLIVE, role, by=Author(operator_id=olive.id), reason="please")

    assert operators.rights(OLIVE, "/m365 block-sign-in").grants == ()


@pytest.mark.parametrize(
    "typed",
    [
        "/m365 grant olive tenant-admin",
        "/m365-roles grant @olive tenant-admin",
        "/m365 adopt application",
        "/m365-mode advanced",
        "/m365-session on --role tenant-admin",
    ],
)
async def test_rights_are_not_to_be_had_by_typing(stage: Stage, typed: str) -> None:
    """S24: neither by the help desk nor by commands that are not registered."""
    before = await stage.bot.storage.operators.everyone()
    async with nothing_done(stage):
        said = len(stage.world.slack.ephemerals("olive"))
        await stage.world.slack.command("olive", HELPDESK, typed)
        await stage.until(lambda: stage.world.slack.ephemerals("olive")[said:])

    assert await stage.bot.storage.operators.everyone() == before


@pytest.mark.slow
async def test_a_shell_names_no_third_tenant_admin_and_no_other_identity_without_saying_why(
    stage: Stage, tmp_path: Path
) -> None:
    """S24: after the first set-up it takes --emergency and --reason, and the trail says so."""
    shell = BotProcess(stage.world.environment(), tmp_path)
    for arguments in (
        ("grant", "U0OLIVE001", "tenant-admin"),
        ("grant", "U0OLIVE001", "tenant-admin", "--emergency"),
        ("adopt", "application"),
        ("adopt", "application", "--emergency"),
        ("revoke", "U0OLIVE001", "tenant-admin"),
        ("grant", "olive", "tenant-admin"),
        ("grant", "U0OLIVE001", "emperor"),
        ("grant", "U0OLIVE001", "helpdesk", "--account", "nobody@contoso.com"),
        ("grant", "U0OLIVE001", "helpdesk", "--account", "x' or 1 eq 1"),
    ):
        finished = await shell.command(*arguments)
        assert finished.exit_code == 1, (arguments, finished.output)
        assert "Traceback" not in finished.output
        assert len(finished.output.split()) > 3

    finished = await shell.command("grant", "U0OLIVE001", "tenant-admin", "--emergency", "--reason", "both are ill")

    assert finished.exit_code == 0, finished.output
    assert (await records(stage, "grant.created", role="tenant-admin", emergency=True))[0].facts[
        "reason"
    ] == "both are ill"


async def test_the_last_tenant_admin_stays(stage: Stage) -> None:
    """S24."""
    async with another_process(stage) as other:
        await other.operators.revoke(PEOPLE["ana"], "tenant-admin", by=SHELL, reason="x")
        with pytest.raises(NotPossible, match="is the last tenant admin"):
            await other.operators.revoke(PEOPLE["bo"], "tenant-admin", by=SHELL, reason="x")


# --- riding on a session -----------------------------------------------------------------------------


async def test_a_session_that_one_opened_gives_another_no_rights(stage: Stage) -> None:
    """S28: every action is decided on by itself."""
    await stage.ask("ana", "/m365-session on")

    async with nothing_done(stage):
        assert "You may not use" in await stage.ask("vic", '/m365 reset-password adele@contoso.com --reason "x"')
        assert "not a Latchkey operator" in await stage.ask("nina", "/m365 show-user adele@contoso.com")


async def test_a_session_that_was_ended_leaves_no_token_to_use(stage: Stage) -> None:
    """S28: who holds on to the old right is refused before anything is sent, and the next one signs in anew."""
    await stage.ask("ana", "/m365-session on")
    acting = stage.bot.session.acting()
    assert acting is not None
    await stage.ask("ana", "/m365-session off")
    before, signed_in = acted(stage.world), len(stage.world.entra.grants("password"))

    with pytest.raises(SessionEnded):
        await acting.graph.send(Call("PATCH", ("users", "x"), {"accountEnabled": False}), attempt_id="0")

    assert acted(stage.world) == before
    assert stage.bot.session.acting() is None
    assert "Adele Vance" in await stage.ask("olive", "/m365 show-user adele@contoso.com")
    assert len(stage.world.entra.grants("password")) == signed_in + 1


async def test_what_is_on_its_way_when_the_session_is_ended_is_not_sent(stage: Stage) -> None:
    """S28: ended between the decision and the call."""
    await filled_in(stage)
    slow = stage.world.faults.add(Rule("graph", "GET", "/users/*/transitiveMemberOf", Delay(0.3)))
    await stage.world.slack.click("olive", "modal", RESET_ADELE)
    await stage.ask("ana", "/m365-session off")
    stage.world.faults.remove(slow)
    await settled(stage.bot)

    request = (await requests_of(stage, "olive", 1))[0]
    assert request.state is RequestState.FAILED
    assert "session this began under has ended" in request.sentence
    assert stage.world.graph.writes() == []


async def test_a_session_ends_when_another_account_is_chosen_to_act(stage: Stage) -> None:
    """S28: no session outlives the decision who acts; what comes next acts as the new one."""
    await stage.ask("ana", "/m365-session on")
    worker = stage.world.directory.applications["worker"]
    async with another_process(stage) as other:
        now = await other.settings.current()
        other_one = replace(now, identity_kind=IdentityKind.APPLICATION, identity_id=worker.principal_id)
        await other.settings.change(replace(other_one, identity_name=worker.name), by=SHELL, reason="emergency")
    asked = len(stage.world.graph.requests)

    assert "Adele Vance" in await stage.ask("olive", "/m365 show-user adele@contoso.com")

    callers = {request.caller for request in stage.world.graph.requests[asked:]}
    assert SERVICE_ACCOUNT not in callers
    assert worker.app_id in callers
    assert (await records(stage, "session.ended"))[0].facts["why"] == "Another account was chosen to act."
