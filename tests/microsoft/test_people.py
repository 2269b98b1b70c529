"""People sign in through the real MSAL, on the sandbox's pages of Entra."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import parse_qsl, urlsplit

import pytest

from bot.errors import ConfigurationError, SignInCategory, SignInFailed
from bot.microsoft.client import MicrosoftTenant
from bot.microsoft.people import BrowserSignIn, CodeSignIn, EntraPeople, PersonTokens
from bot.model import Secret
from bot.ports import Asked
from sandbox.browser_hands import Landed, sign_in
from sandbox.faults import DEVICE_CODE, Refuse, Rule
from tests.microsoft.tenant import Contoso

CALLBACK = "http://127.0.0.1:9/callback"
ME, EVERYTHING = Asked(("User.Read",)), Asked((".default",), lasting=True)
OLIVE, OLIVES_ADMIN = "olive@contoso.com", "olive.admin@contoso.com"


def people(contoso: Contoso, *, client_id: str | None = None) -> EntraPeople:
    client = contoso.servers.directory.applications["signin"]
    return EntraPeople(
        authority_host=contoso.servers.url,
        tenant_id=contoso.servers.directory.tenant.id,
        graph_url=f"{contoso.servers.url}/graph/v1.0",
        clock=contoso.clock,
        ca_file=contoso.servers.ca_file,
        client_id=client.app_id if client_id is None else client_id,
        client_secret=Secret(client.secret or ""),
        callback_url=CALLBACK,
    )


async def browses(contoso: Contoso, begun: BrowserSignIn, upn: str, *, cancel: bool = False) -> Mapping[str, str]:
    """What the browser comes back with."""
    landed = await sign_in(contoso.servers.http, begun.url, upn, follow=False, cancel=cancel)
    return dict(parse_qsl(urlsplit(landed.url).query))


async def types(contoso: Contoso, begun: CodeSignIn, upn: str, *, cancel: bool = False) -> Landed:
    return await sign_in(contoso.servers.http, begun.url, upn, code=begun.code, cancel=cancel)


async def account(contoso: Contoso, tokens: PersonTokens) -> str:
    graph = MicrosoftTenant.at(f"{contoso.servers.url}/graph/v1.0", contoso.http, contoso.clock).graph(tokens)
    return str((await graph.get("me"))["userPrincipalName"])


# --- in a browser ----------------------------------------------------------------------------------------------------


async def test_who_comes_back_from_the_browser_acts_as_themselves(contoso: Contoso) -> None:
    begun = await people(contoso).in_browser(ME)
    tokens = await begun.finish(await browses(contoso, begun, OLIVE))

    assert await account(contoso, tokens) == OLIVE
    assert tokens.proved_at is not None
    assert "code_challenge_method=S256" in begun.url
    assert "nonce=" in begun.url


async def test_mfa_is_done_at_microsoft(contoso: Contoso) -> None:
    contoso.servers.faults.start("mfa-for-people")
    begun = await people(contoso).in_browser(EVERYTHING)
    tokens = await begun.finish(await browses(contoso, begun, OLIVES_ADMIN))

    assert await account(contoso, tokens) == OLIVES_ADMIN


async def test_cancelling_at_microsoft_is_said_in_plain_words(contoso: Contoso) -> None:
    begun = await people(contoso).in_browser(ME)
    with pytest.raises(SignInFailed, match="cancelled at Microsoft") as failure:
        await begun.finish(await browses(contoso, begun, OLIVE, cancel=True))

    assert failure.value.category is SignInCategory.CONSENT


async def test_a_code_is_worth_nothing_without_the_verifier_of_the_sign_in_it_belongs_to(contoso: Contoso) -> None:
    ours, theirs = [await people(contoso).in_browser(ME) for _ in range(2)]
    stolen = await browses(contoso, theirs, OLIVE)

    with pytest.raises(SignInFailed):
        await ours.finish(stolen)
    with pytest.raises(SignInFailed):
        await ours.finish({**stolen, "state": ours.state})


async def test_an_account_of_another_tenant_does_not_come_back_at_all(contoso: Contoso) -> None:
    begun = await people(contoso).in_browser(ME)
    landed = await sign_in(contoso.servers.http, begun.url, "otto@partner.example", follow=False)

    assert "AADSTS50020" in landed.text


# --- by a code -------------------------------------------------------------------------------------------------------


async def test_a_code_is_asked_about_until_somebody_has_signed_in_with_it(contoso: Contoso) -> None:
    begun = await people(contoso).by_code(EVERYTHING)
    assert await begun.poll() is None

    await types(contoso, begun, OLIVES_ADMIN)
    contoso.servers.clock.advance(begun.interval.total_seconds())
    tokens = await begun.poll()

    assert tokens is not None
    assert await account(contoso, tokens) == OLIVES_ADMIN
    assert (begun.until - contoso.clock.now()) <= timedelta(minutes=15)


async def test_asking_too_often_makes_it_ask_less_often(contoso: Contoso) -> None:
    begun = await people(contoso).by_code(ME)
    await begun.poll()
    await begun.poll()

    assert begun.interval == timedelta(seconds=10)


async def test_an_old_code_is_said_to_be_old(contoso: Contoso) -> None:
    begun = await people(contoso).by_code(ME)
    contoso.servers.clock.advance(16 * 60)

    with pytest.raises(SignInFailed, match="code has expired"):
        await begun.poll()


async def test_declining_ends_it(contoso: Contoso) -> None:
    begun = await people(contoso).by_code(ME)
    await types(contoso, begun, OLIVE, cancel=True)
    contoso.servers.clock.advance(5)

    with pytest.raises(SignInFailed, match="cancelled at Microsoft"):
        await begun.poll()


@pytest.mark.parametrize("code", [530033, 53003])
async def test_where_codes_are_forbidden_it_is_said_what_to_set_up(contoso: Contoso, code: int) -> None:
    begun = await people(contoso).by_code(ME)
    contoso.servers.faults.add(Rule("entra", DEVICE_CODE, "*", Refuse(code)))
    await types(contoso, begun, OLIVE)

    with pytest.raises(SignInFailed, match="LATCHKEY_CALLBACK_URL"):
        await begun.poll()


async def test_codes_forbidden_later_end_what_came_of_one(contoso: Contoso) -> None:
    begun = await people(contoso).by_code(EVERYTHING)
    await types(contoso, begun, OLIVES_ADMIN)
    tokens = await begun.poll()
    assert tokens is not None
    contoso.servers.faults.start("device-codes-forbidden")

    with pytest.raises(SignInFailed, match="LATCHKEY_CALLBACK_URL") as failure:
        await tokens.fresh_token(await tokens.token())
    assert failure.value.code == 530036


# --- afterwards ------------------------------------------------------------------------------------------------------


async def signed_in(contoso: Contoso, asked: Asked = EVERYTHING) -> PersonTokens:
    begun = await people(contoso).in_browser(asked)
    return await begun.finish(await browses(contoso, begun, OLIVES_ADMIN))


async def test_a_lasting_sign_in_is_renewed_in_silence_once_for_all_who_wait(contoso: Contoso) -> None:
    tokens = await signed_in(contoso)
    first = await tokens.token()
    before = len(contoso.servers.entra.grants("refresh_token"))
    renewed = await asyncio.gather(*(tokens.fresh_token(first) for _ in range(5)))

    assert len({id(token) for token in renewed}) == 1
    assert renewed[0].value.reveal() != first.value.reveal()
    assert len(contoso.servers.entra.grants("refresh_token")) == before + 1
    assert await account(contoso, tokens) == OLIVES_ADMIN


async def test_a_sign_in_that_is_not_to_last_holds_nothing_to_renew_it_with(contoso: Contoso) -> None:
    tokens = await signed_in(contoso, ME)

    with pytest.raises(SignInFailed, match="Sign in again"):
        await tokens.fresh_token(await tokens.token())


async def test_revoked_sessions_end_it(contoso: Contoso) -> None:
    tokens = await signed_in(contoso)
    contoso.servers.clock.advance(1)
    user = contoso.servers.directory.user(OLIVES_ADMIN)
    contoso.servers.directory.update_user(user.id, sessions_valid_from=contoso.servers.clock.now())

    with pytest.raises(SignInFailed, match="Sign in again"):
        await tokens.fresh_token(await tokens.token())


async def test_what_was_forgotten_is_gone(contoso: Contoso) -> None:
    tokens = await signed_in(contoso)
    tokens.forget()

    with pytest.raises(SignInFailed, match="over"):
        await tokens.token()
    with pytest.raises(SignInFailed):
        await account(contoso, tokens)


async def test_nothing_of_it_shows_by_accident(contoso: Contoso) -> None:
    tokens = await signed_in(contoso)
    secret = (await tokens.token()).value.reveal()

    assert secret not in f"{tokens!r} {vars(tokens)!r}"


async def test_without_an_application_to_sign_in_through_it_is_said_which_setting_is_missing(contoso: Contoso) -> None:
    with pytest.raises(ConfigurationError, match="LATCHKEY_SIGNIN_CLIENT_ID"):
        await people(contoso, client_id="").in_browser(ME)
