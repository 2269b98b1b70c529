"""SIGKILL at every numbered point of the road, for a real process: what the next one makes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.model import RequestState
from bot.road import Point
from tests.recovery.scene import Row, Scene, open_scene
from tests.stage import HELPDESK

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Wish:
    """What somebody types, what they press in its form, and what that does to the tenant."""

    person: str
    command: str
    write: tuple[str, str]
    done: str
    button: str | None = None
    verified: bool = False
    repeatable: bool = False
    secret: bool = False


WISHES = {
    "reset-password": Wish(
        "olive",
        '/m365 reset-password adele@contoso.com --reason "locked out"',
        ("PATCH", "/users/"),
        "The password of Adele Vance was reset",
        button="Reset the password of Adele Vance, Sales",
        verified=True,
        secret=True,
    ),
    "temporary-access-pass": Wish(
        "ana",
        '/m365 temporary-access-pass adele@contoso.com --reason "new phone"',
        ("POST", "/users/"),
        "Adele Vance was given a temporary access pass",
        button="Give Adele Vance, Sales a temporary access pass",
        verified=True,
        secret=True,
    ),
    "revoke-sessions": Wish(
        "ana",
        '/m365 revoke-sessions adele@contoso.com --reason "stolen laptop"',
        ("POST", "/users/"),
        "Adele Vance was signed out everywhere",
        button="Sign Adele Vance, Sales out everywhere",
    ),
    "block-sign-in": Wish(
        "ana",
        '/m365 block-sign-in adele@contoso.com --reason "left"',
        ("PATCH", "/users/"),
        "Sign-in of Adele Vance was blocked",
        repeatable=True,
    ),
    "add-to-group": Wish(
        "ana",
        '/m365 add-to-group lee@contoso.com --group Sales --reason "joins"',
        ("POST", "/groups/"),
        "Lee Gu was added to the group",
        repeatable=True,
    ),
}


def cases() -> Iterator[object]:
    """(wish, point, whether it is passed after the press), as far as the points differ."""
    for name, wish in WISHES.items():
        for point in Point:
            asking = wish.button is not None and point <= Point.PLANNED
            yield pytest.param(wish, point, not asking, id=f"{name}-{point.name.lower()}")
    for point in (Point.PERSON_DECIDED, Point.SESSION_OPEN, Point.RESOLVED, Point.PLANNED):
        yield pytest.param(
            WISHES["reset-password"], point, True, id=f"reset-password-{point.name.lower()}-once-pressed"
        )


@pytest.mark.parametrize(("wish", "point", "pressed"), [*cases()])
async def test_a_bot_killed_there_repeats_nothing_and_tells_what_happened(
    tmp_path: Path, wish: Wish, point: Point, pressed: bool
) -> None:
    async with open_scene(tmp_path) as scene:
        seen = await _until_killed(scene, wish, point, pressed=pressed)
        row = await scene.end_of()

        writes = [request for request in scene.world.graph.writes() if request.method == wish.write[0]]
        afterwards = scene.graph_requests(seen)
        sent_again = [request for request in afterwards if request.applied]
        if point is Point.ATTEMPTED and not wish.repeatable:
            assert row.state is RequestState.FAILED
            assert writes == []
        else:
            assert row.state is RequestState.DONE
            assert len(writes) == 1
            assert writes[0].path.startswith(wish.write[1])
        if point >= Point.SENT:
            assert sent_again == []
        if point is Point.ATTEMPTED and sent_again:
            about_the_target = [request for request in afterwards if request.path.startswith("/users/")]
            assert about_the_target[0].method == "GET"
        if point is Point.FINISHED:
            assert afterwards == []  # what is finished needs no session to be told

        await _told(scene, wish, point, row)
        await _nothing_is_left_open(scene)
        if point >= Point.ATTEMPTED:  # every start examines the trail, too: before these points that is enough
            verified = await scene.bot.command("audit", "verify")
            assert verified.exit_code == 0, verified.output


async def _until_killed(scene: Scene, wish: Wish, point: Point, *, pressed: bool) -> int:
    """Let it happen, with a new bot in the end; returns how many requests Graph had seen from the old one."""
    warm = wish.button is not None and pressed and point <= Point.PLANNED
    await scene.start(kill_at=None if warm else point)
    await scene.world.slack.command(wish.person, HELPDESK, wish.command)
    if not pressed:
        await scene.death()
        seen = len(scene.world.graph.requests)
        await scene.start()
    if wish.button is not None:
        await scene.form_filled(wish.person, wish.button)
        if warm:
            await scene.stop()
            await scene.start(kill_at=point)
        if wish.verified:
            await scene.world.slack.choose(wish.person, "modal", "How was the caller verified?", "In person")
        await scene.world.slack.click(wish.person, "modal", wish.button)
    if pressed:
        await scene.death()
        seen = len(scene.world.graph.requests)
        await scene.start()
    return seen


async def _told(scene: Scene, wish: Wish, point: Point, row: Row) -> None:
    """The channel says how it ended; who asked can go on from there."""
    slack, directory = scene.world.slack, scene.world.directory
    if wish.secret and point >= Point.SENT:
        await scene.until(lambda: "[Reset again]" in scene.story() and "[Reveal once]" not in scene.story())
    sentence = scene.rows()[0].details["sentence"]
    await scene.until(lambda: sentence in scene.story())
    if row.state is RequestState.FAILED:
        assert sentence == "Microsoft still shows no change, so this did not happen."
        await scene.until(lambda: "[Try again]" in scene.story())
        return
    assert sentence.startswith(wish.done)
    if not wish.secret:
        assert sentence == wish.done
    elif point >= Point.SENT:
        assert sentence == (
            f"{wish.done}, but the bot was restarted before anybody saw it. It cannot be shown any more, so Adele "
            "Vance cannot sign in with it."
        )
    else:
        await scene.press(wish.person, "Reveal once")
        await scene.until(lambda: "To read it out" in slack.modals(wish.person)[-1].visible_text)
        shown = slack.modals(wish.person)[-1].visible_text
        held = directory.user("adele@contoso.com").access_pass
        assert (held.value if held else directory.password_of("adele@contoso.com")) in shown


async def _nothing_is_left_open(scene: Scene) -> None:
    """Each attempt has its end, each change in the tenant its attempt, and no password came to light."""
    started = [body["attempt"] for body in scene.audited("attempt.started")]
    finished = [body["attempt"] for body in scene.audited("attempt.finished")]
    assert sorted(started) == sorted(finished)
    changed = [audit.client_request_id for audit in scene.world.directory.audits]
    assert len(changed) == len(set(changed))
    assert set(changed) <= set(started)
    assert not any(password in scene.world.slack.history_text() for password in scene.world.directory.passwords)
    assert all(row.state.final for row in scene.rows()), json.dumps([row.state for row in scene.rows()])


async def test_a_secret_that_died_with_the_bot_is_made_anew_at_the_press_of_a_button(tmp_path: Path) -> None:
    wish = WISHES["reset-password"]
    async with open_scene(tmp_path) as scene:
        await _until_killed(scene, wish, Point.SENT, pressed=True)
        await scene.end_of()
        first = scene.world.directory.password_of("adele@contoso.com")

        scene.world.clock.advance(2)  # Microsoft tells changes of a password apart by the second
        await scene.press("olive", "Reset again")
        await scene.until(lambda: len(scene.rows()) == 2)
        row = await scene.end_of()
        assert row.answer.get("reveal") == "waiting", row
        second = scene.world.directory.password_of("adele@contoso.com")
        assert second != first

        await scene.press("olive", "Reveal once")
        await scene.until(lambda: second in scene.world.slack.modals("olive")[-1].visible_text)
        await scene.until(lambda: "[Reset again]" not in scene.story())
