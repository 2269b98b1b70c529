"""Searchable lists answer in time, with whom one may choose, or say why not."""

from __future__ import annotations

from bot.model import Target, TargetKind
from tests.handlers.stage import ADELE, Stage
from tests.handlers.test_forms import opened


async def offered(stage: Stage, typed: str) -> list[str]:
    options = await stage.people.options("olive", "modal", "Whom", typed)
    return [option["text"]["text"] for option in options]


async def test_people_are_found_while_one_types(stage: Stage) -> None:
    await opened(stage, "/m365 reset-password")

    assert await offered(stage, "ade") == ["Adele Vance"]


async def test_one_letter_finds_nobody_and_says_so(stage: Stage) -> None:
    await opened(stage, "/m365 reset-password")

    await stage.people.options("olive", "modal", "Whom", "ad")
    delivery = stage.people.deliveries[-1]
    await stage.people.deliver("interactive", {**delivery.payload, "value": "a"})

    assert "Type at least two letters." in str(stage.people.deliveries[-1].ack.body)


async def test_a_slow_directory_is_not_waited_for(stage: Stage) -> None:
    await opened(stage, "/m365 reset-password")
    stage.search.slow = True

    await stage.people.options("olive", "modal", "Whom", "ade")

    assert "Still looking." in str(stage.people.deliveries[-1].ack.body)
    assert stage.people.deliveries[-1].ack.seconds < 3


async def test_nobody_found_is_said(stage: Stage) -> None:
    await opened(stage, "/m365 reset-password")

    await offered(stage, "zzz")

    assert "Nothing found" in str(stage.people.deliveries[-1].ack.body)


async def test_choosing_the_explanation_chooses_nobody(stage: Stage) -> None:
    request = await opened(stage, "/m365 reset-password")

    (explanation,) = await stage.people.options("olive", "modal", "Whom", "zzz")
    await stage.people.choose("olive", "modal", "Whom", explanation)
    await stage.settled()

    assert await stage.now(request) == request
    assert stage.worker.woken == []


async def test_the_longest_names_fit_into_a_list(stage: Stage) -> None:
    await opened(stage, "/m365 reset-password")
    stage.search.targets = tuple(
        Target(TargetKind.USER, ADELE.id[:-3] + f"{number:03}", "Ade" + "x" * 500, "y" * 500) for number in range(150)
    )

    assert len(await offered(stage, "ade")) == 100
    assert stage.people.deliveries[-1].ack.status == "ok"


async def test_nobody_searches_in_somebody_elses_form(stage: Stage) -> None:
    await opened(stage, "/m365 reset-password")
    await offered(stage, "ade")
    ana = {"id": "U0ANA00001", "team_id": "T0CONTOSO"}

    await stage.people.deliver("interactive", {**stage.people.deliveries[-1].payload, "user": ana})

    assert "only Olive Hart" in str(stage.people.deliveries[-1].ack.body)
