"""The Web API methods an app may call, as strict about tokens, scopes, limits and arguments as Slack is."""

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from sandbox.faults import Faults, disturb
from sandbox.slack.blocks import Surface
from sandbox.slack.content import (
    CUT_AFTER,
    LONGEST_UPDATE,
    check_thread,
    content,
    parsed_json,
    respond,
    view_definition,
)
from sandbox.slack.files import Uploads
from sandbox.slack.limits import Limiter
from sandbox.slack.manifest import Manifest
from sandbox.slack.model import Call, Channel, Json, Message, Person, SlackError, View
from sandbox.slack.payloads import Payloads
from sandbox.slack.state import State, direct_id
from sandbox.slack.tickets import Tickets

BOT, APP_LEVEL = "bot", "app"
"""The kinds of token."""

LONGEST_ALT_TEXT = 1_000

_READS = {"public_channel": "channels:read", "private_channel": "groups:read", "im": "im:read", "mpim": "mpim:read"}


Serve = Callable[[Mapping[str, Any]], Json]
"""Takes a call's arguments; returns the answer without its `ok`, or raises what is wrong."""


@dataclass(frozen=True)
class Method:
    """A method: what serves it for which kind of token, its rate tier, and the scope it needs."""

    serve: Mapping[str, Serve]
    tier: int
    scope: str = ""


def _bot(serve: Serve, tier: int, scope: str = "") -> Method:
    return Method({BOT: serve}, tier, scope)


class WebApi:
    """Serves `/slack/api/{method}` and `/slack/response/{token}`."""

    def __init__(
        self,
        state: State,
        manifest: Manifest,
        tickets: Tickets,
        payloads: Payloads,
        limiter: Limiter,
        faults: Faults,
        *,
        bot_token: str,
        app_token: str,
        new_socket_url: Callable[[], str],
        refused_blocks: set[str],
        uploads: Uploads,
    ) -> None:
        self._state = state
        self._manifest = manifest
        self._uploads = uploads
        self._tickets = tickets
        self._payloads = payloads
        self._limiter = limiter
        self._faults = faults
        self._tokens = {bot_token: BOT, app_token: APP_LEVEL}
        self._new_socket_url = new_socket_url
        self._refused = refused_blocks
        self._methods = {
            "auth.test": Method({BOT: self._auth_test, APP_LEVEL: self._auth_test_of_app}, 5),
            "apps.connections.open": Method({APP_LEVEL: self._connections_open}, 3),
            "chat.postMessage": _bot(self._post_message, 5, "chat:write"),
            "chat.postEphemeral": _bot(self._post_ephemeral, 4, "chat:write"),
            "chat.update": _bot(self._update_message, 3, "chat:write"),
            "chat.delete": _bot(self._delete_message, 3, "chat:write"),
            "views.open": _bot(self._views_open, 4),
            "views.push": _bot(self._views_push, 4),
            "views.update": _bot(self._views_update, 4),
            "views.publish": _bot(self._views_publish, 4),
            "conversations.info": _bot(self._conversations_info, 3),
            "conversations.list": _bot(self._conversations_list, 2),
            "conversations.members": _bot(self._conversations_members, 4),
            "conversations.open": _bot(self._conversations_open, 3, "im:write"),
            "files.getUploadURLExternal": _bot(self._files_get_upload_url, 4, "files:write"),
            "files.completeUploadExternal": _bot(self._files_complete_upload, 4, "files:write"),
            "users.conversations": _bot(self._users_conversations, 3),
            "users.info": _bot(self._users_info, 4, "users:read"),
            "users.list": _bot(self._users_list, 2, "users:read"),
            "bots.info": _bot(self._bots_info, 3, "users:read"),
            "team.info": _bot(self._team_info, 3, "team:read"),
        }

    # The door.

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one call. Refusals are answered with 200 and `ok: false`, as Slack does, a limit with 429."""
        name = request.match_info["method"]

        async def serve() -> web.StreamResponse:
            return await self._call(name, request)

        return await disturb(self._faults.match("slack", request.method, f"/{name}"), request, serve)

    async def _call(self, name: str, request: web.Request) -> web.Response:
        arguments: Json = {}
        headers: dict[str, str] = {}
        status = 200
        try:
            arguments = await _arguments(request)
            token = _token(request, arguments)
            if self._tokens.get(token) == BOT and name in self._methods:
                headers["X-OAuth-Scopes"] = ",".join(self._manifest.scopes)
                headers["X-Accepted-OAuth-Scopes"] = self._methods[name].scope
            answer = {"ok": True, **self._serve(name, token, arguments)}
        except _RateLimited as limited:
            status, headers["Retry-After"] = 429, str(limited.seconds)
            answer = {"ok": False, "error": "ratelimited"}
        except SlackError as error:
            answer = {"ok": False, "error": error.code, **error.extra}
        body = json.dumps(answer, ensure_ascii=False)
        self._state.saw_call(Call(name, arguments, json.loads(body), self._state.now()))
        return web.Response(status=status, text=body, content_type="application/json", headers=headers)

    def _serve(self, name: str, token: str, arguments: Json) -> Json:
        method = self._methods.get(name)
        if method is None:
            raise SlackError("unknown_method", req_method=name)
        if not token:
            raise SlackError("not_authed")
        kind = self._tokens.get(token)
        if kind is None:
            raise SlackError("invalid_auth")
        if kind not in method.serve:
            raise SlackError("not_allowed_token_type")
        wait = self._limiter.call(name, method.tier)
        if wait:
            raise _RateLimited(wait)
        if method.scope:
            self._need_scope(method.scope)
        return method.serve[kind](arguments)

    def _need_scope(self, scope: str) -> None:
        if scope not in self._manifest.scopes:
            raise SlackError("missing_scope", needed=scope, provided=",".join(self._manifest.scopes))

    async def handle_response(self, request: web.Request) -> web.StreamResponse:
        """Serve a response URL."""

        async def serve() -> web.StreamResponse:
            try:
                body = await request.json()
            except ValueError:
                body = None
            if not isinstance(body, dict):
                return web.json_response({"ok": False, "error": "invalid_payload"}, status=400)
            answer = self._respond(request.match_info["token"], body)
            self._state.saw_call(Call("response_url", body, answer, self._state.now()))
            if answer["ok"]:
                return web.Response(text="ok")
            is_over = answer["error"] in ("expired_url", "used_url")
            return web.json_response(answer, status=404 if is_over else 400)

        return await disturb(
            self._faults.match("slack", "POST", f"/response/{request.match_info['token']}"), request, serve
        )

    async def handle_file(self, request: web.Request) -> web.StreamResponse:
        """Serve a file's `url_private`. Who has no token for it is led to the page to sign in, as by Slack."""
        key = request.match_info["key"]

        async def serve() -> web.StreamResponse:
            file = self._state.readable(key.partition("-")[2])
            may = self._tokens.get(_token(request, {})) == BOT and "files:read" in self._manifest.scopes
            self._state.saw_call(
                Call("url_private", {"file": key}, {"ok": may and file is not None}, self._state.now())
            )
            if not may:
                raise web.HTTPFound(f"https://{self._state.team.domain}.slack.com/?redir=%2Ffiles-pri%2F{key}")
            if file is None:
                return web.Response(status=404, text="no such file")
            return web.Response(body=file.content, content_type=file.mimetype)

        return await disturb(self._faults.match("slack", "GET", f"/files-pri/{key}"), request, serve)

    def _respond(self, token: str, body: Json) -> Json:
        try:
            respond(self._state, self._tickets.answer(token), body, self._refused)
        except SlackError as error:
            return {"ok": False, "error": error.code, **error.extra}
        return {"ok": True}

    # Who and where, as arguments say it.

    def _person(self, user_id: str, error: str = "user_not_found") -> Person:
        if user_id not in self._state.people:
            raise SlackError(error)
        return self._state.people[user_id]

    def _place(self, arguments: Mapping[str, Any]) -> Channel:
        """The channel the bot means, if it can see it."""
        key = _need_text(arguments, "channel")
        found = self._state.channels.get(key)
        if found is None and key.startswith("#"):
            found = next((c for c in self._state.channels.values() if c.name == key[1:] and not c.is_im), None)
        if found is None or (found.type != "public_channel" and not self._state.bot_is_in(found)):
            raise SlackError("channel_not_found")
        return found

    def _place_to_post(self, arguments: Mapping[str, Any]) -> Channel:
        """The channel the bot may write to; a person's id means the direct conversation with them."""
        key = _need_text(arguments, "channel")
        person = self._state.people.get(key)
        channel = self._place(arguments) if person is None else self._direct(person)
        if channel.is_archived:
            raise SlackError("is_archived")
        if not self._state.bot_is_in(channel) and "chat:write.public" not in self._manifest.scopes:
            raise SlackError("not_in_channel")
        if channel.is_im and not self._manifest.messages_tab:
            raise SlackError("messages_tab_disabled")
        return channel

    def _direct(self, person: Person) -> Channel:
        if person.is_bot:
            raise SlackError("cannot_dm_bot")
        if person.deleted:
            raise SlackError("user_disabled")
        return self._state.direct(person)

    def _own_message(self, arguments: Mapping[str, Any], refusal: str) -> Message:
        channel = self._place(arguments)
        message = self._state.message(channel, _need_text(arguments, "ts"))
        if message is None or message.deleted or message.is_ephemeral:
            raise SlackError("message_not_found")
        if message.user != self._state.app.bot_user:
            raise SlackError(refusal)
        return message

    # Methods.

    def _auth_test(self, arguments: Mapping[str, Any]) -> Json:
        state = self._state
        return {
            "url": f"https://{state.team.domain}.slack.com/",
            "team": state.team.name,
            "team_id": state.team.id,
            "user": state.people[state.app.bot_user].name,
            "user_id": state.app.bot_user,
            "bot_id": state.app.bot_id,
            "is_enterprise_install": False,
        }

    def _auth_test_of_app(self, arguments: Mapping[str, Any]) -> Json:
        return {"app_name": self._state.name_of(self._state.app.bot_user), "app_id": self._state.app.id}

    def _connections_open(self, arguments: Mapping[str, Any]) -> Json:
        return {"url": self._new_socket_url()}

    def _post_message(self, arguments: Mapping[str, Any]) -> Json:
        channel = self._place_to_post(arguments)
        said = content(arguments, self._refused)
        thread_ts = arguments.get("thread_ts") or None
        check_thread(self._state, channel, thread_ts)
        wait = self._limiter.post(channel.id)
        if wait:
            raise _RateLimited(wait)
        message = self._state.post(
            channel,
            self._state.app.bot_user,
            said.text[:CUT_AFTER],
            said.blocks,
            thread_ts=thread_ts,
            broadcast=thread_ts is not None and _flag(arguments, "reply_broadcast"),
            metadata=said.metadata,
        )
        return {"channel": channel.id, "ts": message.ts, "message": self._payloads.message(message)}

    def _post_ephemeral(self, arguments: Mapping[str, Any]) -> Json:
        channel = self._place_to_post(arguments)
        person = self._person(_need_text(arguments, "user"), "user_not_in_channel")
        if person.id not in channel.members:
            raise SlackError("user_not_in_channel")
        said = content(arguments, self._refused)
        thread_ts = arguments.get("thread_ts") or None
        check_thread(self._state, channel, thread_ts)
        message = self._state.post(
            channel,
            self._state.app.bot_user,
            said.text[:CUT_AFTER],
            said.blocks,
            thread_ts=thread_ts,
            to=person.id,
        )
        return {"message_ts": message.ts}

    def _update_message(self, arguments: Mapping[str, Any]) -> Json:
        message = self._own_message(arguments, "cant_update_message")
        said = content(arguments, self._refused)
        if len(said.text) > LONGEST_UPDATE:
            raise SlackError("msg_too_long")
        self._state.edit(message, said.text, said.blocks, said.metadata)
        return {
            "channel": message.channel,
            "ts": message.ts,
            "text": message.text,
            "message": self._payloads.message(message),
        }

    def _delete_message(self, arguments: Mapping[str, Any]) -> Json:
        message = self._own_message(arguments, "cant_delete_message")
        self._state.delete(message)
        return {"channel": message.channel, "ts": message.ts}

    def _views_open(self, arguments: Mapping[str, Any]) -> Json:
        return self._open(arguments, must_be_in_modal=False)

    def _views_push(self, arguments: Mapping[str, Any]) -> Json:
        return self._open(arguments, must_be_in_modal=True)

    def _open(self, arguments: Mapping[str, Any], *, must_be_in_modal: bool) -> Json:
        """A trigger from inside a modal opens on top of it; any other opens in its place."""
        definition = view_definition(_need(arguments, "view"), Surface.MODAL, self._refused)
        external_id = definition.get("external_id")
        if external_id and self._by_external_id(external_id) is not None:
            raise SlackError("duplicate_external_id")
        trigger = self._tickets.redeem(_need_text(arguments, "trigger_id"))
        is_in_modal = trigger.from_view and bool(self._state.stacks.get(trigger.person))
        if must_be_in_modal and not is_in_modal:
            raise SlackError("not_found")
        person = self._state.people[trigger.person]
        return {"view": self._payloads.view(self._state.open_modal(person, definition, on_top=is_in_modal))}

    def _by_external_id(self, external_id: str) -> View | None:
        open_views = (view for stack in self._state.stacks.values() for view in stack)
        return next((v for v in open_views if v.definition.get("external_id") == external_id), None)

    def _views_update(self, arguments: Mapping[str, Any]) -> Json:
        definition = view_definition(_need(arguments, "view"), Surface.MODAL, self._refused)
        if arguments.get("view_id"):
            view = self._state.view(str(arguments["view_id"]))
        else:
            view = self._by_external_id(_need_text(arguments, "external_id"))
        if view is None or view.type != Surface.MODAL:
            raise SlackError("not_found")
        _check_hash(view, arguments)
        self._state.redefine(view, definition)
        return {"view": self._payloads.view(view)}

    def _views_publish(self, arguments: Mapping[str, Any]) -> Json:
        if not self._manifest.home_tab:
            raise SlackError("not_enabled")
        definition = view_definition(_need(arguments, "view"), Surface.HOME, self._refused)
        person = self._person(_need_text(arguments, "user_id"), "invalid_arguments")
        home = self._state.homes.get(person.id)
        if home is not None:
            _check_hash(home, arguments)
        return {"view": self._payloads.view(self._state.publish_home(person, definition))}

    def _conversations_info(self, arguments: Mapping[str, Any]) -> Json:
        channel = self._place(arguments)
        self._need_scope(_READS[channel.type])
        return {"channel": self._shown(channel)}

    def _conversations_members(self, arguments: Mapping[str, Any]) -> Json:
        channel = self._place(arguments)
        self._need_scope(_READS[channel.type])
        return _page("members", sorted(channel.members), arguments)

    def _conversations_list(self, arguments: Mapping[str, Any]) -> Json:
        return self._listed(arguments, lambda channel: True)

    def _users_conversations(self, arguments: Mapping[str, Any]) -> Json:
        user = str(arguments.get("user") or self._state.app.bot_user)
        return self._listed(arguments, lambda channel: user in channel.members)

    def _listed(self, arguments: Mapping[str, Any], wanted: Callable[[Channel], bool]) -> Json:
        types = str(arguments.get("types") or "public_channel").split(",")
        if any(kind not in _READS for kind in types):
            raise SlackError("invalid_types")
        for kind in types:
            self._need_scope(_READS[kind])
        found = [
            self._shown(channel)
            for channel in self._state.channels.values()
            if channel.type in types
            and wanted(channel)
            and (channel.type == "public_channel" or self._state.bot_is_in(channel))
            and not (channel.is_archived and _flag(arguments, "exclude_archived"))
        ]
        return _page("channels", found, arguments)

    def _shown(self, channel: Channel) -> Json:
        state = self._state
        shown: Json = {
            "id": channel.id,
            "is_archived": channel.is_archived,
            "is_im": channel.is_im,
            "is_mpim": False,
            "is_private": channel.is_private or channel.is_im,
            "is_ext_shared": channel.is_ext_shared,
            "is_shared": channel.is_ext_shared,
            "is_org_shared": False,
            "is_pending_ext_shared": False,
            "context_team_id": state.team.id,
        }
        if channel.is_im:
            other = next(member for member in channel.members if member != state.app.bot_user)
            return {**shown, "user": other}
        return {
            **shown,
            "name": channel.name,
            "is_channel": not channel.is_private,
            "is_group": channel.is_private,
            "is_member": state.bot_is_in(channel),
            "num_members": len(channel.members),
        }

    def _conversations_open(self, arguments: Mapping[str, Any]) -> Json:
        if arguments.get("channel"):
            return {"channel": {"id": self._place(arguments).id}}
        users = _need_text(arguments, "users").split(",")
        if len(users) > 1:
            raise SlackError("missing_scope", needed="mpim:write", provided=",".join(self._manifest.scopes))
        person = self._person(users[0])
        was_there = direct_id(person) in self._state.channels
        channel = self._direct(person)
        opened = {"already_open": True, "no_op": True} if was_there else {}
        if _flag(arguments, "return_im"):
            return {**opened, "channel": self._shown(channel)}
        return {**opened, "channel": {"id": channel.id}}

    def _files_get_upload_url(self, arguments: Mapping[str, Any]) -> Json:
        name, length = _need_text(arguments, "filename"), str(_need(arguments, "length"))
        if not length.isdecimal() or int(length) == 0:
            raise _invalid("must be more than 0 [json-pointer:/length]")
        if len(str(arguments.get("alt_txt") or "")) > LONGEST_ALT_TEXT:
            raise SlackError("alt_txt_too_large")
        url, file_id = self._uploads.begin(name, int(length))
        return {"upload_url": url, "file_id": file_id}

    def _files_complete_upload(self, arguments: Mapping[str, Any]) -> Json:
        """Share what was uploaded, in one message for each place; a direct conversation must have been opened."""
        entries = parsed_json(_need(arguments, "files"), "invalid_arguments")
        if not isinstance(entries, list) or not entries:
            raise _invalid("must provide an array [json-pointer:/files]")
        if any(not isinstance(entry, dict) or not isinstance(entry.get("id"), str) for entry in entries):
            raise _invalid("missing required field: id [json-pointer:/files/0]")
        files = tuple(self._uploads.arrived(entry["id"], entry.get("title")) for entry in entries)
        channels = [self._place_for_files(key) for key in _places_of(arguments)]
        thread_ts = arguments.get("thread_ts") or None
        for channel in channels:
            check_thread(self._state, channel, thread_ts)
        comment = str(arguments.get("initial_comment") or "")[:CUT_AFTER]
        for file in files:
            self._uploads.end(file.id)
        for channel in channels:
            self._state.post(channel, self._state.app.bot_user, comment, [], thread_ts=thread_ts, files=files)
        return {"files": [{"id": file.id, "title": file.title} for file in files]}

    def _place_for_files(self, key: str) -> Channel:
        channel = self._place({"channel": key})
        if channel.is_archived:
            raise SlackError("is_archived")
        if not self._state.bot_is_in(channel):  # `chat:write.public` is about messages only
            raise SlackError("not_in_channel")
        return channel

    def _users_info(self, arguments: Mapping[str, Any]) -> Json:
        person = self._person(_need_text(arguments, "user"))
        return {"user": self._payloads.user(person, self._manifest.scopes)}

    def _users_list(self, arguments: Mapping[str, Any]) -> Json:
        people = [self._payloads.user(person, self._manifest.scopes) for person in self._state.people.values()]
        return _page("members", people, arguments)

    def _bots_info(self, arguments: Mapping[str, Any]) -> Json:
        app = self._state.app
        if str(arguments.get("bot") or app.bot_id) != app.bot_id:
            raise SlackError("bot_not_found")
        name = self._state.people[app.bot_user].name
        return {"bot": {"id": app.bot_id, "deleted": False, "name": name, "app_id": app.id, "user_id": app.bot_user}}

    def _team_info(self, arguments: Mapping[str, Any]) -> Json:
        team = self._state.team
        return {"team": {"id": team.id, "name": team.name, "domain": team.domain}}


def _places_of(arguments: Mapping[str, Any]) -> list[str]:
    """Where a file goes: `channel_id`, or `channels` joined by commas. Nowhere: it stays private to the app."""
    one, several = str(arguments.get("channel_id") or ""), str(arguments.get("channels") or "")
    return [key for key in (one, *several.split(",")) if key]


class _RateLimited(Exception):
    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.seconds = seconds


async def _arguments(request: web.Request) -> Json:
    """Query, then form or JSON body. A JSON body must be an object."""
    arguments: Json = dict(request.query)
    if request.method == "GET":
        return arguments
    if request.content_type == "application/json":
        try:
            body = json.loads(await request.text() or "{}")
        except ValueError:
            raise SlackError("invalid_json") from None
        if not isinstance(body, dict):
            raise SlackError("json_not_object")
        return arguments | body
    if request.content_type in ("application/x-www-form-urlencoded", "multipart/form-data"):
        return arguments | dict(await request.post())
    if request.can_read_body:
        raise SlackError("invalid_post_type")
    return arguments


def _token(request: web.Request, arguments: Json) -> str:
    """The token, out of the header or the arguments, from which it is removed."""
    argument = str(arguments.pop("token", ""))
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else argument


def _need(arguments: Mapping[str, Any], name: str) -> Any:
    """An argument that must be there."""
    value = arguments.get(name)
    if value is None or value == "":
        raise _invalid(f"missing required field: {name}")
    return value


def _need_text(arguments: Mapping[str, Any], name: str) -> str:
    value = _need(arguments, name)
    if not isinstance(value, str):
        raise _invalid(f"must provide a string [json-pointer:/{name}]")
    return value


def _invalid(sentence: str) -> SlackError:
    return SlackError("invalid_arguments", response_metadata={"messages": [f"[ERROR] {sentence}"]})


def _flag(arguments: Mapping[str, Any], name: str) -> bool:
    return arguments.get(name) in (True, 1, "1", "true", "True")


def _check_hash(view: View, arguments: Mapping[str, Any]) -> None:
    if arguments.get("hash") and arguments["hash"] != view.hash:
        raise SlackError("hash_conflict")


def _page(name: str, found: Iterable[Any], arguments: Mapping[str, Any]) -> Json:
    """One page of a listing; `limit` is at most 1000, the cursor says where to go on."""
    rows = list(found)
    try:
        limit = min(int(str(arguments.get("limit") or 1000)), 1000)
        start = int(base64.b64decode(str(arguments.get("cursor") or "")).decode() or 0)
    except ValueError:
        raise SlackError("invalid_cursor") from None
    end = start + max(limit, 1)
    cursor = base64.b64encode(str(end).encode()).decode() if end < len(rows) else ""
    return {name: rows[start:end], "response_metadata": {"next_cursor": cursor}}
