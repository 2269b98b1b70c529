"""Which directory roles the identity gets that Latchkey works with: those that suffice, and reach least far."""

from __future__ import annotations

from itertools import combinations

import pytest

from bot.actions import delegated
from bot.actions._service_account import needed_roles
from bot.directory_roles import GLOBAL_ADMINISTRATOR, PRIVILEGED_AUTHENTICATION_ADMINISTRATOR, names_of
from bot.model import Identity, IdentityKind
from bot.policy import check_identity

KINDS = (IdentityKind.SERVICE_ACCOUNT, IdentityKind.APPLICATION, IdentityKind.MANAGED_IDENTITY)


@pytest.mark.parametrize("kind", KINDS)
def test_with_its_roles_it_can_do_all_that_its_kind_can_and_none_is_too_many(kind: IdentityKind) -> None:
    roles = frozenset(needed_roles(kind))
    able = Identity(kind, "id", "name", roles)
    wanted = [action for action in delegated().values() if able.delegated or not action.delegated_only]

    assert all(check_identity(action, able).ok for action in wanted)
    assert not {GLOBAL_ADMINISTRATOR, PRIVILEGED_AUTHENTICATION_ADMINISTRATOR} & roles
    for fewer in combinations(sorted(roles), len(roles) - 1):
        lacking = Identity(kind, "id", "name", frozenset(fewer))
        looks = {"Directory Readers", "Security Reader"} & set(names_of(roles - set(fewer)))
        assert looks or not all(check_identity(action, lacking).ok for action in wanted)


def test_each_role_says_what_it_is_for() -> None:
    reasons = needed_roles(IdentityKind.SERVICE_ACCOUNT)

    assert all(reason.startswith("to ") for reason in reasons.values())
    told = " ".join(reasons.values())
    assert all(action.in_words in told for action in delegated().values() if action.writes)


def test_global_administrator_is_alone_and_only_by_choice() -> None:
    assert list(needed_roles(IdentityKind.SERVICE_ACCOUNT, everything=True)) == [GLOBAL_ADMINISTRATOR]
