"""The account Latchkey works with comes and goes, and the mode is switched: the whole bot against the pretend world."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from bot.model import IdentityKind, Mode, Request, RequestState, SessionState, SlackUser
from sandbox.directory import SERVICE_ACCOUNT
from sandbox.faults import SIGN_IN, Answer, Refuse, Rule
from sandbox.slack import Message
from tests.stage import HELPDESK, TEAM, Stage, open_stage

T = TypeVar("T")

APPROVALS = "#it-approvals"
ACCOUNT = "latchkey@contoso.com"
SECRET = "latchkey-service-account"
SWITCHED = "The way management sessions of Latchkey work was changed"
ANA = SlackUser(TEAM, "U0ANA00001")
MANAGED, MANAGED_CLIENT = "5b7e90aa-20d4-4b6f-8a35-7c2f6a1e94d3", "1f0d3c52-6a47-4f0e-9d59-3a8be4b1c6a2"


@dataclass
class Admins:
    """A stage on which Ana asks, Bo agrees, and one of their administrator accounts signs in."""

    stage: Stage

    async def ask(self, words: str) -> Message:
        """Type `/m365-mode` and some *words*, as far as the question in the approvals channel."""
        slack = self.stage.world.slack
        before = len(slack.messages(APPROVALS))
        await slack.command("ana", HELPDESK, f'/m365-mode {words} --reason "test"')
        return await self.question(before)

    async def agreed(self, words: str, upn: str = "ana.admin@contoso.com") -> Request:
        """Ask, agree, and sign in where that is asked for; the request once it has ended."""
        return await self._agree(await self.ask(words), upn)

    async def _agree(self, card: Message, upn: str = "ana.admin@contoso.com") -> Request:
        await self.stage.world.slack.click("bo", card, "Approve")
        request = await self.in_state(RequestState.AWAITING_CONFIRMATION, RequestState.DONE, RequestState.FAILED)
        if request.state is RequestState.AWAITING_CONFIRMATION:
            await self.sign_in(upn)
        return await self.in_state(RequestState.DONE, RequestState.FAILED)

    async def sign_in(self, upn: str) -> str:
        """Press *Sign in and go on*, sign in with the code; what the window says in the end."""
        world = self.stage.world
        await self.press("Sign in and go on")
        code = (await self.until(lambda: re.findall(r"^[A-Z0-9]{9}$", self.window(), re.MULTILINE)))[0]
        await world.sign_in(world.device_page, upn, code=code)
        world.clock.advance(5)
        await self.until(lambda: code not in self.window())
        return self.window()

    async def press(self, label: str) -> None:
        card = await self.until(lambda: [card for card in self.cards() if f"[{label}]" in card.visible_text])
        await self.stage.world.slack.click("ana", card[-1], label)

    async def row(self) -> Request:
        return (await self.stage.bot.storage.requests.recent(ANA, 1))[0]

    async def in_state(self, *states: RequestState) -> Request:
        while (request := await self.row()).state not in states:  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0)
        return request

    async def forgotten(self, request: Request) -> None:
        """Nothing of the account that signed in for it remains; it goes right after the row says how that ended."""
        while self.stage.bot.signing_in.held_for(request.id) is not None:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)

    async def until(self, look: Callable[[], T]) -> T:
        return await self.stage.until(look)

    async def question(self, before: int) -> Message:
        """The newest question in the approvals channel, after the first *before* messages."""

        def found() -> list[Message]:
            cards = self.stage.world.slack.messages(APPROVALS)[before:]
            return [card for card in cards if "Approval wanted" in card.visible_text]

        return (await self.until(found))[-1]

    async def press_and_agree(self, label: str) -> Request:
        """Press a button of the card, agree to what that asks for, and sign in for it; the request once it ended."""
        before = len(self.stage.world.slack.messages(APPROVALS))
        await self.press(label)
        return await self._agree(await self.question(before))

    def cards(self) -> list[Message]:
        return list(self.stage.world.slack.messages(HELPDESK))

    def text(self, channel: str, since: int = 0) -> str:
        return "\n".join(message.visible_text for message in self.stage.world.slack.messages(channel)[since:])

    async def says(self, words: str) -> None:
        """Wait until the channel, or Latchkey to Ana alone, says so."""
        slack = self.stage.world.slack
        await self.until(
            lambda: any(words in message.visible_text for message in (*self.cards(), *slack.ephemerals("ana")))
        )

    def window(self) -> str:
        windows = self.stage.world.slack.modals("ana")
        return windows[-1].visible_text if windows else ""

    def roles_of(self, upn: str) -> set[str]:
        directory = self.stage.world.directory
        user = directory.latest.user(upn)
        return {directory.roles[one.role_id].name for one in directory.latest.active_roles(user.id)} if user else set()

    def stored(self, account: str = ACCOUNT) -> dict[str, str]:
        """The enabled passwords of an account, by state."""
        versions = self.stage.world.vault.versions(SECRET)
        return {v.tags["state"]: v.value for v in versions if v.enabled and v.tags.get("account") == account}


LEAST = {
    "Authentication Administrator",
    "Groups Administrator",
    "License Administrator",
    "Directory Readers",
    "Security Reader",
}


@pytest.fixture
async def new(tmp_path: Path) -> AsyncIterator[Admins]:
    async with open_stage(tmp_path, mode=Mode.NONE) as stage:
        yield Admins(stage)


@pytest.fixture
async def advanced(tmp_path: Path) -> AsyncIterator[Admins]:
    async with open_stage(tmp_path) as stage:
        yield Admins(stage)


async def test_the_form_asks_only_for_what_the_mode_that_is_chosen_needs(new: Admins) -> None:
    slack = new.stage.world.slack
    await slack.command("ana", HELPDESK, "/m365-mode advanced --global-administrator")
    await new.until(lambda: "not set up → *advanced*" in new.window())
    assert "Name of the new account" in new.window()
    assert "What becomes of the account" not in new.window()

    await slack.choose("ana", "modal", "Mode", "default")
    await new.until(lambda: "not set up → *default*" in new.window())
    assert "Name of the new account" not in new.window()
    assert "What becomes of the account" not in new.window(), "there is none"

    await slack.choose("ana", "modal", "Mode", "advanced")
    await new.until(lambda: "Global Administrator, for everything" in new.window())


async def test_the_form_back_to_default_asks_what_becomes_of_the_account(advanced: Admins) -> None:
    slack = advanced.stage.world.slack
    await slack.command("ana", HELPDESK, "/m365-mode default --name latchkey@contoso.com")
    await advanced.until(lambda: "advanced → *default*" in advanced.window())
    assert "What becomes of the account" in advanced.window()
    assert "Make the new account" not in advanced.window()
    assert "Name of the new account" in advanced.window(), "what was typed is not hidden"


async def test_the_first_switch_makes_the_account_gives_it_the_least_and_opens_its_session(new: Admins) -> None:
    card = await new.ask("advanced")
    for words in (f"{ACCOUNT}, new", "Authentication Administrator, to block", "nothing of that"):
        assert words in card.visible_text
    first = card.visible_text.partition("•")[2].strip()
    assert first.startswith("mode: not set up → advanced"), "what was asked for comes first"
    slack = new.stage.world.slack
    await slack.click("bo", card, "Approve")
    await new.in_state(RequestState.AWAITING_CONFIRMATION)
    assert new.stage.world.graph.writes() == []
    thread = await new.until(
        lambda: [m.visible_text for m in slack.thread(new.cards()[-1]) if "sign in" in m.visible_text]
    )
    assert "Ana Ruiz" in thread[0], "an edited card tells her nothing"
    await new.sign_in("ana.admin@contoso.com")
    request = await new.in_state(RequestState.DONE, RequestState.FAILED)

    assert request.sentence == SWITCHED
    assert new.roles_of(ACCOUNT) == LEAST
    assert new.stored() == {"current": new.stage.world.directory.password_of(ACCOUNT)}
    settings = await new.stage.bot.storage.settings.current()
    assert (settings.mode, settings.identity_name, settings.identity_kind) == (
        Mode.ADVANCED,
        ACCOUNT,
        IdentityKind.SERVICE_ACCOUNT,
    )
    session = new.stage.bot.session.current
    assert session.state is SessionState.ON
    assert session.identity is not None
    assert session.identity.name == ACCOUNT
    await new.forgotten(request)
    titles = [step.title for step in request.steps]
    assert titles[-4:-1] == ["Saving the mode", "Turning the old session off", "Opening the new session"]
    assert request.steps[-2].detail.startswith("Management session on until ")
    done = await new.until(lambda: [text for text in [new.text(HELPDESK)] if "User consent" in text])
    assert "ana.admin@contoso.com signed in for this" in done[0]
    assert f"{ACCOUNT} can do now: add a person to a group" in done[0]
    secret = new.stored()["current"]
    assert secret not in new.stage.world.slack.history_text()
    assert len(secret) == 16


async def test_an_account_without_the_roles_for_it_is_refused_with_words(new: Admins) -> None:
    card = await new.ask("advanced")
    await new.stage.world.slack.click("bo", card, "Approve")

    assert "it is no Global Administrator, or a User Administrator." in await new.sign_in("bo.admin@contoso.com")
    assert (await new.row()).state is RequestState.AWAITING_CONFIRMATION
    assert new.stage.world.graph.writes() == []


@pytest.mark.slow
async def test_undo_takes_all_of_it_away_again(new: Admins) -> None:
    await new.agreed("set-up")
    assert new.roles_of(ACCOUNT) == LEAST
    request = await new.press_and_agree("Undo")

    assert request.sentence == "The account Latchkey worked with was retired"
    assert new.stage.world.directory.latest.user(ACCOUNT) is None
    latest = new.stage.world.directory.latest
    assert all(latest.exists(assignment.principal_id) for assignment in latest.assignments())
    assert new.stored() == {}
    assert (await new.stage.bot.storage.settings.current()).identity_name is None


@pytest.mark.slow
@pytest.mark.parametrize("fate", ["kept", "disabled", "removed"])
async def test_back_to_default_the_account_is_kept_disabled_or_removed(advanced: Admins, fate: str) -> None:
    world = advanced.stage.world
    await advanced.stage.reset("olive", "adele@contoso.com", "Adele Vance, Sales")
    generation = advanced.stage.bot.session.current.generation
    request = await advanced.agreed(f"default --account {fate}")

    assert request.state is RequestState.DONE, request.sentence
    settings = await advanced.stage.bot.storage.settings.current()
    assert settings.mode is Mode.DEFAULT
    session = advanced.stage.bot.session.current
    assert session.state is SessionState.OFF
    assert session.generation > generation
    account = world.directory.latest.user(SERVICE_ACCOUNT)
    match fate:
        case "kept":
            assert account is not None
            assert account.enabled
        case "disabled":
            assert account is not None
            assert not account.enabled
            assert settings.identity_name == SERVICE_ACCOUNT
            back = await advanced.agreed("advanced")
            assert back.state is RequestState.DONE, back.sentence
            assert world.directory.user(SERVICE_ACCOUNT).enabled
            assert advanced.stage.bot.session.current.state is SessionState.ON
        case _:
            assert account is None
            assert settings.identity_name is None
            assert not [version for version in world.vault.versions(SECRET) if version.enabled]
            again = await advanced.agreed("advanced")
            assert again.state is RequestState.DONE, again.sentence
            assert advanced.stored() == {"current": world.directory.password_of(ACCOUNT)}


async def test_auto_enable_alone_changes_only_that_and_what_is_so_already_is_said(advanced: Admins) -> None:
    request = await advanced.agreed("--auto-enable off")
    assert request.state is RequestState.DONE
    settings = await advanced.stage.bot.storage.settings.current()
    assert (settings.mode, settings.auto_enable) == (Mode.ADVANCED, False)
    assert "• auto-enable: on → off" in await advanced.until(lambda: advanced.text(HELPDESK))

    before = len(advanced.stage.world.slack.messages(APPROVALS))
    await advanced.stage.world.slack.command("ana", HELPDESK, '/m365-mode advanced --reason "again"')
    await advanced.until(lambda: "Advanced mode, auto-enable off" in advanced.text(HELPDESK))
    assert len(advanced.stage.world.slack.messages(APPROVALS)) == before

    assert f"Advanced mode: Latchkey works with {SERVICE_ACCOUNT}" in await advanced.stage.ask("ana", "/m365-mode")


BLOCKED = Rule("entra", SIGN_IN, "latchkey@*", Refuse(53003))
"""A policy that does not let the new account in."""


async def test_a_step_that_fails_says_what_is_there_now_and_is_retried(new: Admins) -> None:
    world = new.stage.world
    world.faults.add(BLOCKED)
    failed = await new.agreed("set-up")

    assert failed.state is RequestState.FAILED
    assert failed.sentence.startswith(f"2 of 10 steps are done. The next one, “Signing in as {ACCOUNT}”, failed: ")
    assert "policy" in failed.sentence
    assert new.stored() == {"pending": world.directory.password_of(ACCOUNT)}
    assert new.roles_of(ACCOUNT) == set()

    world.faults.remove(BLOCKED)
    await new.press("Retry step")
    assert (await new.in_state(RequestState.DONE)).id == failed.id
    assert new.roles_of(ACCOUNT) == LEAST
    assert new.stored() == {"current": world.directory.password_of(ACCOUNT)}
    assert world.writes("POST", "/users") == 1


@pytest.mark.slow
async def test_an_administrator_whom_microsoft_refuses_makes_room_for_another(new: Admins) -> None:
    world = new.stage.world
    no = {"error": {"code": "Authorization_RequestDenied", "message": "Insufficient privileges."}}
    world.faults.add(Rule("graph", "POST", "/roleManagement/directory/roleAssignments", Answer(403, no), times=1))
    failed = await new.agreed("set-up")
    assert failed.state is RequestState.FAILED
    assert "4 of 10 steps are done. The next one, “Assigning the role Authentication" in failed.sentence
    assert failed.sentence.endswith(
        "failed: Microsoft does not let ana.admin@contoso.com do this. Sign in with an account that is a Global "
        "Administrator."
    )
    await new.forgotten(failed)

    await new.sign_in("gary@contoso.com")
    assert (await new.in_state(RequestState.DONE)).id == failed.id
    assert new.roles_of(ACCOUNT) == LEAST


@pytest.mark.slow
async def test_what_was_done_before_a_step_failed_is_undone(new: Admins) -> None:
    world = new.stage.world
    world.faults.add(BLOCKED)
    failed = await new.agreed("advanced")
    assert failed.state is RequestState.FAILED
    assert (await new.press_and_agree("Undo what was done")).state is RequestState.DONE

    assert world.directory.latest.user(ACCOUNT) is None
    assert new.stored() == {}
    assert (await new.stage.bot.storage.settings.current()).mode is Mode.NONE


@pytest.mark.slow
async def test_a_session_that_does_not_open_leaves_a_switch_that_the_next_step_completes(advanced: Admins) -> None:
    world = advanced.stage.world
    assert (await advanced.agreed("default")).state is RequestState.DONE
    world.faults.start("wrong-password")
    failed = await advanced.agreed("advanced")
    assert failed.state is RequestState.FAILED
    assert failed.sentence.startswith("2 of 3 steps are done. The next one, “Opening the new session”, failed: ")
    assert (await advanced.stage.bot.storage.settings.current()).mode is Mode.ADVANCED

    world.faults.stop("wrong-password")
    world.clock.advance(15 * 60 + 1)  # until then nobody guesses again
    assert "Retail Manager" in await advanced.stage.ask("olive", "/m365 show-user adele@contoso.com")
    await advanced.press("Retry step")
    assert (await advanced.in_state(RequestState.DONE)).sentence == SWITCHED


@pytest.mark.slow
async def test_an_account_that_is_there_is_taken_with_a_new_password_and_the_roles_it_lacks(new: Admins) -> None:
    world = new.stage.world
    before = world.directory.password_of(SERVICE_ACCOUNT)
    card = await new.ask(f"set-up --adopt --name {SERVICE_ACCOUNT}")
    for words in (
        "there since",
        "The password of",
        "User Administrator, which it does not need",
        "Security Reader, to",
    ):
        assert words in card.visible_text
    await world.slack.click("bo", card, "Approve")
    await new.in_state(RequestState.AWAITING_CONFIRMATION)
    await new.sign_in("ana.admin@contoso.com")

    assert (await new.in_state(RequestState.DONE, RequestState.FAILED)).state is RequestState.DONE
    assert world.directory.password_of(SERVICE_ACCOUNT) != before
    assert new.stored(SERVICE_ACCOUNT) == {"current": world.directory.password_of(SERVICE_ACCOUNT)}
    assert "Security Reader" in new.roles_of(SERVICE_ACCOUNT)

    assert (await new.press_and_agree("Undo")).state is RequestState.DONE
    assert not world.directory.user(SERVICE_ACCOUNT).enabled
    assert "Security Reader" not in new.roles_of(SERVICE_ACCOUNT)
    assert "User Administrator" in new.roles_of(SERVICE_ACCOUNT), "it held that before"


@pytest.mark.slow
async def test_a_managed_identity_is_set_up_without_any_secret_and_opens_a_session(tmp_path: Path) -> None:
    async with open_stage(tmp_path, mode=Mode.NONE, worker_client_id=MANAGED_CLIENT) as stage:
        admins = Admins(stage)
        managed = await admins.agreed(f"set-up --kind managed-identity --name {MANAGED}")
        assert managed.state is RequestState.DONE, managed.sentence
        assert (await admins.agreed("advanced")).state is RequestState.DONE
        session = stage.bot.session.current
        assert session.state is SessionState.ON
        assert session.identity is not None
        assert (session.identity.kind, session.identity.id) == (IdentityKind.MANAGED_IDENTITY, MANAGED)
        assert "Retail Manager" in await stage.ask("olive", "/m365 show-user adele@contoso.com")
        assert admins.stored() == {}

        held = len([one for one in stage.world.directory.latest.assignments() if one.principal_id == MANAGED])
        assert (await admins.agreed("remove --then removed --roles none")).state is RequestState.DONE
        assert (await stage.bot.storage.settings.current()).identity_name is None
        assert len([one for one in stage.world.directory.latest.assignments() if one.principal_id == MANAGED]) == held


async def test_what_cannot_be_set_up_is_refused_before_anybody_is_asked(new: Admins) -> None:
    slack = new.stage.world.slack
    for words, why in (
        (f"set-up --name {SERVICE_ACCOUNT}", f"There is an account {SERVICE_ACCOUNT} already"),
        ("set-up --name latchkey@elsewhere.example", "cannot be a user name of this organisation"),
        ("set-up --adopt --name isaiah@contoso.com", "is synced from on-premises"),
        ("set-up --adopt --name nobody@contoso.com", "There is no account nobody@contoso.com"),
        ("set-up --adopt --name olive@contoso.com", "is the own account of Olive Hart"),
        ("set-up --kind managed-identity --name 0b1f6d1e-0000-4000-8000-000000000001", "no managed identity"),
        ("remove", "works with no account of its own"),
        ("remove --then removed --name adele@contoso.com", "is no account that Latchkey works with, or ever set up"),
    ):
        await slack.command("ana", HELPDESK, f'/m365-mode {words} --reason "test"')
        await new.says(why)
    assert not slack.messages(APPROVALS)
    assert "You may not use" in await new.stage.ask("olive", "/m365-mode advanced")
