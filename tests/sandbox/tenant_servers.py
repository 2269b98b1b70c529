"""Entra, Graph and Key Vault of the sandbox on loopback, and the real client libraries pointed at them."""

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msal
import requests
from aiohttp import web
from azure.core.pipeline.transport import AioHttpTransport
from azure.identity.aio import ClientSecretCredential
from azure.keyvault.secrets.aio import SecretClient
from yarl import URL

from sandbox import browser_hands
from sandbox.clock import WorldClock
from sandbox.directory import SERVICE_ACCOUNT, Directory
from sandbox.entra import Entra
from sandbox.faults import Faults
from sandbox.graph import Graph
from sandbox.mishaps import mishaps
from sandbox.tenant import contoso
from sandbox.tls import make_tls
from sandbox.vault import Vault

GRAPH_SCOPE = "https://graph.microsoft.com/.default"


@dataclass
class Answer:
    """What Graph said."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def code(self) -> str:
        return str(self.body["error"]["code"])


class RealPort:
    """An HTTP client for MSAL that puts back the port MSAL drops from the user realm address."""

    def __init__(self, url: str, ca_file: Path) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = str(ca_file)

    def _at(self, url: str) -> str:
        return url.replace("https://localhost/", f"{self._url}/", 1)

    def get(self, url: str, params: Any = None, headers: Any = None, **_: Any) -> requests.Response:
        return self._session.get(self._at(url), params=params, headers=headers, timeout=10)

    def post(self, url: str, params: Any = None, data: Any = None, headers: Any = None, **_: Any) -> requests.Response:
        return self._session.post(self._at(url), params=params, data=data, headers=headers, timeout=10)

    def close(self) -> None:
        self._session.close()


@dataclass
class TenantServers:
    """The servers, what is behind them, and clients of theirs."""

    clock: WorldClock
    faults: Faults
    directory: Directory
    entra: Entra
    graph: Graph
    vault: Vault
    url: str
    vault_url: str
    ca_file: Path
    http: aiohttp.ClientSession
    opened: list["RealPort"] = field(default_factory=list)

    def close_clients(self) -> None:
        for client in self.opened:
            client.close()

    async def msal_app(self, key: str, credential: Any = None, tenant: str | None = None, **options: Any) -> Any:
        """A fresh confidential client application of MSAL, made off the loop because its making asks Entra."""
        application = self.directory.applications[key]
        http_client = RealPort(self.url, self.ca_file)
        self.opened.append(http_client)
        return await asyncio.to_thread(
            lambda: msal.ConfidentialClientApplication(
                application.app_id,
                client_credential=credential or application.secret,
                authority=f"{self.url}/{tenant or self.directory.tenant.id}",
                instance_discovery=False,
                http_client=http_client,
                **options,
            )
        )

    async def sign_in(
        self, user: str = SERVICE_ACCOUNT, password: str | None = None, scope: str = GRAPH_SCOPE, **options: Any
    ) -> dict[str, Any]:
        """What MSAL answers to a user name and a password; without one, the right one is used."""
        app = await self.msal_app("service", **options)
        given = self.directory.password_of(user) if password is None else password
        answer: dict[str, Any] = await asyncio.to_thread(app.acquire_token_by_username_password, user, given, [scope])
        return answer

    async def service_token(self) -> str:
        return str((await self.sign_in())["access_token"])

    async def person_token(self, upn: str, *permissions: str) -> str:
        """What somebody gets who signs in on the pages for these Graph permissions, consenting if need be."""
        app = await self.msal_app("signin")
        flow = app.initiate_auth_code_flow(
            [f"https://graph.microsoft.com/{name}" for name in permissions],
            redirect_uri="http://127.0.0.1/callback",
            response_mode="form_post",
        )
        landed = await browser_hands.sign_in(self.http, flow["auth_uri"], upn, follow=False)
        answer = await asyncio.to_thread(app.acquire_token_by_auth_code_flow, flow, dict(URL(landed.url).query))
        return str(answer["access_token"])

    async def app_token(self, key: str = "bot", scope: str = GRAPH_SCOPE) -> str:
        """An application's own token, as azure.identity gets it."""
        async with self.credential(key) as credential:
            return (await credential.get_token(scope)).token

    def credential(self, key: str = "bot") -> ClientSecretCredential:
        application = self.directory.applications[key]
        assert application.secret is not None
        return ClientSecretCredential(
            self.directory.tenant.id,
            application.app_id,
            application.secret,
            authority=self.url,
            disable_instance_discovery=True,
            transport=AioHttpTransport(session=self.http, session_owner=False),
        )

    def secret_client(self, credential: ClientSecretCredential) -> SecretClient:
        return SecretClient(
            self.vault_url,
            credential,
            transport=AioHttpTransport(session=self.http, session_owner=False),
            verify_challenge_resource=False,
            retry_total=0,
        )

    async def call(
        self, token: str, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One call to Graph; `path` is sent as it is."""
        url = URL(path if path.startswith("https:") else f"{self.url}/graph/v1.0{path}", encoded=True)
        sent = {"Authorization": f"Bearer {token}", **(headers or {})}
        async with self.http.request(method, url, json=body, headers=sent) as response:
            text = await response.text()
            parsed = await response.json() if text else None
            return Answer(response.status, parsed, dict(response.headers))


@asynccontextmanager
async def tenant_servers() -> AsyncIterator[TenantServers]:
    """Start the three servers and stop them again."""
    clock, faults = WorldClock(), Faults()
    directory = contoso(clock)
    entra = Entra(directory, clock, faults)
    graph = Graph(directory, entra, clock, faults)
    vault = Vault(entra, clock, faults)
    faults.bind(mishaps(directory, entra, vault))
    first, second = web.Application(), web.Application()
    entra.routes(first)
    graph.routes(first)
    vault.routes(second)
    with tempfile.TemporaryDirectory() as folder:
        tls = make_tls(Path(folder))
        runners = []
        urls = []
        for app in (first, second):
            runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls.context)
            await site.start()
            urls.append(f"https://localhost:{runner.addresses[0][1]}")
            runners.append(runner)
        entra.origin = urls[0]
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=tls.ca_file))
        async with AsyncExitStack() as stack:
            for runner in runners:
                stack.push_async_callback(runner.cleanup)
            http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
            servers = TenantServers(clock, faults, directory, entra, graph, vault, urls[0], urls[1], tls.ca_file, http)
            # Before the servers stop: they would wait for a goodbye that an idle blocking client never sends.
            stack.callback(servers.close_clients)
            yield servers
