"""Let a person sign in again."""

from __future__ import annotations

from bot.actions._action import Action, NoInputs
from bot.actions._sign_in import PERMISSIONS, ROLES, plan_sign_in
from bot.model import Identity, Person, Plan
from bot.ports import Reader


async def plan(reader: Reader, person: Person, inputs: NoInputs, identity: Identity) -> Plan:
    """Enable the account."""
    return plan_sign_in(person, enabled=True, undo="block-sign-in")


ACTION = Action(
    name="unblock-sign-in",
    title="Unblock a person's sign-in",
    phrase="unblock the sign-in of {target}",
    working="Unblocking the sign-in of {target}",
    done="Sign-in of {target} was unblocked",
    permissions=PERMISSIONS,
    roles=ROLES,
    plan=plan,
)
