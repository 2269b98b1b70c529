"""Foresees whether the service identity can sign in, from the tenant's policies, before a session finds out.

A table says what is to come of its sign-ins: from Latchkey's own address they are let in; from elsewhere they are
blocked, once they have been. Policies that only report count as if they were on, to tell what would happen then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from ipaddress import IPv4Address, ip_address
from typing import Final, Protocol

from bot.conditional_access import PASSWORD_CLIENT, Change, TenantPolicies
from bot.errors import GraphRefused, LatchkeyError
from bot.model import Identity, IdentityKind
from bot.ports import Clock
from bot.whatif import apps
from bot.whatif.controls import Blocker, blocker_of, blockers, passes
from bot.whatif.evaluation import PolicyResult, PolicySet
from bot.whatif.locations import Address, NamedLocation
from bot.whatif.policies import State
from bot.whatif.signins import Applications, Person, SignIn
from bot.whatif.words import Names

log = logging.getLogger(__name__)

NEEDED: Final = (apps.GRAPH,)
"""The resources that the service identity signs in to."""

CLIENTS: Final = ("browser", PASSWORD_CLIENT, "exchangeActiveSync", "other")
"""The kinds of client that somebody who has a password could sign in through."""

_ELSEWHERE: Final = (
    *map(ip_address, ("192.0.2.1", "198.51.100.1", "203.0.113.1", "192.0.2.129")),
    *(IPv4Address(f"{first}.255.255.1") for first in range(1, 224)),
)
"""Addresses that nobody has (RFC 5737), and one in each of the widest ranges that a location can have: nobody hides an
opening by naming the first ones."""

_OF_THE_MOMENT: Final = frozenset({"signInRiskLevel", "userRiskLevel", "servicePrincipalRiskLevel", "insiderRiskLevel"})
"""What is different at each sign-in: nobody can foresee it."""


# --- The table --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Expected:
    """A sign-in, and whether it is to be let in; None: nobody has said."""

    sign_in: SignIn
    inside: bool
    allowed: bool | None


@dataclass(frozen=True)
class Verdict:
    """What the policies make of a sign-in of the table."""

    of: Expected
    blockers: tuple[Blocker, ...]
    ahead: tuple[Blocker, ...]
    """The same of policies that only report, once they are on."""
    untold: tuple[PolicyResult, ...]
    """Those that are on and may block: too little is known to tell."""

    @property
    def allowed(self) -> bool | None:
        """None: nobody can tell."""
        return False if self.blockers else None if self.untold else True

    @property
    def differs(self) -> bool:
        return None not in (self.of.allowed, self.allowed) and self.of.allowed is not self.allowed


def expected(real: SignIn, locations: Iterable[NamedLocation], *, closed: bool) -> tuple[Expected, ...]:
    """The table. *real* is a sign-in as Latchkey does it. *closed*: those from elsewhere are to be blocked.

    The stranger signs in from the same country, so that only a policy about addresses keeps them out, and through any
    kind of client; Latchkey's own is the one that *real* names.
    """
    clients = CLIENTS if isinstance(real.who, Person) else (real.conditions.client_app,)
    elsewhere = _outside(locations, real.conditions.address)
    table = []
    for resource in NEEDED:
        here = replace(real, what=Applications(frozenset({resource})))
        table.append(Expected(here, inside=True, allowed=True))
        if elsewhere is not None:
            strange = (replace(here.conditions, address=elsewhere, client_app=client) for client in clients)
            allowed = False if closed else None
            table += [Expected(replace(here, conditions=each), inside=False, allowed=allowed) for each in strange]
    return tuple(table)


def judged(policies: PolicySet, table: Iterable[Expected], kind: IdentityKind) -> tuple[Verdict, ...]:
    """What comes of each sign-in of the table, for an identity of this kind."""
    return tuple(_judge(policies, each, kind) for each in table)


def differences(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    """Those that are not as expected."""
    return tuple(verdict for verdict in verdicts if verdict.differs)


def _judge(policies: PolicySet, each: Expected, kind: IdentityKind) -> Verdict:
    found = policies.evaluate(each.sign_in, strict=True)
    ahead = tuple(blocker_of(policy, kind) for policy in found.report_only.applying if not passes(kind, policy))
    untold = tuple(
        result
        for result in found.untold
        if result.policy.state != State.REPORT_ONLY
        and not passes(kind, result.policy)
        and not _OF_THE_MOMENT.issuperset(result.unknown)
    )
    return Verdict(each, blockers(found, kind), ahead, untold)


def _outside(locations: Iterable[NamedLocation], inside: Address | None) -> Address | None:
    """An address that is none of ours."""
    networks = [network for location in locations for network in location.networks]
    free = (each for each in _ELSEWHERE if each != inside and not any(each in network for network in networks))
    return next(free, None)


# --- What it says -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Switches:
    """What keeps people out beside policies. None: it could not be read."""

    security_defaults: bool | None = False
    per_user_mfa: bool | None = False
    """Multifactor authentication that was switched on for the account itself."""

    @property
    def on(self) -> bool:
        return bool(self.security_defaults or self.per_user_mfa)


@dataclass(frozen=True)
class Foresight:
    """What is to come of the next sign-in of the identity. Two are equal if they rest on the same policies."""

    identity: Identity
    digest: str
    switches: Switches
    verdicts: tuple[Verdict, ...] = field(compare=False)
    closed: bool = False
    """Whether sign-ins from elsewhere are to be blocked."""
    names: Names = field(default_factory=dict, compare=False, repr=False)
    changes: Mapping[str, Change] = field(default_factory=dict, compare=False, repr=False)
    since: datetime | None = field(default=None, compare=False)
    """When it was first seen."""

    @property
    def blockers(self) -> tuple[Blocker, ...]:
        """What keeps the identity itself out."""
        return _once(blocker for verdict in self._inside for blocker in verdict.blockers)

    @property
    def ahead(self) -> tuple[Blocker, ...]:
        """What would, once it is on."""
        return _once(blocker for verdict in self._inside for blocker in verdict.ahead)

    @property
    def untold(self) -> tuple[PolicyResult, ...]:
        found = {result.policy.id: result for verdict in self._inside for result in verdict.untold}
        return tuple(found.values())

    @property
    def stops(self) -> bool:
        """Whether no session can be opened."""
        return bool(self.blockers) or self.switches.on

    def says_the_same_as(self, other: Foresight | None) -> bool:
        """Whether it rests on the same policies, of which the same keep the identity out."""
        if other is None or self != other:
            return False
        mine, theirs = ({blocker.policy.id for blocker in each.blockers} for each in (self, other))
        return mine == theirs

    @property
    def opened(self) -> tuple[str | None, ...]:
        """Through which kinds of client others get in from where they should not."""
        found = (each.of for each in differences(self.verdicts) if not each.of.inside)
        return tuple(dict.fromkeys(each.sign_in.conditions.client_app for each in found))

    @property
    def blocks_elsewhere(self) -> bool:
        """Whether it is let in here and nowhere else."""
        return self.keeps_others_out and not self.blockers

    @property
    def keeps_others_out(self) -> bool:
        """Whether certainly nobody from elsewhere gets in."""
        there = [verdict.allowed for verdict in self.verdicts if not verdict.of.inside]
        return bool(there) and all(allowed is False for allowed in there)

    @property
    def _inside(self) -> Sequence[Verdict]:
        return [verdict for verdict in self.verdicts if verdict.of.inside]


def _once(found: Iterator[Blocker]) -> tuple[Blocker, ...]:
    return tuple({blocker.policy.id: blocker for blocker in found}.values())


def _judge_all(now: Foresight, real: SignIn, tenant: TenantPolicies) -> tuple[Verdict, ...]:
    table = expected(real, tenant.locations, closed=now.closed)
    return judged(tenant.compiled, table, now.identity.kind)


class Access(Protocol):
    """What it needs of the tenant's Conditional Access."""

    async def read(self) -> TenantPolicies: ...

    async def sign_in_of(self, identity: Identity) -> SignIn: ...

    async def changes(self) -> Mapping[str, Change]: ...

    async def security_defaults(self) -> bool: ...

    async def per_user_mfa(self, identity: Identity) -> str: ...


class Canary:
    """Looks. What cannot be read is taken as it was."""

    def __init__(self, clock: Clock, access: Access) -> None:
        self._clock = clock
        self._access = access
        self._last: Foresight | None = None
        self._permitted = True

    async def look(self, identity: Identity, *, closed: bool = False, thoroughly: bool = False) -> Foresight | None:
        """What is to come; None if nobody can tell, because policies may not be read or never could.

        The policies are read; the rest, who the identity is and from where it comes, only if they are not as they
        were, or *thoroughly*. *closed*: it is to be let in from Latchkey's address only.
        """
        if identity.kind not in (IdentityKind.SERVICE_ACCOUNT, IdentityKind.APPLICATION):
            return None  # no policy reaches it
        before = self._last if self._last and self._last.identity.id == identity.id else None
        try:
            tenant = await self._access.read()
            self._permitted = True
            switches = await self._switches(identity, before)
            now = Foresight(identity, tenant.digest, switches, (), closed)
            if before is None or thoroughly or now != before:
                now = await self._judge(now, tenant)
                since = before.since if before and now.says_the_same_as(before) else self._clock.now()
                self._last = before = replace(now, since=since)
        except GraphRefused as refusal:
            if self._permitted:
                log.warning("policies may not be read, so nothing is foreseen", extra={"why": str(refusal)})
            self._permitted, self._last = False, None
            return None
        except LatchkeyError as problem:
            log.info("policies could not be looked at", extra={"why": str(problem)})
        except Exception:
            log.exception("looking at policies met something unforeseen")
        return before

    async def _switches(self, identity: Identity, before: Foresight | None) -> Switches:
        if not identity.delegated:
            return Switches()
        known = before.switches if before else Switches(None, None)
        try:
            known = replace(known, security_defaults=await self._access.security_defaults())
        except LatchkeyError as problem:
            log.info("security defaults could not be looked at", extra={"why": str(problem)})
        try:
            asked = await self._access.per_user_mfa(identity) != "disabled"
            known = replace(known, per_user_mfa=asked)
        except LatchkeyError as problem:
            log.info("multifactor authentication per user could not be looked at", extra={"why": str(problem)})
        return known

    async def _judge(self, now: Foresight, tenant: TenantPolicies) -> Foresight:
        real = await self._access.sign_in_of(now.identity)
        verdicts = await asyncio.to_thread(_judge_all, now, real, tenant)
        found = replace(now, verdicts=verdicts, names=tenant.names)
        if not (found.blockers or found.ahead):
            return found
        try:
            return replace(found, changes=await self._access.changes())
        except LatchkeyError as problem:
            log.info("who changed policies could not be read", extra={"why": str(problem)})
            return found
