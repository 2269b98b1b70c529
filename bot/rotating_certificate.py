"""The certificate of an application, as something that is rotated: the application registers the new one itself.

It needs no permission for that: each change carries a proof, signed with a certificate that is registered already
(Graph docs: *application: addKey*, *application: removeKey*). What somebody else registered is left alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from bot.directory import quoted
from bot.errors import GraphAnswer, GraphNotFound, GraphRefused
from bot.model import JSON, Call, CredentialKind, Generated, Secret
from bot.ports import Certificate, Certificates, Graph, SignIn, Tenant, Token
from bot.rotating import Attempt, OneToken

ENDS: Final = "ends"
"""The tag that says when a certificate ends."""


@dataclass
class CertificateCredential:
    """As `bot.rotating.Credential` promises. *name* is what the application is called.

    The application must be registered in this tenant and be allowed to read applications: the proof names its
    registration by the object id.
    """

    secret_name: str
    account: str
    name: str
    signing_in: SignIn
    tenant: Tenant
    certificates: Certificates
    _object_id: str = ""
    _made: tuple[Secret | None, Certificate | None] = (None, None)

    kind: CredentialKind = CredentialKind.CERTIFICATE
    replaces: bool = False

    async def make(self) -> Secret:
        made = await asyncio.to_thread(self.certificates.make, self.name)
        self._made = made, await self._read(made)  # here, where nothing waits for it
        return made

    async def sign_in(self, value: Secret) -> Token:
        return await self.signing_in.application(value)

    async def change(self, old: Secret, new: Secret, attempt: Attempt) -> None:
        """Register *new* beside *old*. One that is registered already stays as it is."""
        added = await self._read(new)
        if added is None:  # somebody else stored it; Graph would say the same of it
            raise GraphRefused("The new certificate in Key Vault is none.", answer=GraphAnswer(400, ""))
        graph = await self._as(old)
        if await self._keys(graph, added):
            return
        key = {"type": "AsymmetricX509Cert", "usage": "Verify", "key": added.public}
        body = {"keyCredential": key, "passwordCredential": None}
        await self._send(graph, "addKey", body, attempt, signed_with=old)

    async def withdraw(self, old: Secret, current: Secret, attempt: Attempt) -> None:
        """Take *old* from the registration, proved with *current*. One that is not registered is fine."""
        removed, kept = await self._read(old), await self._read(current)
        # Nobody signs in with what cannot be read; and the same one may be stored twice.
        if removed is None or kept is None or removed.thumbprint == kept.thumbprint:
            return
        graph = await self._as(current)
        for key_id in await self._keys(graph, removed):
            try:
                await self._send(graph, "removeKey", {"keyId": key_id}, attempt, signed_with=current)
            except GraphRefused:
                if key_id in await self._keys(graph, removed):
                    raise  # else another process, or a person, was faster

    def read_tag(self, value: Secret) -> Mapping[str, str]:
        """Its thumbprint (SHA-256) and its end."""
        made, certificate = self._made
        if made is not value:
            certificate = self.certificates.read(value)
        return {"thumbprint": certificate.thumbprint, ENDS: certificate.ends_at.isoformat()} if certificate else {}

    async def _read(self, value: Secret) -> Certificate | None:
        return await asyncio.to_thread(self.certificates.read, value)

    async def _as(self, value: Secret) -> Graph:
        return self.tenant.graph(OneToken(await self.sign_in(value)))

    async def _keys(self, graph: Graph, certificate: Certificate) -> list[str]:
        """The ids under which a certificate is registered."""
        query = {"$select": "id,keyCredentials"}
        with _in_plain_words():
            found = await graph.get("applications", await self._registration(graph), query=query)
        return [
            key["keyId"]
            for key in found["keyCredentials"]
            if not certificate.marks.isdisjoint({key.get("key"), key.get("customKeyIdentifier")})
        ]

    async def _registration(self, graph: Graph) -> str:
        """The object id of the application's registration. Raises `GraphNotFound`."""
        if not self._object_id:
            query = {"$filter": f"appId eq {quoted(self.account)}", "$select": "id"}
            found = await graph.collect("applications", query=query)
            if not found:
                raise GraphNotFound(
                    f"The tenant has no registration of the application {self.account}, so its certificate can only be "
                    "renewed where it is registered. Check LATCHKEY_WORKER_CLIENT_ID."
                )
            self._object_id = found[0]["id"]
        return self._object_id

    async def _send(
        self, graph: Graph, what: str, body: dict[str, Any], attempt: Attempt, *, signed_with: Secret
    ) -> None:
        object_id = await self._registration(graph)
        proof = await asyncio.to_thread(self.certificates.proof, signed_with, object_id)
        proved: JSON = {**body, "proof": Generated.PROOF.marker}
        call = Call("POST", ("applications", object_id, what), proved, advice=_ADVICE)
        with _in_plain_words():
            await attempt(call, lambda id_: graph.send(call, attempt_id=id_, generated=proof))


_ADVICE: Final = "It was about the application's certificate: look at those that its registration has."
_REFUSED: Final = {
    401: (
        "Microsoft did not accept the proof that the application has its certificate. Check this machine's clock, and "
        "that the certificate in Key Vault is registered for the application."
    ),
    403: (
        "Microsoft does not let the application renew its own certificate. Give it the application permission "
        "Application.Read.All, with which it sees its registration; if it has that, Application.ReadWrite.OwnedBy too."
    ),
}


@contextmanager
def _in_plain_words() -> Iterator[None]:
    """Graph's error for a bad proof is that of a bad token, and its 403 does not say what is missing."""
    try:
        yield
    except GraphRefused as refused:
        if sentence := refused.answer and _REFUSED.get(refused.answer.status):
            raise GraphRefused(sentence, answer=refused.answer) from refused
        raise
