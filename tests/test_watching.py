"""What stops sessions while nobody rotates anything: alerted of once, and closed when it is well again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from bot.alerts import Alerts
from bot.directory_roles import GLOBAL_ADMINISTRATOR, GROUPS_ADMINISTRATOR, SECURITY_READER, USER_ADMINISTRATOR
from bot.errors import ConfigurationError, LatchkeyError, NotAsked, Retry, SignInCategory, SignInFailed, VaultProblem
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
    RotationRecord,
    RotationState,
    Secret,
    SlackUser,
    TenantSettings,
    Trigger,
)
from bot.ports import RotationStatus, SecretVersion, Token
from bot.rotation_words import trouble
from bot.watching import EVERY, FIRST, SOON, Watching
from storage.alerts import Alerts as Incidents
from storage.audit import AuditTrail
from storage.database import Database
from storage.operators import Operators
from storage.outbox import Outbox
from storage.settings import Settings
from storage.watching import Watched
from tests.clock import ManualClock
from tests.tenant import NOBODY, PaperTenant, refused

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
class Scene:
    clock: ManualClock
    settings: Settings
    tenant: PaperTenant
    rotations: Rotations
    alerts: Alerts
    watched: Watched
    account: Account = field(default_factory=Account)
    vault: Certificate = field(default_factory=lambda: Certificate(Secret("none")))
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
    async with asyncio.timeout(5):
        while True:
            at = (await clock.sleepers())[0]
            if at > clock.now() and at - clock.now() != other_than:
                return at - clock.now()
            await asyncio.sleep(0)
