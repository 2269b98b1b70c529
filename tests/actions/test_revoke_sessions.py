"""Signing a person out everywhere."""

from __future__ import annotations

from bot.actions._action import NoInputs
from bot.actions.revoke_sessions import plan
from bot.model import Repeat
from tests.tenant import ADELE, ADELE_ID, SERVICE_ACCOUNT, contoso


async def test_one_call_ends_every_session_and_is_never_repeated_blindly() -> None:
    made = await plan(contoso(), ADELE, NoInputs(), SERVICE_ACCOUNT)

    [call] = made.calls
    assert (call.method, call.path, call.body) == ("POST", ("users", ADELE_ID, "revokeSignInSessions"), None)
    assert call.repeat is Repeat.ONE_SHOT
    assert made.undo is None


async def test_the_moment_from_which_sessions_count_is_the_witness() -> None:
    read_back = (await plan(contoso(), ADELE, NoInputs(), SERVICE_ACCOUNT)).read_back

    assert read_back is not None
    assert not read_back.holds({"signInSessionsValidFromDateTime": ADELE.sessions_valid_from})
    assert read_back.holds({"signInSessionsValidFromDateTime": "2026-03-03T09:00:01Z"})
