"""What forms and cards are made of, as one uses it: links, menus of a line, dates, several of many, files."""

from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from playwright.async_api import expect

from sandbox.slack import Delivery
from sandbox.world import World
from tests.browser.conftest import OpenScreen

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


def text(words: str) -> dict[str, str]:
    return {"type": "plain_text", "text": words}


def option(words: str, value: str) -> dict[str, Any]:
    return {"text": text(words), "value": value}


def field(label: str, block_id: str, **element: Any) -> dict[str, Any]:
    return {"type": "input", "block_id": block_id, "label": text(label), "element": {"action_id": "value", **element}}


async def call(world: World, method: str, **arguments: Any) -> dict[str, Any]:
    """Call the Web API as the bot would."""
    token = {"Authorization": f"Bearer {world.slack.bot_token}"}
    async with ClientSession() as session:
        async with session.post(f"{world.url}/slack/api/{method}", json=arguments, headers=token) as answer:
            body: dict[str, Any] = await answer.json()
            assert body["ok"], body
            return body


async def delivered(world: World, action_id: str) -> Delivery:
    """What the bot was told of a press."""

    def found() -> Delivery | None:
        told = [d for d in world.slack.deliveries if d.payload.get("actions", [{}])[0].get("action_id") == action_id]
        return told[-1] if told else None

    delivery = await world.slack.until(found)
    assert delivery is not None
    return delivery


async def test_a_link_opens_beside_the_page_and_is_told_to_the_bot(world: World, open_screen: OpenScreen) -> None:
    ask = {"title": text("Leave?"), "text": text("It is another page."), "confirm": text("Go"), "deny": text("Stay")}
    link = {"type": "button", "text": text("Sign in"), "url": f"{world.url}/logo.svg"}
    row = [
        {**link, "action_id": "link.plain"},
        {**link, "text": text("Ask first"), "action_id": "link.asks", "confirm": ask},
    ]
    await call(world, "chat.postMessage", channel="C0ALERTS01", text="x", blocks=[{"type": "actions", "elements": row}])
    olive = await open_screen("olive")
    await olive.go("it-alerts")

    async with olive.page.context.expect_page() as opened:
        await olive.messages.get_by_role("link", name="Sign in").click()
    assert (await opened.value).url.endswith("/logo.svg")
    await delivered(world, "link.plain")

    question = olive.page.get_by_role("dialog", name="Leave?")
    await olive.messages.get_by_role("link", name="Ask first").click()
    await question.get_by_role("button", name="Stay").click()
    async with olive.page.context.expect_page() as opened:
        await olive.messages.get_by_role("link", name="Ask first").click()
        await question.get_by_role("button", name="Go").click()
    assert (await opened.value).url.endswith("/logo.svg")
    await delivered(world, "link.asks")
    assert (
        len([d for d in world.slack.deliveries if d.payload.get("actions", [{}])[0].get("action_id") == "link.asks"])
        == 1
    )


async def test_a_line_has_its_own_menu(world: World, open_screen: OpenScreen) -> None:
    def line(who: str) -> dict[str, Any]:
        menu = {
            "type": "overflow",
            "action_id": f"more.{who}",
            "options": [option("Revoke", who), option("Extend", "e")],
        }
        return {"type": "section", "text": text(who), "accessory": menu}

    await call(world, "chat.postMessage", channel="C0ALERTS01", text="x", blocks=[line("Olive Hart"), line("Vic Moss")])
    ana = await open_screen("ana")
    await ana.go("it-alerts")
    lines = ana.message("Vic Moss").locator("[data-block=section]")

    await lines.filter(has_text="Vic Moss").get_by_label("More").click()
    await ana.page.keyboard.press("Escape")
    await expect(ana.messages.get_by_role("button", name="Revoke")).to_have_count(0)
    await lines.filter(has_text="Vic Moss").get_by_label("More").click()
    await lines.filter(has_text="Vic Moss").get_by_role("button", name="Revoke").click()

    told = await delivered(world, "more.Vic Moss")
    assert told.payload["actions"][0]["selected_option"]["value"] == "Vic Moss"


async def test_people_places_dates_and_several_of_many_are_filled_in(world: World, open_screen: OpenScreen) -> None:
    public = {"include": ["public"], "exclude_external_shared_channels": True}
    commands = [option(f"/m365 {word}", word) for word in ("one", "two", "three")]
    view = {
        "type": "modal",
        "callback_id": "elements",
        "title": text("Grant a role"),
        "submit": text("Ask for it"),
        "blocks": [
            field("Who", "who", type="users_select"),
            field("Until", "until", type="datepicker"),
            field("Where", "where", type="multi_conversations_select", filter=public),
            field("Commands", "commands", type="multi_static_select", options=commands, max_selected_items=2),
            field("Scope", "scope", type="radio_buttons", options=[option("Everybody", "all"), option("A group", "g")]),
        ],
    }
    bo = await open_screen("bo")
    asked = await world.slack.command("bo", "#helpdesk", "/m365 help")
    opened = await call(world, "views.open", trigger_id=asked.trigger_id, view=view)
    form = bo.form

    await expect(form.get_by_label("Who").get_by_role("option", name="Dora Pike")).to_have_count(0)
    await form.get_by_label("Who").select_option(label="Olive Hart")
    await form.get_by_label("Until").fill("2031-01-31")
    where = form.get_by_role("group", name="Where")
    await expect(where.get_by_role("checkbox")).to_have_count(4)  # neither the private channel nor the shared one
    await where.get_by_label("#helpdesk").check()
    await where.get_by_label("#random").check()
    chosen = form.get_by_role("group", name="Commands")
    await chosen.get_by_label("/m365 one").check()
    await chosen.get_by_label("/m365 three").check()
    await expect(chosen.get_by_label("/m365 two")).to_be_disabled()
    await form.get_by_label("A group").check()
    await form.get_by_role("button", name="Ask for it").click()

    def submitted() -> dict[str, Any] | None:
        sent = [d for d in world.slack.deliveries if d.payload.get("view", {}).get("id") == opened["view"]["id"]]
        return sent[-1].payload["view"]["state"]["values"] if sent else None

    values = await world.slack.until(submitted)
    assert values is not None
    assert values["who"]["value"]["selected_user"] == "U0OLIVE001"
    assert values["until"]["value"]["selected_date"] == "2031-01-31"
    assert values["where"]["value"]["selected_conversations"] == ["C0HELPDESK", "C0RANDOM01"]
    assert [one["value"] for one in values["commands"]["value"]["selected_options"]] == ["one", "three"]
    assert values["scope"]["value"]["selected_option"]["value"] == "g"


async def test_a_file_is_saved_as_it_was_sent(world: World, open_screen: OpenScreen) -> None:
    content = "who,what\nAdele Vance,reset\n"
    direct = (await call(world, "conversations.open", users="U0AUDREY01"))["channel"]["id"]
    begun = await call(world, "files.getUploadURLExternal", filename="audit.csv", length=len(content))
    async with ClientSession() as session, session.post(begun["upload_url"], data=content.encode()) as sent:
        assert sent.status == 200
    file = {"id": begun["file_id"], "title": "Audit of May"}
    await call(world, "files.completeUploadExternal", files=[file], channel_id=direct, initial_comment="Here it is.")
    audrey = await open_screen("audrey")
    await audrey.channels.get_by_role("button", name="Latchkey", exact=True).click()

    async with audrey.page.expect_download() as download:
        await audrey.message("Here it is.").get_by_role("button", name="Audit of May").click()
    saved = await download.value
    assert saved.suggested_filename == "audit.csv"
    assert _read(await saved.path()) == content


async def test_somebody_leaves_by_the_panel(world: World, open_screen: OpenScreen) -> None:
    ana = await open_screen("ana")
    nina = (await ana.open_panel("People")).get_by_role("region", name="Nina Berg")

    await nina.get_by_role("button", name="Disable account").click()
    await nina.get_by_role("button", name="Deactivate in Slack").click()
    await expect(nina).to_contain_text("deactivated in Slack")
    assert not world.directory.user("nina").enabled
    assert world.slack.person("nina").deleted

    await nina.get_by_role("button", name="Enable account").click()
    await nina.get_by_role("button", name="Reactivate in Slack").click()
    await expect(nina).not_to_contain_text("deactivated in Slack")
    assert world.directory.user("nina").enabled


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8")


async def test_a_file_is_handed_over_with_the_form(world: World, open_screen: OpenScreen, tmp_path: Path) -> None:
    olive = await open_screen("olive")
    await olive.go("helpdesk")
    await world.slack.command("olive", "#helpdesk", "/m365 help")
    trigger = world.slack.deliveries[-1].payload["trigger_id"]
    draft = field("A file", "file", type="file_input", filetypes=["json"], max_files=1)
    view = {
        "type": "modal",
        "title": text("Files"),
        "submit": text("Hand over"),
        "callback_id": "nobody",
        "blocks": [draft],
    }
    await call(world, "views.open", trigger_id=trigger, view=view)
    (tmp_path / "policy.json").write_text('{"displayName": "X"}')

    await olive.page.get_by_label("A file").set_input_files(tmp_path / "policy.json")
    await expect(olive.page.get_by_role("dialog")).to_contain_text("policy.json")
    await olive.page.get_by_role("button", name="Hand over").click()

    def sent() -> Delivery | None:
        told = [d for d in world.slack.deliveries if d.payload.get("type") == "view_submission"]
        return told[-1] if told else None

    delivery = await world.slack.until(sent)
    assert delivery is not None
    (file,) = delivery.payload["view"]["state"]["values"]["file"]["value"]["files"]
    assert (file["name"], file["size"]) == ("policy.json", 20)
    token = {"Authorization": f"Bearer {world.slack.bot_token}"}
    async with ClientSession() as session:
        async with session.get(file["url_private"], headers=token) as answer:
            assert await answer.json() == {"displayName": "X"}
        async with session.get(file["url_private"], allow_redirects=False) as answer:
            assert answer.status == 302
