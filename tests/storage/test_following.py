"""Grants that follow an Entra group: who gets them, when they end, and that nobody gets power in a roundabout way."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from bot.errors import BadInput, NotPossible
from bot.model import Author, SlackUser, Target, TargetKind
from bot.ports import Audience, Message
from storage.power import Contents
from storage.seal import Seal
from tests.clock import T0
from tests.storage.conftest import ANA, BO, KEY, OLIVE, SHELL, Store

GROUP = Target(TargetKind.GROUP, "AB-1", "SG-Helpdesk")
RESET = "/m365 reset-password"
ACCOUNTS = {ANA: "acc-ana", BO: "acc-bo", OLIVE: "ACC-Olive"}


async def people(store: Store) -> None:
    for slack, account in ACCOUNTS.items():
        await store.operators.bind(slack, account_id=account, upn=None, name=slack.user.title(), by=SHELL)


async def follow(store: Store, role: str = "helpdesk", **more: object) -> str:
    return await store.operators.follow_group(GROUP, role, by=SHELL, reason="the help desk", **more)  # type: ignore[arg-type]


async def match(store: Store, followed: str, *members: str) -> tuple[int, int]:
    return await store.following.match(followed, frozenset(members), read_at=store.clock.now())


def holds(store: Store, who: SlackUser) -> list[str]:
    return [grant.role for grant in store.operators.rights(who, RESET).grants]


async def facts(store: Store, kind: str) -> list[str]:
    """Whom the audit rows of this kind are about, oldest first."""
    rows = await store.trail.query(limit=1000)
    named = {holder.operator.id: holder.operator.name for holder in await store.operators.everyone()}
    return [str(named[row.record.facts["operator"]]) for row in reversed(rows) if row.record.kind == kind]


async def test_members_who_are_operators_hold_the_role_as_long_as_they_are_members(store: Store) -> None:
    await people(store)
    followed = await follow(store)

    assert await match(store, followed, "acc-olive", "acc-bo", "acc-stranger") == (2, 0)
    assert (holds(store, OLIVE), holds(store, BO), holds(store, ANA)) == (["helpdesk"], ["helpdesk"], [])
    assert await match(store, followed, "acc-olive", "acc-bo") == (0, 0)

    assert await match(store, followed, "acc-bo") == (0, 1)
    assert (holds(store, OLIVE), holds(store, BO)) == ([], ["helpdesk"])
    assert await match(store, followed, "acc-olive", "acc-bo") == (1, 0)

    assert sorted(await facts(store, "grant.followed")) == ["Ubo", "Uolive", "Uolive"]
    assert await facts(store, "grant.unfollowed") == ["Uolive"]
    assert (await store.trail.verify()).sound


async def test_ending_it_ends_every_grant_at_once(store: Store) -> None:
    await people(store)
    followed = await follow(store)
    await match(store, followed, "acc-olive", "acc-bo")

    assert await store.operators.unfollow_group(followed, SHELL, "reorganised") == 2

    assert holds(store, OLIVE) == holds(store, BO) == []
    assert await store.operators.followed_groups() == []
    assert await match(store, followed, "acc-olive") == (0, 0)
    with pytest.raises(BadInput, match="nothing to end"):
        await store.operators.unfollow_group(followed, SHELL, "again")
    assert (await store.trail.verify()).sound


async def test_what_was_granted_to_the_person_is_theirs_whatever_the_group(store: Store) -> None:
    await people(store)
    followed = await follow(store)
    await match(store, followed, "acc-olive")

    await store.grant(OLIVE, "helpdesk")
    assert holds(store, OLIVE) == ["helpdesk", "helpdesk"]

    await match(store, followed)
    assert holds(store, OLIVE) == ["helpdesk"]


async def test_what_was_granted_beside_the_group_is_revoked_and_the_group_goes_on_giving_its_own(store: Store) -> None:
    await people(store)
    await store.grant(OLIVE, "helpdesk")
    await match(store, await follow(store), "acc-olive")

    assert await store.operators.revoke(OLIVE, "helpdesk", by=SHELL, reason="the group is enough") == 1

    (kept,) = next(one for one in await store.operators.everyone() if one.operator.slack == OLIVE).grants
    assert kept.via is not None


async def test_a_role_held_through_a_group_is_not_revoked_from_the_person(store: Store) -> None:
    await people(store)
    await match(store, await follow(store), "acc-olive")

    with pytest.raises(NotPossible, match="SG-Helpdesk"):
        await store.operators.revoke(OLIVE, "helpdesk", by=SHELL, reason="moved")

    assert holds(store, OLIVE) == ["helpdesk"]


async def test_the_suspended_get_nothing_new_and_lose_nothing(store: Store) -> None:
    await people(store)
    followed = await follow(store)
    await match(store, followed, "acc-bo")
    for who in (OLIVE, BO):
        await store.operators.suspend(who, by=SHELL, reason="on leave")

    assert await match(store, followed, "acc-olive", "acc-bo") == (0, 0)

    await store.operators.suspend(OLIVE, by=SHELL, reason="back", suspended=False)
    assert await match(store, followed, "acc-olive", "acc-bo") == (1, 0)


async def test_following_again_changes_the_terms_and_nobody_is_without_the_role_meanwhile(store: Store) -> None:
    await people(store)
    first = await follow(store)
    await match(store, first, "acc-olive")
    end = T0 + timedelta(days=30)

    second = await follow(store, expires_at=end)

    (grant,) = store.operators.rights(OLIVE, RESET).grants
    assert grant.expires_at == end
    (followed,) = await store.operators.followed_groups()
    assert (followed.id, followed.role, followed.group.name, followed.read_at) == (
        second,
        "helpdesk",
        "SG-Helpdesk",
        T0,
    )
    assert await match(store, second, "acc-olive") == (0, 0)
    assert (await store.trail.verify()).sound


async def test_a_group_grant_that_has_ended_gives_nothing(store: Store) -> None:
    await people(store)
    followed = await follow(store, expires_at=T0 + timedelta(hours=1))
    store.clock.advance(3600)

    assert await match(store, followed, "acc-olive") == (0, 0)
    assert await store.operators.followed_groups() == []


async def test_tenant_admins_are_not_named_by_a_group(store: Store) -> None:
    with pytest.raises(NotPossible, match="one by one"):
        await follow(store, "tenant-admin")


async def test_nobody_lets_a_group_have_more_than_they_hold(store: Store) -> None:
    await people(store)
    await store.grant(OLIVE, "helpdesk")
    olive = store.operators.rights(OLIVE, "").operator
    assert olive is not None
    author = Author(olive.id)

    with pytest.raises(NotPossible, match="Nobody gives or takes more"):
        await store.operators.follow_group(GROUP, "operator", by=author, reason="please")
    followed = await follow(store, "operator")
    with pytest.raises(NotPossible, match="Nobody gives or takes more"):
        await store.operators.unfollow_group(followed, author, "please")


async def test_a_group_that_a_role_follows_gives_power(store: Store) -> None:
    followed = await follow(store)
    assert await store.operators.power_groups() == {"ab-1"}

    await store.operators.unfollow_group(followed, SHELL, "over")
    assert await store.operators.power_groups() == frozenset()


async def test_grants_of_a_group_that_cannot_be_read_end_with_one_message(store: Store) -> None:
    await people(store)
    followed = await follow(store)
    await match(store, followed, "acc-olive", "acc-bo")

    def say(number: int) -> Sequence[Message]:
        return [Message(f"unread:{number}", "group-unread", audience=Audience.CHANNEL, data={"channel": "C1"})]

    assert await store.following.end_unread(followed, "nobody could tell", say=say) == 2
    assert await store.following.end_unread(followed, "nobody could tell", say=say) == 0

    assert holds(store, OLIVE) == []
    assert [row.message.key for row in await store.outbox.pending(store.clock.now())] == ["unread:2"]
    assert len(await store.operators.followed_groups()) == 1, "it is followed again once the group can be read"
    assert (await store.trail.verify()).sound


async def test_an_edit_on_disk_of_what_a_group_gives_is_found(store: Store) -> None:
    followed = await follow(store, "viewer")

    await store.db.write(
        lambda connection: (
            connection.execute("UPDATE group_grants SET role = 'operator' WHERE id = ?", (followed,)).rowcount
        )
    )

    assert "role" in " ".join((await store.trail.verify()).problems)


def test_a_row_from_before_a_column_was_added_weighs_what_it_weighs_with_nothing_in_it() -> None:
    seal = Seal(KEY, "test")
    row = {"id": "g1", "role": "helpdesk", "scope": None}

    before, after = Contents(seal, [("grants", row)]), Contents(seal, [("grants", {**row, "via": None})])
    filled = Contents(seal, [("grants", {**row, "via": "f1"})])

    assert before.stamp == after.stamp != filled.stamp
