"""Which messages a request has in Slack, at each moment of its life."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from bot.model import Approval, ApprovalState, Origin, Request, RequestState, SlackUser
from bot.ports import Audience
from bot.story import AT_ONCE, messages
from tests.clock import T0

ASKED = Request(
    id="r1",
    operator_id="olive",
    slack=SlackUser("T1", "U1"),
    command="/m365 reset-password",
    action="reset-password",
    origin=Origin("C1"),
    created_at=T0,
)
RUNNING = replace(ASKED, state=RequestState.RUNNING, started_at=T0)


def ended(state: RequestState = RequestState.DONE, seconds: float = 1, **more: Any) -> Request:
    return replace(RUNNING, state=state, finished_at=T0 + timedelta(seconds=seconds), **more)


def keys(request: Request, seconds: float = 1) -> list[str]:
    return [message.key for message in messages(request, T0 + timedelta(seconds=seconds))]


def test_what_has_not_been_agreed_to_is_nobody_elses_business() -> None:
    (answer,) = messages(replace(ASKED, state=RequestState.REFUSED), T0)

    assert answer.audience is Audience.REQUESTER
    assert answer.key == "answer:r1"


def test_while_nothing_is_to_be_said_nothing_is_said() -> None:
    assert keys(ASKED) == []


def test_an_open_form_speaks_for_itself() -> None:
    assert keys(replace(ASKED, form="V1", state=RequestState.FAILED)) == []


def test_a_card_is_held_back_for_a_moment_because_most_requests_end_within_it() -> None:
    (card,) = messages(RUNNING, T0)

    assert card.audience is Audience.PLACE
    assert card.after == T0 + AT_ONCE


def test_a_request_that_ends_at_once_is_one_message_and_final() -> None:
    (card,) = messages(ended(), T0 + timedelta(seconds=1))

    assert card.after is None


def test_a_request_that_takes_longer_has_its_steps_in_the_thread() -> None:
    card, steps = messages(RUNNING, T0 + timedelta(seconds=4))

    assert card.after is None
    assert steps.under == card.key


def test_a_request_that_opened_a_session_tells_it_in_its_thread_and_closes_with_a_line() -> None:
    assert keys(ended(opened_session=True)) == ["card:r1", "steps:r1", "closing:r1"]


@pytest.mark.parametrize(
    ("request_", "closes"),
    [
        pytest.param(ended(seconds=5), False, id="a wait nobody noticed"),
        pytest.param(ended(seconds=31), True, id="a wait worth a mention"),
        pytest.param(ended(RequestState.FAILED, 5), True, id="a failure"),
        pytest.param(ended(RequestState.UNKNOWN, 5), True, id="an outcome not known yet"),
        pytest.param(ended(seconds=5, answer={"reveal": "waiting"}), True, id="a secret to be seen"),
    ],
)
def test_the_requester_is_called_for_what_they_must_know(request_: Request, closes: bool) -> None:
    assert ("closing:r1" in keys(request_, 60)) is closes


def test_saying_it_again_after_a_restart_says_the_same() -> None:
    request = ended(opened_session=True)

    assert messages(request, T0 + timedelta(hours=1)) == messages(request, T0 + timedelta(seconds=1))


def waits(reminders: int, state: ApprovalState = ApprovalState.PENDING) -> Request:
    """A request that somebody else is asked about, after so many reminders."""
    approval = Approval("a1", "digest", "C9", T0, T0 + timedelta(hours=8), "A VIP.", state, reminders=reminders)
    return replace(RUNNING, state=RequestState.AWAITING_APPROVAL, approval=approval)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (waits(0), []),
        (waits(1), ["reminder:a1:1"]),
        (waits(3), ["reminder:a1:3"]),
        (waits(3, ApprovalState.APPROVED), ["reminder:a1:1", "reminder:a1:2", "reminder:a1:3"]),
    ],
    ids=["not yet", "once", "only the newest", "all, once it is settled"],
)
def test_a_question_is_reminded_of_only_when_it_is_time_and_every_reminder_hears_the_answer(
    request_: Request, said: list[str]
) -> None:
    assert [key for key in keys(request_) if key.startswith("reminder:")] == said
