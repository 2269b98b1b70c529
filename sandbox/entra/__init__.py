"""Microsoft Entra for the pretend tenant: tokens in `service.py`, and the pages people sign in on in `pages.py`."""

from sandbox.entra.refusals import Refusal
from sandbox.entra.service import Entra, EntraRequest
from sandbox.entra.tokens import Audience, RefreshToken, Token

__all__ = ["Audience", "Entra", "EntraRequest", "RefreshToken", "Refusal", "Token"]
