"""Every message of the outbox by the name under which it is said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from bot.model import Request
from handlers.views import (
    alert,
    answer,
    approval,
    audit,
    blocked,
    card,
    closing,
    continuing,
    leaving,
    roles,
    signing_in,
    steps,
)
from handlers.views.blocks import Said
from handlers.views.wording import Known

VIEWS: Final[Mapping[str, Callable[[Request, Known], Said | None]]] = {
    "card": card.build,
    "steps": steps.build,
    "closing": closing.build,
    "news": closing.news,
    "wanted": closing.wanted,
    "answer": answer.build,
    "shared": answer.shared,
    "continue": continuing.build,
    "approval": approval.build,
    "reminder": approval.reminder,
    "alone": approval.alone,
    "blocked": blocked.build,
}
"""Messages about a request. None means that there is nothing to say any more."""

NOTICES: Final[Mapping[str, Callable[[Known], Said | None]]] = {
    "audit-head": audit.head,
    "session-ending": signing_in.ending,
    "session-ended": signing_in.ended,
    "operator-left": leaving.operator_left,
    "group-unread": leaving.group_unread,
    "grant-ends": roles.grant_ends,
    "alert": alert.card,
    "alert-line": alert.line,
}
"""Messages about no request, made of what came with them (`known.data`)."""
