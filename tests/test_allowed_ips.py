"""Allowed IPs are set up, changed and taken away: the whole bot against the pretend tenant's Conditional Access."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from bot.actions._allowed_ips import GROUP, LOCATION, POLICY
from bot.model import Request, RequestState, SlackUser, StepStatus
from sandbox.conditional_access import GARY
from sandbox.directory import SERVICE_ACCOUNT, Group
from sandbox.faults import Answer, Drop, Rule
from sandbox.slack import Message
from tests.stage import HELPDESK, TEAM, open_stage
from tests.test_set_up import APPROVALS, Admins

MFA = "MFA for all admins"
OLIVE = SlackUser(TEAM, "U0OLIVE001")
HERE = "203.0.113.10"

PEOPLE, STEPS_ALONE = 0.1, 0.8

CODE = re.compile(r"^[A-Z0-9]{9}$", re.MULTILINE)

EVALUATE = "/identity/conditionalAccess/evaluate"
REFUSED = Answer(400, {"error": {"code": "BadRequest", "message": "Not now."}})

STEPS = (
    f"Making the named location “{LOCATION}”",
    f"Making the policy “{POLICY}”, which only reports for now",
    "Asking what would happen, inside and outside",
    f"Switching “{POLICY}” on",
    f"Making the group “{GROUP}” with the account in it",
    f"Leaving the account out of “{MFA}”",
    f"Signing in as {SERVICE_ACCOUNT} from here",
)


@dataclass
class Tenant(Admins):
    """A stage whose tenant has policies. Ana asks, Bo agrees, and Ana's administrator account signs in."""

    pace: float = PEOPLE
    """How much faster than ours the world's time passes, in hundredths of a second."""

    @property
    def access(self) -> Any:
        return self.stage.world.access

    def policy(self, name: str) -> Any:
        return next((each for each in self.access.policies() if each["displayName"] == name), None)

    def location(self) -> Any:
        return next((each for each in self.access.locations() if each["displayName"] == LOCATION), None)

    def group(self) -> Any:
        groups = self.stage.world.directory.latest.groups()
        return next((group for group in groups if group.name == GROUP), None)

    def content(self) -> dict[str, Any]:
        """All policies and named locations, but for when they were saved last."""
        things = (*self.access.policies(), *self.access.locations())
        return {each["id"]: {**each, "modifiedDateTime": None} for each in things}

    async def agree(self, card: Message) -> Request:
        """Bo approves, and an administrator signs in where that is asked for; the request once it has ended."""
        return await self._agree(card)

    async def in_state(self, *states: RequestState) -> Request:
        try:
            async with asyncio.timeout(90):
                return await super().in_state(*states)
        except TimeoutError as error:
            row = await self.row()
            raise AssertionError((row.state, row.sentence, [step.title for step in row.steps])) from error

    def everything(self) -> str:
        """All that stands in the help desk's channel, threads included."""
        slack = self.stage.world.slack
        cards = [each for card in self.cards() for each in (card, *slack.thread(card))]
        return "\n".join(card.visible_text for card in cards)

    async def question(self, before: int) -> Message:
        self.pace = PEOPLE
        return await super().question(before)

    async def sign_in(self, upn: str) -> str:
        self.pace = PEOPLE
        said = await super().sign_in(upn)
        self.pace = STEPS_ALONE
        return said

    async def code_of(self, person: str) -> str:
        """What somebody is shown to type on Microsoft's page."""

        def shown() -> list[str]:
            windows = self.stage.world.slack.modals(person)
            return CODE.findall(windows[-1].visible_text) if windows else []

        return (await self.until(shown))[0]

    async def press_nothing(self, words: str) -> Request:
        """Ask for what needs nobody's agreement; the request once it has ended."""
        last = (await self.row()).id
        await self.stage.world.slack.command("ana", HELPDESK, f'/m365-mode {words} --reason "test"')
        while (request := await self.row()).id == last or not request.state.final:  # noqa: ASYNC110
            await asyncio.sleep(0)
        return request

    async def stopped(self, words: str) -> Request:
        """The request once it has stopped, and says so in these words."""
        try:
            async with asyncio.timeout(90):
                while not (request := await self.row()).sentence.startswith(words):  # noqa: ASYNC110
                    await asyncio.sleep(0)
        except TimeoutError as error:
            raise AssertionError((await self.row()).sentence) from error
        return request

    async def stopped_before_it_is_on(self) -> Request:
        """A request that has made everything, asked what would happen, and come no further."""
        faults = self.stage.world.faults
        refusal = faults.add(Rule("graph", "PATCH", "/identity/conditionalAccess/policies/*", REFUSED))
        request = await self.agreed("allowed-ips")
        assert "The next one, “Switching" in request.sentence
        faults.remove(refusal)
        return request

    async def signs_in(self) -> bool:
        """Whether the account gets in from where the bot is."""
        await self.stage.bot.sessions.end_all("A test wants a new one.", None)
        return await self.opens()

    async def opens(self) -> bool:
        """Whether somebody's request gets a session."""
        requests = self.stage.bot.storage.requests
        before = [each.id for each in await requests.recent(OLIVE, 1)]
        await self.stage.world.slack.command("olive", HELPDESK, "/m365 show-user adele@contoso.com")
        while True:
            found = await requests.recent(OLIVE, 1)
            if found and found[0].id not in before and found[0].state.final:
                return found[0].state is RequestState.DONE
            await asyncio.sleep(0)


@asynccontextmanager
async def hurrying(tenant: Tenant) -> AsyncIterator[Tenant]:
    """Let the world's time pass faster: calls about Conditional Access take turns. Who signs in is signed in for a day,
    or on a busy machine an hour would pass between two steps."""
    tenant.stage.world.entra.token_lifetime = (86_400, 86_400)

    async def pass_time() -> None:
        while True:
            await asyncio.sleep(0.01)
            tenant.stage.world.clock.advance(tenant.pace)

    task = asyncio.create_task(pass_time())
    try:
        yield tenant
    finally:
        task.cancel()


@pytest.fixture
async def tenant(tmp_path: Path) -> AsyncIterator[Tenant]:
    async with open_stage(tmp_path, egress_ip=HERE) as stage, hurrying(Tenant(stage)) as tenant:
        yield tenant


# --- What is set up ---------------------------------------------------------------------------------------------------


async def test_behind_a_policy_for_administrators_the_session_opens_again_and_elsewhere_is_closed(
    tenant: Tenant,
) -> None:
    tenant.access.add_from_file("mfa-for-admins")
    assert not await tenant.opens()
    card = await tenant.ask("allowed-ips")
    for words in (
        f"named location: “{LOCATION}”: {HERE}, new",
        f"“{POLICY}”, new: for {SERVICE_ACCOUNT}, for all resources, from anywhere except “{LOCATION}”: it blocks",
        f"→ the same, but not for members of “{GROUP}”",
        f"signing in from {HERE}: stopped, as it is asked for multifactor authentication → allowed",
        f"→ blocked by “{POLICY}”",
        f"come from {HERE}",
        "nobody can sign in as",
    ):
        assert words in card.visible_text
    assert tenant.content().keys() == {tenant.policy(MFA)["id"]}
    request = await tenant.agree(card)

    assert request.state is RequestState.DONE, request.sentence
    assert [step.title for step in request.steps[-8:-1]] == list(STEPS)
    users = tenant.policy(MFA)["conditions"]["users"]
    assert users["excludeGroups"] == [tenant.group().id]
    assert users["excludeUsers"] == []
    assert tenant.group().members == (tenant.stage.world.directory.user(SERVICE_ACCOUNT).id,)
    assert tenant.group().role_assignable, "or whoever administers groups could let others off"
    assert tenant.location()["isTrusted"] is False
    assert tenant.location()["ipRanges"] == [
        {"@odata.type": "#microsoft.graph.iPv4CidrRange", "cidrAddress": f"{HERE}/32"}
    ]
    ours = tenant.policy(POLICY)
    assert (ours["state"], ours["grantControls"]["builtInControls"]) == ("enabled", ["block"])
    assert await tenant.opens()
    tenant.access.move("192.0.2.77", "IE")
    assert not await tenant.signs_in()
    done = await tenant.until(lambda: [text for text in [tenant.text(HELPDESK)] if "User consent" in text])
    assert f"“{MFA}” leaves it out through “{GROUP}” ({tenant.group().id})." in done[0]


async def test_elsewhere_may_ask_for_a_second_factor_instead(tenant: Tenant) -> None:
    request = await tenant.agreed(f"allowed-ips {HERE} 198.51.100.0/28 2001:db8:7::/64 --shape mfa --trusted on")

    assert request.state is RequestState.DONE, request.sentence
    assert tenant.policy(POLICY)["grantControls"]["builtInControls"] == ["mfa"]
    assert tenant.location()["isTrusted"] is True
    assert [each["cidrAddress"] for each in tenant.location()["ipRanges"]] == [
        f"{HERE}/32", "198.51.100.0/28", "2001:db8:7::/64",
    ]  # fmt: skip
    assert tenant.group() is None, "no policy stops the account, so none has to leave it out"
    assert await tenant.signs_in()
    tenant.access.move("192.0.2.77", "IE")
    assert not await tenant.signs_in()


@pytest.mark.slow
async def test_once_more_changes_what_is_there_and_doubles_nothing(tenant: Tenant) -> None:
    tenant.access.add_from_file("mfa-for-admins")
    await tenant.agreed("allowed-ips")
    location, policy, group = tenant.location(), tenant.policy(POLICY), tenant.group()

    again = await tenant.press_nothing("allowed-ips")
    assert again.sentence == f"It is so already: {SERVICE_ACCOUNT} signs in from {HERE} only."

    tenant.access.add_from_file("country-block")
    request = await tenant.agreed(f"allowed-ips {HERE} 198.51.100.64/26")
    assert request.state is RequestState.DONE, request.sentence
    assert [each["cidrAddress"] for each in tenant.location()["ipRanges"]] == [f"{HERE}/32", "198.51.100.64/26"]
    assert tenant.location()["id"] == location["id"]
    assert tenant.policy(POLICY) == policy
    assert tenant.group() == group
    country = next(each for each in tenant.access.policies() if each["displayName"] not in (MFA, POLICY))
    assert country["conditions"]["users"]["excludeGroups"] == [group.id]
    assert tenant.policy(MFA)["conditions"]["users"]["excludeGroups"] == [group.id]
    assert len(tenant.access.policies()) == 3
    assert await tenant.opens()

    await tenant.until(lambda: sum("[Undo]" in card.visible_text for card in tenant.cards()) == 2)
    await tenant.press_and_agree("Undo")
    assert tenant.location()["ipRanges"] == location["ipRanges"]
    assert tenant.policy(POLICY) == policy
    assert tenant.policy(country["displayName"])["conditions"]["users"]["excludeGroups"] == []
    assert tenant.policy(MFA)["conditions"]["users"]["excludeGroups"] == [group.id]


async def test_where_latchkey_signs_in_from_is_found_in_the_log(tmp_path: Path) -> None:
    async with open_stage(tmp_path) as stage, hurrying(Tenant(stage)) as tenant:
        slack = stage.world.slack
        await slack.command("ana", HELPDESK, '/m365-mode allowed-ips --reason "test"')
        await tenant.says("It is not known from which address Microsoft sees Latchkey")

        assert await tenant.opens()
        card = await tenant.ask("allowed-ips")
        assert f"come from {HERE}: the newest sign-ins in the log came from there." in card.visible_text


# --- What is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("10.1.2.3", "`10.1.2.3` is private: Microsoft only sees public addresses."),
        ("203.0.113.10/24", "type `203.0.113.0/24` for the network, or `203.0.113.10`."),
        ("8.0.0.0/8", "is 16,777,216 addresses, which is more than one site signs in from."),
        ("our office", "`our` is no address and no network."),
        ("198.51.100.64/26", f"Latchkey signs in from {HERE} (LATCHKEY_EGRESS_IP says so), which is not among these"),
        (f"{HERE} --shape none", "`--shape` is one of default, block, mfa"),
    ],
)
async def test_what_cannot_be_meant_is_refused_with_words(tenant: Tenant, typed: str, told: str) -> None:
    await tenant.stage.world.slack.command("ana", HELPDESK, f'/m365-mode allowed-ips {typed} --reason "test"')
    await tenant.says(told)
    assert tenant.content() == {}


async def test_beside_security_defaults_nothing_can_be_set_up(tenant: Tenant) -> None:
    tenant.access.switch_security_defaults(True)
    await tenant.stage.world.slack.command("ana", HELPDESK, '/m365-mode allowed-ips --reason "test"')
    await tenant.says("Security defaults are on in the tenant, and beside them no policy can be.")


async def test_whoever_may_not_change_policies_is_told_before_anything_is_done(tenant: Tenant) -> None:
    tenant.access.add_from_file("mfa-for-admins")
    card = await tenant.ask("allowed-ips")
    await tenant.stage.world.slack.click("bo", card, "Approve")
    await tenant.in_state(RequestState.AWAITING_CONFIRMATION)

    said = await tenant.sign_in("bo.admin@contoso.com")
    assert "it is no Global Administrator, or a Conditional Access Administrator." in said
    assert tenant.stage.world.graph.writes() == []


async def test_what_does_not_come_out_as_planned_stops_before_it_is_in_force_and_is_taken_back(
    tenant: Tenant,
) -> None:
    world = tenant.stage.world
    assert await tenant.opens(), "so that the log has the country"
    tenant.access.add_from_file("mfa-for-admins")
    before = tenant.policy(MFA)
    refusal = world.faults.add(Rule("graph", "POST", "/identity/conditionalAccess/policies", REFUSED))
    request = await tenant.agreed("allowed-ips")
    assert request.sentence.startswith("1 of 7 steps are done. The next one, “Making the policy")

    world.faults.remove(refusal)
    tenant.access.add_from_file("country-block")
    await tenant.press("Retry step")
    request = await tenant.stopped("2 of 7 steps are done.")
    assert "From inside, “Block sign-ins from other countries” would still stop" in request.sentence
    assert tenant.policy(POLICY)["state"] == "enabledForReportingButNotEnforced"

    tenant.access.remove("country-block")
    await tenant.press_and_agree("Undo what was done")
    assert (tenant.policy(POLICY), tenant.location(), tenant.group()) == (None, None, None)
    assert tenant.policy(MFA) == before


@pytest.mark.slow
async def test_what_was_foreseen_before_a_stop_is_foreseen_once_more_before_it_goes_on(tenant: Tenant) -> None:
    assert await tenant.opens(), "so that the log has the country"
    tenant.access.add_from_file("mfa-for-admins")
    assert (await tenant.stopped_before_it_is_on()).sentence.startswith("3 of 7 steps are done."), "all was well then"

    tenant.access.add_from_file("country-block")
    await tenant.press("Retry step")
    request = await tenant.stopped("2 of 7 steps are done. The next one, “Asking what would happen")
    assert "From inside, “Block sign-ins from other countries” would still stop" in request.sentence
    assert [step.title for step in request.steps if step.status is StepStatus.FAILED] == [STEPS[2]]
    assert tenant.policy(POLICY)["state"] == "enabledForReportingButNotEnforced"

    tenant.access.remove("country-block")
    await tenant.press("Retry step")
    await tenant.in_state(RequestState.DONE)
    assert tenant.policy(POLICY)["state"] == "enabled"


@pytest.mark.slow
async def test_what_microsoft_itself_foresees_counts_too(tenant: Tenant) -> None:
    """Its what-if, here, has not heard of the policy yet."""
    world = tenant.stage.world
    told = [{**each, "policyApplies": True} for each in tenant.access.policies()]
    world.faults.add(Rule("graph", "POST", EVALUATE, Answer(200, {"value": told})))
    request = await tenant.agreed("allowed-ips")

    assert request.state is RequestState.FAILED
    assert f"Microsoft's own what-if says that “{POLICY}” would apply from {HERE}." in request.sentence
    assert tenant.policy(POLICY)["state"] == "enabledForReportingButNotEnforced"


@pytest.mark.slow
async def test_a_policy_that_cannot_be_judged_is_told_of_before_and_stops_the_last_step(tenant: Tenant) -> None:
    """Nobody has signed in yet, so the log does not say which country the address is in."""
    tenant.access.add_from_file("country-block")
    card = await tenant.ask("allowed-ips")
    why = "“Block sign-ins from other countries” stops the account cannot be told: not known is the country."
    assert why in card.visible_text
    request = await tenant.agree(card)
    assert request.sentence.startswith("4 of 5 steps are done. The next one, “Signing in as")

    request = await tenant.agreed("allowed-ips")
    assert request.state is RequestState.DONE, request.sentence


# --- Microsoft is slow ------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_late_replicas_and_late_enforcement_are_waited_for(tenant: Tenant) -> None:
    assert await tenant.opens(), "so that the log has the country"
    tenant.access.add_from_file("mfa-for-admins")
    tenant.stage.world.clock.advance(600)
    tenant.access.read_lag, tenant.access.enforcement_lag = 20.0, 90.0
    tenant.stage.world.graph.index_lag = 10.0
    request = await tenant.agreed("allowed-ips")

    assert request.state is RequestState.DONE, request.sentence
    assert tenant.stage.world.graph.writes()[-1].path.startswith("/identity/conditionalAccess/policies/")


@pytest.mark.slow
async def test_a_policy_that_keeps_stopping_the_account_is_told_of_in_the_end(tenant: Tenant) -> None:
    assert await tenant.opens(), "so that the log has the country"
    tenant.access.add_from_file("mfa-for-admins")
    tenant.stage.world.clock.advance(4000)
    tenant.access.enforcement_lag = 3600.0
    request = await tenant.agreed("allowed-ips")

    assert request.state is RequestState.FAILED
    assert request.sentence.startswith("6 of 7 steps are done. The next one, “Signing in as")
    tenant.access.enforcement_lag = 0.0
    asked = [each.path for each in tenant.stage.world.graph.requests].count(EVALUATE)
    await tenant.press("Retry step")
    await tenant.in_state(RequestState.DONE)
    assert [each.path for each in tenant.stage.world.graph.requests].count(EVALUATE) == asked, "nothing rests on it now"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/identity/conditionalAccess/namedLocations"),
        ("POST", "/identity/conditionalAccess/policies"),
        ("POST", "/groups"),
        ("PATCH", "/identity/conditionalAccess/policies/*"),
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_lost_answer_doubles_nothing(
    tenant: Tenant, method: str, path: str, when: Literal["before", "after"]
) -> None:
    """What can only be done once is not sent again for ten minutes if it does not show."""
    tenant.access.add_from_file("mfa-for-admins")
    tenant.stage.world.faults.add(Rule("graph", method, path, Drop(when), times=1))
    request = await tenant.agreed("allowed-ips")
    if request.state is RequestState.FAILED:
        assert (when, method) == ("before", "POST")
        assert "Wait ten minutes before you go on" in request.sentence
        tenant.stage.world.clock.advance(600)
        await tenant.press("Retry step")
        request = await tenant.in_state(RequestState.DONE)

    assert [each["displayName"] for each in tenant.access.locations()] == [LOCATION]
    assert [each["displayName"] for each in tenant.access.policies()] == [MFA, POLICY]
    assert [group.name for group in tenant.stage.world.directory.latest.groups()].count(GROUP) == 1


# --- Others -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_two_at_once_make_one(tenant: Tenant) -> None:
    tenant.access.add_from_file("mfa-for-admins")
    mine = await tenant.ask("allowed-ips")
    slack = tenant.stage.world.slack
    before = len(slack.messages(APPROVALS))
    await slack.command("bo", HELPDESK, '/m365-mode allowed-ips --reason "me too"')
    theirs = await tenant.question(before)

    await slack.click("bo", mine, "Approve")
    await slack.click("ana", theirs, "Approve")
    await tenant.until(lambda: sum("[Sign in and go on]" in card.visible_text for card in tenant.cards()) == 2)
    first, second = (card for card in tenant.cards() if "[Sign in and go on]" in card.visible_text)
    for person, card, upn in (("ana", first, "ana.admin@contoso.com"), ("bo", second, GARY)):
        await slack.click(person, card, "Sign in and go on")
        code = await tenant.code_of(person)
        await tenant.stage.world.sign_in(tenant.stage.world.device_page, upn, code=code)
    await tenant.until(lambda: "Something about this changed since you looked" in tenant.everything())
    await tenant.in_state(RequestState.DONE)
    assert [each["displayName"] for each in tenant.access.locations()] == [LOCATION]
    assert [each["displayName"] for each in tenant.access.policies()] == [MFA, POLICY]
    assert len(tenant.policy(MFA)["conditions"]["users"]["excludeGroups"]) == 1


async def test_what_somebody_changes_between_plan_and_step_is_left_alone(tenant: Tenant) -> None:
    world = tenant.stage.world
    tenant.access.add_from_file("mfa-for-admins")
    refusal = world.faults.add(Rule("graph", "POST", "/groups", REFUSED))
    await tenant.agreed("allowed-ips")
    world.faults.remove(refusal)
    tenant.access.exclude(MFA, GARY)
    changed = tenant.policy(MFA)
    await tenant.press("Retry step")

    request = await tenant.stopped("5 of 7 steps are done.")
    assert f"Somebody has changed “{MFA}” meanwhile, so it was left as it is now." in request.sentence
    assert tenant.policy(MFA) == changed


async def test_what_somebody_makes_of_the_policy_before_it_is_switched_on_locks_nobody_out(tenant: Tenant) -> None:
    """They do it when it was just looked at: what is read is a while behind."""
    await tenant.stopped_before_it_is_on()
    tenant.stage.world.clock.advance(600)
    tenant.access.read_lag = 300.0
    conditions = tenant.policy(POLICY)["conditions"]
    tenant.access.edit(POLICY, conditions={**conditions, "users": {**conditions["users"], "includeUsers": ["All"]}})
    await tenant.press("Retry step")
    await tenant.stopped("4 of 5 steps are done.")
    tenant.access.read_lag = 0.0
    await tenant.press("Retry step")
    await tenant.in_state(RequestState.DONE)

    ours = tenant.policy(POLICY)
    assert (ours["state"], ours["conditions"]["users"]) == ("enabled", conditions["users"])


@pytest.mark.slow
async def test_what_somebody_made_of_the_policy_before_it_goes_on_is_not_overwritten(tenant: Tenant) -> None:
    await tenant.stopped_before_it_is_on()
    tenant.access.edit(POLICY, grantControls={"operator": "OR", "builtInControls": ["mfa"]})
    changed = tenant.policy(POLICY)
    await tenant.press("Retry step")

    request = await tenant.stopped("2 of 5 steps are done. The next one, “Asking what would happen")
    assert f"Microsoft shows “{POLICY}” otherwise than it has to be." in request.sentence
    assert tenant.policy(POLICY) == changed


async def test_what_another_request_did_meanwhile_is_neither_doubled_nor_undone(tenant: Tenant) -> None:
    world = tenant.stage.world
    tenant.access.add_from_file("mfa-for-admins")
    refusal = world.faults.add(Rule("graph", "POST", "/identity/conditionalAccess/policies", REFUSED))
    first = await tenant.agreed("allowed-ips")
    world.faults.remove(refusal)
    assert (await tenant.agreed("allowed-ips")).state is RequestState.DONE
    before = tenant.content()

    await tenant.press("Retry step")
    requests = tenant.stage.bot.storage.requests
    while (row := await requests.find(first.id)) is None or "meanwhile" not in row.sentence:  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert f"Somebody has made “{POLICY}” meanwhile" in row.sentence
    assert tenant.content() == before

    asked = len(world.slack.messages(APPROVALS))
    await tenant.press("Undo what was done")
    await tenant.until(lambda: f"“{LOCATION}” stays: “{POLICY}” names it, too." in tenant.everything())
    assert len(world.slack.messages(APPROVALS)) == asked
    assert tenant.content() == before


async def test_a_policy_that_looks_managed_as_code_is_warned_of(tenant: Tenant) -> None:
    tenant.access.add_from_file("mfa-for-admins")
    tenant.access.edit(MFA, description="Managed by Terraform, do not edit.")
    card = await tenant.ask("allowed-ips")

    assert f"“{MFA}” looks managed as code" in card.visible_text
    assert "the tool may put it back" in card.visible_text
    assert "`excludeGroups`" in card.visible_text


async def test_policies_that_stop_nothing_are_not_touched(tenant: Tenant) -> None:
    for name in ("legacy-clients-blocked", "report-only-block", "mfa-for-admins"):
        tenant.access.add_from_file(name)
    others = {each["id"]: each for each in tenant.access.policies() if each["displayName"] != MFA}
    card = await tenant.ask("allowed-ips")
    assert "only reports so far. Once it is on, it stops the account" in card.visible_text
    await tenant.agree(card)

    assert {each["id"]: each for each in tenant.access.policies() if each["id"] in others} == others


async def test_a_group_of_that_name_with_others_in_it_is_not_used(tenant: Tenant) -> None:
    directory = tenant.stage.world.directory
    tenant.access.add_from_file("mfa-for-admins")
    directory.add_group(
        Group(id="5d0f8a52-6f0b-4b52-8a39-0d1f7c9f3b11", name=GROUP, members=(directory.user("adele").id,))
    )
    tenant.stage.world.clock.advance(60)  # until every replica knows of it
    await tenant.stage.world.slack.command("ana", HELPDESK, '/m365-mode allowed-ips --reason "test"')
    await tenant.says(f"The group “{GROUP}” has other members: adele@contoso.com.")


# --- And back ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["button", "typed"])
async def test_undo_leaves_every_policy_as_it_was(tenant: Tenant, by: str) -> None:
    assert await tenant.opens(), "so that the log has the country"
    for name in ("mfa-for-admins", "country-block", "block-outside-office"):
        tenant.access.add_from_file(name)
    tenant.access.exclude(MFA, GARY)
    directory = tenant.stage.world.directory
    others = directory.group("Sales").id
    users = {**tenant.policy(MFA)["conditions"]["users"], "excludeGroups": [others]}
    tenant.access.edit(MFA, conditions={**tenant.policy(MFA)["conditions"], "users": users})
    before = tenant.content()
    done = await tenant.agreed("allowed-ips --trusted on")
    assert done.state is RequestState.DONE, done.sentence
    assert tenant.policy(MFA)["conditions"]["users"]["excludeGroups"] == [others, tenant.group().id]
    assert len(tenant.content()) == len(before) + 2

    request = await (tenant.press_and_agree("Undo") if by == "button" else tenant.agreed("remove-allowed-ips"))
    assert request.state is RequestState.DONE, request.sentence
    assert json.dumps(tenant.content(), sort_keys=True) == json.dumps(before, sort_keys=True)
    assert tenant.group() is None
    assert "are as they were." in " ".join(step.detail for step in request.steps)


async def test_undo_does_not_take_back_what_somebody_changed_since(tenant: Tenant) -> None:
    tenant.access.add_from_file("mfa-for-admins")
    await tenant.agreed("allowed-ips")
    tenant.access.exclude(MFA, GARY)
    before = len(tenant.stage.world.slack.messages(APPROVALS))
    await tenant.press("Undo")
    card = await tenant.question(before)
    assert f"Somebody has changed “{MFA}” since. Only the group is taken out of it" in card.visible_text
    assert f"Afterwards “{MFA}” will stop {SERVICE_ACCOUNT}, which then opens no session." in card.visible_text
    request = await tenant.agree(card)

    assert request.state is RequestState.DONE, request.sentence
    users = tenant.policy(MFA)["conditions"]["users"]
    assert users["excludeUsers"] == [tenant.stage.world.directory.user(GARY).id]
    assert users["excludeGroups"] == []
    assert tenant.policy(POLICY) is None


@pytest.mark.slow
async def test_what_comes_of_taking_it_back_is_foreseen_and_comes_true(tenant: Tenant) -> None:
    assert await tenant.opens(), "so that the log has the country"
    tenant.access.add_from_file("mfa-for-admins")
    await tenant.agreed("allowed-ips --trusted on")
    assert await tenant.signs_in()
    card = await tenant.ask("remove-allowed-ips")
    stopped = "stopped, as it is asked for multifactor authentication"
    assert f"signing in from {HERE}: allowed → {stopped}" in card.visible_text
    assert f", say): blocked by “{POLICY}” → {stopped}" in card.visible_text
    await tenant.agree(card)
    assert not await tenant.signs_in()

    await tenant.agreed("allowed-ips")
    tenant.access.remove("mfa-for-admins")
    card = await tenant.ask("remove-allowed-ips")
    assert "opens no session" not in card.visible_text
    await tenant.agree(card)
    assert await tenant.signs_in()


@pytest.mark.slow
async def test_a_group_that_others_use_stays(tenant: Tenant) -> None:
    tenant.access.add_from_file("mfa-for-admins")
    await tenant.agreed("allowed-ips")
    tenant.access.add_from_file("block-outside-office")
    [theirs] = [each for each in tenant.access.policies() if each["displayName"] not in (MFA, POLICY)]
    users = {**theirs["conditions"]["users"], "excludeGroups": [tenant.group().id]}
    tenant.access.edit(theirs["id"], conditions={**theirs["conditions"], "users": users})
    request = await tenant.press_and_agree("Undo")

    assert request.state is RequestState.DONE, request.sentence
    assert tenant.group() is not None
    assert tenant.policy(theirs["displayName"])["conditions"]["users"]["excludeGroups"] == [tenant.group().id]


@pytest.mark.slow
async def test_all_of_it_can_be_taken_away_when_the_account_is_gone(tenant: Tenant) -> None:
    tenant.access.add_from_file("mfa-for-admins")
    before = tenant.content()
    await tenant.agreed("allowed-ips")
    assert (await tenant.agreed("remove --then removed")).state is RequestState.DONE
    request = await tenant.agreed("remove-allowed-ips")

    assert request.state is RequestState.DONE, request.sentence
    assert tenant.content() == before
    assert tenant.group() is None
    nothing = await tenant.press_nothing("remove-allowed-ips")
    assert nothing.sentence == "Nothing is left of it in the tenant."
    none = await tenant.press_nothing(f"allowed-ips {HERE}")
    assert none.sentence.startswith("Latchkey works with no account of its own yet")


@pytest.mark.slow
async def test_what_was_changed_by_hand_is_put_right_and_undo_leads_back_to_that(tenant: Tenant) -> None:
    await tenant.agreed(f"allowed-ips {HERE}")
    policy = tenant.policy(POLICY)
    users = {**policy["conditions"]["users"], "excludeUsers": [tenant.stage.world.directory.user(GARY).id]}
    tenant.access.edit(POLICY, state="disabled", conditions={**policy["conditions"], "users": users})
    before = tenant.content()
    request = await tenant.agreed("allowed-ips --shape mfa")

    assert request.state is RequestState.DONE, request.sentence
    assert tenant.policy(POLICY)["state"] == "enabled"
    assert tenant.policy(POLICY)["conditions"]["users"]["excludeUsers"] == []
    assert tenant.policy(POLICY)["grantControls"]["builtInControls"] == ["mfa"]
    await tenant.until(lambda: sum("[Undo]" in card.visible_text for card in tenant.cards()) == 2)
    request = await tenant.press_and_agree("Undo")
    assert request.state is RequestState.DONE, request.sentence
    assert tenant.content() == before
