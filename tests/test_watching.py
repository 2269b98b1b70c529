"""What stops sessions while nobody rotates anything: alerted of once, and closed when it is well again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from bot.alerts import Alerts
from bot.canary import Canary
from bot.conditional_access import Change, TenantPolicies
from bot.directory_roles import GLOBAL_ADMINISTRATOR, GROUPS_ADMINISTRATOR, SECURITY_READER, USER_ADMINISTRATOR
from bot.errors import (
    ConfigurationError,
    GraphProblem,
    LatchkeyError,
    NotAsked,
    Retry,
    SignInCategory,
    SignInFailed,
    VaultProblem,
)
from bot.identities import ServiceIdentity, Show
from bot.microsoft.certificates import EntraCertificates
from bot.model import (
    Alert,
    Author,
    Cause,
    CredentialKind,
    Identity,
    IdentityKind,
    Mode,
    Operator,
    Origin,
    Request,
    RequestState,
    RotationRecord,
    RotationState,
    Secret,
    Severity,
    SlackUser,
    TenantSettings,
    Trigger,
)
from bot.ports import RotationStatus, SecretVersion, Token
from bot.rotation_words import trouble
from bot.watching import EVERY, FIRST, SETTLES, SOON, Watching
from bot.whatif.apps import GRAPH
from bot.whatif.evaluation import PolicySet
from bot.whatif.locations import read_address, read_locations
from bot.whatif.policies import read_policies
from bot.whatif.signins import Applications, Conditions, Person, SignIn
from storage.alerts import Alerts as Incidents
from storage.audit import AuditTrail
from storage.database import Database
from storage.operators import Operators
from storage.outbox import Outbox
from storage.settings import Settings
from storage.watching import Watched
from tests.clock import T0, ManualClock
from tests.tenant import NOBODY, PaperTenant, refused
from tests.whatif.small import BLOCK, OFFICE, raw_policy

SHELL = Author(login="test")
ANA = Operator("ana", SlackUser("T1", "UANA"), name="Ana Ruiz")
ACCOUNT_ID, UPN = "459f7821-4a0a-40d0-adb1-e0b6c92bfdd7", "svc-latchkey@contoso.onmicrosoft.com"
USER = f"users/{ACCOUNT_ID}"
ROLES = f"{USER}/transitiveMemberOf/microsoft.graph.directoryRole"
HELD = (USER_ADMINISTRATOR, GROUPS_ADMINISTRATOR, SECURITY_READER)
SECRET = "latchkey-service-account"
DAY = 86400
NEVER = datetime(2099, 1, 1, tzinfo=UTC)


def sign_in_failed(code: int, category: SignInCategory) -> SignInFailed:
    return SignInFailed("It was refused. Do something.", category=category, retry=Retry.AFTER_FIX, code=code)


WRONG = sign_in_failed(50126, SignInCategory.CREDENTIALS)
DISABLED = sign_in_failed(50057, SignInCategory.ACCOUNT_STATE)
BLOCKED = sign_in_failed(53003, SignInCategory.CONDITIONAL_ACCESS)
DOWN = SignInFailed("Microsoft does not answer.", category=SignInCategory.NETWORK, retry=Retry.BACKOFF)
LOCATED = read_locations([OFFICE])
NO_VAULT = VaultProblem("Key Vault cannot be reached.", reason="unreachable")


def roles(*held: str) -> list[dict[str, Any]]:
    return [{"roleTemplateId": role} for role in held]


@dataclass
class Account:
    """Signs in, unless it is told how that ends; counts."""

    error: LatchkeyError | None = None
    tries: int = 0

    async def sign_in(self, show: Show, *, claims: str | None = None) -> Token:
        self.tries += 1
        if self.error:
            raise self.error
        return Token(Secret("a token"), NEVER)


@dataclass
class Rotations:
    """How the rotation stands."""

    now: RotationStatus

    async def status(self) -> RotationStatus:
        return self.now


@dataclass
class Certificate:
    """A vault with one certificate in it; counts how often it is read."""

    value: Secret
    reads: int = 0

    async def read(self, name: str, version: str | None = None) -> Secret:
        self.reads += 1
        return self.value


@dataclass
class Policies:
    """The tenant's policies on paper, and the switches beside them."""

    held: list[Any] = field(default_factory=list)
    security_defaults_on: bool = False
    per_user: str = "disabled"
    member_of: frozenset[str] = frozenset()
    error: GraphProblem | None = None
    thorough: int = 0
    """How often it was looked who the identity is."""

    async def read(self) -> TenantPolicies:
        if self.error:
            raise self.error
        digest, policies = json.dumps(self.held), read_policies(self.held)
        return TenantPolicies(policies, LOCATED, T0, digest, PolicySet.compile(policies, LOCATED))

    async def sign_in_of(self, identity: Identity) -> SignIn:
        self.thorough += 1
        address = read_address("203.0.113.10")
        conditions = Conditions(address=address, country="IE", platform="all", client_app="mobileAppsAndDesktopClients")
        who = Person(identity.id, groups=self.member_of, roles=frozenset(HELD))
        return SignIn(who, Applications(frozenset({GRAPH})), conditions)

    async def changes(self) -> dict[str, Change]:
        return {"p": Change("p", "Policy p", "Gary", T0, "Update policy")}

    async def security_defaults(self) -> bool:
        return self.security_defaults_on

    async def per_user_mfa(self, identity: Identity) -> str:
        return self.per_user


@dataclass
class Scene:
    clock: ManualClock
    settings: Settings
    tenant: PaperTenant
    rotations: Rotations
    alerts: Alerts
    watched: Watched
    account: Account = field(default_factory=Account)
    vault: Certificate = field(default_factory=lambda: Certificate(Secret("none")))
    policies: Policies | None = None
    watching: Watching = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """As after a restart."""

        def identity_of(settings: TenantSettings) -> ServiceIdentity:
            return self.account

        self.watching = Watching(
            clock=self.clock,
            settings=self.settings,
            directory=self.tenant,
            rotations=self.rotations,
            identity_of=identity_of,
            vault=self.vault,  # type: ignore[arg-type]  # of which nothing else is used
            certificates=EntraCertificates(self.clock),
            alerts=self.alerts,
            seen=self.watched,
            clock_time=lambda when: f"{when:%d %B, %H:%M}",
            canary=Canary(self.clock, self.policies) if self.policies else None,
        )

    async def put(self, **changes: Any) -> None:
        await self.settings.change(replace(await self.settings.current(), **changes), by=SHELL, reason="test")

    async def open(self) -> dict[str, Alert]:
        return {alert.trouble.kind: alert for alert in await self.alerts.open()}

    async def kinds(self) -> list[str]:
        return sorted(await self.open())

    async def heard(self, what: LatchkeyError | None) -> None:
        """A sign-in that ended like this, elsewhere."""
        if what is None:
            self.watching.well()
        else:
            self.watching.trouble(what, Identity(IdentityKind.SERVICE_ACCOUNT, ACCOUNT_ID, UPN))
        await self.watching.hear()


def version(now: datetime, **more: Any) -> SecretVersion:
    return replace(SecretVersion(SECRET, "v1", True, now, tags={"state": "current", "account": UPN}), **more)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    clock = ManualClock()
    async with Database(tmp_path / "data" / "latchkey.db", tenant="t", clock=clock) as db:
        trail = AuditTrail(db, Secret("an audit key that only tests ever use"))
        operators, outbox, settings = Operators(db, trail), Outbox(db), Settings(db, trail)
        await operators.ship_roles()
        alerts = Alerts(
            clock=clock,
            incidents=Incidents(db, trail, outbox),
            admins=operators,
            channel="C0ALERTS",
            mention="",
            zone=ZoneInfo("Europe/London"),
        )
        now = clock.now()
        status = RotationStatus(CredentialKind.PASSWORD, "", SECRET, UPN, since=now, versions=(version(now),))
        tenant = PaperTenant(
            {
                USER: {"id": ACCOUNT_ID, "accountEnabled": True, "lastPasswordChangeDateTime": "2026-01-05T08:00:00Z"},
                ROLES: roles(*HELD),
            }
        )
        scene = Scene(clock, settings, tenant, Rotations(status), alerts, Watched(db))
        await scene.put(
            mode=Mode.ADVANCED,
            identity_kind=IdentityKind.SERVICE_ACCOUNT,
            identity_id=ACCOUNT_ID,
            identity_name=UPN,
        )
        yield scene


async def test_when_all_is_well_there_is_one_read_of_each_and_no_sign_in(scene: Scene) -> None:
    assert await scene.watching.look()
    scene.tenant.asked.clear()

    assert await scene.watching.look()
    assert [path for path, _, _ in scene.tenant.asked] == [USER, ROLES]
    assert (await scene.kinds(), scene.account.tries) == ([], 0)


# --- the account ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "headline"),
    [
        ({"id": ACCOUNT_ID, "accountEnabled": False}, f"Sessions will stop: the service account {UPN} is disabled."),
        (NOBODY, f"Sessions will stop: the service account {UPN} was deleted."),
    ],
)
async def test_an_account_that_cannot_sign_in_is_told_of_until_it_can(scene: Scene, found: Any, headline: str) -> None:
    well = scene.tenant.answers[USER]
    await scene.watching.look()
    scene.tenant.answers[USER] = found

    for _ in range(2):
        assert not await scene.watching.look()
    assert (await scene.open())["account"].trouble.headline == headline
    assert scene.account.tries == 0

    scene.tenant.answers[USER] = well
    assert await scene.watching.look()
    assert (await scene.kinds(), scene.account.tries) == ([], 1)


async def test_an_account_microsoft_does_not_tell_of_is_no_alert(scene: Scene) -> None:
    scene.tenant.answers[USER] = refused(403, "Authorization_RequestDenied")

    assert not await scene.watching.look()
    assert await scene.kinds() == []


async def test_a_password_that_somebody_changed_is_found_before_anybody_needs_it(scene: Scene) -> None:
    await scene.watching.look()
    scene.tenant.answers[USER] = {**scene.tenant.answers[USER], "lastPasswordChangeDateTime": "2026-03-02T09:00:00Z"}  # type: ignore[dict-item]
    scene.account.error = WRONG
    await scene.watching.look()

    alert = (await scene.open())["password-changed-elsewhere"].trouble
    assert alert.headline == "Sessions will stop: somebody else changed the password of the service account."
    assert alert.offers == ("reset",)
    assert ("Microsoft's code", "AADSTS50126") in alert.facts

    scene.account.error = None
    assert await scene.watching.look()
    assert await scene.kinds() == []


async def test_a_password_that_latchkey_changed_is_tried_out_once(scene: Scene) -> None:
    await scene.watching.look()
    scene.tenant.answers[USER] = {**scene.tenant.answers[USER], "lastPasswordChangeDateTime": "2026-03-02T09:00:00Z"}  # type: ignore[dict-item]
    running = RotationRecord("r", CredentialKind.PASSWORD, Trigger.SCHEDULE, SECRET, UPN, scene.clock.now())
    well, scene.rotations.now = scene.rotations.now, replace(scene.rotations.now, open=running)
    await scene.watching.look()
    assert scene.account.tries == 0

    scene.rotations.now = well
    scene.account.error = DOWN  # nothing is learned, so it is tried again
    await scene.watching.look()
    scene.account.error = None
    for _ in range(2):
        await scene.watching.look()
    assert (await scene.kinds(), scene.account.tries) == ([], 2)


# --- sign-ins that were heard of ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (WRONG, "password-changed-elsewhere"),
        (DISABLED, "account"),
        (sign_in_failed(50034, SignInCategory.CREDENTIALS), "account"),
        (sign_in_failed(50053, SignInCategory.ACCOUNT_STATE), "account"),
        (BLOCKED, "policy"),
        (sign_in_failed(50076, SignInCategory.MFA), "policy"),
        (sign_in_failed(7000222, SignInCategory.APP_CONFIG), "policy"),
        (NO_VAULT, "vault"),
        (VaultProblem("There is none.", reason="missing"), "vault"),
    ],
)
async def test_a_sign_in_that_somebody_must_do_something_about_is_told_of(
    scene: Scene, error: LatchkeyError, kind: str
) -> None:
    await scene.heard(error)
    await scene.heard(error)
    assert await scene.kinds() == [kind]

    await scene.heard(None)
    assert await scene.kinds() == []


@pytest.mark.parametrize("error", [DOWN, NotAsked("Not now.")])
async def test_what_passes_by_itself_or_is_no_news_is_not(scene: Scene, error: LatchkeyError) -> None:
    await scene.heard(error)

    assert await scene.kinds() == []


async def test_a_rotation_that_stands_tells_itself_that_nothing_signs_in(scene: Scene) -> None:
    stands = RotationRecord(
        "r", CredentialKind.PASSWORD, Trigger.SCHEDULE, SECRET, UPN, scene.clock.now(), state=RotationState.STANDING
    )
    scene.rotations.now = replace(scene.rotations.now, open=stands)
    await scene.heard(WRONG)
    assert await scene.kinds() == []

    await scene.heard(BLOCKED)
    assert await scene.kinds() == ["policy"]


@pytest.mark.parametrize(("error", "cause"), [(DISABLED, Cause.GONE), (BLOCKED, Cause.BLOCKED)])
async def test_what_the_alert_of_a_rotation_tells_is_not_told_twice(
    scene: Scene, error: LatchkeyError, cause: Cause
) -> None:
    stands = RotationRecord(
        "r",
        CredentialKind.PASSWORD,
        Trigger.SCHEDULE,
        SECRET,
        UPN,
        scene.clock.now(),
        state=RotationState.STANDING,
        cause=cause,
    )
    scene.rotations.now = replace(scene.rotations.now, open=stands)
    await scene.alerts.raise_(trouble(stands, str))
    if cause is Cause.GONE:
        scene.tenant.answers[USER] = {"id": ACCOUNT_ID, "accountEnabled": False}
        assert not await scene.watching.look()
    await scene.heard(error)
    assert await scene.kinds() == ["rotation"]

    scene.rotations.now = replace(scene.rotations.now, open=replace(stands, cause=Cause.LOST))
    await scene.heard(error)
    assert len(await scene.kinds()) == 2


async def test_what_was_put_right_is_seen_without_anybody_asking_for_a_session(scene: Scene) -> None:
    scene.account.error = BLOCKED
    await scene.heard(BLOCKED)
    assert not await scene.watching.look()
    scene.account.error = None

    assert await scene.watching.look()
    assert await scene.kinds() == []


# --- Key Vault ------------------------------------------------------------------------------------------------------


async def test_key_vault_out_of_reach_for_once_is_no_alert(scene: Scene) -> None:
    well = scene.rotations.now
    scene.rotations.now = replace(well, versions=(), problem="Key Vault cannot be reached.")
    assert not await scene.watching.look()
    scene.rotations.now = well
    assert await scene.watching.look()
    scene.rotations.now = replace(well, versions=(), problem="Key Vault cannot be reached.")
    await scene.watching.look()
    assert await scene.kinds() == []

    await scene.watching.look()
    assert (await scene.open())["vault"].trouble.why == "Key Vault cannot be reached."
    await scene.heard(NO_VAULT)  # now a session was to be opened
    await scene.watching.look()
    assert (await scene.open())["vault"].trouble.headline.startswith("Sessions will stop:")

    scene.rotations.now = well
    assert await scene.watching.look()
    assert await scene.kinds() == []


@pytest.mark.parametrize(("held", "offers"), [((), ("retry", "reset")), ((False,), ("reset",))])
async def test_an_emptied_key_vault_is_told_of_at_once(
    scene: Scene, held: tuple[bool, ...], offers: tuple[str, ...]
) -> None:
    versions = tuple(version(scene.clock.now(), enabled=enabled) for enabled in held)
    scene.rotations.now = replace(scene.rotations.now, versions=versions)
    await scene.watching.look()
    await scene.heard(VaultProblem("There is none.", reason="missing"))

    alert = (await scene.open())["vault"].trouble
    assert alert.headline == "Sessions will stop: Key Vault holds no password of the service account."
    assert alert.offers == offers


# --- ages -----------------------------------------------------------------------------------------------------------


async def test_a_password_twice_as_old_as_it_should_get_is_told_of(scene: Scene) -> None:
    began = scene.clock.now()
    scene.clock.advance(14 * DAY)
    await scene.watching.look()
    assert await scene.kinds() == []

    scene.clock.advance(60)
    await scene.watching.look()
    assert (await scene.open())["secret-old"].trouble.headline == (
        "The password of the service account is 14 days old. Nothing is broken yet."
    )
    scene.rotations.now = replace(scene.rotations.now, since=began + timedelta(days=14))
    await scene.watching.look()
    assert await scene.kinds() == []


@pytest.mark.parametrize("tag", ["in 30 days", "", "soon", "2026-02-01"])
async def test_a_certificate_near_its_end_is_told_of(scene: Scene, tag: str) -> None:
    """People write tags, too: one that tells no moment counts as none."""
    now, certificates = scene.clock.now(), EntraCertificates(scene.clock)
    scene.vault.value = await asyncio.to_thread(certificates.make, "Latchkey worker", lifetime=timedelta(days=30))
    tagged = tag == "in 30 days"
    ends = {"ends": (now + timedelta(days=30)).isoformat() if tagged else tag} if tag else {}
    tags = {"state": "current", **ends}
    kept = SecretVersion("latchkey-worker", "v1", True, now, tags=tags)
    await scene.put(identity_kind=IdentityKind.APPLICATION, rotation_days=90)
    scene.tenant.answers |= {f"servicePrincipals/{ACCOUNT_ID}": {"accountEnabled": True}}
    scene.tenant.answers |= {"roleManagement/directory/roleAssignments": []}
    scene.rotations.now = RotationStatus(CredentialKind.CERTIFICATE, "", "latchkey-worker", since=now, versions=(kept,))

    scene.clock.advance(15 * DAY)
    await scene.watching.look()
    assert await scene.kinds() == []
    scene.clock.advance(2 * DAY)
    await scene.watching.look()
    assert (await scene.open())["certificate"].trouble.headline == f"The certificate of {UPN} ends in 13 days."
    scene.clock.advance(14 * DAY)
    await scene.watching.look()
    assert (await scene.open())["certificate"].trouble.headline.startswith("Sessions will stop: the certificate of")
    assert scene.vault.reads == (0 if tagged else 1)


# --- roles ----------------------------------------------------------------------------------------------------------


async def test_roles_that_were_changed_are_told_of_also_when_that_was_while_it_did_not_run(scene: Scene) -> None:
    await scene.watching.look()
    scene.start()
    scene.tenant.answers[ROLES] = roles(USER_ADMINISTRATOR, SECURITY_READER, GLOBAL_ADMINISTRATOR)
    await scene.watching.look()

    facts = dict((await scene.open())["roles"].trouble.facts)
    assert (facts["Taken away"], facts["Given"]) == ("Groups Administrator", "Global Administrator")
    assert facts["What stops working"] == "Nothing."

    scene.tenant.answers[ROLES] = roles(SECURITY_READER)
    await scene.watching.look()
    facts = dict((await scene.open())["roles"].trouble.facts)
    assert "add a person to a group" in facts["What stops working"]
    assert "access pass" not in facts["What stops working"]  # which it could not give before

    scene.tenant.answers[ROLES] = roles(*HELD)
    await scene.watching.look()
    assert await scene.kinds() == []


async def test_roles_that_somebody_acknowledged_count_as_right(scene: Scene) -> None:
    await scene.watching.look()
    scene.tenant.answers[ROLES] = roles(USER_ADMINISTRATOR)
    await scene.watching.look()
    await scene.alerts.acknowledge((await scene.open())["roles"].id, ANA)
    await scene.watching.look()
    assert await scene.kinds() == []

    scene.tenant.answers[ROLES] = roles(*HELD)
    await scene.watching.look()
    assert dict((await scene.open())["roles"].trouble.facts)["Given"] == "Groups Administrator, Security Reader"


@pytest.mark.parametrize("answer", [refused(403, "Authorization_RequestDenied"), [{"id": "x", "roleTemplateId": None}]])
async def test_roles_that_cannot_be_read_are_no_alert(scene: Scene, answer: Any) -> None:
    await scene.watching.look()
    scene.tenant.answers[ROLES] = answer

    assert await scene.watching.look()
    assert await scene.kinds() == []


# --- policies ---------------------------------------------------------------------------------------------------------

ADMINS: Any = {"users": {"includeRoles": [USER_ADMINISTRATOR], "excludeGroups": ["robots"]}}
FROM_OFFICE: Any = {
    "users": {"includeUsers": [ACCOUNT_ID]},
    "locations": {"includeLocations": ["All"], "excludeLocations": ["office"]},
    "grant": BLOCK,
}
REPORTING = "enabledForReportingButNotEnforced"


@pytest.fixture
async def foreseen(scene: Scene) -> Scene:
    """The same, with policies that may be read."""
    scene.policies = Policies()
    scene.start()
    return scene


def policies_of(scene: Scene) -> Policies:
    assert scene.policies is not None
    return scene.policies


async def test_a_policy_that_would_stop_sessions_is_told_of_until_it_would_not(foreseen: Scene) -> None:
    policies = policies_of(foreseen)
    policies.held = [raw_policy(state=REPORTING, **ADMINS)]
    assert await foreseen.watching.look()

    alert = (await foreseen.open())["policy"].trouble
    assert alert.headline == "The policy “Policy p” would stop sessions once it is on. Nothing is broken yet."
    assert alert.severity is Severity.ATTENTION
    assert ("Changed last", "“Policy p” by Gary, 03 March, 09:00") in alert.facts
    await foreseen.heard(None)
    assert await foreseen.kinds() == ["policy"], "that it signs in now says nothing of what will be"

    policies.held = []
    await foreseen.watching.look()
    assert await foreseen.kinds() == []
    assert foreseen.account.tries == 0


async def test_a_policy_that_blocks_wakes_people_before_a_session_fails(foreseen: Scene) -> None:
    policies = policies_of(foreseen)
    policies.held, foreseen.account.error = [raw_policy(**ADMINS)], DOWN
    assert not await foreseen.watching.look()

    first = (await foreseen.open())["policy"]
    assert first.trouble.headline == (
        "Sessions will stop: the policy “Policy p” does not let the service account sign in."
    )
    assert first.trouble.why == ("“Policy p” demands multifactor authentication. The service account cannot do that.")
    await foreseen.heard(BLOCKED)
    foreseen.account.error = BLOCKED
    await foreseen.watching.look()
    second = (await foreseen.open())["policy"]
    assert second.trouble.facts == (*first.trouble.facts, ("Microsoft's code", "AADSTS53003"))
    assert (second.lines, second.id) == (first.lines, first.id), "that a session failed is no news"

    policies.held = []
    await foreseen.watching.look()
    assert (await foreseen.open())["policy"].lines == first.lines, "that it is over is proved by a sign-in"
    foreseen.account.error = None
    assert await foreseen.watching.look()
    assert await foreseen.kinds() == []


async def test_what_a_sign_in_met_first_gets_its_name_and_stays_one_incident(foreseen: Scene) -> None:
    await foreseen.watching.look()
    policies_of(foreseen).held = [raw_policy(**ADMINS)]
    await foreseen.heard(BLOCKED)

    alert = (await foreseen.open())["policy"].trouble
    assert "“Policy p”" in alert.headline
    foreseen.account.error = BLOCKED
    await foreseen.watching.look()
    assert (await foreseen.open())["policy"].trouble == alert


async def test_a_refusal_that_no_policy_explains_stays_until_it_signs_in(foreseen: Scene) -> None:
    await foreseen.heard(BLOCKED)
    foreseen.account.error = BLOCKED
    foreseen.start()  # it does not remember
    assert not await foreseen.watching.look()
    policies_of(foreseen).held = [raw_policy(state=REPORTING, **ADMINS)]
    await foreseen.watching.look()
    assert (await foreseen.open())["policy"].trouble.severity is Severity.SESSIONS_STOP

    foreseen.account.error = None
    assert await foreseen.watching.look()
    assert (await foreseen.open())["policy"].trouble.severity is Severity.ATTENTION


async def test_a_sign_in_that_goes_well_counts_once_entra_had_the_time_to_refuse_it(foreseen: Scene) -> None:
    policies_of(foreseen).held = [raw_policy(**ADMINS)]
    assert not await foreseen.watching.look()  # and signed in, for Entra takes a while
    assert (await foreseen.open())["policy"].trouble.severity is Severity.SESSIONS_STOP

    foreseen.clock.advance(SETTLES.total_seconds())
    assert await foreseen.watching.look()
    alert = (await foreseen.open())["policy"].trouble
    assert alert.severity is Severity.ATTENTION
    assert alert.headline == (
        "The policy “Policy p” does not let the service account sign in, as it reads. Nothing is broken yet."
    )
    foreseen.start()
    await foreseen.watching.look()
    assert (await foreseen.open())["policy"].trouble == alert, "a start wakes nobody for what was found out before"
    await foreseen.heard(BLOCKED)
    assert (await foreseen.open())["policy"].trouble.severity is Severity.SESSIONS_STOP


@pytest.mark.parametrize(
    ("switch", "value", "headline"),
    [
        ("security_defaults_on", True, "security defaults do not let the service account sign in."),
        ("per_user", "enforced", "multifactor authentication of the account itself does not let the service account"),
    ],
)
async def test_what_blocks_beside_policies(foreseen: Scene, switch: str, value: Any, headline: str) -> None:
    await foreseen.watching.look()
    setattr(policies_of(foreseen), switch, value)
    await foreseen.watching.look()

    assert headline in (await foreseen.open())["policy"].trouble.headline


async def test_a_name_that_was_taken_out_of_a_group_is_noticed_at_night(foreseen: Scene) -> None:
    policies = policies_of(foreseen)
    policies.held, policies.member_of = [raw_policy(**ADMINS)], frozenset({"robots"})
    for _ in range(2):
        assert await foreseen.watching.look()
    assert policies.thorough == 1, "without a change it is not looked at any closer"

    policies.member_of = frozenset()
    await foreseen.watching.look()
    assert await foreseen.kinds() == []
    foreseen.watching.thoroughly()
    await foreseen.watching.look()
    assert await foreseen.kinds() == ["policy"]


async def test_policies_that_may_not_be_read_are_no_alert(foreseen: Scene) -> None:
    policies_of(foreseen).error = refused(403, "AccessDenied")
    assert await foreseen.watching.look()
    await foreseen.heard(BLOCKED)

    alert = (await foreseen.open())["policy"].trouble
    assert alert.headline == "Sessions will stop: a rule of Microsoft Entra does not let the service account sign in."


async def test_allowed_addresses_that_are_no_more_are_told_of_also_after_a_start(foreseen: Scene) -> None:
    policies = policies_of(foreseen)
    policies.held = [raw_policy(**FROM_OFFICE)]
    assert await foreseen.watching.look()
    foreseen.start()
    policies.held = []
    assert await foreseen.watching.look()

    alert = await foreseen.open()
    assert alert["outside"].trouble.headline == f"The service account {UPN} can sign in from anywhere again."
    policies.held = [raw_policy(**FROM_OFFICE)]
    await foreseen.watching.look()
    assert await foreseen.kinds() == []

    policies.held = []
    await foreseen.watching.look()
    await foreseen.alerts.acknowledge((await foreseen.open())["outside"].id, ANA)
    for _ in range(2):
        await foreseen.watching.look()
    assert await foreseen.kinds() == [], "somebody said that it is right"


def removal(state: RequestState) -> Request:
    return Request(
        id="r",
        operator_id="ana",
        slack=ANA.slack,
        command="/m365-mode remove-allowed-ips",
        action="remove-allowed-ips",
        origin=Origin("C1"),
        created_at=T0,
        state=state,
    )


async def test_what_latchkey_is_opening_just_now_is_no_alert(foreseen: Scene) -> None:
    policies = policies_of(foreseen)
    policies.held = [raw_policy(**FROM_OFFICE)]
    await foreseen.watching.look()
    foreseen.watching.request_changed(removal(RequestState.RUNNING))
    policies.held = []
    await foreseen.watching.look()

    assert await foreseen.kinds() == []


async def test_what_latchkey_itself_opened_is_no_alert(foreseen: Scene) -> None:
    policies = policies_of(foreseen)
    policies.held = [raw_policy(**FROM_OFFICE)]
    await foreseen.watching.look()
    policies.held = []
    await foreseen.watching.look()
    assert await foreseen.kinds() == ["outside"], "it is not finished yet"

    foreseen.watching.request_changed(removal(RequestState.DONE))
    await foreseen.watching.look()
    assert await foreseen.kinds() == []


async def test_policies_that_somebody_found_changed_are_looked_at_now(foreseen: Scene) -> None:
    running = asyncio.create_task(foreseen.watching.keep_up())
    try:
        assert await until_next_look(foreseen.clock) == FIRST
        policies_of(foreseen).held = [raw_policy(state=REPORTING, **ADMINS)]
        foreseen.watching.policies_changed()
        assert await until_next_look(foreseen.clock, other_than=FIRST) == EVERY
        assert await foreseen.kinds() == ["policy"]
    finally:
        running.cancel()


# --- who is watched -------------------------------------------------------------------------------------------------


async def test_nothing_is_watched_but_an_identity_that_acts(scene: Scene) -> None:
    scene.tenant.answers[USER] = NOBODY
    await scene.watching.look()
    assert await scene.kinds() == ["account"]
    scene.tenant.asked.clear()

    await scene.put(mode=Mode.DEFAULT)
    assert await scene.watching.look()
    await scene.heard(BLOCKED)
    assert (await scene.kinds(), scene.tenant.asked) == ([], [])


async def test_another_identity_has_roles_of_its_own(scene: Scene) -> None:
    await scene.watching.look()
    other = "users/other"
    scene.tenant.answers |= {other: scene.tenant.answers[USER]}
    scene.tenant.answers |= {f"{other}/transitiveMemberOf/microsoft.graph.directoryRole": roles(USER_ADMINISTRATOR)}
    await scene.put(identity_id="other")

    assert await scene.watching.look()
    assert await scene.kinds() == []


async def test_it_looks_every_hour_and_sooner_while_something_is_wrong(scene: Scene) -> None:
    well = scene.tenant.answers[USER]
    running = asyncio.create_task(scene.watching.keep_up())
    try:
        for passes, then in ((FIRST, well), (EVERY, NOBODY), (SOON, NOBODY), (SOON, well), (EVERY, well)):
            assert await until_next_look(scene.clock) == passes
            scene.tenant.answers[USER] = then
            scene.clock.advance(passes.total_seconds())
    finally:
        running.cancel()


async def test_what_was_heard_to_go_wrong_is_looked_at_soon(scene: Scene) -> None:
    running = asyncio.create_task(scene.watching.keep_up())
    try:
        assert await until_next_look(scene.clock) == FIRST
        scene.clock.advance(FIRST.total_seconds())
        assert await until_next_look(scene.clock) == EVERY
        scene.account.error = BLOCKED
        scene.watching.trouble(BLOCKED, Identity(IdentityKind.SERVICE_ACCOUNT, ACCOUNT_ID, UPN))
        assert await until_next_look(scene.clock, other_than=EVERY) == SOON
        assert await scene.kinds() == ["policy"]
    finally:
        running.cancel()


async def test_a_look_that_takes_long_does_not_put_the_next_one_off(scene: Scene) -> None:
    takes = timedelta(minutes=5)

    class Slow:
        async def status(self) -> RotationStatus:
            scene.clock.advance(takes.total_seconds())
            return well.now

    well = scene.rotations
    scene.rotations = Slow()  # type: ignore[assignment]
    scene.start()
    running = asyncio.create_task(scene.watching.keep_up())
    try:
        assert await until_next_look(scene.clock) == FIRST
        scene.clock.advance(FIRST.total_seconds())
        assert await until_next_look(scene.clock) == EVERY - takes
    finally:
        running.cancel()
        scene.rotations = well


@pytest.mark.parametrize("error", [ConfigurationError("A setting is missing."), KeyError("id")])
async def test_what_it_did_not_expect_does_not_end_its_watch(scene: Scene, error: Exception) -> None:
    class Broken:
        async def status(self) -> RotationStatus:
            raise error

    well = scene.rotations
    scene.rotations = Broken()  # type: ignore[assignment]
    scene.start()
    running = asyncio.create_task(scene.watching.keep_up())
    try:
        assert await until_next_look(scene.clock) == FIRST
        scene.clock.advance(FIRST.total_seconds())
        assert await until_next_look(scene.clock) == SOON
        assert not running.done()
    finally:
        running.cancel()
        scene.rotations = well


async def until_next_look(clock: ManualClock, *, other_than: timedelta | None = None) -> timedelta:
    """How long it sleeps, once it does."""
    async with asyncio.timeout(30):
        while True:
            at = (await clock.sleepers())[0]
            if at > clock.now() and at - clock.now() != other_than:
                return at - clock.now()
            await asyncio.sleep(0)
