"""Take allowed IPs away again: every policy that was changed for them is as it was before."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from bot.actions._action import Action, NoInputs
from bot.actions._addresses import elsewhere, holds, in_words
from bot.actions._afterwards import consent
from bot.actions._allowed_ips import (
    DESK,
    GROUP,
    LOCATION,
    LOCATIONS,
    NEVER,
    POLICIES,
    Situation,
    from_elsewhere,
    including,
    moved,
    outcome,
    situation,
    untold,
    with_users,
)
from bot.actions._own import the_tenant
from bot.actions._service_account import Steps
from bot.actions.allowed_ips import in_full
from bot.directory import quoted
from bot.model import NOBODY, Call, Change, Expect, Identity, IdentityKind, Plan, ReadBack, Target, TargetKind, Undo
from bot.policy_changes import fingerprint
from bot.ports import Reader
from bot.whatif.controls import blockers
from bot.whatif.evaluation import PolicyResult, PolicySet, Verdict
from bot.whatif.locations import NamedLocation, read_location
from bot.whatif.policies import Policy, read_policy
from bot.whatif.signins import Person
from bot.whatif.words import Names, demand, listed, who


async def plan(reader: Reader, aim: Target, inputs: NoInputs, identity: Identity) -> Plan:
    """Where it undoes one request, only what that one changed; else all of it. The policies that were opened are closed
    first."""
    now = await situation(reader)
    told = (await reader.get(*DESK, "saved"))["calls"]
    saved = None if told is None else [Call.from_json(call) for call in told]
    names = {**now.names, now.account.id.lower(): now.account.name}
    closing, originals = _closing(now, saved, names)
    ours = _policy(now, saved, names)
    place = _location(now, saved, _policies_after(now, ours))
    steps = closing + _group(now, saved, closing) + ours + place
    if not steps.calls:
        return Plan(changes=(), calls=(), notes=(*steps.notes, "Nothing is left of it in the tenant."))
    compare = Call(
        "PUT",
        (*DESK, "restored"),
        {"policies": originals},
        says="Comparing the policies with how they were",
        seen=NEVER,
        checks=True,
    )
    outcomes, warnings = await asyncio.to_thread(_what_comes_of_it, now, closing + ours + place, names)
    return Plan(
        changes=(*steps.changes, *outcomes),
        calls=(*steps.calls, *((compare,) if originals else ())),
        read_back=steps.calls[-1].seen,
        undo=_again(now) if saved is None else None,
        notes=(*steps.notes, *warnings, _ADMINISTRATOR),
    )


def _again(now: Situation) -> Undo | None:
    """What sets it up as it is now."""
    if now.policy is None or now.location is None:
        return None
    addresses = " ".join(str(network) for network in now.location.networks)
    return Undo("allowed-ips", {"addresses": addresses, "shape": "block" if now.policy.grant.blocks else "mfa"})


# --- The policies of others -------------------------------------------------------------------------------------------


def _closing(now: Situation, saved: Sequence[Call] | None, names: Names) -> tuple[Steps, dict[str, str]]:
    """The account is left out no more; and by policy what tells that it is as it was before."""
    if now.group is None:
        return Steps(), {}
    steps, originals = Steps(), dict[str, str]()
    for policy, was in _opened(now, now.group.id, saved):
        path, users = (*POLICIES, policy.id), including(policy, now.group.id)
        restored = read_policy(with_users(policy, users))
        if was is not None and fingerprint(restored.raw) == fingerprint(was):
            originals[policy.id] = fingerprint(was)
            notes: tuple[str, ...] = ()
        elif was is not None:
            notes = (
                f"Somebody has changed “{policy.name}” since. Only the group is taken out of it; everything else stays "
                "as it is now.",
            )
        else:
            originals[policy.id] = fingerprint(restored.raw)
            notes = ()
        call = Call(
            "PATCH",
            path,
            {"conditions": {"users": users}},
            says=f"Taking the account in again: “{policy.name}”",
            seen=ReadBack(path, "conditions/users/excludeGroups", Expect.LACKS, now.group.id),
            awaited=True,
            was=dict(policy.raw),
        )
        before = f"not for members of “{GROUP}”"
        after = f"for {who(restored, names)}: it {demand(restored, names)}"
        change = Change(f"policy “{policy.name}”", before, after)
        steps += Steps((change,), (call,), notes)
    return steps + Steps(notes=_gone(now, saved)), originals


def _opened(
    now: Situation, group_id: str, saved: Sequence[Call] | None
) -> list[tuple[Policy, Mapping[str, Any] | None]]:
    """The policies that leave the group out, with what they were before, as far as that is saved."""
    using = now.using(group_id)
    if saved is None:
        return [(policy, None) for policy in using]
    before = {call.was["id"]: call.was for call in _changed(now, saved)}
    return [(policy, before[policy.id]) for policy in using if policy.id in before]


def _changed(now: Situation, saved: Sequence[Call]) -> list[Call]:
    """The calls that changed policies of others."""
    ours = now.policy.id if now.policy else ""
    found = [call for call in saved if call.method == "PATCH" and call.path[:3] == POLICIES and call.was]
    return [call for call in found if call.was["id"] != ours]


def _gone(now: Situation, saved: Sequence[Call] | None) -> tuple[str, ...]:
    """What cannot be put back any more."""
    notes = []
    for call in _changed(now, saved or ()):
        policy = now.find(call.was["id"])
        if policy is None:
            notes.append(f"“{call.was.get('displayName')}” is not there any more.")
        elif fingerprint(policy.raw) != fingerprint(call.was) and now.group and policy not in now.using(now.group.id):
            notes.append(
                f"Somebody has changed “{policy.name}” since, and it leaves the group out no more: it stays as it is."
            )
    return tuple(notes)


# --- What was made ----------------------------------------------------------------------------------------------------


def _group(now: Situation, saved: Sequence[Call] | None, closing: Steps) -> Steps:
    """The group goes if nothing needs it any more."""
    group = now.group
    if group is None:
        return Steps()
    made = saved is None or any(call.method == "POST" and call.path == ("groups",) for call in saved)
    filled = any(call.path == ("groups", group.id, "members", "$ref") for call in saved or ())
    closed = {call.path[3] for call in closing.calls}
    others = [policy for policy in now.using(group.id) if policy.id not in closed]
    strangers = [name for id_, name in group.members if id_.lower() != now.account.id.lower()]
    if made and not others and not strangers and group.fits:
        seen = ReadBack(("groups",), "value/id", Expect.LACKS, group.id, _by_name(group.name))
        says = f"Deleting the group “{group.name}”"
        call = Call("DELETE", ("groups", group.id), says=says, seen=seen, awaited=True)
        return Steps((Change("group", f"“{group.name}”", "deleted"),), (call,))
    if filled and not others:
        path = ("groups", group.id, "members")
        seen = ReadBack(path, "value/id", Expect.LACKS, now.account.id, (("$select", "id"),))
        says = f"Taking the account out of the group “{group.name}”"
        call = Call("DELETE", (*path, now.account.id, "$ref"), says=says, seen=seen, awaited=True)
        return Steps((Change(f"group “{group.name}”", "the account is in it", "taken out"),), (call,))
    if not made:
        return Steps()
    why = f"“{others[0].name}” leaves it out, too" if others else f"{', '.join(strangers[:3])} is in it, too"
    return Steps(notes=(f"The group “{group.name}” stays: {why}.",))


def _policy(now: Situation, saved: Sequence[Call] | None, names: Names) -> Steps:
    policy = now.policy
    if policy is None:
        return Steps()
    path = (*POLICIES, policy.id)
    if saved is None or any(call.method == "POST" and call.path == POLICIES for call in saved):
        seen = ReadBack(POLICIES, "value/id", Expect.LACKS, policy.id, _by_name(policy.name))
        call = Call("DELETE", path, says=f"Deleting the policy “{policy.name}”", seen=seen, awaited=True)
        return Steps((Change("policy", f"“{policy.name}”: {in_full(policy, names)}", "deleted"),), (call,))
    was = next((call.was for call in saved if call.path == path and call.was), None)
    if was is None or fingerprint(was) == fingerprint(policy.raw):
        return Steps()
    before = read_policy(was)
    seen = ReadBack(path, "modifiedDateTime", Expect.DIFFERS, policy.raw.get("modifiedDateTime"))
    body = {**_content(was), "state": before.state}
    says = f"Putting the policy “{policy.name}” back"
    call = Call("PATCH", path, body, says=says, seen=seen, awaited=True, was=dict(policy.raw))
    return Steps(
        (Change(f"policy “{policy.name}”", in_full(policy, names), in_full(before, names)),),
        (call,),
    )


def _content(was: Mapping[str, Any]) -> dict[str, Any]:
    """What a change of ours replaces, without what Graph shows and does not take."""
    conditions = was["conditions"]
    kept = {name: conditions.get(name) for name in ("clientAppTypes", "users", "applications", "locations")}
    return {
        "description": was.get("description"),
        "conditions": {name: _said(value) for name, value in kept.items()},
        "grantControls": _said(was.get("grantControls")),
    }


def _said(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: each for name, each in value.items() if each is not None and "@odata." not in name}
    return value


def _location(now: Situation, saved: Sequence[Call] | None, policies: Sequence[Policy]) -> Steps:
    location = now.location
    if location is None:
        return Steps()
    path, kind = (*LOCATIONS, location.id), location.raw["@odata.type"]
    if saved is not None and not any(call.method == "POST" and call.path == LOCATIONS for call in saved):
        was = next((call.was for call in saved if call.path == path and call.was), None)
        if was is None or fingerprint(was) == fingerprint(location.raw):
            return Steps()
        body = {name: was[name] for name in ("@odata.type", "isTrusted", "ipRanges")}
        seen = ReadBack(path, "modifiedDateTime", Expect.DIFFERS, location.raw.get("modifiedDateTime"))
        says = f"Putting the named location “{LOCATION}” back"
        call = Call("PATCH", path, body, says=says, seen=seen, awaited=True, was=dict(location.raw))
        before = ", ".join(each["cidrAddress"] for each in was["ipRanges"])
        return Steps((Change("named location", in_words(location.networks), before),), (call,))
    named = [policy for policy in policies if _names(policy, location.id)]
    if named:
        return Steps(notes=(f"The named location “{LOCATION}” stays: “{named[0].name}” names it, too.",))
    calls: tuple[Call, ...] = ()
    if location.trusted:
        says, body = f"Marking “{LOCATION}” as not trusted", {"@odata.type": kind, "isTrusted": False}
        seen = ReadBack(path, "isTrusted", Expect.EQUALS, False)
        calls = (Call("PATCH", path, body, says=says, seen=seen, awaited=True),)
    gone = ReadBack(LOCATIONS, "value/id", Expect.LACKS, location.id, _by_name(LOCATION))
    calls += (Call("DELETE", path, says=f"Deleting the named location “{LOCATION}”", seen=gone, awaited=True),)
    return Steps((Change("named location", f"“{LOCATION}”: {in_words(location.networks)}", "deleted"),), calls)


def _by_name(name: str) -> tuple[tuple[str, str], ...]:
    return (("$filter", f"displayName eq {quoted(name)}"),)


def _names(policy: Policy, location_id: str) -> bool:
    return location_id.lower() in map(str.lower, (*policy.locations.include, *policy.locations.exclude))


# --- What is said -----------------------------------------------------------------------------------------------------


def _what_comes_of_it(now: Situation, steps: Steps, names: Names) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """What the account's sign-ins come to once all *steps* are taken, from where Latchkey is and from elsewhere,
    and what to warn of."""
    if not isinstance(now.sign_in.who, Person) or now.account == NOBODY:
        return (), ()
    ranges, here = now.location.networks if now.location else (), now.sign_in.conditions.address
    locations = _locations_after(now, steps)
    ours = [each for each in locations if now.location and each.id == now.location.id]
    judged = PolicySet.compile(_policies_after(now, steps), locations)
    sign_in = moved(now.sign_in, ranges[0][0]) if ranges and here is None else now.sign_in
    where = str(here) if here else "where Latchkey is"
    if ranges and (here is None or holds(ranges, here)):
        where = in_words(ranges)
    after = judged.evaluate(sign_in)
    changes = [outcome(now, where, sign_in, after, names)]
    outside = elsewhere([*ranges, *(network for each in ours for network in each.networks)])
    if ranges and outside is not None:
        beyond = moved(now.sign_in, outside)
        changes.append(outcome(now, from_elsewhere(outside), beyond, judged.evaluate(beyond), names))
    return tuple(changes), _warnings(now, after, untold(judged, sign_in))


def _warnings(now: Situation, after: Verdict, perhaps: Sequence[PolicyResult]) -> tuple[str, ...]:
    if stops := [f"“{blocker.policy.name}”" for blocker in blockers(after, IdentityKind.SERVICE_ACCOUNT)]:
        return (f"Afterwards {listed(stops)} will stop {now.account.name}, which then opens no session.",)
    if unclear := [f"“{result.policy.name}”" for result in perhaps]:
        return (f"Whether {listed(unclear)} will stop {now.account.name} afterwards cannot be told.",)
    return ()


def _policies_after(now: Situation, steps: Steps) -> list[Policy]:
    return [read_policy(each) for each in _left([policy.raw for policy in now.policies], POLICIES, steps)]


def _locations_after(now: Situation, steps: Steps) -> list[NamedLocation]:
    return [read_location(each) for each in _left([location.raw for location in now.locations], LOCATIONS, steps)]


def _left(things: Sequence[Mapping[str, Any]], where: tuple[str, ...], steps: Steps) -> list[Mapping[str, Any]]:
    """What Graph shows of *things* once *steps* are taken."""
    left = {str(thing.get("id")): thing for thing in things}
    for call in steps.calls:
        id_ = call.path[-1]
        if call.path[:-1] != where or id_ not in left:
            continue
        if call.method == "DELETE":
            del left[id_]
            continue
        before, body = left[id_], dict(call.body)
        if "conditions" in body:
            body["conditions"] = {**(before.get("conditions") or {}), **body["conditions"]}
        left[id_] = {**before, **body}
    return list(left.values())


_ADMINISTRATOR: Final = (
    "For this an administrator signs in with an account of their own, as Conditional Access Administrator (for the "
    f"group “{GROUP}”, as Privileged Role Administrator, too) or as Global Administrator; nothing of that account "
    "stays with Latchkey."
)


async def afterwards(reader: Reader, done: Plan) -> Sequence[str]:
    return await consent(reader)


ACTION = Action(
    name="remove-allowed-ips",
    title="Remove allowed IPs",
    phrase="take the allowed IPs of {target} away",
    working="Taking the allowed IPs of {target} away",
    done="The allowed IPs of {target} were taken away",
    permissions=(),
    about=TargetKind.TENANT,
    find=the_tenant,
    approval=True,
    sensitive=True,
    held_as="/m365-mode remove-allowed-ips",
    stands_for="",
    afterwards=afterwards,
    plan=plan,
)
