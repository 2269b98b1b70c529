"""The bot as a child: its commands, how its end is seen, and that nothing is left behind."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.bot_process import PROJECT, BotProcess


async def test_a_command_of_the_bot_gives_its_exit_code_and_what_it_printed(tmp_path: Path) -> None:
    finished = await BotProcess({}, tmp_path).command("grant", "--help")

    assert finished.exit_code == 0
    assert "usage: latchkey grant" in finished.output


async def test_a_bot_that_ends_by_itself_has_died_and_its_log_says_why(tmp_path: Path) -> None:
    bot = BotProcess({}, tmp_path)
    ended = asyncio.Event()
    bot.subscribe(lambda: ended.set() if bot.state == "died" else None)

    await bot.start()
    await asyncio.wait_for(ended.wait(), 20)

    assert bot.exit_code != 0
    assert "LATCHKEY_" in bot.log()
    assert bot.pid is None


async def test_stopping_a_bot_that_does_not_run_is_nothing(tmp_path: Path) -> None:
    bot = BotProcess({}, tmp_path)

    await bot.stop()
    await bot.kill()

    assert bot.state == "stopped"


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "a polite end"])
def test_the_sandbox_ends_with_its_bot(signum: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sandbox", "--port", "0", "--state", str(tmp_path / "state")]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as sandbox:
        assert sandbox.stdout is not None
        line = next(line for line in sandbox.stdout if "sandbox is at http://127.0.0.1:" in line)
        assert line.strip().endswith("(Ctrl-C ends it)")
        children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(sandbox.pid)], capture_output=True, text=True)
        [bot] = map(int, children.stdout.split())

        sandbox.send_signal(signum)

        assert sandbox.wait(20) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(bot, 0)
