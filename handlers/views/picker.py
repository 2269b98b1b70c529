"""The window in which one chooses what to do. The form of what was chosen takes its place."""

from __future__ import annotations

from collections.abc import Sequence

from bot.actions._action import Action
from bot.enquiries import Offered
from handlers.views.blocks import (
    Block,
    Markup,
    View,
    context,
    markup,
    modal,
    option,
    option_group,
    section,
    select,
    small_print,
)

CHOOSE = "picker.choose"

_BLOCK = "picker"
_TITLE = "Do something"


def loading() -> View:
    """What opens at once, while it is looked up what may be done."""
    return modal(_TITLE, [section("One moment …")])


def build(offered: Sequence[Offered]) -> View:
    """What this person may have done, to choose from; the rest below in grey, each reason said once."""
    may = [each.action for each in offered if not each.why]
    to_people = [_option(action) for action in may if not action.own]
    own = [_option(action) for action in may if action.own]
    groups = [("For somebody in the company", to_people), ("For Latchkey itself", own)]
    menu = select(CHOOSE, [option_group(label, there) for label, there in groups if there], placeholder="Choose")
    choice = section("What is to be done?", accessory=menu, block_id=_BLOCK)
    nothing = section("There is nothing that you may have done at the moment.")
    return modal(_TITLE, [choice if may else nothing, *_unavailable(offered), *_advice(may)])


def _option(action: Action) -> Block:
    return option(action.title, action.name, action.command)


def _unavailable(offered: Sequence[Offered]) -> list[Block]:
    blocks: list[Block] = []
    reasons = list(dict.fromkeys(each.why for each in offered if each.why))
    for reason in reasons:
        first = [Markup("*Not available to you now*")] if reason == reasons[0] else []
        titles = [markup("• {}", each.action.title) for each in offered if each.why == reason]
        blocks += small_print([*first, markup("_{}_", reason), *titles])
    return blocks


def _advice(may: Sequence[Action]) -> list[Block]:
    return context("A form asks for the rest. Nothing is done before you press its button.") if may else []
