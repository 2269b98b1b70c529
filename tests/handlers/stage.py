"""The whole Slack room on a stage: the sandbox's workspace, a real database, and a runner played by the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import aiohttp
import yaml
from aiohttp import web

from bot import story
from bot.actions import catalogue, delegated
from bot.alerts import Alerts
from bot.approvals import Approvals
from bot.blocking import Blocking, Findings
from bot.clock import SystemClock
from bot.diagnosis import Blocked
from bot.enquiries import Offered
from bot.errors import LatchkeyError
from bot.leavers import Leavers
from bot.model import (
    JSON,
    AuditRecord,
    Author,
    Identity,
    Mode,
    Origin,
    Person,
    Request,
    RequestState,
    RotationRecord,
    Secret,
    Session,
    SessionState,
    SlackUser,
    Target,
    TargetKind,
)
from bot.ports import RotationStatus
from bot.reveals import SecretsInWaiting
from bot.rotation_told import RotationTold
from bot.signing_in import SigningIn
from bot.standing import Standing
from handlers.forms import Forms
from handlers.identity import People
from handlers.room import Room, slack_room
from handlers.slack import Installed, Slack, make_client
from handlers.socket import Sockets
from sandbox.slack import RateLimits, SlackWorkspace
from storage.alerts import Alerts as Incidents
from storage.audit import AuditTrail
from storage.database import Database
from storage.inbox import Inbox
from storage.leaving import Leaving
from storage.operators import Operators
from storage.outbox import Outbox
from storage.requests import Requests
from storage.settings import Settings
from tests.people import TENANT, Account, Entra
from tests.sandbox.slack_harness import Stage as Workspace
from tests.sandbox.slack_harness import a_workspace, served
from tests.tenant import Enabled, NobodySignsIn

MANIFEST: dict[str, Any] = yaml.safe_load((Path(__file__).parents[2] / "manifest.yml").read_text())
TEAM = "T0CONTOSO"
OLIVE, ANA, AUDREY, VIC = (SlackUser(TEAM, user) for user in ("U0OLIVE001", "U0ANA00001", "U0AUDREY01", "U0VIC00001"))
BO = SlackUser(TEAM, "U0BO000001")
"""A colleague of Ana's, who is no operator before a test makes him one."""
HELPDESK = "C0HELPDESK"
ALERTS = "C0ALERTS01"
ADELE = Person(
    id="f142e421-ec74-44a4-9ec6-636e45e4a66d",
    upn="adele@contoso.com",
    name="Adele Vance",
    department="Sales",
    title="Retail Manager",
    office="Leeds",
    manager="Miriam Graham",
    last_sign_in=datetime(2026, 3, 2, 8, 30, tzinfo=UTC),
)
SUPPORT = "the IT desk (ext. 4711)"


@dataclass
class WaitingWorker:
    """A worker that only notes whom it was woken for."""

    woken: list[str] = field(default_factory=list)

    def wake(self, request_id: str) -> None:
        self.woken.append(request_id)


@dataclass
class Answering:
    """Knows the help by heart."""

    async def answer(self, request: Request) -> tuple[str, Mapping[str, JSON]]:
        lines = [
            ["/m365 show-user adele@contoso.com", "Look a person up", ""],
            ["/m365 block-sign-in adele@contoso.com", "Block sign-in", "None of your roles holds it."],
        ]
        return "What you can do with Latchkey.", {"commands": lines}

    async def offered(self, slack: SlackUser) -> Sequence[Offered]:
        """What an operator is offered; a tenant admin also what is Latchkey's own."""
        people, own = delegated(), [action for action in catalogue().values() if action.own]
        return [
            Offered(people["show-user"], ""),
            Offered(people["reset-password"], ""),
            Offered(people["block-sign-in"], "None of your roles holds it."),
            *(Offered(action, "") for action in own if slack in (ANA, BO)),
        ]

    async def also(self, slack: SlackUser) -> Sequence[tuple[str, str]]:
        return [("/m365-session on", "Turn the management session on")]


@dataclass
class Examined:
    """Says of the bot identity what it was told to."""

    wrong: str = ""

    async def bot_identity(self) -> str:
        return self.wrong


@dataclass
class Rotated:
    """Says of the rotation what it was told to."""

    is_now: RotationStatus = field(default_factory=RotationStatus)
    records: Sequence[RotationRecord] = ()

    async def status(self) -> RotationStatus:
        return self.is_now

    async def history(self, limit: int = 10) -> Sequence[RotationRecord]:
        return self.records[:limit]


@dataclass
class Finding:
    """Finds what it was given; `slow` makes it wait for good."""

    clock: SystemClock
    targets: Sequence[Target] = (ADELE.target,)
    slow: bool = False

    async def people(self, slack: SlackUser, command: str, typed: str) -> Sequence[Target]:
        if self.slow:
            await self.clock.sleep_until(datetime.max.replace(tzinfo=UTC))
        return [target for target in self.targets if typed.lower() in target.name.lower()]

    groups = licenses = people


@dataclass
class OneSession:
    current: Session = field(default_factory=lambda: Session(1, Mode.ADVANCED, SessionState.OFF))

    def current_for(self, operator_id: str | None) -> Session:
        return self.current


@dataclass
class Blocks:
    """Nothing stands in the way of any sign-in."""

    async def of(self, error: LatchkeyError, identity: Identity | None) -> Blocked | None:
        return None

    async def try_out(self) -> None:
        return None


ACCOUNTS = (
    Account("a0000000-0000-4000-8000-000000000002", "olive@contoso.com", "Olive Hart"),
    Account("a0000000-0000-4000-8000-000000000004", "vic@contoso.com", "Vic Moss"),
)
"""Who can sign in at Microsoft."""


@dataclass(frozen=True)
class Stage:
    """What tests look at, and the hands they play with."""

    workspace: Workspace
    clock: SystemClock
    slack: Slack
    installed: Installed
    room: Room
    forms: Forms
    db: Database
    trail: AuditTrail
    requests: Requests
    outbox: Outbox
    inbox: Inbox
    operators: Operators
    settings: Settings
    worker: WaitingWorker
    reveals: SecretsInWaiting
    search: Finding
    session: OneSession
    entra: Entra
    signing_in: SigningIn
    directory: Enabled
    leavers: Leavers
    health: Examined
    alerts: Alerts
    rotated: Rotated
    url: str = ""

    @property
    def people(self) -> SlackWorkspace:
        """The workspace and everybody in it."""
        return self.workspace.slack

    async def rows(self) -> list[Request]:
        """Every request there is, oldest first."""
        ids = await self.db.read(
            lambda connection: [id_ for (id_,) in connection.execute("SELECT id FROM requests ORDER BY created_at")]
        )
        found = [await self.requests.find(id_) for id_ in ids]
        return [request for request in found if request is not None]

    async def only_row(self) -> Request:
        (request,) = await self.rows()
        return request

    async def audited(self, kind: str) -> list[dict[str, Any]]:
        """The bodies of audit rows of this kind."""
        sql = "SELECT json_extract(body, '$.facts'), request_id FROM audit WHERE kind = ? ORDER BY seq"
        rows = await self.db.read(lambda connection: connection.execute(sql, (kind,)).fetchall())
        return [{"facts": yaml.safe_load(facts or "{}"), "request": request} for facts, request in rows]

    async def settled(self) -> None:
        """Wait until everything delivered so far has been heard."""
        while kept := set(self.room.front_door._kept):
            await asyncio.wait(kept)
            await asyncio.sleep(0)  # what has finished takes itself off the list in the loop's next turn

    async def have(self, *, told: bool = True, **fields: Any) -> Request:
        """A request of Olive's about Adele, as a runner might have left it, *told* as the runner tells it."""
        defaults: dict[str, Any] = {
            "id": f"{len(await self.rows()):032x}",
            "operator_id": await self._operator_id(OLIVE),
            "slack": OLIVE,
            "command": "/m365 reset-password",
            "action": "reset-password",
            "origin": Origin(HELPDESK),
            "created_at": self.clock.now(),
            "target": Target(TargetKind.USER, ADELE.id, ADELE.name, ADELE.upn),
            "typed": ADELE.upn,
            "reason": "locked out",
            "verified": "called back",
        }
        request = Request(**{**defaults, **fields})
        return await self.requests.add(request, say=story.messages(request, self.clock.now()) if told else [])

    async def run(self, request: Request, **changes: Any) -> Request:
        """Play the runner: change the row and say what it says."""
        changed = replace(request, **changes)
        if changed.state.final and changed.finished_at is None:
            changed = replace(changed, finished_at=self.clock.now())
        return await self.requests.save(changed, say=story.messages(changed, self.clock.now()))

    async def now(self, request: Request) -> Request:
        found = await self.requests.find(request.id)
        assert found is not None
        return found

    async def _operator_id(self, slack: SlackUser) -> str | None:
        operator = self.operators.rights(slack, "/m365 help").operator
        return operator.id if operator else None

    async def done_reset(self) -> Request:
        """A password was reset, and the new one waits to be seen."""
        now = self.clock.now()
        request = await self.have(
            state=RequestState.DONE,
            started_at=now,
            finished_at=now,
            sentence="The password of Adele Vance was reset.",
            answer={"reveal": "waiting"},
            due_at=now,
        )
        self.reveals.keep(request.id, Secret("Walnut-Tiger-42"), until=datetime.max.replace(tzinfo=UTC))
        return request


@asynccontextmanager
async def a_stage(
    tmp_path: Path,
    *,
    transport: Literal["socket", "http"] = "socket",
    limits: RateLimits | None = None,
    reporting: bool = True,
    ticket_pattern: str | None = None,
    alerts_channel: str = ALERTS,
) -> AsyncIterator[Stage]:
    """Everything connected and running."""
    async with AsyncExitStack() as stack:
        workspace = await stack.enter_async_context(a_workspace(transport=transport, manifest=MANIFEST, limits=limits))
        clock = SystemClock()
        stack.callback(workspace.clock.subscribe(clock.set_offset))
        db = await stack.enter_async_context(Database(tmp_path / "data" / "latchkey.db", tenant="t", clock=clock))
        http = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)))
        slack = Slack(make_client(workspace.slack.bot_token, f"{workspace.slack.base_url}/slack/api", http), http)
        installed = await slack.who_we_are(workspace.slack.app_token)
        trail = AuditTrail(db, Secret("an audit key that only tests ever use"))
        inbox, outbox = Inbox(db), Outbox(db)
        operators, settings = Operators(db, trail), Settings(db, trail)
        await _people_it(operators, settings)
        forms = Forms(slack=slack, settings=settings, offered=operators, ticket_pattern=ticket_pattern)
        requests, worker, reveals = Requests(db, trail, inbox, outbox), WaitingWorker(), SecretsInWaiting(clock)
        search, session, directory = Finding(clock), OneSession(), Enabled()
        people = People(slack, clock, installed, SUPPORT)
        standing = Standing(clock=clock, directory=directory, slack=people)
        leavers = Leavers(
            clock=clock,
            operators=operators,
            leaving=Leaving(db, trail, operators, requests, outbox),
            standing=standing,
            directory=directory,
            sessions=None,
            channel=HELPDESK,
        )
        stack.push_async_callback(leavers.close)
        entra, health = Entra(clock, ACCOUNTS), Examined()
        signing_in = SigningIn(
            clock=clock, people=entra, tenant=entra, tenant_id=TENANT, operators=operators, audit=trail
        )
        stack.push_async_callback(signing_in.close)
        alerts = Alerts(
            clock=clock,
            incidents=Incidents(db, trail, outbox),
            admins=operators,
            channel=alerts_channel,
            mention="",
            zone=ZoneInfo("Europe/London"),
        )
        rotated, blocks = Rotated(), Blocks()
        room = slack_room(
            slack=slack,
            installed=installed,
            people=people,
            leavers=leavers,
            standing=standing,
            clock=clock,
            zone=ZoneInfo("Europe/London"),
            support=SUPPORT,
            ticket_pattern=ticket_pattern,
            signing_secret=Secret(workspace.slack.signing_secret),
            inbox=inbox,
            outbox=outbox,
            requests=requests,
            rows=requests,
            operators=operators,
            settings=settings,
            audit=trail,
            reveals=reveals,
            session=session,
            answers=Answering(),
            search=search,
            forms=forms,
            worker=worker,
            approvals=Approvals(clock, requests, operators, settings, trail, standing, NobodySignsIn()),
            alerts=alerts,
            signing_in=signing_in,
            health=health,
            rotation=RotationTold(
                clock=clock,
                rotator=rotated,
                alerts=alerts,
                settings=settings,
                operators=operators,
                zone=ZoneInfo("Europe/London"),
            ),
            blocking=Blocking(
                clock, settings, requests, Findings(clock, blocks), blocks, worker.wake, lambda when: f"{when:%H:%M}"
            ),
        )
        requests.on_change(room.home.request_changed)
        stage = Stage(
            workspace, clock, slack, installed, room, forms, db, trail, requests, outbox, inbox, operators, settings,
            worker, reveals, search, session, entra, signing_in, directory, leavers,
            health, alerts, rotated,
        )  # fmt: skip
        if transport == "http":
            app = web.Application()
            app.add_routes(room.front_door.routes())
            url = await stack.enter_async_context(served(app))
            workspace.slack.bot_url = url
            stage = replace(stage, url=url)
        else:
            sockets = Sockets(
                client=slack.client,
                app_token=Secret(workspace.slack.app_token),
                front_door=room.front_door,
                clock=clock,
                gone=lambda: None,
            )
            await sockets.start()
            stack.push_async_callback(sockets.close)
            await workspace.slack.connected(2)
        stack.push_async_callback(room.home.close)
        stack.push_async_callback(room.front_door.close)
        if reporting:
            await room.reporter.start()
            stack.push_async_callback(room.reporter.close)
        yield stage


async def _people_it(operators: Operators, settings: Settings) -> None:
    shell = Author(login="root")
    await operators.ship_roles()
    for slack, role, name, account in (
        (ANA, "tenant-admin", "Ana Ruiz", "a0000000-0000-4000-8000-000000000001"),
        (OLIVE, "operator", "Olive Hart", "a0000000-0000-4000-8000-000000000002"),
        (AUDREY, "auditor", "Audrey Shaw", "a0000000-0000-4000-8000-000000000003"),
        (VIC, "viewer", "Vic Moss", None),
    ):
        upn = f"{name.split()[0].lower()}@contoso.com"
        await operators.bind(slack, account_id=account, upn=upn, name=name, by=shell)
        await operators.grant(slack, role, by=shell, reason="a test")
    now = await settings.current()
    await settings.change(replace(now, mode=Mode.ADVANCED), by=shell, reason="a test")


__all__ = ["ADELE", "ANA", "AUDREY", "HELPDESK", "OLIVE", "VIC", "AuditRecord", "Stage", "a_stage"]
