"""Key Vault through the real Azure SDK, against the sandbox's vault."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass

import aiohttp
import pytest
from azure.identity.aio import ClientSecretCredential

from bot.errors import ConfigurationError, VaultProblem
from bot.microsoft.http import azure_transport
from bot.model import Secret
from sandbox.faults import Answer, Drop, Rule
from sandbox.vault import SERVICE_ACCOUNT_SECRET, WORKER_CERTIFICATE_SECRET
from storage.vault import KeyVault
from tests.microsoft.tenant import Contoso, open_contoso


@dataclass
class Opened:
    vault: KeyVault
    contoso: Contoso

    def breaks(self, method: str, effect: Answer | Drop, *, times: int | None = None) -> None:
        self.contoso.servers.faults.add(Rule("vault", method, "/secrets/*", effect, times=times))

    def count(self, operation: str) -> int:
        return self.contoso.servers.vault.count(operation)


@pytest.fixture
async def opened() -> AsyncIterator[Opened]:
    async with open_contoso() as contoso:
        vault, credential = open_vault(contoso)
        yield Opened(vault, contoso)
        await vault.close()
        await credential.close()


def open_vault(
    contoso: Contoso, *, http: aiohttp.ClientSession | None = None, client_secret: str = "", verify: bool = False
) -> tuple[KeyVault, ClientSecretCredential]:
    transport = azure_transport(http or contoso.http)
    app = contoso.servers.directory.applications["bot"]
    credential = ClientSecretCredential(
        contoso.servers.directory.tenant.id,
        app.app_id,
        client_secret or app.secret or "",
        authority=contoso.servers.url,
        transport=transport,
        retry_total=0,
    )
    url = contoso.servers.vault_url
    return KeyVault(url, credential, lambda: transport, contoso.clock, verify_challenge_resource=verify), credential


async def problem(work: Awaitable[object]) -> VaultProblem:
    with pytest.raises(VaultProblem) as found:
        await work
    return found.value


async def test_the_service_account_s_password_is_one_listing_and_one_get_away(opened: Opened) -> None:
    (version,) = await opened.vault.versions(SERVICE_ACCOUNT_SECRET)
    password = await opened.vault.read(SERVICE_ACCOUNT_SECRET, version.version)

    assert version.tags == {"state": "current"}
    assert version.enabled
    assert password.reveal() == opened.contoso.password.reveal()
    assert password.reveal() not in repr((version, password))
    assert (opened.count("list"), opened.count("get")) == (1, 1)


async def test_the_worker_s_certificate_is_a_secret_that_signs_in(opened: Opened) -> None:
    certificate = await opened.vault.read(WORKER_CERTIFICATE_SECRET)

    await opened.contoso.sign_in().application(certificate)


async def test_versions_are_stored_labelled_and_listed_newest_first(opened: Opened) -> None:
    opened.contoso.servers.vault.page_size = 2
    stored = []
    for number in range(5):
        opened.contoso.servers.clock.advance(60)
        stored.append(await opened.vault.store("password", Secret(f"v{number}"), tags={"state": "pending"}))

    await opened.vault.label("password", stored[0].version, tags={"state": "refused"}, enabled=False)
    listed = await opened.vault.versions("password")

    assert [one.version for one in listed] == [one.version for one in reversed(stored)]
    assert [one.enabled for one in listed] == [True] * 4 + [False]
    assert (listed[0].tags, listed[-1].tags) == ({"state": "pending"}, {"state": "refused"})
    assert (await opened.vault.read("password")).reveal() == "v4"
    assert (await opened.vault.read("password", stored[1].version)).reveal() == "v1"


async def test_a_secret_that_never_was_has_no_versions_and_cannot_be_read(opened: Opened) -> None:
    assert await opened.vault.versions("nothing") == []
    assert (await problem(opened.vault.read("nothing"))).reason == "missing"


async def test_a_disabled_version_is_told_from_a_missing_permission(opened: Opened) -> None:
    (version,) = await opened.vault.versions(SERVICE_ACCOUNT_SECRET)
    await opened.vault.label(SERVICE_ACCOUNT_SECRET, version.version, tags=version.tags, enabled=False)
    disabled = await problem(opened.vault.read(SERVICE_ACCOUNT_SECRET, version.version))

    opened.contoso.servers.faults.start("vault-forbidden")
    forbidden = await problem(opened.vault.read(SERVICE_ACCOUNT_SECRET))

    assert (disabled.reason, forbidden.reason) == ("disabled", "forbidden")
    assert "Key Vault Secrets Officer" in str(forbidden)
    assert opened.contoso.clock.waits == []


async def test_the_vault_s_firewall_is_named(opened: Opened) -> None:
    inner = {"error": {"code": "Forbidden", "message": "x", "innererror": {"code": "ForbiddenByFirewall"}}}
    opened.breaks("GET", Answer(403, inner))

    found = await problem(opened.vault.read(SERVICE_ACCOUNT_SECRET))

    assert found.reason == "forbidden"
    assert "firewall" in str(found)


async def test_a_secret_is_removed_once_and_recovered_as_it_was(opened: Opened) -> None:
    await opened.vault.store("password", Secret("v1"), tags={"state": "current"})
    await opened.vault.remove("password")
    await opened.vault.remove("password")
    assert await opened.vault.versions("password") == []
    assert (await problem(opened.vault.store("password", Secret("v2"), tags={}))).reason == "deleted"

    await opened.vault.recover("password")
    assert [version.tags for version in await opened.vault.versions("password")] == [{"state": "current"}]
    await opened.vault.store("password", Secret("v2"), tags={})


async def test_the_name_of_a_deleted_secret_is_taken(opened: Opened) -> None:
    await opened.vault.store("password", Secret("v1"), tags={})
    for secret in opened.contoso.servers.vault._all():
        secret.deleted = 1

    assert (await problem(opened.vault.store("password", Secret("v2"), tags={}))).reason == "deleted"
    assert await opened.vault.versions("password") == []


async def test_throttling_is_waited_out_and_given_up(opened: Opened) -> None:
    opened.breaks("GET", Answer(429, None, {"Retry-After": "2"}), times=2)
    await opened.vault.read(SERVICE_ACCOUNT_SECRET)
    assert opened.contoso.clock.waits == [2, 2]

    opened.breaks("GET", Answer(429, None, {"Retry-After": "2"}))
    assert (await problem(opened.vault.read(SERVICE_ACCOUNT_SECRET))).reason == "throttled"
    assert opened.contoso.clock.waits == [2, 2, 2, 2]


async def test_a_vault_that_asks_for_an_hour_is_not_waited_for(opened: Opened) -> None:
    opened.breaks("GET", Answer(429, None, {"Retry-After": "3600"}))

    assert (await problem(opened.vault.read(SERVICE_ACCOUNT_SECRET))).reason == "throttled"
    assert opened.contoso.clock.waits == []


async def test_a_vault_that_is_down_is_tried_three_times(opened: Opened) -> None:
    opened.contoso.servers.faults.start("vault-down")

    assert (await problem(opened.vault.versions(SERVICE_ACCOUNT_SECRET))).reason == "failed"
    assert opened.contoso.clock.waits == [1, 2]
    assert len(opened.contoso.servers.vault.requests) == 3


@pytest.mark.parametrize("effect", [Drop("after"), Answer(500, None), Answer(504, "<html>")])
async def test_a_version_is_never_stored_twice_by_itself(opened: Opened, effect: Answer | Drop) -> None:
    await opened.vault.versions("password")  # the challenge is over
    opened.breaks("PUT", effect, times=1)

    assert (await problem(opened.vault.store("password", Secret("new"), tags={}))).reason in {"unreachable", "failed"}

    assert len(opened.contoso.servers.vault.versions("password")) == (1 if isinstance(effect, Drop) else 0)
    assert opened.contoso.clock.waits == []


async def test_a_store_the_vault_had_no_time_for_is_sent_again(opened: Opened) -> None:
    await opened.vault.versions("password")
    opened.breaks("PUT", Answer(503, None), times=1)

    await opened.vault.store("password", Secret("new"), tags={})

    assert len(opened.contoso.servers.vault.versions("password")) == 1


async def test_a_dropped_connection_does_not_stop_a_read_or_a_label(opened: Opened) -> None:
    (version,) = await opened.vault.versions(SERVICE_ACCOUNT_SECRET)
    opened.breaks("GET|PATCH", Drop("after"), times=2)

    await opened.vault.read(SERVICE_ACCOUNT_SECRET)
    await opened.vault.label(SERVICE_ACCOUNT_SECRET, version.version, tags={"state": "previous"})

    assert (await opened.vault.versions(SERVICE_ACCOUNT_SECRET))[0].tags == {"state": "previous"}


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, "<html>"),
        Answer(200, "{"),
        Answer(200, "[]"),
        Answer(200, "{}"),
        Answer(200, ""),
        Answer(204, None),
        Answer(302, "", {"Location": "https://evil.example/"}),
    ],
)
async def test_what_is_no_vault_s_answer_is_a_fault(opened: Opened, answer: Answer) -> None:
    opened.breaks("GET", answer)

    assert (await problem(opened.vault.read(SERVICE_ACCOUNT_SECRET))).reason in {"failed", "unreachable"}


async def test_a_vault_that_nobody_answers_for_is_unreachable(opened: Opened) -> None:
    async with aiohttp.ClientSession() as without_our_authority:
        vault, credential = open_vault(opened.contoso, http=without_our_authority)
        assert (await problem(vault.read(SERVICE_ACCOUNT_SECRET))).reason == "unreachable"
        await credential.close()


async def test_a_bot_that_entra_refuses_is_unauthenticated(opened: Opened) -> None:
    vault, credential = open_vault(opened.contoso, client_secret="wrong")

    found = await problem(vault.read(SERVICE_ACCOUNT_SECRET))

    assert found.reason == "unauthenticated"
    assert "LATCHKEY_BOT_IDENTITY" in str(found)
    await credential.close()


async def test_an_entra_that_is_down_for_a_moment_is_waited_for(opened: Opened) -> None:
    opened.contoso.servers.faults.add(
        Rule("entra", "POST", "/oauth2/v2.0/token", Answer(503, {"error": "temporarily_unavailable"}), times=1)
    )

    await opened.vault.read(SERVICE_ACCOUNT_SECRET)

    assert opened.contoso.clock.waits == [1]


async def test_a_vault_under_a_name_that_is_not_azure_s_gets_no_token_unless_told_so(opened: Opened) -> None:
    vault, credential = open_vault(opened.contoso, verify=True)

    found = await problem(vault.read(SERVICE_ACCOUNT_SECRET))

    assert "LATCHKEY_VAULT_URL" in str(found)
    assert opened.count("get") == 0
    await credential.close()


@pytest.mark.parametrize("name", ["", "a/b", "../secrets", "a b", "x" * 128, "é"])
async def test_what_cannot_be_a_name_never_becomes_part_of_an_address(opened: Opened, name: str) -> None:
    with pytest.raises(ConfigurationError):
        await opened.vault.read(name)

    assert not opened.contoso.servers.vault.requests


async def test_a_vault_without_tls_is_refused(opened: Opened) -> None:
    credential = ClientSecretCredential("t", "c", "s")
    with pytest.raises(ConfigurationError, match="LATCHKEY_VAULT_URL"):
        KeyVault("http://localhost", credential, lambda: azure_transport(opened.contoso.http), opened.contoso.clock)
    await credential.close()
