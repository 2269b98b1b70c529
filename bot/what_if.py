"""What-if by hand: what `/m365-whatif` answers, from the policies as they are now.

Everything is read as the bot identity; the account that a policy blocks is not needed. What is judged many times over
is judged in a thread.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from ipaddress import ip_address
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from bot.auditing import Files, Reply
from bot.command import looks_exact
from bot.conditional_access import Account, Answers, Difference, Egress, TenantPolicies, compare
from bot.directory import find_people, together
from bot.errors import BadInput, GraphNotFound, GraphProblem, GraphRefused, NotPossible, WhoIsMeant
from bot.model import JSON, Identity, IdentityKind, Operator, Request, TenantSettings
from bot.ports import Clock, Reader, Settings
from bot.sheet import Sheet
from bot.tenant_people import read_people
from bot.whatif import apps, words
from bot.whatif.controls import Blocker, Remedy, blockers
from bot.whatif.countries import COUNTRIES
from bot.whatif.evaluation import Decision, Outcome, PolicyResult, PolicySet, Reason, Verdict
from bot.whatif.locations import Address, NamedLocation, read_locations
from bot.whatif.policies import Aim, Policy, PolicyProblem, State, read_policy
from bot.whatif.signins import Applications, AuthenticationContext, Conditions, Person, SignIn, UserAction, Wanted
from bot.whatif_commands import MENUS, Said, read

FRESH: Final = timedelta(seconds=10)
"""How old the policies may be that are judged by."""

SHOWN: Final = 20
"""How many rows a table in a message has; the whole of a longer one comes as a file."""

SAMPLE: Final = 8
"""So many operators are tried a draft on."""

COMPARED: Final = 25
"""So many accounts are compared at most."""

_AT_ONCE: Final = 8
"""So many accounts are read at the same time."""

LONGEST_DRAFT: Final = 200_000
MOST_LISTED: Final = 1_000
MOST_CONTROLS: Final = 50
"""The most characters of a draft, and the most that its lists hold together: whom it names is read in the tenant."""

_LONGEST_CELL: Final = 240
_LONGEST_TABLE: Final = 8_000  # Slack takes some more than that in all cells of a table together

_COLUMNS: Final = ("Policy", "State", "Applies", "Why", "Then it")
_CHANGES: Final = ("Who", "To", "From", "Through", "Now", "With the draft")
_MATRIX: Final = (
    "account", "account_id", "application", "address", "country", "place", "client", "decision", "asks_for",
    "policies", "report_only", "cannot_tell", "session_limits",
)  # fmt: skip

_APPS: Final = (apps.GRAPH, apps.EXCHANGE, apps.SHAREPOINT, "c44b4083-3bb0-49c1-b47d-974e53cbdf3c")
"""What is compared if nothing is said, and what a draft for everything is tried on."""

_FOR_GROUPS: Final = {"all": _APPS[:2], "office365": (apps.EXCHANGE,), "microsoftadminportals": (_APPS[3],)}
"""An application for each word that policies have for several."""

_OUTSIDE: Final = tuple(map(ip_address, ("192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1")))
"""Addresses that belong to nobody (RFC 5737, RFC 3849)."""

_FAR: Final = ("BR", "JP", "ZA")

_NO_EGRESS: Final = (
    "From which address Latchkey signs in is not known: neither `LATCHKEY_EGRESS_IP` nor the sign-in log says it."
)

_QUIET: Final = Conditions(sign_in_risk="none", user_risk="none", insider_risk="none", flow="none")
"""What is taken for granted of an account where many sign-ins are judged: no risk, nothing unusual."""


class Access(Protocol):
    """What is known of the tenant's Conditional Access."""

    async def read(self, *, fresh: timedelta) -> TenantPolicies: ...

    async def known(self, *ids: str) -> words.Names: ...

    async def person(self, upn_or_id: str) -> Account: ...

    async def egress(self) -> Egress | None: ...

    async def sign_in_of(self, identity: Identity) -> SignIn: ...

    async def ask_microsoft(self, sign_in: SignIn) -> Answers | None: ...


class Holding(Protocol):
    @property
    def operator(self) -> Operator: ...


class People(Protocol):
    async def everyone(self) -> Sequence[Holding]: ...


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
class Draft:
    """A policy that nobody has saved, and named locations that come with it."""

    policy: Policy
    locations: tuple[NamedLocation, ...] = ()


def read_draft(text: str) -> Draft:
    """A policy as Graph writes it, or an export with one in it. Raises `PolicyProblem`."""
    if len(text) > LONGEST_DRAFT:
        raise PolicyProblem(f"That is too long for a policy: at most {LONGEST_DRAFT:,} characters.")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        at = (
            f" Line {error.lineno}, column {error.colno}: {error.msg}."
            if isinstance(error, json.JSONDecodeError)
            else ""
        )
        raise PolicyProblem(f"This is not JSON.{at}") from error
    if _listed_in(data) > MOST_LISTED:
        raise PolicyProblem(f"That is too much for one policy: its lists hold more than {MOST_LISTED:,} entries.")
    locations: tuple[NamedLocation, ...] = ()
    if isinstance(data, dict) and ("policies" in data or isinstance(data.get("value"), list)):
        locations = read_locations(data.get("namedLocations") or [])
        data = data.get("policies", data.get("value"))
    if isinstance(data, list):
        if len(data) != 1:
            raise PolicyProblem(f"Give one policy at a time: here are {len(data)}.")
        data = data[0]
    policy = read_policy(data)
    if policy.is_empty:
        raise PolicyProblem("The policy says neither who or what it is about nor what it asks for.")
    if len(policy.grant.controls) > MOST_CONTROLS:
        raise PolicyProblem(f"The policy asks for too much: it has more than {MOST_CONTROLS} grant controls.")
    return Draft(policy, locations)


def _listed_in(data: JSON) -> int:
    """How many entries all lists hold, however deep."""
    count, left = 0, [data]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left.extend(value.values())
        elif isinstance(value, list):
            count += len(value)
            left.extend(value)
    return count


class WhatIf:
    """Answers what would happen at a sign-in."""

    def __init__(
        self,
        *,
        clock: Clock,
        access: Access,
        directory: Reader,
        settings: Settings,
        operators: People,
        files: Files,
        zone: ZoneInfo,
    ) -> None:
        """*directory* finds people, as the bot identity."""
        self._clock = clock
        self._access = access
        self._directory = directory
        self._settings = settings
        self._operators = operators
        self._files = files
        self._zone = zone
        self._at_once = asyncio.Semaphore(_AT_ONCE)

    # --- one sign-in -------------------------------------------------------------------------------------------------

    async def ask(self, request: Request) -> Reply:
        """One sign-in, policy by policy."""
        said = read(request.inputs)
        subject, policies = await together(self._subject(request.typed), self._read())
        sign_in = _sign_in(subject, said, policies.names)
        # What was not given is told as such. Graph takes it as no match, and so it is compared with Graph.
        verdict = policies.compiled.evaluate(sign_in, strict=True)
        as_graph = policies.compiled.evaluate(sign_in)
        names = {**policies.names, **subject.names}
        stops = _stops(verdict, subject)
        facts = [["Sign-in", words.describe(sign_in, names)], ["Comes to", _comes_to(verdict, stops, names)]]
        if limits := verdict.session_limits:
            facts.append(["Session", "; ".join(map(words.session_limit, limits))])
        facts += [
            ["Report-only policies", _would(verdict.report_only, names)],
            ["Microsoft’s own what-if", await self._microsoft(sign_in, as_graph)],
        ]
        rows = [_row(result, names, sign_in) for result in sorted(verdict.results, key=_rank)]
        title = f"{subject.name}: {words.summary(verdict, names)}"
        if stops and verdict.decision is not Decision.BLOCK:
            what = f"“{stops[0].policy.name}” asks" if len(stops) == 1 else f"{len(stops)} policies ask"
            title = f"{subject.name} would not be signed in: it cannot do what {what} for."
        notes = [*_not_said(verdict), *_remedies(stops)]
        if subject.kind and sign_in.conditions.address is None:
            notes.insert(0, _NO_EGRESS)
        return title, await self._answer(request, title, facts, _COLUMNS, rows, notes)

    async def _microsoft(self, sign_in: SignIn, verdict: Verdict) -> str:
        """What Graph says, beside what we say."""
        if sign_in.what is None:
            return "Not asked: it wants to know what is signed in to (`--app`)."
        try:
            answers = await self._access.ask_microsoft(sign_in)
        except GraphProblem as problem:
            return f"Gave no answer. {problem}"
        if answers is None:
            return "Not asked: Latchkey’s own identity has no permission for it (`Policy.Read.All`)."
        differs = compare(verdict, answers, sign_in)
        if not differs:
            return "Says the same of every policy."
        each = [_difference(found) for found in differs]
        more = f"; and {len(each) - 5} more" if len(each) > 5 else ""
        return f"Differs. It says: {'; '.join(each[:5])}{more}."

    # --- many sign-ins -----------------------------------------------------------------------------------------------

    async def compare(self, request: Request) -> Reply:
        """Accounts by applications by addresses by kinds of client: a small table, and all of it as a file."""
        said = read(request.inputs, several=True)
        policies, egress = await together(self._read(), self._access.egress())
        subjects = await self._subjects(request.typed, COMPARED, policies.policies)
        targets = said.wanted(policies.names) or tuple(Applications(frozenset({app})) for app in _APPS)
        names = {**apps.NAMES, **policies.names}

        def judge() -> tuple[list[Judged], list[list[str]]]:
            places = _places(said, policies.locations, egress)
            found = _judged(policies.compiled, subjects, said, targets, places)
            for each in found:
                sheet.add(*_line(each, names))
            return found, _merged(_table(found, subjects, places, targets, names), 0, ", ")

        with Sheet("csv", _MATRIX) as sheet:
            found, rows = await asyncio.to_thread(judge)
            note = await self._send(request, sheet, "latchkey-what-if-matrix", len(found))
        columns = ("Account", "From", *(_target(target, names) for target in targets))
        title = f"{len(found):,} sign-ins were judged by {_count(policies.policies)}."
        notes = [note]
        if egress is None and not said.addresses:
            notes.insert(0, _NO_EGRESS)
        if any(each.verdict.untold for each in found):
            notes.insert(0, "A ? stands where policies need to know more than is known here; the file names them.")
        short = _fitting(rows)
        return title, _shown(title, [], columns, short, notes, left_out=len(rows) - len(short))

    async def draft(self, request: Request) -> Reply:
        """What a policy would change, before anybody saves it."""
        text = str(request.inputs.get("policy") or "")
        draft = await asyncio.to_thread(read_draft, text)
        policies, egress = await together(self._read(), self._access.egress())
        subjects = await self._subjects("", SAMPLE, (*policies.policies, draft.policy))
        policy = replace(draft.policy, state=State.ENABLED)
        replaced, others = _replaced(draft.policy, policies.policies)
        locations = tuple({place.id: place for place in (*policies.locations, *draft.locations)}.values())
        then = await asyncio.to_thread(PolicySet.compile, [*others, policy], locations)
        names = {**policies.names, **await self._access.known(*_ids_in(draft.policy))}
        names |= {place.id.lower(): place.name for place in draft.locations}
        targets, usual = _tried_on(policy), _as_it_is_about(policy)

        def judge() -> tuple[Sequence[Place], list[Judged], list[Judged], list[list[str]]]:
            places = _places(Said(), locations, egress)
            before = _judged(policies.compiled, subjects, Said(), targets, places, usual)
            after = _judged(then, subjects, Said(), targets, places, usual)
            return places, before, after, _changed(before, after, policy, names)

        places, before, after, rows = await asyncio.to_thread(judge)
        name = draft.policy.name or "The draft"
        changed = sum(one.differs(other, policy) for one, other in zip(before, after, strict=True))
        title = f"“{name}” would change {changed} of the {len(before)} sign-ins that were tried."
        if not changed:
            title = f"“{name}” would change none of the {len(before)} sign-ins that were tried."
        whom = [f"{subject.name} ({subject.detail})" if subject.detail else subject.name for subject in subjects]
        facts = [
            ["Latchkey’s own sign-ins", self._of_latchkey(subjects, policies, then, names)],
            ["Instead of", f"“{replaced.name}”, which the tenant has" if replaced else "nothing: it is a new policy"],
            ["Tried on", ", ".join(whom) or "nobody: there is no account to try it on"],
            ["From", "; ".join(place.text for place in places)],
        ]
        notes = []
        if draft.policy.state != State.ENABLED:
            notes.append("It was judged as if it were on.")
        if any(cell.endswith(" ?") for row in rows for cell in row):
            notes.append("A ? stands where policies need to know more than is known here.")
        if not any(each.is_about_whom(policy) for each in after):
            notes.append("It is about none of these accounts: what it would do to others was not tried.")
        if egress is None:
            notes.append(_NO_EGRESS)
        notes.append("Nothing was saved. Microsoft’s own what-if knows saved policies only, so it was not asked.")
        answer = await self._answer(request, title, facts, _CHANGES, rows, notes)
        return title, {**answer, "lines": list(words.explain(draft.policy, names))}

    def _of_latchkey(
        self, subjects: Sequence[Subject], policies: TenantPolicies, then: PolicySet, names: words.Names
    ) -> str:
        """Whether Latchkey itself could still sign in as it does."""
        ours = next((subject for subject in subjects if subject.kind), None)
        if ours is None:
            return "none: it works with no account of its own"
        now, stops = (_stops(each.evaluate(ours.usual, strict=True), ours) for each in (policies.compiled, then))
        after = then.evaluate(ours.usual, strict=True)
        if stops and not now:
            return f"would fail: {ours.name} {_cannot(stops, names)}"
        if stops:
            return f"fail already, and still would: {ours.name} {_cannot(stops, names)}"
        if after.untold and len(after.untold) > len(policies.compiled.evaluate(ours.usual, strict=True).untold):
            return f"cannot be told: {words.because(after.untold[-1], names)}"
        return "go on as before" if not now else "would work again"

    # --- whose -------------------------------------------------------------------------------------------------------

    async def _read(self) -> TenantPolicies:
        try:
            return await self._access.read(fresh=FRESH)
        except GraphRefused as refusal:
            raise NotPossible(
                "Latchkey may not read the tenant’s policies. A tenant admin gives its own identity the permission "
                "`Policy.Read.All`; `latchkey doctor` shows what else is missing."
            ) from refusal

    async def _subjects(self, typed: str, most: int, policies: Sequence[Policy]) -> list[Subject]:
        """The accounts that were typed with commas between them; else Latchkey's own and those of operators, as far as
        *policies* have to know them."""
        names = list(dict.fromkeys(name for each in typed.split(",") if (name := each.strip())))
        if len(names) > most:
            raise BadInput(f"At most {most} accounts at a time: these are {len(names)}.", field="target")
        if len(names) > 1:
            return list(await together(*(self._certain(name) for name in names)))
        if names:
            return [await self._subject(names[0])]
        own = _own(await self._settings.current())
        holdings = await self._operators.everyone()
        linked = [each.operator for each in holdings if each.operator.account_id and not each.operator.suspended]
        ids = dict.fromkeys(operator.account_id.lower() for operator in linked if operator.account_id)
        wanted = [id_ for id_ in ids if own is None or id_ != own.id.lower()][: most - (own is not None)]
        reading = read_people(self._directory, policies, wanted)
        people, *ours = await together(reading, *([self._of_identity(own)] if own else []))
        found = [people[id_] for id_ in wanted if id_ in people]
        return [*ours, *(Subject(each.name, each.upn, SignIn(each.person)) for each in found)]

    async def _certain(self, typed: str) -> Subject:
        """One of several that were typed: nobody can be asked about one of them."""
        try:
            return await self._subject(typed)
        except WhoIsMeant as several:
            could_be = ", ".join(name for _, name, _ in several.suggestions)
            raise BadInput(f"“{typed}” could be {could_be}. Type the whole user name.", field="target") from several

    async def _subject(self, typed: str) -> Subject:
        """The account that is meant. Raises `BadInput`, or `WhoIsMeant` with those it could be."""
        own = _own(await self._settings.current())
        typed = typed.strip()
        if own and typed.casefold() in {"", own.id.casefold(), own.name.casefold()}:
            return await self._of_identity(own)
        if not typed:
            raise BadInput(
                "Latchkey works with no account of its own, so say whose sign-in is meant, such as "
                "`/m365-whatif adele@contoso.com`."
            )
        if looks_exact(typed) and (exactly := await self._account(typed)):
            return exactly
        found = await find_people(self._directory, typed)
        if not found:
            raise BadInput(
                f"Nobody in the directory is called “{typed}”. Type the whole user name, such as adele@contoso.com, "
                "or part of the name to see who could be meant."
            )
        if len(found) > 1:
            raise WhoIsMeant(
                f"Who is meant by “{typed}”?", tuple((person.id, person.name, person.label) for person in found)
            )
        if own and found[0].id == own.id:
            return await self._of_identity(own)
        subject = await self._account(found[0].id)
        if subject is None:
            raise BadInput(f"“{typed}” is gone from the directory meanwhile.")
        return subject

    async def _account(self, upn_or_id: str) -> Subject | None:
        try:
            async with self._at_once:
                account = await self._access.person(upn_or_id)
        except GraphNotFound:
            return None
        return Subject(account.name, account.upn, SignIn(account.person))

    async def _of_identity(self, own: Identity) -> Subject:
        return Subject(own.name, "Latchkey’s own", await self._access.sign_in_of(own), own.kind)

    # --- answers -----------------------------------------------------------------------------------------------------

    async def _answer(
        self,
        request: Request,
        title: str,
        facts: list[list[str]],
        columns: Sequence[str],
        rows: list[list[str]],
        notes: list[str],
    ) -> dict[str, JSON]:
        """What is shown; a table that is too long for a message is shortened, and sent as a file."""
        short = _fitting(rows)
        if short != rows:
            with Sheet("csv", columns) as sheet:
                for row in rows:
                    sheet.add(*row)
                notes = [*notes, await self._send(request, sheet, "latchkey-what-if", len(rows))]
        return _shown(title, facts, columns, short, notes, left_out=len(rows) - len(short))

    async def _send(self, request: Request, sheet: Sheet, name: str, count: int) -> str:
        """Hand the file over, and say what became of it: the answer stands without it."""
        local = self._clock.now().astimezone(self._zone)
        file = f"{name}-{local:%Y-%m-%d-%H%M}.csv"
        size, _ = sheet.finished()
        try:
            await self._files.send(request.slack, file, f"{file} ({count:,} rows)", sheet.content, size)
        except NotPossible as problem:
            return f"The whole table could not be sent as a file. {problem}"
        return f"All {count:,} rows are in your direct messages as a file."


# --- judging ----------------------------------------------------------------------------------------------------------


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
        return _stops(self.verdict, self.subject)

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


def _sign_in(subject: Subject, said: Said, names: words.Names) -> SignIn:
    wanted = said.wanted(names)
    conditions = said.on(subject.usual.conditions, person=subject.person)
    return SignIn(subject.usual.who, wanted[0] if wanted else subject.usual.what, conditions)


def _judged(
    policies: PolicySet,
    subjects: Sequence[Subject],
    said: Said,
    targets: Sequence[Wanted],
    places: Sequence[Place],
    others: Conditions = _QUIET,
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


def _places(said: Said, locations: Iterable[NamedLocation], egress: Egress | None) -> tuple[Place, ...]:
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


def _tried_on(policy: Policy) -> tuple[Wanted, ...]:
    """What a draft is tried on: what it is about, and Microsoft Graph, to which Latchkey signs in."""
    match policy.target.aim:
        case Aim.USER_ACTIONS:
            aliases = {UserAction(name).urn: name for name in ("registerSecurityInformation", "registerOrJoinDevices")}
            return tuple(UserAction(aliases.get(each.lower(), each)) for each in policy.target.user_actions[:4])
        case Aim.AUTHENTICATION_CONTEXTS:
            return tuple(AuthenticationContext(each) for each in policy.target.contexts[:4])
    named = policy.target.applications.include
    listed = [id_ for each in named for id_ in _FOR_GROUPS.get(each.lower(), (each.lower(),)) if id_ != "none"]
    ids = dict.fromkeys((apps.GRAPH, *listed))
    return tuple(Applications(frozenset({id_})) for id_ in list(ids)[:5])


def _as_it_is_about(policy: Policy) -> Conditions:
    """What somebody's sign-in is like that the policy is about, as far as it says."""
    platforms = [each for each in policy.platforms.include if each.lower() != "all"]
    return Conditions(
        platform=platforms[0] if platforms else None,
        sign_in_risk=next(iter(policy.sign_in_risks), "none"),
        user_risk=next(iter(policy.user_risks), "none"),
        insider_risk=next(iter(policy.insider_risks), "none"),
        flow=next(iter(policy.flows), "none"),
    )


def _replaced(draft: Policy, policies: Sequence[Policy]) -> tuple[Policy | None, list[Policy]]:
    """The policy that the draft would stand in place of (the same id, or else the same name), and the others."""
    old = next((policy for policy in policies if draft.id and policy.id == draft.id), None)
    old = old or next((policy for policy in policies if draft.name and policy.name == draft.name), None)
    return old, [policy for policy in policies if policy is not old]


def _ids_in(policy: Policy) -> list[str]:
    """Those that are named where the policy is explained."""
    users = policy.users
    listed = [users.users, users.groups, users.roles, policy.target.applications]
    listed += [policy.workloads.principals] if policy.workloads else []
    most = words.MOST_NAMES
    return [id_ for choice in listed for id_ in (*choice.include[:most], *choice.exclude[:most])]


def _own(settings: TenantSettings) -> Identity | None:
    """The identity that Latchkey works with, in Advanced mode."""
    if settings.identity_kind is None or settings.identity_id is None:
        return None
    return Identity(settings.identity_kind, settings.identity_id, settings.identity_name or "Latchkey’s identity")


def _stops(verdict: Verdict, subject: Subject) -> tuple[Blocker, ...]:
    """What keeps Latchkey's own identity out; of people nobody knows what they can do."""
    return blockers(verdict, subject.kind) if subject.kind else ()


# --- words ------------------------------------------------------------------------------------------------------------

_STATES: Final = {State.ENABLED: "on", State.REPORT_ONLY: "report-only", State.DISABLED: "off"}
_ANSWERS: Final = {True: "applies", False: "does not apply", None: "cannot tell"}


def _rank(result: PolicyResult) -> tuple[int, int]:
    """What counts most first."""
    state = (State.ENABLED, State.REPORT_ONLY).index(result.policy.state) if result.policy.state in _ON else 2
    blocks = 0 if result.policy.grant.blocks else 1
    match result.applies:
        case True:
            return state * 2, blocks
        case None:
            return 1 + state * 2, blocks
    return 6 + state, 0


_ON: Final = (State.ENABLED, State.REPORT_ONLY)


def _row(result: PolicyResult, names: words.Names, sign_in: SignIn) -> list[str]:
    policy = result.policy
    return [
        policy.name or policy.id,
        _STATES.get(policy.state, policy.state),
        _ANSWERS[result.applies],
        words.why(result, names, sign_in),
        words.demand(policy, names) if result.applies is not False else "",
    ]


def _comes_to(verdict: Verdict, stops: Sequence[Blocker], names: words.Names) -> str:
    said = words.summary(verdict, names)
    if stops and verdict.decision is not Decision.BLOCK:
        said += f" It {_cannot(stops, names)}, so it is not signed in."
    elif any(blocker.token_protection for blocker in stops):
        said += " It cannot bind its tokens to a device."
    if verdict.untold:
        said += f" It is not known whether {_count(verdict.untold)} more would apply."
    return said


def _cannot(stops: Sequence[Blocker], names: words.Names) -> str:
    """What keeps it out, to follow its name."""
    if any(blocker.blocks_outright for blocker in stops):
        return f"would be blocked by {_named(blocker.policy for blocker in stops if blocker.blocks_outright)}"
    unmet = [words.control(each, names) for each in dict.fromkeys(each for blocker in stops for each in blocker.unmet)]
    what = words.listed(unmet, "or") if unmet else "tokens that are bound to a device"
    asks = "asks" if len(stops) == 1 else "ask"
    return f"cannot do {what}, which {_named(blocker.policy for blocker in stops)} {asks} for"


def _difference(found: Difference) -> str:
    said = {True: "applies", False: "does not apply", None: "is not told of"}[found.theirs]
    because = f" ({', '.join(found.their_reasons)})" if found.their_reasons else ""
    return f"“{found.policy.name or found.policy.id}” {said}{because}"


def _would(outcome: Outcome, names: words.Names) -> str:
    """What report-only policies would come to, were they on."""
    if not outcome.applying:
        return "Would change nothing: none applies."
    who = _named(outcome.applying)
    match outcome.decision:
        case Decision.BLOCK:
            return f"Would block: {_named(policy for policy in outcome.applying if policy.grant.blocks)}."
        case Decision.CONTROLS_REQUIRED:
            return f"Would ask for {words.clauses(outcome.controls, names)}: {who}."
    limits = "; ".join(map(words.session_limit, outcome.session_limits))
    return f"Would limit the session ({limits}): {who}." if limits else f"Would ask for nothing: {who}."


def _not_said(verdict: Verdict) -> list[str]:
    missing = list(dict.fromkeys(name for result in verdict.untold for name in result.unknown))
    options = list(dict.fromkeys(_OPTION_FOR[name] for name in missing if name in _OPTION_FOR))
    if not options:
        return []
    return [f"To know of {_count(verdict.untold)} more, add {words.listed(f'`--{each} …`' for each in options)}."]


_OPTION_FOR: Final = {
    "signInContext": "app",
    "ipAddress": "ip",
    "country": "country",
    "devicePlatform": "platform",
    "clientAppType": "client",
    "deviceInfo": "device",
    "signInRiskLevel": "risk",
    "servicePrincipalRiskLevel": "risk",
    "userRiskLevel": "user-risk",
    "authenticationFlow": "flow",
}


def _remedies(stops: Sequence[Blocker]) -> list[str]:
    found = [remedy for remedy in Remedy if any(remedy in blocker.remedies for blocker in stops)]
    return [f"What would help: {'; or '.join(found)}."] if found else []


def _named(policies: Iterable[Policy]) -> str:
    return words.listed((f"“{policy.name or policy.id}”" for policy in policies), "and")


def _count(policies: Sequence[object]) -> str:
    return "1 policy" if len(policies) == 1 else f"{len(policies)} policies"


def _target(target: Wanted, names: words.Names) -> str:
    return words.wanted(target, {**apps.NAMES, **names}).removeprefix("to ")


def _outcome(verdict: Verdict, stops: Sequence[Blocker], names: words.Names) -> str:
    """In as few words as say it."""
    match verdict.decision:
        case Decision.BLOCK:
            said = "blocked"
        case Decision.CONTROLS_REQUIRED:
            asked = words.clauses(verdict.controls, names)
            said = f"stopped: lacks {asked}" if stops else f"allowed with {asked}"
        case Decision.ALLOW:
            said = "stopped: token protection" if stops else "allowed"
    return f"{said} ?" if verdict.untold and verdict.decision is not Decision.BLOCK else said


def _client(value: str | None) -> str:
    return next((choice.typed for choice in MENUS["client"].choices if choice.value == value), value or "")


def _table(
    found: Iterable[Judged],
    subjects: Sequence[Subject],
    places: Sequence[Place],
    targets: Sequence[Wanted],
    names: words.Names,
) -> list[list[str]]:
    """A row for each account and address, with a cell for each target."""
    cells: dict[tuple[int, int, int], dict[str, list[str]]] = {}
    for each in found:
        grouped = cells.setdefault((id(each.subject), id(each.place), id(each.target)), {})
        grouped.setdefault(_outcome(each.verdict, each.stops, names), []).append(_client(each.client))
    return [
        [subject.name, place.text, *(_cell(cells[id(subject), id(place), id(target)]) for target in targets)]
        for subject in subjects
        for place in places
    ]


def _cell(grouped: Mapping[str, Sequence[str]]) -> str:
    """What comes of it through each kind of client; said once where it is the same."""
    if len(grouped) == 1:
        return next(iter(grouped))
    return "; ".join(f"{', '.join(clients)}: {outcome}" for outcome, clients in grouped.items())


def _line(each: Judged, names: words.Names) -> list[str]:
    verdict, place = each.verdict, each.place
    decision = "blocked" if verdict.decision is not Decision.BLOCK and each.stops else str(verdict.decision)
    return [
        each.subject.name,
        each.subject.usual.who.id,
        _target(each.target, names),
        str(place.address or ""),
        place.country or "",
        place.called,
        _client(each.client),
        decision,
        words.clauses(verdict.controls, names),
        "; ".join(policy.name or policy.id for policy in verdict.enforced.applying),
        "; ".join(policy.name or policy.id for policy in verdict.report_only.applying),
        "; ".join(result.policy.name or result.policy.id for result in verdict.untold),
        "; ".join(map(words.session_limit, verdict.session_limits)),
    ]


def _changed(before: Sequence[Judged], after: Sequence[Judged], draft: Policy, names: words.Names) -> list[list[str]]:
    """The sign-ins of which something else comes, those that differ by the kind of client only in one row."""
    grouped: dict[tuple[str, ...], list[str]] = {}
    for one, other in zip(before, after, strict=True):
        if not one.differs(other, draft):
            continue
        now, then = (_outcome(each.verdict, each.stops, names) for each in (one, other))
        untold = next((result for result in other.verdict.untold if result.policy is draft), None)
        if untold:
            then = f"cannot tell: {words.listed(words.missing(name) for name in untold.unknown)} is not known"
        elif now == then:
            limits = "; ".join(map(words.session_limit, other.verdict.session_limits))
            then = f"{then}, with the session limited ({limits})" if limits else f"{then}, without the limits of now"
        key = (one.subject.name, _target(one.target, names), one.place.text, now, then)
        grouped.setdefault(key, []).append(_client(one.client))
    rows = [
        [who, to, place, ", ".join(filter(None, clients)) or "–", now, then]
        for (who, to, place, now, then), clients in grouped.items()
    ]
    return _merged(_merged(rows, _CHANGES.index("To"), "; "), _CHANGES.index("From"), "; ")


def _merged(rows: Sequence[list[str]], column: int, by: str) -> list[list[str]]:
    """Rows that differ in one column only, as one."""
    grouped: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        grouped.setdefault((*row[:column], *row[column + 1 :]), []).append(row[column])
    return [[*others[:column], by.join(values), *others[column:]] for others, values in grouped.items()]


def _fitting(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """As many of the rows, and as much of their cells, as a message has room for."""
    room, short = _LONGEST_TABLE, []
    for row in rows[:SHOWN]:
        cut = [cell if len(cell) <= _LONGEST_CELL else cell[: _LONGEST_CELL - 1].rstrip() + "…" for cell in row]
        room -= sum(map(len, cut))
        if room < 0:
            break
        short.append(cut)
    return short


def _shown(
    title: str,
    facts: list[list[str]],
    columns: Sequence[str],
    rows: list[list[str]],
    notes: list[str],
    *,
    left_out: int = 0,
) -> dict[str, JSON]:
    if left_out > 0:
        notes = [f"The table is shortened: {left_out} more rows are in the file.", *notes]
    table = {"table": {"columns": list(columns), "rows": rows}} if rows else {}
    return {"title": title, "facts": facts, **table, "notes": notes}
