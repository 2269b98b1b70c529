"""Who is told that a grant will end, and when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from bot.expiry import messages
from bot.model import SlackUser
from bot.ports import Message
from storage.expiring import Ending, Expiring
from tests.clock import T0
from tests.storage.conftest import ANA, OLIVE, SHELL, Store

DAY = 86_400.0


class Told:
    """What would be said, by whom it is for and the days ahead."""

    def __init__(self, store: Store) -> None:
        self._expiring = Expiring(store.db, store.outbox)
        self.said: list[Message] = []

    async def look(self) -> list[tuple[str, str]]:
        """What is new since the last look: (where it is told, the role)."""
        self.said = []
        await self._expiring.tell(self._say)
        return [(str(message.data["channel"]), str(message.data["role"])) for message in self.said]

    def _say(self, ending: Ending) -> Sequence[Message]:
        said = messages(ending, "C0ADMINS")
        self.said += said
        return said


async def grant(store: Store, who: SlackUser, role: str, days: float) -> None:
    end = store.clock.now() + timedelta(days=days)
    await store.operators.grant(who, role, by=SHELL, reason="a test", expires_at=end)


async def test_its_holder_is_told_a_week_and_a_day_before_each_once(store: Store) -> None:
    told = Told(store)
    await grant(store, OLIVE, "helpdesk", 10)
    assert await told.look() == []

    store.clock.advance(3 * DAY)
    assert await told.look() == [("UOLIVE", "helpdesk")]
    store.clock.advance(5 * DAY)
    assert await told.look() == []
    store.clock.advance(1 * DAY)
    assert await told.look() == [("UOLIVE", "helpdesk")]
    store.clock.advance(2 * DAY)
    assert await told.look() == []
    assert len({message.key for message in told.said}) == len(told.said)


async def test_a_restart_tells_nobody_twice_and_a_long_absence_only_the_latest(store: Store) -> None:
    await grant(store, OLIVE, "helpdesk", 10)
    store.clock.advance(9.5 * DAY)

    assert await Told(store).look() == [("UOLIVE", "helpdesk")]
    assert await Told(store).look() == []


async def test_who_was_just_told_the_end_is_not_told_at_once_again(store: Store) -> None:
    told = Told(store)
    await grant(store, OLIVE, "helpdesk", 5)
    assert await told.look() == []

    store.clock.advance(4 * DAY)
    assert await told.look() == [("UOLIVE", "helpdesk")]


async def test_the_other_tenant_admins_are_told_of_one_of_them_once(store: Store) -> None:
    told = Told(store)
    await grant(store, ANA, "tenant-admin", 10)
    store.clock.advance(3 * DAY)
    assert await told.look() == [("UANA", "tenant-admin"), ("C0ADMINS", "tenant-admin")]

    store.clock.advance(6 * DAY)
    assert await told.look() == [("UANA", "tenant-admin")]


async def test_nobody_is_told_of_what_was_revoked_or_renewed(store: Store) -> None:
    told = Told(store)
    await grant(store, OLIVE, "helpdesk", 10)
    await grant(store, ANA, "operator", 10)
    await store.operators.revoke(OLIVE, "helpdesk", by=SHELL, reason="a test")
    await grant(store, ANA, "operator", 100)
    store.clock.advance(5 * DAY)

    assert await told.look() == []
    assert store.clock.now() > T0
