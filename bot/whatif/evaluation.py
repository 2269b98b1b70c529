"""Judge sign-ins by policies: which apply, which do not and by every condition that fails, which nobody can tell.

Policies are compiled once into sets, and a set of policies is one integer: policy number *n* owns bits 32n to 32n+31,
its lane, and is a member if the lowest of them is set. So one operation asks a condition of all policies at once.
Shifted by the number of the condition, the answers to all conditions fit side by side into the lanes: the lower half
of a lane tells which conditions of its policy fail, the upper half which cannot be told. A policy applies if its lane
is empty. Where only the decision is wanted, a second compilation holds what decides, with one bit for each policy.

What was not given is neither yes nor no. A condition that depends on it cannot be told, unless it comes out the same
whatever would be given. Graph takes such a condition as one that fails; so do we, unless asked to be `strict`. What
Graph would know and we do not (a filter by security attributes, a condition that is new) stays untold either way.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from functools import cached_property
from typing import Final, NamedTuple

from bot.whatif.locations import NamedLocation
from bot.whatif.policies import Aim, Choice, Control, Policy, SessionLimit, State
from bot.whatif.sets import Devices, Names, Places, Policies, Target, Who, needed_of_people
from bot.whatif.signins import Person, SignIn


class Reason(StrEnum):
    """Graph's `analysisReasons`, in the order in which Graph looks: it reports the first, we report every one."""

    NOT_ENOUGH_INFORMATION = "notEnoughInformation"
    INVALID_CONDITION = "invalidCondition"
    USERS = "users"
    WORKLOAD_IDENTITIES = "workloadIdentities"
    APPLICATION = "application"
    USER_ACTIONS = "userActions"
    AUTHENTICATION_CONTEXT = "authenticationContext"
    DEVICE_PLATFORM = "devicePlatform"
    DEVICES = "devices"
    CLIENT_APPS = "clientApps"
    LOCATION = "location"
    SIGN_IN_RISK = "signInRisk"
    EMPTY_POLICY = "emptyPolicy"
    INVALID_POLICY = "invalidPolicy"
    POLICY_NOT_ENABLED = "policyNotEnabled"
    USER_RISK = "userRisk"
    TIME = "time"
    INSIDER_RISK = "insiderRisk"
    AUTHENTICATION_FLOW = "authenticationFlow"


class Decision(StrEnum):
    ALLOW = "allow"
    CONTROLS_REQUIRED = "controlsRequired"
    BLOCK = "block"


# --- What comes out -------------------------------------------------------------------------------------------------


class PolicyResult(NamedTuple):
    """What one policy does at a sign-in.

    `applies` None means that nobody can tell. `failed` has every condition that keeps the policy from applying, in
    Graph's order; `unknown` what was not given or cannot be seen, as far as it would matter.
    """

    policy: Policy
    applies: bool | None
    failed: tuple[Reason, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """`failed`, or else why nobody can tell."""
        return (Reason.NOT_ENOUGH_INFORMATION,) if self.applies is None else self.failed


Clause = frozenset[Control]
"""Controls of which one must be met."""


@dataclass(frozen=True)
class Outcome:
    """What policies that apply come to together."""

    applying: tuple[Policy, ...]

    @cached_property
    def decision(self) -> Decision:
        if any(policy.grant.blocks for policy in self.applying):
            return Decision.BLOCK
        return Decision.CONTROLS_REQUIRED if self.controls else Decision.ALLOW

    @cached_property
    def controls(self) -> tuple[Clause, ...]:
        """What has to be met, all clauses of it; those that follow from others are left out, and so is *block*."""
        clauses: set[Clause] = set()
        for policy in self.applying:
            controls = policy.grant.controls
            if policy.grant.blocks:
                continue
            if policy.grant.all_of_them:
                clauses.update(frozenset({control}) for control in controls)
            elif controls:
                clauses.add(frozenset(controls))
        needed = (clause for clause in clauses if not any(other < clause for other in clauses))
        return tuple(sorted(needed, key=sorted))

    @cached_property
    def session_limits(self) -> tuple[SessionLimit, ...]:
        """Each limit once; the same kind more than once if policies set it differently."""
        return tuple(sorted({limit for policy in self.applying for limit in policy.session}, key=_limit_order))


def _limit_order(limit: SessionLimit) -> tuple[str, str]:
    return limit.name, limit.value


@dataclass(frozen=True)
class Verdict:
    """The results in the order of the policies, and what they come to."""

    results: tuple[PolicyResult, ...]

    @cached_property
    def enforced(self) -> Outcome:
        """Of the policies that are enabled."""
        return self._outcome(State.ENABLED)

    @cached_property
    def report_only(self) -> Outcome:
        """What the policies that only report would come to, were they enabled."""
        return self._outcome(State.REPORT_ONLY)

    def _outcome(self, state: str) -> Outcome:
        applying = (result.policy for result in self.results if result.applies)
        return Outcome(tuple(policy for policy in applying if policy.state == state))

    @property
    def decision(self) -> Decision:
        return self.enforced.decision

    @property
    def controls(self) -> tuple[Clause, ...]:
        return self.enforced.controls

    @property
    def session_limits(self) -> tuple[SessionLimit, ...]:
        return self.enforced.session_limits

    @cached_property
    def untold(self) -> tuple[PolicyResult, ...]:
        """Those of which nobody can tell whether they apply. The decision is made without them."""
        return tuple(result for result in self.results if result.applies is None)


@dataclass(frozen=True)
class Directory:
    """What is known of people, by object id, where sign-ins do not say it themselves."""

    people: Mapping[str, Person] = field(default_factory=dict)

    def complete(self, person: Person) -> Person:
        """*person*, with what was not given taken from here."""
        known = self.people.get(person.id)
        if known is None or known is person:
            return person
        return replace(
            person,
            guest=person.guest or known.guest,
            guest_kinds=person.guest_kinds or known.guest_kinds,
            home_tenant=person.home_tenant or known.home_tenant,
            groups=known.groups if person.groups is None else person.groups,
            roles=known.roles if person.roles is None else person.roles,
        )


# --- Sets of policies -----------------------------------------------------------------------------------------------


class _Slot(IntEnum):
    """The conditions, in Graph's order; the number is the place in a lane."""

    WHO = 0
    PRINCIPAL_RISK = 1
    TARGET = 2
    PLATFORM = 3
    DEVICES = 4
    CLIENT_APP = 5
    LOCATION = 6
    SIGN_IN_RISK = 7
    EMPTY = 8
    STATE = 9
    USER_RISK = 10
    INSIDER_RISK = 11
    FLOW = 12
    OTHER = 13


_LANE: Final = 32
_HALF: Final = 16
_FULL_LANE: Final = (1 << _LANE) - 1


def _member(number: int) -> Policies:
    return 1 << number * _LANE


_BY_NAME: Final[Mapping[_Slot, tuple[str, str]]] = {
    _Slot.PLATFORM: ("platform", "devicePlatform"),
    _Slot.CLIENT_APP: ("client_app", "clientAppType"),
    _Slot.SIGN_IN_RISK: ("sign_in_risk", "signInRiskLevel"),
    _Slot.USER_RISK: ("user_risk", "userRiskLevel"),
    _Slot.PRINCIPAL_RISK: ("principal_risk", "servicePrincipalRiskLevel"),
    _Slot.INSIDER_RISK: ("insider_risk", "insiderRiskLevel"),
    _Slot.FLOW: ("flow", "authenticationFlow"),
}
"""The conditions that compare one name: which of a sign-in's conditions it is, and how `evaluate` calls that."""

_REASONS: Final[Mapping[_Slot, Reason]] = {
    _Slot.PRINCIPAL_RISK: Reason.WORKLOAD_IDENTITIES,
    _Slot.PLATFORM: Reason.DEVICE_PLATFORM,
    _Slot.DEVICES: Reason.DEVICES,
    _Slot.CLIENT_APP: Reason.CLIENT_APPS,
    _Slot.LOCATION: Reason.LOCATION,
    _Slot.SIGN_IN_RISK: Reason.SIGN_IN_RISK,
    _Slot.EMPTY: Reason.EMPTY_POLICY,
    _Slot.STATE: Reason.POLICY_NOT_ENABLED,
    _Slot.USER_RISK: Reason.USER_RISK,
    _Slot.INSIDER_RISK: Reason.INSIDER_RISK,
    _Slot.FLOW: Reason.AUTHENTICATION_FLOW,
}
"""Those that do not depend on the policy or on who signs in."""

_AIMS: Final[Mapping[Aim, Reason]] = {
    Aim.USER_ACTIONS: Reason.USER_ACTIONS,
    Aim.AUTHENTICATION_CONTEXTS: Reason.AUTHENTICATION_CONTEXT,
}

_SHARING: Final = frozenset(
    {
        *("groups", "roles", "externalUserType", "externalTenantId"),
        *("ipAddress", "country", "compliantNetwork"),
        *("signInContext", "deviceInfo"),
    }
)
"""The inputs of conditions that may be untold for another reason than that the one input is missing."""

_MOST_SHELVES: Final = 256
_MOST_RESULTS: Final = 4096


class _Conditions:
    """All conditions of some policies, compiled. *width* is how many bits of a set are one policy's."""

    def __init__(self, policies: Sequence[Policy], locations: Sequence[NamedLocation], width: int) -> None:
        self._who, self._target, self._devices, self._places = Who(), Target(), Devices(), Places(locations)
        self.unseen: list[dict[_Slot, tuple[str, ...]]] = []
        """For each policy, what nobody can see of its conditions, whatever a sign-in says."""
        self.needs: list[dict[_Slot, tuple[str, ...]]] = []
        """For each policy, what its conditions have to know of a sign-in."""
        names = {slot: Names() for slot in _BY_NAME}
        for number, policy in enumerate(policies):
            self._add(1 << number * width, policy, names)
        self._places.freeze()
        for found in names.values():
            found.freeze()
        self._names = [(int(slot), found, _BY_NAME[slot][0]) for slot, found in names.items() if found.matter]

    def _add(self, member: Policies, policy: Policy, names: Mapping[_Slot, Names]) -> None:
        self._who.add(member, policy)
        self._target.add(member, policy)
        names[_Slot.PLATFORM].add(member, policy.platforms)
        names[_Slot.CLIENT_APP].add(member, Choice(policy.all_client_apps))
        names[_Slot.SIGN_IN_RISK].add(member, Choice(policy.sign_in_risks))
        names[_Slot.USER_RISK].add(member, Choice(policy.user_risks))
        names[_Slot.PRINCIPAL_RISK].add(member, Choice(policy.principal_risks))
        names[_Slot.INSIDER_RISK].add(member, Choice(policy.insider_risks))
        names[_Slot.FLOW].add(member, Choice(policy.flows))
        known_states = (State.ENABLED, State.REPORT_ONLY, State.DISABLED)
        unseen = {
            _Slot.WHO: ("service principal filter",) if policy.workloads and policy.workloads.filter else (),
            _Slot.TARGET: ("application filter",) if policy.target.filter else (),
            _Slot.DEVICES: self._devices.add(member, policy.devices),
            _Slot.LOCATION: self._places.add(member, policy.locations),
            _Slot.STATE: () if policy.state in known_states else (f"state {policy.state}",),
            _Slot.OTHER: policy.not_known,
        }
        self.unseen.append({slot: what for slot, what in unseen.items() if what})
        self.needs.append(
            {
                **{slot: (name,) for slot, (_, name) in _BY_NAME.items()},
                _Slot.WHO: needed_of_people(policy.users),
                _Slot.TARGET: ("signInContext",),
                _Slot.LOCATION: self._places.needed(member),
                _Slot.DEVICES: ("deviceInfo",),
            }
        )

    def answers(self, sign_in: SignIn) -> Iterator[tuple[int, Policies, Policies]]:
        """For each condition, the policies for which it certainly holds, and those for which it may."""
        who, conditions = sign_in.who, sign_in.conditions
        certain, may = self._who.person(who) if isinstance(who, Person) else self._who.principal(who)
        yield _WHO, certain, may
        certain, may = self._target.of(sign_in.what)
        yield _TARGET, certain, may
        for slot, names, attribute in self._names:
            certain, may = names.of(getattr(conditions, attribute))
            yield slot, certain, may
        if self._places.using:
            certain, may = self._places.of(conditions.address, conditions.country, conditions.compliant_network)
            yield _LOCATION, certain, may
        if self._devices.matter:
            certain, may = self._devices.of(sign_in.device)
            yield _DEVICES, certain, may


_WHO, _TARGET, _LOCATION, _DEVICES = map(int, (_Slot.WHO, _Slot.TARGET, _Slot.LOCATION, _Slot.DEVICES))


class PolicySet:
    """Policies, compiled to be asked about many sign-ins. It never changes; threads may share it."""

    def __init__(
        self, policies: Sequence[Policy], locations: Iterable[NamedLocation], directory: Directory | None
    ) -> None:
        self.policies = tuple(policies)
        self._directory = directory
        known = tuple(locations)
        self._conditions = _Conditions(self.policies, known, _LANE)
        self._lanes = struct.Struct(f"<{len(self.policies)}I")
        self._everything: Policies = sum(_member(number) for number in range(len(self.policies)))
        self._judged = self._fixed = 0
        for number, policy in enumerate(self.policies):
            self._fix(_member(number), policy, self._conditions.unseen[number])
        self._shelves: dict[tuple[frozenset[str], bool, bool], list[_Shelf]] = {}
        self._readings: dict[tuple[Reason, Reason, frozenset[_Slot], bool], _Readings] = {}
        # What decides is only what is enabled, can be judged to the end, and demands anything.
        deciding = [policy for policy in self.policies if policy.state == State.ENABLED and policy.grant.controls]
        deciding = [policy for policy in deciding if not policy.not_known]
        self._deciding = _Conditions(deciding, known, width=1)
        self._all_deciding = (1 << len(deciding)) - 1
        self._blocking = sum(1 << number for number, policy in enumerate(deciding) if policy.grant.blocks)

    @classmethod
    def compile(
        cls,
        policies: Sequence[Policy],
        locations: Iterable[NamedLocation] = (),
        *,
        directory: Directory | None = None,
    ) -> PolicySet:
        """*locations* are all named locations of the tenant: a policy may mean them as `AllTrusted`."""
        return cls(policies, locations, directory)

    def _fix(self, member: Policies, policy: Policy, unseen: Mapping[_Slot, object]) -> None:
        """Note what is the same at every sign-in. A policy that is off or empty is not looked at any further."""
        if policy.state == State.DISABLED:
            self._fixed |= member << _Slot.STATE
        elif policy.is_empty:
            self._fixed |= member << _Slot.EMPTY
        else:
            self._judged |= member * _FULL_LANE
            for slot in unseen.keys() & {_Slot.OTHER, _Slot.STATE}:
                self._fixed |= member << slot + _HALF

    # --- asking -----------------------------------------------------------------------------------------------------

    def decide(self, sign_in: SignIn) -> Decision:
        """Only what the enabled policies come to; the same as `evaluate(sign_in).decision`, and much faster."""
        applying = self._all_deciding
        for _, certain, _ in self._deciding.answers(self._completed(sign_in)):
            applying &= certain
            if not applying:
                return Decision.ALLOW
        return Decision.BLOCK if applying & self._blocking else Decision.CONTROLS_REQUIRED

    def evaluate(self, sign_in: SignIn, *, strict: bool = False) -> Verdict:
        """Every policy with all its reasons. With *strict*, a condition that depends on what was not given is neither
        met nor failed; else it counts as failed, as Graph takes it."""
        sign_in = self._completed(sign_in)
        untrue = 0
        for slot, certain, possible in self._conditions.answers(sign_in):
            untrue |= (self._everything ^ possible) << slot
            if certain != possible:
                untrue |= (possible ^ certain) << slot + _HALF
        untrue = untrue & self._judged | self._fixed
        lanes = self._lanes.unpack(untrue.to_bytes(self._lanes.size, "little"))
        shelves = self._shelves_for(sign_in, strict)
        return Verdict(tuple([shelf[lane] for shelf, lane in zip(shelves, lanes, strict=True)]))

    def _completed(self, sign_in: SignIn) -> SignIn:
        if self._directory is None or not isinstance(sign_in.who, Person):
            return sign_in
        return replace(sign_in, who=self._directory.complete(sign_in.who))

    # --- results ----------------------------------------------------------------------------------------------------

    def _shelves_for(self, sign_in: SignIn, strict: bool) -> list[_Shelf]:
        """For each policy, its results by lane. Beside the lane they depend only on the kind of who signs in, and on
        which inputs are missing that share a condition with others."""
        key = (sign_in.missing & _SHARING, isinstance(sign_in.who, Person), strict)
        shelves = self._shelves.get(key)
        if shelves is None:
            if len(self._shelves) >= _MOST_SHELVES:
                self._shelves.clear()
            shelves = self._shelves[key] = [self._shelf(number, *key) for number in range(len(self.policies))]
        return shelves

    def _shelf(self, number: int, missing: frozenset[str], person: bool, strict: bool) -> _Shelf:
        policy, unseen = self.policies[number], self._conditions.unseen[number]
        who = Reason.USERS if person else Reason.WORKLOAD_IDENTITIES
        what = _AIMS.get(policy.target.aim, Reason.APPLICATION)
        key = (who, what, frozenset(unseen), strict)
        readings = self._readings.get(key)
        if readings is None:
            readings = self._readings[key] = _Readings(*key)
        return _Shelf(policy, readings, unseen, self._conditions.needs[number], missing)


class _Readings(dict[int, tuple[bool | None, tuple[Reason, ...]]]):
    """What lanes mean: whether the policy applies, and what fails. Policies with the same reasons share them."""

    def __init__(self, who: Reason, what: Reason, unseen: frozenset[_Slot], strict: bool) -> None:
        super().__init__()
        self._reasons = {**_REASONS, _Slot.WHO: who, _Slot.TARGET: what}
        self._unseen, self._strict = unseen, strict

    def __missing__(self, lane: int) -> tuple[bool | None, tuple[Reason, ...]]:
        failing, untold = set(_slots(lane)), set(_slots(lane >> _HALF))
        if not self._strict:
            failing |= untold - self._unseen
            untold &= self._unseen
        failed = tuple(dict.fromkeys(self._reasons[slot] for slot in sorted(failing)))
        reading = self[lane] = False if failed else None if untold else True, failed
        return reading


class _Shelf(dict[int, PolicyResult]):
    """The results of one policy by lane, made when they are first needed."""

    def __init__(
        self,
        policy: Policy,
        readings: _Readings,
        unseen: Mapping[_Slot, tuple[str, ...]],
        needs: Mapping[_Slot, tuple[str, ...]],
        missing: frozenset[str],
    ) -> None:
        super().__init__()
        self._policy, self._readings = policy, readings
        self._unseen, self._needs, self._missing = unseen, needs, missing

    def __missing__(self, lane: int) -> PolicyResult:
        applies, failed = self._readings[lane]
        unknown = tuple(self._not_told(lane >> _HALF)) if lane >> _HALF else ()
        if len(self) >= _MOST_RESULTS:
            self.clear()
        result = self[lane] = PolicyResult(self._policy, applies, failed, unknown)
        return result

    def _not_told(self, untold: int) -> Iterator[str]:
        """What these conditions would have to know and do not."""
        for slot in _slots(untold):
            yield from self._unseen.get(slot, ())
            needs = self._needs.get(slot, ())
            yield from needs if slot in _BY_NAME else (name for name in needs if name in self._missing)


def _slots(half: int) -> list[_Slot]:
    """The conditions of half a lane."""
    return [slot for slot in _Slot if half >> slot & 1]
