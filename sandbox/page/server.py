"""Serves the page and its JSON, to the page only."""

import json
import math
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web

from sandbox.bot_process import BotCommandError
from sandbox.entra import EntraRequest
from sandbox.mishaps import in_force
from sandbox.slack import AckStatus, Delivery, Message, NotOnScreen, Person, View
from sandbox.slack.controls import Control, controls

if TYPE_CHECKING:
    from sandbox.world import World

_FILES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_LONG_POLL_SECONDS = 25.0
_MOST_MESSAGES = 200  # of a channel, the newest: a flood in a test should not choke the page
_LOOPBACK = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?")
_HEADERS = {
    # Nothing from elsewhere, no inline script: a text that slipped through as markup could still do nothing.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

_ROLES = {
    "olive": "help desk",
    "ana": "tenant admin",
    "bo": "tenant admin",
    "audrey": "auditor",
    "vic": "trainee, may only look",
    "nina": "colleague, no operator",
    "gus": "guest",
    "otto": "outsider, partner workspace",
}
"""Who one can be on the page, and what they are to Latchkey."""

_T = TypeVar("_T")
Json = Mapping[str, Any]


class _Wrong(Exception):
    """A request of the page that makes no sense; the message is shown to the person."""


class _Given:
    """What a request brings along: its query, or its body. What is missing or of the wrong kind is `_Wrong`."""

    def __init__(self, values: Json) -> None:
        self._values = values

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def text(self, key: str) -> str:
        """A text."""
        return self._get(key, str)

    def flag(self, key: str) -> bool:
        """True or false."""
        return self._get(key, bool)

    def object(self, key: str) -> dict[str, Any]:
        """A JSON object."""
        return self._get(key, dict)

    def number(self, key: str) -> float:
        """A finite number, as such or written out, as in a query."""
        try:
            number = float(self._values[key])
        except (KeyError, TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise _Wrong(f"{key!r} has to be a number.")
        return number

    def _get(self, key: str, kind: type[_T]) -> _T:
        value = self._values.get(key)
        if not isinstance(value, kind):
            raise _Wrong(f"{key!r} is missing, or no {kind.__name__}.")
        return value


class Page:
    """The page of one world. `token` is what its requests carry; another website cannot read it."""

    def __init__(self, world: "World", commands: Sequence[Json]) -> None:
        self.token = secrets.token_urlsafe(24)
        self._world = world
        self._commands = commands

    def routes(self, app: web.Application) -> None:
        """Serve the page at `/`, its files beside it, and its JSON under `/api/`."""
        app.router.add_get("/", self._serve_file)
        app.router.add_get(r"/{name:[a-z]+\.(?:js|css|svg)}", self._serve_file)
        for path, answer in (
            ("/api/snapshot", self._snapshot),
            ("/api/microsoft", self._microsoft),
            ("/api/log", self._log),
            ("/api/file", self._file),
        ):
            app.router.add_get(path, self._guarded(answer))
        for path, change in (
            ("/api/say", self._say),
            ("/api/use", self._use),
            ("/api/options", self._options),
            ("/api/submit", self._submit),
            ("/api/close", self._close),
            ("/api/home", self._open_home),
            ("/api/fault", self._fault),
            ("/api/clock", self._move_clock),
            ("/api/bot", self._bot),
            ("/api/redeliver", self._redeliver),
            ("/api/person", self._change_person),
            ("/api/account", self._change_account),
        ):
            app.router.add_post(path, self._guarded(change))

    # Who may ask.

    async def _serve_file(self, request: web.Request) -> web.Response:
        if not _is_loopback(request):
            return web.Response(status=403, headers=_HEADERS, text="This page is for this machine only.")
        name = request.match_info.get("name", "index.html")
        file = files("sandbox.page").joinpath(name)
        if not file.is_file():
            return web.Response(status=404, headers=_HEADERS)
        text = file.read_text(encoding="utf-8").replace("$token", self.token)
        return web.Response(text=text, content_type=_FILES[name[name.rindex(".") :]], charset="utf-8", headers=_HEADERS)

    def _guarded(
        self, answer: Callable[[_Given], Awaitable[Any]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Serve `answer` to the page itself, and say in JSON what went wrong."""

        async def serve(request: web.Request) -> web.StreamResponse:
            sent = request.headers.get("X-Sandbox-Token", "")
            # The token keeps other websites out; the host keeps out names that resolve to this machine.
            if not _is_loopback(request) or not secrets.compare_digest(sent.encode(), self.token.encode()):
                return _json({"error": "This is for the sandbox's own page. Load it again."}, 403)
            try:
                given = dict(request.query) if request.method == "GET" else await _body(request)
                told = await answer(_Given(given))
                return told if isinstance(told, web.StreamResponse) else _json(told)
            except (NotOnScreen, BotCommandError, _Wrong) as error:
                return _json({"error": str(error)}, 400)

        return serve

    # What is shown.

    async def _snapshot(self, given: _Given) -> Json:
        """Everything the page draws, as one person sees it, once the world is newer than `after`."""
        person = self._person(given)
        version = await self._world.changes.newer(int(given.number("after")), _LONG_POLL_SECONDS)
        slack, bot = self._world.slack, self._world.bot
        shot = self._with_plain_links(slack.snapshot(person))
        active = self._world.faults.active()
        return {
            **shot,
            "version": version,
            "commands": self._commands,
            "players": [{"name": name, "role": role} for name, role in _ROLES.items()],
            "accounts": [self._accounts(slack.person(name)) for name in _ROLES if slack.person(name).email],
            "channels": [_trimmed(channel) for channel in shot["channels"]],
            "clock": {"now": self._world.clock.now(), "offset": self._world.clock.offset},
            "faults": [
                {
                    "name": kind.name,
                    "title": kind.title,
                    "description": kind.description,
                    "service": kind.service,
                    "active": kind.name in active,
                }
                for kind in self._world.faults.catalogue()
            ],
            "bot": {
                "managed": bot is not None,
                "state": bot.state if bot is not None else "stopped",
                "exit_code": bot.exit_code if bot is not None else None,
                "connected": self._world.bot_connected,
            },
        }

    def _with_plain_links(self, shot: Json) -> dict[str, Any]:
        """Links to Microsoft's pages lead to where the same pages are served without a certificate."""
        world = self._world
        text = json.dumps(shot).replace(f"{world.tls_url}/", f"{world.url}/")
        plain: dict[str, Any] = json.loads(text)
        return plain

    def _accounts(self, person: Person) -> Json:
        """Whether somebody may use Slack, and their accounts in the tenant: their own, and one for administration."""
        tenant, domain = self._world.directory.latest, self._world.directory.tenant.domains[0]
        found = [tenant.user(person.email), tenant.user(f"{person.name}.admin@{domain}")]
        return {
            "name": person.name,
            "real_name": person.real_name,
            "in_slack": not person.deleted,
            "accounts": [{"upn": user.upn, "enabled": user.enabled} for user in found if user is not None],
        }

    async def _file(self, given: _Given) -> web.Response:
        """A file of the workspace, for who can open it; the browser saves it and shows it to nobody's script."""
        wanted = given.text("id")
        for file in self._world.slack.files(self._person(given)):
            if file.id == wanted:
                return web.Response(body=file.content, content_type="application/octet-stream", headers=_HEADERS)
        raise _Wrong("This file is not there for you.")

    async def _log(self, _: _Given) -> Json:
        return {"text": self._world.bot.log() if self._world.bot is not None else ""}

    async def _microsoft(self, _: _Given) -> Sequence[Json]:
        """What the tenant's own logs say, and what Key Vault holds but its values, newest first: tables of rows that
        begin with a time in unix seconds."""
        world = self._world
        names = {app.app_id: app.name for app in world.directory.applications.values()}
        passwords = in_force(world.directory)
        return [
            _table(
                "Directory audit log",
                ("Time", "Activity", "By", "On", "Changed", "Client request id", "Request id"),
                [
                    (
                        audit.time,
                        audit.activity,
                        audit.caller_user.name if audit.caller_user is not None else audit.caller_app.name,
                        audit.target.name,
                        ", ".join(audit.modified),
                        audit.client_request_id,
                        audit.request_id,
                    )
                    for audit in world.directory.audits
                ],
            ),
            _table(
                "Sign-ins",
                ("Time", "Who", "How", "Result", "Refused by", "Correlation id"),
                [
                    (
                        seen.time,
                        names.get(seen.subject, seen.subject),
                        seen.grant,
                        _result(seen.code),
                        _refused_by(seen) if seen.code else "",
                        seen.correlation_id,
                    )
                    for seen in world.entra.requests
                    if seen.grant
                ],
            ),
            _table(
                "Graph requests",
                ("Time", "Method", "Path", "Status", "Client request id"),
                [
                    (seen.time, seen.method, seen.path, seen.status, seen.client_request_id)
                    for seen in world.graph.requests
                ],
            ),
            _table(
                "Key Vault requests",
                ("Time", "Operation", "Path", "Status"),
                [(seen.time, seen.operation, seen.path, seen.status) for seen in world.vault.requests],
            ),
            _table(
                "Secrets in Key Vault",
                ("Time", "Name", "Version", "Tags", "Enabled", "Signs in"),
                sorted(
                    (
                        version.created,
                        secret.name,
                        version.id,
                        ", ".join(f"{name}: {value}" for name, value in version.tags.items()),
                        "deleted" if secret.deleted is not None else "yes" if version.enabled else "no",
                        "yes" if version.value in passwords else "",
                    )
                    for secret in world.vault.secrets()
                    for version in secret.versions
                ),
            ),
        ]

    # What people do.

    def _person(self, given: _Given) -> Person:
        return self._world.slack.person(given.text("person"))

    def _where(self, given: _Given) -> Message | View:
        where, slack = _Given(given.object("where")), self._world.slack
        if "view" in where:
            found: Message | View | None = slack.view(where.text("view"))
        else:
            found = slack.message(where.text("channel"), where.text("ts"))
        if found is None:
            raise _Wrong("This is no longer there.")
        return found

    async def _say(self, given: _Given) -> Json:
        person, channel, text = self._person(given), given.text("channel"), given.text("text")
        if text.startswith("/"):
            await self._world.slack.command(person, channel, text)
        else:
            # What a person types is text to Slack: it mentions nobody by looking like markup.
            self._world.slack.say(person, channel, escape(text, quote=False))
        return {}

    async def _use(self, given: _Given) -> Json:
        """Press a button, or choose something that tells the bot at once."""
        person, where = self._person(given), self._where(given)
        self._world.slack.hold(person, where, given.object("filled"))
        name, control = _find(where, given.text("block_id"), given.text("action_id"), given.text("value"))
        if control.type == "button":
            delivery: Delivery | None = await self._world.slack.click(person, where, name)
        else:
            delivery = await self._world.slack.choose(person, where, name, _chosen(given.object("chosen")))
        return {"notice": _trouble(delivery)}

    async def _options(self, given: _Given) -> Json:
        person, where = self._person(given), self._where(given)
        name, _ = _find(where, given.text("block_id"), given.text("action_id"), "")
        return {"options": await self._world.slack.options(person, where, name, given.text("typed"))}

    async def _submit(self, given: _Given) -> Json:
        person, view = self._person(given), self._where(given)
        if not isinstance(view, View):
            raise _Wrong("Only a form can be submitted.")
        self._world.slack.hold(person, view, given.object("filled"))
        await self._world.slack.submit(person, view=view)
        return {}

    async def _close(self, given: _Given) -> Json:
        person = self._person(given)
        if self._world.slack.modal(person) is not None:
            await self._world.slack.close(person)
        return {}

    async def _open_home(self, given: _Given) -> Json:
        await self._world.slack.open_home(self._person(given))
        return {}

    # What one does to the world.

    async def _fault(self, given: _Given) -> Json:
        name = given.text("name")
        if name not in {kind.name for kind in self._world.faults.catalogue()}:
            raise _Wrong(f"There is no fault called {name}.")
        if given.flag("on"):
            self._world.faults.start(name)
        else:
            self._world.faults.stop(name)
        return {}

    async def _move_clock(self, given: _Given) -> Json:
        self._world.clock.advance(given.number("advance"))
        return {}

    async def _bot(self, given: _Given) -> Json:
        if self._world.bot is None:
            raise _Wrong("This world was started without a bot of its own.")
        if given.text("do") == "kill":
            await self._world.bot.kill()
        else:
            await self._world.start_bot()
        return {}

    async def _change_person(self, given: _Given) -> Json:
        slack, who = self._world.slack, given.text("who")
        await (slack.reactivate(who) if given.flag("active") else slack.deactivate(who))
        return {}

    async def _change_account(self, given: _Given) -> Json:
        """Block or allow somebody's sign-in at Microsoft, as an administrator elsewhere does."""
        try:
            self._world.directory.update_user(given.text("account"), enabled=given.flag("enabled"))
        except KeyError as error:
            raise _Wrong(f"The tenant has no account {error}.") from error
        self._world.changes.tell()
        return {}

    async def _redeliver(self, _: _Given) -> Json:
        sent = [delivery for delivery in self._world.slack.deliveries if delivery.ack.status is not AckStatus.NOT_SENT]
        if not sent:
            raise _Wrong("Nothing has been delivered yet.")
        again = await self._world.slack.redeliver(sent[-1])
        return {"notice": _trouble(again) or "Delivered once more, marked as a retry."}


def _is_loopback(request: web.Request) -> bool:
    return _LOOPBACK.fullmatch(request.host) is not None


def _json(body: Any, status: int = 200) -> web.Response:
    return web.json_response(body, status=status, headers=_HEADERS)


async def _body(request: web.Request) -> Json:
    try:
        body = await request.json()
    except ValueError as error:
        raise _Wrong("The body is not JSON.") from error
    if not isinstance(body, dict):
        raise _Wrong("The body is not a JSON object.")
    return body


def _trimmed(channel: Json) -> Json:
    return {**channel, "messages": channel["messages"][-_MOST_MESSAGES:]}


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Json:
    newest_first = list(reversed(rows))
    return {"title": title, "columns": columns, "rows": newest_first[:_MOST_MESSAGES], "total": len(rows)}


def _result(code: int | None) -> str:
    if code is None:
        return "no answer"
    return "success" if code == 0 else f"AADSTS{code}"


def _refused_by(seen: EntraRequest) -> str:
    """The Conditional Access policies that did not let a sign-in go on."""
    outcomes = seen.tried.judgement.outcomes if seen.tried is not None else ()
    return ", ".join(outcome.policy["displayName"] for outcome in outcomes if outcome.enforced)


def _find(where: Message | View, block_id: str, action_id: str, value: str) -> tuple[str, Control]:
    """A control by both its ids, and the name the workspace knows it by.

    Blocks get new ids when they are published anew, while somebody presses: then the one that means the same is it.
    """
    there = controls(where.blocks)
    same = [control for control in there if control.action_id == action_id]
    for control in same:
        if control.block_id == block_id:
            return (action_id if len(same) == 1 else block_id), control
    if len(same) == 1 and str(same[0].element.get("value", "")) == value:
        return action_id, same[0]
    raise _Wrong("This is no longer there.")


def _chosen(value: Json) -> Any:
    """A value as the page reports it, in Slack's form, as the workspace wants it: without the envelope."""
    held = next((held for key, held in value.items() if key != "type"), None)
    return "" if held is None and "value" in value else held


def _trouble(delivery: Delivery | None) -> str | None:
    """What a person is told when the bot did not take what they did."""
    match delivery.ack.status if delivery is not None else AckStatus.OK:
        case AckStatus.TIMEOUT:
            return "Latchkey did not respond within three seconds."
        case AckStatus.UNDELIVERED | AckStatus.REFUSED:
            return "Latchkey could not be reached."
        case AckStatus.INVALID:
            return "Latchkey answered with something Slack cannot use."
    return None
