"""Who may do what: the decision's read, and the rules by which power is given and taken."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from bot.errors import BadInput, LatchkeyError, NotPossible
from bot.model import Author, Rights, ScopeOp, ScopeRule, SlackUser
from storage.operators import SHIPPED_ROLES
from tests.clock import T0
from tests.storage.conftest import ANA, BO, OLIVE, SHELL, Opens, Store

CY = SlackUser("T1", "UCY")
SALES = ScopeRule(ScopeOp.ATTRIBUTE, attribute="department", values=("Sales",))


def roles(rights: Rights) -> list[str]:
    return [grant.role for grant in rights.grants]


async def by(store: Store, who: SlackUser) -> Author:
    operator = store.operators.rights(who, "").operator
    assert operator is not None
    return Author(operator.id)


async def kinds(store: Store) -> list[str]:
    return [row.record.kind for row in await store.trail.query(limit=1000)]


# --- deciding -------------------------------------------------------------------------------------------------------


def test_a_stranger_has_no_rights(store: Store) -> None:
    assert store.operators.rights(OLIVE, "/m365 help") == Rights(operator=None)


async def test_rights_tell_who_it_is_and_by_which_grant_and_pattern(store: Store) -> None:
    scope = await store.operators.add_scope("Sales", SALES, by=SHELL)
    end = T0 + timedelta(days=7)
    granted = await store.operators.grant(
        OLIVE, "helpdesk", by=SHELL, reason="new in the team", scope_id=scope.id, expires_at=end
    )
    await store.operators.bind(OLIVE, account_id="a-1", upn="olive@contoso.com", name="Olive", by=SHELL)
    await store.grant(OLIVE, "auditor")

    rights = store.operators.rights(OLIVE, "/m365 reset-password")

    assert rights.operator is not None
    assert (rights.operator.account_id, rights.operator.upn, rights.operator.name) == (
        "a-1",
        "olive@contoso.com",
        "Olive",
    )
    (grant,) = rights.grants
    assert (grant.id, grant.role, grant.scope, grant.expires_at) == (granted.id, "helpdesk", scope, end)
    assert grant.pattern == "/m365 reset-password"
    assert rights.other_roles == ("auditor",)
    assert await store.operators.find(rights.operator.id) == rights.operator


@pytest.mark.parametrize(
    ("role", "may", "may_not"),
    [
        ("viewer", ["/m365 show-user", "/m365-session status"], ["/m365 reset-password", "/m365-session on"]),
        (
            "helpdesk",
            ["/m365 show-user", "/m365 reset-password", "/m365 undo", "/m365-session on"],
            ["/m365 block-sign-in", "/m365 temporary-access-pass", "/m365-audit"],
        ),
        ("operator", ["/m365 reset-password", "/m365 assign-license", "/m365 temporary-access-pass"], ["/m365-mode"]),
        ("approver", ["/m365 show-user"], ["/m365 reset-password", "/m365-mode"]),
        ("auditor", ["/m365-audit"], ["/m365 show-user"]),
        ("tenant-admin", ["/m365 reset-password", "/m365-mode", "/m365-audit", "/m365-roles"], ["/m36", "m365"]),
    ],
)
async def test_a_shipped_role_holds_its_commands_and_no_others(
    store: Store, role: str, may: list[str], may_not: list[str]
) -> None:
    await store.grant(OLIVE, role)

    for command in [*may, "/m365 help", "/m365 can"]:
        assert roles(store.operators.rights(OLIVE, command)) == [role], command
    for command in may_not:
        rights = store.operators.rights(OLIVE, command)
        assert (roles(rights), rights.other_roles) == ([], (role,)), command


def test_the_six_shipped_roles() -> None:
    assert list(SHIPPED_ROLES) == ["viewer", "helpdesk", "operator", "approver", "auditor", "tenant-admin"]


@pytest.mark.parametrize("command", ["*", "/m365 *", "/m365 reset-[a-z]assword", "' OR 1=1 --", "", "\x00", "/m365\n"])
async def test_a_command_is_never_read_as_a_pattern(store: Store, command: str) -> None:
    await store.grant(OLIVE, "operator")

    assert store.operators.rights(OLIVE, command).grants == ()


async def test_an_expired_grant_is_told_apart_from_none(store: Store) -> None:
    end = T0 + timedelta(hours=1)
    await store.operators.grant(OLIVE, "helpdesk", by=SHELL, reason="today only", expires_at=end)
    store.clock.advance(7200)

    rights = store.operators.rights(OLIVE, "/m365 reset-password")

    assert [grant.expires_at for grant in rights.grants] == [end]
    assert store.operators.rights(OLIVE, "/m365-mode").other_roles == ()
    assert await store.operators.role_commands(OLIVE) == []
    assert await store.operators.who_may("/m365 reset-password") == []


async def test_the_same_person_in_another_workspace_is_a_stranger(store: Store) -> None:
    await store.grant(OLIVE, "helpdesk")

    assert store.operators.rights(SlackUser("T2", OLIVE.user), "/m365 help").operator is None


async def test_a_suspended_operator_is_known_as_such(store: Store) -> None:
    await store.grant(OLIVE, "helpdesk")

    await store.operators.suspend(OLIVE, by=SHELL, reason="on leave")
    suspended = store.operators.rights(OLIVE, "/m365 help").operator
    await store.operators.suspend(OLIVE, by=SHELL, reason="back", suspended=False)
    restored = store.operators.rights(OLIVE, "/m365 help").operator

    assert suspended is not None
    assert restored is not None
    assert (suspended.suspended, restored.suspended) == (True, False)


async def test_what_another_process_revokes_is_denied_at_the_very_next_decision(path: Path, store: Store) -> None:
    await store.grant(OLIVE, "helpdesk")
    assert roles(store.operators.rights(OLIVE, "/m365 reset-password")) == ["helpdesk"]

    revoke = [sys.executable, "-m", "tests.storage.child", "revoke", str(path)]
    done = await asyncio.to_thread(subprocess.run, revoke, capture_output=True, text=True, check=True)

    assert done.stdout == "revoked\n"
    assert roles(store.operators.rights(OLIVE, "/m365 reset-password")) == []


async def test_of_a_thousand_decisions_while_revoking_none_allows_after_the_commit(store: Store) -> None:
    await store.grant(OLIVE, "helpdesk")
    revoked = asyncio.Event()
    late: list[bool] = []
    early: list[bool] = []

    async def revoke() -> None:
        await store.operators.revoke(OLIVE, "helpdesk", by=SHELL, reason="a test")
        revoked.set()

    async def decide() -> None:
        for _ in range(3):
            (late if revoked.is_set() else early).append(bool(store.operators.rights(OLIVE, "/m365 undo").grants))
            await asyncio.sleep(0)
        await revoked.wait()
        late.append(bool(store.operators.rights(OLIVE, "/m365 undo").grants))

    await asyncio.gather(*(decide() for _ in range(500)), revoke(), *(decide() for _ in range(500)))

    assert len(late) >= 1000
    assert not any(late)
    assert early[0]


# --- reading --------------------------------------------------------------------------------------------------------


async def test_help_is_told_every_command_a_person_may_use_now(store: Store) -> None:
    await store.grant(OLIVE, "auditor")
    await store.grant(OLIVE, "tenant-admin")

    assert await store.operators.role_commands(OLIVE) == [
        ("auditor", "/m365 can"),
        ("auditor", "/m365 help"),
        ("auditor", "/m365-audit"),
        ("auditor", "/m365-rotate history"),
        ("auditor", "/m365-rotate status"),
        ("auditor", "/m365-session status"),
        ("auditor", "/m365-whatif"),
        ("tenant-admin", "/m365*"),
    ]
    assert await store.operators.role_commands(BO) == []


async def test_a_refusal_can_name_who_may_and_names_tenant_admins_last(store: Store) -> None:
    for who, role, name in (
        (ANA, "tenant-admin", "Ana"),
        (BO, "operator", "Bo"),
        (OLIVE, "helpdesk", "Olive"),
        (CY, "operator", "Cy"),
    ):
        await store.grant(who, role)
        await store.operators.bind(who, account_id=who.user, upn=None, name=name, by=SHELL)

    async def named(command: str) -> list[str | None]:
        return [operator.name for operator in await store.operators.who_may(command)]

    assert await named("/m365 block-sign-in") == ["Bo", "Cy", "Ana"]
    assert await named("/m365-mode") == ["Ana"]
    await store.operators.suspend(BO, by=SHELL, reason="on leave")
    await store.operators.revoke(CY, "operator", by=SHELL, reason="moved on")
    assert await named("/m365 block-sign-in") == ["Ana"]


async def test_everyone_is_listed_with_what_they_hold(store: Store) -> None:
    scope = await store.operators.add_scope("Sales", SALES, by=SHELL)
    await store.operators.bind(BO, account_id="b", upn=None, name="Bo", by=SHELL)
    await store.operators.grant(OLIVE, "helpdesk", by=SHELL, reason="a test", scope_id=scope.id)
    await store.grant(OLIVE, "auditor")
    await store.grant(OLIVE, "viewer")
    await store.operators.revoke(OLIVE, "viewer", by=SHELL, reason="a test")

    listed = {holder.operator.slack: holder.grants for holder in await store.operators.everyone()}

    assert listed[BO] == ()
    assert [(grant.role, grant.scope) for grant in listed[OLIVE]] == [("auditor", None), ("helpdesk", scope)]


async def test_the_groups_that_scopes_name_are_known(store: Store) -> None:
    leeds = ScopeRule(ScopeOp.GROUP, values=("leeds",))
    await store.operators.add_scope("Sales in Leeds", ScopeRule(ScopeOp.ALL, parts=(SALES, leeds)), by=SHELL)
    await store.operators.add_scope(
        "Not York", ScopeRule(ScopeOp.NOT, parts=(replace(leeds, values=("york",)),)), by=SHELL
    )

    assert await store.operators.power_groups() == {"leeds", "york"}


async def test_roles_are_rows(store: Store) -> None:
    found = await store.operators.roles()

    assert {role: set(patterns) for role, patterns in found.items()} == {
        role: set(patterns) for role, (_, patterns) in SHIPPED_ROLES.items()
    }


async def test_roles_are_shipped_once(store: Store) -> None:
    await store.operators.ship_roles()

    assert await kinds(store) == ["roles.shipped"]


# --- giving and taking ----------------------------------------------------------------------------------------------


async def test_a_grant_is_audited_with_who_what_and_why(store: Store) -> None:
    await store.operators.grant(OLIVE, "helpdesk", by=Author(login="root"), reason="new in the team")

    row = (await store.trail.query(limit=1))[0]

    assert row.record.kind == "grant.created"
    facts = dict(row.record.facts)
    assert {name: facts[name] for name in ("role", "reason", "login", "from", "emergency")} == {
        "role": "helpdesk",
        "reason": "new in the team",
        "login": "root",
        "from": "command line",
        "emergency": False,
    }


async def test_the_same_role_granted_again_replaces_the_earlier_grant(store: Store) -> None:
    await store.operators.grant(OLIVE, "helpdesk", by=SHELL, reason="a day", expires_at=T0 + timedelta(days=1))
    second = await store.operators.grant(OLIVE, "helpdesk", by=SHELL, reason="for good")

    assert [grant.id for grant in store.operators.rights(OLIVE, "/m365 undo").grants] == [second.id]
    assert (await store.trail.verify()).sound


async def test_revoking_takes_every_grant_of_the_role(store: Store) -> None:
    scope = await store.operators.add_scope("Sales", SALES, by=SHELL)
    await store.operators.grant(OLIVE, "helpdesk", by=SHELL, reason="a test", scope_id=scope.id)
    await store.grant(OLIVE, "helpdesk")

    assert await store.operators.revoke(OLIVE, "helpdesk", by=SHELL, reason="moved on") == 2
    assert store.operators.rights(OLIVE, "/m365 undo").grants == ()
    assert (await store.trail.verify()).sound


@pytest.mark.parametrize(
    ("attempt", "sentence"),
    [
        (lambda o: o.grant(OLIVE, "boss", by=SHELL, reason=""), "There is no role `boss`. The roles are approver, "),
        (lambda o: o.grant(OLIVE, "viewer", by=SHELL, reason="", scope_id="x"), "There is no such scope."),
        (lambda o: o.grant(OLIVE, "viewer", by=SHELL, reason="", expires_at=T0), "That end lies in the past."),
        (lambda o: o.revoke(OLIVE, "viewer", by=SHELL, reason=""), "UOLIVE of T1 is no operator here."),
        (lambda o: o.revoke(ANA, "viewer", by=SHELL, reason=""), "UANA does not hold viewer"),
        (lambda o: o.suspend(OLIVE, by=SHELL, reason=""), "UOLIVE of T1 is no operator here."),
    ],
)
async def test_what_cannot_be_done_is_said_and_changes_nothing(store: Store, attempt: object, sentence: str) -> None:
    await store.grant(ANA, "tenant-admin")
    before = await store.trail.head()

    with pytest.raises(BadInput, match=sentence):
        await attempt(store.operators)  # type: ignore[operator]  # each case is a function of the operators

    assert await store.trail.head() == before
    assert len(await store.operators.everyone()) == 1


async def test_an_account_belongs_to_one_slack_user(store: Store) -> None:
    await store.operators.bind(ANA, account_id="a-1", upn="ana@contoso.com", name="Ana", by=SHELL)

    with pytest.raises(BadInput, match="already belongs to Ana"):
        await store.operators.bind(OLIVE, account_id="a-1", upn="ana@contoso.com", name="Ana", by=SHELL)

    await store.operators.bind(ANA, account_id=None, upn=None, name="Ana", by=SHELL)
    bound = await store.operators.bind(OLIVE, account_id="a-1", upn="ana@contoso.com", name="Ana", by=SHELL)
    assert bound.account_id == "a-1"


async def test_who_was_suspended_does_not_come_back_by_themselves_as_somebody_new(store: Store) -> None:
    await store.operators.bind(OLIVE, account_id="a-1", upn="olive@contoso.com", name="Olive", by=SHELL)
    await store.operators.suspend(OLIVE, by=SHELL, reason="left")

    with pytest.raises(BadInput, match="belongs to Olive, whose access to Latchkey is suspended"):
        await store.operators.bind(CY, account_id="a-1", upn="olive@contoso.com", name="Olive", by=Author())

    await store.operators.grant(CY, "viewer", by=SHELL, reason="back", upn="Olive@contoso.com", name="Olive")
    back = await store.operators.bind(CY, account_id="a-1", upn="olive@contoso.com", name="Olive", by=Author())
    assert back.account_id == "a-1"


async def test_who_links_twice_at_once_is_linked_to_one_account(store: Store) -> None:
    await store.operators.bind(OLIVE, account_id="a-1", upn="olive@contoso.com", name="Olive", by=Author())

    (row,) = await store.trail.query(limit=1)
    assert (row.record.operator_id, row.record.facts.get("from")) == ((await by(store, OLIVE)).operator_id, None)
    with pytest.raises(BadInput, match=r"Another account, olive@contoso.com, is linked already"):
        await store.operators.bind(OLIVE, account_id="a-2", upn="other@contoso.com", name="Olive", by=Author())


async def test_nobody_is_restored_to_an_account_that_is_somebody_elses_by_now(store: Store) -> None:
    await store.operators.bind(OLIVE, account_id="a-1", upn=None, name="Olive", by=SHELL)
    await store.operators.suspend(OLIVE, by=SHELL, reason="left")
    await store.operators.bind(CY, account_id="a-1", upn=None, name="Cy", by=SHELL)

    with pytest.raises(BadInput, match="already belongs to Cy"):
        await store.operators.suspend(OLIVE, by=SHELL, reason="back", suspended=False)


async def test_the_last_tenant_admin_can_be_neither_revoked_nor_suspended(store: Store) -> None:
    await store.grant(ANA, "tenant-admin")
    await store.grant(BO, "tenant-admin")
    await store.operators.bind(ANA, account_id="a-1", upn=None, name="Ana", by=SHELL)
    await store.operators.suspend(BO, by=SHELL, reason="on leave")

    with pytest.raises(NotPossible, match="Ana is the last tenant admin"):
        await store.operators.revoke(ANA, "tenant-admin", by=SHELL, reason="a test")
    with pytest.raises(NotPossible, match="Ana is the last tenant admin"):
        await store.operators.suspend(ANA, by=SHELL, reason="a test")

    assert roles(store.operators.rights(ANA, "/m365-mode")) == ["tenant-admin"]
    await store.operators.revoke(BO, "tenant-admin", by=SHELL, reason="was not counted anyway")


async def test_a_tenant_admin_whose_time_ends_is_no_reason_to_let_the_lasting_one_go(store: Store) -> None:
    await store.grant(ANA, "tenant-admin")
    await store.operators.grant(
        BO, "tenant-admin", by=SHELL, reason="a week", expires_at=store.clock.now() + timedelta(days=7)
    )

    with pytest.raises(NotPossible, match="last tenant admin without an end"):
        await store.operators.revoke(ANA, "tenant-admin", by=await by(store, BO), reason="mine now")
    with pytest.raises(NotPossible, match="last tenant admin without an end"):
        await store.operators.suspend(ANA, by=SHELL, reason="on leave")

    assert roles(store.operators.rights(ANA, "/m365-mode")) == ["tenant-admin"]


async def test_two_who_revoke_each_other_leave_one(store: Store) -> None:
    await store.grant(ANA, "tenant-admin")
    await store.grant(BO, "tenant-admin")

    outcomes = await asyncio.gather(
        store.operators.revoke(ANA, "tenant-admin", by=await by(store, BO), reason="a quarrel"),
        store.operators.revoke(BO, "tenant-admin", by=await by(store, ANA), reason="a quarrel"),
        return_exceptions=True,
    )

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NotPossible", "int"]


async def test_the_command_line_names_two_tenant_admins_and_more_only_in_an_emergency(store: Store) -> None:
    await store.grant(ANA, "tenant-admin")
    await store.grant(BO, "tenant-admin")

    with pytest.raises(BadInput, match="--emergency"):
        await store.operators.grant(CY, "tenant-admin", by=SHELL, reason="I want it")
    with pytest.raises(BadInput, match="needs its reason"):
        await store.operators.grant(CY, "tenant-admin", by=SHELL, reason=" ", emergency=True)
    await store.grant(OLIVE, "helpdesk")
    await store.operators.grant(CY, "tenant-admin", by=SHELL, reason="both are ill", emergency=True)

    row = (await store.trail.query(limit=1))[0]
    assert (row.record.facts["emergency"], row.record.facts["reason"]) == (True, "both are ill")


async def test_revoking_a_tenant_admin_does_not_let_the_command_line_name_another(store: Store) -> None:
    await store.grant(ANA, "tenant-admin")
    await store.grant(BO, "tenant-admin")
    await store.operators.revoke(BO, "tenant-admin", by=SHELL, reason="a test")

    with pytest.raises(BadInput, match="--emergency"):
        await store.operators.grant(CY, "tenant-admin", by=SHELL, reason="there is room again")


async def test_nobody_gives_or_takes_more_than_they_hold(store: Store) -> None:
    await store.grant(ANA, "tenant-admin")
    await store.grant(OLIVE, "helpdesk")
    await store.grant(BO, "operator")
    olive = await by(store, OLIVE)

    for refused in (
        store.operators.grant(OLIVE, "tenant-admin", by=olive, reason="for myself"),
        store.operators.grant(CY, "operator", by=olive, reason="for a friend"),
        store.operators.revoke(ANA, "tenant-admin", by=olive, reason="a coup"),
        store.operators.suspend(BO, by=olive, reason="a quarrel"),
    ):
        with pytest.raises(NotPossible, match="more than they hold themselves"):
            await refused

    await store.operators.grant(CY, "viewer", by=olive, reason="holds less than I do")
    await store.operators.grant(CY, "operator", by=await by(store, ANA), reason="a tenant admin holds all")


async def test_nobody_gives_wider_or_longer_than_they_hold(store: Store) -> None:
    scope = await store.operators.add_scope("Sales", SALES, by=SHELL)
    end = T0 + timedelta(days=1)
    await store.operators.grant(OLIVE, "helpdesk", by=SHELL, reason="a test", scope_id=scope.id, expires_at=end)
    olive = await by(store, OLIVE)

    async def give(**about: object) -> object:
        return await store.operators.grant(CY, "viewer", by=olive, reason="a test", **about)  # type: ignore[arg-type]

    for wider in (
        {"expires_at": end},
        {"scope_id": scope.id},
        {"scope_id": scope.id, "expires_at": end + timedelta(1)},
    ):
        with pytest.raises(NotPossible):
            await give(**wider)
    assert await give(scope_id=scope.id, expires_at=end)


async def test_a_suspended_operator_gives_nothing(store: Store) -> None:
    await store.grant(ANA, "tenant-admin")
    await store.grant(BO, "tenant-admin")
    await store.operators.suspend(BO, by=SHELL, reason="on leave")

    with pytest.raises(NotPossible):
        await store.operators.grant(CY, "viewer", by=await by(store, BO), reason="a test")


async def test_refusals_are_sentences(store: Store) -> None:
    with pytest.raises(LatchkeyError) as refused:
        await store.operators.grant(OLIVE, "boss", by=SHELL, reason="")

    assert str(refused.value).endswith(".")


async def test_another_tenants_operators_are_strangers(opens: Opens, store: Store) -> None:
    await store.grant(OLIVE, "helpdesk")

    async with opens(tenant="another tenant") as other:
        assert other.operators.rights(OLIVE, "/m365 help").operator is None
        assert await other.operators.everyone() == []
