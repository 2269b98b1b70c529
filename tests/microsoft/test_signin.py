"""Signing in at the sandbox's Entra with the real MSAL: another port, a private authority, every refusal."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from bot.errors import ConfigurationError, Retry, SignInCategory, SignInFailed
from bot.microsoft.signin import EntraSignIn, graph_scope
from bot.model import Secret
from sandbox.directory import SERVICE_ACCOUNT
from sandbox.faults import Answer, Drop, Rule
from sandbox.tls import make_application_certificate
from tests.clock import T0
from tests.microsoft.tenant import Contoso

TOKEN = "/oauth2/v2.0/token"


async def refused(work: Awaitable[object]) -> SignInFailed:
    with pytest.raises(SignInFailed) as failure:
        await work
    return failure.value


async def test_the_service_account_signs_in_through_a_port_and_a_private_authority(contoso: Contoso) -> None:
    token = await contoso.sign_in().service_account(SERVICE_ACCOUNT, contoso.password)

    assert timedelta(minutes=59) < token.expires_at - T0 < timedelta(minutes=91)
    assert "Secret(•••)" in repr(token)
    paths = [request.path for request in contoso.servers.entra.requests]
    assert paths == ["/v2.0/.well-known/openid-configuration", f"/userrealm/{SERVICE_ACCOUNT}", TOKEN]


async def test_no_refresh_token_is_left_behind(contoso: Contoso) -> None:
    await contoso.sign_in().service_account(SERVICE_ACCOUNT, contoso.password)

    assert not contoso.servers.entra._refresh_tokens


@pytest.mark.parametrize("form", ["pkcs12", "pem"])
async def test_the_application_signs_in_with_either_form_of_its_certificate(contoso: Contoso, form: str) -> None:
    packed = contoso.servers.directory.worker_certificate.pkcs12
    bundle = pkcs12.load_pkcs12(base64.b64decode(packed), None)
    assert bundle.key is not None
    assert bundle.cert is not None
    key = bundle.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem = (key + bundle.cert.certificate.public_bytes(Encoding.PEM)).decode()

    await contoso.sign_in().application(Secret(pem if form == "pem" else packed))

    assert [request.code for request in contoso.servers.entra.grants("client_credentials")] == [0]


def broken_certificates() -> list[str]:
    elliptic = ec.generate_private_key(ec.SECP256R1())
    own = make_application_certificate("own")
    key = pkcs12.load_pkcs12(base64.b64decode(own.pkcs12), None).key
    assert key is not None
    locked = pkcs12.serialize_key_and_certificates(
        b"x",
        key,  # type: ignore[arg-type]  # RSA, as make_application_certificate says
        own.certificate,
        None,
        BestAvailableEncryption(b"unknown"),
    )
    certificate = own.certificate.public_bytes(Encoding.PEM).decode()
    return [
        "",
        "not a certificate",
        base64.b64encode(b"not PKCS#12").decode(),
        base64.b64encode(locked).decode(),
        certificate,
        elliptic.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode() + certificate,
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")).decode() + certificate,
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----" + certificate,
    ]


async def test_a_certificate_that_cannot_be_used_is_said_to_be_so(contoso: Contoso) -> None:
    for certificate in broken_certificates():
        error = await refused(contoso.sign_in().application(Secret(certificate)))

        assert (error.category, error.retry) == (SignInCategory.APP_CONFIG, Retry.AFTER_FIX)
        assert "certificate in Key Vault" in str(error)
    assert not contoso.servers.entra.requests


async def test_a_certificate_entra_does_not_know_is_refused(contoso: Contoso) -> None:
    error = await refused(contoso.sign_in().application(Secret(make_application_certificate("other").pkcs12)))

    assert (error.code, error.category) == (700027, SignInCategory.APP_CONFIG)


@pytest.mark.parametrize(
    ("fault", "code", "category", "what_if"),
    [
        ("wrong-password", 50126, SignInCategory.CREDENTIALS, False),
        ("account-disabled", 50057, SignInCategory.ACCOUNT_STATE, False),
        ("mfa-required", 50076, SignInCategory.MFA, True),
        ("policy-blocks-service-account", 53003, SignInCategory.CONDITIONAL_ACCESS, True),
        ("entra-down", 90033, SignInCategory.SERVICE, False),
    ],
)
async def test_each_way_entra_says_no_is_explained_and_ends_when_its_cause_does(
    contoso: Contoso, fault: str, code: int, category: SignInCategory, what_if: bool
) -> None:
    contoso.servers.faults.start(fault)
    error = await refused(contoso.sign_in().service_account(SERVICE_ACCOUNT, contoso.password))

    assert (error.code, error.category, error.what_if_helps) == (code, category, what_if)
    assert error.correlation_id or fault == "entra-down"
    assert (error.claims is not None) == (category in {SignInCategory.MFA, SignInCategory.CONDITIONAL_ACCESS})

    # No answer comes from MSAL's memory: the very next sign-in asks Entra, and succeeds.
    contoso.servers.faults.stop(fault)
    await contoso.sign_in().service_account(SERVICE_ACCOUNT, contoso.password)


async def test_a_wrong_password_is_asked_about_each_time_and_locks_in_the_end(contoso: Contoso) -> None:
    sign_in = contoso.sign_in()
    codes = [
        (await refused(sign_in.service_account(SERVICE_ACCOUNT, Secret(f"wrong {number}")))).code
        for number in range(contoso.servers.entra.lockout_threshold + 1)
    ]

    assert codes == [50126] * contoso.servers.entra.lockout_threshold + [50053]
    assert len(contoso.servers.entra.grants("password")) == len(codes)


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"client_secret": "not the secret"}, 7000215),
        ({"tenant_id": "00000000-0000-0000-0000-000000000000"}, 90002),
    ],
)
async def test_wrong_settings_are_named(contoso: Contoso, settings: dict[str, str], code: int) -> None:
    error = await refused(contoso.sign_in(**settings).service_account(SERVICE_ACCOUNT, contoso.password))

    assert (error.code, error.retry) == (code, Retry.NO)


async def test_somebody_unknown_is_unknown(contoso: Contoso) -> None:
    error = await refused(contoso.sign_in().service_account("nobody@contoso.com", contoso.password))

    assert error.code == 50034


@pytest.mark.parametrize("name", ["", "svc", "../admin@contoso.com", "a?b@contoso.com", "a#@contoso.com", "a b@c.d"])
async def test_what_is_no_user_name_never_becomes_part_of_an_address(contoso: Contoso, name: str) -> None:
    error = await refused(contoso.sign_in().service_account(name, contoso.password))

    assert error.category is SignInCategory.CREDENTIALS
    assert not contoso.servers.entra.requests


async def test_what_is_not_set_is_named(contoso: Contoso) -> None:
    bare = EntraSignIn(
        authority_host=contoso.servers.url,
        tenant_id="t",
        graph_url="https://graph.microsoft.com/v1.0",
        clock=contoso.clock,
        http=contoso.http,
    )
    with pytest.raises(ConfigurationError, match="LATCHKEY_SERVICE_CLIENT_ID"):
        await bare.service_account(SERVICE_ACCOUNT, contoso.password)
    with pytest.raises(ConfigurationError, match="LATCHKEY_WORKER_CLIENT_ID"):
        await bare.application(Secret("x"))
    for host in ("http://login.microsoftonline.com", "https://login.microsoftonline.com/common"):
        with pytest.raises(ConfigurationError, match="LATCHKEY_AUTHORITY_HOST"):
            contoso.sign_in(authority_host=host)


EVIL = "https://evil.example/contoso/oauth2/v2.0"


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        (
            "/userrealm/*",
            Answer(200, {"account_type": "Federated", "federation_metadata_url": "https://adfs.example/mex"}),
        ),
        (
            "/v2.0/.well-known/openid-configuration",
            Answer(200, {"authorization_endpoint": f"{EVIL}/authorize", "token_endpoint": f"{EVIL}/token"}),
        ),
        (
            "/v2.0/.well-known/openid-configuration",
            Answer(200, {"authorization_endpoint": "x", "token_endpoint": "http://localhost/t/oauth2/v2.0/token"}),
        ),
    ],
    ids=["federated", "another server", "without TLS"],
)
async def test_the_password_goes_to_the_configured_authority_and_nowhere_else(
    contoso: Contoso, path: str, answer: Answer
) -> None:
    contoso.servers.faults.add(Rule("entra", "GET", path, answer))

    error = await refused(contoso.sign_in().service_account(SERVICE_ACCOUNT, contoso.password))

    assert error.category in {SignInCategory.FEDERATION, SignInCategory.UNKNOWN}
    assert not contoso.servers.entra.grants("password")


@pytest.mark.parametrize("path", ["/v2.0/.well-known/openid-configuration", "/userrealm/*", TOKEN])
@pytest.mark.parametrize(
    ("effect", "category"),
    [
        (Answer(200, "<html>Please sign in to the Wi-Fi</html>"), SignInCategory.NETWORK),
        (Answer(200, '{"access_token": "ey'), SignInCategory.NETWORK),
        (Answer(200, "[]"), SignInCategory.NETWORK),
        (Answer(302, "", {"Location": "https://evil.example/"}), SignInCategory.NETWORK),
        (Answer(403, "Blocked by the firewall"), SignInCategory.NETWORK),
        (Answer(429, {"error": "too_many"}, {"Retry-After": "60"}), SignInCategory.THROTTLING),
        (Answer(502, "Bad gateway"), SignInCategory.SERVICE),
        (Answer(503, {"error": "x", "error_codes": [1]}), SignInCategory.SERVICE),
        (Answer(400, {"error": "x", "error_codes": [1]}), SignInCategory.UNKNOWN),
        (Drop("before"), SignInCategory.NETWORK),
    ],
)
async def test_whatever_stands_in_entra_s_place_is_recognised(
    contoso: Contoso, path: str, effect: Answer | Drop, category: SignInCategory
) -> None:
    contoso.servers.faults.add(Rule("entra", "*", path, effect))

    error = await refused(contoso.sign_in().service_account(SERVICE_ACCOUNT, contoso.password))

    assert error.category is category


@pytest.mark.parametrize("body", [{}, {"token_endpoint": 5}, {"authorization_endpoint": "x", "token_endpoint": "x"}])
async def test_a_discovery_document_of_nonsense_is_not_understood(contoso: Contoso, body: dict[str, object]) -> None:
    contoso.servers.faults.add(Rule("entra", "GET", "/v2.0/.well-known/openid-configuration", Answer(200, body)))

    error = await refused(contoso.sign_in().service_account(SERVICE_ACCOUNT, contoso.password))

    assert error.category is SignInCategory.UNKNOWN
    assert "LATCHKEY_TENANT_ID" in str(error)


async def test_an_entra_that_is_away_or_not_trusted_is_a_matter_of_the_network(contoso: Contoso) -> None:
    async with asyncio.timeout(30), await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as nobody:
        port = nobody.sockets[0].getsockname()[1]
    away = await refused(
        contoso.sign_in(authority_host=f"https://localhost:{port}").service_account(SERVICE_ACCOUNT, contoso.password)
    )
    assert (away.category, away.retry) == (SignInCategory.NETWORK, Retry.BACKOFF)

    stranger = EntraSignIn(
        authority_host=contoso.servers.url,
        tenant_id="t",
        graph_url="https://graph.microsoft.com/v1.0",
        clock=contoso.clock,
        http=contoso.http,
        worker_client_id="w",
    )
    untrusted = await refused(stranger.application(Secret(contoso.servers.directory.worker_certificate.pkcs12)))
    assert (untrusted.category, untrusted.retry) == (SignInCategory.NETWORK, Retry.AFTER_FIX)
    assert "LATCHKEY_EXTRA_CA_FILE" in str(untrusted)


async def test_sign_ins_do_not_stop_the_loop(contoso: Contoso) -> None:
    contoso.servers.faults.add(Rule("entra", "POST", TOKEN, Drop("before"), times=1))
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    await refused(contoso.sign_in().service_account(SERVICE_ACCOUNT, contoso.password))
    turning.cancel()

    # The servers run in this very loop: had the sign-in blocked it, it would never have come back.
    assert turns > 10


@pytest.mark.parametrize(
    ("graph_url", "scope"),
    [
        ("https://graph.microsoft.com/v1.0", "https://graph.microsoft.com/.default"),
        ("https://dod-graph.microsoft.us/v1.0", "https://dod-graph.microsoft.us/.default"),
        ("https://microsoftgraph.chinacloudapi.cn/v1.0", "https://microsoftgraph.chinacloudapi.cn/.default"),
        ("https://gateway.contoso.com:8443/graph/v1.0", "https://graph.microsoft.com/.default"),
    ],
)
def test_a_token_is_asked_for_the_graph_of_the_cloud(graph_url: str, scope: str) -> None:
    assert graph_scope(graph_url) == scope
