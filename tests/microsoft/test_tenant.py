"""The Graph client in the sandbox's tenant, signed in as the service account through the real MSAL."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

from bot.errors import (
    BadInput,
    GraphNotFound,
    GraphRefused,
    GraphUnavailable,
    OutcomeUnknown,
    PasswordRefused,
    SignInFailed,
)
from bot.model import Call, Generated, Secret
from sandbox.directory import SERVICE_ACCOUNT
from sandbox.faults import Answer, Drop, Rule
from tests.clock import T0
from tests.microsoft.tenant import Contoso, SignInTokens

PASSWORD = Secret("Amber-Kettle-5821")


def reset(user_id: str) -> Call:
    profile = {"password": Generated.PASSWORD.marker, "forceChangePasswordNextSignIn": True}
    return Call("PATCH", ("users", user_id), {"passwordProfile": profile})


async def test_people_are_read_and_searched(contoso: Contoso) -> None:
    graph = contoso.graph()

    adele = await graph.get("users", "Adele@contoso.com", query={"$select": "id,displayName,department"})
    everybody = await graph.collect("users", query={"$select": "id", "$top": "5"})
    found = await graph.collect(
        "users",
        query={"$search": '"displayName:smith"', "$count": "true", "$select": "userPrincipalName"},
        eventual=True,
    )

    assert adele["displayName"] == "Adele Vance"
    assert len({one["id"] for one in everybody}) == len(everybody) > 20
    assert {one["userPrincipalName"] for one in found} >= {"john.smith@contoso.com", "jon.smith@contoso.com"}


async def test_a_guest_s_name_finds_the_guest(contoso: Contoso) -> None:
    guest = await contoso.graph().get("users", "gail_partner.example#EXT#@contoso.onmicrosoft.com")

    assert "#EXT#" in guest["userPrincipalName"]


@pytest.mark.parametrize("name", ["nobody@contoso.com", "a'b@contoso.com", "%2f", "x?$select=id", "adele@contoso.com/"])
async def test_a_strange_name_is_just_a_name_nobody_has(contoso: Contoso, name: str) -> None:
    with pytest.raises((GraphNotFound, GraphRefused)):
        await contoso.graph().get("users", name)

    assert [request.path.count("/") for request in contoso.servers.graph.requests] == [2]


@pytest.mark.parametrize("name", ["a'/../../groups/1", "..", "x\r\nX: y"])
async def test_a_name_that_is_a_path_never_leaves(contoso: Contoso, name: str) -> None:
    with pytest.raises(BadInput):
        await contoso.graph().get("users", name)

    assert not contoso.servers.graph.requests


async def test_a_reset_puts_the_generated_password_in_force(contoso: Contoso) -> None:
    adele = contoso.servers.directory.user("adele")

    sent = await contoso.graph().send(reset(adele.id), attempt_id="attempt-1", generated=PASSWORD)

    assert contoso.servers.directory.password_of("adele") == PASSWORD.reveal()
    (request,) = contoso.servers.graph.requests
    assert (sent.status, sent.request_id) == (204, request.request_id)
    assert request.client_request_id == "attempt-1"


async def test_a_password_the_tenant_forbids_is_refused_as_such(contoso: Contoso) -> None:
    adele = contoso.servers.directory.user("adele")

    with pytest.raises(PasswordRefused):
        await contoso.graph().send(reset(adele.id), attempt_id="a", generated=Secret("Contoso123"))


async def test_an_administrator_s_account_is_refused_with_what_is_missing(contoso: Contoso) -> None:
    gary = contoso.servers.directory.user("gary")

    with pytest.raises(GraphRefused, match="directory role") as refusal:
        await contoso.graph().send(reset(gary.id), attempt_id="a", generated=PASSWORD)

    assert refusal.value.answer is not None
    assert refusal.value.answer.code == "Authorization_RequestDenied"


async def test_a_member_is_added_and_removed_by_reference(contoso: Contoso) -> None:
    directory, graph = contoso.servers.directory, contoso.graph()
    group, alex = directory.group("Engineering"), directory.user("alex")
    add = Call(
        "POST", ("groups", group.id, "members", "$ref"), {"@odata.id": {"$ref_to": ["directoryObjects", alex.id]}}
    )
    remove = Call("DELETE", ("groups", group.id, "members", alex.id, "$ref"))

    await graph.send(add, attempt_id="a")
    assert alex.id in directory.group("Engineering").members
    assert await graph.ask("users", alex.id, "checkMemberGroups", body={"groupIds": [group.id]})

    await graph.send(remove, attempt_id="b")
    assert alex.id not in directory.group("Engineering").members


async def test_a_temporary_access_pass_is_revealed_to_us_alone(contoso: Contoso) -> None:
    adele = contoso.servers.directory.user("adele")
    body = {"lifetimeInMinutes": 60, "isUsableOnce": True}
    path = ("users", adele.id, "authentication", "temporaryAccessPassMethods")

    sent = await contoso.graph().send(Call("POST", path, body, reveals="temporaryAccessPass"), attempt_id="a")

    made = contoso.servers.directory.user("adele").access_pass
    assert made is not None
    assert sent.revealed is not None
    assert sent.revealed.reveal() == made.value


@pytest.mark.parametrize(("who", "works"), [("isaiah", True), ("henrietta", False)])
async def test_a_reset_with_writeback_is_followed_to_its_end(contoso: Contoso, who: str, works: bool) -> None:
    contoso.servers.graph.resets.seconds = 0
    user = contoso.servers.directory.user(who)
    method = ("users", user.id, "authentication", "methods", "28c10230-6103-485e-b985-444c60001490", "resetPassword")
    call = Call("POST", method, {"newPassword": Generated.PASSWORD.marker}, poll=True)

    if works:
        assert (await contoso.graph().send(call, attempt_id="a", generated=PASSWORD)).status == 202
    else:
        with pytest.raises(GraphRefused, match="could not carry it out"):
            await contoso.graph().send(call, attempt_id="a", generated=PASSWORD)

    assert (contoso.servers.directory.password_of(who) == PASSWORD.reveal()) == works


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_a_dropped_answer_after_a_write_is_unknown_and_the_write_happened_once(
    contoso: Contoso, method: str
) -> None:
    directory = contoso.servers.directory
    adele, sales = directory.user("adele").id, directory.group("Sales").id
    call = {
        "PATCH": Call("PATCH", ("users", adele), {"accountEnabled": False}),
        "DELETE": Call("DELETE", ("groups", sales, "members", adele, "$ref")),
    }[method]
    contoso.servers.faults.start("graph-drops-after-write")

    with pytest.raises(OutcomeUnknown):
        await contoso.graph().send(call, attempt_id="a")

    assert [request.applied for request in contoso.servers.graph.requests] == [True]


async def test_a_dropped_connection_does_not_stop_a_read(contoso: Contoso) -> None:
    contoso.servers.faults.add(Rule("graph", "GET", "/users/*", Drop("before"), times=2))

    assert (await contoso.graph().get("users", "adele@contoso.com"))["displayName"] == "Adele Vance"
    assert len(contoso.clock.waits) == 2


async def test_throttling_is_waited_out_for_reads_and_writes(contoso: Contoso) -> None:
    graph = contoso.graph()
    adele = contoso.servers.directory.user("adele")
    contoso.servers.faults.start("graph-throttled")

    await graph.send(reset(adele.id), attempt_id="a", generated=PASSWORD)

    assert [round(wait) in {2, 3} for wait in contoso.clock.waits] == [True] * 3
    assert [request.applied for request in contoso.servers.graph.requests] == [False, False, False, True]


async def test_a_graph_that_is_down_is_unavailable_and_changed_nothing(contoso: Contoso) -> None:
    contoso.servers.faults.start("graph-down")

    with pytest.raises(GraphUnavailable):
        await contoso.graph().send(Call("PATCH", ("users", "adele"), {"accountEnabled": False}), attempt_id="a")

    assert contoso.servers.directory.user("adele").enabled


async def test_an_ended_token_is_replaced_by_a_new_sign_in(contoso: Contoso) -> None:
    tokens = contoso.tokens()
    graph = contoso.graph(tokens)
    await graph.get("users", "adele@contoso.com")
    contoso.servers.entra.expire_tokens()

    assert (await graph.get("users", "adele@contoso.com"))["displayName"] == "Adele Vance"
    assert tokens.demanded == [None]
    assert len(contoso.servers.entra.grants("password")) == 2


async def test_a_revoked_session_is_challenged_and_the_claims_reach_entra(contoso: Contoso) -> None:
    class Continuous(SignInTokens):
        """Says that it understands claims challenges, so that a revocation ends its token at once."""

        capable = json.dumps({"access_token": {"xms_cc": {"values": ["CP1"]}}})

    tokens = Continuous(contoso.sign_in(), contoso.password)
    tokens.held = await contoso.sign_in().service_account(SERVICE_ACCOUNT, contoso.password, claims=Continuous.capable)
    graph = contoso.graph(tokens)
    await graph.get("users", "adele@contoso.com")

    contoso.servers.clock.advance(60)
    contoso.servers.directory.update_user(SERVICE_ACCOUNT, sessions_valid_from=contoso.servers.clock.now())

    assert (await graph.get("users", "adele@contoso.com"))["displayName"] == "Adele Vance"
    (claims,) = tokens.demanded
    assert claims is not None
    assert "access_token" in json.loads(claims)


async def test_a_sign_in_that_fails_in_the_middle_is_told_and_nothing_was_changed(contoso: Contoso) -> None:
    graph = contoso.graph()
    await graph.get("users", "adele@contoso.com")
    contoso.servers.entra.expire_tokens()
    contoso.servers.faults.start("policy-blocks-service-account")

    with pytest.raises(SignInFailed) as failure:
        await graph.send(Call("PATCH", ("users", "adele@contoso.com"), {"accountEnabled": False}), attempt_id="a")

    assert failure.value.code == 53003
    assert contoso.servers.directory.user("adele").enabled


async def test_a_page_in_graph_s_place_is_recognised(contoso: Contoso) -> None:
    page = Answer(200, "<html>Please sign in to the Wi-Fi</html>")
    contoso.servers.faults.add(Rule("graph", "*", "/users/*", page))

    with pytest.raises(GraphUnavailable, match="cannot be understood"):
        await contoso.graph().get("users", "adele@contoso.com")
    with pytest.raises(OutcomeUnknown):
        await contoso.graph().send(Call("PATCH", ("users", "adele"), {"accountEnabled": False}), attempt_id="a")


async def test_a_long_wait_is_announced(contoso: Contoso) -> None:
    contoso.servers.faults.add(Rule("graph", "GET", "/users/*", Answer(429, None, {"Retry-After": "65"}), times=1))
    announced: list[datetime] = []

    async def announce(until: datetime) -> None:
        announced.append(until)

    await contoso.graph().telling(announce).get("users", "adele@contoso.com")

    (until,) = announced
    assert 65 <= (until - T0).total_seconds() < 66
