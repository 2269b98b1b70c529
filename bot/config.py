"""The settings: read once from the environment or `.env` into a frozen value; a wrong one is a sentence naming it."""

from __future__ import annotations

import ipaddress
import re
import stat
from enum import StrEnum
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from bot.errors import ConfigurationError
from bot.model import Secret


class BotIdentity(StrEnum):
    """Which one Azure credential the bot itself uses; nothing is probed."""

    MANAGED = "managed"
    WORKLOAD = "workload"
    ENVIRONMENT = "environment"


class Config(BaseSettings):
    """Every setting, by its name without the prefix `LATCHKEY_`. `docs/configuration.md` says what each means."""

    model_config = SettingsConfigDict(
        env_prefix="LATCHKEY_",
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
    )

    slack_bot_token: SecretStr = Field(default=SecretStr(""))
    slack_app_token: SecretStr = Field(default=SecretStr(""))
    slack_signing_secret: SecretStr = Field(default=SecretStr(""))
    slack_api_url: str = "https://slack.com/api/"

    tenant_id: str = ""
    authority_host: str = "https://login.microsoftonline.com"
    graph_url: str = "https://graph.microsoft.com/v1.0"
    vault_url: str = ""
    vault_verify_challenge: bool = True
    extra_ca_file: Path | None = None
    bot_identity: BotIdentity = BotIdentity.MANAGED

    service_client_id: str = ""
    service_client_secret: SecretStr = Field(default=SecretStr(""))
    service_secret_name: str = "latchkey-service-account"  # noqa: S105 - the name of a secret, not its value
    lockout_threshold: int | None = Field(default=None, ge=2, le=50)
    worker_client_id: str = ""
    worker_certificate_name: str = "latchkey-worker-certificate"
    signin_client_id: str = ""
    signin_client_secret: SecretStr = Field(default=SecretStr(""))
    callback_url: str = ""
    egress_ip: str = ""

    database: Path = Path("var/latchkey.db")
    audit_key_secret_name: str | None = None
    audit_key_file: Path | None = None
    approvals_channel: str = ""
    alerts_channel: str = ""
    alerts_mention: str = ""
    alert_webhook_url: str = ""
    alert_webhook_template: str = "pagerduty"
    alert_webhook_key: SecretStr = Field(default=SecretStr(""))
    audit_channel: str = ""
    support_contact: str = "your tenant administrators"
    ticket_pattern: str | None = None
    http_port: int | None = Field(default=None, ge=1, le=65535)
    log_level: str = "INFO"
    time_zone: str = "UTC"
    sandbox_clock: str | None = None
    sandbox_kill_at: str | None = None

    @field_validator(
        "slack_api_url",
        "authority_host",
        "graph_url",
        "vault_url",
        "callback_url",
        "alert_webhook_url",
        "sandbox_clock",
    )
    @classmethod
    def _an_address(cls, value: str | None) -> str | None:
        if not value:
            return value
        parts = urlsplit(value)
        plain = value.isascii() and value.isprintable() and not set(" \\") & set(value)  # urlsplit drops line ends
        if not plain or parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("must be an address like https://host[:port][/path]")
        if parts.port == 0:  # the property itself refuses what is no port
            raise ValueError("must not have port 0")
        if parts.username or parts.password:
            raise ValueError("must not hold a user name or password")
        if parts.scheme == "http" and not _is_loopback(value):
            raise ValueError("must begin with https: tokens are sent there")
        return value.rstrip("/")

    @field_validator("callback_url")
    @classmethod
    def _a_callback(cls, value: str) -> str:
        if value and not value.endswith("/callback"):
            raise ValueError("must end in /callback: it is where Microsoft sends people back to after signing in")
        return value

    @field_validator("approvals_channel", "alerts_channel", "audit_channel")
    @classmethod
    def _a_channel(cls, value: str) -> str:
        if value and not re.fullmatch(r"[CG][A-Z0-9]{2,20}", value):
            raise ValueError("must be a channel's id such as C0123456789: its details in Slack show it")
        return value

    @field_validator("egress_ip")
    @classmethod
    def _an_egress_address(cls, value: str) -> str:
        try:
            return str(ipaddress.ip_address(value.strip())) if value.strip() else ""
        except ValueError as error:
            raise ValueError("must be one address such as 203.0.113.10, as Microsoft sees this machine") from error

    @field_validator("alerts_mention")
    @classmethod
    def _whom_to_mention(cls, value: str) -> str:
        if value and not re.fullmatch(r"[SUW][A-Z0-9]{2,20}", value):
            raise ValueError("must be the id of a Slack user or user group such as S0123456789")
        return value

    @field_validator(
        "slack_bot_token",
        "slack_app_token",
        "slack_signing_secret",
        "service_client_secret",
        "signin_client_secret",
        "alert_webhook_key",
    )
    @classmethod
    def _a_secret(cls, value: SecretStr) -> SecretStr:
        secret = value.get_secret_value().strip()  # files that hold one often end in a line end
        if not (secret.isascii() and secret.isprintable()) or " " in secret:
            raise ValueError("must be one word of plain characters")
        return SecretStr(secret)

    @field_validator("time_zone")
    @classmethod
    def _a_time_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError("must be a time zone name such as Europe/London") from error
        return value

    @field_validator("ticket_pattern")
    @classmethod
    def _a_pattern(cls, value: str | None) -> str | None:
        if value:
            try:
                re.compile(value)
            except re.error as error:
                raise ValueError(f"is not a regular expression ({error})") from error
        return value

    @field_validator("log_level")
    @classmethod
    def _a_level(cls, value: str) -> str:
        if value.upper() not in {"INFO", "WARNING", "ERROR"}:
            # DEBUG of the SDKs prints payloads; there is no way to ask for it.
            raise ValueError("must be INFO, WARNING or ERROR")
        return value.upper()

    @model_validator(mode="after")
    def _the_sandbox_stays_on_this_machine(self) -> Self:
        if self.sandbox_kill_at and not self.sandbox_clock:
            raise ValueError("LATCHKEY_SANDBOX_KILL_AT: is for the sandbox only")
        if self.sandbox_clock:
            for name in (
                "slack_api_url",
                "authority_host",
                "graph_url",
                "vault_url",
                "callback_url",
                "alert_webhook_url",
                "sandbox_clock",
            ):
                if getattr(self, name) and not _is_loopback(getattr(self, name)):
                    raise ValueError(
                        f"LATCHKEY_SANDBOX_CLOCK: is set, so LATCHKEY_{name.upper()} must be an address of this machine"
                    )
        return self

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    @property
    def head_file(self) -> Path | None:
        """Where the audit trail's last head is kept: beside the key, which is elsewhere than the database."""
        return self.audit_key_file.with_suffix(".head") if self.audit_key_file else None

    def secret(self, name: str) -> Secret:
        """A secret setting as our own `Secret`."""
        value: SecretStr = getattr(self, name)
        return Secret(value.get_secret_value())

    def need(self, *names: str) -> None:
        """Raise `ConfigurationError` naming the first of these settings that is empty."""
        for name in names:
            value = getattr(self, name)
            if not (value.get_secret_value() if isinstance(value, SecretStr) else value):
                raise ConfigurationError(f"LATCHKEY_{name.upper()} is not set. Set it in the environment or in .env.")


def _is_loopback(address: str | None) -> bool:
    host = urlsplit(address or "").hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refuse_a_readable_env_file(path: Path) -> None:
    if path.is_file() and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise ConfigurationError(f"{path} holds secrets and can be opened by others. Run: chmod 600 {path}")


def read_config() -> Config:
    """The settings of this process. Raises `ConfigurationError` naming the wrong setting, never showing its value."""
    _refuse_a_readable_env_file(Path(".env"))
    try:
        return Config()
    except UnicodeDecodeError:
        raise ConfigurationError(".env is not written in UTF-8. Save it again as UTF-8.") from None
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        where = "".join(f"LATCHKEY_{str(part).upper()}: " for part in problem["loc"])
        raise ConfigurationError(f"{where}{problem['msg'].removeprefix('Value error, ')}.") from None
