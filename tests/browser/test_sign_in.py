"""Signing in at Microsoft in a real browser: our page's rules let through what has to happen, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import async_playwright, expect

from bot.model import Mode
from sandbox.slack.invitations import Invitation, invitation_in
from tests.browser.conftest import _ARGUMENTS
from tests.stage import HELPDESK, open_stage

pytestmark = pytest.mark.browser

_HERE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
_IN_TIME = 45_000


async def test_a_link_leads_over_our_page_to_microsoft_and_back(tmp_path: Path, chromium: str) -> None:
    async with open_stage(tmp_path, mode=Mode.DEFAULT, callback=True) as stage, async_playwright() as playwright:
        slack = stage.world.slack
        await slack.command("ana", HELPDESK, "/m365-session on")
        asked = await stage.until(lambda: next(iter(slack.ephemerals("ana")), None))
        assert asked is not None
        await slack.click("ana", asked, "Sign in at Microsoft")

        def shown() -> Invitation | None:
            views = slack.modals("ana")
            return invitation_in(views[-1].blocks, with_code=False) if views else None

        invitation = await stage.until(shown)
        assert invitation is not None
        arguments = [*(each for each in _ARGUMENTS if not each.startswith("--host-resolver")), _HERE]
        running = await playwright.chromium.launch(executable_path=chromium, args=arguments)
        page = await (await running.new_context(ignore_https_errors=True)).new_page()
        page.set_default_timeout(_IN_TIME)
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        await page.goto(invitation.url)
        await expect(page.get_by_text("Ana Ruiz asked Latchkey in Slack to open a management")).to_be_visible()
        button = page.get_by_role("button", name="Continue")
        assert await button.evaluate("button => getComputedStyle(button).color") == "rgb(255, 255, 255)"
        await button.click()
        await page.get_by_role("button", name="ana.admin@contoso.com").click()
        for _ in range(3):
            if "/callback" in page.url:
                break
            await page.get_by_role("button", name="Approve").or_(page.get_by_text("Signed in")).first.click()
        await expect(page.get_by_text("Your management session is on until")).to_be_visible(timeout=_IN_TIME)
        await expect(page.get_by_text("Ana Ruiz (admin)")).to_be_visible()
        assert [each for each in complaints if "Policy" in each] == []
        await running.close()
