"""The real bot as a child process of the pretend world: its command line, its start and its death."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

PROJECT = Path(__file__).resolve().parent.parent

# What a child may know of this machine. Everything else stays out: a developer's shell or `.env` may hold the
# settings of a real tenant, and the pretend world must never be mixed with one.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "SYSTEMROOT")

_INSTALLATION: tuple[tuple[str, ...], ...] = (
    ("grant", "U0OLIVE001", "helpdesk", "--account", "olive@contoso.com"),
    ("grant", "U0AUDREY01", "auditor", "--account", "audrey@contoso.com"),
    ("grant", "U0VIC00001", "viewer"),  # no account of his own yet: he may look, and changes nothing
    ("adopt", "own-accounts"),
    ("adopt", "service-account", "svc-latchkey@contoso.onmicrosoft.com"),
    ("protect", "never-touch", "Latchkey never touch"),
    ("protect", "ask-first", "Latchkey ask first"),
    # The tenant admins last: once there are two of them, what a shell changes is an emergency.
    ("grant", "U0ANA00001", "tenant-admin", "--account", "ana@contoso.com"),
    ("grant", "U0BO000001", "tenant-admin", "--account", "bo@contoso.com"),
)

SetUp = Literal["none", "default", "advanced"]
"""How far a first installation goes: operators only, Default mode, or Advanced mode with the service account."""

_BELONGS_TO: dict[tuple[str, ...], SetUp] = {
    ("adopt", "own-accounts"): "default",
    ("adopt", "service-account"): "advanced",
}
"""The commands of the installation that make it the one or the other; all the rest are part of each."""

_LOG_TAIL = 64 * 1024
_STOP_SECONDS = 10.0

State = Literal["stopped", "running", "died"]


class BotCommandError(Exception):
    """A command line of the bot ended with a failure; the message holds the command and what it printed."""


@dataclass(frozen=True)
class Finished:
    """How a command line of the bot ended."""

    exit_code: int
    output: str


class BotProcess:
    """The bot of one world: `python -m bot run` as a child, and its other commands.

    `environment` is what the world hands out. `folder` holds its log and is its working directory, so that a
    `.env` of the project is not read. Whoever starts the bot must `stop` it: a child is never left behind.
    """

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        self._environment = {**inherited, "PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": "1", **environment}
        self._folder = folder
        self._process: Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._ending = False  # whether the end that comes next is one we asked for
        self._listeners: list[Callable[[], None]] = []
        self.state: State = "stopped"
        self.exit_code: int | None = None
        self.log_file = folder / "bot.log"

    @property
    def pid(self) -> int | None:
        """The process id of the running bot."""
        return self._process.pid if self._process is not None else None

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener()` whenever the bot starts or ends; the returned function ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def command(self, *arguments: str) -> Finished:
        """Run `python -m bot ARGUMENTS` to its end and return its exit code with what it printed."""
        process = await self._spawn(arguments, stdout=PIPE)
        try:
            printed, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
            exit_code = await process.wait()
        return Finished(exit_code, printed.decode(errors="replace"))

    async def prepare(self, set_up: SetUp = "advanced") -> None:
        """Make a first installation from a shell, as an administrator would; BotCommandError says what failed."""
        for arguments in _INSTALLATION:
            if _BELONGS_TO.get(arguments[:2], set_up) != set_up:
                continue
            finished = await self.command(*arguments)
            if finished.exit_code != 0:
                said = finished.output.strip()
                raise BotCommandError(f"python -m bot {' '.join(arguments)} ended with {finished.exit_code}:\n{said}")

    async def start(self) -> None:
        """Start `python -m bot run` unless it runs; returns once the process exists, not once it is ready."""
        if self.state == "running":
            return
        with self.log_file.open("ab") as log:
            self._process = await self._spawn(("run",), stdout=log.fileno())
        self.exit_code = None
        self._ending = False
        self._enter("running")
        self._watch = asyncio.create_task(self._watch_over(self._process))

    async def kill(self) -> None:
        """End the bot at once, as a crash would; it gets no chance to say goodbye."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """Ask the bot to end and wait for it; after ten seconds it is killed."""
        await self._end(signal.SIGTERM)

    def log(self) -> str:
        """The end of the bot's log, whole lines."""
        try:
            with self.log_file.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _LOG_TAIL))
                tail = file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return tail if size <= _LOG_TAIL else tail[tail.find("\n") + 1 :]

    async def _spawn(self, arguments: tuple[str, ...], stdout: int) -> Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "bot",
            *arguments,
            stdin=DEVNULL,
            stdout=stdout,
            stderr=STDOUT,
            cwd=self._folder,
            env=self._environment,
            # Ctrl-C in the terminal reaches the world only, which then ends its bot in order.
            start_new_session=True,
        )

    async def _watch_over(self, process: Process) -> None:
        self.exit_code = await process.wait()
        self._process = None
        self._enter("stopped" if self._ending else "died")

    async def _end(self, how: signal.Signals) -> None:
        process, watch = self._process, self._watch
        if process is None or watch is None:
            return
        self._ending = True
        with suppress(ProcessLookupError):  # it ended by itself in this very moment
            process.send_signal(how)
        try:
            await asyncio.wait_for(asyncio.shield(watch), _STOP_SECONDS)
        except TimeoutError:
            process.kill()
            await watch

    def _enter(self, state: State) -> None:
        self.state = state
        for listener in tuple(self._listeners):
            listener()
