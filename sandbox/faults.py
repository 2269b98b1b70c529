"""What can go wrong in the pretend world, by name for people and by rule for tests."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Literal, Protocol

from aiohttp import web

Service = Literal["entra", "graph", "vault", "slack", "pager"]

SIGN_IN = "SIGN-IN"
"""The method under which Entra asks about a user's sign-in, by password, on its pages and by refresh token; the path is
the lower-case user name. On the pages a code that asks for a second factor (`MFA_CODES`) is met by giving one."""

MFA_CODES = frozenset({50072, 50074, 50076, 50079})

DEVICE_CODE = "DEVICE-CODE"
"""The method under which Entra asks about a user's sign-in by device code; the path is the lower-case user name."""

SERVICE_ACCOUNTS = "*latchkey@*"
"""The user names of the accounts that Latchkey may work with, as a glob."""

SOCKET = "SOCKET"
"""The method under which Slack asks about a Socket Mode connection; the path is `/`."""


@dataclass(frozen=True)
class Answer:
    """Answer with this instead of doing anything. A mapping becomes JSON, a string is sent as it is."""

    status: int
    body: Mapping[str, Any] | str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Delay:
    """Do it, this many seconds (of the machine) later."""

    seconds: float


@dataclass(frozen=True)
class Drop:
    """Close the connection without an answer, before or after the request was applied."""

    when: Literal["before", "after"]


@dataclass(frozen=True)
class Hang:
    """Neither do anything nor answer, for as long as the client waits."""


@dataclass(frozen=True)
class Refuse:
    """Entra only: refuse a sign-in with this AADSTS code, as Entra words it."""

    code: int


@dataclass(frozen=True)
class Lag:
    """Graph only: reads show the directory as it was this many seconds ago."""

    seconds: float


@dataclass(frozen=True)
class Challenge:
    """Graph only: refuse the token with a claims challenge, as continuous access evaluation does."""


Effect = Answer | Delay | Drop | Hang | Refuse | Lag | Challenge


@dataclass(eq=False)
class Rule:
    """When a request of `service` matches, `effect` happens to it.

    `method` is one method, several joined by `|`, or `*`. `path` is a glob (`*` also crosses slashes) over
    the path relative to the service: `/users/*`, `/secrets/*`, `/oauth2/v2.0/token`, `/chat.postMessage`.
    """

    service: Service
    method: str
    path: str
    effect: Effect
    times: int | None = None  # None: until it is taken away
    after: int = 0  # let this many matching requests through first
    except_paths: tuple[str, ...] = ()

    def matches(self, service: str, method: str, path: str) -> bool:
        """Whether this rule speaks of such a request; says nothing about `times` and `after`."""
        return (
            self.service == service
            and (self.method == "*" or method in self.method.split("|"))
            and fnmatchcase(path, self.path)
            and not any(fnmatchcase(path, spared) for spared in self.except_paths)
        )


class Mishap(Protocol):
    """What somebody does to the world, and can take back. It may end by itself, when somebody else puts it right."""

    def happen(self) -> None: ...

    def undo(self) -> None: ...

    @property
    def lasts(self) -> bool:
        """Whether it happened and the world is still so."""


@dataclass(frozen=True)
class FaultKind:
    """A fault with a name: a switch on the panel, a word in a dialogue. One without rules is a `Mishap`."""

    name: str
    title: str
    description: str
    service: Service
    rules: tuple[Rule, ...] = ()


# Real methods only: servers also ask under invented ones (a sign-in, a socket, a vault's challenge).
_REQUESTS = "GET|POST|PUT|PATCH|DELETE"


def _kinds() -> tuple[FaultKind, ...]:
    def refused(code: int) -> tuple[Rule, ...]:
        return (Rule("entra", SIGN_IN, SERVICE_ACCOUNTS, Refuse(code)),)

    def changes(effect: Effect, *, times: int | None = None) -> tuple[Rule, ...]:
        return (Rule("graph", "POST", "/me/changePassword", effect, times),)

    def answers(
        service: Service, status: int, error: Mapping[str, Any], *, times: int | None = None
    ) -> tuple[Rule, ...]:
        headers = {"Retry-After": "2"} if status == 429 else {}
        return (Rule(service, _REQUESTS, "/*", Answer(status, error, headers), times),)

    throttled = {"error": {"code": "Throttled", "message": "Too many requests were received."}}
    denied = {
        "error": {
            "code": "Authorization_RequestDenied",
            "message": "Insufficient privileges to complete the operation.",
        }
    }
    weak = {
        "error": {
            "code": "Request_BadRequest",
            "message": "The specified password does not comply with password complexity requirements. Please provide "
            "a different password.",
        }
    }
    unavailable = {"error": {"code": "ServiceUnavailable", "message": "The service is unavailable."}}
    return (
        FaultKind(
            "policy-blocks-service-account",
            "Policy blocks the service account",
            "A Conditional Access policy refuses every sign-in of the service account (AADSTS53003).",
            "entra",
            refused(53003),
        ),
        FaultKind(
            "mfa-required",
            "MFA required",
            "A policy asks the service account for a second factor it cannot give (AADSTS50076).",
            "entra",
            refused(50076),
        ),
        FaultKind(
            "wrong-password",
            "Wrong password",
            "Every sign-in of the service account is refused as one with a wrong password (AADSTS50126).",
            "entra",
            refused(50126),
        ),
        FaultKind(
            "password-changed",
            "Password changed by somebody",
            "Somebody gave the service account a password that is stored nowhere.",
            "entra",
        ),
        FaultKind(
            "account-locked",
            "Account locked",
            "Somebody guessed wrong passwords for the service account until Entra locked it (AADSTS50053).",
            "entra",
            refused(50053),
        ),
        FaultKind(
            "account-disabled",
            "Account disabled",
            "Somebody blocked the service account's sign-in (AADSTS50057).",
            "entra",
        ),
        FaultKind(
            "account-deleted",
            "Account deleted",
            "Somebody deleted the service account (AADSTS50034).",
            "entra",
        ),
        FaultKind(
            "roles-taken-away",
            "Roles taken away",
            "Somebody took all directory roles away from the service account.",
            "entra",
        ),
        FaultKind(
            "slow-replication",
            "Slow replication",
            "A change of a password reaches Entra's sign-in servers after 10 minutes.",
            "entra",
        ),
        FaultKind(
            "mfa-for-people",
            "MFA for people",
            "A policy asks everybody but the service account for a second factor at the sign-in page (AADSTS50076).",
            "entra",
            (Rule("entra", SIGN_IN, "*", Refuse(50076), except_paths=(SERVICE_ACCOUNTS,)),),
        ),
        FaultKind(
            "device-codes-forbidden",
            "Device codes forbidden",
            "A Conditional Access policy refuses every sign-in by device code (AADSTS53003).",
            "entra",
            (Rule("entra", DEVICE_CODE, "*", Refuse(53003)),),
        ),
        FaultKind(
            "mfa-for-admins",
            "MFA for all admins",
            "Somebody adds a Conditional Access policy that asks every holder of a directory role for a second factor.",
            "entra",
        ),
        FaultKind(
            "country-block",
            "Country block",
            "Somebody adds a policy that blocks sign-ins from outside Great Britain; the bot's machine is in Ireland.",
            "entra",
        ),
        FaultKind(
            "security-defaults-on",
            "Security defaults on",
            "Somebody switches security defaults on, which ask every administrator for a second factor (AADSTS530035).",
            "entra",
        ),
        FaultKind(
            "entra-down",
            "Entra down",
            "Every request to Entra is answered with 503 Service Unavailable.",
            "entra",
            answers("entra", 503, {"error": "temporarily_unavailable", "error_codes": [90033]}),
        ),
        FaultKind(
            "vault-down",
            "Key Vault down",
            "Every request to Key Vault is answered with 503 Service Unavailable.",
            "vault",
            (Rule("vault", "*", "/*", Answer(503, unavailable)),),
        ),
        FaultKind(
            "vault-forbidden",
            "Key Vault forbids",
            "The bot identity lost its Key Vault role: 403 Forbidden, ForbiddenByRbac.",
            "vault",
            answers(
                "vault",
                403,
                {
                    "error": {
                        "code": "Forbidden",
                        "message": "Caller is not authorized to perform action on resource.",
                        "innererror": {"code": "ForbiddenByRbac"},
                    }
                },
            ),
        ),
        FaultKind(
            "vault-throttled",
            "Key Vault throttles",
            "The next 3 requests to Key Vault are answered with 429 and Retry-After: 2.",
            "vault",
            answers(
                "vault",
                429,
                throttled,
                times=3,
            ),
        ),
        FaultKind(
            "vault-throttles-storing",
            "Key Vault throttles storing",
            "Whatever is to be stored in Key Vault is answered with 429 and Retry-After: 2.",
            "vault",
            (Rule("vault", "PUT", "/secrets/*", Answer(429, throttled, {"Retry-After": "2"})),),
        ),
        FaultKind(
            "vault-emptied",
            "Key Vault emptied",
            "Somebody deleted the secret with the service account's passwords, to where it can be recovered from.",
            "vault",
        ),
        FaultKind(
            "version-disabled",
            "Stored password disabled",
            "Somebody disabled the version in Key Vault that holds the service account's password.",
            "vault",
        ),
        FaultKind(
            "password-change-forbidden",
            "Password change forbidden",
            "The service account may not change its own password: 403 Authorization_RequestDenied.",
            "graph",
            changes(Answer(403, denied)),
        ),
        FaultKind(
            "new-passwords-refused",
            "New passwords refused",
            "Microsoft takes no new password of the service account: 400, too simple or banned.",
            "graph",
            changes(Answer(400, weak)),
        ),
        FaultKind(
            "change-answer-lost",
            "Answer to a change lost",
            "The next change of the service account's password is applied, and its answer gets lost.",
            "graph",
            changes(Drop("after"), times=1),
        ),
        FaultKind(
            "graph-throttled",
            "Graph throttles",
            "The next 3 requests to Graph are answered with 429 and Retry-After: 2.",
            "graph",
            answers("graph", 429, {"error": {"code": "TooManyRequests", "message": "Too many requests."}}, times=3),
        ),
        FaultKind(
            "graph-down",
            "Graph down",
            "Every request to Graph is answered with 503 Service Unavailable.",
            "graph",
            answers("graph", 503, unavailable),
        ),
        FaultKind(
            "graph-forbidden",
            "Graph forbids",
            "Every request to Graph is refused with 403 Authorization_RequestDenied, as after a lost role.",
            "graph",
            answers(
                "graph",
                403,
                denied,
            ),
        ),
        FaultKind(
            "graph-lag",
            "Graph lags",
            "Reads show the directory as it was 20 seconds ago, as from a slow replica.",
            "graph",
            (Rule("graph", "GET", "/*", Lag(20.0)),),
        ),
        FaultKind(
            "graph-drops-after-write",
            "Graph drops after a write",
            "The next write is applied, and then the connection is closed without an answer.",
            "graph",
            (
                Rule(
                    "graph",
                    "POST|PUT|PATCH|DELETE",
                    "/*",
                    Drop("after"),
                    times=1,
                    except_paths=("*/checkMemberGroups", "*/getByIds", "*/evaluate"),  # these only read
                ),
            ),
        ),
        FaultKind(
            "slack-down",
            "Slack down",
            "Every Web API call is answered with 503 Service Unavailable.",
            "slack",
            answers("slack", 503, {"ok": False, "error": "service_unavailable"}),
        ),
        FaultKind(
            "slack-throttled",
            "Slack throttles",
            "The next 3 Web API calls are answered with 429 and Retry-After: 2.",
            "slack",
            answers("slack", 429, {"ok": False, "error": "ratelimited"}, times=3),
        ),
        FaultKind(
            "slack-drops-socket",
            "Slack drops the socket",
            "Socket Mode connections are cut without a goodbye, and new ones too until this is stopped.",
            "slack",
            (Rule("slack", SOCKET, "/", Drop("before")),),
        ),
    )


class Faults:
    """The faults in force. Servers ask `match` for each request; people start kinds, tests add rules."""

    def __init__(self) -> None:
        self._kinds = {kind.name: kind for kind in _kinds()}
        self._started: dict[str, list[Rule]] = {}
        self._added: list[Rule] = []
        self._mishaps: dict[str, Mishap] = {}
        self._listeners: list[Callable[[], object]] = []

    def bind(self, mishaps: Mapping[str, Mishap]) -> None:
        """What the kinds without rules do to this world, by their names."""
        self._mishaps.update(mishaps)

    def catalogue(self) -> tuple[FaultKind, ...]:
        """Every fault with a name, in the order of a panel."""
        return tuple(self._kinds.values())

    def start(self, name: str) -> None:
        """Let a named fault happen from now on, its count begun anew. KeyError if there is no such fault."""
        if rules := self._kinds[name].rules:
            self._started[name] = [replace(rule) for rule in rules]
        elif not self._mishaps[name].lasts:
            self._mishaps[name].happen()
        self._tell()

    def stop(self, name: str) -> None:
        """End a named fault, whether it happens or not. KeyError if there is no such fault."""
        self._kinds[name]
        if self._started.pop(name, None) is not None:
            self._tell()
        elif name in self._mishaps and self._mishaps[name].lasts:
            self._mishaps[name].undo()
            self._tell()

    def stop_all(self) -> None:
        """End every fault, rules added by tests included."""
        for mishap in self._mishaps.values():
            if mishap.lasts:
                mishap.undo()
        self._started.clear()
        self._added.clear()
        self._tell()

    def active(self) -> list[str]:
        """The names of the faults that still happen; one that has used up its `times` is gone."""
        return [*self._started, *(name for name, mishap in self._mishaps.items() if mishap.lasts)]

    def add(self, rule: Rule) -> Rule:
        """Put a rule in force, ahead of the named faults and behind rules added earlier."""
        self._added.append(rule)
        self._tell()
        return rule

    def remove(self, rule: Rule) -> None:
        """Take an added rule away; one that has used up its `times` is already gone, which is no error."""
        if rule in self._added:
            self._added.remove(rule)
            self._tell()

    def subscribe(self, listener: Callable[[], object]) -> Callable[[], None]:
        """Call `listener()` whenever the set of faults changes; the returned function ends that."""
        self._listeners.append(listener)

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unsubscribe

    def match(self, service: Service, method: str, path: str) -> Effect | None:
        """What happens to this request, counted against the rule that says so; None: nothing, serve it."""
        if not self._added and not self._started:
            return None
        for rule in tuple(self._added):
            if rule.matches(service, method, path):
                if rule.after > 0:
                    rule.after -= 1
                    continue
                if self._use_up(rule):
                    self._added.remove(rule)
                    self._tell()
                return rule.effect
        for name, rules in tuple(self._started.items()):
            for rule in rules:
                if rule.matches(service, method, path):
                    if self._use_up(rule):
                        rules.remove(rule)
                        if not rules:
                            del self._started[name]
                        self._tell()
                    return rule.effect
        return None

    @staticmethod
    def _use_up(rule: Rule) -> bool:
        if rule.times is None:
            return False
        rule.times -= 1
        return rule.times <= 0

    def _tell(self) -> None:
        for listener in tuple(self._listeners):
            listener()


async def disturb(
    effect: Effect | None, request: web.Request, serve: Callable[[], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer an aiohttp request as `effect` wants it; `serve` does what the request asks for.

    `Refuse`, `Lag` and `Challenge` mean something to one service only; here they are served as they are.
    """
    match effect:
        case Answer(status, body, headers):
            if isinstance(body, Mapping):
                return web.json_response(dict(body), status=status, headers=headers)
            return web.Response(status=status, text=body, headers=headers)
        case Delay(seconds):
            await asyncio.sleep(seconds)
            return await serve()
        case Drop(when):
            answer = await serve() if when == "after" else web.Response()
            hang_up(request)
            return answer
        case Hang():
            while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110 - aiohttp offers nothing to wait on for a client that leaves
                await asyncio.sleep(0.05)
            return web.Response()
        case _:
            return await serve()


def hang_up(request: web.Request) -> None:
    """Close a request's connection now, so that the client sees neither a status nor a body."""
    if request.transport is not None:
        request.transport.abort()
