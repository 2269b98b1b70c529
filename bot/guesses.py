"""How many sign-ins of the service account may still go wrong, so that Microsoft never locks it; and what each says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import Final

from bot.errors import NotAsked, SignInCategory, SignInFailed
from bot.ports import Clock, SecretVersion, Token
from bot.rotation import SignsIn, state_of

WRONG_PASSWORD: Final = 50126
"""AADSTS50126, wrong user name or password (Entra docs: *Microsoft Entra authentication error codes*)."""

_NOT_IN_FORCE: Final = frozenset({WRONG_PASSWORD, 50064, 700027, 700030, 50012})
"""Wrong passwords, and certificates that Entra does not accept."""

_UNKNOWN: Final = frozenset({50053, 80012})
"""Locked out for a while, or not at this hour: the password was not looked at."""

_GONE: Final = frozenset({50034, 50056, 7000112, 700016})
"""No such account, or one without a password; no such application, or a disabled one."""

_BY_CATEGORY: Final = {
    SignInCategory.ACCOUNT: SignsIn.GONE,
    SignInCategory.ACCOUNT_STATE: SignsIn.GONE,
    SignInCategory.MFA: SignsIn.BLOCKED,
    SignInCategory.DEVICE: SignsIn.BLOCKED,
    SignInCategory.LOCATION: SignsIn.BLOCKED,
    SignInCategory.RISK: SignsIn.BLOCKED,
    SignInCategory.CONDITIONAL_ACCESS: SignsIn.BLOCKED,
    SignInCategory.TENANT_CONFIG: SignsIn.BLOCKED,
    SignInCategory.CONSENT: SignsIn.BLOCKED,
}
"""Entra looks at the credential first: whoever meets a policy had the right one (Entra docs: *How Conditional Access
works*)."""

_WITHIN: Final = timedelta(hours=1).total_seconds()
_REST: Final = timedelta(minutes=15).total_seconds()
_LONGEST_REST: Final = timedelta(hours=8).total_seconds()
_REST_OF_ALL: Final = timedelta(days=1).total_seconds()
"""How long versions of which all were wrong are left alone: at first, doubled each time, at most; and once as many
guesses were wrong as may, for Microsoft forgets none of them before a right one."""


def what_it_says(failure: SignInFailed) -> SignsIn:
    """What a refused sign-in says about the credential it was made with."""
    if isinstance(failure, NotAsked) or failure.code in _UNKNOWN:
        return SignsIn.UNKNOWN
    if failure.code in _NOT_IN_FORCE or (failure.code is None and failure.category is SignInCategory.APP_CONFIG):
        return SignsIn.NO  # or is no certificate at all
    if failure.code in _GONE:
        return SignsIn.GONE
    return _BY_CATEGORY.get(failure.category, SignsIn.UNKNOWN)


def allowed_guesses(lockout_threshold: int | None, *, us_government: bool = False) -> int:
    """How many wrong passwords are safe: always one less than lock an account, nine at most. A threshold that is not
    known is taken for Microsoft's own, ten, three in US Government (Entra docs: *Protect user accounts from attacks
    with Microsoft Entra smart lockout*)."""
    return max(1, min(9, (lockout_threshold or (3 if us_government else 10)) - 1))


class SignInGuesses:
    """The wrong passwords of one account since the last right one. Whoever signs in as it does so through `make`: the
    reader, who opens sessions, and the rotation.

    A password counts that Entra definitely found wrong, for an hour; one under way counts as wrong until it is known.
    """

    def __init__(self, clock: Clock, allowed: int = 9) -> None:
        self._clock = clock
        self._allowed = allowed
        self._wrong: list[float] = []
        self._under_way = 0
        self._rests: tuple[float, frozenset[tuple[str, ...]]] | None = None
        """Until when versions of which all were wrong are left alone, and which."""
        self._rest = 0.0
        """How long they are."""

    @property
    def left(self) -> int:
        """How many may still go wrong."""
        began = self._clock.monotonic() - _WITHIN
        self._wrong = [at for at in self._wrong if at > began]
        return max(0, self._allowed - len(self._wrong) - self._under_way)

    async def make(self, sign_in: Callable[[], Awaitable[Token]], *, known: bool = False) -> Token:
        """Sign in once, counted. Raises `NotAsked` when none may go wrong any more, and whatever *sign_in* raises.

        A password that is *known*, because an administrator set it just now, is no guess and is tried in any case.
        """
        if not known:
            self.check()
        self._under_way += 1
        try:
            token = await sign_in()
        except SignInFailed as failure:
            if what_it_says(failure) is SignsIn.NO:
                self._wrong.append(self._clock.monotonic())
            raise
        finally:
            self._under_way -= 1
        self._wrong.clear()
        self._rests = None
        return token

    def check(self) -> None:
        """Raise `NotAsked` when none may go wrong any more."""
        if self.left == 0:
            over = self._wrong[0] + _WITHIN if self._wrong else self._clock.monotonic()
            raise NotAsked(
                "As many wrong passwords of the service account were tried as may be: one more, and Microsoft might "
                f"lock it. Latchkey tries none for {self._minutes(over)}."
            )

    def check_rest(self, versions: Iterable[SecretVersion]) -> None:
        """Raise `NotAsked` if every one of *versions* was wrong a short while ago."""
        if self._rests is not None and self._rests[0] > self._clock.monotonic() and self._rests[1] == _seen(versions):
            raise NotAsked(
                "No password of the service account that Key Vault holds signs in, for somebody changed it outside "
                "Latchkey. Store the right one in Key Vault and try again; those that are there are tried again in "
                f"{self._minutes(self._rests[0])}."
            )

    def all_wrong(self, versions: Iterable[SecretVersion]) -> None:
        """Every one of *versions* is wrong, as far as they could be tried: leave them alone for a while, longer each
        time, unless there are others or other tags."""
        seen = _seen(versions)
        again = self._rests is not None and self._rests[1] == seen
        self._rest = min(2 * self._rest, _LONGEST_REST) if again else _REST
        if len(self._wrong) >= self._allowed:
            self._rest = _REST_OF_ALL
        self._rests = self._clock.monotonic() + self._rest, seen

    def used_up(self, versions: Iterable[SecretVersion]) -> None:
        """No guess at *versions* was left, if that is so, and not only as long as others are under way."""
        if len(self._wrong) >= self._allowed:
            self.all_wrong(versions)

    def _minutes(self, until: float) -> str:
        minutes = max(1, -int((self._clock.monotonic() - until) // 60))
        if minutes > 90:
            return f"{round(minutes / 60)} hours"
        return f"{minutes} minutes" if minutes > 1 else "a minute"


class GuessBook:
    """The guesses of each account, for all of this process."""

    def __init__(self, clock: Clock, allowed: int = 9) -> None:
        self._clock = clock
        self._allowed = allowed
        self._accounts: dict[str, SignInGuesses] = {}

    def of(self, account: str) -> SignInGuesses:
        return self._accounts.setdefault(account.casefold(), SignInGuesses(self._clock, self._allowed))


def _seen(versions: Iterable[SecretVersion]) -> frozenset[tuple[str, ...]]:
    return frozenset((version.version, state_of(version)) for version in versions if version.enabled)
