"""The webhook that wakes people, over HTTP: what it sends, where to, and what it makes of the answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from bot.alerts import NotPaged
from bot.config import Config
from bot.errors import ConfigurationError
from bot.microsoft.http import open_http
from bot.model import Alert, Secret, Severity, Trouble
from bot.webhook import Webhook, WebhookTemplate
from bot.wiring import examine
from sandbox.faults import Answer, Drop, Faults, Rule
from sandbox.pager import ROUTING_KEY, Pager
from tests.clock import T0
from tests.sandbox.slack_harness import served
from tests.stage import Stage, open_stage

NASTY = 'He said "stop"\\ ${key} }, "x": {\n'
TROUBLE = Trouble(
    "rotation",
    "r1",
    Severity.SESSIONS_STOP,
    "Sessions will stop: no stored password signs in.",
    NASTY,
    facts=(("Step that failed", NASTY),),
)
ALERT = Alert("a1", TROUBLE, opened_at=T0, acknowledged_by="Ana Ruiz", how="The new password is in force.")
EVENTS = ("trigger", "acknowledge", "resolve")


class Receiver:
    """A pager, and beside it a server that notes what it gets."""

    def __init__(self, url: str, pager: Pager, faults: Faults, http: aiohttp.ClientSession) -> None:
        self.url, self.pager, self.faults, self.http = url, pager, faults, http
        self.heard: list[tuple[str, str, Any]] = []

    def webhook(
        self, template: str = "pagerduty", *, path: str = "/pager/v2/enqueue", key: str = ROUTING_KEY
    ) -> Webhook:
        chosen = WebhookTemplate.named(template)
        return Webhook(self.http, url=f"{self.url}{path}", template=chosen, key=Secret(key), source="contoso")


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    faults = Faults()
    pager, app = Pager(faults), web.Application()
    pager.routes(app)

    async def note(request: web.Request) -> web.Response:
        said = request.headers.get("Authorization", "")
        heard.append((request.raw_path, said, await request.json()))
        return web.json_response({}, status=202)

    app.router.add_post("/v2/alerts{rest:.*}", note)
    async with served(app) as url, open_http() as http:
        receiver = Receiver(url, pager, faults, http)
        heard = receiver.heard
        yield receiver


async def test_pagerduty_wakes_once_however_often_it_is_told(receiver: Receiver) -> None:
    webhook = receiver.webhook()
    states = []
    for event in EVENTS:
        for _ in range(2):
            await webhook.tell(event, ALERT)
        (page,) = receiver.pager.pages.values()
        states.append(page.state)

    assert states == ["triggered", "acknowledged", "resolved"]
    assert (page.wakings, page.key, page.summary) == (1, "latchkey-a1", TROUBLE.headline)
    assert page.payload["custom_details"] == {"why": NASTY, "facts": {"Step that failed": NASTY}}


async def test_opsgenie_is_told_by_alias_with_its_key_in_the_header(receiver: Receiver) -> None:
    webhook = receiver.webhook("opsgenie", path="/v2/alerts", key="genie")
    for event in EVENTS:
        await webhook.tell(event, replace(ALERT, trouble=replace(TROUBLE, headline="x" * 500)))

    paths = [path for path, _, _ in receiver.heard]
    assert paths == [
        "/v2/alerts",
        "/v2/alerts/latchkey-a1/acknowledge?identifierType=alias",
        "/v2/alerts/latchkey-a1/close?identifierType=alias",
    ]
    assert {said for _, said, _ in receiver.heard} == {"GenieKey genie"}
    made, seen, over = (body for _, _, body in receiver.heard)
    assert (made["alias"], made["priority"], len(made["message"]) <= 130) == ("latchkey-a1", "P1", True)
    assert made["details"] == {"Step that failed": NASTY}
    assert (seen["note"], over["note"]) == ("Acknowledged by Ana Ruiz", "The new password is in force.")


async def test_a_template_of_ones_own_is_filled_text_by_text(receiver: Receiver, tmp_path: Path) -> None:
    template = tmp_path / "template.json"
    template.write_text(
        json.dumps(
            {
                "headers": {"Authorization": "Bearer ${key} ${headline}"},
                "trigger": {
                    "path": "/${kind}?q=${why}",
                    "body": {"n": 1, "list": ["${facts} $$", True], "t": "${why}"},
                },
            }
        )
    )
    webhook = receiver.webhook(str(template), path="/v2/alerts", key="k")
    for event in EVENTS:
        await webhook.tell(event, replace(ALERT, trouble=replace(TROUBLE, kind="../a", headline="a\r\nX-Evil: 1")))

    ((path, said, body),) = receiver.heard
    assert path.startswith("/v2/alerts/..%2Fa?q=He%20said%20%22stop%22")
    assert said == "Bearer k a X-Evil: 1"
    assert body == {"n": 1, "list": [f"Step that failed: {NASTY} $", True], "t": NASTY}


@pytest.mark.parametrize(
    "content",
    [
        "not json",
        "[]",
        '{"resolve": {"body": {}}}',
        '{"trigger": {}}',
        '{"trigger": {"body": {}, "url": "https://elsewhere.example"}}',
        '{"trigger": {"path": "@elsewhere.example", "body": {}}}',
        '{"trigger": {"body": {"a": "${password}"}}}',
        '{"trigger": {"body": {"a": "5 $"}}}',
        '{"trigger": {"body": {}}, "headers": {"a": 1}}',
        '{"trigger": {"body": {}}, "method": "GET"}',
    ],
)
def test_a_template_that_cannot_work_is_refused_at_the_start(tmp_path: Path, content: str) -> None:
    template = tmp_path / "template.json"
    template.write_text(content)

    with pytest.raises(ConfigurationError, match="LATCHKEY_ALERT_WEBHOOK_TEMPLATE"):
        WebhookTemplate.named(str(template))


@pytest.mark.parametrize(
    ("effect", "why"),
    [
        (Answer(429, None, {"Retry-After": "90"}), "come back later"),
        (Answer(429, None, {"Retry-After": "soon"}), "come back later"),
        (Answer(500), "it answered 500"),
        (Answer(400), "it answered 400"),
        (Answer(302, None, {"Location": "https://elsewhere.example/"}), "sends us elsewhere"),
        (Drop("after"), "does not answer"),
    ],
)
async def test_what_goes_wrong_is_said_without_the_key(receiver: Receiver, effect: Any, why: str) -> None:
    receiver.faults.add(Rule("pager", "POST", "*", effect, times=1))
    webhook = receiver.webhook()

    with pytest.raises(NotPaged, match=why) as raised:
        await webhook.tell("trigger", ALERT)
    assert ROUTING_KEY not in str(raised.value)
    if "90" in str(effect):
        assert raised.value.wait == timedelta(seconds=90)
    await webhook.tell("trigger", ALERT)
    (page,) = receiver.pager.pages.values()
    assert page.wakings == 1


async def test_a_wrong_key_is_refused(receiver: Receiver) -> None:
    with pytest.raises(NotPaged, match="400"):
        await receiver.webhook(key="wrong").tell("trigger", ALERT)


@pytest.mark.parametrize(
    ("url", "works"),
    [
        ("https://events.pagerduty.com/v2/enqueue", True),
        ("http://127.0.0.1:8000/x", True),
        ("http://events.pagerduty.com/v2/enqueue", False),
        ("https://user:pass@events.pagerduty.com/", False),
        ("https://events.pagerduty.com/?key=1", False),
    ],
)
def test_only_https_or_this_machine_is_told(url: str, works: bool) -> None:
    if works:
        assert Config(alert_webhook_url=url).alert_webhook_url == url
    else:
        with pytest.raises(ValueError, match="alert_webhook_url"):
            Config(alert_webhook_url=url)


# --- In the running bot ---------------------------------------------------------------------------------------------


@pytest.fixture
async def paging(tmp_path: Path) -> AsyncIterator[Stage]:
    async with open_stage(tmp_path, paging=True) as stage:
        yield stage


async def test_doctor_sends_a_test_that_says_it_is_one_and_ends_it(paging: Stage) -> None:
    lines = {line.what: line async for line in examine(paging.config, ())}
    (page,) = paging.world.pager.pages.values()

    assert lines["Webhook"].well
    assert (page.state, page.summary.startswith("TEST")) == ("resolved", True)

    paging.world.faults.add(Rule("pager", "POST", "*", Answer(400)))
    lines = {line.what: line async for line in examine(paging.config, ())}
    assert "LATCHKEY_ALERT_WEBHOOK_URL" in lines["Webhook"].remedy


async def test_the_running_bot_wakes_people_and_its_card_says_when_it_cannot(paging: Stage) -> None:
    slack, pager = paging.world.slack, paging.world.pager
    paging.world.faults.add(Rule("pager", "POST", "*", Answer(503), times=1))
    await paging.bot.alerts.raise_(TROUBLE)
    await paging.until(lambda: "webhook" in slack.messages("#it-alerts")[-1].visible_text)
    assert slack.mentions(slack.messages("#it-alerts")[-1])[:1] == ("!here",)

    paging.world.clock.advance(61)
    await paging.until(lambda: "webhook" not in slack.messages("#it-alerts")[-1].visible_text)
    await paging.bot.alerts.close("rotation", how="The new password is in force.")
    await paging.until(lambda: "Over" in slack.messages("#it-alerts")[-1].visible_text)
    while [page.state for page in pager.pages.values()] != ["resolved"]:
        await paging.world.changes.next().wait()
