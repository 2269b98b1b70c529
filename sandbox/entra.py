"""Microsoft Entra's token service for the pretend tenant: discovery, user realm, tokens and refusals."""

import base64
import hashlib
import json
import random
import secrets
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import unquote
from uuid import uuid4

from aiohttp import web
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from sandbox.clock import WorldClock, iso
from sandbox.directory import Application, Directory, User
from sandbox.faults import SIGN_IN, Faults, Refuse, disturb

Audience = Literal["graph", "vault"]

_GRAPH_NAMES = {"https://graph.microsoft.com", "00000003-0000-0000-c000-000000000000"}
_VAULT_NAMES = {"https://vault.azure.net", "cfa8b339-82a2-471a-a3c9-0fc0be7a4093"}
_SIGN_IN_SCOPES = {"openid", "profile", "email", "offline_access"}
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_REFRESH_LIFETIME = 90 * 86400.0
_SKEW = 300.0  # how far an assertion's clock may be off, in seconds


@dataclass(frozen=True)
class _Kind:
    error: str
    text: str
    status: int = 400
    suberror: str | None = None
    claims: bool = False  # the answer says what a further sign-in would have to prove


# Words and shape after "Microsoft Entra authentication and authorization error codes".
_KINDS = {
    50012: _Kind("invalid_client", "Authentication failed.", 401),
    50034: _Kind("invalid_grant", "The user account {user} does not exist in the {tenant} directory."),
    50053: _Kind(
        "invalid_grant",
        "The account is locked, you've tried to sign in too many times with an incorrect user ID or password.",
    ),
    50055: _Kind("invalid_grant", "The password is expired.", suberror="user_password_expired"),
    50057: _Kind("invalid_grant", "The user account is disabled."),
    50059: _Kind("invalid_request", "No tenant-identifying information found in the request."),
    50072: _Kind(
        "interaction_required",
        "Due to a configuration change made by your administrator, or because you moved to a new location, "
        "you must enroll in multi-factor authentication to access '{resource}'.",
        suberror="basic_action",
    ),
    50076: _Kind(
        "interaction_required",
        "Due to a configuration change made by your administrator, or because you moved to a new location, "
        "you must use multi-factor authentication to access '{resource}'.",
        suberror="basic_action",
        claims=True,
    ),
    50079: _Kind(
        "interaction_required",
        "Due to a configuration change made by your administrator, or because you moved to a new location, "
        "you must enroll in multi-factor authentication to access '{resource}'.",
        suberror="basic_action",
    ),
    50126: _Kind("invalid_grant", "Error validating credentials due to invalid username or password."),
    50173: _Kind(
        "invalid_grant",
        "The provided grant has expired due to it being revoked, a fresh auth token is needed.",
        suberror="bad_token",
    ),
    53000: _Kind(
        "interaction_required",
        "Device is not in required device state. Conditional Access policy requires a compliant device.",
        suberror="message_only",
        claims=True,
    ),
    53003: _Kind(
        "interaction_required",
        "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance.",
        suberror="message_only",
        claims=True,
    ),
    530035: _Kind("interaction_required", "Access has been blocked by security defaults.", suberror="message_only"),
    65001: _Kind(
        "invalid_grant",
        "The user or administrator has not consented to use the application with ID '{client}'.",
        suberror="consent_required",
    ),
    70000: _Kind("invalid_grant", "Provided grant is invalid or malformed."),
    70003: _Kind("unsupported_grant_type", "The app requested an unsupported grant type '{grant}'."),
    70011: _Kind("invalid_scope", "The provided request must include a 'scope' input parameter that is valid."),
    90002: _Kind("invalid_request", "Tenant '{tenant}' not found."),
    500011: _Kind("invalid_resource", "The resource principal named {resource} was not found in the tenant {tenant}."),
    700016: _Kind(
        "unauthorized_client", "Application with identifier '{client}' was not found in the directory '{tenant}'."
    ),
    700024: _Kind("invalid_client", "Client assertion is not within its valid time range.", 401),
    700027: _Kind(
        "invalid_client",
        "The certificate with identifier used to sign the client assertion is not registered.",
        401,
    ),
    700082: _Kind("invalid_grant", "The refresh token has expired due to inactivity.", suberror="token_expired"),
    900144: _Kind("invalid_request", "The request body must contain the following parameter: '{parameter}'."),
    1002012: _Kind(
        "invalid_scope",
        "The provided value for scope is not valid: client credential flows must "
        "have a scope value with /.default suffixed to the resource identifier.",
    ),
    7000215: _Kind("invalid_client", "Invalid client secret provided.", 401),
    7000218: _Kind(
        "invalid_client",
        "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
        401,
    ),
    9001023: _Kind("invalid_request", "The grant type is not supported over the /common or /consumers endpoints."),
}


class Refusal(Exception):
    """A sign-in Entra refuses; `code` is the AADSTS number."""

    def __init__(self, code: int, **words: str) -> None:
        super().__init__(code)
        self.code = code
        self.words = words


@dataclass(frozen=True)
class Token:
    """An access token Entra gave out; `permissions` are its scopes, or its application roles when `user_id` is None."""

    value: str
    client: Application
    user_id: str | None
    audience: Audience
    permissions: frozenset[str]
    issued_at: float
    lifetime: float
    continuous: bool  # the client said it understands claims challenges, so a revocation ends the token at once


@dataclass(frozen=True)
class RefreshToken:
    client: Application
    user_id: str
    audience: Audience
    permissions: frozenset[str]
    issued_at: float
    continuous: bool


@dataclass
class EntraRequest:
    """One request as Entra saw it; `code` is the AADSTS number, 0 for a success, None when nothing was answered."""

    time: float
    path: str  # without the tenant
    grant: str = ""  # of a token request: password, client_credentials, refresh_token
    client_id: str = ""
    subject: str = ""  # the user name or the client id
    code: int | None = None
    correlation_id: str = ""


@dataclass
class _Attempts:
    """Smart lockout's memory of one account."""

    failures: int = 0
    lockouts: int = 0
    locked_until: float = float("-inf")
    recent: deque[str] = field(default_factory=lambda: deque(maxlen=3))


class Entra:
    """The token service. `origin` (scheme, host and port) is where others find it; the world sets it when it listens.

    Knobs for tests: `replication_lag` (seconds after a password change during which only the old password signs
    in), `lockout_threshold`, `token_lifetime` (a range in seconds).
    """

    def __init__(self, directory: Directory, clock: WorldClock, faults: Faults) -> None:
        self.directory = directory
        self.clock = clock
        self.origin = "https://localhost"
        self.requests: list[EntraRequest] = []
        self.replication_lag = 0.0
        self.lockout_threshold = 10
        self.token_lifetime = (3600, 5399)
        self._faults = faults
        self._tokens: dict[str, Token] = {}
        self._refresh_tokens: dict[str, RefreshToken] = {}
        self._attempts: dict[str, _Attempts] = {}
        self._assertions: dict[str, str] = {}  # jti: the assertion that carried it

    def routes(self, app: web.Application) -> None:
        """Serve Entra at the root of `app`."""
        app.router.add_get("/{tenant}/v2.0/.well-known/openid-configuration", self._discover)
        app.router.add_get("/common/discovery/instance", self._discover_instance)
        app.router.add_get("/common/userrealm/{user}", self._user_realm)
        app.router.add_post("/{tenant}/oauth2/v2.0/token", self._token)

    # What servers and tests ask

    def token(self, value: str) -> Token | None:
        """The token behind a bearer string, expired or not; None: Entra never gave it out."""
        return self._tokens.get(value)

    def expired(self, token: Token) -> bool:
        """Whether a token's time is over."""
        return self._clock_of(token) >= token.issued_at + token.lifetime

    def revoked(self, token: Token) -> bool:
        """Whether its account was disabled, deleted or signed out since; only continuous tokens show it."""
        if token.user_id is None or not token.continuous:
            return False
        user = self.directory.latest.user(token.user_id)
        return user is None or not user.enabled or user.sessions_valid_from > token.issued_at

    def grants(self, grant: str) -> list[EntraRequest]:
        """The token requests of one kind: `password`, `client_credentials`, `refresh_token`."""
        return [request for request in self.requests if request.grant == grant]

    def try_password(self, key: str, password: str) -> int:
        """What a person meets who signs in: 0, or the AADSTS number (50055: right, but must be changed first)."""
        user = self.directory.user(key)
        try:
            self._check_password(user, password)
        except Refusal as refusal:
            return refusal.code
        return 0

    def expire_tokens(self) -> None:
        """End every access token's time now, for tests of what a client does then."""
        for value, token in self._tokens.items():
            self._tokens[value] = replace(token, lifetime=0.0)

    # Discovery

    async def _discover(self, request: web.Request) -> web.StreamResponse:
        seen = self._seen(request)

        async def serve() -> web.StreamResponse:
            tenant = request.match_info["tenant"]
            seen.code = 0
            if not self._knows(tenant) and tenant not in ("common", "organizations"):
                return self._refuse(request, seen, Refusal(90002, tenant=tenant))
            origin = _origin(request)
            own = tenant if tenant in ("common", "organizations") else self.directory.tenant.id
            return web.json_response(
                {
                    "issuer": f"{origin}/{self.directory.tenant.id}/v2.0",
                    "authorization_endpoint": f"{origin}/{own}/oauth2/v2.0/authorize",
                    "token_endpoint": f"{origin}/{own}/oauth2/v2.0/token",
                    "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
                    "response_types_supported": ["code", "id_token"],
                    "scopes_supported": sorted(_SIGN_IN_SCOPES),
                    "subject_types_supported": ["pairwise"],
                    "id_token_signing_alg_values_supported": ["RS256"],
                    "tenant_region_scope": "EU",
                    "cloud_instance_name": "microsoftonline.com",
                    "msgraph_host": "graph.microsoft.com",
                }
            )

        return await disturb(self._faults.match("entra", request.method, seen.path), request, serve)

    async def _discover_instance(self, request: web.Request) -> web.StreamResponse:
        seen = self._seen(request)

        async def serve() -> web.StreamResponse:
            seen.code = 0
            return web.json_response(
                {
                    "tenant_discovery_endpoint": f"{_origin(request)}/{self.directory.tenant.id}"
                    "/v2.0/.well-known/openid-configuration",
                    "api-version": "1.1",
                    "metadata": [
                        {
                            "preferred_network": request.host,
                            "preferred_cache": request.host,
                            "aliases": [request.host],
                        }
                    ],
                }
            )

        return await disturb(self._faults.match("entra", request.method, seen.path), request, serve)

    async def _user_realm(self, request: web.Request) -> web.StreamResponse:
        seen = self._seen(request)
        seen.subject = unquote(request.match_info["user"])

        async def serve() -> web.StreamResponse:
            seen.code = 0
            domain = seen.subject.rpartition("@")[2].lower()
            if domain not in self.directory.tenant.domains:
                return web.json_response({"ver": "1.0", "account_type": "Unknown"})
            return web.json_response(
                {
                    "ver": "1.0",
                    "account_type": "Managed",
                    "domain_name": domain,
                    "cloud_instance_name": "microsoftonline.com",
                    "cloud_audience_urn": "urn:federation:MicrosoftOnline",
                }
            )

        return await disturb(self._faults.match("entra", request.method, seen.path), request, serve)

    # Tokens

    async def _token(self, request: web.Request) -> web.StreamResponse:
        seen = self._seen(request)
        form = {name: str(value) for name, value in (await request.post()).items()}
        seen.grant = form.get("grant_type", "")
        seen.client_id = form.get("client_id", "")
        seen.subject = form.get("username", seen.client_id)

        async def serve() -> web.StreamResponse:
            try:
                answer = self._grant(request, form)
            except Refusal as refusal:
                return self._refuse(request, seen, refusal)
            seen.code = 0
            return web.json_response(answer, headers={"Cache-Control": "no-store", "Pragma": "no-cache"})

        return await disturb(self._faults.match("entra", request.method, seen.path), request, serve)

    def _grant(self, request: web.Request, form: Mapping[str, str]) -> dict[str, Any]:
        tenant = request.match_info["tenant"].lower()
        if not self._knows(tenant) and tenant not in ("common", "organizations"):
            raise Refusal(90002, tenant=tenant)
        for parameter in ("client_id", "grant_type"):
            if not form.get(parameter):
                raise Refusal(900144, parameter=parameter)
        grant = form["grant_type"]
        if grant not in ("password", "client_credentials", "refresh_token"):
            raise Refusal(70003, grant=grant)
        if grant == "client_credentials" and not self._knows(tenant):
            raise Refusal(50059)
        if grant == "password" and tenant == "common":
            raise Refusal(9001023)
        client = self._authenticate_client(request, form)
        if grant == "client_credentials":
            return self._grant_application(request, client, form)
        if grant == "password":
            return self._grant_password(request, client, form)
        return self._grant_refresh(request, client, form)

    def _grant_application(self, request: web.Request, client: Application, form: Mapping[str, str]) -> dict[str, Any]:
        resource, _, name = form.get("scope", "").rpartition("/")
        if name != ".default" or " " in resource:
            raise Refusal(1002012)
        audience = self._audience(request, resource)
        token = self._issue(client, None, audience, client.roles if audience == "graph" else frozenset(), form)
        return {
            "token_type": "Bearer",
            "expires_in": int(token.lifetime),
            "ext_expires_in": int(token.lifetime),
            "access_token": token.value,
        }

    def _grant_password(self, request: web.Request, client: Application, form: Mapping[str, str]) -> dict[str, Any]:
        for parameter in ("username", "password", "scope"):
            if not form.get(parameter):
                raise Refusal(900144, parameter=parameter)
        audience, permissions = self._consented(request, client, form["scope"])
        user = self.directory.latest.user(form["username"])
        if user is None or "@" not in form["username"]:
            raise Refusal(50034, user=form["username"])
        self._check_password(user, form["password"])
        if permissions is None:
            raise Refusal(65001, client=client.app_id)
        self.directory.update_user(user.id, last_sign_in=self.clock.now())
        return self._user_answer(request, client, user, audience, permissions, form)

    def _grant_refresh(self, request: web.Request, client: Application, form: Mapping[str, str]) -> dict[str, Any]:
        held = self._refresh_tokens.get(form.get("refresh_token", ""))
        if held is None or held.client.app_id != client.app_id:
            raise Refusal(70000)
        user = self.directory.latest.user(held.user_id)
        if user is None:
            raise Refusal(50034, user=held.user_id)
        if self.clock.now() > held.issued_at + _REFRESH_LIFETIME:
            raise Refusal(700082)
        if user.sessions_valid_from > held.issued_at:
            raise Refusal(50173)
        if not user.enabled:
            raise Refusal(50057)
        match self._faults.match("entra", SIGN_IN, user.upn.lower()):
            case Refuse(code) if code != 50126:
                raise Refusal(code)
        scope = form.get("scope", "")
        if set(scope.split()) <= _SIGN_IN_SCOPES:
            audience: Audience = held.audience
            permissions: frozenset[str] | None = held.permissions
        else:
            audience, permissions = self._consented(request, client, scope)
        if permissions is None:
            raise Refusal(65001, client=client.app_id)
        return self._user_answer(
            request, client, user, audience, permissions, {**form, "scope": f"{scope} offline_access"}
        )

    def _user_answer(
        self,
        request: web.Request,
        client: Application,
        user: User,
        audience: Audience,
        permissions: frozenset[str],
        form: Mapping[str, str],
    ) -> dict[str, Any]:
        asked = form["scope"].split()
        token = self._issue(client, user, audience, permissions, form)
        resource = next((scope.rpartition("/")[0] for scope in asked if "/" in scope), "")
        prefix = f"{resource}/" if resource else ""
        granted = [scope for scope in asked if scope in _SIGN_IN_SCOPES or scope.endswith("/.default")]
        answer: dict[str, Any] = {
            "token_type": "Bearer",
            "scope": " ".join([*granted, *(f"{prefix}{name}" for name in sorted(permissions))]),
            "expires_in": int(token.lifetime),
            "ext_expires_in": int(token.lifetime),
            "access_token": token.value,
        }
        if "offline_access" in asked:
            refresh = f"1.{secrets.token_urlsafe(90)}"
            self._refresh_tokens[refresh] = RefreshToken(
                client, user.id, audience, permissions, token.issued_at, token.continuous
            )
            answer["refresh_token"] = refresh
        if "openid" in asked:
            answer["id_token"] = self._id_token(request, client, user)
        if form.get("client_info"):
            answer["client_info"] = _encode({"uid": user.id, "utid": self.directory.tenant.id})
        return answer

    def _id_token(self, request: web.Request, client: Application, user: User) -> str:
        # Signed by nobody: MSAL does not look, and says so. See its documentation of `id_token_claims`.
        now = int(time.time())
        claims = {
            "aud": client.app_id,
            "iss": f"{_origin(request)}/{self.directory.tenant.id}/v2.0",
            "iat": now,
            "nbf": now,
            "exp": now + 3600,
            "name": user.name,
            "oid": user.id,
            "preferred_username": user.upn,
            "sub": hashlib.sha256(f"{client.app_id}{user.id}".encode()).hexdigest()[:43],
            "tid": self.directory.tenant.id,
            "ver": "2.0",
        }
        return f"{_encode({'typ': 'JWT', 'alg': 'RS256'})}.{_encode(claims)}.{secrets.token_urlsafe(256)}"

    def _issue(
        self,
        client: Application,
        user: User | None,
        audience: Audience,
        permissions: frozenset[str],
        form: Mapping[str, str],
    ) -> Token:
        continuous = _understands_challenges(form.get("claims", ""))
        header = _encode({"typ": "JWT", "nonce": secrets.token_urlsafe(32), "alg": "RS256"})
        token = Token(
            value=f"{header}.{secrets.token_urlsafe(600)}.{secrets.token_urlsafe(256)}",
            client=client,
            user_id=user.id if user else None,
            audience=audience,
            permissions=permissions,
            issued_at=self.clock.now() if user else time.time(),
            lifetime=86400.0 if continuous and user else float(random.randint(*self.token_lifetime)),
            continuous=continuous,
        )
        self._tokens[token.value] = token
        return token

    def _clock_of(self, token: Token) -> float:
        # Applications' tokens are cached by the libraries inside the bot, which read the machine's clock: if moving
        # the world's time ended them, those libraries would present them again and again, as in no real world.
        return self.clock.now() if token.user_id else time.time()

    def _consented(
        self, request: web.Request, client: Application, scope: str
    ) -> tuple[Audience, frozenset[str] | None]:
        """The audience and permissions of a delegated scope; None for them when consent is missing."""
        asked = [one for one in scope.split() if one not in _SIGN_IN_SCOPES]
        resources = {one.rpartition("/")[0] for one in asked} or {""}
        if len(resources) > 1:
            raise Refusal(70011)
        audience = self._audience(request, resources.pop())
        consent = client.consent if audience == "graph" else frozenset()
        names = {one.rpartition("/")[2] for one in asked}
        if ".default" in names or not names:
            return audience, consent or None
        return audience, frozenset(names) if names <= consent else None

    def _audience(self, request: web.Request, resource: str) -> Audience:
        name = resource.rstrip("/").removeprefix("api://")
        # A Graph of a national cloud is addressed by its own origin; this one may be as well.
        if not name or name in _GRAPH_NAMES or f"{name}/".startswith(f"{_origin(request)}/"):
            return "graph"
        if name in _VAULT_NAMES:
            return "vault"
        raise Refusal(500011, resource=resource)

    # Who is asking

    def _authenticate_client(self, request: web.Request, form: Mapping[str, str]) -> Application:
        client = self.directory.application_by_id(form["client_id"])
        if client is None:
            raise Refusal(700016, client=form["client_id"])
        if assertion := form.get("client_assertion"):
            if form.get("client_assertion_type") != _ASSERTION:
                raise Refusal(900144, parameter="client_assertion_type")
            self._check_assertion(request, client, assertion)
        elif secret := form.get("client_secret"):
            if client.secret is None or not secrets.compare_digest(secret.encode(), client.secret.encode()):
                raise Refusal(7000215)
        else:
            raise Refusal(7000218)
        return client

    def _check_assertion(self, request: web.Request, client: Application, assertion: str) -> None:
        """A JWT signed with the registered certificate ("certificate credentials for application authentication")."""
        if not client.uses_certificate:
            raise Refusal(700027)
        certificate = self.directory.worker_certificate.certificate
        signed, _, signature = assertion.rpartition(".")
        head, _, body = signed.partition(".")
        try:
            header, claims = json.loads(_decode(head)), json.loads(_decode(body))
            self._check_signature(certificate, header, signed.encode(), _decode(signature))
        except (ValueError, InvalidSignature) as error:
            raise Refusal(700027) from error
        origin = _origin(request)
        names = (self.directory.tenant.id, *self.directory.tenant.domains)
        audiences = {f"{origin}/{name}/oauth2/v2.0/token" for name in names}
        audiences |= {f"{origin}/{name}/v2.0" for name in names}
        if claims.get("iss") != client.app_id or claims.get("sub") != client.app_id:
            raise Refusal(700027)
        if claims.get("aud") not in audiences or not claims.get("jti"):
            raise Refusal(50012)
        # The libraries stamp assertions with the machine's clock, which nobody moves.
        now = time.time()
        if not claims.get("nbf", 0) - _SKEW <= now < claims.get("exp", 0) + _SKEW:
            raise Refusal(700024)
        # MSAL sends the same assertion again while it is valid; another one under the same id is a forgery.
        if self._assertions.setdefault(claims["jti"], assertion) != assertion:
            raise Refusal(50012)

    @staticmethod
    def _check_signature(
        certificate: x509.Certificate, header: Mapping[str, Any], signed: bytes, signature: bytes
    ) -> None:
        names = {
            "x5t": _encode_bytes(certificate.fingerprint(hashes.SHA1())),  # noqa: S303 - x5t is SHA-1 by definition
            "x5t#S256": _encode_bytes(certificate.fingerprint(hashes.SHA256())),
        }
        given = {name: header[name].rstrip("=") for name in names if name in header}
        if not given or any(names[name] != value for name, value in given.items()):
            raise InvalidSignature
        key = certificate.public_key()
        if not isinstance(key, rsa.RSAPublicKey):
            raise InvalidSignature
        if header.get("alg") == "PS256":
            pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO)
            key.verify(signature, signed, pss, hashes.SHA256())
        elif header.get("alg") == "RS256":
            key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
        else:
            raise InvalidSignature

    def _check_password(self, user: User, password: str) -> None:
        """The first factor, then what may stop a right password; wrong ones feed smart lockout."""
        now = self.clock.now()
        effect = self._faults.match("entra", SIGN_IN, user.upn.lower())
        refused = effect.code if isinstance(effect, Refuse) else 0
        attempts = self._attempts.setdefault(user.id, _Attempts())
        if now < attempts.locked_until:
            raise Refusal(50053)
        if not user.enabled or refused == 50057:
            raise Refusal(50057)
        expected = self.directory.password_at(user.id, now - self.replication_lag)
        if refused == 50126 or not secrets.compare_digest(password.encode(), expected.encode()):
            self._count_failure(attempts, password, now)
            raise Refusal(50126)
        self._attempts[user.id] = _Attempts()
        if user.must_change_password:
            raise Refusal(50055)
        if refused:
            raise Refusal(refused, resource="00000003-0000-0000-c000-000000000000")

    def _count_failure(self, attempts: _Attempts, password: str, now: float) -> None:
        # "Microsoft Entra smart lockout": the last three wrong passwords are remembered and repeats are free;
        # the first lockout lasts a minute, later ones come at the next failure and last longer.
        hashed = hashlib.sha256(password.encode()).hexdigest()
        if hashed in attempts.recent:
            return
        attempts.recent.append(hashed)
        attempts.failures += 1
        if attempts.failures >= (self.lockout_threshold if attempts.lockouts == 0 else 1):
            attempts.lockouts += 1
            attempts.failures = 0
            attempts.locked_until = now + 60.0 * 2 ** (attempts.lockouts - 1)

    # Saying no

    def _refuse(self, request: web.Request, seen: EntraRequest, refusal: Refusal) -> web.Response:
        seen.code = refusal.code
        kind = _KINDS.get(refusal.code) or _Kind("invalid_grant", "The sign-in was refused.")
        words = {"tenant": self.directory.tenant.id, "resource": "", **refusal.words}
        trace, stamp = str(uuid4()), iso(self.clock.now()).replace("T", " ")
        body: dict[str, Any] = {
            "error": kind.error,
            "error_description": f"AADSTS{refusal.code}: {kind.text.format_map(words)} Trace ID: {trace} "
            f"Correlation ID: {seen.correlation_id} Timestamp: {stamp}",
            "error_codes": [refusal.code],
            "timestamp": stamp,
            "trace_id": trace,
            "correlation_id": seen.correlation_id,
            "error_uri": f"{_origin(request)}/error?code={refusal.code}",
        }
        if kind.suberror:
            body["suberror"] = kind.suberror
        if kind.claims:
            body["claims"] = json.dumps({"access_token": {"capolids": {"essential": True, "values": [str(uuid4())]}}})
        return web.json_response(body, status=kind.status, headers={"Cache-Control": "no-store"})

    def _seen(self, request: web.Request) -> EntraRequest:
        path = request.path
        seen = EntraRequest(
            time=self.clock.now(),
            path=path[path.find("/", 1) :],
            correlation_id=request.headers.get("client-request-id") or str(uuid4()),
        )
        self.requests.append(seen)
        return seen

    def _knows(self, tenant: str) -> bool:
        return tenant.lower() in (self.directory.tenant.id, *self.directory.tenant.domains)


def _origin(request: web.Request) -> str:
    return f"{request.scheme}://{request.host}"


def _understands_challenges(claims: str) -> bool:
    """Whether a request's `claims` announce the client capability CP1."""
    try:
        asked = json.loads(claims) if claims else {}
        values = asked["access_token"]["xms_cc"]["values"]
    except (ValueError, KeyError, TypeError):
        return False
    return isinstance(values, list) and any(str(value).lower() == "cp1" for value in values)


def _encode(value: Mapping[str, Any]) -> str:
    return _encode_bytes(json.dumps(value).encode())


def _encode_bytes(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _decode(value: str) -> bytes:
    return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
