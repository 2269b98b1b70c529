"""Rows of the audit trail, as an auditor reads them, and the daily line that names its head."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from handlers.views.blocks import (
    Block,
    Markup,
    Said,
    code,
    context,
    escape,
    joined,
    markup,
    mention,
    said,
    section,
    sections,
    when,
)
from handlers.views.wording import Known

_TWICE = Markup("Slack did not confirm an earlier line, so this may be said twice.")


def entries(rows: Sequence[tuple[Any, ...]]) -> list[Block]:
    """Rows of (number, time as ISO 8601, operator, what happened, target, summary)."""
    return sections(
        joined(
            [
                markup("• {}  {}", when(datetime.fromisoformat(str(at))), code(str(kind))),
                joined([_named(str(who)) for who in (operator, target) if who], " → "),
                str(summary),
                markup("#{}", seq),
            ],
            "  ·  ",
        )
        for seq, at, operator, kind, target, summary in rows
    )


def _named(who: str) -> Markup:
    """Somebody by name; who is known by nothing but their Slack id is mentioned."""
    return mention(who) if re.fullmatch(r"[UW][A-Z0-9]{6,20}", who, re.ASCII) else escape(who)


def holdings(rows: Sequence[tuple[Any, ...]]) -> list[Block]:
    """Rows of (operator, what holds them back, role, scope, until, granted by, granted at, through which group)."""
    return sections(
        joined(
            [
                markup("• *{}*  {}", _named(str(name)), code(str(role))),
                markup(":warning: {}", state) if state else "",
                f"in {scope}" if scope else "everywhere",
                markup("until {}", when(datetime.fromisoformat(str(until)))) if until else "until revoked",
                markup("granted by {}{}", by, markup(" {}", when(datetime.fromisoformat(str(at)))) if at else ""),
                f"through the group {group}" if group else "",
            ],
            "  ·  ",
        )
        for name, state, role, scope, until, by, at, group in rows
    )


def head(known: Known) -> Said:
    """The head of a day: `day` in ISO 8601, `seq`, `seal` and `changes`; or what is `wrong` with the trail."""
    data = known.data
    day = f"{date.fromisoformat(str(data['day'])):%-d %b %Y}"
    twice = context(_TWICE) if known.maybe_twice else []
    if wrong := data.get("wrong"):
        line = markup(":rotating_light: *Audit check {}: the trail is not sound.* {}", day, str(wrong))
        return said(f"Audit check {day}: the trail is not sound. {wrong}", [section(line), *twice])
    changes = int(data["changes"])
    since = f"{changes} {'change' if changes == 1 else 'changes'} since yesterday."
    line = markup("Audit head {}: row {}, seal {}… . {}", day, data["seq"], code(str(data["seal"])[:12]), since)
    whole = markup("To check against it: {}", code(f"latchkey audit verify --head {data['seq']}:{data['seal']}"))
    text = f"Audit head {day}: row {data['seq']}, seal {str(data['seal'])[:12]}… . {since}"
    return said(text, [section(line), *context(whole), *twice])
