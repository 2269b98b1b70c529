"""A Graph that loses answers, breaks, or is busy: what is applied is applied once, and everybody hears what it was."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.model import RequestState
from sandbox.faults import Answer, Drop, Effect, Hang, Rule
from tests.recovery.scene import Row, Scene
from tests.stage import HELPDESK, open_stage


@dataclass(frozen=True)
class Write:
    """Something to ask for, and the one request to Graph that does it."""

    command: str
    method: str
    path: str
    done: str
    button: str | None = None


RESET = Write(
    "/m365 reset-password adele@contoso.com --reason r",
    "PATCH",
    "/users/{adele}",
    "The password of Adele Vance was reset",
    button="Reset the password of Adele Vance, Sales",
)
BLOCK = Write(
    "/m365 block-sign-in alex@contoso.com --reason r", "PATCH", "/users/{alex}", "Sign-in of Alex Wilber was blocked"
)
ADD = Write(
    "/m365 add-to-group lee@contoso.com --group Sales --reason r",
    "POST",
    "/groups/{Sales}/members/$ref",
    "Lee Gu was added to the group",
)
REMOVE = Write(
    "/m365 remove-from-group miriam@contoso.com --group Sales --reason r",
    "DELETE",
    "/groups/{Sales}/members/{miriam}/$ref",
    "Miriam Graham was removed from the group",
)
WRITES = (RESET, BLOCK, ADD, REMOVE)
each_write = pytest.mark.parametrize("write", WRITES, ids=lambda write: write.method + " " + write.command.split()[1])

BUSY = {"error": {"code": "TooManyRequests", "message": "Too many requests."}}
DENIED = {"error": {"code": "Authorization_RequestDenied", "message": "Insufficient privileges."}}

UNANSWERED = {
    "dropped": Drop("before"),
    "500": Answer(500),
    "502 from a proxy": Answer(502, "<html><h1>Bad gateway</h1></html>"),
    "504": Answer(504),
    "200 that is no JSON": Answer(200, "<html>Sign in to the guest network</html>"),
}
"""What says nothing about whether the request was applied; here it was not."""


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_stage(tmp_path) as stage:
        yield Scene(stage.world)


def path_of(scene: Scene, write: Write) -> str:
    directory = scene.world.directory
    people = {name: directory.user(f"{name}@contoso.com").id for name in ("adele", "alex", "lee", "miriam")}
    return write.path.format(Sales=directory.group("Sales").id, **people)


def applied(scene: Scene, write: Write) -> int:
    return scene.world.writes(write.method, path_of(scene, write))


async def ask(scene: Scene, write: Write, *effects: Effect) -> Row:
    """Ask for it, let *effects* happen to its sendings one after the other, and return how it ended."""
    for effect in effects:
        scene.world.faults.add(Rule("graph", write.method, path_of(scene, write), effect, times=1))
    await begin(scene, write)
    return await scene.end_of()


async def begin(scene: Scene, write: Write) -> None:
    before = len(scene.rows())
    await scene.world.slack.command("ana", HELPDESK, write.command)
    await scene.until(lambda: len(scene.rows()) > before)
    if write.button is not None:
        await scene.form_filled("ana", write.button)
        await scene.world.slack.choose("ana", "modal", "How was the caller verified?", "In person")
        await scene.world.slack.click("ana", "modal", write.button)


@each_write
async def test_a_change_whose_answer_is_lost_is_found_by_reading_back(scene: Scene, write: Write) -> None:
    row = await ask(scene, write, Drop("after"))

    assert row.state is RequestState.DONE
    assert row.details["sentence"] == write.done
    assert applied(scene, write) == 1
    await scene.until(lambda: write.done in scene.story())
    (finished,) = scene.audited("attempt.finished")
    assert finished["facts"]["outcome"] == "succeeded"
    assert finished["facts"]["found_by"] == "reading back"


@pytest.mark.slow
@pytest.mark.parametrize("effect", UNANSWERED.values(), ids=UNANSWERED)
async def test_a_reset_that_got_no_answer_is_never_sent_again(scene: Scene, effect: Effect) -> None:
    """Each sending would be another password."""
    scene.world.faults.add(Rule("graph", "PATCH", path_of(scene, RESET), effect, times=1))
    await begin(scene, RESET)
    before = scene.world.clock.offset
    await scene.passes_until(lambda: scene.rows()[0].state is RequestState.UNKNOWN)
    unknown = scene.rows()[0]
    assert unknown.details["sentence"].startswith(
        "This was sent to Microsoft, but no clear answer came back, and it does not show yet. I look again at "
    )
    assert 45 <= scene.world.clock.offset - before <= 90
    await scene.until(lambda: unknown.details["sentence"] in scene.story())
    await scene.until(lambda: "[Try again]" in scene.story())
    assert "[Reveal once]" not in scene.story()

    row = await scene.end_of()
    assert row.state is RequestState.FAILED
    assert row.details["sentence"] == "Microsoft still shows no change, so this did not happen."
    assert applied(scene, RESET) == 0
    sent = [request for request in scene.graph_requests() if request.method == "PATCH"]
    assert len(sent) == 1


@pytest.mark.slow
@pytest.mark.parametrize("write", [BLOCK, ADD, REMOVE], ids=lambda write: write.method)
@pytest.mark.parametrize("effect", UNANSWERED.values(), ids=UNANSWERED)
async def test_what_sets_a_state_is_sent_once_more_when_it_is_seen_not_to_be_there(
    scene: Scene, write: Write, effect: Effect
) -> None:
    row = await ask(scene, write, effect)

    assert row.state is RequestState.DONE
    assert row.details["sentence"] == write.done
    assert applied(scene, write) == 1
    outcomes = [(body["facts"]["outcome"], body["facts"].get("found_by")) for body in scene.audited("attempt.finished")]
    assert outcomes == [("unavailable", "reading back"), ("succeeded", None)]


@pytest.mark.slow
async def test_it_is_sent_no_third_time(scene: Scene) -> None:
    row = await ask(scene, BLOCK, Answer(502), Answer(502))

    assert row.state is RequestState.FAILED
    assert applied(scene, BLOCK) == 0
    assert len([request for request in scene.graph_requests() if request.method == "PATCH"]) == 2


@pytest.mark.slow
async def test_a_graph_that_never_answers_counts_as_a_lost_answer(scene: Scene) -> None:
    """It is busy first and asks for most of our patience, so that little of it is left for the silence."""
    for effect in (Answer(429, BUSY, {"Retry-After": "115"}), Hang()):
        scene.world.faults.add(Rule("graph", "PATCH", path_of(scene, RESET), effect, times=1))
    await begin(scene, RESET)
    await scene.until(lambda: any(request.status == 429 for request in scene.graph_requests()))
    scene.world.clock.advance(115)
    row = await scene.end_of()

    assert row.state is RequestState.FAILED
    assert applied(scene, RESET) == 0
    assert len([request for request in scene.graph_requests() if request.method == "PATCH"]) == 2


@pytest.mark.slow
@each_write
@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_graph_is_waited_for_as_long_as_it_asks(scene: Scene, write: Write, status: int) -> None:
    busy = Answer(status, BUSY, {"Retry-After": "20"})
    scene.world.faults.add(Rule("graph", write.method, path_of(scene, write), busy, times=1))
    await begin(scene, write)
    await scene.until(lambda: any(request.status == status for request in scene.graph_requests()))
    scene.world.clock.advance(19)
    assert applied(scene, write) == 0
    row = await scene.end_of()

    assert row.state is RequestState.DONE
    assert applied(scene, write) == 1
    (attempt,) = scene.audited("attempt.started")
    sent = [request for request in scene.graph_requests() if request.method == write.method and request.status]
    assert {request.client_request_id for request in sent if request.path == path_of(scene, write)} == {
        attempt["attempt"]
    }


@pytest.mark.slow
@each_write
async def test_a_graph_that_stays_busy_is_a_failure_that_changed_nothing(scene: Scene, write: Write) -> None:
    row = await ask(scene, write, Answer(429, BUSY, {"Retry-After": "3600"}))

    assert row.state is RequestState.FAILED
    assert row.details["sentence"] == (
        "Microsoft is busy and asks us to wait about 60 minutes. Nothing was changed. Try again then."
    )
    assert applied(scene, write) == 0
    await scene.until(lambda: "[Try again]" in scene.story())


@pytest.mark.slow
@each_write
async def test_a_no_is_told_at_once_and_not_looked_at_again(scene: Scene, write: Write) -> None:
    row = await ask(scene, write, Answer(403, DENIED))

    assert row.state is RequestState.FAILED
    assert row.details["sentence"].startswith("Microsoft does not let the management session do this")
    assert row.due_at is None
    (finished,) = scene.audited("attempt.finished")
    assert (finished["facts"]["outcome"], finished["facts"]["status"]) == ("refused", 403)


async def test_trying_again_after_a_failure_is_not_asked_about(scene: Scene) -> None:
    await ask(scene, BLOCK, Answer(403, DENIED))
    await scene.press("ana", "Try again")
    await scene.until(lambda: len(scene.rows()) == 2)
    row = await scene.end_of()

    assert row.state is RequestState.DONE
    await scene.until(lambda: "[Try again]" not in scene.story())
