"""How somebody is told something in private, where they are looking: in the open window, else beside their command."""

from __future__ import annotations

import logging

from handlers.gestures import Gesture
from handlers.slack import Slack, SlackProblem, SlackRefused, SlackUnreachable
from handlers.views.blocks import Said, said, section
from handlers.views.form import told

log = logging.getLogger(__name__)


class Voice:
    """Speaks to one person."""

    def __init__(self, slack: Slack) -> None:
        self._slack = slack

    async def answer(self, gesture: Gesture, sentence: str) -> None:
        """Tell the actor of a command or press. Raises nothing: whether it was heard is only logged."""
        try:
            if gesture.modal:
                await self._slack.update_view(gesture.modal, told("Latchkey", sentence))
            elif not (gesture.at_home and await self._in_a_window(gesture, sentence)):
                await self.privately(
                    gesture.user, said(sentence, [section(sentence)]), gesture.channel, gesture.reply_url
                )
        except SlackProblem as error:
            log.warning("could not tell somebody", extra={"user": gesture.user, "problem": str(error)})

    async def _in_a_window(self, gesture: Gesture, sentence: str) -> bool:
        """Whether a window could be opened for it, which takes a press of a few seconds ago."""
        try:
            await self._slack.open_view(gesture.trigger, told("Latchkey", sentence))
        except SlackProblem as problem:
            log.info("no window on the home tab", extra={"problem": str(problem)})
            return False
        return True

    async def privately(self, user: str, words: Said, channel: str, reply_url: str | None) -> None:
        """Say it so that only *user* sees it: by the response URL, else in *channel*, else in a direct message.

        Raises `SlackUnreachable` or `SlackSilent`; `SlackRefused` when no way was left.
        """
        try:
            await self._privately(user, words, channel, reply_url)
        except SlackRefused as error:
            if error.wait is not None or not words.has_table:
                raise
            log.warning("slack refused a table", extra={"code": error.code})
            await self._privately(user, words.in_lines(), channel, reply_url)

    async def _privately(self, user: str, words: Said, channel: str, reply_url: str | None) -> None:
        if reply_url:
            try:
                return await self._slack.reply(reply_url, words)
            except (SlackRefused, SlackUnreachable) as problem:
                log.info("response url is over", extra={"problem": str(problem)})
        if channel:
            try:
                return await self._slack.whisper(channel, user, words)
            except SlackRefused as error:
                if error.wait is not None:
                    raise
                log.info("cannot speak there", extra={"code": error.code})
        await self._slack.post(await self._slack.direct(user), words)
        return None
