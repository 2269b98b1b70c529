"""What is true of every action: it grows with the catalogue by itself."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from string import Formatter
from typing import Any

import pytest

from bot.actions import catalogue, delegated
from bot.actions._action import Action, Field
from bot.command import Parsed, parse
from bot.directory import find_people, read_person
from bot.directory_roles import NAMES
from bot.model import Call, Identity, Person, Plan, Secret, digest
from bot.ports import Reader
from sandbox.directory import Directory
from tests.microsoft.tenant import Contoso, open_contoso
from tests.tenant import ADELE, APPLICATION, SERVICE_ACCOUNT, contoso

ACTIONS = delegated()
WRITES = {name: action for name, action in ACTIONS.items() if action.writes}

every_action = pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)
every_write = pytest.mark.parametrize("action", WRITES.values(), ids=WRITES)


def digest_of(action: Action, plan: Plan) -> str:
    inputs = asdict(action.example)
    return digest(
        action=action.name,
        target_id=ADELE.id,
        inputs=inputs,
        mode="advanced",
        identity_id=SERVICE_ACCOUNT.id,
        plan=plan,
    )


# --- Declarations ---------------------------------------------------------------------------------------------------


def test_these_are_the_actions() -> None:
    assert list(ACTIONS) == [
        "add-to-group",
        "assign-license",
        "block-sign-in",
        "remove-from-group",
        "remove-license",
        "reset-password",
        "revoke-sessions",
        "show-user",
        "temporary-access-pass",
        "unblock-sign-in",
    ]


@every_action
def test_its_file_opens_with_one_sentence_and_has_its_name(action: Action) -> None:
    does = action.plan or action.answer
    module = sys.modules[does.__module__]

    assert module.__doc__ is not None
    assert module.__doc__.endswith(".")
    assert module.__doc__.count(". ") == 0
    assert "\n" not in module.__doc__
    assert module.__name__ == f"bot.actions.{action.name.replace('-', '_')}"


@every_action
def test_it_has_words_for_buttons_and_cards(action: Action) -> None:
    for words in (action.phrase, action.working, action.done):
        assert [name for _, name, _, _ in Formatter().parse(words) if name is not None] == ["target"]
        assert not words.endswith(".")
    assert action.phrase[0].islower()
    assert action.title[0].isupper()
    assert len(action.title) <= 45


@every_action
def test_its_permissions_and_roles_are_real_and_few(action: Action) -> None:
    assert 1 <= len(action.permissions) <= 3
    assert all(permission.count(".") >= 1 and permission.isascii() for permission in action.permissions)
    assert set(action.roles) | set(action.application_roles) <= NAMES.keys()
    assert bool(action.roles) is action.writes
    assert "Directory.ReadWrite.All" not in action.permissions


@every_action
def test_what_has_no_inverse_is_confirmed_and_what_gives_a_secret_is_verified(action: Action) -> None:
    assert action.confirm is (action.name in {"reset-password", "revoke-sessions", "temporary-access-pass"})
    assert action.verify_caller is (action.name in {"reset-password", "temporary-access-pass"})


@every_action
def test_its_example_is_what_its_inputs_make_of_it(action: Action) -> None:
    example: Any = action.example

    assert type(action.example) is action.inputs
    assert action.parse(asdict(example)) == example
    assert action.parse({name: str(value) for name, value in asdict(example).items()}) == example
    assert not action.missing(asdict(example))


@every_action
def test_it_can_be_typed_as_its_usage_shows(action: Action) -> None:
    typed = action.usage.removeprefix("/m365 ").replace("<group>", "Sales").replace("<licence>", "Office 365 E3")

    parsed = parse("/m365", typed, ACTIONS)

    assert (parsed.action, parsed.target) == (action.name, "adele@contoso.com")
    assert action.parse(parsed.options) == action.example


@every_action
def test_its_name_alone_is_enough_to_begin_with(action: Action) -> None:
    assert parse("/m365", action.name, ACTIONS) == Parsed(action.name)


@pytest.mark.parametrize("action", catalogue().values(), ids=catalogue())
def test_its_options_do_not_hide_those_every_action_has(action: Action) -> None:
    assert {each.name for each in action.asks}.isdisjoint({"reason", "verified", "ticket", "preview"})


@every_action
def test_a_form_can_ask_for_its_inputs(action: Action) -> None:
    for each in action.asks:
        assert each.label.text[0].isupper()
        assert (each.field is Field.NUMBER) is (each.label.minimum is not None)
        assert json.dumps(each.default) is not None
    required = [each.required for each in action.asks]
    assert required == sorted(required, reverse=True), "what must be given is asked for first"


# --- Plans, on paper and over HTTP ----------------------------------------------------------------------------------


@dataclass
class Standing:
    """A person, as the action under test wants to find them, in a tenant that can be read."""

    reader: Reader
    person: Person
    directory: Directory | None = None


WHO = {
    "add-to-group": "alex@contoso.com",
    "assign-license": "john.smith@contoso.com",
    "unblock-sign-in": "alex@contoso.com",
}
"""Whom an action has something to change for; for the others it is Adele."""


@asynccontextmanager
async def on_paper(action: Action) -> AsyncIterator[Standing]:
    tenant, person = contoso(), replace(ADELE, enabled=action.name != "unblock-sign-in")
    adele = f"users/{ADELE.id}"
    if action.name == "add-to-group":
        tenant.answers[f"{adele}/memberOf/microsoft.graph.group"] = []
    if action.name == "assign-license":
        tenant.answers[adele] = {"licenseAssignmentStates": []}
    yield Standing(tenant, person)


@asynccontextmanager
async def over_http(action: Action) -> AsyncIterator[Standing]:
    async with open_contoso() as tenant:
        directory = tenant.servers.directory
        user = directory.user(WHO.get(action.name, "adele@contoso.com"))
        if action.name == "unblock-sign-in":
            directory.update_user(user.id, enabled=False)
        graph = tenant.graph()
        yield Standing(graph, await read_person(graph, user.id, guard=True), directory)
        assert not tenant.servers.graph.writes(), "planning sends nothing"


tenants = pytest.mark.parametrize("tenant", [on_paper, over_http], ids=["on paper", "over HTTP"])


async def planned(action: Action, standing: Standing, identity: Identity = SERVICE_ACCOUNT) -> Plan:
    assert action.plan is not None
    return await action.plan(standing.reader, standing.person, action.example, identity)


@tenants
@every_write
async def test_a_plan_says_what_would_change_and_can_be_stored_and_compared(action: Action, tenant: object) -> None:
    assert callable(tenant)
    async with tenant(action) as standing:
        plan, again = await planned(action, standing), await planned(action, standing)

    assert plan.calls
    assert plan.changes
    assert plan.read_back is not None
    assert plan == again
    stored = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert stored == plan
    assert digest_of(action, stored) == digest_of(action, again)
    assert all(note.endswith(".") for note in (*plan.notes, *(call.advice for call in plan.calls if call.advice)))


@every_write
async def test_an_application_plans_the_same_for_accounts_of_the_cloud(action: Action) -> None:
    async with on_paper(action) as standing:
        assert await planned(action, standing, APPLICATION) == await planned(action, standing)


@every_write
async def test_its_undo_is_an_action_with_inputs_that_fit(action: Action) -> None:
    async with on_paper(action) as standing:
        undo = (await planned(action, standing)).undo

    assert (undo is None) is action.confirm
    if undo is not None:
        ACTIONS[undo.action].parse(undo.inputs)


async def test_every_read_answers_over_http() -> None:
    async with open_contoso() as tenant:
        graph = tenant.graph()
        [adele] = await find_people(graph, "adele@contoso.com")
        for action in ACTIONS.values():
            if action.answer is not None:
                card = await action.answer(graph, adele, action.example)
                assert card.title == "Adele Vance"
                assert dict(card.facts)["Groups"] == "All Staff, News, Sales, Sales DL"
        assert not tenant.servers.graph.writes()


async def run(tenant: Contoso, action: Action, key: str, inputs: object) -> Plan:
    """Plan and send, as the runner would; the read-back holds afterwards and, where something changes, not before."""
    graph = tenant.graph()
    person = await read_person(graph, tenant.servers.directory.user(key).id, guard=True)
    assert action.plan is not None
    plan = await action.plan(graph, person, inputs, SERVICE_ACCOUNT)
    look = plan.read_back
    assert look is not None
    assert not look.holds(await graph.get(*look.path, query=dict(look.query)))

    tenant.servers.clock.advance(5)  # so that moments differ
    for call in plan.calls:
        await send(tenant, call)

    assert look.holds(await graph.get(*look.path, query=dict(look.query)))
    return plan


async def send(tenant: Contoso, call: Call) -> None:
    generated = Secret("Otter-Maple-Piano-4728") if call.generates else None
    sent = await tenant.graph().send(call, attempt_id="0b1f6d1e-0000-4000-8000-000000000001", generated=generated)
    assert (sent.revealed is not None) is (call.reveals is not None)


@every_write
async def test_what_is_planned_is_done_read_back_and_undone_by_graph(action: Action) -> None:
    who = WHO.get(action.name, "adele@contoso.com")
    async with open_contoso() as tenant:
        directory = tenant.servers.directory
        if action.name == "unblock-sign-in":
            directory.update_user(directory.user(who).id, enabled=False)
        before = directory.user(who)
        groups = {group.id: group.members for group in directory.latest.groups()}

        plan = await run(tenant, action, who, action.example)
        changed = {group.id: group.members for group in directory.latest.groups()}
        assert (directory.user(who), changed) != (before, groups)

        if plan.undo is not None:
            back = ACTIONS[plan.undo.action]
            await run(tenant, back, who, back.parse(plan.undo.inputs))
            restored = {group.id: set(group.members) for group in directory.latest.groups()}
            assert directory.user(who) == before
            assert restored == {group: set(members) for group, members in groups.items()}
