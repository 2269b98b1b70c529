"""People who sign in, without Microsoft's pages: what Entra and Graph would say of them, by the bot's own ports."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from bot.errors import LatchkeyError, Retry, SignInCategory, SignInFailed
from bot.model import AuditRecord, Call, Operator, Rights, Secret, SlackUser
from bot.ports import Asked, Clock, Graph, Sent, Token, TokenSource

TENANT = "00000000-0000-4000-8000-00000000c0de"


@dataclass(frozen=True)
class Account:
    """Somebody's account at Microsoft."""

    id: str
    upn: str
    name: str
    roles: tuple[str, ...] = ()
    tenant: str = TENANT
    guest: bool = False


@dataclass
class Tokens:
    """The tokens of one sign-in."""

    clock: Clock
    account: Account
    proved_at: datetime | None
    lasts: timedelta = timedelta(hours=1)
    fails: LatchkeyError | None = None
    renewals: int = 0
    forgotten: bool = False

    def __post_init__(self) -> None:
        self._token = self._new()

    def _new(self) -> Token:
        return Token(Secret("token"), self.clock.now() + self.lasts)

    async def token(self) -> Token:
        if self.forgotten:
            raise _over()
        return self._token

    async def fresh_token(self, refused: Token, claims: str | None = None) -> Token:
        if self.forgotten:
            raise _over()
        if self.fails:
            raise self.fails
        self.renewals += 1
        self._token = self._new()
        return self._token

    def forget(self) -> None:
        self.forgotten = True


def _over() -> SignInFailed:
    return SignInFailed("Your sign-in is over. Sign in again.", category=SignInCategory.SESSION, retry=Retry.LOGIN)


@dataclass
class Browser:
    """A sign-in in a browser; whoever `arrives` there has signed in when it comes back."""

    entra: Entra
    asked: Asked
    state: str

    @property
    def url(self) -> str:
        return f"https://login.example/authorize?state={self.state}"

    async def finish(self, query: Mapping[str, str]) -> Tokens:
        return self.entra.arrives_as(query["code"])


@dataclass
class Code:
    """A sign-in by a code; `typed_by` is who typed it."""

    entra: Entra
    asked: Asked
    code: str
    until: datetime
    url: str = "https://login.example/deviceauth"
    interval: timedelta = timedelta(seconds=5)
    typed_by: str | None = None
    fails: LatchkeyError | None = None
    polls: int = 0

    async def poll(self) -> Tokens | None:
        self.polls += 1
        if self.fails:
            raise self.fails
        return self.entra.arrives_as(self.typed_by) if self.typed_by else None


@dataclass
class Entra:
    """Where people sign in."""

    clock: Clock
    accounts: tuple[Account, ...]
    has_callback: bool = False
    proves_anew: bool = True
    fails: LatchkeyError | None = None
    codes: list[Code] = field(default_factory=list)
    browsers: list[Browser] = field(default_factory=list)
    given: list[Tokens] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    async def in_browser(self, asked: Asked) -> Browser:
        if self.fails:
            raise self.fails
        self.browsers.append(Browser(self, asked, f"state-{next(self._numbers)}"))
        return self.browsers[-1]

    async def by_code(self, asked: Asked) -> Code:
        if self.fails:
            raise self.fails
        code = f"CODE-{next(self._numbers):04}"
        self.codes.append(Code(self, asked, code, self.clock.now() + timedelta(minutes=15)))
        return self.codes[-1]

    def arrives_as(self, upn: str) -> Tokens:
        account = next(each for each in self.accounts if each.upn == upn)
        proved_at = self.clock.now() if self.proves_anew else self.clock.now() - timedelta(hours=3)
        self.given.append(Tokens(self.clock, account, proved_at))
        return self.given[-1]

    def graph(self, tokens: TokenSource) -> Graph:
        return _Graph(tokens)


@dataclass
class _Graph:
    """Graph, as one account sees it."""

    tokens: TokenSource
    sent: list[Call] = field(default_factory=list)

    async def _account(self) -> Account:
        await self.tokens.token()
        tokens = self.tokens
        while not isinstance(tokens, Tokens):  # a session's tokens are somebody's
            tokens = tokens._identity.signed_in.tokens  # type: ignore[attr-defined]
        return tokens.account

    async def get(self, *path: str, query: Any = None, eventual: bool = False) -> dict[str, Any]:
        account = await self._account()
        kind = "Guest" if account.guest else "Member"
        return {"id": account.id, "userPrincipalName": account.upn, "displayName": account.name, "userType": kind}

    async def collect(self, *path: str, query: Any = None, eventual: bool = False, limit: Any = None) -> list[Any]:
        account = await self._account()
        if path == ("organization",):
            return [{"id": account.tenant}]
        return [{"roleTemplateId": role} for role in account.roles]

    async def ask(self, *path: str, body: Any) -> dict[str, Any]:
        return {}

    async def send(self, call: Call, *, attempt_id: str, generated: Secret | None = None) -> Sent:
        await self._account()
        self.sent.append(call)
        return Sent(204, None)


@dataclass
class Known:
    """The operators, by their Slack user."""

    operators: dict[SlackUser, Operator] = field(default_factory=dict)
    everybody_holds: tuple[tuple[str, str], ...] = (("helpdesk", "/m365 *"),)

    def rights(self, slack: SlackUser, command: str) -> Rights:
        return Rights(self.operators.get(slack), other_roles=("helpdesk",) if slack in self.operators else ())


@dataclass
class Trail:
    """What was audited."""

    records: list[AuditRecord] = field(default_factory=list)

    async def append(self, *records: AuditRecord) -> None:
        self.records.extend(records)

    @property
    def kinds(self) -> list[str]:
        return [record.kind for record in self.records]


async def settled() -> None:
    """Let everybody who can go on do so."""
    for _ in range(10):
        await asyncio.sleep(0)
