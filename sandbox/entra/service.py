"""Microsoft Entra's token service for the pretend tenant: discovery, user realm and tokens."""

import hashlib
import json
import random
import secrets
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

from aiohttp import web

from sandbox.clock import WorldClock
from sandbox.conditional_access import (
    RESOURCES,
    ConditionalAccess,
    Proof,
    platform_of,
    sign_in_line,
)
from sandbox.directory import Application, Directory, User
from sandbox.entra.pages import SignInPages, has_second_factor, origin_of
from sandbox.entra.refusals import Refusal
from sandbox.entra.tokens import SIGN_IN_SCOPES, Audience, Grant, RefreshToken, Token, Tried
from sandbox.faults import DEVICE_CODE, MFA_CODES, SIGN_IN, Faults, Refuse, disturb
from sandbox.jws import Jws, encode
from sandbox.policy_conditions import Attempt

_GRAPH_NAMES = {"https://graph.microsoft.com", "00000003-0000-0000-c000-000000000000"}
_VAULT_NAMES = {"https://vault.azure.net", "cfa8b339-82a2-471a-a3c9-0fc0be7a4093"}
_GRANTS = {
    "password": "password",
    "client_credentials": "client_credentials",
    "refresh_token": "refresh_token",
    "authorization_code": "authorization_code",
    "urn:ietf:params:oauth:grant-type:device_code": "device_code",
    "device_code": "device_code",
}
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_REFRESH_LIFETIME = 90 * 86400.0
_SKEW = 300.0  # how far an assertion's clock may be off, in seconds


@dataclass
class EntraRequest:
    """One request as Entra saw it; `code` is the AADSTS number, 0 for a success, None when nothing was answered."""

    time: float
    path: str  # without the tenant
    grant: str = ""  # of a token request: password, client_credentials, refresh_token, …; of a page: browser
    client_id: str = ""
    subject: str = ""  # the user name or the client id
    code: int | None = None
    correlation_id: str = ""
    tried: Tried | None = None  # once it is known who signs in to what


@dataclass
class _Attempts:
    """Smart lockout's memory of one account."""

    failures: int = 0
    lockouts: int = 0
    locked_until: float = float("-inf")
    recent: deque[str] = field(default_factory=lambda: deque(maxlen=3))


class Entra:
    """The token service. `origin` (scheme, host and port) is where others find it; the world sets it when it listens.

    Knobs for tests: `replication_lag` (seconds by which sign-ins are behind: after a change of the password only the
    old one signs in, a new certificate does not yet and a removed one still does), `lockout_threshold`,
    `token_lifetime` (a range in seconds); `pages.mfa_for`: whom the pages ask for a second factor. `access` are the
    policies of Conditional Access, with knobs of their own.
    """

    def __init__(self, directory: Directory, clock: WorldClock, faults: Faults) -> None:
        self.directory = directory
        self.clock = clock
        self.origin = "https://localhost"
        self.requests: list[EntraRequest] = []
        self.replication_lag = 0.0
        self.lockout_threshold = 10
        self.token_lifetime = (3600, 5399)
        self.access = ConditionalAccess(directory)
        self.pages = SignInPages(self, faults)
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
        self.pages.routes(app)

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

    @property
    def given_out(self) -> tuple[str, ...]:
        """Every token and code that ever left this server, for those who look for leaks."""
        return (*self._tokens, *self._refresh_tokens, *self.pages.codes)

    def grants(self, grant: str) -> list[EntraRequest]:
        """The requests of one kind: `password`, `client_credentials`, `refresh_token`, `browser`, … (`_GRANTS`)."""
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
        seen = self.seen(request)

        async def serve() -> web.StreamResponse:
            tenant = request.match_info["tenant"]
            seen.code = 0
            if not self.knows(tenant) and tenant not in ("common", "organizations"):
                return self.refuse(request, seen, Refusal(90002, tenant=tenant))
            origin = origin_of(request)
            own = tenant if tenant in ("common", "organizations") else self.directory.tenant.id
            return web.json_response(
                {
                    "issuer": f"{origin}/{self.directory.tenant.id}/v2.0",
                    "authorization_endpoint": f"{origin}/{own}/oauth2/v2.0/authorize",
                    "token_endpoint": f"{origin}/{own}/oauth2/v2.0/token",
                    "device_authorization_endpoint": f"{origin}/{own}/oauth2/v2.0/devicecode",
                    "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
                    "response_types_supported": ["code"],
                    "response_modes_supported": ["query", "form_post"],
                    "scopes_supported": sorted(SIGN_IN_SCOPES),
                    "subject_types_supported": ["pairwise"],
                    "id_token_signing_alg_values_supported": ["RS256"],
                    "tenant_region_scope": "EU",
                    "cloud_instance_name": "microsoftonline.com",
                    "msgraph_host": "graph.microsoft.com",
                }
            )

        return await disturb(self._faults.match("entra", request.method, seen.path), request, serve)

    async def _discover_instance(self, request: web.Request) -> web.StreamResponse:
        seen = self.seen(request)

        async def serve() -> web.StreamResponse:
            seen.code = 0
            return web.json_response(
                {
                    "tenant_discovery_endpoint": f"{origin_of(request)}/{self.directory.tenant.id}"
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
        seen = self.seen(request)
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
        seen = self.seen(request)
        form = {name: str(value) for name, value in (await request.post()).items()}
        seen.grant = _GRANTS.get(form.get("grant_type", ""), form.get("grant_type", ""))
        seen.client_id = form.get("client_id", "")
        seen.subject = form.get("username", seen.client_id)

        async def serve() -> web.StreamResponse:
            try:
                answer = self._grant(request, seen, form)
            except Refusal as refusal:
                self.log(request, seen, refusal.code)
                return self.refuse(request, seen, refusal)
            seen.code = 0
            self.log(request, seen, 0)
            return web.json_response(answer, headers={"Cache-Control": "no-store", "Pragma": "no-cache"})

        return await disturb(self._faults.match("entra", request.method, seen.path), request, serve)

    def _grant(self, request: web.Request, seen: EntraRequest, form: Mapping[str, str]) -> dict[str, Any]:
        tenant = request.match_info["tenant"].lower()
        if not self.knows(tenant) and tenant not in ("common", "organizations"):
            raise Refusal(90002, tenant=tenant)
        for parameter in ("client_id", "grant_type"):
            if not form.get(parameter):
                raise Refusal(900144, parameter=parameter)
        grant = form["grant_type"]
        grant = _GRANTS.get(grant, "")
        if not grant:
            raise Refusal(70003, grant=form["grant_type"])
        if grant == "client_credentials" and not self.knows(tenant):
            raise Refusal(50059)
        if grant == "password" and tenant == "common":
            raise Refusal(9001023)
        client = self._authenticate_client(request, form, may_be_public=grant in ("refresh_token", "device_code"))
        match grant:
            case "client_credentials":
                return self._grant_application(request, seen, client, form)
            case "password":
                return self._grant_password(request, seen, client, form)
            case "authorization_code":
                return self._grant_signed_in(request, self.pages.redeem(client, form), form)
            case "device_code":
                return self._grant_signed_in(request, self.pages.poll(client, form), form)
            case _:
                return self._grant_refresh(request, seen, client, form)

    def _grant_application(
        self, request: web.Request, seen: EntraRequest, client: Application, form: Mapping[str, str]
    ) -> dict[str, Any]:
        resource, _, name = form.get("scope", "").rpartition("/")
        if name != ".default" or " " in resource:
            raise Refusal(1002012)
        audience = self._audience(request, resource)
        attempt = self.attempt(None, audience, principal=client.principal_id)
        seen.tried = Tried(client, None, audience, "client_credentials", attempt)
        self._judge(seen.tried, Proof())
        token = self._issue(client, None, audience, client.roles if audience == "graph" else frozenset(), form)
        return {
            "token_type": "Bearer",
            "expires_in": int(token.lifetime),
            "ext_expires_in": int(token.lifetime),
            "access_token": token.value,
        }

    def _grant_password(
        self, request: web.Request, seen: EntraRequest, client: Application, form: Mapping[str, str]
    ) -> dict[str, Any]:
        for parameter in ("username", "password", "scope"):
            if not form.get(parameter):
                raise Refusal(900144, parameter=parameter)
        audience, names = self.asked_of(request, form["scope"])
        user = self.directory.latest.user(form["username"])
        if user is None or "@" not in form["username"]:
            raise Refusal(50034, user=form["username"])
        attempt = self.attempt(
            user,
            audience,
            client_app=self.access.password_client,
            platform=platform_of(request.headers.get("User-Agent", "")),
        )
        seen.tried = Tried(client, user, audience, "password", attempt)
        self._check_password(user, form["password"])
        self._judge(seen.tried, Proof(registered=has_second_factor(user)))
        permissions = self._consented(client, user, audience, names)
        self.directory.update_user(user.id, last_sign_in=self.clock.now())
        return self._user_answer(request, client, user, audience, permissions, form)

    def _grant_signed_in(self, request: web.Request, grant: Grant, form: Mapping[str, str]) -> dict[str, Any]:
        """The tokens for a sign-in on the pages, if nothing has ended it since."""
        user = self._still_welcome(grant.user_id, grant.signed_in_at)
        scope = form.get("scope") or grant.scope
        audience, names = self.asked_of(request, scope)
        permissions = self._consented(grant.client, user, audience, names)
        self.directory.update_user(user.id, last_sign_in=self.clock.now())
        scope = f"{scope} {' '.join(SIGN_IN_SCOPES & set(grant.scope.split()))}"
        return self._user_answer(request, grant.client, user, audience, permissions, {**form, "scope": scope}, grant)

    def _still_welcome(self, user_id: str, signed_in_at: float) -> User:
        user = self.directory.latest.user(user_id)
        if user is None:
            raise Refusal(50034, user=user_id)
        if not user.enabled:
            raise Refusal(50057)
        if user.sessions_valid_from > signed_in_at:
            raise Refusal(50173)
        return user

    def _grant_refresh(
        self, request: web.Request, seen: EntraRequest, client: Application, form: Mapping[str, str]
    ) -> dict[str, Any]:
        held = self._refresh_tokens.get(form.get("refresh_token", ""))
        if held is None or held.client.app_id != client.app_id:
            raise Refusal(70000)
        if self.clock.now() > held.issued_at + _REFRESH_LIFETIME:
            raise Refusal(700082)
        user = self._still_welcome(held.user_id, held.issued_at)
        grant = held.grant
        if not (client.public and grant and grant.by_device_code):
            self._need_credential(form)
        match self._faults.match("entra", SIGN_IN, user.upn.lower()):
            case Refuse(code) if code != 50126 and not (code in MFA_CODES and grant is not None and grant.mfa):
                raise Refusal(code)
        if grant is not None and grant.by_device_code and self._faults.match("entra", DEVICE_CODE, user.upn.lower()):
            raise Refusal(530036)
        scope = form.get("scope", "")
        if set(scope.split()) <= SIGN_IN_SCOPES:
            audience, names = held.audience, held.permissions
        else:
            audience, names = self.asked_of(request, scope)
        self._judge_refresh(seen, held, user, audience)
        permissions = self._consented(client, user, audience, names)
        return self._user_answer(
            request, client, user, audience, permissions, {**form, "scope": f"{scope} offline_access"}, grant
        )

    # Conditional Access

    def attempt(self, user: User | None, audience: Audience, **facts: Any) -> Attempt:
        """A sign-in from the bot's machine, if `facts` do not say otherwise."""
        ip = facts.pop("ip", self.access.egress)
        return Attempt(
            person=self.access.person(user) if user is not None else None,
            applications=frozenset({RESOURCES[audience][0]}),
            ip=ip,
            country=self.access.country_of(ip),
            **{"platform": "", "device": {}, **facts},
        )

    def _judge(self, tried: Tried, proof: Proof) -> None:
        tried.judgement = self.access.judge(tried.attempt, proof)
        if tried.judgement.code:
            raise Refusal(tried.judgement.code, resource=RESOURCES[tried.audience][0])

    def _judge_refresh(self, seen: EntraRequest, held: RefreshToken, user: User, audience: Audience) -> None:
        """Ask the policies again, as of where the application is now; what the sign-in proved stays proved."""
        grant = held.grant
        by_code = grant is not None and grant.by_device_code
        attempt = self.attempt(
            user,
            audience,
            client_app=grant.client_app if grant is not None else self.access.password_client,
            device={} if grant is None or by_code else self.access.browser_device,
            flow="deviceCodeFlow" if by_code else "none",
        )
        seen.subject, seen.tried = user.upn, Tried(held.client, user, audience, "refresh_token", attempt)
        since = grant.signed_in_at if grant is not None else held.issued_at
        proof = Proof(
            mfa=grant is not None and grant.mfa,
            registered=has_second_factor(user),
            age=self.clock.now() - since,
        )
        seen.tried.judgement = judgement = self.access.judge(attempt, proof)
        if judgement.code:
            # "Protocol tracking": what came of a device code stays subject to the policies about them.
            raise Refusal(530036 if judgement.by_flow and by_code else judgement.code, resource=RESOURCES[audience][0])

    def log(self, request: web.Request, seen: EntraRequest, code: int) -> None:
        """Write the sign-in log, if it came so far that there is somebody to tell of."""
        tried = seen.tried
        if tried is None:
            return
        self.access.log(
            sign_in_line(
                self.clock.now(),
                tried.attempt,
                tried.judgement,
                correlation_id=seen.correlation_id,
                application=tried.client,
                user=tried.user,
                resource=tried.audience,
                protocol=tried.protocol,
                interactive=tried.protocol in ("password", "browser", "deviceCode"),
                user_agent=request.headers.get("User-Agent", ""),
                code=code,
            )
        )

    def _user_answer(
        self,
        request: web.Request,
        client: Application,
        user: User,
        audience: Audience,
        permissions: frozenset[str],
        form: Mapping[str, str],
        grant: Grant | None = None,
    ) -> dict[str, Any]:
        asked = list(dict.fromkeys(form["scope"].split()))
        token = self._issue(client, user, audience, permissions, form)
        resource = next((scope.rpartition("/")[0] for scope in asked if "/" in scope), "")
        prefix = f"{resource}/" if resource else ""
        granted = [scope for scope in asked if scope in SIGN_IN_SCOPES or scope.endswith("/.default")]
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
                client, user.id, audience, permissions, token.issued_at, token.continuous, grant
            )
            answer["refresh_token"] = refresh
        if "openid" in asked:
            answer["id_token"] = self._id_token(request, client, user, grant)
        if form.get("client_info"):
            answer["client_info"] = _encode({"uid": user.id, "utid": self.directory.tenant.id})
        return answer

    def _id_token(self, request: web.Request, client: Application, user: User, grant: Grant | None) -> str:
        # Signed by nobody: MSAL does not look, and says so. See its documentation of `id_token_claims`.
        now = int(time.time())
        claims: dict[str, Any] = {
            "aud": client.app_id,
            "iss": f"{origin_of(request)}/{self.directory.tenant.id}/v2.0",
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
        if grant is not None:
            # When the person was seen, by the world's clock; the other times are for libraries, by the machine's.
            claims["auth_time"] = int(grant.signed_in_at)
            claims |= {"nonce": grant.nonce} if grant.nonce else {}
        return f"{_encode({'typ': 'JWT', 'alg': 'RS256'})}.{_encode(claims)}.{secrets.token_urlsafe(256)}"

    def for_managed_identity(self, request: web.Request, client: Application, resource: str) -> Token:
        """A token for the machine's own identity, as its metadata service gives them out."""
        audience = self._audience(request, resource)
        return self._issue(client, None, audience, client.roles if audience == "graph" else frozenset(), {})

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

    def asked_of(self, request: web.Request, scope: str) -> tuple[Audience, frozenset[str]]:
        """The resource and the permissions a delegated scope names; `.default`, or none, means what is consented."""
        asked = [one for one in scope.split() if one not in SIGN_IN_SCOPES]
        resources = {one.rpartition("/")[0] for one in asked} or {""}
        if len(resources) > 1:
            raise Refusal(70011)
        audience = self._audience(request, resources.pop())
        return audience, frozenset(one.rpartition("/")[2] for one in asked)

    def _consented(self, client: Application, user: User, audience: Audience, names: frozenset[str]) -> frozenset[str]:
        """What a token for this may do; refused when consent is missing."""
        consent = self.directory.consented(client, user.id) if audience == "graph" else frozenset[str]()
        permissions = consent if ".default" in names or not names else names
        if not permissions or not permissions <= consent:
            raise Refusal(65001, client=client.app_id)
        return permissions

    def _audience(self, request: web.Request, resource: str) -> Audience:
        name = resource.rstrip("/").removeprefix("api://")
        # A Graph of a national cloud is addressed by its own origin; this one may be as well.
        if not name or name in _GRAPH_NAMES or f"{name}/".startswith(f"{origin_of(request)}/"):
            return "graph"
        if name in _VAULT_NAMES:
            return "vault"
        raise Refusal(500011, resource=resource)

    # Who is asking

    def _authenticate_client(
        self, request: web.Request, form: Mapping[str, str], *, may_be_public: bool
    ) -> Application:
        client = self.directory.application_by_id(form["client_id"])
        if client is None or client.managed:
            raise Refusal(700016, client=form["client_id"])
        if assertion := form.get("client_assertion"):
            if form.get("client_assertion_type") != _ASSERTION:
                raise Refusal(900144, parameter="client_assertion_type")
            self._check_assertion(request, client, assertion)
        elif secret := form.get("client_secret"):
            if client.secret is None or not secrets.compare_digest(secret.encode(), client.secret.encode()):
                raise Refusal(7000215)
        elif not (client.public and may_be_public):
            self._need_credential(form)
        return client

    @staticmethod
    def _need_credential(form: Mapping[str, str]) -> None:
        if not form.get("client_assertion") and not form.get("client_secret"):
            raise Refusal(7000218)

    def _check_assertion(self, request: web.Request, client: Application, assertion: str) -> None:
        """A JWT signed with a registered certificate ("certificate credentials for application authentication")."""
        try:
            signed = Jws.parse(assertion)
        except ValueError as error:
            raise Refusal(50012) from error
        known = self.directory.at(self.clock.now() - self.replication_lag).keys(client)
        key = next((key for key in known if signed.names(key.certificate)), None)
        if key is None:
            raise Refusal(700027, reason="The key was not found.")
        if not key.in_force(self.clock.now()):
            raise Refusal(700027, reason="The key used is expired.")
        if not signed.is_signed_by(key.certificate):
            raise Refusal(700027, reason="The provided signature value did not match the expected signature value.")
        claims = signed.claims
        origin = origin_of(request)
        names = (self.directory.tenant.id, *self.directory.tenant.domains)
        audiences = {f"{origin}/{name}/oauth2/v2.0/token" for name in names}
        audiences |= {f"{origin}/{name}/v2.0" for name in names}
        if claims.get("iss") != client.app_id or claims.get("sub") != client.app_id:
            raise Refusal(50012)
        if claims.get("aud") not in audiences or not claims.get("jti"):
            raise Refusal(50012)
        # The libraries stamp assertions with the machine's clock, which nobody moves.
        now = time.time()
        if not claims.get("nbf", 0) - _SKEW <= now < claims.get("exp", 0) + _SKEW:
            raise Refusal(700024)
        # MSAL sends the same assertion again while it is valid; another one under the same id is a forgery.
        if self._assertions.setdefault(claims["jti"], assertion) != assertion:
            raise Refusal(50012)

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

    def refuse(self, request: web.Request, seen: EntraRequest, refusal: Refusal) -> web.Response:
        seen.code = refusal.code
        body = refusal.body(
            self.words, correlation_id=seen.correlation_id, now=self.clock.now(), origin=origin_of(request)
        )
        return web.json_response(body, status=refusal.status, headers={"Cache-Control": "no-store"})

    @property
    def words(self) -> dict[str, str]:
        """What the texts of refusals say about the tenant."""
        return {"tenant": self.directory.tenant.id, "tenant_name": self.directory.tenant.name}

    def seen(self, request: web.Request) -> EntraRequest:
        path = request.path
        seen = EntraRequest(
            time=self.clock.now(),
            path=path[path.find("/", 1) :],
            correlation_id=request.headers.get("client-request-id") or str(uuid4()),
        )
        self.requests.append(seen)
        return seen

    def knows(self, tenant: str) -> bool:
        return tenant.lower() in (self.directory.tenant.id, *self.directory.tenant.domains)


def _understands_challenges(claims: str) -> bool:
    """Whether a request's `claims` announce the client capability CP1."""
    try:
        asked = json.loads(claims) if claims else {}
        values = asked["access_token"]["xms_cc"]["values"]
    except (ValueError, KeyError, TypeError):
        return False
    return isinstance(values, list) and any(str(value).lower() == "cp1" for value in values)


def _encode(value: Mapping[str, Any]) -> str:
    return encode(json.dumps(value).encode())
