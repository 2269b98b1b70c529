"""Named locations as Graph writes them (Graph docs: *ipNamedLocation*, *countryNamedLocation*), read into values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
    summarize_address_range,
)
from typing import TYPE_CHECKING, Any, Final

from bot.whatif.policies import PolicyProblem, listed
from bot.whatif.reading import Found, folded, quoted

if TYPE_CHECKING:
    from bot.model import JSON

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

COMPLIANT_NETWORK: Final = "3d46dbda-8382-466a-856d-eb00cbc6b910"
"""The location *All Compliant Network locations* of Global Secure Access has this id in every tenant."""

MFA_TRUSTED_ADDRESSES: Final = "00000000-0000-0000-0000-000000000000"
"""The trusted addresses of the old multifactor settings, which Graph does not show."""


@dataclass(frozen=True)
class NamedLocation:
    """A named location: networks, or countries, or the compliant network, or (none of these) one not known here."""

    id: str
    name: str
    networks: tuple[Network, ...] = ()
    countries: frozenset[str] | None = None
    unknown_countries: bool = False
    trusted: bool = False
    compliant_network: bool = False
    understood: bool = True
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def to_json(self) -> JSON:
        return self.raw


def read_locations(data: JSON) -> tuple[NamedLocation, ...]:
    """From a list, or from a page of Graph's answer. Raises `PolicyProblem`, also where two have the same id."""
    listing = enumerate(listed(data, "The named locations"), start=1)
    locations = tuple(read_location(each, f"Named location {number}") for number, each in listing)
    seen: set[str] = set()
    for location in locations:
        if location.id and location.id.lower() in seen:
            raise PolicyProblem(f"There are two named locations with the id {quoted(location.id)}.")
        seen.add(location.id.lower())
    return locations


def read_location(data: JSON, where: str = "The named location") -> NamedLocation:
    """Raises `PolicyProblem`."""
    raw = Found.in_json(data, where, PolicyProblem)
    name = raw.text("displayName") or ""
    if name:
        raw = Found(raw.value, f"Named location {quoted(name)}", PolicyProblem)
    id_, kind = raw.text("id") or "", (raw.text("@odata.type") or "").rpartition(".")[2]
    if kind == "ipNamedLocation" or raw.given("ipRanges"):
        networks = tuple(network for part in raw.parts("ipRanges") for network in _networks(part))
        return NamedLocation(id_, name, networks, trusted=bool(raw.truth("isTrusted")), raw=raw.value)
    if kind == "countryNamedLocation" or raw.given("countriesAndRegions"):
        countries = folded(raw.names("countriesAndRegions"))
        also_unknown = bool(raw.truth("includeUnknownCountriesAndRegions"))
        return NamedLocation(id_, name, countries=countries, unknown_countries=also_unknown, raw=raw.value)
    compliant = kind == "compliantNetworkNamedLocation" or id_.lower() == COMPLIANT_NETWORK
    return NamedLocation(id_, name, compliant_network=compliant, understood=compliant, raw=raw.value)


def _networks(part: Found) -> list[Network]:
    try:
        cidr = part.text("cidrAddress")
        if cidr is not None:
            return [ip_network(cidr.strip(), strict=False)]
        lower, upper = ip_address(part.text("lowerAddress") or ""), ip_address(part.text("upperAddress") or "")
        return list(summarize_address_range(lower, upper))
    except (ValueError, TypeError) as error:
        raise PolicyProblem(f"{part.where} is no range of addresses such as 203.0.113.0/24.") from error


def read_address(text: str) -> Address:
    """An address as locations compare it: one of IPv4 that is dressed as IPv6 is one of IPv4. Raises `ValueError`."""
    address = ip_address(text.strip())
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
