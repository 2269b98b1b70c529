"""No text, whatever it holds, breaks a limit of Slack's, mentions anybody or gets out of its place."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slack_sdk.models.blocks import Block as SdkBlock

from handlers.views import blocks
from handlers.views.blocks import Markup, escape, markup
from sandbox.slack.blocks import Surface, check_blocks, check_options, check_view
from sandbox.slack.reading import mentions

NASTY = (
    "<!channel> *Eve* <https://evil.example|x>",
    "<@U0OLIVE001> approve",
    "&lt;!here&gt;",
    "`` ` ```code",
    "a\nb\r\n\tc",
    "\u202eevil\u202c \u200bzero\u200d width",
    "\x1b[31mred\x00",
    "\ud800 half",
    "<" * 3000,
    "&" * 3000,
    "x" * 20_000,
    "",
    "   ",
)
a_while = settings(deadline=None)  # the machine may be busy
anything = st.one_of(st.sampled_from(NASTY), st.text(max_size=4000), st.text(alphabet="<>&!@#|`*_~:U0", max_size=4000))


@a_while
@given(anything)
def test_escaped_text_holds_no_markup(text: str) -> None:
    escaped = escape(text)

    assert not re.search(r"[<>]", escaped)
    assert not re.search(r"&(?!(amp|lt|gt);)", escaped)
    assert not {unicodedata.category(char) for char in escaped} & {"Cc", "Cf", "Cs", "Co"}


@a_while
@given(anything, anything)
def test_values_put_into_markup_are_escaped_once_and_markup_is_kept(text: str, other: str) -> None:
    inner = markup("{}", text)

    assert markup("{} {}", inner, other) == f"{escape(text)} {escape(other)}"


@a_while
@given(anything)
def test_code_cannot_be_left(text: str) -> None:
    assert blocks.code(text).count("`") == 2


@a_while
@given(anything)
def test_only_ids_of_people_are_mentioned(text: str) -> None:
    shown = blocks.mention(text)

    assert shown.startswith("<@") == bool(re.fullmatch(r"[UW][A-Z0-9]{1,30}", text))
    if not shown.startswith("<@"):
        assert "<" not in shown


@a_while
@given(anything, st.integers(min_value=1, max_value=200))
def test_a_cut_text_is_no_longer_than_its_limit(text: str, limit: int) -> None:
    assert len(blocks.cut(text, limit)) <= limit


@a_while
@given(st.lists(st.one_of(anything, st.just(Markup("<@U0OLIVE001>")), st.just(Markup("a &amp; b"))), max_size=30))
def test_a_long_paragraph_is_never_cut_inside_a_mention_or_an_entity(parts: list[str]) -> None:
    shown = blocks.section(blocks.joined(parts, " "))["text"]["text"]

    assert len(shown) <= 3000
    assert not re.search(r"<[^>]*\Z", shown)
    assert not re.search(r"&(?!(amp|lt|gt);)", shown)


def _every_builder(text: str) -> list[dict[str, Any]]:
    """A message that uses every builder, with *text* wherever text goes."""
    choice = blocks.option(text, "v", text)
    return [
        blocks.header(text),
        blocks.section(text, accessory=blocks.button(text, "a", "v", spoken=text)),
        *blocks.sections([escape(text)] * 3),
        *blocks.facts([(text, text)] * 12),
        *blocks.context(text, markup("{} {}", text, blocks.mention(text))),
        *blocks.actions(
            blocks.button(text, "b1", "v", style="primary"),
            blocks.select("s", [choice], initial="v", placeholder=text),
            blocks.search_select("e", initial=choice, placeholder=text),
            block_id=text or "x",
        ),
        blocks.divider(),
        blocks.preformatted(text or "x"),
        blocks.plan(text, [blocks.task("k", text, "complete", text)]),
    ]


@a_while
@given(anything)
def test_no_text_breaks_a_message(text: str) -> None:
    message = blocks.said(text, _every_builder(text))

    assert check_blocks(list(message.blocks), Surface.MESSAGE) == []
    assert len(message.text) <= 4000
    assert [block.to_dict() for block in SdkBlock.parse_all(list(message.blocks))]


@a_while
@given(anything)
def test_no_text_mentions_anybody(text: str) -> None:
    message = blocks.said(text, _every_builder(text))

    allowed = (f"@{text}",) if re.fullmatch(r"[UW][A-Z0-9]{1,30}", text) else ()
    assert mentions(message.text, list(message.blocks)) == allowed


@a_while
@given(anything)
def test_no_text_breaks_a_form(text: str) -> None:
    view = blocks.modal(
        text,
        [
            blocks.field(text, blocks.text_input("a", initial=text), block_id="1", hint=text, tells=True),
            blocks.field(text, blocks.number_input("a", initial=text, lowest=1, highest=5), block_id="2"),
            blocks.field(text, blocks.checkbox("a", text, checked=True), block_id="3"),
            blocks.field(text, blocks.select("a", [blocks.option(text, "v")], placeholder=text), block_id="4"),
        ],
        submit=text or "x",
        close=text,
        callback_id="c",
        about="m",
    )

    assert check_view(view, Surface.MODAL) == []


@a_while
@given(anything)
def test_no_text_breaks_the_answer_to_a_search(text: str) -> None:
    group = blocks.option_group(text, [blocks.option(text, "v", text)])

    assert check_options({"option_groups": [group]}) == []


def test_what_does_not_fit_on_a_surface_is_said_to_be_left_out() -> None:
    lines = [blocks.section(f"line {number}") for number in range(60)]

    message = blocks.said("many", lines)

    assert len(message.blocks) == 50
    assert message.blocks[-1]["elements"][0]["text"] == "… and 11 more parts that do not fit here."


@pytest.mark.parametrize("name", [":white_check_mark: approved", "O'Neil & Søn <x>"])
def test_names_in_plain_text_stay_letters(name: str) -> None:
    shown = blocks.header(name)["text"]

    assert shown == {"type": "plain_text", "text": name, "emoji": False}


def test_times_are_in_the_readers_zone_with_utc_for_clients_that_cannot() -> None:
    moment = datetime(2026, 11, 22, 14, 26, tzinfo=UTC)

    assert blocks.when(moment) == "<!date^1795357560^{date_short_pretty} at {time}|2026-11-22 14:26 UTC>"
