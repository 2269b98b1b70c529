"""The help: what this person may do, and the rest with the reason why not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from handlers.views.blocks import Block, Markup, code, context, markup, sections, small_print


def commands(rows: Sequence[tuple[Any, ...]], *, heading: str = "*You may*") -> list[Block]:
    """Rows of (command, title, reason): no reason means that it may be done; the others stand below, in grey, under
    the reason that they share. *heading*, a literal, stands above what may be done; empty where a title says it."""
    if not rows:
        return []
    may = [_line(command, title) for command, title, why in rows if not why]
    blocks = sections([*([Markup(heading)] if heading else []), *may]) if may else []
    reasons = list(dict.fromkeys(str(why) for *_, why in rows if why))
    for reason in reasons:
        first = [Markup("*Not available to you now*")] if reason == reasons[0] else []
        same = [_line(command, title) for command, title, why in rows if str(why) == reason]
        blocks += small_print([*first, markup("_{}_", reason), *same])
    advice = "Anything missing is asked for in a form. The app's Home tab shows your session and requests."
    return [*blocks, *context(advice if heading else "")]


def _line(command: Any, title: Any) -> Markup:
    return markup("• {}  {}", code(str(command)), str(title))
