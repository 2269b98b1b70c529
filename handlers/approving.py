"""What people press and fill in about approvals: they agree, deny, withdraw, break the glass, and review that later."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bot.actions import catalogue
from bot.approvals import Approvals, SignInFirst
from bot.errors import BadInput
from bot.model import JSON, Request
from bot.ports import Operators
from bot.signing_in import Purpose
from handlers.desk import Desk
from handlers.gestures import Gesture, encodable
from handlers.identity import People
from handlers.ports import Worker
from handlers.signing_in import SignIns
from handlers.slack import Slack, SlackProblem
from handlers.views import approval, form
from handlers.views.blocks import View
from handlers.views.wording import Known


@dataclass(frozen=True)
class Approving:
    """Hears answers to the question whether something may be done. What counts is decided in `bot/approvals.py`."""

    slack: Slack
    desk: Desk
    people: People
    operators: Operators
    approvals: Approvals
    worker: Worker
    sign_ins: SignIns

    # --- the cards' buttons -------------------------------------------------------------------------------------------

    async def approve(self, gesture: Gesture) -> None:
        """*Approve*: it goes on at once, or after a sign-in that proves who approves."""
        request = await self.desk.find(gesture.value)
        seen = approval.seen_in(gesture.block)
        try:
            await self.approvals.approve(request, gesture.actor, seen=seen, delivery=gesture.delivery)
        except SignInFirst:
            await self.sign_ins.begin(gesture, Purpose.APPROVAL, approval.about(request))
            return
        self.worker.wake(request.id)

    async def deny(self, gesture: Gesture) -> None:
        """*Deny*: asks why."""
        request = await self.desk.find(gesture.value)
        await self.approvals.asked(request, approval.seen_in(gesture.block))
        await self._open(gesture, request, approval.deny_window)

    async def alone(self, gesture: Gesture) -> None:
        """*Approve it alone …*: the requester is asked whether they mean it, after a sign-in where that is demanded."""
        request = await self.desk.own(gesture.value, gesture)
        try:
            await self.approvals.may_break_glass(request, gesture.actor)
        except SignInFirst:
            await self.sign_ins.begin(gesture, Purpose.APPROVAL, approval.about(request))
            return
        await self._open(gesture, request, approval.alone_window)

    async def withdraw(self, gesture: Gesture) -> None:
        """*Withdraw*: the requester takes it back."""
        await self.approvals.withdraw(await self.desk.own(gesture.value, gesture), delivery=gesture.delivery)

    async def review(self, gesture: Gesture) -> None:
        """*Close the review*: asks what was found."""
        request = await self.desk.find(gesture.value)
        self.approvals.to_review(request)
        await self._open(gesture, request, approval.review_window)

    # --- the windows --------------------------------------------------------------------------------------------------

    async def denied(self, gesture: Gesture) -> JSON:
        """The reason of a *no* was filled in."""
        return await self._answered(gesture, self._deny, "Denied. The person who asked is told why.")

    async def went_alone(self, gesture: Gesture) -> JSON:
        """Somebody agrees to their own request."""
        answer = await self._answered(gesture, self._alone, "Approved. It runs now, and the channel is told.")
        self.worker.wake(approval.named(gesture.about)[0])
        return answer

    async def reviewed(self, gesture: Gesture) -> JSON:
        """The note of a review was filled in."""
        return await self._answered(gesture, self._review, "The review is closed.")

    async def _deny(self, request: Request, seen: str, gesture: Gesture) -> None:
        await self.approvals.deny(request, gesture.actor, _reason(gesture), seen=seen, delivery=gesture.delivery)

    async def _alone(self, request: Request, seen: str, gesture: Gesture) -> None:
        await self.approvals.break_glass(request, gesture.actor, _reason(gesture), seen=seen, delivery=gesture.delivery)

    async def _review(self, request: Request, seen: str, gesture: Gesture) -> None:
        await self.approvals.review(request, gesture.actor, _reason(gesture), delivery=gesture.delivery)

    async def _answered(
        self, gesture: Gesture, decide: Callable[[Request, str, Gesture], Awaitable[None]], thanks: str
    ) -> JSON:
        request_id, seen = approval.named(gesture.about)
        try:
            await decide(await self.desk.find(request_id), seen, gesture)
        except BadInput as error:
            return {"response_action": "errors", "errors": {approval.REASON: str(error)}}
        return {"response_action": "update", "view": form.told("Latchkey", thanks)}

    async def _open(self, gesture: Gesture, request: Request, window: Callable[[Request, Known], View]) -> None:
        decided_by = request.approval.decided_by if request.approval else None
        operator = await self.operators.find(decided_by) if decided_by else None
        known = Known(
            action=catalogue().get(request.action),
            by=await self.people.name(request.slack.user),
            decided_by=(operator.name if operator else None) or "Somebody",
        )
        try:
            await self.slack.open_view(gesture.trigger, window(request, known))
        except SlackProblem as problem:
            raise BadInput("Slack did not open a window. Nothing is lost: press the button again.") from problem


def _reason(gesture: Gesture) -> str:
    """What was filled in; anything of another shape counts as nothing."""
    match gesture.view.get("state"):
        case {"values": {approval.REASON: dict() as block}}:
            for element in block.values():
                match element:
                    case {"value": str(text)}:
                        return encodable(text)
    return ""
