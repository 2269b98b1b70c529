"""The floor of a start: a bare Bolt app in Socket Mode that hears one command."""

from __future__ import annotations

import asyncio
import os

from slack_bolt.adapter.socket_mode.async_handler import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncAck, AsyncApp
from slack_sdk.web.async_client import AsyncWebClient


async def main() -> None:
    client = AsyncWebClient(token=os.environ["LATCHKEY_SLACK_BOT_TOKEN"], base_url=os.environ["LATCHKEY_SLACK_API_URL"])
    app = AsyncApp(client=client, process_before_response=True)

    async def hear(ack: AsyncAck) -> None:
        await ack()

    app.command("/m365")(hear)
    handler = AsyncSocketModeHandler(app, os.environ["LATCHKEY_SLACK_APP_TOKEN"])
    await handler.start_async()  # type: ignore[no-untyped-call]  # Bolt left it untyped


if __name__ == "__main__":
    asyncio.run(main())
