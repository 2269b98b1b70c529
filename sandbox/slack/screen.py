"""The whole workspace as one person sees it, as JSON for a page."""

from typing import Any

from sandbox.slack.controls import Control, controls
from sandbox.slack.model import Channel, Json, Message, Person, View
from sandbox.slack.state import SLACKBOT, State


def snapshot(state: State, person: Person) -> Json:
    """Conversations with all their messages, the bot's home, and the modals from bottom to top.

    Replies stand among the messages and name their thread; an ephemeral message has a reader in `to`.
    `version` grows with every change.
    """
    state.direct(person)  # everybody can open the conversation with the bot
    home = state.homes.get(person.id)
    modals = [_view(view) for view in state.stacks.get(person.id, ())]
    return {
        "version": state.version,
        "now": state.now(),
        "team": {"id": state.team.id, "name": state.team.name, "tz": state.team.tz},
        "me": person.id,
        "bot": state.app.bot_user,
        "people": [
            *(_person(p) for p in state.people.values()),
            {"id": SLACKBOT, "name": "slackbot", "real_name": "Slackbot", "is_bot": True},
        ],
        "channels": [_channel(state, c, person) for c in state.channels.values() if person.id in c.members],
        "home": _view(home) if home is not None else None,
        "modals": modals,
        "modal": modals[-1] if modals else None,
    }


def _person(person: Person) -> Json:
    return {
        "id": person.id,
        "name": person.name,
        "real_name": person.real_name,
        "title": person.title,
        "tz": person.tz,
        "is_bot": person.is_bot,
        "is_guest": person.is_restricted or person.is_ultra_restricted,
        "is_outsider": person.is_stranger,
        "deleted": person.deleted,
    }


def _channel(state: State, channel: Channel, person: Person) -> Json:
    others = [state.name_of(member) for member in sorted(channel.members) if member != person.id]
    return {
        "id": channel.id,
        "name": channel.name,
        "label": ", ".join(others) if channel.is_im else channel.name,
        "is_im": channel.is_im,
        "is_private": channel.is_private,
        "is_ext_shared": channel.is_ext_shared,
        "is_archived": channel.is_archived,
        "has_bot": state.bot_is_in(channel),
        "messages": [_message(m, person) for m in state.messages[channel.id] if m.to in (None, person.id)],
    }


def _message(message: Message, person: Person) -> Json:
    return {
        "ts": message.ts,
        "channel": message.channel,
        "thread_ts": message.thread_ts,
        "user": message.user,
        "text": message.text,
        "blocks": _blocks(message.blocks, person),
        "values": message.values.get(person.id, {}),
        "to": message.to,
        "broadcast": message.broadcast,
        "edited": message.edited,
        "deleted": message.deleted,
        "files": [{"id": f.id, "name": f.name, "title": f.title, "size": len(f.content)} for f in message.files],
    }


def _view(view: View) -> Json:
    return {
        "id": view.id,
        "hash": view.hash,
        "type": view.type,
        "title": view.words("title"),
        "submit": view.words("submit"),
        "close": view.words("close"),
        "blocks": view.blocks,
        "values": view.values,
        "errors": view.errors,
        "notice": view.notice,
    }


def _blocks(blocks: list[Json], person: Person) -> list[Json]:
    """The blocks without the buttons that are shown to others only."""
    hidden = {id(control.element) for control in controls(blocks) if not is_shown_to(person, control)}
    if not hidden:
        return blocks

    def without(block: Json) -> Json:
        if block["type"] != "actions":
            return block
        return {**block, "elements": [e for e in block["elements"] if id(e) not in hidden]}

    return [without(block) for block in blocks]


def is_shown_to(person: Person, control: Control) -> bool:
    """Whether a button's `visible_to_user_ids` lets this person see it."""
    readers: Any = control.element.get("visible_to_user_ids")
    return readers is None or person.id in readers
