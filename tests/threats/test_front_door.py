"""Forged, replayed and malformed deliveries over HTTP (S1 to S5, S33): refused at the door, before anything is read."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.config import read_config
from bot.errors import ConfigurationError
from bot.wiring import latchkey
from sandbox.slack.http_delivery import EVENTS_PATH, signature
from tests.stage import HELPDESK, Stage, environment
from tests.threats.effects import requests_of, settled, state
from tests.threats.knocking import (
    FORM,
    a_command,
    a_press,
    a_submission,
    an_event,
    in_a_form,
    knock,
    knock_payload,
    knock_raw,
    now,
    signed,
)
from tests.threats.log import Log

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = "application/json"
CANARY = "Canary-in-a-refused-body"
JOHN = "Sign John Smith, Sales out everywhere"

Letter = tuple[bytes, dict[str, str]]


def command(**changes: Any) -> bytes:
    text = f"show-user adele@contoso.com --note {CANARY}"
    return urlencode(a_command(trigger="1.1.forged", **{"text": text, **changes})).encode()


def without(name: str) -> Callable[[Stage], Letter]:
    def letter(stage: Stage) -> Letter:
        headers = signed(stage, command())
        del headers[name]
        return command(), headers

    return letter


def changed(name: str, change: Callable[[str], str]) -> Callable[[Stage], Letter]:
    def letter(stage: Stage) -> Letter:
        headers = signed(stage, command())
        return command(), {**headers, name: change(headers[name])}

    return letter


def dated(at: Callable[[int], str]) -> Callable[[Stage], Letter]:
    """Correctly signed, for a time that is not now."""

    def letter(stage: Stage) -> Letter:
        body, when = command(), at(int(stage.world.clock.now()))
        secret = stage.world.slack.signing_secret
        return body, {
            "Content-Type": FORM,
            "X-Slack-Request-Timestamp": when,
            "X-Slack-Signature": signature(secret, when, body),
        }

    return letter


def by_secret(secret: str) -> Callable[[Stage], Letter]:
    def letter(stage: Stage) -> Letter:
        return command(), {**signed(stage, command()), "X-Slack-Signature": signature(secret, now(stage), command())}

    return letter


TIMESTAMP, SIGNATURE = "X-Slack-Request-Timestamp", "X-Slack-Signature"

FORGED: dict[str, Callable[[Stage], Letter]] = {
    "no headers": lambda stage: (command(), {"Content-Type": FORM}),
    "no signature": without(SIGNATURE),
    "no timestamp": without(TIMESTAMP),
    "an empty signature": changed(SIGNATURE, lambda _: ""),
    "signed with an empty secret": by_secret(""),
    "signed with another secret": by_secret("0123456789abcdef0123456789abcdef"),
    "the signature of another version": changed(SIGNATURE, lambda value: value.replace("v0=", "v1=")),
    "a signature in capitals": changed(SIGNATURE, str.upper),
    "a signature cut short": changed(SIGNATURE, lambda value: value[:-1]),
    "a signature with one digit more": changed(SIGNATURE, lambda value: f"{value}0"),
    "the first digit changed": changed(SIGNATURE, lambda value: f"v0={'1' if value[3] == '0' else '0'}{value[4:]}"),
    "the last digit changed": changed(SIGNATURE, lambda value: f"{value[:-1]}{'1' if value[-1] == '0' else '0'}"),
    "a body changed after signing": lambda stage: (command(text="help"), signed(stage, command())),
    "a body with one byte more": lambda stage: (command() + b"&", signed(stage, command())),
    "a timestamp changed after signing": changed(TIMESTAMP, lambda value: str(int(value) + 1)),
    "six minutes old": dated(lambda now: str(now - 360)),
    "from six minutes ahead": dated(lambda now: str(now + 360)),
    "a timestamp that is no number": dated(lambda now: "yesterday"),
    "an empty timestamp": dated(lambda now: ""),
    "a timestamp of 5,000 digits": dated(lambda now: "1" * 5000),
    "a negative timestamp": dated(lambda now: f"-{now}"),
    "a timestamp with a fraction": dated(lambda now: f"{now}.0"),
    "a timestamp in other digits": dated(lambda now: "١٢٣٤٥٦٧٨٩٠"),
    "a signature that is not ASCII": changed(SIGNATURE, lambda value: f"v0=é{value[4:]}"),
    "ssl_check and nothing else": lambda stage: (b"ssl_check=1", {"Content-Type": FORM}),
    "ssl_check beside a command": lambda stage: (command() + b"&ssl_check=1", {"Content-Type": FORM}),
    "ssl_check added after signing": lambda stage: (command() + b"&ssl_check=1", signed(stage, command())),
    "an address to verify, unsigned": lambda stage: (
        b'{"type":"url_verification","challenge":"x"}',
        {"Content-Type": JSON},
    ),
}
"""Not by Slack, or not what Slack sent: 401, whatever is in it."""


def of(make: Callable[[], bytes], content_type: str = FORM, **headers: str) -> Callable[[Stage], Letter]:
    return lambda stage: ((body := make()), signed(stage, body, content_type, **headers))


def interaction(payload: Any) -> Callable[[Stage], Letter]:
    return of(lambda: in_a_form(payload))


def event(payload: Any) -> Callable[[Stage], Letter]:
    return of(lambda: json.dumps(payload).encode(), JSON)


def press(**changes: Any) -> Callable[[Stage], Letter]:
    return interaction(a_press(trigger="1.1.malformed", **changes))


def submission(**changes: Any) -> Callable[[Stage], Letter]:
    return interaction(a_submission(**changes))


MALFORMED: dict[str, Callable[[Stage], Letter]] = {
    "nothing at all": of(lambda: b""),
    "JSON cut short": of(lambda: b'{"type": "event_callback"', JSON),
    "JSON nested 100,000 deep": of(lambda: b"[" * 100_000, JSON),
    "bytes that are no UTF-8": of(lambda: b'{"type": "\xff\xfe"}', JSON),
    "a list": of(lambda: b"[1, 2]", JSON),
    "a number of 5,000 digits": of(lambda: b'{"type": ' + b"1" * 5000 + b"}", JSON),
    "a form with bytes that are no UTF-8": of(lambda: b"command=%ff%fe&text=x"),
    "a form of 100,000 fields": of(lambda: b"&".join(b"a%d=1" % number for number in range(100_000))),
    "two payloads": of(lambda: in_a_form(a_press(trigger="a")) + b"&" + in_a_form(a_press(trigger="b"))),
    "a payload that is no JSON": of(lambda: in_a_form("{")),
    "a payload that is a word": of(lambda: in_a_form('"press"')),
    "no content type that there is": of(lambda: command(), "text/klingon"),
    "a compressed body": of(lambda: gzip.compress(command()), Content_Encoding="gzip"),
    "a body that says it is compressed": of(lambda: b"no gzip", Content_Encoding="gzip"),
    "a compressed bomb": of(lambda: gzip.compress(b"a" * 30_000_000), Content_Encoding="gzip"),
    "more than a mebibyte": of(lambda: b"text=" + b"a" * 1_100_000),
    "an unknown kind": interaction({"type": "workflow_step_edit"}),
    "a command without its trigger": of(lambda: command(trigger_id="")),
    "a command without its user": of(lambda: command(user_id="")),
    "a command by a user of two lines": of(lambda: command(user_id="U1\nU2")),
    "a command with an endless trigger": of(lambda: command(trigger_id="1" * 5000)),
    "a press of nothing": press(actions=[]),
    "a press of something else": press(actions=["undo"]),
    "a press whose action has no id": press(actions=[{"value": "x"}]),
    "a press whose action id is a number": press(actions=[{"action_id": 5}]),
    "a press by nobody": press(user={}),
    "a press by a word": press(user="olive"),
    "a press in no team": press(team="T0CONTOSO"),
    "a press in a team of a list": press(team={"id": ["T0CONTOSO"]}),
    "a press in an enterprise that is a number": press(enterprise=5),
    "a press with authorizations that are a number": press(authorizations=5),
    "a press with an event in it": press(event=5),
    "a press in a view without an id": press(view={"type": "modal"}),
    "a press in a view that is a list": press(view=[]),
    "a press answered to a number": press(response_url=5),
    "a submission of no view": submission(view={"id": ""}),
    "a submission of a view without a hash": submission(view={"hash": None}),
    "a submission in an enterprise that is a number": submission(enterprise=5),
    "a submission of a form with a list for a name": submission(view={"callback_id": ["request.form"]}),
    "a search without a list": interaction({**a_press(trigger="x"), "type": "block_suggestion"}),
    "an event about nothing": event(an_event(event_id="Ev1", event=[])),
    "an event without an id": event(an_event(event_id="")),
    "an event about half a letter": event(an_event(event_id="Ev2", about={"user": "\ud800"})),
    "an event about a list": event(an_event(event_id="Ev3", about={"user": ["U0OLIVE001"]})),
    "an event with authorizations of a number": event(an_event(event_id="Ev4", authorizations=[5])),
    "an event with authorizations that are no list": event(an_event(event_id="Ev5", authorizations={"a": 1})),
}
"""Signed, so that only its shape is wrong: a 4xx of ours."""

ELSEWHERE: dict[str, Callable[[Stage], Letter]] = {
    "a command for another app": of(lambda: command(api_app_id="A0OTHER001")),
    "a command for no app": of(lambda: command(api_app_id="")),
    "a command in another team": of(lambda: command(team_id="T0PARTNER0")),
    "a press for another app": press(api_app_id="A0OTHER001"),
    "a press in another team": press(team={"id": "T0PARTNER0", "domain": "partner"}),
    "a submission for another app": submission(api_app_id="A0OTHER001"),
    "a submission of another team's installation": submission(view={"app_installed_team_id": "T0PARTNER0"}),
    "an event for another app": event(an_event(event_id="Ev6", api_app_id="A0OTHER001")),
    "an event of another team": event(an_event(event_id="Ev7", team_id="T0PARTNER0")),
}
"""Signed by our secret, which a distributed app has in common with all its installations."""


@pytest.mark.parametrize("letter", FORGED.values(), ids=FORGED.keys())
async def test_what_slack_did_not_sign_is_refused_unread(
    over_http: Stage, log: Log, letter: Callable[[Stage], Letter]
) -> None:
    """S1, S3, S4."""
    before, counted = await state(over_http), over_http.bot.room.front_door.turned_away[401]

    assert await knock(over_http, *letter(over_http)) == 401

    assert await state(over_http) == before
    assert over_http.bot.room.front_door.turned_away[401] == counted + 1
    assert CANARY not in log.whole()
    assert [line["event"] for line in log.events] == ["turned away"]


@pytest.mark.parametrize("letter", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_delivery_of_no_known_shape_is_refused_and_never_a_fault_of_ours(
    over_http: Stage, log: Log, letter: Callable[[Stage], Letter]
) -> None:
    """S3: the probe; no answer is a 5xx and none is taken in."""
    before = await state(over_http)

    assert 400 <= await knock(over_http, *letter(over_http)) < 500

    assert await state(over_http) == before
    assert CANARY not in log.whole()


JUNK: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1e308,
    "",
    "x",
    "\n",
    "\ud800",
    "a" * 5000,
    [],
    {},
    [[]],
    [None],
    {"id": 1},
    {"id": []},
    "U0OLIVE001",
)
SHAPES: tuple[dict[str, Any], ...] = (
    a_command("help", trigger="1.1.shape"),
    a_press(trigger="1.1.shape"),
    a_press("form.run", trigger="1.1.shape", view=a_submission()["view"], channel=None),
    a_submission(),
    {**a_submission(), "type": "view_closed"},
    {**a_submission(), "type": "block_suggestion", "action_id": "form.find_person", "value": "adele"},
    an_event(event_id="Ev0shape"),
    an_event("user_change", event_id="Ev0shape", about={"user": {"id": "U0OLIVE001"}}),
    an_event("channel_shared", event_id="Ev0shape", about={"channel": "C0HELPDESK"}),
)


def spoiled(shape: Any, path: tuple[int, ...], junk: Any) -> Any:
    """*shape* with the value at the end of *path* replaced by *junk*; each number chooses a part, round and round."""
    if not path or not isinstance(shape, dict | list) or not shape:
        return junk
    keys = list(shape) if isinstance(shape, dict) else list(range(len(shape)))
    chosen = keys[path[0] % len(keys)]
    parts = dict(shape) if isinstance(shape, dict) else dict(enumerate(shape))
    parts[chosen] = spoiled(parts[chosen], path[1:], junk)
    return parts if isinstance(shape, dict) else list(parts.values())


def spoiled_payloads(count: int) -> list[tuple[bool, Any]]:
    """Payloads of every kind with one or two parts replaced, and whether each is sent as JSON by itself."""
    found: list[tuple[bool, Any]] = []
    change = st.tuples(st.lists(st.integers(0, 30), min_size=1, max_size=4).map(tuple), st.sampled_from(JUNK))

    @settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(SHAPES), st.lists(change, min_size=1, max_size=2))
    def collect(shape: dict[str, Any], changes: list[tuple[tuple[int, ...], Any]]) -> None:
        payload: Any = shape
        for path, junk in changes:
            payload = spoiled(payload, path, junk)
        found.append(("event" in shape, payload))

    collect()
    return found


async def test_no_payload_makes_the_bot_stumble_or_change_anything(over_http: Stage) -> None:
    """S3: two hundred signed payloads with odd parts, others each time; none is a fault of ours."""
    writes = len(over_http.world.graph.writes())
    for as_json, payload in spoiled_payloads(200):
        body = json.dumps(payload).encode() if as_json else in_a_form(payload)
        status = await knock(over_http, body, signed(over_http, body, JSON if as_json else FORM))
        assert status < 500, payload
    await settled(over_http.bot)

    assert len(over_http.world.graph.writes()) == writes


async def test_half_a_letter_in_a_value_is_read_as_a_mark(over_http: Stage) -> None:
    """S3: JSON can hold what no text can; it reaches neither the database nor Slack's answers as it is."""
    for number, value in enumerate(("\ud800", "x" * 32 + "\udfff")):
        assert await knock_payload_as_ascii(over_http, a_press(value=value, trigger=f"1.1.half{number}")) == 200
    assert await knock_payload_as_ascii(over_http, a_submission("\ud800")) == 200
    await settled(over_http.bot)


async def knock_payload_as_ascii(stage: Stage, payload: dict[str, Any]) -> int:
    body = in_a_form(payload)
    return await knock(stage, body, signed(stage, body))


@pytest.mark.parametrize("letter", ELSEWHERE.values(), ids=ELSEWHERE.keys())
async def test_a_delivery_for_another_app_or_team_is_refused(
    over_http: Stage, letter: Callable[[Stage], Letter]
) -> None:
    """S5."""
    before = await state(over_http)

    assert await knock(over_http, *letter(over_http)) in {400, 403}

    assert await state(over_http) == before


BROKEN_HTTP: dict[str, Callable[[bytes], tuple[bytes, ...]]] = {
    "a chunk without a size": lambda head: (head + b"Transfer-Encoding: chunked\r\n\r\nZZZ\r\nabc",),
    "chunks that end in garbage": lambda head: (
        head + b"Transfer-Encoding: chunked\r\n\r\n",
        b"3\r\nabc\r\n",
        b"ZZZ\r\n",
    ),
    "no length": lambda head: (head + b"\r\n",),
    "a negative length": lambda head: (head + b"Content-Length: -5\r\n\r\n",),
    "a length beyond all bounds": lambda head: (head + b"Content-Length: 99999999999999\r\n\r\n",),
    "two ways to say the length": lambda head: (
        head + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "an unprintable header": lambda head: (head + b"X-Odd: a\0b\r\n\r\n",),
    "an endless header": lambda head: (head + b"X-Long: " + b"a" * 100_000 + b"\r\n\r\n",),
    "an expectation nobody can meet": lambda head: (
        head + b"Expect: the-spanish-inquisition\r\nContent-Length: 0\r\n\r\n",
    ),
    "no HTTP at all": lambda head: (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",),
}


@pytest.mark.parametrize("pieces", BROKEN_HTTP.values(), ids=BROKEN_HTTP.keys())
async def test_broken_http_is_refused_and_not_quoted_in_the_log(
    over_http: Stage, log: Log, pieces: Callable[[bytes], tuple[bytes, ...]]
) -> None:
    """S3."""
    before = await state(over_http)
    head = (
        f"POST {EVENTS_PATH} HTTP/1.1\r\nHost: bot\r\nContent-Type: {FORM}\r\nX-Note: {CANARY}\r\n"
        f"{TIMESTAMP}: {now(over_http)}\r\n{SIGNATURE}: v0={'0' * 64}\r\n"
    ).encode()

    answer = await knock_raw(over_http, *pieces(head))

    assert answer.split()[1].startswith(b"4"), answer
    assert await state(over_http) == before
    assert CANARY not in log.whole()
    assert "aaaa" not in log.whole()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
async def test_the_door_opens_to_posts_only(over_http: Stage, method: str) -> None:
    """S3."""
    async with aiohttp.ClientSession() as http:
        async with http.request(method, over_http.world.slack.bot_url + EVENTS_PATH) as answer:
            assert answer.status == 405


async def test_slack_can_verify_the_address_with_a_signature(over_http: Stage) -> None:
    body = b'{"type": "url_verification", "challenge": "3eZbrw1a"}'
    async with aiohttp.ClientSession() as http:
        url = over_http.world.slack.bot_url + EVENTS_PATH
        async with http.post(url, data=body, headers=signed(over_http, body, JSON)) as answer:
            assert await answer.json() == {"challenge": "3eZbrw1a"}


# --- replays --------------------------------------------------------------------------------------------------------


async def test_the_same_bytes_twice_within_five_minutes_are_one_request(over_http: Stage) -> None:
    """S2: the first is taken in; the second is answered and forgotten."""
    body = urlencode(a_command("help", trigger="1.1.replayed")).encode()
    headers = signed(over_http, body)
    before = len(await requests_of(over_http, "olive"))

    assert await knock(over_http, body, headers) == 200
    assert await knock(over_http, body, headers) == 200
    await settled(over_http.bot)

    assert len(await requests_of(over_http, "olive")) == before + 1


async def test_the_same_bytes_after_five_minutes_are_refused(over_http: Stage) -> None:
    """S2."""
    body = urlencode(a_command("help", trigger="1.1.late")).encode()
    headers = signed(over_http, body)
    over_http.world.clock.advance(301)
    await settled(over_http.bot)
    before = len(await requests_of(over_http, "olive"))

    assert await knock(over_http, body, headers) == 401
    await settled(over_http.bot)

    assert len(await requests_of(over_http, "olive")) == before


async def test_a_replay_to_a_second_process_on_the_same_file_is_one_request(over_http: Stage) -> None:
    """S2: what was received stands in the database, so every process knows it."""
    body = urlencode(a_command("help", trigger="1.1.two-processes")).encode()
    headers = signed(over_http, body)
    before = len(await requests_of(over_http, "olive"))
    port = a_free_port()

    async with latchkey(over_http.config.model_copy(update={"http_port": port})) as second:
        assert await knock(over_http, body, headers, port=port) == 200
        assert await knock(over_http, body, headers) == 200
        await settled(second)
        await settled(over_http.bot)

    assert len(await requests_of(over_http, "olive")) == before + 1


def a_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_a_replayed_press_and_a_replayed_submission_do_nothing_more(over_http: Stage) -> None:
    """S2: for what Slack sends by itself, the real thing sent once more."""
    slack = over_http.world.slack
    await over_http.form("olive", '/m365 revoke-sessions john.smith@contoso.com --reason "lost phone"', JOHN)
    previewed = await slack.submit("olive")
    await over_http.until(lambda: f"[{JOHN}]" in slack.modals("olive")[-1].visible_text)
    pressed = await slack.click("olive", "modal", JOHN)
    await over_http.card(0, "was signed out")
    writes = len(over_http.world.graph.writes())

    for delivery in (previewed, pressed, previewed, pressed):
        assert await knock_payload(over_http, delivery.payload) == 200
    await settled(over_http.bot)

    assert len(over_http.world.graph.writes()) == writes


# --- work that a stranger can cause -----------------------------------------------------------------------------------


def many_fields() -> bytes:
    body = b"&".join(b"a%06d=%d" % (number, number % 10) for number in range(100_000))
    assert len(body) >= 900_000
    return body


async def test_a_large_unsigned_body_is_refused_before_it_is_parsed(over_http: Stage) -> None:
    """S1: the loop is held for less than parsing would take in this very run (in the best of five)."""
    body = many_fields()
    began = time.perf_counter()
    parse_qsl(body.decode(), keep_blank_values=True)
    parsing = time.perf_counter() - began
    headers = {**signed(over_http, body), SIGNATURE: f"v0={'0' * 64}"}

    holds = []
    for _ in range(5):
        async with longest_hold() as held:
            assert await knock(over_http, body, headers) == 401
        holds.append(held[0])

    assert min(holds) < parsing / 2


@asynccontextmanager
async def longest_hold() -> AsyncIterator[list[float]]:
    """The longest time for which the loop looked at nothing else, in seconds."""
    held = [0.0]

    async def sample() -> None:
        before = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            held[0] = max(held[0], time.perf_counter() - before - 0.001)
            before = time.perf_counter()

    sampling = asyncio.create_task(sample())
    try:
        yield held
    finally:
        sampling.cancel()
        await asyncio.gather(sampling, return_exceptions=True)


async def test_without_a_plausible_signature_the_body_is_not_even_read(over_http: Stage) -> None:
    """S1: the answer comes although the body never does."""
    head = f"POST {EVENTS_PATH} HTTP/1.1\r\nHost: bot\r\nContent-Type: {FORM}\r\nContent-Length: 900000\r\n\r\n"

    assert (await knock_raw(over_http, head.encode())).split()[1] == b"401"


async def test_a_body_that_does_not_arrive_in_time_is_given_up(over_http: Stage) -> None:
    """S1: a stranger cannot hold connections by sending slowly."""
    address = urlsplit(over_http.world.slack.bot_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    head = (
        f"POST {EVENTS_PATH} HTTP/1.1\r\nHost: bot\r\nContent-Type: {FORM}\r\nContent-Length: 900000\r\n"
        f"{TIMESTAMP}: {now(over_http)}\r\n{SIGNATURE}: v0={'0' * 64}\r\n\r\n"
    )
    writer.write(head.encode() + b"text=")
    await writer.drain()
    assert await over_http.ask("olive", "/m365-session status")  # by now the bot waits for the rest

    over_http.world.clock.advance(11)

    assert (await reader.readline()).split()[1] == b"408"
    writer.close()


async def test_what_was_turned_away_is_counted_where_a_supervisor_looks(over_http: Stage) -> None:
    """S1: one counter, no names."""
    await knock(over_http, command(), {"Content-Type": FORM})
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{over_http.world.slack.bot_url}/metrics") as answer:
            text = await answer.text()

    assert 'latchkey_turned_away{status="401"}' in text
    assert "@" not in text
    assert "U0" not in text


# --- and what is signed works ---------------------------------------------------------------------------------------


async def test_the_main_job_runs_over_signed_http_too(over_http: Stage) -> None:
    before = len(over_http.world.slack.messages(HELPDESK))
    card = await over_http.reset("olive", "pradeep@contoso.com", "Pradeep Gupta, Finance")

    assert len(over_http.world.slack.messages(HELPDESK)) == before + 1
    assert "The password of Pradeep Gupta was reset" in card.visible_text
    assert over_http.world.writes("PATCH", f"/users/{over_http.world.directory.user('pradeep').id}") == 1


async def test_without_a_signing_secret_the_bot_does_not_start_to_listen(over_http: Stage) -> None:
    """S1: an empty secret would accept what anybody signs with an empty secret."""
    with environment({**over_http.world.environment(), "LATCHKEY_SLACK_SIGNING_SECRET": ""}):
        config = read_config()

    with pytest.raises(ConfigurationError, match="LATCHKEY_SLACK_SIGNING_SECRET"):
        async with latchkey(config):
            pass
