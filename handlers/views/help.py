"""The help: what this person may do, and the rest with the reason why not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from handlers.views.blocks import Block, Markup, code, context, markup, sections


def commands(rows: Sequence[tuple[Any, ...]]) -> list[Block]:
    """Rows of (command, title, reason): no reason means that it may be done."""
    if not rows:
        return []
    may = [markup("{}  {}", code(str(command)), str(title)) for command, title, why in rows if not why]
    may_not = [markup("{}  {} – _{}_", code(str(command)), str(title), str(why)) for command, title, why in rows if why]
    blocks = [*sections([Markup("*You may*"), *may])] if may else []
    if may_not:
        blocks += sections([Markup("*Not available to you now*"), *may_not])
    return [
        *blocks,
        *context("Anything missing is asked for in a form. The app's Home tab shows your session and requests."),
    ]
