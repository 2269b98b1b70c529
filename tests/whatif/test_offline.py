"""`latchkey whatif`: policies as code, judged without any tenant."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bot.cli import main
from bot.whatif.apps import GROUPS
from tests.whatif.small import BLOCK, EXCHANGE, MFA, OFFICE, principal, raw_policy, request, user

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "what-if.md"

INSIDE, OUTSIDE = "203.0.113.10", "192.0.2.1"
POLICIES = {
    "policies": [
        raw_policy("mfa", grant=MFA, applications={"includeApplications": [EXCHANGE]}),
        raw_policy("outside", grant=BLOCK, locations={"includeLocations": ["All"], "excludeLocations": ["office"]}),
        raw_policy("off", state="disabled", grant=BLOCK),
    ],
    "namedLocations": [OFFICE],
}


def line(id_: str, **asked: Any) -> str:
    return json.dumps({"id": id_, "user": user(), "request": request(**asked)})


class Desk:
    """Runs the command on files of its own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._folder, self._capsys = folder, capsys

    def run(self, policies: Any, lines: str, *options: str, encoding: str = "utf-8") -> tuple[int, list[Any], str]:
        text = policies if isinstance(policies, str) else json.dumps(policies)
        (self._folder / "policies.json").write_text(text, encoding=encoding)
        (self._folder / "sign-ins.jsonl").write_text(lines, encoding=encoding)
        files = ["--policies", str(self._folder / "policies.json"), "--sign-ins", str(self._folder / "sign-ins.jsonl")]
        code = main(["whatif", *files, *options])
        out, err = self._capsys.readouterr()
        return code, [json.loads(each) for each in out.splitlines()], err


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys)


def test_each_sign_in_is_answered_in_one_line(desk: Desk) -> None:
    lines = "\n".join([line("a", ipAddress=INSIDE), "", line("b", ipAddress=OUTSIDE)])
    code, answers, err = desk.run(POLICIES, lines)

    assert (code, err) == (0, "")
    assert answers == [
        {
            "id": "a",
            "policies": {
                "mfa": {"applies": True, "reasons": []},
                "outside": {"applies": False, "reasons": ["location"]},
                "off": {"applies": False, "reasons": ["policyNotEnabled"]},
            },
            "decision": "controlsRequired",
        },
        {
            "id": "b",
            "policies": {
                "mfa": {"applies": True, "reasons": []},
                "outside": {"applies": True, "reasons": []},
                "off": {"applies": False, "reasons": ["policyNotEnabled"]},
            },
            "decision": "block",
        },
    ]


def test_what_is_left_out_is_taken_as_graph_takes_it_unless_asked_otherwise(desk: Desk) -> None:
    _, (freely,), _ = desk.run(POLICIES, line("a"))
    _, (strictly,), _ = desk.run(POLICIES, line("a"), "--strict-unknown")

    assert freely["policies"]["outside"] == {"applies": False, "reasons": ["location"]}
    assert strictly["policies"]["outside"] == {"applies": None, "reasons": ["notEnoughInformation"]}


def test_somebody_of_whom_no_groups_are_told_is_in_none_unless_asked_otherwise(desk: Desk) -> None:
    policies = {"policies": [raw_policy("p", users={"includeUsers": ["All"], "excludeGroups": ["g"]})]}
    told = json.dumps({"id": 1, "user": {"id": "ada"}, "request": request()})
    _, (freely,), _ = desk.run(policies, told)
    _, (strictly,), _ = desk.run(policies, told, "--strict-unknown")

    assert (freely["policies"]["p"]["applies"], strictly["policies"]["p"]["applies"]) == (True, None)


def test_a_service_principal_needs_no_user(desk: Desk) -> None:
    workloads = raw_policy(
        "w", users={"includeUsers": ["None"]}, clientApplications={"includeServicePrincipals": ["robot"]}, grant=BLOCK
    )
    asked = json.dumps({"id": "r", "user": None, "request": principal("robot").to_request()})
    _, (answer,), _ = desk.run({"policies": {"value": [workloads]}}, asked)

    assert answer["decision"] == "block"


def test_it_can_fail_a_pipeline(desk: Desk) -> None:
    inside, outside = line("a", ipAddress=INSIDE), line("b", ipAddress=OUTSIDE)

    assert desk.run(POLICIES, inside, "--fail-on", "block")[0] == 0
    assert desk.run(POLICIES, f"{outside}\n{inside}", "--fail-on", "block")[0] == 1


@pytest.mark.parametrize(
    ("policies", "lines", "said"),
    [
        ("{", "", "The file of policies: not JSON"),
        ("\n", "", "The file of policies is empty. It has to be {"),
        ("{}", "", "The file of policies has no `policies`. It has to be {"),
        ([raw_policy()], "", "The file of policies has no `policies`. It has to be {"),
        ({"value": [raw_policy()]}, "", "The file of policies has no `policies`. It has to be {"),
        ({"policies": [], "namedLocations": 0}, "", "The named locations are not a list"),
        ({"policies": [], "namedLocations": [OFFICE, OFFICE]}, "", "two named locations with the id “office”."),
        ({"policies": [5]}, "", "Policy 1 is not a JSON object."),
        ({"policies": [raw_policy(), raw_policy()]}, "", "There are two policies with the id “p”."),
        ({"policies": [raw_policy("")] * 2}, "", "There are two policies called “Policy ”. Give each an id"),
        ({"policies": [raw_policy(users=["All"])]}, "", "Policy “Policy p”, `conditions`: `users` is not an object."),
        (
            {"policies": [], "namedLocations": [{**OFFICE, "ipRanges": [{"cidrAddress": "here"}]}]},
            "",
            "Named location “Office”, `ipRanges` number 1 is no range of addresses such as 203.0.113.0/24.",
        ),
        (POLICIES, "{", "Line 1 of the sign-ins: not JSON"),
        (POLICIES, f"{line('a')}\n[]", "Line 2 of the sign-ins is not a JSON object."),
        (POLICIES, '{"id": "a"}', "Line 1 of the sign-ins has no `request`."),
        (POLICIES, '{"request": {}}', "does not say who signs in"),
        (POLICIES, json.dumps({"user": user(), "request": request()}), "Line 1 of the sign-ins: `id` is not a text"),
        (POLICIES, line("a").replace('"a"', "NaN", 1), "Line 1 of the sign-ins: `id` is not a text"),
        (POLICIES, line("a", ipAddress="here"), "`ipAddress` is not an address such as 203.0.113.10."),
    ],
)
def test_what_it_cannot_read_ends_with_two_and_a_sentence(desk: Desk, policies: Any, lines: str, said: str) -> None:
    code, _, err = desk.run(policies, lines)

    assert code == 2
    assert said in err


def test_a_file_that_is_not_there_or_not_text_is_named(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["whatif", "--policies", str(tmp_path / "none.json"), "--sign-ins", "-"]) == 2
    assert "none.json: No such file" in capsys.readouterr().err
    assert desk.run(POLICIES, line("a"), encoding="utf-8-sig")[0] == 0
    code, _, err = desk.run(POLICIES, line("a"), encoding="utf-16")
    assert (code, err) == (2, "The file of policies: not UTF-8 (byte 1). Save it as UTF-8.\n")


def test_what_comes_before_a_line_that_cannot_be_read_is_answered(desk: Desk, tmp_path: Path) -> None:
    code, answers, err = desk.run(POLICIES, f"{line('a')}\r\n{line('é')[:-1]}\r\n{line('c')}\r\n")

    assert (code, [answer["id"] for answer in answers]) == (2, ["a"])
    assert err.startswith("Line 2 of the sign-ins: not JSON (")


def test_standard_input_is_not_read_twice(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["whatif", "--policies", "-", "--sign-ins", "-"]) == 2
    assert "Only one of --policies and --sign-ins" in capsys.readouterr().err


def command(folder: Path, *options: str) -> list[str]:
    """The command in a process of its own, with sign-ins from standard input."""
    (folder / "policies.json").write_text(json.dumps(POLICIES))
    files = ["--policies", str(folder / "policies.json"), "--sign-ins", "-"]
    return [sys.executable, "-m", "bot", "whatif", *files, *options]


MANY = "".join(f"{line(str(number), ipAddress=INSIDE)}\n" for number in range(2_000))


def test_sign_ins_may_come_through_a_pipe(tmp_path: Path) -> None:
    done = subprocess.run(command(tmp_path), cwd=ROOT, input=MANY, capture_output=True, text=True, check=True)

    assert len(done.stdout.splitlines()) == 2_000


@pytest.mark.parametrize(("options", "code"), [((), 0), (("--fail-on", "block"), 1)])
def test_who_reads_may_leave_and_a_pipeline_fails_all_the_same(
    tmp_path: Path, options: tuple[str, ...], code: int
) -> None:
    process = subprocess.Popen(
        command(tmp_path, *options), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate((MANY + line("last", ipAddress=OUTSIDE)).encode())

    assert (process.returncode, err) == (code, b"")


# --- docs/what-if.md --------------------------------------------------------------------------------------------------


def test_the_example_in_the_documentation_is_true(desk: Desk) -> None:
    blocks = re.findall(r"^```json\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    policies, asked, answer = map(json.loads, blocks)

    assert desk.run(policies, json.dumps(asked)) == (0, [answer], "")


@pytest.mark.parametrize("group", ["Office365", "MicrosoftAdminPortals"])
def test_the_documentation_lists_the_members_of_the_groups(group: str) -> None:
    listed = PAGE.read_text(encoding="utf-8").split(f"<!-- generated: {group} -->")[1].split("<!-- end -->")[0]

    assert re.findall(r"^\| (.+) \| `(.+)` \|$", listed, re.MULTILINE) == [
        (name, id_) for id_, name in GROUPS[group.lower()].items()
    ]
