"""What-if's form and its table are something Slack takes, whatever policies and people are called."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.model import Origin, Request, RequestState, SlackUser
from bot.what_if_by_hand.options import NAMES
from handlers.views import answer, whatif
from handlers.views.wording import Known
from sandbox.slack.blocks import Surface, check_blocks, check_view
from sandbox.slack.reading import mentions

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
cruel = st.text(max_size=400) | st.sampled_from(["<!channel>", "<@U0OLIVE001>", "*_~`", "\u202eevil", "x" * 5000, ""])


def asked(**fields: Any) -> Request:
    origin = Origin("C0HELPDESK")
    who = SlackUser("T0CONTOSO", "U0ANA00001")
    return Request("0" * 32, None, who, "/m365-whatif", whatif.ASK, origin, NOW, **fields)


@given(cruel, st.dictionaries(st.sampled_from(NAMES), cruel))
def test_whatever_was_typed_fits_the_form_and_comes_back(account: str, inputs: dict[str, str]) -> None:
    request = asked(typed=account, inputs=inputs)

    assert check_view(whatif.build(request), Surface.MODAL) == []


@given(cruel, st.lists(st.lists(cruel, min_size=5, max_size=5), max_size=4), st.lists(cruel, max_size=5))
def test_no_name_breaks_an_answer_or_mentions_anybody(title: str, rows: list[list[str]], lines: list[str]) -> None:
    table = {"table": {"columns": ["Policy", "State", "Applies", "Why", "Then it"], "rows": rows}} if rows else {}
    held = {"title": title, "facts": [["Sign-in", title]], "notes": lines, "lines": lines, **table}
    said = answer.build(asked(state=RequestState.DONE, sentence=title, answer=held), Known(None, "Ana"))

    for shown in (said, said.in_lines()):
        assert check_blocks(list(shown.blocks), Surface.MESSAGE) == []
        assert mentions(shown.text, list(shown.blocks)) == ()
    assert said.has_table is bool(rows)
    assert not said.in_lines().has_table


@pytest.mark.parametrize(
    "state",
    [
        None,
        {"values": None},
        {"values": {"account": None, "input:ip": {"a": 5}, "input:client": {"a": {"selected_option": None}}}},
        {"values": {"input:client": {"a": {"selected_option": {"value": "none"}}}, "file": {"a": {"files": "x"}}}},
        {"values": {"input:risk": {"a": {"value": ["x"]}}, "file": {"a": {"files": [None]}}, "pasted": "x"}},
        {"values": {"file": {"a": {"files": [{"url_private": 7}]}}}},
    ],
)
def test_a_tampered_form_counts_as_not_filled_in(state: Any) -> None:
    assert whatif.parse({"state": state}) == ("", {})
    assert whatif.handed_over({"state": state}) == ("", "")


def test_only_an_answer_about_one_sign_in_can_be_changed() -> None:
    for action, state, offered in (
        (whatif.ASK, RequestState.DONE, True),
        (whatif.ASK, RequestState.FAILED, True),
        (whatif.ASK, RequestState.AWAITING_CONFIRMATION, False),
        ("whatif-matrix", RequestState.DONE, False),
    ):
        request = Request(
            "0" * 32, None, SlackUser("T", "U"), "/m365-whatif", action, Origin("C0HELPDESK"), NOW, state=state
        )
        assert (whatif.change_button(request) is not None) is offered
