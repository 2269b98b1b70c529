"""Who is behind a gesture: a person of our own workspace, as Slack knows them now, or somebody to be refused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from bot.errors import LatchkeyError
from bot.ports import Clock
from handlers.gestures import Gesture
from handlers.slack import Installed, Slack, SlackProblem

log = logging.getLogger(__name__)

READS: Final = timedelta(minutes=5)
"""How old what Slack says about a person may be when they look something up."""

WRITES: Final = timedelta(seconds=60)
"""The same when they change something."""

REVEALS: Final = timedelta(0)
"""A secret is shown only to somebody Slack has just vouched for."""


class NotOneOfUs(LatchkeyError):
    """Somebody who may not use the bot at all. `why` is a code for the audit trail."""

    def __init__(self, sentence: str, why: str) -> None:
        super().__init__(sentence)
        self.why = why


class CannotTell(LatchkeyError):
    """Slack does not say who this is just now."""


@dataclass(frozen=True)
class _Known:
    """What is kept of somebody's Slack profile: what to call them, and what (sentence, code) stands against them."""

    name: str
    obstacle: tuple[str, str] | None
    at: datetime


class People:
    """Looks people up in Slack and remembers them for as long as each use allows."""

    def __init__(self, slack: Slack, clock: Clock, installed: Installed, support: str) -> None:
        self._slack = slack
        self._clock = clock
        self._installed = installed
        self._support = support
        self._known: dict[str, _Known] = {}
        self._asking: dict[str, asyncio.Task[_Known]] = {}

    async def check(self, gesture: Gesture, fresh: timedelta) -> None:
        """Raise `NotOneOfUs` unless the actor is a full, active member of our workspace; `CannotTell` if unknown."""
        if gesture.team != self._installed.team:
            raise self._refusal(_ELSEWHERE)
        found = await self._look_up(gesture.user, fresh)
        if found.obstacle:
            raise self._refusal(found.obstacle)

    async def name(self, user: str) -> str:
        """What to call somebody; their id if Slack does not say."""
        try:
            return (await self._look_up(user, timedelta(hours=1))).name
        except CannotTell:
            return user

    def forget(self, user: str) -> None:
        """Slack says that something about them changed."""
        self._known.pop(user, None)
        self._asking.pop(user, None)

    def _refusal(self, obstacle: tuple[str, str]) -> NotOneOfUs:
        sentence, why = obstacle
        return NotOneOfUs(f"{sentence} Ask {self._support} for help.", why)

    async def _look_up(self, user: str, fresh: timedelta) -> _Known:
        known = self._known.get(user)
        if known and self._clock.now() - known.at < fresh:
            return known
        # Many gestures at once ask once; but who must be fresh does not take an answer to an older question.
        asking = self._asking.get(user) if fresh else None
        if asking is None:
            asking = self._asking[user] = asyncio.create_task(self._ask(user))
            asking.add_done_callback(lambda _: self._asking.pop(user, None))
        return await asyncio.shield(asking)

    async def _ask(self, user: str) -> _Known:
        asked_at = self._clock.now()
        try:
            found = await self._slack.user(user)
        except SlackProblem as error:
            log.warning("cannot look up a person", extra={"user": user, "problem": str(error)})
            raise CannotTell(
                "Slack does not confirm who you are right now, so nothing was done. Try again in a minute."
            ) from error
        name = str(found.get("real_name") or found.get("name") or user)
        self._known[user] = _Known(name, _obstacle(found, self._installed.team), asked_at)
        return self._known[user]


_ELSEWHERE: Final = ("You belong to another workspace, so you cannot use Latchkey here.", "other_team")
_OBSTACLES: Final = (
    # Slack docs: *User object*. `is_stranger` is only ever a reason to refuse: false does not mean one of ours.
    ("deleted", "Your Slack account is deactivated."),
    ("is_bot", "Apps and workflows cannot use Latchkey."),
    ("is_workflow_bot", "Apps and workflows cannot use Latchkey."),
    ("is_stranger", _ELSEWHERE[0]),
    ("is_restricted", "Guests cannot use Latchkey."),
    ("is_ultra_restricted", "Guests cannot use Latchkey."),
    ("is_invited_user", "Accept your invitation to Slack first."),
)


def _obstacle(user: Mapping[str, Any], team: str) -> tuple[str, str] | None:
    for flag, sentence in _OBSTACLES:
        if user.get(flag):
            return sentence, flag
    if user.get("is_email_confirmed") is False:
        return "Confirm your e-mail address in Slack first.", "is_email_confirmed"
    return None if team in (user.get("team_id"), *_grid_teams(user)) else _ELSEWHERE


def _grid_teams(user: Mapping[str, Any]) -> list[str]:
    """The workspaces of somebody on Enterprise Grid, where `team_id` may be the organisation."""
    enterprise = user.get("enterprise_user")
    teams = enterprise.get("teams") if isinstance(enterprise, dict) else None
    return teams if isinstance(teams, list) else []
