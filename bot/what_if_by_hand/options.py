"""What is typed after `/m365-whatif`, or filled in in its form, read into the conditions of a sign-in. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from ipaddress import ip_network
from typing import Final

from bot.errors import BadInput
from bot.whatif import apps
from bot.whatif.countries import BY_NAME, country_name
from bot.whatif.locations import Address, read_address
from bot.whatif.signins import Applications, AuthenticationContext, Conditions, UserAction, Wanted

NAMES: Final = (
    "app", "ip", "country", "client", "platform", "flow", "action", "device", "risk", "user_risk",
)  # fmt: skip
"""The options, in the order in which people are asked for them."""

MOST: Final = 6
"""How many applications or addresses are compared at once."""

UNKNOWN_COUNTRY: Final = "none"
"""How the country is said of an address that belongs to none."""


# --- What can be chosen ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Choice:
    """One of a few: `value` is Graph's name, `said` what people read, `typed` the word for it, `also` further ones."""

    value: str
    said: str
    typed: str
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Menu:
    """Of what there is one of a few, and which."""

    what: str
    choices: tuple[Choice, ...]

    def find(self, text: str) -> Choice | None:
        wanted = _letters(text)
        for choice in self.choices:
            if wanted in map(_letters, (choice.value, choice.said, choice.typed, *choice.also)):
                return choice
        return None


_RISKS: Final = (
    Choice("none", "none", "none", ("no",)),
    Choice("low", "low", "low"),
    Choice("medium", "medium", "medium"),
    Choice("high", "high", "high"),
)

MENUS: Final[Mapping[str, Menu]] = {
    "client": Menu(
        "kind of client",
        (
            Choice("browser", "A browser", "browser", ("web", "confidential client")),
            Choice(
                "mobileAppsAndDesktopClients",
                "Mobile apps and desktop clients",
                "mobile",
                ("desktop", "app", "apps", "mobile apps", "modern", "native", "public client"),
            ),
            Choice("exchangeActiveSync", "Exchange ActiveSync", "activesync", ("eas", "easSupported")),
            Choice("other", "Other clients with legacy authentication", "legacy", ("other clients", "basic", "imap")),
        ),
    ),
    "platform": Menu(
        "platform",
        (
            Choice("windows", "Windows", "windows", ("win",)),
            Choice("macOS", "macOS", "macos", ("mac", "osx")),
            Choice("linux", "Linux", "linux"),
            Choice("android", "Android", "android"),
            Choice("iOS", "iOS", "ios", ("iphone", "ipad", "ipados")),
            Choice("all", "None that can be told", "none", ("unknown", "any")),
        ),
    ),
    "flow": Menu(
        "way of signing in",
        (
            Choice("none", "None of these", "none", ("ordinary",)),
            Choice("deviceCodeFlow", "Device code", "device code", ("code",)),
            Choice("authenticationTransfer", "Authentication transfer", "transfer"),
        ),
    ),
    "device": Menu(
        "state of a device",
        (
            Choice("unregistered", "Not registered", "unregistered", ("none", "unmanaged", "unknown")),
            Choice("registered", "Registered", "registered", ("workplace",)),
            Choice("joined", "Joined", "joined", ("entra joined", "azuread", "azure ad joined")),
            Choice("hybrid", "Hybrid joined", "hybrid", ("domain joined", "serverad")),
            Choice("compliant", "Joined and compliant", "compliant", ("managed",)),
        ),
    ),
    "risk": Menu("sign-in risk", _RISKS),
    "user_risk": Menu("user risk", _RISKS),
}
"""By option."""

_DEVICES: Final[Mapping[str, Mapping[str, str | bool | tuple[str, ...] | None]]] = {
    "unregistered": {},
    "registered": {"trustType": "Workplace"},
    "joined": {"trustType": "AzureAD"},
    "hybrid": {"trustType": "ServerAD"},
    "compliant": {"trustType": "AzureAD", "isCompliant": True},
}

_ACTIONS: Final = Menu(
    "user action",
    (
        Choice(
            "registerSecurityInformation",
            "Register security information",
            "register security info",
            ("security info", "mfa registration", "register mfa", "urn:user:registersecurityinfo"),
        ),
        Choice(
            "registerOrJoinDevices",
            "Register or join devices",
            "register device",
            ("join device", "register or join device", "device registration", "urn:user:registerdevice"),
        ),
    ),
)

ACTION_CHOICES: Final = _ACTIONS.choices

_SHORT: Final[Mapping[str, str]] = {
    "graph": apps.GRAPH,
    "exchange": apps.EXCHANGE,
    "exchangeonline": apps.EXCHANGE,
    "outlook": apps.EXCHANGE,
    "sharepoint": apps.SHAREPOINT,
    "sharepointonline": apps.SHAREPOINT,
    "teams": "1fec8e78-bce4-4aaf-ab1b-5451cc387264",
    "azure": apps.AZURE_MANAGEMENT,
    "azuremanagement": apps.AZURE_MANAGEMENT,
    "azureportal": "c44b4083-3bb0-49c1-b47d-974e53cbdf3c",
    "portal": "c44b4083-3bb0-49c1-b47d-974e53cbdf3c",
    "entra": "c44b4083-3bb0-49c1-b47d-974e53cbdf3c",
    "keyvault": "cfa8b339-82a2-471a-a3c9-0fc0be7a4093",
    "intune": "0000000a-0000-0000-c000-000000000000",
    "office": apps.EXCHANGE,
}
"""What people call the common ones. *Office* is a group of applications, of which each is asked about by itself."""


# --- What was said --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """What was said of the sign-in; several applications, addresses or clients only where they are compared.

    None, or nothing: not said. `apps` is as it was typed: which applications there are is known later. An empty
    `country` is that of an address that belongs to none.
    """

    apps: tuple[str, ...] = ()
    addresses: tuple[Address, ...] = ()
    country: str | None = None
    clients: tuple[str, ...] = ()
    platform: str | None = None
    flow: str | None = None
    action: str | None = None
    device: str | None = None
    risk: str | None = None
    user_risk: str | None = None

    @property
    def options(self) -> dict[str, str]:
        """The same again as text, in the words of Graph."""
        said = {
            "app": ", ".join(self.apps),
            "ip": ", ".join(map(str, self.addresses)),
            "country": UNKNOWN_COUNTRY if self.country == "" else self.country,
            "client": ", ".join(self.clients),
            "platform": self.platform,
            "flow": self.flow,
            "action": self.action,
            "device": self.device,
            "risk": self.risk,
            "user_risk": self.user_risk,
        }
        return {name: value for name, value in said.items() if value}

    def wanted(self, names: Mapping[str, str]) -> tuple[Wanted, ...]:
        """What is signed in to, of the applications called *names* by id. Raises `BadInput`."""
        if self.action:
            user_action = _ACTIONS.find(self.action)
            return (UserAction(user_action.value) if user_action else AuthenticationContext(self.action),)
        return tuple(Applications(frozenset({application(app, names)})) for app in self.apps)

    def on(self, usual: Conditions, *, person: bool) -> Conditions:
        """*usual* with what was said in place of it. The country of one address is not that of another."""
        if self.addresses and self.addresses[0] != usual.address:
            usual = replace(usual, address=self.addresses[0], country=None)
        risk = self.risk or (usual.sign_in_risk if person else usual.principal_risk)
        return replace(
            usual,
            platform=self.platform or usual.platform,
            flow=self.flow or usual.flow,
            device=usual.device if self.device is None else _DEVICES[self.device],
            sign_in_risk=risk if person else usual.sign_in_risk,
            principal_risk=usual.principal_risk if person else risk,
            user_risk=self.user_risk or usual.user_risk,
            country=usual.country if self.country is None else self.country,
            client_app=self.clients[0] if self.clients else usual.client_app,
        )


def read(options: Mapping[str, object], *, several: bool = False) -> Said:
    """Raises `BadInput`, which blames the option. With *several*, there may be more than one of some, with commas
    between them."""
    text = {name: " ".join(str(options.get(name) or "").split()) for name in NAMES}
    for name, value in text.items():
        if name != "app" and "@" in value:
            raise BadInput(
                f"Put the account first, and then the options: `/m365-whatif adele@contoso.com --{_typed(name)} …`.",
                field=name,
            )
    if text["app"] and text["action"]:
        raise BadInput("Say `--app` or `--action`: a sign-in is to one of them.", field="action")
    chosen = {name: _chosen(name, text[name]) for name in ("platform", "flow", "device", "risk", "user_risk")}
    return Said(
        apps=tuple(_listed("app", text["app"], "application", several=several)),
        addresses=tuple(_address(each) for each in _listed("ip", text["ip"], "address", several=several)),
        country=_country(text["country"]),
        clients=tuple(
            kind
            for each in _listed("client", text["client"], "kind of client", several=several)
            if (kind := _chosen("client", each))
        ),
        action=_action(text["action"]),
        **chosen,
    )


_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_CONTEXT: Final = re.compile(r"c[1-9][0-9]?", re.ASCII | re.IGNORECASE)


def application(typed: str, names: Mapping[str, str]) -> str:
    """The id of the application of that id or name, of those that *names* calls by name. Raises `BadInput`."""
    if _ID.fullmatch(typed):
        return typed.lower()
    known = {**names, **apps.NAMES}
    wanted = _letters(typed)
    if wanted in _SHORT:
        return _SHORT[wanted]
    exact = [id_ for id_, name in known.items() if _letters(name) == wanted]
    if exact:
        return exact[0]
    within = {name: id_ for id_, name in known.items() if wanted and wanted in _letters(name)}
    if len(within) == 1:
        return next(iter(within.values()))
    near = list(within) or get_close_matches(typed, known.values(), n=3, cutoff=0.5)
    guess = f" Did you mean {_either(sorted(set(near))[:4])}?" if near else ""
    raise BadInput(
        f"“{typed[:60]}” is no application that is known here.{guess} Type its application id otherwise.", field="app"
    )


# --- One by one -----------------------------------------------------------------------------------------------------


_WITH_COMMAS: Final = frozenset(
    "".join(char for char in name.casefold() if char.isalnum()) for name in apps.NAMES.values() if "," in name
)


def _listed(name: str, text: str, what: str, *, several: bool) -> list[str]:
    if name == "app" and _letters(text) in _WITH_COMMAS:
        return [text]
    found = list(dict.fromkeys(part for each in text.split(",") if (part := each.strip())))
    if len(found) > 1 and not several:
        raise BadInput(f"Give one {what}. To compare several of them, add `--matrix`.", field=name)
    if len(found) > MOST:
        raise BadInput(f"At most {MOST} at a time: these are {len(found)}.", field=name)
    return found


def _chosen(name: str, text: str) -> str | None:
    if not text:
        return None
    menu = MENUS[name]
    choice = menu.find(text)
    if choice is None:
        raise BadInput(
            f"“{text[:60]}” is no {menu.what}. Type {_either(f'`{each.typed}`' for each in menu.choices)}.", field=name
        )
    return choice.value


def _action(text: str) -> str | None:
    if not text:
        return None
    if choice := _ACTIONS.find(text):
        return choice.value
    if _CONTEXT.fullmatch(text):
        return text.lower()
    raise BadInput(
        f"“{text[:60]}” is no user action. Type `register security info`, `register device`, or an authentication "
        "context such as `c1`.",
        field="action",
    )


_LOCAL: Final = tuple(
    map(
        ip_network,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "fc00::/7", "fe80::/10"),
    )
)


def _address(text: str) -> Address:
    if "/" in text:
        raise BadInput(f"“{text[:60]}” is a range. Give one address, such as `203.0.113.10`.", field="ip")
    try:
        address = read_address(text)
    except ValueError:
        raise BadInput(f"“{text[:60]}” is no address. Type one such as `203.0.113.10`.", field="ip") from None
    within = any(address in network for network in _LOCAL if network.version == address.version)
    if within or address.is_loopback or address.is_unspecified or address.is_multicast:
        raise BadInput(
            f"{address} is an address inside a network, which Microsoft never sees. Give the public one that sign-ins "
            "come from.",
            field="ip",
        )
    return address


def _country(text: str) -> str | None:
    if not text:
        return None
    if text.casefold() in {UNKNOWN_COUNTRY, "unknown"}:
        return ""
    name = text.casefold().removeprefix("the ")
    if code := BY_NAME.get(name):
        return code
    near = get_close_matches(name, [known for known in BY_NAME if len(known) > 3], n=2, cutoff=0.7)
    guess = f" Did you mean {_either(country_name(BY_NAME[each]) for each in near)}?" if near else ""
    raise BadInput(
        f"“{text[:60]}” is no country.{guess} Type its two letters or its name, such as `IE` or `Ireland`.",
        field="country",
    )


def _typed(name: str) -> str:
    return name.replace("_", "-")


def _letters(text: str) -> str:
    return "".join(char for char in text.casefold() if char.isalnum())


def _either(names: Iterable[str]) -> str:
    listed = list(dict.fromkeys(names))
    return " or ".join(filter(None, (", ".join(listed[:-1]), *listed[-1:])))
