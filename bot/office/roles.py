"""The desk for roles: who holds which, what each holds, where grants count, and which follow an Entra group."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

from bot.actions._rights import EVERYWHERE, listed
from bot.errors import BadInput, NotPossible
from bot.model import (
    Author,
    Grant,
    GroupGrant,
    Operator,
    Role,
    Scope,
    ScopeRule,
    SlackUser,
    Target,
    TargetKind,
    decides_on_power,
)
from bot.office import Errand
from bot.standing import AT_ONCE, Finding

_USER: Final = re.compile(r"[UW][A-Z0-9]{2,30}")


class Holder(Protocol):
    """An operator with what was granted to them and not revoked."""

    @property
    def operator(self) -> Operator: ...

    @property
    def grants(self) -> Sequence[Grant]: ...


class Store(Protocol):
    """Where operators, roles, grants and scopes rest. What `check_...` raises, the change of that name raises too."""

    async def holder(self, team: str, called: str) -> Holder | None: ...

    async def admin_holders(self) -> Sequence[Holder]: ...

    async def role_list(self) -> Sequence[Role]: ...

    async def scopes(self) -> Sequence[Scope]: ...

    async def followed_groups(self) -> Sequence[GroupGrant]: ...

    async def check_grant(
        self, by: str, role: str, scope_id: str | None, until: datetime | None, *, following: bool = False
    ) -> None: ...

    async def check_revoke(self, by: str, role: str) -> None: ...

    async def check_role(self, by: str, name: str, patterns: Sequence[str]) -> None: ...

    async def check_scope(self, by: str, name: str) -> None: ...

    async def grant(
        self,
        slack: SlackUser,
        role: str,
        *,
        by: Author,
        reason: str,
        scope_id: str | None,
        expires_at: datetime | None,
        upn: str | None,
        name: str | None,
    ) -> Grant: ...

    async def revoke(
        self, slack: SlackUser, role: str, *, by: Author, reason: str, any_scope: bool, scope_id: str | None
    ) -> int: ...

    async def suspend(self, slack: SlackUser, *, by: Author, reason: str, suspended: bool) -> Operator: ...

    async def follow_group(
        self,
        group: Target,
        role: str,
        *,
        by: Author,
        reason: str,
        scope_id: str | None,
        expires_at: datetime | None,
    ) -> str: ...

    async def unfollow_group(self, group_grant_id: str, by: Author, reason: str) -> int: ...

    async def define_role(
        self, name: str, title: str, patterns: Sequence[str], *, by: Author, reason: str
    ) -> tuple[str, ...]: ...

    async def remove_role(self, name: str, *, by: Author, reason: str) -> None: ...

    async def add_scope(self, name: str, rule: ScopeRule, *, by: Author, reason: str) -> Scope: ...


class People(Protocol):
    """People in Slack."""

    async def name(self, user: str) -> str: ...


class Standing(Protocol):
    """Whether somebody is still one of us."""

    async def look_at(self, operator: Operator, *, fresh: timedelta) -> Finding | None: ...


@dataclass(frozen=True)
class RolesDesk:
    """Addresses below `latchkey/roles`, what is read there, and what a call does:

    `people/TEAM/USER`: a person and what they hold; PUT grants, DELETE revokes. `find/TEAM/NAME`: whom a mention, a
    user id or an operator's sign-in name means. `standing/TEAM/USER`: what stands against them; PUT restores them.
    `groups/ID`: what follows a group; PUT lets a role follow it, DELETE ends that. `named/ROLE`: a role; PUT defines,
    DELETE removes it. `scopes/NAME`: a scope; PUT defines it. `admins`: who is tenant admin.
    `may/...`: raises what would be said of a change by the person for whom it is read, before anybody is asked.
    """

    store: Store
    people: People
    standing: Standing
    zone: ZoneInfo

    # --- reading -----------------------------------------------------------------------------------------------------

    async def read(self, path: tuple[str, ...], query: Mapping[str, str]) -> dict[str, Any]:
        match path:
            case ("find", team, typed):
                return await self._find(team, typed)
            case ("people", team, user):
                return await self._described(await self.store.holder(team, user))
            case ("standing", team, user):
                return {"against": await self._against(team, user)}
            case ("groups", group_id):
                following = [self._as_granted(one) for one in await self._following(group_id)]
                return {"held": [one["words"] for one in following], "following": following}
            case ("groups",):
                return {"value": [one.group.to_json() for one in await self.store.followed_groups()]}
            case ("named", name):
                return await self._role(name)
            case ("scopes", name):
                scope = await self._scope(name, must_be=False)
                rule = scope.rule.to_json() if scope else None
                return {"rule": rule, "text": json.dumps(rule, sort_keys=True)}
            case ("admins",):
                return {"value": [_key(one.operator.slack) for one in await self.store.admin_holders()]}
            case ("may", what):
                return await self._may(what, query)
        raise BadInput("Latchkey keeps no such thing about roles. `/m365-roles list` shows what there is.")

    async def _find(self, team: str, typed: str) -> dict[str, Any]:
        called = typed.removeprefix("@")
        found = await self.store.holder(team, called)
        if found is not None:
            operator = found.operator
            name = operator.name or await self.people.name(operator.slack.user)
            return {"id": _key(operator.slack), "name": name, "upn": operator.upn or ""}
        if not _USER.fullmatch(called):
            raise BadInput(
                f"`{typed[:60].replace('`', '')}` is nobody Latchkey can be sure of. Type `@` and the first letters of "
                "the name, and choose the person from the list that Slack shows.",
                field="target",
            )
        return {"id": f"{team}/{called}", "name": await self.people.name(called), "upn": ""}

    async def _described(self, holder: Holder | None) -> dict[str, Any]:
        operator = holder.operator if holder else None
        grants = [{**self._as_granted(one), "through_group": one.via is not None} for one in _grants(holder)]
        powers = {role.name for role in await self.store.role_list() if decides_on_power(role.patterns)}
        return {
            "account": operator.account_id if operator else None,
            "upn": operator.upn if operator else None,
            "suspended": bool(operator and operator.suspended),
            "held": [one["words"] for one in grants if not one["through_group"]],
            "grants": grants,
            "decides_on_power": any(one["role"] in powers for one in grants),
        }

    async def _against(self, team: str, user: str) -> str:
        """What stands against somebody, in words that follow their name."""
        holder = await self.store.holder(team, user)
        operator = holder.operator if holder else Operator("", SlackUser(team, user))
        finding = await self.standing.look_at(operator, fresh=AT_ONCE)
        return finding.words if finding else ""

    async def _following(self, group_id: str) -> list[GroupGrant]:
        followed = await self.store.followed_groups()
        return [one for one in followed if one.group.id == group_id.lower()]

    async def _role(self, name: str, *, must_be: bool = False) -> dict[str, Any]:
        roles = await self.store.role_list()
        found = next((role for role in roles if role.name == name), None)
        if found is None and must_be:
            raise BadInput(
                f"There is no role `{name[:60]}`. The roles are {', '.join(role.name for role in roles)}.", field="role"
            )
        role = found or Role(name, "", ())
        return {
            "title": role.title,
            "patterns": list(role.patterns),
            "holders": role.holders,
            "shipped": role.shipped,
            "decides_on_power": decides_on_power(role.patterns),
            "whole": f"{role.title}: {listed(role.patterns)}",
        }

    async def _scope(self, name: str, *, must_be: bool = True) -> Scope | None:
        if name.casefold() in {"", EVERYWHERE}:
            return None
        scopes = await self.store.scopes()
        found = next((scope for scope in scopes if scope.name.casefold() == name.casefold()), None)
        if found is None and must_be:
            there_are = ", ".join(f"“{scope.name}”" for scope in scopes)
            known = f"There are {there_are}." if scopes else "There are none yet: `/m365-roles scope` makes one."
            raise BadInput(f"There is no scope “{name[:60]}”. {known}", field="scope")
        return found

    async def _may(self, what: str, query: Mapping[str, str]) -> dict[str, Any]:
        by, role = query["by"], query.get("role", "")
        match what:
            case "grant" | "follow":
                known = await self._role(role, must_be=True)
                scope = await self._scope(query.get("scope", ""))
                until = self.moment(query.get("until", ""))
                await self.store.check_grant(by, role, scope.id if scope else None, until, following=what == "follow")
                return {
                    "words": self._in_words(role, scope, until),
                    "scope": scope.name if scope else EVERYWHERE,
                    "rule": scope.rule.to_json() if scope else None,
                    "until": self.until_text(until),
                    **known,
                }
            case "revoke":
                await self.store.check_revoke(by, role)
            case "define":
                await self.store.check_role(by, role, tuple(filter(None, query.get("patterns", "").split(","))))
            case "scope":
                known_as = await self._scope(query["scope"], must_be=False)
                await self.store.check_scope(by, known_as.name if known_as else query["scope"])
            case _:
                raise BadInput("Latchkey keeps no such thing about roles.")
        return {}

    # --- changing ----------------------------------------------------------------------------------------------------

    async def carry_out(self, errand: Errand) -> None:
        body = errand.body
        by, reason = errand.by, errand.reason
        match errand.method, errand.path:
            case "PUT", ("people", team, user):
                await self._grant(errand, SlackUser(team, user))
            case "DELETE", ("people", team, user):
                await self._revoke(errand, SlackUser(team, user))
            case "PUT", ("standing", team, user):
                holder = await self.store.holder(team, user)
                if holder is not None and holder.operator.suspended:
                    await self.store.suspend(SlackUser(team, user), by=by, reason=reason, suspended=False)
            case "PUT", ("groups", group_id):
                await self._follow(errand, group_id)
            case "DELETE", ("groups", group_id):
                scope = await self._scope(body["scope"])
                for one in await self._following(group_id):
                    if one.role == body["role"] and (not body["scope"] or one.scope == scope):
                        await self.store.unfollow_group(one.id, by, reason)
            case "PUT", ("named", name):
                role = await self._role(name)
                if role["whole"] != f"{body['title']}: {listed(body['patterns'])}":
                    await self.store.define_role(name, body["title"], body["patterns"], by=by, reason=reason)
            case "DELETE", ("named", name):
                if (await self._role(name))["patterns"]:
                    await self.store.remove_role(name, by=by, reason=reason)
            case "PUT", ("scopes", name):
                scope = await self._scope(name, must_be=False)
                if scope is None or scope.rule.to_json() != body["rule"]:
                    await self.store.add_scope(
                        scope.name if scope else name, ScopeRule.from_json(body["rule"]), by=by, reason=reason
                    )
            case _:
                raise BadInput("Latchkey knows no such change of roles.")

    async def _grant(self, errand: Errand, slack: SlackUser) -> None:
        body = errand.body
        holder = await self.store.holder(slack.team, slack.user)
        scope, until = await self._scope(body["scope"]), self.moment(body["until"])
        expected = body["account"]
        if expected and holder and holder.operator.account_id and not _same(holder.operator.upn, expected):
            raise NotPossible(
                f"{holder.operator.name} has linked {holder.operator.upn} meanwhile. Ask again without it."
            )
        granted = [(one.role, one.scope, one.expires_at) for one in _grants(holder) if one.via is None]
        known = holder is not None and _same(holder.operator.upn, expected)
        if (body["role"], scope, until) in granted and (known or not expected):
            return  # it was done already, before the bot was interrupted
        await self.store.grant(
            slack,
            body["role"],
            by=errand.by,
            reason=errand.reason,
            scope_id=scope.id if scope else None,
            expires_at=until,
            upn=expected or None,
            name=body["name"],
        )

    async def _revoke(self, errand: Errand, slack: SlackUser) -> None:
        role, where = errand.body["role"], errand.body["scope"]
        scope = await self._scope(where)
        held = _grants(await self.store.holder(slack.team, slack.user))
        if any(grant.role == role and grant.via is None and (not where or grant.scope == scope) for grant in held):
            await self.store.revoke(
                slack,
                role,
                by=errand.by,
                reason=errand.reason,
                any_scope=not where,
                scope_id=scope.id if scope else None,
            )

    async def _follow(self, errand: Errand, group_id: str) -> None:
        body = errand.body
        scope, until = await self._scope(body["scope"]), self.moment(body["until"])
        followed = [(one.role, one.scope, one.expires_at) for one in await self._following(group_id)]
        if (body["role"], scope, until) in followed:
            return
        await self.store.follow_group(
            Target(TargetKind.GROUP, group_id, body["name"]),
            body["role"],
            by=errand.by,
            reason=errand.reason,
            scope_id=scope.id if scope else None,
            expires_at=until,
        )

    # --- words -------------------------------------------------------------------------------------------------------

    def _as_granted(self, one: Grant | GroupGrant) -> dict[str, str]:
        """What was granted, as it is typed and in words."""
        return {
            "role": one.role,
            "scope": one.scope.name if one.scope else EVERYWHERE,
            "until": self.until_text(one.expires_at),
            "words": self._in_words(one.role, one.scope, one.expires_at),
        }

    def _in_words(self, role: str, scope: Scope | None, until: datetime | None) -> str:
        """What is granted: *helpdesk in “Sales” until 2026-12-31*."""
        where = f" in “{scope.name}”" if scope else ""
        end = self.until_text(until)
        return f"{role}{where}{f' until {end}' if end else ''}"

    def until_text(self, until: datetime | None) -> str:
        """An end as it is typed: the last day on which it counts, or a day and a time."""
        if until is None:
            return ""
        local = until.astimezone(self.zone)
        if local.time() == time():
            return (local.date() - timedelta(days=1)).isoformat()
        return f"{local:%Y-%m-%d %H:%M:%S}".removesuffix(":00")

    def moment(self, typed: str) -> datetime | None:
        """The end that was typed, in the tenant's time zone: a day counts to its end. Raises `BadInput`."""
        if not typed:
            return None
        try:
            if len(typed) == len("2026-12-31"):
                day = date.fromisoformat(typed) + timedelta(days=1)
                return datetime.combine(day, time(), self.zone)
            moment = datetime.fromisoformat(typed)
        except (ValueError, OverflowError) as error:
            raise BadInput(f"`{typed[:40]}` is no day. Write one such as 2026-12-31.", field="until") from error
        return moment if moment.tzinfo else moment.replace(tzinfo=self.zone)


def _key(slack: SlackUser) -> str:
    return f"{slack.team}/{slack.user}"


def _grants(holder: Holder | None) -> Sequence[Grant]:
    return holder.grants if holder else ()


def _same(upn: str | None, other: str) -> bool:
    return (upn or "").casefold() == other.casefold()
