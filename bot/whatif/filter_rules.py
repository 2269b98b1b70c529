"""The rules of device filters: `device.isCompliant -eq True -and -not (device.model -startsWith "Surface")`.

The language is that of dynamic groups, its properties and operators those of devices (Entra docs: *Filter for devices*
and *Rules for dynamic membership groups*): comparisons bind closest, then `-not`, `-and`, `-or`. Hyphens may be left
out, and upper and lower case mean the same everywhere. Reading and judging take time linear in the length of a rule:
both keep a stack of their own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from bot.errors import LatchkeyError
from bot.whatif.reading import quoted


class FilterProblem(LatchkeyError):
    """A rule that cannot be read; the sentence says at which word."""


Fact = str | tuple[str, ...] | None
"""What is known of one property: a text, several, or nothing."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device as rules see it. A property that is not there is null, as all are of an unregistered device."""

    facts: Mapping[str, Fact]

    @staticmethod
    def of(properties: Mapping[str, str | bool | tuple[str, ...] | None]) -> Device:
        """From Graph's `deviceInfo`, where `isCompliant` is false unless it is said to be true."""
        facts = {_property(name): _fact(value) for name, value in properties.items()}
        if facts.get("iscompliant") is None:
            facts["iscompliant"] = "false"
        return Device(facts)


@lru_cache(maxsize=256)
def _property(name: str) -> str:
    name = name.lower()
    return "deviceownership" if name == "ownership" else name  # the only one that Graph calls otherwise than rules do


def _fact(value: str | bool | tuple[str, ...] | None) -> Fact:
    if isinstance(value, tuple):
        return tuple(each.lower() for each in value)
    return None if value is None else str(value).lower()


@dataclass(frozen=True, slots=True)
class Comparison:
    """One property against texts in lower case; no text means null."""

    property: str
    negated: bool
    test: Callable[[str, str], bool]
    texts: tuple[str, ...]

    def holds(self, device: Device) -> bool:
        return self._positive(device.facts.get(self.property)) is not self.negated

    def _positive(self, fact: Fact) -> bool:
        if not self.texts:
            return not fact
        if fact is None:
            return False
        if isinstance(fact, tuple):  # several: one of them has to be the text, whichever operator asks
            return any(text in fact for text in self.texts)
        return any(self.test(fact, text) for text in self.texts)


class _Sign(str):
    """`and`, `or`, `not` or a bracket, while a rule is read and in what it was read as."""

    __slots__ = ()


_AND, _OR, _NOT, _OPEN = _Sign("and"), _Sign("or"), _Sign("not"), _Sign("(")
_STRENGTH: Final = {_OPEN: 0, _OR: 1, _AND: 2, _NOT: 3}


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that was read, its comparisons before the signs that join them."""

    steps: tuple[Comparison | _Sign, ...]

    @property
    def properties(self) -> frozenset[str]:
        """Those that it asks for."""
        return frozenset(step.property for step in self.steps if isinstance(step, Comparison))

    def matches(self, device: Device) -> bool:
        stack: list[bool] = []
        for step in self.steps:
            if isinstance(step, Comparison):
                stack.append(step.holds(device))
            elif step is _NOT:
                stack.append(not stack.pop())
            else:
                last, first = stack.pop(), stack.pop()
                stack.append((first and last) if step is _AND else (first or last))
        return stack.pop()


_TESTS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "eq": str.__eq__,
    "in": str.__eq__,
    "contains": str.__contains__,
    "startswith": str.startswith,
    "endswith": str.endswith,
}
_NEGATED: Final = {"ne": "eq", "notin": "in", "notcontains": "contains"} | {
    f"not{name}": name for name in ("startswith", "endswith")
}

_TOKEN: Final = re.compile(
    r"""\s*(?:([()\[\],])|"((?:[^"`]|`.)*)"|'((?:[^'`]|`.|'')*)'|([^\s()\[\],"']+))""", re.DOTALL
)
_END: Final = ("", "")


def read_rule(text: str) -> Rule:
    """Raises `FilterProblem`."""
    return _Reader(text).read()


class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._token = next(self._tokens, _END)
        self._steps: list[Comparison | _Sign] = []
        self._waiting: list[_Sign] = []

    def read(self) -> Rule:
        while True:
            self._operand()
            while self._is_mark(")"):
                self._close()
            if self._token == _END:
                break
            sign = self._word()
            if sign not in (_AND, _OR):
                raise self._problem("-and or -or", sign)
            self._push(_Sign(sign))
        self._settle(_STRENGTH[_OPEN] + 1)
        if self._waiting:
            raise FilterProblem("The device filter opens a bracket that it does not close.")
        return Rule(tuple(self._steps))

    def _operand(self) -> None:
        while True:
            if self._is_mark("("):
                self._next()
                self._waiting.append(_OPEN)
            elif self._token[0] == "word" and _bare(self._token[1]) == _NOT:
                self._next()
                self._waiting.append(_NOT)
            else:
                break
        self._steps.append(self._comparison())

    def _comparison(self) -> Comparison:
        name = self._word(bare=False)
        scope, dot, wanted = name.lower().partition(".")
        if scope != "device" or not dot or not wanted:
            raise self._problem("a property such as device.model", name)
        operator = self._word()
        negated = operator in _NEGATED
        operator = _NEGATED.get(operator, operator)
        if operator not in _TESTS:
            raise self._problem("an operator such as -eq", operator)
        texts = self._list() if operator == "in" else self._value(null=operator == "eq")
        return Comparison(_property(wanted), negated, _TESTS[operator], texts)

    def _value(self, *, null: bool) -> tuple[str, ...]:
        kind, text = self._next()
        if kind not in ("text", "word"):
            raise self._problem("a value", text)
        if kind == "word" and text.lower() in ("null", "$null"):
            if null:
                return ()
            raise self._problem("a text", text)
        return (text.lower(),)

    def _list(self) -> tuple[str, ...]:
        if not self._is_mark("["):
            raise self._problem('a list such as ["a", "b"]', self._token[1])
        self._next()
        texts = list(self._value(null=False))
        while self._is_mark(","):
            self._next()
            texts += self._value(null=False)
        if not self._is_mark("]"):
            raise self._problem("the end of a list", self._token[1])
        self._next()
        return tuple(texts)

    # --- signs ------------------------------------------------------------------------------------------------------

    def _push(self, sign: _Sign) -> None:
        self._settle(_STRENGTH[sign])
        self._waiting.append(_AND if sign == _AND else _OR)

    def _settle(self, strength: int) -> None:
        """Write down the signs that bind at least this close."""
        while self._waiting and _STRENGTH[self._waiting[-1]] >= strength:
            self._steps.append(self._waiting.pop())

    def _close(self) -> None:
        self._next()
        self._settle(_STRENGTH[_OPEN] + 1)
        if not self._waiting:
            raise FilterProblem("The device filter closes a bracket that it did not open.")
        self._waiting.pop()

    # --- tokens -----------------------------------------------------------------------------------------------------

    def _next(self) -> tuple[str, str]:
        token, self._token = self._token, next(self._tokens, _END)
        return token

    def _is_mark(self, mark: str) -> bool:
        return self._token == ("mark", mark)

    def _word(self, *, bare: bool = True) -> str:
        kind, text = self._next()
        if kind != "word":
            raise self._problem("another word", text)
        return _bare(text) if bare else text

    def _problem(self, expected: str, found: str) -> FilterProblem:
        there = f"where {quoted(found)} stands" if found else "at its end"
        return FilterProblem(f"The device filter needs {expected} {there}.")


def _bare(word: str) -> str:
    return word.lower().removeprefix("-")


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    text = text.rstrip()
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise FilterProblem(f"The device filter has a quotation that does not end: {quoted(text[position:])}.")
        position = found.end()
        mark, double, single, word = found.groups()
        if mark is not None:
            yield "mark", mark
        elif word is not None:
            yield "word", word
        else:
            yield "text", _unescaped(double if double is not None else single.replace("''", "'"))


def _unescaped(text: str) -> str:
    """Without the signs before quotes (Entra docs: *Rules for dynamic membership groups*, *Supported values*)."""
    return re.sub(r"`(.)", r"\1", text, flags=re.DOTALL) if "`" in text else text
