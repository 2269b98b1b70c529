"""Go through a rotation from end to end with a throw-away secret, so that nothing is changed at Microsoft."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from bot.actions._action import Action, Label
from bot.actions._own import the_tenant
from bot.actions._rotation import DESK, rotation_now
from bot.model import Call, Change, Expect, Identity, Plan, ReadBack, Target, TargetKind
from bot.ports import Reader


@dataclass(frozen=True)
class Inputs:
    fail: Annotated[bool, Label("Let it fail, so that everybody has seen the alert")] = False


async def plan(reader: Reader, target: Target, inputs: Inputs, identity: Identity) -> Plan:
    now = await rotation_now(reader)
    seen = ReadBack(DESK, "drilled", Expect.EQUALS, True, lags=False)
    alert = (Change("alert", None, "one that is marked as a drill"),) if inputs.fail else ()
    return Plan(
        changes=(
            Change("throw-away secret in Key Vault", None, f"made, rotated as the {now['what']} would be, disabled"),
            *alert,
        ),
        calls=(Call("PUT", (*DESK, "drill"), {"fail": inputs.fail}, seen=seen),),
        read_back=seen,
        notes=(_NOTHING,),
    )


async def afterwards(reader: Reader, done: Plan) -> Sequence[str]:
    return list((await reader.get(*DESK))["told"])


_NOTHING: Final = "This is a drill: nothing that is in force is touched, and nothing is changed at Microsoft."

ACTION = Action(
    name="rotate-drill",
    title="Run a rotation drill",
    phrase="run a drill of the rotation for {target}",
    working="Running a drill of the rotation for {target}",
    done="The drill of the rotation for {target} is over; nothing was changed",
    permissions=(),
    inputs=Inputs,
    example=Inputs(fail=True),
    about=TargetKind.TENANT,
    find=the_tenant,
    held_as="/m365-rotate drill",
    stands_for="",
    afterwards=afterwards,
    plan=plan,
)
