"""The rules of device filters: every operator, how they bind, and what cannot be read."""

from __future__ import annotations

from typing import Any

import pytest

from bot.whatif.filter_rules import Device, FilterProblem, read_rule
from tests.whatif.work import calls

SURFACE: dict[str, Any] = {
    "isCompliant": True,
    "ownership": "Company",
    "model": "Surface Pro 9",
    "displayName": 'He said "hi"',
    "physicalIds": ("[ZTDId]:1", "[GID]:2"),
    "systemLabels": (),
    "extensionAttribute1": "SAW",
    "extensionAttribute2": "it's",
}


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        ('device.model -eq "surface pro 9"', True),
        ('device.model -ne "Surface Pro 9"', False),
        ('device.model -contains "Pro"', True),
        ('device.model -notContains "Pro"', False),
        ('device.model -startsWith "Surface"', True),
        ('device.model -notStartsWith "Surface"', False),
        ('device.model -endsWith "9"', True),
        ('device.model -notEndsWith "9"', False),
        ('device.model -in ["a", "Surface Pro 9"]', True),
        ('device.model -notIn ["a", "b"]', True),
        ("device.isCompliant -eq True", True),
        ('device.isCompliant -eq "true"', True),
        ("device.isCompliant -ne False", True),
        ('device.deviceOwnership -eq "Company"', True),
        ('device.physicalIds -contains "[ZTDId]:1"', True),
        ('device.physicalIds -contains "[ZTDId]"', False),
        ('device.physicalIds -notContains "[ZTDId]"', True),
        ("device.systemLabels -eq null", True),
        ("device.trustType -eq null", True),
        ("device.trustType -ne null", False),
        ('device.trustType -eq "ServerAD"', False),
        ('device.trustType -ne "ServerAD"', True),
        ('device.trustType -notIn ["ServerAD"]', True),
        ('device.trustType -notStartsWith "S"', True),
        ('device.displayName -eq "he said `"hi`""', True),
        ("device.extensionAttribute1 -eq 'SAW'", True),
        ("device.extensionAttribute1 -notIn ['S''A''W', '']", True),
        ("device.extensionAttribute2 -eq 'it''s'", True),
        ('DEVICE.ExtensionAttribute1 -EQ "saw"', True),
        ('device.extensionAttribute1 eq "SAW" and device.isCompliant eq true', True),
        ('-not device.model -eq "x"', True),
        ('-not (device.isCompliant -eq True -and device.model -contains "Pro")', False),
        # -and binds closer than -or, -not closer than both:
        ('device.model -eq "x" -and device.model -eq "y" -or device.isCompliant -eq True', True),
        ('device.isCompliant -eq True -or device.model -eq "x" -and device.model -eq "y"', True),
        ('device.model -eq "x" -and (device.model -eq "y" -or device.isCompliant -eq True)', False),
        ('-not device.model -eq "x" -and device.isCompliant -eq False', False),
        ("-not -not device.isCompliant -eq True", True),
        ('((device.model -eq "x")) -or ( device.isCompliant -eq True )', True),
    ],
)
def test_a_rule_means_what_microsoft_says_it_means(rule: str, matches: bool) -> None:
    assert read_rule(rule).matches(Device.of(SURFACE)) is matches


def test_everything_of_an_unregistered_device_is_null_but_that_it_is_not_compliant() -> None:
    nothing = Device.of({})

    assert read_rule('device.model -ne "x"').matches(nothing)
    assert not read_rule('device.model -eq "x"').matches(nothing)
    assert read_rule("device.isCompliant -eq False").matches(nothing)


@pytest.mark.parametrize(
    ("rule", "part"),
    [
        ("", "at its end"),
        ("device.model", "at its end"),
        ("device.model -eq", "a value at its end"),
        ('user.department -eq "x"', "a property such as device.model"),
        ('device.model -like "x"', "an operator such as -eq"),
        ("device.model -contains null", "a text"),
        ('device.model -in "x"', "a list such as"),
        ('device.model -in ["x" "y"]', "the end of a list"),
        ("device.model -in []", "a value"),
        ('device.model -eq "x" device.model -eq "y"', "-and or -or"),
        ('(device.model -eq "x"', "does not close"),
        ('device.model -eq "x")', "did not open"),
        ('device.model -eq "x', "does not end"),
        ('device.model -eq "x" -and', "at its end"),
        ("-not", "at its end"),
    ],
)
def test_a_rule_that_cannot_be_read_is_refused_where_it_goes_wrong(rule: str, part: str) -> None:
    with pytest.raises(FilterProblem, match="device filter") as refused:
        read_rule(rule)

    assert part in str(refused.value)


@pytest.mark.parametrize(
    "begin", ["(", "-not ", "device.a -eq 1 -and ", "device.a -in [", '"', "`", " ", "[", "'a", '"`', "device.a -eq '"]
)
def test_reading_takes_work_in_proportion_to_the_length(begin: str) -> None:
    def work(length: int) -> int:
        def read() -> None:
            with pytest.raises(FilterProblem):
                read_rule(begin * (length // len(begin)))

        return calls(read)

    read_rule("device.isCompliant -eq True")  # what is remembered from then on

    assert work(50_000) <= 10.5 * work(5_000)
    with pytest.raises(FilterProblem):  # the steps of a regular expression are no calls: of one that goes back and
        read_rule(begin * 200_000)  # forth this would take so long that it is a test that hangs


def test_a_deep_rule_is_read_and_judged() -> None:
    deep = "(" * 50_000 + "-not " * 50_001 + "device.isCompliant -eq True" + ")" * 50_000

    assert not read_rule(deep).matches(Device.of({"isCompliant": True}))
