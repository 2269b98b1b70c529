"""How the rotation is, for the management box: last, next, age, health, the last ten, and what can be done."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from bot.model import RotationState, Severity
from bot.rotation_told import Level, RotationNow, in_one_line, named, stands, waiting
from handlers.views.blocks import Block, Markup, actions, button, joined, markup, section, sections, small_print, when

NOW = "rotation.now"
BACK = "rotation.back"
DRILL = "rotation.drill"
RECOVER = "rotation.recover"

ASKS_FOR: Final[Mapping[str, str]] = {
    NOW: "rotate-now",
    BACK: "rotate-back",
    DRILL: "rotate-drill",
    RECOVER: "recover-password",
}
"""Each button, and the action whose form it opens."""

_ALERTS: Final = 5

_SIGNS: Final[Mapping[Level, Markup]] = {
    Level.WELL: Markup(":large_green_circle: *Well.*"),
    Level.ATTENTION: Markup(":warning: *Needs attention.*"),
    Level.BAD: Markup(":rotating_light: *Broken.*"),
    Level.NOTHING: Markup(":white_circle: *Nothing to rotate.*"),
}
_OPEN: Final[Mapping[Severity, Markup]] = {
    Severity.ATTENTION: Markup(":large_yellow_circle:"),
    Severity.SESSIONS_STOP: Markup(":red_circle:"),
}
_ENDED: Final[Mapping[RotationState, Markup]] = {
    RotationState.RUNNING: Markup(":hourglass_flowing_sand:"),
    RotationState.STANDING: Markup(":warning:"),
    RotationState.DONE: Markup(":white_check_mark:"),
    RotationState.GIVEN_UP: Markup(":leftwards_arrow_with_hook:"),
}


def tile(now: RotationNow | None, may: Collection[str]) -> list[Block]:
    """The part of the box. *may* names the actions that this person may ask for."""
    title = section(Markup("*Rotation*"))
    if now is None:
        unknown = Markup(":warning: *Not known just now.* `/m365-rotate` tells more.")
        return [title, section(unknown), *_buttons(None, may)]
    past = [markup("{} {}: {}", _ENDED[each.state], when(each.at), in_one_line(each)) for each in now.past]
    return [
        title,
        *sections([markup("{} {}", _SIGNS[now.level], now.words), *_times(now), *_alerts(now)]),
        *small_print([Markup("*The last rotations*"), *past] if past else []),
        *_buttons(now, may),
    ]


def _times(now: RotationNow) -> list[Markup]:
    if now.level is Level.NOTHING:
        return []
    coming = markup("Next {}: {}.", "try" if stands(now.status) else "change", when(now.next_at)) if now.next_at else ""
    changed = markup("Changed last: {}, {} ago.", when(now.changed_at), now.age) if now.changed_at else ""
    return [joined([changed, coming], " "), markup("Changed {}.", now.cadence)]


def _alerts(now: RotationNow) -> list[Markup]:
    lines = []
    for alert in now.alerts[:_ALERTS]:
        seen = markup(" Acknowledged by {}.", alert.acknowledged_by) if alert.acknowledged_by else ""
        since = when(alert.opened_at)
        sign = _OPEN[alert.trouble.severity]
        lines.append(markup("{} Open alert since {}: {}{}", sign, since, named(alert.trouble), seen))
    if len(now.alerts) > _ALERTS:
        lines.append(markup("… and {} more open alerts, each on its card.", len(now.alerts) - _ALERTS))
    return lines


def _buttons(now: RotationNow | None, may: Collection[str]) -> list[Block]:
    if now is not None and now.level is Level.NOTHING:
        return []
    waits = now is not None and waiting(now.status.versions)
    offered = [
        (NOW, "Rotate now …"),
        *([(BACK, "Roll back …")] if waits else []),
        (DRILL, "Run a drill …"),
        (RECOVER, "Recover …"),
    ]
    there = (button(text, name, ASKS_FOR[name]) for name, text in offered if ASKS_FOR[name] in may)
    return actions(*there)
