"""Where a request's story appears: in the channel it came from if that is a work channel, else in a direct message."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from bot.model import Request
from bot.ports import Clock, Settings
from handlers.slack import Slack, SlackRefused

log = logging.getLogger(__name__)

_KEPT: Final = timedelta(minutes=5)
"""How long what Slack says about a channel is believed; events about sharing end it sooner."""


@dataclass(frozen=True)
class Place:
    """A conversation, and why it is not the one that was asked in (empty if it is)."""

    channel: str
    here_because: str = ""


class Places:
    """Finds the place of each request. What cannot be looked at counts as external: nothing is shown there."""

    def __init__(self, slack: Slack, settings: Settings, clock: Clock) -> None:
        self._slack = slack
        self._settings = settings
        self._clock = clock
        self._directs: dict[str, str] = {}
        self._known: dict[str, tuple[datetime, Mapping[str, Any] | None]] = {}

    async def of(self, request: Request) -> Place:
        """Where *request* is told. Raises `SlackProblem` if Slack cannot be asked for a direct conversation."""
        asked_in = request.origin.channel
        if not asked_in or asked_in == self._directs.get(request.slack.user):
            return Place(await self.direct(request.slack.user))
        why_not = await self._objection(asked_in)
        if not why_not:
            return Place(asked_in)
        direct = await self.direct(request.slack.user)
        return Place(direct, "" if direct == asked_in else why_not)

    async def is_shared(self, channel: str) -> bool:
        """Whether another company reads there by now. Raises `SlackProblem`."""
        info = None if _is_direct(channel) else await self._info(channel)
        return info is not None and _is_shared(info)

    async def direct(self, user: str) -> str:
        """The direct conversation with somebody, which never changes. Raises `SlackProblem`."""
        if user not in self._directs:
            self._directs[user] = await self._slack.direct(user)
        return self._directs[user]

    async def _objection(self, channel: str) -> str:
        work_channels = (await self._settings.current()).work_channels
        if work_channels and channel not in work_channels:
            return "It is told here because the channel you asked in is not a work channel of Latchkey."
        info = None if _is_direct(channel) else await self._info(channel)
        if info is None:
            return "It is told here because Latchkey is not in the conversation you asked in."
        if _is_shared(info):
            return "It is told here because the channel you asked in is shared with another company."
        if info.get("is_archived"):
            return "It is told here because the channel you asked in is archived."
        if not info.get("is_member"):
            return "It is told here because Latchkey is not in the channel you asked in. Invite it there with /invite."
        return ""

    def forget(self, channel: str) -> None:
        """Something about the channel changed."""
        self._known.pop(channel, None)

    async def _info(self, channel: str) -> Mapping[str, Any] | None:
        known = self._known.get(channel)
        if known and self._clock.now() - known[0] < _KEPT:
            return known[1]
        asked_at = self._clock.now()
        try:
            found: Mapping[str, Any] | None = await self._slack.channel(channel)
        except SlackRefused as error:
            if error.wait is not None:
                raise
            log.info("cannot look at a channel", extra={"channel": channel, "code": error.code})
            found = None
        self._known[channel] = (asked_at, found)
        return found


def _is_direct(channel: str) -> bool:
    """Whether two people talk there: ours with the requester is known, any other is none of ours to look at."""
    return channel.startswith("D")


def _is_shared(info: Mapping[str, Any]) -> bool:
    return bool(info.get("is_ext_shared") or info.get("is_pending_ext_shared"))
