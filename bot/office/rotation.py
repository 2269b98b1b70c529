"""The desk for the rotation of what Latchkey signs in with: it has the rotator go on, step by step, or give up."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo
from typing import Any, Final, Protocol

from bot.errors import BadInput, LatchkeyError, NotPossible
from bot.model import Cause, Point, RotationRecord, RotationState, TenantSettings, Trigger
from bot.office import Errand
from bot.ports import RotationStatus
from bot.rotation import Aim
from bot.rotation_told import called, long, moment, nothing_to_rotate, step_words, waiting, what_stands

_KEPT: Final = 50
"""Of how many requests it is remembered which rotation they had."""

_ORDER: Final = {point: place for place, point in enumerate(Point)}


class Stands(LatchkeyError):
    """The rotation could not go on; the sentence says why, and that the one in force signs in, if it is known to."""


class Rotates(Protocol):
    """What rotates the credential of the service identity."""

    async def run(
        self,
        *,
        trigger: Trigger,
        by: str | None = None,
        request_id: str | None = None,
        until: Point | None = None,
        aim: Aim = Aim.RENEW,
        tell: Callable[[Point], None] | None = None,
    ) -> RotationRecord: ...

    async def status(self) -> RotationStatus: ...

    async def history(self, limit: int = 10) -> Sequence[RotationRecord]: ...

    async def drill(self, *, fail: bool, by: str | None = None, request_id: str | None = None) -> RotationRecord: ...


class Settings(Protocol):
    async def current(self) -> TenantSettings: ...


class RotationDesk:
    """`latchkey/rotation`: how it stands, what the reading request's own rotation has reached, and what to tell of it.

    A PUT to `on` goes on as far as a point, `back` gives up the new one, `finished` makes nothing new, `drill` is one.
    Each does what is left to be done, also if it was told so before.
    """

    def __init__(self, rotator: Rotates, settings: Settings, zone: tzinfo) -> None:
        self._rotator = rotator
        self._settings = settings
        self._zone = zone
        self._theirs: OrderedDict[str, RotationRecord] = OrderedDict()
        """The last try of each request."""

    async def read(self, path: tuple[str, ...], query: Mapping[str, str]) -> dict[str, Any]:
        if path:
            raise BadInput("Nothing of that name is known of the rotation.")
        status, settings = await self._rotator.status(), await self._settings.current()
        record = await self._of(query.get("for", ""), status)
        drilled = record is not None and record.trigger is Trigger.DRILL
        return {
            "nothing": nothing_to_rotate(status, settings),
            "what": called(status.kind),
            "account": status.account,
            "from": f"from {moment(status.since, self._zone)}" if status.since else "from a time that is not known",
            "waits": bool(waiting(status.versions)),
            "reached": _reached(record) if record and not drilled else [],
            "drilled": drilled,
            "told": self._told(record, status),
        }

    async def carry_out(self, errand: Errand) -> str | None:
        match errand.method, errand.path:
            case "PUT", ("on",):
                await self._go_on(errand, Trigger.NOW, Aim.RENEW, _stop(Point(errand.body["until"])))
            case "PUT", ("finished",):
                await self._go_on(errand, Trigger.REPAIR, Aim.REPAIR)
            case "PUT", ("back",):
                await self._give_up(errand)
            case "PUT", ("drill",):
                return await self._drill(errand, fail=bool(errand.body["fail"]))
            case _:
                raise BadInput("This cannot be done about the rotation.")
        return None

    # --- what is done -------------------------------------------------------------------------------------------------

    async def _go_on(self, errand: Errand, trigger: Trigger, aim: Aim, until: Point | None = None) -> RotationRecord:
        """A request has one try, which its steps wait for one after the other. Once it has stood and that was told, it
        is tried anew when somebody goes on."""
        request_id = errand.request_id
        before, now = self._theirs.get(request_id), await self._of(request_id, await self._rotator.status())
        waited_for = before is not None and before.state is RotationState.RUNNING
        if waited_for and now is not None and now.state is not RotationState.RUNNING:
            record = now  # it ended between two of the steps
        else:
            anew = now is not None and now.state is RotationState.STANDING
            record = await self._rotator.run(
                trigger=Trigger.RETRY if anew else trigger,
                by=errand.by.operator_id,
                request_id=None if anew else request_id,
                until=until,
                aim=aim,
            )
        self._remember(request_id, record)
        if record.state is RotationState.STANDING:
            _, why = what_stands(record, self._zone)
            why = why.removeprefix("Rotation failed. ").removeprefix("Rotation not finished. ")
            at = record.next_try_at
            again = f" Latchkey tries again by itself on {moment(at, self._zone)}." if at else ""
            raise Stands(f"{why}{again}")
        return record

    async def _give_up(self, errand: Errand) -> None:
        before = await self._rotator.status()
        new = {version.version for version in waiting(before.versions)}
        if not new:
            return  # it was done already, before the bot was interrupted
        record = await self._go_on(errand, Trigger.RETRY, Aim.GIVE_UP)
        if record.in_force in new:
            what = called(before.kind)
            raise NotPossible(
                f"The new {what} is in force already, so it cannot be taken back. It is the current one now, and the "
                "rotation is finished."
            )

    async def _drill(self, errand: Errand, *, fail: bool) -> str:
        request_id = errand.request_id
        record = await self._rotator.drill(fail=fail, by=errand.by.operator_id, request_id=request_id)
        self._remember(request_id, record)
        if record.cause is not None and not (fail and record.cause is Cause.FORBIDDEN):
            raise Stands(f"The drill failed, so a rotation would fail, too. Nothing was changed. {record.why}".rstrip())
        return step_words(record)

    def _remember(self, request_id: str, record: RotationRecord) -> None:
        self._theirs[request_id] = record
        self._theirs.move_to_end(request_id)
        while len(self._theirs) > _KEPT:
            self._theirs.popitem(last=False)

    # --- what is told -------------------------------------------------------------------------------------------------

    async def _of(self, request_id: str, status: RotationStatus) -> RotationRecord | None:
        """The rotation of a request, as the database has it now, or else as it was when it was gone on with last."""
        known = (status.open, status.last, *await self._rotator.history()) if request_id else ()
        found = (record for record in known if record is not None and self._is_of(record, request_id))
        return next(found, self._theirs.get(request_id))

    def _is_of(self, record: RotationRecord, request_id: str) -> bool:
        """Whether it is the rotation of this request: begun for it, or joined by it."""
        theirs = self._theirs.get(request_id)
        return record.id == theirs.id if theirs else record.request_id == request_id

    def _told(self, record: RotationRecord | None, status: RotationStatus) -> list[str]:
        """What the card of a request ends with."""
        if record is None:
            return []
        if record.trigger is Trigger.DRILL:
            return _told_of_drill(record)
        lines = [f"Step by step: {step_words(record)}."] if record.steps else []
        if status.next_due:
            lines.append(f"The next rotation by schedule: {moment(status.next_due, self._zone)}.")
        return lines


def _stop(until: Point) -> Point | None:
    """Where a step ends; the last one goes on to the end."""
    return None if until is Point.RELEASED else until


def _reached(record: RotationRecord) -> list[str]:
    done = record.state in {RotationState.DONE, RotationState.GIVEN_UP}
    return [point.value for point in Point if done or _ORDER[point] <= _ORDER[record.point]]


def _told_of_drill(record: RotationRecord) -> list[str]:
    took = f", {long(record.finished_at - record.started_at)} in all" if record.finished_at else ""
    failed = record.cause is not None
    how = "It failed, as you wished: an alert that is marked as a drill tells of it." if failed else "It went well."
    return [f"This was a drill. {how}", f"Step by step: {step_words(record)}{took}."]
