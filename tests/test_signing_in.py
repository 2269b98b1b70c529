"""People sign in: who may come back from a link, whose account it was, and what is remembered of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from bot.errors import LatchkeyError, NotPossible, Retry, SignInCategory, SignInFailed, SignInNeeded
from bot.model import Call, Mode, Operator, Origin, Request, Session, SessionState, SlackUser
from bot.office import Office
from bot.signing_in import HELD_FOR, Purpose, SignedIn, SigningIn, SignInOver
from tests.clock import ManualClock
from tests.people import Account, Entra, Known, Trail, settled

OLIVE, ANA = SlackUser("T0CONTOSO", "U0OLIVE001"), SlackUser("T0CONTOSO", "U0ANA00001")
OLIVES = Account("a-olive", "olive@contoso.com", "Olive Hart")
OLIVES_ADMIN = Account("a-olive-admin", "olive.admin@contoso.com", "Olive Hart (admin)", roles=("helpdesk-admin",))
STRANGERS = Account("a-otto", "otto@partner.example", "Otto Berg", tenant="another")
GUESTS = Account("a-gia", "gia_partner.example#EXT#@contoso.com", "Gia Neri", guest=True)


@dataclass
class Scene:
    clock: ManualClock = field(default_factory=ManualClock)
    trail: Trail = field(default_factory=Trail)
    people: Known = field(default_factory=Known)
    came: list[tuple[SlackUser, str, SignedIn]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    refuses: LatchkeyError | None = None

    def __post_init__(self) -> None:
        self.entra = Entra(self.clock, (OLIVES, OLIVES_ADMIN, STRANGERS, GUESTS))
        self.people.operators[OLIVE] = Operator("olive", OLIVE, OLIVES.id, OLIVES.upn, OLIVES.name)
        self.signing_in = SigningIn(
            clock=self.clock,
            people=self.entra,
            tenant=self.entra,
            tenant_id="00000000-0000-4000-8000-00000000c0de",
            operators=self.people,
            audit=self.trail,
            page="https://latchkey.contoso.com/signin",
        )
        for purpose in Purpose:
            self.signing_in.on(purpose, self.comes)

    async def comes(self, slack: SlackUser, about: str, account: SignedIn) -> str:
        if self.refuses:
            raise self.refuses
        self.came.append((slack, about, account))
        return "Done."

    async def hears(self, sentence: str) -> None:
        self.told.append(sentence)

    async def invited(self, purpose: Purpose = Purpose.SESSION, who: SlackUser = OLIVE, about: str = "r1") -> str:
        return (await self.signing_in.invite(who, purpose, about, name="Olive Hart", told=self.hears)).id

    async def follows(self, flow: str, key: str = "k") -> dict[str, str]:
        """Press *Continue*, and come back signed in as Olive's administrator account."""
        await self.signing_in.go_on(flow, key)
        return {"state": self.entra.browsers[-1].state, "code": OLIVES_ADMIN.upn}

    async def passes(self, time: timedelta) -> None:
        await settled()
        self.clock.advance(time.total_seconds())
        await settled()


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    yield scene
    await scene.signing_in.close()


@pytest.fixture
async def page(scene: Scene) -> Scene:
    """The same where browsers can be sent back to us."""
    scene.entra.has_callback = True
    return scene


# --- by a code -------------------------------------------------------------------------------------------------------


async def test_whoever_types_the_code_is_read_from_graph_and_goes_on(scene: Scene) -> None:
    invitation = await scene.signing_in.invite(OLIVE, Purpose.SESSION, "r1", name="Olive", told=scene.hears)
    assert invitation.code == scene.entra.codes[-1].code

    await scene.passes(timedelta(seconds=5))
    assert scene.came == []
    scene.entra.codes[-1].typed_by = OLIVES_ADMIN.upn
    await scene.passes(timedelta(seconds=5))

    ((slack, about, account),) = scene.came
    assert (slack, about, account.upn) == (OLIVE, "r1", OLIVES_ADMIN.upn)
    assert account.roles == {"helpdesk-admin"}
    assert scene.told == ["Done. You signed in as Olive Hart (admin) (olive.admin@contoso.com), for Olive in Slack."]
    assert scene.trail.kinds == ["signin.succeeded"]
    assert not scene.entra.given[-1].forgotten  # they are the session's now


async def test_microsoft_is_asked_no_sooner_than_it_wants(scene: Scene) -> None:
    await scene.invited()
    code = scene.entra.codes[-1]
    await scene.passes(timedelta(seconds=4))
    assert code.polls == 0
    await scene.passes(timedelta(seconds=1))
    assert code.polls == 1
    code.interval = timedelta(seconds=10)  # it has said: slow down
    await scene.passes(timedelta(seconds=5))
    await scene.passes(timedelta(seconds=4))
    assert code.polls == 2


async def test_a_code_that_nobody_types_is_over_with_words(scene: Scene) -> None:
    await scene.invited()
    for _ in range(200):
        await scene.passes(timedelta(seconds=5))

    assert scene.told == ["The code was not used in time. Ask for a new one."]
    assert scene.entra.codes[-1].polls < 200


async def test_a_refusal_by_microsoft_ends_it_and_is_written_down(scene: Scene) -> None:
    await scene.invited()
    scene.entra.codes[-1].fails = SignInFailed(
        "The sign-in was cancelled at Microsoft.",
        category=SignInCategory.CONSENT,
        retry=Retry.LOGIN,
        code=65004,
        correlation_id="c-1",
    )
    await scene.passes(timedelta(seconds=5))

    assert scene.told == ["The sign-in was cancelled at Microsoft."]
    (record,) = scene.trail.records
    assert record.kind == "signin.failed"
    assert (record.facts["code"], record.facts["correlation_id"]) == (65004, "c-1")


async def test_a_new_code_takes_the_place_of_the_old_one(scene: Scene) -> None:
    await scene.invited()
    await scene.invited()
    old, new = scene.entra.codes
    old.typed_by = new.typed_by = OLIVES_ADMIN.upn
    await scene.passes(timedelta(seconds=5))

    assert (old.polls, new.polls, len(scene.came)) == (0, 1, 1)


@pytest.mark.parametrize("callback", [False, True], ids=["code", "link"])
async def test_thousands_who_ask_and_never_come_leave_nothing_behind(scene: Scene, callback: bool) -> None:
    scene.entra.has_callback = callback
    for number in range(2000):
        await scene.invited(Purpose.LINK, SlackUser("T0CONTOSO", f"U{number % 500}"))
    await settled()
    tasks = [each for each in asyncio.all_tasks() if not each.done()]
    assert len(scene.signing_in._open) == 500
    assert len(tasks) < 520

    for _ in range(4):
        await scene.passes(timedelta(minutes=15))
    assert scene.signing_in._open == {}
    assert scene.signing_in._dropping == {}


async def test_cancelled_means_that_nobody_comes(scene: Scene) -> None:
    await scene.invited()
    scene.entra.codes[-1].typed_by = OLIVES_ADMIN.upn

    assert scene.signing_in.cancel(OLIVE, Purpose.SESSION)
    await scene.passes(timedelta(seconds=5))

    assert (scene.came, scene.told) == ([], [])
    assert not scene.signing_in.cancel(OLIVE)


# --- by a link -------------------------------------------------------------------------------------------------------


async def test_the_page_before_microsofts_names_who_asked_for_what(page: Scene) -> None:
    invitation = await page.signing_in.invite(OLIVE, Purpose.LINK, name="Olive Hart")

    assert (invitation.code, invitation.url) == (None, f"https://latchkey.contoso.com/signin?flow={invitation.id}")
    assert page.signing_in.welcome(invitation.id) == (
        "Olive Hart asked Latchkey in Slack to link the Microsoft account you sign in with to their Slack account. "
        "Continue only if that is you. If somebody sent you this link, close this page."
    )


async def test_a_name_on_that_page_is_no_place_for_sentences(page: Scene) -> None:
    tricky = "\u202eevilO\n" + "This is checked already. " * 40
    invitation = await page.signing_in.invite(OLIVE, Purpose.LINK, name=tricky)

    shown = page.signing_in.welcome(invitation.id)
    assert len(shown) < 300
    assert shown.isprintable()


async def test_whoever_comes_back_in_the_same_browser_has_signed_in_once(page: Scene) -> None:
    flow = await page.invited()
    back = await page.follows(flow)

    words = await page.signing_in.finish_callback(back, lambda _: "k")
    with pytest.raises(SignInOver):
        await page.signing_in.finish_callback(back, lambda _: "k")

    assert words.startswith("Done. You signed in as Olive Hart (admin)")
    assert len(page.came) == 1


async def test_a_strangers_link_binds_nobody_who_did_not_press_continue_in_that_browser(page: Scene) -> None:
    back = await page.follows(await page.invited(Purpose.LINK))

    for kept in ("", "another browser's"):
        with pytest.raises(SignInOver):
            await page.signing_in.finish_callback(back, lambda _, kept=kept: kept)  # type: ignore[misc]

    assert page.came == []
    await page.signing_in.finish_callback(back, lambda _: "k")  # whose it is can still come back


async def test_made_up_and_empty_states_lead_nowhere(page: Scene) -> None:
    await page.invited()
    for query in ({}, {"state": ""}, {"state": "made up", "code": OLIVES.upn}, {"state": "é\ud800"}):
        with pytest.raises(SignInOver):
            await page.signing_in.finish_callback(query, lambda _: "")
    with pytest.raises(SignInOver):
        page.signing_in.welcome("made up")


async def test_a_link_is_over_after_a_quarter_of_an_hour(page: Scene) -> None:
    flow = await page.invited()
    back = await page.follows(flow)
    await page.passes(timedelta(minutes=15))

    assert page.told == ["The link was not used in time. Ask for a new one."]
    with pytest.raises(SignInOver):
        page.signing_in.welcome(flow)
    with pytest.raises(SignInOver):
        await page.signing_in.finish_callback(back, lambda _: "k")


# --- whose account ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("account", [STRANGERS, GUESTS])
async def test_an_account_of_another_organisation_is_refused_whatever_its_token_says(
    scene: Scene, account: Account
) -> None:
    await scene.invited()
    scene.entra.codes[-1].typed_by = account.upn
    await scene.passes(timedelta(seconds=5))

    assert scene.came == []
    assert "does not belong to this organisation" in scene.told[0]
    assert scene.trail.kinds == ["signin.failed"]
    assert scene.entra.given[-1].forgotten


async def test_a_sign_in_for_something_refused_leaves_no_token(scene: Scene) -> None:
    scene.refuses = NotPossible("That is not for you.")
    await scene.invited(Purpose.SET_UP, about="r2")
    scene.entra.codes[-1].typed_by = OLIVES_ADMIN.upn
    await scene.passes(timedelta(seconds=5))

    assert scene.told == ["That is not for you."]
    assert scene.signing_in.held_for("r2") is None
    assert scene.entra.given[-1].forgotten


async def test_only_the_linked_account_proves_who_somebody_is(scene: Scene) -> None:
    await scene.invited(Purpose.SESSION)
    scene.entra.codes[-1].typed_by = OLIVES_ADMIN.upn
    await scene.passes(timedelta(seconds=5))
    assert scene.signing_in.last_fresh(OLIVE) is None

    await scene.invited(Purpose.APPROVAL)
    scene.entra.codes[-1].typed_by = OLIVES.upn
    await scene.passes(timedelta(seconds=5))
    assert scene.signing_in.last_fresh(OLIVE) == scene.clock.now()

    scene.people.operators[OLIVE] = replace(scene.people.operators[OLIVE], account_id="another")
    assert scene.signing_in.last_fresh(OLIVE) is None
    assert scene.signing_in.last_fresh(ANA) is None


async def test_who_was_signed_in_already_has_proved_nothing_to_an_approval(scene: Scene) -> None:
    scene.entra.proves_anew = False
    await scene.invited(Purpose.APPROVAL)
    assert scene.entra.codes[-1].asked.fresh
    scene.entra.codes[-1].typed_by = OLIVES.upn
    await scene.passes(timedelta(seconds=5))

    assert "signed in already" in scene.told[0]
    assert scene.signing_in.last_fresh(OLIVE) is None


async def test_what_sets_something_up_is_held_for_an_hour_and_dropped_for_good(scene: Scene) -> None:
    await scene.invited(Purpose.SET_UP, about="r2")
    scene.entra.codes[-1].typed_by = OLIVES_ADMIN.upn
    await scene.passes(timedelta(seconds=5))
    held = scene.signing_in.held_for("r2")
    assert held is not None
    assert held.account_id == OLIVES_ADMIN.id

    await scene.passes(HELD_FOR)
    assert scene.entra.given[-1].forgotten
    assert scene.signing_in.held_for("r2") is None


async def test_nobody_takes_the_place_of_who_sets_something_up(page: Scene) -> None:
    first = await page.invited(Purpose.SET_UP, about="r2")
    second = await page.invited(Purpose.SET_UP, ANA, about="r2")
    came = [await page.follows(flow, flow) for flow in (first, second)]
    await page.signing_in.finish_callback(came[0], lambda flow: flow)
    held = page.signing_in.held_for("r2")

    with pytest.raises(NotPossible, match="Somebody else has signed in"):
        await page.signing_in.finish_callback(came[1], lambda flow: flow)

    assert page.signing_in.held_for("r2") is held is not None
    assert [tokens.forgotten for tokens in page.entra.given] == [False, True]


@dataclass(frozen=True)
class Tenants:
    """The tenant's session."""

    current: Session


async def test_a_sign_in_that_ended_at_microsoft_is_asked_for_again_and_not_tried_for_an_hour(scene: Scene) -> None:
    await scene.invited(Purpose.SET_UP, about="r2")
    scene.entra.codes[-1].typed_by = OLIVES_ADMIN.upn
    await scene.passes(timedelta(seconds=5))
    request = Request("r2", "olive", OLIVE, "/m365-mode", "switch-mode", Origin("C1"), scene.clock.now())
    tenant = Office(
        clock=scene.clock,
        session=Tenants(Session(generation=0, mode=Mode.NONE, state=SessionState.OFF)),
        desks={},
        directory=scene.entra.graph(scene.entra.given[-1]),
        tenant=scene.entra,
        sign_ins=scene.signing_in,
    )
    scene.entra.given[-1].forget()

    with pytest.raises(SignInNeeded, match="Your sign-in is over"):
        await tenant.acting(request).graph.send(Call("POST", ("users",)), attempt_id="a1")

    assert not tenant.has_signed_in(request)


async def test_no_record_holds_a_token(scene: Scene) -> None:
    await scene.invited()
    scene.entra.codes[-1].typed_by = OLIVES_ADMIN.upn
    await scene.passes(timedelta(seconds=5))

    said: list[Any] = [record.facts for record in scene.trail.records]
    assert "token" not in repr(said)
