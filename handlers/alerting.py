"""What people press on alerts. A button carries the alert's id; everything else comes from the rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from bot import policy
from bot.actions import catalogue
from bot.alerts import DealtWith
from bot.errors import LatchkeyError
from bot.model import Alert, AuditRecord, Operator, Origin, Request, RequestState
from bot.ports import AuditTrail, Requests
from bot.refusal import explain
from handlers.gestures import Gesture
from handlers.identity import People
from handlers.wishes import Wishes, new_id


class NotForYou(LatchkeyError):
    """Alerts are for others to act on; the sentence says whom to ask."""


class Alerts(Protocol):
    async def one(self, alert_id: str) -> Alert:
        """The incident. Raises `DealtWith` for anything else."""

    def over(self, alert: Alert) -> str:
        """That it is over, since when and how; empty while it is not."""

    async def acknowledge(self, alert_id: str, by: Operator) -> Alert: ...

    async def asked(
        self, alert_id: str, offer: str, *, request_id: str, by: str, instead_of: str | None = None
    ) -> None: ...


@dataclass(frozen=True)
class Alerting:
    """Hears presses on alerts."""

    alerts: Alerts
    people: People
    wishes: Wishes
    requests: Requests
    audit: AuditTrail

    async def acknowledge(self, gesture: Gesture) -> None:
        """*Acknowledge*: somebody takes care of it."""
        alert = await self.alerts.one(gesture.value)
        operator = await self._who_may(alert, gesture)
        await self.alerts.acknowledge(alert.id, operator)

    async def retry(self, gesture: Gesture) -> None:
        """*Retry now*. Who may approve what others ask for may do that, too."""
        await self._ask(gesture, "retry", "rotate-now", also=policy.APPROVE_COMMAND)

    async def roll_back(self, gesture: Gesture) -> None:
        """*Roll back*: what is in force stays, and the new one is used no more."""
        await self._ask(gesture, "roll-back", "rotate-back")

    async def reset(self, gesture: Gesture) -> None:
        """*Reset with an administrator's sign-in*."""
        await self._ask(gesture, "reset", "recover-password")

    # --- -------------------------------------------------------------------------------------------------------------

    async def _who_may(self, alert: Alert, gesture: Gesture) -> Operator:
        """Who acts, if they may acknowledge it. Else it is written down, and they are told whom to ask."""
        settings, now = await self.wishes.settings.current(), self.wishes.clock.now()
        decisions = []
        for command in (policy.ACKNOWLEDGE_COMMAND, policy.APPROVE_COMMAND):
            rights = self.wishes.operators.rights(gesture.actor, command)
            decision = policy.decide_for_everybody(policy.Question(rights, command, None, now, settings))
            if decision.verdict is not policy.Verdict.DENY and rights.operator is not None:
                return rights.operator
            decisions.append((decision, rights.operator))

        # What comes closest to a yes is what has to be explained.
        def is_far(found: tuple[policy.Decision, Operator | None]) -> bool:
            return found[0].deny is None or found[0].deny.code is not policy.Code.UNLIMITED

        decision, operator = min(decisions, key=is_far)
        facts = {
            "alert": alert.id,
            "did": gesture.name,
            "team": gesture.team,
            "user": gesture.user,
            "why": decision.deny.code.value if decision.deny else "grant",
        }
        record = AuditRecord("alert.refused", operator_id=operator.id if operator else None, facts=facts)
        await self.audit.append(record)
        command, wishes = policy.ACKNOWLEDGE_COMMAND, self.wishes
        refusal = await explain(decision, command, gesture.actor, wishes.operators, wishes.zone)
        raise NotForYou(refusal.sentence)

    async def _ask(self, gesture: Gesture, offer: str, name: str, *, also: str | None = None) -> None:
        """Make the request that an alert offers, at most one at a time."""
        alert = await self.alerts.one(gesture.value)
        wish = await self._wish(gesture, alert, name, also)
        if not await self.wishes.may(wish):
            await self.wishes.make(wish, gesture)  # the refusal is written down and told
            return
        if over := self.alerts.over(alert):
            raise DealtWith(over)
        if offer not in alert.trouble.offers:
            raise DealtWith("This is not offered any more: things have changed. Look at the card again.")
        before, by = alert.asked.get(offer, (None, ""))
        if before is not None and before != wish.id:
            earlier = await self.requests.find(before)
            waits = earlier is not None and earlier.state is RequestState.AWAITING_CONFIRMATION
            if earlier is not None and not earlier.state.final and not waits:
                raise DealtWith(f"{by} was first: it is being done already.")
        if before != wish.id:
            name_of = await self.people.name(gesture.user)
            await self.alerts.asked(alert.id, offer, request_id=wish.id, by=name_of, instead_of=before)
        await self.wishes.make(wish, gesture)

    async def _wish(self, gesture: Gesture, alert: Alert, name: str, also: str | None) -> Request:
        action = catalogue()[name]
        wish = Request(
            id=new_id(gesture),
            operator_id=None,
            slack=gesture.actor,
            command=action.command,
            action=action.name,
            origin=Origin(gesture.channel, "button"),
            created_at=self.wishes.clock.now(),
            reason=f"Alert: {alert.trouble.headline}",
        )
        if also is None or await self.wishes.may(wish):
            return wish
        approves = replace(wish, command=also)
        return approves if await self.wishes.may(approves) else wish
