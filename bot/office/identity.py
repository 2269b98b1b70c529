"""The desk for the identity Latchkey works with: its password in Key Vault, the proof that it signs in, the choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, Protocol

from bot import policy
from bot.actions import delegated
from bot.errors import BadInput, Conflict, NotPossible, SignInFailed, VaultProblem
from bot.guesses import WRONG_PASSWORD, SignInGuesses
from bot.identities import ServiceIdentity, directory_roles
from bot.model import Identity, IdentityKind, Operator, Secret, TenantSettings
from bot.office import Errand
from bot.office.settings import Store
from bot.passwords import service_password
from bot.ports import Clock, Reader, SecretVersion, SignIn, Tenant, Token, Vault
from bot.rotation import State, state_of

PATIENCE: Final = timedelta(minutes=2)
"""How long a new account, or a new password, may take until every server of Microsoft's knows it."""

_FIRST_WAIT: Final = timedelta(seconds=5)
"""Doubled each time: six sign-ins at most, for a wrong guess counts towards the account's lockout."""

_NOT_KNOWN_YET: Final = frozenset({WRONG_PASSWORD, 50034})
"""What Entra answers as long as a server has not heard of the password, or of the account (AADSTS50034)."""

_STATE, _ACCOUNT = "state", "account"

_REMOVED: Final = "removed"
"""The state of a version whose account is gone; it means nothing to a rotation."""


class Holding(Protocol):
    @property
    def operator(self) -> Operator: ...


class Operators(Protocol):
    """All operators."""

    async def everyone(self) -> Sequence[Holding]: ...


class IdentityDesk:
    """`latchkey/identity`, below which are `secrets` (whose passwords are stored, and as what), `proof` (a sign-in),
    `chosen` (which identity the settings name), `able` (what it can do), `worker` (which application it may be) and
    `operator` (whose own account one is).

    The tags of the versions in Key Vault are the truth: `state`, and `account`, whose password it is. A version without
    an account was stored by hand, for the one that the settings name.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        vault: Vault,
        secret_name: str,
        signing_in: SignIn,
        identity_of: Callable[[TenantSettings], ServiceIdentity],
        tenant: Tenant,
        directory: Reader,
        settings: Store,
        operators: Operators,
        guesses: Callable[[str], SignInGuesses],
        worker_client_id: str = "",
    ) -> None:
        self._clock = clock
        self._vault = vault
        self._secret_name = secret_name
        self._signing_in = signing_in
        self._identity_of = identity_of
        self._tenant = tenant
        self._directory = directory
        self._settings = settings
        self._operators = operators
        self._guesses = guesses
        self._worker_client_id = worker_client_id

    async def read(self, path: tuple[str, ...], query: Mapping[str, str]) -> dict[str, Any]:
        match path:
            case ("secrets",):
                return {"value": await self._stored()}
            case ("proof",):
                return {}  # a sign-in leaves nothing behind that could be looked at
            case ("worker",):
                return {"client_id": self._worker_client_id}
            case ("operator", account_id):
                return {"name": await self._whose(account_id)}
            case ("able",):
                return await self._able(frozenset(filter(None, query.get("roles", "").split(","))))
        raise BadInput("Nothing of that name is known of the identity Latchkey works with.")

    async def carry_out(self, errand: Errand) -> str | None:
        body = errand.body
        match errand.method, errand.path:
            case "PUT", ("secrets", "pending"):
                await self._store(body["account"])
            case "PUT", ("secrets", "current"):
                await self._make_current(body["account"])
            case "DELETE", ("secrets",):
                await self._remove(body["account"])
            case "PUT", ("proof",):
                await self._prove(IdentityKind(body["kind"]), body["name"], body["id"])
            case "PUT", ("chosen",):
                await self._choose(errand, IdentityKind(body["kind"]), body["name"], body["id"])
            case "DELETE", ("chosen",):
                await self._choose(errand, None, None, None, instead_of=body["name"])
            case _:
                raise BadInput("This cannot be done about the identity Latchkey works with.")
        return None

    async def _whose(self, account_id: str) -> str | None:
        """The operator whose own account this is."""
        for holding in await self._operators.everyone():
            if holding.operator.account_id == account_id:
                return holding.operator.name or "an operator"
        return None

    # --- the password -------------------------------------------------------------------------------------------------

    async def pending(self, account: str) -> Secret:
        """The password that waits to become this account's. Raises `VaultProblem` or `NotPossible`."""
        version = self._newest(await self._versions(), account, State.PENDING)
        if version is None:
            raise NotPossible(
                f"Key Vault holds no password that waits for {account}. Somebody took it away meanwhile: undo what was "
                "done, and set the account up again."
            )
        return await self._vault.read(self._secret_name, version.version)

    async def _stored(self) -> list[dict[str, str]]:
        """Each enabled version as its account and state, and once more by its state alone."""
        settings = await self._settings.current()
        found = []
        for version in await self._versions():
            if version.enabled:
                account, state = _account_of(version, settings), state_of(version)
                found.append({_ACCOUNT: account, _STATE: state, state: account})
        return found

    async def _store(self, account: str) -> None:
        """A password that was stored before the bot was interrupted is as good as a new one."""
        if self._newest(await self._versions(), account, State.PENDING) is not None:
            return
        password, tags = service_password([account]), {_STATE: State.PENDING, _ACCOUNT: account}
        try:
            await self._vault.store(self._secret_name, password, tags=tags)
        except VaultProblem as problem:
            if problem.reason != "deleted":
                raise
            # With an earlier account its secret was removed, and the name is taken until it is back. Its versions are
            # disabled, as they were then.
            await self._vault.recover(self._secret_name)
            await self._vault.store(self._secret_name, password, tags=tags)

    async def _make_current(self, account: str) -> None:
        """The one that waits first, then those before it, so that a reader always finds one that is current."""
        versions, settings = await self._versions(), await self._settings.current()
        ours = self._newest(versions, account, State.PENDING)
        if ours is None:
            return  # it was done already
        await self._label(ours, State.CURRENT, account)
        for other in versions:
            if other.enabled and other.version != ours.version and state_of(other) is State.CURRENT:
                await self._label(other, State.PREVIOUS, _account_of(other, settings))

    async def _remove(self, account: str) -> None:
        """The account is gone: what was its password opens nothing, and goes too."""
        settings, others = await self._settings.current(), False
        for version in await self._versions():
            if not version.enabled:
                continue
            if _account_of(version, settings).casefold() == account.casefold():
                await self._label(version, _REMOVED, account, enabled=False)
            else:
                others = True
        if not others:
            await self._vault.remove(self._secret_name)

    async def _label(self, version: SecretVersion, state: str, account: str, *, enabled: bool = True) -> None:
        tags = {**version.tags, _STATE: state, **({_ACCOUNT: account} if account else {})}
        await self._vault.label(self._secret_name, version.version, tags=tags, enabled=enabled)

    async def _versions(self) -> list[SecretVersion]:
        return await self._vault.versions(self._secret_name)

    @staticmethod
    def _newest(versions: list[SecretVersion], account: str, state: State) -> SecretVersion | None:
        for version in versions:
            theirs = version.tags.get(_ACCOUNT, "").casefold() == account.casefold()
            if version.enabled and theirs and state_of(version) is state:
                return version
        return None

    # --- the proof ----------------------------------------------------------------------------------------------------

    async def _prove(self, kind: IdentityKind, name: str, object_id: str | None) -> None:
        """Only a sign-in decides. Raises `SignInFailed`, or what Graph has against the token."""
        if kind is IdentityKind.SERVICE_ACCOUNT:
            graph = self._tenant.graph(_Once(await self._sign_in(name, await self._to_be_proved(name))))
            me = await graph.get("me", query={"$select": "id,userPrincipalName"})
            if str(me.get("userPrincipalName")).casefold() != name.casefold():
                raise NotPossible(f"Whoever signed in is not {name}. Look at that account in the Entra admin center.")
            return
        named = replace(await self._settings.current(), identity_kind=kind, identity_id=object_id, identity_name=name)
        token = await self._identity_of(named).sign_in(_quietly)
        await self._tenant.graph(_Once(token)).get("servicePrincipals", object_id or "", query={"$select": "id"})

    async def _to_be_proved(self, account: str) -> Secret:
        """The one that waits, or once that is the current one (somebody else went on meanwhile), that."""
        versions = await self._versions()
        version = self._newest(versions, account, State.PENDING) or self._newest(versions, account, State.CURRENT)
        return await self._vault.read(self._secret_name, version.version) if version else await self.pending(account)

    async def _sign_in(self, name: str, password: Secret) -> Token:
        deadline, wait = self._clock.now() + PATIENCE, _FIRST_WAIT
        while True:
            try:
                return await self._guesses(name).make(
                    lambda: self._signing_in.service_account(name, password), known=True
                )
            except SignInFailed as error:
                now = self._clock.now()
                if error.code not in _NOT_KNOWN_YET or now >= deadline:
                    raise
            await self._clock.sleep_until(min(now + wait, deadline))
            wait *= 2

    # --- the choice ---------------------------------------------------------------------------------------------------

    async def _choose(
        self,
        errand: Errand,
        kind: IdentityKind | None,
        name: str | None,
        object_id: str | None,
        *,
        instead_of: str | None = None,
    ) -> None:
        before = await self._settings.current()
        if instead_of is not None and before.identity_name != instead_of:
            return  # another one was chosen since
        if name is not None and object_id is None:
            object_id = (await self._directory.get("users", name, query={"$select": "id"}))["id"]
        after = replace(before, identity_kind=kind, identity_id=object_id, identity_name=name)
        if after == before:
            return
        try:
            await self._settings.change(after, by=errand.by, reason=errand.reason)
        except Conflict as error:
            raise NotPossible(str(error)) from error

    async def _able(self, given: frozenset[str]) -> dict[str, Any]:
        """What the chosen identity can do, and what not, with the roles it was *given* just now beside those it has."""
        settings = await self._settings.current()
        if settings.identity_kind is None or settings.identity_id is None:
            return {"able": [], "unable": []}
        identity = Identity(settings.identity_kind, settings.identity_id, settings.identity_name or "")
        identity = replace(identity, roles=given | await directory_roles(self._directory, identity))
        able, unable = [], []
        for action in delegated().values():
            finding = policy.check_identity(action, identity)
            if finding.ok:
                able.append(action.in_words)
            elif "needed" in finding.facts:
                unable.append(f"{action.in_words} (needs {finding.facts['needed']})")
            else:
                unable.append(f"{action.in_words} (only a signed-in account can)")
        return {"able": able, "unable": unable}


@dataclass(frozen=True)
class _Once:
    """The token of one sign-in, for one look."""

    given: Token

    async def token(self) -> Token:
        return self.given

    async def fresh_token(self, refused: Token, claims: str | None = None) -> Token:
        return self.given


def _account_of(version: SecretVersion, settings: TenantSettings) -> str:
    return version.tags.get(_ACCOUNT) or settings.identity_name or ""


def _quietly(key: str, title: str) -> None:
    """The step of the request says it."""
