"""Microsoft Graph over aiohttp: reads are asked again until they are answered, a write is sent once."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Final

import aiohttp
from yarl import URL

from bot.errors import GraphProblem, GraphRefused, GraphUnavailable, LatchkeyError, OutcomeUnknown
from bot.microsoft import protocol
from bot.microsoft.http import CONNECT_SECONDS
from bot.microsoft.protocol import Answer, Base
from bot.model import JSON, Call, Generated, Secret
from bot.ports import Clock, Sent, TokenSource

log = logging.getLogger(__name__)

PATIENCE_SECONDS: Final = 120.0
"""How long one request may take with all its waits; an operator is watching."""

READ_SECONDS: Final = 20.0
WRITE_SECONDS: Final = 60.0
"""How long one try may take. A write gets longer: giving up on it leaves its outcome unknown."""

FOLLOW_SECONDS: Final = 120.0
"""How long an accepted but unfinished change (202 with a `Location`) is followed."""

LONGEST_STEP_SECONDS: Final = 15.0
MOST_PAGES: Final = 200
LARGEST_ANSWER: Final = 16 * 2**20

Waiting = Callable[[datetime], Awaitable[None]]
"""Told until when Microsoft asks us to wait, before we do."""


class _Lost(Enum):
    """Why a try brought no answer: what matters is whether Graph may have seen the request."""

    NOT_SENT = "not sent"
    MAYBE_SENT = "maybe sent"


@dataclass(frozen=True)
class _Ask:
    """One request, whatever number of tries it takes."""

    method: str
    url: str
    id: str
    writes: bool = False
    body: bytes | None = field(default=None, repr=False)  # a generated password may be in it
    eventual: bool = False
    generates: Generated | None = None
    advice: str = ""

    @property
    def logged(self) -> dict[str, object]:
        """What the log may know of it: no address, for ids and user names are in it."""
        return {"method": self.method, "client_request_id": self.id}


class GraphClient:
    """Reads and changes the tenant with the tokens of one identity, as `bot.ports.Graph` promises.

    Tokens go to the configured address and nowhere else: next pages and operations to follow must lie below it.
    A token that Graph does not accept is renewed once per request (with the claims it demands, if it does so); what
    the renewal raises (`SignInFailed`, `VaultProblem`, `SessionEnded`) is passed on, and nothing was changed then.

    A call's body may hold two markers, see `protocol.fill`: `{"$generated": "password"}`, and
    `{"@odata.id": {"$ref_to": ["directoryObjects", ID]}}` where Graph wants an object's absolute address.
    """

    def __init__(
        self,
        http: aiohttp.ClientSession,
        base: Base,
        tokens: TokenSource,
        clock: Clock,
        *,
        waiting: Waiting | None = None,
        jitter: Callable[[], float] = random.random,
        all_values: bool = False,
    ) -> None:
        """With *all_values* Graph names members of enumerations that are newer than its version, too (Graph docs:
        *Best practices*, handling future members in evolvable enumerations)."""
        self._http = http
        self._base = base
        self._tokens = tokens
        self._clock = clock
        self._waiting = waiting
        self._jitter = jitter
        self._all_values = all_values

    def telling(self, waiting: Waiting) -> GraphClient:
        """The same client, for work whose audience hears of long waits: *Microsoft asks us to wait until 14:05*."""
        return GraphClient(
            self._http,
            self._base,
            self._tokens,
            self._clock,
            waiting=waiting,
            jitter=self._jitter,
            all_values=self._all_values,
        )

    async def get(self, *path: str, query: Mapping[str, str] | None = None, eventual: bool = False) -> dict[str, Any]:
        return await self._read(_Ask("GET", self._base.url(path, query), _new_id(), eventual=eventual))

    async def collect(
        self, *path: str, query: Mapping[str, str] | None = None, eventual: bool = False, limit: int | None = None
    ) -> list[dict[str, Any]]:
        url = self._base.url(path, query)
        items: list[dict[str, Any]] = []
        for _ in range(MOST_PAGES):
            page = await self._read(_Ask("GET", url, _new_id(), eventual=eventual))
            found = page.get("value")
            if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
                raise protocol.unreadable()
            items.extend(found)
            if limit is not None and len(items) >= limit:
                return items[:limit]
            url = page.get("@odata.nextLink", "")
            if not url:
                return items
            if not isinstance(url, str) or not self._base.holds(url):
                log.warning("graph pointed elsewhere", extra={"where": "@odata.nextLink"})
                raise GraphRefused(
                    "Microsoft's answer pointed to another server for its next page, where our sign-in must not go. "
                    "Nothing was changed. Tell a tenant admin."
                )
        raise GraphUnavailable(
            f"Microsoft's answer had no end: stopped after {MOST_PAGES} pages. Nothing was changed. "
            "Ask for something narrower."
        )

    async def ask(self, *path: str, body: JSON) -> dict[str, Any]:
        return await self._read(_Ask("POST", self._base.url(path), _new_id(), body=_encoded(body)))

    async def send(self, call: Call, *, attempt_id: str, generated: protocol.Filling = None) -> Sent:
        ask = _Ask(
            call.method,
            self._base.url(call.path),
            attempt_id,
            writes=True,
            body=None if call.body is None else _encoded(protocol.fill(call.body, self._base, generated)),
            generates=call.generates,
            advice=call.advice,
        )
        answer = await self._answer(ask)
        if call.poll and answer.status == 202:
            await self._follow(answer, call.advice)
        revealed = _taken_out(answer, call.reveals) if call.reveals else None
        return Sent(answer.status, answer.request_id, revealed)

    async def _read(self, ask: _Ask) -> dict[str, Any]:
        found = (await self._answer(ask)).object
        if found is None:
            raise protocol.unreadable()
        return found

    async def _answer(self, ask: _Ask) -> Answer:
        """Graph's yes to *ask*; its no, or silence, is raised."""
        try:
            answer = await self._exchange(ask)
            problem = protocol.problem(answer, writes=ask.writes, generates=ask.generates, advice=ask.advice)
            if problem is not None:
                raise problem
        except GraphProblem as problem:
            facts = problem.answer
            about = {"status": facts.status, "code": facts.code, "request_id": facts.request_id} if facts else {}
            log.info("graph problem", extra={**ask.logged, **about, "problem": type(problem).__name__})
            raise
        return answer

    async def _exchange(self, ask: _Ask) -> Answer:
        """Send *ask* until there is an answer that waiting would not better, or our patience ends."""
        deadline = self._clock.monotonic() + PATIENCE_SECONDS
        repeated = protocol.WRITES_REPEATED if ask.writes else protocol.READS_REPEATED
        renewed = False
        tries = 0
        while True:
            token = await self._tokens.token()
            got = await self._try(ask, token.value, deadline - self._clock.monotonic())
            if isinstance(got, _Lost):
                if ask.writes:
                    raise protocol.lost() if got is _Lost.MAYBE_SENT else protocol.unreachable()
                asked = None
            elif got.token_refused and not renewed:
                renewed = True
                await self._tokens.fresh_token(token, got.challenge or None)
                continue
            elif got.status in repeated:
                asked = protocol.asked_wait(got.headers.get("Retry-After"), self._clock.now())
            else:
                return got

            tries += 1
            wait = protocol.wait_before(tries + 1, asked, self._jitter())
            too_long = self._clock.monotonic() + wait > deadline
            if tries == protocol.TRIES or too_long:
                if isinstance(got, _Lost):
                    raise protocol.unreachable()
                if asked is not None and too_long:
                    raise protocol.too_busy(asked, got.facts)
                return got
            await self._wait(wait, tell=asked is not None)

    async def _wait(self, seconds: float, *, tell: bool) -> None:
        until = self._clock.now() + timedelta(seconds=seconds)
        log.info("graph asked again later", extra={"wait": round(seconds, 1)})
        if tell and self._waiting:
            await self._waiting(until)
        await self._clock.sleep_until(until)

    async def _try(self, ask: _Ask, token: Secret, left: float) -> Answer | _Lost:
        """One sending of *ask*. aiohttp's errors end here: some carry the request with its token in it."""
        limit = WRITE_SECONDS if ask.writes else READ_SECONDS
        headers = {
            "Authorization": f"Bearer {token.reveal()}",
            "Accept": "application/json",
            "client-request-id": ask.id,
            "return-client-request-id": "true",
            "x-ms-throttle-priority": "high",  # Graph docs: *Microsoft Graph throttling guidance*; people are waiting
        }
        if ask.body is not None:
            headers["Content-Type"] = "application/json"
        if ask.eventual:
            headers["ConsistencyLevel"] = "eventual"
        if self._all_values:
            headers["Prefer"] = "include-unknown-enum-members"
        try:
            async with self._http.request(
                ask.method,
                URL(ask.url, encoded=True),  # as it is: by itself yarl decodes %2F and walks up "..".
                data=ask.body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=max(0.1, min(limit, left)), connect=CONNECT_SECONDS),
            ) as response:
                return Answer(response.status, response.headers, await _whole_body(response))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            log.info("graph not reached", extra={**ask.logged, "error": type(error).__name__})
            return _Lost.NOT_SENT
        except (aiohttp.ClientError, TimeoutError) as error:
            log.info("graph did not answer", extra={**ask.logged, "error": type(error).__name__})
            return _Lost.MAYBE_SENT

    async def _follow(self, accepted: Answer, advice: str) -> None:
        """Wait until the operation that Graph has accepted succeeded.

        From here on only Graph's own *failed* means that nothing was changed.
        """
        url = accepted.headers.get("Location", "")
        if not self._base.holds(url):
            log.warning("graph pointed elsewhere", extra={"where": "Location"})
            raise protocol.lost(accepted.facts)
        deadline = self._clock.monotonic() + FOLLOW_SECONDS
        wait = 1.0
        while self._clock.monotonic() + wait <= deadline:
            await self._wait(wait, tell=False)
            wait = min(wait * 2, LONGEST_STEP_SECONDS)
            try:
                operation = await self._read(_Ask("GET", url, _new_id()))
            except LatchkeyError as error:
                raise protocol.lost(accepted.facts) from error
            if protocol.carried_out(operation, accepted.facts, advice):
                return
        raise OutcomeUnknown(
            "Microsoft took the request and has not finished it yet. Look at the account in some minutes before you "
            "try again.",
            answer=accepted.facts,
        )


@dataclass(frozen=True)
class MicrosoftTenant:
    """Makes Graph clients for one tenant, as `bot.ports.Tenant` promises.

    *http* comes from `bot.microsoft.http.open_http`. Raises `ConfigurationError` from `at` for a wrong address.
    """

    http: aiohttp.ClientSession
    base: Base
    clock: Clock

    @classmethod
    def at(cls, graph_url: str, http: aiohttp.ClientSession, clock: Clock) -> MicrosoftTenant:
        """The tenant behind the address in `LATCHKEY_GRAPH_URL`."""
        return cls(http, Base.parse(graph_url), clock)

    def graph(self, tokens: TokenSource) -> GraphClient:
        return GraphClient(self.http, self.base, tokens, self.clock)

    def with_all_values(self, tokens: TokenSource, *, beta: bool = False) -> GraphClient:
        """A client that sees every value of every enumeration; of Graph's beta, if that is wanted."""
        return GraphClient(self.http, self.base.beta() if beta else self.base, tokens, self.clock, all_values=True)


def _new_id() -> str:
    return str(uuid.uuid4())


def _encoded(body: JSON) -> bytes:
    return json.dumps(body).encode()


async def _whole_body(response: aiohttp.ClientResponse) -> bytes:
    """The body, if it is of a sensible size; a larger one is cut, and then is no JSON any more."""
    try:
        return await response.content.readexactly(LARGEST_ANSWER)
    except asyncio.IncompleteReadError as error:
        return error.partial


def _taken_out(answer: Answer, field: str) -> Secret:
    """The secret that only this answer holds."""
    value = (answer.object or {}).get(field)
    if not isinstance(value, str) or not value:
        raise protocol.lost(answer.facts)
    return Secret(value)
