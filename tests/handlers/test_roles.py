"""Forms about roles ask for what only Slack knows, the list fits a message, and a grant's end is told in words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from bot.actions import catalogue
from bot.model import Change, Plan, RequestState, Target, TargetKind
from bot.ports import Preview
from handlers.views import form
from handlers.views.messages import NOTICES, VIEWS
from handlers.views.wording import Known
from sandbox.slack.blocks import Surface, check_view
from sandbox.slack.reading import mentions
from tests.handlers.test_blocks import NASTY
from tests.handlers.test_views import a_request, a_while, assert_slack_takes, known, names, reads

OWN = {name: action for name, action in catalogue().items() if action.command.startswith("/m365-roles ")}
DEMANDS = form.Demands(reason=True, verified=True, ticket=None)
CHOICES = form.Choices(roles=[("helpdesk", "Helps people"), ("operator", "Runs things")], scopes=[("Sales", "")])


def state(**values: dict[str, Any]) -> dict[str, Any]:
    return {"state": {"values": {block.replace("__", ":"): {"form.value": value} for block, value in values.items()}}}


@a_while
@given(names)
def test_no_name_breaks_a_form_about_roles(text: str) -> None:
    target = Target(TargetKind.OPERATOR, "T1/UOLIVE", text, text)
    plan = Plan(changes=(Change(text, text, text),) * 5, calls=(), notes=(text,))
    choices = form.Choices(roles=[(text or "x", text)], scopes=[(text or "x", "")])
    for name, action in OWN.items():
        inputs = {wanted.name: text for wanted in action.asks}
        request = a_request(action=name, typed=text, target=None, reason=text[:500], inputs=inputs)
        for preview in (None, Preview(None, plan, target=target), Preview(None, None, warnings=(text,))):
            for offered in (choices, form.Choices(roles=[("helpdesk", "")])):
                view = form.build(request, action, DEMANDS, preview, choices=offered)

                assert check_view(view, Surface.MODAL) == []
                assert mentions("", view["blocks"]) == ()


def test_a_person_a_role_a_scope_and_a_day_are_chosen_and_not_typed() -> None:
    view = form.build(
        a_request(action="grant-role", typed="", target=None), OWN["grant-role"], DEMANDS, None, choices=CHOICES
    )
    kinds = {block["block_id"]: block["element"]["type"] for block in view["blocks"] if block["type"] == "input"}

    assert kinds == {
        "target": "users_select",
        "input:role": "static_select",
        "input:scope": "static_select",
        "input:until": "datepicker",
        "input:account": "plain_text_input",
        "reason": "plain_text_input",
    }
    chosen = state(
        target={"type": "users_select", "selected_user": "UNINA"},
        input__role={"type": "static_select", "selected_option": {"value": "helpdesk"}},
        input__until={"type": "datepicker", "selected_date": "2026-12-31"},
        reason={"type": "plain_text_input", "value": "new"},
    )
    assert form.parse(chosen, OWN["grant-role"]) == form.Filled(
        "@UNINA", {"role": "helpdesk", "until": "2026-12-31"}, "new"
    )


def test_without_scopes_none_is_asked_for_and_nothing_chosen_is_no_person() -> None:
    few = form.Choices(roles=CHOICES.roles)
    view = form.build(a_request(action="grant-role", target=None), OWN["grant-role"], DEMANDS, None, choices=few)
    empty = state(target={"type": "users_select", "selected_user": None})

    assert "input:scope" not in [block.get("block_id") for block in view["blocks"]]
    assert form.parse(empty, OWN["grant-role"]).target == ""


def test_commands_that_do_not_exist_are_told_in_the_form() -> None:
    problems = form.problems(form.Filled("onboarding", {"commands": "fly"}, "why"), OWN["define-role"], DEMANDS)

    assert "`/m365 fly` is no command" in problems["input:commands"]


def test_the_list_says_what_each_role_holds_and_who_may_press_is_decided_later() -> None:
    rows = [
        ["helpdesk", "Helps people", ["/m365 help", "/m365 undo"], 3, True],
        ["mine", "Mine", ["/m365 *"], 0, False],
    ]
    answer = {"title": "2 roles", "roles": rows}
    said = VIEWS["answer"](
        a_request(action="roles-list", state=RequestState.DONE, sentence="2 roles.", answer=answer, target=None),
        known(),
    )

    assert said is not None
    assert_slack_takes(said)
    text = reads(said)
    for words in ("helpdesk", "held by 3 people", "_May_ undo.", "held by nobody", "made here", "New role"):
        assert words in text


@pytest.mark.parametrize("text", NASTY)
def test_no_name_breaks_the_list_or_the_word_of_an_end(text: str) -> None:
    answer = {"title": text, "roles": [[text, text, [text] * 40, 1, False]] * 100}
    listed = VIEWS["answer"](a_request(action="roles-list", state=RequestState.DONE, answer=answer), known())
    data = {"name": text, "role": text, "scope": text, "ends": "2026-03-10T09:00:00+00:00"}

    assert listed is not None
    assert_slack_takes(listed)
    for own in (True, False):
        said = NOTICES["grant-ends"](Known(None, "", maybe_twice=True, data={**data, "own": own}))
        assert said is not None
        assert_slack_takes(said)
        assert mentions(said.text, list(said.blocks)) == ()
