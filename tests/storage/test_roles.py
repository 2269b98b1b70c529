"""Roles of one's own, scopes, and the rule that nobody gives more than they have."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

import pytest

from bot.errors import BadInput, LatchkeyError, NotPossible
from bot.model import Author, ScopeOp, ScopeRule, SlackUser, Target, TargetKind
from tests.clock import T0
from tests.storage.conftest import ANA, BO, OLIVE, SHELL, Store

SALES = ScopeRule(ScopeOp.ATTRIBUTE, attribute="department", values=("Sales",))
KEEPER = SlackUser("T1", "UKEEPER")
GROUP = Target(TargetKind.GROUP, "6e0f0000-0000-4000-8000-000000000001", "SG-Helpdesk")


async def by(store: Store, who: SlackUser) -> Author:
    operator = store.operators.rights(who, "").operator
    assert operator is not None
    return Author(operator.id)


async def define(store: Store, name: str, *patterns: str, author: Author = SHELL) -> None:
    await store.operators.define_role(name, name, patterns, by=author, reason="a test")


def may(store: Store, who: SlackUser, command: str) -> bool:
    return bool(store.operators.rights(who, command).grants)


# --- Roles ----------------------------------------------------------------------------------------------------------


async def test_a_role_of_ones_own_holds_its_commands_for_everybody_who_has_it(store: Store) -> None:
    await define(store, "onboarding", "/m365 show-user", "/m365 add-*")
    await store.grant(OLIVE, "onboarding")
    assert may(store, OLIVE, "/m365 add-to-group")
    assert not may(store, OLIVE, "/m365 reset-password")

    await define(store, "onboarding", "/m365 reset-password")

    assert may(store, OLIVE, "/m365 reset-password")
    assert not may(store, OLIVE, "/m365 add-to-group")
    [role] = [role for role in await store.operators.role_list() if role.name == "onboarding"]
    assert (role.patterns, role.holders, role.shipped) == (("/m365 reset-password",), 1, False)


async def test_the_trail_knows_every_row_of_a_role_also_those_that_were_taken_out(store: Store) -> None:
    await define(store, "onboarding", "/m365 show-user", "/m365 add-*")
    await define(store, "onboarding", "/m365 show-user")
    await store.operators.remove_role("onboarding", by=SHELL, reason="a test")
    report = await store.trail.verify()

    assert report.sound, report.problems


async def test_a_role_that_somebody_has_is_not_removed(store: Store) -> None:
    await define(store, "onboarding", "/m365 show-user")
    await store.grant(OLIVE, "onboarding")
    with pytest.raises(NotPossible, match="Somebody still holds the role onboarding"):
        await store.operators.remove_role("onboarding", by=SHELL, reason="a test")

    await store.operators.revoke(OLIVE, "onboarding", by=SHELL, reason="a test")
    await store.operators.remove_role("onboarding", by=SHELL, reason="a test")

    assert "onboarding" not in [role.name for role in await store.operators.role_list()]
    with pytest.raises(BadInput, match="There is no role `onboarding`"):
        await store.grant(OLIVE, "onboarding")


async def test_what_makes_a_tenant_admin_stays(store: Store) -> None:
    with pytest.raises(NotPossible, match="keeps"):
        await define(store, "tenant-admin", "/m365-roles*")
    with pytest.raises(NotPossible, match="came with Latchkey"):
        await store.operators.remove_role("viewer", by=SHELL, reason="a test")


async def test_nobody_makes_a_role_hold_more_than_they_hold_nor_takes_such_from_it(store: Store) -> None:
    await define(store, "keeper", "/m365-roles*", "/m365 show-user")
    await store.grant(KEEPER, "keeper")
    keeper = await by(store, KEEPER)

    await define(store, "lookers", "/m365 show-user", author=keeper)
    for patterns in (["/m365 reset-password"], ["/m365 *"], ["/m365*"]):
        with pytest.raises(NotPossible, match="more than they hold"):
            await define(store, "lookers", *patterns, author=keeper)
    with pytest.raises(NotPossible, match="more than they hold"):
        await define(store, "helpdesk", "/m365 show-user", author=keeper)


async def test_a_role_that_a_group_gives_cannot_come_to_decide_on_power(store: Store) -> None:
    await define(store, "desk", "/m365 show-user")
    await store.operators.follow_group(GROUP, "desk", by=SHELL, reason="a test")

    with pytest.raises(NotPossible, match="A group gives the role desk"):
        await define(store, "desk", "/m365 show-user", "/m365-roles grant")


async def test_a_role_that_decides_on_power_follows_no_group(store: Store) -> None:
    await define(store, "keeper", "/m365-roles grant")

    for role in ("keeper", "tenant-admin"):
        with pytest.raises(NotPossible, match="named one by one"):
            await store.operators.follow_group(GROUP, role, by=SHELL, reason="a test")


# --- Scopes ---------------------------------------------------------------------------------------------------------


async def test_a_scope_is_widened_only_by_who_holds_everywhere_what_was_granted_in_it(store: Store) -> None:
    scope = await store.operators.add_scope("Sales", SALES, by=SHELL)
    await store.operators.grant(OLIVE, "helpdesk", by=SHELL, reason="a test", scope_id=scope.id)
    await define(store, "keeper", "/m365-roles*")
    await store.grant(KEEPER, "keeper")
    await store.grant(ANA, "tenant-admin")
    wider = ScopeRule(ScopeOp.ATTRIBUTE, attribute="department", values=("Sales", "Finance"))

    with pytest.raises(NotPossible, match="more than they hold"):
        await store.operators.add_scope("Sales", wider, by=await by(store, KEEPER))
    changed = await store.operators.add_scope("Sales", wider, by=await by(store, ANA))

    assert changed.id == scope.id
    [grant] = store.operators.rights(OLIVE, "/m365 reset-password").grants
    assert grant.scope == changed


# --- Tenant admins --------------------------------------------------------------------------------------------------


async def test_the_last_tenant_admin_without_an_end_is_given_none(store: Store) -> None:
    await store.grant(ANA, "tenant-admin")
    await store.operators.grant(BO, "tenant-admin", by=SHELL, reason="a test", expires_at=T0 + timedelta(days=9))

    with pytest.raises(NotPossible, match="last tenant admin without an end"):
        await store.operators.grant(
            ANA, "tenant-admin", by=await by(store, ANA), reason="a test", expires_at=T0 + timedelta(days=30)
        )
    assert may(store, ANA, "/m365-mode")


async def test_a_tenant_admin_for_a_time_may_take_away_but_give_nothing_for_longer(store: Store) -> None:
    await store.grant(ANA, "tenant-admin")
    await store.operators.grant(BO, "tenant-admin", by=SHELL, reason="a test", expires_at=T0 + timedelta(days=9))
    await store.grant(OLIVE, "helpdesk")
    bo = await by(store, BO)

    with pytest.raises(NotPossible, match="for as long"):
        await store.operators.grant(OLIVE, "operator", by=bo, reason="a test")
    await store.operators.grant(OLIVE, "operator", by=bo, reason="a test", expires_at=T0 + timedelta(days=8))
    await store.operators.revoke(OLIVE, "helpdesk", by=bo, reason="a test")

    assert [grant.role for grant in store.operators.rights(OLIVE, "/m365 reset-password").grants] == ["operator"]


# --- Whatever is asked for ------------------------------------------------------------------------------------------

COMMANDS = ("/m365 show-user", "/m365 reset-password", "/m365-audit", "/m365-roles grant", "/m365-mode")
PATTERNS = (*COMMANDS, "/m365 *", "/m365-*", "/m365-roles*", "/m365*")
ENDS = (None, T0 + timedelta(days=1), T0 + timedelta(days=30))


def reach(store: Store, who: SlackUser) -> set[tuple[str, str | None, datetime]]:
    """What somebody may use, in which scope and at which of the times that matter."""
    found = set()
    for command in COMMANDS:
        for grant in store.operators.rights(who, command).grants:
            for moment in (T0 + timedelta(hours=1), T0 + timedelta(days=2), T0 + timedelta(days=300)):
                if grant.expires_at is None or moment < grant.expires_at:
                    found.add((command, grant.scope.name if grant.scope else None, moment))
    return found


def inside(some: set[tuple[str, str | None, datetime]], all_: set[tuple[str, str | None, datetime]]) -> bool:
    """Who may do something everywhere may do it in each scope."""
    return all((command, where, at) in all_ or (command, None, at) in all_ for command, where, at in some)


async def test_nobody_ends_up_with_more_than_who_granted_it_had(store: Store) -> None:
    dice = random.Random(20260303)  # noqa: S311 - dice of a test
    scopes = [None, *[(await store.operators.add_scope(name, SALES, by=SHELL)).id for name in ("Sales", "Leeds")]]
    roles = [f"role-{number}" for number in range(6)]
    given = refused = 0
    for story in range(150):
        granter, other = SlackUser("T1", f"UG{story}"), SlackUser("T1", f"UO{story}")
        for role in roles:
            await define(store, role, *dice.sample(PATTERNS, dice.randint(1, 3)))
        for role in dice.sample(roles, 2):
            await store.operators.grant(
                granter, role, by=SHELL, reason="a test", scope_id=dice.choice(scopes), expires_at=dice.choice(ENDS)
            )
        author, had = await by(store, granter), reach(store, granter)
        for _ in range(6):
            try:
                await store.operators.grant(
                    other,
                    dice.choice(roles),
                    by=author,
                    reason="a test",
                    scope_id=dice.choice(scopes),
                    expires_at=dice.choice(ENDS),
                )
                given += 1
            except LatchkeyError:
                refused += 1
            try:
                await define(store, dice.choice(roles), *dice.sample(PATTERNS, 2), author=author)
                given += 1
            except LatchkeyError:
                refused += 1
            assert inside(reach(store, other), had), f"story {story}"
            assert inside(reach(store, granter), had), f"story {story}"

    assert min(given, refused) > 50
