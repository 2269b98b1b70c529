"""People sign in at Microsoft with accounts of their own: whoever was asked to, once, for one purpose.

All of it is in memory. A restart forgets every link and code, and whoever comes back with one is told to ask again.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from bot.errors import GraphProblem, LatchkeyError, NotPossible, SignInFailed
from bot.identities import directory_roles
from bot.model import AuditRecord, Identity, IdentityKind, Operator, SlackUser
from bot.ports import (
    Asked,
    AuditTrail,
    BrowserSignIn,
    Clock,
    CodeSignIn,
    DecisionRead,
    PeopleSignIn,
    PersonTokens,
    Tenant,
)

log = logging.getLogger(__name__)

LINK_LIVES: Final = timedelta(minutes=15)
"""How long a link may be followed; a code lives as long as Microsoft says."""

HELD_FOR: Final = timedelta(hours=1)
"""How long an account that sets something up stays signed in unless it is dropped before."""

_LONGEST_NAME: Final = 80
"""Characters of a name on a page: people choose their own, and could go on with sentences of ours."""

_CLOCKS_DIFFER: Final = timedelta(minutes=2)
"""How far Microsoft's clock may be from ours."""


class Purpose(StrEnum):
    """What a person signs in for."""

    LINK = "link"
    SESSION = "session"
    SET_UP = "set_up"
    POLICIES = "policies"
    APPROVAL = "approval"


SET_UP_PERMISSIONS: Final = (
    "User.ReadWrite.All",
    "User-PasswordProfile.ReadWrite.All",
    "User.EnableDisableAccount.All",
    "RoleManagement.ReadWrite.Directory",
    "Directory.Read.All",
)
"""What setting the service identity up needs of the account that does it; consented to at that sign-in only."""

POLICY_PERMISSIONS: Final = (
    "Policy.Read.All",
    "Policy.ReadWrite.ConditionalAccess",
    "Application.Read.All",
    "Group.ReadWrite.All",
    "RoleManagement.ReadWrite.Directory",
    "Directory.Read.All",
)
"""What allowed IPs need of the account that sets them up (Graph docs: *Create conditionalAccessPolicy*; *Create group*,
for one that can be assigned to roles)."""

ASKED: Final[Mapping[Purpose, Asked]] = {
    Purpose.LINK: Asked(("User.Read",)),
    Purpose.SESSION: Asked((".default",), lasting=True),
    Purpose.SET_UP: Asked(SET_UP_PERMISSIONS),
    Purpose.POLICIES: Asked(POLICY_PERMISSIONS),
    Purpose.APPROVAL: Asked(("User.Read",), fresh=True),
}

DEEDS: Final[Mapping[Purpose, str]] = {
    Purpose.LINK: "link the Microsoft account you sign in with to their Slack account",
    Purpose.SESSION: "open a management session that works with the account you sign in with",
    Purpose.SET_UP: "set up the account Latchkey works with, using the account you sign in with",
    Purpose.POLICIES: "change Conditional Access for the account it works with, using the account you sign in with",
    Purpose.APPROVAL: "confirm an approval with the account you sign in with",
}
"""What follows *... asked Latchkey to*."""


HELD: Final = frozenset({Purpose.SET_UP, Purpose.POLICIES})
"""For what the account that signed in is held until the request is over."""


class SignInOver(LatchkeyError):
    """The link or code is used up, too old, replaced, or from before a restart."""

    def __init__(self) -> None:
        super().__init__("This sign-in is over, or was not begun here. Go back to Slack and ask for a new one.")


@dataclass(frozen=True)
class Invitation:
    """How somebody signs in: a link of ours, or a *code* to type on Microsoft's page at *url*."""

    id: str
    url: str
    code: str | None
    until: datetime


@dataclass(frozen=True)
class SignedIn:
    """Somebody who has just signed in, as Graph knows them. Whoever holds this forgets the tokens once it is done."""

    account_id: str
    upn: str
    name: str
    roles: frozenset[str]
    """Template ids of the directory roles they hold now; read only where the purpose needs them."""
    tokens: PersonTokens
    at: datetime


Handler = Callable[[SlackUser, str, SignedIn], Awaitable[str]]
"""Does what somebody signed in for, *about* whatever it was, and returns the sentence they are told. Raises
`LatchkeyError` to refuse."""

Told = Callable[[str], Awaitable[None]]
"""Told, once, how it ended."""


@dataclass
class _Open:
    """A sign-in that was asked for and has not come to its end."""

    id: str
    slack: SlackUser
    purpose: Purpose
    about: str
    name: str
    asked: Asked
    began: datetime
    until: datetime
    told: Told | None
    code: CodeSignIn | None = None
    browser: BrowserSignIn | None = None
    key: str = ""
    """What the browser that pressed *Continue* keeps in a cookie."""
    task: asyncio.Task[None] | None = None


class SigningIn:
    """Invites people to sign in and takes up what comes of it. What each purpose is for is registered with `on`."""

    def __init__(
        self,
        *,
        clock: Clock,
        people: PeopleSignIn,
        tenant: Tenant,
        tenant_id: str,
        operators: DecisionRead,
        audit: AuditTrail,
        page: str = "",
    ) -> None:
        """*page* is the address of our own page before Microsoft's, if browsers can be sent back to us."""
        self._clock = clock
        self._people = people
        self._tenant = tenant
        self._tenant_id = tenant_id
        self._operators = operators
        self._audit = audit
        self._page = page
        self._handlers: dict[Purpose, Handler] = {}
        self._open: dict[str, _Open] = {}
        self._fresh: dict[SlackUser, tuple[str, datetime]] = {}
        self._held: dict[str, SignedIn] = {}
        self._dropping: dict[str, asyncio.Task[None]] = {}

    def on(self, purpose: Purpose, handler: Handler) -> None:
        """Have *handler* called with everybody who signs in for *purpose*."""
        self._handlers[purpose] = handler

    @property
    def has_callback(self) -> bool:
        """Whether people sign in by a link and come back, and so whether an approval can ask for it."""
        return self._people.has_callback

    # --- inviting ----------------------------------------------------------------------------------------------------

    async def invite(
        self, slack: SlackUser, purpose: Purpose, about: str = "", *, name: str = "", told: Told | None = None
    ) -> Invitation:
        """Begin a sign-in; tell the link or code to nobody but *slack*, whom the page calls *name*.

        Each person has one at a time for each purpose: a new one takes the place of the old. Raises `SignInFailed` or
        `ConfigurationError`.
        """
        now, operator = self._clock.now(), self._operator(slack)
        asked = ASKED[purpose]
        if purpose is Purpose.APPROVAL and operator and operator.upn:
            asked = replace(asked, hint=operator.upn)
        code = None if self._people.has_callback else await self._people.by_code(asked)
        self.cancel(slack, purpose)
        opened = _Open(
            id=secrets.token_urlsafe(24),
            slack=slack,
            purpose=purpose,
            about=about,
            name=name or (operator.name if operator and operator.name else slack.user),
            asked=asked,
            began=now,
            until=code.until if code else now + LINK_LIVES,
            told=told,
            code=code,
        )
        self._open[opened.id] = opened
        opened.task = asyncio.create_task(self._until_typed(opened, code) if code else self._until_over(opened))
        opened.task.add_done_callback(_log_what_broke)
        url = code.url if code else f"{self._page}?flow={opened.id}"
        return Invitation(opened.id, url, code.code if code else None, opened.until)

    def cancel(self, slack: SlackUser, purpose: Purpose | None = None) -> bool:
        """End this person's open sign-in, for one purpose or for any; whether there was one. Nobody is told."""
        found = [each for each in self._open.values() if each.slack == slack and purpose in (None, each.purpose)]
        for each in found:
            self._take(each)
            if each.task:
                each.task.cancel()
        return bool(found)

    async def close(self) -> None:
        """Wait for nobody any more, and forget every token."""
        tasks = [each.task for each in self._open.values() if each.task]
        self._open.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for about in tuple(self._held):
            self.drop(about)

    # --- what is known of those who did ------------------------------------------------------------------------------

    def last_fresh(self, slack: SlackUser) -> datetime | None:
        """When this person last proved to Microsoft that they are who their linked account belongs to."""
        account, at = self._fresh.get(slack, ("", None))
        operator = self._operator(slack)
        return at if operator and operator.account_id == account else None

    def held_for(self, about: str) -> SignedIn | None:
        """Who signed in to set up what *about* names, until that is dropped or an hour has passed."""
        return self._held.get(about)

    def drop(self, about: str) -> None:
        """What it was needed for is done: nothing of that account remains."""
        if held := self._held.pop(about, None):
            held.tokens.forget()
            self._dropping.pop(about).cancel()

    def _hold(self, about: str, signed_in: SignedIn) -> None:
        """Keep it for as long as it may be needed. Whoever works with another's sign-in is not disturbed."""
        if about in self._held:
            raise NotPossible("Somebody else has signed in for this already, so nothing was done.")
        self._held[about] = signed_in
        self._dropping[about] = asyncio.create_task(self._until_unneeded(about, signed_in))

    async def _until_unneeded(self, about: str, held: SignedIn) -> None:
        await self._clock.sleep_until(held.at + HELD_FOR)
        self.drop(about)

    def _operator(self, slack: SlackUser) -> Operator | None:
        return self._operators.rights(slack, "/m365 help").operator

    # --- in a browser ------------------------------------------------------------------------------------------------

    def welcome(self, flow: str) -> str:
        """What our own page says to whoever follows a link. Raises `SignInOver`."""
        opened = self._still_open(flow)
        name = "".join(letter for letter in opened.name if letter.isprintable())[:_LONGEST_NAME]
        asked = f"{name} asked Latchkey in Slack to {DEEDS[opened.purpose]}."
        return f"{asked} Continue only if that is you. If somebody sent you this link, close this page."

    async def go_on(self, flow: str, key: str) -> str:
        """Where the browser that keeps *key* goes to sign in. Raises `SignInOver`, `SignInFailed`."""
        opened = self._still_open(flow)
        browser = await self._people.in_browser(opened.asked)
        opened = self._still_open(flow)  # it may have ended while Microsoft was asked
        opened.browser, opened.key = browser, key
        return browser.url

    async def finish_callback(self, query: Mapping[str, str], keys: Callable[[str], str]) -> str:
        """A browser came back from Microsoft: the sentence that its page shows. *keys* gives what it keeps for a flow.

        Raises `SignInOver` for what nobody waits for, and then nothing was done; another `LatchkeyError` says what went
        wrong, in words for the page.
        """
        state = query.get("state", "")
        opened = next((each for each in self._open.values() if each.browser and _same(each.browser.state, state)), None)
        if opened is None or opened.browser is None or not state:
            raise SignInOver
        if not _same(opened.key, keys(opened.id)):
            log.warning("another browser came back", extra={"purpose": opened.purpose.value})
            raise SignInOver
        self._take(self._still_open(opened.id))
        if opened.task:
            opened.task.cancel()
        return await self._settle(opened, opened.browser.finish(query))

    def _still_open(self, flow: str) -> _Open:
        opened = self._open.get(flow)
        if opened is None or opened.code or self._clock.now() >= opened.until:
            raise SignInOver
        return opened

    async def _until_over(self, opened: _Open) -> None:
        await self._clock.sleep_until(opened.until)
        await self._run_out(opened, "The link was not used in time. Ask for a new one.")

    # --- by a code ---------------------------------------------------------------------------------------------------

    async def _until_typed(self, opened: _Open, code: CodeSignIn) -> None:
        while self._clock.now() < opened.until:
            await self._clock.sleep_until(min(self._clock.now() + code.interval, opened.until))
            try:
                tokens = await code.poll()
            except LatchkeyError as error:
                if self._take(opened):
                    await self._failed(opened, error)
                return
            if tokens is not None:
                if not self._take(opened):  # cancelled while Microsoft answered
                    tokens.forget()
                    return
                try:
                    await self._settle(opened, _at_once(tokens))
                except LatchkeyError as error:
                    log.info("sign-in came to nothing", extra={"why": type(error).__name__})
                return
        await self._run_out(opened, "The code was not used in time. Ask for a new one.")

    # --- the end -----------------------------------------------------------------------------------------------------

    def _take(self, opened: _Open) -> bool:
        """Whoever takes it ends it; nobody else can."""
        return self._open.pop(opened.id, None) is not None

    async def _run_out(self, opened: _Open, sentence: str) -> None:
        if self._take(opened) and opened.told:
            await opened.told(sentence)

    async def _settle(self, opened: _Open, redeemed: Awaitable[PersonTokens]) -> str:
        try:
            tokens = await redeemed
            try:
                signed_in = await self._who(opened, tokens)
                self._remember(opened, signed_in)
                if opened.purpose in HELD:
                    self._hold(opened.about, signed_in)
                sentence = await self._handlers[opened.purpose](opened.slack, opened.about, signed_in)
                self._remember(opened, signed_in)  # once more: it may be linked only now
            except BaseException:
                held = self._held.get(opened.about)
                if held is not None and held.tokens is tokens:
                    self.drop(opened.about)
                tokens.forget()
                raise
        except LatchkeyError as error:
            await self._failed(opened, error)
            raise
        if opened.purpose in {Purpose.LINK, Purpose.APPROVAL}:
            tokens.forget()
        facts = {"purpose": opened.purpose.value, "account": signed_in.account_id, "upn": signed_in.upn}
        await self._audit.append(self._record("signin.succeeded", opened, facts))
        whole = f"{sentence} You signed in as {signed_in.name} ({signed_in.upn}), for {opened.name} in Slack."
        if opened.told:
            await opened.told(whole)
        return whole

    def _remember(self, opened: _Open, signed_in: SignedIn) -> None:
        operator, proved_at = self._operator(opened.slack), signed_in.tokens.proved_at
        if operator and operator.account_id == signed_in.account_id and proved_at:
            self._fresh[opened.slack] = signed_in.account_id, min(proved_at, signed_in.at)

    async def _who(self, opened: _Open, tokens: PersonTokens) -> SignedIn:
        """The account that signed in, read with its own token: an ID token is signed for somebody else to check."""
        if opened.asked.fresh:
            _is_fresh(tokens.proved_at, opened.began)
        graph = self._tenant.graph(tokens)
        try:
            me = await graph.get("me", query={"$select": "id,userPrincipalName,displayName,userType"})
            theirs = [organisation["id"] for organisation in await graph.collect("organization")]
            if [each.casefold() for each in theirs] != [self._tenant_id.casefold()] or me.get("userType") == "Guest":
                raise NotPossible(
                    f"{me['userPrincipalName']} does not belong to this organisation. "
                    "Sign in with an account of its own."
                )
            upn = str(me["userPrincipalName"])
            identity = Identity(IdentityKind.ADMINISTRATOR, str(me["id"]), upn)
            needs_roles = opened.purpose in {Purpose.SESSION, *HELD}
            roles = await directory_roles(graph, identity) if needs_roles else frozenset[str]()
        except GraphProblem as error:
            raise NotPossible(f"You signed in, but Microsoft did not say who you are. {error}") from error
        return SignedIn(identity.id, upn, str(me.get("displayName") or upn), roles, tokens, self._clock.now())

    async def _failed(self, opened: _Open, error: LatchkeyError) -> None:
        facts: dict[str, Any] = {"purpose": opened.purpose.value, "why": str(error)}
        if isinstance(error, SignInFailed):
            facts |= {"code": error.code, "correlation_id": error.correlation_id}
        await self._audit.append(self._record("signin.failed", opened, facts))
        if opened.told:
            await opened.told(str(error))

    def _record(self, kind: str, opened: _Open, facts: Mapping[str, Any]) -> AuditRecord:
        operator = self._operator(opened.slack)
        who = {"team": opened.slack.team, "user": opened.slack.user, "about": opened.about}
        return AuditRecord(kind, operator_id=operator.id if operator else None, facts={**who, **facts})


def _is_fresh(proved_at: datetime | None, asked_at: datetime) -> None:
    if proved_at is None:
        raise NotPossible(
            "Microsoft did not say when you signed in. Ask a tenant admin to add the optional claim `auth_time` to the "
            "ID token of Latchkey's sign-in application."
        )
    if proved_at < asked_at - _CLOCKS_DIFFER:
        raise NotPossible("You were signed in already. Ask again, and sign in anew when Microsoft asks you to.")


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode("utf-8", "replace"))


def _log_what_broke(task: asyncio.Task[None]) -> None:
    """Nobody waits for the task: what nobody foresaw would go unheard."""
    if not task.cancelled() and (error := task.exception()):
        log.error("a sign-in broke off", exc_info=error)


async def _at_once(tokens: PersonTokens) -> PersonTokens:
    return tokens
