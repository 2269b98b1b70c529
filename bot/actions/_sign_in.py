"""Whether a person can sign in: the one property that blocking and unblocking set."""

from __future__ import annotations

from typing import Final

from bot.directory_roles import (
    AUTHENTICATION_ADMINISTRATOR,
    PRIVILEGED_AUTHENTICATION_ADMINISTRATOR,
    USER_ADMINISTRATOR,
)
from bot.errors import NotPossible
from bot.model import Call, Change, Expect, Person, Plan, ReadBack, Undo

PERMISSIONS: Final = ("User.EnableDisableAccount.All",)
ROLES: Final = (AUTHENTICATION_ADMINISTRATOR, USER_ADMINISTRATOR, PRIVILEGED_AUTHENTICATION_ADMINISTRATOR)

_WORDS: Final = {True: "allowed", False: "blocked"}


def plan_sign_in(person: Person, *, enabled: bool, undo: str, notes: tuple[str, ...] = ()) -> Plan:
    """Set `accountEnabled`; *undo* is the action that sets it back."""
    if person.synced:
        raise NotPossible(
            f"{person.name}'s account comes from on-premises Active Directory, which decides whether it is enabled: "
            "the next synchronisation would undo a change made here. Change it there, in Active Directory Users and "
            "Computers."
        )
    if person.enabled is enabled:
        return Plan(changes=(), calls=(), notes=(f"Sign-in of {person.name} is already {_WORDS[enabled]}.",))
    return Plan(
        changes=(Change("sign-in", _WORDS[person.enabled], _WORDS[enabled]),),
        calls=(Call("PATCH", ("users", person.id), {"accountEnabled": enabled}),),
        read_back=ReadBack(
            path=("users", person.id),
            query=(("$select", "accountEnabled"),),
            pointer="accountEnabled",
            expect=Expect.EQUALS,
            value=enabled,
        ),
        undo=Undo(undo),
        notes=notes,
    )
