"""The list of roles: what each is for, what it holds, and how many people hold it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bot.auditing import Reply
from bot.model import Request, Role


class Roles(Protocol):
    async def role_list(self) -> Sequence[Role]: ...


class Roll:
    """Answers `/m365-roles list`."""

    def __init__(self, roles: Roles) -> None:
        self._store = roles

    async def roles(self, request: Request) -> Reply:
        """Every role, with the buttons to grant, revoke and define."""
        rows = [
            [role.name, role.title, list(role.patterns), role.holders, role.shipped]
            for role in await self._store.role_list()
        ]
        title = "1 role" if len(rows) == 1 else f"{len(rows)} roles"
        notes = ["`/m365-roles who` shows who holds them. A role counts only for who was granted it."]
        return title, {"title": title, "roles": rows, "notes": notes}
