"""Paths, filters and addresses in what people type and servers answer (S14, S15, S22) are data, and nothing more."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote

import pytest
import pytest_asyncio
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.errors import BadInput
from bot.microsoft.protocol import Base
from sandbox.faults import Answer, Rule, Service
from sandbox.graph.server import GraphRequest
from tests.stage import HELPDESK, Stage
from tests.threats.effects import MEANWHILE, nothing_done, settled
from tests.threats.knocking import a_command
from tests.threats.talking import last_said

pytestmark = pytest.mark.asyncio(loop_scope="module")

TARGETS = {
    "a way up": "a'/../../groups/1",
    "two dots": "..",
    "one dot": ".",
    "an encoded way up": "%2e%2e%2f%2e%2e%2fgroups",
    "twice encoded": "%252e%252e%252fgroups",
    "an encoded slash": "users%2fadele",
    "a slash": "adele@contoso.com/manager",
    "a backslash": "..\\..\\groups",
    "a question mark": "adele@contoso.com?$expand=*",
    "a fragment": "adele@contoso.com#x",
    "a NUL": "adele@contoso.com%00",
    "a semicolon": "adele@contoso.com;v=1",
    "a header": "adele@contoso.com%0d%0aX-Evil: 1",
    "a real line end": "adele@contoso.com\r\nX-Evil: 1",
    "a key in brackets": "users('adele@contoso.com')",
    "a reference": "$ref",
    "a batch": "$batch",
    "a filter that is true": "x' or 1 eq 1",
    "a filter that is true, closed": "x' or startswith(displayName,'A') or 'a' eq 'a",
    "a filter of an address": "x' or true eq true or 'a@contoso.com",
    "a search": 'x" OR "displayName:A',
    "a search with a backslash": 'x\\" OR "displayName:A',
    "another host": "//evil.example/users",
    "a whole address": "https://evil.example/v1.0/users/adele",
    "an address with our host before the at": "https://graph.microsoft.com@evil.example/",
    "four hundred letters": "a" * 400,
    "a quote": "o'neil@contoso.com",
    "two quotes": "o''neil@contoso.com",
    "a template": "{{config}} ${jndi:ldap://evil.example/x} %s %n",
    "a statement": "'; DROP TABLE operators; --",
}

_READS = re.compile(
    r"/users(/[^/?]+(/(transitiveMemberOf|memberOf/microsoft\.graph\.administrativeUnit))?)?|/subscribedSkus"
)
"""Every address that looking somebody up may lead to. A target is one segment of it, or none."""


def literals(text: str) -> tuple[str, list[str]]:
    """An OData expression with each string literal replaced by `?`, and what the literals hold."""
    found = [match.group(1).replace("''", "'") for match in re.finditer(r"'((?:[^']|'')*)'", text)]
    return re.sub(r"'(?:[^']|'')*'", "?", text), found


_FILTERS = {
    "mail eq ? or proxyAddresses/any(each:each eq ?)",
    "displayName eq ?",
    "principalId eq ?",
}


def only_data(requests: list[GraphRequest]) -> None:
    """Each request has a path of ours and, where it asks for something, one literal where one was meant."""
    for request in requests:
        if request.path in MEANWHILE and not request.query:
            continue
        assert request.method == "GET", request
        path = request.path.partition("?")[0]
        assert _READS.fullmatch(path) or path.startswith(("/groups", "/roleManagement/directory/")), request
        assert "#" not in request.path
        options = parse_qs(request.query, strict_parsing=True) if request.query else {}
        assert set(options) <= {"$select", "$expand", "$filter", "$search", "$top"}, request
        for text in options.get("$filter", []):
            assert literals(text)[0] in _FILTERS, text
        for text in options.get("$search", []):
            assert re.fullmatch(r'"displayName:[^"\\]*"( OR "userPrincipalName:[^"\\]*")?', text), text


@pytest_asyncio.fixture(autouse=True, scope="module", loop_scope="module")
async def session_on(shared: Stage) -> None:
    shared.world.graph.index_lag = 0.0
    await shared.ask("olive", "/m365 show-user adele@contoso.com")


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
@pytest.mark.parametrize("typed", ['show-user "{}"', 'reset-password "{}" --reason x', "show-user {}"])
async def test_a_target_reaches_graph_only_as_data(shared: Stage, typed: str, target: str) -> None:
    """S14, S15: nobody is found by it, and nothing else is read by it."""
    asked = len(shared.world.graph.requests)
    async with nothing_done(shared):
        answer = await last_said(shared, "olive", "/m365 " + typed.format(target))

    only_data(shared.world.graph.requests[asked:])
    assert answer
    assert "Alex" not in answer  # nobody whom a filter that is always true would find


@pytest.mark.parametrize("group", TARGETS.values(), ids=TARGETS.keys())
async def test_a_group_that_was_typed_reaches_graph_only_as_data(shared: Stage, group: str) -> None:
    """S14, S15: the same for an input."""
    asked, quoted = len(shared.world.graph.requests), group.replace('"', "”")
    async with nothing_done(shared):
        typed = f'/m365 add-to-group lee@contoso.com --group "{quoted}" --reason x'
        await shared.world.slack.command("ana", HELPDESK, typed)
        await settled(shared.bot)

    only_data(shared.world.graph.requests[asked:])


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
async def test_what_is_typed_into_a_list_reaches_graph_only_as_data(shared: Stage, target: str) -> None:
    """S15: a search in a form."""
    slack = shared.world.slack
    await slack.command("olive", HELPDESK, '/m365 reset-password --reason "x"')
    await shared.until(lambda: slack.modal("olive"))
    asked = len(shared.world.graph.requests)
    async with nothing_done(shared):
        found = await slack.options("olive", "modal", "Whom", target)
    await slack.close("olive")

    only_data(shared.world.graph.requests[asked:])
    if any(letter.isalnum() for letter in target):  # of no letters at all, everybody's name begins
        assert not [option for option in found if "Alex" in option["text"]["text"]]


@given(st.text(min_size=1, max_size=60))
@settings(max_examples=300, deadline=None)
def _one_segment_in_one_segment_out(text: str) -> None:
    base = Base.parse("https://graph.example/prefix/v1.0")
    try:
        address = base.url(("users", text, "manager"), {"$filter": f"displayName eq '{text}'"})
    except BadInput:
        return
    path, _, query = address.removeprefix("https://graph.example/prefix/v1.0/").partition("?")
    assert [unquote(part) for part in path.split("/")] == ["users", text, "manager"]
    assert query.count("=") == 1
    assert unquote(query) == f"$filter=displayName eq '{text}'"


async def test_whatever_the_text_it_is_one_segment_and_one_value() -> None:
    """S14, S15, over any text."""
    _one_segment_in_one_segment_out()


# --- servers that point elsewhere ----------------------------------------------------------------------


@dataclass
class Trap:
    """A server that is not Microsoft and not Slack; it remembers who came and with what."""

    url: str = ""
    visits: list[str] = field(default_factory=list)


@asynccontextmanager
async def a_trap() -> AsyncIterator[Trap]:
    trap = Trap()

    async def caught(request: web.Request) -> web.Response:
        trap.visits.append(f"{request.method} {request.path} {dict(request.headers)} {await request.text()}")
        return web.json_response({"ok": True, "value": [], "access_token": "planted", "expires_in": 3600})

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", caught)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    trap.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield trap
    finally:
        await runner.cleanup()


NEXT_PAGES = (
    "{trap}/graph/v1.0/users",
    "{graph}@{host}/users",
    "//{host}/users",
    "{graph}/../../evil",
    "{graph}.evil.example/x",
)


@pytest.mark.parametrize("next_page", NEXT_PAGES)
async def test_a_next_page_elsewhere_is_not_asked_for(shared: Stage, next_page: str) -> None:
    """S22: the token goes to the configured address only."""
    async with a_trap() as trap:
        graph = f"{shared.world.tls_url}/graph/v1.0"
        link = next_page.format(trap=trap.url, graph=graph, host=trap.url.removeprefix("http://"))
        page = {"value": [], "@odata.nextLink": link}
        rule = shared.world.faults.add(Rule("graph", "GET", "/users/*/transitiveMemberOf", Answer(200, page)))
        async with nothing_done(shared):
            answer = await shared.ask("ana", '/m365 block-sign-in lee@contoso.com --reason "x"')
        shared.world.faults.remove(rule)

    assert "pointed to another server" in answer
    assert trap.visits == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_of_graphs_is_not_followed(shared: Stage, status: int) -> None:
    """S22."""
    async with a_trap() as trap:
        away = Answer(status, None, {"Location": f"{trap.url}/users/x"})
        rule = shared.world.faults.add(Rule("graph", "*", "/users/*", away))
        async with nothing_done(shared):
            answer = await shared.ask("olive", "/m365 show-user lee@contoso.com")
        shared.world.faults.remove(rule)

    assert answer
    assert "Lee Gu" not in answer
    assert trap.visits == []


@pytest.mark.parametrize(
    ("service", "method", "path"),
    [("vault", "*", "/secrets/*"), ("entra", "POST", "*/oauth2/v2.0/token"), ("entra", "GET", "*userrealm*")],
)
async def test_a_redirect_on_the_way_to_a_sign_in_is_not_followed(
    shared: Stage, service: Service, method: str, path: str
) -> None:
    """S22: neither the bot's own token nor the service account's password leaves for another server."""
    await shared.ask("ana", "/m365-session off")
    async with a_trap() as trap:
        away = Answer(307, None, {"Location": f"{trap.url}/elsewhere"})
        rule = shared.world.faults.add(Rule(service, method, path, away))
        async with nothing_done(shared):
            answer = await shared.ask("olive", "/m365 show-user lee@contoso.com")
        shared.world.faults.remove(rule)
        await shared.ask("olive", "/m365 show-user lee@contoso.com")

    assert answer
    assert "Lee Gu" not in answer
    assert trap.visits == []


async def test_a_vault_that_names_another_authority_has_no_say_in_it_and_does_no_lasting_harm(shared: Stage) -> None:
    """S22: the challenge is an answer, too, and Azure's library remembers it."""
    await shared.ask("ana", "/m365-session off")
    async with a_trap() as trap:
        challenge = f'Bearer authorization="{trap.url}/evil-tenant", resource="https://vault.azure.net"'
        rule = Rule("vault", "*", "/secrets/*", Answer(401, None, {"WWW-Authenticate": challenge}))
        shared.world.faults.add(rule)
        async with nothing_done(shared):
            answer = await shared.ask("olive", "/m365 show-user lee@contoso.com")
        shared.world.faults.remove(rule)
        shared.world.clock.advance(61)  # a session that failed to open is not tried again at once
        afterwards = await shared.ask("olive", "/m365 show-user lee@contoso.com")

    assert "Key Vault" in answer
    assert "Lee Gu" in afterwards
    assert trap.visits == []


@pytest.mark.parametrize("method", ["chat.postMessage", "users.info", "views.open"])
async def test_a_redirect_of_slacks_is_not_followed(shared: Stage, method: str) -> None:
    """S22: the bot's token and people's names stay with Slack."""
    shared.world.clock.advance(61)
    async with a_trap() as trap:
        rule = shared.world.faults.add(
            Rule("slack", "*", f"/{method}", Answer(307, None, {"Location": f"{trap.url}/{method}"}))
        )
        async with nothing_done(shared):
            await shared.world.slack.command("olive", HELPDESK, '/m365 reset-password lee@contoso.com --reason "x"')
            await shared.ask("audrey", "/m365-session status") if method != "users.info" else None
        shared.world.faults.remove(rule)

    assert trap.visits == []


async def test_an_answer_is_not_posted_to_another_address_than_slacks(shared: Stage) -> None:
    """S22: a `response_url` is only an address in a payload. The answer comes another way."""
    before = len(shared.world.slack.ephemerals("olive"))
    async with a_trap() as trap:
        payload = a_command("help", trigger="7.7.response-url", response_url=f"{trap.url}/commands/x")
        await shared.world.slack.deliver("slash_commands", payload)
        await shared.until(lambda: shared.world.slack.ephemerals("olive")[before:])

    assert trap.visits == []
