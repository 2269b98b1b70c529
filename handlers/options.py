"""The searchable lists of a form: people, groups and licences, found while somebody types."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from bot.model import JSON, SlackUser, Target
from bot.ports import Clock
from bot.timing import within
from handlers.desk import Desk
from handlers.gestures import Gesture
from handlers.ports import Search
from handlers.views.form import FIND_GROUP, FIND_LICENSE, FIND_PERSON, found, nothing_to_choose

log = logging.getLogger(__name__)

PATIENCE: Final = timedelta(seconds=1.5)
"""Slack waits three seconds; a person who types, less."""

_SHORTEST: Final = 2

_Find = Callable[[SlackUser, str, str], Awaitable[Sequence[Target]]]


@dataclass(frozen=True)
class Options:
    """Hears searches. What is chosen from an answer is decided on like anything typed: it is no permission."""

    clock: Clock
    desk: Desk
    search: Search

    async def searched(self, gesture: Gesture) -> JSON:
        """Options for what was typed, or the reason why there are none."""
        request = await self.desk.own(gesture.about, gesture)
        typed = gesture.value.strip()[:100]
        if len(typed) < _SHORTEST:
            return nothing_to_choose("Type at least two letters.")
        try:
            people = await within(
                self.clock, PATIENCE, self._find_by(gesture.name)(gesture.actor, request.command, typed)
            )
        except TimeoutError:
            log.info("search too slow", extra={"list": gesture.name})
            return nothing_to_choose("Still looking. Type another letter.")
        return found(people) if people else nothing_to_choose("Nothing found that you may choose.")

    def _find_by(self, name: str) -> _Find:
        return {
            FIND_PERSON: self.search.people,
            FIND_GROUP: self.search.groups,
            FIND_LICENSE: self.search.licenses,
        }[name]
