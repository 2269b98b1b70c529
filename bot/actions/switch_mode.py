"""Switch between Default mode, in which operators sign in themselves, and Advanced mode; or only auto-enable."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final

from bot.actions._action import Action, Label
from bot.actions._afterwards import consent, may_do
from bot.actions._own import Switch, set_settings, settings_now, the_tenant
from bot.actions._service_account import (
    SESSION,
    Fate,
    Steps,
    chosen,
    enabling,
    find_account,
    leave,
    mode_changes,
    new_name,
    set_up_account,
    take_back,
    to_default,
)
from bot.errors import BadInput
from bot.model import (
    JSON,
    Call,
    Change,
    Expect,
    Identity,
    Mode,
    Plan,
    ReadBack,
    Target,
    TargetKind,
    TenantSettings,
    Undo,
)
from bot.ports import Reader


class To(StrEnum):
    """The mode that is wished."""

    AS_IT_IS = "as it is"
    DEFAULT = "default"
    ADVANCED = "advanced"


@dataclass(frozen=True)
class Inputs:
    to: Annotated[
        To, Label("Mode", "Default: each operator signs in. Advanced: Latchkey has an account.", steers=True)
    ] = To.AS_IT_IS
    auto_enable: Annotated[Switch, Label("Sessions open by themselves", "In Advanced mode.")] = Switch.AS_IT_IS
    account: Annotated[Fate, Label("What becomes of the account")] = Fate.KEPT
    name: Annotated[str, Label("Name of the new account", "Empty: latchkey@ and your domain.")] = ""
    global_administrator: Annotated[bool, Label("Make the new account a Global Administrator")] = False


async def plan(reader: Reader, target: Target, inputs: Inputs, identity: Identity) -> Plan:
    """What is done: the account first, if there is none; then the mode; then the old session, and the new one. What is
    shown begins with the mode, which was asked for."""
    now = await settings_now(reader)
    if inputs.to == To.AS_IT_IS and inputs.auto_enable == Switch.AS_IT_IS:
        raise BadInput("Say which mode, such as `/m365-mode advanced`, or `--auto-enable on` or `off`.", field="to")
    auto = _auto_enable(now, inputs)
    if inputs.to == To.ADVANCED and now["mode"] != Mode.ADVANCED:
        return await _to_advanced(reader, now, inputs, auto)
    steps = Steps()
    if inputs.to == To.DEFAULT:
        steps = await _to_default(reader, now, inputs)
    if auto:
        steps += Steps(_auto_changes(now, auto), (set_settings(now, auto, "Saving the setting"),))
    if not steps.calls:
        return Plan(changes=(), calls=(), notes=(f"It is so already: {_described(now)}.",))
    return Plan(
        changes=steps.changes,
        calls=steps.calls,
        read_back=steps.calls[-1].seen,
        undo=_back(now, auto),
        notes=steps.notes,
    )


async def _to_advanced(reader: Reader, now: Mapping[str, Any], inputs: Inputs, auto: Mapping[str, JSON]) -> Plan:
    account, name, undo = await _account(reader, now, inputs)
    opens = ReadBack(SESSION, "state", Expect.EQUALS, "on", lags=False)
    # That it is being switched is forgotten by a restart, after which this step is taken again.
    turned_off = ReadBack(SESSION, "state", Expect.EQUALS, "switching", lags=False)
    mode = set_settings(now, {"mode": Mode.ADVANCED.value, **auto}, "Saving the mode")
    session = Steps(
        (Change("management session", None, f"the old one is turned off, a new one is opened with {name}"),),
        (
            mode,
            Call("PUT", (*SESSION, "switching"), {}, says="Turning the old session off", seen=turned_off),
            Call("PUT", (*SESSION, "on"), {}, says="Opening the new session", seen=opens),
        ),
    )
    steps = Steps((mode_changes(now, Mode.ADVANCED), *_auto_changes(now, auto))) + account + session
    return Plan(
        changes=steps.changes,
        calls=steps.calls,
        read_back=mode.seen,
        undo=undo or _back(now, auto),
        notes=steps.notes,
    )


async def _account(reader: Reader, now: Mapping[str, Any], inputs: Inputs) -> tuple[Steps, str, Undo | None]:
    """What has to be done so that there is an account to work with, its name, and what takes it away again."""
    found = await chosen(reader, now)
    if found is not None:
        if inputs.name and inputs.name.casefold() != found.name.casefold():
            raise BadInput(
                f"Latchkey has an account already: {found.name}. To work with another one, set that up first: "
                "`/m365-mode set-up`.",
                field="name",
            )
        described = f"{found.name}, there since {found.since}" if found.since else found.name
        return (Steps() if found.enabled else enabling(found)), described, None
    name = await new_name(reader, inputs.name.strip())
    there = await find_account(reader, name)
    steps = set_up_account(now, name, there, everything=inputs.global_administrator)
    return steps, name, take_back(steps, name, was_there=there is not None)


async def _to_default(reader: Reader, now: Mapping[str, Any], inputs: Inputs) -> Steps:
    steps = to_default(now) if now["mode"] != Mode.DEFAULT else Steps()
    if now["identity_name"] is not None and inputs.account != Fate.KEPT:
        steps += await leave(reader, now, now["identity_name"], await chosen(reader, now), inputs.account)
    return steps


def _auto_enable(now: Mapping[str, Any], inputs: Inputs) -> dict[str, JSON]:
    wished = inputs.auto_enable == Switch.ON
    if inputs.auto_enable == Switch.AS_IT_IS or wished == now["auto_enable"]:
        return {}
    return {"auto_enable": wished}


def _auto_changes(now: Mapping[str, Any], auto: Mapping[str, JSON]) -> tuple[Change, ...]:
    called = {True: "on", False: "off"}
    return tuple(Change("auto-enable", called[now[name]], called[value]) for name, value in auto.items())


def _back(now: Mapping[str, Any], auto: Mapping[str, JSON]) -> Undo | None:
    """What leads back to how it was. Not to a Latchkey that is not set up: nobody wants that back."""
    inputs: dict[str, JSON] = {}
    if now["mode"] != Mode.NONE:
        inputs["to"] = str(now["mode"])
    if auto:
        inputs["auto_enable"] = (Switch.ON if now["auto_enable"] else Switch.OFF).value
    return Undo("switch-mode", inputs) if inputs else None


def _described(now: Mapping[str, Any]) -> str:
    called = {Mode.NONE: "Latchkey is not set up", Mode.DEFAULT: "Default mode", Mode.ADVANCED: "Advanced mode"}
    return f"{called[Mode(now['mode'])]}, auto-enable {'on' if now['auto_enable'] else 'off'}"


def needless(inputs: Mapping[str, JSON], settings: TenantSettings) -> Collection[str]:
    """An account is described where one has to be made, and put away where one is left behind."""
    there = settings.identity_id is not None
    match inputs.get("to"):
        case To.ADVANCED:
            return {"account"} if not there else {"account", "name", "global_administrator"}
        case To.DEFAULT if there:
            return {"name", "global_administrator"}
    return {"account", "name", "global_administrator"}


async def afterwards(reader: Reader, done: Plan) -> Sequence[str]:
    now = await settings_now(reader)
    lines: list[str] = []
    if now["mode"] == Mode.ADVANCED and any(call.path == (*SESSION, "on") for call in done.calls):
        until = (await reader.get(*SESSION))["until"]
        lines += [f"Management session on until {until}."] if until else []
        lines += await may_do(reader, done)
    if now["mode"] == Mode.DEFAULT and any(change.what == "mode" for change in done.changes):
        lines.append(_SIGN_IN)
    return [*lines, *await consent(reader)]


_SIGN_IN: Final = (
    "From now on each operator signs in with an administrator account of their own: `/m365-session on` gives the link."
)

ACTION = Action(
    name="switch-mode",
    title="Switch the mode",
    phrase="change how management sessions of {target} work",
    working="Changing how management sessions of {target} work",
    done="The way management sessions of {target} work was changed",
    permissions=(),
    inputs=Inputs,
    example=Inputs(to=To.ADVANCED),
    about=TargetKind.TENANT,
    find=the_tenant,
    approval=True,
    sensitive=True,
    held_as="/m365-mode",
    stands_for="",
    afterwards=afterwards,
    needless=needless,
    plan=plan,
)
