"""The first and the last thing a program does with the file, and what is kept outside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.errors import ConfigurationError, StorageProblem, TamperingFound
from bot.model import Secret
from storage import guard
from storage.audit import Head
from storage.audit_key import keep_head, kept_head, key_from_file, new_key
from storage.seal import Seal
from tests.storage.conftest import OLIVE, Opens


@pytest.fixture
def head_file(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "head"


async def test_a_new_file_gets_the_shipped_roles_and_a_start_after_a_clean_stop_finds_all_well(
    opens: Opens, head_file: Path
) -> None:
    for _ in range(3):
        async with opens() as store:
            report = await guard.check(store.db, store.trail, store.operators, head_file=head_file)
            assert report.sound
            await guard.leave(store.trail, head_file=head_file)

    async with opens() as store:
        assert list(await store.operators.roles())
        assert (await store.trail.verify(expected_head=kept_head(head_file))).sound


async def test_a_start_after_a_crash_finds_all_well(opens: Opens, head_file: Path) -> None:
    async with opens() as store:
        await guard.check(store.db, store.trail, store.operators, head_file=head_file)
        await guard.leave(store.trail, head_file=head_file)
        await store.grant(OLIVE, "helpdesk")

    async with opens() as store:
        assert (await guard.check(store.db, store.trail, store.operators, head_file=head_file)).rows == 2


async def test_yesterdays_file_put_back_is_refused_with_what_to_do_if_that_was_meant(
    path: Path, opens: Opens, head_file: Path
) -> None:
    async with opens() as store:
        await guard.check(store.db, store.trail, store.operators, head_file=head_file)
    yesterday = read(path)
    async with opens() as store:
        await store.grant(OLIVE, "helpdesk")
        await guard.leave(store.trail, head_file=head_file)
    write(path, yesterday)

    async with opens() as store:
        with pytest.raises(TamperingFound, match=r"older file was put in its place.* delete .*head and start again"):
            await guard.check(store.db, store.trail, store.operators, head_file=head_file)


async def test_an_emptied_file_is_refused(opens: Opens, path: Path, head_file: Path) -> None:
    async with opens() as store:
        await guard.check(store.db, store.trail, store.operators, head_file=head_file)
        await guard.leave(store.trail, head_file=head_file)
    write(path, b"")

    async with opens() as store:
        with pytest.raises(TamperingFound, match="The trail ends at row 0"):
            await guard.check(store.db, store.trail, store.operators, head_file=head_file)


def read(path: Path) -> bytes:
    return path.read_bytes()


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


# --- outside the database -------------------------------------------------------------------------------------------


def test_a_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    database = tmp_path / "data" / "latchkey.db"
    file = tmp_path / "keys" / "audit.key"

    first = key_from_file(file, database=database)
    database.parent.mkdir()
    database.touch()

    assert key_from_file(file, database=database).reveal() == first.reveal()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert new_key().reveal() != first.reveal()


def test_a_missing_key_of_an_existing_database_is_not_replaced(tmp_path: Path) -> None:
    database = tmp_path / "data" / "latchkey.db"
    database.parent.mkdir()
    database.touch()

    with pytest.raises(StorageProblem, match="is missing"):
        key_from_file(tmp_path / "keys" / "audit.key", database=database)


def test_a_key_beside_the_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageProblem, match="same folder"):
        key_from_file(tmp_path / "audit.key", database=tmp_path / "." / "latchkey.db")


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "audit.key"
    key_from_file(file, database=tmp_path / "data" / "latchkey.db")
    file.chmod(0o640)

    with pytest.raises(StorageProblem, match="chmod 600"):
        key_from_file(file, database=tmp_path / "data" / "latchkey.db")


def test_an_empty_key_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="too short"):
        Seal(Secret(""), "anything")


def test_the_head_kept_last_is_the_one_found(head_file: Path) -> None:
    assert kept_head(head_file) is None

    keep_head(head_file, Head(1, "a" * 64))
    keep_head(head_file, Head(2, "b" * 64))

    assert kept_head(head_file) == Head(2, "b" * 64)
    assert [file.name for file in head_file.parent.iterdir()] == ["head"]


def test_a_kept_head_that_says_nothing_is_refused(head_file: Path) -> None:
    keep_head(head_file, Head(1, "a" * 64))
    head_file.write_text("gone")

    with pytest.raises(StorageProblem, match="should hold the last head"):
        kept_head(head_file)
