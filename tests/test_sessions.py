"""Default mode: everybody acts through a session of their own, opened by nobody but themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.errors import (
    LatchkeyError,
    NotPossible,
    Retry,
    SessionEnded,
    SessionNotOpened,
    SignInCategory,
    SignInFailed,
    VaultProblem,
)
from bot.model import (
    AuditRecord,
    Call,
    IdentityKind,
    Mode,
    Operator,
    Origin,
    Plan,
    Request,
    RequestState,
    Secret,
    Session,
    SessionState,
    SlackUser,
    Step,
    TenantSettings,
)
from bot.ports import Message, Token
from bot.session import Acting, ManagementSession, OwnSessionOff
from bot.sessions import Sessions
from bot.signing_in import SignedIn
from tests.clock import ManualClock
from tests.people import Account, Entra, Known, Tokens, settled

TEAM = "T0CONTOSO"
OLIVE, ANA, VIC = (SlackUser(TEAM, user) for user in ("U0OLIVE001", "U0ANA00001", "U0VIC00001"))
ACCOUNTS = {
    OLIVE: Account("a-olive", "olive.admin@contoso.com", "Olive Hart (admin)", roles=("password-admin",)),
    ANA: Account("a-ana", "ana.admin@contoso.com", "Ana Ruiz (admin)", roles=("global-admin",)),
}
DEFAULT = TenantSettings(version=1, mode=Mode.DEFAULT, identity_kind=IdentityKind.SERVICE_ACCOUNT, identity_id="svc")
ADVANCED = replace(DEFAULT, version=2, mode=Mode.ADVANCED, identity_name="svc@contoso.com")


@dataclass(frozen=True)
class Holder:
    operator: Operator


@dataclass
class World(Known):
    """Settings, the log of sessions, requests, the outbox and the worker, in memory."""

    settings: TenantSettings = DEFAULT
    saved: list[Session] = field(default_factory=list)
    audited: list[AuditRecord] = field(default_factory=list)
    requests: dict[str, Request] = field(default_factory=dict)
    said: list[Message] = field(default_factory=list)
    woken: list[str] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None
    """What others do while it is looked whose an account is."""

    async def current(self) -> TenantSettings:
        return self.settings

    async def last(self) -> list[Session]:
        return list({session.owner: session for session in self.saved}.values())

    async def save_session(self, session: Session, *audit: AuditRecord) -> None:
        self.saved.append(session)
        self.audited.extend(audit)

    async def role_commands(self, slack: SlackUser) -> Sequence[tuple[str, str]]:
        return self.everybody_holds

    async def everyone(self) -> Sequence[Holder]:
        self.meanwhile()
        return [Holder(operator) for operator in self.operators.values()]

    async def find(self, id_: str) -> Any:
        known: dict[str, Any] = {operator.id: operator for operator in self.operators.values()}
        return known.get(id_) or self.requests.get(id_)

    async def recent(self, slack: SlackUser, limit: int) -> Sequence[Request]:
        return [request for request in self.requests.values() if request.slack == slack]

    async def save(self, thing: Any, *audit: AuditRecord, say: Sequence[Message] = ()) -> Any:
        if isinstance(thing, Session):
            return await self.save_session(thing, *audit)
        self.requests[thing.id] = thing
        return thing

    async def say(self, *messages: Message) -> None:
        self.said.extend(messages)

    def wake(self, request_id: str) -> None:
        self.woken.append(request_id)


@dataclass
class Service:
    """The service identity of Advanced mode."""

    entra: Entra
    fails: LatchkeyError | None = None

    async def sign_in(self, show: Any, *, claims: str | None = None) -> Token:
        await asyncio.sleep(0)
        if self.fails:
            raise self.fails
        return Token(Secret("service"), self.entra.clock.now() + timedelta(hours=1))


class ServiceGraph:
    """The tenant through the service identity: what it sends asks for the token first."""

    def __init__(self, tokens: Any) -> None:
        self.tokens = tokens

    async def collect(self, *path: str, **_: Any) -> list[Any]:
        return []

    async def send(self, call: Call, **_: Any) -> None:
        await self.tokens.token()


@dataclass
class Scene:
    clock: ManualClock = field(default_factory=ManualClock)

    def __post_init__(self) -> None:
        self.world = World()
        for slack, name in ((OLIVE, "olive"), (ANA, "ana")):
            self.world.operators[slack] = Operator(name, slack, ACCOUNTS[slack].id, ACCOUNTS[slack].upn, name.title())
        self.entra = Entra(self.clock, tuple(ACCOUNTS.values()))
        self.service = Service(self.entra)
        self.sessions = self.another_process()

    def another_process(self) -> Sessions:
        world: Any = self.world
        return Sessions(
            clock=self.clock,
            settings=world,
            log=world,
            identity_of=lambda settings: self.service,
            tenant=self,
            zone=ZoneInfo("Europe/London"),
            operators=world,
            requests=world,
            outbox=world,
            worker=world,
        )

    def graph(self, tokens: Any) -> Any:
        return ServiceGraph(tokens) if tokens._owner.owner is None else self.entra.graph(tokens)

    async def signs_in(self, slack: SlackUser, as_: SlackUser | None = None, about: str = "") -> str:
        account = ACCOUNTS[as_ or slack]
        tokens = self.entra.arrives_as(account.upn)
        signed = SignedIn(account.id, account.upn, account.name, frozenset(account.roles), tokens, self.clock.now())
        try:
            return await self.sessions.signed_in(slack, about, signed)
        except LatchkeyError:
            tokens.forget()  # as `SigningIn` does with whoever is refused
            raise

    async def ensure(self, slack: SlackUser) -> Acting:
        return await (await self.of(slack)).ensure(opened_for="r", tell=nobody, may_open=True)

    async def of(self, slack: SlackUser) -> ManagementSession:
        return await self.sessions.of(self.world.operators[slack].id)

    async def passes(self, time: timedelta) -> None:
        await settled()
        self.clock.advance(time.total_seconds())
        await settled()

    def waiting(self, id_: str, slack: SlackUser = OLIVE, **more: Any) -> None:
        self.world.requests[id_] = Request(
            id=id_,
            operator_id=self.world.operators[slack].id,
            slack=slack,
            command="/m365 show-user",
            action="show-user",
            origin=Origin("C1"),
            created_at=self.clock.now(),
            state=RequestState.AWAITING_CONFIRMATION,
            answer={"sign_in": "session"},
            **more,
        )


async def nobody(steps: tuple[Step, ...]) -> None:
    """Listens to no steps."""


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    await scene.sessions.start()
    yield scene
    await scene.sessions.close()


# --- whose ------------------------------------------------------------------------------------------------------------


async def test_only_the_operators_own_sign_in_opens_a_session(scene: Scene) -> None:
    with pytest.raises(OwnSessionOff, match="Sign in at Microsoft"):
        await scene.ensure(OLIVE)

    assert await scene.signs_in(OLIVE) == "Your management session is on until 09:30."
    acting = await scene.ensure(OLIVE)

    assert (acting.identity.kind, acting.identity.name) == (IdentityKind.ADMINISTRATOR, "olive.admin@contoso.com")
    assert acting.identity.roles == {"password-admin"}
    assert acting.session.owner == "olive"
    with pytest.raises(OwnSessionOff):
        await scene.ensure(ANA)


async def test_nobody_acts_with_an_account_that_is_somebody_elses(scene: Scene) -> None:
    with pytest.raises(NotPossible, match="is the account of Ana"):
        await scene.signs_in(OLIVE, as_=ANA)

    assert scene.sessions.current_for("olive").state is SessionState.OFF


async def test_strangers_and_the_suspended_open_nothing(scene: Scene) -> None:
    olive = scene.world.operators[OLIVE]
    scene.world.operators[OLIVE] = replace(olive, suspended=True)
    with pytest.raises(NotPossible, match="no role"):
        await scene.signs_in(OLIVE)
    with pytest.raises(NotPossible, match="no role"):
        await scene.signs_in(VIC, as_=OLIVE)


async def test_what_is_decided_while_somebody_signs_in_counts(scene: Scene) -> None:
    def switched() -> None:
        scene.world.settings = ADVANCED

    def suspended() -> None:
        scene.world.operators[OLIVE] = replace(scene.world.operators[OLIVE], suspended=True)

    for meanwhile, sentence in ((switched, "Nobody has to sign in"), (suspended, "You hold no role")):
        scene.world.settings, scene.world.meanwhile = DEFAULT, meanwhile
        with pytest.raises(NotPossible, match=sentence):
            await scene.signs_in(OLIVE)
        assert scene.entra.given[-1].forgotten
        assert [session.acting() for session in scene.sessions.all() if session.acting()] == []
    assert "admin" not in str([session.identity for session in scene.world.saved if session.owner is None])


async def test_whoever_is_left_without_a_role_loses_their_session(scene: Scene) -> None:
    watching = asyncio.create_task(scene.sessions.watch())
    await scene.signs_in(OLIVE)
    await scene.passes(timedelta(minutes=1))
    assert (await scene.of(OLIVE)).acting() is not None

    scene.world.everybody_holds = ()
    await scene.passes(timedelta(minutes=1))
    watching.cancel()

    assert scene.entra.given[-1].forgotten
    assert scene.world.saved[-1].why == "Its owner holds no role in Latchkey any more."


async def test_what_waited_for_the_sign_in_goes_on_by_itself_and_nothing_else(scene: Scene) -> None:
    scene.waiting("r1")
    scene.waiting("r2", started_at=scene.clock.now())
    scene.waiting("r3", slack=ANA)

    await scene.signs_in(OLIVE, about="r1")

    assert scene.world.woken == ["r1", "r2"]
    assert scene.world.requests["r1"].state is RequestState.RECEIVED
    assert scene.world.requests["r3"].state is RequestState.AWAITING_CONFIRMATION


async def test_signing_in_again_takes_the_place_of_the_session_before(scene: Scene) -> None:
    await scene.signs_in(OLIVE)
    before = await scene.ensure(OLIVE)
    await scene.signs_in(OLIVE)
    after = await scene.ensure(OLIVE)

    assert after.session.generation > before.session.generation
    assert [tokens.forgotten for tokens in scene.entra.given] == [True, False]
    with pytest.raises(SessionEnded):
        await before.graph.get("me")


# --- ends -------------------------------------------------------------------------------------------------------------


async def test_tokens_are_dropped_when_it_ends(scene: Scene) -> None:
    await scene.signs_in(OLIVE)
    await (await scene.of(OLIVE)).end(by="olive")

    assert scene.entra.given[-1].forgotten
    with pytest.raises(OwnSessionOff):
        await scene.ensure(OLIVE)


async def test_its_owner_is_warned_and_gets_a_receipt(scene: Scene) -> None:
    await scene.signs_in(OLIVE)
    generation = scene.sessions.current_for("olive").generation
    done = Plan((), (Call("PATCH", ("users", "x")),))
    scene.waiting("r1", session_generation=generation, plan=done)
    scene.world.requests["r1"] = replace(scene.world.requests["r1"], state=RequestState.DONE)
    await scene.passes(timedelta(minutes=25))

    (warning,) = scene.world.said
    assert (warning.view, warning.data["channel"], warning.data["extends"]) == ("session-ending", OLIVE.user, True)

    await (await scene.of(OLIVE)).extend(by="olive")
    await scene.passes(timedelta(minutes=10))
    assert scene.sessions.current_for("olive").state is SessionState.ON

    await scene.passes(timedelta(hours=2))
    receipt = scene.world.said[-1]
    assert (receipt.view, receipt.data["changes"]) == ("session-ended", 1)
    assert receipt.data["why"] == "Nobody used it for a while."


async def test_a_sign_in_that_ended_at_microsoft_asks_for_another(scene: Scene) -> None:
    await scene.signs_in(OLIVE)
    acting = await scene.ensure(OLIVE)
    scene.entra.given[-1].fails = SignInFailed(
        "The account's password changed.", category=SignInCategory.SESSION, retry=Retry.LOGIN, code=50173
    )
    tokens: Any = acting.graph
    with pytest.raises(OwnSessionOff, match="The account's password changed"):
        await tokens.tokens.fresh_token(await tokens.tokens.token(), '{"access_token":{}}')

    assert scene.entra.given[-1].forgotten
    assert scene.sessions.current_for("olive").state is SessionState.DEGRADED


async def test_microsoft_out_of_reach_for_once_does_not_cost_the_sign_in(scene: Scene) -> None:
    await scene.signs_in(OLIVE)
    acting = await scene.ensure(OLIVE)
    scene.entra.given[-1].fails = SignInFailed("Away.", category=SignInCategory.NETWORK, retry=Retry.BACKOFF)
    tokens: Any = acting.graph
    with pytest.raises(SignInFailed, match="Away"):
        await tokens.tokens.fresh_token(await tokens.tokens.token())

    scene.entra.given[-1].fails = None
    await tokens.tokens.fresh_token(await tokens.tokens.token())
    assert scene.sessions.current_for("olive").state is SessionState.ON


async def test_a_mode_switch_ends_every_session_of_the_other_mode(scene: Scene) -> None:
    await scene.signs_in(OLIVE)
    await scene.signs_in(ANA)
    mine = await scene.ensure(OLIVE)
    scene.world.settings = ADVANCED

    shared = await scene.ensure(OLIVE)

    assert shared.identity.kind is IdentityKind.SERVICE_ACCOUNT
    assert shared.session.generation > mine.session.generation
    assert all(tokens.forgotten for tokens in scene.entra.given)
    with pytest.raises(SessionEnded):
        await mine.graph.get("me")
    with pytest.raises(NotPossible, match="an account of its own"):
        await scene.signs_in(OLIVE)


async def test_a_restart_ends_it_and_says_so(scene: Scene) -> None:
    await scene.signs_in(OLIVE)
    generation = scene.sessions.current_for("olive").generation
    reborn = scene.another_process()
    await reborn.start()

    assert reborn.current_for("olive").state is SessionState.OFF
    assert scene.world.said[-1].data["why"] == "The bot was restarted."
    assert reborn.current_for("olive").generation > generation
    await reborn.close()


async def test_one_who_left_loses_their_session_and_nobody_elses_ends(scene: Scene) -> None:
    await scene.signs_in(OLIVE)
    await scene.signs_in(ANA)
    await scene.sessions.end_of("olive", "Olive left.")

    assert [scene.sessions.current_for(each).state for each in ("olive", "ana")] == [SessionState.OFF, SessionState.ON]
    await scene.sessions.forbid("The database is not to be believed.")
    assert scene.sessions.current_for("ana").state is SessionState.OFF
    with pytest.raises(LatchkeyError):
        await scene.signs_in(VIC if VIC in scene.world.operators else ANA)


# --- who listens ------------------------------------------------------------------------------------------------------


async def test_every_sign_in_of_the_service_identity_is_heard_of_and_nobody_elses(scene: Scene) -> None:
    heard: list[str] = []

    def breaks(*_: object) -> None:
        raise RuntimeError("a listener that breaks")

    scene.sessions.on_well(breaks)
    scene.sessions.on_trouble(breaks)
    scene.sessions.on_well(lambda: heard.append("well"))
    scene.sessions.on_trouble(lambda error, identity: heard.append(f"{error} {identity.name if identity else ''}"))
    await scene.signs_in(OLIVE)
    assert heard == []

    scene.world.settings = ADVANCED
    scene.service.fails = SignInFailed("Disabled.", category=SignInCategory.ACCOUNT_STATE, retry=Retry.NO, code=50057)
    with pytest.raises(SessionNotOpened, match="Disabled"):
        await scene.ensure(OLIVE)
    scene.service.fails = None
    tokens: Any = (await scene.ensure(OLIVE)).graph
    await scene.sessions.shared.renew("A new password is in force.")
    await tokens.tokens.fresh_token(await tokens.tokens.token())
    scene.service.fails = VaultProblem("Key Vault cannot be reached.", reason="unreachable")
    with pytest.raises(VaultProblem):
        await scene.sessions.shared.renew("A new password is in force.")

    vault = "Key Vault cannot be reached. svc@contoso.com"
    assert heard == ["Disabled. svc@contoso.com", "well", "well", "well", vault]
    assert scene.sessions.shared.current.state is SessionState.ON


# --- whatever happens -------------------------------------------------------------------------------------------------

MOVES = st.lists(
    st.tuples(
        st.sampled_from(["ask", "sign in", "act", "off", "wait", "switch", "rotate", "restart", "end all"]),
        st.sampled_from([OLIVE, ANA]),
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=120, deadline=None)
@given(MOVES)
def test_whatever_several_people_do_nobody_acts_with_a_generation_that_has_passed(
    moves: list[tuple[str, SlackUser]],
) -> None:
    async def play() -> None:
        scene = Scene()
        await scene.sessions.start()
        rights: list[Acting] = []
        under_way: list[asyncio.Task[Any]] = []
        numbers: list[int] = []

        async def ask(slack: SlackUser) -> None:
            try:
                rights.append(await scene.ensure(slack))
            except (OwnSessionOff, SessionEnded, SessionNotOpened):
                return

        async def act(right: Acting) -> None:
            try:
                await right.graph.send(Call("POST", ("x",)), attempt_id="a")
            except (LatchkeyError, AttributeError):
                return
            owner = right.session.owner
            session = next(each for each in scene.sessions.all() if each.owner == owner)
            assert right.session.opened_at == session.current.opened_at
            assert right.session.generation == session.current.generation or session.owner is None
            live = [each for each in scene.sessions.all() if each.acting() is not None]
            assert session in live

        async def sign_in(slack: SlackUser) -> None:
            try:
                await scene.signs_in(slack)
            except LatchkeyError:
                return

        for move, slack in moves:
            match move:
                case "ask":
                    under_way.append(asyncio.create_task(ask(slack)))
                case "sign in":
                    under_way.append(asyncio.create_task(sign_in(slack)))
                case "act" if rights:
                    under_way.append(asyncio.create_task(act(rights[-1])))
                case "off":
                    await (await scene.of(slack)).end(by=slack.user)
                case "wait":
                    await scene.passes(timedelta(minutes=31))
                case "switch":
                    scene.world.settings = ADVANCED if scene.world.settings.mode is Mode.DEFAULT else DEFAULT
                case "rotate":
                    under_way.append(asyncio.create_task(scene.sessions.shared.renew("A new password is in force.")))
                case "end all":
                    await scene.sessions.end_all("Somebody said so.", None)
                case "restart":
                    await asyncio.gather(*under_way)
                    await scene.sessions.close()
                    scene.sessions = scene.another_process()
                    await scene.sessions.start()
            await asyncio.sleep(0)
            opened = [session.generation for session in scene.world.saved if session.state is SessionState.ON]
            numbers = opened
        await asyncio.gather(*under_way)
        owners: dict[int, str | None] = {}
        for session in scene.world.saved:
            assert owners.setdefault(session.generation, session.owner) == session.owner
        assert numbers == sorted(numbers)
        held = [tokens for tokens in scene.entra.given if not tokens.forgotten]
        live = [each for each in scene.sessions.all() if each.acting() is not None and each.owner is not None]
        assert len(held) == len(live), "what is not a session's any more is forgotten"
        await scene.sessions.close()
        assert all(tokens.forgotten for tokens in scene.entra.given if isinstance(tokens, Tokens))

    asyncio.run(play())
