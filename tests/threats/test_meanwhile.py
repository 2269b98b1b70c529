"""What changes between the form and the press (S25): decided, and planned, on how things are at the press."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from sandbox.directory import Directory
from tests.stage import HELPDESK, Stage
from tests.threats.effects import nothing_done

RESET_ADELE = "Reset the password of Adele Vance, Sales"


def made_administrator(directory: Directory) -> None:
    directory.assign_role(directory.user("adele").id, "Global Administrator")


def made_eligible(directory: Directory) -> None:
    directory.assign_role(directory.user("adele").id, "Helpdesk Administrator", eligible=True)


def put_into_a_role_group(directory: Directory) -> None:
    directory.add_member(directory.group("Tier 0 admins").id, directory.user("adele").id)


def put_on_the_list(directory: Directory) -> None:
    directory.add_member(directory.group("Latchkey never touch").id, directory.user("adele").id)


def put_into_a_restricted_unit(directory: Directory) -> None:
    directory.units = tuple(
        replace(unit, members=(*unit.members, directory.user("adele").id)) if unit.restricted else unit
        for unit in directory.units
    )


PROMOTIONS: dict[Callable[[Directory], None], str] = {
    made_administrator: "is an administrator (Global Administrator)",
    made_eligible: "is an administrator (Helpdesk Administrator)",
    put_into_a_role_group: "is an administrator (Privileged Role Administrator)",
    put_on_the_list: "never touches",
    put_into_a_restricted_unit: "is in a restricted administrative unit",
}


@pytest.mark.parametrize("promoted", PROMOTIONS, ids=lambda promotion: promotion.__name__)
async def test_who_became_protected_between_form_and_press_is_refused(
    stage: Stage, promoted: Callable[[Directory], None]
) -> None:
    """S25: what is decided is decided on the target as it is at the press."""
    await filled_in(stage)
    promoted(stage.world.directory)
    async with nothing_done(stage):
        await stage.world.slack.click("olive", "modal", RESET_ADELE)
        card = await stage.until(lambda: stage.world.slack.messages(HELPDESK)[-1])
        await stage.until(lambda: PROMOTIONS[promoted] in card.visible_text)

    assert stage.world.graph.writes() == []


async def filled_in(stage: Stage) -> None:
    await stage.form("olive", '/m365 reset-password adele@contoso.com --reason "locked out"', RESET_ADELE)
    await stage.world.slack.choose("olive", "modal", "How was the caller verified?", "In person")


async def test_who_was_deleted_and_made_anew_under_the_same_name_is_not_who_was_confirmed(stage: Stage) -> None:
    """S25: an object id is a person, a user name is not."""
    directory = stage.world.directory
    await filled_in(stage)
    adele = directory.user("adele")
    directory.delete_user(adele.id)
    directory.add_user(replace(adele, id="aaaaaaaa-0000-4000-8000-000000000001"))
    async with nothing_done(stage):
        await stage.world.slack.click("olive", "modal", RESET_ADELE)
        card = await stage.until(lambda: stage.world.slack.messages(HELPDESK)[-1])
        await stage.until(lambda: "Microsoft knows no such object" in card.visible_text)

    assert stage.world.graph.writes() == []


async def test_what_was_confirmed_is_what_runs_or_it_is_asked_again(stage: Stage) -> None:
    """S25: the account was blocked meanwhile, which the plan says; so nothing runs by the old press."""
    await filled_in(stage)
    stage.world.directory.update_user("adele", enabled=False)
    async with nothing_done(stage):
        await stage.world.slack.click("olive", "modal", RESET_ADELE)
        card = await stage.until(lambda: stage.world.slack.messages(HELPDESK)[-1])
        await stage.until(lambda: "changed since you looked" in card.visible_text)

    assert "[Do it anyway]" in card.visible_text
