"""The pretend world in a process of its own: `python -m tests.benchmarks.world TRANSPORT FOLDER`."""

from __future__ import annotations

import asyncio
import random
import sys
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Literal

from bot.config import read_config
from bot.directory_roles import GLOBAL_ADMINISTRATOR
from sandbox.conditional_access import complete
from sandbox.directory import Group, Timeline
from sandbox.world import World
from tests.benchmarks.processes import answer_questions
from tests.stage import environment, set_up


async def main(transport: Literal["socket", "http"], folder: Path) -> None:
    async with World(transport=transport, state=folder) as world:
        with environment(world.environment()):
            await set_up(read_config(), world)
        slack, graph = world.slack, world.graph

        async def people(count: int) -> list[str]:
            """Make *count* more people like Adele; their object ids."""
            adele = world.directory.user("adele@contoso.com")
            made = []
            for number in range(count):
                id_ = str(uuid.uuid4())
                world.directory.add_user(replace(adele, id=id_, upn=f"person{number}@contoso.com", manager_id=None))
                made.append(id_)
            return made

        async def policies_for(groups: int, of: int) -> list[str]:
            """Make so many groups *of* so many people, and policies that exclude each; the ids of the groups."""
            everybody = sorted(user.id for user in world.directory.latest.users())
            dice = random.Random(1)  # noqa: S311 - a population, not a secret
            made = [
                Group(str(uuid.uuid4()), f"Team {number}", members=tuple(dice.sample(everybody, of)))
                for number in range(groups)
            ]
            for number, group in enumerate(made):
                world.directory.group_lines[group.id] = Timeline(group)
                users = {"includeUsers": ["All"], "excludeGroups": [group.id], "includeRoles": [], "excludeUsers": []}
                if number == 0:
                    users |= {"includeUsers": [], "includeRoles": [GLOBAL_ADMINISTRATOR]}
                body = {
                    "id": str(uuid.uuid4()),
                    "displayName": f"Policy {number}",
                    "state": "enabledForReportingButNotEnforced",
                    "conditions": {
                        "users": users,
                        "applications": {"includeApplications": ["All"]},
                        "clientAppTypes": ["all"],
                    },
                    "grantControls": {"operator": "OR", "builtInControls": ["mfa"]},
                }
                world.access.put_policy(complete(body))
            return [group.id for group in made]

        async def asked_of_graph() -> list[tuple[str, str, str]]:
            """(method, path, query) of what Graph was asked since the last time, and forget it."""
            seen = [(each.method, each.path, each.query) for each in graph.requests]
            graph.requests.clear()
            return seen

        async def flood(text: str, count: int, at_once: int, person: str) -> list[float | None]:
            """Type *text* so often, at most *at_once* unacknowledged; the seconds each took, None if too many."""
            places = asyncio.Semaphore(at_once)

            async def typed() -> float | None:
                async with places:
                    ack = (await slack.command(person, "#helpdesk", text)).ack
                return ack.seconds if ack.status.value == "ok" else None

            return await asyncio.gather(*(typed() for _ in range(count)))

        async def answered(person: str, count: int) -> int:
            """Wait until *person* was told so many things in private."""
            await slack.until(lambda: len(slack.ephemerals(person)) >= count, timeout=120)
            return len(slack.ephemerals(person))

        async def connected(count: int) -> int:
            """Wait until the app has so many connections open, or none at all."""
            await slack.until(lambda: slack.bot_connected >= count if count else not slack.bot_connected, timeout=60)
            return slack.bot_connected

        await answer_questions(
            {"environment": world.environment(), "bot_url": slack.bot_url},
            people=people,
            policies_for=policies_for,
            asked_of_graph=asked_of_graph,
            flood=flood,
            answered=answered,
            connected=connected,
        )


if __name__ == "__main__":
    asyncio.run(main("http" if sys.argv[1] == "http" else "socket", Path(sys.argv[2])))
