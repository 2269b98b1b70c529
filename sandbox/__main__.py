"""`python -m sandbox`: the pretend world with the real bot in it, for people (a page) or for dialogues (`--play`)."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path

from sandbox.bot_process import BotCommandError, BotProcess
from sandbox.play import play_files
from sandbox.world import World

_PREPARED = "prepared"
"""The file that says a state folder holds a finished installation, written last."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until Ctrl-C, or until the dialogues have been played; the exit code."""
    parsed = _parser().parse_args(arguments)
    return asyncio.run(_until_told(_play(parsed) if parsed.play else _serve(parsed)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="latchkey sandbox",
        description="Try Latchkey against a pretend Slack, Entra, Graph and Key Vault on this machine.",
    )
    parser.add_argument("--port", type=int, default=8600, help="where the page listens; 0 takes a free port")
    parser.add_argument("--state", type=Path, metavar="DIR", help="keep the bot's database here, and take it up again")
    parser.add_argument("--transport", choices=("socket", "http"), default="socket", help="how Slack reaches the bot")
    parser.add_argument(
        "--callback", action="store_true", help="people come back from signing in at Microsoft to the bot's own page"
    )
    parser.add_argument("--no-bot", action="store_true", help="start no bot, but print the settings for one")
    parser.add_argument("--play", type=Path, nargs="+", metavar="FILE", help="play dialogues and exit")
    return parser


async def _until_told(program: Coroutine[None, None, int]) -> int:
    """Run a program to its end; the first signal to stop cancels it, more of them do not disturb how it ends."""
    loop = asyncio.get_running_loop()
    running = asyncio.ensure_future(program)

    def end() -> None:
        for signum in _SIGNALS:
            loop.add_signal_handler(signum, lambda: None)
        running.cancel()

    for signum in _SIGNALS:
        loop.add_signal_handler(signum, end)
    try:
        return await running
    except asyncio.CancelledError:
        return 0


async def _play(parsed: argparse.Namespace) -> int:
    return 0 if await play_files(parsed.play, parsed.transport) else 1


async def _serve(parsed: argparse.Namespace) -> int:
    try:
        async with World(parsed.port, parsed.transport, parsed.state, callback=parsed.callback) as world:
            where = f"\n  Latchkey's sandbox is at {world.url}/   (Ctrl-C ends it)\n"
            if parsed.no_bot:
                print("\n".join(f"{name}={value}" for name, value in world.environment().items()), where, flush=True)
                await asyncio.Event().wait()
            bot = BotProcess(world.environment(), world.state)
            world.adopt(bot)
            try:
                await _start(world, bot)
                print(where, flush=True)
                await asyncio.Event().wait()
            finally:
                await bot.stop()
    except OSError as error:
        print(f"The sandbox cannot start: {error}. --port 0 takes any free port.", file=sys.stderr)
    except BotCommandError as error:
        print(error, file=sys.stderr)
    return 1


async def _start(world: World, bot: BotProcess) -> None:
    prepared = world.state / _PREPARED
    if not prepared.exists():
        print(
            "Making a first installation: roles for Olive, Ana, Bo, Audrey and Vic, and the service account …",
            flush=True,
        )
        await bot.prepare()
        prepared.touch()
    await world.start_bot()


if __name__ == "__main__":
    sys.exit(main())
