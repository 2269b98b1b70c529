"""What can go wrong, as exceptions that carry a sentence an operator understands.

Every message says what happened and what to do next, and is safe to show: it never holds a secret, a token or a
payload. What a developer needs beside it (codes, Microsoft's request id) is kept in attributes and goes to the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class LatchkeyError(Exception):
    """The root of all our exceptions. `str()` is a sentence for the person who asked."""


class ConfigurationError(LatchkeyError):
    """A setting is missing or wrong; the sentence names it."""


class BadInput(LatchkeyError):
    """What was typed cannot be used; the sentence says what to type. `field` names the input to blame, if any."""

    def __init__(self, sentence: str, *, field: str | None = None) -> None:
        super().__init__(sentence)
        self.field = field


class WhoIsMeant(BadInput):
    """A name could be several people's. `suggestions` are (object id, name, what tells them apart)."""

    def __init__(self, sentence: str, suggestions: tuple[tuple[str, str, str], ...]) -> None:
        super().__init__(sentence, field="target")
        self.suggestions = suggestions


class NotPossible(LatchkeyError):
    """The tenant is such that this cannot be done (a synced account, say); the sentence says where to go instead."""


class PlanChanged(LatchkeyError):
    """What would happen now is not what was seen and confirmed."""


class NoLonger(LatchkeyError):
    """Somebody is no longer one of us: disabled or deleted, in Slack or in Entra. `why` is a code for the trail."""

    def __init__(self, sentence: str, *, why: str) -> None:
        super().__init__(sentence)
        self.why = why


class CannotTell(LatchkeyError):
    """Slack or Microsoft does not say just now who somebody is or whether they still may, so nothing is done."""


class SessionEnded(LatchkeyError):
    """The management session this work began under is over: its generation has passed."""


class SessionNotOpened(LatchkeyError):
    """The management session could not be opened; `cause` says why (`SignInFailed`, `VaultProblem`, `GraphProblem`)."""

    def __init__(self, cause: LatchkeyError) -> None:
        self.cause = cause
        super().__init__(self._telling(str(cause)))

    @property
    def while_looking(self) -> str:
        """The sentence for as long as Latchkey is finding out what is behind it: remedies come with that."""
        meaning = self.cause.meaning if isinstance(self.cause, SignInFailed) else str(self.cause)
        return self._telling(f"{meaning} A card says what is behind it as soon as Latchkey has found out.")

    def _telling(self, why: str) -> str:
        said = f"The management session could not be opened. {why}"
        if isinstance(self.cause, SignInFailed) and self.cause.code is not None:
            said += f" Microsoft's code is AADSTS{self.cause.code}, the correlation id {self.cause.correlation_id}."
        return said


class SignInNeeded(LatchkeyError):
    """A person has to sign in at Microsoft before this can go on."""


class Conflict(LatchkeyError):
    """Somebody else changed the row first (a compare-and-set lost)."""


class StorageProblem(LatchkeyError):
    """The database cannot be trusted or used; privileged work stops. The sentence says what was found."""


class TamperingFound(StorageProblem):
    """The audit trail or a table that gives power does not say what was written to it."""


# --- Microsoft ------------------------------------------------------------------------------------------------------


class SignInCategory(StrEnum):
    """Why a sign-in failed (Entra docs: *Microsoft Entra authentication and authorization error codes*)."""

    CREDENTIALS = "credentials"
    ACCOUNT = "account"
    ACCOUNT_STATE = "account_state"
    MFA = "mfa"
    DEVICE = "device"
    LOCATION = "location"
    RISK = "risk"
    CONDITIONAL_ACCESS = "conditional_access"
    TENANT_CONFIG = "tenant_config"
    APP_CONFIG = "app_config"
    CONSENT = "consent"
    SESSION = "session"
    FLOW = "flow"
    FEDERATION = "federation"
    PASSWORD_POLICY = "password_policy"  # noqa: S105 - a category, not a password
    THROTTLING = "throttling"
    SERVICE = "service"
    NETWORK = "network"
    UNKNOWN = "unknown"


class Retry(StrEnum):
    """Whether trying again can help."""

    NO = "no"
    AFTER_FIX = "fix"
    ONCE = "once"
    WAIT = "wait"
    POLL = "poll"
    LOGIN = "login"
    BACKOFF = "backoff"


class SignInFailed(LatchkeyError):
    """Entra refused a sign-in.

    The sentence joins meaning and remedy; `meaning` is the first alone, for where remedies are told otherwise. `code`
    is the AADSTS number (None for a network failure), `correlation_id` and `timestamp` are what Microsoft's support
    asks for, `claims` is the claims challenge if there was one.
    """

    def __init__(
        self,
        sentence: str,
        *,
        category: SignInCategory,
        retry: Retry,
        code: int | None = None,
        correlation_id: str | None = None,
        timestamp: str | None = None,
        what_if_helps: bool = False,
        claims: str | None = None,
        meaning: str | None = None,
    ) -> None:
        super().__init__(sentence)
        self.meaning = meaning or sentence
        self.category = category
        self.retry = retry
        self.code = code
        self.correlation_id = correlation_id
        self.timestamp = timestamp
        self.what_if_helps = what_if_helps
        self.claims = claims


class NotAsked(SignInFailed):
    """Latchkey did not ask Microsoft: another wrong password might lock the account, or would be no news."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, category=SignInCategory.THROTTLING, retry=Retry.WAIT)


class VaultProblem(LatchkeyError):
    """Key Vault did not give what was asked.

    `reason` is one of `unreachable`, `unauthenticated`, `forbidden`, `missing`, `disabled`, `deleted` (the name is
    reserved by a soft-deleted secret), `throttled`, `failed`.
    """

    def __init__(self, sentence: str, *, reason: str) -> None:
        super().__init__(sentence)
        self.reason = reason


@dataclass(frozen=True)
class GraphAnswer:
    """What we keep of Graph's error answer: status, `error.code`, and the two ids that find it in Microsoft's logs.

    `details` are the (code, target) pairs of `error.details`, where Graph gives any.
    """

    status: int
    code: str
    request_id: str | None = None
    client_request_id: str | None = None
    details: tuple[tuple[str, str], ...] = ()


NEEDS_A_LICENCE: Final = frozenset(
    {"Authentication_RequestFromNonPremiumTenantOrB2CTenant", "AadPremiumLicenseRequired"}
)
"""`error.code` of answers of tenants without Microsoft Entra ID P1 or P2."""


class GraphProblem(LatchkeyError):
    """Base of everything that goes wrong on the way to Graph. `answer` is None when no answer came."""

    def __init__(self, sentence: str, *, answer: GraphAnswer | None = None) -> None:
        super().__init__(sentence)
        self.answer = answer


class GraphRefused(GraphProblem):
    """Graph said no (a 4xx we do not retry). Nothing was changed by this call."""

    @property
    def lacks_permission(self) -> bool:
        """Whether a permission would help: Graph answers 403 for want of a licence, too."""
        return self.answer is not None and self.answer.status == 403 and self.answer.code not in NEEDS_A_LICENCE


class GraphNotFound(GraphRefused):
    """Graph knows no such object (404)."""


class PasswordRefused(GraphRefused):
    """Graph did not take a generated password (400): too simple, banned, used before, or with a name in it."""


class GraphUnavailable(GraphProblem):
    """Graph could not be asked, or kept saying 429/503 until our patience ended. Nothing was changed by this call."""


class OutcomeUnknown(GraphProblem):
    """The call left and no usable answer came back: it may have been applied. Read back; never repeat blindly."""


class ClaimsDemanded(GraphProblem):
    """Graph wants a fresh token that satisfies `claims` (decoded JSON text; Entra docs: *Claims challenge*)."""

    def __init__(self, sentence: str, *, claims: str | None, answer: GraphAnswer | None = None) -> None:
        super().__init__(sentence, answer=answer)
        self.claims = claims
