"""Latchkey's own affairs, behind the same doors as the tenant: read at an address, changed by a call.

So a mode switch, a grant or the set-up of the service identity travels the one road there is: planned, previewed,
approved, attempted, read back, audited. What is Latchkey's own has an address that begins with `latchkey`; each matter
has a desk. Other addresses are the tenant's: read by the bot identity, and written to only as the administrator who
signed in for that one request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final, Protocol

from bot.actions._own import BY_NAME, OWN
from bot.directory import quoted
from bot.errors import BadInput, GraphRefused, GraphUnavailable, NotPossible, Retry, SignInFailed, SignInNeeded
from bot.model import JSON, Author, Call, Expect, Generated, Identity, IdentityKind, Request, Secret, Session
from bot.policy_changes import fingerprint
from bot.ports import Clock, Graph, Reader, Sent, Tenant, TokenSource
from bot.session import Acting

SIGNED_IN: Final = (OWN, "signed-in")
"""The address of the administrator who has signed in for the request that reads it."""

NEW_THINGS_SHOW: Final = timedelta(seconds=30)
"""How long a thing that was seen already may be missing again: another replica answers."""

POLICIES: Final = ("identity", "conditionalAccess")
"""What addresses of Conditional Access begin with."""

LATCHKEY: Final = Identity(IdentityKind.LATCHKEY, OWN, "Latchkey")
"""Who changes what is Latchkey's own."""


@dataclass(frozen=True)
class Errand:
    """A call about Latchkey itself, on its way to a desk. `path` is what follows the desk's name.

    `by` is who asked, `reason` why; `attempt_id` names the call in the audit trail.
    """

    method: str
    path: tuple[str, ...]
    body: Mapping[str, Any]
    by: Author
    reason: str
    request_id: str
    attempt_id: str


class Desk(Protocol):
    """Looks after one of Latchkey's own matters.

    What it is told twice (a bot that was killed in between) it does once: a call sets a state, or names what it knows.
    """

    async def read(self, path: tuple[str, ...], query: Mapping[str, str]) -> dict[str, Any]:
        """What is there now; `query["by"]` is the operator for whom it is read, `query["for"]` the request that reads
        it. Raises `BadInput` for an address it does not know."""

    async def carry_out(self, errand: Errand) -> str | None:
        """Change it, audited; what the step says of it, if there is more to say than its title.

        Raises a `LatchkeyError` with a sentence if it could not be done; sending it again is then safe.
        """


class Stored(Protocol):
    """The service account's passwords at rest."""

    async def pending(self, account: str) -> Secret:
        """The password that waits to become the one in force. Raises `VaultProblem` or `NotPossible`."""


class SignedIn(Protocol):
    """An administrator who signed in for one request."""

    @property
    def upn(self) -> str: ...

    @property
    def tokens(self) -> TokenSource: ...


class SignIns(Protocol):
    """The administrators who have signed in."""

    def held_for(self, about: str) -> SignedIn | None:
        """Who signed in for the request with this id; None if nobody did, or a restart forgot it."""

    def drop(self, about: str) -> None:
        """Forget whoever signed in for it."""


class CurrentSession(Protocol):
    @property
    def current(self) -> Session:
        """The tenant's management session as people see it."""


class Policies(Protocol):
    """The tenant's Conditional Access, whose calls take turns."""

    @property
    def reader(self) -> Reader: ...

    async def turn(self) -> None: ...


class Office:
    """Gives requests about Latchkey itself the right to act."""

    def __init__(
        self,
        *,
        clock: Clock,
        session: CurrentSession,
        desks: Mapping[str, Desk],
        directory: Reader,
        tenant: Tenant,
        sign_ins: SignIns,
        policies: Policies | None = None,
        stored: Stored | None = None,
    ) -> None:
        """*directory* reads the tenant as the bot identity, *policies* its Conditional Access; *stored* has what a call
        asks for by `Generated.STORED`."""
        self._clock = clock
        self._session = session
        self._desks = desks
        self._directory = directory
        self._tenant = tenant
        self._sign_ins = sign_ins
        self._policies = policies
        self._stored = stored

    def acting(self, request: Request) -> Acting:
        """The right to act for *request*."""
        return Acting(self._session.current, LATCHKEY, _Counter(self, request))

    def has_signed_in(self, request: Request) -> bool:
        """Whether an administrator has signed in for *request*."""
        return self._sign_ins.held_for(request.id) is not None

    def signed_in(self, request: Request) -> str:
        """The user name of the administrator who has signed in for *request*, empty if nobody has."""
        found = self._sign_ins.held_for(request.id)
        return found.upn if found else ""

    def done_with(self, request: Request) -> None:
        """It is over: nothing of an administrator who signed in for it remains."""
        self._sign_ins.drop(request.id)

    @property
    def directory(self) -> Reader:
        """The tenant, to read."""
        return self._directory

    def desk(self, path: tuple[str, ...]) -> Desk:
        """Who looks after the address `latchkey/*path*`. Raises `BadInput`."""
        desk = self._desks.get(path[0]) if path else None
        if desk is None:
            raise BadInput("Latchkey has no such matter. `/m365 help` lists what there is.")
        return desk

    def signed_in_graph(self, request: Request) -> Graph:
        """The tenant, as the administrator who signed in for *request*. Raises `SignInNeeded`."""
        signed_in = self._sign_ins.held_for(request.id)
        if signed_in is None:
            raise SignInNeeded("An administrator of the tenant has to sign in for this.")
        return self._tenant.graph(signed_in.tokens)

    async def reader_of(self, path: tuple[str, ...]) -> Reader:
        """Whoever reads there, once it is our turn."""
        if path[:2] != POLICIES or self._policies is None:
            return self._directory
        await self._policies.turn()
        return self._policies.reader

    async def is_so_already(self, call: Call) -> bool:
        """Whether what *call* is to change was changed to just that. Raises `NotPossible` if it was changed to
        something else since it was planned, or if a policy or location that it is to make was made meanwhile."""
        if call.was is None:
            await self._make_sure_it_is_not_there(call)
            return False
        now = await (await self.reader_of(call.path)).get(*call.path)
        if fingerprint(now) == fingerprint(call.was):
            return False
        seen = call.seen
        if seen is not None and seen.path == call.path and seen.expect is not Expect.DIFFERS and seen.holds(now):
            return True
        raise NotPossible(
            f"Somebody has changed “{now.get('displayName') or call.was.get('displayName')}” meanwhile, so it was left "
            "as it is now. Undo what was done, look at it, and ask again."
        )

    async def _make_sure_it_is_not_there(self, call: Call) -> None:
        seen = call.seen
        if call.method != "POST" or call.path[:2] != POLICIES or seen is None:
            return
        if seen.holds(await (await self.reader_of(seen.path)).get(*seen.path, query=dict(seen.query))):
            raise NotPossible(
                f"Somebody has made “{call.body['displayName']}” meanwhile, so it was not made once more. Undo what "
                "was done, look at it, and ask again."
            )

    async def to_send(self, call: Call) -> tuple[Call, Secret | None]:
        """*call* with the object ids that were not known when it was planned, and the stored password it needs."""
        secret = None
        if call.generates is Generated.STORED and self._stored is not None:
            secret = await self._stored.pending(call.body.get("userPrincipalName") or call.path[1])
        path: list[str] = []
        for segment in call.path:
            by_name = segment.startswith(BY_NAME)
            path.append(await self._called((*path, segment.removeprefix(BY_NAME))) if by_name else segment)
        if tuple(path[:2]) == POLICIES and self._policies is not None:
            await self._policies.turn()
        return replace(call, path=tuple(path), body=await self._with_ids(call.body)), secret

    async def _with_ids(self, body: JSON) -> JSON:
        match body:
            case {"$id_of": str(upn)} if len(body) == 1:
                return (await self._directory.get("users", upn, query={"$select": "id"}))["id"]
            case {"$id_of": [*path]} if len(body) == 1:
                return await self._called(tuple(path))
            case dict():
                return {name: await self._with_ids(value) for name, value in body.items()}
            case list():
                return [await self._with_ids(value) for value in body]
        return body

    async def _called(self, path: tuple[str, ...]) -> str:
        """The id of the thing in the collection *path[:-1]* whose display name is *path[-1]*. Raises `NotPossible`
        where there are several, and `GraphUnavailable` where none shows."""
        *where, name = path
        until, wait = self._clock.now() + NEW_THINGS_SHOW, timedelta(seconds=1)
        while True:
            reader = await self.reader_of(path)
            query = {"$filter": f"displayName eq {quoted(name)}", "$select": "id,displayName"}
            found = [each["id"] for each in await reader.collect(*where, query=query) if each["displayName"] == name]
            if len(found) > 1:
                raise NotPossible(
                    f"There are {len(found)} things called “{name}” in the tenant, so it is not clear which is meant. "
                    "Give all but one another name, and go on."
                )
            if found:
                return str(found[0])
            if self._clock.now() >= until:
                raise GraphUnavailable(f"Microsoft does not show “{name}”, which was made before, yet. Wait a minute.")
            await self._clock.sleep_until(self._clock.now() + wait)
            wait *= 2


def _who_may(call: Call) -> str:
    """Which administrator may do this (Graph docs: *Update user*, *Who can perform sensitive actions*)."""
    if call.method == "PATCH" and call.path[0] == "users":
        return "Privileged Authentication Administrator or a Global Administrator"
    if call.path[:2] == POLICIES:
        return "Conditional Access Administrator or a Global Administrator"
    if call.path[0] == "groups":
        return "Privileged Role Administrator or a Global Administrator"
    return "Global Administrator"


@dataclass(frozen=True)
class _Counter:
    """The office as one request reaches it: it looks like the tenant."""

    office: Office
    request: Request

    async def get(self, *path: str, query: Mapping[str, str] | None = None, eventual: bool = False) -> dict[str, Any]:
        if path == SIGNED_IN:
            return {"upn": self.office.signed_in(self.request)}
        if path[0] == OWN:
            asked = {**(query or {}), "by": self.request.operator_id or "", "for": self.request.id}
            return await self.office.desk(path[1:]).read(path[2:], asked)
        return await (await self.office.reader_of(path)).get(*path, query=query, eventual=eventual)

    async def collect(
        self, *path: str, query: Mapping[str, str] | None = None, eventual: bool = False, limit: int | None = None
    ) -> list[dict[str, Any]]:
        if path[0] == OWN:
            found = await self.get(*path, query=query)
            return list(found["value"])
        reader = await self.office.reader_of(path)
        return await reader.collect(*path, query=query, eventual=eventual, limit=limit)

    async def ask(self, *path: str, body: JSON) -> dict[str, Any]:
        return await (await self.office.reader_of(path)).ask(*path, body=body)

    async def send(self, call: Call, *, attempt_id: str, generated: Secret | None = None) -> Sent:
        if call.path[0] != OWN:
            graph = self.office.signed_in_graph(self.request)
            if await self.office.is_so_already(call):
                return Sent(204, None, says="It was so already.")
            call, stored = await self.office.to_send(call)
            try:
                return await graph.send(call, attempt_id=attempt_id, generated=generated or stored)
            except SignInFailed as error:
                if error.retry is not Retry.LOGIN:
                    raise
                self.office.done_with(self.request)  # it is over: only another sign-in helps
                raise SignInNeeded(str(error)) from error
            except GraphRefused as error:
                if error.answer is None or error.answer.status != HTTPStatus.FORBIDDEN:
                    raise
                who = self.office.signed_in(self.request)
                self.office.done_with(self.request)  # whoever goes on needs another account
                raise GraphRefused(
                    f"Microsoft does not let {who} do this. Sign in with an account that is a {_who_may(call)}.",
                    answer=error.answer,
                ) from error
        request = self.request
        says = await self.office.desk(call.path[1:]).carry_out(
            Errand(
                method=call.method,
                path=call.path[2:],
                body=call.body or {},
                by=Author(request.operator_id),
                reason=request.reason,
                request_id=request.id,
                attempt_id=attempt_id,
            )
        )
        return Sent(204, None, says=says or "")
