"""What people type, on a desk and on a phone, and what they are told when it cannot be used."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bot.actions import delegated
from bot.command import Parsed, looks_exact, parse, read_span, refuse_lookalikes
from bot.errors import BadInput

KNOWN = delegated()
ADELE = "adele@contoso.com"
GUID = "f142e421-ec74-44a4-9ec6-636e45e4a66d"


def read(text: str, command: str = "/m365") -> Parsed:
    return parse(command, text, KNOWN)


# --- What is understood ---------------------------------------------------------------------------------------------

RESET = Parsed("reset-password", ADELE, reason="locked out")


@pytest.mark.parametrize(
    "typed",
    [
        'reset-password adele@contoso.com --reason "locked out"',
        "reset-password adele@contoso.com --reason locked out",
        "reset-password adele@contoso.com --reason 'locked out'",
        'reset-password adele@contoso.com --reason="locked out"',
        "reset-password adele@contoso.com --reason=locked out",
        "reset-password adele@contoso.com —reason “locked out”",
        "reset-password adele@contoso.com –reason ‘locked out’",
        "reset-password adele@contoso.com ―reason „locked out“",
        "reset-password adele@contoso.com -reason «locked out»",
        "reset-password adele@contoso.com ——Reason: locked out",
        'reset-password adele@contoso.com --reason "locked out',
        'reset-password --reason "locked out" adele@contoso.com',
        'reset-password <mailto:adele@contoso.com|adele@contoso.com> --reason "locked out"',
        'reset-password <mailto:adele@contoso.com> --reason "locked out"',
        "  reset-password   adele@contoso.com\t--reason  locked\n out ",
        "reset-password\u00a0adele@contoso.com\u2003--reason\u00a0locked\u00a0out",
        "reset\u2011password ad\u200bele@contoso.com\u200f --reason locked out\ufeff",
        "reset_password adele@contoso.com --reason locked out",
        "reset password adele@contoso.com --reason locked out",
        "Reset-Password adele@contoso.com --REASON locked out",
        "reset–password adele@contoso.com --reason locked out",
    ],
)
def test_one_wish_can_be_typed_in_many_ways(typed: str) -> None:
    assert read(typed) == RESET


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("", Parsed("help")),
        ("help", Parsed("help")),
        ("?", Parsed("help")),
        ("--help", Parsed("help")),
        ("HELP groups", Parsed("help", rest=("groups",))),
        ("reset-password", Parsed("reset-password")),
        ("show-user Adele Vance", Parsed("show-user", "Adele Vance")),
        ("show-user O'Brien", Parsed("show-user", "O'Brien")),
        ("show-user Zoë Ångström", Parsed("show-user", "Zoë Ångström")),
        ("show-user Smith &amp; Sons", Parsed("show-user", "Smith & Sons")),
        ("show-user &amp;lt;b&amp;gt;", Parsed("show-user", "&lt;b&gt;")),
        (f"show-user {GUID}", Parsed("show-user", GUID)),
        (
            "show-user gail_partner.example#EXT#@contoso.onmicrosoft.com",
            Parsed("show-user", "gail_partner.example#EXT#@contoso.onmicrosoft.com"),
        ),
        ("block sign in zoe", Parsed("block-sign-in", "zoe")),
        ("can reset password adele", Parsed("can", "adele", rest=("reset-password",))),
        ("can reset-password", Parsed("can", rest=("reset-password",))),
        ("undo", Parsed("undo")),
        ("undo 4711", Parsed("undo", rest=("4711",))),
        (
            "reset-password adele@contoso.com --verified called back --ticket INC-7 --preview",
            Parsed("reset-password", ADELE, verified="called back", ticket="INC-7", preview=True),
        ),
        ("reset-password --preview adele@contoso.com", Parsed("reset-password", ADELE, preview=True)),
        ("reset-password adele@contoso.com --preview no", Parsed("reset-password", ADELE, preview=False)),
        ("add-to-group adele@contoso.com Sales", Parsed("add-to-group", ADELE, {"group": "Sales"})),
        ("add to group adele@contoso.com Project Falcon", Parsed("add-to-group", ADELE, {"group": "Project Falcon"})),
        ('add-to-group "Adele Vance" Sales', Parsed("add-to-group", "Adele Vance", {"group": "Sales"})),
        ("add-to-group --group Project Falcon", Parsed("add-to-group", "", {"group": "Project Falcon"})),
        (
            "assign-license adele@contoso.com Office 365 E3 --without TEAMS1, SWAY",
            Parsed("assign-license", ADELE, {"license": "Office 365 E3", "without": "TEAMS1, SWAY"}),
        ),
        (
            "temporary-access-pass adele@contoso.com 30 --once off",
            Parsed("temporary-access-pass", ADELE, {"lifetime": "30", "once": "off"}),
        ),
        (
            "temporary-access-pass adele@contoso.com --once --lifetime=120",
            Parsed("temporary-access-pass", ADELE, {"lifetime": "120", "once": "yes"}),
        ),
        (
            "assign-license adele@contoso.com Office 365 E3",
            Parsed("assign-license", ADELE, {"license": "Office 365 E3"}),
        ),
        ("temporary-access-pass Adele Vance", Parsed("temporary-access-pass", "Adele Vance")),
        (
            "reset-password adele@contoso.com --reason locked out - again — twice",
            Parsed("reset-password", ADELE, reason="locked out - again — twice"),
        ),
        (
            'reset-password adele@contoso.com --reason "says --ticket is &lt;unknown&gt;"',
            Parsed("reset-password", ADELE, reason="says --ticket is <unknown>"),
        ),
        (
            "reset-password adele@contoso.com --reason asked by <@U123|olive> in <#C1|helpdesk>",
            Parsed("reset-password", ADELE, reason="asked by @olive in #helpdesk"),
        ),
        (
            "reset-password adele@contoso.com --reason see <https://help.example/7|help.example/7>",
            Parsed("reset-password", ADELE, reason="see help.example/7"),
        ),
        ("show-user a < b", Parsed("show-user", "a < b")),
    ],
)
def test_what_is_typed_is_taken_apart(typed: str, wanted: Parsed) -> None:
    assert read(typed) == wanted


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("", Parsed("session-status")),
        ("status", Parsed("session-status")),
        ("On", Parsed("session-on")),
        ("off", Parsed("session-off")),
        ("end", Parsed("session-off")),
        ("extend", Parsed("session-extend")),
        ("on —reason month end", Parsed("session-on", reason="month end")),
    ],
)
def test_the_session_command_takes_one_word(typed: str, wanted: Parsed) -> None:
    assert read(typed, "/m365-session") == wanted


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("", Parsed("audit")),
        ("adele@contoso.com --since 7d", Parsed("audit", ADELE, {"since": "7d"})),
        ("--since=12H Olive Hart", Parsed("audit", "Olive Hart", {"since": "12H"})),
        ("@olive", Parsed("audit", "@olive")),
        ("<@U0OLIVE001|olive.h> --refused", Parsed("audit", "@U0OLIVE001", {"refused": "yes"})),
        (
            "—since 7d –until 2d --action “reset password” --break-glass",
            Parsed(
                "audit",
                options={"since": "7d", "until": "2d", "action": "reset-password", "break_glass": "yes"},
            ),
        ),
        ("--leavers --refused no --export JSON", Parsed("audit", options={"leavers": "yes", "export": "jsonl"})),
        ("who", Parsed("audit-who")),
        (
            "Who reset password --export csv",
            Parsed("audit-who", options={"command": "/m365 reset-password", "export": "csv"}),
        ),
        ("who /m365 reset-password", Parsed("audit-who", options={"command": "/m365 reset-password"})),
        ("who /m365-audit", Parsed("audit-who", options={"command": "/m365-audit"})),
        ('"Who" Ever', Parsed("audit", "Who Ever")),
    ],
)
def test_the_audit_command_takes_whom_what_and_when(typed: str, wanted: Parsed) -> None:
    assert read(typed, "/m365-audit") == wanted


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("", Parsed("mode")),
        ("status", Parsed("mode")),
        ("Advanced", Parsed("switch-mode", options={"to": "advanced"})),
        (
            "default —account removed –reason “audit week” --ticket INC-7",
            Parsed("switch-mode", options={"to": "default", "account": "removed"}, reason="audit week", ticket="INC-7"),
        ),
        ("--auto-enable off --preview", Parsed("switch-mode", options={"auto_enable": "off"}, preview=True)),
        (
            "advanced --global-administrator",
            Parsed("switch-mode", options={"to": "advanced", "global_administrator": "yes"}),
        ),
        ("set up --adopt", Parsed("set-up-identity", options={"adopt": "yes"})),
        ("set-up --kind application", Parsed("set-up-identity", options={"kind": "application"})),
        ("remove --then disabled", Parsed("remove-identity", options={"then": "disabled"})),
        ("settings --idle-minutes 15", Parsed("change-settings", options={"idle_minutes": "15"})),
    ],
)
def test_the_mode_command_takes_a_mode_a_switch_or_what_is_to_be_done_about_the_account(
    typed: str, wanted: Parsed
) -> None:
    assert read(typed, "/m365-mode") == wanted


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("", Parsed("rotate-status")),
        ("Status", Parsed("rotate-status")),
        ("help", Parsed("rotate-help")),
        ("?", Parsed("rotate-help")),
        ("history", Parsed("rotate-history")),
        ("now", Parsed("rotate-now")),
        ("Now —reason “somebody saw it”", Parsed("rotate-now", reason="somebody saw it")),
        ("back", Parsed("rotate-back")),
        ("roll back", Parsed("rotate-back")),
        ("rollback --ticket INC-7", Parsed("rotate-back", ticket="INC-7")),
        ("drill", Parsed("rotate-drill")),
        ("drill —fail", Parsed("rotate-drill", options={"fail": "yes"})),
        ("recover --preview", Parsed("recover-password", preview=True)),
    ],
)
def test_the_rotate_command_tells_or_takes_what_is_to_be_done(typed: str, wanted: Parsed) -> None:
    assert read(typed, "/m365-rotate") == wanted


def test_time_spans_are_minutes_hours_days_or_weeks() -> None:
    assert [read_span(span, "since") for span in ("90m", "12h", "7D", "2w")] == [
        timedelta(minutes=90),
        timedelta(hours=12),
        timedelta(days=7),
        timedelta(weeks=2),
    ]


# --- What is not ----------------------------------------------------------------------------------------------------

MALFORMED = [
    # (command, what was typed, what the sentence must show)
    ("/m365", "frobnicate", "/m365 help"),
    ("/m365", "rest-password adele", "/m365 reset-password"),
    ("/m365", "password adele", "/m365 reset-password"),
    ("/m365", "ressetpasswort", "/m365 reset-password"),
    ("/m365", "revoke adele", "/m365 revoke-sessions"),
    ("/m365", "licence adele", "/m365 assign-license"),
    ("/m365", "hlep", "/m365 help"),
    ("/m365", "--reason x", "/m365 help"),
    ("/m365", "—", "/m365 help"),
    ("/m365", '"reset-password adele"', "/m365 help"),
    ("/m365", "../../etc/passwd", "/m365 help"),
    ("/m365", "drop table users;--", "/m365 help"),
    ("/m365", "`rm -rf`", "/m365 help"),
    ("/m365", "<!channel>", "/m365 help"),
    ("/m365", "🔑", "/m365 help"),
    ("/m365", "x" * 1999, "/m365 help"),
    ("/m365", "x" * 2001, "2000"),
    ("/m365", "reset-password " + "y" * 1900, "adele@contoso.com"),
    ("/m365", "reset-password adele@contoso.com --reason", '--reason "locked out"'),
    ("/m365", 'reset-password adele@contoso.com --reason ""', '--reason "locked out"'),
    ("/m365", "reset-password adele@contoso.com --reason “”", '--reason "locked out"'),
    ("/m365", "reset-password adele@contoso.com --reason --preview", '--reason "locked out"'),
    ("/m365", "reset-password adele@contoso.com --reason=", '--reason "locked out"'),
    ("/m365", "reset-password adele@contoso.com --reason " + "y" * 501, "500"),
    ("/m365", "reset-password adele@contoso.com --verified", '--verified "called back"'),
    ("/m365", "reset-password adele@contoso.com --verified " + "y" * 501, "500"),
    ("/m365", "reset-password adele@contoso.com --ticket", "--ticket INC-1234"),
    ("/m365", "reset-password adele@contoso.com --reason a --reason b", "once"),
    ("/m365", "reset-password adele@contoso.com —reason a --REASON b", "once"),
    ("/m365", "reset-password adele@contoso.com --reson locked", "--reason"),
    ("/m365", "reset-password adele@contoso.com --tickt 7", "--ticket"),
    ("/m365", "reset-password adele@contoso.com —since 7d", "--reason"),
    ("/m365", "reset-password adele@contoso.com --group Sales", "--reason"),
    ("/m365", "reset-password adele@contoso.com --" + "x" * 900, "--reason"),
    ("/m365", "reset-password adele@contoso.com --reason locked out –really", "quotes"),
    ("/m365", "reset-password adele@contoso.com --preview=perhaps", "yes or no"),
    ("/m365", "reset-password adele@contoso.com locked out", '--reason "locked out"'),
    ("/m365", "reset-password adele@contoso.com alex@contoso.com", "/m365 reset-password adele@contoso.com"),
    ("/m365", "reset-password for adele@contoso.com", "/m365 reset-password adele@contoso.com"),
    ("/m365", "reset-password <@U0OLIVE001>", "adele@contoso.com"),
    ("/m365", "reset-password <@U0OLIVE001|olive>", "adele@contoso.com"),
    ("/m365", "reset-password <#C0HELPDESK|helpdesk>", "adele@contoso.com"),
    ("/m365", "reset-password <!channel>", "adele@contoso.com"),
    ("/m365", "reset-password <!subteam^S1|@helpdesk>", "adele@contoso.com"),
    ("/m365", "reset-password @adele", "adele@contoso.com"),
    ("/m365", "reset-password аdele@contoso.com", "U+0430 CYRILLIC SMALL LETTER A"),
    ("/m365", "reset-password adele@cоntoso.com", "U+043E CYRILLIC SMALL LETTER O"),
    ("/m365", "reset-password adele＠contoso.com", "U+FF20 FULLWIDTH COMMERCIAL AT"),
    ("/m365", "reset-password ａdele@contoso.com", "U+FF41 FULLWIDTH LATIN SMALL LETTER A"),
    ("/m365", "reset-password jean–luc@contoso.com", "U+2013 EN DASH"),
    ("/m365", "reset-password zoë@contoso.com", "U+00EB LATIN SMALL LETTER E WITH DIAERESIS"),
    ("/m365", "can", "/m365 can reset-password adele@contoso.com"),
    ("/m365", "can frobnicate adele", "/m365 help"),
    ("/m365", "can reset-password adele --reason x", "can"),
    ("/m365", "can reset-password аdele@contoso.com", "U+0430"),
    ("/m365", "undo 1 2", "/m365 undo"),
    ("/m365", "undo --reason x", "undo"),
    ("/m365", "temporary-access-pass adele@contoso.com 5", "10 to 43200"),
    ("/m365", "temporary-access-pass adele@contoso.com 43201", "10 to 43200"),
    ("/m365", "temporary-access-pass adele@contoso.com soon", "10 to 43200"),
    ("/m365", "temporary-access-pass adele@contoso.com " + "9" * 1500, "10 to 43200"),
    ("/m365", "temporary-access-pass adele@contoso.com --lifetime 1e3", "10 to 43200"),
    ("/m365", "temporary-access-pass adele@contoso.com --lifetime", "--lifetime"),
    ("/m365", "temporary-access-pass adele@contoso.com --once=maybe", "yes or no"),
    ("/m365", "temporary-access-pass adele@contoso.com 60 90", "--reason"),
    ("/m365", "add-to-group adele@contoso.com " + "g" * 257, "256"),
    ("/m365", 'add-to-group adele@contoso.com --group " "', "--group"),
    ("/m365", "add-to-group adele@contoso.com --gruop Sales", "--group"),
    ("/m365-session", "sideways", "/m365-session status"),
    ("/m365-session", "on now", "/m365-session on"),
    ("/m365-session", "on --since 7d", "--reason"),
    ("/m365-audit", "--since", "--since 7d"),
    ("/m365-audit", "--since yesterday", "--since 7d"),
    ("/m365-audit", "--since 0d", "--since 7d"),
    ("/m365-audit", "--since -1d", "--since 7d"),
    ("/m365-audit", "--since 99999999999d", "--since 7d"),
    ("/m365-audit", "--since 99999w", "--since 7d"),
    ("/m365-audit", "--since ٣d", "--since 7d"),
    ("/m365-audit", "--from 7d", "--since"),
    ("/m365-audit", "--since 2d --until 7d", "further back"),
    ("/m365-audit", "--until soon", "--until 7d"),
    ("/m365-audit", "--action reset-pasword", "/m365 reset-password"),
    ("/m365-audit", "--export", "--export csv"),
    ("/m365-audit", "--export xlsx", "csv"),
    ("/m365-audit", "who reset-pasword", "/m365 reset-password"),
    ("/m365-audit", "who reset-password block-sign-in", "One command at a time"),
    ("/m365-audit", "who --since 7d", "tells of today"),
    ("/m365-audit", "help", "who may do what"),
    ("/m365-audit", "x" * 300, "/m365-audit"),
    ("/m365-mode", "expert", "`advanced`"),
    ("/m365-mode", "advanced please", "--reason"),
    ("/m365-mode", "--auto-enable maybe", "on, off"),
    ("/m365-mode", "set-up --kind robot", "managed-identity"),
    ("/m365-mode", "settings help", "--reason"),
    ("/m365-mode", "advanced please", "--reason"),
    ("/m365-rotate", "later", "`now`"),
    ("/m365-rotate", "reover", "`/m365-rotate recover`"),
    ("/m365-rotate", "now please", "--reason"),
    ("/m365-rotate", "status of svc", "--reason"),
    ("/m365-rotate", "drill --fail perhaps", "perhaps"),
    ("/m365-turn", "now", "/m365 help"),
    ("", "", "/m365 help"),
]


def test_there_are_many_ways_to_get_it_wrong() -> None:
    assert len(MALFORMED) >= 60


@pytest.mark.parametrize(("command", "typed", "shows"), MALFORMED)
def test_what_cannot_be_used_is_answered_with_what_to_type(command: str, typed: str, shows: str) -> None:
    with pytest.raises(BadInput) as refused:
        read(typed, command)

    sentence = str(refused.value)
    assert shows in sentence
    assert len(sentence) < 500, "an answer for a phone"
    assert sentence.count("`") % 2 == 0, "what was typed cannot end the code it is quoted in"


PIECES = st.sampled_from(
    [*KNOWN, "can", "help", "undo", ADELE, GUID, "--reason", "—ticket", "--group", "=", '"', "“", "'", "<", ">", "|",
     "<@U1>", "<mailto:a@b.c|a@b.c>", "&amp;", "&lt;", "\u200b", "\u00a0", "-", "–", "\n", "x", "@", "`", "ü"]
)  # fmt: skip


@given(
    st.sampled_from(["/m365", "/m365-session", "/m365-audit", "/other"]),
    st.text() | st.lists(PIECES | st.text(max_size=4)).map(" ".join) | st.lists(PIECES).map("".join),
)
@example("/m365", "reset-password -")
@example("/m365", "reset-password --=")
@example("/m365", "reset-password --reason='")
@example("/m365", "\ud800")
def test_any_text_is_understood_or_answered(command: str, typed: str) -> None:
    try:
        parsed = read(typed, command)
    except BadInput as refused:
        sentence = str(refused)
        assert sentence.endswith((".", "?"))
        assert "`" in sentence or "characters" in sentence, "it shows what to type"
    else:
        assert parsed.action in {*KNOWN, "help", "can", "undo", "audit", "audit-who"} or parsed.action.startswith(
            "session-"
        )
        written = "".join([parsed.target, parsed.reason, parsed.verified, parsed.ticket, *parsed.options.values()])
        assert written.isprintable(), "nothing invisible gets through"


@given(st.text(alphabet=st.characters(categories=["L", "N"]), min_size=1, max_size=100))
def test_a_reason_in_quotes_arrives_as_it_was_typed(reason: str) -> None:
    visible = "".join(char for char in reason if char.isprintable())
    if visible:
        assert read(f'reset-password adele@contoso.com --reason "{reason}"').reason == visible


@pytest.mark.parametrize(
    "typed",
    ["<" * 2000, "<a" * 1000, '"' * 2000, "' " * 1000, "-" * 2000, "—" * 2000, "--a=" * 500, "a." * 1000, "&amp;" * 400,
     "reset-password " + "-" * 1900, "reset-password " + "@" * 1900, "reset-password " + "a-" * 950],
)  # fmt: skip
def test_the_worst_text_is_read(typed: str) -> None:
    """An expression that tries every way to divide these up would not end while anybody waits."""
    for command in ("/m365", "/m365-session", "/m365-audit"):
        try:
            read(typed, command)
        except BadInput:
            continue


# --- Sign-in names and ids ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "typed",
    [ADELE, "ADELE@CONTOSO.COM", "o'brien@contoso.co.uk", "a.b-c_d!e#f^g~h@x1-y.example", GUID, GUID.upper(),
     "gail_partner.example#EXT#@contoso.onmicrosoft.com", "x@xn--bcher-kva.example"],
)  # fmt: skip
def test_a_sign_in_name_or_an_id_is_exact(typed: str) -> None:
    assert looks_exact(typed)


@pytest.mark.parametrize(
    "typed",
    ["", "adele", "Adele Vance", "adele@contoso", "@contoso.com", "adele@", "adele@.com", "adele@contoso..com",
     "adele@contoso.com.", ".adele@contoso.com", "adele.@contoso.com", "a..b@contoso.com", "a@b@contoso.com",
     "a'/../../groups/1", "..", "%2f..%2f", "x?$expand=*@contoso.com", "x%00@contoso.com", "a;b@contoso.com",
     "x' or 1 eq 1", "a/b@contoso.com", "a\\b@contoso.com", "adele@con/toso.com", "a" * 65 + "@contoso.com",
     "a@" + "b" * 64 + ".com", "a@" + "b." * 60 + "com", "аdele@contoso.com", "adele＠contoso.com", "a b@contoso.com",
     "adele@contoso.com\n", GUID[:-1], GUID + "0", GUID.replace("f", "g", 1), GUID.replace("-", ""), "{" + GUID + "}"],
)  # fmt: skip
def test_anything_else_is_not(typed: str) -> None:
    assert not looks_exact(typed)


def test_names_that_are_no_addresses_may_have_any_letters() -> None:
    refuse_lookalikes("Zoë Ångström")
    refuse_lookalikes("Ольга")
