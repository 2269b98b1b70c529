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
        changes=tuple(Change(SETTINGS[name], shown(now[name]), shown(value)) for name, value in wanted.items()),
        calls=(put_settings(now, wanted),),
        read_back=settings_moved_on(now),
        undo=Undo("change-settings", as_inputs({name: now[name] for name in wanted})),
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
    for name in ("idle_minutes", "absolute_minutes", "retention_days"):
        if number := getattr(inputs, name):
            wanted[name] = number
    return wanted


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
            case "idle_minutes" | "absolute_minutes" | "retention_days":
                inputs[name] = value
    return inputs


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
