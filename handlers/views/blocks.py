"""The few builders of blocks that every view is made of: they escape what came from outside and keep Slack's limits.

Limits are those of Slack's pages *Block Kit reference* and *Views*. Builders return the dicts that are sent: the SDK's
models drop what they do not know. A text too long for its place is cut and ends in an ellipsis; nothing here raises.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Block = dict[str, Any]
"""A block, an element or a text object, as it is sent."""

View = dict[str, Any]
"""A modal or an App Home, as it is sent."""

MESSAGE_BLOCKS = 50
VIEW_BLOCKS = 100

_TEXT = 4000  # top-level text of a message: longer ones are refused by chat.update
_SECTION = 3000
_FIELD = 2000
_HEADER = 150
_CONTEXT = 2000
_LABEL = 2000
_BUTTON = 75
_OPTION = 75
_OPTION_VALUE = 150
_PLACEHOLDER = 150
_INITIAL = 3000
LONGEST_TITLE = 24
_TASK = 256
_PREFORMATTED = 3000
_CELL = 3000
_TABLE_ROWS = 100
_LONGEST = 12_000
"""Characters of any text that are looked at: more than anything may hold."""


# --- Text -----------------------------------------------------------------------------------------------------------


class Markup(str):
    """mrkdwn that is safe to send: written in a view, or escaped. Any other string is escaped where it is put in."""

    __slots__ = ()


def clean(text: str) -> str:
    """One line without control, invisible and direction-changing characters, none of which a name needs."""
    text = text[:_LONGEST]
    if text.isprintable():
        return " ".join(text.split())
    visible = (" " if char.isspace() else char for char in text if not _is_invisible(char))
    return " ".join("".join(visible).split())


def _is_invisible(char: str) -> bool:
    # Other, control, format, surrogate and private use; unassigned ones may be emoji newer than Python's tables.
    return not char.isspace() and unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co"}


def escape(text: str) -> Markup:
    """Text from people, the tenant or `bot/` as mrkdwn in which nothing mentions, links or breaks the layout."""
    return Markup(clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))


def markup(template: str, *values: object) -> Markup:
    """*template*, which must be a literal, with its `{}` filled: `Markup` as it is, anything else escaped."""
    return Markup(template.format(*(each if isinstance(each, Markup) else escape(str(each)) for each in values)))


def joined(parts: Iterable[Markup | str], by: str) -> Markup:
    """The parts that are not empty, strings escaped, with *by* (a literal) between them."""
    return Markup(by.join(part if isinstance(part, Markup) else escape(part) for part in parts if part))


def code(text: str) -> Markup:
    """Text in a code span, which its own backticks cannot leave."""
    return Markup(f"`{escape(text.replace('`', '’')) or ' '}`")


_USER_ID = re.compile(r"[UW][A-Z0-9]{1,30}")


def mention(user_id: str) -> Markup:
    """A mention of a person by id, which notifies when it is posted (not when it is edited in). Anything that is no
    user id is shown as text."""
    return Markup(f"<@{user_id}>") if _USER_ID.fullmatch(user_id) else escape(user_id)


_CHANNEL_ID = re.compile(r"[CG][A-Z0-9]{1,30}")


def channel_link(channel_id: str) -> Markup:
    """A channel by id, shown by name to those who may see it."""
    return Markup(f"<#{channel_id}>") if _CHANNEL_ID.fullmatch(channel_id) else Markup("a direct message")


_CHANNEL_TOKEN = re.compile(r"&lt;#([CG][A-Z0-9]{1,30})&gt;")


def with_channels(text: str) -> Markup:
    """Text of ours or from outside, in which channels that stand there by id are shown by name. Nobody is notified."""
    return Markup(_CHANNEL_TOKEN.sub(r"<#\1>", escape(text)))


def when(moment: datetime) -> Markup:
    """A time in the reader's own zone; a client that cannot do that shows UTC. For mrkdwn only."""
    return Markup(f"<!date^{int(moment.timestamp())}^{{date_short_pretty}} at {{time}}|{utc(moment)}>")


def utc(moment: datetime) -> str:
    """A time for plain text, which has no zones."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def cut(text: str, limit: int) -> str:
    """*text*, or its beginning and an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


_HALF_ENTITY = re.compile(r"&[a-z]*\Z")
_HALF_TAG = re.compile(r"<[^<>]*\Z")


def _cut_markup(text: Markup, limit: int) -> str:
    """Like `cut`, never in the middle of an entity, a mention or a date."""
    if len(text) <= limit:
        return text
    kept = text[: limit - 1]
    return _HALF_ENTITY.sub("", _HALF_TAG.sub("", kept)).rstrip() + "…"


def _mrkdwn(text: Markup | str, limit: int) -> Block:
    safe = text if isinstance(text, Markup) else escape(text)
    # verbatim: Slack is not to look for links, channels and names by itself.
    return {"type": "mrkdwn", "text": _cut_markup(safe, limit) or " ", "verbatim": True}


def _plain(text: str, limit: int) -> Block:
    # emoji off: `:white_check_mark:` in somebody's name stays letters.
    return {"type": "plain_text", "text": cut(clean(text), limit) or "–", "emoji": False}


# --- Blocks ---------------------------------------------------------------------------------------------------------


def section(text: Markup | str, *, accessory: Block | None = None, block_id: str | None = None) -> Block:
    """A paragraph; plain strings are escaped."""
    return _block({"type": "section", "text": _mrkdwn(text, _SECTION)}, block_id, accessory=accessory)


def sections(lines: Iterable[Markup]) -> list[Block]:
    """Lines, in as few sections as they fit in."""
    return [section(part) for part in _packed(lines, _SECTION)]


def small_print(lines: Iterable[Markup]) -> list[Block]:
    """Lines in small print, which Slack shows in grey."""
    return [block for part in _packed(lines, _CONTEXT) for block in context(part)]


def _packed(lines: Iterable[Markup], limit: int) -> list[Markup]:
    packed: list[list[Markup]] = [[]]
    size = 0
    for line in lines:
        short = Markup(_cut_markup(line, limit))
        if size + len(short) + 1 > limit:
            packed.append([])
            size = 0
        packed[-1].append(short)
        size += len(short) + 1
    return [Markup("\n".join(part)) for part in packed if part]


def facts(pairs: Sequence[tuple[str, Markup | str]]) -> list[Block]:
    """Labelled values in two columns, ten to a section."""
    fields = [_mrkdwn(markup("*{}*\n{}", label, value or "–"), _FIELD) for label, value in pairs]
    return [{"type": "section", "fields": fields[start : start + 10]} for start in range(0, len(fields), 10)]


def header(text: str) -> Block:
    return {"type": "header", "text": _plain(text, _HEADER)}


def context(*texts: Markup | str) -> list[Block]:
    """A line in small print, or nothing when all of it is empty."""
    elements = [_mrkdwn(text, _CONTEXT) for text in texts if text][:10]
    return [{"type": "context", "elements": elements}] if elements else []


def actions(*elements: Block | None, block_id: str | None = None) -> list[Block]:
    """A row of the buttons that there are, or nothing."""
    there = [element for element in elements if element][:25]
    return [_block({"type": "actions", "elements": there}, block_id)] if there else []


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Block:
    """A table of at most 99 rows, the first of which names the columns. For messages, and one in each."""
    shown = [[{"type": "raw_text", "text": cut(clean(cell), _CELL) or "–"} for cell in row] for row in (columns, *rows)]
    wrapped = [{"is_wrapped": True} for _ in columns]
    return {"type": "table", "rows": shown[:_TABLE_ROWS], "column_settings": wrapped}


def divider() -> Block:
    return {"type": "divider"}


def preformatted(text: str, *, block_id: str | None = None) -> Block:
    """Text as it is, in a fixed width and selectable, never marked up. For secrets: not even invisible characters are
    taken out."""
    element = {"type": "rich_text_preformatted", "elements": [{"type": "text", "text": cut(text, _PREFORMATTED)}]}
    return _block({"type": "rich_text", "elements": [element]}, block_id)


def task(key: str, title: str, status: str, detail: str = "") -> Block:
    """A line of a plan; *status* is one of Slack's pending, in_progress, complete, error."""
    card: Block = {
        "type": "task_card",
        "task_id": cut(key, 255),
        "title": cut(clean(title), _TASK) or "–",
        "status": status,
    }
    if detail := cut(clean(detail), _FIELD):
        said = {"type": "rich_text_section", "elements": [{"type": "text", "text": detail}]}
        card["output"] = {"type": "rich_text", "elements": [said]}
    return card


def plan(title: str, tasks: Sequence[Block]) -> Block:
    """A list of tasks, of which Slack shows *title* while it is folded."""
    return {"type": "plan", "title": cut(clean(title), _TASK) or "–", "tasks": list(tasks)}


def _block(made: Block, block_id: str | None, **optional: Any) -> Block:
    if block_id is not None:
        made["block_id"] = cut(block_id, 255)
    made.update({key: value for key, value in optional.items() if value is not None})
    return made


# --- Elements -------------------------------------------------------------------------------------------------------


def button(text: str, action_id: str, value: str, *, style: str | None = None, spoken: str = "") -> Block:
    """A button. *value* is an id of ours and nothing else; *spoken* is what a screen reader says instead of *text*."""
    made: Block = {"type": "button", "action_id": action_id, "text": _plain(text, _BUTTON), "value": value}
    if style:
        made["style"] = style
    if label := cut(clean(spoken), _BUTTON):
        made["accessibility_label"] = label
    return made


def confirmed(pressed: Block, *, title: str, text: str, yes: str, no: str) -> Block:
    """*pressed* with a question that is asked before the press counts (Slack docs: *Confirmation dialog object*)."""
    asked = {"title": _plain(title, 100), "text": _plain(text, 300), "confirm": _plain(yes, 30), "deny": _plain(no, 30)}
    return {**pressed, "confirm": asked}


def link_button(text: str, action_id: str, url: str) -> Block:
    """A button that opens *url* in the browser; Slack tells of the press, too."""
    return {"type": "button", "action_id": action_id, "text": _plain(text, _BUTTON), "url": url, "style": "primary"}


def option(text: str, value: str, description: str = "") -> Block:
    made: Block = {"text": _plain(text, _OPTION), "value": cut(value, _OPTION_VALUE)}
    if description := clean(description):
        made["description"] = _plain(description, _OPTION)
    return made


def option_group(label: str, options: Sequence[Block]) -> Block:
    return {"label": _plain(label, _OPTION), "options": list(options)}


def select(action_id: str, options: Sequence[Block], *, initial: str | None = None, placeholder: str = "") -> Block:
    """A menu of at most 100 options, or groups of them; *initial* is the value of the one chosen at first, if it is
    among them."""
    shown = list(options[:100])
    if shown and "label" in shown[0]:
        made: Block = {"type": "static_select", "action_id": action_id, "option_groups": shown}
        return _chosen_at_first(made, [each for group in shown for each in group["options"]], initial, placeholder)
    made = {"type": "static_select", "action_id": action_id, "options": shown}
    return _chosen_at_first(made, shown, initial, placeholder)


def search_select(action_id: str, *, initial: Block | None = None, placeholder: str = "") -> Block:
    """A menu whose options are asked of us while the person types, from the second letter on."""
    made: Block = {"type": "external_select", "action_id": action_id, "min_query_length": 2}
    if initial:
        made["initial_option"] = initial
    if placeholder:
        made["placeholder"] = _plain(placeholder, _PLACEHOLDER)
    return made


def channels_select(action_id: str, *, initial: Sequence[str] = (), placeholder: str = "") -> Block:
    """A menu of channels in which nobody from another company reads, of which several may be chosen."""
    made: Block = {
        "type": "multi_conversations_select",
        "action_id": action_id,
        "filter": {"include": ["public", "private"], "exclude_external_shared_channels": True},
    }
    if initial := [channel for channel in initial if _CHANNEL_ID.fullmatch(channel)]:
        made["initial_conversations"] = initial
    if placeholder:
        made["placeholder"] = _plain(placeholder, _PLACEHOLDER)
    return made


def radio(action_id: str, options: Sequence[Block], *, initial: str | None = None) -> Block:
    """Buttons of which one is chosen; *initial* is the value of the one chosen at first."""
    return _chosen_at_first(
        {"type": "radio_buttons", "action_id": action_id, "options": list(options)}, options, initial, ""
    )


def _chosen_at_first(made: Block, shown: Sequence[Block], initial: str | None, placeholder: str) -> Block:
    chosen = next((each for each in shown if each["value"] == initial), None)
    if chosen:
        made["initial_option"] = chosen
    if placeholder:
        made["placeholder"] = _plain(placeholder, _PLACEHOLDER)
    return made


def user_select(action_id: str, *, placeholder: str = "") -> Block:
    """A menu of the people in the workspace; its value is a user id."""
    made: Block = {"type": "users_select", "action_id": action_id}
    if placeholder:
        made["placeholder"] = _plain(placeholder, _PLACEHOLDER)
    return made


def date_picker(action_id: str, *, initial: str = "", placeholder: str = "") -> Block:
    """A calendar; *initial* is a day such as 2026-12-31."""
    made: Block = {"type": "datepicker", "action_id": action_id}
    if initial:
        made["initial_date"] = initial
    if placeholder:
        made["placeholder"] = _plain(placeholder, _PLACEHOLDER)
    return made


def checkbox(action_id: str, text: str, *, checked: bool) -> Block:
    """One box to tick; its value when ticked is `yes`."""
    choice = option(text, "yes")
    made: Block = {"type": "checkboxes", "action_id": action_id, "options": [choice]}
    if checked:
        made["initial_options"] = [choice]
    return made


def text_input(action_id: str, *, initial: str = "", multiline: bool = False, longest: int = 500) -> Block:
    made: Block = {"type": "plain_text_input", "action_id": action_id, "max_length": longest, "multiline": multiline}
    if initial:
        made["initial_value"] = cut(initial, min(longest, _INITIAL))
    return made


def file_input(action_id: str, kinds: Sequence[str]) -> Block:
    """A place for one file, in a form; its ending is one of *kinds* (Slack docs: *File input element*)."""
    return {"type": "file_input", "action_id": action_id, "filetypes": list(kinds), "max_files": 1}


def number_input(action_id: str, *, initial: str = "", lowest: int | None = None, highest: int | None = None) -> Block:
    made: Block = {"type": "number_input", "action_id": action_id, "is_decimal_allowed": False}
    if re.fullmatch(r"-?\d{1,15}", initial, re.ASCII):
        made["initial_value"] = initial
    if lowest is not None:
        made["min_value"] = str(lowest)
    if highest is not None:
        made["max_value"] = str(highest)
    return made


def field(
    label: str, element: Block, *, block_id: str, hint: str = "", optional: bool = False, tells: bool = False
) -> Block:
    """An input with its label; *tells* reports each choice at once."""
    made = _block({"type": "input", "label": _plain(label, _LABEL), "element": element}, block_id)
    made["optional"] = optional
    if tells:
        made["dispatch_action"] = True
    if hint := clean(hint):
        made["hint"] = _plain(hint, _LABEL)
    return made


# --- Surfaces -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """A message as it is sent: the blocks people see, and a full sentence for notifications, screen readers and the
    case that Slack refuses the blocks."""

    text: str
    blocks: tuple[Block, ...]

    @property
    def has_plan(self) -> bool:
        """Whether it uses blocks that not every Slack takes."""
        return any(block["type"] in {"plan", "task_card"} for block in self.blocks)

    @property
    def has_table(self) -> bool:
        """Whether it has a table, which not every place in Slack takes."""
        return any(block["type"] == "table" for block in self.blocks)

    def in_lines(self) -> Said:
        """The same with its tables written out, a line for each row."""
        return Said(
            self.text, tuple(_fit([each for block in self.blocks for each in _in_lines(block)], MESSAGE_BLOCKS))
        )


def _in_lines(block: Block) -> list[Block]:
    if block["type"] != "table":
        return [block]
    _, *rows = ([cell["text"] for cell in row] for row in block["rows"])
    return sections(joined([markup("• *{}*", first), *others], "  ·  ") for first, *others in rows)


def said(text: Markup | str, blocks: Iterable[Block]) -> Said:
    """A message. Blocks beyond what a message may hold are replaced by a line that says so."""
    safe = text if isinstance(text, Markup) else escape(text)
    return Said(_cut_markup(safe, _TEXT) or "–", tuple(_fit(list(blocks), MESSAGE_BLOCKS)))


def modal(
    title: str,
    blocks: Iterable[Block],
    *,
    callback_id: str = "",
    about: str = "",
    submit: str = "",
    close: str = "Close",
    tell_when_closed: bool = False,
) -> View:
    """A modal. *about* is the id of ours that travels in its private metadata."""
    made: View = {
        "type": "modal",
        "title": _plain(title, LONGEST_TITLE),
        "close": _plain(close, LONGEST_TITLE),
        "blocks": _fit(list(blocks), VIEW_BLOCKS),
    }
    if callback_id:
        made["callback_id"] = callback_id
    if about:
        made["private_metadata"] = about
    if submit:
        made["submit"] = _plain(submit, LONGEST_TITLE)
    if tell_when_closed:
        made["notify_on_close"] = True
    return made


def home_tab(blocks: Iterable[Block]) -> View:
    return {"type": "home", "blocks": _fit(list(blocks), VIEW_BLOCKS)}


def _fit(blocks: list[Block], limit: int) -> list[Block]:
    if len(blocks) <= limit:
        return blocks
    left_out = len(blocks) - limit + 1
    return [*blocks[: limit - 1], *context(f"… and {left_out} more parts that do not fit here.")]
