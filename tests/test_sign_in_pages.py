"""Our own two pages around Microsoft's: they name who asked, keep to one browser, and load nothing."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from bot.model import Operator, SlackUser
from bot.sign_in_pages import SignInPages
from bot.signing_in import Purpose, SignedIn, SigningIn
from tests.clock import ManualClock
from tests.people import TENANT, Account, Entra, Known, Trail
from tests.sandbox.slack_harness import served

OLIVE = SlackUser("T0CONTOSO", "U0OLIVE001")
NAME = 'Olive <b>"Hart"</b> & Co'


@dataclass
class Web:
    """The pages, and a browser in front of them."""

    url: str
    signing_in: SigningIn
    entra: Entra
    came: list[str]

    async def link(self) -> str:
        """The path of the link in Olive's window."""
        invitation = await self.signing_in.invite(OLIVE, Purpose.LINK, name=NAME)
        return f"{self.url}{URL(invitation.url).path_qs}"


@asynccontextmanager
async def browser() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield session


@pytest.fixture
async def pages() -> AsyncIterator[Web]:
    clock, came = ManualClock(), list[str]()
    entra = Entra(clock, (Account("a-olive", "olive@contoso.com", "Olive Hart"),), has_callback=True)
    known = Known({OLIVE: Operator("olive", OLIVE, "a-olive", "olive@contoso.com", "Olive Hart")})
    signing_in = SigningIn(
        clock=clock,
        people=entra,
        tenant=entra,
        tenant_id=TENANT,
        operators=known,
        audit=Trail(),
        page="http://127.0.0.1/bot/signin",
    )

    async def links(slack: SlackUser, about: str, account: SignedIn) -> str:
        came.append(account.upn)
        return "Linked."

    signing_in.on(Purpose.LINK, links)
    app = web.Application()
    shown = SignInPages(
        signing_in, callback_url="http://127.0.0.1/bot/callback", authority_host="https://login.example"
    )
    app.add_routes(shown.routes())
    async with served(app) as url:
        yield Web(url, signing_in, entra, came)
    await signing_in.close()


def form_of(page: str) -> dict[str, str]:
    return dict(re.findall(r'name="(flow|key)" value="([^"]*)"', page))


async def go_on(session: aiohttp.ClientSession, pages: Web, link: str) -> aiohttp.ClientResponse:
    """Open the link and press *Continue*."""
    async with session.get(link) as page:
        form = form_of(await page.text())
    return await session.post(f"{pages.url}/bot/signin", data=form, allow_redirects=False)


async def back(session: aiohttp.ClientSession, pages: Web) -> tuple[int, str]:
    """Come back from Microsoft."""
    state = pages.entra.browsers[-1].state
    query = {"code": "olive@contoso.com", "state": state}
    async with session.get(f"{pages.url}/bot/callback", params=query) as page:
        return page.status, await page.text()


async def test_the_page_names_who_asked_loads_nothing_and_is_kept_nowhere(pages: Web) -> None:
    async with browser() as session, session.get(await pages.link()) as page:
        text = await page.text()

        assert "Olive &lt;b&gt;&quot;Hart&quot;&lt;/b&gt; &amp; Co asked Latchkey in Slack to link" in text
        assert "<b>" not in text
        policy = page.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none';")
        assert "frame-ancestors 'none'" in policy
        assert page.headers["Cache-Control"] == "no-store"
        assert page.headers["Referrer-Policy"] == "no-referrer"
        cookie = page.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie


async def test_whoever_continues_and_comes_back_has_signed_in(pages: Web) -> None:
    async with browser() as session:
        response = await go_on(session, pages, await pages.link())
        assert (response.status, response.headers["Location"]) == (303, pages.entra.browsers[-1].url)

        status, text = await back(session, pages)
        again, _ = await back(session, pages)

    assert (status, again) == (200, 400)
    assert "Linked. You signed in as Olive Hart (olive@contoso.com)" in text
    assert pages.came == ["olive@contoso.com"]


async def test_another_browser_that_is_sent_back_signs_nobody_in(pages: Web) -> None:
    async with browser() as olive, browser() as victim:
        await go_on(olive, pages, await pages.link())
        status, text = await back(victim, pages)

    assert status == 400
    assert "This sign-in is over" in text
    assert pages.came == []


async def test_another_site_cannot_press_continue_for_somebody(pages: Web) -> None:
    link = await pages.link()
    async with browser() as attacker, browser() as victim:
        async with attacker.get(link) as page:
            form = form_of(await page.text())
        async with victim.get(link):
            pass  # the victim looks at the page, and gets another key
        response = await victim.post(f"{pages.url}/bot/signin", data=form, allow_redirects=False)
        assert response.status == 403
        for bad in ({}, {"flow": form["flow"]}, {"flow": form["flow"], "key": ""}):
            assert (await victim.post(f"{pages.url}/bot/signin", data=bad, allow_redirects=False)).status == 403

    assert pages.entra.browsers == []


async def test_a_link_that_is_over_says_to_ask_again(pages: Web) -> None:
    async with browser() as session:
        async with session.get(f"{pages.url}/bot/signin?flow=<script>") as page:
            assert (page.status, "<script>" in await page.text()) == (404, False)
        async with session.get(f"{pages.url}/callback?state={'x' * 4000}&code=1") as page:
            assert page.status == 400
            assert "Go back to Slack" in await page.text()
        async with session.get(f"{pages.url}/callback?error=access_denied&error_description=<b>AADSTS1</b>") as page:
            assert "AADSTS1" not in await page.text()


async def test_over_https_no_other_host_can_put_the_cookie_into_a_browser(pages: Web) -> None:
    app = web.Application()
    shown = SignInPages(
        pages.signing_in, callback_url="https://latchkey.contoso.com/callback", authority_host="https://login.example"
    )
    app.add_routes(shown.routes())
    flow = URL(await pages.link()).query["flow"]
    async with served(app) as url, browser() as session, session.get(f"{url}/signin", params={"flow": flow}) as page:
        cookie = page.headers["Set-Cookie"]

    assert cookie.startswith("__Host-latchkey-")
    assert "Secure" in cookie
    assert "Path=/" in cookie
    assert "Domain" not in cookie
