"""Alerts that somebody acts on: each incident is one card, said again with growing gaps until somebody acknowledges it.

An incident is a row. Everything that happens to it is decided here, purely, inside the transaction that writes it and
what is said and audited of it: whatever comes in whatever order, also from two processes, it is opened and closed once.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

from bot.errors import LatchkeyError, StorageProblem
from bot.model import Alert, AuditRecord, Operator, Severity, Trouble
from bot.ports import Audience, Clock, Message
from bot.timing import woken_or_at

log = logging.getLogger(__name__)

FIRST_GAP: Final = timedelta(minutes=15)
LONGEST_GAP: Final = timedelta(hours=8)
"""The gaps between repeats: the first, doubled each time, at most the other."""

FLAPPING: Final = timedelta(minutes=5)
"""What comes back within this time after its end is the same incident."""

MORNING: Final = time(8)
EVENING: Final = time(18)
"""The working hours, Monday to Friday in the tenant's time zone: what can wait is repeated in no others."""

BEFORE_PAGING_AGAIN: Final = timedelta(minutes=1)
LONGEST_PAGING_GAP: Final = timedelta(hours=1)
MOST_TRIES_AFTER_THE_END: Final = 12
"""The same for a webhook that does not take what it is told; how often it is still told that something is over."""

LOOK: Final = timedelta(minutes=1)
"""How often it is looked what other processes have left to be said."""

TRIGGER: Final = "trigger"
ACKNOWLEDGE: Final = "acknowledge"
RESOLVE: Final = "resolve"
"""What a webhook is told."""

CARD: Final = "alert"
LINE: Final = "alert-line"
"""The names under which the messages are said."""

_SEEN_IS_OVER: Final = frozenset({"emergency", "drill"})
"""What nothing puts right by itself: once somebody has seen it, it is over."""

_MERGES: Final = frozenset({"again", "repeat", "changed"})
"""Lines of which the last is enough, while Slack has not shown the one before."""


_STALES: Final = frozenset({"again", "repeat"})
"""Lines that any news replaces, while Slack has not shown them: they tell of times that are over by then."""


class DealtWith(LatchkeyError):
    """Somebody else was first, or it is over; the sentence says so."""


class NotPaged(LatchkeyError):
    """The webhook did not take it. The sentence says why; `wait` is how long it asked us to."""

    def __init__(self, sentence: str, *, wait: timedelta | None = None) -> None:
        super().__init__(sentence)
        self.wait = wait


class Pager(Protocol):
    """Wakes people. Telling it the same twice wakes nobody twice."""

    async def tell(self, event: str, alert: Alert) -> None:
        """Tell of a `TRIGGER`, an `ACKNOWLEDGE` or a `RESOLVE`. Raises `NotPaged`."""


class Holding(Protocol):
    @property
    def operator(self) -> Operator: ...


class Admins(Protocol):
    async def admin_holders(self) -> Sequence[Holding]:
        """Who is tenant admin now."""


Unsaid = Callable[[str], bool]
"""Whether Slack has never shown the message of this key."""


@dataclass(frozen=True)
class Change:
    """An incident as it becomes, and what is audited and said of that."""

    alert: Alert
    audit: tuple[AuditRecord, ...] = ()
    say: tuple[Message, ...] = ()


Decide = Callable[[Alert | None, Unsaid], Change | None]
"""What becomes of an incident (None: there is none). Pure: it runs in the writer's thread. None: nothing."""


class Incidents(Protocol):
    """The rows. Each method is one durable transaction; those that decide return what the incident has become, None if
    nothing came of it."""

    async def about(self, kind: str, about: str, decide: Decide) -> Alert | None:
        """Decide about the last incident of this kind and about, open or not."""

    async def by_id(self, alert_id: str, decide: Decide) -> Alert | None: ...

    async def of_kind(self, kind: str, decide: Decide) -> None:
        """Decide about each open one of this kind."""

    async def find(self, alert_id: str) -> Alert | None: ...

    async def open(self) -> Sequence[Alert]:
        """Those that are not over, oldest first."""

    async def due(self, now: datetime) -> Sequence[Alert]:
        """Those that are to be said again or whose webhook is to be told, now."""

    async def next_due(self) -> datetime | None: ...

    async def say_what_is_unsaid(self) -> None:
        """Wake whoever speaks to Slack, if another process left something to be said."""


# --- Deciding -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Means:
    """What is needed to decide: the time, whom it is told, who is mentioned, and whether there is a webhook."""

    now: datetime
    zone: ZoneInfo
    places: tuple[str, ...] = ()
    """Where new incidents are told."""
    mention: str = ""
    """A Slack user or user group."""
    admins: tuple[str, ...] = ()
    """Slack user ids of the tenant admins."""
    pages: bool = False

    def whom(self, *, in_thread: bool) -> list[str]:
        """Who is mentioned in a channel. Slack notifies of `here` outside threads only."""
        if self.mention:
            return [self.mention]
        return list(self.admins) if in_thread else ["here"]


def raised(means: Means, trouble: Trouble, found: Alert | None, unsaid: Unsaid) -> Change | None:
    """*trouble* is there: a new incident, more about the open one, or one that has come back."""
    now = means.now
    if found is None or (found.closed_at is not None and now - found.closed_at > FLAPPING):
        alert = Alert(uuid.uuid4().hex, trouble, opened_at=now, places=means.places)
        alert = _waking(means, replace(alert, repeat_at=_repeat_at(means, alert)))
        return _change(means, alert, _record("alert.raised", alert))
    if found.is_open and found.trouble == trouble:
        return None
    rises = trouble.severity is Severity.SESSIONS_STOP and found.trouble.severity is Severity.ATTENTION
    alert = replace(found, trouble=trouble, places=found.places or means.places)
    if rises:
        alert = replace(alert, acknowledged_by="", acknowledged_at=None, repeats=0)
    if found.is_open and not rises:
        if trouble.severity is not found.trouble.severity and alert.acknowledged_at is None:
            alert = replace(alert, repeat_at=_repeat_at(means, alert))
        return _change(means, *_line(means, alert, _what_changed(found.trouble, trouble), unsaid))
    alert = replace(alert, closed_at=None, how="", repeat_at=None)
    if alert.acknowledged_at is None:
        alert = _waking(means, replace(alert, repeat_at=_repeat_at(means, alert)))
    alert, said = _line(means, alert, "risen" if found.is_open else "back", unsaid)
    return _change(means, alert, said, _record("alert.raised", alert, worse=rises, back=not found.is_open))


def closed(means: Means, how: str, alert: Alert | None, unsaid: Unsaid) -> Change | None:
    """It is over."""
    if alert is None or not alert.is_open:
        return None
    alert = replace(alert, closed_at=means.now, how=how, repeat_at=None)
    alert = _telling(means, alert, RESOLVE)
    lasted = int((means.now - alert.opened_at).total_seconds())
    alert, said = _line(means, alert, "closed", unsaid)
    return _change(means, alert, said, _record("alert.closed", alert, how=how, lasted=lasted))


def acknowledged(means: Means, by: Operator, alert: Alert | None, unsaid: Unsaid) -> Change | None:
    """Somebody takes care of it. Where there is nothing to take care of, that ends it."""
    if alert is None or not alert.is_open or alert.acknowledged_at is not None:
        return None
    name = by.name or "Somebody"
    alert = replace(alert, acknowledged_by=name, acknowledged_at=means.now, repeat_at=None)
    record = replace(_record("alert.acknowledged", alert), operator_id=by.id)
    if alert.trouble.kind in _SEEN_IS_OVER:
        over = closed(means, f"{name} has seen it.", alert, unsaid)
        return replace(over, audit=(record, *over.audit)) if over else None
    alert = _telling(means, alert, ACKNOWLEDGE)
    return _change(means, *_line(means, alert, "acknowledged", unsaid), record)


def repeated(means: Means, alert: Alert | None, unsaid: Unsaid) -> Change | None:
    """It is said again, if it is time and nobody has acknowledged it."""
    if alert is None or alert.repeat_at is None or alert.repeat_at > means.now:
        return None
    alert = replace(alert, repeats=alert.repeats + 1, places=alert.places or means.places)
    alert = replace(alert, repeat_at=_repeat_at(means, alert))
    return _change(means, *_line(means, alert, "repeat", unsaid))


def asked(
    means: Means, offer: str, request_id: str, by: str, instead_of: str | None, alert: Alert | None, unsaid: Unsaid
) -> Change | None:
    """Somebody pressed what it offers, in place of the request *instead_of*, which has ended."""
    if alert is None or not alert.is_open or alert.asked.get(offer, (None, ""))[0] != instead_of:
        return None
    alert = replace(alert, asked={**alert.asked, offer: (request_id, by)})
    return _change(means, *_line(means, alert, "asked", unsaid, offer=offer, by=by))


def moved(means: Means, place: str, why: str, alert: Alert | None, unsaid: Unsaid) -> Change | None:
    """It cannot be told in *place*, so it is told to the tenant admins in person."""
    people = tuple(admin for admin in means.admins if admin != place)
    if alert is None or place not in alert.places or not _is_channel(place) or not people:
        return None
    return _change(means, replace(alert, places=people, misplaced=why))


def begins_to_page(means: Means, alert: Alert | None, unsaid: Unsaid) -> Change | None:
    """The webhook is about to be told; from now on it may have been."""
    if alert is None or not alert.page or alert.page_at is None or alert.page_at > means.now:
        return None
    tries = alert.page_tries + 1
    gap = min(BEFORE_PAGING_AGAIN * 2 ** min(tries - 1, 10), LONGEST_PAGING_GAP)
    return Change(replace(alert, page_tries=tries, page_at=means.now + gap))


def was_paged(means: Means, event: str, alert: Alert | None, unsaid: Unsaid) -> Change | None:
    """The webhook took *event*; meanwhile it may have something else to be told."""
    if alert is None:
        return None
    alert, failed = replace(alert, paged=event), bool(alert.page_problem)
    if alert.page == event:
        alert = replace(alert, page="", page_tries=0, page_at=None, page_problem="")
    return _change(means, alert) if failed else Change(alert)


def was_not_paged(
    means: Means, event: str, why: str, wait: timedelta | None, alert: Alert | None, unsaid: Unsaid
) -> Change | None:
    """The webhook did not take it: the card says so, and it is tried again."""
    if alert is None or alert.page != event:
        return None
    told_to = means.now + (wait or timedelta(0))
    after = replace(alert, page_at=max(alert.page_at or told_to, told_to), page_problem=why)
    if not alert.is_open and alert.page_tries >= MOST_TRIES_AFTER_THE_END:
        after = replace(after, page="", page_at=None)
    return _change(means, after) if after.page_problem != alert.page_problem else Change(after)


def _what_changed(before: Trouble, after: Trouble) -> str:
    """What the thread says of it; nothing where only small print differs."""
    if (before.severity, before.headline, before.why) != (after.severity, after.headline, after.why):
        return "changed"
    return "again" if after.next_at and before.next_at != after.next_at else ""


def _repeat_at(means: Means, alert: Alert) -> datetime | None:
    if alert.trouble.drill:
        return None
    at = means.now + min(FIRST_GAP * 2 ** min(alert.repeats, 10), LONGEST_GAP)
    return at if alert.trouble.severity is Severity.SESSIONS_STOP else in_working_hours(at, means.zone)


def in_working_hours(when: datetime, zone: ZoneInfo) -> datetime:
    """*when* if people work then, else when they begin again."""
    local = when.astimezone(zone)
    if local.time() >= EVENING:
        local = datetime.combine(local.date() + timedelta(days=1), MORNING, zone)
    elif local.time() < MORNING:
        local = datetime.combine(local.date(), MORNING, zone)
    while local.weekday() >= 5:
        local = datetime.combine(local.date() + timedelta(days=1), MORNING, zone)
    return local.astimezone(when.tzinfo)


def _waking(means: Means, alert: Alert) -> Alert:
    return _telling(means, alert, TRIGGER) if alert.trouble.severity is Severity.SESSIONS_STOP else alert


def _telling(means: Means, alert: Alert, event: str) -> Alert:
    """What the webhook is to be told now. What follows a call that never left is not told at all."""
    if event == TRIGGER:
        wanted = TRIGGER if means.pages else ""
    else:
        tried = alert.page == ACKNOWLEDGE or (alert.page == TRIGGER and alert.page_tries > 0)
        wanted = event if tried or alert.paged in {TRIGGER, ACKNOWLEDGE} else ""
    return replace(alert, page=wanted, page_tries=0, page_at=means.now if wanted else None, page_problem="")


# --- What is said ---------------------------------------------------------------------------------------------------


def card_key(alert: Alert, place: str) -> str:
    return f"alert:{alert.id}" if _is_channel(place) else f"alert:{alert.id}:{place}"


def _is_channel(place: str) -> bool:
    return not place.startswith(("U", "W"))


def _line_key(alert: Alert, place: str) -> str:
    return f"{card_key(alert, place)}:{alert.lines}"


def _line(means: Means, alert: Alert, what: str, unsaid: Unsaid, **more: str) -> tuple[Alert, tuple[Message, ...]]:
    """One more line in its thread. A card that was not shown yet tells by itself how things are."""
    if not what or not alert.places:
        return alert, ()
    first = alert.places[0]
    if what in _MERGES and unsaid(card_key(alert, first)):
        return alert, ()
    same = what in _MERGES and what == alert.last_line
    news = what != "again" and alert.last_line in _STALES
    merged = (same or news) and unsaid(_line_key(alert, first))
    alert = replace(alert, lines=alert.lines + (0 if merged else 1), last_line=what)
    wakes = alert.trouble.severity is Severity.SESSIONS_STOP and what in {"repeat", "risen", "back"}
    said = []
    for place in alert.places:
        mention = means.whom(in_thread=True) if wakes and _is_channel(place) else []
        about = {**_data(alert, place), "what": what, "at": means.now.isoformat(), "mention": mention, **more}
        key = card_key(alert, place)
        said.append(Message(_line_key(alert, place), LINE, audience=Audience.CHANNEL, under=key, data=about))
    return alert, tuple(said)


def _change(means: Means, alert: Alert, *also: AuditRecord | tuple[Message, ...]) -> Change:
    """The row, its cards as they are now, and what else is said and audited."""
    wakes = alert.trouble.severity is Severity.SESSIONS_STOP and alert.is_open and alert.acknowledged_at is None
    cards = []
    for place in alert.places:
        mention = means.whom(in_thread=False) if wakes and _is_channel(place) else []
        about = {**_data(alert, place), "mention": mention}
        cards.append(Message(card_key(alert, place), CARD, audience=Audience.CHANNEL, data=about))
    lines = [message for each in also if isinstance(each, tuple) for message in each]
    return Change(alert, tuple(each for each in also if isinstance(each, AuditRecord)), (*cards, *lines))


def _data(alert: Alert, place: str) -> dict[str, Any]:
    times = {
        name: moment.isoformat() if moment else None
        for name, moment in (
            ("opened_at", alert.opened_at),
            ("acknowledged_at", alert.acknowledged_at),
            ("closed_at", alert.closed_at),
            ("page_at", alert.page_at if alert.page_problem else None),
        )
    }
    return {
        "channel": place,
        "alert": alert.id,
        "trouble": alert.trouble.to_json(),
        "acknowledged_by": alert.acknowledged_by,
        "how": alert.how,
        "misplaced": alert.misplaced,
        "page_problem": alert.page_problem,
        **times,
    }


def _record(kind: str, alert: Alert, **more: object) -> AuditRecord:
    trouble = alert.trouble
    facts = {
        "alert": alert.id,
        "about": f"{trouble.kind} {trouble.about}".strip(),
        "severity": trouble.severity.value,
        "headline": trouble.headline,
        **{name: value for name, value in more.items() if value},
    }
    return AuditRecord(kind, facts={**facts, "drill": True} if trouble.drill else facts)


# --- Doing it -------------------------------------------------------------------------------------------------------


class Alerts:
    """Raises, closes and repeats alerts. It is the `Alarm` of everybody else."""

    def __init__(
        self,
        *,
        clock: Clock,
        incidents: Incidents,
        admins: Admins,
        channel: str,
        mention: str,
        zone: ZoneInfo,
        pager: Pager | None = None,
        pages: bool = False,
    ) -> None:
        """*channel* is where alerts are told; empty: to each tenant admin in person. *pages*: this process has no
        *pager*, but the one that runs has."""
        self._clock = clock
        self._incidents = incidents
        self._admins = admins
        self._channel = channel
        self._mention = mention
        self._zone = zone
        self._pager = pager
        self._pages = pages or pager is not None
        self._woken = asyncio.Event()
        self._in_turn = asyncio.Lock()
        """What is raised and then closed is over, also if both are said at once."""

    async def raise_(self, trouble: Trouble) -> None:
        """Open an incident, or bring the open one of the same kind and about up to date."""
        async with self._in_turn:
            means = await self._means()
            if not means.places:
                log.critical("there is nobody to tell of this", extra={"trouble": trouble.headline})
            await self._incidents.about(trouble.kind, trouble.about, lambda *on: raised(means, trouble, *on))
        self._woken.set()

    async def close(self, kind: str, about: str = "", how: str = "") -> None:
        """It is over; with *about* empty all of the kind are."""
        async with self._in_turn:
            if not any(each.trouble.kind == kind for each in await self._incidents.open()):
                return  # most of what goes well ends no alert, and is not to cost a write
            means = await self._means()
            if about:
                await self._incidents.about(kind, about, lambda *on: closed(means, how, *on))
            else:
                await self._incidents.of_kind(kind, lambda *on: closed(means, how, *on))
        self._woken.set()

    async def acknowledge(self, alert_id: str, by: Operator) -> Alert:
        """Somebody takes care of it: it is repeated no more. Raises `DealtWith` if that is not needed (any more)."""
        means = await self._means()
        after = await self._incidents.by_id(alert_id, lambda *on: acknowledged(means, by, *on))
        if after is None:
            raise DealtWith(self._already(await self.one(alert_id)))
        self._woken.set()
        return after

    async def asked(
        self, alert_id: str, offer: str, *, request_id: str, by: str, instead_of: str | None = None
    ) -> None:
        """Somebody pressed what it offers. Raises `DealtWith` if somebody else was a moment faster, or it is over."""
        means = await self._means()
        decide = lambda *on: asked(means, offer, request_id, by, instead_of, *on)  # noqa: E731
        if await self._incidents.by_id(alert_id, decide) is None:
            alert = await self.one(alert_id)
            first = alert.asked.get(offer) if alert.is_open else None
            raise DealtWith(f"{first[1]} was first: it is being done already." if first else self._already(alert))

    async def one(self, alert_id: str) -> Alert:
        """The incident. Raises `DealtWith` for anything else, however it came about."""
        if found := await self._incidents.find(alert_id):
            return found
        raise DealtWith("Latchkey does not know this alert, so nothing was done.")

    async def open(self) -> Sequence[Alert]:
        """What is not over, oldest first."""
        return await self._incidents.open()

    def over(self, alert: Alert) -> str:
        """That it is over, since when and how; empty while it is not."""
        if alert.closed_at is None:
            return ""
        return f"This is over since {self._time(alert.closed_at)}. {alert.how}".rstrip()

    async def unheard(self, message: Message, why: str) -> None:
        """Slack does not take its card where it belongs: the tenant admins get it in person."""
        place, alert_id = str(message.data["channel"]), str(message.data["alert"])
        means = await self._means()
        if await self._incidents.by_id(alert_id, lambda *on: moved(means, place, why, *on)) is None:
            log.critical("nobody hears of this alert", extra={"alert": alert_id, "place": place, "why": why})

    async def keep_up(self) -> None:
        """Run until cancelled: repeats, and what the webhook is to be told."""
        while True:
            self._woken.clear()
            again_at = self._clock.now() + LOOK
            try:
                await self.look()
                due = await self._incidents.next_due()
                again_at = min(again_at, due) if due and due > self._clock.now() else again_at
            except StorageProblem as error:
                log.warning("could not look after alerts", extra={"why": str(error)})
            except Exception:
                log.exception("alerts met something unforeseen")
            await woken_or_at(self._clock, self._woken, again_at)

    async def look(self) -> None:
        """Do what is due now."""
        for alert in await self._incidents.due(self._clock.now()):
            means = await self._means()
            await self._incidents.by_id(alert.id, lambda *on, means=means: repeated(means, *on))
            if alert.page and self._pager:
                await self._page(self._pager, alert.id)
        await self._incidents.say_what_is_unsaid()

    async def _page(self, pager: Pager, alert_id: str) -> None:
        means = await self._means()
        alert = await self._incidents.by_id(alert_id, lambda *on: begins_to_page(means, *on))
        if alert is None:  # another process tells it
            return
        event = alert.page
        try:
            await pager.tell(event, alert)
        except NotPaged as problem:
            log.error("the webhook did not take an alert", extra={"alert": alert_id, "why": str(problem)})
            why, wait = str(problem), problem.wait
            means = await self._means()
            await self._incidents.by_id(alert_id, lambda *on: was_not_paged(means, event, why, wait, *on))
            return
        means = await self._means()
        await self._incidents.by_id(alert_id, lambda *on: was_paged(means, event, *on))
        self._woken.set()

    async def _means(self) -> Means:
        admins = tuple(holder.operator.slack.user for holder in await self._admins.admin_holders())
        places = (self._channel,) if self._channel else admins
        return Means(self._clock.now(), self._zone, places, self._mention, admins, self._pages)

    def _already(self, alert: Alert) -> str:
        if over := self.over(alert):
            return over
        if alert.acknowledged_at is not None:
            return f"{alert.acknowledged_by} acknowledged this already, at {self._time(alert.acknowledged_at)}."
        return "This changed while you pressed. Look at it again."

    def _time(self, when: datetime) -> str:
        local, today = when.astimezone(self._zone), self._clock.now().astimezone(self._zone).date()
        return f"{local:%H:%M}" if local.date() == today else f"{local:%-d %b %H:%M}"
