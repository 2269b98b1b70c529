"""Policies and sign-ins drawn at random, from so few names that they often meet."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, TypeVar

from tests.whatif.small import EXCHANGE, GRAPH, OFFICE, raw_policy

JSON = Any
T = TypeVar("T")

USERS, GROUPS, ROLES, TENANTS = ("u1", "u2", "u3"), ("g1", "g2", "g3", "g4"), ("r1", "r2", "r3"), ("t1", "t2")
GUESTS = ("internalGuest", "b2bCollaborationGuest", "b2bCollaborationMember", "otherExternalUser", "serviceProvider")
PLATFORMS = ("android", "iOS", "windows", "macOS", "linux")
CLIENTS = ("browser", "mobileAppsAndDesktopClients", "exchangeActiveSync", "easSupported", "other")
LEVELS, INSIDER = ("none", "low", "medium", "high"), ("minor", "moderate", "elevated")
FLOWS = ("deviceCodeFlow", "authenticationTransfer")
APPS = (EXCHANGE, GRAPH, "11111111-1111-1111-1111-111111111111")
ADDRESSES = ("203.0.113.9", "198.51.100.7", "192.0.2.1", "2001:db8::1", "2001:db9::1")
RULES = (
    "device.isCompliant -eq True",
    'device.isCompliant -eq True -or device.deviceOwnership -eq "Company"',
    'device.deviceOwnership -ne "Company"',
)


def country(id_: str, countries: Sequence[str], *, unknown: bool) -> JSON:
    kind = "#microsoft.graph.countryNamedLocation"
    return {
        "@odata.type": kind, "id": id_, "countriesAndRegions": list(countries),
        "includeUnknownCountriesAndRegions": unknown,
    }  # fmt: skip


LOCATIONS = [
    OFFICE,
    {
        "@odata.type": "#microsoft.graph.ipNamedLocation",
        "id": "branch",
        "isTrusted": False,
        "ipRanges": [{"cidrAddress": "198.51.100.0/25"}, {"cidrAddress": "203.0.113.8/31"}],
    },
    country("north", ("NO", "SE"), unknown=False),
    country("south", ("ES",), unknown=True),
]
PLACES = ("office", "branch", "north", "south", "AllTrusted")


class Dice:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a population, not a secret

    def chance(self, of: float) -> bool:
        return self._random.random() < of

    def one(self, names: Sequence[T]) -> T:
        return self._random.choice(names)

    def some(self, names: Sequence[str], most: int = 2) -> list[str]:
        return self._random.sample(names, self._random.randint(0, most))

    def perhaps(self, of: float, value: JSON) -> JSON:
        return value if self.chance(of) else None

    # --- policies ---------------------------------------------------------------------------------------------------

    def policy(self, id_: str) -> JSON:
        grants: tuple[list[str], ...] = (["mfa"], ["block"], ["mfa", "compliantDevice"], [])
        grant = self.perhaps(0.9, {"operator": self.one(("AND", "OR")), "builtInControls": self.one(grants)})
        workloads = self.chance(0.2)
        return raw_policy(
            id_,
            state=self.one(("enabled", "enabled", "enabledForReportingButNotEnforced", "disabled")),
            grant=grant,
            session=self.perhaps(0.3, {"persistentBrowser": {"mode": "never", "isEnabled": True}}),
            users={"includeUsers": ["None"]} if workloads else self.users(),
            clientApplications=self.principals() if workloads else None,
            applications=self.applications(),
            clientAppTypes=self.perhaps(0.3, self.some(CLIENTS)) or ["all"],
            platforms=self.perhaps(0.3, self.choice("Platforms", PLATFORMS, "all")),
            locations=self.perhaps(0.4, self.choice("Locations", PLACES, "All")),
            devices=self.perhaps(
                0.2, {"deviceFilter": {"mode": self.one(("include", "exclude")), "rule": self.one(RULES)}}
            ),
            signInRiskLevels=self.perhaps(0.2, self.some(LEVELS, 3)) or [],
            userRiskLevels=self.perhaps(0.2, self.some(LEVELS, 3)) or [],
            servicePrincipalRiskLevels=self.perhaps(0.1, self.some(LEVELS, 3)) or [],
            insiderRiskLevels=self.perhaps(0.1, ",".join(self.some(INSIDER)) or None),
            authenticationFlows=self.perhaps(0.1, {"transferMethods": ",".join(self.some(FLOWS)) or "none"})
            if self.chance(0.5)
            else None,
        )

    def choice(self, what: str, names: Sequence[str], everything: str) -> JSON:
        include = [everything] if self.chance(0.5) else self.some(names, 3)
        return {f"include{what}": include, f"exclude{what}": self.perhaps(0.5, self.some(names)) or []}

    def users(self) -> JSON:
        return {
            "includeUsers": ["All"] if self.chance(0.4) else self.some((*USERS, "GuestsOrExternalUsers")),
            "excludeUsers": self.perhaps(0.3, self.some((*USERS, "GuestsOrExternalUsers"))) or [],
            "includeGroups": self.some(GROUPS),
            "excludeGroups": self.perhaps(0.5, self.some(GROUPS)) or [],
            "includeRoles": self.some(ROLES),
            "excludeRoles": self.perhaps(0.3, self.some(ROLES)) or [],
            "includeGuestsOrExternalUsers": self.perhaps(0.2, self.guests()),
            "excludeGuestsOrExternalUsers": self.perhaps(0.2, self.guests()),
        }

    def guests(self) -> JSON:
        kinds = [*self.some(GUESTS), self.one(GUESTS)]
        if self.chance(0.3):
            kinds = [*GUESTS, "b2bDirectConnectUser"]
        tenants: JSON = {"membershipKind": "all"}
        if self.chance(0.5):
            tenants = {"membershipKind": "enumerated", "members": [self.one(TENANTS)]}
        return {"guestOrExternalUserTypes": ",".join(dict.fromkeys(kinds)), "externalTenants": tenants}

    def principals(self) -> JSON:
        return {
            "includeServicePrincipals": self.some(("s1", "s2", "ServicePrincipalsInMyTenant")),
            "excludeServicePrincipals": self.perhaps(0.5, self.some(("s1", "s2"))) or [],
        }

    def applications(self) -> JSON:
        if self.chance(0.15):
            return {"includeUserActions": [self.one(("urn:user:registersecurityinfo", "urn:user:registerdevice"))]}
        if self.chance(0.15):
            return {"includeAuthenticationContextClassReferences": [self.one(("c1", "c2"))]}
        include = self.one((["All"], ["All"], ["None"], ["Office365"], self.some(APPS)))
        return {"includeApplications": include, "excludeApplications": self.some((*APPS, "Office365"), 1)}

    # --- sign-ins ---------------------------------------------------------------------------------------------------

    def line(self, id_: str, *, given: float = 0.8) -> JSON:
        """A line as `latchkey whatif` takes it; *given* is how likely each condition is said."""
        conditions = {
            "ipAddress": self.perhaps(given, self.one(ADDRESSES)),
            "country": self.perhaps(given, self.one(("NO", "ES", "US", ""))),
            "devicePlatform": self.perhaps(given, self.one((*PLATFORMS, "all"))),
            "clientAppType": self.perhaps(given, self.one((*CLIENTS, "all"))),
            "signInRiskLevel": self.perhaps(given, self.one(LEVELS)),
            "userRiskLevel": self.perhaps(given, self.one(LEVELS)),
            "servicePrincipalRiskLevel": self.perhaps(given, self.one(LEVELS)),
            "insiderRiskLevel": self.perhaps(given, self.one((*INSIDER, "none"))),
            "authenticationFlow": self.perhaps(given, {"transferMethod": self.one((*FLOWS, "none"))}),
            "deviceInfo": self.perhaps(
                given, {"isCompliant": self.chance(0.5), "ownership": self.one(("Company", "Personal", None))}
            ),
        }
        user = None if self.chance(0.2) else self.user(given)
        identity = {
            "@odata.type": "#microsoft.graph.servicePrincipalSignIn",
            "servicePrincipalId": self.one(("s1", "s2", "s3")),
        }
        if user:
            identity = {"@odata.type": "#microsoft.graph.userSignIn", "userId": user["id"]}
        asked = {name: value for name, value in conditions.items() if value is not None}
        request = {"signInIdentity": identity, "signInContext": self.context(given), "signInConditions": asked}
        return {"id": id_, "user": user, "request": request}

    def user(self, given: float) -> JSON:
        guest = self.chance(0.3)
        return {
            "id": self.one((*USERS, "u4")),
            "userType": "guest" if guest else "member",
            "guestType": self.perhaps(given, self.one(GUESTS)) if guest or self.chance(0.1) else None,
            "homeTenantId": self.perhaps(given, self.one((*TENANTS, "t3"))),
            "groups": self.perhaps(given, self.some(GROUPS, 3)),
            "roles": self.perhaps(given, self.some(ROLES)),
        }

    def context(self, given: float) -> JSON:
        if self.chance(0.1):
            name = self.one(("registerSecurityInformation", "registerOrJoinDevices"))
            return {"@odata.type": "#microsoft.graph.userActionContext", "userAction": name}
        if self.chance(0.1):
            return {"@odata.type": "#microsoft.graph.authContext", "authenticationContextValue": self.one(("c1", "c2"))}
        apps = [*self.some(APPS, 1), self.one(APPS)]
        return self.perhaps(given, {"@odata.type": "#microsoft.graph.applicationContext", "includeApplications": apps})
