"""What the workspace refuses in blocks and views, and where it says the fault is."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.slack.blocks import Surface, check_blocks, check_options, check_view
from tests.sandbox.slack_harness import actions, button, field, modal, option, section

PLAIN = {"type": "plain_text_input"}
TASK = {"type": "task_card", "task_id": "a", "title": "Sign in", "status": "complete"}


def plan(*tasks: dict[str, Any]) -> dict[str, Any]:
    return {"type": "plan", "title": "1 of 2", "tasks": list(tasks)}


def table(rows: int, cells: int) -> dict[str, Any]:
    return {"type": "table", "rows": [[{"type": "raw_text", "text": "x"}] * cells] * rows}


def select(**fields: Any) -> dict[str, Any]:
    return {"type": "static_select", "action_id": "s", **fields}


def header(text: dict[str, Any]) -> dict[str, Any]:
    return {"type": "header", "text": text}


def plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text}


def mrkdwn(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text}


REFUSED_IN_MESSAGES: dict[str, tuple[list[Any], str]] = {
    "unknown block": ([{"type": "marquee"}], "unsupported type: marquee [json-pointer:/blocks/0/type]"),
    "no type": ([{"text": "x"}], "missing required field: type [json-pointer:/blocks/0]"),
    "not an object": (["x"], "must provide an object [json-pointer:/blocks/0]"),
    "long section": (
        [section("x" * 3001)],
        "must be less than 3001 characters [json-pointer:/blocks/0/text/text]",
    ),
    "empty section": ([section("")], "must be more than 0 characters [json-pointer:/blocks/0/text/text]"),
    "section without anything": ([{"type": "section"}], "must define either `text` or `fields`"),
    "long field": (
        [{"type": "section", "fields": [mrkdwn("x" * 2001)]}],
        "must be less than 2001 characters [json-pointer:/blocks/0/fields/0/text]",
    ),
    "11 fields": ([{"type": "section", "fields": [mrkdwn("x")] * 11}], "no more than 10 items allowed"),
    "mrkdwn header": ([header(mrkdwn("x"))], "unsupported type: mrkdwn [json-pointer:/blocks/0/text/type]"),
    "long header": ([header(plain("x" * 151))], "must be less than 151 characters"),
    "mrkdwn button": (
        [actions({"type": "button", "action_id": "a", "text": mrkdwn("x")})],
        "unsupported type: mrkdwn [json-pointer:/blocks/0/elements/0/text/type]",
    ),
    "long button": ([actions(button("x" * 76, "a"))], "must be less than 76 characters"),
    "long value": ([actions(button("x", "a", value="x" * 2001))], "must be less than 2001 characters"),
    "bad style": ([actions(button("x", "a", style="green"))], "must be a valid enum value"),
    "26 buttons": ([actions(*(button("x", f"a{n}") for n in range(26)))], "no more than 25 items allowed"),
    "same action twice": ([actions(button("x", "a"), button("y", "a"))], "`action_id` a already exists"),
    "same block id twice": (
        [section("x", block_id="b"), section("y", block_id="b")],
        "`block_id` b already exists [json-pointer:/blocks/1/block_id]",
    ),
    "51 blocks": ([section("x")] * 51, "no more than 50 items allowed [json-pointer:/blocks]"),
    "additional property": ([section("x", color="red")], "invalid additional property: color"),
    "101 options": (
        [actions(select(options=[option("x", str(n)) for n in range(101)]))],
        "no more than 100 items allowed [json-pointer:/blocks/0/elements/0/options]",
    ),
    "long option": ([actions(select(options=[option("x" * 76, "v")]))], "must be less than 76 characters"),
    "long option value": ([actions(select(options=[option("x", "v" * 151)]))], "less than 151 characters"),
    "long option description": (
        [actions(select(options=[{**option("x", "v"), "description": plain("x" * 76)}]))],
        "must be less than 76 characters",
    ),
    "no options": ([actions(select())], "must define exactly one of `options` and `option_groups`"),
    "initial option elsewhere": (
        [actions(select(options=[option("x", "v")], initial_option=option("y", "w")))],
        "`initial_option` must match one of the options",
    ),
    "typed input": ([field("Why", "why", PLAIN)], "unsupported type: plain_text_input"),
    "101 rows": ([table(101, 1)], "no more than 100 items allowed [json-pointer:/blocks/0/rows]"),
    "21 cells": ([table(1, 21)], "no more than 20 items allowed [json-pointer:/blocks/0/rows/0]"),
    "two tables": ([table(1, 1), table(1, 1)], "only one table is allowed in a message"),
    "51 tasks": ([plan(*({**TASK, "task_id": str(n)} for n in range(51)))], "no more than 50 items allowed"),
    "task twice": ([plan(TASK, TASK)], "`task_id` a already exists"),
    "task in an unknown state": ([plan({**TASK, "status": "done"})], "must be a valid enum value"),
    "plain details": ([plan({**TASK, "details": plain("x")})], "unsupported type: plain_text"),
    "section in a plan": ([plan(section("x"))], "unsupported type: section"),
    "alert": ([{"type": "alert", "text": plain("x")}], "unsupported type: alert"),
    "much markdown": (
        [{"type": "markdown", "text": "x" * 6001}, {"type": "markdown", "text": "y" * 6000}],
        "less than 12001 characters together",
    ),
    "long alt text": (
        [{"type": "image", "image_url": "https://x.example/i.png", "alt_text": "x" * 2001}],
        "must be less than 2001 characters",
    ),
}


@pytest.mark.parametrize("case", REFUSED_IN_MESSAGES)
def test_a_message_is_refused_with_a_pointer_to_the_fault(case: str) -> None:
    blocks, sentence = REFUSED_IN_MESSAGES[case]

    problems = [str(problem) for problem in check_blocks(blocks, Surface.MESSAGE)]

    assert any(sentence in problem for problem in problems), problems


def test_blocks_at_their_limits_are_accepted() -> None:
    blocks = [
        header(plain("x" * 150)),
        section("x" * 3000, accessory=button("x" * 75, "a", value="v" * 2000)),
        {"type": "section", "fields": [mrkdwn("x" * 2000)] * 10},
        {"type": "context", "elements": [mrkdwn("x")] * 10},
        actions(*(button("x", f"a{n}") for n in range(25))),
        actions(select(options=[option("x" * 75, f"{n:0150}") for n in range(100)])),
        plan(*({**TASK, "task_id": str(n)} for n in range(50))),
        table(100, 20),
        {"type": "divider"},
        *([section("x")] * 41),
    ]

    assert check_blocks(blocks, Surface.MESSAGE) == []


def test_a_rich_text_says_what_it_may() -> None:
    spans = [
        {"type": "text", "text": "bold", "style": {"bold": True}},
        {"type": "user", "user_id": "U0OLIVE001"},
        {"type": "link", "url": "https://x.example", "text": "x"},
        {"type": "emoji", "name": "wave"},
    ]
    rich = {
        "type": "rich_text",
        "elements": [
            {"type": "rich_text_section", "elements": spans},
            {
                "type": "rich_text_list",
                "style": "bullet",
                "elements": [{"type": "rich_text_section", "elements": spans}],
            },
            {"type": "rich_text_preformatted", "elements": [{"type": "text", "text": "code"}]},
        ],
    }

    assert check_blocks([rich, plan({**TASK, "output": rich})], Surface.MESSAGE) == []
    wrong = {**rich, "elements": [{"type": "rich_text_section", "elements": [{"type": "shout", "text": "x"}]}]}
    assert "unsupported type: shout" in str(check_blocks([wrong], Surface.MESSAGE)[0])


@pytest.mark.parametrize("surface", [Surface.MODAL, Surface.HOME])
@pytest.mark.parametrize(
    "block", [plan(TASK), TASK, table(1, 1), {"type": "markdown", "text": "x"}], ids=lambda b: b["type"]
)
def test_blocks_for_messages_are_refused_elsewhere(block: dict[str, Any], surface: Surface) -> None:
    assert "unsupported type" in str(check_blocks([block], surface)[0])


def test_a_block_type_can_be_taken_away() -> None:
    assert "unsupported type: plan" in str(check_blocks([plan(TASK)], Surface.MESSAGE, refused={"plan"})[0])


REFUSED_AS_MODALS: dict[str, tuple[dict[str, Any], str]] = {
    "no title": ({"type": "modal", "blocks": [section("x")]}, "missing required field: title [json-pointer:/view]"),
    "long title": (modal("x" * 25, section("x")), "less than 25 characters [json-pointer:/view/title/text]"),
    "long submit": (modal("x", section("x"), submit=plain("x" * 25)), "must be less than 25 characters"),
    "long private metadata": (
        modal("x", section("x"), private_metadata="x" * 3001),
        "must be less than 3001 characters [json-pointer:/view/private_metadata]",
    ),
    "no blocks": (modal("x"), "no fewer than 1 items allowed [json-pointer:/view/blocks]"),
    "101 blocks": (modal("x", *([section("x")] * 101)), "no more than 100 items allowed"),
    "home as a modal": ({"type": "home", "blocks": [section("x")]}, "must be modal [json-pointer:/view/type]"),
    "input without submit": (
        {"type": "modal", "title": plain("x"), "blocks": [field("Why", "why", PLAIN)]},
        "missing required field: submit",
    ),
    "additional property": (modal("x", section("x"), submit_disabled=True), "submit_disabled"),
    "fault in a block": (modal("x", section("")), "[json-pointer:/view/blocks/0/text/text]"),
    "long label": (modal("x", field("x" * 2001, "b", PLAIN)), "must be less than 2001 characters"),
    "long hint": (modal("x", field("x", "b", PLAIN, hint=plain("x" * 2001))), "less than 2001 characters"),
    "long placeholder": (
        modal("x", field("x", "b", {**PLAIN, "placeholder": plain("x" * 151)})),
        "must be less than 151 characters",
    ),
    "button as an input": (modal("x", field("x", "b", button("x", "a"))), "unsupported type: button"),
    "number without decimals": (
        modal("x", field("x", "b", {"type": "number_input"})),
        "missing required field: is_decimal_allowed",
    ),
    "11 checkboxes": (
        modal("x", field("x", "b", {"type": "checkboxes", "options": [option("x", str(n)) for n in range(11)]})),
        "no more than 10 items allowed",
    ),
    "odd date": (
        modal("x", field("x", "b", {"type": "datepicker", "initial_date": "2026-13-01"})),
        "invalid format",
    ),
}


@pytest.mark.parametrize("case", REFUSED_AS_MODALS)
def test_a_modal_is_refused_with_a_pointer_to_the_fault(case: str) -> None:
    view, sentence = REFUSED_AS_MODALS[case]

    problems = [str(problem) for problem in check_view(view, Surface.MODAL)]

    assert any(sentence in problem for problem in problems), problems


def test_a_home_may_have_a_title_but_nothing_to_submit() -> None:
    home = {"type": "home", "blocks": [section("x")]}

    assert check_view(home | {"title": plain("x")}, Surface.HOME) == []
    assert "invalid additional property: submit" in str(check_view(home | {"submit": plain("x")}, Surface.HOME)[0])


@pytest.mark.parametrize("junk", [None, 3, "x", [], {}, {"type": 7}, {"type": ["modal"]}], ids=repr)
def test_junk_is_a_problem_and_not_a_crash(junk: Any) -> None:
    assert check_view(junk, Surface.MODAL) != []
    assert check_blocks([junk], Surface.MESSAGE) != []


def test_an_answer_to_a_search_has_at_most_100_options() -> None:
    assert check_options({"options": []}) == []
    assert check_options({"options": [option("x", str(n)) for n in range(100)]}) == []
    assert check_options({"options": [option("x", str(n)) for n in range(101)]}) != []
    assert check_options({}) != []


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every place inside a JSON value, as the container and the key in it."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [found for key in keys for found in ((value, key), *places(value[key]))]


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=3),
    st.builds(list),  # a new one each time: what is put into it later is not put into itself
    st.builds(dict),
    st.builds(lambda: [{}]),
    st.sampled_from(["section", "button", "mrkdwn", "rich_text", "input"]),
)


@given(st.data())
def test_whatever_is_broken_in_a_message_is_a_problem_and_not_a_crash(data: st.DataObject) -> None:
    blocks = [
        section("x", accessory=button("x", "a")),
        {"type": "section", "fields": [mrkdwn("x")]},
        actions(button("x", "a"), select(options=[option("x", "v")], initial_option=option("x", "v"))),
        plan({**TASK, "output": {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": []}]}}),
        table(1, 2),
        field("Why", "why", {"type": "radio_buttons", "options": [option("x", "v")]}),
    ]
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(places(blocks)))
        container[key] = data.draw(JUNK)

    assert all(isinstance(problem.pointer, str) for problem in check_blocks(blocks, Surface.MESSAGE))
