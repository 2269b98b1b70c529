"""Give a person a pass to sign in with for a while, to set up their authentication methods again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from bot.actions._action import Action, Label
from bot.directory_roles import AUTHENTICATION_ADMINISTRATOR, PRIVILEGED_AUTHENTICATION_ADMINISTRATOR
from bot.model import Call, Change, Expect, Identity, Person, Plan, ReadBack, Repeat
from bot.ports import Reader


@dataclass(frozen=True)
class Inputs:
    lifetime: Annotated[int, Label("Minutes it works", "10 to 43200 (30 days).", minimum=10, maximum=43200)] = 60
    once: Annotated[bool, Label("Works only once")] = True


async def plan(reader: Reader, person: Person, inputs: Inputs, identity: Identity) -> Plan:
    """Create a pass, whose value stands in Graph's answer and nowhere else. A person has at most one."""
    path = ("users", person.id, "authentication", "temporaryAccessPassMethods")
    present = await reader.collect(*path)
    times = "once" if inputs.once else "any number of times"
    return Plan(
        changes=(
            Change(
                "temporary access pass",
                "one that was given out before" if present else "none",
                f"a new one, for {inputs.lifetime} minutes, to be used {times}",
            ),
        ),
        calls=(
            Call(
                "POST",
                path,
                {"lifetimeInMinutes": inputs.lifetime, "isUsableOnce": inputs.once},
                repeat=Repeat.ONE_SHOT,
                reveals="temporaryAccessPass",
                advice="The tenant may allow other lifetimes only, or no passes for this person. Try `--lifetime 60` "
                "or ask a tenant admin to look at Authentication methods, Temporary Access Pass, in the Microsoft "
                "Entra admin center.",
            ),
        ),
        read_back=ReadBack(
            path=path,
            pointer="value/createdDateTime",
            expect=Expect.DIFFERS,
            value=present[0].get("createdDateTime") if present else None,
        ),
        notes=("The pass they have now stops working.",) if present else (),
    )


ACTION = Action(
    name="temporary-access-pass",
    title="Give a temporary access pass",
    phrase="give {target} a temporary access pass",
    working="Giving {target} a temporary access pass",
    done="{target} was given a temporary access pass",
    permissions=("UserAuthMethod-TAP.ReadWrite.All",),
    roles=(AUTHENTICATION_ADMINISTRATOR, PRIVILEGED_AUTHENTICATION_ADMINISTRATOR),
    inputs=Inputs,
    example=Inputs(lifetime=60, once=True),
    verify_caller=True,
    confirm=True,
    not_for_guests="Guests sign in with their own organisation: its help desk can give them a pass.",
    plan=plan,
)
