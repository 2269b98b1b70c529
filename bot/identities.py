"""The service identities: who acts towards Microsoft, and how each comes by a token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from bot.errors import SignInFailed, VaultProblem
from bot.model import Identity, IdentityKind
from bot.ports import Reader, SecretVersion, SignIn, Token, Vault

Show = Callable[[str, str], None]
"""Told (key, title) as each step of a sign-in begins."""

WRONG_PASSWORD: Final = 50126
"""AADSTS50126, wrong user name or password (Entra docs: *Microsoft Entra authentication error codes*)."""

_TRIED_IN_ORDER: Final = ("current", "pending", "previous")


class ServiceIdentity(Protocol):
    """Signs in as the identity that acts. Each call is one fresh sign-in.

    Raises `SignInFailed` or `VaultProblem`.
    """

    async def sign_in(self, show: Show, *, claims: str | None = None) -> Token: ...


@dataclass(frozen=True)
class ServiceAccount:
    """A user whose password rests in the vault.

    Tries the version tagged current, then pending, then previous, because a rotation may be under way; a version
    without a tag counts as current. Versions that are tagged as another account's are left alone.
    """

    vault: Vault
    signing_in: SignIn
    secret_name: str
    upn: str

    async def sign_in(self, show: Show, *, claims: str | None = None) -> Token:
        show("vault", "Reading the credential from Key Vault")
        versions = await self.vault.versions(self.secret_name)
        candidates = _in_order([version for version in versions if self._is_ours(version)])
        if not candidates:
            raise VaultProblem(
                f"Key Vault holds no enabled version of the secret {self.secret_name}. "
                "Store the service account's password there, or set the service account up again.",
                reason="missing",
            )
        *others, last = candidates
        for version in others:
            try:
                return await self._try(version, show, claims)
            except SignInFailed as error:
                if error.code != WRONG_PASSWORD:
                    raise
        return await self._try(last, show, claims)

    def _is_ours(self, version: SecretVersion) -> bool:
        return version.tags.get("account", self.upn).casefold() == self.upn.casefold()

    async def _try(self, version: SecretVersion, show: Show, claims: str | None) -> Token:
        password = await self.vault.read(self.secret_name, version.version)
        show("sign-in", "Signing in")
        return await self.signing_in.service_account(self.upn, password, claims=claims)


def _in_order(versions: list[SecretVersion]) -> list[SecretVersion]:
    """The newest enabled version of each state; one each, for a wrong guess counts towards the account's lockout."""
    newest: dict[str, SecretVersion] = {}
    for version in versions:
        if version.enabled:
            newest.setdefault(version.tags.get("state", "current"), version)
    return [newest[state] for state in _TRIED_IN_ORDER if state in newest]


@dataclass(frozen=True)
class Application:
    """An application with a certificate, which rests in the vault as a secret."""

    vault: Vault
    signing_in: SignIn
    certificate_name: str

    async def sign_in(self, show: Show, *, claims: str | None = None) -> Token:
        show("vault", "Reading the certificate from Key Vault")
        certificate = await self.vault.read(self.certificate_name)
        show("sign-in", "Signing in")
        return await self.signing_in.application(certificate, claims=claims)


@dataclass(frozen=True)
class ManagedIdentity:
    """The managed identity of the machine: nothing is stored, nothing is rotated."""

    signing_in: SignIn

    async def sign_in(self, show: Show, *, claims: str | None = None) -> Token:
        show("sign-in", "Signing in")
        return await self.signing_in.managed_identity()


@dataclass(frozen=True)
class SignedInNow:
    """Tokens without a session: each request signs in anew. For trying out an identity, not for working with it."""

    identity: ServiceIdentity

    async def token(self) -> Token:
        return await self.identity.sign_in(_quietly)

    async def fresh_token(self, refused: Token, claims: str | None = None) -> Token:
        return await self.identity.sign_in(_quietly, claims=claims)


def _quietly(key: str, title: str) -> None:
    """Nobody watches the steps."""


async def directory_roles(graph: Reader, identity: Identity) -> frozenset[str]:
    """The template ids of the directory roles that *identity* holds now: a user's also through groups."""
    if identity.delegated:
        held: list[dict[str, Any]] = await graph.collect(
            "users",
            identity.id,
            "transitiveMemberOf",
            "microsoft.graph.directoryRole",
            query={"$select": "id,displayName,roleTemplateId"},
        )
        return frozenset(role["roleTemplateId"] for role in held)
    # A built-in role's definition id is its template id (Graph docs: *unifiedRoleDefinition resource type*).
    assigned = await graph.collect(
        "roleManagement", "directory", "roleAssignments", query={"$filter": f"principalId eq '{identity.id}'"}
    )
    return frozenset(assignment["roleDefinitionId"] for assignment in assigned)


def called(identity: Identity) -> str:
    """The identity as a sentence names it: *the service account*."""
    return {
        IdentityKind.SERVICE_ACCOUNT: "the service account",
        IdentityKind.APPLICATION: "the application",
        IdentityKind.MANAGED_IDENTITY: "the managed identity",
        IdentityKind.ADMINISTRATOR: "your own account",
    }[identity.kind]
