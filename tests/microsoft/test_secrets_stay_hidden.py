"""No password, token or client secret in any error, traceback or log line, whatever goes wrong."""

from __future__ import annotations

import logging
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from azure.identity.aio import ClientSecretCredential

from bot.errors import LatchkeyError
from bot.microsoft.certificates import EntraCertificates
from bot.microsoft.client import MicrosoftTenant
from bot.microsoft.http import azure_transport
from bot.microsoft.sdk_logs import quiet_sdk_loggers
from bot.model import Call, Generated, Secret
from bot.rotating_certificate import CertificateCredential
from sandbox.directory import SERVICE_ACCOUNT
from sandbox.faults import Answer, Drop, Effect, Rule
from sandbox.tls import make_application_certificate
from sandbox.vault import SERVICE_ACCOUNT_SECRET
from storage.vault import KeyVault
from tests.microsoft.tenant import Contoso, no_trail

NEW_PASSWORD = Secret("Canary-New-Password-77")
STORED = Secret("Canary-Stored-Value-88")

CERTIFICATE = Secret(make_application_certificate("new").pkcs12)
PROOF = "eyJhbGciOiAiUlMyNTYi"
"""How the token begins that proves to Graph who has a certificate."""

Work = Callable[[], Coroutine[Any, Any, object]]


class Everything(logging.Handler):
    """Keeps every line of every logger, with all that was given as `extra` and its traceback."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.getMessage()} {vars(record)} {record.exc_text}")
        if record.exc_info:
            self.lines.append(shown(record.exc_info[1]))


@contextmanager
def listening() -> Iterator[Everything]:
    """The root logger at DEBUG, as the worst administrator would set it."""
    root, heard = logging.getLogger(), Everything()
    before = root.level
    root.addHandler(heard)
    root.setLevel(logging.DEBUG)
    quiet_sdk_loggers()
    try:
        yield heard
    finally:
        root.removeHandler(heard)
        root.setLevel(before)


def shown(error: BaseException | None) -> str:
    """All that can be seen of an error: its traceback, its attributes, and the same of all it hangs on to."""
    seen: list[str] = []
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is not None:
            seen += [repr(one), str(one), repr(vars(one)), *traceback.format_exception(one)]
            waiting += [one.__cause__, one.__context__]
    return "\n".join(seen)


def frames_of(error: BaseException) -> Iterator[str]:
    """The local variables of every frame an error hangs on to, in our own code and the libraries'."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if "/tests/" not in frame.f_code.co_filename:
            yield from (f"{name}={value!r}" for name, value in frame.f_locals.items())


@pytest.fixture
async def vault(contoso: Contoso) -> AsyncIterator[KeyVault]:
    app, transport = contoso.servers.directory.applications["bot"], azure_transport(contoso.http)
    credential = ClientSecretCredential(
        contoso.servers.directory.tenant.id,
        app.app_id,
        app.secret or "",
        authority=contoso.servers.url,
        transport=transport,
        retry_total=0,
    )
    url, clock = contoso.servers.vault_url, contoso.clock
    yield KeyVault(url, credential, lambda: transport, clock, verify_challenge_resource=False)
    await credential.close()


def certificate_of(contoso: Contoso) -> CertificateCredential:
    return CertificateCredential(
        secret_name="latchkey-worker-certificate",
        account=contoso.servers.directory.applications["worker"].app_id,
        name="Latchkey worker",
        signing_in=contoso.sign_in(),
        tenant=MicrosoftTenant.at(f"{contoso.servers.url}/graph/v1.0", contoso.http, contoso.clock),
        certificates=EntraCertificates(contoso.clock),
    )


EFFECTS: list[Effect] = [
    Answer(200, "<html>proxy</html>"),
    Answer(200, '{"access_token": "Canary-Half-Token", "expires_in'),
    Answer(400, {"error": "invalid_grant", "error_codes": [50126], "error_description": "x"}),
    Answer(401, None),
    Answer(403, None),
    Answer(404, None),
    Answer(429, None, {"Retry-After": "1"}),
    Answer(500, None),
    Answer(503, "<html>down</html>"),
    Answer(302, None, {"Location": "https://evil.example/?take=this"}),
    Drop("before"),
    Drop("after"),
]


@pytest.mark.parametrize("effect", EFFECTS, ids=repr)
@pytest.mark.parametrize("service", ["entra", "graph", "vault"])
async def test_every_way_to_fail_keeps_quiet(contoso: Contoso, vault: KeyVault, service: str, effect: Effect) -> None:
    tokens = contoso.tokens()
    graph = contoso.graph(tokens)
    profile = {"passwordProfile": {"password": Generated.PASSWORD.marker}}
    reset = Call("PATCH", ("users", "adele@contoso.com"), profile)
    first = Secret(contoso.servers.directory.worker_certificate.pkcs12)
    work: dict[str, list[Work]] = {
        "entra": [
            lambda: contoso.sign_in().service_account(SERVICE_ACCOUNT, contoso.password),
            lambda: contoso.sign_in().application(first),
            lambda: vault.read(SERVICE_ACCOUNT_SECRET),
        ],
        "graph": [
            lambda: graph.get("users", "adele@contoso.com"),
            lambda: graph.send(reset, attempt_id="a", generated=NEW_PASSWORD),
            lambda: certificate_of(contoso).change(first, CERTIFICATE, no_trail),
            lambda: certificate_of(contoso).withdraw(CERTIFICATE, first, no_trail),
        ],
        "vault": [
            lambda: vault.versions(SERVICE_ACCOUNT_SECRET),
            lambda: vault.read(SERVICE_ACCOUNT_SECRET),
            lambda: vault.store("other", STORED, tags={}),
        ],
    }
    if service == "graph":
        await tokens.token()
    if service == "vault":
        await vault.versions(SERVICE_ACCOUNT_SECRET)  # so that the bot's own token is there
    contoso.servers.faults.add(Rule(service, "*", "*", effect))  # type: ignore[arg-type]  # one of the three

    with listening() as heard:
        for one in work[service]:
            try:
                await one()
            except LatchkeyError as error:
                heard.lines += [shown(error), *frames_of(error)]

    apps = contoso.servers.directory.applications.values()
    secrets = [
        contoso.password.reveal(),
        NEW_PASSWORD.reveal(),
        STORED.reveal(),
        "Canary-Half-Token",
        *(app.secret for app in apps if app.secret),
        *contoso.servers.entra._tokens,
    ]
    everything = "\n".join(heard.lines)
    assert everything
    assert [secret for secret in secrets if secret in everything] == []
    assert "PRIVATE KEY" not in everything
    assert PROOF not in everything
    assert CERTIFICATE.reveal()[200:260] not in everything


async def test_a_success_is_as_quiet(contoso: Contoso, vault: KeyVault) -> None:
    contoso.clock.set(datetime.fromtimestamp(contoso.servers.clock.now(), UTC))
    certificate, first = certificate_of(contoso), Secret(contoso.servers.directory.worker_certificate.pkcs12)
    with listening() as heard:
        await certificate.change(first, CERTIFICATE, no_trail)
        await certificate.withdraw(first, CERTIFICATE, no_trail)
        graph = contoso.graph()
        profile = {"passwordProfile": {"password": Generated.PASSWORD.marker}}
        await graph.send(Call("PATCH", ("users", "adele@contoso.com"), profile), attempt_id="a", generated=NEW_PASSWORD)
        await vault.store("other", STORED, tags={})
        password = await vault.read("other")
        heard.lines.append(repr(password))

    everything = "\n".join(heard.lines)
    secrets = [contoso.password.reveal(), NEW_PASSWORD.reveal(), STORED.reveal(), *contoso.servers.entra._tokens]
    secrets += [PROOF, CERTIFICATE.reveal()[200:260], "PRIVATE KEY"]
    assert [secret for secret in secrets if secret in everything] == []
