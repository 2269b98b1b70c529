"""Is this operator still one of us? Their account in Microsoft Entra and their Slack user, as both are now."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Protocol

from bot.errors import CannotTell, GraphNotFound, LatchkeyError, NoLonger
from bot.model import Operator, SlackUser
from bot.ports import Clock, Reader
from bot.remembering import Remembering

log = logging.getLogger(__name__)

WRITES: Final = timedelta(minutes=5)
"""How old what is known of somebody may be when they change something."""

AT_ONCE: Final = timedelta(0)
"""The same for approvals and for showing a secret."""

NO_SUCH_OBJECT: Final = "Request_ResourceNotFound"
"""Graph's code for an object that the directory does not hold. Other 404s are about the address, not about a person."""


@dataclass(frozen=True)
class Finding:
    """What stands against somebody. `words` follow their name in a sentence; `why` is a code for the audit trail.

    `left` says that they are gone (disabled or deleted, in Slack or in Entra); otherwise they are only not let in.
    """

    words: str
    why: str
    left: bool = True


DISABLED: Final = Finding("cannot sign in: the account in Microsoft Entra is disabled", "entra_disabled")
DELETED: Final = Finding("has no account in Microsoft Entra any more: it was deleted", "entra_deleted")


class SlackPeople(Protocol):
    """Whether Slack still has somebody as a member of this workspace."""

    async def active(self, slack: SlackUser, fresh: timedelta) -> Finding | None:
        """What stands against them as Slack said at most *fresh* ago, None if nothing. Raises `CannotTell`."""


class Standing:
    """Answers whether an operator may still change anything. Many decisions at once share one read.

    `on_left` hears of everybody who is found to be gone, each time; it must return at once.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        directory: Reader,
        slack: SlackPeople | None,
        on_left: Callable[[Operator, Finding], None] = lambda operator, finding: None,
    ) -> None:
        self._directory = directory
        self._slack = slack
        self._accounts: Remembering[Finding | None] = Remembering(self._read_account, clock)
        self.on_left = on_left

    async def check(self, operator: Operator, *, fresh: timedelta) -> None:
        """Raise `NoLonger` if they are disabled or deleted, `CannotTell` if that cannot be read just now.

        An operator without an account is only looked up in Slack: they may not change anything anyway.
        """
        finding = await self.look_at(operator, fresh=fresh)
        if finding is None:
            return
        if finding.left:
            self.on_left(operator, finding)
        who = operator.name or "This person"
        raise NoLonger(
            f"{who} {finding.words}. So this was not done. Ask a tenant admin if that is wrong.", why=finding.why
        )

    async def look_at(self, operator: Operator, *, fresh: timedelta) -> Finding | None:
        """What stands against them; None if nothing does. Raises `CannotTell`."""
        asked: list[Any] = []
        if operator.account_id:
            asked.append(self._accounts.look_up(operator.account_id.lower(), fresh))
        if self._slack is not None:
            asked.append(self._slack.active(operator.slack, fresh))
        answers = await asyncio.gather(*asked, return_exceptions=True)
        # A clear no from one side counts, whatever the other cannot tell.
        finding = next((answer for answer in answers if isinstance(answer, Finding)), None)
        if finding and operator.account_id:
            self._accounts.forget(operator.account_id.lower())  # a no is not used again: it may have been put right
        for answer in answers:
            if finding is None and isinstance(answer, BaseException):
                raise answer
        return finding

    def learn(self, account_id: str) -> None:
        """A sweep has just read that this account is enabled."""
        self._accounts.put(account_id.lower(), None)

    async def _read_account(self, account_id: str) -> Finding | None:
        try:
            user = await self._directory.get("users", account_id, query={"$select": ACCOUNT})
        except GraphNotFound as error:
            if error.answer is not None and error.answer.code == NO_SUCH_OBJECT:
                return DELETED
            raise self._unreadable(error) from error
        except LatchkeyError as error:
            raise self._unreadable(error) from error
        return judged(user)

    def _unreadable(self, error: LatchkeyError) -> CannotTell:
        log.warning("cannot look up an account", extra={"why": type(error).__name__})
        return CannotTell(
            "Microsoft does not say right now whether accounts are still enabled, so nothing was done. "
            "Try again in a minute; if it stays so, ask a tenant admin to run `latchkey doctor`."
        )


ACCOUNT: Final = "id,accountEnabled,displayName"


def judged(user: dict[str, Any]) -> Finding | None:
    """What an account, read with the properties `ACCOUNT`, says. Raises `CannotTell` where it does not say."""
    match user.get("accountEnabled"):
        case True:
            return None
        case False:
            return DISABLED
    # Graph leaves out what its caller may not read.
    raise CannotTell(
        "Latchkey is not allowed to see whether accounts are enabled, so nothing was done. Ask a tenant admin to run "
        "`latchkey doctor`: the permission User.Read.All is missing."
    )
