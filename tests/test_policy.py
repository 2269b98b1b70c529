"""Who may do what to whom, and how it is said."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.actions import delegated
from bot.actions._action import Action
from bot.directory_roles import (
    DIRECTORY_READERS,
    GLOBAL_ADMINISTRATOR,
    HARMLESS,
    HELPDESK_ADMINISTRATOR,
    PASSWORD_ADMINISTRATOR,
    USER_ADMINISTRATOR,
    name_of,
)
from bot.model import (
    Call,
    Grant,
    Mode,
    Operator,
    Person,
    Plan,
    Rights,
    Scope,
    ScopeOp,
    ScopeRule,
    Session,
    SessionState,
    SlackUser,
    TenantSettings,
    digest,
)
from bot.policy import (
    ADMIN_COMMAND,
    Code,
    Decision,
    Finding,
    Question,
    Verdict,
    because,
    check_identity,
    decide,
    decide_person,
    needs_guard,
    who_helps,
    words,
)
from tests.tenant import ADELE, APPLICATION, SALES_ID, SERVICE_ACCOUNT

NOW = datetime(2026, 3, 3, 9, 0, tzinfo=UTC)
NEVER, ASK = "c70b4b14-5c99-406a-bb69-c9b80f9eaa05", "c16c75dd-2d03-4daa-b716-328df32c0881"
ALEX_ID = "937f7776-7bab-43f3-8c4e-f6302fafc28e"

RESET, SHOW = delegated()["reset-password"], delegated()["show-user"]
BLOCK, TO_GROUP = delegated()["block-sign-in"], delegated()["add-to-group"]

OLIVE_ID = "ff53d00f-fb0e-4b38-8a0e-1b1a2a3f4c5d"
OLIVE = Operator("op-olive", SlackUser("T0", "U0OLIVE"), account_id=OLIVE_ID, name="Olive")
SETTINGS = TenantSettings(
    mode=Mode.ADVANCED, identity_id=SERVICE_ACCOUNT.id, never_touch_group=NEVER, ask_first_group=ASK
)
ON = Session(3, Mode.ADVANCED, SessionState.ON, SERVICE_ACCOUNT)


def attribute(name: str, *values: str) -> ScopeRule:
    return ScopeRule(ScopeOp.ATTRIBUTE, attribute=name, values=values)


def member_of(group: str) -> ScopeRule:
    return ScopeRule(ScopeOp.GROUP, values=(group,))


def every(*parts: ScopeRule) -> ScopeRule:
    return ScopeRule(ScopeOp.ALL, parts)


def some(*parts: ScopeRule) -> ScopeRule:
    return ScopeRule(ScopeOp.ANY, parts)


def none_of(*parts: ScopeRule) -> ScopeRule:
    return ScopeRule(ScopeOp.NOT, parts)


def grant(rule: ScopeRule | None = None, *, name: str = "Sales people", until: datetime | None = None) -> Grant:
    scope = None if rule is None else Scope(f"scope-{name}", name, rule)
    return Grant(f"grant-{name}-{until}", "helpdesk", scope, until)


def rights(*grants: Grant, operator: Operator | None = OLIVE, other_roles: tuple[str, ...] = ()) -> Rights:
    return Rights(operator, grants, other_roles)


def question(**more: object) -> Question:
    """Olive, whose grant covers everybody, resets Adele's password and has said all there is to say."""
    usual = Question(
        rights=rights(grant()),
        command="/m365 reset-password",
        action=RESET,
        now=NOW,
        settings=SETTINGS,
        target=ADELE,
        session=ON,
        reason="locked out",
        verified="called back",
    )
    return replace(usual, **more)  # type: ignore[arg-type]  # a builder for tests: the fields are checked by running


def refusal(decision: Decision) -> Code | None:
    return decision.deny.code if decision.deny else None


# --- One thing at a time ---------------------------------------------------------------------------------------------


def test_what_is_granted_and_harmless_is_allowed_by_its_grant() -> None:
    decision = decide(question())

    assert decision.verdict is Verdict.ALLOW
    assert decision.grant == grant()
    assert decision.deny is None


SCOPED = grant(attribute("department", "Sales"))
DENIED = {
    "a stranger": ({"rights": rights(grant(), operator=None)}, Code.OPERATOR),
    "a suspended operator": ({"rights": rights(grant(), operator=replace(OLIVE, suspended=True))}, Code.SUSPENDED),
    "an operator without a grant": ({"rights": rights()}, Code.COMMAND),
    "an operator with other roles": ({"rights": rights(other_roles=("auditor",))}, Code.COMMAND),
    "a grant that has ended": ({"rights": rights(grant(until=NOW - timedelta(days=1)))}, Code.EXPIRED),
    "a grant that ends this very moment": ({"rights": rights(grant(until=NOW))}, Code.EXPIRED),
    "no linked account": ({"rights": rights(grant(), operator=replace(OLIVE, account_id=None))}, Code.ACCOUNT),
    "no target": ({"target": None}, Code.TARGET),
    "a target out of scope": ({"rights": rights(grant(attribute("department", "HR")))}, Code.SCOPE),
    "a target that was not read with its guard": ({"target": replace(ADELE, guarded=False)}, Code.FACTS),
    "one of our identities": ({"our_identities": frozenset({ADELE.id.upper()})}, Code.OUR_IDENTITY),
    "the service account": ({"target": replace(ADELE, id=SERVICE_ACCOUNT.id)}, Code.OUR_IDENTITY),
    "their own account": ({"target": replace(ADELE, id=OLIVE_ID)}, Code.OWN_ACCOUNT),
    "an account never to be touched": ({"target": replace(ADELE, groups=frozenset({NEVER}))}, Code.NEVER_TOUCH),
    "an account never to be touched that is to be asked about": (
        {"target": replace(ADELE, groups=frozenset({NEVER, ASK}))},
        Code.NEVER_TOUCH,
    ),
    "an administrator": (
        {"target": replace(ADELE, directory_roles=frozenset({GLOBAL_ADMINISTRATOR}))},
        Code.DIRECTORY_ROLE,
    ),
    "a help-desk administrator": (
        {"target": replace(ADELE, directory_roles=frozenset({HELPDESK_ADMINISTRATOR}))},
        Code.DIRECTORY_ROLE,
    ),
    "the holder of a custom role": (
        {"target": replace(ADELE, directory_roles=frozenset({"531b5fbc-21eb-4d50-848d-43653f3a7995"}))},
        Code.DIRECTORY_ROLE,
    ),
    "a member of a role-assignable group": (
        {"target": replace(ADELE, in_role_assignable_group=True)},
        Code.ROLE_ASSIGNABLE_GROUP,
    ),
    "a member of a restricted unit": ({"target": replace(ADELE, in_restricted_unit=True)}, Code.RESTRICTED_UNIT),
    "a guest, whom a reset cannot help": ({"target": replace(ADELE, guest=True)}, Code.GUEST),
    "no session": ({"session": None}, Code.SESSION),
    "a session without an identity": ({"session": replace(ON, identity=None)}, Code.SESSION),
    "a session that is off": ({"session": replace(ON, state=SessionState.OFF)}, Code.SESSION),
    "a session that only begins": ({"session": replace(ON, state=SessionState.ENABLING)}, Code.SESSION),
    "an identity without any directory role": (
        {"session": replace(ON, identity=replace(SERVICE_ACCOUNT, roles=frozenset()))},
        Code.IDENTITY_ROLE,
    ),
    "an identity with other directory roles": (
        {"session": replace(ON, identity=replace(SERVICE_ACCOUNT, roles=frozenset({DIRECTORY_READERS})))},
        Code.IDENTITY_ROLE,
    ),
    "an application for what takes a person": (
        {"action": replace(RESET, delegated_only=True), "session": replace(ON, identity=APPLICATION)},
        Code.DELEGATED_ONLY,
    ),
    "no reason": ({"reason": ""}, Code.REASON),
    "a reason of spaces": ({"reason": " \t"}, Code.REASON),
    "no word of how the caller was verified": ({"verified": ""}, Code.VERIFIED),
    "no ticket": ({"ticket_pattern": r"INC\d+"}, Code.TICKET),
    "a ticket of another kind": ({"ticket_pattern": r"INC\d+", "ticket": "CHG12"}, Code.TICKET),
    "a ticket with something after it": ({"ticket_pattern": r"INC\d+", "ticket": "INC12; more"}, Code.TICKET),
    "an endless ticket": ({"ticket_pattern": r"\w+", "ticket": "x" * 65}, Code.TICKET),
}


@pytest.mark.parametrize(("changed", "code"), DENIED.values(), ids=DENIED)
def test_is_refused(changed: dict[str, object], code: Code) -> None:
    decision = decide(question(**changed))

    assert decision.verdict is Verdict.DENY
    assert decision.grant is None
    assert refusal(decision) is code


ALLOWED = {
    "a grant that ends later": {"rights": rights(grant(until=NOW + timedelta(seconds=1)))},
    "one grant of several": {"rights": rights(grant(attribute("department", "HR"), name="HR"), SCOPED)},
    "an ended grant beside a current one": {"rights": rights(grant(until=NOW - timedelta(1)), SCOPED)},
    "holders of harmless roles": {"target": replace(ADELE, directory_roles=HARMLESS)},
    "tenants without eligible roles": {"target": replace(ADELE, eligibility_unknown=True)},
    "a degraded session": {"session": replace(ON, state=SessionState.DEGRADED)},
    "an identity with one of the roles": {
        "session": replace(ON, identity=replace(SERVICE_ACCOUNT, roles=frozenset({USER_ADMINISTRATOR})))
    },
    "a reason nobody asks for": {"settings": replace(SETTINGS, reason_required=False), "reason": ""},
    "a verification nobody asks for": {"settings": replace(SETTINGS, verification_required=False), "verified": ""},
    "a verification this action does not need": {"action": BLOCK, "verified": ""},
    "blocking a guest": {"action": BLOCK, "target": replace(ADELE, guest=True)},
    "a ticket of the right kind": {"ticket_pattern": r"INC\d+", "ticket": " INC12 "},
    "nothing said while a form asks": {"asking": True, "reason": "", "verified": "", "ticket_pattern": "INC"},
    "no groups of our own": {"settings": TenantSettings()},
}


@pytest.mark.parametrize("changed", ALLOWED.values(), ids=ALLOWED)
def test_is_allowed(changed: dict[str, object]) -> None:
    assert decide(question(**changed)).verdict is Verdict.ALLOW


def test_accounts_to_ask_about_need_an_approval() -> None:
    decision = decide(question(target=replace(ADELE, groups=frozenset({ASK}))))

    assert decision.verdict is Verdict.NEEDS_APPROVAL
    assert decision.grant == grant()
    assert refusal(decision) is Code.ASK_FIRST


def test_an_action_that_declares_it_needs_an_approval_whomever_it_is_done_to() -> None:
    asked = question()
    assert asked.action is not None
    decision = decide(replace(asked, action=replace(asked.action, approval=True)))

    assert decision.verdict is Verdict.NEEDS_APPROVAL
    assert refusal(decision) is Code.APPROVAL


def test_a_plan_may_ask_for_an_approval_and_says_why() -> None:
    asked = question()
    plan = Plan(changes=(), calls=(), approval="The management session is on.")
    decision = decide(replace(asked, plan=plan))

    assert decision.verdict is Verdict.NEEDS_APPROVAL
    assert decision.deny is not None
    assert words(decision.deny) == "The management session is on. Somebody else has to approve this."
    assert decide(replace(asked, plan=replace(plan, approval=""))).verdict is Verdict.ALLOW


def test_whether_a_plan_asks_for_an_approval_is_no_part_of_what_is_agreed_to() -> None:
    """The session may go off while the question waits."""
    plan = Plan(changes=(), calls=())
    asking = replace(plan, approval="The management session is on.")
    about: dict[str, Any] = {"action": "x", "target_id": "y", "inputs": {}, "mode": "advanced", "identity_id": "z"}

    assert digest(plan=plan, **about) == digest(plan=asking, **about)
    assert Plan.from_json(asking.to_json()) == asking


def test_an_approval_does_not_help_where_something_else_refuses() -> None:
    decision = decide(question(target=replace(ADELE, groups=frozenset({ASK}), in_restricted_unit=True), reason=""))

    assert decision.verdict is Verdict.DENY
    assert refusal(decision) is Code.RESTRICTED_UNIT


# --- Reading ---------------------------------------------------------------------------------------------------------


def reading(**more: object) -> Question:
    look = {"action": SHOW, "command": "/m365 show-user", "session": None, "reason": "", "verified": ""}
    return question(**{**look, **more})


def test_reading_needs_no_linked_account_no_reason_and_no_guard() -> None:
    unbound = replace(OLIVE, account_id=None)
    chief = replace(ADELE, guarded=False, directory_roles=frozenset({GLOBAL_ADMINISTRATOR}), groups=frozenset({NEVER}))

    assert decide(reading(rights=rights(grant(), operator=unbound), target=chief)).verdict is Verdict.ALLOW


def test_reading_keeps_to_the_scope() -> None:
    assert refusal(decide(reading(rights=rights(grant(attribute("department", "HR")))))) is Code.SCOPE


def test_a_scope_by_group_is_not_known_to_hold_before_the_groups_were_read() -> None:
    unread = replace(ADELE, guarded=False)
    inside, outside = rights(grant(member_of(SALES_ID))), rights(grant(none_of(member_of("somewhere else"))))

    assert refusal(decide(reading(rights=inside, target=unread))) is Code.SCOPE
    assert refusal(decide(reading(rights=outside, target=unread))) is Code.SCOPE
    assert decide(reading(rights=inside)).verdict is Verdict.ALLOW
    assert decide(reading(rights=outside)).verdict is Verdict.ALLOW


def test_groups_have_to_be_read_for_writes_and_for_scopes_that_ask_about_groups() -> None:
    by_group = grant(every(attribute("city", "Leeds"), none_of(member_of(SALES_ID))))

    assert needs_guard(question())
    assert needs_guard(reading(rights=rights(grant(), by_group)))
    assert not needs_guard(reading(rights=rights(grant(), SCOPED)))
    assert not needs_guard(question(action=None))


def test_a_built_in_command_is_decided_on_the_person_alone() -> None:
    of_a_session = question(action=None, command="/m365-session on", target=None, session=None, reason="")

    assert decide(of_a_session).verdict is Verdict.ALLOW
    assert decide(of_a_session).trace == decide_person(of_a_session).trace


def test_before_any_target_is_known_the_person_is_decided_on() -> None:
    assert decide_person(question(target=None, session=None, reason="")).verdict is Verdict.ALLOW
    assert refusal(decide_person(question(rights=rights()))) is Code.COMMAND


# --- Scopes ----------------------------------------------------------------------------------------------------------

IN_SALES, IN_LEEDS, IN_HR = (
    attribute("department", "sales"),
    attribute("officeLocation", "LEEDS"),
    attribute("department", "HR"),
)
UNREAD, EMPTY = attribute("extensionAttribute3", "x"), attribute("city", "")

COVERED = {
    "an attribute, in any case": IN_SALES,
    "one of several values": attribute("department", "HR", "Sales"),
    "an empty attribute": EMPTY,
    "a group": member_of(SALES_ID),
    "all of two": every(IN_SALES, IN_LEEDS),
    "any of two": some(IN_HR, IN_LEEDS),
    "any of two, one not known": some(UNREAD, IN_LEEDS),
    "none of one": none_of(IN_HR),
    "none of two": none_of(IN_HR, member_of(NEVER)),
    "not any of two": none_of(some(IN_HR, member_of(NEVER))),
    "a double negation": none_of(none_of(IN_SALES)),
}
NOT_COVERED = {
    "another value": IN_HR,
    "an attribute that was not read": UNREAD,
    "an attribute without values": attribute("department"),
    "another group": member_of(NEVER),
    "a group without an id": ScopeRule(ScopeOp.GROUP),
    "all of two, one of them false": every(IN_SALES, IN_HR),
    "all of two, one of them not known": every(IN_SALES, UNREAD),
    "any of two that are both false": some(IN_HR, member_of(NEVER)),
    "any of one that is not known": some(UNREAD),
    "none of two, one of them true": none_of(IN_HR, IN_SALES),
    "not something that is not known": none_of(UNREAD),
    "not all of something not known": none_of(every(IN_SALES, UNREAD)),
    "all of nothing": every(),
    "any of nothing": some(),
    "none of nothing": none_of(),
    "not all of nothing": none_of(every()),
}


@pytest.mark.parametrize("rule", COVERED.values(), ids=COVERED)
def test_a_scope_covers(rule: ScopeRule) -> None:
    assert decide(question(rights=rights(grant(rule)))).verdict is Verdict.ALLOW


@pytest.mark.parametrize("rule", NOT_COVERED.values(), ids=NOT_COVERED)
def test_a_scope_does_not_cover(rule: ScopeRule) -> None:
    assert refusal(decide(question(rights=rights(grant(rule))))) is Code.SCOPE


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (IN_HR, "department HR; found is Sales"),
        (attribute("officeLocation", "London", "York"), "office London or York; found is Leeds"),
        (attribute("city", "Leeds"), "city Leeds; found is empty"),
        (UNREAD, "extensionAttribute3 x; found is not known"),
        (every(IN_SALES, attribute("jobTitle", "Clerk")), "title Clerk; found is Retail Manager"),
        (member_of(NEVER), f"membership in the group {NEVER}."),
        (none_of(IN_SALES), "not department sales."),
        (some(IN_HR, member_of(NEVER)), f"department HR or membership in the group {NEVER}."),
        (some(every(IN_HR, UNREAD), IN_HR), "department HR and extensionAttribute3 x or department HR."),
        (every(), "nothing; found is not known"),
    ],
)
def test_a_refusal_names_the_condition_that_is_not_met(rule: ScopeRule, said: str) -> None:
    assert said in because(decide(question(rights=rights(grant(rule, name="Leeds")))))


def test_every_scope_that_does_not_cover_is_in_the_trace() -> None:
    hr, leeds = grant(IN_HR, name="HR people"), grant(attribute("city", "Leeds"), name="Leeds people")

    trace = decide(question(rights=rights(leeds, hr))).trace

    assert [finding.facts["scope"] for finding in trace if not finding.ok] == ["HR people", "Leeds people"]


# --- Groups that carry power -----------------------------------------------------------------------------------------


def adding_to(group: str) -> Question:
    plan = Plan((), (Call("POST", ("groups", group, "members", "$ref")),))
    return question(action=TO_GROUP, command=TO_GROUP.command, plan=plan)


@pytest.mark.parametrize("group", [NEVER, ASK, "scoped", "scoped-elsewhere"])
def test_groups_that_decide_whom_latchkey_may_touch_are_not_changed(group: str) -> None:
    by_group = rights(grant(), grant(none_of(member_of("scoped"))))

    decision = decide(replace(adding_to(group), rights=by_group, power_groups=frozenset({"scoped-elsewhere"})))

    assert refusal(decision) is Code.POWER_GROUP


def test_other_groups_are() -> None:
    assert decide(adding_to(SALES_ID)).verdict is Verdict.ALLOW


def test_a_plan_about_a_person_changes_no_group() -> None:
    assert decide(question(plan=Plan((), (Call("PATCH", ("users", ADELE.id)),)))).verdict is Verdict.ALLOW


# --- Identities ------------------------------------------------------------------------------------------------------


def test_an_application_may_need_more_than_a_signed_in_account() -> None:
    roles = frozenset({"c4e39bd9-1100-46d3-8c65-fb160da0071f"})

    assert check_identity(RESET, replace(SERVICE_ACCOUNT, roles=roles)).ok
    assert not check_identity(RESET, replace(APPLICATION, roles=roles)).ok
    assert check_identity(RESET, replace(APPLICATION, roles=frozenset({USER_ADMINISTRATOR}))).ok


@pytest.mark.parametrize("action", delegated().values(), ids=delegated())
def test_a_global_administrator_suffices_for_everything(action: Action) -> None:
    assert check_identity(action, SERVICE_ACCOUNT).ok
    assert check_identity(action, APPLICATION).ok


def test_only_roles_that_make_nobody_an_administrator_are_harmless() -> None:
    assert sorted(map(name_of, HARMLESS)) == [
        "Directory Readers",
        "Guest Inviter",
        "Message Center Reader",
        "Reports Reader",
        "Usage Summary Reports Reader",
        "User Experience Success Manager",
    ]
    assert PASSWORD_ADMINISTRATOR not in HARMLESS


# --- Words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("changed", "code"), DENIED.values(), ids=DENIED)
def test_a_refusal_says_what_is_wrong_and_what_to_do_next(changed: dict[str, object], code: Code) -> None:
    decision = decide(question(**changed))
    sentence = because(decision)

    assert decision.deny is not None
    assert sentence == words(decision.deny)
    assert sentence.endswith(".")
    assert any(verb in sentence for verb in ("Ask ", "ask ", "Type ", "Add ", "can do it", "can reset it"))
    assert not any(word in sentence for word in ("generation", "degraded", "digest", "None", "  "))


@pytest.mark.parametrize(("changed", "code"), DENIED.values(), ids=DENIED)
def test_a_refusal_names_who_can_help_where_somebody_can(changed: dict[str, object], code: Code) -> None:
    decision = decide(question(**changed))
    sentence = because(decision, ["Ana Ruiz", "Bo Lind"])

    helps = who_helps(decision, "/m365 reset-password")
    assert helps in {"", ADMIN_COMMAND, "/m365 reset-password"}
    assert ("Ask Ana Ruiz or Bo Lind " in sentence) is (helps != "" and code is not Code.GUEST)


def test_the_words_of_refusals_are_these() -> None:
    def said(*, ask: tuple[str, ...] = (), **changed: object) -> str:
        return because(decide(question(**changed)), ask, zone=ZoneInfo("Europe/London"))

    ended = datetime(2026, 2, 1, 17, 30, tzinfo=UTC)
    assert said(rights=rights(other_roles=("auditor", "viewer"))) == (
        "You may not use `/m365 reset-password`. Your roles do not include it; you hold auditor and viewer. "
        "Ask a tenant admin to do it for you."
    )
    assert said(rights=rights(grant(until=ended)), ask=("Ana Ruiz",)) == (
        "Your grant of the role helpdesk ended on 1 February 2026 at 17:30 GMT. Ask Ana Ruiz to renew it."
    )
    assert said(target=replace(ADELE, directory_roles=frozenset({GLOBAL_ADMINISTRATOR, DIRECTORY_READERS}))) == (
        "Adele Vance is an administrator (Global Administrator), so Latchkey leaves the account alone. "
        "Ask a tenant admin to do it in the Microsoft Entra admin center."
    )
    assert said(rights=rights(grant(IN_HR, name="HR people")), ask=("Ana Ruiz", "Bo Lind", "Olga")) == (
        "Adele Vance is outside your scope “HR people”, which asks for department HR; found is Sales. "
        "Ask Ana Ruiz, Bo Lind or Olga to do it for you."
    )
    assert said(reason="", verified="", ticket_pattern="INC[0-9]+", ticket="7") == (
        'A reason is needed. Add it, such as `--reason "locked out"`. '
        'It must be said how you verified the caller. Add it, such as `--verified "called back"`. '
        "A ticket number is needed, which `7` is not. Add `--ticket` and the number, in the form `INC[0-9]+`."
    )


def test_a_yes_says_why_too() -> None:
    assert because(decide(question(rights=rights(SCOPED)))) == (
        "You may use this as helpdesk. Adele Vance is in your scope “Sales people”."
    )


def test_the_trace_of_a_yes_reads_as_a_list_of_reasons() -> None:
    decision = decide(
        question(asking=True, reason="", ticket_pattern="INC", target=replace(ADELE, eligibility_unknown=True))
    )

    assert [words(finding) for finding in decision.trace] == [
        "You are a Latchkey operator.",
        "You may use this as helpdesk.",
        "Your Microsoft account is linked.",
        "Your grant covers everybody, so Adele Vance too.",
        "Adele Vance is no administrator and not a protected account.",
        "This tenant's licence has no eligible (PIM) roles, so there were none to check.",
        "The management session is on.",
        "The identity that acts has the directory role this needs.",
        "You will be asked for a reason.",
        "It is said how the caller was verified.",
        "You will be asked for a ticket number.",
    ]


def test_names_from_the_tenant_stay_on_one_line_and_end_somewhere() -> None:
    cruel = replace(ADELE, name="Eve\u202e\n\x1b[31m" + "x" * 5000, in_restricted_unit=True)

    sentence = because(decide(question(target=cruel)))

    assert sentence.isprintable()
    assert len(sentence) < 400


@pytest.mark.parametrize("code", [code for code in Code if code not in {Code.PROTECTION, Code.ELIGIBILITY}])
def test_every_refusal_has_words_even_with_empty_facts(code: Code) -> None:
    names = (
        "target",
        "command",
        "role",
        "roles",
        "scope",
        "needs",
        "found",
        "why",
        "group",
        "identity",
        "needed",
        "pattern",
    )
    facts = dict.fromkeys(names, "x") | {"ended": NOW.isoformat()}

    assert words(Finding(code, False, facts)).endswith((".", "x"))


# --- Properties, and an independent opinion --------------------------------------------------------------------------

GROUPS = [SALES_ID, NEVER, ASK, "11111111-1111-4111-8111-111111111111"]
leaves = st.one_of(
    st.builds(attribute, st.sampled_from(["department", "city", "unread"]), st.sampled_from(["Sales", "HR", ""])),
    st.builds(member_of, st.sampled_from(GROUPS)),
    st.just(attribute("department")),
)
rules = st.recursive(
    leaves,
    lambda inner: st.builds(
        ScopeRule, st.sampled_from([ScopeOp.ALL, ScopeOp.ANY, ScopeOp.NOT]), st.lists(inner, max_size=3).map(tuple)
    ),
    max_leaves=6,
)
moments = st.sampled_from([None, NOW - timedelta(days=1), NOW, NOW + timedelta(days=1)])
grants = st.builds(
    Grant,
    id=st.uuids().map(str),
    role=st.sampled_from(["helpdesk", "operator"]),
    scope=st.none() | st.builds(Scope, id=st.just("s"), name=st.sampled_from(["one", "two"]), rule=rules),
    expires_at=moments,
)
people = st.builds(
    Person,
    id=st.sampled_from([ADELE.id, ALEX_ID, SERVICE_ACCOUNT.id, OLIVE_ID]),
    upn=st.just("adele@contoso.com"),
    name=st.just("Adele Vance"),
    guest=st.booleans(),
    attributes=st.fixed_dictionaries({}, optional={"department": st.sampled_from(["sales", ""]), "city": st.just("")}),
    groups=st.frozensets(st.sampled_from(GROUPS), max_size=2),
    directory_roles=st.frozensets(st.sampled_from([GLOBAL_ADMINISTRATOR, DIRECTORY_READERS, "custom"]), max_size=2),
    in_role_assignable_group=st.booleans(),
    in_restricted_unit=st.booleans(),
    eligibility_unknown=st.booleans(),
    guarded=st.booleans(),
)
harmless_people = st.builds(
    replace,
    st.just(ADELE),
    attributes=st.sampled_from([{"department": "Sales"}, {"department": "HR", "city": "Leeds"}]),
    groups=st.frozensets(st.sampled_from([SALES_ID, ASK]), max_size=2),
)
identities = st.builds(
    replace,
    st.sampled_from([SERVICE_ACCOUNT, APPLICATION]),
    roles=st.frozensets(st.sampled_from([GLOBAL_ADMINISTRATOR, USER_ADMINISTRATOR, DIRECTORY_READERS]), max_size=2),
)
sessions = st.builds(
    Session,
    st.just(1),
    st.just(Mode.ADVANCED),
    st.sampled_from([SessionState.ON, SessionState.ON, SessionState.OFF, SessionState.DEGRADED]),
    st.none() | identities | st.just(SERVICE_ACCOUNT),
)
operators = st.none() | st.builds(
    replace, st.just(OLIVE), suspended=st.booleans(), account_id=st.sampled_from([None, OLIVE_ID])
)
granted = st.builds(Rights, operators | st.just(OLIVE), st.lists(grants, max_size=3).map(tuple))
changes = st.one_of(
    *(
        st.tuples(st.just(name), values)
        for name, values in {
            "rights": granted,
            "action": st.sampled_from([BLOCK, SHOW, replace(RESET, delegated_only=True), None]),
            "settings": st.builds(
                replace,
                st.just(SETTINGS),
                reason_required=st.booleans(),
                verification_required=st.booleans(),
                never_touch_group=st.sampled_from([None, NEVER]),
                ask_first_group=st.sampled_from([None, ASK]),
            ),
            "target": st.none() | people | harmless_people,
            "session": st.none() | sessions,
            "our_identities": st.sampled_from([frozenset({ALEX_ID}), frozenset({ADELE.id})]),
            "reason": st.sampled_from(["", " "]),
            "verified": st.just(""),
            "ticket": st.sampled_from(["INC1", "nonsense"]),
            "ticket_pattern": st.just("INC[0-9]"),
            "asking": st.just(True),
        }.items()
    )
)
questions = st.lists(changes, max_size=5).map(lambda changed: question(**dict(changed)))


def naive_truth(rule: ScopeRule, person: Person) -> set[bool]:
    """All that the rule could turn out to be, whatever is not known turns out to be. Asking nothing: anything."""
    match rule.op:
        case ScopeOp.ATTRIBUTE:
            if rule.attribute not in person.attributes or not rule.values:
                return {True, False}
            return {person.attributes[rule.attribute].lower() in [value.lower() for value in rule.values]}
        case ScopeOp.GROUP:
            return {rule.values[0] in person.groups} if person.guarded else {True, False}
    if not rule.parts:
        return {True, False}
    worlds = itertools.product(*[naive_truth(part, person) for part in rule.parts])
    if rule.op is ScopeOp.ALL:
        return {all(world) for world in worlds}
    return {any(world) is (rule.op is ScopeOp.ANY) for world in worlds}


def naive(asked: Question) -> Verdict:
    """The rules once more, as one long list of reasons to say no, written without looking at the other one."""
    operator, person, action = asked.rights.operator, asked.target, asked.action
    if operator is None or operator.suspended:
        return Verdict.DENY
    current = [each for each in asked.rights.grants if not each.expires_at or each.expires_at > asked.now]
    if not current:
        return Verdict.DENY
    if action is None:
        return Verdict.ALLOW
    if person is None:
        return Verdict.DENY
    if not any(each.scope is None or naive_truth(each.scope.rule, person) == {True} for each in current):
        return Verdict.DENY
    identity = asked.session.identity if asked.session else None
    if identity is not None:
        if action.delegated_only and identity.kind.value != "service-account":
            return Verdict.DENY
        wanted = action.roles
        if identity.kind.value != "service-account" and action.application_roles:
            wanted = action.application_roles
        if wanted and not set(identity.roles) & {*wanted, GLOBAL_ADMINISTRATOR}:
            return Verdict.DENY
    if action.answer is not None:
        return Verdict.ALLOW
    settings = asked.settings
    noes = [
        operator.account_id is None,
        identity is None,
        asked.session is not None and asked.session.state.value not in ("on", "degraded"),
        not person.guarded,
        person.id in {operator.account_id, settings.identity_id, *asked.our_identities},
        bool(settings.never_touch_group) and settings.never_touch_group in person.groups,
        any(role not in HARMLESS for role in person.directory_roles),
        person.in_role_assignable_group or person.in_restricted_unit,
        person.guest and bool(action.not_for_guests),
    ]
    if not asked.asking:
        noes += [
            settings.reason_required and not asked.reason.strip(),
            settings.verification_required and action.verify_caller and not asked.verified.strip(),
            asked.ticket_pattern is not None and asked.ticket != "INC1",
        ]
    if any(noes):
        return Verdict.DENY
    asks = bool(settings.ask_first_group) and settings.ask_first_group in person.groups
    return Verdict.NEEDS_APPROVAL if asks else Verdict.ALLOW


@given(questions)
def test_the_decision_is_what_the_plain_rules_say(asked: Question) -> None:
    assert decide(asked).verdict is naive(asked)


@given(questions)
def test_a_decision_and_its_trace_agree_and_every_finding_has_words(asked: Question) -> None:
    decision = decide(asked)

    assert (decision.verdict is Verdict.ALLOW) is (decision.deny is None)
    assert (decision.grant is None) is (decision.verdict is Verdict.DENY)
    for finding in decision.trace:
        sentence = words(finding)
        assert sentence[0].isupper()
        assert sentence.endswith(".")
    assert because(decision).endswith(".")


@given(questions)
def test_the_order_of_grants_does_not_matter(asked: Question) -> None:
    for order in itertools.permutations(asked.rights.grants):
        assert decide(replace(asked, rights=replace(asked.rights, grants=order))) == decide(asked)


@given(questions, st.integers(min_value=0, max_value=2))
def test_fewer_grants_never_allow_more(asked: Question, index: int) -> None:
    fewer = asked.rights.grants[:index] + asked.rights.grants[index + 1 :]

    without = decide(replace(asked, rights=replace(asked.rights, grants=fewer)))

    assert _rank(without) <= _rank(decide(asked))


PROTECTIONS = st.sampled_from(
    [
        {"in_role_assignable_group": True},
        {"in_restricted_unit": True},
        {"directory_roles": frozenset({GLOBAL_ADMINISTRATOR})},
        {"id": SERVICE_ACCOUNT.id},
        {"guarded": False},
        {"guest": True},
    ]
)


@given(questions, PROTECTIONS)
def test_a_protection_more_never_allows_more(asked: Question, protection: dict[str, object]) -> None:
    if asked.target is not None:
        protected = replace(asked.target, **protection)  # type: ignore[arg-type]  # fields by name, checked by running

        assert _rank(decide(replace(asked, target=protected))) <= _rank(decide(asked))


@given(questions, st.sampled_from(["attributes", "session", "target", "ticket", "reason", "verified"]))
def test_knowing_less_never_allows_more(asked: Question, forgotten: str) -> None:
    if forgotten == "attributes" and asked.target is not None:
        less = replace(asked, target=replace(asked.target, attributes={}))
    elif forgotten in {"session", "target"}:
        less = replace(asked, **{forgotten: None})  # type: ignore[arg-type]  # as above
    else:
        less = replace(asked, ticket="", reason="", verified="")
    if asked.action is None or asked.action.writes or forgotten != "session":
        assert _rank(decide(less)) <= _rank(decide(asked))


@given(questions)
def test_who_is_refused_as_a_person_is_refused_altogether(asked: Question) -> None:
    if decide_person(asked).verdict is Verdict.DENY:
        assert decide(asked).verdict is Verdict.DENY


def _rank(decision: Decision) -> int:
    return [Verdict.DENY, Verdict.NEEDS_APPROVAL, Verdict.ALLOW].index(decision.verdict)
