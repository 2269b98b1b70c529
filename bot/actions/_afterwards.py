"""What the card of a set-up, or of a switch of the mode, ends with: what is true now, and what is left to do."""

from __future__ import annotations

from typing import Final

from bot.actions._own import OWN, settings_now
from bot.actions._service_account import DESK
from bot.model import Plan
from bot.ports import Reader

_CONSENT: Final = (
    "{upn} signed in for this, and Latchkey keeps nothing of that account. What it consented to, Microsoft remembers: "
    "remove it in the Microsoft Entra admin center under Enterprise apps, the application people sign in to Latchkey "
    "with, Permissions, User consent."
)


async def may_do(reader: Reader, done: Plan) -> list[str]:
    """What the identity that was chosen may do now, and what ought to be protected from it."""
    # Roles that were assigned a moment ago may not show yet.
    given = [call.body["roleDefinitionId"] for call in done.calls if call.method == "POST" and _is_role(call.path)]
    able = await reader.get(*DESK, "able", query={"roles": ",".join(given)})
    now = await settings_now(reader)
    lines = [f"{now['identity_name']} can do now: {', '.join(able['able']) or 'nothing yet'}."]
    if able["unable"]:
        lines.append(f"It cannot do: {'; '.join(able['unable'])}.")
    group = "the group whose members Latchkey never touches"
    named = f"Put into {group}" if now["never_touch_group"] else f"Name {group} (`latchkey protect`) and put into it"
    lines.append(f"{named}: your emergency accounts, and the people nobody should reset by way of a help desk.")
    return lines


async def consent(reader: Reader) -> list[str]:
    """How to remove what the administrator who signed in for it consented to."""
    upn = (await reader.get(OWN, "signed-in"))["upn"]
    return [_CONSENT.format(upn=upn)] if upn else []


def _is_role(path: tuple[str, ...]) -> bool:
    return path == ("roleManagement", "directory", "roleAssignments")
