"""Who wants to sign in is shown a link or a code, alone, and later how it ended."""

from __future__ import annotations

from dataclasses import replace

from bot.model import RequestState, SlackUser
from bot.signing_in import Purpose, SignedIn
from sandbox.faults import Answer, Rule
from tests.handlers.stage import OLIVE, VIC, Stage


async def test_linking_shows_a_code_to_the_person_alone_and_then_how_it_ended(stage: Stage) -> None:
    linked: list[SlackUser] = []

    async def links(slack: SlackUser, about: str, account: SignedIn) -> str:
        linked.append(slack)
        return f"Linked to {account.upn}."

    stage.signing_in.on(Purpose.LINK, links)
    await stage.people.command("vic", "#helpdesk", "/m365 link")
    window = await stage.people.until(lambda: [m for m in stage.people.modals("vic") if "CODE-" in m.visible_text])
    assert "[Cancel]" in window[-1].visible_text
    assert await stage.rows() == []

    stage.entra.codes[-1].typed_by = "vic@contoso.com"
    stage.workspace.clock.advance(5)
    await stage.people.until(lambda: "Linked to vic@contoso.com" in stage.people.modals("vic")[-1].visible_text)

    assert linked == [VIC]
    assert stage.people.messages("#helpdesk") == []


async def test_cancelling_makes_the_code_worthless(stage: Stage) -> None:
    await stage.people.command("vic", "#helpdesk", "/m365 link")
    await stage.people.until(lambda: "[Cancel]" in stage.people.modals("vic")[-1].visible_text)
    await stage.people.click("vic", "modal", "Cancel")
    await stage.people.until(lambda: "nobody signed in" in stage.people.modals("vic")[-1].visible_text)

    stage.entra.codes[-1].typed_by = "vic@contoso.com"
    stage.workspace.clock.advance(5)
    await stage.settled()
    assert stage.entra.given == []


async def test_what_waits_for_a_sign_in_offers_it_to_nobody_but_who_asked(stage: Stage) -> None:
    request = await stage.have(
        state=RequestState.AWAITING_CONFIRMATION,
        started_at=stage.clock.now(),
        sentence="Your management session is off. Sign in at Microsoft to open it.",
        answer={"sign_in": "session"},
    )
    card = await stage.people.until(lambda: next(iter(stage.people.messages("#helpdesk")), None))
    assert card is not None
    await stage.people.click("ana", card, "Sign in and go on")
    await stage.people.until(lambda: stage.people.ephemerals("ana") or stage.people.modals("ana"))
    assert stage.entra.codes == []

    await stage.people.click("olive", card, "Sign in and go on")
    await stage.people.until(lambda: [m for m in stage.people.modals("olive") if "CODE-" in m.visible_text])
    assert request.slack == OLIVE


async def test_closing_the_form_in_which_somebody_was_to_sign_in_withdraws_the_request(stage: Stage) -> None:
    await stage.people.command("olive", "#helpdesk", "/m365 reset-password adele@contoso.com")
    await stage.people.until(lambda: stage.people.modals("olive"))
    await stage.settled()
    request = await stage.only_row()
    waits = replace(
        request,
        state=RequestState.AWAITING_CONFIRMATION,
        sentence="Your management session is off.",
        answer={"sign_in": "session"},
    )
    waits = await stage.requests.save(waits)
    await stage.forms.tell(waits, waits.sentence, again=False)
    await stage.people.click("olive", "modal", "Sign in and go on")
    await stage.people.until(lambda: "CODE-" in stage.people.modals("olive")[-1].visible_text)
    await stage.people.close("olive")
    await stage.settled()

    assert (await stage.now(request)).state is RequestState.WITHDRAWN


async def test_where_no_window_opens_the_code_is_told_in_private(stage: Stage) -> None:
    stage.workspace.faults.add(
        Rule("slack", "*", "/views.open", Answer(200, {"ok": False, "error": "expired_trigger_id"}))
    )
    await stage.people.command("vic", "#helpdesk", "/m365 link")
    said = await stage.people.until(lambda: stage.people.ephemerals("vic"))

    assert "CODE-" in said[-1].visible_text
    assert stage.people.messages("#helpdesk") == []
