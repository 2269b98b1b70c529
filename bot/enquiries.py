"""What is answered without changing the tenant: help, *can*, the session's switches, rotation, what-if, audit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from bot import policy
from bot.actions import catalogue
from bot.actions._action import Action
from bot.auditing import Reply
from bot.directory import find_people, read_person
from bot.errors import BadInput
from bot.model import IdentityKind, Mode, Request, Session, SessionState, SlackUser, Step
from bot.ports import Clock, Operators, Settings
from bot.refusal import who_can_help
from bot.session import ManagementSession, WhoseSession

_ALSO: Final = (
    ("/m365 undo", "/m365 undo", "Undo your last change"),
    ("/m365-session on", "/m365-session on", "Turn the management session on"),
    ("/m365-audit", "/m365-audit help", "Search the audit trail"),
    ("/m365-rotate status", "/m365-rotate", "Show how the rotation of the password stands"),
    ("/m365-rotate history", "/m365-rotate history", "Show what became of the last rotations"),
    ("/m365-whatif", "/m365-whatif help", "See which Conditional Access policies apply to a sign-in, and why"),
    ("/m365-roles list", "/m365-roles list", "List the roles"),
    ("/m365-roles who", "/m365-roles who", "List who holds which role"),
)
"""What is listed beside the actions: the command that a role has to hold for it, what to type, and what that does."""

_ROTATES: Final = (
    ("/m365-rotate status", "/m365-rotate", "Show how the password that Latchkey works with is"),
    ("/m365-rotate history", "/m365-rotate history", "Show what became of the last ten rotations"),
    ("/m365-rotate now", "/m365-rotate now", "Change the password now"),
    ("/m365-rotate back", "/m365-rotate back", "Give up a new password that waits"),
    ("/m365-rotate drill", "/m365-rotate drill", "Try everything without changing anything"),
    ("/m365-rotate drill", "/m365-rotate drill --fail", "The same, and it fails on purpose: you see the alert"),
    (
        "/m365-rotate recover",
        "/m365-rotate recover",
        "Set a new password by an administrator's sign-in, if none that is stored signs in",
    ),
)
"""The same of the rotation."""

_WHATIFS: Final = (
    ("/m365-whatif", "/m365-whatif", "Judge a sign-in of the account that Latchkey works with, as it is really done"),
    ("/m365-whatif", "/m365-whatif adele@contoso.com --app Exchange --ip 203.0.113.10", "Judge somebody else's"),
    (
        "/m365-whatif",
        "--app --ip --country --client --platform --flow --action --device --risk --user-risk",
        "Say what the sign-in is like; what is not said is not known",
    ),
    ("/m365-whatif", "/m365-whatif form", "Fill the same in in a form"),
    ("/m365-whatif", "/m365-whatif draft", "Try a policy that nobody has saved yet"),
    ("/m365-whatif", "/m365-whatif --matrix", "Compare accounts, applications, addresses and kinds of client"),
)
"""The same of what-if."""


@dataclass(frozen=True)
class Offered:
    """An action, and why somebody cannot have it done; empty if they can."""

    action: Action
    why: str


class Auditors(Protocol):
    """Answers about the audit trail, and about who may do what."""

    async def read(self, request: Request) -> Reply: ...

    async def who(self, request: Request) -> Reply: ...


class Rolls(Protocol):
    """Answers about roles."""

    async def roles(self, request: Request) -> Reply: ...


class WhatIfs(Protocol):
    """Answers what would happen at a sign-in."""

    async def ask(self, request: Request) -> Reply: ...

    async def compare(self, request: Request) -> Reply: ...

    async def draft(self, request: Request) -> Reply: ...


class Rotation(Protocol):
    """Answers about the rotation."""

    async def status(self, request: Request) -> Reply: ...

    async def history(self, request: Request) -> Reply: ...


class Enquiries:
    """Answers what is not in the catalogue of actions. Each answer is for the requester only."""

    def __init__(
        self,
        *,
        clock: Clock,
        operators: Operators,
        settings: Settings,
        session: WhoseSession,
        auditing: Auditors,
        roll: Rolls,
        rotation: Rotation,
        what_if: WhatIfs,
        zone: ZoneInfo,
        ticket_pattern: str | None = None,
    ) -> None:
        self._clock = clock
        self._operators = operators
        self._settings = settings
        self._session = session
        self._zone = zone
        self._ticket_pattern = ticket_pattern
        self._answers: Mapping[str, Callable[[Request], Awaitable[Reply]]] = {
            "help": self._help,
            "can": self._can,
            "session-status": self._status,
            "session-on": self._turn_on,
            "session-off": self._turn_off,
            "session-extend": self._extend,
            "audit": auditing.read,
            "audit-who": auditing.who,
            "roles-list": roll.roles,
            "roles-who": auditing.who,
            "mode": self._mode,
            "rotate-status": rotation.status,
            "rotate-history": rotation.history,
            "rotate-help": self._rotate_help,
            "whatif": what_if.ask,
            "whatif-matrix": what_if.compare,
            "whatif-draft": what_if.draft,
            "whatif-help": self._what_if_help,
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
        lines = [
            [each.action.command if each.why else each.action.usage, each.action.title, each.why]
            for each in await self.offered(request.slack)
        ]
        lines += [[typed, does, ""] for typed, does in await self.also(request.slack)]
        operator = self._operators.rights(request.slack, request.command).operator
        if operator is not None and operator.account_id is None:
            lines.append(["/m365 link", "Link your Microsoft account", ""])
        return title, {"title": title, "commands": lines}

    async def _rotate_help(self, request: Request) -> Reply:
        return await self._help_with("The rotation of what Latchkey signs in with", _ROTATES, request)

    async def _what_if_help(self, request: Request) -> Reply:
        return await self._help_with("What if somebody signed in", _WHATIFS, request)

    async def _help_with(self, title: str, known: Sequence[tuple[str, str, str]], request: Request) -> Reply:
        settings, now = await self._settings.current(), self._clock.now()
        lines = []
        for command, typed, does in known:
            question = policy.Question(self._operators.rights(request.slack, command), command, None, now, settings)
            stops = policy.decide_person(question).deny
            lines.append([typed, does, policy.briefly(stops, zone=self._zone) if stops else ""])
        return title, {"title": title, "commands": lines}

    async def offered(self, slack: SlackUser) -> Sequence[Offered]:
        """Every action, and why this person cannot have it done, as far as that can be known without a target: from
        their roles, and from what the identity was last seen to hold. What is Latchkey's own is listed for those who
        decide on it only."""
        settings = await self._settings.current()
        current = (await self._session_of(slack)).current
        identity = current.identity
        if identity and identity.kind is not IdentityKind.ADMINISTRATOR and identity.id != settings.identity_id:
            identity = None  # another one was chosen since
        session = replace(current, identity=identity)
        offered = []
        for action in sorted(catalogue().values(), key=lambda action: (action.own, action.command)):
            question = replace(await self._question(slack, action), session=session)
            stops = policy.decide_person(question).deny
            if stops is None or not action.own:
                offered.append(Offered(action, policy.briefly(stops, zone=self._zone) if stops else ""))
        return offered

    async def also(self, slack: SlackUser) -> Sequence[tuple[str, str]]:
        """What else this person may type, and what that does."""
        settings, now = await self._settings.current(), self._clock.now()
        found = []
        for command, typed, does in _ALSO:
            question = policy.Question(self._operators.rights(slack, command), command, None, now, settings)
            if policy.decide_person(question).verdict is policy.Verdict.ALLOW:
                found.append((typed, does))
        return found

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
            session = await self._session.of(request.operator_id)
            acting = await session.ensure(opened_for=request.id, tell=_nobody)
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
        ask = await who_can_help(decision, action.command, request.slack, self._operators)
        trace = [[finding.ok, policy.words(finding, ask, zone=self._zone)] for finding in decision.trace]
        return f"{title} {verdict}", {"title": f"{title} {verdict}", "trace": trace}

    # --- the session -------------------------------------------------------------------------------------------------

    async def _status(self, request: Request) -> Reply:
        return self._described((await self._session.of(request.operator_id)).current)

    async def _turn_on(self, request: Request) -> Reply:
        session = await self._session.of(request.operator_id)
        acting = await session.ensure(opened_for=request.id, tell=_nobody, may_open=True)
        return self._described(acting.session)

    async def _turn_off(self, request: Request) -> Reply:
        session = await self._session.of(request.operator_id)
        return self._described(await session.end(by=request.operator_id or ""))

    async def _extend(self, request: Request) -> Reply:
        session = await self._session.of(request.operator_id)
        return self._described(await session.extend(by=request.operator_id or ""))

    async def _mode(self, request: Request) -> Reply:
        settings = await self._settings.current()
        sentence = {
            Mode.NONE: "Latchkey is not set up yet. `/m365-mode advanced` gives it an account of its own to work with, "
            "`/m365-mode default` has each operator sign in with theirs.",
            Mode.DEFAULT: "Default mode: each operator signs in with an administrator account of their own.",
            Mode.ADVANCED: f"Advanced mode: Latchkey works with {settings.identity_name}.",
        }[settings.mode]
        opens = "by themselves" if settings.auto_enable else "when somebody opens them"
        facts = [["Sessions open", opens]] if settings.mode is Mode.ADVANCED else []
        if settings.mode is not Mode.ADVANCED and settings.identity_name:
            facts.append(["Account for Advanced mode", settings.identity_name])
        return sentence, {"title": sentence, "facts": facts}

    async def _session_of(self, slack: SlackUser) -> ManagementSession:
        operator = self._operators.rights(slack, "/m365 help").operator
        return await self._session.of(operator.id if operator else None)

    def _described(self, session: Session) -> Reply:
        own = session.mode is Mode.DEFAULT
        whose, opens = "The", "It opens by itself when an action needs it."
        if own:
            whose, opens = "Your", "`/m365-session on` opens it: you sign in at Microsoft with your own account."
        sentence = {
            SessionState.ON: f"{whose} management session is on until {self._session.clock_time(session.on_until)}.",
            SessionState.OFF: f"{whose} management session is off. {opens}",
            SessionState.ENABLING: f"{whose} management session is being opened.",
            SessionState.SWITCHING: f"{whose} management session is being switched to another mode.",
            SessionState.DEGRADED: f"{whose} management session could not be opened. {session.why or ''}".strip(),
        }[session.state]
        facts = []
        if session.identity and session.state is SessionState.ON:
            facts.append(["Acts as", session.identity.name])
        return sentence, {"title": sentence, "session": session.state.value, "facts": facts}


def _which(typed: str, found: Sequence[str]) -> str:
    if not found:
        return f"Nobody in the directory is called “{typed}”. Type the whole user name, such as adele@contoso.com."
    return f"“{typed}” could be {', '.join(found)}. Type the whole user name."


async def _nobody(steps: tuple[Step, ...]) -> None:
    """Whoever asks for an answer is not told of the opening's steps: the answer itself comes in seconds."""
