"""Take a licence away from a person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from bot.actions._action import Action, Label
from bot.actions._licensing import PERMISSIONS, ROLES, change_licenses, how_held, licenses
from bot.directory import find_license
from bot.errors import NotPossible
from bot.model import Change, Expect, Identity, Person, Plan, TargetKind, Undo
from bot.ports import Reader


@dataclass(frozen=True)
class Inputs:
    license: Annotated[str, Label("Licence", "Its name, part number or id.", search=TargetKind.LICENSE)]


async def plan(reader: Reader, person: Person, inputs: Inputs, identity: Identity) -> Plan:
    """Remove the product, if the person has it directly and not through a group."""
    product = await find_license(reader, inputs.license)
    held = await how_held(reader, person, product)
    if held.groups:
        raise NotPossible(
            f"{person.name} has {product.name} through a group ({held.groups[0]}), and loses it only by leaving that "
            "group. Type `/m365 remove-from-group` with the person and the group's id."
        )
    if not held.directly:
        return Plan(changes=(), calls=(), notes=(f"{person.name} does not have {product.name}.",))
    undo = {"license": product.sku_id}
    if held.left_off:
        undo["without"] = ",".join(held.left_off)
    return Plan(
        changes=(Change(f"licence {product.name}", "assigned", "removed"),),
        calls=(
            change_licenses(
                person,
                add=[],
                remove=[product.sku_id],
                advice="Another licence of the person may need it: look under Users, Manage product licences, in the "
                "Microsoft 365 admin center.",
            ),
        ),
        read_back=licenses(person, product, expect=Expect.LACKS),
        undo=Undo("assign-license", undo),
        notes=("What was kept with it (a mailbox, files) is deleted some time after, usually 30 days.",),
    )


ACTION = Action(
    name="remove-license",
    title="Remove a licence",
    phrase="remove a licence from {target}",
    working="Removing a licence from {target}",
    done="A licence of {target} was removed",
    permissions=PERMISSIONS,
    roles=ROLES,
    inputs=Inputs,
    example=Inputs(license="Office 365 E3"),
    plan=plan,
)
