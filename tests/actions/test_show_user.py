"""Showing what the tenant knows of a person."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from bot.actions._action import NoInputs
from bot.actions.show_user import answer
from tests.tenant import ADELE, ADELE_ID, contoso


async def test_a_card_shows_who_it_is_and_what_they_have() -> None:
    card = await answer(contoso(), replace(ADELE, last_sign_in=datetime(2026, 3, 2, 13, tzinfo=UTC)), NoInputs())

    assert card.title == "Adele Vance"
    assert dict(card.facts) == {
        "Sign-in name": "adele@contoso.com",
        "Department": "Sales",
        "Title": "Retail Manager",
        "Office": "Leeds",
        "Manager": "Miriam Graham",
        "Sign-in": "allowed",
        "Kind of account": "member",
        "Comes from": "Microsoft 365",
        "Last sign-in": "2026-03-02 13:00 UTC",
        "Password changed": "2026-01-05 08:00 UTC",
        "Licences": "Office 365 E3",
        "Groups": "Sales",
    }


async def test_what_is_missing_is_said_to_be() -> None:
    tenant = contoso()
    tenant.answers[f"users/{ADELE_ID}/licenseDetails"] = []
    tenant.answers[f"users/{ADELE_ID}/memberOf/microsoft.graph.group"] = []
    bare = replace(ADELE, manager=None, password_changed_at=None, enabled=False, guest=True, synced=True)

    facts = dict((await answer(tenant, bare, NoInputs())).facts)

    assert (facts["Manager"], facts["Password changed"], facts["Licences"], facts["Groups"]) == ("none",) * 4
    assert facts["Sign-in"] == "blocked"
    assert facts["Kind of account"] == "guest"
    assert facts["Comes from"] == "on-premises Active Directory"


async def test_many_groups_are_counted_and_unknown_products_go_by_their_number() -> None:
    tenant = contoso()
    groups = [{"displayName": f"Group {number:02}"} for number in range(25)]
    tenant.answers[f"users/{ADELE_ID}/memberOf/microsoft.graph.group"] = [*groups, {"displayName": None}]
    tenant.answers[f"users/{ADELE_ID}/licenseDetails"] = [{"skuPartNumber": "BRAND_NEW"}]

    facts = dict((await answer(tenant, ADELE, NoInputs())).facts)

    assert facts["Groups"].startswith("a group that cannot be read, Group 00, Group 01")
    assert facts["Groups"].endswith("Group 18 and 6 more")
    assert facts["Licences"] == "BRAND_NEW"
