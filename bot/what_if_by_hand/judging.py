"""Whose sign-ins are judged, from where and through what, and what comes of each. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Final

from bot.conditional_access import Egress
from bot.model import IdentityKind
from bot.what_if_by_hand.options import MENUS, Said
from bot.whatif import apps, words
from bot.whatif.controls import Blocker, blockers
from bot.whatif.countries import COUNTRIES
from bot.whatif.evaluation import Decision, PolicySet, Reason, Verdict
from bot.whatif.locations import Address, NamedLocation
from bot.whatif.policies import Policy
from bot.whatif.signins import Conditions, Person, SignIn, Wanted

APPS: Final = (apps.GRAPH, apps.EXCHANGE, apps.SHAREPOINT, "c44b4083-3bb0-49c1-b47d-974e53cbdf3c")
"""What is compared if nothing is said, and what a draft for everything is tried on."""

_OUTSIDE: Final = tuple(map(ip_address, ("192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1")))
"""Addresses that belong to nobody (RFC 5737, RFC 3849)."""

_FAR: Final = ("BR", "JP", "ZA")

QUIET: Final = Conditions(sign_in_risk="none", user_risk="none", insider_risk="none", flow="none")
"""What is taken for granted of an account where many sign-ins are judged: no risk, nothing unusual."""


@dataclass(frozen=True)
class Subject:
    """Whose sign-ins are judged. `usual` is one of them; `kind` is set for the identity that Latchkey works with."""

    name: str
    detail: str
    usual: SignIn
    kind: IdentityKind | None = None

    @property
    def person(self) -> bool:
        return isinstance(self.usual.who, Person)

    @property
    def names(self) -> dict[str, str]:
        return {self.usual.who.id: self.name}


@dataclass(frozen=True)
class Place:
    """An address to sign in from, and what it is called."""

    called: str
    address: Address | None
    country: str | None

    @property
    def text(self) -> str:
        """*outside, 192.0.2.1 (BR)*."""
        where = str(self.address or "an address that is not known")
        return f"{self.called}, {where}{f' ({self.country})' if self.country else ''}".removeprefix(", ")


@dataclass(frozen=True)
class Judged:
    """A sign-in of many, and what came of it."""

    subject: Subject
    target: Wanted
    place: Place
    client: str | None
    verdict: Verdict

    @property
    def stops(self) -> tuple[Blocker, ...]:
        return what_stops(self.verdict, self.subject)

    def is_about_whom(self, draft: Policy) -> bool:
        """Whether *draft* is about whoever signs in, or may be."""
        result = next(result for result in self.verdict.results if result.policy is draft)
        return not {Reason.USERS, Reason.WORKLOAD_IDENTITIES} & set(result.failed)

    def differs(self, other: Judged, draft: Policy) -> bool:
        """Whether something else comes of it with *draft*, or cannot be told any more."""
        mine, theirs = self.verdict, other.verdict
        if any(result.policy is draft for result in theirs.untold):
            return True
        if mine.decision is theirs.decision is Decision.BLOCK:
            return False  # what is asked for besides is of no account
        return (mine.decision, mine.controls, mine.session_limits, bool(self.stops)) != (
            theirs.decision,
            theirs.controls,
            theirs.session_limits,
            bool(other.stops),
        )


def sign_in_of(subject: Subject, said: Said, names: words.Names) -> SignIn:
    """Their usual sign-in with what was *said* in place of it. Raises `BadInput` for an application nobody knows."""
    wanted = said.wanted(names)
    conditions = said.on(subject.usual.conditions, person=subject.person)
    return SignIn(subject.usual.who, wanted[0] if wanted else subject.usual.what, conditions)


def judge_each(
    policies: PolicySet,
    subjects: Sequence[Subject],
    said: Said,
    targets: Sequence[Wanted],
    places: Sequence[Place],
    others: Conditions = QUIET,
) -> list[Judged]:
    """Each account at each target from each address through each kind of client; *others* is what is taken for granted
    of accounts that are not Latchkey's own. For a thread."""
    clients = said.clients or tuple(choice.value for choice in MENUS["client"].choices)
    rest = replace(said, apps=(), action=None, clients=(), addresses=(), country=None)
    found = []
    for subject in subjects:
        usual = subject.usual.conditions if subject.kind else others
        known = rest.on(usual, person=subject.person)
        for target in targets:
            for place in places:
                for client in clients if subject.person else (None,):
                    at = replace(known, address=place.address, country=place.country, client_app=client)
                    sign_in = SignIn(subject.usual.who, target, at)
                    found.append(Judged(subject, target, place, client, policies.evaluate(sign_in, strict=True)))
    return found


def places_for(said: Said, locations: Iterable[NamedLocation], egress: Egress | None) -> tuple[Place, ...]:
    """The addresses that were given; else Latchkey's own, and one that is nobody's and in no named location."""
    if said.addresses:
        one = len(said.addresses) == 1
        known = {egress.address: egress.country} if egress else {}
        return tuple(
            Place("", address, said.country if said.country is not None and one else known.get(address, said.country))
            for address in said.addresses
        )
    locations = tuple(locations)
    networks = [network for place in locations for network in place.networks]
    named = {code.upper() for place in locations for code in place.countries or ()} | {
        egress.country or "" if egress else ""
    }
    free = [
        address
        for address in _OUTSIDE
        if not any(network.version == address.version and address in network for network in networks)
        and (egress is None or address != egress.address)
    ]
    country = said.country
    if country is None:
        country = next((code for code in (*_FAR, *COUNTRIES) if code not in named), "")
    outside = Place("outside", free[0] if free else _OUTSIDE[0], country)
    inside = [Place("inside", egress.address, egress.country)] if egress else []
    return (*inside, outside)


def what_stops(verdict: Verdict, subject: Subject) -> tuple[Blocker, ...]:
    """What keeps Latchkey's own identity out; of people nobody knows what they can do."""
    return blockers(verdict, subject.kind) if subject.kind else ()
