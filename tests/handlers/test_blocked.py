"""The card that says what keeps Latchkey out, and its window: what is shown to whom, and that Slack takes it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from bot.diagnosis import Blocked, Cause
from bot.errors import Retry, SignInCategory, SignInFailed
from bot.model import NOBODY, Identity, IdentityKind, Request, RequestState
from bot.obstacle import Obstacle, Outcome, Phase
from handlers.views import blocked
from handlers.views.blocks import Block, Said
from sandbox.slack.blocks import Surface, check_view
from sandbox.slack.reading import BlockReader, mentions
from tests.handlers.test_views import T0, a_request, a_while, assert_slack_takes, known, names

ACCOUNT = Identity(IdentityKind.SERVICE_ACCOUNT, "459f7821", "latchkey@contoso.com")
FAILURE = SignInFailed(
    "The account needs multifactor authentication.", category=SignInCategory.MFA, retry=Retry.AFTER_FIX, code=50079
)
MFA = Cause(
    policy="MFA for all admins",
    policy_id="a3d1f7c2",
    asks="demands multifactor authentication",
    why="It applies because it is about holders of the role User Administrator.",
    remedies=("exclude the account from the policy", "switch to the application identity"),
    blocks=False,
    changed_by="Gary Vogel",
    changed_at=T0,
    change="It was added.",
)
COUNTRIES = replace(
    MFA, policy="Only Britain", policy_id="b7", asks="blocks the sign-in", remedies=("add the address",)
)
FOUND = Blocked(
    headline="Blocked by “MFA for all admins”",
    error="The account needs multifactor authentication.",
    code=50079,
    correlation_id="c0ffee",
    identity=ACCOUNT.name,
    kind=ACCOUNT.kind.value,
    at=T0,
    causes=(MFA,),
    report_only=(replace(MFA, policy="Soon"),),
    changes=("“Old one” was deleted.",),
    well_at=T0 - timedelta(days=1),
    signed_in_as="latchkey@contoso.com, to Microsoft Graph, from 203.0.113.10 (IE)",
    microsoft="Microsoft's own what-if says the same.",
    not_known=("The sign-in log could not be read.",),
    meanwhile=("A session that is on goes on.",),
)
OBSTACLE = Obstacle(Phase.KNOWN, FAILURE, ACCOUNT, T0, found=FOUND.to_json())


def stopped(obstacle: Obstacle = OBSTACLE, state: RequestState = RequestState.FAILED, **answer: object) -> Request:
    return obstacle.within(a_request(state=state, started_at=T0, finished_at=T0, answer={"again": True, **answer}))


def card(request: Request) -> Said:
    said = blocked.build(request, known())
    assert said is not None
    assert_slack_takes(said)
    return said


def seen(blocks: list[Block]) -> str:
    return BlockReader(lambda user: user, T0.timestamp, "UTC").blocks(blocks).replace("*", "")


def reads(request: Request) -> str:
    return seen(list(card(request).blocks))


def test_the_card_has_names_whom_to_ask_and_what_to_do_and_nothing_for_tenant_admins_only() -> None:
    words = reads(stopped())

    assert "Blocked by “MFA for all admins”." in words
    assert "MFA for all admins demands multifactor authentication." in words
    assert "Exclude the account from the policy" in words
    assert "A session that is on goes on." in words
    assert "Changed by Gary" in words
    for hidden in ("User Administrator", "c0ffee", "203.0.113.10", "latchkey@", "Soon", "a3d1f7c2", "Adele"):
        assert hidden not in words
    alone = replace(stopped(), started_at=None)
    assert mentions("", list(card(alone).blocks)) == ("@UOLIVE",)
    assert mentions("", list(card(stopped()).blocks)) == ()


def test_the_window_has_all_of_it() -> None:
    view = blocked.details(OBSTACLE)
    words = seen(view["blocks"])

    assert check_view(view, Surface.MODAL) == []
    for told in ("User Administrator", "Gary", "c0ffee", "203.0.113.10", "Soon", "a3d1f7c2", "AADSTS50079"):
        assert told in words
    assert "Microsoft's own what-if says the same." in words
    assert "“Old one” was deleted." in words


def test_where_no_policy_can_be_seen_the_card_says_what_is_missing_and_what_microsoft_advises() -> None:
    failure = SignInFailed(
        "A policy blocks it. Run Entra's What If.",
        category=SignInCategory.MFA,
        retry=Retry.AFTER_FIX,
        meaning="A policy.",
    )
    unseen = replace(FOUND, headline="Microsoft refused the sign-in", error="A policy.", causes=())
    words = reads(stopped(replace(OBSTACLE, failure=failure, found=unseen.to_json())))

    assert "Run Entra's What If." in words
    assert "The sign-in log could not be read." in words
    assert "[Set up allowed IPs]" not in words


def test_the_best_remedy_of_each_policy_comes_before_the_second_best_of_any() -> None:
    words = reads(stopped(replace(OBSTACLE, found=replace(FOUND, causes=(MFA, COUNTRIES)).to_json())))

    remedies = ("exclude the account", "Against “Only Britain”: add the address", "switch to the application")
    at = [words.index(each) for each in remedies]
    assert at == sorted(at)


def test_allowed_ips_are_offered_where_they_help() -> None:
    defaults = replace(FOUND, causes=(replace(MFA, policy="Security defaults", policy_id=""),))
    application = replace(OBSTACLE, identity=replace(ACCOUNT, kind=IdentityKind.APPLICATION))

    assert "[Set up allowed IPs]" in reads(stopped())
    assert "[Set up allowed IPs]" not in reads(stopped(replace(OBSTACLE, found=defaults.to_json())))
    assert "[Use the application identity instead]" not in reads(stopped(application))


def test_while_somebody_tests_it_nothing_can_be_pressed() -> None:
    words = reads(stopped(replace(OBSTACLE, phase=Phase.TESTING, by="Bo Larsen")))

    assert "Bo Larsen tests it again" in words
    assert "[" not in words


def test_what_fails_otherwise_now_says_so_and_has_no_details() -> None:
    words = reads(stopped(replace(OBSTACLE, found=None, by="Bo Larsen")))

    assert "Latchkey still cannot sign in." in words
    assert "The account needs multifactor authentication." in words
    assert "Bo Larsen tested it again" in words
    assert "[Details]" not in words


def test_once_it_works_the_card_says_what_becomes_of_the_request() -> None:
    over = replace(OBSTACLE, phase=Phase.OVER, by="Bo Larsen")
    runs = reads(stopped(replace(over, outcome=Outcome.RUNS), retried="b" * 32))
    form = reads(stopped(replace(over, outcome=Outcome.FORM), retried="b" * 32))
    asks = reads(stopped(replace(over, outcome=Outcome.ASKS), retried="b" * 32))
    by_itself = reads(stopped(replace(over, by="")))

    assert "Latchkey can sign in again. Tested by Bo Larsen" in runs
    assert "What Olive Hart had asked for runs again." in runs
    assert "[" not in runs
    assert "[Continue]" in form
    assert "[Do it now]" in asks
    assert "[Test again]" in by_itself
    assert "Everybody works with an account of their own now. Tested by Bo" in reads(
        stopped(replace(over, identity=NOBODY))
    )
    assert "The request has gone on." in reads(stopped(state=RequestState.DONE))


def test_a_button_of_the_card_carries_nothing_but_an_id() -> None:
    over = stopped(replace(OBSTACLE, phase=Phase.OVER, outcome=Outcome.FORM), retried="b" * 32)

    (pressed,) = card(over).blocks[-1]["elements"]
    assert pressed["value"] == "b" * 32
    assert {each["value"] for each in card(stopped()).blocks[-1]["elements"]} == {stopped().id}


@a_while
@given(names, st.sampled_from([each for each in Phase if each is not Phase.LOOKING]), st.sampled_from(Outcome))
def test_no_name_of_a_policy_breaks_anything(text: str, phase: Phase, outcome: Outcome) -> None:
    cause = Cause(text, text, text, text, (text,) * 9, changed_by=text, changed_at=T0, change=text)
    found = Blocked(
        text, text, 1, text, text, text, T0, (cause,) * 60, (cause,) * 60, (text,) * 60, T0, text, text, (text,) * 60,
        text, (text,) * 60, (text,) * 60,
    )  # fmt: skip
    obstacle = replace(OBSTACLE, phase=phase, outcome=outcome, by=text, found=found.to_json())
    said = card(stopped(obstacle, retried="b" * 32))

    assert set(mentions(said.text, list(said.blocks))) <= {"@UOLIVE"}
    view = blocked.details(obstacle)
    assert check_view(view, Surface.MODAL) == []
    assert mentions("", view["blocks"]) == ()


def test_nothing_is_said_before_anything_is_known() -> None:
    assert blocked.build(stopped(replace(OBSTACLE, phase=Phase.LOOKING)), known()) is None
    assert blocked.build(a_request(), known()) is None
