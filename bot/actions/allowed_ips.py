"""Let the service account sign in from Latchkey's own addresses only, and get it past the policies that stop it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Final

from bot.actions._action import Action, Label
from bot.actions._addresses import MOST_SHOWN, holds, in_words, read_ranges
from bot.actions._afterwards import consent
from bot.actions._allowed_ips import (
    DESK,
    GROUP,
    LOCATION,
    LOCATIONS,
    LOGGED,
    NEVER,
    POLICIES,
    POLICY,
    Foreseen,
    Group,
    Shape,
    Situation,
    Wish,
    excluding,
    foresee,
    from_elsewhere,
    group_body,
    is_as_wished,
    location_body,
    managed_as_code,
    objections,
    outcome,
    policy_body,
    situation,
)
from bot.actions._own import BY_NAME, Switch, the_tenant
from bot.actions._service_account import Steps
from bot.directory import quoted
from bot.errors import BadInput, NotPossible
from bot.model import (
    JSON,
    NOBODY,
    Call,
    Change,
    Expect,
    Identity,
    IdentityKind,
    Plan,
    ReadBack,
    Repeat,
    Target,
    TargetKind,
    Undo,
)
from bot.ports import Reader
from bot.whatif.controls import passes
from bot.whatif.locations import Network
from bot.whatif.policies import Policy, State, read_policy
from bot.whatif.words import Names, conditions, demand, listed, missing, target, who


class Elsewhere(StrEnum):
    """What happens to a sign-in from elsewhere, as it is asked for."""

    DEFAULT = "default"
    BLOCK = "block"
    MFA = "mfa"


@dataclass(frozen=True)
class Inputs:
    addresses: Annotated[
        str,
        Label(
            "Addresses",
            "Such as 203.0.113.10, 198.51.100.0/28. Empty: those there are, and where Latchkey signs in from now.",
            maximum=2900,
            check=read_ranges,
        ),
    ] = ""
    shape: Annotated[
        Elsewhere,
        Label(
            "From elsewhere",
            "block: nobody gets in. mfa: whoever has a second factor. default: as set up before, or else block.",
        ),
    ] = Elsewhere.DEFAULT
    trusted: Annotated[
        Switch, Label("Addresses are trusted", "Policies about trusted locations then hold for them, too.")
    ] = Switch.AS_IT_IS


async def plan(reader: Reader, aim: Target, inputs: Inputs, identity: Identity) -> Plan:
    """Outside is closed before inside is opened, so that the account is never without any policy."""
    now = await situation(reader)
    _make_sure_it_makes_sense(now)
    wish = Wish(_ranges(now, inputs), _shape(now, inputs), _trusted(now, inputs))
    foreseen = await asyncio.to_thread(foresee, now, wish)
    if blocking := foreseen.still_blocking:
        wish = replace(wish, excluding=tuple(each.policy.id for each in blocking))
        foreseen = await asyncio.to_thread(foresee, now, wish)
    if wrong := objections(now, wish, foreseen):
        raise NotPossible(f"This would not come out as it has to, so nothing was done. {' '.join(wrong)}")
    names = {**now.names, now.account.id.lower(): now.account.name}
    steps = _closing(now, wish, names, _opening(now, wish, names))
    if not steps.calls:
        return Plan(changes=(), calls=(), notes=(f"It is so already: {_described(now, wish)}.",))
    writes = [call.seen for call in steps.calls if call.path[0] != DESK[0]]
    proof = _desk("proof", {}, f"Signing in as {now.account.name} from here")
    return Plan(
        changes=(*steps.changes, *_what_comes_of_it(now, wish, foreseen, names)),
        calls=(*steps.calls, proof),
        read_back=writes[-1],
        undo=Undo("remove-allowed-ips", {}),
        notes=(*_notes(now, wish, foreseen), *steps.notes),
    )


# --- What is asked for ------------------------------------------------------------------------------------------------


def _make_sure_it_makes_sense(now: Situation) -> None:
    if now.account == NOBODY:
        raise NotPossible(
            "Latchkey works with no account of its own yet, so there is nothing to let in. Set one up first: "
            "`/m365-mode set-up`."
        )
    if now.account.kind is not IdentityKind.SERVICE_ACCOUNT:
        raise NotPossible(
            "Latchkey works with no account of its own, but with an application: policies about people and their "
            "places do not reach it."
        )
    if now.security_defaults:
        raise NotPossible(
            "Security defaults are on in the tenant, and beside them no policy can be. Replace them by policies first: "
            "Microsoft Entra admin center, Overview, Properties, Manage security defaults. Or let Latchkey work with "
            "an application: `/m365-mode set-up --kind application`."
        )


def _ranges(now: Situation, inputs: Inputs) -> tuple[Network, ...]:
    """Those that were typed, or those there are and the address Latchkey signs in from. Raises `BadInput`."""
    here = now.sign_in.conditions.address
    if not inputs.addresses.strip():
        typed = " ".join(map(str, now.location.networks)) if now.location else ""
        there = read_ranges(typed) if typed else ()
        if there and (here is None or holds(there, here)):
            return there
        if here is None:
            raise BadInput(
                "It is not known from which address Microsoft sees Latchkey: nothing is set (LATCHKEY_EGRESS_IP), and "
                "the sign-in log has no sign-in of the account. Type the addresses, such as `/m365-mode allowed-ips "
                "203.0.113.10`.",
                field="addresses",
            )
        return (*there, *read_ranges(str(here)))
    ranges = read_ranges(inputs.addresses)
    if here is not None and not holds(ranges, here):
        raise BadInput(
            f"Latchkey signs in from {here} ({now.source}), which is not among these addresses: it would lock itself "
            "out. Name that one, too.",
            field="addresses",
        )
    return ranges


def _shape(now: Situation, inputs: Inputs) -> Shape:
    if inputs.shape != Elsewhere.DEFAULT:
        return Shape(inputs.shape)
    return Shape.BLOCK if now.policy is None or now.policy.grant.blocks else Shape.MFA


def _trusted(now: Situation, inputs: Inputs) -> bool:
    if inputs.trusted == Switch.AS_IT_IS:
        return now.location is not None and now.location.trusted
    return inputs.trusted == Switch.ON


def _described(now: Situation, wish: Wish) -> str:
    return f"{now.account.name} signs in from {in_words(wish.ranges)} only"


# --- The steps --------------------------------------------------------------------------------------------------------


def _closing(now: Situation, wish: Wish, names: Names, opening: Steps) -> Steps:
    """The named location and the policy, and then *opening*. What is in force already is changed only once it is known
    what comes of it."""
    closing = _location(now, wish) + _policy(now, wish, names)
    if now.policy is None or now.policy.state != State.ENABLED:
        return closing + Steps(calls=(_check(wish, made=True), _enable(now, wish, closing))) + opening
    if not closing.calls and not opening.calls:
        return Steps()
    return Steps(calls=(_check(wish, made=not closing.calls),)) + closing + opening


def _check(wish: Wish, *, made: bool) -> Call:
    return _desk("what-if", {"wish": wish.to_json(), "made": made}, "Asking what would happen, inside and outside")


def _location(now: Situation, wish: Wish) -> Steps:
    location, body = now.location, location_body(wish)
    said = f"“{LOCATION}”: {in_words(wish.ranges)}{', trusted' if wish.trusted else ''}"
    if location is None:
        seen = _called(LOCATIONS, LOCATION, "value/displayName", Expect.CONTAINS, LOCATION)
        says = f"Making the named location “{LOCATION}”"
        call = Call("POST", LOCATIONS, body, Repeat.ONE_SHOT, says=says, seen=seen, awaited=True)
        return Steps((Change("named location", None, f"{said}, new"), *_one_by_one((), wish.ranges)), (call,))
    if set(location.networks) == set(wish.ranges) and location.trusted == wish.trusted:
        return Steps()
    path, cidrs = (*LOCATIONS, location.id), [str(network) for network in wish.ranges]
    seen = ReadBack(path, "ipRanges/cidrAddress", Expect.EQUALS, cidrs)
    if set(location.networks) == set(wish.ranges):
        seen = ReadBack(path, "isTrusted", Expect.EQUALS, wish.trusted)
    says = f"Changing the named location “{LOCATION}”"
    call = Call("PATCH", path, body, says=says, seen=seen, awaited=True, was=dict(location.raw))
    before = f"{in_words(location.networks)}{', trusted' if location.trusted else ''}"
    return Steps((Change("named location", before, said), *_one_by_one(location.networks, wish.ranges)), (call,))


def _one_by_one(before: Sequence[Network], after: Sequence[Network]) -> Iterator[Change]:
    """Every address that comes or goes, where a line is too short for all there are: whoever agrees sees each."""
    if max(len(before), len(after)) <= MOST_SHOWN:
        return
    for what, some, others in (("comes in", after, before), ("goes", before, after)):
        names = [str(each) for each in some if each not in others]
        for start in range(0, len(names), _IN_A_LINE):
            yield Change(f"address, {what}", None, ", ".join(names[start : start + _IN_A_LINE]))


_IN_A_LINE: Final = 50


def _policy(now: Situation, wish: Wish, names: Names) -> Steps:
    policy, location = now.policy, now.location
    body = policy_body(now.account, _at(now), wish.shape)
    drafted = read_policy(policy_body(now.account, "ours", wish.shape))
    said = in_full(drafted, {**names, "ours": f"“{LOCATION}”"})
    if policy is None:
        seen = _called(POLICIES, POLICY, "value/displayName", Expect.CONTAINS, POLICY)
        says = f"Making the policy “{POLICY}”, which only reports for now"
        call = Call("POST", POLICIES, body, Repeat.ONE_SHOT, advice=_NEEDS, says=says, seen=seen, awaited=True)
        return Steps((Change("policy", None, f"“{POLICY}”, new: {said}"),), (call,))
    on = Change(f"policy “{policy.name}”", "off, or only reporting", "on")
    if location is not None and is_as_wished(policy, now.account, location.id, wish.shape):
        return Steps((on,) if policy.state != State.ENABLED else ())
    path = (*POLICIES, policy.id)
    seen = ReadBack(path, "modifiedDateTime", Expect.DIFFERS, policy.raw.get("modifiedDateTime"))
    says = f"Changing the policy “{policy.name}”"
    call = Call("PATCH", path, _content(now, wish), says=says, seen=seen, awaited=True, was=dict(policy.raw))
    return Steps((Change(f"policy “{policy.name}”", in_full(policy, names), said),), (call,))


def _at(now: Situation) -> JSON:
    """The id of the named location, or what stands for it."""
    return now.location.id if now.location else {"$id_of": [*LOCATIONS, LOCATION]}


def _content(now: Situation, wish: Wish) -> dict[str, JSON]:
    """What our policy says, apart from its name and from whether it is on."""
    body = policy_body(now.account, _at(now), wish.shape)
    return {name: body[name] for name in ("description", "conditions", "grantControls")}


def _enable(now: Situation, wish: Wish, closing: Steps) -> Call:
    """All of it is sent along: whatever became of it meanwhile, nobody but the account meets it once it is on."""
    says, body = f"Switching “{POLICY}” on", {**_content(now, wish), "state": State.ENABLED}
    if now.policy is None:
        seen = _called(POLICIES, POLICY, "value/state", Expect.EQUALS, State.ENABLED)
        return Call("PATCH", (*POLICIES, f"{BY_NAME}{POLICY}"), body, says=says, seen=seen, awaited=True)
    path = (*POLICIES, now.policy.id)
    seen = ReadBack(path, "state", Expect.EQUALS, State.ENABLED)
    was = None if any(call.path == path for call in closing.calls) else dict(now.policy.raw)
    return Call("PATCH", path, body, says=says, seen=seen, awaited=True, was=was)


def _opening(now: Situation, wish: Wish, names: Names) -> Steps:
    """The account in its group, and the group left out of each policy that stops it."""
    group, account = now.group, now.account
    steps = Steps()
    if group is not None and wish.excluding:
        _make_sure_it_has_no_others(group, account)
    is_member = group is not None and account.id.lower() in (id_.lower() for id_, _ in group.members)
    if (wish.excluding and not is_member) or (group and not is_member and now.using(group.id)):
        steps = _into_the_group(now)
    gid: JSON = group.id if group else {"$id_of": ["groups", GROUP]}
    for policy in map(now.find, wish.excluding):
        if policy is None:
            continue
        users = excluding(policy, gid)
        before = f"for {who(policy, names)}, and {demand(policy, names)}"
        after = f"the same, but not for members of “{GROUP}”"
        path, others = (*POLICIES, policy.id), list(policy.users.groups.exclude)
        seen = ReadBack(path, "conditions/users/excludeGroups", Expect.DIFFERS, others)
        if group is not None:
            seen = replace(seen, expect=Expect.CONTAINS, value=group.id)
        says = f"Leaving the account out of “{policy.name}”"
        call = Call(
            "PATCH",
            path,
            {"conditions": {"users": users}},
            advice=_NEEDS,
            says=says,
            seen=seen,
            awaited=True,
            was=dict(policy.raw),
        )
        steps += Steps((Change(f"policy “{policy.name}”", before, after),), (call,))
    return steps


def _into_the_group(now: Situation) -> Steps:
    account, group = now.account, now.group
    seen = ReadBack(
        ("users", account.id, "memberOf", "microsoft.graph.group"),
        "value/displayName",
        Expect.CONTAINS,
        GROUP if group is None else group.name,
        (("$select", "id,displayName"),),
    )
    if group is None:
        says = f"Making the group “{GROUP}” with the account in it"
        call = Call(
            "POST",
            ("groups",),
            group_body(account),
            Repeat.ONE_SHOT,
            advice=_NEEDS_GROUP,
            says=says,
            seen=seen,
            awaited=True,
        )
        made = f"“{GROUP}”, new; {account.name} is its only member"
        return Steps((Change("group", None, made),), (call,), (_WHO_MAY_FILL_IT,))
    _make_sure_it_has_no_others(group, account)
    body = {"@odata.id": {"$ref_to": ["directoryObjects", account.id]}}
    says = f"Putting the account into the group “{group.name}”"
    call = Call("POST", ("groups", group.id, "members", "$ref"), body, says=says, seen=seen, awaited=True)
    note = () if group.assignable else (_ANYBODY_MAY_FILL_IT,)
    return Steps((Change(f"group “{group.name}”", None, f"{account.name} is its only member"),), (call,), note)


def _make_sure_it_has_no_others(group: Group, account: Identity) -> None:
    if not group.fits:
        raise NotPossible(
            f"There is a group “{group.name}” already, whose members are not chosen by hand in Entra. Give it another "
            "name."
        )
    if others := [name for id_, name in group.members if id_.lower() != account.id.lower()]:
        raise NotPossible(
            f"The group “{group.name}” has other members: {', '.join(others[:3])}. The policies would leave them out, "
            "too. Take them out of the group first."
        )


def _called(path: tuple[str, ...], name: str, pointer: str, expect: Expect, value: JSON) -> ReadBack:
    """What shows of the thing with this name, whose id is not known yet."""
    return ReadBack(path, pointer, expect, value, (("$filter", f"displayName eq {quoted(name)}"),))


def _desk(what: str, body: JSON, says: str) -> Call:
    return Call("PUT", (*DESK, what), body, says=says, seen=NEVER, checks=True)


# --- What is said -----------------------------------------------------------------------------------------------------


def in_full(policy: Policy, names: Names) -> str:
    """A policy in one line."""
    said = conditions(policy, names)
    only = "".join(f", {'' if each.startswith('from anywhere') else 'only '}{each}" for each in said)
    return f"for {who(policy, names)}, {target(policy, names)}{only}: it {demand(policy, names)}"


def _what_comes_of_it(now: Situation, wish: Wish, foreseen: Foreseen, names: Names) -> tuple[Change, ...]:
    names = {**names, foreseen.ours: POLICY}
    inside, outside = foreseen.inside_sign_in, foreseen.outside_sign_in
    beyond = from_elsewhere(outside.conditions.address)
    return (
        outcome(now, in_words(wish.ranges), inside, foreseen.inside, names),
        outcome(now, beyond, outside, foreseen.outside, names),
    )


def _notes(now: Situation, wish: Wish, foreseen: Foreseen) -> tuple[str, ...]:
    here = now.sign_in.conditions.address
    if here is None:
        notes = [
            "From where Microsoft sees Latchkey is not known. If it is none of these addresses, sessions will stop."
        ]
    else:
        logged = now.also_from if now.source == LOGGED else ()
        seen = sorted(str(each) for each in {here, *logged} if holds(wish.ranges, each))
        notes = [
            f"Microsoft sees Latchkey's sign-ins come from {listed(seen)}: {now.source}. Look whether that is right."
        ]
    if others := [str(address) for address in now.also_from if not holds(wish.ranges, address)]:
        notes.append(
            f"Lately it was signed in from {listed(others)}, too, which will be outside. If Latchkey has several "
            "addresses, name all of them."
        )
    notes.append(
        f"From anywhere else nobody can sign in as {now.account.name} any more, not by hand either."
        if wish.shape is Shape.BLOCK
        else f"From anywhere else, whoever has the password of {now.account.name} could set up a second factor of "
        "their own. `block` is stricter."
    )
    notes += [
        f"“{each.name}” names “{LOCATION}”, too: the addresses change for everybody whom it is about."
        for each in now.policies
        if now.location is not None and set(now.location.networks) != set(wish.ranges)
        if each is not now.policy and now.location.id in (*each.locations.include, *each.locations.exclude)
    ]
    if wish.trusted:
        notes.append("Policies about all trusted locations will treat everybody who comes from there as trusted.")
    group = now.group.id if now.group else "its id, which the card will name"
    touched = [policy for policy in map(now.find, wish.excluding) if policy is not None]
    for policy, why in managed_as_code(touched, now.made_by_apps):
        notes.append(
            f"“{policy.name}” looks managed as code ({why}): the tool may put it back. Put the group “{GROUP}” "
            f"({group}) into its excluded groups (`excludeGroups`) there, too."
        )
    waiting = [
        policy
        for policy in foreseen.inside.report_only.applying
        if not passes(IdentityKind.SERVICE_ACCOUNT, policy) and policy.id != foreseen.ours
    ]
    notes += [
        f"“{each.name}” only reports so far. Once it is on, it stops the account: run this again then."
        for each in waiting
    ]
    for result in foreseen.perhaps:
        lacking = listed(map(missing, result.unknown))
        notes.append(
            f"Whether “{result.policy.name}” stops the account cannot be told: not known is {lacking}. The sign-in "
            "at the end shows it."
        )
    return (*notes, _ADMINISTRATOR)


_NEEDS: Final = (
    "Conditional Access takes Microsoft Entra ID P1, and whoever changes it a Conditional Access Administrator."
)
_NEEDS_GROUP: Final = (
    "Such a group can be made by a Privileged Role Administrator, in a tenant with Microsoft Entra ID P1."
)
_ADMINISTRATOR: Final = (
    "For this an administrator signs in with an account of their own, as Conditional Access Administrator (for the "
    "group, as Privileged Role Administrator, too) or as Global Administrator; nothing of that account stays with "
    "Latchkey."
)
_WHO_MAY_FILL_IT: Final = (
    "Only Privileged Role Administrators and Global Administrators can put anybody else into that group. Put nobody "
    "in: a member needs no second factor where these policies ask for one."
)
_ANYBODY_MAY_FILL_IT: Final = (
    "Whoever administers groups can put others into that group, who then need no second factor where these policies "
    "ask for one. One that Latchkey makes by itself is protected from that."
)


async def afterwards(reader: Reader, done: Plan) -> Sequence[str]:
    now = await situation(reader)
    lines = []
    if (location := now.location) is not None:
        lines.append(f"{now.account.name} signs in from {in_words(location.networks)} only, and did so just now.")
    changed = [policy for call in done.calls if (policy := _touched(now, call)) is not None]
    if now.group is not None and changed:
        left = ", ".join(f"“{policy.name}”" for policy in changed)
        lines.append(f"{left} {'leaves' if len(changed) == 1 else 'leave'} it out through “{GROUP}” ({now.group.id}).")
        for policy, _ in managed_as_code(changed, now.made_by_apps):
            lines.append(f"Put {now.group.id} into `excludeGroups` of “{policy.name}” where it is managed as code.")
    lines.append("Run `/m365-mode allowed-ips` again when the addresses change, before Latchkey moves.")
    return [*lines, *await consent(reader)]


def _touched(now: Situation, call: Call) -> Policy | None:
    """The policy of somebody else's that this call changed."""
    is_one = call.method == "PATCH" and call.path[:3] == POLICIES and call.was is not None
    policy = now.find(call.path[3]) if is_one else None
    return None if policy is None or (now.policy and policy.id == now.policy.id) else policy


ACTION = Action(
    name="allowed-ips",
    title="Set up allowed IPs",
    phrase="set up allowed IPs for {target}",
    working="Setting up allowed IPs for {target}",
    done="Allowed IPs were set up for {target}",
    permissions=(),
    inputs=Inputs,
    example=Inputs(addresses="203.0.113.10"),
    about=TargetKind.TENANT,
    find=the_tenant,
    approval=True,
    sensitive=True,
    held_as="/m365-mode allowed-ips",
    stands_for="",
    afterwards=afterwards,
    plan=plan,
)
