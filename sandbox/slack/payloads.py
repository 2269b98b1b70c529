"""The payloads Slack sends to an app, field by field as on the reference pages "Interaction payloads"."""

import secrets
from collections.abc import Callable

from sandbox.slack.controls import Control
from sandbox.slack.model import File, Json, Message, Person, View
from sandbox.slack.state import State
from sandbox.slack.tickets import Tickets


class Payloads:
    """Builds payloads from the workspace as it is now.

    Whose workspace stands where differs by payload, and for an outsider it matters: block_actions and
    block_suggestion say the actor's in `user.team_id` and ours in `team.id`; view_submission and view_closed
    say the actor's in `team.id` and ours in `view.app_installed_team_id`, and `user` may lack its `team_id`
    (`names_team_in_submissions`).
    """

    def __init__(self, state: State, tickets: Tickets, base: Callable[[], str]) -> None:
        self._state = state
        self._tickets = tickets
        self._base = base
        self.names_team_in_submissions = True

    def _response_base(self) -> str:
        return f"{self._base()}/slack/response/"

    def _app(self) -> Json:
        app = self._state.app
        return {"api_app_id": app.id, "token": app.verification_token}

    def _interaction(self, kind: str, person: Person) -> Json:
        return {
            "type": kind,
            "user": {
                "id": person.id,
                "username": person.name,
                "name": person.name,
                "team_id": person.team_id,
            },
            **self._app(),
            "team": {"id": self._state.team.id, "domain": self._state.team.domain},
            "enterprise": None,
            "is_enterprise_install": False,
        }

    def command(self, person: Person, channel_id: str, command: str, text: str, typed: str) -> Json:
        """A slash command. Every value is a string, over a socket too; `typed` is the whole line."""
        team = self._state.team
        token = self._tickets.response(person.id, channel_id, command=typed)
        app = self._state.app
        return {
            "token": app.verification_token,
            "team_id": team.id,
            "team_domain": team.domain,
            "channel_id": channel_id,
            "channel_name": self._state.channels[channel_id].payload_name,
            "user_id": person.id,
            "user_name": person.name,
            "command": command,
            "text": text,
            "api_app_id": app.id,
            "is_enterprise_install": "false",
            "response_url": self._response_base() + token,
            "trigger_id": self._tickets.trigger(person.id, from_view=False),
        }

    def _place(self, person: Person, where: Message | View) -> Json:
        if isinstance(where, View):
            return {
                "container": {"type": "view", "view_id": where.id},
                "view": self.view(where),
            }
        channel = self._state.channels[where.channel]
        container: Json = {
            "type": "message",
            "message_ts": where.ts,
            "channel_id": where.channel,
            "is_ephemeral": where.is_ephemeral,
        }
        if where.thread_ts is not None:
            container["thread_ts"] = where.thread_ts
        place: Json = {
            "container": container,
            "channel": {"id": channel.id, "name": channel.payload_name},
            "state": {"values": where.values.get(person.id, {})},
        }
        if not where.is_ephemeral:  # the content of an ephemeral message does not come back
            place["message"] = self.message(where)
        return place

    def block_actions(self, person: Person, where: Message | View, control: Control, held: Json) -> Json:
        """A press of a button or a choice. `held` is what the action carries: its value, its option, …"""
        action: Json = {
            "type": control.type,
            "action_id": control.action_id,
            "block_id": control.block_id,
            **held,
            "action_ts": self._state.next_ts(),
        }
        action |= {key: control.element[key] for key in ("text", "style") if key in control.element}
        payload = {
            **self._interaction("block_actions", person),
            **self._place(person, where),
            "trigger_id": self._tickets.trigger(person.id, from_view=isinstance(where, View)),
            "actions": [action],
        }
        if isinstance(where, Message):
            token = self._tickets.response(person.id, where.channel, where)
            payload["response_url"] = self._response_base() + token
        return payload

    def block_suggestion(self, person: Person, where: Message | View, control: Control, typed: str) -> Json:
        """A search in a menu whose options the app gives."""
        return {
            **self._interaction("block_suggestion", person),
            **self._place(person, where),
            "action_id": control.action_id,
            "block_id": control.block_id,
            "value": typed,
        }

    def view_submission(self, person: Person, view: View) -> Json:
        """A form sent off."""
        return {
            **self._about_view("view_submission", person, view),
            "trigger_id": self._tickets.trigger(person.id, from_view=True),
            "response_urls": [],
        }

    def view_closed(self, person: Person, view: View, *, cleared: bool) -> Json:
        """A form closed without sending it; `cleared` when the whole stack went."""
        return {**self._about_view("view_closed", person, view), "is_cleared": cleared}

    def _about_view(self, kind: str, person: Person, view: View) -> Json:
        team = self._state.teams[person.team_id]
        payload = self._interaction(kind, person)
        payload["team"] = {"id": team.id, "domain": team.domain}
        if not self.names_team_in_submissions:
            del payload["user"]["team_id"]
        return {**payload, "view": self.view(view)}

    def event(self, event: Json) -> Json:
        """An Events API callback around an inner event."""
        state = self._state
        return {
            "token": state.app.verification_token,
            "team_id": state.team.id,
            "context_team_id": state.team.id,
            "context_enterprise_id": None,
            "api_app_id": state.app.id,
            "event": {**event, "event_ts": state.next_ts()},
            "type": "event_callback",
            "event_id": f"Ev0{secrets.token_hex(5).upper()}",
            "event_time": int(state.now()),
            "authorizations": [
                {
                    "enterprise_id": None,
                    "team_id": state.team.id,
                    "user_id": state.app.bot_user,
                    "is_bot": True,
                    "is_enterprise_install": False,
                }
            ],
            "is_ext_shared_channel": False,
        }

    def message(self, message: Message) -> Json:
        """A message as the Web API and interactions return it."""
        state = self._state
        shown: Json = {
            "type": "message",
            "user": message.user,
            "ts": message.ts,
            "text": message.text,
            "team": state.team.id,
        }
        if message.user == state.app.bot_user:
            shown |= {"bot_id": state.app.bot_id, "app_id": state.app.id}
        if message.blocks:
            shown["blocks"] = message.blocks
        if message.thread_ts is not None:
            shown["thread_ts"] = message.thread_ts
        if message.broadcast:
            shown["subtype"] = "thread_broadcast"
        if message.files:
            shown |= {"upload": True, "files": [self.file(file, message.user, message.ts) for file in message.files]}
        if message.metadata is not None:
            shown["metadata"] = message.metadata
        return shown

    def file(self, file: File, user: str, ts: str) -> Json:
        """A file as a message or a form tells of it; its addresses need a token with `files:read`."""
        address = f"{self._base()}/slack/files-pri/{self._state.team.id}-{file.id}"
        return {
            "id": file.id,
            "created": int(float(ts)),
            "name": file.name,
            "title": file.title,
            "mimetype": file.mimetype,
            "filetype": file.name.rpartition(".")[2],
            "user": user,
            "size": len(file.content),
            "mode": "hosted",
            "is_external": False,
            "url_private": f"{address}/{file.name}",
            "url_private_download": f"{address}/download/{file.name}",
        }

    def view(self, view: View) -> Json:
        """A view as the Web API and interactions return it, with what is filled in."""
        state = self._state
        defaults: Json = {
            "callback_id": "",
            "private_metadata": "",
            "external_id": "",
            "title": {"type": "plain_text", "text": state.name_of(state.app.bot_user)},
            "submit": None,
            "close": None,
            "clear_on_close": False,
            "notify_on_close": False,
        }
        return {
            **defaults,
            **view.definition,
            "id": view.id,
            "team_id": state.team.id,
            "state": {"values": view.values},
            "hash": view.hash,
            "previous_view_id": view.previous_id,
            "root_view_id": view.root_id,
            "app_id": state.app.id,
            "app_installed_team_id": state.team.id,
            "bot_id": state.app.bot_id,
        }

    def user(self, person: Person, scopes: tuple[str, ...]) -> Json:
        """A user as users.info tells; the address only with `users:read.email`, and never an outsider's."""
        profile: Json = {"real_name": person.real_name, "display_name": person.name, "title": person.title}
        ours = person.team_id == self._state.team.id
        if ours and person.email and "users:read.email" in scopes:
            profile["email"] = person.email
        user: Json = {
            "id": person.id,
            "team_id": person.team_id,
            "name": person.name,
            "real_name": person.real_name,
            "deleted": person.deleted,
            "profile": {**profile, "team": person.team_id},
            "is_bot": person.is_bot,
            "is_app_user": False,
        }
        if not ours:
            return {**user, "is_stranger": person.is_stranger, "tz": person.tz}
        return {
            **user,
            "tz": person.tz,
            "is_admin": False,
            "is_owner": False,
            "is_primary_owner": False,
            "is_restricted": person.is_restricted,
            "is_ultra_restricted": person.is_ultra_restricted,
            "is_email_confirmed": True,
        }
