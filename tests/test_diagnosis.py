"""Why a sign-in of the service identity was refused: what is found out about it, and what happens where it is not."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.conditional_access import READS_LOGS
from bot.diagnosis import Blocked, can_be_diagnosed
from bot.errors import NotAsked, Retry, SessionNotOpened, SignInCategory, SignInFailed, VaultProblem
from bot.model import Identity, IdentityKind, Secret
from sandbox.directory import SERVICE_ACCOUNT
from sandbox.faults import Answer, Rule
from tests.policies import Office, open_office, policy

REFUSED = Answer(403, {"error": {"code": "Authorization_RequestDenied", "message": "no"}})
TOO_MANY = Answer(429, {"error": {"code": "TooManyRequests", "message": "no"}})


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with open_office(tmp_path) as opened:
        yield opened


# --- Each cause -------------------------------------------------------------------------------------------------------


async def test_mfa_for_admins_is_named_with_why_it_applies_who_added_it_and_what_helps(office: Office) -> None:
    office.add("country-block", always=True)
    office.tenant.move("203.0.113.10", "GB")
    await office.signs_in()
    office.add("mfa-for-admins")

    found = await office.blocked()

    assert found.headline == "Blocked by “MFA for all admins”"
    assert found.code == 50079
    (cause,) = found.causes
    assert cause.asks == "demands multifactor authentication"
    assert "User Administrator" in cause.why
    assert (cause.changed_by, cause.change) == ("Gary Admin", "It was added.")
    assert cause.changed_at is not None
    assert cause.address_helps
    assert f"Leave {SERVICE_ACCOUNT} out" in cause.remedies[0]
    assert "act as an application" in cause.remedies[-1]
    assert "“MFA for all admins”" in found.logged
    assert found.microsoft == "Microsoft's own what-if says the same of every policy."
    assert (found.not_known, found.changes, found.differences) == ((), (), ())


@pytest.mark.parametrize(
    ("shipped", "name", "code", "asks", "why"),
    [
        ("country-block", "Block sign-ins from other countries", 53003, "blocks the sign-in", "Countries we work in"),
        ("compliant-device", "Require a compliant device", 53000, "demands a compliant device", "all users"),
        ("block-outside-office", "Block sign-ins from outside the offices", 53003, "blocks the sign-in", "Offices"),
    ],
)
async def test_each_kind_of_policy_is_found(
    office: Office, shipped: str, name: str, code: int, asks: str, why: str
) -> None:
    office.add(shipped)
    found = await office.blocked()

    assert (found.headline, found.code) == (f"Blocked by “{name}”", code)
    (cause,) = found.causes
    assert (cause.asks, cause.certain) == (asks, True)
    assert why in cause.why


async def test_a_block_of_legacy_clients_is_found_by_what_the_sign_in_log_says(office: Office) -> None:
    """As which kind of client a sign-in with user name and password counts, only the log tells."""
    office.tenant.password_client = "other"
    office.add("legacy-clients-blocked")
    found = await office.blocked()

    assert found.headline == "Blocked by “Block legacy clients”"
    assert "clients with legacy authentication" in found.signed_in_as
    assert any("kind of client" in remedy for remedy in found.causes[0].remedies)


async def test_before_the_log_has_it_a_policy_about_clients_is_only_perhaps_the_cause(office: Office) -> None:
    office.tenant.password_client, office.tenant.log_delay = "other", 300.0
    office.add("legacy-clients-blocked")
    found = await office.blocked()

    assert found.headline == "Perhaps blocked by “Block legacy clients”"
    assert not found.causes[0].certain
    assert "the kind of client" in found.causes[0].why
    assert found.logged == ""


async def test_security_defaults_and_per_user_mfa_are_named_although_they_are_no_policies(office: Office) -> None:
    office.tenant.switch_security_defaults(enabled=True)
    found = await office.blocked()

    assert (found.headline, found.code) == ("Blocked by security defaults", 530035)
    assert (found.causes[0].changed_by, found.causes[0].address_helps) == ("Gary Admin", False)

    office.tenant.switch_security_defaults(enabled=False)
    office.tenant.set_per_user_mfa(SERVICE_ACCOUNT, "enforced")
    found = await office.blocked()

    assert found.headline == "Blocked by per-user multifactor authentication"
    assert found.code == 50079
    assert "Set per-user MFA" in found.causes[0].remedies[0]


async def test_of_several_the_one_that_refused_is_first(office: Office) -> None:
    office.add("mfa-for-admins", "compliant-device", always=True)
    office.tenant.set_per_user_mfa(SERVICE_ACCOUNT, "enabled")
    office.add("country-block")
    found = await office.blocked()

    assert found.headline == "Blocked by “Block sign-ins from other countries” and 3 more"
    assert found.causes[0].blocks


async def test_report_only_policies_that_would_block_are_told_beside(office: Office) -> None:
    office.add("mfa-for-admins", "report-only-block")
    found = await office.blocked()

    assert [cause.policy for cause in found.causes] == ["MFA for all admins"]
    (coming,) = found.report_only
    assert coming.policy == "Block everything outside the offices (trial)"
    assert "203.0.113.10" in coming.remedies[0]


async def test_a_wrong_password_is_no_question_for_policies(office: Office) -> None:
    office.add("mfa-for-admins")
    failed = await office.refused(password=Secret("Wrong-Password-1"))
    asked = len(office.asked())

    assert failed.category is SignInCategory.CREDENTIALS
    assert await office.diagnosis.of(failed, office.identity) is None
    assert await office.diagnosis.of(SessionNotOpened(failed), office.identity) is None
    assert len(office.asked()) == asked


@pytest.mark.parametrize(
    "error",
    [
        NotAsked("Another one might lock it."),
        VaultProblem("It is away.", reason="unreachable"),
        SignInFailed("It is locked.", category=SignInCategory.ACCOUNT_STATE, retry=Retry.WAIT, what_if_helps=True),
    ],
)
def test_what_has_nothing_to_do_with_policies_is_not_looked_into(error: Any) -> None:
    assert can_be_diagnosed(error) is None
    assert can_be_diagnosed(SessionNotOpened(error)) is None


async def test_nothing_is_asked_where_nobody_knows_who_signed_in(office: Office) -> None:
    office.add("mfa-for-admins")
    assert await office.diagnosis.of(await office.refused(), None) is None


async def test_an_address_that_has_changed_is_thought_of_before_the_log_has_the_sign_in(office: Office) -> None:
    office.add("block-outside-office", always=True)
    office.tenant.move("203.0.113.10", "IE")
    (place,) = office.tenant.locations()
    ours = {"@odata.type": "#microsoft.graph.iPv4CidrRange", "cidrAddress": "203.0.113.10/32"}
    office.tenant.put_location({**place, "ipRanges": [ours]})
    await office.signs_in()
    office.contoso.servers.directory.clock.advance(600)
    office.tenant.move("203.0.113.77", "IE")
    office.tenant.log_delay = 300.0
    found = await office.blocked()

    assert found.headline == "Perhaps blocked by “Block sign-ins from outside the offices”"
    assert "the address" in found.causes[0].why
    assert any("203.0.113.10 is assumed" in sentence for sentence in found.not_known)


async def test_what_the_log_cannot_name_is_first_where_only_that_fits_what_microsoft_said(office: Office) -> None:
    office.add("compliant-device")
    office.tenant.set_per_user_mfa(SERVICE_ACCOUNT, "enforced")
    found = await office.blocked()

    assert found.code == 50079
    assert found.headline == "Blocked by per-user multifactor authentication and 1 more"


# --- What has changed -------------------------------------------------------------------------------------------------


async def test_what_changed_since_the_last_good_sign_in_is_told_of_the_cause_and_of_the_rest(office: Office) -> None:
    office.add("report-only-block", policy("Old rule", state="disabled"), always=True)
    await office.signs_in()
    office.tenant.edit("report-only-block", state="enabled")
    office.tenant.remove("Old rule")
    office.add(policy("Trial", state="disabled"))

    found = await office.blocked()

    assert [cause.change for cause in found.causes] == ["It was switched on (it only reported before)."]
    assert found.changes == ("“Old rule” was deleted, by Gary Admin.", "“Trial” was added, by Gary Admin.")
    assert found.well_at is not None


async def test_an_account_that_never_signed_in_has_nothing_to_compare_with(office: Office) -> None:
    office.add("mfa-for-admins")
    found = await office.blocked()

    assert found.well_at is None
    assert found.causes[0].change == ""
    assert any(sentence.startswith("What has changed: not known.") for sentence in found.not_known)


async def test_a_location_that_let_latchkey_pass_and_was_changed_is_told_with_its_policy(tmp_path: Path) -> None:
    async with open_office(tmp_path) as office:
        office.add("country-block", always=True)
        office.tenant.move("203.0.113.10", "GB")
        await office.signs_in()
        (place,) = office.tenant.locations()
        office.tenant.put_location({**place, "countriesAndRegions": ["DE"]})

        (cause,) = (await office.blocked()).causes

        assert cause.change == "The named location “Countries we work in”, which it names, got other countries."


# --- What cannot be read ----------------------------------------------------------------------------------------------


async def test_without_the_right_to_read_policies_it_says_so_and_all_else_is_told(office: Office) -> None:
    office.may_no_longer("Policy.Read.All")
    office.add("mfa-for-admins")
    found = await office.blocked()

    assert found.headline == "Microsoft refused the sign-in"
    assert "multifactor" in found.error
    assert found.causes == ()
    assert found.not_known[0].startswith("The policies")
    assert found.not_known[0].endswith(
        ": not known. Latchkey's own identity may not read them; it needs Policy.Read.All."
    )
    assert not office.asked("evaluate")


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/identity/conditionalAccess/policies", "The policies"),
        ("/identity/conditionalAccess/namedLocations", "The policies"),
        ("/auditLogs/signIns", "The sign-in log"),
        ("/auditLogs/directoryAudits", "Who changed the policies"),
        ("/policies/*", "Security defaults"),
        ("*authentication/requirements", "Per-user MFA"),
        ("*transitiveMemberOf", "Groups and roles of the account"),
        ("/identity/conditionalAccess/evaluate", "Microsoft's own what-if"),
    ],
)
@pytest.mark.parametrize("answer", [REFUSED, Answer(200, {"value": 7}), Answer(500, {})], ids=["no", "odd", "down"])
async def test_each_read_that_fails_costs_only_its_own_part(
    office: Office, path: str, what: str, answer: Answer
) -> None:
    office.add("country-block")
    office.contoso.servers.faults.add(Rule("graph", "*", path, answer))
    found = await office.blocked()

    assert [sentence for sentence in found.not_known if sentence.startswith(f"{what}: not known.")], found.not_known
    if what != "The policies":
        assert found.causes[0].policy == "Block sign-ins from other countries"
    assert Blocked.from_json(json.loads(json.dumps(found.to_json()))) == found


async def test_a_tenant_without_the_licence_is_not_told_of_a_permission(office: Office) -> None:
    free = {"error": {"code": "Authentication_RequestFromNonPremiumTenantOrB2CTenant", "message": "no"}}
    office.contoso.servers.faults.add(Rule("graph", "GET", "/auditLogs/signIns", Answer(403, free)))
    office.add("mfa-for-admins")
    found = await office.blocked()

    (said,) = (sentence for sentence in found.not_known if sentence.startswith("The sign-in log"))
    assert "no licence" in said
    assert READS_LOGS not in said


async def test_what_a_policy_of_another_shape_says_is_not_guessed(office: Office) -> None:
    odd = Answer(200, {"value": [{"id": "1", "displayName": "Odd", "state": "enabled", "conditions": []}, 7]})
    office.contoso.servers.faults.add(Rule("graph", "GET", "/identity/conditionalAccess/policies", odd))
    office.add("country-block")

    assert (await office.blocked()).causes == ()


async def test_without_an_address_a_policy_about_places_is_only_perhaps_the_cause(office: Office) -> None:
    office.may_no_longer("AuditLog.Read.All")
    office.add("country-block")
    found = await office.blocked()

    assert found.headline == "Perhaps blocked by “Block sign-ins from other countries”"
    assert any("LATCHKEY_EGRESS_IP" in sentence for sentence in found.not_known)


async def test_an_address_that_is_configured_wrongly_is_found_out(tmp_path: Path) -> None:
    async with open_office(tmp_path, egress="198.51.100.20") as office:
        office.add("block-outside-office")
        found = await office.blocked()

        assert "203.0.113.10" in found.signed_in_as
        assert "LATCHKEY_EGRESS_IP says 198.51.100.20: correct it." in found.logged


# --- Microsoft's own what-if ------------------------------------------------------------------------------------------


async def test_where_microsoft_judges_differently_both_are_told_and_the_log_has_the_inputs(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    office.add("country-block", "mfa-for-admins")
    told = [
        {**each, "policyApplies": applies, "analysisReasons": reasons}
        for each, applies, reasons in zip(
            office.tenant.policies(), (True, False), ("notSet", "users, location"), strict=True
        )
    ]
    rule = Rule("graph", "POST", "/identity/conditionalAccess/evaluate", Answer(200, {"value": told}))
    office.contoso.servers.faults.add(rule)
    with caplog.at_level(logging.WARNING, "bot.conditional_access"):
        found = await office.blocked()

    assert found.differences == (
        "“MFA for all admins”: Latchkey says that it applies, Microsoft's own what-if that it does not apply "
        "(users, location).",
    )
    assert found.microsoft == ""
    (line,) = (record for record in caplog.records if "differently" in record.message)
    asked = json.loads(vars(line)["asked"])
    assert asked["signInConditions"]["ipAddress"] == "203.0.113.10"
    assert asked["signInIdentity"]["userId"] == office.identity.id
    assert (vars(line)["ours"], vars(line)["theirs"]) == (True, False)
    assert office.contoso.password.reveal() not in json.dumps(found.to_json()) + str(vars(line))


async def test_a_policy_of_which_only_microsoft_says_that_it_applies_is_told_as_perhaps(office: Office) -> None:
    office.add(
        policy(
            "Only for Ana", users={"includeUsers": [office.contoso.servers.directory.user("ana.admin@contoso.com").id]}
        )
    )
    office.tenant.set_per_user_mfa(SERVICE_ACCOUNT, "enabled")
    (ours,) = office.tenant.policies()
    answer = Answer(200, {"value": [{**ours, "policyApplies": True, "analysisReasons": "notSet"}]})
    office.contoso.servers.faults.add(Rule("graph", "POST", "/identity/conditionalAccess/evaluate", answer))
    found = await office.blocked()

    assert found.headline == "Blocked by per-user multifactor authentication"
    assert len(found.differences) == 1
    assert any("“Only for Ana”: may refuse it, too" in sentence for sentence in found.not_known)


async def test_a_throttled_what_if_is_waited_for_and_then_done_without(office: Office) -> None:
    office.add("country-block")
    rule = Rule("graph", "POST", "/identity/conditionalAccess/evaluate", TOO_MANY)
    office.contoso.servers.faults.add(rule)
    found = await office.blocked()

    assert found.causes[0].policy == "Block sign-ins from other countries"
    assert any(sentence.startswith("Microsoft's own what-if: not known.") for sentence in found.not_known)
    assert 1 < len(office.asked("evaluate")) < 8


# --- Other identities -------------------------------------------------------------------------------------------------


async def test_an_application_is_reached_only_by_policies_for_service_principals(office: Office) -> None:
    worker = office.contoso.servers.directory.applications["worker"]
    office.add("mfa-for-admins", "country-block")
    principals = {"includeServicePrincipals": [worker.principal_id]}
    office.add(policy("No applications", users={"includeUsers": ["None"]}, clientApplications=principals))
    failed = SignInFailed(
        "A Conditional Access policy blocks the sign-in.",
        category=SignInCategory.CONDITIONAL_ACCESS,
        retry=Retry.AFTER_FIX,
        code=53003,
    )
    identity = Identity(IdentityKind.APPLICATION, worker.principal_id, "Latchkey worker")
    found = await office.diagnosis.of(failed, identity)

    assert found is not None
    assert found.headline == "Blocked by “No applications”"
    assert [cause.remedies for cause in found.causes] == [("Leave Latchkey worker out of the policy.",)]
    assert not office.asked("signIns")
    assert not office.asked("requirements")

    managed = replace(identity, kind=IdentityKind.MANAGED_IDENTITY)
    found = await office.diagnosis.of(failed, managed)
    assert found is not None
    assert found.causes == ()
