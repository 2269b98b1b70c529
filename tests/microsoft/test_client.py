"""The Graph client against servers that answer as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from email.utils import format_datetime

import aiohttp
import pytest
from aiohttp import web

from bot.errors import (
    ClaimsDemanded,
    GraphNotFound,
    GraphRefused,
    GraphUnavailable,
    OutcomeUnknown,
    PasswordRefused,
    SessionEnded,
)
from bot.microsoft.client import GraphClient
from bot.microsoft.http import ConnectionLost, open_http
from bot.microsoft.protocol import Base
from bot.model import Call, Generated, Secret
from bot.ports import Token
from tests.clock import T0, ManualClock
from tests.microsoft.servers import PlainTokens, answering, hanging_up, refuses, says

DISABLE = Call("PATCH", ("users", "1"), {"accountEnabled": False})
REMOVE = Call("DELETE", ("groups", "1", "members", "2", "$ref"))
SET_MANAGER = Call("PUT", ("users", "1", "manager", "$ref"), {"@odata.id": {"$ref_to": ["users", "2"]}})


# --- What is sent ---------------------------------------------------------------------------------------------------


async def test_a_request_arrives_byte_for_byte_as_it_was_made() -> None:
    async with answering(says({"id": "1"})) as graph:
        await graph.client.get(
            "users", "o'neil#EXT#/x@contoso.com", query={"$filter": "a eq 'b''c' & d"}, eventual=True
        )

        (seen,) = graph.seen
        assert seen.target == (
            "/graph/v1.0/users/o%27neil%23EXT%23%2Fx%40contoso.com?$filter=a%20eq%20%27b%27%27c%27%20%26%20d"
        )
        assert seen.headers["Authorization"] == "Bearer canary-token-1"
        assert seen.headers["ConsistencyLevel"] == "eventual"
        assert seen.headers["x-ms-throttle-priority"] == "high"
        assert seen.headers["User-Agent"] == "Latchkey"
        assert len(seen.headers["client-request-id"]) == 36


async def test_a_write_carries_its_attempt_s_id_and_its_generated_password() -> None:
    body = {"passwordProfile": {"password": Generated.PASSWORD.marker, "forceChangePasswordNextSignIn": True}}
    async with answering(says(status=204, headers={"request-id": "microsoft-1"})) as graph:
        sent = await graph.client.send(
            Call("PATCH", ("users", "1"), body), attempt_id="attempt-1", generated=Secret("Correct-Horse-7")
        )

        (seen,) = graph.seen
        assert seen.headers["client-request-id"] == "attempt-1"
        assert seen.body["passwordProfile"]["password"] == "Correct-Horse-7"
        assert (sent.status, sent.request_id, sent.revealed) == (204, "microsoft-1", None)


async def test_a_reference_names_the_object_below_the_configured_address() -> None:
    async with answering(says(status=204)) as graph:
        await graph.client.send(SET_MANAGER, attempt_id="a")

        assert graph.seen[0].body == {"@odata.id": f"{graph.url}/users/2"}
        assert graph.seen[0].target.endswith("/users/1/manager/$ref")


async def test_a_temporary_access_pass_is_taken_out_as_a_secret() -> None:
    issue = Call(
        "POST", ("users", "1", "authentication", "temporaryAccessPassMethods"), {}, reveals="temporaryAccessPass"
    )
    async with answering(says({"id": "7", "temporaryAccessPass": "TAP-canary"}, 201)) as graph:
        sent = await graph.client.send(issue, attempt_id="a")

        assert sent.revealed is not None
        assert sent.revealed.reveal() == "TAP-canary"
        assert "TAP-canary" not in repr(sent)

        graph.will(says({"id": "7"}, 201))
        with pytest.raises(OutcomeUnknown):
            await graph.client.send(issue, attempt_id="b")


# --- Reading --------------------------------------------------------------------------------------------------------


async def test_pages_are_followed_to_the_end_or_to_the_limit() -> None:
    async with answering() as graph:
        pages = [
            says({"value": [{"id": 1}, {"id": 2}], "@odata.nextLink": f"{graph.url}/users?$skiptoken=a'b"}),
            says({"value": [{"id": 3}]}),
        ]
        graph.will(*pages)
        assert await graph.client.collect("users", eventual=True) == [{"id": 1}, {"id": 2}, {"id": 3}]
        assert graph.seen[1].target == "/graph/v1.0/users?$skiptoken=a'b"
        assert graph.seen[1].headers["ConsistencyLevel"] == "eventual"

        graph.will(pages[0])
        assert await graph.client.collect("users", limit=1) == [{"id": 1}]
        assert len(graph.seen) == 3


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/v1.0/users",
        "http://127.0.0.1:1/graph/v1.0/users",
        "{origin}/graph/beta/users",
        "{origin}/graph/v1.0/../../users",
        "{origin}@evil.example/graph/v1.0/users",
        "/graph/v1.0/users",
        7,
    ],
)
async def test_our_token_goes_to_no_other_place_whatever_the_next_link_says(link: str | int) -> None:
    async with answering() as graph:
        origin = graph.url.removesuffix("/graph/v1.0")
        graph.will(
            says({"value": [], "@odata.nextLink": link.format(origin=origin) if isinstance(link, str) else link})
        )

        with pytest.raises(GraphRefused, match="another server"):
            await graph.client.collect("users")

        assert len(graph.seen) == 1


async def test_pages_without_an_end_are_given_up() -> None:
    async with answering() as graph:
        graph.will(says({"value": [{"id": 1}], "@odata.nextLink": f"{graph.url}/users?$skiptoken=again"}))

        with pytest.raises(GraphUnavailable, match="no end"):
            await graph.client.collect("users")

        assert len(graph.seen) == 200


@pytest.mark.parametrize("page", [{}, {"value": None}, {"value": {}}, {"value": ["x"]}])
async def test_a_page_that_is_none_is_not_taken_for_an_empty_one(page: object) -> None:
    async with answering(says(page)) as graph:
        with pytest.raises(GraphUnavailable, match="cannot be understood"):
            await graph.client.collect("users")


async def test_a_question_in_a_post_is_repeated_like_any_read() -> None:
    async with answering(says(status=500), says({"value": ["g1"]})) as graph:
        assert await graph.client.ask("users", "1", "checkMemberGroups", body={"groupIds": ["g1"]}) == {"value": ["g1"]}

        assert [seen.body for seen in graph.seen] == [{"groupIds": ["g1"]}] * 2


async def test_a_redirect_is_not_followed() -> None:
    async with answering() as graph:
        graph.will(says(status=302, headers={"Location": f"{graph.url}/elsewhere"}))

        with pytest.raises(GraphUnavailable):
            await graph.client.get("users", "1")
        with pytest.raises(OutcomeUnknown):
            await graph.client.send(DISABLE, attempt_id="a")

        assert [seen.target for seen in graph.seen] == ["/graph/v1.0/users/1"] * 2


async def test_an_answer_without_measure_is_cut_off() -> None:
    async with answering(says('{"value": "' + "x" * (16 * 2**20) + '"}')) as graph:
        with pytest.raises(GraphUnavailable, match="cannot be understood"):
            await graph.client.get("users", "1")


# --- Trying again ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_a_read_is_tried_five_times_with_growing_waits(status: int) -> None:
    async with answering(refuses(status)) as graph:
        with pytest.raises(GraphUnavailable):
            await graph.client.get("users", "1")

        assert len(graph.seen) == 5
        assert graph.clock.waits == [1, 2, 4, 8]
        assert len({seen.headers["client-request-id"] for seen in graph.seen}) == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_a_write_that_graph_had_no_time_for_is_sent_again(status: int) -> None:
    async with answering(refuses(status, headers={"Retry-After": "3"}), says(status=204)) as graph:
        assert (await graph.client.send(DISABLE, attempt_id="a")).status == 204

        assert graph.clock.waits == [3]
        assert [seen.headers["client-request-id"] for seen in graph.seen] == ["a", "a"]


@pytest.mark.parametrize("status", [408, 500, 502, 504])
async def test_a_write_that_may_have_been_applied_is_never_sent_again(status: int) -> None:
    async with answering(refuses(status)) as graph:
        with pytest.raises(OutcomeUnknown):
            await graph.client.send(DISABLE, attempt_id="a")

        assert len(graph.seen) == 1


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("20", 20),
        (format_datetime(T0 + timedelta(seconds=30), usegmt=True), 30),
        (format_datetime(T0 - timedelta(days=1), usegmt=True), 0),
        ("-3", 1),
    ],
)
async def test_we_wait_as_long_as_graph_asks_and_say_until_when(header: str, wait: float) -> None:
    told: list[datetime] = []

    async def tell(until: datetime) -> None:
        told.append(until)

    async with answering(refuses(429, headers={"Retry-After": header}), says({"id": "1"})) as graph:
        await graph.client.telling(tell).get("users", "1")

        assert graph.clock.waits == [wait]
        assert told == ([] if header == "-3" else [T0 + timedelta(seconds=wait)])


@pytest.mark.parametrize("header", ["3600", "9999999999999", format_datetime(T0 + timedelta(days=400), usegmt=True)])
async def test_nobody_is_kept_waiting_longer_than_two_minutes(header: str) -> None:
    async with answering(refuses(429, headers={"Retry-After": header})) as graph:
        with pytest.raises(GraphUnavailable) as problem:
            await graph.client.send(DISABLE, attempt_id="a")

        assert graph.clock.waits == []
        assert len(graph.seen) == 1
        assert "Nothing was changed" in str(problem.value)


async def test_all_waits_together_end_at_the_deadline() -> None:
    async with answering(refuses(429, headers={"Retry-After": "50"})) as graph:
        with pytest.raises(GraphUnavailable, match="about 1 minute"):
            await graph.client.get("users", "1")

        assert graph.clock.waits == [50, 50]


async def test_a_session_that_ends_while_we_wait_ends_the_work() -> None:
    class Ending(PlainTokens):
        async def token(self) -> Token:
            if graph.seen:
                raise SessionEnded("The management session has ended.")
            return await super().token()

    async with answering(refuses(503)) as graph, open_http() as http:
        client = GraphClient(http, Base.parse(graph.url), Ending(), graph.clock)
        with pytest.raises(SessionEnded):
            await client.send(DISABLE, attempt_id="a")

        assert len(graph.seen) == 1


# --- Tokens ---------------------------------------------------------------------------------------------------------

CHALLENGE = {"WWW-Authenticate": 'Bearer realm="", error="insufficient_claims", claims="eyJ4IjoxfQ=="'}


@pytest.mark.parametrize("send", [True, False], ids=["write", "read"])
async def test_a_refused_token_is_renewed_once(send: bool) -> None:
    async with answering(refuses(401, "InvalidAuthenticationToken"), says({"id": "1"})) as graph:
        await (graph.client.send(DISABLE, attempt_id="a") if send else graph.client.get("users", "1"))

        assert graph.tokens.demanded == [None]
        assert [seen.headers["Authorization"][-1] for seen in graph.seen] == ["1", "2"]

        graph.will(refuses(401, "InvalidAuthenticationToken"))
        with pytest.raises(GraphRefused, match="does not accept the management session"):
            await graph.client.get("users", "1")
        assert len(graph.seen) == 4


async def test_a_claims_challenge_is_passed_on_and_a_second_one_ends_it() -> None:
    async with answering(refuses(401, headers=CHALLENGE), says({"id": "1"})) as graph:
        await graph.client.get("users", "1")
        assert graph.tokens.demanded == ['{"x":1}']

        graph.will(refuses(403, headers=CHALLENGE))
        with pytest.raises(ClaimsDemanded) as demand:
            await graph.client.send(DISABLE, attempt_id="a")
        assert demand.value.claims == '{"x":1}'
        assert len(graph.seen) == 4


# --- Refusals -------------------------------------------------------------------------------------------------------


async def test_a_refusal_keeps_what_finds_it_in_microsoft_s_logs() -> None:
    async with answering(refuses(403, "Authorization_RequestDenied", {"client-request-id": "a"})) as graph:
        with pytest.raises(GraphRefused) as refusal:
            await graph.client.send(DISABLE, attempt_id="a")

        answer = refusal.value.answer
        assert answer is not None
        assert (answer.status, answer.code) == (403, "Authorization_RequestDenied")
        assert (answer.request_id, answer.client_request_id) == ("11111111-aaaa", "a")
        assert len(graph.seen) == 1


async def test_what_is_not_there_is_not_found() -> None:
    async with answering(refuses(404, "Request_ResourceNotFound")) as graph:
        for work in (graph.client.get("users", "1"), graph.client.send(REMOVE, attempt_id="a")):
            with pytest.raises(GraphNotFound):
                await work


async def test_a_password_microsoft_does_not_like_can_be_told_from_other_refusals() -> None:
    change = {"passwordProfile": {"password": Generated.PASSWORD.marker}}
    async with answering(refuses(400, "Request_BadRequest")) as graph:
        with pytest.raises(PasswordRefused):
            await graph.client.send(Call("PATCH", ("users", "1"), change), attempt_id="a", generated=Secret("weak"))
        with pytest.raises(GraphRefused, match=r"request\. Enable it on-premises\.") as other:
            await graph.client.send(replace(DISABLE, advice="Enable it on-premises."), attempt_id="b")
        assert not isinstance(other.value, PasswordRefused)


# --- Changes that take time -----------------------------------------------------------------------------------------

WRITEBACK = Call("POST", ("users", "1", "authentication", "methods", "28c1", "resetPassword"), {}, poll=True)


def operation(status: str) -> web.Response:
    return says({"id": "op", "status": status})


async def test_an_accepted_change_is_followed_to_its_end() -> None:
    async with answering() as graph:
        accepted = says(status=202, headers={"Location": f"{graph.url}/users/1/authentication/operations/op"})
        graph.will(accepted, operation("notStarted"), refuses(503), operation("running"), operation("succeeded"))

        assert (await graph.client.send(WRITEBACK, attempt_id="a")).status == 202

        assert [seen.method for seen in graph.seen] == ["POST", "GET", "GET", "GET", "GET"]
        assert graph.clock.waits == [1, 2, 1, 4]


async def test_only_microsoft_s_own_failed_means_that_nothing_changed() -> None:
    async with answering() as graph:
        accepted = says(status=202, headers={"Location": f"{graph.url}/users/1/authentication/operations/op"})
        graph.will(accepted, operation("failed"))
        with pytest.raises(GraphRefused, match=r"not carry it out\. Nothing was changed\. Reset it in"):
            await graph.client.send(replace(WRITEBACK, advice="Reset it in Active Directory."), attempt_id="a")

        for answers in ([refuses(404)], [refuses(403, "Forbidden")], [says("<html>", kind="text/html")]):
            graph.will(accepted, *answers)
            with pytest.raises(OutcomeUnknown):
                await graph.client.send(WRITEBACK, attempt_id="a")


async def test_a_change_that_never_ends_is_unknown_after_two_minutes() -> None:
    async with answering() as graph:
        accepted = says(status=202, headers={"Location": f"{graph.url}/users/1/authentication/operations/op"})
        graph.will(accepted, operation("running"))

        with pytest.raises(OutcomeUnknown, match="not finished"):
            await graph.client.send(WRITEBACK, attempt_id="a")

        assert graph.clock.waits[:6] == [1, 2, 4, 8, 15, 15]
        assert 100 < sum(graph.clock.waits) <= 120


@pytest.mark.parametrize("location", ["https://evil.example/graph/v1.0/op", "/graph/v1.0/op", ""])
async def test_an_operation_elsewhere_is_not_asked_about(location: str) -> None:
    async with answering(says(status=202, headers={"Location": location})) as graph:
        with pytest.raises(OutcomeUnknown):
            await graph.client.send(WRITEBACK, attempt_id="a")

        assert len(graph.seen) == 1


# --- Lost connections -----------------------------------------------------------------------------------------------


async def at(url: str, work: Callable[[GraphClient], Awaitable[object]], clock: ManualClock | None = None) -> None:
    async with open_http() as http:
        await work(GraphClient(http, Base.parse(url), PlainTokens(), clock or ManualClock(hurries=True)))


@pytest.mark.parametrize("call", [DISABLE, REMOVE, SET_MANAGER, Call("POST", ("users", "1", "revokeSignInSessions"))])
async def test_a_write_whose_answer_is_lost_is_applied_once_and_its_outcome_unknown(call: Call) -> None:
    async with hanging_up() as server:
        with pytest.raises(OutcomeUnknown, match="may have been carried out"):
            await at(server.url, lambda client: client.send(call, attempt_id="a"))

        assert len(server.applied) == 1


async def test_aiohttp_alone_would_have_applied_it_twice() -> None:
    async with hanging_up() as server:
        async with aiohttp.ClientSession() as plain:
            with pytest.raises(aiohttp.ServerDisconnectedError):
                await plain.delete(server.url)
        assert len(server.applied) == 2

        async with open_http() as ours:
            with pytest.raises(ConnectionLost):
                await ours.delete(server.url)
        assert len(server.applied) == 3


@pytest.mark.parametrize(
    "half",
    [
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"not HTTP at all\r\n\r\n",
    ],
)
async def test_half_an_answer_is_no_answer(half: bytes) -> None:
    clock = ManualClock(hurries=True)
    async with hanging_up(half) as server:
        with pytest.raises(OutcomeUnknown):
            await at(server.url, lambda client: client.send(DISABLE, attempt_id="a"))
        assert len(server.applied) == 1

        with pytest.raises(GraphUnavailable):
            await at(server.url, lambda client: client.get("users", "1"), clock)
        assert len(server.applied) == 6
        assert len(clock.waits) == 4


async def test_where_nobody_listens_nothing_was_changed() -> None:
    async with hanging_up() as server:
        url = server.url

    for work in (
        lambda client: client.send(DISABLE, attempt_id="a"),
        lambda client: client.get("users", "1"),
    ):
        with pytest.raises(GraphUnavailable, match="Nothing was changed"):
            await at(url, work)


async def test_cancelling_a_write_lets_the_cancellation_through() -> None:
    arrived, never = asyncio.Event(), asyncio.Event()

    async def hang() -> web.Response:
        arrived.set()
        await never.wait()
        return says()

    async with answering() as graph:
        graph.will(hang)
        task = asyncio.create_task(graph.client.send(DISABLE, attempt_id="a"))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        never.set()


async def test_a_server_that_says_nothing_is_given_up_when_our_patience_ends() -> None:
    class Slow(PlainTokens):
        async def token(self) -> Token:
            graph.clock.advance(119.95)
            return await super().token()

    never = asyncio.Event()

    async def hang() -> web.Response:
        await never.wait()
        return says()

    async with answering() as graph, open_http() as http:
        graph.will(hang)
        client = GraphClient(http, Base.parse(graph.url), Slow(), graph.clock)
        with pytest.raises(GraphUnavailable):
            await client.get("users", "1")
        with pytest.raises(OutcomeUnknown):
            await client.send(DISABLE, attempt_id="a")
        never.set()

        assert [seen.method for seen in graph.seen] == ["GET", "PATCH"]
