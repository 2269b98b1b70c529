"""The bot's own identity: exactly one Azure credential, the one that was configured, nothing probed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bot.errors import ConfigurationError
from bot.microsoft.http import azure_transport

if TYPE_CHECKING:
    import aiohttp
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
