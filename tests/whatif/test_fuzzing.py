"""A hundred thousand inputs that nobody would write: only the named exceptions, and in linear time."""

from __future__ import annotations

import copy
import json
import random
from contextlib import suppress
from typing import Any

import pytest

from bot.whatif.evaluation import PolicySet
from bot.whatif.filter_rules import Device, FilterProblem, read_rule
from bot.whatif.locations import read_location, read_locations
from bot.whatif.offline import judge, read_policy_file
from bot.whatif.policies import PolicyProblem, read_policy
from bot.whatif.signins import SignInProblem
from bot.whatif.words import because, explain
from tests.whatif import drawn
from tests.whatif.drawn import Dice
from tests.whatif.small import LOCATIONS, sign_in
from tests.whatif.work import calls

INPUTS = 100_000

PIECES = (
    "device.", "model", "isCompliant", " ", "-eq", "-ne", "-in", "-notIn", "-contains", "-and", "-or", "-not", "(", ")",
    "[", "]", ",", '"', "'", "`", "True", "null", "x", "-", ".", "\n", "\x00", "é", "\U0001f600", "\ud800", "$", "and",
    'device.model -eq "x"', "device.isCompliant -eq True", " -and ", " -or ", "-startsWith", "device.a -in [\"b\"]",
)  # fmt: skip

STRANGE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1e308, float("nan"), 10**40, "", "all", "All", "None", "x" * 1000, "\x00", "\ud800",
    "a,b", [], [None], [[]], ["All"], ["x", 1], [{}], {}, {"": None}, {"value": []}, {"@odata.type": 5}, {"rule": "("},
    {"includeUsers": "All"}, {"mode": "exclude", "rule": "device.a -eq 1"}, "203.0.113.0/24", "::/0", "1.2.3.4",
)  # fmt: skip


def test_rules_of_device_filters() -> None:
    dice = random.Random(1)  # noqa: S311 - inputs, not secrets
    surface, read = Device.of({"model": "Surface", "isCompliant": True}), 0
    for _ in range(INPUTS):
        text = "".join(dice.choices(PIECES, k=dice.randint(0, 12)))
        with suppress(FilterProblem):
            assert read_rule(text).matches(surface) in (True, False)
            read += 1

    assert read > INPUTS / 100


def mangled(value: Any, dice: random.Random) -> Any:
    """*value* with one of its parts replaced, taken out, or put under a name of its own."""
    value = copy.deepcopy(value)
    part = value
    while True:
        keys = list(part) if isinstance(part, dict) else range(len(part))
        if not keys:
            return value
        key = dice.choice(keys)
        if isinstance(part[key], dict | list) and dice.random() < 0.8:
            part = part[key]
            continue
        if isinstance(part, dict) and dice.random() < 0.2:
            part[dice.choice(("new", "agents", "times", *part))] = part.pop(key)
        else:
            part[key] = dice.choice(STRANGE)
        return value


@pytest.mark.slow
def test_policies_and_locations() -> None:
    dice, policies = random.Random(2), Dice(2)  # noqa: S311 - inputs, not secrets
    originals = [policies.policy(str(number)) for number in range(200)]
    locations, asked, read = read_locations(drawn.LOCATIONS), sign_in(ipAddress="203.0.113.1"), 0
    for number in range(INPUTS):
        raw = mangled(dice.choice(originals), dice)
        while dice.random() < 0.5:
            raw = mangled(raw, dice)
        with suppress(PolicyProblem):
            read_location(mangled(dice.choice(LOCATIONS), dice))
        try:
            policy = read_policy(raw)
        except PolicyProblem:
            continue
        assert policy.to_json() is raw
        read += 1
        if number % 20 == 0:
            (result,) = PolicySet.compile([policy], locations).evaluate(asked, strict=number % 40 == 0).results
            assert because(result, {})
            assert explain(policy, {})

    assert read > INPUTS / 4


def test_files_and_lines_of_sign_ins() -> None:
    dice, drawing = random.Random(3), Dice(3)  # noqa: S311 - inputs, not secrets
    policies = PolicySet.compile([read_policy(drawing.policy(str(number))) for number in range(5)])
    lines = [json.dumps(drawing.line(str(number))) for number in range(50)]
    for _ in range(5_000):
        line = json.dumps(mangled(json.loads(dice.choice(lines)), dice))
        if dice.random() < 0.3:
            cut = dice.randrange(len(line))
            line = line[:cut] + dice.choice(("", "}", '"', "\ud800", "[" * 9)) + line[cut + dice.randrange(3) :]
        with suppress(SignInProblem):
            for answer, _ in judge(policies, [line]):
                json.loads(json.dumps(answer))


@pytest.mark.parametrize("text", ["", "[", "{}", "[]", "null", '{"policies": 5}', "[" * 100_000, "9" * 10_000, '{"a":'])
def test_a_file_that_holds_no_policies(text: str) -> None:
    with pytest.raises(PolicyProblem):
        read_policy_file(text)


def test_reading_a_policy_takes_work_in_proportion_to_its_length() -> None:
    def work(length: int) -> int:
        many = [f"user-{number}" for number in range(length)]
        raw = {"conditions": {"users": {"includeUsers": many, "excludeUsers": ",".join(many)}, "clientAppTypes": many}}
        return calls(lambda: PolicySet.compile([read_policy(raw)]))

    assert work(20_000) <= 10.5 * work(2_000)
