"""Show what the tenant knows of a person."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from bot.actions._action import Action, Answer, NoInputs
from bot.directory import PRODUCTS, together
from bot.model import Person
from bot.ports import Reader

_MOST_GROUPS: Final = 20


async def answer(reader: Reader, person: Person, inputs: NoInputs) -> Answer:
    """The card of a person: who it is, whether they can sign in, what they have."""
    groups, licenses = await together(
        reader.collect(
            "users", person.id, "memberOf", "microsoft.graph.group", query={"$select": "displayName", "$top": "999"}
        ),
        reader.collect("users", person.id, "licenseDetails", query={"$select": "skuPartNumber"}),
    )
    products = [PRODUCTS.get(each["skuPartNumber"].upper(), each["skuPartNumber"]) for each in licenses]
    facts = (
        ("Sign-in name", person.upn),
        ("Department", person.department),
        ("Title", person.title),
        ("Office", person.office),
        ("Manager", person.manager),
        ("Sign-in", "allowed" if person.enabled else "blocked"),
        ("Kind of account", "guest" if person.guest else "member"),
        ("Comes from", "on-premises Active Directory" if person.synced else "Microsoft 365"),
        ("Last sign-in", f"{person.last_sign_in:%Y-%m-%d %H:%M} UTC" if person.last_sign_in else None),
        ("Password changed", _moment(person.password_changed_at)),
        ("Licences", ", ".join(sorted(products))),
        ("Groups", _listed([each.get("displayName") or "a group that cannot be read" for each in groups])),
    )
    return Answer(title=person.name, facts=tuple((name, value or "none") for name, value in facts))


def _moment(when: str | None) -> str | None:
    return f"{datetime.fromisoformat(when):%Y-%m-%d %H:%M} UTC" if when else None


def _listed(names: list[str]) -> str:
    names.sort(key=str.casefold)
    more = len(names) - _MOST_GROUPS
    return ", ".join(names[:_MOST_GROUPS]) + (f" and {more} more" if more > 0 else "")


ACTION = Action(
    name="show-user",
    title="Show a person",
    phrase="look up {target}",
    working="Looking up {target}",
    done="{target} was looked up",
    permissions=("User.Read.All", "GroupMember.Read.All"),
    answer=answer,
)
