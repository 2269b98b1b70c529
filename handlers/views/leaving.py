"""Cards about people who have lost what they had: who left, and whose group could not be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from bot.actions import catalogue
from handlers.views.blocks import Markup, Said, code, context, escape, joined, markup, said, section, sections, when
from handlers.views.wording import Known

_TWICE = Markup("Slack did not confirm an earlier message, so this may be said twice.")


def operator_left(known: Known) -> Said:
    """Who was suspended and why, what ended with that, and what a tenant admin may do."""
    data = known.data
    name, words = str(data["name"]), str(data["words"])
    ended = [
        *_things("Their open request ended", "Their open requests ended", data["asked"]),
        *_things(
            "They had agreed to a request, which ended", "They had agreed to requests, which ended", data["agreed"]
        ),
    ]
    if data["running"]:
        ended.append(
            Markup("• What was being carried out for them already is finished, so that nothing stays half done.")
        )
    roles = ", ".join(map(str, data["roles"]))
    lines = [
        markup(":no_entry: *{} has been suspended.* {} {}.", name, name, words),
        markup("• Their roles count no more: {}.", roles) if roles else Markup("• They held no role."),
        *ended,
    ]
    if data["last_admin"]:
        command = 'latchkey grant U0123ABCD tenant-admin --account UPN --emergency --reason "…"'
        lines.append(
            markup(
                ":rotating_light: *No tenant admin is left.* Somebody who can log in to the machine Latchkey runs on "
                "names a new one there: {}",
                code(command),
            )
        )
    back = markup(
        "Nothing comes back by itself. If they are to go on, enable the account again; then a tenant admin restores "
        "them: {}. If they are not, revoke their roles.",
        code(_restore(data)),
    )
    alarm = " No tenant admin is left." if data["last_admin"] else ""
    return said(
        f"{name} has been suspended. {name} {words}.{alarm}",
        [*sections(lines), *context(back), *(context(_TWICE) if known.maybe_twice else [])],
    )


def group_unread(known: Known) -> Said:
    """Grants that ended because nobody could tell any more who is in the group."""
    data = known.data
    number, group, role = int(data["number"]), str(data["group"]), str(data["role"])
    people = "1 person" if number == 1 else f"{number} people"
    line = markup(
        ":warning: *{} lost the role {}, which follows the group {}.* Latchkey has not been able to read the group's "
        "members since {}.",
        people,
        role,
        group,
        when(datetime.fromisoformat(str(data["read_at"]))),
    )
    what_now = Markup(
        "Its members hold the role again as soon as they can be read. `latchkey doctor` says what is missing; until "
        "then a tenant admin can grant the role to single people."
    )
    return said(
        f"{people} lost the role {role}: the members of the group {group} cannot be read.",
        [section(line), *context(what_now), *(context(_TWICE) if known.maybe_twice else [])],
    )


def _restore(data: Mapping[str, Any]) -> str:
    """The command that restores them; in Slack they may be named by their sign-in name."""
    if data["last_admin"]:
        return f'latchkey restore {data["user"]} --reason "…"'
    return f'/m365-roles restore {data.get("upn") or data["user"]} --reason "…"'


def _things(one: str, several: str, things: Sequence[Sequence[str]]) -> list[Markup]:
    if not things:
        return []
    named = [markup("{} for {}", _done(action), whom) if whom else _done(action) for action, whom in things]
    return [markup("• {}: {}.", one if len(things) == 1 else several, joined(named, ", "))]


def _done(action: str) -> Markup:
    known = catalogue().get(action)
    return escape(known.title) if known else code(action)
