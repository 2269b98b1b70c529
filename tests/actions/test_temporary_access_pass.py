"""Giving a temporary access pass, whose value stands in one answer only."""

from __future__ import annotations

from bot.actions.temporary_access_pass import ACTION, Inputs, plan
from bot.model import Plan, Repeat
from tests.tenant import ADELE, ADELE_ID, SERVICE_ACCOUNT, contoso

PASSES = f"users/{ADELE_ID}/authentication/temporaryAccessPassMethods"
OLD = {"id": "old", "createdDateTime": "2026-03-01T08:00:00Z"}


async def planned(inputs: Inputs, *present: dict[str, str]) -> Plan:
    tenant = contoso()
    tenant.answers[PASSES] = list(present)
    return await plan(tenant, ADELE, inputs, SERVICE_ACCOUNT)


async def test_a_pass_works_once_for_an_hour_unless_asked_otherwise() -> None:
    usual, asked = await planned(Inputs()), await planned(ACTION.parse({"lifetime": "480", "once": "no"}))

    assert usual.calls[0].body == {"lifetimeInMinutes": 60, "isUsableOnce": True}
    assert asked.calls[0].body == {"lifetimeInMinutes": 480, "isUsableOnce": False}
    assert asked.changes[0].after == "a new one, for 480 minutes, to be used any number of times"


async def test_its_value_is_taken_from_the_answer_and_it_is_made_once() -> None:
    [call] = (await planned(Inputs())).calls

    assert (call.method, "/".join(call.path)) == ("POST", PASSES)
    assert call.reveals == "temporaryAccessPass"
    assert call.repeat is Repeat.ONE_SHOT
    assert "Temporary Access Pass" in call.advice


async def test_the_pass_they_have_is_replaced_and_that_is_said_before() -> None:
    first, second = await planned(Inputs()), await planned(Inputs(), OLD)

    assert first.changes[0].before == "none"
    assert first.notes == ()
    assert second.changes[0].before == "one that was given out before"
    assert second.notes == ("The pass they have now stops working.",)


async def test_a_younger_pass_is_the_witness() -> None:
    first, second = (await planned(Inputs())).read_back, (await planned(Inputs(), OLD)).read_back

    assert first is not None
    assert second is not None
    new = {"value": [{"createdDateTime": "2026-03-03T09:00:00Z"}]}
    assert not first.holds({"value": []})
    assert first.holds(new)
    assert not second.holds({"value": [OLD]})
    assert second.holds(new)
