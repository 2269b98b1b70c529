"""Roles, grants and scopes are changed on the road of all changes, by the rights of whoever asks, at every moment."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import Formatter
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from bot.actions import catalogue, delegated
from bot.actions._action import Action
from bot.actions._rights import commands, patterns_of
from bot.approvals import SignInFirst
from bot.clock import SystemClock
from bot.command import parse
from bot.errors import BadInput, NotPossible
from bot.linking import Linking
from bot.model import (
    Author,
    Origin,
    Plan,
    Request,
    RequestState,
    ScopeOp,
    ScopeRule,
    SlackUser,
    Target,
    TargetKind,
    decides_on_power,
)
from bot.office import Errand
from bot.office.roles import RolesDesk
from bot.signing_in import SignedIn
from handlers.commands import _HELD_AS
from tests.stage import SHELL, TEAM, Stage, open_stage

ANA, BO, OLIVE, NINA = (SlackUser(TEAM, user) for user in ("U0ANA00001", "U0BO000001", "U0OLIVE001", "U0NINA0001"))

ROLES = {name: action for name, action in catalogue().items() if action.command.startswith("/m365-roles ")}

every_action = pytest.mark.parametrize("action", ROLES.values(), ids=ROLES)


# --- Declarations ---------------------------------------------------------------------------------------------------


def test_these_are_the_changes_of_roles() -> None:
    assert {action.command.removeprefix("/m365-roles "): action.approval for action in ROLES.values()} == {
        "define": True,
        "follow": True,
        "grant": True,
        "remove": False,
        "restore": True,
        "revoke": False,
        "scope": True,
        "unfollow": False,
    }
    assert all(action.approval or action.confirm for action in ROLES.values())


@every_action
def test_it_has_words_and_its_usage_is_what_can_be_typed(action: Action) -> None:
    for words in (action.phrase, action.working, action.done):
        assert [name for _, name, _, _ in Formatter().parse(words) if name is not None] == ["target"]
    assert action.plan is not None
    assert sys.modules[action.plan.__module__].__name__ == f"bot.actions.{action.name.replace('-', '_')}"
    assert action.parse(asdict(action.example)) == action.example
    typed = action.usage.removeprefix("/m365-roles ").replace("<role>", "helpdesk").replace("<commands>", "help")
    assert parse("/m365-roles", typed, delegated()).action == action.name


def test_every_command_there_is_can_be_held_by_a_role_and_nothing_else() -> None:
    assert set(_HELD_AS.values()) <= commands()
    assert patterns_of("reset-password, `/m365 show-user`,/m365-session *\n help") == (
        "/m365 reset-password",
        "/m365 show-user",
        "/m365-session *",
        "/m365 help",
    )
    assert patterns_of("*") == ("/m365 *",)
    for typed in ("/*", "/m36*", "/m365 reset-[a-z]*", "/m365 fly", "/m365 *-password", "", ",", "/m365 ?elp"):
        with pytest.raises(BadInput):
            patterns_of(typed)


def test_what_decides_on_power_is_known_however_widely_it_is_written() -> None:
    assert all(decides_on_power([pattern]) for pattern in ("/m365*", "/m365-*", "/m365-r*", "/m365-mode settings"))
    assert not decides_on_power(["/m365 *", "/m365-audit", "/m365-session *", "/m365-roles list", "/m365-roles who"])


def test_a_person_is_a_mention_and_days_are_counted_later() -> None:
    parsed = parse("/m365-roles", "grant <@U0NINA0001|nina> helpdesk —until 30d —reason new desk", delegated())

    assert (parsed.target, parsed.options) == ("@U0NINA0001", {"role": "helpdesk", "until": "30d"})
    assert parse("/m365-roles", "", delegated()).action == "roles-list"
    assert parse("/m365-roles", "who @olive", delegated()).target == "@olive"
    for wrong in ("grnt <@U1> x", "grant <@U0NINA0001|nina> helpdesk --until someday", "define x --commands fly"):
        with pytest.raises(BadInput):
            parse("/m365-roles", wrong, delegated())


# --- On the road ----------------------------------------------------------------------------------------------------


@dataclass
class Desk:
    """A stage on which tenant admins change roles."""

    stage: Stage

    @property
    def operators(self) -> Any:
        return self.stage.bot.storage.operators

    async def ask(self, action: str, typed: str, slack: SlackUser = ANA, **inputs: Any) -> Request:
        """A request of somebody's, as far as it goes by itself."""
        storage = self.stage.bot.storage
        command = catalogue()[action].command
        operator = storage.operators.rights(slack, command).operator
        request = Request(
            id=uuid.uuid4().hex,
            operator_id=operator.id if operator else None,
            slack=slack,
            command=command,
            action=action,
            origin=Origin("C0HELPDESK"),
            created_at=SystemClock().now(),
            state=RequestState.RECEIVED if catalogue()[action].approval else RequestState.READY,
            typed=typed,
            inputs=inputs,
            reason="a test",
        )
        if request.state is RequestState.READY:  # as if its form had been confirmed
            request = replace(request, target=Target(TargetKind.OPERATOR, f"{TEAM}/{typed[1:]}", "Nina Berg"))
        await storage.requests.add(request)
        self.stage.bot.worker.wake(request.id)
        return await self.rested(request.id)

    async def rested(self, request_id: str) -> Request:
        """The request, once it waits for people or is over."""
        rests = {RequestState.AWAITING_APPROVAL, RequestState.AWAITING_CONFIRMATION}
        while True:
            request = await self.stage.bot.storage.requests.find(request_id)
            assert request is not None
            if request.state.final or request.state in rests:
                return request
            await asyncio.sleep(0)

    async def approve(self, request: Request, by: SlackUser = BO) -> Request:
        assert request.state is RequestState.AWAITING_APPROVAL, request.sentence
        await self.stage.bot.approvals.approve(request, by)
        self.stage.bot.worker.wake(request.id)
        return await self.rested(request.id)

    async def held(self, slack: SlackUser) -> list[str]:
        holder = await self.operators.holder(slack.team, slack.user)
        return [grant.role for grant in holder.grants] if holder else []


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_stage(tmp_path, approvals_channel="C0APPROVE1") as stage:
        yield Desk(stage)


async def test_a_grant_is_undone_and_its_undo_is_undone(desk: Desk) -> None:
    done = await desk.approve(await desk.ask("grant-role", "@U0NINA0001", role="helpdesk", until="2099-12-31"))
    assert done.state is RequestState.DONE, done.sentence
    assert done.plan is not None
    assert done.plan == Plan.from_json(json.loads(json.dumps(done.plan.to_json())))
    assert done.plan.undo is not None
    assert not done.plan.sensitive
    back = await desk.ask(done.plan.undo.action, "@U0NINA0001", **done.plan.undo.inputs)
    assert (back.state, await desk.held(NINA)) == (RequestState.DONE, [])

    assert back.plan is not None
    assert back.plan.undo is not None
    assert back.plan.undo.inputs == {"role": "helpdesk", "until": "2099-12-31"}
    again = await desk.ask(back.plan.undo.action, "@U0NINA0001", **back.plan.undo.inputs)
    assert (again.state, await desk.held(NINA)) == (RequestState.AWAITING_APPROVAL, [])


async def test_who_agrees_to_a_tenant_admin_has_to_prove_who_they_are(desk: Desk) -> None:
    asked = await desk.ask("grant-role", "@U0NINA0001", role="tenant-admin")

    assert asked.plan is not None
    assert asked.plan.sensitive
    asking = replace(desk.stage.bot.approvals, sign_ins=NobodySignedIn())
    with pytest.raises(SignInFirst):
        await asking.approve(asked, BO)
    harmless = await desk.ask("grant-role", "@U0NINA0001", role="helpdesk")
    await asking.approve(harmless, BO)


async def test_who_was_demoted_meanwhile_has_granted_nothing(desk: Desk) -> None:
    asked = await desk.ask("grant-role", "@U0NINA0001", role="operator")
    await desk.operators.define_role("granter", "Grants", ["/m365-roles grant"], by=SHELL, reason="test")
    await desk.operators.grant(ANA, "granter", by=SHELL, reason="test")
    await desk.operators.revoke(ANA, "tenant-admin", by=SHELL, reason="test")
    after = await desk.approve(asked)

    assert (after.state, await desk.held(NINA)) == (RequestState.FAILED, [])
    assert "more than they hold themselves" in after.sentence


async def test_a_role_that_came_to_hold_more_meanwhile_is_asked_about_again(desk: Desk) -> None:
    await desk.operators.define_role("lookers", "Look", ["/m365 show-user"], by=SHELL, reason="test")
    asked = await desk.ask("grant-role", "@U0NINA0001", role="lookers")
    await desk.operators.define_role("lookers", "Look", ["/m365 show-user", "/m365 undo"], by=SHELL, reason="test")
    after = await desk.approve(asked)

    assert (after.state, await desk.held(NINA)) == (RequestState.AWAITING_CONFIRMATION, [])
    assert "changed since you looked" in after.sentence


async def test_a_scope_that_came_to_reach_further_meanwhile_is_asked_about_again(desk: Desk) -> None:
    sales = ScopeRule(ScopeOp.ATTRIBUTE, attribute="department", values=("Sales",))
    await desk.operators.add_scope("Sales", sales, by=SHELL)
    asked = await desk.ask("grant-role", "@U0NINA0001", role="helpdesk", scope="Sales")
    await desk.operators.add_scope("Sales", replace(sales, values=("Sales", "Finance")), by=SHELL)
    after = await desk.approve(asked)

    assert (after.state, await desk.held(NINA)) == (RequestState.AWAITING_CONFIRMATION, [])
    assert ["which counts for", "department is Sales or Finance"] in after.answer["changes"]


async def test_the_name_of_a_scope_says_nothing_that_is_not_so(desk: Desk) -> None:
    for name in ("Sales” until 2026-12-31", "Sales\u202e", "`everywhere`"):
        refused = await desk.ask("define-scope", name, in_="Sales")
        assert (refused.state, refused.approval) == (RequestState.FAILED, None)


async def test_help_desk_may_not_and_nobody_grants_beyond_a_scope(desk: Desk) -> None:
    refused = await desk.ask("grant-role", "@U0NINA0001", OLIVE, role="helpdesk")
    assert (refused.state, refused.approval) == (RequestState.REFUSED, None)

    await desk.operators.define_role("granter", "Grants", ["/m365-roles grant"], by=SHELL, reason="test")
    await desk.operators.grant(OLIVE, "granter", by=SHELL, reason="test")
    beyond = await desk.ask("grant-role", "@U0NINA0001", OLIVE, role="operator")
    assert (beyond.state, beyond.approval) == (RequestState.FAILED, None)
    assert "more than they hold themselves" in beyond.sentence
    within = await desk.ask("grant-role", "@U0NINA0001", OLIVE, role="granter")
    assert within.state is RequestState.AWAITING_APPROVAL


@pytest.mark.parametrize(
    ("typed", "inputs", "words"),
    [
        ("olive", {"role": "helpdesk"}, "choose the person from the list"),
        ("@U0GUS00001", {"role": "helpdesk"}, "is a guest in Slack"),
        ("@U0ROBO0001", {"role": "helpdesk"}, "is an app and not a person"),
        ("@U0DORA0001", {"role": "helpdesk"}, "deactivated"),
        ("@U0NINA0001", {"role": "helpdsk"}, "There is no role `helpdsk`"),
        ("@U0NINA0001", {"role": "helpdesk", "until": "2020-01-01"}, "lies in the past"),
        ("@U0NINA0001", {"role": "helpdesk", "scope": "Nowhere"}, "There is no scope “Nowhere”"),
        ("@U0NINA0001", {"role": "helpdesk", "account": "nobody@contoso.com"}, "There is no account"),
        ("@U0OLIVE001", {"role": "viewer", "account": "nina@contoso.com"}, "has linked another account"),
    ],
)
async def test_what_cannot_be_granted_says_why_and_asks_nobody(
    desk: Desk, typed: str, inputs: dict[str, str], words: str
) -> None:
    failed = await desk.ask("grant-role", typed, ANA, **inputs)

    assert (failed.state, failed.approval) == (RequestState.FAILED, None)
    assert words in failed.sentence


async def test_a_call_that_comes_twice_is_done_once(desk: Desk) -> None:
    store = desk.stage.bot.storage
    rows = RolesDesk(store.operators, NobodyToName(), NobodyLeft(), ZoneInfo("Europe/London"))
    scope = {"attribute": "department", "in": ["Sales"]}
    body = {"role": "helpdesk", "scope": "everywhere", "until": "2099-12-31", "account": "", "name": "Nina Berg"}
    calls: list[tuple[str, tuple[str, ...], dict[str, Any]]] = [
        ("PUT", ("people", TEAM, NINA.user), body),
        ("DELETE", ("people", TEAM, NINA.user), {"role": "helpdesk", "scope": ""}),
        ("PUT", ("named", "lookers"), {"title": "Look", "patterns": ["/m365 show-user"]}),
        ("PUT", ("groups", "g1"), {**body, "name": "SG"}),
        ("DELETE", ("groups", "g1"), {"role": "helpdesk", "scope": ""}),
        ("DELETE", ("named", "lookers"), {}),
        ("PUT", ("scopes", "Sales"), {"rule": scope}),
    ]
    ana = store.operators.rights(ANA, "").operator
    assert ana is not None
    for method, path, data in calls:
        heads = []
        for _ in range(2):
            await rows.carry_out(Errand(method, path, data, Author(ana.id), "a test", "r", "a"))
            heads.append(await store.trail.changes_since(datetime(2020, 1, 1, tzinfo=UTC)))
        assert heads[0] == heads[1], (method, path)


async def test_a_day_counts_to_its_end_in_the_tenants_time_zone() -> None:
    desk = RolesDesk(None, NobodyToName(), NobodyLeft(), ZoneInfo("Europe/Berlin"))  # type: ignore[arg-type]

    assert desk.moment("2026-12-31") == datetime(2026, 12, 31, 23, tzinfo=UTC)
    for typed in ("2026-12-31", "2026-03-29", "2026-12-31 18:30", ""):
        assert desk.until_text(desk.moment(typed)) == typed


# --- Their own account ----------------------------------------------------------------------------------------------


async def test_only_the_account_that_was_named_can_be_linked(desk: Desk) -> None:
    storage, world = desk.stage.bot.storage, desk.stage.world
    await desk.approve(await desk.ask("grant-role", "@U0NINA0001", role="helpdesk", account="nina@contoso.com"))
    linking = Linking(storage.operators, storage.settings)
    theirs, other = (world.directory.user(f"{name}@contoso.com") for name in ("nina", "adele"))
    at = SystemClock().now()

    with pytest.raises(NotPossible, match="is not the account a tenant admin entered for you, which is nina@contoso"):
        await linking.linked(
            NINA,
            "",
            SignedIn(other.id, other.upn, other.name, frozenset(), None, at),  # type: ignore[arg-type]
        )
    said = await linking.linked(
        NINA,
        "",
        SignedIn(theirs.id, theirs.upn, theirs.name, frozenset(), None, at),  # type: ignore[arg-type]
    )

    assert "is linked to nina@contoso.com" in said
    operator = storage.operators.rights(NINA, "").operator
    assert operator is not None
    assert operator.account_id == theirs.id


class NobodySignedIn:
    """People could sign in, and nobody has."""

    has_callback = True

    def last_fresh(self, slack: SlackUser) -> None:
        return None


class NobodyToName:
    async def name(self, user: str) -> str:
        return user


class NobodyLeft:
    async def look_at(self, operator: Any, *, fresh: timedelta) -> None:
        return None
