"""The bot's own identity: one Azure credential, over the shared session, never probing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from os import environ

import pytest
from azure.identity.aio import ClientSecretCredential, EnvironmentCredential, ManagedIdentityCredential

from bot.errors import ConfigurationError, Retry, SignInCategory, SignInFailed
from bot.microsoft.bot_tokens import BotTokens
from bot.microsoft.credentials import bot_credential
from bot.microsoft.http import azure_transport, open_http
from tests.microsoft.tenant import Contoso

GRAPH = "https://graph.microsoft.com/v1.0"


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """This process's AZURE_ variables, for a moment."""
    before = {name: value for name, value in environ.items() if name.startswith("AZURE_")}
    for name in before:
        del environ[name]
    environ.update(values)
    try:
        yield
    finally:
        for name in values:
            environ.pop(name, None)
        environ.update(before)


async def test_a_service_principal_in_the_environment_gets_a_token_for_graph(contoso: Contoso) -> None:
    app = contoso.servers.directory.applications["bot"]
    with environment(
        AZURE_TENANT_ID=contoso.servers.directory.tenant.id,
        AZURE_CLIENT_ID=app.app_id,
        AZURE_CLIENT_SECRET=app.secret or "",
    ):
        credential = bot_credential("environment", authority_host=contoso.servers.url, http=contoso.http)
        assert isinstance(credential, EnvironmentCredential)

        tokens = BotTokens(credential, GRAPH)
        first, second = await tokens.token(), await tokens.token()
        await credential.close()

    assert first.value.reveal() == second.value.reveal()
    assert first.value.reveal() not in repr(first)
    assert len(contoso.servers.entra.grants("client_credentials")) == 1
    assert not contoso.http.closed


async def test_a_wrong_client_secret_is_explained_without_showing_it(contoso: Contoso) -> None:
    app = contoso.servers.directory.applications["bot"]
    credential = ClientSecretCredential(
        contoso.servers.directory.tenant.id,
        app.app_id,
        "canary-client-secret",
        authority=contoso.servers.url,
        transport=azure_transport(contoso.http),
        retry_total=0,
    )

    with pytest.raises(SignInFailed, match="client secret is wrong") as failure:
        await BotTokens(credential, GRAPH).token()

    assert (failure.value.code, failure.value.category) == (7000215, SignInCategory.APP_CONFIG)
    assert failure.value.__cause__ is failure.value.__context__ is None
    await credential.close()


async def test_an_incomplete_environment_is_told_when_it_is_used(contoso: Contoso) -> None:
    with environment(AZURE_TENANT_ID="t"):
        credential = bot_credential("environment", authority_host=contoso.servers.url, http=contoso.http)
        with pytest.raises(SignInFailed, match="doctor") as failure:
            await BotTokens(credential, GRAPH).token()

    assert failure.value.retry is Retry.AFTER_FIX


async def test_each_kind_is_one_credential_and_others_are_refused() -> None:
    async with open_http() as http:
        with environment():
            managed = bot_credential("managed", authority_host="https://login.microsoftonline.com", http=http)
            assert isinstance(managed, ManagedIdentityCredential)
            for kind in ("workload", "password"):
                with pytest.raises(ConfigurationError, match="LATCHKEY_BOT_IDENTITY"):
                    bot_credential(kind, authority_host="https://login.microsoftonline.com", http=http)
        await managed.close()


async def test_a_machine_without_a_managed_identity_is_told_so(contoso: Contoso) -> None:
    # An App Service's endpoint on a port where nobody listens: nothing leaves this machine.
    with environment(IDENTITY_ENDPOINT="http://127.0.0.1:9/token", IDENTITY_HEADER="x"):
        with pytest.raises(SignInFailed, match="managed identity"):
            await contoso.sign_in().managed_identity()
