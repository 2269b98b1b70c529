"""The list of roles, and the word that a grant is about to end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from bot.actions._rights import in_words
from handlers.views.blocks import (
    Block,
    Markup,
    Said,
    button,
    context,
    joined,
    markup,
    said,
    section,
    sections,
    when,
)
from handlers.views.management import DEFINE, GRANT, REVOKE
from handlers.views.wording import Known

_TWICE = Markup("Slack did not confirm an earlier message, so this may be said twice.")


def listed(rows: Sequence[tuple[Any, ...]]) -> list[Block]:
    """Rows of (name, what it is for, command patterns, how many hold it, whether it came with Latchkey)."""
    return sections(
        joined(
            [
                joined(
                    [markup("• *{}*: {}", name, title), _held_by(int(holders)), "" if shipped else "made here"], "  ·  "
                ),
                markup("_May_ {}.", in_words(map(str, patterns))),
            ],
            "\n",
        )
        for name, title, patterns, holders, shipped in rows
    )


def buttons(request_id: str) -> list[Block]:
    """What tenant admins do next; who may is decided at the press."""
    return [
        button("Grant", GRANT, request_id, style="primary", spoken="Grant somebody a role"),
        button("Revoke", REVOKE, request_id, spoken="Take a role from somebody"),
        button("New role", DEFINE, request_id, spoken="Define a role"),
    ]


def _held_by(holders: int) -> str:
    if not holders:
        return "held by nobody"
    return "held by 1 person" if holders == 1 else f"held by {holders} people"


def grant_ends(known: Known) -> Said:
    """To who holds it, or to the tenant admins about one of them: when it ends, and how it is renewed."""
    data = known.data
    name, role, own = str(data["name"]), str(data["role"]), bool(data["own"])
    ends = datetime.fromisoformat(str(data["ends"]))
    where = markup(" in “{}”", str(data["scope"])) if data["scope"] else Markup("")
    words = "Your role {}{} ends {}." if own else "{}’s role {}{} ends {}."
    values = (role, where, when(ends)) if own else (name, role, where, when(ends))
    line = markup(":hourglass: " + words, *values)
    what_now = (
        "If you still need it, ask a tenant admin to grant it again. Otherwise nothing has to be done."
        if own
        else "If they are to stay tenant admin, grant it again: `/m365-roles grant`."
    )
    return said(line, [section(line), *context(what_now), *(context(_TWICE) if known.maybe_twice else [])])
