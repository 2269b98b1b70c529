"""The application's certificate rotates over HTTP, with the real MSAL and Azure's SDK, whatever fails or dies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from cryptography.hazmat.primitives import hashes

from bot.clock import SystemClock
from bot.config import read_config
from bot.errors import LatchkeyError
from bot.identities import Application
from bot.microsoft.certificates import EntraCertificates, load
from bot.microsoft.client import MicrosoftTenant
from bot.model import (
    Author,
    Cause,
    CredentialKind,
    IdentityKind,
    Mode,
    Point,
    RotationState,
    Secret,
    TenantSettings,
    Trigger,
    Trouble,
)
from bot.rotating_certificate import CertificateCredential
from bot.rotation import LOOKS, OVERLAP, Aim
from bot.rotator import Rotator
from bot.wiring import microsoft, rotated
from sandbox.clock import WorldClock
from sandbox.directory import Application as Registration
from sandbox.faults import Answer, Drop, Effect, Rule
from sandbox.tls import make_application_certificate
from sandbox.vault import WORKER_CERTIFICATE_SECRET, Version
from sandbox.world import World
from storage.audit import AuditTrail
from storage.database import Database
from storage.rotations import Rotations
from storage.settings import Settings
from storage.vault import KeyVault
from tests.clock import ManualClock
from tests.microsoft.tenant import Contoso, open_contoso
from tests.stage import environment
from tests.storage.test_vault import open_vault

WEEK = timedelta(days=7)
SHELL = Author(login="test")
KEY = Secret("an audit key that only tests ever use")


class WorldTime(ManualClock):
    """The bot's clock, which goes as the world's does: whoever waits makes time pass for Microsoft too."""

    def __init__(self, world: WorldClock) -> None:
        super().__init__(datetime.fromtimestamp(world.now(), UTC), hurries=True)
        self._world = world

    def advance(self, seconds: float) -> None:
        self._world.advance(seconds)
        super().advance(seconds)


class Died(BaseException):
    """The process is gone."""


@dataclass
class Told:
    """An alarm that remembers what it was told."""

    raised: list[Trouble] = field(default_factory=list)
    closed: list[tuple[str, str]] = field(default_factory=list)

    async def raise_(self, trouble: Trouble) -> None:
        self.raised.append(trouble)

    async def close(self, kind: str, about: str = "", how: str = "") -> None:
        self.closed.append((kind, how))


@dataclass
class Lab:
    """An application with its certificate in the vault, and a rotator that can be started anew."""

    contoso: Contoso
    vault: KeyVault
    credential: CertificateCredential
    settings: Settings
    rotations: Rotations
    told: Told = field(default_factory=Told)
    broken: list[str] = field(default_factory=list)

    @property
    def clock(self) -> ManualClock:
        return self.contoso.clock

    @property
    def registration(self) -> Registration:
        return self.contoso.servers.directory.applications["worker"]

    def rotator(self, *, dies_at: Point | None = None) -> Rotator:
        def passed(point: Point) -> None:
            self.look(point)
            if point is dies_at:
                raise Died

        async def renewed(why: str) -> None:
            pass

        return Rotator(
            clock=self.clock,
            vault=self.vault,
            tenant=self.credential.tenant,
            rotations=self.rotations,
            settings=self.settings,
            credential_of=self.credential_of,
            alarm=self.told,
            zone=ZoneInfo("Europe/London"),
            allowed=9,
            renew=renewed,
            passed=passed,
        )

    def credential_of(self, settings: TenantSettings) -> CertificateCredential | None:
        return self.credential if settings.identity_kind is IdentityKind.APPLICATION else None

    # --- from outside -------------------------------------------------------------------------------------------------

    def look(self, point: Point) -> None:
        """What has to hold at every instant: something that is stored signs in."""
        if not any(self.in_force(version) for version in self.enabled()):
            self.broken.append(f"nothing signs in at {point}")

    def enabled(self) -> list[Version]:
        return [each for each in self.contoso.servers.vault.versions(WORKER_CERTIFICATE_SECRET) if each.enabled]

    def in_force(self, version: Version) -> bool:
        """Whether its certificate is registered, as far as Entra's servers have heard."""
        loaded = load(version.value)
        if loaded is None:
            return False
        servers, now = self.contoso.servers, self.contoso.servers.clock.now()
        known = servers.directory.at(now - servers.entra.replication_lag).keys(self.registration)
        return any(key.certificate == loaded[1][0] and key.in_force(now) for key in known)

    def states(self) -> list[str]:
        return [version.tags.get("state", "") for version in self.enabled()]

    @property
    def registered(self) -> int:
        return len(self.contoso.servers.directory.latest.keys(self.registration))

    async def signing_in(self) -> list[str]:
        """The tags of the stored versions that sign in, found by doing it."""
        return [each.tags.get("state", "") for each in self.enabled() if await self.signs_in(each)]

    async def signs_in(self, version: Version) -> bool:
        try:
            await self.credential.sign_in(Secret(version.value))
        except LatchkeyError:
            return False
        return True

    def breaks(self, service: str, method: str, path: str, effect: Effect, *, times: int = 1, after: int = 0) -> None:
        rule = Rule(service, method, path, effect, times=times, after=after)  # type: ignore[arg-type]  # a service's name
        self.contoso.servers.faults.add(rule)


@asynccontextmanager
async def open_lab(folder: Path) -> AsyncIterator[Lab]:
    async with open_contoso() as contoso:
        servers = contoso.servers
        contoso.clock = WorldTime(servers.clock)
        vault, azure = open_vault(contoso)
        async with Database(folder / "latchkey.db", tenant=servers.directory.tenant.id, clock=contoso.clock) as db:
            trail = AuditTrail(db, KEY)
            settings = Settings(db, trail)
            worker = servers.directory.applications["worker"]
            chosen = replace(
                await settings.current(),
                mode=Mode.ADVANCED,
                identity_kind=IdentityKind.APPLICATION,
                identity_id=worker.principal_id,
                identity_name=worker.name,
            )
            await settings.change(chosen, by=SHELL, reason="test")
            credential = CertificateCredential(
                secret_name=WORKER_CERTIFICATE_SECRET,
                account=worker.app_id,
                name=worker.name,
                signing_in=contoso.sign_in(),
                tenant=MicrosoftTenant.at(f"{servers.url}/graph/v1.0", contoso.http, contoso.clock),
                certificates=EntraCertificates(contoso.clock),
            )
            lab = Lab(contoso, vault, credential, settings, Rotations(db, trail))
            contoso.clock.advance(2)  # the vault keeps whole seconds: what it holds is older than what comes
            yield lab
        await vault.close()
        await azure.close()


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with open_lab(tmp_path) as opened:
        yield opened
        assert not opened.broken


async def test_a_new_certificate_takes_the_place_of_the_old_one_and_both_sign_in_for_a_while(lab: Lab) -> None:
    record = await lab.rotator().run(trigger=Trigger.SCHEDULE)

    assert (record.kind, record.state, record.account) == (
        CredentialKind.CERTIFICATE,
        RotationState.DONE,
        lab.registration.app_id,
    )
    assert lab.states() == ["previous", "current"]
    assert await lab.signing_in() == ["previous", "current"]
    tags = lab.enabled()[-1].tags
    key = lab.contoso.servers.directory.latest.keys(lab.registration)[-1]
    assert tags["thumbprint"] == key.certificate.fingerprint(hashes.SHA256()).hex()
    assert datetime.fromisoformat(tags["ends"]) == key.certificate.not_valid_after_utc
    assert tags["account"] == lab.registration.app_id
    assert not lab.told.raised


async def test_the_old_certificate_is_withdrawn_after_the_overlap_and_not_before(lab: Lab) -> None:
    rotator = lab.rotator()
    await rotator.run(trigger=Trigger.SCHEDULE)
    lab.clock.advance(OVERLAP.total_seconds() / 2)
    await _retire(rotator)
    half_way = lab.registered

    lab.clock.advance(OVERLAP.total_seconds())
    await _retire(rotator)

    assert (half_way, lab.registered) == (2, 1)
    assert lab.states() == ["current"]
    assert await lab.signing_in() == ["current"]


async def test_three_weeks_leave_one_certificate_and_no_alert(lab: Lab) -> None:
    for _ in range(3):
        await lab.rotator().run(trigger=Trigger.SCHEDULE)
        lab.clock.advance(WEEK.total_seconds())
        await _retire(lab.rotator())

    assert (lab.registered, lab.states(), lab.told.raised) == (1, ["current"], [])


async def test_entras_servers_may_take_minutes_to_hear_of_it(lab: Lab) -> None:
    lab.contoso.servers.entra.replication_lag = 240.0
    record = await lab.rotator().run(trigger=Trigger.SCHEDULE)

    assert record.state is RotationState.DONE
    assert await lab.signing_in() == ["previous", "current"]


async def test_a_rotation_that_is_not_seen_in_time_goes_on_later_and_says_so(lab: Lab) -> None:
    lab.contoso.servers.entra.replication_lag = sum(LOOKS, timedelta()).total_seconds() + 120.0
    stands = await lab.rotator().run(trigger=Trigger.SCHEDULE)
    at_once = await lab.signing_in()

    lab.clock.advance(900)
    done = await lab.rotator().run(trigger=Trigger.RETRY)

    assert (stands.state, stands.cause, len(lab.told.raised)) == (RotationState.STANDING, Cause.NOT_SEEN, 1)
    assert len(at_once) == 1  # the one before it
    assert (done.id, done.state) == (stands.id, RotationState.DONE)
    assert lab.registered == 2
    assert lab.states() == ["previous", "current"]


@pytest.mark.parametrize("point", [point for point in Point if point not in (Point.DUE, Point.RELEASED)])
async def test_a_process_that_dies_leaves_what_the_next_one_finishes(lab: Lab, point: Point) -> None:
    with pytest.raises(Died):
        await lab.rotator(dies_at=point).run(trigger=Trigger.SCHEDULE)
    assert "current" in [each.tags.get("state", "current") for each in lab.enabled() if await lab.signs_in(each)]

    lab.clock.advance(300)  # what it had claimed runs out
    record = await lab.rotator().run(trigger=Trigger.SCHEDULE)

    assert record.state is RotationState.DONE
    assert lab.states()[-1] == "current"
    assert lab.states().count("current") == 1
    assert "pending" not in lab.states()
    assert "current" in await lab.signing_in()
    # Nothing is registered that is not stored.
    assert lab.registered == sum(lab.in_force(version) for version in lab.enabled())


FAULTS: dict[str, Callable[[Lab], None]] = {
    "registering gets no answer": lambda lab: lab.breaks("graph", "POST", "/applications/*/addKey", Drop("after")),
    "registering does not arrive": lambda lab: lab.breaks("graph", "POST", "/applications/*/addKey", Drop("before")),
    "the registration cannot be read": lambda lab: lab.breaks(
        "graph", "GET", "/applications*", Answer(503, None), times=9
    ),
    "storing gets no answer": lambda lab: lab.breaks("vault", "PUT", "/secrets/*", Drop("after")),
    "tagging gets no answer": lambda lab: lab.breaks("vault", "PATCH", "/secrets/*", Drop("after"), times=9),
    "entra is down for a while": lambda lab: lab.breaks(
        "entra", "POST", "/oauth2/*", Answer(503, None), times=3, after=2
    ),
    "graph throttles": lambda lab: lab.breaks(
        "graph", "POST", "/applications/*/addKey", Answer(429, None, {"Retry-After": "2"}), times=3
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_what_fails_once_is_done_at_the_next_try(lab: Lab, fault: str) -> None:
    FAULTS[fault](lab)
    first = await lab.rotator().run(trigger=Trigger.SCHEDULE)
    lab.contoso.servers.faults.stop_all()
    lab.clock.advance(3600)
    last = first if first.state is RotationState.DONE else await lab.rotator().run(trigger=Trigger.RETRY)

    assert last.state is RotationState.DONE
    assert lab.told.raised == [] or first.state is RotationState.STANDING
    assert lab.states()[-1] == "current"
    assert "pending" not in lab.states()
    assert "current" in await lab.signing_in()
    assert lab.registered == sum(lab.in_force(version) for version in lab.enabled())


async def test_an_application_that_may_not_see_its_registration_keeps_its_certificate(lab: Lab) -> None:
    apps = lab.contoso.servers.directory.applications
    apps["worker"] = replace(lab.registration, roles=frozenset())

    record = await lab.rotator().run(trigger=Trigger.SCHEDULE)

    assert (record.state, record.cause) == (RotationState.STANDING, Cause.FORBIDDEN)
    assert "Application.Read.All" in record.why
    assert lab.registered == 1
    assert "current" in await lab.signing_in()


async def test_somebody_took_the_certificate_away(lab: Lab) -> None:
    directory = lab.contoso.servers.directory
    directory.add_key(lab.registration, make_application_certificate("another").certificate)
    directory.remove_key(lab.registration, directory.latest.keys(lab.registration)[0].id)

    record = await lab.rotator().run(trigger=Trigger.SCHEDULE)

    assert (record.state, record.cause) == (RotationState.STANDING, Cause.LOST)
    assert len(lab.enabled()) == 1  # nothing is disabled in a vault of which nothing is known
    lab.broken.clear()  # it was not Latchkey


async def test_a_session_opened_meanwhile_signs_in_with_the_one_in_force(lab: Lab) -> None:
    with pytest.raises(Died):
        await lab.rotator(dies_at=Point.CHANGING).run(trigger=Trigger.SCHEDULE)
    reader = Application(lab.vault, lab.contoso.sign_in(), WORKER_CERTIFICATE_SECRET, lab.registration.app_id)

    await reader.sign_in(lambda key, title: None)

    assert lab.states()[-1] == "pending"
    assert lab.contoso.servers.entra.requests[-1].code == 0


async def test_what_waits_in_the_vault_and_is_no_certificate_is_set_aside(lab: Lab) -> None:
    tags = {"state": "pending", "account": lab.registration.app_id}
    lab.contoso.servers.vault.put(WORKER_CERTIFICATE_SECRET, "not a certificate", tags=tags)

    record = await lab.rotator().run(trigger=Trigger.SCHEDULE)

    assert record.state is RotationState.DONE
    assert lab.states() == ["previous", "refused", "current"]
    assert await lab.signing_in() == ["previous", "current"]


async def test_a_managed_identity_has_nothing_to_rotate(lab: Lab) -> None:
    before = await lab.settings.current()
    await lab.settings.change(
        replace(before, identity_kind=IdentityKind.MANAGED_IDENTITY), by=SHELL, reason="another identity"
    )

    status = await lab.rotator().status()

    assert status.kind is None
    assert "managed identity" in status.nothing


async def _retire(rotator: Rotator) -> None:
    """What the rotator does by itself each day."""
    await rotator.run(trigger=Trigger.REPAIR, aim=Aim.REPAIR)


async def test_what_rotates_is_what_the_chosen_identity_signs_in_with(tmp_path: Path) -> None:
    async with World(state=tmp_path) as world:
        with environment(world.environment()):
            config = read_config()
            async with microsoft(config, SystemClock()) as ways:
                chosen = {
                    kind: rotated(config, ways, TenantSettings(identity_kind=kind, identity_name="x@contoso.com"))
                    for kind in (*IdentityKind, None)
                }
                certificate = chosen[IdentityKind.APPLICATION]
                assert certificate is not None
                await certificate.sign_in(await ways.vault.read(certificate.secret_name))

    assert {kind: credential.kind for kind, credential in chosen.items() if credential} == {
        IdentityKind.SERVICE_ACCOUNT: CredentialKind.PASSWORD,
        IdentityKind.APPLICATION: CredentialKind.CERTIFICATE,
    }
    assert certificate.account == config.worker_client_id
