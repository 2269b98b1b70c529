"""Sets of policies, one for each name that a policy may include or exclude: the conditions, compiled.

A set is an integer, and the members of it are policies. Each class below answers for one condition: for which policies
it holds for certain, and for which it may hold, so far as what was given tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Final, TypeVar

from bot.whatif.apps import GROUPS
from bot.whatif.filter_rules import Device, Fact, FilterProblem, Rule, read_rule
from bot.whatif.locations import COMPLIANT_NETWORK, Address, NamedLocation
from bot.whatif.policies import ANY_GUESTS, Aim, Choice, Filter, Guests, Policy, Users
from bot.whatif.reading import folded
from bot.whatif.signins import (
    Applications,
    AuthenticationContext,
    Person,
    Principal,
    UserAction,
    Wanted,
    group_name,
    role_name,
)

Policies = int
"""A set of policies."""

Answer = tuple[Policies, Policies]
"""The policies whose condition holds for certain, and those whose condition may hold."""

Sides = tuple[Policies, Policies]
"""The policies that include something, and those that exclude it."""


def settle(included: Policies, perhaps: Policies, excluded: Policies, perhaps_excluded: Policies) -> Answer:
    """Excluding wins, and what is only perhaps so is neither certain nor impossible."""
    return included & ~(excluded | perhaps_excluded), (included | perhaps) & ~excluded


NEITHER: Final[Sides] = (0, 0)
_Key = TypeVar("_Key")


def _join(table: dict[_Key, Sides], key: _Key, policies: Sides) -> None:
    table[key] = _both(table.get(key, NEITHER), policies)


def _both(some: Sides, others: Sides) -> Sides:
    return some[0] | others[0], some[1] | others[1]


@dataclass(slots=True)
class Names:
    """Which policies include, and which exclude, each name; `everything` holds those that include whatever comes."""

    everything: Policies = 0
    nothing: Policies = 0
    """Those that exclude whatever comes."""
    including: dict[str, Policies] = field(default_factory=dict)
    excluding: dict[str, Policies] = field(default_factory=dict)
    includes: Policies = 0
    """Those that include anything by name, so that it matters what the name is."""
    excludes: Policies = 0
    _answers: dict[str | None, Answer] = field(default_factory=dict)
    _others: Answer = (0, 0)

    @property
    def matter(self) -> bool:
        """Whether the name decides anything for any policy."""
        return bool(self.includes | self.excludes | self.nothing)

    def add(self, policy: Policies, choice: Choice) -> None:
        """A choice that includes nothing by name includes everything (the condition is not set)."""
        include, exclude = folded(choice.include), folded(choice.exclude)
        if not include or "all" in include:
            self.everything |= policy
        if "all" in exclude:
            self.nothing |= policy
        for name in include - {"all"}:
            self.include(policy, name)
        for name in exclude - {"all"}:
            self.exclude(policy, name)

    def include(self, policy: Policies, name: str) -> None:
        self.including[name] = self.including.get(name, 0) | policy
        self.includes |= policy

    def exclude(self, policy: Policies, name: str) -> None:
        self.excluding[name] = self.excluding.get(name, 0) | policy
        self.excludes |= policy

    def freeze(self) -> None:
        """Work out the answers: there are few names, and all that are not named here have the same one."""
        left = self.everything & ~self.nothing
        self._others = left, left
        for name in self.including.keys() | self.excluding.keys():
            holds = (left | (self.including.get(name, 0) & ~self.nothing)) & ~self.excluding.get(name, 0)
            self._answers[name] = holds, holds
        self._answers[None] = settle(self.everything, self.includes, self.nothing, self.excludes)

    def of(self, name: str | None) -> Answer:
        """*name* may be several with commas between them, as Graph writes flags: one match is enough."""
        answer = self._answers.get(name and name.lower())
        if answer is not None:
            return answer
        if name is None or "," not in name:
            return self._others
        several = [self.of(each.strip()) for each in name.split(",")]
        return reduce(or_, (certain for certain, _ in several)), reduce(or_, (may for _, may in several))


_Outsider = tuple[frozenset[str] | None, str | None]
"""What tells one guest from another."""

_MOST_OUTSIDERS: Final = 1024
_MOST_DEVICES: Final = 1024


class Who:
    """Users by id, group, role and kind of guest; service principals by id."""

    def __init__(self) -> None:
        self.everybody: Sides = (0, 0)
        self.users: dict[str, Sides] = {}
        self.memberships: dict[str, Sides] = {}
        """By group and by role, in the names that `Person.memberships` has for them."""
        self.any_group: Sides = (0, 0)
        self.any_role: Sides = (0, 0)
        self.guests: dict[Guests, Sides] = {}
        self.principals = Names()
        self.all_principals: Policies = 0
        self.no_principals: Policies = 0
        self.filtered: Sides = (0, 0)
        self._outsiders: dict[_Outsider, tuple[Sides, Sides]] = {}

    def add(self, policy: Policies, of: Policy) -> None:
        users = of.users
        if not (users.includes_somebody or of.workloads or _for_agents(of)):
            self.everybody = _both(self.everybody, (policy, 0))
        for sides, by_id, groups, roles, guests in (
            ((policy, 0), users.users.include, users.groups.include, users.roles.include, users.include_guests),
            ((0, policy), users.users.exclude, users.groups.exclude, users.roles.exclude, users.exclude_guests),
        ):
            named = folded(by_id)
            if "all" in named:
                self.everybody = _both(self.everybody, sides)
            for name in named - _SPECIAL:
                _join(self.users, name, sides)
            for name in folded(groups):
                _join(self.memberships, group_name(name), sides)
                self.any_group = _both(self.any_group, sides)
            for name in folded(roles):
                _join(self.memberships, role_name(name), sides)
                self.any_role = _both(self.any_role, sides)
            for clause in (guests, ANY_GUESTS if "guestsorexternalusers" in named else None):
                if clause is not None:
                    _join(self.guests, clause, sides)
        if of.workloads is not None:
            self._add_principals(policy, of.workloads.principals, of.workloads.filter)

    def _add_principals(self, policy: Policies, principals: Choice, only: Filter | None) -> None:
        include, exclude = folded(principals.include), folded(principals.exclude)
        if _OWN_PRINCIPALS in include:
            self.all_principals |= policy
        if _OWN_PRINCIPALS in exclude:
            self.no_principals |= policy
        for name in include - _SPECIAL:
            self.principals.include(policy, name)
        for name in exclude - _SPECIAL:
            self.principals.exclude(policy, name)
        if only is not None:
            included, excluded = self.filtered
            self.filtered = (included, excluded | policy) if only.excludes else (included | policy, excluded)

    def person(self, person: Person) -> Answer:
        included, excluded = _both(self.everybody, self.users.get(person.id, NEITHER))
        perhaps = perhaps_excluded = 0
        mine, table = person.memberships, self.memberships
        for name in mine if len(mine) < len(table) else table.keys() & mine:
            if (found := table.get(name)) is not None:
                included, excluded = included | found[0], excluded | found[1]
        if person.groups is None:
            perhaps, perhaps_excluded = self.any_group
        if person.roles is None:
            perhaps, perhaps_excluded = perhaps | self.any_role[0], perhaps_excluded | self.any_role[1]
        if person.external and self.guests:
            certain, may = self._outsider(person)
            included, excluded = included | certain[0], excluded | certain[1]
            perhaps, perhaps_excluded = perhaps | may[0], perhaps_excluded | may[1]
        return settle(included, perhaps, excluded, perhaps_excluded)

    def _outsider(self, person: Person) -> tuple[Sides, Sides]:
        """The policies about guests of whom somebody certainly is one, and those of whom they may be one."""
        key = person.guest_kinds, person.home_tenant
        found = self._outsiders.get(key)
        if found is None:
            if len(self._outsiders) >= _MOST_OUTSIDERS:
                self._outsiders.clear()
            certain = may = NEITHER
            for clause, sides in self.guests.items():
                is_one, may_be = _is_among(person, clause)
                certain, may = _both(certain, sides if is_one else NEITHER), _both(may, sides if may_be else NEITHER)
            found = self._outsiders[key] = certain, may
        return found

    def principal(self, principal: Principal) -> Answer:
        if not principal.covered:
            return 0, 0
        included = self.all_principals | self.principals.including.get(principal.id, 0)
        excluded = self.no_principals | self.principals.excluding.get(principal.id, 0)
        return settle(included, self.filtered[0], excluded, self.filtered[1])


_OWN_PRINCIPALS: Final = "serviceprincipalsinmytenant"
_SPECIAL: Final = frozenset({"all", "none", "guestsorexternalusers", _OWN_PRINCIPALS})


def _for_agents(policy: Policy) -> bool:
    return any(name.startswith("agent") for name in policy.not_known)


def needed_of_people(users: Users) -> tuple[str, ...]:
    """What of a person has to be known for a policy about these users."""
    guests = [each for each in (users.include_guests, users.exclude_guests) if each is not None]
    needed = {
        "groups": users.groups,
        "roles": users.roles,
        "externalUserType": guests,
        "externalTenantId": any(each.tenants is not None for each in guests),
    }
    return tuple(name for name, matters in needed.items() if matters)


def _is_among(person: Person, guests: Guests) -> tuple[bool, bool]:
    """Whether somebody from outside is certainly, and whether they are perhaps, among these guests."""
    kinds = person.possible_kinds
    certain = kinds <= guests.kinds if person.guest_kinds is None else not kinds.isdisjoint(guests.kinds)
    may = not kinds.isdisjoint(guests.kinds)
    if guests.tenants is not None:
        if person.home_tenant is None:
            certain = False
        elif person.home_tenant not in guests.tenants:
            return False, False
    return certain, may


class Target:
    """Applications, user actions and authentication contexts. A policy for all applications is for all of these."""

    def __init__(self) -> None:
        self.everything: Policies = 0
        self.apps = Names()
        self.actions: dict[str, Policies] = {}
        self.contexts: dict[str, Policies] = {}
        self.filtered: Sides = (0, 0)

    def add(self, policy: Policies, of: Policy) -> None:
        target = of.target
        include, exclude = (_members(names) for names in (target.applications.include, target.applications.exclude))
        if "all" in include or target.aim is Aim.EVERYTHING:
            self.everything |= policy
        for name in include - _SPECIAL:
            self.apps.include(policy, name)
        for name in exclude - _SPECIAL:
            self.apps.exclude(policy, name)
        if "all" in exclude:
            self.apps.nothing |= policy
        for action in folded(target.user_actions):
            self.actions[action] = self.actions.get(action, 0) | policy
        for context in folded(target.contexts):
            self.contexts[context] = self.contexts.get(context, 0) | policy
        if target.filter is not None:
            included, excluded = self.filtered
            self.filtered = (included, excluded | policy) if target.filter.excludes else (included | policy, excluded)

    def of(self, what: Wanted | None) -> Answer:
        only, but = self.filtered
        match what:
            case Applications(ids):
                certain = possible = 0
                for id_ in ids:
                    included = self.everything | self.apps.including.get(id_, 0)
                    excluded = self.apps.nothing | self.apps.excluding.get(id_, 0)
                    one = settle(included, only, excluded, but)
                    certain, possible = certain | one[0], possible | one[1]
                return certain, possible
            case UserAction():
                holds = self.everything | self.actions.get(what.urn, 0)
            case AuthenticationContext(id_):
                holds = self.everything | self.contexts.get(id_.lower(), 0)
            case None:
                named = reduce(or_, (*self.actions.values(), *self.contexts.values()), self.apps.includes)
                return settle(self.everything, named | only, self.apps.nothing, self.apps.excludes | but)
        return holds, holds


def _members(names: Sequence[str]) -> frozenset[str]:
    """*names* with the groups of applications among them replaced by the applications."""
    plain = folded(names)
    if plain.isdisjoint(GROUPS):
        return plain
    return (plain - GROUPS.keys()).union(*(GROUPS[name] for name in plain if name in GROUPS))


class Places:
    """Locations, which are networks, countries, and the compliant network."""

    def __init__(self, locations: Iterable[NamedLocation]) -> None:
        self._known = {location.id.lower(): location for location in locations if location.understood}
        self._known.setdefault(COMPLIANT_NETWORK, NamedLocation(COMPLIANT_NETWORK, "", compliant_network=True))
        self._trusted = [location for location in self._known.values() if location.trusted]
        self.everywhere: Policies = 0
        self.nowhere: Policies = 0
        self.using: dict[str, Sides] = {}
        """By what has to be known: the policies that include, and those that exclude, a location by it."""
        self._networks: dict[int, dict[tuple[int, int], Sides]] = {4: {}, 6: {}}
        self._countries: dict[str, Sides] = {}

    def add(self, policy: Policies, choice: Choice) -> tuple[str, ...]:
        """Gives what is unknown of these locations, whatever a sign-in says."""
        include, exclude = folded(choice.include), folded(choice.exclude)
        if not include or "all" in include:
            self.everywhere |= policy
        if "all" in exclude:
            self.nowhere |= policy
        unknown = self._side(include, (policy, 0)) + self._side(exclude, (0, policy))
        return tuple(f"named location {id_}" for id_ in dict.fromkeys(unknown))

    def _side(self, ids: frozenset[str], policies: Sides) -> list[str]:
        unknown = []
        if not ids.isdisjoint({"all", "none"}):
            _join(self.using, "no place in particular", policies)
        for id_ in sorted(ids - {"all", "none"}):
            if id_ == "alltrusted":
                _join(self.using, "ipAddress", policies)
                places = self._trusted
            elif id_ in self._known:
                places = [self._known[id_]]
            else:
                unknown.append(id_)
                _join(self.using, "named locations", policies)
                continue
            for place in places:
                self._place(place, policies)
        return unknown

    def _place(self, place: NamedLocation, policies: Sides) -> None:
        if place.compliant_network:
            _join(self.using, "compliantNetwork", policies)
        elif place.countries is None:
            _join(self.using, "ipAddress", policies)
            for network in place.networks:
                shift = network.max_prefixlen - network.prefixlen
                _join(self._networks[network.version], (shift, int(network.network_address) >> shift), policies)
        else:
            _join(self.using, "country", policies)
            for country in place.countries | ({""} if place.unknown_countries else set()):
                _join(self._countries, country, policies)

    def needed(self, policy: Policies) -> tuple[str, ...]:
        """What of a sign-in has to be known for this policy."""
        names = ("ipAddress", "country", "compliantNetwork")
        return tuple(name for name in names if policy & reduce(or_, self.using.get(name, (0, 0))))

    def freeze(self) -> None:
        """Sort the networks by how long their prefixes are, so that an address is looked up once for each length."""
        self.shifts = {
            version: sorted({shift for shift, _ in networks}) for version, networks in self._networks.items()
        }

    def of(self, address: Address | None, country: str | None, compliant_network: bool | None) -> Answer:
        included, excluded, perhaps, perhaps_excluded = self.everywhere, self.nowhere, 0, 0
        untold = ["named locations"]
        if address is None:
            untold.append("ipAddress")
        else:
            number, networks = int(address), self._networks[address.version]
            for shift in self.shifts[address.version]:
                found = networks.get((shift, number >> shift))
                if found is not None:
                    included, excluded = included | found[0], excluded | found[1]
        if country is None:
            untold.append("country")
        elif (found := self._countries.get(country.lower())) is not None:
            included, excluded = included | found[0], excluded | found[1]
        if compliant_network is None:
            untold.append("compliantNetwork")
        elif compliant_network and (found := self.using.get("compliantNetwork")) is not None:
            included, excluded = included | found[0], excluded | found[1]
        for name in untold:
            if (found := self.using.get(name)) is not None:
                perhaps, perhaps_excluded = perhaps | found[0], perhaps_excluded | found[1]
        return settle(included, perhaps, excluded, perhaps_excluded)


class Devices:
    """Filters for devices; those with the same rule are judged once."""

    def __init__(self) -> None:
        self.any: Policies = 0
        self.unread: Policies = 0
        self._rules: dict[str, tuple[Rule, Sides]] = {}
        self._asked: tuple[str, ...] = ()
        self._answers: dict[tuple[Fact, ...] | None, Answer] = {}

    def add(self, policy: Policies, only: Filter | None) -> tuple[str, ...]:
        """Gives what is unknown of this filter, whatever a sign-in says."""
        if only is None:
            self.any |= policy
            return ()
        try:
            rule, (including, excluding) = self._rules.get(only.rule) or (read_rule(only.rule), (0, 0))
        except FilterProblem:
            self.unread |= policy
            return ("device filter",)
        sides = (including, excluding | policy) if only.excludes else (including | policy, excluding)
        self._rules[only.rule] = rule, sides
        self._asked = tuple(rule.properties.union(self._asked))
        return ()

    @property
    def matter(self) -> bool:
        return bool(self._rules or self.unread)

    def of(self, device: Device | None) -> Answer:
        """Devices that are alike in all that any rule asks for are judged once."""
        asked = None if device is None else tuple([device.facts.get(name) for name in self._asked])
        answer = self._answers.get(asked)
        if answer is None:
            if len(self._answers) >= _MOST_DEVICES:
                self._answers.clear()
            answer = self._answers[asked] = self._judge(device)
        return answer

    def _judge(self, device: Device | None) -> Answer:
        holds, perhaps = self.any, self.unread
        for rule, (including, excluding) in self._rules.values():
            if device is None:
                perhaps |= including | excluding
            else:
                holds |= including if rule.matches(device) else excluding
        return holds, holds | perhaps
