"""A person's Slack account and their Microsoft account become one operator, by one sign-in."""

from __future__ import annotations

from typing import Protocol

from bot.errors import NotPossible
from bot.model import Author, Operator, SlackUser
from bot.ports import DecisionRead, Settings
from bot.signing_in import SignedIn


class Operators(DecisionRead, Protocol):
    async def bind(
        self, slack: SlackUser, *, account_id: str | None, upn: str | None, name: str | None, by: Author
    ) -> Operator:
        """Bind a Slack user to an Entra account, audited. Raises `BadInput` if it belongs to somebody else."""


class Linking:
    """Binds people to the accounts they sign in with."""

    def __init__(self, operators: Operators, settings: Settings) -> None:
        self._operators = operators
        self._settings = settings

    async def linked(self, slack: SlackUser, about: str, account: SignedIn) -> str:
        """Bind, and say so. Whoever a tenant admin entered with an account must sign in with that very one; whoever is
        no operator yet becomes one without rights."""
        rights = self._operators.rights(slack, "/m365 help")
        operator = rights.operator
        if operator is not None and operator.suspended:
            raise NotPossible("Your Latchkey access is suspended, so nothing was linked. Ask a tenant admin why.")
        if operator is not None and not _is_expected(account, operator):
            raise NotPossible(
                f"{account.upn} is not the account a tenant admin entered for you, which is {operator.upn}. "
                "Sign in with that one, or ask a tenant admin to change it."
            )
        if account.account_id == (await self._settings.current()).identity_id:
            raise NotPossible(f"{account.upn} is the account Latchkey works with. Sign in with one of your own.")
        if operator is None or operator.account_id is None:
            by = Author(operator.id if operator else None)
            await self._operators.bind(slack, account_id=account.account_id, upn=account.upn, name=account.name, by=by)
        linked = f"Your Slack account is linked to {account.upn}."
        if not rights.grants and not rights.other_roles:
            return f"{linked} You hold no role in Latchkey yet: ask a tenant admin for one."
        return linked


def _is_expected(account: SignedIn, operator: Operator) -> bool:
    """Whether it is the account that was entered for them: bound at the shell, or named when a role was granted."""
    if operator.account_id is not None:
        return operator.account_id == account.account_id
    return operator.upn is None or operator.upn.casefold() == account.upn.casefold()
