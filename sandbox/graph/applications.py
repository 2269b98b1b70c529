"""App registrations in Graph, and how an application rolls its own certificates: `addKey` and `removeKey`."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from sandbox.clock import iso
from sandbox.directory import Application, KeyCredential
from sandbox.graph import authority
from sandbox.graph.call import Call, GraphError, Reply, bad_request, not_found
from sandbox.graph.odata import page, record_entity, single
from sandbox.jws import Jws

_APPLICATION = record_entity(
    "application", ("id", "appId", "displayName", "signInAudience", "keyCredentials"), ("id", "appId", "displayName")
)
_PROOF_AUDIENCE = "00000002-0000-0000-c000-000000000000"
_LONGEST_PROOF = 600
_SKEW = 300.0


def list_applications(call: Call) -> Reply:
    """`GET /applications`: the certificates without their contents"""
    authority.require(call.caller, authority.READ_APPLICATIONS)
    rows = [_json(call, application) for application in call.directory.applications.values() if application.object_id]
    return Reply(body=page(call, rows, lambda _: _APPLICATION, "applications", checked=_APPLICATION))


def get_application(call: Call) -> Reply:
    """`GET /applications/{id}` and `GET /applications(appId='{app id}')`

    The contents of its certificates only to those who ask for `keyCredentials` by name.
    """
    authority.require(call.caller, authority.READ_APPLICATIONS)
    contents = "keyCredentials" in (call.options.select or ())
    return Reply(body=single(call, _APPLICATION, _json(call, _find(call), contents=contents), "applications"))


def add_key(call: Call) -> Reply:
    """`POST /applications/{id}/addKey`: registers a certificate beside those there are."""
    application = _may_roll(call)
    _check_proof(call, application)
    given = call.body["keyCredential"]
    if (given["type"], given["usage"]) != ("AsymmetricX509Cert", "Verify") or call.body.get("passwordCredential"):
        raise bad_request('The value for the property "usage" in one of your credentials is invalid.')
    certificate = _certificate(given["key"])
    if certificate.not_valid_after_utc.timestamp() <= call.clock.now():
        raise bad_request("Key credential end date is invalid.")
    if any(key.certificate == certificate for key in call.directory.latest.keys(application)):
        raise bad_request("Key credentials with the same value already exist on the application.")
    key = call.directory.add_key(application, certificate, given.get("displayName") or "")
    _audit(call, application)
    context = {"@odata.context": f"{call.base}/$metadata#microsoft.graph.keyCredential"}
    return Reply(body={**context, **_key_json(key, contents=False)}, applied=True)


def remove_key(call: Call) -> Reply:
    """`POST /applications/{id}/removeKey`"""
    application = _may_roll(call)
    _check_proof(call, application)
    key_id = call.body["keyId"].lower()
    if all(key.id != key_id for key in call.directory.latest.keys(application)):
        raise bad_request("No credentials found to be removed.")
    call.directory.remove_key(application, key_id)
    _audit(call, application)
    return Reply(204, applied=True)


def _find(call: Call) -> Application:
    key = call.args[0].lower()
    by_app_id = call.path.startswith("/applications(")
    for application in call.directory.applications.values():
        if application.object_id and key == (application.app_id if by_app_id else application.object_id):
            return application
    raise not_found(call.args[0])


def _may_roll(call: Call) -> Application:
    """The application, if the caller is itself, which needs no permission, or may write applications."""
    application = _find(call)
    if call.caller.delegated or call.caller.token.client.key != application.key:
        authority.require(call.caller, authority.WRITE_APPLICATIONS)
    return application


def _check_proof(call: Call, application: Application) -> None:
    """A token of at most ten minutes, signed by one of the certificates in force.

    "Generate proof of possession tokens for rolling keys". Graph calls any other an access token that is missing or
    malformed, which is easily mistaken for the bearer's.
    """
    refused = GraphError(401, "Authentication_MissingOrMalformed", "Access Token missing or malformed.")
    now = call.clock.now()
    try:
        proof = Jws.parse(call.body["proof"])
        begins, ends = float(proof.claims["nbf"]), float(proof.claims["exp"])
    except (ValueError, TypeError, KeyError) as error:
        raise refused from error
    signer = next((key for key in call.directory.latest.keys(application) if proof.names(key.certificate)), None)
    if signer is None or not signer.in_force(now) or not proof.is_signed_by(signer.certificate):
        raise refused
    in_time = begins - _SKEW <= now < ends and ends - begins <= _LONGEST_PROOF
    if not in_time or (proof.claims.get("aud"), proof.claims.get("iss")) != (_PROOF_AUDIENCE, application.object_id):
        raise refused


def _certificate(text: str) -> x509.Certificate:
    try:
        certificate = x509.load_der_x509_certificate(base64.b64decode(text, validate=True))
    except (ValueError, binascii.Error) as error:
        raise bad_request("Key value is invalid certificate") from error
    if not isinstance(certificate.public_key(), rsa.RSAPublicKey):
        raise bad_request("Key value is invalid certificate")
    return certificate


def _audit(call: Call, application: Application) -> None:
    activity = "Update application – Certificates and secrets management"
    call.audit("ApplicationManagement", activity, application, "KeyDescription")


def _json(call: Call, application: Application, *, contents: bool = False) -> Mapping[str, Any]:
    return {
        "id": application.object_id,
        "appId": application.app_id,
        "displayName": application.name,
        "signInAudience": "AzureADMyOrg",
        "keyCredentials": [_key_json(key, contents=contents) for key in call.view.keys(application)],
    }


def _key_json(key: KeyCredential, *, contents: bool) -> dict[str, Any]:
    certificate = key.certificate
    return {
        "customKeyIdentifier": certificate.fingerprint(hashes.SHA1()).hex().upper(),  # noqa: S303 - Graph's thumbprint
        "displayName": key.name,
        "startDateTime": iso(certificate.not_valid_before_utc.timestamp()),
        "endDateTime": iso(certificate.not_valid_after_utc.timestamp()),
        "key": base64.b64encode(certificate.public_bytes(Encoding.DER)).decode() if contents else None,
        "keyId": key.id,
        "type": "AsymmetricX509Cert",
        "usage": "Verify",
    }
