"""The pages on which people sign in: authorization codes with PKCE, and device codes."""

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

from aiohttp import web

from sandbox.conditional_access import Proof, platform_of
from sandbox.directory import Application, Audit, AuthMethod, User
from sandbox.entra import html
from sandbox.entra.refusals import Refusal
from sandbox.entra.tokens import (
    CODE_LIFETIME,
    DEVICE_CODE_INTERVAL,
    DEVICE_CODE_LIFETIME,
    AuthorizationCode,
    DeviceCode,
    Grant,
    Tried,
)
from sandbox.faults import DEVICE_CODE, MFA_CODES, SIGN_IN, Faults, Refuse, disturb

if TYPE_CHECKING:
    from sandbox.entra.service import Entra, EntraRequest

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_FACTORS = frozenset({"microsoftAuthenticator", "phone", "softwareOath", "fido2", "windowsHelloForBusiness"})
_NEEDS_NO_ADMINISTRATOR = frozenset({"User.Read", "User.ReadWrite", "User.ReadBasic.All"})
_MAY_CONSENT = frozenset(
    {
        "62e90394-69f5-4237-9190-012177145e10",  # Global Administrator
        "e8611ab8-c189-46e8-94e1-60213ab1f814",  # Privileged Role Administrator
        "158c047a-c907-4556-b7ef-446551a6b5f7",  # Cloud Application Administrator
    }
)
_VERIFIER = re.compile(r"[A-Za-z0-9\-._~]{43,128}")


def origin_of(request: web.Request) -> str:
    """How whoever asks addresses this server."""
    return f"{request.scheme}://{request.host}"


@dataclass
class _Visit:
    """One person at the pages, from the link to the end; answers go to `redirect_uri`, or to `device`."""

    client: Application
    scope: str
    permissions: frozenset[str]
    redirect_uri: str = ""
    response_mode: str = "query"
    state: str | None = None
    nonce: str = ""
    challenge: str = ""
    ask_consent: bool = False
    hint: str = ""
    device: DeviceCode | None = None
    user_id: str = ""
    factor_wanted: bool = False
    factor_given: bool = False
    consented: bool = False
    confirmed: bool = False  # of a device code: that it is indeed theirs
    done: bool = False
    id: str = field(default_factory=lambda: secrets.token_urlsafe(24))


class SignInPages:
    """The authorize page and the page for device codes. A browser here keeps no session: everybody signs in anew.

    `mfa_for`: whom the pages ask for a second factor even when no fault does; holders of directory roles, if nothing is
    said. No passwords are asked for: choosing an account is knowing it.
    """

    def __init__(self, entra: "Entra", faults: Faults) -> None:
        self.mfa_for: Literal["nobody", "administrators", "everybody"] = "administrators"
        self._entra = entra
        self._directory = entra.directory
        self._clock = entra.clock
        self._faults = faults
        self._visits: dict[str, _Visit] = {}
        self._codes: dict[str, AuthorizationCode] = {}
        self._device_codes: dict[str, DeviceCode] = {}

    def routes(self, app: web.Application) -> None:
        app.router.add_get("/{tenant}/oauth2/v2.0/authorize", self._authorize)
        app.router.add_post("/{tenant}/oauth2/v2.0/authorize", self._authorize)
        app.router.add_post("/{tenant}/oauth2/v2.0/devicecode", self._make_device_code)
        app.router.add_get("/{tenant}/oauth2/deviceauth", self._enter_device_code)
        app.router.add_post("/{tenant}/oauth2/deviceauth", self._enter_device_code)
        app.router.add_post("/{tenant}/login", self._continue)

    @property
    def codes(self) -> tuple[str, ...]:
        """Every authorization and device code ever given out, for those who look for leaks; not what people type."""
        return (*self._codes, *self._device_codes)

    # What the token endpoint asks

    def redeem(self, client: Application, form: Mapping[str, str]) -> Grant:
        """The sign-in behind an authorization code, which is then used up."""
        for parameter in ("code", "redirect_uri"):
            if not form.get(parameter):
                raise Refusal(900144, parameter=parameter)
        code = self._codes.get(form["code"])
        if code is None or code.grant.client.app_id != client.app_id:
            raise Refusal(70000)
        if code.redeemed:
            raise Refusal(54005)
        if self._clock.now() >= code.expires_at:
            raise Refusal(70008)
        if form["redirect_uri"] != code.redirect_uri:
            raise Refusal(500112)
        verifier = form.get("code_verifier", "")
        if not verifier:
            raise Refusal(50148)
        if not _VERIFIER.fullmatch(verifier) or _challenge(verifier) != code.challenge:
            raise Refusal(501481)
        code.redeemed = True
        return code.grant

    def poll(self, client: Application, form: Mapping[str, str]) -> Grant:
        """The sign-in behind a device code, once there is one; until then a refusal that says to ask again."""
        value = form.get("device_code") or form.get("code", "")
        if not value:
            raise Refusal(900144, parameter="device_code")
        code = self._device_codes.get(value)
        if code is None or code.client.app_id != client.app_id:
            raise Refusal(70018)
        if code.redeemed:
            raise Refusal(54005)
        now = self._clock.now()
        if code.refusal is not None:
            raise code.refusal
        if now >= code.expires_at:
            raise Refusal(70020)
        if code.grant is None:
            early, code.polled_at = now - code.polled_at < code.interval - 1, now  # a second for clocks and roads
            if early:
                code.interval += DEVICE_CODE_INTERVAL
                raise Refusal(70016, error="slow_down")
            raise Refusal(70016)
        code.redeemed = True
        return code.grant

    # The beginning: authorization codes

    async def _authorize(self, request: web.Request) -> web.StreamResponse:
        seen = self._entra.seen(request)
        given = dict(request.query)
        if request.method == "POST":
            given |= {name: str(value) for name, value in (await request.post()).items()}
        seen.client_id = seen.subject = given.get("client_id", "")

        async def serve() -> web.StreamResponse:
            visit = None
            try:
                visit = self._visit(request, given)
                self._check_asked(request, visit, given)
            except Refusal as refusal:
                seen.grant, seen.code = "browser", refusal.code
                if visit is None:  # nobody to send it to: an address that is not the application's is not followed
                    return self._refused(request, seen, refusal)
                return self._send_back(visit, self._failure(seen, refusal))
            self._visits[visit.id] = visit
            return self._next(request, seen, visit)

        return await disturb(self._faults.match("entra", request.method, seen.path), request, serve)

    def _visit(self, request: web.Request, given: Mapping[str, str]) -> _Visit:
        tenant = request.match_info["tenant"].lower()
        if not given.get("client_id"):
            raise Refusal(900144, parameter="client_id")
        if tenant in ("common", "organizations"):
            raise Refusal(50194, client=given["client_id"])
        client = self._client(tenant, given["client_id"])
        redirect_uri = given.get("redirect_uri", "")
        if not redirect_uri or not _registered(client, redirect_uri):
            raise Refusal(50011, redirect=redirect_uri, client=client.app_id)
        mode = given.get("response_mode", "query")
        return _Visit(
            client=client,
            scope=given.get("scope", ""),
            permissions=frozenset(),
            redirect_uri=redirect_uri,
            response_mode=mode if mode in ("query", "form_post") else "query",
            state=given.get("state"),
            nonce=given.get("nonce", ""),
            challenge=given.get("code_challenge", ""),
            ask_consent=given.get("prompt") == "consent",
            hint=given.get("login_hint", "").lower(),
        )

    def _check_asked(self, request: web.Request, visit: _Visit, given: Mapping[str, str]) -> None:
        if given.get("response_type") != "code" or given.get("response_mode", "query") not in ("query", "form_post"):
            raise Refusal(700022)
        if not visit.scope:
            raise Refusal(900144, parameter="scope")
        if not visit.challenge or given.get("code_challenge_method") != "S256":
            raise Refusal(9002325)
        if given.get("prompt") == "none":
            raise Refusal(50058)
        visit.permissions = self._permissions(request, visit.scope)

    def _permissions(self, request: web.Request, scope: str) -> frozenset[str]:
        audience, names = self._entra.asked_of(request, scope)
        return names - {".default"} if audience == "graph" else frozenset()

    def _client(self, tenant: str, client_id: str) -> Application:
        if not self._entra.knows(tenant) and tenant not in ("common", "organizations"):
            raise Refusal(90002, tenant=tenant)
        client = self._directory.application_by_id(client_id)
        if client is None or client.managed:
            raise Refusal(700016, client=client_id)
        return client

    # The beginning: device codes

    async def _make_device_code(self, request: web.Request) -> web.StreamResponse:
        seen = self._entra.seen(request)
        form = {name: str(value) for name, value in (await request.post()).items()}
        seen.client_id = seen.subject = form.get("client_id", "")

        async def serve() -> web.StreamResponse:
            try:
                for parameter in ("client_id", "scope"):
                    if not form.get(parameter):
                        raise Refusal(900144, parameter=parameter)
                client = self._client(request.match_info["tenant"].lower(), form["client_id"])
                if not client.public:
                    raise Refusal(7000218)
                self._permissions(request, form["scope"])
            except Refusal as refusal:
                return self._entra.refuse(request, seen, refusal)
            seen.code = 0
            code = DeviceCode(client, form["scope"], self._clock.now() + DEVICE_CODE_LIFETIME)
            self._device_codes[code.value] = code
            address = f"{origin_of(request)}/common/oauth2/deviceauth"
            return web.json_response(
                {
                    "user_code": code.user_code,
                    "device_code": code.value,
                    "verification_uri": address,
                    "expires_in": int(DEVICE_CODE_LIFETIME),
                    "interval": int(DEVICE_CODE_INTERVAL),
                    "message": f"To sign in, use a web browser to open the page {address} and enter the code "
                    f"{code.user_code} to authenticate.",
                },
                headers={"Cache-Control": "no-store"},
            )

        return await disturb(self._faults.match("entra", request.method, seen.path), request, serve)

    async def _enter_device_code(self, request: web.Request) -> web.StreamResponse:
        seen = self._entra.seen(request)
        given = await request.post() if request.method == "POST" else request.query
        typed = str(given.get("otc", "")).strip().upper().replace("-", "").replace(" ", "")

        async def serve() -> web.StreamResponse:
            seen.code = 0
            pending = [code for code in self._device_codes.values() if code.user_code == typed and typed]
            alive = [
                code
                for code in pending
                if code.grant is None and code.refusal is None and self._clock.now() < code.expires_at
            ]
            if request.method == "GET" or not alive:
                wrong = ""
                if request.method == "POST":
                    seen.code = 70020 if pending else 70018
                    wrong = html.text("That code didn't work. Check the code and try again, or ask for a new one.")
                body = html.field("otc", "Code", typed) + html.actions(("next", "Next"))
                asked = html.text("Enter the code displayed on your app or device.")
                return _page("Enter code to allow access", wrong + asked + html.form(request.path, body, {}))
            (code,) = alive
            permissions = self._permissions(request, code.scope)
            visit = _Visit(client=code.client, scope=code.scope, permissions=permissions, device=code)
            self._visits[visit.id] = visit
            return self._next(request, seen, visit)

        return await disturb(self._faults.match("entra", request.method, seen.path), request, serve)

    # From page to page

    async def _continue(self, request: web.Request) -> web.StreamResponse:
        seen = self._entra.seen(request)
        form = {name: str(value) for name, value in (await request.post()).items()}
        visit = self._visits.get(form.get("ctx", ""))

        async def serve() -> web.StreamResponse:
            if visit is None or visit.done:
                seen.code = 70008
                return self._refused(request, seen, Refusal(70008))
            seen.client_id = seen.subject = visit.client.app_id
            try:
                answer = self._press(request, seen, visit, form)
            except Refusal as refusal:
                return self._turn_away(request, seen, visit, refusal)
            return answer or self._next(request, seen, visit)

        return await disturb(self._faults.match("entra", request.method, seen.path), request, serve)

    def _press(
        self, request: web.Request, seen: "EntraRequest", visit: _Visit, form: Mapping[str, str]
    ) -> web.StreamResponse | None:
        """What a button does; an answer of its own, or None to go on with what the visit needs next."""
        do, _, what = form.get("do", "").partition(":")
        user = self._directory.latest.user(visit.user_id) if visit.user_id else None
        match do:
            case "account":
                self._choose(request, seen, visit, what)
            case "next":
                self._choose(request, seen, visit, form.get("upn", ""))
            case "another":
                body = html.field("upn", "Email", visit.hint) + html.actions(("next", "Next"), ("cancel", "Cancel"))
                return self._form(request, visit, "Sign in", body)
            case "restart":
                visit.user_id, visit.hint = "", ""
            case "register" if user is not None and not has_second_factor(user):
                phone = AuthMethod(str(uuid4()), "microsoftAuthenticator", {"displayName": f"{user.name}'s phone"})
                user = self._directory.update_user(user.id, methods=(*user.methods, phone))
                self._audit("UserManagement", "User registered security info", visit.client, user, user)
            case "approve" if user is not None and has_second_factor(user):
                visit.factor_given = True
            case "deny":
                if user is not None:
                    self._judge(request, seen, visit, user)
                raise Refusal(500121)
            case "accept" if user is not None:
                self._accept(visit, user, for_everyone=form.get("everyone") == "yes")
            case "continue" if user is not None:
                visit.confirmed = True
            case "cancel" if user is None:
                raise Refusal(65004, error="access_denied")
            case "cancel":
                raise Refusal(70017 if visit.device is not None else 65004)
            case "return":
                raise Refusal(90094)
        return None

    def _choose(self, request: web.Request, seen: "EntraRequest", visit: _Visit, upn: str) -> None:
        """Who signs in, if Entra lets this account in at all."""
        upn = upn.strip().lower()
        stranger = self._directory.strangers.get(upn)
        if stranger is not None:
            raise Refusal(50020, user=stranger.upn, home=stranger.tenant_id, client=visit.client.name)
        user = self._directory.latest.user(upn) if "@" in upn else None
        if user is None:
            raise Refusal(50034, user=upn)
        if not user.enabled:
            raise Refusal(50057)
        if user.must_change_password:
            raise Refusal(50055)
        match self._faults.match("entra", SIGN_IN, user.upn.lower()):
            case Refuse(code) if code not in MFA_CODES:
                raise Refusal(code)
            case Refuse():
                visit.factor_wanted = True
            case _:
                roles = self._directory.latest.active_roles(user.id)
                whether = {"nobody": False, "administrators": bool(roles), "everybody": True}
                visit.factor_wanted = whether[self.mfa_for]
        if visit.device is not None:
            match self._faults.match("entra", DEVICE_CODE, user.upn.lower()):
                case Refuse(code):
                    visit.device.refusal = Refusal(code)
                    raise visit.device.refusal
        self._ask_policies(request, seen, visit, user)
        visit.user_id, visit.factor_given = user.id, False

    def _ask_policies(self, request: web.Request, seen: "EntraRequest", visit: _Visit, user: User) -> None:
        """Whether Conditional Access lets somebody go on, if need be with a second factor."""
        code = self._judge(request, seen, visit, user)
        if code in MFA_CODES:
            visit.factor_wanted = True
            code = self._judge(request, seen, visit, user, mfa=True)
        if not code:
            seen.tried = None  # it goes on
            return
        if visit.device is not None and seen.tried is not None and (seen.tried.judgement.by_flow or code == 530033):
            visit.device.refusal = Refusal(code)
        raise Refusal(code)

    def _judge(
        self, request: web.Request, seen: "EntraRequest", visit: _Visit, user: User, *, mfa: bool = False
    ) -> int:
        by_code = visit.device is not None
        audience, _ = self._entra.asked_of(request, visit.scope)
        access = self._entra.access
        attempt = self._entra.attempt(
            user,
            audience,
            ip=access.browser,
            client_app="mobileAppsAndDesktopClients" if by_code else "browser",
            platform=platform_of(request.headers.get("User-Agent", "")),
            device={} if by_code else access.browser_device,
            flow="deviceCodeFlow" if by_code else "none",
        )
        judgement = access.judge(attempt, Proof(mfa=mfa, registered=has_second_factor(user), interactive=True))
        protocol = "deviceCode" if by_code else "browser"
        seen.tried = Tried(visit.client, user, audience, protocol, attempt, judgement)
        return judgement.code

    def _accept(self, visit: _Visit, user: User, *, for_everyone: bool) -> None:
        missing = self._missing(visit, user)
        if missing - _NEEDS_NO_ADMINISTRATOR and not self._may_consent(user):
            raise Refusal(90094)
        whose = None if for_everyone and self._may_consent(user) else user.id
        if missing:
            self._directory.consent(visit.client, missing, whose)
            self._audit("ApplicationManagement", "Consent to application", visit.client, user, visit.client)
        visit.consented = True

    def _audit(self, category: str, activity: str, client: Application, by: User, target: User | Application) -> None:
        request_id = str(uuid4())
        self._directory.audits.append(
            Audit(
                id=f"Directory_{request_id}",
                time=self._clock.now(),
                request_id=request_id,
                client_request_id=None,
                category=category,
                activity=activity,
                caller_app=client,
                caller_user=by,
                target=target,
                modified=(),
            )
        )

    def _missing(self, visit: _Visit, user: User) -> frozenset[str]:
        return visit.permissions - self._directory.consented(visit.client, user.id)

    def _may_consent(self, user: User) -> bool:
        return any(one.role_id in _MAY_CONSENT for one in self._directory.latest.active_roles(user.id))

    def _next(self, request: web.Request, seen: "EntraRequest", visit: _Visit) -> web.StreamResponse:
        """The page the visit needs next, or its end."""
        user = self._directory.latest.user(visit.user_id) if visit.user_id else None
        if user is None:
            return self._pick(request, visit)
        seen.subject = user.upn
        if visit.factor_wanted and not visit.factor_given:
            return self._second_factor(request, visit, user)
        missing = self._missing(visit, user)
        if missing - _NEEDS_NO_ADMINISTRATOR and not self._may_consent(user):
            seen.code = 90094
            body = html.text(
                f"{visit.client.name} needs permission to access resources in your organisation that only an "
                "administrator can grant. Please ask one to grant it. (AADSTS90094)"
            )
            body += html.items(sorted(missing)) + html.actions(
                ("return", "Return to the application without granting consent"),
                ("restart", "Have an admin account? Sign in with that account"),
            )
            return self._form(request, visit, "Need admin approval", body)
        if missing or (visit.ask_consent and not visit.consented):
            body = html.text(f"{visit.client.name} would like to:") + html.items(sorted(missing or visit.permissions))
            if self._may_consent(user):
                body += html.checkbox("everyone", "Consent on behalf of your organisation")
            body += html.actions(("accept", "Accept"), ("cancel", "Cancel"))
            return self._form(request, visit, "Permissions requested", html.text(user.upn, note=True) + body)
        if visit.device is not None and not visit.confirmed:
            body = html.text("Do not continue if you did not ask for this code yourself.", note=True)
            body += html.actions(("continue", "Continue"), ("cancel", "Cancel"))
            return self._form(request, visit, f"Are you trying to sign in to {visit.client.name}?", body)
        return self._finish(request, seen, visit, user)

    def _pick(self, request: web.Request, visit: _Visit) -> web.StreamResponse:
        upns = [visit.hint] if visit.hint else self._directory.browser
        known = {upn: self._directory.latest.user(upn) or self._directory.strangers.get(upn) for upn in upns}
        people = [(account.name, upn) for upn, account in known.items() if account is not None]
        body = html.text(f"to continue to {visit.client.name}", note=True) + html.accounts(people)
        body += '<div class="actions"><button name="do" value="cancel">Cancel</button></div>'
        return self._form(request, visit, "Pick an account", body)

    def _second_factor(self, request: web.Request, visit: _Visit, user: User) -> web.StreamResponse:
        if not has_second_factor(user):
            body = html.text("Your organisation needs more information to keep your account secure.")
            body += html.actions(("register", "Set up Microsoft Authenticator"), ("deny", "I can't do that now"))
            return self._form(request, visit, "More information required", html.text(user.upn, note=True) + body)
        body = html.text("Open your Authenticator app, and approve the request to sign in.")
        body += html.actions(("approve", "Approve in Authenticator"), ("deny", "I can't use my Authenticator now"))
        return self._form(request, visit, "Approve sign in request", html.text(user.upn, note=True) + body)

    # The end

    def _finish(self, request: web.Request, seen: "EntraRequest", visit: _Visit, user: User) -> web.StreamResponse:
        if refused := self._judge(request, seen, visit, user, mfa=visit.factor_given):
            return self._turn_away(request, seen, visit, Refusal(refused))  # the policies changed meanwhile
        visit.done = True
        self._entra.log(request, seen, 0)
        seen.grant, seen.code = "browser", 0
        grant = Grant(
            client=visit.client,
            user_id=user.id,
            scope=visit.scope,
            signed_in_at=self._clock.now(),
            mfa=visit.factor_given,
            nonce=visit.nonce,
            by_device_code=visit.device is not None,
        )
        if visit.device is not None:
            visit.device.grant = grant
            told = f"You have signed in to the {visit.client.name} application. You may now close this window."
            return _page("You're signed in", html.text(told), tenant=self._directory.tenant.name)
        code = AuthorizationCode(grant, visit.redirect_uri, visit.challenge, self._clock.now() + CODE_LIFETIME)
        self._codes[code.value] = code
        return self._send_back(visit, {"code": code.value, "session_state": str(uuid4())})

    def _turn_away(
        self, request: web.Request, seen: "EntraRequest", visit: _Visit, refusal: Refusal
    ) -> web.StreamResponse:
        """A no on the page, where another account may be tried; or, of the person's own, back at the application."""
        seen.grant, seen.code = "browser", refusal.code
        self._entra.log(request, seen, refusal.code)
        if refusal.code not in (65004, 70017, 90094):
            return self._refused(request, seen, refusal, visit)
        visit.done = True
        if visit.device is None:
            return self._send_back(visit, self._failure(seen, refusal))
        visit.device.refusal = Refusal(70017)
        return _page("You declined to sign in", html.text("You may now close this window."))

    def _failure(self, seen: "EntraRequest", refusal: Refusal) -> dict[str, str]:
        body = refusal.body(
            self._entra.words, correlation_id=seen.correlation_id, now=self._clock.now(), origin=self._entra.origin
        )
        answer = {name: str(body[name]) for name in ("error", "error_description", "error_uri")}
        return {**answer, "error_subcode": "cancel"} if refusal.code == 65004 else answer

    def _send_back(self, visit: _Visit, values: Mapping[str, str]) -> web.StreamResponse:
        values = {**values, **({} if visit.state is None else {"state": visit.state})}
        if visit.response_mode == "form_post":
            return _html(html.send_back(visit.redirect_uri, values))
        joint = "&" if urlsplit(visit.redirect_uri).query else "?"
        headers = {"Location": f"{visit.redirect_uri}{joint}{urlencode(values)}", "Cache-Control": "no-store"}
        return web.Response(status=302, headers=headers)

    def _refused(
        self, request: web.Request, seen: "EntraRequest", refusal: Refusal, visit: _Visit | None = None
    ) -> web.StreamResponse:
        body = html.text(refusal.sentence(self._entra.words))
        body += html.text(f"Correlation ID: {seen.correlation_id}", note=True)
        if visit is None:
            return _page("Sorry, but we're having trouble signing you in", body, status=400)
        body += html.actions(("restart", "Sign in with another account"), ("cancel", "Cancel"))
        return self._form(request, visit, "Sorry, but we're having trouble signing you in", body)

    def _form(self, request: web.Request, visit: _Visit, title: str, body: str) -> web.StreamResponse:
        action = f"{origin_of(request)}/{self._directory.tenant.id}/login"
        return _page(title, html.form(action, body, {"ctx": visit.id}), tenant=self._directory.tenant.name)


def _page(title: str, body: str, *, tenant: str = "", status: int = 200) -> web.StreamResponse:
    return _html(html.page(title, body, tenant=tenant), status)


def _html(text: str, status: int = 200) -> web.StreamResponse:
    headers = {"Cache-Control": "no-store", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer"}
    return web.Response(text=text, status=status, content_type="text/html", headers=headers)


def has_second_factor(user: User) -> bool:
    """Whether somebody has registered what the pages can ask for."""
    return any(method.kind in _FACTORS for method in user.methods)


def _registered(client: Application, redirect_uri: str) -> bool:
    """Whether answers may go there: to an address of the application's, or to a /callback on this machine."""
    parts = urlsplit(redirect_uri)
    loopback = parts.scheme in ("http", "https") and parts.hostname in _LOOPBACK and parts.path.endswith("/callback")
    return redirect_uri in client.redirect_uris or (client.public and loopback)


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
