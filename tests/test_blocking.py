"""A request for which no session could be opened: what is found out about it, once, and how it runs again, once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bot import story
from bot.blocking import CONFIRMED_FOR, OPEN_FOR, SAME, Blocking, Findings
from bot.diagnosis import Blocked, Cause
from bot.errors import (
    BadInput,
    Conflict,
    LatchkeyError,
    Retry,
    SessionNotOpened,
    SignInCategory,
    SignInFailed,
    VaultProblem,
)
from bot.model import (
    NOBODY,
    AuditRecord,
    Author,
    Identity,
    IdentityKind,
    Mode,
    Operator,
    Origin,
    Request,
    RequestState,
    Secret,
    SlackUser,
    Target,
    TargetKind,
)
from bot.obstacle import BLOCKED, RETRIED, Obstacle, Outcome, Phase
from storage.audit import AuditTrail
from storage.database import Database
from storage.inbox import Inbox
from storage.outbox import Outbox
from storage.requests import Requests
from storage.settings import Settings
from tests.clock import ManualClock

OLIVE = Operator("olive", SlackUser("T1", "UOLIVE"), name="Olive Hart")
BO = Operator("bo", SlackUser("T1", "UBO"), name="Bo Larsen")
ACCOUNT = Identity(IdentityKind.SERVICE_ACCOUNT, "459f7821-4a0a-40d0-adb1-e0b6c92bfdd7", "latchkey@contoso.com")
ADELE = Target(TargetKind.USER, "f142e421-ec74-44a4-9ec6-636e45e4a66d", "Adele Vance", "adele@contoso.com")


def refused(code: int, category: SignInCategory) -> SignInFailed:
    return SignInFailed(
        "It was refused. Do something.",
        category=category,
        retry=Retry.AFTER_FIX,
        code=code,
        correlation_id="c0ffee",
        what_if_helps=category is not SignInCategory.CREDENTIALS,
    )


NEEDS_MFA = refused(50079, SignInCategory.MFA)
WRONG = refused(50126, SignInCategory.CREDENTIALS)


@dataclass
class Entra:
    """Signs in unless it is told how that ends, and knows what blocks. What is asked of it waits for `may_answer`."""

    clock: ManualClock
    policy: str = "MFA for all admins"
    refuses: LatchkeyError | None = None
    tries: int = 0
    looks: int = 0
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.may_answer.set()

    async def of(self, error: LatchkeyError, identity: Identity | None) -> Blocked | None:
        self.looks += 1
        await self.may_answer.wait()
        if not self.policy:
            return None
        cause = Cause(self.policy, "p1", "demands multifactor authentication", "It is about admins.", ("exclude it",))
        return Blocked(
            f"Blocked by “{self.policy}”",
            str(error),
            50079,
            "c0ffee",
            "x",
            "service-account",
            self.clock.now(),
            (cause,),
        )

    async def try_out(self) -> None:
        self.tries += 1
        await self.may_answer.wait()
        if self.refuses:
            raise self.refuses


@dataclass
class Scene:
    clock: ManualClock
    db: Database
    requests: Requests
    settings: Settings
    entra: Entra
    woken: list[str] = field(default_factory=list)
    blocking: Blocking = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """As after a restart."""
        findings = Findings(self.clock, self.entra)
        self.blocking = Blocking(
            self.clock, self.settings, self.requests, findings, self.entra, self.woken.append, lambda at: f"{at:%H:%M}"
        )

    async def stopped(self, error: LatchkeyError = NEEDS_MFA, **more: Any) -> Request:
        """A request of Olive's as the runner leaves it: failed, and with what it met in its row."""
        now, number = self.clock.now(), len(await self.rows())
        defaults: dict[str, Any] = {
            "command": "/m365 block-sign-in",
            "action": "block-sign-in",
            "state": RequestState.FAILED,
            "target": ADELE,
            "reason": "left",
            "digest": "the plan",
            "started_at": now,
            "finished_at": now,
            "sentence": "The management session could not be opened.",
        }
        known = {"id": f"{number:032x}", "operator_id": "olive", "slack": OLIVE.slack, "origin": Origin("C1")}
        request = Request(**{**defaults, **known, "created_at": now, **more})
        met = await self.blocking.met(SessionNotOpened(error), request)
        answer = {"again": True, **request.answer, **({BLOCKED: met.to_json()} if met else {})}
        row = replace(request, answer=answer, due_at=now if met else None)
        return await self.requests.add(row, say=story.messages(row, now))

    async def known(self, **more: Any) -> Request:
        """The same, with its card."""
        request = await self.stopped(**more)
        await self.blocking.go_on(request.id)
        return await self.now(request)

    async def tested(self, request: Request, by: Operator = BO) -> Request:
        """*Test again*, to its end."""
        await self.blocking.test(await self.now(request), by)
        await self.blocking.go_on(request.id)
        return await self.now(request)

    async def now(self, request: Request) -> Request:
        found = await self.requests.find(request.id)
        assert found is not None
        return found

    async def rows(self) -> list[Request]:
        ids = await self.db.read(lambda it: [id_ for (id_,) in it.execute("SELECT id FROM requests ORDER BY rowid")])
        return [found for id_ in ids if (found := await self.requests.find(id_))]

    async def others(self) -> list[Request]:
        """What was asked for because of the first request."""
        return (await self.rows())[1:]

    async def said(self, view: str = "blocked") -> list[str]:
        sql = "SELECT key FROM outbox WHERE view = ? ORDER BY position"
        return await self.db.read(lambda it: [key for (key,) in it.execute(sql, (view,))])

    async def audited(self) -> list[str]:
        """The kinds of what was written down about requests."""
        sql = "SELECT kind FROM audit WHERE request_id IS NOT NULL ORDER BY seq"
        return await self.db.read(lambda it: [kind for (kind,) in it.execute(sql)])


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    clock = ManualClock()
    async with Database(tmp_path / "data" / "latchkey.db", tenant="t", clock=clock) as db:
        trail = AuditTrail(db, Secret("an audit key that only tests ever use"))
        settings = Settings(db, trail)
        advanced = replace(
            await settings.current(),
            mode=Mode.ADVANCED,
            identity_kind=ACCOUNT.kind,
            identity_id=ACCOUNT.id,
            identity_name=ACCOUNT.name,
        )
        await settings.change(advanced, by=Author(login="test"), reason="test")
        scene = Scene(clock, db, Requests(db, trail, Inbox(db), Outbox(db)), settings, Entra(clock))
        yield scene
        scene.entra.may_answer.set()


def obstacle(request: Request) -> Obstacle:
    found = Obstacle.of(request)
    assert found is not None
    return found


# --- the card -------------------------------------------------------------------------------------------------------


async def test_nothing_is_said_before_it_is_known_and_then_one_card(scene: Scene) -> None:
    request = await scene.stopped()
    assert await scene.said() == []

    await scene.blocking.go_on(request.id)
    await scene.blocking.go_on(request.id)

    row = await scene.now(request)
    assert await scene.said() == [f"blocked:{request.id}"]
    assert Blocked.from_json(obstacle(row).found).headline == "Blocked by “MFA for all admins”"
    assert (scene.entra.looks, row.due_at) == (1, scene.clock.now() + OPEN_FOR)


async def test_a_process_that_dies_before_the_card_leaves_a_row_that_is_due(scene: Scene) -> None:
    request = await scene.stopped()
    scene.start()

    assert [row.id for row in await scene.requests.due(scene.clock.now())] == [request.id]
    await scene.blocking.go_on(request.id)
    assert await scene.said() == [f"blocked:{request.id}"]


@pytest.mark.parametrize(
    "error", [WRONG, VaultProblem("Key Vault cannot be reached.", reason="unreachable")], ids=["password", "vault"]
)
async def test_what_no_policy_explains_is_not_looked_into(scene: Scene, error: LatchkeyError) -> None:
    request = await scene.stopped(error)

    assert (request.due_at, Obstacle.of(request)) == (None, None)
    assert (scene.entra.looks, await scene.said()) == (0, [])


async def test_somebodys_own_session_is_not_looked_into(scene: Scene) -> None:
    await scene.settings.change(
        replace(await scene.settings.current(), mode=Mode.DEFAULT), by=Author(login="test"), reason="test"
    )
    assert Obstacle.of(await scene.stopped()) is None


async def test_where_nothing_is_found_the_failure_has_said_it_all(scene: Scene) -> None:
    scene.entra.policy = ""
    row = await scene.known()

    assert (Obstacle.of(row), row.due_at, await scene.said()) == (None, None, [])


async def test_fifty_who_wait_for_the_same_session_ask_microsoft_once(scene: Scene) -> None:
    requests = [await scene.stopped() for _ in range(50)]
    await asyncio.gather(*(scene.blocking.go_on(request.id) for request in requests))
    assert (scene.entra.looks, len(await scene.said())) == (1, 50)

    scene.clock.advance(SAME.total_seconds() + 1)
    await scene.known()
    assert scene.entra.looks == 2


async def test_who_looks_many_people_up_in_vain_has_one_card_until_it_says_something_else(scene: Scene) -> None:
    reads: dict[str, Any] = {"started_at": None, "action": "show-user", "command": "/m365 show-user"}
    mine = [await scene.stopped(**reads) for _ in range(20)]
    elsewhere = await scene.stopped(**reads, origin=Origin("C2"))
    theirs = await scene.stopped(**reads, slack=BO.slack)
    await asyncio.gather(*(scene.blocking.go_on(request.id) for request in (*mine, elsewhere, theirs)))
    assert len(await scene.said()) == 3

    scene.clock.advance(SAME.total_seconds() + 1)
    scene.entra.policy = "Only from the office"
    await scene.known(**reads)
    assert len(await scene.said()) == 4


async def test_a_look_that_takes_long_is_shared_however_long(scene: Scene) -> None:
    scene.entra.may_answer.clear()
    looking = [asyncio.create_task(scene.blocking.go_on((await scene.stopped()).id))]
    while not scene.entra.looks:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0)
    scene.clock.advance(10 * SAME.total_seconds())
    looking.append(asyncio.create_task(scene.blocking.go_on((await scene.stopped()).id)))
    for _ in range(20):
        await asyncio.sleep(0)
    scene.entra.may_answer.set()
    await asyncio.gather(*looking)
    assert (scene.entra.looks, len(await scene.said())) == (1, 2)


async def test_what_somebody_presses_meanwhile_stays(scene: Scene) -> None:
    request = await scene.stopped()
    scene.entra.may_answer.clear()
    looking = asyncio.create_task(scene.blocking.go_on(request.id))
    while not scene.entra.looks:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0)
    await scene.requests.save(replace(request, answer={**request.answer, RETRIED: "pressed"}))
    scene.entra.may_answer.set()
    await looking

    row = await scene.now(request)
    assert (row.answer[RETRIED], obstacle(row).phase) == ("pressed", Phase.KNOWN)


async def test_what_is_looked_at_again_by_itself_still_is(scene: Scene) -> None:
    later = scene.clock.now() + timedelta(minutes=10)
    request = await scene.stopped(state=RequestState.UNKNOWN)
    met = replace(obstacle(request), then=later)
    await scene.requests.save(met.within(request))
    await scene.blocking.go_on(request.id)

    assert (await scene.now(request)).due_at == later
    scene.entra.refuses = NEEDS_MFA
    assert (await scene.tested(request)).due_at == later


# --- testing again --------------------------------------------------------------------------------------------------


async def test_once_it_works_the_request_runs_again_for_whoever_asked(scene: Scene) -> None:
    request = await scene.known()
    row = await scene.tested(request)

    (again,) = await scene.others()
    assert (again.state, again.slack, again.operator_id) == (RequestState.READY, OLIVE.slack, "olive")
    assert (again.target, again.reason, again.digest, again.approval) == (ADELE, "left", "the plan", None)
    assert (again.id, scene.woken) == (row.answer[RETRIED], [request.id, again.id])
    assert (obstacle(row).phase, obstacle(row).outcome, obstacle(row).by) == (Phase.OVER, Outcome.RUNS, "Bo Larsen")
    assert (scene.entra.tries, row.due_at) == (1, None)
    assert await scene.audited() == ["blocked.tested", "blocked.result", "request.again"]


async def test_once_everybody_works_with_their_own_account_nobody_has_to_sign_in(scene: Scene) -> None:
    request = await scene.known()
    own = replace(await scene.settings.current(), mode=Mode.DEFAULT)
    await scene.settings.change(own, by=Author(login="test"), reason="test")
    row = await scene.tested(request)

    assert (obstacle(row).phase, obstacle(row).outcome) == (Phase.OVER, Outcome.RUNS)
    assert (obstacle(row).identity, scene.entra.tries) == (NOBODY, 0)


async def test_two_who_press_at_once_run_it_once(scene: Scene) -> None:
    request = await scene.known()
    pressed = await asyncio.gather(
        scene.blocking.test(request, OLIVE), scene.blocking.test(request, BO), return_exceptions=True
    )
    assert [type(each) for each in pressed if each] == [Conflict]
    with pytest.raises(BadInput, match="pressed a moment ago"):
        await scene.blocking.test(await scene.now(request), BO)

    await scene.blocking.go_on(request.id)
    await scene.blocking.go_on(request.id)
    assert len(await scene.others()) == 1
    with pytest.raises(BadInput, match="has been tried again already"):
        await scene.blocking.test(await scene.now(request), BO)


async def test_a_press_of_try_again_and_a_test_run_it_once(scene: Scene) -> None:
    request = await scene.known()
    await scene.blocking.test(request, BO)
    row = await scene.now(request)
    await scene.requests.save(replace(row, answer={**row.answer, RETRIED: "pressed"}))
    await scene.blocking.go_on(request.id)

    assert await scene.others() == []
    assert obstacle(await scene.now(request)).phase is Phase.OVER


@pytest.mark.parametrize("phase", [Phase.TESTING, Phase.WORKS])
async def test_a_process_that_dies_while_it_tests_is_taken_up_and_runs_it_once(scene: Scene, phase: Phase) -> None:
    request = await scene.known()
    await scene.blocking.test(request, BO)
    row = await scene.now(request)
    if phase is Phase.WORKS:  # it had named the next one, and perhaps made it
        works = replace(obstacle(row), phase=phase).within(row)
        await scene.requests.save(replace(works, answer={**works.answer, RETRIED: "a" * 32}))
    scene.start()

    assert request.id in [due.id for due in await scene.requests.due(scene.clock.now())]
    await scene.blocking.go_on(request.id)
    row = await scene.now(request)
    await scene.requests.save(replace(obstacle(row), phase=Phase.WORKS).within(row))  # died before it wrote the end
    await scene.blocking.go_on(request.id)
    assert len(await scene.others()) == 1


async def test_while_it_still_stands_the_card_says_what_stands_now(scene: Scene) -> None:
    request = await scene.known()
    scene.clock.advance(5)
    scene.entra.refuses, scene.entra.policy = refused(53003, SignInCategory.CONDITIONAL_ACCESS), "Only from the office"
    row = await scene.tested(request)

    met = obstacle(row)
    assert Blocked.from_json(met.found).headline == "Blocked by “Only from the office”"
    assert (met.phase, met.by, met.at) == (Phase.KNOWN, "Bo Larsen", scene.clock.now())
    assert (await scene.said(), await scene.others()) == ([f"blocked:{request.id}"], [])


async def test_a_test_is_looked_into_afresh_however_soon(scene: Scene) -> None:
    scene.entra.refuses = NEEDS_MFA
    request = await scene.known()
    scene.clock.advance(1)
    await scene.tested(request)
    assert scene.entra.looks == 2


async def test_where_something_else_stands_in_the_way_the_card_says_that(scene: Scene) -> None:
    request = await scene.known()
    scene.entra.refuses = WRONG
    row = await scene.tested(request)

    assert (obstacle(row).found, str(obstacle(row).failure)) == (None, "It was refused. Do something.")
    assert scene.entra.looks == 1


async def test_where_microsoft_could_not_even_be_asked_no_policy_is_named(scene: Scene) -> None:
    request = await scene.known()
    scene.entra.refuses = VaultProblem("Key Vault cannot be reached.", reason="unreachable")
    row = await scene.tested(request)

    assert (obstacle(row).phase, obstacle(row).found) == (Phase.KNOWN, None)
    assert (str(obstacle(row).failure), scene.entra.looks) == ("Key Vault cannot be reached.", 1)


async def test_what_may_be_done_already_is_looked_at_and_not_done_again(scene: Scene) -> None:
    later = scene.clock.now() + timedelta(minutes=10)
    request = await scene.stopped(state=RequestState.UNKNOWN)
    await scene.requests.save(replace(obstacle(request), then=later).within(request))
    await scene.blocking.go_on(request.id)
    row = await scene.tested(request)

    assert (await scene.others(), obstacle(row).phase, row.due_at) == ([], Phase.OVER, later)


async def test_what_was_sent_in_part_is_asked_about(scene: Scene) -> None:
    request = await scene.known()
    facts = {"call_index": 0, "outcome": "unknown"}
    started = AuditRecord("attempt.started", request_id=request.id, attempt_id="a1", facts=facts)
    ended = replace(started, kind="attempt.finished")
    await scene.requests.save(request, audit=[started, ended])
    await scene.tested(request)

    (again,) = await scene.others()
    assert again.state is RequestState.AWAITING_CONFIRMATION
    assert "may have been done" in again.sentence


async def test_what_was_typed_long_ago_is_asked_about_though_nobody_was_looked_up(scene: Scene) -> None:
    typed = {"target": None, "digest": None, "typed": "adele@contoso.com"}
    fresh, old = await scene.known(**typed), await scene.known(**typed)
    await scene.tested(fresh)
    scene.clock.advance(CONFIRMED_FOR.total_seconds() + 1)
    await scene.tested(old)

    states = [again.state for again in (await scene.rows())[2:]]
    assert states == [RequestState.RECEIVED, RequestState.AWAITING_CONFIRMATION]


async def test_what_was_agreed_to_long_ago_is_asked_about(scene: Scene) -> None:
    request = await scene.known()
    scene.clock.advance(CONFIRMED_FOR.total_seconds() + 1)
    row = await scene.tested(request)

    (again,) = await scene.others()
    assert (again.state, again.answer) == (RequestState.AWAITING_CONFIRMATION, {"ask": True})
    assert "09:00" in again.sentence
    assert obstacle(row).outcome is Outcome.ASKS


async def test_what_had_not_been_agreed_to_waits_for_its_form(scene: Scene) -> None:
    request = await scene.known(started_at=None, form="V1", command="/m365 reset-password", action="reset-password")
    row = await scene.tested(request)

    (again,) = await scene.others()
    assert (again.state, again.form) == (RequestState.AWAITING_CONFIRMATION, None)
    assert obstacle(row).outcome is Outcome.FORM
    assert await scene.said("continue") == [f"continue:{again.id}"]


async def test_what_only_reads_begins_anew(scene: Scene) -> None:
    request = await scene.known(
        started_at=None, target=None, typed="adele", action="show-user", command="/m365 show-user"
    )
    await scene.tested(request)

    (again,) = await scene.others()
    assert (again.state, again.typed) == (RequestState.RECEIVED, "adele")


async def test_what_was_agreed_about_opening_the_session_still_counts(scene: Scene) -> None:
    request = await scene.known(answer={"may_open": True})
    await scene.tested(request)

    assert (await scene.others())[0].answer["may_open"] is True


async def test_what_is_stopped_time_and_again_is_asked_about_by_when_it_was_wanted(scene: Scene) -> None:
    first = await scene.known()
    scene.clock.advance(CONFIRMED_FOR.total_seconds() * 2 / 3)
    await scene.tested(first)
    (second,) = await scene.others()
    assert second.state is RequestState.READY

    row = await scene.known(answer=second.answer)
    scene.clock.advance(CONFIRMED_FOR.total_seconds() * 2 / 3)
    await scene.tested(row)
    assert (await scene.rows())[-1].state is RequestState.AWAITING_CONFIRMATION


async def test_what_stopped_between_two_steps_is_not_asked_for_anew(scene: Scene) -> None:
    request = await scene.known()
    row = await scene.requests.save(replace(request, answer={**request.answer, "again": False, "go_on": True}))
    row = await scene.tested(row)

    assert (await scene.others(), obstacle(row).phase) == ([], Phase.OVER)


# --- by itself ------------------------------------------------------------------------------------------------------


async def test_once_anybody_signs_in_every_card_says_so(scene: Scene) -> None:
    first, second = await scene.known(), await scene.known()
    keeping = asyncio.create_task(scene.blocking.keep_up())
    scene.clock.advance(60)
    scene.blocking.well()
    while await scene.requests.stopped():  # noqa: ASYNC110 - the database tells nobody
        await asyncio.sleep(0)
    keeping.cancel()

    assert obstacle(await scene.now(first)).at == scene.clock.now()
    assert (await scene.requests.stopped(), await scene.rows()) == (
        [],
        [await scene.now(first), await scene.now(second)],
    )
    await scene.tested(first)
    assert len(await scene.rows()) == 3


async def test_after_a_day_a_card_is_left_alone_and_can_still_be_tested(scene: Scene) -> None:
    request = await scene.known()
    scene.clock.advance(OPEN_FOR.total_seconds() + 1)
    await scene.blocking.go_on(request.id)

    row = await scene.now(request)
    assert (row.due_at, obstacle(row).phase) == (None, Phase.KNOWN)
    await scene.tested(row)
    assert len(await scene.others()) == 1


async def test_a_fault_of_ours_before_it_runs_again_leaves_it_to_be_tested_again(scene: Scene) -> None:
    request = await scene.known()
    await scene.blocking.test(request, BO)
    row = await scene.now(request)
    works = replace(obstacle(row), phase=Phase.WORKS).within(row)
    await scene.requests.save(replace(works, answer={**works.answer, RETRIED: "a" * 32}))
    await scene.blocking.give_up(request.id)

    row = await scene.now(request)
    assert (obstacle(row).phase, row.due_at) == (Phase.OVER, None)
    await scene.tested(request)
    assert len(await scene.others()) == 1


async def test_a_fault_of_ours_leaves_a_card_and_nothing_due(scene: Scene) -> None:
    request = await scene.stopped()
    await scene.blocking.give_up(request.id)

    row = await scene.now(request)
    assert (obstacle(row).phase, obstacle(row).found) == (Phase.KNOWN, None)
    assert row.due_at == scene.clock.now() + OPEN_FOR
