"""What people press on cards, answers and the Home tab. A button carries an id; everything else comes from the row."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace

from bot import story
from bot.actions import catalogue
from bot.approvals import Approvals
from bot.command import looks_exact
from bot.errors import BadInput, LatchkeyError, NoLonger
from bot.model import AuditRecord, Origin, Request, RequestState, Secret
from bot.passwords import spell
from bot.ports import Clock, Message, Requests, Reveals
from bot.standing import AT_ONCE, Standing
from handlers.desk import Desk
from handlers.gestures import Gesture
from handlers.places import Places
from handlers.ports import Worker
from handlers.slack import Slack, SlackProblem
from handlers.views import answer, form, reveal, whatif
from handlers.views.blocks import Said, View, said, section
from handlers.views.wording import Known, whom, wish
from handlers.wishes import Wishes, new_id

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Buttons:
    """Hears presses."""

    clock: Clock
    slack: Slack
    desk: Desk
    places: Places
    wishes: Wishes
    requests: Requests
    reveals: Reveals
    standing: Standing
    approvals: Approvals
    worker: Worker
    _showing: set[tuple[str, str]] = field(default_factory=set, init=False)
    """Whom a secret is being shown to, and the request's id."""

    # --- secrets ------------------------------------------------------------------------------------------------------

    async def show_secret(self, gesture: Gesture) -> None:
        """Show a secret once, in a window, to the person who asked for it."""
        asked = gesture.user, gesture.value
        if asked in self._showing:
            return  # a double click: a second window would take the place of the first, and the secret with it
        self._showing.add(asked)
        try:
            await self._show_secret(gesture)
        finally:
            self._showing.discard(asked)

    async def _show_secret(self, gesture: Gesture) -> None:
        try:
            window = await self.slack.open_view(gesture.trigger, reveal.loading())
        except SlackProblem as problem:
            raise BadInput("Slack did not open a window. Nothing is lost: press the button again.") from problem
        try:
            request = await self._may_see(gesture)
            secret = await self._take_out(request)
        except LatchkeyError as error:
            await self.slack.update_view(window, reveal.told(str(error)))
            return
        try:
            await self.slack.update_view(window, _spelled(request, secret))
        except SlackProblem as problem:
            log.warning("a secret was not shown", extra={"request": request.id, "problem": str(problem)})
            await self._lost(request.id, "Slack did not show it")
        else:
            await self._seen(request.id)

    async def _may_see(self, gesture: Gesture) -> Request:
        """The request, marked as being shown: whoever wins this change of its row is the one who takes the secret."""
        request = await self.desk.own(gesture.value, gesture)
        if request.answer.get("reveal") != "waiting":
            raise BadInput(_nothing_to_see(request))
        operator = self.wishes.operators.rights(gesture.actor, request.command).operator
        if operator is None or operator.suspended:
            raise NoLonger("You are no operator any more, so nothing is shown. Ask a tenant admin.", why="suspended")
        await self.standing.check(operator, fresh=AT_ONCE)
        record = AuditRecord(
            "reveal.shown",
            operator_id=request.operator_id,
            request_id=request.id,
            target_id=request.target.id if request.target else None,
        )
        # It stays due: a process that dies before the window shows it leaves a row that a restart looks at.
        return await self._save(replace(request, answer={**request.answer, "reveal": "showing"}), gesture, record)

    async def _take_out(self, request: Request) -> Secret:
        secret = self.reveals.take(request.id)
        if secret is None:
            raise BadInput(_nothing_to_see(await self._lost(request.id, "nobody looked at it in time")))
        return secret

    async def _seen(self, request_id: str) -> Request:
        request = await self.desk.find(request_id)
        revealed = {"reveal": "revealed", "revealed_at": self.clock.now().isoformat()}
        # What is not confirmed yet is looked at again when it is due, whoever saw its secret.
        due = request.due_at if request.state is RequestState.UNKNOWN else None
        return await self._save(replace(request, answer={**request.answer, **revealed}, due_at=due))

    async def _lost(self, request_id: str, why: str) -> Request:
        """Nobody saw it and nobody can any more: the card says so and offers to do it again."""
        request = await self.desk.find(request_id)
        action = catalogue().get(request.action)
        sentence = story.unseen(action.done.format(target=whom(request)), why, whom(request)) if action else ""
        answer = {**request.answer, "reveal": "lost"}
        lost = replace(request, state=RequestState.DONE, sentence=sentence, answer=answer, due_at=None)
        return await self._save(lost)

    # --- once more, and back ------------------------------------------------------------------------------------------

    async def undo(self, gesture: Gesture) -> None:
        """Take back what was done, under the rights of whoever presses."""
        await self.undo_of(await self.desk.find(gesture.value), gesture)

    async def undo_of(self, done: Request, gesture: Gesture) -> None:
        """The same for a request that was named otherwise. Raises `BadInput` if it cannot be undone (any more)."""
        stopped = done.state is RequestState.FAILED and done.answer.get("go_on")
        back = done.plan.undo if done.plan and (done.state is RequestState.DONE or stopped) else None
        if back is None or done.target is None:
            raise BadInput("This cannot be undone.")
        asked = _wish_of(
            gesture,
            self.clock,
            replace(
                done,
                action=back.action,
                inputs=back.inputs,
                reason=f"Undo: {wish(done, catalogue().get(done.action))}",
                verified="",
                undo_of=done.id,
                repeat_of=None,
            ),
        )
        await self._once(done, "undo", asked, gesture, "This is being undone already.")

    async def try_again(self, gesture: Gesture) -> None:
        """The same request anew, for the person whose request failed."""
        failed = await self.desk.own(gesture.value, gesture)
        if failed.state not in {RequestState.FAILED, RequestState.UNKNOWN} or not failed.answer.get("again"):
            raise BadInput("There is nothing to try again here.")
        asked = _wish_of(gesture, self.clock, failed)
        if failed.started_at and failed.target and not gesture.modal:
            # It was agreed to already. The runner looks at everything again, and asks if something changed.
            asked = replace(asked, state=RequestState.READY)
        await self._once(failed, "retried", asked, gesture, "This was tried again already.")

    async def retry_step(self, gesture: Gesture) -> None:
        """Go on with a plan of several steps that stopped at one. Anybody may who could have asked for it."""
        stopped = await self.desk.find(gesture.value)
        if stopped.state is not RequestState.FAILED or not stopped.answer.get("go_on"):
            raise BadInput("There is nothing to go on with here.")
        operator = await self.approvals.may_go_on(stopped, gesture.actor)
        going_on = story.on_its_way_again(stopped, RequestState.RUNNING)
        record = AuditRecord("request.resumed", operator_id=operator.id, request_id=stopped.id)
        await self._save(going_on, gesture, record)
        self.worker.wake(stopped.id)

    async def reset_again(self, gesture: Gesture) -> None:
        """A secret that nobody saw is made anew."""
        unseen = await self.desk.own(gesture.value, gesture)
        if unseen.answer.get("reveal") not in {"expired", "lost"}:
            raise BadInput("There is nothing to reset again here.")
        asked = _wish_of(gesture, self.clock, replace(unseen, repeat_of=unseen.id))
        asked = replace(asked, state=RequestState.READY)
        await self._once(unseen, "again_as", asked, gesture, "This was reset again already.")

    async def _once(self, old: Request, what: str, asked: Request, gesture: Gesture, already: str) -> None:
        """Make *asked* of *old*, at most once: the old row names its successor before that exists."""
        if not await self.wishes.may(asked):
            # The refusal is written down and told; the old request stays as it is, for somebody who may.
            await self.wishes.make(asked, gesture)
            return
        named = old.answer.get(what)
        if named is not None and not (named == asked.id and await self.requests.find(asked.id) is None):
            raise BadInput(already)
        if named is None:
            await self._save(replace(old, answer={**old.answer, what: asked.id}))
        await self.wishes.make(asked, gesture, view=gesture.modal)

    # --- questions that wait for an answer ----------------------------------------------------------------------------

    async def go_on(self, gesture: Gesture) -> None:
        """*Continue*: open the form that could not be opened in time."""
        request = await self.desk.own(gesture.value, gesture)
        if request.state is not RequestState.AWAITING_CONFIRMATION or request.form:
            raise BadInput("This has gone on already, or has ended.")
        await self.wishes.show_form(request, gesture)
        await self._acknowledge(gesture, "The form is open.")

    async def do_anyway(self, gesture: Gesture) -> None:
        """Go on although something changed, or somebody did the same a moment ago."""
        request = await self._asked(gesture, "ask")
        repeat_of = request.answer.get("repeat_of") or request.repeat_of
        state = RequestState.READY if request.target else RequestState.RECEIVED
        await self._agree(replace(request, state=state, repeat_of=repeat_of, answer={}), gesture)

    async def open_session(self, gesture: Gesture) -> None:
        """Open the management session that does not open by itself, and go on."""
        request = await self._asked(gesture, "open")
        agreed = request.started_at is not None and request.target is not None
        state = RequestState.READY if agreed else RequestState.RECEIVED
        await self._agree(replace(request, state=state, answer={"may_open": True}), gesture)
        await self._acknowledge(gesture, "Opening the management session …")

    async def leave(self, gesture: Gesture) -> None:
        """Do not go on."""
        request = await self.desk.own(gesture.value, gesture)
        if request.state is not RequestState.AWAITING_CONFIRMATION:
            raise BadInput("This has gone on already, or has ended.")
        sentence = "Left as it was: nothing was done."
        record = AuditRecord("request.withdrawn", operator_id=request.operator_id, request_id=request.id)
        now = self.clock.now()
        left = replace(request, state=RequestState.WITHDRAWN, sentence=sentence, finished_at=now, due_at=None)
        await self._save(left, gesture, record)
        await self._acknowledge(gesture, sentence)

    async def choose(self, gesture: Gesture) -> None:
        """One of the people who could be meant. The block names the request."""
        request = await self.desk.own(gesture.block, gesture)
        if request.state is not RequestState.AWAITING_CONFIRMATION or "suggestions" not in request.answer:
            raise BadInput("This has gone on already, or has ended.")
        if not looks_exact(gesture.value):
            raise BadInput("Choose somebody from the list.")
        await self._agree(
            replace(request, state=RequestState.RECEIVED, typed=gesture.value, sentence="", answer={}), gesture
        )
        await self._acknowledge(gesture, "Looking …")

    async def _asked(self, gesture: Gesture, question: str) -> Request:
        request = await self.desk.own(gesture.value, gesture)
        if request.state is not RequestState.AWAITING_CONFIRMATION or not request.answer.get(question):
            raise BadInput("This has gone on already, or has ended.")
        return request

    async def _agree(self, request: Request, gesture: Gesture) -> None:
        await self._save(replace(request, due_at=None), gesture)
        self.worker.wake(request.id)

    # --- reads --------------------------------------------------------------------------------------------------------

    async def share(self, gesture: Gesture) -> None:
        """Show everybody in the channel what only the requester saw."""
        request = await self.desk.own(gesture.value, gesture)
        action = catalogue().get(request.action)
        if request.state is not RequestState.DONE or action is None or action.writes or request.answer.get("shared"):
            raise BadInput("This was shared already, or cannot be.")
        place = await self.places.of(request)
        if place.here_because:
            raise BadInput(f"This cannot be shared there. {place.here_because}")
        request = replace(request, answer={**request.answer, "shared": True})
        request = await self.requests.save(
            request, delivery=gesture.delivery, say=[Message(f"shared:{request.id}", "shared", request.id)]
        )
        await self._acknowledge(gesture, answer.build(request, Known(action, by="")))

    async def older(self, gesture: Gesture) -> None:
        """The next page of the audit trail."""
        page = await self.desk.own(gesture.value, gesture)
        before = page.answer.get("next")
        if page.action != "audit" or not before:
            raise BadInput("There are no older entries.")
        asked = _wish_of(gesture, self.clock, replace(page, inputs={**page.inputs, "before": before}))
        await self.wishes.make(asked, gesture)

    async def change_inputs(self, gesture: Gesture) -> None:
        """Ask about another sign-in, in a form that holds what was asked about before."""
        asked = await self.desk.own(gesture.value, gesture)
        if asked.action != whatif.ASK:
            raise BadInput("There is nothing to change here.")
        await self.wishes.make(_wish_of(gesture, self.clock, asked), gesture, by_form=True)

    # --- -------------------------------------------------------------------------------------------------------------

    async def _save(self, request: Request, gesture: Gesture | None = None, *audit: AuditRecord) -> Request:
        """Commit a change of the row, and let its messages say so."""
        return await self.requests.save(
            request,
            audit=audit,
            say=story.messages(request, self.clock.now()),
            delivery=gesture.delivery if gesture else None,
        )

    async def _acknowledge(self, gesture: Gesture, words: str | Said) -> None:
        """Take the buttons away that were pressed, where no row's message does it. Only looks depend on it."""
        try:
            if gesture.modal and isinstance(words, str):
                await self.slack.update_view(gesture.modal, form.told("Latchkey", words))
            elif gesture.ephemeral and gesture.reply_url:
                shown = said(words, [section(words)]) if isinstance(words, str) else words
                await self.slack.reply(gesture.reply_url, shown, replace=True)
        except SlackProblem as problem:
            log.info("a private message stays as it was", extra={"problem": str(problem)})


def _wish_of(gesture: Gesture, clock: Clock, like: Request) -> Request:
    """A new request of whoever pressed, about what an earlier one was about."""
    surface = "button" if gesture.channel else "home"
    return Request(
        id=new_id(gesture),
        operator_id=None,
        slack=gesture.actor,
        command=_command_of(like),
        action=like.action,
        origin=Origin(gesture.channel or like.origin.channel, surface),
        created_at=clock.now(),
        typed=like.target.id if like.target else like.typed,
        target=like.target,
        inputs=like.inputs,
        reason=like.reason,
        verified=like.verified,
        ticket=like.ticket,
        preview=like.preview,
        undo_of=like.undo_of,
        repeat_of=like.repeat_of,
    )


def _command_of(request: Request) -> str:
    action = catalogue().get(request.action)
    return action.command if action else request.command


def _spelled(request: Request, secret: Secret) -> View:
    text = secret.reveal()
    what = wish(request, catalogue().get(request.action))
    return reveal.build(text, spell(text), whose=what, advice="Close this window and it is gone.")


def _nothing_to_see(request: Request) -> str:
    match request.answer.get("reveal"):
        case "revealed" | "showing":
            return "It was shown already, and it is shown only once. Reset again if it is needed."
        case "expired" | "lost":
            return "Nobody looked at it in time, so it is gone. Press *Reset again* on the card for a new one."
    return "There is nothing to show here."
