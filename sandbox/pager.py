"""A service that wakes people, as PagerDuty's *Events API v2* takes events ("Send an alert event")."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aiohttp import web

from sandbox.faults import Faults, disturb

PATH = "/v2/enqueue"
ROUTING_KEY = "0123456789abcdef0123456789abcdef"

_ACTIONS = ("trigger", "acknowledge", "resolve")
_SEVERITIES = ("critical", "error", "warning", "info")
_LONGEST_SUMMARY = 1024
_LONGEST_KEY = 255
_LARGEST = 512 * 1024


@dataclass
class Page:
    """What it knows under one key. `wakings` counts how often somebody was woken for it."""

    key: str
    state: str = "resolved"
    summary: str = ""
    wakings: int = 0
    payload: dict[str, Any] = field(default_factory=dict)


class Pager:
    """`pages` by their key; `events` as they came, those that were not taken included. *heard* is called after each."""

    def __init__(self, faults: Faults, heard: Callable[[], None] = lambda: None) -> None:
        self.pages: dict[str, Page] = {}
        self.events: list[Any] = []
        self._faults = faults
        self._heard = heard

    def routes(self, app: web.Application, prefix: str = "/pager") -> None:
        app.router.add_post(f"{prefix}{PATH}", self._enqueue)

    async def _enqueue(self, request: web.Request) -> web.StreamResponse:
        async def serve() -> web.StreamResponse:
            raw = await request.content.read(_LARGEST + 1)
            if len(raw) > _LARGEST:
                return web.Response(status=413)
            try:
                event = json.loads(raw)
            except ValueError:
                return _refused("the body is not JSON")
            self.events.append(event)
            if errors := _problems(event):
                return _refused(*errors)
            self._apply(event)
            self._heard()
            answer = {"status": "success", "message": "Event processed", "dedup_key": event["dedup_key"]}
            return web.json_response(answer, status=202)

        return await disturb(self._faults.match("pager", request.method, PATH), request, serve)

    def _apply(self, event: dict[str, Any]) -> None:
        key, action = event["dedup_key"], event["event_action"]
        if action == "trigger":
            page = self.pages.setdefault(key, Page(key))
            if page.state == "resolved":
                page.wakings += 1
                page.state = "triggered"
            page.payload, page.summary = event["payload"], event["payload"]["summary"]
        elif (known := self.pages.get(key)) and known.state != "resolved":  # of others it takes no notice
            known.state = "acknowledged" if action == "acknowledge" else "resolved"


def _problems(event: Any) -> list[str]:
    """What is wrong with an event."""
    if not isinstance(event, dict):
        return ["Event object is invalid"]
    found = []
    key, action, dedup, payload = (event.get(name) for name in ("routing_key", "event_action", "dedup_key", "payload"))
    if key != ROUTING_KEY:
        found.append("'routing_key' is not one of ours")
    if action not in _ACTIONS:
        found.append(f"'event_action' must be one of {', '.join(_ACTIONS)}")
    if not isinstance(dedup, str) or not 0 < len(dedup) <= _LONGEST_KEY:
        found.append("'dedup_key' is missing or too long")
    if action != "trigger":
        return found
    if not isinstance(payload, dict):
        return [*found, "'payload' is missing or blank"]
    for name in ("summary", "source"):
        if not isinstance(payload.get(name), str) or not payload[name]:
            found.append(f"'payload.{name}' is missing or blank")
    if len(str(payload.get("summary"))) > _LONGEST_SUMMARY:
        found.append("'payload.summary' is too long")
    if payload.get("severity") not in _SEVERITIES:
        found.append(f"'payload.severity' must be one of {', '.join(_SEVERITIES)}")
    if "custom_details" in payload and not isinstance(payload["custom_details"], dict):
        found.append("'payload.custom_details' must be an object")
    if "timestamp" in payload:
        try:
            datetime.fromisoformat(payload["timestamp"])
        except (TypeError, ValueError):
            found.append("'payload.timestamp' is no ISO 8601 time")
    return found


def _refused(*errors: str) -> web.Response:
    body = {"status": "invalid event", "message": "Event object is invalid", "errors": list(errors)}
    return web.json_response(body, status=400)
