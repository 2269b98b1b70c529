"""Alerts: each incident is said once, repeated until somebody takes care of it, and closed once, whatever happens."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from bot.alerts import CARD, LINE, Alerts, DealtWith, NotPaged, in_working_hours
from bot.model import Alert, Operator, Secret, Severity, SlackUser, Trouble
from storage.alerts import Alerts as Incidents
from storage.audit import AuditTrail
from storage.database import Database
from storage.outbox import Outbox, Outgoing
from tests.clock import T0, ManualClock

LONDON = ZoneInfo("Europe/London")
CHANNEL = "C0ALERTS01"
ANA = Operator("ana", SlackUser("T0", "U0ANA"), name="Ana Ruiz")
BO = Operator("bo", SlackUser("T0", "U0BO"), name="Bo Lind")

STANDS = Trouble(
    "rotation",
    "r1",
    Severity.ATTENTION,
    "Rotation failed. Nothing is broken yet: the current password signs in.",
    "Key Vault did not answer.",
    facts=(("Step that failed", "storing the new password"),),
    next_at=T0 + timedelta(minutes=15),
    offers=("retry",),
)
STOPS = replace(STANDS, severity=Severity.SESSIONS_STOP, headline="Sessions will stop: no stored password signs in.")


@dataclass(frozen=True)
class Holder:
    operator: Operator


@dataclass
class Admins:
    holders: Sequence[Holder] = (Holder(ANA), Holder(BO))
    waits_for: asyncio.Event | None = None

    async def admin_holders(self) -> Sequence[Holder]:
        if self.waits_for:
            await self.waits_for.wait()
        return self.holders


@dataclass
class Beeper:
    """Notes what it is told; `problem` makes it fail."""

    told: list[str] = field(default_factory=list)
    problem: Exception | None = None
    beeped: asyncio.Event = field(default_factory=asyncio.Event)

    async def tell(self, event: str, alert: Alert) -> None:
        if self.problem:
            raise self.problem
        self.told.append(event)
        self.beeped.set()


@dataclass
class Desk:
    clock: ManualClock
    db: Database
    outbox: Outbox
    incidents: Incidents
    alerts: Alerts
    beeper: Beeper
    admins: Admins

    async def pending(self) -> list[Outgoing]:
        return list(await self.outbox.pending(self.clock.now()))

    async def slack_shows(self) -> list[Outgoing]:
        """What Slack has not shown yet; from now on it has."""
        rows = await self.pending()
        for row in rows:
            at = row.message.data["channel"]
            await self.outbox.sent(row.message.key, row.revision, channel=str(at), ts=row.ts or row.message.key)
        return rows

    async def lines(self) -> list[str]:
        """What the threads got since Slack was last brought up to date."""
        return [str(row.message.data["what"]) for row in await self.slack_shows() if row.message.view == LINE]

    async def audited(self) -> list[str]:
        return await self.db.read(
            lambda connection: [
                kind for (kind,) in connection.execute("SELECT kind FROM audit WHERE kind LIKE 'alert.%' ORDER BY seq")
            ]
        )

    async def passes(self, minutes: float) -> None:
        self.clock.advance(minutes * 60)
        await self.alerts.look()

    async def one(self) -> Alert:
        (alert,) = await self.incidents.open()
        return alert


@asynccontextmanager
async def a_desk(folder: Path, clock: ManualClock, *, channel: str = CHANNEL, mention: str = "") -> AsyncIterator[Desk]:
    async with Database(folder / "data" / "latchkey.db", tenant="t", clock=clock) as db:
        trail, outbox = AuditTrail(db, Secret("an audit key that only tests ever use")), Outbox(db)
        incidents, beeper, admins = Incidents(db, trail, outbox), Beeper(), Admins()
        alerts = Alerts(
            clock=clock, incidents=incidents, admins=admins, channel=channel, mention=mention, zone=LONDON, pager=beeper
        )
        yield Desk(clock, db, outbox, incidents, alerts, beeper, admins)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_desk(tmp_path, ManualClock()) as desk:
        yield desk


# --- One incident ---------------------------------------------------------------------------------------------------


async def test_an_incident_is_one_card_however_often_it_is_raised(desk: Desk) -> None:
    for _ in range(3):
        await desk.alerts.raise_(STANDS)

    (card,) = await desk.slack_shows()
    assert (card.message.view, card.message.data["channel"], card.revision) == (CARD, CHANNEL, 1)
    assert await desk.audited() == ["alert.raised"]


async def test_each_try_that_fails_again_is_a_line_and_the_card_says_when_the_next_one_is(desk: Desk) -> None:
    await desk.alerts.raise_(STANDS)
    await desk.slack_shows()
    later = replace(STANDS, next_at=T0 + timedelta(minutes=45))
    await desk.alerts.raise_(later)

    card, line = await desk.slack_shows()
    assert (card.message.key, line.message.under) == (line.message.under, card.message.key)
    assert line.message.data["what"] == "again"
    assert card.message.data["trouble"]["next_at"] == later.to_json()["next_at"]

    await desk.alerts.raise_(replace(later, why="The account is locked."))
    assert await desk.lines() == ["changed"]


async def test_it_is_repeated_with_growing_gaps_until_somebody_acknowledges_it(desk: Desk) -> None:
    await desk.alerts.raise_(STOPS)
    await desk.slack_shows()
    said_at = []
    for _ in range(26 * 60 // 15):
        await desk.passes(15)
        said_at += [desk.clock.now() - T0] * (await desk.lines()).count("repeat")

    hours = [at / timedelta(hours=1) for at in said_at]
    assert hours == [0.25, 0.75, 1.75, 3.75, 7.75, 15.75, 23.75]

    await desk.alerts.acknowledge((await desk.one()).id, ANA)
    assert await desk.lines() == ["acknowledged"]
    await desk.passes(24 * 60)
    assert await desk.lines() == []
    assert await desk.audited() == ["alert.raised", "alert.acknowledged"]


async def test_what_can_wait_is_repeated_in_working_hours_only(tmp_path: Path) -> None:
    friday = datetime(2026, 3, 6, 17, 50, tzinfo=UTC)
    async with a_desk(tmp_path, ManualClock(friday)) as desk:
        await desk.alerts.raise_(STANDS)
        assert (await desk.one()).repeat_at == datetime(2026, 3, 9, 8, 0, tzinfo=UTC)

        await desk.alerts.raise_(STOPS)
        assert (await desk.one()).repeat_at == friday + timedelta(minutes=15)


@pytest.mark.parametrize(
    ("when", "then"),
    [
        ("2026-03-03T09:00", "2026-03-03T09:00"),
        ("2026-03-03T03:00", "2026-03-03T08:00"),
        ("2026-03-03T18:00", "2026-03-04T08:00"),
        ("2026-03-07T12:00", "2026-03-09T08:00"),
        ("2026-03-28T12:00", "2026-03-30T07:00"),  # the clocks went forward meanwhile
    ],
)
def test_working_hours_are_those_of_the_tenant(when: str, then: str) -> None:
    start, end = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (when, then))

    assert in_working_hours(start, LONDON) == end


async def test_only_the_first_who_acknowledges_does_and_the_second_is_told_who_was_first(desk: Desk) -> None:
    await desk.alerts.raise_(STANDS)
    alert = await desk.one()
    await desk.alerts.acknowledge(alert.id, ANA)

    with pytest.raises(DealtWith, match="Ana Ruiz acknowledged this already, at 09:00"):
        await desk.alerts.acknowledge(alert.id, BO)
    await desk.alerts.close("rotation", "r1", "The new password is in force.")
    with pytest.raises(DealtWith, match=r"over since 09:00\. The new password"):
        await desk.alerts.acknowledge(alert.id, BO)
    with pytest.raises(DealtWith, match="does not know"):
        await desk.alerts.acknowledge("nonsense", BO)


async def test_success_closes_it_and_what_went_well_all_along_says_nothing(desk: Desk) -> None:
    await desk.alerts.close("rotation", "r1")
    assert await desk.slack_shows() == []

    await desk.alerts.raise_(STANDS)
    await desk.slack_shows()
    desk.clock.advance(3600)
    await desk.alerts.close("rotation", how="The new password is in force.")
    await desk.alerts.close("rotation", how="The new password is in force.")

    card, line = await desk.slack_shows()
    assert card.message.data["closed_at"] == desk.clock.now().isoformat()
    assert line.message.data["what"] == "closed"
    assert await desk.audited() == ["alert.raised", "alert.closed"]
    assert await desk.alerts.open() == []


async def test_what_is_raised_and_closed_at_once_is_over(desk: Desk) -> None:
    known = desk.admins.waits_for = asyncio.Event()
    raised = asyncio.create_task(desk.alerts.raise_(STANDS))
    closed = asyncio.create_task(desk.alerts.close("rotation"))
    await asyncio.wait([closed], timeout=0.1)
    known.set()
    await asyncio.gather(raised, closed)

    assert await desk.audited() == ["alert.raised", "alert.closed"]
    assert await desk.alerts.open() == []


async def test_what_comes_back_soon_is_the_same_incident_and_later_another(desk: Desk) -> None:
    await desk.alerts.raise_(STANDS)
    await desk.slack_shows()
    first = (await desk.one()).id
    await desk.alerts.close("rotation", "r1")
    desk.clock.advance(4 * 60)
    await desk.alerts.raise_(STANDS)
    assert (await desk.one()).id == first
    assert await desk.lines() == ["closed", "back"]

    await desk.alerts.close("rotation", "r1")
    desk.clock.advance(6 * 60)
    await desk.alerts.raise_(STANDS)
    assert (await desk.one()).id != first


async def test_what_becomes_worse_notifies_anew_and_wants_to_be_acknowledged_again(desk: Desk) -> None:
    await desk.alerts.raise_(STANDS)
    await desk.alerts.acknowledge((await desk.one()).id, ANA)
    await desk.slack_shows()
    await desk.alerts.raise_(STOPS)

    _, line = await desk.slack_shows()
    assert (line.message.data["what"], line.message.data["mention"]) == ("risen", ["U0ANA", "U0BO"])
    alert = await desk.one()
    assert (alert.acknowledged_at, alert.repeat_at) == (None, T0 + timedelta(minutes=15))


@pytest.mark.parametrize(
    ("mention", "card", "line"), [("", ["here"], ["U0ANA", "U0BO"]), ("S0ONCALL", *[["S0ONCALL"]] * 2)]
)
async def test_only_what_stops_sessions_mentions_people(
    tmp_path: Path, mention: str, card: list[str], line: list[str]
) -> None:
    async with a_desk(tmp_path, ManualClock(), mention=mention) as desk:
        await desk.alerts.raise_(replace(STANDS, about="other"))
        await desk.alerts.raise_(STOPS)
        assert [row.message.data["mention"] for row in await desk.slack_shows()] == [[], card]
        await desk.passes(20)
        mentions = [row.message.data["mention"] for row in await desk.slack_shows() if row.message.view == LINE]
        assert mentions == [[], line]


async def test_what_somebody_only_has_to_have_seen_is_over_once_it_is_acknowledged(desk: Desk) -> None:
    await desk.alerts.raise_(replace(STANDS, kind="emergency"))
    await desk.alerts.acknowledge((await desk.one()).id, BO)

    assert await desk.alerts.open() == []
    assert await desk.audited() == ["alert.raised", "alert.acknowledged", "alert.closed"]


async def test_a_drill_is_not_repeated(desk: Desk) -> None:
    await desk.alerts.raise_(replace(STOPS, kind="drill", drill=True))
    await desk.slack_shows()
    await desk.passes(24 * 60)

    assert await desk.lines() == []


# --- Where, and Slack away ------------------------------------------------------------------------------------------


async def test_without_a_channel_each_tenant_admin_has_the_card(tmp_path: Path) -> None:
    async with a_desk(tmp_path, ManualClock(), channel="") as desk:
        await desk.alerts.raise_(STOPS)
        cards = await desk.slack_shows()
        assert {row.message.data["channel"] for row in cards} == {"U0ANA", "U0BO"}
        assert all(row.message.data["mention"] == [] for row in cards)

        await desk.alerts.acknowledge((await desk.one()).id, ANA)
        assert sorted(row.message.view for row in await desk.slack_shows()) == [CARD, CARD, LINE, LINE]


async def test_where_nobody_can_be_told_yet_the_first_tenant_admin_is(tmp_path: Path) -> None:
    async with a_desk(tmp_path, ManualClock(), channel="") as desk:
        desk.admins.holders = ()
        await desk.alerts.raise_(STOPS)
        assert await desk.slack_shows() == []
        desk.admins.holders = (Holder(BO),)
        await desk.passes(15)

        assert [row.message.data["channel"] for row in await desk.slack_shows()] == ["U0BO"]


async def test_what_the_channel_does_not_take_goes_to_the_tenant_admins(desk: Desk) -> None:
    await desk.alerts.raise_(STANDS)
    (card,) = await desk.pending()
    await desk.outbox.failed(card.message.key, card.revision, "not_in_channel")
    for _ in range(2):
        await desk.alerts.unheard(card.message, "Latchkey is not in the alerts channel.")

    cards = await desk.slack_shows()
    assert {row.message.data["channel"] for row in cards} == {"U0ANA", "U0BO"}
    assert {row.message.data["misplaced"] for row in cards} == {"Latchkey is not in the alerts channel."}


async def test_slack_away_for_an_hour_loses_nothing_keeps_the_order_and_merges_what_is_stale(desk: Desk) -> None:
    await desk.alerts.raise_(STOPS)
    await desk.slack_shows()
    for number in range(3):  # Slack is away from here on
        await desk.alerts.raise_(replace(STANDS, kind="vault", about=str(number)))
        await desk.passes(10)
    for minutes in (15, 30, 45):
        await desk.alerts.raise_(replace(STOPS, next_at=T0 + timedelta(minutes=minutes)))
        await desk.passes(10)
    await desk.alerts.close("vault", "1", "Key Vault answers again.")
    await desk.alerts.close("rotation", "r1", "The new password is in force.")

    rows = await desk.slack_shows()
    about = [(row.message.view, row.message.data["trouble"]["about"], row.message.data.get("what")) for row in rows]
    assert [each for each in about if each[0] == CARD] == [(CARD, which, None) for which in ("r1", "0", "1", "2")]
    told = [what for view, which, what in about if view == LINE and which == "r1"]
    assert told.count("closed") == 1
    assert told[-1] == "closed"
    assert len(told) < 7
    assert [what for view, which, what in about if view == LINE and which != "r1"] == ["closed"]
    assert rows[0].message.data["closed_at"]


async def test_repeats_that_slack_never_showed_become_one(desk: Desk) -> None:
    await desk.alerts.raise_(STOPS)
    await desk.slack_shows()
    for _ in range(20):
        await desk.passes(30)

    _, line = await desk.slack_shows()
    assert (line.message.data["what"], line.revision > 1) == ("repeat", True)


# --- What it offers -------------------------------------------------------------------------------------------------


async def test_what_it_offers_is_asked_for_by_one_person_at_a_time(desk: Desk) -> None:
    await desk.alerts.raise_(STANDS)
    alert = await desk.one()
    await desk.alerts.asked(alert.id, "retry", request_id="1", by="Ana Ruiz")

    with pytest.raises(DealtWith, match="Ana Ruiz was first"):
        await desk.alerts.asked(alert.id, "retry", request_id="2", by="Bo Lind")
    await desk.alerts.asked(alert.id, "retry", request_id="3", by="Bo Lind", instead_of="1")
    assert (await desk.one()).asked == {"retry": ("3", "Bo Lind")}


# --- The webhook ----------------------------------------------------------------------------------------------------


async def test_the_webhook_hears_of_what_stops_sessions_and_of_nothing_else(desk: Desk) -> None:
    await desk.alerts.raise_(replace(STANDS, about="other"))
    await desk.alerts.raise_(STOPS)
    await desk.alerts.look()
    assert desk.beeper.told == ["trigger"]

    stops = next(alert for alert in await desk.incidents.open() if alert.trouble == STOPS)
    await desk.alerts.acknowledge(stops.id, ANA)
    await desk.alerts.look()
    await desk.alerts.close("rotation")
    await desk.alerts.look()
    assert desk.beeper.told == ["trigger", "acknowledge", "resolve"]


async def test_who_is_on_it_before_the_webhook_was_told_wakes_nobody(desk: Desk) -> None:
    await desk.alerts.raise_(STOPS)
    await desk.alerts.acknowledge((await desk.one()).id, ANA)
    await desk.alerts.look()
    await desk.alerts.close("rotation")
    await desk.alerts.look()

    assert desk.beeper.told == []


async def test_a_webhook_that_fails_shows_on_the_card_and_is_tried_again(desk: Desk) -> None:
    desk.beeper.problem = NotPaged("it answered 500.", wait=timedelta(minutes=3))
    await desk.alerts.raise_(STOPS)
    await desk.slack_shows()
    await desk.alerts.look()
    (card,) = await desk.slack_shows()
    assert card.message.data["page_problem"] == "it answered 500."
    assert card.message.data["page_at"] == (T0 + timedelta(minutes=3)).isoformat()

    desk.beeper.problem = None
    await desk.passes(2)
    assert desk.beeper.told == []
    await desk.passes(1)
    assert desk.beeper.told == ["trigger"]
    (card,) = await desk.slack_shows()
    assert card.message.data["page_problem"] == ""


async def test_a_process_that_dies_while_it_pages_pages_again_and_ends_what_it_may_have_begun(desk: Desk) -> None:
    class Dies(Exception):
        pass

    desk.beeper.problem = Dies()
    await desk.alerts.raise_(STOPS)
    with pytest.raises(Dies):
        await desk.alerts.look()
    desk.beeper.problem = None
    await desk.alerts.close("rotation")
    await desk.alerts.look()

    assert desk.beeper.told == ["resolve"]


async def test_it_keeps_up_by_itself_also_with_what_another_process_raised(desk: Desk, tmp_path: Path) -> None:
    heard: list[str] = []
    desk.outbox.on_change(lambda: heard.append("wake"))
    chore = asyncio.create_task(desk.alerts.keep_up())
    await desk.clock.sleepers()
    async with a_desk(tmp_path, desk.clock) as other:
        await other.alerts.raise_(STOPS)
    desk.clock.advance(60)
    await desk.beeper.beeped.wait()
    await desk.clock.sleepers()
    chore.cancel()

    assert desk.beeper.told == ["trigger"]
    assert heard


async def test_a_webhook_that_breaks_in_a_way_nobody_foresaw_ends_no_repeats(desk: Desk) -> None:
    desk.beeper.problem = ValueError("what is this?")
    await desk.alerts.raise_(STOPS)
    chore = asyncio.create_task(desk.alerts.keep_up())
    try:
        async with asyncio.timeout(30):
            await desk.clock.sleepers()
            desk.beeper.problem = None
            desk.clock.advance(60)
            await desk.beeper.beeped.wait()
    finally:
        chore.cancel()


# --- Whatever happens -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
async def test_each_incident_is_said_once_and_closed_once_whatever_the_order(tmp_path: Path, seed: int) -> None:
    """Two processes raise, close, acknowledge and repeat at once; Slack comes and goes; one dies while it pages."""
    chance, clock = random.Random(seed), ManualClock()  # noqa: S311 - not for secrets
    async with a_desk(tmp_path, clock) as one, a_desk(tmp_path, clock) as two:
        for _ in range(40):
            who = chance.choice((one, two))
            about = chance.choice("ab")
            trouble = replace(chance.choice((STANDS, STOPS)), about=about, why=chance.choice(("this", "that")))
            who.beeper.problem = chance.choice((None, None, NotPaged("no.")))
            open_now = await who.incidents.open()
            steps = [who.alerts.raise_(trouble), who.alerts.close("rotation", about, "done"), who.alerts.look()]
            await asyncio.gather(*chance.sample(steps, chance.randint(1, 3)))
            for step in steps:
                step.close()  # those that were not taken
            if open_now and chance.random() < 0.3:
                await asyncio.gather(
                    *(each.alerts.acknowledge(open_now[0].id, ANA) for each in (one, two)), return_exceptions=True
                )
            if chance.random() < 0.5:
                await who.slack_shows()
            clock.advance(chance.choice((1, 60, 200, 1000)))
        await one.alerts.close("rotation", how="done")
        await one.slack_shows()

        rows = await one.db.read(
            lambda connection: connection.execute(
                "SELECT body FROM audit WHERE kind LIKE 'alert.%' ORDER BY seq"
            ).fetchall()
        )
        story: dict[str, list[str]] = {}
        for (body,) in rows:
            row = json.loads(body)
            worse = row["facts"].get("worse") and not row["facts"].get("back")
            if not worse:
                story.setdefault(row["facts"]["alert"], []).append(row["kind"].removeprefix("alert."))
        for events in story.values():
            opened_and_closed = [event for event in events if event != "acknowledged"]
            assert opened_and_closed == ["raised", "closed"] * (len(opened_and_closed) // 2)
        cards = await one.db.read(
            lambda connection: connection.execute(
                "SELECT count(*), sum(ts IS NOT NULL) FROM outbox WHERE view = ?", (CARD,)
            ).fetchone()
        )
        assert cards == (len(story), len(story))
        assert await one.alerts.open() == []
