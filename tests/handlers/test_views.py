"""Every view, with every state and the cruellest names, is something Slack takes and mentions nobody by accident."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slack_sdk.models.blocks import Block as SdkBlock

from bot.actions import delegated
from bot.actions._action import Action
from bot.enquiries import Offered
from bot.model import (
    Approval,
    Call,
    Change,
    Grant,
    Identity,
    IdentityKind,
    Mode,
    Operator,
    Origin,
    Person,
    Plan,
    Request,
    RequestState,
    Scope,
    ScopeOp,
    ScopeRule,
    Session,
    SessionState,
    SlackUser,
    Step,
    StepStatus,
    Target,
    TargetKind,
    TenantSettings,
    Undo,
)
from bot.ports import Preview
from handlers.views import form, home, management, offers, picker, reveal
from handlers.views.blocks import Said
from handlers.views.messages import VIEWS
from handlers.views.wording import Known
from sandbox.slack.blocks import Surface, check_blocks, check_view
from sandbox.slack.reading import BlockReader, mentions
from storage.operators import Holder
from tests.handlers.test_blocks import NASTY

T0 = datetime(2026, 3, 3, 9, 0, tzinfo=UTC)
OLIVE = SlackUser("T1", "UOLIVE")
ADELE_ID = "f142e421-ec74-44a4-9ec6-636e45e4a66d"
ADELE = Person(id=ADELE_ID, upn="adele@contoso.com", name="Adele Vance", department="Sales")
RESET = delegated()["reset-password"]
SHOW = delegated()["show-user"]
PLAN = Plan(
    changes=(Change("sign-in", "allowed", "blocked"),),
    calls=(Call("PATCH", ("users", ADELE.id), {"accountEnabled": False}),),
    undo=Undo("unblock-sign-in"),
    notes=("A note.",),
)

a_while = settings(deadline=None, max_examples=40)
names = st.one_of(st.sampled_from(NASTY), st.text(max_size=300), st.text(alphabet="<>&!@#|`*_~", max_size=300))


def a_request(**fields: Any) -> Request:
    defaults: dict[str, Any] = {
        "id": "0" * 32,
        "operator_id": "o1",
        "slack": OLIVE,
        "command": "/m365 reset-password",
        "action": "reset-password",
        "origin": Origin("C0HELPDESK"),
        "created_at": T0,
        "typed": ADELE.upn,
        "target": ADELE.target,
    }
    return Request(**{**defaults, **fields})


def known(action: Action | None = RESET, **fields: Any) -> Known:
    return Known(**{"action": action, "by": "Olive Hart", **fields})


def reads(said: Said) -> str:
    return BlockReader(lambda user: user, T0.timestamp, "UTC").blocks(list(said.blocks))


def assert_slack_takes(said: Said) -> None:
    assert check_blocks(list(said.blocks), Surface.MESSAGE) == []
    assert 0 < len(said.text) <= 4000
    assert len(SdkBlock.parse_all(list(said.blocks))) == len(said.blocks)


def cruel(text: str, state: RequestState) -> Request:
    """A request in which everything that comes from outside is *text*."""
    return a_request(
        state=state,
        typed=text,
        target=Target(TargetKind.USER, ADELE.id, text, text),
        reason=text,
        verified=text,
        ticket=text,
        sentence=text,
        started_at=T0,
        finished_at=T0 + timedelta(minutes=2),
        steps=tuple(Step(f"{number}", text, status, text) for number, status in enumerate(StepStatus)),
        plan=PLAN,
        answer={
            "reveal": "waiting",
            "again": True,
            "ask": True,
            "changes": [[text, text]] * 20,
            "title": text,
            "facts": [[text, text]] * 30,
            "notes": [text] * 12,
            "trace": [[True, text], [False, text]] * 20,
            "commands": [[text, text, ""], [text, text, text]] * 30,
            "rows": [[number, T0.isoformat(), text, text, text, text] for number in range(15)],
            "holdings": [[text, text, text, text, T0.isoformat(), text, T0.isoformat(), text]] * 60,
            "suggestions": [[ADELE.id, text, text]],
            "next": 5,
        },
    )


@a_while
@given(names, st.sampled_from(RequestState), st.sampled_from(sorted(VIEWS)))
def test_no_name_breaks_a_message_or_mentions_anybody_but_who_asked(text: str, state: RequestState, view: str) -> None:
    said = VIEWS[view](cruel(text, state), known(by=text, here_because=text, maybe_twice=True))

    if said is not None:
        assert_slack_takes(said)
        assert set(mentions(said.text, list(said.blocks))) <= {"@UOLIVE"}


@a_while
@given(names)
def test_no_name_breaks_a_form(text: str) -> None:
    person = replace(ADELE, name=text, upn=text, department=text, title=text, manager=text, office=text)
    other = replace(ADELE, id=ADELE.id[:-1] + "b", name=text)
    demands = form.Demands(reason=True, verified=True, ticket=None)
    request = a_request(typed=text, reason=text[:500], verified=text[:100], inputs={"group": text, "minutes": text})
    plan = Plan(changes=(Change(text, text, text),) * 5, calls=(), notes=(text,))
    for action in delegated().values():
        whole, choice = Preview(person, plan, warnings=(text,)), Preview(None, None, suggestions=(person, other))
        for preview in (None, whole, choice):
            view = form.build(request, action, demands, preview, problems={"x": text})

            assert check_view(view, Surface.MODAL) == []
            assert mentions("", view["blocks"]) == ()
    assert check_view(form.told(text, text), Surface.MODAL) == []
    assert check_view(form.on_its_way(request, RESET), Surface.MODAL) == []


def full_home(text: str, state: SessionState, mode: Mode) -> home.HomeFacts:
    """A tenant admin's, on which there is more of everything than is shown."""
    identity = Identity(IdentityKind.SERVICE_ACCOUNT, text, text)
    session = Session(1, mode, state, identity, opened_at=T0, idle_until=T0, why=text)
    waits, asks = cruel(text, RequestState.AWAITING_APPROVAL), Approval("a", "d", "C1", T0, T0, why=text, reason=text)
    asked = [(replace(waits, approval=replace(asks, id=f"a{each}"), action=text), known(by=text)) for each in range(30)]
    alone = [(replace(each, approval=replace(asks, break_glass=True)), known(decided_by=text)) for each, _ in asked]
    scope = Scope("s", text, ScopeRule(ScopeOp.GROUP, values=(text,)))
    grants = tuple(Grant(f"{number}", text, scope, expires_at=T0 + timedelta(days=1)) for number in range(9))
    now = TenantSettings(
        mode=mode, identity_kind=identity.kind, identity_id=text, identity_name=text, work_channels=(text,) * 9
    )
    box = management.Facts(
        settings=now,
        session=session,
        bot_identity=text,
        open=asked,
        reviews=alone,
        operators=[Holder(Operator("o", SlackUser("T1", text), name=text, suspended=True), grants)] * 300,
        may=set(management.ASKS_FOR.values()),
        now=T0,
    )
    done = [(cruel(text, RequestState.DONE), RESET)] * 5
    return home.HomeFacts(session, [(text, text, text)] * 40, done, text, True, asked, done, box)


@a_while
@given(names, st.sampled_from(SessionState), st.sampled_from(Mode))
def test_no_name_breaks_a_home_tab(text: str, state: SessionState, mode: Mode) -> None:
    view = home.build(full_home(text, state, mode))

    assert check_view(view, Surface.HOME) == []
    assert mentions("", view["blocks"]) == ()
    action = replace(RESET, title=text, name=text or "x")
    for offered in ([Offered(action, "")] * 40, [Offered(action, text)] * 40, []):
        assert check_view(picker.build(offered), Surface.MODAL) == []
    assert check_view(home.closed(text), Surface.HOME) == []


def test_the_fullest_home_tab_loses_nothing_of_itself() -> None:
    view = home.build(full_home("Olive Hart, Sales in the North", SessionState.ON, Mode.ADVANCED))

    assert "do not fit here" not in str(view)
    assert len(view["blocks"]) <= 80


# --- What they say --------------------------------------------------------------------------------------------------


def test_a_running_card_shows_how_far_it_is_in_words_beside_the_bar() -> None:
    steps = (
        Step("a", "Signing in", StepStatus.DONE),
        Step("b", "Resetting the password", StepStatus.IN_PROGRESS),
        Step("c", "Reading it back", StepStatus.PENDING),
    )

    said = VIEWS["card"](a_request(state=RequestState.RUNNING, started_at=T0, steps=steps), known())

    assert said is not None
    assert "Resetting the password of Adele Vance" in reads(said)
    assert "1 of 3 steps" in reads(said)
    assert "█" in reads(said)
    assert mentions(said.text, list(said.blocks)) == ()


def test_a_finished_card_tells_who_asked_why_and_how_the_caller_was_verified() -> None:
    request = a_request(
        state=RequestState.DONE,
        reason="locked out",
        verified="called back",
        started_at=T0,
        finished_at=T0,
        sentence="The password of Adele Vance was reset.",
    )

    said = VIEWS["card"](request, known())

    assert said is not None
    assert "Asked by Olive Hart  ·  Reason: locked out  ·  Caller verified: called back" in reads(said)
    assert said.text.startswith("The password of Adele Vance was reset.")


def test_one_quick_message_with_a_secret_mentions_who_asked_and_offers_it() -> None:
    request = a_request(state=RequestState.DONE, started_at=T0, finished_at=T0, answer={"reveal": "waiting"})

    said = VIEWS["card"](request, known())

    assert said is not None
    assert mentions(said.text, list(said.blocks)) == ("@UOLIVE",)
    assert "can see it once, within ten minutes" in reads(said)
    assert "[Reveal once]" in reads(said)


def test_a_card_with_a_thread_leaves_the_mention_to_its_closing_line() -> None:
    request = a_request(
        state=RequestState.DONE,
        started_at=T0,
        finished_at=T0 + timedelta(seconds=9),
        opened_session=True,
        answer={"reveal": "waiting"},
    )

    card, closing = VIEWS["card"](request, known()), VIEWS["closing"](request, known())

    assert card is not None
    assert closing is not None
    assert mentions(card.text, list(card.blocks)) == ()
    assert "Olive Hart can see it once, within ten minutes." in reads(card), "everybody in the channel reads this"
    assert mentions(closing.text, list(closing.blocks)) == ("@UOLIVE",)
    assert "[Reveal once]" in reads(closing)


@pytest.mark.parametrize(
    ("fields", "labels"),
    [
        ({"state": RequestState.RUNNING, "plan": PLAN}, []),
        ({"state": RequestState.DONE, "plan": PLAN}, ["Undo"]),
        ({"state": RequestState.DONE, "plan": PLAN, "answer": {"undo": "x"}}, []),
        ({"state": RequestState.DONE, "answer": {"reveal": "waiting"}}, ["Reveal once"]),
        ({"state": RequestState.DONE, "answer": {"reveal": "revealed"}}, []),
        ({"state": RequestState.DONE, "answer": {"reveal": "expired"}}, ["Reset again"]),
        ({"state": RequestState.DONE, "answer": {"reveal": "lost", "again_as": "x"}}, []),
        ({"state": RequestState.FAILED, "answer": {"again": True}}, ["Try again"]),
        ({"state": RequestState.FAILED, "answer": {"again": True, "retried": "x"}}, []),
        ({"state": RequestState.FAILED}, []),
        ({"state": RequestState.AWAITING_CONFIRMATION, "answer": {"ask": True}}, ["Do it anyway", "Leave it"]),
        ({"state": RequestState.AWAITING_CONFIRMATION, "answer": {"open": True}}, ["Open session and run", "Leave it"]),
        ({"state": RequestState.WITHDRAWN, "plan": PLAN, "answer": {"ask": True}}, []),
    ],
)
def test_a_request_offers_what_can_be_done_in_its_state_and_nothing_else(
    fields: dict[str, Any], labels: Sequence[str]
) -> None:
    request = a_request(**fields)

    buttons = offers.offers(request, RESET)

    assert [button["text"]["text"] for button in buttons] == labels
    assert {button["value"] for button in buttons} <= {request.id}


def test_steps_say_the_same_in_blocks_and_in_text() -> None:
    steps = (Step("a", "Signing in", StepStatus.DONE), Step("b", "Resetting", StepStatus.FAILED, "Microsoft said no"))

    said = VIEWS["steps"](a_request(state=RequestState.FAILED, steps=steps), known())

    assert said is not None
    assert said.has_plan
    assert said.text == "Done: Signing in\nFailed: Resetting – Microsoft said no"
    assert "(complete) Signing in" in reads(said)


def test_a_form_names_the_person_on_the_button_and_never_runs_on_enter() -> None:
    demands = form.Demands.of(RESET, TenantSettings(), None)

    view = form.build(a_request(), RESET, demands, Preview(ADELE, None))

    (button,) = view["blocks"][-1]["elements"]
    assert button["text"]["text"] == "Reset the password of Adele Vance, Sales"
    assert button["action_id"] == form.RUN
    assert view["submit"]["text"] == "Preview"
    assert view["private_metadata"] == "0" * 32


def test_a_form_without_a_person_has_no_button_that_runs() -> None:
    demands = form.Demands.of(RESET, TenantSettings(), None)

    for preview in (None, Preview(None, None, suggestions=(ADELE,))):
        view = form.build(a_request(typed="adele"), RESET, demands, preview)

        assert [block for block in view["blocks"] if block["type"] == "actions"] == []


def test_what_is_typed_into_a_form_comes_back_as_it_was_meant() -> None:
    group = delegated()["add-to-group"]
    state = {
        "target": {form.FIND_PERSON: {"type": "external_select", "selected_option": {"value": ADELE.id}}},
        "input:group": {form.FIND_GROUP: {"type": "external_select", "selected_option": {"value": "g1"}}},
        "reason": {"x": {"type": "plain_text_input", "value": "  new project \ud800 "}},
    }

    filled = form.parse({"state": {"values": state}}, group)

    assert filled == form.Filled(ADELE.id, {"group": "g1"}, "new project ?", "", "")


@pytest.mark.parametrize(
    "state",
    [
        None,
        {"values": None},
        {"values": {"reason": None, "target": {"a": 5}, "verified": {"a": {"selected_option": None}}}},
        {"values": {"target": {"a": {"selected_option": {"value": "x' or 1 eq 1"}}}}},
        {"values": {"target": {"a": {"selected_option": {"value": "none"}}}}},
        {"values": {"reason": {"a": {"value": ["x"]}}, "input:group": "x"}},
    ],
)
def test_a_tampered_state_counts_as_not_filled_in(state: Any) -> None:
    assert form.parse({"state": state}, delegated()["add-to-group"]) == form.Filled()


def test_every_demand_that_is_not_met_is_named_at_its_field() -> None:
    demands = form.Demands.of(RESET, TenantSettings(), r"INC-\d+")

    assert set(form.problems(form.Filled(ticket="INC-"), RESET, demands)) == {"reason", "verified", "ticket"}
    assert form.problems(form.Filled("", {}, "why", "called back", "INC-7"), RESET, demands) == {}


@pytest.mark.parametrize(
    ("fields", "exact", "needed"),
    [
        ({"reason": "r", "verified": "v"}, True, True),  # resetting a password is always confirmed
        ({"action": "unblock-sign-in", "reason": "r"}, True, False),
        ({"action": "unblock-sign-in"}, True, True),
        ({"action": "unblock-sign-in", "reason": "r"}, False, True),
        ({"action": "unblock-sign-in", "reason": "r", "typed": "", "target": None}, False, True),
        ({"action": "unblock-sign-in", "preview": True}, False, False),
        ({"action": "add-to-group", "reason": "r"}, True, True),
        ({"action": "show-user"}, False, False),
        ({"action": "show-user", "typed": "", "target": None}, False, True),
    ],
)
def test_a_form_is_asked_for_when_something_has_to_be_asked(fields: dict[str, Any], exact: bool, needed: bool) -> None:
    request = a_request(**fields)
    action = delegated()[request.action]

    assert form.needed(request, action, form.Demands.of(action, TenantSettings(), None), exact=exact) is needed


def test_a_secret_stands_in_its_window_as_it_is_and_spelled_and_nowhere_that_travels_back() -> None:
    view = reveal.build("a<&`b", [("a", "alpha"), ("<", "less than")], whose="Adele", advice="Close it.")

    assert check_view(view, Surface.MODAL) == []
    assert view["blocks"][1]["elements"][0]["elements"][0]["text"] == "a<&`b"
    assert not {"private_metadata", "callback_id", "submit", "notify_on_close", "external_id"} & set(view)
    assert [block for block in view["blocks"] if block["type"] in {"input", "actions"}] == []


def test_help_keeps_what_may_be_done_apart_from_what_may_not_and_says_why() -> None:
    rows = [["/m365 show-user adele@contoso.com", "Look a person up", ""], ["/m365 x", "Do x", "No role holds it."]]
    request = a_request(action="help", state=RequestState.DONE, answer={"title": "Help", "commands": rows})

    said = VIEWS["answer"](request, known(None))

    assert said is not None
    lines = reads(said).splitlines()
    assert lines.index("*You may*") < lines.index("*Not available to you now*")
    assert "_No role holds it._" in reads(said)


def test_only_what_was_read_of_the_tenant_can_be_shared_and_only_in_a_channel() -> None:
    read = a_request(action="show-user", command="/m365 show-user", state=RequestState.DONE, answer={"title": "Adele"})

    def labels(request: Request, action: Action | None) -> str:
        said = VIEWS["answer"](request, known(action))
        return reads(said) if said else ""

    assert "[Share in channel]" in labels(read, SHOW)
    assert "[Share in channel]" not in labels(replace(read, origin=Origin("D1")), SHOW)
    assert "[Share in channel]" not in labels(replace(read, answer={"shared": True}), SHOW)
    assert "[Share in channel]" not in labels(replace(read, action="help"), None)
    assert "[Share in channel]" not in labels(replace(read, state=RequestState.REFUSED), SHOW)


def test_a_home_tab_offers_what_fits_the_session() -> None:
    def labels(state: SessionState) -> list[str]:
        session = Session(1, Mode.ADVANCED, state, idle_until=T0)
        view = home.build(home.HomeFacts(session, [], [], "IT", does_something=False))
        rows = [block["elements"] for block in view["blocks"] if block["type"] == "actions"]
        return [button["text"]["text"] for row in rows for button in row]

    assert labels(SessionState.ON) == ["Extend", "Turn off"]
    assert labels(SessionState.OFF) == ["Turn on"]
    assert labels(SessionState.ENABLING) == []
