"""The tenant itself in Graph: organisation, security defaults, service principals, and the directory audit log."""

from collections.abc import Mapping
from typing import Any

from sandbox.clock import iso
from sandbox.conditional_access import SECURITY_DEFAULTS
from sandbox.directory import Application, Audit, Group, PolicyChange, User
from sandbox.graph import authority
from sandbox.graph.call import Call, Reply, bad_request, not_found
from sandbox.graph.odata import Sized, page, record_entity, single

_ORGANIZATION = record_entity(
    "organization",
    ("id", "displayName", "countryLetterCode", "onPremisesSyncEnabled", "verifiedDomains", "assignedPlans"),
)
_DEFAULTS = record_entity(
    "identitySecurityDefaultsEnforcementPolicy", ("id", "displayName", "description", "isEnabled")
)
_PRINCIPAL = record_entity(
    "servicePrincipal",
    ("id", "appId", "displayName", "accountEnabled", "servicePrincipalType", "appOwnerOrganizationId"),
    ("id", "appId", "displayName"),
)
_AUDIT = record_entity(
    "directoryAudit",
    (
        "id", "category", "correlationId", "result", "resultReason", "activityDisplayName", "activityDateTime",
        "loggedByService", "operationType", "initiatedBy", "targetResources", "additionalDetails",
    ),
    (
        "correlationId", "activityDisplayName", "activityDateTime", "category", "result", "loggedByService",
        "targetResources",
    ),
)  # fmt: skip
_TARGET_TYPES = {User: "User", Group: "Group", Application: "ServicePrincipal", PolicyChange: "Policy"}
_PREMIUM_PLANS = {
    "P1": "41781fb2-bc02-4b7c-bd55-b576c07bb09d",  # AAD_PREMIUM
    "P2": "eec0eb4f-6444-4f95-aba0-50c24d67f998",  # AAD_PREMIUM_P2
}


def list_organizations(call: Call) -> Reply:
    """`GET /organization`: always one"""
    authority.require(call.caller, authority.READ_ORGANIZATION)
    tenant = call.directory.tenant
    row: Mapping[str, Any] = {
        "id": tenant.id,
        "displayName": tenant.name,
        "countryLetterCode": "GB",
        "onPremisesSyncEnabled": True,
        "verifiedDomains": [
            {
                "name": domain,
                "isDefault": number == 0,
                "isInitial": domain.endswith(".onmicrosoft.com"),
                "type": "Managed",
                "capabilities": "Email, OfficeCommunicationsOnline",
            }
            for number, domain in enumerate(tenant.domains)
        ],
        "assignedPlans": [
            {"servicePlanId": _PREMIUM_PLANS[name], "service": "AADPremiumService", "capabilityStatus": "Enabled"}
            for name in sorted(tenant.premium)
        ],
    }
    return Reply(body=page(call, [row], lambda _: _ORGANIZATION, "organization", checked=_ORGANIZATION))


def get_security_defaults(call: Call) -> Reply:
    """`GET /policies/identitySecurityDefaultsEnforcementPolicy`"""
    authority.require(call.caller, authority.READ_POLICIES)
    policy: Mapping[str, Any] = {
        "id": SECURITY_DEFAULTS,
        "displayName": "Security Defaults",
        "description": "Basic identity security for every account.",
        "isEnabled": call.access.security_defaults(call.access_at),
    }
    return Reply(body=single(call, _DEFAULTS, policy, "policies/identitySecurityDefaultsEnforcementPolicy"))


def update_security_defaults(call: Call) -> Reply:
    """`PATCH /policies/identitySecurityDefaultsEnforcementPolicy`: not beside policies that are enabled"""
    authority.require(call.caller, authority.READ_POLICIES)
    authority.require(call.caller, authority.WRITE_SECURITY_DEFAULTS)
    if call.body["isEnabled"] and any(policy["state"] == "enabled" for policy in call.access.policies()):
        raise bad_request(
            "Conditional Access policies are enabled in the tenant, which prevents you from enabling security defaults."
        )
    change = call.access.set_security_defaults(call.body["isEnabled"])
    call.audit("Policy", "Update security defaults", change, change.kind)
    return Reply(204, applied=True)


def list_principals(call: Call) -> Reply:
    """`GET /servicePrincipals`"""
    authority.require(call.caller, authority.READ_APPLICATIONS)
    rows = [principal_json(call, application) for application in call.directory.applications.values()]
    return Reply(body=page(call, rows, lambda _: _PRINCIPAL, "servicePrincipals", checked=_PRINCIPAL))


def get_principal(call: Call) -> Reply:
    """`GET /servicePrincipals/{id}`"""
    return _get_principal(call, "id")


def get_principal_by_app_id(call: Call) -> Reply:
    """`GET /servicePrincipals(appId='{app id}')`"""
    return _get_principal(call, "appId")


def _get_principal(call: Call, key: str) -> Reply:
    authority.require(call.caller, authority.READ_APPLICATIONS)
    for application in call.directory.applications.values():
        row = principal_json(call, application)
        if row[key] == call.args[0].lower():
            return Reply(body=single(call, _PRINCIPAL, row, "servicePrincipals"))
    raise not_found(call.args[0])


def principal_json(call: Call, application: Application) -> Mapping[str, Any]:
    """An application's service principal."""
    return {
        "id": application.principal_id,
        "appId": application.app_id,
        "displayName": application.name,
        "accountEnabled": True,
        "servicePrincipalType": "ManagedIdentity" if application.managed else "Application",
        "appOwnerOrganizationId": call.directory.tenant.id,
    }


def list_audits(call: Call) -> Reply:
    """`GET /auditLogs/directoryAudits`, newest first

    `correlationId` is the caller's client-request-id where it sent one ("AuditLogs" table: an id passed by the
    client); the request-id of the answer is part of `id` and among `additionalDetails`.
    """
    authority.require(call.caller, authority.READ_AUDITS)
    rows = [_audit(audit) for audit in reversed(call.directory.audits)]
    size = Sized(default=1000, most=1000)
    return Reply(body=page(call, rows, lambda _: _AUDIT, "auditLogs/directoryAudits", checked=_AUDIT, size=size))


def _audit(audit: Audit) -> Mapping[str, Any]:
    user, target = audit.caller_user, audit.target
    return {
        "id": audit.id,
        "category": audit.category,
        "correlationId": audit.client_request_id or audit.request_id,
        "result": "success",
        "resultReason": "",
        "activityDisplayName": audit.activity,
        "activityDateTime": iso(audit.time),
        "loggedByService": "Conditional Access" if isinstance(target, PolicyChange) else "Core Directory",
        "operationType": audit.activity.split(" ", 1)[0],
        "initiatedBy": {
            "app": {
                "appId": audit.caller_app.app_id,
                "displayName": audit.caller_app.name,
                "servicePrincipalId": audit.caller_app.principal_id,
            },
            "user": user
            and {"id": user.id, "displayName": user.name, "userPrincipalName": user.upn, "ipAddress": "127.0.0.1"},
        },
        "targetResources": [
            {
                "id": target.principal_id if isinstance(target, Application) else target.id,
                "displayName": target.name,
                "type": _TARGET_TYPES[type(target)],
                "userPrincipalName": target.upn if isinstance(target, User) else None,
                "modifiedProperties": [
                    {"displayName": target.kind, "oldValue": target.before, "newValue": target.after}
                ]
                if isinstance(target, PolicyChange)
                else [{"displayName": name, "oldValue": None, "newValue": None} for name in audit.modified],
            }
        ],
        "additionalDetails": [
            {"key": "request-id", "value": audit.request_id},
            {"key": "client-request-id", "value": audit.client_request_id or ""},
        ],
    }
