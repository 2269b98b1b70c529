"""A credential for drills: everything about it is real but the change at Microsoft."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from bot.errors import (
    GraphAnswer,
    GraphRefused,
    NotPossible,
    Retry,
    SignInCategory,
    SignInFailed,
    VaultProblem,
)
from bot.guesses import WRONG_PASSWORD, SignInGuesses, what_it_says
from bot.identities import of_account
from bot.model import (
    CredentialKind,
    Secret,
    drill_of,
)
from bot.ports import (
    Tenant,
    Token,
    Vault,
)
from bot.rotating import Attempt, Credential, OneToken
from bot.rotation import (
    SignsIn,
    State,
    in_reading_order,
)

_NO_DRILL: Final = (
    "Key Vault holds nothing that is in force, so a drill has nothing to begin with. `/m365-rotate` says how it is."
)


class Pretended:
    """A credential that signs in nowhere, with versions of its own. Its first sign-in is a real one, with what is in
    force; from then on what is read from the vault must be what was stored last. Nothing is changed at Microsoft, but
    the token of that sign-in is shown to it."""

    replaces = True

    def __init__(
        self,
        real: Credential,
        vault: Vault,
        tenant: Tenant,
        identity_id: str,
        guesses: SignInGuesses | None,
        *,
        fail: bool,
    ) -> None:
        self.kind = real.kind
        self.account = real.account
        self.secret_name = drill_of(real.secret_name)
        self._real = real
        self._vault = vault
        self._tenant = tenant
        self._identity_id = identity_id
        self._guesses = guesses
        self._fail = fail
        self._in_force: Secret | None = None
        self._token: Token | None = None

    async def prepare(self) -> None:
        """Store what the drill is to replace."""
        with suppress(VaultProblem):  # it is there, or there never was one
            await self._vault.recover(self.secret_name)
        await self.clear()
        self._in_force = await self._real.make()
        tags = {"state": State.CURRENT.value, "account": self.account, "created_by": "latchkey"}
        await self._vault.store(self.secret_name, self._in_force, tags=tags)

    async def clear(self) -> None:
        """Disable all that the drill, or an earlier one, has stored."""
        for version in await self._vault.versions(self.secret_name):
            if version.enabled:
                tags = {**version.tags, "state": State.RETIRED.value}
                await self._vault.label(self.secret_name, version.version, tags=tags, enabled=False)

    async def make(self) -> Secret:
        return await self._real.make()

    async def sign_in(self, value: Secret) -> Token:
        if self._in_force is None or value.reveal() != self._in_force.reveal():
            raise SignInFailed(
                "Key Vault did not give back what was stored.",
                category=SignInCategory.CREDENTIALS,
                retry=Retry.AFTER_FIX,
                code=WRONG_PASSWORD,
            )
        if self._token is None:
            self._token = await self._sign_in_really()
        return self._token

    async def _sign_in_really(self) -> Token:
        name = self._real.secret_name
        versions = in_reading_order(of_account(await self._vault.versions(name), self.account))
        if not versions:
            raise VaultProblem(_NO_DRILL, reason="missing")
        value = await self._vault.read(name, versions[0].version)
        try:
            if self._guesses is None:
                return await self._real.sign_in(value)
            self._guesses.check_rest(versions)
            return await self._guesses.make(lambda: self._real.sign_in(value))
        except SignInFailed as failure:
            if what_it_says(failure) is SignsIn.NO:  # which no second look would better
                raise NotPossible(_NO_DRILL) from failure
            raise

    async def change(self, old: Secret, new: Secret, attempt: Attempt) -> None:
        if self._fail or self._token is None:
            raise GraphRefused(
                "This is what Latchkey would say if Microsoft refused the change.", answer=GraphAnswer(403, "Drill")
            )
        graph = self._tenant.graph(OneToken(self._token))
        path = ("me",) if self.kind is CredentialKind.PASSWORD else ("servicePrincipals", self._identity_id)
        await graph.get(*path, query={"$select": "id"})
        self._in_force = new

    async def withdraw(self, old: Secret, current: Secret, attempt: Attempt) -> None:
        """It never was in force."""

    def read_tag(self, value: Secret) -> Mapping[str, str]:
        return self._real.read_tag(value)
