"""Let an operator go on who was suspended, with the grants that have not ended meanwhile."""

from __future__ import annotations

from bot.actions._action import Action, NoInputs
from bot.actions._rights import address_of, may, must_be_one_of_us, read_person, the_person
from bot.model import Call, Change, Expect, Identity, Plan, ReadBack, Target, TargetKind
from bot.ports import Reader


async def plan(reader: Reader, target: Target, inputs: NoInputs, identity: Identity) -> Plan:
    """What they hold counts again. Whoever is still gone would be suspended again at the next look."""
    person = await read_person(reader, target)
    if not person["suspended"]:
        return Plan(changes=(), calls=(), notes=(f"{target.name} is not suspended.",))
    await must_be_one_of_us(reader, target)
    for role in dict.fromkeys(grant["role"] for grant in person["grants"]):
        await may(reader, "grant", role=role)
    restored = ReadBack(address_of(target), "suspended", Expect.EQUALS, value=False, lags=False)
    return Plan(
        changes=(
            Change("access", "suspended", "as it was granted"),
            *(Change("counts again", None, grant["words"]) for grant in person["grants"]),
        ),
        calls=(Call("PUT", address_of(target, "standing"), {}, says="Giving access back", seen=restored),),
        read_back=restored,
        notes=() if person["grants"] else (f"{target.name} holds no role.",),
        sensitive=person["decides_on_power"],
    )


ACTION = Action(
    name="restore-operator",
    title="Restore an operator",
    phrase="restore the access of {target}",
    working="Restoring the access of {target}",
    done="The access of {target} was restored",
    permissions=(),
    about=TargetKind.OPERATOR,
    find=the_person,
    approval=True,
    held_as="/m365-roles restore",
    stands_for="@olive",
    plan=plan,
)
