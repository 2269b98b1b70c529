"""Key Vault, asked by Azure's own client, answers as the real one would."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.keyvault.secrets import SecretProperties
from azure.keyvault.secrets._shared import http_challenge_cache
from azure.keyvault.secrets.aio import SecretClient

from sandbox.directory import SERVICE_ACCOUNT
from sandbox.faults import Drop, Rule
from tests.sandbox.tenant_servers import TenantServers, tenant_servers

NAME = "latchkey-service-account"


@pytest.fixture
async def tenant() -> AsyncIterator[TenantServers]:
    async with tenant_servers() as servers:
        yield servers


@pytest.fixture
async def client(tenant: TenantServers) -> AsyncIterator[SecretClient]:
    async with tenant.credential() as credential, tenant.secret_client(credential) as client:
        yield client


async def test_the_vault_is_born_with_the_service_accounts_password(
    tenant: TenantServers, client: SecretClient
) -> None:
    secret = await client.get_secret(NAME)

    assert secret.value == tenant.directory.password_of(SERVICE_ACCOUNT)
    assert secret.properties.tags == {"state": "current"}
    assert secret.value in tenant.vault.secret_values()


async def test_the_first_request_is_challenged_and_the_second_is_not(
    tenant: TenantServers, client: SecretClient
) -> None:
    # Azure's library remembers challenges by host and port as long as the process lives: of an earlier vault, too.
    http_challenge_cache.clear()
    await client.get_secret(NAME)
    await client.get_secret(NAME)

    assert [(one.operation, one.status) for one in tenant.vault.requests] == [
        ("challenge", 401),
        ("get", 200),
        ("get", 200),
    ]
    assert tenant.vault.count("get") == 2
    assert len(tenant.entra.grants("client_credentials")) == 1


async def test_the_challenge_names_the_tenant_and_the_resource(tenant: TenantServers) -> None:
    async with tenant.http.get(f"{tenant.vault_url}/secrets/{NAME}?api-version=7.6") as answer:
        challenge = answer.headers["WWW-Authenticate"]

    authority = f"{tenant.url}/{tenant.directory.tenant.id}"
    assert challenge == f'Bearer authorization="{authority}", resource="https://vault.azure.net"'


async def test_a_token_for_graph_opens_nothing_here(tenant: TenantServers) -> None:
    headers = {"Authorization": f"Bearer {await tenant.app_token()}"}

    async with tenant.http.get(f"{tenant.vault_url}/secrets/{NAME}?api-version=7.6", headers=headers) as answer:
        assert answer.status == 401


async def test_a_new_value_is_a_new_version_and_the_old_one_stays(client: SecretClient) -> None:
    old = await client.get_secret(NAME)
    new = await client.set_secret(NAME, "pending-1", tags={"state": "pending"}, content_type="text/plain")

    assert new.properties.version != old.properties.version
    assert (await client.get_secret(NAME)).value == "pending-1"
    assert (await client.get_secret(NAME, old.properties.version)).value == old.value
    versions = [one async for one in client.list_properties_of_secret_versions(NAME)]
    assert {one.version for one in versions} == {old.properties.version, new.properties.version}


async def test_tags_and_enabled_change_without_a_new_version(tenant: TenantServers, client: SecretClient) -> None:
    version = (await client.get_secret(NAME)).properties.version

    await client.update_secret_properties(NAME, version, tags={"state": "previous"})
    await client.update_secret_properties(NAME, version, enabled=False)

    (held,) = tenant.vault.versions(NAME)
    assert (held.tags, held.enabled) == ({"state": "previous"}, False)


async def test_a_disabled_version_gives_nothing_away(client: SecretClient) -> None:
    version = (await client.get_secret(NAME)).properties.version
    await client.update_secret_properties(NAME, version, enabled=False)

    with pytest.raises(HttpResponseError) as refused:
        await client.get_secret(NAME)

    assert refused.value.status_code == 403
    assert refused.value.error is not None
    assert refused.value.error.code == "Forbidden"


async def test_a_secret_that_is_not_there_is_not_found(client: SecretClient) -> None:
    with pytest.raises(ResourceNotFoundError, match="SecretNotFound"):
        await client.get_secret("nothing-here")
    with pytest.raises(ResourceNotFoundError, match="SecretNotFound"):
        await client.get_secret(NAME, "00000000000000000000000000000000")


async def test_lists_come_in_pages(tenant: TenantServers, client: SecretClient) -> None:
    tenant.vault.page_size = 3
    for number in range(8):
        tenant.vault.put(f"other-{number}", "x")
        tenant.vault.put(NAME, f"password-{number}")

    names = [one.name async for one in client.list_properties_of_secrets()]
    versions = [one async for one in client.list_properties_of_secret_versions(NAME)]

    assert len(names) == 10
    assert set(names) == {NAME, "latchkey-worker-certificate", *(f"other-{number}" for number in range(8))}
    assert len(versions) == 9
    assert tenant.vault.count("list") == 4 + 3


async def test_a_deleted_secret_keeps_its_name_until_it_is_recovered(client: SecretClient) -> None:
    value = (await client.get_secret(NAME)).value
    poller = await client.delete_secret(NAME)
    assert poller.name == NAME

    with pytest.raises(ResourceNotFoundError):
        await client.get_secret(NAME)
    with pytest.raises(ResourceExistsError):
        await client.set_secret(NAME, "another")
    assert [one.name async for one in client.list_deleted_secrets()] == [NAME]

    recovered: SecretProperties = await client.recover_deleted_secret(NAME)
    assert recovered.name == NAME
    assert (await client.get_secret(NAME)).value == value


async def test_a_purged_secret_is_gone_and_its_name_is_free(client: SecretClient) -> None:
    await client.delete_secret(NAME)
    await client.purge_deleted_secret(NAME)

    assert [one async for one in client.list_deleted_secrets()] == []
    assert (await client.set_secret(NAME, "fresh")).value == "fresh"


async def test_an_application_without_a_role_is_forbidden(tenant: TenantServers) -> None:
    async with tenant.credential("service") as credential, tenant.secret_client(credential) as client:
        with pytest.raises(HttpResponseError, match="ForbiddenByRbac") as refused:
            await client.get_secret(NAME)

    assert refused.value.status_code == 403


async def test_a_role_that_only_reads_cannot_store(tenant: TenantServers, client: SecretClient) -> None:
    bot = tenant.directory.applications["bot"]
    tenant.vault.roles[bot.principal_id] = "Key Vault Secrets User"

    assert (await client.get_secret(NAME)).value
    with pytest.raises(HttpResponseError, match="ForbiddenByRbac"):
        await client.set_secret(NAME, "x")


@pytest.mark.parametrize(("fault", "status"), [("vault-down", 503), ("vault-forbidden", 403), ("vault-throttled", 429)])
async def test_named_faults_reach_the_client(
    tenant: TenantServers, client: SecretClient, fault: str, status: int
) -> None:
    tenant.faults.start(fault)

    with pytest.raises(HttpResponseError) as refused:
        await client.get_secret(NAME)

    assert refused.value.status_code == status
    tenant.faults.stop(fault)
    assert (await client.get_secret(NAME)).value


async def test_a_version_stored_before_the_line_dropped_is_there(tenant: TenantServers, client: SecretClient) -> None:
    await client.get_secret(NAME)
    tenant.faults.add(Rule("vault", "PUT", "/secrets/*", Drop("after")))

    with pytest.raises((ServiceRequestError, ServiceResponseError)):
        await client.set_secret(NAME, "pending-1")

    assert tenant.vault.versions(NAME)[-1].value == "pending-1"
    assert tenant.vault.requests[-1].status is None


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        pytest.param("x" * (25 * 1024 + 1), {}, id="over 25 KB"),
        pytest.param("x", {str(number): "" for number in range(16)}, id="16 tags"),
        pytest.param("x", {"note": "n" * 257}, id="a long tag"),
    ],
)
async def test_what_the_service_would_not_store_is_refused(
    tenant: TenantServers, client: SecretClient, value: str, tags: dict[str, str]
) -> None:
    with pytest.raises(HttpResponseError, match="BadParameter"):
        await client.set_secret("new", value, tags=tags)

    assert tenant.vault.versions("new") == []


async def test_many_requests_at_once_are_counted_one_by_one(tenant: TenantServers, client: SecretClient) -> None:
    await client.get_secret(NAME)

    await asyncio.gather(*(client.get_secret(NAME) for _ in range(20)))

    assert tenant.vault.count("get") == 21
