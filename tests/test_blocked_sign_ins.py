"""A policy that keeps the service account out, as people meet it: the whole bot against the pretend world."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from bot.model import Request, RequestState
from bot.obstacle import Obstacle, Phase
from sandbox.directory import SERVICE_ACCOUNT
from sandbox.slack import Message
from tests.stage import HELPDESK, Stage, open_stage

T = TypeVar("T")

MFA = "mfa-for-admins.json"
BLOCKED = "Blocked by “MFA for all admins”"
WORKS = "Latchkey can sign in again"


@dataclass
class Scene:
    stage: Stage

    async def passing(self, look: Callable[[], T]) -> T:
        """What *look* gives once that is something. Microsoft takes one question a second, so time passes meanwhile."""
        turns = 0
        while not (found := look()):
            turns += 1
            if turns % 100 == 0:
                self.stage.world.clock.advance(1.2)
            await asyncio.sleep(0)
        return found

    def standing(self, words: str, channel: str = HELPDESK) -> list[Message]:
        """What stands in the channel or one of its threads, and says *words*."""
        slack = self.stage.world.slack
        everything = [each for top in slack.messages(channel) for each in (top, *slack.thread(top))]
        return [message for message in everything if words in message.visible_text]

    async def card(self, words: str = BLOCKED) -> Message:
        return (await self.passing(lambda: self.standing(words)))[-1]

    async def blocked(self, person: str = "ana") -> Message:
        """Somebody blocks Adele's sign-in, which a policy prevents: the card."""
        self.stage.world.access.add_from_file(MFA)
        await self.asks(person)
        return await self.card()

    async def asks(self, person: str = "ana") -> None:
        await self.stage.world.slack.command(person, HELPDESK, '/m365 block-sign-in adele@contoso.com --reason "left"')

    async def press(self, person: str, label: str, words: str = BLOCKED) -> None:
        await self.stage.world.slack.click(person, self.standing(words)[-1], label)

    async def told(self, person: str, words: str) -> str:
        slack = self.stage.world.slack

        def heard() -> list[str]:
            return [each.visible_text for each in slack.ephemerals(person) if words in each.visible_text]

        return (await self.stage.until(heard))[-1]

    async def rows(self, action: str) -> list[Request]:
        db, requests = self.stage.bot.storage.db, self.stage.bot.storage.requests
        sql = "SELECT id FROM requests WHERE action = ? ORDER BY created_at, rowid"
        ids = await db.read(lambda connection: [id_ for (id_,) in connection.execute(sql, (action,))])
        return [found for id_ in ids if (found := await requests.find(id_))]

    async def obstacle(self) -> Obstacle:
        """What the first of them met."""
        found = Obstacle.of((await self.rows("block-sign-in"))[0])
        assert found is not None
        return found

    def enabled(self, name: str = "adele@contoso.com") -> bool:
        return bool(self.stage.world.directory.user(name).enabled)

    def sign_ins(self) -> int:
        """How often the service account tried."""
        account = self.stage.world.directory.user(SERVICE_ACCOUNT)
        return sum(line.user is not None and line.user.id == account.id for line in self.stage.world.access.sign_ins)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_stage(tmp_path) as stage:
        yield Scene(stage)


async def test_the_card_follows_in_the_thread_once_and_names_the_policy_to_everybody(scene: Scene) -> None:
    card = await scene.blocked()

    slack = scene.stage.world.slack
    request = next(each for each in slack.messages(HELPDESK) if "Block" in each.visible_text)
    assert card in slack.thread(request)
    assert "MFA for all admins" in card.visible_text
    assert "Changed by Gary Admin" in card.visible_text
    for label in ("Test again", "Set up allowed IPs", "Use the application identity instead", "Details"):
        assert f"[{label}]" in card.visible_text
    assert len(scene.standing(BLOCKED)) == 1


async def test_what_was_not_agreed_to_yet_has_its_card_where_it_was_asked_for(scene: Scene) -> None:
    scene.stage.world.access.add_from_file(MFA)
    slack = scene.stage.world.slack
    await slack.command("olive", HELPDESK, '/m365 reset-password adele@contoso.com --reason "locked out"')
    await scene.stage.until(lambda: "could not be opened" in slack.modals("olive")[-1].visible_text)
    card = await scene.card()

    assert card in slack.messages(HELPDESK)
    assert "Adele" not in card.visible_text

    scene.stage.world.access.remove("MFA for all admins")
    await scene.press("bo", "Test again")
    await scene.card("[Continue]")
    await scene.press("olive", "Continue", WORKS)
    await scene.stage.until(
        lambda: "[Reset the password of Adele Vance, Sales]" in slack.modals("olive")[-1].visible_text
    )


async def test_who_tests_it_sees_what_stands_in_the_way_now(scene: Scene) -> None:
    await scene.blocked()
    scene.stage.world.access.remove("MFA for all admins")
    scene.stage.world.access.add_from_file("country-block.json")
    await scene.press("bo", "Test again")

    card = await scene.card("tested it again")
    assert "MFA for all admins" not in card.visible_text
    assert card in scene.standing("Blocked by “")
    assert "Bo" in card.visible_text
    assert scene.enabled()


async def test_two_test_at_once_and_it_runs_once(scene: Scene) -> None:
    await scene.blocked()
    scene.stage.world.access.remove("MFA for all admins")
    await asyncio.gather(scene.press("ana", "Test again"), scene.press("bo", "Test again"))

    await scene.card(WORKS)
    await scene.passing(lambda: not scene.enabled())
    await scene.card("was blocked")
    assert [row.state for row in await scene.rows("block-sign-in")] == [RequestState.FAILED, RequestState.DONE]
    with pytest.raises(LookupError):
        await scene.press("ana", "Test again", WORKS)


async def test_a_failure_a_moment_ago_is_no_reason_not_to_try(scene: Scene) -> None:
    await scene.blocked()
    before = scene.sign_ins()
    await scene.press("ana", "Test again")

    await scene.card("tested it again")
    assert scene.sign_ins() == before + 1


async def test_who_may_neither_ask_for_it_nor_open_a_session_may_not_test(scene: Scene) -> None:
    await scene.blocked()
    before = scene.sign_ins()
    await scene.press("vic", "Test again")

    assert "may open a management session" in await scene.told("vic", "Ask ")
    assert scene.sign_ins() == before


async def test_details_are_for_tenant_admins(scene: Scene) -> None:
    await scene.blocked()
    await scene.press("olive", "Details")
    assert "Only tenant admins see the details. Ask Ana" in await scene.told("olive", "Only tenant admins")

    await scene.press("ana", "Details")
    slack = scene.stage.world.slack
    window = await scene.stage.until(lambda: slack.modals("ana"))
    assert "Gary" in window[-1].visible_text
    assert "AADSTS50079" in window[-1].visible_text
    assert SERVICE_ACCOUNT in window[-1].visible_text


@pytest.mark.parametrize(
    ("button", "form"),
    [
        ("Set up allowed IPs", "Set up allowed IPs"),
        ("Use the application identity instead", "Set up Latchkey account"),
    ],
)
async def test_what_helps_is_set_up_by_tenant_admins(scene: Scene, button: str, form: str) -> None:
    await scene.blocked()
    await scene.press("olive", button)
    assert "Ask Ana" in await scene.told("olive", "Ask ")

    await scene.press("ana", button)
    slack = scene.stage.world.slack
    window = await scene.stage.until(lambda: slack.modals("ana"))
    assert form in window[-1].visible_text


async def test_turning_the_session_on_shows_the_same_card(scene: Scene) -> None:
    scene.stage.world.access.add_from_file(MFA)
    await scene.stage.world.slack.command("olive", HELPDESK, "/m365-session on")

    card = await scene.card()
    assert scene.stage.world.slack.mentions(card) == ("@U0OLIVE001",)


async def test_a_wrong_password_has_no_card(scene: Scene) -> None:
    scene.stage.world.access.add_from_file(MFA)
    scene.stage.world.directory.set_password(SERVICE_ACCOUNT, "another")
    await scene.asks()
    await scene.card("could not be opened")

    (row,) = await scene.rows("block-sign-in")
    assert (Obstacle.of(row), row.due_at) == (None, None)
    assert scene.standing("Blocked by") == []


async def test_once_somebody_else_gets_in_the_card_says_so(scene: Scene) -> None:
    await scene.blocked()
    scene.stage.world.access.remove("MFA for all admins")
    await scene.stage.ask("bo", "/m365-session on")

    card = await scene.card(WORKS)
    assert "[Test again]" in card.visible_text
    await scene.press("ana", "Test again", WORKS)
    await scene.passing(lambda: not scene.enabled())
    assert (await scene.obstacle()).phase in {Phase.WORKS, Phase.OVER}


async def test_what_was_typed_long_ago_runs_once_whoever_asked_says_so(scene: Scene) -> None:
    await scene.blocked()
    scene.stage.world.access.remove("MFA for all admins")
    scene.stage.world.clock.advance(40 * 60)
    await scene.press("bo", "Test again")
    await scene.card("[Do it now]")
    assert scene.enabled()

    await scene.press("bo", "Do it now", WORKS)
    await scene.told("bo", "asked for this, so only")
    await scene.press("ana", "Do it now", WORKS)
    await scene.passing(lambda: not scene.enabled())


async def test_testing_a_wrong_password_again_and_again_does_not_lock_the_account(scene: Scene) -> None:
    await scene.blocked()
    scene.stage.world.directory.set_password(SERVICE_ACCOUNT, "another")
    before = scene.sign_ins()
    for _ in range(20):
        await scene.press("bo", "Test again", "[Test again]")
        while (await scene.obstacle()).phase is Phase.TESTING:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
        await scene.passing(lambda: scene.standing("[Test again]"))

    assert scene.sign_ins() - before < 10
