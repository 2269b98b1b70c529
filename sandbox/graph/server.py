"""The Graph server: its table of calls, and the road of one request through it."""

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote_to_bytes
from uuid import uuid4

from aiohttp import web

from sandbox.clock import WorldClock, iso
from sandbox.directory import Directory
from sandbox.entra import Entra, Token
from sandbox.faults import Answer, Challenge, Drop, Effect, Faults, Hang, Lag, disturb
from sandbox.graph import (
    applications,
    authentication,
    bodies,
    conditional_access,
    consents,
    groups,
    licenses,
    objects,
    organization,
    roles,
    units,
    users,
)
from sandbox.graph.bodies import Schema
from sandbox.graph.call import Call, Caller, GraphError, Reply, bad_request
from sandbox.graph.odata import QueryError, parse_options

PREFIX = "/graph/v1.0"
_BETA = "/graph/beta"
_ACCESS = "/identity/conditionalAccess"

Handler = Callable[[Call], Reply]


@dataclass(frozen=True)
class Route:
    """A call Graph answers; `{}` in the path is a variable part, a name in braces a choice: `{a|b}`."""

    method: str
    path: str
    handler: Handler
    body: Schema | None = None


def _routes(resets: authentication.PasswordResets) -> tuple[Route, ...]:
    methods = "|".join(authentication.METHOD_COLLECTIONS)
    casts = "microsoft.graph.group|microsoft.graph.directoryRole|microsoft.graph.administrativeUnit"
    members = "microsoft.graph.user|microsoft.graph.group"
    defaults = "/policies/identitySecurityDefaultsEnforcementPolicy"
    access_passes = "/users/{}/authentication/temporaryAccessPassMethods"
    return (
        Route("GET", "/me", users.get_me),
        Route("POST", "/me/changePassword", users.change_own_password, bodies.CHANGE_PASSWORD),
        Route("GET", "/me/memberOf", groups.list_my_member_of),
        Route("GET", f"/me/memberOf/{{{casts}}}", groups.list_my_member_of),
        Route("GET", "/me/transitiveMemberOf", groups.list_my_transitive_member_of),
        Route("GET", f"/me/transitiveMemberOf/{{{casts}}}", groups.list_my_transitive_member_of),
        Route("GET", "/me/oauth2PermissionGrants", consents.list_my_grants),
        Route("GET", "/users", users.list_users),
        Route("POST", "/users", users.create_user, bodies.USER),
        Route("GET", "/users/{}", users.get_user),
        Route("PATCH", "/users/{}", users.update_user, bodies.USER),
        Route("DELETE", "/users/{}", users.delete_user),
        Route("GET", "/users/{}/manager", users.get_manager),
        Route("GET", "/users/{}/oauth2PermissionGrants", consents.list_grants_of_user),
        Route("POST", "/users/{}/revokeSignInSessions", users.revoke_sessions, bodies.NOTHING),
        Route("GET", "/users/{}/memberOf", groups.list_member_of),
        Route("GET", f"/users/{{}}/memberOf/{{{casts}}}", groups.list_member_of),
        Route("GET", "/users/{}/transitiveMemberOf", groups.list_transitive_member_of),
        Route("GET", f"/users/{{}}/transitiveMemberOf/{{{casts}}}", groups.list_transitive_member_of),
        Route("POST", "/users/{}/checkMemberGroups", groups.check_member_groups, bodies.CHECK_MEMBER_GROUPS),
        Route("GET", "/users/{}/licenseDetails", licenses.list_details),
        Route("POST", "/users/{}/assignLicense", licenses.assign, bodies.ASSIGN_LICENSE),
        Route("GET", "/users/{}/authentication/methods", authentication.list_methods),
        Route("POST", "/users/{}/authentication/methods/{}/resetPassword", resets.start, bodies.RESET_PASSWORD),
        Route("GET", "/users/{}/authentication/passwordMethods", authentication.list_password_methods),
        Route("POST", "/users/{}/authentication/passwordMethods/{}/resetPassword", resets.start, bodies.RESET_PASSWORD),
        Route("GET", "/users/{}/authentication/operations/{}", resets.get),
        Route("GET", access_passes, authentication.list_access_passes),
        Route("POST", access_passes, authentication.make_access_pass, bodies.ACCESS_PASS),
        Route("GET", f"{access_passes}/{{}}", authentication.get_access_pass),
        Route("DELETE", f"{access_passes}/{{}}", authentication.delete_access_pass),
        Route("GET", f"/users/{{}}/authentication/{{{methods}}}", authentication.list_methods_of_kind),
        Route("POST", "/users/{}/authentication/phoneMethods", authentication.add_phone, bodies.PHONE),
        Route("DELETE", f"/users/{{}}/authentication/{{{methods}}}/{{}}", authentication.delete_method),
        Route("GET", "/subscribedSkus", licenses.list_skus),
        Route("GET", "/groups", groups.list_groups),
        Route("POST", "/groups", groups.create_group, bodies.GROUP),
        Route("GET", "/groups/{}", groups.get_group),
        Route("DELETE", "/groups/{}", groups.delete_group),
        Route("GET", "/groups/{}/members", groups.list_members),
        Route("GET", f"/groups/{{}}/members/{{{members}}}", groups.list_members),
        Route("GET", "/groups/{}/transitiveMembers", groups.list_transitive_members),
        Route("GET", f"/groups/{{}}/transitiveMembers/{{{members}}}", groups.list_transitive_members),
        Route("GET", "/groups/{}/transitiveMemberOf", groups.list_groups_around),
        Route("POST", "/groups/{}/members/$ref", groups.add_member, bodies.REFERENCE),
        Route("DELETE", "/groups/{}/members/{}/$ref", groups.remove_member),
        Route("GET", "/directoryRoles", roles.list_directory_roles),
        Route("GET", "/roleManagement/directory/roleDefinitions", roles.list_definitions),
        Route("GET", "/roleManagement/directory/roleDefinitions/{}", roles.get_definition),
        Route("GET", "/roleManagement/directory/roleAssignments", roles.list_assignments),
        Route("POST", "/roleManagement/directory/roleAssignments", roles.assign, bodies.ROLE_ASSIGNMENT),
        Route("GET", "/roleManagement/directory/roleAssignments/{}", roles.get_assignment),
        Route("DELETE", "/roleManagement/directory/roleAssignments/{}", roles.unassign),
        Route("GET", "/roleManagement/directory/roleEligibilityScheduleInstances", roles.list_eligibility),
        Route("GET", "/directory/administrativeUnits", units.list_units),
        Route("GET", "/directory/administrativeUnits/{}", units.get_unit),
        Route("POST", "/directoryObjects/getByIds", objects.get_by_ids, bodies.GET_BY_IDS),
        Route("GET", "/directory/deletedItems/microsoft.graph.user", objects.list_deleted_users),
        Route("GET", "/directory/deletedItems/{}", objects.get_deleted),
        Route("POST", "/directory/deletedItems/{}/restore", objects.restore, bodies.NOTHING),
        Route("DELETE", "/directory/deletedItems/{}", objects.purge),
        Route("GET", "/oauth2PermissionGrants", consents.list_grants),
        Route("GET", "/oauth2PermissionGrants/{}", consents.get_grant),
        Route("DELETE", "/oauth2PermissionGrants/{}", consents.delete_grant),
        Route("GET", "/servicePrincipals/{}/oauth2PermissionGrants", consents.list_grants_of_principal),
        Route("GET", "/servicePrincipals", organization.list_principals),
        Route("GET", "/servicePrincipals/{}", organization.get_principal),
        Route("GET", "/servicePrincipals(appId=)/{}", organization.get_principal_by_app_id),
        Route("GET", "/applications", applications.list_applications),
        *(
            route
            for one in ("/applications/{}", "/applications(appId=)/{}")
            for route in (
                Route("GET", one, applications.get_application),
                Route("POST", f"{one}/addKey", applications.add_key, bodies.ADD_KEY),
                Route("POST", f"{one}/removeKey", applications.remove_key, bodies.REMOVE_KEY),
            )
        ),
        Route("GET", "/organization", organization.list_organizations),
        Route("GET", defaults, organization.get_security_defaults),
        Route("PATCH", defaults, organization.update_security_defaults, bodies.SECURITY_DEFAULTS),
        Route("GET", "/auditLogs/directoryAudits", organization.list_audits),
        Route("GET", "/auditLogs/signIns", conditional_access.list_sign_ins),
        Route("GET", "/auditLogs/signIns/{}", conditional_access.get_sign_in),
        Route("GET", f"{_ACCESS}/policies", conditional_access.list_policies),
        Route("POST", f"{_ACCESS}/policies", conditional_access.create_policy, bodies.CONDITIONAL_ACCESS_POLICY),
        Route("GET", f"{_ACCESS}/policies/{{}}", conditional_access.get_policy),
        Route("PATCH", f"{_ACCESS}/policies/{{}}", conditional_access.update_policy, bodies.CONDITIONAL_ACCESS_POLICY),
        Route("DELETE", f"{_ACCESS}/policies/{{}}", conditional_access.delete_policy),
        Route("GET", f"{_ACCESS}/namedLocations", conditional_access.list_locations),
        Route("POST", f"{_ACCESS}/namedLocations", conditional_access.create_location, bodies.NAMED_LOCATION),
        Route("GET", f"{_ACCESS}/namedLocations/{{}}", conditional_access.get_location),
        Route("PATCH", f"{_ACCESS}/namedLocations/{{}}", conditional_access.update_location, bodies.NAMED_LOCATION),
        Route("DELETE", f"{_ACCESS}/namedLocations/{{}}", conditional_access.delete_location),
        Route("POST", f"{_ACCESS}/evaluate", conditional_access.evaluate, bodies.EVALUATE),
    )


_BETA_ROUTES = (
    Route("GET", "/users/{}/authentication/requirements", conditional_access.get_requirements),
    Route(
        "PATCH", "/users/{}/authentication/requirements", conditional_access.update_requirements, bodies.REQUIREMENTS
    ),
)
"""What is not in v1.0."""


@dataclass
class GraphRequest:
    """One request as Graph saw it: path and query as they came, before anything was decoded.

    `applied` says that it changed the directory; `status` is None while, or if, it was never answered.
    """

    time: float
    method: str
    path: str  # below /graph/v1.0, or all of it
    query: str
    client_request_id: str | None
    request_id: str
    caller: str = ""  # user name, or client id of an application; empty when it was refused before that
    applied: bool = False
    status: int | None = None


class Graph:
    """Microsoft Graph v1.0. Knobs for tests: `index_lag`, the seconds by which $search and $filter over users and
    groups are behind the writes, and `resets.seconds`, how long a password reset with writeback runs.
    """

    def __init__(self, directory: Directory, entra: Entra, clock: WorldClock, faults: Faults) -> None:
        self.directory = directory
        self.clock = clock
        self.requests: list[GraphRequest] = []
        self.index_lag = 2.0
        self.resets = authentication.PasswordResets()
        self._entra = entra
        self._faults = faults
        self._table = _Table(_routes(self.resets))
        self._beta = _Table(_BETA_ROUTES)

    def routes(self, app: web.Application) -> None:
        """Serve Graph below `/graph/v1.0` of `app`."""
        # All of /graph, so that what climbed out of v1.0 is seen and recorded too.
        app.router.add_route("*", r"/graph/{rest:[\s\S]*}", self._answer)

    def writes(self) -> list[GraphRequest]:
        """The requests that changed the directory, oldest first."""
        return [request for request in self.requests if request.applied]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        seen = GraphRequest(
            time=self.clock.now(),
            method=request.method,
            path=path.removeprefix(PREFIX),
            query=query,
            client_request_id=request.headers.get("client-request-id"),
            request_id=str(uuid4()),
        )
        self.requests.append(seen)
        payload = await request.read()
        effect = self._faults.match("graph", request.method, seen.path)

        async def serve() -> web.StreamResponse:
            try:
                reply = self._serve(request, seen, path, payload, effect)
            except QueryError as error:
                return self._error_response(seen, GraphError(400, error.code, str(error)))
            except GraphError as error:
                return self._error_response(seen, error)
            seen.applied = reply.applied
            if reply.body is None:
                return web.Response(status=reply.status, headers=reply.headers)
            return web.json_response(reply.body, status=reply.status, headers=reply.headers)

        if isinstance(effect, Answer) and isinstance(effect.body, Mapping) and "error" in effect.body:
            effect = replace(effect, body={"error": {**effect.body["error"], "innerError": self._inner(seen)}})
        response = await disturb(effect, request, serve)
        seen.status = None if isinstance(effect, Drop | Hang) else response.status
        response.headers["request-id"] = seen.request_id
        response.headers["client-request-id"] = seen.client_request_id or seen.request_id
        return response

    def _serve(
        self, request: web.Request, seen: GraphRequest, path: str, payload: bytes, effect: Effect | None
    ) -> Reply:
        beta = path.startswith(f"{_BETA}/")
        if not beta and not path.startswith(f"{PREFIX}/"):
            raise bad_request("Invalid version.", "BadRequest")
        token = self._authenticate(request, challenged=isinstance(effect, Challenge))
        caller = self._caller(token)
        seen.caller = caller.user.upn if caller.user else token.client.app_id
        table = self._beta if beta else self._table
        route, args = table.find(request.method, path.removeprefix(_BETA) if beta else seen.path)
        access = self._entra.access
        if seen.path.startswith(f"{_ACCESS}/") and not access.may_be_called():
            # "Microsoft Graph service-specific throttling limits": here without Retry-After.
            raise GraphError(429, "TooManyRequests", "Too many requests.")
        eventual = request.headers.get("ConsistencyLevel", "").lower() == "eventual"
        now = self.clock.now()
        view, behind = self.directory.latest, access.read_lag
        if isinstance(effect, Lag) and request.method == "GET":
            view, behind = self.directory.at(now - effect.seconds), max(behind, effect.seconds)
        lag = max(self.index_lag, effect.seconds if isinstance(effect, Lag) else 0.0)
        call = Call(
            method=request.method,
            args=args,
            options=parse_options(seen.query, eventual=eventual),
            body=_body(request, route, payload),
            caller=caller,
            directory=self.directory,
            view=view,
            index=self.directory.at(now - lag) if lag else view,
            base=f"{request.scheme}://{request.host}{PREFIX}",
            path=seen.path,
            query=seen.query,
            request_id=seen.request_id,
            client_request_id=seen.client_request_id,
            access=access,
            access_at=now - behind if behind else None,
            prefers=frozenset(one.strip() for one in request.headers.get("Prefer", "").split(",")),
        )
        return route.handler(call)

    def _authenticate(self, request: web.Request, *, challenged: bool) -> Token:
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not value:
            raise self._unauthorized("Access token is empty.")
        token = self._entra.token(value)
        if token is None:
            raise self._unauthorized("IDX14100: JWT is not well formed or its signature is not valid.")
        if token.audience != "graph":
            raise self._unauthorized("Access token validation failure. Invalid audience.")
        if self._entra.expired(token):
            raise self._unauthorized("Lifetime validation failed, the token is expired.")
        if challenged or self._entra.revoked(token):
            # "Continuous access evaluation": the token must be newer than now.
            asked = {"access_token": {"nbf": {"essential": True, "value": str(int(self.clock.now()))}}}
            claims = base64.b64encode(json.dumps(asked).encode()).decode()
            raise self._unauthorized(
                "Continuous access evaluation resulted in challenge with result: InteractionRequired.",
                f', error="insufficient_claims", claims="{claims}"',
            )
        return token

    def _unauthorized(self, message: str, more: str = "") -> GraphError:
        authority = f"{self._entra.origin}/common/oauth2/authorize"
        challenge = (
            f'Bearer realm="", authorization_uri="{authority}", client_id="00000003-0000-0000-c000-000000000000"{more}'
        )
        return GraphError(401, "InvalidAuthenticationToken", message, {"WWW-Authenticate": challenge})

    def _caller(self, token: Token) -> Caller:
        user = self.directory.latest.user(token.user_id) if token.user_id else None
        if token.user_id and user is None:
            raise GraphError(401, "Authorization_IdentityNotFound", "The identity of the calling user was not found.")
        principal_id = token.user_id or token.client.principal_id
        whole: set[str] = set()
        units_held: dict[str, frozenset[str]] = {}
        for assignment in self.directory.latest.active_roles(principal_id):
            if assignment.scope == "/":
                whole.add(assignment.role_id)
            else:
                unit_id = assignment.scope.removeprefix("/administrativeUnits/")
                units_held[unit_id] = units_held.get(unit_id, frozenset()) | {assignment.role_id}
        return Caller(token, user, principal_id, frozenset(whole), units_held)

    def _error_response(self, seen: GraphRequest, error: GraphError) -> web.Response:
        details = {"details": list(error.details)} if error.details else {}
        body = {"error": {"code": error.code, "message": str(error), **details, "innerError": self._inner(seen)}}
        return web.json_response(body, status=error.status, headers=error.headers)

    def _inner(self, seen: GraphRequest) -> dict[str, str]:
        return {
            "date": iso(self.clock.now()).removesuffix("Z"),
            "request-id": seen.request_id,
            "client-request-id": seen.client_request_id or seen.request_id,
        }


def _body(request: web.Request, route: Route, payload: bytes) -> Mapping[str, Any]:
    """The body of a write, read as Graph reads it; a call without one has an empty one."""
    if route.body is None or (not payload and route.body is bodies.NOTHING):
        return {}
    if request.content_type != "application/json":
        raise bad_request(
            "Write requests (excluding DELETE) must contain the Content-Type header declaration.", "BadRequest"
        )
    try:
        body = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise bad_request("Unable to read JSON request payload.", "BadRequest") from error
    bodies.check_body(route.body, body)
    parsed: Mapping[str, Any] = body
    return parsed


_KEY = re.compile(r"([A-Za-z]+)\((?:([A-Za-z]+)=)?(?:'|%27)([^/]*)(?:'|%27)\)")


class _Table:
    """Finds the call a path means. Parts are decoded once, after splitting: an encoded slash stays in its part."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self._routes: dict[tuple[str, int], list[tuple[tuple[str, ...], Route]]] = {}
        for route in routes:
            pattern = tuple(route.path.split("/")[1:])
            self._routes.setdefault((route.method, len(pattern)), []).append((pattern, route))

    def find(self, method: str, path: str) -> tuple[Route, tuple[str, ...]]:
        """The call and the variable parts of its path; GraphError when there is none."""
        parts = _split(path)
        for pattern, route in self._routes.get((method, len(parts)), ()):
            args = _match(pattern, parts)
            if args is not None:
                return route, args
        raise bad_request(f"Resource not found for the segment '{parts[-1]}'.", "BadRequest")


def _split(path: str) -> list[str]:
    parts = []
    for raw in path.split("/")[1:]:
        key = _KEY.fullmatch(raw)
        for piece in (
            (raw,) if key is None else (f"{key[1]}({key[2]}=)" if key[2] else key[1], key[3].replace("''", "'"))
        ):
            try:
                part = unquote_to_bytes(piece).decode()
            except UnicodeDecodeError as error:
                raise bad_request("The path is not valid UTF-8.", "BadRequest") from error
            if part in ("", ".", "..") or any(ord(character) < 32 for character in part):
                raise bad_request("The path has an empty or a forbidden segment.", "BadRequest")
            parts.append(part)
    return parts


def _match(pattern: tuple[str, ...], parts: list[str]) -> tuple[str, ...] | None:
    args = []
    for expected, part in zip(pattern, parts, strict=True):
        if expected == "{}" or (expected.startswith("{") and part in expected[1:-1].split("|")):
            args.append(part)
        elif expected != part:
            return None
    return tuple(args)
