"""Puts the Slack room together from what the other rooms give it, in the one order that works."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from bot.alerts import Alerts
from bot.approvals import Approvals
from bot.model import Secret
from bot.ports import AuditTrail, Clock, Requests, Reveals
from bot.road import Passed, unobserved
from bot.signing_in import SigningIn
from bot.standing import Standing
from handlers.alerting import Alerting
from handlers.app import Listeners, bolt_app
from handlers.approving import Approving
from handlers.at_home import AtHome
from handlers.buttons import Buttons
from handlers.commands import Commands
from handlers.desk import Desk
from handlers.filling import Filling
from handlers.forms import Forms
from handlers.front_door import FrontDoor
from handlers.guard import Guard
from handlers.home import Home
from handlers.home_page import HomePage
from handlers.identity import People
from handlers.management import Managing
from handlers.options import Options
from handlers.places import Places
from handlers.ports import (
    Answers,
    CurrentSession,
    Health,
    Inbox,
    Leavers,
    Outbox,
    Rotation,
    Rows,
    Search,
    SettingsHistory,
    Staff,
    Worker,
)
from handlers.reporter import Reporter
from handlers.signing_in import SignIns
from handlers.slack import Installed, Slack
from handlers.unblocking import Blocking, Unblocking
from handlers.voice import Voice
from handlers.whatif import WhatIfForms
from handlers.wishes import Wishes


@dataclass(frozen=True)
class Room:
    """What has to be started and stopped. `home.session_changed` wants to hear of each change of a session,
    `home.request_changed` of each change of a request."""

    front_door: FrontDoor
    reporter: Reporter
    home: Home


def slack_room(
    *,
    slack: Slack,
    installed: Installed,
    people: People,
    leavers: Leavers,
    standing: Standing,
    clock: Clock,
    zone: ZoneInfo,
    support: str,
    ticket_pattern: str | None,
    signing_secret: Secret | None,
    inbox: Inbox,
    outbox: Outbox,
    requests: Requests,
    rows: Rows,
    operators: Staff,
    settings: SettingsHistory,
    audit: AuditTrail,
    reveals: Reveals,
    session: CurrentSession,
    answers: Answers,
    search: Search,
    forms: Forms,
    worker: Worker,
    approvals: Approvals,
    alerts: Alerts,
    signing_in: SigningIn,
    health: Health,
    rotation: Rotation,
    blocking: Blocking,
    passed: Passed = unobserved,
) -> Room:
    """The room. *forms* is made before it, for the runner; *worker* is the runner's."""
    voice = Voice(slack)
    desk = Desk(requests, people, audit)
    places = Places(slack, settings, clock)
    wishes = Wishes(clock, operators, settings, requests, worker, forms, zone, ticket_pattern, passed)
    buttons = Buttons(clock, slack, desk, places, wishes, requests, reveals, standing, approvals, worker)
    sign_ins = SignIns(slack, voice, desk, people, wishes, requests, signing_in)
    page = HomePage(people, operators, settings, answers, rows, session, approvals, health, rotation, clock, support)
    home = Home(slack=slack, page=page, clock=clock)
    listeners = Listeners(
        guard=Guard(people, voice, audit),
        commands=Commands(clock, wishes, buttons, desk, rows, sign_ins),
        filling=Filling(clock, forms, desk, requests, worker),
        buttons=buttons,
        options=Options(clock, desk, search),
        approving=Approving(slack, desk, people, operators, approvals, worker, sign_ins),
        alerting=Alerting(alerts, people, wishes, requests, audit),
        unblocking=Unblocking(slack, desk, wishes, blocking, audit),
        sign_ins=sign_ins,
        what_if=WhatIfForms(slack, desk, requests, worker),
        home=home,
        at_home=AtHome(clock, slack, operators, session, answers, wishes, sign_ins),
        managing=Managing(clock, voice, people, operators, settings, rows, wishes, home),
        people=people,
        leavers=leavers,
        places=places,
        voice=voice,
    )
    front_door = FrontDoor(
        dispatch=bolt_app(installed, listeners).async_dispatch,
        inbox=inbox,
        installed=installed,
        clock=clock,
        signing_secret=signing_secret,
    )
    reporter = Reporter(
        outbox=outbox,
        requests=requests,
        operators=operators,
        people=people,
        places=places,
        slack=slack,
        voice=voice,
        clock=clock,
        support=support,
        unheard=approvals.unheard,
        alert_unheard=alerts.unheard,
    )
    return Room(front_door, reporter, home)
