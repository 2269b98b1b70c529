"""People from elsewhere, guests, bots, people who left and people without a record (S6, S7), wherever they act."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from sandbox.faults import Answer, Rule
from sandbox.slack import Message
from tests.stage import HELPDESK, SHELL, Stage
from tests.threats.effects import PEOPLE, nothing_done, records, requests_of, state
from tests.threats.knocking import a_press, a_submission

pytestmark = pytest.mark.asyncio(loop_scope="module")

SUPPORT = "Ana Ruiz or Bo Lind"
RESET = "Reset the password of Adele Vance, Sales"

OUTSIDERS = {
    "otto": ("U0OTTO0001", "T0PARTNER0", "You belong to another workspace"),
    "gus": ("U0GUS00001", "T0CONTOSO", "Guests cannot use Latchkey"),
    "dora": ("U0DORA0001", "T0CONTOSO", "Your Slack account is deactivated"),
    "robo": ("U0ROBO0001", "T0CONTOSO", "Apps and workflows cannot use Latchkey"),
}
"""Name to user, team, and what they are told."""


@pytest.fixture(scope="module")
def triggers() -> Callable[[], str]:
    """Trigger ids that no payload had before."""
    used = iter(range(10_000))
    return lambda: f"9.9.forged{next(used)}"


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def nobody_stays_away(shared: Stage) -> AsyncIterator[None]:
    """Whoever was found to have left is suspended for good; the next test wants them back."""
    yield
    operators = shared.bot.storage.operators
    for holder in await operators.everyone():
        if holder.operator.suspended:
            await operators.suspend(holder.operator.slack, suspended=False, by=SHELL, reason="test")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def card(shared: Stage) -> Message:
    """Ana blocked Alex's sign-in, which has an Undo. The channel was shared with Otto's company since."""
    await shared.world.slack.command("ana", HELPDESK, '/m365 block-sign-in alex@contoso.com --reason "lost his laptop"')
    found = await shared.card(0, "was blocked")
    for who in OUTSIDERS:
        shared.world.slack.join(who, HELPDESK)
    return found


async def pressed(stage: Stage, who: str, card: Message, label: str = "Undo") -> str:
    """Press a button, and return what is said because of it."""
    before = len(stage.world.slack.ephemerals(who))
    await stage.world.slack.click(who, card, label)
    await stage.until(lambda: stage.world.slack.ephemerals(who)[before:])
    return told(stage, who)


@asynccontextmanager
async def a_form_of_olives(stage: Stage) -> AsyncIterator[str]:
    """Olive has the form about Adele before her; the id of her request."""
    await stage.form("olive", '/m365 reset-password adele@contoso.com --reason "x"', RESET)
    request = (await requests_of(stage, "olive"))[0]
    yield request.id
    await stage.world.slack.close("olive")


def told(stage: Stage, user: str) -> str:
    """The last thing said to somebody alone."""
    return stage.world.slack.ephemerals(user)[-1].visible_text


# --- where they act -------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["gus", "dora", "robo"])
async def test_a_command_of_somebody_who_is_not_one_of_us_is_refused_in_words(
    shared: Stage, card: Message, who: str
) -> None:
    """S7. (Slack itself does not offer our commands to other workspaces.)"""
    user, _, sentence = OUTSIDERS[who]
    async with nothing_done(shared):
        answer = await shared.ask(who, "/m365 reset-password adele@contoso.com")

    assert sentence in answer
    assert SUPPORT in answer
    assert "Adele" not in answer
    assert await records(shared, "identity.refused", user=user, did="/m365")


@pytest.mark.parametrize("who", OUTSIDERS)
async def test_a_press_of_undo_by_somebody_who_is_not_one_of_us_is_refused_in_words(
    shared: Stage, card: Message, who: str
) -> None:
    """S6, S7: they see the card, since its channel was shared or they were let in; they cannot use it."""
    user, _, sentence = OUTSIDERS[who]
    async with nothing_done(shared):
        answer = await pressed(shared, who, card)

    assert sentence in answer
    assert "Alex" not in answer
    assert not shared.world.directory.user("alex").enabled
    assert await records(shared, "identity.refused", user=user, did="request.undo")


@pytest.mark.parametrize("who", OUTSIDERS)
async def test_a_secret_is_not_shown_to_somebody_who_is_not_one_of_us(
    shared: Stage, card: Message, triggers: Callable[[], str], who: str
) -> None:
    """S6, S7: not even a window opens."""
    user, team, sentence = OUTSIDERS[who]
    async with a_form_of_olives(shared) as request:
        before = len(shared.world.slack.ephemerals(who))
        press = a_press("request.reveal", request, trigger=triggers(), user={"id": user, "team_id": team})
        async with nothing_done(shared):
            await shared.world.slack.deliver("interactive", press)
            await shared.until(lambda: shared.world.slack.ephemerals(who)[before:])

    assert sentence in told(shared, who)
    assert shared.world.slack.modals(who) == []
    assert await records(shared, "identity.refused", user=user, did="request.reveal")


@pytest.mark.parametrize("names_team", [True, False])
@pytest.mark.parametrize("who", OUTSIDERS)
async def test_a_form_sent_off_by_somebody_who_is_not_one_of_us_is_refused_in_words(
    shared: Stage, who: str, names_team: bool
) -> None:
    """S6, S7: in a submission their team stands elsewhere, and `user` may lack it."""
    user, team, sentence = OUTSIDERS[who]
    actor = {"id": user, **({"team_id": team} if names_team else {})}
    async with a_form_of_olives(shared) as request, nothing_done(shared):
        form = a_submission(
            request, user=actor, team={"id": team, "domain": "x"}, view={"hash": f"1.{who}{names_team}"}
        )
        delivery = await shared.world.slack.deliver("interactive", form)

    assert delivery.ack.body is not None
    assert delivery.ack.body["response_action"] == "update"
    assert sentence in str(delivery.ack.body)
    assert "Adele" not in str(delivery.ack.body)
    assert await records(shared, "identity.refused", user=user, did="request.form")


@pytest.mark.parametrize("who", OUTSIDERS)
async def test_a_list_offers_nobody_to_somebody_who_is_not_one_of_us(shared: Stage, who: str) -> None:
    """S6, S7: a search answers with people's names, so it is a door, too."""
    user, team, sentence = OUTSIDERS[who]
    async with a_form_of_olives(shared) as request, nothing_done(shared):
        search = {
            **a_submission(request, user={"id": user, "team_id": team}),
            "type": "block_suggestion",
            "action_id": "form.find_person",
            "block_id": "target",
            "value": "adele",
        }
        delivery = await shared.world.slack.deliver("interactive", search)

    assert sentence[:30] in str(delivery.ack.body)
    assert "Vance" not in str(delivery.ack.body)


@pytest.mark.parametrize("who", ["gus", "otto"])
async def test_the_home_tab_tells_them_nothing_but_whom_to_ask(shared: Stage, who: str) -> None:
    """S6, S7."""
    home = await shared.world.slack.open_home(who)

    assert home is not None
    assert SUPPORT in home.visible_text
    assert "reset-password" not in home.visible_text
    assert "session" not in home.visible_text.lower()


async def test_one_who_is_not_called_a_stranger_is_still_one(shared: Stage, card: Message) -> None:
    """S6: `is_stranger` is false for people who share a channel with us."""
    await shared.world.slack.change_person("otto", is_stranger=False)
    async with nothing_done(shared):
        assert "You belong to another workspace" in await pressed(shared, "otto", card)


# --- what Slack says of them ----------------------------------------------------------------------------

OLIVE = {"id": "U0OLIVE001", "team_id": "T0CONTOSO", "name": "olive", "real_name": "Olive Hart", "deleted": False}
FLAGS: dict[str, dict[str, Any]] = {
    "deactivated": {"deleted": True},
    "a bot": {"is_bot": True},
    "a workflow": {"is_workflow_bot": True},
    "a stranger": {"is_stranger": True},
    "a guest": {"is_restricted": True},
    "a guest of one channel": {"is_ultra_restricted": True},
    "only invited": {"is_invited_user": True},
    "with an address nobody confirmed": {"is_email_confirmed": False},
    "of another team after all": {"team_id": "T0PARTNER0"},
    "of an organisation that our team is not in": {
        "team_id": "E0ORG00001",
        "enterprise_user": {"teams": ["T0PARTNER0"]},
    },
    "of no team": {"team_id": None},
}


async def changed(stage: Stage, who: str) -> None:
    """Slack tells us that something about somebody changed, so that we ask anew."""
    await stage.world.slack.change_person(who, title=f"{stage.world.slack.person(who).title}.")


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS.keys())
async def test_an_operator_whom_slack_says_anything_against_is_refused(shared: Stage, flags: dict[str, Any]) -> None:
    """S7: each flag, for somebody with a record and a role."""
    await changed(shared, "olive")
    rule = Rule("slack", "*", "/users.info", Answer(200, {"ok": True, "user": {**OLIVE, **flags}}))
    shared.world.faults.add(rule)
    try:
        async with nothing_done(shared):
            answer = await shared.ask("olive", "/m365 show-user adele@contoso.com")
    finally:
        shared.world.faults.remove(rule)
        await changed(shared, "olive")

    assert SUPPORT in answer
    assert "Adele" not in answer


async def test_an_operator_who_became_a_guest_is_refused_within_a_minute_also_if_slack_did_not_tell(
    shared: Stage,
) -> None:
    """S7: what Slack says about a person is believed for sixty seconds."""
    assert "session" in await shared.ask("olive", "/m365-session status")
    rule = Rule("slack", "*", "/users.info", Answer(200, {"ok": True, "user": {**OLIVE, "is_restricted": True}}))
    shared.world.faults.add(rule)
    shared.world.clock.advance(61)
    answer = await shared.ask("olive", "/m365-session status")
    shared.world.faults.remove(rule)
    await changed(shared, "olive")

    assert "Guests cannot use Latchkey" in answer


async def test_who_is_deactivated_is_refused_at_the_very_next_press(shared: Stage, card: Message) -> None:
    """S7: Slack tells us of the change, and what we remembered is gone."""
    await shared.world.slack.change_person("ana", deleted=True)
    async with nothing_done(shared):
        answer = await pressed(shared, "ana", card)
    await shared.world.slack.change_person("ana", deleted=False)

    assert "deactivated" in answer


# --- when Slack does not say ----------------------------------------------------------------------------


@asynccontextmanager
async def users_info_down(stage: Stage) -> AsyncIterator[None]:
    rule = stage.world.faults.add(Rule("slack", "*", "/users.info", Answer(503, {"ok": False})))
    for who in ("olive", "ana", "otto"):
        await changed(stage, who)
    try:
        yield
    finally:
        stage.world.faults.remove(rule)


@pytest.mark.parametrize(
    "typed",
    ["/m365 reset-password adele@contoso.com", "/m365 show-user adele@contoso.com", "/m365-session on", "/m365 undo"],
)
async def test_while_slack_does_not_say_who_somebody_is_nothing_is_done_for_them(shared: Stage, typed: str) -> None:
    """S7."""
    async with users_info_down(shared), nothing_done(shared):
        before = await state(shared)
        answer = await shared.ask("olive", typed)
        after = await state(shared)

    assert "Slack does not confirm who you are right now" in answer
    assert after.rows["requests"] == before.rows["requests"]
    assert after.acted == before.acted


async def test_while_slack_does_not_say_who_somebody_is_presses_are_refused_too(shared: Stage, card: Message) -> None:
    """S7."""
    async with users_info_down(shared), nothing_done(shared):
        answer = await pressed(shared, "ana", card)

    assert "Slack does not confirm who you are right now" in answer
    assert not shared.world.directory.user("alex").enabled


@pytest.mark.parametrize("typed", ["/m365 help", "/m365"])
async def test_help_is_given_all_the_same(shared: Stage, typed: str) -> None:
    """It tells nothing of the tenant."""
    async with users_info_down(shared):
        assert "What you can do with Latchkey" in await shared.ask("olive", typed)


async def test_another_workspace_is_told_so_all_the_same(shared: Stage, card: Message) -> None:
    """S6: whose team it is stands in the payload."""
    async with users_info_down(shared):
        assert "You belong to another workspace" in await pressed(shared, "otto", card)


# --- people of ours without rights ----------------------------------------------------------------------

Deed = Callable[[Stage, Message, str], Awaitable[str]]


async def by_command(stage: Stage, card: Message, who: str) -> str:
    return await stage.ask(who, "/m365 block-sign-in john.smith@contoso.com")


async def by_name(stage: Stage, card: Message, who: str) -> str:
    return await stage.ask(who, "/m365 reset-password alex")


async def by_undo(stage: Stage, card: Message, who: str) -> str:
    return await pressed(stage, who, card)


@pytest.mark.parametrize("deed", [by_command, by_name, by_undo])
async def test_a_colleague_without_a_record_is_refused_in_words_and_noted(
    shared: Stage, card: Message, deed: Deed
) -> None:
    """S7: being in the workspace gives no rights."""
    async with nothing_done(shared):
        answer = await deed(shared, card, "nina")

    assert "You are not a Latchkey operator" in answer
    assert "Ana Ruiz" in answer
    refused = (await records(shared, "request.refused", user="U0NINA0001"))[0]
    assert refused.facts["why"] == "operator"


@pytest.mark.parametrize("deed", [by_command, by_name, by_undo])
async def test_a_viewer_without_an_account_changes_nothing(shared: Stage, card: Message, deed: Deed) -> None:
    """S7: the role does not hold it, and nothing may be changed in nobody's name."""
    async with nothing_done(shared):
        answer = await deed(shared, card, "vic")

    assert "You may not use" in answer


async def test_somebody_without_an_account_of_their_own_changes_nothing_whatever_their_role(shared: Stage) -> None:
    """S7: what is changed is changed in the name of a person of the tenant."""
    await shared.bot.storage.operators.grant(PEOPLE["vic"], "helpdesk", by=SHELL, reason="test")
    async with nothing_done(shared):
        answer = await shared.ask("vic", "/m365 reset-password adele@contoso.com")
    await shared.bot.storage.operators.revoke(PEOPLE["vic"], "helpdesk", by=SHELL, reason="test")

    assert "No Microsoft account is linked to you" in answer


async def test_no_session_opens_for_a_colleague_without_a_record(shared: Stage) -> None:
    """The decision on the person comes first, from our own records: nobody signs in for it."""
    before = await state(shared)

    await shared.ask("nina", "/m365 show-user adele@contoso.com")

    assert (await state(shared)).acted == before.acted


async def test_homes_of_colleagues_show_their_own_rights_only(shared: Stage) -> None:
    nina = await shared.world.slack.open_home("nina")
    vic = await shared.world.slack.open_home("vic")

    assert nina is not None
    assert vic is not None
    assert "reset-password" not in nina.visible_text
    assert "You may not use /m365 reset-password" in vic.visible_text.replace("`", "")


async def test_a_switch_on_the_home_tab_is_decided_on_like_a_command(
    shared: Stage, triggers: Callable[[], str]
) -> None:
    """S7: who has no right to it has no button either, and cannot press it all the same."""
    home = await shared.world.slack.open_home("vic")
    assert home is not None
    assert "[Turn o" not in home.visible_text
    before = len(shared.world.slack.ephemerals("vic"))
    signed_in = len(shared.world.entra.grants("password"))
    user, team = PEOPLE["vic"].user, PEOPLE["vic"].team

    forged = a_press("session.on", "session", trigger=triggers(), user={"id": user, "team_id": team})
    await shared.world.slack.deliver("interactive", forged)

    await shared.until(lambda: shared.world.slack.ephemerals("vic")[before:])
    assert "You may not use" in told(shared, "vic")
    assert len(shared.world.entra.grants("password")) == signed_in
