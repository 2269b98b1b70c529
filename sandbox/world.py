"""The whole pretend world on loopback: clock, faults, Entra, Graph, Key Vault, Slack and the page in one loop."""

import asyncio
import json
import math
import socket
import ssl
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import yaml
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web
from aiohttp.typedefs import Handler

from sandbox import browser_hands
from sandbox.bot_process import PROJECT, BotCommandError, BotProcess
from sandbox.changes import Changes
from sandbox.clock import WorldClock
from sandbox.entra import Entra
from sandbox.faults import Faults
from sandbox.graph import Graph
from sandbox.imds import MetadataService
from sandbox.mishaps import mishaps
from sandbox.page.server import Page
from sandbox.pager import ROUTING_KEY, Pager
from sandbox.slack import RateLimits, SlackWorkspace
from sandbox.tenant import contoso
from sandbox.tls import make_tls
from sandbox.vault import SERVICE_ACCOUNT_SECRET, Vault

_HOST = "127.0.0.1"
_SHUTDOWN_SECONDS = 0.2  # streams and long polls never end by themselves
_READY_SECONDS = 60.0

Transport = Literal["socket", "http"]


class World:
    """One pretend world; enter it to let it listen.

    `port` is where the page and Slack listen; 0 takes a free one. `transport` is how Slack delivers to the
    bot: Socket Mode, or signed HTTP to `LATCHKEY_HTTP_PORT`. `state` is the folder for the bot's database and
    keys, kept if given, temporary if not; the workspace and the tenant are new in every world. With `callback`
    people come back from Microsoft's sign-in to the bot's own page; without it they are given codes to type. With
    `paging` the bot wakes people through `pager`. `policies` are files of Conditional Access policies that have always
    been there, shipped ones by their names; `egress` is the address with which Microsoft sees the bot's machine, which
    the bot is told with `tell_egress`.

    Inside, `url` serves the page, `/api/`, `/slack/`, `/clock` and the machine's metadata service; `tls_url` Entra, and
    Graph under `/graph/v1.0`; `vault_url` the vault. `changes` tells of every change in the world.
    """

    url: str
    tls_url: str
    vault_url: str

    def __init__(
        self,
        port: int = 0,
        transport: Transport = "socket",
        state: Path | None = None,
        limits: RateLimits | None = None,
        *,
        callback: bool = False,
        paging: bool = False,
        policies: Sequence[str] = (),
        security_defaults: bool = False,
        egress: str | None = None,
        tell_egress: bool = False,
    ) -> None:
        self.transport = transport
        self._tell_egress = tell_egress
        self._callback = callback
        self._paging = paging
        self.changes = Changes()
        self.clock = WorldClock()
        self.faults = Faults()
        self.directory = contoso(self.clock)
        self.entra = Entra(self.directory, self.clock, self.faults)
        self.access = self.entra.access
        if egress is not None:
            self.access.move(egress, self.access.country_of(self.access.egress))
        for name in policies:
            self.access.add_from_file(name, by=None)
        if security_defaults:
            self.access.set_security_defaults(True)
        self.graph = Graph(self.directory, self.entra, self.clock, self.faults)
        self.vault = Vault(self.entra, self.clock, self.faults)
        self.faults.bind(mishaps(self.directory, self.entra, self.vault))
        self.imds = MetadataService(self.entra, self.faults)
        self.pager = Pager(self.faults, self.changes.tell)
        manifest = yaml.safe_load((PROJECT / "manifest.yml").read_text(encoding="utf-8"))
        self.slack = SlackWorkspace(self.clock, self.faults, manifest, transport=transport, limits=limits)
        self.bot: BotProcess | None = None
        self.page = Page(self, manifest["features"]["slash_commands"])
        self._port = port
        self._given_state = state
        self._bot_port = 0
        self._open = AsyncExitStack()
        self._answers: set[asyncio.Task[Any]] = set()
        self._heard: dict[web.WebSocketResponse, float] = {}

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self.state = self._given_state or Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="latchkey-sandbox-"))
            )
            self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
            tls = make_tls(self.state / "tls")
            self._ca_file = tls.ca_file

            plain = web.Application(middlewares=[self._answering])
            microsoft, vault = (web.Application(middlewares=[self._answering, self._telling]) for _ in range(2))
            plain.router.add_get("/clock", self._tell_time)
            self.slack.routes(plain)
            self.page.routes(plain)
            self.entra.pages.routes(plain)  # for the page's people, whose browser does not know our certificates
            self.imds.routes(plain)
            self.pager.routes(plain)
            self.entra.routes(microsoft)
            self.graph.routes(microsoft)
            self.vault.routes(vault)

            stack.push_async_callback(self._end_answers)
            listeners = {}
            for name, app, port, context in (
                ("plain", plain, self._port, None),
                ("microsoft", microsoft, 0, tls.context),
                ("vault", vault, 0, tls.context),
            ):
                runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
                await runner.setup()
                stack.push_async_callback(runner.cleanup)
                site = web.TCPSite(runner, _HOST, port, ssl_context=context)
                await site.start()
                listeners[name] = runner.addresses[0][1]
            self.url = f"http://{_HOST}:{listeners['plain']}"
            self.tls_url = f"https://localhost:{listeners['microsoft']}"
            self.vault_url = f"https://localhost:{listeners['vault']}"
            self.entra.origin = self.tls_url
            self.slack.base_url = self.url
            if self.transport == "http" or self._callback:
                self._bot_port = _free_port()
            if self.transport == "http":
                self.slack.bot_url = f"http://{_HOST}:{self._bot_port}"
            stack.push_async_callback(self.slack.stop)

            stack.callback(self.faults.subscribe(self.changes.tell))
            stack.callback(self.clock.subscribe(self.changes.tell))
            stack.push_async_callback(_end, asyncio.create_task(self._watch_slack()))
            self._open = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()

    def environment(self) -> dict[str, str]:
        """Every setting the bot needs to live in this world."""
        apps = self.directory.applications
        settings = {
            "LATCHKEY_SLACK_BOT_TOKEN": self.slack.bot_token,
            "LATCHKEY_SLACK_APP_TOKEN": self.slack.app_token,
            "LATCHKEY_SLACK_SIGNING_SECRET": self.slack.signing_secret,
            "LATCHKEY_SLACK_API_URL": f"{self.url}/slack/api/",
            "LATCHKEY_TENANT_ID": self.directory.tenant.id,
            "LATCHKEY_AUTHORITY_HOST": self.tls_url,
            "LATCHKEY_GRAPH_URL": f"{self.tls_url}/graph/v1.0",
            "LATCHKEY_VAULT_URL": self.vault_url,
            "LATCHKEY_VAULT_VERIFY_CHALLENGE": "false",  # a vault on localhost is not in Azure's domain
            "LATCHKEY_EXTRA_CA_FILE": str(self._ca_file),
            "LATCHKEY_BOT_IDENTITY": "environment",
            "AZURE_TENANT_ID": self.directory.tenant.id,
            "AZURE_CLIENT_ID": apps["bot"].app_id,
            "AZURE_CLIENT_SECRET": apps["bot"].secret or "",
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": self.url,  # where a managed identity gets its tokens
            "LATCHKEY_SERVICE_CLIENT_ID": apps["service"].app_id,
            "LATCHKEY_SERVICE_CLIENT_SECRET": apps["service"].secret or "",
            "LATCHKEY_SERVICE_SECRET_NAME": SERVICE_ACCOUNT_SECRET,
            "LATCHKEY_WORKER_CLIENT_ID": apps["worker"].app_id,
            "LATCHKEY_WORKER_CERTIFICATE_NAME": "latchkey-worker-certificate",
            "LATCHKEY_SIGNIN_CLIENT_ID": apps["signin"].app_id,
            "LATCHKEY_SIGNIN_CLIENT_SECRET": apps["signin"].secret or "",
            "LATCHKEY_APPROVALS_CHANNEL": self.slack.channel("#it-approvals").id,
            "LATCHKEY_ALERTS_CHANNEL": self.slack.channel("#it-alerts").id,
            "LATCHKEY_SANDBOX_CLOCK": f"{self.url}/clock",
            "LATCHKEY_DATABASE": str(self.database),
            "LATCHKEY_AUDIT_KEY_FILE": str(self.state / "keys" / "audit.key"),
            "LATCHKEY_TIME_ZONE": "Europe/London",
            "LATCHKEY_SUPPORT_CONTACT": "Ana Ruiz or Bo Lind",
        }
        if self.transport == "http":
            del settings["LATCHKEY_SLACK_APP_TOKEN"]
        if self._paging:
            settings["LATCHKEY_ALERT_WEBHOOK_URL"] = f"{self.url}/pager/v2/enqueue"
            settings["LATCHKEY_ALERT_WEBHOOK_KEY"] = ROUTING_KEY
        if self._tell_egress:
            settings["LATCHKEY_EGRESS_IP"] = self.access.egress
        if self._bot_port:
            settings["LATCHKEY_HTTP_PORT"] = str(self._bot_port)
        if self._callback:
            settings["LATCHKEY_CALLBACK_URL"] = f"http://localhost:{self._bot_port}/callback"
        return settings

    # The bot in this world.

    @property
    def database(self) -> Path:
        """Where the bot keeps its database."""
        return self.state / "data" / "latchkey.db"

    def adopt(self, bot: BotProcess) -> None:
        """Let the page start and kill this bot, and tell of its life in `changes`."""
        self.bot = bot
        self._open.callback(bot.subscribe(self.changes.tell))

    @property
    def bot_connected(self) -> bool:
        """Whether Slack can deliver; over HTTP, whether there is somebody to try."""
        if self.transport == "http":
            return self.bot is not None and self.bot.state == "running"
        return self.slack.bot_connected > 0

    async def start_bot(self) -> None:
        """Start the adopted bot and wait until Slack can deliver to it.

        BotCommandError with the end of its log when it ends instead, or is not ready after a minute.
        """
        bot = self.bot
        if bot is None:
            raise BotCommandError("this world has no bot of its own")
        await bot.start()
        try:
            async with asyncio.timeout(_READY_SECONDS):
                while not await self._is_ready():
                    if bot.state != "running":
                        raise BotCommandError(f"the bot ended with exit code {bot.exit_code}:\n{bot.log()}")
        except TimeoutError as error:
            raise BotCommandError(f"the bot is not ready after {_READY_SECONDS:g} s:\n{bot.log()}") from error

    async def _is_ready(self) -> bool:
        """Whether the bot is ready, asked after a moment in which it could become so."""
        if self.transport == "socket":
            change = self.changes.next()
            if not self.bot_connected:
                await change.wait()
            return self.bot_connected
        with suppress(ClientError, TimeoutError):  # not listening yet
            async with ClientSession(timeout=ClientTimeout(total=2)) as session:
                async with session.get(f"http://{_HOST}:{self._bot_port}/readyz") as response:
                    if response.status == 200:
                        return True
        await asyncio.sleep(0.05)  # nobody tells when a port begins to answer
        return False

    async def sign_in(self, url: str, upn: str, **wishes: Any) -> browser_hands.Landed:
        """Sign in on Microsoft's pages, in a browser of its own; `browser_hands.sign_in` says what *wishes* there are.

        *url* is a link of the bot's, or the page for device codes, which `device_page` names, with `code=`.
        """
        trusted = ssl.create_default_context(cafile=self._ca_file)
        async with ClientSession(connector=TCPConnector(ssl=trusted), timeout=ClientTimeout(total=30)) as session:
            return await browser_hands.sign_in(session, url, upn, **wishes)

    @property
    def device_page(self) -> str:
        """Where a device code is typed in."""
        return f"{self.tls_url}/common/oauth2/deviceauth"

    async def passes(self, seconds: float) -> None:
        """Move the world's time, and wait until the bot lives in it. TimeoutError if it does not."""
        self.clock.advance(seconds)
        async with asyncio.timeout(_READY_SECONDS):
            while any(heard != self.clock.offset for heard in self._heard.values()):
                await self.changes.next().wait()

    def writes(self, method: str, path: str) -> int:
        """How many changes Graph has applied with this method whose path begins with `path`."""
        return sum(
            1
            for request in self.graph.requests
            if request.applied and request.method == method and request.path.startswith(path)
        )

    # What is served here.

    async def _tell_time(self, request: web.Request) -> web.WebSocketResponse:
        """How far ahead the world's clock is, at once and after every move; whoever has heard it says it back."""
        follower = web.WebSocketResponse()
        await follower.prepare(request)
        self._heard[follower] = math.nan

        async def tell() -> None:
            async with aclosing(self.clock.offsets()) as offsets:
                async for offset in offsets:
                    with suppress(ConnectionResetError):  # whoever followed has gone, as a killed bot does
                        await follower.send_json({"offset": offset})

        telling = asyncio.create_task(tell())
        try:
            async for said in follower:
                self._heard[follower] = json.loads(said.data)["offset"]
                self.changes.tell()
        finally:
            await _end(telling)
            del self._heard[follower]
            self.changes.tell()
        return follower

    @web.middleware
    async def _answering(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Keep every answer under way: once its client has gone, aiohttp forgets it, and it would never be ended."""
        answer = asyncio.current_task()
        if answer is None:
            raise RuntimeError("aiohttp answers in tasks")
        self._answers.add(answer)
        try:
            return await handler(request)
        finally:
            self._answers.discard(answer)

    @web.middleware
    async def _telling(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Tell of every request to Microsoft: whatever it did, its log has a line more."""
        try:
            return await handler(request)
        finally:
            self.changes.tell()

    async def _end_answers(self) -> None:
        answers = tuple(self._answers)
        for answer in answers:
            answer.cancel()
        await asyncio.gather(*answers, return_exceptions=True)

    async def _watch_slack(self) -> None:
        while True:
            await self.slack.changed()
            self.changes.tell()


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))


def _free_port() -> int:
    """A port nobody listens on; somebody could take it before the bot does, which its log would then say."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port
