"""The desk for management sessions: it ends them all for a switch of the mode, and opens the one of the new mode."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from bot.errors import BadInput, NotPossible
from bot.model import Mode, Session, Step
from bot.office import Errand
from bot.session import ManagementSession


class All(Protocol):
    """All management sessions of the tenant."""

    @property
    def shared(self) -> ManagementSession: ...

    def all(self) -> tuple[ManagementSession, ...]: ...

    def clock_time(self, when: datetime | None) -> str: ...

    async def begin_switch(self, by: str | None) -> None: ...

    async def end_switch(self) -> Mode: ...

    async def end_all(self, why: str, by: str | None) -> None: ...


class SessionDesk:
    """`latchkey/session`: the state of the tenant's session, and whether anybody acts. Each PUT says what becomes of
    them: `switching` ends all and has others wait, `on` lets them go on and opens the tenant's, `off` ends all."""

    def __init__(self, sessions: All) -> None:
        self._sessions = sessions

    async def read(self, path: tuple[str, ...], query: Mapping[str, str]) -> dict[str, Any]:
        session: Session = self._sessions.shared.current
        return {
            "state": session.state.value,
            "acting": any(each.acting() is not None for each in self._sessions.all()),
            "until": self._sessions.clock_time(session.on_until) if session.on_until else None,
        }

    async def carry_out(self, errand: Errand) -> str | None:
        by = errand.by.operator_id
        match errand.path:
            case ("switching",):
                was_on = any(each.acting() is not None for each in self._sessions.all())
                await self._sessions.begin_switch(by)
                return "The old session is turned off." if was_on else "None was on."
            case ("on",):
                if await self._sessions.end_switch() is not Mode.ADVANCED:
                    raise NotPossible("Somebody switched the mode back meanwhile, so no session is opened.")
                acting = await self._sessions.shared.ensure(opened_for=errand.request_id, tell=_nobody, may_open=True)
                return f"Management session on until {self._sessions.clock_time(acting.session.on_until)}."
            case ("off",):
                was_on = any(each.acting() is not None for each in self._sessions.all())
                await self._sessions.end_switch()
                await self._sessions.end_all("The mode was switched.", by)
                return "The old session is turned off." if was_on else "None was on."
            case _:
                raise BadInput("A management session cannot be brought into such a state.")


async def _nobody(steps: tuple[Step, ...]) -> None:
    """The request that asks for it has steps of its own."""
