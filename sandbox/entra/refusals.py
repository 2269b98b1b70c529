"""What Entra refuses and how it words that: AADSTS codes, in answers to applications and on the pages people see."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from sandbox.clock import iso


@dataclass(frozen=True)
class _Kind:
    error: str
    text: str
    status: int = 400
    suberror: str | None = None
    claims: bool = False  # the answer says what a further sign-in would have to prove


# Words and shape after "Microsoft Entra authentication and authorization error codes".
_KINDS = {
    50011: _Kind(
        "invalid_request",
        "The redirect URI '{redirect}' specified in the request does not match the redirect URIs configured for the "
        "application '{client}'.",
    ),
    50012: _Kind("invalid_client", "Authentication failed.", 401),
    50020: _Kind(
        "invalid_grant",
        "User account '{user}' from identity provider 'https://sts.windows.net/{home}/' does not exist in tenant "
        "'{tenant_name}' and cannot access the application '{client}' in that tenant. The account needs to be added "
        "as an external user in the tenant first. Sign out and sign in again with a different account.",
    ),
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
    50148: _Kind("invalid_grant", "The code_verifier is missing from the request."),
    50058: _Kind("login_required", "A silent sign-in request was sent but no user is signed in."),
    50173: _Kind(
        "invalid_grant",
        "The provided grant has expired due to it being revoked, a fresh auth token is needed.",
        suberror="bad_token",
    ),
    50194: _Kind(
        "invalid_request",
        "Application '{client}' is not configured as a multi-tenant application. Usage of the /common endpoint is "
        "not supported for such apps. Use a tenant-specific endpoint.",
    ),
    53000: _Kind(
        "interaction_required",
        "Device is not in required device state. Conditional Access policy requires a compliant device.",
        suberror="message_only",
        claims=True,
    ),
    50135: _Kind("interaction_required", "Password change is required due to account risk.", suberror="basic_action"),
    50158: _Kind(
        "interaction_required",
        "External security challenge was not satisfied. User will be redirected to another page or authentication "
        "provider to satisfy additional authentication challenges.",
        suberror="basic_action",
        claims=True,
    ),
    53001: _Kind(
        "interaction_required",
        "Device is not in required device state: domain joined. Conditional Access policy requires a domain joined "
        "device, and the device is not domain joined.",
        suberror="message_only",
        claims=True,
    ),
    53002: _Kind(
        "interaction_required",
        "The app used is not an approved app for Conditional Access.",
        suberror="message_only",
        claims=True,
    ),
    53009: _Kind(
        "interaction_required",
        "Application needs to enforce Intune protection policies.",
        suberror="message_only",
        claims=True,
    ),
    70043: _Kind(
        "invalid_grant",
        "The refresh token has expired or is invalid due to sign-in frequency checks by Conditional Access.",
        suberror="bad_token",
        claims=True,
    ),
    53003: _Kind(
        "interaction_required",
        "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance.",
        suberror="message_only",
        claims=True,
    ),
    54005: _Kind(
        "invalid_grant", "OAuth2 Authorization code was already redeemed, please retry with a new valid code."
    ),
    500112: _Kind(
        "invalid_grant",
        "The reply address does not match the reply address provided when requesting Authorization code.",
    ),
    500121: _Kind("interaction_required", "Authentication failed during strong authentication request."),
    501481: _Kind(
        "invalid_grant",
        "The Code_Verifier does not match the code_challenge supplied in the authorization request.",
    ),
    530033: _Kind(
        "invalid_grant",
        "Device code flow is blocked by a policy of your organisation.",
        suberror="message_only",
    ),
    530035: _Kind("interaction_required", "Access has been blocked by security defaults.", suberror="message_only"),
    530036: _Kind(
        "invalid_grant",
        "The refresh token cannot be used: a policy of your organisation forbids the authentication flow it came from.",
        suberror="message_only",
    ),
    65001: _Kind(
        "invalid_grant",
        "The user or administrator has not consented to use the application with ID '{client}'.",
        suberror="consent_required",
    ),
    65004: _Kind("access_denied", "User declined to consent to access the app."),
    70000: _Kind("invalid_grant", "Provided grant is invalid or malformed."),
    70003: _Kind("unsupported_grant_type", "The app requested an unsupported grant type '{grant}'."),
    70008: _Kind(
        "invalid_grant",
        "The provided authorization code or refresh token has expired due to inactivity. Send a new interactive "
        "authorization request for this user and resource.",
    ),
    70011: _Kind("invalid_scope", "The provided request must include a 'scope' input parameter that is valid."),
    70016: _Kind(
        "authorization_pending",
        "OAuth 2.0 device flow error. Authorization is pending. Continue polling.",
    ),
    70017: _Kind("authorization_declined", "The user declined the authorization request."),
    70018: _Kind("bad_verification_code", "The device code or user code is not valid."),
    70020: _Kind(
        "expired_token",
        "The provided value for the input parameter 'device_code' is not valid. This device code has expired.",
    ),
    90002: _Kind("invalid_request", "Tenant '{tenant}' not found."),
    90014: _Kind("invalid_request", "The required field '{parameter}' is missing."),
    90094: _Kind("access_denied", "The grant requires administrator permission: an administrator must consent first."),
    500011: _Kind("invalid_resource", "The resource principal named {resource} was not found in the tenant {tenant}."),
    700016: _Kind(
        "unauthorized_client", "Application with identifier '{client}' was not found in the directory '{tenant}'."
    ),
    700024: _Kind("invalid_client", "Client assertion is not within its valid time range.", 401),
    700027: _Kind(
        "invalid_client",
        "Client assertion contains an invalid signature. [Reason - {reason}]",
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
    700022: _Kind("unsupported_response_type", "The response type or response mode is not supported."),
    9002325: _Kind("invalid_request", "Proof Key for Code Exchange is required for authorization code redemption."),
    9001023: _Kind("invalid_request", "The grant type is not supported over the /common or /consumers endpoints."),
}


class Refusal(Exception):
    """A sign-in Entra refuses; `code` is the AADSTS number, `error` the OAuth error where it is not the usual one."""

    def __init__(self, code: int, *, error: str | None = None, **words: str) -> None:
        super().__init__(code)
        self.code = code
        self.words = words
        self._error = error

    @property
    def _kind(self) -> _Kind:
        return _KINDS.get(self.code) or _Kind("invalid_grant", "The sign-in was refused.")

    @property
    def error(self) -> str:
        return self._error or self._kind.error

    @property
    def status(self) -> int:
        return self._kind.status

    def sentence(self, words: Mapping[str, str]) -> str:
        """The code and Entra's text; *words* are the tenant's."""
        return f"AADSTS{self.code}: {self._kind.text.format_map({'resource': '', **words, **self.words})}"

    def body(self, words: Mapping[str, str], *, correlation_id: str, now: float, origin: str) -> dict[str, Any]:
        """What an application is answered."""
        trace, stamp = str(uuid4()), iso(now).replace("T", " ")
        body: dict[str, Any] = {
            "error": self.error,
            "error_description": f"{self.sentence(words)} Trace ID: {trace} "
            f"Correlation ID: {correlation_id} Timestamp: {stamp}",
            "error_codes": [self.code],
            "timestamp": stamp,
            "trace_id": trace,
            "correlation_id": correlation_id,
            "error_uri": f"{origin}/error?code={self.code}",
        }
        if self._kind.suberror:
            body["suberror"] = self._kind.suberror
        if self._kind.claims:
            body["claims"] = json.dumps({"access_token": {"capolids": {"essential": True, "values": [str(uuid4())]}}})
        return body
