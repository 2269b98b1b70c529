"""Cards about people who lost what they had; and a secret is shown to nobody who is gone."""

from __future__ import annotations

from typing import Any

import pytest

from bot.model import RequestState
from handlers.views.messages import NOTICES
from handlers.views.wording import Known
from tests.handlers.stage import OLIVE, Stage
from tests.handlers.test_blocks import NASTY
from tests.handlers.test_buttons import card
from tests.handlers.test_views import assert_slack_takes, reads

LEFT: dict[str, Any] = {
    "channel": "C1",
    "name": "Olive Hart",
    "user": "UOLIVE",
    "upn": "olive@contoso.com",
    "words": "cannot sign in: the account in Microsoft Entra is disabled",
    "roles": ["helpdesk"],
    "asked": [["reset-password", "Adele Vance"]],
    "agreed": [],
    "running": 0,
    "last_admin": False,
}
UNREAD: dict[str, Any] = {
    "channel": "C1",
    "group": "SG-Helpdesk",
    "role": "helpdesk",
    "number": 40,
    "read_at": "2026-03-03T09:00:00+00:00",
}


def shown(view: str, data: dict[str, Any]) -> str:
    said = NOTICES[view](Known(None, "", data=data))
    assert said is not None
    assert_slack_takes(said)
    return reads(said)


def test_the_card_says_who_left_what_ended_and_the_way_back() -> None:
    text = shown("operator-left", LEFT)

    for words in (
        "Olive Hart has been suspended.",
        "the account in Microsoft Entra is disabled",
        "helpdesk",
        "Their open request ended: Reset a password for Adele Vance",
        "/m365-roles restore olive@contoso.com",
    ):
        assert words in text
    assert "No tenant admin is left" not in text


def test_the_last_tenant_admins_card_says_how_to_get_back_in() -> None:
    text = shown("operator-left", {**LEFT, "last_admin": True, "roles": ["tenant-admin"], "asked": [], "running": 1})

    assert "No tenant admin is left" in text
    assert "--emergency" in text
    assert "latchkey restore UOLIVE" in text
    assert "being carried out" in text


def test_the_card_about_an_unreadable_group_says_whom_it_hit_and_since_when() -> None:
    text = shown("group-unread", UNREAD)

    for words in ("40 people", "helpdesk", "SG-Helpdesk", "as soon as they can be read"):
        assert words in text
    assert "1 person" in shown("group-unread", {**UNREAD, "number": 1})


@pytest.mark.parametrize("name", NASTY)
def test_no_name_breaks_a_card(name: str) -> None:
    shown("operator-left", {**LEFT, "name": name, "roles": [name] * 40, "asked": [[name, name]] * 40})
    shown("group-unread", {**UNREAD, "group": name, "role": name})


async def test_a_secret_is_not_shown_to_somebody_who_is_gone_and_they_are_let_go(stage: Stage) -> None:
    request = await stage.done_reset()
    stage.directory.disabled.add("a0000000-0000-4000-8000-000000000002")

    await stage.people.click("olive", await card(stage), "Reveal once")
    window = await stage.people.until(
        lambda: next((m for m in stage.people.modals("olive") if "disabled" in m.visible_text), None)
    )
    await stage.settled()

    assert window is not None
    assert "Walnut-Tiger-42" not in window.visible_text
    assert stage.reveals.holds(request.id)
    assert (await stage.now(request)).state is RequestState.DONE
    await stage.leavers.close()
    person = stage.operators.rights(OLIVE, "").operator
    assert person is not None
    assert person.suspended
