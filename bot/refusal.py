"""A no in words: why, who can help instead, and what else was looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from bot import policy
from bot.model import SlackUser
from bot.ports import Operators


@dataclass(frozen=True)
class Refusal:
    """The sentence for the person who asked, and the rest of the decision's trace as (passed, sentence)."""

    sentence: str
    trace: list[list[bool | str]]


async def explain(
    decision: policy.Decision, command: str, asker: SlackUser, operators: Operators, zone: ZoneInfo
) -> Refusal:
    """Put a refusal of *command* into words for *asker*."""
    ask = await who_can_help(decision, command, asker, operators)
    # What stops it is the sentence itself; that they are an operator goes without saying.
    others = [
        finding
        for finding in decision.trace
        if finding is not decision.deny and not (finding.ok and finding.code is policy.Code.OPERATOR)
    ]
    return Refusal(
        policy.because(decision, ask, zone=zone),
        [[finding.ok, policy.words(finding, zone=zone)] for finding in others],
    )


async def who_can_help(
    decision: policy.Decision, command: str, asker: SlackUser, operators: Operators
) -> Sequence[str]:
    """The names of a few people, other than *asker*, who may do what was refused."""
    helped_by = policy.who_helps(decision, command)
    holders = await operators.who_may(helped_by) if helped_by else []
    return [holder.name for holder in holders if holder.name and holder.slack != asker]
