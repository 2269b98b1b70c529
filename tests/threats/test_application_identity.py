"""The bot as an application with a certificate: what it can do, what only an account can, and what nobody may."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from bot.model import IdentityKind, RequestState
from sandbox.bot_process import BotProcess
from sandbox.vault import WORKER_CERTIFICATE_SECRET
from sandbox.world import World
from tests.stage import HELPDESK, SHELL, Stage, open_stage
from tests.threats.effects import nothing_done, requests_of, settled
from tests.threats.talking import PATIENT

ADELE = "Adele Vance, Sales"


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def application(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """The whole bot, acting as the application of the world."""
    async with open_stage(tmp_path_factory.mktemp("application"), limits=PATIENT) as stage:
        worker, settings = stage.world.directory.applications["worker"], stage.bot.storage.settings
        acts = replace(
            await settings.current(),
            identity_kind=IdentityKind.APPLICATION,
            identity_id=worker.principal_id,
            identity_name=worker.name,
        )
        await settings.change(acts, by=SHELL, reason="test")
        yield stage


async def test_it_resets_the_password_of_a_cloud_account(application: Stage) -> None:
    """With its certificate from the vault and nobody's password."""
    world, worker = application.world, application.world.directory.applications["worker"]
    before = world.directory.password_of("adele")

    card = await application.reset("olive", "adele@contoso.com", ADELE)

    assert world.directory.password_of("adele") != before
    assert {request.caller for request in world.graph.writes()} == {worker.app_id}
    assert world.entra.grants("password") == []
    assert [grant.client_id for grant in world.entra.grants("client_credentials")].count(worker.app_id) == 1
    steps = (await application.until(lambda: world.slack.thread(card)))[0].visible_text
    assert "opening it with the application" in steps
    assert "Reading the certificate from Key Vault" in steps


@pytest.mark.parametrize("upn", ["isaiah@contoso.com", "henrietta@contoso.com"])
async def test_a_password_is_not_written_back_by_it_and_the_form_says_where_to_go(application: Stage, upn: str) -> None:
    """Microsoft lets only a signed-in account do that; it is said before anybody has filled anything in."""
    slack = application.world.slack
    await slack.command("olive", HELPDESK, f'/m365 reset-password {upn} --reason "locked out"')
    form = await application.until(lambda: _form(application, "comes from on-premises Active Directory"))

    await slack.close("olive")

    assert "Reset it there" in form
    assert "[Reset the password" not in form
    assert not application.world.writes("POST", f"/users/{application.world.directory.user(upn).id}")


def _form(stage: Stage, words: str) -> str:
    modal = stage.world.slack.modal("olive")
    return modal.visible_text if modal and words in modal.visible_text else ""


@pytest.mark.parametrize("who", ["gary", "pia", "rolf", "cyrus", "chloe", "rita"])
async def test_it_stops_at_protected_accounts_though_microsoft_would_not(application: Stage, who: str) -> None:
    """S10: Entra does not keep an application from administrators, so our guard is the only one."""
    async with nothing_done(application):
        await application.world.slack.command("ana", HELPDESK, f'/m365 block-sign-in {who}@contoso.com --reason "test"')
        await settled(application.bot)

    assert (await requests_of(application, "ana", 1))[0].state is RequestState.REFUSED


async def test_a_certificate_that_cannot_be_used_is_told_in_words(application: Stage) -> None:
    await application.ask("ana", "/m365-session off")
    vault = application.world.vault
    for sound in vault.versions(WORKER_CERTIFICATE_SECRET):
        sound.enabled = False
    vault.put(WORKER_CERTIFICATE_SECRET, "this is no certificate")

    answer = await application.ask("olive", "/m365 show-user adele@contoso.com")

    assert "The certificate in Key Vault cannot be used" in answer


@pytest.mark.slow
async def test_latchkey_adopt_application_makes_a_first_installation_act_so(tmp_path: Path) -> None:
    """From a shell, with the real program, and then the main job."""
    async with World(state=tmp_path, limits=PATIENT) as world:
        bot = BotProcess(world.environment(), tmp_path)
        for arguments in (
            ("grant", "U0OLIVE001", "helpdesk", "--account", "olive@contoso.com"),
            ("adopt", "application"),
        ):
            finished = await bot.command(*arguments)
            assert finished.exit_code == 0, finished.output
        world.adopt(bot)
        await world.start_bot()
        slack, button = world.slack, f"Reset the password of {ADELE}"
        await slack.command("olive", HELPDESK, '/m365 reset-password adele@contoso.com --reason "locked out"')
        await slack.until(lambda: f"[{button}]" in slack.modals("olive")[-1].visible_text, timeout=60)
        await slack.choose("olive", "modal", "How was the caller verified?", "In person")
        await slack.click("olive", "modal", button)
        await slack.until(lambda: "was reset" in slack.messages(HELPDESK)[-1].visible_text, timeout=60)
        await bot.stop()

    assert world.entra.grants("password") == []
    assert {request.caller for request in world.graph.writes()} == {world.directory.applications["worker"].app_id}
