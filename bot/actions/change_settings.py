"""Change what tenant admins decide about Latchkey, but for the mode."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from bot.actions._action import Action, Field, Label
from bot.actions._own import SETTINGS, Switch, put_settings, settings_moved_on, settings_now, shown, the_tenant
from bot.errors import BadInput
from bot.model import JSON, Change, Identity, Plan, Target, TargetKind, Undo
from bot.ports import Reader
from bot.rotation_schedule import clock, minute_of_day, weekdays

_CHANNEL: Final = re.compile(r"[CG][A-Z0-9]{6,20}")

SHORTEST_RETENTION: Final = 90
"""Days for which the audit trail is kept at least: nobody makes the past go away overnight."""


@dataclass(frozen=True)
class Inputs:
    work_channels: Annotated[
        str, Label("Work channels", "Where everybody reads what Latchkey does.", field=Field.CHANNELS, maximum=1300)
    ] = ""
    any_channel: Annotated[bool, Label("In every internal channel that Latchkey is in")] = False
    reason_required: Annotated[Switch, Label("A reason is demanded")] = Switch.AS_IT_IS
    verification_required: Annotated[Switch, Label("How the caller was verified is demanded")] = Switch.AS_IT_IS
    idle_minutes: Annotated[int, Label("Session ends unused after, minutes", minimum=0, maximum=480)] = 0
    absolute_minutes: Annotated[int, Label("Session ends anyway after, minutes", minimum=0, maximum=1440)] = 0
    retention_days: Annotated[int, Label("Audit trail is kept for, days", minimum=0, maximum=3660)] = 0
    rotation_days: Annotated[int, Label("Password is changed every, days", minimum=0, maximum=90)] = 0
    rotation_weekdays: Annotated[
        str, Label("Password is changed on", "Days of the week: tue-thu, or mon, wed.", maximum=60)
    ] = ""
    rotation_hours: Annotated[
        str, Label("Password is changed between", "In the tenant's time zone: 10:00-15:00.", maximum=20)
    ] = ""


async def plan(reader: Reader, target: Target, inputs: Inputs, identity: Identity) -> Plan:
    """Change what is given; what is left empty stays."""
    now = await settings_now(reader)
    wanted = {name: value for name, value in _wanted(inputs).items() if now[name] != value}
    if not wanted:
        return Plan(changes=(), calls=(), notes=("These are the settings as they are now.",))
    after = now | wanted
    if after["idle_minutes"] > after["absolute_minutes"]:
        raise BadInput(
            "A session cannot end unused later than it ends anyway. Give the first a smaller number.",
            field="idle_minutes",
        )
    if after["retention_days"] < SHORTEST_RETENTION:
        raise BadInput(f"The audit trail is kept for {SHORTEST_RETENTION} days at least.", field="retention_days")
    shorter = after["retention_days"] < now["retention_days"]
    return Plan(
        changes=tuple(
            Change(SETTINGS[name], shown(now[name], name), shown(value, name)) for name, value in wanted.items()
        ),
        calls=(put_settings(now, wanted),),
        read_back=settings_moved_on(now),
        undo=Undo("change-settings", as_inputs({name: now[name] for name in _together(wanted)})),
        notes=(_FOR_GOOD.format(after["retention_days"]),) if shorter else (),
    )


def _wanted(inputs: Inputs) -> dict[str, JSON]:
    """The settings that are asked for, by name."""
    wanted: dict[str, JSON] = {}
    if inputs.any_channel and inputs.work_channels:
        raise BadInput("Choose some channels or tick the box for every channel, not both.", field="work_channels")
    if inputs.any_channel or inputs.work_channels:
        wanted["work_channels"] = _channels(inputs.work_channels) if inputs.work_channels else ()
    for name in ("reason_required", "verification_required"):
        if (switch := getattr(inputs, name)) != Switch.AS_IT_IS:
            wanted[name] = switch == Switch.ON
    for name in ("idle_minutes", "absolute_minutes", "retention_days", "rotation_days"):
        if number := getattr(inputs, name):
            wanted[name] = number
    if days := inputs.rotation_weekdays:
        wanted["rotation_weekdays"] = _weekdays(days)
    if inputs.rotation_hours:
        wanted["rotation_from"], wanted["rotation_until"] = _hours(inputs.rotation_hours)
    return wanted


def _together(wanted: Mapping[str, JSON]) -> list[str]:
    """The settings that an undo of *wanted* asks for: beginning and end of the hours are one input."""
    hours = ("rotation_from", "rotation_until")
    return [*(name for name in wanted if name not in hours), *(hours if wanted.keys() & {*hours} else ())]


def _weekdays(typed: str) -> str:
    try:
        weekdays(typed)
    except BadInput as error:
        raise BadInput(str(error), field="rotation_weekdays") from error
    return ", ".join(part.strip().lower() for part in typed.split(","))


def _hours(typed: str) -> tuple[int, int]:
    """The minutes of the day at which the window begins and ends: of `10:00-15:00`, or `22 to 4`."""
    first, *rest = re.split(r"\s*(?:[-–—]|\bto\b|\buntil\b)\s*", typed.strip().lower())
    try:
        if len(rest) != 1:
            raise BadInput(_BETWEEN)
        begins, ends = minute_of_day(first), minute_of_day(rest[0])
    except BadInput as error:
        raise BadInput(_BETWEEN, field="rotation_hours") from error
    if 0 < ends - begins < _SHORTEST_WINDOW:
        raise BadInput("Give it an hour at least, so that it is not always at the same time.", field="rotation_hours")
    return begins, ends


def _channels(typed: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(_CHANNEL.findall(typed)))
    if not found:
        raise BadInput("Choose the channels from the list.", field="work_channels")
    return found


def as_inputs(settings: Mapping[str, Any]) -> dict[str, JSON]:
    """The inputs that ask for these settings; those that this action does not change are left out."""
    inputs: dict[str, JSON] = {}
    for name, value in settings.items():
        match name:
            case "work_channels":
                inputs |= {name: " ".join(value)} if value else {"any_channel": True}
            case "reason_required" | "verification_required":
                inputs[name] = Switch.ON.value if value else Switch.OFF.value
            case "idle_minutes" | "absolute_minutes" | "retention_days" | "rotation_days" | "rotation_weekdays":
                inputs[name] = value
    if "rotation_from" in settings:
        inputs["rotation_hours"] = f"{clock(settings['rotation_from'])}-{clock(settings['rotation_until'])}"
    return inputs


def begun_with(settings: Mapping[str, Any], asked: Mapping[str, JSON]) -> dict[str, JSON]:
    """The inputs of a form that begins with the settings as they are, but for what is *asked* for already."""
    now = as_inputs(settings)
    if asked.keys() & _CHANNELS:  # these exclude each other
        now = {name: value for name, value in now.items() if name not in _CHANNELS}
    return {**now, **asked}


_CHANNELS: Final = frozenset({"work_channels", "any_channel"})
_BETWEEN: Final = "Write between when and when, such as `10:00-15:00`."
_SHORTEST_WINDOW: Final = 60
_FOR_GOOD: Final = (
    "Rows of the audit trail that are older than {} days go tonight, for good. Export them before if they are needed."
)

ACTION = Action(
    name="change-settings",
    title="Change the settings",
    phrase="change the settings of {target}",
    working="Changing the settings of {target}",
    done="The settings of {target} were changed",
    permissions=(),
    inputs=Inputs,
    example=Inputs(idle_minutes=15),
    about=TargetKind.TENANT,
    find=the_tenant,
    approval=True,
    held_as="/m365-mode settings",
    stands_for="",
    plan=plan,
)
