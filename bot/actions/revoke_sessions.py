"""Sign a person out everywhere."""

from __future__ import annotations

from bot.actions._action import Action, NoInputs
from bot.directory_roles import (
    AUTHENTICATION_ADMINISTRATOR,
    HELPDESK_ADMINISTRATOR,
    PASSWORD_ADMINISTRATOR,
    PRIVILEGED_AUTHENTICATION_ADMINISTRATOR,
    USER_ADMINISTRATOR,
)
from bot.model import Call, Change, Expect, Identity, Person, Plan, ReadBack, Repeat
from bot.ports import Reader


async def plan(reader: Reader, person: Person, inputs: NoInputs, identity: Identity) -> Plan:
    """Make every refresh token and browser session of a person invalid."""
    return Plan(
        changes=(Change("sessions", "signed in where they are", "signed out on every device and in every app"),),
        calls=(Call("POST", ("users", person.id, "revokeSignInSessions"), repeat=Repeat.ONE_SHOT),),
        read_back=ReadBack(
            path=("users", person.id),
            query=(("$select", "signInSessionsValidFromDateTime"),),
            pointer="signInSessionsValidFromDateTime",
            expect=Expect.DIFFERS,
            value=person.sessions_valid_from,
        ),
        notes=("Apps notice within minutes; one that does not listen for it keeps working for up to an hour.",),
    )


ACTION = Action(
    name="revoke-sessions",
    title="Sign a person out everywhere",
    phrase="sign {target} out everywhere",
    working="Signing {target} out everywhere",
    done="{target} was signed out everywhere",
    permissions=("User.RevokeSessions.All",),
    roles=(
        PASSWORD_ADMINISTRATOR,
        HELPDESK_ADMINISTRATOR,
        AUTHENTICATION_ADMINISTRATOR,
        USER_ADMINISTRATOR,
        PRIVILEGED_AUTHENTICATION_ADMINISTRATOR,
    ),
    confirm=True,
    not_for_guests="Signing a guest out here has no effect: their own organisation's help desk can do it.",
    plan=plan,
)
