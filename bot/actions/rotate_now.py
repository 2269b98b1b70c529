"""Change the password, or the certificate, that Latchkey signs in with, now and not by schedule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bot.actions._action import Action, NoInputs
from bot.actions._own import the_tenant
from bot.actions._rotation import DESK, go_on, rotation_now
from bot.actions._service_account import SESSION
from bot.model import Change, Identity, Plan, Point, Target, TargetKind
from bot.ports import Reader


async def plan(reader: Reader, target: Target, inputs: NoInputs, identity: Identity) -> Plan:
    """One step for each thing that can fail by itself. One that stopped earlier is finished, with what it stored."""
    now = await rotation_now(reader)
    what, waits = now["what"], now["waits"]
    calls = (
        go_on(Point.CHECKED, f"Checking which {what} signs in"),
        go_on(Point.NOTED, f"Storing a new {what} in Key Vault"),
        go_on(Point.CHANGED, "Putting it in force at Microsoft"),
        go_on(Point.PROVEN, "Proving it by signing in, twice"),
        go_on(Point.WRITTEN, "Making it the current one"),
        go_on(Point.RELEASED, "Renewing the management session"),
    )
    new = "the new one that waits already" if waits else "a new one, which is stored before it is set"
    in_use = (await reader.get(*SESSION))["acting"]
    return Plan(
        changes=(Change(f"{what} of {now['account']}", now["from"], new),),
        calls=calls,
        read_back=calls[-1].seen,
        approval=_IN_USE if in_use else "",
    )


async def afterwards(reader: Reader, done: Plan) -> Sequence[str]:
    now = await reader.get(*DESK)
    return list(now["told"])


_IN_USE: Final = "The management session is on, and is signed in anew by this; what is under way in it goes on."

ACTION = Action(
    name="rotate-now",
    title="Rotate now",
    phrase="rotate the credential {target} signs in with",
    working="Rotating the credential {target} signs in with",
    done="The credential {target} signs in with was rotated",
    permissions=(),
    about=TargetKind.TENANT,
    find=the_tenant,
    held_as="/m365-rotate now",
    stands_for="",
    afterwards=afterwards,
    plan=plan,
)
