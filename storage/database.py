"""The SQLite file: a writer thread whose queued work shares commits, readers beside it, and one read on the loop."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import queue
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote

from bot.errors import StorageProblem
from bot.ports import Clock
from storage.migrations import SCHEMA_VERSION, migrate

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
"""What is done with a connection inside one transaction. It runs in a thread and must not commit by itself."""

_BATCH: Final = 256
"""How many pieces of work share a commit at most, so that the first of them does not wait for too many others."""

_LOOP_PATIENCE: Final = 0.05
"""Seconds that the read on the event loop may wait for a lock; everything else waits behind it."""


def to_text(when: datetime) -> str:
    """A time as columns hold it: UTC, always with microseconds, so that text sorts as time does."""
    return when.astimezone(UTC).isoformat(timespec="microseconds")


def from_text(text: str | None) -> datetime | None:
    """The time that `to_text` wrote; None for NULL."""
    return datetime.fromisoformat(text) if text else None


@dataclass(frozen=True)
class _Job:
    work: Work[Any]
    future: asyncio.Future[Any]
    then: Callable[[], None] | None


@dataclass(frozen=True)
class _Outcome:
    job: _Job
    value: Any = None
    error: Exception | None = None

    def tell(self) -> None:
        """Hand the outcome to whoever awaits it. Runs on the event loop."""
        if self.error is None and self.job.then is not None:
            self.job.then()
        if self.job.future.done():  # cancelled meanwhile: the work stands all the same
            return
        if self.error is not None:
            self.job.future.set_exception(self.error)
        else:
            self.job.future.set_result(self.value)


class Database:
    """The open file. `async with Database(path, tenant=..., clock=...) as db`.

    Opening creates the file (mode 0600, in a folder of mode 0700), brings its schema up to date, and raises
    `StorageProblem` if others can read it, if it is damaged, or if a newer version wrote it. `clock.now()` is also
    called from the writer's thread. *patience* is how many seconds to wait for another process that holds the file.
    """

    def __init__(self, path: Path, *, tenant: str, clock: Clock, patience: float = 5.0) -> None:
        self.path = path
        self.tenant = tenant
        self.clock = clock
        self._patience = patience
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._on_loop: sqlite3.Connection | None = None
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="storage-read")
        self._writing = threading.Thread(target=self._write_until_closed, name="storage-write", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        with self._in_words():
            await asyncio.to_thread(self._open)
        self._writing.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit what is queued and close. What is asked for afterwards raises `StorageProblem`."""
        self._loop = None
        self._queue.put(None)
        await asyncio.to_thread(self._writing.join)
        await asyncio.to_thread(self._reading.shutdown)
        for connection in (self._on_loop, self._reader, self._writer):
            if connection is not None:
                connection.close()

    # --- what stores use ---------------------------------------------------------------------------------------------

    async def write(self, work: Work[T], *, then: Callable[[], None] | None = None) -> T:
        """Run *work* in a transaction and return its result once that is durably committed.

        Work that queues together shares one commit; if one piece raises, only its own changes are taken back. *then* is
        called on the event loop after the commit, also if the caller has stopped waiting. Raises what *work* raised, or
        `StorageProblem` (nothing was changed).
        """
        if self._loop is None:
            raise StorageProblem("The database is closed: Latchkey is stopping. Nothing was changed.")
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Job(work, future, then))
        return await future

    async def read(self, work: Work[T]) -> T:
        """Run *work*, which only reads and is short, on one consistent state of the file."""
        if self._loop is None:
            raise StorageProblem("The database is closed: Latchkey is stopping.")
        return await self._loop.run_in_executor(self._reading, self._read, work)

    async def scan(self, work: Work[T]) -> T:
        """Run *work*, which only reads and may take long, beside everything else."""
        return await asyncio.to_thread(self._scan, work)

    def read_now(self, sql: str, values: tuple[str, ...]) -> list[Any]:
        """The rows of one indexed statement, read on the event loop. It sees every commit, of any process."""
        if self._on_loop is None:
            raise StorageProblem("The database is not open.")
        try:
            # All rows at once: a statement left half-read would hold its state of the file.
            return self._on_loop.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self._explained(error) from error

    # --- opening -----------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._make_private()
        with contextlib.ExitStack() as opened:
            writer = opened.enter_context(contextlib.closing(self._connect()))
            if not self._keeps_a_log(writer):
                raise StorageProblem(f"{self.path} lies where SQLite cannot keep a write-ahead log. Use a local disk.")
            self._refuse_newer(writer)
            self._refuse_damaged(writer)
            migrate(writer)
            reader = opened.enter_context(contextlib.closing(self._connect(read_only=True)))
            self._on_loop = self._connect(read_only=True, patience=_LOOP_PATIENCE)
            self._reader, self._writer = reader, writer
            opened.pop_all()

    def _make_private(self) -> None:
        """Create folder and file for our eyes only; refuse those that others can open."""
        folder = self.path.parent
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StorageProblem(f"The database {self.path} cannot be opened: {error.strerror}.") from error
        for path, mode in ((folder, "700"), *((Path(f"{self.path}{end}"), "600") for end in ("", "-wal", "-shm"))):
            if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise StorageProblem(
                    f"{path} can be opened by other people on this machine. Look who might have, then run: "
                    f"chmod {mode} {path}"
                )

    def _keeps_a_log(self, connection: sqlite3.Connection) -> bool:
        """Switch a new file to its write-ahead log. SQLite answers *busy* at once when two do it together, so one at a
        time does."""
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            return bool(connection.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",))
        finally:
            os.close(folder)

    def _refuse_newer(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise StorageProblem(
                f"{self.path} was written by a newer Latchkey (schema {version}; this one knows {SCHEMA_VERSION}). "
                "Start the newer version, or put back the backup made before the upgrade."
            )

    def _refuse_damaged(self, connection: sqlite3.Connection) -> None:
        try:
            (finding,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.Error as error:  # the check computes columns too, and fails where it cannot
            raise StorageProblem(self._sentence(error) or self._damage(str(error))) from error
        if finding != "ok":
            raise StorageProblem(self._damage(finding.splitlines()[-1]))

    def _connect(self, *, read_only: bool = False, patience: float | None = None) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(str(self.path))}?mode={'ro' if read_only else 'rw'}",
            uri=True,
            timeout=self._patience if patience is None else patience,
            isolation_level=None,
            check_same_thread=False,  # opened here, used in the one thread it is made for
        )
        if not read_only:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            # What is erased (payloads, Slack's reply addresses) is overwritten, not left in free pages.
            connection.execute("PRAGMA secure_delete = ON")
        return connection

    # --- writing -----------------------------------------------------------------------------------------------------

    def _write_until_closed(self) -> None:
        while not self._closing:
            if jobs := self._take(wait=True):
                self._commit(jobs)

    def _take(self, *, wait: bool) -> list[_Job]:
        """What is queued, without what nobody waits for any more."""
        taken: list[_Job] = []
        with contextlib.suppress(queue.Empty):
            while len(taken) < _BATCH:
                job = self._queue.get(block=wait and not taken)
                if job is None:
                    self._closing = True
                    break
                taken.append(job)
        return [job for job in taken if not job.future.cancelled()]

    def _commit(self, jobs: list[_Job]) -> None:
        try:
            connection = self._writer = self._writer or self._connect()
            connection.execute("BEGIN IMMEDIATE")
            outcomes = [self._run(connection, job) for job in jobs]
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - whatever it was, everybody who waits must hear of it
            self._give_up_connection()
            if _primary_code(error) == sqlite3.SQLITE_BUSY:
                # These have waited just as long; another round would double the patience that was promised.
                jobs = [*jobs, *self._take(wait=False)]
            outcomes = [_Outcome(job, error=self._explained(error)) for job in jobs]
        self._tell(outcomes)

    def _run(self, connection: sqlite3.Connection, job: _Job) -> _Outcome:
        connection.execute("SAVEPOINT job")
        try:
            value = job.work(connection)
        except Exception as error:
            if not connection.in_transaction:  # SQLite took everything back (a full disk can do that)
                raise
            connection.execute("ROLLBACK TO job")
            connection.execute("RELEASE job")
            return _Outcome(job, error=self._explained(error))
        connection.execute("RELEASE job")
        return _Outcome(job, value)

    def _give_up_connection(self) -> None:
        """After a failed commit nothing is known of the connection's state: the next commit opens a new one."""
        if self._writer is not None:
            with contextlib.suppress(sqlite3.Error):  # closing takes back what was not committed
                self._writer.close()
        self._writer = None

    def _tell(self, outcomes: list[_Outcome]) -> None:
        def tell() -> None:
            for outcome in outcomes:
                outcome.tell()

        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left who could be told
            outcomes[0].job.future.get_loop().call_soon_threadsafe(tell)

    # --- reading -----------------------------------------------------------------------------------------------------

    def _read(self, work: Work[T]) -> T:
        if self._reader is None:
            raise StorageProblem("The database is not open.")
        with self._in_words():
            return _in_one_state(self._reader, work)

    def _scan(self, work: Work[T]) -> T:
        with self._in_words(), contextlib.closing(self._connect(read_only=True)) as connection:
            return _in_one_state(connection, work)

    # --- errors ------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def _explained(self, error: Exception) -> Exception:
        """A failure of the file, the disk or another process as a sentence; an error of the work's own as it is."""
        sentence = self._sentence(error)
        if sentence is None:
            return error
        problem = StorageProblem(sentence)
        problem.__cause__ = error
        return problem

    def _sentence(self, error: Exception) -> str | None:
        match _primary_code(error):
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return (
                    "Another program holds the database, so nothing was changed. Try again; if it stays so, look for a "
                    "backup job or a second Latchkey on this file."
                )
            case sqlite3.SQLITE_FULL:
                return (
                    "The disk that holds the database is full, so nothing was changed. Free some space and try again; "
                    "Latchkey need not be restarted."
                )
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
                return self._damage(str(error))
            case (
                sqlite3.SQLITE_IOERR
                | sqlite3.SQLITE_CANTOPEN
                | sqlite3.SQLITE_READONLY
                | sqlite3.SQLITE_PERM
                | sqlite3.SQLITE_NOMEM
            ):
                return (
                    f"The database {self.path} cannot be used just now ({error}), so nothing was changed. Check the "
                    "disk and the file's owner, then try again."
                )
        return None

    def _damage(self, finding: str) -> str:
        return (
            f"The database {self.path} is damaged ({finding}). Stop Latchkey, keep this file for later study, and put "
            "the last good backup in its place."
        )


def _primary_code(error: Exception) -> int:
    """SQLite's primary result code (SQLite docs: *Result and Error Codes*), 0 for an error that is not SQLite's."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _in_one_state(connection: sqlite3.Connection, work: Work[T]) -> T:
    connection.execute("BEGIN")
    try:
        return work(connection)
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
