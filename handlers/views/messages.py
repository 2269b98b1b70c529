"""Every message of the outbox by the name under which it is said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from bot.model import Request
from handlers.views import answer, card, closing, continuing, steps
from handlers.views.blocks import Said
from handlers.views.wording import Known

VIEWS: Final[Mapping[str, Callable[[Request, Known], Said | None]]] = {
    "card": card.build,
    "steps": steps.build,
    "closing": closing.build,
    "news": closing.news,
    "answer": answer.build,
    "shared": answer.shared,
    "continue": continuing.build,
}
"""None means that there is nothing to say any more."""
