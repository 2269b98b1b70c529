"""What Entra's AADSTS numbers mean, as data: why a sign-in failed, what to do, and whether trying again can help.

Entra docs: *Microsoft Entra authentication and authorization error codes*. Microsoft may change the numbers, so they
explain and nothing more: a number that is not here is category `unknown`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from bot.errors import Retry, SignInCategory, SignInFailed

ACCOUNT = SignInCategory.ACCOUNT
ACCOUNT_STATE = SignInCategory.ACCOUNT_STATE
APP_CONFIG = SignInCategory.APP_CONFIG
CONDITIONAL_ACCESS = SignInCategory.CONDITIONAL_ACCESS
CONSENT = SignInCategory.CONSENT
CREDENTIALS = SignInCategory.CREDENTIALS
DEVICE = SignInCategory.DEVICE
FEDERATION = SignInCategory.FEDERATION
FLOW = SignInCategory.FLOW
LOCATION = SignInCategory.LOCATION
MFA = SignInCategory.MFA
PASSWORD_POLICY = SignInCategory.PASSWORD_POLICY
RISK = SignInCategory.RISK
SERVICE = SignInCategory.SERVICE
SESSION = SignInCategory.SESSION
TENANT_CONFIG = SignInCategory.TENANT_CONFIG
THROTTLING = SignInCategory.THROTTLING

WHAT_IF, NO_WHAT_IF = True, False


@dataclass(frozen=True)
class Meaning:
    """One row: the numbers it is about, and what they say. `meaning` and `remedy` are sentences for an administrator.

    `what_if_helps` is also true where a what-if explains only some of the cases (50053, 500121, ...).
    """

    codes: tuple[int, ...]
    category: SignInCategory
    what_if_helps: bool
    retry: Retry
    meaning: str
    remedy: str


_NO, _FIX, _ONCE, _WAIT = Retry.NO, Retry.AFTER_FIX, Retry.ONCE, Retry.WAIT
_POLL, _LOGIN, _BACKOFF = Retry.POLL, Retry.LOGIN, Retry.BACKOFF

_IN_PLACE_OF_A_DEVICE = (
    "Latchkey has no device: exclude the account from that policy, or let it sign in from the allowed IPs only."
)
_SEE_WHAT_IF = (
    "A tenant admin sees with `/m365-whatif` which policy it is; then exclude the account or allow this address."
)

# fmt: off
TABLE: Final = (
    # --- who and with what -----------------------------------------------------------------------------------------
    Meaning((16000,), ACCOUNT, NO_WHAT_IF, _FIX,
            "The account is not known in this tenant for this application.",
            "Sign in with an account of this tenant, or invite it first."),
    Meaning((50020,), ACCOUNT, NO_WHAT_IF, _FIX,
            "The account belongs to another directory and is not allowed in here.",
            "Use a member account of this tenant, or invite it."),
    Meaning((90072,), ACCOUNT, NO_WHAT_IF, _FIX,
            "The account belongs to another organisation and is not in this tenant.",
            "Use an account of this tenant."),
    Meaning((50034,), CREDENTIALS, NO_WHAT_IF, _NO,
            "There is no such account in this tenant.",
            "Check the account's user principal name and the tenant ID."),
    Meaning((50064, 50126), CREDENTIALS, NO_WHAT_IF, _ONCE,
            "The user name or password is wrong.",
            "If it was changed in the last minutes, wait until all of Microsoft's servers know it; otherwise somebody "
            "changed it outside Latchkey: store the right one in Key Vault."),
    Meaning((50056,), CREDENTIALS, NO_WHAT_IF, _FIX,
            "The account has no password.",
            "Set a password: an account without one cannot be used as the service account."),
    # --- the account's state ---------------------------------------------------------------------------------------
    Meaning((50053,), ACCOUNT_STATE, WHAT_IF, _WAIT,
            "The account is locked after too many wrong passwords, or its address is known for attacks.",
            "Wait at least ten minutes and do not keep trying; the tenant's sign-in log says which of the two it is."),
    Meaning((50055,), ACCOUNT_STATE, NO_WHAT_IF, _FIX,
            "The account's password has expired.",
            "Reset it, and set the service account's password to never expire."),
    Meaning((50057,), ACCOUNT_STATE, NO_WHAT_IF, _FIX,
            "The account is disabled.",
            "Find out who blocked its sign-in and why, and enable it in Entra."),
    Meaning((50125,), ACCOUNT_STATE, NO_WHAT_IF, _FIX,
            "Entra interrupts the sign-in for a password reset or registration.",
            "Sign in with the account once in a browser and finish what it asks."),
    Meaning((50144,), ACCOUNT_STATE, NO_WHAT_IF, _FIX,
            "The account's password in the on-premises Active Directory has expired.",
            "Reset it there, or in Entra if password writeback is on."),
    Meaning((80012,), ACCOUNT_STATE, NO_WHAT_IF, _WAIT,
            "The account may not sign in at this hour.",
            "Change its logon hours in the on-premises Active Directory, or wait."),
    # --- more than a password --------------------------------------------------------------------------------------
    Meaning((50072, 50079), MFA, WHAT_IF, _FIX,
            "The account must first register for multifactor authentication.",
            "Latchkey cannot do that for it: leave the account out of the policy, and guard it by allowed IPs."),
    Meaning((50074,), MFA, WHAT_IF, _FIX,
            "Multifactor authentication is required and was not done.",
            "Set up the allowed IPs so that the account needs none from Latchkey's address."),
    Meaning((50076,), MFA, WHAT_IF, _FIX,
            "Multifactor authentication is required: by a policy, by per-user MFA, or because the place is new.",
            "A tenant admin sees with `/m365-whatif` whether a policy asks for it, security defaults or per-user MFA."),
    Meaning((50078,), MFA, WHAT_IF, _LOGIN,
            "The proof of multifactor authentication has expired.",
            "Sign in again with multifactor authentication."),
    Meaning((500121,), MFA, WHAT_IF, _LOGIN,
            "Multifactor authentication was tried, and failed or was denied.",
            "Repeat the sign-in and approve the prompt."),
    Meaning((50158,), MFA, WHAT_IF, _FIX,
            "An external check (another company's MFA, say) was not passed.",
            "Exclude the account from the external control."),
    Meaning((50161,), MFA, WHAT_IF, _FIX,
            "The external provider of multifactor authentication answered with invalid claims.",
            "Repair the configuration of that provider."),
    Meaning((50088, 500881), THROTTLING, NO_WHAT_IF, _WAIT,
            "The limit for multifactor authentication by telephone is reached.",
            "Use another method, or wait some minutes."),
    # --- devices ---------------------------------------------------------------------------------------------------
    Meaning((50005,), DEVICE, WHAT_IF, _FIX,
            "A policy does not allow the kind of device this sign-in comes from.",
            "Change the policy's platform condition: Latchkey reports no platform."),
    Meaning((50097,), DEVICE, WHAT_IF, _FIX,
            "A policy demands that the device signs in, too.", _IN_PLACE_OF_A_DEVICE),
    Meaning((50129,), DEVICE, WHAT_IF, _FIX,
            "A policy demands a device that has joined the workplace.", _IN_PLACE_OF_A_DEVICE),
    Meaning((50155,), DEVICE, WHAT_IF, _FIX,
            "The device could not be authenticated.",
            "Register the device again."),
    Meaning((53000, 530002, 530003), DEVICE, WHAT_IF, _FIX,
            "A policy demands a compliant or managed device.", _IN_PLACE_OF_A_DEVICE),
    Meaning((53001,), DEVICE, WHAT_IF, _FIX,
            "A policy demands a device that has joined the domain.", _IN_PLACE_OF_A_DEVICE),
    Meaning((530033,), DEVICE, WHAT_IF, _FIX,
            "A policy about devices blocks signing in with a code.",
            "Sign in in a browser instead (set up Latchkey's callback), or exclude the account."),
    Meaning((135010, 135011), DEVICE, WHAT_IF, _FIX,
            "The device is disabled, or its key is not found.",
            "Enable the device or register it again."),
    # --- policies --------------------------------------------------------------------------------------------------
    Meaning((50131,), CONDITIONAL_ACCESS, WHAT_IF, _FIX,
            "Conditional Access refused the sign-in: a device's state, suspicious activity, or a security policy.",
            "A tenant admin sees with `/m365-whatif` which policy it may be; the tenant's sign-in log says more."),
    Meaning((53002, 530021), CONDITIONAL_ACCESS, WHAT_IF, _FIX,
            "A policy demands an approved client app.",
            "Exclude the account from that policy; Microsoft is retiring this control."),
    Meaning((53003,), CONDITIONAL_ACCESS, WHAT_IF, _FIX,
            "A Conditional Access policy blocks the sign-in.", _SEE_WHAT_IF),
    Meaning((53009,), CONDITIONAL_ACCESS, WHAT_IF, _FIX,
            "A policy demands an app protection policy.",
            "Exclude the account from that policy."),
    Meaning((530032,), CONDITIONAL_ACCESS, WHAT_IF, _FIX,
            "A security policy of the tenant blocks the sign-in.", _SEE_WHAT_IF),
    Meaning((530036,), CONDITIONAL_ACCESS, WHAT_IF, _LOGIN,
            "A policy about authentication flows does not accept a session that began with a code.",
            "Sign in again in a browser."),
    Meaning((70043, 70044), CONDITIONAL_ACCESS, WHAT_IF, _LOGIN,
            "A policy limits how long a session lasts, and this one has reached its end.",
            "Sign in again."),
    Meaning((53010,), LOCATION, WHAT_IF, _FIX,
            "Security information may only be registered from certain places or devices.",
            "Register it from an allowed network."),
    Meaning((530035,), TENANT_CONFIG, NO_WHAT_IF, _FIX,
            "Security defaults block the sign-in.",
            "Replace security defaults by Conditional Access policies, or let Latchkey act as an application."),
    Meaning((500212, 500213), TENANT_CONFIG, NO_WHAT_IF, _FIX,
            "The cross-tenant access policy of this tenant or the other does not allow it.",
            "Change the cross-tenant access settings."),
    # --- risk ------------------------------------------------------------------------------------------------------
    Meaning((50135,), RISK, WHAT_IF, _FIX,
            "Entra sees a risk in the account and demands a new password.",
            "Review the risk, change the password, and dismiss the risk."),
    Meaning((53004,), RISK, WHAT_IF, _FIX,
            "Entra sees a risk and does not let the account register for multifactor authentication.",
            "Review and dismiss the account's risk, then register."),
    Meaning((53011, 530034), RISK, NO_WHAT_IF, _FIX,
            "The account's own organisation blocks it because of a risk.",
            "That organisation has to resolve the risk."),
    # --- sessions and flows ----------------------------------------------------------------------------------------
    Meaning((50013, 500133, 700024), SESSION, NO_WHAT_IF, _FIX,
            "The proof sent to Entra is invalid or outside its time window.",
            "Check this machine's clock, and try again."),
    Meaning((50058,), SESSION, NO_WHAT_IF, _LOGIN,
            "There is no session to go on with.",
            "Sign in again."),
    Meaning((50089,), SESSION, NO_WHAT_IF, _LOGIN,
            "The sign-in took too long and has expired.",
            "Start it again."),
    Meaning((50132, 50133), SESSION, NO_WHAT_IF, _LOGIN,
            "The session ended because the password was changed or has expired.",
            "Sign in with the current password."),
    Meaning((50173,), SESSION, NO_WHAT_IF, _LOGIN,
            "The session was revoked.",
            "Sign in again."),
    Meaning((70000, 70008, 700082), SESSION, NO_WHAT_IF, _LOGIN,
            "The session is no longer valid.",
            "Sign in again."),
    Meaning((50134,), FLOW, NO_WHAT_IF, _LOGIN,
            "The code was approved in another of Microsoft's data centres.",
            "Start again with a new code."),
    Meaning((50140,), FLOW, NO_WHAT_IF, _LOGIN,
            "Entra asked whether to stay signed in.",
            "Sign in again and answer it."),
    Meaning((50199,), FLOW, NO_WHAT_IF, _LOGIN,
            "Entra wants the person to confirm the sign-in.",
            "Confirm it in the browser."),
    Meaning((54005,), FLOW, NO_WHAT_IF, _LOGIN,
            "This sign-in was already used.",
            "Start a new one."),
    Meaning((70016,), FLOW, NO_WHAT_IF, _POLL,
            "The code has not been entered yet.",
            "Enter it; Latchkey goes on by itself."),
    Meaning((70018,), FLOW, NO_WHAT_IF, _LOGIN,
            "The code was wrong.",
            "Type it again, or start again with a new one."),
    Meaning((70019, 70020), FLOW, NO_WHAT_IF, _LOGIN,
            "The code has expired.",
            "Start again with a new one."),
    # --- the application -------------------------------------------------------------------------------------------
    Meaning((50001, 500011), APP_CONFIG, NO_WHAT_IF, _NO,
            "The service to sign in to is missing or disabled in this tenant.",
            "Check that its enterprise application exists and is enabled in the tenant."),
    Meaning((500131,), APP_CONFIG, NO_WHAT_IF, _NO,
            "The proof sent was made for another application.",
            "Check the client ID in Latchkey's settings."),
    Meaning((50059, 50128, 90019), APP_CONFIG, NO_WHAT_IF, _NO,
            "Entra cannot tell which tenant is meant.",
            "Set LATCHKEY_TENANT_ID to the tenant's ID."),
    Meaning((50105,), APP_CONFIG, NO_WHAT_IF, _FIX,
            "The account is not assigned to the application it signs in with.",
            "Assign it in Entra, or switch off *assignment required* for the application."),
    Meaning((50194, 90124, 90130, 9001023), APP_CONFIG, NO_WHAT_IF, _NO,
            "This way of signing in needs the tenant's own address.",
            "Set LATCHKEY_TENANT_ID to the tenant's ID."),
    Meaning((65002,), APP_CONFIG, NO_WHAT_IF, _NO,
            "One of Microsoft's own applications was used without being allowed to.",
            "Register an application of your own, and use its client ID."),
    Meaning((65005, 650052, 650056, 650057), APP_CONFIG, NO_WHAT_IF, _NO,
            "The application asks for permissions that are misconfigured, or for a service the tenant does not have.",
            "Check the application's API permissions and the tenant's licences."),
    Meaning((70001, 700011, 700016), APP_CONFIG, NO_WHAT_IF, _NO,
            "The application is unknown or disabled in this tenant.",
            "Check its client ID and the tenant ID, and that an administrator has consented to it."),
    Meaning((70002, 7000215), APP_CONFIG, NO_WHAT_IF, _NO,
            "The application's client secret is wrong.",
            "Use the secret's *value*, not its ID; create a new one if it is lost."),
    Meaning((7000222,), APP_CONFIG, NO_WHAT_IF, _FIX,
            "The application's client secret has expired.",
            "Create a new one, or switch to a certificate."),
    Meaning((70003,), APP_CONFIG, NO_WHAT_IF, _NO,
            "The application may not sign in in this way.",
            "Allow this flow in its registration."),
    Meaning((70011, 28002, 700022, 700023), APP_CONFIG, NO_WHAT_IF, _NO,
            "Entra does not know the permission that was asked for.",
            "Check LATCHKEY_GRAPH_URL: it must be the address of this cloud's Microsoft Graph."),
    Meaning((700025,), APP_CONFIG, NO_WHAT_IF, _NO,
            "The application is registered as public and must not send a secret.",
            "Register it as a web application."),
    Meaning((700027, 700030, 50012), APP_CONFIG, NO_WHAT_IF, _NO,
            "Entra does not accept the application's certificate.",
            "Upload the certificate that is in Key Vault to the application, and check this machine's clock."),
    Meaning((7000112,), APP_CONFIG, NO_WHAT_IF, _FIX,
            "The application is disabled.",
            "Enable its enterprise application in Entra."),
    Meaning((7000114,), APP_CONFIG, NO_WHAT_IF, _NO,
            "The application may not act on behalf of others.",
            "Use an application registered for Latchkey."),
    Meaning((7000218,), APP_CONFIG, NO_WHAT_IF, _NO,
            "The application must prove who it is.",
            "Set LATCHKEY_SERVICE_CLIENT_SECRET to the application's client secret."),
    Meaning((700229,), APP_CONFIG, NO_WHAT_IF, _NO,
            "A federated credential must be the token of an application.",
            "Check the application's federated credentials."),
    Meaning((90014, 900144), APP_CONFIG, NO_WHAT_IF, _NO,
            "Entra misses a part of the request.",
            "This is a fault of Latchkey's: report it with the reference."),
    # --- consent ---------------------------------------------------------------------------------------------------
    Meaning((65001,), CONSENT, NO_WHAT_IF, _FIX,
            "Nobody has consented to what the application may do.",
            "Have an administrator grant admin consent for its permissions."),
    Meaning((65004, 70017), CONSENT, NO_WHAT_IF, _LOGIN,
            "The person declined to consent.",
            "Repeat the sign-in and accept, or have an administrator consent."),
    Meaning((90094, 90095), CONSENT, NO_WHAT_IF, _FIX,
            "An administrator's consent is required.",
            "Have an administrator grant admin consent for the application's permissions."),
    Meaning((90099,), CONSENT, NO_WHAT_IF, _FIX,
            "The application is not authorised for a partner's delegated administration.",
            "Consent to the application in that tenant first."),
    # --- tenant, federation, service -------------------------------------------------------------------------------
    Meaning((90002,), TENANT_CONFIG, NO_WHAT_IF, _NO,
            "There is no such tenant in this cloud.",
            "Check LATCHKEY_TENANT_ID, and LATCHKEY_AUTHORITY_HOST for the cloud (public, US Government, China)."),
    Meaning((90038, 900382, 900432), TENANT_CONFIG, NO_WHAT_IF, _NO,
            "The tenant is in another national cloud.",
            "Set LATCHKEY_AUTHORITY_HOST and LATCHKEY_GRAPH_URL to that cloud, with an application registered there."),
    Meaning((80001, 80002, 80005, 80007, 80014), FEDERATION, NO_WHAT_IF, _BACKOFF,
            "The on-premises servers that check this account's password do not answer.",
            "Check the pass-through authentication agents, or use a cloud-only account."),
    Meaning((50033, 50087, 90006, 90012, 90024, 90033, 90090), SERVICE, NO_WHAT_IF, _BACKOFF,
            "Microsoft's sign-in service has a fault at the moment.",
            "Wait and try again."),
    Meaning((50196,), THROTTLING, NO_WHAT_IF, _WAIT,
            "Entra saw the same sign-in too often in a short time.",
            "Wait some minutes before the next one."),
    Meaning((90055,), THROTTLING, NO_WHAT_IF, _BACKOFF,
            "The tenant gets too many sign-ins at the moment.",
            "Wait and try again."),
    # --- changing a password ---------------------------------------------------------------------------------------
    Meaning((120000, 120002, 120003, 120004, 120018), PASSWORD_POLICY, NO_WHAT_IF, _FIX,
            "The password change was refused: the current password is wrong, or the new one is too weak, banned, or "
            "holds the user name.",
            "Try again with another password."),
    Meaning((120012, 120013, 120014, 120015, 120016), PASSWORD_POLICY, NO_WHAT_IF, _NO,
            "The password must be changed on-premises, or writing it back failed.",
            "Change it in the on-premises Active Directory."),
)
# fmt: on

_BY_CODE: Final = {code: row for row in TABLE for code in row.codes}

_BY_ERROR: Final = {
    "authorization_pending": Meaning(
        (), FLOW, NO_WHAT_IF, _POLL, "The code has not been entered yet.", "Enter it; Latchkey goes on by itself."
    ),
    "slow_down": Meaning(
        (),
        FLOW,
        NO_WHAT_IF,
        _WAIT,
        "Entra was asked too soon whether the code was entered.",
        "Latchkey asks less often.",
    ),
    "authorization_declined": _BY_CODE[65004],
    "access_denied": _BY_CODE[65004],
    "bad_verification_code": _BY_CODE[70018],
    "expired_token": _BY_CODE[70020],
    "consent_required": _BY_CODE[65001],
}
"""What OAuth's own error codes mean where Entra gives no number with them (Entra docs: *OAuth 2.0 device authorization
grant*, *OAuth 2.0 authorization code flow*; RFC 8628)."""

_NO_CODES: Final = (
    "Your organisation does not allow signing in with a code. Ask a tenant admin to set up the sign-in page, which "
    "needs none: LATCHKEY_CALLBACK_URL."
)

_TO_A_PERSON: Final[Mapping[int, str]] = {
    **dict.fromkeys(
        (16000, 50020, 50034, 90072),
        "That account does not belong to this organisation. Sign in with an account of its own.",
    ),
    50053: "That account is locked at the moment. Wait ten minutes, then try again.",
    50055: "That account's password has expired. Change it at Microsoft, then sign in again.",
    50057: "That account is disabled. Use another one, or ask a tenant admin.",
    50105: "That account is not assigned to Latchkey's sign-in application. Ask a tenant admin to assign it in Entra.",
    50173: "The account's password changed, or its sessions were revoked. Sign in again.",
    **dict.fromkeys((50076, 50078, 50079, 50072, 50074), "Microsoft wants you to prove who you are. Sign in again."),
    **dict.fromkeys(
        (65001, 90094, 90095),
        "Microsoft wants an administrator's consent for Latchkey's sign-in application. Ask a tenant admin to grant it "
        "in Entra.",
    ),
    **dict.fromkeys((65004, 70017), "The sign-in was cancelled at Microsoft. Nothing was done."),
    **dict.fromkeys((70000, 700082, 700084), "Your sign-in has ended at Microsoft. Sign in again."),
    **dict.fromkeys((70019, 70020), "The code has expired. Ask for a new one."),
}
"""What a person reads who signed in with an account of their own, where that is another thing than for the service
account."""

_AGAINST_CODES: Final = (53003, 530033, 530036)
"""What Entra says where a policy forbids codes, or demands a device, which a code cannot prove."""


def in_person(failure: SignInFailed, *, by_code: bool) -> SignInFailed:
    """*failure* in the words for somebody who signs in with an account of their own."""
    sentence = str(failure)
    if by_code and failure.code in _AGAINST_CODES:
        sentence = _NO_CODES
    elif failure.code is not None:
        sentence = _TO_A_PERSON.get(failure.code, sentence)
    return SignInFailed(
        sentence,
        category=failure.category,
        retry=failure.retry,
        code=failure.code,
        correlation_id=failure.correlation_id,
        timestamp=failure.timestamp,
        what_if_helps=failure.what_if_helps,
        claims=failure.claims,
    )


_NUMBERED: Final = re.compile(r"AADSTS(\d{4,9}):")


def explain_redirect(query: Mapping[str, str]) -> SignInFailed:
    """Entra's refusal as it sends a browser back with it: there the number begins the description."""
    numbered = _NUMBERED.match(query.get("error_description", ""))
    answer: dict[str, Any] = {"error": query.get("error", "")}
    if numbered:
        answer["error_codes"] = [int(numbered[1])]
    return explain(answer)


def meaning_of(code: int) -> Meaning | None:
    """What we know of AADSTS*code*."""
    return _BY_CODE.get(code)


def explain(answer: Mapping[str, Any]) -> SignInFailed:
    """Entra's refusal (the JSON of the token endpoint's error) as an error with a sentence.

    Only what is known to be harmless is taken over: numbers, ids, the time, and the claims to satisfy.
    """
    codes = answer.get("error_codes")
    first = codes[0] if isinstance(codes, list) and codes else None
    code = first if isinstance(first, int) else None
    claims = answer.get("claims")
    error = answer.get("error")
    known = meaning_of(code) if code is not None else None
    if known is None or error == "slow_down":  # which comes with the number of *pending*
        known = _BY_ERROR.get(error if isinstance(error, str) else "")
    if known:
        sentence, category, retry = f"{known.meaning} {known.remedy}", known.category, known.retry
        what_if_helps = known.what_if_helps
    else:
        named = f"AADSTS{code}, which Latchkey does not know" if code else "no reason Latchkey understands"
        sentence = (
            f"Entra refused the sign-in and gave {named}. "
            "Look for it in the tenant's sign-in log, or ask Microsoft with the reference."
        )
        category, retry = SignInCategory.UNKNOWN, Retry.AFTER_FIX
        what_if_helps = bool(claims) or error == "interaction_required"
    return SignInFailed(
        sentence,
        category=category,
        retry=retry,
        code=code,
        correlation_id=_plain(answer.get("correlation_id")),
        timestamp=_plain(answer.get("timestamp")),
        what_if_helps=what_if_helps,
        claims=claims if isinstance(claims, str) and claims else None,
        meaning=known.meaning if known else None,
    )


def _plain(value: Any) -> str | None:
    return value if isinstance(value, str) and re.fullmatch(r"[0-9A-Za-z :.+-]{1,60}", value) else None
