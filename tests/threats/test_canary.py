"""Known secrets, looked for wherever they could have ended up (S18), after work that went well and work that did not."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from bot.wiring import audit_key
from sandbox.bot_process import BotProcess
from sandbox.faults import Answer, Drop, Rule
from sandbox.slack import Message, NotOnScreen
from sandbox.world import World
from tests.stage import HELPDESK, SHELL, Stage, open_stage, set_up
from tests.threats.conftest import PATIENT
from tests.threats.log import Log

pytestmark = pytest.mark.asyncio(loop_scope="module")


# --- what is secret ----------------------------------------------------------------------------------


async def secrets(world: World) -> dict[str, str]:
    """Every secret there is in a world by now, with what it is."""
    apps, slack = world.directory.applications, world.slack
    known = {
        "the bot identity's client secret": apps["bot"].secret or "",
        "the service client's secret": apps["service"].secret or "",
        "Slack's signing secret": slack.signing_secret,
        "the bot token": slack.bot_token,
        "the app token": slack.app_token,
        "Slack's verification token": "latchkey-verification-token",
        "the worker's key": re.sub(r"\s", "", world.directory.worker_certificate.pkcs12)[:60],
    }
    for number, password in enumerate(world.directory.passwords):
        known[f"password {number}"] = password
    for number, token in enumerate(world.entra._tokens):
        known[f"token {number}"] = token
    for user in world.directory.latest.users():
        if user.access_pass is not None:
            known[f"the access pass of {user.name}"] = user.access_pass.value
    assert all(len(secret) >= 8 for secret in known.values())
    return known


def found_in(text: str, known: dict[str, str]) -> list[str]:
    """Which secrets stand in *text*, as they are or as JSON and addresses write them."""
    return [what for what, secret in known.items() if any(form in text for form in _forms(secret))]


def _forms(secret: str) -> Iterator[str]:
    yield secret
    yield json.dumps(secret)[1:-1]


def files(folder: Path) -> Iterator[tuple[str, str]]:
    """Every file of an installation but the key itself."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix not in {".key", ".pem", ".crt"}:
            yield path.name, path.read_bytes().decode("latin-1")


# --- work --------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with open_stage(tmp_path_factory.mktemp("canary"), limits=PATIENT) as opened:
        # What the server hands out for one day only must be asked for again and again.
        opened.world.entra.token_lifetime = (600, 601)
        await opened.bot.storage.operators.grant(
            _ana(opened), "operator", by=SHELL, reason="test"
        )
        yield opened


def _ana(stage: Stage) -> object:
    raise NotImplementedError
