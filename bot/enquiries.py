"""What is answered without changing the tenant: help, *can*, the session's state and its switches, the audit trail."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

from bot import policy
from bot.actions import catalogue
from bot.actions._action import Action
from bot.command import read_since
from bot.directory import find_people, read_person
from bot.errors import BadInput
from bot.model import JSON, AuditRecord, Operator, Request, Session, SessionState, SlackUser, Step
from bot.ports import Clock, Operators, Requests, Settings
from bot.refusal import who_can_help
from bot.session import ManagementSession

Reply = tuple[str, dict[str, JSON]]
"""A sentence, and the data its view shows."""

AUDIT_PAGE: Final = 15

_IN_WORDS: Final[Mapping[str, str]] = {
    "attempt.started": "about to be sent to Microsoft",
    "attempt.finished": "answered by Microsoft",
    "request.done": "done",
    "request.failed": "failed",
    "request.refused": "refused",
    "request.expired": "not confirmed in time",
    "request.withdrawn": "withdrawn",
    "request.unknown": "not confirmed yet",
    "request.awaiting_confirmation": "asked to confirm",
    "reveal.shown": "secret shown to the requester",
    "press.refused": "somebody else pressed a button",
    "session.opened": "session opened",
    "session.ended": "session ended",
    "session.extended": "session extended",
    "session.failed": "session could not be opened",
    "grant.created": "role granted",
    "grant.revoked": "role revoked",
    "operator.bound": "account linked",
    "settings.changed": "settings changed",
    "audit.checkpoint": "checkpoint",
    "roles.shipped": "roles installed",
}
"""What an audit row's kind is called in Slack; a kind without words is shown as it is."""


class Recorded(Protocol):
    """A row of the audit trail as it is read back."""

    @property
    def seq(self) -> int: ...

    @property
    def at(self) -> datetime: ...

    @property
    def record(self) -> AuditRecord: ...


class AuditReading(Protocol):
    """Looks things up in the audit trail."""

    async def query(
        self,
        *,
        operator: str | None = None,
        target: str | None = None,
        request: str | None = None,
        since: datetime | None = None,
        before_seq: int | None = None,
        limit: int = 20,
    ) -> Sequence[Recorded]:
        """Rows that fit everything given, newest first."""


class Holding(Protocol):
    """An operator with what was granted to them."""

    @property
    def operator(self) -> Operator: ...


class People(Operators, Protocol):
    """The operators, all of them: one of them may be whose rows an auditor asks for."""

    async def everyone(self) -> Sequence[Holding]: ...


class Enquiries:
    """Answers what is not in the catalogue of actions. Each answer is for the requester only."""

    def __init__(
        self,
        *,
        clock: Clock,
        operators: People,
        requests: Requests,
        settings: Settings,
        session: ManagementSession,
        audit: AuditReading,
        zone: ZoneInfo,
        ticket_pattern: str | None = None,
    ) -> None:
        self._clock = clock
        self._operators = operators
        self._requests = requests
        self._settings = settings
        self._session = session
        self._audit = audit
        self._zone = zone
        self._ticket_pattern = ticket_pattern
        self._answers: Mapping[str, Callable[[Request], Awaitable[Reply]]] = {
            "help": self._help,
            "can": self._can,
            "session-status": self._status,
            "session-on": self._turn_on,
            "session-off": self._turn_off,
            "session-extend": self._extend,
            "audit": self._read_audit,
        }

    async def answer(self, request: Request) -> Reply:
        """The answer. Raises `BadInput` for what is no enquiry, and whatever opening a session raises."""
        try:
            answer = self._answers[request.action]
        except KeyError:
            raise BadInput(f"`{request.action}` is not a command. `/m365 help` lists what there is.") from None
        return await answer(request)

    # --- help and can ------------------------------------------------------------------------------------------------

    async def _help(self, request: Request) -> Reply:
        title = "What you can do with Latchkey"
        return f"{title}.", {"title": title, "commands": await self.commands_of(request.slack)}

    async def commands_of(self, slack: SlackUser) -> list[list[str]]:
        """Every action as (how to type it, title, why this person cannot have it done; empty if they can), as far as
        that can be known without a target: from their roles, and from what the identity was last seen to hold."""
        settings = await self._settings.current()
        identity = self._session.current.identity
        lines = []
        for action in catalogue().values():
            stopped = policy.decide_person(await self._question(slack, action)).deny
            if stopped is None and identity is not None and identity.id == settings.identity_id:
                suffices = policy.check_identity(action, identity)
                stopped = None if suffices.ok else suffices
            lines.append([action.usage, action.title, policy.words(stopped, zone=self._zone) if stopped else ""])
        return lines

    async def _question(self, slack: SlackUser, action: Action) -> policy.Question:
        return policy.Question(
            rights=self._operators.rights(slack, action.command),
            command=action.command,
            action=action,
            now=self._clock.now(),
            settings=await self._settings.current(),
            ticket_pattern=self._ticket_pattern,
            asking=True,
        )

    async def _can(self, request: Request) -> Reply:
        """The whole trace of a decision that was not asked for in earnest."""
        action = catalogue().get(str(request.inputs.get("action")))
        if action is None:
            raise BadInput("Say which action and for whom, such as `/m365 can reset-password adele@contoso.com`.")
        question = await self._question(request.slack, action)
        decision = policy.decide_person(question)
        title = f"Could you {action.phrase.format(target='somebody')}?"
        if decision.verdict is not policy.Verdict.DENY and request.typed:
            acting = await self._session.ensure(opened_for=request.id, tell=_nobody)
            found = await find_people(acting.graph, request.typed)
            if len(found) != 1:
                raise BadInput(_which(request.typed, [person.upn for person in found]))
            person = await read_person(acting.graph, found[0].id, guard=policy.needs_guard(question))
            ours = frozenset({acting.identity.id})
            question = replace(question, target=person, session=acting.session, our_identities=ours)
            decision = policy.decide(question)
            title = f"Can you {action.phrase.format(target=person.name)}?"
        verdict = {
            policy.Verdict.ALLOW: "Yes.",
            policy.Verdict.NEEDS_APPROVAL: "Only with approval.",
            policy.Verdict.DENY: "No.",
        }[decision.verdict]
        ask = await who_can_help(decision, request.command, request.slack, self._operators)
        trace = [[finding.ok, policy.words(finding, ask, zone=self._zone)] for finding in decision.trace]
        return f"{title} {verdict}", {"title": f"{title} {verdict}", "trace": trace}

    # --- the session -------------------------------------------------------------------------------------------------

    async def _status(self, request: Request) -> Reply:
        return self._described(self._session.current)

    async def _turn_on(self, request: Request) -> Reply:
        acting = await self._session.ensure(opened_for=request.id, tell=_nobody, may_open=True)
        return self._described(acting.session)

    async def _turn_off(self, request: Request) -> Reply:
        return self._described(await self._session.end(by=request.operator_id or ""))

    async def _extend(self, request: Request) -> Reply:
        return self._described(await self._session.extend(by=request.operator_id or ""))

    def _described(self, session: Session) -> Reply:
        sentence = {
            SessionState.ON: f"The management session is on until {self._session.clock_time(session.on_until)}.",
            SessionState.OFF: "The management session is off. It opens by itself when an action needs it.",
            SessionState.ENABLING: "The management session is being opened.",
            SessionState.SWITCHING: "The management session is being switched to another mode.",
            SessionState.DEGRADED: f"The management session could not be opened. {session.why or ''}".strip(),
        }[session.state]
        facts = []
        if session.identity and session.state is SessionState.ON:
            facts.append(["Acts as", session.identity.name])
        return sentence, {"title": sentence, "session": session.state.value, "facts": facts}

    # --- the audit trail ---------------------------------------------------------------------------------------------

    async def _read_audit(self, request: Request) -> Reply:
        since, before = request.inputs.get("since"), request.inputs.get("before")
        rows = await self._audit.query(
            **await self._whose(request),
            since=self._clock.now() - read_since(str(since)) if since else None,
            before_seq=int(before) if before else None,
            limit=AUDIT_PAGE + 1,
        )
        title = f"Audit trail: {request.typed}" if request.typed else "Audit trail"
        if not rows:
            return f"{title}: nothing found.", {"title": f"{title}: nothing found.", "rows": []}
        lines = []
        for row in rows[:AUDIT_PAGE]:
            who, whom = await self._who_and_whom(row.record)
            what = _IN_WORDS.get(row.record.kind, row.record.kind)
            lines.append([row.seq, row.at.isoformat(), who, what, whom, _summary(row.record.facts)])
        more = lines[-1][0] if len(rows) > AUDIT_PAGE else None
        return title, {"title": title, "rows": lines, "next": more}

    async def _who_and_whom(self, record: AuditRecord) -> tuple[str, str]:
        """The names behind a row's ids: the operator's, and the target's as it was called then."""
        operator = await self._operators.find(record.operator_id) if record.operator_id else None
        who = (operator.name or operator.slack.user) if operator else "Latchkey"
        if record.target_id is None:
            return who, ""
        request = await self._requests.find(record.request_id) if record.request_id else None
        return who, request.target.name if request and request.target else record.target_id

    async def _whose(self, request: Request) -> dict[str, str]:
        """Which rows are asked for: everybody's, a request's, an operator's, or those about a target."""
        about = request.typed.strip()
        if not about:
            return {}
        if await self._requests.find(about):
            return {"request": about}
        named = about.removeprefix("<@").removesuffix(">").partition("|")[0].casefold()
        for holding in await self._operators.everyone():
            operator = holding.operator
            if named in {known.casefold() for known in (operator.slack.user, operator.upn, operator.name) if known}:
                return {"operator": operator.id}
        acting = await self._session.ensure(opened_for=request.id, tell=_nobody)
        people = await find_people(acting.graph, about)
        if len(people) != 1:
            raise BadInput(_which(about, [person.upn for person in people]))
        return {"target": people[0].id}


def _summary(facts: Mapping[str, Any]) -> str:
    """The few facts of an audit row that a reader of a list wants, in one line."""
    wanted = ("action", "outcome", "sentence", "reason", "verified", "microsoft_request_id", "role", "why")
    return " · ".join(str(facts[key]) for key in wanted if facts.get(key))


def _which(typed: str, found: Sequence[str]) -> str:
    if not found:
        return f"Nobody in the directory is called “{typed}”. Type the whole user name, such as adele@contoso.com."
    return f"“{typed}” could be {', '.join(found)}. Type the whole user name."


async def _nobody(steps: tuple[Step, ...]) -> None:
    """Whoever asks for an answer is not told of the opening's steps: the answer itself comes in seconds."""
