"""`latchkey doctor`: tries everything an installation needs, and says of each what it found and what to do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any, Final, Protocol

from bot import policy, watched
from bot.actions import delegated
from bot.alerts import NotPaged
from bot.canary import Canary
from bot.conditional_access import READS_LOGS, READS_POLICIES, ConditionalAccess
from bot.directory import read_person
from bot.directory_roles import names_of
from bot.errors import CannotTell, GraphProblem, GraphRefused, LatchkeyError
from bot.identities import directory_roles
from bot.model import CredentialKind, Identity, IdentityKind, Mode, TenantSettings
from bot.ports import Clock, Graph, RotationStatus, Vault
from bot.rotation_schedule import described
from bot.rotation_told import Level, called, how_it_is, long, moment, what_to_do
from bot.standing import ACCOUNT, judged
from bot.whatif.words import listed, missing

CLOCK_MAY_BE_OFF: Final = timedelta(minutes=1)
"""Slack refuses, and so do we, signatures older than five minutes; one minute is where to start worrying."""

PREMIUM: Final = {"AAD_PREMIUM": "P1", "AAD_PREMIUM_P2": "P2"}
"""Service plans by which a tenant's Entra tier shows (Entra docs: *Product names and service plan identifiers*)."""


@dataclass(frozen=True)
class Line:
    """What one check found. `remedy` is empty when nothing needs to be done."""

    what: str
    found: str
    remedy: str = ""

    @property
    def well(self) -> bool:
        return not self.remedy


class SlackProbe(Protocol):
    """What Slack says of our token."""

    async def look(self) -> tuple[str, Collection[str], datetime]:
        """The workspace's name, the scopes granted to the token, and Slack's own time."""


MICROSOFTS_OWN: Final = 10
"""After how many wrong passwords Entra locks an account unless the tenant says otherwise."""

Check = Callable[[], Awaitable[Line]]


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """The checks, in the order in which one would put an installation right."""

    clock: Clock
    slack: SlackProbe
    wanted_scopes: Collection[str]
    vault: Vault
    secret_name: str
    bot_graph: Graph
    conditional_access: ConditionalAccess
    settings: TenantSettings
    service_graph: Callable[[], Graph]
    sign_in: Callable[[], Awaitable[str | None]]
    """How people sign in with accounts of their own, once that was begun at Microsoft; None if they cannot."""
    verify_audit: Callable[[], Awaitable[str | None]]
    """What is wrong with the audit trail, or None."""
    rotation: Callable[[], Awaitable[RotationStatus]]
    zone: tzinfo
    lockout_threshold: int | None = None
    """What the settings say of it."""
    closed: bool = False
    """Whether the service identity is to be let in from Latchkey's address only."""
    try_webhook: Callable[[], Awaitable[None]] | None = None
    """Sends a marked test to the webhook that wakes people; None if there is none."""

    async def examine(self) -> AsyncIterator[Line]:
        """One line after another; a check that fails does not end the examination."""
        checks: Mapping[str, Check] = {
            "Slack": self._slack,
            "Key Vault": self._vault,
            "Bot identity": self._bot_identity,
            "Operators": self._operators,
            "Entra licence": self._licence,
            "Service identity": self._service_identity,
            "Rotation": self._rotation,
            "Protection": self._protection,
            "What-if": self._what_if,
            "Next sign-in": self._next_sign_in,
            "Sign-in": self._sign_in,
            "Audit trail": self._audit_trail,
            **({"Webhook": self._webhook} if self.try_webhook else {}),
        }
        for what, check in checks.items():
            try:
                yield await check()
            except LatchkeyError as error:
                yield Line(what, "failed", str(error))

    async def _slack(self) -> Line:
        workspace, scopes, slack_time = await self.slack.look()
        off = abs(self.clock.now() - slack_time)
        if off > CLOCK_MAY_BE_OFF:
            return Line("Slack", f"this machine's clock is off by {int(off.total_seconds())} s", "Set the clock (NTP).")
        if missing := sorted(set(self.wanted_scopes) - set(scopes)):
            remedy = f"Add {', '.join(missing)} to the app's scopes and install it to the workspace again."
            return Line("Slack", f"connected to {workspace}, scopes missing", remedy)
        return Line("Slack", f"connected to {workspace}, all scopes granted, clock right")

    async def _vault(self) -> Line:
        versions = await self.vault.versions(self.secret_name)
        if self.settings.mode is Mode.DEFAULT:
            return Line("Key Vault", "reached; no credential of a service identity is needed")
        if not any(version.enabled for version in versions):
            remedy = f"Store the service account's password as the secret {self.secret_name}."
            return Line("Key Vault", f"reachable, but {self.secret_name} has no enabled version", remedy)
        return Line("Key Vault", f"reachable, {self.secret_name} has {len(versions)} version(s)")

    async def _bot_identity(self) -> Line:
        organizations = await self.bot_graph.collect("organization", query={"$select": "displayName"})
        name = organizations[0].get("displayName", "the tenant") if organizations else "the tenant"
        return Line("Bot identity", f"reads the directory of {name}")

    async def _operators(self) -> Line:
        """Every change first looks whether its operator's account is still enabled."""
        try:
            for user in await self.bot_graph.collect("users", query={"$select": ACCOUNT, "$top": "1"}, limit=1):
                judged(user)
        except (GraphRefused, CannotTell):
            remedy = "Give the bot identity the permission User.Read.All."
            return Line("Operators", "accounts cannot be seen as enabled or not, so every change is refused", remedy)
        try:
            await self.bot_graph.collect("groups", query={"$select": "id", "$top": "1"}, limit=1)
        except GraphRefused:
            remedy = "Give the bot identity the permission GroupMember.Read.All."
            return Line("Operators", "members of groups cannot be read, so no role can follow a group", remedy)
        return Line("Operators", "accounts can be seen as enabled or not, and members of groups can be read")

    async def _licence(self) -> Line:
        skus: list[dict[str, Any]] = await self.bot_graph.collect("subscribedSkus")
        plans = {plan.get("servicePlanName") for sku in skus for plan in sku.get("servicePlans", ())}
        tiers = sorted(tier for plan, tier in PREMIUM.items() if plan in plans)
        if "P2" in tiers:
            return Line("Entra licence", "P2: eligible roles of targets are seen")
        tier = "P1" if tiers else "Free"
        return Line("Entra licence", f"{tier}: there are no eligible roles to look at; last sign-in needs P1")

    async def _service_identity(self) -> Line:
        settings = self.settings
        if settings.mode is Mode.DEFAULT:
            return Line("Service identity", "none is needed: everybody works with an account of their own")
        if settings.mode is not Mode.ADVANCED or not settings.identity_kind or not settings.identity_id:
            return Line(
                "Service identity", "not set up", "Run `latchkey adopt service-account NAME@DOMAIN` or `application`."
            )
        graph = self.service_graph()
        identity = Identity(settings.identity_kind, settings.identity_id, settings.identity_name or "")
        roles = await directory_roles(graph, identity)
        identity = Identity(identity.kind, identity.id, identity.name, roles)
        lacking = [action for action in delegated().values() if not policy.check_identity(action, identity).ok]
        if lacking:
            names = ", ".join(action.name for action in lacking)
            roles_needed = sorted({name for action in lacking for name in names_of(action.roles_for(identity)[:1])})
            remedy = f"Assign {', '.join(roles_needed)} to it, or leave these actions out of the roles."
            return Line("Service identity", f"{identity.name} signs in, but cannot: {names}", remedy)
        return Line("Service identity", f"{identity.name} signs in and can do every action")

    async def _rotation(self) -> Line:
        """Whether it goes by itself, and what somebody has to look at so that it does."""
        status = await self.rotation()
        level, words = how_it_is(status, self.settings, self.clock.now(), self.zone)
        what = called(status.kind)
        if level is Level.NOTHING:
            return Line("Rotation", words)
        if level is not Level.WELL:
            again = status.open.next_try_at if status.open else None
            words += f" Next try {moment(again, self.zone)}." if again else ""
            return Line("Rotation", words, what_to_do(status))
        locks, limit = await self._locks_after(), self.lockout_threshold or MICROSOFTS_OWN
        if status.kind is CredentialKind.PASSWORD and locks is not None and locks < limit:
            remedy = f"Set LATCHKEY_LOCKOUT_THRESHOLD={locks}, so that Latchkey never tries as many."
            return Line("Rotation", f"the tenant locks accounts after {locks} wrong passwords, not {limit}", remedy)
        age = f"{long(self.clock.now() - status.since)} old" if status.since else "of an age that is not known"
        due = f"changed next {moment(status.next_due, self.zone)}" if status.next_due else described(self.settings)
        known = (
            f"accounts are locked after {locks} wrong ones" if locks else f"a lockout after {limit} is reckoned with"
        )
        return Line("Rotation", f"the {what} is {age}; {due}; {known}")

    async def _locks_after(self) -> int | None:
        """After how many wrong passwords the tenant locks an account; None if it was never decided or cannot be read
        (Graph docs: *List tenant-wide directory settings*)."""
        try:
            found: list[dict[str, Any]] = await self.bot_graph.collect("groupSettings")
        except GraphProblem:
            return None
        rules = (each.get("values", ()) for each in found if each.get("displayName") == "Password Rule Settings")
        values = {value.get("name"): str(value.get("value")) for rule in rules for value in rule}
        threshold = values.get("LockoutThreshold", "")
        return int(threshold) if threshold.isdecimal() else None

    async def _protection(self) -> Line:
        """Every write first reads what protects its target; an identity that may not read that can change nothing."""
        if self.settings.mode is not Mode.ADVANCED:
            return Line("Protection", "not looked at: there is no service identity yet")
        graph = self.service_graph()
        somebody = await graph.collect("users", query={"$select": "id", "$top": "1"}, limit=1)
        try:
            await read_person(graph, somebody[0]["id"], guard=True)
        except GraphRefused as error:
            remedy = f"{error} Give the service identity Security Reader, which reads roles, eligible ones included."
            return Line("Protection", "roles of targets cannot be read, so every change is refused", remedy)
        return Line("Protection", "groups, roles and units of targets can be read")

    async def _what_if(self) -> Line:
        """Whether it can be said which policy refuses a sign-in."""
        try:
            found = await self.conditional_access.read()
        except GraphRefused:
            remedy = f"Give the bot identity the permission {READS_POLICIES}."
            return Line("What-if", "policies cannot be read, so nobody is told which one blocks a sign-in", remedy)
        policies, places = len(found.policies), len(found.locations)
        words = f"{policies} {'policy' if policies == 1 else 'policies'} and {places} named "
        words += f"{'location' if places == 1 else 'locations'} read"
        try:
            await self.conditional_access.changes()
        except GraphRefused:
            remedy = f"Give the bot identity the permission {READS_LOGS}."
            return Line("What-if", f"{words}, but not who changed them, nor the sign-in log", remedy)
        if self.settings.mode is not Mode.ADVANCED:
            return Line("What-if", words)
        egress = await self.conditional_access.egress()
        if egress is None:
            remedy = "Set LATCHKEY_EGRESS_IP to the public address of this machine."
            return Line("What-if", f"{words}; with which address Microsoft sees Latchkey is not known", remedy)
        return Line("What-if", f"{words}; Microsoft sees Latchkey come from {egress.address} ({egress.source})")

    async def _next_sign_in(self) -> Line:
        """What policies will make of it, whatever they made of the last one."""
        settings = self.settings
        if settings.mode is not Mode.ADVANCED or not settings.identity_kind or not settings.identity_id:
            return Line("Next sign-in", "not looked at: there is no service identity yet")
        identity = Identity(settings.identity_kind, settings.identity_id, settings.identity_name or "")
        if identity.kind is IdentityKind.MANAGED_IDENTITY:
            return Line("Next sign-in", "no policy reaches a managed identity")
        foresight = await Canary(self.clock, self.conditional_access).look(identity, closed=self.closed)
        if foresight is None:
            return Line("Next sign-in", "nobody can tell what will come of it, for policies cannot be read")
        for trouble in watched.foreseen(identity, foresight, lambda when: moment(when, self.zone)):
            return Line("Next sign-in", trouble.headline, dict(trouble.facts)["What to do"])
        if found := foresight.untold:
            unknown = listed(missing(name) for result in found for name in result.unknown)
            named = listed(f"“{result.policy.name or result.policy.id}”" for result in found)
            remedy = "Set LATCHKEY_EGRESS_IP, and give the bot identity the permissions that identities.md lists."
            return Line("Next sign-in", f"{named} may block it: {unknown} cannot be seen", remedy)
        only = ", and from nowhere else" if foresight.blocks_elsewhere else ""
        return Line("Next sign-in", f"no policy keeps {identity.name} out{only}")

    async def _sign_in(self) -> Line:
        how = await self.sign_in()
        if how is not None:
            return Line("Sign-in", how)
        found = "no application is named through which people sign in with accounts of their own"
        if self.settings.mode is not Mode.DEFAULT:
            return Line("Sign-in", f"{found}; Advanced mode works without")
        return Line("Sign-in", found, "Register one and set LATCHKEY_SIGNIN_CLIENT_ID: Default mode needs it.")

    async def _audit_trail(self) -> Line:
        wrong = await self.verify_audit()
        if wrong:
            return Line("Audit trail", "does not verify", wrong)
        return Line("Audit trail", "verifies")

    async def _webhook(self) -> Line:
        if self.try_webhook is None:
            return Line("Webhook", "none is set")
        try:
            await self.try_webhook()
        except NotPaged as problem:
            return Line("Webhook", "an alert would wake nobody", f"{problem}"[:1].upper() + f"{problem}"[1:])
        return Line("Webhook", "took a test, which says that it is one")
