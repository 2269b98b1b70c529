"""Azure Key Vault, where secrets rest."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from bot.errors import ConfigurationError, VaultProblem
from bot.model import Secret
from bot.ports import Clock, SecretVersion

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.core.pipeline.transport import AsyncHttpTransport
    from azure.keyvault.secrets import SecretProperties
    from azure.keyvault.secrets.aio import SecretClient

log = logging.getLogger(__name__)

T = TypeVar("T")

TRIES: Final = 3
LONGEST_WAIT_SECONDS: Final = 30.0
"""A vault that asks for more patience is reported as throttling instead."""

_NAME = re.compile(r"[0-9A-Za-z-]{1,127}")
_REPEATED: Final = frozenset({429, 500, 502, 503, 504})
_REPEATED_STORING: Final = frozenset({429, 503})
"""After anything else, silence too, the version may be there already, and a second would be one too many."""

_SENTENCES: Final[Mapping[str, str]] = {
    "unreachable": (
        "Key Vault cannot be reached. Check LATCHKEY_VAULT_URL and the network between Latchkey and the vault, and try "
        "again."
    ),
    "unauthenticated": (
        "Latchkey's own identity cannot sign in to Key Vault. Check LATCHKEY_BOT_IDENTITY and what that identity needs "
        "on this machine; `latchkey doctor` looks at each part."
    ),
    "not a vault": (
        "What answers under LATCHKEY_VAULT_URL does not say that it is that Key Vault, so Latchkey shows it no token. "
        "Check the address."
    ),
    "forbidden": (
        "Key Vault does not let Latchkey's own identity do this. Give it the role Key Vault Secrets Officer on the "
        "vault; a new role takes some minutes."
    ),
    "firewall": (
        "Key Vault's firewall does not let Latchkey in. Allow the address or network Latchkey runs in, in the vault's "
        "network settings."
    ),
    "missing": "Key Vault holds no secret of that name and version. Check its name in Latchkey's settings.",
    "disabled": (
        "That version of the secret is disabled in Key Vault. Find out who disabled it and why, and enable it there."
    ),
    "deleted": "A deleted secret of that name waits in Key Vault. Recover it there, and try again.",
    "throttled": "Key Vault gets too many requests at the moment. Wait some minutes and try again.",
    "failed": "Key Vault has a fault at the moment. Wait and try again, and tell a tenant admin if it stays.",
}
_REASONS: Final[Mapping[str, str]] = {"firewall": "forbidden", "not a vault": "unauthenticated"}
"""The cases that have a sentence of their own within one of the reasons a `VaultProblem` gives."""


class KeyVault:
    """The secrets of one vault, as `bot.ports.Vault` promises: every failure is a `VaultProblem`.

    *credential* is the bot's own identity, which whoever made it closes; *transport* makes one over the shared session.
    Azure's library is loaded at the first use, in a thread: it takes longer than everything else a start does.
    *verify_challenge_resource* off lets a vault answer under a host name that is not Azure's own. Values live in the
    returned `Secret` only. A `store` that fails as `unreachable` or `failed` may have stored its version: list them.
    """

    def __init__(
        self,
        url: str,
        credential: AsyncTokenCredential,
        transport: Callable[[], AsyncHttpTransport[Any, Any]],
        clock: Clock,
        *,
        verify_challenge_resource: bool = True,
    ) -> None:
        if urlsplit(url).scheme != "https":
            raise ConfigurationError(
                "LATCHKEY_VAULT_URL must be the https address of a Key Vault, like https://contoso.vault.azure.net."
            )
        self._url = url
        self._credential = credential
        self._transport = transport
        self._clock = clock
        self._verify_challenge_resource = verify_challenge_resource
        self._made: SecretClient | None = None
        self._making = asyncio.Lock()

    async def close(self) -> None:
        if self._made is not None:
            await self._made.close()

    async def _client(self) -> SecretClient:
        async with self._making:
            if self._made is None:
                self._made = await asyncio.to_thread(self._make)
            return self._made

    def _make(self) -> SecretClient:
        from azure.keyvault.secrets.aio import SecretClient

        return SecretClient(
            self._url,
            self._credential,
            transport=self._transport(),
            verify_challenge_resource=self._verify_challenge_resource,
            retry_total=0,  # we try again ourselves: on our clock, and never where a version could be stored twice
            permit_redirects=False,
        )

    async def versions(self, name: str) -> list[SecretVersion]:
        _check(name)

        async def listed() -> list[SecretVersion]:
            client = await self._client()
            return [_version(found) async for found in client.list_properties_of_secret_versions(name)]

        try:
            found = await self._tried(listed)
        except VaultProblem as problem:
            if problem.reason == "missing":
                return []
            raise
        return sorted(found, key=lambda version: version.created_at, reverse=True)

    async def read(self, name: str, version: str | None = None) -> Secret:
        _check(name)

        async def value() -> str | None:
            return (await (await self._client()).get_secret(name, version)).value

        found = await self._tried(value)
        if found is None:
            raise VaultProblem(_SENTENCES["failed"], reason="failed")
        return Secret(found)

    async def remove(self, name: str) -> None:
        _check(name)

        async def removed() -> None:
            await (await self._client()).delete_secret(name)

        try:
            await self._tried(removed)
        except VaultProblem as problem:
            if problem.reason != "missing":
                raise

    async def recover(self, name: str) -> None:
        _check(name)

        async def recovered() -> None:
            await (await self._client()).recover_deleted_secret(name)

        await self._tried(recovered)

    async def store(
        self, name: str, value: Secret, *, tags: Mapping[str, str], content_type: str = ""
    ) -> SecretVersion:
        _check(name)

        async def stored() -> SecretVersion:
            client = await self._client()
            secret = await client.set_secret(name, value.reveal(), tags=dict(tags), content_type=content_type or None)
            return _version(secret.properties)

        return await self._tried(stored, storing=True)

    async def label(self, name: str, version: str, *, tags: Mapping[str, str], enabled: bool | None = None) -> None:
        _check(name)

        async def labelled() -> None:
            client = await self._client()
            await client.update_secret_properties(name, version, tags=dict(tags), enabled=enabled)

        await self._tried(labelled)

    async def _tried(self, ask: Callable[[], Awaitable[T]], *, storing: bool = False) -> T:
        """What *ask* brings, tried again after passing troubles."""
        tries = 0
        while True:
            tries += 1
            try:
                return await ask()
            except ConfigurationError:  # the credential's own, which says what is not set
                raise
            except Exception as error:  # noqa: BLE001 - it holds the request, its token and maybe a secret: it ends here
                trouble = _trouble(error)
                log.info("key vault problem", extra={"error": type(error).__name__, "tries": tries, **asdict(trouble)})
            wait = float(2 ** (tries - 1)) if trouble.asked_wait is None else trouble.asked_wait
            if storing:
                passing = trouble.status in _REPEATED_STORING
            else:
                passing = trouble.status in _REPEATED or trouble.what == "unreachable"
            if not passing or tries == TRIES or wait > LONGEST_WAIT_SECONDS:
                raise VaultProblem(_SENTENCES[trouble.what], reason=_REASONS.get(trouble.what, trouble.what))
            await self._clock.sleep_until(self._clock.now() + timedelta(seconds=wait))


@dataclass(frozen=True)
class _Trouble:
    """What we keep of the library's error. `what` is one of our sentences, `code` the vault's own word for a 403."""

    what: str
    status: int | None = None
    code: str | None = None
    asked_wait: float | None = None


def _trouble(error: Exception) -> _Trouble:
    from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

    if isinstance(error, ValueError) and not isinstance(error, json.JSONDecodeError):
        return _Trouble("not a vault")  # how the SDK says that the challenge names another one
    if not isinstance(error, HttpResponseError):  # anything else of its own kind comes from an answer it cannot read
        return _Trouble("unreachable" if isinstance(error, AzureError) else "failed")
    code = (error.error.innererror or {}).get("code") if error.error else None
    what = "unauthenticated" if isinstance(error, ClientAuthenticationError) else _what(error.status_code, code)
    headers: Mapping[str, str] = getattr(error.response, "headers", {})
    asked = headers.get("Retry-After", "")
    return _Trouble(what, error.status_code, code, float(asked) if re.fullmatch(r"\d{1,9}", asked) else None)


def _what(status: int | None, code: str | None) -> str:
    match status, code:
        case 403, "SecretDisabled":
            return "disabled"
        case 403, "ForbiddenByFirewall":
            return "firewall"
        case 403, _:
            return "forbidden"
        case 404, _:
            return "missing"
        case 409, _:
            return "deleted"
        case 429, _:
            return "throttled"
    return "failed"


def _check(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} cannot be the name of a secret: only letters, digits and hyphens can. Change it in the settings."
        )


def _version(properties: SecretProperties) -> SecretVersion:
    return SecretVersion(
        name=properties.name or "",
        version=properties.version or "",
        enabled=bool(properties.enabled),
        created_at=properties.created_on or datetime.fromtimestamp(0, UTC),
        expires_at=properties.expires_on,
        tags=dict(properties.tags or {}),
    )
