"""What applications were allowed to do for people, in Graph: delegated permission grants."""

from collections.abc import Mapping
from typing import Any

from sandbox.directory import Consent
from sandbox.graph import authority
from sandbox.graph.call import Call, Reply, not_found
from sandbox.graph.odata import page, record_entity, single
from sandbox.graph.users import me

GRAPH_PRINCIPAL = "8c1f6d0e-2b7a-4e35-9c40-d3a5b7e81f62"
"""Microsoft Graph's own service principal in this tenant, on which the permissions are."""

_GRANT = record_entity(
    "oAuth2PermissionGrant",
    ("id", "clientId", "consentType", "principalId", "resourceId", "scope"),
    ("clientId", "consentType", "principalId", "resourceId"),
)


def list_grants(call: Call) -> Reply:
    """`GET /oauth2PermissionGrants`"""
    authority.require(call.caller, authority.READ_GRANTS)
    return _list(call, lambda _: True)


def list_grants_of_user(call: Call) -> Reply:
    """`GET /users/{id}/oauth2PermissionGrants`: the person's own, not what holds for everybody"""
    authority.require(call.caller, authority.READ_GRANTS)
    user = call.user(call.args[0])
    return _list(call, lambda one: one.principal_id == user.id)


def list_my_grants(call: Call) -> Reply:
    """`GET /me/oauth2PermissionGrants`"""
    authority.require(call.caller, authority.READ_GRANTS)
    user = me(call)
    return _list(call, lambda one: one.principal_id == user.id)


def list_grants_of_principal(call: Call) -> Reply:
    """`GET /servicePrincipals/{id}/oauth2PermissionGrants`"""
    authority.require(call.caller, authority.READ_GRANTS)
    return _list(call, lambda one: one.client_id == call.args[0].lower())


def get_grant(call: Call) -> Reply:
    """`GET /oauth2PermissionGrants/{id}`"""
    authority.require(call.caller, authority.READ_GRANTS)
    return Reply(body=single(call, _GRANT, _json(_find(call)), "oauth2PermissionGrants"))


def delete_grant(call: Call) -> Reply:
    """`DELETE /oauth2PermissionGrants/{id}`: tokens given out under it live on until they expire."""
    authority.require(call.caller, authority.WRITE_GRANTS)
    grant = _find(call)
    call.directory.withdraw_consent(grant.id)
    application = next(app for app in call.directory.applications.values() if app.principal_id == grant.client_id)
    call.audit("ApplicationManagement", "Remove delegated permission grant", application, "DelegatedPermissionGrant")
    return Reply(204, applied=True)


def _find(call: Call) -> Consent:
    view = call.view if call.method == "GET" else call.directory.latest
    for grant in view.consents():
        if grant.id == call.args[0]:
            return grant
    raise not_found(call.args[0])


def _list(call: Call, wanted: Any) -> Reply:
    rows = [_json(one) for one in call.view.consents() if wanted(one)]
    return Reply(body=page(call, rows, lambda _: _GRANT, "oauth2PermissionGrants", checked=_GRANT))


def _json(consent: Consent) -> Mapping[str, Any]:
    return {
        "id": consent.id,
        "clientId": consent.client_id,
        "consentType": "AllPrincipals" if consent.principal_id is None else "Principal",
        "principalId": consent.principal_id,
        "resourceId": GRAPH_PRINCIPAL,
        "scope": " ".join(sorted(consent.scopes)),
    }
