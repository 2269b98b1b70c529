"""The database changed behind the bot's back (S23, S24): found by `latchkey audit verify`, and at the bot's start."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from bot.clock import SystemClock
from bot.config import Config, read_config
from bot.errors import StorageProblem, TamperingFound
from bot.model import AuditRecord
from bot.wiring import audit_key, latchkey, storage
from sandbox.bot_process import BotProcess
from sandbox.world import World
from tests.stage import SHELL, Stage, environment, set_up
from tests.threats.effects import PEOPLE, settled
from tests.threats.log import Log
from tests.threats.talking import PATIENT

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True)
class Installed:
    """A world, and the folders of a bot that worked in it: as a crash leaves them, and as a clean stop does."""

    world: World
    config: Config
    crashed: Path
    stopped: Path


@dataclass(frozen=True)
class Copy:
    """A copy of one of the folders, to be spoiled."""

    world: World
    config: Config
    folder: Path

    @property
    def database(self) -> Path:
        return self.config.database

    def shell(self) -> BotProcess:
        settings = {
            **self.world.environment(),
            "LATCHKEY_DATABASE": str(self.database),
            "LATCHKEY_AUDIT_KEY_FILE": str(self.config.audit_key_file),
        }
        return BotProcess(settings, self.folder)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installed]:
    folder, crashed = tmp_path_factory.mktemp("installed"), tmp_path_factory.mktemp("crashed")
    async with World(state=folder, limits=PATIENT) as world:
        with environment(world.environment()):
            config = read_config()
            await set_up(config, world)
            async with latchkey(config) as bot:
                await world.slack.connected(2)
                await Stage(world, config, bot).reset("olive", "adele@contoso.com", "Adele Vance, Sales")
                await settled(bot)
                shutil.copytree(folder / "keys", crashed / "keys")
                (crashed / "data").mkdir(0o700)
                _snapshot(config.database, crashed / "data" / config.database.name)
            yield Installed(world, config, crashed, folder)


def _snapshot(source: Path, target: Path) -> None:
    """The file as it would be after a crash, with what its write-ahead log holds."""
    target.touch(0o600)
    with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy)


@pytest.fixture
def copies(installed: Installed, tmp_path: Path) -> Callable[[Path], Copy]:
    def copy(source: Path, name: str = "copy") -> Copy:
        folder = tmp_path / name
        for part in ("data", "keys"):
            shutil.copytree(source / part, folder / part)
        paths = {"database": folder / "data" / "latchkey.db", "audit_key_file": folder / "keys" / "audit.key"}
        return Copy(installed.world, installed.config.model_copy(update=paths), folder)

    return copy


@contextmanager
def behind_its_back(path: Path) -> Iterator[sqlite3.Connection]:
    """For somebody who owns the machine: the triggers are taken away and put back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        yield connection
        for _, sql in triggers:
            connection.execute(sql)


def change(path: Path, *statements: str) -> None:
    """`LAST` stands for the number of the trail's last row."""
    with behind_its_back(path) as connection:
        (last,) = connection.execute("SELECT max(seq) FROM audit").fetchone()
        for statement in statements:
            connection.execute(statement.replace("LAST", str(last)))


# --- the trail ---------------------------------------------------------------------------------------


def edited(path: Path) -> None:
    change(path, "UPDATE audit SET body = replace(body, 'locked out', 'no reason!') WHERE body LIKE '%locked out%'")


def deleted(path: Path) -> None:
    change(path, "DELETE FROM audit WHERE seq = LAST - 1")


def inserted(path: Path) -> None:
    change(
        path,
        "UPDATE audit SET seq = -seq - 1 WHERE seq > LAST - 2",
        "UPDATE audit SET seq = -seq WHERE seq < 0",
        "INSERT INTO audit (seq, prev, mac, body) SELECT LAST - 1, prev, mac, body FROM audit WHERE seq = LAST - 2",
    )


def reordered(path: Path) -> None:
    change(
        path,
        "UPDATE audit SET seq = 1000000 WHERE seq = LAST",
        "UPDATE audit SET seq = LAST WHERE seq = LAST - 1",
        "UPDATE audit SET seq = LAST - 1 WHERE seq = 1000000",
    )


def numbered_anew(path: Path) -> None:
    change(path, "DELETE FROM audit WHERE seq <= 3", "UPDATE audit SET seq = seq - 3")


CHANGES = (edited, deleted, inserted, reordered, numbered_anew)


@pytest.mark.parametrize("tamper", CHANGES)
async def test_a_changed_trail_is_found_at_the_start_after_a_crash(
    installed: Installed, copies: Callable[[Path], Copy], tamper: Callable[[Path], None]
) -> None:
    """S23: nothing privileged begins, and the sentence says what to do."""
    copy = copies(installed.crashed)
    tamper(copy.database)

    await refuses_to_start(copy)


async def refuses_to_start(copy: Copy) -> str:
    """The bot ends with a sentence before it has asked Microsoft for anything, and has told people; the sentence."""
    world = copy.world
    before = [len(world.entra.requests), len(world.graph.requests), len(world.vault.requests)]
    said = len(world.slack.calls())

    with pytest.raises(TamperingFound) as refused:
        async with latchkey(copy.config):
            pass

    assert [len(world.entra.requests), len(world.graph.requests), len(world.vault.requests)] == before
    assert {call.method for call in world.slack.calls()[said:]} <= {"chat.postMessage"}
    sentence = str(refused.value)
    assert "was changed behind the bot's back, so nothing privileged is done" in sentence
    assert "`latchkey audit verify` tells all" in sentence
    return sentence


async def test_a_trail_whose_end_was_cut_off_is_found_at_the_start(
    installed: Installed, copies: Callable[[Path], Copy]
) -> None:
    """S23: by the head that is kept beside the key."""
    copy = copies(installed.stopped)
    change(copy.database, "DELETE FROM audit WHERE seq > LAST - 3")

    assert "its end was cut off" in await refuses_to_start(copy)


async def test_an_older_file_in_the_place_of_the_newer_is_found_at_the_start(
    installed: Installed, copies: Callable[..., Copy]
) -> None:
    """S23: sound in itself, but not the one that was there."""
    copy, older = copies(installed.stopped), copies(installed.crashed, "older")
    copy.database.write_bytes(older.database.read_bytes())

    assert "an older file was put in its place" in await refuses_to_start(copy)


async def test_a_trail_that_two_went_on_with_is_found_at_the_start(
    installed: Installed, copies: Callable[..., Copy]
) -> None:
    """S23: both have the key; one of them is not the one whose head was kept."""
    copy, fork = copies(installed.stopped), copies(installed.stopped, "fork")
    for one, reason in ((copy, "here"), (fork, "there")):
        async with storage(one.config, SystemClock(), await audit_key(one.config, None)) as store:
            await store.trail.append(AuditRecord("test.noted", facts={"where": reason}))
    copy.database.write_bytes(fork.database.read_bytes())

    assert "the trail was continued from an older copy" in await refuses_to_start(copy)


# --- power -------------------------------------------------------------------------------------------

GRABS = {
    "a role for oneself": (
        "INSERT INTO grants SELECT 'mine', tenant, (SELECT id FROM operators WHERE name = 'Olive Hart'), "
        "'tenant-admin', NULL, NULL, granted_at, NULL, 0, 'because', NULL, NULL, NULL FROM grants LIMIT 1"
    ),
    "another role's name": "UPDATE grants SET role = 'tenant-admin' WHERE role = 'helpdesk'",
    "more commands for a role": (
        "UPDATE role_commands SET pattern = '/m365*', wild = 1 WHERE role = 'viewer' AND pattern = '/m365 help'"
    ),
    "no end any more": "UPDATE grants SET expires_at = '2099-01-01T00:00:00.000000+00:00' WHERE role = 'helpdesk'",
    "somebody else's Slack user": "UPDATE operators SET slack_user = 'U0NINA0001' WHERE name = 'Ana Ruiz'",
    "somebody else's account": "UPDATE operators SET account_id = 'x' WHERE name = 'Olive Hart'",
    "no reasons any more": (
        "UPDATE tenant_settings SET settings = replace(settings, '_required\":true', '_required\":false')"
    ),
    "a right that was taken away": "UPDATE grants SET revoked_at = NULL",
}
"""`UPDATE ... revoked_at` changes nothing unless something was revoked, so that one is prepared below."""


@pytest.mark.parametrize("grab", [name for name in GRABS if name != "a right that was taken away"])
@pytest.mark.parametrize("left_by", ["a crash", "a clean stop"])
async def test_power_taken_by_editing_the_file_is_found_at_the_start(
    installed: Installed, copies: Callable[[Path], Copy], grab: str, left_by: str
) -> None:
    """S24: rows of power count only with the audit rows that made them."""
    copy = copies(installed.crashed if left_by == "a crash" else installed.stopped)
    change(copy.database, GRABS[grab])

    assert "behind the bot's back" in await refuses_to_start(copy)


async def test_a_right_given_back_by_editing_the_file_is_found_at_the_start(
    installed: Installed, copies: Callable[[Path], Copy]
) -> None:
    """S24."""
    copy = copies(installed.stopped)
    async with storage(copy.config, SystemClock(), await audit_key(copy.config, None)) as store:
        await store.operators.revoke(PEOPLE["olive"], "helpdesk", by=SHELL, reason="left")
    change(copy.database, GRABS["a right that was taken away"])

    assert "(revoked_at)" in await refuses_to_start(copy)


async def test_an_edit_while_the_bot_runs_stops_privileged_work_the_next_night(
    installed: Installed, copies: Callable[[Path], Copy], log: Log
) -> None:
    """S23: the nightly look replays everything."""
    copy = copies(installed.stopped)
    world = copy.world
    async with latchkey(copy.config) as bot:
        await world.slack.connected(2)
        stage = Stage(world, copy.config, bot)
        assert "Adele Vance" in await stage.ask("olive", "/m365 show-user adele@contoso.com")
        change(copy.database, GRABS["another role's name"])
        world.clock.advance(24 * 3600)
        while bot.session.acting() is not None or not _found(log):
            await world.slack.wait_newer(world.slack.version, 0.05)
        await world.slack.connected(2)
        answer = await stage.ask("olive", "/m365 show-user adele@contoso.com")
        assert "edited behind the bot's back (role)" in answer


def _found(log: Log) -> bool:
    return any(event["event"] == "audit trail not sound" for event in log.events)


# --- from a shell ------------------------------------------------------------------------------------


TAMPERINGS: dict[str, str] = {
    "edited": "was edited, or added by something without the key",
    "deleted": "is missing from the trail",
    "inserted": "rows were reordered or renumbered",
    "reordered": "rows were reordered or renumbered",
    "cut": "its end was cut off",
    "replaced": "an older file was put in its place",
    "numbered_anew": "rows were reordered or renumbered",
    "forked": "the trail was continued from an older copy",
}


@pytest.mark.slow
@pytest.mark.parametrize("tampering", TAMPERINGS)
async def test_latchkey_audit_verify_finds_it_and_says_what_it_found(
    installed: Installed, copies: Callable[..., Copy], tampering: str
) -> None:
    """S23: eight of the nine, on a database that a bot has worked in. It exits with 1, for whatever watches it."""
    copy = copies(installed.stopped)
    match tampering:
        case "cut":
            change(copy.database, "DELETE FROM audit WHERE seq > LAST - 3")
        case "replaced":
            copy.database.write_bytes((installed.crashed / "data" / "latchkey.db").read_bytes())
        case "forked":
            fork = copies(installed.stopped, "fork")
            for one, where in ((copy, "here"), (fork, "there")):
                async with storage(one.config, SystemClock(), await audit_key(one.config, None)) as store:
                    await store.trail.append(AuditRecord("test.noted", facts={"where": where}))
            copy.database.write_bytes(fork.database.read_bytes())
        case name:
            next(each for each in CHANGES if each.__name__ == name)(copy.database)

    finished = await copy.shell().command("audit", "verify")

    assert finished.exit_code == 1, finished.output
    assert TAMPERINGS[tampering] in finished.output
    assert "The audit trail is NOT SOUND" in finished.output
    assert "Traceback" not in finished.output


@pytest.mark.slow
async def test_latchkey_audit_verify_notes_a_clock_that_was_set_back_and_finds_all_else_sound(
    installed: Installed, copies: Callable[[Path], Copy]
) -> None:
    """S23, the ninth: no row can be dated back unseen, and nobody is locked out by a wrong clock."""
    copy = copies(installed.stopped)
    clock = SystemClock()
    clock.set_offset(-3600)
    async with storage(copy.config, clock, await audit_key(copy.config, None)) as store:
        await store.trail.append(AuditRecord("test.noted"))

    finished = await copy.shell().command("audit", "verify")

    assert finished.exit_code == 0, finished.output
    assert "the clock was set back" in finished.output
    assert "The audit trail is sound" in finished.output


@pytest.mark.slow
async def test_latchkey_run_ends_with_the_sentence_and_latchkey_grant_changes_nothing(
    installed: Installed, copies: Callable[[Path], Copy]
) -> None:
    """S23, S24: every program examines the file before it believes it."""
    copy = copies(installed.stopped)
    change(copy.database, GRABS["a role for oneself"])

    for arguments in (("run",), ("grant", "U0NINA0001", "helpdesk"), ("revoke", "U0OLIVE001", "helpdesk"), ("doctor",)):
        finished = await copy.shell().command(*arguments)
        assert finished.exit_code == 1, (arguments, finished.output)
        assert "behind the bot's back" in finished.output
        assert "Traceback" not in finished.output


@pytest.mark.slow
async def test_another_key_opens_nothing(installed: Installed, copies: Callable[[Path], Copy]) -> None:
    """S23: the key is what seals; with another one no row fits."""
    copy = copies(installed.stopped)
    assert copy.config.audit_key_file is not None
    copy.config.audit_key_file.write_text("another key, long enough to be one of ours, but it is not\n")

    with pytest.raises(StorageProblem):
        async with latchkey(copy.config):
            pass
    finished = await copy.shell().command("audit", "verify")

    assert finished.exit_code == 1
    assert "it is not the key that the trail was written with" in finished.output
