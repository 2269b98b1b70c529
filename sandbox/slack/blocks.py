"""Slack's rules for blocks and views, per surface, with errors that point at what is wrong.

The limits are those of the reference pages under "Block Kit" and "Views"; the wording of the errors follows
what Slack answers ("must be less than 3001 characters [json-pointer:/blocks/0/text/text]"). Blocks that the
sandbox cannot show (container, card, carousel, video, file, data_table, …) are refused as unknown.
"""

import json
import re
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from slack_sdk.errors import SlackObjectFormationError
from slack_sdk.models.blocks import Block

from sandbox.slack.controls import all_options, controls
from sandbox.slack.model import Json


class Surface(StrEnum):
    """Where blocks are shown."""

    MESSAGE = "message"
    MODAL = "modal"
    HOME = "home"


@dataclass(frozen=True)
class Problem:
    """Something Slack would refuse, and where: a JSON pointer into the argument."""

    pointer: str
    sentence: str

    def __str__(self) -> str:
        return f"[ERROR] {self.sentence} [json-pointer:{self.pointer}]"


Check = Callable[[Any, str], Iterator[Problem]]
"""Looks at a value and the pointer to it; yields what is wrong."""


# Small checks, of which the big ones are made.


def _string(at_most: int, at_least: int = 1, like: str = "") -> Check:
    def check(value: Any, at: str) -> Iterator[Problem]:
        if not isinstance(value, str):
            yield Problem(at, "must provide a string")
        elif len(value) < at_least:
            yield Problem(at, f"must be more than {at_least - 1} characters")
        elif len(value) > at_most:
            yield Problem(at, f"must be less than {at_most + 1} characters")
        elif like and not re.fullmatch(like, value):
            yield Problem(at, "invalid format")

    return check


def _boolean(value: Any, at: str) -> Iterator[Problem]:
    if not isinstance(value, bool):
        yield Problem(at, "must provide a boolean")


def _number(at_least: int, at_most: int) -> Check:
    def check(value: Any, at: str) -> Iterator[Problem]:
        if not isinstance(value, int) or isinstance(value, bool):
            yield Problem(at, "must provide a number")
        elif not at_least <= value <= at_most:
            yield Problem(at, f"must be between {at_least} and {at_most}")

    return check


def _choice(*words: str) -> Check:
    def check(value: Any, at: str) -> Iterator[Problem]:
        if value not in words:
            yield Problem(at, f"must be a valid enum value: {', '.join(words)}")

    return check


def _items(each: Check, at_most: int, at_least: int = 1) -> Check:
    def check(value: Any, at: str) -> Iterator[Problem]:
        if not isinstance(value, list):
            yield Problem(at, "must provide an array")
            return
        if len(value) < at_least:
            yield Problem(at, f"no fewer than {at_least} items allowed")
        if len(value) > at_most:
            yield Problem(at, f"no more than {at_most} items allowed")
        for number, item in enumerate(value):
            yield from each(item, f"{at}/{number}")

    return check


def _shape(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    known = {**required, **(optional or {})}

    def check(value: Any, at: str) -> Iterator[Problem]:
        if not isinstance(value, dict):
            yield Problem(at, "must provide an object")
            return
        for key in required:
            if key not in value:
                yield Problem(at, f"missing required field: {key}")
        for key, inner in value.items():
            if key == "type":
                continue
            if key in known:
                yield from known[key](inner, f"{at}/{key}")
            else:
                yield Problem(at, f"invalid additional property: {key}")

    return check


def _typed(variants: Mapping[str, Check]) -> Check:
    def check(value: Any, at: str) -> Iterator[Problem]:
        if not isinstance(value, dict):
            yield Problem(at, "must provide an object")
        elif "type" not in value:
            yield Problem(at, "missing required field: type")
        elif not isinstance(value["type"], str) or value["type"] not in variants:
            yield Problem(f"{at}/type", f"unsupported type: {value['type']}")
        else:
            yield from variants[value["type"]](value, at)

    return check


def _all(*checks: Check) -> Check:
    """Every check in turn, as long as the ones before found nothing."""

    def check(value: Any, at: str) -> Iterator[Problem]:
        for one in checks:
            found = list(one(value, at))
            yield from found
            if found:
                return

    return check


# Composition objects.


def _plain(at_most: int) -> Check:
    return _typed({"plain_text": _shape({"text": _string(at_most)}, {"emoji": _boolean})})


def _any_text(at_most: int) -> Check:
    return _typed(
        {
            "plain_text": _shape({"text": _string(at_most)}, {"emoji": _boolean}),
            "mrkdwn": _shape({"text": _string(at_most)}, {"verbatim": _boolean}),
        }
    )


_ID = _string(255)
_CONFIRM = _shape(
    {"title": _plain(100), "text": _any_text(300), "confirm": _plain(30), "deny": _plain(30)},
    {"style": _choice("primary", "danger")},
)
_OPTION = _shape({"text": _plain(75), "value": _string(150)}, {"description": _plain(75)})
_MARKED_OPTION = _shape({"text": _any_text(75), "value": _string(150)}, {"description": _any_text(75)})
_LINKED_OPTION = _shape({"text": _plain(75), "value": _string(150)}, {"description": _plain(75), "url": _string(3000)})
_GROUP = _shape({"label": _plain(75), "options": _items(_OPTION, 100)})
_FILTER = _shape(
    {},
    {
        "include": _items(_choice("im", "mpim", "private", "public"), 4),
        "exclude_external_shared_channels": _boolean,
        "exclude_bot_users": _boolean,
    },
)


def _options_or_groups(value: Any, at: str) -> Iterator[Problem]:
    if ("options" in value) == ("option_groups" in value):
        yield Problem(at, "must define exactly one of `options` and `option_groups`")


def _initial_among_options(value: Any, at: str) -> Iterator[Problem]:
    there = all_options(value)
    for key in ("initial_option", "initial_options"):
        if key in value:
            wanted = value[key] if isinstance(value[key], list) else [value[key]]
            if any(option not in there for option in wanted):
                yield Problem(f"{at}/{key}", f"`{key}` must match one of the options")


# Elements. Ids may be left out: Slack makes them up.

_ACTION: Mapping[str, Check] = {"action_id": _ID}
_CONFIRMED: Mapping[str, Check] = {**_ACTION, "confirm": _CONFIRM, "focus_on_load": _boolean}
_MENU: Mapping[str, Check] = {**_CONFIRMED, "placeholder": _plain(150)}
_MANY: Mapping[str, Check] = {**_MENU, "max_selected_items": _number(1, 100)}
_DISPATCH = _shape(
    {"trigger_actions_on": _items(_choice("on_enter_pressed", "on_character_entered"), 2)},
)
_OPEN_FIELD: Mapping[str, Check] = {
    **_ACTION,
    "placeholder": _plain(150),
    "focus_on_load": _boolean,
    "dispatch_action_config": _DISPATCH,
}
_LIST: Mapping[str, Check] = {"options": _items(_OPTION, 100), "option_groups": _items(_GROUP, 100)}

_TEXT_IN_CONTEXT: Mapping[str, Check] = {
    "plain_text": _any_text(2000),
    "mrkdwn": _any_text(2000),
}
_IMAGE: Mapping[str, Check] = {"image": _shape({"image_url": _string(3000), "alt_text": _string(2000)})}
_MENUS: Mapping[str, Check] = {
    "static_select": _all(
        _shape({}, {**_MENU, **_LIST, "initial_option": _OPTION}), _options_or_groups, _initial_among_options
    ),
    "external_select": _shape({}, {**_MENU, "initial_option": _OPTION, "min_query_length": _number(0, 3000)}),
    "users_select": _shape({}, {**_MENU, "initial_user": _string(255)}),
    "conversations_select": _shape(
        {},
        {
            **_MENU,
            "initial_conversation": _string(255),
            "default_to_current_conversation": _boolean,
            "response_url_enabled": _boolean,
            "filter": _FILTER,
        },
    ),
    "channels_select": _shape({}, {**_MENU, "initial_channel": _string(255), "response_url_enabled": _boolean}),
    "multi_static_select": _all(
        _shape({}, {**_MANY, **_LIST, "initial_options": _items(_OPTION, 100)}),
        _options_or_groups,
        _initial_among_options,
    ),
    "multi_external_select": _shape(
        {},
        {**_MANY, "initial_options": _items(_OPTION, 100), "min_query_length": _number(0, 3000)},
    ),
    "multi_users_select": _shape({}, {**_MANY, "initial_users": _items(_string(255), 100)}),
    "multi_conversations_select": _shape(
        {},
        {
            **_MANY,
            "initial_conversations": _items(_string(255), 100),
            "default_to_current_conversation": _boolean,
            "filter": _FILTER,
        },
    ),
    "multi_channels_select": _shape({}, {**_MANY, "initial_channels": _items(_string(255), 100)}),
}
_CHOICES: Mapping[str, Check] = {
    "checkboxes": _all(
        _shape(
            {"options": _items(_MARKED_OPTION, 10)},
            {**_CONFIRMED, "initial_options": _items(_MARKED_OPTION, 10)},
        ),
        _initial_among_options,
    ),
    "radio_buttons": _all(
        _shape({"options": _items(_MARKED_OPTION, 10)}, {**_CONFIRMED, "initial_option": _MARKED_OPTION}),
        _initial_among_options,
    ),
    "datepicker": _shape(
        {}, {**_MENU, "initial_date": _string(10, like=r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])")}
    ),
    "timepicker": _shape(
        {},
        {**_MENU, "initial_time": _string(5, like=r"([01]\d|2[0-3]):[0-5]\d"), "timezone": _string(255)},
    ),
    "datetimepicker": _shape({}, {**_CONFIRMED, "initial_date_time": _number(0, 9_999_999_999)}),
}
_BUTTONS: Mapping[str, Check] = {
    "button": _shape(
        {"text": _plain(75)},
        {
            **_ACTION,
            "value": _string(2000),
            "url": _string(3000),
            "style": _choice("primary", "danger"),
            "confirm": _CONFIRM,
            "accessibility_label": _string(75),
            "visible_to_user_ids": _items(_string(255), 1000),
        },
    ),
    "overflow": _shape({"options": _items(_LINKED_OPTION, 5)}, {**_ACTION, "confirm": _CONFIRM}),
}
_FIELDS: Mapping[str, Check] = {
    "plain_text_input": _shape(
        {},
        {
            **_OPEN_FIELD,
            "initial_value": _string(3000, 0),
            "multiline": _boolean,
            "min_length": _number(0, 3000),
            "max_length": _number(1, 3000),
        },
    ),
    "email_text_input": _shape({}, {**_OPEN_FIELD, "initial_value": _string(3000)}),
    "url_text_input": _shape({}, {**_OPEN_FIELD, "initial_value": _string(3000)}),
    "number_input": _shape(
        {"is_decimal_allowed": _boolean},
        {
            **_OPEN_FIELD,
            "initial_value": _string(255),
            "min_value": _string(255),
            "max_value": _string(255),
        },
    ),
    "file_input": _shape(
        {},
        {**_ACTION, "filetypes": _items(_string(255), 100), "max_files": _number(1, 10)},
    ),
}


# Rich text.

_STYLE = _shape({}, {"bold": _boolean, "italic": _boolean, "strike": _boolean, "code": _boolean, "underline": _boolean})
_SPAN_STYLE: Mapping[str, Check] = {"style": _STYLE}
_SPANS = _items(
    _typed(
        {
            "text": _shape({"text": _string(4000)}, _SPAN_STYLE),
            "link": _shape({"url": _string(3000)}, {"text": _string(4000), "unsafe": _boolean, **_SPAN_STYLE}),
            "user": _shape({"user_id": _string(255)}, _SPAN_STYLE),
            "channel": _shape({"channel_id": _string(255)}, _SPAN_STYLE),
            "usergroup": _shape({"usergroup_id": _string(255)}, _SPAN_STYLE),
            "broadcast": _shape({"range": _choice("here", "channel", "everyone")}),
            "emoji": _shape({"name": _string(255)}, {"unicode": _string(255), **_SPAN_STYLE}),
            "date": _shape(
                {"timestamp": _number(0, 9_999_999_999), "format": _string(255)},
                {"url": _string(3000), "fallback": _string(255)},
            ),
        }
    ),
    at_most=1000,
    at_least=0,
)
_SECTION = _shape({"elements": _SPANS})
_RICH_TEXT = _shape(
    {
        "elements": _items(
            _typed(
                {
                    "rich_text_section": _SECTION,
                    "rich_text_quote": _shape({"elements": _SPANS}, {"border": _number(0, 1)}),
                    "rich_text_preformatted": _shape(
                        {"elements": _SPANS}, {"border": _number(0, 1), "language": _string(255)}
                    ),
                    "rich_text_list": _shape(
                        {
                            "style": _choice("bullet", "ordered"),
                            "elements": _items(_typed({"rich_text_section": _SECTION}), 1000),
                        },
                        {"indent": _number(0, 8), "offset": _number(0, 10_000), "border": _number(0, 1)},
                    ),
                }
            ),
            at_most=1000,
        )
    },
    {"block_id": _ID},
)
_ONE_RICH_TEXT = _typed({"rich_text": _RICH_TEXT})


# Blocks.


def _text_or_fields(value: Any, at: str) -> Iterator[Problem]:
    if "text" not in value and "fields" not in value:
        yield Problem(at, "must define either `text` or `fields`")


def _column(value: Any, at: str) -> Iterator[Problem]:
    if value is not None:
        yield from _shape({}, {"align": _choice("left", "center", "right"), "is_wrapped": _boolean})(value, at)


def _number_cell(value: Any, at: str) -> Iterator[Problem]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        yield Problem(at, "must provide a number")


def _different_tasks(value: Any, at: str) -> Iterator[Problem]:
    seen: set[str] = set()
    for number, task in enumerate(value.get("tasks", ())):
        if task["task_id"] in seen:
            yield Problem(f"{at}/tasks/{number}/task_id", f"`task_id` {task['task_id']} already exists")
        seen.add(task["task_id"])


_BLOCK: Mapping[str, Check] = {"block_id": _ID}
_TASK_CARD = _shape(
    {
        "task_id": _string(255),
        "title": _string(256),
        "status": _choice("pending", "in_progress", "complete", "error"),
    },
    {
        **_BLOCK,
        "details": _ONE_RICH_TEXT,
        "output": _ONE_RICH_TEXT,
        "sources": _items(_typed({"url": _shape({"url": _string(3000), "text": _string(256)})}), 20),
    },
)
_BLOCKS: Mapping[str, Check] = {
    "section": _all(
        _shape(
            {},
            {
                **_BLOCK,
                "text": _any_text(3000),
                "fields": _items(_any_text(2000), 10),
                "accessory": _typed({**_BUTTONS, **_IMAGE, **_MENUS, **_CHOICES}),
                "expand": _boolean,
            },
        ),
        _text_or_fields,
    ),
    "header": _shape({"text": _plain(150)}, _BLOCK),
    "context": _shape({"elements": _items(_typed({**_TEXT_IN_CONTEXT, **_IMAGE}), 10)}, _BLOCK),
    "actions": _shape({"elements": _items(_typed({**_BUTTONS, **_MENUS, **_CHOICES}), 25)}, _BLOCK),
    "divider": _shape({}, _BLOCK),
    "image": _shape({"image_url": _string(3000), "alt_text": _string(2000)}, {**_BLOCK, "title": _plain(2000)}),
    "input": _shape(
        {"label": _plain(2000), "element": _typed({**_FIELDS, **_MENUS, **_CHOICES})},
        {**_BLOCK, "hint": _plain(2000), "optional": _boolean, "dispatch_action": _boolean},
    ),
    "rich_text": _RICH_TEXT,
    "markdown": _shape({"text": _string(12_000)}, _BLOCK),
    "alert": _shape(
        {"text": _any_text(3000)},
        {**_BLOCK, "level": _choice("default", "info", "warning", "error", "success")},
    ),
    "table": _shape(
        {
            "rows": _items(
                _items(
                    _typed(
                        {
                            "raw_text": _shape({"text": _string(3000)}),
                            "raw_number": _shape({"value": _number_cell, "text": _string(255)}),
                            "rich_text": _RICH_TEXT,
                        }
                    ),
                    at_most=20,
                ),
                at_most=100,
            )
        },
        {**_BLOCK, "column_settings": _items(_column, 20)},
    ),
    "plan": _all(
        _shape(
            {"title": _string(256)},
            {**_BLOCK, "tasks": _items(_typed({"task_card": _TASK_CARD}), 50)},
        ),
        _different_tasks,
    ),
    "task_card": _TASK_CARD,
}
_BLOCK_OF_ANY_TYPE = _typed(_BLOCKS)

_ELSEWHERE: Mapping[str, frozenset[Surface]] = {
    "table": frozenset({Surface.MESSAGE}),
    "plan": frozenset({Surface.MESSAGE}),
    "task_card": frozenset({Surface.MESSAGE}),
    "markdown": frozenset({Surface.MESSAGE}),
    "alert": frozenset({Surface.MODAL}),
    "plain_text_input": frozenset({Surface.MODAL, Surface.HOME}),
    "email_text_input": frozenset({Surface.MODAL}),
    "url_text_input": frozenset({Surface.MODAL}),
    "number_input": frozenset({Surface.MODAL}),
    "file_input": frozenset({Surface.MODAL}),
    "datetimepicker": frozenset({Surface.MODAL, Surface.MESSAGE}),
}
"""Blocks and elements that are not allowed on every surface, and where they are."""

_MOST_BLOCKS = {Surface.MESSAGE: 50, Surface.MODAL: 100, Surface.HOME: 100}
_VIEW_BYTES = 250_000


def check_blocks(blocks: Any, surface: Surface, *, at: str = "/blocks", refused: Collection[str] = ()) -> list[Problem]:
    """What Slack would refuse in these blocks on this surface; `refused` types of blocks and elements count as unknown
    to it."""
    at_least = 0 if surface is Surface.MESSAGE else 1
    problems = list(_items(_BLOCK_OF_ANY_TYPE, _MOST_BLOCKS[surface], at_least)(blocks, at))
    if problems:
        return problems
    problems = list(_together(blocks, surface, at, refused))
    return problems or [found for number, block in enumerate(blocks) for found in _sdk(block, f"{at}/{number}")]


def _together(blocks: list[Json], surface: Surface, at: str, refused: Collection[str]) -> Iterator[Problem]:
    """The rules that need more than one block, or the surface."""
    seen: set[str] = set()
    tables = 0
    markdown = 0
    for number, block in enumerate(blocks):
        here = f"{at}/{number}"
        kind = block["type"]
        tables += kind == "table"
        markdown += len(block["text"]) if kind == "markdown" else 0
        if kind in refused or surface not in _ELSEWHERE.get(kind, (surface,)):
            yield Problem(f"{here}/type", f"unsupported type: {kind}")
        if kind == "table" and tables > 1:
            yield Problem(here, "only one table is allowed in a message")
        if block.get("block_id", "") in seen:
            yield Problem(f"{here}/block_id", f"`block_id` {block['block_id']} already exists")
        if "block_id" in block:
            seen.add(block["block_id"])
        yield from _elements(block, surface, here, refused)
    if markdown > 12_000:
        yield Problem(at, "markdown blocks must be less than 12001 characters together")


def _elements(block: Json, surface: Surface, at: str, refused: Collection[str]) -> Iterator[Problem]:
    actions: set[str] = set()
    for element in _elements_of(block):
        kind = element["type"]
        if kind in refused or surface not in _ELSEWHERE.get(kind, (surface,)):
            yield Problem(at, f"unsupported type: {kind}")
        action_id = element.get("action_id")
        if action_id in actions:
            yield Problem(at, f"`action_id` {action_id} already exists in this block")
        if action_id is not None:
            actions.add(action_id)


def _elements_of(block: Json) -> list[Json]:
    match block["type"]:
        case "actions":
            return list(block["elements"])
        case "input":
            return [block["element"]]
        case "section" if "accessory" in block:
            return [block["accessory"]]
    return []


def _sdk(block: Json, at: str) -> Iterator[Problem]:
    """A second opinion, from Slack's own models: another list of rules, kept by other people."""
    parsed = Block.parse(deepcopy(block))
    if parsed is None:
        yield Problem(at, f"unsupported type: {block['type']}")
        return
    try:
        parsed.to_dict()
    except SlackObjectFormationError as error:
        yield Problem(at, str(error))


_VIEW_FIELDS: Mapping[str, Check] = {
    "blocks": lambda value, at: iter(()),  # looked at with the surface in mind, below
    "callback_id": _string(255, 0),
    "private_metadata": _string(3000, 0),
    "external_id": _string(255, 0),
}
_VIEWS = _typed(
    {
        "modal": _shape(
            {"title": _plain(24), "blocks": _VIEW_FIELDS["blocks"]},
            {
                **_VIEW_FIELDS,
                "submit": _plain(24),
                "close": _plain(24),
                "clear_on_close": _boolean,
                "notify_on_close": _boolean,
            },
        ),
        "home": _shape({"blocks": _VIEW_FIELDS["blocks"]}, {**_VIEW_FIELDS, "title": _plain(24)}),
    }
)


def check_view(view: Any, surface: Surface, *, refused: Collection[str] = ()) -> list[Problem]:
    """What Slack would refuse in a view meant for this surface; pointers begin with `/view`."""
    problems = list(_VIEWS(view, "/view"))
    if problems:
        return problems
    if view["type"] != surface:
        return [Problem("/view/type", f"must be {surface}")]
    problems = check_blocks(view["blocks"], surface, at="/view/blocks", refused=refused)
    has_input = any(block["type"] == "input" for block in view["blocks"]) if not problems else False
    if has_input and surface is Surface.MODAL and "submit" not in view:
        problems.append(Problem("/view", "missing required field: submit"))
    return problems


def is_too_large(view: Json) -> bool:
    """Whether a view is over 250 kB (`view_too_large`)."""
    return len(json.dumps(view, ensure_ascii=False).encode()) > _VIEW_BYTES


def check_options(answer: Any) -> list[Problem]:
    """What Slack would refuse in the answer to a search (`block_suggestion`)."""
    return list(
        _all(
            _shape({}, {"options": _items(_OPTION, 100, 0), "option_groups": _items(_GROUP, 100, 0)}),
            _options_or_groups,
        )(answer, "")
    )


def with_ids(blocks: list[Json]) -> list[Json]:
    """A copy in which every block has a block id and every control an action id, as Slack stores them."""
    filled = deepcopy(blocks)
    for block in filled:
        block.setdefault("block_id", _made_up())
        for element in _elements_of(block):
            if element["type"] != "image":
                element.setdefault("action_id", _made_up())
    return filled


def _made_up() -> str:
    return secrets.token_urlsafe(4)[:5]


def input_block_ids(blocks: list[Json]) -> set[str]:
    """The blocks an error may be shown at."""
    return {control.block_id for control in controls(blocks) if control.is_input}
