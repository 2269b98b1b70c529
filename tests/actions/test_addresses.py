"""Addresses for a named location, as people type them."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.actions._addresses import MOST_RANGES, elsewhere, fold, holds, in_words, read_ranges
from bot.errors import BadInput
from bot.whatif.locations import read_address


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("203.0.113.10", "203.0.113.10"),
        (" 203.0.113.10,198.51.100.0/28;\n2001:db8:7::/64 ", "203.0.113.10, 198.51.100.0/28, 2001:db8:7::/64"),
        ("203.0.113.10 203.0.113.10/32", "203.0.113.10"),
        ("203.0.113.10 203.0.113.0/24 203.0.113.128/25", "203.0.113.0/24"),
        ("::ffff:203.0.113.10", "203.0.113.10"),
        ("8.8.8.1 8.8.8.2 8.8.8.3 8.8.8.4 8.8.8.5 8.8.8.6 8.8.8.7", "8.8.8.1, 8.8.8.2, 8.8.8.3, 8.8.8.4, 8.8.8.5, "
         "8.8.8.6 and 1 more"),
    ],
)  # fmt: skip
def test_a_list_is_read_and_what_is_there_twice_is_folded(typed: str, meant: str) -> None:
    assert in_words(read_ranges(typed)) == meant


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("", "Type addresses such as"),
        ("office", "is no address and no network"),
        ("203.0.113", "is no address and no network"),
        ("3405803786", "is no address and no network"),
        ("203.0.113.10/33", "is no address and no network"),
        ("203.0.113.0/255.255.255.0", "is no address and no network"),
        ("fe80::1%eth0", "is no address and no network"),
        ("::ffff:203.0.113.0/120", "is no address and no network"),
        ("203.0.113.10/24", "type `203.0.113.0/24` for the network, or `203.0.113.10`"),
        ("203.0.0.0/16", "is 65,536 addresses"),
        ("2001:db8::/32", "is a /32"),
        ("0.0.0.0/0", "is 4,294,967,296 addresses"),
        ("192.168.1.7", "is private"),
        ("100.64.0.1", "carrier-grade NAT"),
        ("127.0.0.1", "loopback"),
        ("169.254.1.1", "link-local"),
        ("239.1.1.1", "multicast"),
        ("255.255.255.255", "reserved"),
        ("0.1.2.3", "names no machine"),
        ("::1", "names no machine"),
        ("fd00::1", "is private"),
        ("fe80::1", "link-local"),
        ("ff02::1", "multicast"),
        ("64:ff9b::1", "is no public address"),
    ],
)
def test_what_no_sign_in_comes_from_is_refused_with_words(typed: str, told: str) -> None:
    with pytest.raises(BadInput) as refused:
        read_ranges(typed)

    assert told in str(refused.value)
    assert refused.value.field == "addresses"


def test_as_many_as_graph_takes_and_not_one_more() -> None:
    many = [f"8.{number // 250}.{number % 250}.1" for number in range(MOST_RANGES + 1)]

    assert len(read_ranges(" ".join(many[:MOST_RANGES]))) == MOST_RANGES
    with pytest.raises(BadInput, match="These are 2,001 ranges"):
        read_ranges(" ".join(many))


@given(st.text(st.sampled_from("0123456789abcdef.:/, %-x"), max_size=60))
def test_whatever_is_typed_it_is_read_or_refused(typed: str) -> None:
    try:
        ranges = read_ranges(typed)
    except BadInput:
        return
    outside = elsewhere(ranges)
    assert outside is not None
    assert not holds(ranges, outside)
    assert read_ranges(" ".join(map(str, ranges))) == ranges


@given(st.lists(st.tuples(st.integers(0, 2**16), st.integers(24, 32)), max_size=20))
def test_folding_neither_loses_nor_adds_an_address(given_ranges: list[tuple[int, int]]) -> None:
    networks = [ip_network((0x08080000 + number, length), strict=False) for number, length in given_ranges]
    folded = fold(networks)

    assert {address for network in folded for address in network} == {a for network in networks for a in network}
    assert not any(one != other and set(one) <= set(other) for one in folded for other in folded)


def test_elsewhere_is_found_however_much_is_ours() -> None:
    ours = read_ranges("192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 2001:db8::/48")

    assert elsewhere(ours) == read_address("2001:db8:1::1")
