"""The format of dialogues: what can be said, and how a mistake in one is told."""

from pathlib import Path

import pytest

from sandbox.dialogue import (
    Advance,
    AuditVerifies,
    ChangeSlack,
    ChangeTenant,
    Choose,
    Click,
    CommandLine,
    Dialogue,
    DialogueError,
    Expect,
    ExpectTenant,
    KillBot,
    Never,
    RedeliverLast,
    SignIn,
    StartFault,
    Submit,
    Type,
    load,
    parse,
)

FILE = Path("story.yaml")

STORY = """\
title: Olive resets a password
world: {faults: [vault-down], set_up: none, callback: yes}
steps:
  - {as: olive, in: "#helpdesk", type: "/m365 reset-password adele@contoso.com"}
  - {as: olive, submit: {verified: "called back", reason: "locked out"}}
  - {as: olive, choose: {Who: "Adele Vance", Where: ["#helpdesk", "#random"]}}
  - expect: {in: thread, contains: "on until", within: 500ms}
  - {as: olive, click: "Reveal once", beside: Adele, save: secret}
  - {as: ana, sign_in: {account: ana.admin@contoso.com, with: code, mfa: no}}
  - {tenant: {disable: olive@contoso.com}}
  - {tenant: {give_role: [adele@contoso.com, Helpdesk Administrator]}}
  - {slack: {deactivate: olive}}
  - {cli: "revoke U0OLIVE001 helpdesk --reason 'has left'", contains: taken away}
  - {fault: graph-down}
  - {advance: 8h}
  - {kill: bot}
  - {redeliver: last}
  - {expect_tenant: {user: adele@contoso.com, password: "$secret", accountEnabled: true, writes: {PATCH /users/: 1}}}
  - {never: {in: history, contains: "$secret"}}
  - {audit: ok}
"""


def story(*steps: str) -> Dialogue:
    return parse("title: A story\nsteps:\n" + "".join(f"  - {step}\n" for step in steps), FILE)


def test_a_dialogue_is_read_into_what_its_people_do() -> None:
    dialogue = parse(STORY, FILE)

    assert dialogue.title == "Olive resets a password"
    assert dialogue.faults == ("vault-down",)
    assert (dialogue.set_up, dialogue.callback) == ("none", True)
    assert [step.does for step in dialogue.steps] == [
        Type("olive", "#helpdesk", "/m365 reset-password adele@contoso.com"),
        Submit("olive", {"verified": "called back", "reason": "locked out"}, 10.0),
        Choose("olive", {"Who": "Adele Vance", "Where": ("#helpdesk", "#random")}, None, 10.0),
        Expect("thread", None, ("on until",), (), None, None, 0.5),
        Click("olive", "Reveal once", None, "Adele", "secret", 10.0),
        SignIn("ana", "ana.admin@contoso.com", with_code=True, mfa=False, consent=True, cancel=False, within=10.0),
        ChangeTenant("disable", "olive@contoso.com", ()),
        ChangeTenant("give_role", "adele@contoso.com", ("Helpdesk Administrator",)),
        ChangeSlack("olive", is_active=False),
        CommandLine(("revoke", "U0OLIVE001", "helpdesk", "--reason", "has left"), ("taken away",), (), fails=False),
        StartFault("graph-down"),
        Advance(8 * 3600.0),
        KillBot(),
        RedeliverLast(),
        ExpectTenant("adele@contoso.com", "$secret", True, (), (), None, {"PATCH /users/": 1}, 10.0),
        Never("history", None, ("$secret",)),
        AuditVerifies(),
    ]


def test_a_step_knows_its_line_and_its_words() -> None:
    step = parse(STORY, FILE).steps[3]

    assert (step.number, step.line) == (4, 7)
    assert step.source == 'expect: {in: thread, contains: "on until", within: 500ms}'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("", "story.yaml:1: the dialogue is empty", id="an empty file"),
        pytest.param("title: [", "story.yaml:1: ", id="broken YAML"),
        pytest.param("- a\n- b", "story.yaml:1: a dialogue is a mapping", id="a list"),
        pytest.param("title: x\n", "story.yaml:1: a dialogue needs 'steps'", id="no steps"),
        pytest.param("title: x\nsteps: []\n", "story.yaml:2: 'steps' is a list of steps", id="an empty list of steps"),
        pytest.param("title: x\ntitel: y\nsteps: [{kill: bot}]", "story.yaml:2: unknown key 'titel'", id="a typo"),
        pytest.param("title: x\ntitle: y\nsteps: [{kill: bot}]", "story.yaml:2: 'title' stands twice", id="twice"),
        pytest.param(
            "title: x\nworld: {weather: fine}\nsteps: [{kill: bot}]",
            "story.yaml:2: unknown key 'weather' in the world; it may have: callback, egress, faults, policies",
            id="an unknown thing in the world",
        ),
        pytest.param(
            "title: x\nworld:\n  faults: [rain]\nsteps: [{kill: bot}]",
            "story.yaml:3: 'rain' is not one of",
            id="a fault",
        ),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_with_its_line(text: str, complaint: str) -> None:
    with pytest.raises(DialogueError) as refused:
        parse(text, FILE)

    assert str(refused.value).startswith(complaint)


@pytest.mark.parametrize(
    ("step", "complaint"),
    [
        ('{as: olive, in: "#helpdesk", typ: "/m365 help"}', "a step says exactly one of"),
        ("{as: olive, click: Undo, open: home}", "this one says click and open"),
        ("{as: olive, click: Undo, sav: x}", "unknown key 'sav' in a step; it may have: as, beside, click, in, save"),
        ("{click: Undo}", "a step needs 'as'"),
        ("{as: olive, in: helpdesk, type: hello}", "'helpdesk' is no place: a channel as '#name'"),
        ("{as: olive, open: door}", "'door' is not one of: home"),
        ("{expect: {in: thread}}", "an expectation says what it expects"),
        ("{expect: {in: thread, contain: x}}", "unknown key 'contain' in an expectation"),
        ("{expect: {in: thread, contains: x, within: 10}}", "'10' is no duration; write 500ms, 10s"),
        ("{expect: {in: thread, matches: '('}}", "'(' is no regular expression"),
        ("{expect: {in: thread, count: many}}", "'many' is no whole number"),
        ("{expect_tenant: {accountEnabled: false}}", "says whose, with 'user'"),
        ("{expect_tenant: {user: adele@contoso.com, accountEnabled: maybe}}", "'maybe' is not one of: true, false"),
        ("{expect_vault: {within: 1s}}", "an expectation says what it expects: states or signs_in"),
        ("{never: {in: history, contains: $secret}}", "no earlier step saves $secret"),
        ("{fault: rain}", "'rain' is not one of: "),
        ("{as: ana, sign_in: {account: a@b.c, with: password}}", "'password' is not one of: code, link"),
        ("{as: ana, sign_in: {with: link}}", "a sign-in needs 'account'"),
        ("{tenant: {disable: a@b.c, enable: a@b.c}}", "a change is exactly one of: disable, enable"),
        ("{tenant: {give_role: a@b.c}}", "account and role are expected here, as [account, role]"),
        ("{tenant: {promote: a@b.c}}", "unknown key 'promote' in a change; it may have: add_policy, add_to_group"),
        ("{slack: {}}", "a change is exactly one of: deactivate, reactivate"),
        ("{cli: 'grant \"U0'}", "a command line is expected here: No closing quotation"),
        ("{kill: world}", "'world' is not one of: bot"),
        ("{advance: soon}", "'soon' is no duration"),
        ("just words", "a step is a mapping"),
    ],
)
def test_a_step_that_makes_no_sense_is_refused_with_its_line(step: str, complaint: str) -> None:
    with pytest.raises(DialogueError) as refused:
        story("{kill: bot}", step)

    assert str(refused.value).startswith("story.yaml:4: ")
    assert complaint in str(refused.value)


def test_a_saved_text_can_be_used_from_the_next_step_on() -> None:
    dialogue = story("{as: olive, click: Reveal once, save: secret}", "{never: {in: log, contains: $secret}}")

    assert dialogue.steps[1].does == Never("log", None, ("$secret",))


@pytest.mark.parametrize(
    "file", sorted((Path(__file__).parents[2] / "sandbox" / "dialogues").glob("*.yaml")), ids=lambda file: file.stem
)
def test_every_shipped_dialogue_can_be_read(file: Path) -> None:
    assert load(file).steps
