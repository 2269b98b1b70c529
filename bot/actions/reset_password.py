"""Give a person a temporary password that must be changed at the next sign-in."""

from __future__ import annotations

from typing import Final

from bot.actions._action import Action, NoInputs
from bot.directory_roles import (
    AUTHENTICATION_ADMINISTRATOR,
    GLOBAL_ADMINISTRATOR,
    PRIVILEGED_AUTHENTICATION_ADMINISTRATOR,
    USER_ADMINISTRATOR,
)
from bot.errors import GraphRefused, NotPossible
from bot.model import Call, Change, Expect, Generated, Identity, Person, Plan, ReadBack, Repeat
from bot.ports import Reader

PASSWORD_METHOD: Final = "28c10230-6103-485e-b985-444c60001490"  # noqa: S105 - an id, the same for everybody
"""The id of everybody's password among their authentication methods (Graph docs: *passwordAuthenticationMethod*)."""

_THERE: Final = "in Active Directory Users and Computers, or with the tool your company has for it."


async def plan(reader: Reader, person: Person, inputs: NoInputs, identity: Identity) -> Plan:
    """Set a generated password: in the cloud, or for a synced account through password writeback."""
    return await _plan_writeback(reader, person, identity) if person.synced else _plan_cloud(person)


def _plan_cloud(person: Person) -> Plan:
    profile = {"password": Generated.PASSWORD.marker, "forceChangePasswordNextSignIn": True}
    return Plan(
        changes=_CHANGES,
        calls=(
            Call(
                "PATCH",
                ("users", person.id),
                {"passwordProfile": profile},
                repeat=Repeat.ONE_SHOT,
            ),
        ),
        read_back=ReadBack(
            path=("users", person.id),
            query=(("$select", "lastPasswordChangeDateTime"),),
            pointer="lastPasswordChangeDateTime",
            expect=Expect.DIFFERS,
            value=person.password_changed_at,
        ),
        notes=_while_blocked(person),
    )


async def _plan_writeback(reader: Reader, person: Person, identity: Identity) -> Plan:
    comes_from = f"{person.name}'s account comes from on-premises Active Directory."
    if not identity.delegated:
        raise NotPossible(
            f"{comes_from} Reset it there: {_THERE} Microsoft lets only a signed-in service account write a password "
            "back, and Latchkey works here as an application."
        )
    if await _writes_back(reader) is False:
        raise NotPossible(f"{comes_from} Reset it there: {_THERE} Password writeback is off in this tenant.")
    if identity.roles.isdisjoint(_WRITEBACK_ROLES):
        raise NotPossible(
            f"{comes_from} Reset it there: {_THERE} To write the password back, {identity.name} would need the "
            "directory role Authentication Administrator."
        )
    # No read-back: the operation Graph lets us follow says how it ended, and the time of the last change moves only
    # with the next synchronisation, in some tenants never.
    return Plan(
        changes=_CHANGES,
        calls=(
            Call(
                "POST",
                ("users", person.id, "authentication", "methods", PASSWORD_METHOD, "resetPassword"),
                {"newPassword": Generated.PASSWORD.marker},
                repeat=Repeat.ONE_SHOT,
                poll=True,
                advice=f"{comes_from} Reset it there: {_THERE}",
            ),
        ),
        notes=(f"{comes_from} The new password is written back to it.", *_while_blocked(person)),
    )


async def _writes_back(reader: Reader) -> bool | None:
    """Whether password writeback is on in this tenant; None if we may not know, as only Global Administrators may
    (Graph docs: *Get onPremisesDirectorySynchronization*)."""
    try:
        found = await reader.get("directory", "onPremisesSynchronization")
    except GraphRefused:
        return None
    for settings in found.get("value", [found]):
        enabled = settings.get("features", {}).get("passwordWritebackEnabled")
        if isinstance(enabled, bool):
            return enabled
    return None


def _while_blocked(person: Person) -> tuple[str, ...]:
    if person.enabled:
        return ()
    return (f"Sign-in of {person.name} is blocked: the new password works only after it is unblocked.",)


_CHANGES: Final = (
    Change("password", None, "a new temporary one, to be changed at the next sign-in"),
    Change("signed-in devices", None, "ask for the new password"),
)

_ROLES: Final = (AUTHENTICATION_ADMINISTRATOR, USER_ADMINISTRATOR, PRIVILEGED_AUTHENTICATION_ADMINISTRATOR)
_WRITEBACK_ROLES: Final = frozenset(
    {AUTHENTICATION_ADMINISTRATOR, PRIVILEGED_AUTHENTICATION_ADMINISTRATOR, GLOBAL_ADMINISTRATOR}
)

ACTION = Action(
    name="reset-password",
    title="Reset a password",
    phrase="reset the password of {target}",
    working="Resetting the password of {target}",
    done="The password of {target} was reset",
    permissions=("User-PasswordProfile.ReadWrite.All", "UserAuthenticationMethod.ReadWrite.All"),
    roles=_ROLES,
    application_roles=(USER_ADMINISTRATOR, PRIVILEGED_AUTHENTICATION_ADMINISTRATOR),
    verify_caller=True,
    confirm=True,
    not_for_guests="Guests sign in with the password of their own organisation: its help desk can reset it.",
    plan=plan,
)
