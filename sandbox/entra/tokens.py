"""What Entra gives out: access tokens, refresh tokens, authorization codes and device codes."""

import secrets
from dataclasses import dataclass, field
from typing import Literal

from sandbox.conditional_access import Judgement
from sandbox.directory import Application, User
from sandbox.entra.refusals import Refusal
from sandbox.policy_conditions import Attempt

Audience = Literal["graph", "vault"]

SIGN_IN_SCOPES = frozenset({"openid", "profile", "email", "offline_access"})
CODE_LIFETIME = 600.0
DEVICE_CODE_LIFETIME = 900.0
DEVICE_CODE_INTERVAL = 5.0


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
class Grant:
    """That somebody signed in on Microsoft's pages, through which application and for what."""

    client: Application
    user_id: str
    scope: str
    signed_in_at: float
    mfa: bool
    nonce: str = ""
    by_device_code: bool = False

    @property
    def client_app(self) -> str:
        """As which kind of client Conditional Access sees it."""
        return "mobileAppsAndDesktopClients" if self.by_device_code else "browser"


@dataclass(frozen=True)
class RefreshToken:
    """`mfa`: its sign-in had a second factor; `grant` is that of the pages, None after a password."""

    client: Application
    user_id: str
    audience: Audience
    permissions: frozenset[str]
    issued_at: float
    continuous: bool
    grant: Grant | None = None


@dataclass
class AuthorizationCode:
    """Good once, for the application, address and proof key it was made for. Times are the world's."""

    grant: Grant
    redirect_uri: str
    challenge: str
    expires_at: float
    redeemed: bool = False
    value: str = field(default_factory=lambda: f"1.{secrets.token_urlsafe(120)}")


@dataclass
class DeviceCode:
    """One device code: what the application polls with, and what the person types. Times are the world's."""

    client: Application
    scope: str
    expires_at: float
    polled_at: float = float("-inf")
    interval: float = DEVICE_CODE_INTERVAL
    grant: Grant | None = None
    refusal: Refusal | None = None  # how the person's side ended, if not in a grant
    redeemed: bool = False
    value: str = field(default_factory=lambda: secrets.token_urlsafe(100))
    user_code: str = field(
        default_factory=lambda: "".join(secrets.choice("ABCDEFGHJKLMNPQRSTUVWXYZ23456789") for _ in range(9))
    )


@dataclass
class Tried:
    """A sign-in, for the log: who, to what and how, and what Conditional Access made of it, if it was asked."""

    client: Application
    user: User | None
    audience: Audience
    protocol: str
    attempt: Attempt
    judgement: Judgement = field(default_factory=Judgement)
