"""Calls to Slack, with their outcome told apart: done, refused, never sent, or nobody knows.

Nothing here retries: who calls knows whether a second sending is a second message.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import IO, Any
from urllib.parse import urlsplit

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bot.errors import ConfigurationError
from handlers.views.blocks import Said, View

HOOKS = "https://hooks.slack.com"
"""Where Slack's response URLs point (Slack docs: *Handling user interaction*)."""

FILES = "https://files.slack.com"
"""Where Slack takes and gives the bytes of files (Slack docs: *files.getUploadURLExternal*, *File object*)."""

_UPLOAD = aiohttp.ClientTimeout(total=300)
_DOWNLOAD = aiohttp.ClientTimeout(total=2)  # somebody waits for the form to close, for three seconds at most


class SlackProblem(Exception):
    """A call did not succeed. The message is for the log; nobody in Slack is shown it."""


class SlackRefused(SlackProblem):
    """Slack answered no. `code` is its error code, `wait` the seconds it asks to wait when it has had too much."""

    def __init__(self, code: str, *, wait: float | None = None) -> None:
        super().__init__(f"Slack answered {code}.")
        self.code = code
        self.wait = wait


class SlackUnreachable(SlackProblem):
    """The call did not reach Slack, or Slack said it took nothing: it may be sent again."""


class SlackSilent(SlackProblem):
    """The call left and no answer came: what it asked for may have been done."""


@dataclass(frozen=True)
class Installed:
    """The app as it is installed: what deliveries must name to be ours."""

    team: str
    app: str
    bot_user: str
    enterprise: str | None = None


class _LedElsewhere(aiohttp.ClientError):
    """The answer was a redirect; nothing was done."""


async def follow_nothing(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """A middleware for the session: the SDK follows redirects, and our token and words must go nowhere else."""
    response = await send(request)
    if response.status in {301, 302, 303, 307, 308}:
        response.close()
        raise _LedElsewhere("redirected")
    return response


def make_client(token: str, base_url: str, session: aiohttp.ClientSession) -> AsyncWebClient:
    """A client that shares *session* and never sends anything twice by itself.

    The time limit of a call is the session's: give it one (`aiohttp.ClientTimeout(total=10)`), and `follow_nothing`.
    """
    # The SDK's own default repeats a call after a lost connection, which may post a message twice.
    return AsyncWebClient(token=token, base_url=f"{base_url.rstrip('/')}/", session=session, retry_handlers=[])


class Slack:
    """The Web API as far as the bot uses it. Raises `SlackRefused`, `SlackUnreachable` or `SlackSilent`."""

    def __init__(self, client: AsyncWebClient, session: aiohttp.ClientSession) -> None:
        self.client = client
        self._session = session
        self._reply_origins = {HOOKS, _origin(client.base_url)}
        self._file_origins = {FILES, _origin(client.base_url)}

    async def who_we_are(self, app_token: str | None = None) -> Installed:
        """Whose bot this is. The app's id is asked for with *app_token*, or else with the bot's (`users:read`).

        Raises `ConfigurationError` if Slack does not take a token or cannot be reached.
        """
        with _or_not_configured():
            bot = await self._call(self.client.auth_test)
            if app_token:
                app_id = (await self._call(self.client.auth_test, token=app_token))["app_id"]
            else:
                app_id = (await self._call(self.client.bots_info, bot=bot["bot_id"]))["bot"]["app_id"]
        return Installed(bot["team_id"], app_id, bot["user_id"], bot.get("enterprise_id"))

    async def post(self, channel: str, said: Said, *, thread: str | None = None) -> str:
        """A new message; returns its `ts`."""
        posted = await self._call(
            self.client.chat_postMessage,
            channel=channel,
            text=said.text,
            blocks=list(said.blocks),
            thread_ts=thread,
            unfurl_links=False,
            unfurl_media=False,
        )
        return str(posted["ts"])

    async def update(self, channel: str, ts: str, said: Said) -> None:
        await self._call(self.client.chat_update, channel=channel, ts=ts, text=said.text, blocks=list(said.blocks))

    async def whisper(self, channel: str, user: str, said: Said) -> None:
        """A message only *user* sees; Slack may lose it."""
        await self._call(
            self.client.chat_postEphemeral, channel=channel, user=user, text=said.text, blocks=list(said.blocks)
        )

    async def reply(self, url: str, said: Said, *, replace: bool = False) -> None:
        """Answer through a `response_url`, to the person alone. It takes five answers within 30 minutes."""
        if _origin(url) not in self._reply_origins:
            raise SlackRefused("foreign_response_url")
        body = {
            "response_type": "ephemeral",
            "replace_original": replace,
            "text": said.text,
            "blocks": list(said.blocks),
        }
        with _outcomes():
            async with self._session.post(url, json=body, allow_redirects=False) as answer:
                if answer.status != 200:
                    raise _not_done(answer.status, "response_url_refused", answer.headers)

    async def open_view(self, trigger: str, view: View) -> str:
        """Open a modal; returns its id. A trigger lives three seconds and works once."""
        return str((await self._call(self.client.views_open, trigger_id=trigger, view=view))["view"]["id"])

    async def update_view(self, view_id: str, view: View) -> None:
        await self._call(self.client.views_update, view_id=view_id, view=view)

    async def publish_home(self, user: str, view: View) -> None:
        await self._call(self.client.views_publish, user_id=user, view=view)

    async def user(self, user: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = (await self._call(self.client.users_info, user=user))["user"]
        return found

    async def channel(self, channel: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = (await self._call(self.client.conversations_info, channel=channel))["channel"]
        return found

    async def direct(self, user: str) -> str:
        """The id of the direct conversation with somebody."""
        return str((await self._call(self.client.conversations_open, users=user))["channel"]["id"])

    async def share_file(self, channel: str, name: str, title: str, content: IO[bytes], size: int) -> None:
        """Put a file into a conversation (Slack docs: *Working with files*). Its bytes are read as they are sent."""
        place = await self._call(self.client.files_getUploadURLExternal, filename=name, length=size)
        url = str(place["upload_url"])
        if _origin(url) not in self._file_origins:
            raise SlackRefused("foreign_upload_url")
        with _outcomes():
            async with self._session.post(url, data=content, allow_redirects=False, timeout=_UPLOAD) as answer:
                if answer.status != 200:
                    raise _not_done(answer.status, "upload_refused", answer.headers)
        file = {"id": place["file_id"], "title": title}
        await self._call(self.client.files_completeUploadExternal, files=[file], channel_id=channel)

    async def fetch_file(self, url: str, most: int) -> bytes:
        """What is in a file that somebody handed over (Slack docs: *File object*, `url_private`).

        The token goes to Slack only, and is answered with a page to sign in where it lacks the scope `files:read`.
        Raises `SlackRefused`, with `too_large` for more than *most* bytes.
        """
        if _origin(url) not in self._file_origins:
            raise SlackRefused("foreign_file_url")
        headers = {"Authorization": f"Bearer {self.client.token}"}
        with _outcomes():
            try:
                async with self._session.get(url, headers=headers, allow_redirects=False, timeout=_DOWNLOAD) as answer:
                    if answer.status != 200 or answer.content_type == "text/html":
                        raise _not_done(answer.status, "file_refused", answer.headers)
                    data = bytearray()
                    async for chunk in answer.content.iter_chunked(64 * 1024):
                        data += chunk
                        if len(data) > most:
                            raise SlackRefused("too_large")
                    return bytes(data)
            except _LedElsewhere as error:  # to the page to sign in
                raise SlackRefused("file_refused") from error

    async def look(self) -> tuple[str, frozenset[str], datetime]:
        """The workspace's name, the scopes granted to the token (Slack docs: *Token types*) and Slack's own time.

        Raises `ConfigurationError` if Slack does not take the token or cannot be reached.
        """
        with _or_not_configured(), _outcomes():
            try:
                answer = await self.client.auth_test()
            except SlackApiError as error:
                raise _refusal(error) from error
        headers = {name.lower(): value for name, value in answer.headers.items()}
        granted = frozenset(scope.strip() for scope in headers.get("x-oauth-scopes", "").split(","))
        return str(answer["team"]), granted, parsedate_to_datetime(headers["date"])

    async def _call(self, method: Callable[..., Awaitable[Any]], **arguments: Any) -> Mapping[str, Any]:
        with _outcomes():
            try:
                answer = await method(**arguments)
            except SlackApiError as error:
                raise _refusal(error) from error
        data: Mapping[str, Any] = answer.data
        return data


@contextlib.contextmanager
def _or_not_configured() -> Iterator[None]:
    """What goes wrong when Slack is spoken to for the first time is for whoever installs the bot to put right."""
    try:
        yield
    except SlackProblem as error:
        raise ConfigurationError(
            f"{error} Check LATCHKEY_SLACK_BOT_TOKEN and LATCHKEY_SLACK_APP_TOKEN, and that this machine reaches "
            "LATCHKEY_SLACK_API_URL."
        ) from error


def _origin(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}"


def _refusal(error: SlackApiError) -> SlackProblem:
    answer = error.response
    # A body that is no JSON comes with aiohttp's answer instead of the SDK's.
    status: int = getattr(answer, "status_code", 0) or getattr(answer, "status", 0)
    data = getattr(answer, "data", None)
    code = data.get("error", "unknown_error") if isinstance(data, dict) else "no_json"
    return _not_done(status, str(code), getattr(answer, "headers", {}))


def _not_done(status: int, code: str, headers: Mapping[str, str]) -> SlackProblem:
    if status == 429:
        wait = str(headers.get("Retry-After", ""))
        return SlackRefused("ratelimited", wait=float(wait) if wait.isascii() and wait.isdigit() else 30.0)
    if status == 503:
        return SlackUnreachable("Slack is not available.")
    if status >= 500:
        return SlackSilent("Slack failed on the way.")
    return SlackRefused(code)


@contextlib.contextmanager
def _outcomes() -> Iterator[None]:
    """Turns what aiohttp raises into the two outcomes without an answer."""
    try:
        yield
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL, _LedElsewhere) as error:
        raise SlackUnreachable("Slack cannot be reached.") from error
    except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
        raise SlackSilent("Slack did not answer.") from error
