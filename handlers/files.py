"""Brings files to people, in their direct messages."""

from __future__ import annotations

import logging
from typing import IO

from bot.errors import NotPossible
from bot.model import SlackUser
from handlers.slack import Slack, SlackProblem, SlackRefused

log = logging.getLogger(__name__)


class Files:
    """Sends files through Slack."""

    def __init__(self, slack: Slack) -> None:
        self._slack = slack

    async def send(self, to: SlackUser, name: str, title: str, content: IO[bytes], size: int) -> None:
        """Put a file into somebody's direct messages. Raises `NotPossible` if Slack does not take it."""
        try:
            await self._slack.share_file(await self._slack.direct(to.user), name, title, content, size)
        except SlackProblem as problem:
            log.warning("a file was not taken", extra={"user": to.user, "problem": str(problem)})
            if isinstance(problem, SlackRefused) and problem.code == "missing_scope":
                raise NotPossible(
                    "Latchkey may not send files in this workspace yet. Install the app again with the scope "
                    "`files:write`, which its manifest lists; then ask again."
                ) from problem
            raise NotPossible("Slack did not take the file. Ask again in a few minutes.") from problem
