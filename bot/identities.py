"""The service identities: who acts towards Microsoft, and how each comes by a token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bot.errors import NotAsked, Retry, SignInCategory, SignInFailed, VaultProblem
from bot.guesses import SignInGuesses, what_it_says
from bot.model import Identity, IdentityKind, Secret
from bot.ports import Reader, SecretVersion, SignIn, Token, Vault
from bot.rotation import SignsIn, State, in_reading_order, state_of

Show = Callable[[str, str], None]
"""Told (key, title) as each step of a sign-in begins."""


class ServiceIdentity(Protocol):
    """Signs in as the identity that acts. Each call is one fresh sign-in.

    Raises `SignInFailed` or `VaultProblem`.
    """

    async def sign_in(self, show: Show, *, claims: str | None = None) -> Token: ...


def no_repair() -> None:
    """Nobody puts the tags of the versions right."""


@dataclass(frozen=True)
class ServiceAccount:
    """A user whose password rests in the vault.

    Tries the version tagged current, then pending, then previous, then others, because a rotation may be under way; a
    version without a tag counts as current. Versions that are tagged as another account's are left alone. *repair* is
    asked for when another than the current one is in force.
    """

    vault: Vault
    signing_in: SignIn
    secret_name: str
    upn: str
    guesses: SignInGuesses
    repair: Callable[[], None] = no_repair

    async def sign_in(self, show: Show, *, claims: str | None = None) -> Token:
        self.guesses.check()
        show("vault", "Reading the credential from Key Vault")
        versions = of_account(await self.vault.versions(self.secret_name), self.upn)
        self.guesses.check_rest(versions)

        async def try_one(password: Secret) -> Token:
            show("sign-in", "Signing in")
            return await self.guesses.make(lambda: self.signing_in.service_account(self.upn, password, claims=claims))

        try:
            token = await _first_right(self.vault, self.secret_name, versions, try_one, self.repair)
        except NotAsked:
            self.guesses.used_up(versions)
            raise
        if isinstance(token, Token):
            return token
        if token is None:
            raise _nothing_stored(self.secret_name, "the service account's password", "the service account")
        self.guesses.all_wrong(versions)
        raise SignInFailed(
            f"No password that Key Vault holds signs {self.upn} in. Unless it was changed in the last minutes, "
            "somebody changed it outside Latchkey: store the right one as a new version of the secret "
            f"{self.secret_name}.",
            category=SignInCategory.CREDENTIALS,
            retry=Retry.AFTER_FIX,
            code=token.code,
            correlation_id=token.correlation_id,
            timestamp=token.timestamp,
        )


@dataclass(frozen=True)
class Application:
    """An application with a certificate, which rests in the vault as a secret. Its versions are tried as those of a
    password are; a wrong one locks nobody out."""

    vault: Vault
    signing_in: SignIn
    certificate_name: str
    client_id: str
    repair: Callable[[], None] = no_repair

    async def sign_in(self, show: Show, *, claims: str | None = None) -> Token:
        show("vault", "Reading the certificate from Key Vault")
        versions = of_account(await self.vault.versions(self.certificate_name), self.client_id)

        async def try_one(certificate: Secret) -> Token:
            show("sign-in", "Signing in")
            return await self.signing_in.application(certificate, claims=claims)

        token = await _first_right(self.vault, self.certificate_name, versions, try_one, self.repair)
        if isinstance(token, Token):
            return token
        raise token or _nothing_stored(self.certificate_name, "the application's certificate", "the application")


def of_account(versions: Sequence[SecretVersion], account: str) -> list[SecretVersion]:
    """Those that are the account's (a user principal name, or an application's client id); one that does not say whose
    it is was stored by hand, for the account that is worked with."""
    return [each for each in versions if each.tags.get("account", account).casefold() == account.casefold()]


async def _first_right(
    vault: Vault,
    name: str,
    versions: Sequence[SecretVersion],
    sign_in: Callable[[Secret], Awaitable[Token]],
    repair: Callable[[], None],
) -> Token | SignInFailed | None:
    """What the first version that is in force gives; how the first was refused if none is, None if there is none."""
    refused: SignInFailed | None = None
    out_of_use: VaultProblem | None = None
    for number, version in enumerate(in_reading_order(versions)):
        is_current = number == 0 and state_of(version) is State.CURRENT
        try:
            token = await sign_in(await vault.read(name, version.version))
        except VaultProblem as problem:
            if problem.reason not in {"disabled", "missing"}:
                raise
            out_of_use = problem  # somebody disabled it just now
        except SignInFailed as failure:
            match what_it_says(failure):
                case SignsIn.NO:
                    refused = refused or failure
                case SignsIn.BLOCKED if not is_current:
                    repair()
                    raise
                case _:
                    raise
        else:
            if not is_current:
                repair()
            return token
    if refused is None and out_of_use is not None:
        raise out_of_use
    return refused


def _nothing_stored(name: str, what: str, whom: str) -> VaultProblem:
    return VaultProblem(
        f"Key Vault holds no enabled version of the secret {name}. Store {what} there, or set {whom} up again.",
        reason="missing",
    )


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
