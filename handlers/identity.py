"""Who is behind a gesture: a person of our own workspace, as Slack knows them now, or somebody to be refused."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from bot.errors import CannotTell, LatchkeyError
from bot.model import SlackUser
from bot.ports import Clock
from bot.remembering import Remembering
from bot.standing import Finding
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


@dataclass(frozen=True)
class _Known:
    """What is kept of somebody's Slack profile: what to call them, and what stands against them."""

    name: str
    obstacle: _Obstacle | None


class People:
    """Looks people up in Slack and remembers them for as long as each use allows."""

    def __init__(self, slack: Slack, clock: Clock, installed: Installed, support: str) -> None:
        self._slack = slack
        self._installed = installed
        self._support = support
        self._known: Remembering[_Known] = Remembering(self._ask, clock)

    async def check(self, gesture: Gesture, fresh: timedelta) -> None:
        """Raise `NotOneOfUs` unless the actor is a full, active member of our workspace; `CannotTell` if unknown."""
        obstacle = await self._obstacle_to(gesture.actor, fresh)
        if obstacle:
            raise NotOneOfUs(f"{obstacle.to_them} Ask {self._support} for help.", obstacle.why)

    async def active(self, slack: SlackUser, fresh: timedelta) -> Finding | None:
        """What stands against somebody who is not there to be told; None if nothing. Raises `CannotTell`."""
        obstacle = await self._obstacle_to(slack, fresh)
        if obstacle:
            self.forget(slack.user)  # a no is not used again: it may have been put right
        return Finding(obstacle.of_them, obstacle.why, left=obstacle.why == "deleted") if obstacle else None

    async def name(self, user: str) -> str:
        """What to call somebody; their id if Slack does not say."""
        try:
            return (await self._known.look_up(user, timedelta(hours=1))).name
        except CannotTell:
            return user

    def forget(self, user: str) -> None:
        """Slack says that something about them changed."""
        self._known.forget(user)

    async def _obstacle_to(self, slack: SlackUser, fresh: timedelta) -> _Obstacle | None:
        if slack.team != self._installed.team:
            return _ELSEWHERE
        return (await self._known.look_up(slack.user, fresh)).obstacle

    async def _ask(self, user: str) -> _Known:
        try:
            found = await self._slack.user(user)
        except SlackProblem as error:
            log.warning("cannot look up a person", extra={"user": user, "problem": str(error)})
            raise CannotTell(
                "Slack does not confirm who you are right now, so nothing was done. Try again in a minute."
            ) from error
        name = str(found.get("real_name") or found.get("name") or user)
        return _Known(name, _obstacle(found, self._installed.team))


@dataclass(frozen=True)
class _Obstacle:
    """Why somebody may not use the bot: `why` is a code, `to_them` a sentence, `of_them` the same after their name."""

    why: str
    to_them: str
    of_them: str


_NOT_A_PERSON: Final = ("Apps and workflows cannot use Latchkey.", "is an app and not a person")
_GUEST: Final = ("Guests cannot use Latchkey.", "is a guest in Slack")
_ELSEWHERE: Final = _Obstacle(
    "other_team", "You belong to another workspace, so you cannot use Latchkey here.", "belongs to another workspace"
)
_OBSTACLES: Final = (
    # Slack docs: *User object*. `is_stranger` is only ever a reason to refuse: false does not mean one of ours.
    _Obstacle("deleted", "Your Slack account is deactivated.", "has left Slack: the account there is deactivated"),
    _Obstacle("is_bot", *_NOT_A_PERSON),
    _Obstacle("is_workflow_bot", *_NOT_A_PERSON),
    _Obstacle("is_stranger", _ELSEWHERE.to_them, _ELSEWHERE.of_them),
    _Obstacle("is_restricted", *_GUEST),
    _Obstacle("is_ultra_restricted", *_GUEST),
    _Obstacle("is_invited_user", "Accept your invitation to Slack first.", "has not accepted the invitation to Slack"),
)
_UNCONFIRMED: Final = _Obstacle(
    "is_email_confirmed",
    "Confirm your e-mail address in Slack first.",
    "has not confirmed an e-mail address in Slack",
)


def _obstacle(user: Mapping[str, Any], team: str) -> _Obstacle | None:
    for obstacle in _OBSTACLES:
        if user.get(obstacle.why):
            return obstacle
    if user.get("is_email_confirmed") is False:
        return _UNCONFIRMED
    return None if team in (user.get("team_id"), *_grid_teams(user)) else _ELSEWHERE


def _grid_teams(user: Mapping[str, Any]) -> list[str]:
    """The workspaces of somebody on Enterprise Grid, where `team_id` may be the organisation."""
    enterprise = user.get("enterprise_user")
    teams = enterprise.get("teams") if isinstance(enterprise, dict) else None
    return teams if isinstance(teams, list) else []
