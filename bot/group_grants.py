"""Roles that follow Entra groups: whoever is a member, and an operator, holds the role for as long as they are one.

Deciding reads ordinary grants only. They are made and ended here, from the members as they were last read.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, Protocol

from bot.errors import GraphNotFound, LatchkeyError, StorageProblem
from bot.model import GroupGrant
from bot.ports import Audience, Clock, Following, Message, Reader
from bot.standing import NO_SUCH_OBJECT
from bot.timing import woken_or_at

log = logging.getLogger(__name__)

EVERY: Final = timedelta(minutes=5)
"""How often the members are read, if nothing calls for it sooner."""

UNREAD_AT_MOST: Final = timedelta(hours=1)
"""How long the grants stay after the last good reading of the members."""


class Followed(Protocol):
    async def followed_groups(self) -> Sequence[GroupGrant]:
        """Which roles follow which Entra groups now."""


class GroupGrants:
    """Keeps grants in step with groups. *channel* is where a card tells that they ended because a group could not be
    read; empty: it is only audited."""

    def __init__(
        self, *, clock: Clock, operators: Followed, following: Following, directory: Reader, channel: str
    ) -> None:
        self._clock = clock
        self._operators = operators
        self._following = following
        self._directory = directory
        self._channel = channel
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Look again at once: a group was granted a role, or somebody was linked to their account."""
        self._woken.set()

    async def keep_up(self) -> None:
        """Run until cancelled."""
        while True:
            self._woken.clear()
            try:
                await self.sync()
            except StorageProblem as error:
                log.warning("could not follow the groups", extra={"why": str(error)})
            await woken_or_at(self._clock, self._woken, self._clock.now() + EVERY)

    async def sync(self) -> None:
        """Read the members of every group once, and bring the grants in step."""
        read: dict[str, frozenset[str] | None] = {}
        for followed in await self._operators.followed_groups():
            group = followed.group.id
            began = self._clock.now()
            if group not in read:
                read[group] = await self._members(group)
            members = read[group]
            if members is None:
                await self._could_not_read(followed)
                continue
            begun, ended = await self._following.match(followed.id, members, read_at=began)
            if begun or ended:
                log.info("followed a group", extra={"group": group, "begun": begun, "ended": ended})

    async def _members(self, group_id: str) -> frozenset[str] | None:
        """The ids of everything in the group, also through other groups; None if it cannot be read now."""
        try:
            query = {"$select": "id", "$top": "999"}
            found = await self._directory.collect("groups", group_id, "transitiveMembers", query=query)
        except GraphNotFound as error:
            if error.answer is not None and error.answer.code == NO_SUCH_OBJECT:
                return frozenset()  # a group that was deleted has no members
            self._note(group_id, error)
            return None
        except LatchkeyError as error:
            self._note(group_id, error)
            return None
        return frozenset(str(member["id"]).lower() for member in found)

    def _note(self, group_id: str, error: LatchkeyError) -> None:
        log.warning("cannot read a group", extra={"group": group_id, "why": type(error).__name__})

    async def _could_not_read(self, followed: GroupGrant) -> None:
        last = followed.read_at or followed.granted_at
        if self._clock.now() - last < UNREAD_AT_MOST:
            return
        why = "the members of the group could not be read for an hour"
        ended = await self._following.end_unread(followed.id, why, say=lambda number: self._card(followed, number))
        if ended:
            log.error("grants ended", extra={"group": followed.group.id, "ended": ended})

    def _card(self, followed: GroupGrant, number: int) -> Sequence[Message]:
        if not self._channel:
            return ()
        data = {
            "channel": self._channel,
            "group": followed.group.name,
            "role": followed.role,
            "number": number,
            "read_at": (followed.read_at or followed.granted_at).isoformat(),
        }
        key = f"unread:{followed.id}:{self._clock.now().isoformat()}"
        return [Message(key, "group-unread", audience=Audience.CHANNEL, data=data)]
