"""What is typed after `/m365-whatif`: what it means, and the sentence where it means nothing."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.actions import delegated
from bot.command import Parsed, parse
from bot.errors import BadInput
from bot.what_if_by_hand.options import MENUS, NAMES, Said, application, read
from bot.whatif import apps
from bot.whatif.countries import COUNTRIES
from bot.whatif.signins import Applications, AuthenticationContext, Conditions, UserAction

ADELE = "adele@contoso.com"
OWN_APP = "9d1f0a52-0000-4000-8000-000000000001"


def typed(text: str) -> Parsed:
    return parse("/m365-whatif", text, delegated())


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("", Parsed("whatif")),
        (ADELE, Parsed("whatif", ADELE)),
        ("Adele Vance --app Microsoft Graph", Parsed("whatif", "Adele Vance", {"app": "Microsoft Graph"})),
        (f"<mailto:{ADELE}|{ADELE}> —ip 203.0.113.10", Parsed("whatif", ADELE, {"ip": "203.0.113.10"})),
        (
            "--country the Netherlands --client Mobile apps --flow device-code",
            Parsed(
                "whatif",
                options={"country": "NL", "client": "mobileAppsAndDesktopClients", "flow": "deviceCodeFlow"},
            ),
        ),
        ("form", Parsed("whatif", rest=("form",))),
        (f"form {ADELE} --client legacy", Parsed("whatif", ADELE, {"client": "other"}, rest=("form",))),
        ("draft", Parsed("whatif-draft")),
        ("help", Parsed("whatif-help")),
        ("--matrix", Parsed("whatif-matrix")),
        ("matrix --app graph, exchange", Parsed("whatif-matrix", options={"app": "graph, exchange"})),
        (f"{ADELE}, alex@contoso.com --matrix", Parsed("whatif-matrix", f"{ADELE}, alex@contoso.com")),
        (
            "--matrix --ip 203.0.113.10, ::ffff:198.51.100.1 --client browser, legacy",
            Parsed("whatif-matrix", options={"ip": "203.0.113.10, 198.51.100.1", "client": "browser, other"}),
        ),
        ('"form"', Parsed("whatif", "form")),
    ],
)
def test_what_is_typed_is_understood(text: str, meant: Parsed) -> None:
    assert typed(text) == meant


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("--ip 10.1.2.3", "which Microsoft never sees"),
        ("--ip fe80::1", "which Microsoft never sees"),
        ("--ip 203.0.113.0/24", "is a range"),
        ("--ip 203.0.113", "is no address"),
        ("--ip 203.0.113.1, 203.0.113.2", "add `--matrix`"),
        ("--country Irland", "Did you mean Ireland"),
        ("--country QQ", "is no country"),
        ("--client phone", "`browser`, `mobile`, `activesync` or `legacy`"),
        ("--platform beos", "is no platform"),
        ("--flow magic", "is no way of signing in"),
        ("--device lost", "is no state of a device"),
        ("--risk extreme", "is no sign-in risk"),
        ("--user-risk extreme", "is no user risk"),
        ("--action dance", "is no user action"),
        ("--action c100", "is no user action"),
        ("--app graph --action c1", "a sign-in is to one of them"),
        ("--ap graph", "Did you mean `--app`"),
        ("--app", "such as `--app Exchange`"),
        ("--matrix --app " + ", ".join("abcdefg"), "At most 6 at a time"),
        (f"--ip 203.0.113.10 {ADELE}", "Put the account first"),
        (f"{ADELE}, alex@contoso.com", "To compare several of them, add `--matrix`"),
        ("draft --client browser", "It is not clear what"),
        ("draft my policy", "It is not clear what"),
        ("@adele", "is a Slack name"),
        ("ad\u0435le@contoso.com", "has signs that sign-in names do not have"),
    ],
)
def test_nonsense_is_answered_with_what_to_type(text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said.replace("?", r"\?").replace("(", r"\(")):
        typed(text)


@pytest.mark.parametrize(
    ("name", "id_"),
    [
        ("graph", apps.GRAPH),
        ("Microsoft Graph", apps.GRAPH),
        ("exchange online", apps.EXCHANGE),
        ("Office 365 SharePoint Online", apps.SHAREPOINT),
        ("Azure portal, Entra and Intune admin centers", "c44b4083-3bb0-49c1-b47d-974e53cbdf3c"),
        ("whiteboard", "95de633a-083e-42f5-b444-a4295d8e9314"),
        ("contoso payroll", OWN_APP),
        (apps.EXCHANGE.upper(), apps.EXCHANGE),
    ],
)
def test_an_application_goes_by_its_name_a_part_of_it_or_its_id(name: str, id_: str) -> None:
    assert read({"app": name}, several=True).apps == read({"app": name}).apps == (name,)
    assert application(name, {OWN_APP: "Contoso Payroll"}) == id_


def test_of_several_applications_none_is_picked() -> None:
    with pytest.raises(BadInput, match="Did you mean Microsoft Graph Command Line Tools or Microsoft Graph Connectors"):
        application("microsoft graph c", {"x": "Microsoft Graph Connectors"})
    with pytest.raises(BadInput, match="is no application that is known here"):
        application("no such thing", {})


def test_every_choice_is_found_by_graphs_name_by_its_label_and_by_what_is_typed() -> None:
    for name, menu in MENUS.items():
        for choice in menu.choices:
            for text in (choice.value, choice.said, choice.typed, *choice.also):
                assert read({name: text}).options == {name: choice.value}


def test_every_country_is_found_by_its_letters_and_by_its_name() -> None:
    for code, name in COUNTRIES.items():
        assert read({"country": code.lower()}).country == read({"country": name.upper()}).country == code
    assert read({"country": "none"}).country == ""


some = st.fixed_dictionaries(
    {},
    optional={
        **{name: st.sampled_from([choice.value for choice in menu.choices]) for name, menu in MENUS.items()},
        "country": st.sampled_from([*COUNTRIES, "none"]),
        "ip": st.ip_addresses().map(str),
        "app": st.text(max_size=40),
    },
)


@given(some)
def test_what_was_understood_is_understood_again(options: dict[str, str]) -> None:
    try:
        said = read(options)
    except BadInput:
        return
    assert read(said.options) == said


@given(st.dictionaries(st.sampled_from(NAMES), st.text(max_size=300) | st.none() | st.integers()))
def test_nothing_that_can_be_typed_or_sent_ends_in_anything_but_a_sentence(options: dict[str, Any]) -> None:
    for several in (False, True):
        with suppress(BadInput):
            said = read(options, several=several)
            assert isinstance(said, Said)
            said.wanted({})


def test_what_was_said_takes_the_place_of_what_is_usual_and_of_nothing_else() -> None:
    usual = Conditions(
        address=ip_address("203.0.113.10"), country="IE", platform="all", client_app="browser", flow="none"
    )

    same = read({"ip": "203.0.113.10", "risk": "high"}).on(usual, person=True)
    other = read({"ip": "198.51.100.1"}).on(usual, person=True)
    told = read({"ip": "198.51.100.1", "country": "uk", "device": "hybrid"}).on(usual, person=False)

    assert (same.country, same.sign_in_risk, same.platform) == ("IE", "high", "all")
    assert other.country is None, "it is not known in which country another address is"
    assert (told.country, told.device, told.client_app) == ("GB", {"trustType": "ServerAD"}, "browser")
    assert read({"risk": "low"}).on(usual, person=False).principal_risk == "low"


def test_a_sign_in_is_to_applications_or_for_an_action_or_a_context() -> None:
    assert read({"app": "graph, teams"}, several=True).wanted({})[0] == Applications(frozenset({apps.GRAPH}))
    assert read({"action": "Register security info"}).wanted({}) == (UserAction("registerSecurityInformation"),)
    assert read({"action": "C7"}).wanted({}) == (AuthenticationContext("c7"),)
    assert read({}).wanted({}) == ()
