"""Azure Key Vault's secrets for the pretend tenant: versions, tags, soft delete, and its 401 before the first token."""

import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from aiohttp import web

from sandbox.clock import WorldClock
from sandbox.directory import SERVICE_ACCOUNT
from sandbox.entra import Entra, Token
from sandbox.faults import Drop, Faults, Hang, disturb

SERVICE_ACCOUNT_SECRET = "latchkey-service-account"
WORKER_CERTIFICATE_SECRET = "latchkey-worker-certificate"
RESOURCE = "https://vault.azure.net"

CHALLENGE = "CHALLENGE"
"""The method under which a request without a token is matched against the faults: it only asks to be challenged."""

_NAME = re.compile(r"[0-9A-Za-z-]{1,127}")
_RETENTION = 90 * 86400
_READ_ONLY = frozenset({"get", "list"})
_EVERYTHING = frozenset({"get", "list", "set", "delete", "recover", "purge"})
_ROLES = {
    "Key Vault Secrets Officer": _EVERYTHING,
    "Key Vault Administrator": _EVERYTHING,
    "Key Vault Secrets User": _READ_ONLY,
    "Key Vault Reader": frozenset({"list"}),
}


@dataclass
class Version:
    """One version of a secret; times are whole unix seconds, as the service keeps them."""

    id: str
    value: str
    created: int
    updated: int
    enabled: bool = True
    expires: int | None = None
    not_before: int | None = None
    content_type: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Secret:
    """A name with its versions, oldest first; `deleted` is when it was soft-deleted."""

    name: str
    versions: list[Version]
    deleted: int | None = None


@dataclass
class VaultRequest:
    """One request as the vault saw it; `status` is None while, or if, it was never answered."""

    time: float
    method: str
    path: str
    operation: str  # get, list, set, delete, recover, purge; challenge for a request without a token
    caller: str = ""  # the client id
    status: int | None = None


class VaultError(Exception):
    """An answer other than success, in Key Vault's form."""

    def __init__(self, status: int, code: str, message: str, inner: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.inner = inner


class Vault:
    """One vault. It is born holding the service account's password and the worker's certificate.

    Knobs for tests: `page_size`, and `roles` (service principal id: name of a Key Vault role), which may be changed.
    """

    def __init__(self, entra: Entra, clock: WorldClock, faults: Faults) -> None:
        self.clock = clock
        self.requests: list[VaultRequest] = []
        self.page_size = 25
        self.roles = {
            app.principal_id: app.vault_role
            for app in entra.directory.applications.values()
            if app.vault_role is not None
        }
        self._entra = entra
        self._faults = faults
        self._secrets: dict[str, Secret] = {}
        self._born = int(clock.now())
        self._values: list[str] = []
        self._certificate: Callable[[], str] | None = lambda: entra.directory.worker_certificate.pkcs12
        self.put(
            SERVICE_ACCOUNT_SECRET,
            entra.directory.password_of(SERVICE_ACCOUNT),
            tags={"state": "current"},
        )

    def routes(self, app: web.Application) -> None:
        """Serve the vault at the root of `app`."""
        app.router.add_route("*", r"/{path:[\s\S]*}", self._answer)

    # For tests and for the world

    def put(
        self,
        name: str,
        value: str,
        *,
        tags: Mapping[str, str] | None = None,
        content_type: str | None = None,
    ) -> Version:
        """Store a new version, as somebody with access would; a first one makes the secret."""
        version = self._add(name, value)
        version.content_type = content_type
        version.tags = dict(tags or {})
        return version

    def _add(self, name: str, value: str) -> Version:
        now = int(self.clock.now())
        version = Version(secrets.token_hex(16), value, now, now)
        self._find(name)  # what it was born with is older
        self._secrets.setdefault(name, Secret(name, [])).versions.append(version)
        self._values.append(value)
        return version

    def versions(self, name: str) -> list[Version]:
        """All versions of a secret, oldest first; empty when there is none. They may be changed in place."""
        secret = self._find(name)
        return [] if secret is None else secret.versions

    def secrets(self) -> tuple[Secret, ...]:
        """Everything that is in it, deleted or not, save what nobody has looked at yet."""
        return tuple(self._secrets.values())

    def delete(self, name: str) -> None:
        """Delete a secret, as somebody with access would, to where it can be recovered from; if it is there."""
        secret = self._find(name)
        if secret is not None and secret.deleted is None:
            secret.deleted = int(self.clock.now())

    def recover(self, name: str) -> None:
        """Bring a deleted secret back; if it is there to be."""
        if (secret := self._find(name)) is not None:
            secret.deleted = None

    def is_deleted(self, name: str) -> bool:
        """Whether it waits to be recovered."""
        secret = self._find(name)
        return secret is not None and secret.deleted is not None

    def secret_values(self) -> tuple[str, ...]:
        """Every value the vault ever held, for those who look for leaks."""
        return tuple(self._values)

    def count(self, operation: str) -> int:
        """How many requests of one kind came with a token: get, list, set, …"""
        return sum(request.operation == operation for request in self.requests)

    # Serving

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path.rstrip("/")
        operation = _operation(request.method, path)
        seen = VaultRequest(self.clock.now(), request.method, path, operation or "unknown")
        self.requests.append(seen)
        body = await request.read()

        async def serve() -> web.StreamResponse:
            try:
                token = self._caller(request)
                if token is None:
                    seen.operation = "challenge"
                    return self._challenge()
                seen.caller = token.client.app_id
                if not request.query.get("api-version"):
                    raise VaultError(400, "BadParameter", "The api-version query parameter is missing.")
                if operation is None:
                    raise VaultError(404, "NotFound", "There is nothing at this address.")
                self._authorize(token, operation)
                answer = self._serve(request, operation, path.split("/")[1:], _parse(body))
                return web.Response(status=204) if answer is None else web.json_response(answer)
            except VaultError as error:
                return web.json_response(
                    {
                        "error": {
                            "code": error.code,
                            "message": str(error),
                            **({"innererror": {"code": error.inner}} if error.inner else {}),
                        }
                    },
                    status=error.status,
                )

        # A client's first request carries neither token nor body: a fault meant for "PUT" must not hit that.
        method = request.method if "Authorization" in request.headers else CHALLENGE
        effect = self._faults.match("vault", method, path)
        response = await disturb(effect, request, serve)
        response.headers["x-ms-request-id"] = str(uuid4())
        response.headers["x-ms-keyvault-service-version"] = "1.9.0"
        seen.status = None if isinstance(effect, Drop | Hang) else response.status
        return response

    def _challenge(self) -> web.Response:
        error = {"code": "Unauthorized", "message": "AKV10000: Request is missing a Bearer or PoP token."}
        tenant = f"{self._entra.origin}/{self._entra.directory.tenant.id}"
        return web.json_response(
            {"error": error},
            status=401,
            headers={"WWW-Authenticate": f'Bearer authorization="{tenant}", resource="{RESOURCE}"'},
        )

    def _caller(self, request: web.Request) -> Token | None:
        """The caller's token; None where the answer is the challenge."""
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        token = self._entra.token(value)
        if scheme.lower() != "bearer" or token is None or token.audience != "vault":
            return None
        return None if self._entra.expired(token) else token

    def _authorize(self, token: Token, operation: str) -> None:
        held = self.roles.get(token.client.principal_id, "") if token.user_id is None else ""
        if operation not in _ROLES.get(held, frozenset()):
            raise VaultError(
                403,
                "Forbidden",
                f"Caller is not authorized to perform action on resource. Caller: appid={token.client.app_id}",
                "ForbiddenByRbac",
            )

    def _serve(
        self, request: web.Request, operation: str, path: list[str], body: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        host = f"{request.scheme}://{request.host}"
        name = path[1] if len(path) > 1 else ""
        match operation, path:
            case "list", ["secrets"]:
                live = [one for one in self._all() if one.deleted is None]
                return self._page(request, [self._item(host, one, one.versions[-1]) for one in live])
            case "list", ["deletedsecrets"]:
                gone = [one for one in self._all() if one.deleted is not None]
                return self._page(request, [self._deleted(host, one) for one in gone])
            case "list", ["secrets", _, "versions"]:
                secret = self._live(name)
                # By id, which is random: the service promises no order, so nobody may lean on one.
                versions = sorted(secret.versions, key=lambda version: version.id)
                items = [self._item(host, secret, version, with_version=True) for version in versions]
                return self._page(request, items)
            case "get", ["deletedsecrets", _]:
                return self._deleted(host, self._gone(name))
            case "get", ["secrets", _, *rest]:
                secret = self._live(name)
                version = self._version(secret, rest)
                if not version.enabled:
                    raise VaultError(
                        403,
                        "Forbidden",
                        "Operation get is not allowed on a disabled secret.",
                        "SecretDisabled",
                    )
                return {"value": version.value, **self._item(host, secret, version, with_version=True)}
            case "set", ["secrets", _, *rest] if request.method == "PATCH":
                secret = self._live(name)
                version = self._version(secret, rest)
                _check(body)
                self._change(version, body)
                return self._item(host, secret, version, with_version=True)
            case "set", ["secrets", _]:
                return self._set(host, name, body)
            case "delete", ["secrets", _]:
                secret = self._live(name)
                secret.deleted = int(self.clock.now())
                return self._deleted(host, secret)
            case "recover", _:
                secret = self._gone(name)
                secret.deleted = None
                return self._item(host, secret, secret.versions[-1], with_version=True)
        self._gone(name)  # purge
        del self._secrets[name]
        return None

    def _set(self, host: str, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        if not _NAME.fullmatch(name):
            raise VaultError(400, "BadParameter", "The secret name is not valid.")
        value = body.get("value")
        if not isinstance(value, str) or len(value.encode()) > 25 * 1024:
            raise VaultError(400, "BadParameter", "The secret value must be a string of at most 25 KB.")
        secret = self._find(name)
        if secret is not None and secret.deleted is not None:
            raise VaultError(
                409,
                "Conflict",
                f"Secret {name} is currently in a deleted but recoverable state, and its name cannot be reused; "
                "in this state, the secret can only be recovered or purged.",
                "ObjectIsDeletedButRecoverable",
            )
        _check(body)
        version = self._add(name, value)
        self._change(version, body)
        return {"value": value, **self._item(host, self._secrets[name], version, with_version=True)}

    def _change(self, version: Version, body: Mapping[str, Any]) -> None:
        """What a body may say about a version; what it does not mention stays."""
        attributes = body.get("attributes") or {}
        if body.get("tags") is not None:
            version.tags = dict(body["tags"])
        if "contentType" in body:
            version.content_type = body["contentType"]
        version.enabled = attributes.get("enabled", version.enabled)
        version.expires = attributes.get("exp", version.expires)
        version.not_before = attributes.get("nbf", version.not_before)
        version.updated = int(self.clock.now())

    # Finding and showing

    def _all(self) -> list[Secret]:
        self._find(WORKER_CERTIFICATE_SECRET)
        return sorted(self._secrets.values(), key=lambda secret: secret.name)

    def _find(self, name: str) -> Secret | None:
        if name == WORKER_CERTIFICATE_SECRET and self._certificate is not None:
            # Made when first looked at, because making it takes a while and most worlds never look.
            make, self._certificate = self._certificate, None
            version = self.put(name, make(), content_type="application/x-pkcs12")
            version.created = version.updated = self._born
        return self._secrets.get(name)

    def _live(self, name: str) -> Secret:
        secret = self._find(name)
        if secret is None or secret.deleted is not None:
            raise _not_found(name)
        return secret

    def _gone(self, name: str) -> Secret:
        secret = self._find(name)
        if secret is None or secret.deleted is None:
            raise _not_found(name)
        return secret

    @staticmethod
    def _version(secret: Secret, rest: list[str]) -> Version:
        if not rest:
            return secret.versions[-1]
        for version in secret.versions:
            if [version.id] == rest:
                return version
        raise _not_found(f"{secret.name}/{'/'.join(rest)}")

    @staticmethod
    def _item(host: str, secret: Secret, version: Version, *, with_version: bool = False) -> dict[str, Any]:
        attributes = {
            "enabled": version.enabled,
            "created": version.created,
            "updated": version.updated,
            "recoveryLevel": "Recoverable+Purgeable",
            "recoverableDays": _RETENTION // 86400,
        }
        if version.expires is not None:
            attributes["exp"] = version.expires
        if version.not_before is not None:
            attributes["nbf"] = version.not_before
        item: dict[str, Any] = {
            "id": f"{host}/secrets/{secret.name}" + (f"/{version.id}" if with_version else ""),
            "attributes": attributes,
        }
        if version.tags:
            item["tags"] = dict(version.tags)
        if version.content_type is not None:
            item["contentType"] = version.content_type
        return item

    def _deleted(self, host: str, secret: Secret) -> dict[str, Any]:
        deleted = secret.deleted or 0
        return {
            **self._item(host, secret, secret.versions[-1]),
            "recoveryId": f"{host}/deletedsecrets/{secret.name}",
            "deletedDate": deleted,
            "scheduledPurgeDate": deleted + _RETENTION,
        }

    def _page(self, request: web.Request, items: list[dict[str, Any]]) -> dict[str, Any]:
        try:
            size = int(request.query.get("maxresults", self.page_size))
            start = int(request.query.get("$skiptoken", 0))
        except ValueError as error:
            raise VaultError(400, "BadParameter", "maxresults or $skiptoken is not a number.") from error
        if not 1 <= size <= 25:
            raise VaultError(400, "BadParameter", "maxresults must be between 1 and 25.")
        size = min(size, self.page_size)
        end = start + size
        link = None
        if end < len(items):
            version = quote(request.query["api-version"])
            link = (
                f"{request.scheme}://{request.host}{request.path}"
                f"?api-version={version}&$skiptoken={end}&maxresults={size}"
            )
        return {"value": items[start:end], "nextLink": link}


def _not_found(name: str) -> VaultError:
    return VaultError(404, "SecretNotFound", f"A secret with (name/id) {name} was not found in this key vault.")


def _check(body: Mapping[str, Any]) -> None:
    """Refuse what the service would not store: wrong types, more than 15 tags, texts over 255 or 256 characters."""
    tags, attributes = body.get("tags") or {}, body.get("attributes") or {}
    if not isinstance(tags, dict) or not isinstance(attributes, dict):
        raise VaultError(400, "BadParameter", "tags and attributes must be objects.")
    if len(tags) > 15 or not all(isinstance(v, str) and len(k) <= 256 and len(v) <= 256 for k, v in tags.items()):
        raise VaultError(400, "BadParameter", "At most 15 tags of at most 256 characters.")
    if not isinstance(attributes.get("enabled", True), bool):
        raise VaultError(400, "BadParameter", "enabled must be true or false.")
    if not isinstance(body.get("contentType", ""), str) or len(body.get("contentType", "")) > 255:
        raise VaultError(400, "BadParameter", "contentType must be a string of at most 255 characters.")


def _parse(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body or b"{}")
    except ValueError as error:
        raise VaultError(400, "BadParameter", "The request body is not JSON.") from error
    if not isinstance(value, dict):
        raise VaultError(400, "BadParameter", "The request body is not an object.")
    return value


def _operation(method: str, path: str) -> str | None:
    match method, path.split("/")[1:]:
        case "GET", ["secrets"] | ["deletedsecrets"] | ["secrets", _, "versions"]:
            return "list"
        case "GET", ["secrets", _] | ["secrets", _, _] | ["deletedsecrets", _]:
            return "get"
        case ("PUT", ["secrets", _]) | ("PATCH", ["secrets", _] | ["secrets", _, _]):
            return "set"
        case "DELETE", ["secrets", _]:
            return "delete"
        case "DELETE", ["deletedsecrets", _]:
            return "purge"
        case "POST", ["deletedsecrets", _, "recover"]:
            return "recover"
        case _:
            return None
