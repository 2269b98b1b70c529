"""Whether an operator is still one of us, in Entra and in Slack."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from bot.errors import CannotTell, NoLonger
from bot.model import Operator, SlackUser
from bot.standing import AT_ONCE, WRITES, Finding, Standing
from tests.clock import ManualClock
from tests.tenant import NOBODY, PaperTenant, refused

OLIVE = Operator("o1", SlackUser("T1", "U1"), "a1", "olive@contoso.com", "Olive Hart")
DEACTIVATED = Finding("has left Slack: the account there is deactivated", "deleted")
GUEST = Finding("is a guest in Slack", "is_restricted", left=False)


@dataclass
class PaperSlack:
    """Says of everybody the same."""

    says: Finding | Exception | None = None

    async def active(self, slack: SlackUser, fresh: timedelta) -> Finding | None:
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


@dataclass
class Scene:
    clock: ManualClock = field(default_factory=ManualClock)
    slack: PaperSlack = field(default_factory=PaperSlack)
    tenant: PaperTenant = field(default_factory=lambda: PaperTenant({"users/a1": {"id": "a1", "accountEnabled": True}}))
    gone: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.standing = Standing(
            clock=self.clock,
            directory=self.tenant,
            slack=self.slack,
            on_left=lambda operator, finding: self.gone.append((operator.id, finding.why)),
        )

    async def why_not(self, fresh: timedelta = WRITES, operator: Operator = OLIVE) -> str:
        with pytest.raises(NoLonger) as refusal:
            await self.standing.check(operator, fresh=fresh)
        return str(refusal.value)

    @property
    def reads(self) -> int:
        return len(self.tenant.asked)


async def test_many_decisions_at_once_share_one_read_and_it_counts_for_five_minutes() -> None:
    scene = Scene()

    await asyncio.gather(*(scene.standing.check(OLIVE, fresh=WRITES) for _ in range(20)))
    scene.clock.advance(WRITES.total_seconds() - 1)
    await scene.standing.check(OLIVE, fresh=WRITES)
    assert scene.reads == 1

    scene.clock.advance(1)
    await scene.standing.check(OLIVE, fresh=WRITES)
    assert scene.reads == 2


async def test_an_approval_takes_nothing_that_was_read_before() -> None:
    scene = Scene()
    await scene.standing.check(OLIVE, fresh=WRITES)
    scene.tenant.answers["users/a1"] = {"id": "a1", "accountEnabled": False}

    said = await scene.why_not(AT_ONCE)

    assert "Olive Hart cannot sign in" in said
    assert "tenant admin" in said
    assert scene.gone == [("o1", "entra_disabled")]


@pytest.mark.parametrize(
    ("account", "slack", "why"),
    [
        pytest.param({"accountEnabled": False}, None, "entra_disabled", id="disabled"),
        pytest.param(NOBODY, None, "entra_deleted", id="deleted"),
        pytest.param({"accountEnabled": True}, DEACTIVATED, "deleted", id="deactivated in Slack"),
        pytest.param(refused(403, "Authorization_RequestDenied"), DEACTIVATED, "deleted", id="Entra cannot tell"),
        pytest.param({"accountEnabled": False}, CannotTell("?"), "entra_disabled", id="Slack cannot tell"),
    ],
)
async def test_whoever_is_gone_on_either_side_has_left(account: Any, slack: Any, why: str) -> None:
    scene = Scene()
    scene.tenant.answers["users/a1"] = account
    scene.slack.says = slack

    await scene.why_not()

    assert scene.gone == [("o1", why)]


@pytest.mark.parametrize(
    ("account", "slack"),
    [
        pytest.param(refused(403, "Authorization_RequestDenied"), None, id="Graph refuses"),
        pytest.param(refused(404, "UnknownError"), None, id="a wrong address is nobody's end"),
        pytest.param({"id": "a1"}, None, id="Graph does not show it"),
        pytest.param({"accountEnabled": None}, None, id="Graph shows nothing"),
        pytest.param({"accountEnabled": True}, CannotTell("Slack does not say."), id="Slack does not answer"),
    ],
)
async def test_what_cannot_be_read_refuses_and_accuses_nobody(account: Any, slack: Any) -> None:
    scene = Scene()
    scene.tenant.answers["users/a1"] = account
    scene.slack.says = slack

    with pytest.raises(CannotTell):
        await scene.standing.check(OLIVE, fresh=WRITES)

    assert scene.gone == []


async def test_a_guest_is_refused_but_has_not_left() -> None:
    scene = Scene(slack=PaperSlack(GUEST))

    assert "Olive Hart is a guest" in await scene.why_not()
    assert scene.gone == []


async def test_who_was_put_right_is_one_of_us_at_the_next_look() -> None:
    scene = Scene()
    scene.tenant.answers["users/a1"] = {"accountEnabled": False}
    await scene.why_not()

    scene.tenant.answers["users/a1"] = {"accountEnabled": True}

    await scene.standing.check(OLIVE, fresh=WRITES)


async def test_without_an_account_only_slack_is_asked() -> None:
    scene = Scene()

    await scene.standing.check(replace(OLIVE, account_id=None), fresh=WRITES)

    assert scene.reads == 0
