"""What a request's row holds of why no management session could be opened for it, and what became of that since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from bot.errors import Retry, SignInCategory, SignInFailed
from bot.model import JSON, Identity, IdentityKind, Request, RequestState

BLOCKED: Final = "blocked"
"""Where the answer of a request keeps it."""

RETRIED: Final = "retried"
"""Where the answer of a request names the one that it was tried again as: there is at most one."""

AGAIN: Final = "again"
"""Where the answer of a request says that trying it again can help."""

GO_ON: Final = "go_on"
"""Where the answer of a request says that it stopped between two of its steps."""

ASKED_AT: Final = "asked_at"
"""Where the answer of a request that runs again says since when it is known to be wanted."""

WORKS_AGAIN: Final = "works_again"
"""Where the answer of a request that waits for its form says that another form of it had come to nothing."""


STOPPED: Final = frozenset({RequestState.FAILED, RequestState.UNKNOWN})
"""The states in which a request has come to rest at what it met."""


class Phase(StrEnum):
    """How far it is."""

    LOOKING = "looking"
    """It is being found out what stands in the way. Nobody has been told yet."""
    KNOWN = "known"
    TESTING = "testing"
    """Somebody wants to know whether it still does."""
    WORKS = "works"
    """It does not any more, and the request is to run again."""
    OVER = "over"


class Outcome(StrEnum):
    """What became of the request after a test that went well."""

    NONE = ""
    RUNS = "runs"
    """It runs again, as another one."""
    ASKS = "asks"
    """The same, once whoever asked says that it still has to be done."""
    FORM = "form"
    """The same, once they have filled in its form again."""


@dataclass(frozen=True)
class Obstacle:
    """Why no session could be opened.

    `identity` is who could not sign in, or did by now. `found` is what was found out about it (`Blocked.to_json`), None
    where nothing is known beyond `failure`. `at` is when the sign-in failed that this is about, or succeeded. `then` is
    when the request itself has to be looked at again. `by` is the name of who has it tested, or had.
    """

    phase: Phase
    failure: SignInFailed
    identity: Identity
    at: datetime
    may_open: bool = False
    """The requester had agreed to opening a session that does not open by itself."""
    asked_at: datetime | None = None
    """When the requester last said that they want it, where that was before this request."""
    then: datetime | None = None
    found: JSON = None
    by: str = ""
    outcome: Outcome = Outcome.NONE

    @property
    def has_work(self) -> bool:
        """Whether Latchkey has something to do about it."""
        return self.phase in {Phase.LOOKING, Phase.TESTING, Phase.WORKS}

    def to_json(self) -> JSON:
        return {
            "phase": self.phase.value,
            "failure": failure_to_json(self.failure),
            "identity": [self.identity.kind.value, self.identity.id, self.identity.name],
            "at": self.at.isoformat(),
            "may_open": self.may_open,
            "asked_at": self.asked_at.isoformat() if self.asked_at else None,
            "then": self.then.isoformat() if self.then else None,
            "found": self.found,
            "by": self.by,
            "outcome": self.outcome.value,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Obstacle:
        kind, id_, name = data["identity"]
        return cls(
            phase=Phase(data["phase"]),
            failure=failure_from_json(data["failure"]),
            identity=Identity(IdentityKind(kind), id_, name),
            at=datetime.fromisoformat(data["at"]),
            may_open=data["may_open"],
            asked_at=datetime.fromisoformat(data["asked_at"]) if data.get("asked_at") else None,
            then=datetime.fromisoformat(data["then"]) if data["then"] else None,
            found=data["found"],
            by=data["by"],
            outcome=Outcome(data["outcome"]),
        )

    @classmethod
    def of(cls, request: Request) -> Obstacle | None:
        """What *request* met, if it met anything."""
        data = request.answer.get(BLOCKED)
        return cls.from_json(data) if data else None

    def within(self, request: Request) -> Request:
        """*request* with this in its row."""
        return replace(request, answer={**request.answer, BLOCKED: self.to_json()})


def stands(request: Request) -> bool:
    """Whether *request* has come to rest at what it met."""
    return request.state in STOPPED


def may_run_again(request: Request) -> bool:
    """Whether *request* can be tried again as a new one, and was not. What may be done by now is looked at first."""
    return request.state is RequestState.FAILED and bool(request.answer.get(AGAIN)) and not request.answer.get(RETRIED)


def failure_to_json(failure: SignInFailed) -> JSON:
    """Everything but a claims challenge, which is of no use later."""
    return {
        "sentence": str(failure),
        "meaning": failure.meaning,
        "category": failure.category.value,
        "retry": failure.retry.value,
        "code": failure.code,
        "correlation_id": failure.correlation_id,
        "timestamp": failure.timestamp,
        "what_if_helps": failure.what_if_helps,
    }


def failure_from_json(data: Mapping[str, Any]) -> SignInFailed:
    return SignInFailed(
        data["sentence"],
        category=SignInCategory(data["category"]),
        retry=Retry(data["retry"]),
        code=data["code"],
        correlation_id=data["correlation_id"],
        timestamp=data["timestamp"],
        what_if_helps=data["what_if_helps"],
        meaning=data.get("meaning"),
    )
