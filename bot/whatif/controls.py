"""Who can meet what policies ask for, and what to do about those that nobody can meet."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bot.model import IdentityKind
from bot.whatif.evaluation import Verdict
from bot.whatif.policies import BLOCK, TOKEN_PROTECTION, Control, Policy
from bot.whatif.reading import folded


class Remedy(StrEnum):
    """What lets an identity sign in again, the one that opens least first."""

    ADD_ADDRESS = "add the egress address to the locations that the policy lets pass"
    EXCLUDE_ACCOUNT = "exclude the account from the policy, through a group made for it"
    CHANGE_CLIENT = "sign in through another kind of client"
    USE_APPLICATION = "switch to the application identity"


@dataclass(frozen=True, slots=True)
class Blocker:
    """An enabled policy that applies and asks for what the identity cannot do, with the remedies that fit it."""

    policy: Policy
    unmet: tuple[Control, ...]
    token_protection: bool
    remedies: tuple[Remedy, ...]

    @property
    def blocks_outright(self) -> bool:
        return self.policy.grant.blocks


def can_meet(kind: IdentityKind, control: Control) -> bool:
    """Whether an identity of this kind can do what the control asks for.

    What signs in without a person meets nothing: no second factor, no managed device, no approved application, no new
    password, no terms (Entra docs: *Microsoft identity platform and OAuth 2.0 Resource Owner Password Credentials*;
    *Conditional Access for workload identities*).
    """
    return control != BLOCK and kind is IdentityKind.ADMINISTRATOR


def passes(kind: IdentityKind, policy: Policy) -> bool:
    """Whether an identity of this kind gets past *policy* where it applies."""
    if kind in _NO_POLICY_REACHES:
        return True
    grant = policy.grant
    if grant.blocks:
        return False
    met = [can_meet(kind, control) for control in grant.controls]
    return (all(met) if grant.all_of_them else any(met) or not met) and not _demands_bound_tokens(kind, policy)


def blockers(verdict: Verdict, kind: IdentityKind) -> tuple[Blocker, ...]:
    """What keeps the identity from signing in, policies that block outright first."""
    found = [blocker_of(policy, kind) for policy in verdict.enforced.applying if not passes(kind, policy)]
    return tuple(sorted(found, key=lambda blocker: not blocker.blocks_outright))


_NO_POLICY_REACHES: Final = {IdentityKind.MANAGED_IDENTITY, IdentityKind.LATCHKEY}


def _demands_bound_tokens(kind: IdentityKind, policy: Policy) -> bool:
    return kind is IdentityKind.SERVICE_ACCOUNT and any(limit.name == TOKEN_PROTECTION for limit in policy.session)


def blocker_of(policy: Policy, kind: IdentityKind) -> Blocker:
    """What *policy* asks of an identity of this kind that it cannot do, as if it were on and applied."""
    unmet = tuple(control for control in policy.grant.controls if not can_meet(kind, control))
    named_clients = folded(policy.client_apps)
    lets_pass = bool(policy.locations.exclude or folded(policy.locations.include) - {"all"})
    fits = {
        Remedy.ADD_ADDRESS: lets_pass,
        Remedy.CHANGE_CLIENT: bool(policy.flows or (named_clients and "all" not in named_clients)),
        Remedy.EXCLUDE_ACCOUNT: not (lets_pass and policy.users.is_one_person),
        Remedy.USE_APPLICATION: kind is IdentityKind.SERVICE_ACCOUNT,
    }
    remedies = tuple(remedy for remedy in Remedy if fits[remedy])
    return Blocker(policy, unmet, _demands_bound_tokens(kind, policy), remedies)
