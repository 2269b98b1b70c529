"""The bot's own identity: exactly one Azure credential, the one that was configured, nothing probed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from bot.errors import ConfigurationError
from bot.microsoft.http import azure_transport

if TYPE_CHECKING:
    import aiohttp
    from azure.core.credentials import AccessToken
    from azure.core.credentials_async import AsyncTokenCredential


def bot_credential(
    kind: str, *, authority_host: str, http: aiohttp.ClientSession, client_id: str | None = None
) -> AsyncTokenCredential:
    """The credential for `LATCHKEY_BOT_IDENTITY`; who makes it closes it.

    `managed` is the machine's managed identity (*client_id* names a user-assigned one), `workload` a Kubernetes
    workload identity, `environment` a service principal in `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and
    `AZURE_CLIENT_SECRET` or `AZURE_CLIENT_CERTIFICATE_PATH`. It keeps its own tokens. Raises `ConfigurationError`;
    later failures are azure-core's `ClientAuthenticationError`.
    """
    from azure.identity.aio import EnvironmentCredential, ManagedIdentityCredential, WorkloadIdentityCredential

    # Of azure.identity.aio, no credential looks up the authority elsewhere: nothing to switch off for a private one.
    shared: dict[str, Any] = {"authority": authority_host, "transport": azure_transport(http), "retry_total": 0}
    try:
        match kind:
            case "managed":
                return ManagedIdentityCredential(client_id=client_id, **shared)
            case "workload":
                return WorkloadIdentityCredential(**shared)
            case "environment":
                return EnvironmentCredential(**shared)
    except ValueError as error:
        raise ConfigurationError(
            f"LATCHKEY_BOT_IDENTITY is {kind}, but what that needs is not set on this machine. "
            "See the identities page of the documentation for the AZURE_ variables."
        ) from error
    raise ConfigurationError("LATCHKEY_BOT_IDENTITY must be managed, workload or environment.")


class LateCredential:
    """A credential that *make* makes when the first token is asked for, in a thread: loading Azure's libraries takes
    longer than everything else a start does, and many a start asks for none."""

    def __init__(self, make: Callable[[], AsyncTokenCredential]) -> None:
        self._make = make
        self._made: AsyncTokenCredential | None = None
        self._making = asyncio.Lock()

    async def get_token(self, *scopes: str, tenant_id: str | None = None, **asked: Any) -> AccessToken:
        """As the credential's own, always for the bot's own tenant. Raises `ConfigurationError` too, where what it
        needs is not set.

        *tenant_id* is what an answer of Key Vault's names. It has no say: Azure's library remembers it for the vault's
        address until the process ends, so one false answer would keep the bot from every secret until then.
        """
        async with self._making:
            if self._made is None:
                self._made = await asyncio.to_thread(self._make)
        return await self._made.get_token(*scopes, **asked)

    async def close(self) -> None:
        if self._made is not None:
            await self._made.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await self.close()
