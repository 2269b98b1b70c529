"""The desk for the tenant's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Protocol

from bot.errors import BadInput, Conflict, NotPossible
from bot.model import Author, IdentityKind, Mode, TenantSettings
from bot.office import Errand


class Store(Protocol):
    """Where the settings rest."""

    async def current(self) -> TenantSettings: ...

    async def change(self, settings: TenantSettings, *, by: Author, reason: str) -> TenantSettings:
        """Put *settings* in force as the next version. Raises `Conflict` if theirs is not the newest."""


class SettingsDesk:
    """`latchkey/settings`: read as a whole; a PUT says what becomes of which, and from what it was planned.

    That is either the `version` of all of them, or under `was` only those that matter to it, where others may change
    meanwhile.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(self, path: tuple[str, ...], query: Mapping[str, str]) -> dict[str, Any]:
        return asdict(await self._store.current())

    async def carry_out(self, errand: Errand) -> None:
        before = await self._store.current()
        after = replace(before, **_typed(errand.body["changes"]))
        if after == before:
            return  # it was done already, before the bot was interrupted
        if not _as_planned(before, errand.body):
            raise NotPossible(
                "Somebody else has changed the settings meanwhile, so nothing was changed. Look at them, and ask again."
            )
        try:
            await self._store.change(after, by=errand.by, reason=errand.reason)
        except Conflict as error:
            raise NotPossible(str(error)) from error


def _as_planned(before: TenantSettings, body: Mapping[str, Any]) -> bool:
    """Whether the settings are still those that the call was planned from; what is as wished already counts, too."""
    if "was" not in body:
        return bool(before.version == body["version"])
    now, wished = asdict(before), _typed(body["changes"])
    return all(now[name] in (value, wished.get(name)) for name, value in _typed(body["was"]).items())


def _typed(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Values out of a plan, as the settings hold them. Raises `BadInput` for what is no setting."""
    known = asdict(TenantSettings())
    if unknown := changes.keys() - known.keys():
        raise BadInput(f"There is no setting `{min(unknown)}`.")
    typed = dict(changes)
    if "mode" in typed:
        typed["mode"] = Mode(typed["mode"])
    if typed.get("identity_kind") is not None:
        typed["identity_kind"] = IdentityKind(typed["identity_kind"])
    if "work_channels" in typed:
        typed["work_channels"] = tuple(typed["work_channels"])
    return typed
