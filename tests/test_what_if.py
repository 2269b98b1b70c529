"""`/m365-whatif` as people use it: the whole bot against the pretend world, from the command to the answer."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.model import Mode
from bot.what_if_by_hand.drafts import LONGEST_DRAFT, MOST_LISTED
from bot.what_if_by_hand.tables import SHOWN
from sandbox.conditional_access import complete, complete_location
from sandbox.faults import Answer, Rule
from sandbox.slack import Delivery, Message
from tests.stage import HELPDESK, Stage, open_stage

EVERYBODY = {"includeUsers": ["All"]}
EVERYTHING = {"includeApplications": ["All"]}
ANYWHERE_BUT_TRUSTED = {"includeLocations": ["All"], "excludeLocations": ["AllTrusted"]}
EXCHANGE = "00000002-0000-0ff1-ce00-000000000000"
SERVICE = "svc-latchkey@contoso.onmicrosoft.com"


def policy(name: str, *controls: str, state: str = "enabled", session: Any = None, **conditions: Any) -> dict[str, Any]:
    """A policy for everybody and everything, if *conditions* do not say otherwise."""
    grant = {"operator": "OR", "builtInControls": list(controls)} if controls else None
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, name)),
        "displayName": name,
        "state": state,
        "conditions": {"users": EVERYBODY, "applications": EVERYTHING, "clientAppTypes": ["all"], **conditions},
        "grantControls": grant,
        "sessionControls": session,
    }


class Asking:
    """A stage on which what-if is asked about, and time passes meanwhile."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.slack = stage.world.slack

    def has(self, *policies: dict[str, Any]) -> None:
        for each in policies:
            self.stage.world.access.put_policy(complete(each))

    def office(self) -> None:
        """Latchkey's own address is a trusted one."""
        ranges = [{"@odata.type": "#microsoft.graph.iPv4CidrRange", "cidrAddress": "203.0.113.0/24"}]
        office = {"@odata.type": "#microsoft.graph.ipNamedLocation", "displayName": "Office", "ipRanges": ranges}
        self.stage.world.access.put_location(complete_location({**office, "id": "of-fice", "isTrusted": True}))

    async def ask(self, words: str = "", person: str = "ana") -> str:
        before = len(self.slack.ephemerals(person))
        await self.slack.command(person, HELPDESK, f"/m365-whatif {words}")
        return (await self.told(before, person)).visible_text

    async def told(self, before: int, person: str = "ana") -> Message:
        """What is said next to somebody alone. Graph wants a second between two calls."""
        looks = 0
        while not self.slack.ephemerals(person)[before:]:
            looks += 1
            if looks % 50 == 0:
                self.stage.world.clock.advance(1)
            await asyncio.sleep(0)
        return self.slack.ephemerals(person)[-1]

    async def form(self, words: str) -> str:
        await self.slack.command("ana", HELPDESK, f"/m365-whatif {words}")
        return await self.stage.until(lambda: self.slack.modals("ana")[-1].visible_text)

    async def try_out(self, text: str | bytes, person: str = "ana") -> str:
        """Hand a draft over, pasted or as a file, and read the answer."""
        await self.form("draft")
        before = len(self.slack.ephemerals(person))
        sent = await self.hand_over(text)
        assert sent.ack.body == {"response_action": "clear"}, sent.ack.body
        return (await self.told(before, person)).visible_text

    async def hand_over(self, text: str | bytes) -> Delivery:
        as_file = {"A file": [("policy.json", text)], "Or pasted": ""} if isinstance(text, bytes) else {}
        return await self.slack.submit("ana", as_file or {"A file": [], "Or pasted": text})

    async def refused(self, text: str | bytes) -> dict[str, str]:
        """What is said at the fields."""
        body = (await self.hand_over(text)).ack.body
        assert body is not None
        assert body["response_action"] == "errors", body
        errors: dict[str, str] = body["errors"]
        return errors

    def files(self, person: str = "ana") -> list[list[dict[str, str]]]:
        return [
            list(csv.DictReader(io.StringIO(file.content.decode("utf-8-sig"), newline="")))
            for file in self.slack.files(person)
        ]


@pytest.fixture
async def asking(tmp_path: Path) -> AsyncIterator[Asking]:
    async with open_stage(tmp_path, egress_ip="203.0.113.10") as stage:
        yield Asking(stage)


def line(said: str, name: str) -> str:
    """The row of the table that begins with a policy's name."""
    return next(row for row in said.splitlines() if row.startswith(f"{name} | "))


# --- one sign-in ------------------------------------------------------------------------------------------------------


async def test_the_own_account_is_judged_as_it_really_signs_in(asking: Asking) -> None:
    asking.office()
    asking.has(
        policy("MFA for administrators", "mfa", users={"includeRoles": ["fe930be7-5e62-47db-91af-98c3a49a38b1"]}),
        policy("Legacy", "block", clientAppTypes=["other", "exchangeActiveSync"]),
        policy("Block outside", "block", locations=ANYWHERE_BUT_TRUSTED),
        policy("Trial", "block", state="enabledForReportingButNotEnforced"),
        policy("Off", "block", state="disabled"),
        policy("Often", session={"signInFrequency": {"value": 4, "type": "hours", "isEnabled": True}}),
    )

    said = await asking.ask()

    assert f"{SERVICE} would not be signed in: it cannot do what “MFA for administrators” asks for." in said
    assert "It cannot do multifactor authentication, which “MFA for administrators” asks for" in said
    assert "to Microsoft Graph, from 203.0.113.10, through mobile apps and desktop clients" in said
    assert "| on | applies | It is about holders of the role User Administrator" in said
    assert line(said, "Legacy") == "Legacy | on | does not apply | It is about other kinds of client. | –"
    assert "It is about other locations." in line(said, "Block outside")
    assert "It is off." in line(said, "Off")
    assert "sign in again: 4 hours" in said
    assert "Would block: “Trial”." in said
    assert "Says the same of every policy." in said
    assert "What would help: exclude the account from the policy, through a group made for it; or switch to" in said
    assert said.index("MFA for administrators |") < said.index("Legacy |") < said.index("Off |")


async def test_every_option_decides_and_what_is_not_given_cannot_be_told(asking: Asking) -> None:
    asking.office()
    conditions: dict[str, tuple[str, dict[str, Any]]] = {
        "--app exchange": ("the resource", {"applications": {"includeApplications": [EXCHANGE]}}),
        "--ip 198.51.100.77": ("the address", {"locations": ANYWHERE_BUT_TRUSTED}),
        "--client legacy": ("the kind of client", {"clientAppTypes": ["other"]}),
        "--platform windows": ("the platform", {"platforms": {"includePlatforms": ["windows"]}}),
        "--flow device code": ("the way of signing in", {"authenticationFlows": {"transferMethods": "deviceCodeFlow"}}),
        "--device hybrid": (
            "the device",
            {"devices": {"deviceFilter": {"mode": "include", "rule": 'device.trustType -eq "ServerAD"'}}},
        ),
        "--risk high": ("the sign-in risk", {"signInRiskLevels": ["high"]}),
        "--user-risk medium": ("the user risk", {"userRiskLevels": ["medium"]}),
    }
    asking.has(*(policy(option, "mfa", **held) for option, (_, held) in conditions.items()))

    unsaid = await asking.ask("adele@contoso.com")
    said = await asking.ask("adele@contoso.com " + " ".join(conditions))

    for option, (missing, _) in conditions.items():
        assert f"{option} | on | cannot tell | Not known: {missing}" in unsaid
        assert f"{option} | on | applies | " in said, option
    assert "To know of 8 policies more, add" in unsaid
    assert "Not asked: it wants to know what is signed in to" in unsaid
    assert "Says the same of every policy." in said


async def test_actions_and_contexts_and_countries_are_asked_about_as_well(asking: Asking) -> None:
    asking.has(
        policy("Register", "mfa", applications={"includeUserActions": ["urn:user:registersecurityinfo"]}),
        policy("Secrets", "mfa", applications={"includeAuthenticationContextClassReferences": ["c3"]}),
    )
    asking.stage.world.access.add_from_file("country-block.json")

    action = await asking.ask("adele@contoso.com --action register security info --country Brazil")
    context = await asking.ask("adele@contoso.com --action c3 --country United Kingdom")

    assert "to register security information, from BR" in action
    assert "| on | applies |" in line(action, "Register")
    assert "It is about other user actions" not in line(action, "Block sign-ins from other countries")
    assert "| on | applies |" in line(action, "Block sign-ins from other countries")
    assert "| on | applies |" in line(context, "Secrets")
    assert "It is about other locations." in line(context, "Block sign-ins from other countries")


async def test_near_names_are_offered_and_none_is_picked(asking: Asking) -> None:
    asking.has(policy("MFA", "mfa"))

    said = await asking.ask("smith --client browser")

    assert "Who is meant by “smith”?" in said
    before = len(asking.slack.ephemerals("ana"))
    await asking.slack.choose("ana", asking.slack.ephemerals("ana")[-1], "Choose the person", "Jon Smith")
    await asking.stage.until(lambda: "Looking …" in asking.slack.ephemerals("ana")[before - 1].visible_text)
    assert "Jon Smith: Allowed with multifactor authentication." in (await asking.told(before)).visible_text
    assert "Nobody in the directory is called “nobody at all”" in await asking.ask("nobody at all")
    assert "is no application that is known here" in await asking.ask("adele@contoso.com --app frobnicate")


async def test_an_application_that_only_policies_name_goes_by_its_name(asking: Asking) -> None:
    own = asking.stage.world.directory.applications
    app = next(iter(own.values()))
    asking.has(policy("Own", "mfa", applications={"includeApplications": [app.app_id]}))

    said = await asking.ask(f"adele@contoso.com --app {app.name}")

    assert f"to {app.name}" in said
    assert "| on | applies |" in line(said, "Own")


async def test_help_desk_is_refused_and_told_whom_to_ask(asking: Asking) -> None:
    for person in ("olive", "vic"):
        for words in ("", "draft", "--matrix", "form"):
            said = await asking.ask(words, person)
            assert "You may not use `/m365-whatif`" in said
            assert "Ask Audrey Shaw, Ana Ruiz or Bo Lind" in said
    assert not asking.slack.modals("olive")
    assert "Allowed." in await asking.ask("", "audrey")
    rows = await asking.stage.bot.storage.trail.query()
    done = [row for row in rows if row.record.kind == "request.done" and row.record.facts["action"] == "whatif"]
    assert [row.record.facts["sentence"] for row in done] == [f"{SERVICE}: Allowed."]


async def test_nonsense_is_answered_with_a_sentence(asking: Asking) -> None:
    assert "which Microsoft never sees" in await asking.ask("--ip 192.168.0.1")
    assert "Did you mean `--client`?" in await asking.ask("--clint browser")
    assert "Try a policy that nobody has saved yet" in await asking.ask("help")
    assert "Judge somebody else's" in await asking.ask("help", "olive")


async def test_without_an_account_of_its_own_somebody_has_to_be_named(tmp_path: Path) -> None:
    async with open_stage(tmp_path, mode=Mode.DEFAULT) as stage:
        asking = Asking(stage)
        assert "so say whose sign-in is meant" in await asking.ask()
        assert "Adele Vance: Allowed." in await asking.ask("adele@contoso.com")


async def test_an_address_that_nobody_knows_is_told(stage: Stage) -> None:
    asking = Asking(stage)
    asking.has(policy("Outside", "block", locations=ANYWHERE_BUT_TRUSTED))

    said = await asking.ask()

    assert "From which address Latchkey signs in is not known" in said
    assert "Not known: the address." in line(said, "Outside")


# --- beside Microsoft's answer ----------------------------------------------------------------------------------------


async def test_where_microsoft_says_something_else_both_are_shown(asking: Asking) -> None:
    mfa, block = policy("MFA", "mfa"), policy("Block", "block", clientAppTypes=["other"])
    asking.has(mfa, block)
    theirs = [
        {**mfa, "policyApplies": False, "analysisReasons": "users"},
        {**block, "policyApplies": False, "analysisReasons": "clientApps"},
    ]
    rule = Rule("graph", "POST", "*/identity/conditionalAccess/evaluate", Answer(200, {"value": theirs}), times=1)
    asking.stage.world.faults.add(rule)

    said = await asking.ask()

    assert "Differs. It says: “MFA” does not apply (users)." in said
    assert "| on | applies |" in line(said, "MFA")


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("*/identity/conditionalAccess/evaluate", 403, "Not asked: Latchkey’s own identity has no permission"),
        ("*/identity/conditionalAccess/evaluate", 500, "Gave no answer."),
        ("*/identity/conditionalAccess/policies", 403, "Latchkey may not read the tenant’s policies."),
    ],
)
async def test_what_cannot_be_asked_is_told(asking: Asking, path: str, status: int, words: str) -> None:
    error = {"error": {"code": "Authorization_RequestDenied", "message": "no"}}
    asking.stage.world.faults.add(Rule("graph", "*", path, Answer(status, error)))

    assert words in await asking.ask()


# --- long answers -----------------------------------------------------------------------------------------------------


async def test_a_long_table_is_shortened_and_the_whole_comes_as_a_file(asking: Asking) -> None:
    asking.has(*(policy(f"={number:02} off", "block", state="disabled") for number in range(40)), policy("MFA", "mfa"))

    said = await asking.ask()

    assert "MFA | on | applies" in said
    assert "The table is shortened: 21 more rows are in the file." in said
    assert "All 41 rows are in your direct messages as a file." in said
    (rows,) = asking.files()
    assert len(rows) == 41
    assert rows[0]["Policy"] == "MFA"
    assert rows[1]["Policy"] == "'=00 off", "no spreadsheet takes it for a formula"


async def test_a_slack_without_tables_gets_lines(asking: Asking) -> None:
    asking.has(policy("MFA", "mfa"))
    asking.slack.refuses_block("table")

    said = await asking.ask("adele@contoso.com")

    assert "• *MFA*  ·  on  ·  applies  ·  It is about all users, for all resources." in said


# --- the form ---------------------------------------------------------------------------------------------------------


async def test_the_form_asks_the_same_and_its_answer_can_be_changed(asking: Asking) -> None:
    asking.has(policy("Legacy", "block", clientAppTypes=["other"]))
    shown = await asking.form("form adele@contoso.com --country Ireland")
    assert "[adele@contoso.com]" in shown
    assert "[IE]" in shown

    refused = await asking.slack.submit("ana", {"From the address": "10.0.0.1", "In the country": "Ireland"})
    assert "which Microsoft never sees" in (refused.ack.body or {})["errors"]["input:ip"]
    before = len(asking.slack.ephemerals("ana"))
    await asking.slack.submit("ana", {"From the address": "198.51.100.1", "Through": "A browser"})
    answer = await asking.told(before)
    assert "Adele Vance: Allowed." in answer.visible_text
    assert "from 198.51.100.1 (IE), through a browser" in answer.visible_text

    await asking.slack.click("ana", answer, "Change the inputs")
    shown = await asking.stage.until(lambda: asking.slack.modals("ana")[-1].visible_text)
    for held in ("[adele@contoso.com]", "[198.51.100.1]", "[Ireland]", "[A browser]"):
        assert held in shown
    before = len(asking.slack.ephemerals("ana"))
    await asking.slack.submit("ana", {"Through": "Other clients with legacy authentication", "In the country": ""})
    assert "Adele Vance: Blocked by “Legacy”." in (await asking.told(before)).visible_text


async def test_a_choice_can_be_taken_back(asking: Asking) -> None:
    await asking.form("form adele@contoso.com --client legacy --action c5")
    before = len(asking.slack.ephemerals("ana"))

    await asking.slack.submit("ana", {"Through": "Not said"})

    said = (await asking.told(before)).visible_text
    assert "Adele Vance, to what is marked c5" in said
    assert "through" not in said


# --- a draft ----------------------------------------------------------------------------------------------------------


async def test_a_draft_is_tried_before_anybody_saves_it(asking: Asking) -> None:
    asking.office()
    before = asking.stage.world.access.policies()
    draft = policy("Only from the office", "block", state="disabled", locations=ANYWHERE_BUT_TRUSTED)

    said = await asking.try_out(json.dumps({**draft, "id": None}))

    assert "“Only from the office” would change 40 of the 80 sign-ins that were tried." in said
    assert "go on as before" in said
    assert "nothing: it is a new policy" in said
    assert f"{SERVICE} (Latchkey’s own), Ana Ruiz (ana@contoso.com), Audrey Shaw" in said
    assert (
        "Olive Hart | Microsoft Graph | outside, 192.0.2.1 (BR) | browser, mobile, activesync, legacy | "
        "allowed | blocked"
    ) in said.replace("Microsoft Graph; Office 365 Exchange Online", "Microsoft Graph")
    assert "inside, 203.0.113.10 |" not in said
    assert "• Only from anywhere except all trusted locations." in said
    assert "It was judged as if it were on." in said
    assert asking.stage.world.access.policies() == before


async def test_a_draft_that_would_lock_latchkey_out_says_so(asking: Asking) -> None:
    asking.has(policy("MFA for all", "mfa", clientAppTypes=["browser"]))
    draft = policy("MFA for all", "mfa")

    said = await asking.try_out(json.dumps([{**draft, "id": "another"}]).encode("utf-8-sig"))

    assert f"would fail: {SERVICE} cannot do multifactor authentication, which “MFA for all” asks for" in said
    assert "“MFA for all”, which the tenant has" in said
    assert "Ana Ruiz | Microsoft Graph" in said
    assert "mobile, activesync, legacy | allowed | allowed with multifactor authentication" in said


async def test_a_draft_brings_its_locations_and_is_tried_on_what_it_is_about(asking: Asking) -> None:
    place = {"@odata.type": "#microsoft.graph.countryNamedLocation", "id": "new", "displayName": "Far away"}
    draft = policy(
        "Sign again",
        session={"signInFrequency": {"value": 1, "type": "hours", "isEnabled": True}},
        applications={"includeApplications": ["MicrosoftAdminPortals"]},
        locations={"includeLocations": ["new"]},
        platforms={"includePlatforms": ["linux"]},
    )
    body = {"policies": [draft], "namedLocations": [{**place, "countriesAndRegions": ["US", "JP"]}]}

    assert "cannot tell: the country is not known" in await asking.try_out(json.dumps(body))
    await asking.stage.ask("ana", "/m365-session on")  # the sign-in log then knows it
    said = await asking.try_out(json.dumps(body).encode("utf-16"))

    assert "would change none of the 80 sign-ins" in said
    body["namedLocations"] = [{**place, "countriesAndRegions": [], "includeUnknownCountriesAndRegions": True}]
    said = await asking.try_out(
        json.dumps(
            {
                **body,
                "policies": [
                    {
                        **draft,
                        "conditions": {
                            **draft["conditions"],
                            "locations": {"includeLocations": ["All"], "excludeLocations": ["new"]},
                        },
                    }
                ],
            }
        )
    )
    assert "Azure portal, Entra and Intune admin centers" in said
    assert "allowed, with the session limited (sign in again: 1 hours)" in said
    assert "Only from anywhere except Far away." in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "This is not JSON."),
        ("[]", "Give one policy at a time: here are 0."),
        ("[{}, {}]", "Give one policy at a time: here are 2."),
        ("{}", "says neither who or what it is about"),
        ('{"displayName": 3}', "`displayName` is not a text."),
        ('{"displayName": "X", "conditions": {"users": "me"}}', "Policy “X”, `conditions`: `users` is not an object."),
        ('"text"', "The policy is not a JSON object."),
        ("[" * 2900, "This is not JSON."),
    ],
)
async def test_a_draft_that_cannot_be_read_is_refused_at_its_field(stage: Stage, text: str, words: str) -> None:
    asking = Asking(stage)
    await asking.form("draft")

    assert words in (await asking.refused(text))["pasted"]
    assert words in (await asking.refused(text.encode()))["file"]


async def test_a_draft_that_would_cost_too_much_to_try_is_refused(stage: Stage) -> None:
    asking = Asking(stage)
    ids = [str(uuid.UUID(int=number)) for number in range(MOST_LISTED)]
    for draft, words in (
        (policy("Everybody", "block", users={"includeUsers": ids}), "hold more than 1,000 entries"),
        (policy("Everything", *(f"control{number}" for number in range(51))), "more than 50 grant controls"),
    ):
        await asking.form("draft")
        assert words in (await asking.refused(json.dumps(draft).encode()))["file"]


async def test_what_only_stands_for_an_id_in_a_draft_is_nobody(asking: Asking) -> None:
    asked = len(asking.stage.world.graph.requests)
    actions = [f"urn:user:action{number}" for number in range(40)]
    users = {"includeUsers": ["All"], "excludeGroups": ["<break-glass>", "../../users", "$ref"]}
    said = await asking.try_out(json.dumps(policy("Template", "block", users=users)))
    assert "“Template” would change 80 of the 80 sign-ins" in said

    said = await asking.try_out(json.dumps(policy("Actions", "block", applications={"includeUserActions": actions})))
    assert "of the 160 sign-ins" in said
    paths = [seen.path for seen in asking.stage.world.graph.requests[asked:]]
    assert not [path for path in paths if "MemberGroups" in path or "transitiveMembers" in path]


async def test_a_file_is_taken_from_slack_only_and_only_if_it_is_small(asking: Asking) -> None:
    await asking.form("draft")
    assert "Hand over a file, or paste the policy." in (await asking.refused(""))["pasted"]
    assert "is too large" in (await asking.refused(b" " * (4 * LONGEST_DRAFT + 1)))["file"]
    assert "too long for a policy" in (await asking.refused(b" " * (LONGEST_DRAFT + 1)))["file"]
    assert "no text in UTF-8" in (await asking.refused(b"\xff\xff"))["file"]
    asking.stage.world.faults.add(Rule("slack", "GET", "/files-pri/*", Answer(503), times=1))
    assert "did not hand the file over in time" in (await asking.refused(b"{}"))["file"]
    busy = Answer(429, None, {"Retry-After": "1"})
    asking.stage.world.faults.add(Rule("slack", "GET", "/files-pri/*", busy, times=1))
    assert "did not hand the file over in time" in (await asking.refused(b"{}"))["file"]
    asking.stage.world.faults.add(Rule("slack", "GET", "/files-pri/*", Answer(302, None, {"Location": "/x"}), times=1))
    assert "needs the scope files:read" in (await asking.refused(b"{}"))["file"]

    fetched = len(asking.slack.calls("url_private"))
    view = asking.slack.modals("ana")[-1]
    elsewhere = {"type": "file_input", "files": [{"id": "F1", "name": "x", "url_private": "http://127.0.0.1:9/x"}]}
    asking.slack.hold("ana", view, {"file": {"whatif.value": elsewhere}})
    refused = await asking.slack.submit("ana", {})
    assert "did not hand the file over" in (refused.ack.body or {})["errors"]["file"]
    assert len(asking.slack.calls("url_private")) == fetched


async def test_without_the_scope_for_files_a_draft_can_be_pasted(asking: Asking) -> None:
    asking.slack.refuses_block("file_input")
    shown = await asking.form("draft")
    assert "A file" not in shown
    assert "install the app again with the scope files:read" in shown

    before = len(asking.slack.ephemerals("ana"))
    await asking.slack.submit("ana", {"Pasted": json.dumps(policy("Legacy", "block", clientAppTypes=["other"]))})

    said = (await asking.told(before)).visible_text
    assert "| legacy | allowed | blocked" in said


# --- the matrix -------------------------------------------------------------------------------------------------------


async def test_the_matrix_compares_accounts_applications_addresses_and_clients(asking: Asking) -> None:
    asking.office()
    asking.has(
        policy('=HYPERLINK("http://x")', "block", clientAppTypes=["other"]),
        policy("Compliant", "compliantDevice", applications={"includeApplications": [EXCHANGE]}),
        policy("Windows", "mfa", platforms={"includePlatforms": ["windows"]}),
        policy("Outside", "block", locations=ANYWHERE_BUT_TRUSTED, users={"includeUsers": ["All"]}),
    )

    said = await asking.ask("--matrix")

    assert "160 sign-ins were judged by 4 policies." in said
    head, *rows = [row for row in said.splitlines() if " | " in row]
    assert head.startswith("Account | From | Microsoft Graph | Office 365 Exchange Online | ")
    assert rows[0].startswith(
        f"{SERVICE} | inside, 203.0.113.10 | browser, mobile, activesync: allowed; legacy: blocked | "
        "browser, mobile, activesync: stopped: lacks a compliant device; legacy: blocked | "
    )
    everybody = "Ana Ruiz, Audrey Shaw, Bo Lind, Olive Hart"
    assert rows[1].startswith(f"{SERVICE}, {everybody} | outside, 192.0.2.1 (BR) | blocked | blocked | ")
    assert f"{everybody} | inside, 203.0.113.10 | browser, mobile, activesync: allowed ?; legacy: blocked | " in said
    (found,) = asking.files()
    assert len(found) == 160
    ana = next(row for row in found if row["account"] == "Ana Ruiz" and row["client"] == "legacy")
    assert ana["decision"] == "block"
    assert ana["policies"] == '\'=HYPERLINK("http://x")'
    assert ana["cannot_tell"] == "Windows"
    own = next(row for row in found if row["account"] == SERVICE and row["application"].endswith("Exchange Online"))
    assert (own["decision"], own["asks_for"]) == ("blocked", "a compliant device")


async def test_what_is_compared_can_be_said(asking: Asking) -> None:
    asking.has(policy("Legacy", "block", clientAppTypes=["other"]))

    said = await asking.ask(
        "adele@contoso.com, alex@contoso.com --app exchange, teams --ip 198.51.100.1, 203.0.113.10 "
        "--client browser, legacy --platform windows --matrix"
    )

    assert "16 sign-ins were judged by 1 policy." in said
    (found,) = asking.files()
    assert {row["account"] for row in found} == {"Adele Vance", "Alex Wilber"}
    assert {row["client"] for row in found} == {"browser", "legacy"}
    assert {row["address"] for row in found} == {"198.51.100.1", "203.0.113.10"}
    assert {row["application"] for row in found} == {"Office 365 Exchange Online", "Microsoft Teams"}
    assert "“smith” could be " in await asking.ask("smith, adele@contoso.com --matrix")
    assert "At most 25 accounts" in await asking.ask(", ".join(f"x{number}" for number in range(26)) + " --matrix")


async def test_an_answer_stands_where_slack_takes_no_file(asking: Asking) -> None:
    asking.stage.world.faults.add(Rule("slack", "*", "/files.getUploadURLExternal", Answer(500)))

    said = await asking.ask("adele@contoso.com --matrix")

    assert "could not be sent as a file. Slack did not take the file." in said
    assert "Adele Vance | inside" in said
    assert SHOWN < 100
