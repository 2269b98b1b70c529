"""What-if's forms in people's hands: nothing in them changes anything."""

from __future__ import annotations

import asyncio
import codecs
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from bot.errors import BadInput, Conflict
from bot.model import JSON, Request, RequestState
from bot.ports import Requests
from bot.what_if_by_hand.drafts import LONGEST_DRAFT, read_draft
from bot.whatif.policies import PolicyProblem
from handlers.desk import Desk
from handlers.gestures import Gesture, encodable
from handlers.ports import Worker
from handlers.slack import Slack, SlackProblem, SlackRefused
from handlers.views import whatif

log = logging.getLogger(__name__)

_ENCODINGS: Final = ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"), (codecs.BOM_UTF8, "utf-8-sig"))


@dataclass(frozen=True)
class WhatIfForms:
    """Hears what is sent off. Only the person who asked may do it."""

    slack: Slack
    desk: Desk
    requests: Requests
    worker: Worker

    async def submitted(self, gesture: Gesture) -> JSON:
        """*Show*: the sign-in as it was filled in."""
        typed, inputs = whatif.parse(gesture.view)
        if found := whatif.problems(typed, inputs):
            return {"response_action": "errors", "errors": found}
        return await self._go_on(gesture, typed, inputs)

    async def drafted(self, gesture: Gesture) -> JSON:
        """*Try*: the policy that was handed over. What is wrong with it is said at its field."""
        await self._waiting(gesture)
        url, pasted = whatif.handed_over(gesture.view)
        blamed = whatif.FILE if url else whatif.PASTED
        if bool(url) is bool(pasted):
            either = (
                "Hand over a file or paste the policy, not both." if url else "Hand over a file, or paste the policy."
            )
            return {"response_action": "errors", "errors": {whatif.PASTED: either}}
        try:
            text = await self._text_of(url) if url else pasted
            await asyncio.to_thread(read_draft, text)
        except (BadInput, PolicyProblem) as problem:
            return {"response_action": "errors", "errors": {blamed: str(problem)}}
        return await self._go_on(gesture, "", {"policy": text})

    async def _text_of(self, url: str) -> str:
        try:
            data = await self.slack.fetch_file(url, 4 * LONGEST_DRAFT)
        except SlackProblem as problem:
            log.warning("a file could not be read", extra={"problem": str(problem)})
            if isinstance(problem, SlackRefused) and problem.code == "too_large":
                raise BadInput("That file is too large for a policy.") from problem
            if isinstance(problem, SlackRefused) and problem.wait is None:
                raise BadInput(
                    "Slack did not hand the file over. The app needs the scope files:read: install it again, or paste "
                    "the policy."
                ) from problem
            raise BadInput("Slack did not hand the file over in time. Try again, or paste the policy.") from problem
        encoding = next((name for mark, name in _ENCODINGS if data.startswith(mark)), "utf-8")
        try:
            return encodable(data.decode(encoding))
        except UnicodeDecodeError:
            raise BadInput("That file is no text in UTF-8. Save it as JSON in UTF-8.") from None

    async def _waiting(self, gesture: Gesture) -> Request:
        request = await self.desk.own(gesture.about, gesture)
        if request.state is not RequestState.AWAITING_CONFIRMATION or not whatif.has_form(request):
            raise BadInput("This has gone on already, or has ended. Type the command again.")
        return request

    async def _go_on(self, gesture: Gesture, typed: str, inputs: Mapping[str, JSON]) -> JSON:
        """Let the runner answer, with what was filled in."""
        for again in (True, False):
            request = await self._waiting(gesture)
            going = replace(request, typed=typed, inputs=inputs, state=RequestState.RECEIVED, form=None, due_at=None)
            try:
                await self.requests.save(going, delivery=gesture.delivery)
            except Conflict:
                if not again:
                    raise
                continue  # somebody fast: the row has learned only now which form is its own
            self.worker.wake(request.id)
            break
        return {"response_action": "clear"}
