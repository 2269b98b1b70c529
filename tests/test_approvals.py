"""Somebody else has to agree: the whole bot against the pretend world, for an account that is asked about first."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bot import policy
from bot.approvals import AT_MOST, NotDecided, SignInFirst
from bot.clock import SystemClock
from bot.errors import BadInput
from bot.model import (
    Grant,
    Operator,
    Origin,
    Request,
    RequestState,
    Rights,
    Scope,
    ScopeOp,
    ScopeRule,
    SlackUser,
    TenantSettings,
)
from sandbox.slack import Message
from tests.stage import SHELL, TEAM, Stage, open_stage
from tests.threats.knocking import a_press, a_submission

APPROVALS = "#it-approvals"
OLIVE, ANA, BO, AUDREY = (SlackUser(TEAM, user) for user in ("U0OLIVE001", "U0ANA00001", "U0BO000001", "U0AUDREY01"))
SALES = ScopeRule(ScopeOp.ATTRIBUTE, attribute="department", values=("Sales",))
PASSWORD_OF_VICTOR = "Reset the password of Victor"


@dataclass
class Vip:
    """A stage on which somebody asks for a VIP's new password."""

    stage: Stage

    @property
    def password(self) -> str:
        return self.stage.world.directory.password_of("victor@contoso.com")

    async def ask(self, person: str) -> Message:
        """Ask for the reset, as far as the question in the approvals channel."""
        slack = self.stage.world.slack
        before = len(slack.messages(APPROVALS))
        await slack.command(person, "#helpdesk", '/m365 reset-password victor@contoso.com --reason "locked out"')
        await self.stage.until(lambda: f"[{PASSWORD_OF_VICTOR}" in slack.modals(person)[-1].visible_text)
        await slack.choose(person, "modal", "How was the caller verified?", "In person")
        label = next(line for line in slack.modals(person)[-1].visible_text.split("[") if PASSWORD_OF_VICTOR in line)
        await slack.click(person, "modal", label.partition("]")[0])
        return await self.question(before, lambda text: "Approval wanted" in text)

    async def question(self, before: int, says: Callable[[str], bool]) -> Message:
        """The newest message of the approvals channel that says so."""

        def found() -> Message | None:
            cards = self.stage.world.slack.messages(APPROVALS)[before:]
            return next((card for card in reversed(cards) if says(card.visible_text)), None)

        card = await self.stage.until(found)
        assert card is not None
        return card

    async def row(self) -> Request:
        rows = await self.stage.bot.storage.requests.recent(OLIVE, 1) or (
            await self.stage.bot.storage.requests.recent(ANA, 1)
        )
        return rows[0]

    async def in_state(self, state: RequestState) -> Request:
        """The request, once it is in *state*."""
        found: list[Request] = []

        async def look() -> None:
            found[:] = [row] if (row := await self.row()).state is state else []

        while not found:
            await look()
            await asyncio.sleep(0)
        return found[0]

    async def asked_by(self, person: str) -> Request:
        """The row of a new request, while it waits for an approval."""
        await self.ask(person)
        return await self.in_state(RequestState.AWAITING_APPROVAL)

    async def walk(self, row: Request) -> None:
        """Write *row* as it is now, and let the worker go on with it."""
        await self.stage.bot.storage.requests.save(row)
        self.stage.bot.worker.wake(row.id)

    async def want_settings(self, minutes: int, by: SlackUser = ANA) -> Request:
        """A change of Latchkey's settings that *by* asks for, once it rests."""
        storage = self.stage.bot.storage
        operator = storage.operators.rights(by, "/m365-mode settings").operator
        request = Request(
            id=uuid.uuid4().hex,
            operator_id=operator.id if operator else None,
            slack=by,
            command="/m365-mode settings",
            action="change-settings",
            origin=Origin("C0HELPDESK"),
            created_at=SystemClock().now(),
            inputs={"idle_minutes": minutes},
            reason="tidying up",
        )
        await storage.requests.add(request)
        self.stage.bot.worker.wake(request.id)
        while True:
            found = await storage.requests.find(request.id)
            assert found is not None
            if found.state.final or found.state is RequestState.AWAITING_APPROVAL:
                return found
            await asyncio.sleep(0)

    async def audited(self, kind: str) -> int:
        rows = await self.stage.bot.storage.trail.query(limit=200)
        return sum(row.record.kind == kind for row in rows)

    async def said_to(self, person: str, before: int) -> str:
        slack = self.stage.world.slack
        said = await self.stage.until(lambda: slack.ephemerals(person)[before:])
        return said[-1].visible_text


@pytest.fixture
async def vip(tmp_path: Path) -> AsyncIterator[Vip]:
    async with open_stage(tmp_path, approvals_channel="C0APPROVE1") as stage:
        yield Vip(stage)


async def test_what_was_seen_is_approved_by_somebody_else_and_runs(vip: Vip) -> None:
    slack, before = vip.stage.world.slack, vip.password
    card = await vip.ask("olive")
    assert "Victor" in card.visible_text
    assert "Olive Hart" in card.visible_text
    assert "password" in card.visible_text
    assert vip.password == before
    assert not slack.thread(card)

    await slack.click("ana", card, "Approve")
    await vip.in_state(RequestState.DONE)
    assert vip.password != before
    settled = await vip.question(0, lambda text: "approved by Ana Ruiz" in text)
    assert "[Approve]" not in settled.visible_text
    assert await vip.audited("approval.asked") == await vip.audited("approval.given") == 1


async def test_nobody_approves_their_own_request_and_that_is_audited(vip: Vip) -> None:
    slack, before = vip.stage.world.slack, vip.password
    card = await vip.ask("ana")
    told = len(slack.ephemerals("ana"))
    await slack.click("ana", card, "Approve")

    assert "Nobody approves their own request" in await vip.said_to("ana", told)
    assert vip.password == before
    assert await vip.audited("approval.refused") == 1
    assert (await vip.row()).state is RequestState.AWAITING_APPROVAL


async def test_help_desk_cannot_approve(vip: Vip) -> None:
    slack = vip.stage.world.slack
    card = await vip.ask("ana")
    told = len(slack.ephemerals("olive"))
    await slack.click("olive", card, "Approve")

    assert "You may not approve what others ask for" in await vip.said_to("olive", told)
    assert (await vip.row()).state is RequestState.AWAITING_APPROVAL


async def test_a_no_needs_a_reason_which_the_requester_reads(vip: Vip) -> None:
    slack, before = vip.stage.world.slack, vip.password
    card = await vip.ask("olive")
    await slack.click("bo", card, "Deny")
    await vip.stage.until(lambda: slack.modals("bo"))
    await slack.submit("bo", {"Reason": "call him back first"})

    row = await vip.in_state(RequestState.REFUSED)
    assert row.sentence == "Bo Lind denied this: call him back first"
    await vip.question(0, lambda text: "denied by Bo Lind" in text and "call him back first" in text)
    assert vip.password == before


async def test_of_two_answers_at_once_one_counts_and_the_other_is_told(vip: Vip) -> None:
    slack = vip.stage.world.slack
    card = await vip.ask("olive")
    told = {person: len(slack.ephemerals(person)) for person in ("ana", "bo")}
    await asyncio.gather(slack.click("ana", card, "Approve"), slack.click("bo", card, "Approve"))

    await vip.in_state(RequestState.DONE)
    second = await vip.stage.until(lambda: next((p for p in told if slack.ephemerals(p)[told[p] :]), None))
    assert second is not None
    answer = await vip.said_to(second, told[second])
    assert "was first" in answer or "settled already" in answer
    assert await vip.audited("approval.given") == 1


async def test_an_approval_of_somebody_who_may_no_longer_give_it_does_not_count(vip: Vip) -> None:
    """Between the answer and the run, the right to approve is taken away: somebody else is asked."""
    storage = vip.stage.bot.storage
    await vip.ask("olive")
    row = await vip.row()
    assert row.approval is not None
    bo = storage.operators.rights(BO, "/m365 approve").operator
    assert bo is not None
    await storage.operators.revoke(BO, "tenant-admin", by=SHELL, reason="test")
    decided = replace(row.approval, state=type(row.approval.state)("approved"), decided_by=bo.id)
    await storage.requests.save(replace(row, state=RequestState.READY, approval=decided))
    vip.stage.bot.worker.wake(row.id)

    await vip.question(1, lambda text: "Bo Lind approved it, but may not do so any more" in text)
    assert (await vip.in_state(RequestState.AWAITING_APPROVAL)).approval != decided


async def test_a_plan_that_changed_since_it_was_approved_goes_back_to_the_people(vip: Vip) -> None:
    slack, before = vip.stage.world.slack, vip.password
    storage = vip.stage.bot.storage
    await vip.ask("olive")
    row = await vip.row()
    assert row.approval is not None
    # The requester looked at the new plan; whoever approves saw the old one.
    await storage.requests.save(replace(row, approval=replace(row.approval, digest="another plan")))
    card = slack.messages(APPROVALS)[-1]
    await slack.click("ana", card, "Approve")

    again = await vip.question(1, lambda text: "has changed since Ana Ruiz approved it" in text)
    await vip.question(0, lambda text: "asked anew" in text)
    assert vip.password == before
    await slack.click("bo", again, "Approve")
    await vip.in_state(RequestState.DONE)


async def test_nobody_answers_so_it_reminds_and_then_expires(vip: Vip) -> None:
    slack, clock = vip.stage.world.slack, vip.stage.world.clock
    card = await vip.ask("olive")
    clock.advance(4 * 3600 + 60)
    await vip.stage.until(lambda: "Still waiting" in " ".join(reply.visible_text for reply in slack.thread(card)))
    clock.advance(4 * 3600)
    row = await vip.in_state(RequestState.EXPIRED)
    assert "Nobody approved this in time" in row.sentence
    await vip.question(0, lambda text: "nobody answered in time" in text and "[Approve]" not in text)


async def test_the_requester_withdraws(vip: Vip) -> None:
    slack = vip.stage.world.slack
    await vip.ask("olive")
    card = await vip.stage.card(0, "It waits for")
    assert "if nobody answers" in card.visible_text
    assert "UTC" not in card.visible_text, "each reads the time in a zone of their own"
    await slack.click("olive", card, "Withdraw")
    await vip.in_state(RequestState.WITHDRAWN)
    await vip.question(0, lambda text: "withdrawn by Olive Hart" in text and "[Approve]" not in text)


async def test_a_tenant_admin_alone_breaks_the_glass_and_another_reviews_it(vip: Vip) -> None:
    slack, before = vip.stage.world.slack, vip.password
    await vip.ask("ana")
    await vip.in_state(RequestState.AWAITING_APPROVAL)
    card = await vip.stage.card(0, "It waits for")
    await slack.click("ana", card, "Approve it alone …")
    await vip.stage.until(lambda: "Why it cannot wait" in slack.modals("ana")[-1].visible_text)
    await slack.submit("ana", {"Why it cannot wait": "he is on stage in ten minutes"})
    await vip.in_state(RequestState.DONE)
    assert vip.password != before

    direct = slack.direct("bo")
    await vip.stage.until(lambda: "approved their own request" in slack.messages(direct)[-1].visible_text)
    alarm = await vip.question(0, lambda text: "approved their own request" in text)
    assert "he is on stage in ten minutes" in alarm.visible_text
    told = len(slack.ephemerals("ana"))
    await slack.click("ana", alarm, "Close the review")
    await vip.stage.until(lambda: "What you found" in slack.modals("ana")[-1].visible_text)
    await slack.submit("ana", {"What you found": "all fine"})
    await vip.stage.until(
        lambda: (
            any("another tenant admin" in view.visible_text for view in slack.modals("ana"))
            or slack.ephemerals("ana")[told:]
        )
    )
    assert len(await vip.stage.bot.storage.requests.under_review()) == 1

    await slack.click("bo", alarm, "Close the review")
    await vip.stage.until(lambda: slack.modals("bo"))
    await slack.submit("bo", {"What you found": "talked to Victor, all fine"})
    await vip.question(0, lambda text: "Reviewed by Bo Lind" in text)
    await vip.stage.until(lambda: "Reviewed by Bo Lind" in slack.messages(direct)[-1].visible_text)
    assert not await vip.stage.bot.storage.requests.under_review()


async def test_glass_cannot_be_broken_again_before_the_last_time_was_reviewed(vip: Vip) -> None:
    storage = vip.stage.bot.storage
    await vip.ask("ana")
    row = await vip.in_state(RequestState.AWAITING_APPROVAL)
    assert row.approval is not None
    ana = storage.operators.rights(ANA, "/m365-roles").operator
    assert ana is not None
    earlier = replace(row, id="0" * 32, version=0, state=RequestState.DONE)
    alone = replace(row.approval, id="1" * 32, break_glass=True, decided_by=ana.id)
    await storage.requests.add(replace(earlier, approval=alone))

    with pytest.raises(NotDecided, match="nobody has reviewed that yet"):
        await vip.stage.bot.approvals.break_glass(row, ANA, "again")


async def test_help_desk_cannot_break_the_glass(vip: Vip) -> None:
    await vip.ask("olive")
    row = await vip.in_state(RequestState.AWAITING_APPROVAL)

    with pytest.raises(NotDecided, match="Only a tenant admin"):
        await vip.stage.bot.approvals.break_glass(row, OLIVE, "no time")


# --- refuted ----------------------------------------------------------------------------------------------------------


async def test_the_card_names_whom_it_hits_by_account_and_keeps_the_requesters_words_apart(vip: Vip) -> None:
    slack = vip.stage.world.slack
    reason = "locked out” Caller verified: “in person, by Bo"
    await slack.command("olive", "#helpdesk", f"/m365 reset-password victor@contoso.com --reason '{reason}'")
    await vip.stage.until(lambda: f"[{PASSWORD_OF_VICTOR}" in slack.modals("olive")[-1].visible_text)
    await slack.choose("olive", "modal", "How was the caller verified?", "Ticket")
    label = next(line for line in slack.modals("olive")[-1].visible_text.split("[") if PASSWORD_OF_VICTOR in line)
    await slack.click("olive", "modal", label.partition("]")[0])
    card = await vip.question(0, lambda text: "Approval wanted" in text)

    assert "victor@contoso.com" in card.visible_text
    assert "Reason: “locked out' Caller verified: 'in person, by Bo”" in card.visible_text


async def test_the_form_says_that_it_waits_for_somebody_else(vip: Vip) -> None:
    slack = vip.stage.world.slack
    await vip.ask("olive")
    await vip.stage.until(lambda: "for somebody else to approve it" in slack.modals("olive")[-1].visible_text)


async def test_what_was_approved_before_a_kill_runs_after_the_next_start(vip: Vip) -> None:
    """The answer is one commit; nobody was woken for it."""
    row = await vip.asked_by("olive")
    approved = await vip.stage.bot.approvals.approve(row, ANA)

    assert approved.state is RequestState.READY
    assert row.id in [request.id for request in await vip.stage.bot.storage.requests.open()]


async def test_who_presses_on_an_old_card_does_not_approve_what_was_asked_since(vip: Vip) -> None:
    slack = vip.stage.world.slack
    row = await vip.asked_by("olive")
    assert row.approval is not None
    told = len(slack.ephemerals("ana"))
    who = {"user": {"id": ANA.user, "team_id": TEAM}}
    forged = a_press("approval.approve", row.id, trigger="8.8.approvals", **who)
    forged["actions"][0]["block_id"] = f"approval:{uuid.uuid4().hex}"
    await slack.deliver("interactive", forged)

    assert "asked anew since" in await vip.said_to("ana", told)
    with pytest.raises(NotDecided, match="asked anew since"):
        await vip.stage.bot.approvals.deny(row, ANA, "no", seen=uuid.uuid4().hex)
    assert (await vip.row()).state is RequestState.AWAITING_APPROVAL


async def test_who_comes_late_is_told_who_was_first(vip: Vip) -> None:
    row = await vip.asked_by("olive")
    approvals = vip.stage.bot.approvals
    approved = await approvals.approve(row, ANA)

    for late in (approvals.approve(row, BO), approvals.deny(approved, BO, "no"), approvals.withdraw(approved)):
        with pytest.raises(NotDecided, match=r"Ana Ruiz was first: approved\."):
            await late


async def test_a_reminder_at_the_same_moment_takes_no_answer_away(vip: Vip) -> None:
    row = await vip.asked_by("olive")
    assert row.approval is not None
    await vip.stage.bot.storage.requests.save(replace(row, approval=replace(row.approval, reminders=1)))
    approved = await vip.stage.bot.approvals.approve(row, ANA)

    assert approved.state is RequestState.READY
    assert approved.approval is not None
    assert approved.approval.reminders == 1


async def test_an_approval_does_not_count_for_ever(vip: Vip) -> None:
    """The bot was away for a night between the answer and the run."""
    row = await vip.asked_by("olive")
    await vip.stage.bot.approvals.approve(row, ANA)
    vip.stage.world.clock.advance(9 * 3600)
    await vip.stage.bot.session.end_because("It is late.", by=None)
    vip.stage.bot.worker.wake(row.id)

    await vip.question(1, lambda text: "It was approved too long ago" in text)
    await vip.in_state(RequestState.AWAITING_APPROVAL)


async def test_a_requester_who_may_not_ask_any_more_gets_nothing_although_it_is_approved(vip: Vip) -> None:
    before = vip.password
    row = await vip.asked_by("olive")
    await vip.stage.bot.storage.operators.revoke(OLIVE, "helpdesk", by=SHELL, reason="test")
    await vip.stage.bot.approvals.approve(row, ANA)
    vip.stage.bot.worker.wake(row.id)

    refused = await vip.in_state(RequestState.REFUSED)
    assert "You may not use `/m365 reset-password`" in refused.sentence
    assert vip.password == before


_BO = Operator("bo", BO, "b0", "bo@contoso.com", "Bo Lind")
_ASKER = Operator("olive", OLIVE, "0a", "olive@contoso.com", "Olive Hart")
_GRANT = Grant("g", "approver", pattern="/m365 approve")
_NOW = datetime(2026, 3, 3, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("approver", "grant", "code"),
    [
        (replace(_BO, suspended=True), _GRANT, policy.Code.SUSPENDED),
        (replace(_BO, account_id=None), _GRANT, policy.Code.ACCOUNT),
        (replace(_BO, account_id="0A"), _GRANT, policy.Code.OWN_REQUEST),
        (_BO, replace(_GRANT, expires_at=_NOW), policy.Code.EXPIRED),
        (_BO, replace(_GRANT, scope=Scope("s", "Sales", SALES)), policy.Code.UNLIMITED),
    ],
    ids=["suspended", "without an account", "the requester's other Slack account", "expired", "for some people only"],
)
def test_who_cannot_agree(approver: Operator, grant: Grant, code: policy.Code) -> None:
    decision = policy.decide_agreement(
        Rights(approver, (grant,)),
        _ASKER,
        own=False,
        command=policy.APPROVE_COMMAND,
        now=_NOW,
        settings=TenantSettings(),
    )

    assert decision.verdict is policy.Verdict.DENY
    assert decision.deny is not None
    assert decision.deny.code is code


async def test_the_eleventh_request_of_one_person_is_not_asked_about(vip: Vip) -> None:
    """Also when all of them are asked for at once."""
    asked = await asyncio.gather(*(vip.want_settings(minutes) for minutes in range(31, 31 + AT_MOST + 2)))

    refused = [request for request in asked if request.state is not RequestState.AWAITING_APPROVAL]
    assert len(refused) == 2
    assert "10 of your requests wait for an approval already" in refused[0].sentence
    assert refused[0].answer["again"]
    assert (await vip.want_settings(45, by=BO)).state is RequestState.AWAITING_APPROVAL


@pytest.mark.parametrize("nothing", ["", "  ", "\u200b\u2060"])
async def test_a_reason_that_nobody_can_read_is_none(vip: Vip, nothing: str) -> None:
    row = await vip.asked_by("olive")
    with pytest.raises(BadInput):
        await vip.stage.bot.approvals.deny(row, ANA, nothing)


async def test_windows_that_were_tampered_with_decide_nothing(vip: Vip) -> None:
    """A forged denial, a forged break-glass: whoever may not press the button may not send its window either."""
    slack = vip.stage.world.slack
    row = await vip.asked_by("ana")
    assert row.approval is not None
    reason = {"values": {"reason": {"approval.value": {"type": "plain_text_input", "value": "because"}}}}
    windows = ("approval.deny_window", "approval.alone_window", "approval.review_window")
    for number, callback in enumerate(windows):
        for about in ("", "x" * 32, row.id, f"{row.id}:{uuid.uuid4().hex}", f"{row.id}:{row.approval.id}"):
            view = {"id": f"V0FORGED{number}", "hash": about or "none", "callback_id": callback, "state": reason}
            forged = a_submission(about, view={**view, "private_metadata": about})  # as Olive
            assert (await slack.deliver("interactive", forged)).ack.status == "ok"

    assert await vip.row() == row
    assert await vip.audited("approval.refused") == 2


async def test_what_was_not_undone_can_be_undone_again(vip: Vip) -> None:
    requests, approvals = vip.stage.bot.storage.requests, vip.stage.bot.approvals
    done = await vip.asked_by("olive")
    done = await requests.save(replace(done, state=RequestState.DONE, answer={}))
    for end in ("denied", "withdrawn"):
        undo = await requests.save(replace(await vip.want_settings(15), undo_of=done.id))
        found = await requests.find(done.id)
        assert found is not None
        await requests.save(replace(found, answer={"undo": undo.id}))
        await (approvals.deny(undo, BO, "no") if end == "denied" else approvals.withdraw(undo))

        found = await requests.find(done.id)
        assert found is not None
        assert "undo" not in found.answer


# --- nobody hears it --------------------------------------------------------------------------------------------------


async def _shared(stage: Stage) -> None:
    await stage.world.slack.share_channel(APPROVALS)


async def _left(stage: Stage) -> None:
    stage.world.slack.leave(stage.world.slack.bot_user, APPROVALS)


async def _archived(stage: Stage) -> None:
    stage.world.slack.archive(APPROVALS)


@pytest.mark.parametrize(
    ("happens", "words"),
    [
        (_shared, "another company reads in the approvals channel"),
        (_left, "Latchkey is not in the approvals channel"),
        (_archived, "the approvals channel is archived"),
    ],
)
async def test_a_question_that_nobody_hears_does_not_wait_in_silence(
    vip: Vip, happens: Callable[[Stage], Awaitable[None]], words: str
) -> None:
    slack = vip.stage.world.slack
    await happens(vip.stage)
    before = len(slack.messages(APPROVALS))
    told = len(slack.ephemerals("ana"))
    row = await vip.want_settings(15)
    said = await vip.said_to("ana", told)
    assert f"nobody was told of it: {words}" in said
    assert "Home tab" in said
    assert not [card for card in slack.messages(APPROVALS)[before:] if "settings" in card.visible_text]

    asked = await vip.stage.bot.storage.requests.find(row.id)
    assert asked is not None
    with pytest.raises(NotDecided, match="cannot be told of it"):
        await vip.stage.bot.approvals.break_glass(asked, ANA, "nobody is there")
    await vip.stage.bot.approvals.approve(asked, BO)  # from the Home tab
    assert await vip.audited("approval.unheard") == 1


async def test_without_a_channel_for_approvals_the_requester_is_told_at_once(tmp_path: Path) -> None:
    async with open_stage(tmp_path, approvals_channel="") as stage:
        failed = await Vip(stage).want_settings(15)

        assert failed.state is RequestState.FAILED
        assert "no channel for approvals is set" in failed.sentence


# --- break-glass, refuted ---------------------------------------------------------------------------------------------


async def test_a_tenant_admin_for_some_people_only_cannot_break_the_glass(vip: Vip) -> None:
    operators = vip.stage.bot.storage.operators
    sales = await operators.add_scope("Sales", SALES, by=SHELL)
    await operators.grant(OLIVE, "tenant-admin", scope_id=sales.id, by=SHELL, reason="test", emergency=True)
    row = await vip.asked_by("olive")

    with pytest.raises(NotDecided, match="Only a tenant admin"):
        await vip.stage.bot.approvals.break_glass(row, OLIVE, "no time")
    assert await vip.audited("approval.refused") == 1


async def test_who_broke_the_glass_and_is_a_tenant_admin_no_more_does_not_get_it(vip: Vip) -> None:
    before, operators = vip.password, vip.stage.bot.storage.operators
    row = await vip.asked_by("ana")
    await operators.grant(ANA, "helpdesk", by=SHELL, reason="test")
    await vip.stage.bot.approvals.break_glass(row, ANA, "no time")
    await operators.grant(AUDREY, "tenant-admin", by=SHELL, reason="test", emergency=True)
    await operators.revoke(ANA, "tenant-admin", by=SHELL, reason="test")
    vip.stage.bot.worker.wake(row.id)

    await vip.question(1, lambda text: "Ana Ruiz approved it, but may not do so any more" in text)
    assert vip.password == before


async def test_what_could_not_run_within_the_quarter_of_an_hour_is_asked_anew_and_leaves_no_review(vip: Vip) -> None:
    before, approvals = vip.password, vip.stage.bot.approvals
    row = await vip.asked_by("ana")
    await approvals.break_glass(row, ANA, "no time")
    await vip.question(0, lambda text: "approved their own request" in text)
    vip.stage.world.clock.advance(16 * 60)
    vip.stage.bot.worker.wake(row.id)

    await vip.question(2, lambda text: "It was approved too long ago" in text and "[Approve]" in text)
    await vip.question(0, lambda text: "nothing was done on that" in text and "[Close the review]" not in text)
    assert vip.password == before
    assert not await vip.stage.bot.storage.requests.under_review()
    again = await vip.in_state(RequestState.AWAITING_APPROVAL)
    assert (await approvals.break_glass(again, ANA, "still no time")).state is RequestState.READY


async def test_what_is_under_way_is_reviewed_once_it_is_over(vip: Vip) -> None:
    """Until then its row belongs to the worker, who would stop if a reviewer wrote to it."""
    approvals = vip.stage.bot.approvals
    row = await approvals.break_glass(await vip.asked_by("ana"), ANA, "no time")
    with pytest.raises(NotDecided, match="still under way"):
        await approvals.review(row, BO, "fine")

    vip.stage.bot.worker.wake(row.id)
    done = await vip.in_state(RequestState.DONE)
    with pytest.raises(BadInput):
        await approvals.review(done, BO, " ")
    with pytest.raises(NotDecided, match="closed by another tenant admin"):
        await approvals.review(done, OLIVE, "fine")
    await approvals.review(done, BO, "fine")


class _Callback:
    """People can be sent to Microsoft, and *signed_in* says when they last came back."""

    has_callback = True

    def __init__(self, signed_in: datetime | None = None) -> None:
        self.signed_in = signed_in

    def last_fresh(self, slack: SlackUser) -> datetime | None:
        return self.signed_in


async def test_a_stolen_slack_session_breaks_no_glass_where_an_approver_would_have_to_sign_in(vip: Vip) -> None:
    now, row = SystemClock().now(), await vip.asked_by("ana")
    assert row.plan is not None
    row = replace(row, plan=replace(row.plan, sensitive=True))
    for signed_in in (None, now - timedelta(minutes=11)):
        guarded = replace(vip.stage.bot.approvals, sign_ins=_Callback(signed_in))
        with pytest.raises(SignInFirst):
            await guarded.may_break_glass(row, ANA)
        with pytest.raises(SignInFirst):
            await guarded.break_glass(row, ANA, "no time")

    fresh = replace(vip.stage.bot.approvals, sign_ins=_Callback(now))
    assert (await fresh.break_glass(row, ANA, "no time")).state is RequestState.READY


# --- what stopped between two steps -----------------------------------------------------------------------------------


async def _stopped(vip: Vip) -> Request:
    """A request that Bo approved and that stopped on its way."""
    row = await vip.stage.bot.approvals.approve(await vip.want_settings(15), BO)
    return await vip.stage.bot.storage.requests.save(
        replace(row, state=RequestState.FAILED, answer={"go_on": True}, finished_at=SystemClock().now())
    )


async def test_only_who_could_have_asked_for_all_of_it_goes_on_with_what_stopped(vip: Vip) -> None:
    approvals, operators = vip.stage.bot.approvals, vip.stage.bot.storage.operators
    stopped = await _stopped(vip)
    sales = await operators.add_scope("Sales", SALES, by=SHELL)
    await operators.grant(OLIVE, "tenant-admin", scope_id=sales.id, by=SHELL, reason="test", emergency=True)
    for somebody in (OLIVE, AUDREY):
        with pytest.raises(NotDecided, match="You may not use"):
            await approvals.may_go_on(stopped, somebody)

    assert (await approvals.may_go_on(stopped, ANA)).name == "Ana Ruiz"


async def test_what_stopped_does_not_go_on_for_an_approver_who_was_demoted(vip: Vip) -> None:
    operators = vip.stage.bot.storage.operators
    stopped = await _stopped(vip)
    await operators.grant(AUDREY, "tenant-admin", by=SHELL, reason="test", emergency=True)
    await operators.revoke(BO, "tenant-admin", by=SHELL, reason="test")

    with pytest.raises(NotDecided, match="Bo Lind approved it, but may not do so any more"):
        await vip.stage.bot.approvals.may_go_on(stopped, ANA)


async def test_what_is_being_undone_does_not_go_on_unless_the_undoing_was_denied(vip: Vip) -> None:
    approvals, requests = vip.stage.bot.approvals, vip.stage.bot.storage.requests
    stopped = await _stopped(vip)
    undo = await vip.want_settings(30 + 1)
    stopped = await requests.save(replace(stopped, answer={**stopped.answer, "undo": undo.id}))
    with pytest.raises(NotDecided, match="being undone"):
        await approvals.may_go_on(stopped, ANA)

    await approvals.deny(undo, BO, "not now")
    assert await approvals.may_go_on(stopped, ANA)
