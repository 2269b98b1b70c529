"""A tenant on paper: a `Reader` over a dict of paths, for planning and deciding without any server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from bot.errors import GraphAnswer, GraphNotFound, GraphRefused
from bot.model import JSON, Identity, IdentityKind, Person, SlackUser

ADELE_ID = "f142e421-ec74-44a4-9ec6-636e45e4a66d"
SALES_ID = "ce3f373a-cfc9-4694-92d2-3fd6133cf254"
E3_ID = "6fd2c87f-b296-42f0-b197-1e91e994b900"
E3_MAIL, E3_TEAMS = "efb87545-963c-4e0d-99df-69c6916d9eb0", "57ff2da0-773e-42df-b2af-ffb7a2317929"

ADELE = Person(
    id=ADELE_ID,
    upn="adele@contoso.com",
    name="Adele Vance",
    department="Sales",
    title="Retail Manager",
    office="Leeds",
    manager="Miriam Graham",
    usage_location="GB",
    password_changed_at="2026-01-05T08:00:00Z",
    sessions_valid_from="2026-01-05T08:00:00Z",
    attributes={"department": "Sales", "officeLocation": "Leeds", "jobTitle": "Retail Manager", "city": ""},
    groups=frozenset({SALES_ID}),
    guarded=True,
)
"""Nobody special, as `read_person(guard=True)` has her."""

GLOBAL_ADMINISTRATOR = "62e90394-69f5-4237-9190-012177145e10"

SERVICE_ACCOUNT = Identity(
    IdentityKind.SERVICE_ACCOUNT,
    "459f7821-4a0a-40d0-adb1-e0b6c92bfdd7",
    "svc-latchkey",
    frozenset({GLOBAL_ADMINISTRATOR}),
)
APPLICATION = replace(SERVICE_ACCOUNT, kind=IdentityKind.APPLICATION, name="Latchkey worker")


def refused(status: int, code: str) -> GraphRefused:
    """What the client raises for a 4xx of Graph."""
    kind = GraphNotFound if status == 404 else GraphRefused
    return kind("Microsoft said no.", answer=GraphAnswer(status, code))


NOBODY = refused(404, "Request_ResourceNotFound")

Found = JSON | Exception | Callable[[Mapping[str, str]], Any]


@dataclass
class PaperTenant:
    """Answers by path: a value, an error to raise, or a function of the query. What is not there is an error."""

    answers: dict[str, Found] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str], bool]] = field(default_factory=list)
    """(path, query, eventual) of everything that was asked, in order."""

    async def get(self, *path: str, query: Mapping[str, str] | None = None, eventual: bool = False) -> dict[str, Any]:
        found = self._find(path, query, eventual)
        assert isinstance(found, dict)
        return found

    async def collect(
        self, *path: str, query: Mapping[str, str] | None = None, eventual: bool = False, limit: int | None = None
    ) -> list[dict[str, Any]]:
        found = self._find(path, query, eventual)
        assert isinstance(found, list)
        return found[:limit]

    async def ask(self, *path: str, body: JSON) -> dict[str, Any]:
        found = self._find(path, {}, eventual=False)
        assert isinstance(found, dict)
        return found

    def _find(self, path: tuple[str, ...], query: Mapping[str, str] | None, eventual: bool) -> Any:
        where, options = "/".join(path), dict(query or {})
        self.asked.append((where, options, eventual))
        found = self.answers[where]
        if isinstance(found, Exception):
            raise found
        return found(options) if callable(found) else found


class Enabled(PaperTenant):
    """The directory as the bot itself reads it: everybody in it is as they were, until they are disabled."""

    def __init__(self) -> None:
        super().__init__()
        self.disabled: set[str] = set()

    async def get(self, *path: str, query: Mapping[str, str] | None = None, eventual: bool = False) -> dict[str, Any]:
        return {"id": path[-1], "accountEnabled": path[-1] not in self.disabled}


class NobodySignsIn:
    """Nobody proves who they are."""

    has_callback = False

    def last_fresh(self, slack: SlackUser) -> datetime | None:
        return None

    def held_for(self, about: str) -> None:
        return None

    def drop(self, about: str) -> None:
        pass


def user(**more: Any) -> dict[str, Any]:
    """Adele as Graph has her, with *more* changed."""
    return {
        "id": ADELE_ID,
        "userPrincipalName": "adele@contoso.com",
        "displayName": "Adele Vance",
        "department": "Sales",
        "jobTitle": "Retail Manager",
        "officeLocation": "Leeds",
        "city": None,
        "userType": "Member",
        "accountEnabled": True,
        "onPremisesSyncEnabled": None,
        "usageLocation": "GB",
        "lastPasswordChangeDateTime": "2026-01-05T08:00:00Z",
        "signInSessionsValidFromDateTime": "2026-01-05T08:00:00Z",
        "signInActivity": {"lastSignInDateTime": "2026-03-02T13:00:00Z"},
        "manager": {"displayName": "Miriam Graham"},
        "assignedLicenses": [{"skuId": E3_ID, "disabledPlans": []}],
        "licenseAssignmentStates": [{"skuId": E3_ID, "disabledPlans": [], "assignedByGroup": None}],
        "onPremisesExtensionAttributes": {"extensionAttribute1": "gold"},
        **more,
    }


def group(**more: Any) -> dict[str, Any]:
    """The security group Sales as Graph has it, with *more* changed."""
    return {
        "@odata.type": "#microsoft.graph.group",
        "id": SALES_ID,
        "displayName": "Sales",
        "groupTypes": [],
        "mailEnabled": False,
        "securityEnabled": True,
        "onPremisesSyncEnabled": None,
        "isAssignableToRole": None,
        **more,
    }


def sku(**more: Any) -> dict[str, Any]:
    """Office 365 E3 as Graph has it, with *more* changed."""
    return {
        "skuId": E3_ID,
        "skuPartNumber": "ENTERPRISEPACK",
        "appliesTo": "User",
        "consumedUnits": 12,
        "prepaidUnits": {"enabled": 50},
        "servicePlans": [
            {"servicePlanId": E3_MAIL, "servicePlanName": "EXCHANGE_S_ENTERPRISE", "appliesTo": "User"},
            {"servicePlanId": E3_TEAMS, "servicePlanName": "TEAMS1", "appliesTo": "User"},
        ],
        **more,
    }


def contoso() -> PaperTenant:
    """A small tenant with everything the actions read about Adele."""
    adele = f"users/{ADELE_ID}"
    return PaperTenant(
        {
            adele: user(),
            "users/adele@contoso.com": user(),
            f"{adele}/transitiveMemberOf": [group()],
            f"{adele}/memberOf/microsoft.graph.group": [group()],
            f"{adele}/memberOf/microsoft.graph.administrativeUnit": [],
            f"{adele}/licenseDetails": [{"skuPartNumber": "ENTERPRISEPACK"}],
            f"{adele}/authentication/temporaryAccessPassMethods": [],
            "roleManagement/directory/roleAssignments": [],
            "roleManagement/directory/roleEligibilityScheduleInstances": [],
            "groups": [group()],
            f"groups/{SALES_ID}": group(),
            f"groups/{SALES_ID}/transitiveMemberOf": [],
            "subscribedSkus": [sku()],
        }
    )
