"""What a person can use on a surface: finding it by name, and the values it holds."""

from dataclasses import dataclass
from typing import Any

from sandbox.slack.model import Channel, Json, NotOnScreen, Person, Reader

TEXT_INPUTS = ("plain_text_input", "email_text_input", "url_text_input", "number_input")
PICKERS = {"datepicker": "selected_date", "timepicker": "selected_time", "datetimepicker": "selected_date_time"}
"""Elements that hold a date or time, and the key under which Slack reports it."""

_STATELESS = ("button", "overflow", "image", "plain_text", "mrkdwn")


@dataclass(frozen=True)
class Control:
    """Something one can press, choose or fill in, with the names a person could call it by."""

    block: Json
    element: Json
    names: tuple[str, ...]

    @property
    def block_id(self) -> str:
        """The block it stands in."""
        return str(self.block["block_id"])

    @property
    def action_id(self) -> str:
        """Its own id."""
        return str(self.element["action_id"])

    @property
    def type(self) -> str:
        """Slack's word for what it is."""
        return str(self.element["type"])

    @property
    def is_input(self) -> bool:
        """Whether it belongs to a form: it is sent with the form, and reports nothing by itself."""
        return bool(self.block["type"] == "input")

    @property
    def dispatches(self) -> bool:
        """Whether using it tells the app at once."""
        return not self.is_input or bool(self.block.get("dispatch_action"))

    @property
    def holds_state(self) -> bool:
        """Whether it is part of the state that travels with interactions."""
        return self.type not in _STATELESS


def controls(blocks: list[Json]) -> list[Control]:
    """Everything a person can use, top to bottom."""
    found = []
    for block in blocks:
        match block["type"]:
            case "input":
                found.append(Control(block, block["element"], (block["label"]["text"],)))
            case "actions":
                found.extend(Control(block, element, _names(element)) for element in block["elements"])
            case "section" if "action_id" in block.get("accessory", {}):
                beside = (block["text"]["text"],) if "text" in block else ()
                found.append(Control(block, block["accessory"], (*_names(block["accessory"]), *beside)))
    return found


def _names(element: Json) -> tuple[str, ...]:
    if element["type"] == "overflow":
        return tuple(option["text"]["text"] for option in element["options"])
    return tuple(element[key]["text"] for key in ("text", "placeholder") if isinstance(element.get(key), dict))


def in_line(blocks: list[Json], words: str, reader: Reader) -> list[Json]:
    """The blocks in whose line these words stand: a section with them, and the buttons right below it."""
    found, near, is_over = [], False, False
    for block in blocks:
        if block["type"] == "actions":
            if near:
                found.append(block)
            is_over = True
            continue
        here = words in reader.blocks([block])
        goes_on = block["type"] == "context" and not is_over
        near, is_over = here or (near and goes_on), False
        if here:
            found.append(block)
    return found


def find_control(blocks: list[Json], name: str, *, loosely: bool) -> Control:
    """The control called `name`: a visible name, or its action or block id. NotOnScreen says what there is.

    `loosely` also takes the only control whose name contains it, in any case: how one speaks of a form's
    fields. Buttons are asked for by their whole label.
    """
    there = controls(blocks)
    exact = [control for control in there if name in (*control.names, control.action_id)] or [
        control for control in there if control.block_id == name
    ]
    near = [control for control in there if loosely and any(name.casefold() in n.casefold() for n in control.names)]
    same = [control for control in near if any(name.casefold() == n.casefold() for n in control.names)]
    for found in (exact, same, near):
        if len(found) == 1:
            return found[0]
        if found:
            raise NotOnScreen(f"{name!r} could be any of: {_listed(found)}")
    raise NotOnScreen(f"there is no {name!r} here; there is: {_listed(there) or 'nothing to use'}")


def _listed(found: list[Control]) -> str:
    return ", ".join(f"{next(iter(control.names), '')!r} ({control.action_id})" for control in found)


def name_of(control: Control) -> str:
    """What a person would call it."""
    return next(iter(control.names), control.action_id)


_KINDS = {"public_channel": "public", "private_channel": "private", "im": "im"}


def is_offered(person: Person, element: Json, channel: Channel) -> bool:
    """Whether a menu of conversations offers this one to a person: what they can see, and its `filter` lets through."""
    if element["type"].endswith("channels_select"):
        return channel.type == "public_channel"
    narrowed = element.get("filter", {})
    return (
        (channel.type == "public_channel" or person.id in channel.members)
        and _KINDS[channel.type] in narrowed.get("include", _KINDS.values())
        and not (channel.is_ext_shared and narrowed.get("exclude_external_shared_channels"))
    )


def pick_option(options: list[Json], wanted: str) -> Json:
    """The option with this text or value, or the only one whose text contains it. NotOnScreen lists them all."""
    low = wanted.casefold()
    for fits in (
        [option for option in options if wanted in (option["text"]["text"], option.get("value"))],
        [option for option in options if low == option["text"]["text"].casefold()],
        [option for option in options if low in option["text"]["text"].casefold()],
        [option for option in options if low in (option.get("description") or {"text": ""})["text"].casefold()],
    ):
        if len(fits) == 1:
            return fits[0]
    there = ", ".join(repr(option["text"]["text"]) for option in options)
    raise NotOnScreen(f"there is no one option {wanted!r}; there is: {there or 'nothing'}")


def all_options(holder: Json) -> list[Json]:
    """The options of a menu, or of an answer to a search, out of their groups."""
    return [
        *holder.get("options", ()),
        *(option for group in holder.get("option_groups", ()) for option in group["options"]),
    ]


def starting_value(element: Json) -> Json:
    """What the state says about an element nobody has touched: its initial value, or nothing."""
    kind = element["type"]
    value: Json = {"type": kind}
    if kind in TEXT_INPUTS:
        value["value"] = element.get("initial_value")
    elif kind in PICKERS:
        value[PICKERS[kind]] = element.get(PICKERS[kind].replace("selected", "initial"))
    elif kind == "file_input":
        value["files"] = []
    elif kind == "checkboxes" or kind in ("multi_static_select", "multi_external_select"):
        value["selected_options"] = element.get("initial_options", [])
    elif kind in ("radio_buttons", "static_select", "external_select"):
        value["selected_option"] = element.get("initial_option")
    else:  # users, conversations, channels; one or several
        singular = kind.removeprefix("multi_").removesuffix("s_select")
        many = kind.startswith("multi_")
        suffix = "s" if many else ""
        value[f"selected_{singular}{suffix}"] = element.get(f"initial_{singular}{suffix}", [] if many else None)
    return value


def is_empty(value: Json) -> bool:
    """Whether a form would call this field not filled in."""
    return not next((held for key, held in value.items() if key != "type"), None)


def shown_value(value: Json) -> str:
    """A filled-in value as its field displays it."""
    held = next((held for key, held in value.items() if key != "type"), None)
    if isinstance(held, list):
        return ", ".join(_shown(item) for item in held)
    return "" if held is None else _shown(held)


def _shown(item: Any) -> str:
    if isinstance(item, dict):
        return str(item["text"]["text"] if "text" in item else item["name"])
    return str(item)


def chosen_values(value: Json) -> set[str]:
    """The values of the options that are chosen."""
    held = next((held for key, held in value.items() if key != "type"), None)
    options = held if isinstance(held, list) else [held] if held else []
    return {option["value"] for option in options}
