"""Give a person a licence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from bot.actions._action import Action, Label
from bot.actions._licensing import PERMISSIONS, ROLES, change_licenses, how_held, licenses
from bot.directory import License, find_license
from bot.errors import BadInput, NotPossible
from bot.model import Change, Expect, Identity, Person, Plan, TargetKind, Undo
from bot.ports import Reader


@dataclass(frozen=True)
class Inputs:
    license: Annotated[str, Label("Licence", "Its name, part number or id.", search=TargetKind.LICENSE)]
    without: Annotated[str, Label("Without", "Services to leave off, with commas, such as TEAMS1. Usually empty.")] = ""


async def plan(reader: Reader, person: Person, inputs: Inputs, identity: Identity) -> Plan:
    """Assign the product directly, if there is a unit of it and the person's country is known."""
    product = await find_license(reader, inputs.license)
    left_off = _services(product, inputs.without)
    held = await how_held(reader, person, product)
    if held.directly or held.groups:
        how = "" if held.directly else " through a group"
        return Plan(changes=(), calls=(), notes=(f"{person.name} already has {product.name}{how}.",))
    if person.usage_location is None:
        raise NotPossible(
            f"{person.name} has no usage location, without which Microsoft gives out no licence. Set it in the "
            "Microsoft 365 admin center (Users, the person, Manage product licences), then try again."
        )
    if not product.free:
        raise NotPossible(
            f"All {product.total} licences of {product.name} are in use. Free one with `/m365 remove-license`, or ask "
            "whoever buys them for more."
        )
    return Plan(
        changes=(
            Change(f"licence {product.name}", "not assigned", f"assigned{_but(left_off)}"),
            Change(f"free {product.name} licences", str(product.free), str(product.free - 1)),
        ),
        calls=(
            change_licenses(
                person,
                add=[{"skuId": product.sku_id, "disabledPlans": left_off}],
                remove=[],
                advice="It may clash with a licence the person has already: look under Users, Manage product licences, "
                "in the Microsoft 365 admin center.",
            ),
        ),
        read_back=licenses(person, product, expect=Expect.CONTAINS),
        undo=Undo("remove-license", {"license": product.sku_id}),
    )


def _services(product: License, typed: str) -> list[str]:
    """The ids of the services of *product* that were typed by name or id."""
    known = {key.lower(): id_ for id_, name in product.services for key in (id_, name)}
    wanted = {each.strip().lower() for each in typed.split(",")} - {""}
    if unknown := wanted - known.keys():
        names = ", ".join(sorted(name for _, name in product.services)[:20])
        raise BadInput(f"{product.name} has no service `{min(unknown)}`. It has: {names}.", field="without")
    return sorted({known[each] for each in wanted})


def _but(left_off: list[str]) -> str:
    return f", without {len(left_off)} of its services" if left_off else ""


ACTION = Action(
    name="assign-license",
    title="Assign a licence",
    phrase="assign a licence to {target}",
    working="Assigning a licence to {target}",
    done="{target} was given a licence",
    permissions=PERMISSIONS,
    roles=ROLES,
    inputs=Inputs,
    example=Inputs(license="Office 365 E3"),
    plan=plan,
)
