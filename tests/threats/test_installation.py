"""Files, settings and the source itself (S29, S33): what is open to others, or points elsewhere, does not start."""

from __future__ import annotations

import ast
import contextlib
import os
import stat
from collections.abc import AsyncIterator, Iterator
from functools import cache
from pathlib import Path

import aiohttp
import pytest

from bot.clock import SystemClock
from bot.config import Config, read_config
from bot.errors import ConfigurationError, StorageProblem
from bot.wiring import audit_key, storage
from sandbox.bot_process import BotProcess
from sandbox.world import World
from tests.stage import HELPDESK, environment, open_stage, set_up

ROOT = Path(__file__).parent.parent.parent

# --- files -------------------------------------------------------------------------------------------


@pytest.fixture
def open_handed() -> Iterator[None]:
    """A machine on which new files are open to everybody by default."""
    before = os.umask(0)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, str]:
    """The permissions of everything in an installation but the sandbox's certificates."""
    paths = [path for path in folder.rglob("*") if "tls" not in path.relative_to(folder).parts]
    return {str(path.relative_to(folder)): oct(stat.S_IMODE(path.stat().st_mode)) for path in paths}


async def test_all_that_the_bot_makes_is_for_its_owner_only(open_handed: None, tmp_path: Path) -> None:
    """S29: database, write-ahead log, key and head, whatever the machine's habits are."""
    async with open_stage(tmp_path) as stage:
        await stage.ask("olive", "/m365 show-user adele@contoso.com")
        assert stage.world.slack.messages(HELPDESK) == []
        made = modes(tmp_path)

    assert made == {
        "data": "0o700",
        "data/latchkey.db": "0o600",
        "data/latchkey.db-wal": "0o600",
        "data/latchkey.db-shm": "0o600",
        "keys": "0o700",
        "keys/audit.key": "0o600",
        "keys/audit.head": "0o600",
    }


@pytest.fixture
async def config(tmp_path: Path) -> AsyncIterator[Config]:
    """The settings of an installation whose database is open in another process."""
    paths = {
        "LATCHKEY_DATABASE": str(tmp_path / "data" / "latchkey.db"),
        "LATCHKEY_AUDIT_KEY_FILE": str(tmp_path / "keys" / "audit.key"),
    }
    with contextlib.chdir(tmp_path), environment({**REAL, **paths}):
        config = read_config()
    async with storage(config, SystemClock(), await audit_key(config, None)):
        yield config


async def _open(config: Config) -> None:
    async with storage(config, SystemClock(), await audit_key(config, None)):
        pass


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
@pytest.mark.parametrize("path", ["data/latchkey.db", "keys/audit.key"])
async def test_a_database_or_key_that_others_can_read_is_refused_in_words(
    config: Config, tmp_path: Path, path: str, mode: int
) -> None:
    """S29."""
    (tmp_path / path).chmod(mode)

    with pytest.raises(StorageProblem, match=f"chmod 600 .*{Path(path).name}"):
        await _open(config)


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o777])
async def test_a_database_in_a_folder_that_others_can_enter_is_refused_in_words(
    config: Config, tmp_path: Path, mode: int
) -> None:
    """S29."""
    (tmp_path / "data").chmod(mode)

    with pytest.raises(StorageProblem, match="chmod 700"):
        await _open(config)


@pytest.mark.parametrize("end", ["-wal", "-shm"])
async def test_a_log_beside_the_database_that_others_can_read_is_refused_in_words(
    config: Config, tmp_path: Path, end: str
) -> None:
    """S29: what was written last stands there first."""
    (tmp_path / "data" / f"latchkey.db{end}").chmod(0o644)

    with pytest.raises(StorageProblem, match="chmod 600"):
        await _open(config)


async def test_a_key_beside_the_database_is_refused_in_words(config: Config, tmp_path: Path) -> None:
    """S23, S29: who can change the one could forge the other."""
    beside = tmp_path / "data" / "audit.key"

    with pytest.raises(StorageProblem, match="lies in the same folder as the database"):
        await _open(config.model_copy(update={"audit_key_file": beside}))
    assert not beside.exists()


async def test_a_key_that_is_gone_is_not_replaced(config: Config, tmp_path: Path) -> None:
    """S23: a new one would make every trail look sound."""
    (tmp_path / "keys" / "audit.key").unlink()

    with pytest.raises(StorageProblem, match="is missing"):
        await _open(config)
    assert not (tmp_path / "keys" / "audit.key").exists()


# --- settings ----------------------------------------------------------------------------------------

REAL = {
    "LATCHKEY_SLACK_BOT_TOKEN": "xoxb-Canary-Token-1",
    "LATCHKEY_SLACK_APP_TOKEN": "xapp-Canary-Token-2",
    "LATCHKEY_SERVICE_CLIENT_SECRET": "Canary-Secret-3",
    "LATCHKEY_TENANT_ID": "7a1d2c3e-0000-4000-8000-00000000c0de",
    "LATCHKEY_VAULT_URL": "https://contoso.vault.azure.net",
}

LOCAL = {
    "LATCHKEY_SLACK_API_URL": "http://127.0.0.1:1/slack/api/",
    "LATCHKEY_AUTHORITY_HOST": "https://localhost:2",
    "LATCHKEY_GRAPH_URL": "https://localhost:2/graph/v1.0",
    "LATCHKEY_VAULT_URL": "https://[::1]:3",
    "LATCHKEY_SANDBOX_CLOCK": "http://127.0.0.1:1/clock",
}


@pytest.fixture
def at_home(tmp_path: Path) -> Iterator[Path]:
    """An empty working directory, with no `.env`."""
    with contextlib.chdir(tmp_path):
        yield tmp_path


ELSEWHERE = (
    "https://graph.microsoft.com",
    "https://slack.com/api/",
    "https://10.0.0.1",
    "https://127.0.0.1.evil.example",
    "https://localhost.evil.example",
    "https://evil.example/127.0.0.1",
    "https://127-0-0-1.evil.example",
    "https://0.0.0.0",
    "https://2130706433",
    "https://[::ffff:10.0.0.1]",
    "https://[fe80::1]",
)


@pytest.mark.parametrize("address", ELSEWHERE)
@pytest.mark.parametrize("name", [name for name in LOCAL if name != "LATCHKEY_SANDBOX_CLOCK"])
def test_the_sandboxs_clock_does_not_start_with_an_address_of_another_machine(
    at_home: Path, name: str, address: str
) -> None:
    """S29: pretend time must never meet a real tenant."""
    with environment({**REAL, **LOCAL, name: address}), pytest.raises(ConfigurationError, match=name):
        read_config()


@pytest.mark.parametrize("address", ELSEWHERE)
def test_the_sandboxs_clock_itself_is_on_this_machine(at_home: Path, address: str) -> None:
    """S29."""
    settings = {**REAL, **LOCAL, "LATCHKEY_SANDBOX_CLOCK": address}
    with environment(settings), pytest.raises(ConfigurationError, match="LATCHKEY_SANDBOX_CLOCK"):
        read_config()


def test_with_addresses_of_this_machine_it_starts(at_home: Path) -> None:
    with environment({**REAL, **LOCAL}):
        assert read_config().sandbox_clock == "http://127.0.0.1:1/clock"


def test_points_to_be_killed_at_are_for_the_sandbox_only(at_home: Path) -> None:
    """S29: nothing in a real installation lets somebody choose where it dies."""
    with (
        environment({**REAL, "LATCHKEY_SANDBOX_KILL_AT": "SENT"}),
        pytest.raises(ConfigurationError, match="sandbox only"),
    ):
        read_config()


@pytest.mark.parametrize("level", ["DEBUG", "debug", "NOTSET", "TRACE", "10", "INFO,DEBUG"])
def test_a_log_that_would_hold_payloads_cannot_be_asked_for(at_home: Path, level: str) -> None:
    """S29: the libraries print bodies and tokens at DEBUG."""
    with (
        environment({**REAL, "LATCHKEY_LOG_LEVEL": level}),
        pytest.raises(ConfigurationError, match="LATCHKEY_LOG_LEVEL"),
    ):
        read_config()


WRONG = {
    "LATCHKEY_SLACK_API_URL": (
        "slack.com/api",
        "ftp://slack.com/api/",
        "http://slack.com/api/",
        "https://user:Canary-Secret-4@slack.com/api/",
        "https://slack.com@evil.example/",
        "https://sl\nack.com/api/",
        "https://slack.com/api/?token=Canary-Secret-4",
        "https://slack.com:0/",
        "https://slack.com:99999/",
        "https://slack.com:a/",
        "https://[::1",
        "https://",
        "https://slаck.com/api/",
    ),
    "LATCHKEY_GRAPH_URL": (
        "http://graph.microsoft.com/v1.0",
        "//graph.microsoft.com",
        "https://graph.microsoft.com\\v1.0",
    ),
    "LATCHKEY_VAULT_URL": ("http://contoso.vault.azure.net", "contoso"),
    "LATCHKEY_AUTHORITY_HOST": ("http://login.microsoftonline.com", "login.microsoftonline.com"),
    "LATCHKEY_SLACK_BOT_TOKEN": ("xoxb-Canary-Secret-4\nX-Evil: 1", "xoxb Canary-Secret-4", "xoxb-Canary-Secret-é"),
    "LATCHKEY_SERVICE_CLIENT_SECRET": ("Canary-Secret-4\0",),
    "LATCHKEY_HTTP_PORT": ("0", "-1", "99999", "all", "80; reboot"),
    "LATCHKEY_TIME_ZONE": ("../../etc/passwd", "Mars/Olympus", "Europe/London\n"),
    "LATCHKEY_TICKET_PATTERN": ("(", "*"),
    "LATCHKEY_BOT_IDENTITY": ("all",),
    "LATCHKEY_VAULT_VERIFY_CHALLENGE": ("perhaps",),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_setting_is_named_and_its_value_is_not_shown(at_home: Path, name: str, value: str) -> None:
    """S29: the sentence may stand on anybody's screen."""
    if "\0" in value:
        (at_home / ".env").write_text(f'{name}="{value}"\n')
        (at_home / ".env").chmod(0o600)
        given = {each: secret for each, secret in REAL.items() if each != name}
    else:
        given = {**REAL, name: value}
    with environment(given), pytest.raises(ConfigurationError) as refused:
        read_config()

    assert str(refused.value).startswith(name)
    assert "Canary" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert "\n" not in str(refused.value)


def test_settings_that_are_printed_show_no_secret(at_home: Path) -> None:
    """S18: whoever logs them by accident logs dots."""
    with environment(REAL):
        config = read_config()

    shown = f"{config!r} {config} {config.model_dump()} {config.model_dump_json()} {vars(config)}"
    assert "Canary" not in shown
    assert config.slack_bot_token.get_secret_value() == "xoxb-Canary-Token-1"


def test_a_line_end_after_a_secret_is_not_part_of_it(at_home: Path) -> None:
    with environment({**REAL, "LATCHKEY_SLACK_BOT_TOKEN": "xoxb-Canary-Token-1\n"}):
        assert read_config().slack_bot_token.get_secret_value() == "xoxb-Canary-Token-1"


def test_a_file_of_settings_is_read_if_nobody_else_can(at_home: Path) -> None:
    """S29: and what the environment says wins."""
    file = at_home / ".env"
    file.write_text("LATCHKEY_TIME_ZONE=Europe/London\nLATCHKEY_SUPPORT_CONTACT=Ana\nOTHERS=1\n")
    file.chmod(0o600)

    with environment({**REAL, "LATCHKEY_SUPPORT_CONTACT": "Bo"}):
        config = read_config()

    assert (config.time_zone, config.support_contact) == ("Europe/London", "Bo")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o666])
def test_a_file_of_settings_that_others_can_read_is_refused_in_words(at_home: Path, mode: int) -> None:
    """S29: there are secrets in it."""
    file = at_home / ".env"
    file.write_text("LATCHKEY_SLACK_BOT_TOKEN=xoxb-Canary-Token-1\n")
    file.chmod(mode)

    with environment({}), pytest.raises(ConfigurationError, match=r"can be opened by others. Run: chmod 600 \.env"):
        read_config()


def test_a_file_of_settings_that_is_no_text_is_refused_in_words(at_home: Path) -> None:
    (at_home / ".env").write_bytes(b"LATCHKEY_TIME_ZONE=\xff\xfe")
    (at_home / ".env").chmod(0o600)

    with environment(REAL), pytest.raises(ConfigurationError, match="not written in UTF-8"):
        read_config()


def test_the_repository_ignores_files_of_settings_and_databases() -> None:
    """S29."""
    ignored = (ROOT / ".gitignore").read_text().splitlines()

    assert ".env" in ignored
    assert "/var/" in ignored


# --- starting ----------------------------------------------------------------------------------------


DOES_NOT_START: dict[str, dict[str, str]] = {
    "LATCHKEY_EXTRA_CA_FILE": {"LATCHKEY_EXTRA_CA_FILE": "/nonexistent"},
    "cannot be used as a list of certificates": {"LATCHKEY_EXTRA_CA_FILE": "/proc/self/status"},
    "LATCHKEY_SLACK_BOT_TOKEN": {"LATCHKEY_SLACK_BOT_TOKEN": "xoxb-Canary-Token-1"},
    "LATCHKEY_SLACK_API_URL": {"LATCHKEY_SLACK_API_URL": "http://127.0.0.1:9/slack/api/"},
    "LATCHKEY_SANDBOX_CLOCK": {"LATCHKEY_SANDBOX_CLOCK": "http://127.0.0.1:9/clock"},
    "LATCHKEY_TENANT_ID": {"LATCHKEY_TENANT_ID": ""},
    "LATCHKEY_LOG_LEVEL": {"LATCHKEY_LOG_LEVEL": "DEBUG"},
    "LATCHKEY_GRAPH_URL": {"LATCHKEY_GRAPH_URL": "https://graph.microsoft.com/v1.0"},
    "Set LATCHKEY_SLACK_APP_TOKEN": {
        "LATCHKEY_SLACK_APP_TOKEN": "",
        "LATCHKEY_HTTP_PORT": "18080",
        "LATCHKEY_SLACK_SIGNING_SECRET": "",
    },
    "cannot be opened": {"LATCHKEY_DATABASE": "/proc/latchkey.db"},
    "The audit key": {"LATCHKEY_AUDIT_KEY_FILE": "/dev/null"},
    "Neither LATCHKEY_AUDIT_KEY_FILE": {"LATCHKEY_AUDIT_KEY_FILE": "", "LATCHKEY_AUDIT_KEY_SECRET_NAME": ""},
    "LATCHKEY_SANDBOX_KILL_AT": {"LATCHKEY_SANDBOX_KILL_AT": "NOWHERE"},
}
"""What the sentence says, and what is wrong."""


@pytest.mark.slow
async def test_latchkey_run_ends_with_one_sentence_about_what_is_wrong(tmp_path: Path) -> None:
    """S29: the real program, one start for each; never a stack trace, never a secret."""
    async with World(state=tmp_path) as world:
        given = world.environment()
        with environment(given):
            await set_up(read_config(), world)
        for sentence, wrong in DOES_NOT_START.items():
            finished = await BotProcess({**given, **wrong}, tmp_path).command("run")

            assert finished.exit_code in {1, 2}, (wrong, finished.output)
            assert sentence in finished.output
            assert "Traceback" not in finished.output
            assert "Canary" not in finished.output
            assert len(finished.output.strip().splitlines()) == 1, finished.output


# --- the source --------------------------------------------------------------------------------------


@cache
def sources() -> tuple[tuple[str, ast.Module], ...]:
    """Every module of the bot."""
    paths = [path for room in ("bot", "handlers", "storage") for path in sorted((ROOT / room).rglob("*.py"))]
    return tuple((str(path.relative_to(ROOT)), ast.parse(path.read_text())) for path in paths)


def called(tree: ast.Module) -> Iterator[str]:
    return (ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call))


NEVER = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "input", "breakpoint"}
NEVER_FROM = (
    "subprocess.",
    "pickle.",
    "marshal.",
    "shelve.",
    "asyncio.create_subprocess",
    "ctypes.",
    "ssl._create_unverified",
)


def test_the_bot_runs_no_shell_evaluates_nothing_and_unpickles_nothing() -> None:
    """Nothing that is typed or received can become a program."""
    found = [
        f"{file}: {name}"
        for file, tree in sources()
        for name in called(tree)
        if name in NEVER or name.startswith(NEVER_FROM)
    ]

    assert found == []


def test_signatures_and_seals_are_compared_in_constant_time_only() -> None:
    """S33: no `==` ever meets what a stranger must not guess; `compare_digest` does, in the door and in the trail."""
    door = ast.parse((ROOT / "handlers" / "front_door.py").read_text())
    compared = [ast.unparse(node) for node in ast.walk(door) if isinstance(node, ast.Compare)]

    assert not [text for text in compared if "signature" in text or "expected" in text or "digest" in text]
    for file in ("handlers/front_door.py", "storage/audit.py"):
        assert "hmac.compare_digest(" in (ROOT / file).read_text()


def test_every_request_to_the_outside_says_that_it_follows_no_redirect_or_goes_through_what_does() -> None:
    """S22: `allow_redirects=False` at each call of ours; Slack's SDK has the session's middleware instead."""
    for file, tree in sources():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            of = ast.unparse(node.func.value)
            if node.func.attr in {"get", "post", "request", "put", "delete", "patch"} and of.endswith(
                ("_http", "_session")
            ):
                assert any(word.arg == "allow_redirects" for word in node.keywords), f"{file}:{node.lineno}"
    assert "middlewares=(follow_nothing,)" in (ROOT / "bot" / "wiring.py").read_text()


async def test_nothing_but_health_metrics_and_slacks_own_door_is_served(tmp_path: Path) -> None:
    """S29: no debug page, no callback that nobody asked for."""
    async with open_stage(tmp_path, transport="http") as stage:
        async with aiohttp.ClientSession() as http:
            for path in (
                "/",
                "/debug",
                "/admin",
                "/callback",
                "/slack/install",
                "/slack/oauth_redirect",
                "/api",
                "/docs",
            ):
                async with http.get(stage.world.slack.bot_url + path) as answer:
                    assert answer.status == 404, path
            for path in ("/healthz", "/readyz", "/metrics"):
                async with http.get(stage.world.slack.bot_url + path) as answer:
                    assert answer.status == 200, path
                    assert "contoso" not in await answer.text()
