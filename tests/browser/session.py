"""The management session as a test needs it, before somebody opens the page."""

from typing import Literal

from sandbox.world import World


async def turn_session(world: World, wish: Literal["on", "off"]) -> None:
    """Have Ana turn the management session on or off, elsewhere, and wait until she is told that it is."""
    told = len(world.slack.ephemerals("ana"))
    await world.slack.command("ana", "#it-approvals", f"/m365-session {wish}")
    await world.slack.until(lambda: len(world.slack.ephemerals("ana")) > told)
