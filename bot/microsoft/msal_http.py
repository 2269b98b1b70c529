"""MSAL's way to the network: one authority, our certificates, no proxy, no redirect, and Entra's errors as ours."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import requests
from requests.adapters import HTTPAdapter

from bot.errors import Retry, SignInCategory, SignInFailed
from bot.microsoft import aadsts

TIMEOUT_SECONDS: Final = (10.0, 30.0)
"""For connecting, and between bytes of an answer."""


class _OurTrust(HTTPAdapter):
    """Checks certificates with our context alone; requests would add its own list of authorities."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)

    def cert_verify(self, *args: Any, **kwargs: Any) -> None:
        pass


class AuthorityHttp:
    """An MSAL `http_client` for one sign-in, to be closed after it.

    MSAL gets to see successes only. Whatever else happens is raised as `SignInFailed`, without the exception behind
    it: those of requests carry the request, and with it the password.
    """

    def __init__(self, authority_host: str, context: ssl.SSLContext) -> None:
        self._own = urlsplit(authority_host)
        self._session = requests.Session()
        self._session.trust_env = False  # REQUESTS_CA_BUNDLE would win over our certificates
        self._session.mount("https://", _OurTrust(context))

    def get(self, url: str, params: Any = None, headers: Any = None, **_: Any) -> requests.Response:
        return self._ask("GET", url, params=params, headers=headers)

    def post(self, url: str, params: Any = None, data: Any = None, headers: Any = None, **_: Any) -> requests.Response:
        return self._ask("POST", url, params=params, data=data, headers=headers)

    def close(self) -> None:
        self._session.close()

    def _ask(self, method: str, url: str, **given: Any) -> requests.Response:
        got = self._answer(method, self._own_address(url), given)
        if isinstance(got, SignInFailed):  # raised here, outside of any `except`: nothing is chained to it
            raise got
        return got

    def _answer(self, method: str, url: str, given: dict[str, Any]) -> requests.Response | SignInFailed:
        try:
            response = self._session.request(method, url, allow_redirects=False, timeout=TIMEOUT_SECONDS, **given)
        except requests.exceptions.SSLError:
            return SignInFailed(
                f"The certificate of {self._own.hostname} is not trusted. If your network uses a certificate authority "
                "of its own, name its file in LATCHKEY_EXTRA_CA_FILE.",
                category=SignInCategory.NETWORK,
                retry=Retry.AFTER_FIX,
            )
        except requests.exceptions.RequestException:
            return SignInFailed(
                f"Entra cannot be reached: {self._own.hostname} does not answer. Check the network between Latchkey "
                "and Microsoft, and try again.",
                category=SignInCategory.NETWORK,
                retry=Retry.BACKOFF,
            )
        return self._refusal(response) or response

    def _own_address(self, url: str) -> str:
        """*url* if it leads to our authority, with the port that MSAL leaves out when it looks up a user's realm."""
        parts = urlsplit(url)
        if (parts.scheme, parts.hostname) != ("https", self._own.hostname) or parts.port not in (None, self._own.port):
            raise SignInFailed(
                "Entra sends this sign-in on to another server, where the password must not go: the account is "
                "federated. Use a cloud-only account of the tenant's onmicrosoft.com domain.",
                category=SignInCategory.FEDERATION,
                retry=Retry.AFTER_FIX,
            )
        return urlunsplit(parts._replace(netloc=self._own.netloc))

    def _refusal(self, response: requests.Response) -> SignInFailed | None:
        answer = _object(response.text)
        if response.status_code == 200 and answer is not None and "error" not in answer:
            return None
        if answer and "error" in answer:
            refusal = aadsts.explain(answer)
            temporary = response.status_code == 429 or response.status_code >= 500
            if refusal.category is not SignInCategory.UNKNOWN or not temporary:
                return refusal
        if response.status_code == 429:
            return SignInFailed(
                "Entra gets too many sign-ins from here at the moment. Wait some minutes and try again.",
                category=SignInCategory.THROTTLING,
                retry=Retry.WAIT,
            )
        if response.status_code >= 500:
            return SignInFailed(
                "Microsoft's sign-in service has a fault at the moment. Wait and try again.",
                category=SignInCategory.SERVICE,
                retry=Retry.BACKOFF,
            )
        return SignInFailed(
            f"What answers as {self._own.hostname} is not Entra: a proxy or firewall may be in between. Check "
            "LATCHKEY_AUTHORITY_HOST and the network between Latchkey and Microsoft.",
            category=SignInCategory.NETWORK,
            retry=Retry.AFTER_FIX,
        )


def _object(text: str) -> Mapping[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
