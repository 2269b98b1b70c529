"""The composition root: the one place that knows every concrete class, and the order in which they start and stop."""

from __future__ import annotations

import asyncio
import gc
import getpass
import json
import logging
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler

from bot.administration import Administration
from bot.clock import SystemClock
from bot.config import Config
from bot.doctor import Doctor, Line
from bot.enquiries import Enquiries
from bot.errors import ConfigurationError
from bot.housekeeping import erase_what_ran_out, every_night
from bot.identities import Application, ManagedIdentity, ServiceAccount, ServiceIdentity, SignedInNow
from bot.journey import Means
from bot.logs import set_up_logging
from bot.microsoft.bot_tokens import BotTokens
from bot.microsoft.client import GraphClient, MicrosoftTenant
from bot.microsoft.credentials import LateCredential, bot_credential
from bot.microsoft.http import azure_transport, open_http
from bot.microsoft.sdk_logs import quiet_sdk_loggers
from bot.microsoft.signin import EntraSignIn
from bot.model import IdentityKind, Secret, TenantSettings
from bot.reveals import SecretsInWaiting
from bot.road import Passed, Point, unobserved
from bot.runner import Runner
from bot.search import Search
from bot.session import ManagementSession
from bot.worker import Worker
from handlers.forms import Forms
from handlers.front_door import LARGEST
from handlers.room import Room, slack_room
from handlers.slack import Slack, follow_nothing, make_client
from handlers.socket import Sockets
from storage import guard
from storage.audit import AuditTrail
from storage.audit_key import kept_head, key_from_file
from storage.database import Database
from storage.inbox import Inbox
from storage.operators import Operators
from storage.outbox import Outbox
from storage.power import Author
from storage.requests import Requests
from storage.sessions import SessionLog
from storage.settings import Settings
from storage.vault import KeyVault

log = logging.getLogger(__name__)

SWITCH_SECONDS: Final = 0.0005
"""How long a thread may keep the interpreter while another one wants it."""


@dataclass(frozen=True)
class Microsoft:
    """The ways to Microsoft."""

    http: aiohttp.ClientSession
    vault: KeyVault
    tenant: MicrosoftTenant
    signing_in: EntraSignIn
    bot_graph: GraphClient


@dataclass(frozen=True)
class Storage:
    """The open database and what is in it."""

    db: Database
    trail: AuditTrail
    operators: Operators
    settings: Settings
    sessions: SessionLog
    inbox: Inbox
    outbox: Outbox
    requests: Requests


@asynccontextmanager
async def microsoft(config: Config, clock: SystemClock) -> AsyncIterator[Microsoft]:
    """Open the shared HTTP session and what goes through it. Nothing is sent yet."""
    config.need("tenant_id", "vault_url")
    async with AsyncExitStack() as stack:
        try:
            http = await stack.enter_async_context(open_http(config.extra_ca_file))
        except OSError as error:
            raise ConfigurationError(
                f"LATCHKEY_EXTRA_CA_FILE: {config.extra_ca_file} cannot be used as a list of certificates. "
                "Name a file of them in PEM, or leave it out."
            ) from error
        credential = LateCredential(
            lambda: bot_credential(config.bot_identity.value, authority_host=config.authority_host, http=http)
        )
        stack.push_async_callback(credential.close)
        vault = KeyVault(
            config.vault_url,
            credential,
            lambda: azure_transport(http),
            clock,
            verify_challenge_resource=config.vault_verify_challenge,
        )
        stack.push_async_callback(vault.close)
        tenant = MicrosoftTenant.at(config.graph_url, http, clock)
        yield Microsoft(
            http,
            vault,
            tenant,
            EntraSignIn(
                authority_host=config.authority_host,
                tenant_id=config.tenant_id,
                graph_url=config.graph_url,
                clock=clock,
                http=http,
                ca_file=config.extra_ca_file,
                service_client_id=config.service_client_id,
                service_client_secret=config.secret("service_client_secret"),
                worker_client_id=config.worker_client_id,
            ),
            tenant.graph(BotTokens(credential, config.graph_url)),
        )


@asynccontextmanager
async def slack(config: Config) -> AsyncIterator[Slack]:
    """Open the one session all calls to Slack share. Nothing is sent yet."""
    config.need("slack_bot_token")
    # The session's time limit is that of each call: the SDK ignores its own once it is given a session.
    limit = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(timeout=limit, trust_env=False, middlewares=(follow_nothing,)) as http:
        yield Slack(make_client(config.slack_bot_token.get_secret_value(), config.slack_api_url, http), http)


@asynccontextmanager
async def storage(config: Config, clock: SystemClock, key: Secret) -> AsyncIterator[Storage]:
    """Open the database and examine it; leave a checkpoint behind. Raises `StorageProblem`."""
    async with Database(config.database, tenant=config.tenant_id, clock=clock) as db:
        trail = AuditTrail(db, key)
        inbox, outbox = Inbox(db), Outbox(db)
        opened = Storage(
            db,
            trail,
            Operators(db, trail),
            Settings(db, trail),
            SessionLog(db, trail),
            inbox,
            outbox,
            Requests(db, trail, inbox, outbox),
        )
        head_file = config.head_file
        await guard.check(db, trail, opened.operators, head_file=head_file)
        yield opened
        await guard.leave(trail, head_file=head_file)


async def audit_key(config: Config, ways: Microsoft | None) -> Secret:
    """The key that seals the audit trail, from its file or from Key Vault."""
    if config.audit_key_file:
        return await asyncio.to_thread(key_from_file, config.audit_key_file, database=config.database)
    if config.audit_key_secret_name and ways:
        return await ways.vault.read(config.audit_key_secret_name)
    raise ConfigurationError(
        "Neither LATCHKEY_AUDIT_KEY_FILE nor LATCHKEY_AUDIT_KEY_SECRET_NAME is set. Name a file outside the database's "
        "folder (it is made if it does not exist), or a secret in Key Vault."
    )


def service_identity(config: Config, ways: Microsoft, settings: TenantSettings) -> ServiceIdentity:
    """The identity that the settings name. Raises `ConfigurationError` if a setting it needs is missing."""
    match settings.identity_kind:
        case IdentityKind.APPLICATION:
            config.need("worker_client_id")
            return Application(ways.vault, ways.signing_in, config.worker_certificate_name)
        case IdentityKind.MANAGED_IDENTITY:
            return ManagedIdentity(ways.signing_in)
        case _:
            config.need("service_client_id", "service_client_secret")
            return ServiceAccount(ways.vault, ways.signing_in, config.service_secret_name, settings.identity_name or "")


# --- the bot --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Latchkey:
    """The running bot, as its supervisor and its tests see it. `over` is set when it cannot go on by itself."""

    session: ManagementSession
    worker: Worker
    room: Room
    sockets: Sockets | None
    storage: Storage
    over: asyncio.Event

    async def ready(self) -> bool:
        """Whether Slack can reach it and it can remember."""
        return self.sockets is None or await self.sockets.ready()


@asynccontextmanager
async def latchkey(config: Config) -> AsyncIterator[Latchkey]:
    """Start the bot; leave the block to stop it in order.

    Up: examine the database, take up requests, take up deliveries, say what is unsaid, only then let Slack in. Down:
    the other way round. Raises `ConfigurationError` or `StorageProblem` before anything is touched.
    """
    over_http = config.http_port is not None and config.slack_signing_secret.get_secret_value() != ""
    if config.slack_app_token.get_secret_value() == "" and not over_http:
        raise ConfigurationError(
            "Set LATCHKEY_SLACK_APP_TOKEN for Socket Mode, or LATCHKEY_HTTP_PORT and LATCHKEY_SLACK_SIGNING_SECRET."
        )
    async with AsyncExitStack() as stack:
        clock, over = SystemClock(), asyncio.Event()
        if config.sandbox_clock:
            await stack.enter_async_context(_sandbox_time(config.sandbox_clock, clock, over.set))
        ways = await stack.enter_async_context(microsoft(config, clock))
        store = await stack.enter_async_context(storage(config, clock, await audit_key(config, ways)))
        web_api = await stack.enter_async_context(slack(config))
        session = ManagementSession(
            clock=clock,
            settings=store.settings,
            sessions=store.sessions,
            identity_of=lambda settings: service_identity(config, ways, settings),
            tenant=ways.tenant,
            zone=config.zone,
        )
        await session.start()
        stack.push_async_callback(session.close)
        reveals = SecretsInWaiting(clock)
        worker = Worker(store.requests, clock)
        forms = Forms(slack=web_api, settings=store.settings, ticket_pattern=config.ticket_pattern)
        enquiries = Enquiries(
            clock=clock,
            operators=store.operators,
            requests=store.requests,
            settings=store.settings,
            session=session,
            audit=store.trail,
            zone=config.zone,
            ticket_pattern=config.ticket_pattern,
        )
        passed = _killed_at(config.sandbox_kill_at) if config.sandbox_kill_at else unobserved
        room = slack_room(
            slack=web_api,
            installed=await web_api.who_we_are(config.slack_app_token.get_secret_value() or None),
            clock=clock,
            zone=config.zone,
            support=config.support_contact,
            ticket_pattern=config.ticket_pattern,
            signing_secret=config.secret("slack_signing_secret") if config.http_port else None,
            inbox=store.inbox,
            outbox=store.outbox,
            requests=store.requests,
            rows=store.requests,
            operators=store.operators,
            settings=store.settings,
            audit=store.trail,
            reveals=reveals,
            session=session,
            answers=enquiries,
            search=Search(clock=clock, operators=store.operators, settings=store.settings, session=session),
            forms=forms,
            worker=worker,
            passed=passed,
        )
        session.on_change(room.home.session_changed)
        means = Means(
            clock=clock,
            requests=store.requests,
            operators=store.operators,
            settings=store.settings,
            session=session,
            forms=forms,
            reveals=reveals,
            enquiries=enquiries,
            zone=config.zone,
            ticket_pattern=config.ticket_pattern,
            passed=passed,
        )
        stack.push_async_callback(room.home.close)
        await worker.start(Runner(means))
        stack.push_async_callback(worker.close)
        await room.front_door.redeliver()
        stack.push_async_callback(room.front_door.close)
        await room.reporter.start()
        stack.push_async_callback(room.reporter.close)
        sockets = None
        if app_token := config.slack_app_token.get_secret_value():
            sockets = Sockets(
                client=web_api.client,
                app_token=Secret(app_token),
                front_door=room.front_door,
                clock=clock,
                gone=over.set,
            )
        bot = Latchkey(session, worker, room, sockets, store, over)
        if config.http_port is not None:
            await stack.enter_async_context(_served(bot, config.http_port))
        for chore in (
            erase_what_ran_out(clock, store.inbox.erase_old, store.outbox.erase_old),
            _watch_the_night(config, clock, session, store.trail),
        ):
            stack.push_async_callback(_cancelled, asyncio.create_task(chore))
        if sockets:
            await sockets.start()
            stack.push_async_callback(sockets.close)
        log.info("ready", extra={"transport": "socket" if sockets else "http"})
        yield bot


async def run(config: Config) -> int:
    """Run until told to stop (0), or until Slack has been out of reach for so long that a new start is better (1)."""
    # A crash leaves no copy of our memory on the disk: tokens and passwords are in it.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    set_up_logging(config.log_level)
    quiet_sdk_loggers()
    # The event loop gives the interpreter up at each send and read. While a thread computes (MSAL signs in, a trail is
    # verified) it would get it back after 5 ms each time, and acknowledgements would add those up.
    sys.setswitchinterval(SWITCH_SECONDS)
    # What is there by now stays. Searched for garbage with the rest, it would hold the loop for a tenth of a second.
    gc.freeze()
    told_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told_to_stop.set)
    async with latchkey(config) as bot:
        waiting = [asyncio.create_task(event.wait()) for event in (told_to_stop, bot.over)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        log.info("stopping")
    return 1 if bot.over.is_set() else 0


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _watch_the_night(config: Config, clock: SystemClock, session: ManagementSession, trail: AuditTrail) -> None:
    head_file = config.head_file

    async def examine_all() -> str | None:
        expected = await asyncio.to_thread(kept_head, head_file) if head_file else None
        report = await trail.verify(expected_head=expected)
        return None if report.sound else " ".join(report.problems[:3])

    await every_night(
        clock,
        config.zone,
        session,
        examine=examine_all,
        leave_checkpoint=lambda: guard.leave(trail, head_file=head_file),
    )


@asynccontextmanager
async def _served(bot: Latchkey, port: int) -> AsyncIterator[None]:
    """Serve what a supervisor asks for, and Slack's deliveries if they come over HTTP."""
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

    async def healthy(request: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def ready(request: web.Request) -> web.Response:
        return web.Response(text="ready\n") if await bot.ready() else web.Response(status=503, text="not ready\n")

    async def metrics(request: web.Request) -> web.Response:
        session_on.set(bot.session.acting() is not None)
        slack_connected.set(await bot.ready())
        for status, count in bot.room.front_door.turned_away.items():
            turned_away.labels(status).set(count)
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    registry = CollectorRegistry()
    session_on = Gauge("latchkey_session_on", "Whether the management session is on", registry=registry)
    slack_connected = Gauge("latchkey_slack_connected", "Whether Slack can reach the bot", registry=registry)
    turned_away = Gauge("latchkey_turned_away", "Deliveries refused since the start", ["status"], registry=registry)
    application = web.Application(client_max_size=LARGEST, middlewares=[_stumbles_are_logged])
    application.add_routes([web.get("/healthz", healthy), web.get("/readyz", ready), web.get("/metrics", metrics)])
    if bot.sockets is None:
        application.add_routes(bot.room.front_door.routes())
    # Bodies stay as they came: Slack compresses none and signs the bytes, and a stranger could send a bomb.
    runner = web.AppRunner(application, access_log=None, auto_decompress=False)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, port=port).start()
        except OSError as error:
            raise ConfigurationError(f"LATCHKEY_HTTP_PORT: nobody can listen on port {port} ({error}).") from error
        yield
    finally:
        await runner.cleanup()


@web.middleware
async def _stumbles_are_logged(request: web.Request, handler: Handler) -> web.StreamResponse:
    """aiohttp's own logger is silenced, for it quotes what strangers send."""
    try:
        return await handler(request)
    except (web.HTTPException, ConnectionError):
        raise
    except Exception:  # whatever it is, the caller gets an answer and the log the rest
        log.exception("a request stumbled", extra={"method": request.method})
        return web.Response(status=500)


def _killed_at(name: str) -> Passed:
    """For crash tests in the sandbox: the process ends, as by a power cut, when it passes the point of that name."""
    try:
        fatal = Point[name]
    except KeyError as error:
        raise ConfigurationError(f"LATCHKEY_SANDBOX_KILL_AT: {name} is no point of the road.") from error

    def passed(point: Point) -> None:
        if point is fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    return passed


# --- from a shell ----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def opened(config: Config) -> AsyncIterator[tuple[Microsoft, Storage, SystemClock]]:
    """Everything that a command at a shell may need: the clock as the world has it, Microsoft, the database."""
    set_up_logging("WARNING")
    quiet_sdk_loggers()
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        if config.sandbox_clock:
            await stack.enter_async_context(_sandbox_time(config.sandbox_clock, clock, lambda: None))
        ways = await stack.enter_async_context(microsoft(config, clock))
        store = await stack.enter_async_context(storage(config, clock, await audit_key(config, ways)))
        yield ways, store, clock


@asynccontextmanager
async def administration(config: Config) -> AsyncIterator[Administration[Author]]:
    """What `latchkey grant`, `revoke` and `adopt` work with."""
    async with opened(config) as (ways, store, _):

        async def directory() -> GraphClient:
            return ways.bot_graph

        async def own_team() -> str:
            async with slack(config) as web_api:
                return (await web_api.who_we_are(config.slack_app_token.get_secret_value())).team

        yield Administration(
            operators=store.operators,
            settings=store.settings,
            author=Author(login=getpass.getuser()),
            directory=directory,
            own_team=own_team,
            worker_client_id=config.worker_client_id,
        )


async def examine(config: Config, wanted_scopes: Sequence[str]) -> AsyncIterator[Line]:
    """What `latchkey doctor` finds, line by line."""
    async with opened(config) as (ways, store, clock), slack(config) as web_api:
        settings = await store.settings.current()
        identity = service_identity(config, ways, settings)

        async def verdict() -> str | None:
            report = await store.trail.verify()
            return None if report.sound else " ".join(report.problems[:3])

        doctor = Doctor(
            clock=clock,
            slack=web_api,
            wanted_scopes=wanted_scopes,
            vault=ways.vault,
            secret_name=config.service_secret_name,
            bot_graph=ways.bot_graph,
            settings=settings,
            service_graph=lambda: ways.tenant.graph(SignedInNow(identity)),
            verify_audit=verdict,
        )
        async for line in doctor.examine():
            yield line


# --- the sandbox's clock ---------------------------------------------------------------------------------------------


@asynccontextmanager
async def _sandbox_time(url: str, clock: SystemClock, world_gone: Callable[[], None]) -> AsyncIterator[None]:
    """Keep *clock* as far ahead as the pretend world is: a line of JSON for each move, the first one at once.

    *world_gone* is called when the stream ends: without its world the bot has nothing left to talk to.
    """
    async with AsyncExitStack() as stack:
        try:
            unlimited = aiohttp.ClientTimeout(total=None)
            http = await stack.enter_async_context(aiohttp.ClientSession(timeout=unlimited))
            stream = await stack.enter_async_context(http.get(url))
            clock.set_offset(_offset(await stream.content.readline()))
        except (aiohttp.ClientError, ValueError, LookupError, TypeError) as error:
            raise ConfigurationError("LATCHKEY_SANDBOX_CLOCK: the sandbox does not answer there.") from error

        async def follow() -> None:
            with suppress(aiohttp.ClientError):  # the world may end in the middle of a line
                async for line in stream.content:
                    clock.set_offset(_offset(line))
            world_gone()

        following = asyncio.create_task(follow())
        try:
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


def _offset(line: bytes) -> float:
    return float(json.loads(line)["offset"])
