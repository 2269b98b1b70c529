"""The page's JSON: only the page itself is answered, and what it sends is what people do."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession

from sandbox.world import World

OPEN_A_FORM = {
    "type": "modal",
    "title": {"type": "plain_text", "text": "Reset a password"},
    "submit": {"type": "plain_text", "text": "Next"},
    "blocks": [
        {
            "type": "input",
            "block_id": "why",
            "label": {"type": "plain_text", "text": "Reason"},
            "element": {"type": "plain_text_input", "action_id": "text"},
        }
    ],
}


class Browser:
    """Speaks to a world's page as the page's own script does."""

    def __init__(self, world: World, session: ClientSession) -> None:
        self.world = world
        self._session = session

    async def get(self, path: str, /, headers: dict[str, str] | None = None, **query: Any) -> ClientResponse:
        return await self._session.get(f"{self.world.url}{path}", params=query, headers=self._with_token(headers))

    async def post(self, path: str, /, headers: dict[str, str] | None = None, **body: Any) -> ClientResponse:
        return await self._session.post(f"{self.world.url}{path}", json=body, headers=self._with_token(headers))

    async def look(self, person: str = "olive", after: int = -1) -> dict[str, Any]:
        response = await self.get("/api/snapshot", person=person, after=after)
        assert response.status == 200, await response.text()
        shot: dict[str, Any] = await response.json()
        return shot

    def _with_token(self, headers: dict[str, str] | None) -> dict[str, str]:
        return {"X-Sandbox-Token": self.world.page.token} if headers is None else headers

    async def call_slack(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Call the Web API as the bot would."""
        token = {"Authorization": f"Bearer {self.world.slack.bot_token}"}
        async with self._session.post(f"{self.world.url}/slack/api/{method}", json=arguments, headers=token) as answer:
            body: dict[str, Any] = await answer.json()
            assert body["ok"], body
            return body


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with World() as world, ClientSession() as session:
        yield Browser(world, session)


def channel(shot: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(channel for channel in shot["channels"] if channel["name"] == name)
    return found


# Who may ask.


async def test_the_page_comes_with_its_token_and_a_policy_that_runs_nothing_else(browser: Browser) -> None:
    response = await browser.get("/", headers={})

    assert response.status == 200
    assert browser.world.page.token in await response.text()
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy


@pytest.mark.parametrize("name", ["page.js", "blocks.js", "page.css", "logo.svg"])
async def test_its_files_are_served_beside_it(browser: Browser, name: str) -> None:
    response = await browser.get(f"/{name}", headers={})

    assert response.status == 200
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", ["server.py", "nothing.js", "..%2f..%2fmanifest.yml"])
async def test_nothing_else_is_served(browser: Browser, name: str) -> None:
    assert (await browser.get(f"/{name}", headers={})).status == 404


@pytest.mark.parametrize("path", ["/api/snapshot", "/api/log", "/api/microsoft"])
@pytest.mark.parametrize("headers", [{}, {"X-Sandbox-Token": "guessed"}], ids=["no token", "a guessed token"])
async def test_another_website_reads_nothing(browser: Browser, path: str, headers: dict[str, str]) -> None:
    assert (await browser.get(path, headers=headers, person="olive")).status == 403


async def test_another_website_changes_nothing(browser: Browser) -> None:
    response = await browser.post("/api/clock", headers={"X-Sandbox-Token": "guessed"}, advance=3600)

    assert response.status == 403
    assert browser.world.clock.offset == 0.0


async def test_a_name_that_resolves_to_this_machine_is_not_enough(browser: Browser) -> None:
    port = browser.world.url.rpartition(":")[2]
    token = {"X-Sandbox-Token": browser.world.page.token}

    assert (await browser.get("/", headers={"Host": f"evil.example:{port}"})).status == 403
    assert (await browser.get("/api/log", headers={"Host": f"evil.example:{port}", **token})).status == 403
    assert (await browser.get("/api/log", headers={"Host": f"localhost:{port}", **token})).status == 200


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff"], ids=["half", "a list", "no text"])
async def test_a_body_that_is_no_object_is_refused_in_words(browser: Browser, body: bytes) -> None:
    token = {"X-Sandbox-Token": browser.world.page.token}
    async with ClientSession() as session, session.post(f"{browser.world.url}/api/say", data=body, headers=token) as no:
        assert no.status == 400
        assert "JSON" in (await no.json())["error"]


@pytest.mark.parametrize("body", [{}, {"person": "olive"}, {"person": "olive", "channel": "#helpdesk", "text": 5}])
async def test_a_request_with_something_missing_is_refused_in_words(browser: Browser, body: dict[str, Any]) -> None:
    response = await browser.post("/api/say", **body)

    assert response.status == 400
    assert (await response.json())["error"]


# What is shown.


async def test_a_person_sees_their_own_workspace(browser: Browser) -> None:
    await browser.call_slack("chat.postMessage", channel="C0HELPDESK", text="for all")
    await browser.call_slack("chat.postEphemeral", channel="C0HELPDESK", user="U0OLIVE001", text="for Olive")

    olive, ana = await browser.look("olive"), await browser.look("ana")

    assert [message["text"] for message in channel(olive, "helpdesk")["messages"]] == ["for all", "for Olive"]
    assert [message["text"] for message in channel(ana, "helpdesk")["messages"]] == ["for all"]
    assert {player["name"] for player in olive["players"]} >= {"olive", "ana", "bo", "audrey", "vic", "gus", "otto"}
    assert "/m365" in {command["command"] for command in olive["commands"]}


async def test_an_outsider_sees_the_shared_channel_only(browser: Browser) -> None:
    shot = await browser.look("otto")

    assert {channel["name"] for channel in shot["channels"] if not channel["is_im"]} == {"partners"}


async def test_a_stranger_to_the_world_is_nobody(browser: Browser) -> None:
    response = await browser.get("/api/snapshot", person="mallory")

    assert response.status == 400
    assert "nobody is called 'mallory'" in (await response.json())["error"]


async def test_the_page_hears_of_a_change_when_it_happens(browser: Browser) -> None:
    before = await browser.look()

    waiting = asyncio.create_task(browser.look(after=before["version"]))
    browser.world.clock.advance(300)
    after = await waiting

    assert after["version"] > before["version"]
    assert after["clock"]["offset"] == 300.0


# What people do.


async def test_a_line_that_is_no_command_is_a_message(browser: Browser) -> None:
    await browser.post("/api/say", person="olive", channel="C0HELPDESK", text="good morning")

    messages = channel(await browser.look("ana"), "helpdesk")["messages"]
    assert [(message["user"], message["text"]) for message in messages] == [("U0OLIVE001", "good morning")]


async def test_a_command_nobody_answers_says_so_to_the_typist_only(browser: Browser) -> None:
    await browser.post("/api/say", person="olive", channel="C0HELPDESK", text="/m365 help")

    told = channel(await browser.look("olive"), "helpdesk")["messages"]
    assert [message["text"] for message in told] == ['/m365 failed with the error "dispatch_failed"']
    assert channel(await browser.look("ana"), "helpdesk")["messages"] == []


async def test_a_press_is_delivered_and_its_failure_told(browser: Browser) -> None:
    button = {"type": "button", "action_id": "go", "value": "1", "text": {"type": "plain_text", "text": "Go"}}
    posted = await browser.call_slack(
        "chat.postMessage",
        channel="C0HELPDESK",
        text="Ready",
        blocks=[{"type": "actions", "block_id": "row", "elements": [button]}],
    )

    where = {"channel": "C0HELPDESK", "ts": posted["ts"]}
    press: dict[str, Any] = {
        "person": "olive",
        "where": where,
        "block_id": "row",
        "action_id": "go",
        "chosen": {},
        "filled": {},
    }
    pressed = await browser.post("/api/use", **press, value="1")

    assert (await pressed.json())["notice"] == "Latchkey could not be reached."
    assert browser.world.slack.deliveries[-1].payload["actions"][0]["action_id"] == "go"

    elsewhere = press | {"block_id": "as it was before it was published anew"}
    assert (await browser.post("/api/use", **elsewhere, value="1")).status == 200
    assert browser.world.slack.deliveries[-1].payload["actions"][0]["block_id"] == "row"
    assert (await browser.post("/api/use", **elsewhere, value="another request")).status == 400


async def test_a_form_keeps_what_is_typed_and_shows_what_is_missing(browser: Browser) -> None:
    await browser.post("/api/say", person="olive", channel="C0HELPDESK", text="/m365 reset-password")
    trigger = browser.world.slack.deliveries[-1].trigger_id
    view = (await browser.call_slack("views.open", trigger_id=trigger, view=OPEN_A_FORM))["view"]["id"]

    await browser.post("/api/submit", person="olive", where={"view": view}, filled={})
    assert (await browser.look())["modal"]["errors"] == {"why": "Please complete this required field."}

    typed = {"why": {"text": {"type": "plain_text_input", "value": "locked out"}}}
    await browser.post("/api/submit", person="olive", where={"view": view}, filled=typed)
    sent = browser.world.slack.deliveries[-1].payload
    assert sent["view"]["state"]["values"] == typed

    await browser.post("/api/close", person="olive")
    assert (await browser.look())["modal"] is None


async def test_what_is_gone_cannot_be_used(browser: Browser) -> None:
    response = await browser.post(
        "/api/use",
        person="olive",
        where={"view": "V0GONE"},
        block_id="b",
        action_id="a",
        value="",
        chosen={},
        filled={},
    )

    assert response.status == 400
    assert (await response.json())["error"] == "This is no longer there."


# What one does to the world.


async def test_time_moves_for_the_world(browser: Browser) -> None:
    await browser.post("/api/clock", advance=28800)

    assert browser.world.clock.offset == 28800.0


@pytest.mark.parametrize("advance", ["soon", None, "nan", "inf"])
async def test_time_moves_by_numbers_only(browser: Browser, advance: Any) -> None:
    response = await browser.post("/api/clock", advance=advance)

    assert response.status == 400
    assert browser.world.clock.offset == 0.0


async def test_a_fault_is_started_and_ended_by_its_name(browser: Browser) -> None:
    await browser.post("/api/fault", name="vault-down", on=True)
    shown = {fault["name"]: fault["active"] for fault in (await browser.look())["faults"]}
    assert shown["vault-down"] is True
    assert browser.world.faults.active() == ["vault-down"]

    await browser.post("/api/fault", name="vault-down", on=False)
    assert browser.world.faults.active() == []
    assert (await browser.post("/api/fault", name="rain", on=True)).status == 400


async def test_a_world_without_a_bot_says_so(browser: Browser) -> None:
    assert (await browser.look())["bot"] == {
        "managed": False,
        "state": "stopped",
        "exit_code": None,
        "connected": False,
    }
    assert (await browser.post("/api/bot", do="start")).status == 400
    assert (await browser.post("/api/redeliver")).status == 400


async def test_the_tenants_own_logs_are_tables(browser: Browser) -> None:
    tables = await (await browser.get("/api/microsoft")).json()

    assert [table["title"] for table in tables] == [
        "Directory audit log",
        "Sign-ins",
        "Graph requests",
        "Key Vault requests",
        "Secrets in Key Vault",
    ]
    assert all(table["columns"][0] == "Time" for table in tables)


async def test_key_vault_shows_what_it_holds_and_no_value(browser: Browser) -> None:
    vault = browser.world.vault
    [born] = vault.versions("latchkey-service-account")
    added = vault.put("latchkey-service-account", "nobody signs in with this", tags={"state": "pending"})
    response = await browser.get("/api/microsoft")

    rows = {row[2]: row[3:] for row in (await response.json())[-1]["rows"]}
    assert rows == {born.id: ["state: current", "yes", "yes"], added.id: ["state: pending", "yes", ""]}
    text = await response.text()
    assert not any(value in text for value in vault.secret_values())


async def test_a_file_is_downloaded_by_whom_it_was_shown_to(browser: Browser) -> None:
    direct = (await browser.call_slack("conversations.open", users="U0AUDREY01"))["channel"]["id"]
    begun = await browser.call_slack("files.getUploadURLExternal", filename="audit.csv", length=8)
    async with ClientSession() as session, session.post(begun["upload_url"], data=b"who,what") as sent:
        assert sent.status == 200
    file = {"id": begun["file_id"], "title": "Audit"}
    await browser.call_slack("files.completeUploadExternal", files=[file], channel_id=direct)

    shared = channel(await browser.look("audrey"), "dm-audrey")["messages"][-1]["files"]
    assert shared == [{**file, "name": "audit.csv", "size": 8}]
    got = await browser.get("/api/file", person="audrey", id=file["id"])
    assert (await got.read(), got.content_type) == (b"who,what", "application/octet-stream")
    assert (await browser.get("/api/file", person="ana", id=file["id"])).status == 400
    assert (await browser.get("/api/file", headers={}, person="audrey", id=file["id"])).status == 403


async def test_somebody_leaves_in_the_tenant_and_in_slack(browser: Browser) -> None:
    async def olive() -> dict[str, Any]:
        found: dict[str, Any] = next(one for one in (await browser.look())["accounts"] if one["name"] == "olive")
        return found

    assert (await olive())["accounts"][0] == {"upn": "olive@contoso.com", "enabled": True}
    await browser.post("/api/account", account="olive@contoso.com", enabled=False)
    await browser.post("/api/person", who="olive", active=False)

    assert (await olive())["accounts"][0]["enabled"] is False
    assert (await olive())["in_slack"] is False
    assert not browser.world.directory.user("olive").enabled
    await browser.post("/api/person", who="olive", active=True)
    assert not browser.world.slack.person("olive").deleted
    assert (await browser.post("/api/account", account="mallory@contoso.com", enabled=True)).status == 400


async def test_microsofts_pages_open_without_a_certificate(browser: Browser) -> None:
    world = browser.world
    await browser.call_slack(
        "chat.postMessage", channel="C0HELPDESK", text=f"<{world.tls_url}/common/oauth2/deviceauth|here>"
    )

    [message] = channel(await browser.look(), "helpdesk")["messages"]
    address = message["text"].strip("<>").partition("|")[0]
    assert address.startswith(f"{world.url}/")
    page = await browser.get(address.removeprefix(world.url), headers={})
    assert page.status == 200
    assert "code" in await page.text()
