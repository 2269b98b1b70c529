"""The desk for allowed IPs: what there is of them, what sign-ins would come to, and whether the account gets in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, Protocol

from bot.actions._allowed_ips import (
    CONFIGURED,
    GROUP,
    LOGGED,
    POLICY,
    Foreseen,
    Group,
    Situation,
    Wish,
    foresee,
    is_as_wished,
    objections,
    result_of,
)
from bot.conditional_access import Answers, ConditionalAccess, Egress, TenantPolicies, compare
from bot.directory import quoted
from bot.errors import BadInput, GraphProblem, NotPossible, SignInFailed
from bot.identities import ServiceIdentity
from bot.model import NOBODY, Identity, IdentityKind, Request, TenantSettings
from bot.office import Errand
from bot.policy_changes import fingerprint
from bot.ports import Attempt, Clock, Reader
from bot.whatif.controls import passes
from bot.whatif.policies import State
from bot.whatif.signins import Person, SignIn

log = logging.getLogger(__name__)

REPLICAS_LAG: Final = timedelta(seconds=60)
"""How long what was written may be missing in what is read."""

ENFORCED_WITHIN: Final = timedelta(minutes=5)
"""How long a sign-in may still be refused by what is not so any more."""

_THEN: Final = "Undo what was done, or put that right and retry."

_FIRST_WAIT: Final = timedelta(seconds=5)
_LONGEST_WAIT: Final = timedelta(seconds=40)


class Rows(Protocol):
    """Requests as they are remembered."""

    async def find(self, request_id: str) -> Request | None: ...

    async def attempts(self, request_id: str) -> Sequence[Attempt]: ...


class Settings(Protocol):
    async def current(self) -> TenantSettings: ...


class AllowedIpsDesk:
    """`latchkey/allowed-ips`: read, it is the `Situation`; below it lies `saved`, the calls of the request that the one
    which asks is to undo. Three PUTs change nothing, but are refused where something is not as it has to be: `what-if`,
    `proof` (a sign-in) and `restored`."""

    def __init__(
        self,
        *,
        clock: Clock,
        policies: ConditionalAccess,
        directory: Reader,
        settings: Settings,
        requests: Rows,
        identity_of: Callable[[TenantSettings], ServiceIdentity],
    ) -> None:
        self._clock = clock
        self._policies = policies
        self._directory = directory
        self._settings = settings
        self._requests = requests
        self._identity_of = identity_of

    async def read(self, path: tuple[str, ...], query: Mapping[str, str]) -> dict[str, Any]:
        match path:
            case ():
                return {"now": await self._situation()}
            case ("saved",):
                return {"calls": await self._saved(query.get("for", ""))}
            case ("done",):
                return {}
        raise BadInput("Nothing of that name is known of allowed IPs.")

    async def carry_out(self, errand: Errand) -> str | None:
        match errand.method, errand.path:
            case "PUT", ("what-if",):
                wish = Wish.from_json(errand.body["wish"])
                return await self._until_right(lambda: self._ask(wish, made=errand.body["made"]), REPLICAS_LAG)
            case "PUT", ("proof",):
                return await self._prove()
            case "PUT", ("restored",):
                return await self._until_right(lambda: self._compare(errand.body["policies"]), REPLICAS_LAG)
        raise BadInput("This cannot be done about allowed IPs.")

    async def _until_right(self, look: Callable[[], Awaitable[str]], patience: timedelta) -> str:
        """What *look* says; while it is refused, what is read may be old, and it is done again."""
        until, wait = self._clock.now() + patience, _FIRST_WAIT
        while True:
            try:
                return await look()
            except NotPossible:
                if self._clock.now() >= until:
                    raise
            await self._clock.sleep_until(self._clock.now() + wait)
            wait = min(2 * wait, _LONGEST_WAIT)

    # --- what there is ------------------------------------------------------------------------------------------------

    async def _situation(self) -> Situation:
        settings = await self._settings.current()
        account, sign_in, egress = NOBODY, SignIn(Person("")), None
        if settings.identity_kind is not None and settings.identity_id:
            account = Identity(settings.identity_kind, settings.identity_id, settings.identity_name or "")
            sign_in = await self._policies.sign_in_of(account)
            egress = await self._policies.egress(account)
        found = await self._policies.read()
        return Situation(
            account=account,
            policies=found.policies,
            locations=found.locations,
            judged=found.compiled,
            sign_in=sign_in,
            source=_source(egress),
            also_from=egress.others if egress else (),
            names=found.names,
            group=await self._group(found),
            security_defaults=await self._security_defaults(),
            made_by_apps=await self._made_by_apps(),
        )

    async def _group(self, found: TenantPolicies) -> Group | None:
        """Ours, with its members. Raises `NotPossible` if there are several of its name."""
        wanted = (
            "id,displayName,description,securityEnabled,mailEnabled,groupTypes,membershipRule,onPremisesSyncEnabled,"
            "isAssignableToRole"
        )
        query = {"$filter": f"displayName eq {quoted(GROUP)}", "$select": wanted}
        groups = await self._directory.collect("groups", query=query)
        if not groups:
            return None
        if len(groups) > 1:
            raise NotPossible(f"There are {len(groups)} groups called “{GROUP}”. Give all but one another name.")
        [group] = groups
        query = {"$select": "id,displayName,userPrincipalName"}
        members = await self._directory.collect("groups", group["id"], "members", query=query)
        by_hand = not (group.get("membershipRule") or group.get("onPremisesSyncEnabled") or group.get("mailEnabled"))
        return Group(
            id=group["id"],
            name=group["displayName"],
            members=tuple(
                (each["id"], str(each.get("userPrincipalName") or each.get("displayName"))) for each in members
            ),
            assignable=bool(group.get("isAssignableToRole")),
            fits=by_hand and bool(group.get("securityEnabled")),
        )

    async def _security_defaults(self) -> bool:
        try:
            return await self._policies.security_defaults()
        except GraphProblem as problem:  # then Graph says so when a policy is made
            log.info("security defaults could not be read", extra={"why": str(problem)})
            return False

    async def _made_by_apps(self) -> Mapping[str, str]:
        """By policy, the application that changed it last, where that was no person (Graph docs: *directoryAudit*)."""
        query = {"$filter": "loggedByService eq 'Conditional Access'", "$top": "100"}
        try:
            rows = await self._directory.collect("auditLogs", "directoryAudits", query=query, limit=100)
        except GraphProblem as problem:
            log.info("the audit log could not be read", extra={"why": str(problem)})
            return {}
        last: dict[str, str] = {}
        for row in sorted(rows, key=lambda row: str(row.get("activityDateTime"))):
            began = row.get("initiatedBy") or {}
            app = "" if began.get("user") else str((began.get("app") or {}).get("displayName") or "")
            for target in row.get("targetResources") or ():
                last[str(target.get("id")).lower()] = app
        return {policy: app for policy, app in last.items() if app}

    async def _saved(self, request_id: str) -> list[Any] | None:
        """The calls of the request that this one undoes, with what each of them found; None if it undoes none. What
        it never came to was perhaps done by another one."""
        request = await self._requests.find(request_id)
        undone = await self._requests.find(request.undo_of) if request and request.undo_of else None
        if undone is None or undone.plan is None:
            return None
        tried = await self._requests.attempts(undone.id)
        sent = {attempt.call_index for attempt in tried if not attempt.changed_nothing}
        return [call.to_json() for index, call in enumerate(undone.plan.calls) if index in sent]

    # --- what would come of it ----------------------------------------------------------------------------------------

    async def _ask(self, wish: Wish, *, made: bool) -> str:
        """Ours and Graph's, inside and outside. *made* says that the location and the policy are there already."""
        now = await self._situation()
        foreseen = await asyncio.to_thread(foresee, now, wish)
        if made:
            self._as_made(now, wish, foreseen)
        wrong = objections(now, wish, foreseen)
        if made and not wrong:
            wrong += await self._objections_of_microsoft(now, wish, foreseen)
        if wrong:
            raise NotPossible(f"This does not come out as it has to. {' '.join(wrong)} {_THEN}")
        inside, outside = foreseen.inside_sign_in.conditions.address, foreseen.outside_sign_in.conditions.address
        return f"From {inside} it gets in, from {outside} it does not."

    def _as_made(self, now: Situation, wish: Wish, foreseen: Foreseen) -> None:
        """What Graph shows of the location and the policy does what they are for. Raises `NotPossible`."""
        location, policy = now.location, now.policy
        if location is None or policy is None:
            raise NotPossible(f"Microsoft does not show “{POLICY}” and its named location yet.")
        if set(location.networks) != set(wish.ranges):
            raise NotPossible(f"Microsoft shows other addresses in “{location.name}”.")
        if not is_as_wished(policy, now.account, location.id, wish.shape):
            raise NotPossible(f"Microsoft shows “{policy.name}” otherwise than it has to be. {_THEN}")
        for sign_in, applies in ((foreseen.inside_sign_in, False), (foreseen.outside_sign_in, True)):
            result = result_of(now.judged.evaluate(sign_in), policy.id)
            if policy.state != State.DISABLED and (result is None or result.applies is not applies):
                where = f"From {sign_in.conditions.address}"
                raise NotPossible(f"{where}, “{policy.name}” would{'' if not applies else ' not'} apply.")

    async def _objections_of_microsoft(self, now: Situation, wish: Wish, foreseen: Foreseen) -> list[str]:
        """What Graph's own what-if says else than it has to, where it may be asked."""
        found: list[str] = []
        policy = now.policy
        if policy is None or policy.state == State.DISABLED:
            return found
        for sign_in, applies in ((foreseen.inside_sign_in, False), (foreseen.outside_sign_in, True)):
            sign_in = replace(sign_in, who=now.sign_in.who)
            answers = await self._policies.ask_microsoft(sign_in)
            if answers is None:
                return found
            compare(now.judged.evaluate(sign_in), answers, sign_in)
            found += _objections_in(answers, now, wish, policy.id, applies=applies, address=sign_in.conditions.address)
        return found

    # --- what came of it ----------------------------------------------------------------------------------------------

    async def _prove(self) -> str:
        """The account signs in from here, as a session does. Raises `SignInFailed` once waiting does not help."""
        settings = await self._settings.current()
        until, wait = self._clock.now() + ENFORCED_WITHIN, _FIRST_WAIT
        while True:
            try:
                await self._identity_of(settings).sign_in(_quietly)
            except SignInFailed as error:
                # The password was right, so this counts as no wrong guess.
                if not error.what_if_helps or self._clock.now() >= until:
                    raise
                log.info("not let in yet", extra={"code": error.code})
            else:
                self._policies.well()
                return f"{settings.identity_name} gets in."
            await self._clock.sleep_until(self._clock.now() + wait)
            wait = min(2 * wait, _LONGEST_WAIT)

    async def _compare(self, originals: Mapping[str, str]) -> str:
        """Raises `NotPossible` for the first policy that is not as it was."""
        found = await self._policies.read()
        for policy_id, was in originals.items():
            policy = found.find(policy_id)
            if policy is None or fingerprint(policy.raw) != was:
                name = policy.name if policy else policy_id
                raise NotPossible(f"“{name}” is not as it was before. Look at it in the Microsoft Entra admin center.")
        return f"{len(originals)} of {len(originals)} are as they were." if len(originals) > 1 else "It is as it was."


def _objections_in(
    answers: Answers, now: Situation, wish: Wish, ours: str, *, applies: bool, address: object
) -> list[str]:
    found = []
    if answers.get(ours, (None, ()))[0] is not applies:
        does = "would not" if applies else "would"
        found.append(f"Microsoft's own what-if says that “{POLICY}” {does} apply from {address}.")
    if applies:
        return found
    left_out = {*wish.excluding, ours}
    if now.group is not None:
        left_out |= {policy.id for policy in now.using(now.group.id)}
    for policy in now.policies:
        stops = policy.state == State.ENABLED and not passes(IdentityKind.SERVICE_ACCOUNT, policy)
        if stops and policy.id not in left_out and answers.get(policy.id, (False, ()))[0]:
            found.append(f"Microsoft's own what-if says that “{policy.name}” would still stop the account.")
    return found


def _source(egress: Egress | None) -> str:
    if egress is None:
        return ""
    if egress.source == "configured":
        return CONFIGURED
    return LOGGED


def _quietly(key: str, title: str) -> None:
    """The step of the request says it."""
