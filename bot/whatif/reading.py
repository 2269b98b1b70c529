"""Reading Graph's JSON tolerantly: what is unknown is kept or passed over, what has another shape than Graph's is
refused with a sentence that says where it stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bot.errors import LatchkeyError

LONGEST_QUOTE: Final = 60


@dataclass(frozen=True, slots=True)
class Found:
    """A JSON object and where it was found. `problem` is the exception that says that it cannot be read."""

    value: Mapping[str, Any]
    where: str
    problem: type[LatchkeyError]

    @staticmethod
    def in_json(value: object, where: str, problem: type[LatchkeyError]) -> Found:
        if not isinstance(value, dict):
            raise problem(f"{where} is not a JSON object.")
        return Found(value, where, problem)

    def refuse(self, key: str, expected: str) -> LatchkeyError:
        return self.problem(f"{self.where}: `{key}` is not {expected}.")

    def given(self, key: str) -> bool:
        """Whether anything is said under *key*; Graph writes null, an empty list or an empty object for nothing."""
        return is_said(self.value.get(key))

    def part(self, key: str) -> Found | None:
        """The object under *key*, None if there is none. An empty list, which some tools write for it, is none."""
        value = self.value.get(key)
        if value is None or value == []:
            return None
        if not isinstance(value, dict):
            raise self.refuse(key, "an object")
        return Found(value, f"{self.where}, `{key}`", self.problem)

    def parts(self, key: str) -> list[Found]:
        value = self.value.get(key)
        if not isinstance(value, list | None):
            raise self.refuse(key, "a list")
        listed = enumerate(value or [], start=1)
        return [Found.in_json(each, f"{self.where}, `{key}` number {number}", self.problem) for number, each in listed]

    def text(self, key: str) -> str | None:
        value = self.value.get(key)
        if not isinstance(value, str | None):
            raise self.refuse(key, "a text")
        return value

    def truth(self, key: str) -> bool | None:
        value = self.value.get(key)
        if not isinstance(value, bool | None):
            raise self.refuse(key, "true or false")
        return value

    def names(self, key: str) -> tuple[str, ...]:
        """The names under *key*, each once: a list, or the text with commas that Graph writes for flags."""
        value = self.value.get(key)
        if isinstance(value, str):
            value = [name for part in value.split(",") if (name := part.strip())]
        if not isinstance(value, list | None) or not all(isinstance(name, str) for name in value or []):
            raise self.refuse(key, "a list of texts")
        return tuple(dict.fromkeys(value or []))


def is_said(value: object) -> bool:
    """Whether *value* says anything beside its type."""
    if isinstance(value, dict):
        return any(each not in (None, [], {}, "") for key, each in value.items() if "@" not in key)
    return value not in (None, [], "")


def folded(names: Iterable[str]) -> frozenset[str]:
    """Ids and names as they are compared: Microsoft does not tell upper from lower case in them."""
    return frozenset(name.lower() for name in names)


def quoted(text: str) -> str:
    """*text* fit to stand in a sentence."""
    text = "".join(char if char.isprintable() else " " for char in text[: LONGEST_QUOTE + 1])
    return f"“{text if len(text) <= LONGEST_QUOTE else text[: LONGEST_QUOTE - 1] + '…'}”"
