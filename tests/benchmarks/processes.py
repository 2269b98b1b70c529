"""Programs in processes of their own, so that what they use is theirs alone: asked and answering in lines of JSON."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

PROJECT: Final = Path(__file__).resolve().parents[2]

Answer = Callable[..., Awaitable[Any]]
"""What a child does when it is asked: takes the question's other fields, returns JSON."""


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child: no settings of this shell's, and byte code kept, as in any installation."""
    left_out = ("LATCHKEY_", "AZURE_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    return {**kept, "PYTHONPATH": str(PROJECT), **settings}


class Child:
    """A program under way. `said` is what it printed when it was ready."""

    def __init__(self, *arguments: str, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=environment(settings or {}),
        )
        self.said: Any = self._line()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, what: str, **about: Any) -> Any:
        """Ask and wait for the answer. Raises RuntimeError if the child has ended."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"what": what, **about}) + "\n")
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended with {self._process.wait()}")
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let it end in order, which it does when nobody can ask any more."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


async def answer_questions(ready: Any, **answers: Answer) -> None:
    """Be a child: say *ready*, then answer until the parent is gone."""
    reader = asyncio.StreamReader(limit=2**24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print(json.dumps(ready), flush=True)
    while line := await reader.readline():
        about = json.loads(line)
        print(json.dumps(await answers[about.pop("what")](**about)), flush=True)
