"""What tenant admins decide is changed from how it is: a form that begins so and is left alone changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import pytest

from bot.actions.change_settings import ACTION, as_inputs
from bot.errors import BadInput
from bot.model import JSON, Plan, Target, TargetKind, TenantSettings
from bot.office import LATCHKEY

NOW = TenantSettings(version=3, work_channels=("C0HELPDESK",), reason_required=False, idle_minutes=20)
ANYWHERE = replace(NOW, work_channels=())


@dataclass
class Office:
    """Knows the settings."""

    settings: TenantSettings

    async def get(self, *path: str, query: Mapping[str, str] | None = None, eventual: bool = False) -> dict[str, Any]:
        assert path == ("latchkey", "settings")
        return asdict(self.settings)

    async def collect(
        self, *path: str, query: Mapping[str, str] | None = None, eventual: bool = False, limit: int | None = None
    ) -> list[dict[str, Any]]:
        raise NotImplementedError

    async def ask(self, *path: str, body: JSON) -> dict[str, Any]:
        raise NotImplementedError


async def planned(settings: TenantSettings, **inputs: JSON) -> Plan:
    assert ACTION.plan is not None
    target = Target(TargetKind.TENANT, "tenant", "Latchkey")
    return await ACTION.plan(Office(settings), target, ACTION.parse(inputs), LATCHKEY)


@pytest.mark.parametrize("settings", [NOW, ANYWHERE], ids=["some channels", "any channel"])
async def test_a_form_that_is_left_as_it_began_changes_nothing(settings: TenantSettings) -> None:
    plan = await planned(settings, **as_inputs(asdict(settings)))

    assert (plan.changes, plan.calls) == ((), ())


@pytest.mark.parametrize(
    ("before", "inputs", "after"),
    [
        (NOW, {"any_channel": True}, ANYWHERE),
        (ANYWHERE, {"work_channels": "C0HELPDESK"}, NOW),
        (NOW, {"work_channels": "C0OTHER001 C0HELPDESK"}, replace(NOW, work_channels=("C0OTHER001", "C0HELPDESK"))),
        (NOW, {"reason_required": "on", "idle_minutes": 30}, replace(NOW, reason_required=True, idle_minutes=30)),
        (
            NOW,
            {"rotation_days": 14, "rotation_weekdays": "Mon,Wed"},
            replace(NOW, rotation_days=14, rotation_weekdays="mon, wed"),
        ),
        (NOW, {"rotation_hours": "10:00 to 18.30"}, replace(NOW, rotation_until=18 * 60 + 30)),
        (NOW, {"rotation_hours": "22–4"}, replace(NOW, rotation_from=22 * 60, rotation_until=4 * 60)),
    ],
)
async def test_undo_leads_back(before: TenantSettings, inputs: dict[str, JSON], after: TenantSettings) -> None:
    forth = await planned(before, **inputs)
    assert forth.undo is not None
    back = await planned(after, **forth.undo.inputs)

    for plan, leads_to in ((forth, after), (back, before)):
        (call,) = plan.calls
        assert {name: getattr(leads_to, name) for name in call.body["changes"]} == call.body["changes"]
    assert len(back.changes) == len(forth.changes) >= len(inputs)


async def test_some_channels_and_every_channel_cannot_both_be_meant() -> None:
    with pytest.raises(BadInput) as refused:
        await planned(NOW, any_channel=True, work_channels="C0HELPDESK")

    assert refused.value.field == "work_channels"


@pytest.mark.parametrize(
    ("inputs", "field"),
    [
        ({"rotation_weekdays": "someday"}, "rotation_weekdays"),
        ({"rotation_hours": "10:00"}, "rotation_hours"),
        ({"rotation_hours": "10:00-10:30"}, "rotation_hours"),
        ({"rotation_hours": "10-25"}, "rotation_hours"),
        ({"rotation_days": 91}, "rotation_days"),
    ],
)
async def test_a_rotation_that_could_never_be_is_refused_at_its_own_line(inputs: dict[str, JSON], field: str) -> None:
    with pytest.raises(BadInput) as refused:
        await planned(NOW, **inputs)

    assert refused.value.field == field


async def test_hours_are_shown_as_people_write_them() -> None:
    plan = await planned(NOW, rotation_hours="10:00-16:00")

    assert [(change.before, change.after) for change in plan.changes] == [("15:00", "16:00")]
