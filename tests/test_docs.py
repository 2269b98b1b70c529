"""What the documentation says is true of the code: settings, permissions, roles, dialogues, messages, the example."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from enum import Enum
from fnmatch import fnmatchcase
from pathlib import Path
from string import Formatter
from types import ModuleType
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from bot import command, watched
from bot.actions import catalogue, delegated
from bot.actions._action import Action
from bot.actions._rights import commands
from bot.actions._service_account import needed_roles
from bot.auditing import IN_WORDS
from bot.cli import main
from bot.config import Config
from bot.directory import PERMISSIONS
from bot.directory_roles import HARMLESS, NAMES, names_of
from bot.model import IdentityKind, Plan, Secret
from handlers.views.alert import OFFERS
from sandbox.dialogue import Deed, DialogueError, parse
from sandbox.faults import Faults
from storage.audit import AuditTrail
from storage.database import Database
from storage.operators import SHIPPED_ROLES, Operators
from tests.clock import ManualClock
from tests.tenant import ADELE, APPLICATION, SERVICE_ACCOUNT, contoso

ROOT = Path(__file__).parent.parent
PAGES = {
    page.relative_to(ROOT).as_posix(): page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}

every_page = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)


def text_of(name: str) -> str:
    return PAGES[name].read_text(encoding="utf-8")


def in_one_line(text: str) -> str:
    """*text* as a reader sees it: where its lines are broken means nothing."""
    return " ".join(text.split())


def generated(name: str, mark: str) -> str:
    """What stands on a page between `<!-- generated: mark -->` and `<!-- end -->`."""
    return text_of(name).split(f"<!-- generated: {mark} -->")[1].split("<!-- end -->")[0]


def rows_of(text: str) -> list[list[str]]:
    """The cells of the tables in *text*, header and ruler left out."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    rulers = {index for index, row in enumerate(rows) if set("".join(row)) <= set("-: ") and any(row)}
    return [row for index, row in enumerate(rows) if index not in rulers and index + 1 not in rulers]


def code_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


# --- All pages --------------------------------------------------------------------------------------------------------


@every_page
def test_a_page_fits_a_terminal(page: Path) -> None:
    assert [line for line in page.read_text(encoding="utf-8").splitlines() if len(line) > 120] == []


@every_page
def test_every_link_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for where in re.findall(r"\]\(([^)]+)\)", text) + re.findall(r'src="([^"]+)"', text):
        if not where.startswith("https://"):
            assert (page.parent / where.partition("#")[0]).is_file(), where


@every_page
def test_only_settings_that_exist_are_mentioned(page: Path) -> None:
    known = {f"LATCHKEY_{name.upper()}" for name in Config.model_fields} | {"LATCHKEY_BROWSER_REQUIRED", "LATCHKEY_"}

    assert set(re.findall(r"LATCHKEY_[A-Z_]*", page.read_text(encoding="utf-8"))) <= known


@every_page
def test_only_commands_that_exist_are_mentioned(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    typed = {command.rstrip("./") for command in re.findall(r"/m365(?:-[a-z]+)?\b", text)}
    registered = {command["command"] for command in manifest()["features"]["slash_commands"]}
    verbs = set(re.findall(r"`latchkey ([a-z]+)", text))

    assert typed <= registered
    assert verbs <= {
        "run", "sandbox", "doctor", "actions", "manifest", "grant", "revoke", "restore", "adopt", "protect", "audit",
        "whatif",
    }  # fmt: skip


def manifest() -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load((ROOT / "manifest.yml").read_text(encoding="utf-8"))
    return data


# --- configuration.md -------------------------------------------------------------------------------------------------

SETTING = re.compile(r"^- `LATCHKEY_([A-Z_]+)` \(default: (none|`[^`]*`)(?:, example: `([^`]*)`)?\)\\$", re.MULTILINE)


def settings() -> dict[str, tuple[str, str]]:
    """Name to (default, example) as the page has them."""
    found = SETTING.findall(text_of("docs/configuration.md"))
    return {name.lower(): (default.strip("`"), example) for name, default, example in found}


def as_typed(default: object) -> str:
    """How a default value is typed into an environment variable; *none* if there is none."""
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if isinstance(default, bool):
        return str(default).lower()
    return str(default.value if isinstance(default, Enum) else default or "none")


def test_every_setting_is_explained_once_and_nothing_else() -> None:
    names = [name.lower() for name, _, _ in SETTING.findall(text_of("docs/configuration.md"))]

    assert sorted(names) == sorted(Config.model_fields)


def test_the_defaults_are_the_real_ones() -> None:
    real = {name: as_typed(field.get_default()) for name, field in Config.model_fields.items()}

    assert {name: default for name, (default, _) in settings().items()} == real


@pytest.mark.parametrize("name", sorted(Config.model_fields))
def test_the_example_of_a_setting_is_accepted(name: str) -> None:
    example = settings()[name][1]

    assert bool(example) is not name.startswith("sandbox_")
    if example:
        assert getattr(Config.model_validate({name: example}), name) is not None


# --- identities.md ----------------------------------------------------------------------------------------------------


def needs_of(action: Action) -> str:
    permissions = ", ".join(f"`{permission}`" for permission in action.permissions)
    if not action.roles:
        return f"- `{action.command}`: {permissions}. No directory role."
    roles = f"A service account needs one of {', '.join(names_of(action.roles))}"
    if action.delegated_only:
        return f"- `{action.command}`: {permissions}. {roles}; an application cannot do it."
    if action.application_roles:
        return f"- `{action.command}`: {permissions}. {roles}; an application one of " + (
            f"{', '.join(names_of(action.application_roles))}."
        )
    return f"- `{action.command}`: {permissions}. {roles}; so does an application."


def test_the_permissions_and_roles_of_every_action_are_those_of_the_catalogue() -> None:
    wanted = "\n".join(needs_of(action) for action in delegated().values())

    assert in_one_line(generated("docs/identities.md", "actions")) == in_one_line(wanted), wanted


def test_the_permissions_for_looking_are_those_the_code_names() -> None:
    section = text_of("docs/identities.md").split("## Permissions for looking")[1].split("\n## ")[0]

    assert {row[0].strip("`") for row in rows_of(section)} == set(PERMISSIONS)


# --- roles.md ---------------------------------------------------------------------------------------------------------


async def shipped(path: Path) -> Mapping[str, tuple[str, ...]]:
    """Role to command patterns, as a new database has them."""
    async with Database(path / "data" / "latchkey.db", tenant="t", clock=ManualClock()) as db:
        operators = Operators(db, AuditTrail(db, Secret("an audit key that only tests ever use")))
        await operators.ship_roles()
        return await operators.roles()


async def test_the_roles_hold_what_a_new_database_says(tmp_path: Path) -> None:
    header, *rows = [row for row in rows_of_with_header("docs/roles.md") if len(row) == 7]
    roles = await shipped(tmp_path)
    written = {role: {row[0].strip("`") for row in rows if row[1 + at]} for at, role in enumerate(header[1:])}

    assert set(header[1:]) == set(roles)
    for role, patterns in roles.items():
        assert written[role] == {row for row in commands() if any(fnmatchcase(row, one) for one in patterns)}


async def test_the_titles_of_the_roles_are_the_shipped_ones() -> None:
    rows = [row for row in rows_of(text_of("docs/roles.md")) if len(row) == 2]

    assert {row[0].strip("`"): row[1] for row in rows} == {name: title for name, (title, _) in SHIPPED_ROLES.items()}


def rows_of_with_header(name: str) -> list[list[str]]:
    lines = [line for line in text_of(name).splitlines() if line.startswith("|") and not line.startswith("|--")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_directory_roles_that_do_not_protect_are_the_harmless_ones() -> None:
    section = in_one_line(text_of("docs/roles.md").split("## Who is protected")[1].split("\n## ")[0])

    assert {name for name in NAMES.values() if name in section} == set(names_of(HARMLESS))


# --- sandbox.md -------------------------------------------------------------------------------------------------------


def steps() -> dict[str, tuple[set[str], str]]:
    """Every kind of step on the page: the keys it is said to have, and its example."""
    section = text_of("docs/sandbox.md").split("### Steps")[1].split("\n## ")[0]
    found = re.findall(r"^#### `([a-z_]+)`\n(.*?)(?=^#### |\Z)", section, re.DOTALL | re.MULTILINE)
    return {
        kind: (set(re.findall(r"^- `([A-Za-z_]+)`", body, re.MULTILINE)), code_blocks(body, "yaml")[0])
        for kind, body in found
    }


def read_step(step: str) -> Deed:
    """The step as the sandbox reads it. It may use `$secret`, which a step before it saves."""
    first = "  - {as: olive, click: Reveal once, save: secret}\n"
    story = f"title: one\nsteps:\n{first}" + "".join(f"  {line}\n" for line in step.splitlines())
    return parse(story, Path("page.md")).steps[-1].does


def test_every_kind_of_step_is_explained() -> None:
    with pytest.raises(DialogueError) as refused:
        read_step("- {nothing: known}")

    kinds = re.search(r"exactly one of: ([^;]+);", str(refused.value))
    assert kinds is not None
    assert kinds[1].split(", ") == list(steps())


@pytest.mark.parametrize("kind", steps())
def test_the_keys_of_a_step_are_the_ones_the_sandbox_knows(kind: str) -> None:
    keys, example = steps()[kind]
    [step] = yaml.safe_load(example)
    inner = step[kind]
    nested = isinstance(inner, dict) and kind not in {"submit", "choose"}
    (inner if nested else step)["no_such_key"] = 1

    read_step(example)
    with pytest.raises(DialogueError) as refused:
        read_step("- " + json.dumps(step))

    known = str(refused.value).split("it may have: ")[1].split(", ")
    assert keys == set(known) - {kind}


def test_the_places_are_the_ones_the_sandbox_knows() -> None:
    section = text_of("docs/sandbox.md").split("### Places")[1].split("\n### ")[0]
    with pytest.raises(DialogueError) as refused:
        read_step("- {expect: {in: nowhere, contains: x}}")

    known = str(refused.value).split("a channel as '#name', or ")[1].split(", ")
    assert re.findall(r"^- `([a-z]+)`", section, re.MULTILINE) == known


def test_the_faults_are_the_ones_of_the_panel() -> None:
    wanted = "\n".join(f"- `{kind.name}`: {kind.description}" for kind in Faults().catalogue())

    assert in_one_line(generated("docs/sandbox.md", "faults")) == in_one_line(wanted), wanted


def test_the_example_dialogues_can_be_read() -> None:
    stories = [block for block in code_blocks(text_of("docs/sandbox.md"), "yaml") if block.startswith("title:")]

    assert stories
    for story in stories:
        assert parse(story, Path("page.md")).steps


def test_the_options_of_the_sandbox_are_explained() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "sandbox", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    section = text_of("docs/sandbox.md").split("## Options")[1].split("\n## ")[0]

    assert set(re.findall(r"^- `(--[a-z-]+)", section, re.MULTILINE)) == set(re.findall(r"--[a-z-]+", printed)) - {
        "--help"
    }


# --- operating.md -----------------------------------------------------------------------------------------------------


def texts_in_the_code() -> Iterator[str]:
    """Every text of the program, the pieces of those with values in them one by one."""
    for room in ("bot", "handlers", "storage"):
        for file in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


def test_the_messages_that_are_explained_are_said_by_the_code() -> None:
    """A message is the beginning of what is shown; `…` stands for values in it."""
    quoted = [
        in_one_line(text) for text in re.findall(r"^- \*([^*]+)\*\\$", text_of("docs/operating.md"), re.MULTILINE)
    ]
    said = list(texts_in_the_code())

    assert len(quoted) > 10
    for message in quoted:
        for piece in filter(None, (piece.strip() for piece in message.split("…"))):
            assert any(piece in text for text in said), piece


def test_the_events_that_are_explained_are_logged_by_the_code() -> None:
    section = text_of("docs/operating.md").split("## Logs")[1].split("\n## ")[0]
    said = set(texts_in_the_code())
    events = [row[0].strip("`") for row in rows_of(section)]

    assert events
    assert [event for event in events if event not in said] == []


# --- auditing.md ------------------------------------------------------------------------------------------------------


def test_every_kind_of_audit_row_is_explained_to_auditors() -> None:
    section = text_of("docs/auditing.md").split("## What is recorded")[1].split("\n## ")[0]
    kinds = [kind for row in rows_of(section) for kind in re.findall("`([^`]+)`", row[1])]

    assert sorted(kinds) == sorted(IN_WORDS)


def test_the_options_and_kinds_of_file_that_auditors_are_told_of_exist() -> None:
    typed = re.findall(r"`/m365-audit( [^`]*)?`", text_of("docs/auditing.md"))

    assert len(typed) > 8
    for words in typed:
        command.parse("/m365-audit", words, catalogue())


# --- setting-up.md ----------------------------------------------------------------------------------------------------


def test_what_is_typed_to_set_up_and_to_switch_can_be_typed() -> None:
    text = text_of("docs/setting-up.md")
    typed = re.findall(r"^/m365-mode(.*?)(?:\s{2,}.*)?$", "".join(code_blocks(text, "")), re.MULTILINE)
    typed += re.findall(r"`/m365-mode([^`]*)`", text)

    assert len(typed) > 12
    for words in typed:
        command.parse("/m365-mode", words, catalogue())


def test_the_roles_that_an_identity_gets_are_those_that_are_told() -> None:
    section = in_one_line(text_of("docs/setting-up.md").split("## Which roles it gets")[1].split("`--global")[0])

    for kind, told in zip(
        (IdentityKind.SERVICE_ACCOUNT, IdentityKind.APPLICATION), section.split("For an application"), strict=True
    ):
        assert {name for name in NAMES.values() if name in told} == set(names_of(needed_roles(kind)))


# --- what-if.md, allowed-ips.md ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("page", "least"), [("docs/what-if.md", 8), ("docs/allowed-ips.md", 5)])
def test_what_is_typed_about_policies_can_be_typed(page: str, least: int) -> None:
    text = text_of(page)
    typed = re.findall(r"^ *(/m365-(?:whatif|mode))((?: \S+)*)", text, re.MULTILINE)
    typed += re.findall(r"`(/m365-(?:whatif|mode))( [^`]*)?`", text)

    assert len(typed) >= least
    for word, rest in typed:
        command.parse(word, rest, catalogue())


# --- README -----------------------------------------------------------------------------------------------------------


def test_every_scope_of_the_manifest_is_explained_and_no_other() -> None:
    section = text_of("README.md").split("### 1. The Slack app")[1].split("\n### ")[0]
    scopes = {row[0].strip("`") for row in rows_of(section)}

    assert scopes == set(manifest()["oauth_config"]["scopes"]["bot"])


def test_the_actions_that_are_listed_are_the_catalogue() -> None:
    listed = text_of("README.md").split("\nThe actions: ")[1].split("\n\n")[0]

    assert sorted(re.findall(r"`([a-z-]+)`", listed)) == sorted(delegated())


def test_the_pictures_are_small_and_shown_somewhere() -> None:
    shown = "".join(map(text_of, PAGES))

    for picture in (ROOT / "docs").rglob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size <= (250_000 if picture.name == "latchkey.png" else 120_000)
        assert picture.relative_to(ROOT / "docs").as_posix() in shown


def test_make_knows_the_commands_that_are_shown() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

    for name in PAGES:
        assert set(re.findall(r"`make ([a-z]+)", text_of(name))) <= targets


def example_file(folder: Path) -> Path:
    """The action that README shows, written down where README says, below *folder*."""
    [source] = code_blocks(text_of("README.md"), "python")
    file = folder / "bot" / "actions" / "set_office.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source, encoding="utf-8")
    return file


@pytest.fixture
def example(tmp_path: Path) -> Iterator[Action]:
    spec = importlib.util.spec_from_file_location("set_office", example_file(tmp_path))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
        assert isinstance(module.ACTION, Action)
        yield module.ACTION
    finally:
        del sys.modules[spec.name]


def test_the_example_is_all_that_is_needed_for_a_new_command(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "bot", tmp_path / "bot", ignore=shutil.ignore_patterns("__pycache__"))
    example_file(tmp_path)

    printed = subprocess.run(
        [sys.executable, "-m", "bot", "actions"], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout

    assert "/m365 set-office\n    Set a person's office\n    Graph permissions: User.ReadWrite.All\n" in printed


def test_the_example_is_an_action_by_the_rules_of_the_catalogue(example: Action) -> None:
    assert example.name == "set-office"
    assert example.name not in delegated()
    for words in (example.phrase, example.working, example.done):
        assert [name for _, name, _, _ in Formatter().parse(words) if name is not None] == ["target"]
    assert set(example.roles) <= NAMES.keys()
    assert example.parse(asdict(example.example)) == example.example


async def test_the_example_plans_a_change_that_can_be_stored_read_back_and_undone(example: Action) -> None:
    assert example.plan is not None
    plan = await example.plan(contoso(), ADELE, example.example, SERVICE_ACCOUNT)
    again = await example.plan(contoso(), ADELE, example.example, APPLICATION)

    assert [(change.before, change.after) for change in plan.changes] == [("Leeds", "York")]
    assert plan == again == Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert plan.read_back is not None
    assert plan.read_back.holds({"officeLocation": "York"})
    assert not plan.read_back.holds({"officeLocation": "Leeds"})
    assert plan.undo is not None
    assert (plan.undo.action, example.parse(plan.undo.inputs).office) == (example.name, "Leeds")


def test_the_manifest_command_prints_the_manifest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["manifest"]) == 0
    assert json.loads(capsys.readouterr().out) == manifest()


# --- rotation.md ------------------------------------------------------------------------------------------------------


def kinds_of_alerts() -> set[str]:
    """The kinds of all troubles that the program makes, wherever it does."""
    found = set(watched.KINDS)
    for file in (ROOT / "bot").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Trouble":
                kind = next((word.value for word in node.keywords if word.arg == "kind"), None) or node.args[0]
                found |= _meant(kind, importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts)))
    return found


def _meant(kind: ast.expr, module: ModuleType) -> set[str]:
    match kind:
        case ast.Constant(value=str(value)):
            return {value}
        case ast.IfExp(body=one, orelse=other):
            return _meant(one, module) | _meant(other, module)
        case ast.Name(id=name) if hasattr(module, name):
            return {getattr(module, name)}
        case ast.Name():  # a parameter of a function of bot/watched.py, whose kinds are listed there
            return set()
    raise AssertionError(ast.unparse(kind))


def test_the_runbook_has_a_row_for_every_alert() -> None:
    rows = [re.findall(r"^`([a-z-]+)`", row[0])[0] for row in rows_of(generated("docs/rotation.md", "alerts"))]

    assert set(rows) == kinds_of_alerts()


def test_the_buttons_of_the_runbook_are_those_of_the_card() -> None:
    pressed = set(re.findall(r"\*\*([^*]+)\*\*", text_of("docs/rotation.md").split("## Runbook")[1]))

    assert pressed == {*OFFERS.values(), "Acknowledge"}
