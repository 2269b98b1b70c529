"""Addresses, bodies, waits and errors of Graph, without a network."""

from __future__ import annotations

import base64
import json
import re
from datetime import timedelta
from email.utils import format_datetime
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from bot.directory import quoted
from bot.errors import (
    BadInput,
    ClaimsDemanded,
    ConfigurationError,
    GraphNotFound,
    GraphRefused,
    GraphUnavailable,
    OutcomeUnknown,
    PasswordRefused,
)
from bot.microsoft.protocol import Answer, Base, asked_wait, fill, problem, wait_before
from bot.model import Generated, Secret
from tests.clock import T0

GRAPH = Base.parse("https://graph.microsoft.com/v1.0")
GATEWAY = Base.parse("https://localhost:8443/graph/v1.0/")

VISIBLE = st.text(st.characters(categories=("L", "N", "P", "S"), include_characters=" "), min_size=1, max_size=80)


# --- Addresses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "origin", "prefix"),
    [
        ("https://graph.microsoft.com/v1.0", "https://graph.microsoft.com", "/v1.0"),
        ("https://GRAPH.microsoft.US:443/v1.0/", "https://graph.microsoft.us", "/v1.0"),
        ("https://localhost:8443/graph/v1.0", "https://localhost:8443", "/graph/v1.0"),
        ("https://[::1]:8443/v1.0", "https://[::1]:8443", "/v1.0"),
        ("http://127.0.0.1:8080/v1.0", "http://127.0.0.1:8080", "/v1.0"),
        ("https://graph.microsoft.com", "https://graph.microsoft.com", ""),
    ],
)
def test_graph_may_be_at_any_port_and_below_any_prefix(setting: str, origin: str, prefix: str) -> None:
    assert Base.parse(setting) == Base(origin, prefix)


@pytest.mark.parametrize(
    "setting",
    [
        "",
        "graph.microsoft.com/v1.0",
        "http://graph.microsoft.com/v1.0",
        "https://graph.microsoft.com@evil.example/v1.0",
        "https://graph.microsoft.com/v1.0?x=1",
        "https://graph.microsoft.com/v1.0/../beta",
        "https://graph.microsoft.com\\@evil.example/",
        "https://graph.microsoft.com:99999/v1.0",
        "https:///v1.0",
        "https://graph.microsoft.com/v1.0\r\nX: y",
    ],
)
def test_an_address_graph_cannot_have_is_refused_by_the_setting_s_name(setting: str) -> None:
    with pytest.raises(ConfigurationError, match="LATCHKEY_GRAPH_URL"):
        Base.parse(setting)


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("adele@contoso.com", "adele%40contoso.com"),
        ("o'neill@contoso.com", "o%27neill%40contoso.com"),
        (
            "gail_partner.example#EXT#@contoso.onmicrosoft.com",
            "gail_partner.example%23EXT%23%40contoso.onmicrosoft.com",
        ),
        ("%2f", "%252f"),
        ("x?$expand=*", "x%3F%24expand%3D%2A"),
        ("a;b=c", "a%3Bb%3Dc"),
        ("zoë ångström", "zo%C3%AB%20%C3%A5ngstr%C3%B6m"),
        ("a/b", "a%2Fb"),
    ],
)
def test_whatever_is_typed_becomes_one_segment(typed: str, sent: str) -> None:
    assert GRAPH.url(("users", typed)) == f"https://graph.microsoft.com/v1.0/users/{sent}"


@pytest.mark.parametrize(
    "typed",
    [
        "",
        ".",
        "..",
        "%2e%2e",
        "a'/../../groups/1",
        "..\\groups",
        "..%2fgroups",
        "x\r\nX-Evil: 1",
        "x\x00",
        "a\u202eb",
        "\ud800",
        "a" * 400,
        "$ref",
        "$batch",
    ],
)
def test_what_could_mean_another_address_is_refused(typed: str) -> None:
    with pytest.raises(BadInput):
        GRAPH.url(("users", typed))


@given(VISIBLE)
def test_one_segment_in_is_one_segment_out(typed: str) -> None:
    try:
        url = GRAPH.url(("users", typed, "manager"))
    except BadInput:
        return

    start, users, segment, manager = urlsplit(url).path.lstrip("/").split("/")
    assert (start, users, unquote(segment), manager) == ("v1.0", "users", typed, "manager")
    # yarl, told to leave it alone, agrees; and nothing of it is a query or a fragment.
    assert URL(url, encoded=True).raw_path == urlsplit(url).path
    assert not urlsplit(url).query
    assert not urlsplit(url).fragment


def test_a_reference_is_sent_as_odata_wants_it_only_at_the_end_of_a_relation() -> None:
    assert GRAPH.url(("groups", "1", "members", "$ref")).endswith("/groups/1/members/$ref")
    assert GRAPH.url(("groups", "1", "members", "2", "$ref")).endswith("/groups/1/members/2/$ref")
    for path in [("users", "$ref"), ("users", "$ref", "manager", "x"), ("groups", "1", "$ref")]:
        with pytest.raises(BadInput):
            GRAPH.url(path)


@given(st.dictionaries(st.sampled_from(["$filter", "$search", "$select"]), st.text(max_size=60), min_size=1))
def test_one_query_value_in_is_one_query_value_out(query: dict[str, str]) -> None:
    try:
        url = GRAPH.url(("users",), query)
    except BadInput:
        assert any("\ud800" <= character <= "\udfff" for value in query.values() for character in value)
        return

    assert dict(parse_qsl(urlsplit(url).query, keep_blank_values=True)) == query
    assert url.isascii()
    assert url.isprintable()


@given(st.text())
def test_one_odata_literal_in_is_one_literal_out(typed: str) -> None:
    try:
        url = GRAPH.url(("users",), {"$filter": f"mail eq {quoted(typed)} or mail eq null"})
    except BadInput:
        return

    ((_, arrived),) = parse_qsl(urlsplit(url).query)
    (literal,) = re.findall(r"'((?:[^']|'')*)'", arrived)
    assert literal.replace("''", "'") == typed
    assert arrived == f"mail eq '{literal}' or mail eq null"


@pytest.mark.parametrize(
    ("link", "ours"),
    [
        ("https://localhost:8443/graph/v1.0/users?$skiptoken=abc'def", True),
        ("https://localhost:8443/graph/v1.0/", True),
        ("https://localhost:8443/graph/v1.0", False),
        ("https://localhost:8443/graph/v1.0beta/users", False),
        ("https://localhost:8443/users", False),
        ("https://localhost:8443/graph/v1.0/../beta/users", False),
        ("https://localhost:8443/graph/v1.0/%2e%2e/beta/users", False),
        ("https://localhost:8443/graph/v1.0/..\\beta", False),
        ("https://localhost/graph/v1.0/users", False),
        ("https://localhost:8443.evil.example/graph/v1.0/users", False),
        ("https://localhost:8443@evil.example/graph/v1.0/users", False),
        ("http://localhost:8443/graph/v1.0/users", False),
        ("//localhost:8443/graph/v1.0/users", False),
        ("/graph/v1.0/users", False),
        ("https://localhost:8443/graph/v1.0/users\r\nX: y", False),
        ("https://localhost:8443/graph/v1.0/users#x", False),
    ],
)
def test_a_link_is_followed_only_below_the_configured_address(link: str, ours: bool) -> None:
    assert GATEWAY.holds(link) is ours


# --- Bodies ---------------------------------------------------------------------------------------------------------


def test_a_generated_password_takes_its_marker_s_place() -> None:
    body = {"passwordProfile": {"password": Generated.PASSWORD.marker, "forceChangePasswordNextSignIn": True}}

    filled = fill(body, GRAPH, Secret("Correct-Horse-7"))

    assert filled == {"passwordProfile": {"password": "Correct-Horse-7", "forceChangePasswordNextSignIn": True}}
    assert body["passwordProfile"]["password"] == Generated.PASSWORD.marker


def test_a_reference_becomes_the_address_of_the_configured_graph() -> None:
    body = {"members@odata.bind": [{"$ref_to": ["directoryObjects", "5"]}], "@odata.id": {"$ref_to": ["users", "a/b"]}}

    assert fill(body, GATEWAY, None) == {
        "members@odata.bind": ["https://localhost:8443/graph/v1.0/directoryObjects/5"],
        "@odata.id": "https://localhost:8443/graph/v1.0/users/a%2Fb",
    }


def test_a_marker_without_its_secret_is_a_bug_found_before_sending() -> None:
    with pytest.raises(ValueError, match="generated password"):
        fill({"newPassword": Generated.PASSWORD.marker}, GRAPH, None)


# --- Waiting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("2.5", 2.5),
        ("0", 0.0),
        (format_datetime(T0 + timedelta(seconds=30), usegmt=True), 30.0),
        (format_datetime(T0 - timedelta(hours=1), usegmt=True), 0.0),
        ("999999999", 86400.0),
        ("-5", None),
        ("", None),
        (None, None),
        ("soon", None),
        ("9" * 5000, 86400.0),
        ("Tue, 03 Mar 99999 09:00:30 GMT", None),
    ],
)
def test_retry_after_is_read_in_every_form_and_capped(header: str | None, seconds: float | None) -> None:
    assert asked_wait(header, T0) == seconds


@given(st.text())
def test_no_retry_after_can_break_us(header: str) -> None:
    wait = asked_wait(header, T0)

    assert wait is None or 0 <= wait <= 86400


def test_waits_grow_unless_graph_says_how_long() -> None:
    assert [wait_before(next_try, None, 0.0) for next_try in (2, 3, 4, 5)] == [1, 2, 4, 8]
    assert wait_before(4, 30.0, 0.5) == 30.5


# --- Errors ---------------------------------------------------------------------------------------------------------


def refusal(status: int, code: str = "", *, headers: dict[str, str] | None = None, **more: object) -> Answer:
    body = {"error": {"code": code, "message": "Never shown.", **more}}
    return Answer(status, headers or {}, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("answer", "expected", "says"),
    [
        (refusal(403, "Authorization_RequestDenied"), GraphRefused, "directory role or the Graph permission"),
        (refusal(403, "Authorization_IdentityNotFound"), GraphRefused, "consent"),
        (refusal(403, "Authentication_RequestFromNonPremiumTenantOrB2CTenant"), GraphRefused, "P1 or P2"),
        (refusal(404, "Request_ResourceNotFound"), GraphNotFound, "no such object"),
        (refusal(404, "MailboxNotEnabledForRESTAPI"), GraphNotFound, "no mailbox"),
        (refusal(400, "Directory_QuotaExceeded"), GraphRefused, "full"),
        (refusal(400, "Request_BadRequest", details=[{"code": "ObjectConflict"}]), GraphRefused, "already has"),
        (refusal(400, "Request_BadRequest"), GraphRefused, "did not accept"),
        (refusal(409, "Conflict"), GraphRefused, "same moment"),
        (refusal(412), GraphRefused, "same moment"),
        (refusal(418, "Teapot"), GraphRefused, "refused"),
        (refusal(429, "TooManyRequests"), GraphUnavailable, "busy"),
        (refusal(503), GraphUnavailable, "cannot be reached"),
    ],
)
@pytest.mark.parametrize("writes", [False, True])
def test_a_refusal_says_what_to_do(answer: Answer, expected: type[Exception], says: str, writes: bool) -> None:
    found = problem(answer, writes=writes)

    assert type(found) is expected
    assert says in str(found)
    assert "Never shown" not in str(found)


@pytest.mark.parametrize("status", [302, 408, 500, 501, 502, 504])
def test_an_answer_that_does_not_say_what_happened_leaves_a_write_unknown(status: int) -> None:
    assert type(problem(refusal(status), writes=True)) is OutcomeUnknown
    assert type(problem(refusal(status), writes=False)) is GraphUnavailable


@pytest.mark.parametrize("body", [b"<html>Sign in to the Wi-Fi</html>", b'{"value": [1, 2', b'"text"', b"[" * 100_000])
def test_a_success_that_is_not_graph_s_is_no_success(body: bytes) -> None:
    assert type(problem(Answer(200, {}, body), writes=True)) is OutcomeUnknown
    assert type(problem(Answer(200, {}, body), writes=False)) is GraphUnavailable


def test_a_write_may_succeed_without_a_word_but_a_read_may_not() -> None:
    assert problem(Answer(204, {}, b""), writes=True) is None
    assert type(problem(Answer(204, {}, b""), writes=False)) is GraphUnavailable


def test_a_refused_password_is_known_by_the_call_not_by_microsoft_s_words() -> None:
    answer = refusal(400, "Request_BadRequest", details=[{"code": "SomeRule", "target": "passwordProfile"}])

    found = problem(answer, writes=True, generates=Generated.PASSWORD)

    assert isinstance(found, PasswordRefused)
    assert found.answer is not None
    assert found.answer.details == (("SomeRule", "passwordProfile"),)


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_claims_challenge_is_decoded(status: int, encode: object) -> None:
    claims = json.dumps({"access_token": {"nbf": {"essential": True, "value": "1772528400"}}, "x": "??>>"})
    encoded = encode(claims.encode()).decode().rstrip("=")  # type: ignore[operator]  # one of the two just above
    header = {"WWW-Authenticate": f'Bearer realm="", error="insufficient_claims", claims="{encoded}"'}

    found = problem(Answer(status, header, b""), writes=False)

    assert isinstance(found, ClaimsDemanded)
    assert found.claims == claims


def test_a_challenge_that_cannot_be_read_is_still_a_challenge() -> None:
    header = {"WWW-Authenticate": 'Bearer error="insufficient_claims", claims="!!!"'}

    found = problem(Answer(401, header, b""), writes=False)

    assert isinstance(found, ClaimsDemanded)
    assert found.claims is None


def test_what_an_answer_calls_itself_cannot_forge_our_log() -> None:
    answer = refusal(400, "Bad\nroot: all is well", headers={"request-id": "x y\r\nz"})

    assert (answer.facts.code, answer.facts.request_id) == ("", None)
