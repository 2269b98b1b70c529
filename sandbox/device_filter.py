"""The rule language of Conditional Access' filters: `device.isCompliant -eq True -and device.model -in ["A", "B"]`."""

import re
from collections.abc import Callable, Mapping
from typing import Any

Test = Callable[[Mapping[str, Any]], bool]
"""Whether a thing with these attributes (by lower-case name) fits."""

_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"[^"]*"|'[^']*')|(?P<sign>[()\[\],])|(?P<operator>-[A-Za-z]+)|(?P<word>[$A-Za-z][\w.$]*))"""
)
_DEEPEST = 40
_CONSTANTS = {"true": True, "false": False, "null": None, "$null": None}


class FilterError(ValueError):
    """A rule that is none."""


def parse(rule: str) -> Test:
    """A rule as a test; FilterError if it cannot be read."""
    return _Parser(rule).whole()


class _Parser:
    def __init__(self, rule: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        at = 0
        while rule[at:].strip():
            found = _TOKEN.match(rule, at)
            if found is None or found.lastgroup is None:
                raise FilterError(f"cannot be read at {at}")
            self._tokens.append((found.lastgroup, found[found.lastgroup]))
            at = found.end()
        self._next = 0
        self._depth = 0

    def whole(self) -> Test:
        test = self._either()
        if self._next != len(self._tokens):
            raise FilterError("goes on where it should end")
        return test

    def _either(self) -> Test:
        tests = [self._both()]
        while self._takes("-or", "or"):
            tests.append(self._both())
        return tests[0] if len(tests) == 1 else lambda have: any(test(have) for test in tests)

    def _both(self) -> Test:
        tests = [self._one()]
        while self._takes("-and", "and"):
            tests.append(self._one())
        return tests[0] if len(tests) == 1 else lambda have: all(test(have) for test in tests)

    def _one(self) -> Test:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise FilterError("is nested too deeply")
        try:
            if self._takes("-not", "not"):
                inner = self._one()
                return lambda have: not inner(have)
            if self._takes("("):
                inner = self._either()
                self._expect(")")
                return inner
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> Test:
        kind, name = self._take()
        operator = self._take()[1].lower()
        if kind != "word" or operator not in _OPERATORS:
            raise FilterError(f"has no comparison at {name!r}")
        key = name.rpartition(".")[2].lower()
        compare, wanted = _OPERATORS[operator], self._value()
        return lambda have: compare(_fold(have.get(key)), wanted)

    def _value(self) -> Any:
        if self._takes("["):
            values = [] if self._takes("]") else [self._value()]
            while values and not self._takes("]"):
                self._expect(",")
                values.append(self._value())
            return values
        kind, text = self._take()
        if kind == "string":
            return text[1:-1].casefold()
        if kind == "word" and text.lower() in _CONSTANTS:
            return _CONSTANTS[text.lower()]
        raise FilterError(f"has {text!r} where a value should be")

    def _take(self) -> tuple[str, str]:
        if self._next >= len(self._tokens):
            raise FilterError("ends too early")
        self._next += 1
        return self._tokens[self._next - 1]

    def _takes(self, *texts: str) -> bool:
        kind, text = self._tokens[self._next] if self._next < len(self._tokens) else ("", "")
        if kind == "string" or text.lower() not in texts:
            return False
        self._next += 1
        return True

    def _expect(self, text: str) -> None:
        if not self._takes(text):
            raise FilterError(f"lacks {text!r}")


def _fold(value: Any) -> Any:
    if isinstance(value, str):
        return value.casefold()
    return [_fold(one) for one in value] if isinstance(value, list | tuple) else value


def _any_of(test: Callable[[str, str], bool]) -> Callable[[Any, Any], bool]:
    """A comparison of texts; of an attribute with several values one has to fit, and one that is missing does not."""

    def compare(have: Any, wanted: Any) -> bool:
        values = have if isinstance(have, list) else [have]
        return isinstance(wanted, str) and any(isinstance(one, str) and test(one, wanted) for one in values)

    return compare


def _equals(have: Any, wanted: Any) -> bool:
    if isinstance(have, list):
        return wanted in have
    if isinstance(have, bool) and isinstance(wanted, str):
        return str(have).casefold() == wanted
    return bool(have == wanted) and (have is None) == (wanted is None)


def _in(have: Any, wanted: Any) -> bool:
    return isinstance(wanted, list) and any(_equals(have, one) for one in wanted)


_POSITIVE: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": _equals,
    "in": _in,
    "contains": _any_of(lambda have, wanted: wanted in have),
    "startswith": _any_of(str.startswith),
    "endswith": _any_of(str.endswith),
}


def _negative(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda have, wanted: not compare(have, wanted)


# "Conditional Access: Filter for devices", policy behaviour: a device that is not registered has no attributes, which
# fits every negative operator and no positive one.
_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    f"-{name}": made
    for word, compare in _POSITIVE.items()
    for name, made in ((word, compare), ("ne" if word == "eq" else f"not{word}", _negative(compare)))
}
