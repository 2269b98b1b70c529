"""How the rotation stands, in words: for `/m365-rotate`, the Home tab and `latchkey doctor`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Final, Protocol

from bot import rotation_words
from bot.actions import catalogue
from bot.auditing import Reply
from bot.errors import LatchkeyError
from bot.model import (
    Alert,
    CredentialKind,
    Mode,
    Operator,
    Point,
    Request,
    RotationRecord,
    RotationState,
    Severity,
    TenantSettings,
    Trigger,
    Trouble,
)
from bot.ports import Clock, RotationStatus, SecretVersion, Settings
from bot.remembering import Remembering
from bot.rotation import State, state_of
from bot.rotation_schedule import described
from bot.timing import within

log = logging.getLogger(__name__)

SHOWN: Final = 10
"""How many of the last rotations are told of."""

_FRESH: Final = timedelta(seconds=20)
_PATIENCE: Final = timedelta(seconds=2)
_TOO_OLD: Final = 2
"""So many cadences old is too old."""

_VERSIONS: Final = 6


class Level(StrEnum):
    """How well the rotation is."""

    WELL = "well"
    ATTENTION = "needs attention"
    BAD = "broken"
    NOTHING = "nothing to rotate"


@dataclass(frozen=True)
class Past:
    """A rotation that was, or is under way: when it began, who or what had it begin, and what came of it."""

    at: datetime
    drill: bool
    state: RotationState
    began: str
    ended: str
    took: str


@dataclass(frozen=True)
class RotationNow:
    """How it stands, and what there is to say of it. `words` are full sentences; `what` is a password, or whatever
    else the identity signs in with."""

    status: RotationStatus
    level: Level
    words: str
    what: str = "password"
    account: str = ""
    changed_at: datetime | None = None
    next_at: datetime | None = None
    age: str = ""
    cadence: str = ""
    past: Sequence[Past] = ()
    alerts: Sequence[Alert] = ()


class Rotating(Protocol):
    async def status(self) -> RotationStatus: ...

    async def history(self, limit: int = SHOWN) -> Sequence[RotationRecord]: ...


class OpenAlerts(Protocol):
    async def open(self) -> Sequence[Alert]: ...


class People(Protocol):
    async def find(self, operator_id: str) -> Operator | None: ...


class RotationTold:
    """Answers `/m365-rotate status` and `history`, and tells the Home tab."""

    def __init__(
        self,
        *,
        clock: Clock,
        rotator: Rotating,
        alerts: OpenAlerts,
        settings: Settings,
        operators: People,
        zone: tzinfo,
    ) -> None:
        self._clock = clock
        self._rotator = rotator
        self._alerts = alerts
        self._settings = settings
        self._operators = operators
        self._zone = zone
        self._known: Remembering[RotationNow] = Remembering(self._look, clock)

    async def now(self) -> RotationNow | None:
        """How it stands, as it was a few seconds ago at most; None if that cannot be known soon."""
        try:
            return await within(self._clock, _PATIENCE, self._known.look_up("rotation", _FRESH))
        except TimeoutError:
            return None
        except LatchkeyError as error:
            log.warning("cannot tell how the rotation is", extra={"why": str(error)})
            return None

    def request_changed(self, request: Request) -> None:
        """What is Latchkey's own may have changed with it: look again when it is asked for."""
        action = catalogue().get(request.action)
        if action is not None and action.own:
            self._known.forget("rotation")

    async def status(self, request: Request) -> Reply:
        now = await self._look("rotation")
        status = now.status
        facts = [["Health", now.level.value.capitalize()]]
        if now.level is not Level.NOTHING:
            facts += [
                ["Account", now.account],
                ["Last changed", self._moment_and_age(now)],
                ["Next try" if stands(status) else "Next change", self._next(now)],
                ["Schedule", now.cadence],
            ]
            facts += self._stored(now.status.versions)
        facts += [["Open alert", self._alert(alert)] for alert in now.alerts]
        return now.words, {"title": now.words, "facts": facts}

    async def history(self, request: Request) -> Reply:
        now = await self._look("rotation")
        if not now.past:
            sentence = now.words if now.level is Level.NOTHING else f"The {now.what} was not rotated yet."
            return sentence, {"title": sentence}
        title = "The last rotation" if len(now.past) == 1 else f"The last {len(now.past)} rotations"
        return title, {"title": title, "facts": [[self.moment(each.at), in_one_line(each)] for each in now.past]}

    # --- gathering ----------------------------------------------------------------------------------------------------

    async def _look(self, what: str) -> RotationNow:
        status, settings = await self._rotator.status(), await self._settings.current()
        level, words = how_it_is(status, settings, self._clock.now(), self._zone)
        records = await self._rotator.history(SHOWN)
        since = status.since or (status.last.finished_at if status.last else None)
        return RotationNow(
            status=status,
            level=level,
            words=words,
            what=called(status.kind),
            account=status.account or settings.identity_name or "",
            changed_at=since,
            next_at=status.open.next_try_at if status.open and stands(status) else status.next_due,
            age=long(self._clock.now() - since) if since else "",
            cadence=described(settings),
            past=[await self._past(record) for record in records],
            alerts=await self._alerts.open(),
        )

    async def _past(self, record: RotationRecord) -> Past:
        operator = await self._operators.find(record.by) if record.by else None
        who = (operator.name if operator else None) or ("an operator" if record.by else "")
        ended = record.finished_at
        return Past(
            at=record.started_at,
            drill=record.trigger is Trigger.DRILL,
            state=record.state,
            began=_began(record.trigger, who),
            ended=_ended(record),
            took=long(ended - record.started_at) if ended else "",
        )

    # --- words --------------------------------------------------------------------------------------------------------

    def moment(self, when: datetime) -> str:
        """A time for a sentence, in the tenant's time zone."""
        return moment(when, self._zone)

    def _moment_and_age(self, now: RotationNow) -> str:
        return f"{self.moment(now.changed_at)} ({now.age} ago)" if now.changed_at else "not known"

    def _next(self, now: RotationNow) -> str:
        return self.moment(now.next_at) if now.next_at else "not planned"

    def _stored(self, versions: Sequence[SecretVersion]) -> list[list[str]]:
        """The stored versions: what each is, and since when; never what is in them."""
        shown = versions[:_VERSIONS]
        return [[_stored_as(each), f"in Key Vault since {self.moment(each.created_at)}"] for each in shown]

    def _alert(self, alert: Alert) -> str:
        since = f"since {self.moment(alert.opened_at)}"
        seen = f", acknowledged by {alert.acknowledged_by}" if alert.acknowledged_by else ""
        return f"{named(alert.trouble)} ({since}{seen})"


def how_it_is(status: RotationStatus, settings: TenantSettings, now: datetime, zone: tzinfo) -> tuple[Level, str]:
    """How well it is, and that in sentences."""
    what, open_ = called(status.kind), status.open
    if nothing := nothing_to_rotate(status, settings):
        return Level.NOTHING, nothing
    if open_ is not None and open_.state is RotationState.STANDING:
        level, why = what_stands(open_, zone)
        return level, why
    if open_ is not None and open_.state is RotationState.RUNNING:
        return Level.WELL, f"The {what} is being changed just now."
    if status.problem:
        return Level.ATTENTION, f"Which {what} is stored could not be seen: {status.problem}"
    if not any(version.enabled for version in status.versions):
        return Level.BAD, f"Key Vault holds no {what} that could sign in. {_recovering(status.kind)}"
    if aside := set_aside(status.versions):
        stored = ", ".join(moment(version.created_at, zone) for version in aside)
        return Level.ATTENTION, f"Somebody has disabled in Key Vault what may be in force: stored {stored}."
    if open_ is None and waiting(status.versions):
        return Level.ATTENTION, f"A new {what} waits in Key Vault, and no rotation goes on with it."
    too_old = timedelta(days=settings.rotation_days * _TOO_OLD)
    if status.since is not None and now - status.since > too_old:
        age = long(now - status.since)
        return Level.ATTENTION, f"The {what} is {age} old. It signs in, but should have been changed long ago."
    return Level.WELL, f"The {what} was changed on time, and nothing waits."


def nothing_to_rotate(status: RotationStatus, settings: TenantSettings) -> str:
    """Why there is nothing to rotate, by how Latchkey works; empty if there is something."""
    if status.open is not None:  # what was begun is finished, whatever the mode is by now
        return ""
    match settings.mode:
        case Mode.NONE:
            return "Latchkey is not set up yet, so there is no password to rotate. `/m365-mode` tells more."
        case Mode.DEFAULT:
            return (
                "Default mode: operators sign in with administrator accounts of their own, so Latchkey has no password "
                "to rotate."
            )
        case Mode.ADVANCED:
            return "" if status.kind else status.nothing


def what_stands(record: RotationRecord, zone: tzinfo) -> tuple[Level, str]:
    """How bad it is that a rotation could not go on, what holds nevertheless, and why: as its alert says it."""
    told = rotation_words.trouble(record, lambda at: moment(at, zone))
    level = Level.BAD if told.severity is Severity.SESSIONS_STOP else Level.ATTENTION
    return level, f"{told.headline} {told.why}".strip()


def named(trouble: Trouble) -> str:
    """An alert in a list of alerts, where its card is not to be seen."""
    return f"Drill: {trouble.headline}" if trouble.drill else trouble.headline


def what_to_do(status: RotationStatus) -> str:
    """What somebody can do about a rotation that is not well."""
    if status.open is not None:
        told = rotation_words.trouble(status.open, str)
        return dict(told.facts)["What Latchkey does next"]
    if status.problem:
        return "Latchkey needs Key Vault Secrets Officer on the vault, and a way to it."
    if not any(version.enabled for version in status.versions):
        return _recovering(status.kind)
    if set_aside(status.versions):
        return "Enable it again in Key Vault, unless it is certain that it is not in force."
    if waiting(status.versions):
        return "`/m365-rotate now` finishes with it, `/m365-rotate back` gives it up."
    return "`/m365-rotate now` changes it; look in `/m365-rotate history` why it was not."


def _recovering(kind: CredentialKind | None) -> str:
    if kind is CredentialKind.CERTIFICATE:
        return "`/m365-rotate recover` tells how to put one back."
    return "`/m365-rotate recover` sets a new one by an administrator's sign-in."


def called(kind: CredentialKind | None) -> str:
    return (kind or CredentialKind.PASSWORD).value


_KEPT_AS: Final = {
    State.CURRENT: "The one in force",
    State.PENDING: "A new one that waits",
    State.PREVIOUS: "The one before",
    State.REFUSED: "One that was refused or given up",
    State.RETIRED: "An old one",
}


def _stored_as(version: SecretVersion) -> str:
    return _KEPT_AS[state_of(version)] + ("" if version.enabled else ", disabled")


def _began(trigger: Trigger, who: str) -> str:
    match trigger:
        case Trigger.SCHEDULE:
            return "by schedule"
        case Trigger.REPAIR if not who:
            return "because another one than the current one signed in"
        case Trigger.RETRY if not who:
            return "by itself, once more"
    return f"by {who}" if who else "by a person"


def _ended(record: RotationRecord) -> str:
    match record.state:
        case RotationState.RUNNING:
            return "under way"
        case RotationState.STANDING if record.finished_at:  # a drill, which nobody tries again
            return f"failed at: {_step(record)}"
        case RotationState.STANDING:
            return f"not finished, failed at: {_step(record)}"
        case RotationState.GIVEN_UP:
            return "the new one was given up"
        case RotationState.DONE if record.trigger is not Trigger.DRILL and not record.changed:
            return "put in order, nothing was changed"
        case RotationState.DONE:
            return "done"


def _step(record: RotationRecord) -> str:
    step = rotation_words.failed_step(record)
    return step[:1].lower() + step[1:]


def in_one_line(past: Past) -> str:
    """*By schedule: done in 48 seconds*."""
    ended = f"{past.ended} in {past.took}" if past.took and past.state is RotationState.DONE else past.ended
    line = f"{f'drill {past.began}' if past.drill else past.began}: {ended}"
    return line[:1].upper() + line[1:]


def moment(when: datetime, zone: tzinfo) -> str:
    local = when.astimezone(zone)
    return f"{local.day} {local:%B at %H:%M}"


_UNITS: Final = ((86400, "day"), (3600, "hour"), (60, "minute"))


def long(time: timedelta) -> str:
    """A span of time for a sentence, as exact as people want it: *48 seconds*, *3 hours*, *9 days*."""
    seconds = time.total_seconds()
    for size, unit in _UNITS:
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}s"
    if seconds < 1:
        return f"{max(1, round(seconds * 1000))} ms"
    if seconds < 10:
        return f"{seconds:.1f} seconds"
    return f"{int(seconds)} seconds"


def stands(status: RotationStatus) -> bool:
    """Whether a rotation could not go on, and is tried again."""
    return status.open is not None and status.open.state is RotationState.STANDING


def waiting(versions: Iterable[SecretVersion]) -> list[SecretVersion]:
    """The stored ones that wait to be in force, or are already, without anybody having seen that."""
    return [version for version in versions if version.enabled and state_of(version) is State.PENDING]


def set_aside(versions: Iterable[SecretVersion]) -> list[SecretVersion]:
    """What somebody has disabled although it may be in force."""
    may_be = {State.CURRENT, State.PENDING}
    return [version for version in versions if not version.enabled and state_of(version) in may_be]


_STEPS: Final = {
    Point.LISTED: "looking what is stored",
    Point.CHECKED: "checking which one signs in",
    Point.STORED: "storing a new one",
    Point.NOTED: "storing a new one",
    Point.CHANGED: "putting it in force",
    Point.PROVEN: "proving it",
    Point.CURRENT_TAGGED: "making it the current one",
    Point.RENEWED: "renewing the session",
    Point.RETIRED: "putting old ones away",
}


def step_words(record: RotationRecord) -> str:
    """How long each step took: *storing a new one 0.2 seconds, proving it 31 seconds*."""
    took: dict[str, float] = {}
    for point, seconds in record.steps:
        if point in _STEPS:
            took[_STEPS[point]] = took.get(_STEPS[point], 0) + seconds
    return ", ".join(f"{words} {long(timedelta(seconds=seconds))}" for words, seconds in took.items())
