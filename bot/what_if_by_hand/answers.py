"""What `/m365-whatif` answers.

Everything is read as the bot identity; the account that a policy blocks is not needed. What is judged many times over
is judged in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from bot.auditing import Files, Reply
from bot.command import looks_exact
from bot.conditional_access import Account, Answers, Egress, TenantPolicies, compare
from bot.directory import find_people, together
from bot.errors import BadInput, GraphNotFound, GraphProblem, GraphRefused, NotPossible, WhoIsMeant
from bot.model import JSON, Identity, Operator, Request, TenantSettings
from bot.ports import Clock, Reader, Settings
from bot.sheet import Sheet
from bot.tenant_people import read_people
from bot.what_if_by_hand import tables
from bot.what_if_by_hand.drafts import as_it_is_about, ids_in, read_draft, replaced_by, tried_on
from bot.what_if_by_hand.judging import APPS, Judged, Place, Subject, judge_each, places_for, sign_in_of, what_stops
from bot.what_if_by_hand.options import Said, read
from bot.whatif import apps, words
from bot.whatif.evaluation import Decision, PolicySet, Verdict
from bot.whatif.policies import Policy, State
from bot.whatif.signins import Applications, SignIn

FRESH: Final = timedelta(seconds=10)
"""How old the policies may be that are judged by."""

SAMPLE: Final = 8
"""So many operators are tried a draft on."""

COMPARED: Final = 25
"""So many accounts are compared at most."""

_AT_ONCE: Final = 8
"""So many accounts are read at the same time."""

_NO_EGRESS: Final = (
    "From which address Latchkey signs in is not known: neither `LATCHKEY_EGRESS_IP` nor the sign-in log says it."
)


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
        sign_in = sign_in_of(subject, said, policies.names)
        # What was not given is told as such. Graph takes it as no match, and so it is compared with Graph.
        verdict = policies.compiled.evaluate(sign_in, strict=True)
        as_graph = policies.compiled.evaluate(sign_in)
        names = {**policies.names, **subject.names}
        stops = what_stops(verdict, subject)
        facts = [["Sign-in", words.describe(sign_in, names)], ["Comes to", tables.comes_to(verdict, stops, names)]]
        if limits := verdict.session_limits:
            facts.append(["Session", "; ".join(map(words.session_limit, limits))])
        facts += [
            ["Report-only policies", tables.would(verdict.report_only, names)],
            ["Microsoft’s own what-if", await self._microsoft(sign_in, as_graph)],
        ]
        rows = [tables.row(result, names, sign_in) for result in sorted(verdict.results, key=tables.rank)]
        title = f"{subject.name}: {words.summary(verdict, names)}"
        if stops and verdict.decision is not Decision.BLOCK:
            what = f"“{stops[0].policy.name}” asks" if len(stops) == 1 else f"{len(stops)} policies ask"
            title = f"{subject.name} would not be signed in: it cannot do what {what} for."
        notes = [*tables.not_said(verdict), *tables.remedies(stops)]
        if subject.kind and sign_in.conditions.address is None:
            notes.insert(0, _NO_EGRESS)
        return title, await self._answer(request, title, facts, tables.COLUMNS, rows, notes)

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
        each = [tables.difference(found) for found in differs]
        more = f"; and {len(each) - 5} more" if len(each) > 5 else ""
        return f"Differs. It says: {'; '.join(each[:5])}{more}."

    # --- many sign-ins -----------------------------------------------------------------------------------------------

    async def compare(self, request: Request) -> Reply:
        """Accounts by applications by addresses by kinds of client: a small table, and all of it as a file."""
        said = read(request.inputs, several=True)
        policies, egress = await together(self._read(), self._access.egress())
        subjects = await self._subjects(request.typed, COMPARED, policies.policies)
        targets = said.wanted(policies.names) or tuple(Applications(frozenset({app})) for app in APPS)
        names = {**apps.NAMES, **policies.names}

        def judge() -> tuple[list[Judged], list[list[str]]]:
            places = places_for(said, policies.locations, egress)
            found = judge_each(policies.compiled, subjects, said, targets, places)
            for each in found:
                sheet.add(*tables.line(each, names))
            return found, tables.merged(tables.table(found, subjects, places, targets, names), 0, ", ")

        with Sheet("csv", tables.MATRIX) as sheet:
            found, rows = await asyncio.to_thread(judge)
            note = await self._send(request, sheet, "latchkey-what-if-matrix", len(found))
        columns = ("Account", "From", *(tables.target_name(target, names) for target in targets))
        title = f"{len(found):,} sign-ins were judged by {tables.count(policies.policies)}."
        notes = [note]
        if egress is None and not said.addresses:
            notes.insert(0, _NO_EGRESS)
        if any(each.verdict.untold for each in found):
            notes.insert(0, "A ? stands where policies need to know more than is known here; the file names them.")
        short = tables.fitting(rows)
        return title, tables.shown(title, [], columns, short, notes, left_out=len(rows) - len(short))

    async def draft(self, request: Request) -> Reply:
        """What a policy would change, before anybody saves it."""
        text = str(request.inputs.get("policy") or "")
        draft = await asyncio.to_thread(read_draft, text)
        policies, egress = await together(self._read(), self._access.egress())
        subjects = await self._subjects("", SAMPLE, (*policies.policies, draft.policy))
        policy = replace(draft.policy, state=State.ENABLED)
        replaced, others = replaced_by(draft.policy, policies.policies)
        locations = tuple({place.id: place for place in (*policies.locations, *draft.locations)}.values())
        then = await asyncio.to_thread(PolicySet.compile, [*others, policy], locations)
        names = {**policies.names, **await self._access.known(*ids_in(draft.policy))}
        names |= {place.id.lower(): place.name for place in draft.locations}
        targets, usual = tried_on(policy), as_it_is_about(policy)

        def judge() -> tuple[Sequence[Place], list[Judged], list[Judged], list[list[str]]]:
            places = places_for(Said(), locations, egress)
            before = judge_each(policies.compiled, subjects, Said(), targets, places, usual)
            after = judge_each(then, subjects, Said(), targets, places, usual)
            return places, before, after, tables.changes(before, after, policy, names)

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
        answer = await self._answer(request, title, facts, tables.CHANGES, rows, notes)
        return title, {**answer, "lines": list(words.explain(draft.policy, names))}

    def _of_latchkey(
        self, subjects: Sequence[Subject], policies: TenantPolicies, then: PolicySet, names: words.Names
    ) -> str:
        """Whether Latchkey itself could still sign in as it does."""
        ours = next((subject for subject in subjects if subject.kind), None)
        if ours is None:
            return "none: it works with no account of its own"
        now, stops = (what_stops(each.evaluate(ours.usual, strict=True), ours) for each in (policies.compiled, then))
        after = then.evaluate(ours.usual, strict=True)
        if stops and not now:
            return f"would fail: {ours.name} {tables.cannot(stops, names)}"
        if stops:
            return f"fail already, and still would: {ours.name} {tables.cannot(stops, names)}"
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
        short = tables.fitting(rows)
        if short != rows:
            with Sheet("csv", columns) as sheet:
                for row in rows:
                    sheet.add(*row)
                notes = [*notes, await self._send(request, sheet, "latchkey-what-if", len(rows))]
        return tables.shown(title, facts, columns, short, notes, left_out=len(rows) - len(short))

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


def _own(settings: TenantSettings) -> Identity | None:
    """The identity that Latchkey works with, in Advanced mode."""
    if settings.identity_kind is None or settings.identity_id is None:
        return None
    return Identity(settings.identity_kind, settings.identity_id, settings.identity_name or "Latchkey’s identity")
