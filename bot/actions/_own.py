"""What the actions have in common that change Latchkey itself."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from bot.model import JSON, Call, Expect, ReadBack, SlackUser, Target, TargetKind
from bot.ports import Reader
from bot.rotation_schedule import clock

OWN: Final = "latchkey"
"""What an address begins with that is Latchkey's own (`bot/office/`)."""


BY_NAME: Final = "$id of "
"""What a part of an address begins with that stands for an id which is not known when a call is planned: that of the
thing with this display name, among those before it. In a body that is `{"$id_of": [*address, display name]}`."""


class Switch(StrEnum):
    """A switch of the settings, as it is asked for."""

    AS_IT_IS = "as it is"
    ON = "on"
    OFF = "off"


SETTINGS: Final[Mapping[str, str]] = {
    "mode": "mode",
    "auto_enable": "the session opens by itself",
    "identity_name": "service identity",
    "work_channels": "work channels",
    "reason_required": "a reason is demanded",
    "verification_required": "how the caller was verified is demanded",
    "idle_minutes": "minutes after which an unused session ends",
    "absolute_minutes": "minutes after which a session ends anyway",
    "retention_days": "days for which the audit trail is kept",
    "rotation_days": "days after which the password is changed",
    "rotation_weekdays": "days of the week on which it is changed",
    "rotation_from": "when the hours begin in which it is changed",
    "rotation_until": "when the hours end in which it is changed",
    "never_touch_group": "the group of accounts that are never touched",
    "ask_first_group": "the group of accounts to ask about first",
}
"""What the settings are called; those that are missing here say the same as others."""


_TIMES_OF_DAY: Final = frozenset({"rotation_from", "rotation_until"})


def shown(value: JSON, name: str = "") -> str:
    """A setting's value in words; *name* is that of a setting which is kept as something people would not write."""
    match value:
        case int() if name in _TIMES_OF_DAY:
            return clock(value)
        case bool():
            return "yes" if value else "no"
        case tuple() | list():
            return ", ".join(f"<#{channel}>" for channel in value) or "every internal channel Latchkey is in"
    return "none" if value is None else str(value)


async def the_tenant(reader: Reader, typed: str, asker: SlackUser) -> Target:
    """The target of what is about Latchkey as a whole."""
    return Target(TargetKind.TENANT, "tenant", "Latchkey")


async def settings_now(reader: Reader) -> dict[str, Any]:
    """The tenant's settings, by the names of `TenantSettings`."""
    return await reader.get(OWN, "settings")


def put_settings(now: Mapping[str, Any], changes: Mapping[str, JSON], says: str = "") -> Call:
    """The call that changes the settings from what they are now."""
    body = {"version": now["version"], "changes": dict(changes)}
    return Call("PUT", (OWN, "settings"), body, says=says, seen=settings_moved_on(now))


def set_settings(now: Mapping[str, Any], changes: Mapping[str, JSON], says: str) -> Call:
    """The call that changes these settings whatever becomes of the others meanwhile: a step of a longer plan. It is
    seen by the first of them."""
    body = {"was": {name: now[name] for name in changes}, "changes": dict(changes)}
    name, value = next(iter(changes.items()))
    seen = ReadBack((OWN, "settings"), name, Expect.EQUALS, value, lags=False)
    return Call("PUT", (OWN, "settings"), body, says=says, seen=seen)


def settings_moved_on(now: Mapping[str, Any]) -> ReadBack:
    """How to see that the settings are no longer what they were."""
    return ReadBack((OWN, "settings"), "version", Expect.DIFFERS, now["version"], lags=False)
