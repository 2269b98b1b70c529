"""`/m365-rotate` as people use it: the whole bot against the pretend world, from the command to the card."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bot.model import IdentityKind, Mode, Request, RequestState, SessionState
from bot.rotation import State
from sandbox.directory import SERVICE_ACCOUNT
from sandbox.faults import Answer, Rule
from tests.stage import HELPDESK, SHELL, open_stage
from tests.test_set_up import ANA, SECRET, Admins

ROTATED = "The credential Latchkey signs in with was rotated"


class Rotating(Admins):
    """A stage on which Ana rotates, and Bo agrees where that is asked for."""

    async def type(self, words: str, person: str = "ana") -> None:
        await self.stage.world.slack.command(person, HELPDESK, f'/m365-rotate {words} --reason "test"')

    async def done(self, words: str) -> Request:
        """Type it and wait until it rests, whatever time that takes in the world."""
        storage = self.stage.bot.storage
        before = await storage.requests.recent(ANA, 1)
        await self.type(words)
        while await storage.requests.recent(ANA, 1) == before:  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0)
        return await self.rested()

    async def rested(self) -> Request:
        """Ana's last request, once it is over or waits for somebody. Proofs have half a minute between them."""
        looks = 0
        while not _rests(request := await self.row()):
            looks += 1
            if looks % 50 == 0:
                self.stage.world.clock.advance(5)
            await asyncio.sleep(0)
        return request

    def by_state(self) -> dict[str, str]:
        """The enabled passwords, the newest of each state."""
        found: dict[str, str] = {}
        for version in self.stage.world.vault.versions(SECRET):
            if version.enabled:
                found[version.tags.get("state", State.CURRENT.value)] = version.value  # they come oldest first
        return found

    @property
    def password(self) -> str:
        return self.stage.world.directory.password_of(SERVICE_ACCOUNT)

    async def card(self, words: str) -> str:
        return (await self.stage.card(0, words)).visible_text


def _rests(request: Request) -> bool:
    return request.state.final or request.state in {RequestState.AWAITING_APPROVAL, RequestState.AWAITING_CONFIRMATION}


@pytest.fixture
async def admins(tmp_path: Path) -> AsyncIterator[Rotating]:
    async with open_stage(tmp_path) as stage:
        yield Rotating(stage)


async def test_now_changes_the_password_step_by_step_and_needs_nobody_while_no_session_is_on(admins: Rotating) -> None:
    before = admins.password
    request = await admins.done("now")

    assert (request.state, request.sentence) == (RequestState.DONE, ROTATED)
    assert admins.password != before
    assert admins.by_state() == {"current": admins.password, "previous": before}
    assert request.approval is None
    titles = [step.title for step in request.steps]
    assert titles == [
        "Checking which password signs in",
        "Storing a new password in Key Vault",
        "Putting it in force at Microsoft",
        "Proving it by signing in, twice",
        "Making it the current one",
        "Renewing the management session",
        "Reading it back",
    ]
    card = await admins.card(ROTATED)
    assert "Step by step: " in card
    assert "The next rotation by schedule: " in card
    assert admins.password not in admins.text(HELPDESK)


# --- now ------------------------------------------------------------------------------------------------------------


async def test_while_a_session_is_on_somebody_else_has_to_agree_and_reads_why(admins: Rotating) -> None:
    await admins.stage.ask("ana", "/m365-session on")
    request = await admins.done("now")
    assert request.state is RequestState.AWAITING_APPROVAL
    question = await admins.question(0)
    assert "The management session is on, and is signed in anew by this;" in question.visible_text
    assert "password of svc-latchkey" in question.visible_text

    await admins.stage.world.slack.click("bo", question, "Approve")
    await admins.in_state(RequestState.READY, RequestState.RUNNING, RequestState.DONE)
    done = await admins.rested()

    assert (done.state, done.sentence) == (RequestState.DONE, ROTATED)
    assert admins.stage.bot.session.current.state is SessionState.ON, "nobody noticed"


async def test_help_desk_is_refused_and_told_whom_to_ask(admins: Rotating) -> None:
    before = admins.password
    for words in ("now", "back", "drill", "recover"):
        said = await admins.stage.ask("olive", f'/m365-rotate {words} --reason "test"')
        assert f"You may not use `/m365-rotate {words}`" in said
        assert "Ask " in said
    assert "You may not use `/m365-rotate status`" in await admins.stage.ask("olive", "/m365-rotate")
    assert admins.password == before


async def test_help_lists_each_command_and_what_somebody_may_not(admins: Rotating) -> None:
    said = await admins.stage.ask("ana", "/m365-rotate help")
    lines = [line for line in said.splitlines() if "/m365-rotate" in line]
    assert len(lines) == 7
    assert any("`/m365-rotate back`  Give up a new password that waits" in line for line in lines)
    assert "Not available to you" not in said

    refused = await admins.stage.ask("olive", "/m365-rotate help")
    assert "Not available to you" in refused
    assert "Your roles do not include it" in refused


async def test_what_could_not_go_on_says_what_holds_and_goes_on_at_the_step_that_failed(admins: Rotating) -> None:
    before = admins.password
    refuses = admins.stage.world.faults.add(Rule("graph", "POST", "/me/changePassword", Answer(503)))
    stopped = await admins.done("now")
    assert stopped.state is RequestState.FAILED
    assert stopped.sentence.startswith(
        "2 of 6 steps are done. The next one, “Putting it in force at Microsoft”, failed"
    )
    assert "Nothing is broken yet" in stopped.sentence
    assert "Latchkey tries again by itself on " in stopped.sentence
    assert admins.password == before

    admins.stage.world.faults.remove(refuses)
    await admins.press("Retry step")
    await admins.in_state(RequestState.RUNNING, RequestState.DONE)
    done = await admins.rested()

    assert (done.state, done.sentence) == (RequestState.DONE, ROTATED)
    assert admins.by_state()["current"] == admins.password != before


# --- back -----------------------------------------------------------------------------------------------------------


async def stopped_with_a_new_one(admins: Rotating) -> str:
    """A rotation that stored a new password and could not go on; that password."""
    admins.stage.world.faults.add(Rule("graph", "POST", "/me/changePassword", Answer(503)))
    assert (await admins.done("now")).state is RequestState.FAILED
    admins.stage.world.faults.stop_all()
    return admins.by_state()["pending"]


async def test_back_gives_the_new_one_up_for_good(admins: Rotating) -> None:
    before = admins.password
    new = await stopped_with_a_new_one(admins)
    done = await admins.done("back")

    assert (done.state, done.sentence) == (
        RequestState.DONE,
        "The new credential of Latchkey was given up; the one in force stays",
    )
    assert admins.by_state() == {"current": before, "refused": new}
    assert admins.password == before
    again = await admins.done("back")
    assert again.sentence == "No new password waits, so there is nothing to take back."


async def test_what_is_in_force_already_cannot_be_taken_back_and_is_finished_instead(admins: Rotating) -> None:
    new = await stopped_with_a_new_one(admins)
    admins.stage.world.directory.set_password(SERVICE_ACCOUNT, new)
    refused = await admins.done("back")

    assert refused.state is RequestState.FAILED
    assert "is in force already, so it cannot be taken back. It is the current one now" in refused.sentence
    assert admins.by_state()["current"] == new


# --- drill ----------------------------------------------------------------------------------------------------------


async def test_a_drill_changes_nothing_and_tells_what_took_how_long(admins: Rotating) -> None:
    before, writes = admins.by_state(), admins.stage.world.graph.writes()
    done = await admins.done("drill")

    assert (done.state, done.sentence) == (
        RequestState.DONE,
        "The drill of the rotation for Latchkey is over; nothing was changed",
    )
    card = await admins.card("This was a drill. It went well.")
    assert "storing a new one" in card
    assert "proving it" in card
    assert admins.by_state() == before
    assert admins.stage.world.graph.writes() == writes
    assert "Drill by Ana Ruiz: done in" in await admins.stage.ask("ana", "/m365-rotate history")


async def test_a_drill_that_is_to_fail_posts_an_alert_that_says_so(admins: Rotating) -> None:
    before = admins.by_state()
    done = await admins.done("drill --fail")

    assert done.state is RequestState.DONE
    assert "This was a drill. It failed, as you wished" in await admins.card("This was a drill.")
    slack = admins.stage.world.slack
    alert = await admins.until(lambda: [m for m in slack.messages("#it-alerts") if "DRILL." in m.visible_text])
    assert "Rotation failed." in alert[-1].visible_text
    assert admins.by_state() == before


# --- recover --------------------------------------------------------------------------------------------------------

RECOVERED = "The account Latchkey works with has a new password, and signs in with it"


async def recovered(admins: Rotating, upn: str = "ana.admin@contoso.com") -> Request:
    """Ask for it, agree, sign in; the request as it then rests."""
    asked = await admins.done("recover")
    assert asked.state is RequestState.AWAITING_APPROVAL, asked.sentence
    await admins.stage.world.slack.click("bo", await admins.question(0), "Approve")
    await admins.in_state(RequestState.AWAITING_CONFIRMATION)
    await admins.sign_in(upn)
    await admins.in_state(RequestState.RUNNING, RequestState.DONE, RequestState.FAILED)
    return await admins.rested()


async def test_when_everything_is_lost_an_administrator_signs_in_and_sets_a_new_one(admins: Rotating) -> None:
    world = admins.stage.world
    world.directory.set_password(SERVICE_ACCOUNT, "Somebody-Else-Knows-1")
    world.directory.update_user(SERVICE_ACCOUNT, enabled=False)
    world.vault.delete(SECRET)
    assert "could not be opened" in await admins.stage.ask("ana", "/m365-session on")

    done = await recovered(admins)

    assert (done.state, done.sentence) == (RequestState.DONE, RECOVERED)
    assert [step.title for step in done.steps if not step.key.startswith("read")] == [
        "Storing a new password in Key Vault",
        f"Enabling {SERVICE_ACCOUNT}",
        f"Setting the password of {SERVICE_ACCOUNT}",
        f"Signing in as {SERVICE_ACCOUNT}",
        "Making that password the current one",
        "Opening the management session",
    ]
    assert admins.by_state()["current"] == admins.password != "Somebody-Else-Knows-1"
    assert admins.stage.bot.session.current.state is SessionState.ON
    card = await admins.card("signs in with the new password, and the management session is on")
    assert "ana.admin@contoso.com signed in for this, and Latchkey keeps nothing of that account" in card
    await admins.forgotten(done)


async def test_an_administrator_who_may_not_is_told_who_may(admins: Rotating) -> None:
    no = {"error": {"code": "Authorization_RequestDenied", "message": "Insufficient privileges."}}
    admins.stage.world.faults.add(Rule("graph", "PATCH", "/users/*", Answer(403, no), times=1))
    failed = await recovered(admins)

    assert failed.state is RequestState.FAILED
    assert "1 of 5 steps are done" in failed.sentence
    assert failed.sentence.endswith(
        "Sign in with an account that is a Privileged Authentication Administrator or a Global Administrator."
    )


# --- status, history ------------------------------------------------------------------------------------------------


async def test_status_tells_how_it_is_and_never_what_is_stored(admins: Rotating) -> None:
    await admins.done("now")
    said = await admins.stage.ask("audrey", "/m365-rotate")

    for words in (
        "The password was changed on time, and nothing waits.",
        "*Health*\nWell",
        SERVICE_ACCOUNT,
        "Last changed",
        "Next change",
        "every 7 days, Tuesday to Thursday between 10:00 and 15:00",
        "*The one in force*\nin Key Vault since",
        "*The one before*\nin Key Vault since",
    ):
        assert words in said, words
    for version in admins.stage.world.vault.versions(SECRET):
        assert version.value not in said
    history = await admins.stage.ask("audrey", "/m365-rotate history")
    assert "By Ana Ruiz: done in " in history


async def test_in_default_mode_there_is_nothing_to_rotate(tmp_path: Path) -> None:
    async with open_stage(tmp_path, mode=Mode.DEFAULT) as stage:
        admins = Rotating(stage)
        for words in ("status", "history"):
            assert "so Latchkey has no password to rotate" in await stage.ask("ana", f"/m365-rotate {words}")
        refused = await admins.done("now")
        assert refused.state is RequestState.FAILED
        assert "so Latchkey has no password to rotate" in refused.sentence


@pytest.mark.parametrize(
    ("kind", "words", "says"),
    [
        (IdentityKind.MANAGED_IDENTITY, "now", "managed identity"),
        (IdentityKind.MANAGED_IDENTITY, "recover", "There is nothing to recover"),
        (IdentityKind.APPLICATION, "recover", "which has no password to recover"),
    ],
)
async def test_what_has_no_password_says_so(admins: Rotating, kind: IdentityKind, words: str, says: str) -> None:
    settings = admins.stage.bot.storage.settings
    now = await settings.current()
    await settings.change(replace(now, identity_kind=kind, identity_name="Latchkey worker"), by=SHELL, reason="test")
    refused = await admins.done(words)

    assert refused.state is RequestState.FAILED
    assert says in refused.sentence
