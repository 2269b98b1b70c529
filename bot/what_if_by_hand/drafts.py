"""A policy that nobody has saved: read, and what it is tried on. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bot.model import JSON
from bot.what_if_by_hand.judging import APPS
from bot.whatif import apps, words
from bot.whatif.locations import NamedLocation, read_locations
from bot.whatif.policies import Aim, Policy, PolicyProblem, read_policy
from bot.whatif.signins import Applications, AuthenticationContext, Conditions, UserAction, Wanted

LONGEST_DRAFT: Final = 200_000
"""Characters."""

MOST_LISTED: Final = 1_000
"""So many entries all lists of a draft may hold together: whom it names is read in the tenant."""

MOST_CONTROLS: Final = 50

_FOR_GROUPS: Final = {"all": APPS[:2], "office365": (apps.EXCHANGE,), "microsoftadminportals": (APPS[3],)}
"""An application for each word that policies have for several."""


@dataclass(frozen=True)
class Draft:
    """A policy that nobody has saved, and named locations that come with it."""

    policy: Policy
    locations: tuple[NamedLocation, ...] = ()


def read_draft(text: str) -> Draft:
    """A policy as Graph writes it, or an export with one in it. Raises `PolicyProblem`."""
    if len(text) > LONGEST_DRAFT:
        raise PolicyProblem(f"That is too long for a policy: at most {LONGEST_DRAFT:,} characters.")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        at = (
            f" Line {error.lineno}, column {error.colno}: {error.msg}."
            if isinstance(error, json.JSONDecodeError)
            else ""
        )
        raise PolicyProblem(f"This is not JSON.{at}") from error
    if _listed_in(data) > MOST_LISTED:
        raise PolicyProblem(f"That is too much for one policy: its lists hold more than {MOST_LISTED:,} entries.")
    locations: tuple[NamedLocation, ...] = ()
    if isinstance(data, dict) and ("policies" in data or isinstance(data.get("value"), list)):
        locations = read_locations(data.get("namedLocations") or [])
        data = data.get("policies", data.get("value"))
    if isinstance(data, list):
        if len(data) != 1:
            raise PolicyProblem(f"Give one policy at a time: here are {len(data)}.")
        data = data[0]
    policy = read_policy(data)
    if policy.is_empty:
        raise PolicyProblem("The policy says neither who or what it is about nor what it asks for.")
    if len(policy.grant.controls) > MOST_CONTROLS:
        raise PolicyProblem(f"The policy asks for too much: it has more than {MOST_CONTROLS} grant controls.")
    return Draft(policy, locations)


def _listed_in(data: JSON) -> int:
    """How many entries all lists hold, however deep."""
    count, left = 0, [data]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left.extend(value.values())
        elif isinstance(value, list):
            count += len(value)
            left.extend(value)
    return count


def replaced_by(draft: Policy, policies: Sequence[Policy]) -> tuple[Policy | None, list[Policy]]:
    """The policy that the draft would stand in place of (the same id, or else the same name), and the others."""
    old = next((policy for policy in policies if draft.id and policy.id == draft.id), None)
    old = old or next((policy for policy in policies if draft.name and policy.name == draft.name), None)
    return old, [policy for policy in policies if policy is not old]


def tried_on(policy: Policy) -> tuple[Wanted, ...]:
    """What a draft is tried on: what it is about, and Microsoft Graph, to which Latchkey signs in."""
    match policy.target.aim:
        case Aim.USER_ACTIONS:
            aliases = {UserAction(name).urn: name for name in ("registerSecurityInformation", "registerOrJoinDevices")}
            return tuple(UserAction(aliases.get(each.lower(), each)) for each in policy.target.user_actions[:4])
        case Aim.AUTHENTICATION_CONTEXTS:
            return tuple(AuthenticationContext(each) for each in policy.target.contexts[:4])
    named = policy.target.applications.include
    listed = [id_ for each in named for id_ in _FOR_GROUPS.get(each.lower(), (each.lower(),)) if id_ != "none"]
    ids = dict.fromkeys((apps.GRAPH, *listed))
    return tuple(Applications(frozenset({id_})) for id_ in list(ids)[:5])


def as_it_is_about(policy: Policy) -> Conditions:
    """What somebody's sign-in is like that the policy is about, as far as it says."""
    platforms = [each for each in policy.platforms.include if each.lower() != "all"]
    return Conditions(
        platform=platforms[0] if platforms else None,
        sign_in_risk=next(iter(policy.sign_in_risks), "none"),
        user_risk=next(iter(policy.user_risks), "none"),
        insider_risk=next(iter(policy.insider_risks), "none"),
        flow=next(iter(policy.flows), "none"),
    )


def ids_in(policy: Policy) -> list[str]:
    """Those that are named where the policy is explained."""
    users = policy.users
    listed = [users.users, users.groups, users.roles, policy.target.applications]
    listed += [policy.workloads.principals] if policy.workloads else []
    most = words.MOST_NAMES
    return [id_ for choice in listed for id_ in (*choice.include[:most], *choice.exclude[:most])]
