"""Socket Mode comes back by itself, loses nothing that was acknowledged, and gives up only after five minutes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bot.model import Secret
from handlers.socket import GONE_AFTER, LOOK_EVERY, REPLACED_AFTER, Sockets
from tests.clock import ManualClock
from tests.handlers.stage import Stage, a_stage


async def test_one_connection_stays_while_slack_renews_the_other(stage: Stage) -> None:
    await stage.people.sockets.disconnect("refresh_requested")
    await stage.people.connected(2)

    delivery = await stage.people.command("olive", "#helpdesk", "/m365 help")

    assert delivery.ack.status == "ok"


async def test_a_payload_sent_to_both_connections_is_one_request(stage: Stage) -> None:
    delivery = await stage.people.command("olive", "#helpdesk", "/m365 help")
    await stage.people.redeliver(delivery, same_envelope=True)
    await stage.settled()

    assert len(await stage.rows()) == 1


async def test_the_acknowledgement_leaves_after_the_row_is_committed(stage: Stage) -> None:
    delivery = await stage.people.command("olive", "#helpdesk", "/m365 help")

    assert delivery.ack.status == "ok"
    rows = await stage.db.read(lambda connection: connection.execute("SELECT count(*) FROM inbox").fetchone())
    assert rows == (1,)


async def test_a_bot_that_cannot_reach_slack_says_it_is_not_ready(tmp_path: Path) -> None:
    async with a_stage(tmp_path, transport="http") as stage:
        sockets = _sockets(stage, ManualClock(), asyncio.Event())
        assert not await sockets.ready()


async def test_after_five_minutes_without_any_connection_the_process_is_told_to_end(tmp_path: Path) -> None:
    async with a_stage(tmp_path, transport="http") as stage:
        clock, gone = ManualClock(), asyncio.Event()
        stage.workspace.faults.start("slack-down")
        sockets = _sockets(stage, clock, gone)
        await sockets.start()
        looks = 0
        while not gone.is_set() and looks < 200:
            await clock.sleepers()
            clock.advance(LOOK_EVERY.total_seconds())
            await asyncio.sleep(0.01)
            looks += 1
        await sockets.close()

        assert GONE_AFTER <= looks < 200


async def test_a_clock_that_jumps_ends_nothing(stage: Stage) -> None:
    for _ in range(3):
        stage.workspace.clock.advance(3600)
        await asyncio.sleep(0.01)

    assert (await stage.people.command("olive", "#helpdesk", "/m365 help")).ack.status == "ok"


async def test_a_connection_that_does_not_come_back_by_itself_is_replaced(stage: Stage) -> None:
    clock = ManualClock()
    sockets = _sockets(stage, clock, asyncio.Event())
    await sockets.start()
    await stage.people.connected(4)
    await sockets._connections[0]._connecting
    dead = sockets._connections[0].client
    dead.auto_reconnect_enabled = dead.default_auto_reconnect_enabled = False
    await dead.disconnect()  # type: ignore[no-untyped-call]  # the SDK left it untyped
    await stage.people.until(lambda: stage.people.bot_connected == 3)

    for _ in range(REPLACED_AFTER + 1):
        await clock.sleepers()
        clock.advance(LOOK_EVERY.total_seconds())
        await asyncio.sleep(0.01)

    await stage.people.connected(4)
    assert sockets._connections[0].client is not dead
    assert await sockets.ready()
    await sockets.close()


def _sockets(stage: Stage, clock: ManualClock, gone: asyncio.Event) -> Sockets:
    return Sockets(
        client=stage.slack.client,
        app_token=Secret(stage.people.app_token),
        front_door=stage.room.front_door,
        clock=clock,
        gone=gone.set,
    )
