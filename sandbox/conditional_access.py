"""Conditional Access of the pretend tenant: its policies and locations, what they make of a sign-in, and the log of it.

Written from Microsoft's pages and by itself: it shares nothing with what Latchkey thinks about the same policies.
"""

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any
from uuid import uuid4

from sandbox.directory import Application, Audit, Directory, PolicyChange, Timeline, User
from sandbox.policy_conditions import Attempt, Json, Person, reasons

GRAPH = "00000003-0000-0000-c000-000000000000"
KEY_VAULT = "cfa8b339-82a2-471a-a3c9-0fc0be7a4093"
RESOURCES = {"graph": (GRAPH, "Microsoft Graph"), "vault": (KEY_VAULT, "Azure Key Vault")}

STRENGTHS = {
    "00000000-0000-0000-0000-000000000002": "Multifactor authentication",
    "00000000-0000-0000-0000-000000000003": "Passwordless MFA",
    "00000000-0000-0000-0000-000000000004": "Phishing-resistant MFA",
}

PORTAL = Application(
    key="portal",
    name="Azure Portal",
    app_id="c44b4083-3bb0-49c1-b47d-974e53cbdf3c",
    principal_id="1b2f3a55-7d0e-4d3b-9a41-6c0f5e8d2b10",
)
"""With what administrators change policies who do not use Latchkey."""

GARY = "gary@contoso.com"
"""The administrator who does, if nothing else is said."""

# What policies look like


def _lists(*names: str) -> dict[str, Any]:
    return {name: [] for name in names}


def complete(body: Json) -> dict[str, Any]:
    """A policy as Graph shows it: with every property, also those v1.0 does not document but answers."""
    given = _without_annotations(body)
    conditions = given.get("conditions") or {}

    def part(name: str, nothing: Json) -> dict[str, Any] | None:
        held = conditions.get(name)
        return {**deepcopy(dict(nothing)), **held} if isinstance(held, Mapping) else None  # exports hold [] for none

    grant, session = given.get("grantControls"), given.get("sessionControls")
    return {
        "id": given.get("id"),
        "templateId": given.get("templateId"),
        "displayName": given.get("displayName"),
        "description": given.get("description"),
        "createdDateTime": given.get("createdDateTime"),
        "modifiedDateTime": given.get("modifiedDateTime"),
        "deletedDateTime": given.get("deletedDateTime"),
        "state": given.get("state"),
        "partialEnablementStrategy": None,
        "conditions": {
            **_lists("userRiskLevels", "signInRiskLevels", "clientAppTypes", "servicePrincipalRiskLevels"),
            **dict.fromkeys(("insiderRiskLevels", "clients", "times", "deviceStates")),
            **{name: value for name, value in conditions.items() if value is not None},
            "platforms": part("platforms", _lists("includePlatforms", "excludePlatforms")),
            "locations": part("locations", _lists("includeLocations", "excludeLocations")),
            "devices": part("devices", {"deviceFilter": None}),
            "authenticationFlows": part("authenticationFlows", {}),
            "clientApplications": part(
                "clientApplications",
                {
                    **_lists("includeServicePrincipals", "excludeServicePrincipals"),
                    "servicePrincipalFilter": None,
                },
            ),
            "applications": {
                **_lists(
                    "includeApplications",
                    "excludeApplications",
                    "includeUserActions",
                    "includeAuthenticationContextClassReferences",
                ),
                **dict.fromkeys(("applicationFilter", "networkAccess", "globalSecureAccess")),
                **(conditions.get("applications") or {}),
            },
            "users": {
                **_lists(
                    "includeUsers", "excludeUsers", "includeGroups", "excludeGroups", "includeRoles", "excludeRoles"
                ),
                **dict.fromkeys(("includeGuestsOrExternalUsers", "excludeGuestsOrExternalUsers")),
                **(conditions.get("users") or {}),
            },
        },
        "grantControls": None
        if grant is None
        else {
            "operator": "OR",
            **_lists("builtInControls", "customAuthenticationFactors", "termsOfUse"),
            **grant,
            "authenticationStrength": _strength(grant.get("authenticationStrength")),
        },
        "sessionControls": None
        if session is None
        else {
            **dict.fromkeys(
                (
                    "disableResilienceDefaults", "applicationEnforcedRestrictions", "cloudAppSecurity",
                    "signInFrequency", "persistentBrowser", "secureSignInSession",
                )
            ),
            **session,
        },
    }  # fmt: skip


def complete_location(body: Json) -> dict[str, Any]:
    """A named location as Graph shows it."""
    kind = body["@odata.type"]
    defaults: dict[str, Any] = {}
    if kind.endswith("ipNamedLocation"):
        defaults = {"isTrusted": False, "ipRanges": []}
    elif kind.endswith("countryNamedLocation"):
        defaults = {
            "countriesAndRegions": [],
            "countryLookupMethod": "clientIpAddress",
            "includeUnknownCountriesAndRegions": False,
        }
    times = ("createdDateTime", "modifiedDateTime", "deletedDateTime")
    given = {name: value for name, value in body.items() if "@odata." not in name and not name.startswith("#")}
    return {"@odata.type": kind, "id": None, "displayName": "", **dict.fromkeys(times), **defaults, **given}


def _strength(given: Json | None) -> dict[str, Any] | None:
    if given is None:
        return None
    return {
        "id": given.get("id"),
        "createdDateTime": "2021-12-01T08:00:00Z",
        "modifiedDateTime": "2021-12-01T08:00:00Z",
        "displayName": STRENGTHS.get(str(given.get("id"))),
        "description": None,
        "policyType": "builtIn",
        "requirementsSatisfied": "mfa",
        "allowedCombinations": given.get("allowedCombinations") or ["password,microsoftAuthenticatorPush", "fido2"],
        "combinationConfigurations": [],
    }


def _without_annotations(value: Any) -> Any:
    """A body without `@odata.` properties, but for the types of external tenants, which are part of it."""
    if isinstance(value, Mapping):
        return {
            name: _without_annotations(one)
            for name, one in value.items()
            if "@odata." not in name or (name == "@odata.type" and "ExternalTenants" in str(one))
        }
    return [_without_annotations(one) for one in value] if isinstance(value, list) else value


# One sign-in


@dataclass(frozen=True)
class Proof:
    """What whoever signs in has shown or can show: `registered` is a second factor that could be asked for."""

    mfa: bool = False
    registered: bool = False
    interactive: bool = False
    age: float = 0.0  # seconds since it was shown

    def meets(self, control: str, device: Json) -> bool:
        match control:
            case "mfa" | "authenticationStrength":
                return self.mfa
            case "compliantDevice":
                return bool(device.get("isCompliant"))
            case "domainJoinedDevice":
                return device.get("trustType") == "ServerAD"
            case _:
                return False


@dataclass(frozen=True)
class Outcome:
    """What one policy made of a sign-in; `result` in the words of the sign-in log."""

    policy: Json
    result: str
    unmet: tuple[str, ...] = ()  # the controls that were not met, in the order in which they are asked for

    @property
    def enforced(self) -> bool:
        return self.result == "failure"


@dataclass(frozen=True)
class Judgement:
    """What all of it comes to: the AADSTS number, 0 if the sign-in goes on."""

    code: int = 0
    outcomes: tuple[Outcome, ...] = ()
    by_flow: bool = False  # refused by a policy about authentication flows

    @property
    def status(self) -> str:
        results = {outcome.result for outcome in self.outcomes}
        return "failure" if "failure" in results else "success" if "success" in results else "notApplied"


@dataclass(frozen=True)
class SignIn:
    """One line of the sign-in log."""

    id: str
    time: float
    correlation_id: str
    application: Application
    user: User | None
    resource: str  # graph or vault
    protocol: str  # password, browser, deviceCode, refresh_token, client_credentials
    interactive: bool
    client_app: str
    ip: str
    country: str
    user_agent: str
    code: int
    judgement: Judgement


# "Conditional Access: Grant", the order in which controls are asked for; and how Entra refuses without each.
_CODES = {
    "mfa": 50076,
    "authenticationStrength": 50076,
    "compliantDevice": 53000,
    "domainJoinedDevice": 53001,
    "approvedApplication": 53002,
    "compliantApplication": 53009,
    "passwordChange": 50135,
    "riskRemediation": 50135,
    "termsOfUse": 50158,
    "customAuthenticationFactors": 50158,
}
_OF_DEVICES = frozenset({"compliantDevice", "domainJoinedDevice"})
_BLOCKED = 53003
_FREQUENT = 300.0  # "every time" lets five minutes pass, for clocks that differ
_UNITS = {"hours": 3600.0, "days": 86400.0}


class ConditionalAccess:
    """The policies, and what they do. Knobs: `egress`, the address the bot's machine is seen with, and `browser`, that
    of people at their desks, with their `countries`; `browser_device`, what people's own machine proves;
    `password_client`, as which kind of client a sign-in with user name and password counts; `read_lag`, the seconds
    by which Graph's reads are behind writes, `enforcement_lag`, the same for sign-ins; `log_delay`, after which a
    sign-in is in the log; `seconds_between_calls`, what Graph wants between two calls about Conditional Access.
    """

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.sign_ins: list[SignIn] = []
        self.per_user_mfa: dict[str, str] = {}  # by id: enabled or enforced
        self.egress = "203.0.113.10"
        self.browser = "198.51.100.20"
        self.countries = {self.egress: "IE", self.browser: "GB"}
        self.browser_device: Json = {
            "deviceId": "0d4f6c1e-9b2a-4b7e-8f53-2a6e1c9d7b40",
            "displayName": "DESK-PC",
            "operatingSystem": "Windows",
            "isCompliant": True,
            "trustType": "AzureAD",
        }
        self.password_client = "mobileAppsAndDesktopClients"
        self.read_lag = 0.0
        self.enforcement_lag = 0.0
        self.log_delay = 0.0
        self.seconds_between_calls = 0.0
        self._called_at = float("-inf")
        self._policies: Timeline[tuple[Json, ...]] = Timeline(())
        self._locations: Timeline[tuple[Json, ...]] = Timeline(())
        self._security_defaults: Timeline[bool] = Timeline(directory.tenant.security_defaults)

    # What there is

    def policies(self, at: float | None = None) -> tuple[Json, ...]:
        """The policies, or those there were at a time."""
        return self._policies.at(at) or ()

    def locations(self, at: float | None = None) -> tuple[Json, ...]:
        """The named locations, or those there were at a time."""
        return self._locations.at(at) or ()

    def security_defaults(self, at: float | None = None) -> bool:
        return bool(self._security_defaults.at(at))

    def policy(self, key: str) -> Json:
        """By id, by display name, or by the name of the shipped file it came from; KeyError if there is none."""
        names = {key, *(str(one["id"]) for one in _shipped(key).get("policies", ()))}
        for policy in self.policies():
            if policy["id"] in names or policy["displayName"] in names:
                return policy
        raise KeyError(key)

    def may_be_called(self) -> bool:
        """Whether Graph serves a call about Conditional Access now, or has just served one."""
        now = self.directory.clock.now()
        if now - self._called_at < self.seconds_between_calls:
            return False
        self._called_at = now
        return True

    # Changes, each answered with what the audit log says of it

    def put_policy(self, policy: Json) -> PolicyChange:
        """Add a policy, or put it in the place of the one with its id."""
        return self._put(self._policies, policy, "ConditionalAccessPolicy")

    def delete_policy(self, policy_id: str) -> PolicyChange:
        return self._delete(self._policies, policy_id, "ConditionalAccessPolicy")

    def put_location(self, location: Json) -> PolicyChange:
        """Add a named location, or put it in the place of the one with its id."""
        return self._put(self._locations, location, "NamedLocation")

    def delete_location(self, location_id: str) -> PolicyChange:
        return self._delete(self._locations, location_id, "NamedLocation")

    def set_security_defaults(self, enabled: bool) -> PolicyChange:
        before = self.security_defaults()
        self._security_defaults.set(self.directory.clock.now(), enabled)
        told = [json.dumps({"isEnabled": value}) for value in (before, enabled)]
        return PolicyChange(SECURITY_DEFAULTS, "Security Defaults", "isEnabled", told[0], told[1])

    def _put(self, line: Timeline[tuple[Json, ...]], thing: Json, kind: str) -> PolicyChange:
        held = line.at(None) or ()
        before = next((one for one in held if one["id"] == thing["id"]), None)
        after = tuple(thing if one is before else one for one in held) if before else (*held, thing)
        line.set(self.directory.clock.now(), after)
        return PolicyChange(
            thing["id"], thing["displayName"], kind, None if before is None else json.dumps(before), json.dumps(thing)
        )

    def _delete(self, line: Timeline[tuple[Json, ...]], key: str, kind: str) -> PolicyChange:
        held = line.at(None) or ()
        gone = next(one for one in held if one["id"] == key)
        line.set(self.directory.clock.now(), tuple(one for one in held if one is not gone))
        return PolicyChange(key, gone["displayName"], kind, json.dumps(gone), None)

    # Changes by an administrator elsewhere

    def add_from_file(self, name: str, *, by: str | None = GARY) -> None:
        """Add the policies and locations of a shipped file (`mfa-for-admins.json`), or of a path; FileNotFoundError if
        there is none. `by` made them; None: they have always been there.
        """
        content = read_policies(name)
        stamped = stamp(self.directory.clock.now() - (0 if by else 90 * 86400.0))
        for location in content.get("namedLocations") or ():
            if location["id"] not in {one["id"] for one in self.locations()}:
                known = complete_location({**location, "createdDateTime": stamped, "modifiedDateTime": None})
                self._tell("Add named location", self.put_location(known), by)
        for policy in content["policies"]:
            made = {"id": str(uuid4()), **policy, "createdDateTime": stamped, "modifiedDateTime": None}
            self._tell("Add conditional access policy", self.put_policy(complete(made)), by)

    def remove(self, key: str, *, by: str = GARY) -> None:
        """Delete a policy; KeyError if there is none."""
        self._tell("Delete conditional access policy", self.delete_policy(self.policy(key)["id"]), by)

    def edit(self, key: str, *, by: str = GARY, **changes: Any) -> None:
        """Change properties of a policy (`state`, `conditions`, …); KeyError if there is none."""
        changed = {**self.policy(key), **changes, "modifiedDateTime": stamp(self.directory.clock.now())}
        self._tell("Update conditional access policy", self.put_policy(complete(changed)), by)

    def exclude(self, key: str, account: str, *, excluded: bool = True, by: str = GARY) -> None:
        """Leave somebody out of a policy, or take them in again; KeyError if there is no such policy or account."""
        policy, user_id = self.policy(key), self.directory.user(account).id
        users = policy["conditions"]["users"]
        others = [one for one in users["excludeUsers"] if one != user_id]
        users = {**users, "excludeUsers": [*others, user_id] if excluded else others}
        self.edit(key, by=by, conditions={**policy["conditions"], "users": users})

    def switch_security_defaults(self, enabled: bool, *, by: str = GARY) -> None:
        """Switch the tenant's security defaults."""
        self._tell("Update security defaults", self.set_security_defaults(enabled), by)

    def set_per_user_mfa(self, account: str, state: str) -> None:
        """Give somebody another state of per-user MFA; KeyError if there is nobody."""
        self.per_user_mfa[self.directory.user(account).id] = state

    def move(self, address: str, country: str) -> None:
        """Let the bot's machine be seen with another address, of a country."""
        self.egress, self.countries = address, {**self.countries, address: country}

    def _tell(self, activity: str, change: PolicyChange, by: str | None) -> None:
        if by is None:
            return
        request_id = str(uuid4())
        self.directory.audits.append(
            Audit(
                id=f"IPCGraph_{request_id}",
                time=self.directory.clock.now(),
                request_id=request_id,
                client_request_id=None,
                category="Policy",
                activity=activity,
                caller_app=PORTAL,
                caller_user=self.directory.user(by),
                target=change,
                modified=(change.kind,),
            )
        )

    # Where somebody is, and who it is

    def country_of(self, ip: str) -> str:
        """The country an address belongs to; empty if none is known."""
        return self.countries.get(ip, "")

    def person(self, user: User) -> Person:
        """Somebody of the tenant as policies see them."""
        view = self.directory.latest
        # Custom roles, and roles over an administrative unit, are not what a policy's roles mean.
        roles = {
            one.role_id
            for one in view.active_roles(user.id)
            if one.scope == "/" and self.directory.roles[one.role_id].built_in
        }
        local, external, _ = user.upn.partition("#EXT#@")
        guest = None
        if external:
            guest = frozenset({"b2bCollaborationGuest" if user.kind == "Guest" else "b2bCollaborationMember"})
        elif user.kind == "Guest":
            guest = frozenset({"internalGuest"})
        domain = local.rpartition("_")[2]
        home = next(
            (one.tenant_id for one in self.directory.strangers.values() if one.upn.endswith(f"@{domain}")), None
        )
        groups = frozenset(group.id for group in view.groups_of(user.id, transitive=True))
        return Person(user.id, groups, frozenset(roles), guest, home if external else self.directory.tenant.id)

    # What it comes to

    def judge(self, attempt: Attempt, proof: Proof) -> Judgement:
        """Whether Entra lets this sign-in go on. To be asked after the first factor was right, and not before."""
        at = self.directory.clock.now() - self.enforcement_lag if self.enforcement_lag else None
        device = attempt.device or {}
        locations = self.locations(at)
        outcomes = []
        for policy in self.policies(at):
            only_reported = policy["state"] == "enabledForReportingButNotEnforced"
            if policy["state"] == "disabled":
                outcomes.append(Outcome(policy, "notEnabled"))
            elif next(reasons(policy, attempt, locations), None) is not None:
                outcomes.append(Outcome(policy, "reportOnlyNotApplied" if only_reported else "notApplied"))
            else:
                unmet = _unmet(policy, proof, device)
                result = "failure" if unmet else "success"
                if only_reported:
                    result = "reportOnlySuccess"
                    if unmet:
                        asks = unmet[0] in ("mfa", "authenticationStrength")
                        result = "reportOnlyInterrupted" if asks else "reportOnlyFailure"
                outcomes.append(Outcome(policy, result, unmet))
        failed = [outcome for outcome in outcomes if outcome.enforced]
        code = self._code(attempt, proof, failed, self.security_defaults(at))
        by_flow = code == _BLOCKED and any(
            outcome.policy["conditions"]["authenticationFlows"] is not None and outcome.unmet == ("block",)
            for outcome in failed
        )
        return Judgement(code, tuple(outcomes), by_flow)

    def _code(self, attempt: Attempt, proof: Proof, failed: Sequence[Outcome], security_defaults: bool) -> int:
        unmet = [control for outcome in failed for control in outcome.unmet]
        if "block" in unmet:
            return _BLOCKED
        person = attempt.person
        asks = 50076 if proof.registered else 50079
        if person is not None and not proof.mfa:
            # "Security defaults in Microsoft Entra ID": administrators prove themselves at every sign-in, and everybody
            # has to have registered.
            if security_defaults and person.roles:
                return asks if proof.interactive else 530035
            if security_defaults and not proof.registered:
                return asks
            if self.per_user_mfa.get(person.id or "", "disabled") != "disabled":
                return asks
        for control in _CODES:
            if control in unmet:
                if _CODES[control] == 50076:
                    return asks
                if control in _OF_DEVICES and attempt.flow == "deviceCodeFlow":
                    return 530033
                return _CODES[control]
        if any(_too_old(outcome.policy, proof.age) for outcome in failed):
            return 70043
        return 0

    def log(self, line: SignIn) -> None:
        """Keep a sign-in for the log."""
        self.sign_ins.append(line)

    def logged(self) -> list[SignIn]:
        """The sign-ins that have reached the log, newest first."""
        until = self.directory.clock.now() - self.log_delay
        return [line for line in reversed(self.sign_ins) if line.time <= until]


SECURITY_DEFAULTS = "00000000-0000-0000-0000-000000000005"


def _unmet(policy: Json, proof: Proof, device: Json) -> tuple[str, ...]:
    """The controls of a policy that still stand in the way; empty if it is satisfied."""
    limits = ("signInFrequency",) if _too_old(policy, proof.age) else ()
    grant = policy["grantControls"]
    if grant is None:
        return limits
    wanted = list(grant["builtInControls"])
    wanted += [name for name in ("authenticationStrength", "termsOfUse", "customAuthenticationFactors") if grant[name]]
    if "block" in wanted:
        return ("block",)
    unmet = [control for control in sorted(wanted, key=_order) if not proof.meets(control, device)]
    if grant["operator"] == "OR" and len(unmet) < len(wanted):
        return limits
    return (*unmet, *limits) if grant["operator"] == "AND" else (*unmet[:1], *limits)


def _order(control: str) -> int:
    return list(_CODES).index(control) if control in _CODES else len(_CODES)


def _too_old(policy: Json, age: float) -> bool:
    """Whether the policy's sign-in frequency wants a sign-in that is newer."""
    frequency = (policy["sessionControls"] or {}).get("signInFrequency")
    if not frequency or not frequency.get("isEnabled"):
        return False
    if frequency.get("frequencyInterval") == "everyTime":
        return age > _FREQUENT
    return age > (frequency.get("value") or 0) * _UNITS.get(str(frequency.get("type")), float("inf"))


# Files


def read_policies(name: str) -> dict[str, Any]:
    """What a file holds, `{"policies": [...], "namedLocations": [...]}`: a shipped one by its name, others by path."""
    content = _shipped(name) or json.loads(Path(name).read_text(encoding="utf-8"))
    return deepcopy(dict(content))


def is_shipped(name: str) -> bool:
    """Whether a file of policies of this name comes with the sandbox."""
    return bool(_shipped(name))


def _shipped(name: str) -> Json:
    name = name if name.endswith(".json") else f"{name}.json"
    file = files("sandbox").joinpath("data", "policies", name)
    if "/" in name or not file.is_file():
        return {}
    content: Json = json.loads(file.read_text(encoding="utf-8"))
    return content


def stamp(seconds: float) -> str:
    """Unix seconds as Graph writes the times of policies, with their fractions."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def platform_of(user_agent: str) -> str:
    """The platform a browser says it runs on, empty if it does not."""
    for sign, platform in (
        ("Windows", "windows"), ("iPhone", "iOS"), ("iPad", "iOS"), ("Android", "android"), ("Macintosh", "macOS"),
        ("X11; Linux", "linux"),
    ):  # fmt: skip
        if sign in user_agent:
            return platform
    return ""


def sign_in_line(at: float, attempt: Attempt, judgement: Judgement, **facts: Any) -> SignIn:
    """A line for the log; `facts` are the rest of `SignIn`."""
    return SignIn(
        id=str(uuid4()),
        time=at,
        client_app=attempt.client_app or "",
        ip=attempt.ip or "",
        country=attempt.country or "",
        judgement=judgement,
        **facts,
    )
