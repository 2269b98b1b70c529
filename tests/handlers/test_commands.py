"""What is typed becomes one request, or a sentence."""

from __future__ import annotations

import pytest

from bot.model import RequestState
from tests.handlers.stage import Stage


async def test_a_complete_change_becomes_a_request_and_wakes_the_worker(stage: Stage) -> None:
    delivery = await stage.people.command(
        "olive", "#helpdesk", '/m365 unblock-sign-in adele@contoso.com --reason "back from leave"'
    )
    await stage.settled()

    request = await stage.only_row()
    assert delivery.ack.body is None
    assert (request.action, request.typed, request.reason) == (
        "unblock-sign-in",
        "adele@contoso.com",
        "back from leave",
    )
    assert request.state is RequestState.RECEIVED
    assert stage.worker.woken == [request.id]
    assert await stage.inbox.open() == []
