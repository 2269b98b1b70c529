"""What has changed between two readings of the tenant's policies, in words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bot.model import JSON
from bot.whatif.policies import State


@dataclass(frozen=True)
class Changed:
    """A policy or named location that is not as it was. `words` follow its name: *was switched on*."""

    id: str
    name: str
    is_policy: bool
    words: str
    there: bool = True
    """Whether it still exists."""


def digest_of(things: Iterable[JSON]) -> str:
    """The same for the same content: neither order nor the time of the last save matter."""
    return hashlib.sha256("".join(sorted(map(fingerprint, things))).encode()).hexdigest()


def fingerprint(thing: JSON) -> str:
    """Of one policy or named location, as `digest_of` has it."""
    return hashlib.sha256(_settled(thing).encode()).hexdigest()


def changed_since(
    before: tuple[Iterable[JSON], Iterable[JSON]], now: tuple[Iterable[JSON], Iterable[JSON]]
) -> tuple[Changed, ...]:
    """*before* and *now* are policies and named locations as Graph gives them."""
    both = zip(before, now, (True, False), strict=True)
    return tuple(change for old, new, is_policy in both for change in _compared(old, new, is_policy=is_policy))


def _compared(before: Iterable[JSON], now: Iterable[JSON], *, is_policy: bool) -> Iterator[Changed]:
    old, new = _by_id(before), _by_id(now)
    for id_ in sorted(old.keys() | new.keys(), key=lambda id_: str((new.get(id_) or old[id_]).get("displayName"))):
        thing = new.get(id_) or old[id_]
        name = str(thing.get("displayName") or id_)
        if id_ not in old:
            yield Changed(id_, name, is_policy, "was added")
        elif id_ not in new:
            yield Changed(id_, name, is_policy, "was deleted", there=False)
        elif old[id_] != thing and (words := _listed(_differences(old[id_], thing, is_policy=is_policy))):
            yield Changed(id_, name, is_policy, words)


def _by_id(things: Iterable[JSON]) -> dict[str, Mapping[str, Any]]:
    return {str(thing.get("id")).lower(): thing for thing in things}


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], *, is_policy: bool) -> Iterator[str]:
    if old.get("state") != new.get("state"):
        yield f"was {_SWITCHED.get(str(new.get('state')), 'put into another state')}{_from(old.get('state'))}"
    if old.get("displayName") != new.get("displayName"):
        yield f"was renamed (it was “{old.get('displayName')}”)"
    parts = _POLICY_PARTS if is_policy else _LOCATION_PARTS
    named = [words for path, words in parts.items() if _settled(_at(old, path)) != _settled(_at(new, path))]
    others = _rest(old, parts) != _rest(new, parts)
    if others:
        named.append("other settings" if named else "settings")
    if named:
        yield f"got other {_listed(named)}"


_SWITCHED: Final = {
    State.ENABLED: "switched on",
    State.DISABLED: "switched off",
    State.REPORT_ONLY: "set to only report",
}

_POLICY_PARTS: Final[Mapping[tuple[str, ...], str]] = {
    ("conditions", "users"): "users",
    ("conditions", "clientApplications"): "service principals",
    ("conditions", "applications"): "targets",
    ("conditions", "locations"): "locations",
    ("conditions", "clientAppTypes"): "client apps",
    ("conditions", "platforms"): "platforms",
    ("conditions", "devices"): "devices",
    ("conditions", "signInRiskLevels"): "sign-in risks",
    ("conditions", "userRiskLevels"): "user risks",
    ("conditions", "authenticationFlows"): "authentication flows",
    ("grantControls",): "grant controls",
    ("sessionControls",): "session controls",
}
_LOCATION_PARTS: Final[Mapping[tuple[str, ...], str]] = {
    ("ipRanges",): "addresses",
    ("countriesAndRegions",): "countries",
    ("includeUnknownCountriesAndRegions",): "countries",
    ("isTrusted",): "trust",
}

_TOLD_APART: Final = ("id", "state", "displayName", "createdDateTime", "description")


def _from(state: object) -> str:
    return {State.REPORT_ONLY: " (it only reported before)", State.ENABLED: " (it was on before)"}.get(str(state), "")


def _at(thing: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = thing
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _rest(thing: Mapping[str, Any], parts: Mapping[tuple[str, ...], str]) -> str:
    """What has no words of its own."""
    rest = {key: value for key, value in thing.items() if key not in _TOLD_APART and (key,) not in parts}
    if isinstance(conditions := rest.get("conditions"), Mapping):
        rest["conditions"] = {key: value for key, value in conditions.items() if ("conditions", key) not in parts}
    return _settled(rest)


_NO_CONTENT: Final = ("modifiedDateTime", "@odata.context", "@odata.etag")
"""Ends of keys whose values say nothing of what a policy does."""


def _settled(value: Any) -> str:
    """The same text for the same content, whatever its order."""
    return json.dumps(_sorted(value), sort_keys=True)


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _sorted(each) for key, each in value.items() if not key.endswith(_NO_CONTENT)}
    if isinstance(value, list):
        return sorted((_sorted(each) for each in value), key=lambda each: json.dumps(each, sort_keys=True))
    return value


def _listed(words: Iterable[str]) -> str:
    said = list(dict.fromkeys(words))
    return " and ".join(part for part in (", ".join(said[:-1]), *said[-1:]) if part)
