"""The password of the service account, as something that is rotated: the account changes it itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from bot.model import Call, CredentialKind, Generated, Repeat, Secret
from bot.passwords import service_password
from bot.ports import Sent, SignIn, Token, TokenSource

_CHANGE: Final = Call(
    "POST",
    ("me", "changePassword"),
    {"currentPassword": Generated.REPLACED.marker, "newPassword": Generated.STORED.marker},
    repeat=Repeat.ONE_SHOT,
    advice="It did not take the new password, or the one before it is not in force any more.",
)
"""Graph docs: *user: changePassword*. Needs no role, and no permission beyond that to sign in and change it."""


class Changing(Protocol):
    """Sends one change with all its secrets, as `bot.ports.Graph.send` does with one."""

    async def send(self, call: Call, *, attempt_id: str, generated: Mapping[Generated, Secret]) -> Sent: ...


class Tenant(Protocol):
    def graph(self, tokens: TokenSource) -> Changing: ...


Attempt = Callable[[Call, Callable[[str], Awaitable[Sent]]], Awaitable[Sent]]
"""Has a call sent, once its row in the audit trail is written, under the id of that: the `client-request-id`."""


class Credential(Protocol):
    """Something that a service identity signs in with and that can be replaced. One is made for each try."""

    @property
    def kind(self) -> CredentialKind: ...

    @property
    def secret_name(self) -> str: ...

    @property
    def account(self) -> str:
        """Whose it is: a UPN or an application's id; the versions' tag `account`."""

    @property
    def replaces(self) -> bool:
        """Whether a new one ends the one before it."""

    async def make(self) -> Secret:
        """A new one, fit to be stored."""

    async def sign_in(self, value: Secret) -> Token:
        """One fresh sign-in. Raises `SignInFailed`."""

    async def change(self, old: Secret, new: Secret, attempt: Attempt) -> None:
        """Put *new* in force as the identity that signs in with *old*, once. Raises `GraphProblem`."""

    async def withdraw(self, old: Secret, current: Secret, attempt: Attempt) -> None:
        """Take *old* out of force as the identity that signs in with *current*."""

    def read_tag(self, value: Secret) -> Mapping[str, str]:
        """Further tags to store beside it."""


@dataclass
class PasswordCredential:
    """As `Credential` promises. Made for one try: it remembers the token of its last sign-in."""

    secret_name: str
    account: str
    signing_in: SignIn
    tenant: Tenant
    _signed_in: tuple[Secret, Token] | None = field(default=None, repr=False)

    kind: CredentialKind = CredentialKind.PASSWORD
    replaces: bool = True

    async def make(self) -> Secret:
        return service_password([self.account])

    async def sign_in(self, value: Secret) -> Token:
        token = await self.signing_in.service_account(self.account, value)
        self._signed_in = value, token
        return token

    async def change(self, old: Secret, new: Secret, attempt: Attempt) -> None:
        held, token = self._signed_in or (None, None)
        if token is None or held is not old:
            token = await self.sign_in(old)
        graph, secrets = self.tenant.graph(OneToken(token)), {Generated.REPLACED: old, Generated.STORED: new}
        await attempt(_CHANGE, lambda id_: graph.send(_CHANGE, attempt_id=id_, generated=secrets))

    async def withdraw(self, old: Secret, current: Secret, attempt: Attempt) -> None:
        """A password ends when another takes its place."""

    def read_tag(self, value: Secret) -> Mapping[str, str]:
        return {}


@dataclass(frozen=True)
class OneToken:
    """The token of one sign-in, which is not repeated: another might be a wrong guess that nobody counted."""

    given: Token

    async def token(self) -> Token:
        return self.given

    async def fresh_token(self, refused: Token, claims: str | None = None) -> Token:
        return self.given
