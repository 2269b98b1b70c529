"""Graph tokens of the bot's own identity, which only reads."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bot.errors import Retry, SignInCategory, SignInFailed
from bot.microsoft.aadsts import explain
from bot.microsoft.signin import graph_scope
from bot.model import Secret
from bot.ports import Token

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.core.exceptions import AzureError


class BotTokens:
    """Asks the one Azure credential, which keeps its tokens itself. Raises `SignInFailed`."""

    def __init__(self, credential: AsyncTokenCredential, graph_url: str) -> None:
        self._credential = credential
        self._scope = graph_scope(graph_url)

    async def token(self) -> Token:
        return await self._ask(None)

    async def fresh_token(self, refused: Token, claims: str | None = None) -> Token:
        return await self._ask(claims)

    async def _ask(self, claims: str | None) -> Token:
        from azure.core.exceptions import AzureError

        try:
            given = await self._credential.get_token(self._scope, claims=claims)
        except AzureError as error:
            failure = _refusal(error)
        else:
            return Token(Secret(given.token), datetime.fromtimestamp(given.expires_on, UTC))
        raise failure  # outside of `except`: the library's error holds what was sent, and must not hang on to ours


def _refusal(error: AzureError) -> SignInFailed:
    """What Entra answered, in words; anything else that went wrong is looked at by the doctor."""
    answer = getattr(error, "response", None)
    try:
        reason = answer.json() if answer is not None else None
    except ValueError:
        reason = None
    if not isinstance(reason, dict) or "error_codes" not in reason:
        return SignInFailed(
            "Latchkey's own identity cannot sign in to Microsoft. `latchkey doctor` says what it needs.",
            category=SignInCategory.APP_CONFIG,
            retry=Retry.AFTER_FIX,
        )
    known = explain(reason)
    return SignInFailed(
        f"Latchkey's own identity cannot sign in to Microsoft. {known}",
        category=known.category,
        retry=known.retry,
        code=known.code,
        correlation_id=known.correlation_id,
        timestamp=known.timestamp,
        claims=known.claims,
    )
