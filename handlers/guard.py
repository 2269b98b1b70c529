"""The one guard around every listener: it makes sure who acts, and nothing the listener raises gets past it.

Bolt loses an acknowledgement when a listener raises in the same turn, and people would see nothing: so what goes wrong
becomes a sentence where the person is looking, and Bolt always gets its answer.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

from slack_bolt.context.async_context import AsyncBoltContext
from slack_bolt.response import BoltResponse

from bot.errors import CannotTell, LatchkeyError
from bot.model import JSON, AuditRecord
from bot.ports import AuditTrail
from handlers.gestures import Gesture, Kind, read
from handlers.identity import NotOneOfUs, People
from handlers.slack import SlackProblem
from handlers.views.form import nothing_to_choose, told
from handlers.voice import Voice

log = logging.getLogger(__name__)

Listener = Callable[[Gesture], Awaitable[JSON]]
"""Hears a gesture of somebody who is one of us. What it returns is the body of the acknowledgement, None for none."""

BoltListener = Callable[[Mapping[str, Any], AsyncBoltContext], Awaitable[BoltResponse]]


class Guard:
    """Makes Bolt listeners out of ours."""

    def __init__(self, people: People, voice: Voice, audit: AuditTrail) -> None:
        self._people = people
        self._voice = voice
        self._audit = audit

    def __call__(
        self, listener: Listener, fresh: timedelta | None, *, harmless: Callable[[Gesture], bool] | None = None
    ) -> BoltListener:
        """*listener* for people whom Slack vouched for at most *fresh* ago; everybody else is refused and told.

        With None it hears everybody: Slack's news about people and channels, and who opens the Home tab. What is
        *harmless* is heard also while Slack cannot say who somebody is.
        """

        async def guarded(body: Mapping[str, Any], context: AsyncBoltContext) -> BoltResponse:
            gesture = read(body, str(context.get("delivery", "")))
            try:
                answer = await self._hear(gesture, listener, fresh, harmless)
            except Exception:  # the one place that answers for faults nobody foresaw
                reference = secrets.token_hex(3)
                log.exception("listener stumbled", extra={"did": gesture.name, "reference": reference})
                answer = await self._tell(gesture, _our_fault(reference))
            return BoltResponse(status=200, body="" if answer is None else json.dumps(answer))

        return guarded

    async def _hear(
        self,
        gesture: Gesture,
        listener: Listener,
        fresh: timedelta | None,
        harmless: Callable[[Gesture], bool] | None,
    ) -> JSON:
        try:
            if fresh is not None:
                await self._check(gesture, fresh, harmless)
            return await listener(gesture)
        except NotOneOfUs as error:
            await self._note(gesture, error)
            return await self._tell(gesture, str(error))
        except LatchkeyError as error:
            log.info("told", extra={"did": gesture.name, "error": type(error).__name__})
            return await self._tell(gesture, str(error))
        except SlackProblem as problem:
            log.warning("slack is not there", extra={"did": gesture.name, "problem": str(problem)})
            return await self._tell(gesture, "Slack does not answer as it should just now. Try again in a minute.")

    async def _check(self, gesture: Gesture, fresh: timedelta, harmless: Callable[[Gesture], bool] | None) -> None:
        try:
            await self._people.check(gesture, fresh)
        except CannotTell:
            if harmless is None or not harmless(gesture):
                raise

    async def _tell(self, gesture: Gesture, sentence: str) -> JSON:
        match gesture.kind:
            case Kind.SUBMISSION:
                return {"response_action": "update", "view": told("Latchkey", sentence)}
            case Kind.SEARCH:
                return nothing_to_choose(sentence)
            case Kind.COMMAND | Kind.PRESS:
                await self._voice.answer(gesture, sentence)
        return None

    async def _note(self, gesture: Gesture, error: NotOneOfUs) -> None:
        facts = {"team": gesture.team, "user": gesture.user, "did": gesture.name, "why": error.why}
        log.warning("somebody was refused", extra={"user": gesture.user, "why": error.why})
        if gesture.kind in {Kind.COMMAND, Kind.PRESS, Kind.SUBMISSION}:
            await self._audit.append(AuditRecord("identity.refused", facts=facts))


def _our_fault(reference: str) -> str:
    return (
        f"Something went wrong on our side (reference {reference}). Nothing more will happen by itself. "
        "Try again; if it stays so, tell a tenant admin the reference."
    )
