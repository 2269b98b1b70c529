"""Set a new password of Latchkey's account by an administrator's sign-in, when none that is stored signs in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from bot.actions._action import Action, NoInputs
from bot.actions._afterwards import consent
from bot.actions._own import settings_now, the_tenant
from bot.actions._rotation import finish
from bot.actions._service_account import SESSION, Found, Steps, chosen, reset
from bot.errors import NotPossible
from bot.model import Call, Change, Expect, Identity, IdentityKind, Mode, Plan, ReadBack, Target, TargetKind
from bot.ports import Reader


async def plan(reader: Reader, target: Target, inputs: NoInputs, identity: Identity) -> Plan:
    """A password that waits in Key Vault already, because a rotation or an earlier recovery stopped, is used: it may be
    in force."""
    now = await settings_now(reader)
    account = await _account(reader, now)
    on = ReadBack(SESSION, "state", Expect.EQUALS, "on", lags=False)
    session = Steps(
        (Change("management session", None, "opened with it"),),
        (
            finish("Making that password the current one"),
            Call("PUT", (*SESSION, "on"), {}, says="Opening the management session", seen=on),
        ),
        (_BETTER,),
    )
    steps = reset(account) + session
    return Plan(changes=steps.changes, calls=steps.calls, read_back=steps.calls[-1].seen, notes=steps.notes)


async def _account(reader: Reader, now: Mapping[str, Any]) -> Found:
    """The account that the settings name. Raises `NotPossible` where there is none to recover."""
    name = now["identity_name"]
    if now["mode"] != Mode.ADVANCED:
        instead = f"`/m365-mode advanced` goes back to {name}." if name else "`/m365-mode advanced` makes one."
        raise NotPossible(f"Latchkey works with no account of its own at the moment. {instead}")
    match now["identity_kind"]:
        case IdentityKind.MANAGED_IDENTITY:
            raise NotPossible(
                f"There is nothing to recover: Azure itself looks after what {name} signs in with. If its sign-in "
                "fails, look at the machine's page in the Azure portal, under Identity."
            )
        case IdentityKind.APPLICATION:
            raise NotPossible(_CERTIFICATE.format(name=name))
    found = await chosen(reader, now)
    if found is None:
        raise NotPossible(
            f"There is no account {name} any more. Microsoft can restore it for 30 days after it was deleted: in the "
            "Microsoft Entra admin center under Users, Deleted users. Then try again. Or set up another one: "
            "`/m365-mode set-up`."
        )
    return found


async def afterwards(reader: Reader, done: Plan) -> Sequence[str]:
    now, session = await settings_now(reader), await reader.get(*SESSION)
    until = f" until {session['until']}" if session["until"] else ""
    return [
        f"{now['identity_name']} signs in with the new password, and the management session is on{until}.",
        *await consent(reader),
    ]


_BETTER: Final = (
    "As long as a password that is stored signs in, `/m365-rotate now` changes it without an administrator: "
    "`/m365-rotate` tells whether one does."
)
_CERTIFICATE: Final = (
    "{name} is an application and signs in with a certificate, which has no password to recover. Make a new "
    "certificate, put it into Key Vault with its private key, and add it to the application in the Microsoft Entra "
    "admin center under App registrations, Certificates & secrets. `latchkey doctor` tells whether it signs in."
)

ACTION = Action(
    name="recover-password",
    title="Recover the password",
    phrase="set a new password of the account {target} works with, by an administrator's sign-in",
    working="Setting a new password of the account {target} works with",
    done="The account {target} works with has a new password, and signs in with it",
    permissions=(),
    about=TargetKind.TENANT,
    find=the_tenant,
    approval=True,
    sensitive=True,
    held_as="/m365-rotate recover",
    stands_for="",
    afterwards=afterwards,
    plan=plan,
)
