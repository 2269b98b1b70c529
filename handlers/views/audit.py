"""Rows of the audit trail, as an auditor reads them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from handlers.views.blocks import Block, code, joined, markup, sections, when


def entries(rows: Sequence[tuple[Any, ...]]) -> list[Block]:
    """Rows of (number, time as ISO 8601, operator, what happened, target, summary)."""
    return sections(
        joined(
            [
                markup("{}  {}", when(datetime.fromisoformat(str(at))), code(str(kind))),
                " → ".join(str(who) for who in (operator, target) if who),
                str(summary),
                markup("#{}", seq),
            ],
            "  ·  ",
        )
        for seq, at, operator, kind, target, summary in rows
    )
