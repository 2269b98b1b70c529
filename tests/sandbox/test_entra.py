"""Entra, asked by the real MSAL and azure.identity, answers as the real one would."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12

from sandbox.directory import SERVICE_ACCOUNT
from sandbox.entra import Token
from sandbox.faults import Answer, Drop, Rule
from sandbox.tls import make_application_certificate
from tests.sandbox.tenant_servers import GRAPH_SCOPE, TenantServers, tenant_servers


@pytest.fixture
async def tenant() -> AsyncIterator[TenantServers]:
    async with tenant_servers() as servers:
        yield servers


def known(tenant: TenantServers, answer: dict[str, Any]) -> Token:
    token = tenant.entra.token(answer["access_token"])
    assert token is not None
    return token


async def test_the_service_account_signs_in_with_its_password(tenant: TenantServers) -> None:
    answer = await tenant.sign_in()

    token = known(tenant, answer)
    assert token.user_id == tenant.directory.user(SERVICE_ACCOUNT).id
    assert token.audience == "graph"
    assert "User-PasswordProfile.ReadWrite.All" in token.permissions
    assert answer["id_token_claims"]["preferred_username"] == SERVICE_ACCOUNT
    assert [(one.subject, one.code) for one in tenant.entra.grants("password")] == [(SERVICE_ACCOUNT, 0)]


async def test_msal_makes_an_account_and_refreshes_silently(tenant: TenantServers) -> None:
    app = await tenant.msal_app("service")
    password = tenant.directory.password_of(SERVICE_ACCOUNT)
    first = await asyncio.to_thread(app.acquire_token_by_username_password, SERVICE_ACCOUNT, password, [GRAPH_SCOPE])

    (account,) = app.get_accounts()
    cached = await asyncio.to_thread(app.acquire_token_silent, [GRAPH_SCOPE], account)
    fresh = await asyncio.to_thread(lambda: app.acquire_token_silent([GRAPH_SCOPE], account, force_refresh=True))

    assert cached["access_token"] == first["access_token"]
    assert fresh["access_token"] != first["access_token"]
    assert [one.code for one in tenant.entra.grants("refresh_token")] == [0]


async def test_without_offline_access_there_is_no_refresh_token(tenant: TenantServers) -> None:
    with_refresh = await tenant.sign_in()
    without = await tenant.sign_in(exclude_scopes=["offline_access"])

    assert "refresh_token" in with_refresh
    assert "refresh_token" not in without


async def test_a_wrong_password_is_refused_as_entra_words_it(tenant: TenantServers) -> None:
    answer = await tenant.sign_in(password="not it")

    assert answer["error"] == "invalid_grant"
    assert answer["error_codes"] == [50126]
    assert answer["error_description"].startswith("AADSTS50126: ")
    for part in ("Trace ID: ", "Correlation ID: ", "Timestamp: "):
        assert part in answer["error_description"]
    assert answer["correlation_id"] == tenant.entra.grants("password")[0].correlation_id
    assert {"timestamp", "trace_id", "error_uri"} <= answer.keys()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"enabled": False}, 50057, id="blocked"),
        pytest.param({"must_change_password": True}, 50055, id="must change the password"),
    ],
)
async def test_an_account_that_may_not_sign_in_is_told_why(
    tenant: TenantServers, change: dict[str, bool], code: int
) -> None:
    tenant.directory.update_user("adele", **change)

    answer = await tenant.sign_in("adele@contoso.com", tenant.directory.password_of("adele"))

    assert answer["error_codes"] == [code]


async def test_an_unknown_user_is_refused(tenant: TenantServers) -> None:
    assert (await tenant.sign_in("nobody@contoso.com", "x"))["error_codes"] == [50034]
    assert (await tenant.sign_in("deleted@contoso.com", "x"))["error_codes"] == [50034]


async def test_ten_different_wrong_passwords_lock_the_account_for_a_minute(tenant: TenantServers) -> None:
    right = tenant.directory.password_of("adele")
    codes = [tenant.entra.try_password("adele", f"wrong {number}") for number in range(10)]

    assert codes == [50126] * 10
    assert tenant.entra.try_password("adele", right) == 50053
    tenant.clock.advance(61)
    assert tenant.entra.try_password("adele", right) == 0


async def test_the_same_wrong_password_again_and_again_locks_nobody_out(tenant: TenantServers) -> None:
    codes = {tenant.entra.try_password("adele", "yesterday's") for _ in range(50)}

    assert codes == {50126}
    assert tenant.entra.try_password("adele", tenant.directory.password_of("adele")) == 0


async def test_a_second_lockout_comes_sooner_and_lasts_longer(tenant: TenantServers) -> None:
    for number in range(10):
        tenant.entra.try_password("adele", f"wrong {number}")
    tenant.clock.advance(61)

    assert tenant.entra.try_password("adele", "wrong again") == 50126
    tenant.clock.advance(61)
    assert tenant.entra.try_password("adele", tenant.directory.password_of("adele")) == 50053


async def test_after_a_change_replicas_know_only_the_old_password_for_a_while(tenant: TenantServers) -> None:
    old = tenant.directory.password_of(SERVICE_ACCOUNT)
    tenant.entra.replication_lag = 30
    tenant.directory.set_password(SERVICE_ACCOUNT, "Brand-new-1-secret")

    assert tenant.entra.try_password(SERVICE_ACCOUNT, old) == 0
    assert tenant.entra.try_password(SERVICE_ACCOUNT, "Brand-new-1-secret") == 50126
    tenant.clock.advance(31)
    assert tenant.entra.try_password(SERVICE_ACCOUNT, old) == 50126
    assert tenant.entra.try_password(SERVICE_ACCOUNT, "Brand-new-1-secret") == 0


@pytest.mark.parametrize(
    ("fault", "code", "error", "suberror"),
    [
        ("policy-blocks-service-account", 53003, "interaction_required", "message_only"),
        ("mfa-required", 50076, "interaction_required", "basic_action"),
        ("wrong-password", 50126, "invalid_grant", None),
        ("account-disabled", 50057, "invalid_grant", None),
    ],
)
async def test_a_named_fault_stops_the_service_account_and_nobody_else(
    tenant: TenantServers, fault: str, code: int, error: str, suberror: str | None
) -> None:
    tenant.faults.start(fault)

    answer = await tenant.sign_in()

    assert (answer["error_codes"], answer["error"], answer.get("suberror")) == ([code], error, suberror)
    assert ("claims" in answer) is (code in (53003, 50076))
    assert tenant.entra.try_password("adele", tenant.directory.password_of("adele")) == 0
    tenant.faults.stop(fault)
    assert "access_token" in await tenant.sign_in()


async def test_a_policy_is_not_looked_at_before_the_password_is_right(tenant: TenantServers) -> None:
    tenant.faults.start("policy-blocks-service-account")

    assert (await tenant.sign_in(password="wrong"))["error_codes"] == [50126]


async def test_permissions_nobody_consented_to_are_refused(tenant: TenantServers) -> None:
    answer = await tenant.sign_in(scope="https://graph.microsoft.com/Mail.Send")

    assert answer["error_codes"] == [65001]
    assert answer["suberror"] == "consent_required"


async def test_a_single_permission_gives_a_token_for_that_alone(tenant: TenantServers) -> None:
    answer = await tenant.sign_in(scope="https://graph.microsoft.com/User.Read.All")

    assert known(tenant, answer).permissions == {"User.Read.All"}


async def test_a_graph_addressed_by_its_own_host_is_the_same_graph(tenant: TenantServers) -> None:
    answer = await tenant.sign_in(scope=f"{tenant.url}/.default")

    assert known(tenant, answer).audience == "graph"


async def test_an_application_gets_tokens_for_one_resource_each(tenant: TenantServers) -> None:
    graph, vault = await tenant.app_token(), await tenant.app_token(scope="https://vault.azure.net/.default")

    for_graph, for_vault = tenant.entra.token(graph), tenant.entra.token(vault)
    assert for_graph is not None
    assert for_vault is not None
    assert (for_graph.audience, for_vault.audience) == ("graph", "vault")
    assert for_graph.user_id is None
    assert for_vault.permissions == frozenset()


async def test_the_worker_signs_in_with_the_certificate_it_finds_in_the_vault(tenant: TenantServers) -> None:
    packed = base64.b64decode(tenant.vault.versions("latchkey-worker-certificate")[0].value)
    key, certificate, _ = pkcs12.load_key_and_certificates(packed, None)
    assert key is not None
    assert certificate is not None
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    credential = {
        "private_key": pem.decode(),
        "public_certificate": certificate.public_bytes(Encoding.PEM).decode(),
    }

    app = await tenant.msal_app("worker", credential)
    answer = await asyncio.to_thread(app.acquire_token_for_client, [GRAPH_SCOPE])
    app_for_vault = await asyncio.to_thread(app.acquire_token_for_client, ["https://vault.azure.net/.default"])

    token = known(tenant, answer)
    assert token.client.key == "worker"
    assert "User.ReadWrite.All" in token.permissions
    assert known(tenant, app_for_vault).audience == "vault"


async def test_a_certificate_that_is_not_registered_is_refused(tenant: TenantServers) -> None:
    stranger = base64.b64decode(make_application_certificate("stranger").pkcs12)
    key, certificate, _ = pkcs12.load_key_and_certificates(stranger, None)
    assert key is not None
    assert certificate is not None
    credential = {
        "private_key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        "public_certificate": certificate.public_bytes(Encoding.PEM).decode(),
    }

    app = await tenant.msal_app("worker", credential)
    answer = await asyncio.to_thread(app.acquire_token_for_client, [GRAPH_SCOPE])

    assert (answer["error"], answer["error_codes"]) == ("invalid_client", [700027])


async def test_a_wrong_client_secret_is_refused(tenant: TenantServers) -> None:
    app = await tenant.msal_app("service", "guessed")
    password = tenant.directory.password_of(SERVICE_ACCOUNT)

    answer = await asyncio.to_thread(app.acquire_token_by_username_password, SERVICE_ACCOUNT, password, [GRAPH_SCOPE])

    assert (answer["error"], answer["error_codes"]) == ("invalid_client", [7000215])


async def test_a_tenant_that_does_not_exist_is_not_found(tenant: TenantServers) -> None:
    with pytest.raises(ValueError, match="Unable to get authority configuration"):
        await tenant.msal_app("service", tenant="11111111-2222-4333-8444-555555555555")


@pytest.mark.parametrize(
    ("form", "status", "code"),
    [
        pytest.param({"grant_type": ""}, 400, 900144, id="no grant type"),
        pytest.param({"grant_type": "implicit"}, 400, 70003, id="unknown grant type"),
        pytest.param({"client_id": "11111111-2222-4333-8444-555555555555"}, 400, 700016, id="unknown application"),
        pytest.param({"client_secret": ""}, 401, 7000218, id="no secret"),
        pytest.param({"scope": "https://graph.microsoft.com/User.Read.All"}, 400, 1002012, id="not .default"),
        pytest.param({"scope": "https://unknown.example/.default"}, 400, 500011, id="unknown resource"),
        pytest.param({"client_assertion": "a.b.c"}, 400, 900144, id="assertion of an unnamed type"),
    ],
)
async def test_a_malformed_token_request_names_what_is_wrong(
    tenant: TenantServers, form: dict[str, str], status: int, code: int
) -> None:
    bot = tenant.directory.applications["bot"]
    whole = {
        "grant_type": "client_credentials",
        "client_id": bot.app_id,
        "client_secret": bot.secret or "",
        "scope": GRAPH_SCOPE,
        **form,
    }

    async with tenant.http.post(f"{tenant.url}/{tenant.directory.tenant.id}/oauth2/v2.0/token", data=whole) as answer:
        body = await answer.json()

    assert (answer.status, body["error_codes"]) == (status, [code])
    assert tenant.entra.requests[-1].code == code


@pytest.mark.parametrize("authority", ["common", "organizations"])
async def test_an_application_needs_the_tenants_own_authority(tenant: TenantServers, authority: str) -> None:
    bot = tenant.directory.applications["bot"]
    form = {
        "grant_type": "client_credentials",
        "client_id": bot.app_id,
        "client_secret": bot.secret or "",
        "scope": GRAPH_SCOPE,
    }

    async with tenant.http.post(f"{tenant.url}/{authority}/oauth2/v2.0/token", data=form) as answer:
        body = await answer.json()

    assert body["error_codes"] == [50059]


async def test_a_refresh_token_dies_with_the_password_it_came_from(tenant: TenantServers) -> None:
    app = await tenant.msal_app("service")
    password = tenant.directory.password_of(SERVICE_ACCOUNT)
    await asyncio.to_thread(app.acquire_token_by_username_password, SERVICE_ACCOUNT, password, [GRAPH_SCOPE])
    tenant.directory.set_password(SERVICE_ACCOUNT, "Brand-new-1-secret")

    answer = await asyncio.to_thread(
        lambda: app.acquire_token_silent_with_error([GRAPH_SCOPE], app.get_accounts()[0], force_refresh=True)
    )

    assert answer["error_codes"] == [50173]


async def test_a_users_token_ends_by_the_worlds_clock_an_applications_by_the_machines(tenant: TenantServers) -> None:
    users = tenant.entra.token(await tenant.service_token())
    applications = tenant.entra.token(await tenant.app_token())
    assert users is not None
    assert applications is not None

    tenant.clock.advance(2 * 3600)

    assert tenant.entra.expired(users)
    assert not tenant.entra.expired(applications)
    assert time.time() < applications.issued_at + applications.lifetime


async def test_entra_down_is_a_503_for_everything(tenant: TenantServers) -> None:
    tenant.faults.start("entra-down")

    for path in (
        "/common/userrealm/a@contoso.com",
        f"/{tenant.directory.tenant.id}/v2.0/.well-known/openid-configuration",
    ):
        async with tenant.http.get(f"{tenant.url}{path}") as answer:
            assert answer.status == 503


async def test_a_dropped_token_answer_counts_as_a_sign_in_that_nobody_heard_of(tenant: TenantServers) -> None:
    app = await tenant.msal_app("service")
    tenant.faults.add(Rule("entra", "POST", "/oauth2/v2.0/token", Drop("after"), times=1))
    password = tenant.directory.password_of(SERVICE_ACCOUNT)

    with pytest.raises(OSError, match=r"Connection aborted"):
        await asyncio.to_thread(app.acquire_token_by_username_password, SERVICE_ACCOUNT, password, [GRAPH_SCOPE])

    assert [one.code for one in tenant.entra.grants("password")] == [0]


async def test_throttling_can_be_added_by_rule(tenant: TenantServers) -> None:
    tenant.faults.add(Rule("entra", "POST", "/oauth2/v2.0/token", Answer(429, "", {"Retry-After": "7"}), times=1))
    bot = tenant.directory.applications["bot"]

    async with tenant.http.post(
        f"{tenant.url}/{tenant.directory.tenant.id}/oauth2/v2.0/token", data={"client_id": bot.app_id}
    ) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
    assert tenant.entra.requests[-1].code is None
