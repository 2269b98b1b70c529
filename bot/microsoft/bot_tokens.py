"""Graph tokens of the bot's own identity, which only reads."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bot.errors import Retry, SignInCategory, SignInFailed
from bot.microsoft.signin import graph_scope
from bot.model import Secret
from bot.ports import Token

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential


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
            failure = SignInFailed(
                "The bot's own identity could not sign in to Microsoft. `latchkey doctor` says what it needs.",
                category=SignInCategory.APP_CONFIG,
                retry=Retry.AFTER_FIX,
            )
            # The library's error quotes what was sent; only its kind is kept.
            raise failure from RuntimeError(type(error).__name__)
        return Token(Secret(given.token), datetime.fromtimestamp(given.expires_on, UTC))
