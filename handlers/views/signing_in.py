"""How somebody is asked to sign in at Microsoft, and what the owner of a session is told when it ends."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from bot.signing_in import Invitation, Purpose
from handlers.views import form
from handlers.views.blocks import (
    Block,
    Markup,
    Said,
    View,
    actions,
    button,
    context,
    joined,
    link_button,
    markup,
    modal,
    preformatted,
    said,
    section,
    when,
)
from handlers.views.home import EXTEND
from handlers.views.wording import Known

OPEN_PAGE = "signin.open"
CANCEL = "signin.cancel"

_TITLE: Final = "Sign in at Microsoft"
_WHY: Final = {
    Purpose.LINK: "Sign in with the Microsoft account that is yours, so that Latchkey knows it belongs to you.",
    Purpose.SESSION: "Sign in with your own administrator account. Latchkey works with it while your session is on.",
    Purpose.SET_UP: "Sign in with an administrator's account that has a role the request names; a Global Administrator "
    "may do it all. Latchkey uses it for this one request, and keeps nothing of it.",
    Purpose.POLICIES: "Sign in with the account of a Conditional Access Administrator; if a group has to be made, of "
    "one who is a Privileged Role Administrator, too. A Global Administrator may do it all. Latchkey uses it for this "
    "one request, and keeps nothing of it.",
    Purpose.APPROVAL: "Sign in with the account that is linked to you, so that it is certain who approves.",
}


def loading() -> View:
    """What opens at once, while Microsoft is asked."""
    return modal(_TITLE, [section("One moment …")])


def window(invitation: Invitation, purpose: Purpose, form_of: str = "") -> View:
    """The link or the code, for the person who asked. In the form of a request (*form_of* is its id) closing it means
    what closing the form means."""
    blocks = _blocks(invitation, purpose)
    if form_of:
        return modal(_TITLE, blocks, callback_id=form.CALLBACK, about=form_of, tell_when_closed=True)
    return modal(_TITLE, blocks)


def message(invitation: Invitation, purpose: Purpose) -> Said:
    """The same where no window could be opened."""
    return said(f"{_WHY[purpose]} Open Slack to see how.", _blocks(invitation, purpose))


def _blocks(invitation: Invitation, purpose: Purpose) -> Sequence[Block]:
    cancel = button("Cancel", CANCEL, purpose.value, spoken="Cancel this sign-in")
    until = markup("It works until {}, once, and is for you alone: show it to nobody.", when(invitation.until))
    if invitation.code is None:
        return [
            section(_WHY[purpose]),
            *actions(link_button("Continue at Microsoft", OPEN_PAGE, invitation.url), cancel),
            *context(until, Markup("Latchkey never sees your password.")),
        ]
    return [
        section(_WHY[purpose]),
        section(Markup("Open Microsoft's page and type this code there:")),
        preformatted(invitation.code),
        *actions(link_button("Open Microsoft's page", OPEN_PAGE, invitation.url), cancel),
        *context(until, Markup("Latchkey goes on by itself when you are done, and never sees your password.")),
    ]


def ending(known: Known) -> Said:
    """Somebody's own session ends soon."""
    until = when(datetime.fromisoformat(str(known.data["until"])))
    if not known.data.get("extends"):
        words = markup("Your management session ends at {}: it has reached its time limit.", until)
        return said(words, [section(words)])
    words = markup("Your management session ends at {} unless you go on working.", until)
    return said(words, [section(words), *actions(button("Extend", EXTEND, "session", style="primary"))])


def ended(known: Known) -> Said:
    """The receipt of somebody's own session."""
    changes = int(known.data.get("changes") or 0)
    done = {0: "Nothing was changed in it.", 1: "One change was made in it."}
    began = known.data.get("opened_at")
    words = joined(
        [
            markup("Your management session has ended. {}", str(known.data.get("why") or "")),
            done.get(changes, f"{changes} changes were made in it."),
        ],
        " ",
    )
    opened = markup(
        "It was opened {}, as {}.", when(datetime.fromisoformat(str(began))), str(known.data.get("account"))
    )
    return said(words, [section(words), *(context(opened) if began else [])])
