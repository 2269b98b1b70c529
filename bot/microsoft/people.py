"""Sign people in at Entra with accounts of their own, through MSAL: in their browser, or by a code elsewhere."""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bot.errors import ConfigurationError, Retry, SignInCategory, SignInFailed
from bot.microsoft import aadsts
from bot.microsoft.http import tls_context
from bot.microsoft.signin import graph_scope, through_msal
from bot.model import Secret
from bot.ports import Asked, Clock, Token

if TYPE_CHECKING:
    import msal

log = logging.getLogger(__name__)

_TOKEN: Final = ("access_token", "expires_in")
_RENEW_BEFORE: Final = timedelta(minutes=5)
_SLOWER: Final = timedelta(seconds=5)
"""How much longer to wait after each *slow_down* (RFC 8628, section 3.5)."""

_QUIET: Final = threading.Lock()


class EntraPeople:
    """Signs people in at one authority and tenant. Every failure is a `SignInFailed` in words for that person.

    As in `EntraSignIn`, each step makes a fresh MSAL application in a thread of its own. The account that MSAL reads
    out of the ID token is believed by nobody: who signed in is read from Graph with the new token.
    """

    def __init__(
        self,
        *,
        authority_host: str,
        tenant_id: str,
        graph_url: str,
        clock: Clock,
        ca_file: str | Path | None = None,
        client_id: str = "",
        client_secret: Secret | None = None,
        callback_url: str = "",
    ) -> None:
        """*client* is the sign-in client; without a secret it is a public one."""
        self._authority_host = authority_host.rstrip("/").lower()
        self._tenant_id = tenant_id
        self._graph = graph_scope(graph_url).removesuffix("/.default")
        self._clock = clock
        self._ca_file = ca_file
        self._client_id = client_id
        self._client_secret = client_secret
        self._callback_url = callback_url

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return tls_context(self._ca_file)

    @property
    def has_callback(self) -> bool:
        """Whether Microsoft can send a browser back to us."""
        return bool(self._callback_url)

    async def in_browser(self, asked: Asked) -> BrowserSignIn:
        """Begin a sign-in with an authorization code (Entra docs: *OAuth 2.0 authorization code flow*): state, nonce
        and PKCE are MSAL's."""

        def begin(app: msal.ClientApplication) -> dict[str, Any]:
            # MSAL warns of answers in the address. A form would come without the cookie by which the callback knows
            # the browser, and the code in the address is worth nothing without the verifier.
            with _QUIET, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                flow: dict[str, Any] = app.initiate_auth_code_flow(
                    self.scopes(asked),
                    redirect_uri=self._callback_url,
                    prompt="login" if asked.fresh else "select_account",
                    login_hint=asked.hint or None,
                )
            return flow

        flow = await self.ask(begin, asked, gives=("auth_uri", "state"))
        return BrowserSignIn(self, asked, flow)

    async def by_code(self, asked: Asked) -> CodeSignIn:
        """Begin a sign-in with a code (Entra docs: *OAuth 2.0 device authorization grant*)."""
        began = self._clock.now()

        def begin(app: msal.PublicClientApplication) -> dict[str, Any]:
            flow: dict[str, Any] = app.initiate_device_flow(self.scopes(asked))
            return flow

        flow = await self.ask(begin, asked, gives=("user_code", "device_code", "verification_uri"), by_code=True)
        return CodeSignIn(self, asked, flow, began)

    def scopes(self, asked: Asked) -> list[str]:
        """What *asked* names, as scopes of this cloud's Graph."""
        return [f"{self._graph}/{permission}" for permission in asked.permissions]

    async def ask(
        self,
        acquire: Callable[[Any], dict[str, Any]],
        asked: Asked,
        *,
        gives: Sequence[str] = _TOKEN,
        by_code: bool = False,
        cache: msal.TokenCache | None = None,
    ) -> dict[str, Any]:
        """One step through MSAL, off the loop. Codes are redeemed as a public client: MSAL knows no other way."""
        if not self._client_id:
            raise ConfigurationError(
                "Nobody can sign in yet: the application for it is not named. Ask a tenant admin to set "
                "LATCHKEY_SIGNIN_CLIENT_ID."
            )
        secret = None if by_code or self._client_secret is None else self._client_secret.reveal() or None

        def step() -> dict[str, Any] | SignInFailed:
            return through_msal(
                self._authority_host,
                self._tenant_id,
                self._tls,
                self._client_id,
                secret,
                acquire,
                gives=gives,
                lasting=asked.lasting,
                cache=cache,
            )

        got = await asyncio.to_thread(step)
        if isinstance(got, SignInFailed):
            if got.retry is not Retry.POLL:
                log.info("sign-in refused", extra={"code": got.code, "correlation_id": got.correlation_id})
            raise aadsts.in_person(got, by_code=by_code)
        return got

    def now(self) -> datetime:
        return self._clock.now()


class BrowserSignIn:
    """A sign-in under way in somebody's browser."""

    def __init__(self, people: EntraPeople, asked: Asked, flow: dict[str, Any]) -> None:
        self._people = people
        self._asked = asked
        self._flow = flow
        self.url = str(flow["auth_uri"])
        """Where the browser has to go."""
        self.state = str(flow["state"])
        """What comes back with it: unguessable."""

    async def finish(self, query: Mapping[str, str]) -> PersonTokens:
        """Redeem what the browser came back with. Raises `SignInFailed`."""
        if "code" not in query:
            raise aadsts.in_person(aadsts.explain_redirect(query), by_code=False)
        cache = _new_cache()
        began = self._people.now()

        def redeem(app: msal.ClientApplication) -> dict[str, Any]:
            got: dict[str, Any] = app.acquire_token_by_auth_code_flow(self._flow, dict(query))
            return got

        got = await self._people.ask(redeem, self._asked, cache=cache)
        return PersonTokens(self._people, self._asked, cache, got, began, by_code=False)


class CodeSignIn:
    """A sign-in under way on some device, by the code that was told."""

    def __init__(self, people: EntraPeople, asked: Asked, flow: dict[str, Any], began: datetime) -> None:
        self._people = people
        self._asked = asked
        self._flow = flow
        self.code = str(flow["user_code"])
        self.url = str(flow["verification_uri"])
        self.until = began + timedelta(seconds=int(flow.get("expires_in", 900)))
        self.interval = timedelta(seconds=int(flow.get("interval", 5)))
        """How long to wait before each `poll`; it grows when Entra asks for that."""

    async def poll(self) -> PersonTokens | None:
        """Ask once whether somebody has signed in with the code; None if not yet. Raises `SignInFailed`."""
        cache = _new_cache()
        began = self._people.now()

        def look(app: msal.PublicClientApplication) -> dict[str, Any]:
            # MSAL warns when its own clock says that this is too soon; ours may be ahead of it.
            flow = {**self._flow, "latest_attempt_at": 0}
            got: dict[str, Any] = app.acquire_token_by_device_flow(flow, exit_condition=lambda _: True)
            return got

        try:
            got = await self._people.ask(look, self._asked, by_code=True, cache=cache)
        except SignInFailed as error:
            if error.category is SignInCategory.FLOW and error.retry is Retry.POLL:
                return None
            if error.category is SignInCategory.FLOW and error.retry is Retry.WAIT:
                self.interval += _SLOWER
                return None
            if error.category in {SignInCategory.NETWORK, SignInCategory.SERVICE} and error.retry is Retry.BACKOFF:
                return None  # the code is still good; whoever typed it cannot know that we were cut off
            raise
        return PersonTokens(self._people, self._asked, cache, got, began, by_code=True)


class PersonTokens:
    """The tokens of one sign-in, in memory only. A lasting one is renewed by the refresh token in its MSAL cache."""

    def __init__(
        self,
        people: EntraPeople,
        asked: Asked,
        cache: msal.TokenCache,
        got: Mapping[str, Any],
        began: datetime,
        *,
        by_code: bool,
    ) -> None:
        self._people = people
        self._asked = asked
        self._cache: msal.TokenCache | None = cache if asked.lasting else None
        self._by_code = by_code
        self._renewing = asyncio.Lock()
        self._token: Token | None = _token(got, began)
        self.proved_at = _auth_time(got)
        """When the person last proved to Microsoft who they are, if Microsoft said so."""

    async def token(self) -> Token:
        """The token. Raises `SignInFailed` once it has ended and cannot be renewed, or was forgotten."""
        if self._token is None:
            raise _over()
        if self._token.expires_at - self._people.now() < _RENEW_BEFORE:
            return await self.fresh_token(self._token)
        return self._token

    async def fresh_token(self, refused: Token, claims: str | None = None) -> Token:
        """A token newer than *refused*. Raises `SignInFailed` where only signing in again helps."""
        async with self._renewing:
            if self._token is refused:
                self._token = await self._renewed(claims)
            if self._token is None:
                raise _over()
            return self._token

    def forget(self) -> None:
        """Drop every token. What is under way with one ends at its next call."""
        self._token = self._cache = None

    async def _renewed(self, claims: str | None) -> Token:
        cache, began = self._cache, self._people.now()
        if cache is None:
            raise _over()

        def renew(app: msal.ClientApplication) -> dict[str, Any]:
            account = next(iter(app.get_accounts()), None)
            if account is None:
                return {}
            got: dict[str, Any] | None = app.acquire_token_silent_with_error(
                self._people.scopes(self._asked), account, force_refresh=True, claims_challenge=claims
            )
            return got or {}

        return _token(await self._people.ask(renew, self._asked, by_code=self._by_code, cache=cache), began)


def _new_cache() -> msal.TokenCache:
    import msal

    return msal.TokenCache()


def _token(got: Mapping[str, Any], began: datetime) -> Token:
    return Token(Secret(got["access_token"]), began + timedelta(seconds=int(got["expires_in"])))


def _auth_time(got: Mapping[str, Any]) -> datetime | None:
    """The ID token came from Entra itself over TLS, and no name is taken from it (OpenID Connect Core, section
    3.1.3.7); `auth_time` is an optional claim of the registration."""
    claims = got.get("id_token_claims")
    seconds = claims.get("auth_time") if isinstance(claims, dict) else None
    return datetime.fromtimestamp(seconds, UTC) if isinstance(seconds, int) else None


def _over() -> SignInFailed:
    return SignInFailed("Your sign-in is over. Sign in again.", category=SignInCategory.SESSION, retry=Retry.LOGIN)
