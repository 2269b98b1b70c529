"""Resetting a password: in the cloud, through writeback, and where it cannot be done here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bot.actions._action import NoInputs
from bot.actions.reset_password import PASSWORD_METHOD, plan
from bot.directory_roles import AUTHENTICATION_ADMINISTRATOR, USER_ADMINISTRATOR
from bot.errors import GraphUnavailable, NotPossible
from bot.model import Generated, Identity, Person, Plan, Repeat
from tests.tenant import ADELE, ADELE_ID, APPLICATION, SERVICE_ACCOUNT, contoso, refused

SYNCED = replace(ADELE, synced=True)
SETTINGS = "directory/onPremisesSynchronization"
FORBIDDEN = refused(403, "Authorization_RequestDenied")


async def planned(person: Person = ADELE, *, identity: Identity = SERVICE_ACCOUNT, writeback: Any = FORBIDDEN) -> Plan:
    tenant = contoso()
    tenant.answers[SETTINGS] = writeback
    return await plan(tenant, person, NoInputs(), identity)


async def test_a_cloud_account_gets_a_generated_password_that_has_to_be_changed() -> None:
    [call] = (await planned()).calls

    assert (call.method, call.path) == ("PATCH", ("users", ADELE_ID))
    assert call.body == {
        "passwordProfile": {"password": {"$generated": "password"}, "forceChangePasswordNextSignIn": True}
    }
    assert call.generates is Generated.PASSWORD
    assert call.repeat is Repeat.ONE_SHOT
    assert not call.poll


async def test_the_time_of_the_last_change_is_the_witness() -> None:
    read_back = (await planned()).read_back

    assert read_back is not None
    assert not read_back.holds({"lastPasswordChangeDateTime": ADELE.password_changed_at})
    assert read_back.holds({"lastPasswordChangeDateTime": "2026-03-03T09:00:01Z"})
    assert not read_back.holds({})


async def test_a_reset_cannot_be_undone() -> None:
    assert (await planned()).undo is None


async def test_it_is_said_that_the_sign_in_is_blocked_as_well() -> None:
    assert (await planned()).notes == ()
    assert "blocked" in (await planned(replace(ADELE, enabled=False))).notes[0]


@pytest.mark.parametrize(
    "writeback",
    [
        FORBIDDEN,
        refused(404, "Request_ResourceNotFound"),
        {"features": {"passwordWritebackEnabled": True}},
        {"value": [{"features": {"passwordWritebackEnabled": True}}]},
        {"value": []},
        {"features": {}},
    ],
    ids=["forbidden", "not there", "on", "on, in a list", "an empty list", "nothing said"],
)
async def test_a_synced_account_is_reset_through_writeback_unless_it_is_known_to_be_off(writeback: Any) -> None:
    made = await planned(SYNCED, writeback=writeback)
    [call] = made.calls

    assert call.method == "POST"
    assert call.path == ("users", ADELE_ID, "authentication", "methods", PASSWORD_METHOD, "resetPassword")
    assert call.body == {"newPassword": {"$generated": "password"}}
    assert call.poll
    assert call.repeat is Repeat.ONE_SHOT
    assert call.advice.startswith("Adele Vance's account comes from on-premises Active Directory. Reset it there: ")
    assert made.read_back is None, "the operation that is followed says how it ended"
    assert "written back" in made.notes[0]


@pytest.mark.parametrize(
    ("identity", "writeback", "why"),
    [
        (SERVICE_ACCOUNT, {"features": {"passwordWritebackEnabled": False}}, "writeback is off"),
        (APPLICATION, {"features": {"passwordWritebackEnabled": True}}, "signed-in service account"),
        (
            replace(SERVICE_ACCOUNT, roles=frozenset({USER_ADMINISTRATOR})),
            FORBIDDEN,
            "directory role Authentication Administrator",
        ),
    ],
)
async def test_without_writeback_the_operator_is_sent_to_active_directory(
    identity: Identity, writeback: Any, why: str
) -> None:
    with pytest.raises(NotPossible, match=why) as refusal:
        await planned(SYNCED, identity=identity, writeback=writeback)
    assert str(refusal.value).startswith(
        "Adele Vance's account comes from on-premises Active Directory. "
        "Reset it there: in Active Directory Users and Computers"
    )


async def test_an_authentication_administrator_may_write_a_password_back() -> None:
    identity = replace(SERVICE_ACCOUNT, roles=frozenset({AUTHENTICATION_ADMINISTRATOR}))

    assert (await planned(SYNCED, identity=identity)).calls


async def test_a_tenant_that_cannot_be_asked_is_not_taken_for_a_no() -> None:
    with pytest.raises(GraphUnavailable):
        await planned(SYNCED, writeback=GraphUnavailable("Try later."))
