"""How one talks to Microsoft Graph, without talking: addresses, bodies, when to try again, and its errors in words."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cached_property, lru_cache
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from bot.errors import (
    BadInput,
    ClaimsDemanded,
    ConfigurationError,
    GraphAnswer,
    GraphNotFound,
    GraphProblem,
    GraphRefused,
    GraphUnavailable,
    OutcomeUnknown,
    PasswordRefused,
)
from bot.model import JSON, Generated, Secret

# --- Addresses ------------------------------------------------------------------------------------------------------

LONGEST_SEGMENT: Final = 256
"""Characters. A user principal name has at most 113 (Entra docs: *Password policies and restrictions*)."""

REFERENCE: Final = "$ref"
"""The one segment with a meaning to OData that is sent as it is, at the end of a relation's path only."""

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_PLAIN_URL = re.compile(r"[!-~]+")
_SPECIAL_IN_A_PATH = re.compile(r"[#\\]")


@dataclass(frozen=True)
class Base:
    """Where Graph is: `https://graph.microsoft.com` and `/v1.0`. Nothing of ours is sent anywhere else."""

    origin: str
    prefix: str

    @classmethod
    def parse(cls, url: str) -> Base:
        """The base in a setting: https, any host and port, any path. Raises `ConfigurationError`."""
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").lower(), parts.port
        except ValueError:
            parts, host, port = urlsplit(""), "", None
        secure = parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)
        plain = _PLAIN_URL.fullmatch(url) and not (parts.query or parts.fragment or parts.username or "\\" in url)
        if not (host and secure and plain) or _climbs(parts.path):
            raise ConfigurationError(
                "LATCHKEY_GRAPH_URL is not an address Graph can have. Give one like https://graph.microsoft.com/v1.0."
            )
        shown = f"[{host}]" if ":" in host else host
        default_port = {"https": 443, "http": 80}[parts.scheme]
        netloc = shown if port in (None, default_port) else f"{shown}:{port}"
        return cls(f"{parts.scheme}://{netloc}", parts.path.rstrip("/"))

    def beta(self) -> Base:
        """The same server's beta."""
        return Base(self.origin, self.prefix.removesuffix("/v1.0") + "/beta")

    def url(self, path: Sequence[str], query: Mapping[str, str] | None = None) -> str:
        """The address of *path*, whose segments are raw text, ready to be sent as it is. Raises `BadInput`."""
        if not path:
            raise BadInput("An address in the tenant needs at least one part.")
        *others, last = path
        segments = [*map(_segment, others), last if _is_reference(path) else _segment(last)]
        address = f"{self.origin}{self.prefix}/{'/'.join(segments)}"
        return f"{address}?{_query(query)}" if query else address

    def holds(self, url: str) -> bool:
        """Whether *url*, found in an answer, leads below this base and may therefore be given our token.

        Compared as text, character by character, so that no two parsers can understand it differently.
        """
        root = f"{self.origin}{self.prefix}/"
        if not url.startswith(root) or not _PLAIN_URL.fullmatch(url) or _SPECIAL_IN_A_PATH.search(url):
            return False
        return not _climbs(url[len(root) :].partition("?")[0])


@lru_cache(maxsize=512)
def _segment(raw: str) -> str:
    """*raw* as one segment of a path, whatever is in it."""
    problem = None
    if not raw:
        problem = "is empty"
    elif len(raw) > LONGEST_SEGMENT:
        problem = f"is longer than {LONGEST_SEGMENT} characters"
    elif not raw.isprintable():
        problem = "holds characters that cannot be seen"
    elif raw.startswith("$") or _climbs(raw):
        # Encoding would be enough for a server that decodes once; nothing in a tenant has such a name.
        problem = "looks like a path"
    if problem:
        raise BadInput(f"That name {problem}, so it cannot be looked up. Give a user name such as adele@contoso.com.")
    return quote(raw, safe="")


def _climbs(path: str) -> bool:
    return any(part in {".", ".."} for part in re.split(r"[/\\]", unquote(path)))


def _is_reference(path: Sequence[str]) -> bool:
    """Whether *path* ends in OData's own `$ref`: `groups/ID/members/$ref`, never `users/$ref`, where it was typed."""
    return path[-1] == REFERENCE and len(path) >= 4


@lru_cache(maxsize=512)
def _value(raw: str) -> str:
    """*raw* as a value in a query; most are the same long lists of attributes again and again."""
    return quote(raw, safe="")


def _query(query: Mapping[str, str]) -> str:
    try:
        return "&".join(f"{quote(name, safe='$')}={_value(value)}" for name, value in query.items())
    except UnicodeEncodeError as error:
        raise BadInput("That text holds broken characters, so it cannot be searched for. Type it again.") from error


# --- Bodies ---------------------------------------------------------------------------------------------------------


Filling = Secret | Mapping[Generated, Secret] | None
"""What is put in place of the markers of a body: the one secret it has a marker for, or each by its marker."""


def fill(body: JSON, base: Base, generated: Filling) -> JSON:
    """*body* with its markers replaced, as it is sent.

    `{"$generated": ...}` becomes the secret of that name, or the only one. `{"$ref_to": ["directoryObjects", ID]}`
    becomes the absolute address of that object: `{"@odata.id": {"$ref_to": ["directoryObjects", ID]}}` is how a plan,
    which knows no addresses, names a group's new member. Raises `ValueError` for a marker without its value.
    """
    match body:
        case {"$generated": kind} if len(body) == 1:
            secret = generated.get(Generated(kind)) if isinstance(generated, Mapping) else generated
            if secret is None:
                raise ValueError(f"the call needs a generated {Generated(kind).value} and was given none")
            return secret.reveal()
        case {"$ref_to": [*path]} if len(body) == 1:
            return base.url([str(part) for part in path])
        case dict():
            return {name: fill(value, base, generated) for name, value in body.items()}
        case list():
            return [fill(value, base, generated) for value in body]
    return body


# --- Trying again ---------------------------------------------------------------------------------------------------

TRIES: Final = 5
READS_REPEATED: Final = frozenset({408, 429, 500, 502, 503, 504})
WRITES_REPEATED: Final = frozenset({429, 503})
"""Statuses after which Graph has done nothing, so that a write may be sent again."""

_LONGEST_WAIT: Final = 24 * 3600.0


def asked_wait(retry_after: str | None, now: datetime) -> float | None:
    """The seconds a `Retry-After` header asks for (a number or an HTTP date), None if it asks for nothing sensible."""
    if not retry_after:
        return None
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", retry_after):
        return min(float(retry_after), _LONGEST_WAIT)
    try:
        when = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    if when.tzinfo is None:  # "-0000", a zone the date does not know
        return None
    return min(max((when - now).total_seconds(), 0.0), _LONGEST_WAIT)


def wait_before(next_try: int, asked: float | None, jitter: float) -> float:
    """Seconds to wait before the second, third, ... try: what was asked for, else 1, 2, 4, 8; and *jitter* more."""
    return (asked if asked is not None else float(2 ** (next_try - 2))) + jitter


# --- Answers --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What came back. `headers` finds names in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)  # a temporary access pass may be in it

    @property
    def succeeded(self) -> bool:
        return 200 <= self.status < 300

    @cached_property
    def object(self) -> dict[str, Any] | None:
        """The body if it is a JSON object, else None (a proxy's page, half an answer)."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    @property
    def request_id(self) -> str | None:
        """Microsoft's own id of the exchange, which finds it in their logs and in the tenant's."""
        inner = _dig(_dig(self.object, "error"), "innerError")
        return _word(self.headers.get("request-id") or inner.get("request-id")) or None

    @property
    def token_refused(self) -> bool:
        """Whether another token may change the answer."""
        return self.status == 401 or self.challenge is not None

    @property
    def facts(self) -> GraphAnswer:
        """What we keep of it (Graph docs: *Microsoft Graph error responses and resource types*)."""
        error = _dig(self.object, "error")
        inner = _dig(error, "innerError")
        details = error.get("details")
        return GraphAnswer(
            status=self.status,
            code=_word(error.get("code")),
            request_id=self.request_id,
            client_request_id=_word(self.headers.get("client-request-id") or inner.get("client-request-id")) or None,
            details=tuple(
                (_word(detail.get("code")), _word(detail.get("target")))
                for detail in (details if isinstance(details, list) else [])
                if isinstance(detail, dict)
            ),
        )

    @property
    def challenge(self) -> str | None:
        """The claims challenge: decoded JSON text, `""` if it cannot be read, None if there is none.

        Entra docs: *Claims challenges, claims requests, and client capabilities*.
        """
        header = self.headers.get("WWW-Authenticate", "")
        if self.status not in {401, 403} or 'error="insufficient_claims"' not in header:
            return None
        found = re.search(r'claims="([A-Za-z0-9+/_=-]+)"', header)
        return _decoded(found.group(1)) if found else ""


def _dig(value: Any, name: str) -> dict[str, Any]:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def _word(value: Any) -> str:
    """An identifier out of an answer, or nothing: such words go into logs and sentences."""
    return value if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_.:/@-]{1,120}", value) else ""


def _decoded(claims: str) -> str:
    try:
        text = base64.urlsafe_b64decode(claims.replace("+", "-").replace("/", "_") + "==").decode()
        json.loads(text)
    except (binascii.Error, ValueError):
        return ""
    return text


# --- Errors in words ------------------------------------------------------------------------------------------------

_NO_SUCH_OBJECT = (
    "Microsoft knows no such object: it may have been deleted or renamed, or be so new that not every server of "
    "Microsoft's knows it. Check the name, and try again in a minute."
)
_NOT_ALLOWED = (
    "Microsoft does not let the management session do this: the account or application behind it lacks the directory "
    "role or the Graph permission for it. A tenant admin can add it. Another administrator's account can only be "
    "changed by a Privileged Authentication Administrator."
)
_NO_MAILBOX = "This account has no mailbox that Microsoft can reach. Assign a licence with Exchange Online first."
_NO_LICENCE = "This tenant has no licence for what was asked (Microsoft Entra ID P1 or P2)."

_SENTENCES: Final[Mapping[str, str]] = {
    "Authorization_RequestDenied": _NOT_ALLOWED,
    "Forbidden": _NOT_ALLOWED,
    "accessDenied": _NOT_ALLOWED,
    "ErrorAccessDenied": _NOT_ALLOWED,
    "Authentication_MSGraphPermissionMissing": _NOT_ALLOWED,
    "Authorization_IdentityNotFound": (
        "The application behind the management session is not known in this tenant. "
        "A tenant admin has to consent to it once, and then try again."
    ),
    "Authentication_RequestFromNonPremiumTenantOrB2CTenant": _NO_LICENCE,
    "AadPremiumLicenseRequired": _NO_LICENCE,
    "MailboxNotEnabledForRESTAPI": _NO_MAILBOX,
    "ErrorNonExistentMailbox": _NO_MAILBOX,
    "Directory_QuotaExceeded": (
        "The directory is full: the tenant has reached its quota of objects. Delete what is no longer needed, "
        "empty the deleted items, and try again."
    ),
    "Request_MultipleObjectsWithSameKeyValue": (
        "Another object in the tenant already has one of these values. Choose another, and try again."
    ),
    "ObjectConflict": "Another object in the tenant already has one of these values. Choose another, and try again.",
}
"""What to say for the codes of Graph's errors that have an answer of their own, whatever their status."""

_BY_STATUS: Final[Mapping[int, str]] = {
    401: "Microsoft does not accept the management session's sign-in any more. End the session, and try again.",
    403: _NOT_ALLOWED,
    404: _NO_SUCH_OBJECT,
    409: "Somebody changed this at the same moment. Look at how it is now, and try again.",
    412: "Somebody changed this at the same moment. Look at how it is now, and try again.",
    423: "Microsoft has locked this object for the moment. Try again in some minutes.",
}
_NOT_ACCEPTED = "Microsoft did not accept the request."
_NOT_CARRIED_OUT = "Microsoft took the request and then could not carry it out. Nothing was changed."
_LOOK_AGAIN = "The tenant may have changed meanwhile: look at it, and try again."
_REFUSED = "Microsoft refused the request. Show the reference to a tenant admin."

_UNKNOWN = (
    "The request was sent, but Microsoft's answer did not arrive or cannot be understood, so it may have been carried "
    "out. Look at the account before you try again."
)
_UNREADABLE = (
    "Microsoft's answer cannot be understood: something between Latchkey and Microsoft may have changed it. "
    "Nothing was changed. Try again, and tell a tenant admin if it stays."
)
_MORE_PROOF = (
    "Microsoft demands a new sign-in with more proof before it goes on. Nothing was changed. Try again; if it stays, "
    "a Conditional Access policy stops the management session."
)
_TOO_WEAK = (
    "Microsoft refused the new password: the tenant's password rules forbid it. Nothing was changed. "
    "Try again with another one."
)
_BUSY = "Microsoft is too busy at the moment. Nothing was changed. Try again in some minutes."
_UNREACHABLE = "Microsoft Graph cannot be reached at the moment. Nothing was changed. Try again in some minutes."


def problem(
    answer: Answer, *, writes: bool, generates: Generated | None = None, advice: str = ""
) -> GraphProblem | None:
    """What is wrong with *answer*, None if nothing is. 401 and repeated statuses mean that our patience has ended.

    Graph says `Request_BadRequest` to almost everything it does not like, so that the call itself has to tell what it
    was about: *generates* is what it had in its body, *advice* what a 400 usually means for it.
    """
    if answer.succeeded and (answer.object is not None or (writes and not answer.body)):
        return None
    facts = answer.facts
    if answer.challenge is not None:
        return ClaimsDemanded(_MORE_PROOF, claims=answer.challenge or None, answer=facts)
    if answer.status in (WRITES_REPEATED if writes else READS_REPEATED):
        return GraphUnavailable(_BUSY if answer.status == 429 else _UNREACHABLE, answer=facts)
    if answer.status == 408 or not 400 <= answer.status < 500:  # a page of some proxy's, with status 200, is here too
        return OutcomeUnknown(_UNKNOWN, answer=facts) if writes else GraphUnavailable(_UNREADABLE, answer=facts)
    if answer.status == 404:
        return GraphNotFound(_SENTENCES.get(facts.code, _NO_SUCH_OBJECT), answer=facts)
    if answer.status == 400 and generates is Generated.PASSWORD:
        return PasswordRefused(f"{_TOO_WEAK} {advice}".rstrip(), answer=facts)
    conflict = any(code == "ObjectConflict" for code, _ in facts.details)
    sentence = _SENTENCES.get("ObjectConflict" if conflict else facts.code)
    if sentence is None and answer.status == 400:
        sentence = f"{_NOT_ACCEPTED} {advice or _LOOK_AGAIN}"
    return GraphRefused(sentence or _BY_STATUS.get(answer.status, _REFUSED), answer=facts)


def carried_out(operation: Mapping[str, Any], accepted: GraphAnswer, advice: str) -> bool:
    """Whether a change that Graph took to do later is done. Raises `GraphRefused` if it failed.

    Graph docs: *longRunningOperation resource type*.
    """
    if operation.get("status") == "failed":
        raise GraphRefused(f"{_NOT_CARRIED_OUT} {advice or _LOOK_AGAIN}", answer=accepted)
    return operation.get("status") == "succeeded"


def too_busy(wait: float, facts: GraphAnswer) -> GraphUnavailable:
    """Graph asks for more patience than a person has."""
    minutes = max(1, round(wait / 60))
    how_long = f"{minutes} minute{'s' if minutes > 1 else ''}" if minutes < 120 else f"{round(minutes / 60)} hours"
    return GraphUnavailable(
        f"Microsoft is busy and asks us to wait about {how_long}. Nothing was changed. Try again then.",
        answer=facts,
    )


def lost(facts: GraphAnswer | None = None) -> OutcomeUnknown:
    """A write left and no answer came, or none that says what became of it."""
    return OutcomeUnknown(_UNKNOWN, answer=facts)


def unreadable() -> GraphUnavailable:
    """An answer to a read that is not of the kind Graph gives."""
    return GraphUnavailable(_UNREADABLE)


def unreachable() -> GraphUnavailable:
    """No connection, or no answer to a read, until our patience ended."""
    return GraphUnavailable(_UNREACHABLE)
