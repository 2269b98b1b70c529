"""What people do in the workspace, and what they see come of it."""

import asyncio
import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sandbox.slack.blocks import Surface, check_options, input_block_ids
from sandbox.slack.content import respond, view_definition
from sandbox.slack.controls import (
    PICKERS,
    TEXT_INPUTS,
    Control,
    all_options,
    controls,
    find_control,
    in_line,
    is_empty,
    is_offered,
    name_of,
    pick_option,
)
from sandbox.slack.courier import Courier
from sandbox.slack.manifest import Manifest, escaped
from sandbox.slack.model import (
    Ack,
    AckStatus,
    Channel,
    Delivery,
    Json,
    Message,
    NotOnScreen,
    Person,
    SlackError,
    Values,
    View,
)
from sandbox.slack.payloads import Payloads
from sandbox.slack.screen import is_shown_to
from sandbox.slack.state import SLACKBOT, State
from sandbox.slack.tickets import ResponseUrl

TROUBLE = "We had some trouble connecting. Try again?"
"""What Slack shows in a form whose submission went wrong."""

_HOME_SECONDS = 5.0
_DAYS_AHEAD = re.compile(r"in (\d+) days?")

_LARGEST_FILE = 10_000_000  # "File input element"

Where = Message | View
"""Something on a screen that holds controls."""

FileToHandOver = str | Path | tuple[str, bytes]
"""A path, or a name and what is in it."""


class Hands:
    """Types, clicks, chooses and submits for people; delivers what Slack would, and shows the answers.

    An account that was closed can still act here, as if its payload had been on the way: whether the app
    looks is for the app to prove.
    """

    def __init__(
        self,
        state: State,
        manifest: Manifest,
        payloads: Payloads,
        courier: Courier,
        refused_blocks: set[str],
    ) -> None:
        self._state = state
        self._manifest = manifest
        self._payloads = payloads
        self._courier = courier
        self._refused = refused_blocks

    # Typing.

    def say(self, person: Person, channel: Channel, text: str, thread: Message | None) -> Message:
        """Write an ordinary message, in a thread if one is given. The app is not told of messages."""
        self._must_be_in(person, channel)
        return self._state.post(channel, person.id, text, [], thread_ts=thread.ts if thread else None)

    async def command(self, person: Person, channel: Channel, line: str) -> Delivery:
        """Type a slash command. One the workspace does not know, or an outsider's, is refused to the typist."""
        self._must_be_in(person, channel)
        command, _, text = line.strip().partition(" ")
        is_ours = person.team_id == self._state.team.id
        if not is_ours or not self._manifest.has_command(command):
            self._slackbot(person, channel, f"`{command}` is not a valid command.")
            return self._courier.not_sent("slash_commands", "not a valid command")
        text = text.strip()
        sent = escaped(text, self._state) if self._manifest.escapes(command) else text
        payload = self._payloads.command(person, channel.id, command, sent, line.strip())
        delivery = await self._courier.send("slash_commands", payload)
        self.settle(delivery)
        return delivery

    def _must_be_in(self, person: Person, channel: Channel) -> None:
        if person.id not in channel.members:
            raise NotOnScreen(f"{person.name} is not in #{channel.name} and cannot see or use it")

    def _slackbot(self, person: Person, channel: Channel, sentence: str) -> None:
        self._state.post(channel, SLACKBOT, sentence, [], to=person.id)

    # Clicking and choosing.

    def top(self, person: Person) -> View | None:
        """The modal in front."""
        stack = self._state.stacks.get(person.id)
        return stack[-1] if stack else None

    def _has(self, person: Person, where: Where) -> bool:
        if isinstance(where, View):
            return where.person == person.id and where.is_open
        return self._sees(person, where)

    def _sees(self, person: Person, message: Message) -> bool:
        is_in = person.id in self._state.channels[message.channel].members
        return not message.deleted and (message.to == person.id if message.is_ephemeral else is_in)

    def _control(self, person: Person, where: Where, name: str, *, loosely: bool, beside: str = "") -> Control:
        if not self._has(person, where):
            raise NotOnScreen(f"{person.name} does not have this on the screen")
        blocks = in_line(where.blocks, beside, self._state.reader) if beside else where.blocks
        control = find_control(blocks, name, loosely=loosely)
        if not is_shown_to(person, control):
            raise NotOnScreen(f"{name!r} is not shown to {person.name}")
        return control

    async def click(self, person: Person, where: Where, name: str, value: str | None, beside: str) -> Delivery:
        """Press a button or the item of a menu, confirming if it asks. `value` forges what the button carries."""
        control = self._control(person, where, name, loosely=False, beside=beside)
        if control.type == "overflow":
            chosen = pick_option(control.element["options"], name)
            return await self._act(person, where, control, {"selected_option": chosen})
        if control.type != "button":
            raise NotOnScreen(f"{name!r} is a {control.type}: it is chosen from, not clicked")
        carried = control.element.get("value") if value is None else value
        return await self._act(person, where, control, {} if carried is None else {"value": carried})

    async def _act(self, person: Person, where: Where, control: Control, held: Json) -> Delivery:
        payload = self._payloads.block_actions(person, where, control, held)
        delivery = await self._interact(payload)
        self.settle(delivery)
        return delivery

    async def _interact(self, payload: Json) -> Delivery:
        if not self._manifest.is_interactive:
            return self._courier.not_sent("interactive", "the app is not set up for interactivity")
        return await self._courier.send("interactive", payload)

    async def choose(self, person: Person, where: Where, name: str, chosen: Any) -> Delivery | None:
        """Choose in a menu, tick boxes, or fill a field. None if the app is only told when the form is sent."""
        control = self._control(person, where, name, loosely=True)
        held = await self._value(person, where, control, chosen)
        if control.holds_state:
            self._put(person, where, control, held)
        if not control.dispatches:
            return None
        return await self._act(person, where, control, {k: v for k, v in held.items() if k != "type"})

    def hold(self, person: Person, where: Where, values: Values) -> None:
        """Put values as Slack reports them into their fields, telling nobody. NotOnScreen if one is not there."""
        there = {(c.block_id, c.action_id, c.type): c for c in controls(where.blocks) if c.holds_state}
        for block_id, fields in values.items():
            for action_id, held in fields.items():
                control = there.get((block_id, action_id, held.get("type", "")))
                if control is None:
                    raise NotOnScreen(f"there is no {held.get('type')} {action_id!r} in block {block_id!r}")
                if control.type == "file_input":
                    held = {"type": control.type, "files": [self._taken(person, control, one) for one in held["files"]]}
                self._put(person, where, control, held)

    def _taken(self, person: Person, control: Control, file: Json) -> Json:
        """A file that the page has just read from its machine (its `content` in base64), or had handed over before."""
        if "content" not in file:
            return file
        return self._files(person, control, [(file["name"], b64decode(file["content"]))])[0]

    def _put(self, person: Person, where: Where, control: Control, held: Json) -> None:
        values = where.values if isinstance(where, View) else where.values.setdefault(person.id, {})
        values.setdefault(control.block_id, {})[control.action_id] = held
        if isinstance(where, View):
            where.errors.pop(control.block_id, None)
        self._state.touch()

    async def fill(self, person: Person, view: View, values: Mapping[str, Any]) -> None:
        """Fill fields in without sending the form."""
        for name, value in values.items():
            await self.choose(person, view, name, value)

    async def options(self, person: Person, where: Where, name: str, typed: str) -> list[Json]:
        """What a menu offers once this is typed. Nothing below its `min_query_length`, or if the app fails."""
        control = self._control(person, where, name, loosely=True)
        return await self._search(person, where, control, typed)

    async def _search(self, person: Person, where: Where, control: Control, typed: str) -> list[Json]:
        if not control.type.endswith("external_select"):
            return [o for o in all_options(control.element) if typed.casefold() in o["text"]["text"].casefold()]
        if len(typed) < int(control.element.get("min_query_length", 3)):
            return []
        payload = self._payloads.block_suggestion(person, where, control, typed)
        delivery = await self._interact(payload)
        self.settle(delivery)
        return all_options(delivery.ack.body or {}) if delivery.ack.status is AckStatus.OK else []

    async def _value(self, person: Person, where: Where, control: Control, chosen: Any) -> Json:
        """What somebody means by `chosen`, as Slack reports it for this kind of control."""
        kind = control.type
        if kind in TEXT_INPUTS:
            return {"type": kind, "value": str(chosen) or None}
        if kind == "file_input":
            return {
                "type": kind,
                "files": self._files(person, control, chosen if isinstance(chosen, list) else [chosen]),
            }
        if kind == "datepicker" and (ahead := _DAYS_AHEAD.fullmatch(str(chosen))):
            day = datetime.fromtimestamp(self._state.now(), ZoneInfo(person.tz)) + timedelta(days=int(ahead[1]))
            return {"type": kind, "selected_date": f"{day:%Y-%m-%d}"}
        if kind in PICKERS:
            return {"type": kind, PICKERS[kind]: chosen}
        if kind == "checkboxes" and isinstance(chosen, bool):
            return {"type": kind, "selected_options": control.element["options"] if chosen else []}
        wanted = chosen if isinstance(chosen, list | tuple) else [chosen]
        found = [await self._one(person, where, control, one) for one in wanted]
        if kind == "checkboxes" or kind.startswith("multi_"):
            return {"type": kind, f"{_selected(kind)}s": found}
        return {"type": kind, _selected(kind): found[0]}

    def _files(self, person: Person, control: Control, chosen: Sequence[FileToHandOver]) -> list[Json]:
        """Hand files over, as a form tells of them. NotOnScreen for what Slack's own client does not take."""
        if len(chosen) > control.element.get("max_files", 10):
            raise NotOnScreen(f"{name_of(control)!r} takes at most {control.element['max_files']} files")
        taken = []
        for each in chosen:
            name, content = each if isinstance(each, tuple) else (Path(each).name, _read(Path(each)))
            kinds = control.element.get("filetypes")
            if kinds and name.rpartition(".")[2].lower() not in kinds:
                raise NotOnScreen(f"{name_of(control)!r} takes files that end in {', '.join(kinds)}, not {name!r}")
            if len(content) > _LARGEST_FILE:
                raise NotOnScreen(f"{name!r} is larger than 10 MB")
            taken.append(self._payloads.file(self._state.hand_over(name, content), person.id, self._state.next_ts()))
        return taken

    async def _one(self, person: Person, where: Where, control: Control, wanted: Any) -> Json | str:
        """One choice: an option (given as it is, or by its text), a user's id or a channel's."""
        if isinstance(wanted, dict):
            return wanted
        if control.type.endswith("users_select"):
            found = self._state.person(wanted)
            if found.deleted:
                raise NotOnScreen(f"{found.name} is deactivated and not offered in {name_of(control)!r}")
            return found.id
        if control.type.endswith(("conversations_select", "channels_select")):
            channel = self._state.channel(wanted)
            if not is_offered(person, control.element, channel):
                raise NotOnScreen(f"#{channel.name} is not offered to {person.name} in {name_of(control)!r}")
            return channel.id
        if control.type.endswith("external_select"):
            return pick_option(await self._search(person, where, control, wanted), wanted)
        return pick_option(all_options(control.element), wanted)

    # Forms.

    async def submit(self, person: Person, view: View, values: Mapping[str, Any]) -> Delivery:
        """Fill a form in and press its submit button. Slack itself holds back a form that is not complete."""
        if not view.words("submit"):
            raise NotOnScreen(f"{view.words('title')!r} has no button to submit")
        await self.fill(person, view, values)
        view.errors = _incomplete(view)
        view.notice = ""
        if view.errors:
            self._state.touch()
            return self._courier.not_sent("interactive", "; ".join(view.errors.values()))
        delivery = await self._interact(self._payloads.view_submission(person, view))
        self.settle(delivery)
        return delivery

    async def close(self, person: Person, view: View, *, everything: bool) -> Delivery | None:
        """Close a modal, or with `everything` the whole stack. The app is told if the view asks for it."""
        clears = everything or bool(view.definition.get("clear_on_close"))
        closing = tuple(reversed(self._state.stacks[person.id])) if clears else (view,)
        told = [
            self._payloads.view_closed(person, one, cleared=clears)
            for one in closing
            if one.definition.get("notify_on_close")
        ]
        for one in closing:
            self._state.close_modal(one)
        deliveries = [await self._interact(payload) for payload in told]
        return deliveries[0] if deliveries else None

    async def open_home(self, person: Person) -> View | None:
        """Open the bot's Home tab, and wait a moment for the app to draw it."""
        before = self._state.homes.get(person.id)
        seen = before.hash if before is not None else ""
        event: Json = {
            "type": "app_home_opened",
            "user": person.id,
            "channel": self._state.direct(person).id,
            "tab": "home",
        }
        if before is not None:
            event["view"] = self._payloads.view(before)
        if await self.event(event) is None:
            return before
        try:
            async with asyncio.timeout(_HOME_SECONDS):
                while (home := self._state.homes.get(person.id)) is None or home.hash == seen:
                    await self._state.changed()
        except TimeoutError:
            return before
        return home

    async def event(self, event: Json) -> Delivery | None:
        """Tell the app what happened. None if its manifest does not subscribe to this."""
        if event["type"] not in self._manifest.events:
            return None
        return await self._courier.event(self._payloads.event(event))

    # What comes of it.

    def settle(self, delivery: Delivery) -> None:
        """Show people what the app's answer to a delivery means for them."""
        try:
            match delivery.payload:
                case {"command": str(command), "user_id": str(user), "channel_id": str(channel)}:
                    self._settle_command(delivery, command, user, channel)
                case {"type": "view_submission", "view": {"id": str(view_id)}}:
                    self._settle_submission(delivery, view_id)
                case {"type": "block_suggestion"}:
                    self._settle_search(delivery)
                case {"type": "block_actions", "user": {"id": str(user)}}:
                    self._settle_action(delivery, user)
        except SlackError as error:
            delivery.ack = Ack(AckStatus.INVALID, delivery.ack.body, f"{error.code} {error.extra or ''}".strip())

    def _settle_command(self, delivery: Delivery, command: str, user: str, channel_id: str) -> None:
        person, channel = self._state.people.get(user), self._state.channels.get(channel_id)
        if person is None or channel is None:
            return  # a forged payload: nobody is waiting for the answer
        if delivery.ack.status is not AckStatus.OK:
            error = "operation_timeout" if delivery.ack.status is AckStatus.TIMEOUT else "dispatch_failed"
            self._slackbot(person, channel, f'{command} failed with the error "{error}"')
        elif delivery.ack.body is not None:
            typed = f"{command} {delivery.payload.get('text', '')}".strip()
            answer = ResponseUrl(user, channel_id, None, typed, expires=0.0)
            try:
                respond(self._state, answer, delivery.ack.body, self._refused)
            except SlackError:
                self._slackbot(person, channel, f'{command} failed with the error "invalid_command_response"')
                raise

    def _settle_action(self, delivery: Delivery, user: str) -> None:
        person = self._state.people.get(user)
        if person is None or delivery.ack.status is AckStatus.OK:
            return
        container = delivery.payload.get("container", {})
        view = self._state.view(container.get("view_id", ""))
        channel = self._state.channels.get(container.get("channel_id", ""))
        if view is not None:
            view.notice = TROUBLE
            self._state.touch()
        elif channel is not None:
            self._slackbot(person, channel, f"This app could not be reached: {delivery.ack.reason}.")

    def _settle_search(self, delivery: Delivery) -> None:
        if delivery.ack.status is AckStatus.OK:
            problems = check_options(delivery.ack.body or {})
            if problems:
                raise SlackError("invalid_options", problems=[str(problem) for problem in problems])

    def _settle_submission(self, delivery: Delivery, view_id: str) -> None:
        view = self._state.view(view_id)
        if view is None:
            return  # closed meanwhile, or forged
        view.notice = TROUBLE
        self._state.touch()
        if delivery.ack.status is AckStatus.OK:
            self._apply(view, delivery.ack.body or {})
            view.notice = ""

    def _apply(self, view: View, answer: Json) -> None:
        """Do with a form what the app said. SlackError if that makes no sense."""
        person = self._state.people[view.person]
        match answer.get("response_action"):
            case None:
                self._state.close_modal(view)
            case "clear":
                self._state.clear_modals(person)
            case "errors":
                view.errors = _field_errors(view, answer.get("errors"))
            case "update":
                self._state.redefine(view, view_definition(answer.get("view"), Surface.MODAL, self._refused))
            case "push":
                definition = view_definition(answer.get("view"), Surface.MODAL, self._refused)
                self._state.open_modal(person, definition, on_top=True)
            case other:
                raise SlackError("invalid_response_action", response_action=other)


def _selected(kind: str) -> str:
    thing = kind.removeprefix("multi_").removesuffix("_select")
    return f"selected_{thing[:-1]}" if thing in ("users", "channels", "conversations") else "selected_option"


def _field_errors(view: View, errors: Any) -> dict[str, str]:
    """Errors for a form's fields. Slack accepts them for input blocks only, and at least one."""
    there = input_block_ids(view.blocks)
    if not isinstance(errors, dict) or not errors or not set(errors) <= there:
        raise SlackError("invalid_errors", errors=errors, input_blocks=sorted(there))
    return {block_id: str(sentence) for block_id, sentence in errors.items()}


def _incomplete(view: View) -> dict[str, str]:
    """What Slack's own client finds missing or wrong before it sends a form."""
    wrong = {}
    for control in controls(view.blocks):
        if not control.is_input:
            continue
        value = view.values[control.block_id][control.action_id]
        if is_empty(value):
            if not control.block.get("optional"):
                wrong[control.block_id] = "Please complete this required field."
        elif control.type in TEXT_INPUTS:
            sentence = _wrong_text(control.element, value["value"])
            if sentence:
                wrong[control.block_id] = sentence
        elif control.type == "datepicker" and not _is_date(value["selected_date"]):
            wrong[control.block_id] = "Please enter a valid date."
    return wrong


def _wrong_text(element: Json, text: str) -> str:
    if len(text) < element.get("min_length", 0):
        return f"Please lengthen this to at least {element['min_length']} characters."
    if len(text) > element.get("max_length", 3000):
        return f"Please shorten this to at most {element.get('max_length', 3000)} characters."
    patterns = {
        "email_text_input": (r"[^@\s]+@[^@\s]+\.[^@\s]+", "Please enter a valid email address."),
        "url_text_input": (r"https?://\S+", "Please enter a valid URL."),
        "number_input": (
            r"-?\d+(\.\d+)?" if element.get("is_decimal_allowed") else r"-?\d+",
            "Please enter a valid number.",
        ),
    }
    pattern, sentence = patterns.get(element["type"], (None, ""))
    if pattern is not None and not re.fullmatch(pattern, text):
        return sentence
    if element["type"] == "number_input":
        too_low = "min_value" in element and float(text) < float(element["min_value"])
        too_high = "max_value" in element and float(text) > float(element["max_value"])
        if too_low or too_high:
            return "Please enter a number in range."
    return ""


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise NotOnScreen(f"there is no file {str(path)!r} to hand over")
    return path.read_bytes()


def _is_date(text: str) -> bool:
    try:
        datetime.strptime(text, "%Y-%m-%d").astimezone()
    except ValueError:
        return False
    return True
