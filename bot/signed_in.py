"""What goes on once somebody has signed in for it: an approval, and the set-up of the identity that acts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from bot import story
from bot.approvals import Approvals
from bot.directory_roles import (
    CONDITIONAL_ACCESS_ADMINISTRATOR,
    GLOBAL_ADMINISTRATOR,
    PRIVILEGED_ROLE_ADMINISTRATOR,
    USER_ADMINISTRATOR,
    name_of,
)
from bot.errors import NotPossible
from bot.model import Request, RequestState, SlackUser
from bot.ports import Clock, DecisionRead, Requests
from bot.signing_in import HELD, SignedIn

_TAKES: Final = {
    "users": USER_ADMINISTRATOR,
    "roleManagement": PRIVILEGED_ROLE_ADMINISTRATOR,
    "identity": CONDITIONAL_ACCESS_ADMINISTRATOR,
    "groups": PRIVILEGED_ROLE_ADMINISTRATOR,
}
"""What it takes, short of a Global Administrator, to change what lies there (Entra docs: *Least privileged roles by
task*)."""


class Waker(Protocol):
    def wake(self, request_id: str) -> None: ...


@dataclass(frozen=True)
class GoingOn:
    """Takes requests up that waited for a sign-in."""

    clock: Clock
    requests: Requests
    operators: DecisionRead
    approvals: Approvals
    worker: Waker

    async def approved(self, slack: SlackUser, about: str, account: SignedIn) -> str:
        """Whoever had to prove who they are before approving did: it is approved. *about* names the request
        and the question that they saw."""
        operator = self.operators.rights(slack, "/m365 help").operator
        if operator is None or operator.account_id != account.account_id:
            linked = f", {operator.upn}" if operator and operator.upn else ""
            raise NotPossible(f"{account.upn} is not the account that is linked to you{linked}. Nothing was approved.")
        request_id, _, seen = about.partition(":")
        request = await self._waiting(request_id)
        if request.operator_id == operator.id:
            return "Thank you, that counts for ten minutes. Now press *Approve it alone …* on your request once more."
        await self.approvals.approve(request, slack, seen=seen)
        self.worker.wake(request_id)
        return "Approved: it runs now."

    async def set_up(self, slack: SlackUser, about: str, account: SignedIn) -> str:
        """An administrator signed in whose account may do what was planned: the request goes on, with their tokens."""
        request = await self._waiting(about)
        if lacks := _lacks(request, account.roles):
            either = f"{name_of(GLOBAL_ADMINISTRATOR)}, or a {' and '.join(lacks)}"
            raise NotPossible(f"{account.upn} cannot do this: it is no {either}. Sign in with an account that is.")
        waits = request.state in {RequestState.AWAITING_CONFIRMATION, RequestState.FAILED}
        if not waits or request.answer.get("sign_in") not in HELD:
            raise NotPossible("This has gone on already, or has ended. Nothing was done.")
        await self.approvals.may_go_on(request, slack)
        state = RequestState.RUNNING if request.state is RequestState.FAILED else RequestState.READY
        again = story.on_its_way_again(request, state)
        await self.requests.save(again, say=story.messages(again, self.clock.now()))
        self.worker.wake(about)
        return "It goes on now."

    async def _waiting(self, request_id: str) -> Request:
        request = await self.requests.find(request_id)
        if request is None:
            raise NotPossible("What this sign-in was for is not there any more. Nothing was done.")
        return request


def _lacks(request: Request, roles: frozenset[str]) -> list[str]:
    """The names of the roles that the plan takes and that are not among *roles*, where those are not enough."""
    if GLOBAL_ADMINISTRATOR in roles:
        return []
    touched = {call.path[0] for call in request.plan.calls} if request.plan else set(_TAKES)
    return [name_of(role) for where, role in _TAKES.items() if where in touched and role not in roles]
