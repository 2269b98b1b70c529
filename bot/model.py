"""The nouns: operators, targets, plans, sessions, requests, and how each is written as JSON.

Values only. Nothing here reads a clock, touches a file or awaits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NoReturn

JSON = Any
"""A JSON value: None, bool, int, float, str, or lists and dicts of them."""


# --- Secrets --------------------------------------------------------------------------------------------------------


class Secret:
    """A value that must never be seen by accident.

    `repr`, `str` and formatting show dots; it refuses to be pickled, copied into JSON or compared by value. `reveal()`
    is called in three places only: a sign-in, the filling of a call, and the reveal modal.
    """

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        self.__value = value

    def reveal(self) -> str:
        """The value itself."""
        return self.__value

    def __repr__(self) -> str:
        return "Secret(•••)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not to be pickled or copied")


# --- People and their rights ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SlackUser:
    """Somebody in Slack: the team (or enterprise) id the person belongs to, and the user id. Never an e-mail."""

    team: str
    user: str


@dataclass(frozen=True)
class Operator:
    """A person who asks the bot to do something: a Slack user bound by a record to an Entra account.

    `account_id` is the Entra object id, None until an account is bound: such an operator may read, not write.
    `upn` and `name` are what was known when the record was made, for display only.
    """

    id: str
    slack: SlackUser
    account_id: str | None = None
    upn: str | None = None
    name: str | None = None
    suspended: bool = False


@dataclass(frozen=True)
class Author:
    """Who changes what gives power: an operator by id, or somebody logged in as *login* at the command line.

    An operator who is None without a login is Latchkey itself (a grant that follows a group, say).
    """

    operator_id: str | None = None
    login: str = ""

    @property
    def at_command_line(self) -> bool:
        return self.operator_id is None

    @property
    def facts(self) -> Mapping[str, str]:
        """What an audit row says of somebody who is no operator."""
        if not self.at_command_line:
            return {}
        return {"from": "command line", "login": self.login} if self.login else {"from": "Latchkey"}


class ScopeOp(StrEnum):
    """How a scope's conditions combine, and what a leaf asks."""

    ALL = "all"
    ANY = "any"
    NOT = "not"
    ATTRIBUTE = "attribute"
    GROUP = "group"


@dataclass(frozen=True)
class ScopeRule:
    """A tree over the target: `ALL`/`ANY`/`NOT` hold `parts`; `ATTRIBUTE` compares one Graph attribute, ignoring case,
    with any of `values`; `GROUP` asks for transitive membership in the group id `values[0]`."""

    op: ScopeOp
    parts: tuple[ScopeRule, ...] = ()
    attribute: str = ""
    values: tuple[str, ...] = ()

    def to_json(self) -> JSON:
        match self.op:
            case ScopeOp.ALL | ScopeOp.ANY | ScopeOp.NOT:
                return {self.op.value: [part.to_json() for part in self.parts]}
            case ScopeOp.ATTRIBUTE:
                return {"attribute": self.attribute, "in": list(self.values)}
            case ScopeOp.GROUP:
                return {"group": self.values[0]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ScopeRule:
        """The rule written by `to_json`. Raises ValueError for anything else."""
        match data:
            case {"attribute": str(attribute), "in": [*values]} if len(data) == 2:
                return cls(ScopeOp.ATTRIBUTE, attribute=attribute, values=tuple(map(str, values)))
            case {"group": str(group)} if len(data) == 1:
                return cls(ScopeOp.GROUP, values=(group,))
        if len(data) == 1:
            ((op, parts),) = data.items()
            if op in {"all", "any", "not"} and isinstance(parts, list):
                return cls(ScopeOp(op), parts=tuple(cls.from_json(part) for part in parts))
        raise ValueError("a scope rule is {all|any|not: [...]}, {attribute, in} or {group}")


@dataclass(frozen=True)
class Scope:
    """Which targets a grant covers. A grant without a scope covers every target that is not protected."""

    id: str
    name: str
    rule: ScopeRule


@dataclass(frozen=True)
class Grant:
    """An operator's role, where it counts and until when. `pattern` is the role's command pattern that matched.

    In listings only: `via` is the id of the `GroupGrant` it follows, None if it was granted to the person; `granted_by`
    an operator's id, None for the command line; `granted_at` and `reason`.
    """

    id: str
    role: str
    scope: Scope | None = None
    expires_at: datetime | None = None
    pattern: str | None = None
    via: str | None = None
    granted_by: str | None = None
    granted_at: datetime | None = None
    reason: str = ""


def covers(pattern: str, command: str) -> bool:
    """Whether whatever *command* (a command, or a pattern too) means, *pattern* means too."""
    return pattern == command or (pattern.endswith("*") and command.startswith(pattern[:-1]))


TENANT_ADMIN: Final = "tenant-admin"
"""The role of those who decide on modes, roles and settings."""

_POWER: Final = ("/m365-roles", "/m365-mode")
_ONLY_TELLS: Final = ("/m365-roles list", "/m365-roles who")


def decides_on_power(patterns: Iterable[str]) -> bool:
    """Whether a role that holds *patterns* holds a command that decides who may do what, or as whom Latchkey acts."""
    telling = [pattern for pattern in patterns if not pattern.startswith(_ONLY_TELLS)]
    return any(pattern.startswith(power) or covers(pattern, power) for pattern in telling for power in _POWER)


@dataclass(frozen=True)
class Role:
    """A role: what it is for, the command patterns it holds, and how many people hold it now."""

    name: str
    title: str
    patterns: tuple[str, ...]
    holders: int = 0
    shipped: bool = False


@dataclass(frozen=True)
class Rights:
    """What the one indexed read knows about a person and a command: who it is, and every grant whose role holds it.

    Expired grants are included (a refusal says *your grant ended on ...*), revoked ones are not. `other_roles` are
    current roles of theirs that do not hold the command.
    """

    operator: Operator | None
    grants: tuple[Grant, ...] = ()
    other_roles: tuple[str, ...] = ()


@dataclass(frozen=True)
class GroupGrant:
    """A role that follows an Entra group: its members who are operators hold it for as long as they are members.

    `granted_by` is an operator's id, None from the command line. `read_at` is when the members were last read.
    """

    id: str
    group: Target
    role: str
    granted_at: datetime
    scope: Scope | None = None
    expires_at: datetime | None = None
    granted_by: str | None = None
    reason: str = ""
    read_at: datetime | None = None


# --- Targets --------------------------------------------------------------------------------------------------------


class TargetKind(StrEnum):
    NONE = "none"
    USER = "user"
    GROUP = "group"
    LICENSE = "license"
    SCOPE = "scope"
    """A part of the tenant in which a grant counts, by its name."""
    TENANT = "tenant"
    """Latchkey's own work in the tenant: its mode, its settings, the identity it acts with."""
    OPERATOR = "operator"
    """Somebody in Slack, as `team/user`: who may ask Latchkey."""
    ROLE = "role"
    """One of Latchkey's own roles, by its name."""


@dataclass(frozen=True)
class Target:
    """The thing an action is done to, by the id that does not change. `name` and `detail` are for people to read."""

    kind: TargetKind
    id: str
    name: str
    detail: str = ""

    def to_json(self) -> JSON:
        return {"kind": self.kind.value, "id": self.id, "name": self.name, "detail": self.detail}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Target:
        return cls(TargetKind(data["kind"]), data["id"], data["name"], data.get("detail", ""))


@dataclass(frozen=True)
class Person:
    """A user of the tenant as it is now, as far as deciding, planning and showing need it.

    `attributes` holds the plain string attributes a scope may ask about, by Graph's names: empty in the tenant is "",
    a name that is missing was not read. `groups` are the ids of all transitive groups. `directory_roles` are role
    template ids (or custom role definition ids), active and eligible.
    """

    id: str
    upn: str
    name: str
    department: str | None = None
    title: str | None = None
    office: str | None = None
    manager: str | None = None
    last_sign_in: datetime | None = None
    enabled: bool = True
    synced: bool = False
    guest: bool = False
    usage_location: str | None = None
    password_changed_at: str | None = None
    sessions_valid_from: str | None = None
    licenses: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    groups: frozenset[str] = frozenset()
    directory_roles: frozenset[str] = frozenset()
    in_role_assignable_group: bool = False
    in_restricted_unit: bool = False
    eligibility_unknown: bool = False
    """The tenant's licence has no eligible assignments (Graph answers with its licence error); noted in the trace."""
    guarded: bool = False
    """Groups, roles and units were read. Where they were not, their emptiness means nothing: no write is allowed."""

    @property
    def target(self) -> Target:
        return Target(TargetKind.USER, self.id, self.name, self.upn)

    @property
    def label(self) -> str:
        """The person as a button names them: *Adele Vance, Sales*."""
        return f"{self.name}, {self.department}" if self.department else f"{self.name} ({self.upn})"


# --- Plans ----------------------------------------------------------------------------------------------------------


class Generated(StrEnum):
    """A value made by the runner at the last moment and never stored; in a call's body it is `{"$generated": ...}`."""

    PASSWORD = "password"  # noqa: S105 - the name of a kind, not a password
    STORED = "stored"
    """The service account's next password, which rests in the vault: the office puts it in, or its rotation."""
    REPLACED = "replaced"
    """The password that is to be replaced, where a change has to name it."""
    PROOF = "proof"
    """That an application has one of its certificates: good for ten minutes."""

    @property
    def marker(self) -> JSON:
        return {"$generated": self.value}


@dataclass(frozen=True)
class Change:
    """One line of a plan in words: what, and how it is before and after."""

    what: str
    before: str | None
    after: str


class Repeat(StrEnum):
    """What sending a call twice would do, which decides how an unknown outcome is treated."""

    SAFE = "safe"
    """Sets a state; once read-back shows it is not there, sending it again is right."""
    ONE_SHOT = "one-shot"
    """Each sending is a new effect (a generated password, revoked sessions); never sent twice by itself."""


@dataclass(frozen=True)
class Call:
    """A request to Graph that would change something, not yet sent.

    `path` holds raw segments; the client encodes each with nothing safe. `body` is JSON and may hold a
    `Generated` marker. `reveals` names the answer's field that is a secret for the requester (a temporary access pass).
    `poll` means that 202 with a `Location` is followed to its end. `advice` is the sentence to add when Graph refuses
    the call: what that usually means here and where to go instead. `says` is the step's line in the story, where a plan
    has several. `seen` shows the effect of this very call, so that a plan of several steps goes on where it stopped; if
    it is `awaited`, the next call is not sent before that shows. `was` is what has to be at `path` when an own action
    sends it: if somebody has changed that since it was planned, nothing is sent. One that `checks` changes nothing, and
    the changes after it rest on it: once the plan has stopped, it is made again before any of those is sent.
    """

    method: str
    path: tuple[str, ...]
    body: JSON = None
    repeat: Repeat = Repeat.SAFE
    reveals: str | None = None
    poll: bool = False
    advice: str = ""
    says: str = ""
    seen: ReadBack | None = None
    awaited: bool = False
    was: JSON = None
    checks: bool = False

    @property
    def generates(self) -> Generated | None:
        return _find_marker(self.body)

    def to_json(self) -> JSON:
        return {
            "method": self.method,
            "path": list(self.path),
            "body": self.body,
            "repeat": self.repeat.value,
            "reveals": self.reveals,
            "poll": self.poll,
            "advice": self.advice,
            "says": self.says,
            "seen": self.seen.to_json() if self.seen else None,
            **({"awaited": True} if self.awaited else {}),
            **({"was": self.was} if self.was is not None else {}),
            **({"checks": True} if self.checks else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Call:
        return cls(
            data["method"],
            tuple(data["path"]),
            data["body"],
            Repeat(data["repeat"]),
            data["reveals"],
            data["poll"],
            data["advice"],
            data["says"],
            ReadBack.from_json(data["seen"]) if data["seen"] else None,
            data.get("awaited", False),
            data.get("was"),
            data.get("checks", False),
        )


def _find_marker(value: JSON) -> Generated | None:
    if isinstance(value, dict):
        if set(value) == {"$generated"}:
            return Generated(value["$generated"])
        value = list(value.values())
    if isinstance(value, list):
        return next((found for part in value if (found := _find_marker(part))), None)
    return None


class Expect(StrEnum):
    """What read-back looks for at a pointer of Graph's answer."""

    EQUALS = "equals"
    DIFFERS = "differs"
    CONTAINS = "contains"
    LACKS = "lacks"


@dataclass(frozen=True)
class ReadBack:
    """How to see in the tenant that a plan has taken effect.

    `pointer` is a path of keys joined by `/`; a list on the way stands for the values found in each of its items.
    `DIFFERS` is for witnesses that move with each write (`lastPasswordChangeDateTime`): `value` is what it was before.
    Where a list is found, `value` is the whole of it, or (to contain, or lack) one of its items.
    `lags` says that what answers is a replica, which may show an effect late.
    """

    path: tuple[str, ...]
    pointer: str
    expect: Expect
    value: JSON
    query: tuple[tuple[str, str], ...] = ()
    method: str = "GET"
    body: JSON = None
    lags: bool = True

    def holds(self, answer: JSON) -> bool:
        """Whether *answer* shows the effect."""
        found = [answer]
        for key in self.pointer.split("/"):
            found = [item[key] for item in _flat(found) if isinstance(item, dict) and key in item]
        values = list(_flat(found))
        match self.expect:
            case Expect.EQUALS:
                return values == _flat([self.value])
            case Expect.DIFFERS:
                return bool(values) and values != _flat([self.value])
            case Expect.CONTAINS:
                return self.value in values
            case Expect.LACKS:
                return self.value not in values

    def to_json(self) -> JSON:
        return {
            "method": self.method,
            "path": list(self.path),
            "query": [list(pair) for pair in self.query],
            "body": self.body,
            "pointer": self.pointer,
            "expect": self.expect.value,
            "value": self.value,
            "lags": self.lags,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ReadBack:
        return cls(
            path=tuple(data["path"]),
            pointer=data["pointer"],
            expect=Expect(data["expect"]),
            value=data["value"],
            query=tuple((key, value) for key, value in data["query"]),
            method=data["method"],
            body=data["body"],
            lags=data["lags"],
        )


def _flat(values: list[JSON]) -> list[JSON]:
    return [item for value in values for item in (value if isinstance(value, list) else [value])]


@dataclass(frozen=True)
class Undo:
    """The action that takes a plan back, with its inputs. It is a new request on the same target, decided and planned
    like any other, under the rights of whoever asks for it."""

    action: str
    inputs: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What an action would do: a value that compares, survives JSON, can wait for a person, and is audited as it is.

    A plan without calls says that the tenant already is as wished. `undo` is what would take it back, None if nothing
    can. `notes` are warnings to read before confirming. `sensitive`: whoever agrees to it proves at Microsoft who they
    are, although the action does not always ask for that. `approval` says in a sentence why somebody else has to agree,
    where the action does not always ask for that either.
    """

    changes: tuple[Change, ...]
    calls: tuple[Call, ...]
    read_back: ReadBack | None = None
    undo: Undo | None = None
    notes: tuple[str, ...] = ()
    sensitive: bool = False
    approval: str = ""

    def to_json(self) -> JSON:
        return {
            "changes": [[change.what, change.before, change.after] for change in self.changes],
            "calls": [call.to_json() for call in self.calls],
            "read_back": self.read_back.to_json() if self.read_back else None,
            "undo": [self.undo.action, dict(self.undo.inputs)] if self.undo else None,
            "notes": list(self.notes),
            **({"sensitive": True} if self.sensitive else {}),
            **({"approval": self.approval} if self.approval else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        return cls(
            changes=tuple(Change(*change) for change in data["changes"]),
            calls=tuple(map(Call.from_json, data["calls"])),
            read_back=ReadBack.from_json(data["read_back"]) if data["read_back"] else None,
            undo=Undo(*data["undo"]) if data["undo"] else None,
            notes=tuple(data["notes"]),
            sensitive=data.get("sensitive", False),
            approval=data.get("approval", ""),
        )


def digest(*, action: str, target_id: str, inputs: Mapping[str, JSON], mode: str, identity_id: str, plan: Plan) -> str:
    """The plan digest: SHA-256, in hex, of the canonical JSON of everything that a confirmation or approval is about.

    Generated secrets stand in it by their marker; requester, times, reason and row ids are left out, so that the same
    wish about the same tenant has the same digest. So is whether somebody has to agree, which is decided each time.
    """
    document = {
        "v": 1,
        "action": action,
        "target": target_id,
        "inputs": dict(inputs),
        "mode": mode,
        "identity": identity_id,
        "plan": replace(plan, approval="").to_json(),
    }
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


# --- The management session -----------------------------------------------------------------------------------------


class Mode(StrEnum):
    """Whose authority a management session borrows."""

    NONE = "none"
    DEFAULT = "default"
    ADVANCED = "advanced"


class SessionState(StrEnum):
    OFF = "off"
    ENABLING = "enabling"
    ON = "on"
    SWITCHING = "switching"
    DEGRADED = "degraded"


class IdentityKind(StrEnum):
    """What kind of service identity acts (design: three kinds, one Protocol)."""

    SERVICE_ACCOUNT = "service-account"
    APPLICATION = "application"
    MANAGED_IDENTITY = "managed-identity"
    ADMINISTRATOR = "administrator"
    """The operator's own administrator account, in Default mode."""
    LATCHKEY = "latchkey"
    """Latchkey itself, changing what is its own: nobody signs in anywhere."""


@dataclass(frozen=True)
class Identity:
    """Who acts towards Microsoft: its object id, a name to show, and the directory role template ids it holds."""

    kind: IdentityKind
    id: str
    name: str
    roles: frozenset[str] = frozenset()

    @property
    def delegated(self) -> bool:
        """Whether it signs in as a user (some Graph actions have no application permission)."""
        return self.kind in {IdentityKind.SERVICE_ACCOUNT, IdentityKind.ADMINISTRATOR}


NOBODY: Final = Identity(IdentityKind.LATCHKEY, "", "")
"""Who there is where Latchkey works with no identity of its own: everybody has to sign in for themselves."""


@dataclass(frozen=True)
class Session:
    """A management session as people and policy see it. Times are UTC; tokens are not part of it."""

    generation: int
    mode: Mode
    state: SessionState
    identity: Identity | None = None
    opened_at: datetime | None = None
    idle_until: datetime | None = None
    absolute_until: datetime | None = None
    opened_for: str | None = None
    why: str | None = None
    """A sentence: why it is degraded, or why it ended."""
    owner: str | None = None
    """The id of the operator whose own it is; None: the tenant's."""

    @property
    def on_until(self) -> datetime | None:
        """When it ends by itself if nothing more happens."""
        ends = [end for end in (self.idle_until, self.absolute_until) if end]
        return min(ends) if ends else None

    def holds(self, request: Request) -> bool:
        """Whether *request* was carried out in this session, be it before it was renewed."""
        if request.session_generation is None:
            return False
        at = request.finished_at or request.created_at
        return request.session_generation == self.generation or (self.opened_at is not None and at >= self.opened_at)


# --- Approvals ------------------------------------------------------------------------------------------------------


class ApprovalState(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True)
class Approval:
    """The question whether somebody else agrees to one plan of a request, by its digest, and what they answered.

    `why` says what asks for it. `break_glass` marks that the requester agreed alone: such an agreement ends at
    `expires_at`, too, and stays open for review until `reviewed_by` is another tenant admin.
    """

    id: str
    digest: str
    channel: str
    """Where it was asked, a Slack channel id."""
    asked_at: datetime
    expires_at: datetime
    why: str
    state: ApprovalState = ApprovalState.PENDING
    decided_by: str | None = None
    """An operator's id."""
    decided_at: datetime | None = None
    reason: str = ""
    reminders: int = 0
    break_glass: bool = False
    reviewed_by: str | None = None
    """An operator's id."""
    reviewed_at: datetime | None = None
    review: str = ""

    @property
    def under_review(self) -> bool:
        """Whether somebody else has still to look at what was agreed to alone."""
        return self.break_glass and self.reviewed_by is None


# --- Requests -------------------------------------------------------------------------------------------------------


class RequestState(StrEnum):
    RECEIVED = "received"
    DECIDED = "decided"
    AWAITING_CONFIRMATION = "awaiting_confirmation"
    AWAITING_APPROVAL = "awaiting_approval"
    READY = "ready"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"
    REFUSED = "refused"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"

    @property
    def final(self) -> bool:
        return self in _FINAL


_FINAL: Final = frozenset(
    {
        RequestState.DONE,
        RequestState.FAILED,
        RequestState.REFUSED,
        RequestState.EXPIRED,
        RequestState.WITHDRAWN,
    }
)


class StepStatus(StrEnum):
    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class Step:
    """One line of a request's story, as the thread shows it. `key` names it so that it can be rewritten in place."""

    key: str
    title: str
    status: StepStatus
    detail: str = ""

    def to_json(self) -> JSON:
        return [self.key, self.title, self.status.value, self.detail]

    @classmethod
    def from_json(cls, data: list[Any]) -> Step:
        return cls(data[0], data[1], StepStatus(data[2]), data[3])


@dataclass(frozen=True)
class Origin:
    """Where a request was made: the Slack channel, and what the first answer needs.

    `trigger` is Slack's short-lived right to open a modal and lives in memory only, never in a row.
    """

    channel: str
    surface: str = "command"
    """`command`, `button`, `home`."""


@dataclass(frozen=True)
class Request:
    """An operator's wish and all that has become of it. The row behind it changes only by compare-and-set on `version`.

    `command` is what roles are matched with (`/m365 reset-password`), `action` the catalogue name or a built-in such as
    `help`. `typed` is the target as typed until it is resolved into `target`. `inputs` are plain JSON values by name.
    `form` is the id of the open Slack view that belongs to it. `approval` is the last agreement that was asked for.
    `repeat_of` is the earlier request about the same target that the operator was told of and chose to go on after.
    `answer` is what a finished request says, by view data.
    """

    id: str
    operator_id: str | None
    slack: SlackUser
    command: str
    action: str
    origin: Origin
    created_at: datetime
    state: RequestState = RequestState.RECEIVED
    version: int = 0
    typed: str = ""
    target: Target | None = None
    inputs: Mapping[str, JSON] = field(default_factory=dict)
    reason: str = ""
    verified: str = ""
    ticket: str = ""
    preview: bool = False
    form: str | None = None
    plan: Plan | None = None
    digest: str | None = None
    approval: Approval | None = None
    session_generation: int | None = None
    mode: Mode | None = None
    identity_id: str | None = None
    undo_of: str | None = None
    repeat_of: str | None = None
    steps: tuple[Step, ...] = ()
    sentence: str = ""
    """What happened or is awaited, in one sentence."""
    answer: Mapping[str, JSON] = field(default_factory=dict)
    due_at: datetime | None = None
    """When the worker must look at it again by itself (expiry, a second read-back, an unused reveal)."""
    opened_session: bool = False
    """The session was off and this request waited for its opening: its card has a bar and its thread the steps."""
    started_at: datetime | None = None
    """When everything needed to run was agreed: from then on its story belongs in the channel."""
    finished_at: datetime | None = None

    def with_step(self, step: Step) -> Request:
        """The request with *step* added, or put in place of the one with the same key."""
        kept = [step if old.key == step.key else old for old in self.steps]
        if step not in kept:
            kept.append(step)
        return replace(self, steps=tuple(kept))


# --- Rotation -------------------------------------------------------------------------------------------------------


class CredentialKind(StrEnum):
    """What the service identity signs in with, where that can be changed."""

    PASSWORD = "password"  # noqa: S105 - the name of a kind, not a password
    CERTIFICATE = "certificate"


class Trigger(StrEnum):
    """Why a rotation, or another try of one that stands, begins."""

    SCHEDULE = "schedule"
    NOW = "now"
    RETRY = "retry"
    REPAIR = "repair"
    """Only what is in force already is finished and tagged."""
    DRILL = "drill"


class Point(StrEnum):
    """The points of a rotation, between any two of which a process may die."""

    DUE = "C0"
    CLAIMED = "C1"
    STARTED = "C2"
    """It is written down that it has begun."""
    LISTED = "C3"
    CHECKED = "C4"
    """It is known which version signs in."""
    STORING = "C5"
    STORED = "C6"
    """The vault has the new version; nobody has seen its answer."""
    NOTED = "C7"
    TESTED = "C8"
    """It is known whether the new version signs in already."""
    CHANGING = "C9"
    CHANGED = "C10"
    """Microsoft has the new one; nobody has seen its answer."""
    PROVEN = "C11"
    CURRENT_TAGGED = "C12"
    PREVIOUS_TAGGED = "C13"
    WRITTEN = "C14"
    RENEWED = "C15"
    RETIRED = "C16"
    RELEASED = "C17"


class Cause(StrEnum):
    """Why a rotation stands."""

    UNKNOWN = "unknown"
    """Microsoft does not say which version signs in."""
    BLOCKED = "blocked"
    """The credential is right, but a policy stops the sign-in, so the identity cannot change anything."""
    LOST = "lost"
    """No stored version signs in: somebody changed it elsewhere."""
    GONE = "gone"
    """The account is disabled, deleted, or asked to do something first."""
    FORBIDDEN = "forbidden"
    """The identity may not change its own credential."""
    NOT_TAKEN = "not_taken"
    """Microsoft refused every new credential."""
    NOT_SEEN = "not_seen"
    """It was changed, and the new one does not sign in everywhere yet."""
    GUESSES = "guesses"
    """As many sign-ins failed as may, or the account would be locked."""
    VAULT = "vault"
    """Key Vault did not give or take what was asked."""
    UNREACHED = "unreached"
    """Microsoft could not be asked to change anything, and changed nothing."""
    BROKEN = "broken"
    """Latchkey's own database cannot be used, or the rotation met something nobody foresaw."""


def drill_of(secret: str) -> str:
    """The name of the throw-away secret on which the rotation of *secret* is drilled."""
    return f"{secret}-drill"


class RotationState(StrEnum):
    RUNNING = "running"
    STANDING = "standing"
    """It cannot go on, and is tried again."""
    DONE = "done"
    GIVEN_UP = "given_up"


@dataclass(frozen=True)
class RotationRecord:
    """A rotation as the database tells it; the truth about the credential are the tags in the vault.

    `secret` is the name under which the versions rest in the vault. `by` is an operator's id, None for the schedule;
    `request_id` the request that began it, or that asked for the last try. `point` is how far it came,
    `cause` and `why` (a sentence) why it stands, `code` the AADSTS number if there was one. `guesses` are the sign-ins
    that went wrong or may have, `tries` how often it was begun or taken up. `in_force` is the version that is known to
    sign in, `pending` the new one. `next_try_at` is when Latchkey goes on by itself. `steps` are the points that were
    reached, with the seconds each took. `incident` is the id of the first rotation of those that took over from each
    other: all are one incident.
    """

    id: str
    kind: CredentialKind
    trigger: Trigger
    secret: str
    account: str
    started_at: datetime
    by: str | None = None
    request_id: str | None = None
    state: RotationState = RotationState.RUNNING
    point: Point = Point.DUE
    cause: Cause | None = None
    why: str = ""
    code: int | None = None
    guesses: int = 0
    tries: int = 1
    in_force: str | None = None
    pending: str | None = None
    giving_up: bool = False
    """What is in force is to stay; the new one is not to be used any more."""
    changed: bool = False
    """Something else is in force than before."""
    tried_at: datetime | None = None
    """When the last try ended."""
    stood_at: datetime | None = None
    """When it first could not go on."""
    finished_at: datetime | None = None
    next_try_at: datetime | None = None
    steps: tuple[tuple[Point, float], ...] = ()
    incident: str = ""

    @property
    def is_open(self) -> bool:
        return self.finished_at is None


# --- Settings -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TenantSettings:
    """What tenant admins decide, versioned in SQLite. Durations are minutes.

    `identity_*` name the service identity of Advanced mode: a user's object id and UPN, or a service principal's object
    id and a name. `work_channels` empty means any internal channel the bot is in.
    """

    version: int = 0
    mode: Mode = Mode.NONE
    auto_enable: bool = True
    identity_kind: IdentityKind | None = None
    identity_id: str | None = None
    identity_name: str | None = None
    verification_required: bool = True
    reason_required: bool = True
    work_channels: tuple[str, ...] = ()
    never_touch_group: str | None = None
    ask_first_group: str | None = None
    idle_minutes: int = 30
    absolute_minutes: int = 480
    retention_days: int = 730
    """How long the audit trail keeps its rows."""
    rotation_days: int = 7
    rotation_weekdays: str = "tue-thu"
    """On which days the credential is rotated: names and ranges, as `rotation_schedule.weekdays` reads them."""
    rotation_from: int = 10 * 60
    """The minute of the day at which the rotation window begins, in the tenant's time zone."""
    rotation_until: int = 15 * 60


@dataclass(frozen=True)
class SettingsChange:
    """How the settings were changed once: by whom (an operator's id, None from the command line) and when, and what,
    by name, from what to what."""

    at: datetime
    by: str | None
    changed: Mapping[str, tuple[JSON, JSON]]


# --- Alerts ---------------------------------------------------------------------------------------------------------


class Severity(StrEnum):
    """How soon somebody has to look."""

    ATTENTION = "attention"
    """Nothing is broken yet."""
    SESSIONS_STOP = "sessions_stop"
    """No management session can be opened, now or soon: it wakes people."""


@dataclass(frozen=True)
class Trouble:
    """Something that somebody has to know of. There is one open incident for each `kind` and `about`.

    `headline`, `why` and the values of `facts` are plain text. Channels that another company reads never get them.
    """

    kind: str
    """`rotation`, `secret-old`, `password-changed-elsewhere`, `vault`, `account`, `roles`, `certificate`, `policy`,
    `outside`, `emergency`, `audit` or `drill`."""
    about: str
    """Which incident it is within its kind: a rotation's id, an account's."""
    severity: Severity
    headline: str
    """*Rotation failed. Nothing is broken yet: the current password signs in.*"""
    why: str
    """What failed and why, in words."""
    facts: tuple[tuple[str, str], ...] = ()
    """Labelled lines: *Step that failed*, *Signs in now*, *What Latchkey does next*."""
    next_at: datetime | None = None
    """When Latchkey tries again by itself."""
    offers: tuple[str, ...] = ()
    """Of `retry`, `roll-back` and `reset` (by an administrator's sign-in). *Acknowledge* is always there."""
    drill: bool = False

    def to_json(self) -> JSON:
        return {
            "kind": self.kind,
            "about": self.about,
            "severity": self.severity.value,
            "headline": self.headline,
            "why": self.why,
            "facts": [list(fact) for fact in self.facts],
            "next_at": self.next_at.isoformat() if self.next_at else None,
            "offers": list(self.offers),
            "drill": self.drill,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Trouble:
        return cls(
            kind=data["kind"],
            about=data["about"],
            severity=Severity(data["severity"]),
            headline=data["headline"],
            why=data["why"],
            facts=tuple((label, value) for label, value in data["facts"]),
            next_at=datetime.fromisoformat(data["next_at"]) if data["next_at"] else None,
            offers=tuple(data["offers"]),
            drill=data["drill"],
        )


@dataclass(frozen=True)
class Alert:
    """An incident: a trouble as it is, or was last, and what came of it."""

    id: str
    trouble: Trouble
    opened_at: datetime
    places: tuple[str, ...] = ()
    """Where its card stands: a Slack channel, or the Slack user ids of those who have it in their direct messages."""
    misplaced: str = ""
    """Why it does not stand in the channel for alerts, a sentence."""
    lines: int = 0
    """How many lines its thread has."""
    last_line: str = ""
    """What the last of them is about."""
    repeats: int = 0
    """How often it was said again since it was opened or became worse."""
    repeat_at: datetime | None = None
    """When it is said again if nobody acknowledges it."""
    acknowledged_by: str = ""
    """Somebody's name."""
    acknowledged_at: datetime | None = None
    closed_at: datetime | None = None
    how: str = ""
    """What ended it, a sentence."""
    asked: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """By what was offered: the id of the last request for it, and the name of whoever pressed."""
    page: str = ""
    """What the webhook has still to be told: `trigger`, `acknowledge` or `resolve`."""
    paged: str = ""
    """What it was last told."""
    page_tries: int = 0
    """How often it was tried to tell `page`; each try is counted before it begins."""
    page_at: datetime | None = None
    page_problem: str = ""
    """Why it could not be told yet, a sentence."""

    @property
    def is_open(self) -> bool:
        return self.closed_at is None


# --- Audit ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AuditRecord:
    """One row of the audit trail before it is chained.

    `kind` is dotted (`request.decided`, `attempt.started`, `attempt.finished`, `session.opened`, `grant.created`).
    `attempt_id` joins the two rows of an attempt and is the `client-request-id` sent to Microsoft. `facts` is JSON and
    never holds a secret.
    """

    kind: str
    operator_id: str | None = None
    request_id: str | None = None
    attempt_id: str | None = None
    target_id: str | None = None
    session_generation: int | None = None
    facts: Mapping[str, JSON] = field(default_factory=dict)
