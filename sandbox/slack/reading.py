"""What a person reads in blocks, and whom they mention."""

import html
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sandbox.slack.controls import chosen_values, shown_value, starting_value
from sandbox.slack.model import Json, Values

_MARKUP = re.compile(r"<([^<>\n]*)>")
_DATE_PART = re.compile(r"\{(\w+)\}")
_MENTION = re.compile(r"<(@[UW]\w+|![a-z]+(?:\^\w+)?)(?:\|[^<>]*)?>")


class BlockReader:
    """Reads blocks aloud. Names are looked up when asked, dates are shown in the time zone given."""

    def __init__(self, name_of: Callable[[str], str], now: Callable[[], float], tz: str) -> None:
        self._name_of = name_of
        self._now = now
        self._tz = ZoneInfo(tz)

    def mrkdwn(self, text: str) -> str:
        """A marked-up text as displayed: mentions and links by name, dates as local time, entities decoded."""
        return html.unescape(_MARKUP.sub(lambda found: self._markup(found[1]), text))

    def _markup(self, inside: str) -> str:
        target, _, label = inside.partition("|")
        if target.startswith("!date^"):
            stamp, _, form = target.removeprefix("!date^").partition("^")
            return self._date(int(stamp), form.partition("^")[0]) if stamp.isdecimal() else label
        if target.startswith("@"):
            return f"@{self._name_of(target[1:])}"
        if target.startswith("#"):
            return f"#{label or self._name_of(target[1:])}"
        if target.startswith("!"):
            return f"@{label or target[1:].partition('^')[0]}"
        return label or target.removeprefix("mailto:")

    def _date(self, stamp: int, form: str) -> str:
        when = datetime.fromtimestamp(stamp, self._tz)
        today = datetime.fromtimestamp(self._now(), self._tz).date()
        near = {today: "today", today - timedelta(days=1): "yesterday", today + timedelta(days=1): "tomorrow"}
        short, long = f"{when:%b} {when.day}, {when:%Y}", f"{when:%A}, {when:%B} {when.day}, {when:%Y}"
        plain = f"{when:%B} {when.day}, {when:%Y}"
        pretty = near.get(when.date())
        parts = {
            "date_num": f"{when:%Y-%m-%d}",
            "date_slash": f"{when:%d/%m/%Y}",
            "date": plain,
            "date_short": short,
            "date_long": long,
            "date_pretty": pretty or plain,
            "date_short_pretty": pretty or short,
            "date_long_pretty": pretty or long,
            "time": f"{when:%H:%M}",
            "time_secs": f"{when:%H:%M:%S}",
            "ago": _ago(self._now() - stamp),
        }
        return _DATE_PART.sub(lambda found: parts.get(found[1], found[0]), form)

    def blocks(self, blocks: list[Json], values: Values | None = None) -> str:
        """The text of blocks, top to bottom. Buttons stand as `[label]`, a task as `(status) title`."""
        filled = values or {}
        lines = [line for block in blocks for line in self._block(block, filled.get(block.get("block_id", ""), {}))]
        return "\n".join(line for line in lines if line)

    def _block(self, block: Json, filled: dict[str, Json]) -> Iterator[str]:
        match block["type"]:
            case "section":
                yield self.text(block.get("text"))
                yield from (self.text(field) for field in block.get("fields", ()))
                if "accessory" in block:
                    yield self._element(block["accessory"], filled)
            case "header" | "alert":
                yield self.text(block["text"])
            case "context" | "actions":
                yield "  ".join(self._element(element, filled) for element in block["elements"])
            case "image":
                yield self.text(block.get("title"))
                yield block["alt_text"]
            case "input":
                yield self.text(block["label"])
                yield self._element(block["element"], filled)
                yield self.text(block.get("hint"))
            case "markdown":
                yield block["text"]
            case "rich_text":
                yield from self._rich_text(block)
            case "table":
                yield from (" | ".join(self._cell(cell) for cell in row) for row in block["rows"])
            case "plan":
                yield block["title"]
                for task in block.get("tasks", ()):
                    yield from self._task(task)
            case "task_card":
                yield from self._task(block)

    def text(self, text: Json | None) -> str:
        """A text object as displayed. Plain text is shown as it is, entities included."""
        if text is None:
            return ""
        return self.mrkdwn(text["text"]) if text["type"] == "mrkdwn" else str(text["text"])

    def _task(self, task: Json) -> Iterator[str]:
        yield f"({task['status']}) {task['title']}"
        for part in ("details", "output"):
            if part in task:
                yield from self._rich_text(task[part])
        yield from (source["text"] for source in task.get("sources", ()))

    def _cell(self, cell: Json) -> str:
        return " ".join(self._rich_text(cell)) if cell["type"] == "rich_text" else str(cell["text"])

    def _element(self, element: Json, filled: dict[str, Json]) -> str:
        match element["type"]:
            case "plain_text" | "mrkdwn":
                return self.text(element)
            case "image":
                return str(element["alt_text"])
            case "button":
                return f"[{self.text(element['text'])}]"
            case "overflow":
                return "  ".join(f"[{self.text(option['text'])}]" for option in element["options"])
            case "checkboxes" | "radio_buttons":
                chosen = chosen_values(filled.get(element["action_id"]) or starting_value(element))
                return "\n".join(
                    line
                    for option in element["options"]
                    for line in (
                        f"({'x' if option['value'] in chosen else ' '}) {self.text(option['text'])}",
                        self.text(option.get("description")),
                    )
                )
            case _:
                value = shown_value(filled.get(element["action_id"]) or starting_value(element))
                return f"[{value or self.text(element.get('placeholder'))}]"

    def _rich_text(self, block: Json) -> Iterator[str]:
        for number, element in enumerate(block["elements"], start=1):
            match element["type"]:
                case "rich_text_list":
                    indent = "  " * int(element.get("indent", 0))
                    for item, section in enumerate(element["elements"], start=1 + int(element.get("offset", 0))):
                        mark = f"{item}." if element["style"] == "ordered" else "•"
                        yield f"{indent}{mark} {self._spans(section)}"
                case "rich_text_quote":
                    yield f"> {self._spans(element)}"
                case "rich_text_section" | "rich_text_preformatted":
                    yield self._spans(element)
                case other:
                    raise ValueError(f"part {number} of a rich text is a {other}, which nobody can read")

    def _spans(self, section: Json) -> str:
        return "".join(self._span(span) for span in section["elements"])

    def _span(self, span: Json) -> str:
        match span["type"]:
            case "link":
                return str(span.get("text") or span["url"])
            case "user":
                return f"@{self._name_of(span['user_id'])}"
            case "channel":
                return f"#{self._name_of(span['channel_id'])}"
            case "usergroup":
                return f"@{span['usergroup_id']}"
            case "broadcast":
                return f"@{span['range']}"
            case "emoji":
                return f":{span['name']}:"
            case "date":
                return self._date(int(span["timestamp"]), span["format"])
            case _:
                return str(span["text"])


def _ago(seconds: float) -> str:
    size, unit = next(
        (size, unit)
        for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
        if abs(seconds) >= size or size == 1
    )
    count = round(abs(seconds) / size)
    words = f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{words} ago" if seconds >= 0 else f"in {words}"


def mentions(text: str, blocks: list[Json]) -> tuple[str, ...]:
    """Whom a message notifies: `@U…`, `!channel`, `!here`, `!everyone`, `!subteam^…`, in order of appearance."""
    texts = [text, *(leaf["text"] for leaf in every_object(blocks) if leaf.get("type") == "mrkdwn")]
    found = [match for marked in texts for match in _MENTION.findall(marked) if not match.startswith("!date")]
    for span in every_object(blocks):
        if span.get("type") == "user":
            found.append(f"@{span['user_id']}")
        elif span.get("type") == "broadcast":
            found.append(f"!{span['range']}")
    return tuple(dict.fromkeys(found))


def every_object(value: Any) -> Iterator[Json]:
    """Every object inside a JSON value, the outer ones first."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from every_object(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from every_object(inner)
