"""Keep Microsoft's libraries from logging what they send and receive."""

from __future__ import annotations

import logging

_LEVELS = {
    "azure": logging.WARNING,
    "azure.core.pipeline.policies.http_logging_policy": logging.WARNING,  # INFO: every URL, secret names in it
    "azure.core.pipeline.policies._universal": logging.WARNING,  # DEBUG: Authorization and bodies
    "azure.identity": logging.ERROR,  # WARNING: the body of the answer to a refused sign-in
    "azure.keyvault": logging.ERROR,  # WARNING: tracebacks of answers it cannot read
    "msal": logging.CRITICAL,  # ERROR: the raw answer of the token endpoint when it is no JSON
    "urllib3": logging.WARNING,  # DEBUG: URLs with user names
}


def quiet_sdk_loggers() -> None:
    """Pin the levels, whatever the level of the root logger: call it wherever logging is set up."""
    for name, level in _LEVELS.items():
        logging.getLogger(name).setLevel(level)
