"""Latchkey's view of Conditional Access in the pretend tenant: real reads over HTTP, a real database, no Slack."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from bot.conditional_access import ConditionalAccess
from bot.diagnosis import Blocked, Diagnosis
from bot.errors import SignInFailed
from bot.microsoft.bot_tokens import BotTokens
from bot.microsoft.client import MicrosoftTenant
from bot.model import Identity, IdentityKind, Mode, TenantSettings
from bot.whatif.locations import read_address
from sandbox.conditional_access import GARY
from sandbox.conditional_access import ConditionalAccess as Pretended
from sandbox.directory import SERVICE_ACCOUNT
from storage.database import Database
from storage.policies import PolicyMemory
from tests.microsoft.tenant import Contoso, open_contoso

EVERYBODY: dict[str, Any] = {
    "clientAppTypes": ["all"],
    "applications": {"includeApplications": ["All"]},
    "users": {"includeUsers": ["All"]},
}
BLOCK = {"operator": "OR", "builtInControls": ["block"]}


def policy(
    name: str, *, grant: dict[str, Any] | None = None, state: str = "enabled", **conditions: Any
) -> dict[str, Any]:
    """A policy for everybody and everything that blocks, unless it is said otherwise."""
    return {
        "displayName": name,
        "state": state,
        "conditions": {**EVERYBODY, **conditions},
        "grantControls": grant or BLOCK,
    }


@dataclass
class Settings:
    """The tenant's settings."""

    now: TenantSettings

    async def current(self) -> TenantSettings:
        return self.now


class Memory(PolicyMemory):
    """Tells when something was remembered as good."""

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self.remembered = asyncio.Event()

    async def went_well(self, identity: str, digest: str, at: datetime) -> None:
        await super().went_well(identity, digest, at)
        self.remembered.set()


@dataclass
class Office:
    """The pretend tenant and what Latchkey makes of it."""

    folder: Path
    contoso: Contoso
    access: ConditionalAccess
    memory: Memory
    settings: Settings
    identity: Identity

    @property
    def tenant(self) -> Pretended:
        return self.contoso.servers.entra.access

    @property
    def diagnosis(self) -> Diagnosis:
        return Diagnosis(clock=self.contoso.clock, conditional_access=self.access)

    def add(self, *policies: str | dict[str, Any], always: bool = False) -> None:
        """Gary adds policies in the portal, shipped ones by name; with *always* they have always been there."""
        by = None if always else GARY
        for each in policies:
            if isinstance(each, str):
                self.tenant.add_from_file(each, by=by)
                continue
            file = self.folder / "policy.json"
            file.write_text(json.dumps({"policies": [each]}))
            self.tenant.add_from_file(str(file), by=by)

    async def signs_in(self) -> None:
        """The service account signs in, and Latchkey remembers under which policies."""
        await self.contoso.sign_in().service_account(SERVICE_ACCOUNT, self.contoso.password)
        await self.access.remember()

    async def refused(self, **how: Any) -> SignInFailed:
        """How the service account is refused."""
        try:
            await self.contoso.sign_in().service_account(SERVICE_ACCOUNT, how.get("password", self.contoso.password))
        except SignInFailed as failed:
            return failed
        raise AssertionError("it signed in")

    async def blocked(self) -> Blocked:
        """What is found out about that."""
        found = await self.diagnosis.of(await self.refused(), self.identity)
        assert found is not None
        return found

    def asked(self, part: str = "") -> list[str]:
        """The paths of what was asked of Graph, oldest first."""
        return [seen.path for seen in self.contoso.servers.graph.requests if part in seen.path]

    def may_no_longer(self, *permissions: str) -> None:
        """Take permissions from the bot's own identity."""
        apps = self.contoso.servers.directory.applications
        bot = apps["bot"]
        apps["bot"] = replace(bot, roles=bot.roles - set(permissions))


@asynccontextmanager
async def open_office(folder: Path, *, egress: str | None = None) -> AsyncIterator[Office]:
    async with open_contoso() as contoso:
        account = contoso.servers.directory.user(SERVICE_ACCOUNT)
        identity = Identity(IdentityKind.SERVICE_ACCOUNT, account.id, account.upn)
        settings = Settings(
            TenantSettings(
                mode=Mode.ADVANCED,
                identity_kind=identity.kind,
                identity_id=identity.id,
                identity_name=identity.name,
            )
        )
        url = f"{contoso.servers.url}/graph/v1.0"
        tenant = MicrosoftTenant.at(url, contoso.http, contoso.clock)
        async with (
            contoso.servers.credential() as credential,
            Database(folder / "data" / "latchkey.db", tenant="contoso", clock=contoso.clock) as db,
        ):
            tokens, memory = BotTokens(credential, "https://graph.microsoft.com/v1.0"), Memory(db)
            access = ConditionalAccess(
                clock=contoso.clock,
                directory=tenant.with_all_values(tokens),
                beta=tenant.with_all_values(tokens, beta=True),
                memory=memory,
                settings=settings,
                egress=read_address(egress) if egress else None,
                client_id=contoso.servers.directory.applications["service"].app_id,
            )
            yield Office(folder, contoso, access, memory, settings, identity)
