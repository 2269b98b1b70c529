"""Allowed IPs: what there is of them in the tenant, what they are to be, and what sign-ins would come to then."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import ip_network
from typing import Any, Final, TypeVar

from bot.actions._addresses import as_graph_has_them, elsewhere, holds, in_words
from bot.actions._own import OWN
from bot.errors import NotPossible
from bot.model import JSON, Change, Expect, Identity, IdentityKind, ReadBack
from bot.ports import Reader
from bot.whatif.controls import Blocker, blockers, passes
from bot.whatif.evaluation import PolicyResult, PolicySet, Verdict
from bot.whatif.locations import Address, NamedLocation, Network, read_location
from bot.whatif.policies import Policy, State, read_policy
from bot.whatif.reading import quoted
from bot.whatif.signins import Person, SignIn
from bot.whatif.words import Names, clauses, summary

T = TypeVar("T")

DESK: Final = (OWN, "allowed-ips")
POLICIES: Final = ("identity", "conditionalAccess", "policies")
LOCATIONS: Final = ("identity", "conditionalAccess", "namedLocations")

LOCATION: Final = "Latchkey egress"
POLICY: Final = "Latchkey: service account only from allowed addresses"
GROUP: Final = "Latchkey excluded from Conditional Access"
"""The names of what is made. By them it is found again."""

MARK: Final = "Made by Latchkey"
"""What the descriptions of what is made begin with: by them it is found under another name."""

CONFIGURED: Final = "LATCHKEY_EGRESS_IP says so"
LOGGED: Final = "the newest sign-ins in the log came from there"
"""How it is known from where Latchkey signs in."""

DRAFT: Final = "draft"
"""The id of what is not there yet."""

NEVER: Final = ReadBack((*DESK, "done"), "done", Expect.EQUALS, True, lags=False)
"""What was looked at, or tried out, shows nowhere: it is done again."""


class Shape(StrEnum):
    """What happens to a sign-in from elsewhere."""

    BLOCK = "block"
    MFA = "mfa"


@dataclass(frozen=True)
class Group:
    """The group whose members policies leave out. `members` are ids and names; `fits` says that it is a security group
    whose members are chosen by hand, here."""

    id: str
    name: str
    members: tuple[tuple[str, str], ...] = ()
    assignable: bool = True
    fits: bool = True


@dataclass(frozen=True)
class Wish:
    """What the named location and the policy shall be, and which policies shall leave the account out from now on."""

    ranges: tuple[Network, ...]
    shape: Shape = Shape.BLOCK
    trusted: bool = False
    excluding: tuple[str, ...] = ()

    def to_json(self) -> JSON:
        return {
            "ranges": [str(network) for network in self.ranges],
            "shape": self.shape.value,
            "trusted": self.trusted,
            "excluding": list(self.excluding),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Wish:
        return cls(
            tuple(map(ip_network, data["ranges"])), Shape(data["shape"]), data["trusted"], tuple(data["excluding"])
        )


@dataclass(frozen=True)
class Situation:
    """What there is in the tenant, with all its policies compiled. `sign_in` is one of the account as Latchkey does it,
    from where it does it now (`source` says how that is known); `also_from` is where else it was signed in from lately.
    `made_by_apps` has, by policy, the application that
    changed it last, where that was no person."""

    account: Identity
    policies: tuple[Policy, ...]
    locations: tuple[NamedLocation, ...]
    judged: PolicySet
    sign_in: SignIn
    source: str = ""
    also_from: tuple[Address, ...] = ()
    names: Names = field(default_factory=dict)
    group: Group | None = None
    security_defaults: bool = False
    made_by_apps: Mapping[str, str] = field(default_factory=dict)

    @property
    def policy(self) -> Policy | None:
        """Ours. Raises `NotPossible` if it is not clear which that is."""
        marked = (policy for policy in self.policies if str(policy.raw.get("description") or "").startswith(MARK))
        return _only(POLICY, [policy for policy in self.policies if policy.name == POLICY] or list(marked))

    @property
    def location(self) -> NamedLocation | None:
        """Ours. Raises `NotPossible` if it is not clear which that is, or if that holds no addresses."""
        found = _only(LOCATION, [location for location in self.locations if location.name == LOCATION])
        if found is not None and not str(found.raw.get("@odata.type")).endswith("ipNamedLocation"):
            raise NotPossible(
                f"There is a named location “{LOCATION}” already, and it is no list of addresses. Give it another name."
            )
        return found

    def find(self, policy_id: str) -> Policy | None:
        return next((policy for policy in self.policies if policy.id == policy_id), None)

    def using(self, group_id: str) -> list[Policy]:
        """The policies that leave this group out."""
        return [policy for policy in self.policies if group_id.lower() in map(str.lower, policy.users.groups.exclude)]


async def situation(reader: Reader) -> Situation:
    """As it is now. Raises what Graph has against reading it."""
    found: Situation = (await reader.get(*DESK))["now"]
    return found


def _only(name: str, found: Sequence[T]) -> T | None:
    if len(found) > 1:
        raise NotPossible(
            f"There are {len(found)} things called “{name}” in the tenant, so it is not clear which is meant. Give all "
            "but one another name."
        )
    return found[0] if found else None


# --- Bodies, as Graph wants them --------------------------------------------------------------------------------------


def location_body(wish: Wish) -> dict[str, JSON]:
    return {
        "@odata.type": "#microsoft.graph.ipNamedLocation",
        "displayName": LOCATION,
        "isTrusted": wish.trusted,
        "ipRanges": as_graph_has_them(wish.ranges),
    }


def policy_body(account: Identity, location: JSON, shape: Shape) -> dict[str, JSON]:
    """*location* is the id of the named location, or what stands for it."""
    return {
        "displayName": POLICY,
        "description": f"{MARK}: {account.name} signs in from the addresses in “{LOCATION}” only.",
        "state": State.REPORT_ONLY,
        "conditions": {
            "clientAppTypes": ["all"],
            "users": {"includeUsers": [account.id]},
            "applications": {"includeApplications": ["All"]},
            "locations": {"includeLocations": ["All"], "excludeLocations": [location]},
        },
        "grantControls": {"operator": "OR", "builtInControls": [shape.value]},
    }


def group_body(account: Identity) -> dict[str, JSON]:
    """Being able to be assigned to roles keeps others than Privileged Role Administrators from putting somebody in
    (Entra docs: *Use Microsoft Entra groups to manage role assignments*). It never gets a role."""
    return {
        "displayName": GROUP,
        "description": f"{MARK}: policies that nothing without a person can meet leave its only member out.",
        "mailEnabled": False,
        "mailNickname": "latchkey-excluded",
        "securityEnabled": True,
        "isAssignableToRole": True,
        "visibility": "Private",
        "members@odata.bind": [{"$ref_to": ["directoryObjects", account.id]}],
    }


def excluding(policy: Policy, group: JSON) -> dict[str, JSON]:
    """The users of *policy* as they are, and *group* left out: Graph replaces them as a whole."""
    users = dict((policy.raw.get("conditions") or {}).get("users") or {})
    return {**users, "excludeGroups": [*(users.get("excludeGroups") or ()), group]}


def including(policy: Policy, group_id: str) -> dict[str, JSON]:
    """The same the other way."""
    users = dict((policy.raw.get("conditions") or {}).get("users") or {})
    kept = [each for each in users.get("excludeGroups") or () if str(each).lower() != group_id.lower()]
    return {**users, "excludeGroups": kept}


def is_as_wished(policy: Policy, account: Identity, location_id: str, shape: Shape) -> bool:
    """Whether our policy says what it has to say, be it on or not."""
    wanted = read_policy(policy_body(account, location_id, shape))
    return replace(policy, **_UNSAID) == replace(wanted, **_UNSAID)


_UNSAID: Final[Mapping[str, Any]] = {"id": "", "name": "", "state": "", "raw": {}}


# --- What sign-ins would come to --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Foreseen:
    """What comes of a sign-in from our addresses and from elsewhere once everything is as wished."""

    inside: Verdict
    outside: Verdict
    inside_sign_in: SignIn
    outside_sign_in: SignIn
    ours: str
    """The id of our policy, as the verdicts have it."""
    from_each_range: tuple[Verdict, ...] = ()
    perhaps: tuple[PolicyResult, ...] = ()
    """Of the policies that would stop the account, those of which nobody can tell whether they apply inside."""

    @property
    def still_blocking(self) -> tuple[Blocker, ...]:
        """What still stops the account inside, our own policy aside."""
        found = blockers(self.inside, IdentityKind.SERVICE_ACCOUNT)
        return tuple(blocker for blocker in found if blocker.policy.id != self.ours)


def foresee(now: Situation, wish: Wish) -> Foreseen:
    """With the policies and locations there are, and the wish as if it were fulfilled. Raises `NotPossible`."""
    account, here, location, policy = now.account, now.sign_in, now.location, now.policy
    location_id, policy_id = location.id if location else DRAFT, policy.id if policy else DRAFT
    drafted = read_location({**location_body(wish), "id": location_id})
    body = {**policy_body(account, location_id, wish.shape), "state": State.ENABLED, "id": policy_id}
    ours = read_policy(body)
    group_id = now.group.id if now.group else DRAFT
    policies = [
        read_policy(with_users(each, excluding(each, group_id))) if each.id in wish.excluding else each
        for each in now.policies
        if each is not policy
    ]
    locations = [each for each in now.locations if each is not location]
    judged = PolicySet.compile([*policies, ours], [*locations, drafted])
    if isinstance(here.who, Person):
        here = replace(here, who=replace(here.who, groups=(here.who.groups or frozenset()) | {group_id}))
    inside = [moved(here, network[0]) for network in wish.ranges]
    at_home = here.conditions.address is not None and holds(wish.ranges, here.conditions.address)
    inside_sign_in = here if at_home else inside[0]
    outside = elsewhere(wish.ranges)
    if outside is None:
        raise NotPossible(f"{in_words(wish.ranges)} leave nothing outside. Name fewer addresses.")
    outside_sign_in = moved(here, outside)
    return Foreseen(
        judged.evaluate(inside_sign_in),
        judged.evaluate(outside_sign_in),
        inside_sign_in,
        outside_sign_in,
        policy_id,
        tuple(map(judged.evaluate, inside)),
        untold(judged, inside_sign_in),
    )


def untold(judged: PolicySet, sign_in: SignIn) -> tuple[PolicyResult, ...]:
    """Of the policies that would stop the account, those of which nobody can tell whether they apply to *sign_in*."""
    return tuple(
        result
        for result in judged.evaluate(sign_in, strict=True).untold
        if result.policy.state == State.ENABLED and not passes(IdentityKind.SERVICE_ACCOUNT, result.policy)
    )


def moved(sign_in: SignIn, address: Address) -> SignIn:
    """The same sign-in from *address*, whose country nobody knows."""
    return replace(sign_in, conditions=replace(sign_in.conditions, address=address, country=None))


def with_users(policy: Policy, users: Mapping[str, JSON]) -> JSON:
    """*policy* as Graph has it, but for these *users*."""
    return {**policy.raw, "conditions": {**(policy.raw.get("conditions") or {}), "users": users}}


def result_of(verdict: Verdict, policy_id: str) -> PolicyResult | None:
    return next((result for result in verdict.results if result.policy.id == policy_id), None)


def objections(now: Situation, wish: Wish, foreseen: Foreseen) -> list[str]:
    """Sentences about what would not come out as it has to; none if all does."""
    found = []
    for network, verdict in zip(wish.ranges, foreseen.from_each_range, strict=True):
        ours = result_of(verdict, foreseen.ours)
        if ours is None or ours.applies is not False:
            found.append(f"From {in_words([network])}, “{POLICY}” would apply, although that is inside.")
            break
    outside = result_of(foreseen.outside, foreseen.ours)
    address = foreseen.outside_sign_in.conditions.address
    if outside is None or outside.applies is not True:
        found.append(f"From {address}, which is outside, “{POLICY}” would not apply.")
    elif not any(each.policy.id == foreseen.ours for each in blockers(foreseen.outside, IdentityKind.SERVICE_ACCOUNT)):
        found.append(f"From {address}, which is outside, {now.account.name} would still get in.")
    for blocker in foreseen.still_blocking:
        found.append(f"From inside, {quoted(blocker.policy.name)} would still stop {now.account.name}.")
    return found


def in_short(verdict: Verdict, names: Names) -> str:
    """What a sign-in of the account comes to: a second factor that is asked for is one it has not got."""
    stops = blockers(verdict, IdentityKind.SERVICE_ACCOUNT)
    if stops and not stops[0].blocks_outright:
        return f"stopped, as it is asked for {clauses(verdict.controls, names) or 'a bound token'}"
    said = summary(verdict, names).rstrip(".")
    return f"{said[:1].lower()}{said[1:]}"


def outcome(now: Situation, where: str, sign_in: SignIn, after: Verdict, names: Names) -> Change:
    """The line that says what comes of this sign-in now, and what *after*. *where* names no single address that may be
    another one a moment later: what was agreed to would not be the same any more."""
    before = now.judged.evaluate(replace(sign_in, who=now.sign_in.who))
    return Change(f"signing in from {where}", in_short(before, names), in_short(after, names))


def from_elsewhere(address: Address | None) -> str:
    """What *outcome* calls where one is that stands for all that are outside."""
    return f"elsewhere ({address}, say)"


# --- Who else looks after policies ------------------------------------------------------------------------------------

_AS_CODE: Final = re.compile(
    r"terraform|pulumi|bicep|\bcipp\b|m365dsc|microsoft365dsc|dctoolbox|gitops|\biac\b|(managed|maintained|deployed) "
    r"(by|in|from|with|as)|as[- ]code|do not (edit|change|modify)|github|gitlab|azure devops",
    re.IGNORECASE,
)
"""What people write into names and descriptions of policies that a tool puts back."""


def managed_as_code(policies: Iterable[Policy], made_by_apps: Mapping[str, str]) -> list[tuple[Policy, str]]:
    """Those that a tool seems to look after, and what shows that."""
    found = []
    for policy in policies:
        for what, text in (("name", policy.name), ("description", str(policy.raw.get("description") or ""))):
            if _AS_CODE.search(text):
                found.append((policy, f"its {what} says so: {quoted(text)}"))
                break
        else:
            if app := made_by_apps.get(policy.id.lower()):
                found.append((policy, f"the application {quoted(app)} changed it last"))
    return found
