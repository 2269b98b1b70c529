"""Give up the new password, or certificate, of a rotation that was not finished, and keep the one in force."""

from __future__ import annotations

from bot.actions._action import Action, NoInputs
from bot.actions._own import the_tenant
from bot.actions._rotation import DESK, rotation_now
from bot.model import Call, Change, Expect, Identity, Plan, ReadBack, Target, TargetKind
from bot.ports import Reader


async def plan(reader: Reader, target: Target, inputs: NoInputs, identity: Identity) -> Plan:
    """Whether the new one is in force already only a sign-in tells: then it is kept, and the rotation finished."""
    now = await rotation_now(reader)
    what = now["what"]
    if not now["waits"]:
        return Plan(changes=(), calls=(), notes=(f"No new {what} waits, so there is nothing to take back.",))
    gone = ReadBack(DESK, "waits", Expect.EQUALS, False, lags=False)
    return Plan(
        changes=(
            Change(f"new {what}", "waits in Key Vault", "is never used"),
            Change(f"{what} of {now['account']}", None, f"stays as it is, {now['from']}"),
        ),
        calls=(Call("PUT", (*DESK, "back"), {}, seen=gone),),
        read_back=gone,
        notes=(f"If the new {what} is in force already, it cannot be taken back: then the rotation is finished.",),
    )


ACTION = Action(
    name="rotate-back",
    title="Roll the rotation back",
    phrase="give up the new credential of {target}",
    working="Giving up the new credential of {target}",
    done="The new credential of {target} was given up; the one in force stays",
    permissions=(),
    about=TargetKind.TENANT,
    find=the_tenant,
    held_as="/m365-rotate back",
    stands_for="",
    plan=plan,
)
