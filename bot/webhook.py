"""The webhook that wakes people: JSON, made from a template, to the one address that is configured.

A template is JSON: `headers`, and for `trigger`, `acknowledge` and `resolve` a `body`, and a `path` that is put behind
the address. Its texts may hold the placeholders of `PLACEHOLDERS`, such as `${headline}`; each text is filled in by
itself, so that nothing in it can change the shape of what is sent. An event that is left out is not told.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from string import Template
from typing import Final
from urllib.parse import quote

import aiohttp
from yarl import URL

from bot.alerts import ACKNOWLEDGE, RESOLVE, TRIGGER, NotPaged
from bot.errors import ConfigurationError
from bot.model import JSON, Alert, Secret, Severity, Trouble

EVENTS: Final = (TRIGGER, ACKNOWLEDGE, RESOLVE)

PLACEHOLDERS: Final = frozenset(
    {"key", "id", "event", "headline", "why", "facts", "kind", "severity", "opened_at", "by", "how", "source", "drill"}
)
"""What a template may ask for. `${facts}` by itself becomes an object of the labelled lines."""

PAGERDUTY: Final[JSON] = {
    TRIGGER: {
        "body": {
            "routing_key": "${key}",
            "event_action": "trigger",
            "dedup_key": "${id}",
            "client": "Latchkey",
            "payload": {
                "summary": "${headline}",
                "source": "${source}",
                "severity": "critical",
                "timestamp": "${opened_at}",
                "class": "${kind}",
                "custom_details": {"why": "${why}", "facts": "${facts}"},
            },
        }
    },
    ACKNOWLEDGE: {"body": {"routing_key": "${key}", "event_action": "acknowledge", "dedup_key": "${id}"}},
    RESOLVE: {"body": {"routing_key": "${key}", "event_action": "resolve", "dedup_key": "${id}"}},
}
"""PagerDuty docs, *Events API v2: Send an alert event*. The address is https://events.pagerduty.com/v2/enqueue."""

OPSGENIE: Final[JSON] = {
    "headers": {"Authorization": "GenieKey ${key}"},
    TRIGGER: {
        "body": {
            "message": "${headline}",
            "alias": "${id}",
            "description": "${why}",
            "details": "${facts}",
            "entity": "${kind}",
            "source": "${source}",
            "priority": "P1",
        }
    },
    ACKNOWLEDGE: {
        "path": "/${id}/acknowledge?identifierType=alias",
        "body": {"source": "${source}", "note": "Acknowledged by ${by}"},
    },
    RESOLVE: {"path": "/${id}/close?identifierType=alias", "body": {"source": "${source}", "note": "${how}"}},
}
"""Opsgenie docs, *Alert API*. The address is https://api.opsgenie.com/v2/alerts (or that of api.eu.opsgenie.com)."""

READY: Final[Mapping[str, JSON]] = {"pagerduty": PAGERDUTY, "opsgenie": OPSGENIE}
"""The templates that come with Latchkey."""

_SECONDS: Final = 10.0
_HEADLINE: Final = 120  # Opsgenie takes 130 characters, PagerDuty 1024
_WHY: Final = 1000
_LONGEST_WAIT: Final = timedelta(hours=1)


@dataclass(frozen=True)
class _Event:
    path: str
    body: JSON


@dataclass(frozen=True)
class WebhookTemplate:
    """A template that was looked through: every placeholder in it exists."""

    headers: Mapping[str, str]
    events: Mapping[str, _Event]

    @classmethod
    def named(cls, name: str) -> WebhookTemplate:
        """One that comes with Latchkey, or else from the file *name*. Raises `ConfigurationError`."""
        if name in READY:
            return cls.of(READY[name])
        try:
            data = json.loads(Path(name).read_text(encoding="utf-8"))
        except OSError as error:
            raise _wrong(f"{name} cannot be read ({error.strerror}), and is none of {', '.join(READY)}") from error
        except ValueError as error:
            raise _wrong(f"{name} is not JSON in UTF-8") from error
        return cls.of(data)

    @classmethod
    def of(cls, data: JSON) -> WebhookTemplate:
        """The template in *data*. Raises `ConfigurationError`."""
        if not isinstance(data, dict) or not isinstance(data.get(TRIGGER), dict):
            raise _wrong("it must be an object that holds `trigger`")
        if unknown := sorted(set(data) - {"headers", *EVENTS}):
            raise _wrong(f"`{unknown[0]}` means nothing in it")
        headers = data.get("headers", {})
        if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
            raise _wrong("`headers` must be an object of texts")
        events = {}
        for name in EVENTS:
            if (event := data.get(name)) is None:
                continue
            if not isinstance(event, dict) or "body" not in event or set(event) - {"path", "body"}:
                raise _wrong(f"`{name}` must hold `body`, and may hold `path`")
            path = event.get("path", "")
            if not isinstance(path, str) or path[:1] not in {"", "/", "?"}:
                raise _wrong(f"`path` of `{name}` must begin with / or ?")
            events[name] = _Event(path, event["body"])
        made = cls(headers, events)
        if strange := sorted(made._asked_for() - PLACEHOLDERS):
            raise _wrong(f"it knows no placeholder ${{{strange[0]}}}")
        return made

    @property
    def needs_key(self) -> bool:
        return "key" in self._asked_for()

    def _asked_for(self) -> set[str]:
        found: set[str] = set()
        for text in [*self.headers.values(), *(event.path for event in self.events.values())]:
            found.update(_placeholders(text))
        for event in self.events.values():
            for text in _texts(event.body):
                found.update(_placeholders(text))
        return found


class Webhook:
    """Tells one address. It is a `Pager`."""

    def __init__(
        self, http: aiohttp.ClientSession, *, url: str, template: WebhookTemplate, key: Secret, source: str
    ) -> None:
        """*url* is the only address that anything is sent to; *source* says which installation this is."""
        self._http = http
        self._url = url
        self._template = template
        self._key = key
        self._source = source

    async def tell(self, event: str, alert: Alert) -> None:
        """Send *event*, if the template has it. Safe to be sent again: the receiver knows the alert by its id."""
        if (wanted := self._template.events.get(event)) is None:
            return
        values = {**_values(event, alert), "source": self._source}
        await self._send(wanted, values)

    async def try_out(self, now: datetime) -> None:
        """Raise an alert that is marked as a test, and end it at once. Raises `NotPaged`."""
        trouble = Trouble(
            "test", "", Severity.SESSIONS_STOP, "TEST from latchkey doctor: nothing is wrong", "This is only a test."
        )
        alert = Alert("doctor", trouble, opened_at=now, how="It was only a test.")
        await self.tell(TRIGGER, alert)
        await self.tell(RESOLVE, alert)

    async def _send(self, event: _Event, values: Mapping[str, JSON]) -> None:
        keyed = {**values, "key": self._key.reveal()}
        encoded = {name: quote(value, safe="") for name, value in keyed.items() if isinstance(value, str)}
        path = Template(event.path).safe_substitute(encoded)
        # A line end would begin another header.
        headers = {name: " ".join(str(_filled(text, keyed)).split()) for name, text in self._template.headers.items()}
        try:
            async with self._http.post(
                URL(f"{self._url}{path}", encoded=True),
                json=_filled(event.body, keyed),
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=_SECONDS),
            ) as answer:
                status, wait = answer.status, answer.headers.get("Retry-After", "")
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            # The error may quote the address or a header, which may hold a key: its kind is all that is told.
            raise NotPaged(f"it does not answer ({type(error).__name__}).") from None
        if status == 429:
            seconds = timedelta(seconds=int(wait)) if wait.isdecimal() and len(wait) < 6 else timedelta(0)
            raise NotPaged("it asked us to come back later (429).", wait=min(seconds, _LONGEST_WAIT))
        if 300 <= status < 400:
            raise NotPaged(f"it sends us elsewhere ({status}), where nothing is sent.")
        if not 200 <= status < 300:
            raise NotPaged(f"it answered {status}. Check LATCHKEY_ALERT_WEBHOOK_URL, _KEY and _TEMPLATE.")


def _values(event: str, alert: Alert) -> dict[str, JSON]:
    trouble = alert.trouble
    headline = f"DRILL. {trouble.headline}" if trouble.drill else trouble.headline
    return {
        "id": f"latchkey-{alert.id}",
        "event": event,
        "headline": _cut(headline, _HEADLINE),
        "why": _cut(trouble.why, _WHY),
        "facts": {label: _cut(value, _WHY) for label, value in trouble.facts},
        "kind": trouble.kind,
        "severity": trouble.severity.value,
        "opened_at": alert.opened_at.isoformat(),
        "by": alert.acknowledged_by,
        "how": _cut(alert.how, _WHY),
        "drill": "true" if trouble.drill else "false",
    }


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _filled(template: JSON, values: Mapping[str, JSON]) -> JSON:
    """*template* with its texts filled in: what stands in a text stays in it."""
    match template:
        case str() if template == "${facts}":
            return values["facts"]
        case str():
            texts = {name: value if isinstance(value, str) else _listed(value) for name, value in values.items()}
            return Template(template).substitute(texts)
        case dict():
            return {name: _filled(value, values) for name, value in template.items()}
        case list():
            return [_filled(each, values) for each in template]
    return template


def _listed(facts: Mapping[str, str]) -> str:
    return "\n".join(f"{label}: {value}" for label, value in facts.items())


def _texts(template: JSON) -> list[str]:
    match template:
        case str():
            return [template]
        case dict():
            return [text for value in template.values() for text in _texts(value)]
        case list():
            return [text for each in template for text in _texts(each)]
    return []


def _placeholders(text: str) -> list[str]:
    template = Template(text)
    if not template.is_valid():
        raise _wrong(f"`{text}` is no text with placeholders; a $ by itself is written $$")
    return template.get_identifiers()


def _wrong(what: str) -> ConfigurationError:
    return ConfigurationError(f"LATCHKEY_ALERT_WEBHOOK_TEMPLATE: {what}. docs/configuration.md shows one.")
