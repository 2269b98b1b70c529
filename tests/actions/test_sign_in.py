"""Blocking and unblocking a person's sign-in: each is the other's undo."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.actions import block_sign_in, unblock_sign_in
from bot.actions._action import NoInputs
from bot.errors import NotPossible
from bot.model import Change, Person, Plan, Repeat, Undo
from tests.tenant import ADELE, ADELE_ID, SERVICE_ACCOUNT, contoso

BLOCKED = replace(ADELE, enabled=False)


async def block(person: Person) -> Plan:
    return await block_sign_in.plan(contoso(), person, NoInputs(), SERVICE_ACCOUNT)


async def unblock(person: Person) -> Plan:
    return await unblock_sign_in.plan(contoso(), person, NoInputs(), SERVICE_ACCOUNT)


async def test_blocking_disables_the_account() -> None:
    made = await block(ADELE)

    [call] = made.calls
    assert (call.method, call.path, call.body) == ("PATCH", ("users", ADELE_ID), {"accountEnabled": False})
    assert call.repeat is Repeat.SAFE
    assert made.changes == (Change("sign-in", "allowed", "blocked"),)
    assert made.undo == Undo("unblock-sign-in")
    assert made.read_back is not None
    assert made.read_back.holds({"accountEnabled": False})
    assert not made.read_back.holds({"accountEnabled": True})


async def test_unblocking_enables_it_again() -> None:
    made = await unblock(BLOCKED)

    assert made.calls[0].body == {"accountEnabled": True}
    assert made.undo == Undo("block-sign-in")


async def test_what_is_so_already_needs_no_call_and_offers_no_undo() -> None:
    blocked, unblocked = await block(BLOCKED), await unblock(ADELE)

    assert (blocked.calls, blocked.undo, blocked.notes) == ((), None, ("Sign-in of Adele Vance is already blocked.",))
    assert (unblocked.calls, unblocked.undo) == ((), None)


async def test_for_a_synced_account_active_directory_wins() -> None:
    synced = replace(ADELE, synced=True)

    with pytest.raises(NotPossible, match="Active Directory Users and Computers"):
        await block(synced)
    with pytest.raises(NotPossible, match="Active Directory Users and Computers"):
        await unblock(replace(synced, enabled=False))
