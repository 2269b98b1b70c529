"""Deciding about the accounts of the sandbox's tenant, read over HTTP as the service account reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from bot.actions import catalogue
from bot.directory import find_people, means_exactly, read_person, search_groups, search_licenses
from bot.errors import GraphRefused, NotPossible
from bot.model import (
    Grant,
    IdentityKind,
    Mode,
    Operator,
    Rights,
    Secret,
    Session,
    SessionState,
    SlackUser,
    TenantSettings,
)
from bot.policy import Code, Decision, Question, Verdict, decide
from sandbox.directory import SERVICE_ACCOUNT
from tests.clock import T0
from tests.microsoft.tenant import Contoso, open_contoso
from tests.tenant import SERVICE_ACCOUNT as GLOBAL_IDENTITY

RESET = catalogue()["reset-password"]


async def decided(tenant: Contoso, who: str) -> Decision:
    """What Olive, whose grant covers everybody, hears when she wants to reset this password."""
    directory, graph = tenant.servers.directory, tenant.graph()
    [found] = await find_people(graph, who)
    assert means_exactly(who, found)
    olive = directory.user("olive")
    return decide(
        Question(
            rights=Rights(Operator("op", SlackUser("T", "U"), account_id=olive.id), (Grant("g", "helpdesk"),)),
            command=RESET.command,
            action=RESET,
            now=T0,
            settings=TenantSettings(
                identity_id=directory.user(SERVICE_ACCOUNT).id,
                never_touch_group=directory.group("Latchkey never touch").id,
                ask_first_group=directory.group("Latchkey ask first").id,
            ),
            target=await read_person(graph, found.id, guard=True),
            session=Session(1, Mode.ADVANCED, SessionState.ON, GLOBAL_IDENTITY),
            reason="locked out",
            verified="called back",
        )
    )


PROTECTED: Mapping[str, Code] = {
    "gary@contoso.com": Code.DIRECTORY_ROLE,
    "GARY@Contoso.COM": Code.DIRECTORY_ROLE,
    "pia@contoso.com": Code.DIRECTORY_ROLE,
    "cyrus@contoso.com": Code.DIRECTORY_ROLE,
    "rolf@contoso.com": Code.DIRECTORY_ROLE,
    "rita@contoso.com": Code.RESTRICTED_UNIT,
    "chloe@contoso.com": Code.NEVER_TOUCH,
    "olive@contoso.com": Code.OWN_ACCOUNT,
    "gail_partner.example#EXT#@contoso.onmicrosoft.com": Code.GUEST,
    SERVICE_ACCOUNT: Code.OUR_IDENTITY,
}


@pytest.mark.parametrize(("who", "code"), PROTECTED.items(), ids=PROTECTED)
async def test_a_protected_account_is_refused_for_what_protects_it(who: str, code: Code) -> None:
    async with open_contoso() as tenant:
        decision = await decided(tenant, who)

    assert decision.verdict is Verdict.DENY
    assert code in {finding.code for finding in decision.trace if not finding.ok}


async def test_an_administrator_is_refused_by_object_id_too() -> None:
    async with open_contoso() as tenant:
        decision = await decided(tenant, tenant.servers.directory.user("gary").id.upper())

    assert decision.verdict is Verdict.DENY


@pytest.mark.parametrize("who", ["adele@contoso.com", "reed@contoso.com", "zoe@contoso.com", "evil@contoso.com"])
async def test_ordinary_people_and_holders_of_harmless_roles_are_not(who: str) -> None:
    async with open_contoso() as tenant:
        assert (await decided(tenant, who)).verdict is Verdict.ALLOW


async def test_a_vip_needs_an_approval() -> None:
    async with open_contoso() as tenant:
        assert (await decided(tenant, "victor@contoso.com")).verdict is Verdict.NEEDS_APPROVAL


async def test_lists_to_choose_from_find_people_groups_and_licences() -> None:
    async with open_contoso() as tenant:
        graph = tenant.graph()

        assert {each.name for each in await find_people(graph, "smi")} == {"John Smith", "Jon Smith"}
        assert [each.name for each in await find_people(graph, "Zoë Ång")] == ["Zoë Ångström"]
        assert [each.name for each in await search_groups(graph, "sales")] == ["Sales", "Sales Leeds"]
        assert [each.detail for each in await search_licenses(graph, "e5")] == ["0 of 5 free"]
        assert len(await find_people(graph, "")) == 5


async def test_a_name_suggests_and_a_mail_address_leads_to_its_owner() -> None:
    async with open_contoso() as tenant:
        directory, graph = tenant.servers.directory, tenant.graph()
        adele = directory.user("adele")
        directory.update_user(adele.id, attributes={**adele.attributes, "mail": "a.vance@contoso.com"})
        tenant.servers.clock.advance(5)

        suggested = await find_people(graph, "smith")
        [owner] = await find_people(graph, "a.vance@contoso.com")

    assert {person.upn for person in suggested} == {"john.smith@contoso.com", "jon.smith@contoso.com"}
    assert owner.id == adele.id
    assert not means_exactly("a.vance@contoso.com", owner)


# --- Passwords of synced accounts -----------------------------------------------------------------------------------


async def test_a_synced_account_is_reset_through_writeback_or_the_operator_is_sent_elsewhere() -> None:
    async with open_contoso() as tenant:
        directory, graph = tenant.servers.directory, tenant.graph()
        tenant.servers.graph.resets.seconds = 0
        assert RESET.plan is not None
        for who, works in (("isaiah", True), ("henrietta", False)):
            person = await read_person(graph, directory.user(who).id, guard=True)
            [call] = (await RESET.plan(graph, person, RESET.example, GLOBAL_IDENTITY)).calls
            made = Secret("Otter-Maple-Piano-4728")
            if works:
                await graph.send(call, attempt_id="0b1f6d1e-0000-4000-8000-000000000001", generated=made)
                assert directory.password_of(person.id) == made.reveal()
            else:
                with pytest.raises(GraphRefused):
                    await graph.send(call, attempt_id="0b1f6d1e-0000-4000-8000-000000000002", generated=made)
                assert "Reset it there" in call.advice


async def test_an_application_is_told_so_before_it_tries() -> None:
    async with open_contoso() as tenant:
        graph = tenant.graph()
        isaiah = await read_person(graph, tenant.servers.directory.user("isaiah").id, guard=True)
        assert RESET.plan is not None
        with pytest.raises(NotPossible, match="on-premises Active Directory"):
            await RESET.plan(graph, isaiah, RESET.example, replace(GLOBAL_IDENTITY, kind=IdentityKind.APPLICATION))
