"""Somebody else's agreement to a plan: what asks for it, who may give it, and whether it still counts when it runs."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, NoReturn, Protocol

from bot import policy, story
from bot.actions import catalogue
from bot.actions._action import Action
from bot.errors import BadInput, Conflict, LatchkeyError
from bot.model import Approval, ApprovalState, AuditRecord, Operator, Request, RequestState, Rights, SlackUser
from bot.ports import Audience, AuditTrail, Clock, Message, Operators, Requests, Settings
from bot.standing import AT_ONCE, Standing

EXPIRES_AFTER: Final = timedelta(hours=8)
"""How long a question waits for somebody to agree, and how long their agreement then counts."""

BREAK_GLASS_FOR: Final = timedelta(minutes=15)
"""How long an agreement that somebody gave to their own request counts."""

FRESH: Final = timedelta(minutes=10)
"""How long ago a sign-in at Microsoft may be that proves who agrees."""

_LAST_REMINDER: Final = timedelta(minutes=20)
"""Closer to the end than this nobody is reminded any more."""


AT_MOST: Final = 10
"""So many requests of one person wait for approval at once: who is asked more often agrees without looking."""

UNHEARD: Final = "unheard"
"""Where a request's answer keeps the id of the question that could not be put in the approvals channel."""

_LONGEST: Final = 500
"""Characters of a reason that are kept, as many as the windows take."""


class NotDecided(LatchkeyError):
    """The answer was not taken; the sentence says why, and who was first if somebody was."""


class SignInFirst(LatchkeyError):
    """Before this is agreed to, the person has to prove at Microsoft who they are."""


class TooManyWait(LatchkeyError):
    """So many requests of this person wait for somebody to agree that no other is asked about."""


class FreshSignIns(Protocol):
    """When people last proved who they are."""

    @property
    def has_callback(self) -> bool:
        """Whether people can be sent to a sign-in page, and come back."""

    def last_fresh(self, slack: SlackUser) -> datetime | None:
        """When this person last signed in at Microsoft, with the account that is linked to them."""


class Reviewed(Requests, Protocol):
    """Requests, those among them that somebody has still to review included."""

    async def under_review(self) -> Sequence[Request]:
        """Requests that were agreed to alone and that nobody else has looked at since, oldest first."""

    async def awaiting_approval(self) -> Sequence[Request]:
        """Requests that wait for somebody else to agree, oldest first."""


def ask(digest: str, why: str, channel: str, now: datetime) -> Approval:
    """A new question about the plan with this digest, to whoever may agree to it in *channel*."""
    return Approval(uuid.uuid4().hex, digest, channel, asked_at=now, expires_at=now + EXPIRES_AFTER, why=why)


def next_look(approval: Approval) -> datetime:
    """When to remind, or to give up: at half of the time, then at half of what is left, and so on."""
    left = (approval.expires_at - approval.asked_at) / 2 ** (approval.reminders + 1)
    return approval.expires_at if left < _LAST_REMINDER else approval.expires_at - left


@dataclass(frozen=True)
class Approvals:
    """Takes the answers. Each changes the request's row by compare-and-set: of two at once the second is told.

    Where a method takes `seen`, that is the id of the question that was before the person's eyes: the answer counts for
    that one only, and not for another that was asked since. None: the caller has just read *request* and shown it.
    """

    clock: Clock
    requests: Reviewed
    operators: Operators
    settings: Settings
    audit: AuditTrail
    standing: Standing
    sign_ins: FreshSignIns
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock, init=False, repr=False)

    # --- asking -------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def room_for(self, request: Request) -> AsyncIterator[None]:
        """While the question about *request* is asked, nobody else asks one. Raises `TooManyWait`."""
        async with self._asking:
            waiting = await self.requests.awaiting_approval()
            theirs = [each for each in waiting if each.operator_id == request.operator_id and each.id != request.id]
            if len(theirs) >= AT_MOST:
                raise TooManyWait(
                    f"{len(theirs)} of your requests wait for an approval already, so nobody is asked about this one. "
                    "Withdraw one of them, or wait until some are answered, then try again."
                )
            yield

    async def unheard(self, request: Request, approval_id: str, why: str) -> None:
        """The question could not be put in the approvals channel: the requester is told, and where else it can be
        answered. *why* is a sentence."""
        approval = request.approval
        waits = request.state is RequestState.AWAITING_APPROVAL and approval is not None
        if not waits or approval is None or approval.id != approval_id or request.answer.get(UNHEARD) == approval_id:
            return
        sentence = (
            f"{request.sentence} But nobody was told of it: {why} Ask somebody who may approve it to look at the Home "
            "tab of Latchkey, where it can be approved, too."
        )
        told = replace(request, sentence=sentence, answer={**request.answer, UNHEARD: approval_id})
        private = Message(f"unheard:{approval_id}", "answer", request.id, audience=Audience.REQUESTER)
        record = AuditRecord(
            "approval.unheard",
            operator_id=request.operator_id,
            request_id=request.id,
            facts={"approval": approval_id, "channel": approval.channel, "why": why},
        )
        try:
            await self.requests.save(told, audit=[record], say=[private, *story.messages(told, self.clock.now())])
        except Conflict:  # it was answered or reminded of meanwhile; the next try to say it comes by here again
            return

    # --- answers ------------------------------------------------------------------------------------------------------

    async def approve(
        self, request: Request, by: SlackUser, *, seen: str | None = None, delivery: str | None = None
    ) -> Request:
        """Agree, for somebody else's request. The caller wakes the worker for it.

        Raises `NotDecided`, `SignInFirst`, or what stands against this person. Nothing is written then but that
        somebody tried who may not.
        """
        approval, action = await self.asked(request, seen)
        approver = await self._who_may(request, action, by, "approve")
        await self.standing.check(approver, fresh=AT_ONCE)
        self._prove(request, action, by)
        return await self._decide(request, approval, approver, ApprovalState.APPROVED, delivery=delivery)

    async def deny(
        self, request: Request, by: SlackUser, reason: str, *, seen: str | None = None, delivery: str | None = None
    ) -> Request:
        """Say no, with a reason for the requester. Raises `BadInput` without one, and as `approve` does."""
        reason = _said(reason, "Say why, for the person who asked.")
        approval, action = await self.asked(request, seen)
        approver = await self._who_may(request, action, by, "deny")
        await self.standing.check(approver, fresh=AT_ONCE)
        denied = await self._decide(request, approval, approver, ApprovalState.DENIED, reason=reason, delivery=delivery)
        await self.give_undo_back(denied)
        return denied

    async def may_break_glass(self, request: Request, by: SlackUser, *, seen: str | None = None) -> Operator:
        """Who *by* is, if they may agree to this request of their own. Raises as `approve` does."""
        approval, action = await self.asked(request, seen)
        operator, obstacle = await self._tenant_admin(by)
        if operator is None or obstacle:
            await self._refuse(request, operator, by, "break the glass", "command", obstacle)
        if request.operator_id != operator.id:
            await self._refuse(
                request, operator, by, "break the glass", "not_own", "This is somebody else's: approve or deny it."
            )
        await self.standing.check(operator, fresh=AT_ONCE)
        if request.answer.get(UNHEARD) == approval.id:
            raise NotDecided(
                "The approvals channel cannot be told of it, so nobody can approve this alone. Put Latchkey into that "
                "channel, then ask again."
            )
        for earlier in await self.requests.under_review():
            if earlier.operator_id == operator.id:
                raise NotDecided(
                    "You approved a request of your own before, and nobody has reviewed that yet. Ask another tenant "
                    "admin to close that review on the Home tab first."
                )
        self._prove(request, action, by)
        return operator

    async def break_glass(
        self, request: Request, by: SlackUser, reason: str, *, seen: str | None = None, delivery: str | None = None
    ) -> Request:
        """A tenant admin agrees to their own request, because nobody else is there: for a quarter of an hour, told to
        everybody at once, and open for review. Whoever has such a review open may not do it again."""
        reason = _said(reason, "Say why it cannot wait for somebody else.")
        operator = await self.may_break_glass(request, by, seen=seen)
        approval, _ = await self.asked(request, seen)
        alone = replace(approval, break_glass=True, expires_at=self.clock.now() + BREAK_GLASS_FOR)
        return await self._decide(request, alone, operator, ApprovalState.APPROVED, reason=reason, delivery=delivery)

    async def withdraw(self, request: Request, *, delivery: str | None = None) -> Request:
        """Take the question back. Whoever lets it do so has made sure that it is the requester."""
        approval, _ = await self.asked(request)
        now = self.clock.now()
        gone = replace(approval, state=ApprovalState.WITHDRAWN, decided_at=now, decided_by=request.operator_id)
        sentence = "Withdrawn before anybody approved it: nothing was done."
        withdrawn = await self._save(
            replace(request, state=RequestState.WITHDRAWN, sentence=sentence, finished_at=now, due_at=None),
            gone,
            _record("approval.withdrawn", request, gone, request.operator_id),
            delivery,
        )
        await self.give_undo_back(withdrawn)
        return withdrawn

    async def give_undo_back(self, ended: Request) -> None:
        """Where *ended* was to undo something, and did not: that can be undone again."""
        done = await self.requests.find(ended.undo_of) if ended.undo_of else None
        if done is None or done.answer.get("undo") != ended.id:
            return
        answer = {name: value for name, value in done.answer.items() if name != "undo"}
        again = replace(done, answer=answer)
        try:
            await self.requests.save(again, say=story.messages(again, self.clock.now()))
        except Conflict:
            return

    async def review(self, request: Request, by: SlackUser, note: str, *, delivery: str | None = None) -> Request:
        """Close the review of what was agreed to alone. Only a tenant admin who is somebody else can, once it is known
        what came of it."""
        note = _said(note, "Say what you found.")
        approval = self.to_review(request)
        asked_by = await self._operator(request)
        rights = self.operators.rights(by, policy.ADMIN_COMMAND)
        settings = await self.settings.current()
        decision = policy.decide_agreement(
            rights, asked_by, own=True, command=policy.ADMIN_COMMAND, now=self.clock.now(), settings=settings
        )
        if decision.verdict is not policy.Verdict.ALLOW or rights.operator is None:
            sentence = f"A review is closed by another tenant admin. {policy.because(decision)}"
            await self._refuse(request, rights.operator, by, "review", _why(decision), sentence)
        await self.standing.check(rights.operator, fresh=AT_ONCE)
        seen = replace(approval, reviewed_by=rights.operator.id, reviewed_at=self.clock.now(), review=note)
        record = _record("review.closed", request, seen, rights.operator.id)
        return await self._save(request, seen, record, delivery)

    def to_review(self, request: Request) -> Approval:
        """What is to be reviewed of *request* now. Raises `NotDecided`."""
        approval = request.approval
        if approval is None or not approval.under_review:
            raise NotDecided("There is nothing to review here any more.")
        # Its row belongs to the worker until then, which would stop if somebody else wrote to it.
        if not request.state.final and request.state is not RequestState.UNKNOWN:
            raise NotDecided("This is still under way. Review it once it is over.")
        return approval

    async def waiting_for(self, by: SlackUser) -> Sequence[Request]:
        """What this person may agree to or deny now, oldest first. That they may is decided anew when they do."""
        waiting = []
        for request in await self.requests.awaiting_approval():
            approval, action = request.approval, catalogue().get(request.action)
            if approval is None or action is None or approval.expires_at <= self.clock.now():
                continue
            _, decision = await self._decision(request, action, by)
            if decision.verdict is policy.Verdict.ALLOW:
                waiting.append(request)
        return waiting

    # --- whether it counts --------------------------------------------------------------------------------------------

    async def objection(self, request: Request, action: Action, digest: str) -> str | None:
        """Why *request* has to ask (again) before the plan with this *digest* runs; None if it was agreed to, and that
        still counts. Empty: nobody was asked yet."""
        approval = request.approval
        if approval is None or approval.state is not ApprovalState.APPROVED:
            return ""
        now, decided_at = self.clock.now(), approval.decided_at or approval.asked_at
        if approval.digest != digest:
            return f"What would happen has changed since {await self._decider(approval)} approved it."
        if now >= (approval.expires_at if approval.break_glass else decided_at + EXPIRES_AFTER):
            return "It was approved too long ago."
        return await self._counts_no_more(request, approval, action)

    async def may_go_on(self, stopped: Request, by: SlackUser) -> Operator:
        """Who *by* is, if they may go on with what stopped between two steps: they could have asked for all of it
        themselves, whoever approved it still may, and it is not being undone. Raises `NotDecided`, or what stands
        against them."""
        action = catalogue().get(stopped.action)
        rights = self.operators.rights(by, action.command if action else stopped.command)
        question = await self._question(rights, stopped.command)
        decision = policy.decide_person(replace(question, action=action))
        grant, operator = decision.grant, rights.operator
        if action is None or grant is None or operator is None or grant.scope is not None:
            raise NotDecided(f"You may not use `{stopped.command}`, so you cannot go on with this either.")
        await self.standing.check(operator, fresh=AT_ONCE)
        undo = await self.requests.find(str(stopped.answer["undo"])) if stopped.answer.get("undo") else None
        if undo and not (undo.state.final and not await self.requests.attempts(undo.id)):
            raise NotDecided("This is being undone, or was undone already, so it does not go on.")
        approval = stopped.approval
        if approval is not None and (objection := await self._counts_no_more(stopped, approval, action)):
            raise NotDecided(f"{objection} Undo what was done, or ask for it anew.")
        return operator

    async def _counts_no_more(self, request: Request, approval: Approval, action: Action) -> str | None:
        """Why whoever agreed could not agree any more; None if they could."""
        approver = await self.operators.find(approval.decided_by) if approval.decided_by else None
        if approver is None:
            return "Whoever approved it is no operator any more."
        if approval.break_glass:
            _, obstacle = await self._tenant_admin(approver.slack)
        else:
            _, decision = await self._decision(request, action, approver.slack)
            obstacle = "" if decision.verdict is policy.Verdict.ALLOW else policy.because(decision)
        if obstacle:
            return f"{await self._decider(approval)} approved it, but may not do so any more."
        await self.standing.check(approver, fresh=AT_ONCE)
        return None

    # --- -------------------------------------------------------------------------------------------------------------

    async def asked(self, request: Request, seen: str | None = None) -> tuple[Approval, Action]:
        """The question that waits for an answer, and what it is about. Raises `NotDecided` if none does (any more), or
        if it is not the one that was *seen*."""
        approval, action = request.approval, catalogue().get(request.action)
        if approval is not None and seen is not None and approval.id != seen:
            raise NotDecided("This was asked anew since, because something changed. Look at the newer message.")
        if request.state is not RequestState.AWAITING_APPROVAL or approval is None or action is None:
            first = f"{await self._was_first(approval)} " if approval and approval.decided_by else ""
            raise NotDecided(f"{first}This is settled already. {request.sentence}".rstrip())
        if approval.state is not ApprovalState.PENDING or approval.expires_at <= self.clock.now():
            raise NotDecided("This waited too long for an answer, so nothing is done any more.")
        return approval, action

    async def _who_may(self, request: Request, action: Action, by: SlackUser, what: str) -> Operator:
        rights, decision = await self._decision(request, action, by)
        if decision.verdict is not policy.Verdict.ALLOW or rights.operator is None:
            await self._refuse(request, rights.operator, by, what, _why(decision), policy.because(decision))
        return rights.operator

    async def _tenant_admin(self, by: SlackUser) -> tuple[Operator | None, str]:
        """Who they are, and why they may not decide alone; empty if they may."""
        rights = self.operators.rights(by, policy.ADMIN_COMMAND)
        if not policy.holds(rights, policy.ADMIN_COMMAND, self.clock.now(), await self.settings.current()):
            return rights.operator, "Only a tenant admin can break the glass. Ask one to look at the request."
        bound = rights.operator is not None and rights.operator.account_id is not None
        return rights.operator, "" if bound else "Link your Microsoft account first: `/m365 link`."

    async def _refuse(
        self, request: Request, operator: Operator | None, by: SlackUser, what: str, why: str, sentence: str
    ) -> NoReturn:
        """Somebody tried who may not: that is written down."""
        refused = AuditRecord(
            "approval.refused",
            operator_id=operator.id if operator else None,
            request_id=request.id,
            facts={"did": what, "team": by.team, "user": by.user, "why": why},
        )
        await self.audit.append(refused)
        raise NotDecided(sentence)

    def _prove(self, request: Request, action: Action, by: SlackUser) -> None:
        sensitive = action.sensitive or (request.plan is not None and request.plan.sensitive)
        if sensitive and self.sign_ins.has_callback and not self._is_fresh(by):
            raise SignInFirst("Sign in at Microsoft first, to prove that it is you who approves this.")

    async def _decision(self, request: Request, action: Action, by: SlackUser) -> tuple[Rights, policy.Decision]:
        """Whether this person may agree to *request* or deny it."""
        command = policy.agreed_by(action)
        rights = self.operators.rights(by, command)
        asked_by = await self._operator(request)
        settings = await self.settings.current()
        return rights, policy.decide_agreement(
            rights, asked_by, own=action.own, command=command, now=self.clock.now(), settings=settings
        )

    async def _decide(
        self,
        request: Request,
        approval: Approval,
        by: Operator,
        state: ApprovalState,
        *,
        reason: str = "",
        delivery: str | None,
    ) -> Request:
        now = self.clock.now()
        decided = replace(approval, state=state, decided_by=by.id, decided_at=now, reason=reason)
        if state is ApprovalState.DENIED:
            sentence = f"{by.name or 'Somebody'} denied this: {reason}"
            after = replace(request, state=RequestState.REFUSED, sentence=sentence, finished_at=now, due_at=None)
            kind = "approval.denied"
        else:
            after = replace(request, state=RequestState.READY, sentence="", due_at=None)
            kind = "approval.break_glass" if decided.break_glass else "approval.given"
        return await self._save(after, decided, _record(kind, request, decided, by.id), delivery)

    async def _save(self, request: Request, approval: Approval, record: AuditRecord, delivery: str | None) -> Request:
        changed = replace(request, approval=approval)
        also = await self._alerts(request, approval) if approval.break_glass else []
        while True:
            try:
                say = [*story.messages(changed, self.clock.now()), *also]
                return await self.requests.save(changed, audit=[record], say=say, delivery=delivery)
            except Conflict as error:
                now = await self.requests.find(request.id)
                if now is None or not _still_asks(now, approval):
                    first = now.approval if now and now.approval and now.approval.decided_by else None
                    sentence = await self._was_first(first) if first else "This changed while you answered."
                    raise NotDecided(f"{sentence} Look at it again.") from error
                # It was only reminded of meanwhile, or said that nobody could be told.
                reminders = now.approval.reminders if now.approval else 0
                changed = replace(
                    changed, version=now.version, approval=replace(approval, reminders=reminders), answer=now.answer
                )

    async def _alerts(self, request: Request, approval: Approval) -> list[Message]:
        """The alert once more for a few other tenant admins in person: a channel may be muted, or Latchkey put out of
        it meanwhile."""
        others = [each for each in await self.operators.who_may(policy.ADMIN_COMMAND) if each.id != request.operator_id]
        return [story.alert(request, approval, to=other.slack.user) for other in others]

    async def _was_first(self, decided: Approval) -> str:
        what = "approved" if decided.state is ApprovalState.APPROVED else decided.state.value
        return f"{await self._decider(decided)} was first: {what}."

    async def _decider(self, decided: Approval) -> str:
        operator = await self.operators.find(decided.decided_by) if decided.decided_by else None
        return (operator.name if operator else None) or "Somebody"

    async def _operator(self, request: Request) -> Operator | None:
        return await self.operators.find(request.operator_id) if request.operator_id else None

    async def _question(self, rights: Rights, command: str) -> policy.Question:
        return policy.Question(rights, command, None, self.clock.now(), await self.settings.current())

    def _is_fresh(self, slack: SlackUser) -> bool:
        signed_in = self.sign_ins.last_fresh(slack)
        return signed_in is not None and self.clock.now() - signed_in < FRESH


def _said(text: str, missing: str) -> str:
    """What somebody gives as a reason. Raises `BadInput` if there is nothing in it that can be read."""
    text = text.strip()[:_LONGEST]
    if not any(char.isprintable() and not char.isspace() for char in text):
        raise BadInput(missing, field="reason")
    return text


def _still_asks(request: Request, approval: Approval) -> bool:
    now = request.approval
    return (
        request.state is RequestState.AWAITING_APPROVAL
        and now is not None
        and (now.id, now.state) == (approval.id, ApprovalState.PENDING)
    )


def _why(decision: policy.Decision) -> str:
    return decision.deny.code.value if decision.deny else "grant"


def _record(kind: str, request: Request, approval: Approval, by: str | None) -> AuditRecord:
    facts = {
        "approval": approval.id,
        "action": request.action,
        "plan_digest": approval.digest,
        "reason": approval.reason,
        "review": approval.review,
    }
    return AuditRecord(
        kind,
        operator_id=by,
        request_id=request.id,
        target_id=request.target.id if request.target else None,
        facts={name: value for name, value in facts.items() if value},
    )
