"""Changes of Latchkey itself travel the road of all changes: planned, approved by another, attempted, read back."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bot.clock import SystemClock
from bot.model import ApprovalState, AuditRecord, Origin, Request, RequestState, ScopeOp, ScopeRule, SlackUser
from bot.ports import AuditSelection
from tests.stage import SHELL, TEAM, Stage, open_stage

ANA, BO, OLIVE = (SlackUser(TEAM, user) for user in ("U0ANA00001", "U0BO000001", "U0OLIVE001"))


@dataclass
class Management:
    """A stage on which tenant admins change settings."""

    stage: Stage

    async def ask(self, slack: SlackUser = ANA, **inputs: Any) -> Request:
        """A request for other settings, agreed to by who asks, as far as it goes by itself."""
        storage = self.stage.bot.storage
        operator = storage.operators.rights(slack, "/m365-mode settings").operator
        request = Request(
            id=uuid.uuid4().hex,
            operator_id=operator.id if operator else None,
            slack=slack,
            command="/m365-mode settings",
            action="change-settings",
            origin=Origin("C0HELPDESK"),
            created_at=SystemClock().now(),
            inputs=inputs,
            reason="tidying up",
        )
        await storage.requests.add(request)
        self.stage.bot.worker.wake(request.id)
        return await self.rested(request.id)

    async def rested(self, request_id: str) -> Request:
        """The request, once it waits for people or is over."""
        while True:
            request = await self.stage.bot.storage.requests.find(request_id)
            assert request is not None
            if request.state.final or request.state in {
                RequestState.AWAITING_APPROVAL,
                RequestState.AWAITING_CONFIRMATION,
            }:
                return request
            await asyncio.sleep(0)

    async def approve(self, request: Request, by: SlackUser = BO) -> Request:
        """*by* agrees, and the request goes on."""
        await self.stage.bot.approvals.approve(request, by)
        self.stage.bot.worker.wake(request.id)
        return await self.rested(request.id)

    async def audited(self, request: Request) -> list[AuditRecord]:
        """What the trail has about the request, oldest first."""
        rows = await self.stage.bot.storage.trail.query(AuditSelection(request=request.id), limit=100)
        return [row.record for row in reversed(rows)]


@pytest.fixture
async def management(tmp_path: Path) -> AsyncIterator[Management]:
    async with open_stage(tmp_path, approvals_channel="C0APPROVE1") as stage:
        yield Management(stage)


async def test_a_setting_is_changed_once_another_tenant_admin_agrees(management: Management) -> None:
    settings = management.stage.bot.storage.settings
    asked = await management.ask(idle_minutes=15)
    assert asked.state is RequestState.AWAITING_APPROVAL
    assert (await settings.current()).idle_minutes == 30

    done = await management.approve(asked)
    assert (done.state, done.sentence) == (RequestState.DONE, "The settings of Latchkey were changed")
    assert (await settings.current()).idle_minutes == 15
    kinds = [record.kind for record in await management.audited(asked)]
    in_order = ["approval.asked", "approval.given", "attempt.started", "attempt.finished", "request.done"]
    assert [kind for kind in kinds if kind in in_order] == in_order


async def test_its_undo_is_a_request_of_its_own(management: Management) -> None:
    done = await management.approve(await management.ask(idle_minutes=15, reason_required="off"))
    assert done.plan is not None
    assert done.plan.undo is not None
    back = await management.approve(await management.ask(**done.plan.undo.inputs))

    settings = await management.stage.bot.storage.settings.current()
    assert (back.state, settings.idle_minutes, settings.reason_required) == (RequestState.DONE, 30, True)


async def test_what_somebody_else_changed_meanwhile_is_asked_about_again(management: Management) -> None:
    settings = management.stage.bot.storage.settings
    asked = await management.ask(idle_minutes=15)
    await settings.change(replace(await settings.current(), absolute_minutes=120), by=SHELL, reason="test")
    after = await management.approve(asked)

    assert after.state is RequestState.AWAITING_CONFIRMATION
    assert "changed since you looked" in after.sentence
    assert (await settings.current()).idle_minutes == 30


async def test_help_desk_may_not_and_nothing_is_asked(management: Management) -> None:
    refused = await management.ask(OLIVE, idle_minutes=15)

    assert refused.state is RequestState.REFUSED
    assert "You may not use `/m365-mode settings`" in refused.sentence
    assert refused.approval is None


async def test_a_tenant_admin_for_some_people_only_changes_nothing_that_concerns_everybody(
    management: Management,
) -> None:
    operators = management.stage.bot.storage.operators
    sales = await operators.add_scope(
        "Sales", ScopeRule(ScopeOp.ATTRIBUTE, attribute="department", values=("Sales",)), by=SHELL
    )
    await operators.grant(OLIVE, "tenant-admin", scope_id=sales.id, by=SHELL, reason="test", emergency=True)
    refused = await management.ask(OLIVE, idle_minutes=15)

    assert refused.state is RequestState.REFUSED
    assert "This concerns everybody" in refused.sentence


async def test_nonsense_is_told_and_changes_nothing(management: Management) -> None:
    failed = await management.ask(work_channels="the usual ones")

    assert failed.state is RequestState.FAILED
    assert "Choose the channels" in failed.sentence


async def test_how_long_the_audit_trail_is_kept_is_decided_by_two_and_never_shortened_to_nothing(
    management: Management,
) -> None:
    failed = await management.ask(retention_days=30)
    assert failed.sentence == "The audit trail is kept for 90 days at least."

    asked = await management.ask(retention_days=365)
    assert asked.plan is not None
    assert "older than 365 days go tonight, for good" in asked.plan.notes[0]
    await management.approve(asked)
    assert (await management.stage.bot.storage.settings.current()).retention_days == 365


async def test_what_is_so_already_needs_nobody(management: Management) -> None:
    """Nothing would change, so nobody is asked to agree."""
    done = await management.ask(idle_minutes=30)

    assert (done.state, done.sentence) == (RequestState.DONE, "These are the settings as they are now.")
    assert done.approval is None


async def test_the_agreement_is_kept_with_what_was_agreed_to(management: Management) -> None:
    done = await management.approve(await management.ask(idle_minutes=15))

    assert done.approval is not None
    assert (done.approval.state, done.approval.digest) == (ApprovalState.APPROVED, done.digest)
