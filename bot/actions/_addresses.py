"""Addresses as people type them, for a named location: public ones only, and not more than was meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final

from bot.errors import BadInput
from bot.model import JSON
from bot.whatif.locations import Address, Network, read_address

MOST_RANGES: Final = 2000
"""Of one named location (Entra docs: *Conditional Access: Network assignment*, which also wants masks longer than /8).
"""

WIDEST: Final = {4: 24, 6: 48}
"""The shortest mask we take, by version: what one site has of its own. More is more than anybody signs in from."""

MOST_SHOWN: Final = 6

_EXAMPLE: Final = "Type addresses such as 203.0.113.10, 198.51.100.0/28 or 2001:db8:7::/64."

# Microsoft never sees a sign-in come from any of these. The ranges that stand in documentation are not among them: no
# sign-in comes from there either, but they are public by their form, and what is wrong with them is found by comparing
# with the address Latchkey signs in from.
_NOT_PUBLIC: Final[Sequence[tuple[Network, str]]] = tuple(
    (ip_network(network), why)
    for network, why in (
        ("0.0.0.0/8", "names no machine"),
        ("10.0.0.0/8", "is private"),
        ("172.16.0.0/12", "is private"),
        ("192.168.0.0/16", "is private"),
        ("100.64.0.0/10", "is a provider's own (carrier-grade NAT)"),
        ("127.0.0.0/8", "never leaves its machine (loopback)"),
        ("169.254.0.0/16", "never leaves its network (link-local)"),
        ("224.0.0.0/4", "is for multicast"),
        ("240.0.0.0/4", "is reserved"),
        ("fc00::/7", "is private (unique local)"),
        ("fe80::/10", "never leaves its network (link-local)"),
        ("ff00::/8", "is for multicast"),
        ("::/127", "names no machine"),
    )
)
_PUBLIC_IPV6: Final = IPv6Network("2000::/3")


def read_ranges(typed: str) -> tuple[Network, ...]:
    """The networks in a list with commas, spaces or lines between them; what lies within another one is left out.

    Raises `BadInput`, which says of the first that cannot be used why.
    """
    words = typed.replace(",", " ").replace(";", " ").split()
    if not words:
        raise BadInput(_EXAMPLE, field="addresses")
    found = fold(_read(word) for word in words)
    if len(found) > MOST_RANGES:
        raise BadInput(
            f"These are {len(found):,} ranges, and a named location takes {MOST_RANGES:,}. Join some of them.",
            field="addresses",
        )
    return found


def fold(networks: Iterable[Network]) -> tuple[Network, ...]:
    """*networks* in their order, without those that lie within others."""
    kept = {(each.version, each.prefixlen, int(each.network_address)): each for each in networks}

    def lies_within_another(network: Network) -> bool:
        # One look for each length of a mask, so that two thousand ranges take no time.
        number = int(network.network_address)
        lengths = range(WIDEST[network.version], network.prefixlen)
        shifts = ((length, network.max_prefixlen - length) for length in lengths)
        return any((network.version, length, number >> shift << shift) in kept for length, shift in shifts)

    return tuple(network for network in kept.values() if not lies_within_another(network))


def _read(word: str) -> Network:
    shown = word if len(word) <= 50 else word[:49] + "…"
    try:
        network = _single(word) if "/" not in word else _several(word, shown)
    except ValueError as error:
        raise BadInput(f"`{shown}` is no address and no network. {_EXAMPLE}", field="addresses") from error
    for other, why in _NOT_PUBLIC:
        if network.version == other.version and network.network_address in other and network.prefixlen > 7:
            raise BadInput(f"`{shown}` {why}: Microsoft only sees public addresses. {_EXAMPLE}", field="addresses")
    if isinstance(network, IPv6Network) and network.network_address not in _PUBLIC_IPV6 and network.prefixlen > 3:
        raise BadInput(f"`{shown}` is no public address. {_EXAMPLE}", field="addresses")
    if network.prefixlen < WIDEST[network.version]:
        raise BadInput(
            f"`{shown}` is {_how_many(network)}, which is more than one site signs in from. The widest range that is "
            f"taken is /{WIDEST[network.version]}: name those that are yours, one by one.",
            field="addresses",
        )
    return network


def _single(word: str) -> Network:
    return ip_network(read_address(word)) if "%" not in word else _refuse()


def _several(word: str, shown: str) -> Network:
    address, _, mask = word.partition("/")
    if not mask.isascii() or not mask.isdigit() or len(mask) > 3 or "%" in address:
        return _refuse()
    network = ip_network(word, strict=False)
    if isinstance(network, IPv6Network) and IPv6Address(int(network.network_address)).ipv4_mapped is not None:
        return _refuse()
    if str(network.network_address) != str(ip_network(address).network_address):
        raise BadInput(
            f"`{shown}` names one address and a whole network: type `{network}` for the network, or `{address}`.",
            field="addresses",
        )
    return network


def _refuse() -> Network:
    raise ValueError


def _how_many(network: Network) -> str:
    return f"{network.num_addresses:,} addresses" if isinstance(network, IPv4Network) else f"a /{network.prefixlen}"


def in_words(networks: Sequence[Network]) -> str:
    """A list of networks, single addresses without a mask; a long one is counted."""
    shown = [str(network[0]) if network.num_addresses == 1 else str(network) for network in networks[:MOST_SHOWN]]
    more = len(networks) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")


def holds(networks: Iterable[Network], address: Address) -> bool:
    """Whether *address* is in one of *networks*."""
    return any(address.version == network.version and address in network for network in networks)


def as_graph_has_them(networks: Iterable[Network]) -> list[JSON]:
    """The `ipRanges` of a named location (Graph docs: *ipNamedLocation*)."""
    return [
        {"@odata.type": f"#microsoft.graph.iPv{network.version}CidrRange", "cidrAddress": str(network)}
        for network in networks
    ]


def elsewhere(networks: Sequence[Network]) -> Address | None:
    """An address that is in none of *networks* and nobody's: it stands for all that are outside. There is one for
    ranges as wide as can be typed; None where wider ones leave none."""
    numbers = (f"2001:db8:{number:x}::1" for number in range(MOST_RANGES + 1))
    candidates = map(read_address, ("192.0.2.1", "198.51.100.1", "203.0.113.1", *numbers))
    return next((address for address in candidates if not holds(networks, address)), None)
