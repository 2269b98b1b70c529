"""Applications in Graph, and how strictly it looks at the proof with which one rolls its own certificates."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12

from sandbox.directory import Application
from sandbox.jws import encode
from sandbox.tls import ApplicationCertificate, make_application_certificate
from tests.sandbox.tenant_servers import GRAPH_SCOPE, Answer, TenantServers, tenant_servers

ANA = "ana.admin@contoso.com"
NEW = make_application_certificate("new")


@pytest.fixture
async def tenant() -> AsyncIterator[TenantServers]:
    async with tenant_servers() as servers:
        yield servers


def unpacked(certificate: ApplicationCertificate) -> RSAPrivateKey:
    key = pkcs12.load_pkcs12(base64.b64decode(certificate.pkcs12), None).key
    assert isinstance(key, RSAPrivateKey)
    return key


def worker(tenant: TenantServers) -> Application:
    return tenant.directory.applications["worker"]


@dataclass
class Proof:
    """A proof as it should be, and what is wrong with it."""

    signed_with: ApplicationCertificate | None = None
    claims: dict[str, Any] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=dict)
    padded: bool = False

    def for_(self, tenant: TenantServers) -> str:
        certificate = self.signed_with or tenant.directory.worker_certificate
        now = int(tenant.clock.now())
        x5t = encode(certificate.certificate.fingerprint(hashes.SHA1()))  # noqa: S303 - x5t is SHA-1 by definition
        header = {"alg": "RS256", "typ": "JWT", "x5t": x5t, **self.header}
        claims = {
            "aud": "00000002-0000-0000-c000-000000000000",
            "iss": worker(tenant).object_id,
            "nbf": now + self.claims.get("nbf", 0),
            "exp": now + self.claims.get("exp", 600),
            **{name: value for name, value in self.claims.items() if name in ("aud", "iss")},
        }
        signed = ".".join(encode(json.dumps(part).encode()) for part in (header, claims))
        signature = unpacked(certificate).sign(signed.encode(), PKCS1v15(), hashes.SHA256())
        return f"{signed}.{encode(signature)}{'==' if self.padded else ''}"


async def sign_in(tenant: TenantServers, certificate: ApplicationCertificate) -> dict[str, Any]:
    """What the real MSAL gets."""
    pem = unpacked(certificate).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = certificate.certificate.public_bytes(Encoding.PEM).decode()
    app = await tenant.msal_app("worker", {"private_key": pem, "public_certificate": public})
    answer: dict[str, Any] = await asyncio.to_thread(app.acquire_token_for_client, [GRAPH_SCOPE])
    return answer


async def worker_token(tenant: TenantServers) -> str:
    return str((await sign_in(tenant, tenant.directory.worker_certificate))["access_token"])


def new_key(certificate: ApplicationCertificate = NEW, **more: Any) -> dict[str, Any]:
    public = base64.b64encode(certificate.certificate.public_bytes(Encoding.DER)).decode()
    return {"type": "AsymmetricX509Cert", "usage": "Verify", "key": public, **more}


async def add_key(
    tenant: TenantServers,
    token: str,
    proof: Proof | str | None = None,
    key: dict[str, Any] | None = None,
    path: str = "",
    **more: Any,
) -> Answer:
    given = proof if isinstance(proof, str) else (proof or Proof()).for_(tenant)
    body = {"keyCredential": key or new_key(), "passwordCredential": None, "proof": given, **more}
    return await tenant.call(token, "POST", path or f"/applications/{worker(tenant).object_id}/addKey", body)


async def test_a_key_is_added_to_an_application_by_itself_and_shown_without_its_contents(tenant: TenantServers) -> None:
    token = await worker_token(tenant)

    added = await add_key(tenant, token, path=f"/applications(appId='{worker(tenant).app_id}')/addKey")
    told = await tenant.call(token, "GET", f"/applications(appId='{worker(tenant).app_id}')")
    asked = await tenant.call(token, "GET", f"/applications/{worker(tenant).object_id}?$select=id,keyCredentials")
    listed = await tenant.call(token, "GET", "/applications?$select=appId,keyCredentials")

    assert (added.status, added.body["key"]) == (200, None)
    assert [key["keyId"] for key in told.body["keyCredentials"]][1:] == [added.body["keyId"]]
    assert (
        told.body["keyCredentials"][1]["customKeyIdentifier"]
        == NEW.certificate.fingerprint(
            hashes.SHA1()  # noqa: S303 - Graph's thumbprint
        )
        .hex()
        .upper()
    )
    assert {key["key"] for key in told.body["keyCredentials"]} == {None}
    assert asked.body["keyCredentials"][1]["key"] == new_key()["key"]
    assert {key["key"] for app in listed.body["value"] for key in app["keyCredentials"]} == {None}
    assert worker(tenant).app_id in {app["appId"] for app in listed.body["value"]}
    assert tenant.directory.applications["managed"].app_id not in {app["appId"] for app in listed.body["value"]}
    assert "access_token" in await sign_in(tenant, NEW)


@pytest.mark.parametrize(
    "proof",
    [
        pytest.param(Proof(signed_with=NEW), id="signed with what is not registered"),
        pytest.param(Proof(claims={"aud": "00000003-0000-0000-c000-000000000000"}), id="for Graph itself"),
        pytest.param(Proof(claims={"iss": "434cf2c3-b9ae-4426-8842-9a4fef8c315c"}), id="from the client id"),
        pytest.param(Proof(claims={"exp": 601}), id="good for too long"),
        pytest.param(Proof(claims={"nbf": -1200, "exp": -600}), id="over"),
        pytest.param(Proof(claims={"nbf": 1200, "exp": 1800}), id="not yet good"),
        pytest.param(Proof(header={"alg": "none"}), id="not signed"),
        pytest.param(Proof(header={"alg": "RS512"}), id="signed otherwise than it says"),
        pytest.param(Proof(header={"x5t": "AAAA"}), id="signed with what it does not name"),
        pytest.param(Proof(padded=True), id="padded"),
        pytest.param("", id="empty"),
        pytest.param("a.b.c", id="no token"),
        pytest.param("bnVsbA.bnVsbA.AAAA", id="no objects"),
    ],
)
async def test_a_proof_that_proves_nothing_looks_like_a_bad_token(tenant: TenantServers, proof: Proof | str) -> None:
    answer = await add_key(tenant, await worker_token(tenant), proof)

    assert (answer.status, answer.code) == (401, "Authentication_MissingOrMalformed")
    assert len(tenant.directory.latest.keys(worker(tenant))) == 1


async def test_a_certificate_that_has_ended_proves_nothing(tenant: TenantServers) -> None:
    token = await worker_token(tenant)
    tenant.clock.advance(366 * 86400)

    answer = await add_key(tenant, token)
    refused = await sign_in(tenant, tenant.directory.worker_certificate)

    assert (answer.status, answer.code) == (401, "Authentication_MissingOrMalformed")
    assert refused["error_codes"] == [700027]
    assert "expired" in refused["error_description"]


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(new_key(key="bm90IGEgY2VydGlmaWNhdGU="), id="no certificate"),
        pytest.param(new_key(key=NEW.pkcs12), id="with its private key"),
        pytest.param(new_key(usage="Sign"), id="for signing"),
        pytest.param(new_key(type="Symmetric"), id="of another type"),
        pytest.param(new_key(thumbprint="x"), id="with what Graph does not know"),
        pytest.param({"type": "AsymmetricX509Cert", "usage": "Verify"}, id="empty"),
    ],
)
async def test_a_key_that_is_none_is_refused(tenant: TenantServers, key: dict[str, Any]) -> None:
    answer = await add_key(tenant, await worker_token(tenant), key=key)

    assert answer.status == 400
    assert len(tenant.directory.latest.keys(worker(tenant))) == 1


async def test_what_is_registered_already_is_refused(tenant: TenantServers) -> None:
    token = await worker_token(tenant)
    await add_key(tenant, token)

    again = await add_key(tenant, token)

    assert (again.status, again.code) == (400, "Request_BadRequest")
    assert len(tenant.directory.latest.keys(worker(tenant))) == 2


async def test_only_the_application_itself_needs_no_permission(tenant: TenantServers) -> None:
    tenant.directory.applications["worker"] = replace(worker(tenant), roles=frozenset())
    own = await worker_token(tenant)
    of_bot = await tenant.app_token("bot")
    of_ana = await tenant.person_token(ANA, "Application.ReadWrite.All")

    assert (await add_key(tenant, of_bot)).status == 403
    assert (await add_key(tenant, own)).status == 200
    assert (await add_key(tenant, of_ana, key=new_key(make_application_certificate("another")))).status == 200
    assert (await tenant.call(own, "GET", "/applications")).status == 403


async def test_a_key_is_removed_by_its_id_and_once_only(tenant: TenantServers) -> None:
    token = await worker_token(tenant)
    await add_key(tenant, token)
    first = tenant.directory.latest.keys(worker(tenant))[0]
    path = f"/applications/{worker(tenant).object_id}/removeKey"
    body = {"keyId": first.id, "proof": Proof(signed_with=NEW).for_(tenant)}

    gone = await tenant.call(token, "POST", path, body)
    again = await tenant.call(token, "POST", path, body)
    unproved = await tenant.call(token, "POST", path, {**body, "proof": Proof().for_(tenant)})

    assert (gone.status, again.status, unproved.status) == (204, 400, 401)
    assert (await sign_in(tenant, tenant.directory.worker_certificate))["error_codes"] == [700027]
    assert "access_token" in await sign_in(tenant, NEW)


async def test_sign_ins_are_behind_for_a_while(tenant: TenantServers) -> None:
    tenant.entra.replication_lag = 30
    key = tenant.directory.add_key(worker(tenant), NEW.certificate)
    too_soon = await sign_in(tenant, NEW)
    tenant.clock.advance(31)
    later = await sign_in(tenant, NEW)
    tenant.directory.remove_key(worker(tenant), key.id)
    still = await sign_in(tenant, NEW)
    tenant.clock.advance(31)
    no_more = await sign_in(tenant, NEW)

    assert [answer.get("error_codes") for answer in (too_soon, later, still, no_more)] == [
        [700027],
        None,
        None,
        [700027],
    ]


async def test_an_application_nobody_registered_is_not_found(tenant: TenantServers) -> None:
    token = await worker_token(tenant)
    for path in ("/applications/nothing", "/applications(appId='nothing')"):
        assert (await tenant.call(token, "GET", path)).status == 404
    assert (await add_key(tenant, token, path="/applications/nothing/addKey")).status == 404
