"""The one HTTP session that Graph and the Azure libraries share: nothing sent through it is ever sent twice."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from azure.core.pipeline.transport import AsyncHttpTransport

USER_AGENT = "Latchkey"

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 30.0
"""How long an Azure library waits for a connection, and for the next bytes of an answer."""

CONNECTIONS = 16
"""Connections to one server at the same time. More would be opened at once in a crowd, each with its handshake, and
bring nothing: at 50 ms an answer these make 320 requests a second, about what Graph takes from one tenant."""


class ConnectionLost(aiohttp.ClientConnectionError):
    """The connection went away when the request may have arrived already."""


async def _never_twice(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Turn a lost connection into an error that aiohttp does not answer by sending again.

    By itself aiohttp repeats GET, PUT and DELETE once after a lost connection; a PUT that was applied would be applied
    twice. Errors of connecting are left as they are: nothing was sent, and aiohttp does not repeat those.
    """
    try:
        return await send(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise ConnectionLost(f"connection to {request.url.host} lost: {type(error).__name__}") from error


def tls_context(ca_file: str | Path | None = None) -> ssl.SSLContext:
    """Trust in the machine's certificate authorities, and in the private one in *ca_file* if there is one.

    Raises `OSError` or `ssl.SSLError` if the file cannot be used.
    """
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(cafile=ca_file)
    return context


def open_http(ca_file: str | Path | None = None) -> aiohttp.ClientSession:
    """Open the session, inside a running loop; who opens it closes it.

    It takes no proxy and no password from the environment and keeps no cookies. aiohttp has no switch against
    redirects for a whole session: each request passes `allow_redirects=False`, as azure-core's transport does.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls_context(ca_file) if ca_file else True, limit_per_host=CONNECTIONS),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": USER_AGENT},
        trust_env=False,
        middlewares=(_never_twice,),
    )


def azure_transport(http: aiohttp.ClientSession) -> AsyncHttpTransport[Any, Any]:
    """The transport through which an Azure client uses *http*; closing the client leaves the session open."""
    from azure.core.pipeline.transport import AioHttpTransport

    transport: AsyncHttpTransport[Any, Any] = AioHttpTransport(
        session=http, session_owner=False, connection_timeout=CONNECT_SECONDS, read_timeout=ANSWER_SECONDS
    )
    return transport
