"""Keep a person from signing in."""

from __future__ import annotations

from bot.actions._action import Action, NoInputs
from bot.actions._sign_in import PERMISSIONS, ROLES, plan_sign_in
from bot.model import Identity, Person, Plan
from bot.ports import Reader


async def plan(reader: Reader, person: Person, inputs: NoInputs, identity: Identity) -> Plan:
    """Disable the account."""
    return plan_sign_in(
        person,
        enabled=False,
        undo="unblock-sign-in",
        notes=("Where they are signed in already, it can take up to an hour. `/m365 revoke-sessions` is quicker.",),
    )


ACTION = Action(
    name="block-sign-in",
    title="Block a person's sign-in",
    phrase="block the sign-in of {target}",
    working="Blocking the sign-in of {target}",
    done="Sign-in of {target} was blocked",
    permissions=PERMISSIONS,
    roles=ROLES,
    plan=plan,
)
