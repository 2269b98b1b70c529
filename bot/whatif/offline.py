"""`latchkey whatif`: judge sign-ins from a file by policies from a file, for people who keep policies as code.

What is in the files comes in, answers go out; `bot/cli.py` opens the files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from bot.whatif.evaluation import Decision, PolicySet, Verdict
from bot.whatif.locations import read_locations
from bot.whatif.policies import Policy, PolicyProblem, read_policies
from bot.whatif.reading import Found, quoted
from bot.whatif.signins import Person, SignIn, SignInProblem, read_person, read_request

if TYPE_CHECKING:
    from bot.model import JSON

_THE_FILE: Final = "The file of policies"
_ITS_SHAPE: Final = 'It has to be {"policies": [...], "namedLocations": [...]}, each as Graph returns them.'


def read_policy_file(text: str | bytes) -> PolicySet:
    """From `{"policies": [...], "namedLocations": [...]}`, each as Graph returns it. Raises `PolicyProblem`."""
    if not text.strip():
        raise PolicyProblem(f"{_THE_FILE} is empty. {_ITS_SHAPE}")
    data = _json(text, _THE_FILE, PolicyProblem)
    if not isinstance(data, dict) or "policies" not in data:
        raise PolicyProblem(f"{_THE_FILE} has no `policies`. {_ITS_SHAPE}")
    locations = data.get("namedLocations")
    policies = read_policies(data["policies"])
    seen: set[str] = set()
    for number, policy in enumerate(policies, start=1):
        called = _called(policy, number)
        if called in seen:
            raise PolicyProblem(f"There are two policies called {quoted(called)}. Give each an id of its own.")
        seen.add(called)
    return PolicySet.compile(policies, read_locations([] if locations is None else locations))


def judge(
    policies: PolicySet, lines: Iterable[str | bytes], *, strict: bool = False
) -> Iterator[tuple[JSON, Decision]]:
    """For each line a sign-in, what is to be printed and the decision. Raises `SignInProblem`, naming the line."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            name, sign_in = _read_line(line, f"Line {number} of the sign-ins", strict=strict)
            verdict = policies.evaluate(sign_in, strict=strict)
            yield _written(name, verdict), verdict.decision


def _written(name: JSON, verdict: Verdict) -> JSON:
    results = {
        _called(result.policy, number): {"applies": result.applies, "reasons": list(result.reasons)}
        for number, result in enumerate(verdict.results, start=1)
    }
    return {"id": name, "policies": results, "decision": verdict.decision}


def _called(policy: Policy, number: int) -> str:
    return policy.id or policy.name or str(number)


def _read_line(line: str | bytes, where: str, *, strict: bool) -> tuple[JSON, SignIn]:
    data = Found.in_json(_json(line, where, SignInProblem), where, SignInProblem)
    if data.value.get("request") is None:
        raise SignInProblem(f"{where} has no `request`.")
    user = data.value.get("user")
    known = None if user is None else read_person(user, f"{where}, `user`")
    sign_in = read_request(data.value["request"], known, f"{where}, `request`")
    name = data.value.get("id")
    if not isinstance(name, str | int):
        raise data.refuse("id", "a text; the answer needs it to say which sign-in it is about")
    who, conditions = sign_in.who, sign_in.conditions
    if not strict and isinstance(who, Person):  # nobody is in a group of which nothing is said
        who = replace(who, groups=who.groups or frozenset(), roles=who.roles or frozenset())
    if strict:
        conditions = replace(conditions, compliant_network=None)
    return name, replace(sign_in, who=who, conditions=conditions)


def _json(text: str | bytes, what: str, problem: type[PolicyProblem] | type[SignInProblem]) -> JSON:
    try:
        # Some tools put a mark before the first sign of a file.
        return json.loads(text.decode("utf-8-sig") if isinstance(text, bytes) else text)
    except UnicodeDecodeError as error:
        raise problem(f"{what}: not UTF-8 (byte {error.start + 1}). Save it as UTF-8.") from error
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise problem(f"{what}: not JSON ({error.msg}, {line}column {error.colno}).") from error
    except (ValueError, RecursionError) as error:
        raise problem(f"{what}: not JSON that can be read (a number too long, or lists too deep).") from error
