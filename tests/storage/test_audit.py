"""The audit trail: nobody changes it through SQLite, and whoever changes the file is found out."""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import shutil
import sqlite3
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from bot.errors import BadInput, ConfigurationError, StorageProblem, TamperingFound
from bot.model import AuditRecord, Secret, SlackUser
from bot.ports import AuditSelection
from storage import guard
from storage.audit import AuditTrail, Head, Report
from storage.seal import Seal, canonical
from tests.clock import T0
from tests.storage.child import killed_while_appending
from tests.storage.conftest import KEY, OLIVE, SHELL, Opens, Store


def a_record(number: int = 0, **about: str) -> AuditRecord:
    return AuditRecord("test.noted", facts={"number": number}, **about)  # type: ignore[arg-type]  # ids are text


async def written(store: Store, rows: int) -> None:
    for number in range(rows):
        await store.trail.append(a_record(number))


@contextmanager
def behind_its_back(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection for somebody who owns the machine: the triggers are taken away and put back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        yield connection
        for _, sql in triggers:
            connection.execute(sql)


def change(path: Path, *statements: str) -> None:
    with behind_its_back(path) as connection:
        for statement in statements:
            connection.execute(statement)


# --- through SQLite -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET body = '{}' WHERE seq = 2",
        "UPDATE audit SET mac = x'00'",
        "DELETE FROM audit WHERE seq = 3",
        "DELETE FROM audit",
        "INSERT OR REPLACE INTO audit (seq, prev, mac, body) VALUES (2, x'00', x'00', '{}')",
        "INSERT INTO audit (seq, prev, mac, body) VALUES (9, x'00', x'00', '{}')",
        "INSERT INTO audit (prev, mac, body) VALUES (x'00', x'00', '{}')",
    ],
)
async def test_rows_can_be_appended_and_nothing_else(store: Store, statement: str) -> None:
    await written(store, 3)

    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        await store.db.write(lambda connection: connection.execute(statement).rowcount)

    assert (await store.trail.verify()).sound


async def test_a_trail_that_nobody_touched_is_sound(store: Store) -> None:
    await written(store, 20)
    await store.trail.checkpoint()
    await store.grant(OLIVE, "helpdesk")
    head = await store.trail.checkpoint()

    report = await store.trail.verify(expected_head=head)

    assert report == Report(rows=24, head=head)
    assert report.sound


async def test_an_empty_trail_is_sound(opens: Opens) -> None:
    async with opens() as store:
        head = await store.trail.head()

        assert head.seq == 0
        assert (await store.trail.verify(expected_head=head)).sound


async def test_records_appended_together_stand_together(store: Store) -> None:
    before = await store.trail.head()

    await store.trail.append(a_record(1), a_record(2), a_record(3))

    assert (await store.trail.head()).seq == before.seq + 3
    assert (await store.trail.verify()).sound


async def test_a_secret_cannot_be_written(store: Store) -> None:
    before = await store.trail.head()

    with pytest.raises(TypeError):
        await store.trail.append(AuditRecord("test.noted", facts={"password": Secret("hunter2")}))

    assert await store.trail.head() == before


async def test_a_key_that_is_too_short_is_refused(store: Store) -> None:
    with pytest.raises(ConfigurationError, match="at least 32"):
        AuditTrail(store.db, Secret("short"))


def test_a_seal_is_hmac_sha256_under_a_key_derived_for_its_purpose() -> None:
    derived = hmac.digest(KEY.reveal().encode(), b"a purpose", "sha256")

    assert Seal(KEY, "a purpose")(b"a message") == hmac.digest(derived, b"a message", "sha256")


# --- the nine tamperings, and a few more -----------------------------------------------------------------------------


def edited(path: Path) -> None:
    change(path, "UPDATE audit SET body = replace(body, '\"number\":3', '\"number\":4') WHERE seq = 5")


def deleted(path: Path) -> None:
    change(path, "DELETE FROM audit WHERE seq IN (4, 5)")


def deleted_and_closed_up(path: Path) -> None:
    change(
        path,
        "DELETE FROM audit WHERE seq = 5",
        "UPDATE audit SET seq = 5 WHERE seq = 6",
        "UPDATE audit SET seq = 6 WHERE seq = 7",
    )


def inserted(path: Path) -> None:
    change(
        path,
        "UPDATE audit SET seq = -seq - 1 WHERE seq > 4",
        "UPDATE audit SET seq = -seq WHERE seq < 0",
        "INSERT INTO audit (seq, prev, mac, body) SELECT 5, prev, mac, body FROM audit WHERE seq = 4",
    )


def reordered(path: Path) -> None:
    change(
        path,
        "UPDATE audit SET seq = 99 WHERE seq = 5",
        "UPDATE audit SET seq = 5 WHERE seq = 6",
        "UPDATE audit SET seq = 6 WHERE seq = 99",
    )


def cut(path: Path) -> None:
    change(path, "DELETE FROM audit WHERE seq > 8")


def renumbered(path: Path) -> None:
    change(path, "DELETE FROM audit WHERE seq <= 4", "UPDATE audit SET seq = seq - 4")


def edited_as_bytes(path: Path) -> None:
    """Without SQLite, which has no sums over its pages: `quick_check` finds nothing."""
    path.write_bytes(path.read_bytes().replace(b'"number":4},', b'"number":9},'))


def seal_removed(path: Path) -> None:
    change(path, "UPDATE audit SET mac = x'' WHERE seq = 6")


TAMPERINGS: list[tuple[Callable[[Path], None], str]] = [
    (edited, "Row 5 is not as it was sealed: it was edited, or added by something without the key."),
    (deleted, "Rows 4 to 5 are missing from the trail."),
    (deleted_and_closed_up, "Row 5 was written as row 6: rows were reordered or renumbered."),
    (inserted, "Row 5 was written as row 4: rows were reordered or renumbered."),
    (reordered, "Row 5 was written as row 6: rows were reordered or renumbered."),
    (cut, "The trail ends at row 8, but row 11 was there before: its end was cut off, or an older"),
    (renumbered, "Row 1 was written as row 5: rows were reordered or renumbered."),
    (edited_as_bytes, "Row 6 is not as it was sealed"),
    (seal_removed, "Row 6 is not as it was sealed"),
]


@pytest.mark.parametrize(("tamper", "sentence"), TAMPERINGS, ids=[tamper.__name__ for tamper, _ in TAMPERINGS])
async def test_what_was_done_to_the_file_is_found_and_said(
    path: Path, opens: Opens, tamper: Callable[[Path], None], sentence: str
) -> None:
    async with opens() as store:
        await store.operators.ship_roles()
        await written(store, 10)
        head = await store.trail.head()

    tamper(path)

    async with opens() as store:
        report = await store.trail.verify(expected_head=head)
        assert not report.sound
        assert report.problems[0].startswith(sentence)
        with pytest.raises(TamperingFound, match="changed behind the bot's back"):
            await guard.check(store.db, store.trail, store.operators, head_file=kept(path, head))


def kept(path: Path, head: Head) -> Path:
    file = path.parent.parent / "head"
    file.write_text(str(head))
    return file


def made_no_json(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"number":4},', b'"number":4,,'))


async def test_a_row_that_is_no_longer_json_is_found_when_the_file_is_opened(path: Path, opens: Opens) -> None:
    async with opens() as store:
        await written(store, 10)
    made_no_json(path)

    with pytest.raises(StorageProblem, match="is damaged"):
        async with opens():
            pass


async def test_a_whole_file_put_in_the_place_of_another_is_found_by_the_head(
    path: Path, opens: Opens, tmp_path: Path
) -> None:
    async with opens() as store:
        await written(store, 5)
        head = await store.trail.head()
    async with opens(path=tmp_path / "other" / "other.db") as other:
        await other.operators.ship_roles()
        await written(other, 9)
    shutil.copy(tmp_path / "other" / "other.db", path)

    async with opens() as store:
        alone = await store.trail.verify()
        report = await store.trail.verify(expected_head=head)

    assert alone.sound, "a file made with the key is sound in itself"
    assert report.problems[0].startswith("Row 5 is not the one that was there before: the file was replaced")


async def test_a_trail_continued_by_two_writers_from_one_copy_is_found_by_the_head(
    path: Path, opens: Opens, tmp_path: Path
) -> None:
    copy = tmp_path / "copy" / "latchkey.db"
    async with opens() as store:
        await written(store, 5)
    copy.parent.mkdir(0o700)
    shutil.copy(path, copy)
    async with opens() as store:
        await store.trail.append(a_record(100))
        head = await store.trail.head()
    async with opens(path=copy) as forked:
        await forked.trail.append(a_record(200))
        await forked.trail.append(a_record(201))

        report = await forked.trail.verify(expected_head=head)

    assert report.problems == (
        "Row 6 is not the one that was there before: the file was replaced, or the trail was continued from an older "
        "copy.",
    )


async def test_rows_exchanged_between_two_copies_are_found(path: Path, opens: Opens, tmp_path: Path) -> None:
    copy = tmp_path / "copy" / "latchkey.db"
    async with opens() as store:
        await written(store, 5)
    copy.parent.mkdir(0o700)
    shutil.copy(path, copy)
    for where, first in ((path, 100), (copy, 200)):
        async with opens(path=where) as store:
            await store.trail.append(a_record(first), a_record(first + 1))

    with behind_its_back(path) as connection:
        connection.execute("ATTACH ? AS other", (str(copy),))
        connection.execute("DELETE FROM audit WHERE seq = 7")
        connection.execute(
            "INSERT INTO audit (seq, prev, mac, body) SELECT seq, prev, mac, body FROM other.audit WHERE seq = 7"
        )

    async with opens() as store:
        report = await store.trail.verify()
    assert report.problems == ("Row 7 is genuine but does not follow row 6: rows were exchanged between copies.",)


async def test_a_clock_that_was_set_back_is_noted_and_does_no_harm(store: Store) -> None:
    await written(store, 2)
    store.clock.set(T0 - timedelta(hours=1))
    await written(store, 2)

    report = await store.trail.verify()

    assert report.sound
    assert report.notes == ("Row 4 is dated before the one it follows: the clock was set back.",)


async def test_another_key_fits_no_row_and_that_is_said_once(store: Store) -> None:
    await written(store, 30)

    report = await AuditTrail(store.db, Secret("another key, just as long as the first")).verify()

    assert report.problems[0] == "No row fits this audit key: it is not the key that the trail was written with."


async def test_a_trail_of_another_tenant_does_not_begin_here(path: Path, opens: Opens) -> None:
    async with opens() as store:
        await written(store, 2)

    async with opens(tenant="another tenant") as store:
        assert not (await store.trail.verify()).sound


async def test_many_broken_rows_are_counted_and_not_all_told(path: Path, opens: Opens) -> None:
    async with opens() as store:
        await written(store, 60)
    change(path, "UPDATE audit SET body = replace(body, 'noted', 'noten') WHERE seq > 1")

    async with opens() as store:
        report = await store.trail.verify()

    assert len(report.problems) == 21
    assert report.problems[-1] == "39 more rows are broken."


async def test_a_log_that_was_lost_before_it_reached_the_file_is_found_by_the_head(path: Path, opens: Opens) -> None:
    async with opens() as store:
        await written(store, 3)
    killed_while_appending(path, 5)
    async with opens(path=copied(path)) as store:
        head = await store.trail.head()
    lose_the_log(path)

    async with opens() as store:
        report = await store.trail.verify(expected_head=head)

    assert report.problems[0].startswith("The trail ends at row 3")


def lose_the_log(path: Path) -> None:
    Path(f"{path}-wal").unlink()


def copied(path: Path) -> Path:
    folder = path.parent.parent / "copy"
    folder.mkdir(0o700)
    for end in ("", "-wal"):
        shutil.copy(f"{path}{end}", folder / f"copy.db{end}")
    return folder / "copy.db"


# --- the tables that give power -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("UPDATE operators SET account_id = 'another'", "was edited behind the bot's back (account_id)."),
        ("UPDATE grants SET role = 'tenant-admin'", "was edited behind the bot's back (role)."),
        ("UPDATE grants SET expires_at = NULL", "was edited behind the bot's back (expires_at)."),
        ("DELETE FROM grants", "was deleted behind the bot's back."),
        (
            "INSERT INTO role_commands SELECT tenant, 'viewer', 1, '/m365*' FROM operators",
            "was added behind the bot's back.",
        ),
        (
            "UPDATE roles SET title = 'Harmless' WHERE name = 'tenant-admin'",
            "was edited behind the bot's back (title).",
        ),
        ("UPDATE tenant_settings SET settings = '{}'", "was edited behind the bot's back (settings)."),
    ],
)
@pytest.mark.parametrize("checkpoint_after", [False, True])
async def test_power_given_by_editing_the_file_is_found_at_the_next_start(
    path: Path, opens: Opens, statement: str, sentence: str, checkpoint_after: bool
) -> None:
    async with opens() as store:
        await store.operators.ship_roles()
        await guard.leave(store.trail, head_file=None)
        await store.operators.grant(OLIVE, "helpdesk", by=SHELL, reason="a test", expires_at=T0 + timedelta(days=1))
        await store.settings.change(await store.settings.current(), by=SHELL, reason="a test")
        if checkpoint_after:
            await guard.leave(store.trail, head_file=None)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)

    async with opens() as store:
        with pytest.raises(TamperingFound, match="changed behind the bot's back") as found:
            await guard.check(store.db, store.trail, store.operators, head_file=None)
        report = await store.trail.verify()

    assert sentence in str(found.value)
    assert any(problem.endswith(sentence) for problem in report.problems)


async def test_a_checkpoint_says_when_a_change_of_rights_was_taken_out_with_its_audit_row(
    path: Path, opens: Opens
) -> None:
    async with opens() as store:
        await store.operators.ship_roles()
        await store.grant(OLIVE, "helpdesk")
        await store.trail.checkpoint()
    change(path, "DELETE FROM grants", "DELETE FROM operators", "DELETE FROM audit WHERE seq = 2")

    async with opens() as store:
        report = await store.trail.verify()

    assert report.problems == (
        "Row 2 is missing from the trail.",
        "Checkpoint 3 does not fit the rows before it: changes of rights are missing.",
    )


async def test_a_start_examines_only_what_came_after_the_last_checkpoint(store: Store) -> None:
    await written(store, 50)
    await guard.leave(store.trail, head_file=None)
    await store.grant(OLIVE, "helpdesk")

    report = await guard.check(store.db, store.trail, store.operators, head_file=None)

    assert report.sound
    assert report.rows == 2


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("DROP TRIGGER audit_is_not_deleted", "Missing: audit_is_not_deleted"),
        ("DROP INDEX audit_request", "Missing: audit_request"),
        (
            "CREATE TRIGGER gift AFTER INSERT ON requests BEGIN UPDATE grants SET role = 'tenant-admin'; END",
            "Not ours: gift",
        ),
        ("ALTER TABLE outbox ADD COLUMN copy_to TEXT", "Altered: outbox"),
    ],
)
async def test_a_file_whose_structure_was_changed_is_refused(
    path: Path, opens: Opens, statement: str, sentence: str
) -> None:
    async with opens():
        pass
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)

    async with opens() as store:
        with pytest.raises(TamperingFound, match=sentence):
            await guard.check(store.db, store.trail, store.operators, head_file=None)


# --- taken away when its time is over -------------------------------------------------------------------------------


async def aged(store: Store, *, old: int = 3, new: int = 7) -> Head:
    """A trail whose first rows, the roles among them, were taken away by a cut; returns its head."""
    await store.operators.ship_roles()
    await written(store, old - 1)
    store.clock.advance(timedelta(days=31).total_seconds())
    for number in range(old, old + new):
        await store.trail.append(a_record(number - 1))
    assert await store.trail.cut(store.clock.now() - timedelta(days=30)) == old
    return await store.trail.head()


async def test_a_trail_that_was_cut_is_as_sound_as_before_and_says_what_went(opens: Opens) -> None:
    async with opens() as store:
        await store.operators.ship_roles()
        await store.grant(OLIVE, "helpdesk")
        gone = [line async for line in store.trail.export()]
        store.clock.advance(timedelta(days=31).total_seconds())
        await store.grant(OLIVE, "operator")
        await store.trail.checkpoint()

        await store.trail.cut(store.clock.now() - timedelta(days=30))

        report = await store.trail.verify()
        (row,) = await store.trail.query(limit=1)
        first, last = (json.loads(line) for line in (gone[0], gone[-1]))
        assert report == Report(
            rows=3,
            head=await store.trail.head(),
            notes=(
                "The trail begins at row 3: what was before was taken away when its time was over. "
                "Row 5 of 2026-04-03 seals that.",
            ),
        )
        assert row.record.kind == "audit.cut"
        assert row.record.facts == {
            "rows": 2,
            "first": 1,
            "first_seal": first["mac"],
            "through": 2,
            "last_seal": last["mac"],
            "until": last["at"],
            "contents": row.record.facts["contents"],
        }
        assert (await guard.check(store.db, store.trail, store.operators, head_file=None)).sound


async def test_cuts_follow_one_another_and_the_last_may_leave_nothing_but_itself(store: Store) -> None:
    for _ in range(3):
        await store.grant(OLIVE, "helpdesk")
        store.clock.advance(60)
        await store.trail.cut(store.clock.now())
        assert (await store.trail.verify()).sound

    assert (await store.trail.verify()).rows == 1
    assert await store.trail.cut(store.clock.now()) == 0


async def test_a_clock_that_leapt_takes_nothing_away(store: Store) -> None:
    await written(store, 5)
    await store.trail.checkpoint()
    store.clock.advance(timedelta(days=3 * 365).total_seconds())
    month, lately = timedelta(days=30), timedelta(days=2)

    assert await store.trail.cut(store.clock.now() - month, seen=lately) == 0

    await store.trail.checkpoint()
    assert await store.trail.cut(store.clock.now() - month, seen=lately) == 7


async def test_a_long_past_is_taken_away_piece_by_piece(store: Store) -> None:
    def fill(connection: sqlite3.Connection) -> None:
        store.trail.chain(connection, [a_record()] * 12_000)

    await store.db.write(fill)
    store.clock.advance(60)

    assert await store.trail.cut(store.clock.now()) == 12_001
    assert (await store.trail.verify()).rows == 3


@pytest.mark.parametrize(("tamper", "sentence"), TAMPERINGS, ids=[tamper.__name__ for tamper, _ in TAMPERINGS])
async def test_what_is_done_to_the_file_after_a_cut_is_found_as_before(
    path: Path, opens: Opens, tamper: Callable[[Path], None], sentence: str
) -> None:
    async with opens() as store:
        head = await aged(store)
        assert head.seq == 11

    tamper(path)

    async with opens() as store:
        report = await store.trail.verify(expected_head=head)
        assert not report.sound
        assert any(problem.startswith(sentence) for problem in report.problems)
        with pytest.raises(TamperingFound, match="changed behind the bot's back"):
            await guard.check(store.db, store.trail, store.operators, head_file=kept(path, head))


async def test_a_cut_that_nobody_sealed_is_found(path: Path, opens: Opens) -> None:
    async with opens() as store:
        await aged(store)
    change(path, "DELETE FROM audit WHERE seq <= 5")

    async with opens() as store:
        report = await store.trail.verify()

    assert report.problems == ("Rows 4 to 5 are missing from the trail.",)


async def test_a_cut_sealed_without_the_key_is_found(path: Path, opens: Opens) -> None:
    async with opens() as store:
        await store.operators.ship_roles()
        await written(store, 4)
        body = canonical({"facts": {"through": 3}, "kind": "audit.cut", "seq": 6, "tenant": store.db.tenant})

        def forge(connection: sqlite3.Connection) -> None:
            """All that SQLite asks for; only the seal is wrong."""
            connection.execute("INSERT INTO audit (seq, prev, mac, body) VALUES (6, x'00', x'00', ?)", (body,))
            connection.execute("DELETE FROM audit WHERE seq <= 3")

        await store.db.write(forge)

        assert (await store.trail.verify()).problems[0] == "Rows 1 to 3 are missing from the trail."


async def test_rows_put_back_before_the_beginning_are_found(path: Path, opens: Opens, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    async with opens() as store:
        await store.operators.ship_roles()
        await written(store, 2)
    shutil.copy(path, copy)
    async with opens() as store:
        store.clock.advance(60)
        await store.trail.cut(store.clock.now())
    with behind_its_back(path) as connection:
        connection.execute("ATTACH ? AS other", (str(copy),))
        connection.execute(
            "INSERT INTO audit (seq, prev, mac, body) SELECT seq, prev, mac, body FROM other.audit WHERE seq = 2"
        )

    async with opens() as store:
        report = await store.trail.verify()

    assert report.problems == ("Row 2 stands before the beginning of the trail: put there after it was cut.",)


@pytest.mark.parametrize("checkpoint_after", [False, True])
async def test_power_given_by_editing_the_file_after_a_cut_is_found(
    path: Path, opens: Opens, checkpoint_after: bool
) -> None:
    async with opens() as store:
        await aged(store)
        if checkpoint_after:
            await guard.leave(store.trail, head_file=None)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("INSERT INTO role_commands SELECT tenant, 'viewer', 1, '/m365*' FROM roles LIMIT 1")

    async with opens() as store:
        with pytest.raises(TamperingFound, match="do not hold what the trail says"):
            await guard.check(store.db, store.trail, store.operators, head_file=None)
        assert not (await store.trail.verify()).sound


async def test_a_trail_that_is_not_sound_is_not_cut(path: Path, opens: Opens) -> None:
    async with opens() as store:
        await written(store, 6)
    change(path, "UPDATE audit SET body = replace(body, '\"number\":3', '\"number\":4')")

    async with opens() as store:
        store.clock.advance(60)
        with pytest.raises(TamperingFound, match=r"nothing old is taken away from it\. Row 4 is not as it was sealed"):
            await store.trail.cut(store.clock.now())
        assert (await store.trail.head()).seq == 6


async def test_heads_from_before_a_cut_and_at_its_edge_are_told_apart(store: Store) -> None:
    first = await store.trail.head()
    await written(store, 1)
    edge = await store.trail.head()
    store.clock.advance(60)
    await store.trail.cut(store.clock.now())

    too_old = await store.trail.verify(expected_head=first)
    assert too_old.sound
    assert "Row 1 was taken away when its time was over (row 3 of" in too_old.notes[1]
    at_the_edge = await store.trail.verify(expected_head=edge)
    assert at_the_edge.sound
    assert len(at_the_edge.notes) == 1
    assert not (await store.trail.verify(expected_head=Head(2, "0" * 64))).sound


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_is_done_in_whatever_order_a_trail_that_is_cut_stays_sound(store: Store, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - the same deeds for the same seed
    people = [SlackUser("T1", f"U{number}") for number in range(4)]
    cuts = 0
    for step in range(60):
        match chance.choice(("grant", "grant", "settings", "note", "checkpoint", "later", "cut")):
            case "grant":
                await store.grant(chance.choice(people), chance.choice(("helpdesk", "operator", "viewer")))
            case "settings":
                await store.settings.change(await store.settings.current(), by=SHELL, reason=f"{step}")
            case "note":
                await written(store, chance.randrange(4))
            case "checkpoint":
                await guard.leave(store.trail, head_file=None)
            case "later":
                store.clock.advance(chance.randrange(1, 3600))
            case "cut":
                cuts += await store.trail.cut(store.clock.now() - timedelta(seconds=chance.randrange(3600))) > 0
        if step % 10 == 9:
            assert (await store.trail.verify()).problems == ()
            assert (await guard.check(store.db, store.trail, store.operators, head_file=None)).sound
    assert cuts


# --- reading --------------------------------------------------------------------------------------------------------


async def test_the_trail_is_searched_by_who_on_whom_and_which_request_page_by_page(store: Store) -> None:
    for number in range(6):
        store.clock.advance(60)
        await store.trail.append(
            a_record(
                number,
                operator_id="olive" if number % 2 else "bo",
                target_id="adele" if number < 3 else "megan",
                request_id=f"r{number}",
            )
        )

    def numbers(rows: list[object]) -> list[object]:
        return [row.record.facts["number"] for row in rows]  # type: ignore[attr-defined]  # rows of the trail

    async def asked(**about: object) -> list[object]:
        return numbers(list(await store.trail.query(AuditSelection(**about))))  # type: ignore[arg-type]  # each its own

    first = await store.trail.query(AuditSelection(operator="olive"), limit=2)
    assert numbers(list(first)) == [5, 3]
    later = await store.trail.query(AuditSelection(operator="olive"), limit=2, before_seq=first[-1].seq)
    assert numbers(list(later)) == [1]
    assert await asked(target="adele") == [2, 1, 0]
    assert await asked(target="adele", operator="bo") == [4, 2, 1, 0]
    assert await asked(request="r4") == [4]
    assert await asked(operator="nobody") == []
    assert await asked(operator="olive", since=T0 + timedelta(minutes=4)) == [5, 3]
    assert await asked(operator="olive", until=T0 + timedelta(minutes=4)) == [1]
    assert first[0].at == T0 + timedelta(minutes=6)
    assert first[0].record == a_record(5, operator_id="olive", target_id="megan", request_id="r5")


async def test_what_changed_since_yesterday_is_counted_once_each(store: Store) -> None:
    def an_attempt(number: int, path: str, outcome: str) -> tuple[AuditRecord, AuditRecord]:
        about = {"request_id": f"r{number}", "attempt_id": f"a{number}"}
        return (
            AuditRecord("attempt.started", facts={"path": path}, **about),  # type: ignore[arg-type]  # ids are text
            AuditRecord("attempt.finished", facts={"outcome": outcome}, **about),  # type: ignore[arg-type]  # as above
        )

    await store.trail.append(*an_attempt(1, "users/adele", "succeeded"))
    store.clock.advance(timedelta(days=1).total_seconds())
    today = store.clock.now()
    await store.trail.append(*an_attempt(2, "users/adele", "succeeded"), *an_attempt(3, "users/adele", "refused"))
    await store.grant(OLIVE, "helpdesk")
    await store.settings.change(await store.settings.current(), by=SHELL, reason="through an attempt")
    await store.trail.append(*an_attempt(4, "latchkey/settings", "succeeded"), a_record())

    assert await store.trail.changes_since(today) == 3


async def test_an_export_is_json_lines_that_anybody_with_the_key_can_verify(store: Store) -> None:
    await store.trail.append(AuditRecord("test.noted", facts={"text": 'a "quote",\n\u2028 and \ud800 half a pair'}))
    await store.trail.append(AuditRecord("test.noted", session_generation=7))

    lines = [line async for line in store.trail.export()]

    key = hmac.digest(KEY.reveal().encode(), b"latchkey audit chain", hashlib.sha256)
    prev = hmac.digest(key, b"origin" + store.db.tenant.encode(), hashlib.sha256)
    for number, line in enumerate(lines, 1):
        row = json.loads(line)
        assert row.pop("prev") == prev.hex()
        mac = bytes.fromhex(row.pop("mac"))
        assert line.isascii()
        assert "\n" not in line
        prev = hmac.digest(key, f"{number}|".encode() + prev + b"|" + canonical(row).encode(), hashlib.sha256)
        assert mac == prev
    assert len(lines) == 3
    assert json.loads(lines[2])["session"] == 7


async def test_verifying_takes_no_more_memory_for_a_longer_trail(store: Store) -> None:
    def fill(connection: sqlite3.Connection) -> None:
        store.trail.chain(connection, [AuditRecord("test.noted", facts={"text": "x" * 300})] * 10_000)

    await store.db.write(fill)

    tracemalloc.start()
    report = await store.trail.verify()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert report.rows == 10_001
    assert peak < 1_000_000


@pytest.mark.parametrize("text", ["", "12", "x:" + "0" * 64, "1:abc", "1:" + "G" * 64, "²:" + "0" * 64])
def test_a_head_that_cannot_be_one_is_explained(text: str) -> None:
    with pytest.raises(BadInput, match="looks like"):
        Head.parse(text)


def test_a_head_is_read_as_it_was_written() -> None:
    head = Head(1234, "9f" * 32)

    assert Head.parse(f" {head}\n") == head


async def test_nothing_is_appended_to_a_closed_file(opens: Opens) -> None:
    async with opens() as store:
        pass

    with pytest.raises(StorageProblem, match="Nothing was changed"):
        await store.trail.append(a_record())
