"""Sign service identities in at Entra, through MSAL: each call is one fresh sign-in that leaves nothing behind."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from bot.errors import ConfigurationError, Retry, SignInCategory, SignInFailed
from bot.microsoft.certificates import msal_form, unusable
from bot.microsoft.http import azure_transport, tls_context
from bot.model import Secret
from bot.ports import Clock, Token

if TYPE_CHECKING:
    import aiohttp
    import msal

log = logging.getLogger(__name__)

_WORLDWIDE: Final = "https://graph.microsoft.com"
_GRAPHS: Final = frozenset(
    {
        _WORLDWIDE,
        "https://graph.microsoft.us",
        "https://dod-graph.microsoft.us",
        "https://microsoftgraph.chinacloudapi.cn",
    }
)
"""Where Graph lives (Graph docs: *National cloud deployments*)."""

_USER_NAME = re.compile(r"[^\s/\\?#%@]{1,64}@[A-Za-z0-9.-]{1,255}")
"""What may stand in the address under which MSAL looks up a user's realm."""

_Acquire = Callable[["msal.ConfidentialClientApplication"], dict[str, Any]]


def graph_scope(graph_url: str) -> str:
    """The scope of a token for the Graph at this address.

    A national cloud's Graph is asked for by its own name; anything else in front of Graph (a gateway, a test server)
    still needs a token for Graph itself.
    """
    parts = urlsplit(graph_url)
    origin = f"{parts.scheme}://{parts.hostname}"
    return f"{origin if origin in _GRAPHS else _WORLDWIDE}/.default"


class EntraSignIn:
    """Signs in at one authority and tenant, as `bot.ports.SignIn` promises: every failure is a `SignInFailed`.

    MSAL answers a repeated failure from memory for 60 seconds, so each sign-in makes a new application object. MSAL
    blocks, so it runs in a thread; cancelling the caller does not stop it, its timeouts do. No refresh token is asked
    for. No error holds a password or token, nor the exception of a library that does.
    """

    def __init__(
        self,
        *,
        authority_host: str,
        tenant_id: str,
        graph_url: str,
        clock: Clock,
        http: aiohttp.ClientSession,
        ca_file: str | Path | None = None,
        service_client_id: str = "",
        service_client_secret: Secret | None = None,
        worker_client_id: str = "",
    ) -> None:
        """*service_client* is the application through which the service account signs in; *worker_client_id* the
        application that acts by itself, or the user-assigned managed identity (empty: the machine's own)."""
        if urlsplit(authority_host).scheme != "https" or urlsplit(authority_host).path not in {"", "/"}:
            raise ConfigurationError(
                "LATCHKEY_AUTHORITY_HOST must be an https address without a path, "
                "like https://login.microsoftonline.com."
            )
        self._authority_host = authority_host.rstrip("/").lower()
        self._tenant_id = tenant_id
        self._scope = graph_scope(graph_url)
        self._clock = clock
        self._http = http
        self._ca_file = ca_file
        self._service_client_id = service_client_id
        self._service_client_secret = service_client_secret
        self._worker_client_id = worker_client_id

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return tls_context(self._ca_file)

    async def service_account(self, upn: str, password: Secret, *, claims: str | None = None) -> Token:
        secret = self._service_client_secret
        if secret is None or not self._service_client_id:
            raise ConfigurationError(
                "The service account signs in through an application: set LATCHKEY_SERVICE_CLIENT_ID and "
                "LATCHKEY_SERVICE_CLIENT_SECRET."
            )
        if not _USER_NAME.fullmatch(upn):
            raise SignInFailed(
                "The service account's user name is not one. Set it to the account's user principal name, such as "
                "latchkey@contoso.onmicrosoft.com.",
                category=SignInCategory.CREDENTIALS,
                retry=Retry.AFTER_FIX,
            )

        def sign_in() -> dict[str, Any] | SignInFailed:
            return self._through_msal(
                self._service_client_id,
                secret.reveal(),
                lambda app: app.acquire_token_by_username_password(
                    upn, password.reveal(), [self._scope], claims_challenge=claims
                ),
            )

        return await self._token(sign_in)

    async def application(self, certificate: Secret, *, claims: str | None = None) -> Token:
        """*certificate* is the value of a Key Vault certificate's secret: base64 PKCS#12 without a password, or PEM."""
        if not self._worker_client_id:
            raise ConfigurationError("The application that acts is not named: set LATCHKEY_WORKER_CLIENT_ID.")

        def sign_in() -> dict[str, Any] | SignInFailed:
            pem = msal_form(certificate.reveal())
            if pem is None:
                return unusable()
            return self._through_msal(
                self._worker_client_id,
                pem,
                lambda app: app.acquire_token_for_client([self._scope], claims_challenge=claims),
            )

        return await self._token(sign_in)

    async def managed_identity(self) -> Token:
        from azure.core.exceptions import AzureError
        from azure.identity.aio import ManagedIdentityCredential

        token = failed = None
        try:
            async with ManagedIdentityCredential(
                client_id=self._worker_client_id or None, transport=azure_transport(self._http), retry_total=0
            ) as credential:
                token = await credential.get_token(self._scope)
        except (AzureError, ValueError) as error:
            failed = type(error).__name__
        if token is None:
            log.warning("managed identity failed", extra={"error": failed})
            raise SignInFailed(
                "This machine's managed identity gave no token. Check that one is assigned to it, and that "
                "LATCHKEY_WORKER_CLIENT_ID names it if it is a user-assigned one.",
                category=SignInCategory.APP_CONFIG,
                retry=Retry.BACKOFF,
            )
        return Token(Secret(token.token), datetime.fromtimestamp(token.expires_on, UTC))

    async def _token(self, sign_in: Callable[[], dict[str, Any] | SignInFailed]) -> Token:
        began = self._clock.now()
        got = await asyncio.to_thread(sign_in)
        if isinstance(got, SignInFailed):
            about = {"code": got.code, "category": got.category.value, "correlation_id": got.correlation_id}
            log.info("sign-in refused", extra=about)
            raise got
        return Token(Secret(got["access_token"]), began + timedelta(seconds=int(got["expires_in"])))

    def _through_msal(
        self, client_id: str, credential: str | dict[str, str], acquire: _Acquire
    ) -> dict[str, Any] | SignInFailed:
        return through_msal(
            self._authority_host, self._tenant_id, self._tls, client_id, credential, acquire, gives=_TOKEN
        )


_TOKEN: Final = ("access_token", "expires_in")


def through_msal(
    authority_host: str,
    tenant_id: str,
    tls: ssl.SSLContext,
    client_id: str,
    credential: str | dict[str, str] | None,
    acquire: Callable[[Any], dict[str, Any]],
    *,
    gives: Sequence[str],
    lasting: bool = False,
    cache: msal.TokenCache | None = None,
) -> dict[str, Any] | SignInFailed:
    """What *acquire* got of a fresh application object, if it holds what it *gives*. It blocks: call it in a thread.

    Without a *credential* the client is a public one. A refresh token is asked for only if the sign-in is *lasting*;
    MSAL keeps it in *cache*. A failure is returned, so that no frame with a password or token hangs on to it.
    """
    import msal

    from bot.microsoft.msal_http import AuthorityHttp

    http = AuthorityHttp(authority_host, tls)
    try:
        kind = msal.PublicClientApplication if credential is None else msal.ConfidentialClientApplication
        app = kind(
            client_id,
            client_credential=credential,
            authority=f"{authority_host}/{tenant_id}",
            # It would ask login.microsoftonline.com about our own setting, and about other names of the host.
            instance_discovery=False,
            azure_region=False,
            exclude_scopes=[] if lasting else ["offline_access"],
            token_cache=cache,
            http_client=http,
        )
        answer = acquire(app)
        if answer and all(key in answer for key in gives):
            return answer
        failed = "no token"
    except SignInFailed as error:
        return error.with_traceback(None)
    except Exception as error:  # noqa: BLE001 - whatever it is, its frames hold the password and must end here
        where = traceback.extract_tb(error.__traceback__)[-1]
        failed = f"{type(error).__name__} in {where.name}, line {where.lineno}"
    finally:
        http.close()
    log.warning("msal failed", extra={"error": failed})
    return SignInFailed(
        "Entra's answer to the sign-in cannot be understood. Check LATCHKEY_AUTHORITY_HOST and LATCHKEY_TENANT_ID, "
        "and try again.",
        category=SignInCategory.UNKNOWN,
        retry=Retry.BACKOFF,
    )
