"""Makes Slack agree with the outbox: one reporter for the workspace, paced, sending only the newest of each message.

It is woken by the outbox, never polls, and keeps nothing that matters: what was sent stands in the outbox's rows, so a
new process goes on where the last one stopped. Messages may come twice, then say so; they never get lost.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, TypeGuard

from bot.actions import catalogue
from bot.alerts import CARD, LINE
from bot.errors import LatchkeyError
from bot.model import Request
from bot.ports import Audience, Clock, Message, Operators, Requests
from bot.timing import woken_or_at
from handlers.identity import People
from handlers.pacing import BETWEEN_UPDATES, Pace
from handlers.places import Place, Places
from handlers.ports import Outbox, Outgoing
from handlers.slack import Slack, SlackProblem, SlackRefused, SlackSilent
from handlers.views.blocks import Said
from handlers.views.messages import NOTICES, VIEWS
from handlers.views.wording import Known
from handlers.voice import Voice

log = logging.getLogger(__name__)

AT_ONCE: Final = 8
"""Stories told at the same time."""

_NO_PLANS_FOR: Final = 3600.0
"""Seconds for which a Slack that refused a plan is sent text instead."""

_SHORTEST_REST: Final = 1.0
_LONGEST_REST: Final = 60.0
"""Seconds between attempts while Slack cannot be reached; doubled from one to the other."""

_NOT_THERE: Final = frozenset(
    {"channel_not_found", "not_in_channel", "is_archived", "restricted_action", "team_access_not_granted"}
)
_SHARED: Final = "another company reads there"
_WHY_UNHEARD: Final[Mapping[str, str]] = {
    _SHARED: "another company reads in the {} channel.",
    "channel_not_found": "Slack knows no such {} channel, or Latchkey is not in it.",
    "not_in_channel": "Latchkey is not in the {} channel.",
    "is_archived": "the {} channel is archived.",
    "restricted_action": "Latchkey may not write in the {} channel.",
}
_GONE: Final = frozenset({"message_not_found", "cant_update_message", "edit_window_closed", *_NOT_THERE})
_BLOCKS: Final = frozenset({"invalid_blocks", "invalid_blocks_format", "invalid_attachments"})
_LATER: Final = frozenset(
    {"internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org"}
    # Without its token the bot can say nothing; somebody has to put that right, and then everything is said.
    | {"invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "missing_scope"}
)

_PEOPLE: Final = ("U", "W")
"""How ids of people begin (Slack docs: *User object*)."""

_REMEMBERED: Final = 2000


class _NotNow(Exception):
    """The message waits, *seconds* from now."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


Stands = dict[str, tuple[str, str]]
"""Where messages of a story stand in Slack: key to channel and `ts`."""


Unheard = Callable[[Request, str, str], Awaitable[None]]
AlertUnheard = Callable[[Message, str], Awaitable[None]]


class Reporter:
    """Tells stories: a story is a message with those in its thread, told in order by one task at a time."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        requests: Requests,
        operators: Operators,
        people: People,
        places: Places,
        slack: Slack,
        voice: Voice,
        clock: Clock,
        support: str,
        unheard: Unheard,
        alert_unheard: AlertUnheard,
    ) -> None:
        """*unheard* is told when the question for an approval cannot be put where it is asked, and why; *alert_unheard*
        when an alert cannot stand where it belongs."""
        self._outbox = outbox
        self._requests = requests
        self._operators = operators
        self._people = people
        self._places = places
        self._slack = slack
        self._voice = voice
        self._clock = clock
        self._support = support
        self._unheard = unheard
        self._alert_unheard = alert_unheard
        self._pace = Pace(clock.monotonic())
        self._tellers = asyncio.Semaphore(AT_ONCE)
        self._stories: dict[str, asyncio.Task[None]] = {}
        self._once_more: set[str] = set()
        self._held: dict[str, float] = {}
        self._down_until = 0.0
        self._rest = _SHORTEST_REST
        self._no_plans_until = 0.0
        self._placed_here: set[str] = set()
        self._shown: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._woken = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to drain the outbox, what an earlier process left first."""
        self._outbox.on_change(self._woken.set)
        self._loop = asyncio.create_task(self._run(), name="reporter")

    async def close(self, grace: float = 5.0) -> None:
        """Say what can be said within *grace* seconds; the rest is in the outbox."""
        if self._loop is None:
            return
        self._loop.cancel()
        await asyncio.gather(self._loop, return_exceptions=True)
        try:
            await self._look()
        except LatchkeyError as error:
            log.error("the outbox cannot be read", extra={"error": type(error).__name__})
        stories = tuple(self._stories.values())
        if stories:
            await asyncio.wait(stories, timeout=grace)
        for story in stories:
            story.cancel()
        await asyncio.gather(*stories, return_exceptions=True)

    # --- when ---------------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            try:
                again_at = await self._look()
            except Exception:  # whatever it was, the reporter looks again: nobody else would say anything
                log.exception("the outbox cannot be read")
                again_at = self._clock.now() + timedelta(seconds=_LONGEST_REST)
            await woken_or_at(self._clock, self._woken, again_at)

    async def _look(self) -> datetime | None:
        """Begin every story that has something to say now; returns when the next one will."""
        now, ticks = self._clock.now(), self._clock.monotonic()
        stories: dict[str, list[Outgoing]] = {}
        waits, unposted = [], set()
        telling = frozenset(self._stories)
        for row in await self._outbox.pending(now):
            root = _story_of(row.message)
            if (wait := self._wait_for(row, ticks)) > 0 or root in unposted:
                waits.append(now + timedelta(seconds=max(wait, 0.0)))
                if row.ts is None and row.message.under is None:
                    unposted.add(root)
            elif root in self._stories:
                self._once_more.add(root)
            elif root in telling:  # it ended while the outbox was read, so this row may have been said already
                self._woken.set()
            else:
                stories.setdefault(root, []).append(row)
        for root in sorted(stories, key=lambda root: not any(row.final for row in stories[root])):
            self._stories[root] = asyncio.create_task(self._tell(root, stories[root]))
        if held_back := await self._outbox.next_after(now):
            waits.append(held_back)
        return min((wait for wait in waits if wait > now), default=None)

    def _wait_for(self, row: Outgoing, ticks: float) -> float:
        """Seconds until *row* may be said. What is final does not wait for what was shown before."""
        shown_at = self._shown[row.message.key][1] if row.ts and row.message.key in self._shown else None
        not_before = [self._down_until, self._held.get(row.message.key, 0.0)]
        if shown_at is not None and not row.final:
            not_before.append(shown_at + BETWEEN_UPDATES)
        return max(not_before) - ticks

    async def _tell(self, root: str, rows: Sequence[Outgoing]) -> None:
        stands: Stands = {}
        try:
            async with self._tellers:
                for row in rows:
                    if not await self._try(row, stands):
                        break
        finally:
            del self._stories[root]
            if root in self._once_more:
                self._once_more.discard(root)
                self._woken.set()

    async def _try(self, row: Outgoing, stands: Stands) -> bool:
        """Say *row* if it can be said now; whether the story goes on."""
        key = row.message.key
        self._held.pop(key, None)
        try:
            await self._say(row, stands)
        except _NotNow as later:
            self._hold(key, later.seconds)
        except Exception:  # the reporter must not die of one message; it is tried again, and the log has it
            log.exception("reporter stumbled", extra={"message_key": key})
            self._hold(key, _LONGEST_REST)
        else:
            return True
        return bool(row.ts or row.message.under) and self._down_until <= self._clock.monotonic()

    def _hold(self, key: str, seconds: float) -> None:
        self._held[key] = self._clock.monotonic() + seconds
        self._woken.set()

    # --- what ---------------------------------------------------------------------------------------------------------

    async def _say(self, row: Outgoing, stands: Stands) -> None:
        """Bring Slack up to date about one message, noting where it stands. Raises `_NotNow`."""
        message = row.message
        request = await self._requests.find(message.subject) if message.subject else None
        try:
            if message.audience is Audience.CHANNEL and (request is not None or not message.subject):
                await self._say_in_channel(row, request, stands)
            elif request is None:
                await self._outbox.failed(message.key, row.revision, "no such request")
                return
            elif message.audience is Audience.REQUESTER:
                await self._say_privately(row, request)
            elif row.channel and row.ts and not await self._places.is_shared(row.channel):
                stands[message.key] = row.channel, row.ts
                await self._rewrite(row, request, row.channel, row.ts)
            elif row.channel and row.ts and message.under:
                # Another company reads there since: what stands there stays, and the story goes on in private.
                await self._outbox.sent(message.key, row.revision, channel=row.channel, ts=row.ts)
            else:
                await self._post(row, request, stands)
        except SlackProblem as problem:
            await self._stumble(row, request, problem)
            return
        self._down_until, self._rest = 0.0, _SHORTEST_REST

    async def _stumble(self, row: Outgoing, request: Request | None, problem: SlackProblem) -> None:
        """Decide what becomes of a message that did not go through."""
        key = row.message.key
        if isinstance(problem, SlackRefused):
            if problem.wait is not None:
                raise _NotNow(problem.wait)
            if problem.code not in _LATER:
                log.error("slack will not take a message", extra={"message_key": key, "code": problem.code})
                await self._nobody_heard(row, request, problem.code)
                await self._outbox.failed(key, row.revision, problem.code)
                return
        log.warning("slack is not there", extra={"message_key": key, "problem": str(problem)})
        rest, self._rest = self._rest, min(2 * self._rest, _LONGEST_REST)
        self._down_until = self._clock.monotonic() + rest
        raise _NotNow(rest)

    async def _render(
        self, row: Outgoing, request: Request | None, *, here_because: str = "", maybe_twice: bool = False
    ) -> Said | None:
        approval = request.approval if request else None
        known = Known(
            action=catalogue().get(request.action) if request else None,
            by=await self._asker(request) if request else "",
            decided_by=await self._name(approval.decided_by) if approval else "",
            reviewed_by=await self._name(approval.reviewed_by) if approval else "",
            here_because=here_because,
            maybe_twice=maybe_twice,
            support=self._support,
            data=row.message.data,
        )
        view = row.message.view
        said = VIEWS[view](request, known) if request else NOTICES[view](known)
        if said and said.has_plan and self._clock.monotonic() < self._no_plans_until:
            return Said(said.text, ())
        return said

    async def _name(self, operator_id: str | None) -> str:
        operator = await self._operators.find(operator_id) if operator_id else None
        return (operator.name or await self._people.name(operator.slack.user)) if operator else ""

    async def _asker(self, request: Request) -> str:
        operator = await self._operators.find(request.operator_id) if request.operator_id else None
        return operator.name if operator and operator.name else await self._people.name(request.slack.user)

    # --- in private ---------------------------------------------------------------------------------------------------

    async def _say_privately(self, row: Outgoing, request: Request) -> None:
        said = await self._render(row, request, maybe_twice=row.maybe_sent)
        if said is not None:
            try:
                await self._voice.privately(request.slack.user, said, request.origin.channel, row.reply_url)
            except SlackSilent:
                await self._outbox.maybe_sent(row.message.key)
                raise
        await self._outbox.sent(row.message.key, row.revision)

    # --- in a place ---------------------------------------------------------------------------------------------------

    async def _say_in_channel(self, row: Outgoing, request: Request | None, stands: Stands) -> None:
        """Post or rewrite what belongs in the channel that the message itself names, and nowhere else."""
        channel: str | None = row.channel or await self._named(row.message)
        thread = None
        if under := row.message.under:
            channel, thread = stands.get(under) or (row.parent_channel, row.parent_ts)
        if not channel or (under and not thread):
            why = "what it belongs under could not be posted" if under else "it names no channel"
        elif await self._places.is_shared(channel):
            why = _SHARED
        else:
            if row.ts:
                await self._rewrite(row, request, channel, row.ts)
                stands[row.message.key] = channel, row.ts
            else:
                stands[row.message.key] = await self._post_at(Place(channel), thread, row, request)
            return
        log.error("a message has no place", extra={"message_key": row.message.key, "channel": channel, "why": why})
        await self._nobody_heard(row, request, why)
        await self._outbox.failed(row.message.key, row.revision, why)

    async def _nobody_heard(self, row: Outgoing, request: Request | None, why: str) -> None:
        """A question that nobody hears is not left to wait in silence."""
        if row.message.view == "approval" and request is not None and row.ts is None:
            await self._unheard(request, str(row.message.data.get("approval")), _unheard_because(why, "approvals"))
        elif row.message.view == CARD and (row.ts is None or why == _SHARED or why in _NOT_THERE):
            await self._alert_unheard(row.message, _unheard_because(why, "alerts"))

    async def _named(self, message: Message) -> str:
        name = str(message.data.get("channel") or "")
        return await self._places.direct(name) if name.startswith(_PEOPLE) else name

    async def _rewrite(self, row: Outgoing, request: Request | None, channel: str, ts: str) -> None:
        key, now = row.message.key, self._clock.monotonic()
        shown, _ = self._shown.get(key, ("", now))
        said = await self._render(row, request, here_because=await self._why_here(row, request))
        if said is not None and _fingerprint(said) != shown:
            if (wait := self._pace.update(now)) > 0:
                raise _NotNow(wait)
            try:
                await self._update(channel, ts, said)
            except SlackRefused as error:
                if error.wait is not None:
                    self._pace.told_to_wait(error.wait, now, None)
                if error.code in _GONE and row.final and row.message.under is None and _may_move(request, row):
                    log.warning("message is gone", extra={"message_key": key, "code": error.code})
                    await self._post_at(await self._elsewhere(request), None, row, request)
                    return
                raise
            self._remember(key, said, final=row.final)
        await self._outbox.sent(key, row.revision, channel=channel, ts=ts)

    async def _post(self, row: Outgoing, request: Request, stands: Stands) -> None:
        under = row.message.under
        if under is None:
            stands[row.message.key] = await self._post_at(await self._places.of(request), None, row, request)
            return
        parent = stands.get(under)
        if parent is None and row.parent_channel and row.parent_ts:
            parent = row.parent_channel, row.parent_ts
        if parent is None:
            await self._outbox.failed(row.message.key, row.revision, "what it belongs under could not be posted")
            return
        if await self._places.is_shared(parent[0]):
            await self._post_at(await self._places.of(request), None, row, request)
            return
        await self._post_at(Place(parent[0]), parent[1], row, request)

    async def _post_at(
        self, place: Place, thread: str | None, row: Outgoing, request: Request | None
    ) -> tuple[str, str]:
        """Post a new message in *place*, or in the direct message with its requester if that does not take it."""
        key = row.message.key
        left_over = row.channel is not None and row.ts is None and key not in self._placed_here
        said = await self._render(
            row, request, here_because=place.here_because, maybe_twice=row.maybe_sent or left_over
        )
        if said is None:
            await self._outbox.sent(key, row.revision)
            return place.channel, ""
        now = self._clock.monotonic()
        if (wait := self._pace.post(place.channel, now)) > 0:
            raise _NotNow(wait)
        try:
            # Committed first: a process that dies while posting leaves a row that says so.
            await self._outbox.placed(key, place.channel)
            self._placed_here.add(key)
            ts = await self._send(place.channel, said, thread)
        except SlackSilent:
            await self._outbox.maybe_sent(key)
            raise
        except SlackRefused as error:
            if error.wait is not None:
                self._pace.told_to_wait(error.wait, now, place.channel)
            # The outcome reaches its reader wherever it can; steps without their thread help nobody.
            if error.code in _NOT_THERE and row.message.view != "steps" and _may_move(request, row):
                elsewhere = await self._elsewhere(request)
                if place.channel != elsewhere.channel:
                    return await self._post_at(elsewhere, None, row, request)
            raise
        finally:
            self._pace.posted(place.channel, self._clock.monotonic())
        self._placed_here.discard(key)
        self._remember(key, said, final=row.final)
        await self._outbox.sent(key, row.revision, channel=place.channel, ts=ts)
        return place.channel, ts

    async def _elsewhere(self, request: Request) -> Place:
        """The direct message with the requester, when the channel does not take the story (any more)."""
        self._places.forget(request.origin.channel)
        why = "It is told here because Slack does not let Latchkey write in the channel you asked in."
        return Place(await self._places.direct(request.slack.user), why)

    async def _why_here(self, row: Outgoing, request: Request | None) -> str:
        if row.message.under or not _may_move(request, row) or row.channel == request.origin.channel:
            return ""
        place = await self._places.of(request)
        return place.here_because if place.channel == row.channel else ""

    # --- sending ------------------------------------------------------------------------------------------------------

    async def _send(self, channel: str, said: Said, thread: str | None) -> str:
        try:
            return await self._slack.post(channel, said, thread=thread)
        except SlackRefused as error:
            if error.code not in _BLOCKS or not said.blocks:
                raise
            return await self._slack.post(channel, self._in_text(said, error), thread=thread)

    async def _update(self, channel: str, ts: str, said: Said) -> None:
        try:
            await self._slack.update(channel, ts, said)
        except SlackRefused as error:
            if error.code not in _BLOCKS or not said.blocks:
                raise
            await self._slack.update(channel, ts, self._in_text(said, error))

    def _in_text(self, said: Said, error: SlackRefused) -> Said:
        log.warning("slack refused blocks", extra={"code": error.code, "plan": said.has_plan})
        if said.has_plan:
            self._no_plans_until = self._clock.monotonic() + _NO_PLANS_FOR
        return Said(said.text, ())

    def _remember(self, key: str, said: Said, *, final: bool) -> None:
        """What stands in Slack, so that the same is not sent again; of final messages the first to be forgotten."""
        self._shown[key] = (_fingerprint(said), self._clock.monotonic())
        self._shown.move_to_end(key, last=not final)
        while len(self._shown) > _REMEMBERED:
            self._shown.popitem(last=False)


def _may_move(request: Request | None, row: Outgoing) -> TypeGuard[Request]:
    """Whether the message may stand in its requester's direct messages where its place does not take it."""
    return request is not None and row.message.audience is not Audience.CHANNEL


def _story_of(message: Message) -> str:
    """What it is told in one order with: alerts come one after the other, as they were raised."""
    return "alert" if message.view in {CARD, LINE} else message.under or message.key


def _unheard_because(why: str, channel: str) -> str:
    return _WHY_UNHEARD.get(why, f"Slack does not take it in the {channel} channel ({why}).").format(channel)


def _fingerprint(said: Said) -> str:
    return json.dumps([said.text, *said.blocks], sort_keys=True)
