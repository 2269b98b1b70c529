"""What an app may say: reading text, blocks and metadata out of a call, an acknowledgement or an answer."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.slack.blocks import Surface, check_blocks, check_view, is_too_large
from sandbox.slack.model import Channel, Json, SlackError
from sandbox.slack.state import State
from sandbox.slack.tickets import ResponseUrl

CUT_AFTER = 40_000
"""Characters of `text` a new message keeps; an update refuses more than `LONGEST_UPDATE`."""

LONGEST_UPDATE = 4_000

_UNSHOWN = ("attachments", "markdown_text")


@dataclass(frozen=True)
class Content:
    """What a message is made of."""

    text: str
    blocks: list[Json]
    metadata: Json | None


def parsed_json(value: Any, error: str) -> Any:
    """A structured argument: as it is, or out of the JSON text a form carries. SlackError(`error`) if broken."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise SlackError(error) from None


def content(arguments: Mapping[str, Any], refused: Collection[str]) -> Content:
    """The message a call describes. SlackError `no_text`, `invalid_blocks`, `invalid_metadata_format`, …

    Attachments and `markdown_text` are refused: nobody in the sandbox would see them.
    """
    for name in _UNSHOWN:
        if arguments.get(name):
            raise SlackError("invalid_arguments", response_metadata=_messages(f"the sandbox shows no {name}"))
    blocks = parsed_json(arguments.get("blocks") or [], "invalid_blocks_format")
    if not isinstance(blocks, list):
        raise SlackError("invalid_blocks_format")
    problems = check_blocks(blocks, Surface.MESSAGE, refused=refused)
    if problems:
        raise SlackError(
            "invalid_blocks",
            errors=[f"{problem.sentence} [json-pointer:{problem.pointer}]" for problem in problems],
            response_metadata=_messages(*map(str, problems)),
        )
    text = arguments.get("text") or ""
    if not isinstance(text, str):
        raise SlackError("invalid_arguments", response_metadata=_messages("[ERROR] `text` must be a string"))
    if not text.strip() and not blocks:
        raise SlackError("no_text")
    return Content(text, blocks, _metadata(arguments.get("metadata")))


def _metadata(value: Any) -> Json | None:
    if not value:
        return None
    metadata = parsed_json(value, "invalid_metadata_format")
    well_formed = (
        isinstance(metadata, dict)
        and isinstance(metadata.get("event_type"), str)
        and isinstance(metadata.get("event_payload"), dict)
    )
    if not well_formed:
        raise SlackError("invalid_metadata_format")
    return dict(metadata)


def view_definition(value: Any, surface: Surface, refused: Collection[str]) -> Json:
    """The view a call or an acknowledgement holds. SlackError `invalid_arguments` or `view_too_large`."""
    view = parsed_json(value, "invalid_arguments")
    problems = check_view(view, surface, refused=refused)
    if problems:
        raise SlackError("invalid_arguments", response_metadata=_messages(*map(str, problems)))
    if is_too_large(view):
        raise SlackError("view_too_large")
    return dict(view)


def _messages(*sentences: str) -> Json:
    return {"messages": list(sentences)}


def respond(state: State, response: ResponseUrl, body: Mapping[str, Any], refused: Collection[str]) -> None:
    """Answer an interaction: with its acknowledgement, or later through its response URL.

    An answer is ephemeral unless `response_type` is `in_channel`; the first public answer to a command also
    shows what was typed. What only one person sees can be replaced or deleted, but not made public.
    """
    original = response.original
    if body.get("delete_original"):
        if original is not None and not original.deleted:
            state.delete(original)
        return
    said = content(body, refused)
    if body.get("replace_original") and original is not None and not original.deleted:
        state.edit(original, said.text, said.blocks, said.metadata)
        return
    channel = state.channels[response.channel]
    thread_ts = body.get("thread_ts")
    is_public = body.get("response_type") == "in_channel"
    check_thread(state, channel, thread_ts)
    if is_public and response.command:
        state.post(channel, response.person, response.command, [])
        response.command = ""
    state.post(
        channel,
        state.app.bot_user,
        said.text[:CUT_AFTER],
        said.blocks,
        thread_ts=thread_ts,
        to=None if is_public else response.person,
        metadata=said.metadata,
    )


def check_thread(state: State, channel: Channel, thread_ts: str | None) -> None:
    """SlackError unless a thread can hang on this message. Slack attaches a reply to a reply somewhere; here it
    is refused, because nobody means it."""
    if thread_ts is None:
        return
    parent = state.message(channel, thread_ts)
    if parent is None or parent.is_ephemeral:
        raise SlackError("thread_not_found")
    if parent.thread_ts is not None:
        raise SlackError("cannot_reply_to_message")
