"""The file itself: who can read it, what happens when it is full, locked or damaged, and what a commit promises."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from bot.errors import StorageProblem
from storage.migrations import SCHEMA_VERSION
from tests.storage.child import killed_while_appending
from tests.storage.conftest import TENANT, Opens, Store

CHILD = [sys.executable, "-m", "tests.storage.child"]


def mode(path: Path) -> str:
    return f"{stat.S_IMODE(path.stat().st_mode):o}"


def insert(connection: sqlite3.Connection, key: str) -> int:
    sql = "INSERT INTO inbox (key, tenant, kind, received_at) VALUES (?, ?, 'test', '9999')"
    return connection.execute(sql, (key, TENANT)).rowcount


def a_private_file(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.touch(0o600)
    path.write_text(text)


async def keys(store: Store) -> list[str]:
    rows = await store.db.read(lambda connection: connection.execute("SELECT key FROM inbox ORDER BY key").fetchall())
    return [key for (key,) in rows]


# --- opening --------------------------------------------------------------------------------------------------------


async def test_a_new_file_is_for_its_owner_only_and_so_are_the_files_beside_it(path: Path, opens: Opens) -> None:
    async with opens() as store:
        await store.inbox.receive("a", "test", {})

        assert mode(path.parent) == "700"
        assert {file.name: mode(file) for file in path.parent.iterdir()} == {
            "latchkey.db": "600",
            "latchkey.db-wal": "600",
            "latchkey.db-shm": "600",
        }


@pytest.mark.parametrize("name", ["latchkey.db", "latchkey.db-wal", "."])
async def test_a_file_or_folder_that_others_can_read_is_refused(path: Path, opens: Opens, name: str) -> None:
    a_private_file(path, "")
    a_private_file(Path(f"{path}-wal"), "")
    (path.parent / name).chmod(0o750 if name == "." else 0o640)

    with pytest.raises(StorageProblem, match=r"can be opened by other people on this machine.* chmod [67]00 "):
        async with opens():
            pass


async def test_a_file_written_by_a_newer_version_is_refused(path: Path, opens: Opens) -> None:
    async with opens():
        pass
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")

    with pytest.raises(StorageProblem, match="newer Latchkey"):
        async with opens():
            pass


async def test_a_damaged_page_is_found_when_the_file_is_opened(path: Path, opens: Opens) -> None:
    async with opens() as store:
        for number in range(200):
            await store.inbox.receive(f"key {number}", "test", {"text": "x" * 200})
    with path.open("r+b") as file:
        file.seek(-5 * 4096, os.SEEK_END)
        file.write(b"\xa5" * 4096)

    with pytest.raises(StorageProblem, match=r"is damaged .* the last good backup"):
        async with opens():
            pass


async def test_something_that_is_no_database_is_refused(path: Path, opens: Opens) -> None:
    a_private_file(path, "Dear diary, " * 100)

    with pytest.raises(StorageProblem, match="is damaged"):
        async with opens():
            pass


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path, opens: Opens) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StorageProblem, match="cannot be opened"):
        async with opens(path=tmp_path / "file" / "latchkey.db"):
            pass


async def test_two_that_open_a_new_file_at_once_both_find_it_complete(opens: Opens) -> None:
    async def use(key: str) -> None:
        async with opens() as store:
            await store.inbox.receive(key, "test", {})

    await asyncio.gather(use("a"), use("b"))

    async with opens() as store:
        assert await keys(store) == ["a", "b"]


async def test_what_is_asked_after_closing_is_refused(opens: Opens) -> None:
    async with opens() as store:
        pass

    with pytest.raises(StorageProblem, match="closed"):
        await store.db.write(lambda connection: None)
    with pytest.raises(StorageProblem, match="closed"):
        await store.db.read(lambda connection: None)


async def test_closing_commits_what_is_queued(opens: Opens) -> None:
    async with opens() as store:
        waiting = [asyncio.create_task(store.inbox.receive(f"{n}", "test", {})) for n in range(9)]
        await asyncio.sleep(0)  # lets each of them queue its write

    assert await asyncio.gather(*waiting) == [True] * 9
    async with opens() as store:
        assert len(await keys(store)) == 9


# --- commits --------------------------------------------------------------------------------------------------------


class Held:
    """Holds the writer's thread between `begun` and `released`."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.released = threading.Event()
        self._loop = asyncio.get_running_loop()

    def __call__(self, connection: sqlite3.Connection) -> None:
        insert(connection, "held")
        self._loop.call_soon_threadsafe(self.begun.set)
        assert self.released.wait(10)


async def test_writes_that_queue_together_share_one_commit(store: Store) -> None:
    seen: list[str] = []
    await store.db.write(lambda connection: connection.set_trace_callback(seen.append))
    held = Held()
    first = asyncio.create_task(store.db.write(held))
    await held.begun.wait()
    seen.clear()

    others = [asyncio.create_task(store.inbox.receive(f"{n:03}", "test", {})) for n in range(100)]
    await asyncio.sleep(0)
    held.released.set()
    await asyncio.gather(first, *others)

    assert seen.count("BEGIN IMMEDIATE") == 1
    assert len(await keys(store)) == 101


async def test_one_write_that_fails_does_not_spoil_those_that_share_its_commit(store: Store) -> None:
    held = Held()
    first = asyncio.create_task(store.db.write(held))
    await held.begun.wait()

    def fails(connection: sqlite3.Connection) -> None:
        insert(connection, "bad")
        raise ZeroDivisionError

    good = asyncio.create_task(store.db.write(lambda connection: insert(connection, "good")))
    bad = asyncio.create_task(store.db.write(fails))
    better = asyncio.create_task(store.db.write(lambda connection: insert(connection, "later")))
    await asyncio.sleep(0)
    held.released.set()

    await asyncio.gather(first, good, bad, better, return_exceptions=True)
    assert (good.result(), better.result()) == (1, 1)
    assert isinstance(bad.exception(), ZeroDivisionError)
    assert await keys(store) == ["good", "held", "later"]


async def test_a_write_that_nobody_waits_for_any_more_is_not_begun(store: Store) -> None:
    held = Held()
    first = asyncio.create_task(store.db.write(held))
    await held.begun.wait()
    second = asyncio.create_task(store.db.write(lambda connection: insert(connection, "second")))
    await asyncio.sleep(0)

    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    held.released.set()
    await first

    assert await store.inbox.receive("third", "test", {})
    assert await keys(store) == ["held", "third"]


async def test_a_write_under_way_is_committed_though_its_caller_is_gone(store: Store) -> None:
    told = asyncio.Event()
    held = Held()
    first = asyncio.create_task(store.db.write(held, then=told.set))
    await held.begun.wait()

    first.cancel()
    held.released.set()
    await asyncio.gather(first, return_exceptions=True)
    await told.wait()

    assert first.cancelled()
    assert await keys(store) == ["held"]


async def test_after_a_commit_that_fails_everybody_is_told_and_the_next_one_works(store: Store) -> None:
    def fails_at_commit(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA defer_foreign_keys = ON")
        connection.execute("INSERT INTO reply_urls VALUES ('no such request', 'x', 'x', 1, '2026')")

    held = Held()
    first = asyncio.create_task(store.db.write(held))
    await held.begun.wait()
    good = asyncio.create_task(store.inbox.receive("good", "test", {}))
    bad = asyncio.create_task(store.db.write(fails_at_commit))
    await asyncio.sleep(0)
    held.released.set()
    await first

    outcomes = await asyncio.gather(good, bad, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [sqlite3.IntegrityError] * 2
    assert await store.inbox.receive("next", "test", {})
    assert await keys(store) == ["held", "next"]


async def test_a_full_disk_is_told_and_needs_no_restart(store: Store) -> None:
    (pages,) = await store.db.read(lambda connection: connection.execute("PRAGMA page_count").fetchone())
    await store.db.write(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}").fetchone())

    with pytest.raises(StorageProblem, match="disk that holds the database is full"):
        await store.inbox.receive("big", "test", {"text": "x" * 100_000})
    assert await keys(store) == []

    await store.db.write(lambda connection: connection.execute("PRAGMA max_page_count = 1000000").fetchone())
    assert await store.inbox.receive("big", "test", {"text": "x" * 100_000})


async def test_a_file_that_another_program_holds_is_told_to_all_who_wait_and_works_again_later(
    path: Path, opens: Opens
) -> None:
    async with opens(patience=0.05) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            waiting = [store.inbox.receive(f"{n}", "test", {}) for n in range(3)]
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)

            assert [type(outcome) for outcome in outcomes] == [StorageProblem] * 3
            assert "Another program holds the database" in str(outcomes[0])
            assert await keys(store) == []
            other.execute("ROLLBACK")

        assert await store.inbox.receive("later", "test", {})


# --- durability -----------------------------------------------------------------------------------------------------


async def test_what_was_acknowledged_is_there_after_the_process_was_killed(path: Path, opens: Opens) -> None:
    acknowledged = killed_while_appending(path, 50)

    async with opens() as store:
        report = await store.trail.verify()

        assert report.sound
        assert report.rows >= acknowledged >= 50


async def test_every_commit_is_synced_to_the_disk(path: Path, opens: Opens, tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    counts = tmp_path / "counts"
    async with opens():
        pass

    watched = ["strace", "-f", "-qq", "-e", "trace=fsync,fdatasync", "-o", str(counts)]
    traced = await asyncio.to_thread(
        subprocess.run, [*watched, *CHILD, "append", str(path), "40"], capture_output=True, text=True, check=False
    )
    if traced.returncode != 0:
        pytest.skip(f"strace may not trace here: {traced.stderr.strip()}")

    assert len(re.findall(r"(?:fsync|fdatasync)\(", counts.read_text())) >= 40


def holds(path: Path, text: bytes) -> bool:
    return any(text in file.read_bytes() for file in path.parent.iterdir())


async def test_erased_payloads_are_not_left_in_the_file(path: Path, opens: Opens) -> None:
    async with opens() as store:
        await store.inbox.receive("a", "test", {"text": "correct horse battery staple"})
        await store.inbox.done("a")

    assert not holds(path, b"correct horse")
