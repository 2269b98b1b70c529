"""The rotation of a credential: which step comes next, decided from what was seen, without doing any of it.

A credential is a password or a certificate. Its versions lie in the vault, and the tags on them are the truth. A
rotation is a generator of effects: whoever drives it (`bot/rotator.py` over HTTP, a model in memory in tests) carries
each out and sends back what it found. An effect that fails otherwise than by its result ends this try by an exception;
the next one lists the versions and goes on from there. So these hold at every instant, whatever fails or dies, also
with two rotations at once:

* At least one stored, enabled version signs in, and what is in force is stored.
* Nothing is disabled while it might be in force.
* No more guesses (sign-ins that may be wrong) are made than were allowed.

Which version is in force is found out by signing in and in no other way. *Unknown* is neither yes nor no.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, TypeVar

from bot.model import Cause as Cause
from bot.model import Point as Point
from bot.ports import SecretVersion


class State(StrEnum):
    """What the tag `state` of a version says. A version without that tag was stored by hand and counts as current."""

    CURRENT = "current"
    PENDING = "pending"
    """Stored, and perhaps in force already."""
    PREVIOUS = "previous"
    REFUSED = "refused"
    """Microsoft did not take it."""
    RETIRED = "retired"
    """Disabled, long after it was in force."""


READ_IN_ORDER: Final = (State.CURRENT, State.PENDING, State.PREVIOUS, State.REFUSED, State.RETIRED)
"""In which order a reader tries versions. The last two are for the case that two rotations ran at once and disagreed
about a version, or that somebody else enabled one."""


# --- Effects, and what comes back -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class ListVersions:
    """Gives the versions of the secret that belong to the identity, newest first."""


@dataclass(frozen=True)
class TrySignIn:
    """Sign in with this version, freshly; gives a `Tried`. It is counted as a guess before it leaves."""

    version: SecretVersion


@dataclass(frozen=True)
class Store:
    """Make a new credential and store it, tagged as pending; gives its `SecretVersion`."""


@dataclass(frozen=True)
class Change:
    """Have the identity replace `old`, or add to it, `new`; gives a `Changed`."""

    old: SecretVersion
    new: SecretVersion


@dataclass(frozen=True)
class Withdraw:
    """Take this version out of force, which another one has proved not to need it; where that happened when the other
    came, nothing is to be done."""

    version: SecretVersion


@dataclass(frozen=True)
class Label:
    """Tag a version with a state; a `RETIRED` one is disabled too."""

    version: SecretVersion
    state: State


@dataclass(frozen=True)
class Renew:
    """Sign the session in anew, if it is on; what is under way goes on with the token it has."""


@dataclass(frozen=True)
class Wait:
    """Come back after this time."""

    time: timedelta


@dataclass(frozen=True)
class Reach:
    """Write down that this point is reached, before anything else is done. `version` is the one that it is about."""

    point: Point
    version: SecretVersion | None = None


Effect = ListVersions | TrySignIn | Store | Change | Withdraw | Label | Renew | Wait | Reach


class SignsIn(StrEnum):
    """What a sign-in said about a version."""

    YES = "yes"
    BLOCKED = "blocked"
    """The credential is right; a policy, or the demand of a second factor, stops the sign-in all the same."""
    NO = "no"
    """It is definitely not in force at whichever server answered."""
    GONE = "gone"
    """The identity is disabled, deleted, or must do something first: nothing can be learned of any version."""
    UNKNOWN = "unknown"
    """No answer, throttled, or locked out for a while."""


@dataclass(frozen=True)
class Tried:
    """What came of a sign-in. `why` is the sentence of its failure, `code` the AADSTS number, if there was one."""

    signs_in: SignsIn
    why: str = ""
    code: int | None = None

    @property
    def right(self) -> bool:
        """Whether the credential is in force."""
        return self.signs_in in {SignsIn.YES, SignsIn.BLOCKED}


class Answer(StrEnum):
    """What Microsoft said to a change."""

    DONE = "done"
    NOT_TAKEN = "not taken"
    """A 400: the old one is not in force, or the new one is not good enough; which, only a sign-in tells."""
    FORBIDDEN = "forbidden"
    """The identity may not do that (any more). Nothing was changed."""
    UNKNOWN = "unknown"
    """It may have been applied."""


@dataclass(frozen=True)
class Changed:
    answer: Answer
    why: str = ""


# --- How it ends ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ending:
    """How a try ended: done, or standing because of `cause`.

    `in_force` is the version that is known to sign in, None if that is not known. `changed` says that another version
    is in force than before.
    """

    cause: Cause | None = None
    why: str = ""
    code: int | None = None
    in_force: SecretVersion | None = None
    changed: bool = False

    @property
    def done(self) -> bool:
        return self.cause is None


# --- Rules ----------------------------------------------------------------------------------------------------------

NEW_ONES: Final = 5
"""How many new credentials are made in one try, if Microsoft refuses them."""

BETWEEN_PROOFS: Final = timedelta(seconds=30)

PROOFS: Final = 2
"""How often a new credential has to sign in before it counts as in force everywhere."""

LOOKS: Final = tuple(timedelta(seconds=seconds) for seconds in (5, 15, 30, 60, 120, 240, 430))
"""The waits between looks whether a change has reached all servers: 15 minutes. With few guesses left, the last ones.
"""

OVERLAP: Final = timedelta(days=1)
"""How long an old certificate stays in force beside the new one."""


class Aim(StrEnum):
    """What a try is for."""

    RENEW = "renew"
    """A new credential, or the end of what this rotation began."""
    REPAIR = "repair"
    """Finish what is in force already and put the tags right; make nothing new."""
    GIVE_UP = "give up"
    """Leave what is in force, and use the new one no more, unless it is in force already."""


@dataclass(frozen=True)
class Task:
    """What is to be done, under the id of its rotation, which the versions it makes carry in their tag `rotation`.

    `guesses` are the sign-ins that may still go wrong. `replaces` says that a new credential ends the one before it (a
    password); else both are in force until the old one is withdrawn (a certificate).
    """

    id: str
    guesses: int
    now: datetime
    aim: Aim = Aim.RENEW
    replaces: bool = True


Steps = Generator[Effect, Any, Ending]
T = TypeVar("T")
Part = Generator[Effect, Any, T]


class _Stands(Exception):
    """This try ends here."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.cause)
        self.ending = ending


def rotation(task: Task) -> Steps:
    """The effects of one try, in order."""
    try:
        return (yield from _Try(task).run())
    except _Stands as stands:
        return stands.ending


class _Try:
    def __init__(self, task: Task) -> None:
        self._task = task
        self._left = task.guesses
        self._versions: list[SecretVersion] = []
        """Newest first, tagged as this try knows them."""
        self._labelled: set[str] = set()
        self._right: SecretVersion | None = None
        """The version that signed in last, unless it might be out of force since."""
        self._blocked: Tried | None = None
        """What stops the version in force from signing in, if anything does."""

    def run(self) -> Steps:
        yield Reach(Point.STARTED)
        self._versions = yield ListVersions()
        yield Reach(Point.LISTED)
        found = yield from self._in_force()
        if state_of(found) is State.PENDING:
            yield Reach(Point.TESTED, found)
            yield from self._prove(found, good=1)
            return (yield from self._settle(found))
        yield Reach(Point.CHECKED, found)
        pending = self._of(State.PENDING)
        match self._task.aim:
            case Aim.GIVE_UP:
                for version in pending:
                    yield from self._label(version, State.REFUSED)
            case Aim.RENEW if not self._is_its_own(found):
                yield from self._tidy(found)
                return (yield from self._renew(found, pending))
        return (yield from self._settle(found))

    def _of(self, state: State) -> list[SecretVersion]:
        return [version for version in self._versions if version.enabled and state_of(version) is state]

    def _is_its_own(self, version: SecretVersion) -> bool:
        """Whether this rotation made it. If it is in force, an earlier try came so far that only the rest is left."""
        return version.tags.get("rotation") == self._task.id

    def _stands(self, cause: Cause, found: Tried | Changed | None = None, *, changed: bool = False) -> _Stands:
        why, code = (found.why if found else ""), (found.code if isinstance(found, Tried) else None)
        return _Stands(Ending(cause, why, code, self._right, changed))

    # --- finding out --------------------------------------------------------------------------------------------------

    def _is_right(self, version: SecretVersion) -> Part[bool]:
        """Whether it is in force. Where a sign-in does not say that, this try ends."""
        if self._left <= 0:
            raise self._stands(Cause.GUESSES)
        tried: Tried = yield TrySignIn(version)
        match tried.signs_in:
            case SignsIn.UNKNOWN:
                raise self._stands(Cause.UNKNOWN, tried)
            case SignsIn.GONE:
                raise self._stands(Cause.GONE, tried)
        if not tried.right:
            self._left -= 1
        self._right = version if tried.right else None
        self._blocked = tried if tried.signs_in is SignsIn.BLOCKED else None
        return tried.right

    def _in_force(self) -> Part[SecretVersion]:
        """Which version is in force. One that waits is asked first, for it may have been sent already."""
        pending = self._of(State.PENDING)
        versions = [*pending, *(version for version in in_reading_order(self._versions) if version not in pending)]
        for version in versions:
            if (yield from self._is_right(version)):
                return version
        listed: list[SecretVersion] = yield ListVersions()
        if len(listed) > len(self._versions):  # another rotation made one meanwhile, and put it in force
            self._versions = listed
            return (yield from self._in_force())
        # Servers that have not heard of a change yet, and others that have, may have answered in turn.
        found = yield from self._look(*versions)
        if found is None:
            raise self._stands(Cause.LOST)
        return found

    def _look(self, *versions: SecretVersion, instead_of: SecretVersion | None = None) -> Part[SecretVersion | None]:
        """Which of these is in force after all, as soon as every server has heard of it.

        A guess at them is spared as long as the one still signs in *instead of* which they would be in force.
        """
        for wait in LOOKS[-max(1, (self._left - 1) // max(1, len(versions))) :]:
            if self._left <= 0 or not versions:
                return None
            yield Wait(wait)
            if instead_of and (yield from self._is_right(instead_of)):
                continue
            for version in versions:
                if self._left <= 0:
                    return None
                if (yield from self._is_right(version)):
                    return version
        return None

    def _prove(self, version: SecretVersion, *, good: int = 0) -> Part[None]:
        """Have it sign in twice, one time soon after the other. *good* were right just now."""
        while good < PROOFS:
            if good:
                yield Wait(BETWEEN_PROOFS)
            if not (yield from self._is_right(version)) and not (yield from self._look(version)):
                raise self._stands(Cause.NOT_SEEN, changed=True)
            good += 1
        yield Reach(Point.PROVEN, version)

    # --- a new one ----------------------------------------------------------------------------------------------------

    def _renew(self, old: SecretVersion, pending: list[SecretVersion]) -> Steps:
        refused = [version for version in self._of(State.REFUSED) if self._is_its_own(version)]
        for _ in range(max(1, NEW_ONES - len(refused))):
            if self._blocked:  # whoever cannot sign in cannot change anything
                raise self._stands(Cause.BLOCKED, self._blocked)
            fresh = not pending
            if fresh:
                yield Reach(Point.STORING)
                pending = [(yield Store())]
                self._versions = [*pending, *self._versions]
            new, *pending = pending
            yield Reach(Point.NOTED, new)
            yield Reach(Point.TESTED, new)
            refusal = yield from self._put_in_force(old, new, fresh=fresh)
            if refusal is None:
                return (yield from self._settle(new))
            yield from self._label(new, State.REFUSED)
        yield from self._retire(old)
        raise self._stands(Cause.NOT_TAKEN, refusal)

    def _put_in_force(self, old: SecretVersion, new: SecretVersion, *, fresh: bool) -> Part[Changed | None]:
        """Put the new one in force and prove it; gives what Microsoft said if it will never take it.

        A *fresh* one was sent to nobody before. Any other may be in force already, at servers that did not answer yet.
        """
        yield Reach(Point.CHANGING, new)
        changed: Changed = yield Change(old, new)
        match changed.answer:
            case Answer.FORBIDDEN:
                raise self._stands(Cause.FORBIDDEN, changed)
            case Answer.DONE:
                self._right = None
                yield from self._prove(new)
                return None
        refused = changed.answer is Answer.NOT_TAKEN
        if not (refused and fresh):
            self._right = None
            if (yield from self._look(new, instead_of=old if self._task.replaces else None)):
                yield from self._prove(new, good=1)
                return None
        if refused and (yield from self._is_right(old)):
            return changed
        # If the old one is out of force, another rotation ran at the same time perhaps: the next try will see.
        raise self._stands(Cause.UNKNOWN, changed)

    # --- the tags -----------------------------------------------------------------------------------------------------

    def _settle(self, version: SecretVersion) -> Steps:
        """The version is in force: the tags say so, the session signs in with it, what is old is retired."""
        changed = self._is_its_own(version) or state_of(version) is State.PENDING
        was_current = state_of(version) is State.CURRENT
        yield from self._tidy(version)
        yield Reach(Point.WRITTEN, version)
        if changed or not was_current:  # else the session signed in with it all along
            yield Renew()
        yield Reach(Point.RENEWED)
        yield from self._retire(version)
        yield Reach(Point.RETIRED)
        if self._blocked:
            raise self._stands(Cause.BLOCKED, self._blocked, changed=changed)
        return Ending(in_force=version, changed=changed)

    def _tidy(self, version: SecretVersion) -> Part[None]:
        if version.tags.get("state") != State.CURRENT:
            yield from self._label(version, State.CURRENT)
            yield Reach(Point.CURRENT_TAGGED, version)
        for other in self._of(State.CURRENT):
            if other.version != version.version:
                yield from self._label(other, State.PREVIOUS)
        yield Reach(Point.PREVIOUS_TAGGED, version)

    def _label(self, version: SecretVersion, state: State) -> Part[None]:
        yield Label(version, state)
        self._labelled.add(version.version)
        labelled = replace(version, tags={**version.tags, "state": state.value}, enabled=state is not State.RETIRED)
        self._versions = [labelled if one.version == version.version else one for one in self._versions]

    def _retire(self, current: SecretVersion) -> Part[None]:
        """Disable what is older than the version in force and the one before it, and what was refused long ago."""
        before = self._of(State.PREVIOUS)[:1] if self._task.replaces else []
        for version in self._versions:
            if version.enabled and version not in before and self._is_past(version, current):
                if not self._task.replaces:
                    yield Withdraw(version)
                yield from self._label(version, State.RETIRED)

    def _is_past(self, version: SecretVersion, current: SecretVersion) -> bool:
        """Never what waits, for another rotation might just be putting it in force, nor what this try labelled."""
        if version.version in {current.version, *self._labelled}:
            return False
        match state_of(version):
            case State.PENDING:
                return False
            case State.REFUSED:
                return version.created_at + OVERLAP <= self._task.now
        overlaps = not self._task.replaces and self._task.now < current.created_at + OVERLAP
        return not overlaps and version.created_at < current.created_at


# --- Versions -------------------------------------------------------------------------------------------------------


def state_of(version: SecretVersion) -> State:
    """What its tag says. A tag of no meaning to a rotation counts as retired."""
    found = version.tags.get("state", State.CURRENT)
    return State(found) if found in set(State) else State.RETIRED


def in_reading_order(versions: Iterable[SecretVersion]) -> list[SecretVersion]:
    """What a reader tries: every enabled version, by its state. *versions* are ordered newest first, and so are those
    of one state."""
    enabled = (version for version in versions if version.enabled)
    return sorted(enabled, key=lambda version: READ_IN_ORDER.index(state_of(version)))
