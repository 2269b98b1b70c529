"""Puts the Slack room together from what the other rooms give it, in the one order that works."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from bot.model import Secret
from bot.ports import AuditTrail, Clock, Operators, Requests, Reveals, Settings
from bot.road import Passed, unobserved
from handlers.app import Listeners, bolt_app
from handlers.buttons import Buttons
from handlers.commands import Commands
from handlers.desk import Desk
from handlers.filling import Filling
from handlers.forms import Forms
from handlers.front_door import FrontDoor
from handlers.guard import Guard
from handlers.home import Home
from handlers.identity import People
from handlers.options import Options
from handlers.places import Places
from handlers.ports import Answers, CurrentSession, Inbox, Outbox, Rows, Search, Worker
from handlers.reporter import Reporter
from handlers.slack import Installed, Slack
from handlers.voice import Voice
from handlers.wishes import Wishes


@dataclass(frozen=True)
class Room:
    """What has to be started and stopped. `home.session_changed` wants to hear of each change of the session."""

    front_door: FrontDoor
    reporter: Reporter
    home: Home


def slack_room(
    *,
    slack: Slack,
    installed: Installed,
    clock: Clock,
    zone: ZoneInfo,
    support: str,
    ticket_pattern: str | None,
    signing_secret: Secret | None,
    inbox: Inbox,
    outbox: Outbox,
    requests: Requests,
    rows: Rows,
    operators: Operators,
    settings: Settings,
    audit: AuditTrail,
    reveals: Reveals,
    session: CurrentSession,
    answers: Answers,
    search: Search,
    forms: Forms,
    worker: Worker,
    passed: Passed = unobserved,
) -> Room:
    """The room. *forms* is made before it, for the runner; *worker* is the runner's."""
    people = People(slack, clock, installed, support)
    voice = Voice(slack)
    desk = Desk(requests, people, audit)
    places = Places(slack, settings, clock)
    wishes = Wishes(clock, operators, settings, requests, worker, forms, zone, ticket_pattern, passed)
    buttons = Buttons(clock, slack, desk, places, wishes, requests, reveals, worker)
    home = Home(
        slack=slack,
        people=people,
        operators=operators,
        answers=answers,
        rows=rows,
        session=session,
        clock=clock,
        support=support,
    )
    listeners = Listeners(
        guard=Guard(people, voice, audit),
        commands=Commands(clock, wishes, buttons, desk, rows),
        filling=Filling(clock, forms, desk, requests, worker),
        buttons=buttons,
        options=Options(clock, desk, search),
        home=home,
        people=people,
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
        on_told=home.told,
    )
    return Room(front_door, reporter, home)
