"""The metadata service of the machine the bot runs on: it gives out the tokens of the managed identity.

Azure's libraries find it under `AZURE_POD_IDENTITY_AUTHORITY_HOST` instead of 169.254.169.254 ("How to use managed
identities for Azure resources on an Azure VM to acquire an access token").
"""

import time
from uuid import uuid4

from aiohttp import web

from sandbox.directory import Application
from sandbox.entra import Entra, EntraRequest, Refusal
from sandbox.faults import Faults, disturb

PATH = "/metadata/identity/oauth2/token"


class MetadataService:
    """Knobs for tests: `identities`, those assigned to the machine (one, if nothing is said)."""

    def __init__(self, entra: Entra, faults: Faults) -> None:
        self.identities = [app for app in entra.directory.applications.values() if app.managed]
        self._entra = entra
        self._faults = faults

    def routes(self, app: web.Application) -> None:
        """Serve it at the root of `app`, over plain HTTP as the real one."""
        app.router.add_get(PATH, self._token)

    async def _token(self, request: web.Request) -> web.StreamResponse:
        seen = EntraRequest(self._entra.clock.now(), PATH, "managed_identity", correlation_id=str(uuid4()))
        seen.subject = seen.client_id = request.query.get("client_id", "")
        self._entra.requests.append(seen)

        async def serve() -> web.StreamResponse:
            if request.headers.get("Metadata", "").lower() != "true":  # against requests forged through a server
                return _refused("invalid_request", "Required metadata header not specified")
            if "X-Forwarded-For" in request.headers:
                return _refused("invalid_request", "X-Forwarded-For header is not supported")
            if not request.query.get("api-version") or not request.query.get("resource"):
                return _refused("invalid_request", "Required query parameters 'api-version' and 'resource'")
            identity = self._identity(request)
            if identity is None:
                return _refused("invalid_request", "Identity not found")
            seen.subject = seen.client_id = identity.app_id
            resource = request.query["resource"]
            try:
                token = self._entra.for_managed_identity(request, identity, resource)
            except Refusal as refusal:
                seen.code = refusal.code
                return _refused(refusal.error, refusal.sentence(self._entra.words))
            seen.code = 0
            now = int(time.time())
            return web.json_response(
                {
                    "access_token": token.value,
                    "client_id": identity.app_id,
                    "expires_in": str(int(token.lifetime)),
                    "expires_on": str(now + int(token.lifetime)),
                    "ext_expires_in": str(int(token.lifetime)),
                    "not_before": str(now - 300),
                    "resource": resource,
                    "token_type": "Bearer",
                }
            )

        return await disturb(self._faults.match("entra", request.method, PATH), request, serve)

    def _identity(self, request: web.Request) -> Application | None:
        """The identity asked for; without a name the only one."""
        asked = request.query
        named = [
            app
            for app in self.identities
            if asked.get("client_id", app.app_id).lower() == app.app_id
            and asked.get("object_id", app.principal_id).lower() == app.principal_id
        ]
        return named[0] if len(named) == 1 and not asked.get("msi_res_id") else None


def _refused(error: str, description: str) -> web.Response:
    return web.json_response({"error": error, "error_description": description}, status=400)
