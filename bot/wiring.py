"""The composition root: the one place that knows every concrete class, and the order in which they start and stop."""

from __future__ import annotations

import asyncio
import gc
import getpass
import logging
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from bot.administration import Administration
from bot.alerts import TRIGGER, Alerts, NotPaged
from bot.approvals import Approvals
from bot.auditing import Auditing
from bot.blocking import Blocking, Findings
from bot.canary import Canary
from bot.clock import SystemClock
from bot.conditional_access import ConditionalAccess
from bot.config import Config
from bot.diagnosis import Diagnosis
from bot.doctor import Doctor, Line
from bot.enquiries import Enquiries
from bot.errors import ConfigurationError, TamperingFound
from bot.expiry import tell_of_ends
from bot.group_grants import GroupGrants
from bot.guesses import GuessBook, allowed_guesses
from bot.health import Health
from bot.housekeeping import audit_head, erase_what_ran_out, every_night, unsound
from bot.identities import Application, ManagedIdentity, ServiceAccount, ServiceIdentity, SignedInNow, no_repair
from bot.in_sandbox import killed_at, sandbox_time
from bot.journey import Means
from bot.leavers import Leavers
from bot.linking import Linking
from bot.logs import set_up_logging
from bot.microsoft.bot_tokens import BotTokens
from bot.microsoft.certificates import EntraCertificates
from bot.microsoft.client import GraphClient, MicrosoftTenant
from bot.microsoft.credentials import LateCredential, bot_credential
from bot.microsoft.http import azure_transport, open_http
from bot.microsoft.people import EntraPeople
from bot.microsoft.sdk_logs import quiet_sdk_loggers
from bot.microsoft.signin import EntraSignIn
from bot.model import Alert, Author, IdentityKind, Secret, TenantSettings
from bot.office import Office
from bot.office.allowed_ips import AllowedIpsDesk
from bot.office.identity import IdentityDesk
from bot.office.roles import RolesDesk
from bot.office.rotation import RotationDesk
from bot.office.sessions import SessionDesk
from bot.office.settings import SettingsDesk
from bot.ports import Asked
from bot.reveals import SecretsInWaiting
from bot.road import unobserved
from bot.roll import Roll
from bot.rotating import Credential, PasswordCredential
from bot.rotating_certificate import CertificateCredential
from bot.rotation_told import RotationTold
from bot.rotator import Rotator
from bot.runner import Runner
from bot.search import Search
from bot.serving import served
from bot.session import ManagementSession
from bot.sessions import Heard, Sessions
from bot.sign_in_pages import SignInPages
from bot.signed_in import GoingOn
from bot.signing_in import Purpose, SigningIn
from bot.standing import Standing
from bot.watching import Watching
from bot.webhook import Webhook, WebhookTemplate
from bot.what_if_by_hand.answers import WhatIf
from bot.whatif.locations import read_address
from bot.worker import Worker
from handlers.files import Files
from handlers.forms import Forms
from handlers.front_door import LARGEST
from handlers.identity import People
from handlers.room import Room, slack_room
from handlers.slack import Slack, SlackProblem, follow_nothing, make_client
from handlers.socket import Sockets
from handlers.views.blocks import said, section
from storage import guard
from storage.alerts import Alerts as Incidents
from storage.audit import AuditTrail
from storage.audit_key import kept_head, key_from_file
from storage.database import Database
from storage.expiring import Expiring
from storage.following import Following
from storage.inbox import Inbox
from storage.leaving import Leaving
from storage.operators import Operators
from storage.outbox import Outbox
from storage.policies import PolicyMemory
from storage.requests import Requests
from storage.rotations import Rotations
from storage.sessions import SessionLog
from storage.settings import Settings
from storage.vault import KeyVault
from storage.watching import Watched

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
    people: EntraPeople
    bot_graph: GraphClient
    certificates: EntraCertificates
    policies: GraphClient
    """Reads Conditional Access as the bot identity, with every value of every enumeration."""
    beta: GraphClient
    """The same in Graph's beta."""


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
    leaving: Leaving
    following: Following
    expiring: Expiring
    alerts: Incidents
    rotations: Rotations
    watched: Watched
    policies: PolicyMemory


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
        bot_tokens = BotTokens(credential, config.graph_url)
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
            EntraPeople(
                authority_host=config.authority_host,
                tenant_id=config.tenant_id,
                graph_url=config.graph_url,
                clock=clock,
                ca_file=config.extra_ca_file,
                client_id=config.signin_client_id,
                client_secret=config.secret("signin_client_secret"),
                callback_url=config.callback_url,
            ),
            tenant.graph(bot_tokens),
            EntraCertificates(clock),
            tenant.with_all_values(bot_tokens),
            tenant.with_all_values(bot_tokens, beta=True),
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
        operators, requests = Operators(db, trail), Requests(db, trail, inbox, outbox)
        opened = Storage(
            db,
            trail,
            operators,
            Settings(db, trail),
            SessionLog(db, trail),
            inbox,
            outbox,
            requests,
            Leaving(db, trail, operators, requests, outbox),
            Following(db, trail, outbox),
            Expiring(db, outbox),
            Incidents(db, trail, outbox),
            Rotations(db, trail),
            Watched(db),
            PolicyMemory(db),
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


def guess_book(config: Config, clock: SystemClock) -> GuessBook:
    """How many wrong passwords of each account are safe."""
    return GuessBook(clock, safe_guesses(config))


def safe_guesses(config: Config) -> int:
    """How many wrong passwords never lock an account."""
    government = (urlsplit(config.authority_host).hostname or "").endswith(".us")
    return allowed_guesses(config.lockout_threshold, us_government=government)


def service_identity(
    config: Config,
    ways: Microsoft,
    guesses: GuessBook,
    settings: TenantSettings,
    *,
    repair: Callable[[], None] = no_repair,
) -> ServiceIdentity:
    """The identity that the settings name. Raises `ConfigurationError` if a setting it needs is missing.

    *repair* is asked for when it signed in with another credential than the one that is tagged as current.
    """
    match settings.identity_kind:
        case IdentityKind.APPLICATION:
            config.need("worker_client_id")
            return Application(
                ways.vault, ways.signing_in, config.worker_certificate_name, config.worker_client_id, repair
            )
        case IdentityKind.MANAGED_IDENTITY:
            return ManagedIdentity(ways.signing_in)
        case _:
            config.need("service_client_id", "service_client_secret")
            upn = settings.identity_name or ""
            return ServiceAccount(ways.vault, ways.signing_in, config.service_secret_name, upn, guesses.of(upn), repair)


def policies_of(config: Config, clock: SystemClock, ways: Microsoft, store: Storage) -> ConditionalAccess:
    """The tenant's policies."""
    return ConditionalAccess(
        clock=clock,
        directory=ways.policies,
        beta=ways.beta,
        memory=store.policies,
        settings=store.settings,
        egress=read_address(config.egress_ip) if config.egress_ip else None,
        client_id=config.service_client_id,
    )


def pager(config: Config, ways: Microsoft) -> Webhook | None:
    """The webhook that wakes people, if one is set. Raises `ConfigurationError`."""
    if not config.alert_webhook_url:
        return None
    template = WebhookTemplate.named(config.alert_webhook_template)
    if template.needs_key:
        config.need("alert_webhook_key")
    key = config.secret("alert_webhook_key")
    return Webhook(ways.http, url=config.alert_webhook_url, template=template, key=key, source=config.tenant_id)


def alarm(config: Config, clock: SystemClock, store: Storage, webhook: Webhook | None = None) -> Alerts:
    """What raises alerts. Without the *webhook* it is left to the process that runs to tell that."""
    return Alerts(
        clock=clock,
        incidents=store.alerts,
        admins=store.operators,
        channel=config.alerts_channel or config.approvals_channel,
        mention=config.alerts_mention,
        zone=config.zone,
        pager=webhook,
        pages=bool(config.alert_webhook_url),
    )


def rotated(config: Config, ways: Microsoft, settings: TenantSettings) -> Credential | None:
    """What the identity that the settings name signs in with, if that can be rotated. Raises `ConfigurationError`."""
    name = settings.identity_name or ""
    match settings.identity_kind:
        case IdentityKind.SERVICE_ACCOUNT:
            config.need("service_client_id", "service_client_secret")
            return PasswordCredential(config.service_secret_name, name, ways.signing_in, ways.tenant)
        case IdentityKind.APPLICATION:
            config.need("worker_client_id")
            return CertificateCredential(
                secret_name=config.worker_certificate_name,
                account=config.worker_client_id,
                name=name,
                signing_in=ways.signing_in,
                tenant=ways.tenant,
                certificates=ways.certificates,
            )
    return None


# --- the bot --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Latchkey:
    """The running bot, as its supervisor and its tests see it. `over` is set when it cannot go on by itself."""

    session: ManagementSession
    """The tenant's own, of Advanced mode."""
    sessions: Sessions
    signing_in: SigningIn
    worker: Worker
    room: Room
    sockets: Sockets | None
    storage: Storage
    approvals: Approvals
    alerts: Alerts
    rotator: Rotator
    over: asyncio.Event

    @property
    def session_on(self) -> bool:
        return any(session.acting() is not None for session in self.sessions.all())

    @property
    def turned_away(self) -> Mapping[int, int]:
        """Deliveries refused since the start, by HTTP status."""
        return self.room.front_door.turned_away

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
    if config.callback_url:
        config.need("http_port", "signin_client_id")  # which serve it
    async with AsyncExitStack() as stack:
        clock, over = SystemClock(), asyncio.Event()
        if config.sandbox_clock:
            await stack.enter_async_context(sandbox_time(config.sandbox_clock, clock, over.set))
        ways = await stack.enter_async_context(microsoft(config, clock))
        webhook = pager(config, ways)
        try:
            store = await stack.enter_async_context(storage(config, clock, await audit_key(config, ways)))
        except TamperingFound as found:
            await _tell_at_once(config, clock, webhook, found)
            raise
        alerts = alarm(config, clock, store, webhook)
        web_api = await stack.enter_async_context(slack(config))
        reveals = SecretsInWaiting(clock)
        guesses = guess_book(config, clock)
        worker = Worker(store.requests, clock)
        session = Sessions(
            clock=clock,
            settings=store.settings,
            log=store.sessions,
            identity_of=lambda settings: service_identity(config, ways, guesses, settings, repair=rotator.repair),
            tenant=ways.tenant,
            zone=config.zone,
            operators=store.operators,
            requests=store.requests,
            outbox=store.outbox,
            worker=worker,
        )
        passed: Callable[[Any], None] = killed_at(config.sandbox_kill_at) if config.sandbox_kill_at else unobserved
        rotator = Rotator(
            clock=clock,
            vault=ways.vault,
            tenant=ways.tenant,
            rotations=store.rotations,
            settings=store.settings,
            credential_of=lambda settings: rotated(config, ways, settings),
            alarm=alerts,
            zone=config.zone,
            allowed=safe_guesses(config),
            guesses_of=guesses.of,
            renew=session.shared.renew,
            passed=passed,
        )
        store.settings.on_change(rotator.wake)
        conditional_access = policies_of(config, clock, ways, store)
        findings = Findings(clock, Diagnosis(clock=clock, conditional_access=conditional_access))
        stack.push_async_callback(findings.close)
        blocking = Blocking(clock, store.settings, store.requests, findings, session, worker.wake, session.clock_time)

        def tried_out(settings: TenantSettings) -> ServiceIdentity:
            """The service identity outside of sessions. Requests that wait for it hear of it."""
            acts = service_identity(config, ways, guesses, settings, repair=rotator.repair)
            return Heard(acts, blocking.well)

        watching = Watching(
            clock=clock,
            settings=store.settings,
            directory=ways.bot_graph,
            rotations=rotator,
            identity_of=tried_out,
            vault=ways.vault,
            certificates=ways.certificates,
            alerts=alerts,
            seen=store.watched,
            clock_time=session.clock_time,
            canary=Canary(clock, conditional_access),
        )
        conditional_access.on_change(watching.policies_changed)
        session.on_trouble(watching.trouble)
        session.on_well(watching.well)
        session.on_trouble(conditional_access.trouble)
        session.on_well(conditional_access.well)
        session.on_well(blocking.well)
        await session.start()
        stack.push_async_callback(session.close)
        stack.push_async_callback(rotator.close)
        forms = Forms(
            slack=web_api,
            settings=store.settings,
            offered=store.operators,
            ticket_pattern=config.ticket_pattern,
        )
        auditing = Auditing(
            clock=clock,
            operators=store.operators,
            requests=store.requests,
            trail=store.trail,
            directory=ways.bot_graph,
            files=Files(web_api),
            zone=config.zone,
        )
        told_of_rotation = RotationTold(
            clock=clock,
            rotator=rotator,
            alerts=alerts,
            settings=store.settings,
            operators=store.operators,
            zone=config.zone,
        )
        enquiries = Enquiries(
            clock=clock,
            operators=store.operators,
            settings=store.settings,
            session=session,
            auditing=auditing,
            roll=Roll(store.operators),
            rotation=told_of_rotation,
            what_if=WhatIf(
                clock=clock,
                access=conditional_access,
                directory=ways.bot_graph,
                settings=store.settings,
                operators=store.operators,
                files=Files(web_api),
                zone=config.zone,
            ),
            zone=config.zone,
            ticket_pattern=config.ticket_pattern,
        )
        installed = await web_api.who_we_are(config.slack_app_token.get_secret_value() or None)
        people = People(web_api, clock, installed, config.support_contact)
        standing = Standing(clock=clock, directory=ways.bot_graph, slack=people)
        told_in = config.approvals_channel or config.alerts_channel
        leavers = Leavers(
            clock=clock,
            operators=store.operators,
            leaving=store.leaving,
            standing=standing,
            directory=ways.bot_graph,
            sessions=session,
            channel=told_in,
        )
        group_grants = GroupGrants(
            clock=clock,
            operators=store.operators,
            following=store.following,
            directory=ways.bot_graph,
            channel=told_in,
        )
        store.operators.on_change(group_grants.wake)
        signing_in = SigningIn(
            clock=clock,
            people=ways.people,
            tenant=ways.tenant,
            tenant_id=config.tenant_id,
            operators=store.operators,
            audit=store.trail,
            page=config.callback_url.removesuffix("callback") + "signin" if config.callback_url else "",
        )
        stack.push_async_callback(signing_in.close)
        approvals = Approvals(clock, store.requests, store.operators, store.settings, store.trail, standing, signing_in)
        going_on = GoingOn(clock, store.requests, store.operators, approvals, worker)
        for purpose, handler in (
            (Purpose.LINK, Linking(store.operators, store.settings).linked),
            (Purpose.SESSION, session.signed_in),
            (Purpose.SET_UP, going_on.set_up),
            (Purpose.POLICIES, going_on.set_up),
            (Purpose.APPROVAL, going_on.approved),
        ):
            signing_in.on(purpose, handler)
        identity = IdentityDesk(
            clock=clock,
            vault=ways.vault,
            secret_name=config.service_secret_name,
            signing_in=ways.signing_in,
            identity_of=lambda settings: service_identity(config, ways, guesses, settings),
            tenant=ways.tenant,
            directory=ways.bot_graph,
            settings=store.settings,
            operators=store.operators,
            guesses=guesses.of,
            worker_client_id=config.worker_client_id,
        )
        office = Office(
            clock=clock,
            session=session.shared,
            desks={
                "identity": identity,
                "session": SessionDesk(session),
                "settings": SettingsDesk(store.settings),
                "rotation": RotationDesk(rotator, store.settings, config.zone),
                "roles": RolesDesk(store.operators, people, standing, config.zone),
                "allowed-ips": AllowedIpsDesk(
                    clock=clock,
                    policies=conditional_access,
                    directory=ways.bot_graph,
                    settings=store.settings,
                    requests=store.requests,
                    identity_of=tried_out,
                ),
            },
            directory=ways.bot_graph,
            tenant=ways.tenant,
            sign_ins=signing_in,
            policies=conditional_access,
            stored=identity,
        )
        room = slack_room(
            slack=web_api,
            installed=installed,
            people=people,
            leavers=leavers,
            standing=standing,
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
            approvals=approvals,
            alerts=alerts,
            signing_in=signing_in,
            health=Health(clock, ways.bot_graph),
            rotation=told_of_rotation,
            blocking=blocking,
            passed=passed,
        )
        store.requests.on_change(told_of_rotation.request_changed)
        store.requests.on_change(watching.request_changed)
        session.on_change(room.home.session_changed)
        store.requests.on_change(room.home.request_changed)
        store.operators.on_change(room.home.rights_changed)
        means = Means(
            clock=clock,
            requests=store.requests,
            operators=store.operators,
            settings=store.settings,
            session=session,
            forms=forms,
            reveals=reveals,
            enquiries=enquiries,
            approvals=approvals,
            standing=standing,
            office=office,
            approvals_channel=config.approvals_channel,
            zone=config.zone,
            ticket_pattern=config.ticket_pattern,
            passed=passed,
            blocking=blocking,
        )
        stack.push_async_callback(room.home.close)
        stack.push_async_callback(leavers.close)
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
        bot = Latchkey(
            session.shared, session, signing_in, worker, room, sockets, store, approvals, alerts, rotator, over
        )
        if config.http_port is not None:
            await stack.enter_async_context(served(config.http_port, bot, _routes(bot, config), largest=LARGEST))
        for chore in (
            erase_what_ran_out(clock, store.inbox.erase_old, store.outbox.erase_old),
            leavers.every_hour(),
            group_grants.keep_up(),
            session.watch(),
            tell_of_ends(clock, store.expiring, told_in),
            alerts.keep_up(),
            rotator.keep_up(),
            watching.keep_up(),
            conditional_access.keep_up(),
            blocking.keep_up(),
            _watch_the_night(config, clock, session, store, alerts, foresee=watching.thoroughly),
        ):
            task = asyncio.create_task(chore)
            task.add_done_callback(_told_if_it_broke)
            stack.push_async_callback(_cancelled, task)
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


def _routes(bot: Latchkey, config: Config) -> list[web.RouteDef]:
    """What is served beside what a supervisor asks for."""
    pages = SignInPages(bot.signing_in, callback_url=config.callback_url, authority_host=config.authority_host)
    deliveries = bot.room.front_door.routes() if bot.sockets is None else []
    return [*(pages.routes() if config.callback_url else []), *deliveries]


def _told_if_it_broke(task: asyncio.Task[None]) -> None:
    """None of them ends by itself, and nobody waits for one that did."""
    if not task.cancelled() and (error := task.exception()):
        log.critical("a chore broke and is done no more; start Latchkey again", exc_info=error)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _tell_at_once(config: Config, clock: SystemClock, webhook: Webhook | None, found: TamperingFound) -> None:
    """Tell people that Latchkey does not start. Nothing can be remembered of it, so it is said once an hour at most."""
    if not await asyncio.to_thread(guard.is_to_be_told, config.database, clock.now()):
        return
    trouble = unsound(str(found))
    try:
        if webhook:
            await webhook.tell(TRIGGER, Alert("start", trouble, opened_at=clock.now()))
    except NotPaged as problem:
        log.error("the webhook did not take an alert", extra={"why": str(problem)})
    if channel := config.alerts_channel or config.approvals_channel:
        # Without details: nobody can look now who reads there.
        words = f"Latchkey does not start. {trouble.headline} `latchkey audit verify` on its machine tells more."
        try:
            async with slack(config) as web_api:
                await web_api.post(channel, said(words, [section(f"🔴 {words}")]))
        except SlackProblem as problem:
            log.error("could not tell in Slack", extra={"problem": str(problem)})


async def _watch_the_night(
    config: Config,
    clock: SystemClock,
    session: Sessions,
    store: Storage,
    alerts: Alerts,
    *,
    foresee: Callable[[], None],
) -> None:
    head_file, channel = config.head_file, config.audit_channel or config.alerts_channel

    async def examine_all() -> str | None:
        expected = await asyncio.to_thread(kept_head, head_file) if head_file else None
        report = await store.trail.verify(expected_head=expected)
        return None if report.sound else " ".join(report.problems[:3])

    async def take_away() -> None:
        kept = timedelta(days=(await store.settings.current()).retention_days)
        if gone := await store.trail.cut(clock.now() - kept, seen=timedelta(days=2)):
            log.info("audit rows taken away", extra={"rows": gone})

    async def post(wrong: str | None) -> None:
        if not channel:
            return
        now, head = clock.now(), await store.trail.head()
        changes = await store.trail.changes_since(now - timedelta(days=1))
        day = now.astimezone(config.zone).date()
        await store.outbox.say(audit_head(channel, day, seq=head.seq, seal=head.mac, changes=changes, wrong=wrong))

    await every_night(
        clock,
        config.zone,
        session,
        alerts,
        examine=examine_all,
        take_away=take_away,
        leave_checkpoint=lambda: guard.leave(store.trail, head_file=head_file),
        post=post,
        foresee=foresee,
    )


# --- from a shell ----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def opened(config: Config) -> AsyncIterator[tuple[Microsoft, Storage, SystemClock]]:
    """Everything that a command at a shell may need: the clock as the world has it, Microsoft, the database."""
    set_up_logging("WARNING")
    quiet_sdk_loggers()
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        if config.sandbox_clock:
            await stack.enter_async_context(sandbox_time(config.sandbox_clock, clock, lambda: None))
        ways = await stack.enter_async_context(microsoft(config, clock))
        store = await stack.enter_async_context(storage(config, clock, await audit_key(config, ways)))
        yield ways, store, clock


@asynccontextmanager
async def administration(config: Config) -> AsyncIterator[Administration]:
    """What `latchkey grant`, `revoke` and `adopt` work with."""
    async with opened(config) as (ways, store, clock):

        async def directory() -> GraphClient:
            return ways.bot_graph

        async def own_team() -> str:
            async with slack(config) as web_api:
                return (await web_api.who_we_are(config.slack_app_token.get_secret_value())).team

        yield Administration(
            clock=clock,
            operators=store.operators,
            settings=store.settings,
            author=Author(login=getpass.getuser()),
            alarm=alarm(config, clock, store),
            directory=directory,
            own_team=own_team,
            worker_client_id=config.worker_client_id,
        )


async def examine(config: Config, wanted_scopes: Sequence[str]) -> AsyncIterator[Line]:
    """What `latchkey doctor` finds, line by line."""
    async with opened(config) as (ways, store, clock), slack(config) as web_api:
        settings, guesses = await store.settings.current(), guess_book(config, clock)
        webhook, seen = pager(config, ways), await store.watched.last()

        async def sign_in() -> str | None:
            if not config.signin_client_id:
                return None
            if config.callback_url:
                await ways.people.in_browser(Asked(("User.Read",)))
                return f"people get a link, and come back to {config.callback_url}"
            await ways.people.by_code(Asked(("User.Read",)))
            return "people get a code, for no LATCHKEY_CALLBACK_URL is set"

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
            conditional_access=policies_of(config, clock, ways, store),
            settings=settings,
            service_graph=lambda: ways.tenant.graph(SignedInNow(service_identity(config, ways, guesses, settings))),
            sign_in=sign_in,
            verify_audit=verdict,
            rotation=Rotator(
                clock=clock,
                vault=ways.vault,
                tenant=ways.tenant,
                rotations=store.rotations,
                settings=store.settings,
                credential_of=lambda settings: rotated(config, ways, settings),
                alarm=alarm(config, clock, store),
                zone=config.zone,
                allowed=safe_guesses(config),
            ).status,
            zone=config.zone,
            lockout_threshold=config.lockout_threshold,
            closed=seen is not None and seen.closed,
            try_webhook=partial(webhook.try_out, clock.now()) if webhook else None,
        )
        async for line in doctor.examine():
            yield line
