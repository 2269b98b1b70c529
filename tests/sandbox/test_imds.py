"""The machine's managed identity, asked for by the real azure.identity and by the bot."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.core.pipeline.transport import AioHttpTransport
from azure.identity.aio import ManagedIdentityCredential

from bot.errors import SignInFailed
from bot.microsoft.signin import EntraSignIn
from sandbox.imds import PATH
from sandbox.world import World
from tests.clock import ManualClock
from tests.stage import environment

SCOPE = "https://graph.microsoft.com/.default"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with World(state=tmp_path / "world") as opened:
        with environment(
            {"AZURE_POD_IDENTITY_AUTHORITY_HOST": opened.environment()["AZURE_POD_IDENTITY_AUTHORITY_HOST"]}
        ):
            yield opened


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def azures(http: aiohttp.ClientSession, client_id: str | None) -> str:
    transport = AioHttpTransport(session=http, session_owner=False)
    async with ManagedIdentityCredential(client_id=client_id, transport=transport, retry_total=0) as credential:
        return str((await credential.get_token(SCOPE)).token)


@pytest.mark.parametrize("named", [True, False])
async def test_azure_identity_gets_the_managed_identitys_token(
    world: World, http: aiohttp.ClientSession, named: bool
) -> None:
    managed = world.directory.applications["managed"]

    token = world.entra.token(await azures(http, managed.app_id if named else None))

    assert token is not None
    assert (token.client, token.user_id, token.audience) == (managed, None, "graph")
    assert token.permissions == managed.roles
    assert [(one.subject, one.code) for one in world.entra.grants("managed_identity")] == [(managed.app_id, 0)]


async def test_an_identity_that_is_not_assigned_to_the_machine_is_not_found(
    world: World, http: aiohttp.ClientSession
) -> None:
    worker = world.directory.applications["worker"]
    with pytest.raises(ClientAuthenticationError, match="Identity not found"):
        await azures(http, worker.app_id)

    world.imds.identities.clear()
    with pytest.raises(ClientAuthenticationError, match="Identity not found"):
        await azures(http, None)


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({}, "?api-version=2018-02-01&resource=https://graph.microsoft.com"),
        (
            {"Metadata": "true", "X-Forwarded-For": "1.2.3.4"},
            "?api-version=2018-02-01&resource=https://vault.azure.net",
        ),
        ({"Metadata": "true"}, "?resource=https://graph.microsoft.com"),
        ({"Metadata": "true"}, "?api-version=2018-02-01"),
        ({"Metadata": "true"}, "?api-version=2018-02-01&resource=https://unknown.example"),
    ],
    ids=["no header", "forwarded", "no version", "no resource", "unknown resource"],
)
async def test_the_metadata_service_refuses_what_the_real_one_refuses(
    world: World, http: aiohttp.ClientSession, headers: dict[str, str], query: str
) -> None:
    async with http.get(f"{world.url}{PATH}{query}", headers=headers) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"] in ("invalid_request", "invalid_resource")


async def test_the_bot_acts_with_the_managed_identity_and_hears_when_there_is_none(
    world: World, http: aiohttp.ClientSession
) -> None:
    managed = world.directory.applications["managed"]

    def sign_in(client_id: str) -> EntraSignIn:
        return EntraSignIn(
            authority_host=world.tls_url,
            tenant_id=world.directory.tenant.id,
            graph_url=f"{world.tls_url}/graph/v1.0",
            clock=ManualClock(),
            http=http,
            worker_client_id=client_id,
        )

    for client_id in (managed.app_id, ""):
        token = world.entra.token((await sign_in(client_id).managed_identity()).value.reveal())
        assert token is not None
        assert token.client == managed
    with pytest.raises(SignInFailed, match="managed identity gave no token"):
        await sign_in(world.directory.applications["worker"].app_id).managed_identity()
