"""Playing a dialogue: what people do happens, and what does not come true is told with its place.

The bot of these worlds never starts: what Slack and the tenant do by themselves is enough to play against.
"""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from sandbox.bot_process import BotProcess
from sandbox.dialogue import parse
from sandbox.play import NotTrue, Player
from sandbox.world import World


class Stage:
    """A world, and a player of its people."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.player = Player(world, BotProcess(world.environment(), world.state))

    async def play(self, *steps: str) -> None:
        text = "title: A story\nsteps:\n" + "".join(f"  - {step}\n" for step in steps)
        await self.player.play(parse(text, Path("story.yaml")))


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with World() as world:
        yield Stage(world)


HELP = '{as: olive, in: "#helpdesk", type: "/m365 help"}'


async def test_what_somebody_types_is_delivered_and_its_answer_seen(stage: Stage) -> None:
    await stage.play(
        HELP,
        "{expect: {in: ephemeral, contains: dispatch_failed}}",
        '{expect: {in: "#helpdesk", count: 0}}',
        "{expect: {in: ephemeral, as: ana, count: 0}}",
    )

    assert [delivery.payload["text"] for delivery in stage.world.slack.deliveries] == ["help"]


async def test_what_is_not_there_is_told_with_line_step_and_what_is_there(stage: Stage) -> None:
    with pytest.raises(NotTrue) as told:
        await stage.play(HELP, "{expect: {in: ephemeral, contains: You may, within: 10ms}}")

    assert str(told.value) == (
        "story.yaml:4: step 2 did not come true: {expect: {in: ephemeral, contains: You may, within: 10ms}}\n"
        "not in ephemeral: 'You may'; there is:\n"
        '    | /m365 failed with the error "dispatch_failed"'
    )


@pytest.mark.parametrize(
    ("expectation", "complaint"),
    [
        ("{in: ephemeral, not_contains: failed}", "'failed' is in ephemeral"),
        ("{in: ephemeral, matches: '^Done'}", "not in ephemeral: a match of '^Done'"),
        ("{in: ephemeral, contains: failed, count: 2}", "expected 2 that fit, there are 1"),
        ("{in: thread, contains: x}", "    | (nothing)"),
        ("{in: modal, contains: x}", "    | (nothing)"),
        ("{in: '#nowhere', contains: x}", "no channel is called '#nowhere'"),
    ],
)
async def test_every_kind_of_expectation_can_fail(stage: Stage, expectation: str, complaint: str) -> None:
    expectation = expectation.replace("}", ", within: 10ms}")

    with pytest.raises(NotTrue) as told:
        await stage.play(HELP, f"{{expect: {expectation}}}")

    assert complaint in str(told.value)


async def test_an_expectation_is_met_by_a_change_that_comes_later(stage: Stage) -> None:
    def block() -> None:
        stage.world.directory.update_user("adele", enabled=False)

    stage.world.faults.subscribe(block)

    await stage.play("{fault: graph-down}", "{expect_tenant: {user: adele@contoso.com, accountEnabled: false}}")


@pytest.mark.parametrize(
    ("expectation", "complaint"),
    [
        ("{user: mallory@contoso.com, accountEnabled: true}", "the tenant has no user mallory@contoso.com"),
        ("{user: adele@contoso.com, accountEnabled: false}", "Adele Vance's account is enabled"),
        ("{user: adele@contoso.com, password: wrong}", "Adele Vance cannot sign in with that password"),
        ("{user: adele@contoso.com, member_of: Engineering}", "Adele Vance is not in Engineering, but in "),
        ("{user: adele@contoso.com, not_member_of: Sales}", "Adele Vance is in Sales"),
        ("{user: adele@contoso.com, licenses: []}", "Adele Vance has the licences ENTERPRISEPACK"),
        ("{writes: {PATCH /users/: 1}}", "Microsoft applied PATCH /users/ 0 times, not 1"),
    ],
)
async def test_the_tenant_is_looked_at(stage: Stage, expectation: str, complaint: str) -> None:
    expectation = expectation.removesuffix("}") + ", within: 10ms}"

    with pytest.raises(NotTrue, match="did not come true") as told:
        await stage.play(f"{{expect_tenant: {expectation}}}")

    assert complaint in str(told.value)


async def test_what_must_never_be_seen_is_looked_for_again_at_the_end(stage: Stage) -> None:
    with pytest.raises(NotTrue) as told:
        await stage.play("{never: {in: history, contains: dispatch_failed}}", HELP)

    assert str(told.value).startswith("story.yaml:3: step 1 did not come true")


async def test_somebody_who_presses_what_is_not_there_is_told_what_is(stage: Stage) -> None:
    with pytest.raises(NotTrue, match="there is no 'Undo' to use; there is: nothing"):
        await stage.play("{as: olive, click: Undo, within: 10ms}")


async def test_a_person_nobody_knows_is_told_with_those_there_are(stage: Stage) -> None:
    with pytest.raises(NotTrue, match="nobody is called 'mallory'; there are: olive"):
        await stage.play('{as: mallory, in: "#helpdesk", type: "/m365 help"}')


async def test_time_moves_and_a_delivery_comes_again(stage: Stage) -> None:
    await stage.play(HELP, "{advance: 5m}", "{redeliver: last}")

    assert stage.world.clock.offset == 300.0
    sent = [delivery.payload["trigger_id"] for delivery in stage.world.slack.deliveries]
    assert len(sent) == 2
    assert len(set(sent)) == 1


async def test_nothing_is_delivered_again_before_somebody_did_something(stage: Stage) -> None:
    with pytest.raises(NotTrue, match="nobody has done anything yet"):
        await stage.play("{redeliver: last}")


# What happens elsewhere.


async def test_somebody_else_changes_the_tenant_and_the_workspace(stage: Stage) -> None:
    await stage.play(
        "{tenant: {disable: olive@contoso.com}}",
        "{tenant: {add_to_group: [adele@contoso.com, Engineering]}}",
        "{tenant: {remove_from_group: [adele@contoso.com, Sales]}}",
        "{tenant: {give_role: [alex@contoso.com, Helpdesk Administrator]}}",
        "{tenant: {edit: [adele@contoso.com, department, Finance]}}",
        "{tenant: {edit: [adele@contoso.com, displayName, Adele Vance-Hart]}}",
        "{tenant: {delete: diego@contoso.com}}",
        "{slack: {deactivate: olive}}",
        "{expect_tenant: {user: olive@contoso.com, accountEnabled: no}}",
        "{expect_tenant: {user: adele@contoso.com, member_of: Engineering, not_member_of: Sales}}",
    )

    directory = stage.world.directory
    adele, alex = directory.user("adele"), directory.user("alex")
    assert (adele.name, adele.attributes["department"]) == ("Adele Vance-Hart", "Finance")
    assert len(directory.latest.active_roles(alex.id)) == 1
    assert directory.latest.user("diego@contoso.com") is None
    assert stage.world.slack.person("olive").deleted

    await stage.play(
        "{tenant: {enable: olive@contoso.com}}",
        "{tenant: {take_role: [alex@contoso.com, Helpdesk Administrator]}}",
        "{slack: {reactivate: olive}}",
        "{expect_tenant: {user: olive@contoso.com, accountEnabled: yes}}",
    )
    assert directory.latest.active_roles(alex.id) == []
    assert not stage.world.slack.person("olive").deleted


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ("{disable: mallory@contoso.com}", "mallory@contoso.com"),
        ("{add_to_group: [adele@contoso.com, Wizards]}", "Wizards"),
        ("{give_role: [adele@contoso.com, Wizard]}", "Wizard"),
    ],
)
async def test_what_the_tenant_does_not_have_is_told(stage: Stage, change: str, missing: str) -> None:
    with pytest.raises(NotTrue, match=f"the tenant has no '{missing}'"):
        await stage.play(f"{{tenant: {change}}}")


async def test_a_command_line_is_run_where_the_bot_lives(stage: Stage) -> None:
    await stage.play(
        "{cli: actions, contains: reset-password, not_contains: Traceback}",
        "{cli: 'grant U0OLIVE001 no-such-role', fails: yes}",
    )
    with pytest.raises(NotTrue, match="it does not say 'fly to the moon'; it ended with 0 and said"):
        await stage.play("{cli: actions, contains: fly to the moon}")


# Signing in at Microsoft.


async def post(stage: Stage, person: str, text: str, *blocks: dict[str, Any]) -> None:
    """Say something to one person as the bot would."""
    slack = stage.world.slack
    call = {"channel": "C0HELPDESK", "user": slack.person(person).id, "text": text, "blocks": list(blocks)}
    token = {"Authorization": f"Bearer {slack.bot_token}"}
    async with ClientSession() as session:
        url = f"{stage.world.url}/slack/api/chat.postEphemeral"
        async with session.post(url, json=call, headers=token) as answer:
            assert (await answer.json())["ok"]


async def test_nobody_signs_in_before_they_are_asked_to(stage: Stage) -> None:
    device = f"<{stage.world.tls_url}/common/oauth2/deviceauth|Microsoft's page>"
    await post(stage, "ana", f"Open {device} and type `ABCD2345`.")  # text alone, and for another person

    with pytest.raises(NotTrue, match="no code to sign in with was shown to bo alone"):
        await stage.play("{as: bo, sign_in: {account: bo.admin@contoso.com, with: code, within: 10ms}}")


async def test_a_code_is_typed_and_the_page_it_ends_on_is_seen(stage: Stage) -> None:
    world = stage.world
    token = f"{world.tls_url}/{world.directory.tenant.id}/oauth2/v2.0/devicecode"
    asked = {"client_id": world.directory.applications["signin"].app_id, "scope": "User.Read openid"}
    trust = ssl.create_default_context(cafile=world.environment()["LATCHKEY_EXTRA_CA_FILE"])
    async with ClientSession() as session, session.post(token, data=asked, ssl=trust) as answer:
        begun = await answer.json()
    line = f"Open <{begun['verification_uri']}|Microsoft's page> and type `{begun['user_code']}`."
    await post(stage, "ana", line, {"type": "section", "text": {"type": "mrkdwn", "text": line}})

    await stage.play(
        "{as: ana, sign_in: {account: ana.admin@contoso.com, with: code}}",
        "{expect: {in: browser, contains: You have signed in}}",
    )


async def test_the_link_of_a_button_is_followed_and_a_refusal_is_a_page(stage: Stage) -> None:
    tenant = stage.world.directory.tenant.id
    link = f"{stage.world.tls_url}/{tenant}/oauth2/v2.0/authorize?client_id=nobody&response_type=code"
    button = {"type": "button", "text": {"type": "plain_text", "text": "Sign in at Microsoft"}, "url": link}
    await post(stage, "ana", "Sign in", {"type": "actions", "elements": [button]})

    await stage.play(
        "{as: ana, sign_in: {account: ana@contoso.com, with: link}}",
        "{expect: {in: browser, contains: AADSTS700016}}",
    )


async def test_a_page_that_cannot_be_opened_is_told(stage: Stage) -> None:
    await post(
        stage, "ana", "x", {"type": "section", "text": {"type": "mrkdwn", "text": "<http://localhost:9/signin|x>"}}
    )

    with pytest.raises(NotTrue, match="a page on the way could not be opened"):
        await stage.play("{as: ana, sign_in: {account: ana@contoso.com, with: link}}")
