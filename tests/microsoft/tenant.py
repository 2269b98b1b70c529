"""The sandbox's Entra, Graph and Key Vault with the bot's own clients pointed at them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from bot.microsoft.client import GraphClient, MicrosoftTenant
from bot.microsoft.http import open_http
from bot.microsoft.signin import EntraSignIn
from bot.model import Call, Secret
from bot.ports import Sent, Token
from sandbox.directory import SERVICE_ACCOUNT
from tests.clock import ManualClock
from tests.sandbox.tenant_servers import TenantServers, tenant_servers


@dataclass
class SignInTokens:
    """A token source that signs the service account in when it is asked, and again when its token was refused."""

    sign_in: EntraSignIn
    password: Secret
    demanded: list[str | None] = field(default_factory=list)
    held: Token | None = None

    async def token(self) -> Token:
        if self.held is None:
            self.held = await self.sign_in.service_account(SERVICE_ACCOUNT, self.password)
        return self.held

    async def fresh_token(self, refused: Token, claims: str | None = None) -> Token:
        self.demanded.append(claims)
        if self.held is refused:
            self.held = await self.sign_in.service_account(SERVICE_ACCOUNT, self.password, claims=claims)
        return await self.token()


@dataclass
class Contoso:
    """The pretend tenant, and how the bot reaches it: other ports, a private authority, Graph under a path prefix."""

    servers: TenantServers
    http: aiohttp.ClientSession
    clock: ManualClock

    @property
    def password(self) -> Secret:
        return Secret(self.servers.directory.password_of(SERVICE_ACCOUNT))

    def sign_in(
        self, *, authority_host: str | None = None, client_secret: str | None = None, tenant_id: str | None = None
    ) -> EntraSignIn:
        apps = self.servers.directory.applications
        return EntraSignIn(
            authority_host=authority_host or self.servers.url,
            tenant_id=tenant_id or self.servers.directory.tenant.id,
            graph_url=f"{self.servers.url}/graph/v1.0",
            clock=self.clock,
            http=self.http,
            ca_file=self.servers.ca_file,
            service_client_id=apps["service"].app_id,
            service_client_secret=Secret(client_secret or apps["service"].secret or ""),
            worker_client_id=apps["worker"].app_id,
        )

    def tokens(self) -> SignInTokens:
        return SignInTokens(self.sign_in(), self.password)

    def graph(self, tokens: SignInTokens | None = None) -> GraphClient:
        """A Graph client that acts as the service account."""
        url = f"{self.servers.url}/graph/v1.0"
        return MicrosoftTenant.at(url, self.http, self.clock).graph(tokens or self.tokens())


@asynccontextmanager
async def open_contoso() -> AsyncIterator[Contoso]:
    async with tenant_servers() as servers, open_http(servers.ca_file) as http:
        yield Contoso(servers, http, ManualClock(hurries=True))


async def no_trail(call: Call, send: Callable[[str], Awaitable[Sent]]) -> Sent:
    """No trail is kept."""
    return await send("a")
