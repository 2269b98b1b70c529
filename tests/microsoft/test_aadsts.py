"""Entra's error numbers in words."""

from __future__ import annotations

from collections import Counter

import pytest

from bot.errors import Retry, SignInCategory
from bot.microsoft.aadsts import TABLE, explain, meaning_of


def test_every_number_has_one_meaning_in_whole_sentences() -> None:
    assert Counter(code for row in TABLE for code in row.codes).most_common(1)[0][1] == 1
    for row in TABLE:
        for sentence in (row.meaning, row.remedy):
            assert sentence[0].isupper(), row
            assert sentence.endswith("."), row
            assert "  " not in sentence, row
        assert row.category not in {SignInCategory.UNKNOWN, SignInCategory.NETWORK}


def test_a_what_if_runs_for_what_policies_can_cause() -> None:
    causes = {
        SignInCategory.MFA,
        SignInCategory.DEVICE,
        SignInCategory.LOCATION,
        SignInCategory.CONDITIONAL_ACCESS,
    }

    assert all(row.what_if_helps for row in TABLE if row.category in causes)


@pytest.mark.parametrize(
    ("code", "category", "retry", "what_if"),
    [
        (50126, SignInCategory.CREDENTIALS, Retry.ONCE, False),
        (50053, SignInCategory.ACCOUNT_STATE, Retry.WAIT, True),
        (50076, SignInCategory.MFA, Retry.AFTER_FIX, True),
        (53003, SignInCategory.CONDITIONAL_ACCESS, Retry.AFTER_FIX, True),
        (530035, SignInCategory.TENANT_CONFIG, Retry.AFTER_FIX, False),
        (90033, SignInCategory.SERVICE, Retry.BACKOFF, False),
        (7000222, SignInCategory.APP_CONFIG, Retry.AFTER_FIX, False),
    ],
)
def test_a_known_refusal_is_explained(code: int, category: SignInCategory, retry: Retry, what_if: bool) -> None:
    error = explain({"error": "invalid_grant", "error_codes": [code], "error_description": "AADSTS: for developers"})

    assert (error.code, error.category, error.retry, error.what_if_helps) == (code, category, retry, what_if)
    row = meaning_of(code)
    assert row is not None
    assert str(error) == f"{row.meaning} {row.remedy}"


def test_an_unknown_number_is_kept_and_a_demand_for_more_still_asks_for_a_what_if() -> None:
    error = explain({"error": "interaction_required", "error_codes": [987654], "claims": '{"x":1}'})

    assert (error.code, error.category, error.claims) == (987654, SignInCategory.UNKNOWN, '{"x":1}')
    assert "AADSTS987654" in str(error)
    assert error.what_if_helps


@pytest.mark.parametrize("answer", [{}, {"error_codes": []}, {"error_codes": ["x"]}, {"error_codes": 5, "claims": 7}])
def test_a_refusal_without_a_reason_is_one_too(answer: dict[str, object]) -> None:
    error = explain(answer)

    assert (error.code, error.category, error.claims) == (None, SignInCategory.UNKNOWN, None)


def test_only_harmless_words_are_taken_over() -> None:
    error = explain({"error_codes": [1], "correlation_id": "a\nb", "timestamp": "2026-03-03 09:00:00Z"})

    assert (error.correlation_id, error.timestamp) == (None, "2026-03-03 09:00:00Z")
