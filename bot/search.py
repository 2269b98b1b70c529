"""What the searchable lists of a form find: only whom and what this person may use this command on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from bot import policy
from bot.actions import delegated
from bot.directory import find_people, read_person, search_groups, search_licenses
from bot.model import Person, SlackUser, Step, Target
from bot.ports import Clock, DecisionRead, Reader, Settings
from bot.session import WhoseSession

_SHOWN = 10


class Search:
    """Looks targets up through the management session, opening it if need be."""

    def __init__(self, *, clock: Clock, operators: DecisionRead, settings: Settings, session: WhoseSession) -> None:
        self._clock = clock
        self._operators = operators
        self._settings = settings
        self._session = session

    async def people(self, slack: SlackUser, command: str, typed: str) -> Sequence[Target]:
        """People of a similar name in the scope of a grant that holds *command*."""
        question = await self._question(slack, command)
        if not _may(question):
            return []
        reader = await self._reader(question)
        found = await find_people(reader, typed, limit=_SHOWN)
        if any(grant.scope for grant in question.rights.grants):
            guard = policy.needs_guard(question)
            known = await asyncio.gather(*(read_person(reader, person.id, guard=guard) for person in found))
            found = [person for person in known if _in_scope(question, person)]
        return [person.target for person in found]

    async def groups(self, slack: SlackUser, command: str, typed: str) -> Sequence[Target]:
        """Groups of a similar name."""
        question = await self._question(slack, command)
        return await search_groups(await self._reader(question), typed, _SHOWN) if _may(question) else []

    async def licenses(self, slack: SlackUser, command: str, typed: str) -> Sequence[Target]:
        """The tenant's licences."""
        question = await self._question(slack, command)
        return await search_licenses(await self._reader(question), typed, _SHOWN) if _may(question) else []

    async def _question(self, slack: SlackUser, command: str) -> policy.Question:
        return policy.Question(
            rights=self._operators.rights(slack, command),
            command=command,
            action=next((action for action in delegated().values() if action.command == command), None),
            now=self._clock.now(),
            settings=await self._settings.current(),
            asking=True,
        )

    async def _reader(self, question: policy.Question) -> Reader:
        operator = question.rights.operator
        session = await self._session.of(operator.id if operator else None)
        return (await session.ensure(opened_for="search", tell=_nobody)).graph


def _may(question: policy.Question) -> bool:
    return policy.decide_person(question).verdict is not policy.Verdict.DENY


def _in_scope(question: policy.Question, person: Person) -> bool:
    trace = policy.decide(replace(question, target=person)).trace
    return any(finding.code is policy.Code.SCOPE and finding.ok for finding in trace)


async def _nobody(steps: tuple[Step, ...]) -> None:
    """Whoever types in a list is not told of an opening's steps."""
