"""Looks up the request that a button or form names, and makes sure that it is this person's to decide."""

from __future__ import annotations

import re
from typing import Final

from bot.errors import LatchkeyError
from bot.model import AuditRecord, Request
from bot.ports import AuditTrail, Requests
from handlers.gestures import Gesture
from handlers.identity import People

_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


class NoSuchRequest(LatchkeyError):
    """What a button or form carried is not the id of a request."""


class NotYours(LatchkeyError):
    """Only the person who asked may do this."""


class Desk:
    """Everything Slack carries is an id; what it means is read from the row, never from the message."""

    def __init__(self, requests: Requests, people: People, audit: AuditTrail) -> None:
        self._requests = requests
        self._people = people
        self._audit = audit

    async def find(self, request_id: str) -> Request:
        """The request. Raises `NoSuchRequest` for anything else, however it came about."""
        request = await self._requests.find(request_id) if _ID.fullmatch(request_id) else None
        if request is None:
            raise NoSuchRequest(
                "Latchkey does not know what this belongs to, so nothing was done. Type the command again."
            )
        return request

    async def own(self, request_id: str, gesture: Gesture) -> Request:
        """The request, if the actor is who asked for it. Raises `NotYours`, which is audited."""
        request = await self.find(request_id)
        if request.slack != gesture.actor:
            facts = {"did": gesture.name, "team": gesture.team, "user": gesture.user}
            await self._audit.append(AuditRecord("press.refused", request_id=request.id, facts=facts))
            asker = await self._people.name(request.slack.user)
            raise NotYours(f"{asker} asked for this, so only {asker} can do that. Nothing was done.")
        return request
