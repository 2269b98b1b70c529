"""People sign in with accounts of their own: their codes and tokens are in memory and nowhere else (S18), and nobody
gets anything out of the link, the code or the way back of somebody else (S8, S28)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
import pytest_asyncio

from bot.model import Mode, Operator, Origin, Request, RequestState, SlackUser
from bot.ports import TokenSource
from bot.signing_in import Purpose
from sandbox.faults import Answer, Rule
from sandbox.slack.invitations import Invitation, invitation_in
from tests.stage import HELPDESK, SHELL, TEAM, Stage, open_stage
from tests.threats.log import Log
from tests.threats.talking import PATIENT
from tests.threats.test_canary import hits

ANAS = "ana.admin@contoso.com"


async def invited(stage: Stage, person: str, *, with_code: bool) -> Invitation:
    """What the window shows: a link, or a code."""

    def shown() -> Invitation | None:
        views = stage.world.slack.modals(person)
        return invitation_in(views[-1].blocks, with_code=with_code) if views else None

    found = await stage.until(shown)
    assert found is not None
    return found


async def signs_in(stage: Stage, person: str, account: str, *, with_code: bool) -> None:
    """Turn the session on."""
    slack, world = stage.world.slack, stage.world
    await slack.command(person, HELPDESK, "/m365-session on")
    button = await stage.until(
        lambda: next((m for m in slack.ephemerals(person) if "[Sign in" in m.visible_text), None)
    )
    assert button is not None
    await slack.click(person, button, "Sign in at Microsoft")
    invitation = await invited(stage, person, with_code=with_code)
    landed = await world.sign_in(invitation.url, account, code=invitation.code)
    assert "signed in" in landed.text.lower()
    world.clock.advance(6)
    await stage.until(lambda: "is on until" in slack.modals(person)[-1].visible_text)
    await slack.close(person)


@pytest.mark.parametrize("callback", [False, True], ids=["code", "link"])
async def test_what_a_sign_in_gives_out_is_in_memory_only_and_goes_with_the_session(
    tmp_path: Path, log: Log, callback: bool
) -> None:
    logging.getLogger().setLevel(logging.DEBUG)
    async with open_stage(tmp_path, mode=Mode.DEFAULT, callback=callback, limits=PATIENT) as stage:
        await signs_in(stage, "ana", ANAS, with_code=not callback)
        await stage.reset("ana", "adele@contoso.com", "Adele Vance, Sales")
        acting = next(session.acting() for session in stage.bot.sessions.all() if session.acting())
        assert acting is not None
        tokens: TokenSource = acting.graph._tokens  # type: ignore[attr-defined]
        assert hits(stage.world, log.whole()) == []

        await stage.ask("ana", "/m365-session off")

        with pytest.raises(Exception, match="has ended"):
            await tokens.token()
        assert hits(stage.world, log.whole()) == []
    assert hits(stage.world, log.whole()) == []


async def test_nobody_else_is_shown_the_code(tmp_path: Path, log: Log) -> None:
    async with open_stage(tmp_path, mode=Mode.DEFAULT, limits=PATIENT) as stage:
        slack = stage.world.slack
        await slack.command("olive", HELPDESK, "/m365 link")
        invitation = await invited(stage, "olive", with_code=True)
        code = invitation.code or ""

        shown = [record for record in slack.history if code in str(record.content)]
        assert {(record.kind, record.channel_or_person) for record in shown} == {("modal", "U0OLIVE001")}
        assert code not in log.whole()


# --- links and the way back ------------------------------------------------------------------------------------------

ANA, BO, NINA, OLIVE = (SlackUser(TEAM, user) for user in ("U0ANA00001", "U0BO000001", "U0NINA0001", "U0OLIVE001"))
CY = SlackUser(TEAM, "U0CY000001")
FORM = "application/x-www-form-urlencoded"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def by_link(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """Default mode, where people sign in by a link and come back."""
    folder = tmp_path_factory.mktemp("by_link")
    async with open_stage(folder, mode=Mode.DEFAULT, callback=True, limits=PATIENT) as opened:
        yield opened


async def link(stage: Stage, slack: SlackUser, purpose: Purpose, about: str = "") -> str:
    return (await stage.bot.signing_in.invite(slack, purpose, about, name="Somebody")).url


async def knock(stage: Stage, target: str, *, post: bytes | None = None, **headers: bytes) -> tuple[int, str]:
    """Send the bot what no browser would; the status and the whole answer."""
    lines = [
        f"{'GET' if post is None else 'POST'} {target} HTTP/1.1".encode(),
        b"Host: localhost",
        b"Connection: close",
    ]
    lines += [name.replace("_", "-").encode() + b": " + value for name, value in headers.items()]
    lines += [b"Content-Length: %d" % len(post or b""), b"", post or b""]
    reader, writer = await asyncio.open_connection("localhost", stage.config.http_port)
    try:
        writer.write(b"\r\n".join(lines))
        await writer.drain()
        answer = (await reader.read()).decode("latin-1")
    finally:
        writer.close()
    return int(answer.split()[1]), answer


def operator(stage: Stage, slack: SlackUser) -> Operator | None:
    return stage.bot.storage.operators.rights(slack, "").operator


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (FORM, b"flow=\xff\xfe&key=\xff"),
        (FORM, b"flow=%ff%ed%a0%80&key=%ed%a0%80"),
        (FORM + "; charset=no-such-thing", b"flow=a&key=b"),
        (FORM, b"&".join(b"key=a" for _ in range(50_000))),
        ("application/json", b"{}"),
        ("multipart/form-data", b"nothing"),
        ("multipart/form-data; boundary=x", b"nothing"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="k"\r\nContent-Transfer-Encoding: odd\r\n\r\na\r\n--x--\r\n',
        ),
    ],
)
async def test_whatever_is_sent_to_the_page_before_microsofts_is_answered_calmly(
    by_link: Stage, content_type: str, body: bytes
) -> None:
    """S3, S17: no body makes it stumble, and with that write a stranger's words into the log."""
    headers = {"Content_Type": content_type.encode(), "Cookie": b"latchkey-none=\xff\xfe"}
    status, _ = await knock(by_link, "/signin", post=body, **headers)

    assert status == 403


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "target",
    [
        "/callback",
        "/callback?state=%ff%ed%a0%80&code=x",
        "/callback?state=&error=access_denied&error_description=%3Cscript%3Ealert(1)%3C/script%3E",
        f"/callback?state={'a' * 4000}&code=x",
        "/signin",
        "/signin?flow=%0d%0aSet-Cookie:%20a=b",
        "/signin?flow=%3Cscript%3Ealert(1)%3C/script%3E",
        "/signin?flow=//evil.example",
    ],
)
async def test_addresses_that_somebody_made_up_lead_nowhere(by_link: Stage, target: str) -> None:
    """No page says what a stranger put into its address, sets a cookie for it or leads on."""
    status, answer = await knock(by_link, target)

    assert status in {400, 404}
    assert not any(word in answer for word in ("<script", "alert", "Set-Cookie", "Location", "evil"))


@pytest.mark.asyncio(loop_scope="module")
async def test_who_signs_in_on_somebody_elses_way_gives_them_nothing(by_link: Stage) -> None:
    """S28: Nina opens her link, presses *Continue*, and sends Microsoft's page, or the way back from it, to Ana."""
    own = await link(by_link, NINA, Purpose.LINK)
    flow = own.partition("flow=")[2]
    _, page = await knock(by_link, f"/signin?flow={flow}")
    key, cookie = page.partition('name="key" value="')[2].partition('"')[0], f"latchkey-{flow[:16]}"
    _, answer = await knock(
        by_link,
        "/signin",
        post=f"flow={flow}&key={key}".encode(),
        Content_Type=FORM.encode(),
        Cookie=f"{cookie}={key}".encode(),
    )
    microsofts = answer.partition("Location: ")[2].partition("\r\n")[0]

    sent_back = await by_link.world.sign_in(microsofts, ANAS)
    assert "This sign-in is over, or was not begun here" in sent_back.text
    way_back = (await by_link.world.sign_in(microsofts, ANAS, follow=False)).url
    for kept in (b"", f"{cookie}=guessed".encode(), f"{cookie}=\xff".encode("latin-1")):
        parts = urlsplit(way_back)
        status, _ = await knock(by_link, f"{parts.path}?{parts.query}", Cookie=kept)
        assert status == 400

    nobody = operator(by_link, NINA)
    assert nobody is None or nobody.account_id is None
    assert by_link.bot.signing_in.cancel(NINA)  # and it still waits for who did begin it


@pytest.mark.asyncio(loop_scope="module")
async def test_a_way_back_works_once_and_what_microsoft_says_there_is_not_repeated(by_link: Stage) -> None:
    """S16: the description of an error is anybody's who can write an address."""
    url = await link(by_link, NINA, Purpose.LINK)
    landed = await by_link.world.sign_in(url, ANAS, cancel=True)
    assert landed.status == 400

    again, _ = await knock(by_link, urlsplit(landed.url).path + "?" + urlsplit(landed.url).query)
    assert again == 400
    assert not by_link.bot.signing_in.cancel(NINA)


@pytest.mark.asyncio(loop_scope="module")
async def test_nobody_links_the_account_of_somebody_else(by_link: Stage) -> None:
    """S24: also not when two finish with it at once."""
    urls = [await link(by_link, slack, Purpose.LINK) for slack in (NINA, BO)]
    landed = await asyncio.gather(*(by_link.world.sign_in(url, "adele@contoso.com") for url in urls))
    taken = await by_link.world.sign_in(await link(by_link, NINA, Purpose.LINK), "olive@contoso.com")

    assert "is not the account a tenant admin entered for you" in landed[1].text
    assert "is linked to adele@contoso.com" in landed[0].text
    assert taken.status == 400
    linked = operator(by_link, NINA)
    assert linked is not None
    assert linked.upn == "adele@contoso.com"


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("purpose", "slack", "account", "refusal"),
    [
        (Purpose.SET_UP, ANA, ANAS, "This has gone on already, or has ended"),
        (Purpose.APPROVAL, BO, "bo@contoso.com", "This is settled already"),
    ],
)
async def test_a_sign_in_for_one_thing_is_none_for_another(
    by_link: Stage, purpose: Purpose, slack: SlackUser, account: str, refusal: str
) -> None:
    """S8: what waits for a session of its requester is not gone on with by whoever signs in for something else."""
    requests = by_link.bot.storage.requests
    known = operator(by_link, ANA)
    assert known is not None
    waits = await requests.add(
        Request(
            id=f"waits-for-a-session-{purpose}",
            operator_id=known.id,
            slack=ANA,
            command="/m365 reset-password",
            action="reset-password",
            origin=Origin("C0HELPDESK"),
            created_at=by_link.bot.storage.db.clock.now(),
            state=RequestState.AWAITING_CONFIRMATION,
            answer={"sign_in": "session"},
        )
    )
    landed = await by_link.world.sign_in(await link(by_link, slack, purpose, waits.id), account)

    assert refusal in landed.text
    after = await requests.find(waits.id)
    assert after is not None
    assert after.state is RequestState.AWAITING_CONFIRMATION
    assert by_link.bot.signing_in.held_for(waits.id) is None


@pytest.mark.asyncio(loop_scope="module")
async def test_who_is_suspended_while_they_sign_in_opens_nothing(by_link: Stage, log: Log) -> None:
    """S25, S28: and of the account they came with nothing remains."""
    url = await link(by_link, OLIVE, Purpose.SESSION)
    back = await by_link.world.sign_in(url, "olive@contoso.com", follow=False)
    assert "code=" in back.url
    operators = by_link.bot.storage.operators
    await operators.suspend(OLIVE, by=SHELL, reason="left")
    try:
        landed = await by_link.world.sign_in(await link(by_link, OLIVE, Purpose.SESSION), "olive@contoso.com")
        assert "You hold no role in Latchkey at the moment" in landed.text
        assert not any(session.acting() for session in by_link.bot.sessions.all())
        for purpose in (Purpose.LINK, Purpose.APPROVAL):
            landed = await by_link.world.sign_in(await link(by_link, OLIVE, purpose, "r1:a1"), "olive@contoso.com")
            assert landed.status == 400
    finally:
        await operators.suspend(OLIVE, by=SHELL, reason="back", suspended=False)
    assert hits(by_link.world, log.whole()) == []


@pytest.mark.asyncio(loop_scope="module")
async def test_when_microsoft_answers_with_what_it_was_sent_no_secret_comes_to_light(by_link: Stage, log: Log) -> None:
    """S18."""
    logging.getLogger().setLevel(logging.DEBUG)
    world = by_link.world
    secret = world.directory.applications["signin"].secret or ""
    quoting = {"error": "invalid_grant", "error_description": f"AADSTS70000: {secret}", "error_codes": [70000]}
    effects = [
        ("entra", "POST", "*token", Answer(400, quoting)),
        ("entra", "POST", "*token", Answer(200, f'{{"access_token": "{secret}", ')),
        ("entra", "POST", "*token", Answer(502, f"<html>{quote(secret)}{secret}</html>")),
        ("graph", "GET", "/me", Answer(403, {"error": {"code": "Forbidden", "message": secret}})),
        ("graph", "GET", "/organization", Answer(200, f'{{"value": "{secret}"')),
    ]
    for service, method, path, effect in effects:
        rule = world.faults.add(Rule(service, method, path, effect))  # type: ignore[arg-type]  # a service's name
        landed = await world.sign_in(await link(by_link, ANA, Purpose.LINK), "ana@contoso.com")
        world.faults.remove(rule)
        assert landed.status == 400, (path, landed.text)
        assert secret not in landed.text

    assert hits(world, log.whole()) == []


@pytest.mark.asyncio(loop_scope="module")
async def test_one_who_left_loses_the_session_and_coming_back_gives_nothing_by_itself(by_link: Stage, log: Log) -> None:
    """S25, S28: Olive's account is disabled while her session is on, and enabled again."""
    world, bot = by_link.world, by_link.bot
    known = operator(by_link, OLIVE)
    assert known is not None
    assert known.account_id is not None
    landed = await world.sign_in(await link(by_link, OLIVE, Purpose.SESSION), "olive@contoso.com")
    assert "is on until" in landed.text
    acting = next(session.acting() for session in bot.sessions.all() if session.acting())
    assert acting is not None

    world.directory.update_user(known.account_id, enabled=False)
    world.clock.advance(301)
    await by_link.world.slack.command("olive", HELPDESK, "/m365 reset-password adele@contoso.com")
    await by_link.until(lambda: not any(session.acting() for session in bot.sessions.all()))
    with pytest.raises(Exception, match="has ended"):
        await acting.graph.get("me")

    world.directory.update_user(known.account_id, enabled=True)
    world.clock.advance(301)
    for purpose in (Purpose.SESSION, Purpose.LINK):
        landed = await world.sign_in(await link(by_link, OLIVE, purpose), "olive@contoso.com")
        assert landed.status == 400
    landed = await world.sign_in(await link(by_link, CY, Purpose.LINK), "olive@contoso.com")
    assert "whose access to Latchkey is suspended" in landed.text
    assert hits(world, log.whole()) == []
