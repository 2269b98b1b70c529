"""People sign in on Entra's pages, over real HTTP and with the real MSAL, as they would at Microsoft's."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import aiohttp
import msal
import pytest
from aiohttp import web

from sandbox.browser_hands import Landed, sign_in
from sandbox.conditional_access import complete
from sandbox.entra import Token
from sandbox.faults import Refuse, Rule
from sandbox.world import World
from tests.sandbox.tenant_servers import RealPort, TenantServers, tenant_servers

CALLBACK = "http://127.0.0.1:9/oauth/callback"
GRAPH = "https://graph.microsoft.com"
ANA, OLIVE, GARY = "ana.admin@contoso.com", "olive@contoso.com", "gary@contoso.com"
READ = f"{GRAPH}/User.Read"
SET_UP = f"{GRAPH}/RoleManagement.ReadWrite.Directory"


@pytest.fixture
async def tenant() -> AsyncIterator[TenantServers]:
    async with tenant_servers() as servers:
        yield servers


@dataclass
class CodeFlow:
    """A sign-in through MSAL's authorization code flow, up to the answer that came back."""

    app: Any
    flow: dict[str, Any]
    landed: Landed

    @property
    def answer(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.landed.url).query))

    async def redeem(self, **options: Any) -> dict[str, Any]:
        return await asyncio.to_thread(
            lambda: self.app.acquire_token_by_auth_code_flow(self.flow, self.answer, **options)
        )


async def began(tenant: TenantServers, upn: str, *scopes: str, app: Any = None, **wishes: Any) -> CodeFlow:
    more = {name: wishes.pop(name) for name in ("prompt", "login_hint", "max_age", "response_mode") if name in wishes}
    more.setdefault("response_mode", "form_post")
    app = app or await tenant.msal_app("signin")
    flow = app.initiate_auth_code_flow(list(scopes or (READ,)), redirect_uri=CALLBACK, **more)
    return CodeFlow(app, flow, await sign_in(tenant.http, flow["auth_uri"], upn, follow=False, **wishes))


async def tokens_of(tenant: TenantServers, upn: str, *scopes: str, **wishes: Any) -> dict[str, Any]:
    return await (await began(tenant, upn, *scopes, **wishes)).redeem()


def known(tenant: TenantServers, answer: dict[str, Any]) -> Token:
    token = tenant.entra.token(answer["access_token"])
    assert token is not None
    return token


async def ask(tenant: TenantServers, **form: str) -> dict[str, Any]:
    """A request to the token endpoint, by hand."""
    client = tenant.directory.applications["signin"]
    whole = {"client_id": client.app_id, "client_secret": client.secret or "", **form}
    url = f"{tenant.url}/{tenant.directory.tenant.id}/oauth2/v2.0/token"
    async with tenant.http.post(url, data={name: value for name, value in whole.items() if value}) as response:
        body: dict[str, Any] = await response.json()
        return body


# Authorization code


@pytest.mark.filterwarnings("ignore:response_mode")  # MSAL would rather have form_post
@pytest.mark.parametrize("mode", ["query", "form_post"])
async def test_an_account_of_the_list_signs_in_and_its_code_gives_tokens(tenant: TenantServers, mode: str) -> None:
    begun = await began(tenant, OLIVE, READ, f"{GRAPH}/User.Read.All", response_mode=mode)
    answer = await begun.redeem()

    olive, claims = tenant.directory.user("olive"), answer["id_token_claims"]
    assert known(tenant, answer).permissions == {"User.Read", "User.Read.All"}
    assert (claims["oid"], claims["tid"]) == (olive.id, tenant.directory.tenant.id)
    assert (claims["preferred_username"], claims["aud"]) == (OLIVE, begun.app.client_id)
    assert abs(claims["auth_time"] - time.time()) < 60
    assert {answer["access_token"], answer["refresh_token"], begun.answer["code"]} <= set(tenant.entra.given_out)
    (account,) = begun.app.get_accounts()
    assert account["home_account_id"] == f"{olive.id}.{tenant.directory.tenant.id}"
    assert (await tenant.call(answer["access_token"], "GET", "/me")).body["userPrincipalName"] == OLIVE
    assert [(one.subject, one.code) for one in tenant.entra.grants("browser")] == [(OLIVE, 0)]


async def test_an_account_that_the_browser_does_not_remember_is_typed_in(tenant: TenantServers) -> None:
    answer = await tokens_of(tenant, "Adele@contoso.com")

    assert answer["id_token_claims"]["preferred_username"] == "adele@contoso.com"


async def test_a_hint_brings_one_account_and_leaves_the_choice(tenant: TenantServers) -> None:
    app = await tenant.msal_app("signin")
    flow = app.initiate_auth_code_flow([READ], redirect_uri=CALLBACK, login_hint=ANA, response_mode="form_post")

    async with tenant.http.get(flow["auth_uri"]) as page:
        text = await page.text()

    assert (ANA in text, OLIVE in text) == (True, False)
    assert (await tokens_of(tenant, OLIVE, login_hint=ANA))["id_token_claims"]["preferred_username"] == OLIVE


async def test_the_form_post_answer_arrives_at_the_application(tenant: TenantServers) -> None:
    came: list[dict[str, str]] = []

    async def callback(request: web.Request) -> web.Response:
        came.append({name: str(value) for name, value in (await request.post()).items()})
        return web.Response(text="Thank you, you may close this window.")

    application = web.Application()
    application.router.add_post("/callback", callback)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        app = await tenant.msal_app("signin")
        flow = app.initiate_auth_code_flow(
            [READ], redirect_uri=f"http://127.0.0.1:{runner.addresses[0][1]}/callback", response_mode="form_post"
        )
        landed = await sign_in(tenant.http, flow["auth_uri"], OLIVE)
    finally:
        await runner.cleanup()

    assert landed.text == "Thank you, you may close this window."
    assert "access_token" in await asyncio.to_thread(app.acquire_token_by_auth_code_flow, flow, came[0])


async def test_a_code_is_good_once_for_ten_minutes_and_for_whoever_began(tenant: TenantServers) -> None:
    begun = await began(tenant, OLIVE)
    form = {"grant_type": "authorization_code", "code": begun.answer["code"], "redirect_uri": CALLBACK, "scope": READ}
    verifier = begun.flow["code_verifier"]

    refused = [
        await ask(tenant, **form),
        await ask(tenant, **form, code_verifier="x" * 43),
        await ask(tenant, **{**form, "redirect_uri": "http://127.0.0.1:10/callback"}, code_verifier=verifier),
        await ask(tenant, **form, code_verifier=verifier, client_secret=""),
        await ask(tenant, **form, code_verifier=verifier, client_secret="guessed"),
    ]
    first = await ask(tenant, **form, code_verifier=verifier)
    again = await ask(tenant, **form, code_verifier=verifier)
    late = await began(tenant, OLIVE)
    tenant.clock.advance(601)

    assert [one["error_codes"] for one in refused] == [[50148], [501481], [500112], [7000218], [7000215]]
    assert "access_token" in first
    assert (again["error"], again["error_codes"]) == ("invalid_grant", [54005])
    assert (await late.redeem())["error_codes"] == [70008]


async def test_another_application_cannot_redeem_the_code(tenant: TenantServers) -> None:
    begun = await began(tenant, OLIVE)
    service = tenant.directory.applications["service"]

    answer = await ask(
        tenant, grant_type="authorization_code", code=begun.answer["code"], redirect_uri=CALLBACK,
        code_verifier=begun.flow["code_verifier"], client_id=service.app_id, client_secret=service.secret or "",
    )  # fmt: skip

    assert answer["error_codes"] == [70000]


@pytest.mark.parametrize(
    ("change", "code", "returns"),
    [
        pytest.param({"redirect_uri": "https://evil.example/callback"}, "AADSTS50011", False, id="foreign address"),
        pytest.param({"redirect_uri": "http://127.0.0.1:9/else"}, "AADSTS50011", False, id="not the callback"),
        pytest.param({"client_id": "11111111-2222-4333-8444-555555555555"}, "AADSTS700016", False, id="no such client"),
        pytest.param({"response_type": "token"}, "AADSTS700022", True, id="implicit"),
        pytest.param({"code_challenge": ""}, "AADSTS9002325", True, id="no proof key"),
        pytest.param({"code_challenge_method": "plain"}, "AADSTS9002325", True, id="plain proof key"),
        pytest.param({"prompt": "none"}, "AADSTS50058", True, id="silent"),
        pytest.param({"scope": ""}, "AADSTS900144", True, id="no scope"),
        pytest.param({"scope": "https://unknown.example/Read"}, "AADSTS500011", True, id="unknown resource"),
    ],
)
async def test_a_wrong_request_goes_back_only_to_an_address_of_the_applications(
    tenant: TenantServers, change: dict[str, str], code: str, returns: bool
) -> None:
    app = await tenant.msal_app("signin")
    uri = urlsplit(app.initiate_auth_code_flow([READ], redirect_uri=CALLBACK, response_mode="form_post")["auth_uri"])
    asked = {**dict(parse_qsl(uri.query)), **change}

    landed = await sign_in(tenant.http, f"{uri._replace(query=urlencode(asked)).geturl()}", OLIVE, follow=False)

    assert landed.url.startswith(CALLBACK) is returns
    if returns:
        answer = dict(parse_qsl(urlsplit(landed.url).query))
        assert answer["state"] == asked["state"]
        assert answer["error_description"].startswith(f"{code}:")
    else:
        assert code in landed.text
        assert landed.status == 400


async def test_the_common_authority_is_refused_to_an_application_of_one_tenant(tenant: TenantServers) -> None:
    app = await tenant.msal_app("signin", tenant="organizations")
    uri = app.initiate_auth_code_flow([READ], redirect_uri=CALLBACK, response_mode="form_post")["auth_uri"]

    assert "AADSTS50194" in (await sign_in(tenant.http, uri, OLIVE, follow=False)).text


async def test_who_cancels_comes_back_with_access_denied(tenant: TenantServers) -> None:
    begun = await began(tenant, OLIVE, cancel=True)

    assert (begun.answer["error"], begun.answer["error_subcode"]) == ("access_denied", "cancel")
    assert begun.answer["state"] == begun.flow["state"]


async def test_an_account_of_another_tenant_is_told_so_and_nothing_comes_back(tenant: TenantServers) -> None:
    landed = (await began(tenant, "otto@partner.example")).landed

    assert "AADSTS50020" in landed.text
    assert "otto@partner.example" in landed.text
    assert "Contoso" in landed.text
    assert landed.url.startswith(tenant.url)
    assert tenant.entra.grants("browser")[-1].code == 50020


async def test_a_blocked_account_and_one_nobody_knows_stay_at_the_page(tenant: TenantServers) -> None:
    tenant.directory.update_user("olive", enabled=False)

    assert "AADSTS50057" in (await began(tenant, OLIVE)).landed.text
    assert "AADSTS50034" in (await began(tenant, "nobody@contoso.com")).landed.text


async def test_a_policy_that_blocks_somebody_says_so_on_the_page(tenant: TenantServers) -> None:
    tenant.faults.add(Rule("entra", "SIGN-IN", OLIVE, Refuse(53003)))

    assert "AADSTS53003" in (await began(tenant, OLIVE)).landed.text
    assert "code" in (await began(tenant, ANA)).answer


async def test_disabling_the_account_between_the_page_and_the_code_ends_it(tenant: TenantServers) -> None:
    begun = await began(tenant, OLIVE)
    tenant.directory.update_user("olive", enabled=False)

    assert (await begun.redeem())["error_codes"] == [50057]


# A second factor


async def test_an_administrator_approves_in_authenticator_and_may_deny(tenant: TenantServers) -> None:
    denied = await began(tenant, ANA, mfa=False)
    approved = await began(tenant, ANA)

    assert "AADSTS500121" in denied.landed.text
    assert "code" in approved.answer


async def test_whoever_has_no_method_sets_one_up_when_a_policy_asks(tenant: TenantServers) -> None:
    tenant.faults.start("mfa-for-people")

    refused = await began(tenant, OLIVE, mfa=False)
    assert tenant.directory.user("olive").methods == ()
    met = await began(tenant, OLIVE)

    assert "AADSTS500121" in refused.landed.text
    assert "code" in met.answer
    assert [method.kind for method in tenant.directory.user("olive").methods] == ["microsoftAuthenticator"]


async def test_a_policy_that_wants_a_second_factor_is_met_on_the_page_and_logged(tenant: TenantServers) -> None:
    tenant.entra.access.add_from_file("mfa-for-admins.json")
    tenant.entra.pages.mfa_for = "nobody"

    denied = await began(tenant, ANA, mfa=False)
    approved = await began(tenant, ANA)
    everyday = await began(tenant, OLIVE, mfa=False)  # is not asked

    assert "AADSTS500121" in denied.landed.text
    assert "code" in approved.answer
    assert "code" in everyday.answer
    assert [(line.code, line.judgement.status) for line in tenant.entra.access.sign_ins] == [
        (500121, "failure"),
        (0, "success"),
        (0, "notApplied"),
    ]


async def test_a_refresh_needs_the_second_factor_that_its_sign_in_had(tenant: TenantServers) -> None:
    without = await tokens_of(tenant, OLIVE)
    with_it = await tokens_of(tenant, ANA)
    tenant.faults.start("mfa-for-people")

    refused = await ask(tenant, grant_type="refresh_token", refresh_token=without["refresh_token"], scope=READ)
    served = await ask(tenant, grant_type="refresh_token", refresh_token=with_it["refresh_token"], scope=READ)

    assert (refused["error"], refused["error_codes"]) == ("interaction_required", [50076])
    assert "claims" in refused
    assert "access_token" in served


# What refresh tokens live through


async def test_msal_refreshes_silently_and_every_refresh_gives_a_new_token(tenant: TenantServers) -> None:
    begun = await began(tenant, OLIVE)
    first = await begun.redeem()
    (account,) = begun.app.get_accounts()

    fresh = await asyncio.to_thread(lambda: begun.app.acquire_token_silent([READ], account, force_refresh=True))
    (held,) = begun.app.token_cache.search("RefreshToken")

    assert fresh["access_token"] != first["access_token"]
    assert held["secret"] != first["refresh_token"]
    without_secret = await ask(
        tenant, grant_type="refresh_token", refresh_token=held["secret"], scope=READ, client_secret=""
    )
    assert without_secret["error_codes"] == [7000218]


@pytest.mark.parametrize("how", ["revoked", "disabled", "password", "consent"])
async def test_what_ends_a_session_ends_its_refresh_token(tenant: TenantServers, how: str) -> None:
    answer = await tokens_of(tenant, ANA, SET_UP)
    directory, codes = tenant.directory, {"revoked": 50173, "disabled": 50057, "password": 50173, "consent": 65001}
    match how:
        case "revoked":
            own_token = (await tokens_of(tenant, ANA, f"{GRAPH}/User.RevokeSessions.All"))["access_token"]
            await tenant.call(own_token, "POST", f"/users/{ANA}/revokeSignInSessions")
        case "disabled":
            directory.update_user(ANA, enabled=False)
        case "password":
            directory.set_password(ANA, "Marble-Otter-4711")
        case "consent":
            (own,) = [one for one in directory.latest.consents() if one.principal_id]
            directory.withdraw_consent(own.id)

    refused = await ask(tenant, grant_type="refresh_token", refresh_token=answer["refresh_token"], scope=SET_UP)

    assert refused["error_codes"] == [codes[how]]


async def test_a_session_that_understands_challenges_ends_at_once(tenant: TenantServers) -> None:
    app = await tenant.msal_app("signin", client_capabilities=["CP1"])
    answer = await tokens_of(tenant, OLIVE, app=app)
    assert (await tenant.call(answer["access_token"], "GET", "/me")).status == 200

    tenant.directory.update_user("olive", enabled=False)

    refused = await tenant.call(answer["access_token"], "GET", "/me")
    assert refused.status == 401
    assert "insufficient_claims" in refused.headers["WWW-Authenticate"]


# Consent


async def test_an_administrator_consents_for_themselves_and_nobody_else_has_it(tenant: TenantServers) -> None:
    answer = await tokens_of(tenant, ANA, SET_UP)

    assert known(tenant, answer).permissions == {"RoleManagement.ReadWrite.Directory"}
    assert tenant.directory.audits[-1].activity == "Consent to application"
    signin = tenant.directory.applications["signin"]
    for somebody_else in ("olive", "gary"):
        assert "RoleManagement.ReadWrite.Directory" not in tenant.directory.consented(
            signin, tenant.directory.user(somebody_else).id
        )


async def test_who_is_no_administrator_is_told_that_one_must_approve(tenant: TenantServers) -> None:
    begun = await began(tenant, OLIVE, SET_UP)

    assert begun.answer["error"] == "access_denied"
    assert begun.answer["error_description"].startswith("AADSTS90094:")


async def test_an_administrator_who_declines_comes_back_without_a_code(tenant: TenantServers) -> None:
    begun = await began(tenant, ANA, SET_UP, consent=False)

    assert begun.answer["error"] == "access_denied"
    assert begun.answer["error_description"].startswith("AADSTS65004:")
    assert tenant.directory.audits == []


async def test_consent_for_the_organisation_holds_for_everybody(tenant: TenantServers) -> None:
    await tokens_of(tenant, GARY, SET_UP, for_everyone=True)

    assert known(tenant, await tokens_of(tenant, OLIVE, SET_UP)).permissions == {"RoleManagement.ReadWrite.Directory"}


async def test_a_permission_nobody_consented_to_cannot_be_slipped_in_at_the_code(tenant: TenantServers) -> None:
    begun = await began(tenant, OLIVE)

    at_the_code = await ask(
        tenant, grant_type="authorization_code", code=begun.answer["code"], redirect_uri=CALLBACK,
        code_verifier=begun.flow["code_verifier"], scope=SET_UP,
    )  # fmt: skip
    refresh = (await tokens_of(tenant, OLIVE))["refresh_token"]
    later = await ask(tenant, grant_type="refresh_token", refresh_token=refresh, scope=SET_UP)

    assert (at_the_code["error_codes"], later["error_codes"]) == ([65001], [65001])


# Device codes


@dataclass
class DeviceFlow:
    """A sign-in by device code with MSAL's public client, polled once at a time."""

    tenant: TenantServers
    app: msal.PublicClientApplication
    flow: dict[str, Any] = field(default_factory=dict)

    async def begin(self, *scopes: str) -> None:
        self.flow = await asyncio.to_thread(self.app.initiate_device_flow, list(scopes or (READ,)))

    async def poll(self, after: float = 5) -> dict[str, Any]:
        self.tenant.clock.advance(after)
        once = {**self.flow, "expires_at": 0}  # MSAL then asks one time only
        answer: dict[str, Any] = await asyncio.to_thread(self.app.acquire_token_by_device_flow, once)
        return answer

    async def sign_in(self, upn: str, **wishes: Any) -> Landed:
        return await sign_in(
            self.tenant.http, self.flow["verification_uri"], upn, code=self.flow["user_code"], **wishes
        )


@pytest.fixture
async def device(tenant: TenantServers) -> DeviceFlow:
    http = RealPort(tenant.url, tenant.ca_file)
    tenant.opened.append(http)
    app = await asyncio.to_thread(
        lambda: msal.PublicClientApplication(
            tenant.directory.applications["signin"].app_id,
            authority=f"{tenant.url}/{tenant.directory.tenant.id}",
            instance_discovery=False,
            http_client=http,
        )
    )
    flow = DeviceFlow(tenant, app)
    await flow.begin()
    return flow


async def test_a_device_code_is_pending_until_somebody_typed_it_and_then_good_once(
    tenant: TenantServers, device: DeviceFlow
) -> None:
    pending = await device.poll()
    landed = await device.sign_in(ANA)
    answer = await device.poll()
    again = await device.poll()

    assert (device.flow["interval"], device.flow["expires_in"]) == (5, 900)
    assert (pending["error"], pending["error_codes"]) == ("authorization_pending", [70016])
    assert "You have signed in to the Latchkey sign-in application" in landed.text
    assert answer["id_token_claims"]["preferred_username"] == ANA
    assert again["error_codes"] == [54005]
    refreshed = await ask(
        tenant, grant_type="refresh_token", refresh_token=answer["refresh_token"], scope=READ, client_secret=""
    )
    assert "access_token" in refreshed


async def test_polling_faster_than_told_is_told_to_slow_down(device: DeviceFlow) -> None:
    assert (await device.poll())["error"] == "authorization_pending"
    assert (await device.poll(1))["error"] == "slow_down"
    assert (await device.poll(5))["error"] == "slow_down"
    assert (await device.poll(15))["error"] == "authorization_pending"


async def test_a_device_code_expires_after_fifteen_minutes(tenant: TenantServers, device: DeviceFlow) -> None:
    tenant.clock.advance(901)

    landed = await device.sign_in(ANA)
    answer = await device.poll()

    assert "That code didn't work" in landed.text
    assert (answer["error"], answer["error_codes"]) == ("expired_token", [70020])


async def test_declining_a_device_code_is_heard_by_the_application(device: DeviceFlow) -> None:
    landed = await device.sign_in(ANA, consent=False)

    assert "declined" in landed.text
    assert (await device.poll())["error"] == "authorization_declined"


async def test_a_wrong_user_code_signs_nobody_in(tenant: TenantServers, device: DeviceFlow) -> None:
    landed = await sign_in(tenant.http, device.flow["verification_uri"], ANA, code="WRONG0000")

    assert "That code didn't work" in landed.text
    assert (await device.poll())["error"] == "authorization_pending"


@pytest.mark.parametrize("code", [53003, 530033])
async def test_where_device_codes_are_forbidden_page_and_application_are_told(
    tenant: TenantServers, device: DeviceFlow, code: int
) -> None:
    if code == 53003:
        tenant.faults.start("device-codes-forbidden")
    else:
        tenant.faults.add(Rule("entra", "DEVICE-CODE", "*", Refuse(code)))

    landed = await device.sign_in(ANA)
    answer = await device.poll()

    assert f"AADSTS{code}" in landed.text
    assert answer["error_codes"] == [code]
    assert "code" in (await began(tenant, ANA)).answer  # the other way is open


async def test_forbidding_device_codes_ends_what_came_of_them(tenant: TenantServers, device: DeviceFlow) -> None:
    await device.sign_in(ANA)
    answer = await device.poll()
    tenant.faults.start("device-codes-forbidden")

    refused = await ask(tenant, grant_type="refresh_token", refresh_token=answer["refresh_token"], scope=READ)

    assert refused["error_codes"] == [530036]


def block_device_codes(tenant: TenantServers) -> None:
    policy = {
        "id": "11111111-0000-4000-8000-000000000001",
        "displayName": "No device codes",
        "state": "enabled",
        "conditions": {
            "clientAppTypes": ["all"],
            "applications": {"includeApplications": ["All"]},
            "users": {"includeUsers": ["All"]},
            "authenticationFlows": {"transferMethods": "deviceCodeFlow,authenticationTransfer"},
        },
        "grantControls": {"operator": "OR", "builtInControls": ["block"]},
    }
    tenant.entra.access.put_policy(complete(policy))


async def test_a_policy_about_authentication_flows_ends_device_codes_and_what_came_of_them(
    tenant: TenantServers, device: DeviceFlow
) -> None:
    await device.sign_in(ANA)
    answer = await device.poll()
    block_device_codes(tenant)
    await device.begin()

    landed = await device.sign_in(ANA)
    refused = await device.poll()
    refreshed = await ask(tenant, grant_type="refresh_token", refresh_token=answer["refresh_token"], scope=READ)

    assert "AADSTS53003" in landed.text
    assert (refused["error_codes"], refreshed["error_codes"]) == ([53003], [530036])
    assert "code" in (await began(tenant, ANA)).answer


async def test_a_device_that_must_be_compliant_is_one_at_the_desk_and_none_behind_a_device_code(
    tenant: TenantServers, device: DeviceFlow
) -> None:
    tenant.entra.access.add_from_file("compliant-device.json")

    landed = await device.sign_in(ANA)

    assert "AADSTS530033" in landed.text
    assert (await device.poll())["error_codes"] == [530033]
    assert "code" in (await began(tenant, ANA)).answer


async def test_only_the_sign_in_application_gets_device_codes(tenant: TenantServers) -> None:
    form = {"client_id": tenant.directory.applications["service"].app_id, "scope": READ}
    url = f"{tenant.url}/{tenant.directory.tenant.id}/oauth2/v2.0/devicecode"

    async with tenant.http.post(url, data=form) as answer:
        assert (await answer.json())["error_codes"] == [7000218]


async def test_a_page_cannot_be_framed_kept_or_used_twice(tenant: TenantServers) -> None:
    begun = await began(tenant, OLIVE)
    async with aiohttp.ClientSession(connector=tenant.http.connector, connector_owner=False) as session:
        async with session.get(begun.flow["auth_uri"]) as page:
            headers = page.headers
        url = f"{tenant.url}/{tenant.directory.tenant.id}/login"
        async with session.post(url, data={"ctx": "forged", "do": f"account:{ANA}"}) as forged:
            assert forged.status == 400

    assert (headers["X-Frame-Options"], headers["Cache-Control"]) == ("DENY", "no-store")


async def test_a_world_has_a_browser_of_its_own(tmp_path: Path) -> None:
    async with World(state=tmp_path / "world") as world:
        form = {"client_id": world.directory.applications["signin"].app_id, "scope": f"{READ} offline_access"}
        trusted = ssl.create_default_context(cafile=world.environment()["LATCHKEY_EXTRA_CA_FILE"])
        url = f"{world.tls_url}/{world.directory.tenant.id}/oauth2/v2.0/devicecode"
        async with aiohttp.ClientSession() as session, session.post(url, data=form, ssl=trusted) as answer:
            code = (await answer.json())["user_code"]

        landed = await world.sign_in(world.device_page, ANA, code=code)

    assert landed.text.startswith("Microsoft (sandbox) · Contoso You're signed in")
