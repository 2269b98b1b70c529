"""Accounts that must not be touched (S10, S11, S25, S35), however they are named and whenever they became so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import pytest_asyncio

from bot.model import RequestState
from sandbox.directory import SERVICE_ACCOUNT, Directory
from sandbox.faults import Answer, Rule
from tests.stage import HELPDESK, Stage
from tests.threats.effects import acted, nothing_done, records, requests_of, settled

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROTECTED = {
    "gary@contoso.com": "is an administrator (Global Administrator)",
    "pia@contoso.com": "is an administrator (User Administrator)",
    "cyrus@contoso.com": "is an administrator",
    "rolf@contoso.com": "is an administrator",
    "chloe@contoso.com": "is on the list of accounts that Latchkey never touches",
    "rita@contoso.com": "is in a restricted administrative unit",
    "ana@contoso.com": "is your own account",
    SERVICE_ACCOUNT: "is an account that Latchkey itself works with",
}
"""Who, and what the refusal says. Rolf holds a role through a group, Pia could activate one, Cyrus has a custom one."""

SPELLINGS: dict[str, Callable[[str, str], str]] = {
    "sign-in name": lambda upn, id_: upn,
    "in capitals": lambda upn, id_: upn.upper(),
    "object id": lambda upn, id_: id_,
    "object id in capitals": lambda upn, id_: id_.upper(),
    "in quotes": lambda upn, id_: f'"{upn}"',
}


@pytest_asyncio.fixture(autouse=True, scope="module", loop_scope="module")
async def session_on(shared: Stage) -> None:
    """What is refused is then told in private at once."""
    shared.world.graph.index_lag = 0.0
    await shared.ask("olive", "/m365 show-user adele@contoso.com")


def id_of(stage: Stage, upn: str) -> str:
    return stage.world.directory.user(upn).id


# --- however they are named --------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS.keys())
@pytest.mark.parametrize("upn", PROTECTED)
async def test_a_protected_account_is_refused_however_it_is_named(
    shared: Stage, upn: str, spelling: Callable[[str, str], str]
) -> None:
    """S10: by tenant admins, too, who hold every command."""
    typed = spelling(upn, id_of(shared, upn))
    async with nothing_done(shared):
        answer = await shared.ask("ana", f'/m365 block-sign-in {typed} --reason "test"')

    assert PROTECTED[upn] in answer
    refused = (await requests_of(shared, "ana", 1))[0]
    assert refused.state is RequestState.REFUSED
    assert [each for each in await records(shared, "request.refused") if each.request_id == refused.id]


@pytest.mark.parametrize("upn", PROTECTED)
async def test_a_protected_account_is_refused_in_the_form_of_a_reset(shared: Stage, upn: str) -> None:
    """S10: the form opens at once and then says no; there is no button to press."""
    operator = "ana" if upn.startswith("ana@") else "olive"
    async with nothing_done(shared):
        await shared.world.slack.command(operator, HELPDESK, f'/m365 reset-password {upn} --reason "test"')
        text = await shared.until(lambda: _said_in_form(shared, operator, PROTECTED[upn]))
    await shared.world.slack.close(operator)

    assert "[Reset the password" not in text


def _said_in_form(stage: Stage, person: str, words: str) -> str:
    modal = stage.world.slack.modal(person)
    return modal.visible_text if modal and words in modal.visible_text else ""


@pytest.mark.parametrize("upn", ["gary@contoso.com", "chloe@contoso.com", "rita@contoso.com"])
async def test_a_protected_account_is_refused_when_it_is_chosen_from_the_list(shared: Stage, upn: str) -> None:
    """S10: what a list offers is no permission."""
    slack = shared.world.slack
    await slack.command("olive", HELPDESK, '/m365 reset-password --reason "test"')
    await shared.until(lambda: slack.modal("olive"))
    async with nothing_done(shared):
        await slack.choose("olive", "modal", "Whom", shared.world.directory.user(upn).name)
        text = await shared.until(lambda: _said_in_form(shared, "olive", PROTECTED[upn]))
    await slack.close("olive")

    assert "[Reset the password" not in text


@pytest.mark.parametrize("typed", ["the.boss@contoso.com", "THE.BOSS@CONTOSO.COM"])
async def test_an_alias_leads_to_the_account_behind_it_and_no_further(shared: Stage, typed: str) -> None:
    """S10: an address that is no sign-in name only suggests its owner, who is then looked at like anybody."""
    slack = shared.world.slack
    with _attributes(shared.world.directory, "gary", mail="the.boss@contoso.com"):
        async with nothing_done(shared):
            asked = await shared.ask("ana", f'/m365 block-sign-in {typed} --reason "test"')
            question = slack.ephemerals("ana")[-1]
            await slack.choose("ana", question, "Choose the person", "Gary Admin")
            answer = await shared.until(lambda: _said(shared, "ana", PROTECTED["gary@contoso.com"]))

    assert "Who is meant by" in asked
    assert "Gary Admin is an administrator" in answer


def _said(stage: Stage, person: str, words: str) -> str:
    text = stage.world.slack.ephemerals(person)[-1].visible_text
    return text if words in text else ""


@contextmanager
def _attributes(directory: Directory, who: str, **changes: str) -> Iterator[None]:
    before = directory.user(who)
    directory.update_user(who, attributes={**before.attributes, **changes})
    try:
        yield
    finally:
        directory.update_user(who, attributes=before.attributes)


LOOK_ALIKES = {
    "a Cyrillic letter": "аdele@contoso.com",
    "a Cyrillic domain": "adele@cоntoso.com",
    "full-width letters": "ａｄｅｌｅ@contoso.com",
    "a full-width at": "adele＠contoso.com",
    "a ligature": "adele@contoﬅ.com",
    "an accent beside its letter": "ade\u0301le@contoso.com",
    "a dotless letter": "adele@contoso.com".replace("e", "ℯ", 1),
    "letters in bold": "𝐚dele@contoso.com",
}


@pytest.mark.parametrize("typed", LOOK_ALIKES.values(), ids=LOOK_ALIKES.keys())
async def test_an_address_with_letters_that_only_look_right_is_refused_and_they_are_named(
    shared: Stage, typed: str
) -> None:
    """S35: nothing is looked up; the code points are shown."""
    before = acted(shared.world)
    async with nothing_done(shared):
        answer = await shared.ask("ana", f'/m365 block-sign-in {typed} --reason "test"')

    assert "has signs that sign-in names do not have" in answer
    assert "U+" in answer
    assert acted(shared.world) == before


ODD = {
    "a dot at the end": "adele@contoso.com.",
    "a dot at the end of the name": "adele.@contoso.com",
    "a plus address": "adele+test@contoso.com",
    "a display name before it": "Adele <adele@contoso.com>",
    "two addresses": "adele@contoso.com,lee@contoso.com",
    "only the name": "adele",
    "a prefix": "adel",
    "an on-premises name": "CONTOSO\\adele",
}


@pytest.mark.parametrize("typed", ODD.values(), ids=ODD.keys())
async def test_what_is_not_exactly_one_account_never_picks_the_target_of_a_change(shared: Stage, typed: str) -> None:
    """S10, S35: at most it suggests."""
    before = len(shared.world.slack.ephemerals("ana"))
    async with nothing_done(shared):
        await shared.world.slack.command("ana", HELPDESK, f'/m365 block-sign-in "{typed}" --reason "test"')
        await shared.until(lambda: _form_or_answer(shared, "ana", before))
        latest = (await requests_of(shared, "ana", 1))[0]
    while shared.world.slack.modals("ana"):
        await shared.world.slack.close("ana")

    assert latest.target is None
    assert latest.state in {RequestState.AWAITING_CONFIRMATION, RequestState.FAILED, RequestState.REFUSED}


def _form_or_answer(stage: Stage, person: str, before: int) -> bool:
    form = stage.world.slack.modal(person)
    asks = form is not None and "Looking up" not in form.visible_text
    return asks or bool(stage.world.slack.ephemerals(person)[before:])


async def test_what_cannot_be_seen_in_an_address_is_left_out(shared: Stage) -> None:
    """S35: a zero-width space pasted along with Gary's address does not hide who it is."""
    async with nothing_done(shared):
        answer = await shared.ask("ana", '/m365 block-sign-in ga\u200bry@contoso.com\u202e --reason "test"')

    assert "is an administrator (Global Administrator)" in answer


async def test_members_of_groups_in_the_never_touch_group_are_never_touched(shared: Stage) -> None:
    """S10: membership counts through any number of groups."""
    directory = shared.world.directory
    never, leeds = directory.group("Latchkey never touch"), directory.group("Sales Leeds")
    directory.add_member(never.id, leeds.id)
    async with nothing_done(shared):
        answer = await shared.ask("ana", '/m365 block-sign-in john.smith@contoso.com --reason "test"')
    directory.remove_member(never.id, leeds.id)

    assert "never touches" in answer


@pytest.mark.parametrize(
    "path", ["/roleManagement/directory/roleAssignments", "/users/*/transitiveMemberOf", "/users/*/memberOf/*"]
)
async def test_where_protection_cannot_be_read_nothing_is_changed(shared: Stage, path: str) -> None:
    """S10: a failed look is a no."""
    refusal = {"error": {"code": "Authorization_RequestDenied", "message": "x"}}
    rule = shared.world.faults.add(Rule("graph", "GET", path, Answer(403, refusal)))
    async with nothing_done(shared):
        answer = await shared.ask("ana", '/m365 block-sign-in john.smith@contoso.com --reason "test"')
    shared.world.faults.remove(rule)

    assert "does not let the management session do this" in answer


# --- power through groups ------------------------------------------------------------------------------

GROUPS = {
    "Tier 0 admins": "can make its members administrators",
    "Latchkey never touch": "decides whom Latchkey may touch",
    "Latchkey ask first": "decides whom Latchkey may touch",
    "Synced AD group": "comes from on-premises Active Directory",
    "All Staff": "follow from a rule",
    "Sales DL": "which Microsoft lets only Exchange change",
    "News": "which Microsoft lets only Exchange change",
}


@pytest.mark.parametrize("group", GROUPS)
async def test_a_group_that_gives_power_is_not_filled_through_the_bot(shared: Stage, group: str) -> None:
    """S11."""
    async with nothing_done(shared):
        await _changes_group(shared, f'add-to-group adele@contoso.com --group "{group}"', GROUPS[group])


@pytest.mark.parametrize("by", ["name", "object id", "object id in capitals"])
async def test_a_group_that_protects_is_not_emptied_through_the_bot(shared: Stage, by: str) -> None:
    """S11: whoever left it would lose its protection."""
    directory = shared.world.directory
    ask_first, lee = directory.group("Latchkey ask first"), directory.user("lee").id
    typed = {"name": ask_first.name, "object id": ask_first.id, "object id in capitals": ask_first.id.upper()}[by]
    directory.add_member(ask_first.id, lee)
    async with nothing_done(shared):
        said = f'remove-from-group lee@contoso.com --group "{typed}"'
        await _changes_group(shared, said, "decides whom Latchkey may touch")
    directory.remove_member(ask_first.id, lee)
    async with nothing_done(shared):
        await _changes_group(shared, f'add-to-group lee@contoso.com --group "{typed}"', GROUPS[ask_first.name])


@pytest.mark.parametrize("deed", ["add-to-group lee@contoso.com", "remove-from-group adele@contoso.com"])
async def test_nor_is_a_group_inside_such_a_group(shared: Stage, deed: str) -> None:
    """S11, S25: who is in the inner group is in the outer one."""
    directory = shared.world.directory
    outer, inner = directory.group("Latchkey ask first"), directory.group("Sales")
    directory.add_member(outer.id, inner.id)
    try:
        async with nothing_done(shared):
            await _changes_group(shared, f'{deed} --group "{inner.name}"', GROUPS[outer.name])
    finally:
        directory.remove_member(outer.id, inner.id)


async def _changes_group(stage: Stage, what: str, refusal: str) -> None:
    """Ana asks for it, and the request ends with *refusal*."""
    await stage.world.slack.command("ana", HELPDESK, f'/m365 {what} --reason "test"')
    await settled(stage.bot)
    request = (await requests_of(stage, "ana", 1))[0]

    assert request.state in {RequestState.REFUSED, RequestState.FAILED}
    assert refusal in request.sentence
