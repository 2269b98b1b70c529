"""The management session: its states, its one opening for everybody, its ends, and what is worthless afterwards."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.errors import NotPossible, SessionEnded, SessionNotOpened, StorageProblem, VaultProblem
from bot.model import (
    AuditRecord,
    Call,
    IdentityKind,
    Mode,
    Secret,
    Session,
    SessionState,
    Step,
    StepStatus,
    TenantSettings,
)
from bot.ports import Graph, Sent, Token, TokenSource
from bot.session import Acting, Event, ManagementSession, SessionOff, next_state
from tests.clock import ManualClock

SET_UP = TenantSettings(
    version=1,
    mode=Mode.ADVANCED,
    identity_kind=IdentityKind.SERVICE_ACCOUNT,
    identity_id="svc",
    identity_name="svc@contoso.com",
)


@dataclass
class Tenant:
    """A tenant that answers one question, who holds which role, and takes any call; each asks for the token first."""

    sent: list[int] = field(default_factory=list)
    made: int = 0

    def graph(self, tokens: TokenSource) -> Graph:
        self.made += 1
        return OneGraph(self, tokens, self.made)


@dataclass
class OneGraph:
    tenant: Tenant
    tokens: TokenSource
    number: int

    async def get(self, *path: str, query: Any = None, eventual: bool = False) -> dict[str, Any]:
        await self.tokens.token()
        return {}

    async def collect(self, *path: str, query: Any = None, eventual: bool = False, limit: Any = None) -> list[Any]:
        await self.tokens.token()
        return [{"roleTemplateId": "role"}]

    async def ask(self, *path: str, body: Any) -> dict[str, Any]:
        return {}

    async def send(self, call: Call, *, attempt_id: str, generated: Secret | None = None) -> Sent:
        await self.tokens.token()
        self.tenant.sent.append(self.number)
        return Sent(204, None)


@dataclass
class Account:
    """An identity whose sign-in waits until it may go on, and fails when told to. `at_once` are the openings."""

    clock: ManualClock
    sign_ins: int = 0
    at_once: int = 0
    most_at_once: int = 0
    fails: bool = False
    may_go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def sign_in(self, show: Callable[[str, str], None], *, claims: str | None = None) -> Token:
        self.sign_ins += 1
        opens = hasattr(show, "__self__")  # a renewal shows its steps to nobody
        self.at_once += opens
        self.most_at_once = max(self.most_at_once, self.at_once)
        show("vault", "Reading the credential from Key Vault")
        try:
            await self.may_go_on.wait()
        finally:
            self.at_once -= opens
        if self.fails:
            raise VaultProblem("Key Vault cannot be reached. Try again.", reason="unreachable")
        return Token(Secret(f"token {self.sign_ins}"), self.clock.now() + timedelta(hours=1))


@dataclass
class Memory:
    """The settings and the log of sessions."""

    settings: TenantSettings = SET_UP
    saved: list[Session] = field(default_factory=list)
    audited: list[str] = field(default_factory=list)
    alive: set[int] = field(default_factory=set)
    """The generations of the session that is on, as the rows tell it."""
    durable: asyncio.Event = field(default_factory=asyncio.Event)
    """Set unless it takes a while until a row is durable."""

    def __post_init__(self) -> None:
        self.durable.set()

    async def current(self) -> TenantSettings:
        return self.settings

    async def last(self) -> list[Session]:
        return list({session.owner: session for session in self.saved}.values())

    async def save(self, session: Session, *audit: AuditRecord) -> None:
        self.saved.append(session)
        self.audited.extend(record.kind for record in audit)
        if session.state is not SessionState.ON or self.audited[-1] == "session.opened":
            self.alive.clear()
        if session.state is SessionState.ON:
            self.alive.add(session.generation)
        await asyncio.sleep(0)
        await self.durable.wait()


@dataclass
class Scene:
    clock: ManualClock = field(default_factory=ManualClock)
    memory: Memory = field(default_factory=Memory)
    tenant: Tenant = field(default_factory=Tenant)

    def __post_init__(self) -> None:
        self.account = Account(self.clock)
        self.account.may_go_on.set()
        self.session = self.another_process()

    def another_process(self) -> ManagementSession:
        return ManagementSession(
            clock=self.clock,
            settings=self.memory,
            sessions=self.memory,
            identity_of=lambda settings: self.account,
            tenant=self.tenant,
            zone=ZoneInfo("Europe/London"),
        )

    def is_in(self, state: SessionState) -> bool:
        return self.session.current.state is state

    async def passes(self, time: timedelta) -> None:
        """Let time pass, and whoever it wakes get on with it."""
        self.clock.advance(time.total_seconds())
        for _ in range(5):
            await asyncio.sleep(0)

    async def ensure(self, may_open: bool = False) -> Acting:
        return await self.session.ensure(opened_for="r1", tell=nobody, may_open=may_open)


async def nobody(steps: tuple[Step, ...]) -> None:
    """Listens to no steps."""


@pytest.fixture
async def scene() -> Any:
    scene = Scene()
    await scene.session.start()
    yield scene
    await scene.session.close()


# --- the table -------------------------------------------------------------------------------------------------------

LEADS_TO = {
    (SessionState.OFF, Event.ENABLE): SessionState.ENABLING,
    (SessionState.OFF, Event.SWITCH): SessionState.SWITCHING,
    (SessionState.ENABLING, Event.OPENED): SessionState.ON,
    (SessionState.ENABLING, Event.FAILED): SessionState.DEGRADED,
    (SessionState.ENABLING, Event.ENDED): SessionState.OFF,
    (SessionState.ON, Event.RENEWED): SessionState.ON,
    (SessionState.ON, Event.ENDED): SessionState.OFF,
    (SessionState.ON, Event.LOST): SessionState.DEGRADED,
    (SessionState.ON, Event.SWITCH): SessionState.SWITCHING,
    (SessionState.DEGRADED, Event.ENABLE): SessionState.ENABLING,
    (SessionState.DEGRADED, Event.ENDED): SessionState.OFF,
    (SessionState.DEGRADED, Event.SWITCH): SessionState.SWITCHING,
    (SessionState.SWITCHING, Event.SWITCHED): SessionState.OFF,
    (SessionState.SWITCHING, Event.FAILED): SessionState.DEGRADED,
    (SessionState.SWITCHING, Event.ENDED): SessionState.OFF,
}


@pytest.mark.parametrize(("state", "event"), [*product(SessionState, Event)])
def test_every_state_knows_what_every_event_means(state: SessionState, event: Event) -> None:
    assert next_state(state, event) is LEADS_TO.get((state, event))


# --- opening ---------------------------------------------------------------------------------------------------------


async def test_all_who_wait_share_one_opening(scene: Scene) -> None:
    scene.account.may_go_on.clear()
    waiting = [asyncio.create_task(scene.ensure()) for _ in range(50)]
    await asyncio.sleep(0)
    scene.account.may_go_on.set()

    rights = await asyncio.gather(*waiting)

    assert scene.account.sign_ins == 1
    assert len({right.session.generation for right in rights}) == 1
    assert scene.memory.audited == ["session.opened"]


async def test_all_who_wait_share_one_failure_and_the_next_tries_afresh(scene: Scene) -> None:
    scene.account.fails = True
    failures = await asyncio.gather(*(scene.ensure() for _ in range(50)), return_exceptions=True)

    assert all(isinstance(failure, SessionNotOpened) for failure in failures)
    assert scene.account.sign_ins == 1
    assert scene.is_in(SessionState.DEGRADED)
    assert scene.session.current.why == "Key Vault cannot be reached. Try again."

    scene.account.fails = False
    await scene.ensure()

    assert scene.account.sign_ins == 2
    assert scene.is_in(SessionState.ON)


async def test_whose_turn_came_after_the_failure_they_waited_for_shares_it(scene: Scene) -> None:
    waiting_since = scene.clock.monotonic()
    scene.clock.advance(1)
    scene.account.fails = True
    with pytest.raises(SessionNotOpened):
        await scene.ensure()
    scene.account.fails = False

    with pytest.raises(SessionNotOpened):
        await scene.session.ensure(opened_for="r2", tell=nobody, waiting_since=waiting_since)
    assert scene.account.sign_ins == 1
    scene.clock.advance(1)
    await scene.session.ensure(opened_for="r3", tell=nobody, waiting_since=scene.clock.monotonic())
    assert scene.account.sign_ins == 2


async def test_the_steps_of_an_opening_are_told_to_each_who_waits(scene: Scene) -> None:
    told: list[tuple[Step, ...]] = []

    async def listen(steps: tuple[Step, ...]) -> None:
        told.append(steps)

    await scene.session.ensure(opened_for="r1", tell=listen)

    titles = [step.title for step in told[-1]]
    assert titles[0] == "Management session was off: opening it with the service account"
    assert titles[1] == "Reading the credential from Key Vault"
    assert titles[-1].startswith("Management session on until ")
    assert {step.status for step in told[-1]} == {StepStatus.DONE}


async def test_a_failed_opening_shows_where_it_failed(scene: Scene) -> None:
    scene.account.fails = True
    told: list[tuple[Step, ...]] = []

    async def listen(steps: tuple[Step, ...]) -> None:
        told.append(steps)

    with pytest.raises(SessionNotOpened, match="could not be opened"):
        await scene.session.ensure(opened_for="r1", tell=listen)

    assert told[-1][-1].status is StepStatus.FAILED


async def test_without_auto_enable_somebody_must_say_so(scene: Scene) -> None:
    scene.memory.settings = replace(SET_UP, auto_enable=False)
    with pytest.raises(SessionOff):
        await scene.ensure()

    assert scene.account.sign_ins == 0
    assert (await scene.ensure(may_open=True)).identity.roles == {"role"}


async def test_before_set_up_nothing_opens(scene: Scene) -> None:
    scene.memory.settings = TenantSettings()
    with pytest.raises(NotPossible, match="not set up"):
        await scene.ensure()


# --- ending ----------------------------------------------------------------------------------------------------------


async def test_it_ends_when_nobody_uses_it(scene: Scene) -> None:
    right = await scene.ensure()
    await scene.passes(timedelta(minutes=30))

    assert scene.is_in(SessionState.OFF)
    assert scene.session.current.why == "Nobody used it for a while."
    with pytest.raises(SessionEnded):
        await right.graph.get("me")


async def test_work_keeps_it_on_up_to_the_absolute_limit(scene: Scene) -> None:
    for _ in range(23):  # every twenty minutes, up to 7 h 40
        await scene.ensure()
        await scene.passes(timedelta(minutes=20))
    assert scene.is_in(SessionState.ON)
    assert scene.account.sign_ins == 1

    await scene.ensure()
    await scene.passes(timedelta(minutes=20))

    assert scene.is_in(SessionState.OFF)
    assert scene.session.current.why == "It reached its time limit."


async def test_extending_moves_the_idle_end_and_never_past_the_limit(scene: Scene) -> None:
    await scene.ensure()
    opened = scene.clock.now()
    extended = await scene.session.extend(by="olive")
    assert extended.on_until == opened + timedelta(hours=2)

    await scene.passes(timedelta(hours=1, minutes=59))
    for _ in range(3):
        await scene.session.extend(by="olive")
        await scene.passes(timedelta(hours=1, minutes=59))
    assert (await scene.session.extend(by="olive")).on_until == opened + timedelta(hours=8)


async def test_what_is_off_cannot_be_extended(scene: Scene) -> None:
    with pytest.raises(NotPossible, match="off"):
        await scene.session.extend(by="olive")


async def test_turning_it_off_while_it_opens_lets_nobody_act(scene: Scene) -> None:
    scene.account.may_go_on.clear()
    waiting = asyncio.create_task(scene.ensure())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await scene.session.end(by="ana")
    scene.account.may_go_on.set()

    with pytest.raises(SessionEnded):
        await waiting
    assert scene.is_in(SessionState.OFF)


async def test_a_restart_ends_what_was_on_and_counts_on(scene: Scene) -> None:
    before = (await scene.ensure()).session.generation
    reborn = scene.another_process()
    await reborn.start()

    assert reborn.current.state is SessionState.OFF
    right = await reborn.ensure(opened_for="r2", tell=nobody)
    assert right.session.generation > before
    await reborn.close()


async def test_once_the_database_is_not_believed_nobody_acts(scene: Scene) -> None:
    right = await scene.ensure()
    await scene.session.forbid("Row 7 of the audit trail was changed.")

    with pytest.raises(SessionEnded):
        await right.graph.get("me")
    with pytest.raises(StorageProblem, match="Row 7"):
        await scene.ensure(may_open=True)


async def test_a_token_near_its_end_is_renewed_in_silence(scene: Scene) -> None:
    right = await scene.ensure()
    await scene.session.extend(by="olive")
    await scene.passes(timedelta(minutes=56))
    await asyncio.gather(*(right.graph.get("me") for _ in range(10)))

    assert scene.account.sign_ins == 2
    assert scene.session.current.generation == right.session.generation


async def test_an_identity_that_can_no_longer_sign_in_ends_the_session_and_the_next_request_tries_afresh(
    scene: Scene,
) -> None:
    right = await scene.ensure()
    await scene.session.extend(by="olive")
    await scene.passes(timedelta(minutes=56))
    scene.account.fails = True
    failures = await asyncio.gather(*(right.graph.get("me") for _ in range(10)), return_exceptions=True)

    assert {type(failure) for failure in failures} <= {SessionNotOpened, SessionEnded}
    assert scene.account.sign_ins == 2
    assert scene.is_in(SessionState.DEGRADED)
    scene.account.fails = False
    assert (await scene.ensure()).session.generation > right.session.generation


# --- renewing --------------------------------------------------------------------------------------------------------


async def test_a_renewed_session_goes_on_and_so_does_what_is_under_way(scene: Scene) -> None:
    before = await scene.ensure()
    seen: list[Session] = []
    scene.session.on_change(seen.append)
    scene.clock.advance(60)
    await scene.session.renew("A new password is in force.")
    after = await scene.ensure()

    assert after.session.generation > before.session.generation
    assert scene.session.current.absolute_until == before.session.absolute_until
    assert scene.session.current.opened_at == before.session.opened_at
    assert [session.state for session in seen] == [SessionState.ON]
    assert scene.memory.audited == ["session.opened", "session.renewed"]
    assert (await token_of(before), await token_of(after)) == ("token 1", "token 2")
    await scene.passes(timedelta(minutes=30))
    assert scene.session.current.why == "Nobody used it for a while."
    assert await allowed(before, after) == []


async def test_what_is_under_way_gets_another_token_by_a_sign_in_of_its_own(scene: Scene) -> None:
    before = await scene.ensure()
    await scene.session.renew("A new password is in force.")
    refused = await tokens_of(before).token()
    await asyncio.gather(*(tokens_of(before).fresh_token(refused, "{}") for _ in range(2)))

    assert (await token_of(before), await token_of(await scene.ensure())) == ("token 3", "token 2")
    scene.account.fails = True
    with pytest.raises(SessionNotOpened):
        await tokens_of(before).fresh_token(await tokens_of(before).token())
    assert scene.is_in(SessionState.ON)
    assert await allowed(before, await scene.ensure()) == [1]


@pytest.mark.parametrize("end", ["off", "switch", "lost", "forbidden", "idle", "another account"])
async def test_however_it_ends_what_was_under_way_before_it_was_renewed_loses_its_right(scene: Scene, end: str) -> None:
    rights = [await scene.ensure()]
    for _ in range(2):
        await scene.session.renew("A new password is in force.")
        rights.append(await scene.ensure())
    assert await allowed(*rights) == [0, 1, 2]
    match end:
        case "off":
            await scene.session.end(by="ana")
        case "switch":
            await scene.session.begin_switch(by="ana")
        case "lost":
            scene.account.fails = True
            with pytest.raises(SessionNotOpened):
                await tokens_of(rights[-1]).fresh_token(await tokens_of(rights[-1]).token())
        case "forbidden":
            await scene.session.forbid("Row 7 of the audit trail was changed.")
        case "idle":
            await scene.passes(timedelta(minutes=31))
        case "another account":
            scene.memory.settings = replace(SET_UP, identity_id="another")
            await scene.session.renew("A new password is in force.")  # nothing is signed in for a session that must end
            assert scene.account.sign_ins == 3
            rights.append(await scene.ensure())

    assert await allowed(*rights) == ([3] if end == "another account" else [])


async def test_a_renewal_that_fails_leaves_everything_as_it_was(scene: Scene) -> None:
    right = await scene.ensure()
    scene.account.fails = True
    with pytest.raises(VaultProblem):
        await scene.session.renew("A new password is in force.")

    assert scene.is_in(SessionState.ON)
    assert await scene.ensure() is right
    assert await allowed(right) == [0]
    assert scene.memory.audited == ["session.opened"]


async def test_what_is_off_or_failed_is_not_renewed_and_opens_afresh(scene: Scene) -> None:
    await scene.session.renew("A new password is in force.")
    assert scene.is_in(SessionState.OFF)
    scene.account.fails = True
    with pytest.raises(SessionNotOpened):
        await scene.ensure()
    await scene.session.renew("A new password is in force.")

    assert scene.is_in(SessionState.DEGRADED)
    assert scene.account.sign_ins == 1


async def test_what_was_being_opened_is_renewed_once_it_is_on_and_nobody_waits_for_that(scene: Scene) -> None:
    scene.account.may_go_on.clear()
    opening = asyncio.create_task(scene.ensure())
    await asyncio.sleep(0)
    renewing = asyncio.create_task(scene.session.renew("A new password is in force."))
    scene.account.may_go_on.set()
    right = await opening
    scene.account.may_go_on.clear()
    await scene.passes(timedelta())
    assert await scene.ensure() is right
    scene.account.may_go_on.set()
    await renewing

    assert (await scene.ensure()).session.generation > right.session.generation


async def test_what_ends_while_it_is_renewed_stays_ended(scene: Scene) -> None:
    right = await scene.ensure()
    scene.account.may_go_on.clear()
    renewing = asyncio.create_task(scene.session.renew("A new password is in force."))
    await scene.passes(timedelta())
    await scene.session.end(by="ana")
    scene.account.may_go_on.set()
    await renewing

    assert scene.is_in(SessionState.OFF)
    assert await allowed(right) == []
    assert scene.memory.audited == ["session.opened", "session.ended"]


async def test_what_ends_while_that_it_was_renewed_is_written_down_stays_ended(scene: Scene) -> None:
    right = await scene.ensure()
    scene.memory.durable.clear()
    renewing = asyncio.create_task(scene.session.renew("A new password is in force."))
    await scene.passes(timedelta())
    ending = asyncio.create_task(scene.session.end(by="ana"))
    await scene.passes(timedelta())
    scene.memory.durable.set()
    await asyncio.gather(renewing, ending)

    assert scene.memory.audited == ["session.opened", "session.renewed", "session.ended"]
    assert scene.is_in(SessionState.OFF)
    assert scene.session.acting() is None
    assert await allowed(right) == []


def tokens_of(right: Acting) -> TokenSource:
    assert isinstance(right.graph, OneGraph)
    return right.graph.tokens


async def token_of(right: Acting) -> str:
    return (await tokens_of(right).token()).value.reveal()


async def allowed(*rights: Acting) -> list[int]:
    """Which of them may still act."""
    found = []
    for number, right in enumerate(rights):
        with suppress(SessionEnded):
            await right.graph.get("me")
            found.append(number)
    return found


# --- switching -------------------------------------------------------------------------------------------------------


async def test_while_the_mode_is_switched_others_wait_and_then_go_on(scene: Scene) -> None:
    before = await scene.ensure()
    await scene.session.begin_switch(by="ana")
    told: list[str] = []

    async def tell(steps: tuple[Step, ...]) -> None:
        told.extend(f"{step.title} ({step.status.value})" for step in steps)

    waiting = asyncio.create_task(scene.session.ensure(opened_for="r2", tell=tell))
    for _ in range(5):
        await asyncio.sleep(0)
    assert scene.is_in(SessionState.SWITCHING)
    assert not waiting.done()
    assert told == ["The mode is being switched: waiting for that (in_progress)"]
    with pytest.raises(SessionEnded):
        await before.graph.send(Call("POST", ("x",)), attempt_id="a")

    await scene.session.end_switch(mode=Mode.ADVANCED)
    after = await waiting
    assert after.session.generation > before.session.generation
    assert told[1] == "The mode is being switched: waiting for that (done)"


async def test_a_switch_that_comes_to_no_end_keeps_nobody_waiting_for_longer_than_a_minute(scene: Scene) -> None:
    await scene.session.begin_switch(by="ana")
    waiting = [asyncio.create_task(scene.ensure()) for _ in range(3)]
    await scene.passes(timedelta(seconds=59))
    assert not any(each.done() for each in waiting)

    await scene.passes(timedelta(seconds=2))
    assert len({right.session.generation for right in await asyncio.gather(*waiting)}) == 1
    assert scene.account.sign_ins == 1


async def test_a_switch_in_the_middle_of_an_opening_ends_that_and_opens_anew(scene: Scene) -> None:
    scene.account.may_go_on.clear()
    opening = asyncio.create_task(scene.ensure())
    for _ in range(5):
        await asyncio.sleep(0)
    await scene.session.begin_switch(by="ana")
    scene.account.may_go_on.set()
    with pytest.raises(SessionEnded):
        await opening
    assert scene.is_in(SessionState.SWITCHING)

    await scene.session.end_switch(mode=Mode.ADVANCED)
    assert scene.is_in(SessionState.OFF)
    assert (await scene.ensure()).session.generation == scene.session.current.generation


async def test_a_bot_that_died_in_the_middle_of_a_switch_starts_with_the_session_off(scene: Scene) -> None:
    await scene.ensure()
    await scene.session.begin_switch(by="ana")
    number = scene.session.current.generation
    scene.session = scene.another_process()
    await scene.session.start()

    assert scene.is_in(SessionState.OFF)
    assert (await scene.ensure()).session.generation > number


# --- whatever happens ------------------------------------------------------------------------------------------------

MOVES = st.lists(
    st.sampled_from(
        [
            *("ask", "act", "act as before", "off", "wait", "fail", "heal", "extend", "hold", "release"),
            *("begin switch", "end switch", "renew"),
        ]
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(MOVES)
def test_nobody_acts_with_a_passed_generation_and_one_opening_is_under_way(moves: list[str]) -> None:
    async def play() -> None:
        scene = Scene()
        await scene.session.start()
        asked: list[asyncio.Task[Acting]] = []
        acts: list[asyncio.Task[None]] = []

        async def act(right: Acting) -> None:
            try:
                await right.graph.send(Call("POST", ("x",)), attempt_id="a")
            except (SessionEnded, SessionNotOpened):
                return
            assert right.session.generation in scene.memory.alive

        async def renew() -> None:
            with suppress(VaultProblem):
                await scene.session.renew("A new password is in force.")

        for move in moves:
            rights = [task.result() for task in asked if task.done() and not task.exception()]
            match move:
                case "ask":
                    asked.append(asyncio.create_task(scene.ensure()))
                case "act" if rights:
                    acts.append(asyncio.create_task(act(rights[-1])))
                case "act as before" if rights:
                    acts.append(asyncio.create_task(act(rights[len(rights) // 2])))
                case "renew":
                    acts.append(asyncio.create_task(renew()))
                case "off":
                    await scene.session.end(by="ana")
                case "wait":
                    await scene.passes(timedelta(minutes=31))
                case "extend" if scene.session.acting():
                    await scene.session.extend(by="olive")
                case "fail" | "heal":
                    scene.account.fails = move == "fail"
                case "begin switch":
                    await scene.session.begin_switch(by="ana")
                case "end switch" if scene.account.may_go_on.is_set():  # it waits for an opening under way
                    await scene.session.end_switch(mode=Mode.ADVANCED)
                case "hold":
                    scene.account.may_go_on.clear()
                case "release":
                    scene.account.may_go_on.set()
            for _ in range(5):
                await asyncio.sleep(0)
        scene.account.may_go_on.set()
        await scene.session.end_switch(mode=Mode.ADVANCED)
        await asyncio.gather(*asked, return_exceptions=True)
        await asyncio.gather(*acts)
        assert scene.account.most_at_once <= 1
        generations = [session.generation for session in scene.memory.saved]
        assert generations == sorted(generations)
        acting = scene.session.acting()
        assert (acting is not None) == scene.is_in(SessionState.ON) == bool(scene.memory.alive)
        assert acting is None or acting.session.generation == scene.session.current.generation
        await scene.session.close()

    asyncio.run(play())
