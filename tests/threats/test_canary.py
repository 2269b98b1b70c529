"""Known secrets, looked for wherever they could have ended up (S18), after work that went well and that did not."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from bot.config import read_config
from sandbox.bot_process import BotProcess
from sandbox.directory import SERVICE_ACCOUNT
from sandbox.faults import Answer, Drop, Effect, Faults, Rule
from sandbox.slack import NotOnScreen
from sandbox.world import World
from tests.stage import HELPDESK, Stage, open_stage, set_up
from tests.stage import environment as environment_of
from tests.threats.log import Log
from tests.threats.talking import PATIENT

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUICK = {"wrong-password", "vault-forbidden", "graph-down"}
FAULTS = tuple(kind.name for kind in Faults().catalogue())


# --- what is secret ----------------------------------------------------------------------------------


def secrets(world: World) -> dict[str, str]:
    """Every secret there is in a world by now, with what it is."""
    apps, slack = world.directory.applications, world.slack
    known = {
        "the bot identity's client secret": apps["bot"].secret or "",
        "the service client's secret": apps["service"].secret or "",
        "the sign-in client's secret": apps["signin"].secret or "",
        "the worker's private key": world.directory.worker_certificate.pkcs12[200:260],
        "Slack's signing secret": slack.signing_secret,
        "the bot token": slack.bot_token,
        "the app token": slack.app_token,
        "Slack's verification token": "latchkey-verification-token",
    }
    known |= {f"password {number}": password for number, password in enumerate(world.directory.passwords)}
    known |= {f"token or code {number}": value for number, value in enumerate(world.entra.given_out)}
    for user in world.directory.latest.users():
        if user.access_pass is not None:
            known[f"the access pass of {user.name}"] = user.access_pass.value
    assert all(len(secret) >= 8 for secret in known.values())
    return known


def found_in(text: str, known: dict[str, str]) -> list[str]:
    """Which secrets stand in *text*, as they are or as JSON writes them."""
    return [what for what, secret in known.items() if secret in text or json.dumps(secret)[1:-1] in text]


def files(folder: Path) -> Iterator[tuple[str, str]]:
    """Every file of an installation but the keys themselves."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "audit.key" and "tls" not in path.parts:
            yield path.name, path.read_bytes().decode("latin-1")


def hits(world: World, log: str) -> list[str]:
    """Where secrets are that should be nowhere: files, log, and all that Slack ever stored or was told but windows."""
    known = secrets(world)
    spoken = [call for call in world.slack.calls() if not call.method.startswith("views.")]
    places = {
        **dict(files(world.state)),
        "the log": log,
        "Slack's history": world.slack.history_text(),
        "calls to Slack": json.dumps([dict(call.arguments) for call in spoken], ensure_ascii=False),
        "private metadata": json.dumps(_metadata(world), ensure_ascii=False),
    }
    rights = {"the address of a connection": "/slack/socket/", "a response URL": "/slack/response/"}
    found = [f"{what} in {place}" for place, text in places.items() for what in found_in(text, known)]
    return found + found_in(log, rights)


def _metadata(world: World) -> list[str]:
    return [str(record.content.get("private_metadata")) for record in world.slack.history if record.kind == "modal"]


# --- work --------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def works(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with open_stage(tmp_path_factory.mktemp("canary"), limits=PATIENT) as opened:
        yield opened


async def work(stage: Stage) -> None:
    """A day's work, as far as it can be done; whatever fails is tried again once."""
    slack = stage.world.slack
    stage.world.clock.advance(1000)
    before = len(slack.messages(HELPDESK))
    await slack.command("ana", HELPDESK, "/m365-session off")
    await slack.command("olive", HELPDESK, "/m365 show-user adele@contoso.com")
    await over(stage)
    await confirm(stage, "olive", "reset-password adele@contoso.com", "Reset the password of Adele Vance, Sales")
    await confirm(stage, "olive", "reset-password isaiah@contoso.com", "Reset the password of Isaiah Langer, Sales")
    pass_button = "Give Lee Gu, Engineering a temporary access pass"
    await confirm(stage, "ana", "temporary-access-pass lee@contoso.com", pass_button)
    for card in slack.messages(HELPDESK)[before:]:
        for person in ("olive", "ana"):
            for button in ("Reveal once", "Try again"):
                try:
                    await slack.click(person, card, button)
                except NotOnScreen:
                    continue
                await over(stage)
    while slack.modals("olive") or slack.modals("ana"):
        await slack.close("olive" if slack.modals("olive") else "ana")
    await over(stage)


async def confirm(stage: Stage, person: str, what: str, button: str) -> None:
    """Ask for it, fill the form in, and press the button, if it ever gets so far."""
    slack = stage.world.slack
    await slack.command(person, HELPDESK, f'/m365 {what} --reason "locked out"')
    await over(stage)
    try:
        await slack.choose(person, "modal", "How was the caller verified?", "In person")
        await slack.click(person, "modal", button)
    except NotOnScreen:
        return
    await over(stage)


async def over(stage: Stage) -> None:
    """Let the world's clock run, once nothing moves by itself, until nothing is under way and all is said."""
    slack, bot = stage.world.slack, stage.bot
    for _ in range(60):
        under_way = bot.room.front_door._kept or bot.worker._walking
        if not under_way and not await bot.storage.outbox.pending(bot.storage.db.clock.now()):
            return
        version = slack.version
        if await slack.wait_newer(version, 0.03) == version:
            stage.world.clock.advance(5)


# --- where it may be ---------------------------------------------------------------------------------


async def test_after_a_day_without_trouble_secrets_are_in_windows_only_and_once(works: Stage, log: Log) -> None:
    """S18: the log is looked at as the worst administrator would have set it."""
    logging.getLogger().setLevel(logging.DEBUG)
    await work(works)
    world, slack = works.world, works.world.slack

    assert hits(world, log.whole()) == []
    for who in ("adele", "isaiah"):
        shown = [each for each in slack.history if world.directory.password_of(who) in json.dumps(each.content)]
        assert [each.kind for each in shown] == ["modal"]
        assert shown[0].channel_or_person == "U0OLIVE001"
    access_pass = world.directory.user("lee").access_pass
    assert access_pass is not None
    shown = [each for each in slack.history if access_pass.value in json.dumps(each.content)]
    assert [(each.kind, each.channel_or_person) for each in shown] == [("modal", "U0ANA00001")]


@pytest.mark.parametrize(
    "fault", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in FAULTS]
)
async def test_whatever_fails_no_secret_comes_to_light(works: Stage, log: Log, fault: str) -> None:
    """S18: every fault that the sandbox knows, at every service."""
    logging.getLogger().setLevel(logging.DEBUG)
    works.world.faults.start(fault)
    try:
        await work(works)
    finally:
        works.world.faults.stop_all()
    await over(works)

    assert hits(works.world, log.whole()) == []


@pytest.mark.slow
async def test_nor_when_servers_answer_with_what_they_were_sent(works: Stage, log: Log) -> None:
    """S18: a proxy that quotes, an answer cut short, a window that Slack refuses, a connection that ends."""
    logging.getLogger().setLevel(logging.DEBUG)
    password = works.world.directory.password_of(SERVICE_ACCOUNT)
    quoting = {"error": "invalid_grant", "error_description": f"AADSTS50126: wrong: {password}", "error_codes": [50126]}
    refused = {"ok": False, "error": "invalid_arguments", "response_metadata": {"messages": [f"no {password}"]}}
    effects: list[tuple[str, str, str, Effect]] = [
        ("entra", "POST", "*token", Answer(400, quoting)),
        ("entra", "POST", "*token", Answer(200, f'{{"access_token": "{password}", ')),
        ("entra", "POST", "*token", Answer(502, f"<html>{password}</html>")),
        ("entra", "POST", "*token", Drop("after")),
        ("vault", "GET", "/secrets/*", Answer(200, f'{{"value": "{password}", ')),
        ("vault", "GET", "/secrets/*", Answer(403, {"error": {"code": "Forbidden", "message": password}})),
        ("vault", "GET", "/secrets/*", Drop("after")),
        (
            "graph",
            "PATCH|POST",
            "/users/*",
            Answer(400, {"error": {"code": "Request_BadRequest", "message": password}}),
        ),
        ("graph", "PATCH|POST", "/users/*", Answer(200, f'{{"temporaryAccessPass": "{password}", ')),
        ("graph", "PATCH|POST", "/users/*", Drop("after")),
        ("slack", "POST", "/views.update", Answer(200, refused)),
        ("slack", "POST", "/views.open", Answer(200, refused)),
        ("slack", "POST", "/chat.*", Answer(500, password)),
        ("slack", "POST", "/views.update", Drop("after")),
    ]
    for service, method, path, effect in effects:
        rule = works.world.faults.add(Rule(service, method, path, effect))  # type: ignore[arg-type]  # a service's name
        await work(works)
        works.world.faults.remove(rule)
        await over(works)

    assert hits(works.world, log.whole()) == []


# --- the process -------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_running_bot_shows_no_secret_to_who_looks_at_processes(tmp_path: Path) -> None:
    """S18: arguments, children, log, files, core dumps; its environment holds what it was given and nothing more."""
    async with World(state=tmp_path, limits=PATIENT) as world:
        given = world.environment()
        shell = BotProcess(given, tmp_path)
        with environment_of(given):
            await set_up(read_config(), world)
        world.adopt(shell)
        await world.start_bot()
        try:
            await _a_reset(world)
            shown = await asyncio.to_thread(_shown_by_the_system, shell.pid)
        finally:
            await shell.stop()
        log = shell.log_file.read_text()

        known = secrets(world)
        assert found_in(shown["cmdline"], known) == []
        assert shown["children"].split() == []
        made = {what: secret for what, secret in known.items() if secret not in given.values()}
        assert found_in(shown["environ"], made) == []
        assert re.search(r"Max core file size +0 +0 ", shown["limits"])
        assert hits(world, log) == []
        assert all(json.loads(line)["event"] for line in log.splitlines())
        assert "Traceback" not in log


def _shown_by_the_system(pid: int | None) -> dict[str, str]:
    process = Path(f"/proc/{pid}")
    shown = {name: process.joinpath(name).read_text() for name in ("cmdline", "environ", "limits")}
    return {**shown, "children": " ".join(path.read_text() for path in process.glob("task/*/children"))}


async def _a_reset(world: World) -> None:
    slack, button = world.slack, "Reset the password of Adele Vance, Sales"
    await slack.command("olive", HELPDESK, '/m365 reset-password adele@contoso.com --reason "locked out"')
    await slack.until(lambda: f"[{button}]" in slack.modals("olive")[-1].visible_text, timeout=60)
    await slack.choose("olive", "modal", "How was the caller verified?", "In person")
    await slack.click("olive", "modal", button)
    await slack.until(lambda: "[Reveal once]" in slack.messages(HELPDESK)[-1].visible_text, timeout=60)
    await slack.click("olive", slack.messages(HELPDESK)[-1], "Reveal once")
    password = world.directory.password_of("adele")
    await slack.until(lambda: password in slack.modals("olive")[-1].visible_text, timeout=60)
