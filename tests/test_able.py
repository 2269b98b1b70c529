"""What the account that acts may not do is shown as such, and refused before anything is asked of Microsoft."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox.directory import SERVICE_ACCOUNT
from tests.stage import Stage, open_stage

LACKS = f"{SERVICE_ACCOUNT} lacks the directory role for it: License Administrator or User Administrator."


@pytest.fixture
async def able(tmp_path: Path) -> AsyncIterator[Stage]:
    """Latchkey works with an account that is a Helpdesk Administrator and nothing else, and has signed in."""
    async with open_stage(tmp_path) as stage:
        directory = stage.world.directory
        account = directory.user(SERVICE_ACCOUNT)
        for assignment in directory.latest.assignments():
            if assignment.principal_id == account.id:
                directory.remove_assignment(assignment.id)
        directory.assign_role(account.id, "Helpdesk Administrator")
        assert "is on until" in await stage.ask("ana", "/m365-session on")
        yield stage


def unavailable(text: str) -> str:
    """The part of a list that says what cannot be done."""
    return text.partition("Not available to you now")[2]


async def test_what_the_account_may_not_do_is_greyed_with_the_missing_role(able: Stage) -> None:
    slack = able.world.slack
    helped = await able.ask("ana", "/m365 help")
    assert "/m365 revoke-sessions adele@contoso.com" in helped
    home = await slack.open_home("ana")
    assert home is not None
    await slack.click("ana", "home", "Do something …")
    await able.until(lambda: "What is to be done?" in slack.modals("ana")[-1].visible_text)
    picker = slack.modals("ana")[-1].visible_text

    for text, called in ((helped, "/m365 assign-license"), (home.visible_text, "/m365 assign-license")):
        assert LACKS in unavailable(text)
        assert called in unavailable(text)
        assert called not in text.partition("Not available to you now")[0]
        assert text.count(LACKS) == 1
    assert "Assign a licence" in unavailable(picker)
    offered = await slack.options("ana", "modal", "What is to be done?", "")
    names = {option["value"] for option in offered}
    assert "revoke-sessions" in names
    assert "assign-license" not in names


async def test_running_it_is_refused_with_no_call_to_microsoft(able: Stage) -> None:
    calls = len(able.world.graph.requests)

    await able.world.slack.command(
        "ana", "#helpdesk", '/m365 assign-license adele@contoso.com ENTERPRISEPACK --reason "a new start"'
    )

    def refusal() -> str:
        said = [each.visible_text for each in able.world.slack.ephemerals("ana")]
        return next((text for text in said if "lacks the directory role" in text), "")

    assert "License Administrator" in await able.until(refusal)
    served = able.world.graph.requests[calls:]
    assert [request for request in served if request.caller == SERVICE_ACCOUNT] == []
    assert able.world.graph.writes() == []
