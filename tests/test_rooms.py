"""Who may import whom, and what may stand at the top of the repository."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PURE = {"bot.model", "bot.errors", "bot.ports"}
OURS = {"bot", "handlers", "storage", "sandbox", "tests"}
IO = {"aiohttp", "msal", "requests", "azure", "slack_bolt", "slack_sdk", "sqlite_utils", "sqlite3", "yaml", "pydantic"}

ROOMS: list[tuple[str, set[str], set[str]]] = [
    # (files, which of our own modules they may import, which outside libraries they may import beside the standard one)
    ("bot/model.py", set(), set()),
    ("bot/errors.py", set(), set()),
    ("bot/ports.py", {"bot.model"}, set()),
    ("bot/policy.py", {*PURE, "bot.actions", "bot.directory_roles"}, set()),
    ("bot/whatif/*.py", {*PURE, "bot.whatif"}, set()),
    ("bot/what_if_by_hand/options.py", {*PURE, "bot.whatif"}, set()),
    ("bot/what_if_by_hand/*.py", {"bot"}, set()),
    (
        "bot/actions/*.py",
        {
            *PURE,
            "bot.actions",
            "bot.directory",
            "bot.directory_roles",
            "bot.policy_changes",
            "bot.rotation_schedule",
            "bot.whatif",
        },
        set(),
    ),
    ("bot/rotation_schedule.py", PURE, set()),
    ("bot/policy_changes.py", {*PURE, "bot.whatif"}, set()),
    ("bot/microsoft/*.py", {*PURE, "bot.microsoft"}, {"aiohttp", "yarl", "msal", "requests", "azure", "cryptography"}),
    ("bot/office/*.py", {"bot"}, set()),
    ("bot/config.py", PURE, {"pydantic", "pydantic_settings"}),
    ("bot/wiring.py", {"bot", "handlers", "storage"}, IO),
    ("bot/serving.py", {"bot"}, {"aiohttp", "prometheus_client"}),
    ("bot/in_sandbox.py", {"bot"}, {"aiohttp"}),
    ("bot/sign_in_pages.py", {"bot"}, {"aiohttp"}),
    ("bot/webhook.py", {"bot"}, {"aiohttp", "yarl"}),
    ("bot/audit_commands.py", {"bot", "storage"}, set()),
    ("bot/cli.py", {"bot", "storage"}, {"yaml"}),
    ("bot/__main__.py", {"bot"}, set()),
    ("bot/*.py", {"bot"}, set()),
    ("handlers/front_door.py", {"bot", "handlers"}, {"slack_bolt", "slack_sdk", "aiohttp"}),
    # Slack's client shares our HTTP session, so the place that calls it meets that session's errors.
    ("handlers/slack.py", {"bot", "handlers"}, {"slack_bolt", "slack_sdk", "aiohttp"}),
    ("handlers/**/*.py", {"bot", "handlers"}, {"slack_bolt", "slack_sdk"}),
    ("storage/vault.py", PURE | {"storage"}, {"azure"}),
    ("storage/*.py", PURE | {"storage"}, {"sqlite_utils", "sqlite3"}),
    (
        "sandbox/**/*.py",
        {"sandbox"},
        {"aiohttp", "cryptography", "yaml", "jsonschema", "slack_sdk.models", "slack_sdk.errors"},
    ),
]
"""The first row whose pattern a file matches is its room."""

FORBIDDEN = {
    "handlers/**/*.py": {"bot.microsoft", "bot.wiring", "bot.config"},
    "handlers/slack.py": {"aiohttp.web"},
    "bot/*.py": {"bot.microsoft", "bot.wiring"},
    "bot/office/*.py": {"bot.microsoft", "bot.wiring"},
}
"""Parts of an allowed package that a room must not use all the same; composition roots aside."""

ROOTS = {"bot/wiring.py", "bot/audit_commands.py", "bot/cli.py", "bot/__main__.py"}

TOP = {
    "pyproject.toml", "README.md", "manifest.yml", "Makefile", "LICENSE", "requirements.txt", "requirements-dev.txt",
    "bot", "handlers", "storage", "sandbox", "tests", "docs", ".ci", ".slack", ".gitignore",
}  # fmt: skip


def our_files() -> list[str]:
    rooms = [ROOT / room for room in ("bot", "handlers", "storage", "sandbox")]
    return sorted(str(file.relative_to(ROOT)) for room in rooms for file in room.rglob("*.py"))


def imports_of(file: str) -> set[str]:
    """Every module a file imports, also inside functions: laziness changes when, not who."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide which room is meant"
            found.update(f"{node.module}.{name.name}" for name in node.names)
    return found


def within(module: str, allowed: set[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in allowed)


def strangers_in(file: str, imported: set[str]) -> list[str]:
    _, ours, outside = next(room for room in ROOMS if _deep(file, room[0]))
    refused = []
    for module in sorted(imported):
        top = module.split(".", maxsplit=1)[0]
        if top in OURS:
            allowed = within(module, ours)
        else:
            allowed = within(module, outside) or (top in sys.stdlib_module_names and top not in IO)
        if not allowed:
            refused.append(module)
    if file not in ROOTS:
        for pattern, modules in FORBIDDEN.items():
            if _deep(file, pattern):
                refused.extend(module for module in imported if within(module, modules))
    return refused


def _deep(file: str, pattern: str) -> bool:
    room, deep, name = pattern.partition("**/")
    if deep:
        return file.startswith(room) and Path(file).match(name)
    return Path(file).match(pattern) and file.count("/") == pattern.count("/")


@pytest.mark.parametrize("file", our_files())
def test_a_file_imports_only_what_its_room_may(file: str) -> None:
    assert strangers_in(file, imports_of(file)) == []


@pytest.mark.parametrize(
    ("file", "planted"),
    [
        ("bot/policy.py", "aiohttp.ClientSession"),
        ("bot/model.py", "bot.errors"),
        ("bot/whatif/evaluation.py", "bot.directory"),
        ("bot/runner.py", "storage.database"),
        ("bot/runner.py", "bot.microsoft.client"),
        ("handlers/guard.py", "storage.inbox"),
        ("handlers/views/card.py", "aiohttp.web"),
        ("storage/audit.py", "bot.policy"),
        ("sandbox/world.py", "bot.model"),
        ("storage/requests.py", "azure.core"),
    ],
)
def test_a_planted_import_is_found(file: str, planted: str) -> None:
    assert strangers_in(file, {planted})


def test_nothing_else_stands_at_the_top() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    top = {line.split("/", maxsplit=1)[0] for line in tracked.splitlines()}

    assert top - TOP == set()
