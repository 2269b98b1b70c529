"""`latchkey doctor`: a line for each thing an installation needs, with what to do where something is missing."""

from pathlib import Path

import pytest

from bot.doctor import Line
from bot.model import Mode
from bot.wiring import examine
from sandbox.directory import SERVICE_ACCOUNT
from sandbox.faults import Answer, Rule
from tests.stage import Stage, open_stage

SCOPES = ("commands", "chat:write")


async def lines(stage: Stage, *scopes: str) -> dict[str, Line]:
    return {line.what: line async for line in examine(stage.config, scopes or SCOPES)}


async def test_a_sound_installation_has_nothing_to_put_right(stage: Stage) -> None:
    found = await lines(stage)

    assert [line for line in found.values() if not line.well] == []
    assert list(found) == [
        "Slack", "Key Vault", "Bot identity", "Operators", "Entra licence", "Service identity", "Rotation",
        "Protection", "What-if", "Next sign-in", "Sign-in", "Audit trail",
    ]  # fmt: skip


async def test_default_mode_needs_no_service_identity_and_a_way_for_people_to_sign_in(tmp_path: Path) -> None:
    async with open_stage(tmp_path, mode=Mode.DEFAULT, signin_client_id="") as stage:
        found = await lines(stage)

        assert found["Service identity"].well
        assert "LATCHKEY_SIGNIN_CLIENT_ID" in found["Sign-in"].remedy


async def test_a_missing_scope_is_named(stage: Stage) -> None:
    assert "reactions:write" in (await lines(stage, "commands", "reactions:write"))["Slack"].remedy


@pytest.mark.parametrize(
    ("fault", "what", "remedy"),
    [
        ("slack-down", "Slack", "LATCHKEY_SLACK_BOT_TOKEN"),
        ("vault-forbidden", "Key Vault", "Key Vault Secrets Officer"),
        ("wrong-password", "Service identity", "password"),
        ("policy-blocks-service-account", "Service identity", "/m365-whatif"),
    ],
)
async def test_what_is_broken_is_said_with_its_remedy_and_the_rest_is_still_looked_at(
    stage: Stage, fault: str, what: str, remedy: str
) -> None:
    stage.world.faults.start(fault)
    found = await lines(stage)

    assert remedy in found[what].remedy
    assert found["Audit trail"].well


@pytest.mark.parametrize(
    ("path", "answer", "remedy"),
    [
        ("/users*", Answer(403, {"error": {"code": "Authorization_RequestDenied", "message": "no"}}), "User.Read.All"),
        ("/users", Answer(200, {"value": [{"id": "1", "accountEnabled": None}]}), "User.Read.All"),
        ("/groups*", Answer(403, {"error": {"code": "Authorization_RequestDenied", "message": "no"}}), "GroupMember"),
    ],
)
async def test_a_bot_that_cannot_see_who_has_left_is_told_what_it_needs(
    stage: Stage, path: str, answer: Answer, remedy: str
) -> None:
    stage.world.faults.add(Rule("graph", "GET", path, answer))

    assert remedy in (await lines(stage))["Operators"].remedy


async def test_an_identity_that_cannot_read_roles_is_told_which_role_it_lacks(stage: Stage) -> None:
    refusal = Answer(403, {"error": {"code": "Authorization_RequestDenied", "message": "no"}})
    stage.world.faults.add(Rule("graph", "GET", "/roleManagement/directory/roleEligibility*", refusal))

    assert "Security Reader" in (await lines(stage))["Protection"].remedy


@pytest.mark.parametrize(
    ("path", "found", "remedy"),
    [
        ("/identity/*", "policies cannot be read", "Policy.Read.All"),
        ("/auditLogs/*", "not who changed them", "AuditLog.Read.All"),
        ("/auditLogs/signIns*", "is not known", "LATCHKEY_EGRESS_IP"),
    ],
)
async def test_what_keeps_it_from_being_said_which_policy_blocks_is_put_right(
    stage: Stage, path: str, found: str, remedy: str
) -> None:
    refusal = Answer(403, {"error": {"code": "Authorization_RequestDenied", "message": "no"}})
    stage.world.faults.add(Rule("graph", "GET", path, refusal))
    line = (await lines(stage))["What-if"]

    assert found in line.found
    assert remedy in line.remedy


async def test_a_missing_directory_role_is_named_with_the_actions_that_need_it(stage: Stage) -> None:
    account = stage.world.directory.user(SERVICE_ACCOUNT).id
    for role in ("Groups Administrator", "User Administrator"):
        stage.world.directory.unassign_role(account, role)
    found = (await lines(stage))["Service identity"]

    assert "add-to-group" in found.found
    assert "Groups Administrator" in found.remedy


async def test_what_keeps_the_rotation_from_going_by_itself_is_said_with_its_remedy(stage: Stage) -> None:
    """Its own line, which says how old the password is and when it is changed next as long as all is well."""
    vault, secret = stage.world.vault, "latchkey-service-account"
    found = (await lines(stage))["Rotation"]
    assert found.well
    assert "old; changed next" in found.found

    password = stage.world.directory.password_of(SERVICE_ACCOUNT)
    vault.put(secret, "Waits-For-Nobody-1", tags={"state": "pending", "account": SERVICE_ACCOUNT})
    assert "/m365-rotate now" in (await lines(stage))["Rotation"].remedy

    vault.put(secret, "Switched-Off-1", tags={"state": "current", "account": SERVICE_ACCOUNT}).enabled = False
    vault.put(secret, password, tags={"state": "current", "account": SERVICE_ACCOUNT})
    assert "Enable it again in Key Vault" in (await lines(stage))["Rotation"].remedy


async def test_a_tenant_that_locks_accounts_sooner_is_told_to_latchkey(stage: Stage) -> None:
    rules = {"displayName": "Password Rule Settings", "values": [{"name": "LockoutThreshold", "value": "5"}]}
    stage.world.faults.add(Rule("graph", "GET", "/groupSettings", Answer(200, {"value": [rules]})))

    assert "LATCHKEY_LOCKOUT_THRESHOLD=5" in (await lines(stage))["Rotation"].remedy


async def test_a_policy_that_will_keep_the_service_account_out_is_named_before_it_does(stage: Stage) -> None:
    """Also one that only reports so far, with what to do about it."""
    assert "no policy keeps" in (await lines(stage))["Next sign-in"].found
    stage.world.access.add_from_file("mfa-for-admins.json")
    name = stage.world.access.policies()[-1]["displayName"]
    stage.world.access.edit(name, state="enabledForReportingButNotEnforced")
    found = (await lines(stage))["Next sign-in"]

    assert f"The policy “{name}” would stop sessions once it is on" in found.found
    assert "exclude the account" in found.remedy


async def test_in_default_mode_there_is_nothing_to_rotate(tmp_path: Path) -> None:
    async with open_stage(tmp_path, mode=Mode.DEFAULT) as stage:
        assert "no password to rotate" in (await lines(stage))["Rotation"].found
